"""An experiment file: which runs a figure or a table wants. Read strictly, into typed records.

    title: VGG-16 on CIFAR-100, shuffled from the last layer on
    draw: percent                     # the form: one of FORMS
    script: train_classify            # or train_detect
    seeds: [0]
    common: {data: cifar100, arch: vgg16, epochs: 300}
    series:
      - name: baseline
      - name: spatial shuffle
        options: {method: spatial}
        sweep: {last: [1, 2, 3]}      # one run for each value
      - name: no shuffle → spatial shuffle
        test: {method: spatial, last: 4}   # the trained network scored with another shuffle

Options are those of the script, with underscores.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

import yaml

from data.formats.files import read_text
from data.records import InputError
from training.experiments.options import Script, check_names

__all__ = ["Experiment", "Form", "Series", "nearest", "read_experiment"]

Form = Literal["curves", "percent", "train_test", "networks", "single_layer", "patches", "pies"]
"""What is drawn: training curves, accuracy against percentage of modified layers, ..."""


@dataclass(frozen=True)
class Series:
    """Runs that are drawn alike: one curve, one row, one pie."""

    name: str
    options: Mapping[str, Any] = field(default_factory=dict)
    """Those of its runs, above the experiment's common ones."""
    sweep: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)
    """At most one option, with its values: a run for each. None: one run."""
    test: Mapping[str, Any] | None = None
    """Options that the trained network is scored with instead of its own; None: it is scored as trained."""

    def members(self) -> list[dict[str, Any]]:
        """The options of each run.

        Examples
        --------
        >>> Series("spatial", {"method": "spatial"}, {"last": (1, 4)}).members()
        [{'method': 'spatial', 'last': 1}, {'method': 'spatial', 'last': 4}]
        """
        for name, values in self.sweep.items():
            return [{**self.options, name: value} for value in values]
        return [dict(self.options)]


@dataclass(frozen=True)
class Experiment:
    """What an experiment file declares."""

    name: str
    """The file's, without its suffix: that of the folder of results."""
    title: str
    draw: Form
    script: Script
    common: Mapping[str, Any]
    """Options of all runs."""
    series: tuple[Series, ...]
    seeds: tuple[int, ...]

    @property
    def heading(self) -> str:
        """Name and title: ``figure4`` is Figure 4."""
        name = re.sub(r"^(figure|table)(?=\d)", lambda word: f"{word[0].capitalize()} ", self.name)
        return f"{name}: {self.title}"


def nearest(word: str, known: Iterable[str]) -> str:
    """``"; did you mean …?"`` for a misspelt word, or nothing.

    Examples
    --------
    >>> nearest("epoch", ["epochs", "seed"])
    '; did you mean epochs?'
    """
    near = difflib.get_close_matches(word, list(known), n=1, cutoff=0.5)
    return f"; did you mean {near[0]}?" if near else ""


def read_experiment(path: Path) -> Experiment:
    """Read an experiment file.

    Parameters
    ----------
    path
        Its name is that of the experiment.

    Raises
    ------
    InputError
        No such file, no YAML, a key or an option that there is not, a value of the wrong kind.
    """
    try:
        content = yaml.safe_load(read_text(path, "an experiment file, such as experiments/figure4.yaml"))
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f"{path}:{mark.line + 1}" if mark else str(path)
        problem = getattr(error, "problem", None) or "no text"
        raise InputError(where, f"no valid YAML ({problem})", "an experiment as in experiments/") from None
    top = _mapping(content, str(path), {"title", "draw", "script", "common", "series", "seeds"})
    script: Script = _choice(top.get("script", "train_classify"), f"{path}: script", get_args(Script))
    common = _options(top.get("common", {}), f"{path}: common", script)
    listed = top.get("series")
    if not isinstance(listed, list) or not listed:
        raise InputError(f"{path}: series", repr(listed), "a list of at least one series")
    series = tuple(
        _series(item, f"{path}: series {number}", script) for number, item in enumerate(listed, start=1)
    )
    names = [item.name for item in series]
    for name in names:
        if names.count(name) > 1:
            raise InputError(f"{path}: series", f"{name!r} {names.count(name)} times", "a name for each")
    return Experiment(
        path.stem,
        _word(top.get("title"), f"{path}: title"),
        _choice(top.get("draw"), f"{path}: draw", get_args(Form)),
        script,
        common,
        series,
        _seeds(top.get("seeds", [0]), f"{path}: seeds"),
    )


def _mapping(content: object, where: str, known: set[str]) -> dict[str, Any]:
    """A mapping with known keys alone."""
    if not isinstance(content, dict) or not content:
        raise InputError(where, "no keys", f"a mapping with {', '.join(sorted(known))}")
    for key in content:
        if key not in known:
            expected = f"one of {', '.join(sorted(known))}{nearest(str(key), known)}"
            raise InputError(where, f"an unknown key {key!r}", expected)
    return content


def _series(content: object, where: str, script: Script) -> Series:
    item = _mapping(content, where, {"name", "options", "sweep", "test"})
    name = _word(item.get("name"), f"{where}: name")
    where = f"{where} ({name})"
    sweep = _options(item.get("sweep", {}), f"{where}: sweep", script)
    if len(sweep) > 1:
        raise InputError(f"{where}: sweep", f"{len(sweep)} options", "one, with a list of its values")
    for option, values in sweep.items():
        if not isinstance(values, list) or not values:
            raise InputError(f"{where}: sweep: {option}", repr(values), "a list of at least one value")
    test = item.get("test")
    return Series(
        name,
        _options(item.get("options", {}), f"{where}: options", script),
        {option: tuple(values) for option, values in sweep.items()},
        None if test is None else _options(test, f"{where}: test", script),
    )


def _options(content: object, where: str, script: Script) -> dict[str, Any]:
    if not isinstance(content, dict):
        raise InputError(where, repr(content), "options with their values, or nothing")
    check_names(content, script, where)
    if "seed" in content:
        raise InputError(where, "seed", "the seeds of all runs under 'seeds'")
    return content


def _word(value: object, where: str) -> str:
    if not isinstance(value, str) or not value.strip():
        raise InputError(where, repr(value), "a word or a sentence")
    return value.strip()


def _choice(value: Any, where: str, known: tuple[str, ...]) -> Any:
    if value not in known:
        raise InputError(where, repr(value), f"one of {', '.join(known)}{nearest(str(value), known)}")
    return value


def _seeds(value: object, where: str) -> tuple[int, ...]:
    numbers = [value] if isinstance(value, int) else value
    if (
        not isinstance(numbers, list)
        or not numbers
        or any(isinstance(number, bool) or not isinstance(number, int) or number < 0 for number in numbers)
        or len(set(numbers)) < len(numbers)
    ):
        raise InputError(where, repr(value), "different whole numbers from 0")
    return tuple(numbers)
