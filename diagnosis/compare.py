"""Two or more detectors on the same images: every number with an interval, every difference with a p-value.

Intervals come from half-samples of the images (:mod:`diagnosis.resampling`): the quantiles of the halves'
deviations from their mean, around the number itself. All detectors see the same halves, so a difference does
not carry the chance of which images were drawn. Several runs of one model, from several seeds, form a group;
in each replicate its runs are drawn as well. `benchmarks/intervals.py` measures what the intervals cover.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple, Protocol, cast

import numpy as np
from numpy.typing import NDArray

from data.records import InputError
from diagnosis.average_precision import AP_KINDS
from diagnosis.breakdown import ERROR_TYPES, BreakdownStatistic
from diagnosis.flow import MissedStatistic
from diagnosis.impact import IMPACT_VARIANTS, ImpactStatistic
from diagnosis.matching import whole_number
from diagnosis.notebook import Row, card
from diagnosis.rankings import mean_defined
from diagnosis.record import Diagnosis, check_same_truth
from diagnosis.resampling import OVER_ALL, ReportProgress, Statistic, Weights, draw_runs, resample
from diagnosis.tide import TIDE_ERRORS, TIDE_LABELS, TideStatistic
from diagnosis.verdict import (
    DECIMALS,
    ENOUGH_OBJECTS,
    TOO_FEW,
    Measure,
    Moves,
    Unfound,
    better,
    clear,
    enough_objects,
    fix_first,
    have_enough,
    pair_verdict,
    percent,
    unfound_classes,
)

__all__ = ["Comparison", "Difference", "Estimate", "StatisticOf", "compare", "p_value", "quantity_name"]

LABELS: dict[str, str] = {
    **{f"{part}/correct_and_localization": "correct + localization" for part in ("share", "pooled")},
    **{f"dap/{name}": label for name, label in TIDE_LABELS.items()},
    **{f"impact/{variant.name}": variant.label for variant in IMPACT_VARIANTS},
    **{f"map/{name}": kind.name for name, kind in AP_KINDS.items()},
}
"""Display names of quantities whose key is not readable."""


BIASED = ("map", "tide", "impact", "dap")
"""Sections of average precision, which is too high on few images: the envelope picks the best of the noise.
Differences of two detectors have it twice, and it cancels."""
BIAS_OF_ALL = 1 / (math.sqrt(2) - 1)
"""Bias of all images, as a multiple of what it grows by from all images to their halves. Bias that falls with
the square root of the number of images grows by a factor of √2."""
COSTS = ("impact", "dap")
"""Sections of gains: near zero and right-skewed, so the upper half of an interval is on a log scale."""
MAX_WIDENING = 4.0
"""Upper limit of what the log scale adds to the upper half, as a factor."""
SHARES = ("share", "pooled")
"""Sections of shares of detections."""
AP50 = "map/coco50"
TIDE_AP50 = "tide/ap50"
"""TIDE's AP50, by nearly the same rules: where both are printed as one number, both have AP50's interval."""
HEADLINES = {AP50: "AP50", "map/coco": "AP50:95"}
"""The numbers of the verdict. The first decides which detector is better."""
SECTIONS = ("share", "pooled", "map", "objects", "impact", "tide", "dap")
"""In the order in which they are listed; all are numbers from 0 to 1, but for `SUMS`."""
SUMS = ("dap/fp", "dap/fn")
"""Gains that may be below 0: from −1 to 1."""


def quantity_name(quantity: str) -> str:
    """What a quantity of :attr:`Comparison.quantities` is called, in words, tables and figures.

    Examples
    --------
    >>> quantity_name("share/similar"), quantity_name("map/coco"), quantity_name("dap/loc")
    ('similar', 'AP50:95', 'wrong place')
    >>> quantity_name("impact/fix_localization"), quantity_name("tide/ap62.5")
    ('localization corrected', 'AP at IoU 0.625')
    """
    section, _, name = quantity.rpartition("/")
    if section == "tide" and name != "ap":
        return f"AP at IoU {float(name.removeprefix('ap')) / 100:g}"
    return LABELS.get(quantity, name.replace("_", " "))


def p_value(p: float, replicates: float) -> str:
    """A p-value with its sign of relation, of fixed width; "≤" at the smallest value that it can have.

    `replicates` resamples cannot give less than 2 / (replicates + 1): there p is known from above alone.

    Examples
    --------
    >>> p_value(0.0321, 1000), p_value(2 / 1001, 1000), p_value(0.0004, 100_000)
    ('= 0.032', '≤ 0.002', '< 0.001')
    """
    least = 2 / (replicates + 1)
    if 0 < p < 1 and p <= least * (1 + 1e-9):
        return f"≤ {math.ceil(1000 * least - 1e-6) / 1000:.3f}"  # rounded up: rounded down it would not hold
    return "< 0.001" if p < 0.001 else f"= {p:.3f}"


@dataclass(frozen=True)
class Estimate:
    """A number of one detector, with its interval.

    Parameters
    ----------
    value
        As measured; NaN if it does not exist.
    low, high
        Ends of the interval; NaN where nearly all replicates give one number: they do not show how far
        chance goes.
    error
        Standard deviation of the replicates (n − 1), the standard error.
    runs
        Standard deviation between the runs of the group (n − 1); NaN for a single run.
    undefined
        In how many replicates it does not exist; the interval is that of the others.
    """

    value: float
    low: float
    high: float
    error: float
    runs: float
    undefined: int


@dataclass(frozen=True)
class Difference:
    """By how much the second of two detectors exceeds the first.

    Parameters
    ----------
    difference
        As measured; NaN if either number does not exist.
    low, high
        Ends of the paired interval; NaN as those of :class:`Estimate`.
    p
        Two-sided: twice the share of replicates, moved to have the difference as their mean, on the far
        side of zero, those at zero included, and one added to both counts (Davison and Hinkley, 1997,
        section 4.2). NaN where there is no interval.
    undefined
        In how many replicates it does not exist; the rest is that of the others.
    enough
        Whether it is of enough objects to be called clear (:func:`diagnosis.verdict.have_enough`).
    moves
        How far down and up another order of equal scores moves it, as far as that is known: of AP50, of
        shares of correct detections, and roughly of costs.
    """

    difference: float
    low: float
    high: float
    p: float
    undefined: int
    enough: bool = True
    moves: Moves = (0.0, 0.0)

    @property
    def differs(self) -> bool:
        """Whether the difference is clear, see :func:`diagnosis.verdict.clear`."""
        return clear(self.difference, self.low, self.high, self.enough, self.moves)


ClassOrMean = int | NDArray[np.bool_] | None
"""A class, flags of the classes to take the mean over, or None for all."""


@dataclass(frozen=True, eq=False)
class Comparison:
    """D detectors, or groups of runs, and R replicates of all their numbers.

    Parameters
    ----------
    names
        ``(D,)`` of the detectors or groups.
    members
        ``(D,)`` names of the runs of each.
    classes
        Names of the C classes.
    images
        Number of images.
    level
        Of the intervals: 0.95 leaves 2.5 per cent out at either end.
    seed
        Of the resampling.
    by_class
        Quantities that have a number for each class; the others have one over all.
    values
        By quantity, such as ``share/localization``: what was measured, ``(D, C)``, or ``(D, 1)`` where
        there is one number over all classes. NaN where there is none. A quantity by class whose number over
        all classes is not the mean of theirs has that one beside it, with ``/all`` behind its name.
    samples
        The same in each replicate: ``(R, D, C)`` or ``(R, D, 1)``.
    run_values
        The same for each run of each group: D arrays of ``(S, C)`` or ``(S, 1)``.
    run_samples
        By quantity the number over all classes of each run in each replicate: D arrays of ``(S, R)``,
        empty for a detector that is no group.
    objects
        ``(C,)`` number of objects that are not difficult.
    counted
        ``(D, C)`` number of detections that shares are of; of a group the most of its runs.
    orders
        By quantity ``(2, D, C)`` or ``(2, D, 1)``: how far down and up the order of equal scores can move
        it. Empty where no detector has equal scores.
    """

    names: tuple[str, ...]
    members: tuple[tuple[str, ...], ...]
    classes: tuple[str, ...]
    images: int
    level: float
    seed: int
    by_class: frozenset[str]
    values: Mapping[str, NDArray[np.float64]]
    samples: Mapping[str, NDArray[np.float64]]
    run_values: Mapping[str, tuple[NDArray[np.float64], ...]]
    run_samples: Mapping[str, tuple[NDArray[np.float64], ...]]
    objects: NDArray[np.int64]
    counted: NDArray[np.int64]
    orders: Mapping[str, NDArray[np.float64]]

    @property
    def _scores(self) -> list[tuple[str, Measure]]:
        """The numbers of the verdict, the one that decides first; the mean is over the classes of `over`."""
        enough, over = enough_objects(self.objects)
        total = int(self.objects.sum())
        few = f"there {'is' if total == 1 else 'are'} only {total}"
        few = f"no class has {ENOUGH_OBJECTS}" if total >= ENOUGH_OBJECTS else few
        why = "" if enough.any() else f", as {few} {'object' if total == 1 else 'objects'}"
        pooled = Measure("correct detections", 0.0, over=f", pooled{why}")
        scores = [(key, Measure(name, 0.0, over=over)) for key, name in HEADLINES.items()]
        scores.insert(len(scores) if enough.any() else 0, ("pooled/correct", pooled))
        return scores

    def _measured(self, detector: int, key: str, measure: Measure) -> Measure:
        number = self.estimate(key, detector, self._classes(key))
        return measure._replace(value=number.value, low=number.low, high=number.high)

    def _classes(self, key: str) -> ClassOrMean:
        """Those with enough objects, of a quantity by class, where others are left out."""
        enough, over = enough_objects(self.objects)
        return enough if over and key in self.by_class else None

    def _gap(self, a: int, b: int, key: str, measure: Measure, classes: ClassOrMean = None) -> Measure:
        number = self.difference(key, a, b, self._classes(key) if classes is None else classes)
        value, low, high = number.difference, number.low, number.high
        return measure._replace(value=value, low=low, high=high, enough=number.enough, moves=number.moves)

    def _unfound(self, detector: int, other: int | None = None) -> Unfound | None:
        """Classes with enough objects of which a detector finds nothing, and the other one something."""
        enough, ap50 = enough_objects(self.objects)[0], self.values[AP50]
        nothing = (ap50[detector] == 0) & (True if other is None else ap50[other] > 0)
        unfound = unfound_classes(self.names[detector], self.classes, enough, nothing)
        if unfound is None or other is None:
            return unfound
        a, b = sorted((detector, other))
        return unfound._replace(gap=self._gap(a, b, AP50, Measure("AP50", 0.0), enough & nothing))

    @property
    def ranking(self) -> list[int]:
        """The detectors by the number that decides the verdict, the best first; one without it last.

        Of the first two the one that the verdict calls better comes first, by whichever number it is.
        """
        values = [self._measured(detector, *self._scores[0]).value for detector in range(len(self.names))]
        ranked: list[int] = np.argsort(-np.nan_to_num(values, nan=-1.0), kind="stable").tolist()
        if len(ranked) > 1:
            lead = better([self._gap(ranked[0], ranked[1], *score) for score in self._scores])
            if lead is not None and lead.value > 0:
                ranked[:2] = ranked[1::-1]
        return ranked

    @property
    def verdict(self) -> str:
        """Which detector is better, by how much, on what they differ most, and what to fix first.

        A number whose interval holds zero is "no clear difference". Means are over the classes with enough
        objects (:data:`diagnosis.verdict.ENOUGH_OBJECTS`); if no class has enough, the pooled share of
        correct detections comes first, and no error is named. Of more than two detectors the two with the
        highest AP50 are compared; their interval is not corrected for that choice (docs/faq.md says what
        follows). What to fix first is that of the best.
        """
        scores, of = self._scores, self._measured
        errors = [(f"dap/{error.name}", Measure(error.subject, 0.0)) for error in TIDE_ERRORS]
        some = bool(enough_objects(self.objects)[0].any())
        errors = [(key, measure) for key, measure in errors if some and key in self.values]

        ranked = self.ranking
        best = ranked[0]
        gains = [of(best, *error) for error in errors]
        first = fix_first(self.names[best], gains, self._unfound(best)) if some else TOO_FEW
        if len(ranked) == 1:
            score = of(best, *scores[0])
            if math.isnan(score.value):
                lacking = "detection is of a class with" if self.objects.any() else "class has"
                return f"{self.names[best]}: no {lacking} objects."
            agree = math.isnan(score.low)
            interval = "" if agree else f" ({percent(score.low)} to {percent(score.high)})"
            text = f"{self.names[best]}: {percent(score.value)} % {score.name}{interval}{score.over}."
        else:
            a, b = sorted(ranked[:2])
            gaps, costs = ([self._gap(a, b, *one) for one in part] for part in (scores, errors))
            unfound = [one for one in (self._unfound(a, b), self._unfound(b, a)) if one]
            text = pair_verdict((self.names[a], self.names[b]), gaps, costs, unfound)
            if len(ranked) > 2:
                text = f"Best two of {len(ranked)} by {scores[0][1].name}: {text}"
        return f"{text} {first}".strip()

    def __repr__(self) -> str:
        return f"<Comparison of {', '.join(self.names)}: {self.replicates:,} resamples>"

    def _repr_html_(self) -> str:
        """What a notebook shows: the verdict, a bar and a row for each detector."""

        def mean(key: str, detector: int) -> float:
            return self.estimate(key, detector).value if key in self.values else math.nan

        rows = []
        for detector, name in enumerate(self.names):
            shares = np.array([mean(f"share/{error_type.name}", detector) for error_type in ERROR_TYPES])
            rows.append(Row(name, shares, mean(AP50, detector), mean("map/coco", detector)))
        return card(self.verdict, rows)

    @property
    def replicates(self) -> int:
        """How many resamples there are, R."""
        return len(next(iter(self.samples.values()))) if self.samples else 0

    @property
    def quantities(self) -> tuple[str, ...]:
        """Names of all quantities, as ``section/quantity``."""
        return tuple(name for name in self.values if not name.endswith(OVER_ALL))

    def estimate(self, quantity: str, detector: int, label: ClassOrMean = None) -> Estimate:
        """A number of a detector.

        Parameters
        ----------
        quantity
            One of :attr:`quantities`.
        detector
            Index into :attr:`names`.
        label
            A class; ``(C,)`` flags: the mean over these classes; None: the number over all classes, which is
            the mean over those that have one, unless the quantity says otherwise.

        Raises
        ------
        InputError
            For an unknown quantity, or a class of one that is not by class.
        """
        self._known(quantity, label)
        if label is None and quantity + OVER_ALL in self.values:
            return self.estimate(quantity + OVER_ALL, detector)
        intervals, place = self._intervals(quantity, (detector,), label)
        runs = _mean_over(self.run_values[quantity][detector], label)
        return intervals.estimate(place, _deviation(runs[None]).item())

    def run_estimate(self, quantity: str, detector: int, run: int) -> Estimate:
        """A number of one run of a group over all classes, as :meth:`estimate`.

        Raises
        ------
        InputError
            For an unknown quantity.
        """
        self._known(quantity)
        if len(self.members[detector]) == 1:
            return self.estimate(quantity, detector)
        return self._run_intervals(quantity, detector, run).estimate(0, math.nan)

    def _run_intervals(self, quantity: str, detector: int, run: int) -> _Intervals:
        of_all = quantity + OVER_ALL if quantity + OVER_ALL in self.values else quantity
        value = _mean_over(self.run_values[of_all][detector][run], None)
        samples = self.run_samples[of_all][detector][run]
        intervals = self._intervals_from(samples[None], value[None], quantity)
        if quantity == TIDE_AP50:
            intervals = intervals.like(self._run_intervals(AP50, detector, run))
        return intervals

    def difference(self, quantity: str, a: int, b: int, label: ClassOrMean = None) -> Difference:
        """By how much detector `b` exceeds detector `a`.

        The mean over classes is over those in which both have a number: a class in which one of them
        detects nothing would count for the other alone.

        Raises
        ------
        InputError
            As :meth:`estimate`.
        """
        self._known(quantity, label)
        if label is None and quantity + OVER_ALL in self.values:
            return self.difference(quantity + OVER_ALL, a, b)
        intervals, place = self._intervals(quantity, (a, b), label)
        value, low, high, _, p, undefined = (column[place].item() for column in intervals)
        # What some replicates lack they do not agree on.
        enough = self._enough(quantity, a, b, label) and not (math.isnan(low) and undefined)
        return Difference(value, low, high, p, undefined, enough, self._moves(quantity, a, b, label))

    def _enough(self, quantity: str, a: int, b: int, label: ClassOrMean) -> bool:
        """Whether a difference of this quantity is of enough objects; over all detections: of any class."""
        objects, counted = self.objects, self.counted[[a, b]]
        if quantity.removesuffix(OVER_ALL) not in self.by_class:
            objects, counted = objects.sum(keepdims=True), counted.sum(axis=1, keepdims=True)
        elif label is not None:
            objects, counted = np.atleast_1d(objects[label]), counted[:, np.atleast_1d(label)]
        return have_enough(objects, counted if quantity.partition("/")[0] in SHARES else None)

    def _moves(self, quantity: str, a: int, b: int, label: ClassOrMean) -> Moves:
        """How far the order of equal scores can move a difference."""
        if quantity.partition("/")[0] in COSTS:  # as far, as they are gains in it
            far = max(map(abs, self._moves(AP50, a, b, label)))
            return -far, far
        orders = self.orders.get(quantity)
        if orders is None:
            return 0.0, 0.0
        low, high = (orders[0, b] - orders[1, a], orders[1, b] - orders[0, a])
        down, up = (float(np.nan_to_num(_mean_over(some, label))) for some in (low, high))
        return down, up

    def shared_classes(self, quantity: str, a: int, b: int) -> NDArray[np.bool_]:
        """``(C,)`` classes in which both detectors have a number."""
        values = self._known(quantity, 0)
        shared: NDArray[np.bool_] = ~np.isnan(values[a]) & ~np.isnan(values[b])
        return shared

    def _known(self, quantity: str, label: ClassOrMean = None) -> NDArray[np.float64]:
        if quantity not in self.values:
            raise InputError("quantity", repr(quantity), f"one of {', '.join(self.quantities)}")
        if label is not None and quantity not in self.by_class:
            raise InputError("label", f"{label} for {quantity!r}", "None: it has one number over all classes")
        return self.values[quantity]

    @cached_property
    def _known_intervals(self) -> dict[tuple[str, tuple[int, ...], bytes | None], _Intervals]:
        return {}

    def _intervals(
        self, quantity: str, detectors: tuple[int, ...], label: ClassOrMean
    ) -> tuple[_Intervals, int]:
        """Those of a detector, or of what the second of two has more, and which of them is asked for.

        Those of all classes are computed together, when the first is asked for.
        """
        by_class = isinstance(label, int | np.integer)
        key = None if by_class else b"" if label is None else np.asarray(label).tobytes()
        if (quantity, detectors, key) not in self._known_intervals:
            columns = self.values[quantity], self.samples[quantity]
            values, samples = (column[..., detectors[-1], :] for column in columns)
            if len(detectors) == 2:
                values, samples = (
                    some - column[..., detectors[0], :]
                    for some, column in zip((values, samples), columns, strict=True)
                )
            if not by_class:
                values, samples = _mean_over(values, label)[None], _mean_over(samples, label)[:, None]
            intervals = self._intervals_from(samples.T, values, quantity, len(detectors) == 2)
            if quantity == TIDE_AP50:
                intervals = intervals.like(self._intervals(AP50, detectors, label)[0])
            self._known_intervals[quantity, detectors, key] = intervals
        return self._known_intervals[quantity, detectors, key], int(label) if by_class else 0  # type: ignore[arg-type]

    def _intervals_from(
        self, samples: NDArray[np.float64], values: NDArray[np.float64], quantity: str, gap: bool = False
    ) -> _Intervals:
        """Of K numbers of this quantity, or of differences in it, from their replicates ``(K, R)``."""
        section, (least_possible, most_possible) = quantity.partition("/")[0], _range(quantity, gap)
        low, high, p = np.full((3, len(values)), np.nan)
        undefined = np.isnan(samples).sum(axis=1)
        tail = (1 - self.level) / 2
        for missing in np.unique(undefined):
            rows = np.flatnonzero((undefined == missing) & ~np.isnan(values))
            if missing == samples.shape[1] or not len(rows):
                continue
            drawn, value = samples[rows], values[rows]
            drawn = drawn[~np.isnan(drawn)].reshape(len(rows), -1)  # each row lacks as many
            mean = drawn.mean(axis=1)
            drawn = drawn - mean[:, None] + value[:, None]  # moved: their mean is the number itself
            least = np.minimum((drawn <= 0).sum(axis=1), (drawn >= 0).sum(axis=1))
            p[rows] = np.minimum(1.0, 2 * (least + 1) / (drawn.shape[1] + 1))
            lower, upper = np.quantile(drawn, [tail, 1 - tail], axis=1)
            agree = np.round(upper - lower, DECIMALS) == 0
            p[rows[agree]] = np.nan
            lower[agree] = upper[agree] = np.nan
            if section in BIASED and not gap:  # hold both the number and what it would be without bias
                bias = BIAS_OF_ALL * (mean - value)
                lower, upper = lower - np.maximum(bias, 0.0), upper - np.minimum(bias, 0.0)
            if section in COSTS and not gap:
                up, positive = upper - value, np.where(value > 0, value, 1.0)
                wide = positive * np.expm1(np.minimum(up / positive, MAX_WIDENING))
                upper = np.where(value > 0, value + np.minimum(wide, MAX_WIDENING * up), upper)
            low[rows], high[rows] = np.maximum(lower, least_possible), np.minimum(upper, most_possible)
        return _Intervals(values, low, high, _deviation(samples), p, undefined)


def _range(quantity: str, gap: bool) -> tuple[float, float]:
    """Between which values a quantity can be, or a difference of two of it."""
    if quantity.partition("/")[0] not in SECTIONS:
        return -math.inf, math.inf
    low = -1.0 if quantity.removesuffix(OVER_ALL) in SUMS else 0.0
    return (low - 1, 1 - low) if gap else (low, 1.0)


class _Intervals(NamedTuple):
    """Of K numbers: the columns of :class:`Estimate` and :class:`Difference`, ``(K,)`` each."""

    value: NDArray[np.float64]
    low: NDArray[np.float64]
    high: NDArray[np.float64]
    error: NDArray[np.float64]
    p: NDArray[np.float64]
    undefined: NDArray[np.int64]

    def like(self, other: _Intervals) -> _Intervals:
        """The same numbers, but all else of `other` where both are printed as one number."""
        same = [percent(mine) == percent(its) for mine, its in zip(self.value, other.value, strict=True)]
        columns = (np.where(same, its, mine) for mine, its in zip(self[1:], other[1:], strict=True))
        return _Intervals(self.value, *columns)

    def estimate(self, place: int, runs: float) -> Estimate:
        value, low, high, error, _, undefined = (column[place].item() for column in self)
        return Estimate(value, low, high, error, runs, undefined)


def _deviation(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """``(K,)`` standard deviation (n − 1) of each row, of what is defined; NaN of fewer than two."""
    number = (~np.isnan(values)).sum(axis=1)
    far = values - mean_defined(values)[:, None]
    squares = np.nansum(far**2, axis=1)
    return np.where(number > 1, np.sqrt(squares / np.maximum(number - 1, 1)), np.nan)


def _mean_over(values: NDArray[np.float64], label: ClassOrMean) -> NDArray[np.float64]:
    """A class's column of ``(…, C)``, or the mean over the classes (of those chosen) that have a number."""
    if isinstance(label, np.ndarray):
        return mean_defined(values[..., label], -1)
    return values[..., label] if label is not None else mean_defined(values, -1)


