"""What is done otherwise than an experiment file says: smaller, elsewhere, with other options."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from data.records import InputError
from training.experiments.options import Script, check_names, resolved
from training.experiments.variant import OWN
from training.tasks.classification import PLACES

__all__ = ["Changes", "parse_only", "parse_overrides", "parse_roots"]

NARROWEST = 1 / 16
SMALLEST_INPUT = 128
DATA = ("cifar100", "small-imagenet", "imagenet", "voc", "shapes")


def parse_overrides(pairs: Sequence[str], script: Script) -> dict[str, Any]:
    """``["width=0.25", "batch-size=64"]`` as options with values.

    Raises
    ------
    InputError
        No ``=``, an unknown option, a value that is no YAML; ``seed``, which has an option of its own.
    """
    overrides: dict[str, Any] = {}
    for pair in pairs:
        name, equals, text = pair.partition("=")
        name = name.strip().removeprefix("--").replace("-", "_")
        if not equals or not name:
            raise InputError("--set", repr(pair), "NAME=VALUE, such as width=0.25")
        if name == "seed":
            raise InputError("--set", repr(pair), "seeds by --seeds")
        check_names([name], script, "--set")
        try:
            overrides[name] = yaml.safe_load(text)
        except yaml.YAMLError:
            raise InputError("--set", repr(pair), "a value as in a YAML file") from None
    return overrides


def parse_only(pairs: Sequence[str], script: Script) -> dict[str, tuple[Any, ...]]:
    """``["last=1,4"]`` as options with the values that are wanted.

    Raises
    ------
    InputError
        As of :func:`parse_overrides`.
    """
    only: dict[str, tuple[Any, ...]] = {}
    for pair in pairs:
        name, equals, text = pair.partition("=")
        name = name.strip().removeprefix("--").replace("-", "_")
        if not equals or not text:
            raise InputError("--only", repr(pair), "NAME=VALUE,VALUE, such as last=1,4,7")
        check_names([name], script, "--only")
        only[name] = tuple(yaml.safe_load(word) for word in text.split(","))
    return only


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
        known = equals and name in DATA
        if equals and not known and name.replace("-", "").isalnum() and not Path(word).exists():
            raise InputError("--root", repr(word), f"PATH, or DATA=PATH with one of {', '.join(DATA)}")
        roots[name if known else ""] = path if known else word
    if len(roots) < len(words):
        raise InputError(
            "--root", " ".join(words), f"one folder, or one for each of {', '.join(DATA)} as DATA=PATH"
        )
    return roots


@dataclass(frozen=True)
class Changes:
    """What is done otherwise than an experiment file says: --scale, --set and --root."""

    scale: float = 1.0
    overrides: Mapping[str, Any] = field(default_factory=dict)
    """Options of all runs; they win over the scale."""
    roots: Mapping[str, str] = field(default_factory=dict)
    """The folder of each data set; that of ``""`` is for all others."""
    only: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)
    """Points are left out whose option of that name has another value; those that leave it open are kept.

    A point that is modified by a place of another kind, as --layer is than --last, does not leave it open.
    """

    def keeps(self, options: Mapping[str, Any]) -> bool:
        """Whether a point of these options, defaults included, is wanted.

        Examples
        --------
        >>> some = Changes(only={"last": (4, 7)})
        >>> [some.keeps({"last": last}) for last in (None, 4, 5)]
        [True, True, False]
        >>> some.keeps({"last": None, "layer": 4})
        False
        """
        places = [name for name in PLACES if options.get(name) not in (None, [])]
        elsewhere = any(name in PLACES for name in self.only) and not self.only.keys() & places
        if places and elsewhere:
            return False
        return all(options[name] in (None, *values) for name, values in self.only.items())

    def applied(self, options: Mapping[str, Any], script: Script) -> dict[str, Any]:
        """The options of a run that the file gives `options`.

        Examples
        --------
        >>> wanted = {"data": "cifar100", "arch": "vgg16", "epochs": 300}
        >>> Changes(0.1).applied(wanted, "train_classify")["epochs"]
        30
        """
        changed = dict(options)
        if self.scale != 1:
            changed |= scaled(options, script, self.scale)
        changed |= self.overrides
        root = self.roots.get(str(changed.get("data")), self.roots.get(""))
        if root is not None:
            changed["root"] = root
        return changed


def scaled(options: Mapping[str, Any], script: Script, scale: float) -> dict[str, Any]:
    """What ``--scale`` makes of a run's size.

    Epochs and the share of the training images are multiplied with it, and the network is made as much
    narrower as divides its cost alike: its width is multiplied with the square root. A detector, which has no
    width, gets smaller images in the same way.
    """
    of = resolved(script, options).__getitem__
    smaller: dict[str, Any] = {"epochs": max(1, round(of("epochs") * scale))}
    if script == "train_classify":
        smaller["fraction"] = float(f"{of('fraction') * scale:.3g}")
        if of("arch") in OWN:
            smaller["width"] = float(f"{max(of('width') * math.sqrt(scale), NARROWEST):.3g}")
    else:
        side = 32 * round(of("input_size") * math.sqrt(scale) / 32)
        smaller["input_size"] = max(SMALLEST_INPUT, side)
    return smaller
