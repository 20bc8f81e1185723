"""The shuffles that take spatial or channel information away (paper, section 3.1 and Figure 3).

Every permutation is drawn anew at each forward pass, in training and in evaluation, is the same for
all images of the batch unless asked otherwise, and is independent from channel to channel. None has
parameters or buffers. :mod:`detector.permutation` says how they are drawn.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from detector.permutation import channel_permutation, inverse_permutation, spatial_permutation, stream_of

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

_RANK_STEP = 0x632BE59BD9B4E019  # odd and large: no two processes meet in one stream within any run


class _Gather(torch.autograd.Function):
    """Reorder a dimension by a permutation; the gradient is reordered by its inverse.

    The backward of torch's own operations adds with atomics, as an index may occur twice there: slower, and
    not deterministic on a GPU. In a permutation none does.
    """

    @staticmethod
    def forward(ctx: Any, values: Tensor, order: Tensor, dim: int) -> Tensor:
        # One order for all images is (L,), one for each (N, L); values are (N, …) with L along `dim`.
        ctx.save_for_backward(order)
        ctx.dim = dim
        if order.dim() == 1 and dim == 1:
            return values.index_select(dim, order)
        shape = [1] * values.dim()
        shape[dim] = order.shape[-1]
        shape[0] = order.numel() // order.shape[-1]
        return values.gather(dim, order.view(shape).expand_as(values))

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        (order,) = ctx.saved_tensors
        return _gather(gradients[0], inverse_permutation(order), ctx.dim), None, None


def _gather(values: Tensor, order: Tensor, dim: int) -> Tensor:
    gathered: Tensor = _Gather.apply(values, order, dim)  # type: ignore[no-untyped-call]
    return gathered


def _has_channels_last(x: Tensor) -> bool:
    return x.is_contiguous(memory_format=torch.channels_last) and not x.is_contiguous()


def _reorder_channels(x: Tensor, order: Tensor) -> Tensor:
    """``(N, C, H, W)`` by ``(C,)`` or ``(N, C)``, in the memory format of `x`."""
    if _has_channels_last(x):
        return _gather(x.movedim(1, -1), order, 3).movedim(-1, 1)
    return _gather(x.contiguous(), order, 1)


def _reorder_positions(x: Tensor, order: Tensor) -> Tensor:
    """``(N, C, H, W)`` by ``(C, H * W)`` or ``(N, C, H * W)``, in the memory format of `x`.

    Each image is taken as one row of C * H * W values in the order of memory: that one gather is the fastest
    for either memory format, and the convolution behind it finds the format that it was given. `order` is
    written over, so that only one index tensor lies beside the output.
    """
    n, channels, height, width = x.shape
    channel = torch.arange(channels, device=x.device)
    if _has_channels_last(x):
        order = order.transpose(-1, -2).contiguous().mul_(channels).add_(channel)
        rows = _gather(x.movedim(1, -1).flatten(1), order.flatten(-2), 1)
        return rows.view(n, height, width, channels).movedim(-1, 1)
    order += (channel * (height * width))[:, None]
    return _gather(x.flatten(1), order.flatten(-2), 1).view(x.shape)


def channel_shuffle(x: Tensor, stream: Tensor | int, *, per_image: bool = False) -> Tensor:
    """Channel-wise shuffle: the feature maps in random order, every position where it was.

    Parameters
    ----------
    x
        ``(N, C, H, W)``.
    stream
        What the draw depends on, see :func:`stream_of`.
    per_image
        Whether each image has a draw of its own; otherwise all share one.

    Returns
    -------
    Tensor
        Of the same shape.
    """
    images = x.shape[0] if per_image else None
    order = channel_permutation(x.shape[1], stream, x.device, images=images)
    return _reorder_channels(x, order)


def spatial_shuffle(x: Tensor, stream: Tensor | int, *, per_image: bool = False) -> Tensor:
    """Spatial shuffle: each feature map's positions in a random order of its own.

    Parameters
    ----------
    x
        ``(N, C, H, W)``.
    stream
        What the draw depends on, see :func:`stream_of`.
    per_image
        Whether each image has a draw of its own; otherwise all share one.

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
    return _shuffle_positions(x, None, stream, per_image)


