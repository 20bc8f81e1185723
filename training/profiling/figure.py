"""A profile as a figure: each measure against depth, one line for each way of taking order away."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.transforms import ScaledTranslation

from detector.profiling import BASELINE, Profile, ProfileMethod, ProfileRow
from detector.registry import METHODS, method_style
from diagnosis.breakdown import ERROR_TYPES
from diagnosis.figures.layout import new_page
from diagnosis.figures.style import (
    MUTED_COLOUR,
    TEXT_COLOUR,
    TEXT_POINTS,
    frame_lightly,
    styled,
    text_width,
    write_in_middle,
)

__all__ = ["curves_of", "draw_profile", "points_of"]

WHOLE_MAP_COLOUR = "#1b1440"
"""Colour of a shuffle whose patch is the whole map: the dark end of the patches' colours."""
MEASURE_LABELS = {"map_area": "mAP (area, IoU 0.5)"}
MAIN_INCHES, SMALL_INCHES = 4.0, 2.3
"""Heights of the large panel and of the small ones, with their labels."""
SIZE_LABEL_POINTS = -21.0, -23.5, -38.0
"""Below a panel: the line and the text of a map size, the name of the axis."""
MAX_TICKS, MAX_SMALL_TICKS = 34, 6


class ProfileLine(NamedTuple):
    """A line of the figure."""

    method: ProfileMethod
    patch: int | None
    label: str
    line: Mapping[str, Any]
    """Matplotlib's properties, without the size of the markers."""


def curves_of(profile: Profile) -> list[ProfileLine]:
    """The lines that a profile has, in the order of the legend: patches by size, then other methods."""
    variants = {(row.method, row.patch) for row in profile.rows if row.layer != BASELINE}
    methods = sorted(METHODS.items(), key=lambda item: not item[1].needs_patch)
    whole_maps = {row.whole_map for row in METHODS.values()}
    curves = []
    for name, row in methods:
        for method, patch in sorted((v for v in variants if v[0] == name), key=lambda v: v[1] or 0):
            colour, marker = method_style(name, patch)
            colour = WHOLE_MAP_COLOUR if name in whole_maps else colour
            line = {"color": colour, "linestyle": row.dashes, "marker": marker, "linewidth": 1.6}
            curves.append(ProfileLine(method, patch, row.removes.format(patch=patch), line))
    return curves


@styled
def draw_profile(
    profile: Profile, *, title: str, note: str, chance: Mapping[str, float], measures: Sequence[str]
) -> Figure:
    """Draw a profile of at least one layer.

    The first of `measures` is in a large panel, the others are in small ones below it; `chance` is what
    guessing would score, by measure.
    """
    curves, small = curves_of(profile), measures[1:]
    chart = min(max(7.0 if small else 4.4, 0.32 * len(profile.layers)), 11.0)
    legend = 0.7 + max([text_width(curve.label, TEXT_POINTS) for curve in curves] + [1.1])
    heights = [MAIN_INCHES, SMALL_INCHES] if small else [MAIN_INCHES]
    figure = new_page(0.6 + chart + legend, sum(heights), title=title, note=note)
    grid = figure.add_gridspec(len(heights), max(len(small), 1), height_ratios=heights)
    main = figure.add_subplot(grid[0, :])
    levels = _draw_measure(main, profile, measures[0], curves, chance, marker_size=4.2)
    main.set_xticks(_ticks(profile.layers, MAX_TICKS))
    main.set_ylabel(f"{MEASURE_LABELS.get(measures[0], measures[0])} (%)")
    frame_lightly(main, TEXT_POINTS)
    _draw_map_sizes(main, profile, chart)
    handles = [Line2D([], [], label=curve.label, markersize=4.2, **curve.line) for curve in curves]
    for handle in handles:
        handle.set(markeredgecolor="white", markeredgewidth=0.5)
    main.legend(
        handles=[*levels[:1], *handles, *levels[1:]],
        title="removed:",
        title_fontsize=TEXT_POINTS,
        fontsize=TEXT_POINTS,
        labelcolor=TEXT_COLOUR,
        loc="upper left",
        bbox_to_anchor=(1 + 0.1 / chart, 1),
        borderaxespad=0,
        frameon=False,
        alignment="left",
    )
    shares: list[Axes] = []
    for number, measure in enumerate(small):
        axes = figure.add_subplot(grid[1, number])
        _draw_measure(axes, profile, measure, curves, chance, marker_size=2.6)
        axes.set_xticks(_ticks(profile.layers, MAX_SMALL_TICKS))
        axes.set_xlabel("layer", labelpad=1.5)
        frame_lightly(axes, TEXT_POINTS - 1)
        colour = next((row.colour for row in ERROR_TYPES if row.name == measure), "none")
        square = {"boxstyle": "square,pad=0.15", "facecolor": colour, "edgecolor": "none"}
        above: dict[str, Any] = {"xycoords": "axes fraction", "textcoords": "offset points"}
        axes.annotate("  ", (0, 1), (2, 8), size=5, bbox=square, **above)
        axes.annotate(f"{measure} (%)", (0, 1), (12, 7), size=TEXT_POINTS, weight="bold", **above)
        shares.append(axes)
    for axes in shares:  # one scale, so that they can be compared
        axes.set_ylim(0, max(other.get_ylim()[1] for other in shares))
    return figure


