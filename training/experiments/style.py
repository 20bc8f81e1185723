"""What all figures of experiments share: pages of panels, colours and marks, the paper's marks, labels."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.lines import Line2D
from matplotlib.transforms import ScaledTranslation
from numpy.typing import NDArray

from detector.registry import method_style
from diagnosis.figures.layout import LegendEntry, new_page
from diagnosis.figures.style import MUTED_COLOUR, TEXT_COLOUR, frame_lightly, text_width
from training.experiments.collect import Row
from training.experiments.schema import Variant

__all__ = [
    "MISSING_ENTRY", "Label", "colour_of", "draw_missing", "draw_paper", "draw_result", "draw_series",
    "legend_entry", "line_of", "make_page", "mark_of", "paper_entries", "place_labels",
]  # fmt: skip

TICK_LABEL_POINTS = 8.0
PANEL_GAP_INCHES = 0.2
MISSING_OFFSET_POINTS = 3.0
"""Between the crosses of missing results of two series."""
LABEL_POINTS = 7.0

PAPER_MARK: Mapping[str, Any] = {
    "marker": "d",
    "markersize": 8,
    "markerfacecolor": "none",
    "markeredgewidth": 1.3,
}
"""A number of the paper; its edge has the colour of the series."""
PAPER_DROP_MARK: Mapping[str, Any] = {**PAPER_MARK, "marker": "v", "markersize": 7}
"""A drop that the paper gives without the accuracy, subtracted from our baseline."""


def make_page(
    names: Sequence[str],
    size: tuple[float, float],
    *,
    title: str,
    legend: Sequence[LegendEntry],
    notes: Sequence[str],
    columns: int = 2,
) -> tuple[Figure, list[Axes]]:
    """A figure with a title, empty panels in at most `columns`, a legend, and notes in whole sentences.

    A panel has a name, or "", and `size` (width, height) in inches for its chart with ticks and labels.
    """
    columns = min(columns, len(names))
    rows = math.ceil(len(names) / columns)
    figure = new_page(columns * size[0], rows * size[1], title=title, legend=legend, note=" ".join(notes))
    engine = figure.get_layout_engine()
    assert isinstance(engine, ConstrainedLayoutEngine)
    engine.set(h_pad=PANEL_GAP_INCHES / 2)
    charts = list(figure.subplots(rows, columns, squeeze=False).flat)
    for spare in charts[len(names) :]:
        spare.remove()
    for axes, name in zip(charts, names, strict=False):
        axes.set_title(name, loc="left", size=9, weight="bold", color=TEXT_COLOUR)
        frame_lightly(axes, TICK_LABEL_POINTS)
    return figure, charts[: len(names)]


# ---------------------------------------------------------------- colours and marks


def colour_of(variant: Variant) -> str:
    """Colour of a method; a patch size has its own."""
    method = variant.method if variant.tested in (None, "none") else variant.tested
    return method_style(method, variant.patch)[0]


def mark_of(variant: Variant) -> dict[str, Any]:
    """The mark of a result of ours; hollow if one layer alone is modified by a whole shuffle."""
    colour = colour_of(variant)
    hollow = variant.layer is not None and variant.patch is None
    return {
        "marker": method_style(variant.method, variant.patch)[1],
        "markersize": 4.5,
        "markerfacecolor": "white" if hollow else colour,
        "markeredgecolor": colour,
        "markeredgewidth": 1.1,
    }


def line_of(variant: Variant) -> dict[str, Any]:
    """The line through the results of a series."""
    hollow = variant.layer is not None and variant.patch is None
    return {"color": colour_of(variant), "linewidth": 1.3, "linestyle": (0, (3, 1.5)) if hollow else "-"}


def legend_entry(text: str, **properties: Any) -> LegendEntry:
    """An entry with the properties of a line, a mark or both."""
    return text, Line2D([], [], **({"linestyle": "none"} | properties))


MISSING_ENTRY = legend_entry(
    "not there yet", marker="x", markersize=4, color=MUTED_COLOUR, markeredgewidth=0.9
)


def paper_entries(*, numbers: bool, drops: bool) -> list[LegendEntry]:
    """The paper's marks in the legend, those that the figure has."""
    marks = (
        (numbers, "paper, in the colour of its series", PAPER_MARK),
        (drops, "paper's drop, from our baseline", PAPER_DROP_MARK),
    )
    return [legend_entry(text, **mark, markeredgecolor=MUTED_COLOUR) for there, text, mark in marks if there]


def draw_series(
    axes: Axes, x: Sequence[float], y: Sequence[float], spread: Sequence[float], variant: Variant
) -> None:
    """A line with marks, and the spread over seeds if there is one; points that are NaN are left out."""
    known = [(a, b, c) for a, b, c in zip(x, y, spread, strict=True) if not math.isnan(b)]
    if not known:
        return
    across, up, error = zip(*known, strict=True)
    axes.plot(across, up, zorder=3, **line_of(variant), **mark_of(variant))
    if any(not math.isnan(value) for value in error):
        axes.errorbar(
            across,
            up,
            [0 if math.isnan(value) else value for value in error],
            fmt="none",
            ecolor=colour_of(variant),
            elinewidth=1.0,
            capsize=2.5,
            zorder=2.5,
        )


