"""What an experiment file declares: which runs a figure or a table consists of, and options of those runs.

    title: VGG-16 on CIFAR-100, shuffled from the last layer on
    draw: percent                     # one of DRAWINGS
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

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args, get_origin

from data.formats.files import parse_yaml, read_text
from data.formats.names import hint
from data.records import InputError
from detector.registry import ARCHITECTURES
from training.options import convert, in_words, option_of
from training.task import Task

if TYPE_CHECKING:
    from detector import Layer

__all__ = [
    "DRAWINGS", "MACHINE_OPTIONS", "Experiment", "Script", "Series", "Variant", "architecture_label",
    "check_names", "check_values", "command_words", "defaults", "is_modifiable", "layers_of",
    "modified_percent", "read_experiment", "resolved", "suggestion", "variant_of",
]  # fmt: skip

Script = Literal["train_classify", "train_detect"]
"""The commands that runs are made with."""

DRAWINGS = ("curves", "percent", "train_test", "networks", "single_layer", "patches", "pies", "sheet")
"""What can be drawn: training curves, accuracy against percentage of modified layers, ..."""

MACHINE_OPTIONS = frozenset(
    {
        "accelerator", "cache", "channels_last", "compile", "deterministic", "devices", "logger",
        "precision", "root", "workers",
    }
)  # fmt: skip
"""Options that say where and how fast, not what: they change neither the name of a run nor its result."""


# ---------------------------------------------------------------- options of the scripts


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
    """All options of a run, with the values that the script chooses where one depends on the data."""
    groups = task_of(script).options.from_flat({**defaults(script), **options})
    return groups.resolved().flat()


def check_values(script: Script, options: Mapping[str, Any]) -> None:
    """Raise InputError for values that the script would not take, before any run begins."""
    groups = task_of(script).options
    kinds = groups.kinds()
    for name, value in options.items():
        if not fits(value, kinds[name]):
            example = "" if isinstance(value, list) else f", as in {name}=[{value}]"
            many = get_origin(kinds[name]) is list
            raise InputError(option_of(name), repr(value), in_words(kinds[name]) + example * many)
    groups.from_flat({**defaults(script), **options}).check()


def fits(value: object, kind: Any) -> bool:
    """Whether a value from a YAML file is of an option's type; :func:`convert` would take "1" for 1 too."""
    if get_origin(kind) is list:
        return isinstance(value, list) and all(fits(item, get_args(kind)[0]) for item in value)
    if value is None:
        return type(None) in get_args(kind)
    try:
        converted = convert(value, kind)
    except ValueError:
        return False
    bare = isinstance(converted, str) and isinstance(value, int | float)  # a bare 2 is a word too
    return type(value) is not bool if bare else isinstance(converted, str) == isinstance(value, str)


suggestion = partial(hint, cutoff=0.5, quoted=False)


def check_names(names: Iterable[str], script: Script, where: str) -> None:
    """Raise InputError, with the nearest option, for a name that is no option of the script."""
    known = defaults(script)
    for name in names:
        if name not in known:
            expected = f"one of those of {script}.py{suggestion(name, known)}"
            raise InputError(where, f"no option {name!r}", expected)


def command_words(options: Mapping[str, Any]) -> list[str]:
    """Options as a command line."""
    words: list[str] = []
    for name, value in options.items():
        words.append(option_of(name))
        for item in value if isinstance(value, list | tuple) else [value]:
            plain = "null" if item is None else str(item)
            words.append(plain.lower() if isinstance(item, bool) else plain)
    return words


# ---------------------------------------------------------------- variants


@dataclass(frozen=True)
class Variant:
    """A network on a data set, with information taken away from some of its layers: what the paper's numbers
    and ours are matched by."""

    data: str
    arch: str
    method: str = "none"
    last: int | None = None
    """This many layers, counted from the output."""
    layer: int | None = None
    """One layer, counted from 1 at the input."""
    patch: int | None = None
    """Side of the patches, in positions."""
    tested: str | None = None
    """Method at test time if it differs from that in training."""
    several: tuple[int | str, ...] = ()
    """Layers by number, or modules by name, if these are given."""
    weights: str = "none"
    """What the network starts from: random weights, or the name of others."""

    @property
    def baseline(self) -> Variant:
        """The same network on the same data with nothing modified."""
        return Variant(self.data, self.arch, weights=self.weights)


def variant_of(options: Mapping[str, Any], test: Mapping[str, Any] | None = None) -> Variant:
    """The variant that a run of these options is; `test` are those its network is scored with, if others.

    Examples
    --------
    >>> trained = {"data": "cifar100", "arch": "vgg16", "method": "spatial", "last": 4}
    >>> variant_of(trained, {"method": "none"}) == Variant("cifar100", "vgg16", "spatial", 4, tested="none")
    True
    """
    data, arch, weights = options["data"], options["arch"], options.get("weights", "none")
    if "shuffle" in options:  # a detector
        test = None if test is None else _as_classifiers({**options, **test})
        options = _as_classifiers(options)
    described, tested = {**options, **(test or {})}, None
    last = described.get("last")
    if test is not None:
        last = options.get("last") if last is None else last  # what was modified in training
        tested = test.get("method", "none" if test.get("eval_shuffle") is False else None)
    several = tuple(described.get("layers") or described.get("names") or ())
    method, layer, patch = options.get("method", "none"), described.get("layer"), described.get("patch")
    return Variant(data, arch, method, last, layer, patch, tested, several, weights)


