"""Change the inputs of a network's modules, and its shortcuts, by hooks, without touching their code."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from detector.graph import Shortcut
from detector.shuffle import ChannelsLastShuffle, Shuffle, as_leaf

__all__ = [
    "ShortcutShuffle",
    "average_input",
    "restore_shuffles",
    "shuffle_children",
    "shuffle_input",
    "shuffle_shortcut",
    "take_out_shuffles",
    "unaverage_input",
]

# The hooks are functions of this module or methods of modules, so that a network with hooks can be copied and
# pickled.

# Names of our modules within those that they change; torchvision's ResNets have a place in the shortcut.
_CHILDREN = ("input_shuffle", "shortcut_shuffle", "downsample")


# ---------------------------------------------------------------- the input of a module


def shuffle_input(module: nn.Module, shuffle: nn.Module) -> None:
    """Let `module` see its first input shuffled; the shuffle becomes its child `input_shuffle`."""
    module.add_module("input_shuffle", shuffle.train(module.training))
    module.register_forward_pre_hook(_shuffle_hook, with_kwargs=True)


def average_input(module: nn.Module) -> None:
    """Let `module` see its first input averaged to one position, by its child `input_average`."""
    module.add_module("input_average", nn.AdaptiveAvgPool2d(1))
    module.register_forward_pre_hook(_average_hook, with_kwargs=True)


def unaverage_input(module: nn.Module) -> None:
    """The inverse of :func:`average_input`."""
    del module.input_average
    for number in [key for key, found in module._forward_pre_hooks.items() if found is _average_hook]:
        del module._forward_pre_hooks[number], module._forward_pre_hooks_with_kwargs[number]


Inputs = tuple[tuple[Any, ...], dict[str, Any]]


def _shuffle_hook(module: nn.Module, inputs: tuple[Any, ...], named: dict[str, Any]) -> Inputs:
    return _with_first_changed(module.input_shuffle, inputs, named)  # type: ignore[arg-type]


def _average_hook(module: nn.Module, inputs: tuple[Any, ...], named: dict[str, Any]) -> Inputs:
    return _with_first_changed(module.input_average, inputs, named)  # type: ignore[arg-type]


def _with_first_changed(
    change: Callable[[Tensor], Tensor], inputs: tuple[Any, ...], named: dict[str, Any]
) -> Inputs:
    """The inputs with the first tensor changed; attention may take it as query, key and value."""
    values = [*inputs, *named.values()]
    first = inputs[0] if inputs else next(value for value in values if isinstance(value, Tensor))
    new = change(first)
    values = [new if value is first else value for value in values]
    return tuple(values[: len(inputs)]), dict(zip(named, values[len(inputs) :], strict=True))


# ---------------------------------------------------------------- a shortcut without a module


class ShortcutShuffle(nn.Module):
    """Shuffles a tensor that a shortcut and a branch share, and gives the branch the tensor itself.

    The tensor is shuffled where it enters the block, or leaves the module that makes it; so the shortcut is
    shuffled whatever the block's code does with it. The first modules of the branch take the original.
    """

    def __init__(self, shuffle: nn.Module) -> None:
        super().__init__()
        self.shuffle = shuffle
        self._original: Tensor | None = None  # both only while the block runs
        self._shuffled: Tensor | None = None

    def forward(self, x: Tensor) -> Tensor:
        """The shuffled tensor, for the shortcut."""
        if (leaf := as_leaf(self, x)) is not None:
            return leaf  # type: ignore[no-any-return]
        shuffled: Tensor = self.shuffle(x)
        if shuffled is not x:
            self._original, self._shuffled = x, shuffled
        return shuffled

    def at_input(self, module: nn.Module, inputs: tuple[Any, ...], named: dict[str, Any]) -> Inputs:
        """Shuffle what enters a module."""
        return _with_first_changed(self, inputs, named)

    def at_output(self, module: nn.Module, inputs: tuple[Any, ...], output: Tensor) -> Tensor:
        """Shuffle what leaves a module."""
        return self(output)  # type: ignore[no-any-return]

    def in_branch(self, module: nn.Module, inputs: tuple[Any, ...], named: dict[str, Any]) -> Inputs:
        """Give a module of the branch the original."""
        return _with_first_changed(self._undo, inputs, named)

    def _undo(self, x: Tensor) -> Tensor:
        if self._original is not None:
            return self._original if x is self._shuffled else x
        shuffle = next(module for module in self.modules() if isinstance(module, Shuffle))
        if shuffle.active and torch._C._current_graph_task_id() != -1:
            raise RuntimeError(
                "found a part of a block run again in the backward pass (checkpointing), which does not know "
                "what entered the block; expected checkpointing of whole blocks, or shortcut=False"
            )
        return x

    def forget(self, module: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
        """Keep no tensor after the block."""
        self._original = self._shuffled = None


def shuffle_shortcut(owner: nn.Module, shortcut: Shortcut, shuffle: nn.Module) -> None:
    """Shuffle a shortcut that no module begins; a :class:`ShortcutShuffle` becomes a child of `owner`."""
    change = ShortcutShuffle(shuffle).train(owner.training)
    owner.add_module("shortcut_shuffle", change)
    if shortcut.at_output:
        shortcut.module.register_forward_hook(change.at_output)
    else:
        shortcut.module.register_forward_pre_hook(change.at_input, with_kwargs=True)
    for module in shortcut.branch:  # before its own shuffle
        module.register_forward_pre_hook(change.in_branch, with_kwargs=True, prepend=True)
    shortcut.around.register_forward_hook(change.forget, always_call=True)


# ---------------------------------------------------------------- all of them


def shuffle_children(module: nn.Module) -> dict[str, nn.Module]:
    """The shuffles that were put into a module, by their names in it."""
    kinds = (Shuffle, ChannelsLastShuffle, ShortcutShuffle)
    children = {name: module._modules.get(name) for name in _CHILDREN}
    return {name: child for name, child in children.items() if isinstance(child, kinds)}


def _hook_tables(module: nn.Module) -> list[dict[int, Any]]:
    return [
        module._forward_pre_hooks,
        module._forward_pre_hooks_with_kwargs,
        module._forward_hooks,
        module._forward_hooks_always_called,
    ]


def _is_ours(hook: Any) -> bool:
    return hook is _shuffle_hook or isinstance(getattr(hook, "__self__", None), ShortcutShuffle)


Removed = list[tuple[nn.Module, dict[str, nn.Module], list[dict[int, Any]]]]


def take_out_shuffles(network: nn.Module) -> Removed:
    """Remove all shuffles; returned is what :func:`restore_shuffles` needs."""
    removed: Removed = []
    for module in list(network.modules()):
        tables = _hook_tables(module)
        ours = {key for table in (tables[0], tables[2]) for key, hook in table.items() if _is_ours(hook)}
        children = shuffle_children(module)
        if ours or children:
            removed.append((module, children, [dict(table) for table in tables]))
            for table in tables:
                for key in ours & table.keys():
                    del table[key]
            for name in children:
                delattr(module, name)
                if name == "downsample":
                    setattr(module, name, None)
    return removed


def restore_shuffles(removed: Removed) -> None:
    """Undo :func:`take_out_shuffles`; hooks that were registered in the meantime follow the others."""
    for module, children, before in removed:
        for name, child in children.items():
            setattr(module, name, child)
        for table, was in zip(_hook_tables(module), before, strict=True):
            was |= table
            table.clear()
            table.update(was)
