"""Options of the training scripts: which there are, what values they take, which change a result."""

from __future__ import annotations

import difflib
import types
from collections.abc import Iterable, Mapping
from dataclasses import fields
from functools import cache
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from data.records import InputError
from training.options import in_words, option_of
from training.task import Task

__all__ = [
    "MACHINE",
    "Script",
    "check_names",
    "check_values",
    "defaults",
    "resolved",
    "words",
]

Script = Literal["train_classify", "train_detect"]
"""The commands that runs are made with."""

MACHINE = frozenset(
    {"accelerator", "channels_last", "compile", "deterministic", "devices", "precision", "root", "workers"}
)
"""Options that say where and how fast, not what: a run keeps its name and its result whatever they are."""


def task_of(script: Script) -> Task:
    """The command that a script is."""
    from training.tasks.classification import CLASSIFICATION
    from training.tasks.detection import DETECTION

    return CLASSIFICATION if script == "train_classify" else DETECTION


@cache
def defaults(script: Script) -> Mapping[str, Any]:
    """Every option of a script, with its default."""
    return task_of(script).options().flat()


def resolved(script: Script, options: Mapping[str, Any]) -> dict[str, Any]:
    """All options of a run, with what the script puts where one is left to the data."""
    groups = task_of(script).options.from_flat({**defaults(script), **options})
    return groups.resolved().flat()


def check_values(script: Script, options: Mapping[str, Any]) -> None:
    """Raise InputError for values that the script would not take, before any run begins."""
    groups = task_of(script).options
    kinds = {
        item.name: kind
        for group in get_type_hints(groups).values()
        for item in fields(group)
        for kind in [get_type_hints(group)[item.name]]
    }
    for name, value in options.items():
        if not fits(value, kinds[name]):
            raise InputError(option_of(name), repr(value), in_words(kinds[name]))
    groups.from_flat({**defaults(script), **options}).check()


def fits(value: object, kind: Any) -> bool:
    """Whether a value from a YAML file is of an option's type.

    Examples
    --------
    >>> fits(1, float), fits("a", int | None), fits([1], list[int]), fits(True, int)
    (True, False, True, False)
    """
    if get_origin(kind) is Literal:
        return value in get_args(kind)
    if get_origin(kind) is list:
        return isinstance(value, list) and all(fits(item, get_args(kind)[0]) for item in value)
    if get_origin(kind) in (types.UnionType, Union):
        return any(fits(value, part) for part in get_args(kind))
    if kind is str:  # a bare 2 is a word too
        return isinstance(value, str | int | float) and not isinstance(value, bool)
    if isinstance(value, bool):
        return kind is bool
    return isinstance(value, (int, float) if kind is float else kind)


def check_names(names: Iterable[str], script: Script, where: str) -> None:
    """Raise InputError, naming the nearest, for a name that is no option of the script."""
    known = defaults(script)
    for name in names:
        if name not in known:
            near = difflib.get_close_matches(str(name), list(known), n=1, cutoff=0.5)
            meant = f"; did you mean {near[0]}?" if near else ""
            raise InputError(where, f"no option {name!r}", f"one of those of {script}.py{meant}")


def words(options: Mapping[str, Any]) -> list[str]:
    """Options as a command line.

    Examples
    --------
    >>> words({"arch": "vgg16", "train_shuffle": False, "layers": [1, 2]})
    ['--arch', 'vgg16', '--train-shuffle', 'false', '--layers', '1', '2']
    """
    line: list[str] = []
    for name, value in options.items():
        values = value if isinstance(value, list | tuple) else [value]
        line.append(f"--{name.replace('_', '-')}")
        line += [
            ("true" if item else "false") if isinstance(item, bool) else "null" if item is None else str(item)
            for item in values
        ]
    return line
