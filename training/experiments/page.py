"""A page of charts: a title, equal panels, a legend whose marks are those of the charts, and notes."""

from __future__ import annotations

import math
from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from diagnosis.figures.legend import LegendEntry, draw_legend_entries, legend_rows
from diagnosis.figures.style import (
    LINE_INCHES,
    MARGIN_INCHES,
    TEXT_COLOUR,
    TEXT_POINTS,
    blank_axes,
    chart_axes,
    draw_text,
    new_figure,
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
    entries: Sequence[LegendEntry],
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
    keys = legend_rows(entries, width)
    noted = wrap(" ".join(notes), 0.97 * width, TEXT_POINTS) if notes else []
    top = MARGIN_INCHES + TITLE * len(titled) + 0.06
    foot = LINE_INCHES * (len(keys) + len(noted)) + 0.12
    figure = new_figure(width + 2 * MARGIN_INCHES, top + rows * cell_high + foot + MARGIN_INCHES)
    banner = blank_axes(figure, MARGIN_INCHES, MARGIN_INCHES, width, TITLE * len(titled))
    for line, words in enumerate(titled):
        draw_text(banner, 0, TITLE * (line + 0.4), words, 11, TEXT_COLOUR, weight="bold")
    charts = []
    for position, name in enumerate(names):
        x = MARGIN_INCHES + (position % columns) * cell_wide + left
        y = top + (position // columns) * cell_high
        if name:
            label = blank_axes(figure, x, y, wide, head)
            draw_text(label, 0, head - 0.12, name, 9, TEXT_COLOUR, weight="bold")
        charts.append(chart_axes(figure, x, y + head, wide, high, ticks=TICKS))
    base = top + rows * cell_high + 0.02
    draw_legend_entries(blank_axes(figure, MARGIN_INCHES, base, width, LINE_INCHES * max(len(keys), 1)), keys)
    text = blank_axes(
        figure, MARGIN_INCHES, base + LINE_INCHES * len(keys) + 0.08, width, LINE_INCHES * max(len(noted), 1)
    )
    for line, words in enumerate(noted):
        draw_text(text, 0, LINE_INCHES * (line + 0.5), words, TEXT_POINTS)
    return figure, charts
