"""The results as tables: everything as CSV, and in the paper's form as Markdown, with the paper's numbers."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Sequence
from dataclasses import asdict, replace

from training.experiments.collect import SHARES, Row
from training.experiments.notes import notes
from training.experiments.paper import Quantity, paper_accuracy, reported
from training.experiments.plan import Plan
from training.experiments.variant import METHODS, Variant, modified_percent

__all__ = ["ARCHITECTURES", "DETECTED", "baseline_of", "to_csv", "to_markdown", "with_spread"]

ARCHITECTURES = {
    "vgg16": "VGG-16",
    "resnet18": "ResNet-18",
    "resnet50": "ResNet-50",
    "resnet152": "ResNet-152",
    "perceptron": "perceptron",
}
CLASSIFIER = ("accuracy", "averaged", "top5", "pass_std")
DETECTOR = ("map", *SHARES)
DETECTED: dict[str, Quantity] = {"map": "map", "correct": "correct", "localization": "localization"}
"""What the text gives of Figure 9."""
NOTHING = "–"


def baseline_of(rows: Sequence[Row], variant: Variant) -> Row | None:
    """The row of the same network on the same data with nothing modified, if it is done."""
    plain = Variant(variant.data, variant.arch)
    return next((row for row in rows if row.point.variant == plain and row.results), None)


def to_csv(plan: Plan, rows: Sequence[Row]) -> str:
    """A line for each point: what it is, what it came to over the seeds, the paper's numbers.

    Accuracies and shares are in percent, empty where there is none; `parameters` is a number.
    """
    detection = plan.experiment.script == "train_detect"
    quantities = DETECTOR if detection else CLASSIFIER
    file = io.StringIO()
    head = ["series", *asdict(rows[0].point.variant), "modified_percent", "seeds"]
    for name in quantities:
        head += [name] if name == "pass_std" else [name, f"{name}_std"]
    head += ["parameters", "test_images", "passes", "drop", "paper", "paper_drop", "paper_where", "runs"]
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(head)
    for row in rows:
        variant, options = row.point.variant, row.point.runs[0].options
        ran = replace(variant, data=str(options["data"]), arch=str(options["arch"]))
        line = [row.point.series, *asdict(ran).values(), _plain(modified_percent(variant), 1)]
        line.append(" ".join(map(str, row.results)))
        for name in quantities:
            line += (
                [_plain(row.mean(name))]
                if name == "pass_std"
                else [_plain(row.mean(name)), _plain(row.std(name))]
            )
        line += [_whole(row.mean(name)) for name in ("parameters", "test_images", "passes")]
        line.append(_plain(drop_of(rows, row)))
        paper, drop = (
            (reported(variant, "map") if detection else paper_accuracy(variant)),
            reported(variant, "drop"),
        )
        where = paper or drop
        line += [
            _plain(paper.value if paper else math.nan),
            _plain(drop.value if drop else math.nan),
            where.where if where else "",
            " ".join(run.name for run in row.point.runs),
        ]
        writer.writerow(["" if value is None else value for value in line])
    return file.getvalue()


def drop_of(rows: Sequence[Row], row: Row) -> float:
    """How far our accuracy lies below our baseline's, in percent points; NaN where one is not there."""
    baseline = baseline_of(rows, row.point.variant)
    return math.nan if baseline is None else baseline.mean() - row.mean()


def _plain(value: float, digits: int = 3) -> str:
    return "" if math.isnan(value) else f"{value:.{digits}f}"


def _whole(value: float) -> str:
    return "" if math.isnan(value) else str(round(value))


def with_spread(row: Row, name: str = "accuracy", digits: int = 2) -> str:
    """A quantity with its spread over seeds, where there are several."""
    mean, std = row.mean(name), row.std(name)
    if math.isnan(mean):
        return NOTHING
    return f"{mean:.{digits}f}" + ("" if math.isnan(std) else f" ± {std:.{digits}f}")


