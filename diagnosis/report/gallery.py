"""Examples for the page: errors, missed objects, and objects on which two detectors disagree, with pictures.

Where there is no photograph the boxes are drawn on an empty ground of the image's shape.
"""

from __future__ import annotations

import base64
import io
import itertools
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from data.boxes import area, clip, intersection
from data.formats.processes import usable_cores
from data.records import GroundTruth, InputError
from diagnosis.breakdown import BACKGROUND, BACKGROUND_IOU, CORRECT, ERROR_TYPES, LOCALIZATION, NONE
from diagnosis.flow import FATES, MISSED, deciding_detections, fates
from diagnosis.photographs import read_picture
from diagnosis.record import Diagnosis
from diagnosis.words import worst_classes
from diagnosis.worst_cases import first_of_each, largest_first

__all__ = ["Examples", "Gallery", "collect", "part_around"]

MAX_OTHER_OBJECTS = 15
"""Drawn in one picture."""
MARGIN = 0.2
"""Around the boxes, of their longer side."""
SMALLEST_SIDE_PIXELS = 40.0
"""Of a part of an image."""
LANDSCAPE = 4 / 3
"""Shape that a part is widened to, as far as the image reaches."""
TOP_CONFUSIONS, EACH_CONFUSION = 30, 3
"""How many of the most frequent confusions have pictures whatever their rank, and how many each."""
SHARES = {"errors": 0.5, "missed": 0.2, "only": 0.2, "neither": 0.1}
"""Of the pictures, by side: false positives, missed objects, objects that only one detector of a pair finds,
objects that neither finds."""
MAX_DETECTORS_IN_PAIRS = 4
"""With more detectors each is paired with the first alone."""


@dataclass(frozen=True)
class Gallery:
    """How many examples the page may hold.

    Parameters
    ----------
    each
        Examples, at most, of each side, detector, class and error type.
    total
        Examples, at most, in all.
    pixels
        Longest side of a part of a photograph.
    quality
        Of the JPEG pictures, from 1 to 95.
    megabytes
        Of all photographs, as they are in the page (1 MB: a million bytes). Where they would exceed it,
        examples are left out: first the least confident ones of each detector, class and type.
    """

    each: int = 4
    total: int = 480
    pixels: int = 300
    quality: int = 75
    megabytes: float = 9.0


class Pick(NamedTuple):
    """An example before its picture is made.

    `side` is a key of :data:`SHARES`; `detector` is the one in question: of a pair, the one that has found
    the object, or the second of the two that have not. `kind` is the error type, or the fate of the object
    under the detector that has not found it; `before` its fate under the first, where neither has.
    `detections` are pairs of a detector and a row.
    """

    side: str
    detector: int
    versus: int
    label: int
    kind: str
    before: str
    object_row: int
    detections: tuple[tuple[int, int], ...]
    score: float
    words: str


class Examples(NamedTuple):
    """What the gallery shows, as plain records; how many such cases there are in all, by side, detector and
    other detector; and why photographs could not be read.
    """

    shown: list[dict[str, Any]]
    totals: list[tuple[str, int, int, int]]
    unread: list[str]


