"""What the options of every command share: fields with help, groups of them, and those of the machine.

A group is handed to the code that needs it and to nothing else. The command line and the YAML file are flat:
the field ``input_size`` of a group is ``--input-size`` there.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Any, Literal, Self

from data.records import InputError

__all__ = ["MachineOptions", "OptionGroups", "check_batch_size", "option", "option_of", "require"]


def option(default: Any, text: str) -> Any:
    """A field with its default and the sentence that ``--help`` shows."""
    return field(default=default, metadata={"help": text})


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


def check_batch_size(batch_size: int, images: int, world_size: int, advice: str) -> None:
    """Raise InputError for a batch that cannot be shared, or that the images do not fill.

    Parameters
    ----------
    batch_size
        Images of a step, over all devices together.
    images
        To train on.
    world_size
        Devices.
    advice
        What to do where there are fewer images than a batch has.
    """
    if batch_size % world_size:
        raise InputError(
            "--batch-size",
            str(batch_size),
            f"a multiple of the {world_size} devices that share each batch",
        )
    if images < batch_size:
        raise InputError(
            "--batch-size",
            f"{batch_size} for {images} training images",
            f"no more than there are images: {advice}",
        )


@dataclass(frozen=True)
class OptionGroups:
    """All of a run's options; every field of a subclass is one group."""

    def check(self) -> None:
        """Raise InputError for values that cannot be meant; each group knows its own."""
        for group in fields(self):
            getattr(self, group.name).check()

    def flat(self) -> dict[str, Any]:
        """Every option by the name it has in the YAML file."""
        return {
            item.name: getattr(getattr(self, group.name), item.name)
            for group in fields(self)
            for item in fields(getattr(self, group.name))
        }

    @classmethod
    def from_flat(cls, values: dict[str, Any]) -> Self:
        """The inverse of :meth:`flat`; names that are no option are passed over."""
        default = cls()
        groups = {}
        for group in fields(cls):
            kind = type(getattr(default, group.name))
            groups[group.name] = kind(
                **{item.name: values[item.name] for item in fields(kind) if item.name in values}
            )
        return cls(**groups)


@dataclass(frozen=True)
class MachineOptions:
    """What it runs on. None of these is meant to change the result by more than rounding."""

    accelerator: Literal["auto", "cpu", "gpu", "mps"] = option("auto", "Kind of device.")
    devices: str = option("1", "Number of devices, or 'auto' for all; torchrun's own number goes before it.")
    precision: Literal["32-true", "16-mixed", "bf16-mixed"] = option(
        "32-true", "Precision of the arithmetic."
    )
    compile: bool = option(False, "Whether torch.compile compiles the network.")
    channels_last: bool = option(
        True, "Whether feature maps are laid out channels last, which is mostly faster."
    )
    workers: int = option(2, "Processes that load images; 0: the training process itself does.")
    deterministic: bool = option(
        True, "Whether only deterministic GPU kernels are used where there is a choice."
    )

    def check(self) -> None:
        """Raise InputError for values that cannot be meant."""
        number = self.devices.isdigit() and int(self.devices) >= 1
        require(number or self.devices == "auto", "devices", self.devices, "a number of devices, or 'auto'")
        require(self.workers >= 0, "workers", self.workers, "0 or more")
