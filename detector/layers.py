"""What a layer of a network is, and what the networks' layers see.

A layer is one convolution of VGG-16 and one residual block of a ResNet (paper, section 3.2), one encoder
block of a vision transformer, and in any other network one convolution with spatial extent, that is with a
kernel larger than 1×1. Layers count from 1 at the input, in the order in which they are run.

>>> from detector import list_layers, vgg16
>>> for layer in list_layers(vgg16(100))[-4:]:
...     print(layer)
10  last=4   31 %   512x4x4       features.30  Conv2d
11  last=3   23 %   512x2x2       features.34  Conv2d
12  last=2   15 %   512x2x2       features.37  Conv2d
13  last=1    8 %   512x2x2       features.40  Conv2d
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from torch import nn
from torchvision.models.resnet import BasicBlock, Bottleneck
from torchvision.models.vision_transformer import EncoderBlock

from detector.gap_fc import FullyConnected
from detector.probe import Example, Seen, inputs_seen, trunk
from detector.tokens import token_grid

__all__ = ["Layer", "find_layers", "list_layers", "residual_blocks", "sees_a_map"]


# Of torch's modules, those that take (N, C, L).
_CHANNELS_FIRST = (
    nn.modules.conv._ConvNd,
    nn.modules.batchnorm._NormBase,
    nn.modules.pooling._MaxPoolNd,
    nn.modules.pooling._AvgPoolNd,
    nn.modules.pooling._LPPoolNd,
    nn.modules.pooling._AdaptiveAvgPoolNd,
    nn.modules.pooling._AdaptiveMaxPoolNd,
)


@dataclass(frozen=True)
class Layer:
    """A layer that :func:`detector.modify_layers` can change."""

    number: int
    """Counted from 1 at the input."""
    last: int
    """How many layers there are from this one to the output, itself included: the k of ``last=k``."""
    percent: int
    """What part of all layers those are, in whole percent: the x axis of the paper's Figures 4 and 5."""
    name: str
    """Of its module in the network."""
    kind: str
    """The class of that module."""
    channels: int
    """Of the feature map that enters it; of a vision transformer, the width of a token."""
    height: int
    """Of that map, in positions; of a transformer, the rows of its grid of patches. 0: it is not run."""
    width: int
    """Of that map, in positions."""

    def __str__(self) -> str:
        size = f"{self.channels}x{self.height}x{self.width}"
        return (
            f"{self.number:2}  last={self.last:<2} {self.percent:3} %   {size:12}  {self.name}  {self.kind}"
        )


def residual_blocks(network: nn.Module) -> list[nn.Module]:
    """The layers of a ResNet: its residual blocks, in order from the input.

    Of a detector, those of its backbone alone: the head has bottlenecks too.

    Examples
    --------
    >>> from detector.backbone import resnet50
    >>> len(residual_blocks(resnet50()))
    16
    """
    return [module for module in trunk(network).modules() if isinstance(module, BasicBlock | Bottleneck)]


def list_layers(network: nn.Module, example: Example | None = None) -> list[Layer]:
    """The layers of a network, in the order in which they are run.

    Besides these, every convolution can be named to :func:`detector.modify_layers`, also those of 1×1.

    Parameters
    ----------
    network
        Any network that takes images. It is run once, on the meta device where it can be: nothing in it
        changes.
    example
        Images ``(N, C, H, W)`` to run it with, or the size of an image in pixels. Otherwise the network's own
        `image_size`: 32×32 for :func:`detector.vgg16` and for ResNets with the small stem; 224×224 where
        there is none.

    Returns
    -------
    list of Layer

    Raises
    ------
    ValueError
        The network has no layers or cannot be run with that input.
    """
    seen = inputs_seen(network, example)
    names = {module: name for name, module in network.named_modules()}
    layers = find_layers(network, seen)
    count = len(layers)
    return [
        Layer(
            number,
            count - number + 1,
            (200 * (count - number + 1) + count) // (2 * count),  # a half is rounded up
            names[module],
            type(module).__name__,
            *_size(seen.get(module, ())),
        )
        for number, module in enumerate(layers, start=1)
    ]


def find_layers(network: nn.Module, seen: Seen | None = None) -> list[nn.Module]:
    """The modules that are the layers of a network, in the order in which they are run.

    Parameters
    ----------
    network
        Any.
    seen
        What :func:`inputs_seen` says of it, where that is known already.

    Raises
    ------
    ValueError
        There are none, or the network had to be run to find them and cannot be.
    """
    blocks = residual_blocks(network) or [
        module for module in trunk(network).modules() if isinstance(module, EncoderBlock)
    ]
    if blocks:
        return blocks
    inside = set(trunk(network).modules())
    if any(isinstance(module, nn.Conv2d) for module in inside):
        seen = inputs_seen(network) if seen is None else seen
        blocks = [module for module in seen if module in inside and _has_extent(module)]
    if not blocks:
        raise ValueError(
            f"network: found {type(network).__name__}, no layer of which sees a 2-d map; expected one with "
            "convolutions larger than 1x1, residual blocks or the encoder blocks of a vision transformer"
        )
    return blocks


def sees_a_map(module: nn.Module, shape: tuple[int, ...] | None) -> bool:
    """Whether the input of a module, of this shape, is a 2-d map whose positions can be told.

    That is ``(N, C, H, W)`` entering a convolution, or ``(N, L, C)`` tokens that form a square grid, with or
    without a class token before them. What takes three dimensions in another order, ``(N, C, L)`` as Conv1d
    or ``(L, N, C)`` as attention without ``batch_first``, sees no grid, whatever their numbers are.
    """
    if shape is None or isinstance(module, nn.Sequential):
        return False
    if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
        return len(shape) == 4 and shape[2] * shape[3] > 1
    return len(shape) == 3 and _takes_tokens(module) and token_grid(shape[1]) is not None


def _takes_tokens(module: nn.Module) -> bool:
    """Whether three dimensions that enter a module can be ``(N, L, C)``."""
    return not isinstance(module, _CHANNELS_FIRST) and all(
        getattr(part, "batch_first", True) for part in module.modules()
    )


def _has_extent(module: nn.Module) -> bool:
    if isinstance(module, FullyConnected):
        return True
    return isinstance(module, nn.Conv2d) and max(module.kernel_size) > 1


def _size(shape: tuple[int, ...]) -> tuple[int, int, int]:
    """Channels, height and width of a map or of a grid of tokens."""
    if len(shape) == 4:
        return shape[1], shape[2], shape[3]
    if len(shape) == 3:
        side = math.isqrt(shape[1])
        return shape[2], side, side
    return 0, 0, 0
