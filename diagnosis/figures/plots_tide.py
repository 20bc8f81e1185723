"""TIDE's summary as bars and pies."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle, Wedge

from data.records import InputError
from diagnosis.figures.style import (
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
    wrap,
)
from diagnosis.tide import BEYOND, DAP_COLUMNS, TIDE_ERRORS, Tide, explain

__all__ = ["tide_summary"]

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
    absent = any(not math.isfinite(value) for gain in gains.values() for value in gain.values())
    legend = _legend_lines(first, room, absent)
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
    known = np.array([gains[kind.name] for kind in TIDE_ERRORS])
    values = np.nan_to_num(known)
    x, y = LEFT + RADIUS, RADIUS + 0.1
    if values.sum() <= 0:
        axes.add_patch(Wedge((x, y), RADIUS, 0, 360, facecolor="white", edgecolor=FAINT))
        put_text(
            axes, x, y, "nothing to gain" if np.isfinite(known).all() else "no shares", TEXT, ha="center"
        )
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


def _legend_lines(result: Tide, width: float, absent: bool) -> list[tuple[str, str, list[str]]]:
    """Name, colour and lines of the explanation of each bar; `absent`: some gain does not exist."""
    texts = [(kind.name, kind.colour, explain(kind, result.iou, result.background)) for kind in TIDE_ERRORS]
    texts += [(kind.upper(), WHOLE_COLOUR, text) for kind, text in WHOLE_TEXT.items()]
    texts.append(("", "", "Each is fixed on its own: the gains do not add up to what is lacking."))
    if absent:
        texts.append(("–", "", "No class with objects or detections is left to be scored."))
    return [(name, colour, wrap(text, width - 0.9, TEXT)) for name, colour, text in texts]


def _legend(axes: Axes, entries: Sequence[tuple[str, str, list[str]]]) -> None:
    y = 0.1 + LINE / 2
    for name, colour, lines in entries:
        if colour:
            edge = WHOLE_EDGE if colour == WHOLE_COLOUR else colour
            axes.add_patch(
                Rectangle((0, y - 0.06), 0.2, 0.12, facecolor=colour, edgecolor=edge, linewidth=0.8)
            )
        put_text(axes, 0.3, y, name, TEXT, INK, weight="bold")
        for text in lines:
            put_text(axes, 0.9, y, text, TEXT)
            y += LINE
