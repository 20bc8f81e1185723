"""What a layer of a network is; how layers are numbered, listed and selected.

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

import difflib
import math
from collections.abc import Iterable
from dataclasses import dataclass
from numbers import Integral
from typing import Any, NamedTuple, TypeGuard

from torch import nn
from torch.jit import ScriptModule
from torchvision.models.resnet import BasicBlock, Bottleneck
from torchvision.models.vision_transformer import EncoderBlock

from detector.input_hooks import Example, InputShapes, input_shapes, trunk
from detector.shuffle import Shuffle, token_grid

__all__ = [
    "PLACES",
    "Branches",
    "FullyConnected",
    "Layer",
    "Selection",
    "branches_of",
    "find_layers",
    "is_number",
    "is_residual_block",
    "list_layers",
    "map_size",
    "nearest",
    "residual_blocks",
    "select_layers",
    "takes_tokens",
]

# torch's modules that take (N, C, L).
_CHANNELS_FIRST = (
    nn.modules.conv._ConvNd,
    nn.modules.batchnorm._NormBase,
    nn.modules.pooling._MaxPoolNd,
    nn.modules.pooling._AvgPoolNd,
    nn.modules.pooling._LPPoolNd,
    nn.modules.pooling._AdaptiveAvgPoolNd,
    nn.modules.pooling._AdaptiveMaxPoolNd,
)


# ---------------------------------------------------------------- what a layer is


class FullyConnected(nn.Conv2d):
    """A 1×1 convolution in place of a larger one that GAP+FC has taken away; it still counts as a layer."""


def is_residual_block(module: nn.Module) -> bool:
    """Whether a module is one residual block of a ResNet."""
    return isinstance(module, BasicBlock | Bottleneck)


def residual_blocks(network: nn.Module) -> list[nn.Module]:
    """The residual blocks of a network in order from the input; of a detector, those of its backbone."""
    return [module for module in trunk(network).modules() if is_residual_block(module)]


def find_layers(network: nn.Module, shapes: InputShapes | None = None) -> list[nn.Module]:
    """The modules that are the layers of a network, in the order in which they are run.

    `shapes` are its :func:`detector.input_hooks.input_shapes`, if they are known already. ValueError where
    there are no layers, or the network must be run to find them and cannot be.
    """
    inside = list(trunk(network).modules())
    layers = residual_blocks(network) or [module for module in inside if isinstance(module, EncoderBlock)]
    if not layers and any(isinstance(module, nn.Conv2d) for module in inside):
        # Only networks of an unknown kind need a forward pass.
        ran = input_shapes(network) if shapes is None else shapes
        layers = [module for module in ran if module in set(inside) and _has_extent(module)]
    if not layers:
        raise ValueError(
            f"network: found {type(network).__name__}, no layer of which sees a 2-d map; expected one with "
            "convolutions larger than 1x1, residual blocks or the encoder blocks of a vision transformer"
        )
    return layers


def _has_extent(module: nn.Module) -> bool:
    larger = isinstance(module, nn.Conv2d) and max(module.kernel_size) > 1
    return larger or isinstance(module, FullyConnected)


class Branches(NamedTuple):
    """Where the branches of a layer begin: the modules whose input a shuffle permutes."""

    main: list[nn.Module]
    """In the main branch; each has its own draw."""
    shortcut: nn.Module | None = None
    """In the shortcut: its first module, or the layer itself where the layer's input is the shortcut."""
    identity: str = ""
    """Where the shortcut is the identity: the block's attribute in which a shortcut module can be put."""


def branches_of(layer: nn.Module) -> Branches:
    """The branches of a layer; any other module is a single branch."""
    if isinstance(layer, EncoderBlock):
        # The block's input is its shortcut; the main branch is shuffled again.
        return Branches([layer.ln_1], layer)
    if isinstance(layer, BasicBlock | Bottleneck):
        main = [layer.conv2] if isinstance(layer, Bottleneck) else [layer.conv1, layer.conv2]
        if layer.downsample is None or isinstance(layer.downsample, Shuffle):
            return Branches(main, identity="downsample")
        return Branches(main, layer.downsample[0])
    return Branches([layer])


