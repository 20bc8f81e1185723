"""The curves of a training, drawn from its log."""

from __future__ import annotations

import csv
import math
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from data.formats.files import replacing

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["draw_curves", "draw_learning_rates"]

VALIDATION_LOSS = "val/loss"
PANELS = {"loss": "loss", "val/": "validation scores", "learning_rate": "learning rate"}
"""Each panel: prefix of its names in the log, and its title; the validation loss is in the first."""
MOST_POINTS = 2000


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
