"""Reading what a training run wrote, without executing anything in the file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from data.records import InputError
from detector.networks import WeightsError, describe_read_error

__all__ = ["CheckpointForm", "load_state", "weights_error"]


@dataclass(frozen=True)
class CheckpointForm:
    """What the checkpoints of a command hold.

    Parameters
    ----------
    script
        The command that writes them.
    hyper_parameters
        What it stores beside the weights: names and types.
    """

    script: str
    hyper_parameters: Mapping[str, type]

    def read(self, path: Path) -> dict[str, Any]:
        """The content of a checkpoint.

        Raises
        ------
        InputError
            The file is absent, cut short, or no checkpoint of this command.
        """
        mine = f"a checkpoint that {self.script} wrote"
        if not path.is_file():
            raise InputError(path, "no such file", "a checkpoint, such as RUN/checkpoints/best.ckpt")
        try:
            content = torch.load(path, map_location="cpu", weights_only=True)
        except Exception as error:  # torch.load raises half a dozen types for damaged files
            found, _, expected = describe_read_error(error).removeprefix("found ").partition("; expected ")
            raise InputError(path, found, f"{expected}; here, {mine}") from None
        wanted = ("state_dict", "hyper_parameters")
        if not isinstance(content, Mapping) or any(name not in content for name in wanted):
            raise InputError(path, "a file without state_dict and hyper_parameters", mine)
        hyper = content["hyper_parameters"]
        for name, kind in self.hyper_parameters.items():
            if not isinstance(hyper, Mapping) or not isinstance(hyper.get(name), kind):
                raise InputError(path, f"no {name} in its hyper_parameters", mine)
        return dict(content)


def load_state(model: nn.Module, state: Mapping[str, Any], source: Path, another: str) -> None:
    """Load the ``model.`` part of a checkpoint's state dict, strictly.

    Parameters
    ----------
    model
        Where to.
    state
        The state dict of the checkpoint.
    source
        Its file.
    another
        What is wrong where the weights do not fit, for the message: what the checkpoint is another of.

    Raises
    ------
    InputError
        Names the first weight that is missing, superfluous or of another shape.
    """
    own = model.state_dict()
    given = {name.removeprefix("model."): value for name, value in state.items()}
    differing = [name for name in own if name not in given or given[name].shape != own[name].shape]
    differing += [name for name in given if name not in own]
    if differing:
        name = differing[0]
        found = f"{name} of shape {tuple(given[name].shape)}" if name in given else f"no {name}"
        wanted = f"shape {tuple(own[name].shape)}" if name in own else "no such weight"
        raise InputError(source, found, f"{wanted}: {another}")
    model.load_state_dict(given, strict=True)


def weights_error(error: WeightsError, arch: str) -> InputError:
    """What is wrong with ``--weights`` for an architecture, said once.

    Examples
    --------
    >>> print(weights_error(WeightsError("w.pth: found no fc.bias; expected one"), "vgg16"))
    --weights w.pth of vgg16: found no fc.bias; expected one
    """
    found, _, expected = str(error).partition("; expected ")
    where, _, what = found.partition(": found ")
    source = f"--weights {where}" if what and where != "weights" else "--weights"
    return InputError(f"{source} of {arch}", what or found, expected)
