"""Tables 1 and 2 as dots: one line a row of the table, our accuracy and the paper's."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from matplotlib.figure import Figure

from diagnosis.figures.legend import LegendEntry
from diagnosis.figures.style import GRID_COLOUR, MUTED_COLOUR, TEXT_COLOUR, text_width
from training.experiments.collect import Row
from training.experiments.looks import colour_of, draw_paper, mark_of, paper_entries
from training.experiments.notes import notes
from training.experiments.page import make_page
from training.experiments.paper import paper_accuracy, reported
from training.experiments.plan import Plan
from training.experiments.tables import ARCHITECTURES, with_spread
from training.experiments.variant import Variant, modified_percent

__all__ = ["dots"]

STEP = 0.27  # inches from row to row
ROW_TEXT = 8.5  # points


def dots(plan: Plan, rows: Sequence[Row]) -> Figure:
    """A dot for each row's accuracy, a diamond for the paper's, and both in numbers beside them."""
    names = [_name(plan, row) for row in rows]
    widest = max(text_width(name, ROW_TEXT) for name in names)
    entries = [
        LegendEntry("ours", mark=_mark(Variant("", ""))),
        *paper_entries(numbers=any(paper_accuracy(row.point.variant) for row in rows), drops=False),
    ]
    figure, (axes,) = make_page(
        [""],
        (3.4, STEP * (len(rows) + 0.5)),
        title=plan.heading,
        entries=entries,
        notes=notes(plan, rows),
        left=widest + 0.15,
        right=1.75,
    )
    for place, (name, row) in enumerate(zip(names, rows, strict=True)):
        variant, paper = row.point.variant, paper_accuracy(row.point.variant)
        axes.axhline(place, color=GRID_COLOUR, linewidth=0.5, zorder=0)
        beside: dict[str, Any] = {"size": ROW_TEXT, "va": "center_baseline", "annotation_clip": False}
        axes.annotate(
            name, (-0.03, place), xycoords=axes.get_yaxis_transform(), ha="right", color=TEXT_COLOUR, **beside
        )
        if row.results:
            spread = row.std()
            axes.errorbar(
                [row.mean()], [place], xerr=None if math.isnan(spread) else [spread],
                color=colour_of(variant), capsize=2.5, zorder=4, **_mark(variant),
            )  # fmt: skip
        for x, text, colour in (
            (
                1.04,
                with_spread(row) if row.results else "not yet",
                TEXT_COLOUR if row.results else MUTED_COLOUR,
            ),
            (1.36, f"{paper.value:.2f}" if paper else "–", MUTED_COLOUR),
        ):
            axes.annotate(text, (x, place), xycoords=axes.get_yaxis_transform(), color=colour, **beside)
        if paper is not None:
            draw_paper(axes, paper.value, place, colour_of(variant))
    columns = [(1.04, "ours", "left"), (1.36, "paper", "left")]
    if plan.experiment.draw == "train_test":
        columns.append((-0.03, "in training → in test", "right"))
    for x, text, side in columns:
        axes.annotate(
            text, (x, -0.85), xycoords=axes.get_yaxis_transform(), size=7.5, color=MUTED_COLOUR, ha=side,
            va="center_baseline", annotation_clip=False,
        )  # fmt: skip
    axes.grid(True, axis="x", color=GRID_COLOUR, linewidth=0.5)
    axes.grid(False, axis="y")
    axes.set(
        xlim=_limits(rows, plan.experiment.draw == "networks"),
        ylim=(len(rows) - 0.4, -0.6),
        yticks=[],
        xlabel="top-1 accuracy (%)",
    )
    axes.spines["left"].set_visible(False)
    return figure


def _mark(variant: Variant) -> dict[str, Any]:
    """Of one shape in all rows: their names say what was modified."""
    return {**mark_of(variant), "marker": "o"}


def _limits(rows: Sequence[Row], close: bool) -> tuple[float, float]:
    """From 0 on, or `close` around the accuracies where all networks do well."""
    papers = [paper_accuracy(row.point.variant) for row in rows]
    values = [known.value for known in papers if known] + [row.mean() for row in rows if row.results]
    values = values or [0.0, 100.0]
    return (5 * math.floor(min(values) / 5 - 0.4) if close else 0.0), 5 * math.ceil(max(values) / 5 + 0.4)


def _name(plan: Plan, row: Row) -> str:
    """A row's name: the series, of Table 2 with the network, its modified layers and its size."""
    variant = row.point.variant
    if plan.experiment.draw != "networks":
        return row.point.series
    words = [ARCHITECTURES.get(variant.arch, variant.arch), row.point.series.split(": ")[-1]]
    if variant.method != "none":
        words.append(f"{modified_percent(variant):.0f} %")
    parameters, known = row.mean("parameters") / 1e6, reported(variant, "parameters")
    size = f"{parameters:.2f} M" if not math.isnan(parameters) else ""
    if known is not None and size != f"{known.value:.2f} M":
        size = f"{size} (paper {known.value:.2f} M)" if size else f"paper {known.value:.2f} M"
    return ", ".join([*words, size] if size else words)