def collect(diagnoses: Sequence[Diagnosis], limits: Gallery) -> Examples:
    """The examples of all detectors, the most confident first; of each side, every detector or pair has the
    same share of the places.
    """
    deciding = [deciding_detections(diagnosis) for diagnosis in diagnoses]
    outcomes = [fates(diagnosis) for diagnosis in diagnoses]
    several = len(diagnoses) <= MAX_DETECTORS_IN_PAIRS
    pairs = [pair for pair in itertools.combinations(range(len(diagnoses)), 2) if several or pair[0] == 0]
    found: list[tuple[float, list[Pick]]] = []
    totals = []
    for detector, diagnosis in enumerate(diagnoses):
        totals.append(("errors", detector, NONE, int((diagnosis.breakdown.counted_types > CORRECT).sum())))
        totals.append(("missed", detector, NONE, int((outcomes[detector] == MISSED).sum())))
        found.append((SHARES["errors"] / len(diagnoses), _errors(diagnosis, detector, limits.each)))
        rows = largest_first(diagnosis.truth, np.flatnonzero(outcomes[detector] == MISSED))
        rows = first_of_each(rows, diagnosis.truth.labels[rows], limits.each)
        found.append(
            (SHARES["missed"] / len(diagnoses), [_missed(diagnosis, detector, int(row)) for row in rows])
        )
    for a, b in pairs:
        right = [outcomes[a] == CORRECT, outcomes[b] == CORRECT]
        asked = outcomes[a] >= 0
        for side, detector, versus, mask in (
            ("only", a, b, asked & right[0] & ~right[1]),
            ("only", b, a, asked & right[1] & ~right[0]),
            ("neither", b, a, asked & ~right[0] & ~right[1]),
        ):
            totals.append((side, detector, versus, int(mask.sum())))
            picks = list(
                _disagreements(diagnoses, outcomes, deciding, side, detector, versus, mask, limits.each)
            )
            found.append((SHARES[side] / len(pairs) / (2 if side == "only" else 1), picks))
    worst = worst_classes(*diagnoses)  # the first screen shows an example of each
    chosen = [pick for share, picks in found for pick in _best(picks, worst, round(share * limits.total))]
    shown, unread = _draw(diagnoses, chosen, limits)
    return Examples(_within(shown, 1e6 * limits.megabytes), totals, unread)


def _best(picks: Sequence[Pick], worst: Sequence[int], most: int) -> list[Pick]:
    """The first of each class and type, then the second of each, and so on; of a round those of the `worst`
    classes, then the most confident."""
    place: dict[tuple[int, str, str], int] = {}
    ranked = []
    for number, pick in enumerate(picks):
        group = pick.label, pick.kind, pick.before
        place[group] = place.get(group, -1) + 1
        ranked.append((place[group], pick.label not in worst, -pick.score, number))
    return [picks[number] for *_, number in sorted(ranked)[:most]]


# ---- which ---------------------------------------------------------------------------------------


def _errors(diagnosis: Diagnosis, detector: int, each: int) -> list[Pick]:
    """The most confident errors of each class and type among those counted, and of the top confusions."""
    detections, truth, found = diagnosis.detections, diagnosis.truth, diagnosis.referenced_objects
    order = diagnosis.matching.order
    types = diagnosis.breakdown.counted_types[order]
    rows = first_of_each(
        order[types > CORRECT],
        (detections.labels[order] * len(ERROR_TYPES) + types)[types > CORRECT],
        each,
    )
    threshold = np.nan_to_num(diagnosis.confusion.score, nan=-np.inf)
    confused = order[(found.confused_with >= 0)[order] & (detections.scores >= threshold)[order]]
    pair = found.confused_with[confused] * len(truth.classes) + detections.labels[confused]
    pairs, numbers = np.unique(pair, return_counts=True)
    top = pairs[np.argsort(-numbers, kind="stable")[:TOP_CONFUSIONS]]
    here = np.isin(pair, top)
    more = first_of_each(confused[here], pair[here], min(each, EACH_CONFUSION))
    rows = np.concatenate([rows, np.setdiff1d(more, rows)])
    made = []
    for row in rows.tolist():
        kind, overlap = int(found.types[row]), float(found.overlaps[row])
        object_row = NONE if kind == BACKGROUND else int(found.object_rows[row])
        if object_row == NONE:
            words = f"IoU below {BACKGROUND_IOU:g} with any object" if overlap > 0 else "touches no object"
        elif kind == LOCALIZATION:
            words = f"IoU {overlap:.2f}" + (", but found before" if found.duplicate[row] else "")
        else:
            words = f"truth: {truth.classes[truth.labels[object_row]]}, IoU {overlap:.2f}"
        label, score = int(detections.labels[row]), float(detections.scores[row])
        name = ERROR_TYPES[kind].name
        made.append(
            Pick("errors", detector, NONE, label, name, "", object_row, ((detector, row),), score, words)
        )
    return made


