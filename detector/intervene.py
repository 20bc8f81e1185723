"""Take information away from layers of a network, and undo it.

A shuffle is a child of the module whose input it permutes, or of the block whose shortcut it permutes. It has
no parameters and changes no name in the state dict, so that checkpoints of the shuffled and of the plain
network are interchangeable.

>>> from detector import modify_layers, resnet18, set_shuffling
>>> network = modify_layers(resnet18(100, stem="small"), "spatial", last=3)
>>> network = set_shuffling(network, train=True, eval=False)
"""

from __future__ import annotations

import hashlib
import sys
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, TypeVar

import torch
from torch import nn
from torch.jit import ScriptModule
from torch.nn.parallel import DataParallel, DistributedDataParallel
from torch.nn.utils import skip_init
from torch.nn.utils.parametrize import is_parametrized
from torchvision.models.resnet import BasicBlock, Bottleneck

from detector.graph import Block, Example, Map, Shortcut, record, trunk
from detector.input_hooks import (
    average_input,
    restore_shuffles,
    shuffle_children,
    shuffle_input,
    shuffle_shortcut,
    take_out_shuffles,
)
from detector.layers import FullyConnected, Selection, is_number, nearest, select_layers
from detector.registry import METHODS, Method, ShuffleMethod
from detector.shuffle import SHUFFLES, ChannelsLastShuffle, Shuffle

__all__ = [
    "Change", "check_unwrapped", "fix_draws", "fully_connected", "list_changes", "modify_layers",
    "needs_passes", "remove_shuffles", "seek_shuffles", "set_shuffling", "shuffle_layers", "shuffles",
    "without_shuffles",
]  # fmt: skip

Network = TypeVar("Network", bound=nn.Module)

_SHORTCUT_BRANCH = 0  # each branch of a layer has its own draws; the main branch's modules count from 1


# ---------------------------------------------------------------- at run time


def shuffles(network: nn.Module) -> Iterator[Shuffle]:
    """All shuffles in a network."""
    return (module for module in network.modules() if isinstance(module, Shuffle))


def needs_passes(network: nn.Module) -> bool:
    """Whether an active shuffle makes two evaluations of the network differ."""
    return any(
        shuffle.in_evaluation and shuffle.draws and not shuffle.is_fixed for shuffle in shuffles(network)
    )


def seek_shuffles(network: nn.Module, seed: int, step: int) -> None:
    """Make the network's next draws those of (seed, step), whatever was drawn before.

    A training loop may call it before each step, an evaluation before each pass, so that these can be
    repeated. Without it the draws go on from those of torch's seed; setting that to the value that it has
    does not start them anew. Training and evaluation never have the same draws: the mode is part of what they
    depend on. In training mode it sets the draws of both, in
    evaluation mode those of evaluation alone. Of several processes (torch.distributed) each has its own.
    """
    for shuffle in shuffles(network):
        shuffle.seek(seed, step)


