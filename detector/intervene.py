"""Take information away from layers of a network, and undo it.

A shuffle is a child of the module whose input it permutes, or replaces a block's shortcut where that is the
identity. It has no parameters and changes no name in the state dict, so that checkpoints of the shuffled and
of the plain network are interchangeable.

>>> from detector import modify_layers, resnet18, set_shuffling
>>> network = modify_layers(resnet18(100, stem="small"), "spatial", last=3)
>>> network = set_shuffling(network, train=True, eval=False)
"""

from __future__ import annotations

import hashlib
import sys
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, Literal, TypeVar

import torch
from torch import nn
from torch.jit import ScriptModule
from torch.nn.parallel import DataParallel, DistributedDataParallel
from torch.nn.utils import skip_init
from torch.nn.utils.parametrize import is_parametrized

from detector.input_hooks import (
    Example,
    average_input,
    input_shapes,
    shuffle_input,
    trunk,
    unaverage_input,
    unshuffle_input,
)
from detector.layers import (
    PLACES,
    FullyConnected,
    Selection,
    branches_of,
    is_number,
    is_residual_block,
    map_size,
    nearest,
    residual_blocks,
    select_layers,
    takes_tokens,
)
from detector.shuffle import SHUFFLES, Shuffle, TokenShuffle
from detector.tables import METHODS, Method, ShuffleMethod

__all__ = [
    "check_unwrapped",
    "fully_connected",
    "modify_layers",
    "needs_passes",
    "remove_shuffles",
    "seek_shuffles",
    "set_shuffling",
    "shuffle_layers",
    "shuffles",
    "without_shuffles",
]

Network = TypeVar("Network", bound=nn.Module)

_SHORTCUT_BRANCH = 0  # each branch of a layer has its own draws; the main branch's modules count from 1


# ---------------------------------------------------------------- at run time


def shuffles(network: nn.Module) -> Iterator[Shuffle]:
    """All shuffles in a network."""
    return (module for module in network.modules() if isinstance(module, Shuffle))


def needs_passes(network: nn.Module) -> bool:
    """Whether two evaluations of the network differ, because something in it shuffles then."""
    return any(shuffle.in_evaluation for shuffle in shuffles(network))


def seek_shuffles(network: nn.Module, seed: int, step: int) -> None:
    """Make the network's next draws those of (seed, step), whatever was drawn before.

    A training loop may call it before each step, an evaluation before each pass, so that these can be
    repeated. Without it the draws go on from those of torch's seed. Training and evaluation never have the
    same draws: the mode is part of what they depend on. In training mode it sets the draws of both, in
    evaluation mode those of evaluation alone. Of several processes (torch.distributed) each has its own.
    """
    for shuffle in shuffles(network):
        shuffle.seek(seed, step)


def set_shuffling(network: Network, *, train: bool | None = None, eval: bool | None = None) -> Network:
    """Choose whether a network's shuffles act in training mode and in evaluation mode, in place.

    The mode is that of each shuffle's module: ``network.train()`` and ``network.eval()`` set it as for
    dropout, also for a part of the network alone. So the seven rows of the paper's Table 1 come from three
    trained networks: load each one's weights, then evaluate with ``eval=True`` and with ``eval=False``.

    Parameters
    ----------
    network
        One that contains shuffles (also a detector, DistributedDataParallel or a compiled network); it is
        returned. ValueError where it contains none.
    train, eval
        Whether to shuffle in training mode, and in evaluation mode. None: unchanged.

    Examples
    --------
    >>> from detector import modify_layers, vgg16
    >>> network = modify_layers(vgg16(100), "channel", last=4)
    >>> plain = set_shuffling(network, eval=False).eval()
    """
    found = list(shuffles(network))
    if not found:
        raise ValueError(
            f"network: found {type(network).__name__} without a shuffle; expected one that "
            "modify_layers has changed"
        )
    for shuffle in found:
        shuffle.in_training = shuffle.in_training if train is None else train
        shuffle.in_evaluation = shuffle.in_evaluation if eval is None else eval
    return network


# ---------------------------------------------------------------- changing a network


