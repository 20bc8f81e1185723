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

from diagnosis.matching import Matching, Redraw, Weights, argsort_ascending

__all__ = [
    "AnyHits",
    "Hits",
    "RankedErrors",
    "Ranking",
    "Redrawn",
    "RunningErrors",
    "envelope",
    "interpolated_precision",
    "mean_defined",
    "mean_over_classes",
    "needed_hits",
    "sum_of_runs",
]

Normal = float | NDArray[np.float64]
"""How many objects of each class normalised precision supposes; ``(r, 1)`` where replicates differ."""


@dataclass(frozen=True, eq=False)
class Hits:
    """The T true positives of S rankings that are end to end, each ranking best first; each counts once.

    Parameters
    ----------
    true, false
        ``(r, T)`` how many true positives there are down to each, itself included, and how many false
        positives above it, in its ranking; r variants (1 fits any number).
    start
        ``(S + 1,)`` the true positives of ranking s are ``start[s]:start[s + 1]``.
    """

    true: NDArray[np.integer]
    false: NDArray[np.integer]
    start: NDArray[np.int64]

    @staticmethod
    def once(false: NDArray[np.integer], start: NDArray[np.int64]) -> Hits:
        """From `false`, ``(T,)`` or ``(r, T)``, and `start`."""
        true = np.arange(1, start[-1] + 1) - np.repeat(start[:-1], np.diff(start))
        return Hits(true[None], np.atleast_2d(false), start)

    @property
    def found(self) -> NDArray[np.int64]:
        """``(1, S)`` how many true positives there are."""
        return np.diff(self.start)[None]

    @cached_property
    def precision(self) -> NDArray[np.float64]:
        """``(r, T)`` precision at each."""
        precision: NDArray[np.float64] = self.true / (self.true + self.false)
        return precision

    def normalized_precision(self, objects: NDArray[np.int64], normal: Normal) -> NDArray[np.float64]:
        """``(r, T)`` the same as if each ranking had `normal` objects and not its `objects` ``(r, S)``."""
        factor = np.repeat(normal / np.maximum(objects, 1), np.diff(self.start), axis=1)
        return _normalized(self.true, self.false, factor)

    def mean_over_objects(
        self, objects: NDArray[np.int64], normal: Normal | None = None
    ) -> NDArray[np.float64]:
        """``(r, S)`` mean over the objects of the largest precision from where each is found on, 0 if never.

        Of normalised precision if `normal` is given.
        """
        precision = self.precision if normal is None else self.normalized_precision(objects, normal)
        return sum_of_runs(envelope(precision, self.start), self.start) / np.maximum(objects, 1)

    def precision_from(self, needed: NDArray[np.int64]) -> NDArray[np.float64]:
        """``(r, S, p)`` the largest precision from the hit on that reaches `needed` ``(r, S, p)``, or 0.

        `needed` rises along the last axis; 0 is reached by the first hit.
        """
        ends, rows = self.start[1:, None], len(self.precision)
        places = self.start[:-1, None] + np.clip(needed - 1, 0, np.diff(self.start)[:, None])
        places = np.broadcast_to(places, (rows, *places.shape[1:]))
        edges = np.concatenate([places, np.broadcast_to(ends, (rows, len(ends), 1))], axis=2)
        padded = np.pad(self.precision, ((0, 0), (0, 1)))
        edges += padded.shape[1] * np.arange(rows)[:, None, None]
        # The largest precision from each place to the next, then from each on.
        best = np.maximum.reduceat(padded.ravel(), edges.ravel()).reshape(edges.shape)[..., :-1]
        best = np.where(places < ends, best, 0.0)
        return np.ascontiguousarray(np.maximum.accumulate(best[..., ::-1], axis=2)[..., ::-1])


def _normalized(
    true: NDArray[np.number], false: NDArray[np.integer], factor: NDArray[np.float64]
) -> NDArray[np.float64]:
    weighted = true * factor
    found = weighted + false
    precision: NDArray[np.float64] = weighted / np.maximum(found, 1e-300, out=found)
    return precision


class Redrawn:
    """Which of the T true positives of one ranking are in each of r replicates, each as often as its image.

    Parameters
    ----------
    redraw
        How often each image counts.
    images
        ``(T,)`` the image of each true positive, best first.
    """

    def __init__(self, redraw: Redraw, images: NDArray[np.int64]) -> None:
        hit, found = redraw.of(images)
        self.found = found[:, None]
        """``(r, 1)`` how many there are."""
        width = int(found.max(initial=0)) + 1  # at least one place is empty
        filled = np.arange(width, dtype=np.int32) < self.found.astype(np.int32)
        self._hit = np.zeros(filled.shape, dtype=np.intp)
        self._hit[filled] = hit
        self._empty = np.flatnonzero(~filled)

    def counts(self, running: Weights, places: NDArray[np.integer]) -> Weights:
        """``(r, K)`` a running count ``(n, r)`` at one of its `places` ``(T,)`` for each true positive."""
        if not len(places):
            return np.zeros(self._hit.shape, dtype=running.dtype)
        index = (places * np.intp(running.shape[1])).take(self._hit, mode="wrap")
        index += np.arange(len(self._hit))[:, None]
        return running.ravel().take(index, mode="wrap")

    def hits(self, false: Weights) -> RedrawnHits:
        """With the false positives ``(r, K)`` above each; those at empty places become 0, in place."""
        false.ravel()[self._empty] = 0
        true = np.arange(1, false.shape[1] + 1, dtype=np.float64)
        return RedrawnHits(true, false, self.found, self._empty)

    def hits_among(self, counted: Weights) -> RedrawnHits:
        """With the detections ``(r, K)`` down to each, itself included.

        An image that counts twice has two hits in a row. Only the precision at the second is right, but it
        is also the larger one.
        """
        return self.hits(counted - np.arange(1, counted.shape[1] + 1, dtype=counted.dtype))


