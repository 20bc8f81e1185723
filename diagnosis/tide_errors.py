"""Which of TIDE's errors a detection is; rules, section 7, first that fits."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from diagnosis.assignment import greedy
from diagnosis.breakdown import STRONG, WEAK, ErrorType
from diagnosis.matching import Matching

__all__ = [
    "BEYOND",
    "BKG",
    "BOTH",
    "CLS",
    "CORRECT",
    "DUPE",
    "LOC",
    "MISS",
    "TIDE_ERRORS",
    "explain",
    "on_region",
    "type_errors",
]

# At least 29 apart (CIE76) in normal, protan, deutan and tritan vision. *loc* and *bkg* have the colours of
# localization and background, *cls* that of other.
TIDE_ERRORS: tuple[ErrorType, ...] = (
    ErrorType(
        "cls", "#B5179E", "The wrong class: an overlap (IoU) of at least 0.5 with an object of another."
    ),
    ErrorType("loc", "#88CCEE", "The right class in the wrong place: an overlap of 0.1 to 0.5."),
    ErrorType("both", "#A80000", "Wrong class and wrong place: an overlap of 0.1 to 0.5 with another class."),
    ErrorType(
        "dupe", "#DDCC77", "Right class and place, but a surer detection has found the object already."
    ),
    ErrorType("bkg", "#888888", "No overlap of more than 0.1 with any object."),
    ErrorType("miss", "#1A1A1A", "An object that is not found, and at which no cls or loc error points."),
)
"""The six errors, in tidecv's order. The explanations speak of the usual overlaps, see :func:`explain`."""

CLS, LOC, BOTH, DUPE, BKG, MISS = range(len(TIDE_ERRORS))
CORRECT, BEYOND = -1, -2
"""Types of a detection that is no error: it found an object; it is not among the best of its image."""


def explain(kind: ErrorType, iou: float, background: float) -> str:
    """The explanation of an error, for these overlaps.

    Examples
    --------
    >>> explain(TIDE_ERRORS[LOC], 0.75, 0.1)
    'The right class in the wrong place: an overlap of 0.1 to 0.75.'
    """
    words = {f"{STRONG:g}": f"{iou:g}", f"{WEAK:g}": f"{background:g}"}
    return " ".join(
        words.get(word.rstrip("."), word.rstrip(".")) + "." * word.endswith(".")
        for word in kind.explanation.split(" ")
    )


def type_errors(
    matching: Matching, considered: NDArray[np.bool_], iou: float, background: float
) -> tuple[NDArray[np.int8], NDArray[np.int64]]:
    """Type and target of each detection, those of an unclipped matching."""
    rows = np.flatnonzero(matching.pair_iou >= background)
    detection, object_ = matching.pair_detection[rows], matching.pair_object[rows]
    counted = considered[detection] & ~matching.ignored[object_]
    if not counted.all():
        kept = np.flatnonzero(counted)
        rows, detection, object_ = rows[kept], detection[kept], object_[kept]
    overlap = matching.pair_iou[rows]
    own = matching.truth.labels[object_] == matching.detections.labels[detection]
    types = np.where(considered, np.int8(BKG), np.int8(BEYOND))
    targets = np.full(len(types), -1, dtype=np.int64)
    types[detection[~own & (overlap > background)]] = BOTH

    # With objects of its own class: the pairs of a detection fall in IoU.
    with_own = np.flatnonzero(own)
    mine, its, size = detection[with_own], object_[with_own], overlap[with_own]
    first = np.flatnonzero(np.diff(mine, prepend=-1))
    last = np.append(first[1:], len(mine))
    twice = first[size[first] > iou]  # the taken ones of them are overwritten below
    types[mine[twice]], targets[mine[twice]] = DUPE, its[twice]

    # With objects of other classes: the largest IoU; of equal ones the object annotated first.
    strong = ~own & (overlap >= iou)
    theirs, mistaken = detection[strong], object_[strong]
    types[theirs] = CLS
    targets[theirs] = _first_largest(theirs, overlap[strong], mistaken)

    near = first[size[first] <= iou]
    types[mine[near]], targets[mine[near]] = LOC, its[near]

    able = size[first] >= iou
    first, last = first[able], last[able]
    rank, view = matching.rank[mine[first]], np.zeros_like(first)
    taken = greedy(first, last, size >= iou, its, len(matching.truth), rank, view, 1)
    taken = taken[taken >= 0]
    types[mine[taken]], targets[mine[taken]] = CORRECT, its[taken]
    return types, targets


def _first_largest(
    runs: NDArray[np.int64], values: NDArray[np.float64], objects: NDArray[np.int64]
) -> NDArray[np.int64]:
    """``(K,)`` in each run of equal `runs` the object of the largest value, of equal ones the lowest."""
    if not len(runs):
        return objects
    start = np.flatnonzero(np.diff(runs, prepend=-1))
    length = np.diff(start, append=len(runs))
    largest = np.repeat(np.maximum.reduceat(values, start), length)
    lowest = np.where(values == largest, objects, np.iinfo(np.int64).max)
    chosen: NDArray[np.int64] = np.repeat(np.minimum.reduceat(lowest, start), length)
    return chosen


def on_region(matching: Matching, regions: NDArray[np.bool_], share: float) -> NDArray[np.bool_]:
    """``(M,)`` more than `share` of its area lies within an ignore region of its class, or of any."""
    result = np.zeros(len(matching.detections), dtype=bool)
    if not matching.ignored.any():
        return result
    pairs = np.flatnonzero(matching.ignored[matching.pair_object])
    detection, object_ = matching.pair_detection[pairs], matching.pair_object[pairs]
    meant = regions[object_] | (matching.truth.labels[object_] == matching.detections.labels[detection])
    detection, object_ = detection[meant], object_[meant]
    box, region = matching.detections.boxes[detection], matching.truth.boxes[object_]
    sides = np.minimum(box[:, 2:], region[:, 2:]) - np.maximum(box[:, :2], region[:, :2])
    area = (box[:, 2:] - box[:, :2]).prod(axis=1)
    result[detection[sides.prod(axis=1) / area > share]] = True
    return result
