"""The results as tables: everything as CSV, and in the paper's form as Markdown, with the paper's numbers."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from typing import Any

from data.datasets import DATASETS
from data.shapes import SHAPE_SETS
from detector.registry import METHODS
from diagnosis.breakdown import ERROR_NAMES
from training.experiments.collect import RIGHT_CLASS, Row, baseline_of
from training.experiments.paper import Quantity, Reported, claims_table, paper_accuracy, reported
from training.experiments.plan import Plan
from training.experiments.schema import (
    MACHINE_OPTIONS,
    Variant,
    architecture_label,
    modified_percent,
    resolved,
)

__all__ = [
    "DATA_LABELS", "REPORTED_SHARES", "differences", "notes", "reported_share", "to_csv", "to_markdown",
    "with_spread",
]  # fmt: skip

CLASSIFIER_QUANTITIES = ("accuracy", "averaged", "top5", "pass_std")
DETECTOR_QUANTITIES = ("map", *ERROR_NAMES, RIGHT_CLASS)
REPORTED_SHARES: dict[str, Quantity] = {
    "map": "map",
    "correct": "correct",
    "localization": "localization",
    RIGHT_CLASS: "right_class",
}
"""The quantities of Figure 9 that the paper's text gives."""
NOT_THERE = "–"
OPTION_LABELS = {
    "fraction": "share of the training images",
    "width": "width of the network",
    "input_size": "side of the images",
    "batch_size": "batch size",
    "data": "data set",
}
DATA_LABELS: dict[str, str] = {
    **{name: name.replace("-", " ") for name in SHAPE_SETS},
    **{name: dataset.title for name, dataset in DATASETS.items()},
    "voc": "PASCAL VOC",
}


def to_csv(plan: Plan, rows: Sequence[Row]) -> str:
    """A line for each point: what it is, its results over the seeds, the paper's numbers.

    Accuracies and shares are in percent, empty where there is none; `parameters` is a number.
    """
    detection = plan.experiment.script == "train_detect"
    lines = []
    for row in rows:
        variant, options = row.point.variant, row.point.runs[0].options
        ran = replace(variant, data=str(options["data"]), arch=str(options["arch"]))
        line: dict[str, object] = {"series": row.point.series, **asdict(ran)}
        line["modified_percent"] = _decimal(modified_percent(variant), 1)
        line["seeds"] = " ".join(map(str, row.results))
        for name in DETECTOR_QUANTITIES if detection else CLASSIFIER_QUANTITIES:
            line[name] = _decimal(row.mean(name))
            if name != "pass_std":
                line[f"{name}_std"] = _decimal(row.std(name))
        line |= {name: _decimal(row.mean(name), 0) for name in ("parameters", "test_images", "passes")}
        line["drop"] = _decimal(drop_of(rows, row))
        paper = reported(variant, "map") if detection else paper_accuracy(variant)
        drop = reported(variant, "drop")
        for name, number in (("paper", paper), ("paper_drop", drop)):
            line[name] = _decimal(number.value) if number else ""
        where = paper or drop
        line["paper_where"] = where.where if where else ""
        line["runs"] = " ".join(run.name for run in row.point.runs)
        lines.append(line)
    file = io.StringIO()
    writer = csv.DictWriter(file, list(lines[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(lines)
    return file.getvalue()


def drop_of(rows: Sequence[Row], row: Row) -> float:
    """How far our accuracy is below our baseline's, in percent points; NaN if one is not there."""
    baseline = baseline_of(rows, row.point.variant)
    return math.nan if baseline is None else baseline.mean() - row.mean()


def _decimal(value: float, digits: int = 3) -> str:
    return "" if math.isnan(value) else f"{value:.{digits}f}"


def with_spread(row: Row, name: str = "accuracy", digits: int = 2) -> str:
    """A quantity with its spread over seeds, if there are several."""
    mean, std = _decimal(row.mean(name), digits), _decimal(row.std(name), digits)
    return f"{mean} ± {std}" if std else mean or NOT_THERE


Table = tuple[list[str], list[list[str]]]


def to_markdown(plan: Plan, rows: Sequence[Row]) -> str:
    """The table in the paper's form, with the paper's own numbers, and the notes below it."""
    head, body = TABLES.get(plan.experiment.draw, _point_table)(rows)
    parts = [f"# {plan.heading}", "", *_markdown_table(head, body), "", " ".join(notes(plan, rows)), ""]
    if claims := claims_table(rows):
        parts += ["## What the paper claims", "", *_markdown_table(*claims), ""]
    return "\n".join(parts)


def _markdown_table(head: Sequence[str], body: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(len(line[column]) for line in [head, *body]) for column in range(len(head))]
    lines = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)) + " |"
        for cells in (head, *body)
    ]
    lines.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
    return lines


def _train_test_table(rows: Sequence[Row]) -> Table:
    """Table 1."""
    body = []
    for row in rows:
        train, arrow, test = row.point.series.partition(" → ")
        body.append([train, test if arrow else NOT_THERE, with_spread(row), *_paper(row)])
    return ["train", "test", "top-1 (%)", "paper (%)", "where"], body


def _network_table(rows: Sequence[Row]) -> Table:
    """Table 2."""
    body = []
    for row in rows:
        variant, parameters = row.point.variant, row.mean("parameters")
        plain, number = variant.method == "none", reported(variant, "parameters")
        names = [architecture_label(variant.arch), "baseline" if plain else METHODS[variant.method].label]
        modified = NOT_THERE if plain else f"{modified_percent(variant):.0f}"
        ours = NOT_THERE if math.isnan(parameters) else f"{parameters / 1e6:.2f}"
        paper = f"{number.value:.2f}" if number else NOT_THERE
        body.append([*names, with_spread(row), _paper(row)[0], modified, ours, paper])
    columns = ["top-1 (%)", "paper (%)", "modified layers (%)", "parameters (M)", "paper (M)"]
    return ["model", "method", *columns], body


