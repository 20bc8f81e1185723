"""Tables that can be sorted, with their numbers as the page prints them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from diagnosis.average_precision import AP_KINDS
from diagnosis.breakdown import ERROR_TYPES
from diagnosis.record import Diagnosis
from diagnosis.report.content import Json, PageTable, Value
from diagnosis.words import percent

__all__ = [
    "Cell",
    "Column",
    "Table",
    "class_tables",
    "detector_table",
    "from_page_table",
    "points",
    "reported",
    "score_table",
    "share",
    "shares_of",
    "text",
    "whole",
]

ABSENT = "–"


@dataclass(frozen=True)
class Cell:
    """One place of a table.

    Parameters
    ----------
    text
        What is printed.
    key
        What it is sorted by; None stays at the end.
    note
        Shown on top of it: why there is no number.
    shares
        If given: drawn as a stacked bar, in the order of the error types, in the place of the text.
    """

    text: str
    key: float | str | None
    note: str = ""
    shares: tuple[float, ...] = ()


@dataclass(frozen=True)
class Column:
    """A heading, whether its column holds numbers, what it means, and the error type it is about, if any."""

    heading: str
    numeric: bool = True
    meaning: str = ""
    kind: str = ""


@dataclass(frozen=True)
class Table:
    """Rows under headings; the first cell of a row names it."""

    block: ClassVar[str] = "table"
    title: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[Cell, ...], ...]
    caption: str = ""
    folded: bool = False
    identifier: str = ""


# ---- cells -----------------------------------------------------------------------------------


def text(value: str) -> Cell:
    """Words, sorted by the alphabet."""
    return Cell(value, value)


def whole(value: int | None, note: str = "") -> Cell:
    """A count.

    Examples
    --------
    >>> whole(12032).text, whole(None, "no objects").text
    ('12,032', '–')
    """
    return Cell(ABSENT, None, note) if value is None else Cell(f"{value:,}", value)


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


def from_page_table(table: PageTable) -> Table:
    """A table of the caller's, with its numbers printed."""

    def cell(value: Value) -> Cell:
        if isinstance(value, str):
            return text(value)
        if value is None or not math.isfinite(value):
            return Cell(ABSENT, None)
        return whole(value) if isinstance(value, int) else Cell(printed(value), value)

    def printed(value: float) -> str:
        return f"{value:,.{table.decimals}f}".replace("-", "−")

    columns = tuple(
        Column(name, place > 0 and not any(isinstance(row[place], str) for row in table.rows))
        for place, name in enumerate(table.columns)
    )
    return Table(table.title, columns, tuple(tuple(map(cell, row)) for row in table.rows), table.caption)


# ---- tables of detectors and classes ---------------------------------------------------------


def shares_of(entry: Json) -> list[float]:
    """The shares of the error types; NaN where there is none."""
    return [math.nan if entry[kind.name] is None else entry[kind.name] for kind in ERROR_TYPES]


def detector_table(diagnoses: Sequence[Diagnosis], provenance: Json, letters: Sequence[str]) -> Table:
    """What each detector found."""
    paths = {source["name"]: source["path"] for source in provenance.get("sources", ())}
    several = len(diagnoses) > 1
    columns = (
        *([Column("", False)] if several else []),
        Column("detector", False),
        Column("detections"),
        Column("counted", meaning="The top detections of each class that the shares are of."),
        Column("images", meaning="Images with at least one detection."),
        *([Column("from", False)] if paths else []),
    )
    rows = tuple(
        (
            *([text(letter)] if several else []),
            text(diagnosis.name),
            whole(len(diagnosis.detections)),
            whole(int(diagnosis.breakdown.counts.sum())),
            whole(len(set(diagnosis.detections.image_index.tolist()))),
            *([text(paths.get(diagnosis.name, ""))] if paths else []),
        )
        for diagnosis, letter in zip(diagnoses, letters, strict=True)
    )
    return Table("Detectors", columns, rows)


def score_table(detectors: Sequence[Json]) -> Table:
    """Mean average precision of every kind."""
    columns = (Column("detector", False), *(Column(kind.label) for kind in AP_KINDS.values()))
    rows = tuple(
        (text(detector["name"]), *(reported(detector["map"], kind) for kind in AP_KINDS))
        for detector in detectors
    )
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
    columns = (
        Column("class", False),
        Column("objects", meaning="Objects that are not difficult, N."),
        Column("detections"),
        Column("counted", meaning="The surest detections, which the shares are of."),
        Column("shares", meaning="Sorted by the share of correct detections."),
        *(
            Column(kind.name, kind=kind.name, meaning="Per cent of the detections counted.")
            for kind in ERROR_TYPES
        ),
        *(Column(f"AP {kind.heading}", meaning=kind.label) for kind in AP_KINDS.values()),
    )
    rows = []
    for name, entry in detector["classes"].items():
        top = entry["top"]
        shares = tuple(shares_of(top))
        known = all(map(math.isfinite, shares))
        rows.append(
            (
                text(name),
                *(whole(number) for number in (entry["objects"], entry["detections"], top["n"])),
                Cell("", shares[0], shares=shares) if known else Cell(ABSENT, None, top["reason"]),
                *(reported(top, kind.name) for kind in ERROR_TYPES),
                *(reported(entry["ap"], kind) for kind in AP_KINDS),
            )
        )
    caption = "Shares and average precision in per cent."
    return Table(f"{detector['name']}: all numbers", columns, tuple(rows), caption, identifier=identifier)


def _side_by_side(detectors: Sequence[Json], title: str, group: str, key: str, kind: str) -> Table:
    names, two = [detector["name"] for detector in detectors], len(detectors) == 2
    columns = [Column("class", False), Column("objects"), *(Column(name, kind=kind) for name in names)]
    if two:
        columns.append(Column("difference", meaning=f"{names[1]} less {names[0]}, in points."))
    rows = []
    for name, first in detectors[0]["classes"].items():
        entries = [detector["classes"][name][group] for detector in detectors]
        cells = [text(name), whole(first["objects"]), *(reported(entry, key) for entry in entries)]
        if two:
            before, after = (entry[key] for entry in entries)
            cells.append(points(None if before is None or after is None else after - before))
        rows.append(tuple(cells))
    what = "of the detections counted" if group == "top" else "average precision"
    caption = f"Per cent {what}" + (", difference in points." if two else ".")
    return Table(
        f"side by side: {title}", tuple(columns), tuple(rows), caption, identifier=f"side-{group}-{key}"
    )
