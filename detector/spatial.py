"""Takes information away from layers of a network: the one place that knows where a shuffle stands.

The network's definition stays plain. A shuffle hangs as a child module on the module whose input it
permutes, or stands where a block has no shortcut module; having no parameters it renames nothing in
the state dict, so that a checkpoint goes from the shuffled network to the plain one and back.

>>> from detector import modify_layers, resnet18, set_shuffling
>>> network = modify_layers(resnet18(100, stem="small"), "spatial", last=3)
>>> network = set_shuffling(network, train=True, eval=False)
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Literal, TypeVar, get_args

import torch
from torch import nn
from torch.jit import ScriptModule
from torch.nn.parallel import DataParallel, DistributedDataParallel
from torchvision.models.resnet import BasicBlock, Bottleneck
from torchvision.models.vision_transformer import EncoderBlock

from detector.choice import choose_layers, is_number, nearest
from detector.entrance import put_shuffle_before
from detector.gap_fc import average_and_connect
from detector.layers import residual_blocks
from detector.probe import Example
from detector.shuffle import ChannelShuffle, PatchShuffle, Shuffle, SpatialShuffle
from detector.tokens import TokenShuffle

__all__ = [
    "Method",
    "check_unwrapped",
    "modify_layers",
    "needs_passes",
    "residual_blocks",
    "seek_shuffles",
    "set_shuffling",
    "shuffle_layers",
    "shuffles",
]

Method = Literal["channel", "spatial", "patch", "gap_fc"]
Network = TypeVar("Network", bound=nn.Module)

_SHORTCUT = 0  # the branch numbers that tell the draws of one layer apart; the main branch counts from 1


# ---------------------------------------------------------------- at run time


def shuffles(network: nn.Module) -> Iterator[Shuffle]:
    """All shuffles in a network."""
    return (module for module in network.modules() if isinstance(module, Shuffle))


def needs_passes(network: nn.Module) -> bool:
    """Whether two evaluations of the network differ, because something in it shuffles then."""
    return any(shuffle.in_evaluation for shuffle in shuffles(network))


def seek_shuffles(network: nn.Module, seed: int, step: int) -> None:
    """Make the network's next draws those of (seed, step), whatever was drawn before.

    A training loop calls it before each step, an evaluation before each pass. Of several processes
    (torch.distributed) each draws for itself.
    """
    for shuffle in shuffles(network):
        shuffle.seek(seed, step)


def set_shuffling(network: Network, *, train: bool | None = None, eval: bool | None = None) -> Network:
    """Say in which of the two modes a network's shuffles shuffle, at any time and in place.

    A shuffle acts where the mode that it is in says so: ``network.train()`` and ``network.eval()`` choose the
    mode as for dropout, and this says what each of them means. A part of the network that was put into
    evaluation mode by itself follows that mode. So the seven rows of the paper's Table 1 come from three
    trained networks: load each one's weights, then evaluate with ``eval=True`` and with ``eval=False``.

    Parameters
    ----------
    network
        One with shuffles, or around one with shuffles (a detector, DistributedDataParallel, torch.compile).
    train, eval
        Whether to shuffle in training mode, and in evaluation mode. None: as before.

    Returns
    -------
    nn.Module
        `network` itself.

    Raises
    ------
    ValueError
        Nothing in the network shuffles.

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

    What a layer is, :func:`detector.list_layers` says. A shuffle stands

    * in VGG and in any network without residual blocks of torchvision's: before the convolution;
    * in a ResNet: before every 3×3 convolution of the block (one in a bottleneck, two in a basic block), and
      an independent one before the shortcut, before its 1×1 convolution where it has one (section 3.2);
    * in a vision transformer: before the attention of the encoder block, and an independent one before
      its shortcut. The class token is left alone.

    Do this before DistributedDataParallel and torch.compile, and for ``gap_fc`` before the optimiser is made.
    What torch.compile has made of a network before, it makes anew at the next pass.

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
        Whether each image of a batch has draws of its own. The paper found no difference.
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
        A method, a layer or a name that there is not, one that is changed already or sees no 2-d map, an
        option that the method needs or does not take. The network is then as it was.

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
    chosen, known = choose_layers(
        network, last=last, layer=layer, layers=layers, names=names, example=example
    )
    if "torch._dynamo" in sys.modules and chosen:
        # torch.compile does not look for new hooks: what it made of a network before would go on as it was.
        torch.compiler.reset()
    if method == "gap_fc":
        if not (shortcut and train and eval) or per_image:
            raise ValueError(
                "method 'gap_fc': found shortcut, per_image, train or eval; expected none of them, "
                "as nothing is drawn"
            )
        average_and_connect(network, known, chosen, example)
        return network
    make = partial(_make_shuffle, method, patch, in_training=train, in_evaluation=eval, per_image=per_image)
    place_of = {module: name for name, module in network.named_modules()}
    for module in chosen:
        # A layer's draws depend on its number, those of other convolutions on their name.
        key = known.index(module) + 1 if module in known else _key_of(place_of[module])
        _shuffle(module, lambda branch, key=key: make(key, branch), shortcut)  # type: ignore[misc]
    return network