def fix_draws(network: nn.Module, seed: int = 0, *, example: Example | None = None) -> ExitStack:
    """Let a network's shuffles make one draw in every pass, so that it can be exported, in place.

    The permutations become constants, which torch.export, ONNX and TorchScript's trace keep: the file always
    computes this one draw, that of ``seek_shuffles(network.eval(), seed, 0)``. For T passes export T seeds.
    They hold for images of one size, in batches of any size. The state dict is the same.

    Parameters
    ----------
    network
        One that contains shuffles, not compiled.
    seed
        Of the draw.
    example
        Images, or their size: as of :func:`modify_layers`.

    Returns
    -------
    contextlib.ExitStack
        Its ``close()``, or the end of its ``with`` block, lets the shuffles draw again, from where they were.

    Raises
    ------
    ValueError
        No shuffles; shuffles with a draw for each image; a network that cannot be run with the `example`.

    Examples
    --------
    >>> import torch
    >>> from detector import modify_layers, vgg16
    >>> network = modify_layers(vgg16(10, width=0.1), "spatial", last=4).eval()
    >>> with fix_draws(network, seed=1):
    ...     program = torch.export.export(network, (torch.zeros(2, 3, 32, 32),))
    """
    check_unwrapped(network)
    found = _some_shuffles(network)
    sizes: dict[nn.Module, Any] = {}
    for module, shape in record(network, example).shapes.items():
        if isinstance(module, ChannelsLastShuffle):
            sizes[module.shuffle] = module.map_size(shape)
        elif isinstance(module, Shuffle):
            sizes.setdefault(module, shape[1:])
    device = next((value.device for value in network.parameters()), None)
    with ExitStack() as undo:
        for shuffle in found:
            if shuffle.is_fixed:
                raise ValueError(
                    "network: found draws that are fixed already; expected close() of these first"
                )
            if size := sizes.get(shuffle):  # or it is not run
                shuffle.fix(seed, size)
                undo.callback(shuffle.unfix)
                shuffle.to(device)
        return undo.pop_all()


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
    found = _some_shuffles(network)
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
    percent: float | None = None,
    patch: int | None = None,
    shortcut: bool = True,
    per_image: bool = False,
    train: bool = True,
    eval: bool = True,
    example: Example | None = None,
) -> Network:
    """Take spatial or channel information away from layers of a network, in place (paper, section 3.1).

    What a layer is, :func:`detector.list_layers` says. A shuffle precedes

    * a convolution outside of residual blocks, as in VGG;
    * in a residual block: every convolution of its branch with a kernel larger than 1×1 (one in a bottleneck,
      two in a basic block), and an independent one the shortcut, before its 1×1 convolution where it has one
      (section 3.2);
    * in a block of a transformer: the branch with the attention (or what else combines tokens), and an
      independent one its shortcut. Class, distillation and register tokens are left alone. So is a block of
      convolutions whose branch also passes something around them, as in Res2Net.

    The blocks are found by what the network does, in any library: see :func:`detector.list_layers`.
    :func:`detector.list_changes` says what was changed.

    Do this before DistributedDataParallel and torch.compile, and for ``gap_fc`` before the optimiser is made.
    Compiled graphs are reset.

    Parameters
    ----------
    network
        Any network that takes images.
    method
        ``"channel"``, ``"spatial"``, ``"patch"`` (with `patch`), or ``"gap_fc"``, which averages what enters
        the first of the layers and makes a fully connected layer of every convolution from there on. Or a
        control: ``"joint"`` (one order of positions for all channels), ``"blocks"`` (with `patch`, the side
        of the blocks that are moved whole), ``"rows"``, ``"columns"``, or ``"mean"`` (each channel's mean at
        all its positions).
    last, layer, layers, names, percent
        One of these five says which layers: the k nearest the output (0 changes nothing); one number, several
        numbers, counted from 1 at the input; names of modules: layers, stages (all their layers), or any
        other convolution or block of them (its convolutions larger than 1×1, or else all); or the share of
        the layers nearest the output, in percent, to the nearest layer, but one at least (0: none).
    patch
        Side of the patches or blocks, in positions. Need not divide the map: those at its end are smaller.
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
        Some of the layers, but not all, have nothing to shuffle; a layer has a shortcut that is not shuffled,
        or not apart from its branch.

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
    selection = select_layers(
        network, last=last, layer=layer, layers=layers, names=names, percent=percent, example=example
    )
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
    for block in selection.chosen:
        key = selection.number(block) or _name_key(name_of[block.module])
        at_input = METHODS[method].needs_places and not block.has_places
        placed[block] = _entries(block, partial(SHUFFLES[method], *size, key, **options), shortcut, at_input)
    where = f"method {method!r}: {selection.word}"
    _check_effect(selection, placed, where)
    if shortcut:
        _warn_of_shortcuts(selection, placed, name_of, where)
    changed: set[nn.Module] = set()  # parallel convolutions of one block can be parts of several layers
    for block, entries in placed.items():
        for place, entering, shuffle in entries:
            fitted = shuffle if entering.layout is None else ChannelsLastShuffle(shuffle, entering.layout)
            if isinstance(place, Shortcut) and isinstance(place.module, BasicBlock | Bottleneck):
                place.module.downsample = shuffle.train(place.module.training)
            elif isinstance(place, Shortcut):
                owner = block.branch[0][0] if isinstance(block.module, nn.Sequential) else block.module
                shuffle_shortcut(owner, place, fitted)
            elif place not in changed:
                shuffle_input(place, fitted)
                changed.add(place)
    return network


@dataclass(frozen=True)
class Change:
    """One change that :func:`modify_layers` has made to a network."""

    layer: int | None
    """Number of the layer, counted from 1 at the input; None for GAP+FC and for a module that is no layer."""
    name: str
    """Name of the module that was changed."""
    what: Literal["input", "shortcut", "weights"]
    """What of it: its input; what goes around its branch; or its weights, which are fully connected."""
    method: Method
    """What is taken away."""
    patch: int | None = None
    """Side of the patches, in positions."""

    def __str__(self) -> str:
        method = self.method if self.patch is None else f"{self.method} {self.patch}"
        return f"{self.layer or '-':>5}  {self.what:8}  {method:10}  {self.name}"


def list_changes(network: nn.Module) -> list[Change]:
    """What :func:`modify_layers` has changed in a network, in the order of its modules.

    Examples
    --------
    >>> from detector import modify_layers, resnet18
    >>> for change in list_changes(modify_layers(resnet18(), "spatial", last=1)):
    ...     print(change)
        8  shortcut  spatial     layer4.1
        8  input     spatial     layer4.1.conv1
        8  input     spatial     layer4.1.conv2
    """
    method_of = {kind: name for name, kind in SHUFFLES.items()}
    found = []
    for name, module in network.named_modules():
        if isinstance(module, FullyConnected):
            found.append(Change(None, name, "weights", "gap_fc"))
        if hasattr(module, "input_average"):
            found.append(Change(None, name, "input", "gap_fc"))
        for shuffle in (next(shuffles(child)) for child in shuffle_children(module).values()):
            number, branch = shuffle.key[:2]
            what: Any = "input" if branch != _SHORTCUT_BRANCH else "shortcut"
            method: Any = method_of[type(shuffle)]
            found.append(
                Change(number if number > 0 else None, name, what, method, getattr(shuffle, "patch", None))
            )
    return found


def shuffle_layers(
    network: Network,
    layers: Literal["last"] | int | Iterable[int],
    method: ShuffleMethod = "spatial",
    *,
    patch: int | None = None,
    shortcut: bool = True,
    example: Example | None = None,
) -> Network:
    """Shuffle what enters some layers of a network, in place: :func:`modify_layers` in fewer words.

    Parameters
    ----------
    network
        Any network that takes images, or a detector; it is returned.
    layers
        ``"last"``, or numbers of :func:`detector.list_layers`, counted from 1 at the input.
    method, patch, shortcut, example
        As of :func:`modify_layers`, and so are the errors.
    """
    options: Any = {"patch": patch, "shortcut": shortcut, "example": example}
    if layers == "last":
        return modify_layers(network, method, last=1, **options)
    if isinstance(layers, str):
        raise ValueError(f"layers: found {layers!r}; expected 'last', or numbers counted from 1 at the input")
    numbers = [layers] if isinstance(layers, int) else layers
    return modify_layers(network, method, layers=numbers, **options)


def _some_shuffles(network: nn.Module) -> list[Shuffle]:
    """The shuffles of a network; ValueError if it has none."""
    found = list(shuffles(network))
    if not found:
        raise ValueError(
            f"network: found {type(network).__name__} without a shuffle; expected one that "
            "modify_layers has changed"
        )
    return found


def _check_method(method: str, patch: int | None) -> None:
    if method not in METHODS:
        raise ValueError(
            f"method: found {method!r}; expected one of {', '.join(METHODS)}{nearest(method, METHODS)}"
        )
    needs_patch = METHODS[method].needs_patch
    if needs_patch and is_number(patch) and patch == 1 and METHODS[method].whole_map:
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


def _name_key(name: str) -> int:
    """A negative number that gives a module that is no layer its own draws."""
    return -1 - int.from_bytes(hashlib.blake2b(name.encode(), digest_size=7).digest(), "big")


Entry = tuple[nn.Module | Shortcut, Map, Shuffle]
"""A module whose input is shuffled, or a shortcut; the map there; and the shuffle."""


def _entries(block: Block, make: Callable[[int], Shuffle], shortcut: bool, at_input: bool) -> list[Entry]:
    """A shuffle for each branch of a layer, made for the branch's number; or one at its input, for all."""
    if at_input:
        return [(block.module, block.map, make(_SHORTCUT_BRANCH + 1))]
    entries: list[Entry] = [
        (module, entering, make(branch))
        for branch, (module, entering) in enumerate(block.branch, start=_SHORTCUT_BRANCH + 1)
    ]
    if shortcut:
        if block.identity is not None:
            entries.append((block.identity, block.identity.map, make(_SHORTCUT_BRANCH)))
        entries += [(module, entering, make(_SHORTCUT_BRANCH)) for module, entering in block.shortcut]
    return entries