Values = Mapping[str, NDArray[np.float64]]
"""What a statistic returns: ``(r,)`` or ``(r, C)`` by quantity."""


class _ExactStatistic(Statistic, Protocol):
    def __call__(self, weights: Weights | None = None) -> Values:
        """Without weights each image counts once."""
        ...


StatisticOf = Callable[[Diagnosis], Statistic]
"""Makes a statistic of a detector, such as the cost of an error type in average precision."""


def compare(
    diagnoses: Sequence[Diagnosis] | Diagnosis,
    *others: Diagnosis,
    replicates: int = 1000,
    seed: int = 0,
    groups: Mapping[str, Sequence[str]] | None = None,
    level: float = 0.95,
    costs: bool = True,
    statistics: Sequence[StatisticOf] = (),
    progress: ReportProgress | None = None,
    processes: int | None = None,
    meanwhile: Callable[[], object] | None = None,
) -> Comparison:
    """Numbers of detectors, and how far they would move on other images.

    The quantities are ``share/…``, ``map/…``, ``impact/…``, ``tide/…`` and ``dap/…`` of each class,
    ``pooled/…`` and ``objects/missed`` over all, and those of `statistics`.

    A group's number is the mean over its runs. In each replicate the images are drawn once, for all runs,
    and of the group's S runs S − 1 with replacement (:func:`diagnosis.resampling.draw_runs`): its interval
    includes image-to-image and seed-to-seed variation.

    Parameters
    ----------
    diagnoses, *others
        Of one or several detectors on the same ground truth, under different names: ``compare(a, b)`` or
        ``compare([a, b])``.
    replicates
        Number of resamples.
    seed
        Of the resampling: the same seed gives the same numbers.
    groups
        Runs of one model: a name for the group and the names of its runs. Detectors in no group are
        compared as they are, after the groups.
    level
        Of the intervals, between 0 and 1.
    costs
        Whether to resample what each error type costs in average precision, Hoiem's and TIDE's.
    statistics
        What else to resample, made from each detector.
    progress
        Called with how far it is, at most every two seconds.
    processes
        How many share the work, by default as many as there are cores. They change no number.
    meanwhile
        What this process does first, while the others resample.

    Raises
    ------
    InputError
        No detector, detectors of one name, on different images or classes or with different settings, a
        group of unknown or no runs, a run in two groups, no image, a level that means nothing.

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
    alone = isinstance(diagnoses, Diagnosis | str) or not isinstance(diagnoses, Iterable)
    diagnoses = [*cast("Sequence[Diagnosis]", [diagnoses] if alone else diagnoses), *others]
    members = _members(diagnoses, groups)
    replicates = whole_number("replicates", replicates)
    if not 0 < level < 1:
        raise InputError("level", f"{level:g}", "a number between 0 and 1, such as 0.95")
    images = len(diagnoses[0].truth.images)
    made = [_statistics(diagnosis, costs, statistics) for diagnosis in diagnoses]
    resampled = resample(
        [statistic for of_detector in made for statistic, _ in of_detector],
        images,
        replicates=replicates,
        seed=seed,
        progress=progress,
        processes=processes,
        meanwhile=meanwhile,
    )
    groups_of_runs = [
        (runs, draw_runs(len(runs), replicates, seed, group)) for group, runs in enumerate(members.values())
    ]
    by_class: set[str] = set()
    numbers: dict[str, _Numbers] = {}
    for place, (_, example) in enumerate(made[0]):
        for quantity in example:
            exact = np.stack([of_detector[place][1][quantity] for of_detector in made])
            samples = np.stack([values[quantity] for values in resampled[place :: len(made[0])]])
            if exact.ndim == 3:
                by_class.add(quantity)
            else:
                exact, samples = exact[..., None], samples[..., None]
            numbers[quantity] = _of_groups(exact[:, 0], samples, groups_of_runs)

    counted = np.stack([diagnosis.breakdown.counts.sum(axis=1) for diagnosis in diagnoses])
    places = {section: place for place, section in enumerate(SECTIONS)}
    listed = sorted(numbers, key=lambda quantity: places.get(quantity.partition("/")[0], len(places)))
    return Comparison(
        names=tuple(members),
        members=tuple(tuple(diagnoses[run].name for run in runs) for runs in members.values()),
        classes=diagnoses[0].truth.classes,
        images=images,
        level=level,
        seed=seed,
        by_class=frozenset(by_class),
        values={quantity: numbers[quantity].values for quantity in listed},
        samples={quantity: numbers[quantity].samples for quantity in listed},
        run_values={quantity: numbers[quantity].run_values for quantity in listed},
        run_samples={quantity: numbers[quantity].run_samples for quantity in listed},
        objects=diagnoses[0].matching.objects,
        counted=np.stack([counted[runs].max(axis=0) for runs in members.values()]),
        orders=_mean_order_effects(diagnoses, members.values()),
    )


def _statistics(
    diagnosis: Diagnosis, costs: bool, further: Sequence[StatisticOf]
) -> list[tuple[Statistic, Values]]:
    """The statistics of a detector, each with its values where each image counts once."""
    matching, similar, iou = diagnosis.matching, diagnosis.similar, diagnosis.iou
    # The slowest first: the processes that share the last ones then end together.
    own: list[_ExactStatistic] = [diagnosis.ap_statistic]
    if costs:
        own.append(TideStatistic.of(matching, diagnosis.tide))
        own.append(ImpactStatistic(matching, similar, iou=iou))
    own.append(BreakdownStatistic(matching, similar, top=diagnosis.top, iou=iou))
    own.append(MissedStatistic(diagnosis))
    once = np.ones((1, len(diagnosis.truth.images)), dtype=np.int32)
    others = [statistic_of(diagnosis) for statistic_of in further]
    return [*((one, one()) for one in own), *((other, other(once)) for other in others)]


class _Numbers(NamedTuple):
    """One quantity of D detectors or groups: the columns of :class:`Comparison`."""

    values: NDArray[np.float64]
    samples: NDArray[np.float64]
    run_values: tuple[NDArray[np.float64], ...]
    run_samples: tuple[NDArray[np.float64], ...]


def _of_groups(
    exact: NDArray[np.float64],
    samples: NDArray[np.float64],
    groups: Sequence[tuple[Sequence[int], NDArray[np.float64]]],
) -> _Numbers:
    """From the numbers ``(S, K)`` of S runs and their replicates ``(S, R, K)``: those of each group.

    A group is the indices of its runs, and their weights in each replicate, from :func:`draw_runs`.
    """
    run_values = tuple(exact[runs] for runs, _ in groups)
    return _Numbers(
        np.stack([mean_defined(values, 0) for values in run_values]),
        np.stack([_mean_of_runs(samples[runs], weights) for runs, weights in groups], axis=1),
        run_values,
        tuple(
            mean_defined(samples[runs], -1) if len(runs) > 1 else np.empty((0, len(weights)))
            for runs, weights in groups
        ),
    )


def _mean_order_effects(
    diagnoses: Sequence[Diagnosis], groups: Iterable[Sequence[int]]
) -> dict[str, NDArray[np.float64]]:
    """How far the order of equal scores moves each number of each group: the mean of its runs."""
    effects, groups = [diagnosis.order_effects for diagnosis in diagnoses], list(groups)
    result = {}
    for quantity, shape in {key: moves.shape for one in effects for key, moves in one.items()}.items():
        each = np.stack([one.get(quantity, np.zeros(shape)) for one in effects])
        result[quantity] = np.stack([each[runs].mean(axis=0) for runs in groups], axis=1)
    return result


def _mean_of_runs(runs: NDArray[np.float64], draws: NDArray[np.float64]) -> NDArray[np.float64]:
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
    first = diagnoses[0]
    for other in diagnoses[1:]:
        who = f"detectors {first.name!r} and {other.name!r}"
        if not np.array_equal(other.similar, first.similar):
            raise InputError(who, "different similar classes", "the same groups, to compare")
        tops = [repr(np.asarray(diagnosis.top).tolist()) for diagnosis in (first, other)]  # 1 is not 1.0
        if tops[0] != tops[1]:
            raise InputError(who, f"a top of {' and of '.join(tops)}", "one top, to compare")
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
