"""The learning rate, a pure function of the step."""

from __future__ import annotations

__all__ = ["learning_rate"]


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
    return float(decayed * min(1.0, (step + 1) / max(warmup, 1)))
