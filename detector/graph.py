"""What a network does in one forward pass: operations, the modules that run them, and residual blocks.

The pass runs on the meta device where possible, where nothing is computed, and is recorded by a dispatch
mode; so it works for any Python code. Nothing here knows a network by its name.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.jit import ScriptModule
from torch.nn.parameter import is_lazy
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from detector.shuffle import MapLayout, Shuffle, token_grid

__all__ = [
    "Block", "Example", "FullyConnected", "Graph", "Map", "Shortcut", "own_image_size", "record", "trunk",
]  # fmt: skip

Example = Tensor | int | tuple[int, int]
"""An input to run a network with: a batch of images, or the height and width (or the side) of an image."""

_DEFAULT_IMAGE_SIZE_PIXELS = 224  # what nearly all of torchvision's networks are made for
_MOST_EXTRA_TOKENS = 128  # class, distillation, register and detection tokens beside the grid
# Operations that combine positions, besides convolutions, pooling and products of two computed tensors.
_ATTENTION = ("_scaled_dot_product", "_native_multi_head_attention", "_flash_attention", "_fft_")
_POOLING = ("avg_pool2d", "max_pool2d", "max_pool2d_with_indices")
_PRODUCTS = ("mm", "addmm", "bmm", "baddbmm")
_CHANNELS_SECOND = (
    "convolution",
    "native_batch_norm",
    "_native_batch_norm_legit_no_training",
    "native_group_norm",
)
_PARTS = ("split", "split_with_sizes", "unsafe_split", "chunk", "unbind", "select")
_LONGEST_STEM = 4  # convolutions beside the blocks, if there are few blocks, that are no layers
_MERGED = -1  # the channels share an axis with something else, which is not the last


class FullyConnected(nn.Conv2d):
    """A 1×1 convolution in place of a larger one that GAP+FC has taken away; it still counts as a layer."""


# ---------------------------------------------------------------- the network and its input


def trunk(network: nn.Module) -> nn.Module:
    """The network, or of a detector (or anything else that has one) its `backbone`."""
    inner = getattr(network, "backbone", None)
    return inner if isinstance(inner, nn.Module) else network


def own_image_size(network: nn.Module) -> Any:
    """The `image_size` attribute of a network or of its backbone, in pixels; None where there is none."""
    return getattr(network, "image_size", None) or getattr(trunk(network), "image_size", None)


def _example_images(network: nn.Module, example: Example | None) -> Tensor:
    if isinstance(example, Tensor):
        return example
    size: Any = example
    if example is None:
        # timm's transformers and Hugging Face's networks say for which images they are made.
        foreign = (
            (getattr(network, "patch_embed", None), "img_size"),
            (getattr(network, "config", None), "image_size"),
        )
        sizes = [own_image_size(network), *(getattr(owner, name, None) for owner, name in foreign)]
        size = next((size for size in sizes if size), _DEFAULT_IMAGE_SIZE_PIXELS)
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


def record(network: nn.Module, example: Example | None = None) -> Graph:
    """Record one forward pass in evaluation mode.

    The pass runs on the meta device, or else on the network's own device. Changes that it makes to the
    modules' attributes are reverted. Of a detector that cannot be run at all, the backbone alone is run.
    Shuffles draw nothing. ValueError where the network cannot be run with the `example` (see
    :func:`detector.list_layers`), or its layers have no sizes yet.
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
            recorder = _Recorder()
            try:
                with _watched(part, recorder), torch.no_grad(), recorder:
                    run(part, images)
            except Exception as error:  # a user's network can raise anything
                problem = problem or error
            else:
                return Graph(trunk(network), recorder.steps, recorder.calls)
    reason = str(problem).strip().split("\n")[0]
    raise ValueError(
        f"network: found {type(network).__name__}, which cannot be run with an input of "
        f"{'x'.join(map(str, images.shape))} ({reason}); expected example=, an input that it takes"
    ) from problem