@dataclass(frozen=True, eq=False)
class RedrawnHits:
    """The true positives of one ranking in r replicates; like :class:`Hits`, of which S is 1.

    Parameters
    ----------
    true, false
        ``(K,)`` and ``(r, K)`` as in :class:`Hits`, for K true positives, one more than any replicate has.
    found
        ``(r, 1)`` how many a replicate has.
    empty
        The places of ``(r, K)`` behind those.
    """

    true: NDArray[np.float64]
    false: Weights
    found: NDArray[np.int64]
    empty: NDArray[np.int64]

    @cached_property
    def _best(self) -> NDArray[np.float64]:
        found = self.true + self.false
        return self._envelope(np.divide(self.true, found, out=found))

    def _envelope(self, precision: NDArray[np.float64]) -> NDArray[np.float64]:
        precision.ravel()[self.empty] = 0.0
        return _running_maximum(precision)

    def mean_over_objects(
        self, objects: NDArray[np.int64], normal: Normal | None = None
    ) -> NDArray[np.float64]:
        """``(r, 1)`` as :meth:`Hits.mean_over_objects`."""
        number, best = np.maximum(objects, 1), self._best if normal is None else None
        if best is None:
            best = self._envelope(_normalized(self.true, self.false, normal / number))
        mean: NDArray[np.float64] = best.sum(axis=1, keepdims=True) / number
        return mean

    def precision_from(self, needed: NDArray[np.int64]) -> NDArray[np.float64]:
        """``(r, 1, p)`` as :meth:`Hits.precision_from`."""
        rows, width = self._best.shape
        places = np.clip(needed[:, 0] - 1, 0, width - 1) + width * np.arange(rows)[:, None]
        best: NDArray[np.float64] = self._best.ravel().take(places)[:, None]
        return best


AnyHits = Hits | RedrawnHits


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


def needed_hits(recalls: NDArray[np.float64], objects: NDArray[np.int64]) -> NDArray[np.int64]:
    """``(r, S, p)`` the fewest true positives whose recall, as a float, is not below each of ``(p,)``."""
    number = np.maximum(objects, 1)[..., None]
    needed = np.floor(recalls * number).astype(np.int64) - 1
    for _ in range(2):
        needed += needed / number < recalls
    return needed


def interpolated_precision(hits: AnyHits, needed: NDArray[np.int64]) -> NDArray[np.float64]:
    """``(r, S)`` mean of the largest precision from each of some numbers of hits ``(r, S, p)`` on."""
    mean: NDArray[np.float64] = hits.precision_from(needed).mean(axis=2)
    return mean


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

    def hits(self, redraw: Redraw | None = None) -> Iterator[tuple[slice, Sequence[AnyHits]]]:
        """Some classes, and their hits by each labelling: all at once if each image counts once.

        Of a redraw class by class, which fits in the cache; classes without hits are left out.
        """
        if redraw is None:
            yield slice(None), self.once()
            return
        for label, (low, high) in enumerate(itertools.pairwise(self.start)):
            if low == high:
                continue
            images = self.images[low:high]
            running, some = redraw.running(images), []
            for places, excused in zip(self.places, self.excused, strict=True):
                hits, left_out = (_within(one, low, high) - low for one in (places, excused))
                redrawn = Redrawn(redraw, images[hits])
                counted = redrawn.counts(running, hits + 1)
                if len(left_out):
                    not_counted = redraw.running(images[left_out])
                    counted = counted - redrawn.counts(not_counted, np.searchsorted(left_out, hits))
                some.append(redrawn.hits_among(counted))
            yield slice(label, label + 1), some

    def once(self) -> list[Hits]:
        """The hits of all classes by each labelling, where each image counts once."""
        result = []
        for places, excused in zip(self.places, self.excused, strict=True):
            start = np.searchsorted(places, self.start)
            number = np.diff(start)
            left_out = np.searchsorted(excused, places) - np.repeat(
                np.searchsorted(excused, self.start[:-1]), number
            )
            before = places - np.repeat(self.start[:-1], number) - left_out  # true positives among them
            hits = Hits.once(before, start)
            result.append(Hits(hits.true, hits.false - hits.true + 1, start))
        return result


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

    def running(self, redraw: Redraw, label: int) -> RunningErrors:
        """Those of class `label`, counted with weights."""
        first = np.append(self._first[label], self._first[label, -1] + self.count[label, -1])
        count = redraw.running(self._images[first[0] : first[-1]])
        return RunningErrors(count, first - first[0])


@dataclass(frozen=True, eq=False)
class RunningErrors:
    """The F false positives of one class, counted with weights.

    Parameters
    ----------
    count
        ``(F + 1, r)`` total weight before each, sorted by type, then rank.
    start
        ``(K + 1,)`` where each type begins.
    """

    count: Weights
    start: NDArray[np.int64]

    def above(self, redrawn: Redrawn, above: NDArray[np.int32]) -> list[Weights]:
        """``(r, k)`` weight of each of the K types above hits, from :meth:`RankedErrors.above` ``(K, t)``."""
        return [
            redrawn.counts(self.count, first + mine) - self.count[first, :, None]
            for first, mine in zip(self.start[:-1], above, strict=True)
        ]

    def totals(self) -> Weights:
        """``(r, K)`` total weight of each type."""
        return np.diff(self.count[self.start], axis=0).T
