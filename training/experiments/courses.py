"""Training curves (Figure 1): accuracy epoch by epoch, and what the test set says in the end."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from diagnosis.figures.legend import LegendEntry
from diagnosis.figures.style import MUTED_COLOUR, spread
from training.experiments.collect import Curve, Row, seed_spread
from training.experiments.looks import colour_of, draw_paper, mark_of, paper_entries
from training.experiments.notes import notes
from training.experiments.page import make_page
from training.experiments.paper import paper_accuracy
from training.experiments.plan import Plan

__all__ = ["training_curves"]

LABEL_STEP = 4.5  # percent from one label to the next

TRAINING: dict[str, Any] = {"linewidth": 0.9, "linestyle": (0, (2.5, 1.5)), "alpha": 0.75}


def training_curves(plan: Plan, rows: Sequence[Row], curves: Mapping[str, Curve]) -> Figure:
    """Accuracy over epochs, a colour a series; at the right end the test accuracy and the paper's.

    Parameters
    ----------
    plan
        The experiment's.
    rows
        Its results.
    curves
        By the name of the run.
    """
    entries = [
        LegendEntry(row.point.series, line={"color": colour_of(row.point.variant), "linewidth": 1.4})
        for row in rows
    ]
    entries += [
        LegendEntry("validation", line={"color": MUTED_COLOUR, "linewidth": 1.4}),
        LegendEntry("training, on augmented images", line={"color": MUTED_COLOUR, **TRAINING}),
        LegendEntry("test, at the end", mark={"marker": "o", "markersize": 5, "color": MUTED_COLOUR}),
        *paper_entries(numbers=True, drops=False),
    ]
    figure, (axes,) = make_page(
        [""],
        (5.6, 3.3),
        title=plan.heading,
        entries=entries,
        notes=notes(plan, rows),
        right=0.9,
    )
    last = 1
    for row in rows:
        last = max(
            last, _draw(axes, [curves[run.name] for run in row.point.runs], colour_of(row.point.variant))
        )
    end = last * 1.03  # to the right of the curves: the test set is looked at once, after the last epoch
    papers = [(row, known) for row in rows for known in [paper_accuracy(row.point.variant)] if known]
    for row in rows:
        if row.results:
            error = row.std()
            axes.errorbar(
                [end], [row.mean()], None if math.isnan(error) else [error],
                color=colour_of(row.point.variant), capsize=2.5, zorder=4, **mark_of(row.point.variant),
            )  # fmt: skip
    for row, known in papers:
        draw_paper(axes, end, known.value, colour_of(row.point.variant))
    papers.sort(key=lambda pair: pair[1].value)
    places = spread(np.array([known.value for _, known in papers]), LABEL_STEP, 100.0)
    for (row, known), y in zip(papers, places, strict=True):
        axes.annotate(
            f"paper {known.value:.2f}", (end, known.value), xytext=(last * 1.06, y), textcoords="data",
            size=7.5, color=colour_of(row.point.variant), va="center_baseline", annotation_clip=False,
        )  # fmt: skip
    axes.set(xlim=(0, last * 1.045), xlabel="epoch", ylabel="top-1 accuracy (%)")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, steps=[1, 2, 5, 10]))
    axes.set_ylim(bottom=0)
    return figure


def _draw(axes: Axes, curves: Sequence[Curve], colour: str) -> int:
    """The mean course of several seeds, with their spread as a band; returns the last epoch."""
    there = [curve for curve in curves if curve.epochs]
    if not there:
        return 1
    epochs = there[0].epochs[: min(len(curve.epochs) for curve in there)]
    for values, look in (
        ([curve.train for curve in there], TRAINING),
        ([curve.validation for curve in there], {"linewidth": 1.4}),
    ):
        columns = [[series[place] for series in values] for place in range(len(epochs))]
        kept = [
            (epoch, column) for epoch, column in zip(epochs, columns, strict=True) if not _has_nan(column)
        ]
        if not kept:
            continue
        x = [epoch for epoch, _ in kept]
        means = [statistics.fmean(column) for _, column in kept]
        axes.plot(x, means, color=colour, zorder=3, **look)  # type: ignore[arg-type]
        if len(there) > 1:
            spreads = [seed_spread(column) for _, column in kept]
            low = [mean - spread for mean, spread in zip(means, spreads, strict=True)]
            high = [mean + spread for mean, spread in zip(means, spreads, strict=True)]
            axes.fill_between(x, low, high, color=colour, alpha=0.15, linewidth=0, zorder=2)
    return max(epochs)


def _has_nan(values: Sequence[float]) -> bool:
    return any(math.isnan(value) for value in values)
