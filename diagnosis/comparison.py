"""The record of a comparison of detectors: numbers with intervals, differences with p-values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from data.records import InputError

__all__ = ["OVER_ALL", "Comparison", "Difference", "Estimate", "mean_defined"]

OVER_ALL = "/all"
"""Ends the name of a number over all classes that is not the mean of the classes' numbers."""


@dataclass(frozen=True)
class Estimate:
    """A number of one detector, with its interval.

    Parameters
    ----------
    value
        As measured; NaN if it does not exist.
    low, high
        Ends of the interval.
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
        Ends of the paired interval.
    p
        Two-sided: twice the share of replicates on the far side of zero, those at zero included, and one
        added to both counts (Davison and Hinkley, 1997, section 4.2). 1 where nothing ever differs.
    undefined
        In how many replicates it does not exist; the rest is that of the others.
    """

    difference: float
    low: float
    high: float
    p: float
    undefined: int

    @property
    def differs(self) -> bool:
        """Whether the interval leaves zero out."""
        return self.low > 0 or self.high < 0


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

    @property
    def replicates(self) -> int:
        """How many resamples there are, R."""
        return len(next(iter(self.samples.values()))) if self.samples else 0

    @property
    def quantities(self) -> tuple[str, ...]:
        """Names of all quantities, as ``section/quantity``."""
        return tuple(name for name in self.values if not name.endswith(OVER_ALL))

    def estimate(self, quantity: str, detector: int, label: int | None = None) -> Estimate:
        """A number of a detector.

        Parameters
        ----------
        quantity
            One of :attr:`quantities`.
        detector
            Index into :attr:`names`.
        label
            A class; None: the number over all classes, which is the mean over those that have one, unless
            the quantity says otherwise.

        Raises
        ------
        InputError
            For an unknown quantity, or a class of one that is not by class.
        """
        values = self._known(quantity, label)
        if label is None and quantity + OVER_ALL in self.values:
            return self.estimate(quantity + OVER_ALL, detector)
        value = _one(values[detector], label)
        samples = _one(self.samples[quantity][:, detector], label)
        low, high, undefined = self._interval(samples, float(value))
        runs = _one(self.run_values[quantity][detector], label)
        runs = runs[~np.isnan(runs)]
        return Estimate(float(value), low, high, _deviation(samples), _deviation(runs), undefined)

    def difference(self, quantity: str, a: int, b: int, label: int | None = None) -> Difference:
        """By how much detector `b` exceeds detector `a`.

        The mean over classes is over those in which both have a number: a class in which one of them
        detects nothing would count for the other alone.

        Raises
        ------
        InputError
            As :meth:`estimate`.
        """
        values, samples = self._known(quantity, label), self.samples[quantity]
        if label is None and quantity + OVER_ALL in self.values:
            return self.difference(quantity + OVER_ALL, a, b)
        value = float(_one(values[b] - values[a], label))
        gaps = _one(samples[:, b] - samples[:, a], label)
        low, high, undefined = self._interval(gaps, value)
        gaps = gaps[~np.isnan(gaps)]
        if np.isnan(low):
            return Difference(value, low, high, float("nan"), undefined)
        least = min(int((gaps <= 0).sum()), int((gaps >= 0).sum()))
        return Difference(value, low, high, min(1.0, 2 * (least + 1) / (len(gaps) + 1)), undefined)

    def shared_classes(self, quantity: str, a: int, b: int) -> NDArray[np.bool_]:
        """``(C,)`` classes in which both detectors have a number."""
        values = self._known(quantity, 0)
        shared: NDArray[np.bool_] = ~np.isnan(values[a]) & ~np.isnan(values[b])
        return shared

    def _known(self, quantity: str, label: int | None = None) -> NDArray[np.float64]:
        if quantity not in self.values:
            raise InputError("quantity", repr(quantity), f"one of {', '.join(self.quantities)}")
        if label is not None and quantity not in self.by_class:
            raise InputError("label", f"{label} for {quantity!r}", "None: it has one number over all classes")
        return self.values[quantity]

    def _interval(self, samples: NDArray[np.float64], value: float) -> tuple[float, float, int]:
        """Ends of the percentile interval, and how many replicates have no number."""
        defined = samples[~np.isnan(samples)]
        missing = len(samples) - len(defined)
        if np.isnan(value) or not len(defined):
            return float("nan"), float("nan"), missing
        tail = (1 - self.level) / 2
        low, high = np.quantile(defined, [tail, 1 - tail])
        return float(low), float(high), missing


def _deviation(values: NDArray[np.float64]) -> float:
    defined = values[~np.isnan(values)]
    return float(defined.std(ddof=1)) if len(defined) > 1 else float("nan")


def _one(values: NDArray[np.float64], label: int | None) -> NDArray[np.float64]:
    """A class's column of ``(…, C)``, or the mean over the classes that have a number."""
    return values[..., label] if label is not None else mean_defined(values, -1)


def mean_defined(values: NDArray[np.float64], axis: int) -> NDArray[np.float64]:
    """The mean of what is defined; NaN where nothing is."""
    defined = ~np.isnan(values)
    count = defined.sum(axis=axis)
    total = np.where(defined, values, 0.0).sum(axis=axis)
    mean: NDArray[np.float64] = np.where(count > 0, total / np.maximum(count, 1), np.nan)
    return mean
