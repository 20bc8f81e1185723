"""The legend of the page: each error type in one sentence, with a picture of boxes and the names on them."""

from __future__ import annotations

from dataclasses import dataclass

from diagnosis.breakdown import ERROR_TYPES
from diagnosis.figures.explanations import example_classes, explanations
from diagnosis.figures.style import text_colour_on
from diagnosis.record import Diagnosis

__all__ = ["LegendEntry", "Tag", "legend"]

SCENE = 132.0  # width of a picture, in its own units
LETTER, PADDING, HEIGHT = 6.7, 8.0, 13.0  # of a name on a box
LONGEST = 15  # letters of a name
DETECTED, SIMILAR, OTHER = "class", "similar class", "other class"  # where the data have no such class

Sides = tuple[float, float, float, float]
"""Left, top, width and height."""

BOXES: dict[str, tuple[Sides, Sides]] = {  # the object, the detection
    "correct": ((36, 24, 66, 42), (30, 20, 66, 42)),
    "localization": ((10, 26, 66, 42), (54, 32, 66, 42)),
    "similar": ((36, 24, 66, 42), (30, 20, 66, 42)),
    "other": ((36, 24, 66, 42), (30, 20, 66, 42)),
    "background": ((10, 32, 42, 34), (76, 24, 48, 50)),
}


@dataclass(frozen=True)
class Tag:
    """A name at the edge of a box; places in units of the picture."""

    text: str
    left: float
    top: float
    width: float


@dataclass(frozen=True)
class LegendEntry:
    """An error type: name, colour, text colour on it, what it means, and its picture.

    Parameters
    ----------
    object, found
        The annotated box and the detected one.
    object_tag, found_tag
        The classes they are of.
    """

    name: str
    colour: str
    ink: str
    explanation: str
    object: Sides
    found: Sides
    object_tag: Tag
    found_tag: Tag


def legend(diagnosis: Diagnosis) -> list[LegendEntry]:
    """All error types, with classes of the data as examples."""
    example = example_classes(diagnosis)
    detected = example.detected or DETECTED
    others = {"similar": example.similar or SIMILAR, "other": example.other or OTHER}
    entries = []
    for kind, words in zip(ERROR_TYPES, explanations(diagnosis), strict=True):
        object_, found = BOXES[kind.name]
        entries.append(
            LegendEntry(
                kind.name,
                kind.colour,
                text_colour_on(kind.colour),
                words,
                object_,
                found,
                _tag(others.get(kind.name, detected), object_, below=True),
                _tag(detected, found, below=False),
            )
        )
    return entries


def _tag(name: str, box: Sides, *, below: bool) -> Tag:
    """Below the box at its left edge, or above it at its right edge; within the picture."""
    text = name if len(name) <= LONGEST else name[: LONGEST - 1].rstrip() + "…"
    width = min(LETTER * len(text) + PADDING, SCENE)
    left = box[0] if below else box[0] + box[2] - width
    top = box[1] + box[3] if below else box[1] - HEIGHT
    return Tag(text, round(min(max(left, 0.0), SCENE - width), 1), top, round(width, 1))