def modify_layers(
    network: Network,
    method: Method,
    *,
    last: int | None = None,
    layer: int | None = None,
    layers: Iterable[int] | None = None,
    names: Iterable[str] | None = None,
    patch: int | None = None,
    shortcut: bool = True,
    per_image: bool = False,
    train: bool = True,
    eval: bool = True,
    example: Example | None = None,
) -> Network:
    """Take spatial or channel information away from layers of a network, in place (paper, section 3.1).

    What a layer is, :func:`detector.list_layers` says. A shuffle precedes

    * in VGG and in any network without residual blocks of torchvision's: the convolution;
    * in a ResNet: every 3×3 convolution of the block (one in a bottleneck, two in a basic block), and
      an independent one the shortcut, before its 1×1 convolution where it has one (section 3.2);
    * in a vision transformer: the attention of the encoder block, and an independent one its shortcut. The
      class token is left alone.

    Do this before DistributedDataParallel and torch.compile, and for ``gap_fc`` before the optimiser is made.
    Compiled graphs are reset.

    Parameters
    ----------
    network
        Any network that takes images.
    method
        ``"channel"``, ``"spatial"``, ``"patch"`` (with `patch`), or ``"gap_fc"``, which averages what enters
        the first of the layers and makes a fully connected layer of every convolution from there on.
    last, layer, layers, names
        One of these four says which layers: the k nearest the output (0 changes nothing), one number, several
        numbers, counted from 1 at the input; or names of modules: layers, or any other convolution.
    patch
        Side of the patches, in positions, that no value may leave. Need not divide the map.
    shortcut
        Whether a layer's shortcut is shuffled too. The paper does, "to prevent the model from learning to
        ignore the information from the convolution branch".
    per_image
        Whether each image of a batch has its own draws. The paper found no difference.
    train, eval
        In which modes to shuffle; :func:`set_shuffling` changes it later.
    example
        An input to run the network with, where it must be run to find its layers; see
        :func:`detector.list_layers`.

    Returns
    -------
    nn.Module
        `network` itself, with the same state dict but for the shapes that ``gap_fc`` changes.

    Raises
    ------
    ValueError
        An unknown method, layer or name; a layer that is changed already or sees no 2-d map; layers of which
        none has anything to shuffle, as maps of 1×1 have not; an option that the method needs or does not
        take. The network is then unchanged.

    Warns
    -----
    UserWarning
        Some of the layers, but not all, have nothing to shuffle.

    Examples
    --------
    >>> from detector import modify_layers, vgg16
    >>> network = modify_layers(vgg16(100), "patch", layer=7, patch=4)
    >>> network = modify_layers(network, "gap_fc", last=4)
    >>> network.features[30].weight.shape
    torch.Size([512, 512, 1, 1])
    """
    _check_method(method, patch)
    check_unwrapped(network)
    selection = select_layers(network, last=last, layer=layer, layers=layers, names=names, example=example)
    if "torch._dynamo" in sys.modules and selection.chosen:
        # torch.compile does not notice new hooks and would run the old graph.
        torch.compiler.reset()
    if method == "gap_fc":
        if not (shortcut and train and eval) or per_image:
            raise ValueError(
                "method 'gap_fc': found shortcut, per_image, train or eval; expected none of them, "
                "as nothing is drawn"
            )
        _average_and_connect(network, selection, example)
        return network
    name_of = {module: name for name, module in network.named_modules()}
    size = (patch,) if METHODS[method].needs_patch else ()
    options = {"in_training": train, "in_evaluation": eval, "per_image": per_image}
    placed = {}
    for module in selection.chosen:
        key = _draw_key(selection.known, module, name_of[module])
        placed[module] = _entries(module, partial(SHUFFLES[method], *size, key, **options), shortcut)
    word = next(w for w, v in zip(PLACES, (last, layer, layers, names), strict=True) if v is not None)
    _check_effect(selection, placed, f"method {method!r}: {word}")
    for entries in placed.values():
        for module, attribute, shuffle in entries:
            if attribute:
                setattr(module, attribute, shuffle.train(module.training))
            else:
                shuffle_input(module, TokenShuffle(shuffle) if takes_tokens(module) else shuffle)
    return network


