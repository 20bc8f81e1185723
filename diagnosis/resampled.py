"""The five-way breakdown and the average precisions as functions of how often each image counts.

With each image counted once they are those of :mod:`diagnosis.breakdown` and
:mod:`diagnosis.average_precision`; with other weights they are those of the record in which each image
stands as many times (see :mod:`diagnosis.bootstrap`).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from diagnosis.average_precision import AP_KINDS, IOUS, RECALLS, coco_labels_at, coco_order, normal_objects
from diagnosis.bootstrap import Weights
from diagnosis.breakdown import CORRECT, ERROR_TYPES, LOCALIZATION, STRONG, Top, break_down, verdicts
from diagnosis.matching import Matching, assign, assign_devkit
from diagnosis.resampled_curve import (
    Counts,
    ObjectCounter,
    best_from,
    copies_down_to,
    drawn,
    mean_at,
    over_objects,
    places_of,
    recalls_reached_by,
    running_count,
)

__all__ = ["RESAMPLED_AP", "SHARE_NAMES", "ResampledAP", "ResampledBreakdown", "largest_class"]

RESAMPLED_AP = AP_KINDS
"""Kinds of average precision of :class:`ResampledAP`."""

SHARE_NAMES = (*(kind.name for kind in ERROR_TYPES), "correct_and_localization")
"""Shares of :class:`ResampledBreakdown`."""

ELEVEN = np.arange(11, dtype=np.float64) * 0.1  # VOC 2007's recalls
SPARE = 1.25  # how much deeper than its top a ranking is looked at first: a resample may hold fewer of it


def largest_class(matching: Matching) -> int:
    """Detections of the largest class, or all objects if they are more: what a statistic handles together."""
    return int(max(np.diff(matching.class_start).max(initial=0), len(matching.truth)))


class ResampledBreakdown:
    """Shares of the five error types among the top detections.

    The top of a class follows the resample: as many detections, copies counted, as its objects in the
    resample (or what `top` says of them). Where the cut falls among the copies of one detection, just those
    above it count. Values: ``share/<type>`` for each class and ``pooled/<type>`` over all, also for
    ``correct_and_localization``; NaN where nothing is counted.

    Parameters
    ----------
    matching
        The overlaps.
    similar
        ``(C, C)`` which classes are similar.
    top, iou
        As in :func:`diagnosis.breakdown.break_down`; there `iou` is called ``strong``.

    Raises
    ------
    InputError
        As :func:`diagnosis.breakdown.break_down`.
    """

    def __init__(
        self, matching: Matching, similar: NDArray[np.bool_], *, top: Top = None, iou: float = STRONG
    ) -> None:
        break_down(matching, similar, top, strong=iou)  # finds fault with `top`
        types = verdicts(matching, similar, strong=iou).types
        ranked = [matching.ranked(label) for label in range(len(matching.truth.classes))]
        self.cells = largest_class(matching)
        self._objects = ObjectCounter(matching.truth, ~matching.ignored)
        self._top = top
        self._images = [matching.detections.image_index[rows] for rows in ranked]
        self._kinds = [np.eye(len(ERROR_TYPES))[types[rows]] for rows in ranked]  # (n, 5), one 1 in each row

    def __call__(self, weights: Weights) -> dict[str, NDArray[np.float64]]:
        """The shares; see the class."""
        counts = self.counts(weights)
        values: dict[str, NDArray[np.float64]] = {}
        for section, some in (("share", counts), ("pooled", counts.sum(axis=1))):
            total = some.sum(axis=-1, keepdims=True)
            shares = np.where(total > 0, some / np.maximum(total, 1), np.nan)
            both = shares[..., CORRECT] + shares[..., LOCALIZATION]
            columns = [*np.moveaxis(shares, -1, 0), both]
            values |= {f"{section}/{name}": value for name, value in zip(SHARE_NAMES, columns, strict=True)}
        return values

    def counts(self, weights: Weights) -> NDArray[np.float64]:
        """``(r, C, 5)`` top detections of each class and kind, whole numbers."""
        tops = self._tops(weights)
        counts = np.zeros((*tops.shape, len(ERROR_TYPES)))
        for label, (images, kinds) in enumerate(zip(self._images, self._kinds, strict=True)):
            counted = _counted(weights, images, tops[:, label])
            counts[:, label] = counted @ kinds[: counted.shape[1]]
        return counts

    def _tops(self, weights: Weights) -> NDArray[np.int64]:
        """``(r, C)`` how many detections count, copies and all."""
        top, objects = self._top, self._objects(weights)
        if top is None:
            return objects
        if isinstance(top, str):
            return np.full_like(objects, np.iinfo(np.int64).max)
        numbers = np.asarray(top)
        if numbers.dtype.kind == "f":
            objects = np.floor(numbers * objects + 0.5).astype(np.int64)
        else:
            objects = np.broadcast_to(numbers.astype(np.int64), objects.shape)
        return objects


def _counted(weights: Weights, images: NDArray[np.int64], tops: NDArray[np.int64]) -> NDArray[np.float64]:
    """``(r, n)`` how many copies of the first n detections of a ranking lie within the top.

    n is what the deepest of the r tops needs, no more than twice over.
    """
    depth = len(images) if len(tops) == 0 else int(min(len(images), SPARE * float(tops.max()) + 32))
    while True:
        copies = drawn(weights, images[:depth])
        upto = np.cumsum(copies, axis=1, dtype=np.int32)
        if depth == len(images) or bool((upto[:, -1] >= tops).all()):
            break
        depth = min(len(images), 2 * depth)
    return np.clip(tops[:, None] - (upto - copies), 0, copies).astype(np.float64)


@dataclass(frozen=True, eq=False)
class _Ranking:
    """One class's ranking as far as average precision sees it.

    Parameters
    ----------
    images
        ``(n,)`` the image of each detection that is not don't-care, down to the last true positive.
    true
        ``(t,)`` places of the true positives among these.
    """

    images: NDArray[np.int64]
    true: NDArray[np.int64]

    @staticmethod
    def of(rows: NDArray[np.int64], labels: NDArray[np.int8], images: NDArray[np.int64]) -> _Ranking:
        rows = rows[labels[rows] != 0]
        true = np.flatnonzero(labels[rows] == 1)
        return _Ranking(images[rows[: true[-1] + 1 if len(true) else 0]], true)

    def hits(self, weights: Weights) -> tuple[Counts, Counts]:
        """``(r, t)`` true and false positives down to each true positive, it and its copies included."""
        upto = copies_down_to(weights, self.images).take(self.true, axis=1, mode="wrap")
        true = copies_down_to(weights, self.images[self.true])
        return true, upto - true


class _CocoRanking:
    """One class's ranking at each of COCO's overlaps: they differ in little, so one count serves all.

    Parameters
    ----------
    rows
        ``(n,)`` the class's detections in COCO's order.
    labels
        ``(10, M)`` what each detection is at each overlap, from :func:`coco_labels_at`.
    images
        ``(M,)`` the image of each detection.
    """

    def __init__(self, rows: NDArray[np.int64], labels: NDArray[np.int8], images: NDArray[np.int64]) -> None:
        kinds = labels[:, rows]
        kept = (kinds != 0).any(axis=0)  # what is don't-care throughout need not be looked at
        kinds, rows = kinds[:, kept], rows[kept]
        last = np.flatnonzero((kinds == 1).any(axis=0))
        rows = rows[: last[-1] + 1 if len(last) else 0]
        self._images = images[rows]
        self._true = [np.flatnonzero(kind == 1) for kind in kinds[:, : len(rows)]]
        self._excused = [np.flatnonzero(kind == 0) for kind in kinds[:, : len(rows)]]

    def scores(self, weights: Weights, objects: NDArray[np.int64]) -> NDArray[np.float64]:
        """``(10, r)`` average precision at each overlap."""
        upto = copies_down_to(weights, self._images)
        needed = recalls_reached_by(RECALLS, objects)
        scores = np.zeros((len(self._true), len(weights)))
        for row, (places, excused) in enumerate(zip(self._true, self._excused, strict=True)):
            true = copies_down_to(weights, self._images[places])
            false = upto.take(places, axis=1, mode="wrap") - true
            if len(excused):
                left_out = running_count(weights, self._images[excused])
                false -= left_out.take(np.searchsorted(excused, places), axis=1, mode="wrap")
            scores[row] = mean_at(places_of(true, needed), best_from(true, false))
        return scores


class ResampledAP:
    """Average precision of each class: ``map/<kind>`` for each of :data:`RESAMPLED_AP`.

    NaN for a class that has no objects in the resample; 0 where no object is found. How it is done:
    :mod:`diagnosis.resampled_curve`. COCO's are over IoU 0.5 to 0.95 and at 0.5; its devkit
    walks through equal scores image by image.

    Parameters
    ----------
    matching
        The overlaps.
    iou
        Smallest IoU of a true positive, for all kinds but COCO's.
    """

    def __init__(self, matching: Matching, *, iou: float = STRONG) -> None:
        images = matching.detections.image_index
        labels = range(len(matching.truth.classes))
        ranked = [matching.ranked(label) for label in labels]
        order = coco_order(matching)
        by_coco = [order[matching.class_start[j] : matching.class_start[j + 1]] for j in labels]
        devkit, hoiem = assign_devkit(matching, iou).labels, assign(matching, iou).labels
        coco = coco_labels_at(matching, IOUS)
        self.cells = largest_class(matching)
        self._matching = matching
        self._objects = ObjectCounter(matching.truth, ~matching.ignored)
        self._devkit = [_Ranking.of(rows, devkit, images) for rows in ranked]
        self._hoiem = [_Ranking.of(rows, hoiem, images) for rows in ranked]
        self._coco = [_CocoRanking(rows, coco, images) for rows in by_coco]

    def __call__(self, weights: Weights) -> dict[str, NDArray[np.float64]]:
        """The average precisions; see the class."""
        objects = self._objects(weights)
        normal = normal_objects(len(self._matching.truth.images))  # a resample has as many images
        values = {kind: np.full(objects.shape, np.nan) for kind in RESAMPLED_AP}
        for label in np.flatnonzero(self._matching.objects):
            number = objects[:, label]
            true, false = self._devkit[label].hits(weights)
            best = best_from(true, false)
            values["voc07"][:, label] = mean_at(places_of(true, recalls_reached_by(ELEVEN, number)), best)
            values["area"][:, label] = over_objects(best, true, number)
            true, false = self._hoiem[label].hits(weights)
            values["hoiem"][:, label] = over_objects(best_from(true, false), true, number)
            scaled = true * (normal / np.maximum(number, 1))[:, None]
            values["normalized"][:, label] = over_objects(best_from(scaled, false), true, number)
            coco = self._coco[label].scores(weights, number)
            values["coco"][:, label], values["coco50"][:, label] = coco.mean(axis=0), coco[0]
        return {f"map/{kind}": np.where(objects > 0, value, np.nan) for kind, value in values.items()}
