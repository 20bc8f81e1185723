"""Average precision, in the six ways in which detectors are scored, and what else rankings tell.

* VOC 2007's mean over 11 recalls and VOC 2010's area under the curve, matched as the devkit does.
* COCO's, at IoU 0.5 and from 0.5 to 0.95, and its recalls and sizes, equal to pycocotools.
* Hoiem's average precision and its normalised form, matched and defined as in his tool (rules, section 1).

A class without objects has no average precision (NaN); one whose objects are all missed has 0. All are
functions of :class:`Hits`, which counts how many false positives are above each true positive: between two
true positives precision only falls, and among the copies of one it only rises, so nothing else matters. With
weights of the images counts hold all copies of a detection, which are next to each other in the ranking.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from data.boxes import intersection
from data.records import Detections, GroundTruth
from diagnosis.breakdown import STRONG
from diagnosis.matching import (
    Matching,
    ObjectCounter,
    Weights,
    argsort_ascending,
    assign,
    assign_devkit,
    copies,
    greedy,
    match,
    running_copies,
)

__all__ = [
    "AP_KINDS",
    "COCO_IOUS",
    "COCO_SIZES",
    "NORMAL_SHARE",
    "APKind",
    "APStatistic",
    "APTable",
    "CocoTable",
    "Curve",
    "Hits",
    "HoiemScores",
    "OperatingPoint",
    "OperatingPoints",
    "RankedErrors",
    "RunningErrors",
    "average_precision",
    "best_f1",
    "coco_labels",
    "coco_order",
    "coco_table",
    "envelope",
    "hoiem_scores",
    "mean_defined",
    "mean_over_classes",
    "mean_over_objects",
    "normal_objects",
    "precision_at",
    "precision_recall_curve",
    "score_hits",
]

NORMAL_SHARE = 0.15
"""Normalised precision counts as if each class had this many objects an image (rules, section 1)."""

VOC07_RECALLS = np.arange(11, dtype=np.float64) * 0.1
"""The multiples of 0.1 in floating point, as in the devkit: a recall of just 3/10 is below the fourth of
them, 0.30000000000000004."""

COCO_RECALLS: NDArray[np.float64] = np.linspace(0, 1, 101)

COCO_IOUS: NDArray[np.float64] = np.linspace(0.5, 0.95, 10)
"""Smallest IoUs of a true positive, that COCO averages over."""

COCO_SIZES = {
    "all": (0.0, 1e10), "small": (0.0, 32.0**2), "medium": (32.0**2, 96.0**2), "large": (96.0**2, 1e10),
}  # fmt: skip
"""Smallest and largest area of an object, square pixels, both included."""

COCO_MOST_DETECTIONS = 100
"""Detections of a class in one image that count."""


# ---- precision down rankings -----------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Hits:
    """The T true positives of S rankings that are end to end, each ranking best first.

    Parameters
    ----------
    true, false
        ``(r, T)`` how many true positives there are down to each, itself included, and how many false
        positives above it, in its ranking; r resamples or variants (1 fits any number).
    start
        ``(S + 1,)`` the true positives of ranking s are ``start[s]:start[s + 1]``.
    copies
        ``(r, T)`` how often each counts; S is then 1. None: once.
    """

    true: NDArray[np.integer]
    false: NDArray[np.integer]
    start: NDArray[np.int64]
    copies: Weights | None = None

    @staticmethod
    def once(false: NDArray[np.integer], start: NDArray[np.int64]) -> Hits:
        """Each counts once; `false` is ``(T,)`` or ``(r, T)``."""
        true = np.arange(1, start[-1] + 1) - np.repeat(start[:-1], np.diff(start))
        return Hits(true[None], np.atleast_2d(false), start)

    @cached_property
    def precision(self) -> NDArray[np.float64]:
        """``(r, T)`` precision at each; 0 where a resample has neither a true nor a false positive yet."""
        found = self.true + self.false
        precision: NDArray[np.float64] = self.true / np.maximum(found, 1, out=found)
        return precision

    def normalized_precision(self, objects: NDArray[np.int64], normal: float) -> NDArray[np.float64]:
        """``(r, T)`` the same as if each ranking had `normal` objects and not its `objects` ``(r, S)``."""
        factor = normal / np.maximum(objects, 1)
        if len(self.start) != 2:
            factor = np.repeat(factor, np.diff(self.start), axis=1)
        weighted = self.true * factor
        found = weighted + self.false
        precision: NDArray[np.float64] = weighted / np.maximum(found, 1e-300, out=found)
        return precision

    def places_of(self, needed: NDArray[np.int64]) -> NDArray[np.int64]:
        """``(r, S, p)`` the first hit by which `needed` ``(r, S, p)`` are reached; its run's end if none."""
        if self.copies is None:
            inside: NDArray[np.int64] = np.clip(needed - 1, 0, np.diff(self.start)[:, None])
            return self.start[:-1, None] + inside
        rows, length = self.true.shape
        wanted = needed[:, 0]
        # One search for all rows: each gets a range of numbers that no other has.
        stride = int(max(self.true.max(initial=0), wanted.max(initial=0))) + 2
        offset = stride * np.arange(rows)[:, None]
        places = np.searchsorted((self.true + offset).ravel(), (wanted + offset).ravel())
        places = places.reshape(wanted.shape) - length * np.arange(rows)[:, None]
        reached: NDArray[np.int64] = np.minimum(places, length)[:, None]
        return reached


