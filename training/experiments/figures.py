"""The figure of an experiment, drawn as in the paper, with the paper's numbers over ours."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator

from diagnosis.breakdown import ERROR_TYPES
from diagnosis.figures.layout import LegendEntry, draw_pie
from diagnosis.figures.style import (
    GRID_COLOUR,
    MUTED_COLOUR,
    TEXT_COLOUR,
    TEXT_POINTS,
    draw_text,
    label_rows,
    spread,
    styled,
    text_width,
    write_beside,
)
from training.experiments.collect import RIGHT_CLASS, Row, TrainingCurve, baseline_of, read_curve
from training.experiments.paper import paper_accuracy, reported
from training.experiments.plan import Plan
from training.experiments.schema import (
    Variant,
    architecture_label,
    layers_of,
    modified_percent,
    resolved,
)
from training.experiments.style import (
    MISSING_ENTRY,
    Label,
    colour_of,
    draw_missing,
    draw_paper,
    draw_result,
    draw_series,
    legend_entry,
    line_of,
    make_page,
    mark_of,
    paper_entries,
    place_labels,
)
from training.experiments.tables import DATA_LABELS, REPORTED_SHARES, notes, reported_share, with_spread

__all__ = ["draw"]

BASELINE_LINE: dict[str, Any] = {"color": MUTED_COLOUR, "linewidth": 0.9, "linestyle": (0, (1, 1.2))}
UNMODIFIED_OFFSET = 1.5
"""From the last layer to the place of the unmodified network, in layers."""
FAR_POINTS = 10.0
"""From the paper's baseline to ours: from there on figures show changes from each own baseline."""
EMPTY_PERCENT = 0.1
"""Axes that end below it have no result in them, neither ours nor the paper's."""
VALIDATION_LINE: dict[str, Any] = {"linewidth": 1.4, "linestyle": "-"}
TRAINING_LINE: dict[str, Any] = {"linewidth": 0.9, "linestyle": (0, (2.5, 1.5)), "alpha": 0.75}
MIN_LABEL_DISTANCE_PERCENT = 4.5
"""Between two of the paper's numbers beside training curves."""
ROW_INCHES, ROW_TEXT_POINTS, COLUMN_POINTS = 0.27, 8.5, 87.0
"""Table drawn as dots: height of a row, size of its text, width of the column of our numbers."""
PIE_RADIUS_INCHES, PIE_ROW_INCHES = 1.0, 0.2
PIE_TABLE_INCHES = 3.0
"""Width of the shares below a pie; the paper's are a column more."""
PAPER_COLUMN_INCHES = 0.9
PIE_PANEL_HEIGHT_INCHES = 2 * PIE_RADIUS_INCHES + 0.25 + PIE_ROW_INCHES * (3.2 + len(ERROR_TYPES))
"""A row for each error type, their first two together, a heading and the mean AP below the pie."""
MIN_LABELLED_SHARE = 0.06
"""A slice of a pie from there on has room for its number."""
SHEET_IMAGES = 11
"""The first images of the test set, as in the paper's Figure 8."""


def draw(plan: Plan, rows: Sequence[Row], folder: Path) -> Figure:
    """The figure of an experiment, with the results that there are; training curves are read in `folder`."""
    return styled(DRAW[plan.experiment.draw])(plan, rows, folder)


# ---------------------------------------------------------------- accuracy against what is modified


def against_percent(plan: Plan, rows: Sequence[Row], folder: Path) -> Figure:
    """Accuracy against the percentage of modified layers, counted from the last (Figures 4 and 5)."""

    def places(axes: Axes, count: int) -> Callable[[Variant], float]:
        axes.set(xlim=(-3, 103), xlabel="modified layers, counted from the last (%)")
        return modified_percent

    return _accuracy_figure(plan, rows, (4.15, 3.1), places, from_baseline=True)


def against_layer(plan: Plan, rows: Sequence[Row], folder: Path) -> Figure:
    """Accuracy against the layer that is modified, or the first of those that are (Figures 6 and 7)."""

    def places(axes: Axes, count: int) -> Callable[[Variant], float]:
        layers = range(1, count + 1)
        axes.set(xlim=(0.5, count + 2.2), xlabel="layer, counted from the input")
        axes.set_xticks([*layers, count + UNMODIFIED_OFFSET], [*map(str, layers), "none"])
        return partial(first_layer, count=count)

    return _accuracy_figure(plan, rows, (4.55, 3.5), places, from_baseline=False)


