"""Precision down a ranking in which each detection stands as often as its image was drawn.

Only true positives have to be looked at: between two of them precision falls, and among the copies of one
it rises, so that the largest precision from a place on stands at the last copy of some true positive. Arrays
are ``(r, t)``: r resamples, and the t true positives of one class, best first. Counts hold all copies down
to and including those of a true positive.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from data.records import GroundTruth
from diagnosis.bootstrap import Weights

__all__ = [
    "Counts",
    "FalseByKind",
    "ObjectCounter",
    "RunningFalse",
    "best_from",
    "copies_down_to",
    "drawn",
    "mean_at",
    "over_objects",
    "places_of",
    "recalls_reached_by",
    "running_count",
]

Counts = NDArray[np.int32]
"""Of detections, copies and all: within int32, and four times as fast to sum up as int64."""

Objects = NDArray[np.int64]
"""``(r,)`` or ``(r, C)`` numbers of objects."""


class ObjectCounter:
    """How many of some objects there are of each class, each counted as often as its image.

    Parameters
    ----------
    truth
        The objects.
    counted
        ``(N,)`` which of them count.
    """

    def __init__(self, truth: GroundTruth, counted: NDArray[np.bool_]) -> None:
        rows = np.flatnonzero(counted)
        rows = rows[np.argsort(truth.labels[rows], kind="stable")]
        number = np.bincount(truth.labels[rows], minlength=len(truth.classes))
        self._images = truth.image_index[rows]
        self._stop = np.cumsum(number)
        self._start = self._stop - number

    def __call__(self, weights: Weights) -> Objects:
        """``(r, C)``."""
        upto = running_count(weights, self._images)
        return (upto[:, self._stop] - upto[:, self._start]).astype(np.int64)


class FalseByKind:
    """The false positives of one class, sorted by kind, then by rank.

    Parameters
    ----------
    keys
        ``(F,)`` by which they are ranked, rising.
    kinds
        ``(F,)`` the kind of each, from 0.
    images
        ``(F,)`` the image of each.
    number
        How many kinds there are, K.
    """

    def __init__(
        self, keys: NDArray[np.int64], kinds: NDArray[np.int8], images: NDArray[np.int64], number: int
    ) -> None:
        order = np.argsort(kinds, kind="stable")
        self.images = images[order]
        self.start = np.searchsorted(kinds[order], np.arange(number + 1))
        self._keys = [keys[kinds == kind] for kind in range(number)]

    def has(self, kind: int) -> bool:
        """Whether there is any of a kind."""
        return bool(self.start[kind + 1] > self.start[kind])

    def above(self, keys: NDArray[np.int64]) -> NDArray[np.int64]:
        """``(K, t)`` the place behind the last one of each kind that stands before each of some keys."""
        places = [
            start + np.searchsorted(mine, keys)
            for start, mine in zip(self.start[:-1], self._keys, strict=True)
        ]
        return np.stack(places)

    def running(self, weights: Weights) -> RunningFalse:
        """Their running count in each resample."""
        return RunningFalse(running_count(weights, self.images), self.start)


class RunningFalse:
    """How many false positives of each kind stand before any place, in each of r resamples.

    Parameters
    ----------
    count
        ``(r, F + 1)`` running count over all kinds, one behind the other.
    start
        ``(K + 1,)`` where each kind begins.
    """

    def __init__(self, count: NDArray[np.int32], start: NDArray[np.int64]) -> None:
        self._count, self._start = count, start

    def above(self, places: NDArray[np.int64]) -> list[Counts]:
        """K arrays ``(r, t)``, for places from :meth:`FalseByKind.above`."""
        return [
            self._count.take(mine, axis=1, mode="wrap") - self._count[:, start, None]
            for mine, start in zip(places, self._start[:-1], strict=True)
        ]

    def totals(self) -> Counts:
        """``(r, K)`` of the whole ranking."""
        totals: Counts = np.diff(self._count[:, self._start], axis=1)
        return totals


def running_count(weights: Weights, images: NDArray[np.int64]) -> Counts:
    """``(r, n + 1)`` copies before each of `images` ``(n,)``, and of all."""
    count = np.zeros((len(weights), len(images) + 1), dtype=np.int32)
    np.cumsum(drawn(weights, images), axis=1, dtype=np.int32, out=count[:, 1:])
    return count


def drawn(weights: Weights, images: NDArray[np.int64]) -> Counts:
    """``(r, n)`` how often each of `images` ``(n,)`` is drawn."""
    return weights.take(images, axis=1, mode="wrap")  # they are known to be indices: no need to check


def copies_down_to(weights: Weights, images: NDArray[np.int64]) -> Counts:
    """``(r, t)`` copies of detections on `images` ``(t,)``, down to each and including its own."""
    copies = drawn(weights, images)
    return np.cumsum(copies, axis=1, dtype=np.int32, out=copies)


def best_from(true: NDArray[np.number], false: NDArray[np.number]) -> NDArray[np.float64]:
    """``(r, t)`` the largest precision from each true positive on."""
    # Where a resample has none of either yet, precision is 0, as good as nothing.
    found = true + false
    precision = true / np.maximum(found, 1 if found.dtype.kind == "i" else 1e-300, out=found)
    best: NDArray[np.float64] = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
    return best


def over_objects(best: NDArray[np.float64], true: Counts, objects: Objects) -> NDArray[np.float64]:
    """``(r,)`` mean over the objects of the precision at which each is found, 0 if never."""
    found = np.diff(true, axis=1, prepend=np.int32(0))
    total: NDArray[np.float64] = np.einsum("rt,rt->r", found.astype(np.float64), best)
    return total / np.maximum(objects, 1)


def recalls_reached_by(recalls: NDArray[np.float64], objects: Objects) -> NDArray[np.int64]:
    """``(r, p)`` the fewest true positives whose recall, as a float, is not below each of `recalls`."""
    number = np.maximum(objects, 1)[:, None]
    needed = np.floor(recalls * number).astype(np.int64) - 1
    for _ in range(2):
        needed += needed / number < recalls
    return needed


def places_of(true: Counts, needed: NDArray[np.int64]) -> NDArray[np.int64]:
    """``(r, p)`` the first of t places down to which there are so many true positives; t if there is none.

    Parameters
    ----------
    true
        ``(r, t)`` true positives down to each.
    needed
        ``(r, p)`` how many.
    """
    rows, length = true.shape
    # One search for all rows: each gets a range of numbers of its own.
    stride = int(max(true.max(initial=0), needed.max(initial=0))) + 2
    offset = stride * np.arange(rows)[:, None]
    places = np.searchsorted((true + offset).ravel(), (needed + offset).ravel())
    places = places.reshape(needed.shape) - length * np.arange(rows)[:, None]
    reached: NDArray[np.int64] = np.minimum(places, length)
    return reached


def mean_at(places: NDArray[np.int64], best: NDArray[np.float64]) -> NDArray[np.float64]:
    """``(r,)`` mean over p recalls of the largest precision there or beyond, 0 where it is never reached.

    Parameters
    ----------
    places
        ``(r, p)`` from :func:`places_of`.
    best
        ``(r, t)`` from :func:`best_from`.
    """
    rows, length = best.shape
    padded = np.concatenate([best, np.zeros((rows, 1))], axis=1)
    places = places + (length + 1) * np.arange(rows)[:, None]
    mean: NDArray[np.float64] = padded.ravel().take(places, mode="wrap").mean(axis=1)
    return mean
