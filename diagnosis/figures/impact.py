"""What errors cost, Hoiem's types and TIDE's, and how the types change down the ranking."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.patheffects import withStroke
from numpy.typing import NDArray

from diagnosis.breakdown import ERROR_TYPES, ErrorType
from diagnosis.figures.layout import Explained, LegendEntry, new_page, shown_groups, type_entries
from diagnosis.figures.style import (
    LINE_INCHES,
    MUTED_COLOUR,
    SMALL_POINTS,
    TEXT_COLOUR,
    TEXT_POINTS,
    columns_of_panels,
    for_paper,
    frame_lightly,
    panel_grid,
    panel_inches,
    percent_text,
    styled,
    title_panel,
    wrap,
    write_beside,
    write_in_middle,
)
from diagnosis.impact import IMPACT_VARIANTS
from diagnosis.rankings import mean_over_classes
from diagnosis.record import Diagnosis
from diagnosis.similar import group_indices
from diagnosis.tide import BEYOND, DAP_COLUMNS, TIDE_ERRORS, TIDE_LABELS, Tide, explain
from diagnosis.verdict import percent
from diagnosis.words import count

__all__ = ["false_positives", "impact_bars", "rank", "tide"]


def _bar_look(colour: str, hatched: bool) -> dict[str, Any]:
    face = {"facecolor": "white", "hatch": "//////"} if hatched else {"facecolor": colour}
    return {"edgecolor": colour, "linewidth": 0.8, **face}


BARS = [(row, one.label, _bar_look(*one.bar)) for row, one in enumerate(IMPACT_VARIANTS) if one.bar]
"""Rows of the variants that the figure shows, their names, and the properties of their bars."""
RECALL_LINES: list[dict[str, Any]] = [
    {"color": TEXT_COLOUR, "linewidth": 1.2, "linestyle": line} for line in ("-", "--")
]
"""Of recall at the IoU of a correct detection, and at that of background."""
ON_DARK = [withStroke(linewidth=3.0, foreground="white")]
"""Around the lines of recall."""
PANELS_IN_A_ROW = 4


def _group_page(
    diagnosis: Diagnosis,
    panels: Mapping[str, str],
    height: float,
    *,
    title: str,
    legend: Sequence[LegendEntry],
    note: str,
) -> tuple[Figure, list[Axes]]:
    """A chart for each group of classes, by its name what to write below; a single chart is larger."""
    wide = 2.5 if len(panels) > 1 else 5.0
    columns = columns_of_panels(wide, len(panels), PANELS_IN_A_ROW)
    rows = math.ceil(len(panels) / columns)
    figure = new_page(
        wide * columns,
        height * rows * (1.0 if len(panels) > 1 else 1.25),
        title=title,
        names=[diagnosis.name],
        legend=legend,
        note=note,
        gaps=(0.1, 0.05),
    )
    charts = panel_grid(figure, len(panels), columns, sharey=True)
    for axes, (group, text) in zip(charts, panels.items(), strict=True):
        title_panel(axes, group, text, width=wide - 0.6)
    return figure, charts


def _size(objects: int, classes: int) -> str:
    return f"N = {objects:,}" + (f", {count(classes, 'class', 'classes')}" if classes > 1 else "")


@styled
def impact_bars(diagnosis: Diagnosis) -> Figure:
    """How much average precision there is to gain from each type of error, by group of classes."""
    result, (groups, cut) = diagnosis.impact, shown_groups(diagnosis)
    rows = [row for row, *_ in BARS]
    gains = {group: 100 * result.bars(members)[rows] for group, members in groups.items()}
    panels = {}
    for group, members in groups.items():
        chosen = group_indices(result.classes, members)
        objects = int(result.scores.objects[0, chosen].sum())
        ap = mean_over_classes(result.scores.ap[0, chosen])
        mean = "no objects" if np.isnan(ap) else f"AP {100 * ap:.1f} %"
        panels[group] = f"{mean}, {_size(objects, len(members))}"
    legend: list[LegendEntry] = [(label, Patch(**look)) for _, label, look in BARS]
    figure, charts = _group_page(
        diagnosis, panels, 1.85, legend=legend,
        title="What each type of error costs: AP gained",
        note="N: number of objects. Points of Hoiem's AP, class mean. "
        "Corrected: errors become correct detections, second ones of an object are removed. "
        f"Removed: errors are moved below all other detections.{cut}",
    )  # fmt: skip
    largest = max((float(gain.max()) for gain in gains.values() if not np.isnan(gain).any()), default=0.0)
    for axes, gain in zip(charts, gains.values(), strict=True):
        frame_lightly(axes, grid="x")
        axes.set(xlim=(0, 1.25 * max(largest, 1.0)), ylim=(len(gain) - 0.4, -0.6), yticks=[])
        axes.set_xlabel("points gained", labelpad=2)
        if np.isnan(gain).any():
            write_in_middle(axes, "no objects")
            continue
        for place, (value, (_, label, look)) in enumerate(zip(gain, BARS, strict=True)):
            bar = axes.barh(place, value, 0.72, label=label, **look)
            axes.bar_label(bar, fmt="%.1f", padding=3, size=SMALL_POINTS, color=TEXT_COLOUR)
    return figure


@styled
def rank(diagnosis: Diagnosis) -> Figure:
    """What the top detections are, as a stacked area over their number, with recall as lines."""
    trend, (groups, cut), panels = diagnosis.detection_trend, shown_groups(diagnosis), {}
    for group, members in groups.items():
        objects = int(trend.objects[group_indices(trend.classes, members)].sum())
        panels[group] = _size(objects, len(members))
    recalls = zip((trend.iou, trend.background_iou), RECALL_LINES, strict=True)
    legend = type_entries()
    legend += [(f"recall, IoU {iou:g}", Line2D([], [], **line)) for iou, line in recalls]
    figure, charts = _group_page(
        diagnosis, panels, 2.5, title="Error mix by rank", legend=legend,
        note="N: number of a class's objects. Each class gives so many times its own N of its top "
        "detections, or all it has; these are counted together. Recall: class mean; "
        f"for it, duplicates first go to the end of the ranking, as in Hoiem's tool.{cut}",
    )  # fmt: skip
    for axes, members in zip(charts, groups.values(), strict=True):
        _stack_areas(axes, trend.factors, trend.shares(members), ERROR_TYPES, "no detections")
        axes.set_xticks(trend.factors, [_multiple(factor) for factor in trend.factors.tolist()])
        axes.set_xlabel("detections (× N)", labelpad=2)
        for at_background_iou, line in zip((False, True), RECALL_LINES, strict=True):
            axes.plot(
                trend.factors,
                100 * trend.recall(members, at_background_iou=at_background_iou),
                path_effects=ON_DARK,
                **line,
            )
    return figure


def _multiple(factor: float) -> str:
    """A factor as a label: ⅛ as 1/8.

    Examples
    --------
    >>> _multiple(0.125), _multiple(2.0), _multiple(0.3)
    ('1/8', '2', '0.3')
    """
    below = 1 / factor if factor else 0.0
    return f"1/{below:.0f}" if below > 1 and below.is_integer() else f"{factor:g}"


@styled
def false_positives(diagnosis: Diagnosis) -> Figure:
    """What the first false positives are, as a stacked area over their number."""
    groups, cut = shown_groups(diagnosis)
    trends = {group: diagnosis.false_positive_trends[group] for group in groups}
    panels = {
        group: _size(int(trend.counts.sum(axis=1).max(initial=0)), len(trend.members))
        for group, trend in trends.items()
    }
    figure, charts = _group_page(
        diagnosis, panels, 2.5, title="Mix of false positives by rank",
        legend=type_entries(ERROR_TYPES[1:]),
        note="N: how many are shown at most. The classes of a group are counted together, by rank "
        f"within each class. An area ends where there are no more false positives.{cut}",
    )  # fmt: skip
    for axes, trend in zip(charts, trends.values(), strict=True):
        numbers, known = np.unique(trend.counts.sum(axis=1), return_index=True)
        _stack_areas(axes, numbers.astype(float), trend.shares[known], ERROR_TYPES[1:], "no false positives")
        first, last = int(trend.wanted.min()), int(trend.wanted.max())
        ticks = trend.wanted[:: 2 if len(trend.wanted) > 5 else 1].tolist()
        axes.set_xlim(first, max(last, first + 1))
        axes.set_xticks(ticks, [f"{number:,}" for number in ticks])
        axes.set_xlabel("false positives", labelpad=2)
    return figure


def _stack_areas(
    axes: Axes,
    depths: NDArray[np.float64],
    shares: NDArray[np.float64],
    kinds: Sequence[ErrorType],
    empty: str,
) -> None:
    """Shares ``(P, K)`` stacked over the depths ``(P,)``, on a logarithmic axis."""
    frame_lightly(axes)
    axes.set(ylim=(0, 100))
    axes.set_yticks([0, 25, 50, 75, 100], ["0", "25", "50", "75", "100 %"])
    axes.set_xscale("log", base=2)
    axes.minorticks_off()
    known = ~np.isnan(shares).any(axis=1) & (depths > 0)
    if not known.any():
        write_in_middle(axes, empty)
        return
    areas = axes.stackplot(depths[known], *(100 * shares[known]).T, colors=[kind.colour for kind in kinds])
    for area, kind in zip(areas, kinds, strict=True):
        area.set(label=kind.name, edgecolor="white", linewidth=0.4)
    if known.sum() > 1:
        axes.set_xlim(depths[known].min(), depths[known].max())


# ---- TIDE --------------------------------------------------------------------------------------

TIDE_PANEL_INCHES, NARROW_TIDE_PANEL_INCHES, TIDE_ROW_INCHES = 4.1, 3.0, 0.27
TIDE_SUM_GAP = 0.6
"""Rows between the six errors and all false positives and all missed objects together."""
WHOLE_TEXTS = {
    "fp": "All false positives at the end of the ranking: how much precision would gain.",
    "fn": "No object missed, the ranking as it is: how much recall would gain.",
}
"""All false positives or all false negatives together are no single type: their bars are white."""


@styled
def tide(*diagnoses: Diagnosis) -> Figure:
    """What fixing each error would gain, a column a detector, all on one scale."""
    results = [diagnosis.tide for diagnosis in diagnoses]
    gains = [{kind: 100 * gain for kind, gain in result.dap.items()} for result in results]
    first = results[0]
    explained = [
        Explained(TIDE_LABELS[kind.name], kind.colour, explain(kind, first.iou, first.background_iou))
        for kind in TIDE_ERRORS
    ]
    explained += [Explained(TIDE_LABELS[kind], "white", text) for kind, text in WHOLE_TEXTS.items()]
    if any(not math.isfinite(gain) for one in gains for gain in one.values()):
        explained.append(Explained("–", "", "No class with objects or detections is left to be scored."))
    columns, panel = panel_inches(TIDE_PANEL_INCHES, NARROW_TIDE_PANEL_INCHES, len(results))
    rows, panel = math.ceil(len(results) / columns), max(panel, 6.6 / columns)
    height = TIDE_ROW_INCHES * (len(DAP_COLUMNS) + TIDE_SUM_GAP) + (1.8 if rows > 1 else 1.6)
    height -= 0.6 if for_paper() else 0.0
    figure = new_page(
        panel * columns, height * rows,
        title="What fixing each error would gain (TIDE)",
        explained=[] if for_paper() else explained,  # the bars have their names beside them
        note="Each is fixed on its own: the gains do not add up to what is lacking.",
        gaps=(0.15, 0.15 if rows > 1 else 0.05),
    )  # fmt: skip
    limit = _round_limit([gain for one in gains for gain in one.values()])
    charts = panel_grid(figure, len(results), columns)
    for place, (axes, diagnosis, gain) in enumerate(zip(charts, diagnoses, gains, strict=True)):
        result = diagnosis.tide
        name = wrap(diagnosis.name, panel - 0.8, 10.5, lines=2, weight="bold")
        axes.set_title("\n".join(name), loc="left", size=10.5, weight="bold", color=TEXT_COLOUR, pad=20)
        _tide_bars(axes, result, gain, limit, named=place % columns == 0)
        caption = "" if for_paper() else _tide_caption(result)
        axes.annotate(
            caption, (0, 0), xycoords="axes fraction", xytext=(0, -32), va="top",
            textcoords="offset points", size=TEXT_POINTS, color=MUTED_COLOUR,
            linespacing=72 * LINE_INCHES / TEXT_POINTS / 1.2,
        )  # fmt: skip
    return figure


def _round_limit(values: Sequence[float]) -> float:
    """A round number that no bar exceeds."""
    largest = max((value for value in values if math.isfinite(value)), default=0.0)
    if largest <= 0:
        return 1.0
    unit = 10.0 ** math.floor(math.log10(largest))
    return next(unit * step for step in (1, 2, 3, 4, 5, 6, 8, 10) if unit * step >= largest)


def _tide_bars(axes: Axes, result: Tide, gains: Mapping[str, float], limit: float, *, named: bool) -> None:
    """Bars with what is gained and, of the six, the number of errors at their right."""
    colours = {kind.name: kind.colour for kind in TIDE_ERRORS}
    frame_lightly(axes, grid="x")
    axes.spines[:].set_visible(False)
    rows = [place + TIDE_SUM_GAP * (name not in colours) for place, name in enumerate(gains)]
    axes.set_yticks(rows, [TIDE_LABELS[name] if named else "" for name in gains])
    axes.set(xlim=(0, limit), xticks=[0, limit / 2, limit], ylim=(rows[-1] + 0.5, -0.5))
    axes.tick_params(axis="y", length=0, labelsize=TEXT_POINTS, labelcolor=TEXT_COLOUR)
    axes.tick_params(axis="x", length=0)
    axes.set_xlabel("points of AP gained", labelpad=2, loc="left")
    write_beside(axes, -0.75, "gain", 30, ha="right", color=MUTED_COLOUR)
    write_beside(axes, -0.75, "errors", 84, ha="right", color=MUTED_COLOUR)
    for row, (name, gain) in zip(rows, gains.items(), strict=True):
        length = max(gain, 0.0) if math.isfinite(gain) else 0.0
        (bar,) = axes.barh(row, length, 0.63, linewidth=0.6 if length else 0.0, edgecolor=TEXT_COLOUR)
        bar.set(facecolor=colours.get(name, "white"), label=name)
        text = percent(gain / 100) if math.isfinite(gain) else "–"
        write_beside(axes, row, text, 30, ha="right", size=TEXT_POINTS)
        if name in colours:
            errors = f"{result.counts[name]:,}"
            write_beside(axes, row, errors, 84, ha="right", size=TEXT_POINTS, color=MUTED_COLOUR)


def _tide_caption(result: Tide) -> str:
    mean = result.mean_ap
    score = f"AP {percent_text(mean)}" if math.isfinite(mean) else "no AP: neither objects nor detections"
    considered = int((result.types != BEYOND).sum())
    return (
        f"{score} (101 recalls, IoU {result.iou:g})\n"
        f"N = {count(int(result.objects.sum()), 'object')}, {count(considered, 'detection')}:\n"
        f"of each image the {result.max_detections} of highest score"
    )