def envelope(precision: NDArray[np.float64], start: NDArray[np.int64]) -> NDArray[np.float64]:
    """``(r, T)`` the largest precision from each hit on, within its ranking.

    Examples
    --------
    >>> envelope(np.array([[0.5, 1.0, 0.2, 0.4]]), np.array([0, 2, 4])).tolist()
    [[1.0, 1.0, 0.4, 0.4]]
    """
    if len(start) <= 2:
        return np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
    # One pass over all rankings: lifted by 2 for each ranking that follows, one never sees those behind it.
    # The lift costs less than 3e-16 of precision a ranking.
    lift = 2.0 * (len(start) - 2 - np.repeat(np.arange(len(start) - 1), np.diff(start)))
    best: NDArray[np.float64] = np.maximum.accumulate((precision + lift)[:, ::-1], axis=1)[:, ::-1] - lift
    return best


def precision_at(
    precision: NDArray[np.float64], places: NDArray[np.int64], start: NDArray[np.int64]
) -> NDArray[np.float64]:
    """``(r, S, p)`` the largest precision from each of some places on, within its ranking.

    Parameters
    ----------
    precision
        ``(r, T)`` at each hit.
    places
        ``(r, S, p)`` from :meth:`Hits.places_of`, rising along the last axis; 0 at the end of the ranking.
    start
        ``(S + 1,)`` the hits of ranking s are ``start[s]:start[s + 1]``.
    """
    rows, length = precision.shape
    padded = np.zeros((rows, length + 1))
    padded[:, :-1] = precision
    ends = np.broadcast_to(start[1:, None], (rows, len(start) - 1, 1))
    edges = np.concatenate([np.broadcast_to(places, (rows, *places.shape[1:])), ends], axis=2)
    edges += (length + 1) * np.arange(rows)[:, None, None]
    # The largest precision from each place to the next, then from each on.
    best = np.maximum.reduceat(padded.ravel(), edges.ravel()).reshape(edges.shape)[..., :-1]
    best = np.where(places < ends, best, 0.0)
    return np.ascontiguousarray(np.maximum.accumulate(best[..., ::-1], axis=2)[..., ::-1])


def needed_for(recalls: NDArray[np.float64], objects: NDArray[np.int64]) -> NDArray[np.int64]:
    """``(r, S, p)`` the fewest true positives whose recall, as a float, is not below each of ``(p,)``."""
    number = np.maximum(objects, 1)[..., None]
    needed = np.floor(recalls * number).astype(np.int64) - 1
    for _ in range(2):
        needed += needed / number < recalls
    return needed


def mean_over_objects(
    best: NDArray[np.float64], hits: Hits, objects: NDArray[np.int64]
) -> NDArray[np.float64]:
    """``(r, S)`` mean over the objects of the `best` precision at which each is found, 0 if never."""
    if hits.copies is None:
        total = _sum_of_runs(best, hits.start)
    else:
        total = np.einsum("rt,rt->r", hits.copies.astype(np.float64), best)[:, None]
    return total / np.maximum(objects, 1)


def area_under_curve(hits: Hits, objects: NDArray[np.int64]) -> NDArray[np.float64]:
    """``(r, S)`` area under the curve of precision over recall, precision made to fall with recall."""
    if hits.copies is not None:  # each copy adds a step of recall of the same width
        return mean_over_objects(envelope(hits.precision, hits.start), hits, objects)
    area = np.zeros((1, len(hits.start) - 1))
    for run, (low, high) in enumerate(itertools.pairwise(hits.start)):
        best = envelope(hits.precision[:, low:high], hits.start[:2])
        recall = hits.true[:, low:high] / np.maximum(objects[:, run, None], 1)
        area[:, run] = np.sum(np.diff(recall, prepend=0.0, axis=1) * best, axis=1)
    return area