def first_layer(variant: Variant, count: int) -> float:
    """The layer nearest the input that is modified, of `count`; a place after the last if none is."""
    numbers = [number for number in (variant.layer, *variant.several) if isinstance(number, int)]
    if numbers:
        return min(numbers)
    return count + UNMODIFIED_OFFSET if variant.last is None else count - variant.last + 1


def _accuracy_figure(
    plan: Plan,
    rows: Sequence[Row],
    size_of_several: tuple[float, float],
    places: Callable[[Axes, int], Callable[[Variant], float]],
    *,
    from_baseline: bool,
) -> Figure:
    """A panel for each network on each data set; all have the same limits.

    `places` prepares the x axis for a number of layers, and returns where a variant is on it. Curves begin at
    the baseline if `from_baseline`.
    """
    groups: dict[Variant, list[Row]] = {}
    entries: dict[tuple[object, ...], LegendEntry] = {}
    for row in rows:
        variant = row.point.variant
        groups.setdefault(variant.baseline, []).append(row)
        if variant.method != "none":
            name = row.point.series.split(":")[0]
            entry = legend_entry(name, **line_of(variant), **mark_of(variant))
            entries.setdefault((variant.method, variant.patch, variant.layer is None), entry)
    # --set may have changed the data
    names = [
        f"{architecture_label(plain.arch)}, {DATA_LABELS[str(group[0].point.runs[0].options['data'])]}"
        for plain, group in groups.items()
    ]
    levels = [_baselines(plain, group) for plain, group in groups.items()]
    changes = any(paper - ours > FAR_POINTS for ours, paper in levels)
    said = [
        f"{name} {ours:.1f} %" + ("" if math.isnan(paper) else f" (paper {paper:.1f} %)")
        for name, (ours, paper) in zip(names, levels, strict=True)
        if not math.isnan(ours)
    ]
    variants = [row.point.variant for row in rows]
    drops = [variant for variant in variants if paper_accuracy(variant) is None and reported(variant, "drop")]
    figure, panels = make_page(
        names,
        (5.45, 3.8) if len(names) == 1 else size_of_several,
        title=plan.heading,
        legend=[
            legend_entry("baseline", **BASELINE_LINE, **mark_of(variants[0])),
            *entries.values(),
            *paper_entries(numbers=any(map(paper_accuracy, variants)), drops=bool(drops)),
            *([MISSING_ENTRY] if any(not row.results for row in rows) else []),
        ],
        notes=[*([f"Baselines: {'; '.join(said)}."] if changes else []), *notes(plan, rows)],
    )
    labels = {}
    for axes, (plain, group) in zip(panels, groups.items(), strict=True):
        place = places(axes, len(layers_of(plain.arch)))
        labels[axes] = _draw_group(axes, group, plain, place, from_baseline=from_baseline, changes=changes)
        axes.set_ylabel("change from own baseline (points)" if changes else "top-1 accuracy (%)")
    low = min(axes.get_ylim()[0] for axes in panels)
    top = max(axes.get_ylim()[1] for axes in panels)
    room = 0.04 * (top - low)
    for axes in panels:
        axes.set_ylim(
            (low - room, top + room) if changes else (0, 1.04 * top if top > EMPTY_PERCENT else 100)
        )
    figure.draw_without_rendering()  # labels need limits and places that are final
    figure.set_layout_engine(None)
    for axes, numbers in labels.items():
        place_labels(axes, numbers)
    return figure


def _baselines(plain: Variant, rows: Sequence[Row]) -> tuple[float, float]:
    """Our accuracy and the paper's of a network unmodified; NaN where there is none."""
    ours, paper = baseline_of(rows, plain), paper_accuracy(plain)
    return (math.nan if ours is None else ours.mean()), (math.nan if paper is None else paper.value)


