"""The surest errors of each detector, class and error type, with their boxes on the photographs.

Where there is no photograph the boxes are drawn on an empty ground of the image's shape.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from data.records import GroundTruth, InputError
from diagnosis.breakdown import BACKGROUND, CORRECT, ERROR_TYPES, LOCALIZATION, NONE, WEAK
from diagnosis.figures.examples import read_picture
from diagnosis.record import Diagnosis
from diagnosis.report.content import Gallery

__all__ = ["Example", "Examples", "choose", "collect", "part_around"]

MAX_OTHER_OBJECTS = 25
"""Drawn in one picture."""
MARGIN = 0.2
"""Around the boxes, of their longer side."""
SMALLEST_SIDE_PIXELS = 40.0
"""Of a part of an image."""
LANDSCAPE = 4 / 3
"""Shape that a part is widened to, as far as the image reaches."""


class Frame(NamedTuple):
    """A box in a picture, in its units, and the class it is of.

    `kind` is ``found`` for the detection, ``wanted`` for the object that its error is about, ``beside`` for
    another object, ``ignored`` for one that is neither rewarded nor punished.
    """

    left: float
    top: float
    width: float
    height: float
    kind: str
    label: str


class Example(NamedTuple):
    """One error: whose, of which class and type, how sure, what it overlaps, and its picture.

    `detector`, `label` and `kind` are indices into the detectors, the classes and
    :data:`diagnosis.breakdown.ERROR_TYPES`; `place` is that in the ranking of the class, from 1;
    `photograph` a ``data:`` address of the part around the boxes, or empty. Of `frames`, the object that the
    error is about, and then the detection, come last.
    """

    detector: int
    label: int
    kind: int
    score: float
    place: int
    words: str
    image: str
    width: float
    height: float
    photograph: str
    frames: tuple[Frame, ...]


class Examples(NamedTuple):
    """What the gallery shows, by detector, class, error type and rank; of how many errors that are counted;
    and, for each image whose photograph could not be read, why.
    """

    shown: tuple[Example, ...]
    errors: int
    unread: tuple[str, ...]


def choose(diagnosis: Diagnosis, each: int, total: int) -> NDArray[np.int64]:
    """The surest errors among the detections counted, as indices by class, error type and rank.

    At most `each` of a class and type, and `total` in all: first the surest of each class and type, then the
    second, and so on.
    """
    rows = np.flatnonzero(diagnosis.breakdown.counted_types > CORRECT)
    kinds = diagnosis.breakdown.counted_types[rows].astype(np.int64)
    group = diagnosis.detections.labels[rows] * len(ERROR_TYPES) + kinds
    order = np.lexsort((diagnosis.matching.rank[rows], group))
    rows, group = rows[order], group[order]
    place = np.arange(len(rows)) - np.searchsorted(group, group, side="left")
    kept = np.flatnonzero(place < each)
    surest_first = np.lexsort((-diagnosis.detections.scores[rows[kept]], place[kept]))
    return rows[np.sort(kept[surest_first[: max(total, 0)]])]


def collect(diagnoses: Sequence[Diagnosis], limits: Gallery, drawn: int = 0) -> Examples:
    """The examples of all detectors; each may have the same share of the total.

    `drawn` bytes of ``limits.megabytes`` are taken by figures.
    """
    shown: list[Example] = []
    unread: dict[int, str] = {}
    for position, diagnosis in enumerate(diagnoses):
        rows = choose(diagnosis, limits.each, limits.total // len(diagnoses))
        shown += _examples(diagnosis, position, rows, limits, unread)
    shown = _within(shown, 1e6 * limits.megabytes - drawn)
    errors = sum(int((diagnosis.breakdown.counted_types > CORRECT).sum()) for diagnosis in diagnoses)
    return Examples(tuple(shown), errors, tuple(unread[image] for image in sorted(unread)))


def _within(shown: list[Example], size: float) -> list[Example]:
    """As many examples, in the same order, as have photographs of `size` bytes together.

    The surest of each detector, class and type come first, then the second ones, and so on.
    """
    place: dict[tuple[int, int, int], int] = {}
    ranked = []
    for n, example in enumerate(shown):
        group = example.detector, example.label, example.kind
        place[group] = place.get(group, -1) + 1
        ranked.append((place[group], -example.score, n))
    ranked.sort()
    total = np.cumsum([len(shown[n].photograph) for *_, n in ranked])
    kept = sorted(n for (*_, n), so_far in zip(ranked, total.tolist(), strict=True) if so_far <= size)
    return [shown[n] for n in kept]


def _examples(
    diagnosis: Diagnosis, position: int, rows: NDArray[np.int64], limits: Gallery, unread: dict[int, str]
) -> list[Example]:
    """The errors `rows` of the detector at `position`; notes in `unread` what could not be read, and why."""
    detections, truth, verdict = diagnosis.detections, diagnosis.truth, diagnosis.referenced_objects
    made: dict[int, Example] = {}
    last, pixels = -1, None
    # Image by image, so that each photograph is read once.
    for n in np.argsort(detections.image_index[rows], kind="stable").tolist():
        row = int(rows[n])
        image, label = int(detections.image_index[row]), int(detections.labels[row])
        if image != last:
            last, (pixels, reason) = image, _photograph(truth, image)
            if reason:
                unread[image] = f"{truth.images[image]}: {reason}"
        kind, size = int(verdict.types[row]), truth.sizes[image].astype(np.float64)
        object_ = NONE if kind == BACKGROUND else int(verdict.object_rows[row])
        box = np.clip(detections.boxes[row], 0, np.tile(size, 2))
        wanted = [] if object_ == NONE else [truth.boxes[object_]]
        part = np.append([0.0, 0.0], size) if pixels is None else part_around([box, *wanted], size)
        scale = limits.pixels / float((part[2:] - part[:2]).max())
        width, height = ((part[2:] - part[:2]) * scale).round(1).tolist()
        frames = _beside(diagnosis, image, object_, part, scale)
        if wanted:
            frames.append(_frame(wanted[0], part, scale, "wanted", truth.classes[truth.labels[object_]]))
        frames.append(_frame(box, part, scale, "found", truth.classes[label]))
        made[n] = Example(
            position,
            label,
            kind,
            float(detections.scores[row]),
            int(diagnosis.matching.rank[row]) + 1,
            _words(truth, kind, object_, float(verdict.overlaps[row]), bool(verdict.duplicate[row])),
            truth.images[image],
            width,
            height,
            "" if pixels is None else _encode(pixels, part, limits),
            tuple(frames),
        )
    return [made[n] for n in range(len(rows))]


def _words(truth: GroundTruth, kind: int, object_: int, overlap: float, duplicate: bool) -> str:
    if object_ == NONE:
        return f"IoU below {WEAK:g} with any object" if overlap > 0 else "touches no object"
    if kind == LOCALIZATION:
        return f"IoU {overlap:.2f}" + (", but found before" if duplicate else "")
    return f"truth: {truth.classes[truth.labels[object_]]}, IoU {overlap:.2f}"


def _beside(
    diagnosis: Diagnosis, image: int, object_: int, part: NDArray[np.float64], scale: float
) -> list[Frame]:
    """The other objects that reach into the part, the largest first."""
    truth = diagnosis.truth
    boxes = truth.boxes
    here = np.flatnonzero(truth.image_index == image)
    reach = np.minimum(boxes[here, 2:], part[2:]) - np.maximum(boxes[here, :2], part[:2])  # (n, 2)
    here = here[(reach > 0).all(axis=1) & (here != object_)]
    here = here[np.argsort(-np.prod(boxes[here, 2:] - boxes[here, :2], axis=1), kind="stable")]
    kinds = np.where(diagnosis.matching.ignored[here], "ignored", "beside")
    return [
        _frame(boxes[index], part, scale, str(kind), truth.classes[truth.labels[index]])
        for index, kind in zip(here[:MAX_OTHER_OBJECTS], kinds, strict=False)
    ]


# ---- photographs -----------------------------------------------------------------------------


def _photograph(truth: GroundTruth, image: int) -> tuple[NDArray[np.uint8] | None, str]:
    """``(height, width, 3)`` pixels; or None and why: it is absent, damaged or of another size."""
    if not truth.files:
        return None, ""
    if not Path(truth.files[image]).is_file():
        return None, "no such file"
    try:
        return read_picture(truth, image), ""
    except InputError as error:
        return None, error.found


def part_around(boxes: Sequence[NDArray[np.float64]], size: NDArray[np.float64]) -> NDArray[np.float64]:
    """``(4,)`` xyxy of the part of an image that shows `boxes` with a margin, in whole pixels.

    Examples
    --------
    >>> part_around([np.array([40.0, 40, 60, 60])], np.array([500.0, 375])).tolist()
    [23.0, 30.0, 77.0, 70.0]
    >>> part_around([np.array([0.0, 0, 500, 375])], np.array([500.0, 375])).tolist()
    [0.0, 0.0, 500.0, 375.0]
    """
    corners = np.stack(boxes)
    low, high = corners[:, :2].min(axis=0), corners[:, 2:].max(axis=0)
    extent = np.maximum(high - low + 2 * MARGIN * float((high - low).max()), SMALLEST_SIDE_PIXELS)
    extent = np.maximum(extent, [extent[1] * LANDSCAPE, extent[0] / LANDSCAPE])
    extent = np.minimum(extent, size)
    start = np.clip((low + high) / 2 - extent / 2, 0, size - extent)
    return np.concatenate([np.floor(start), np.minimum(np.ceil(start + extent), size)])


def _frame(box: NDArray[np.float64], part: NDArray[np.float64], scale: float, kind: str, label: str) -> Frame:
    """A box (xyxy) where it lies in a picture of `part` of the image, `scale` units a pixel."""
    left, top = ((box[:2] - part[:2]) * scale).round(1).tolist()
    width, height = ((box[2:] - box[:2]) * scale).round(1).tolist()
    return Frame(left, top, width, height, kind, label)


def _encode(pixels: NDArray[np.uint8], part: NDArray[np.float64], limits: Gallery) -> str:
    """The part of a photograph as a ``data:`` address of a JPEG, at most ``limits.pixels`` long.

    The same pixels give the same text: nothing but the picture is in it.
    """
    left, top, right, bottom = part.astype(int).tolist()
    picture = Image.fromarray(pixels[top:bottom, left:right])
    picture.thumbnail((limits.pixels, limits.pixels), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=limits.quality, optimize=True)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")
