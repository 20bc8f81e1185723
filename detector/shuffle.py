"""The shuffles that take spatial or channel information away (paper, section 3.1 and Figure 3).

Every permutation is drawn anew at each forward pass, in training and in evaluation, is by default the same
for all images of the batch, and is independent from channel to channel. None has parameters or buffers.
Besides the paper's there are controls, which take less or something else away: one order for all channels,
blocks, rows or columns moved whole, and each channel's mean in place of its positions.

A draw is a pure function of one 64-bit number, its *stream* (not CUDA's): every (channel, position) gets a
pseudo-random key by hashing its index with the stream, and the order of the keys is the permutation. So a
draw needs no generator, is the same on every device, and can be repeated from (seed, step, layer) alone.
"""

from __future__ import annotations

import hashlib
import math
import sys
import warnings
from collections import OrderedDict
from itertools import product
from types import FrameType
from typing import Any, NamedTuple

import torch
import torch.fx
import torch.utils.checkpoint
from torch import Tensor, nn

__all__ = [
    "EVALUATION_KEY", "SHUFFLES", "BlockShuffle", "ChannelShuffle", "ChannelsLastShuffle", "ColumnShuffle",
    "JointShuffle", "MapLayout", "PatchShuffle", "RowShuffle", "Shuffle", "SpatialMean", "SpatialShuffle",
    "as_leaf", "block_permutation", "block_shuffle", "channel_permutation", "channel_shuffle",
    "joint_shuffle", "patch_shuffle", "spatial_permutation", "spatial_shuffle", "stream_of", "token_grid",
]  # fmt: skip

# The constants of splitmix64 (Steele et al., 2014, "Fast splittable pseudorandom number generators"),
# written as signed integers because torch has no unsigned 64-bit arithmetic; products wrap around.
_GAMMA = 0x9E3779B97F4A7C15 - (1 << 64)
_FIRST_FACTOR = 0xBF58476D1CE4E5B9 - (1 << 64)
_SECOND_FACTOR = 0x94D049BB133111EB - (1 << 64)
_KEY_BITS = 43  # of a patch-wise key; the 20 bits above them hold the number of the patch
_MAX_PATCHES = 1 << 20
_RANK_STEP = 0x632BE59BD9B4E019  # odd and large: the streams of two processes do not overlap in any run


# ---------------------------------------------------------------- draws


def stream_of(*numbers: int) -> int:
    """The stream of a tuple of integers such as (seed, step, layer): a well-mixed signed 64-bit number.

    Examples
    --------
    >>> stream_of(0, 1) == stream_of(0, 1), stream_of(0, 1) == stream_of(1, 0)
    (True, False)
    """
    text = ",".join(str(int(number)) for number in numbers)
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big", signed=True)


def _process_offset() -> int:
    """What each of several processes (torch.distributed) adds to its streams; 0 for a single process.

    Nothing else in a draw depends on the rank.
    """
    distributed = torch.distributed
    several = distributed.is_available() and distributed.is_initialized()
    return _signed(distributed.get_rank() * _RANK_STEP) if several else 0


def _signed(number: int) -> int:
    """The signed 64-bit number of the same last 64 bits."""
    return (number + (1 << 63)) % (1 << 64) - (1 << 63)


def _mix(z: Tensor) -> Tensor:
    """splitmix64's finaliser on int64, in place; the masks make each right shift a logical one."""
    z ^= (z >> 30).bitwise_and_((1 << 34) - 1)
    z *= _FIRST_FACTOR
    z ^= (z >> 27).bitwise_and_((1 << 37) - 1)
    z *= _SECOND_FACTOR
    z ^= (z >> 31).bitwise_and_((1 << 33) - 1)
    return z


# In a compiled graph: torch's compiler computes with numbers that it knows without their overflow at 64 bits.
@torch.library.custom_op("detector::stream_of_number", mutates_args=())
def _stream_of_number(stream: int) -> Tensor:
    return torch.tensor(stream, device="cpu")


@_stream_of_number.register_fake
def _(stream: int) -> Tensor:
    return torch.empty((), dtype=torch.int64, device="cpu")


