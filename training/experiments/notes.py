"""What the reader of a figure must know: what is not as in the paper, seeds, images, what is missing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from training.experiments.collect import Row
from training.experiments.options import MACHINE, resolved
from training.experiments.plan import Plan

__all__ = ["DATA", "differences", "notes"]

WORDS = {
    "fraction": "share of the training images",
    "width": "width of the network",
    "input_size": "side of the images",
    "batch_size": "batch size",
    "data": "data set",
}


DATA = {
    "cifar100": "CIFAR-100",
    "small-imagenet": "Small-ImageNet 32×32",
    "imagenet": "ImageNet",
    "shapes": "the embedded shapes",
    "voc": "PASCAL VOC",
}
"""The data sets as a reader knows them."""


def differences(plan: Plan) -> list[str]:
    """Options that --scale or --set gave another value than the paper's, in words.

    Returns
    -------
    list of str
        Such as ``"epochs 60 instead of 300"``, in the order of the options.
    """
    found: dict[str, dict[tuple[str, str], None]] = {}
    script = plan.experiment.script
    for series in plan.experiment.series:
        for member in series.members():
            declared = {**plan.experiment.common, **member}
            paper = resolved(script, declared)
            ours = resolved(script, plan.changes.applied(declared, script))
            for name, value in ours.items():
                if name not in MACHINE and value != paper[name]:
                    pair = (_word(name, value), _word(name, paper[name]))
                    found.setdefault(name, {})[pair] = None
    return [
        f"{WORDS.get(name, name.replace('_', ' '))} "
        + ", ".join(f"{ours} instead of {paper}" for ours, paper in pairs)
        for name, pairs in found.items()
    ]


def _word(name: str, value: Any) -> str:
    if name == "data":
        return DATA[value]
    if isinstance(value, float):
        return f"{value:g}"
    if value is None:
        return "none"
    return " ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def notes(plan: Plan, rows: Sequence[Row]) -> list[str]:
    """Whole sentences for below a figure or a table."""
    sentences = []
    changed = differences(plan)
    if changed:
        sentences.append(f"Not as in the paper: {'; '.join(changed)}.")
    for name, values in plan.changes.only.items():
        sentences.append(f"Only {WORDS.get(name, name)} {', '.join(_word(name, value) for value in values)}.")
    first = resolved(plan.experiment.script, plan.points[0].runs[0].options)
    if first["validation"]:
        sentences.append(
            f"{100 * first['validation']:g} % of the training images are held out to choose the epoch by."
        )
    images = sorted({int(value) for row in rows for value in row.values("test_images")})
    if images:
        sentences.append(f"Scored on {' or '.join(f'{count:,}' for count in images)} test images.")
    passes = max((int(value) for row in rows for value in row.values("passes")), default=1)
    if passes > 1:
        sentences.append(f"Where something shuffles: mean of {passes} passes.")
    if first["precision"] != "32-true":
        sentences.append(f"Precision: {first['precision']}.")
    if len(plan.seeds) > 1:
        sentences.append(f"Mean and standard deviation of {len(plan.seeds)} seeds.")
    else:
        sentences.append("One seed.")
    missing = sum(len(row.missing) for row in rows)
    if missing:
        total = sum(len(row.point.runs) for row in rows)
        sentences.append(f"Missing: {missing} of {total} results.")
    return sentences