def _draw_group(
    axes: Axes,
    rows: Sequence[Row],
    plain: Variant,
    place: Callable[[Variant], float],
    *,
    from_baseline: bool,
    changes: bool,
) -> list[Label]:
    """The series of a panel over their places, the baseline as a level, the paper's numbers over both.

    With `changes` ours are less our baseline and the paper's less the paper's.

    Returns the paper's numbers as labels, to be placed once the limits are final.
    """
    baseline, (our_level, paper_level) = baseline_of(rows, plain), _baselines(plain, rows)
    zero, paper_zero = (our_level, paper_level) if changes else (0.0, 0.0)
    series: dict[str, list[Row]] = {}
    for row in rows:
        if row.point.variant.method != "none":
            series.setdefault(row.point.series, []).append(row)
    if baseline is not None:
        axes.axhline(our_level - zero, zorder=1.5, **BASELINE_LINE)
        draw_series(axes, [place(plain)], [our_level - zero], [baseline.std()], plain)
    for number, members in enumerate(series.values()):
        points = sorted(members, key=lambda row: place(row.point.variant))
        variant = points[-1].point.variant
        missing = [place(row.point.variant) for row in points if not row.results]
        if from_baseline and baseline is not None:
            points.insert(0, baseline)
        draw_series(
            axes,
            [place(row.point.variant) for row in points],
            [row.mean() - zero for row in points],
            [row.std() for row in points],
            variant,
        )
        draw_missing(axes, missing, colour_of(variant), number - (len(series) - 1) / 2)
    labels = []
    for row in rows:
        variant = row.point.variant
        known, drop = paper_accuracy(variant), reported(variant, "drop")
        if known is not None and not math.isnan(paper_zero):
            value = known.value - paper_zero
            text = f"{value:+.2f}".replace("-", "−") if changes else f"{known.value:.2f}"
        elif drop is not None and baseline is not None:
            value, text = our_level - zero - drop.value, f"−{drop.value:.2f}"
        else:
            continue
        draw_paper(axes, place(variant), value, colour_of(variant), drop=known is None)
        if not (changes and variant == plain):  # at zero
            labels.append(Label(place(variant), value, text, colour_of(variant)))
    return labels


# ---------------------------------------------------------------- training curves


def training_curves(plan: Plan, rows: Sequence[Row], folder: Path) -> Figure:
    """Accuracy over epochs; at the right end the accuracy on the test set, and the paper's (Figure 1)."""
    entries = [
        legend_entry(row.point.series, color=colour_of(row.point.variant), **VALIDATION_LINE) for row in rows
    ]
    entries += [
        legend_entry("validation", color=MUTED_COLOUR, **VALIDATION_LINE),
        legend_entry("training, on augmented images", color=MUTED_COLOUR, **TRAINING_LINE),
        legend_entry("test, at the end", marker="o", markersize=5, color=MUTED_COLOUR),
        *paper_entries(numbers=True, drops=False),
    ]
    figure, (axes,) = make_page([""], (7.1, 3.9), title=plan.heading, legend=entries, notes=notes(plan, rows))
    last = 1
    for row in rows:
        curves = [read_curve(folder / run.name) for run in row.point.runs]
        last = max(last, _draw_curves(axes, curves, colour_of(row.point.variant)))
    end = last * 1.03  # to the right of the curves: the test set is used once, after the last epoch
    papers = []
    for row in rows:
        variant, known = row.point.variant, paper_accuracy(row.point.variant)
        if row.results:
            draw_result(axes, end, row)
        if known is not None:
            draw_paper(axes, end, known.value, colour_of(variant))
            papers.append((known.value, colour_of(variant)))
    papers.sort(key=lambda paper: paper[0])
    heights = spread(np.array([value for value, _ in papers]), MIN_LABEL_DISTANCE_PERCENT, 100.0)
    for (value, colour), y in zip(papers, heights, strict=True):
        draw_text(axes, last * 1.06, y, f"paper {value:.2f}", 7.5, colour, clip_on=False)
    axes.set(xlim=(0, last * 1.045), xlabel="epoch", ylabel="top-1 accuracy (%)")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, steps=[1, 2, 5, 10]))
    axes.set_ylim(bottom=0)
    return figure