def takes_tokens(module: nn.Module) -> bool:
    """Whether a module that can be shuffled takes tokens ``(N, L, C)`` and not a map."""
    return not isinstance(module, nn.Conv2d | nn.ConvTranspose2d)


# ---------------------------------------------------------------- the list of layers


@dataclass(frozen=True)
class Layer:
    """A layer that :func:`detector.modify_layers` can change."""

    number: int
    """Counted from 1 at the input."""
    last: int
    """Number of layers from this one to the output, inclusive: the k of ``last=k``."""
    percent: int
    """Their share of all layers, in whole percent: the x axis of the paper's Figures 4 and 5."""
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


def list_layers(network: nn.Module, example: Example | None = None) -> list[Layer]:
    """The layers of a network, in the order in which they are run.

    :func:`detector.modify_layers` also takes the name of any other convolution, including 1×1.

    Parameters
    ----------
    network
        Any network that takes images. It is run once, if possible on the meta device, and not changed.
    example
        Images ``(N, C, H, W)`` to run it with, or the size of an image in pixels. Otherwise the network's own
        `image_size`: 32×32 for :func:`detector.vgg16` and for ResNets with the small stem; 224×224 where
        there is none.

    Raises
    ------
    ValueError
        The network has no layers or cannot be run with that input.
    """
    shapes = input_shapes(network, example)
    names = {module: name for name, module in network.named_modules()}
    modules = find_layers(network, shapes)
    count = len(modules)
    layers = []
    for number, module in enumerate(modules, start=1):
        last = count - number + 1
        percent = (200 * last + count) // (2 * count)  # a half is rounded up
        size = map_size(shapes.get(module, ()))
        layers.append(Layer(number, last, percent, names[module], type(module).__name__, *size))
    return layers


def map_size(shape: tuple[int, ...]) -> tuple[int, int, int]:
    """Channels, height and width of a map or of a grid of tokens."""
    if len(shape) == 4:
        return shape[1], shape[2], shape[3]
    if len(shape) == 3:
        side = math.isqrt(shape[1])
        return shape[2], side, side
    return 0, 0, 0


# ---------------------------------------------------------------- selecting layers


PLACES = ("last", "layer", "layers", "names")
"""The arguments that choose layers."""


class Selection(NamedTuple):
    """Layers of a network that have been chosen."""

    chosen: list[nn.Module]
    """In the order given."""
    known: list[nn.Module]
    """All layers, in the order in which they are run."""
    shapes: InputShapes | None
    """What enters the modules; None where the network cannot be run."""


def select_layers(
    network: nn.Module,
    *,
    last: int | None = None,
    layer: int | None = None,
    layers: Iterable[int] | None = None,
    names: Iterable[str] | None = None,
    example: Example | None = None,
) -> Selection:
    """Find the layers that were chosen; parameters and errors are those of :func:`detector.modify_layers`."""
    given = [
        word for word, value in zip(PLACES, (last, layer, layers, names), strict=True) if value is not None
    ]
    if len(given) != 1:
        raise ValueError(
            f"layers: found {' and '.join(given) or 'none'}; "
            "expected one of last=k, layer=n, layers=[…], names=[…]"
        )
    shapes: InputShapes | None = None
    try:
        shapes = input_shapes(network, example)
    except ValueError:
        if example is not None or names is not None or not residual_blocks(network):
            raise
    if names is not None:
        assert shapes is not None
        chosen = _select_by_name(network, [names] if isinstance(names, str) else list(names), shapes)
        try:
            known = find_layers(network, shapes)
        except ValueError:
            known = []  # for example a network of 1×1 convolutions alone
    else:
        known = find_layers(network, shapes)
        if last is not None:
            if not is_number(last) or not 0 <= last <= len(known):
                raise ValueError(f"last: found {last!r}; expected a number of layers from 0 to {len(known)}")
            chosen = known[len(known) - last :]
        else:
            chosen = []
            for number in layers if isinstance(layers, Iterable) else [layers if layer is None else layer]:
                if not is_number(number) or not 1 <= number <= len(known):
                    raise ValueError(
                        f"{given[0]}: found {number!r}; "
                        f"expected a number from 1 to {len(known)}, counted from the input"
                    )
                chosen.append(known[number - 1])
    _check_unchanged(network, known, chosen)
    return Selection(chosen, known, shapes)


