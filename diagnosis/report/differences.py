"""The section on how detectors differ: intervals of a bootstrap, drawn and as tables."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from diagnosis.compare import p_value, quantity_name
from diagnosis.figures.style import AP_LABELS, count
from diagnosis.record import Diagnosis
from diagnosis.report.cells import Cell, Column, Table, points, text, whole
from diagnosis.report.reading import Json
from diagnosis.report.shapes import Block, forest

__all__ = ["differences", "few_images"]

FEW = 50  # images, below which an interval is rough
NAMED = 6  # classes, of those that few images show

QUANTITIES = {
    "share": "Shares of the detections counted (mean over classes)",
    "pooled": "Shares, all classes pooled",
    "map": "Mean average precision",
    "impact": "Gain in average precision (Hoiem)",
    "tide": "Average precision (TIDE)",
    "dap": "Gain in average precision (TIDE's dAP)",
}


def differences(numbers: Json) -> list[Block]:
    """Each pair of detectors with paired intervals, and each detector with its own."""
    blocks: list[Block] = []
    for entry in numbers.get("comparison") or ():
        title = f"{entry.get('b', 'b')} less {entry.get('a', 'a')}"
        drawn: dict[str, list[tuple[str, float, float, float, str]]] = {}
        rows = []
        for kind, quantity, gap in _quantities(entry, "difference"):
            label = _label(kind, quantity)
            values: list[float | None] = [gap.get(key) for key in ("difference", "low", "high", "p")]
            known = [value for value in values if value is not None]
            note = str(gap.get("reason", ""))
            replicates = entry.get("replicates", math.inf) - gap.get("undefined_replicates", 0)
            p = Cell("–", None, note)
            if values[3] is not None:
                p = Cell(p_value(values[3], replicates).removeprefix("= "), values[3])
            rows.append(
                (text(_heading(kind)), text(label), *(points(value, note) for value in values[:3]), p)
            )
            if len(known) == len(values):
                drawn.setdefault(kind, []).append(
                    (label, known[0], known[1], known[2], f"p {p_value(known[3], replicates)}")
                )
        caption = f"Points, with intervals of {_level(entry)}."
        blocks += [forest(f"{title}: {_heading(kind)}", gaps, caption) for kind, gaps in drawn.items()]
        if rows:
            headings = ("of", "quantity", "difference", "low", "high", "p")
            columns = tuple(Column(heading, place > 1) for place, heading in enumerate(headings))
            blocks.append(Table(f"{title}: all differences", columns, tuple(rows), caption, folded=True))
    intervals = numbers.get("intervals") or ()
    return [*_runs(intervals), *blocks, *_intervals(intervals, folded=bool(blocks))]


def few_images(numbers: Json, diagnosis: Diagnosis) -> str:
    """What to think of intervals that few images are behind; empty where there are no such intervals.

    The bootstrap draws from the images at hand: of a few, it shows less than the chance there was.
    """
    entries = [*(numbers.get("comparison") or ()), *(numbers.get("intervals") or ())]
    if not any(isinstance(entry, Mapping) and "replicates" in entry for entry in entries):
        return ""
    truth, counts = diagnosis.truth, ~diagnosis.matching.ignored
    if len(truth.images) < FEW:
        return (
            f"There are only {count(len(truth.images), 'image')}: with fewer than {FEW} the intervals are "
            "rough, and rather too short."
        )
    seen = np.unique(np.stack([truth.labels, truth.image_index])[:, counts], axis=1)[0]
    images = np.bincount(seen, minlength=len(truth.classes))
    few = [place for place in np.argsort(images, kind="stable").tolist() if 0 < images[place] < FEW]
    if not few:
        return ""
    named = ", ".join(f"{truth.classes[place]} ({images[place]})" for place in few[:NAMED])
    more = f" and {len(few) - NAMED} more" if len(few) > NAMED else ""
    return (
        f"{count(len(few), 'class has', 'classes have')} objects in fewer than {FEW} images: {named}{more}. "
        "The intervals of such a class are rough, and widen those of the mean over classes."
    )


def _runs(entries: Sequence[Json]) -> list[Block]:
    """Which runs each group is of; nothing where no run is grouped."""
    groups = [(str(entry.get("name", "")), list(entry.get("runs") or ())) for entry in entries]
    if all(len(runs) < 2 for _, runs in groups):
        return []
    rows = tuple((text(name), whole(len(runs)), text(", ".join(map(str, runs)))) for name, runs in groups)
    columns = (Column("group", False), Column("number"), Column("runs", False))
    caption = "A group's number is the mean of its runs'."
    return [Table("Runs taken together", columns, rows, caption)]


def _quantities(entry: Json, field: str) -> Iterator[tuple[str, str, Json]]:
    """Section, name and numbers of what was bootstrapped; what is by class is left to diagnosis.json."""
    for kind, members in entry.items():
        if kind != "classes" and isinstance(members, Mapping):
            yield from (
                (kind, name, gap)
                for name, gap in members.items()
                if isinstance(gap, Mapping) and field in gap
            )


def _intervals(entries: Sequence[Json], *, folded: bool) -> list[Block]:
    found = [{(kind, name): value for kind, name, value in _quantities(entry, "value")} for entry in entries]
    keys = list(dict.fromkeys(key for values in found for key in values))
    if not keys:
        return []
    rows = tuple(
        (
            text(_heading(kind)),
            text(_label(kind, name)),
            *(_interval(values.get((kind, name))) for values in found),
        )
        for kind, name in keys
    )
    columns = (
        Column("of", False),
        Column("quantity", False),
        *(Column(str(entry.get("name", ""))) for entry in entries),
    )
    caption = f"Per cent, with intervals of {_level(entries[0])}."
    if any("runs_deviation" in value for values in found for value in values.values()):
        caption += " ±: standard deviation between the runs."
    title = "Each detector's numbers with intervals" if len(entries) > 1 else "Numbers with intervals"
    return [Table(title, columns, rows, caption, folded=folded)]


def _interval(value: Json | None) -> Cell:
    middle, low, high = (value.get(key) for key in ("value", "low", "high")) if value else (None, None, None)
    if middle is None or low is None or high is None:
        return Cell("–", None, str(value.get("reason", "")) if value else "")
    runs = value.get("runs_deviation") if value else None
    spread = "" if runs is None else f" ± {100 * runs:.1f}"
    return Cell(f"{100 * middle:.1f} [{100 * low:.1f}, {100 * high:.1f}]{spread}", middle)


def _heading(kind: str) -> str:
    return QUANTITIES.get(kind, kind.replace("_", " "))


def _label(kind: str, quantity: str) -> str:
    return (
        AP_LABELS[quantity]
        if kind == "map" and quantity in AP_LABELS
        else quantity_name(f"{kind}/{quantity}")
    )


def _level(entry: Json) -> str:
    """What the intervals are, as far as the entry says."""
    level = f"{100 * entry.get('level', 0.95):g} %"
    if "replicates" not in entry or "images" not in entry:
        return f"{level} over images"
    return f"{level}: {entry['replicates']:,} resamples of {entry['images']:,} images"
