"""COCO's average precision and recall, by the rules of pycocotools, without a loop over images.

The 100 best detections of a class in an image count, and boxes are not clipped. COCO has no difficult
objects: they count as crowd regions, the way converters from VOC write them. So, as in VOC's devkit, they
are neither to be found nor is it an error to find them, any number of times; a detection belongs to a
region by the share of its own area that lies within. Detections of equal scores stand image by image.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from data.records import Detections, GroundTruth
from diagnosis.matching import Matching, match

__all__ = [
    "IOUS",
    "RECALLS",
    "SIZES",
    "CocoTable",
    "coco_average_precision",
    "coco_labels",
    "coco_labels_at",
    "coco_order",
    "coco_table",
]

IOUS: NDArray[np.float64] = np.linspace(0.5, 0.95, 10)
"""Smallest IoUs of a true positive, that COCO averages over."""

RECALLS: NDArray[np.float64] = np.linspace(0, 1, 101)
"""Recalls at which precision is read."""

SIZES = {"all": (0.0, 1e10), "small": (0.0, 32.0**2), "medium": (32.0**2, 96.0**2), "large": (96.0**2, 1e10)}
"""Smallest and largest area of an object, square pixels, both included."""

MOST = 100
"""Detections of a class in one image that count."""

FEW = (1, 10, MOST)
"""How many of them, for recall."""


@dataclass(frozen=True, eq=False)
class CocoTable:
    """COCO's scores of C classes; NaN for a class without objects that count.

    Parameters
    ----------
    classes
        Names of the classes.
    ap, ap50, ap75
        ``(C,)`` average precision over :data:`IOUS`, at 0.5 and at 0.75.
    ap_small, ap_medium, ap_large
        ``(C,)`` over :data:`IOUS`, of objects of an area up to 32², between, and from 96² square pixels.
    ar1, ar10, ar
        ``(C,)`` recall over :data:`IOUS` with up to 1, 10 and 100 detections of a class in an image.
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
        columns = {name: value for name, value in vars(self).items() if name != "classes"}
        defined = {name: value[~np.isnan(value)] for name, value in columns.items()}
        return {name: float(value.mean()) if value.size else float("nan") for name, value in defined.items()}


