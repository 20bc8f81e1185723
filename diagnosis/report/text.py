"""The page in words: what the numbers say, what the error types are, what exactly is counted, the origin."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from diagnosis.breakdown import BACKGROUND, ERROR_TYPES, LOCALIZATION, OTHER, SIMILAR, WEAK
from diagnosis.figures.page import example_classes, explanations
from diagnosis.figures.style import count, text_colour_on
from diagnosis.record import Diagnosis
from diagnosis.report.content import Json
from diagnosis.report.tables import ABSENT, shares_of
from diagnosis.words import sentences

__all__ = ["counting_rules", "legend", "origin_rows", "page_sentences", "top_rule"]

NO_BREAK_SPACE = "\u00a0"

SCENE_WIDTH = 132.0
"""Of a picture of the legend, in its own units; so are the sizes below."""
LETTER_WIDTH, TAG_PADDING, TAG_HEIGHT = 6.7, 8.0, 13.0
MAX_TAG_LETTERS = 15

Sides = tuple[float, float, float, float]
"""Left, top, width and height."""
OVERLAPPING: tuple[Sides, Sides] = ((36, 24, 66, 42), (30, 20, 66, 42))
SCENES: dict[int, tuple[Sides, Sides]] = {
    LOCALIZATION: ((10, 26, 66, 42), (54, 32, 66, 42)),
    BACKGROUND: ((10, 32, 42, 34), (76, 24, 48, 50)),
}
"""Boxes of the object and the detection, for error types whose boxes do not largely overlap."""


# ---- sentences -------------------------------------------------------------------------------


def page_sentences(diagnoses: Sequence[Diagnosis], statements: Sequence[str]) -> list[str]:
    """Each detector in a sentence; then the comparison's `statements`, or else plain differences."""
    said = sentences(diagnoses)
    if statements:
        said = [*said[: len(diagnoses)], *statements]
    return [_without_breaks(sentence) for sentence in said]


def _without_breaks(sentence: str) -> str:
    """A sentence that no browser breaks before a per cent sign or within an interval.

    Examples
    --------
    >>> _without_breaks("It rises by 5.9 % [4.1, 7.6].")
    'It rises by 5.9\\xa0% [4.1,\\xa07.6].'
    """
    within = re.sub(r"\[[^\]]*\]", lambda found: found[0].replace(" ", NO_BREAK_SPACE), sentence)
    return within.replace(" %", f"{NO_BREAK_SPACE}%")


# ---- legend ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Tag:
    """A name at the edge of a box."""

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
    """Each error type in one sentence, with a picture of boxes and classes of the data as examples."""
    example = example_classes(diagnosis)
    detected = example.detected or "class"
    others = {SIMILAR: example.similar or "similar class", OTHER: example.other or "other class"}
    entries = []
    for place, (kind, words) in enumerate(zip(ERROR_TYPES, explanations(diagnosis), strict=True)):
        object_, found = SCENES.get(place, OVERLAPPING)
        entries.append(
            LegendEntry(
                kind.name,
                kind.colour,
                text_colour_on(kind.colour),
                words,
                object_,
                found,
                _tag(others.get(place, detected), object_, below=True),
                _tag(detected, found, below=False),
            )
        )
    return entries


def _tag(name: str, box: Sides, *, below: bool) -> Tag:
    """Below the box at its left edge, or above it at its right edge; within the picture."""
    text = name if len(name) <= MAX_TAG_LETTERS else name[: MAX_TAG_LETTERS - 1].rstrip() + "…"
    width = min(LETTER_WIDTH * len(text) + TAG_PADDING, SCENE_WIDTH)
    left = box[0] if below else box[0] + box[2] - width
    top = box[1] + box[3] if below else box[1] - TAG_HEIGHT
    return Tag(text, round(min(max(left, 0.0), SCENE_WIDTH - width), 1), top, round(width, 1))


# ---- rules -----------------------------------------------------------------------------------


def counting_rules(diagnoses: Sequence[Diagnosis], numbers: Json) -> list[tuple[str, str]]:
    """What exactly is counted, and why parts need not sum to 100: heading and text."""
    sums = []
    for detector in numbers["detectors"]:
        shares = shares_of(detector["breakdown"]["mean_over_classes"])
        if all(map(math.isfinite, shares)):
            sums.append(f"{sum(round(100 * value, 1) for value in shares):.1f} for {detector['name']}")
    rounding = (
        "Every number is rounded to one decimal on its own, so five printed parts may sum to 99.9 or 100.1"
        + (f": here to {', '.join(sums)}." if sums else ".")
        + " The unrounded parts always sum to 1; they are in diagnosis.json."
    )
    short = []
    for diagnosis in diagnoses:
        fewer = int((diagnosis.breakdown.counts.sum(axis=1) < diagnosis.breakdown.objects).sum())
        if fewer:
            short.append(f"in {count(fewer, 'class', 'classes')} of {diagnosis.name}")
    return [
        (
            "The detections counted",
            f"Of each class its surest detections are counted: {top_rule(numbers)}. N leaves out difficult "
            "objects. Where there are fewer detections, all of them are counted."
            + (f" Fewer than N are counted {', '.join(short)}." if short else ""),
        ),
        (
            "Mean over classes, or pooled",
            "In the mean over classes each class has the same weight; those of which nothing is counted "
            "are left out. Pooled, each detection has the same weight, and a frequent class decides.",
        ),
        (
            "Missed objects",
            "They are no part of the shares, which are fractions of detections. They show in recall and in "
            "average precision: a detector that finds little but is always right has 100 % correct.",
        ),
        (
            "Difficult objects",
            "A detection on an object marked difficult counts as correct here and neither way in average "
            "precision; such objects are not among the N objects of a class.",
        ),
        (
            "Overlap",
            f"Intersection over union (IoU) of the boxes, clipped to the image: {diagnoses[0].iou:g} or more "
            f"is right, below {WEAK:g} is background. The surest detection takes the object; a second one on "
            "it is a localization error.",
        ),
        ("Rounding", rounding),
        (
            "Gains",
            "What an error type costs in average precision is found by mending that type alone. The gains of "
            "two types overlap, and do not add up to the average precision that is missing.",
        ),
    ]


def top_rule(numbers: Json) -> str:
    """How many of a class's detections count, as far as the provenance says."""
    top = numbers["provenance"].get("options", {}).get("top")
    if top is None:
        return "as many as it has objects (N)"
    return f"{top[:-1]} times as many as it has objects (N)" if top.endswith("x") else top


def origin_rows(provenance: Json) -> list[tuple[str, str]]:
    """Provenance as rows of a key, nested ones joined by spaces, and a value."""
    return list(_flat(provenance, ""))


def _flat(value: Any, key: str) -> Iterator[tuple[str, str]]:
    if isinstance(value, Mapping):
        for name, part in value.items():
            yield from _flat(part, f"{key} {name}".strip().replace("_", " "))
    elif isinstance(value, list | tuple) and any(isinstance(part, Mapping) for part in value):
        for number, part in enumerate(value, 1):
            yield from _flat(part, f"{key} {number}")
    else:
        shown = ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
        yield key, ABSENT if value is None else shown
