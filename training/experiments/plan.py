"""From a declared experiment to its runs, each in a folder that experiments share.

A run's folder is named after its options. They are made canonical first, so that equal runs share a folder.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import yaml

from data.datasets import DATASETS
from data.formats.files import parse_yaml
from data.records import InputError
from detector.registry import METHODS
from training.experiments.schema import (
    MACHINE_OPTIONS,
    Experiment,
    Script,
    Variant,
    check_names,
    check_values,
    defaults,
    is_modifiable,
    layers_of,
    resolved,
    suggestion,
    variant_of,
)
from training.tasks.classification_options import PLACES
from training.tasks.detection_options import DETECTION_DATA

__all__ = [
    "Overrides", "Plan", "Point", "Run", "State", "canonical", "make_plan", "parse_only", "parse_options",
    "parse_roots", "state_of", "training_name",
]  # fmt: skip

DATA_SETS = tuple(dict.fromkeys((*DATASETS, *DETECTION_DATA)))
MIN_WIDTH = 1 / 16
"""Least width of a network that ``--scale`` makes narrower."""
MIN_INPUT_PIXELS = 128
"""Side of the images of a detector that ``--scale`` makes smaller."""
IDENTITY_OPTIONS = ("data", "arch")
"""Overriding one of these makes another experiment of it: the paper has no number for that."""

State = Literal["done", "begun", "wanted"]


# ---------------------------------------------------------------- overrides


@dataclass(frozen=True)
class Overrides:
    """What is done differently from an experiment file, by the options of the command."""

    scale: float = 1.0
    options: Mapping[str, Any] = field(default_factory=dict)
    """Options of all runs; they win over the scale."""
    roots: Mapping[str, str] = field(default_factory=dict)
    """The folder of each data set; that of ``""`` is for all others."""
    only: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)
    """Points are left out whose option of that name has another value; those that leave it open are kept.

    A point that is modified by another kind of place, ``--layer`` for ``--last``, does not leave it open.
    """
    epochs: Mapping[str, float] = field(default_factory=dict)
    """Fraction of the epochs for each data set that has less than all (``--budget``)."""

    def keeps(self, options: Mapping[str, Any]) -> bool:
        """Whether a point of these options, defaults included, is wanted."""
        places = [name for name in PLACES if options.get(name) not in (None, [])]
        other_kind = any(name in PLACES for name in self.only) and not self.only.keys() & places
        if places and other_kind:
            return False
        return all(options[name] in (None, *values) for name, values in self.only.items())

    def applied(self, options: Mapping[str, Any], script: Script) -> dict[str, Any]:
        """The options of a run for which the file gives `options`.

        The scale multiplies epochs and the share of the training images. The width of the network is
        multiplied by the square root of the scale, which divides its cost alike; a detector, which has no
        width, gets smaller images in the same way.
        """
        changed = dict(options)
        if self.scale != 1:
            full, root_of_scale = resolved(script, options), math.sqrt(self.scale)
            changed["epochs"] = max(1, round(full["epochs"] * self.scale))
            if script == "train_detect":
                side = 32 * round(full["input_size"] * root_of_scale / 32)
                changed["input_size"] = min(full["input_size"], max(MIN_INPUT_PIXELS, side))
            else:
                changed["fraction"] = float(f"{full['fraction'] * self.scale:.3g}")
                if is_modifiable(full["arch"]):
                    changed["width"] = float(f"{max(full['width'] * root_of_scale, MIN_WIDTH):.3g}")
        if (fraction := self.epochs.get(str(options.get("data")), 1.0)) != 1:
            changed["epochs"] = max(1, round(resolved(script, changed)["epochs"] * fraction))
        changed |= self.options
        root = self.roots.get(str(changed.get("data")), self.roots.get(""))
        return changed if root is None else {**changed, "root": root}


def parse_options(pairs: Sequence[str], script: Script) -> dict[str, Any]:
    """``["width=0.25", "batch-size=64"]``, of ``--set``, as options with values."""
    options: dict[str, Any] = {}
    for pair, name, text in _pairs(pairs):
        if text is None or not name:
            raise InputError("--set", repr(pair), "NAME=VALUE, such as width=0.25")
        if name == "seed":
            raise InputError("--set", repr(pair), "seeds by --seeds")
        check_names([name], script, "--set")
        options[name] = parse_yaml(f"--set {pair}", text, "a value as in a YAML file")
    return options


def parse_only(pairs: Sequence[str], script: Script) -> dict[str, tuple[Any, ...]]:
    """``["last=1,4"]``, of ``--only``, as options with the values that are wanted."""
    only: dict[str, tuple[Any, ...]] = {}
    for pair, name, text in _pairs(pairs):
        if not text:
            raise InputError("--only", repr(pair), "NAME=VALUE,VALUE, such as last=1,4,7")
        check_names([name], script, "--only")
        only[name] = tuple(
            parse_yaml(f"--only {pair}", word, "values as in a YAML file") for word in text.split(",")
        )
    return only


def _pairs(pairs: Sequence[str]) -> Iterator[tuple[str, str, str | None]]:
    """Each pair as given, its option, and its value; None without ``=``."""
    for pair in pairs:
        name, equals, text = pair.partition("=")
        yield pair, name.strip().removeprefix("--").replace("-", "_"), text if equals else None


def parse_roots(words: Sequence[str]) -> dict[str, str]:
    """The folder of each data set; that of ``""`` is for those that are not named.

    Examples
    --------
    >>> parse_roots(["cifar100=data/cifar", "imagenet=data/imagenet"])
    {'cifar100': 'data/cifar', 'imagenet': 'data/imagenet'}
    >>> parse_roots(["data/cifar"])
    {'': 'data/cifar'}
    """
    roots: dict[str, str] = {}
    for word in words:
        name, equals, path = word.partition("=")
        known = equals and name in DATA_SETS
        if equals and not known and name.replace("-", "").isalnum() and not Path(word).exists():
            raise InputError("--root", repr(word), f"PATH, or DATA=PATH with one of {', '.join(DATA_SETS)}")
        roots[name if known else ""] = path if known else word
    if len(roots) < len(words):
        expected = f"one folder, or one for each of {', '.join(DATA_SETS)} as DATA=PATH"
        raise InputError("--root", " ".join(words), expected)
    return roots


# ---------------------------------------------------------------- plans


@dataclass(frozen=True)
class Run:
    """One command: a training with its scores, or a trained network scored with another shuffle."""

    name: str
    """Its folder below that of all runs; two runs of one name compute the same."""
    script: Script
    options: Mapping[str, Any] = field(compare=False)
    """Options of the training, as given; the seed is one of them."""
    test: Mapping[str, Any] | None = field(default=None, compare=False)
    trained_run: str | None = None
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
    """As declared, without --set and --scale: the key of the paper's number."""
    runs: tuple[Run, ...]


