"""Tables and charts as ``blocks.html`` draws them, with their numbers as the page prints them.

A chart is a dict of what its macro reads. Bars are placed in per cent of the room there is, so that they grow
with it and their text does not; ticks are pairs of a place and a text.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

from diagnosis.average_precision import AP_KINDS
from diagnosis.breakdown import ERROR_TYPES
from diagnosis.figures.style import text_colour_on
from diagnosis.record import Diagnosis
from diagnosis.report.content import Json, PageFigure, PageTable, Value
from diagnosis.verdict import percent

__all__ = [
    "ABSENT",
    "Block",
    "Cell",
    "Chart",
    "Column",
    "Table",
    "bars",
    "class_tables",
    "detector_table",
    "forest",
    "from_page_table",
    "lines",
    "pie",
    "points",
    "reported",
    "score_table",
    "share",
    "shares_of",
    "stacked",
    "text",
    "whole",
]

ABSENT = "–"
PIE_RADIUS = 90.0
LABEL_RADIUS = 0.62 * PIE_RADIUS
SMALLEST_LABELLED_SHARE = 0.06
PANEL_WIDTH, PANEL_HEIGHT = 260.0, 150.0
"""Of a panel of lines, without what is around it."""


class Cell(NamedTuple):
    """One place of a table: its text, and what it is sorted by (None stays at the end).

    `note` says why there is no number; `shares` are drawn as a stacked bar in the place of the text.
    """

    text: str
    key: float | str | None
    note: str = ""
    shares: tuple[float, ...] = ()


class Column(NamedTuple):
    """A heading, whether its column holds numbers, what it means, and the error type it is about, if any."""

    heading: str
    numeric: bool = True
    meaning: str = ""
    kind: str = ""


@dataclass(frozen=True)
class Table:
    """Rows under headings, to be sorted by any; the first cell of a row names it."""

    block: ClassVar[str] = "table"
    title: str
    columns: Sequence[Column]
    rows: Sequence[Sequence[Cell]]
    caption: str = ""
    folded: bool = False
    identifier: str = ""


Chart = dict[str, Any]
Block = Chart | Table | PageFigure
"""What a section is made of; the template chooses by ``block``."""


# ---- cells -----------------------------------------------------------------------------------


def text(value: str) -> Cell:
    """Words, sorted by the alphabet."""
    return Cell(value, value)


def whole(value: int | None) -> Cell:
    """A count."""
    return Cell(ABSENT, None) if value is None else Cell(f"{value:,}", value)


def share(value: float | None, note: str = "") -> Cell:
    """A fraction, in per cent with one decimal; what exists never reads 0.0.

    Examples
    --------
    >>> [share(value).text for value in (0.6987, 0.0, 0.0002, None)]
    ['69.9', '0.0', '<0.1', '–']
    """
    if value is None or math.isnan(value):
        return Cell(ABSENT, None, note)
    return Cell("<0.1" if 0 < value < 0.0005 else f"{100 * value:.1f}", value)


def reported(entry: Json, name: str) -> Cell:
    """A fraction of ``diagnosis.json``, whose absence has a reason beside it."""
    return share(entry[name], entry.get("reason", ""))


def points(value: float | None, note: str = "") -> Cell:
    """A difference of fractions, in points with its sign.

    Examples
    --------
    >>> [points(value).text for value in (0.142, -0.0021, 0.0, -0.00001)]
    ['+14.2', '−0.2', '0.0', '0.0']
    """
    if value is None or math.isnan(value):
        return Cell(ABSENT, None, note)
    return Cell(percent(value, sign=True) if round(100 * value, 1) else "0.0", value)


# ---- tables ----------------------------------------------------------------------------------


def from_page_table(table: PageTable) -> Table:
    """A table of the caller's, with its numbers printed."""

    def cell(value: Value) -> Cell:
        if isinstance(value, str):
            return text(value)
        if value is None or not math.isfinite(value):
            return Cell(ABSENT, None)
        if isinstance(value, int):
            return whole(value)
        return Cell(f"{value:,.{table.decimals}f}".replace("-", "−"), value)

    columns = [
        Column(name, place > 0 and not any(isinstance(row[place], str) for row in table.rows))
        for place, name in enumerate(table.columns)
    ]
    return Table(table.title, columns, [list(map(cell, row)) for row in table.rows], table.caption)


def shares_of(entry: Json) -> tuple[float, ...]:
    """The shares of the error types; NaN where there is none."""
    return tuple(math.nan if entry[kind.name] is None else entry[kind.name] for kind in ERROR_TYPES)


