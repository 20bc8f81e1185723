"""Sections made of ``diagnosis.json``: impact, characteristics, TIDE, comparison. What it lacks is absent."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from diagnosis.breakdown import ERROR_TYPES
from diagnosis.drawing import AP_NAMES, count
from diagnosis.report.cells import Cell, Column, Table, from_page_table, points, share, text, whole
from diagnosis.report.content import SECTIONS, PageFigure, ReportContent
from diagnosis.report.shapes import Bars, Forest, Panels, bars, forest, lines

__all__ = ["Section", "sections"]

Json = Mapping[str, Any]
Block = Bars | Forest | Panels | Table | PageFigure

MOST_PANELS = 8  # charts; beyond that only the usual characteristics are drawn, the others are a table
FEWEST = 5  # objects of a bin that counts (rules, section 5)
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
CHARACTERISTICS = {
    "area": "size (area of the box)",
    "height": "height of the box",
    "aspect_ratio": "aspect ratio (width over height)",
    "truncated": "truncated",
    "occluded": "occlusion",
}
SHORT = {
    "comparison": "Differences",
    "flow": "Flow",
    "impact": "Cost in AP",
    "trends": "Ranking",
    "characteristics": "Characteristics",
    "tide": "TIDE",
    "confusion": "Confusion",
    "curves": "PR curves",
    "calibration": "Calibration",
    "further": "Further",
}
YES_NO = {"0": "no", "1": "yes", "False": "no", "True": "yes"}
NOTES = {
    "impact": "By how much average precision would rise if one error type were mended and all else stayed. "
    "The gains overlap, so they do not add up to what is missing to 100 %.",
    "characteristics": "Normalised average precision of the objects in each bin: a bin of few objects can be "
    "compared with one of many.",
    "tide": "The six errors of TIDE (Bolya et al., 2020) at an IoU of 0.5. Its rules differ from those of "
    "the breakdown above: it looks at the 100 surest detections of each image, not at the top of each class.",
    "comparison": "Intervals of the paired bootstrap over images: all detectors see the same resamples. "
    "Where an interval leaves out zero the difference is more than the chance of which images were in the set.",
}


@dataclass(frozen=True)
class Section:
    """A part of the page."""

    key: str
    title: str
    short: str
    note: str
    blocks: tuple[Block, ...]


def sections(content: ReportContent, letters: Sequence[str]) -> tuple[Section, ...]:
    """All sections for which there is something, in the order of :data:`SECTIONS`."""
    detectors: list[Json] = list(content.numbers.get("detectors", ()))
    own = {
        "comparison": _comparison(content.numbers),
        "impact": _impact(detectors, letters),
        "characteristics": _characteristics(detectors, letters),
        "tide": _tide(detectors, letters),
    }
    found = []
    for key, title in SECTIONS.items():
        blocks = [
            *own.get(key, ()),
            *(figure for figure in content.figures if figure.section == key),
            *(from_page_table(table) for table in content.tables if table.section == key),
        ]
        if blocks:
            found.append(Section(key, title, SHORT[key], NOTES.get(key, ""), tuple(blocks)))
    return tuple(found)


def _classes(detector: Json) -> Json:
    classes: Json = detector.get("classes") or {}
    return classes


def _mean(values: Sequence[float]) -> float | None:
    return sum(values) / len(values) if values else None


def _ordered(names: Iterator[str]) -> list[str]:
    """Each name once, in the order of first appearance."""
    return list(dict.fromkeys(names))


# ---- what each error type costs --------------------------------------------------------------


def _impact(detectors: Sequence[Json], letters: Sequence[str]) -> list[Block]:
    kinds = _ordered(kind for d in detectors for c in _classes(d).values() for kind in c.get("impact") or ())
    blocks: list[Block] = []
    for key, base, name in (
        ("ap", "hoiem", "average precision (Hoiem)"),
        ("apn", "normalized", "normalised average precision (Hoiem)"),
    ):
        groups = [
            (*_impact_words(kind), [_mean(_gains(detector, kind, key, base)) for detector in detectors])
            for kind in kinds
        ]
        if any(value is not None for *_, values in groups for value in values):
            counted = sum("impact" in c and c.get("objects", 0) > 0 for c in _classes(detectors[0]).values())
            caption = (
                f"Points of {name}, averaged over {count(counted, 'class', 'classes')} with objects; "
                "a class that would lose counts as 0."
            )
            blocks.append(bars(f"Gain in {name}", groups, letters, caption))
    return blocks


def _gains(detector: Json, kind: str, key: str, base: str) -> list[float]:
    gains = []
    for numbers in _classes(detector).values():
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


# ---- characteristics -------------------------------------------------------------------------


def _characteristics(detectors: Sequence[Json], letters: Sequence[str]) -> list[Block]:
    names = _ordered(
        name
        for detector in detectors
        for numbers in _classes(detector).values()
        for name, bins in (numbers.get("characteristics") or {}).items()
        if isinstance(bins, list | tuple)
    )
    panels, tables, further = [], [], []
    for name in names:
        labels = _ordered(str(entry["bin"]) for d in detectors for _, entry in _bins(d, name))
        words = [YES_NO[label] for label in labels] if YES_NO.keys() >= set(labels) else labels
        series = [[_mean([e["apn"] for e in _counted(d, name, bin_)]) for bin_ in labels] for d in detectors]
        if not any(value is not None for values in series for value in values):
            continue
        title = CHARACTERISTICS.get(name, name.replace("_", " ").replace(".", ": "))
        if name in CHARACTERISTICS or len(names) <= MOST_PANELS:
            panels.append(lines(title, words, series, [str(d.get("name", "")) for d in detectors]))
            tables.append(_bin_table(detectors, name, title, dict(zip(labels, words, strict=True)), letters))
        else:
            counts = [[e["objects"] for e in _counted(detectors[0], name, bin_)] for bin_ in labels]
            for place, word in enumerate(words):
                means = (share(values[place]) for values in series)
                cells = whole(len(counts[place])), whole(sum(counts[place]))
                further.append((text(title), text(word), *cells, *means))
    if not panels and not further:
        return []
    averaged = f"averaged over the classes with at least {FEWEST} objects in the bin"
    caption = (
        f"Per cent, {averaged}: which classes these are changes from bin to bin, so a step between two bins "
        "can also come of the classes."
    )
    blocks: list[Block] = [*tables]
    if panels:
        blocks.insert(0, Panels("Normalised average precision by bin", tuple(panels), caption))
    if further:
        columns = (
            Column("characteristic", False),
            Column("bin", False),
            Column("classes"),
            Column("objects"),
        )
        scores = tuple(Column(f"APn {letter}" if len(letters) > 1 else "APn") for letter in letters)
        caption = f"APn: normalised average precision, per cent, {averaged}."
        blocks.append(Table("Further characteristics", (*columns, *scores), tuple(further), caption))
    return blocks


def _bins(detector: Json, characteristic: str) -> Iterator[tuple[str, Json]]:
    """Class and entry of each bin."""
    for name, numbers in _classes(detector).items():
        entries = (numbers.get("characteristics") or {}).get(characteristic)
        if isinstance(entries, list | tuple):
            yield from ((name, entry) for entry in entries)


def _counted(detector: Json, characteristic: str, label: str) -> list[Json]:
    """What the classes have in a bin, those with enough objects."""
    entries = (entry for _, entry in _bins(detector, characteristic) if str(entry["bin"]) == label)
    return [entry for entry in entries if entry.get("apn") is not None and entry.get("objects", 0) >= FEWEST]


def _bin_table(
    detectors: Sequence[Json],
    characteristic: str,
    title: str,
    words: Mapping[str, str],
    letters: Sequence[str],
) -> Table:
    """APn of each class in each bin, of all detectors; `words` are the bins and what they are called."""
    found = [
        {(owner, str(entry["bin"])): entry for owner, entry in _bins(detector, characteristic)}
        for detector in detectors
    ]
    rows = []
    for name in _classes(detectors[0]):
        cells: list[Cell] = [text(name)]
        for label in words:
            entries: list[Json] = [entries.get((name, label)) or {} for entries in found]
            cells.append(whole(entries[0].get("objects")))
            cells += [share(entry.get("apn"), str(entry.get("reason", ""))) for entry in entries]
        rows.append(tuple(cells))
    columns = [Column("class", False)]
    for word in words.values():
        scores = [f"APn {letter}" for letter in letters] if len(letters) > 1 else ["APn"]
        columns += [Column(f"{word}: {name}") for name in ("N", *scores)]
    caption = "N: objects in the bin. APn: normalised average precision, per cent."
    return Table(f"{title}: all classes", tuple(columns), tuple(rows), caption, folded=True)


# ---- TIDE ------------------------------------------------------------------------------------


def _tide(detectors: Sequence[Json], letters: Sequence[str]) -> list[Block]:
    tides: list[Json] = [detector.get("tide") or {} for detector in detectors]
    kinds = _ordered(kind for tide in tides for kind in tide.get("dap") or () if kind != "reason")
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
    for detector, tide in zip(detectors, tides, strict=True):
        name = f"{detector.get('name', '')}: " if len(detectors) > 1 else ""
        columns += [Column(f"{name}dAP"), Column(f"{name}number")]
        for row, kind in zip(rows, kinds, strict=True):
            row += [share((tide.get("dap") or {}).get(kind)), whole((tide.get("counts") or {}).get(kind))]
    scores = "; ".join(
        f"{detector.get('name', '')} {share(tide.get('ap50')).text} %"
        for detector, tide in zip(detectors, tides, strict=True)
    )
    caption = (
        "dAP in points; number: detections with this error, or objects missed. "
        f"AP at an IoU of 0.5: {scores}."
    )
    return [chart, Table("TIDE's errors", tuple(columns), tuple(tuple(row) for row in rows), caption)]


# ---- comparison ------------------------------------------------------------------------------


QUANTITIES = {
    "share": "Shares of the detections counted (mean over classes)",
    "pooled": "Shares, all classes pooled",
    "map": "Mean average precision",
    "dap": "TIDE's dAP",
}


def _comparison(numbers: Json) -> list[Block]:
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
