"""Observe and change the inputs of a network's modules by hooks, without touching their code."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.jit import ScriptModule
from torch.nn.parameter import is_lazy

from detector.shuffle import Shuffle

__all__ = [
    "Example",
    "InputShapes",
    "average_input",
    "input_shapes",
    "own_image_size",
    "shuffle_input",
    "trunk",
    "unaverage_input",
    "unshuffle_input",
]

InputShapes = dict[nn.Module, tuple[int, ...]]
"""The shape of what enters each module that is run, in the order in which they are run."""
Example = Tensor | int | tuple[int, int]
"""An input to run a network with: a batch of images, or the height and width (or the side) of an image."""

_DEFAULT_IMAGE_SIZE_PIXELS = 224  # what nearly all of torchvision's networks are made for


def trunk(network: nn.Module) -> nn.Module:
    """The network, or of a detector (or anything else that has one) its `backbone`."""
    inner = getattr(network, "backbone", None)
    return inner if isinstance(inner, nn.Module) else network


def own_image_size(network: nn.Module) -> Any:
    """The `image_size` attribute of a network or of its backbone, in pixels; None where there is none."""
    return getattr(network, "image_size", None) or getattr(trunk(network), "image_size", None)


# ---------------------------------------------------------------- observing


def input_shapes(network: nn.Module, example: Example | None = None) -> InputShapes:
    """The input shape of each module in one forward pass in evaluation mode, in execution order.

    The pass runs on the meta device, where nothing is computed, or else on the network's own device. Changes
    that it makes to the modules' attributes are reverted. Of a detector that cannot be run at all, the
    backbone alone is run. Shuffles draw nothing. ValueError where the network cannot be run with the
    `example` (see :func:`detector.list_layers`), or its layers have no sizes yet.
    """
    if any(is_lazy(parameter) for parameter in network.parameters()):
        raise ValueError(
            f"network: found {type(network).__name__} with lazy layers; expected one that has been run once, "
            "so that they have their weights"
        )
    network = getattr(network, "_orig_mod", network)  # a compiled network takes no hooks
    images = _example_images(network, example)
    problem: Exception | None = None
    for part in dict.fromkeys([network, trunk(network)]):
        for run in (_run_on_meta, _run):
            shapes: InputShapes = {}
            try:
                with _watched(part, shapes), torch.no_grad():
                    run(part, images)
            except Exception as error:  # a user's network can raise anything
                problem = problem or error
            else:
                return shapes
    reason = str(problem).strip().split("\n")[0]
    raise ValueError(
        f"network: found {type(network).__name__}, which cannot be run with an input of "
        f"{'x'.join(map(str, images.shape))} ({reason}); expected example=, an input that it takes"
    ) from problem


def _example_images(network: nn.Module, example: Example | None) -> Tensor:
    if isinstance(example, Tensor):
        return example
    size: Any = (own_image_size(network) or _DEFAULT_IMAGE_SIZE_PIXELS) if example is None else example
    sides = (size, size) if isinstance(size, int) else size
    if not isinstance(sides, tuple | list) or [type(side) for side in sides] != [int, int] or min(sides) < 1:
        text = repr(example)
        raise ValueError(
            f"example: found {text if len(text) <= 40 else f'a {type(example).__name__}'}; expected images "
            "(N, C, H, W), or the height and width of one, or its side, in pixels"
        )
    channels = next((module.in_channels for module in network.modules() if isinstance(module, nn.Conv2d)), 3)
    weight = next((value for value in network.parameters() if value.is_floating_point()), torch.empty(0))
    return torch.zeros(1, channels, *sides, dtype=weight.dtype, device="meta")


def _run_on_meta(network: nn.Module, images: Tensor) -> None:
    state = {**dict(network.named_parameters()), **dict(network.named_buffers())}
    shapes = {name: torch.empty_like(value, device="meta") for name, value in state.items()}
    functional_call(network, shapes, (images.to("meta"),))


def _run(network: nn.Module, images: Tensor) -> None:
    device = next((value.device for value in network.parameters()), torch.device("cpu"))
    network(torch.zeros_like(images, device=device) if images.is_meta else images.to(device))


@contextmanager
def _watched(network: nn.Module, shapes: InputShapes) -> Iterator[None]:
    """Record each module's input shape, in evaluation mode and without draws; restore everything after."""

    def note(module: nn.Module, inputs: tuple[Any, ...], named: dict[str, Any]) -> None:
        for value in (*inputs, *named.values()):
            if isinstance(value, Tensor):
                shapes.setdefault(module, tuple(value.shape))
                return

    # TorchScript modules take no hooks and have no ordinary attributes: they run, and are not recorded.
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
        # Also state from the pass: torchvision's detectors cache anchors for the device.
        for value, was in before:
            value.clear()
            (value.update if isinstance(value, dict) else value.extend)(was)


# ---------------------------------------------------------------- changing

# The hooks are functions of this module, so that a network with hooks can be copied and pickled.


def shuffle_input(module: nn.Module, shuffle: nn.Module) -> None:
    """Let `module` see its first input shuffled; the shuffle becomes its child `input_shuffle`."""
    module.add_module("input_shuffle", shuffle.train(module.training))
    module.register_forward_pre_hook(_shuffle_hook, with_kwargs=True)


def unshuffle_input(module: nn.Module) -> None:
    """The inverse of :func:`shuffle_input`."""
    del module.input_shuffle
    _remove_hook(module, _shuffle_hook)


def average_input(module: nn.Module) -> None:
    """Let `module` see its first input averaged to one position, by its child `input_average`."""
    module.add_module("input_average", nn.AdaptiveAvgPool2d(1))
    module.register_forward_pre_hook(_average_hook, with_kwargs=True)


def unaverage_input(module: nn.Module) -> None:
    """The inverse of :func:`average_input`."""
    del module.input_average
    _remove_hook(module, _average_hook)


def _remove_hook(module: nn.Module, hook: Callable[..., Any]) -> None:
    for number in [key for key, found in module._forward_pre_hooks.items() if found is hook]:
        del module._forward_pre_hooks[number], module._forward_pre_hooks_with_kwargs[number]


Inputs = tuple[tuple[Any, ...], dict[str, Any]]


def _shuffle_hook(module: nn.Module, inputs: tuple[Any, ...], named: dict[str, Any]) -> Inputs:
    return _with_first_changed(module.input_shuffle, inputs, named)  # type: ignore[arg-type]


def _average_hook(module: nn.Module, inputs: tuple[Any, ...], named: dict[str, Any]) -> Inputs:
    return _with_first_changed(module.input_average, inputs, named)  # type: ignore[arg-type]


def _with_first_changed(change: nn.Module, inputs: tuple[Any, ...], named: dict[str, Any]) -> Inputs:
    if inputs:
        return (change(inputs[0]), *inputs[1:]), named
    name = next(name for name, value in named.items() if isinstance(value, Tensor))
    return inputs, {**named, name: change(named[name])}
