"""Confusion matrices: at one score threshold, and by TIDE's rules."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap, to_rgb
from matplotlib.figure import Figure
from numpy.typing import NDArray

from diagnosis.breakdown import ERROR_TYPES
from diagnosis.figures.layout import Explained, new_page, write_on_page
from diagnosis.figures.style import (
    GRID_COLOUR,
    LINE_INCHES,
    MARGIN_INCHES,
    MUTED_COLOUR,
    PAPER_ROOM_INCHES,
    TEXT_COLOUR,
    TEXT_POINTS,
    draw_text,
    for_paper,
    most_frequent,
    shorten,
    styled,
    text_colour_on,
    text_width,
    write_beside,
)
from diagnosis.record import Diagnosis
from diagnosis.tide import BKG, CLS, MISS, TIDE_ERRORS, Tide
from diagnosis.words import count

__all__ = ["confusion", "tide_confusion"]

SHADES = LinearSegmentedColormap.from_list("shades", ["#ffffff", "#9fb3d1", "#1f3864"])
CELL_INCHES, PAPER_CELL_INCHES, NAME_POINTS = 0.33, 0.23, 8.0
DIGIT_EMS = 0.636
"""Width of a digit in font sizes; a comma is half as wide."""
LISTED_PAIRS = 12
"""The most frequent confusions that are listed."""


@styled
def confusion(diagnosis: Diagnosis) -> Figure:
    """The confusion matrix, each row as shares of what is there."""
    matrix = diagnosis.confusion
    labels, cut = most_frequent(diagnosis.breakdown.objects)
    cut += " A row adds up to 100 with the classes that are not shown." if cut else ""
    shown = [*labels, len(matrix.classes)]
    shares, totals = np.nan_to_num(matrix.shares())[np.ix_(shown, shown)], matrix.counts.sum(axis=1)
    kept = (
        "All detections." if math.isnan(matrix.score) else f"Detections of score {matrix.score:.3g} or more."
    )
    names = [shorten(matrix.classes[label], 1.4, NAME_POINTS) for label in labels]
    room = 0.4 + max(text_width(name, NAME_POINTS) for name in [*names, "background"])
    side = room + _cell_inches(len(shown)) * len(shown)
    figure = new_page(
        side + 0.75, side + 0.1,
        title=f"Confusion matrix: {diagnosis.name}",
        note=f"Rows: what is there; columns: what was detected, in % of the row. {kept} Pairs of IoU "
        f"{matrix.iou:g} or more, whatever the class. N = {count(int(totals[:-1].sum()), 'object')}; last "
        f"row: {count(int(totals[-1]), 'unmatched detection')}, on background or on an object that another "
        f"detection has already taken.{cut}",
    )  # fmt: skip
    axes = figure.subplots()
    axes.imshow(shares, cmap=SHADES, vmin=0, vmax=1, interpolation="nearest")
    colours = SHADES(shares)[..., :3]
    _frame_matrix(axes, [*names, "background"], [*names, "not found"])
    axes.xaxis.set_label_position("top")
    axes.set_ylabel("truth", size=NAME_POINTS, color=MUTED_COLOUR)
    axes.set_xlabel("taken for, % of the row", size=NAME_POINTS, color=MUTED_COLOUR)
    _write_cells(axes, colours, np.round(100 * shares).astype(np.int64), shares >= 0.005, "{}".format)
    for row, total in enumerate(totals[shown].tolist()):
        write_beside(axes, row, f"{total:,}", 6, color=MUTED_COLOUR)
    write_beside(axes, -1, "number", 6, color=MUTED_COLOUR)
    return figure


@styled
def tide_confusion(diagnosis: Diagnosis) -> Figure:
    """Which class is taken for which by TIDE's rules, as a matrix; the most frequent confusions as a list.

    Counted are the N most confident detections of each class that has N objects. Several may be on one
    object, so a row may add up to more than its objects.
    """
    result = diagnosis.tide
    matrix = result.confusion_matrix(result.top)
    labels, cut = most_frequent(diagnosis.breakdown.objects)
    shown = np.ix_([*labels, len(result.classes)], [*labels, len(result.classes)])
    names = [shorten(result.classes[label], 1.6, NAME_POINTS) for label in labels]
    pairs = _largest_confusions(result, matrix)
    lines = ["Most frequent confusions" if pairs else "No confusions", *pairs]
    room = 0.35 + 1.03 * max(text_width(name, NAME_POINTS) for name in [*names, "none of these"])
    cell = max(_cell_inches(len(names) + 1), min(0.5, LINE_INCHES * len(lines) / (len(names) + 1)))
    side = cell * (len(names) + 1)
    listed = 0.4 + 1.03 * max(text_width(text, TEXT_POINTS, "bold") for text in [*lines[:1], *pairs])
    listing = not for_paper() or room + side + listed <= PAPER_ROOM_INCHES
    figure = new_page(
        room + side + listed * listing,
        room + max(side, LINE_INCHES * len(lines) * listing) + 0.1,
        title=f"Which class is taken for which: {diagnosis.name}",
        explained=[
            Explained("correct", ERROR_TYPES[0].colour, "On an object of its class."),
            Explained(TIDE_ERRORS[CLS].label, TIDE_ERRORS[CLS].colour, "On an object of another class."),
            Explained(
                "none of these", TIDE_ERRORS[BKG].colour, "In the wrong place, a duplicate, or on background."
            ),
            Explained("not found", TIDE_ERRORS[MISS].colour, "Objects without a correct detection."),
        ],
        note="Rows: what is there; columns: what was detected. Full colour: all detections of the column; in "
        f"the last column, all objects of the row. {count(int(matrix[:-1].sum()), 'detection')}: the most "
        "confident of each class, as many as it has objects. "
        f"{count(int(result.objects.sum()), 'object')}; several detections may be on one, so a row may add "
        f"up to more than its objects. IoU {result.iou:g}.{cut}",
    )
    axes, top = _square(figure, room, side)
    colours, matrix = _tide_colours(matrix).swapaxes(0, 1)[shown], matrix.T[shown]
    axes.imshow(colours, interpolation="nearest")
    _frame_matrix(axes, [*names, "none of these"], [*names, "not found"])
    write_on_page(figure, 0.08, top + side / 2, "truth", NAME_POINTS, rotation=90, ha="center")
    write_on_page(figure, room + side / 2, top - room + 0.08, "taken for, number", NAME_POINTS, ha="center")
    _write_cells(axes, colours, matrix, matrix > 0, lambda n: f"{n:,}" if n < 10_000 else f"{n / 1000:.0f}k")
    for line, text in enumerate(lines if listing else []):
        colour, weight = (MUTED_COLOUR, "normal") if line else (TEXT_COLOUR, "bold")
        y = top + LINE_INCHES * (line + 0.5)
        write_on_page(figure, room + side + 0.25, y, text, TEXT_POINTS, colour, weight=weight)
    return figure


def _square(figure: Figure, room: float, side: float) -> tuple[Axes, float]:
    """Axes of so many inches with `room` at the left and above; how far they are from the figure's top."""
    engine = figure.get_layout_engine()
    assert engine is not None
    _, bottom, _, high = engine.get()["rect"]
    width, height = figure.get_size_inches()
    top = (1 - bottom - high) * height + room
    place = (MARGIN_INCHES + room) / width, 1 - (top + side) / height, side / width, side / height
    return figure.add_axes(place), top


