"""TIDE's summary as bars and pies, and which class is taken for which."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle, Wedge
from numpy.typing import NDArray

from data.records import InputError
from diagnosis.breakdown import ERROR_TYPES
from diagnosis.drawing import (
    FAINT,
    INK,
    LEGEND_WIDTH,
    LETTERS,
    LINE,
    MARGIN,
    QUIET,
    TEXT,
    blank_axes,
    count,
    house_style,
    ink_on,
    new_figure,
    percent,
    put_text,
    text_width,
    wrap,
)
from diagnosis.tide import DAP_COLUMNS, Tide
from diagnosis.tide_errors import BEYOND, TIDE_ERRORS, explain

__all__ = ["confusion", "tide_summary"]

PANEL, GAP = 4.1, 0.2  # inches for a detector, of which some are free at the right
RADIUS = 0.78  # inches of a pie
BAR, STEP = 0.17, 0.27  # inches: a bar's height, from bar to bar
LEFT, NUMBERS = 0.62, 1.28  # inches for the bars' names and for the numbers at their right
SMALL = 7.0  # points
WHOLE_COLOUR, WHOLE_EDGE = "white", INK  # all false positives or negatives together are no single type
WHOLE_TEXT = {
    "fp": "All false positives at the end of the ranking: how much precision would gain.",
    "fn": "No object missed, the ranking as it is: how much recall would gain.",
}


def tide_summary(results: Mapping[str, Tide]) -> Figure:
    """What fixing each error would gain, and its share of the sum; a column a detector.

    Parameters
    ----------
    results
        One or several detectors on the same ground truth, by name.

    Raises
    ------
    InputError
        No detector, or detectors on different objects or with different overlaps.
    """
    _check_comparable(results)
    first = next(iter(results.values()))
    gains = {name: {kind: 100 * gain for kind, gain in tide.dap.items()} for name, tide in results.items()}
    six, whole = DAP_COLUMNS[: len(TIDE_ERRORS)], DAP_COLUMNS[len(TIDE_ERRORS) :]
    scales = [_scale([gain[kind] for gain in gains.values() for kind in kinds]) for kinds in (six, whole)]
    room = min(max(len(results) * PANEL, 6.6), LEGEND_WIDTH)
    width = max(len(results) * PANEL, room) + 2 * MARGIN
    panel = (width - 2 * MARGIN) / len(results)
    legend = _legend_lines(first, room)
    head, pie = 0.5, 2 * RADIUS + 0.36
    bars = [STEP * len(kinds) + 0.5 for kinds in (six, whole)]
    below = sum(len(lines) for _, _, lines in legend) * LINE + 0.1
    tops = np.cumsum([0.42 + MARGIN, head, pie, *bars, 3 * LINE + 0.2]).tolist()
    with house_style():
        figure = new_figure(width, tops[-1] + below + MARGIN)
        banner = blank_axes(figure, MARGIN, MARGIN, width - 2 * MARGIN, 0.42)
        put_text(banner, 0, 0.1, "What fixing each error would gain (TIDE)", 11, INK, weight="bold")
        for position, (name, result) in enumerate(results.items()):
            left = MARGIN + position * panel
            title = blank_axes(figure, left, tops[0], panel, head)
            for line, text in enumerate(wrap(name, panel - 0.3, 10.5, lines=2, weight="bold")):
                put_text(title, 0, 0.1 + 0.2 * line, text, 10.5, INK, weight="bold")
            _pie(blank_axes(figure, left, tops[1], panel, pie), gains[name])
            for block, kinds in enumerate((six, whole)):
                axes = blank_axes(figure, left, tops[2 + block], panel, bars[block])
                _bars(axes, result, gains[name], kinds, scales[block], panel - LEFT - NUMBERS - GAP)
            note = blank_axes(figure, left, tops[4], panel, 3 * LINE)
            for line, text in enumerate(_caption(result)):
                put_text(note, 0, LINE * (line + 0.5), text, TEXT, INK if line == 0 else QUIET)
        _legend(blank_axes(figure, MARGIN, tops[5], room, below), legend)
    return figure


def _check_comparable(results: Mapping[str, Tide]) -> None:
    if not 0 < len(results) <= len(LETTERS):
        raise InputError("results", f"{len(results)} detectors", f"1 to {len(LETTERS)} in one figure")
    first = next(iter(results.values()))
    for name, other in results.items():
        same = other.classes == first.classes and np.array_equal(other.object_labels, first.object_labels)
        if not same or (other.iou, other.background) != (first.iou, first.background):
            raise InputError(
                f"detector {name!r}", "other objects or overlaps", "one ground truth and one pair of overlaps"
            )


def _scale(values: Sequence[float]) -> float:
    """A round number that no bar exceeds."""
    largest = max((value for value in values if math.isfinite(value)), default=0.0)
    if largest <= 0:
        return 1.0
    unit = 10.0 ** math.floor(math.log10(largest))
    return next(unit * step for step in (1, 2, 5, 10) if unit * step >= largest)


def _bars(
    axes: Axes, result: Tide, gains: Mapping[str, float], kinds: Sequence[str], scale: float, width: float
) -> None:
    """Bars from the left, with what is gained and the number of errors at their right."""
    bottom = STEP * len(kinds)
    for part in range(3):
        x = LEFT + width * part / 2
        axes.plot([x, x], [0, bottom], color=FAINT, linewidth=0.6, zorder=0)
        put_text(axes, x, bottom + 0.1, f"{scale * part / 2:g}", SMALL, ha="center")
    put_text(axes, LEFT + width / 2, bottom + 0.25, "points of AP gained", SMALL, ha="center")
    put_text(axes, LEFT + width + 0.4, -0.08, "gain", SMALL, ha="right")
    if kinds[0] in result.counts:
        put_text(axes, LEFT + width + NUMBERS - 0.1, -0.08, "errors", SMALL, ha="right")
    colours = {kind.name: kind.colour for kind in TIDE_ERRORS}
    for row, kind in enumerate(kinds):
        y = STEP * (row + 0.5)
        put_text(axes, LEFT - 0.08, y, kind if kind in colours else kind.upper(), TEXT, INK, ha="right")
        gain = gains[kind]
        length = width * max(gain, 0) / scale if math.isfinite(gain) else 0.0
        bar = Rectangle((LEFT, y - BAR / 2), length, BAR, label=kind, linewidth=0.8 if length else 0.0)
        bar.set(facecolor=colours.get(kind, WHOLE_COLOUR), edgecolor=colours.get(kind, WHOLE_EDGE))
        axes.add_patch(bar)
        text = f"{gain:.1f}" if math.isfinite(gain) else "–"
        put_text(axes, LEFT + width + 0.4, y, text, TEXT, INK, ha="right")
        errors = result.counts.get(kind)
        if errors is not None:
            put_text(axes, LEFT + width + NUMBERS - 0.1, y, f"{errors:,}", TEXT, ha="right")


def _pie(axes: Axes, gains: Mapping[str, float]) -> None:
    """Shares of the six in their sum, clockwise from the top."""
    values = np.nan_to_num([gains[kind.name] for kind in TIDE_ERRORS])
    x, y = LEFT + RADIUS, RADIUS + 0.1
    if values.sum() <= 0:
        axes.add_patch(Wedge((x, y), RADIUS, 0, 360, facecolor="white", edgecolor=FAINT))
        put_text(axes, x, y, "nothing to gain", TEXT, ha="center")
        return
    start = -90.0
    for kind, value in zip(TIDE_ERRORS, values, strict=True):
        share = float(value / values.sum())
        wedge = Wedge((x, y), RADIUS, start, start + 360 * share, label=kind.name)
        wedge.set(facecolor=kind.colour, edgecolor="white", linewidth=0.8)
        axes.add_patch(wedge)
        if share >= 0.07:
            angle = math.radians(start + 180 * share)
            place = x + 0.68 * RADIUS * math.cos(angle), y + 0.68 * RADIUS * math.sin(angle)
            put_text(axes, *place, f"{share:.0%}", SMALL, ink_on(kind.colour), ha="center")
        start += 360 * share
    for line, text in enumerate(("share of the sum", "of the six gains")):
        put_text(axes, x + RADIUS + 0.15, 0.2 + LINE * line, text, SMALL)


def _caption(result: Tide) -> list[str]:
    mean = result.mean_ap
    score = f"mAP {percent(mean)}" if math.isfinite(mean) else "no mAP: neither objects nor detections"
    considered = int((result.types != BEYOND).sum())
    return [
        f"{score} (101 recalls, IoU {result.iou:g})",
        f"N = {count(int(result.objects.sum()), 'object')}, {count(considered, 'detection')}:",
        f"of each image the {result.max_detections} surest",
    ]


def _legend_lines(result: Tide, width: float) -> list[tuple[str, str, list[str]]]:
    """Name, colour and lines of the explanation of each bar."""
    texts = [(kind.name, kind.colour, explain(kind, result.iou, result.background)) for kind in TIDE_ERRORS]
    texts += [(kind.upper(), WHOLE_COLOUR, text) for kind, text in WHOLE_TEXT.items()]
    texts.append(("", "", "Each is fixed on its own: the gains do not add up to what is lacking."))
    return [(name, colour, wrap(text, width - 0.9, TEXT)) for name, colour, text in texts]


def _legend(axes: Axes, entries: Sequence[tuple[str, str, list[str]]]) -> None:
    y = 0.1 + LINE / 2
    for name, colour, lines in entries:
        if name:
            edge = WHOLE_EDGE if colour == WHOLE_COLOUR else colour
            axes.add_patch(
                Rectangle((0, y - 0.06), 0.2, 0.12, facecolor=colour, edgecolor=edge, linewidth=0.8)
            )
            put_text(axes, 0.3, y, name, TEXT, INK, weight="bold")
        for text in lines:
            put_text(axes, 0.9, y, text, TEXT)
            y += LINE


# ---- which class for which -------------------------------------------------------------------

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
    names_width = max(text_width(text, size) for text in [*names, "background", "missed"]) + 0.12
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
    for position, text in enumerate([*names, "background"]):
        x = cell * (position + 0.5)
        axes.text(x, -0.06, text, size=size, color=INK, ha="center", va="bottom", rotation=90)
    if not numbers:
        return
    for row, column in np.argwhere(matrix > 0).tolist():
        number = int(matrix[row, column])
        text = f"{number:,}" if number < 10_000 else f"{number / 1000:.0f}k"
        red, green, blue = (round(255 * part) for part in shown[row, column])
        ink = ink_on(f"#{red:02x}{green:02x}{blue:02x}")
        put_text(axes, cell * (column + 0.5), cell * (row + 0.5), text, 6, ink, ha="center")


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
        (TIDE_ERRORS[4].colour, "loc, both, dupe or bkg"),
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