@contextmanager
def _watched(network: nn.Module, recorder: _Recorder) -> Iterator[None]:
    """Record each module's calls, in evaluation mode and without draws; restore everything after."""
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
            module.register_forward_pre_hook(recorder.enter, with_kwargs=True)
            module.register_forward_hook(recorder.leave, prepend=True)
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


# ---------------------------------------------------------------- recording


@dataclass(eq=False, slots=True)
class _Call:
    """One call of a module."""

    module: nn.Module
    outer: _Call | None
    inputs: list[int]
    """Steps that made its tensors; -1 for a tensor that does not depend on the images."""
    shape: tuple[int, ...]
    """Shape of its first tensor."""
    start: int
    """The number of the first step inside."""
    end: int = -1
    """The number of the first step after it."""
    output: int = -1
    """The step that made its output, if that is one tensor."""

    @property
    def steps(self) -> range:
        """The steps inside."""
        return range(self.start, self.end)

    @property
    def first(self) -> int:
        """The step that made its first tensor; -1 also where it has none."""
        return self.inputs[0] if self.inputs else -1


def _outwards(call: _Call | None) -> Iterator[_Call]:
    """A call and those it is in, from the inside."""
    while call is not None:
        yield call
        call = call.outer


@dataclass(eq=False, slots=True)
class _Step:
    """One operation on something that depends on the images; or the images themselves, without parents."""

    name: str
    parents: tuple[int, ...]
    call: _Call | None
    shape: tuple[int, ...]
    channel_axis: int | None
    """The axis of the channels; None where that is not known."""
    mixing: int = 0
    """Whether it combines positions: 2, or 1 for pooling, or 0."""
    by_attention: bool = False
    """Whether it does so otherwise than by a convolution."""
    sizes: tuple[int, ...] = ()
    """Sizes of the parts of a concatenation along the second axis."""

    @property
    def module(self) -> nn.Module | None:
        """The innermost module that runs it."""
        return self.call.module if self.call else None


