"""The worst cases of each class: the errors of highest score, the hits of lowest score, the missed objects.

All are row numbers, of detections or of objects in the ground truth, for a gallery to draw.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from data.boxes import area
from data.records import GroundTruth, InputError
from diagnosis.breakdown import BACKGROUND_IOU, CORRECT, CORRECT_IOU, ERROR_TYPES, pie_error_types
from diagnosis.matching import Matching, assign


@dataclass(frozen=True, eq=False)
class WorstCases:
    """A few rows of each class that say most about a detector.

    Parameters
    ----------
    errors
        ``(E,)`` detections: by class, then by type, the highest score first.
    error_types
        ``(E,)`` type of each, an index into :data:`diagnosis.breakdown.ERROR_TYPES`.
    confused_with
        ``(E,)`` the class of the object behind a similar or other error, else −1.
    found_last
        ``(F,)`` correct detections of objects: by class, the lowest score first.
    found_objects
        ``(F,)`` the object that each of these found.
    missed
        ``(L,)`` objects that no detection found, difficult ones left out: by class, the largest first.
    """

    errors: NDArray[np.int64]
    error_types: NDArray[np.int8]
    confused_with: NDArray[np.int64]
    found_last: NDArray[np.int64]
    found_objects: NDArray[np.int64]
    missed: NDArray[np.int64]


def worst_cases(
    matching: Matching,
    similar: NDArray[np.bool_],
    each: int = 10,
    *,
    iou: float = CORRECT_IOU,
    background_iou: float = BACKGROUND_IOU,
) -> WorstCases:
    """The most telling detections and objects of each class.

    Errors are typed as in the pies (rules, section 3). Of equal scores the one that comes first in the file
    ranks higher. A class with fewer than asked for gives what it has; nothing at all gives empty columns.

    Parameters
    ----------
    matching, similar, iou, background_iou
        As in :func:`diagnosis.breakdown.break_down`.
    each
        How many of each class and type at most.

    Raises
    ------
    InputError
        A number below 0; thresholds that are not ``0 < background_iou <= iou <= 1``.

    Examples
    --------
    >>> from data.records import Detections, GroundTruth
    >>> from diagnosis.matching import match
    >>> truth = GroundTruth(["a"], ["dog"], [[90, 90]], [0, 0], [0, 0], [[0, 0, 9, 9], [20, 20, 80, 80]])
    >>> found = Detections(["a"], ["dog"], [0, 0], [0, 0], [0.9, 0.8], [[60, 0, 69, 9], [0, 0, 9, 8]])
    >>> worst = worst_cases(match(truth, found), np.zeros((1, 1), dtype=bool))
    >>> worst.errors.tolist(), worst.found_last.tolist(), worst.missed.tolist()
    ([0], [1], [1])
    """
    if each < 0:
        raise InputError("each", str(each), "0 or more")
    truth, labels, order = matching.truth, matching.detections.labels, matching.order
    error_types = pie_error_types(matching, similar, iou=iou, background_iou=background_iou)
    wrong = order[error_types.types[order] > CORRECT]
    errors = first_of_each(wrong, labels[wrong] * len(ERROR_TYPES) + error_types.types[wrong], each)

    assignment = assign(matching, iou)
    true = order[assignment.outcomes[order] == 1][::-1]  # the lowest score first
    found_last = first_of_each(true, labels[true], each)
    missed = missed_objects(matching, iou)
    missed = first_of_each(missed, truth.labels[missed], each)
    return WorstCases(
        errors,
        error_types.types[errors],
        error_types.confused_with[errors],
        found_last,
        assignment.object_rows[found_last],
        missed,
    )


def missed_objects(matching: Matching, iou: float = CORRECT_IOU) -> NDArray[np.int64]:
    """Rows of the objects that no detection is matched to, the largest first; ignored ones are left out."""
    missed = ~matching.ignored
    matched = assign(matching, iou).object_rows
    missed[matched[matched >= 0]] = False
    return largest_first(matching.truth, np.flatnonzero(missed))


def largest_first(truth: GroundTruth, rows: NDArray[np.int64]) -> NDArray[np.int64]:
    """Rows of objects by falling area of their boxes."""
    return rows[np.argsort(-area(truth.boxes[rows]), kind="stable")]


def first_of_each(rows: NDArray[np.int64], groups: NDArray[np.int64], each: int) -> NDArray[np.int64]:
    """The first `each` rows of every group: by group, then in the order given.

    Examples
    --------
    >>> first_of_each(np.array([10, 11, 12, 13, 14]), np.array([7, 3, 7, 7, 3]), 2).tolist()
    [11, 14, 10, 12]
    """
    order = np.argsort(groups, kind="stable")
    start = np.searchsorted(groups, groups[order], sorter=order)  # where the group of each begins
    return rows[order[np.arange(len(order)) - start < each]]
