"""Two or more detectors on the same images: every number with an interval, every difference with a p-value.

Intervals are percentile intervals of the bootstrap over images (:mod:`diagnosis.bootstrap`). All detectors
see the same resamples, so that a difference does not carry the chance of which images were drawn twice.
Several runs of one model, from several seeds, form a group; in each replicate its runs are drawn as well.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from data.records import InputError
from diagnosis.bootstrap import Progress, Statistic, bootstrap, draw_runs
from diagnosis.breakdown import Top
from diagnosis.comparison import Comparison, mean_defined
from diagnosis.record import Diagnosis
from diagnosis.resampled import ResampledAP, ResampledBreakdown
from diagnosis.resampled_impact import ResampledImpact
from diagnosis.resampled_tide import ResampledTide

__all__ = ["StatisticOf", "check_same_truth", "compare"]

StatisticOf = Callable[[Diagnosis], Statistic]
"""Makes a statistic of a detector, such as the cost of an error type in average precision."""


def compare(
    diagnoses: Sequence[Diagnosis],
    *,
    replicates: int = 1000,
    seed: int = 0,
    groups: Mapping[str, Sequence[str]] | None = None,
    level: float = 0.95,
    top: Top = None,
    costs: bool = True,
    statistics: Sequence[StatisticOf] = (),
    progress: Progress | None = None,
) -> Comparison:
    """Bootstrap the numbers of detectors over the images they were run on.

    The quantities are those of :class:`diagnosis.resampled.ResampledBreakdown` (``share/…`` by class,
    ``pooled/…``), of :class:`diagnosis.resampled.ResampledAP` (``map/…`` by class), of
    :class:`diagnosis.resampled_impact.ResampledImpact` (``impact/…`` by class), of
    :class:`diagnosis.resampled_tide.ResampledTide` (``tide/…`` and ``dap/…`` by class), and those of
    `statistics`.

    A group's number is the mean over its runs. In each replicate the images are drawn once, for all runs,
    and of the group's S runs S − 1 with replacement (:func:`diagnosis.bootstrap.draw_runs`): its interval
    holds both the chance of the images and that of the seeds.

    Parameters
    ----------
    diagnoses
        Of one or several detectors on the same ground truth, under different names.
    replicates
        Number of resamples.
    seed
        Of the resampling: the same seed gives the same numbers.
    groups
        Runs of one model: a name for the group and the names of its runs. Detectors in no group stand for
        themselves, after the groups.
    level
        Of the intervals, between 0 and 1.
    top
        How many detections the breakdown counts, see :func:`diagnosis.breakdown.break_down`.
    costs
        Whether to bootstrap what each error type costs in average precision, Hoiem's and TIDE's.
    statistics
        What else to bootstrap, made from each detector.
    progress
        Told how far it is, at most every two seconds.

    Raises
    ------
    InputError
        No detector, detectors of one name or on different images, classes or thresholds, a group of
        unknown or no runs, a run in two groups, no image, a level that means nothing.

    Examples
    --------
    >>> from data.records import Detections, GroundTruth
    >>> from diagnosis import diagnose
    >>> names = [f"{i}" for i in range(50)], ["dog"]
    >>> truth = GroundTruth(*names, [[90, 90]] * 50, range(50), [0] * 50, [[0, 0, 10, 10]] * 50)
    >>> def shifted(by, name):
    ...     boxes = [[by * (i % 3), 0, 10 + by * (i % 3), 10] for i in range(50)]
    ...     return diagnose(truth, Detections(*names, range(50), [0] * 50, [0.5] * 50, boxes), name)
    >>> both = compare([shifted(1, "near"), shifted(2, "far")], replicates=200)
    >>> gap = both.difference("share/localization", 0, 1)
    >>> round(gap.difference, 2), gap.differs, gap.low < gap.difference < gap.high
    (0.32, True, True)
    """
    members = _members(diagnoses, groups)
    if not 0 < level < 1:
        raise InputError("level", f"{level:g}", "a number between 0 and 1, such as 0.95")
    made: list[Statistic] = []
    for diagnosis in diagnoses:
        made.append(ResampledBreakdown(diagnosis.matching, diagnosis.similar, top=top, iou=diagnosis.iou))
        made.append(ResampledAP(diagnosis.matching, iou=diagnosis.iou))
        if costs:
            made.append(ResampledImpact(diagnosis.matching, diagnosis.similar, iou=diagnosis.iou))
            made.append(ResampledTide(diagnosis.matching, diagnosis.tide))
        made += [statistic(diagnosis) for statistic in statistics]
    images = len(diagnoses[0].truth.images)
    drawn = bootstrap(made, images, replicates=replicates, seed=seed, progress=progress)
    once = np.ones((1, images), dtype=np.int32)
    measured = [statistic(once) for statistic in made]
    each = len(made) // len(diagnoses)

    by_class, values, samples, run_values = set(), {}, {}, {}
    for kind in range(each):
        for quantity, example in measured[kind].items():
            if example.ndim == 2:
                by_class.add(quantity)
            # (S, 1, K) and (S, R, K) of the S detectors
            exact, redrawn = (
                np.stack([_with_classes(part[quantity]) for part in parts[kind::each]])
                for parts in (measured, drawn)
            )
            run_values[quantity] = tuple(exact[list(runs), 0] for runs in members.values())
            values[quantity] = np.stack([mean_defined(runs, 0) for runs in run_values[quantity]])
            samples[quantity] = np.stack(
                [
                    _of_group(redrawn[list(runs)], draw_runs(len(runs), replicates, seed, group))
                    for group, runs in enumerate(members.values())
                ],
                axis=1,
            )
    return Comparison(
        names=tuple(members),
        members=tuple(tuple(diagnoses[run].name for run in runs) for runs in members.values()),
        classes=diagnoses[0].truth.classes,
        images=images,
        level=level,
        seed=seed,
        by_class=frozenset(by_class),
        values=values,
        samples=samples,
        run_values=run_values,
    )


def _with_classes(values: NDArray[np.float64]) -> NDArray[np.float64]:
    return values if values.ndim == 2 else values[:, None]


def _of_group(runs: NDArray[np.float64], draws: NDArray[np.float64]) -> NDArray[np.float64]:
    """``(R, K)`` mean of runs ``(S, R, K)`` by their weights in each replicate ``(R, S)``."""
    weights = np.where(np.isnan(runs), 0.0, draws.T[:, :, None])
    total = weights.sum(axis=0)
    mean = (weights * np.nan_to_num(runs)).sum(axis=0) / np.where(total > 0, total, 1.0)
    return np.where(total > 0, mean, np.nan)


def _members(
    diagnoses: Sequence[Diagnosis], groups: Mapping[str, Sequence[str]] | None
) -> dict[str, list[int]]:
    """Which detectors each group is made of, by name."""
    check_same_truth(diagnoses)
    index: dict[str, int] = {}
    for position, diagnosis in enumerate(diagnoses):
        if diagnosis.name in index:
            raise InputError("detectors", f"{diagnosis.name!r} twice", "a name of its own for each")
        index[diagnosis.name] = position
    members: dict[str, list[int]] = {}
    alone = dict(index)
    for name, runs in (groups or {}).items():
        if isinstance(runs, str) or not runs:
            raise InputError(f"group {name!r}", repr(runs), "a list of names of its runs")
        for run in runs:
            if run not in alone:
                expected = "a run in no other group" if run in index else f"one of {', '.join(index)}"
                raise InputError(f"group {name!r}", repr(run), expected)
            del alone[run]
        members[name] = [index[run] for run in runs]
    for name, position in alone.items():
        if name in members:
            raise InputError(f"group {name!r}", "a detector of that name outside it", "another name")
        members[name] = [position]
    return members


def check_same_truth(diagnoses: Sequence[Diagnosis]) -> None:
    """Detectors to be compared were run on one ground truth and judged by one threshold.

    Raises
    ------
    InputError
        If they were not, or there is no detector.
    """
    if not diagnoses:
        raise InputError("diagnoses", "no detector", "one or several")
    first = diagnoses[0]
    for other in diagnoses[1:]:
        who = f"detectors {first.name!r} and {other.name!r}"
        same = (other.truth.classes, other.truth.images) == (first.truth.classes, first.truth.images)
        same = same and all(
            np.array_equal(getattr(other.truth, column), getattr(first.truth, column))
            for column in ("image_index", "labels", "boxes", "difficult", "crowd")
        )
        if not same:
            raise InputError(who, "different images, classes or objects", "the same ground truth, to compare")
        if other.iou != first.iou:
            raise InputError(
                who, f"IoU thresholds of {first.iou:g} and {other.iou:g}", "one threshold, to compare"
            )
