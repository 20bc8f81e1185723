"""Which objects a detector finds, in the manner of Hoiem's figures."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from data.records import InputError
from diagnosis.characteristics import ASPECT_BINS, SIZE_BINS, BinScores, Sensitivity
from diagnosis.figures.layout import LegendEntry, new_page
from diagnosis.figures.style import (
    MAX_CLASSES,
    MUTED_COLOUR,
    SMALL_POINTS,
    TEXT_COLOUR,
    columns_of_panels,
    for_paper,
    frame_lightly,
    most_frequent,
    most_rows,
    panel_grid,
    shorten,
    styled,
    text_width,
    title_panel,
    wrap,
    write_beside,
    write_in_middle,
)
from diagnosis.record import Diagnosis
from diagnosis.words import count

__all__ = ["sensitivity", "size"]

PANEL_HEIGHT_INCHES, PAPER_PANEL_HEIGHT_INCHES = 2.3, 1.75
DOT_COLOUR = "#33557a"
"""Of no error type: these numbers are of none."""
OVERALL_LINE: dict[str, Any] = {"color": TEXT_COLOUR, "linewidth": 1.0, "linestyle": "--"}
MIN_LABEL_PERCENT = 8.0
"""From there on a label has room below its dot."""
NOTE = (
    "APn compares bins of different numbers of objects, which are written below each. "
    "Bars: one standard error."
)
SIZES_NOTE = (
    " The smallest tenth of a class's own objects are XS, the next fifth S, the largest tenth XL, the fifth "
    "before it L, the others M."
)
ASPECTS_NOTE = " XT, T, M, W, XW: the same from tall to wide, by width / height."


@styled
def size(diagnosis: Diagnosis, characteristic: str = "area") -> Figure:
    """Normalised average precision by the bins of a characteristic, a chart for each class of known ones.

    Raises
    ------
    InputError
        An unknown characteristic.
    """
    result = diagnosis.characteristics
    tables = {table.characteristic.name: table for table in result.tables}
    if characteristic not in tables:
        raise InputError("characteristic", repr(characteristic), f"one of {', '.join(tables)}")
    table = tables[characteristic]
    bins = table.characteristic.bins
    present = np.flatnonzero(table.scores.objects.any(axis=1))
    numbers = [f"{number:,}" for number in table.scores.objects.ravel().tolist()]
    longest = max((text_width(name, SMALL_POINTS) for name in [*bins, *numbers]), default=0.0)
    wide = 0.75 + max(1.7, len(bins) * max(0.34, min(longest, 0.9) + 0.1))
    high = PANEL_HEIGHT_INCHES
    if for_paper():
        high = PAPER_PANEL_HEIGHT_INCHES
        wide = 0.35 + len(bins) * (min(longest, 0.9) + 0.06)
    in_a_row = 6 if for_paper() else 5
    most = columns_of_panels(wide, MAX_CLASSES, in_a_row)
    most *= most_rows(high, wide * most, 1.0)
    chosen, cut = most_frequent(result.overall.objects[present], min(most, MAX_CLASSES))
    labels = present[chosen].tolist() or list(range(len(result.classes)))[:1]
    columns = columns_of_panels(wide, len(labels), min(in_a_row, int(11 / wide)))
    rows = max(1, math.ceil(len(labels) / columns))
    legend: list[LegendEntry] = [
        ("objects of a bin", Line2D([], [], color=DOT_COLOUR, marker="o", markersize=4, linewidth=1.2)),
        ("all objects of the class", Line2D([], [], **OVERALL_LINE)),
    ]
    note = NOTE + SIZES_NOTE * (bins in (SIZE_BINS, ASPECT_BINS)) + ASPECTS_NOTE * (bins == ASPECT_BINS) + cut
    title = f"Which objects are found, by {_words(characteristic)}"
    figure = new_page(
        wide * columns,
        high * rows,
        title=title,
        names=[diagnosis.name],
        legend=legend,
        note=note,
    )
    charts = panel_grid(figure, len(labels), columns)
    for place, (axes, label) in enumerate(zip(charts, labels, strict=True)):
        objects = count(int(result.overall.objects[label]), "object")
        title_panel(axes, result.classes[label], f"N = {objects}", width=wide - 0.3)
        _draw_bins(axes, table, label, 100 * float(result.overall.apn[label]))
        if place % columns:
            axes.tick_params(labelleft=False)
        else:
            axes.set_ylabel("APn, %", labelpad=2)
        if place + columns >= len(labels):
            axes.set_xlabel(f"{_words(characteristic)}; objects", labelpad=2)
    return figure


def _words(name: str) -> str:
    """A column's name as words.

    Examples
    --------
    >>> _words("aspect_ratio"), _words("part.tail")
    ('aspect ratio', 'part: tail')
    """
    return name.replace("_", " ").replace(".", ": ")


def _draw_bins(axes: Axes, table: BinScores, label: int, overall: float) -> None:
    """Dots with error bars by bin, in per cent, and a line for all objects of the class."""
    names, objects = table.characteristic.bins, table.scores.objects[label]
    names = ("no", "yes") if names == ("0", "1") else names
    frame_lightly(axes)
    axes.set_xticks(
        range(len(names)),
        [f"{shorten(name, 0.9, SMALL_POINTS)}\n{n:,}" for name, n in zip(names, objects, strict=True)],
    )
    axes.set(xlim=(-0.6, max(len(names), 1) - 0.4), ylim=(0, 105), yticks=[0, 25, 50, 75, 100])
    if not math.isnan(overall):
        axes.axhline(overall, **OVERALL_LINE)
        write_beside(axes, overall, f"{overall:.0f}", 2)
    known = np.flatnonzero(objects)
    if not len(known):
        write_in_middle(axes, "no objects")
        return
    axes.errorbar(
        known, 100 * table.scores.apn[label, known], 100 * table.scores.apn_stderr[label, known],
        color=DOT_COLOUR, marker="o", markersize=4, elinewidth=1.0, capsize=2, clip_on=False, zorder=3,
        linewidth=1.2 if table.characteristic.ordered else 0.0,
    )  # fmt: skip


@styled
def sensitivity(diagnosis: Diagnosis) -> Figure:
    """How far apart the worst and the best bin of each characteristic lie, averaged over classes."""
    summary = diagnosis.sensitivity
    span: dict[str, Any] = {"color": DOT_COLOUR, "marker": "o", "markersize": 5.0, "linewidth": 1.6}
    figure = new_page(
        max(5.2, 0.95 * len(summary) + 0.6), 3.3,
        title="What the detector is sensitive to", names=[diagnosis.name],
        legend=[
            ("lowest to highest bin", Line2D([], [], **span)),
            ("all objects", Line2D([], [], **OVERALL_LINE)),
        ],
        note="APn of the bin in which it is lowest and highest, class mean. Only bins "
        "of at least 5 objects count. Sensitivity: the length of the line. Impact: from the dashed line to "
        "the highest.",
    )  # fmt: skip
    axes = figure.subplots()
    frame_lightly(axes)
    labels = [
        [*wrap(_words(one.name), 0.9, SMALL_POINTS, lines=2), count(len(one.classes), "class", "classes")]
        for one in summary
    ]
    axes.set_xticks(range(len(summary)), ["\n".join(lines) for lines in labels])
    axes.set(xlim=(-0.6, max(len(summary), 1) - 0.4), ylim=(0, 105), yticks=[0, 25, 50, 75, 100])
    axes.set_ylabel("APn, %", labelpad=2)
    for place, one in enumerate(summary):
        if one.classes:
            _draw_span(axes, place, one, span)
        else:
            axes.text(place, 50, "not\nknown", size=7, color=MUTED_COLOUR, ha="center", va="center")
    return figure


def _draw_span(axes: Axes, place: int, one: Sensitivity, span: dict[str, Any]) -> None:
    low, middle, high = (100 * value for value in (one.lowest, one.overall, one.highest))
    axes.plot([place - 0.28, place + 0.28], [middle, middle], **OVERALL_LINE)
    axes.plot([place, place], [low, high], zorder=3, **span)
    labels = [(high, (0, 4), "center", "bottom")]
    if low > MIN_LABEL_PERCENT:
        labels.append((low, (0, -4), "center", "top"))
    elif high > 2 * MIN_LABEL_PERCENT:  # below the dot, the label would lie on the axis
        labels.append((low, (5, 1), "left", "bottom"))
    for value, offset, across, along in labels:
        axes.annotate(
            f"{value:.1f}", (place, value), xytext=offset, textcoords="offset points", size=SMALL_POINTS,
            color=TEXT_COLOUR, ha=across, va=along,
        )  # fmt: skip
