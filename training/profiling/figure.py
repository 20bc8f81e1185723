"""A profile as a figure: each measure against depth, one line for each way of taking order away."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any, Literal, NamedTuple

from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap, to_hex
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle

from detector.profiling import BASELINE, Profile, ProfileMethod, ProfileRow
from detector.tables import METHODS
from diagnosis.breakdown import ERROR_TYPES
from diagnosis.figures.style import (
    GRID_COLOUR,
    LINE_INCHES,
    MARGIN_INCHES,
    MUTED_COLOUR,
    TEXT_COLOUR,
    TEXT_POINTS,
    blank_axes,
    draw_text,
    figure_style,
    new_figure,
    text_width,
    wrap,
)

__all__ = ["draw_profile"]

# Light to dark, so that the order is seen without colour; the darkest is the whole map.
PATCH_COLOURS = ("#9fd9c3", "#3fadc2", "#4a5ba6")
MARKERS = "os^Dv<>"
WHOLE_MAP_COLOUR = "#1b1440"
NAMES = {"accuracy": "accuracy", "map_area": "mAP (area, IoU 0.5)"}
LEFT, FOOT, HEAD = 0.62, 0.72, 0.34  # inches around a panel: its axis, layers and map sizes, title
MAIN_HEIGHT, SMALL_HEIGHT, GAP = 3.1, 1.5, 0.42  # inches


class Curve(NamedTuple):
    """A line of the figure."""

    method: ProfileMethod
    patch: int | None
    label: str
    colour: str
    dashes: Literal["-", "--"]
    marker: str


class Level(NamedTuple):
    """A score that is the same at every layer."""

    label: str
    value: float
    dashes: Literal["-", ":"]


def _levels(profile: Profile, measure: str, chance: Mapping[str, float]) -> list[Level]:
    baseline = profile.baseline(measure)
    found = [
        Level("nothing", math.nan if baseline is None else baseline.mean, "-"),
        Level("chance", chance.get(measure, math.nan), ":"),
    ]
    return [level for level in found if math.isfinite(level.value)]


def curves_of(profile: Profile) -> list[Curve]:
    """The lines that a profile has, in the order of the legend."""
    measured = {row.method for row in profile.rows}
    patches = profile.patches
    shades = LinearSegmentedColormap.from_list("patches", PATCH_COLOURS)
    found = [
        Curve(
            "patch",
            patch,
            METHODS["patch"].removes.format(patch=patch),
            to_hex(shades(number / max(len(patches) - 1, 1))),
            "-",
            MARKERS[number % len(MARKERS)],
        )
        for number, patch in enumerate(patches)
    ]
    if "spatial" in measured:
        found.append(Curve("spatial", None, METHODS["spatial"].removes, WHOLE_MAP_COLOUR, "-", "o"))
    if "channel" in measured:
        row = METHODS["channel"]
        found.append(Curve("channel", None, row.removes, row.colour, "--", row.marker))
    return found


def draw_profile(
    profile: Profile, *, title: str, note: str, chance: Mapping[str, float], measures: Sequence[str]
) -> Figure:
    """Draw a profile.

    Parameters
    ----------
    profile
        At least one layer.
    title
        Of the figure.
    note
        What it shows: how many images and passes.
    chance
        What guessing would score, by measure.
    measures
        The first in a large panel, the others in small ones below it.
    """
    curves = curves_of(profile)
    layers = len(profile.layers)
    levels = _levels(profile, measures[0], chance)
    key = 0.5 + max([text_width(item.label, TEXT_POINTS) for item in curves] + [1.1])
    small = measures[1:]
    chart = min(max(7.0 if small else 4.4, 0.32 * layers), 11.0)
    width = LEFT + chart + 0.2 + key
    each = (width - LEFT - GAP * (len(small) - 1)) / max(len(small), 1)
    lines = wrap(note, width, TEXT_POINTS)
    panels = HEAD + SMALL_HEIGHT + 0.55 if small else 0.0
    height = 0.42 + MAIN_HEIGHT + FOOT + panels + LINE_INCHES * len(lines) + 0.1
    with figure_style():
        figure = new_figure(width + 2 * MARGIN_INCHES, height + 2 * MARGIN_INCHES)
        heading = blank_axes(figure, MARGIN_INCHES, MARGIN_INCHES, width, 0.3)
        draw_text(
            heading, 0, 0.1, wrap(title, width, 11, lines=1, weight="bold")[0], 11, TEXT_COLOUR, weight="bold"
        )
        top = MARGIN_INCHES + 0.42
        main = _panel(figure, MARGIN_INCHES + LEFT, top, chart, MAIN_HEIGHT)
        _draw(main, profile, measures[0], curves, chance, large=True)
        _sizes(main, profile, chart)
        _key(figure, curves, levels, MARGIN_INCHES + LEFT + chart + 0.2, top + 0.05, key)
        top += MAIN_HEIGHT + FOOT + HEAD
        shares: list[Axes] = []
        for number, measure in enumerate(small):
            left = MARGIN_INCHES + LEFT + number * (each + GAP)
            panel = _panel(figure, left, top, each, SMALL_HEIGHT)
            _draw(panel, profile, measure, curves, chance, large=False)
            _name(figure, measure, left, top, each)
            shares.append(panel)
        for panel in shares:  # one scale, so that they can be compared
            panel.set_ylim(0, max(other.get_ylim()[1] for other in shares))
        caption = blank_axes(
            figure,
            MARGIN_INCHES,
            MARGIN_INCHES + height - LINE_INCHES * len(lines),
            width,
            LINE_INCHES * len(lines),
        )
        for number, line in enumerate(lines):
            draw_text(caption, 0, LINE_INCHES * (number + 0.5), line, TEXT_POINTS)
    return figure


def _panel(figure: Figure, left: float, top: float, width: float, height: float) -> Axes:
    page_width, page_height = figure.get_size_inches()
    return figure.add_axes(
        (left / page_width, 1 - (top + height) / page_height, width / page_width, height / page_height)
    )


def _draw(
    axes: Axes,
    profile: Profile,
    measure: str,
    curves: Sequence[Curve],
    chance: Mapping[str, float],
    *,
    large: bool,
) -> None:
    """Lines and bands of one measure, in per cent."""
    layers = profile.layers
    levels = _levels(profile, measure, chance)
    tops = [level.value for level in levels]
    for order, curve in enumerate(curves, start=3):
        rows = _points(profile, curve, measure)
        if not rows:
            continue
        x = [row.layer for row in rows]
        mean = [100 * row.mean for row in rows]
        spread = [0.0 if math.isnan(row.std) else 100 * row.std for row in rows]
        tops += [(m + s) / 100 for m, s in zip(mean, spread, strict=True)]
        axes.fill_between(
            x,
            [m - s for m, s in zip(mean, spread, strict=True)],
            [m + s for m, s in zip(mean, spread, strict=True)],
            color=curve.colour,
            alpha=0.2,
            linewidth=0,
            zorder=2,
        )
        (line,) = axes.plot(x, mean, curve.dashes, color=curve.colour, linewidth=1.6, zorder=order)
        line.set(marker=curve.marker, markersize=4.2 if large else 2.6, clip_on=False)
        line.set(markeredgecolor="white", markeredgewidth=0.5 if large else 0.3)
    for level in levels:
        axes.axhline(100 * level.value, color=MUTED_COLOUR, linestyle=level.dashes, linewidth=1.1, zorder=1.5)
    top = 100 * max((value for value in tops if math.isfinite(value)), default=1.0)
    axes.set_ylim(0, max(top * 1.12, 1.0))
    axes.set_xlim(layers[0] - 0.5, layers[-1] + 0.5)
    if not any(map(math.isfinite, tops)):
        axes.text(
            0.5,
            0.5,
            "not defined",
            transform=axes.transAxes,
            ha="center",
            size=TEXT_POINTS,
            color=MUTED_COLOUR,
        )
    axes.grid(axis="y", color=GRID_COLOUR, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.tick_params(labelsize=TEXT_POINTS - (0 if large else 1), colors=MUTED_COLOUR, length=2.5)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(MUTED_COLOUR)
    ticks = _ticks(layers, 34 if large else 6)
    axes.set_xticks(ticks, [str(tick) for tick in ticks])
    if large:
        axes.set_ylabel(f"{NAMES.get(measure, measure)} (%)", size=TEXT_POINTS + 0.5, color=TEXT_COLOUR)
    else:
        axes.set_xlabel("layer", size=TEXT_POINTS - 1, color=MUTED_COLOUR, labelpad=1.5)


def _points(profile: Profile, curve: Curve, measure: str) -> list[ProfileRow]:
    """The rows of a line; one of patches ends where the map is so small that it becomes the whole map's."""
    rows: list[ProfileRow] = []
    for layer in profile.layers:
        row = profile.at(layer, curve.method, curve.patch, measure)
        if row is None or math.isnan(row.mean):
            continue
        rows.append(row)
    if curve.method == "patch":
        own = [number for number, row in enumerate(rows) if row.method == "patch"]
        rows = rows[: own[-1] + 2] if own else []
    return rows