def _sum_of_runs(values: NDArray[np.float64], start: NDArray[np.int64]) -> NDArray[np.float64]:
    """``(r, S)`` sum of each run of the last axis; 0 where it is empty."""
    total = np.zeros((len(values), len(start) - 1))
    filled = np.flatnonzero(np.diff(start))
    if len(filled):
        total[:, filled] = np.add.reduceat(values, start[filled], axis=1)
    return total


def mean_defined(values: NDArray[np.float64], axis: int = -1) -> NDArray[np.float64]:
    """The mean of what is defined; NaN where nothing is."""
    defined = ~np.isnan(values)
    count = defined.sum(axis=axis)
    total = np.where(defined, values, 0.0).sum(axis=axis)
    mean: NDArray[np.float64] = np.where(count > 0, total / np.maximum(count, 1), np.nan)
    return mean


def mean_over_classes(values: NDArray[np.float64]) -> float:
    """Of ``(C,)`` what is defined; NaN if nothing is."""
    defined = values[~np.isnan(values)]
    return float(defined.mean()) if defined.size else float("nan")


# ---- rankings that are counted anew with each weighting --------------------------------------


class Ranking:
    """The detections of C classes by rank, under one or several labellings.

    Parameters
    ----------
    matching
        Whose detections they are.
    labels
        ``(M,)`` each: 1: true positive, 0: don't care, −1: false positive.
    order
        ``(M,)`` the detections by class and rank.
    """

    def __init__(
        self, matching: Matching, labels: Sequence[NDArray[np.int8]], order: NDArray[np.int64]
    ) -> None:
        labels = [some[order] for some in labels]
        start = matching.class_start
        found, counted = np.zeros((2, len(order)), dtype=bool)
        for some in labels:
            found |= some == 1
            counted |= some != 0
        # What no labelling counts, or is below the last true positive of its class, changes nothing.
        running = np.concatenate([[0], np.cumsum(found)])
        rows = np.flatnonzero(counted & (running[:-1] < np.repeat(running[start[1:]], np.diff(start))))
        self.start = np.searchsorted(rows, start)
        self.images = matching.detections.image_index[order[rows]]
        self.places = [np.flatnonzero(some[rows] == 1) for some in labels]
        self.excused = [np.flatnonzero(some[rows] == 0) for some in labels]

    def hits(self, weights: Weights | None = None) -> Iterator[tuple[slice, list[Hits]]]:
        """Some classes, and their hits by each labelling: all at once if each image counts once.

        With weights class by class, which fits in the cache; classes without hits are left out.
        """
        if weights is None:
            yield slice(None), [self._once(*both) for both in zip(self.places, self.excused, strict=True)]
            return
        for label, (low, high) in enumerate(itertools.pairwise(self.start)):
            if low < high:
                upto = copies(weights, self.images[low:high])
                np.cumsum(upto, axis=1, dtype=np.int32, out=upto)
                both = zip(self.places, self.excused, strict=True)
                some = [self._weighted(weights, upto, low, _within(a, low, high), _within(b, low, high))
                        for a, b in both]  # fmt: skip
                yield slice(label, label + 1), some

    def _once(self, places: NDArray[np.int64], excused: NDArray[np.int64]) -> Hits:
        start = np.searchsorted(places, self.start)
        number = np.diff(start)
        left_out = np.searchsorted(excused, places) - np.repeat(
            np.searchsorted(excused, self.start[:-1]), number
        )
        before = places - np.repeat(self.start[:-1], number) - left_out  # true positives among them
        hits = Hits.once(before, start)
        return Hits(hits.true, hits.false - hits.true + 1, start)

    def _weighted(
        self,
        weights: Weights,
        upto: Weights,
        first: int,
        places: NDArray[np.int64],
        excused: NDArray[np.int64],
    ) -> Hits:
        mine = copies(weights, self.images[places])
        true = np.cumsum(mine, axis=1, dtype=np.int32)
        false = upto.take(places - first, axis=1, mode="wrap") - true
        if len(excused):
            left_out = running_copies(weights, self.images[excused])
            false -= left_out.take(np.searchsorted(excused, places), axis=1, mode="wrap")
        return Hits(true, false, np.array([0, len(places)]), mine)


def _within(sorted_: NDArray[np.int64], low: int, high: int) -> NDArray[np.int64]:
    first, last = np.searchsorted(sorted_, [low, high])
    return sorted_[first:last]


