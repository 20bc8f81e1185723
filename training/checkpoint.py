"""Checkpoints: written with a checksum, read without executing anything in the file."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any, BinaryIO, get_type_hints

import torch
from lightning.fabric.plugins.io.torch_io import TorchCheckpointIO
from torch import nn

from data.records import InputError
from detector.foreign_backbones import BackboneError
from detector.networks import CHECKSUM_MARK, WeightsError, read_weights_file
from training.options import split_error
from training.task import Task, Trained

__all__ = [
    "CheckpointFiles", "backbone_error", "load_state", "load_trained", "read_checkpoint",
    "weights_error",
]  # fmt: skip


class _Hashed:
    """A file that computes the checksum of what is written to it."""

    def __init__(self, file: BinaryIO) -> None:
        self.file, self.sum = file, hashlib.sha256()
        self.error: OSError | None = None

    def write(self, content: bytes) -> int:
        self.sum.update(content)
        try:
            return self.file.write(content)
        except OSError as error:  # torch.save would make another error of it
            self.error = error
            raise

    def flush(self) -> None:
        """Nothing: the file is flushed when it is complete."""


class CheckpointFiles(TorchCheckpointIO):
    """Writes a checkpoint in place, without a copy in TMPDIR, with a checksum, flushed to disk."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        """Write a checkpoint; OSError names the file, which :class:`Checkpoints` removes."""
        try:
            with Path(path).open("wb") as file:
                hashed = _Hashed(file)
                try:
                    torch.save(checkpoint, hashed)  # type: ignore[arg-type]  # it calls write() alone
                except RuntimeError:
                    if hashed.error is not None:
                        raise hashed.error from None
                    raise
                file.write(CHECKSUM_MARK + hashed.sum.hexdigest().encode() + b"\n")
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise OSError(error.errno, error.strerror, str(path)) from None


def read_checkpoint(path: Path, script: str, kinds: Mapping[str, Any]) -> dict[str, Any]:
    """The content of a checkpoint of the command `script`; `kinds` are the types of its hyperparameters.

    Raises
    ------
    InputError
        The file is absent, cut short, or no checkpoint of this command.
    """
    wanted = f"a checkpoint that {script} wrote"
    if not path.is_file():
        raise InputError(path, "no such file", "a checkpoint, such as RUN/checkpoints/best.ckpt")
    try:
        content = read_weights_file(path)
    except WeightsError as error:
        _, found, expected = split_error(error)
        raise InputError(path, found, f"{expected}; here, {wanted}") from None
    if not isinstance(content, Mapping) or not {"state_dict", "hyper_parameters"} <= content.keys():
        raise InputError(path, "a file without state_dict and hyper_parameters", wanted)
    hyper_parameters = content["hyper_parameters"]
    for name, kind in kinds.items():
        if not isinstance(hyper_parameters, Mapping) or not isinstance(hyper_parameters.get(name), kind):
            raise InputError(path, f"no {name} in its hyper_parameters", wanted)
    return dict(content)


def load_trained(task: Task, checkpoint: Path, changes: Mapping[str, Any] | None = None) -> Trained:
    """The trained network of a checkpoint, with some of its model options changed.

    Raises
    ------
    InputError
        The checkpoint cannot be read, its weights are of another architecture, or a change does not fit.
    """
    content = read_checkpoint(checkpoint, task.script, task.hyper_parameter_types)
    hyper_parameters = content["hyper_parameters"]
    kind = get_type_hints(task.options)["model"]
    known = {item.name for item in fields(kind)}
    trained = {name: value for name, value in hyper_parameters["model"].items() if name in known}
    task.check_changes(trained, changes or {}, checkpoint)
    options = kind(**{**trained, "weights": "none", **(changes or {})})
    options.check()
    network = task.build(options, hyper_parameters)
    load_state(network, content["state_dict"], checkpoint, task.other_weights)
    epoch = {"epoch": int(content["epoch"]) + 1} if "epoch" in content else {}
    return Trained(network.eval(), {**hyper_parameters, **epoch}, options)


def load_state(network: nn.Module, state: Mapping[str, Any], source: Path, other: str) -> None:
    """Load the ``model.`` part of the state dict of a checkpoint, which is the file `source`, strictly.

    Raises
    ------
    InputError
        Names the first weight that is missing, superfluous or of another shape; `other` is what the file is.
    """
    own = network.state_dict()
    given = {name.removeprefix("model."): value for name, value in state.items()}
    differing = [name for name in own if name not in given or given[name].shape != own[name].shape]
    differing += [name for name in given if name not in own]
    if differing:
        name = differing[0]
        found = f"{name} of shape {tuple(given[name].shape)}" if name in given else f"no {name}"
        wanted = f"shape {tuple(own[name].shape)}" if name in own else "no such weight"
        raise InputError(source, found, f"{wanted}: {other}")
    network.load_state_dict(given, strict=True)


def weights_error(error: WeightsError, arch: str) -> InputError:
    """What is wrong with ``--weights`` for an architecture.

    Examples
    --------
    >>> print(weights_error(WeightsError("w.pth: found no fc.bias; expected one"), "vgg16"))
    --weights w.pth of vgg16: found no fc.bias; expected one
    """
    where, found, expected = split_error(error)
    source = "--weights" if where in ("", "weights") else f"--weights {where}"
    return InputError(f"{source} of {arch}", found, expected)


def backbone_error(option: str, error: BackboneError) -> InputError:
    """What is wrong with a network that an option names.

    Examples
    --------
    >>> print(backbone_error("--backbone", BackboneError("found no 'f' in my; expected a function")))
    --backbone: found no 'f' in my; expected a function
    """
    return InputError(option, *split_error(error)[1:])
