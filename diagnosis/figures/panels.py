"""Small multiples: a page of equal charts under one title, measured in inches."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from diagnosis.figures.legend import LegendEntry, draw_keys, key_rows
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

__all__ = ["Panel", "page_of_panels"]

SMALL = 7.0  # points: ticks
TITLE, UNDER = 0.34, 0.16  # inches for a panel's title and for the line below it
LEFT, BELOW, GAP = 0.52, 0.5, 0.28  # inches around a panel for its axes


@dataclass(frozen=True)
class Panel:
    """One chart: its title, and what stands below the title in small letters."""

    title: str
    note: str = ""


def page_of_panels(
    panels: Sequence[Panel],
    size: tuple[float, float],
    *,
    title: str,
    subtitle: str = "",
    keys: Sequence[LegendEntry] = (),
    note: str = "",
    columns: int = 4,
    left: float = LEFT,
    below: float = BELOW,
) -> tuple[Figure, list[Axes]]:
    """A figure with empty charts in rows, a title above, the legend and a note below.

    Parameters
    ----------
    panels
        What the charts show, row by row.
    size
        Width and height of a chart's frame in inches.
    title, subtitle
        What the page shows, and of which detector.
    keys
        The legend.
    note
        What else the reader must know, in whole sentences.
    columns
        Charts in a row, at most.
    left, below
        Inches for the ticks and labels of a chart.
    """
    wide, high = size
    columns = max(1, min(columns, len(panels)))
    rows = math.ceil(len(panels) / columns)
    titled = TITLE if any(panel.title for panel in panels) else 0.1
    over = titled + (UNDER if any(panel.note for panel in panels) else 0.0)
    cell_wide, cell_high = left + wide + GAP, over + high + below
    width = max(columns * cell_wide, 5.4)
    rows_of_keys = key_rows(keys, width)
    noted = wrap(note, 0.95 * width, TEXT) if note else []  # text is drawn wider in few dots an inch
    head = 0.34 + (LINE + 0.04 if subtitle else 0.0)
    foot = LINE * (len(rows_of_keys) + len(noted)) + 0.16
    figure = new_figure(width + 2 * MARGIN, head + rows * cell_high + foot + 2 * MARGIN)
    banner = blank_axes(figure, MARGIN, MARGIN, width, head)
    put_text(banner, 0, 0.1, wrap(title, width, 11, lines=1, weight="bold")[0], 11, INK, weight="bold")
    if subtitle:
        put_text(banner, 0, 0.38, wrap(subtitle, width, 9, lines=1)[0], 9)
    charts = []
    for position, panel in enumerate(panels):
        x = MARGIN + (position % columns) * cell_wide
        y = MARGIN + head + (position // columns) * cell_high
        label = blank_axes(figure, x + left, y, wide, over)
        heading = wrap(panel.title, wide + GAP, 9, lines=1, weight="bold")[0]
        put_text(label, 0, 0.18, heading, 9, INK, weight="bold")
        put_text(label, 0, TITLE + 0.02, wrap(panel.note, wide + GAP, SMALL, lines=1)[0], SMALL)
        charts.append(chart_axes(figure, x + left, y + over, wide, high, ticks=SMALL))
    base = MARGIN + head + rows * cell_high + 0.1
    draw_keys(blank_axes(figure, MARGIN, base, width, LINE * max(len(rows_of_keys), 1)), rows_of_keys)
    text = blank_axes(
        figure, MARGIN, base + 0.06 + LINE * len(rows_of_keys), width, LINE * max(len(noted), 1)
    )
    for line, words in enumerate(noted):
        put_text(text, 0, LINE * (line + 0.5), words, TEXT)
    return figure, charts
