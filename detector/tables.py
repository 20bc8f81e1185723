"""The networks and the methods that can be chosen by name.

No torch is imported here: options, tables and figures read these at once.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

__all__ = ["ARCHITECTURES", "METHODS", "Architecture", "Backbone", "Method", "MethodRow", "ShuffleMethod"]

Backbone = Literal["resnet18", "resnet50", "resnet152"]
"""The networks that a detector can stand on, with an output stride that can be reduced."""

ShuffleMethod = Literal["spatial", "patch", "channel"]
"""The methods that draw permutations. They need no training, and several passes in evaluation."""

Method = Literal["spatial", "patch", "channel", "gap_fc"]
"""All methods that take information away."""


@dataclass(frozen=True)
class Architecture:
    """A network that :mod:`detector.networks` defines by a function of the same name."""

    label: str
    """Its name in tables and figures."""
    has_layers: bool = True
    """Whether something in it can be shuffled."""


ARCHITECTURES: dict[str, Architecture] = {
    "vgg16": Architecture("VGG-16"),
    "resnet18": Architecture("ResNet-18"),
    "resnet50": Architecture("ResNet-50"),
    "resnet152": Architecture("ResNet-152"),
    "perceptron": Architecture("perceptron", has_layers=False),
}


@dataclass(frozen=True)
class MethodRow:
    """A method of :func:`detector.modify_layers` (paper, section 3.1)."""

    label: str
    """Its name in tables and figures, in the paper's words."""
    removes: str
    """What it takes away; ``{patch}`` stands for the side of a patch, in positions."""
    colour: str
    """Of its results in figures; those of patches are shaded by their size."""
    marker: str
    """Matplotlib's marker of its results."""
    draws: bool = True
    """Whether it draws permutations: a trained network can be tested with it, in several passes."""
    needs_patch: bool = False
    """Whether it needs a patch size."""


METHODS: dict[str, MethodRow] = {
    "spatial": MethodRow("spatial shuffle", "order of the whole map", "#0072B2", "o"),
    "patch": MethodRow(
        "patch-wise shuffle", "order in {patch}×{patch} patches", "#2A7F8E", "o", needs_patch=True
    ),
    "channel": MethodRow("channel shuffle", "order of the channels", "#D55E00", "s"),
    "gap_fc": MethodRow("GAP+FC", "all positions", "#7B3FA0", "^", draws=False),
}
