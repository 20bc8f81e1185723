"""What the options of every command share: typed fields with help and a rule; the machine's options.

A group is passed to the code that needs it and to nothing else. The command line and the YAML file are flat:
the field ``input_size`` of a group is ``--input-size`` there.
"""

from __future__ import annotations

import math
import types
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, fields
from typing import Any, Literal, Self, Union, get_args, get_origin, get_type_hints

from data.formats.files import parse_yaml
from data.records import InputError
from detector.registry import METHODS

__all__ = [
    "MachineOptions", "OptionGroup", "OptionGroups", "Rule", "ScoringOptions", "StepOptions",
    "check_batch_size", "check_patch", "convert", "in_words", "option", "option_of", "patch_methods",
    "require", "some_of", "split_error",
]  # fmt: skip


@dataclass(frozen=True)
class Rule:
    """Which values of an option are valid."""

    expected: str
    """In words, for an error message."""
    holds: Callable[[Any], bool]


AT_LEAST_1 = Rule("at least 1", lambda value: value >= 1)
NOT_NEGATIVE = Rule("0 or more", lambda value: value >= 0)
FINITE = Rule("a finite number, 0 or more", lambda value: math.isfinite(value) and value >= 0)
POSITIVE = Rule("a positive number", lambda value: math.isfinite(value) and value > 0)
BELOW_1 = Rule("a number of at least 0 and below 1", lambda value: 0 <= value < 1)
HELD_OUT = Rule("a share of at least 0 and below 1", lambda value: 0 <= value < 1)
PROBABILITY = Rule("a number from 0 to 1", lambda value: 0 <= value <= 1)
SEED = Rule("a whole number from 0 to 4294967295", lambda value: 0 <= value < 2**32)


def option(
    default: Any,
    text: str,
    rule: Rule | None = None,
    names: Callable[[], Iterable[str]] | None = None,
    otherwise: str = "",
) -> Any:
    """A field of a group.

    Parameters
    ----------
    default
        Its value where none is given; a list is copied, a function called.
    text
        The sentence that ``--help`` shows.
    rule
        What values other than None obey.
    names
        The values that there are, from a table that is read when the options are parsed.
    otherwise
        What an error says besides about another value.
    """
    metadata = {"help": text, "rule": rule, "names": names, "otherwise": otherwise}
    make = default.copy if isinstance(default, list) else default
    if callable(make):
        return field(default_factory=make, metadata=metadata)
    return field(default=default, metadata=metadata)


def some_of(names: Iterable[str]) -> Rule:
    """The rule of a list of names."""
    known = list(names)
    return Rule(f"some of {', '.join(known)}", lambda chosen: set(chosen) <= set(known))


LOGGER_LABELS = {"wandb": "Weights & Biases", "mlflow": "MLflow"}


def option_of(name: str) -> str:
    """The option of a field or of a key of the YAML file.

    Examples
    --------
    >>> option_of("input_size")
    '--input-size'
    """
    return f"--{name.replace('_', '-')}"


def require(condition: bool, name: str, found: object, expected: str) -> None:
    """Raise InputError about the option of field `name` unless the condition holds."""
    if not condition:
        raise InputError(option_of(name), "nothing" if found is None else repr(found), expected)


def split_error(error: Exception) -> tuple[str, str, str]:
    """Where, what was found and what was expected, of an error with the words of an InputError.

    Examples
    --------
    >>> split_error(ValueError("w.pth: found no fc.bias; expected one"))
    ('w.pth', 'no fc.bias', 'one')
    >>> split_error(ValueError("found 3; expected 4"))
    ('', '3', '4')
    """
    text, _, expected = str(error).partition("; expected ")
    where, cut, found = text.partition(": found ")
    if text.startswith("found ") or not cut:
        where, found = "", text.partition("found ")[2] or text
    return where, found, expected


