"""The shuffles that take spatial or channel information away (paper, section 3.1 and Figure 3).

Every permutation is drawn anew at each forward pass, in training and in evaluation, is the same for
all images of the batch unless asked otherwise, and is independent from channel to channel. None has
parameters or buffers. :mod:`detector.permutation` says how they are drawn.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from detector.permutation import channel_permutation, spatial_permutation, stream_of
from detector.reorder import reorder_channels, reorder_positions

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

    Raises
    ------
    ValueError
        `x` has not four dimensions.
    """
    images, channels, _, _ = _sizes(x)
    order = channel_permutation(channels, stream, x.device, images=images if per_image else None)
    return reorder_channels(x, order)


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

    Raises
    ------
    ValueError
        `x` has not four dimensions.

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
        `patch` below 1, or `x` has not four dimensions.
    """
    return _shuffle_positions(x, patch, stream, per_image)


def _shuffle_positions(x: Tensor, patch: int | None, stream: Tensor | int, per_image: bool) -> Tensor:
    n, channels, height, width = _sizes(x)
    images = n if per_image else None
    return reorder_positions(
        x, spatial_permutation(channels, height, width, stream, patch, x.device, images=images)
    )


def _sizes(x: Tensor) -> tuple[int, int, int, int]:
    if x.dim() != 4:
        raise ValueError(f"found an input of {'x'.join(map(str, x.shape))} to shuffle; expected (N, C, H, W)")
    return x.shape[0], x.shape[1], x.shape[2], x.shape[3]


def _process_number() -> int:
    """Which of the processes that train together this one is; 0 where it is alone."""
    distributed = torch.distributed
    return distributed.get_rank() if distributed.is_available() and distributed.is_initialized() else 0


class Shuffle(nn.Module):
    """Base of the shuffles: decides when to shuffle and draws anew at each forward pass.

    The position in the stream of draws is a plain tensor, neither parameter nor buffer: a state dict
    has no trace of it, and torch.compile reads it as an input instead of compiling each step anew. Of
    several processes (torch.distributed) each has draws of its own. Where activation checkpointing runs a
    forward pass once more within the backward pass, the draw is repeated, provided that :meth:`seek` was
    called before the pass.

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
        self._start = stream_of(seed, step, *self.key)
        self.stream.fill_(self._start)

    @property
    def active(self) -> bool:
        """Whether the next forward pass shuffles."""
        return self.in_training if self.training else self.in_evaluation

    def permute(self, x: Tensor, stream: Tensor) -> Tensor:
        """One draw applied to ``(N, C, H, W)``; each kind of shuffle defines it."""
        raise TypeError(f"{type(self).__name__} is no shuffle of its own: use one of its subclasses")

    def forward(self, x: Tensor) -> Tensor:
        """Shuffle ``(N, C, H, W)``, or hand it on where this mode is not shuffled.

        Raises
        ------
        ValueError
            `x` has not four dimensions.
        RuntimeError
            The draws could not be those of (seed, step): see the message.
        """
        if not self.active:
            return x
        again = not torch.compiler.is_compiling() and self._runs_again()
        draw = self.stream - 1 if again else self.stream
        shuffled = self.permute(x, draw + _process_number() * _RANK_STEP)
        if not again:
            self._advance()
        return shuffled

    def _advance(self) -> None:
        """To the next draw."""
        if torch.compiler.is_compiling():
            self.stream.add_(1)
        else:  # torch.func's transforms forbid to change what they do not see as an argument
            with torch._C._DisableFuncTorch():
                self.stream.add_(1)

    def _runs_again(self) -> bool:
        """Whether this pass repeats another, within a backward pass; refuses what cannot draw rightly."""
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
        if torch._C._current_graph_task_id() == -1:  # as torch's own checkpointing asks: in no backward pass
            return False
        draws = (int(self.stream) - self._start) % 2**64
        if draws != 1:
            raise RuntimeError(
                f"found a forward pass run again in the backward pass (checkpointing) after {draws} draws; "
                "expected one draw of each shuffle since seek_shuffles, or it is not known which to repeat"
            )
        return True


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
