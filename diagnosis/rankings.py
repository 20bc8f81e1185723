"""Precision down rankings: what every average precision, and the cost of every error, is computed from.

:class:`Hits` counts how many false positives are above each true positive: between two true positives
precision only falls, so nothing else matters. With image weights each detection counts as often as its image.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from diagnosis.matching import Matching, Weights, argsort_ascending, running_weights, weights_of

__all__ = [
    "Hits",
    "RankedErrors",
    "Ranking",
    "RunningErrors",
    "envelope",
    "interpolated_precision",
    "mean_defined",
    "mean_over_classes",
    "mean_over_objects",
    "needed_hits",
    "precision_at",
    "sum_of_runs",
]

Normal = float | NDArray[np.float64]
"""How many objects of each class normalised precision supposes; ``(r, 1)`` where replicates differ."""


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
    weights
        ``(r, T)`` the image weight of each; S is then 1. None: 1.
    """

    true: NDArray[np.integer]
    false: NDArray[np.integer]
    start: NDArray[np.int64]
    weights: Weights | None = None

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

    def normalized_precision(self, objects: NDArray[np.int64], normal: Normal) -> NDArray[np.float64]:
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
        if self.weights is None:
            inside: NDArray[np.int64] = np.clip(needed - 1, 0, np.diff(self.start)[:, None])
            return self.start[:-1, None] + inside
        rows, length = self.true.shape
        wanted, total = np.maximum(needed[:, 0], 1), self.weights.sum(axis=1)[:, None]
        # The hit of each unit of weight, row by row; one more, so that there is one.
        units = np.append(_repeated(self.weights.ravel()), 0)
        index = np.minimum(wanted + (np.cumsum(total) - 1)[:, None] - total, len(units) - 1)
        places = units[index] - length * np.arange(rows)[:, None]
        reached: NDArray[np.int64] = np.where(wanted <= total, places, length)[:, None]
        return reached


def _repeated(weights: Weights) -> NDArray[np.int64]:
    """Each place as often as its weight."""
    if weights.max(initial=0) > 1:
        return np.repeat(np.arange(len(weights)), weights)
    return np.flatnonzero(weights.astype(bool))  # twenty times as fast