def _missed(diagnosis: Diagnosis, detector: int, row: int) -> Pick:
    """An object that no counted detection speaks for, and the detection that overlaps it most."""
    truth, detections = diagnosis.truth, diagnosis.detections
    here = np.flatnonzero(detections.image_index == truth.image_index[row])
    boxes = clip(detections.boxes[here], truth.sizes[truth.image_index[row]])
    common = intersection(boxes, truth.boxes[row])
    overlaps = common / (area(boxes) + area(truth.boxes[row]) - common)
    nearest: tuple[tuple[int, int], ...] = ()
    words = "no detection overlaps it"
    if len(here) and (best := int(overlaps.argmax())) >= 0 and overlaps[best] >= BACKGROUND_IOU:
        found = int(here[best])
        nearest = ((detector, found),)
        name, score = truth.classes[detections.labels[found]], detections.scores[found]
        words = f"nearest: {name} {score:.2g}, IoU {overlaps[best]:.2f}, not counted"
    size = float(area(truth.boxes[row]) / np.prod(truth.sizes[truth.image_index[row]]))
    label = int(truth.labels[row])
    return Pick("missed", detector, NONE, label, FATES[MISSED].name, "", row, nearest, size, words)


def _disagreements(
    diagnoses: Sequence[Diagnosis],
    outcomes: Sequence[NDArray[np.int8]],
    deciding: Sequence[NDArray[np.int64]],
    side: str,
    detector: int,
    versus: int,
    mask: NDArray[np.bool_],
    each: int,
) -> Iterator[Pick]:
    """Objects that `detector` alone finds, the most confident first; or that neither finds, the largest."""
    truth = diagnoses[0].truth
    loser = versus if side == "only" else detector
    fate = outcomes[loser].astype(np.int64) * len(FATES) + (outcomes[versus] if side == "neither" else 0)
    rows = np.flatnonzero(mask)
    if side == "only":
        confidence = diagnoses[detector].detections.scores[deciding[detector][rows]]
        rows = rows[np.argsort(-confidence, kind="stable")]
    else:
        rows = largest_first(truth, rows)
    for row in first_of_each(rows, truth.labels[rows] * len(FATES) ** 2 + fate[rows], each).tolist():
        speaking = [(one, int(deciding[one][row])) for one in (versus, detector)]
        boxes = tuple((one, best) for one, best in speaking if best != NONE)
        scores = [float(diagnoses[one].detections.scores[best]) for one, best in boxes]
        kind = FATES[outcomes[loser][row]].name
        before = FATES[outcomes[versus][row]].name if side == "neither" else ""
        yield Pick(
            side,
            detector,
            versus,
            int(truth.labels[row]),
            kind,
            before,
            row,
            boxes,
            max(scores, default=0.0),
            "",
        )


# ---- pictures ------------------------------------------------------------------------------------


def _draw(
    diagnoses: Sequence[Diagnosis], picks: Sequence[Pick], limits: Gallery
) -> tuple[list[dict[str, Any]], list[str]]:
    """The records of all examples, in their order; and why photographs could not be read."""
    truth = diagnoses[0].truth
    by_image: dict[int, list[int]] = {}
    for number, pick in enumerate(picks):
        by_image.setdefault(_image_of(diagnoses, pick), []).append(number)

    def of_image(image: int) -> tuple[dict[int, dict[str, Any]], str]:
        pixels, reason = _photograph(truth, image)  # each is read once
        made = {
            number: _record(diagnoses, picks[number], image, pixels, limits) for number in by_image[image]
        }
        return made, f"{truth.images[image]}: {reason}" if reason else ""

    images = sorted(by_image)
    if truth.files:  # reading, scaling and encoding leave Python's lock free
        with ThreadPoolExecutor(usable_cores()) as pool:
            done = list(pool.map(of_image, images))
    else:
        done = list(map(of_image, images))
    records = {number: record for made, _ in done for number, record in made.items()}
    return [records[number] for number in range(len(picks))], [reason for _, reason in done if reason]


