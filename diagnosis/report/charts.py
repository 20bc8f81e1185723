"""Geometry of the drawings on the page; the templates and the style say what they look like.

Bars are placed in per cent of the room there is, so that they grow with it and their text does not.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from diagnosis.breakdown import ERROR_TYPES
from diagnosis.figures.style import text_colour_on
from diagnosis.report.content import PageFigure
from diagnosis.report.tables import Table, points

__all__ = ["Block", "Panels", "Part", "Slice", "bars", "forest", "lines", "pie", "stacked"]

PIE_RADIUS = 90.0
LABEL_RADIUS = 0.62 * PIE_RADIUS
SMALLEST_LABELLED_SHARE = 0.06
PANEL_WIDTH, PANEL_HEIGHT = 260.0, 150.0
"""Of a panel of lines, without what is around it."""

Ticks = tuple[tuple[float, str], ...]
"""Place in per cent of the room, and text."""


@dataclass(frozen=True)
class Slice:
    """A slice of a pie: its error type, outline, share, text colour, and place of its number, if it fits."""

    kind: str
    path: str
    share: float
    ink: str
    label: tuple[float, float] | None


@dataclass(frozen=True)
class Part:
    """A part of a stacked bar, in per cent of its length."""

    kind: str
    left: float
    width: float
    text: str
    ink: str


@dataclass(frozen=True)
class Bar:
    """One bar: the letter of its detector, its length in per cent of the room, its number, its error type."""

    letter: str
    length: float
    text: str
    kind: str


@dataclass(frozen=True)
class BarGroup:
    """The bars of all detectors for one thing."""

    label: str
    meaning: str
    bars: tuple[Bar, ...]


@dataclass(frozen=True)
class Bars:
    """A bar chart from 0."""

    block: ClassVar[str] = "bars"
    title: str
    groups: tuple[BarGroup, ...]
    ticks: Ticks
    caption: str


@dataclass(frozen=True)
class ForestRow:
    """A difference with its interval, in per cent of the room, and in words."""

    label: str
    middle: float
    low: float
    high: float
    text: str
    p: str
    differs: bool


@dataclass(frozen=True)
class Forest:
    """Differences with intervals about a line at zero."""

    block: ClassVar[str] = "forest"
    title: str
    rows: tuple[ForestRow, ...]
    zero: float
    ticks: Ticks
    caption: str


@dataclass(frozen=True)
class Spot:
    """A marker of a line: its place, and its text."""

    x: float
    y: float
    note: str


@dataclass(frozen=True)
class Lines:
    """A small chart of one line a detector over a few bins; the ordinate runs from 0 to 100 per cent."""

    title: str
    bins: Ticks
    series: tuple[tuple[Spot, ...], ...]
    ticks: Ticks


@dataclass(frozen=True)
class Panels:
    """Several small charts side by side."""

    block: ClassVar[str] = "panels"
    title: str
    panels: tuple[Lines, ...]
    caption: str


Block = Bars | Forest | Panels | Table | PageFigure
"""What a section is made of; the templates choose by ``block``."""


def pie(shares: Sequence[float]) -> tuple[Slice, ...]:
    """Slices from twelve o'clock on, clockwise, about (0, 0); none if there are no shares.

    Examples
    --------
    >>> [part.kind for part in pie([0.75, 0.25, 0, 0, 0])], pie([math.nan] * 5)
    (['correct', 'localization'], ())
    """
    if not all(map(math.isfinite, shares)):
        return ()
    slices, start = [], 0.0
    for kind, share in zip(ERROR_TYPES, shares, strict=True):
        if share <= 0:
            continue
        middle = 2 * math.pi * (start + share / 2)
        reach = 0.0 if share > 0.999 else LABEL_RADIUS
        place = (reach * math.sin(middle), -reach * math.cos(middle))
        label = place if share >= SMALLEST_LABELLED_SHARE else None
        slices.append(
            Slice(kind.name, _wedge(start, start + share), share, text_colour_on(kind.colour), label)
        )
        start += share
    return tuple(slices)


def _wedge(start: float, stop: float) -> str:
    """The outline of a slice between two fractions of the circle."""
    radius = f"{PIE_RADIUS:g}"
    if stop - start > 0.9999:  # an arc that ends where it begins would vanish
        return f"M0,-{radius}A{radius},{radius} 0 1 1 -0.01,-{radius}Z"
    ends = [
        f"{PIE_RADIUS * math.sin(2 * math.pi * turn):.2f},{-PIE_RADIUS * math.cos(2 * math.pi * turn):.2f}"
        for turn in (start, stop)
    ]
    large = int(stop - start > 0.5)
    return f"M0,0L{ends[0]}A{radius},{radius} 0 {large} 1 {ends[1]}Z"


def stacked(shares: Sequence[float]) -> tuple[Part, ...]:
    """Parts of a stacked bar from left to right; none if there are no shares.

    Examples
    --------
    >>> [(part.left, part.width, part.text) for part in stacked([0.75, 0.25, 0, 0, 0])]
    [(0.0, 75.0, '75'), (75.0, 25.0, '25')]
    """
    if not all(map(math.isfinite, shares)):
        return ()
    parts, left = [], 0.0
    for kind, share in zip(ERROR_TYPES, shares, strict=True):
        if share > 0:
            label = f"{100 * share:.0f}" if share >= SMALLEST_LABELLED_SHARE else ""
            ink = text_colour_on(kind.colour)
            parts.append(Part(kind.name, round(left, 3), round(100 * share, 3), label, ink))
        left += 100 * share
    return tuple(parts)


Group = tuple[str, str, str, Sequence[float | None]]
"""Label, meaning, error type (or ""), and the number of each detector or None."""


def bars(title: str, groups: Sequence[Group], letters: Sequence[str], caption: str) -> Bars:
    """A chart of fractions, in points; `letters` are those of the detectors."""
    known = [value for *_, values in groups for value in values if value is not None]
    step, top = _axis(100 * max(known, default=0.0))
    made = tuple(
        BarGroup(
            label,
            meaning,
            tuple(
                Bar(letter, 0.0 if value is None else round(10000 * value / top, 3), points(value).text, kind)
                for letter, value in zip(letters, values, strict=True)
            ),
        )
        for label, meaning, kind, values in groups
    )
    ticks = tuple((round(100 * n * step / top, 3), f"{n * step:g}") for n in range(round(top / step) + 1))
    return Bars(title, made, ticks, caption)


def forest(title: str, gaps: Sequence[tuple[str, float, float, float, str]], caption: str) -> Forest:
    """Differences: label, difference, low, high (fractions), p in words."""
    low = 100 * min([0.0, *(gap[2] for gap in gaps)])
    high = 100 * max([0.0, *(gap[3] for gap in gaps)])
    step, _ = _axis(high - low, most=5)
    first, last = math.floor(low / step), max(math.ceil(high / step), 1)
    extent = (last - first) * step

    def place(value: float) -> float:
        return round(100 * (value - first * step) / extent, 3)

    rows = tuple(
        ForestRow(
            label,
            place(100 * middle),
            place(100 * start),
            place(100 * stop),
            f"{points(middle).text} [{points(start).text}, {points(stop).text}]",
            p,
            start > 0 or stop < 0,
        )
        for label, middle, start, stop, p in gaps
    )
    ticks = tuple(
        (place(n * step), f"{n * step:+g}".replace("-", "−") if n else "0") for n in range(first, last + 1)
    )
    return Forest(title, rows, place(0.0), ticks, caption)


def lines(
    title: str, bins: Sequence[str], series: Sequence[Sequence[float | None]], names: Sequence[str]
) -> Lines:
    """One line a detector over `bins`; None leaves a gap."""
    places = [round(PANEL_WIDTH * (place + 0.5) / max(len(bins), 1), 1) for place in range(len(bins))]
    spots = tuple(
        tuple(
            Spot(x, round(PANEL_HEIGHT * (1 - value), 1), f"{name}, {label}: {100 * value:.1f} %")
            for x, label, value in zip(places, bins, values, strict=True)
            if value is not None
        )
        for name, values in zip(names, series, strict=True)
    )
    ticks = tuple((round(PANEL_HEIGHT * (1 - quarter / 4), 1), f"{25 * quarter}") for quarter in range(5))
    return Lines(title, tuple(zip(places, bins, strict=True)), spots, ticks)


def _axis(largest: float, most: int = 6) -> tuple[float, float]:
    """A round step and the end of an axis from 0 to at least `largest`, with at most `most` steps.

    Examples
    --------
    >>> _axis(14.2), _axis(0.0), _axis(0.031)
    ((5.0, 15.0), (0.2, 1.0), (0.01, 0.04))
    """
    largest = max(largest, 0.0) or 1.0
    power = 10.0 ** math.floor(math.log10(largest / most))
    step = next(step for factor in (1, 2, 5, 10) if (step := factor * power) * most >= largest)
    digits = max(0, -math.floor(math.log10(step)))
    return round(step, digits), round(step * math.ceil(round(largest / step, 9)), digits)
