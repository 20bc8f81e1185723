"""The permutations that take spatial or channel information away (paper, section 3.1 and Figure 3).

A draw is a pure function of one 64-bit *stream* number: every (channel, position) gets a pseudo-random
key by hashing its index with the stream, and the order of the keys is the permutation. So a draw needs
no generator, is the same on every device, and can be repeated from (seed, step, layer) alone.

Every permutation is drawn anew at each forward pass, in training and in evaluation, is the same for
all images of the batch, and is independent from channel to channel. None has parameters or buffers.
"""

from __future__ import annotations

import hashlib
from typing import Any

import torch
from torch import Tensor, nn

__all__ = [
    "ChannelShuffle",
    "PatchShuffle",
    "Shuffle",
    "SpatialShuffle",
    "channel_permutation",
    "channel_shuffle",
    "patch_shuffle",
    "spatial_permutation",
    "spatial_shuffle",
    "stream_of",
]

# The constants of splitmix64 (Steele et al., 2014, "Fast splittable pseudorandom number generators"),
# written as signed integers because torch has no unsigned 64-bit arithmetic; products wrap around.
_GAMMA = 0x9E3779B97F4A7C15 - (1 << 64)
_FIRST = 0xBF58476D1CE4E5B9 - (1 << 64)
_SECOND = 0x94D049BB133111EB - (1 << 64)
_KEY_BITS = 43  # of a patch-wise key; the 20 bits above them hold the number of the patch
_MAX_PATCHES = 1 << 20


def stream_of(*numbers: int) -> int:
    """The stream of a tuple of integers such as (seed, step, layer): a well-mixed signed 64-bit number.

    Examples
    --------
    >>> stream_of(0, 1) == stream_of(0, 1), stream_of(0, 1) == stream_of(1, 0)
    (True, False)
    """
    text = ",".join(str(int(number)) for number in numbers)
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big", signed=True)


def _mix(z: Tensor) -> Tensor:
    """splitmix64's finaliser on int64; the masks make each right shift a logical one."""
    z = (z ^ ((z >> 30) & ((1 << 34) - 1))) * _FIRST
    z = (z ^ ((z >> 27) & ((1 << 37) - 1))) * _SECOND
    return z ^ ((z >> 31) & ((1 << 33) - 1))


def _keys(count: int, stream: Tensor | int, device: torch.device | None) -> Tensor:
    """`count` pseudo-random int64 keys of a stream, ``(count,)``."""
    index = torch.arange(1, count + 1, device=device)
    # 0-dim and on the CPU, so that a GPU is not waited for.
    start = _mix(torch.as_tensor(stream, dtype=torch.int64, device="cpu"))
    return _mix(index * _GAMMA + start)


def channel_permutation(channels: int, stream: Tensor | int, device: torch.device | None = None) -> Tensor:
    """A random order of the channels.

    Parameters
    ----------
    channels
        Their number C.
    stream
        What the draw depends on, see :func:`stream_of`.
    device
        Where the result lies.

    Returns
    -------
    Tensor
        ``(C,)`` int64; output channel c is input channel ``order[c]``.
    """
    return _keys(channels, stream, device).argsort()


