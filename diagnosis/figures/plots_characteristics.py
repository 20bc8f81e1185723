"""Figures of which objects a detector finds, in the manner of Hoiem's."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from data.records import InputError
from diagnosis.characteristics import ASPECT_BINS, SIZE_BINS, BinScores, Characteristics, Sensitivity
from diagnosis.figures.legend import Entry
from diagnosis.figures.panels import Panel, page_of_panels
from diagnosis.figures.style import INK, QUIET, count, house_style, text_width, wrap
from diagnosis.similar import group_indices

__all__ = ["characteristic_by_class", "class_characteristics", "sensitivity_chart"]

DOT = "#33557a"  # of no error type: these numbers are of none
"""These figures are about objects that are found: they are in the colour of correct detections."""

OVERALL: dict[str, str | float] = {"color": INK, "linewidth": 1.0, "linestyle": "--"}
BIN = 0.34  # inches for a bin, at least
LOWEST = 8.0  # per cent from which a label has room below its dot
NOTE = (
    "Normalised AP compares bins of different numbers of objects, which are written below each. "
    "Bars: one standard error."
)
SIZES_NOTE = (
    " The smallest tenth of a class's own objects are XS, the next fifth S, the largest tenth XL, the fifth "
    "before it L, the others M."
)
ASPECTS_NOTE = " XT, T, M, W, XW: the same from tall to wide, by width / height."


def class_characteristics(
    result: Characteristics, label: str, names: Iterable[str] | None = None, *, name: str = ""
) -> Figure:
    """Normalised average precision of one class, by the bins of each characteristic.

    Parameters
    ----------
    result
        What :func:`diagnosis.characteristics.characteristics` found.
    label
        Name of the class.
    names
        Which characteristics; default: those that are known of any of its objects.
    name
        What the detector is called.

    Raises
    ------
    InputError
        An unknown class or characteristic.
    """
    row = int(group_indices(result.classes, [label])[0])
    tables = _tables(result, names)
    if names is None:
        tables = [table for table in tables if table.scores.objects[row].any()] or tables[:1]
    objects = int(result.overall.objects[row])
    panels = [Panel(_title(table.characteristic.name)) for table in tables]
    title = f"Which objects of class {label} are found"
    subtitle = f"N = {count(objects, 'object')}" + (f", {name}" if name else "")
    cells = [(table, row) for table in tables]
    return _page(result, cells, panels, title, subtitle, columns=3)


def characteristic_by_class(
    result: Characteristics, characteristic: str, members: Iterable[str] | None = None, *, name: str = ""
) -> Figure:
    """Normalised average precision by the bins of one characteristic, one chart a class.

    Parameters
    ----------
    result
        What :func:`diagnosis.characteristics.characteristics` found.
    characteristic
        Its name.
    members
        Names of the classes; default: those of which it is known.
    name
        What the detector is called.

    Raises
    ------
    InputError
        An unknown class or characteristic.
    """
    (table,) = _tables(result, [characteristic])
    rows = group_indices(result.classes, members)
    if members is None:
        rows = rows[table.scores.objects.any(axis=1)] if table.scores.objects.any() else rows[:1]
    panels = [
        Panel(result.classes[row], f"N = {count(int(result.overall.objects[row]), 'object')}") for row in rows
    ]
    title = f"Which objects are found, by {_title(characteristic)}"
    return _page(result, [(table, int(row)) for row in rows], panels, title, name, columns=5)


def _tables(result: Characteristics, names: Iterable[str] | None) -> list[BinScores]:
    known = {table.characteristic.name: table for table in result.tables}
    wanted = list(known if names is None else names)
    for one in wanted:
        if one not in known:
            raise InputError("characteristic", repr(one), f"one of {', '.join(known)}")
    return [known[one] for one in wanted]


def _title(name: str) -> str:
    """A column's name as words.

    Examples
    --------
    >>> _title("aspect_ratio"), _title("part.tail")
    ('aspect ratio', 'part: tail')
    """
    return name.replace("_", " ").replace(".", ": ")


def _page(
    result: Characteristics,
    cells: Sequence[tuple[BinScores, int]],
    panels: Sequence[Panel],
    title: str,
    subtitle: str,
    columns: int,
) -> Figure:
    """A chart for each table and class."""
    most = max((len(table.characteristic.bins) for table, _ in cells), default=1)
    longest = max(
        (text_width(name, 7.0) for table, _ in cells for name in table.characteristic.bins), default=0.0
    )
    shown = {table.characteristic.bins for table, _ in cells}
    note = NOTE + SIZES_NOTE * bool(shown & {SIZE_BINS, ASPECT_BINS}) + ASPECTS_NOTE * (ASPECT_BINS in shown)
    wide = max(1.7, most * max(BIN, min(longest, 0.9) + 0.1))
    keys = [
        Entry("objects of a bin", line={"color": DOT, "marker": "o", "markersize": 4.0, "linewidth": 1.2}),
        Entry("all objects of the class", line=OVERALL),
    ]
    with house_style():
        figure, charts = page_of_panels(
            panels,
            (wide, 1.35),
            title=title,
            subtitle=subtitle,
            keys=keys,
            note=note,
            columns=max(1, min(columns, int(11 / (wide + 0.8)))),
            below=0.56,
        )
        for axes, (table, row) in zip(charts, cells, strict=True):
            _bins(axes, table, row, float(result.overall.apn[row]))
    return figure


def _bins(axes: Axes, table: BinScores, row: int, overall: float) -> None:
    """Dots with error bars by bin, in per cent, and a line for all objects of the class."""
    names, objects = table.characteristic.bins, table.scores.objects[row]
    names = ("no", "yes") if names == ("0", "1") else names
    apn, error = 100 * table.scores.apn[row], 100 * table.scores.apn_stderr[row]
    places = np.arange(len(names))
    labels = [
        f"{wrap(name, 0.9, 7.0, lines=1)[0]}\n{number:,}"
        for name, number in zip(names, objects.tolist(), strict=True)
    ]
    axes.set_xticks(places, labels)
    axes.set(xlim=(-0.6, max(len(names), 1) - 0.4), ylim=(0, 105), yticks=[0, 25, 50, 75, 100])
    axes.set_ylabel("normalised AP (%)", labelpad=2)
    if not np.isnan(overall):
        axes.axhline(100 * overall, **OVERALL)  # type: ignore[arg-type]
        axes.annotate(
            f"{100 * overall:.0f}",
            (1, 100 * overall),
            xycoords=("axes fraction", "data"),
            xytext=(2, 0),
            textcoords="offset points",
            size=7,
            color=INK,
            va="center",
        )
    known = objects > 0
    axes.errorbar(
        places[known],
        apn[known],
        yerr=error[known],
        color=DOT,
        marker="o",
        markersize=4,
        linewidth=1.2 if table.characteristic.ordered else 0.0,
        elinewidth=1.0,
        capsize=2,
        clip_on=False,
        zorder=3,
    )
    if not known.any():
        axes.text(
            0.5, 0.5, "no objects", size=8, color=QUIET, ha="center", va="center", transform=axes.transAxes
        )


def sensitivity_chart(summary: Sequence[Sensitivity], *, name: str = "") -> Figure:
    """How far apart the worst and the best bin of each characteristic lie, averaged over classes.

    Parameters
    ----------
    summary
        What :func:`diagnosis.characteristics.sensitivity` found.
    name
        What the detector is called.
    """
    places = np.arange(len(summary))
    look: dict[str, str | float] = {"color": DOT, "marker": "o", "markersize": 5.0, "linewidth": 1.6}
    keys = [Entry("lowest to highest bin", line=look), Entry("all objects", line=OVERALL)]
    panel = Panel("", "")
    labels = [
        [*wrap(_title(one.name), 0.9, 7.0, lines=2), count(len(one.classes), "class", "classes")]
        for one in summary
    ]
    deepest = max(map(len, labels), default=1)
    with house_style():
        figure, (axes,) = page_of_panels(
            [panel],
            (max(4.6, 0.95 * len(summary)), 2.4),
            title="What the detector is sensitive to",
            subtitle=name,
            keys=keys,
            note="Normalised AP of the bin in which it is lowest and highest, averaged over classes. Only "
            "bins of at least 5 objects count. Sensitivity: the length of the line. Impact: from the dashed "
            "line to the highest.",
            below=0.3 + 0.13 * deepest,
        )
        axes.set_xticks(places, ["\n".join(lines) for lines in labels])
        axes.set(xlim=(-0.6, max(len(summary), 1) - 0.4), ylim=(0, 105), yticks=[0, 25, 50, 75, 100])
        axes.set_ylabel("normalised AP (%)", labelpad=2)
        for place, one in zip(places.tolist(), summary, strict=True):
            if one.classes:
                _span(axes, place, one, look)
            else:
                axes.text(place, 50, "not\nknown", size=7, color=QUIET, ha="center", va="center")
    return figure


def _span(axes: Axes, place: int, one: Sensitivity, look: dict[str, str | float]) -> None:
    low, middle, high = (100 * value for value in (one.lowest, one.overall, one.highest))
    axes.plot([place - 0.28, place + 0.28], [middle, middle], **OVERALL)  # type: ignore[arg-type]
    axes.plot([place, place], [low, high], zorder=3, **look)  # type: ignore[arg-type]
    labels: list[tuple[float, tuple[int, int], str, str]] = [(high, (0, 4), "center", "bottom")]
    if low > LOWEST:
        labels.append((low, (0, -4), "center", "top"))
    elif high > 2 * LOWEST:  # below, the label would stand on the axis
        labels.append((low, (5, 1), "left", "bottom"))
    for value, offset, across, align in labels:
        axes.annotate(
            f"{value:.1f}",
            (place, value),
            xytext=offset,
            textcoords="offset points",
            size=7,
            color=INK,
            ha=across,
            va=align,
        )
