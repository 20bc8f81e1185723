"""The surest errors of each detector, class and error type, with their boxes on the photographs.

Where there is no photograph the boxes stand on an empty ground of the image's shape.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from data.records import GroundTruth
from diagnosis.breakdown import BACKGROUND, ERROR_TYPES, LOCALIZATION, WEAK, verdicts
from diagnosis.record import Diagnosis
from diagnosis.report.content import Gallery
from diagnosis.report.pictures import Frame, Photographs, encode, frame, part_around

__all__ = ["Example", "Examples", "choose", "collect"]

MOST_OBJECTS = 25  # other objects drawn in one picture


@dataclass(frozen=True)
class Example:
    """One error: whose, of which class and type, how sure, what it overlaps, and its picture.

    Parameters
    ----------
    detector, label, kind
        Indices into the detectors, the classes and :data:`diagnosis.breakdown.ERROR_TYPES`.
    score
        Confidence.
    place
        In the ranking of its class, from 1.
    words
        What it overlaps.
    image
        Name of the image.
    width, height
        Of the picture, the longer one ``Gallery.pixels``.
    photograph
        ``data:`` address of the part of the photograph, or empty.
    frames
        The boxes; the object that the error is about, and then the detection, come last.
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


@dataclass(frozen=True)
class Examples:
    """What the gallery shows, and why photographs are missing.

    Parameters
    ----------
    shown
        By detector, class, error type and rank.
    errors
        How many errors there are among the detections counted, of all detectors.
    unread
        For each image whose photograph could not be read, why; empty if there are no photographs at all.
    """

    shown: tuple[Example, ...]
    errors: int
    unread: tuple[str, ...]


def choose(diagnosis: Diagnosis, each: int, total: int) -> NDArray[np.int64]:
    """The surest errors among the detections that the breakdown counts.

    Parameters
    ----------
    diagnosis
        The detector.
    each
        At most so many of each class and error type.
    total
        At most so many in all: first the surest of each class and type, then the second, and so on.

    Returns
    -------
    NDArray
        Indices of detections, by class, then error type, then rank.
    """
    rows = np.flatnonzero(diagnosis.breakdown.verdict > 0)
    kinds = diagnosis.breakdown.verdict[rows].astype(np.int64)
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
        photographs = Photographs(diagnosis.truth)
        shown += _examples(diagnosis, position, rows, photographs, limits)
        unread |= photographs.unread
    shown = _within(shown, 1e6 * limits.megabytes - drawn)
    errors = sum(int((diagnosis.breakdown.verdict > 0).sum()) for diagnosis in diagnoses)
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
    diagnosis: Diagnosis,
    position: int,
    rows: NDArray[np.int64],
    photographs: Photographs,
    limits: Gallery,
) -> list[Example]:
    about, overlap, again = _about(diagnosis, rows)
    detections, truth = diagnosis.detections, diagnosis.truth
    made: dict[int, Example] = {}
    # Image by image, so that each photograph is read once.
    for n in np.argsort(detections.image_index[rows], kind="stable").tolist():
        row, object_ = int(rows[n]), int(about[n])
        image, label = int(detections.image_index[row]), int(detections.labels[row])
        kind, size = int(diagnosis.breakdown.verdict[row]), truth.sizes[image].astype(np.float64)
        box = np.clip(detections.boxes[row], 0, np.tile(size, 2))
        pixels = photographs.read(image)
        wanted = [truth.boxes[object_]] if object_ >= 0 else []
        part = np.append([0.0, 0.0], size) if pixels is None else part_around([box, *wanted], size)
        scale = limits.pixels / float((part[2:] - part[:2]).max())
        width, height = ((part[2:] - part[:2]) * scale).round(1).tolist()
        frames = _beside(diagnosis, image, object_, part, scale)
        if object_ >= 0:
            frames.append(frame(wanted[0], part, scale, "wanted", truth.classes[truth.labels[object_]]))
        made[n] = Example(
            position,
            label,
            kind,
            float(detections.scores[row]),
            int(diagnosis.matching.rank[row]) + 1,
            _words(truth, kind, object_, float(overlap[n]), bool(again[n])),
            truth.images[image],
            width,
            height,
            "" if pixels is None else encode(pixels, part, limits),
            (*frames, frame(box, part, scale, "found", truth.classes[label])),
        )
    return [made[n] for n in range(len(rows))]


def _about(
    diagnosis: Diagnosis, rows: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.bool_]]:
    """For each error: the object it is about or −1, the largest IoU with that class (of a background error:
    with any), and whether it found what another detection had found before.
    """
    matching, kinds = diagnosis.matching, diagnosis.breakdown.verdict[rows]
    if not len(rows) or not len(matching.group_label):
        return np.full(len(rows), -1), np.zeros(len(rows)), np.zeros(len(rows), dtype=bool)
    confused = verdicts(matching, diagnosis.similar, strong=diagnosis.iou).confused_with[rows]
    label = np.where(kinds == LOCALIZATION, diagnosis.detections.labels[rows], confused)
    classes = len(matching.truth.classes)
    keys = matching.group_detection * classes + matching.group_label  # rises
    group = np.minimum(np.searchsorted(keys, rows * classes + label), len(keys) - 1)
    exists = (kinds != BACKGROUND) & (keys[group] == rows * classes + label)
    about = np.where(exists, matching.pair_object[matching.group_start[group]], -1)
    largest = np.zeros(len(matching.detections))
    np.maximum.at(largest, matching.group_detection, matching.group_iou)
    overlap = np.where(exists, matching.group_iou[group], largest[rows])
    return about, overlap, exists & (kinds == LOCALIZATION) & (overlap >= diagnosis.iou)


def _words(truth: GroundTruth, kind: int, object_: int, overlap: float, again: bool) -> str:
    if object_ < 0:
        return f"IoU below {WEAK:g} with any object" if overlap > 0 else "touches no object"
    if kind == LOCALIZATION:
        return f"IoU {overlap:.2f}" + (", but found before" if again else "")
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
    return [
        frame(
            boxes[index],
            part,
            scale,
            "ignored" if diagnosis.matching.ignored[index] else "beside",
            truth.classes[truth.labels[index]],
        )
        for index in here[:MOST_OBJECTS].tolist()
    ]