def spatial_permutation(
    channels: int,
    height: int,
    width: int,
    stream: Tensor | int,
    patch: int | None = None,
    device: torch.device | None = None,
) -> Tensor:
    """For each channel an independent random order of its positions.

    Parameters
    ----------
    channels, height, width
        C, H and W of the feature map.
    stream
        What the draw depends on, see :func:`stream_of`.
    patch
        Side of the patches, in positions, that no value may leave; the last row and column of patches are
        smaller where it does not divide the map. None: the whole map is one patch.
    device
        Where the result lies.

    Returns
    -------
    Tensor
        ``(C, H * W)`` int64; output position i of channel c is input position ``order[c, i]``.

    Raises
    ------
    ValueError
        `patch` below 1, or more than 1,048,576 patches.
    """
    keys = _keys(channels * height * width, stream, device).view(channels, height * width)
    if patch is None or patch >= max(height, width):
        return keys.argsort(dim=1)
    if patch < 1:
        raise ValueError(f"patch must be at least 1 position, found {patch}")
    columns = -(-width // patch)
    if columns * -(-height // patch) > _MAX_PATCHES:
        raise ValueError(f"a {height}x{width} map has too many patches of {patch}; take larger patches")
    row = torch.arange(height, device=device) // patch
    column = torch.arange(width, device=device) // patch
    patch_of = (row[:, None] * columns + column).flatten()  # (H * W,)
    # Sorting by (patch, random key) lists each patch's positions in random order; the stable sort by
    # patch alone lists the same patch's places, in the same stretch of the list.
    shuffled = ((patch_of << _KEY_BITS) | (keys & ((1 << _KEY_BITS) - 1))).argsort(dim=1)
    places = patch_of.argsort(stable=True)
    return torch.empty_like(shuffled).scatter_(1, places.expand_as(shuffled), shuffled)


class _Gather(torch.autograd.Function):
    """Gather along the last dimension by a permutation; its gradient is the gather by the inverse.

    torch.gather's own backward adds with atomics, as its indices may repeat: slower, and not
    deterministic on a GPU. A permutation's never do.
    """

    @staticmethod
    def forward(ctx: Any, values: Tensor, order: Tensor) -> Tensor:  # (N, C, L), (C, L)
        ctx.save_for_backward(order)
        return values.gather(-1, order.expand_as(values))

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        (order,) = ctx.saved_tensors
        places = torch.arange(order.shape[-1], device=order.device).expand_as(order)
        inverse = torch.empty_like(order).scatter_(-1, order, places)
        return _gather(gradients[0], inverse), None


def _gather(values: Tensor, order: Tensor) -> Tensor:
    gathered: Tensor = _Gather.apply(values, order)  # type: ignore[no-untyped-call]
    return gathered


def _laid_out_as(x: Tensor, shuffled: Tensor) -> Tensor:
    """`shuffled` in the memory format of `x`, so that the convolution behind it keeps its speed."""
    last = x.is_contiguous(memory_format=torch.channels_last) and not x.is_contiguous()
    return shuffled.contiguous(memory_format=torch.channels_last if last else torch.contiguous_format)


def _permute_positions(x: Tensor, order: Tensor) -> Tensor:
    """Reorder the positions of each channel, (N, C, H, W) by (C, H * W)."""
    return _laid_out_as(x, _gather(x.flatten(2), order).view(x.shape))


def channel_shuffle(x: Tensor, stream: Tensor | int) -> Tensor:
    """Channel-wise shuffle: the feature maps in random order, every position where it was.

    Parameters
    ----------
    x
        ``(N, C, H, W)``.
    stream
        What the draw depends on, see :func:`stream_of`.

    Returns
    -------
    Tensor
        Of the same shape.
    """
    order = channel_permutation(x.shape[1], stream, x.device)
    return _laid_out_as(x, _gather(x.movedim(1, -1), order).movedim(-1, 1))


def spatial_shuffle(x: Tensor, stream: Tensor | int) -> Tensor:
    """Spatial shuffle: each feature map's positions in a random order of its own.

    Parameters
    ----------
    x
        ``(N, C, H, W)``.
    stream
        What the draw depends on, see :func:`stream_of`.

    Returns
    -------
    Tensor
        Of the same shape.

    Examples
    --------
    >>> x = torch.arange(8.0).view(1, 2, 2, 2)
    >>> spatial_shuffle(x, stream=7).flatten(2).sort().values.equal(x.flatten(2))
    True
    """
    _, channels, height, width = x.shape
    return _permute_positions(x, spatial_permutation(channels, height, width, stream, device=x.device))


def patch_shuffle(x: Tensor, patch: int, stream: Tensor | int) -> Tensor:
    """Patch-wise spatial shuffle: like :func:`spatial_shuffle`, but no value leaves its patch.

    Parameters
    ----------
    x
        ``(N, C, H, W)``.
    patch
        Side of a patch, in positions; one as large as the map makes this the spatial shuffle.
    stream
        What the draw depends on, see :func:`stream_of`.

    Returns
    -------
    Tensor
        Of the same shape.

    Raises
    ------
    ValueError
        `patch` below 1.
    """
    _, channels, height, width = x.shape
    return _permute_positions(x, spatial_permutation(channels, height, width, stream, patch, x.device))


class Shuffle(nn.Module):
    """Base of the shuffles: decides when to shuffle and draws anew at each forward pass.

    The position in the stream of draws is a plain tensor, neither parameter nor buffer: a state dict
    has no trace of it, and torch.compile reads it as an input instead of compiling each step anew.

    Parameters
    ----------
    key
        Tells this shuffle's draws from those of others under the same seed: its layer, and its branch.
    in_training, in_evaluation
        Whether it shuffles in training mode and in evaluation mode. Both, as in the paper, by default.
    """

    stream: Tensor

    def __init__(self, *key: int, in_training: bool = True, in_evaluation: bool = True) -> None:
        super().__init__()
        self.key = key
        self.in_training = in_training
        self.in_evaluation = in_evaluation
        # On the CPU also where the network is built under another default device.
        self.stream = torch.zeros((), dtype=torch.int64, device="cpu")
        self.seek(seed=0, step=0)

    def seek(self, seed: int, step: int) -> None:
        """Make the coming draws those of (seed, step): the first, the second … after this call."""
        self.stream.fill_(stream_of(seed, step, *self.key))

    def permute(self, x: Tensor) -> Tensor:
        """One draw applied to ``(N, C, H, W)``; each kind of shuffle defines it."""
        raise TypeError(f"{type(self).__name__} is no shuffle of its own: use one of its subclasses")

    def forward(self, x: Tensor) -> Tensor:
        """Shuffle ``(N, C, H, W)``, or hand it on where this mode is not shuffled."""
        if not (self.in_training if self.training else self.in_evaluation):
            return x
        shuffled = self.permute(x)
        self.stream.add_(1)
        return shuffled


class ChannelShuffle(Shuffle):
    """:func:`channel_shuffle` as a module."""

    def permute(self, x: Tensor) -> Tensor:
        """One draw applied to ``(N, C, H, W)``."""
        return channel_shuffle(x, self.stream)


class SpatialShuffle(Shuffle):
    """:func:`spatial_shuffle` as a module."""

    def permute(self, x: Tensor) -> Tensor:
        """One draw applied to ``(N, C, H, W)``."""
        return spatial_shuffle(x, self.stream)


class PatchShuffle(Shuffle):
    """:func:`patch_shuffle` as a module.

    Parameters
    ----------
    patch
        Side of a patch, in positions.
    key, in_training, in_evaluation
        As of :class:`Shuffle`.

    Raises
    ------
    ValueError
        `patch` below 1.
    """

    def __init__(self, patch: int, *key: int, in_training: bool = True, in_evaluation: bool = True) -> None:
        super().__init__(*key, in_training=in_training, in_evaluation=in_evaluation)
        if patch < 1:
            raise ValueError(f"patch must be at least 1 position, found {patch}")
        self.patch = patch

    def permute(self, x: Tensor) -> Tensor:
        """One draw applied to ``(N, C, H, W)``."""
        return patch_shuffle(x, self.patch, self.stream)

    def extra_repr(self) -> str:
        """What printing the module shows."""
        return f"patch={self.patch}"
