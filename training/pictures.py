"""Pictures: boxes on a photograph, and the curves of a training, drawn from its log."""

from __future__ import annotations

import csv
import math
from collections import defaultdict
from collections.abc import Sequence
from colorsys import hsv_to_rgb
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torchvision.utils import draw_bounding_boxes

from data.formats.files import replacing

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["draw_boxes", "draw_curves", "draw_learning_rates"]

LARGEST_SIDE_PER_LINE_WIDTH = 300
"""Pixels of a photograph's longer side for each pixel of the width of a line."""
EQUAL_CONTRAST = 0.18
"""Luminance with as much contrast to white as to black."""
VALIDATION_LOSS = "val/loss"
PANELS = {"loss": "loss", "val/": "validation scores", "learning_rate": "learning rate"}
"""Each panel: prefix of its names in the log, and its title; the validation loss is in the first."""
MOST_POINTS = 2000


@cache
def _font() -> str:
    """A font that knows most alphabets; Pillow's own knows Latin letters alone."""
    matplotlib = find_spec("matplotlib")  # not imported, which takes a while just before the first step
    assert matplotlib is not None
    return str(Path(str(matplotlib.origin)).parent / "mpl-data" / "fonts" / "ttf" / "DejaVuSans.ttf")


def _colour(label: int) -> tuple[int, int, int]:
    """The colour of a class, the same in every photograph; neighbours differ much."""
    red, green, blue = hsv_to_rgb(label * 0.618034 % 1, 1, 1)
    return int(red * 200), int(green * 200), int(blue * 200)


def _letters(colour: tuple[int, int, int]) -> str:
    """The colour of letters that stand out from another one, by the luminance of sRGB (WCAG)."""
    red, green, blue = ((value / 255 + 0.055) ** 2.4 / 1.055**2.4 for value in colour)
    return "white" if 0.2126 * red + 0.7152 * green + 0.0722 * blue < EQUAL_CONTRAST else "black"


def draw_boxes(
    pixels: NDArray[np.uint8], boxes: Tensor, labels: Tensor, texts: Sequence[str]
) -> NDArray[np.uint8]:
    """Pixels ``(H, W, 3)`` with boxes ``(n, 4)`` xyxy, each in the colour of its label, with its text.

    Examples
    --------
    >>> black, box = np.zeros((60, 80, 3), np.uint8), torch.tensor([[5, 5, 50, 50.0]])
    >>> drawn = draw_boxes(black, box, torch.tensor([0]), ["a"])
    >>> drawn.shape, bool(drawn.any())
    ((60, 80, 3), True)
    """
    if not len(boxes):
        return pixels
    width = math.ceil(max(pixels.shape[:2]) / LARGEST_SIDE_PER_LINE_WIDTH)
    order = range(len(boxes) - 1, -1, -1)  # the best on top
    colours = [_colour(int(labels[row])) for row in order]
    drawn = draw_bounding_boxes(
        torch.from_numpy(pixels.copy()).movedim(-1, 0),
        boxes.flip(0),
        [texts[row] for row in order],
        colours,
        width=width,
        font=_font(),
        font_size=8 + 4 * width,
        label_colors=[_letters(colour) for colour in colours],
        fill_labels=True,
    )
    return np.ascontiguousarray(drawn.movedim(0, -1).numpy())


def _figure(width: float) -> Figure:
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # late: a run draws at its end
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, 3.6), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def draw_curves(log: Path, picture: Path) -> None:
    """Draw the losses, the validation scores and the learning rate of ``metrics.csv``, step by step."""
    values: dict[str, list[tuple[int, float]]] = defaultdict(list)
    with log.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            for name, text in row.items():
                if text and name not in ("step", "epoch") and math.isfinite(number := float(text)):
                    values[name].append((int(row["step"]) + 1, number))
    figure = _figure(12)
    for axes, (beginning, title) in zip(figure.subplots(1, len(PANELS)), PANELS.items(), strict=True):
        for name in sorted(values):
            if ("loss" if name == VALIDATION_LOSS else name).startswith(beginning):
                points = values[name][:: 1 + len(values[name]) // MOST_POINTS]
                label = "validation" if name == VALIDATION_LOSS else name.removeprefix(beginning).strip("/")
                axes.plot(
                    *zip(*points, strict=True), label=label or name, marker="." if len(points) < 30 else None
                )
        axes.set_title(title)
        if beginning == "loss":  # the first ones may be a hundred times the last
            axes.set_yscale("log")
        axes.set_xlabel("step")
        if len(axes.lines) > 1:
            axes.legend(fontsize=7)
    with replacing(picture) as part:
        figure.savefig(part, format="png", dpi=110)


def draw_learning_rates(
    rates: Sequence[float], losses: Sequence[float], suggested: float | None, picture: Path
) -> None:
    """Draw the loss over rising learning rates, and the one that is suggested."""
    figure = _figure(6)
    axes = figure.subplots()
    axes.plot(rates, losses)
    if suggested is not None:
        axes.axvline(suggested, color="C1", linestyle="--", label=f"suggested: {suggested:.1e}")
        axes.legend()
    axes.set(xscale="log", xlabel="learning rate", ylabel="loss, smoothed")
    with replacing(picture) as part:
        figure.savefig(part, format="png", dpi=110)
