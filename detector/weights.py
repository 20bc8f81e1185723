"""Weights from files and from torchvision, into a network whose classifier may be another."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file as safetensors_file
from torch import Tensor, nn

__all__ = ["WeightsError", "load_into", "load_weights", "what_is_wrong"]


class WeightsError(ValueError):
    """A weights file that cannot be read or is of another network."""


def load_into(
    network: nn.Module, weights: str | Path | None, official: Any, *, landmark: str, classifier: str
) -> None:
    """Load weights by torchvision's name or from a file, without the classifier's where those do not fit.

    Parameters
    ----------
    network
        Where to.
    weights
        None or ``"none"``: nothing to load. ``"imagenet"``, an official name, or a local file.
    official
        torchvision's enumeration of this network's weights.
    landmark
        A weight that every such network has. What stands before it in a name is the prefix that a detector,
        Lightning, DistributedDataParallel or torch.compile put there.
    classifier
        What the names of the classifier's weights begin with.

    Raises
    ------
    WeightsError
        Weights that are not there, cut short, or of another network.
    """
    if weights is None or str(weights) == "none":
        return
    name = str(weights).removeprefix(f"{official.__name__}.")
    if name == "imagenet" or name in official.__members__:
        chosen = official.DEFAULT if name == "imagenet" else official[name]
        try:
            state = chosen.get_state_dict(progress=True, check_hash=True)
        except (OSError, RuntimeError) as error:
            raise WeightsError(
                f"official weights {chosen}: {error}; expected a connection to {chosen.url}, "
                "or fetch that file by hand and give its path"
            ) from error
        source = str(chosen)
    elif Path(weights).is_file():
        state, source = load_weights(weights), str(weights)
    else:
        names = ", ".join(["imagenet", "none", *official.__members__])
        raise WeightsError(f"weights: found {str(weights)!r}; expected {names}, or a file that exists")
    _load_backbone(network, state, source, landmark, classifier)


def load_weights(file: str | Path) -> dict[str, Tensor]:
    """The state dict in a file of torch.save, safetensors, or Lightning.

    Nothing in the file is executed.

    Raises
    ------
    WeightsError
        The file is missing, cut short, or holds something else.
    """
    try:
        if Path(file).suffix == ".safetensors":
            return safetensors_file(file)
        content = torch.load(file, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise WeightsError(f"{file}: found no such file; expected weights") from error
    except Exception as error:  # a damaged file can make the readers raise nearly anything
        raise WeightsError(f"{file}: {what_is_wrong(error)}") from error
    state = content.get("state_dict", content) if isinstance(content, Mapping) else None
    if (
        not isinstance(state, Mapping)
        or not state
        or not all(isinstance(value, Tensor) for value in state.values())
    ):
        raise WeightsError(f"{file}: found no state dict in it; expected a mapping of names to tensors")
    return dict(state)


def what_is_wrong(error: Exception) -> str:
    """Why a weights file could not be read; torch's own message advises to execute what is in it."""
    if foreign := re.search(r"GLOBAL ([\w.]+)", str(error)):
        return (
            f"found a Python object, {foreign[1]}, which is not loaded since that could run foreign code; "
            "expected tensors alone: save the state dict"
        )
    reason = str(error).strip().split("\n")[0][:160]
    if reason.startswith("Weights only load failed"):
        reason = "no tensors"
    return (
        f"found a file that is cut short, damaged or made by another program ({reason}); "
        "expected weights of torch.save or safetensors: fetch or save the file again"
    )


def _load_backbone(
    network: nn.Module, state: Mapping[str, Tensor], source: str, landmark: str, classifier: str
) -> None:
    """Load a state dict into a network, without its classifier where that does not fit."""
    prefixes = {name.removesuffix(landmark) for name in state if name.endswith(landmark)}
    if len(prefixes) > 1:
        raise WeightsError(
            f"{source}: found several networks, named {sorted(prefixes)}; expected one: "
            "save the state dict of the one you mean"
        )
    for prefix in prefixes:
        state = {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}
    own = network.state_dict()

    def classifies(weights: Mapping[str, Tensor]) -> dict[str, torch.Size]:
        return {name: value.shape for name, value in weights.items() if name.startswith(classifier)}

    fits = classifies(own) == classifies(state)
    given = {name: value for name, value in state.items() if fits or not name.startswith(classifier)}
    wanted = {name: value for name, value in own.items() if fits or not name.startswith(classifier)}
    for name in wanted:
        # Older files lack the number of batches that batch norm saw; torch takes it for 0.
        if name not in given and not name.endswith("num_batches_tracked"):
            raise WeightsError(
                f"{source}: found no {name}; expected the weights of this architecture, which has it"
            )
    for name, value in given.items():
        if name not in wanted:
            raise WeightsError(
                f"{source}: found {name}; expected the weights of this architecture, which lacks it"
            )
        if value.shape != wanted[name].shape:
            raise WeightsError(
                f"{source}: found {name} of shape {tuple(value.shape)}; "
                f"expected {tuple(wanted[name].shape)}, the weights of this architecture and stem"
            )
    network.load_state_dict(given, strict=fits or not classifies(own))