def _draw_curves(axes: Axes, curves: Sequence[TrainingCurve], colour: str) -> int:
    """The mean curve of several seeds, with their standard deviation as a band; returns the last epoch."""
    curves = [curve for curve in curves if curve.epochs]
    if not curves:
        return 1
    shortest = min(len(curve.epochs) for curve in curves)
    epochs = np.array(curves[0].epochs[:shortest])
    for name, line in (("train", TRAINING_LINE), ("validation", VALIDATION_LINE)):
        values = np.array([getattr(curve, name)[:shortest] for curve in curves])  # (seeds, epochs)
        there = ~np.isnan(values).any(axis=0)
        if not there.any():
            continue
        x, mean = epochs[there], values[:, there].mean(axis=0)
        axes.plot(x, mean, color=colour, zorder=3, **line)
        if len(curves) > 1:
            std = values[:, there].std(axis=0, ddof=1)
            axes.fill_between(x, mean - std, mean + std, color=colour, alpha=0.15, linewidth=0, zorder=2)
    return int(epochs.max())


# ---------------------------------------------------------------- tables as dots


def dots(plan: Plan, rows: Sequence[Row], folder: Path) -> Figure:
    """Tables 1 and 2: a line for each row, with our accuracy, the paper's, and both in numbers."""
    networks = plan.experiment.draw == "networks"
    names = [_row_name(row) if networks else row.point.series for row in rows]
    papers = [paper_accuracy(row.point.variant) for row in rows]

    # One marker in all rows: their names say what was modified.
    figure, (axes,) = make_page(
        [""],
        (
            max(text_width(name, ROW_TEXT_POINTS) for name in names) + 5.3,
            ROW_INCHES * (max(len(rows), 2) + 0.5) + 0.6,  # of one row alone the axes would have no height
        ),
        title=plan.heading,
        legend=[
            legend_entry("ours", **mark_of(Variant("", ""))),
            *paper_entries(numbers=any(papers), drops=False),
        ],
        notes=notes(plan, rows),
    )

    def write(y: float, ours: str, paper: str, colour: str, points: float = ROW_TEXT_POINTS) -> None:
        write_beside(axes, y, ours, 9, size=points, color=colour)
        write_beside(axes, y, paper, 9 + COLUMN_POINTS, size=points, color=MUTED_COLOUR)

    write(-0.85, "ours", "paper", MUTED_COLOUR, 7.5)
    for place, (row, paper) in enumerate(zip(rows, papers, strict=True)):
        axes.axhline(place, color=GRID_COLOUR, linewidth=0.5, zorder=0)
        known = f"{paper.value:.2f}" if paper else "–"
        if row.results:
            draw_result(axes, place, row, across=True, marker="o")
            write(place, with_spread(row), known, TEXT_COLOUR)
        else:
            write(place, "not yet", known, MUTED_COLOUR)
        if paper is not None:
            draw_paper(axes, paper.value, place, colour_of(row.point.variant))
    label_rows(axes, names)
    if plan.experiment.draw == "train_test":
        axes.annotate(
            "in training → in test", (0, -0.85), xycoords=axes.get_yaxis_transform(), xytext=(-6, 0),
            textcoords="offset points", size=7.5, color=MUTED_COLOUR, ha="right", va="center_baseline",
            annotation_clip=False,
        )  # fmt: skip
    axes.grid(True, axis="x", color=GRID_COLOUR, linewidth=0.5)
    axes.grid(False, axis="y")
    values = [paper.value for paper in papers if paper] + [row.mean() for row in rows if row.results]
    values = values or [0.0, 100.0]
    low = 5 * math.floor(min(values) / 5 - 0.4) if networks else 0.0  # where all networks do well
    axes.set(
        xlim=(low, 5 * math.ceil(max(values) / 5 + 0.4)),
        ylim=(len(rows) - 0.4, -0.6),
        xlabel="top-1 accuracy (%)",
    )
    axes.spines["left"].set_visible(False)
    return figure


def _row_name(row: Row) -> str:
    """Name of a row of Table 2: network, method, its modified layers and its size."""
    variant = row.point.variant
    words = [architecture_label(variant.arch), row.point.series.split(": ")[-1]]
    if variant.method != "none":
        words.append(f"{modified_percent(variant):.0f} %")
    parameters, known = row.mean("parameters") / 1e6, reported(variant, "parameters")
    size = f"{parameters:.2f} M" if not math.isnan(parameters) else ""
    if known is not None and size != f"{known.value:.2f} M":
        size = f"{size} (paper {known.value:.2f} M)" if size else f"paper {known.value:.2f} M"
    return ", ".join([*words, size] if size else words)


# ---------------------------------------------------------------- errors of detectors as pies


