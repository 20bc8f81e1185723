"""The sections of the page that are there only where something is given for them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from diagnosis.average_precision import AP_KINDS
from diagnosis.breakdown import ERROR_TYPES
from diagnosis.characteristics import FEWEST_OBJECTS
from diagnosis.compare import p_value, quantity_name
from diagnosis.impact import IMPACT_VARIANTS
from diagnosis.record import Diagnosis
from diagnosis.report.blocks import (
    ABSENT,
    Block,
    Cell,
    Column,
    Table,
    bars,
    forest,
    from_page_table,
    lines,
    points,
    reported,
    share,
    text,
    whole,
)
from diagnosis.report.content import SECTIONS, Json, ReportContent
from diagnosis.tide import TIDE_ERRORS, TIDE_LABELS, explain
from diagnosis.words import COCO_HEADINGS, FEW_IMAGES, count

__all__ = ["sections"]

SHORT_TITLES = {
    "comparison": "Differences",
    "flow": "Flow",
    "groups": "Groups",
    "impact": "Costs",
    "trends": "Ranking",
    "characteristics": "Characteristics",
    "tide": "TIDE",
    "confusion": "Confusion",
    "curves": "PR curves",
    "calibration": "Calibration",
    "further": "Further",
}
NOTES = {
    "groups": "A class stands with those that it is similar to, each with each other; one that is similar to "
    "none stands in no group. For the classes of VOC these are the groups of Hoiem's tool.",
    "impact": "By how much average precision would rise if one error type were mended and all else stayed. "
    "The gains overlap, so they do not add up to what is missing to 100 %.",
    "characteristics": "Normalised average precision of the objects in each bin: a bin of few objects can be "
    "compared with one of many.",
    "tide": "The six errors of TIDE (Bolya et al., 2020). Its rules differ from those of the breakdown "
    "above: it looks at the 100 detections of the highest score of each image, not at the top of each class.",
    "comparison": "Intervals from random halves of the images, the same for all detectors (paired). Those of "
    "95 % held the truth in 88 to 98 % of simulated data sets. "
    "Where an interval leaves out zero, the difference is more than the chance of which images were drawn.",
}
NOTE_OF_ONE_DETECTOR = (
    "Intervals from random halves of the images: how far the numbers go up and down with the chance of which "
    "images were drawn. Those of 95 % held the truth in 90 to 98 % of simulated data sets."
)
QUANTITY_HEADINGS = {
    "share": "Shares of the detections counted (mean over classes)",
    "pooled": "Shares, all classes pooled",
    "map": "Mean average precision",
    "impact": "Gain in average precision (Hoiem)",
    "tide": "Average precision (TIDE)",
    "dap": "Gain in average precision (TIDE's dAP)",
}
"""By section of :class:`diagnosis.compare.Comparison`."""
QUANTITY_COLUMNS = (Column("of", False), Column("quantity", False))
CHARACTERISTIC_NAMES = {
    "area": "size (area of the box)",
    "height": "height of the box",
    "aspect_ratio": "aspect ratio (width over height)",
    "truncated": "truncated",
    "occluded": "occlusion",
}
YES_NO = {"0": "no", "1": "yes", "False": "no", "True": "yes"}
MAX_PANELS = 8
"""Characteristics drawn as charts; where there are more, all but the usual ones are a table."""
MAX_CLASSES_NAMED = 6
TIDE_SUMS = {
    "fp": "What AP would gain without any false positive.",
    "fn": "What AP would gain if no object were missed.",
}
ERROR_TYPE_OF_COLOUR = {kind.colour: kind.name for kind in ERROR_TYPES}


def sections(content: ReportContent, letters: Sequence[str]) -> list[dict[str, Any]]:
    """All sections for which there is something, in the order of :data:`SECTIONS`, as the template reads
    them: key, title, short title, note and blocks.
    """
    numbers, detectors = content.numbers, content.numbers["detectors"]
    own = {
        "comparison": _differences(numbers),
        "impact": _impact(detectors, letters),
        "characteristics": _characteristics(detectors, letters),
        "tide": _tide(detectors, letters),
        "further": _coco(detectors),
    }
    found = []
    for key, title in SECTIONS.items():
        short, note = SHORT_TITLES[key], NOTES.get(key, "")
        blocks = [
            *own.get(key, ()),
            *(figure for figure in content.figures if figure.section == key),
            *(from_page_table(table) for table in content.tables if table.section == key),
        ]
        if key == "comparison":
            if not numbers["comparison"]:
                title, short, note = "How sure the numbers are", "Intervals", NOTE_OF_ONE_DETECTOR
            if numbers["intervals"]:
                note = f"{note} {_few_images(content.diagnoses[0])}".strip()
        if blocks:
            found.append({"key": key, "title": title, "short": short, "note": note, "blocks": blocks})
    return found


def _coco(detectors: Sequence[Json]) -> list[Block]:
    """COCO's twelve scores, where they were asked for."""
    scores = [(detector["name"], detector["coco"]) for detector in detectors if len(detector["coco"]) > 1]
    if not scores:
        return []
    columns = [Column("detector", False), *map(Column, COCO_HEADINGS)]
    rows = [
        [text(name), *(reported(entry, key) for key in entry if key != "reason")] for name, entry in scores
    ]
    return [Table("COCO's scores", columns, rows, "Per cent, mean over the classes that have such objects.")]


