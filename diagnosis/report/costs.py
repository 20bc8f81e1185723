"""Sections of ``diagnosis.json`` on what each error type costs: Hoiem's changes to the ranking, and TIDE."""

from __future__ import annotations

from collections.abc import Sequence

from diagnosis.breakdown import ERROR_TYPES
from diagnosis.drawing import count
from diagnosis.report.cells import Cell, Column, Table, share, text, whole
from diagnosis.report.reading import Json, classes_of, mean, ordered
from diagnosis.report.shapes import Block, bars

__all__ = ["impact", "tide"]

VERBS = {
    "ignore": "{} removed",
    "fix": "{} corrected",
    "only": "all but {} removed",
}
MEANINGS = {
    "ignore": "These errors are moved to the end of the ranking.",
    "fix": "These errors count as correct, second detections of an object are removed.",
    "only": "All other false positives are moved to the end of the ranking.",
}
TIDE_TYPES = {
    "cls": ("wrong class", "On an object, IoU of at least 0.5, but of another class."),
    "loc": ("wrong place", "The right class, but an IoU of 0.1 to 0.5."),
    "both": ("wrong class and place", "An IoU of 0.1 to 0.5 with an object of another class."),
    "dupe": ("duplicate", "On an object that a surer detection has taken."),
    "bkg": ("background", "An IoU of at most 0.1 with every object."),
    "miss": ("missed object", "No detection on it, and no error that would be one if mended."),
    "fp": ("all false positives", "What AP would gain without any false positive."),
    "fn": ("all missed objects", "What AP would gain if no object were missed."),
}


def impact(detectors: Sequence[Json], letters: Sequence[str]) -> list[Block]:
    """What average precision, plain and normalised, would gain: the changes of the rules, section 4."""
    kinds = ordered(
        kind
        for d in detectors
        for c in classes_of(d).values()
        for kind in c.get("impact") or ()
        if "_" in kind
    )
    blocks: list[Block] = []
    for key, base, name in (
        ("ap", "hoiem", "average precision (Hoiem)"),
        ("apn", "normalized", "normalised average precision (Hoiem)"),
    ):
        groups = [
            (*_impact_words(kind), [mean(_gains(detector, kind, key, base)) for detector in detectors])
            for kind in kinds
        ]
        if any(value is not None for *_, values in groups for value in values):
            counted = sum(
                "impact" in c and c.get("objects", 0) > 0 for c in classes_of(detectors[0]).values()
            )
            caption = (
                f"Points of {name}, averaged over {count(counted, 'class', 'classes')} with objects; "
                "a class that would lose counts as 0."
            )
            blocks.append(bars(f"Gain in {name}", groups, letters, caption))
    return blocks


def _gains(detector: Json, kind: str, key: str, base: str) -> list[float]:
    gains = []
    for numbers in classes_of(detector).values():
        after = ((numbers.get("impact") or {}).get(kind) or {}).get(key)
        before = (numbers.get("ap") or {}).get(base)
        if after is not None and before is not None:
            gains.append(max(after - before, 0.0))
    return gains


def _impact_words(kind: str) -> tuple[str, str, str]:
    """Label, meaning and colour of one of the changes."""
    verb, _, what = kind.partition("_")
    words = what.replace("_", " ")
    colour = next((kind.name for kind in ERROR_TYPES if what.startswith(kind.name)), "")
    return VERBS.get(verb, verb + " {}").format(words), MEANINGS.get(verb, ""), colour


def tide(detectors: Sequence[Json], letters: Sequence[str]) -> list[Block]:
    """TIDE's errors: what each costs, and how many there are."""
    tides: list[Json] = [detector.get("tide") or {} for detector in detectors]
    kinds = ordered(kind for tide in tides for kind in tide.get("dap") or () if kind != "reason")
    if not kinds:
        return []
    words = [TIDE_TYPES.get(kind, (kind.replace("_", " "), "")) for kind in kinds]
    groups = [
        (label, meaning, "", [(tide.get("dap") or {}).get(kind) for tide in tides])
        for kind, (label, meaning) in zip(kinds, words, strict=True)
    ]
    chart = bars(
        "What average precision would gain",
        groups,
        letters,
        "Points of AP at an IoU of 0.5 (dAP), each error type mended on its own; they do not add up.",
    )
    columns = [Column("error", False), Column("what it is", False)]
    rows: list[list[Cell]] = [[text(label), text(meaning)] for label, meaning in words]
    for detector, letter, tide in zip(detectors, letters, tides, strict=True):
        prefix, name = f"{letter}: " if len(detectors) > 1 else "", str(detector.get("name", ""))
        columns += [Column(f"{prefix}{what}", meaning=name) for what in ("dAP", "number")]
        for row, kind in zip(rows, kinds, strict=True):
            row += [share((tide.get("dap") or {}).get(kind)), whole((tide.get("counts") or {}).get(kind))]
    scores = "; ".join(
        f"{letter + ' ' if len(detectors) > 1 else ''}{share(tide.get('ap50')).text} %"
        for letter, tide in zip(letters, tides, strict=True)
    )
    caption = (
        "dAP in points; number: detections with this error, or objects missed. "
        f"AP at an IoU of 0.5: {scores}."
    )
    return [chart, Table("TIDE's errors", tuple(columns), tuple(tuple(row) for row in rows), caption)]
