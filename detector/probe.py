"""One pass through a network that computes nothing: in what order its modules run, and what enters them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.jit import ScriptModule
from torch.nn.parameter import is_lazy

from detector.shuffle import Shuffle

__all__ = ["Example", "Seen", "inputs_seen", "trunk"]

Seen = dict[nn.Module, tuple[int, ...]]
"""The shape of what enters each module that is run, in the order in which they are run."""
Example = Tensor | int | tuple[int, int]
"""An input to run a network with: a batch of images, or the height and width (or the side) of an image."""

_DEFAULT_SIDE = 224  # pixels, what nearly all of torchvision's networks are made for


def trunk(network: nn.Module) -> nn.Module:
    """The network, or of a detector (or anything else that has one) its `backbone`."""
    inner = getattr(network, "backbone", None)
    return inner if isinstance(inner, nn.Module) else network


def inputs_seen(network: nn.Module, example: Example | None = None) -> Seen:
    """The shape of what enters each module in one pass in evaluation mode, in the order of their running.

    The pass is on the meta device, where nothing is computed; a network that cannot be run there is run where
    it is. What it leaves behind in the modules' attributes is taken back. A detector that cannot be run at
    all is run as far as its backbone. Shuffles draw nothing.

    Parameters
    ----------
    network
        Any network that takes images.
    example
        As of :func:`detector.list_layers`.

    Raises
    ------
    ValueError
        The network cannot be run with that input, or its layers have no sizes yet.
    """
    if any(is_lazy(parameter) for parameter in network.parameters()):
        raise ValueError(
            f"network: found {type(network).__name__} with lazy layers; expected one that has been run once, "
            "so that they have their weights"
        )
    network = getattr(network, "_orig_mod", network)  # what torch.compile has made of it takes no hooks
    images = _images(network, example)
    problem: Exception | None = None
    for part in dict.fromkeys([network, trunk(network)]):
        for run in (_run_on_meta, _run):
            seen: Seen = {}
            try:
                with _watched(part, seen), torch.no_grad():
                    run(part, images)
            except Exception as error:  # whatever a network of somebody's may raise
                problem = problem or error
            else:
                return seen
    reason = str(problem).strip().split("\n")[0]
    raise ValueError(
        f"network: found {type(network).__name__}, which cannot be run with an input of "
        f"{'x'.join(map(str, images.shape))} ({reason}); expected example=, an input that it takes"
    ) from problem


def own_size(network: nn.Module) -> Any:
    """The `image_size` that a network, or what it wraps, says that it is made for, in pixels; else None."""
    return getattr(network, "image_size", None) or getattr(trunk(network), "image_size", None)


def _images(network: nn.Module, example: Example | None) -> Tensor:
    if isinstance(example, Tensor):
        return example
    size: Any = (own_size(network) or _DEFAULT_SIDE) if example is None else example
    sides = (size, size) if isinstance(size, int) else size
    if not isinstance(sides, tuple | list) or [type(side) for side in sides] != [int, int] or min(sides) < 1:
        raise ValueError(
            f"example: found {_in_short(example)}; expected images (N, C, H, W), or the height and width of "
            "one, or its side, in pixels"
        )
    height, width = sides
    channels = next((module.in_channels for module in network.modules() if isinstance(module, nn.Conv2d)), 3)
    weight = next((value for value in network.parameters() if value.is_floating_point()), torch.empty(0))
    return torch.zeros(1, channels, height, width, dtype=weight.dtype, device="meta")


def _in_short(value: object) -> str:
    """As it is written, or just its class where it holds tensors."""
    text = repr(value)
    return text if len(text) <= 40 else f"a {type(value).__name__}"


def _run_on_meta(network: nn.Module, images: Tensor) -> None:
    state = {**dict(network.named_parameters()), **dict(network.named_buffers())}
    shapes = {name: torch.empty_like(value, device="meta") for name, value in state.items()}
    functional_call(network, shapes, (images.to("meta"),))


def _run(network: nn.Module, images: Tensor) -> None:
    device = next((value.device for value in network.parameters()), torch.device("cpu"))
    network(torch.zeros_like(images, device=device) if images.is_meta else images.to(device))


@contextmanager
def _watched(network: nn.Module, seen: Seen) -> Iterator[None]:
    """Note what enters each module, in evaluation mode and without draws; then leave all as it was."""

    def note(module: nn.Module, inputs: tuple[Any, ...], named: dict[str, Any]) -> None:
        for value in (*inputs, *named.values()):
            if isinstance(value, Tensor):
                seen.setdefault(module, tuple(value.shape))
                return

    # TorchScript takes no hooks and has its attributes elsewhere: it runs along, and nothing in it is seen.
    scripted = [module for module in network.modules() if isinstance(module, ScriptModule)]
    modules = [module for module in network.modules() if not isinstance(module, ScriptModule)]
    modes = {module: module.training for module in scripted if hasattr(module, "training")}
    contents = [value for module in modules for value in (vars(module), *vars(module).values())]
    before = [(value, value.copy()) for value in contents if isinstance(value, dict | list)]
    try:
        for module in (*modules, *modes):
            module.training = False
        for module in modules:
            module.register_forward_pre_hook(note, with_kwargs=True)
            if isinstance(module, Shuffle):
                module.in_evaluation = False
        yield
    finally:
        for module, mode in modes.items():
            module.training = mode
        # Also what a pass leaves behind: torchvision's detectors keep anchors for the device that they saw.
        for value, was in before:
            value.clear()
            (value.update if isinstance(value, dict) else value.extend)(was)
