"""What all figures share: one style, sizes in inches, measured text, safe writing.

Everything is laid out on plain ``Figure`` objects: no pyplot, no global state, no display. An error
type has one colour in all figures, that of :class:`ErrorType`; detectors are told apart by position,
letter and marker, never by colour.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

import matplotlib.style
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.textpath import text_to_path

from data.records import InputError
from diagnosis.record import Diagnosis

TEXT_COLOUR, MUTED_COLOUR, GRID_COLOUR = "#1a1a1a", "#555555", "#dddddd"
AP_LABELS = {
    "voc07": "VOC 2007, 11 points",
    "area": "area under the curve",
    "coco": "COCO, IoU 0.50 to 0.95",
    "coco50": "COCO, IoU 0.5",
    "hoiem": "Hoiem",
    "normalized": "Hoiem, normalised",
}
DETECTOR_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
MARGIN_INCHES = 0.2
"""Around a figure."""
MAX_TEXT_INCHES = 9.0
"""Longest line of a legend or caption."""
LINE_INCHES, TEXT_POINTS = 0.19, 8.5
"""Line height and font size of legends and captions."""
RC_PARAMS: dict[str, Any] = {
    "font.family": ["DejaVu Sans"],
    "text.color": TEXT_COLOUR,
    "text.parse_math": False,  # a "$" in the name of a class or a detector is just a "$"
    "svg.hashsalt": "diagnosis",  # the same figure gives the same bytes
}


@contextmanager
def figure_style() -> Iterator[None]:
    """matplotlib's own defaults with :data:`RC_PARAMS`, whatever the user's matplotlibrc says."""
    with matplotlib.style.context(["default", RC_PARAMS]):
        yield


def new_figure(width: float, height: float) -> Figure:
    """A white figure of this size in inches that can be drawn without a display."""
    figure = Figure(figsize=(width, height), facecolor="white")
    FigureCanvasAgg(figure)
    return figure


def blank_axes(figure: Figure, left: float, top: float, width: float, height: float) -> Axes:
    """Axes without frame, placed and measured in inches from the figure's upper left corner."""
    page_width, page_height = figure.get_size_inches()
    axes = figure.add_axes(
        (left / page_width, 1 - (top + height) / page_height, width / page_width, height / page_height)
    )
    axes.set(xlim=(0, width), ylim=(height, 0))
    axes.axis("off")
    return axes


def chart_axes(figure: Figure, left: float, top: float, width: float, height: float, *, ticks: float) -> Axes:
    """Axes with a light frame, placed in inches from the upper left corner; `ticks` in points."""
    page_width, page_height = figure.get_size_inches()
    axes = figure.add_axes(
        (left / page_width, 1 - (top + height) / page_height, width / page_width, height / page_height)
    )
    axes.tick_params(labelsize=ticks, colors=MUTED_COLOUR, length=2.5, width=0.6, pad=2)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        axes.spines[side].set(color=MUTED_COLOUR, linewidth=0.6)
    axes.xaxis.label.set(size=ticks + 0.5, color=MUTED_COLOUR)
    axes.yaxis.label.set(size=ticks + 0.5, color=MUTED_COLOUR)
    axes.grid(True, axis="y", color=GRID_COLOUR, linewidth=0.5)
    axes.set_axisbelow(True)
    return axes


def draw_text(
    axes: Axes,
    x: float,
    y: float,
    text: str,
    size: float,
    colour: str = MUTED_COLOUR,
    ha: str = "left",
    **look: Any,
) -> None:
    """A line of text, `size` in points, whose small letters stand in the middle of height `y`."""
    axes.text(x, y, text, size=size, color=colour, ha=ha, va="center_baseline", **look)


def save_figure(figure: Figure, path: Path, dpi: int = 160) -> Path:
    """Write a figure in one step, so that nothing half-written looks finished.

    The same figure gives the same bytes: an SVG carries no date.

    Parameters
    ----------
    figure
        What to write.
    path
        Where; the suffix is the format (``.png``, ``.svg``). Its folder is made if absent.
    dpi
        Dots an inch of a PNG.

    Raises
    ------
    InputError
        The folder cannot be made or written to.
    """
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    kind = path.suffix.lstrip(".")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with figure_style():
                figure.savefig(part, format=kind, dpi=dpi, metadata={"Date": None} if kind == "svg" else None)
            part.replace(path)
        finally:
            part.unlink(missing_ok=True)
    except OSError as error:
        raise InputError(path, error.strerror or "an unwritable folder", "a folder to write to") from None
    return path


