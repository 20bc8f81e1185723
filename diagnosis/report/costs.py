"""Sections of ``diagnosis.json`` on what each error type costs: Hoiem's changes to the ranking, and TIDE."""

from __future__ import annotations

from collections.abc import Sequence

from diagnosis.breakdown import ERROR_TYPES, STRONG, WEAK
from diagnosis.compare import impact_label
from diagnosis.figures.style import count
from diagnosis.impact import VARIANTS
from diagnosis.report.cells import Cell, Column, Table, share, text, whole
from diagnosis.report.reading import Json, classes_of, mean, ordered
from diagnosis.report.shapes import Block, bars
from diagnosis.tide import TIDE_ERRORS, TIDE_LABELS, explain

__all__ = ["impact", "tide"]

MEANINGS = {variant.name: variant.explanation for variant in VARIANTS}
TIDE_SUMS = {
    "fp": "What AP would gain without any false positive.",
    "fn": "What AP would gain if no object were missed.",
}
SHARED = {"cls": "other", "loc": "localization", "bkg": "background"}  # error types of one colour
TIDE_COLOURS = {kind.name: SHARED.get(kind.name, kind.name) for kind in TIDE_ERRORS}


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
                "a class that would lose counts as 0. Background includes other, as in Hoiem's tool, unless "
                "it is called pure."
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
    what = kind.partition("_")[2].removeprefix("pure_")
    colour = next((kind.name for kind in ERROR_TYPES if what.startswith(kind.name)), "")
    return impact_label(kind), MEANINGS.get(kind, ""), colour


def tide(detectors: Sequence[Json], letters: Sequence[str]) -> list[Block]:
    """TIDE's errors: what each costs, and how many there are."""
    tides: list[Json] = [detector.get("tide") or {} for detector in detectors]
    kinds = ordered(kind for tide in tides for kind in tide.get("dap") or () if kind != "reason")
    if not kinds:
        return []
    iou, background = (
        next((tide[name] for tide in tides if name in tide), usual)
        for name, usual in (("iou", STRONG), ("background", WEAK))
    )
    meanings = {kind.name: explain(kind, iou, background) for kind in TIDE_ERRORS} | TIDE_SUMS
    words = [(TIDE_LABELS.get(kind, kind.replace("_", " ")), meanings.get(kind, "")) for kind in kinds]
    groups = [
        (label, meaning, TIDE_COLOURS.get(kind, ""), [(tide.get("dap") or {}).get(kind) for tide in tides])
        for kind, (label, meaning) in zip(kinds, words, strict=True)
    ]
    chart = bars(
        "What average precision would gain",
        groups,
        letters,
        f"Points of AP at an IoU of {iou:g} (dAP), each error type mended on its own; they do not add up.",
    )
    columns = [Column("error", False), Column("what it is", False)]
    rows: list[list[Cell]] = [[text(label), text(meaning)] for label, meaning in words]
    for detector, letter, tide in zip(detectors, letters, tides, strict=True):
        prefix, name = f"{letter}: " if len(detectors) > 1 else "", str(detector.get("name", ""))
        columns += [Column(f"{prefix}{what}", meaning=name) for what in ("dAP", "number")]
        for row, kind in zip(rows, kinds, strict=True):
            row += [share((tide.get("dap") or {}).get(kind)), whole((tide.get("counts") or {}).get(kind))]
    scores = "; ".join(
        f"{letter + ' ' if len(detectors) > 1 else ''}{share(tide.get(f'ap{100 * iou:g}')).text} %"
        for letter, tide in zip(letters, tides, strict=True)
    )
    caption = (
        "dAP in points; number: detections with this error, or objects missed. "
        f"AP at an IoU of {iou:g}: {scores}."
    )
    return [chart, Table("TIDE's errors", tuple(columns), tuple(tuple(row) for row in rows), caption)]