def detector_table(diagnoses: Sequence[Diagnosis], provenance: Json, letters: Sequence[str]) -> Table:
    """What each detector found."""
    paths = {source["name"]: source["path"] for source in provenance.get("sources", ())}
    columns = [
        Column("", False),
        Column("detector", False),
        Column("detections"),
        Column("counted", meaning="The top detections of each class that the shares are of."),
        Column("images", meaning="Images with at least one detection."),
        Column("from", False),
    ]
    rows = [
        [
            text(letter),
            text(diagnosis.name),
            whole(len(diagnosis.detections)),
            whole(int(diagnosis.breakdown.counts.sum())),
            whole(len(set(diagnosis.detections.image_index.tolist()))),
            text(paths.get(diagnosis.name, "")),
        ]
        for diagnosis, letter in zip(diagnoses, letters, strict=True)
    ]
    shown = slice(0 if len(diagnoses) > 1 else 1, None if paths else -1)
    return Table("Detectors", columns[shown], [row[shown] for row in rows])


def score_table(detectors: Sequence[Json]) -> Table:
    """Mean average precision of every kind."""
    columns = [Column("detector", False), *(Column(kind.label) for kind in AP_KINDS.values())]
    rows = [
        [text(detector["name"]), *(reported(detector["map"], kind) for kind in AP_KINDS)]
        for detector in detectors
    ]
    caption = "Per cent, mean over the classes that have objects."
    return Table("Mean average precision", columns, rows, caption)


def class_tables(detectors: Sequence[Json]) -> list[Table]:
    """All numbers of each detector; and, for several detectors, each number side by side."""
    tables = [_all_numbers(detector, f"classes-{place}") for place, detector in enumerate(detectors)]
    if len(detectors) > 1:
        tables += [_side_by_side(detectors, kind.name, "top", kind.name, kind.name) for kind in ERROR_TYPES]
        tables += [
            _side_by_side(detectors, f"AP: {kind.label}", "ap", name, "") for name, kind in AP_KINDS.items()
        ]
    return tables


def _all_numbers(detector: Json, identifier: str) -> Table:
    columns = [
        Column("class", False),
        Column("objects", meaning="Objects that are not difficult, N."),
        Column("detections"),
        Column("counted", meaning="The top detections, which the shares are of."),
        Column("shares", meaning="Sorted by the share of correct detections."),
        *(Column(k.name, kind=k.name, meaning="Per cent of the detections counted.") for k in ERROR_TYPES),
        *(Column(f"AP {kind.heading}", meaning=kind.label) for kind in AP_KINDS.values()),
    ]
    rows = []
    for name, entry in detector["classes"].items():
        top, shares = entry["top"], shares_of(entry["top"])
        known = all(map(math.isfinite, shares))
        rows.append(
            [
                text(name),
                *map(whole, (entry["objects"], entry["detections"], top["n"])),
                Cell("", shares[0], shares=shares) if known else Cell(ABSENT, None, top["reason"]),
                *(reported(top, kind.name) for kind in ERROR_TYPES),
                *(reported(entry["ap"], kind) for kind in AP_KINDS),
            ]
        )
    caption = "Shares and average precision in per cent."
    return Table(f"{detector['name']}: all numbers", columns, rows, caption, identifier=identifier)


def _side_by_side(detectors: Sequence[Json], title: str, group: str, key: str, kind: str) -> Table:
    names, two = [detector["name"] for detector in detectors], len(detectors) == 2
    columns = [Column("class", False), Column("objects"), *(Column(name, kind=kind) for name in names)]
    if two:
        columns.append(Column("difference", meaning=f"{names[1]} − {names[0]}, in points."))
    rows = []
    for name, first in detectors[0]["classes"].items():
        entries = [detector["classes"][name][group] for detector in detectors]
        cells = [text(name), whole(first["objects"]), *(reported(entry, key) for entry in entries)]
        if two:
            before, after = (entry[key] for entry in entries)
            cells.append(points(None if before is None or after is None else after - before))
        rows.append(cells)
    what = "of the detections counted" if group == "top" else "average precision"
    caption = f"Per cent {what}" + (", difference in points." if two else ".")
    return Table(f"side by side: {title}", columns, rows, caption, identifier=f"side-{group}-{key}")


# ---- charts ----------------------------------------------------------------------------------


def pie(shares: Sequence[float]) -> list[Chart]:
    """Slices from twelve o'clock on, clockwise, about (0, 0); none if there are no shares."""
    slices, start = [], 0.0
    for kind, ink, share in _parts(shares):
        middle = 2 * math.pi * (start + share / 2)
        reach = 0.0 if share > 0.999 else LABEL_RADIUS
        place = (reach * math.sin(middle), -reach * math.cos(middle))
        label = place if share >= SMALLEST_LABELLED_SHARE else None
        path = _wedge(start, start + share)
        slices.append({"kind": kind, "path": path, "share": share, "ink": ink, "label": label})
        start += share
    return slices