def draw_paper(axes: Axes, x: float, y: float, colour: str, *, drop: bool = False) -> None:
    """A number of the paper, above all lines."""
    mark = PAPER_DROP_MARK if drop else PAPER_MARK
    axes.plot([x], [y], linestyle="none", zorder=5, clip_on=False, markeredgecolor=colour, **mark)


def draw_missing(axes: Axes, x: Sequence[float], colour: str, offset: float) -> None:
    """A cross on the axis for each missing result, shifted by `offset` times the distance of two series."""
    if not x:
        return
    assert axes.figure is not None
    shift = ScaledTranslation(offset * MISSING_OFFSET_POINTS / 72, 0, axes.figure.dpi_scale_trans)
    axes.plot(
        x,
        [0.0] * len(x),
        transform=axes.get_xaxis_transform() + shift,
        linestyle="none",
        marker="x",
        markersize=3,
        color=colour,
        markeredgewidth=0.9,
        zorder=4,
        clip_on=False,
    )


def draw_result(axes: Axes, place: float, row: Row, *, across: bool = False, **mark: Any) -> None:
    """A result with its spread over seeds if there is one, at a place on the other axis; `across`: on x."""
    mean, error = [row.mean()], None if math.isnan(row.std()) else [row.std()]
    colour = colour_of(row.point.variant)
    style = {"color": colour, "capsize": 2.5, "zorder": 4, **mark_of(row.point.variant), **mark}
    if across:
        axes.errorbar(mean, [place], xerr=error, **style)
    else:
        axes.errorbar([place], mean, error, **style)


# ---------------------------------------------------------------- numbers beside marks

LABEL_SIDES = {  # horizontal and vertical alignment, offset in points
    "right": ("left", "center_baseline", (6.0, 0.0)),
    "above": ("center", "bottom", (0.0, 5.5)),
    "below": ("center", "top", (0.0, -5.5)),
    "upper right": ("left", "bottom", (5.0, 2.0)),
    "lower right": ("left", "top", (5.0, -2.0)),
    "left": ("right", "center_baseline", (-6.0, 0.0)),
    "upper left": ("right", "bottom", (-5.0, 2.0)),
    "lower left": ("right", "top", (-5.0, -2.0)),
    "far above": ("center", "bottom", (0.0, 14.5)),
    "far below": ("center", "top", (0.0, -14.5)),
    "far right": ("left", "center_baseline", (26.0, 0.0)),
    "far left": ("right", "center_baseline", (-26.0, 0.0)),
}
"""Where a label can be beside its mark; the first of those that cover least is taken."""

MARK_EXTENT_POINTS = 3.5 * np.array([(0, 0), (0, 1), (0, -1), (1, 0), (-1, 0)])
"""What a mark covers around its centre."""


@dataclass(frozen=True)
class Label:
    """A number beside a mark."""

    x: float
    y: float
    text: str
    colour: str


def place_labels(axes: Axes, labels: Sequence[Label]) -> None:
    """Write labels, each on the side of its mark with the fewest lines and marks; limits must be final."""
    taken, written = _drawn_points(axes), np.zeros((0, 4))
    per_point = axes.figure.dpi / 72
    low, high = (np.array(corner) for corner in (axes.bbox.min, axes.bbox.max))
    for label in labels:
        mark = axes.transData.transform((label.x, label.y))
        half = np.array([text_width(label.text, LABEL_POINTS) * 72 / 2, LABEL_POINTS / 2]) * per_point
        # A label faces away from that of the next mark above or below.
        above = any(other.x == label.x and other.y > label.y for other in labels)
        below = any(other.x == label.x and other.y < label.y for other in labels)
        avoided = "" if above == below else "bottom" if above else "top"
        best: tuple[float, str, NDArray[np.float64]] | None = None
        for side, (ha, va, offset) in LABEL_SIDES.items():
            shift = np.array([{"left": 1, "center": 0, "right": -1}[ha], {"bottom": 1, "top": -1}.get(va, 0)])
            centre = mark + np.array(offset) * per_point + shift * half
            covered = (np.abs(taken - centre) < half + per_point).all(axis=1).sum()
            outside = bool((centre - half < low).any() or (centre + half > high).any())
            apart = (np.abs(written[:, :2] - centre) >= written[:, 2:] + half).any(axis=1)
            cost = float(covered) + 1000 * outside + 20 * (avoided == va) + 500 * (~apart).sum()
            cost += 8 * side.startswith("far")
            if best is None or cost < best[0]:
                best = cost, side, centre
        assert best is not None
        ha, va, offset = LABEL_SIDES[best[1]]
        axes.annotate(
            label.text,
            (label.x, label.y),
            xytext=offset,
            textcoords="offset points",
            size=LABEL_POINTS,
            color=label.colour,
            ha=ha,
            va=va,
            annotation_clip=False,
            zorder=6,
        )
        written = np.concatenate([written, [[*best[2], *half]]])


def _drawn_points(axes: Axes) -> NDArray[np.float64]:
    """Points along everything that is drawn, in pixels, a few pixels apart."""
    points = [np.zeros((0, 2))]
    for line in axes.lines:
        corners = line.get_transform().transform(np.column_stack(line.get_data()).astype(float))
        points += [corners + shift for shift in MARK_EXTENT_POINTS * axes.figure.dpi / 72]
        for start, end in itertools.pairwise(corners):
            steps = max(int(np.abs(end - start).max() / 3), 1)
            points.append(start + (end - start) * np.linspace(0, 1, steps)[:, None])
    return np.concatenate(points)