def error_pies(plan: Plan, rows: Sequence[Row], folder: Path) -> Figure:
    """Figure 9: a pie for each detector, and below it the shares and mAP beside those that the text gives."""
    in_paper = any(reported_share(row, name) for row in rows for name in REPORTED_SHARES)
    width = PIE_TABLE_INCHES + PAPER_COLUMN_INCHES * in_paper
    figure, panels = make_page(
        [textwrap.fill(row.point.series, 36) for row in rows],
        (width + 0.3, PIE_PANEL_HEIGHT_INCHES + 0.5),
        title=plan.heading,
        legend=(),
        notes=[
            "What became of the top N detections of each class, N its number of objects; shares averaged "
            "over the classes. mAP: VOC 2007, 11 points.",
            *notes(plan, rows),
        ],
        columns=3 if len(rows) == 3 else 2,
    )
    for axes, row in zip(panels, rows, strict=True):
        axes.set(xlim=(0, width), ylim=(PIE_PANEL_HEIGHT_INCHES, 0), aspect="equal")
        axes.axis("off")
        corner = (width / 2 - PIE_RADIUS_INCHES, 0.05, 2 * PIE_RADIUS_INCHES, 2 * PIE_RADIUS_INCHES)
        draw_pie(
            axes.inset_axes(corner, transform=axes.transData),
            np.nan_to_num([row.mean(kind.name) / 100 for kind in ERROR_TYPES]),
            ERROR_TYPES,
            lambda share: f"{100 * share:.1f}" if share >= MIN_LABELLED_SHARE else "",
            empty="nothing detected" if row.results else "not there yet",
        )
        _write_shares(axes, row, in_paper)
    return figure


def _write_shares(axes: Axes, row: Row, in_paper: bool) -> None:
    """A line for each error type and for mAP, in percent: ours, and the paper's where it has any."""
    ours, paper = PIE_TABLE_INCHES - 0.1, PIE_TABLE_INCHES + PAPER_COLUMN_INCHES - 0.1
    y = 2 * PIE_RADIUS_INCHES + 0.3
    if in_paper:
        for x, head in ((ours, "ours"), (paper, "paper")):
            draw_text(axes, x, y, head, 7.5, ha="right")
    kinds = [(kind.name, kind.name, kind.colour) for kind in ERROR_TYPES]
    sums = [(RIGHT_CLASS, "correct + localization", "none"), ("map", "mAP", "none")]
    for name, label, colour in [*kinds, *sums]:
        y += PIE_ROW_INCHES
        axes.add_patch(Rectangle((0.05, y - 0.06), 0.2, 0.12, facecolor=colour, linewidth=0))
        draw_text(axes, 0.35, y, f"{label} (%)", TEXT_POINTS, TEXT_COLOUR)
        draw_text(axes, ours, y, with_spread(row, name, 1), TEXT_POINTS, TEXT_COLOUR, "right")
        if in_paper:
            known = reported_share(row, name)
            draw_text(axes, paper, y, f"{known.value:g}" if known else "–", TEXT_POINTS, ha="right")


def example_sheet(plan: Plan, rows: Sequence[Row], folder: Path) -> Figure:
    """Figure 8: the first test images, with what each detector finds there; of one seed."""
    done = [
        (row, next(run for run in row.point.runs if run.seed in row.results)) for row in rows if row.results
    ]
    if len(done) < len(rows):
        return error_pies(plan, rows, folder)  # says which are not there yet
    from data.formats import read_found
    from diagnosis import diagnose
    from diagnosis.figures.examples import examples
    from training.tasks.detection import read_test_data
    from training.tasks.detection_options import Options

    options = resolved(plan.experiment.script, done[0][1].options)
    truth, similar = read_test_data(Options.from_flat(options).data)
    found = [
        diagnose(
            truth, read_found(folder / run.name / "detections", truth), row.point.series, similar, coco=False
        )
        for row, run in done
    ]
    return examples(*found, count=SHEET_IMAGES, choose="first")


DRAW: dict[str, Callable[[Plan, Sequence[Row], Path], Figure]] = {
    "curves": training_curves,
    "percent": against_percent,
    "single_layer": against_layer,
    "patches": against_layer,
    "train_test": dots,
    "networks": dots,
    "pies": error_pies,
    "sheet": example_sheet,
}
"""By drawing: a new one is a function here and a name in `schema.DRAWINGS`."""
