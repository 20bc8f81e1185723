"""Backbones beyond our ResNets: torchvision's and timm's by name, and a function of the user's own."""

from __future__ import annotations

import runpy
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from detector.layers import nearest
from detector.networks import normalize

__all__ = ["Backbone", "BackboneError", "make_backbone", "own_network"]


class BackboneError(ValueError):
    """A backbone that does not exist, or that gives no feature map."""


class Backbone(nn.Module):
    """A network that gives a feature map, with what the detector needs to know about it.

    Parameters
    ----------
    network
        Maps normalised images ``(N, 3, H, W)`` to a map ``(N, C, S, S)`` or a list of maps, of which the last
        is taken; with `channels_last` ``(N, S, S, C)``.
    out_channels
        C.
    channels_last
        Whether the channels come last.
    """

    def __init__(self, network: nn.Module, out_channels: int, channels_last: bool = False) -> None:
        super().__init__()
        self.network, self.out_channels, self.channels_last = network, out_channels, channels_last

    def forward(self, images: Tensor) -> Tensor:
        """The map ``(N, C, S, S)`` of images, uint8 or normalised."""
        found: Any = _last(self.network(normalize(images)))
        return found.movedim(-1, 1) if self.channels_last else found  # type: ignore[no-any-return]


def _last(found: Any) -> Any:
    if isinstance(found, dict):
        found = list(found.values())
    return found[-1] if isinstance(found, list | tuple) and found else found


def make_backbone(
    name: str, input_size: int, *, weights: str | None = None, cells: int | None = None
) -> tuple[Backbone, int]:
    """A backbone by name, and the cells of a side of its map.

    Parameters
    ----------
    name
        ``torchvision:NAME``, ``timm:NAME``, or ``module:function``: a function without arguments that returns
        a module as of :class:`Backbone`. It is imported, which runs its code.
    input_size
        Side of the images, in pixels.
    weights
        None or "none": random. "imagenet": the library's. Of torchvision also the name of weights.
    cells
        Of a side of the map, as wanted. None: those that it has.

    Raises
    ------
    BackboneError
        No such library, network or function; no square feature map, or one of another size.

    Examples
    --------
    >>> backbone, cells = make_backbone("torchvision:squeezenet1_1", 64)
    >>> backbone.out_channels, cells
    (512, 3)
    """
    library, _, network_name = name.partition(":")
    if not library or not network_name:
        raise BackboneError(
            f"found {name!r}; expected torchvision:NAME, timm:NAME, or module:function of your own"
        )
    chosen = None if weights in (None, "none") else str(weights)
    if library == "torchvision":
        network = _torchvision(network_name, chosen, input_size)
    elif library == "timm":
        network = _timm(network_name, chosen, input_size, cells)
    else:
        if chosen is not None:
            raise BackboneError(f"found weights {chosen!r} for {name}; expected none: load them in {name}")
        network = own_network(name)
    wanted = "a square feature map (N, channels, S, S)"
    was_training = network.training
    try:
        with torch.no_grad():
            found = _last(network.eval()(torch.zeros(1, 3, input_size, input_size)))
    except Exception as error:  # the user's code may raise anything
        where = f"{name} for images of {input_size}x{input_size} pixels"
        raise BackboneError(f"found {_described(error, f'of {where}')}; expected {wanted}") from error
    network.train(was_training)
    shape = tuple(found.shape) if isinstance(found, Tensor) else ()
    last = len(shape) == 4 and shape[2] != shape[3] and shape[1] == shape[2]  # (N, S, S, C)
    side = shape[1 if last else 2] if len(shape) == 4 else 0
    if not side or (not last and shape[2] != shape[3]):
        described = f"an output of shape {shape}" if shape else f"an output of type {type(found).__name__}"
        raise BackboneError(f"found {described} of {name}; expected {wanted}")
    if cells is not None and side != cells:
        raise BackboneError(
            f"found a map of {side}x{side} cells of {name} at {input_size} pixels; expected {cells}x{cells}: "
            "leave --grid away, or choose another input size"
        )
    return Backbone(network, shape[3 if last else 1], last), side


