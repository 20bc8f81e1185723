"""The error breakdown and the average precision: pies (the paper's Figure 9), bars and dots by class."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from diagnosis.breakdown import ERROR_TYPES
from diagnosis.figures.layout import draw_pie, explained_types, new_page, shown_groups, type_entries
from diagnosis.figures.style import (
    DETECTOR_LETTERS,
    GRID_COLOUR,
    MAX_CLASSES,
    MUTED_COLOUR,
    PAPER_ROOM_INCHES,
    SMALL_POINTS,
    TEXT_COLOUR,
    TEXT_POINTS,
    ap_name,
    columns_of_panels,
    draw_text,
    for_paper,
    frame_lightly,
    label_rows,
    most_frequent,
    most_rows,
    panel_grid,
    panel_inches,
    percent_text,
    shorten,
    spread,
    styled,
    text_colour_on,
    text_width,
    title_panel,
    wrap,
    write_beside,
)
from diagnosis.record import Diagnosis
from diagnosis.similar import group_indices
from diagnosis.words import count

__all__ = ["MARKERS", "average_precision", "bars", "group_pies", "pies"]

AP = "voc07"
"""The average precision that the pies and the dots give: the paper's."""
MARKERS = "oDs^vo"
FILLINGS = (TEXT_COLOUR, "white", "#9a9a9a", "white", TEXT_COLOUR, "white")
"""Of the markers of the detectors, with :data:`MARKERS`."""

PIE_INCHES, NARROW_PIE_INCHES, RADIUS_INCHES = (4.45, 3.1), (3.0, 2.4), 1.05
"""Width and height of a pie with its labels; the radius of a pie that has room."""
LABEL_INCHES, LABEL_WIDTH_INCHES = 0.36, 0.58
"""From label to label on one side of a pie; the widest label."""
LABEL_RADII = 1.27
"""From the middle of a pie to labels in a column beside it."""
CHART_INCHES, NARROW_CHART_INCHES, LEAST_CHART_INCHES = 3.4, 2.0, 1.4
"""Of the axis from 0 to 100 per cent; on paper, where several lie side by side, and at least."""
ROW_GAP_INCHES = 0.12
NUMBER_INCHES = 0.46
"""Width of a column of numbers."""
PORTRAIT = 1.2
"""Height over width that a chart of many classes approaches by going on in further columns."""
GROUPS_IN_A_ROW = 6
GROUP_INCHES, PAPER_GROUP_INCHES = (2.25, 2.35), (1.5, 1.75)
"""Width and height of a group's pie with its title."""
LABELLED_SHARE = 0.05
"""Smallest share of a group's pie that has room for its number."""


@styled
def pies(*diagnoses: Diagnosis) -> Figure:
    """What became of the top N detections of each class, as one pie a detector (the paper's Figure 9)."""
    columns, panel = panel_inches(PIE_INCHES[0], NARROW_PIE_INCHES[0], len(diagnoses))
    rows = math.ceil(len(diagnoses) / columns)
    if not for_paper():
        panel = max(panel, 7.2 / columns)
    height = NARROW_PIE_INCHES[1] if panel < PIE_INCHES[0] else PIE_INCHES[1]
    explained = [] if for_paper() else explained_types(diagnoses[0])  # slices have their names beside them
    figure = new_page(
        panel * columns,
        (height + (0.5 if for_paper() else 1.4)) * rows,
        explained=explained,
        gaps=(0.05, 0.05 if for_paper() else 0.15),  # the caption clear of the explanations
    )
    for axes, diagnosis in zip(panel_grid(figure, len(diagnoses), columns), diagnoses, strict=True):
        _labelled_pie(axes, np.nan_to_num(diagnosis.breakdown.mean_over_classes()), panel - 0.1, height)
        name = wrap(diagnosis.name, panel - 0.3, 12, lines=2, weight="bold")
        axes.set_title("\n".join(name), size=12, weight="bold", color=TEXT_COLOUR)
        if not for_paper():
            caption = "\n".join(_pie_caption(diagnosis))
            axes.set_xlabel(caption, size=TEXT_POINTS, color=MUTED_COLOUR, linespacing=1.6)
    return figure


def _pie_caption(diagnosis: Diagnosis) -> list[str]:
    """The lines below a pie: AP, what was counted, of what."""
    breakdown, mean = diagnosis.breakdown, diagnosis.ap.mean()[AP]
    classes = count(int((breakdown.counts.sum(axis=1) > 0).sum()), "class", "classes")
    counted = int(breakdown.counts.sum())
    score = f"{ap_name(diagnosis, AP)}: {percent_text(mean)}"
    return [
        score if math.isfinite(mean) else "no AP: there are no objects",
        f"N = {count(counted, 'detection')} counted, of {len(diagnosis.detections):,}",
        *([f"shares: class mean of {classes}"] if counted else []),
        f"{count(int(breakdown.objects.sum()), 'object')} in {count(len(diagnosis.truth.images), 'image')}",
    ]


