"""Statistics with images counted more or less often, and over half-samples of the images.

An image of weight w counts as w images, each with its objects and its detections. Detections are matched
within an image, so weights change no match, only how often each object and detection counts.

A half-sample is a random half of the images, without replacement: the spread of a statistic over the halves
is its standard error on all images (delete-half jackknife; Shao and Wu, 1989, "A general theory for
jackknife variance estimation"). The bootstrap draws with replacement, and a copy of an image has copies of
its detections beside them in the ranking: average precision over such copies has another bias and a smaller
spread than over images. `benchmarks/intervals.py` compares what both cover.
"""

from __future__ import annotations

import itertools
import math
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from data.formats.processes import over_processes, usable_cores
from data.records import GroundTruth, InputError
from data.streams import Stream, generator
from diagnosis.sorting import argsort_ascending

CELLS_IN_CACHE = 1 << 20
"""Numbers that are worked on together."""

Weights = NDArray[np.int32]
"""``(r, I)`` how often each of I images counts, in each of r replicates."""


class ImageWeights:
    """How often each image counts in r replicates, side by side by image as well as by replicate.

    Parameters
    ----------
    weights
        ``(r, I)``.

    Examples
    --------
    Two replicates of four images, the halves of one order, and a ranking of five detections:

    >>> weights = ImageWeights(np.array([[1, 1, 0, 0], [0, 0, 1, 1]], dtype=np.int32))
    >>> ranking = np.array([0, 2, 2, 1, 3])  # the image of each detection, best first
    >>> weights.weights_of(ranking).T.tolist()
    [[1, 0, 0, 1, 0], [0, 1, 1, 0, 1]]
    >>> weights.total_of_first(ranking, np.array([0, 3, 5])).T.tolist()  # of the first 0, 3 and 5
    [[0, 1, 2], [0, 2, 3]]

    The second replicate has each image that the first leaves out, so nothing needs to be added up for it: of
    the first 3 detections it has the 3 − 1, and of the first 5 the 5 − 2 that the first replicate lacks.
    """

    def __init__(self, weights: Weights) -> None:
        # A byte each where images are there or not: quicker to collect.
        self._by_replicate = weights.astype(bool) if weights.max(initial=0) <= 1 else weights
        self._largest = int(weights.max(initial=0))
        small = self._largest <= np.iinfo(np.int16).max
        self._by_image = np.zeros((weights.shape[1] + 1, len(weights)), np.int16 if small else np.int32)
        self._by_image[:-1] = weights.T  # the last row is that of no image
        self._parts: dict[int, list[tuple[slice, ImageWeights]]] = {}

    def __len__(self) -> int:
        return len(self._by_replicate)

    @cached_property
    def _first_half(self) -> ImageWeights | None:
        """The first r/2 replicates, if the others are their opposites: number k + r/2 has what k leaves out.

        Totals of the others are then the number of detections less the totals of these.
        """
        half = len(self) // 2
        first, second = self._by_replicate[:half], self._by_replicate[half:]
        if half == 0 or len(second) > half or first.dtype != np.bool_ or not (first != second).all():
            return None
        return ImageWeights(first)

    def parts(self, cells: int) -> Sequence[tuple[slice, ImageWeights]]:
        """Some replicates each, so few that `cells` numbers for each of them fit in the cache."""
        number = 1
        while number < len(self) and cells * len(self) > number * CELLS_IN_CACHE:
            number *= 2
        if number not in self._parts:
            bounds = [len(self) * part // number for part in range(number + 1)]
            rows = [slice(*both) for both in itertools.pairwise(bounds) if both[0] < both[1]]
            self._parts[number] = [(some, ImageWeights(self._by_replicate[some])) for some in rows]
        return self._parts[number]

    def places_of(self, images: NDArray[np.int64]) -> NDArray[np.int64]:
        """Places in ``(r, n)`` of those of `images` ``(n,)`` that are weighted, as often as they are."""
        half = self._first_half
        by_replicate = self._by_replicate if half is None else half._by_replicate
        mine = by_replicate.take(images, axis=1, mode="wrap")  # they are indices: no need to check
        if half is not None:
            mine = np.concatenate([mine, ~mine])
        if mine.dtype == np.bool_:
            return np.flatnonzero(mine)
        return np.repeat(np.arange(mine.size), mine.ravel())

    def weights_of(self, images: NDArray[np.int64]) -> Weights:
        """``(n, r)`` how often each of `images` ``(n,)`` counts; number I, which is no image, never does."""
        return self._by_image.take(images, axis=0, mode="wrap")

    def running_totals(self, images: NDArray[np.int64]) -> RunningTotals:
        """Running totals of the weights of `images` ``(n,)``."""
        place = by_blocks(len(images) + 1)
        of_row = np.append(images, len(self._by_image) - 1)[np.minimum(place - 1, len(images))]
        if self._first_half is not None:
            half = self._first_half.running_totals(images).totals
            totals: Weights = np.empty((place.size, len(self)), half.dtype)
            totals[:, : half.shape[1]] = half
            number = np.minimum(place.reshape(-1, 1), len(images)).astype(half.dtype)
            np.subtract(number, half, out=totals[:, half.shape[1] :])
        else:
            totals = self.weights_of(of_row).astype(self._dtype(len(images)), copy=False)
            accumulate(np.add, totals)
            totals = totals.reshape(place.size, len(self))
        return RunningTotals(place, of_row.ravel(), totals)

    def total_of_first(self, images: NDArray[np.int64], numbers: NDArray[np.int64]) -> Weights:
        """``(k, r)`` total weight of the first so many ``(k,)`` of `images` ``(n,)``; the numbers rise."""
        if self._first_half is not None:
            first_half = self._first_half.total_of_first(images, numbers)
            rest = numbers.astype(first_half.dtype)[:, None] - first_half
            return np.concatenate([first_half, rest], axis=1)
        step = max(1, CELLS_IN_CACHE // max(1, len(self)))
        totals: Weights = np.empty((len(numbers), len(self)), self._dtype(len(images)))
        before, low = np.zeros(len(self), totals.dtype), 0
        for first in range(0, max(1, len(images)), step):
            running = self.running_totals(images[first : first + step])
            high = int(np.searchsorted(numbers, first + step, side="right"))
            np.add(running.total_of_first(numbers[low:high] - first), before, out=totals[low:high])
            before, low = before + running.totals[-1], high
        return totals

    def _dtype(self, images: int) -> Any:
        """Of the total weight of so many images: 16 bits where the sum of two fits in them."""
        return np.int16 if 2 * self._largest * images <= np.iinfo(np.int16).max else np.int32


@lru_cache(maxsize=64)
def by_blocks(number: int) -> NDArray[np.int64]:
    """The places 0 to `number` − 1, and a few more, down the columns of a table ``(s, b)``.

    Running sums down it take two short loops, within columns and from column to column, in place of one loop
    over all places: see :func:`accumulate`.

    Examples
    --------
    >>> by_blocks(8)
    array([[0, 3, 6],
           [1, 4, 7],
           [2, 5, 8]])
    """
    side = math.isqrt(number - 1) + 1
    places = np.arange(side)[:, None] + side * np.arange(-(-number // side))
    places.setflags(write=False)
    return places


def accumulate(function: np.ufunc, blocks: NDArray[Any], upwards: bool = False) -> None:
    """Running sums, or maxima, in place, of ``(s, b, r)`` over places in the order of :func:`by_blocks`.

    ``function.accumulate`` would do the r replicates one after the other. Here each step adds a row of b × r
    numbers at once: first down the columns, then the end of each column to all of the next.
    """
    step = -1 if upwards else 1
    rows = range(len(blocks))[::step]
    for before, row in itertools.pairwise(rows):
        function(blocks[row], blocks[before], out=blocks[row])
    carried = blocks[rows[-1], 1:].copy() if upwards else blocks[rows[-1], :-1].copy()
    for before, column in itertools.pairwise(range(len(carried))[::step]):
        function(carried[column], carried[before], out=carried[column])
    rest = blocks[:, :-1] if upwards else blocks[:, 1:]
    function(rest, carried, out=rest)


@dataclass(frozen=True, eq=False)
class RunningTotals:
    """Running totals of weights down a ranking of n, in r replicates.

    Parameters
    ----------
    place
        ``(s, b)`` from :func:`by_blocks`: of how many of the ranking, from its top, each row of `totals` is
        the total. A row of more than n is the total of all.
    images
        ``(s * b,)`` the image of the last of these; none of them where it counts for nothing.
    totals
        ``(s * b, r)`` their total weight.
    """

    place: NDArray[np.int64]
    images: NDArray[np.int64]
    totals: Weights

    def rows(self, places: NDArray[np.int64]) -> NDArray[np.int64]:
        """The rows of some places."""
        side, columns = self.place.shape
        rows: NDArray[np.int64] = places % side * columns + places // side
        return rows

    def total_of_first(self, number: NDArray[np.int64]) -> Weights:
        """``(k, r)`` total weight of the first so many ``(k,)``."""
        return self.totals.take(self.rows(number), axis=0, mode="wrap")


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
        rows = rows[argsort_ascending(truth.labels[rows])]
        self._images = truth.image_index[rows]
        self._number = np.bincount(truth.labels[rows], minlength=len(truth.classes))

    def __call__(self, image_weights: ImageWeights | None = None) -> NDArray[np.int64]:
        """``(r, C)``; without `image_weights` each image counts once, and r is 1."""
        if image_weights is None:
            return self._number[None]
        end = np.concatenate([[0], np.cumsum(self._number)])
        number = np.diff(image_weights.total_of_first(self._images, end), axis=0)
        return np.ascontiguousarray(number.T, dtype=np.int64)


# ---- half-samples ----------------------------------------------------------------------------

ReportProgress = Callable[[int, int], None]
"""Called with how many replicates are done, and of how many."""

OVER_ALL = "/all"
"""Ends the name of a number over all classes that is not the mean of the classes' numbers."""

CELLS_AT_ONCE = 1 << 25
"""Numbers that a statistic handles together, over the replicates of a chunk: bounds the memory."""
MOST_AT_ONCE = 500
"""Replicates of a chunk: enough for NumPy to be busy with numbers."""

SECONDS_BETWEEN_REPORTS = 2.0


class Statistic(Protocol):
    """One or several quantities of a detector, as a function of how often each image counts.

    Attributes
    ----------
    replicate_width
        How many numbers it handles for one replicate, such as the detections of its largest class. Chunks
        of replicates are cut accordingly.
    """

    replicate_width: int

    def __call__(self, weights: Weights) -> Mapping[str, NDArray[np.float64]]:
        """Values for each of the r rows of `weights`, by name ``section/quantity``.

        Each is ``(r,)``, or ``(r, C)`` with one value for each class; NaN where there is none. The number
        over all classes is then their mean, or the value named ``section/quantity/all``.
        """
        ...


def draw_halves(images: int, replicates: range, seed: int = 0) -> Weights:
    """Which images are in some of the replicates: 1 or 0.

    Two replicates, 2k and 2k + 1, are the two halves of one random order. Each is a function of the seed
    and its own number: chunks of any size draw the same.

    Examples
    --------
    >>> first, second = draw_halves(6, range(2))
    >>> first.sum().item(), (first + second).tolist()
    (3, [1, 1, 1, 1, 1, 1])
    """
    weights = np.zeros((len(replicates), images), dtype=np.int32)
    for row, replicate in enumerate(replicates):
        pair, second = divmod(replicate, 2)
        if not second or not row:
            order = generator(seed, Stream.RESAMPLED_IMAGES, pair).permutation(images)
        weights[row, order[images // 2 :] if second else order[: images // 2]] = 1
    return weights


def draw_runs(runs: int, replicates: int, seed: int, group: int) -> NDArray[np.float64]:
    """Weights of the runs (seeds) of one model in each replicate.

    Of S runs S − 1 are drawn with replacement: the variance of their mean then is that of a mean of S
    runs without bias, where S draws would make it too small by (S − 1)/S (Rao and Wu, 1988). A single run
    always counts.

    Returns
    -------
    NDArray
        ``(replicates, runs)``; each row sums to 1.
    """
    if runs == 1:
        return np.ones((replicates, 1))
    draw = generator(seed, Stream.RESAMPLED_RUNS, group, runs).integers(runs, size=(replicates, runs - 1))
    counts: NDArray[np.float64] = (draw[:, :, None] == np.arange(runs)).sum(axis=1) / (runs - 1)
    return counts


def resample(
    statistics: Sequence[Statistic],
    images: int,
    *,
    replicates: int = 1000,
    seed: int = 0,
    progress: ReportProgress | None = None,
    processes: int | None = None,
    meanwhile: Callable[[], object] | None = None,
) -> list[dict[str, NDArray[np.float64]]]:
    """Values of statistics over halves of the images, the same halves for all.

    Parameters
    ----------
    statistics
        What to compute.
    images
        Number of images, I.
    replicates
        Number of resamples, R.
    seed
        Of the draws.
    progress
        Called after a chunk of replicates, at most every two seconds.
    processes
        How many share the work, by default as many as there are cores. They change no number.
    meanwhile
        What this process does first, while the others resample.

    Returns
    -------
    list of dict
        For each statistic its values by name, ``(R,)`` or ``(R, C)``.

    Raises
    ------
    InputError
        If there are fewer than one replicate, or no image.
    """
    if replicates < 1:
        raise InputError("replicates", str(replicates), "at least one")
    if images < 1:
        raise InputError("the ground truth", "no image", "images to draw from")
    width = max(images, *(statistic.replicate_width for statistic in statistics), 1)
    processes = usable_cores() if processes is None else processes
    number = max(processes, -(-replicates // max(1, min(MOST_AT_ONCE, CELLS_AT_ONCE // width))))
    bounds = [replicates * chunk // number // 2 * 2 for chunk in range(number)] + [replicates]
    chunks = [range(*both) for both in itertools.pairwise(bounds) if both[0] < both[1]]
    pieces = list(itertools.product(chunks, statistics))
    here, reported = os.getpid(), time.monotonic()
    drawn: tuple[range, Weights] | None = None

    def compute(piece: tuple[range, Statistic]) -> Mapping[str, NDArray[np.float64]]:
        nonlocal reported, drawn
        chunk, statistic = piece
        # First halves of the pairs before the second halves: an ImageWeights then counts the first alone.
        order = np.argsort(np.arange(len(chunk)) % 2, kind="stable")
        if drawn is None or drawn[0] != chunk:
            drawn = chunk, draw_halves(images, chunk, seed)[order]
        back = np.argsort(order)
        values = {name: value[back] for name, value in statistic(drawn[1]).items()}
        last = statistic is statistics[-1]
        if (
            progress
            and last
            and os.getpid() == here
            and time.monotonic() - reported > SECONDS_BETWEEN_REPORTS
        ):
            reported = time.monotonic()
            progress(chunk.stop, replicates)
        return values

    computed = over_processes(compute, pieces, processes, meanwhile)
    return [
        {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
        for parts in (computed[first :: len(statistics)] for first in range(len(statistics)))
    ]
