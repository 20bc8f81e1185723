"""Where to cut the ranking: the score from which detections are kept so that F1 is largest.

Matched as VOC's devkit does: hits of difficult objects and crowds are left out.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray

from diagnosis.assignment import assign_devkit
from diagnosis.breakdown import STRONG
from diagnosis.matching import Matching

__all__ = ["OperatingPoint", "OperatingPoints", "best_f1", "operating_points_to_json"]


@dataclass(frozen=True)
class OperatingPoint:
    """One score threshold and what is kept by it; NaN, all of it, where there is no object.

    Parameters
    ----------
    score
        Detections of this score or more are kept; NaN if the best is to keep none (no true positive).
    f1, precision, recall
        Of what is kept. Without a true positive F1 and recall are 0, and precision is NaN.
    """

    score: float
    f1: float
    precision: float
    recall: float


@dataclass(frozen=True, eq=False)
class OperatingPoints:
    """The threshold of largest F1 of each of C classes, and one for all.

    Parameters
    ----------
    classes
        Names of the classes.
    each
        ``(C,)`` each class's own.
    overall
        One threshold for all classes, detections and objects of all taken together (micro-averaged). A
        detection of a class without objects is a false positive here.
    """

    classes: tuple[str, ...]
    each: tuple[OperatingPoint, ...]
    overall: OperatingPoint


def best_f1(matching: Matching, *, iou: float = STRONG) -> OperatingPoints:
    """The score threshold of largest F1 of each class and of all; of equals the highest threshold.

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
    >>> names = ["a"], ["dog"]
    >>> truth = GroundTruth(*names, [[90, 90]], [0, 0], [0, 0], [[0, 0, 10, 10], [50, 50, 60, 60]])
    >>> boxes = [[0, 0, 10, 10], [50, 50, 60, 60], [80, 0, 90, 10]]
    >>> best_f1(match(truth, Detections(*names, [0] * 3, [0] * 3, [0.9, 0.6, 0.2], boxes))).overall
    OperatingPoint(score=0.6, f1=1.0, precision=1.0, recall=1.0)
    """
    labels, scores = assign_devkit(matching, iou).labels, matching.detections.scores
    objects = matching.objects
    each = tuple(
        _best(labels[rows], scores[rows], int(objects[label]))
        for label in range(len(objects))
        for rows in [matching.ranked(label)]
    )
    rows = np.argsort(-scores, kind="stable")
    return OperatingPoints(
        matching.truth.classes, each, _best(labels[rows], scores[rows], int(objects.sum()))
    )


def _best(labels: NDArray[np.int8], scores: NDArray[np.float64], objects: int) -> OperatingPoint:
    """Of one ranking; `labels` 1: true positive, 0: don't care, −1: false positive."""
    if objects == 0:
        return OperatingPoint(*[float("nan")] * 4)
    counted = labels != 0
    labels, scores = labels[counted], scores[counted]
    true, kept = np.cumsum(labels == 1), np.arange(1, len(labels) + 1)
    # Equal scores are kept or dropped together: a cut is possible only behind the last of them.
    cuts = np.flatnonzero(np.append(scores[1:] != scores[:-1], True)[: len(scores)])
    f1 = 2 * true[cuts] / (kept[cuts] + objects)
    if not len(cuts) or f1.max() == 0:
        return OperatingPoint(float("nan"), 0.0, float("nan"), 0.0)
    best = int(cuts[f1.argmax()])
    return OperatingPoint(
        float(scores[best]), float(f1.max()), float(true[best] / kept[best]), float(true[best] / objects)
    )


def operating_points_to_json(result: OperatingPoints) -> dict[str, object]:
    """The thresholds for ``diagnosis.json``: one for all classes, and each class's own.

    What does not exist is None, with a ``reason`` beside it.
    """
    each = zip(result.classes, result.each, strict=True)
    return {"overall": _plain(result.overall), "classes": {name: _plain(point) for name, point in each}}


def _plain(point: OperatingPoint) -> dict[str, float | str | None]:
    numbers: dict[str, float | str | None] = {
        name: None if math.isnan(value) else value for name, value in asdict(point).items()
    }
    if None not in numbers.values():
        return numbers
    lacking = "no object that is not difficult" if math.isnan(point.f1) else "no true positive at any score"
    return numbers | {"reason": lacking}