def _draw_measure(
    axes: Axes,
    profile: Profile,
    measure: str,
    curves: Sequence[ProfileLine],
    chance: Mapping[str, float],
    *,
    marker_size: float,
) -> list[Line2D]:
    """Lines and bands of one measure, in percent; returns the lines of the scores that have no layer."""
    baseline = profile.baseline(measure)
    levels = []
    for label, value, dashes in (
        ("nothing", math.nan if baseline is None else baseline.mean, "-"),
        ("chance", chance.get(measure, math.nan), ":"),
    ):
        if math.isfinite(value):
            label = f"{label}: {100 * value:.1f} %"
            style: dict[str, Any] = {"color": MUTED_COLOUR, "linestyle": dashes, "linewidth": 1.1}
            levels.append(axes.axhline(100 * value, label=label, zorder=1.5, **style))
    tops = [float(np.max(level.get_ydata())) for level in levels]
    for order, curve in enumerate(curves, start=3):
        rows = points_of(profile, curve, measure)
        if not rows:
            continue
        x = [row.layer for row in rows]
        mean = 100 * np.array([row.mean for row in rows])
        std = 100 * np.nan_to_num([row.std for row in rows])
        tops.append(float(np.max(mean + std)))
        axes.fill_between(
            x, mean - std, mean + std, color=curve.line["color"], alpha=0.2, linewidth=0, zorder=2
        )
        (line,) = axes.plot(x, mean, markersize=marker_size, clip_on=False, zorder=order, **curve.line)
        line.set(markeredgecolor="white", markeredgewidth=0.12 * marker_size)
    axes.set_ylim(0, max(1.12 * max(tops, default=100.0), 1.0))
    axes.set_xlim(profile.layers[0] - 0.5, profile.layers[-1] + 0.5)
    if not tops:
        write_in_middle(axes, "not defined")
    return levels


def points_of(profile: Profile, curve: ProfileLine, measure: str) -> list[ProfileRow]:
    """The rows of a line; that of a patch size ends with the first map that is no larger."""
    found = [profile.at(layer, curve.method, curve.patch, measure) for layer in profile.layers]
    rows = [row for row in found if row is not None and not math.isnan(row.mean)]
    if curve.patch is not None:
        own = [number for number, row in enumerate(rows) if row.method == curve.method]
        rows = rows[: own[-1] + 2] if own else []
    return rows


def _ticks(layers: Sequence[int], most: int) -> list[int]:
    """Numbers of layers for the axis: all, or every fifth, tenth …"""
    if len(layers) <= most:
        return list(layers)
    step = next(step for step in (5, 10, 20, 50, 100, 200, 500) if layers[-1] / step <= most)
    return [layer for layer in layers if layer % step == 0 or layer == layers[0]]


def _draw_map_sizes(axes: Axes, profile: Profile, chart: float) -> None:
    """Below the numbers of the layers, the size of the map that enters them."""
    sizes = {row.layer: (row.height, row.width) for row in profile.rows if row.layer != BASELINE}
    groups = [(size, list(group)) for size, group in groupby(profile.layers, key=sizes.__getitem__)]
    step = chart / (profile.layers[-1] - profile.layers[0] + 1)  # inches from layer to layer
    labels = [f"{height}×{width}" for (height, width), _ in groups]
    widths = [(group[-1] - group[0] + 1) * step for _, group in groups]
    narrow = any(
        text_width(label, TEXT_POINTS - 1) > width for label, width in zip(labels, widths, strict=True)
    )
    square = all(height == width for height, width in sizes.values())
    if narrow and square:
        labels = [str(height) for (height, _), _ in groups]
    line, text, name = SIZE_LABEL_POINTS
    assert axes.figure is not None
    shifted = axes.get_xaxis_transform() + ScaledTranslation(0, line / 72, axes.figure.dpi_scale_trans)
    style: dict[str, Any] = {"textcoords": "offset points", "ha": "center", "va": "top"}
    for label, width, (_, group) in zip(labels, widths, groups, strict=True):
        left, right = group[0] - 0.4, group[-1] + 0.4
        axes.plot([left, right], [0, 0], color=MUTED_COLOUR, linewidth=1, clip_on=False, transform=shifted)
        size = TEXT_POINTS - (1 if text_width(label, TEXT_POINTS - 1) < width + 0.05 else 3)
        place: dict[str, Any] = {
            "xytext": (0, text),
            "xycoords": axes.get_xaxis_transform(),
            "annotation_clip": False,
        }
        axes.annotate(label, ((left + right) / 2, 0), size=size, color=MUTED_COLOUR, **place, **style)
    words = f"layer, and {'side' if narrow and square else 'size'} of the map that enters it (positions)"
    axes.annotate(words, (0.5, 0), (0, name), "axes fraction", size=TEXT_POINTS, color=TEXT_COLOUR, **style)
