"""Charts with one row for each class: stacked bars of the error types, dots of average precision."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from numpy.typing import NDArray

from data.records import InputError
from diagnosis.breakdown import ERROR_TYPES
from diagnosis.figures.explanations import draw_legend, explanations, legend_size
from diagnosis.figures.style import (
    FAINT,
    INK,
    LEGEND_WIDTH,
    LETTERS,
    LINE,
    MARGIN,
    TEXT,
    ap_name,
    blank_axes,
    check_comparable,
    count,
    house_style,
    ink_on,
    new_figure,
    put_text,
    text_width,
    wrap,
)
from diagnosis.record import Diagnosis

__all__ = ["Order", "ap_dots", "class_bars"]

MARKERS = "oDs^vo"
FILLINGS = (INK, "white", "#9a9a9a", "white", INK, "white")
ROW_TEXT, SMALL = 8.0, 7.0  # points
CHART = 3.4  # inches from 0 to 100 per cent
PORTRAIT = 1.2  # height over width that a chart comes close to by going on in further columns
GAP = 0.12  # inches between two classes
NUMBERS = 0.46  # inches for a column of numbers
MEAN = -1  # stands for the mean over classes where a class is expected

Order = Literal["class", "correct"]


@dataclass(frozen=True)
class Chart:
    """A figure with one row for each class, names and grid drawn, bars or dots still to come.

    Attributes
    ----------
    figure
        The figure.
    key
        Axes in inches with the detectors' names, a line each.
    rows
        Class (or `MEAN`) of each row, its upper edge in inches, and the axes it is in, whose x runs
        from 0 to `CHART`.
    columns
        All axes that rows are in.
    """

    figure: Figure
    key: Axes
    rows: list[tuple[int, float, Axes]]
    columns: list[Axes]


def class_bars(diagnoses: Sequence[Diagnosis], *, order: Order = "class") -> Figure:
    """The five shares of each class as stacked bars, one bar a detector, the mean over classes on top.

    Parameters
    ----------
    diagnoses
        One or several detectors on the same ground truth, from top to bottom in each class.
    order
        ``class``: as in the ground truth; ``correct``: the largest share of correct ones first
        (averaged over the detectors).

    Raises
    ------
    InputError
        No detector, detectors on different ground truths, an unknown order.
    """
    check_comparable(diagnoses)
    shares = np.stack([np.nan_to_num(d.breakdown.shares) for d in diagnoses])  # (D, C, 5)
    means = np.stack([np.nan_to_num(d.breakdown.mean_over_classes()) for d in diagnoses])  # (D, 5)
    objects = diagnoses[0].breakdown.objects
    counted = [_counted(diagnoses, label) for label in range(len(objects))]
    widest = max((text_width(number, SMALL) for numbers in counted for number in numbers), default=0.0)
    bar = 0.2 if len(diagnoses) == 1 else 0.165
    title = "What became of the top N detections of each class"
    note = "N: how many of the class's detections are counted, its surest ones."
    if any(" of " in number for numbers in counted for number in numbers):
        note += " “7 of 10”: there are only 7 detections, for 10 objects."
    with house_style():
        chart = _chart(
            diagnoses, title, order, bar * len(diagnoses), 0.25 + widest, letters=True, legend=True, note=note
        )
        for axes in chart.columns:
            put_text(axes, CHART + 0.25, -0.1, "N", SMALL)
        for label, top, axes in chart.rows:
            for detector, value in enumerate(means if label == MEAN else shares[:, label]):
                _stacked_bar(axes, top + bar * detector, bar, value)
                if value.sum() == 0:
                    reason = "no detections" if label == MEAN or objects[label] else "no objects"
                    y = top + bar * (detector + 0.5)
                    put_text(axes, 0.05, y, reason, SMALL)
            numbers = [] if label == MEAN else counted[label]
            for position, number in enumerate(numbers):
                y = top + bar * len(diagnoses) * (position + 0.5) / len(numbers)
                put_text(axes, CHART + 0.25, y, number, SMALL)
    return chart.figure


def _counted(diagnoses: Sequence[Diagnosis], label: int) -> list[str]:
    """N, once if all detectors have the same; where detections are fewer than objects, of how many."""
    notes = []
    for diagnosis in diagnoses:
        counted, objects = diagnosis.breakdown.counts[label].sum(), diagnosis.breakdown.objects[label]
        all_there_are = counted == (diagnosis.detections.labels == label).sum()
        notes.append(f"{counted:,} of {objects:,}" if all_there_are and counted < objects else f"{counted:,}")
    return notes[:1] if len(set(notes)) == 1 else notes


def _stacked_bar(axes: Axes, top: float, height: float, shares: NDArray[np.float64]) -> None:
    """One bar in axes in inches, with whole per cents where they fit."""
    left, middle = 0.0, top + height / 2
    for kind, share in zip(ERROR_TYPES, shares, strict=True):
        width = float(share) * CHART
        part = Rectangle((left, top), width, height, label=kind.name)
        part.set(facecolor=kind.colour, edgecolor="white", linewidth=0.5)
        axes.add_patch(part)
        if width > 0.24:
            put_text(
                axes, left + width / 2, middle, f"{100 * share:.0f}", 6.5, ink_on(kind.colour), ha="center"
            )
        left += width


def ap_dots(diagnoses: Sequence[Diagnosis], *, ap: str = "voc07", order: Order = "class") -> Figure:
    """Average precision of each class, one dot a detector, the mean over classes on top.

    Parameters
    ----------
    diagnoses
        One or several detectors on the same ground truth.
    ap
        Which average precision: a column of the AP table.
    order
        As in :func:`class_bars`.

    Raises
    ------
    InputError
        No detector, detectors on different ground truths, an unknown order or column.
    """
    check_comparable(diagnoses)
    title = f"Average precision ({ap_name(diagnoses[0], ap)})"
    values = np.stack([np.asarray(getattr(d.ap, ap), dtype=np.float64) for d in diagnoses])  # (D, C)
    means = np.array([d.ap.mean()[ap] for d in diagnoses])
    heads = LETTERS[: len(diagnoses)] if len(diagnoses) > 1 else ["AP"]
    with house_style():
        objects, images = int(diagnoses[0].breakdown.objects.sum()), len(diagnoses[0].truth.images)
        note = f"In %, of N = {count(objects, 'object')} in {count(images, 'image')}."
        chart = _chart(diagnoses, title, order, 0.16, 0.1 + NUMBERS * len(diagnoses), note=note)
        edges = [CHART + 0.1 + NUMBERS * (detector + 1) for detector in range(len(diagnoses))]
        for axes in chart.columns:
            for head, edge in zip(heads, edges, strict=True):
                put_text(axes, edge, -0.1, head, SMALL, ha="right")
        for detector in range(len(diagnoses) if len(diagnoses) > 1 else 0):
            _marker(chart.key, 0.08, LINE * (detector + 0.5), detector)
        for label, top, axes in chart.rows:
            row = means if label == MEAN else values[:, label]
            y, weight, known = top + 0.08, "bold" if label == MEAN else "normal", row[np.isfinite(row)]
            axes.plot([0, CHART], [y, y], color=FAINT, linewidth=0.6, zorder=1)
            if len(known) > 1:
                ends = [known.min() * CHART, known.max() * CHART]
                axes.plot(ends, [y, y], color="#b0b0b0", linewidth=2.2, solid_capstyle="butt", zorder=2)
            for detector, (value, edge) in enumerate(zip(row.tolist(), edges, strict=True)):
                text = f"{100 * value:.1f}" if math.isfinite(value) else "–"
                put_text(axes, edge, y, text, SMALL, INK, ha="right", weight=weight)
                if math.isfinite(value):
                    _marker(axes, value * CHART, y, detector)
    return chart.figure


def _marker(axes: Axes, x: float, y: float, detector: int) -> None:
    look = detector % len(MARKERS)
    (dot,) = axes.plot([x], [y], MARKERS[look], markersize=5.5, markeredgewidth=0.9, clip_on=False)
    dot.set(markerfacecolor=FILLINGS[look], markeredgecolor=INK, zorder=3 + detector)


def _chart(
    diagnoses: Sequence[Diagnosis],
    title: str,
    order: Order,
    row: float,
    right: float,
    *,
    letters: bool = False,
    legend: bool = False,
    note: str,
) -> Chart:
    """Title, key, names and grid of all classes, in as many columns as needed to stay on a page.

    Parameters
    ----------
    row, right
        Inches: height of what a row holds, and room for what stands at its right.
    letters
        Put the detectors' letters before their bars.
    legend
        Explain the error types at the bottom.
    note
        What stands at the very bottom.
    """
    if order not in ("class", "correct"):
        raise InputError("order", repr(order), "'class' or 'correct'")
    letters = letters and len(diagnoses) > 1
    classes = diagnoses[0].truth.classes
    correct = np.mean([np.nan_to_num(d.breakdown.shares[:, 0]) for d in diagnoses], axis=0)  # (C,)
    ranking = np.argsort(-correct, kind="stable") if order == "correct" else np.arange(len(classes))
    labels = [MEAN, *ranking.tolist()]
    names = [wrap(classes[label], 1.9, ROW_TEXT, lines=1)[0] for label in labels[1:]]
    names.insert(0, "mean over classes")

    indent = 0.26 if letters else 0.1
    left = indent + max(text_width(name, ROW_TEXT, "bold") for name in names)
    panel, step = left + CHART + right + 0.4, row + GAP
    columns = min(range(1, 9), key=lambda n: abs(math.log(len(labels) * step / n / (n * panel) / PORTRAIT)))
    each = math.ceil(len(labels) / columns)
    starts = range(0, len(labels), each)
    width = len(starts) * panel - 0.4
    head = 0.36 + LINE * len(diagnoses) + 0.32
    words = explanations(diagnoses[0]) if legend else ()
    foot = 0.4 + _explanation_height(width, words, note)
    figure = new_figure(width + 2 * MARGIN, head + each * step + foot + 2 * MARGIN)
    chart = Chart(figure, _heading(figure, diagnoses, title, width, letters), [], [])
    for column, start in enumerate(starts):
        here = labels[start : start + each]
        axes = blank_axes(figure, MARGIN + column * panel + left, MARGIN + head, CHART, len(here) * step)
        chart.columns.append(axes)
        _grid(axes, len(here) * step)
        for position, label in enumerate(here):
            top = position * step + GAP / 2
            chart.rows.append((label, top, axes))
            weight = "bold" if label == MEAN else "normal"
            name = names[start + position]
            put_text(axes, -indent, top + row / 2, name, ROW_TEXT, INK, ha="right", weight=weight)
            for detector in range(len(diagnoses) if letters else 0):
                y = top + row * (detector + 0.5) / len(diagnoses)
                put_text(axes, -0.08, y, LETTERS[detector], 6.5, ha="right")
    _explanation(figure, width, words, note)
    return chart


def _heading(figure: Figure, diagnoses: Sequence[Diagnosis], title: str, width: float, letters: bool) -> Axes:
    """Title and names of the detectors, with room for markers where no bars have letters; the names' axes."""
    banner = blank_axes(figure, MARGIN, MARGIN, width, 0.3)
    put_text(banner, 0, 0.1, title, 11, INK, weight="bold")
    key = blank_axes(figure, MARGIN, MARGIN + 0.36, width, LINE * len(diagnoses))
    several = len(diagnoses) > 1
    indent = 0.22 if several and not letters else 0.0
    for detector, diagnosis in enumerate(diagnoses):
        y = LINE * (detector + 0.5)
        name = wrap(diagnosis.name, width - 0.5, 9, lines=1)[0]
        if several:
            put_text(key, indent, y, LETTERS[detector], 9)
        put_text(key, indent + 0.22 * several, y, name, 9)
    return key