@dataclass(frozen=True)
class Plan:
    """The runs of an experiment, in an order in which they can be done."""

    experiment: Experiment
    overrides: Overrides
    seeds: tuple[int, ...]
    points: tuple[Point, ...]
    runs: tuple[Run, ...]

    @property
    def heading(self) -> str:
        """Heading of the figure or table: what the file says, and what was run instead."""
        options = self.overrides.options
        instead = [str(options[name]) for name in IDENTITY_OPTIONS if name in options]
        return self.experiment.heading + (f" — here {', '.join(instead)} instead" if instead else "")


def make_plan(experiment: Experiment, overrides: Overrides, seeds: tuple[int, ...] = ()) -> Plan:
    """The runs of an experiment, with other `seeds` than its own if these are given.

    Raises
    ------
    InputError
        An override would make different series the same; a value, network or layer that does not exist;
        ``--only`` leaves nothing.
    """
    script = experiment.script
    check_overrides(experiment, overrides)
    seeds = seeds or experiment.seeds
    points: list[Point] = []
    runs: dict[str, Run] = {}
    met: list[Mapping[str, Any]] = []
    # The paper's number is that of the declared variant, but not of other data or another network.
    identity = {name: value for name, value in overrides.options.items() if name in IDENTITY_OPTIONS}
    for series in experiment.series:
        for member in series.members():
            declared = {**experiment.common, **member}
            filled = {**defaults(script), **declared}
            if not overrides.keeps(filled):
                continue
            met.append(filled)
            options = overrides.applied(declared, script)
            check_options(experiment, series.name, options, series.test or {})
            made: list[Run] = []
            for seed in seeds:
                trained = canonical(script, {**options, "seed": seed})
                run = Run(training_name(script, trained), script, trained)
                runs.setdefault(run.name, run)
                if series.test is not None:
                    words = [f"{key if key != 'method' else ''}{value}" for key, value in series.test.items()]
                    name = f"{run.name}/tested-{'-'.join(words).replace('_', '')}"
                    run = Run(name, script, run.options, series.test, run.name)
                    runs.setdefault(run.name, run)
                made.append(run)
            points.append(Point(series.name, variant_of({**filled, **identity}, series.test), tuple(made)))
    only = overrides.only.items()
    unmet = {
        name: value for name, values in only for value in values if all(one[name] != value for one in met)
    }
    if not points or unmet:
        asked = unmet or {name: ",".join(map(str, values)) for name, values in only}
        found = " ".join(f"{name}={value}" for name, value in asked.items())
        raise InputError("--only", found, f"values that some of {experiment.name} have")
    return Plan(experiment, overrides, seeds, tuple(points), tuple(runs.values()))


def check_options(
    experiment: Experiment, series: str, options: Mapping[str, Any], test: Mapping[str, Any]
) -> None:
    """Raise InputError for a value, a network or a layer that does not exist, before any run begins."""
    where, script = f"{experiment.name}: {series}", experiment.script
    arch = options.get("arch", defaults(script)["arch"])
    try:
        check_values(script, {"root": ".", **options})  # whether the data are there is checked later
        if script == "train_classify" and not is_modifiable(arch):
            from training.tasks.classification_module import check_architecture  # torch takes seconds

            check_architecture(arch)
    except InputError as error:
        raise InputError(f"{where}: {error.where}", error.found, error.expected) from None
    tested = {**options, **test}
    if script == "train_classify" and tested.get("method", "none") != "none":
        numbers = [tested.get("last"), tested.get("layer"), *(tested.get("layers") or ())]
        largest = max((number for number in numbers if isinstance(number, int)), default=0)
        if largest and largest > (count := len(layers_of(arch))):
            raise InputError(where, f"layer {largest}", f"at most {count}, which {arch} has")


