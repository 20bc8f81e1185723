"""Takes information away from layers of a network: the one place that knows where a shuffle stands.

The network's definition stays plain. A shuffle hangs as a child module on the convolution whose input
it permutes, or stands where a block has no shortcut module; having no parameters it renames nothing in
the state dict, so that a checkpoint goes from the shuffled network to the plain one and back.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, Literal

from torch import nn
from torchvision.models.resnet import BasicBlock, Bottleneck

from detector.shuffle import ChannelShuffle, PatchShuffle, Shuffle, SpatialShuffle

__all__ = ["Method", "residual_blocks", "seek_shuffles", "shuffle_layers", "shuffles"]

Method = Literal["spatial", "patch", "channel"]

_SHORTCUT = 0  # the branch numbers that tell the draws of one block apart


def _shuffle_input(module: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
    """Forward pre-hook of a module that carries a shuffle."""
    return (module.input_shuffle(inputs[0]), *inputs[1:])  # type: ignore[operator]


def _shuffle_before(module: nn.Module, shuffle: Shuffle) -> None:
    module.add_module("input_shuffle", shuffle)
    module.register_forward_pre_hook(_shuffle_input)


def residual_blocks(network: nn.Module) -> list[nn.Module]:
    """The layers of a ResNet: its residual blocks, in order from the input.

    Of a detector, those of its backbone alone: the head has bottlenecks too.

    Examples
    --------
    >>> from detector.backbone import resnet50
    >>> len(residual_blocks(resnet50()))
    16
    """
    network = getattr(network, "backbone", network)
    return [module for module in network.modules() if isinstance(module, BasicBlock | Bottleneck)]


def shuffles(network: nn.Module) -> Iterator[Shuffle]:
    """All shuffles in a network."""
    return (module for module in network.modules() if isinstance(module, Shuffle))


def seek_shuffles(network: nn.Module, seed: int, step: int) -> None:
    """Make the network's next draws those of (seed, step), whatever was drawn before.

    A training loop calls it before each step, an evaluation before each pass.
    """
    for shuffle in shuffles(network):
        shuffle.seek(seed, step)


def shuffle_layers(
    network: nn.Module,
    layers: Literal["last"] | int | Iterable[int],
    method: Method = "spatial",
    *,
    patch: int | None = None,
    shortcut: bool = True,
) -> nn.Module:
    """Shuffle what enters some layers of a ResNet, in place.

    In each named residual block a shuffle stands before every 3×3 convolution (one in a bottleneck, two
    in a basic block), and an independent one permutes what enters the shortcut, before its 1×1
    convolution where it has one (paper, section 3.2). The 1×1 convolutions of the main branch are left
    alone.

    Parameters
    ----------
    network
        A ResNet of :mod:`detector.backbone` or of torchvision, or a detector with one as its `backbone`.
    layers
        ``"last"``, or numbers of residual blocks, counted from 1 at the input.
    method
        ``"spatial"``, ``"patch"`` (with `patch`) or ``"channel"``.
    patch
        Side of the patches, in positions.
    shortcut
        Whether the shortcut is shuffled too. The paper does, "to prevent the model from learning to ignore
        the information from the convolution branch".

    Returns
    -------
    nn.Module
        `network` itself.

    Raises
    ------
    ValueError
        No such layer, a layer that is shuffled already, a patch that the method needs or does not take.
        The network is then as it was.
    """
    if (patch is not None) != (method == "patch"):
        raise ValueError(
            f"method {method!r} {'needs a patch size' if method == 'patch' else 'takes no patch size'}"
        )
    make: dict[str, Callable[..., Shuffle]] = {
        "spatial": SpatialShuffle,
        "channel": ChannelShuffle,
        "patch": lambda *key: PatchShuffle(patch or 0, *key),
    }
    if method not in make:
        raise ValueError(f"method must be one of {', '.join(make)}, found {method!r}")
    blocks = residual_blocks(network)
    if not blocks:
        raise ValueError(f"a ResNet is expected, found {type(network).__name__} without residual blocks")
    numbers = (
        [len(blocks)] if layers == "last" else [layers] if isinstance(layers, int | str) else list(layers)
    )
    for place, number in enumerate(numbers):
        if not isinstance(number, int) or not 1 <= number <= len(blocks):
            raise ValueError(f"layer must be 'last' or a number from 1 to {len(blocks)}, found {number!r}")
        if any(shuffles(blocks[number - 1])) or number in numbers[:place]:
            raise ValueError(f"layer {number} is shuffled already")
    for number in numbers:
        block = blocks[number - 1]
        spatial = [block.conv2] if isinstance(block, Bottleneck) else [block.conv1, block.conv2]
        for branch, convolution in enumerate(spatial, start=_SHORTCUT + 1):
            _shuffle_before(convolution, make[method](number, branch))  # type: ignore[arg-type]
        if shortcut and block.downsample is None:
            block.downsample = make[method](number, _SHORTCUT)
        elif shortcut:
            _shuffle_before(block.downsample[0], make[method](number, _SHORTCUT))  # type: ignore[index, arg-type]
    return network
