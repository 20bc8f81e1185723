"""The learning rate, a pure function of the step."""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["learning_rate", "stepwise_rate"]


def learning_rate(step: int, *, start: float, end: float, steps: int, warmup: int) -> float:
    """Exponential decay from `start` at step 0 to `end` at step `steps`, after a linear warm-up.

    Parameters
    ----------
    step
        Counted from 0.
    start, end
        Learning rates.
    steps
        Of the whole run.
    warmup
        Steps over which the rate rises linearly to what the decay has reached there.

    Examples
    --------
    >>> steps = (0, 1, 2, 50, 100)
    >>> [round(learning_rate(step, start=1.0, end=0.01, steps=100, warmup=2), 3) for step in steps]
    [0.5, 0.955, 0.912, 0.1, 0.01]
    """
    decayed = start * (end / start) ** (min(step, steps) / max(steps, 1))
    return float(decayed * _warmed(step, warmup))


def stepwise_rate(step: int, *, start: float, drops: Sequence[float], steps: int, warmup: int) -> float:
    """A tenth of the rate before from each of some parts of the run on, after a linear warm-up.

    Parameters
    ----------
    step
        Counted from 0.
    start
        Learning rate.
    drops
        At what parts of the run, from 0 to 1, it is divided by 10. A part that is no whole step is rounded.
    steps
        Of the whole run.
    warmup
        Steps over which the rate rises linearly.

    Examples
    --------
    >>> at = (0, 1, 49, 50, 74, 75)
    >>> [round(stepwise_rate(s, start=0.1, drops=(0.5, 0.75), steps=100, warmup=0), 6) for s in at]
    [0.1, 0.1, 0.1, 0.01, 0.01, 0.001]
    """
    passed = sum(step >= round(part * steps) for part in drops)
    return float(start * 0.1**passed * _warmed(step, warmup))


def _warmed(step: int, warmup: int) -> float:
    return min(1.0, (step + 1) / max(warmup, 1))