def _labelled_pie(axes: Axes, shares: NDArray[np.float64], width: float, height: float) -> None:
    """A pie with a label outside each slice, clockwise from the top; the axes are measured in radii."""
    slices = draw_pie(axes, shares, ERROR_TYPES, empty="no detections\nto count")
    radius = min(RADIUS_INCHES, (width / 2 - LABEL_WIDTH_INCHES) / LABEL_RADII)
    high, step = height / 2 / radius, LABEL_INCHES / radius
    axes.set(xlim=np.array([-1, 1]) * width / 2 / radius, ylim=(-high, high))
    for side in (1, -1):  # right, left
        labels = [
            (np.array([math.cos(math.radians(angle)), math.sin(math.radians(angle))]), kind, share)
            for kind, share, angle in slices
        ]
        labels = sorted((one for one in labels if (one[0][0] >= 0) == (side > 0)), key=lambda one: one[0][1])
        places = spread(np.array([1.19 * rim[1] for rim, *_ in labels]), step, high - 0.15)
        for (rim, kind, share), y in zip(labels, places.tolist(), strict=True):
            # Beside the circle; labels that crowd stand in a column, clear of each other's lines.
            crowded = (np.abs(places - y) < step + 1e-6).sum() > 1
            x = side * (LABEL_RADII if crowded else math.sqrt(max(0.21**2, 1.19**2 - y**2)))
            axes.plot(*np.transpose([0.96 * rim, 1.1 * rim, (x, y)]), color=MUTED_COLOUR, linewidth=0.7)
            align = "left" if side > 0 else "right"
            x, half = x + 0.05 * side, 0.08 * RADIUS_INCHES / radius
            draw_text(axes, x, y + half, percent_text(share), 10, TEXT_COLOUR, align, weight="bold")
            draw_text(axes, x, y - half, kind.label, 8, ha=align)


