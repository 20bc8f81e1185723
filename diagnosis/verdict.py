"""The verdict: in a sentence or two which detector is better, by how much, and what to fix first.

One number decides which detector is better, and it is chosen before the comparison: choosing among several by
what is clear would too often call one of two equals better. A difference is named only if it is clear
(:func:`clear`); else it is "no clear difference", with the interval. What is clear comes first.

TIDE's cost of missed objects is 0 or undefined in a class of which a detector finds nothing: without the
missed objects nothing is left there. So such classes stand beside the errors, with what they cost the mean.
Numbers are points: hundredths of average precision or of a share.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

ENOUGH_OBJECTS = 20
"""Objects of a class; with fewer, one object moves its recall by more than 5 points."""
TOO_FEW = f"Too few objects to say what to fix first: no class has {ENOUGH_OBJECTS}."
"""What a verdict says where no class has enough: costs are means over classes."""
DECIMALS = 9
"""Of a fraction that is printed, and of the page's numbers: so both round a half alike, to an even digit."""
AGREE = "resamples agree"
"""Said where there is no interval: nearly all resamples give one number, so they do not show how far chance
goes."""
TIED = "equal scores leave it open (their order in the file counts)"
"""Why a difference is not clear that another order of equal scores could undo."""
Moves = tuple[float, float]
"""How far down and up a number goes with detections of equal scores in another order; (0, 0) without ties."""
MOST_NAMED = 3
"""Classes in a sentence; of others, if more than one, the number."""


def clear(value: float, low: float, high: float, enough: bool = True, moves: Moves = (0.0, 0.0)) -> bool:
    """Whether a difference, or a gain, is clear: the one rule of page, terminal, figures and JSON.

    Its interval, as it is printed, leaves zero out, and there are enough objects (:func:`have_enough`).
    Without an interval the resamples agree on the number, and that is what leaves zero out. It does so too
    with the detections of equal scores in another order, which `moves` it.

    Examples
    --------
    >>> clear(0.01, 0.001, 0.02), clear(-0.01, -0.02, -0.0004), clear(0.01, 0.001, 0.02, enough=False)
    (True, False, False)
    >>> clear(0.01, math.nan, math.nan), clear(0.0, math.nan, math.nan), clear(*[math.nan] * 3)
    (True, False, False)
    """
    low, high = (value, value) if math.isnan(low) else (low, high)
    return enough and (round(100 * (low + moves[0]), 1) > 0 or round(100 * (high + moves[1]), 1) < 0)


class Measure(NamedTuple):
    """A difference, second less first, or a gain of one detector, with its interval; fractions.

    `over` says which classes it is over, if not all; `enough` whether it is of enough objects; `moves` what
    ties leave open.
    """

    name: str
    value: float
    low: float = math.nan
    high: float = math.nan
    over: str = ""
    enough: bool = True
    moves: Moves = (0.0, 0.0)

    @property
    def clear(self) -> bool:
        """See :func:`clear`."""
        return clear(self.value, self.low, self.high, self.enough, self.moves)

    @property
    def doubt(self) -> str:
        """Why it is not clear though its interval leaves zero out; empty if it does not, or it is."""
        if self.clear or not clear(self.value, self.low, self.high):
            return ""
        return ", with too few objects or images" if not self.enough else f", as {TIED}"


class Unfound(NamedTuple):
    """Classes with enough objects of which a detector finds none: its AP50 is 0 there.

    `share` is how much of the mean these classes are. Of a pair, `gap` is the difference of AP50 over them.
    """

    name: str
    classes: tuple[str, ...]
    share: float
    gap: Measure = Measure("AP50", -1.0)

    @property
    def cost(self) -> float:
        """What the mean AP50 lacks by them: all of it, or of a pair what the other one has."""
        return abs(self.gap.value) * self.share

    def __str__(self) -> str:
        named = self.classes if len(self.classes) <= MOST_NAMED + 1 else self.classes[:MOST_NAMED]
        more = len(self.classes) - len(named)
        *others, last = [*named, *([f"{more} more classes"] if more else [])]
        listed = f"{', '.join(others)} and {last}" if others else last
        return f"{listed}, of which {self.name} finds no object"