def _cell_inches(cells: int) -> float:
    """Width of a cell: on paper narrower where there are many."""
    fits = cells * CELL_INCHES <= PAPER_ROOM_INCHES / 2
    return CELL_INCHES if fits or not for_paper() else PAPER_CELL_INCHES


def _frame_matrix(axes: Axes, rows: Sequence[str], columns: Sequence[str]) -> None:
    """Names at the left and on top, lines between cells, stronger before the last row and column."""
    size = len(rows)
    axes.set_yticks(range(size), rows)
    axes.set_xticks(range(size), columns, rotation=90)
    axes.tick_params(length=0, labelsize=NAME_POINTS, labelcolor=TEXT_COLOUR, pad=4)
    axes.tick_params(axis="x", top=True, labeltop=True, bottom=False, labelbottom=False)
    between = np.arange(size + 1) - 0.5
    axes.hlines(between, -0.5, size - 0.5, color=GRID_COLOUR, linewidth=0.4)
    axes.vlines(between, -0.5, size - 0.5, color=GRID_COLOUR, linewidth=0.4)
    axes.axhline(size - 1.5, color=MUTED_COLOUR, linewidth=0.6)
    axes.axvline(size - 1.5, color=MUTED_COLOUR, linewidth=0.6)
    axes.spines[:].set(color=MUTED_COLOUR, linewidth=0.6)


def _write_cells(
    axes: Axes,
    colours: NDArray[np.float64],
    numbers: NDArray[np.int64],
    shown: NDArray[np.bool_],
    text_of: Callable[[int], str],
) -> None:
    cell = _cell_inches(len(numbers))
    for row, column in np.argwhere(shown).tolist():
        text = text_of(int(numbers[row, column]))
        digits = len(text) - text.count(",") / 2
        size = min(6.0 if len(text) > 4 else 6.5, 72 * cell / DIGIT_EMS / (digits + 0.3))
        red, green, blue = colours[row, column].tolist()
        colour = text_colour_on((red, green, blue))
        draw_text(axes, column, row, text, size, colour, "center", in_layout=False)


def _tide_colours(matrix: NDArray[np.int64]) -> NDArray[np.float64]:
    """``(C + 1, C + 1, 3)`` stronger with a cell's share of its row, in the last row of the objects."""
    classes = len(matrix) - 1
    objects = np.append(matrix.diagonal()[:classes] + matrix[classes, :classes], 1)
    totals = np.where(np.arange(classes + 1)[:, None] == classes, objects, matrix.sum(axis=1, keepdims=True))
    colours = np.empty((*matrix.shape, 3))
    colours[:] = to_rgb(TIDE_ERRORS[CLS].colour)
    colours[np.arange(classes), np.arange(classes)] = to_rgb(ERROR_TYPES[0].colour)
    colours[:, classes] = to_rgb(TIDE_ERRORS[BKG].colour)
    colours[classes] = to_rgb(TIDE_ERRORS[MISS].colour)
    strength = np.where(matrix > 0, 0.06 + 0.94 * (matrix / np.maximum(totals, 1)) ** 0.7, 0.0)[..., None]
    shown: NDArray[np.float64] = 1 - strength * (1 - colours)
    return shown


def _largest_confusions(result: Tide, matrix: NDArray[np.int64]) -> list[str]:
    """The most frequent confusions of two classes, in words."""
    mistakes = matrix[:-1, :-1].copy()
    np.fill_diagonal(mistakes, 0)
    order = np.argsort(-mistakes, axis=None, kind="stable")[:LISTED_PAIRS]
    names = [shorten(name, 1.6, TEXT_POINTS) for name in result.classes]
    return [
        f"{mistakes[row, column]:,}: {names[column]} taken for {names[row]}"
        for row, column in zip(*np.unravel_index(order, mistakes.shape), strict=True)
        if mistakes[row, column] > 0
    ]
