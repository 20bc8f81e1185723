"""Figures of curves: precision over recall, reliability of the scores, and the confusion matrix."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap, to_hex
from matplotlib.figure import Figure
from numpy.typing import NDArray

from data.records import InputError
from diagnosis.average_precision import precision_recall_curve
from diagnosis.calibration import Calibration, calibration
from diagnosis.confusion import ConfusionMatrix, confusion_matrix
from diagnosis.figures.style import (
    FAINT,
    INK,
    LINE,
    MARGIN,
    QUIET,
    TEXT,
    ap_name,
    blank_axes,
    check_comparable,
    count,
    house_style,
    ink_on,
    new_figure,
    percent,
    put_text,
    save_figure,
    text_width,
    wrap,
)
from diagnosis.record import Diagnosis

__all__ = ["confusion_heatmap", "precision_recall", "reliability", "save_curve_figures"]

DASHES: tuple[tuple[float, tuple[float, ...]], ...] = (
    (0, ()),
    (0, (4, 1.5)),
    (0, (1, 1)),
    (0, (5, 1, 1, 1)),
    (0, (7, 2)),
    (0, (3, 1, 1, 1, 1, 1)),
)
"""Detectors are told apart by their lines, never by colour."""

PANEL, STEP_X, STEP_Y = 1.45, 0.42, 0.62  # inches: a side of a panel, and the room beside and above it
MOST_PANELS = 24
POINTS = 400  # a curve is drawn with, at most
SMALL = 7.0  # points
SHADES = LinearSegmentedColormap.from_list("shades", ["#ffffff", "#9fb3d1", "#1f3864"])


def precision_recall(
    diagnoses: Sequence[Diagnosis], labels: Sequence[int] | None = None, *, ap: str = "area"
) -> Figure:
    """Precision over recall of each class, a panel a class and a line a detector.

    Matched as VOC's devkit does; drawn are the points at true positives.

    Parameters
    ----------
    diagnoses
        One or several detectors on the same ground truth.
    labels
        The classes. Default: all, or of more than 24 those of the most objects.
    ap
        Which average precision the panels give.

    Raises
    ------
    InputError
        No detector, detectors on different ground truths, an unknown column or class.
    """
    check_comparable(diagnoses)
    score = ap_name(diagnoses[0], ap)
    classes, objects = diagnoses[0].truth.classes, diagnoses[0].breakdown.objects
    note = ""
    if labels is None:
        labels = range(len(classes))
        if len(classes) > MOST_PANELS:
            labels = np.sort(np.argsort(-objects, kind="stable")[:MOST_PANELS]).tolist()
            note = f" The {MOST_PANELS} classes of most objects, of {len(classes)}."
    if any(not 0 <= label < len(classes) for label in labels):
        raise InputError("labels", str(list(labels)), f"indices into the {len(classes)} classes")
    columns = max(1, min(5, len(labels)))
    rows = math.ceil(len(labels) / columns)
    width = max(columns * (PANEL + STEP_X), 5.0)
    text = (
        f"Along: recall, up: precision, both in %. AP: {score}, in %, in the order of the lines. "
        f"N: objects, in {count(len(diagnoses[0].truth.images), 'image')}.{note}"
    )
    lines = wrap(text, width, TEXT)
    head = 0.36 + LINE * len(diagnoses) + 0.1
    with house_style():
        height = head + rows * (PANEL + STEP_Y) + 0.15 + LINE * len(lines)
        figure = new_figure(width + 2 * MARGIN, height + 2 * MARGIN)
        _heading(figure, "Precision and recall", [d.name for d in diagnoses], width)
        for place, label in enumerate(labels):
            left = MARGIN + (place % columns) * (PANEL + STEP_X) + STEP_X - 0.1
            top = MARGIN + head + (place // columns) * (PANEL + STEP_Y) + STEP_Y - 0.2
            axes = _square(figure, left, top, ticks_left=place % columns == 0)
            values = [float(getattr(d.ap, ap)[label]) for d in diagnoses]
            scores = ", ".join(f"{100 * value:.0f}" if math.isfinite(value) else "–" for value in values)
            title = blank_axes(figure, left, top - 0.4, PANEL + 0.3, 0.4)
            put_text(
                title, 0, 0.12, wrap(classes[label], PANEL + 0.2, 8.5, lines=1)[0], 8.5, INK, weight="bold"
            )
            put_text(
                title,
                0,
                0.28,
                wrap(f"AP {scores}; N = {objects[label]:,}", PANEL + 0.3, SMALL, lines=1)[0],
                SMALL,
            )
            if objects[label] == 0:
                axes.text(50, 50, "no objects", size=SMALL, color=QUIET, ha="center", va="center")
                continue
            for detector, diagnosis in enumerate(diagnoses):
                points = precision_recall_curve(diagnosis.matching, label, diagnosis.iou)
                recall, precision = _thinned(points.recall, points.precision)
                axes.plot(
                    100 * recall,
                    100 * precision,
                    color=INK,
                    linewidth=0.9,
                    linestyle=DASHES[detector % len(DASHES)],
                    marker="." if len(recall) == 1 else "",  # a line of one point would not show
                    clip_on=False,
                    zorder=3,
                )
        _foot(figure, lines, width)
    return figure


def _thinned(recall: NDArray[np.float64], precision: NDArray[np.float64]) -> tuple[NDArray[np.float64], ...]:
    """The points at true positives, where there are too many those evenly apart."""
    true = np.flatnonzero(np.diff(recall, prepend=0.0) > 0)
    if len(true) > POINTS:
        true = true[np.linspace(0, len(true) - 1, POINTS).round().astype(np.int64)]
    return recall[true], precision[true]


def reliability(
    diagnoses: Sequence[Diagnosis], *, bins: int = 10, lowest: float = 0.0, label: int | None = None
) -> Figure:
    """Precision over score, a panel a detector: on the diagonal a score is the probability of being right.

    Parameters
    ----------
    diagnoses
        One or several detectors on the same ground truth.
    bins, lowest
        As in :func:`diagnosis.calibration.calibration`.
    label
        A class; None: all.

    Raises
    ------
    InputError
        No detector, detectors on different ground truths, an unknown class, or bins that make no sense.
    """
    check_comparable(diagnoses)
    classes = diagnoses[0].truth.classes
    if label is not None and not 0 <= label < len(classes):
        raise InputError("label", str(label), f"an index into the {len(classes)} classes, or None")
    side, bars, step = 2.3, 0.75, 0.65
    columns = min(4, len(diagnoses))
    rows = math.ceil(len(diagnoses) / columns)
    width = max(columns * (side + step), 5.6)
    panel = side + bars + 1.1
    text = (
        f"Upper: share of true positives (IoU {diagnoses[0].iou:g}) among the detections of each of "
        f"{bins} bins of the score, over their mean score; hits of difficult objects are left out. "
        f"Below the diagonal the detector is too sure. Lower: detections in each bin. "
        + (f"Scores below {lowest:g} are left out. " if lowest > 0 else "")
        + "ECE: expected calibration error, the mean distance from the diagonal."
    )
    lines = wrap(text, width, TEXT)
    title = "Reliability of the scores" + ("" if label is None else f": {classes[label]}")
    with house_style():
        height = 0.36 + rows * panel + 0.1 + LINE * len(lines)
        figure = new_figure(width + 2 * MARGIN, height + 2 * MARGIN)
        _heading(figure, title, [], width)
        for place, diagnosis in enumerate(diagnoses):
            result = calibration(diagnosis.matching, iou=diagnosis.iou, bins=bins, lowest=lowest)
            left = MARGIN + (place % columns) * (side + step) + 0.42
            top = MARGIN + 0.36 + (place // columns) * panel
            head = blank_axes(figure, left, top, side + 0.2, 0.45)
            put_text(
                head,
                0,
                0.14,
                wrap(diagnosis.name, side, 9.5, lines=1, weight="bold")[0],
                9.5,
                INK,
                weight="bold",
            )
            error, counted = result.expected_error(label), int(_counts(result, label).sum())
            summary = f"ECE {percent(error)}, N = {count(counted, 'detection')}" if counted else result.reason
            put_text(head, 0, 0.34, wrap(summary or "no detection to count", side, 8, lines=1)[0], 8)
            _reliability_panel(figure, left, top + 0.5, side, bars, result, label)
        _foot(figure, lines, width)
    return figure


def _counts(result: Calibration, label: int | None) -> NDArray[np.int64]:
    counts: NDArray[np.int64] = result.counts.sum(axis=0) if label is None else result.counts[label]
    return counts


def _reliability_panel(
    figure: Figure, left: float, top: float, side: float, bars: float, result: Calibration, label: int | None
) -> None:
    axes = _square(figure, left, top, side=side)
    axes.set_ylabel("true positives, %", size=SMALL, color=QUIET, labelpad=2)
    axes.tick_params(labelbottom=False)
    axes.plot([0, 100], [0, 100], color=QUIET, linewidth=0.7, linestyle=(0, (3, 2)))
    score, precision = result.curve(label)
    axes.plot(
        100 * score, 100 * precision, "o-", color=INK, linewidth=1.0, markersize=3.5, clip_on=False, zorder=3
    )
    below = _square(figure, left, top + side + 0.12, side=side, height=bars)
    counts = _counts(result, label)
    widths = 100 * np.diff(result.edges)
    below.bar(100 * result.edges[:-1] + widths / 2, counts, width=0.9 * widths, color="#9a9a9a")
    below.set_ylim(0, max(1, int(counts.max(initial=0))) * 1.05)
    below.set_yticks([0, int(counts.max(initial=0))] if counts.any() else [0])
    below.set_yticklabels([f"{tick:,.0f}" for tick in below.get_yticks()])
    below.set_xlabel("score, %", size=SMALL, color=QUIET, labelpad=2)


def confusion_heatmap(matrix: ConfusionMatrix, name: str = "") -> Figure:
    """The confusion matrix, each row as shares of what is there.

    Parameters
    ----------
    matrix
        The counts.
    name
        Of the detector, for the title.
    """
    shares, classes = matrix.shares(), matrix.classes
    size = len(classes) + 1
    cell = 0.3 if size <= 30 else max(0.09, 9.0 / size)
    letters = min(8.0, cell * 72 * 0.75)
    names = [wrap(text, 1.4, letters, lines=1)[0] for text in classes]
    room = 0.2 + max(text_width(text, letters) for text in [*names, "unmatched"])
    side, left, top = cell * size, room, 0.3 + room
    width = max(left + side + 0.75, 5.4)
    kept = (
        "All detections." if math.isnan(matrix.score) else f"Detections of score {matrix.score:.3g} or more."
    )
    text = (
        f"Rows: what is there; columns: what was detected, in % of the row. {kept} Pairs of IoU "
        f"{matrix.iou:g} or more, whatever the class. "
        f"N = {count(int(matrix.counts[:-1].sum()), 'object')}; last row: "
        f"{count(int(matrix.counts[-1].sum()), 'unmatched detection')}, "
        "on background or on an object that another detection has already taken."
    )
    lines = wrap(text, width, TEXT)
    with house_style():
        figure = new_figure(width + 2 * MARGIN, top + side + 0.15 + LINE * len(lines) + 2 * MARGIN)
        _heading(figure, "Confusion matrix" + (f": {name}" if name else ""), [], width)
        axes = blank_axes(figure, MARGIN + left, MARGIN + top, side, side)
        values = np.nan_to_num(shares)
        axes.imshow(values, cmap=SHADES, vmin=0, vmax=1, extent=(0, side, side, 0), interpolation="nearest")
        for line in range(size + 1):
            strong = line in (0, size - 1, size)
            at = [line * cell] * 2
            for xs, ys in ((at, [0, side]), ([0, side], at)):
                axes.plot(
                    xs, ys, color=QUIET if strong else FAINT, linewidth=0.6 if strong else 0.4, clip_on=False
                )
        for row, column in np.argwhere(values >= 0.005) if cell >= 0.25 else []:
            share = float(values[row, column])
            shade = to_hex(SHADES(share))
            place = ((column + 0.5) * cell, (row + 0.5) * cell)
            put_text(axes, *place, f"{100 * share:.0f}", 6.5, ink_on(shade), ha="center")
        for position, label in enumerate([*names, "unmatched"]):
            y = (position + 0.5) * cell
            put_text(axes, -0.08, y, label, letters, INK if position < len(names) else QUIET, ha="right")
            total = int(matrix.counts[position].sum())
            put_text(axes, side + 0.08, y, f"{total:,}", min(letters, SMALL))
        for position, label in enumerate([*names, "missed"]):
            colour = INK if position < len(names) else QUIET
            axes.text(
                (position + 0.5) * cell,
                -0.08,
                label,
                size=letters,
                color=colour,
                rotation=90,
                ha="center",
                va="bottom",
            )
        put_text(axes, side + 0.08, -0.12, "number", min(letters, SMALL))
        _foot(figure, lines, width)
    return figure


# ---- shared --------------------------------------------------------------------------------------


def _heading(figure: Figure, title: str, names: Sequence[str], width: float) -> None:
    """Title, and a key of the detectors' lines if there are several."""
    banner = blank_axes(figure, MARGIN, MARGIN, width, 0.36 + LINE * len(names))
    put_text(banner, 0, 0.1, wrap(title, width, 11, lines=1, weight="bold")[0], 11, INK, weight="bold")
    for detector, name in enumerate(names):
        y = 0.36 + LINE * (detector + 0.5)
        if len(names) > 1:
            dashes = DASHES[detector % len(DASHES)]
            banner.plot([0, 0.4], [y, y], color=INK, linewidth=1.1, linestyle=dashes)
        put_text(banner, 0.5 if len(names) > 1 else 0, y, wrap(name, width - 0.6, 9, lines=1)[0], 9)


