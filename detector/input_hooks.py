"""Change the inputs of a network's modules, and its shortcuts, by hooks, without touching their code."""

from __future__ import annotations

import operator
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
import torch.fx
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils.hooks import RemovableHandle

from detector.graph import Shortcut
from detector.shuffle import ChannelsLastShuffle, Shuffle, as_leaf

__all__ = [
    "ShortcutShuffle", "average_input", "restore_shuffles", "shuffle_children", "shuffle_input",
    "shuffle_shortcut", "take_out_shuffles",
]  # fmt: skip

# The hooks are functions of this module or methods of modules, so that a network with hooks can be copied and
# pickled.

# Names of our modules within those that they change; torchvision's ResNets have a place in the shortcut.
_CHILDREN = ("input_shuffle", "shortcut_shuffle", "downsample")


# ---------------------------------------------------------------- the input of a module


def shuffle_input(module: nn.Module, shuffle: nn.Module) -> None:
    """Let `module` see its first input shuffled; the shuffle becomes its child `input_shuffle`."""
    module.add_module("input_shuffle", shuffle.train(module.training))
    module.register_forward_pre_hook(_shuffle_hook, with_kwargs=True)


def average_input(module: nn.Module) -> RemovableHandle:
    """Let `module` see its first input averaged to one position, by its child `input_average`."""
    module.add_module("input_average", nn.AdaptiveAvgPool2d(1))
    return module.register_forward_pre_hook(_average_hook, with_kwargs=True)


Inputs = tuple[tuple[Any, ...], dict[str, Any]]


def _shuffle_hook(module: nn.Module, inputs: tuple[Any, ...], named: dict[str, Any]) -> Inputs:
    return _with_first_changed(module.input_shuffle, inputs, named)  # type: ignore[arg-type]


def _average_hook(module: nn.Module, inputs: tuple[Any, ...], named: dict[str, Any]) -> Inputs:
    return _with_first_changed(module.input_average, inputs, named)  # type: ignore[arg-type]


def _first_tensor(inputs: tuple[Any, ...], named: dict[str, Any]) -> Any:
    return inputs[0] if inputs else next(value for value in named.values() if isinstance(value, Tensor))


def _with_first_changed(
    change: Callable[[Tensor], Tensor], inputs: tuple[Any, ...], named: dict[str, Any]
) -> Inputs:
    """The inputs with the first tensor changed; attention may take it as query, key and value."""
    values = [*inputs, *named.values()]
    first = _first_tensor(inputs, named)
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


class AddShuffle(ShortcutShuffle):
    """Shuffles a shortcut where it is added to the branch, whatever the branch begins with.

    The tensor is shuffled where it enters or leaves a module, before a shuffle of the branch; the rest of the
    block's code takes the original. In the addition the shuffled tensor takes its place.
    """

    def __init__(self, shuffle: nn.Module, earlier_adds: int) -> None:
        super().__init__(shuffle)
        self._earlier_adds = earlier_adds
        self._adds_left = 0

    def at_input(self, module: nn.Module, inputs: tuple[Any, ...], named: dict[str, Any]) -> None:  # type: ignore[override]
        """Shuffle what enters a module, for the addition."""
        self._prepare(_first_tensor(inputs, named))

    def at_output(self, module: nn.Module, inputs: tuple[Any, ...], output: Tensor) -> None:  # type: ignore[override]
        """Shuffle what leaves a module, for the addition."""
        self._prepare(output)

    def _prepare(self, x: Tensor) -> None:
        self._original, self._shuffled = x, self.shuffle(x)
        self._adds_left = self._earlier_adds + 1

    def around(
        self, block: nn.Module, forward: Callable[..., Any], inputs: tuple[Any, ...], named: dict[str, Any]
    ) -> Any:
        """Run the module that contains the addition."""
        first = _first_tensor(inputs, named)
        if isinstance(first, torch.fx.Proxy):
            raise TypeError(
                f"found torch.fx, which cannot change how {type(block).__name__} adds its shortcut; expected "
                "torch.export, or shortcut=False"
            )
        shuffle = next(module for module in self.modules() if isinstance(module, Shuffle))
        if not shuffle.active:
            return forward(*inputs, **named)
        if self._original is not None:  # it entered this module, where a shuffle of the branch may follow
            self._original = first
        with _ShortcutMode(self):
            result = forward(*inputs, **named)
        if self._adds_left > 0 or self._original is None:
            raise RuntimeError(
                f"found a pass in which {type(block).__name__} does not add its shortcut as in the pass that "
                "found its layers; expected the same in each pass, or shortcut=False"
            )
        return result

    def added(self, function: Any, operands: tuple[Any, ...]) -> tuple[Any, ...]:
        """The operands of an addition, with the shortcut shuffled."""
        place = next((n for n, value in enumerate(operands[:2]) if value is self._original), None)
        if place is None or self._shuffled is None or self._adds_left < 1:
            return operands
        self._adds_left -= 1
        if self._adds_left:
            return operands
        shortcut = self._shuffled
        if place == 0 and function in _IN_PLACE:
            shortcut = operands[0].copy_(shortcut)
        return (*operands[:place], shortcut, *operands[place + 1 :])


