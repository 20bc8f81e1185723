"""Colours and markers of methods in figures of experiments and of profiles."""

from __future__ import annotations

import math

from matplotlib.colors import to_hex, to_rgb

from detector.tables import METHODS, patch_style
from diagnosis.figures.style import TEXT_COLOUR

__all__ = ["method_style"]


def method_style(method: str, patch: int | None) -> tuple[str, str]:
    """Colour and marker of a method; of patches, by their size.

    The shades of :func:`detector.tables.patch_style` are those of the first method that has patches. Another
    one has shades of its row's colour.
    """
    if method not in METHODS:
        return TEXT_COLOUR, "o"
    row = METHODS[method]
    if patch is None or not row.needs_patch:
        return row.colour, row.marker
    if method == next(name for name, other in METHODS.items() if other.needs_patch):
        return patch_style(patch)
    lightness = max(0.6 - 0.15 * math.log2(patch), 0.0)
    red, green, blue = (part + (1 - part) * lightness for part in to_rgb(row.colour))
    return to_hex((red, green, blue)), row.marker
