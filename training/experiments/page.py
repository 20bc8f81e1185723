"""A page of charts: a title, equal panels, a legend whose marks are those of the charts, and notes."""

from __future__ import annotations

import math
from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from diagnosis.figures.legend import Entry, draw_keys, key_rows
from diagnosis.figures.style import (
    INK,
    LINE,
    MARGIN,
    TEXT,
    blank_axes,
    chart_axes,
    new_figure,
    put_text,
    wrap,
)

__all__ = ["make_page"]

TICKS = 8.0  # points
TITLE = 0.24  # inches: a line of the title
HEAD = 0.3  # inches above a panel, for its name
LEFT, BELOW, GAP = 0.6, 0.52, 0.25  # inches around a panel for its axes


def make_page(
    names: Sequence[str],
    size: tuple[float, float],
    *,
    title: str,
    entries: Sequence[Entry],
    notes: Sequence[str],
    columns: int = 2,
    left: float = LEFT,
    right: float = GAP,
    below: float = BELOW,
) -> tuple[Figure, list[Axes]]:
    """A figure with empty panels.

    Parameters
    ----------
    names
        Of the panels, row by row; "" for one without.
    size
        Width and height of a panel's frame in inches.
    title
        What the page shows.
    entries
        The legend.
    notes
        Whole sentences.
    columns
        Panels in a row, at most.
    left
        Inches for the ticks and the label beside a panel.
    right
        Inches on its other side.
    below
        Inches for the ticks and the label below it.
    """
    wide, high = size
    columns = min(columns, len(names))
    rows = math.ceil(len(names) / columns)
    head = HEAD if any(names) else 0.1
    cell_wide, cell_high = left + wide + right, head + high + below
    width = columns * cell_wide
    titled = wrap(title, width, 11, weight="bold")
    keys = key_rows(entries, width)
    noted = wrap(" ".join(notes), 0.97 * width, TEXT) if notes else []
    top = MARGIN + TITLE * len(titled) + 0.06
    foot = LINE * (len(keys) + len(noted)) + 0.12
    figure = new_figure(width + 2 * MARGIN, top + rows * cell_high + foot + MARGIN)
    banner = blank_axes(figure, MARGIN, MARGIN, width, TITLE * len(titled))
    for line, words in enumerate(titled):
        put_text(banner, 0, TITLE * (line + 0.4), words, 11, INK, weight="bold")
    charts = []
    for position, name in enumerate(names):
        x = MARGIN + (position % columns) * cell_wide + left
        y = top + (position // columns) * cell_high
        if name:
            label = blank_axes(figure, x, y, wide, head)
            put_text(label, 0, head - 0.12, name, 9, INK, weight="bold")
        charts.append(chart_axes(figure, x, y + head, wide, high, ticks=TICKS))
    base = top + rows * cell_high + 0.02
    draw_keys(blank_axes(figure, MARGIN, base, width, LINE * max(len(keys), 1)), keys)
    text = blank_axes(figure, MARGIN, base + LINE * len(keys) + 0.08, width, LINE * max(len(noted), 1))
    for line, words in enumerate(noted):
        put_text(text, 0, LINE * (line + 0.5), words, TEXT)
    return figure, charts
