"""A comparison of detectors: numbers and differences with intervals, and what became of each object."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import PathPatch, Rectangle
from matplotlib.path import Path as Outline
from matplotlib.ticker import FuncFormatter, MaxNLocator
from numpy.typing import NDArray

from data.records import InputError
from diagnosis.breakdown import ERROR_TYPES
from diagnosis.compare import Comparison, p_value, quantity_name
from diagnosis.fates import FATES
from diagnosis.figures.breakdown import MARKERS
from diagnosis.figures.layout import Explained, LegendEntry, new_page
from diagnosis.figures.style import (
    DETECTOR_LETTERS,
    MAX_CLASSES,
    MUTED_COLOUR,
    SMALL_POINTS,
    TEXT_COLOUR,
    draw_text,
    for_paper,
    frame_lightly,
    label_rows,
    most_rows,
    percent_text,
    shorten,
    spread,
    styled,
    text_width,
    write_beside,
    write_in_middle,
)
from diagnosis.flow import Counted
from diagnosis.flow import flow as flow_of
from diagnosis.record import Diagnosis
from diagnosis.verdict import ENOUGH_OBJECTS, percent
from diagnosis.words import count

__all__ = ["class_differences", "differences", "flow", "intervals"]

SHARE_COLOURS = {f"share/{error_type.name}": error_type.colour for error_type in ERROR_TYPES}
CHART_INCHES, ROW_INCHES, GAP_INCHES = 4.2, 0.19, 0.12
"""Width of the axis; height of a row, and of the gap between two quantities."""
CAUTION_COLOUR = "#9a9a9a"
"""Of a class that has too few objects for a test."""
PAIRED = "Paired over the images; filled where the interval leaves zero out."


class Number(NamedTuple):
    """A number with its interval, in per cent (NaN where there is none), and its texts."""

    value: float
    low: float
    high: float
    text: str
    filled: bool = True
    p: str = ""


@styled
def intervals(comparison: Comparison) -> Figure:
    """Mean share of each error type and mean average precision of each detector, with intervals.

    Raises
    ------
    InputError
        More detectors than there are letters for.
    """
    _check(comparison, 1)
    detectors = range(len(comparison.names))
    rows = {}
    for quantity in _shown(comparison):
        found = [comparison.estimate(quantity, detector) for detector in detectors]
        rows[quantity_name(quantity)] = (
            SHARE_COLOURS.get(quantity, TEXT_COLOUR),
            [_number(one.value, one.low, one.high) for one in found],
        )
    note = f"Shares of the top detections and AP, class means. {_resamples(comparison)}"
    return _forest("Shares and AP with intervals", comparison, detectors, rows, (0.0, 100.0), "%", note)


@styled
def differences(comparison: Comparison) -> Figure:
    """How the further detectors differ from the first in each mean share and average precision.

    Raises
    ------
    InputError
        A single detector, or more than there are letters for.
    """
    _check(comparison, 2)
    rows = {quantity_name(quantity): _gaps(comparison, quantity) for quantity in _shown(comparison)}
    note = f"Averaged over the classes in which both have a number. {PAIRED} {_resamples(comparison)}"
    return _differences("", comparison, rows, note)


@styled
def class_differences(comparison: Comparison, quantity: str = "share/localization") -> Figure:
    """How the further detectors differ from the first in one quantity, class by class.

    Raises
    ------
    InputError
        A single detector, more than there are letters for, or a quantity that is unknown or not by class.
    """
    _check(comparison, 2)
    if quantity not in comparison.by_class:
        raise InputError("quantity", repr(quantity), f"one of {', '.join(sorted(comparison.by_class))}")
    rows = {"class mean": _gaps(comparison, quantity)}
    gaps = np.abs(comparison.values[quantity][1:] - comparison.values[quantity][0])  # (D - 1, C)
    few = comparison.objects < ENOUGH_OBJECTS
    order = np.lexsort([-np.nan_to_num(gaps).max(axis=0), few])
    most = min(MAX_CLASSES, most_rows(_row_inches(len(gaps)), CHART_INCHES + 2.7, 1.7))
    for label in sorted(order[:most].tolist()):
        colour, numbers = _gaps(comparison, quantity, label)
        if few[label]:  # pale, without a p-value
            colour, numbers = CAUTION_COLOUR, [number._replace(p="") for number in numbers]
        rows[comparison.classes[label]] = colour, numbers
    note = f"{PAIRED} {_resamples(comparison)}"
    pale = Line2D([], [], color=CAUTION_COLOUR, marker="o", markerfacecolor="white", linewidth=1.6)
    untested = few[order[:most]].any()
    legend = [(f"fewer than {ENOUGH_OBJECTS} objects: no test", pale)] if untested else []
    if len(order) > most:
        note += f" Shown are the {most} of {len(order)} classes that differ most"
        note += f", those of at least {ENOUGH_OBJECTS} objects first." if few.any() else "."
    return _differences(quantity_name(quantity), comparison, rows, note, legend)


Rows = dict[str, tuple[str, list[Number]]]
"""By its name the colour of a quantity and its number of each detector."""


def _check(comparison: Comparison, least: int) -> None:
    detectors = len(comparison.names)
    if not least <= detectors <= len(DETECTOR_LETTERS):
        wanted = f"{least} to {len(DETECTOR_LETTERS)} to draw"
        raise InputError("comparison", count(detectors, "detector"), wanted)


def _shown(comparison: Comparison) -> list[str]:
    return [quantity for quantity in comparison.quantities if quantity.split("/")[0] in ("share", "map")]


def _resamples(comparison: Comparison) -> str:
    return (
        f"Lines: {100 * comparison.level:g}% intervals of {comparison.replicates:,} resamples "
        f"of N = {count(comparison.images, 'image')}."
    )


def _gaps(comparison: Comparison, quantity: str, label: int | None = None) -> tuple[str, list[Number]]:
    numbers = []
    for other in range(1, len(comparison.names)):
        gap = comparison.difference(quantity, 0, other, label)
        p = "" if math.isnan(gap.p) else f"p {p_value(gap.p, comparison.replicates - gap.undefined)}"
        numbers.append(_number(gap.difference, gap.low, gap.high, True, gap.differs, p))
    return SHARE_COLOURS.get(quantity, TEXT_COLOUR), numbers


def _number(
    value: float, low: float, high: float, sign: bool = False, filled: bool = True, p: str = ""
) -> Number:
    text = "–" if math.isnan(value) else percent(value, sign=sign)
    if not math.isnan(value) and not math.isnan(low):
        text += f"  [{percent(low)}, {percent(high)}]"
    return Number(100 * value, 100 * low, 100 * high, text, filled, p)


def _differences(
    quantity: str, comparison: Comparison, rows: Rows, note: str, legend: Sequence[LegendEntry] = ()
) -> Figure:
    """Of one quantity, or of those that the rows name."""
    ends = [abs(end) for _, numbers in rows.values() for number in numbers for end in number[:3]]
    most = 1.08 * max((end for end in ends if math.isfinite(end)), default=0.0) or 1.0
    title = f"Difference from {comparison.names[0]}" + (f": {quantity}" if quantity else "")
    if not any(math.isfinite(end) for end in ends):
        figure = new_page(CHART_INCHES + 2.5, 0.6, title=title, note=note)
        axes = figure.subplots()
        axes.set_axis_off()
        write_in_middle(axes, "Nothing to compare: there is no class in which both have a number.")
        return figure
    axis = f"difference in {quantity}, points" if quantity else "difference, points"
    detectors = range(1, len(comparison.names))
    return _forest(title, comparison, detectors, rows, (-most, most), axis, note, legend)


def _row_inches(detectors: int) -> float:
    """Height of the rows of a quantity and the gap below them: lower on paper."""
    return (ROW_INCHES * detectors + GAP_INCHES) * (0.83 if for_paper() else 1.0)


def _forest(
    title: str,
    comparison: Comparison,
    detectors: range,
    rows: Rows,
    limits: tuple[float, float],
    axis: str,
    note: str,
    legend: Sequence[LegendEntry] = (),
) -> Figure:
    """A dot with its interval for each quantity and detector; names at the left, numbers at the right."""
    numbers = [number for _, found in rows.values() for number in found]
    names = [shorten(name, 2.2, 8) for name in rows]
    beside = 0.25 + max((text_width(number.text, SMALL_POINTS) for number in numbers), default=0.0)
    p_width = max((text_width(number.p, SMALL_POINTS) for number in numbers), default=0.0)
    left = 0.3 + max((text_width(name, 8) for name in names), default=0.0)
    row_inches = _row_inches(len(detectors))
    mark: dict[str, Any] = {"markersize": 5.5, "markeredgewidth": 0.9, "linestyle": "none"}
    marks = [mark | {"marker": MARKERS[detector % len(MARKERS)]} for detector in detectors]
    letters = [DETECTOR_LETTERS[detector] for detector in detectors] if len(detectors) > 1 else []
    figure = new_page(
        left + CHART_INCHES + beside + p_width + 0.2,
        row_inches * len(rows) + 0.5,
        title=title,
        names=[
            comparison.names[detector] + ("" if 0 in detectors else f" − {comparison.names[0]}")
            for detector in detectors
        ],
        letters=letters,
        marks=[mark | {"color": TEXT_COLOUR} for mark in marks],
        legend=legend,
        note=note,
    )
    axes = figure.subplots()
    frame_lightly(axes, grid="x")
    axes.spines[:].set_visible(False)
    places = np.arange(len(detectors)) - (len(detectors) - 1) / 2
    offsets = (places * ROW_INCHES / (ROW_INCHES * len(detectors) + GAP_INCHES)).tolist()
    label_rows(axes, names, letters, offsets)
    axes.set(xlim=limits, ylim=(max(len(rows), 1) - 0.5, -0.5))
    axes.tick_params(axis="x", length=0, labeltop=True)
    axes.xaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 2.5, 5, 10]))
    if limits[0] < 0:
        axes.axvline(0, color=MUTED_COLOUR, linewidth=0.6, zorder=1)
        axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:+g}".replace("-", "−") if x else "0"))
    axes.set_xlabel(axis, labelpad=2)
    for row, (colour, found) in enumerate(rows.values()):
        for number, mark, offset in zip(found, marks, offsets, strict=True):
            y = row + offset
            ends = [number.low, number.high]
            axes.plot(ends, [y, y], "|-", color=colour, linewidth=1.6, markersize=7, clip_on=False)
            face, edge = (colour, TEXT_COLOUR) if number.filled else ("white", colour)
            (dot,) = axes.plot([number.value], [y], zorder=3, clip_on=False, **mark)
            dot.set(markerfacecolor=face, markeredgecolor=edge)
            write_beside(axes, y, number.text, 14)
            write_beside(axes, y, number.p, 14 + 72 * beside)
    return figure


# ---- what became of each object ----------------------------------------------------------------

BAR_INCHES, BAND_INCHES, NAME_INCHES, SANKEY_INCHES = 0.28, 3.6, 2.25, 4.2
"""Widths of a bar, between the bars and beside them; height of the bars."""
PART_GAP_INCHES = 0.15


@styled
def flow(first: Diagnosis, second: Diagnosis, *, counted: Counted = "top") -> Figure:
    """What became of the objects under two detectors: a band for each change, as wide as its objects."""
    changes = flow_of(first, second, counted=counted)
    counts = changes.total()
    total = int(counts.sum())
    width = 2 * (NAME_INCHES + BAR_INCHES) + BAND_INCHES
    which = "the top detections of each class" if counted == "top" else "all detections"
    same = f"{percent_text(float(np.trace(counts)) / total)} unchanged. " if total else ""
    figure = new_page(
        width,
        SANKEY_INCHES + 0.4,
        title=f"What became of {total:,} objects",
        explained=[]
        if for_paper()  # the bars have their names beside them
        else [Explained(fate.name, fate.colour, fate.explanation) for fate in FATES],
        note=f"N = {total:,} objects, judged by {which}. {same}Colours: fate under {changes.names[0]}.",
    )
    axes = figure.subplots()
    axes.set(xlim=(0, width), ylim=(SANKEY_INCHES, 0))
    axes.set_axis_off()
    ends = NAME_INCHES + BAR_INCHES, NAME_INCHES + BAR_INCHES + BAND_INCHES
    for name, x, align in zip(changes.names, ends, ("right", "left"), strict=True):
        text = shorten(name, NAME_INCHES + BAR_INCHES, 9, "bold")
        axes.text(x, -0.1, text, size=9, color=TEXT_COLOUR, ha=align, weight="bold")
    if total:
        _draw_bands(axes, counts, ends)
    else:
        write_in_middle(axes, "no objects")
    return figure


def _draw_bands(axes: Axes, counts: NDArray[np.int64], ends: tuple[float, float]) -> None:
    """Two stacked bars and the bands between their inner edges, in axes in inches."""
    scale = (SANKEY_INCHES - PART_GAP_INCHES * (len(FATES) - 1)) / counts.sum()
    tops = []
    for side, sums in enumerate((counts.sum(axis=1), counts.sum(axis=0))):
        tops.append(np.concatenate([[0], np.cumsum(sums[:-1] * scale + PART_GAP_INCHES)]))
        shown = np.flatnonzero(sums)
        middles = tops[side][shown] + sums[shown] * scale / 2 - SANKEY_INCHES / 2
        left = ends[0] - BAR_INCHES if side == 0 else ends[1]
        x, align = (left - 0.08, "right") if side == 0 else (left + BAR_INCHES + 0.08, "left")
        for fate, y in zip(shown.tolist(), spread(middles, 0.17, SANKEY_INCHES / 2 - 0.05), strict=True):
            bar = Rectangle((left, tops[side][fate]), BAR_INCHES, sums[fate] * scale)
            bar.set(facecolor=FATES[fate].colour, linewidth=0)
            axes.add_patch(bar)
            share = percent_text(float(sums[fate] / counts.sum()))
            text = f"{FATES[fate].name}: {sums[fate]:,} ({share})"
            draw_text(axes, x, y + SANKEY_INCHES / 2, text, 8.5, TEXT_COLOUR, align)
    starts, stops = (edges.copy() for edges in tops)
    for before, after in np.argwhere(counts).tolist():
        height = counts[before, after] * scale
        axes.add_patch(_band(ends, starts[before], stops[after], height, FATES[before].colour))
        starts[before] += height
        stops[after] += height


def _band(ends: tuple[float, float], start: float, end: float, height: float, colour: str) -> PathPatch:
    left, right = ends
    middle = (left + right) / 2
    points = [
        (left, start), (middle, start), (middle, end), (right, end),
        (right, end + height), (middle, end + height), (middle, start + height), (left, start + height),
        (left, start),
    ]  # fmt: skip
    curve = [Outline.MOVETO, *[Outline.CURVE4] * 3, Outline.LINETO, *[Outline.CURVE4] * 3, Outline.CLOSEPOLY]
    return PathPatch(Outline(points, curve), facecolor=colour, alpha=0.45, linewidth=0)
