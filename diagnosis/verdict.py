"""The verdict: in a sentence or two which detector is better, by how much, and what to fix first.

One number decides which detector is better, and it is chosen before the comparison: choosing among several by
what is clear would too often call one of two equals better. A difference is named only if its interval leaves
zero out; else it is "no clear difference", with the interval. What is clear comes first.
Numbers are points: hundredths of average precision or of a share.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "ENOUGH_OBJECTS",
    "FEW_OBJECTS",
    "Measure",
    "enough_objects",
    "fix_first",
    "pair_verdict",
    "percent",
    "span",
]

ENOUGH_OBJECTS = 20
"""Objects of a class; with fewer, one object moves its recall by more than 5 points."""
FEW_OBJECTS = f", a mean over classes that all have fewer than {ENOUGH_OBJECTS} objects"
"""What a verdict says of a mean where no class has enough."""


class Measure(NamedTuple):
    """A difference, second less first, or a gain of one detector, with its interval; fractions.

    `over` says which classes it is over, if not all.
    """

    name: str
    value: float
    low: float = math.nan
    high: float = math.nan
    over: str = ""

    @property
    def clear(self) -> bool:
        """Whether the interval, as it is printed, leaves zero out."""
        return round(100 * self.low, 1) > 0 or round(100 * self.high, 1) < 0


def percent(fraction: float, sign: bool = False) -> str:
    """Per cent with one decimal and a true minus; "-" where there is no number. Zero has no sign.

    Examples
    --------
    >>> percent(0.142), percent(-0.05, sign=True), percent(-0.0004, sign=True), percent(math.nan)
    ('14.2', '−5.0', '0.0', '-')
    """
    if math.isnan(fraction):
        return "-"
    text = f"{100 * fraction:{'+' if sign else ''}.1f}"
    return "0.0" if text in ("+0.0", "-0.0") else text.replace("-", "−")


def span(low: float, high: float) -> str:
    """An interval of a difference, in points.

    Examples
    --------
    >>> span(-0.1, 0.04)
    '(−10.0 to +4.0)'
    """
    return f"({percent(low, sign=True)} to {percent(high, sign=True)})"


def enough_objects(objects: NDArray[np.int64]) -> tuple[NDArray[np.bool_], str]:
    """Which classes a mean is over: those with enough objects; and words for it where others are left out.

    Where no class has enough, no words: such a mean is over all classes.

    Examples
    --------
    >>> enough_objects(np.array([100, 3, 0]))[1]
    ' over the 1 of 2 classes with at least 20 objects'
    """
    enough = objects >= ENOUGH_OBJECTS
    present = int((objects > 0).sum())
    if enough.sum() in (0, present):
        return enough, ""
    words = f" over the {enough.sum()} of {present} classes with at least {ENOUGH_OBJECTS} objects"
    return enough, words


def pair_verdict(names: tuple[str, str], scores: Sequence[Measure], errors: Sequence[Measure]) -> str:
    """Which of two detectors is better and on what they differ most.

    Parameters
    ----------
    names
        The first and the second detector.
    scores
        Differences of numbers of which more is better. The first decides which detector is better.
    errors
        Differences of what each type of error costs.

    Examples
    --------
    >>> pair_verdict(("a", "b"), [Measure("AP50", 0.01, -0.1, 0.04)], [])
    'No clear difference between a and b: b has +1.0 points of AP50 (−10.0 to +4.0).'
    """
    scores = [score for score in scores if not math.isnan(score.low)]
    if not scores:
        return (
            f"Nothing to compare between {names[0]} and {names[1]}: no detection is of a class with objects."
        )
    errors = sorted((error for error in errors if error.clear), key=lambda error: -abs(error.value))
    first, lead = scores[0], next((score for score in scores if score.clear), None)
    over = first.over if lead is None or lead.over != first.over else ""
    unclear = f"no clear difference in {first.name} {span(first.low, first.high)}{over}"
    most = _most(names, errors[0]) if errors else ""
    if lead is None:
        if errors:
            return f"{most}; {unclear}."
        gain = f"{percent(first.value, sign=True)} points of {first.name} {span(first.low, first.high)}"
        return f"No clear difference between {names[0]} and {names[1]}: {names[1]} has {gain}{first.over}."
    worse, better = names if lead.value > 0 else names[::-1]
    if lead is first:
        text = f"{better} is better than {worse}: {_gain(lead)}{lead.over}"
    else:
        text = f"{better} has {_gain(lead)}{lead.over}; {unclear}"
    against = next((score for score in scores if score.clear and score.value * lead.value < 0), None)
    text += f"; but {worse} is better in another number: {_gain(against)}" if against else ""
    return f"{text}. {most}." if most else f"{text}."


def _gain(score: Measure) -> str:
    """A difference seen from the side on which it is a gain."""
    sign = -1 if score.value < 0 else 1
    low, high = sorted((sign * score.low, sign * score.high))
    return f"{percent(sign * score.value, sign=True)} points of {score.name} {span(low, high)}"


def _most(names: tuple[str, str], error: Measure) -> str:
    less, more = names if error.value > 0 else names[::-1]
    gain = _gain(error._replace(name="AP50"))
    return f"They differ most in {error.name}, which cost {more} more than {less}: {gain}{error.over}"


def fix_first(name: str, gains: Sequence[Measure]) -> str:
    """Which error type of a detector costs it the most; empty if none costs anything.

    Examples
    --------
    >>> fix_first("darknet", [Measure("missed objects", 0.06), Measure("duplicates", 0.01)])
    'Fix first: missed objects, which cost darknet 6.0 points of AP50.'
    """
    most = max((gain for gain in gains if gain.value > 0), key=lambda gain: gain.value, default=None)
    if most is None:
        return ""
    interval = "" if math.isnan(most.low) else f" ({percent(most.low)} to {percent(most.high)})"
    cost = f"{percent(most.value)} points of AP50{interval}{most.over}"
    return f"Fix first: {most.name}, which cost {name} {cost}."
