"""One name for one thing: other words for the same computation are made the same, and runs shared."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from training.experiments.options import Script, resolved
from training.experiments.variant import OWN, layers_of

__all__ = ["plainest"]


def plainest(script: Script, options: Mapping[str, Any]) -> dict[str, Any]:
    """The options of the same run in its plainest words.

    The last layer alone is the last 1 of the layers, and patches as large as the map are the spatial shuffle:
    both to the last bit, as a shuffle's draws depend on the layer's number alone.

    Examples
    --------
    >>> plainest("train_classify", {"arch": "vgg16", "method": "patch", "patch": 2, "layer": 13})
    {'arch': 'vgg16', 'method': 'spatial', 'last': 1}
    """
    whole = resolved(script, options)
    if script != "train_classify" or whole["arch"] not in OWN or whole["data"] == "imagenet":
        return dict(options)
    plain = dict(options)
    layer = whole["layer"]
    layers = layers_of(whole["arch"]) if layer is not None else ()
    if layer is None or not 1 <= layer <= len(layers):
        return plain
    seen = layers[layer - 1]
    if whole["method"] == "patch" and whole["patch"] >= max(seen.height, seen.width):
        del plain["patch"]
        plain["method"] = "spatial"
    if layer == len(layers):
        del plain["layer"]
        plain["last"] = 1
    return plain