def check_comparable(diagnoses: Sequence[Diagnosis]) -> None:
    """One figure shows detectors that were run on the same classes and images."""
    if not 0 < len(diagnoses) <= len(DETECTOR_LETTERS):
        raise InputError(
            "diagnoses", f"{len(diagnoses)} detectors", f"1 to {len(DETECTOR_LETTERS)} to draw in one figure"
        )
    first = diagnoses[0]
    for other in diagnoses[1:]:
        if (other.truth.classes, other.truth.images) != (first.truth.classes, first.truth.images):
            raise InputError(
                f"detectors {first.name!r} and {other.name!r}",
                "different classes or images",
                "diagnoses on the same ground truth, to be drawn in one figure",
            )
        if other.iou != first.iou:
            raise InputError(
                f"detectors {first.name!r} and {other.name!r}",
                f"IoU thresholds of {first.iou:g} and {other.iou:g}",
                "one threshold, for detectors in one figure",
            )


def ap_name(diagnosis: Diagnosis, kind: str) -> str:
    """What the average precision `kind` of a detector is called, with its smallest overlap."""
    if kind not in AP_LABELS:
        raise InputError("ap", repr(kind), f"one of {', '.join(AP_LABELS)}")
    return AP_LABELS[kind] + ("" if kind.startswith("coco") else f", IoU {diagnosis.iou:g}")


@lru_cache(maxsize=4096)
def text_width(text: str, size: float, weight: str = "normal") -> float:
    """Width of a line of text in inches, `size` in points."""
    font = FontProperties(family=RC_PARAMS["font.family"], weight=weight, size=size)
    return float(text_to_path.get_text_width_height_descent(text, font, False)[0]) / 72


def wrap(text: str, width: float, size: float, lines: int = 100, weight: str = "normal") -> list[str]:
    """Break `text` into lines of at most `width` inches; what exceeds `lines` lines ends in an ellipsis.

    Lines are broken at spaces and after ``_``, ``/`` and ``-``, for names of runs are often made of these.

    Examples
    --------
    >>> wrap("resnet50_spatial_shuffle", 1.1, 8.0)
    ['resnet50_spatial_', 'shuffle']
    >>> wrap("a fairly long name", 0.7, 8.0, lines=1)
    ['a fairly lon…']
    """

    def fits(line: str) -> bool:
        return text_width(line.rstrip(), size, weight) <= width

    broken = [""]
    for word in re.findall(r"[^\s_/-]*[\s_/-]|[^\s_/-]+", text):
        if broken[-1] and not fits(broken[-1] + word):
            broken.append("")
        rest = word
        while not fits(rest) and len(rest) > 1:  # longer than a line
            cut = next((n for n in range(len(rest) - 1, 1, -1) if fits(rest[:n])), 1)
            broken[-1:] = [rest[:cut], ""]
            rest = rest[cut:]
        broken[-1] += rest
    if len(broken) > lines:
        last = "".join(broken[lines - 1 :])
        while len(last) > 1 and not fits(last + "…"):
            last = last[:-1]
        broken[lines - 1 :] = [last.rstrip() + "…"]
    return [line.rstrip() for line in broken]


def text_colour_on(colour: str) -> str:
    """Black or white, whichever is read better on `colour` (WCAG's contrast ratio).

    Examples
    --------
    >>> text_colour_on("#ffee88"), text_colour_on("#003366")
    ('#1a1a1a', 'white')
    """
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in to_rgb(colour)]
    luminance = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
    return TEXT_COLOUR if (luminance + 0.05) / 0.06 > 1.05 / (luminance + 0.05) else "white"


def percent(share: float) -> str:
    """A share as text with one decimal; what exists never reads 0.0%, nor all but a few 100.0%.

    Examples
    --------
    >>> percent(0.142), percent(0.0002), percent(0.9999), percent(1.0), percent(0.0)
    ('14.2%', '<0.1%', '>99.9%', '100.0%', '0.0%')
    """
    if 0 < share < 0.0005:
        return "<0.1%"
    return ">99.9%" if 0.9995 <= share < 1 else f"{share:.1%}"


def count(number: int, thing: str, plural: str = "") -> str:
    """A number and what it counts.

    Examples
    --------
    >>> count(1, "image"), count(4952, "image"), count(20, "class", "classes")
    ('1 image', '4,952 images', '20 classes')
    """
    return f"{number:,} {thing if number == 1 else plural or thing + 's'}"


# Names of before, for the figures that are still to be rewritten.
INK, QUIET, FAINT, LETTERS, MARGIN = TEXT_COLOUR, MUTED_COLOUR, GRID_COLOUR, DETECTOR_LETTERS, MARGIN_INCHES
LEGEND_WIDTH, LINE, TEXT, AP_NAMES = MAX_TEXT_INCHES, LINE_INCHES, TEXT_POINTS, AP_LABELS
house_style, ink_on, put_text = figure_style, text_colour_on, draw_text
