"""COCO's average precision, equal to pycocotools: at IoU 0.5 and from 0.5 to 0.95, and its recalls and sizes.

It follows pycocotools' rules, without a loop over images. The 100 best detections of a class in an image
count, boxes are not clipped, and equal scores are ranked by the ids of their images. COCO has no difficult
objects: they count as crowd regions, the way converters from VOC write them. So, as in VOC's devkit, they are
neither to be found nor is it an error to find them, any number of times; a detection belongs to a region by
the share of its own area within it.

One difference is left: pycocotools takes an object whose annotation id is 0 for none, and counts a detection
that finds it as a false positive.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from data.boxes import intersection
from diagnosis.matching import Matching, cached, greedy_pairs
from diagnosis.rankings import AnyHits, Ranking, interpolated_precision, mean_over_classes, needed_hits
from diagnosis.sorting import argsort_ascending, sort_within

COCO_RECALLS: NDArray[np.float64] = np.linspace(0, 1, 101)

COCO_IOUS: NDArray[np.float64] = np.linspace(0.5, 0.95, 10)
"""Smallest IoUs of a true positive, that COCO averages over."""

COCO_SIZES = {
    "all": (0.0, 1e10), "small": (0.0, 32.0**2), "medium": (32.0**2, 96.0**2), "large": (96.0**2, 1e10),
}  # fmt: skip
"""Smallest and largest area of an object, square pixels, both included."""

MAX_DETECTIONS = 100
"""Detections of a class in one image that count."""


class CocoPairs(NamedTuple):
    """Pairs of a detection and an object of its class with COCO's overlaps, of the smallest IoU or more."""

    place: NDArray[np.int64]
    """``(M,)`` of each detection among those of its class and image."""
    detection: NDArray[np.int64]
    object: NDArray[np.int64]
    overlap: NDArray[np.float64]
    """``(P,)`` each: by detection, the largest overlap first, of equals the last object."""
    area: NDArray[np.float64]
    object_area: NDArray[np.float64]
    """``(M,)`` and ``(N,)`` in square pixels."""


@cached
def coco_pairs(matching: Matching, max_detections: int = MAX_DETECTIONS) -> CocoPairs:
    """The pairs of the `max_detections` best detections of each class in each image; cached."""
    truth, found = matching.truth, matching.detections
    by_image = argsort_ascending(found.labels, argsort_ascending(found.image_index, matching.by_score))
    key = found.labels[by_image] * max(1, len(truth.images)) + found.image_index[by_image]
    rows = np.arange(len(key))
    place = np.empty_like(by_image)
    place[by_image] = rows - np.maximum.accumulate(np.where(np.diff(key, prepend=-1) != 0, rows, 0))
    detection = np.concatenate([matching.pair_detection, matching.crowd_detection])
    object_ = np.concatenate([matching.pair_object, matching.crowd_object])
    own = np.flatnonzero(found.labels[detection] == truth.labels[object_])
    own = own[place[detection[own]] < max_detections]
    detection, object_ = detection[own], object_[own]
    # As the devkit computes it, from corner and extent: the last bit may decide.
    area, object_area = found.extents.prod(axis=1), truth.extents.prod(axis=1)
    boxes, others = (
        np.concatenate([record.boxes[:, :2], record.boxes[:, :2] + record.extents], axis=1)
        for record in (found, truth)
    )
    inside = intersection(boxes[detection], others[object_])
    union = area[detection] + object_area[object_] - inside
    whole = np.where(matching.ignored[object_], area[detection], union)
    overlap = inside / np.where(whole > 0, whole, 1.0)
    able = np.flatnonzero(overlap >= COCO_IOUS[0])
    detection, object_, overlap = detection[able], object_[able], overlap[able]
    order = argsort_ascending(detection, argsort_ascending(len(truth) - object_))
    start = np.flatnonzero(np.diff(detection[order], prepend=-1, append=-1))
    order = order[sort_within(start, overlap[order])]
    return CocoPairs(place, detection[order], object_[order], overlap[order], area, object_area)


class CocoOutcomes(NamedTuple):
    """What each detection is, of objects of some size."""

    objects: NDArray[np.int64]
    """``(C,)`` number of objects that count."""
    at_ious: list[NDArray[np.int8]]
    """``(M,)`` at each of :data:`COCO_IOUS`: 1 true positive, 0 not counted, −1 false positive."""


@cached
def coco_outcomes(
    matching: Matching, max_detections: int = MAX_DETECTIONS, size: str = "all"
) -> CocoOutcomes:
    """Match the pairs at each IoU, for objects of one of :data:`COCO_SIZES`; cached."""
    truth, pairs = matching.truth, coco_pairs(matching, max_detections)
    smallest, largest = COCO_SIZES[size]
    size_of = np.asarray(truth.attributes.get("area", pairs.object_area), dtype=np.float64)
    counted = ~matching.ignored & (size_of >= smallest) & (size_of <= largest)
    outside = (pairs.area < smallest) | (pairs.area > largest) | (pairs.place >= max_detections)
    # Objects that count before all others.
    order = argsort_ascending(2 * pairs.detection + ~counted[pairs.object])
    detection, object_, overlap = pairs.detection[order], pairs.object[order], pairs.overlap[order]
    rank = matching.rank.astype(np.int32)[detection]
    # A crowd region matches any number of detections: each pair with one gets an object of its own.
    crowd = matching.ignored[object_]
    pair_object = np.where(crowd, len(truth) + np.cumsum(crowd) - 1, object_)
    objects = len(truth) + int(crowd.sum())
    unmatched = np.where(outside, np.int8(0), np.int8(-1))
    at_ious = []
    for iou in COCO_IOUS:
        good = np.flatnonzero(overlap >= min(iou, 1 - 1e-10))
        matched = good[greedy_pairs(detection[good], pair_object[good], objects, rank[good])]
        outcomes = unmatched.copy()
        outcomes[detection[matched]] = counted[object_[matched]]
        at_ious.append(outcomes)
    return CocoOutcomes(np.bincount(truth.labels[counted], minlength=len(truth.classes)), at_ious)