class RankedErrors:
    """The false positives of C classes by rank, each of one of K kinds.

    Parameters
    ----------
    start
        ``(C + 1,)`` those of class j are ``start[j]:start[j + 1]``.
    kinds
        ``(F,)`` the kind of each, from 0.
    images
        ``(F,)`` the image of each.
    number
        How many kinds there are, K.
    """

    def __init__(
        self, start: NDArray[np.int64], kinds: NDArray[np.int8], images: NDArray[np.int64], number: int
    ) -> None:
        self.start = start
        labels = np.repeat(np.arange(len(start) - 1), np.diff(start))
        cells = labels * number + kinds
        self._images = images[argsort_ascending(cells)]  # by class, then kind, then rank
        count = np.bincount(cells, minlength=number * (len(start) - 1)).reshape(-1, number)
        self.count = count
        """``(C, K)`` how many there are."""
        self._before = np.zeros((number, len(kinds) + 1), dtype=np.int32)
        for kind, row in enumerate(self._before):
            np.cumsum(kinds == kind, out=row[1:])
        self._first = np.cumsum(count).reshape(count.shape) - count  # of each cell in `_images`

    def above(self, places: NDArray[np.int64], hit_start: NDArray[np.int64]) -> NDArray[np.int32]:
        """``(K, T)`` how many of each kind are among the first of their class.

        Parameters
        ----------
        places
            ``(T,)`` how many false positives, of all classes together, are before each of some hits.
        hit_start
            ``(C + 1,)`` the hits of class j are ``hit_start[j]:hit_start[j + 1]``.
        """
        first = np.repeat(self.start[:-1], np.diff(hit_start))
        return self._before[:, places] - self._before[:, first]

    def running(self, weights: Weights, label: int) -> RunningErrors:
        """Those of class `label`, counted with weights."""
        first = np.append(self._first[label], self._first[label, -1] + self.count[label, -1])
        count = running_copies(weights, self._images[first[0] : first[-1]])
        return RunningErrors(count, first - first[0])


@dataclass(frozen=True, eq=False)
class RunningErrors:
    """The false positives of one class, counted with weights.

    Parameters
    ----------
    count
        ``(r, F_j + 1)`` copies before each, sorted by kind, then rank.
    start
        ``(K + 1,)`` where each kind begins.
    """

    count: Weights
    start: NDArray[np.int64]

    def above(self, above: NDArray[np.int32]) -> list[Weights]:
        """``(r, t)`` copies of each of the K kinds above hits, from :meth:`RankedErrors.above` ``(K, t)``."""
        return [
            self.count.take(first + mine, axis=1, mode="wrap") - self.count[:, first, None]
            for first, mine in zip(self.start[:-1], above, strict=True)
        ]

    def totals(self) -> NDArray[np.int32]:
        """``(r, K)`` copies of each kind in all."""
        totals: NDArray[np.int32] = np.diff(self.count[:, self.start], axis=1)
        return totals


# ---- Hoiem's ---------------------------------------------------------------------------------

HOIEM_COLUMNS = ("objects", "ap", "apn", "ap_stderr", "apn_stderr", "recall")


@dataclass(frozen=True, eq=False)
class HoiemScores:
    """Hoiem's average precision of many rankings, with its standard errors; all arrays are of one shape.

    NaN where a ranking has no objects, 0 where it has some and finds none (the tool gives NaN there).

    Parameters
    ----------
    objects
        Number of objects of each ranking, N_j.
    ap, apn
        Average precision, and the same of normalised precision.
    ap_stderr, apn_stderr
        Their standard errors over the objects.
    recall
        Share of the objects that are found.
    """

    objects: NDArray[np.int64]
    ap: NDArray[np.float64]
    apn: NDArray[np.float64]
    ap_stderr: NDArray[np.float64]
    apn_stderr: NDArray[np.float64]
    recall: NDArray[np.float64]

    def __post_init__(self) -> None:
        shapes = {getattr(self, name).shape for name in HOIEM_COLUMNS}
        if len(shapes) != 1:
            raise ValueError(f"columns of shapes {shapes}")

    def reshaped(self, *shape: int) -> HoiemScores:
        """The same numbers in another shape."""
        return HoiemScores(*(getattr(self, name).reshape(shape) for name in HOIEM_COLUMNS))


def normal_objects(images: int) -> float:
    """N, the number of objects that normalised precision supposes of each class, in so many images."""
    return NORMAL_SHARE * images


def hoiem_scores(
    labels: NDArray[np.int8], class_start: NDArray[np.int64], objects: NDArray[np.int64], normal: float
) -> HoiemScores:
    """Hoiem's average precision of S rankings that are end to end.

    Parameters
    ----------
    labels
        ``(M,)`` by class and rank, 1: true positive, 0: don't care, −1: false positive.
    class_start
        ``(S + 1,)`` ranking s is ``labels[class_start[s]:class_start[s + 1]]``.
    objects
        ``(S,)`` number of objects of each ranking.
    normal
        Number of objects that normalised precision supposes, N.

    Examples
    --------
    >>> labels = np.array([1, -1, 1, -1], dtype=np.int8)  # a class with two hits, and one with none
    >>> scores = hoiem_scores(labels, np.array([0, 3, 4, 4]), np.array([2, 1, 0]), normal=4.0)
    >>> scores.ap.round(4).tolist(), scores.apn.round(4).tolist()
    ([0.8333, 0.0, nan], [0.9, 0.0, nan])
    """
    places = np.flatnonzero(labels == 1)
    start = np.searchsorted(places, class_start)
    false = np.concatenate([[0], np.cumsum(labels == -1)])
    above = false[places] - np.repeat(false[class_start[:-1]], np.diff(start))
    return score_hits(Hits.once(above, start), objects, normal).reshaped(len(objects))