def _foot(figure: Figure, lines: Sequence[str], width: float) -> None:
    top = float(figure.get_figheight()) - MARGIN - LINE * len(lines)
    axes = blank_axes(figure, MARGIN, top, width, LINE * len(lines))
    for line, text in enumerate(lines):
        put_text(axes, 0, LINE * (line + 0.5), text, TEXT)


def _square(
    figure: Figure,
    left: float,
    top: float,
    *,
    side: float = PANEL,
    height: float = 0.0,
    ticks_left: bool = True,
) -> Axes:
    """Axes from 0 to 100 per cent, placed in inches from the upper left corner."""
    page_width, page_height = figure.get_size_inches()
    height = height or side
    axes = figure.add_axes(
        (left / page_width, 1 - (top + height) / page_height, side / page_width, height / page_height)
    )
    axes.set(xlim=(0, 100), ylim=(0, 100), xticks=[0, 50, 100], yticks=[0, 50, 100])
    axes.tick_params(labelsize=6.5, length=2, color=QUIET, labelcolor=QUIET, pad=2, labelleft=ticks_left)
    axes.grid(color=FAINT, linewidth=0.5)
    axes.set_axisbelow(True)
    for spine in axes.spines.values():
        spine.set(color=QUIET, linewidth=0.6)
    return axes


def save_curve_figures(diagnoses: Sequence[Diagnosis], out_dir: Path) -> list[Path]:
    """Write ``precision_recall``, ``reliability`` and, for each detector, ``confusion_1``, … as PNG and SVG.

    Returns
    -------
    list of Path
        The files written.

    Raises
    ------
    InputError
        No detector, detectors on different ground truths, or a folder that cannot be written to.
    """
    figures = {"precision_recall": precision_recall(diagnoses), "reliability": reliability(diagnoses)}
    for number, diagnosis in enumerate(diagnoses, 1):
        matrix = confusion_matrix(diagnosis.matching, iou=diagnosis.iou)
        figures[f"confusion_{number}"] = confusion_heatmap(matrix, diagnosis.name)
    return [
        save_figure(figure, out_dir / f"{name}.{kind}")
        for name, figure in figures.items()
        for kind in ("png", "svg")
    ]
