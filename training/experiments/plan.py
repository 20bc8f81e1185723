"""From a declared experiment to the runs that it wants, each with a folder that experiments share."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import yaml

from data.records import InputError
from training.experiments.changes import Changes
from training.experiments.declare import Experiment, nearest
from training.experiments.options import MACHINE, Script, check_values, defaults, resolved
from training.experiments.same import plainest
from training.experiments.variant import OWN, Variant, layer_count, variant_of

__all__ = ["Plan", "Point", "Run", "State", "make_plan", "state_of"]

REPLACING = ("data", "arch")
"""Options whose overriding makes another experiment of it: the paper has no number for that."""
State = Literal["done", "begun", "wanted"]


@dataclass(frozen=True)
class Run:
    """One command: a training with its scores, or a trained network scored with another shuffle."""

    name: str
    """Its folder below that of all runs; two runs of one name compute the same."""
    script: Script
    options: Mapping[str, Any] = field(compare=False)
    """Of the training, as given; the seed is one of them."""
    test: Mapping[str, Any] | None = field(default=None, compare=False)
    trained: str | None = None
    """Name of the run whose network is scored; None for a training."""

    @property
    def seed(self) -> int:
        """Seed of the training."""
        return int(self.options["seed"])


@dataclass(frozen=True)
class Point:
    """What becomes one mark or one row: the same variant with each of the seeds."""

    series: str
    variant: Variant
    """As declared, whatever --set and --scale make of it: by this the paper's number is found."""
    runs: tuple[Run, ...]


@dataclass(frozen=True)
class Plan:
    """The runs of an experiment, in an order in which they can be done."""

    experiment: Experiment
    changes: Changes
    seeds: tuple[int, ...]
    points: tuple[Point, ...]
    runs: tuple[Run, ...]

    @property
    def heading(self) -> str:
        """Of the figure or table: what the file says, and what was run instead."""
        instead = [str(self.changes.overrides[name]) for name in REPLACING if name in self.changes.overrides]
        return self.experiment.heading + (f" — here {', '.join(instead)} instead" if instead else "")

    def run_named(self, name: str) -> Run:
        """A run by its name."""
        return next(run for run in self.runs if run.name == name)


def make_plan(experiment: Experiment, changes: Changes, seeds: tuple[int, ...] | None = None) -> Plan:
    """The runs that an experiment wants.

    Parameters
    ----------
    experiment
        As declared.
    changes
        What is to be done otherwise.
    seeds
        Instead of the experiment's own.

    Raises
    ------
    InputError
        An option that makes the experiment what it is would be overridden.
    """
    check_overrides(experiment, changes)
    seeds = seeds or experiment.seeds
    points: list[Point] = []
    runs: dict[str, Run] = {}
    met: dict[str, list[Any]] = {name: [] for name in changes.only}
    for series in experiment.series:
        for member in series.members():
            declared = {**experiment.common, **member}
            filled = {**defaults(experiment.script), **declared}
            if not changes.keeps(filled):
                continue
            for name in changes.only:
                met[name].append(filled[name])
            options = changes.applied(declared, experiment.script)
            made: list[Run] = []
            try:
                check_values(
                    experiment.script, {"root": ".", **options}
                )  # data are looked at before runs begin
                check_network(experiment, options)
            except InputError as error:
                where = f"{experiment.name}: {series.name}: {error.where}"
                raise InputError(where, error.found, error.expected) from None
            check_layers(experiment, series.name, {**options, **(series.test or {})})
            for seed in seeds:
                training = _training(experiment.script, {**options, "seed": seed})
                runs.setdefault(training.name, training)
                run = training
                if series.test is not None:
                    run = _scoring(training, series.test)
                    runs.setdefault(run.name, run)
                made.append(run)
            # The paper's number is that of the declared variant, but not of other data or another network.
            elsewhere = {name: changes.overrides[name] for name in REPLACING if name in changes.overrides}
            variant = variant_of({**filled, **elsewhere}, series.test)
            points.append(Point(series.name, variant, tuple(made)))
    unmet = {
        name: value for name, values in changes.only.items() for value in values if value not in met[name]
    }
    if not points or unmet:
        asked = unmet or {name: ",".join(map(str, values)) for name, values in changes.only.items()}
        only = " ".join(f"{name}={value}" for name, value in asked.items())
        raise InputError("--only", only, f"values that some of {experiment.name} have")
    return Plan(experiment, changes, seeds, tuple(points), tuple(runs.values()))


def check_network(experiment: Experiment, options: Mapping[str, Any]) -> None:
    """Raise InputError for an architecture that there is not, before any run begins."""
    arch = options.get("arch", defaults(experiment.script)["arch"])
    if experiment.script == "train_classify" and arch not in OWN:
        from training.tasks.classification_module import check_architecture  # torch takes seconds

        check_architecture(arch)


