"""What became of each object under two detectors: found by one, misplaced, mistaken or missed by the other.

The fates of either (:mod:`diagnosis.fates`) are counted against each other.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from data.records import InputError
from diagnosis.fates import FATES, IGNORED, MISSED, NAMES, deciding_detections, fates_of
from diagnosis.record import Diagnosis, check_same_truth
from diagnosis.resampling import Weights

Counted = Literal["top", "all"]


@dataclass(frozen=True, eq=False)
class Flow:
    """The fate of N objects under two detectors.

    Parameters
    ----------
    names
        Names of the two detectors.
    classes
        Names of the C classes.
    before, after
        ``(N,)`` index into :data:`FATES` under the first and the second; −1 for ignored objects.
    counts
        ``(C, F, F)`` objects of each class by fate, of F, under the first, then under the second.
    counted
        Which detections counted: ``top``, those that the breakdown counts, or ``all``.
    """

    names: tuple[str, str]
    classes: tuple[str, ...]
    before: NDArray[np.int8]
    after: NDArray[np.int8]
    counts: NDArray[np.int64]
    counted: Counted

    def total(self) -> NDArray[np.int64]:
        """``(F, F)`` over all classes."""
        total: NDArray[np.int64] = self.counts.sum(axis=0)
        return total

    def moved(self, before: str, after: str) -> NDArray[np.int64]:
        """The objects that went from one fate to another, as indices into the ground truth.

        Raises
        ------
        InputError
            For the name of no fate.
        """
        for name in (before, after):
            if name not in NAMES:
                raise InputError("fate", repr(name), f"one of {', '.join(NAMES)}")
        return np.flatnonzero((self.before == NAMES.index(before)) & (self.after == NAMES.index(after)))


def fates(diagnosis: Diagnosis, counted: Counted = "top") -> NDArray[np.int8]:
    """What became of each object under one detector.

    Parameters
    ----------
    diagnosis
        The detector's.
    counted
        Which detections count: ``top``, those that its breakdown counts, by default as many of each class
        as it has objects; or ``all``, among which low scores leave few objects missed.

    Returns
    -------
    NDArray
        ``(N,)`` index into :data:`FATES`; −1 for ignored objects (difficult or crowd).
    """
    if counted == "top":
        return diagnosis.fates
    if counted != "all":
        raise InputError("counted", repr(counted), "'top' or 'all'")
    found, every = diagnosis.referenced_objects, np.ones(len(diagnosis.detections), dtype=bool)
    deciding = deciding_detections(found, diagnosis.detections.scores, every, len(diagnosis.truth))
    return fates_of(found, deciding, diagnosis.matching.ignored)


def flow(before: Diagnosis, after: Diagnosis, *, counted: Counted = "top") -> Flow:
    """What became of each object under two detectors, and how many went from which fate to which.

    Parameters
    ----------
    before, after
        The diagnoses of two detectors on the same ground truth.
    counted
        Which detections count, see :func:`fates`.

    Raises
    ------
    InputError
        Detectors on different ground truths or judged by different thresholds.

    Examples
    --------
    >>> from data.records import Detections, GroundTruth
    >>> from diagnosis import diagnose
    >>> names = ["a"], ["dog"]
    >>> truth = GroundTruth(*names, [[90, 90]], [0, 0], [0, 0], [[0, 0, 10, 10], [50, 50, 60, 60]])
    >>> good = Detections(*names, [0, 0], [0, 0], [0.9, 0.8], [[0, 0, 10, 10], [50, 50, 60, 60]])
    >>> poor = Detections(*names, [0], [0], [0.9], [[6, 0, 16, 10]])
    >>> both = flow(diagnose(truth, good, "good"), diagnose(truth, poor, "poor"))
    >>> both.moved("correct", "localization").tolist(), both.moved("correct", "missed").tolist()
    ([0], [1])
    """
    check_same_truth([before, after])
    truth = before.truth
    first, second = fates(before, counted), fates(after, counted)
    kept = first != IGNORED
    number, classes = len(FATES), len(truth.classes)
    cells = (truth.labels[kept] * number + first[kept]) * number + second[kept]
    counts = np.bincount(cells, minlength=classes * number**2).reshape(classes, number, number)
    return Flow((before.name, after.name), truth.classes, first, second, counts, counted)


class MissedStatistic:
    """``objects/missed``: the share of the objects that are missed, as a function of how often images count.

    Which detections are counted is decided once, on all images.
    """

    def __init__(self, diagnosis: Diagnosis) -> None:
        self.replicate_width = 1
        outcome, truth = fates(diagnosis), diagnosis.truth
        self.objects, self.missed = (
            np.bincount(truth.image_index[some], minlength=len(truth.images))  # (I,)
            for some in (outcome != IGNORED, outcome == MISSED)
        )

    def __call__(self, weights: Weights | None = None) -> Mapping[str, NDArray[np.float64]]:
        """The share in each replicate ``(R,)``; NaN without objects."""
        if weights is None:
            weights = np.ones((1, len(self.objects)), dtype=np.int32)
        objects = weights @ self.objects
        missed = weights @ self.missed
        return {"objects/missed": np.where(objects > 0, missed / np.maximum(objects, 1), np.nan)}