def percent(fraction: float, sign: bool = False) -> str:
    """Per cent with one decimal and a true minus; "-" where there is no number. Zero has no sign.

    Examples
    --------
    >>> percent(0.142), percent(-0.05, sign=True), percent(-0.0004, sign=True), percent(math.nan)
    ('14.2', '−5.0', '0.0', '-')
    """
    if math.isnan(fraction):
        return "-"
    text = f"{100 * round(fraction, DECIMALS):{'+' if sign else ''}.1f}"
    return "0.0" if text in ("+0.0", "-0.0") else text.replace("-", "−")


def span(low: float, high: float) -> str:
    """An interval of a difference, in points; or why there is none.

    Examples
    --------
    >>> span(-0.1, 0.04), span(math.nan, math.nan)
    ('(−10.0 to +4.0)', '(resamples agree)')
    """
    if math.isnan(low):
        return f"({AGREE})"
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


def have_enough(objects: NDArray[np.int64], counted: NDArray[np.int64] | None = None) -> bool:
    """Whether a number over these classes can be called clear: one of them has enough objects.

    Of shares of detections also enough that are `counted`, ``(D, C)``, by one of the D detectors.

    Examples
    --------
    >>> have_enough(np.array([100, 3, 0])), have_enough(np.array([3, 19]))
    (True, False)
    >>> have_enough(np.array([30]), np.array([[6], [0]])), have_enough(np.array([30]), np.array([[6], [20]]))
    (False, True)
    """
    fewest = objects if counted is None else np.minimum(objects, counted.max(axis=0))
    return int(fewest.max(initial=0)) >= ENOUGH_OBJECTS


def unfound_classes(
    name: str, classes: Sequence[str], enough: NDArray[np.bool_], nothing: NDArray[np.bool_]
) -> Unfound | None:
    """The classes with enough objects of which a detector finds `nothing`; None if there is none."""
    rows = np.flatnonzero(enough & nothing).tolist()
    if not rows:
        return None
    return Unfound(name, tuple(classes[row] for row in rows), len(rows) / int(enough.sum()))


def better(scores: Sequence[Measure]) -> Measure | None:
    """The difference that says which detector is better: the first that is clear."""
    return next((score for score in scores if score.clear), None)


def pair_verdict(
    names: tuple[str, str],
    scores: Sequence[Measure],
    errors: Sequence[Measure],
    unfound: Sequence[Unfound] = (),
) -> str:
    """Which of two detectors is better and on what they differ most.

    Parameters
    ----------
    names
        The first and the second detector.
    scores
        Differences of numbers of which more is better. The first decides which detector is better.
    errors
        Differences of what each type of error costs. The one in which they differ most is named if it costs
        the worse detector more.
    unfound
        Of either detector the classes of which it alone finds nothing.

    Examples
    --------
    >>> pair_verdict(("a", "b"), [Measure("AP50", 0.01, -0.1, 0.04)], [])
    'No clear difference between a and b: +1.0 points of AP50 (−10.0 to +4.0) for b compared with a.'
    """
    scores = [score for score in scores if not math.isnan(score.value)]
    if not scores:
        return (
            f"Nothing to compare between {names[0]} and {names[1]}: no detection is of a class with objects."
        )
    first, lead = scores[0], better(scores)
    most, ahead = _most(names, lead, errors, unfound, decided=lead is first)
    # One direction throughout: that of what is named first.
    ahead = ahead if lead is None else 1 if lead.value > 0 else -1
    other, one = names if ahead >= 0 else names[::-1]
    over = first.over if lead is None or lead.over != first.over else ""
    unclear = f"no clear difference in {first.name} {_interval(first, ahead)}{over}{first.doubt}"
    if lead is None and most:
        return f"{names[0]} and {names[1]} {most}; {one} compared with {other}: {unclear}."
    if lead is None:
        says = f"{_points(first, 1)} for {names[1]} compared with {names[0]}"
        if percent(first.value) == "0.0" and math.isnan(first.low):
            says = f"the same {first.name} {_interval(first, 1)}"
        return f"No clear difference between {names[0]} and {names[1]}{first.doubt}: {says}{first.over}."
    if lead is first:
        text = f"{one} is better than {other}: {_points(lead, ahead)}{lead.over}"
    else:
        text = f"{one} has {_points(lead, ahead)}{lead.over}, compared with {other}; {unclear}"
    against = next((score for score in scores if score.clear and score.value * lead.value < 0), None)
    if against:
        text += f"; but {one} is worse in another number: {_points(against, ahead)}"
        text += against.over if against.over != lead.over else ""
    return f"{text}. They {most}." if most else f"{text}."