class _Recorder(TorchDispatchMode):
    """Records the operations that depend on the images; one in place makes a new step of its tensor."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.steps: list[_Step] = []
        self.calls: list[_Call] = []
        self._open: list[_Call] = []
        self._step_of: dict[int, int] = {}  # by the identity of the tensor
        self._alive: list[Tensor] = []  # or Python would use an identity twice

    def enter(self, module: nn.Module, inputs: tuple[Any, ...], named: dict[str, Any]) -> None:
        tensors = [value for value in (*inputs, *named.values()) if isinstance(value, Tensor)]
        if not self.steps and tensors:
            self._add(tensors[0], _Step("images", (), None, tuple(tensors[0].shape), 1))
        call = _Call(
            module,
            self._open[-1] if self._open else None,
            [self._step_of.get(id(value), -1) for value in tensors],
            tuple(tensors[0].shape) if tensors else (),
            len(self.steps),
        )
        self.calls.append(call)
        self._open.append(call)

    def leave(self, module: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
        call = self._open.pop()
        call.end = len(self.steps)
        call.output = self._step_of.get(id(output), -1) if isinstance(output, Tensor) else -1

    def _add(self, value: Tensor, step: _Step) -> None:
        self._step_of[id(value)] = len(self.steps)
        self._alive.append(value)
        self.steps.append(step)

    def __torch_dispatch__(
        self, function: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if function is torch.ops.aten.native_batch_norm.default and args[0].is_meta and not args[5]:
            # Without torch's decomposition in Python, in which most of the time of a recording would go.
            result: Any = (torch.empty_like(args[0]), args[0].new_empty(0), args[0].new_empty(0))
        else:
            result = function(*args, **(kwargs or {}))
        tensors = [value for value in tree_leaves((args, kwargs)) if isinstance(value, Tensor)]
        parents = [self._step_of.get(id(value), -1) for value in tensors]
        if any(parent >= 0 for parent in parents):
            name = function._schema.name.removeprefix("aten::")
            for value in tree_leaves(result):
                if isinstance(value, Tensor):
                    self._add(value, self._step(name, args, tensors, parents, value))
                    if name.endswith("_") and value._base is not None:  # a part of another tensor was changed
                        whole = value._base
                        known = [self._step_of[id(x)] for x in (value, whole) if id(x) in self._step_of]
                        axis = self.steps[known[-1]].channel_axis
                        call = self.steps[known[0]].call
                        self._add(whole, _Step(name, tuple(known), call, tuple(whole.shape), axis))
        return result

    def _step(
        self, name: str, args: tuple[Any, ...], tensors: list[Tensor], parents: list[int], result: Tensor
    ) -> _Step:
        known = tuple(dict.fromkeys(parent for parent in parents if parent >= 0))
        call = self._open[-1] if self._open else None
        shape = tuple(result.shape)
        step = _Step(name, known, call, shape, None)
        first = next(
            (self.steps[n] for n in known if self.steps[n].channel_axis is not None), self.steps[known[0]]
        )
        if first.channel_axis is None and (name in _CHANNELS_SECOND or name == "native_layer_norm"):
            first.channel_axis = 1 if name in _CHANNELS_SECOND else len(first.shape) - 1
        step.channel_axis = _moved_axis(name.removesuffix("_"), args, first, shape)
        if name == "convolution":
            kernel = tensors[1].shape[2:]
            fully_connected = call is not None and isinstance(call.module, FullyConnected)
            step.mixing = 2 if len(kernel) == 2 and (math.prod(kernel) > 1 or fully_connected) else 0
        elif name.startswith(_ATTENTION) or (name in ("bmm", "baddbmm") and min(parents[-2:]) >= 0):
            step.mixing, step.by_attention = 2, True
        elif name in _PRODUCTS and first.channel_axis is not None:
            # The last axis is multiplied with weights: if it has no channels, it has positions.
            step.by_attention = first.channel_axis != len(first.shape) - 1
            step.mixing = 2 * step.by_attention
        elif name in _POOLING:
            step.mixing, step.by_attention = int(max(tree_leaves(args[1])) > 1), True
        elif name == "cat" and len(shape) == 3 and len(args) > 1 and args[1] in (1, -2):
            step.sizes = tuple(part.shape[1] for part in args[0])
        return step


def _moved_axis(name: str, args: tuple[Any, ...], parent: _Step, shape: tuple[int, ...]) -> int | None:
    """The axis of the channels after an operation."""
    axis, before = parent.channel_axis, parent.shape
    if name in _CHANNELS_SECOND:
        return 1
    if axis is None:
        return None
    count = len(before)
    if name in _PRODUCTS:
        return len(shape) - 1 if axis == count - 1 else _MERGED
    if axis == _MERGED:
        return _MERGED if before == shape else None
    if name == "permute":
        return [dim % count for dim in args[1]].index(axis)
    if name in ("transpose", "t"):
        swapped = {dim % count for dim in args[1:3]} if name == "transpose" else {0, count - 1}
        return next(iter(swapped - {axis})) if axis in swapped and len(swapped) == 2 else axis
    if before == shape or (len(shape) == count and math.prod(before) != math.prod(shape)):
        return axis
    if math.prod(before) != math.prod(shape):
        return None
    # The same values in another shape: the channels are where their strides are.
    low = math.prod(before[axis + 1 :])
    for new, size in enumerate(shape):
        start = math.prod(shape[new + 1 :])
        if start == low and size == before[axis] and size > 1:
            return new
        if start <= low and start * size >= low * before[axis] and size > before[axis] > 1:
            return new if start == low and new == len(shape) - 1 else _MERGED
    return None


# ---------------------------------------------------------------- what was recorded


class Map(NamedTuple):
    """How a tensor holds a map: ``(N, C, H, W)``, ``(N, H, W, C)`` or tokens ``(N, L, C)``."""

    channels: int
    height: int
    width: int
    layout: MapLayout | None
    """None for ``(N, C, H, W)``."""

    @property
    def size(self) -> tuple[int, int, int]:
        """Channels, height and width."""
        return self.channels, self.height, self.width


class Shortcut(NamedTuple):
    """A shortcut that no module begins: what enters a module, or leaves it, is added to the branch."""

    module: nn.Module
    at_output: bool
    """Whether the shortcut is the module's output, else its first input."""
    branch: list[nn.Module]
    """The first modules of the branch, which take the same tensor."""
    around: nn.Module
    """The module in which the branch is added."""
    map: Map
    earlier_adds: int | None = None
    """Where the shortcut is to be shuffled at its add: how many adds in `around` take it before. Otherwise
    it is shuffled at the module, and `branch` takes the original."""


