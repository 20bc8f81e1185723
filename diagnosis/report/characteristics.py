"""The section on characteristics of objects: charts over their bins, and tables by class."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from diagnosis.report.cells import Cell, Column, Table, share, text, whole
from diagnosis.report.reading import Json, classes_of, mean, ordered
from diagnosis.report.shapes import Block, Panels, lines

__all__ = ["characteristics"]

MOST_PANELS = 8  # charts; beyond that only the usual characteristics are drawn, the others are a table
FEWEST = 5  # objects of a bin that counts (rules, section 5)
CHARACTERISTICS = {
    "area": "size (area of the box)",
    "height": "height of the box",
    "aspect_ratio": "aspect ratio (width over height)",
    "truncated": "truncated",
    "occluded": "occlusion",
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
    "Where an interval leaves out zero, the difference is more than the chance of which images were drawn.",
}


def characteristics(detectors: Sequence[Json], letters: Sequence[str]) -> list[Block]:
    """Normalised average precision over the bins of each characteristic: charts and tables."""
    names = ordered(
        name
        for detector in detectors
        for numbers in classes_of(detector).values()
        for name, bins in (numbers.get("characteristics") or {}).items()
        if isinstance(bins, list | tuple)
    )
    panels, tables, further = [], [], []
    for name in names:
        labels = ordered(str(entry["bin"]) for d in detectors for _, entry in _bins(d, name))
        words = [YES_NO[label] for label in labels] if YES_NO.keys() >= set(labels) else labels
        series = [[mean([e["apn"] for e in _counted(d, name, bin_)]) for bin_ in labels] for d in detectors]
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
    for name, numbers in classes_of(detector).items():
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
    for name in classes_of(detectors[0]):
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
