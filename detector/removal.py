"""Takes shuffles out of a network again: the inverse of :func:`detector.modify_layers`.

>>> from detector import modify_layers, vgg16
>>> network = remove_shuffles(modify_layers(vgg16(100), "spatial", last=4))
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TypeVar

from torch import nn
from torchvision.models.resnet import BasicBlock, Bottleneck

from detector.entrance import remove_shuffle_before
from detector.shuffle import Shuffle
from detector.tokens import TokenShuffle

__all__ = ["remove_shuffles", "without_shuffles"]

Network = TypeVar("Network", bound=nn.Module)


def remove_shuffles(network: Network) -> Network:
    """Take out again, in place, the shuffles that :func:`modify_layers` put into a network.

    What ``gap_fc`` changed stays changed.

    Parameters
    ----------
    network
        With or without shuffles.

    Returns
    -------
    nn.Module
        `network` itself.

    Examples
    --------
    >>> from detector import ChannelShuffle, modify_layers, vgg16
    >>> network = remove_shuffles(modify_layers(vgg16(100), "channel", last=4))
    >>> any(isinstance(module, ChannelShuffle) for module in network.modules())
    False
    """
    for module, name in _places(network):
        _take_out(module, name)
    return network


@contextmanager
def without_shuffles(network: Network) -> Iterator[Network]:
    """A network without its shuffles for the duration of a ``with`` block.

    Those that :func:`modify_layers` puts into it meanwhile are gone afterwards, and its own are back, in the
    midst of their draws.

    Examples
    --------
    >>> from detector import modify_layers, vgg16
    >>> network = modify_layers(vgg16(100), "spatial", last=1)
    >>> with without_shuffles(network):
    ...     network = modify_layers(network, "channel", last=1)
    >>> network.features[-4]
    Conv2d(
      512, 512, kernel_size=(3, 3), stride=(1, 1), padding=(1, 1)
      (input_shuffle): SpatialShuffle()
    )
    """
    before = [
        (
            module,
            name,
            getattr(module, name),
            dict(module._forward_pre_hooks),
            dict(module._forward_pre_hooks_with_kwargs),
        )
        for module, name in _places(network)
    ]
    remove_shuffles(network)
    try:
        yield network
    finally:
        remove_shuffles(network)
        for module, name, shuffle, hooks, named in before:
            setattr(module, name, shuffle)
            # Each hook in its old place among others; those that came in meanwhile stay.
            hooks |= module._forward_pre_hooks
            module._forward_pre_hooks.clear()
            module._forward_pre_hooks.update(hooks)
            module._forward_pre_hooks_with_kwargs.update(named)


def _places(network: nn.Module) -> list[tuple[nn.Module, str]]:
    """Where :func:`modify_layers` put shuffles: the module that carries one, and its name there."""
    return [
        (module, name)
        for module in network.modules()
        for name, child in module.named_children()
        if isinstance(child, Shuffle | TokenShuffle)
        and (
            name == "input_shuffle" or (name == "downsample" and isinstance(module, BasicBlock | Bottleneck))
        )
    ]


def _is_shortcut(module: nn.Module, name: str) -> bool:
    return name == "downsample" and isinstance(module, BasicBlock | Bottleneck)


def _take_out(module: nn.Module, name: str) -> None:
    if _is_shortcut(module, name):
        del module.downsample
        setattr(module, name, None)  # as torchvision has it where a shortcut is none
    else:
        remove_shuffle_before(module)