def shuffle_layers(
    network: Network,
    layers: Literal["last"] | int | Iterable[int],
    method: ShuffleMethod = "spatial",
    *,
    patch: int | None = None,
    shortcut: bool = True,
    example: Example | None = None,
) -> Network:
    """Shuffle what enters some layers of a ResNet, in place: :func:`modify_layers` in fewer words.

    Parameters
    ----------
    network
        A ResNet of :mod:`detector.networks` or of torchvision, or a detector with one as its `backbone`; it
        is returned.
    layers
        ``"last"``, or numbers of residual blocks, counted from 1 at the input.
    method, patch, shortcut, example
        As of :func:`modify_layers`, and so are the errors.
    """
    count = len(residual_blocks(network))
    if not count:
        raise ValueError(f"a ResNet is expected, found {type(network).__name__} without residual blocks")
    numbers = [count] if layers == "last" else [layers] if isinstance(layers, int | str) else list(layers)
    for number in numbers:
        if not isinstance(number, int) or not 1 <= number <= count:
            raise ValueError(f"layer must be 'last' or a number from 1 to {count}, found {number!r}")
    return modify_layers(
        network,
        method,
        layers=numbers,
        patch=patch,
        shortcut=shortcut,
        example=example,  # type: ignore[arg-type]
    )


def _check_method(method: str, patch: int | None) -> None:
    if method not in METHODS:
        raise ValueError(
            f"method: found {method!r}; expected one of {', '.join(METHODS)}{nearest(method, METHODS)}"
        )
    needs_patch = METHODS[method].needs_patch
    if needs_patch and is_number(patch) and patch == 1:
        raise ValueError(
            "patch: found 1, in which nothing can move; expected a side of at least 2 positions for method "
            f"{method!r}"
        )
    if not needs_patch and patch is not None:
        raise ValueError(f"patch: found {patch}; expected none, as method {method!r} takes no patch size")
    if needs_patch and (not is_number(patch) or patch < 1):
        raise ValueError(
            f"patch: found {patch!r}; expected a side of at least 1 position for method {method!r}"
        )


def check_unwrapped(network: nn.Module) -> None:
    """Raise ValueError for a network that is compiled, scripted or wrapped for several devices."""
    if not isinstance(network, nn.Module):
        raise ValueError(f"network: found {type(network).__name__}; expected an nn.Module")
    wrapped = isinstance(network, DataParallel | DistributedDataParallel | ScriptModule)
    if wrapped or hasattr(network, "_orig_mod") or network._compiled_call_impl is not None:
        raise ValueError(
            f"network: found {type(network).__name__}, compiled, scripted or for several devices; expected "
            "the network itself: change it before it is wrapped"
        )


# ---------------------------------------------------------------- shuffles in and out


def _draw_key(known: list[nn.Module], module: nn.Module, name: str) -> int:
    """A number that gives a module its own draws: the layer's number, else a negative hash of its name."""
    if module in known:
        return known.index(module) + 1
    return -1 - int.from_bytes(hashlib.blake2b(name.encode(), digest_size=7).digest(), "big")


Entry = tuple[nn.Module, str, Shuffle]
"""A module, the attribute that becomes the shuffle (empty: its input is shuffled), and the shuffle."""


def _entries(layer: nn.Module, make: Callable[[int], Shuffle], shortcut: bool) -> list[Entry]:
    """A shuffle for each branch of a layer, made for the branch's number."""
    branches = branches_of(layer)
    entries = [
        (module, "", make(branch)) for branch, module in enumerate(branches.main, start=_SHORTCUT_BRANCH + 1)
    ]
    if shortcut and branches.identity:
        entries.insert(0, (layer, branches.identity, make(_SHORTCUT_BRANCH)))
    elif shortcut and branches.shortcut is not None:
        entries.append((branches.shortcut, "", make(_SHORTCUT_BRANCH)))
    return entries


