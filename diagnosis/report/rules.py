"""The page in words: what the numbers say, what exactly is counted, where it comes from."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from diagnosis.breakdown import WEAK
from diagnosis.figures.style import count
from diagnosis.record import Diagnosis
from diagnosis.report.overview import shares_of
from diagnosis.words import sentences

__all__ = ["counting_rules", "origin_rows", "spoken", "top_rule"]

Json = Mapping[str, Any]
NOT_GIVEN, NO_BREAK = "–", "\u00a0"


def spoken(diagnoses: Sequence[Diagnosis], statements: Sequence[str]) -> list[str]:
    """Each detector in a sentence; then the comparison's `statements`, or else plain differences."""
    told = sentences(diagnoses)
    if statements:
        told = [*(told for diagnosis in diagnoses for told in sentences([diagnosis])), *statements]
    return [_held_together(sentence) for sentence in told]


def _held_together(sentence: str) -> str:
    """A sentence that no browser breaks before a per cent sign or within an interval.

    Examples
    --------
    >>> _held_together("It rises by 5.9 % [4.1, 7.6].")
    'It rises by 5.9\\xa0% [4.1,\\xa07.6].'
    """
    within = re.sub(r"\[[^\]]*\]", lambda found: found[0].replace(" ", NO_BREAK), sentence)
    return within.replace(" %", f"{NO_BREAK}%")


def counting_rules(diagnoses: Sequence[Diagnosis], numbers: Json) -> list[tuple[str, str]]:
    """What exactly is counted, and why parts need not sum to 100: heading and text."""
    iou = diagnoses[0].iou
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
    return [
        ("The detections counted", _counted(diagnoses, numbers)),
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
            f"Intersection over union (IoU) of the boxes, clipped to the image: {iou:g} or more is right, "
            f"below {WEAK:g} is background. The surest detection takes the object; a second one on it is a "
            "localization error.",
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
    top = ((numbers.get("provenance") or {}).get("options") or {}).get("top")
    if top is None:
        return "as many as it has objects (N)"
    if str(top).endswith("x"):
        return f"{str(top)[:-1]} times as many as it has objects (N)"
    return "all" if top == "all" else f"{top}"


def _counted(diagnoses: Sequence[Diagnosis], numbers: Json) -> str:
    short = []
    for diagnosis in diagnoses:
        fewer = int((diagnosis.breakdown.counts.sum(axis=1) < diagnosis.breakdown.objects).sum())
        if fewer:
            short.append(f"in {count(fewer, 'class', 'classes')} of {diagnosis.name}")
    tail = f" Fewer than N are counted {', '.join(short)}." if short else ""
    return (
        f"Of each class its surest detections are counted: {top_rule(numbers)}. N leaves out difficult "
        f"objects. Where there are fewer detections, all of them are counted.{tail}"
    )


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
        yield key, NOT_GIVEN if value is None else shown
