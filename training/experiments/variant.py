"""What of a run's options the paper speaks about: the key by which its numbers find ours."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from detector import Layer

__all__ = ["METHODS", "OWN", "Variant", "layer_count", "layers_of", "modified_percent", "variant_of"]

OWN = frozenset({"vgg16", "resnet18", "resnet50", "resnet152"})
"""Networks that :mod:`detector` defines and that have layers to modify."""

METHODS = {
    "none": "no shuffle",
    "spatial": "spatial shuffle",
    "patch": "patch-wise shuffle",
    "channel": "channel shuffle",
    "gap_fc": "GAP+FC",
}
"""The methods in the paper's words."""


@dataclass(frozen=True)
class Variant:
    """A network on a data set, with information taken away from some of its layers."""

    data: str
    arch: str
    method: str = "none"
    last: int | None = None
    """This many layers, counted from the output."""
    layer: int | None = None
    """One layer, counted from 1 at the input."""
    patch: int | None = None
    """Side of the patches, in positions."""
    tested: str | None = None
    """Method at test time where it is another than in training."""
    several: tuple[int | str, ...] = ()
    """Layers by their numbers, or modules by their names, where these are given."""


def variant_of(options: Mapping[str, Any], test: Mapping[str, Any] | None = None) -> Variant:
    """The variant that a run of these options is.

    Parameters
    ----------
    options
        Of either script, defaults left out or not.
    test
        Options that its network is scored with, where they are others.

    Examples
    --------
    >>> trained = {"data": "cifar100", "arch": "vgg16", "method": "spatial", "last": 4}
    >>> variant_of(trained, {"method": "none"}) == Variant("cifar100", "vgg16", "spatial", 4, tested="none")
    True
    """
    data, arch = options["data"], options["arch"]
    if options.get("shuffle", "none") != "none":  # the detector's words
        place = options["shuffle"]
        last, layer = (1, None) if place == "last" else (None, int(place))
        return Variant(
            data, arch, options.get("shuffle_method", "spatial"), last, layer, options.get("patch")
        )
    described = {**options, **(test or {})}
    last = described.get("last")
    if test is not None and last is None:  # what was modified in training
        last = options.get("last")
    return Variant(
        data,
        arch,
        options.get("method", "none"),
        last,
        described.get("layer"),
        described.get("patch"),
        None if test is None else test.get("method", "none" if test.get("eval_shuffle") is False else None),
        tuple(described.get("layers") or described.get("names") or ()),
    )


def modified_percent(variant: Variant) -> float:
    """What part of its layers is modified, in percent; layers of a ResNet are its bottlenecks.

    Examples
    --------
    >>> round(modified_percent(Variant("cifar100", "vgg16", "spatial", last=4)))
    31
    """
    if variant.method == "none" and variant.tested in (None, "none"):
        return 0.0
    changed = len(variant.several) or (1 if variant.last is None else variant.last)
    return 100 * changed / layer_count(variant.arch)


@cache
def layers_of(arch: str) -> tuple[Layer, ...]:
    """The layers of a network, as :func:`detector.list_layers` finds them; of our own for 32×32 images."""
    if arch == "perceptron":
        return ()
    import torch
    import torchvision

    import detector

    extra = {"stem": "small"} if arch.startswith("resnet") and arch in OWN else {}
    build = getattr(detector, arch) if arch in OWN else getattr(torchvision.models, arch)
    try:
        with torch.device("meta"):
            network = build(num_classes=10, **extra)
    except NotImplementedError:  # RegNets compute their widths with tensors
        network = build(num_classes=10, **extra)
    return tuple(detector.list_layers(network))


def layer_count(arch: str) -> int:
    """How many layers a network has."""
    return len(layers_of(arch))
