"""Figures of a comparison: shares and average precision with intervals, and differences with theirs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from data.records import InputError
from diagnosis.breakdown import ERROR_TYPES
from diagnosis.compare import Comparison, p_value, quantity_name
from diagnosis.figures.charts import MARKERS
from diagnosis.figures.plots_flow import flow_sankey
from diagnosis.figures.style import (
    FAINT,
    INK,
    LETTERS,
    LINE,
    MARGIN,
    QUIET,
    TEXT,
    blank_axes,
    count,
    house_style,
    new_figure,
    put_text,
    save_figure,
    text_width,
    wrap,
)
from diagnosis.flow import Flow

__all__ = ["class_differences", "differences", "intervals", "save_comparison_figures"]

SHARE_COLOURS = {f"share/{kind.name}": kind.colour for kind in ERROR_TYPES}
CHART = 4.2  # inches that the intervals have
ROW, GAP = 0.19, 0.12  # inches: a row, and the room between two blocks of rows
ROW_TEXT, SMALL = 8.0, 7.0  # points


@dataclass(frozen=True)
class _Dot:
    """A number with its interval, in per cent; NaN where there is none."""

    value: float
    low: float
    high: float
    colour: str
    marker: str
    filled: bool
    head: str
    text: str
    p: str = ""


def _shown(comparison: Comparison) -> list[str]:
    return [quantity for quantity in comparison.quantities if quantity.split("/")[0] in ("share", "map")]


def _setting(comparison: Comparison) -> str:
    return (
        f"Lines: {100 * comparison.level:g}% intervals of {comparison.replicates:,} resamples "
        f"of N = {count(comparison.images, 'image')}."
    )


def intervals(comparison: Comparison) -> Figure:
    """Mean share of each error type and mean average precision of each detector, with intervals.

    Raises
    ------
    InputError
        More detectors than there are letters for.
    """
    _check(comparison)
    blocks = []
    for quantity in _shown(comparison):
        dots = []
        for detector in range(len(comparison.names)):
            number = comparison.estimate(quantity, detector)
            text = _range(number.value, number.low, number.high)
            colour = SHARE_COLOURS.get(quantity, INK)
            marker = MARKERS[detector % len(MARKERS)]
            head = LETTERS[detector] if len(comparison.names) > 1 else ""
            scaled = [100 * x for x in (number.value, number.low, number.high)]
            dots.append(_Dot(scaled[0], scaled[1], scaled[2], colour, marker, True, head, text))
        blocks.append((quantity_name(quantity), dots))
    key = [f"{LETTERS[i]}  {name}" for i, name in enumerate(comparison.names)]
    key = key if len(key) > 1 else list(comparison.names)
    note = f"Shares of the top detections and mAP, averaged over the classes. {_setting(comparison)}"
    return _forest("Error types and average precision", key, blocks, (0.0, 100.0), "%", note)


def differences(comparison: Comparison) -> Figure:
    """How the further detectors differ from the first in each mean share and average precision.

    Raises
    ------
    InputError
        A single detector, or more than there are letters for.
    """
    _check(comparison, 2)
    blocks = [
        (
            quantity_name(quantity),
            [_gap(comparison, quantity, other) for other in range(1, len(comparison.names))],
        )
        for quantity in _shown(comparison)
    ]
    note = f"Averaged over the classes in which both have a number. {GAP_NOTE} {_setting(comparison)}"
    return _forest(
        f"Difference from {comparison.names[0]}",
        _gap_key(comparison),
        blocks,
        _around_zero(blocks),
        "points",
        note,
    )


def class_differences(comparison: Comparison, quantity: str = "share/localization") -> Figure:
    """How the further detectors differ from the first in one quantity, class by class.

    Raises
    ------
    InputError
        A single detector, more than there are letters for, or a quantity that is unknown or not by class.
    """
    _check(comparison, 2)
    if quantity not in comparison.by_class:
        raise InputError("quantity", repr(quantity), f"one of {', '.join(sorted(comparison.by_class))}")
    others = range(1, len(comparison.names))
    rows: list[tuple[str, int | None]] = [("mean over classes", None)]
    rows += [(name, label) for label, name in enumerate(comparison.classes)]
    blocks = [(name, [_gap(comparison, quantity, other, label) for other in others]) for name, label in rows]
    title = f"Difference from {comparison.names[0]}: {quantity_name(quantity)}"
    note = f"{GAP_NOTE} {_setting(comparison)}"
    return _forest(title, _gap_key(comparison), blocks, _around_zero(blocks), "points", note)


GAP_NOTE = "Paired over the images; filled where the interval leaves zero out."


def _gap_key(comparison: Comparison) -> list[str]:
    several = len(comparison.names) > 2
    return [f"{LETTERS[i] + '  ' if several else ''}{name}" for i, name in enumerate(comparison.names) if i]


def _gap(comparison: Comparison, quantity: str, other: int, label: int | None = None) -> _Dot:
    gap = comparison.difference(quantity, 0, other, label)
    text = _range(gap.difference, gap.low, gap.high, sign="+")
    p = ""
    if not math.isnan(gap.p):
        p = f"p {p_value(gap.p, comparison.replicates - gap.undefined)}"
    head = LETTERS[other] if len(comparison.names) > 2 else ""
    scaled = [100 * x for x in (gap.difference, gap.low, gap.high)]
    marker = MARKERS[other % len(MARKERS)]
    colour = SHARE_COLOURS.get(quantity, INK)
    return _Dot(scaled[0], scaled[1], scaled[2], colour, marker, gap.differs, head, text, p)


def _range(value: float, low: float, high: float, sign: str = "") -> str:
    if math.isnan(value):
        return "–"
    text = f"{100 * value + 0.0:{sign}.1f}"
    if not math.isnan(low):
        text += f"  [{100 * low + 0.0:.1f}, {100 * high + 0.0:.1f}]"
    return text.replace("-", "−")


def _around_zero(blocks: Sequence[tuple[str, Sequence[_Dot]]]) -> tuple[float, float]:
    ends = [abs(end) for _, dots in blocks for dot in dots for end in (dot.value, dot.low, dot.high)]
    most = max((end for end in ends if math.isfinite(end)), default=0.0)
    return -1.08 * most if most else -1.0, 1.08 * most if most else 1.0


def _check(comparison: Comparison, least: int = 1) -> None:
    detectors = len(comparison.names)
    if not least <= detectors <= len(LETTERS):
        raise InputError("comparison", count(detectors, "detector"), f"{least} to {len(LETTERS)} to draw")


def _forest(
    title: str,
    key: Sequence[str],
    blocks: Sequence[tuple[str, Sequence[_Dot]]],
    limits: tuple[float, float],
    unit: str,
    note: str,
) -> Figure:
    """Blocks of rows, a dot with its interval in each; names at the left, numbers at the right."""
    names = [wrap(name, 2.2, ROW_TEXT, lines=1)[0] for name, _ in blocks]
    dots = [dot for _, some in blocks for dot in some]
    left = 0.35 + max((text_width(name, ROW_TEXT, "bold") for name in names), default=0.0)
    right = 0.3 + max((text_width(dot.text, SMALL) for dot in dots), default=0.0)
    beside = right + 0.05  # where the p-values stand
    if any(dot.p for dot in dots):
        right = beside + 0.1 + max(text_width(dot.p, SMALL) for dot in dots if dot.p)
    width = left + CHART + right
    key = [wrap(line, width - 0.3, 9, lines=1)[0] for line in key]
    lines = wrap(note, width, TEXT)
    heads = wrap(title, width, 11, lines=2, weight="bold")
    head = 0.1 + 0.22 * len(heads) + LINE * len(key) + 0.32
    body = sum(ROW * len(some) + GAP for _, some in blocks)
    height = head + body + 0.35 + LINE * len(lines) + 2 * MARGIN

    def x(value: float) -> float:
        return CHART * (value - limits[0]) / (limits[1] - limits[0])

    with house_style():
        figure = new_figure(width + 2 * MARGIN, height)
        banner = blank_axes(figure, MARGIN, MARGIN, width, head)
        for line, text in enumerate(heads):
            put_text(banner, 0, 0.1 + 0.22 * line, text, 11, INK, weight="bold")
        for line, text in enumerate(key):
            y = 0.1 + 0.22 * len(heads) + LINE * (line + 0.5)
            _mark(banner, 0.08, y, INK, MARKERS[(line + (unit == "points")) % len(MARKERS)])
            put_text(banner, 0.25, y, text, 9)
        axes = blank_axes(figure, MARGIN + left, MARGIN + head, CHART, body)
        for tick in _ticks(*limits):
            axes.plot(
                [x(tick)] * 2,
                [0, body],
                color=QUIET if tick == 0 else FAINT,
                linewidth=0.6,
                zorder=0,
                clip_on=False,
            )
            for y in (-0.1, body + 0.1):
                label = f"{tick:+g}" if limits[0] < 0 and tick else f"{tick:g}"
                put_text(axes, x(tick), y, label.replace("-", "−"), SMALL, ha="center")
        for y in (-0.1, body + 0.1):
            put_text(axes, CHART + 0.2, y, unit, SMALL)
        top = GAP / 2
        for name, (_, some) in zip(names, blocks, strict=True):
            put_text(axes, -0.28, top + ROW * len(some) / 2, name, ROW_TEXT, INK, ha="right")
            for row, dot in enumerate(some):
                y = top + ROW * (row + 0.5)
                put_text(axes, -0.16, y, dot.head, 6.5, ha="center")
                put_text(axes, CHART + 0.2, y, dot.text, SMALL, INK)
                if dot.p:
                    put_text(axes, CHART + beside, y, dot.p, SMALL, INK)
                if math.isfinite(dot.low):
                    ends = [x(dot.low), x(dot.high)]
                    axes.plot(ends, [y, y], color=dot.colour, linewidth=1.6, zorder=2, clip_on=False)
                    for end in ends:
                        axes.plot(
                            [end] * 2, [y - 0.05, y + 0.05], color=dot.colour, linewidth=1.2, clip_on=False
                        )
                if math.isfinite(dot.value):
                    _mark(axes, x(dot.value), y, dot.colour, dot.marker, dot.filled)
            top += ROW * len(some) + GAP
        foot = blank_axes(figure, MARGIN, height - MARGIN - LINE * len(lines), width, LINE * len(lines))
        for line, text in enumerate(lines):
            put_text(foot, 0, LINE * (line + 0.5), text, TEXT)
    return figure


def _mark(axes: Axes, x: float, y: float, colour: str, marker: str, filled: bool = True) -> None:
    (dot,) = axes.plot([x], [y], marker, markersize=5.5, markeredgewidth=0.9, clip_on=False)
    dot.set(
        markerfacecolor=colour if filled else "white", markeredgecolor=INK if filled else colour, zorder=3
    )


def _ticks(low: float, high: float) -> list[float]:
    """About six round numbers within the limits."""
    wide = (high - low) / 6
    power = 10.0 ** math.floor(math.log10(wide))
    step = next(power * m for m in (1, 2, 2.5, 5, 10) if power * m >= wide * 0.999)
    return [round(i * step, 10) for i in range(math.ceil(low / step), math.floor(high / step) + 1)]


def save_comparison_figures(comparison: Comparison, flows: Sequence[Flow], out_dir: Path) -> list[Path]:
    """Write ``intervals``, for several detectors ``differences`` and ``localization_by_class``, and
    ``flow_1``, … for each flow, each as PNG and SVG.

    Returns
    -------
    list of Path
        The files written.

    Raises
    ------
    InputError
        A folder that cannot be written to.
    """
    figures = {"intervals": intervals(comparison)}
    if len(comparison.names) > 1:
        figures["differences"] = differences(comparison)
        figures["localization_by_class"] = class_differences(comparison)
    figures |= {f"flow_{number}": flow_sankey(flow) for number, flow in enumerate(flows, 1)}
    return [
        save_figure(figure, out_dir / f"{name}.{kind}")
        for name, figure in figures.items()
        for kind in ("png", "svg")
    ]
