"""Random permutations that are pure functions of one 64-bit *stream* number.

Every (channel, position) gets a pseudo-random key by hashing its index with the stream, and the order of
the keys is the permutation. So a draw needs no generator, is the same on every device, and can be
repeated from (seed, step, layer) alone.
"""

from __future__ import annotations

import hashlib
import math

import torch
from torch import Tensor

__all__ = ["channel_permutation", "inverse_permutation", "spatial_permutation", "stream_of"]

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
    """splitmix64's finaliser on int64, in place; the masks make each right shift a logical one."""
    z ^= (z >> 30).bitwise_and_((1 << 34) - 1)
    z *= _FIRST
    z ^= (z >> 27).bitwise_and_((1 << 37) - 1)
    z *= _SECOND
    z ^= (z >> 31).bitwise_and_((1 << 33) - 1)
    return z


def _keys(shape: tuple[int, ...], stream: Tensor | int, device: torch.device | None) -> Tensor:
    """Pseudo-random int64 keys of a stream."""
    # 0-dim and on the CPU, so that a GPU is not waited for.
    start = _mix(torch.as_tensor(stream, dtype=torch.int64, device="cpu").clone())
    index = torch.arange(1, math.prod(shape) + 1, device=device)
    return _mix(index.mul_(_GAMMA).add_(start)).view(shape)


def channel_permutation(
    channels: int, stream: Tensor | int, device: torch.device | None = None, *, images: int | None = None
) -> Tensor:
    """A random order of the channels.

    Parameters
    ----------
    channels
        Their number C.
    stream
        What the draw depends on, see :func:`stream_of`.
    device
        Where the result lies.
    images
        None: one order for all images. Otherwise the number N of images, each with an order of its own; the
        first has the order that all would share.

    Returns
    -------
    Tensor
        ``(C,)`` or ``(N, C)`` int64; output channel c is input channel ``order[..., c]``.
    """
    shape = (channels,) if images is None else (images, channels)
    return _keys(shape, stream, device).argsort(dim=-1)


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
    images
        None: one draw for all images. Otherwise the number N of images, each with a draw of its own.

    Returns
    -------
    Tensor
        ``(C, H * W)`` or ``(N, C, H * W)`` int64; output position i of channel c is input position
        ``order[..., c, i]``.

    Raises
    ------
    ValueError
        `patch` below 1, or more than 1,048,576 patches.
    """
    shape = (channels, height * width) if images is None else (images, channels, height * width)
    keys = _keys(shape, stream, device)
    if patch is None or patch >= max(height, width):
        return keys.argsort(dim=-1)
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
    shuffled = ((patch_of << _KEY_BITS) | (keys & ((1 << _KEY_BITS) - 1))).argsort(dim=-1)
    places = patch_of.argsort(stable=True)
    return torch.empty_like(shuffled).scatter_(-1, places.expand_as(shuffled), shuffled)


def inverse_permutation(order: Tensor) -> Tensor:
    """The permutations that undo those of the last dimension."""
    places = torch.arange(order.shape[-1], device=order.device).expand_as(order)
    return torch.empty_like(order).scatter_(-1, order, places)
