"""The keys of a page of charts, in lines of its width: lines, marks and patches as in the charts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from matplotlib.axes import Axes
from matplotlib.patches import Rectangle

from diagnosis.figures.style import LINE_INCHES, TEXT_COLOUR, TEXT_POINTS, draw_text, text_width

__all__ = ["LegendEntry", "draw_legend_entries", "legend_rows"]

SAMPLE, BESIDE, SPACE = 0.34, 0.1, 0.28  # inches: what is shown, to its text, and after that
PATCH = 0.12  # inches high


@dataclass(frozen=True)
class LegendEntry:
    """One entry, with matplotlib's properties of what stands before its text."""

    text: str
    line: Mapping[str, Any] | None = None
    mark: Mapping[str, Any] | None = None
    patch: Mapping[str, Any] | None = None


def legend_rows(entries: Sequence[LegendEntry], width: float) -> list[list[LegendEntry]]:
    """The entries, as many in a line as fit into `width` inches."""
    rows: list[list[LegendEntry]] = []
    used = width
    for entry in entries:
        if used + _width(entry) - SPACE > width:
            rows.append([])
            used = 0.0
        rows[-1].append(entry)
        used += _width(entry)
    return rows


def draw_legend_entries(axes: Axes, rows: Sequence[Sequence[LegendEntry]]) -> None:
    """Draw them into axes that are measured in inches, a line's height each."""
    for number, entries in enumerate(rows):
        x, y = 0.0, LINE_INCHES * (number + 0.5)
        for entry in entries:
            if entry.patch is not None:
                axes.add_patch(Rectangle((x, y - PATCH / 2), SAMPLE, PATCH, **entry.patch))
            if entry.line is not None:
                axes.plot([x, x + SAMPLE], [y, y], clip_on=False, **entry.line)
            if entry.mark is not None:
                axes.plot([x + SAMPLE / 2], [y], clip_on=False, linestyle="none", **entry.mark)
            draw_text(axes, x + SAMPLE + BESIDE, y, entry.text, TEXT_POINTS, TEXT_COLOUR)
            x += _width(entry)


def _width(entry: LegendEntry) -> float:
    return SAMPLE + BESIDE + text_width(entry.text, TEXT_POINTS) * 1.02 + SPACE
