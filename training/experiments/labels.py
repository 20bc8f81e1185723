"""Numbers beside marks, where they cover as little as possible."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

from diagnosis.figures.style import text_width

__all__ = ["Label", "place_labels"]

SIZE = 7.0  # points
SIDES = {  # horizontal and vertical alignment, offset in points
    "right": ("left", "center_baseline", (6.0, 0.0)),
    "above": ("center", "bottom", (0.0, 5.5)),
    "below": ("center", "top", (0.0, -5.5)),
    "upper right": ("left", "bottom", (5.0, 2.0)),
    "lower right": ("left", "top", (5.0, -2.0)),
    "left": ("right", "center_baseline", (-6.0, 0.0)),
}
"""Where a number may stand; earlier ones are taken where several cover as little."""


MARK = 3.5 * np.array([(0, 0), (0, 1), (0, -1), (1, 0), (-1, 0)])
"""What a mark covers around its place, in points."""


@dataclass(frozen=True)
class Label:
    """A number beside a mark."""

    x: float
    y: float
    text: str
    colour: str


def place_labels(axes: Axes, labels: Sequence[Label]) -> None:
    """Write labels, each on the side of its mark where the fewest lines and marks are; limits are final."""
    taken = _drawn(axes)
    per_point = axes.figure.dpi / 72
    low, high = (np.array(corner) for corner in (axes.bbox.min, axes.bbox.max))
    for label in labels:
        mark = axes.transData.transform((label.x, label.y))
        half = np.array([text_width(label.text, SIZE) * 72 / 2, SIZE / 2]) * per_point

        def box(side: str) -> NDArray[np.float64]:
            ha, va, offset = SIDES[side]
            shift = np.array([{"left": 1, "center": 0, "right": -1}[ha], {"bottom": 1, "top": -1}.get(va, 0)])
            return mark + np.array(offset) * per_point + shift * half  # its centre  # noqa: B023

        def cost(side: str) -> float:
            centre = box(side)
            inside = (np.abs(taken - centre) < half + per_point).all(axis=1).sum()  # noqa: B023
            outside = bool((centre - half < low).any() or (centre + half > high).any())  # noqa: B023
            return float(inside) + 1000 * outside + 20 * (_facing(label, labels) == SIDES[side][1])  # noqa: B023

        best = min(SIDES, key=cost)
        ha, va, offset = SIDES[best]
        axes.annotate(
            label.text, (label.x, label.y), xytext=offset, textcoords="offset points", size=SIZE,
            color=label.colour, ha=ha, va=va, annotation_clip=False, zorder=6,
        )  # fmt: skip
        centre = box(best)
        corners = [centre + half * np.array([a, b]) for a in np.linspace(-1, 1, 5) for b in (-1, 0, 1)]
        taken = np.concatenate([taken, corners])


def _facing(label: Label, labels: Sequence[Label]) -> str:
    """The alignment of a label that would stand where that of the next mark above or below should."""
    above = any(other.x == label.x and other.y > label.y for other in labels)
    below = any(other.x == label.x and other.y < label.y for other in labels)
    return "" if above == below else "bottom" if above else "top"


def _drawn(axes: Axes) -> NDArray[np.float64]:
    """Points along everything that is drawn, in pixels, a few pixels apart."""
    points = [np.zeros((0, 2))]
    for line in axes.lines:
        corners = line.get_transform().transform(np.column_stack(line.get_data()).astype(float))
        points += [corners + shift for shift in MARK * axes.figure.dpi / 72]
        for start, end in itertools.pairwise(corners):
            steps = max(int(np.abs(end - start).max() / 3), 1)
            points.append(start + (end - start) * np.linspace(0, 1, steps)[:, None])
    return np.concatenate(points)
