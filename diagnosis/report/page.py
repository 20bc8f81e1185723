"""The web page: a template, a style, a script and the numbers, put together in one file.

The script (``assets/page.js``) draws everything from the JSON in the page. This module chooses what of
``diagnosis.json`` the page needs and adds curves, examples and words.
"""

from __future__ import annotations

import base64
import hashlib
import html
import json
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np

from data.formats.files import write_text
from diagnosis.average_precision import AP_KINDS, ThresholdCurve, threshold_curve
from diagnosis.breakdown import BACKGROUND_IOU, CORRECT, ERROR_NAMES, ERROR_TYPES, NONE
from diagnosis.characteristics import FEWEST_OBJECTS
from diagnosis.compare import quantity_name
from diagnosis.fates import FATES
from diagnosis.flow import flow
from diagnosis.impact import IMPACT_VARIANTS
from diagnosis.record import Diagnosis, check_same_truth
from diagnosis.report.gallery import (
    CLASS_CONFUSIONS,
    MATRIX_CLASSES,
    Examples,
    Gallery,
    collect,
    matrix_classes,
)
from diagnosis.tide import TIDE_ERRORS, TIDE_LABELS, explain
from diagnosis.verdict import DECIMALS, ENOUGH_OBJECTS, enough_objects
from diagnosis.words import (
    COCO_HEADINGS,
    DAGGER,
    FEW_IMAGES,
    NO_INTERVAL,
    count,
    cover,
    cover_sentence,
    explanations,
    large_ties,
    sentences,
    worst_classes,
)

__all__ = ["ReportContent", "render_report", "write_report"]

Json = Mapping[str, Any]
"""A part of ``diagnosis.json``."""

ASSETS = resources.files(__package__) / "assets"
CURVE_POINTS, SMALL_CURVE_POINTS, MANY_CLASSES = 80, 30, 100
"""Of a curve in the page; of one of a class, where there are many classes."""
CURVE_DECIMALS = 5
"""Of the points of a curve."""
MAX_CLASSES_NAMED = 6
ABSOLUTE_FOLDERS = re.compile(r"(?:(?<![\w.:/\\])~?/|(?<!\w)[A-Za-z]:[/\\]|\\\\)(?:[^/\\\s'\":]+[/\\])+")
"""The folders of an absolute path, which say more about a machine than about the numbers."""
SECTION_NAMES = {
    "share": "Shares of the detections counted (class mean)",
    "pooled": "Shares, all classes pooled",
    "objects": "Shares of the objects",
    "map": "AP (class mean)",
    "impact": "AP gained (Hoiem)",
    "tide": "AP (TIDE)",
    "dap": "AP gained (TIDE's dAP)",
}
"""By section of :class:`diagnosis.compare.Comparison`."""
TIDE_SUMS = {
    "fp": "What AP would gain without any false positive.",
    "fn": "What AP would gain if no object were missed.",
}


@dataclass(frozen=True, eq=False)
class ReportContent:
    """Everything that a page shows.

    Parameters
    ----------
    diagnoses
        One or several detectors on the same ground truth.
    numbers
        The content of ``diagnosis.json`` with the detectors in the same order, from
        :func:`diagnosis.to_json.to_json`.
    statements
        Sentences of a comparison with intervals, which the page shows where no script runs; they take the
        place of those that merely subtract.
    gallery
        How many examples to show as pictures; None: none.
    title
        Heading of the page.
    """

    diagnoses: Sequence[Diagnosis]
    numbers: Json
    statements: Sequence[str] = ()
    gallery: Gallery | None = field(default_factory=Gallery)
    title: str = "What the detectors get wrong"


def write_report(content: ReportContent, path: Path) -> Path:
    """Write the page atomically, usually to ``report.html``; return `path`.

    Raises
    ------
    InputError
        The folder is absent or cannot be written to; or see :func:`render_report`.
    """
    write_text(path, render_report(content))
    return path


