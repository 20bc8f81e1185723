"""The tables of the classes: all numbers of a detector, and one number of all detectors side by side."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from diagnosis.average_precision import AP_KINDS
from diagnosis.breakdown import ERROR_TYPES
from diagnosis.figures.style import AP_LABELS
from diagnosis.report.cells import Cell, Column, Table, fraction, points, text, whole
from diagnosis.report.overview import shares_of

__all__ = ["class_tables"]

Json = Mapping[str, Any]


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
            *((f"AP: {AP_LABELS.get(kind, kind)}", "ap", kind, "") for kind in kinds),
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
        *(
            Column(
                f"AP {AP_KINDS[kind].heading if kind in AP_KINDS else kind}",
                meaning=AP_LABELS.get(kind, kind),
            )
            for kind in kinds
        ),
    )
    rows = []
    for name, entry in detector["classes"].items():
        top, ap = entry.get("top") or {}, entry.get("ap") or {}
        shares = tuple(shares_of(top))
        known = all(map(math.isfinite, shares))
        bar = Cell("", shares[0], shares=shares) if known else Cell("–", None, str(top.get("reason", "")))
        rows.append(
            (
                text(name),
                *(whole(number) for number in (entry.get("objects"), entry.get("detections"), top.get("n"))),
                bar,
                *(fraction(top, kind.name) for kind in ERROR_TYPES),
                *(fraction(ap, kind) for kind in kinds),
            )
        )
    caption = "Shares and average precision in per cent."
    return Table(f"{detector['name']}: all numbers", columns, tuple(rows), caption, identifier=identifier)


def _side_by_side(detectors: Sequence[Json], title: str, group: str, key: str, kind: str) -> Table:
    names = [detector["name"] for detector in detectors]
    two = len(detectors) == 2
    columns = [Column("class", False), Column("objects"), *(Column(name, kind=kind) for name in names)]
    if two:
        columns.append(Column("difference", meaning=f"{names[1]} less {names[0]}, in points."))
    rows = []
    for name, first in detectors[0]["classes"].items():
        entries = [(detector["classes"].get(name) or {}).get(group) or {} for detector in detectors]
        cells = [text(name), whole(first.get("objects")), *(fraction(entry, key) for entry in entries)]
        if two:
            before, after = (entry.get(key) for entry in entries)
            cells.append(points(None if before is None or after is None else after - before))
        rows.append(tuple(cells))
    what = "of the detections counted" if group == "top" else "average precision"
    caption = f"Per cent {what}" + (", difference in points." if two else ".")
    return Table(
        f"side by side: {title}", tuple(columns), tuple(rows), caption, identifier=f"side-{group}-{key}"
    )