def _warn_of_shortcuts(
    selection: Selection, placed: dict[Block, list[Entry]], name_of: dict[nn.Module, str], where: str
) -> None:
    """Say which shortcuts are not shuffled, or not by a draw of their own."""
    around = {part: block for block in selection.known if block.adds for part in block.module.modules()}
    for block, entries in placed.items():
        name, outer = name_of[block.module], around.get(block.module)
        as_whole = [place for place, _, _ in entries] == [block.module]
        if block.adds and as_whole:
            problem = block.problem or "its branch cuts the map into windows, which are no patches"
            found = f"{name!r}, whose shortcut is shuffled by the same draw as its branch ({problem})"
        elif block.adds and not block.shortcut and block.identity is None:
            found = f"{name!r}, whose shortcut is not shuffled ({block.problem})"
        elif not block.adds and outer is not None and outer.module not in {b.module for b in placed}:
            found = f"{name!r} in {name_of[outer.module]!r}, whose shortcut is not shuffled"
        else:
            continue
        layer = f"layer {number}, " if (number := selection.number(block)) else ""
        expected = "shortcut=False"
        if not block.adds and outer:
            expected = f"names={[name_of[outer.module]]} for both"
        warnings.warn(f"{where}: found {layer}{found}; expected {expected}, if that is meant", stacklevel=3)