def render_report(content: ReportContent) -> str:
    """The page as one text of HTML; the same content gives the same text.

    Everything is in it: style, script, numbers and photographs. Its content security policy forbids the
    browser to fetch anything. Without scripts it shows the verdict and the sentences.

    Raises
    ------
    InputError
        No detector, or detectors on different ground truths or thresholds.
    """
    check_same_truth(content.diagnoses)
    data = _data(content)
    said = sentences(content.diagnoses)
    if content.statements:  # in place of those that merely subtract
        said = [*said[: len(content.diagnoses)], *content.statements]
    text = json.dumps(_mapped(data, _rounded), ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    # So that no name can end the element or begin another.
    text = text.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")
    style, page, *scripts = (
        (ASSETS / name).read_text(encoding="utf-8")
        for name in ("style.css", "page.html", "d3.min.js", "page.js")
    )
    script = "".join(scripts)
    parts = {
        "title": html.escape(f"{content.title}: {', '.join(one.name for one in content.diagnoses)}"),
        "heading": html.escape(content.title),
        "verdict": html.escape(content.numbers["verdict"]),
        "statements": "".join(f"<li>{html.escape(_without_folders(one))}</li>" for one in said),
        "style": style,
        "data": text,
        "script": script,
        "digest": base64.b64encode(hashlib.sha256(script.encode()).digest()).decode("ascii"),
    }
    return re.sub(r"\{\{(\w+)\}\}", lambda found: parts[found[1]], page)


def _mapped(value: Any, change: Callable[[Any], Any]) -> Any:
    """Nested dictionaries and lists with each value in them changed."""
    if isinstance(value, Mapping):
        return {key: _mapped(part, change) for key, part in value.items()}
    return [_mapped(part, change) for part in value] if isinstance(value, list | tuple) else change(value)


def _rounded(value: Any) -> Any:
    """A decimal number rounded; None where it is not finite."""
    if not isinstance(value, float):
        return value
    return round(value, DECIMALS) if math.isfinite(value) else None


def _without_folders(value: Any) -> Any:
    """A text without the folders of absolute paths."""
    return ABSOLUTE_FOLDERS.sub("…/", value) if isinstance(value, str) else value


# ---- the numbers -----------------------------------------------------------------------------


def _data(content: ReportContent) -> dict[str, Any]:
    """All that the script reads."""
    diagnoses, numbers = content.diagnoses, content.numbers
    truth, matching = diagnoses[0].truth, diagnoses[0].matching
    origin = {key: value for key, value in numbers["provenance"].items() if key not in ("files", "sha256")}
    examples = collect(diagnoses, content.gallery or Gallery(total=0))
    ignored = int(matching.ignored.sum())
    tide = numbers["detectors"][0]["tide"]
    tide_kinds = [
        (one.name, one.colour, explain(one, tide["iou"], tide["background"])) for one in TIDE_ERRORS
    ]
    tide_kinds += [(name, "#777777", text) for name, text in TIDE_SUMS.items()]
    return {
        "ties": large_ties(diagnoses),
        "notes": _mapped(numbers["notes"], _without_folders),
        "classes": list(truth.classes),
        "objects": matching.objects.tolist(),
        "facts": {
            "images": len(truth.images),
            "objects": len(truth) - ignored,
            "ignored": ignored,
            "iou": diagnoses[0].iou,
            "photographs": bool(truth.files),
            "enough": ENOUGH_OBJECTS,
            "over": enough_objects(matching.objects)[1],
            "fewest": FEWEST_OBJECTS,
            "confusions": CLASS_CONFUSIONS,
            "matrix": MATRIX_CLASSES,
        },
        "kinds": [
            {"name": kind.name, "colour": kind.colour, "text": words}
            for kind, words in zip(ERROR_TYPES, explanations(diagnoses[0]), strict=True)
        ],
        "fates": [{"name": fate.name, "colour": fate.colour, "text": fate.explanation} for fate in FATES],
        "tide": [
            {"name": name, "label": TIDE_LABELS[name], "colour": colour, "text": text}
            for name, colour, text in tide_kinds
        ],
        "ap": {key: {"name": kind.name, "text": kind.explanation} for key, kind in AP_KINDS.items()},
        "cocoHeadings": list(COCO_HEADINGS),
        "sections": SECTION_NAMES,
        "dagger": DAGGER,
        "agreed": NO_INTERVAL,
        "quantities": {
            key: {"name": quantity_name(key), "number": cover(key), "difference": cover(key, "difference")}
            for key in (
                f"{section}/{name}"
                for entry in [*numbers["comparison"], *numbers["intervals"]]
                for section in SECTION_NAMES
                for name in entry.get(section, ())
            )
        },
        "costliest": _costliest(diagnoses),
        "detectors": [
            _detector(diagnosis, one) for diagnosis, one in zip(diagnoses, numbers["detectors"], strict=True)
        ],
        "impact": [table for key in ("ap", "apn") if (table := _impact(numbers["detectors"], key))],
        "groups": diagnoses[0].groups if len(diagnoses[0].groups) > 1 else {},
        "comparison": [_pair(entry) for entry in numbers["comparison"]],
        "intervals": [
            {key: value for key, value in entry.items() if key != "classes"} for entry in numbers["intervals"]
        ],
        "doubt": _few_images(diagnoses[0]) if numbers["intervals"] else "",
        "flow": _flows(diagnoses, examples),
        "rules": _counting_rules(diagnoses, numbers),
        "origin": _mapped(origin, _without_folders),
        **_examples(examples),
        "unread": content.gallery and _mapped(examples.unread, _without_folders),
    }


FRAMES = ("beside", "ignored", "wanted", "found")


def _examples(examples: Examples) -> dict[str, Any]:
    """The examples by pool, in few characters: names, images and photographs are listed once."""
    names = [*ERROR_NAMES]
    names += [fate.name for fate in FATES if fate.name not in names]
    images: dict[str, int] = {}
    photographs: dict[str, int] = {}
    pools: list[dict[str, Any]] = [
        {
            "side": pool.side,
            "detector": pool.detector,
            "versus": pool.versus,
            "beyond": pool.beyond,
            "cut": cut,
            "totals": [
                [label, names.index(kind), names.index(before) if before else NONE, number]
                for label, kind, before, number in pool.totals
            ],
            "rows": [],
        }
        for pool, cut in zip(examples.pools, examples.cuts, strict=True)
    ]
    for one in examples.shown:
        photo = one["photo"]
        photograph = [photographs.setdefault(photo, len(photographs))] if photo else []
        frames = [[*frame[:4], FRAMES.index(frame[4]), *frame[5:]] for frame in one["frames"]]
        row = [
            one["label"], names.index(one["kind"]), names.index(one["before"]) if one["before"] else NONE,
            one["cell"], one["tide"], one["score"], one["extra"], one["words"],
            images.setdefault(one["image"], len(images)), *one["size"], frames, *photograph,
        ]  # fmt: skip
        pools[one["pool"]]["rows"].append(row)
    return {
        "names": names,
        "frames": FRAMES,
        "images": list(images),
        "photographs": list(photographs),
        "pools": pools,
    }


def _costliest(diagnoses: Sequence[Diagnosis]) -> dict[int, tuple[str, float]]:
    """Of each of the worst classes the error of TIDE that costs it most AP, mean of the detectors."""
    gains = [diagnosis.tide.class_dap for diagnosis in diagnoses]
    found = {}
    for label in worst_classes(*diagnoses):
        costs = {
            kind.name: float(np.mean([gain[kind.name][label] for gain in gains])) for kind in TIDE_ERRORS
        }
        most = max(costs, key=lambda name: np.nan_to_num(costs[name]))
        if costs[most] > 0:
            found[label] = most, costs[most]
    return found


def _detector(diagnosis: Diagnosis, one: Json) -> dict[str, Any]:
    """What the page shows of a detector; of matrices only what is not zero."""
    matrix = diagnosis.confusion.counts
    cells = np.argwhere(matrix > 0)
    points = CURVE_POINTS if len(diagnosis.truth.classes) <= MANY_CLASSES else SMALL_CURVE_POINTS
    bins = {
        name: {key: value for key, value in entry.items() if not isinstance(value, Mapping)}
        for name, entry in one["bins"].items()
    }
    return {
        "name": diagnosis.name,
        "detections": len(diagnosis.detections),
        "counted": int(diagnosis.breakdown.counts.sum()),
        "images": int((np.bincount(diagnosis.detections.image_index, minlength=1) > 0).sum()),
        **{key: one[key] for key in ("breakdown", "map", "coco", "trends", "sensitivity")},
        "tide": {key: value for key, value in one["tide"].items() if key not in ("classes", "confusion")},
        "gains": diagnosis.gains,
        "bins": bins,
        "calibration": {key: value for key, value in one["calibration"].items() if key != "classes"},
        "best": one["operating_points"]["overall"],
        "matrix": {
            "score": one["confusion"]["score"],
            "classes": matrix_classes(diagnosis).tolist(),
            "cells": [[*cell, int(matrix[tuple(cell)])] for cell in cells.tolist()],
        },
        "curve": _thinned(threshold_curve(diagnosis.matching, iou=diagnosis.iou), 2 * CURVE_POINTS),
        "classes": [
            {
                "detections": entry["detections"],
                "counted": entry["top"]["n"],
                "reason": entry["top"].get("reason", ""),
                "shares": [entry["top"][name] for name in ERROR_NAMES],
                "ap": {kind: entry["ap"][kind] for kind in AP_KINDS},
                "best": one["operating_points"]["classes"][name],
                "bins": {
                    key: [[bin_["objects"], bin_["apn"]] for bin_ in found]
                    for key, found in entry["characteristics"].items()
                },
                "curve": _thinned(threshold_curve(diagnosis.matching, label, iou=diagnosis.iou), points),
            }
            for label, (name, entry) in enumerate(one["classes"].items())
        ],
    }


def _thinned(curve: ThresholdCurve, points: int) -> list[list[float]]:
    """At most so many points, spread evenly along the curve; scores, precision, recall."""
    columns = np.stack(curve)
    steps = np.abs(np.diff(columns, axis=1))
    scale = np.maximum(np.ptp(columns, axis=1), 1e-12)[:, None] if columns.shape[1] else 1.0
    way = np.concatenate([[0.0], np.nancumsum(np.nan_to_num(steps / scale).sum(axis=0))])[: columns.shape[1]]
    if columns.shape[1] > points:
        places = np.searchsorted(way, np.linspace(0, way[-1], points))
        columns = columns[:, np.unique(np.minimum(places, columns.shape[1] - 1))]
    thinned: list[list[float]] = columns.round(CURVE_DECIMALS).tolist()
    return thinned


def _impact(detectors: Sequence[Json], key: str) -> dict[str, Any] | None:
    """What (normalised) average precision would gain: the changes of the rules, section 4; the mean over
    classes with objects, of which one that would lose counts as 0.
    """
    base = {"ap": "hoiem", "apn": "normalized"}[key]
    rows = []
    for variant in IMPACT_VARIANTS:
        if variant.error is None:  # the detections as they are
            continue
        kind = ERROR_NAMES[variant.error]
        values = []
        for one in detectors:
            pairs = [
                (entry["impact"][variant.name][key], entry["ap"][base]) for entry in one["classes"].values()
            ]
            gains = [max(after - before, 0.0) for after, before in pairs if None not in (after, before)]
            values.append(sum(gains) / len(gains) if gains else None)
        # The errors that are mended; of all but one type there is no such view.
        mended = [name for n, name in enumerate(ERROR_NAMES) if n not in (CORRECT, *variant.counted)]
        opens = "" if variant.name.startswith("only_") else ",".join(mended)
        row = {"label": variant.label, "text": variant.explanation, "kind": kind, "opens": opens}
        rows.append({**row, "values": values})
    if all(value is None for row in rows for value in row["values"]):
        return None
    counted = sum(entry["objects"] > 0 for entry in detectors[0]["classes"].values())
    return {"name": AP_KINDS[base].name, "classes": count(counted, "class", "classes"), "rows": rows}


def _flows(diagnoses: Sequence[Diagnosis], examples: Examples) -> list[dict[str, Any]]:
    """What became of each object, of each pair that has examples."""
    names = [fate.name for fate in FATES]
    pairs = [(pool.versus, pool.detector) for pool in examples.pools if pool.side == "neither"]
    flows = []
    for found in (flow(diagnoses[a], diagnoses[b]) for a, b in pairs):
        total = found.total().tolist()
        rows = {name: dict(zip(names, row, strict=True)) for name, row in zip(names, total, strict=True)}
        one = {"a": found.names[0], "b": found.names[1], "counted": found.counted}
        flows.append({**one, "objects": sum(map(sum, total)), "all": rows})
    return flows


def _pair(entry: Json) -> dict[str, Any]:
    """A pair of detectors; of the classes only AP50 and localization, which the page draws."""
    classes = {
        name: {
            key: [part[section][quantity][end] for end in ("difference", "low", "high", "clear")]
            for key, section, quantity in (("ap", "map", "coco50"), ("localization", "share", "localization"))
            if quantity in part.get(section, ())
        }
        for name, part in entry["classes"].items()
    }
    return {**entry, "classes": classes}


# ---- words -----------------------------------------------------------------------------------


def _few_images(diagnosis: Diagnosis) -> str:
    """What to think of intervals that few images are behind; empty where there are enough.

    Halves of a few images show less than the chance there was.
    """
    truth, counts = diagnosis.truth, ~diagnosis.matching.ignored
    if len(truth.images) < FEW_IMAGES:
        only = f"Only {count(len(truth.images), 'image')}: with fewer than {FEW_IMAGES}"
        return f"{only} the intervals are rough, and rather too short."
    seen = np.unique(np.stack([truth.labels, truth.image_index])[:, counts], axis=1)[0]
    images = np.bincount(seen, minlength=len(truth.classes))
    few = [place for place in np.argsort(images, kind="stable").tolist() if 0 < images[place] < FEW_IMAGES]
    if not few:
        return ""
    named = ", ".join(f"{truth.classes[place]} ({images[place]})" for place in few[:MAX_CLASSES_NAMED])
    more = f" and {len(few) - MAX_CLASSES_NAMED} more" if len(few) > MAX_CLASSES_NAMED else ""
    return (
        f"{count(len(few), 'class has', 'classes have')} objects in fewer than {FEW_IMAGES} images: {named}"
        f"{more}. The intervals of such a class are rough, and widen those of the class mean."
    )


def _counting_rules(diagnoses: Sequence[Diagnosis], numbers: Json) -> list[tuple[str, str]]:
    """What exactly is counted, and why numbers differ or do not add up: heading and text."""
    sums = []
    for one in numbers["detectors"]:
        shares = [one["breakdown"]["mean_over_classes"][name] for name in ERROR_NAMES]
        if None not in shares:
            sums.append(f"{sum(round(100 * value, 1) for value in shares):.1f} for {one['name']}")
    short = []
    for diagnosis in diagnoses:
        fewer = int((diagnosis.breakdown.counts.sum(axis=1) < diagnosis.breakdown.objects).sum())
        if fewer:
            short.append(f"in {count(fewer, 'class', 'classes')} of {diagnosis.name}")
    top = numbers["provenance"].get("options", {}).get("top") or "N"
    many = f"top {top[:-1]} × N" if top.endswith("x") else f"top {top}"
    per_class = " (N = number of objects)" if top == "N" or top.endswith("x") else ""
    top = "all detections" if top == "all" else f"{many} detections per class{per_class}"
    choice = " The verdict compares the two best; its intervals are not corrected for that choice."
    return [
        (
            "The detections counted",
            f"{top[:1].upper()}{top[1:]}, by score. N leaves out difficult objects. Where there are fewer "
            f"detections, all of them are counted."
            + (f" Fewer than N are counted {', '.join(short)}." if short else ""),
        ),
        (
            "Class mean, or pooled",
            "In the class mean each class has the same weight; those of which nothing is counted "
            "are left out. Pooled, each detection has the same weight, and a frequent class decides.",
        ),
        (
            "Correct, or found",
            "A detection is correct; an object is found. Shares are fractions of detections, so missed "
            "objects are no part of them. Those show in recall and in AP: a detector that "
            "finds little but is always right has 100 % correct.",
        ),
        (
            "Difficult objects",
            "A detection on an object marked difficult counts as correct here and neither way in AP; such "
            "objects are not among the N objects of a class.",
        ),
        (
            "Overlap",
            f"Intersection over union (IoU) of the boxes, clipped to the image: {diagnoses[0].iou:g} or more "
            f"is right, below {BACKGROUND_IOU:g} is background. The detection of the highest score takes the "
            "object; a second one on it is a localization error.",
        ),
        (
            "Rounding",
            "Every number is rounded to one decimal on its own, so the printed parts may sum to 99.9 or "
            "100.1"
            + (f": here to {', '.join(sums)}." if sums else ".")
            + " The unrounded parts always sum to 1; they are in diagnosis.json.",
        ),
        (
            "Gains",
            "What an error type costs in AP is found by fixing that type alone. The gains of two types "
            "overlap, and do not add up to what AP lacks to 100.",
        ),
        (
            "TIDE",
            "The six errors of TIDE (Bolya et al., 2020). Its rules differ from those of the shares: it "
            f"reads the {numbers['detectors'][0]['tide']['max_detections']} detections of the highest score "
            "of each image, not the top of each class.",
        ),
        (
            "Intervals",
            f"From random halves of the images, the same for all detectors (paired). {cover_sentence()} "
            f"Where the interval of a difference leaves out zero, and there are at least {ENOUGH_OBJECTS} "
            f"objects, the difference is more than the choice of the images explains."
            + (choice if len(numbers["intervals"]) > 2 else ""),
        ),
    ]
