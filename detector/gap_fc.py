"""GAP+FC: global average pooling, and fully connected layers from there on (paper, section 3.1).

The features that enter the first changed layer are averaged to one position. Every convolution from there on
becomes a 1×1 one, which on one position is a fully connected layer; batch norm, ReLU and shortcuts stay, and
pooling does nothing. No name in the state dict changes, but the shapes of the weights do.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.nn.utils import skip_init
from torchvision.models.resnet import BasicBlock, Bottleneck

from detector.entrance import put_average_before
from detector.probe import Example, inputs_seen, trunk

__all__ = ["FullyConnected", "average_and_connect", "fully_connected"]

_POOLING = (
    nn.modules.pooling._MaxPoolNd,
    nn.modules.pooling._AvgPoolNd,
    nn.modules.pooling._LPPoolNd,
)
# The files of torch whose modules work on each position alone.
_POINTWISE = {"activation", "batchnorm", "dropout", "linear", "normalization"}


class FullyConnected(nn.Conv2d):
    """A 1×1 convolution that stands where GAP+FC has taken a larger one away; it still counts as a layer."""


def fully_connected(convolution: nn.Conv2d) -> FullyConnected:
    """The 1×1 convolution that takes the place of a larger one.

    Its weight is the sum of the taps: what the convolution computes on a constant map, away from its rim. Of
    freshly drawn taps (kaiming, fan out) the sum is distributed as a freshly drawn 1×1 weight; so variants
    of one network that are built from one seed start alike, and no random number is drawn here.

    Parameters
    ----------
    convolution
        Weight ``(O, I / groups, K, K)``.

    Returns
    -------
    FullyConnected
        Weight ``(O, I / groups, 1, 1)``; stride 1, no padding.

    Examples
    --------
    >>> convolution = nn.Conv2d(3, 8, 3, bias=False)
    >>> [tuple(value.shape) for value in fully_connected(convolution).parameters()]
    [(8, 3, 1, 1)]
    """
    layer: Any = skip_init(  # type: ignore[no-untyped-call]
        FullyConnected,
        convolution.in_channels,
        convolution.out_channels,
        1,
        groups=convolution.groups,
        bias=convolution.bias is not None,
        device=convolution.weight.device,
        dtype=convolution.weight.dtype,
    )
    with torch.no_grad():
        layer.weight.copy_(convolution.weight.sum((2, 3), keepdim=True))
        if convolution.bias is not None:
            layer.bias.copy_(convolution.bias)
    for name, value in layer.named_parameters():
        value.requires_grad_(convolution.get_parameter(name).requires_grad)
    return layer.train(convolution.training)  # type: ignore[no-any-return]


def average_and_connect(
    network: nn.Module, layers: list[nn.Module], chosen: list[nn.Module], example: Example | None
) -> None:
    """GAP+FC from the first of the chosen layers to the network's last, in place.

    Parameters
    ----------
    network
        A ResNet, or a network whose last convolutions follow each other in an nn.Sequential as VGG's do.
    layers
        All its layers, in order.
    chosen
        Those to change: the last few.
    example
        An input to try the network with, see :func:`detector.list_layers`.

    Raises
    ------
    ValueError
        The chosen layers are not the last ones, or the network is built otherwise. It is then as it was.
    """
    if not chosen:
        return
    first = min((layers.index(layer) for layer in chosen if layer in layers), default=len(layers))
    if set(chosen) != set(layers[first:]):
        numbers = sorted(layers.index(layer) + 1 for layer in chosen if layer in layers)
        raise ValueError(
            f"method 'gap_fc': found layers {numbers or 'that do not count'} of {len(layers)}; expected "
            "the last ones without a gap (last=k), as what is averaged away does not come back"
        )
    if trunk(network) is not network:
        raise ValueError(
            f"method 'gap_fc': found {type(network).__name__} over a backbone; expected a classifier, "
            "as averaging leaves a map of one position: change a classifier, or shuffle instead"
        )
    if all(isinstance(layer, BasicBlock | Bottleneck) for layer in chosen):
        names = {module: name for name, module in network.named_modules()}
        inner = [(names[module], module) for layer in chosen for module in layer.modules()]
    else:
        inner = _chain(network, layers[first])
    changes = {module: _replacement(module) for _, module in inner}  # one for all places of a module
    kept = [(name, module, new) for name, module in inner if (new := changes[module]) is not None]
    for name, _, new in kept:
        _replace(network, name, new)
    put_average_before(changes[layers[first]] or layers[first])
    if isinstance(layers[first], BasicBlock | Bottleneck):
        return
    try:  # what follows a chain may want a map
        inputs_seen(network, example)
    except ValueError as error:
        for name, old, _ in kept:
            _replace(network, name, old)
        raise ValueError(f"method 'gap_fc': {error}") from error


def _replacement(module: nn.Module) -> nn.Module | None:
    """What stands for a module where the map has one position; None: the module itself."""
    if isinstance(module, nn.Conv2d) and max(module.kernel_size) > 1:
        return fully_connected(module)
    return nn.Identity() if isinstance(module, _POOLING) else None


def _replace(network: nn.Module, name: str, module: nn.Module) -> None:
    parent, _, own = name.rpartition(".")
    setattr(network.get_submodule(parent), own, module)


def _chain(network: nn.Module, first: nn.Module) -> list[tuple[str, nn.Module]]:
    """The modules from `first` to the end of the outermost nn.Sequential that has it, or to its Flatten.

    With their names; one that stands in several places comes once for each.
    """
    for name, module in network.named_modules():
        leaves = _leaves(module, name) if _is_sequence(module) else []
        start = next((place for place, (_, leaf) in enumerate(leaves) if leaf is first), None)
        if start is not None:
            break
    else:
        raise ValueError(
            f"method 'gap_fc': found {type(network).__name__}, whose convolutions stand in blocks of "
            "its own; expected a ResNet of torchvision's blocks, or convolutions in one nn.Sequential as in "
            "VGG; shuffle instead"
        )
    chain: list[tuple[str, nn.Module]] = []
    for name, leaf in leaves[start:]:
        file = type(leaf).__module__.removeprefix("torch.nn.modules.")
        if isinstance(leaf, nn.Flatten | nn.AdaptiveAvgPool2d | nn.AdaptiveMaxPool2d):
            break
        if not (isinstance(leaf, (nn.Conv2d, *_POOLING)) or file in _POINTWISE):
            raise ValueError(
                f"method 'gap_fc': found {type(leaf).__name__} behind the layer at which it begins; expected "
                "convolutions, pooling and what works on each position alone; shuffle instead"
            )
        chain.append((name, leaf))
    return chain


def _is_sequence(module: nn.Module) -> bool:
    return isinstance(module, nn.Sequential) and type(module).forward is nn.Sequential.forward


def _leaves(module: nn.Module, name: str) -> list[tuple[str, nn.Module]]:
    """The modules of nested sequences with their names, in the order in which they are run."""
    if not _is_sequence(module):
        return [(name, module)]
    return [
        leaf
        for own, child in module._modules.items()  # children() leaves out what has come before
        if child is not None
        for leaf in _leaves(child, f"{name}.{own}".lstrip("."))
    ]