def _mean(values: Sequence[float]) -> float | None:
    return sum(values) / len(values) if values else None


# ---- what errors cost ------------------------------------------------------------------------


def _impact(detectors: Sequence[Json], letters: Sequence[str]) -> list[Block]:
    """What average precision, plain and normalised, would gain: the changes of the rules, section 4."""
    blocks: list[Block] = []
    for key, base, name in (
        ("ap", "hoiem", "average precision (Hoiem)"),
        ("apn", "normalized", "normalised average precision (Hoiem)"),
    ):
        groups = []
        for variant in IMPACT_VARIANTS:
            changed = variant.name.partition("_")[2].removeprefix("pure_")
            if changed:  # all of them but "all", the detections as they are
                kind = max(
                    (kind.name for kind in ERROR_TYPES if changed.startswith(kind.name)), key=len, default=""
                )
                gains = [_mean(_gains(detector, variant.name, key, base)) for detector in detectors]
                groups.append((variant.label, variant.explanation, kind, gains))
        if any(value is not None for *_, values in groups for value in values):
            counted = sum(entry["objects"] > 0 for entry in detectors[0]["classes"].values())
            caption = (
                f"Points of {name}, averaged over {count(counted, 'class', 'classes')} with objects; "
                "a class that would lose counts as 0. Background includes other, as in Hoiem's tool, unless "
                "it is called pure."
            )
            blocks.append(bars(f"Gain in {name}", groups, letters, caption))
    return blocks


def _gains(detector: Json, variant: str, key: str, base: str) -> list[float]:
    pairs = [(entry["impact"][variant][key], entry["ap"][base]) for entry in detector["classes"].values()]
    return [max(after - before, 0.0) for after, before in pairs if after is not None and before is not None]


def _tide(detectors: Sequence[Json], letters: Sequence[str]) -> list[Block]:
    """TIDE's errors: what each costs, and how many there are."""
    results: list[Json] = [detector["tide"] for detector in detectors]
    iou, several = results[0]["iou"], len(detectors) > 1
    meanings = {kind.name: explain(kind, iou, results[0]["background"]) for kind in TIDE_ERRORS} | TIDE_SUMS
    colours = {kind.name: ERROR_TYPE_OF_COLOUR.get(kind.colour, kind.name) for kind in TIDE_ERRORS}
    chart = bars(
        "What average precision would gain",
        [
            (label, meanings[kind], colours.get(kind, ""), [result["dap"][kind] for result in results])
            for kind, label in TIDE_LABELS.items()
        ],
        letters,
        f"Points of AP at an IoU of {iou:g} (dAP), each error type mended on its own; they do not add up.",
    )
    columns = [Column("error", False), Column("what it is", False)]
    for detector, letter in zip(detectors, letters, strict=True):
        prefix = f"{letter}: " if several else ""
        columns += [Column(f"{prefix}{what}", meaning=detector["name"]) for what in ("dAP", "number")]
    rows = []
    for kind, label in TIDE_LABELS.items():
        cells = [text(label), text(meanings[kind])]
        for result in results:
            cells += [share(result["dap"][kind]), whole(result["counts"].get(kind))]
        rows.append(cells)
    scores = "; ".join(
        f"{letter + ' ' if several else ''}{share(result[f'ap{100 * iou:g}']).text} %"
        for letter, result in zip(letters, results, strict=True)
    )
    caption = (
        "dAP in points; number: detections with this error, or objects missed. "
        f"AP at an IoU of {iou:g}: {scores}."
    )
    return [chart, Table("TIDE's errors", columns, rows, caption)]


# ---- characteristics of objects --------------------------------------------------------------