def coco_order(matching: Matching) -> NDArray[np.int64]:
    """``(M,)`` detections by class, falling score, and id of the image; within an image as in the record."""
    found, ids = matching.detections, matching.truth.image_ids
    place = np.arange(len(found.images))
    if len({isinstance(key, str) for key in ids}) == 1:  # of mixed ids pycocotools makes nothing
        place[sorted(range(len(ids)), key=lambda image: ids[image])] = place.copy()
    by_image = argsort_ascending(matching.score_level, argsort_ascending(place[found.image_index]))
    return argsort_ascending(found.labels, by_image)


def coco_ap(hits: Sequence[AnyHits], objects: NDArray[np.int64]) -> NDArray[np.float64]:
    """``(K, r, S)`` mean precision at 101 recalls, by each of K rules."""
    needed = needed_hits(COCO_RECALLS, objects)
    return np.stack([interpolated_precision(some, needed) for some in hits])


@dataclass(frozen=True, eq=False)
class CocoTable:
    """COCO's twelve scores of C classes; NaN for a class without objects that count.

    Parameters
    ----------
    classes
        Names of the classes.
    ap, ap50, ap75
        ``(C,)`` average precision over :data:`COCO_IOUS`, at 0.5 and at 0.75.
    ap_small, ap_medium, ap_large
        ``(C,)`` over :data:`COCO_IOUS`, of objects of an area up to 32², between, and from 96² square pixels.
    ar1, ar10, ar
        ``(C,)`` recall over :data:`COCO_IOUS` with up to 1, 10 and 100 detections of a class in an image (or
        as many as count).
    ar_small, ar_medium, ar_large
        ``(C,)`` recall with up to 100, by size.
    """

    classes: tuple[str, ...]
    ap: NDArray[np.float64]
    ap50: NDArray[np.float64]
    ap75: NDArray[np.float64]
    ap_small: NDArray[np.float64]
    ap_medium: NDArray[np.float64]
    ap_large: NDArray[np.float64]
    ar1: NDArray[np.float64]
    ar10: NDArray[np.float64]
    ar: NDArray[np.float64]
    ar_small: NDArray[np.float64]
    ar_medium: NDArray[np.float64]
    ar_large: NDArray[np.float64]

    def mean(self) -> dict[str, float]:
        """Mean of each score over the classes that have it, NaN if none has; pycocotools' own order."""
        return {name: mean_over_classes(value) for name, value in vars(self).items() if name != "classes"}


def coco_table(matching: Matching, max_detections: int = MAX_DETECTIONS) -> CocoTable:
    """All twelve of COCO's scores, of each class, as pycocotools computes them.

    An object's size is its ``area`` attribute, which COCO's files have, or else that of its box; a
    detection's size is that of its box.

    Parameters
    ----------
    matching
        The overlaps.
    max_detections
        How many detections of a class in an image count, but in `ar1` and `ar10`.

    Examples
    --------
    >>> from data.records import Detections, GroundTruth
    >>> from diagnosis.matching import match
    >>> truth = GroundTruth(["a"], ["dog"], [[90, 90]], [0], [0], [[0, 0, 40, 40]])
    >>> found = Detections(["a"], ["dog"], [0], [0], [0.9], [[0, 0, 40, 40]])
    >>> mean = coco_table(match(truth, found)).mean()
    >>> round(mean["ap"], 6), mean["ap_small"], round(mean["ap_medium"], 6), mean["ar"]
    (1.0, nan, 1.0, 1.0)
    """
    order, place = coco_order(matching), coco_pairs(matching, max_detections).place
    scores: dict[str, NDArray[np.float64]] = {}
    for name in COCO_SIZES:
        suffix = "" if name == "all" else f"_{name}"
        objects, outcomes = coco_outcomes(matching, max_detections, name)
        hits = Ranking(matching, outcomes, order).once()
        ap = np.where(objects > 0, coco_ap(hits, objects[None])[:, 0], np.nan)
        scores[f"ap{suffix}"], scores[f"ar{suffix}"] = ap.mean(axis=0), _coco_recall(hits, objects)
        if name == "all":
            scores["ap50"], scores["ap75"] = ap[0], ap[5]
            for most in (1, 10):
                few = [np.where(place < most, some, np.int8(0)) for some in outcomes]
                hits = Ranking(matching, few, order).once()
                scores[f"ar{most}"] = _coco_recall(hits, objects)
    return CocoTable(matching.truth.classes, **scores)


def _coco_recall(hits: Sequence[AnyHits], objects: NDArray[np.int64]) -> NDArray[np.float64]:
    recall = np.stack([some.found[0] / np.maximum(objects, 1) for some in hits])
    return np.where(objects > 0, recall.mean(axis=0), np.nan)
