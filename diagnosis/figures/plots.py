"""The pies of the error breakdown (the paper's Figure 9), and all figures in one go."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Wedge
from numpy.typing import NDArray

from diagnosis.breakdown import ERROR_TYPES
from diagnosis.figures.charts import ap_dots, class_bars
from diagnosis.figures.explanations import draw_legend, explanations, legend_size
from diagnosis.figures.style import (
    FAINT,
    INK,
    LEGEND_WIDTH,
    LINE,
    MARGIN,
    QUIET,
    TEXT,
    ap_name,
    blank_axes,
    check_comparable,
    count,
    house_style,
    new_figure,
    percent,
    put_text,
    save_figure,
    wrap,
)
from diagnosis.record import Diagnosis

__all__ = ["ap_dots", "class_bars", "pies", "save_figures"]

PIE_RADIUS, PIE_PANEL, PIE_HEIGHT = 1.05, 4.45, 3.1  # inches
START = 225  # degrees clockwise from three o'clock
LABEL_STEP = 0.36  # inches between two labels on one side of a pie


def pies(diagnoses: Sequence[Diagnosis], *, pooled: bool = False, ap: str = "voc07") -> Figure:
    """What became of the top N detections of each class, as one pie a detector (the paper's Figure 9).

    Parameters
    ----------
    diagnoses
        One or several detectors on the same ground truth, drawn from left to right.
    pooled
        Pool the counts of all classes, as Hoiem's tool does for a group; by default the classes'
        shares are averaged, as the YOLO paper does.
    ap
        Which average precision the caption gives: a column of the AP table.

    Raises
    ------
    InputError
        No detector, detectors on different ground truths, an unknown column.
    """
    check_comparable(diagnoses)
    score = ap_name(diagnoses[0], ap)
    header, caption = 0.6, 5 * LINE + 0.1
    width = max(len(diagnoses) * PIE_PANEL, 7.2) + 2 * MARGIN
    panel = (width - 2 * MARGIN) / len(diagnoses)
    room, words = min(width - 2 * MARGIN, LEGEND_WIDTH), explanations(diagnoses[0])
    legend_width, below = legend_size(room, words)
    height = header + PIE_HEIGHT + caption + below + 2 * MARGIN
    with house_style():
        figure = new_figure(width, height)
        for position, diagnosis in enumerate(diagnoses):
            left = MARGIN + position * panel
            _title(blank_axes(figure, left, MARGIN, panel, header), diagnosis.name, panel, header)
            shares = diagnosis.breakdown.pooled() if pooled else diagnosis.breakdown.mean_over_classes()
            _pie(blank_axes(figure, left, MARGIN + header, panel, PIE_HEIGHT), np.nan_to_num(shares))
            note = blank_axes(figure, left, MARGIN + header + PIE_HEIGHT, panel, caption)
            for line, text in enumerate(_caption(diagnosis, pooled, ap, score)):
                colour = INK if line == 0 else QUIET
                y = 0.1 + LINE * (line + 0.5)
                put_text(note, panel / 2, y, text, TEXT, colour, ha="center")
        draw_legend(figure, (width - legend_width) / 2, height - MARGIN - below, room, words)
    return figure


def _title(axes: Axes, name: str, width: float, height: float) -> None:
    lines = wrap(name, width - 0.3, 12, lines=2, weight="bold")
    for line, text in enumerate(lines):
        y = height - 0.08 - 0.22 * (len(lines) - line)
        put_text(axes, width / 2, y, text, 12, INK, ha="center", weight="bold")


def _caption(diagnosis: Diagnosis, pooled: bool, ap: str, score: str) -> list[str]:
    """The lines below a pie: mAP, what was counted, how the classes were put together, of what."""
    breakdown = diagnosis.breakdown
    classes = count(int((breakdown.counts.sum(axis=1) > 0).sum()), "class", "classes")
    counted, mean = int(breakdown.counts.sum()), diagnosis.ap.mean()[ap]
    lines = [
        f"mAP {percent(mean)} ({score})" if math.isfinite(mean) else "no mAP: there are no objects",
        f"N = {count(counted, 'detection')} counted, of {len(diagnosis.detections):,}",
        f"detections of {classes} pooled" if pooled else f"shares averaged over {classes}",
        f"{count(int(breakdown.objects.sum()), 'object')} in {count(len(diagnosis.truth.images), 'image')}",
    ]
    return lines if counted else [lines[0], lines[1], lines[3]]


def _pie(axes: Axes, shares: NDArray[np.float64]) -> None:
    """Slices with a label outside each, in axes in inches.

    They run clockwise from half past ten: the errors, small and last, then lie at the left, where
    labels stack best.
    """
    centre = (axes.get_xlim()[1] / 2, PIE_HEIGHT / 2)
    if shares.sum() <= 0:
        axes.add_patch(Wedge(centre, PIE_RADIUS, 0, 360, facecolor="#f4f4f4", edgecolor=FAINT))
        axes.text(*centre, "no detections\nto count", size=9.5, color=QUIET, ha="center", va="center")
        return
    ends = 360 * np.cumsum(shares)
    sides: dict[int, list[tuple[float, int]]] = {1: [], -1: []}  # right and left: angle, type
    for index, (kind, end) in enumerate(zip(ERROR_TYPES, ends, strict=True)):
        if shares[index] == 0:
            continue
        start = end - 360 * shares[index]
        # The axis of y points down, so matplotlib's angles run clockwise, from three o'clock.
        part = Wedge(centre, PIE_RADIUS, START + start, START + end, label=kind.name)
        part.set(facecolor=kind.colour, edgecolor="white" if shares[index] < 1 else "none")
        axes.add_patch(part)
        angle = math.radians(START + (start + end) / 2)
        sides[1 if math.cos(angle) >= 0 else -1].append((angle, index))
    for side, labels in sides.items():
        labels.sort(key=lambda label: math.sin(label[0]))
        wanted = np.array([(PIE_RADIUS + 0.2) * math.sin(angle) for angle, _ in labels])
        places = spread(wanted, LABEL_STEP, PIE_HEIGHT / 2 - 0.15)
        for (angle, index), y in zip(labels, places, strict=True):
            # Beside the circle; labels that crowd stand in a column, clear of each other's lines.
            crowded = (np.abs(places - y) < LABEL_STEP + 1e-6).sum() > 1
            reach = math.sqrt(max(0.22**2, (PIE_RADIUS + 0.2) ** 2 - y**2))
            x = side * (PIE_RADIUS + 0.28 if crowded else reach)
            _slice_label(axes, centre, angle, (x, y), index, float(shares[index]))


def _slice_label(
    axes: Axes,
    centre: tuple[float, float],
    angle: float,
    place: tuple[float, float],
    index: int,
    share: float,
) -> None:
    """Percent and name beside the pie, at a place in inches from its centre, with a line to the slice."""
    rim = np.array([math.cos(angle), math.sin(angle)])
    line = np.array([rim * (PIE_RADIUS - 0.04), rim * (PIE_RADIUS + 0.1), place]) + centre
    axes.plot(line[:, 0], line[:, 1], color=QUIET, linewidth=0.7)
    align, gap = ("left", 0.05) if place[0] > 0 else ("right", -0.05)
    x, y = centre[0] + place[0] + gap, centre[1] + place[1]
    put_text(axes, x, y - 0.08, percent(share), 10, INK, ha=align, weight="bold")
    put_text(axes, x, y + 0.08, ERROR_TYPES[index].name, 8, ha=align)


def spread(wanted: NDArray[np.float64], step: float, limit: float) -> NDArray[np.float64]:
    """Move sorted positions as little as needed to be at least `step` apart and within ±`limit`.

    Examples
    --------
    >>> spread(np.array([0.0, 0.1, 2.0]), step=1.0, limit=3.0).tolist()
    [-0.45, 0.55, 2.0]
    >>> spread(np.array([2.9, 3.0]), step=1.0, limit=3.0).tolist()
    [2.0, 3.0]
    """
    # Positions that touch form a block around the mean of what they want; blocks that then touch merge.
    blocks: list[tuple[float, NDArray[np.float64]]] = []  # first position, the positions wanted
    for value in wanted:
        wish = np.array([value])
        first = _block_start(wish, step, limit)
        while blocks and first < blocks[-1][0] + len(blocks[-1][1]) * step:
            wish = np.concatenate([blocks.pop()[1], wish])
            first = _block_start(wish, step, limit)
        blocks.append((first, wish))
    return np.array([first + step * i for first, wish in blocks for i in range(len(wish))])


def _block_start(wanted: NDArray[np.float64], step: float, limit: float) -> float:
    offsets = step * np.arange(len(wanted))
    return float(np.clip(np.mean(wanted - offsets), -limit, max(-limit, limit - offsets[-1])))


def save_figures(diagnoses: Sequence[Diagnosis], out_dir: Path, *, ap: str = "voc07") -> list[Path]:
    """Write ``error_pies``, ``error_bars`` and ``ap``, each as PNG and SVG.

    Parameters
    ----------
    diagnoses
        One or several detectors on the same ground truth.
    out_dir
        Folder; made if absent.
    ap
        Which average precision the figures show: a column of the AP table.

    Returns
    -------
    list of Path
        The files written.

    Raises
    ------
    InputError
        No detector, detectors on different ground truths, or a folder that cannot be written to.
    """
    figures = {
        "error_pies": pies(diagnoses, ap=ap),
        "error_bars": class_bars(diagnoses),
        "ap": ap_dots(diagnoses, ap=ap),
    }
    return [
        save_figure(figure, out_dir / f"{name}.{kind}")
        for name, figure in figures.items()
        for kind in ("png", "svg")
    ]
