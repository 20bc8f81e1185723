"""A Sankey diagram of what became of each object under two detectors."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import PathPatch, Rectangle
from matplotlib.path import Path as Outline
from numpy.typing import NDArray

from data.records import InputError
from diagnosis.figures.plots import spread
from diagnosis.figures.style import (
    INK,
    LINE,
    MARGIN,
    TEXT,
    blank_axes,
    house_style,
    new_figure,
    percent,
    put_text,
    wrap,
)
from diagnosis.flow import FATES, Flow

__all__ = ["flow_sankey"]

NODE, BAND, SANKEY = 0.28, 3.6, 4.2  # inches: width of a bar, between the bars, their height
SIDE = 2.25  # inches for the names beside the bars
SPACE = 0.15  # inches between two parts of a bar


def flow_sankey(flow: Flow, label: int | None = None) -> Figure:
    """What became of the objects under two detectors: a band for each change, as wide as its objects.

    Parameters
    ----------
    flow
        The fates.
    label
        A class; None: all objects.

    Raises
    ------
    InputError
        If there is no such class.
    """
    if label is not None and not 0 <= label < len(flow.classes):
        raise InputError("label", str(label), f"an index into the {len(flow.classes)} classes, or None")
    counts = flow.total() if label is None else flow.counts[label]
    total = int(counts.sum())
    what = "objects" if label is None else f"objects of class {flow.classes[label]}"
    width = 2 * (SIDE + NODE) + BAND
    notes = _flow_notes(flow, counts, what, width)
    foot = LINE * len(notes)
    with house_style():
        figure = new_figure(width + 2 * MARGIN, 0.75 + SANKEY + 0.25 + foot + 2 * MARGIN)
        banner = blank_axes(figure, MARGIN, MARGIN, width, 0.75)
        title = wrap(f"What became of {total:,} {what}", width, 11, lines=1, weight="bold")[0]
        put_text(banner, 0, 0.1, title, 11, INK, weight="bold")
        for name, x, ha in (
            (flow.names[0], SIDE + NODE, "right"),
            (flow.names[1], width - SIDE - NODE, "left"),
        ):
            put_text(
                banner,
                x,
                0.5,
                wrap(name, SIDE + NODE, 9, lines=1, weight="bold")[0],
                9,
                INK,
                ha=ha,
                weight="bold",
            )
        axes = blank_axes(figure, MARGIN, MARGIN + 0.75, width, SANKEY)
        if total:
            _bands(axes, counts)
        else:
            put_text(axes, width / 2, SANKEY / 2, "no objects", 9.5, ha="center")
        caption = blank_axes(figure, MARGIN, MARGIN + 0.75 + SANKEY + 0.25, width, foot)
        for line, text in enumerate(notes):
            put_text(caption, 0, LINE * (line + 0.5), text, TEXT)
    return figure


def _flow_notes(flow: Flow, counts: NDArray[np.int64], what: str, width: float) -> list[str]:
    total = int(counts.sum())
    which = "the top detections of each class" if flow.counted == "top" else "all detections"
    kept = f"{percent(float(np.trace(counts)) / total)} keep their fate. " if total else ""
    lines = wrap(
        f"N = {total:,} {what}, judged by {which}. {kept}Colours: fate under {flow.names[0]}.", width, TEXT
    )
    for fate in FATES:
        lines += wrap(f"{fate.name}: {fate.explanation}", width, TEXT)
    return lines


def _bands(axes: Axes, counts: NDArray[np.int64]) -> None:
    """Two stacked bars and the bands between them, in axes in inches."""
    scale = (SANKEY - SPACE * (len(FATES) - 1)) / counts.sum()
    edges = []
    for side, sums in enumerate((counts.sum(axis=1), counts.sum(axis=0))):
        tops = np.concatenate([[0], np.cumsum(sums[:-1] * scale + SPACE)])
        edges.append(tops)
        x = SIDE if side == 0 else SIDE + NODE + BAND
        shown = np.flatnonzero(sums)
        middles = tops[shown] + sums[shown] * scale / 2
        places = spread(middles - SANKEY / 2, 0.17, SANKEY / 2 - 0.05) + SANKEY / 2
        for fate, y in zip(shown, places, strict=True):
            axes.add_patch(
                Rectangle(
                    (x, tops[fate]), NODE, sums[fate] * scale, facecolor=FATES[fate].colour, linewidth=0
                )
            )
            ha, edge = ("right", x - 0.08) if side == 0 else ("left", x + NODE + 0.08)
            share = percent(float(sums[fate] / counts.sum()))
            put_text(axes, edge, y, f"{FATES[fate].name}: {sums[fate]:,} ({share})", 8.5, INK, ha=ha)
    start, end = edges[0].copy(), edges[1].copy()
    left, right = SIDE + NODE, SIDE + NODE + BAND
    for before, kind in enumerate(FATES):
        for after in range(len(FATES)):
            height = counts[before, after] * scale
            if height:
                axes.add_patch(_band(left, start[before], right, end[after], height, kind.colour))
            start[before] += height
            end[after] += height


def _band(left: float, start: float, right: float, end: float, height: float, colour: str) -> PathPatch:
    middle = (left + right) / 2
    points = [
        (left, start), (middle, start), (middle, end), (right, end),
        (right, end + height), (middle, end + height), (middle, start + height), (left, start + height),
        (left, start),
    ]  # fmt: skip
    curve = [Outline.MOVETO, *[Outline.CURVE4] * 3, Outline.LINETO, *[Outline.CURVE4] * 3, Outline.CLOSEPOLY]
    return PathPatch(Outline(points, curve), facecolor=colour, alpha=0.45, linewidth=0)