@styled
def group_pies(*diagnoses: Diagnosis) -> Figure:
    """What became of the top N detections, as a pie for each group of similar classes and each detector.

    The shares are averaged over the classes of a group, as in :func:`pies`.
    """
    wide, high = PAPER_GROUP_INCHES if for_paper() else GROUP_INCHES
    most = columns_of_panels(wide, GROUPS_IN_A_ROW, GROUPS_IN_A_ROW)
    several = len(diagnoses) > 1
    groups, cut = shown_groups(
        diagnoses[0], min(MAX_CLASSES, most_rows(high, wide * most) * most // len(diagnoses))
    )
    lettered = list(zip(DETECTOR_LETTERS, diagnoses, strict=False))
    # A row for each detector; or, where the groups are too many for one, the detectors side by side.
    panels, columns = [(group, *one) for one in lettered for group in groups], len(groups)
    if columns > most:
        panels = [(group, *one) for group in groups for one in lettered]
        columns = most // len(diagnoses) * len(diagnoses) or most
    rows = math.ceil(len(panels) / columns)
    figure = new_page(
        wide * columns,
        high * rows,
        title="What became of the top detections of each class, by group of classes",
        names=[diagnosis.name for diagnosis in diagnoses],
        legend=type_entries(),
        note=f"In %, class mean of each group; parts below {100 * LABELLED_SHARE:.0f} % have no "
        "number. N: detections counted. A class is in one group at most: the classes of a group are all "
        f"similar to each other.{cut}",
    )
    charts = panel_grid(figure, len(panels), columns)
    for axes, (group, letter, diagnosis) in zip(charts, panels, strict=True):
        members = group_indices(diagnosis.truth.classes, groups[group])
        counts = diagnosis.breakdown.counts[members]
        known = counts.sum(axis=1) > 0
        shares = diagnosis.breakdown.shares[members][known].sum(axis=0) / max(int(known.sum()), 1)
        draw_pie(
            axes, shares, ERROR_TYPES, lambda share: f"{100 * share:.0f}" if share >= LABELLED_SHARE else ""
        )
        number = f"N = {counts.sum():,}"
        number += "" if for_paper() else f", {count(int(known.sum()), 'class', 'classes')}"
        title_panel(axes, group, f"{letter}: {number}" if several else number, width=wide - 0.15)
    return figure


@styled
def bars(*diagnoses: Diagnosis) -> Figure:
    """The shares of each class as stacked bars, one bar a detector, the mean over classes on top."""
    means = [np.nan_to_num(d.breakdown.mean_over_classes())[None] for d in diagnoses]
    shares = [np.nan_to_num(d.breakdown.shares) for d in diagnoses]
    values = 100 * np.stack([np.concatenate(pair) for pair in zip(means, shares, strict=True)], axis=1)
    objects = diagnoses[0].breakdown.objects
    numbers = [[], *(_counted(diagnoses, label) for label in range(len(objects)))]
    widest = max((text_width(number, SMALL_POINTS) for row in numbers for number in row), default=0.0)
    note = "N: how many of the class's top detections are counted."
    if any(" of " in number for row in numbers for number in row):
        note += " “7 of 10”: there are only 7 detections, for 10 objects."
    bar = 0.2 if len(diagnoses) == 1 else 0.165  # inches
    row_inches = bar * len(diagnoses) + ROW_GAP_INCHES
    offsets = (np.arange(len(diagnoses)) - (len(diagnoses) - 1) / 2) * bar / row_inches
    figure, charts = _class_rows(
        diagnoses, "What became of the top N detections of each class", row_inches, 0.35 + widest,
        letters=DETECTOR_LETTERS[: len(diagnoses)] if len(diagnoses) > 1 else "", offsets=offsets.tolist(),
        explained=explained_types(diagnoses[0]), note=note,
    )  # fmt: skip
    for axes, rows in charts:
        write_beside(axes, -0.75, "N", 16, color=MUTED_COLOUR)
        y = (np.arange(len(rows))[:, None] + offsets).ravel()
        left = np.zeros(len(y))
        for kind, widths in zip(ERROR_TYPES, values[rows].reshape(len(y), -1).T, strict=True):
            drawn = axes.barh(y, widths, bar / row_inches, left, color=kind.colour, edgecolor="white")
            for patch in drawn:
                patch.set(linewidth=0.5, label=kind.label)
            for row in np.flatnonzero(widths > 7).tolist():
                middle, colour = left[row] + widths[row] / 2, text_colour_on(kind.colour)
                draw_text(axes, middle, y[row], f"{widths[row]:.0f}", 6.5, colour, "center", in_layout=False)
            left += widths
        for place, row in enumerate(rows):
            for detector in np.flatnonzero(values[row].sum(axis=1) == 0).tolist():
                reason = "no detections" if row == 0 or objects[row - 1] else "no objects"
                draw_text(axes, 1, place + offsets[detector], reason, SMALL_POINTS)
            heights = offsets if len(numbers[row]) > 1 else [0.0]
            for text, offset in zip(numbers[row], heights, strict=False):
                write_beside(axes, place + offset, text, 16, color=MUTED_COLOUR)
    return figure


def _counted(diagnoses: Sequence[Diagnosis], label: int) -> list[str]:
    """N, once if all detectors have the same; where detections are fewer than objects, of how many."""
    notes = []
    for diagnosis in diagnoses:
        counted, objects = diagnosis.breakdown.counts[label].sum(), diagnosis.breakdown.objects[label]
        all_there_are = counted == (diagnosis.detections.labels == label).sum()
        notes.append(f"{counted:,} of {objects:,}" if all_there_are and counted < objects else f"{counted:,}")
    return notes[:1] if len(set(notes)) == 1 else notes


@styled
def average_precision(*diagnoses: Diagnosis) -> Figure:
    """Average precision of each class, one dot a detector, the mean over classes on top."""
    columns = [np.append(diagnosis.ap.mean()[AP], getattr(diagnosis.ap, AP)) for diagnosis in diagnoses]
    values = 100 * np.stack(columns, axis=1)  # (1 + C, D)
    heads = DETECTOR_LETTERS[: len(diagnoses)] if len(diagnoses) > 1 else ["AP"]
    objects, images = int(diagnoses[0].breakdown.objects.sum()), len(diagnoses[0].truth.images)
    marks: list[dict[str, Any]] = [
        {
            "marker": MARKERS[detector % len(MARKERS)], "markersize": 5.5, "markeredgewidth": 0.9,
            "markeredgecolor": TEXT_COLOUR, "markerfacecolor": FILLINGS[detector % len(MARKERS)],
            "linestyle": "none",
        }
        for detector in range(len(diagnoses))
    ]  # fmt: skip
    figure, charts = _class_rows(
        diagnoses, f"{ap_name(diagnoses[0], AP)} by class",
        0.16 + ROW_GAP_INCHES * (0.6 if for_paper() else 1),
        0.15 + NUMBER_INCHES * len(diagnoses), marks=marks if len(diagnoses) > 1 else (),
        note=f"In %, of N = {count(objects, 'object')} in {count(images, 'image')}.",
    )  # fmt: skip
    for axes, rows in charts:
        if for_paper():
            axes.set_xlabel(f"{ap_name(diagnoses[0], AP)}, %", labelpad=2)
        shown, y = values[rows], np.arange(len(rows))
        axes.hlines(y, 0, 100, color=GRID_COLOUR, linewidth=0.6, zorder=1)
        several = np.isfinite(shown).sum(axis=1) > 1
        ends = np.nanmin(shown[several], axis=1), np.nanmax(shown[several], axis=1)
        axes.hlines(y[several], *ends, color="#b0b0b0", linewidth=2.2, zorder=2)
        for detector, (column, head) in enumerate(zip(shown.T, heads, strict=True)):
            axes.plot(column, y, clip_on=False, zorder=3 + detector, **marks[detector])
            points = 72 * (0.1 + NUMBER_INCHES * (detector + 1))
            write_beside(axes, -0.9, head, points, ha="right", color=MUTED_COLOUR)
            for place, value in enumerate(column.tolist()):
                text = f"{value:.1f}" if math.isfinite(value) else "–"
                weight = "bold" if rows[place] == 0 else "normal"
                write_beside(axes, place, text, points, ha="right", weight=weight)
    return figure


def _class_rows(
    diagnoses: Sequence[Diagnosis],
    title: str,
    row_inches: float,
    beside_inches: float,
    *,
    note: str,
    letters: Sequence[str] = (),
    offsets: Sequence[float] = (),
    **page: Any,
) -> tuple[Figure, list[tuple[Axes, list[int]]]]:
    """A figure with a row for the mean over classes and for each class, in as many columns as needed.

    Returns
    -------
    Figure, list
        The figure, and of each column its axes and its rows from 0 down, one unit high: 0 for the mean, or
        one more than the label of the class.
    """
    objects, classes = diagnoses[0].breakdown.objects, diagnoses[0].truth.classes

    def chosen(most: int) -> tuple[list[int], list[str], str]:
        """The rows of so many classes, their names, and a sentence if there are more of them."""
        labels, cut = most_frequent(objects, most)
        names = [shorten(classes[label], 1.9, 8) for label in labels]
        return [0, *(label + 1 for label in labels)], ["class mean", *names], cut

    shown, names, cut = chosen(MAX_CLASSES)
    left = (0.3 if letters else 0.15) + max(text_width(name, 8, "bold") for name in names)
    beside = left + beside_inches + 0.3
    narrow = NARROW_CHART_INCHES if for_paper() else CHART_INCHES
    least = LEAST_CHART_INCHES if for_paper() else CHART_INCHES

    def panel_of(columns: int) -> float:
        fits = PAPER_ROOM_INCHES / columns - beside
        return beside + (CHART_INCHES if columns == 1 else max(least, min(narrow, fits)))

    choices = range(1, 1 + columns_of_panels(beside + least, 8, 8))
    room = {n: n * most_rows(row_inches, n * panel_of(n), 1.3 + 0.19 * len(diagnoses)) for n in choices}
    columns = min(
        [n for n in choices if len(names) <= room[n]] or choices[-1:],
        key=lambda n: abs(math.log(len(names) * row_inches / n / (n * panel_of(n)) / PORTRAIT)),
    )
    if for_paper() and len(names) > room[columns]:
        shown, names, cut = chosen(room[columns] - 1)
    each = math.ceil(len(names) / columns)
    starts = range(0, len(names), each)
    panel = panel_of(len(starts))
    figure = new_page(
        len(starts) * panel, each * row_inches + 0.5, title=title, names=[d.name for d in diagnoses],
        note=note + cut, gaps=(0.15, 0.05), **page,
    )  # fmt: skip
    charts = []
    for axes, start in zip(figure.subplots(1, len(starts), squeeze=False)[0], starts, strict=True):
        rows = shown[start : start + each]
        frame_lightly(axes, grid="x")
        axes.spines[:].set_visible(False)
        label_rows(axes, names[start : start + each], letters, offsets)
        if start == 0:
            axes.get_yticklabels()[0].set_fontweight("bold")
        quarters = [0, 25, 50, 75, 100]
        axes.set(xlim=(0, 100), ylim=(each - 0.5, -0.5))
        axes.set_xticks(quarters, [f"{quarter}%" for quarter in quarters])
        axes.tick_params(axis="x", length=0, labeltop=True, labelbottom=len(rows) == each)
        charts.append((axes, rows))
    return figure, charts
