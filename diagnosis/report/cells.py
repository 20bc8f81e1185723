"""Numbers as the page prints them, and tables of them that can be sorted."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from diagnosis.report.content import PageTable

__all__ = ["Cell", "Column", "Table", "fraction", "from_page_table", "points", "share", "text", "whole"]

NONE = "–"


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
        Said on top of it: why there is no number.
    shares
        If given: drawn as a stacked bar, in the order of the error types, in the place of the text.
    """

    text: str
    key: float | str | None
    note: str = ""
    shares: tuple[float, ...] = ()


@dataclass(frozen=True)
class Column:
    """A heading, whether its column holds numbers, what it means, and the error type it tells of, if any."""

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
    return Cell(NONE, None, note) if value is None else Cell(f"{value:,}", value)


def share(value: float | None, note: str = "") -> Cell:
    """A fraction, in per cent with one decimal; what exists never reads 0.0.

    Examples
    --------
    >>> [share(value).text for value in (0.6987, 0.0, 0.0002, None)]
    ['69.9', '0.0', '<0.1', '–']
    """
    if value is None or math.isnan(value):
        return Cell(NONE, None, note)
    return Cell("<0.1" if 0 < value < 0.0005 else f"{100 * value:.1f}", value)


def fraction(entry: Mapping[str, Any], name: str) -> Cell:
    """A fraction of ``diagnosis.json``, whose absence has a reason beside it."""
    return share(entry.get(name), str(entry.get("reason", "")))


def points(value: float | None, note: str = "") -> Cell:
    """A difference of fractions, in points with its sign.

    Examples
    --------
    >>> [points(value).text for value in (0.142, -0.0021, 0.0, -0.00001)]
    ['+14.2', '−0.2', '0.0', '0.0']
    """
    if value is None or math.isnan(value):
        return Cell(NONE, None, note)
    rounded = round(100 * value, 1)
    return Cell(f"{rounded:+.1f}".replace("-", "−") if rounded else "0.0", value)


def from_page_table(table: PageTable) -> Table:
    """A table of the caller's, with its numbers printed."""
    numeric = [
        all(row[place] is None or isinstance(row[place], int | float) for row in table.rows)
        for place in range(len(table.columns))
    ]
    numeric[:1] = [False] * len(numeric[:1])
    rows = tuple(tuple(_cell(value, table.decimals) for value in row) for row in table.rows)
    columns = tuple(Column(name, number) for name, number in zip(table.columns, numeric, strict=True))
    return Table(table.title, columns, rows, table.caption)


def _cell(value: str | int | float | None, decimals: int) -> Cell:
    if value is None or isinstance(value, str):
        return Cell(NONE, None) if value is None else text(value)
    if isinstance(value, int):
        return whole(value)
    if not math.isfinite(value):
        return Cell(NONE, None)
    return Cell(f"{value:,.{decimals}f}".replace("-", "−"), value)
