"""Accuracy against what is modified: Figures 4 and 5 (share of layers), 6 (layer) and 7 (layer, by patch)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from diagnosis.figures.legend import LegendEntry
from diagnosis.figures.style import MUTED_COLOUR
from training.experiments.collect import Row
from training.experiments.labels import Label, place_labels
from training.experiments.looks import (
    MISSING,
    colour_of,
    draw_missing,
    draw_paper,
    draw_series,
    entry_of,
    mark_of,
    paper_entries,
)
from training.experiments.notes import DATA, notes
from training.experiments.page import make_page
from training.experiments.paper import paper_accuracy, reported
from training.experiments.plan import Plan
from training.experiments.tables import ARCHITECTURES, baseline_of
from training.experiments.variant import Variant, layer_count, modified_percent

__all__ = ["against_layer", "against_percent"]

BASELINE: dict[str, Any] = {"color": MUTED_COLOUR, "linewidth": 0.9, "linestyle": (0, (1, 1.2))}
NONE = 1.5
"""How far behind the last layer the place of the unmodified network is."""
NOTHING = 0.1
"""Per cent; axes that end below it have no result in them, neither ours nor the paper's."""
Groups = list[tuple[Variant, list[Row]]]


def panels_of(rows: Sequence[Row]) -> Groups:
    """The rows of each network on each data set, with that network unmodified."""
    groups: dict[Variant, list[Row]] = {}
    for row in rows:
        variant = row.point.variant
        groups.setdefault(Variant(variant.data, variant.arch), []).append(row)
    return list(groups.items())


def against_percent(plan: Plan, rows: Sequence[Row]) -> Figure:
    """Accuracy against the percentage of modified layers, counted from the last (Figures 4 and 5)."""
    figure, panels = _page(plan, rows, (4.6, 3.1), (3.3, 2.3))
    for axes, (plain, group) in zip(panels, panels_of(rows), strict=True):
        labels = _draw(axes, group, plain, modified_percent, from_baseline=True)
        axes.set(xlim=(-3, 103), xlabel="modified layers, counted from the last (%)")
        _finish(axes, labels)
    return figure


def against_layer(plan: Plan, rows: Sequence[Row]) -> Figure:
    """Accuracy against the layer that is modified, or the first of those that are (Figures 6 and 7)."""
    figure, panels = _page(plan, rows, (4.6, 3.1), (3.7, 2.7))
    for axes, (plain, group) in zip(panels, panels_of(rows), strict=True):
        count = layer_count(plain.arch)
        labels = _draw(axes, group, plain, partial(first_layer, count=count), from_baseline=False)
        axes.set(xlim=(0.5, count + 2.2), xlabel="layer, counted from the input")
        axes.set_xticks([*range(1, count + 1), count + NONE], [*map(str, range(1, count + 1)), "none"])
        _finish(axes, labels)
    return figure


def _finish(axes: Axes, labels: Sequence[Label]) -> None:
    top = axes.get_ylim()[1]
    axes.set_ylim(0, 1.04 * top if top > NOTHING else 100)
    place_labels(axes, labels)


def first_layer(variant: Variant, count: int) -> float:
    """The layer nearest the input that is modified, of `count`; a place after the last where none is.

    Examples
    --------
    >>> first_layer(Variant("cifar100", "vgg16", "spatial", last=4), 13)
    10
    """
    if variant.layer is not None:
        return variant.layer
    numbers = [number for number in variant.several if isinstance(number, int)]
    if numbers:
        return min(numbers)
    return count + NONE if variant.last is None else count - variant.last + 1


def _page(
    plan: Plan, rows: Sequence[Row], alone: tuple[float, float], together: tuple[float, float]
) -> tuple[Figure, list[Axes]]:
    groups = panels_of(rows)
    names = [f"{ARCHITECTURES.get(plain.arch, plain.arch)}, {DATA[_data(group)]}" for plain, group in groups]
    size = alone if len(groups) == 1 else together
    figure, panels = make_page(
        names,
        size,
        title=plan.heading,
        entries=_legend(rows),
        notes=notes(plan, rows),
    )
    for axes in panels:
        axes.set_ylabel("top-1 accuracy (%)")
    return figure, panels


def _data(group: Sequence[Row]) -> str:
    """The data set that the runs have, which --set may have changed."""
    return str(group[0].point.runs[0].options["data"])


def _legend(rows: Sequence[Row]) -> list[LegendEntry]:
    """Each kind of series once, then the baseline and the paper's marks."""
    entries: dict[tuple[object, ...], LegendEntry] = {}
    for row in rows:
        variant = row.point.variant
        key = (variant.method, variant.patch, variant.layer is None)
        if variant.method != "none":
            entries.setdefault(key, entry_of(row.point.series.split(":")[0], variant))
    variants = [row.point.variant for row in rows]
    drops = [variant for variant in variants if paper_accuracy(variant) is None and reported(variant, "drop")]
    return [
        LegendEntry("baseline", BASELINE, mark_of(rows[0].point.variant)),
        *entries.values(),
        *paper_entries(numbers=any(paper_accuracy(variant) for variant in variants), drops=bool(drops)),
        *([MISSING] if any(not row.results for row in rows) else []),
    ]


def _draw(
    axes: Axes,
    rows: Sequence[Row],
    plain: Variant,
    place: Callable[[Variant], float],
    *,
    from_baseline: bool,
) -> list[Label]:
    """The series of a panel over their places, the baseline as a level, the paper's numbers over both.

    Returns the paper's numbers as labels, to be placed once the limits are final.
    """
    baseline = baseline_of(rows, plain)
    series: dict[str, list[Row]] = {}
    for row in rows:
        if row.point.variant.method != "none":
            series.setdefault(row.point.series, []).append(row)
    if baseline is not None:
        axes.axhline(baseline.mean(), zorder=1.5, **BASELINE)
        draw_series(axes, [place(plain)], [baseline.mean()], [baseline.std()], plain)
    for level, members in enumerate(series.values()):
        points = sorted(members, key=lambda row: place(row.point.variant))
        x = [place(row.point.variant) for row in points]
        y, spread = [row.mean() for row in points], [row.std() for row in points]
        if from_baseline and baseline is not None:
            x, y, spread = [0.0, *x], [baseline.mean(), *y], [baseline.std(), *spread]
        draw_series(axes, x, y, spread, points[-1].point.variant)
        missing = [place(row.point.variant) for row in points if not row.results]
        draw_missing(axes, missing, colour_of(points[-1].point.variant), level - (len(series) - 1) / 2)
    labels = []
    for row in rows:
        variant = row.point.variant
        known, drop = paper_accuracy(variant), reported(variant, "drop")
        if known is not None:
            draw_paper(axes, place(variant), known.value, colour_of(variant))
            labels.append(Label(place(variant), known.value, f"{known.value:.2f}", colour_of(variant)))
        elif drop is not None and baseline is not None:
            value = baseline.mean() - drop.value
            draw_paper(axes, place(variant), value, colour_of(variant), drop=True)
            labels.append(Label(place(variant), value, f"−{drop.value:.2f}", colour_of(variant)))
    return labels