Bins = Mapping[tuple[str, str], Json]
"""Entries of one characteristic of a detector, by class and bin."""


def _characteristics(detectors: Sequence[Json], letters: Sequence[str]) -> list[Block]:
    """Normalised average precision over the bins of each characteristic: charts and tables."""
    names = list(dict.fromkeys(name for detector in detectors for name in detector["bins"]))
    panels, tables, further = [], [], []
    for name in names:
        found = [_bins(detector, name) for detector in detectors]
        labels = list(dict.fromkeys(label for bins in found for _, label in bins))
        words = [YES_NO[label] for label in labels] if YES_NO.keys() >= set(labels) else labels
        series = [[_mean([e["apn"] for e in _counted(bins, label)]) for label in labels] for bins in found]
        if all(value is None for values in series for value in values):
            continue
        title = CHARACTERISTIC_NAMES.get(name, name.replace("_", " ").replace(".", ": "))
        if name in CHARACTERISTIC_NAMES or len(names) <= MAX_PANELS:
            panels.append(lines(title, words, series, [detector["name"] for detector in detectors]))
            classes = list(detectors[0]["classes"])
            tables.append(_bin_table(title, classes, found, dict(zip(labels, words, strict=True)), letters))
        else:
            for place, (label, word) in enumerate(zip(labels, words, strict=True)):
                objects = [entry["objects"] for entry in _counted(found[0], label)]
                means = (share(values[place]) for values in series)
                further.append([text(title), text(word), whole(len(objects)), whole(sum(objects)), *means])
    averaged = f"averaged over the classes with at least {FEWEST_OBJECTS} objects in the bin"
    blocks: list[Block] = [*tables]
    if panels:
        caption = (
            f"Per cent, {averaged}: which classes these are changes from bin to bin, so a step between two "
            "bins can also come of the classes."
        )
        title = "Normalised average precision by bin"
        blocks.insert(0, {"block": "panels", "title": title, "panels": panels, "caption": caption})
    if further:
        columns = [Column("characteristic", False), Column("bin", False)]
        columns += map(Column, ("classes", "objects", *_score_headings(letters)))
        caption = f"APn: normalised average precision, per cent, {averaged}."
        blocks.append(Table("Further characteristics", columns, further, caption))
    return blocks


def _bins(detector: Json, characteristic: str) -> Bins:
    return {
        (name, entry["bin"]): entry
        for name, numbers in detector["classes"].items()
        for entry in numbers["characteristics"].get(characteristic, ())
    }


def _counted(bins: Bins, label: str) -> list[Json]:
    """The entries of a bin, of the classes with enough objects."""
    return [
        entry for (_, bin_), entry in bins.items() if bin_ == label and entry["objects"] >= FEWEST_OBJECTS
    ]


def _score_headings(letters: Sequence[str]) -> list[str]:
    return [f"APn {letter}" for letter in letters] if len(letters) > 1 else ["APn"]


def _bin_table(
    title: str,
    classes: Sequence[str],
    found: Sequence[Bins],
    words: Mapping[str, str],
    letters: Sequence[str],
) -> Table:
    """APn of each class in each bin, of all detectors; `words` are the bins and what they are called."""
    rows = []
    for name in classes:
        cells = [text(name)]
        for label in words:
            entries = [bins[name, label] for bins in found]
            cells += [whole(entries[0]["objects"]), *(reported(entry, "apn") for entry in entries)]
        rows.append(cells)
    columns = [Column("class", False)]
    for word in words.values():
        columns += [Column(f"{word}: {heading}") for heading in ("N", *_score_headings(letters))]
    caption = "N: objects in the bin. APn: normalised average precision, per cent."
    return Table(f"{title}: all classes", columns, rows, caption, folded=True)


# ---- differences and intervals ---------------------------------------------------------------