def _explanation_height(width: float, words: Sequence[str], note: str) -> float:
    width = min(width, LEGEND_WIDTH)
    return _legend_height(width, words) + LINE * len(wrap(note, width, TEXT))


def _legend_height(width: float, words: Sequence[str]) -> float:
    return legend_size(width, words)[1] + 0.05 if words else 0.0


def _explanation(figure: Figure, width: float, words: Sequence[str], note: str) -> None:
    """Legend and note at the bottom of the figure."""
    top = float(figure.get_figheight()) - MARGIN - _explanation_height(width, words, note)
    width = min(width, LEGEND_WIDTH)
    if words:
        draw_legend(figure, MARGIN, top, width, words)
    lines = wrap(note, width, TEXT)
    axes = blank_axes(figure, MARGIN, top + _legend_height(width, words), width, LINE * len(lines))
    for line, text in enumerate(lines):
        put_text(axes, 0, LINE * (line + 0.5), text, TEXT)


def _grid(axes: Axes, height: float) -> None:
    """Lines at the quarters, with per cents above and below."""
    for quarter in range(5):
        x = CHART * quarter / 4
        axes.plot([x, x], [0, height], color=FAINT, linewidth=0.6, zorder=0)
        for y in (-0.1, height + 0.1):
            put_text(axes, x, y, f"{25 * quarter}%", SMALL, ha="center")
