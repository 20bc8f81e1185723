"""What to know of the data before trusting the numbers: what does not count, ties, limits, borders."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from data.boxes import beyond_border
from diagnosis.average_precision import RULES, APStatistic, assumed_objects
from diagnosis.breakdown import CORRECT, CORRECT_IOU, BreakdownStatistic, Top, pie_error_types
from diagnosis.coco_ap import MAX_DETECTIONS, coco_outcomes, coco_pairs
from diagnosis.matching import Matching, argsort_ascending, assign_devkit
from diagnosis.rankings import Ranking, mean_defined

__all__ = ["Account", "account", "order_effects"]

Range = tuple[float, float]
UNDEFINED: Range = (float("nan"), float("nan"))


@dataclass(frozen=True)
class Account:
    """What is odd about the detections of one detector and their ground truth; 0 where nothing is.

    Parameters
    ----------
    images, objects, detections
        How many there are; objects that count.
    without_objects
        Detections of each class that has some, but no object that counts.
    in_crowds
        Detections in crowd regions of their class, which count for nothing.
    tied
        Detections that share their score with another of their class, if it has objects.
    map_range, correct_range
        Mean average precision (VOC 2007) and share of correct detections (mean over classes), fractions, for
        the worst and the best order of equal scores; NaN where there is none.
    max_detections
        The limit of COCO's scores and TIDE.
    beyond_coco, beyond_tide
        Detections beyond the limit of their class in an image, and beyond that of an image.
    objects_outside
        Objects that reach beyond their image.
    """

    images: int
    objects: int
    detections: int
    without_objects: Mapping[str, int]
    in_crowds: int
    tied: int
    map_range: Range
    correct_range: Range
    max_detections: int
    beyond_coco: int
    beyond_tide: int
    objects_outside: int


def account(
    matching: Matching,
    similar: NDArray[np.bool_],
    *,
    top: Top = None,
    iou: float = CORRECT_IOU,
    coco: bool = True,
    max_detections: int = MAX_DETECTIONS,
) -> Account:
    """What is odd about the detections and their ground truth; the parameters are those of `Diagnosis`.

    Examples
    --------
    >>> from data.records import Detections, GroundTruth
    >>> from diagnosis import diagnose
    >>> truth = GroundTruth(["a"], ["cat", "dog"], [[90, 90]], [0], [0], [[0, 0, 9, 9]])
    >>> found = Detections(["a"], ["cat", "dog"], [0], [1], [0.9], [[0, 0, 9, 9]])
    >>> dict(diagnose(truth, found).account.without_objects)
    {'dog': 1}
    """
    truth, found = matching.truth, matching.detections
    types = pie_error_types(matching, similar, iou=iou).types
    there = matching.objects > 0
    by_class = np.bincount(found.labels, minlength=len(truth.classes))
    tied = _tied(matching)
    tops = BreakdownStatistic(matching, similar, top=top, iou=iou).tops()[0]
    return Account(
        len(truth.images),
        int(matching.objects.sum()),
        len(found),
        {truth.classes[label]: int(by_class[label]) for label in np.flatnonzero((by_class > 0) & ~there)},
        int((types < 0).sum()),
        tied,
        _map_range(matching, iou) if tied else UNDEFINED,
        _correct_range(matching, types, tops) if tied else UNDEFINED,
        max_detections,
        int((coco_pairs(matching, max_detections).place >= max_detections).sum()) if coco else 0,
        int((matching.rank_in_image >= max_detections).sum()),
        int(beyond_border(truth.boxes, truth.sizes[truth.image_index]).sum()),
    )


def _level(matching: Matching) -> NDArray[np.int64]:
    """``(M,)`` how many different pairs of class and score are before that of each detection."""

    def compute() -> NDArray[np.int64]:
        order = matching.order
        new = np.diff(matching.detections.labels[order]) != 0
        new |= np.diff(matching.score_level[order]) != 0
        level = np.zeros(len(order), dtype=np.int64)
        level[order[1:]] = np.cumsum(new)
        return level

    return matching.cached("level in class", compute)


def _reordered(matching: Matching, last: NDArray[np.int8]) -> NDArray[np.int64]:
    """``(M,)`` detections by class and rank, those of equal scores by rising `last`."""
    place = last - last.min() if len(last) else last
    return argsort_ascending((int(place.max(initial=0)) + 1) * _level(matching) + place, matching.order)


def _map_range(matching: Matching, iou: float) -> Range:
    """Mean average precision with the false positives of each tie first, and last."""
    there = matching.objects > 0
    outcomes = assign_devkit(matching, iou).outcomes
    assumed = assumed_objects(len(matching.truth.images))
    means = []
    for last in (outcomes, -outcomes):
        ((_, hits),) = Ranking(matching, [outcomes], _reordered(matching, last)).hits()
        score = RULES["devkit"].scores(hits, matching.objects[None], assumed)["voc07"][0]
        means.append(float(mean_defined(np.where(there, score, np.nan))))
    return means[0], means[1]


def _correct_range(matching: Matching, types: NDArray[np.int8], tops: NDArray[np.int64]) -> Range:
    """Share of correct detections among the top, mean over classes, in the worst and the best order."""
    low, high = (
        float(mean_defined(np.where(number > 0, right / np.maximum(number, 1), np.nan)))
        for number, right in _correct(matching, types, tops)
    )
    return low, high


def _correct(
    matching: Matching, types: NDArray[np.int8], tops: NDArray[np.int64]
) -> list[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """How many of each class are among the top, and correct, with those of each tie last, and first."""
    labels, correct = matching.detections.labels, types == CORRECT
    numbers = []
    for last in (correct, ~correct):
        order = _reordered(matching, last.astype(np.int8))
        order = order[types[order] >= 0]
        start = np.searchsorted(labels[order], np.arange(len(tops)))
        counted = order[np.arange(len(order)) - start[labels[order]] < tops[labels[order]]]
        hits = counted[correct[counted]]
        number, right = (np.bincount(labels[rows], minlength=len(tops)) for rows in (counted, hits))
        numbers.append((number, right))
    return numbers


def _tied(matching: Matching) -> int:
    """Detections that share their score with another of their class, if it has objects."""
    level, there = _level(matching), matching.objects > 0
    return int((there[matching.detections.labels] & (np.bincount(level) > 1)[level]).sum())


def order_effects(
    matching: Matching,
    similar: NDArray[np.bool_],
    *,
    top: Top = None,
    iou: float = CORRECT_IOU,
    max_detections: int = MAX_DETECTIONS,
) -> dict[str, NDArray[np.float64]]:
    """How far down and up the order of equal scores can move COCO's AP and the shares of correct detections.

    ``(2, C)`` of ``map/coco``, ``map/coco50`` and ``share/correct``, ``(2, 1)`` of ``pooled/correct``; the
    worst order has the errors of each tie first. Empty without ties. The parameters are those of `Diagnosis`.

    Examples
    --------
    >>> from data.records import Detections, GroundTruth
    >>> from diagnosis import diagnose
    >>> truth = GroundTruth(["a"], ["dog"], [[90, 90]], [0], [0], [[0, 0, 9, 9]])
    >>> found = Detections(["a"], ["dog"], [0, 0], [0, 0], [0.5, 0.5], [[0, 0, 9, 9], [50, 50, 60, 60]])
    >>> diagnose(truth, found).order_effects["pooled/correct"].tolist()
    [[-1.0], [0.0]]
    """
    if not _tied(matching):
        return {}
    statistic = BreakdownStatistic(matching, similar, top=top, iou=iou)
    types = pie_error_types(matching, similar, iou=iou).types
    ends = _correct(matching, types, statistic.tops()[0])
    shares = np.stack([right / np.maximum(number, 1) for number, right in ends])
    pooled = np.array([[right.sum() / max(number.sum(), 1)] for number, right in ends])
    exact = statistic()
    outcomes = coco_outcomes(matching, max_detections)
    hits: NDArray[np.int8] = np.stack(outcomes).sum(axis=0, dtype=np.int8)  # of more IoUs, above
    ap = [
        RULES["coco"].scores(some, matching.objects[None], assumed_objects(1))
        for last in (hits, -hits)
        for _, some in Ranking(matching, outcomes, _reordered(matching, last), means=False).hits()
    ]
    now = APStatistic(matching, iou=iou, max_detections=max_detections)(None, ["coco", "coco50"])
    scores = {f"map/{kind}": np.concatenate([one[kind] for one in ap]) - now[f"map/{kind}"] for kind in ap[0]}
    return {
        **scores,
        "share/correct": shares - exact["share/correct"],
        "pooled/correct": pooled - exact["pooled/correct"],
    }