def _select_by_name(network: nn.Module, names: list[str], shapes: InputShapes) -> list[nn.Module]:
    modules = dict(network.named_modules(remove_duplicate=False))  # a shared module has several names
    possible = [
        name
        for name, module in modules.items()
        if module in shapes and (is_residual_block(module) or _sees_a_map(module, shapes[module]))
    ]
    for name in names:
        if name in possible:
            continue
        if name not in modules:
            raise ValueError(
                f"names: found {name!r}; "
                f"expected the name of a layer or a convolution{nearest(name, possible)}"
            )
        module = modules[name]
        sees = f"that sees {'x'.join(map(str, shapes[module]))}" if module in shapes else "that is not run"
        sees = "in TorchScript, which cannot be changed" if isinstance(module, ScriptModule) else sees
        raise ValueError(
            f"names: found {name!r}, a {type(module).__name__} {sees}; "
            f"expected a layer or a convolution that sees a 2-d map{nearest(name, possible)}"
        )
    return [modules[name] for name in names]


def _sees_a_map(module: nn.Module, shape: tuple[int, ...]) -> bool:
    """Whether the input of a module, of this shape, is a 2-d map.

    That is ``(N, C, H, W)`` into a convolution, or ``(N, L, C)`` tokens that form a square grid, with or
    without a class token. Inputs of another order, ``(N, C, L)`` as of Conv1d or ``(L, N, C)`` as of
    attention without ``batch_first``, are no maps, whatever their sizes.
    """
    if isinstance(module, nn.Sequential):
        return False
    if not takes_tokens(module):
        return len(shape) == 4 and shape[2] * shape[3] > 1
    batch_first = all(getattr(part, "batch_first", True) for part in module.modules())
    tokens = len(shape) == 3 and batch_first and not isinstance(module, _CHANNELS_FIRST)
    return tokens and token_grid(shape[1]) is not None


def _check_unchanged(network: nn.Module, known: list[nn.Module], chosen: list[nn.Module]) -> None:
    """Raise ValueError for a layer that is changed already, or selected twice."""
    touched: set[nn.Module] = set()
    for module in chosen:
        inside = set(module.modules())
        averaged = any(isinstance(part, FullyConnected) for part in inside)
        if averaged or inside & touched or any(isinstance(part, Shuffle) for part in inside):
            name = next(name for name, part in network.named_modules() if part is module)
            number = f"layer {known.index(module) + 1}" if module in known else name
            raise ValueError(
                f"{number} is {'averaged' if averaged else 'shuffled'} already; expected each layer once"
            )
        touched |= inside


def is_number(value: object) -> TypeGuard[int]:
    """Whether it is a whole number of Python or NumPy."""
    return isinstance(value, Integral) and not isinstance(value, bool)


def nearest(name: Any, known: Iterable[str]) -> str:
    """``; did you mean …?`` with the known name most similar to `name` or inside it, or an empty string.

    Examples
    --------
    >>> nearest("spatail", ["channel", "spatial", "patch"])
    "; did you mean 'spatial'?"
    """
    known = list(known)
    within = [other for other in known if other.startswith(f"{name}.")]
    found = within or difflib.get_close_matches(str(name), known, n=1, cutoff=0.5)
    return f"; did you mean {found[0]!r}?" if found else ""