@dataclass(frozen=True, eq=False)
class Block:
    """A layer: a residual block, or a convolution outside of such blocks."""

    module: nn.Module
    map: Map
    """Feature map that enters it."""
    branch: list[tuple[nn.Module, Map]]
    """The modules in its main branch whose input a shuffle permutes; each has its own draw."""
    shortcut: list[tuple[nn.Module, Map]] = field(default_factory=list)
    """The first modules of the shortcut, where it has some."""
    identity: Shortcut | None = None
    """The shortcut where it has no module."""
    adds: int = 0
    """How often the branch is added back to what entered it; 0: it is not residual."""
    by_attention: bool = False
    """Whether its branch combines positions otherwise than by convolutions alone."""
    problem: str = ""
    """Why its shortcut cannot be shuffled apart from the branch."""
    has_places: bool = True
    """Whether what is shuffled has its positions in their places in the map, as windows have not."""


@dataclass(frozen=True, eq=False)
class _Add:
    """A residual add: a branch is added back to what entered it."""

    place: int
    fork: int
    """The step whose value enters both the branch and the shortcut."""
    branch: set[int]
    shortcut: set[int]


_Owners = dict[int, _Add]
"""For each step that combines positions, the add with the smallest branch that it is in."""


class Graph:
    """The operations of one forward pass."""

    def __init__(self, trunk: nn.Module, steps: list[_Step], calls: list[_Call]) -> None:
        self.trunk, self._steps, self._calls = trunk, steps, calls
        self._uses = Counter(call.module for call in calls)

    @cached_property
    def shapes(self) -> dict[nn.Module, tuple[int, ...]]:
        """The shape of what enters each module that is run, in the order in which they are run."""
        found: dict[nn.Module, tuple[int, ...]] = {}
        for call in self._calls:
            if call.shape:
                found.setdefault(call.module, call.shape)
        return found

    @cached_property
    def maps(self) -> dict[nn.Module, Map]:
        """The map that enters each module that takes one."""
        found: dict[nn.Module, Map] = {}
        for call in self._calls:
            if call.module not in found and (entering := self._map(call.first)):
                found[call.module] = entering
        return found

    def _map(self, number: int) -> Map | None:
        if number < 0:
            return None
        step = self._steps[number]
        shape, axis = step.shape, step.channel_axis
        if len(shape) == 4 and axis in (1, None):
            return Map(*shape[1:], None)
        if len(shape) == 4 and axis == 3:
            return Map(shape[3], shape[1], shape[2], MapLayout(0, 0, shape[1], shape[2]))
        if len(shape) != 3 or axis == 1 or shape[0] != self._steps[0].shape[0]:
            return None
        layout = self._token_layout(number, shape[1])
        return layout and Map(shape[2], layout.height, layout.width, layout)

    def _token_layout(self, number: int, count: int) -> MapLayout | None:
        """Which tokens form the map: as many as the last map before them has positions."""
        grids = [
            step.shape[2:] if step.channel_axis == 1 else step.shape[1:3]
            for step in self._steps[number::-1]
            if len(step.shape) == 4
            and step.channel_axis in (1, 3)
            and step.shape[0] == self._steps[0].shape[0]
        ]
        fitting = [
            grid for grid in grids if 1 < math.prod(grid) <= count <= math.prod(grid) + _MOST_EXTRA_TOKENS
        ]
        if not fitting:
            square = token_grid(count)
            return square and MapLayout(square[0], 0, square[1], square[1])
        height, width = max(fitting, key=math.prod)
        extra = before = count - height * width
        for step in self._steps[number::-1] if extra else ():
            if step.sizes and step.shape[1] == count:
                part = next((n for n, size in enumerate(step.sizes) if size >= height * width), None)
                if part is not None:
                    before = sum(step.sizes[: part + 1]) - height * width
                    break
        return MapLayout(before, extra - before, height, width)

    # ------------------------------------------------------------ residual adds

    def _ancestors(self, number: int, after: int) -> set[int]:
        """The step and those it depends on, of those after another step."""
        found, todo = set(), [number]
        while todo:
            step = todo.pop()
            if step > after and step not in found:
                found.add(step)
                todo += self._steps[step].parents
        return found

    def _descendants(self, steps: Iterable[int], of: int) -> set[int]:
        """Those of the steps that depend on a step through no others."""
        found = {of}
        for step in sorted(steps):
            if not found.isdisjoint(self._steps[step].parents):
                found.add(step)
        return found - {of}

    @cached_property
    def _dominator(self) -> list[int]:
        """For each step, the last step through which all of its inputs have passed."""
        found: list[int] = []
        for step in self._steps:
            dominator = step.parents[0] if step.parents else 0
            for parent in step.parents[1:]:
                dominator = self._common(found, dominator, parent)
            found.append(dominator)
        return found

    @staticmethod
    def _common(dominators: list[int], a: int, b: int) -> int:
        while a != b:
            a, b = (dominators[a], b) if a > b else (a, dominators[b])
        return a

    @cached_property
    def residual_adds(self) -> list[_Add]:
        """The adds of a branch that combines positions to what entered it, in the order of running."""

        def weight(side: set[int]) -> tuple[int, int]:
            return sum(self._steps[step].mixing for step in side), len(side)

        found: list[_Add] = []
        for place, step in enumerate(self._steps):
            if step.name not in ("add", "add_") or len(step.parents) != 2:
                continue
            if any(self._steps[parent].shape != step.shape for parent in step.parents):
                continue
            early, late = sorted(step.parents)
            branch = self._ancestors(late, early - 1)
            if early in branch:  # the shortcut is the identity
                fork, shortcut = early, set()
                branch = self._descendants(branch - {early}, early)
            else:
                fork = self._common(self._dominator, early, late)
                shortcut, branch = sorted((self._ancestors(end, fork) for end in step.parents), key=weight)
                if (
                    not shortcut
                    or weight(shortcut) == weight(branch)
                    or any(self._steps[inner].name in _PARTS for inner in shortcut)  # as in Res2Net
                    or any(other.place in shortcut for other in found)  # two branches, as in HRNet
                ):
                    continue
            if weight(branch)[0]:
                found.append(_Add(place, fork, branch, shortcut))
        return found

    def _outermost_adds(self) -> list[_Add]:
        """The residual adds without each one that is alone inside the branch of one further out.

        So attention with a convolution around its values does not hide the block that it is in; but of a long
        skip around many blocks, these are the layers.
        """
        kept = list(self.residual_adds)
        for add in sorted(kept, key=lambda add: len(add.branch)):
            frame = self._frame(add)
            nested = [other for other in kept if other.place in add.branch]
            frames = {self._frame(other) for other in nested}
            if (
                frame is not None
                and self._is_part(frame)
                and self._map(add.fork) is not None
                and len(frames - {None, frame}) == len(frames) == 1
            ):
                kept = [other for other in kept if other not in nested]
        return kept

    def _frame(self, add: _Add) -> _Call | None:
        """The call in which a branch runs and is added."""
        calls = _outwards(self._steps[add.place].call)
        return next((call for call in calls if call.start <= min(add.branch)), None)

    def _is_part(self, call: _Call) -> bool:
        """Whether it is the call of a part of the network, not of the whole."""
        return call.outer is not None and call.module is not self.trunk

    # ------------------------------------------------------------ blocks

    @cached_property
    def blocks(self) -> list[Block]:
        """The layers in the order in which they are run; see :func:`detector.list_layers`."""
        adds = self._outermost_adds()
        owner: _Owners = {}
        for add in sorted(adds, key=lambda add: len(add.branch)):
            if self._map(add.fork) is not None:
                for step in self._mixing(add.branch, least=1):
                    owner.setdefault(step, add)
        for add in dict.fromkeys(owner.values()):  # as the 3×3 convolution in the shortcut of SENet-154
            for step in add.shortcut:
                owner.setdefault(step, add)
        found = self._blocks_around(adds, owner)
        for frame, in_frame in self._frames(adds, owner).items():
            found += self._blocks_in(frame, in_frame, owner)
        inside = set(self.trunk.modules())
        found = [(place, block) for place, block in found if block.module in inside]
        in_blocks = [place for place, _ in found]
        outside = inside - {block.module for _, block in found}
        single: dict[nn.Module, tuple[int, Block]] = {}
        for place in self._mixing(range(len(self._steps))):
            module = self._steps[place].module
            if self._steps[place].name == "convolution" and place not in owner and module in outside:
                entering = self.maps.get(module)  # type: ignore[arg-type]
                if isinstance(module, nn.Conv2d) and entering:
                    single.setdefault(module, (place, Block(module, entering, [(module, entering)])))
        # As in the paper, the stem of a ResNet is no layer. Where convolutions between the blocks are, it is.
        between = any(min(in_blocks) < place < max(in_blocks) for place, _ in single.values() if in_blocks)
        after = sum(place > max(in_blocks, default=-1) for place, _ in single.values())
        if between or after >= len(in_blocks) or len(single) > max(_LONGEST_STEM, len(in_blocks)):
            found += single.values()
        unique: dict[nn.Module, Block] = {}
        for _, block in sorted(found, key=lambda item: item[0]):
            unique.setdefault(block.module, block)
        return list(unique.values())

    def _mixing(self, steps: Iterable[int], least: int = 2) -> list[int]:
        """Those of the steps that combine positions; with a `least` of 1 by pooling too."""
        return [step for step in steps if self._steps[step].mixing >= least]

    def _own(self, add: _Add, owner: _Owners) -> list[int]:
        """The steps of a branch that are in no smaller one."""
        return sorted(step for step in add.branch if owner.get(step) is add)

    def _attends(self, steps: Iterable[int]) -> bool:
        return any(self._steps[step].by_attention for step in self._mixing(steps))

    def _blocks_around(self, adds: list[_Add], owner: _Owners) -> list[tuple[int, Block]]:
        """The modules around adds that see parts of a map, as in MobileViT: shuffled at their input."""
        found = []
        for add in adds:
            calls = (
                call
                for call in _outwards(self._frame(add))
                if not isinstance(call.module, nn.Sequential) and self._map(call.first)
            )
            call = next(calls, None)
            if self._map(add.fork) is not None or call is None or not self._is_part(call):
                continue
            mixing = self._mixing(call.steps)
            sees_one = math.prod(self._steps[add.fork].shape[:-1]) <= self._steps[0].shape[0]  # a class token
            if mixing and owner.keys().isdisjoint(mixing) and not sees_one:
                owner |= dict.fromkeys(mixing, add)
                entering = self.maps[call.module]
                block = Block(call.module, entering, [(call.module, entering)], by_attention=True)
                found.append((mixing[0], block))
        return found

    def _frames(self, adds: list[_Add], owner: _Owners) -> dict[_Call, list[_Add]]:
        """The adds with steps that are only in their branch, by the call in which they are made.

        In a block with attention further convolutions, as those that encode positions, become a part of it.
        """
        frames: dict[_Call, list[_Add]] = {}
        for add in adds:
            frame = self._frame(add)
            if frame is not None and self._own(add, owner) and self._map(add.fork) is not None:
                frames.setdefault(frame, []).append(add)
        for in_frame in frames.values():
            in_frame.sort(key=lambda add: add.fork)

        def attends(frame: _Call) -> bool:
            return any(self._attends(self._own(add, owner)) for add in frames[frame])

        for frame in [frame for frame in frames if self._is_part(frame) and attends(frame)]:
            inside = [f for f in frames if f is not frame and frame.start <= f.start and f.end <= frame.end]
            joined = sorted((add for f in (frame, *inside) for add in frames[f]), key=lambda add: add.fork)
            mixing = self._mixing(frame.steps)
            apart = any(attends(f) or self._uses[f.module] > 1 for f in inside)
            if not apart and mixing[0] > joined[0].fork:
                for step in mixing:
                    owner.setdefault(step, frames[frame][0])
                for f in inside:
                    del frames[f]
                frames[frame] = joined
        return frames

    def _blocks_in(self, frame: _Call, adds: list[_Add], owner: _Owners) -> list[tuple[int, Block]]:
        """The blocks whose adds are made in one call: one, or one for each add where that is no block."""
        first = {add: self._own(add, owner)[0] for add in adds}
        mixing = self._mixing(frame.steps)
        kinds = [
            type(self._child(frame, first[add], outermost=True)) for add in adds if self._frame(add) is frame
        ]
        is_block = (
            not (mixing and mixing[0] <= adds[0].fork)
            and len(kinds) == len(set(kinds))
            and all(owner.get(step) in adds for step in mixing)
            and (self._is_part(frame) or len(adds) == 1)
        )
        if is_block:
            block = self._block(frame, frame.module, adds, owner)
            parts = set().union(*(add.branch | add.shortcut for add in adds))
            for step in mixing:  # convolutions between the branches
                module = self._steps[step].module
                if step not in parts and self._steps[step].name == "convolution" and module in self.maps:
                    block.branch.append((module, self.maps[module]))
            return [(first[adds[0]], block)]
        children = [(add, self._child(frame, first[add], outermost=False)) for add in adds]
        return [(first[add], self._block(frame, module, [add], owner)) for add, module in children if module]

    def _child(self, frame: _Call, step: int, *, outermost: bool) -> nn.Module | None:
        """The module called within a call, or a convolution further inside, that runs a step, if any."""
        call = self._steps[step].call
        if outermost or self._steps[step].name != "convolution":
            call = next((call for call in _outwards(call) if call.outer is frame), None)
        return None if call is None or call is frame else call.module

    def _takers(self, steps: set[int], fork: int, frame: _Call) -> tuple[list[nn.Module], bool]:
        """The innermost modules through which steps take a value, and whether all of them have one."""
        found: dict[_Call, None] = {}
        complete = True
        for step in sorted(steps):
            if fork not in self._steps[step].parents:
                continue
            calls = _outwards(self._steps[step].call)
            call = next((call for call in calls if call is frame or call.first == fork), None)
            if call is None or call is frame or isinstance(call.module, nn.Sequential):
                complete = False
            else:
                found[call] = None
        outer = [call for call in found if found.keys().isdisjoint(_outwards(call.outer))]
        return list(dict.fromkeys(call.module for call in outer)), complete

    def _goes_past(self, add: _Add) -> bool:
        """Whether something passes through the branch that no convolution or attention takes."""
        past = add.branch.difference(self._mixing(add.branch))
        return max(add.branch) in self._descendants(past, add.fork)

    def _block(self, frame: _Call, module: nn.Module, adds: list[_Add], owner: _Owners) -> Block:
        first = adds[0]
        entering = self._map(first.fork)
        assert entering is not None
        at_input = self.maps.get(module, entering)
        branch: dict[nn.Module, Map] = {}
        by_attention, problem = False, ""
        for add in adds:
            own = self._own(add, owner)
            convolutions = [step for step in own if self._steps[step].name == "convolution"]
            attention = self._attends(own) or not convolutions
            by_attention |= attention
            if attention or self._goes_past(add):
                takers, complete = self._takers(add.branch, add.fork, frame)
                if not complete or not takers:
                    takers, problem = [], "its branch begins with a function, not with a module"
                branch |= dict.fromkeys(takers, self._map(add.fork) or entering)
            else:
                for step in convolutions:
                    taker = self._steps[step].module
                    if taker is module or taker in self.maps:
                        branch[taker] = self.maps.get(taker, entering)  # type: ignore[index,arg-type]
        has_places = entering.size[1:] == at_input.size[1:] or not by_attention
        begins_there = True
        if not branch:  # shuffled as a whole
            branch, by_attention, has_places = {module: at_input}, True, True
            problem = problem or "its branch runs no module that can be shuffled alone"
            begins_there = module is not frame.module or first.fork == frame.first
        shortcut: dict[nn.Module, Map] = {}
        identity = None
        if begins_there:
            shortcut, identity, problem = self._shortcut(frame, first, entering, problem)
        pairs = list(branch.items()), list(shortcut.items())
        return Block(module, at_input, *pairs, identity, len(adds), by_attention, problem, has_places)

    def _shortcut(
        self, frame: _Call, add: _Add, entering: Map, problem: str
    ) -> tuple[dict[nn.Module, Map], Shortcut | None, str]:
        """The first modules of a shortcut, or else where it is shuffled, and why it is not."""
        # Further paths from the same tensor around the same branch, as in RepVGG.
        others = [
            other.shortcut
            for other in self.residual_adds
            if other.fork == add.fork and other is not add and add.place in other.branch
        ]
        takers, complete = self._takers(add.branch, add.fork, frame)
        modules: dict[nn.Module, Map] = {}
        for shortcut in (add.shortcut, *others):
            parts, all_known = self._takers(shortcut, add.fork, frame)
            if all_known and not set(parts) & set(takers):
                modules |= dict.fromkeys(parts, entering)
        if modules and add.shortcut:
            return modules, None, problem
        site = self._site(frame, add.fork)
        changed = site is not None and site[1] and self._changes_its_input(add.fork)
        earlier_adds = None
        if (site is None or not complete or changed) and not add.shortcut:  # shuffled where it is added
            uses = self._uses[frame.module]
            site = site or next(((module, False) for module in takers if self._uses[module] <= uses), None)
            earlier_adds = sum(
                add.fork in step.parents and step.name in ("add", "add_")
                for step in self._steps[frame.start : add.place]
            )
            takers = []
        if site is None or (changed and earlier_adds is None):
            return modules, None, problem or "no module has the shortcut as its first input or as its output"
        if not complete and earlier_adds is None:
            why = "its shortcut and its branch begin with functions, not with modules"
            return modules, None, problem or why
        return modules, Shortcut(*site, takers, frame.module, entering, earlier_adds), ""

    def _changes_its_input(self, fork: int) -> bool:
        """Whether a value is what a module made of its input in place, so that it has a name outside, too."""
        call = next(call for call in reversed(self._calls) if call.output == fork)
        first = fork
        while self._steps[first].name.endswith("_"):
            first = self._steps[first].parents[0]
        return first < call.start

    def _site(self, frame: _Call, fork: int) -> tuple[nn.Module, bool] | None:
        """The module where a value can be changed for all that take it, and whether at its output."""
        if fork == frame.first:
            return frame.module, False
        for call in reversed(self._calls):
            if call.output == fork and fork not in call.inputs and not isinstance(call.module, nn.Sequential):
                return (call.module, True) if self._uses[call.module] == 1 else None
        return None
