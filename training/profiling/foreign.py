"""Networks that others build: timm, Hugging Face, or a function of the user's own."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any, NamedTuple

from torch import nn

from data.image_set import Statistics
from data.records import InputError
from detector.foreign_backbones import BackboneError, own_network
from detector.networks import WeightsError, load_into
from training.checkpoint import backbone_error, weights_error
from training.profiling.options import NetworkOptions

__all__ = ["ForeignNetwork", "build_foreign"]

PRETRAINED = (None, "pretrained", "imagenet")


class ForeignNetwork(NamedTuple):
    """A network in evaluation mode, and what is known of it."""

    network: nn.Module
    name: str
    """For people."""
    image_size: int | None = None
    """Side of the images that it is made for, in pixels."""
    statistics: Statistics | None = None
    """Statistics of the images that its pretrained weights were trained on, for values from 0 to 255."""


def build_foreign(options: NetworkOptions, classes: int) -> ForeignNetwork:
    """The network of ``--network`` or of ``--arch timm:…`` or ``hf:…``.

    Raises
    ------
    InputError
        A library that is not installed; a name, a function or weights that are not found or do not fit.
    """
    library, _, name = (options.arch or "").partition(":")
    if options.network is not None:
        try:
            found = ForeignNetwork(own_network(options.network), options.network)
        except BackboneError as error:
            raise backbone_error("--network", error) from error
    elif library == "timm":
        found = _of_timm(name, options.weights in PRETRAINED, classes)
    else:
        found = _of_hugging_face(name, options.weights in PRETRAINED, classes)
    network = found.network
    if options.weights not in (PRETRAINED if options.network is None else (None,)):
        try:
            load_into(
                network,
                str(options.weights),
                None,
                landmark=next(iter(network.state_dict()), ""),
                classifier="\0",  # no name begins so: all weights must fit
            )
        except WeightsError as error:
            raise weights_error(error, found.name) from error
        found = found._replace(statistics=None)
    network.eval()
    return found


def _library(name: str, option: str) -> Any:
    try:
        return import_module(name)
    except ImportError as error:
        expected = f"{name} to be installed: pip install {name}"
        raise InputError(option, f"no {name} ({error})", expected) from error


def _built(option: str, make: Callable[[], Any], expected: str) -> Any:
    """What a library makes of a name; InputError for all that can be wrong with it, as a failed download."""
    try:
        return make()
    except Exception as error:
        reason = " ".join(str(error).split())[:160]
        raise InputError(option, f"an error ({type(error).__name__}: {reason})", expected) from error


def _of_timm(name: str, pretrained: bool, classes: int) -> ForeignNetwork:
    option = f"--arch timm:{name}"
    timm = _library("timm", option)
    expected = "a name of timm.list_models(), and for its own weights a connection; or --weights FILE"
    settings = {} if pretrained else {"num_classes": classes}
    network = _built(option, lambda: timm.create_model(name, pretrained=pretrained, **settings), expected)
    known = network.pretrained_cfg
    statistics = [tuple(255 * value for value in known[key]) for key in ("mean", "std")]
    return ForeignNetwork(network, f"timm:{name}", known["input_size"][-1], Statistics(*statistics))


def _of_hugging_face(name: str, pretrained: bool, classes: int) -> ForeignNetwork:
    option = f"--arch hf:{name}"
    library = _library("transformers", option)
    expected = "a folder of save_pretrained, or a name on the hub and a connection"
    kind = library.AutoModelForImageClassification
    if pretrained:
        network, information = _built(
            option, lambda: kind.from_pretrained(name, output_loading_info=True), expected
        )
        if missing := sorted(information["missing_keys"]):
            raise InputError(option, f"no {missing[0]} in its weights", "the weights of a trained classifier")
    else:
        config = _built(
            option, lambda: library.AutoConfig.from_pretrained(name, num_labels=classes), expected
        )
        network = _built(option, lambda: kind.from_config(config), expected)
    statistics, size = None, getattr(network.config, "image_size", None)
    try:
        images, _ = library.ImageProcessingMixin.get_image_processor_dict(name)
        mean, std = (tuple(255 * value for value in images[key]) for key in ("image_mean", "image_std"))
        statistics = Statistics(mean, std)
        edges = images.get("crop_size") or images.get("size") or {}
        sides = edges if isinstance(edges, dict) else {"height": edges}
        size = size or sides.get("height") or sides.get("shortest_edge")
    except (OSError, KeyError, TypeError):
        pass  # a folder without preprocessor_config.json
    return ForeignNetwork(network, f"hf:{name}", size if isinstance(size, int) else None, statistics)