_IN_PLACE = (torch.Tensor.add_, torch.Tensor.__iadd__, operator.iadd)
_ADDITIONS = (
    torch.add, torch.Tensor.add, torch.Tensor.__add__, torch.Tensor.__radd__, operator.add, *_IN_PLACE
)  # fmt: skip


class _ShortcutMode(TorchFunctionMode):
    """Changes the operands of the additions that run in it."""

    def __init__(self, change: AddShuffle) -> None:
        super().__init__()
        self.change = change

    def __torch_function__(
        self, function: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if function in _ADDITIONS and len(args) > 1:
            args = self.change.added(function, args)
        return function(*args, **(kwargs or {}))


def _run_with_shortcut(
    module: nn.Module, change: Any, before: Callable[..., Any] | None, *inputs: Any, **named: Any
) -> Any:
    """Replaces a module's `forward`; keeps the instance's own one, if any."""
    return change.around(module, before or partial(type(module).forward, module), inputs, named)


def shuffle_shortcut(owner: nn.Module, shortcut: Shortcut, shuffle: nn.Module) -> None:
    """Shuffle a shortcut that no module begins; a :class:`ShortcutShuffle` becomes a child of `owner`."""
    at_add = shortcut.earlier_adds is not None
    change = AddShuffle(shuffle, shortcut.earlier_adds or 0) if at_add else ShortcutShuffle(shuffle)
    owner.add_module("shortcut_shuffle", change.train(owner.training))
    if shortcut.at_output:
        shortcut.module.register_forward_hook(change.at_output, prepend=at_add)
    else:
        shortcut.module.register_forward_pre_hook(change.at_input, with_kwargs=True, prepend=at_add)
    for module in shortcut.branch:  # before its own shuffle
        module.register_forward_pre_hook(change.in_branch, with_kwargs=True, prepend=True)
    shortcut.around.register_forward_hook(change.forget, always_call=True)
    if at_add:
        before = vars(shortcut.around).get("forward")
        vars(shortcut.around)["forward"] = partial(_run_with_shortcut, shortcut.around, change, before)


# ---------------------------------------------------------------- all of them


def shuffle_children(module: nn.Module) -> dict[str, nn.Module]:
    """The shuffles that were put into a module, by their names in it."""
    kinds = (Shuffle, ChannelsLastShuffle, ShortcutShuffle)
    children = {name: module._modules.get(name) for name in _CHILDREN}
    return {name: child for name, child in children.items() if isinstance(child, kinds)}


def _hook_tables(module: nn.Module) -> list[dict[int, Any]]:
    names = ("pre_hooks", "pre_hooks_with_kwargs", "hooks", "hooks_always_called")
    return [getattr(module, f"_forward_{name}") for name in names]


def _is_ours(hook: Any) -> bool:
    return hook is _shuffle_hook or isinstance(getattr(hook, "__self__", None), ShortcutShuffle)


def _is_our_forward(forward: Any) -> bool:
    return isinstance(forward, partial) and forward.func is _run_with_shortcut


Removed = list[tuple[nn.Module, dict[str, nn.Module], list[dict[int, Any]], Any]]


def take_out_shuffles(network: nn.Module) -> Removed:
    """Remove all shuffles; returned is what :func:`restore_shuffles` needs."""
    removed: Removed = []
    for module in list(network.modules()):
        tables = _hook_tables(module)
        ours = {key for table in (tables[0], tables[2]) for key, hook in table.items() if _is_ours(hook)}
        children = shuffle_children(module)
        if not ours and not children:
            continue
        forward: Any = vars(module).get("forward")
        own_forward = forward if _is_our_forward(forward) else None
        removed.append((module, children, [dict(table) for table in tables], own_forward))
        for table in tables:
            for key in ours & table.keys():
                del table[key]
        for name in children:
            delattr(module, name)
            if name == "downsample":
                setattr(module, name, None)
        while _is_our_forward(forward):  # one for each shortcut
            del module.forward
            if (forward := forward.args[2]) is not None:
                module.forward = forward
    return removed


def restore_shuffles(removed: Removed) -> None:
    """Undo :func:`take_out_shuffles`; hooks that were registered in the meantime follow the others."""
    for module, children, before, forward in removed:
        for name, child in children.items():
            setattr(module, name, child)
        for table, was in zip(_hook_tables(module), before, strict=True):
            was |= table
            table.clear()
            table.update(was)
        if forward is not None:
            module.forward = forward