def score_hits(hits: Hits, objects: NDArray[np.int64], normal: float) -> HoiemScores:
    """``(r, S)`` the same from the hits; each counts once.

    Parameters
    ----------
    hits
        Of S rankings, in r variants.
    objects, normal
        As in :func:`hoiem_scores`.
    """
    found, number = np.diff(hits.start), np.maximum(objects, 1)
    columns: list[NDArray[np.float64]] = []
    for precision in (hits.precision, hits.normalized_precision(objects[None], normal)):
        best = envelope(precision, hits.start)
        mean = mean_over_objects(best, hits, objects)
        squares = _sum_of_runs((best - np.repeat(mean, found, axis=1)) ** 2, hits.start)
        squares += (objects - found) * mean**2
        columns += [mean, np.sqrt(squares / np.maximum(objects - 1, 1) / number)]
    ap, ap_stderr, apn, apn_stderr = (np.where(objects > 0, column, np.nan) for column in columns)
    recall = np.broadcast_to(np.where(objects > 0, found / number, np.nan), ap.shape)
    return HoiemScores(np.broadcast_to(objects, ap.shape), ap, apn, ap_stderr, apn_stderr, recall)


# ---- COCO's ----------------------------------------------------------------------------------
#
# By the rules of pycocotools, without a loop over images. The 100 best detections of a class in an image
# count, and boxes are not clipped. COCO has no difficult objects: they count as crowd regions, the way
# converters from VOC write them. So, as in VOC's devkit, they are neither to be found nor is it an error to
# find them, any number of times; a detection belongs to a region by the share of its own area within it.


class _CocoLabels:
    """Pairs of a detection and an object of its class with COCO's overlaps, for objects of some size."""

    def __init__(self, matching: Matching, size: tuple[float, float] = COCO_SIZES["all"]) -> None:
        truth, found = matching.truth, matching.detections
        by_image = argsort_ascending(found.labels, argsort_ascending(found.image_index, matching.by_score))
        key = found.labels[by_image] * max(1, len(truth.images)) + found.image_index[by_image]
        self.place = np.empty(
            len(key), dtype=np.int64
        )  # of each detection among those of its class and image
        self.place[by_image] = np.arange(len(key)) - np.searchsorted(key, key)
        own = found.labels[matching.pair_detection] == truth.labels[matching.pair_object]
        own &= self.place[matching.pair_detection] < COCO_MOST_DETECTIONS
        detection, object_ = matching.pair_detection[own], matching.pair_object[own]
        # As the devkit computes it, from corner and extent: the last bit may decide.
        extent, object_extent = (record.boxes[:, 2:] - record.boxes[:, :2] for record in (found, truth))
        low, object_low = found.boxes[:, :2], truth.boxes[:, :2]
        high, object_high = low + extent, object_low + object_extent
        boxes, others = (np.concatenate(both, axis=1) for both in ((low, high), (object_low, object_high)))
        inside = intersection(boxes[detection], others[object_])
        area, object_area = extent.prod(axis=1), object_extent.prod(axis=1)
        union = area[detection] + object_area[object_] - inside
        whole = np.where(matching.ignored[object_], area[detection], union)
        overlap = inside / np.where(whole > 0, whole, 1.0)

        size_of = np.asarray(truth.attributes.get("area", object_area), dtype=np.float64)
        self.counted: NDArray[np.bool_] = ~matching.ignored & (size_of >= size[0]) & (size_of <= size[1])
        outside = (area < size[0]) | (area > size[1]) | (self.place >= COCO_MOST_DETECTIONS)
        self.objects = np.bincount(truth.labels[self.counted], minlength=len(truth.classes))
        self._unmatched = np.where(outside, np.int8(0), np.int8(-1))
        # Objects that count before all others, then the largest overlap, of equals the last one.
        order = np.lexsort((-object_, -overlap, ~self.counted[object_], detection))
        self._detection, self._object, self._overlap = detection[order], object_[order], overlap[order]
        self._rank = matching.pair_rank[own][order]
        # A crowd region is always free: each detection on it gets a slot that nobody else wants.
        crowd = matching.ignored[self._object]
        self._slot = np.where(crowd, len(truth) + np.cumsum(crowd) - 1, self._object)
        self._slots = len(truth) + int(crowd.sum())

    def at(self, iou: float) -> NDArray[np.int8]:
        """``(M,)`` what each detection is, as :func:`coco_labels` says."""
        good = np.flatnonzero(self._overlap >= min(iou, 1 - 1e-10))
        detection = self._detection[good]
        start = np.flatnonzero(np.diff(detection, prepend=-1))
        stop = np.append(start[1:], len(detection)).astype(np.int64)
        taken = greedy(start, stop, self._slot[good], self._slots, self._rank[good])
        taken = taken[taken >= 0]
        labels = self._unmatched.copy()
        labels[detection[taken]] = self.counted[self._object[good[taken]]]
        return labels


