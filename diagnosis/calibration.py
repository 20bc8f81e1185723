"""Whether a score is the probability of being right: reliability curve and expected calibration error.

The error is that of Guo et al. (ICML 2017), section 2, of detections in place of classifications: the
accuracy of a bin is the share of true positives among its detections (its precision). Matched as VOC's
devkit does; hits of difficult objects and crowds are left out.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from data.records import InputError
from diagnosis.breakdown import STRONG
from diagnosis.matching import Matching, assign_devkit

__all__ = ["Calibration", "calibration"]


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


def calibration(
    matching: Matching,
    *,
    iou: float = STRONG,
    bins: int = 10,
    spacing: Literal["width", "count"] = "width",
    lowest: float = 0.0,
) -> Calibration:
    """Sort the detections into bins by their scores, and count how many of each are right.

    Parameters
    ----------
    matching
        The overlaps.
    iou
        Smallest IoU of a true positive.
    bins
        How many.
    spacing
        ``width``: bins of equal width from `lowest` to 1; ``count``: of about equally many detections, the
        classes taken together, of which equal scores share one.
    lowest
        Detections of lower scores are left out. Where a detector keeps thousands of very low scores, these
        otherwise decide the error, for each bin weighs as many as it holds.

    Raises
    ------
    InputError
        If `bins` is not positive, `spacing` is unknown, or `lowest` is not in [0, 1).

    Examples
    --------
    >>> from data.records import Detections, GroundTruth
    >>> from diagnosis.matching import match
    >>> truth = GroundTruth(["a"], ["dog"], [[90, 90]], [0], [0], [[0, 0, 10, 10]])
    >>> found = Detections(["a"], ["dog"], [0, 0], [0, 0], [0.75, 0.25], [[0, 0, 10, 10], [50, 0, 60, 10]])
    >>> calibration(match(truth, found), bins=2).expected_error()
    0.25
    """
    if bins < 1:
        raise InputError("bins", str(bins), "at least one")
    if spacing not in ("width", "count"):
        raise InputError("spacing", repr(spacing), "'width' or 'count'")
    if not 0 <= lowest < 1:
        raise InputError("lowest", f"{lowest:g}", "a score from 0 to below 1")
    labels, found = assign_devkit(matching, iou).labels, matching.detections
    rows = np.flatnonzero((labels != 0) & (found.scores >= lowest))
    scores = found.scores[rows]
    edges = np.linspace(lowest, 1.0, bins + 1)
    reason = ""
    if len(found.scores) and (found.scores.min() < 0 or found.scores.max() > 1):
        reason, rows, scores = "scores lie beyond 0 and 1: they are no probabilities", rows[:0], scores[:0]
    elif not len(rows):
        reason = "no detection to count"
    elif spacing == "count":
        inner = np.quantile(scores, np.arange(1, bins) / bins, method="higher")
        edges = np.unique(np.concatenate([[lowest], inner, [1.0]]))
    last = len(edges) - 2
    place = np.clip(np.searchsorted(edges, scores, side="right") - 1, 0, last)
    shape = (len(matching.truth.classes), last + 1)
    cells, size = found.labels[rows] * shape[1] + place, shape[0] * shape[1]
    counts, true = (np.bincount(some, minlength=size) for some in (cells, cells[labels[rows] == 1]))
    sums = np.bincount(cells, scores, minlength=size).astype(np.float64)  # of nothing it gives integers
    return Calibration(
        matching.truth.classes, edges, counts.reshape(shape), true.reshape(shape), sums.reshape(shape), reason
    )
