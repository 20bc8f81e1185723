"""Runs that fit into a given time: fewer epochs, and the most telling runs first (``--budget``)."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from itertools import pairwise
from pathlib import Path

from data.formats.files import write_text
from data.records import InputError
from training.experiments.plan import Plan, Run

__all__ = ["ORDER", "all_experiments", "fit", "load_epochs", "parse_budget", "store_epochs", "telling_order"]

ORDER = ("figure4", "figure9", "table1", "figure1", "figure5", "figure6", "figure7", "pretrained", "shapes")
"""Experiments by what they tell of the paper; others come last."""
FRACTIONS = (1.0, 1 / 2, 1 / 4, 1 / 8, 1 / 16)
"""Shares of an experiment's epochs that are tried. With fewer a network has learnt too little."""
RESERVE = 0.1
"""Share of the time held back for costs that were estimated too low."""
FIRST_LEVELS = 2
"""Levels of a sweep, its middle and its ends, that have to fit before there is time for more epochs."""

Make = Callable[[Mapping[str, float]], Sequence[Plan]]
"""Plans, given the fraction of the epochs for each data set."""
Cost = Callable[[Run], float]
"""Seconds of a run; NaN if they are not known."""


def parse_budget(text: str) -> float:
    """Seconds of a time such as ``30m``, ``8h`` or ``1h30m``.

    Examples
    --------
    >>> [parse_budget(text) for text in ("90s", "30m", "1h30m", "1.5h", "2d")]
    [90.0, 1800.0, 5400.0, 5400.0, 172800.0]
    """
    number = r"(?:(\d+(?:\.\d+)?){})?"
    found = re.fullmatch("".join(map(number.format, "dhms")), text.replace(" ", "").lower())
    units = (86_400, 3_600, 60, 1)
    parts = found.groups() if found else ()
    seconds = sum(float(part or 0) * unit for part, unit in zip(parts, units, strict=bool(parts)))
    if not 0 < seconds < math.inf:
        raise InputError("--budget", repr(text), "a time such as 30m, 8h or 1h30m")
    return seconds


def all_experiments(folder: Path) -> list[Path]:
    """The experiment files of a folder, the most telling first."""
    files = sorted(folder.glob("*.yaml"), key=lambda file: file.stem)
    if not files:
        raise InputError(folder, "no experiments", "the folder experiments/ of a clone of the repository")
    return sorted(files, key=lambda file: ORDER.index(file.stem) if file.stem in ORDER else len(ORDER))


def telling_order(plans: Sequence[Plan]) -> list[tuple[int, Run]]:
    """The runs of all plans with their level, the most telling first; each once.

    A sweep is made finer level by level: its middle, its ends, then what halves the gaps. A further seed
    comes after all levels of the one before. A scoring with another shuffle comes after its training.
    """
    order: dict[tuple[int, int, int], list[Run]] = {}
    last = 0
    for place, plan in enumerate(plans):
        trainings = {run.name: run for run in plan.runs}
        for series in plan.experiment.series:
            points = [point for point in plan.points if point.series == series.name]
            for point, level in zip(points, _levels(len(points)), strict=True):
                last = max(last, level)
                for seed, run in enumerate(point.runs):
                    before = [] if run.trained is None else [trainings[run.trained]]
                    order.setdefault((seed, level, place), []).extend([*before, run])
    found: dict[str, tuple[int, Run]] = {}
    for seed, level, place in sorted(order):
        for run in order[seed, level, place]:
            found.setdefault(run.name, (seed * (last + 1) + level, run))
    return list(found.values())


def _levels(count: int) -> list[int]:
    """Level of each of a number of points in a row.

    Examples
    --------
    >>> _levels(1), _levels(3), _levels(7)
    ([0], [1, 0, 1], [1, 2, 3, 0, 2, 3, 1])
    """
    levels = dict.fromkeys((0, count - 1), 1) | {count // 2: 0}
    level = 2
    while len(levels) < count:
        known = sorted(levels)
        levels |= {(a + b) // 2: level for a, b in pairwise(known) if b - a > 1}
        level += 1
    return [levels[place] for place in range(count)]


def fit(
    make: Make,
    cost: Cost,
    seconds: float,
    epochs: Mapping[str, float],
    absent: Collection[str],
    done: Callable[[Run], bool],
) -> tuple[dict[str, float], list[Run]]:
    """The fraction of the epochs for each data set, and the runs that fit into `seconds`, in their order.

    The data sets share the time. For each, the epochs are the most with which its most telling runs fit.
    `epochs` has those of an earlier call, which stay. Runs on an `absent` data set are left out.
    """
    seconds *= 1 - RESERVE
    chosen = dict(epochs)
    data_sets = {str(run.options["data"]) for plan in make({}) for run in plan.runs} - set(absent)
    for data in sorted(data_sets - chosen.keys()):
        for chosen[data] in FRACTIONS:
            first = [
                run
                for level, run in telling_order(make({data: chosen[data]}))
                if level < FIRST_LEVELS and run.options["data"] == data
            ]
            if sum(cost(run) for run in first) <= seconds / len(data_sets):
                break
    there: set[str] = set()
    runs = []
    for _, run in telling_order(make(chosen)):
        if run.options["data"] in absent or (run.trained is not None and run.trained not in there):
            continue
        if done(run):
            there.add(run.name)
        elif cost(run) <= seconds:
            seconds -= cost(run)
            there.add(run.name)
            runs.append(run)
    return chosen, runs


def load_epochs(file: Path) -> dict[str, float]:
    """The fractions that an earlier command chose, so that its runs go on."""
    if not file.is_file():
        return {}
    try:
        return {str(data): float(value) for data, value in json.loads(file.read_text("utf-8")).items()}
    except (ValueError, AttributeError, TypeError):
        raise InputError(
            file, "no fractions of epochs", "what --budget wrote: remove it, or take another --out"
        ) from None


def store_epochs(file: Path, epochs: Mapping[str, float]) -> None:
    """Write the chosen fractions."""
    write_text(file, json.dumps(epochs, indent=1) + "\n")
