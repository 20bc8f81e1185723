"""What a diagnosis or a comparison shows of itself in a notebook: verdict, bars of the shares, a table."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from diagnosis.breakdown import ERROR_TYPES
from diagnosis.verdict import percent

__all__ = ["Row", "card"]

MOST_CLASSES = 30
"""Rows of the table; the page of a report has all classes."""
LINE = "1px solid rgba(127,127,127,.35)"
"""Seen on white and on black: the text and its background are the notebook's own."""


class Row(NamedTuple):
    """A detector, or one of its classes; fractions."""

    name: str
    shares: NDArray[np.float64]
    """``(E,)`` in the order of :data:`diagnosis.breakdown.ERROR_TYPES`; NaN where nothing is counted."""
    ap50: float
    ap: float
    """COCO's, over IoU 0.5 to 0.95; NaN where it was not computed."""
    objects: int | None = None


def card(verdict: str, detectors: Sequence[Row], classes: Sequence[Row] = ()) -> str:
    """HTML of a few kilobytes that needs nothing else: no style sheet, no script, no network.

    Parameters
    ----------
    verdict
        A sentence or two.
    detectors
        A bar and a row for each.
    classes
        Further rows, of one detector's classes, the lowest AP50 first.

    Examples
    --------
    >>> "50.0" in card("Good.", [Row("a", np.array([0.5, 0.5, 0, 0, 0]), 0.4, 0.2)])
    True
    """
    chips = " &ensp; ".join(
        f'<span style="border-left:.8em solid {kind.colour};padding-left:.35em">{escape(kind.label)}</span>'
        for kind in ERROR_TYPES
    )
    ordered = sorted(classes, key=lambda row: np.nan_to_num(row.ap50, nan=2.0))
    rows = [*detectors, *ordered[:MOST_CLASSES]]
    headings = [
        "",
        *(["objects"] if classes else []),
        *(error_type.label for error_type in ERROR_TYPES),
        "AP50",
        "AP50:95",
    ]
    left = len(ordered) - MOST_CLASSES
    more = f"<p>{left:,} more classes with a higher AP50 are not shown.</p>" if left > 0 else ""
    return "".join(
        [
            '<div style="max-width:60em;line-height:1.4">',
            f"<p><b>{escape(verdict)}</b></p>",
            *(_bar(row) for row in detectors),
            f'<p style="font-size:85%;margin:.4em 0">{chips}</p>',
            '<table style="border-collapse:collapse;font-size:85%;color:inherit"><thead>',
            _table_row(headings, "th"),
            "</thead><tbody>",
            *(_table_row(_cells(row, bool(classes)), "td", number == 0) for number, row in enumerate(rows)),
            "</tbody></table>",
            f'<p style="font-size:85%">Per cent of the top detections of each class; class means.</p>'
            f"{more}</div>",
        ]
    )


def _bar(row: Row) -> str:
    words = [
        f"{error_type.label} {percent(share)} %"
        for error_type, share in zip(ERROR_TYPES, row.shares, strict=True)
    ]
    parts = "".join(
        f'<span title="{escape(text)}" style="width:{100 * share:.2f}%;background:{kind.colour}"></span>'
        for kind, share, text in zip(ERROR_TYPES, np.nan_to_num(row.shares), words, strict=True)
        if share > 0
    )
    label = escape(f"{row.name}: {', '.join(words)}", quote=True)
    return (
        f'<div style="display:flex;gap:.8em;align-items:center"><span style="width:9em;overflow:hidden;'
        f'text-overflow:ellipsis;white-space:nowrap">{escape(row.name)}</span><div role="img" '
        f'aria-label="{label}" style="display:flex;flex:1;height:1.1em;border:{LINE}">{parts}</div></div>'
    )


def _cells(row: Row, objects: bool) -> list[str]:
    counted = [f"{row.objects:,}" if row.objects is not None else ""] if objects else []
    return [row.name, *counted, *map(percent, (*row.shares.tolist(), row.ap50, row.ap))]


def _table_row(cells: Sequence[str], tag: str, bold: bool = False) -> str:
    weight = "font-weight:bold;" if bold else ""
    return (
        "<tr>"
        + "".join(
            f'<{tag} style="{weight}border-bottom:{LINE};padding:.15em .6em;'
            f'text-align:{"right" if place else "left"}">{escape(cell)}</{tag}>'
            for place, cell in enumerate(cells)
        )
        + "</tr>"
    )