def _interval(score: Measure, sign: int) -> str:
    low, high = sorted((sign * score.low, sign * score.high))
    return span(low, high)


def _points(score: Measure, sign: int) -> str:
    """A difference with its interval: second less first, or with a `sign` of −1 first less second."""
    return f"{percent(sign * score.value, sign=True)} points of {score.name} {_interval(score, sign)}"


def _most(
    names: tuple[str, str],
    lead: Measure | None,
    errors: Sequence[Measure],
    unfound: Sequence[Unfound],
    *,
    decided: bool,
) -> tuple[str, int]:
    """In what they differ most, of what is clear, and for which of them (1: the second, −1: the first).

    Empty if nothing is clear; or if the number that decides is, and this costs the better one more. Errors
    whose differences are printed alike are all named.
    """
    costs = sorted((error for error in errors if error.clear), key=lambda error: -abs(error.value))
    costs = [error for error in costs if percent(abs(error.value)) == percent(abs(costs[0].value))]
    nothing = max((some for some in unfound if some.gap.clear), key=lambda some: some.cost, default=None)
    if nothing and (not costs or round(nothing.cost - abs(costs[0].value), 6) >= 0):
        ahead = 1 if (lead or nothing.gap).value > 0 else -1
        gap = _points(nothing.gap, ahead)
        return f"differ most in {nothing}: {gap} there" + ("" if lead else f" for {names[ahead > 0]}"), ahead
    if not costs or (decided and lead and all(error.value * lead.value > 0 for error in costs)):
        return "", 1
    clauses = []
    for error in costs:
        sign = 1 if error.value > 0 else -1
        less, more = names[::sign]
        points = _points(error._replace(name="AP50"), sign)
        clauses.append(f"{error.name}, which cost {more} more than {less}: {points}")
    return f"differ most in {', and as much in '.join(clauses)}", 1 if costs[0].value > 0 else -1


def fix_first(name: str, gains: Sequence[Measure], unfound: Unfound | None = None) -> str:
    """Which error type of a detector costs it the most; empty if none costs anything.

    What may be zero is not said to come first. Without an interval the number alone is given.

    Examples
    --------
    >>> fix_first("darknet", [Measure("missed objects", 0.06), Measure("duplicates", 0.01)])
    'Fix first: missed objects, which cost darknet 6.0 points of AP50.'
    >>> fix_first("darknet", [Measure("duplicates", 0.06)], Unfound("darknet", ("cat", "dog"), 0.1))
    'Fix first: cat and dog, of which darknet finds no object.'
    """
    most = max((gain for gain in gains if gain.value > 0), key=lambda gain: gain.value, default=None)
    if unfound and (most is None or unfound.cost >= most.value):
        return f"Fix first: {unfound}."
    if most is None:
        return ""
    interval = "" if math.isnan(most.low) else f" ({percent(most.low)} to {percent(most.high)})"
    cost = f"{percent(most.value)} points of AP50{interval}"
    if interval and not most.clear:
        return f"What to fix first is not clear: {most.name} cost {name} most, {cost}."
    return f"Fix first: {most.name}, which cost {name} {cost}."