def _ticks(layers: Sequence[int], most: int) -> list[int]:
    """Numbers of layers for the axis: all, or every fifth, tenth …"""
    if len(layers) <= most:
        return list(layers)
    step = next(step for step in (5, 10, 20, 50, 100, 200, 500) if layers[-1] / step <= most)
    return [layer for layer in layers if layer % step == 0 or layer == layers[0]]


def _sizes(axes: Axes, profile: Profile, chart: float) -> None:
    """Below the numbers of the layers, the size of the map that enters them."""
    sizes = {row.layer: (row.height, row.width) for row in profile.rows if row.layer != BASELINE}
    groups = [(size, list(group)) for size, group in groupby(profile.layers, key=sizes.__getitem__)]
    inch = 1 / MAIN_HEIGHT
    step = chart / (profile.layers[-1] - profile.layers[0] + 1)  # inches from layer to layer
    labels = [f"{height}×{width}" for (height, width), _ in groups]
    narrow = any(
        text_width(label, TEXT_POINTS - 1) > (group[-1] - group[0] + 1) * step
        for label, (_, group) in zip(labels, groups, strict=True)
    )
    square = all(height == width for height, width in sizes.values())
    if narrow and square:
        labels = [str(height) for (height, _), _ in groups]
    for label, (_, group) in zip(labels, groups, strict=True):
        left, right, y = group[0] - 0.4, group[-1] + 0.4, -0.27 * inch
        place = axes.get_xaxis_transform()
        axes.plot([left, right], [y, y], color=MUTED_COLOUR, linewidth=1, transform=place, clip_on=False)
        room = (group[-1] - group[0] + 1) * step + 0.05
        size = TEXT_POINTS - 1 if text_width(label, TEXT_POINTS - 1) < room else TEXT_POINTS - 3
        look: dict[str, Any] = {"ha": "center", "va": "top", "color": MUTED_COLOUR}
        axes.text((left + right) / 2, y - 0.03 * inch, label, size=size, transform=place, **look)
    words = f"layer, and {'side' if narrow and square else 'size'} of the map that enters it (positions)"
    place = axes.transAxes
    axes.text(
        0.5, -0.52 * inch, words, size=TEXT_POINTS, color=TEXT_COLOUR, ha="center", va="top", transform=place
    )