def coco_average_precision(
    truth: GroundTruth, detections: Detections, matching: Matching | None = None
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """COCO's average precision of each class, over IoU 0.50:0.05:0.95 and at 0.5.

    Parameters
    ----------
    truth, detections
        Of the same images and classes.
    matching
        Their overlaps, if :func:`diagnosis.matching.match` has been called already.

    Returns
    -------
    NDArray, NDArray
        ``(C,)`` each; NaN for a class without objects that count.

    Examples
    --------
    >>> truth = GroundTruth(["a"], ["dog", "cat"], [[90, 90]], [0], [0], [[0, 0, 10, 10]])
    >>> found = Detections(["a"], ["dog", "cat"], [0], [0], [0.9], [[0, 0, 10, 7.9]])  # IoU 0.79
    >>> coco_average_precision(truth, found)[0].round(6).tolist()
    [0.6, nan]
    """
    pairs = _Pairs.of(match(truth, detections) if matching is None else matching)
    scores = np.stack([_scores(pairs, pairs.labels(iou, SIZES["all"]), SIZES["all"])[0] for iou in IOUS])
    return scores.mean(axis=0), scores[0]


def coco_table(matching: Matching) -> CocoTable:
    """All twelve of COCO's scores, of each class, as pycocotools computes them.

    An object's size is its ``area`` attribute, which COCO's files have, or else that of its box.

    Examples
    --------
    >>> truth = GroundTruth(["a"], ["dog"], [[90, 90]], [0], [0], [[0, 0, 40, 40]])
    >>> found = Detections(["a"], ["dog"], [0], [0], [0.9], [[0, 0, 40, 40]])
    >>> mean = coco_table(match(truth, found)).mean()
    >>> round(mean["ap"], 6), mean["ap_small"], round(mean["ap_medium"], 6), mean["ar"]
    (1.0, nan, 1.0, 1.0)
    """
    pairs = _Pairs.of(matching)
    ap: dict[str, NDArray[np.float64]] = {}  # (10, C), by size
    recall: dict[str, NDArray[np.float64]] = {}
    few = []
    for name, size in SIZES.items():
        labels = [pairs.labels(iou, size) for iou in IOUS]
        both = [_scores(pairs, some, size) for some in labels]
        ap[name], recall[name] = (np.stack(part) for part in zip(*both, strict=True))
        if name == "all":
            few = [
                np.stack(
                    [
                        _scores(pairs, np.where(pairs.place < most, some, np.int8(0)), size)[1]
                        for some in labels
                    ]
                )
                for most in FEW[:-1]
            ]
    return CocoTable(
        matching.truth.classes,
        ap["all"].mean(axis=0),
        ap["all"][0],
        ap["all"][5],
        *(ap[name].mean(axis=0) for name in ("small", "medium", "large")),
        *(part.mean(axis=0) for part in (*few, recall["all"])),
        *(recall[name].mean(axis=0) for name in ("small", "medium", "large")),
    )


def coco_labels(
    matching: Matching, iou: float = 0.5, size: tuple[float, float] = SIZES["all"]
) -> NDArray[np.int8]:
    """What each detection is to COCO: 1 true positive, 0 don't care or not counted, −1 false positive.

    Parameters
    ----------
    matching
        The overlaps.
    iou
        Smallest IoU of a true positive.
    size
        Smallest and largest area of the objects that count.
    """
    return _Pairs.of(matching).labels(iou, size)


def coco_labels_at(matching: Matching, ious: Iterable[float] = IOUS) -> NDArray[np.int8]:
    """``(n, M)`` the same at several overlaps, objects of all sizes."""
    pairs = _Pairs.of(matching)
    return np.stack([pairs.labels(iou, SIZES["all"]) for iou in ious])


def coco_order(matching: Matching) -> NDArray[np.int64]:
    """``(M,)`` detections by class, falling score, and image; within an image as in the record."""
    found = matching.detections
    return np.lexsort((found.image_index, -found.scores, found.labels))


@dataclass(frozen=True, eq=False)
class _Pairs:
    """Pairs of a detection and an object of its class, with COCO's overlaps."""

    matching: Matching
    order: NDArray[np.int64]
    place: NDArray[np.int64]  # (M,) of each detection among those of its class and image, from 0
    area: NDArray[np.float64]  # (N,) of the objects
    found_area: NDArray[np.float64]  # (M,) of the detections
    detection: NDArray[np.int64]  # (P,)
    object_: NDArray[np.int64]  # (P,)
    overlap: NDArray[np.float64]  # (P,) IoU, or the share of the detection within a crowd region

    @staticmethod
    def of(matching: Matching) -> _Pairs:
        truth, found = matching.truth, matching.detections
        by_image = np.lexsort((matching.rank, found.image_index, found.labels))
        key = found.labels[by_image] * max(1, len(truth.images)) + found.image_index[by_image]
        place = np.empty(len(key), dtype=np.int64)
        place[by_image] = np.arange(len(key)) - np.searchsorted(key, key)
        own = found.labels[matching.pair_detection] == truth.labels[matching.pair_object]
        detection, object_ = matching.pair_detection[own], matching.pair_object[own]
        counted = place[detection] < MOST
        detection, object_ = detection[counted], object_[counted]
        # As the devkit computes it, from corner and extent: the last bit may decide.
        extent, object_extent = (record.boxes[:, 2:] - record.boxes[:, :2] for record in (found, truth))
        low, high = found.boxes[:, :2], found.boxes[:, :2] + extent
        object_low, object_high = truth.boxes[:, :2], truth.boxes[:, :2] + object_extent
        common = np.minimum(high[detection], object_high[object_]) - np.maximum(
            low[detection], object_low[object_]
        )
        inside = np.where((common > 0).all(axis=1), common.prod(axis=1), 0.0)
        found_area, box_area = extent.prod(axis=1), object_extent.prod(axis=1)
        whole = np.where(
            matching.ignored[object_],
            found_area[detection],
            found_area[detection] + box_area[object_] - inside,
        )
        area = np.asarray(truth.attributes.get("area", box_area), dtype=np.float64)
        overlap = inside / np.where(whole > 0, whole, 1.0)
        return _Pairs(matching, coco_order(matching), place, area, found_area, detection, object_, overlap)

    def counts(self, size: tuple[float, float]) -> NDArray[np.bool_]:
        """``(N,)`` objects that are to be found."""
        counted: NDArray[np.bool_] = ~self.matching.ignored & (self.area >= size[0]) & (self.area <= size[1])
        return counted

    def labels(self, iou: float, size: tuple[float, float]) -> NDArray[np.int8]:
        """``(M,)`` as :func:`coco_labels` says.

        By rank, each detection takes the free object of largest overlap (of equals the last one), those
        that count before all others; a crowd region is always free. All choose at once and give way to
        better ranks, which comes to the same (see :mod:`diagnosis.assignment`).
        """
        counted, crowd = self.counts(size), self.matching.ignored
        good = self.overlap >= min(iou, 1 - 1e-10)
        detection, object_, overlap = self.detection[good], self.object_[good], self.overlap[good]
        order = np.lexsort((-object_, -overlap, ~counted[object_], detection))
        detection, object_ = detection[order], object_[order]
        owner, start = np.unique(detection, return_index=True)
        stop = np.append(start[1:], len(detection)).astype(np.int64)
        rank = self.matching.rank[owner]

        holder = np.full(len(self.area), -1, dtype=np.int64)  # of each object, an index into `owner`
        best = np.full(len(self.area), np.iinfo(np.int64).max)
        taken = np.full(len(owner), -1, dtype=np.int64)
        choice = start.copy()
        active = np.arange(len(owner))
        while len(active):
            wanted = object_[choice[active]]
            np.minimum.at(best, wanted, rank[active])
            won = (best[wanted] == rank[active]) | crowd[wanted]
            displaced = holder[wanted[won]]
            displaced = displaced[(displaced >= 0) & ~crowd[wanted[won]]]
            holder[wanted[won]] = active[won]
            taken[active[won]] = wanted[won]
            refused = np.concatenate([active[~won], displaced])
            taken[refused] = -1
            choice[refused] += 1
            active = refused[choice[refused] < stop[refused]]

        outside = (self.found_area < size[0]) | (self.found_area > size[1]) | (self.place >= MOST)
        labels = np.where(outside, np.int8(0), np.int8(-1))
        took = taken >= 0
        labels[owner[took]] = counted[taken[took]]
        return labels


def _scores(
    pairs: _Pairs, labels: NDArray[np.int8], size: tuple[float, float]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """``(C,)`` average precision and recall of each class at one threshold; NaN without objects."""
    matching = pairs.matching
    classes = len(matching.truth.classes)
    objects = np.bincount(matching.truth.labels[pairs.counts(size)], minlength=classes)
    ap, recall = np.full((2, classes), np.nan)
    ranked = labels[pairs.order]
    for label in np.flatnonzero(objects):
        mine = ranked[matching.class_start[label] : matching.class_start[label + 1]]
        true = np.flatnonzero(mine[mine != 0] == 1)
        found = np.arange(1, len(true) + 1)
        # Precision only falls between two true positives: the largest that follows stands at one of them.
        best = np.maximum.accumulate((found / (true + 1))[::-1])[::-1]
        reached = np.searchsorted(found / objects[label], RECALLS)
        ap[label] = np.append(best, 0.0)[reached].mean()
        recall[label] = len(true) / objects[label]
    return ap, recall