def patch_shuffle(x: Tensor, patch: int, stream: Tensor | int, *, per_image: bool = False) -> Tensor:
    """Patch-wise spatial shuffle: like :func:`spatial_shuffle`, but no value leaves its patch.

    Parameters
    ----------
    x
        ``(N, C, H, W)``.
    patch
        Side of a patch, in positions; one as large as the map makes this the spatial shuffle.
    stream
        What the draw depends on, see :func:`stream_of`.
    per_image
        Whether each image has a draw of its own; otherwise all share one.

    Returns
    -------
    Tensor
        Of the same shape.

    Raises
    ------
    ValueError
        `patch` below 1.
    """
    return _shuffle_positions(x, patch, stream, per_image)


def _shuffle_positions(x: Tensor, patch: int | None, stream: Tensor | int, per_image: bool) -> Tensor:
    n, channels, height, width = x.shape
    images = n if per_image else None
    return _reorder_positions(
        x, spatial_permutation(channels, height, width, stream, patch, x.device, images=images)
    )


def _process_number() -> int:
    """Which of the processes that train together this one is; 0 where it is alone."""
    distributed = torch.distributed
    return distributed.get_rank() if distributed.is_available() and distributed.is_initialized() else 0


class Shuffle(nn.Module):
    """Base of the shuffles: decides when to shuffle and draws anew at each forward pass.

    The position in the stream of draws is a plain tensor, neither parameter nor buffer: a state dict
    has no trace of it, and torch.compile reads it as an input instead of compiling each step anew. Of
    several processes (torch.distributed) each has draws of its own.

    Parameters
    ----------
    key
        Tells this shuffle's draws from those of others under the same seed: its layer, and its branch.
    in_training, in_evaluation
        Whether it shuffles in training mode and in evaluation mode. Both, as in the paper, by default.
    per_image
        Whether each image of a batch has a draw of its own; otherwise all share one, as in the paper.
    """

    stream: Tensor

    def __init__(
        self, *key: int, in_training: bool = True, in_evaluation: bool = True, per_image: bool = False
    ) -> None:
        super().__init__()
        self.key = key
        self.in_training = in_training
        self.in_evaluation = in_evaluation
        self.per_image = per_image
        # On the CPU also where the network is built under another default device.
        self.stream = torch.zeros((), dtype=torch.int64, device="cpu")
        self.seek(seed=0, step=0)

    def seek(self, seed: int, step: int) -> None:
        """Make the coming draws those of (seed, step): the first, the second … after this call."""
        self.stream.fill_(stream_of(seed, step, *self.key))

    @property
    def active(self) -> bool:
        """Whether the next forward pass shuffles."""
        return self.in_training if self.training else self.in_evaluation

    def permute(self, x: Tensor, stream: Tensor) -> Tensor:
        """One draw applied to ``(N, C, H, W)``; each kind of shuffle defines it."""
        raise TypeError(f"{type(self).__name__} is no shuffle of its own: use one of its subclasses")

    def forward(self, x: Tensor) -> Tensor:
        """Shuffle ``(N, C, H, W)``, or hand it on where this mode is not shuffled."""
        if not self.active:
            return x
        shuffled = self.permute(x, self.stream + _process_number() * _RANK_STEP)
        self.stream.add_(1)
        return shuffled


class ChannelShuffle(Shuffle):
    """:func:`channel_shuffle` as a module."""

    def permute(self, x: Tensor, stream: Tensor) -> Tensor:
        """One draw applied to ``(N, C, H, W)``."""
        return channel_shuffle(x, stream, per_image=self.per_image)


class SpatialShuffle(Shuffle):
    """:func:`spatial_shuffle` as a module."""

    def permute(self, x: Tensor, stream: Tensor) -> Tensor:
        """One draw applied to ``(N, C, H, W)``."""
        return spatial_shuffle(x, stream, per_image=self.per_image)


class PatchShuffle(Shuffle):
    """:func:`patch_shuffle` as a module.

    Parameters
    ----------
    patch
        Side of a patch, in positions.
    key, in_training, in_evaluation, per_image
        As of :class:`Shuffle`.

    Raises
    ------
    ValueError
        `patch` below 1.
    """

    def __init__(
        self,
        patch: int,
        *key: int,
        in_training: bool = True,
        in_evaluation: bool = True,
        per_image: bool = False,
    ) -> None:
        super().__init__(*key, in_training=in_training, in_evaluation=in_evaluation, per_image=per_image)
        if patch < 1:
            raise ValueError(f"patch must be at least 1 position, found {patch}")
        self.patch = patch

    def permute(self, x: Tensor, stream: Tensor) -> Tensor:
        """One draw applied to ``(N, C, H, W)``."""
        return patch_shuffle(x, self.patch, stream, per_image=self.per_image)

    def extra_repr(self) -> str:
        """What printing the module shows."""
        return f"patch={self.patch}"
