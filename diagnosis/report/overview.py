"""The first parts of the page: the five shares of each detector, average precision."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from diagnosis.breakdown import ERROR_TYPES
from diagnosis.figures.style import AP_LABELS
from diagnosis.record import Diagnosis
from diagnosis.report.cells import Cell, Column, Table, fraction, share, text, whole
from diagnosis.report.shapes import Part, Slice, pie, stacked

__all__ = ["Overview", "detector_table", "overviews", "score_table", "shares_of"]

Json = Mapping[str, Any]
WAYS = {"mean_over_classes": "mean over classes", "pooled": "all classes pooled"}


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
        mean, pooled = (shares_of(detector["breakdown"][way]) for way in WAYS)
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


def shares_of(entry: Json) -> list[float]:
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
    several = len(diagnoses) > 1
    columns = [
        *([Column("", False)] if several else []),
        Column("detector", False),
        Column("detections"),
        Column("counted", meaning="The top detections of each class that the shares are of."),
        Column("images", meaning="Images with at least one detection."),
    ]
    rows = []
    for diagnosis, letter in zip(diagnoses, letters, strict=True):
        found = diagnosis.detections
        images = len(set(found.image_index.tolist()))
        cells = [*([text(letter)] if several else []), text(diagnosis.name), whole(len(found))]
        rows.append((*cells, whole(int(diagnosis.breakdown.counts.sum())), whole(images)))
    if any(sources.values()):
        columns.append(Column("from", False))
        rows = [
            (*row, text(str(sources.get(diagnosis.name, ""))))
            for row, diagnosis in zip(rows, diagnoses, strict=True)
        ]
    return Table("Detectors", tuple(columns), tuple(rows))


def score_table(numbers: Json) -> Table:
    """Mean average precision of every kind."""
    kinds = _kinds(numbers, lambda detector: detector.get("map") or {})
    columns = (Column("detector", False), *(Column(AP_LABELS.get(kind, kind)) for kind in kinds))
    rows = tuple(
        (text(d["name"]), *(fraction(d.get("map") or {}, kind) for kind in kinds))
        for d in numbers["detectors"]
    )
    caption = "Per cent, mean over the classes that have objects."
    return Table("Mean average precision", columns, rows, caption)


def _kinds(numbers: Json, of: Any) -> list[str]:
    found = (kind for detector in numbers["detectors"] for kind in of(detector) if kind != "reason")
    return list(dict.fromkeys(found))
