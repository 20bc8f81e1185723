"""TIDE's average precision and dAP as functions of how often each image counts.

Errors are typed within an image, whatever the others hold, so resampling images changes no type: it only
counts errors and true positives anew (see :mod:`diagnosis.resampled_curve`).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from diagnosis.bootstrap import OVER_ALL, Weights, mean_defined
from diagnosis.matching import Matching
from diagnosis.resampled import largest_class
from diagnosis.resampled_curve import (
    Counts,
    FalseByKind,
    ObjectCounter,
    best_from,
    copies_down_to,
    mean_at,
    places_of,
)
from diagnosis.tide import CLS, CORRECT, DAP_COLUMNS, LOC, MISS, Tide

__all__ = ["ResampledTide"]

KINDS = MISS  # the errors of detections come before the one of objects
MISSES, FALSE, UNFOUND = range(KINDS, KINDS + 3)
"""Rows of :data:`diagnosis.tide.DAP_COLUMNS` that are no error of a detection."""

RECALLS = 100


class _Fix(NamedTuple):
    """The ranking of one class with something mended: its true positives."""

    images: NDArray[np.int64]
    """``(t,)`` the image of each."""
    above: NDArray[np.int64]
    """``(5, t)`` where they stand among the false positives, from :meth:`FalseByKind.above`."""


class ResampledTide:
    """TIDE's AP ``tide/ap…`` and what fixing each error adds to it, ``dap/<error>``, for each class.

    With ``dap/<error>/all`` over all classes, which is not the mean of the classes: a fix may leave a class
    neither objects nor detections, and it is the gain of the mean that is kept from falling below 0. As in
    :class:`diagnosis.tide.Tide`.

    Parameters
    ----------
    matching
        The overlaps.
    found
        What :func:`diagnosis.tide.tide` found in them.
    """

    def __init__(self, matching: Matching, found: Tide) -> None:
        truth = matching.truth
        self.cells = largest_class(matching)
        self._name = f"tide/ap{100 * found.iou:g}"
        unfound = ~found.found & ~matching.ignored
        self._counters = [ObjectCounter(truth, some) for some in (~matching.ignored, found.missed, unfound)]
        self._classes = _classes(matching, found)

    def __call__(self, weights: Weights) -> dict[str, NDArray[np.float64]]:
        """The average precision and the gains; see the class."""
        objects, missed, unfound = (count(weights) for count in self._counters)
        ap = np.full(objects.shape, np.nan)
        fixed = np.full((len(DAP_COLUMNS), *objects.shape), np.nan)
        for label, one in enumerate(self._classes):
            counts = objects[:, label], (objects - missed)[:, label], (objects - unfound)[:, label]
            ap[:, label], fixed[:, :, label] = one.scores(weights, *counts)
        values = {self._name: ap}
        whole = mean_defined(ap, -1)
        for name, some in zip(DAP_COLUMNS, fixed, strict=True):
            floor = -np.inf if name in ("fp", "fn") else 0.0
            values[f"dap/{name}"] = np.maximum(some - ap, floor)
            values[f"dap/{name}{OVER_ALL}"] = np.maximum(mean_defined(some, -1) - whole, floor)
        return values


class _Class:
    """One class: its false positives by kind, and its true positives, as they are and with fixes.

    Parameters
    ----------
    false
        The false positives.
    plain
        As they are.
    mended
        The same once anything is mended: errors then come before true positives of the same score.
    new
        With the cls and with the loc errors mended that become true positives of this class.
    """

    def __init__(self, false: FalseByKind, plain: _Fix, mended: _Fix, new: dict[int, _Fix]) -> None:
        self._false, self._plain, self._mended, self._new = false, plain, mended, new

    def scores(
        self,
        weights: Weights,
        objects: NDArray[np.int64],
        without_missed: NDArray[np.int64],
        found: NDArray[np.int64],
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """``(r,)`` as it is and ``(8, r)`` with each error fixed, for so many objects ``(r,)`` each."""
        running = self._false.running(weights)
        kinds = running.totals()  # (r, 5)
        number = kinds.sum(axis=1)
        true = copies_down_to(weights, self._plain.images)
        above = running.above(self._mended.above)
        total = _sum(above)
        usual = _Recalls(true, objects)

        as_mended = usual.ap(total, number)
        as_it_is = as_mended
        if not np.array_equal(self._plain.above, self._mended.above):
            as_it_is = usual.ap(_sum(running.above(self._plain.above)), number)
        fixed = np.tile(as_mended, (len(DAP_COLUMNS), 1))
        for kind in range(KINDS):
            rest = number - kinds[:, kind]
            if kind in self._new:
                others = running.above(self._new[kind].above)
                recalls = _Recalls(copies_down_to(weights, self._new[kind].images), objects)
                fixed[kind] = recalls.ap(_sum(others[:kind] + others[kind + 1 :]), rest)
            elif self._false.has(kind):
                fixed[kind] = usual.ap(total - above[kind], rest)
        fixed[MISSES] = _Recalls(true, without_missed).ap(total, number)
        fixed[FALSE] = usual.ap(np.zeros_like(total), number)
        fixed[UNFOUND] = _Recalls(true, found).ap(total, number)
        return as_it_is, fixed


def _sum(counts: list[Counts]) -> Counts:
    total = counts[0].copy()
    for count in counts[1:]:
        total += count
    return total


class _Recalls:
    """Where in a ranking each of the 101 recalls is reached.

    Parameters
    ----------
    true
        ``(r, t)`` true positives, down to each.
    objects
        ``(r,)`` how many objects there are.
    """

    def __init__(self, true: Counts, objects: NDArray[np.int64]) -> None:
        # The true positive that reaches a recall of p/100, counted from 1; the first for a recall of 0.
        needed = np.maximum(-(-np.arange(RECALLS + 1) * objects[:, None] // RECALLS), 1)
        self._places = places_of(true, needed)
        self._true, self._objects = true, objects
        self._hits = true[:, -1] if true.shape[1] else np.zeros(len(true), dtype=np.int32)

    def ap(self, false: Counts, number: NDArray[np.int32]) -> NDArray[np.float64]:
        """``(r,)`` average precision; NaN without objects, hits and false positives.

        Parameters
        ----------
        false
            ``(r, t)`` false positives before each true positive.
        number
            ``(r,)`` false positives in all.
        """
        mean = mean_at(self._places, best_from(self._true, false))
        return np.where(self._objects > 0, mean, np.where(number + self._hits > 0, 0.0, np.nan))


def _classes(matching: Matching, found: Tide) -> list[_Class]:
    """All classes, from the types of the errors and what they point at."""
    labels, images = matching.detections.labels, matching.detections.image_index
    count, classes = len(labels), len(matching.truth.classes)
    types, targets = found.types, found.targets

    def keyed(rows: NDArray[np.int64], after: bool) -> NDArray[np.int64]:
        """Sorts by score and image; the false positives of one score may come before all else of it."""
        return matching.score_level[rows] * (2 * count) + matching.turn[rows] + after * count

    def by_class(rows: NDArray[np.int64], of: NDArray[np.int64]) -> list[NDArray[np.int64]]:
        order = np.argsort(of, kind="stable")
        cuts = np.searchsorted(of[order], np.arange(1, classes))
        return np.split(rows[order], cuts)

    false, correct = np.flatnonzero((types >= 0) & ~found.ignored), np.flatnonzero(types == CORRECT)
    false_of, correct_of = by_class(false, labels[false]), by_class(correct, labels[correct])

    # Of the errors that point to one free object the best scored; of equal ones the first in the record.
    pointing = np.flatnonzero((types == CLS) | (types == LOC))
    pointing = pointing[~found.found[targets[pointing]]]
    best = pointing[np.lexsort((matching.turn[pointing], targets[pointing]))]
    best = best[np.diff(targets[best], prepend=-1) > 0]
    new_of = {
        kind: by_class(rows, matching.truth.labels[targets[rows]])
        for kind in (CLS, LOC)
        for rows in [best[types[best] == kind]]
    }

    result = []
    for label in range(classes):
        rows, keys = _sorted(false_of[label], keyed(false_of[label], False))
        errors = FalseByKind(keys, types[rows], images[rows], KINDS)

        def fix(keys: NDArray[np.int64], rows: NDArray[np.int64], errors: FalseByKind = errors) -> _Fix:
            rows, keys = _sorted(rows, keys)
            return _Fix(images[rows], errors.above(keys))

        mine = correct_of[label]
        new = {}
        for kind in (CLS, LOC):
            more = new_of[kind][label]
            if len(more):
                keys = np.concatenate([keyed(mine, True), keyed(more, False)])
                new[kind] = fix(keys, np.concatenate([mine, more]))
        result.append(_Class(errors, fix(keyed(mine, False), mine), fix(keyed(mine, True), mine), new))
    return result


def _sorted(rows: NDArray[np.int64], keys: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Rows and their keys by rising key."""
    order = np.argsort(keys, kind="stable")
    return rows[order], keys[order]
