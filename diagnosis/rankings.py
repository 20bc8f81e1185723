"""Precision down rankings: what every average precision, and the cost of every error, is computed from.

:class:`Hits` counts how many false positives are above each true positive: between two true positives
precision only falls, so nothing else matters. With image weights each detection counts as often as its image.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from diagnosis.matching import Matching
from diagnosis.resampling import ImageWeights, Weights, accumulate, by_blocks
from diagnosis.sorting import argsort_ascending

AssumedObjects = float | NDArray[np.float64]
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
    def after(false: NDArray[np.integer], start: NDArray[np.int64]) -> Hits:
        """True positives after so many false ones, ``(T,)`` or ``(r, T)``, in rankings that begin at `start`.

        Examples
        --------
        >>> hits = Hits.after(np.array([0, 2, 1]), np.array([0, 2, 3]))  # two rankings: TFFT and FT
        >>> hits.true.tolist(), hits.precision.tolist()
        ([[1, 2, 1]], [[1.0, 0.5, 0.5]])
        """
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

    def normalized_precision(
        self, objects: NDArray[np.int64], assumed: AssumedObjects
    ) -> NDArray[np.float64]:
        """``(r, T)`` the same as if each ranking had `assumed` objects and not its `objects` ``(r, S)``."""
        factor = np.repeat(assumed / np.maximum(objects, 1), np.diff(self.start), axis=1)
        return _normalized(self.true, self.false, factor)

    def mean_over_objects(
        self, objects: NDArray[np.int64], assumed: AssumedObjects | None = None
    ) -> NDArray[np.float64]:
        """``(r, S)`` mean over the objects of the largest precision from where each is found on, 0 if never.

        Of normalised precision if `assumed` is given.
        """
        precision = self.precision if assumed is None else self.normalized_precision(objects, assumed)
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


class WeightedTruePositives:
    """The T true positives of one ranking in r replicates, each as often as its image.

    Parameters
    ----------
    image_weights
        How often each image counts.
    images
        ``(T,)`` the image of each true positive, best first.
    run_ends
        ``(K,)`` which true positives have a row: the last of each run that no false positive interrupts, as
        precision is highest there. Of true, true, false, true they are the second and the fourth detection,
        true positives 1 and 2 (from 0). Default: each has one, as means over the objects need.

    Notes
    -----
    The arrays have m rows, in the order of :func:`diagnosis.resampling.by_blocks`: one for what is above all
    true positives, one for each that has a row, and a few that repeat the last.
    """

    def __init__(
        self,
        image_weights: ImageWeights,
        images: NDArray[np.int64],
        run_ends: NDArray[np.int64] | None = None,
    ) -> None:
        self._image_weights, self._images = image_weights, images
        self._running = image_weights.running_totals(images)
        # How many true positives each row counts.
        self._behind = np.arange(len(images) + 1) if run_ends is None else np.append(0, run_ends + 1)
        self._place = by_blocks(len(self._behind))
        self._of_row = self._behind[np.minimum(self._place.ravel(), len(self._behind) - 1)] - 1
        running = self._running
        self.true = running.totals if run_ends is None else running.total_of_first(self._of_row + 1)
        """``(m, r)`` how many there are down to each, itself included."""
        self.found = self._running.total_of_first(np.array([len(images)])).T.astype(np.int64)
        """``(r, 1)`` how many there are."""
        self._reached: tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.bool_]] | None = None

    @cached_property
    def weights(self) -> NDArray[np.float64]:
        """``(m, r)`` how often each is there."""
        return self._image_weights.weights_of(self._running.images).astype(np.float64)

    @cached_property
    def _drawn(self) -> NDArray[np.int64]:
        """Places in ``(r, T)`` of those that are there, as often as they are."""
        return self._image_weights.places_of(self._images)

    def rows_from(self, counts: Weights, rows: NDArray[np.int64], first: int = 0) -> Weights:
        """``(m, r)`` the rows of `counts` ``(k, r)`` that belong to the true positives, m as above.

        `rows` ``(T,)`` says which row is each one's, `first` which is that of what is above all.
        """
        result: Weights = counts.take(np.append(rows, first)[self._of_row], axis=0, mode="wrap")
        return result

    def reaching(self, needed: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """Which true positive is the first by which a replicate has `needed` ``(r, 1, p)`` of them.

        Its place in the flattened ``(m, r)``, and whether there is none, both ``(r, 1, k)``: of the first k
        of p; no replicate has as many as the others ask for.
        """
        if self._reached is None or self._reached[0] is not needed:
            number, replicates = len(self._images), len(needed)
            beyond = needed > self.found[:, None]
            beyond = beyond[..., : int((~beyond).any(axis=(0, 1)).sum())]
            side, columns = self._place.shape
            rows = np.searchsorted(self._behind, np.arange(number) + 1)  # of the end of its run
            rows = replicates * (rows % side * columns + rows // side)
            nth = np.maximum(needed[:, 0, : beyond.shape[2]], 1)
            np.minimum(nth, self.found, out=nth)
            nth += np.cumsum(self.found)[:, None] - self.found - 1
            hit = self._drawn.take(nth, mode="clip")
            hit -= number * np.arange(replicates)[:, None]
            places = rows.take(hit, mode="clip")
            places += np.arange(replicates)[:, None]
            self._reached = needed, places[:, None], beyond
        return self._reached[1:]

    def best(self, precision: NDArray[np.float64]) -> NDArray[np.float64]:
        """``(m, r)`` the largest from each on, in place."""
        blocks = precision.reshape(*self._place.shape, -1)
        accumulate(np.maximum, blocks, upwards=True)
        return precision

    def hits(self, false: Weights) -> WeightedHits:
        """With the false positives ``(m, r)`` above each."""
        return WeightedHits(self, false)


@dataclass(frozen=True, eq=False)
class WeightedHits:
    """The true positives of one ranking in r replicates; like :class:`Hits`, of which S is 1.

    A true positive that a replicate leaves out has the precision there: no more than that of the one above
    it, so it changes no largest precision.

    Parameters
    ----------
    weighted
        The T true positives.
    false
        ``(m, r)`` how many false positives are above each.
    """

    weighted: WeightedTruePositives
    false: Weights

    @property
    def found(self) -> NDArray[np.int64]:
        """``(r, 1)`` how many a replicate has."""
        return self.weighted.found

    @cached_property
    def _best(self) -> NDArray[np.float64]:
        """``(m, r)`` the largest precision from each on."""
        counted = self.weighted.true + self.false
        counted += counted == 0  # before the first hit
        precision: NDArray[np.float64] = np.true_divide(self.weighted.true, counted, dtype=np.float64)
        return self.weighted.best(precision)

    def mean_over_objects(
        self, objects: NDArray[np.int64], assumed: AssumedObjects | None = None
    ) -> NDArray[np.float64]:
        """``(r, 1)`` as :meth:`Hits.mean_over_objects`."""
        number, best = np.maximum(objects, 1), self._best if assumed is None else None
        if best is None:
            best = self.weighted.best(_normalized(self.weighted.true, self.false, (assumed / number).T))
        total = np.einsum("mr,mr->r", best, self.weighted.weights)
        mean: NDArray[np.float64] = total[:, None] / number
        return mean

    def precision_from(self, needed: NDArray[np.int64]) -> NDArray[np.float64]:
        """``(r, 1, p)`` as :meth:`Hits.precision_from`."""
        result = np.zeros(needed.shape)
        if self.found.any():
            places, beyond = self.weighted.reaching(needed)
            best = self._best.ravel().take(places, mode="clip")
            best[beyond] = 0.0
            result[..., : best.shape[2]] = best
        return result


AnyHits = Hits | WeightedHits

Block = tuple[slice, slice]
"""Some of ``(r, C)``: replicates and classes."""


def envelope(precision: NDArray[np.float64], start: NDArray[np.int64]) -> NDArray[np.float64]:
    """``(r, T)`` the largest precision from each hit on, within its ranking.

    Examples
    --------
    >>> envelope(np.array([[0.5, 1.0, 0.2, 0.4]]), np.array([0, 2, 4])).tolist()
    [[1.0, 1.0, 0.4, 0.4]]
    """
    if len(start) <= 2:
        return np.ascontiguousarray(np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1])
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
    """The detections of C classes by rank, with the outcomes of one or several rules.

    Parameters
    ----------
    matching
        Whose detections they are.
    outcomes
        ``(M,)`` each: 1: true positive, 0: don't care, −1: false positive.
    order
        ``(M,)`` the detections by class and rank.
    with_means
        Whether :meth:`WeightedHits.mean_over_objects` is asked of the hits, too; if not, counting is quicker.
    """

    def __init__(
        self,
        matching: Matching,
        outcomes: Sequence[NDArray[np.int8]],
        order: NDArray[np.int64],
        with_means: bool = True,
    ) -> None:
        self._with_means = with_means
        outcomes = [some[order] for some in outcomes]
        start = matching.class_start
        found, counted = np.zeros((2, len(order)), dtype=bool)
        for some in outcomes:
            found |= some == 1
            counted |= some != 0
        # What no rule counts, or is below the last true positive of its class, changes nothing.
        running = np.concatenate([[0], np.cumsum(found)])
        rows = np.flatnonzero(counted & (running[:-1] < np.repeat(running[start[1:]], np.diff(start))))
        self.start = np.searchsorted(rows, start)
        self.images = matching.detections.image_index[order[rows]]
        self.places = [np.flatnonzero(some[rows] == 1) for some in outcomes]
        self.excused = [np.flatnonzero(some[rows] == 0) for some in outcomes]

    def hits(self, image_weights: ImageWeights | None = None) -> Iterator[tuple[Block, Sequence[AnyHits]]]:
        """Some replicates and classes, and their hits by each rule: all if each image counts once.

        Of replicates what fits in the cache, of one class; classes without hits are left out.
        """
        if image_weights is None:
            yield (slice(None), slice(None)), self.once()
            return
        for label, (low, high) in enumerate(itertools.pairwise(self.start)):
            if low == high:
                continue
            images = self.images[low:high]
            hits = [_within(places, low, high) - low for places in self.places]
            left_out = [_within(excused, low, high) - low for excused in self.excused]
            numbers = np.unique(np.concatenate([[-1], *hits])) + 1
            for rows, part in image_weights.parts(max(map(len, hits))):
                counted, some = part.total_of_first(images, numbers), []
                for mine, others in zip(hits, left_out, strict=True):
                    run_ends = None if self._with_means else np.flatnonzero(np.diff(mine, append=-1) != 1)
                    weighted = WeightedTruePositives(part, images[mine], run_ends)
                    false = weighted.rows_from(counted, np.searchsorted(numbers, mine + 1)) - weighted.true
                    if len(others):
                        above = np.searchsorted(others, mine)
                        false -= weighted.rows_from(
                            part.total_of_first(images[others], np.append(0, above)), np.arange(len(mine)) + 1
                        )
                    some.append(weighted.hits(false))
                yield (rows, slice(label, label + 1)), some

    def once(self) -> list[Hits]:
        """The hits of all classes by each rule, where each image counts once."""
        result = []
        for places, excused in zip(self.places, self.excused, strict=True):
            start = np.searchsorted(places, self.start)
            number = np.diff(start)
            left_out = np.searchsorted(excused, places) - np.repeat(
                np.searchsorted(excused, self.start[:-1]), number
            )
            before = places - np.repeat(self.start[:-1], number) - left_out  # true positives among them
            hits = Hits.after(before, start)
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
        return self._before.take(places, axis=1) - self._before.take(first, axis=1)

    def weighted(
        self, image_weights: ImageWeights, label: int, above: Sequence[NDArray[np.int32]]
    ) -> _WeightedErrors:
        """Those of class `label`, counted with weights, at hits: each ``(K, T)`` from :meth:`above`."""
        start = np.append(self._first[label], self._first[label, -1] + self.count[label, -1])
        within = start - start[0]
        numbers = np.unique(np.concatenate([within, *[(within[:-1, None] + some).ravel() for some in above]]))
        counts = image_weights.total_of_first(self._images[start[0] : start[-1]], numbers)
        return _WeightedErrors(counts, numbers, within)


class _WeightedErrors(NamedTuple):
    """The false positives of one class, counted with weights."""

    counts: Weights
    """``(k, r)`` total weight of the first so many, sorted by type, then rank."""
    numbers: NDArray[np.int64]
    """``(k,)`` how many."""
    start: NDArray[np.int64]
    """``(K + 1,)`` where each type begins."""

    def above(self, weighted: WeightedTruePositives, above: NDArray[np.int32]) -> list[Weights]:
        """``(m, r)`` weight of each of the K types above hits, from :meth:`RankedErrors.above` ``(K, T)``."""
        firsts = np.searchsorted(self.numbers, self.start[:-1])
        places = np.searchsorted(self.numbers, self.start[:-1, None] + above)
        return [
            weighted.rows_from(self.counts, mine, first) - self.counts[first]
            for first, mine in zip(firsts.tolist(), places, strict=True)
        ]

    def totals(self) -> Weights:
        """``(r, K)`` total weight of each type."""
        return np.diff(self.counts[np.searchsorted(self.numbers, self.start)], axis=0).T


class TruePositives(NamedTuple):
    """The true positives of some classes, by class, then best first, among errors of K types."""

    images: NDArray[np.int64]
    """``(T,)`` the image of each."""
    start: NDArray[np.int64]
    """``(S + 1,)`` of each class."""
    above: NDArray[np.int32]
    """``(K, T)`` how many errors are above each, from :meth:`RankedErrors.above`."""

    def of_class(self, label: int) -> TruePositives:
        """Those of one class."""
        mine = slice(self.start[label], self.start[label + 1])
        images = self.images[mine]
        return TruePositives(images, np.array([0, len(images)]), self.above[:, mine])

    def once(self) -> HitsAmongErrors:
        """Where each image counts once."""
        return HitsAmongErrors(lambda false: Hits.after(false, self.start), list(self.above))

    def weighted(
        self, image_weights: ImageWeights, errors: _WeightedErrors, with_means: bool = False
    ) -> HitsAmongErrors:
        """Those of one class, each as often as its image; `with_means` as of a :class:`Ranking`."""
        run_ends = None if with_means else np.flatnonzero(np.diff(self.above.sum(axis=0), append=-1) != 0)
        weighted = WeightedTruePositives(image_weights, self.images, run_ends)
        return HitsAmongErrors(weighted.hits, errors.above(weighted, self.above))


@dataclass(frozen=True, eq=False)
class HitsAmongErrors:
    """Hits of which it can be chosen what types of error count as false positives."""

    hits_after: Callable[[Any], AnyHits]
    """The hits, from how many false positives are above each."""
    false: Sequence[NDArray[np.integer]]
    """Of each type of error, how many are above each."""

    @cached_property
    def _all(self) -> NDArray[np.integer]:
        return functools.reduce(np.add, self.false)

    def without(self, error: int | None = None) -> AnyHits:
        """Where one type of error, or none, does not count."""
        return self.hits_after(self._all if error is None else self._all - self.false[error])

    def among(self, errors: Sequence[int]) -> AnyHits:
        """Where only some types of error count."""
        return self.hits_after(sum((self.false[error] for error in errors), np.zeros_like(self.false[0])))
