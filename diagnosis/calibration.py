"""Whether a score is the probability of being right: reliability curve and expected calibration error.

The error is that of Guo et al. (ICML 2017), section 2, of detections in place of classifications: the
accuracy of a bin is the share of true positives among its detections (its precision). Matched as VOC's
devkit does; hits of difficult objects and crowds are left out.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from diagnosis.breakdown import CORRECT_IOU
from diagnosis.matching import Matching, assign_devkit

BINS = 10


@dataclass(frozen=True, eq=False)
class Calibration:
    """Score against precision, in B bins of the score, of each of C classes.

    Parameters
    ----------
    classes
        Names of the classes.
    edges
        ``(B + 1,)`` of the bins, rising; a bin holds its lower edge, the last one its upper edge too.
    counts, true
        ``(C, B)`` detections, and true positives among them.
    score_sums
        ``(C, B)`` sum of the scores.
    reason
        Why there is no calibration, or empty. Scores beyond 0 and 1 are no probabilities: counts are then 0
        throughout.
    """

    classes: tuple[str, ...]
    edges: NDArray[np.float64]
    counts: NDArray[np.int64]
    true: NDArray[np.int64]
    score_sums: NDArray[np.float64]
    reason: str = ""

    def curve(self, label: int | None = None) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Mean score and precision of each bin ``(B,)``, of a class or of all; NaN where it is empty."""
        counts, true, sums = self._columns(label)
        some = np.maximum(counts, 1)
        return np.where(counts > 0, sums / some, np.nan), np.where(counts > 0, true / some, np.nan)

    def expected_error(self, label: int | None = None) -> float:
        """Mean distance of precision from mean score, weighted by the bins' detections; NaN without any."""
        return self._error(label)[0]

    def largest_error(self, label: int | None = None) -> float:
        """The largest distance of a bin's precision from its mean score; NaN without detections."""
        return self._error(label)[1]

    def _error(self, label: int | None) -> tuple[float, float]:
        counts = self._columns(label)[0]
        score, precision = self.curve(label)
        filled = counts > 0
        if not filled.any():
            return float("nan"), float("nan")
        gap = np.abs(precision - score)[filled]
        return float((gap * counts[filled]).sum() / counts.sum()), float(gap.max())

    def _columns(self, label: int | None) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
        if label is None:
            return self.counts.sum(axis=0), self.true.sum(axis=0), self.score_sums.sum(axis=0)
        return self.counts[label], self.true[label], self.score_sums[label]


def calibration(matching: Matching, *, iou: float = CORRECT_IOU) -> Calibration:
    """Sort the detections into ten bins of equal width by their scores, and count how many of each are right.

    Parameters
    ----------
    matching
        The overlaps.
    iou
        Smallest IoU of a true positive.

    Examples
    --------
    >>> from data.records import Detections, GroundTruth
    >>> from diagnosis.matching import match
    >>> truth = GroundTruth(["a"], ["dog"], [[90, 90]], [0], [0], [[0, 0, 10, 10]])
    >>> found = Detections(["a"], ["dog"], [0, 0], [0, 0], [0.75, 0.25], [[0, 0, 10, 10], [50, 0, 60, 10]])
    >>> calibration(match(truth, found)).expected_error()
    0.25
    """
    outcomes, found = assign_devkit(matching, iou).outcomes, matching.detections
    rows = np.flatnonzero(outcomes != 0)
    reason = "" if len(rows) else "no detection to count"
    if len(found.scores) and (found.scores.min() < 0 or found.scores.max() > 1):
        reason, rows = "scores lie beyond 0 and 1: they are no probabilities", rows[:0]
    edges = np.linspace(0.0, 1.0, BINS + 1)
    scores = found.scores[rows]
    place = np.minimum(np.searchsorted(edges, scores, side="right") - 1, BINS - 1)
    shape = (len(matching.truth.classes), BINS)
    cells, size = found.labels[rows] * BINS + place, shape[0] * BINS
    counts, true = (np.bincount(some, minlength=size) for some in (cells, cells[outcomes[rows] == 1]))
    sums = np.bincount(cells, scores, minlength=size).astype(np.float64)  # of nothing it gives integers
    return Calibration(
        matching.truth.classes, edges, counts.reshape(shape), true.reshape(shape), sums.reshape(shape), reason
    )