def check_overrides(experiment: Experiment, overrides: Overrides) -> None:
    """Raise InputError if --set would make different series the same; those left out do not count."""
    usual = {**defaults(experiment.script), **experiment.common}
    left = [
        series
        for series in experiment.series
        if any(overrides.keeps({**usual, **member}) for member in series.members())
    ]
    for name in overrides.options:
        differ = len({repr(series.options.get(name, usual.get(name))) for series in left}) > 1
        for series in left:
            varied = name in series.sweep or name in (series.test or {})
            if varied or (differ and name in series.options):
                found = f"{name}, in which the series of {experiment.name} differ ({series.name})"
                expected = f"an option that all runs share{suggestion(name, experiment.common)}"
                raise InputError("--set", found, expected)


def canonical(script: Script, options: Mapping[str, Any]) -> dict[str, Any]:
    """The options of the same run in one form, so that equal runs share a folder.

    The last layer alone is the last 1 of the layers, and patches as large as the map are the spatial shuffle:
    both to the last bit, as a shuffle's draws depend on the layer's number alone.
    """
    same, full = dict(options), resolved(script, options)
    own = script == "train_classify" and is_modifiable(full["arch"]) and full["data"] != "imagenet"
    number = full["layer"] if own else None
    layers = layers_of(full["arch"]) if number is not None else ()
    if number is None or not 1 <= number <= len(layers):
        return same
    layer = layers[number - 1]
    whole = METHODS[full["method"]].whole_map if full["method"] in METHODS else ""
    if whole and full["patch"] >= max(layer.height, layer.width):
        del same["patch"]
        same["method"] = whole
    if number == len(layers):
        del same["layer"]
        same["last"] = 1
    return same


def training_name(script: Script, options: Mapping[str, Any]) -> str:
    """A folder name that is the same for runs that compute the same, and only for them.

    It ends in a hash of every option that changes the result and is not the default, so that an option added
    to the script later renames nothing.

    Examples
    --------
    >>> training_name("train_classify", {"data": "shapes", "arch": "vgg16", "seed": 1, "epochs": 3})
    'shapes-vgg16-plain-e3-seed1-e3e9b338'
    """
    full, usual = resolved(script, options), defaults(script)
    hashed: dict[str, Any] = {}
    for name, value in full.items():
        if isinstance(usual[name], float) and type(value) is int:  # 1 and 1.0 are the same width
            value = float(value)
        if name not in MACHINE_OPTIONS and value != usual[name]:
            hashed[name] = value
    digest = hashlib.sha256(json.dumps([script, hashed], sort_keys=True).encode()).hexdigest()[:8]
    parts = [full["data"], full["arch"]]
    if full.get("width", 1) != 1:
        parts.append(f"w{full['width']:g}")
    parts.append(_modification(full))
    if script == "train_detect":
        parts.append(str(full["input_size"]))
    parts.append(f"e{full['epochs']}")
    if full.get("fraction", 1) != 1:
        parts.append(f"f{full['fraction']:g}")
    if full.get("max_steps") is not None:
        parts.append(f"s{full['max_steps']}")
    return "-".join([*map(str, parts), f"seed{full['seed']}", digest])


def _modification(options: Mapping[str, Any]) -> str:
    """What is taken away where, in a folder's name."""
    if "shuffle" in options:  # a detector
        shuffle = options["shuffle"]
        return "plain" if shuffle == "none" else f"{options['shuffle_method']}-{shuffle}"
    if options["method"] == "none":
        return "plain"
    words = [options["method"].replace("_", "") + str(options["patch"] or "")]
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
    """How far a run is; InputError if its folder, among those of all runs, holds one of other options."""
    path = folder / run.name
    if run.trained_run is None:
        _check_stored_options(run, path / "config.yaml")
    if (path / "scores.json").is_file():  # it is written last
        return "done"
    return "begun" if (path / "checkpoints" / "last.ckpt").is_file() else "wanted"


def _check_stored_options(run: Run, config: Path) -> None:
    """Raise InputError if the options stored in a run's folder differ from those that are given."""
    try:
        stored = yaml.safe_load(config.read_text(encoding="utf-8")) if config.is_file() else None
    except (OSError, yaml.YAMLError):
        return  # cut short: the run has not begun
    if not isinstance(stored, dict):
        return
    # The default of an option that is not given may have changed since.
    for name, value in run.options.items():
        if name not in MACHINE_OPTIONS and value is not None and stored.get(name, value) != value:
            expected = f"{value}, as {run.name} wants: move that folder away"
            raise InputError(config, f"{name}: {stored[name]}", expected)