def check_layers(experiment: Experiment, series: str, options: Mapping[str, Any]) -> None:
    """Raise InputError for a layer that the network of a run lacks: now, not when its turn comes."""
    numbers = [options.get("last"), options.get("layer"), *(options.get("layers") or ())]
    largest = max((number for number in numbers if isinstance(number, int)), default=0)
    if experiment.script != "train_classify" or options.get("method", "none") == "none" or not largest:
        return
    count = layer_count(options["arch"])
    if largest > count:
        raise InputError(
            f"{experiment.name}: {series}",
            f"layer {largest}",
            f"at most {count}, which {options['arch']} has",
        )


def check_overrides(experiment: Experiment, changes: Changes) -> None:
    """Raise InputError where --set would make different series the same; those left out do not count."""
    usual = {**defaults(experiment.script), **experiment.common}
    kept = [
        series
        for series in experiment.series
        if any(changes.keeps({**usual, **member}) for member in series.members())
    ]
    for name in changes.overrides:
        differ = len({repr(series.options.get(name, usual.get(name))) for series in kept}) > 1
        for series in kept:
            told = name in series.sweep or name in (series.test or {})
            if told or (differ and name in series.options):
                raise InputError(
                    "--set",
                    f"{name}, in which the series of {experiment.name} differ ({series.name})",
                    f"an option that all runs share{nearest(name, experiment.common)}",
                )


def _training(script: Script, options: Mapping[str, Any]) -> Run:
    options = plainest(script, options)
    return Run(training_name(script, options), script, options)


def _scoring(training: Run, test: Mapping[str, Any]) -> Run:
    words = [f"{name}{value}" if name != "method" else str(value) for name, value in test.items()]
    name = f"{training.name}/tested-{'-'.join(words).replace('_', '')}"
    return Run(name, training.script, training.options, test, training.name)


def training_name(script: Script, options: Mapping[str, Any]) -> str:
    """A folder name that is the same for runs that compute the same, and only for them.

    It ends in a hash of every option that changes the result and is not the default, so that an option that
    the script learns later renames nothing.

    Examples
    --------
    >>> training_name("train_classify", {"data": "shapes", "arch": "vgg16", "seed": 1, "epochs": 3})
    'shapes-vgg16-plain-e3-seed1-e3e9b338'
    """
    described, usual = resolved(script, options), defaults(script)
    telling = {name: _number(value, usual[name]) for name, value in described.items() if name not in MACHINE}
    telling = {name: value for name, value in telling.items() if value != usual[name]}
    digest = hashlib.sha256(json.dumps([script, telling], sort_keys=True).encode()).hexdigest()[:8]
    parts = [described["data"], described["arch"]]
    if described.get("width", 1) != 1:
        parts.append(f"w{described['width']:g}")
    parts.append(_modification(described))
    if script == "train_detect":
        parts.append(str(described["input_size"]))
    parts.append(f"e{described['epochs']}")
    if described.get("fraction", 1) != 1:
        parts.append(f"f{described['fraction']:g}")
    if described.get("max_steps") is not None:
        parts.append(f"s{described['max_steps']}")
    return "-".join([*map(str, parts), f"seed{described['seed']}", digest])


def _number(value: Any, usual: Any) -> Any:
    """A whole number where a broken one is usual, as such: 1 and 1.0 are the same width."""
    return float(value) if isinstance(usual, float) and type(value) is int else value


def _modification(options: Mapping[str, Any]) -> str:
    """What is taken away where, in a folder's name."""
    if "shuffle" in options:  # a detector
        shuffle = options["shuffle"]
        return "plain" if shuffle == "none" else f"{options['shuffle_method']}-{shuffle}"
    if options["method"] == "none":
        return "plain"
    words = [options["method"].replace("_", "")]
    if options["patch"] is not None:
        words[0] += str(options["patch"])
    for key in ("last", "layer", "layers", "names"):
        value = options[key]
        if value:
            values = value if isinstance(value, list | tuple) else [value]
            words.append(key + ".".join(str(item).replace("/", ".") for item in values))
    if options["train_shuffle"] is False:
        words.append("testonly")
    if options["eval_shuffle"] is False:
        words.append("trainonly")
    return "-".join(words)


def state_of(run: Run, folder: Path) -> State:
    """How far a run is: ``scores.json`` is written last.

    Parameters
    ----------
    run
        Any.
    folder
        That of all runs.

    Raises
    ------
    InputError
        The folder of that name holds a run of other options.
    """
    path = folder / run.name
    if run.trained is None:
        check_same(run, path)
    if (path / "scores.json").is_file():
        return "done"
    return "begun" if (path / "checkpoints" / "last.ckpt").is_file() else "wanted"


def check_same(run: Run, path: Path) -> None:
    """Raise InputError where a run's folder says that it was made with other options."""
    config = path / "config.yaml"
    if not config.is_file():
        return
    try:
        stored = yaml.safe_load(config.read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError):
        return  # cut short: the run has not begun
    if not isinstance(stored, dict):
        return
    wanted = {**defaults(run.script), **run.options}
    for name, value in wanted.items():
        # The default of an option that is not given may have changed since.
        if name in MACHINE or name not in stored or stored[name] == value:
            continue
        if name in run.options and value is not None:
            raise InputError(
                config, f"{name}: {stored[name]}", f"{value}, as {run.name} wants: move that folder away"
            )
