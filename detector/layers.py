"""What a layer of a network is; how layers are numbered, listed and selected.

A layer is one residual block (paper, section 3.2: of a ResNet; here also one block of a transformer), or
one convolution with spatial extent, that is with a kernel larger than 1×1, outside of such blocks. The
convolutions before the first block are no layers where all others are in blocks, as in a ResNet. Layers count
from 1 at the input, in the order in which they are run. They are found by what the network does
(:mod:`detector.graph`), not by the names of its classes.

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
from collections.abc import Iterable
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any, NamedTuple, TypeGuard

from torch import nn
from torch.jit import ScriptModule
from torchvision.models.resnet import BasicBlock, Bottleneck
from torchvision.models.vision_transformer import EncoderBlock

from detector.graph import Block, Example, FullyConnected, Graph, Map, Shortcut, record, trunk
from detector.shuffle import MapLayout, Shuffle

__all__ = [
    "FullyConnected", "Layer", "Selection", "is_number", "list_layers", "nearest", "select_layers",
]  # fmt: skip

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


# ---------------------------------------------------------------- finding layers


def _find_layers(network: nn.Module, example: Example | None) -> tuple[list[Block], Graph | None]:
    """The layers of a network in the order in which they are run, and what the network does.

    ValueError where there are none. Blocks of torchvision are found also where the network cannot be run
    without an example.
    """
    try:
        graph = record(network, example)
    except ValueError:
        blocks = _torchvision_blocks(network)
        if example is not None or not blocks:
            raise
        return blocks, None
    if not graph.blocks:
        raise ValueError(
            f"network: found {type(network).__name__}, no layer of which sees a 2-d map; expected one with "
            "convolutions larger than 1x1, residual blocks or the blocks of a vision transformer"
        )
    return graph.blocks, graph


def _torchvision_blocks(network: nn.Module) -> list[Block]:
    """The blocks of torchvision's ResNets and vision transformer, for networks that cannot be run."""
    unknown, tokens = Map(0, 0, 0, None), Map(0, 0, 0, MapLayout(1, 0, 0, 0))
    found = []
    for module in trunk(network).modules():
        if isinstance(module, EncoderBlock):
            around = Shortcut(module, False, [module.ln_1], module, tokens)
            found.append(Block(module, tokens, [(module.ln_1, tokens)], [], around, 1, by_attention=True))
        elif isinstance(module, BasicBlock | Bottleneck):
            small = isinstance(module, BasicBlock)
            branch = [module.conv1, module.conv2] if small else [module.conv2]
            identity = Shortcut(module, False, [module.conv1], module, unknown)
            pairs = [(convolution, unknown) for convolution in branch]
            if isinstance(module.downsample, nn.Sequential):  # not a shuffle or None
                found.append(Block(module, unknown, pairs, [(module.downsample[0], unknown)], adds=1))
            else:
                found.append(Block(module, unknown, pairs, identity=identity, adds=1))
    return found


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
    """Name of its module in the network."""
    kind: str
    """The class of that module."""
    channels: int
    """Channels of the feature map that enters it; in a transformer, the width of a token."""
    height: int
    """Height of that map, in positions; in a transformer, the rows of its patch grid. 0: it is not run."""
    width: int
    """Width of that map, in positions."""

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
    blocks, _ = _find_layers(network, example)
    names = {module: name for name, module in network.named_modules()}
    count = len(blocks)
    layers = []
    for number, block in enumerate(blocks, start=1):
        last = count - number + 1
        percent = (200 * last + count) // (2 * count)  # a half is rounded up
        kind = type(block.module).__name__
        layers.append(Layer(number, last, percent, names[block.module], kind, *block.map.size))
    return layers


# ---------------------------------------------------------------- selecting layers


class Selection(NamedTuple):
    """Layers of a network that have been chosen."""

    chosen: list[Block]
    """In the order given."""
    known: list[Block]
    """All layers, in the order in which they are run."""
    graph: Graph | None
    """What the network does; None where it cannot be run."""
    word: str
    """The argument that chose them."""

    def number(self, block: Block) -> int | None:
        """Number of a layer, counted from 1 at the input; None for a module that is no layer."""
        return self.known.index(block) + 1 if block in self.known else None


def select_layers(
    network: nn.Module,
    *,
    last: int | None = None,
    layer: int | None = None,
    layers: Iterable[int] | None = None,
    names: Iterable[str] | None = None,
    percent: float | None = None,
    example: Example | None = None,
) -> Selection:
    """Find the layers that were chosen; parameters and errors are those of :func:`detector.modify_layers`."""
    choice: dict[str, Any] = {
        "last": last,
        "layer": layer,
        "layers": layers,
        "names": names,
        "percent": percent,
    }
    given = [(word, value) for word, value in choice.items() if value is not None]
    if len(given) != 1:
        raise ValueError(
            f"layers: found {' and '.join(word for word, _ in given) or 'none'}; "
            "expected one of last=k, layer=n, layers=[…], names=[…], percent=p"
        )
    ((word, value),) = given
    graph: Graph | None
    if word == "names":
        graph = record(network, example)
        known = graph.blocks  # none of a network of 1×1 convolutions alone
        chosen = _select_by_name(network, [value] if isinstance(value, str) else list(value), graph)
    else:
        known, graph = _find_layers(network, example)
        chosen = _select_by_number(known, word, value)
    _check_unchanged(network, known, chosen)
    return Selection(chosen, known, graph, word)