def stacked(shares: Sequence[float]) -> list[Chart]:
    """Parts of a stacked bar from left to right; none if there are no shares."""
    parts, left = [], 0.0
    for kind, ink, share in _parts(shares):
        label = f"{100 * share:.0f}" if share >= SMALLEST_LABELLED_SHARE else ""
        width = round(100 * share, 3)
        parts.append({"kind": kind, "left": round(left, 3), "width": width, "text": label, "ink": ink})
        left += 100 * share
    return parts


def _parts(shares: Sequence[float]) -> Iterator[tuple[str, str, float]]:
    """Error type, colour of text on it, and share, where there is any."""
    if all(map(math.isfinite, shares)):
        for kind, share in zip(ERROR_TYPES, shares, strict=True):
            if share > 0:
                yield kind.name, text_colour_on(kind.colour), share


def _wedge(start: float, stop: float) -> str:
    """The outline of a slice between two fractions of the circle."""
    radius = f"{PIE_RADIUS:g}"
    if stop - start > 0.9999:  # an arc that ends where it begins would vanish
        return f"M0,-{radius}A{radius},{radius} 0 1 1 -0.01,-{radius}Z"
    first, last = (
        f"{PIE_RADIUS * math.sin(2 * math.pi * turn):.2f},{-PIE_RADIUS * math.cos(2 * math.pi * turn):.2f}"
        for turn in (start, stop)
    )
    return f"M0,0L{first}A{radius},{radius} 0 {int(stop - start > 0.5)} 1 {last}Z"


Group = tuple[str, str, str, Sequence[float | None]]
"""Label, meaning, error type (or ""), and the number of each detector or None."""


def bars(title: str, groups: Sequence[Group], letters: Sequence[str], caption: str) -> Chart:
    """A bar chart of fractions from 0, in points; `letters` are those of the detectors."""
    known = [value for *_, values in groups for value in values if value is not None]
    step, top = _axis(100 * max(known, default=0.0))

    def bar(letter: str, value: float | None, kind: str) -> Chart:
        length = 0.0 if value is None else round(10000 * value / top, 3)
        return {"letter": letter, "length": length, "text": points(value).text, "kind": kind}

    made = [
        {
            "label": label,
            "meaning": meaning,
            "bars": [bar(letter, value, kind) for letter, value in zip(letters, values, strict=True)],
        }
        for label, meaning, kind, values in groups
    ]
    ticks = [(round(100 * n * step / top, 3), f"{n * step:g}") for n in range(round(top / step) + 1)]
    return {"block": "bars", "title": title, "groups": made, "ticks": ticks, "caption": caption}


def forest(title: str, gaps: Sequence[tuple[str, float, float, float, str]], caption: str) -> Chart:
    """Differences about a line at zero: label, difference, low, high (fractions), p in words."""
    low = 100 * min([0.0, *(gap[2] for gap in gaps)])
    high = 100 * max([0.0, *(gap[3] for gap in gaps)])
    step, _ = _axis(high - low, most=5)
    first, last = math.floor(low / step), max(math.ceil(high / step), 1)

    def place(value: float) -> float:
        return round(100 * (value - first * step) / ((last - first) * step), 3)

    rows = [
        {
            "label": label,
            "middle": place(100 * middle),
            "low": place(100 * start),
            "high": place(100 * stop),
            "text": f"{points(middle).text} [{points(start).text}, {points(stop).text}]",
            "p": p,
            "differs": start > 0 or stop < 0,
        }
        for label, middle, start, stop, p in gaps
    ]
    ticks = [
        (place(n * step), f"{n * step:+g}".replace("-", "−") if n else "0") for n in range(first, last + 1)
    ]
    drawn = {"title": title, "rows": rows, "zero": place(0.0), "ticks": ticks, "caption": caption}
    return {"block": "forest"} | drawn


def lines(
    title: str, bins: Sequence[str], series: Sequence[Sequence[float | None]], names: Sequence[str]
) -> Chart:
    """One line a detector over `bins`, from 0 to 100 per cent; None leaves a gap."""
    places = [round(PANEL_WIDTH * (place + 0.5) / max(len(bins), 1), 1) for place in range(len(bins))]
    spots = [
        [
            {
                "x": x,
                "y": round(PANEL_HEIGHT * (1 - value), 1),
                "note": f"{name}, {label}: {100 * value:.1f} %",
            }
            for x, label, value in zip(places, bins, values, strict=True)
            if value is not None
        ]
        for name, values in zip(names, series, strict=True)
    ]
    ticks = [(round(PANEL_HEIGHT * (1 - quarter / 4), 1), f"{25 * quarter}") for quarter in range(5)]
    return {"title": title, "bins": list(zip(places, bins, strict=True)), "series": spots, "ticks": ticks}


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