def _check_effect(selection: Selection, placed: dict[Block, list[Entry]], where: str) -> None:
    """Refuse layers of which none has anything to shuffle, as maps of 1×1; warn where only some have not."""
    if selection.graph is None:  # it is not known what the layers see; the shuffles warn when they run
        return
    shapes = selection.graph.shapes
    idle = {
        block: "x".join(map(str, block.map.size)) if block.module in shapes else "not run"
        for block, entries in placed.items()
        if not any(shuffle.has_effect(*entering.size) for _, entering, shuffle in entries)
    }
    if not idle:
        return
    sizes = ((selection.number(block), size) for block, size in idle.items())
    listed = ", ".join(f"{number} ({size})" if number else size for number, size in sizes)
    found = f"{where}: found layer{'s' if len(idle) > 1 else ''} {listed} with nothing to shuffle"
    shuffle = next(shuffle for entries in placed.values() for _, _, shuffle in entries)
    useful = [n for n, block in enumerate(selection.known, 1) if shuffle.has_effect(*block.map.size)]
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
    take_out_shuffles(network)
    return network


@contextmanager
def without_shuffles(network: Network) -> Iterator[Network]:
    """A network without its shuffles for the duration of a ``with`` block.

    Shuffles that :func:`modify_layers` adds inside the block are removed at its end; the network's own are
    restored with their random state.
    """
    removed = take_out_shuffles(network)
    try:
        yield network
    finally:
        take_out_shuffles(network)
        restore_shuffles(removed)


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
    if not selection.chosen:
        return
    first, inner = _modules_to_connect(network, selection)
    new_of: dict[nn.Module, nn.Module] = {}  # a module used in several places is replaced by one
    for name, module in inner:
        if isinstance(module, nn.Conv2d) and max(module.kernel_size) > 1:
            _check_ordinary(name, module)
            new_of.setdefault(module, fully_connected(module))
        elif isinstance(module, _POOLING):
            new_of.setdefault(module, nn.Identity())
    changes = [(name, module) for name, module in inner if module in new_of]
    for name, module in changes:
        network.set_submodule(name, new_of[module])
    start = new_of.get(first, first)
    average = average_input(start)
    try:
        if selection.graph is not None:
            _check_averaged(network, start, example)
    except ValueError:
        for name, module in changes:
            network.set_submodule(name, module)
        average.remove()
        del start.input_average
        raise