def _select_by_number(known: list[Block], word: str, value: Any) -> list[Block]:
    if word == "percent":
        is_real = isinstance(value, Real) and not isinstance(value, bool)
        if not is_real or not 0 <= value <= 100:
            raise ValueError(f"percent: found {value!r}; expected a share of the layers from 0 to 100")
        value = max(int(value * len(known) / 100 + 0.5), int(value > 0))
    if word in ("last", "percent"):
        if not is_number(value) or not 0 <= value <= len(known):
            raise ValueError(f"last: found {value!r}; expected a number of layers from 0 to {len(known)}")
        return known[len(known) - value :]
    numbers = value if word == "layers" and isinstance(value, Iterable) else [value]
    chosen = []
    for number in numbers:
        if not is_number(number) or not 1 <= number <= len(known):
            expected = f"a number from 1 to {len(known)}, counted from the input"
            raise ValueError(f"{word}: found {number!r}; expected {expected}")
        chosen.append(known[number - 1])
    return chosen


def _select_by_name(network: nn.Module, names: list[str], graph: Graph) -> list[Block]:
    modules = dict(network.named_modules(remove_duplicate=False))  # a shared module has several names
    layer_of = {block.module: block for block in graph.blocks}
    chosen = []
    for name in names:
        module = modules.get(name)
        inside = [] if module is None else [layer_of[part] for part in module.modules() if part in layer_of]
        if module in layer_of:
            chosen.append(layer_of[module])
        elif inside:  # a stage, or a block around one convolution
            chosen += inside
        elif module is not None and (parts := _parts_to_shuffle(module, graph)):
            chosen += [Block(part, entering, [(part, entering)]) for part, entering in parts.items()]
        else:
            _refuse_name(name, modules, graph)
    return chosen


def _parts_to_shuffle(module: nn.Module, graph: Graph) -> dict[nn.Module, Map]:
    """A module that is no layer, with its map; or else its convolutions, the larger ones if there are any."""
    if entering := _map_of(module, graph):
        return {module: entering}
    inside = [part for part in module.modules() if isinstance(part, nn.Conv2d)]
    larger = [part for part in inside if max(part.kernel_size) > 1]
    return {part: found for part in larger or inside if (found := _map_of(part, graph))}


def _refuse_name(name: str, modules: dict[str, nn.Module], graph: Graph) -> None:
    possible = [
        known
        for known, module in modules.items()
        if module in {block.module for block in graph.blocks} or _map_of(module, graph)
    ]
    hint = nearest(name, possible)
    if name not in modules:
        raise ValueError(f"names: found {name!r}; expected the name of a layer or a convolution{hint}")
    module, shape = modules[name], graph.shapes.get(modules[name])
    sees = f"that sees {'x'.join(map(str, shape))}" if shape is not None else "that is not run"
    sees = "in TorchScript, which cannot be changed" if isinstance(module, ScriptModule) else sees
    raise ValueError(
        f"names: found {name!r}, a {type(module).__name__} {sees}; "
        f"expected a layer, or a convolution or a block of them that sees a 2-d map{hint}"
    )


def _map_of(module: nn.Module, graph: Graph) -> Map | None:
    """The map that enters a module that can be shuffled by itself.

    That is a convolution, or whatever takes a map with its channels last or a grid of tokens. Inputs of
    another order, ``(N, C, L)`` as of Conv1d or ``(L, N, C)`` as of attention without ``batch_first``, are
    no maps, whatever their sizes.
    """
    entering = graph.maps.get(module)
    if entering is None or isinstance(module, nn.Sequential):
        return None
    if entering.layout is None:
        is_convolution = isinstance(module, nn.Conv2d | nn.ConvTranspose2d)
        return entering if is_convolution and entering.height * entering.width > 1 else None
    batch_first = all(getattr(part, "batch_first", True) for part in module.modules())
    return entering if batch_first and not isinstance(module, _CHANNELS_FIRST) else None


def _check_unchanged(network: nn.Module, known: list[Block], chosen: list[Block]) -> None:
    """Raise ValueError for a layer that is changed already, or selected twice."""
    touched: set[nn.Module] = set()
    taken: set[nn.Module] = set()
    layers = {block.module for block in known}
    for block in chosen:
        inside = set(block.module.modules())
        if block.module in layers:  # without the layers in it, as in blocks of ultralytics
            for inner in (inside & layers) - {block.module}:
                inside -= set(inner.modules())
        averaged = any(isinstance(part, FullyConnected) for part in inside)
        # Layers may share a part, as an activation or a position encoding, but none is inside another.
        twice = block.module in touched or inside & taken
        if averaged or twice or any(isinstance(part, Shuffle) for part in inside):
            name = next(name for name, part in network.named_modules() if part is block.module)
            number = f"layer {known.index(block) + 1}" if block in known else name
            raise ValueError(
                f"{number} is {'averaged' if averaged else 'shuffled'} already; expected each layer once"
            )
        touched |= inside
        taken.add(block.module)


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
