"""The first parts of the page: what was diagnosed, the five shares, average precision, the classes."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from diagnosis.breakdown import ERROR_TYPES, STRONG, WEAK
from diagnosis.drawing import AP_NAMES, count
from diagnosis.report.cells import Cell, Column, Table, points, share, text, whole
from diagnosis.report.shapes import Part, Slice, pie, stacked
from diagnosis.summary import Diagnosis, sentences

__all__ = [
    "ErrorKind",
    "Overview",
    "class_tables",
    "counting_rules",
    "detector_table",
    "error_kinds",
    "origin_rows",
    "overviews",
    "score_table",
    "spoken",
    "top_rule",
]

Json = Mapping[str, Any]
WAYS = {"mean_over_classes": "mean over classes", "pooled": "all classes pooled"}


@dataclass(frozen=True)
class ErrorKind:
    """An error type, as the legend shows it: name, colour, text colour on it, what it means."""

    name: str
    colour: str
    ink: str
    explanation: str


@dataclass(frozen=True)
class Overview:
    """The five shares of one detector, drawn and in figures.

    Parameters
    ----------
    letter, name
        Of the detector.
    counted, classes
        How many detections are counted, and of how many classes.
    slices
        Pie of the mean over classes.
    bars
        Stacked bars: heading and parts.
    shares
        Error type, mean over classes and pooled.
    """

    letter: str
    name: str
    counted: int
    classes: int
    slices: tuple[Slice, ...]
    bars: tuple[tuple[str, tuple[Part, ...]], ...]
    shares: tuple[tuple[str, Cell, Cell], ...]


def overviews(diagnoses: Sequence[Diagnosis], numbers: Json, letters: Sequence[str]) -> list[Overview]:
    """One for each detector."""
    made = []
    for diagnosis, detector, letter in zip(diagnoses, numbers["detectors"], letters, strict=True):
        mean, pooled = (_shares(detector["breakdown"][way]) for way in WAYS)
        per_class = diagnosis.breakdown.counts.sum(axis=1)
        made.append(
            Overview(
                letter,
                diagnosis.name,
                int(per_class.sum()),
                int((per_class > 0).sum()),
                pie(mean),
                tuple(
                    (name, stacked(shares))
                    for name, shares in zip(WAYS.values(), (mean, pooled), strict=True)
                ),
                tuple(
                    (kind.name, share(one), share(other))
                    for kind, one, other in zip(ERROR_TYPES, mean, pooled, strict=True)
                ),
            )
        )
    return made


def _shares(entry: Json) -> list[float]:
    """The five shares; NaN where there is none."""
    values = [entry.get(kind.name) for kind in ERROR_TYPES]
    return [math.nan if value is None else float(value) for value in values]


def detector_table(diagnoses: Sequence[Diagnosis], numbers: Json, letters: Sequence[str]) -> Table:
    """What each detector found."""
    sources = {
        source.get("name"): source.get("path", "")
        for source in (numbers.get("provenance") or {}).get("sources") or ()
        if isinstance(source, Mapping)
    }
    columns = [
        Column("", False),
        Column("detector", False),
        Column("detections"),
        Column("counted", meaning="The top detections of each class that the shares are of."),
        Column("images", meaning="Images with at least one detection."),
    ]
    rows = []
    for diagnosis, letter in zip(diagnoses, letters, strict=True):
        found = diagnosis.detections
        images = len(set(found.image_index.tolist()))
        cells = [text(letter), text(diagnosis.name), whole(len(found))]
        rows.append((*cells, whole(int(diagnosis.breakdown.counts.sum())), whole(images)))
    if any(sources.values()):
        columns.append(Column("from", False))
        rows = [(*row, text(str(sources.get(row[1].text, "")))) for row in rows]
    return Table("Detectors", tuple(columns), tuple(rows))


def score_table(numbers: Json) -> Table:
    """Mean average precision of every kind."""
    kinds = _kinds(numbers, lambda detector: detector.get("map") or {})
    columns = (Column("detector", False), *(Column(AP_NAMES.get(kind, kind)) for kind in kinds))
    rows = tuple(
        (text(d["name"]), *(_fraction(d.get("map") or {}, kind) for kind in kinds))
        for d in numbers["detectors"]
    )
    caption = "Per cent, mean over the classes that have objects."
    return Table("Mean average precision", columns, rows, caption)


def _kinds(numbers: Json, of: Any) -> list[str]:
    found = (kind for detector in numbers["detectors"] for kind in of(detector) if kind != "reason")
    return list(dict.fromkeys(found))


def _fraction(entry: Json, name: str) -> Cell:
    return share(entry.get(name), str(entry.get("reason", "")))


# ---- tables of the classes -------------------------------------------------------------------


def class_tables(numbers: Json) -> list[Table]:
    """All numbers of each detector; and, for several detectors, each number side by side."""
    detectors = numbers["detectors"]
    kinds = list(
        dict.fromkeys(
            kind
            for d in detectors
            for c in d["classes"].values()
            for kind in c.get("ap") or ()
            if kind != "reason"
        )
    )
    tables = [_all_of(detector, kinds, f"classes-{place}") for place, detector in enumerate(detectors)]
    if len(detectors) > 1:
        measures = [
            *((kind.name, "top", kind.name, kind.name) for kind in ERROR_TYPES),
            *((f"AP: {AP_NAMES.get(kind, kind)}", "ap", kind, "") for kind in kinds),
        ]
        tables += [_side_by_side(detectors, *measure) for measure in measures]
    return tables


def _all_of(detector: Json, kinds: Sequence[str], identifier: str) -> Table:
    columns = (
        Column("class", False),
        Column("objects", meaning="Objects that are not difficult, N."),
        Column("detections"),
        Column("counted", meaning="The surest detections, which the shares are of."),
        Column("shares", meaning="Sorted by the share of correct detections."),
        *(
            Column(kind.name, kind=kind.name, meaning="Per cent of the detections counted.")
            for kind in ERROR_TYPES
        ),
        *(Column(f"AP {SHORT.get(kind, kind)}", meaning=AP_NAMES.get(kind, kind)) for kind in kinds),
    )
    rows = []
    for name, entry in detector["classes"].items():
        top, ap = entry.get("top") or {}, entry.get("ap") or {}
        shares = tuple(_shares(top))
        known = all(map(math.isfinite, shares))
        bar = Cell("", shares[0], shares=shares) if known else Cell("–", None, str(top.get("reason", "")))
        rows.append(
            (
                text(name),
                *(whole(number) for number in (entry.get("objects"), entry.get("detections"), top.get("n"))),
                bar,
                *(_fraction(top, kind.name) for kind in ERROR_TYPES),
                *(_fraction(ap, kind) for kind in kinds),
            )
        )
    caption = "Shares and average precision in per cent."
    return Table(f"{detector['name']}: all numbers", columns, tuple(rows), caption, identifier=identifier)


SHORT = {
    "voc07": "VOC07",
    "area": "area",
    "coco": "COCO",
    "coco50": "COCO50",
    "hoiem": "Hoiem",
    "normalized": "norm.",
}


def _side_by_side(detectors: Sequence[Json], title: str, group: str, key: str, kind: str) -> Table:
    names = [detector["name"] for detector in detectors]
    two = len(detectors) == 2
    columns = [Column("class", False), Column("objects"), *(Column(name, kind=kind) for name in names)]
    if two:
        columns.append(Column("difference", meaning=f"{names[1]} less {names[0]}, in points."))
    rows = []
    for name, first in detectors[0]["classes"].items():
        entries = [(detector["classes"].get(name) or {}).get(group) or {} for detector in detectors]
        cells = [text(name), whole(first.get("objects")), *(_fraction(entry, key) for entry in entries)]
        if two:
            before, after = (entry.get(key) for entry in entries)
            cells.append(points(None if before is None or after is None else after - before))
        rows.append(tuple(cells))
    what = "of the detections counted" if group == "top" else "average precision"
    caption = f"Per cent {what}" + (", difference in points." if two else ".")
    return Table(
        f"side by side: {title}", tuple(columns), tuple(rows), caption, identifier=f"side-{group}-{key}"
    )


# ---- in words --------------------------------------------------------------------------------


def spoken(diagnoses: Sequence[Diagnosis], statements: Sequence[str]) -> list[str]:
    """Each detector in a sentence; then the comparison's `statements`, or else plain differences."""
    if not statements:
        return sentences(diagnoses)
    return [*(told for diagnosis in diagnoses for told in sentences([diagnosis])), *statements]


def counting_rules(diagnoses: Sequence[Diagnosis], numbers: Json) -> list[tuple[str, str]]:
    """What exactly is counted, and why parts need not sum to 100: heading and text."""
    iou = diagnoses[0].iou
    sums = []
    for detector in numbers["detectors"]:
        shares = _shares(detector["breakdown"]["mean_over_classes"])
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
            "In the mean over classes each class has the same weight, and those of which nothing is counted are "
            "left out. Pooled, each detection has the same weight, and a frequent class decides.",
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
        f"Of each class its surest detections are counted: {top_rule(numbers)}. N leaves out difficult objects. "
        f"Where there are fewer detections, all of them are counted.{tail}"
    )


def error_kinds(iou: float, ink: Any) -> list[ErrorKind]:
    """The legend, with the smallest IoU of a correct detection put into the explanations."""
    return [
        ErrorKind(
            kind.name, kind.colour, ink(kind.colour), kind.explanation.replace(f"{STRONG:g}", f"{iou:g}")
        )
        for kind in ERROR_TYPES
    ]


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


NOT_GIVEN = "–"