def _modules_to_connect(
    network: nn.Module, selection: Selection
) -> tuple[nn.Module, list[tuple[str, nn.Module]]]:
    """The first of the chosen layers, and the modules from there to the last layer, with their names."""
    chosen, layers = selection.chosen, selection.known
    numbers = sorted(number for block in chosen if (number := selection.number(block)) is not None)
    if set(chosen) != set(layers[(numbers or [len(layers) + 1])[0] - 1 :]):
        raise ValueError(
            f"method 'gap_fc': found layers {numbers or 'that do not count'} of {len(layers)}; expected "
            "the last ones without a gap (last=k), as what is averaged away does not come back"
        )
    if trunk(network) is not network:
        raise ValueError(
            f"method 'gap_fc': found {type(network).__name__} over a backbone; expected a classifier, "
            "as averaging leaves a map of one position: change a classifier, or shuffle instead"
        )
    first = layers[numbers[0] - 1].module
    if all(block.adds and not block.by_attention for block in chosen):
        names = {module: name for name, module in network.named_modules()}
        inner = [(names[module], module) for block in chosen for module in block.module.modules()]
    else:
        inner = _chain_from(network, first)
    listed = {module for _, module in inner}
    if missed := [block for block in chosen if block.module not in listed]:
        raise ValueError(
            f"method 'gap_fc': found {len(missed)} of {len(chosen)} layers in other blocks than the first; "
            "expected residual blocks of convolutions alone, or convolutions in one nn.Sequential as in VGG; "
            "shuffle instead"
        )
    return first, inner


def _check_averaged(network: nn.Module, start: nn.Module, example: Example | None) -> None:
    """Raise ValueError where the network cannot be run after GAP+FC, or has a map behind `start` even so."""
    try:  # the module after the chain may need a larger map
        seen = list(record(network, example).shapes.items())
    except ValueError as error:
        reason = str(error.__cause__).strip().split("\n")[0]
        raise ValueError(
            f"method 'gap_fc': found {type(network).__name__}, which cannot be run after it ({reason}); "
            "expected a network whose rest takes maps of 1x1; shuffle instead"
        ) from error
    place = next((number for number, (module, _) in enumerate(seen) if module is start), len(seen))
    for module, shape in seen[place:]:  # a shortcut around the layers would bring the larger map back
        if len(shape) == 4 and shape[2:] != (1, 1):
            found = next(name for name, part in network.named_modules() if part is module)
            size = "x".join(map(str, shape))
            raise ValueError(
                f"method 'gap_fc': found {found}, which sees {size} even so; expected 1x1; shuffle instead"
            )


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
            "an unknown kind; expected residual blocks of convolutions alone, or convolutions in one "
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
