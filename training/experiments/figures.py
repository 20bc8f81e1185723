"""The figure of an experiment, in the paper's form with the paper's numbers over ours."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from matplotlib.figure import Figure

from diagnosis.figures.style import figure_style
from training.experiments.accuracies import against_layer, against_percent
from training.experiments.collect import Row, read_curve
from training.experiments.courses import training_curves
from training.experiments.declare import Form
from training.experiments.dots import dots
from training.experiments.pies import error_pies
from training.experiments.plan import Plan

__all__ = ["draw"]

DRAWN: dict[Form, Callable[[Plan, Sequence[Row]], Figure]] = {
    "percent": against_percent,
    "single_layer": against_layer,
    "patches": against_layer,
    "train_test": dots,
    "networks": dots,
    "pies": error_pies,
}


def draw(plan: Plan, rows: Sequence[Row], folder: Path) -> Figure:
    """The figure of an experiment, of what there is.

    Parameters
    ----------
    plan
        The experiment's.
    rows
        Its results.
    folder
        That of all runs; training curves are read there.
    """
    with figure_style():
        if plan.experiment.draw == "curves":
            curves = {run.name: read_curve(folder / run.name) for row in rows for run in row.point.runs}
            return training_curves(plan, rows, curves)
        return DRAWN[plan.experiment.draw](plan, rows)