def coco_labels(
    matching: Matching, iou: float = 0.5, size: tuple[float, float] = COCO_SIZES["all"]
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
    return _CocoLabels(matching, size).at(iou)


def coco_order(matching: Matching) -> NDArray[np.int64]:
    """``(M,)`` detections by class, falling score, and image; within an image as in the record."""
    found = matching.detections
    by_image = argsort_ascending(matching.score_level, argsort_ascending(found.image_index))
    return argsort_ascending(found.labels, by_image)


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
        ``(C,)`` recall over :data:`COCO_IOUS` with up to 1, 10 and 100 detections of a class in an image.
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
    order = coco_order(matching)
    scores: dict[str, NDArray[np.float64]] = {}
    for name, size in COCO_SIZES.items():
        suffix = "" if name == "all" else f"_{name}"
        pairs = _CocoLabels(matching, size)
        objects = pairs.objects[None]
        labels = [pairs.at(iou) for iou in COCO_IOUS]
        ((_, hits),) = Ranking(matching, labels, order).hits()
        ap = np.where(objects > 0, np.stack([_coco_ap(some, objects)[0] for some in hits]), np.nan)
        scores[f"ap{suffix}"], scores[f"ar{suffix}"] = ap.mean(axis=0), _coco_recall(hits, pairs.objects)
        if name == "all":
            scores["ap50"], scores["ap75"] = ap[0], ap[5]
            for most in (1, 10):
                few = [np.where(pairs.place < most, some, np.int8(0)) for some in labels]
                ((_, hits),) = Ranking(matching, few, order).hits()
                scores[f"ar{most}"] = _coco_recall(hits, pairs.objects)
    return CocoTable(matching.truth.classes, **scores)


def _coco_recall(hits: Sequence[Hits], objects: NDArray[np.int64]) -> NDArray[np.float64]:
    recall = np.stack([np.diff(some.start) / np.maximum(objects, 1) for some in hits])
    return np.where(objects > 0, recall.mean(axis=0), np.nan)


# ---- all kinds -------------------------------------------------------------------------------

Score = Callable[[Sequence[Hits], NDArray[np.int64], float], NDArray[np.float64]]
"""``(r, S)`` of the hits by each labelling, the numbers of objects ``(r, S)``, and the one that normalised
precision supposes."""


def _voc07(hits: Sequence[Hits], objects: NDArray[np.int64], normal: float) -> NDArray[np.float64]:
    return _interpolated(hits[0], VOC07_RECALLS, objects)


def _area(hits: Sequence[Hits], objects: NDArray[np.int64], normal: float) -> NDArray[np.float64]:
    return area_under_curve(hits[0], objects)


def _coco(hits: Sequence[Hits], objects: NDArray[np.int64], normal: float) -> NDArray[np.float64]:
    mean: NDArray[np.float64] = np.stack([_coco_ap(some, objects) for some in hits]).mean(axis=0)
    return mean


def _coco50(hits: Sequence[Hits], objects: NDArray[np.int64], normal: float) -> NDArray[np.float64]:
    return _coco_ap(hits[0], objects)


def _coco_ap(hits: Hits, objects: NDArray[np.int64]) -> NDArray[np.float64]:
    return _interpolated(hits, COCO_RECALLS, objects)


def _interpolated(
    hits: Hits, recalls: NDArray[np.float64], objects: NDArray[np.int64]
) -> NDArray[np.float64]:
    """``(r, S)`` mean of the largest precision at each recall or beyond."""
    places = hits.places_of(needed_for(recalls, objects))
    mean: NDArray[np.float64] = precision_at(hits.precision, places, hits.start).mean(axis=2)
    return mean


def _hoiem(hits: Sequence[Hits], objects: NDArray[np.int64], normal: float) -> NDArray[np.float64]:
    return mean_over_objects(envelope(hits[0].precision, hits[0].start), hits[0], objects)


def _normalized(hits: Sequence[Hits], objects: NDArray[np.int64], normal: float) -> NDArray[np.float64]:
    precision = hits[0].normalized_precision(objects, normal)
    return mean_over_objects(envelope(precision, hits[0].start), hits[0], objects)


@dataclass(frozen=True)
class APKind:
    """A kind of average precision: how it is computed, and how tables, figures and sentences name it.

    Parameters
    ----------
    heading
        Of a column of a table.
    label
        Of an axis or a legend.
    mean
        What the mean over the classes is called.
    rule
        By which detections are matched.
    score
        Computes it.
    """

    heading: str
    label: str
    mean: str
    rule: Literal["devkit", "hoiem", "coco"]
    score: Score

    @property
    def own_iou(self) -> bool:
        """Whether it has overlaps of its own, whatever IoU a diagnosis is at."""
        return self.rule == "coco"


AP_KINDS: dict[str, APKind] = {
    "voc07": APKind("VOC07", "VOC 2007, 11 points", "mAP, VOC 2007", "devkit", _voc07),
    "area": APKind("area", "area under the curve", "mAP, area", "devkit", _area),
    "coco": APKind("COCO", "COCO, IoU 0.50 to 0.95", "mAP, COCO at IoU 0.5 to 0.95", "coco", _coco),
    "coco50": APKind("COCO50", "COCO, IoU 0.5", "mAP, COCO at IoU 0.5", "coco", _coco50),
    "hoiem": APKind("Hoiem", "Hoiem", "mAP, Hoiem", "hoiem", _hoiem),
    "normalized": APKind("norm.", "Hoiem, normalised", "mAP, Hoiem, normalised", "hoiem", _normalized),
}
"""By the name of the column of an :class:`APTable`."""


@dataclass(frozen=True, eq=False)
class APTable:
    """Average precision of C classes; NaN where there is none.

    Parameters
    ----------
    classes
        Names of the classes.
    objects
        ``(C,)`` number of objects that are not difficult.
    voc07, area
        ``(C,)`` VOC's 11-point mean and area under the curve.
    coco, coco50
        ``(C,)`` COCO's, for IoU 0.5 to 0.95 and for 0.5.
    hoiem, normalized
        ``(C,)`` Hoiem's, plain and normalised.
    """

    classes: tuple[str, ...]
    objects: NDArray[np.int64]
    voc07: NDArray[np.float64]
    area: NDArray[np.float64]
    coco: NDArray[np.float64]
    coco50: NDArray[np.float64]
    hoiem: NDArray[np.float64]
    normalized: NDArray[np.float64]

    def mean(self) -> dict[str, float]:
        """Mean over the classes with objects, by kind (:data:`AP_KINDS`); NaN if no class has any."""
        return {kind: mean_over_classes(getattr(self, kind)) for kind in AP_KINDS}


def average_precision(
    truth: GroundTruth,
    detections: Detections,
    matching: Matching | None = None,
    *,
    iou: float = STRONG,
    coco: bool = True,
) -> APTable:
    """All kinds of average precision of each class.

    Parameters
    ----------
    truth, detections
        Of the same images and classes.
    matching
        Their overlaps, if :func:`diagnosis.matching.match` has been called already.
    iou
        Smallest IoU of a true positive, for all kinds but COCO's, which have their own.
    coco
        Whether to compute COCO's; NaN otherwise.

    Examples
    --------
    >>> truth = GroundTruth(["a"], ["dog", "cat"], [[90, 90]], [0], [0], [[0, 0, 9, 9]])
    >>> found = Detections(["a"], ["dog", "cat"], [0, 0], [0, 0], [0.9, 0.8], [[50, 0, 60, 9], [0, 0, 9, 9]])
    >>> table = average_precision(truth, found, coco=False)
    >>> table.area.tolist(), table.mean()["area"]
    ([0.5, nan], 0.5)
    """
    return APStatistic(match(truth, detections) if matching is None else matching, iou=iou).table(coco)


class APStatistic:
    """Average precision of each class and kind, as a function of how often each image counts.

    Parameters
    ----------
    matching
        The overlaps.
    iou
        Smallest IoU of a true positive, for all kinds but COCO's.
    """

    def __init__(self, matching: Matching, *, iou: float = STRONG) -> None:
        self.cells = matching.cells
        self._matching, self._iou = matching, iou
        self._objects = ObjectCounter(matching.truth, ~matching.ignored)
        self._rankings: dict[str, Ranking] = {}

    def __call__(
        self, weights: Weights | None = None, kinds: Sequence[str] = tuple(AP_KINDS)
    ) -> dict[str, NDArray[np.float64]]:
        """``map/<kind>`` ``(r, C)``; NaN for a class that has no objects, 0 where none is found.

        Without weights each image counts once, and r is 1.
        """
        objects = self._objects(weights)
        normal = normal_objects(len(self._matching.truth.images))  # a resample has as many images
        values = {kind: np.zeros(objects.shape) for kind in kinds}
        for rule in dict.fromkeys(AP_KINDS[kind].rule for kind in kinds):
            for classes, hits in self._ranking(rule).hits(weights):
                for kind, value in values.items():
                    if AP_KINDS[kind].rule == rule:
                        value[:, classes] = AP_KINDS[kind].score(hits, objects[:, classes], normal)
        return {f"map/{kind}": np.where(objects > 0, value, np.nan) for kind, value in values.items()}

    def _ranking(self, rule: str) -> Ranking:
        if rule not in self._rankings:
            matching = self._matching
            if rule == "coco":
                pairs = _CocoLabels(matching)
                ranking = Ranking(matching, [pairs.at(iou) for iou in COCO_IOUS], coco_order(matching))
            else:
                assignment = (assign if rule == "hoiem" else assign_devkit)(matching, self._iou)
                ranking = Ranking(matching, [assignment.labels], matching.order)
            self._rankings[rule] = ranking
        return self._rankings[rule]

    def table(self, coco: bool = True) -> APTable:
        """With each image counted once; COCO's NaN unless asked for."""
        values = self(None, [kind for kind, row in AP_KINDS.items() if coco or row.rule != "coco"])
        classes, objects = self._matching.truth.classes, self._matching.objects
        absent = np.full((1, len(classes)), np.nan)
        return APTable(classes, objects, **{kind: values.get(f"map/{kind}", absent)[0] for kind in AP_KINDS})


# ---- one class's curve, and where to cut it --------------------------------------------------


@dataclass(frozen=True, eq=False)
class Curve:
    """Precision and recall after each counted detection of a class, best first.

    Parameters
    ----------
    recall, precision
        ``(n,)`` fractions.
    rows
        ``(n,)`` the detections, as indices into the record; don't-care detections are left out.
    """

    recall: NDArray[np.float64]
    precision: NDArray[np.float64]
    rows: NDArray[np.int64]


def precision_recall_curve(matching: Matching, label: int, iou: float = STRONG) -> Curve:
    """Precision over recall of class `label`, matched as VOC's devkit does.

    Recall is NaN throughout if the class has no objects.
    """
    labels, rows = assign_devkit(matching, iou).labels, matching.ranked(label)
    rows = rows[labels[rows] != 0]
    true = np.cumsum(labels[rows] == 1)
    objects = int(matching.objects[label])
    recall = true / objects if objects else np.full(len(rows), np.nan)
    return Curve(recall, true / np.arange(1, len(rows) + 1), rows)


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
        ``(C,)`` that of each class by itself.
    overall
        One threshold for all classes, detections and objects of all taken together (micro-averaged). A
        detection of a class without objects is a false positive here.
    """

    classes: tuple[str, ...]
    each: tuple[OperatingPoint, ...]
    overall: OperatingPoint


def best_f1(matching: Matching, *, iou: float = STRONG) -> OperatingPoints:
    """The score threshold of largest F1 of each class and of all; of equals the highest threshold.

    Matched as VOC's devkit does: hits of difficult objects and crowds are left out.

    Parameters
    ----------
    matching
        The overlaps.
    iou
        Smallest IoU of a true positive.

    Examples
    --------
    >>> names = ["a"], ["dog"]
    >>> truth = GroundTruth(*names, [[90, 90]], [0, 0], [0, 0], [[0, 0, 10, 10], [50, 50, 60, 60]])
    >>> boxes = [[0, 0, 10, 10], [50, 50, 60, 60], [80, 0, 90, 10]]
    >>> best_f1(match(truth, Detections(*names, [0] * 3, [0] * 3, [0.9, 0.6, 0.2], boxes))).overall
    OperatingPoint(score=0.6, f1=1.0, precision=1.0, recall=1.0)
    """
    labels, scores, objects = (
        assign_devkit(matching, iou).labels,
        matching.detections.scores,
        matching.objects,
    )
    ranked = [matching.ranked(label) for label in range(len(objects))]
    each = [_best_cut(labels[rows], scores[rows], int(n)) for rows, n in zip(ranked, objects, strict=True)]
    rows = matching.by_score
    overall = _best_cut(labels[rows], scores[rows], int(objects.sum()))
    return OperatingPoints(matching.truth.classes, tuple(each), overall)


def _best_cut(labels: NDArray[np.int8], scores: NDArray[np.float64], objects: int) -> OperatingPoint:
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
