"""Half-samples of the images: how far a number would move had other images been drawn.

A half-sample is a random half of the images, without replacement: the spread of a statistic over the halves
is its standard error on all images (delete-half jackknife; Shao and Wu, 1989, "A general theory for
jackknife variance estimation"). The bootstrap draws with replacement, and a copy of an image has copies of
its detections beside them in the ranking: average precision over such copies has another bias and a smaller
spread than over images. `benchmarks/intervals.py` compares what both cover.

Which detection is matched to which object is settled within an image. So a statistic of a half is the
statistic with every object and every detection counted as often as its image: once or not at all.
"""

from __future__ import annotations

import itertools
import os
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from data.formats.processes import over_processes, usable_cores
from data.records import InputError
from data.streams import Stream, generator
from diagnosis.image_weights import Weights

Progress = Callable[[int, int], None]
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


def resamples(images: int, replicates: range, seed: int = 0) -> Weights:
    """Which images are in some of the replicates: 1 or 0.

    Two replicates, 2k and 2k + 1, are the two halves of one random order. Each is a function of the seed
    and its own number: chunks of any size draw the same.

    Examples
    --------
    >>> first, second = resamples(6, range(2))
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
    progress: Progress | None = None,
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
        # First halves of the pairs before the second halves: a ImageWeights then counts the first alone.
        order = np.argsort(np.arange(len(chunk)) % 2, kind="stable")
        if drawn is None or drawn[0] != chunk:
            drawn = chunk, resamples(images, chunk, seed)[order]
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