def _detector_table(rows: Sequence[Row]) -> Table:
    """Figure 9, of which the text gives mAP, correct and localization."""

    def cell(row: Row, name: str) -> str:
        number = reported_share(row, name)
        return with_spread(row, name, 1) + (f" (paper {number.value:g})" if number else "")

    body = [[row.point.series, *(cell(row, name) for name in DETECTOR_QUANTITIES)] for row in rows]
    shares = (f"{name} (%)" for name in ERROR_NAMES)
    return ["detector", "mAP (%)", *shares, "correct + localization (%)"], body


def reported_share(row: Row, name: str) -> Reported | None:
    """The paper's number of a quantity of a detector, if its text gives one."""
    return reported(row.point.variant, REPORTED_SHARES[name]) if name in REPORTED_SHARES else None


def _point_table(rows: Sequence[Row]) -> Table:
    """What a figure shows: the accuracy of every point, and its drop from the baseline."""
    body = []
    for row in rows:
        variant, drop = row.point.variant, drop_of(rows, row)
        names = [architecture_label(variant.arch), str(row.point.runs[0].options["data"]), row.point.series]
        below = NOT_THERE if math.isnan(drop) or variant.method == "none" else f"{drop:.2f}"
        body.append([*names, modified_layers(variant), with_spread(row), below, *_paper(row)])
    return ["network", "data", "series", "modified", "top-1 (%)", "drop", "paper (%)", "where"], body


TABLES: dict[str, Callable[[Sequence[Row]], Table]] = {
    "train_test": _train_test_table,
    "networks": _network_table,
    "pies": _detector_table,
    "sheet": _detector_table,
}
"""By drawing; for all others the table of points."""


def modified_layers(variant: Variant) -> str:
    """Which layers are modified, in words, such as ``last 4 (31 %)``."""
    if variant.last is not None:
        return f"last {variant.last} ({modified_percent(variant):.0f} %)"
    if variant.layer is not None:
        return f"layer {variant.layer}" + (f", patch {variant.patch}" if variant.patch else "")
    if variant.several:
        return f"{', '.join(map(str, variant.several))} ({modified_percent(variant):.0f} %)"
    return NOT_THERE


def _paper(row: Row) -> list[str]:
    """The paper's accuracy, or else its drop, and its place in the text."""
    accuracy, drop = paper_accuracy(row.point.variant), reported(row.point.variant, "drop")
    if accuracy is not None:
        return [f"{accuracy.value:.2f}", accuracy.where]
    return [f"drop {drop.value:.2f}", drop.where] if drop is not None else [NOT_THERE, ""]


# ---------------------------------------------------------------- notes below tables and figures


def differences(plan: Plan) -> list[str]:
    """Options with another value than the experiment's, such as ``"epochs 60 instead of 300"``."""
    found: dict[str, list[str]] = {}
    script = plan.experiment.script
    for series in plan.experiment.series:
        for member in series.members():
            declared = {**plan.experiment.common, **member}
            usual = resolved(script, declared)
            for name, value in resolved(script, plan.overrides.applied(declared, script)).items():
                if name not in {*MACHINE_OPTIONS, "protocol"} and value != usual[name]:
                    words = f"{_in_words(name, value)} instead of {_in_words(name, usual[name])}"
                    if words not in found.setdefault(name, []):
                        found[name].append(words)
    return [
        f"{OPTION_LABELS.get(name, name.replace('_', ' '))} {', '.join(words)}"
        for name, words in found.items()
    ]


def _in_words(name: str, value: Any) -> str:
    if name == "data":
        return DATA_LABELS[value]
    if isinstance(value, float):
        return f"{value:g}"
    if value is None:
        return "none"
    if not value and isinstance(value, list):  # of a detector, which has its own lists for its data
        return "the usual lists"
    return " ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def notes(plan: Plan, rows: Sequence[Row]) -> list[str]:
    """What a reader must know, in sentences: what was set otherwise, seeds, images, missing results."""
    sentences = []
    if changed := differences(plan):
        sentences.append(f"Not as in {plan.experiment.name}.yaml: {'; '.join(changed)}.")
    for name, values in plan.overrides.only.items():
        wanted = ", ".join(_in_words(name, value) for value in values)
        sentences.append(f"Only {OPTION_LABELS.get(name, name)} {wanted}.")
    first = resolved(plan.experiment.script, plan.points[0].runs[0].options)
    if first.get("protocol") == "paper":
        sentences.append(
            "The epoch is the best on the test images, as the paper's may be: scores are too high."
        )
    elif held_out := first["validation"]:
        sentences.append(f"{100 * held_out:g} % of the training images are held out to choose the epoch by.")
    if images := sorted({int(value) for row in rows for value in row.values("test_images")}):
        sentences.append(f"Scored on {' or '.join(f'{count:,}' for count in images)} test images.")
    passes = max((int(value) for row in rows for value in row.values("passes")), default=1)
    if passes > 1:
        sentences.append(f"Where something shuffles: mean of {passes} passes.")
    if first["precision"] != "32-true":
        sentences.append(f"Precision: {first['precision']}.")
    seeds = len(plan.seeds)
    sentences.append(f"Mean and standard deviation of {seeds} seeds." if seeds > 1 else "One seed.")
    if missing := sum(len(row.missing) for row in rows):
        total = sum(len(row.point.runs) for row in rows)
        sentences.append(f"Missing: {missing} of {total} results.")
    return sentences