def _running_maximum(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """``(r, T)`` the largest from each place on, of numbers that are not negative."""
    # As integers, which are in the same order and twice as fast to compare: NumPy looks for NaN in floats.
    bits = values.view(np.int64)
    best: NDArray[np.float64] = np.maximum.accumulate(bits[:, ::-1], axis=1)[:, ::-1].view(np.float64)
    return best


def envelope(precision: NDArray[np.float64], start: NDArray[np.int64]) -> NDArray[np.float64]:
    """``(r, T)`` the largest precision from each hit on, within its ranking.

    Examples
    --------
    >>> envelope(np.array([[0.5, 1.0, 0.2, 0.4]]), np.array([0, 2, 4])).tolist()
    [[1.0, 1.0, 0.4, 0.4]]
    """
    if len(start) <= 2:
        return _running_maximum(precision)
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
    padded[:, :-1] = _running_maximum(precision) if len(start) == 2 else precision
    if len(start) == 2:
        at: NDArray[np.float64] = padded.ravel()[places[:, 0] + (length + 1) * np.arange(rows)[:, None]]
        return at[:, None]
    ends = np.broadcast_to(start[1:, None], (rows, len(start) - 1, 1))
    edges = np.concatenate([np.broadcast_to(places, (rows, *places.shape[1:])), ends], axis=2)
    edges += (length + 1) * np.arange(rows)[:, None, None]
    # The largest precision from each place to the next, then from each on.
    best = np.maximum.reduceat(padded.ravel(), edges.ravel()).reshape(edges.shape)[..., :-1]
    best = np.where(places < ends, best, 0.0)
    return np.ascontiguousarray(np.maximum.accumulate(best[..., ::-1], axis=2)[..., ::-1])


def needed_hits(recalls: NDArray[np.float64], objects: NDArray[np.int64]) -> NDArray[np.int64]:
    """``(r, S, p)`` the fewest true positives whose recall, as a float, is not below each of ``(p,)``."""
    number = np.maximum(objects, 1)[..., None]
    needed = np.floor(recalls * number).astype(np.int64) - 1
    for _ in range(2):
        needed += needed / number < recalls
    return needed


def interpolated_precision(hits: Hits, needed: NDArray[np.int64]) -> NDArray[np.float64]:
    """``(r, S)`` mean of the largest precision from each of some numbers of hits ``(r, S, p)`` on."""
    mean: NDArray[np.float64] = precision_at(hits.precision, hits.places_of(needed), hits.start).mean(axis=2)
    return mean


def mean_over_objects(
    best: NDArray[np.float64], hits: Hits, objects: NDArray[np.int64]
) -> NDArray[np.float64]:
    """``(r, S)`` mean over the objects of the `best` precision at which each is found, 0 if never."""
    if hits.weights is None:
        total = sum_of_runs(best, hits.start)
    else:
        total = np.einsum("rt,rt->r", hits.weights.astype(np.float64), best)[:, None]
    return total / np.maximum(objects, 1)


def sum_of_runs(values: NDArray[np.float64], start: NDArray[np.int64]) -> NDArray[np.float64]:
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
                upto = weights_of(weights, self.images[low:high])
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
        mine = weights_of(weights, self.images[places])
        true = np.cumsum(mine, axis=1, dtype=np.int32)
        false = upto.take(places - first, axis=1, mode="wrap") - true
        if len(excused):
            left_out = running_weights(weights, self.images[excused])
            false -= left_out.take(np.searchsorted(excused, places), axis=1, mode="wrap")
        return Hits(true, false, np.array([0, len(places)]), mine)


def _within(sorted_: NDArray[np.int64], low: int, high: int) -> NDArray[np.int64]:
    first, last = np.searchsorted(sorted_, [low, high])
    return sorted_[first:last]


class RankedErrors:
    """The false positives of C classes by rank, each of one of K error types.

    Parameters
    ----------
    start
        ``(C + 1,)`` those of class j are ``start[j]:start[j + 1]``.
    types
        ``(F,)`` the error type of each, from 0.
    images
        ``(F,)`` the image of each.
    number
        How many types there are, K.
    """

    def __init__(
        self, start: NDArray[np.int64], types: NDArray[np.int8], images: NDArray[np.int64], number: int
    ) -> None:
        self.start = start
        labels = np.repeat(np.arange(len(start) - 1), np.diff(start))
        cells = labels * number + types
        self._images = images[argsort_ascending(cells)]  # by class, then type, then rank
        count = np.bincount(cells, minlength=number * (len(start) - 1)).reshape(-1, number)
        self.count = count
        """``(C, K)`` how many there are."""
        self._before = np.zeros((number, len(types) + 1), dtype=np.int32)
        for error, row in enumerate(self._before):
            np.cumsum(types == error, out=row[1:])
        self._first = np.cumsum(count).reshape(count.shape) - count  # of each cell in `_images`

    def above(self, places: NDArray[np.int64], hit_start: NDArray[np.int64]) -> NDArray[np.int32]:
        """``(K, T)`` how many of each type are among the first of their class.

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
        count = running_weights(weights, self._images[first[0] : first[-1]])
        return RunningErrors(count, first - first[0])


@dataclass(frozen=True, eq=False)
class RunningErrors:
    """The false positives of one class, counted with weights.

    Parameters
    ----------
    count
        ``(r, F_j + 1)`` total weight before each, sorted by type, then rank.
    start
        ``(K + 1,)`` where each type begins.
    """

    count: Weights
    start: NDArray[np.int64]

    def above(self, above: NDArray[np.int32]) -> list[Weights]:
        """``(r, t)`` weight of each of the K types above hits, from :meth:`RankedErrors.above` ``(K, t)``."""
        return [
            self.count.take(first + mine, axis=1, mode="wrap") - self.count[:, first, None]
            for first, mine in zip(self.start[:-1], above, strict=True)
        ]

    def totals(self) -> NDArray[np.int32]:
        """``(r, K)`` total weight of each type."""
        totals: NDArray[np.int32] = np.diff(self.count[:, self.start], axis=1)
        return totals
