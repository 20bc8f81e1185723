"""Which class is taken for which, by TIDE's rules, as a matrix and a list."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from numpy.typing import NDArray

from diagnosis.breakdown import ERROR_TYPES
from diagnosis.figures.style import (
    FAINT,
    INK,
    LINE,
    MARGIN,
    QUIET,
    TEXT,
    blank_axes,
    count,
    house_style,
    ink_on,
    new_figure,
    put_text,
    text_width,
    wrap,
)
from diagnosis.tide import TIDE_ERRORS, Tide

__all__ = ["confusion"]

SMALL = 7.0  # points
CELLS = {"numbers": 0.36, "colours": 0.135}  # inches of a cell, with and without a number in it
MANY = 30  # classes from which cells are too small for numbers
PAIRS = 12  # confusions that are listed


def confusion(name: str, result: Tide, counted: NDArray[np.bool_] | None = None) -> Figure:
    """Which class is taken for which, as a matrix, and the most frequent confusions as a list.

    Parameters
    ----------
    name
        What the detector is called.
    result
        TIDE's findings.
    counted
        ``(M,)`` which detections count. Default: the N surest of each class that has N objects.
    """
    chosen = "chosen" if counted is not None else "surest of each class, as many as it has objects"
    matrix = result.confusion_matrix(result.top if counted is None else counted)
    number = count(int(matrix[:-1].sum()), "detection")
    note = f"{number}: the {chosen}. {count(int(result.objects.sum()), 'object')}. IoU {result.iou:g}."
    classes = len(result.classes)
    cell = CELLS["colours" if classes > MANY else "numbers"]
    size = SMALL if classes <= MANY else 5.5
    names = [wrap(text, 1.6, size, lines=1)[0] for text in result.classes]
    names_width = max(text_width(text, size) for text in [*names, "none of these", "missed"]) + 0.12
    extent = cell * (classes + 1)
    pairs = _largest_confusions(matrix)
    listed = max(2.9, max((text_width(_pair_text(result, *pair), TEXT) for pair in pairs), default=0) + 0.2)
    head = 0.75 + names_width
    width = max(names_width + 0.25 + extent + 0.35 + listed, 7.0) + 2 * MARGIN
    height = max(head + extent, 0.75 + LINE * (len(pairs) + 11)) + 2 * MARGIN
    with house_style():
        figure = new_figure(width, height)
        banner = blank_axes(figure, MARGIN, MARGIN, width - 2 * MARGIN, 0.6)
        title = wrap(f"Which class is taken for which: {name}", width - 2 * MARGIN, 11, 1, "bold")[0]
        put_text(banner, 0, 0.1, title, 11, INK, weight="bold")
        put_text(banner, 0, 0.36, note, TEXT)
        axes = blank_axes(figure, MARGIN + names_width + 0.25, MARGIN + head, extent, extent)
        _matrix(axes, matrix, cell, names, size, numbers=classes <= MANY)
        beside = MARGIN + names_width + 0.25 + extent + 0.35
        _side(blank_axes(figure, beside, MARGIN + 0.75, listed, height - 2 * MARGIN - 0.75), result, pairs)
    return figure


def _matrix(
    axes: Axes, matrix: NDArray[np.int64], cell: float, names: Sequence[str], size: float, *, numbers: bool
) -> None:
    """Cells, the stronger in colour the larger their share of the row; names at the left and on top."""
    classes = len(names)
    rows = matrix.sum(axis=1, keepdims=True).astype(np.float64)
    rows[classes, 0] = 1
    share = matrix / np.maximum(rows, 1)
    objects = matrix[:, :classes].diagonal() + matrix[classes, :classes]
    share[classes, :classes] = matrix[classes, :classes] / np.maximum(objects, 1)
    colours = np.empty((classes + 1, classes + 1, 3))
    colours[:] = to_rgb(TIDE_ERRORS[0].colour)
    colours[np.arange(classes), np.arange(classes)] = to_rgb(ERROR_TYPES[0].colour)
    colours[:, classes] = to_rgb(TIDE_ERRORS[4].colour)
    colours[classes] = to_rgb(TIDE_ERRORS[5].colour)
    strength = np.where(matrix > 0, 0.06 + 0.94 * share**0.7, 0.0)[..., None]
    shown = 1 - strength * (1 - colours)
    extent = cell * (classes + 1)
    axes.imshow(shown, extent=(0, extent, extent, 0), interpolation="nearest", aspect="auto", zorder=0)
    axes.set(xlim=(0, extent), ylim=(extent, 0))
    for line in range(classes + 2):
        at = cell * line
        colour = QUIET if line in (0, classes, classes + 1) else FAINT
        for xs, ys in (([at, at], [0, extent]), ([0, extent], [at, at])):
            axes.plot(xs, ys, color=colour, linewidth=0.5, zorder=1, clip_on=False)
    for position, text in enumerate([*names, "missed"]):
        put_text(axes, -0.06, cell * (position + 0.5), text, size, INK, ha="right")
    for position, text in enumerate([*names, "none of these"]):
        x = cell * (position + 0.5)
        axes.text(x, -0.06, text, size=size, color=INK, ha="center", va="bottom", rotation=90)
    if not numbers:
        return
    for row, column in np.argwhere(matrix > 0).tolist():
        number = int(matrix[row, column])
        text = f"{number:,}" if number < 10_000 else f"{number / 1000:.0f}k"
        red, green, blue = (round(255 * part) for part in shown[row, column])
        ink = ink_on(f"#{red:02x}{green:02x}{blue:02x}")
        small = 6 if len(text) > 4 else SMALL
        put_text(axes, cell * (column + 0.5), cell * (row + 0.5), text, small, ink, ha="center")


def _largest_confusions(matrix: NDArray[np.int64]) -> list[tuple[int, int, int]]:
    """Class of the detections, class of the objects, number of them; the most frequent first."""
    mistakes = matrix[:-1, :-1].copy()
    np.fill_diagonal(mistakes, 0)
    order = np.argsort(-mistakes, axis=None, kind="stable")[:PAIRS]
    rows, columns = np.unravel_index(order, mistakes.shape)
    found = zip(rows.tolist(), columns.tolist(), mistakes[rows, columns].tolist(), strict=True)
    return [(row, column, number) for row, column, number in found if number > 0]


def _pair_text(result: Tide, row: int, column: int, number: int) -> str:
    return f"{number:,}: {result.classes[column]} taken for {result.classes[row]}"


def _side(axes: Axes, result: Tide, pairs: Sequence[tuple[int, int, int]]) -> None:
    """How to read the matrix, and its largest entries."""
    entries = [
        (ERROR_TYPES[0].colour, "correct"),
        (TIDE_ERRORS[0].colour, "cls: on an object of another class"),
        (TIDE_ERRORS[4].colour, "none of these: loc, both, dupe or bkg"),
        (TIDE_ERRORS[5].colour, "objects without correct detection"),
    ]
    y = LINE / 2
    for text in ("Row: class of the detection.", "Column: class of the object.", ""):
        put_text(axes, 0, y, text, TEXT)
        y += LINE
    for colour, text in entries:
        axes.add_patch(Rectangle((0, y - 0.06), 0.2, 0.12, facecolor=colour, linewidth=0))
        put_text(axes, 0.3, y, text, TEXT)
        y += LINE
    for text in ("Full colour: all detections of the row;", "in the last row, all objects of the column."):
        put_text(axes, 0, y, text, SMALL)
        y += LINE
    y += LINE
    put_text(axes, 0, y, "Most frequent confusions" if pairs else "No confusions", TEXT, INK, weight="bold")
    for position, pair in enumerate(pairs, 1):
        put_text(axes, 0, y + LINE * position, _pair_text(result, *pair), TEXT)