def _differences(numbers: Json) -> list[Block]:
    """Each pair of detectors with paired intervals, and each detector with its own."""
    blocks: list[Block] = []
    for entry in numbers["comparison"]:
        title, caption = f"{entry['b']} − {entry['a']}", f"Points, with intervals of {_level(entry)}."
        drawn: dict[str, list[tuple[str, float, float, float, str]]] = {}
        rows = []
        for section, quantity, gap in _quantities(entry):
            label, note = _label(section, quantity), gap.get("reason", "")
            replicates = entry["replicates"] - gap.get("undefined_replicates", 0)
            p = Cell(ABSENT, None, note)
            if gap["p"] is not None:
                words = p_value(gap["p"], replicates)
                p = Cell(words.removeprefix("= "), gap["p"])
                drawn.setdefault(section, []).append(
                    (label, gap["difference"], gap["low"], gap["high"], f"p {words}")
                )
            cells = (points(gap[name], note) for name in ("difference", "low", "high"))
            rows.append([text(QUANTITY_HEADINGS[section]), text(label), *cells, p])
        blocks += [forest(f"{title}: {QUANTITY_HEADINGS[of]}", gaps, caption) for of, gaps in drawn.items()]
        columns = [*QUANTITY_COLUMNS, *map(Column, ("difference", "low", "high", "p"))]
        blocks.append(Table(f"{title}: all differences", columns, rows, caption, folded=True))
    intervals = numbers["intervals"]
    return [*_runs(intervals), *blocks, *_intervals(intervals, folded=bool(blocks))]


def _few_images(diagnosis: Diagnosis) -> str:
    """What to think of intervals that few images are behind; empty where there are no such intervals.

    Halves of a few images show less than the chance there was.
    """
    truth, counts = diagnosis.truth, ~diagnosis.matching.ignored
    if len(truth.images) < FEW_IMAGES:
        return (
            f"There are only {count(len(truth.images), 'image')}: with fewer than {FEW_IMAGES} the intervals "
            "are rough, and rather too short."
        )
    seen = np.unique(np.stack([truth.labels, truth.image_index])[:, counts], axis=1)[0]
    images = np.bincount(seen, minlength=len(truth.classes))
    few = [place for place in np.argsort(images, kind="stable").tolist() if 0 < images[place] < FEW_IMAGES]
    if not few:
        return ""
    named = ", ".join(f"{truth.classes[place]} ({images[place]})" for place in few[:MAX_CLASSES_NAMED])
    more = f" and {len(few) - MAX_CLASSES_NAMED} more" if len(few) > MAX_CLASSES_NAMED else ""
    return (
        f"{count(len(few), 'class has', 'classes have')} objects in fewer than {FEW_IMAGES} images: {named}"
        f"{more}. The intervals of such a class are rough, and widen those of the mean over classes."
    )


def _runs(entries: Sequence[Json]) -> list[Block]:
    """Which runs each group is of; nothing where no run is grouped."""
    if all(len(entry["runs"]) < 2 for entry in entries):
        return []
    rows = [
        [text(entry["name"]), whole(len(entry["runs"])), text(", ".join(entry["runs"]))] for entry in entries
    ]
    columns = [Column("group", False), Column("number"), Column("runs", False)]
    return [Table("Runs taken together", columns, rows, "A group's number is the mean of its runs'.")]


def _quantities(entry: Json) -> Iterator[tuple[str, str, Json]]:
    """Section, name and numbers of what was resampled over all classes."""
    for section, members in entry.items():
        if isinstance(members, Mapping) and section != "classes":
            yield from ((section, name, numbers) for name, numbers in members.items())


def _intervals(entries: Sequence[Json], *, folded: bool) -> list[Block]:
    found = [{(section, name): value for section, name, value in _quantities(entry)} for entry in entries]
    if not entries or not found[0]:
        return []
    rows = [
        [text(QUANTITY_HEADINGS[key[0]]), text(_label(*key)), *(_interval(values[key]) for values in found)]
        for key in found[0]
    ]
    columns = [*QUANTITY_COLUMNS, *(Column(entry["name"]) for entry in entries)]
    caption = f"Per cent, with intervals of {_level(entries[0])}."
    if any("runs_deviation" in value for values in found for value in values.values()):
        caption += " ±: standard deviation between the runs."
    title = "Each detector's numbers with intervals" if len(entries) > 1 else "Numbers with intervals"
    return [Table(title, columns, rows, caption, folded=folded)]


def _interval(entry: Json) -> Cell:
    if entry["value"] is None or entry["low"] is None:
        return Cell(ABSENT, None, entry["reason"])
    value, low, high = (f"{100 * entry[name]:.1f}" for name in ("value", "low", "high"))
    spread = f" ± {100 * entry['runs_deviation']:.1f}" if "runs_deviation" in entry else ""
    return Cell(f"{value} [{low}, {high}]{spread}", entry["value"])


def _label(section: str, quantity: str) -> str:
    return AP_KINDS[quantity].label if section == "map" else quantity_name(f"{section}/{quantity}")


def _level(entry: Json) -> str:
    return f"{100 * entry['level']:g} %: {entry['replicates']:,} resamples of {entry['images']:,} images"
