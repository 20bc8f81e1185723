"""Figure 9: what kinds of mistakes the plain and the shuffled detector make, as pies with numbers below."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle, Wedge

from diagnosis.breakdown import ERROR_TYPES
from diagnosis.figures.style import GRID_COLOUR, MUTED_COLOUR, TEXT_COLOUR, text_colour_on
from training.experiments.collect import Row
from training.experiments.notes import notes
from training.experiments.page import make_page
from training.experiments.paper import reported
from training.experiments.plan import Plan
from training.experiments.tables import DETECTED, with_spread

__all__ = ["error_pies"]

RADIUS, STEP = 1.0, 0.2  # inches
PANEL = (3.3, 2 * RADIUS + 0.25 + STEP * 7.2)
INSIDE = 6.0  # percent: a slice from there on has room for its number


def error_pies(plan: Plan, rows: Sequence[Row]) -> Figure:
    """A pie a detector, and below it the shares and mAP beside those that the paper's text gives."""
    figure, panels = make_page(
        [row.point.series for row in rows],
        PANEL,
        title=plan.heading,
        entries=(),
        notes=[
            "What became of the top N detections of each class, N its number of objects; shares averaged "
            "over the classes. mAP: VOC 2007, 11 points.",
            *notes(plan, rows),
        ],
        left=0.1,
        below=0.1,
    )
    for axes, row in zip(panels, rows, strict=True):
        axes.set(xlim=(0, PANEL[0]), ylim=(PANEL[1], 0))
        axes.axis("off")
        _pie(axes, row)
        _numbers(axes, row)
    return figure


def _pie(axes: Axes, row: Row) -> None:
    """The slices, clockwise from the top, the larger ones with their percentages."""
    centre = (PANEL[0] / 2, RADIUS + 0.05)
    if not row.results or math.isnan(row.mean(ERROR_TYPES[0].name)):
        words = "nothing detected" if row.results else "not there yet"
        axes.add_patch(Wedge(centre, RADIUS, 0, 360, facecolor="#f4f4f4", edgecolor=GRID_COLOUR))
        axes.text(*centre, words, size=9, color=MUTED_COLOUR, ha="center", va="center")
        return
    angle = -90.0
    for kind in ERROR_TYPES:
        share = row.mean(kind.name)
        end = angle + 3.6 * share  # the axis of y points down: clockwise
        axes.add_patch(
            Wedge(centre, RADIUS, angle, end, facecolor=kind.colour, edgecolor="white", linewidth=0.8)
        )
        if share >= INSIDE:
            middle = math.radians((angle + end) / 2)
            x, y = centre[0] + 0.65 * RADIUS * math.cos(middle), centre[1] + 0.65 * RADIUS * math.sin(middle)
            look: dict[str, Any] = {
                "size": 8.5,
                "color": text_colour_on(kind.colour),
                "ha": "center",
                "va": "center",
            }
            axes.text(x, y, f"{share:.1f}", **look)
        angle = end


def _numbers(axes: Axes, row: Row) -> None:
    """A line for each kind and for mAP: ours and the paper's, in percent."""
    ours, paper = PANEL[0] - 0.95, PANEL[0] - 0.1
    y = 2 * RADIUS + 0.3
    for x, text in ((ours, "ours"), (paper, "paper")):
        axes.text(x, y, text, size=7.5, color=MUTED_COLOUR, ha="right", va="center_baseline")
    kinds = [(kind.name, kind.name, kind.colour) for kind in ERROR_TYPES]
    for name, label, colour in [*kinds, ("map", "mAP", "none")]:
        y += STEP
        axes.add_patch(Rectangle((0.05, y - 0.06), 0.2, 0.12, facecolor=colour, linewidth=0))
        look: dict[str, Any] = {"size": 8.5, "va": "center_baseline"}
        axes.text(0.35, y, f"{label} (%)", color=TEXT_COLOUR, **look)
        axes.text(ours, y, with_spread(row, name, 1), color=TEXT_COLOUR, ha="right", **look)
        known = reported(row.point.variant, DETECTED[name]) if name in DETECTED else None
        axes.text(paper, y, f"{known.value:g}" if known else "–", color=MUTED_COLOUR, ha="right", **look)