def check_batch_size(options: Any, images: int, world_size: int, advice: str) -> None:
    """Raise InputError for a batch that `world_size` devices cannot share, or that the images do not fill."""
    batch_size, parts = options.batch_size, options.accumulate
    if batch_size % world_size:
        expected = f"a multiple of the {world_size} devices that share each batch"
        raise InputError("--batch-size", str(batch_size), expected)
    if batch_size % (world_size * parts):
        expected = f"a number that divides the {batch_size // world_size} images of a device's batch"
        raise InputError("--accumulate", str(parts), expected)
    if images < batch_size:
        expected = f"no more than there are images: {advice}"
        raise InputError("--batch-size", f"{batch_size} for {images} training images", expected)


def check_validated(options: StepOptions, validated: bool) -> None:
    """Raise InputError for options about validations of a run that has none."""
    for name in ("patience", "keep_best"):
        value = getattr(options, name)
        expected = "images to validate on, by --validation, for it does nothing without"
        require(validated or value == getattr(StepOptions, name), name, value, expected)


# Methods


def patch_methods() -> str:
    """The methods that need a patch size, in words."""
    return " or ".join(name for name, row in METHODS.items() if row.needs_patch)


def needs_patch(method: str) -> bool:
    """Whether a method, or ``"none"``, needs a patch size."""
    return method in METHODS and METHODS[method].needs_patch


def check_patch(name: str, method: str, patch: int | None) -> None:
    """Raise InputError unless there is a patch size exactly where the method of option `name` needs one."""
    expected = f"a size with {option_of(name)} {patch_methods()}, and only then"
    require((patch is not None) == needs_patch(method), "patch", patch, expected)


# Types


def in_words(kind: Any) -> str:
    """What values a type has, for an error message.

    Examples
    --------
    >>> in_words(int | None), in_words(Literal["adamw", "sgd"])
    ('a whole number or null', 'one of adamw, sgd')
    """
    if get_origin(kind) is Literal:
        return f"one of {', '.join(get_args(kind))}"
    if get_origin(kind) is list:
        return "a list of words" if get_args(kind) == (str,) else "a list of whole numbers"
    if get_origin(kind) in (types.UnionType, Union):
        return " or ".join(in_words(part) for part in get_args(kind))
    words = {int: "a whole number", float: "a number", bool: "true or false", str: "a word"}
    return words.get(kind, "null")


def convert(value: object, kind: Any) -> Any:
    """A word of the command line, or a value of a YAML file, as the type of an option.

    Raises
    ------
    ValueError
        It is of another type.

    Examples
    --------
    >>> convert("3", int | None), convert("1e-3", float), convert(2, str), convert(["1", 2], list[int])
    (3, 0.001, '2', [1, 2])
    """
    parts = get_args(kind) if get_origin(kind) in (types.UnionType, Union) else (kind,)
    if str in parts:
        if isinstance(value, list | dict):
            raise ValueError(value)
        return None if value is None else str(value)
    if get_origin(kind) is list:
        if not isinstance(value, list):
            raise ValueError(value)
        return [convert(item, get_args(kind)[0]) for item in value]
    if get_origin(kind) is Literal:
        if value not in get_args(kind):
            raise ValueError(value)
        return value
    if isinstance(value, str):
        try:
            value = parse_yaml("", value, "")
        except InputError as error:
            raise ValueError(value) from error
        if isinstance(value, str) and float in parts:  # YAML 1.1 reads 1e-3 as a word
            return float(value)
    if value is None and types.NoneType in parts:
        return value
    if isinstance(value, bool) == (bool in parts) and isinstance(value, int | float):
        if float in parts:
            return float(value)
        if isinstance(value, int):
            return value
    raise ValueError(value)


# Groups


class OptionGroup:
    """Base of a group: a dataclass whose fields are made by :func:`option`."""

    def check(self) -> None:
        """Raise InputError for invalid values."""
        for item in fields(self):  # type: ignore[arg-type]  # subclasses are dataclasses
            rule, value = item.metadata.get("rule"), getattr(self, item.name)
            if rule is not None and value is not None:
                require(rule.holds(value), item.name, value, rule.expected)