def shuffle_layers(
    network: Network,
    layers: Literal["last"] | int | Iterable[int],
    method: Literal["spatial", "patch", "channel"] = "spatial",
    *,
    patch: int | None = None,
    shortcut: bool = True,
) -> Network:
    """Shuffle what enters some layers of a ResNet, in place: :func:`modify_layers` in fewer words.

    Parameters
    ----------
    network
        A ResNet of :mod:`detector.backbone` or of torchvision, or a detector with one as its `backbone`.
    layers
        ``"last"``, or numbers of residual blocks, counted from 1 at the input.
    method, patch, shortcut
        As of :func:`modify_layers`.

    Returns
    -------
    nn.Module
        `network` itself.

    Raises
    ------
    ValueError
        As :func:`modify_layers`; the network is then as it was.
    """
    count = len(residual_blocks(network))
    if not count:
        raise ValueError(f"a ResNet is expected, found {type(network).__name__} without residual blocks")
    numbers = [count] if layers == "last" else [layers] if isinstance(layers, int | str) else list(layers)
    for number in numbers:
        if not isinstance(number, int) or not 1 <= number <= count:
            raise ValueError(f"layer must be 'last' or a number from 1 to {count}, found {number!r}")
    return modify_layers(network, method, layers=numbers, patch=patch, shortcut=shortcut)  # type: ignore[arg-type]


# ---------------------------------------------------------------- what may be changed, and how


def _check_method(method: str, patch: int | None) -> None:
    if method not in get_args(Method):
        raise ValueError(
            f"method: found {method!r}; expected one of {', '.join(get_args(Method))}"
            f"{nearest(method, get_args(Method))}"
        )
    if method != "patch" and patch is not None:
        raise ValueError(f"patch: found {patch}; expected none, as method {method!r} takes no patch size")
    if method == "patch" and (not is_number(patch) or patch < 1):
        raise ValueError(f"patch: found {patch!r}; expected a side of at least 1 position for method 'patch'")


def check_unwrapped(network: nn.Module) -> None:
    """Raise ValueError for what cannot be changed any more: compiled, scripted, or for several devices."""
    if not isinstance(network, nn.Module):
        raise ValueError(f"network: found {type(network).__name__}; expected an nn.Module")
    wrapped = isinstance(network, DataParallel | DistributedDataParallel | ScriptModule)
    if wrapped or hasattr(network, "_orig_mod") or network._compiled_call_impl is not None:
        raise ValueError(
            f"network: found {type(network).__name__}, compiled, scripted or for several devices; expected "
            "the network itself: change it before it is wrapped"
        )


def _make_shuffle(
    method: str, patch: int | None, *key: int, in_training: bool, in_evaluation: bool, per_image: bool
) -> Shuffle:
    if method == "patch":
        return PatchShuffle(
            patch or 0, *key, in_training=in_training, in_evaluation=in_evaluation, per_image=per_image
        )
    kind = {"spatial": SpatialShuffle, "channel": ChannelShuffle}[method]
    return kind(*key, in_training=in_training, in_evaluation=in_evaluation, per_image=per_image)


def _key_of(name: str) -> int:
    """A number for a name, below 0 where no layer's number is."""
    return -1 - int.from_bytes(hashlib.blake2b(name.encode(), digest_size=7).digest(), "big")


def _shuffle(module: nn.Module, make: Callable[[int], Shuffle], shortcut: bool) -> None:
    """Put shuffles before the branches of a layer."""
    if isinstance(module, EncoderBlock):
        # What the block is given is its shortcut, and the main branch draws once more on top.
        put_shuffle_before(module.ln_1, TokenShuffle(make(_SHORTCUT + 1)))
        if shortcut:
            put_shuffle_before(module, TokenShuffle(make(_SHORTCUT)))
    elif isinstance(module, BasicBlock | Bottleneck):
        spatial = [module.conv2] if isinstance(module, Bottleneck) else [module.conv1, module.conv2]
        for branch, convolution in enumerate(spatial, start=_SHORTCUT + 1):
            put_shuffle_before(convolution, make(branch))
        if shortcut and module.downsample is None:
            module.downsample = make(_SHORTCUT).train(module.training)
        elif shortcut:
            put_shuffle_before(module.downsample[0], make(_SHORTCUT))
    elif isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
        put_shuffle_before(module, make(_SHORTCUT + 1))
    else:
        put_shuffle_before(module, TokenShuffle(make(_SHORTCUT + 1)))
