"""The confusion matrix of a detector at one score threshold, background included.

Boxes are matched whatever their classes, then the classes are compared. Pairs of a detection and an object
that overlap enough are formed from the largest IoU on, each box in one pair at most; of equal overlaps the
pair of equal classes comes first, then the higher-scoring detection. Detections that are left over lie on
background, objects that are left over are not found. Detections that are left over and overlap a difficult
object as much, or lie in a crowd region of their class, are not counted.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from data.records import InputError
from diagnosis.average_precision import best_f1
from diagnosis.breakdown import CORRECT_IOU, shares_of
from diagnosis.matching import Matching, greedy_pairs

ON_BACKGROUND, NOT_IN_MATRIX = -1, -2
"""Of detections without a partner."""


@dataclass(frozen=True, eq=False)
class ConfusionMatrix:
    """How many objects of each class were taken for which.

    Parameters
    ----------
    classes
        Names of the C classes.
    counts
        ``(C + 1, C + 1)`` rows: what is there; columns: what was detected. The last row is background, the
        last column objects that were not found; the cell of both is 0.
    score
        Detections of this score or more were kept; NaN: all were.
    iou
        Smallest IoU of a pair.
    partners
        ``(D,)`` row of the object that each detection is paired with; :data:`ON_BACKGROUND` for one that is
        left over, :data:`NOT_IN_MATRIX` for one that is not in the matrix.
    """

    classes: tuple[str, ...]
    counts: NDArray[np.int64]
    score: float
    iou: float
    partners: NDArray[np.int64]

    def shares(self) -> NDArray[np.float64]:
        """``(C + 1, C + 1)`` each row as fractions of its sum; NaN where nothing is there."""
        return shares_of(self.counts)


def confusion_matrix(
    matching: Matching, *, score: float | None = None, iou: float = CORRECT_IOU
) -> ConfusionMatrix:
    """Count which objects were taken for which classes.

    Parameters
    ----------
    matching
        The overlaps.
    score
        Lowest score of a detection that counts. Default: that of the largest F1 over all classes (see
        :func:`diagnosis.average_precision.best_f1`); without a true positive, every one counts.
    iou
        Smallest IoU of a pair, boxes not clipped.

    Raises
    ------
    InputError
        If `iou` is not in (0, 1].

    Examples
    --------
    >>> from data.records import Detections, GroundTruth
    >>> from diagnosis.matching import match
    >>> names = ["a"], ["cat", "dog"]
    >>> truth = GroundTruth(*names, [[90, 90]], [0, 0], [0, 1], [[0, 0, 10, 10], [50, 50, 60, 60]])
    >>> found = Detections(*names, [0, 0], [1, 1], [0.9, 0.8], [[0, 0, 10, 10], [80, 0, 90, 10]])
    >>> confusion_matrix(match(truth, found), score=0.5).counts.tolist()  # a cat taken for a dog
    [[0, 1, 0], [0, 0, 1], [0, 1, 0]]
    """
    if not 0 < iou <= 1:
        raise InputError("iou", f"{iou:g}", "a number above 0, up to 1")
    truth, found = matching.truth, matching.detections
    cut = best_f1(matching, iou=iou).overall.score if score is None else float(score)
    kept = np.ones(len(found), dtype=bool) if np.isnan(cut) else found.scores >= cut

    overlap, detection, object_ = matching.pair_iou_unclipped, matching.pair_detection, matching.pair_object
    good = (overlap >= iou) & kept[detection]
    overlap, detection, object_ = overlap[good], detection[good], object_[good]
    ignored = matching.ignored[object_]
    pairs = np.flatnonzero(~ignored)
    differ = found.labels[detection[pairs]] != truth.labels[object_[pairs]]
    pairs = pairs[np.lexsort((detection[pairs], -found.scores[detection[pairs]], differ, -overlap[pairs]))]
    # The best pair first: each detection has its list of objects in this order.
    by_detection = np.argsort(detection[pairs], kind="stable")
    mine, its = detection[pairs][by_detection], object_[pairs][by_detection]
    matched = greedy_pairs(mine, its, len(truth), by_detection.astype(np.int32))
    partner = np.full(len(found), ON_BACKGROUND, dtype=np.int64)
    partner[mine[matched]] = its[matched]

    excused = matching.in_crowd.copy()
    excused[detection[ignored]] = True
    paired = partner >= 0
    alone = kept & ~paired & ~excused
    missed = ~matching.ignored
    missed[partner[paired]] = False
    size = len(truth.classes) + 1
    rows = np.concatenate(
        [truth.labels[partner[paired]], np.full(alone.sum(), size - 1), truth.labels[missed]]
    )
    columns = np.concatenate([found.labels[paired], found.labels[alone], np.full(missed.sum(), size - 1)])
    counts = np.bincount(rows * size + columns, minlength=size * size).reshape(size, size)
    partner[~paired & ~alone] = NOT_IN_MATRIX
    return ConfusionMatrix(truth.classes, counts, cut, iou, partner)