def _torchvision(name: str, weights: str | None, input_size: int) -> nn.Module:
    """A classifier of torchvision, cut off after its last feature map."""
    from torchvision.models import get_model, get_model_builder, list_models
    from torchvision.models.feature_extraction import create_feature_extractor

    # Those for detection, segmentation, videos and optical flow are in modules further down.
    known = [name for name in list_models() if get_model_builder(name).__module__.count(".") == 2]
    if name not in known:
        raise BackboneError(
            f"found no classification network {name!r} in torchvision; "
            f"expected one of its {len(known)}{nearest(name, known)}"
        )
    if name.startswith("vit_"):
        raise BackboneError(f"found {name}, which has tokens; expected a network with a feature map")
    try:
        network = get_model(name, weights="DEFAULT" if weights == "imagenet" else weights).eval()
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        text = " ".join(str(error).split())[:300]
        raise BackboneError(
            f"found no weights {weights!r} of {name} ({text}); expected 'none', 'imagenet'"
        ) from None
    maps: list[str] = []
    hooks = [
        module.register_forward_hook(
            lambda module, _, found, path=path: (
                maps.append(path)
                if isinstance(found, Tensor)
                and found.dim() == 4
                and min(found.shape[2:]) > 1
                and not isinstance(module, nn.AdaptiveAvgPool2d | nn.Dropout)
                else None
            )
        )
        for path, module in network.named_modules()
        if path and not path.startswith("classifier")  # SqueezeNet's is a convolution
    ]
    side = max(input_size, 64)
    try:
        with torch.no_grad():
            network(torch.zeros(1, 3, side, side))
        for hook in hooks:
            hook.remove()
        extractor: nn.Module = create_feature_extractor(
            network, {maps[-1]: "map"}, suppress_diff_warning=True
        )
    except Exception as error:  # of windows that do not fit, of what cannot be traced
        where = f"of torchvision:{name} for images of {side}x{side} pixels"
        raise BackboneError(
            f"found {_described(error, where)}; expected another input size or network"
        ) from error
    return extractor.train()


def _timm(name: str, weights: str | None, input_size: int, cells: int | None) -> nn.Module:
    try:
        import timm
    except ImportError:
        raise BackboneError(
            "found no package timm; expected it for this backbone: pip install timm"
        ) from None
    if weights not in (None, "imagenet"):
        raise BackboneError(f"found weights {weights!r} of timm:{name}; expected 'none' or 'imagenet'")
    if not timm.is_model(name.partition(".")[0]):
        known = timm.list_models()
        raise BackboneError(
            f"found no network {name!r} in timm; expected one of its {len(known)}{nearest(name, known)}"
        )
    options: dict[str, Any] = {"features_only": True, "out_indices": (-1,), "pretrained": weights is not None}
    try:
        if cells is not None:
            return timm.create_model(name, output_stride=input_size // cells, **options)  # type: ignore[no-any-return]
        try:
            return timm.create_model(name, img_size=input_size, **options)  # type: ignore[no-any-return]
        except TypeError:  # convolutional networks take any size
            return timm.create_model(name, **options)  # type: ignore[no-any-return]
    except Exception as error:  # of networks, of the hub, of downloads: anything
        text = " ".join(str(error).split())[:300] or type(error).__name__
        raise BackboneError(
            f"found that timm cannot make {name} so ({text}); expected another network"
        ) from error


def own_network(place: str) -> nn.Module:
    """What a function of the user's own returns; modules in the current folder are found too.

    Parameters
    ----------
    place
        ``MODULE:FUNCTION`` or ``FILE.py:FUNCTION``; called without arguments.

    Raises
    ------
    BackboneError
        No such module or function, an error in it, or what it returns is no network.
    """
    where, _, function = place.rpartition(":")
    if (here := str(Path.cwd())) not in sys.path:  # an installed command does not look there
        sys.path.append(here)
    try:
        if where.endswith(".py"):
            make = runpy.run_path(where)[function]
        else:
            make = getattr(import_module(where), function)
    except (ImportError, OSError) as error:
        raise BackboneError(
            f"found no module for {place} ({error}); expected one that can be imported here"
        ) from None
    except (AttributeError, KeyError):
        raise BackboneError(
            f"found no {function!r} in {where}; expected a function that returns a network"
        ) from None
    except Exception as error:  # a user's code can raise anything
        raise BackboneError(f"found {_described(error, f'in {where}')}; expected sound code") from error
    try:
        network = make()
    except Exception as error:
        found = _described(error, f"when {place} was called")
        raise BackboneError(f"found {found}; expected a torch.nn.Module") from error
    if not isinstance(network, nn.Module):
        raise BackboneError(
            f"found that {place} returns {type(network).__name__}; expected a torch.nn.Module"
        )
    return network


def _described(error: Exception, where: str) -> str:
    """The type of an error, where it was raised, and the beginning of its text."""
    text = " ".join(str(error).split())[:300]
    return f"{type(error).__name__} {where}" + (f" ({text})" if text else "")