def _random_keys(
    shape: tuple[int, ...], stream: Tensor | int, device: torch.device | None, images: int | None
) -> Tensor:
    """Pseudo-random int64 keys of a stream: of a shape, or that for each of N `images`."""
    shape = shape if images is None else (images, *shape)
    if isinstance(stream, int) and torch.compiler.is_compiling():
        stream = _stream_of_number(stream)
    # 0-dim and on the CPU: no synchronisation with a GPU.
    start = _mix(torch.as_tensor(stream, dtype=torch.int64, device="cpu").clone())
    index = torch.arange(1, math.prod(shape) + 1, device=device)
    return _mix(index.mul_(_GAMMA).add_(start)).view(shape)


def channel_permutation(
    channels: int, stream: Tensor | int, device: torch.device | None = None, *, images: int | None = None
) -> Tensor:
    """A random order of C channels: ``(C,)`` int64, or ``(N, C)`` with one for each of N `images`.

    Output channel c is input channel ``order[..., c]``. The first image has the order that all would share.
    """
    return _random_keys((channels,), stream, device, images).argsort(dim=-1)


def spatial_permutation(
    channels: int,
    height: int,
    width: int,
    stream: Tensor | int,
    patch: int | None = None,
    device: torch.device | None = None,
    *,
    images: int | None = None,
) -> Tensor:
    """An independent random order of each channel's positions: ``(C, H * W)`` or ``(N, C, H * W)`` int64.

    Output position i of channel c is input position ``order[..., c, i]``.

    Parameters
    ----------
    channels, height, width
        C, H and W of the feature map.
    stream
        What the draw depends on, see :func:`stream_of`.
    patch
        Side of the patches, in positions, that no value may leave; the last row and column of patches are
        smaller where it does not divide the map. None: the whole map is one patch.
    images
        N, where each image has its own draw. None: one draw for all.

    Raises
    ------
    ValueError
        `patch` below 1, or more than 1,048,576 patches.
    """
    keys = _random_keys((channels, height * width), stream, device, images)
    if patch is None or patch >= max(height, width):
        return keys.argsort(dim=-1)
    _check_patch(patch)
    columns = -(-width // patch)
    if columns * -(-height // patch) > _MAX_PATCHES:
        raise ValueError(f"a {height}x{width} map has too many patches of {patch}; take larger patches")
    row = torch.arange(height, device=device) // patch
    column = torch.arange(width, device=device) // patch
    return _permute_within((row[:, None] * columns + column).flatten(), keys)


def _permute_within(groups: Tensor, keys: Tensor) -> Tensor:
    """For each row of random keys a permutation of its places in which none leaves its group, (…, L)."""
    # Sorting by (group, random key) gives each group's places in random order; the stable sort by group alone
    # gives the same groups' places in their original order.
    shuffled = ((groups << _KEY_BITS) | (keys & ((1 << _KEY_BITS) - 1))).argsort(dim=-1)
    places = groups.argsort(stable=True)
    return torch.empty_like(shuffled).scatter_(-1, places.expand_as(shuffled), shuffled)


def block_permutation(
    channels: int,
    height: int,
    width: int,
    stream: Tensor | int,
    block: tuple[int, int],
    device: torch.device | None = None,
    *,
    images: int | None = None,
) -> Tensor:
    """An independent random order of each channel's blocks: ``(C, H * W)`` or ``(N, C, H * W)`` int64.

    Whole blocks change places; inside a block all stays in order. Where blocks do not divide the map, those
    at its end are smaller, and blocks change places with those of their own size alone.

    Parameters
    ----------
    channels, height, width, stream, images
        As of :func:`spatial_permutation`.
    block
        Height and width of a block, in positions, at least 1.
    """
    if min(block) < 1:
        raise ValueError(f"block must be at least 1 position high and wide, found {block[0]}x{block[1]}")
    high, wide = (max(min(size, side), 1) for size, side in zip(block, (height, width), strict=True))
    row, column = torch.arange(height, device=device), torch.arange(width, device=device)
    top, left = row[::high], column[::wide]  # of each row and each column of blocks
    size_class = (top + high > height).long()[:, None] * 2 + (left + wide > width).long()
    keys = _random_keys((channels, size_class.numel()), stream, device, images)
    source = _permute_within(size_class.flatten(), keys)  # of each block the one that takes its place
    start = (top[:, None] * width + left).flatten()[source]  # where that begins
    block_of = ((row // high)[:, None] * len(left) + column // wide).flatten()
    inside = ((row % high)[:, None] * width + column % wide).flatten()
    return start[..., block_of] + inside


def _check_patch(patch: int) -> None:
    if patch < 1:
        raise ValueError(f"patch must be at least 1 position, found {patch}")


# ---------------------------------------------------------------- one gather


class _Gather(torch.autograd.Function):
    """Reorder a dimension by a permutation; the gradient is reordered by its inverse.

    The backward of torch's own gather adds with atomics, as an index may occur twice: slower, and not
    deterministic on a GPU. In a permutation each index occurs once.
    """

    generate_vmap_rule = True

    @staticmethod
    def forward(values: Tensor, order: Tensor, dim: int) -> Tensor:
        # One order for all images is (L,), one for each (N, L); values are (N, …) with L along `dim`.
        if order.dim() == 1 and dim == 1 and values.dim() > 2:  # whole rows; gather alone uses all cores
            return values.index_select(dim, order)
        shape = [1] * values.dim()
        shape[dim] = order.shape[-1]
        shape[0] = order.shape[0] if order.dim() > 1 else 1
        return values.gather(dim, order.view(shape).expand_as(values))

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor, int], output: Tensor) -> None:
        _, order, ctx.dim = inputs
        ctx.save_for_backward(order)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        (order,) = ctx.saved_tensors
        places = torch.arange(order.shape[-1], device=order.device).expand_as(order)
        inverse = torch.empty_like(order).scatter_(-1, order, places)
        return _gather(gradients[0], inverse, ctx.dim), None, None


def _gather(values: Tensor, order: Tensor, dim: int) -> Tensor:
    gathered: Tensor = _Gather.apply(values, order, dim)  # type: ignore[no-untyped-call]
    return gathered


def _has_channels_last(x: Tensor) -> bool:
    # The same as is_contiguous(memory_format=torch.channels_last), which vmap does not support.
    return not x.is_contiguous() and x.movedim(1, -1).is_contiguous()


def _reorder_positions(x: Tensor, order: Tensor) -> Tensor:
    """Put each channel's positions into the order (C, H * W) or (N, C, H * W), in the memory format of `x`.

    One gather over C * H * W values in memory order is the fastest for either format, and the convolution
    after it gets the format it expects. `order` is overwritten, so that only one index tensor exists.
    """
    n, channels, height, width = x.shape
    channel = torch.arange(channels, device=x.device)
    if _has_channels_last(x):
        order = order.transpose(-1, -2).contiguous().mul_(channels).add_(channel)
        rows = _gather(x.movedim(1, -1).flatten(1), order.flatten(-2), 1)
        return rows.reshape(n, height, width, channels).movedim(-1, 1)
    order += (channel * (height * width))[:, None]
    return _gather(x.flatten(1), order.flatten(-2), 1).reshape(x.shape)


# ---------------------------------------------------------------- functions


def channel_shuffle(x: Tensor, stream: Tensor | int, *, per_image: bool = False) -> Tensor:
    """Channel-wise shuffle: the feature maps in random order, positions unchanged.

    Parameters
    ----------
    x
        ``(N, C, H, W)``; the result has the same shape. ValueError for another number of dimensions.
    stream
        What the draw depends on, see :func:`stream_of`.
    per_image
        Whether each image has its own draw; otherwise all share one.

    Examples
    --------
    >>> channel_shuffle(torch.arange(3.0).view(1, 3, 1, 1), stream=7).flatten()
    tensor([0., 2., 1.])
    """
    images, channels, _, _ = _sizes(x, per_image)
    order = channel_permutation(channels, stream, x.device, images=images)
    if _has_channels_last(x):
        return _gather(x.movedim(1, -1), order, 3).movedim(-1, 1)
    return _gather(x.contiguous(), order, 1)


def spatial_shuffle(x: Tensor, stream: Tensor | int, *, per_image: bool = False) -> Tensor:
    """Spatial shuffle: the positions of each feature map in its own random order.

    Parameters and result are those of :func:`channel_shuffle`.

    Examples
    --------
    >>> x = torch.arange(8.0).view(1, 2, 2, 2)
    >>> spatial_shuffle(x, stream=7).flatten(2).sort().values.equal(x.flatten(2))
    True
    """
    return _shuffle_positions(x, None, stream, per_image)


def patch_shuffle(x: Tensor, patch: int, stream: Tensor | int, *, per_image: bool = False) -> Tensor:
    """Patch-wise spatial shuffle: like :func:`spatial_shuffle`, but no value leaves its patch.

    Parameters and result are those of :func:`channel_shuffle`; `patch` is the side of a patch, in positions,
    at least 1. One as large as the map makes this the spatial shuffle.
    """
    return _shuffle_positions(x, patch, stream, per_image)


def joint_shuffle(x: Tensor, stream: Tensor | int, *, per_image: bool = False) -> Tensor:
    """A control of the spatial shuffle: one random order of the positions, the same for all channels.

    What is at a position stays together. Parameters and result are those of :func:`channel_shuffle`.
    """
    images, _, height, width = _sizes(x, per_image)
    order = channel_permutation(height * width, stream, x.device, images=images)
    if _has_channels_last(x):
        rows = _gather(x.movedim(1, -1).flatten(1, 2), order, 1)
        return rows.view(len(x), height, width, -1).movedim(-1, 1)
    return _gather(x.flatten(2), order, 2).view(x.shape)


def block_shuffle(
    x: Tensor, block: tuple[int, int], stream: Tensor | int, *, per_image: bool = False
) -> Tensor:
    """A control of the patch-wise shuffle: blocks change places, their insides stay in order.

    Parameters and result are those of :func:`channel_shuffle`; `block` is the height and width of a block, in
    positions: see :func:`block_permutation`.
    """
    images, channels, height, width = _sizes(x, per_image)
    return _reorder_positions(
        x, block_permutation(channels, height, width, stream, block, x.device, images=images)
    )


def _shuffle_positions(x: Tensor, patch: int | None, stream: Tensor | int, per_image: bool) -> Tensor:
    images, channels, height, width = _sizes(x, per_image)
    return _reorder_positions(  # passed inline so that the index tensor is freed early
        x, spatial_permutation(channels, height, width, stream, patch, x.device, images=images)
    )


def _sizes(x: Tensor, per_image: bool = False) -> tuple[int | None, int, int, int]:
    """C, H and W, before them N where each image has its own draw."""
    if x.dim() != 4:
        raise ValueError(f"found an input of {'x'.join(map(str, x.shape))} to shuffle; expected (N, C, H, W)")
    return x.shape[0] if per_image else None, x.shape[1], x.shape[2], x.shape[3]


# ---------------------------------------------------------------- which draw is next

# Activation checkpointing runs a forward pass again in the backward pass, and the gradient is right only if
# the draw is repeated. As for dropout, torch's generator says which one: each pass takes a number from it,
# its ticket, and checkpointing sets the generator back before it runs a pass again.

_TRAINING, _EVALUATION = 1, 0  # rows of a shuffle's state
_UPCOMING, _OWN, _IS_SET, _TORCH_SEED = range(4)  # its columns, see Shuffle
EVALUATION_KEY = 0x6576616C  # ends the key of draws in evaluation, which so differ from those of training
_MAX_TICKETS = 1 << 14  # of passes whose backward pass may still come

_drawn: OrderedDict[tuple[int, int], int] = OrderedDict()
"""Streams by the address of the shuffle's state and by ticket; of two passes with one ticket the later."""


def _take_draw(state: Tensor, row: int, ticket: int | None) -> int:
    """The stream of a shuffle's next pass, or of the pass that is run again."""
    if torch.cuda.is_initialized() and torch.cuda.is_current_stream_capturing():  # type: ignore[no-untyped-call]
        raise RuntimeError(
            "found the capture of a CUDA graph, which would keep one draw for all passes; expected "
            "torch.compile, or set_shuffling to have no shuffles in this mode"
        )
    place = None if ticket is None else (state.data_ptr(), ticket)
    if torch._C._current_graph_task_id() != -1:  # as in torch.utils.checkpoint: a backward pass runs
        if place is not None and place in _drawn:
            return _drawn[place]
        if _is_recomputing():
            raise RuntimeError(
                "found a forward pass run again in the backward pass (checkpointing) whose draw is not "
                "known; expected preserve_rng_state=True and, in evaluation mode, use_reentrant=False"
            )
    upcoming, own, is_set, torch_seed = state[row].tolist()
    values = state.data  # see _next_draw
    if not is_set and torch_seed != _signed(torch.initial_seed()):
        torch_seed = _signed(torch.initial_seed())
        upcoming = stream_of(torch_seed, own)
        values[row, _TORCH_SEED] = torch_seed
    values[row, _UPCOMING] = _signed(upcoming + 1)
    if place is not None:
        _drawn[place] = upcoming
        _drawn.move_to_end(place)
        if len(_drawn) > _MAX_TICKETS:
            _drawn.popitem(last=False)
    return int(upcoming)


def _is_recomputing() -> bool:
    """Whether torch.utils.checkpoint has called this; needed only where no draw is found."""
    frame: FrameType | None = sys._getframe()
    while frame is not None and frame.f_code.co_filename != torch.utils.checkpoint.__file__:
        frame = frame.f_back
    return frame is not None


# For compiled graphs, in whose backward part an operation of a checkpointed region is run again. The change
# of `state` is not declared, as torch would then refuse to use it there; it goes unseen through `state.data`.
# Calls are not merged, since each has its own random ticket.
@torch.library.custom_op("detector::next_draw", mutates_args=())
def _next_draw(state: Tensor, row: int, ticket: Tensor) -> Tensor:
    """:func:`_take_draw` as an operation: a stream as int64 of no dimensions, on the CPU."""
    return torch.tensor(_take_draw(state, row, int(ticket)), device="cpu")


@_next_draw.register_fake
def _(state: Tensor, row: int, ticket: Tensor) -> Tensor:
    return torch.empty((), dtype=torch.int64, device="cpu")


def _ticket() -> Tensor:
    return torch.randint(1 << 62, (), device="cpu")


# ---------------------------------------------------------------- modules


def as_leaf(module: nn.Module, x: Any) -> Any:
    """While torch.fx traces, a call of the module as a whole, as its draws depend on the pass; else None."""
    if not isinstance(x, torch.fx.Proxy):
        return None
    tracer: Any = x.tracer
    return tracer.create_proxy("call_module", tracer.path_of_module(module), (x,), {})


class Shuffle(nn.Module):
    """Base of the shuffles: decides when to shuffle and draws anew at each forward pass.

    Training mode and evaluation mode have their own draws, and evaluation does not change which come next in
    training. Without :meth:`seek` they start from torch's seed, and anew when :func:`torch.manual_seed` sets
    another one. Each of several processes (torch.distributed) has its own draws. Where activation
    checkpointing repeats a forward pass within the backward pass, the draw is repeated; for this each pass
    takes a number from torch's generator, except in evaluation without gradients.

    The position in the streams of draws is a plain tensor, neither parameter nor buffer: it is not in the
    state dict, and torch.compile treats it as an input instead of recompiling at each step.

    Parameters
    ----------
    key
        Numbers that give this shuffle its own draws under a shared seed: its layer, and its branch.
    in_training, in_evaluation
        Whether it shuffles in training mode and in evaluation mode. Both, as in the paper, by default.
    per_image
        Whether each image of a batch has its own draw; otherwise all share one, as in the paper.
    """

    draws = True
    """Whether its output is random."""
    state: Tensor
    """(2, 4) int64, a row for evaluation and one for training: the next stream, the stream of the key,
    whether :meth:`seek` has set it, and torch's seed from which it started otherwise."""

    def __init__(
        self, *key: int, in_training: bool = True, in_evaluation: bool = True, per_image: bool = False
    ) -> None:
        super().__init__()
        self.key = key
        self.in_training = in_training
        self.in_evaluation = in_evaluation
        self.per_image = per_image
        self._warned = False
        own = [stream_of(*key, EVALUATION_KEY), stream_of(*key)]
        seed = _signed(torch.initial_seed())
        rows = [[stream_of(seed, number), number, 0, seed] for number in own]
        self.state = torch.tensor(rows, device="cpu")  # also under another default device

    @property
    def is_fixed(self) -> bool:
        """Whether :func:`detector.fix_draws` has fixed its draw."""
        return "order" in self._buffers

    def fix(self, seed: int, size: tuple[int, int, int]) -> None:
        """Make all passes those of one draw, that of (seed, 0) in evaluation, for maps of one size (C, H, W).

        ValueError where each image of a batch has its own draw.
        """
        if self.per_image and self.draws:
            raise ValueError(
                f"{type(self).__name__}: found per_image=True, a draw for each image of any batch; expected "
                "shuffles whose draw is shared by all images"
            )
        index = torch.arange(math.prod(size), device="cpu").view(1, *size)
        stream = torch.tensor(stream_of(seed, 0, *self.key, EVALUATION_KEY), device="cpu")
        order = self.permute(index, stream) if self.draws else index
        self.register_buffer("order", order[0].contiguous(), persistent=False)

    def unfix(self) -> None:
        """Draw again, from where the draws were."""
        del self.order

    def seek(self, seed: int, step: int) -> None:
        """Make the next draws those of (seed, step): in training mode for both modes, else for evaluation."""
        streams = [stream_of(seed, step, *self.key, EVALUATION_KEY), stream_of(seed, step, *self.key)]
        for row, stream in enumerate(streams[: 1 + self.training]):
            self.state[row, _UPCOMING], self.state[row, _IS_SET] = stream, 1

    @property
    def stream(self) -> int:
        """Stream of the next draw in the current mode."""
        return int(self.state[int(self.training), _UPCOMING])

    @property
    def active(self) -> bool:
        """Whether the next forward pass shuffles."""
        return self.in_training if self.training else self.in_evaluation

    def has_effect(self, channels: int, height: int, width: int) -> bool:
        """Whether a map of this size has anything that can change places."""
        return height * width > 1

    def permute(self, x: Tensor, stream: Tensor) -> Tensor:
        """One draw applied to ``(N, C, H, W)``: if `draws`, a permutation, or :meth:`fix` would be wrong."""
        raise TypeError(f"{type(self).__name__} cannot shuffle: use one of its subclasses")

    def forward(self, x: Tensor) -> Tensor:
        """Shuffle ``(N, C, H, W)``, or return it unchanged where this mode is not shuffled.

        Raises
        ------
        RuntimeError
            The draws would not be new at each pass, or could not be repeated: see the message.
        """
        if (leaf := as_leaf(self, x)) is not None:
            return leaf  # type: ignore[no-any-return]
        if not self.active:
            return x
        if self.is_fixed:
            return self._permute_as_fixed(x)
        row = _TRAINING if self.training else _EVALUATION
        if torch.compiler.is_compiling():
            stream = _next_draw(self.state, row, _ticket())
        else:
            self._check(x)
            with torch._C._DisableFuncTorch():  # torch.func's transforms forbid random numbers and changes
                ticket = int(_ticket()) if self.training or torch.is_grad_enabled() else None
                stream = torch.tensor(_take_draw(self.state, row, ticket), device="cpu")
        return self.permute(x, stream + _process_offset())

    def _permute_as_fixed(self, x: Tensor) -> Tensor:
        order = self._buffers["order"]
        assert order is not None
        if x.shape[1:] != order.shape:
            expected, found = ("x".join(map(str, size)) for size in (order.shape, x.shape[1:]))
            raise ValueError(
                f"found a map of {found}; expected {expected}, for which fix_draws has fixed the draw: call "
                "it with example= of this size"
            )
        if not self.draws:
            return self.permute(x, torch.zeros((), dtype=torch.int64))
        return x.flatten(1).index_select(1, order.flatten()).view(x.shape)

    def _check(self, x: Tensor) -> None:
        """Raise RuntimeError where draws would not be new; warn of a map in which nothing can move."""
        if torch.jit.is_tracing():  # type: ignore[attr-defined,no-untyped-call]
            raise RuntimeError(
                "found torch.jit.trace, which would keep one draw for all passes; expected torch.export or "
                "torch.compile, or set_shuffling to have no shuffles in this mode"
            )
        if getattr(self, "_is_replica", False):
            raise RuntimeError(
                "found nn.DataParallel on several devices, whose threads would race for the draws; "
                "expected DistributedDataParallel"
            )
        if not self._warned and not self.has_effect(*_sizes(x)[1:]):
            self._warned = True
            warnings.warn(
                f"{type(self).__name__}: found a map of {'x'.join(map(str, x.shape[1:]))}, in which nothing "
                "can move: the layer does what it does without the shuffle",
                stacklevel=2,
            )


class ChannelShuffle(Shuffle):
    """:func:`channel_shuffle` as a module."""

    def has_effect(self, channels: int, height: int, width: int) -> bool:
        """Whether there are several channels."""
        return channels > 1

    def permute(self, x: Tensor, stream: Tensor) -> Tensor:
        """One draw applied to ``(N, C, H, W)``."""
        return channel_shuffle(x, stream, per_image=self.per_image)


class SpatialShuffle(Shuffle):
    """:func:`spatial_shuffle` as a module."""

    def permute(self, x: Tensor, stream: Tensor) -> Tensor:
        """One draw applied to ``(N, C, H, W)``."""
        return spatial_shuffle(x, stream, per_image=self.per_image)


class PatchShuffle(Shuffle):
    """:func:`patch_shuffle` as a module; `patch` is at least 1 position, the rest as of :class:`Shuffle`."""

    def __init__(self, patch: int, *key: int, **options: bool) -> None:
        super().__init__(*key, **options)
        _check_patch(patch)
        self.patch = patch

    def has_effect(self, channels: int, height: int, width: int) -> bool:
        """Whether a patch has several positions."""
        return self.patch > 1 and height * width > 1

    def permute(self, x: Tensor, stream: Tensor) -> Tensor:
        """One draw applied to ``(N, C, H, W)``."""
        return patch_shuffle(x, self.patch, stream, per_image=self.per_image)

    def extra_repr(self) -> str:
        """What printing the module shows."""
        return f"patch={self.patch}"


class JointShuffle(Shuffle):
    """:func:`joint_shuffle` as a module."""

    def permute(self, x: Tensor, stream: Tensor) -> Tensor:
        """One draw applied to ``(N, C, H, W)``."""
        return joint_shuffle(x, stream, per_image=self.per_image)


class BlockShuffle(PatchShuffle):
    """:func:`block_shuffle` of square blocks as a module; `patch` is their side, in positions."""

    def has_effect(self, channels: int, height: int, width: int) -> bool:
        """Whether there are several blocks of one size."""
        counts = [(side // self.patch, int(side % self.patch > 0)) for side in (height, width)]
        return any(math.prod(pair) > 1 for pair in product(*counts))

    def permute(self, x: Tensor, stream: Tensor) -> Tensor:
        """One draw applied to ``(N, C, H, W)``."""
        return block_shuffle(x, (self.patch, self.patch), stream, per_image=self.per_image)


class RowShuffle(Shuffle):
    """:func:`block_shuffle` of whole rows as a module."""

    def has_effect(self, channels: int, height: int, width: int) -> bool:
        """Whether there are several rows."""
        return height > 1

    def permute(self, x: Tensor, stream: Tensor) -> Tensor:
        """One draw applied to ``(N, C, H, W)``."""
        return block_shuffle(x, (1, max(x.shape[3], 1)), stream, per_image=self.per_image)


class ColumnShuffle(Shuffle):
    """:func:`block_shuffle` of whole columns as a module."""

    def has_effect(self, channels: int, height: int, width: int) -> bool:
        """Whether there are several columns."""
        return width > 1

    def permute(self, x: Tensor, stream: Tensor) -> Tensor:
        """One draw applied to ``(N, C, H, W)``."""
        return block_shuffle(x, (max(x.shape[2], 1), 1), stream, per_image=self.per_image)


class SpatialMean(Shuffle):
    """Each channel's mean over the map at all its positions: order and all else but the amount is gone."""

    draws = False

    def permute(self, x: Tensor, stream: Tensor) -> Tensor:
        """The means of ``(N, C, H, W)``, in its memory format."""
        return torch.zeros_like(x) + x.mean((2, 3), keepdim=True)


SHUFFLES: dict[str, type[Shuffle]] = {
    "spatial": SpatialShuffle,
    "patch": PatchShuffle,
    "channel": ChannelShuffle,
    "joint": JointShuffle,
    "blocks": BlockShuffle,
    "rows": RowShuffle,
    "columns": ColumnShuffle,
    "mean": SpatialMean,
}
"""The module of each method that changes feature maps alone; a patch size is its first argument."""


# ---------------------------------------------------------------- tokens, and maps with their channels last


class MapLayout(NamedTuple):
    """Where in ``(N, L, C)`` the positions of a map are; of ``(N, H, W, C)`` all are."""

    before: int
    """Tokens before the map, such as the class token."""
    after: int
    """Tokens after it."""
    height: int
    """Height of the map, in positions."""
    width: int
    """Width of the map, in positions."""


def token_grid(count: int) -> tuple[int, int] | None:
    """How many of the tokens precede a square grid, 0 or 1 (the class token), and the grid's side.

    None where `count` is neither a square above 1 nor one more.

    Examples
    --------
    >>> token_grid(1 + 14 * 14), token_grid(7 * 7), token_grid(200)
    ((1, 14), (0, 7), None)
    """
    for before in (0, 1):
        side = math.isqrt(max(count - before, 0))
        if side > 1 and side * side == count - before:
            return before, side
    return None


class ChannelsLastShuffle(nn.Module):
    """A shuffle of what has its channels last: a map ``(N, H, W, C)``, or tokens ``(N, L, C)``.

    Class, distillation and register tokens are left alone.
    """

    def __init__(self, shuffle: Shuffle, layout: MapLayout) -> None:
        super().__init__()
        self.shuffle = shuffle
        self.layout = layout

    def forward(self, x: Tensor) -> Tensor:
        """Shuffle it. ValueError for a number of tokens that form neither the known map nor a square one."""
        if (leaf := as_leaf(self, x)) is not None:
            return leaf  # type: ignore[no-any-return]
        if not self.shuffle.active:
            return x
        # Both have the memory layout of a channels-last map.
        if x.dim() == 4:
            return self.shuffle(x.movedim(-1, 1)).movedim(1, -1)  # type: ignore[no-any-return]
        channels, height, width = self.map_size(x.shape)
        before, end = self.layout.before, x.shape[1] - self.layout.after
        tokens = x[:, before:end].reshape(-1, height, width, channels).movedim(-1, 1)
        shuffled = self.shuffle(tokens).movedim(1, -1).flatten(1, 2)
        return torch.cat([x[:, :before], shuffled, x[:, end:]], 1)

    def map_size(self, shape: tuple[int, ...]) -> tuple[int, int, int]:
        """Channels, height and width of the map in a tensor of this shape."""
        if len(shape) == 4:
            return shape[3], shape[1], shape[2]
        before, after, height, width = self.layout
        _, count, channels = shape
        if count != before + height * width + after:  # images of another size
            height = width = math.isqrt(max(count - before - after, 0))
            if count != before + height * width + after:
                raise ValueError(
                    f"found {count} tokens; expected {before + after} and a square map, or one of "
                    f"{self.layout.height}x{self.layout.width}"
                )
        return channels, height, width
