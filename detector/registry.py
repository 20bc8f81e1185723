"""The networks and the methods that can be chosen by name.

No torch is imported here, so that options, tables and figures can read these without waiting for it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial
from typing import Literal, cast

__all__ = [
    "ARCHITECTURES", "CONTROLS", "METHODS", "STRIDES", "Architecture", "Method", "MethodRow",
    "ShuffleMethod", "cells_and_stride", "is_own_code", "method_style", "patch_style",
]  # fmt: skip

ShuffleMethod = Literal["spatial", "patch", "channel", "joint", "blocks", "rows", "columns", "mean"]
"""The methods of shuffle modules, for type checkers; options and figures read :data:`METHODS`."""

Method = ShuffleMethod | Literal["gap_fc"]
"""All methods, for type checkers."""


@dataclass(frozen=True)
class Architecture:
    """A network of :mod:`detector.networks`, where a row of ``NETWORKS`` builds it."""

    label: str
    """Its name in tables and figures."""
    has_layers: bool = True
    """Whether something in it can be shuffled."""
    is_backbone: bool = False
    """Whether a detector can be built on it: it is a row of :data:`detector.networks.BACKBONES`."""


ARCHITECTURES: dict[str, Architecture] = {
    "vgg16": Architecture("VGG-16"),
    "resnet18": Architecture("ResNet-18", is_backbone=True),
    "resnet50": Architecture("ResNet-50", is_backbone=True),
    "resnet152": Architecture("ResNet-152", is_backbone=True),
    "perceptron": Architecture("perceptron", has_layers=False),
}


STRIDES = (32, 16, 8)
"""Output strides of the backbones, in input pixels per cell."""


def cells_and_stride(input_size: int, cells: int | None = None) -> tuple[int, int]:
    """The cells of a side of the detector's grid, and the output stride that gives them.

    Parameters
    ----------
    input_size
        Side of the images, in pixels.
    cells
        As wanted; None: those of the largest stride.

    Raises
    ------
    ValueError
        No stride gives this number.

    Examples
    --------
    >>> cells_and_stride(448), cells_and_stride(448, 28)
    ((14, 32), (28, 16))
    """
    grids = [math.ceil(input_size / stride) for stride in STRIDES]
    wanted = grids[0] if cells is None else cells
    if wanted not in grids:
        raise ValueError(
            f"found a grid of {cells}; expected {', '.join(map(str, grids[:-1]))} or {grids[-1]}"
        )
    return wanted, STRIDES[grids.index(wanted)]


LIBRARIES = ("torchvision", "timm")
"""Where a backbone of a detector comes from by ``LIBRARY:NAME``."""


def is_own_code(name: object) -> bool:
    """Whether a backbone is a function of the user's own, whose code runs when it is made.

    Examples
    --------
    >>> is_own_code("timm:resnet34"), is_own_code("my_networks:small"), is_own_code(None)
    (False, True, False)
    """
    return isinstance(name, str) and bool(name) and name.partition(":")[0] not in LIBRARIES


@dataclass(frozen=True)
class MethodRow:
    """A method of :func:`detector.modify_layers` (paper, section 3.1)."""

    label: str
    """Its name in tables and figures, in the paper's words."""
    removes: str
    """What it takes away; ``{patch}`` is replaced by the side of a patch, in positions."""
    colour: str
    """Colour of its results in figures; patch sizes have their own, see :func:`method_style`."""
    marker: str
    """Matplotlib's marker of its results."""
    dashes: str = "-"
    """Matplotlib's line style in profiles."""
    is_shuffle: bool = True
    """Whether it changes feature maps alone, so that a trained network can be tested with it."""
    is_control: bool = False
    """Whether it is no method of the paper, but separates the loss of order from a change of statistics."""
    needs_patch: bool = False
    """Whether it needs a patch size."""
    needs_places: bool = False
    """Whether it needs all positions in their places, so that attention's windows are shuffled before they
    are cut."""
    whole_map: str = ""
    """The method that it equals where a patch is as large as the map, if there is one."""


_control = partial(MethodRow, dashes=":", is_control=True)
METHODS: dict[str, MethodRow] = {
    "spatial": MethodRow("spatial shuffle", "order of the whole map", "#0072B2", "o"),
    "patch": MethodRow("patch-wise shuffle", "order in {patch}×{patch} patches", "#2A7F8E", "o",
                       needs_patch=True, needs_places=True, whole_map="spatial"),
    "channel": MethodRow("channel shuffle", "order of the channels", "#D55E00", "s", dashes="--"),
    "gap_fc": MethodRow("GAP+FC", "all positions", "#7B3FA0", "^", is_shuffle=False),
    "joint": _control("joint shuffle", "order of the map, alike in all channels", "#56B4E9", "P"),
    "blocks": _control("shuffled blocks", "order of {patch}×{patch} blocks", "#A8507B", "D",
                       needs_patch=True, needs_places=True),
    "rows": _control("shuffled rows", "order of the rows", "#009E73", ">", needs_places=True),
    "columns": _control("shuffled columns", "order of the columns", "#B8860B", "v", needs_places=True),
    "mean": _control("spatial mean", "all but each channel's mean", "#6E6E6E", "X", needs_places=True),
}  # fmt: skip

CONTROLS = cast("tuple[ShuffleMethod, ...]", tuple(name for name, row in METHODS.items() if row.is_control))
"""The methods that separate the loss of order from a change of statistics; see :func:`detector.profile`."""

PATCH_COLOURS = ("#9fd9c3", "#5fbcc2", "#4392b9", "#4a5ba6", "#3a3d80", "#2e2a66", "#241c50")
"""Colours of patch sizes 2, 4, 8, 16, 32, 64 and 128, from light to dark."""
PATCH_MARKERS = ("o", "s", "^", "D", "v", "<", ">")


def patch_style(patch: int) -> tuple[str, str]:
    """Colour and Matplotlib's marker of results of a patch size, the same in every figure.

    Examples
    --------
    >>> patch_style(4)
    ('#5fbcc2', 's')
    """
    number = min(max(round(math.log2(patch)) - 1, 0), len(PATCH_COLOURS) - 1)
    return PATCH_COLOURS[number], PATCH_MARKERS[number]


def method_style(method: str, patch: int | None = None) -> tuple[str, str]:
    """Colour and Matplotlib's marker of a method in every figure; of patches, by their size.

    The shades of :func:`patch_style` are those of the first method that has patches. Another one has shades
    of its row's colour. What is no method is black.

    Examples
    --------
    >>> method_style("channel"), method_style("blocks", 2)
    (('#D55E00', 's'), ('#cf9fb6', 'D'))
    """
    if method not in METHODS:
        return "#1a1a1a", "o"
    row = METHODS[method]
    if patch is None or not row.needs_patch:
        return row.colour, row.marker
    if method == next(name for name, other in METHODS.items() if other.needs_patch):
        return patch_style(patch)
    lightness = max(0.6 - 0.15 * math.log2(patch), 0.0)
    parts = [int(row.colour[place : place + 2], 16) for place in (1, 3, 5)]
    return "#" + "".join(f"{round(part + (255 - part) * lightness):02x}" for part in parts), row.marker
