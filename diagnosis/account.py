"""What to know of the data before trusting the numbers: what does not count, ties, limits, borders."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from data.boxes import beyond_border
from diagnosis.average_precision import RULES, APStatistic, assumed_objects
from diagnosis.breakdown import CORRECT, CORRECT_IOU, BreakdownStatistic, Top, pie_error_types
from diagnosis.coco_ap import MAX_DETECTIONS, coco_outcomes, coco_pairs
from diagnosis.matching import Matching, assign_devkit, cached
from diagnosis.rankings import Ranking, mean_defined
from diagnosis.sorting import argsort_ascending

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
    there = matching.objects > 0
    by_class = np.bincount(found.labels, minlength=len(truth.classes))
    tied = _tied(matching)
    map_range = correct_range = UNDEFINED
    if tied:
        outcomes = assign_devkit(matching, iou).outcomes
        voc07 = _ap_of_both_orders(matching, "devkit", [outcomes], outcomes)["voc07"]
        map_range = _mean_range(np.where(there, voc07, np.nan))
        tops = BreakdownStatistic(matching, similar, top=top, iou=iou).tops()[0]
        number, right = _correct_in_both_orders(matching, similar, tops, iou)
        correct_range = _mean_range(np.where(number > 0, right / np.maximum(number, 1), np.nan))
    return Account(
        len(truth.images),
        int(matching.objects.sum()),
        len(found),
        {truth.classes[label]: int(by_class[label]) for label in np.flatnonzero((by_class > 0) & ~there)},
        int((pie_error_types(matching, similar, iou=iou).types < 0).sum()),
        tied,
        map_range,
        correct_range,
        max_detections,
        int((coco_pairs(matching, max_detections).place >= max_detections).sum()) if coco else 0,
        int((matching.rank_in_image >= max_detections).sum()),
        int(beyond_border(truth.boxes, truth.sizes[truth.image_index]).sum()),
    )


@cached
def _level(matching: Matching) -> NDArray[np.int64]:
    """``(M,)`` how many different pairs of class and score are before that of each detection."""
    order = matching.order
    new = np.diff(matching.detections.labels[order]) != 0
    new |= np.diff(matching.score_level[order]) != 0
    level = np.zeros(len(order), dtype=np.int64)
    level[order[1:]] = np.cumsum(new)
    return level


def _tied(matching: Matching) -> int:
    """Detections that share their score with another of their class, if it has objects."""
    level, there = _level(matching), matching.objects > 0
    return int((there[matching.detections.labels] & (np.bincount(level) > 1)[level]).sum())


def _reordered(matching: Matching, last: NDArray[np.int8]) -> NDArray[np.int64]:
    """``(M,)`` detections by class and rank, those of equal scores by rising `last`."""
    place = last - last.min(initial=0)
    return argsort_ascending((int(place.max(initial=0)) + 1) * _level(matching) + place, matching.order)


def _ap_of_both_orders(
    matching: Matching, rule: str, outcomes: Sequence[NDArray[np.int8]], last: NDArray[np.int8]
) -> dict[str, NDArray[np.float64]]:
    """Average precision ``(2, C)`` by kind, detections of equal scores by rising and by falling `last`."""
    each = []
    for some in (last, -last):
        hits = Ranking(matching, outcomes, _reordered(matching, some)).once()
        assumed = assumed_objects(len(matching.truth.images))
        each.append(RULES[rule].scores(hits, matching.objects[None], assumed))
    return {kind: np.concatenate([one[kind] for one in each]) for kind in each[0]}


@cached
def _correct_in_both_orders(
    matching: Matching, similar: NDArray[np.bool_], tops: NDArray[np.int64], iou: float
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """How many of each class are among the top ``(C,)``, and correct ``(2, C)``, those of each tie last, and
    first."""
    types = pie_error_types(matching, similar, iou=iou).types
    labels, correct = matching.detections.labels, types == CORRECT
    number, right = np.zeros_like(tops), []
    for last in (correct, ~correct):
        order = _reordered(matching, last.astype(np.int8))
        order = order[types[order] >= 0]
        start = np.searchsorted(labels[order], np.arange(len(tops)))
        counted = order[np.arange(len(order)) - start[labels[order]] < tops[labels[order]]]
        number = np.bincount(labels[counted], minlength=len(tops))
        right.append(np.bincount(labels[counted[correct[counted]]], minlength=len(tops)))
    return number, np.stack(right)


def _mean_range(values: NDArray[np.float64]) -> Range:
    """The means over the classes of ``(2, C)``."""
    low, high = mean_defined(values).tolist()
    return low, high


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
    number, right = _correct_in_both_orders(matching, similar, statistic.tops()[0], iou)
    outcomes = coco_outcomes(matching, max_detections).at_ious
    hits: NDArray[np.int8] = np.stack(outcomes).sum(axis=0, dtype=np.int8)  # of more IoUs, above
    both = {f"map/{kind}": ap for kind, ap in _ap_of_both_orders(matching, "coco", outcomes, hits).items()}
    both["share/correct"] = right / np.maximum(number, 1)
    both["pooled/correct"] = right.sum(axis=1, keepdims=True) / max(number.sum(), 1)
    ap = APStatistic(matching, iou=iou, max_detections=max_detections)
    now = ap(None, ["coco", "coco50"]) | statistic()
    return {name: values - now[name] for name, values in both.items()}