def _key(
    figure: Figure, curves: Sequence[Curve], levels: Sequence[Level], left: float, top: float, width: float
) -> None:
    axes = blank_axes(figure, left, top, width, LINE_INCHES * (len(curves) + len(levels) + 1))
    draw_text(axes, 0, LINE_INCHES / 2, "taken away:", TEXT_POINTS, TEXT_COLOUR)
    y = LINE_INCHES * 1.5
    for level in levels[:1]:
        axes.add_line(Line2D([0.02, 0.34], [y, y], linestyle=level.dashes, color=MUTED_COLOUR, linewidth=1.1))
        draw_text(axes, 0.44, y, f"{level.label}: {100 * level.value:.1f} %", TEXT_POINTS, TEXT_COLOUR)
        y += LINE_INCHES
    for curve in curves:
        axes.add_line(Line2D([0.02, 0.34], [y, y], linestyle=curve.dashes, color=curve.colour, linewidth=1.6))
        (dot,) = axes.plot([0.18], [y], curve.marker, color=curve.colour, markersize=4.2)
        dot.set(markeredgecolor="white", markeredgewidth=0.5)
        draw_text(axes, 0.44, y, curve.label, TEXT_POINTS, TEXT_COLOUR)
        y += LINE_INCHES
    for level in levels[1:]:
        axes.add_line(Line2D([0.02, 0.34], [y, y], linestyle=level.dashes, color=MUTED_COLOUR, linewidth=1.1))
        draw_text(axes, 0.44, y, f"{level.label}: {100 * level.value:.1f} %", TEXT_POINTS, TEXT_COLOUR)


def _name(figure: Figure, measure: str, left: float, top: float, width: float) -> None:
    """Name of a small panel; an error type with its colour, as everywhere."""
    axes = blank_axes(figure, left, top - HEAD + 0.06, width, 0.2)
    colour = next((kind.colour for kind in ERROR_TYPES if kind.name == measure), None)
    if colour is not None:
        axes.add_patch(Rectangle((0, 0.04), 0.2, 0.12, facecolor=colour, linewidth=0))
    draw_text(axes, 0.28 if colour else 0, 0.1, f"{measure} (%)", TEXT_POINTS, TEXT_COLOUR, weight="bold")
