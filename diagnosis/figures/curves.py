"""Curves: precision over recall, and precision over score."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from diagnosis.average_precision import precision_recall_curve
from diagnosis.figures.layout import new_page
from diagnosis.figures.style import (
    MUTED_COLOUR,
    TEXT_COLOUR,
    ap_name,
    columns_of_panels,
    for_paper,
    frame_lightly,
    most_frequent,
    panel_grid,
    percent_text,
    styled,
    title_panel,
    write_in_middle,
)
from diagnosis.record import Diagnosis
from diagnosis.words import count

__all__ = ["precision_recall", "reliability"]

AP = "area"
"""The average precision that belongs to the curves: the area under them."""
DASHES: Sequence[Sequence[float]] = (
    (), (4, 1.5), (1, 1), (5, 1, 1, 1), (7, 2), (3, 1, 1, 1, 1, 1),
)  # fmt: skip
"""Detectors are told apart by their lines, never by colour."""
PANEL_INCHES, PAPER_PANEL_INCHES = (1.87, 2.15), (1.5, 1.8)
"""Width and height of the curves of a class."""
MAX_POINTS = 400
"""That a curve is drawn with."""


@styled
def precision_recall(*diagnoses: Diagnosis) -> Figure:
    """Precision over recall of each class, a panel a class and a line a detector.

    Matched as VOC's devkit does; drawn are the points at true positives. Of many classes those of the most
    objects are shown.
    """
    classes, objects = diagnoses[0].truth.classes, diagnoses[0].breakdown.objects
    labels, cut = most_frequent(objects)
    wide, high = PAPER_PANEL_INCHES if for_paper() else PANEL_INCHES
    columns = columns_of_panels(wide, len(labels), 6 if for_paper() else 5)
    rows = max(1, math.ceil(len(labels) / columns))
    lines: list[dict[str, Any]] = [
        {"color": TEXT_COLOUR, "linewidth": 0.9, "linestyle": (0, DASHES[detector % len(DASHES)])}
        for detector in range(len(diagnoses))
    ]
    figure = new_page(
        wide * columns, high * rows + 0.3, title="Precision over recall",
        names=[d.name for d in diagnoses], letters=(), marks=lines if len(diagnoses) > 1 else (),
        note=f"{ap_name(diagnoses[0], AP)}, in %, in the order of the lines. N: objects, in "
        f"{count(len(diagnoses[0].truth.images), 'image')}.{cut}",
    )  # fmt: skip
    charts = panel_grid(figure, len(labels), columns, sharey=True)
    for place, (axes, label) in enumerate(zip(charts, labels, strict=True)):
        _frame_per_cent(axes)
        if place % columns == 0:
            axes.set_ylabel("precision, %", labelpad=2)
        if place + columns >= len(labels):
            axes.set_xlabel("recall, %", labelpad=2)
        values = [float(getattr(diagnosis.ap, AP)[label]) for diagnosis in diagnoses]
        scores = ", ".join(f"{100 * value:.0f}" if math.isfinite(value) else "–" for value in values)
        title_panel(axes, classes[label], f"AP {scores}; N = {objects[label]:,}", width=wide - 0.2)
        if objects[label] == 0:
            write_in_middle(axes, "no objects")
            continue
        for diagnosis, line in zip(diagnoses, lines, strict=True):
            points = precision_recall_curve(diagnosis.matching, label, diagnosis.iou)
            recall, precision = _thinned(points.recall, points.precision)
            marker = "." if len(recall) == 1 else ""  # a line of one point would not show
            axes.plot(100 * recall, 100 * precision, marker=marker, clip_on=False, zorder=3, **line)
    return figure


def _thinned(recall: NDArray[np.float64], precision: NDArray[np.float64]) -> tuple[NDArray[np.float64], ...]:
    """The points at true positives, where there are too many those evenly apart."""
    true = np.flatnonzero(np.diff(recall, prepend=0.0) > 0)
    if len(true) > MAX_POINTS:
        true = true[np.linspace(0, len(true) - 1, MAX_POINTS).round().astype(np.int64)]
    return recall[true], precision[true]


def _frame_per_cent(axes: Axes) -> None:
    """Square axes from 0 to 100 per cent."""
    frame_lightly(axes, 6.5, grid="both")
    axes.spines[:].set(visible=True, color=MUTED_COLOUR, linewidth=0.6)
    axes.set(xlim=(0, 100), ylim=(0, 100), xticks=[0, 50, 100], yticks=[0, 50, 100])
    axes.set_box_aspect(1)


@styled
def reliability(*diagnoses: Diagnosis) -> Figure:
    """Precision over score, a panel a detector: on the diagonal a score is the probability of being right."""
    columns = columns_of_panels(2.95, len(diagnoses), 4)
    rows = math.ceil(len(diagnoses) / columns)
    bins = diagnoses[0].calibration.counts.shape[1]
    figure = new_page(
        2.95 * columns, 4.15 * rows, title="Reliability of the scores",
        note=f"Upper: share of true positives (IoU {diagnoses[0].iou:g}) among the detections of each of "
        f"{bins} bins of the score, over their mean score; hits of difficult objects are left out. Below the "
        "diagonal the detector is too sure. Lower: detections in each bin; all scores are counted. ECE: "
        "expected calibration error, the mean distance from the diagonal.",
    )  # fmt: skip
    charts = figure.subplots(2 * rows, columns, squeeze=False, height_ratios=[3, 1] * rows)
    for axes in charts.ravel():
        axes.set_axis_off()
    for place, diagnosis in enumerate(diagnoses):
        row, column = divmod(place, columns)
        upper, lower = charts[2 * row : 2 * row + 2, column]
        result = diagnosis.calibration
        counts = result.counts.sum(axis=0)
        detections = f"N = {count(int(counts.sum()), 'detection')}"
        summary = (
            f"ECE {percent_text(result.expected_error())}, {detections}" if counts.any() else result.reason
        )
        title_panel(upper, diagnosis.name, summary or "no detection to count", width=2.3)
        for axes in (upper, lower):
            axes.set_axis_on()
            _frame_per_cent(axes)
        upper.set_ylabel("true positives, %", labelpad=2)
        upper.tick_params(labelbottom=False)
        upper.axline((0, 0), slope=1, color=MUTED_COLOUR, linewidth=0.7, linestyle=(0, (3, 2)))
        score, precision = result.curve()
        dots: dict[str, Any] = {"color": TEXT_COLOUR, "linewidth": 1.0, "markersize": 3.5}
        upper.plot(100 * score, 100 * precision, "o-", clip_on=False, zorder=3, **dots)
        widths, most = 100 * np.diff(result.edges), int(counts.max(initial=0))
        lower.bar(100 * result.edges[:-1] + widths / 2, counts, 0.9 * widths, color="#9a9a9a")
        lower.set_ylim(0, 1.05 * max(1, most))
        ticks = [0, most] if most else [0]
        lower.set_yticks(ticks, [f"{tick:,}" for tick in ticks])
        lower.set_box_aspect(1 / 3)
        lower.set_xlabel("score, %", labelpad=2)
        lower.set_ylabel("detections", labelpad=2)
    return figure