def _check_effect(selection: Selection, placed: dict[nn.Module, list[Entry]], where: str) -> None:
    """Refuse layers of which none has anything to shuffle, as maps of 1×1; warn where only some have not."""
    shapes = selection.shapes
    if shapes is None:  # it is not known what the layers see; the shuffles warn when they run
        return
    idle = {
        layer: "x".join(map(str, map_size(shapes[layer]))) if layer in shapes else "not run"
        for layer, entries in placed.items()
        if not any(
            module in shapes and shuffle.has_effect(*map_size(shapes[module]))
            for module, _, shuffle in entries
        )
    }
    if not idle:
        return
    numbers = [
        f"{selection.known.index(layer) + 1} ({size})" if layer in selection.known else size
        for layer, size in idle.items()
    ]
    layers = "layer" if len(idle) == 1 else "layers"
    found = f"{where}: found {layers} {', '.join(numbers)} with nothing to shuffle"
    shuffle = next(shuffle for entries in placed.values() for _, _, shuffle in entries)
    useful = [
        n
        for n, layer in enumerate(selection.known, 1)
        if layer in shapes and shuffle.has_effect(*map_size(shapes[layer]))
    ]
    expected = f"; expected {f'layers up to {useful[-1]}' if useful else 'another network'}, or larger images"
    if len(idle) == len(placed):
        raise ValueError(found + expected)
    warnings.warn(f"{found}: the network does there what it did before{expected}", stacklevel=3)


def remove_shuffles(network: Network) -> Network:
    """Remove, in place, the shuffles that :func:`modify_layers` put into a network, and return it.

    Changes made by ``gap_fc`` remain.

    Examples
    --------
    >>> from detector import ChannelShuffle, modify_layers, vgg16
    >>> network = remove_shuffles(modify_layers(vgg16(100), "channel", last=4))
    >>> any(isinstance(module, ChannelShuffle) for module in network.modules())
    False
    """
    for module, name in _shuffled_places(network):
        if name == "input_shuffle":
            unshuffle_input(module)
        else:
            delattr(module, name)
            setattr(module, name, None)  # as torchvision has it where the shortcut is the identity
    return network


@contextmanager
def without_shuffles(network: Network) -> Iterator[Network]:
    """A network without its shuffles for the duration of a ``with`` block.

    Shuffles that :func:`modify_layers` adds inside the block are removed at its end; the network's own are
    restored with their random state.
    """
    before = [
        (
            module,
            name,
            getattr(module, name),
            dict(module._forward_pre_hooks),
            dict(module._forward_pre_hooks_with_kwargs),
        )
        for module, name in _shuffled_places(network)
    ]
    remove_shuffles(network)
    try:
        yield network
    finally:
        remove_shuffles(network)
        for module, name, shuffle, hooks, named in before:
            setattr(module, name, shuffle)
            # Restore the order of the hooks; hooks registered in the meantime follow them.
            hooks |= module._forward_pre_hooks
            module._forward_pre_hooks.clear()
            module._forward_pre_hooks.update(hooks)
            module._forward_pre_hooks_with_kwargs.update(named)


def _shuffled_places(network: nn.Module) -> list[tuple[nn.Module, str]]:
    """Where :func:`modify_layers` put shuffles: the parent module, and the shuffle's attribute name."""
    return [
        (module, name)
        for module in network.modules()
        for name, child in module.named_children()
        if isinstance(child, Shuffle | TokenShuffle)
        and (name == "input_shuffle" or name == branches_of(module).identity)
    ]


# ---------------------------------------------------------------- GAP+FC (paper, section 3.1)

# The features that enter the first changed layer are averaged to one position. Every convolution from there
# on becomes a 1×1 one, which on one position is a fully connected layer; batch norm, ReLU and shortcuts stay,
# and pooling does nothing. No name in the state dict changes, but the shapes of the weights do.

_POOLING = (nn.modules.pooling._MaxPoolNd, nn.modules.pooling._AvgPoolNd, nn.modules.pooling._LPPoolNd)
# The files of torch whose modules work on each position alone.
_POINTWISE_FILES = {"activation", "batchnorm", "dropout", "linear", "normalization"}