@dataclass(frozen=True)
class OptionGroups:
    """All of a command's options; every field of a subclass is one group."""

    def check(self) -> None:
        """Raise InputError for invalid values."""
        for group in fields(self):
            getattr(self, group.name).check()

    def resolved(self) -> Self:
        """The same, with values for the options whose defaults depend on others."""
        return self

    def flat(self) -> dict[str, Any]:
        """Every option by the name it has in the YAML file."""
        groups = [getattr(self, group.name) for group in fields(self)]
        return {item.name: getattr(group, item.name) for group in groups for item in fields(group)}

    @classmethod
    def from_flat(cls, values: dict[str, Any]) -> Self:
        """The inverse of :meth:`flat`; unknown names are ignored."""
        groups = {
            name: kind(**{item.name: values[item.name] for item in fields(kind) if item.name in values})
            for name, kind in get_type_hints(cls).items()
        }
        return cls(**groups)

    @classmethod
    def kinds(cls) -> dict[str, Any]:
        """The type of every option, by name; where a table has the values, those."""
        found: dict[str, Any] = {}
        literal: Any = Literal
        for group in get_type_hints(cls).values():
            hints = get_type_hints(group)
            for item in fields(group):
                names = item.metadata.get("names")
                found[item.name] = literal[tuple(names())] if names else hints[item.name]
        return found


@dataclass(frozen=True)
class StepOptions(OptionGroup):
    """How the weights are updated, in every task."""

    accumulate: int = option(
        1,
        "Parts of a batch that go through the network one after the other, where memory is short.",
        AT_LEAST_1,
    )
    ema: float = option(
        0.0,
        "Decay of an exponential moving average of the weights, such as 0.999: it is validated, scored and "
        "stored in the checkpoints instead of the last weights. 0: none.",
        BELOW_1,
    )
    patience: int = option(
        0,
        "Validations without a better score after which the training stops; 0: it goes on to the last epoch.",
        NOT_NEGATIVE,
    )
    keep_best: int = option(
        1,
        "How many of the best checkpoints are kept: best.ckpt and, above 1, all by their steps.",
        AT_LEAST_1,
    )
    epochs: int | None = option(None, "Passes over the training images.", AT_LEAST_1)
    max_steps: int | None = option(
        None,
        "Stop the training after this many steps of the run; the test images are scored all the same, and "
        "--resume goes on. The learning rate ignores it.",
        AT_LEAST_1,
    )
    checkpoint_every: int = option(
        0,
        "Steps from one checkpoint to the next within an epoch; 0: one at the end of each epoch.",
        NOT_NEGATIVE,
    )
    batch_size: int | None = option(None, "Images of one step, over all devices together.", AT_LEAST_1)


@dataclass(frozen=True)
class ScoringOptions(OptionGroup):
    """When it is validated and scored, and where it is logged, in every task."""

    score: bool = option(True, "Whether the test images are scored at the end of the training.")
    validate_every: int = option(1, "Epochs from one validation to the next.", AT_LEAST_1)
    logger: list[str] = option(
        [],
        "Where the run is logged besides CSV and TensorBoard: "
        f"{', '.join(f'{name} ({label})' for name, label in LOGGER_LABELS.items())}.",
        some_of(LOGGER_LABELS),
    )


@dataclass(frozen=True)
class MachineOptions(OptionGroup):
    """What it runs on. None of these changes the result by more than rounding."""

    accelerator: Literal["auto", "cpu", "gpu", "mps"] = option("auto", "Kind of device.")
    devices: str = option(
        "1",
        "Number of devices, or 'auto' for all; torchrun's own number goes before it.",
        Rule(
            "a number of devices, or 'auto'",
            lambda text: text == "auto" or (text.isdigit() and int(text) >= 1),
        ),
    )
    precision: Literal["auto", "32-true", "16-mixed", "bf16-mixed"] = option(
        "auto",
        "Precision of the arithmetic. 'auto': bf16-mixed where the processor or GPU has it, else 32-true; "
        "config.yaml says what was chosen.",
    )
    compile: bool | None = option(
        None, "Whether torch.compile compiles network and loss. null: for runs longer than it costs."
    )
    channels_last: bool = option(
        True, "Whether feature maps are laid out channels last, which is mostly faster."
    )
    workers: int = option(2, "Processes that load images; 0: the training process itself does.", NOT_NEGATIVE)
    deterministic: bool = option(
        True, "Whether only deterministic GPU kernels are used where there is a choice."
    )
