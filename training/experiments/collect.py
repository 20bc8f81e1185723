"""The results of an experiment's runs: one row for each point, over its seeds."""

from __future__ import annotations

import csv
import json
import math
import statistics
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from data.records import InputError
from diagnosis.breakdown import ERROR_NAMES
from training.experiments.plan import Plan, Point, Run, state_of
from training.experiments.schema import Variant

__all__ = [
    "RIGHT_CLASS", "Row", "TrainingCurve", "baseline_of", "collect", "read_curve", "read_result",
]  # fmt: skip

RIGHT_CLASS = "right_class"
"""Correct + localization: the detections whose class is right (paper, section 4.5)."""


@dataclass(frozen=True)
class Row:
    """A point with its results."""

    point: Point
    results: Mapping[int, Mapping[str, float]]
    """By seed, of the seeds that are done: quantities by name, accuracies and shares in percent."""

    @property
    def missing(self) -> tuple[Run, ...]:
        """Its runs that have no result."""
        return tuple(run for run in self.point.runs if run.seed not in self.results)

    def values(self, name: str) -> list[float]:
        """A quantity of each seed."""
        values = [result.get(name, math.nan) for result in self.results.values()]
        return [value for value in values if not math.isnan(value)]

    def mean(self, name: str = "accuracy") -> float:
        """Over the seeds; NaN if none is done."""
        values = self.values(name)
        return statistics.fmean(values) if values else math.nan

    def std(self, name: str = "accuracy") -> float:
        """Standard deviation over the seeds (n − 1); NaN of fewer than two."""
        values = self.values(name)
        return statistics.stdev(values) if len(values) > 1 else math.nan


def baseline_of(rows: Sequence[Row], variant: Variant) -> Row | None:
    """The row of the same network on the same data with nothing modified, if it is done."""
    return next((row for row in rows if row.point.variant == variant.baseline and row.results), None)


@dataclass(frozen=True)
class TrainingCurve:
    """Accuracies of a training in percent by epoch, counted from 1; NaN if an epoch has none."""

    epochs: tuple[int, ...]
    train: tuple[float, ...]
    """Mean over the epoch's steps, of augmented images and while the weights change."""
    validation: tuple[float, ...]


def collect(plan: Plan, folder: Path) -> list[Row]:
    """The results of an experiment's points, from the folder of all runs."""
    rows = []
    for point in plan.points:
        done = [run for run in point.runs if state_of(run, folder) == "done"]
        rows.append(Row(point, {run.seed: read_result(folder / run.name / "scores.json") for run in done}))
    return rows


def read_result(file: Path) -> dict[str, float]:
    """The numbers of a ``scores.json``, accuracies and shares in percent; InputError if it is none.

    Of both ``test_images`` and ``passes``; of a classifier ``accuracy``, ``averaged``, ``top5``, ``pass_std``
    (over the passes, NaN of one) and ``parameters``; of a detector ``map`` and the share of each error type.
    """
    try:
        scores = json.loads(file.read_text(encoding="utf-8"))
        common = {"test_images": scores["test_images"], "passes": scores["passes"]}
        if "accuracy" in scores:
            accuracy = scores["accuracy"]
            return {
                **common,
                "accuracy": 100 * accuracy["mean"],
                "pass_std": _percent(accuracy["std"]),
                "averaged": 100 * accuracy["averaged"],
                "top5": 100 * scores["accuracy_top5"]["mean"],
                "parameters": scores["parameters"],
            }
        single = scores["single_passes"]
        # A run of before an error type was added has no share of it.
        shares = {name: _percent(single["shares"].get(name, {"mean": None})["mean"]) for name in ERROR_NAMES}
        right = shares["correct"] + shares["localization"]
        return {**common, "map": _percent(single["map"]["voc07"]["mean"]), **shares, RIGHT_CLASS: right}
    except (OSError, ValueError, KeyError, TypeError) as error:
        expected = "those that a run writes: move its folder away to make it again"
        raise InputError(file, f"no scores ({error})", expected) from None


def _percent(value: float | None) -> float:
    return math.nan if value is None else 100 * value


def read_curve(run_folder: Path) -> TrainingCurve:
    """The curve of a training, from ``logs/csv/metrics.csv``; empty if that is absent."""
    file = run_folder / "logs" / "csv" / "metrics.csv"
    train: dict[int, list[float]] = defaultdict(list)
    validation: dict[int, float] = {}
    if file.is_file():
        with file.open(encoding="utf-8", newline="") as lines:
            for row in csv.DictReader(lines):
                if row.get("accuracy"):
                    train[int(row["epoch"])].append(100 * float(row["accuracy"]))
                if row.get("val/accuracy"):
                    validation[int(row["epoch"])] = 100 * float(row["val/accuracy"])
    epochs = sorted({*train, *validation})
    return TrainingCurve(
        tuple(epoch + 1 for epoch in epochs),
        tuple(statistics.fmean(train[epoch]) if train[epoch] else math.nan for epoch in epochs),
        tuple(validation.get(epoch, math.nan) for epoch in epochs),
    )
