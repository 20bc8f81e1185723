"""How things look in every figure: one colour and one mark for each method, and the paper's own marks."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.transforms import ScaledTranslation

from diagnosis.figures.legend import LegendEntry
from diagnosis.figures.style import MUTED_COLOUR, TEXT_COLOUR
from training.experiments.variant import Variant

__all__ = [
    "PAPER",
    "PAPER_DROP",
    "colour_of",
    "draw_missing",
    "draw_paper",
    "draw_series",
    "entry_of",
    "mark_of",
]

METHOD_COLOURS = {"none": TEXT_COLOUR, "spatial": "#0072B2", "channel": "#D55E00", "gap_fc": "#7B3FA0"}
PATCH_COLOURS = ("#7FCDBB", "#41A9A0", "#2A7F8E", "#2B5A85", "#27306B")
"""Of patch sizes 2, 4, 8, 16 and 32: the darker, the less is left of where things are."""
METHOD_MARKS = {"none": "o", "spatial": "o", "channel": "s", "gap_fc": "^"}
PATCH_MARKS = ("o", "s", "^", "D", "P")

BESIDE = 3.0  # points from the cross of a missing result to that of the next series

PAPER: Mapping[str, Any] = {
    "marker": "d",
    "markersize": 8,
    "markerfacecolor": "none",
    "markeredgewidth": 1.3,
}
"""A number of the paper's; its edge has the colour of the series."""
PAPER_DROP: Mapping[str, Any] = {**PAPER, "marker": "v", "markersize": 7}
"""A drop that the paper gives without the accuracy, taken from our baseline."""


def _patch_place(patch: int) -> int:
    return min(max(round(math.log2(patch)) - 1, 0), len(PATCH_COLOURS) - 1)


def colour_of(variant: Variant) -> str:
    """Of a method; of the patches, by their size."""
    if variant.patch is not None:
        return PATCH_COLOURS[_patch_place(variant.patch)]
    return METHOD_COLOURS[variant.method if variant.tested in (None, "none") else variant.tested]


def mark_of(variant: Variant) -> dict[str, Any]:
    """The mark of a result of ours; hollow where one layer alone is modified by a whole shuffle."""
    colour = colour_of(variant)
    hollow = variant.layer is not None and variant.patch is None
    shape = METHOD_MARKS.get(variant.method, "o")
    if variant.patch is not None:
        shape = PATCH_MARKS[_patch_place(variant.patch)]
    return {
        "marker": shape,
        "markersize": 4.5,
        "markerfacecolor": "white" if hollow else colour,
        "markeredgecolor": colour,
        "markeredgewidth": 1.1,
    }


def line_of(variant: Variant) -> dict[str, Any]:
    """The line through the results of a series."""
    hollow = variant.layer is not None and variant.patch is None
    return {"color": colour_of(variant), "linewidth": 1.3, "linestyle": (0, (3, 1.5)) if hollow else "-"}


def entry_of(name: str, variant: Variant) -> LegendEntry:
    """A series in the legend."""
    return LegendEntry(name, line_of(variant), mark_of(variant))


def draw_series(
    axes: Axes, x: Sequence[float], y: Sequence[float], spread: Sequence[float], variant: Variant
) -> None:
    """A line with marks, and the spread over seeds where there is one; points that are NaN are left out."""
    known = [(a, b, c) for a, b, c in zip(x, y, spread, strict=True) if not math.isnan(b)]
    if not known:
        return
    across, up, error = zip(*known, strict=True)
    axes.plot(across, up, zorder=3, **line_of(variant), **mark_of(variant))
    if any(not math.isnan(value) for value in error):
        axes.errorbar(
            across, up, [0 if math.isnan(value) else value for value in error],
            fmt="none", ecolor=colour_of(variant), elinewidth=1.0, capsize=2.5, zorder=2.5,
        )  # fmt: skip


def draw_paper(axes: Axes, x: float, y: float, colour: str, *, drop: bool = False) -> None:
    """A number of the paper's, above all lines."""
    look = PAPER_DROP if drop else PAPER
    axes.plot([x], [y], linestyle="none", zorder=5, clip_on=False, markeredgecolor=colour, **look)


def draw_missing(axes: Axes, x: Sequence[float], colour: str, aside: float) -> None:
    """A cross on the axis where a result is not there; those of a series stand a little `aside`."""
    if x and axes.figure is not None:
        shift = ScaledTranslation(aside * BESIDE / 72, 0, axes.figure.dpi_scale_trans)
        axes.plot(
            x, [0.0] * len(x), transform=axes.get_xaxis_transform() + shift, linestyle="none", marker="x",
            markersize=3, color=colour, markeredgewidth=0.9, zorder=4, clip_on=False,
        )  # fmt: skip


MISSING = LegendEntry(
    "not there yet",
    mark={"marker": "x", "markersize": 4, "color": MUTED_COLOUR, "markeredgewidth": 0.9},
)


def paper_entries(*, numbers: bool, drops: bool) -> list[LegendEntry]:
    """The paper's marks in the legend, those that the figure has."""
    entries = []
    if numbers:
        entries.append(
            LegendEntry("paper, in the colour of its series", mark={**PAPER, "markeredgecolor": MUTED_COLOUR})
        )
    if drops:
        text = "paper's drop, from our baseline"
        entries.append(LegendEntry(text, mark={**PAPER_DROP, "markeredgecolor": MUTED_COLOUR}))
    return entries
