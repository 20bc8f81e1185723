"""Detections as a file has them, checked all at once: what is wrong is named, or dropped and counted."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from data.formats.names import NO_INDEX, hint
from data.records import Detections, GroundTruth, InputError

__all__ = ["Fault", "Rows", "Tally", "checked", "swapped"]

ROUNDING = 1e-6
"""How far rounding in a file may invert a box that has no width, in pixels."""

SHOWN = 60  # characters of a value in a message


class Fault(NamedTuple):
    """What is wrong with one row."""

    where: str
    found: str
    expected: str
    kind: str
    """In a few words, for counting: ``on an unknown image``."""


@dataclass
class Tally:
    """Faults of one source: the first is raised or, in lenient reading, all are counted.

    Parameters
    ----------
    source
        The file or folder, or the name of the argument.
    lenient
        Count instead of raising.
    things
        What the rows are.
    """

    source: object
    lenient: bool
    things: str = "detections"
    counts: dict[str, int] = field(default_factory=dict)
    first: Fault | None = None

    def add(self, fault: Fault, count: int = 1) -> None:
        """Raise the fault, or note that `count` rows have one of its kind."""
        if not self.lenient:
            raise InputError(fault.where, fault.found, fault.expected)
        self.first = self.first or fault
        self.counts[fault.kind] = self.counts.get(fault.kind, 0) + count

    def warn(self, kept: int) -> None:
        """Say how many were left out, why, and where the first one stands."""
        if self.first is None:
            return
        dropped = sum(self.counts.values())
        kinds = ", ".join(f"{count:,} {kind}" for kind, count in self.counts.items())
        where, found, expected, _ = self.first
        warnings.warn(
            f"{self.source}: {dropped:,} of {dropped + kept:,} {self.things} left out ({kinds}), "
            f"the first at {where}: found {found}; expected {expected}",
            stacklevel=3,
        )


class Rows(NamedTuple):
    """M detections as read, and how to speak of them."""

    image_index: NDArray[np.int64]
    """``(M,)`` −1: an unknown image."""
    labels: NDArray[np.int64]
    """``(M,)`` −1: an unknown class."""
    scores: NDArray[np.float64]
    """``(M,)``"""
    boxes: NDArray[np.float64]
    """``(M, 4)`` xyxy, continuous pixels."""
    where: Callable[[int], str]
    """File and line or index of a row."""
    image: Callable[[int], object]
    """What a row calls its image."""
    label: Callable[[int], object]
    """What a row calls its class."""
    numbers: str = ""
    """What a class that is called by a number should be."""
    sized: bool = False
    """Whether the file gives width and height: no clipping to the image makes these negative."""


def swapped(boxes: NDArray[np.float64], limits: NDArray[np.float64]) -> NDArray[np.bool_]:
    """``(M,)`` which boxes are inverted for no good reason.

    A box beyond the image and clipped to it is inverted for a good reason: one end lies on the
    border (to a pixel, as tools count from 0 or 1), the other still beyond it.

    Parameters
    ----------
    boxes
        ``(M, 4)`` xyxy.
    limits
        ``(M, 2)`` width and height of each box's image; infinite where unknown.
    """
    low, high = boxes[:, :2], boxes[:, 2:]
    clipped = ((np.abs(low) <= 1) & (high <= 0)) | ((low >= limits) & (np.abs(high - limits) <= 1))
    return np.asarray(((high < low - ROUNDING) & ~clipped).any(axis=1), dtype=np.bool_)


def checked(truth: GroundTruth, rows: Rows, tally: Tally) -> Detections:
    """The record of the rows, in their order.

    Parameters
    ----------
    truth
        Whose images and classes the rows point into.
    rows
        As read.
    tally
        Takes what is wrong: a row on an unknown image, of an unknown class, with a score or box that is not
        finite, with an inverted box. Its warning is given here.

    Raises
    ------
    InputError
        The first such row, unless reading is lenient.
    """
    low, high = rows.boxes[:, :2], rows.boxes[:, 2:]
    if (
        (rows.image_index >= 0).all()
        and (rows.labels >= 0).all()
        and np.isfinite(rows.scores).all()
        and np.isfinite(rows.boxes).all()
        and (low <= high).all()
    ):
        tally.warn(len(rows.scores))
        return _record(truth, rows, rows.boxes, slice(None))

    # Something is wrong somewhere, or a box is inverted for a good reason: only now row by row.
    finite = np.isfinite(rows.boxes).all(axis=1)
    known = rows.image_index >= 0
    limits = np.full((len(known), 2), np.inf)
    limits[known] = truth.sizes[rows.image_index[known]]
    inverted = np.zeros(len(known), dtype=bool)
    if rows.sized:
        inverted[finite] = (high < low)[finite].any(axis=1)
    else:
        inverted[finite] = swapped(rows.boxes[finite], limits[finite])
    bad = np.stack(
        [~known, rows.labels == NO_INDEX, ~np.isfinite(rows.scores), ~finite, inverted], axis=1
    )  # (M, 5): each kind of fault
    faulty = np.flatnonzero(bad.any(axis=1))
    kinds = bad[faulty].argmax(axis=1)  # a row counts once
    _, first, counts = np.unique(kinds, return_index=True, return_counts=True)
    for place in np.argsort(first).tolist():
        row = int(faulty[first[place]])
        tally.add(_fault(truth, rows, row, int(kinds[first[place]])), int(counts[place]))
    keep = np.delete(np.arange(len(bad)), faulty)
    tally.warn(len(keep))
    boxes = np.concatenate([low, np.maximum(low, high)], axis=1)[keep]
    return _record(truth, rows, boxes, keep)


def _record(
    truth: GroundTruth, rows: Rows, boxes: NDArray[np.float64], keep: NDArray[np.int64] | slice
) -> Detections:
    image_index, labels, scores = rows.image_index[keep], rows.labels[keep], rows.scores[keep]
    return Detections(truth.images, truth.classes, image_index, labels, scores, boxes)


def _fault(truth: GroundTruth, rows: Rows, row: int, number: int) -> Fault:
    """The fault of a row, `number` of the kinds in the order of :func:`checked`."""
    where = rows.where(row)
    if number == 0:
        key = rows.image(row)
        expected = f"an image of the ground truth{hint(key, truth.images)}"
        return Fault(where, f"the unknown image {_shown(key)}", expected, "on an unknown image")
    if number == 1:
        key = rows.label(row)
        expected = _class_expected(truth, key, rows.numbers)
        return Fault(where, f"the unknown class {_shown(key)}", expected, "of an unknown class")
    if number == 2:
        found = f"the score {rows.scores[row]:g}"
        return Fault(where, found, "a finite number", "with a score that is not finite")
    box = " ".join(f"{value:g}" for value in rows.boxes[row].tolist())
    if number == 3:
        return Fault(where, f"the box {box}", "four finite numbers", "with a box that is not finite")
    expected = "xmin <= xmax and ymin <= ymax" + ": no negative width or height" * rows.sized
    return Fault(where, f"the inverted box {box}", expected, "with an inverted box")


def _class_expected(truth: GroundTruth, key: object, numbers: str) -> str:
    if numbers and str(key).lstrip("-").isdecimal():
        return numbers
    if isinstance(key, int) and not truth.class_ids:
        return "the name of a class: this ground truth has no category ids (COCO JSON has)"
    if isinstance(key, int):
        ids = ", ".join(map(str, truth.class_ids))
        return f"a category id of the ground truth: {ids if len(ids) <= SHOWN else ids[:SHOWN] + ' …'}"
    names = ", ".join(truth.classes)
    near = hint(key, truth.classes)
    return f"a class of the ground truth{near or ': ' + (names if len(names) < 200 else names[:200] + ' …')}"


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}…"