def _as_classifiers(options: Mapping[str, Any]) -> dict[str, Any]:
    """What a detector's options shuffle, as the options of a classifier."""
    place = options["shuffle"]
    if place == "none":
        return {"method": "none"}
    where = {"last": 1} if place == "last" else {"layer": int(place)}
    return {"method": options.get("shuffle_method", "spatial"), "patch": options.get("patch"), **where}


def modified_percent(variant: Variant) -> float:
    """The percentage of a network's layers that is modified; layers of a ResNet are its bottlenecks."""
    if variant.method == "none" and variant.tested in (None, "none"):
        return 0.0
    changed = len(variant.several) or (1 if variant.last is None else variant.last)
    return 100 * changed / len(layers_of(variant.arch))


def is_modifiable(arch: str) -> bool:
    """Whether it is a network that :mod:`detector` defines and that has layers to modify."""
    return arch in ARCHITECTURES and ARCHITECTURES[arch].has_layers


@cache
def layers_of(arch: str) -> tuple[Layer, ...]:
    """The layers of a network, as :func:`detector.list_layers` finds them; of our own for 32×32 images."""
    if arch in ARCHITECTURES and not is_modifiable(arch):
        return ()
    import torch
    import torchvision

    from detector import list_layers
    from detector.networks import build_network

    def build() -> torch.nn.Module:
        if arch in ARCHITECTURES:
            return build_network(arch, 10, image_size=32)
        network: torch.nn.Module = getattr(torchvision.models, arch)(num_classes=10)
        return network

    try:
        with torch.device("meta"):
            network = build()
    except NotImplementedError:  # RegNets compute their widths with tensors
        network = build()
    return tuple(list_layers(network))


def architecture_label(arch: str) -> str:
    """The name of a network in tables and figures."""
    return ARCHITECTURES[arch].label if arch in ARCHITECTURES else arch


# ---------------------------------------------------------------- experiment files


@dataclass(frozen=True)
class Series:
    """Runs that are drawn alike: one curve, one row, one pie."""

    name: str
    options: Mapping[str, Any] = field(default_factory=dict)
    """Options of its runs, in addition to the experiment's common ones."""
    sweep: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)
    """At most one option, with its values: a run for each. Empty: one run."""
    test: Mapping[str, Any] | None = None
    """Options that the trained network is scored with instead of its own; None: it is scored as trained."""

    def members(self) -> list[dict[str, Any]]:
        """The options of each run."""
        for name, values in self.sweep.items():
            return [{**self.options, name: value} for value in values]
        return [dict(self.options)]


@dataclass(frozen=True)
class Experiment:
    """What an experiment file declares."""

    name: str
    """The file's, without its suffix: that of the folder of results."""
    title: str
    draw: str
    """One of `DRAWINGS`."""
    script: Script
    common: Mapping[str, Any]
    """Options of all runs."""
    series: tuple[Series, ...]
    seeds: tuple[int, ...]
    cost: str
    """Cost of all its runs, rounded, in words."""

    @property
    def heading(self) -> str:
        """Name and title: ``figure4`` is Figure 4."""
        name = re.sub(r"^(figure|table)(?=\d)", lambda word: f"{word[0].capitalize()} ", self.name)
        return f"{name}: {self.title}"


def read_experiment(path: Path) -> Experiment:
    """Read an experiment file.

    Raises
    ------
    InputError
        No such file, no YAML, a key or an option that does not exist, a value of the wrong kind.
    """
    text = read_text(path, "an experiment file, such as experiments/figure4.yaml")
    content = parse_yaml(path, text, "an experiment as in experiments/")
    top = _mapping(content, str(path), {"title", "cost", "draw", "script", "common", "series", "seeds"})
    script = _one_of(top.get("script", "train_classify"), f"{path}: script", get_args(Script))
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
    title = _text(top.get("title"), f"{path}: title")
    drawing = _one_of(top.get("draw"), f"{path}: draw", DRAWINGS)
    seeds = top.get("seeds", [0])
    numbers = [seeds] if isinstance(seeds, int) else seeds
    sound = isinstance(numbers, list) and all(type(number) is int and number >= 0 for number in numbers)
    if not sound or not numbers or len(set(numbers)) < len(numbers):
        raise InputError(f"{path}: seeds", repr(seeds), "different whole numbers from 0")
    cost = _text(top.get("cost", "unknown"), f"{path}: cost")
    return Experiment(path.stem, title, drawing, script, common, series, tuple(numbers), cost)


def _mapping(content: object, where: str, known: set[str]) -> dict[str, Any]:
    """A mapping with known keys alone."""
    if not isinstance(content, dict) or not content:
        raise InputError(where, "no keys", f"a mapping with {', '.join(sorted(known))}")
    for key in content:
        if key not in known:
            expected = f"one of {', '.join(sorted(known))}{suggestion(key, known)}"
            raise InputError(where, f"an unknown key {key!r}", expected)
    return content


def _series(content: object, where: str, script: Script) -> Series:
    item = _mapping(content, where, {"name", "options", "sweep", "test"})
    name = _text(item.get("name"), f"{where}: name")
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


def _text(value: object, where: str) -> str:
    if not isinstance(value, str) or not value.strip():
        raise InputError(where, repr(value), "a word or a sentence")
    return value.strip()


def _one_of(value: Any, where: str, known: tuple[str, ...]) -> Any:
    if value not in known:
        raise InputError(where, repr(value), f"one of {', '.join(known)}{suggestion(value, known)}")
    return value