def fully_connected(convolution: nn.Conv2d) -> FullyConnected:
    """The 1×1 convolution that takes the place of a larger one.

    Its weight is the sum over the kernel: what the convolution computes on a constant map, away from the
    border. The sum of an initial kernel (kaiming, fan out) is distributed as an initial 1×1 weight; so
    variants of a network built from one seed start alike, and no random number is drawn here.
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


def _average_and_connect(network: nn.Module, selection: Selection, example: Example | None) -> None:
    """GAP+FC from the first of the chosen layers to the network's last; unchanged where that is refused."""
    chosen, layers = selection.chosen, selection.known
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
    in_blocks = all(is_residual_block(layer) for layer in chosen)
    if in_blocks:
        names = {module: name for name, module in network.named_modules()}
        inner = [(names[module], module) for layer in chosen for module in layer.modules()]
    else:
        inner = _chain_from(network, layers[first])
    new_of: dict[nn.Module, nn.Module] = {}  # a module used in several places is replaced by one
    for name, module in inner:
        if isinstance(module, nn.Conv2d) and max(module.kernel_size) > 1:
            _check_ordinary(name, module)
            new_of.setdefault(module, fully_connected(module))
        elif isinstance(module, _POOLING):
            new_of.setdefault(module, nn.Identity())
    if not in_blocks and (
        missed := [layer for layer in chosen if layer not in {module for _, module in inner}]
    ):
        raise ValueError(
            f"method 'gap_fc': found {len(missed)} of {len(chosen)} layers in other blocks than the first; "
            "expected a ResNet of torchvision's blocks, or convolutions in one nn.Sequential as in VGG; "
            "shuffle instead"
        )
    changes = [(name, module) for name, module in inner if module in new_of]
    for name, module in changes:
        network.set_submodule(name, new_of[module])
    start = new_of.get(layers[first], layers[first])
    average_input(start)
    if selection.shapes is None:
        return
    try:  # the module after the chain may need a larger map
        shapes = input_shapes(network, example)
        seen = list(shapes.items())
        place = next((number for number, (module, _) in enumerate(seen) if module is start), len(seen))
        for module, shape in seen[place:]:  # a shortcut around the layers would bring the larger map back
            if len(shape) == 4 and shape[2:] != (1, 1):
                found = next(name for name, part in network.named_modules() if part is module)
                size = "x".join(map(str, shape))
                raise ValueError(f"found {found}, which sees {size} even so; expected 1x1; shuffle instead")
    except ValueError as error:
        for name, module in changes:
            network.set_submodule(name, module)
        unaverage_input(start)
        raise ValueError(f"method 'gap_fc': {error}") from error


def _check_ordinary(name: str, convolution: nn.Conv2d) -> None:
    """Raise ValueError for a convolution that is more than its weight, which its replacement would not be."""
    own_forward = (type(convolution).forward, type(convolution)._conv_forward)
    hooked = convolution._forward_pre_hooks or is_parametrized(convolution)
    if hooked or own_forward != (nn.Conv2d.forward, nn.Conv2d._conv_forward):
        what = "with a parametrization or a hook" if hooked else f"of class {type(convolution).__name__}"
        raise ValueError(
            f"method 'gap_fc': found {name}, a convolution {what}; expected plain ones (without weight_norm, "
            "say): remove it first, or shuffle instead"
        )


def _chain_from(network: nn.Module, first: nn.Module) -> list[tuple[str, nn.Module]]:
    """The modules from `first` to the end of the outermost nn.Sequential that contains it, or to its Flatten.

    With their names; a module used in several places is listed for each.
    """
    for name, module in network.named_modules():
        leaves = _leaves(module, name) if _is_sequence(module) else []
        start = next((place for place, (_, leaf) in enumerate(leaves) if leaf is first), None)
        if start is not None:
            break
    else:
        raise ValueError(
            f"method 'gap_fc': found {type(network).__name__}, whose convolutions are in blocks of "
            "an unknown kind; expected a ResNet of torchvision's blocks, or convolutions in one "
            "nn.Sequential as in VGG; shuffle instead"
        )
    chain: list[tuple[str, nn.Module]] = []
    for name, leaf in leaves[start:]:
        file = type(leaf).__module__.removeprefix("torch.nn.modules.")
        if isinstance(leaf, nn.Flatten | nn.AdaptiveAvgPool2d | nn.AdaptiveMaxPool2d):
            break
        if not (isinstance(leaf, (nn.Conv2d, *_POOLING)) or file in _POINTWISE_FILES):
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
        for own, child in module._modules.items()  # children() skips a module's second use
        if child is not None
        for leaf in _leaves(child, f"{name}.{own}".lstrip("."))
    ]
