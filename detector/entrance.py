"""Changes what enters a module, without touching its code: a module put before it by a forward pre-hook."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

__all__ = ["put_average_before", "put_shuffle_before", "remove_shuffle_before"]

Inputs = tuple[tuple[Any, ...], dict[str, Any]]


def put_shuffle_before(module: nn.Module, shuffle: nn.Module) -> None:
    """Let `module` see its first input shuffled; the shuffle becomes its child `input_shuffle`."""
    module.add_module("input_shuffle", shuffle.train(module.training))
    module.register_forward_pre_hook(_shuffle_input, with_kwargs=True)


def remove_shuffle_before(module: nn.Module) -> None:
    """The inverse of :func:`put_shuffle_before`."""
    del module.input_shuffle
    for number in [key for key, hook in module._forward_pre_hooks.items() if hook is _shuffle_input]:
        del module._forward_pre_hooks[number], module._forward_pre_hooks_with_kwargs[number]


def put_average_before(module: nn.Module) -> None:
    """Let `module` see its first input averaged to one position, by its child `input_average`."""
    module.add_module("input_average", nn.AdaptiveAvgPool2d(1))
    module.register_forward_pre_hook(_average_input, with_kwargs=True)


# Functions of a module's own, so that a network with hooks can be copied and pickled.


def _shuffle_input(module: nn.Module, inputs: tuple[Any, ...], named: dict[str, Any]) -> Inputs:
    return _with_first_changed(module.input_shuffle, inputs, named)  # type: ignore[arg-type]


def _average_input(module: nn.Module, inputs: tuple[Any, ...], named: dict[str, Any]) -> Inputs:
    return _with_first_changed(module.input_average, inputs, named)  # type: ignore[arg-type]


def _with_first_changed(change: nn.Module, inputs: tuple[Any, ...], named: dict[str, Any]) -> Inputs:
    if inputs:
        return (change(inputs[0]), *inputs[1:]), named
    name = next(name for name, value in named.items() if isinstance(value, Tensor))
    return inputs, {**named, name: change(named[name])}