def to_markdown(plan: Plan, rows: Sequence[Row]) -> str:
    """The table in the paper's form, with the paper's own numbers, and the notes below it."""
    makers = {"train_test": _train_test, "networks": _networks, "pies": _detectors}
    head, body = makers.get(plan.experiment.draw, _points)(rows)
    widths = [max(len(line[column]) for line in [head, *body]) for column in range(len(head))]
    lines = [_line(head, widths), "|" + "|".join("-" * (width + 2) for width in widths) + "|"]
    lines += [_line(line, widths) for line in body]
    return "\n".join([f"# {plan.heading}", "", *lines, "", " ".join(notes(plan, rows)), ""])


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    return "| " + " | ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)) + " |"


Table = tuple[list[str], list[list[str]]]


def _train_test(rows: Sequence[Row]) -> Table:
    """Table 1."""
    body = []
    for row in rows:
        train, arrow, test = row.point.series.partition(" → ")
        body.append([train, test if arrow else NOTHING, with_spread(row), *_paper(rows, row)])
    return ["train", "test", "top-1 (%)", "paper (%)", "where"], body


def _networks(rows: Sequence[Row]) -> Table:
    """Table 2."""
    body = []
    for row in rows:
        variant, parameters = row.point.variant, row.mean("parameters")
        plain = variant.method == "none"
        number = reported(variant, "parameters")
        body.append(
            [
                ARCHITECTURES.get(variant.arch, variant.arch),
                "baseline" if plain else METHODS[variant.method],
                with_spread(row),
                _paper(rows, row)[0],
                NOTHING if plain else f"{modified_percent(variant):.0f}",
                NOTHING if math.isnan(parameters) else f"{parameters / 1e6:.2f}",
                f"{number.value:.2f}" if number else NOTHING,
            ]
        )
    columns = ["top-1 (%)", "paper (%)", "modified layers (%)", "parameters (M)", "paper (M)"]
    return ["model", "method", *columns], body


def _detectors(rows: Sequence[Row]) -> Table:
    """Figure 9, of which the text gives mAP, correct and localization."""
    body = []
    for row in rows:
        cells = [row.point.series]
        for name in DETECTOR:
            number = reported(row.point.variant, DETECTED[name]) if name in DETECTED else None
            cells.append(with_spread(row, name, 1) + (f" (paper {number.value:g})" if number else ""))
        body.append(cells)
    return ["detector", "mAP (%)", *(f"{name} (%)" for name in SHARES)], body


def _points(rows: Sequence[Row]) -> Table:
    """What a figure shows: the accuracy of every point, and what it has lost against the baseline."""
    body = []
    for row in rows:
        variant = row.point.variant
        drop = drop_of(rows, row)
        body.append(
            [
                ARCHITECTURES.get(variant.arch, variant.arch),
                str(row.point.runs[0].options["data"]),
                row.point.series,
                place(variant),
                with_spread(row),
                NOTHING if math.isnan(drop) or variant.method == "none" else f"{drop:.2f}",
                *_paper(rows, row),
            ]
        )
    return ["network", "data", "series", "modified", "top-1 (%)", "drop", "paper (%)", "where"], body


def place(variant: Variant) -> str:
    """Which layers are modified, in words.

    Examples
    --------
    >>> place(Variant("cifar100", "vgg16", "spatial", last=4))
    'last 4 (31 %)'
    """
    if variant.last is not None:
        return f"last {variant.last} ({modified_percent(variant):.0f} %)"
    if variant.layer is not None:
        return f"layer {variant.layer}" + (f", patch {variant.patch}" if variant.patch else "")
    if variant.several:
        return f"{', '.join(map(str, variant.several))} ({modified_percent(variant):.0f} %)"
    return NOTHING


def _paper(rows: Sequence[Row], row: Row) -> list[str]:
    """The paper's accuracy, or else its drop, and where that stands."""
    accuracy, drop = paper_accuracy(row.point.variant), reported(row.point.variant, "drop")
    if accuracy is not None:
        return [f"{accuracy.value:.2f}", accuracy.where]
    if drop is not None:
        return [f"drop {drop.value:.2f}", drop.where]
    return [NOTHING, ""]
