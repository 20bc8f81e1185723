"""One gather that puts the channels or the positions of feature maps into another order."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from detector.permutation import inverse_permutation

__all__ = ["reorder_channels", "reorder_positions"]


class _Gather(torch.autograd.Function):
    """Reorder a dimension by a permutation; the gradient is reordered by its inverse.

    The backward of torch's own operations adds with atomics, as an index may occur twice there: slower, and
    not deterministic on a GPU. In a permutation none does.
    """

    generate_vmap_rule = True

    @staticmethod
    def forward(values: Tensor, order: Tensor, dim: int) -> Tensor:
        # One order for all images is (L,), one for each (N, L); values are (N, …) with L along `dim`.
        if order.dim() == 1 and dim == 1 and values.dim() > 2:  # whole maps; gather alone uses all cores
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
        return _gather(gradients[0], inverse_permutation(order), ctx.dim), None, None


def _gather(values: Tensor, order: Tensor, dim: int) -> Tensor:
    gathered: Tensor = _Gather.apply(values, order, dim)  # type: ignore[no-untyped-call]
    return gathered


def _has_channels_last(x: Tensor) -> bool:
    # The same as is_contiguous(memory_format=torch.channels_last), which vmap does not know.
    return not x.is_contiguous() and x.movedim(1, -1).is_contiguous()


def reorder_channels(x: Tensor, order: Tensor) -> Tensor:
    """Channels in another order.

    Parameters
    ----------
    x
        ``(N, C, H, W)``.
    order
        ``(C,)``, or ``(N, C)`` with one for each image.

    Returns
    -------
    Tensor
        ``(N, C, H, W)`` in the memory format of `x`.
    """
    if _has_channels_last(x):
        return _gather(x.movedim(1, -1), order, 3).movedim(-1, 1)
    return _gather(x.contiguous(), order, 1)


def reorder_positions(x: Tensor, order: Tensor) -> Tensor:
    """Each channel's positions in another order.

    Each image is taken as one row of C * H * W values in the order of memory: that one gather is the fastest
    for either memory format, and the convolution behind it finds the format that it was given.

    Parameters
    ----------
    x
        ``(N, C, H, W)``.
    order
        ``(C, H * W)``, or ``(N, C, H * W)`` with one for each image. It is written over, so that only one
        index tensor lies beside the output.

    Returns
    -------
    Tensor
        ``(N, C, H, W)`` in the memory format of `x`.
    """
    n, channels, height, width = x.shape
    channel = torch.arange(channels, device=x.device)
    if _has_channels_last(x):
        order = order.transpose(-1, -2).contiguous().mul_(channels).add_(channel)
        rows = _gather(x.movedim(1, -1).flatten(1), order.flatten(-2), 1)
        return rows.reshape(n, height, width, channels).movedim(-1, 1)
    order += (channel * (height * width))[:, None]
    return _gather(x.flatten(1), order.flatten(-2), 1).reshape(x.shape)