def _image_of(diagnoses: Sequence[Diagnosis], pick: Pick) -> int:
    if pick.object_row != NONE:
        return int(diagnoses[0].truth.image_index[pick.object_row])
    detector, row = pick.detections[0]
    return int(diagnoses[detector].detections.image_index[row])


def _record(
    diagnoses: Sequence[Diagnosis],
    pick: Pick,
    image: int,
    pixels: NDArray[np.uint8] | None,
    limits: Gallery,
) -> dict[str, Any]:
    """What the page reads of an example. Frames are left, top, width, height, what it is, class, score and
    detector; the object in question and the detections come last.
    """
    truth = diagnoses[0].truth
    size = truth.sizes[image].astype(np.float64)
    boxes = [
        (np.clip(diagnoses[one].detections.boxes[row], 0, np.tile(size, 2)), one, row)
        for one, row in pick.detections
    ]
    wanted = [] if pick.object_row == NONE else [truth.boxes[pick.object_row]]
    part = np.append([0.0, 0.0], size)
    if pixels is not None:
        part = part_around([*wanted, *(box for box, _, _ in boxes)], size)
    scale = limits.pixels / float((part[2:] - part[:2]).max())

    def frame(box: NDArray[np.float64], what: str, label: int, *more: float) -> list[Any]:
        sides = [*(box[:2] - part[:2]) * scale, *(box[2:] - box[:2]) * scale]
        return [*(round(float(side), 1) for side in sides), what, label, *more]

    frames = []
    here = np.flatnonzero(truth.image_index == image)
    reach = np.minimum(truth.boxes[here, 2:], part[2:]) - np.maximum(truth.boxes[here, :2], part[:2])
    here = here[(reach > 0).all(axis=1) & (here != pick.object_row)]
    here = here[np.argsort(-area(truth.boxes[here]), kind="stable")][:MAX_OTHER_OBJECTS]
    for row in here.tolist():  # the largest first
        what = "ignored" if diagnoses[0].matching.ignored[row] else "beside"
        frames.append(frame(truth.boxes[row], what, int(truth.labels[row])))
    frames += [frame(box, "wanted", int(truth.labels[pick.object_row])) for box in wanted]
    for box, one, row in boxes:
        found = diagnoses[one].detections
        frames.append(frame(box, "found", int(found.labels[row]), float(found.scores[row]), one))
    return {
        "side": pick.side,
        "detector": pick.detector,
        "versus": pick.versus,
        "label": pick.label,
        "kind": pick.kind,
        "before": pick.before,
        "truth": NONE if pick.object_row == NONE else int(truth.labels[pick.object_row]),
        "score": pick.score,
        "words": pick.words,
        "image": truth.images[image],
        "size": [round(float(side), 1) for side in (part[2:] - part[:2]) * scale],
        "photo": "" if pixels is None else _encode(pixels, part, limits),
        "frames": frames,
    }


def _within(shown: list[dict[str, Any]], size: float) -> list[dict[str, Any]]:
    """As many examples, in the same order, as have photographs of `size` bytes together: the first of each
    side, detector, class and type, then the second ones, and so on.
    """
    place: dict[tuple[Any, ...], int] = {}
    ranked = []
    for number, one in enumerate(shown):
        group = one["side"], one["detector"], one["versus"], one["label"], one["kind"], one["before"]
        place[group] = place.get(group, -1) + 1
        ranked.append((place[group], -one["score"], number))
    ranked.sort()
    total = np.cumsum([len(shown[number]["photo"]) for *_, number in ranked])
    kept = sorted(number for (*_, number), so_far in zip(ranked, total, strict=True) if so_far <= size)
    return [shown[number] for number in kept]


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


def _encode(pixels: NDArray[np.uint8], part: NDArray[np.float64], limits: Gallery) -> str:
    """The part of a photograph as a ``data:`` address of a JPEG, at most ``limits.pixels`` long.

    The same pixels give the same text: nothing but the picture is in it.
    """
    left, top, right, bottom = part.astype(int).tolist()
    picture = Image.fromarray(pixels[top:bottom, left:right])
    picture.thumbnail((limits.pixels, limits.pixels), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=limits.quality)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")
