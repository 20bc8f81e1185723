"""The section on how detectors differ: intervals of a bootstrap, drawn and as tables."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from diagnosis.drawing import AP_NAMES
from diagnosis.report.cells import Cell, Column, Table, points, text
from diagnosis.report.reading import Json
from diagnosis.report.shapes import Block, forest

__all__ = ["differences"]

QUANTITIES = {
    "share": "Shares of the detections counted (mean over classes)",
    "pooled": "Shares, all classes pooled",
    "map": "Mean average precision",
    "dap": "TIDE's dAP",
}


def differences(numbers: Json) -> list[Block]:
    """Each pair of detectors with paired intervals, and each detector with its own."""
    blocks: list[Block] = []
    for entry in numbers.get("comparison") or ():
        title = f"{entry.get('b', 'b')} less {entry.get('a', 'a')}"
        drawn: dict[str, list[tuple[str, float, float, float, float]]] = {}
        rows = []
        for kind, quantity, gap in _quantities(entry, "difference"):
            label = AP_NAMES.get(quantity, quantity.replace("_", " "))
            values: list[float | None] = [gap.get(key) for key in ("difference", "low", "high", "p")]
            known = [value for value in values if value is not None]
            note = str(gap.get("reason", ""))
            p = Cell("–", None, note) if values[3] is None else Cell(_p(values[3]), values[3])
            rows.append(
                (text(_heading(kind)), text(label), *(points(value, note) for value in values[:3]), p)
            )
            if len(known) == len(values):
                drawn.setdefault(kind, []).append((label, known[0], known[1], known[2], known[3]))
        caption = f"Points, with intervals of {_level(entry)}."
        blocks += [forest(f"{title}: {_heading(kind)}", gaps, caption) for kind, gaps in drawn.items()]
        if rows:
            headings = ("of", "quantity", "difference", "low", "high", "p")
            columns = tuple(Column(heading, place > 1) for place, heading in enumerate(headings))
            blocks.append(Table(f"{title}: all differences", columns, tuple(rows), caption, folded=True))
    return [*blocks, *_intervals(numbers.get("intervals") or ())]


def _quantities(entry: Json, field: str) -> Iterator[tuple[str, str, Json]]:
    """Section, name and numbers of what was bootstrapped; what is by class is left to diagnosis.json."""
    for kind, members in entry.items():
        if kind != "classes" and isinstance(members, Mapping):
            yield from (
                (kind, name, gap)
                for name, gap in members.items()
                if isinstance(gap, Mapping) and field in gap
            )


def _intervals(entries: Sequence[Json]) -> list[Block]:
    found = [{(kind, name): value for kind, name, value in _quantities(entry, "value")} for entry in entries]
    keys = list(dict.fromkeys(key for values in found for key in values))
    if not keys:
        return []
    rows = tuple(
        (
            text(_heading(kind)),
            text(name.replace("_", " ")),
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
    return [Table("Each detector's numbers with intervals", columns, rows, caption, folded=True)]


def _interval(value: Json | None) -> Cell:
    middle, low, high = (value.get(key) for key in ("value", "low", "high")) if value else (None, None, None)
    if middle is None or low is None or high is None:
        return Cell("–", None, str(value.get("reason", "")) if value else "")
    return Cell(f"{100 * middle:.1f} [{100 * low:.1f}, {100 * high:.1f}]", middle)


def _heading(kind: str) -> str:
    return QUANTITIES.get(kind, kind.replace("_", " "))


def _p(p: float) -> str:
    return "<0.001" if p < 0.001 else f"{p:.3f}"


def _level(entry: Json) -> str:
    """What the intervals are, as far as the entry says."""
    level = f"{100 * entry.get('level', 0.95):g} %"
    if "replicates" not in entry or "images" not in entry:
        return f"{level} over images"
    return f"{level}: {entry['replicates']:,} resamples of {entry['images']:,} images"
