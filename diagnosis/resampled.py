"""The five-way breakdown and the average precisions as functions of how often each image counts.

With each image counted once they are those of :mod:`diagnosis.breakdown` and
:mod:`diagnosis.average_precision`; with other weights they are those of the record in which each image
stands as many times (see :mod:`diagnosis.bootstrap`).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from diagnosis.assignment import assign, assign_devkit
from diagnosis.average_precision import NORMAL_SHARE
from diagnosis.bootstrap import Weights
from diagnosis.breakdown import CORRECT, ERROR_TYPES, LOCALIZATION, STRONG, Top, break_down, verdicts
from diagnosis.coco import RECALLS, coco_labels, coco_order
from diagnosis.matching import Matching

__all__ = ["RESAMPLED_AP", "SHARE_NAMES", "ResampledAP", "ResampledBreakdown", "weighted_objects"]

RESAMPLED_AP = ("voc07", "area", "coco50", "hoiem", "normalized")
"""Kinds of average precision of :class:`ResampledAP`."""

SHARE_NAMES = (*(kind.name for kind in ERROR_TYPES), "correct_and_localization")
"""Shares of :class:`ResampledBreakdown`."""

ELEVEN = np.arange(11, dtype=np.float64) * 0.1  # VOC 2007's recalls
SPARE = 1.25  # how much deeper than its top a ranking is looked at first: a resample may hold fewer of it


def weighted_objects(matching: Matching, weights: Weights) -> NDArray[np.int64]:
    """``(r, C)`` number of objects that are not ignored, each counted as often as its image."""
    truth = matching.truth
    rows = np.flatnonzero(~matching.ignored)
    rows = rows[np.argsort(truth.labels[rows], kind="stable")]
    starts = np.cumsum(matching.objects) - matching.objects
    upto = np.zeros((len(weights), len(rows) + 1), dtype=np.int64)
    np.cumsum(weights.take(truth.image_index[rows], axis=1), axis=1, out=upto[:, 1:])
    objects: NDArray[np.int64] = upto[:, starts + matching.objects] - upto[:, starts]
    return objects


def _largest_class(matching: Matching) -> int:
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
        self.cells = _largest_class(matching)
        self._matching = matching
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
        top, objects = self._top, weighted_objects(self._matching, weights)
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
        drawn = weights.take(images[:depth], axis=1)
        upto = np.cumsum(drawn, axis=1)
        if depth == len(images) or bool((upto[:, -1] >= tops).all()):
            break
        depth = min(len(images), 2 * depth)
    return np.clip(tops[:, None] - (upto - drawn), 0, drawn).astype(np.float64)


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

    def hits(self, weights: Weights) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """``(r, t)`` true positives and detections down to each true positive, it and its copies included."""
        drawn = weights.take(self.images, axis=1)
        true = np.cumsum(drawn.take(self.true, axis=1), axis=1, dtype=np.int64)
        # Within int32: no more than images × detections of a class.
        upto = np.cumsum(drawn, axis=1, dtype=np.int32, out=drawn).take(self.true, axis=1)
        return true, upto.astype(np.int64)


class ResampledAP:
    """Average precision of each class: ``map/<kind>`` for each of :data:`RESAMPLED_AP`.

    Only true positives have to be looked at: between two of them precision falls, and among the copies of
    one it rises, so that the largest precision from a place on stands at the last copy of some true
    positive. NaN for a class that has no objects in the resample; 0 where no object is found.

    COCO's is that at IoU 0.5, from :mod:`diagnosis.coco`. Its devkit walks through equal scores image by
    image.

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
        coco = coco_labels(matching, 0.5)
        self.cells = _largest_class(matching)
        self._matching = matching
        self._devkit = [_Ranking.of(rows, devkit, images) for rows in ranked]
        self._hoiem = [_Ranking.of(rows, hoiem, images) for rows in ranked]
        self._coco = [_Ranking.of(rows, coco, images) for rows in by_coco]

    def __call__(self, weights: Weights) -> dict[str, NDArray[np.float64]]:
        """The average precisions; see the class."""
        objects = weighted_objects(self._matching, weights)
        normal = NORMAL_SHARE * len(self._matching.truth.images)  # a resample has as many images
        values = {kind: np.full(objects.shape, np.nan) for kind in RESAMPLED_AP}
        for label in np.flatnonzero(self._matching.objects):
            number = objects[:, label]
            true, upto = self._devkit[label].hits(weights)
            best = _best_from(true / np.maximum(upto, 1))
            values["voc07"][:, label] = _at_recalls(best, true, number, ELEVEN)
            values["area"][:, label] = _over_objects(best, true, number)
            true, upto = self._hoiem[label].hits(weights)
            best = _best_from(true / np.maximum(upto, 1))
            values["hoiem"][:, label] = _over_objects(best, true, number)
            scaled = true * (normal / np.maximum(number, 1))[:, None]
            best = _best_from(scaled / np.maximum(scaled + (upto - true), 1e-300))
            values["normalized"][:, label] = _over_objects(best, true, number)
            true, upto = self._coco[label].hits(weights)
            best = _best_from(true / np.maximum(upto, 1))
            values["coco50"][:, label] = _at_recalls(best, true, number, RECALLS)
        return {f"map/{kind}": np.where(objects > 0, value, np.nan) for kind, value in values.items()}


def _best_from(precision: NDArray[np.float64]) -> NDArray[np.float64]:
    """The largest precision from each true positive on, ``(r, t)``."""
    return np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]


def _over_objects(
    best: NDArray[np.float64], true: NDArray[np.int64], objects: NDArray[np.int64]
) -> NDArray[np.float64]:
    """``(r,)`` mean over the objects of the precision at which each is found, 0 if never."""
    found = np.diff(true, axis=1, prepend=0)
    total: NDArray[np.float64] = np.einsum("rt,rt->r", found.astype(np.float64), best)
    return total / np.maximum(objects, 1)


def _at_recalls(
    best: NDArray[np.float64],
    true: NDArray[np.int64],
    objects: NDArray[np.int64],
    recalls: NDArray[np.float64],
) -> NDArray[np.float64]:
    """``(r,)`` mean over `recalls` of the largest precision at that recall or beyond, 0 if never reached."""
    rows, length = true.shape
    number = np.maximum(objects, 1)[:, None]
    # The fewest true positives whose recall, in floating point, is not below each of the recalls.
    needed = np.floor(recalls * number).astype(np.int64) - 1
    for _ in range(2):
        needed += needed / number < recalls
    # One search for all rows: each gets a range of numbers of its own.
    stride = int(max(true.max(initial=0), needed.max(initial=0))) + 2
    offset = stride * np.arange(rows)[:, None]
    places = np.searchsorted((true + offset).ravel(), (needed + offset).ravel())
    places = places.reshape(needed.shape) - length * np.arange(rows)[:, None]
    padded = np.concatenate([best, np.zeros((rows, 1))], axis=1)
    mean: NDArray[np.float64] = np.take_along_axis(padded, np.minimum(places, length), axis=1).mean(axis=1)
    return mean
