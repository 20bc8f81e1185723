"""The page put together: all that ``page.html`` reads, in numbers, charts and words, written in one step."""

from __future__ import annotations

import base64
import hashlib
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

from data.formats.files import write_text
from diagnosis.breakdown import BACKGROUND, ERROR_TYPES, LOCALIZATION, OTHER, SIMILAR, WEAK
from diagnosis.figures.page import example_classes, explanations
from diagnosis.figures.style import DETECTOR_LETTERS, check_comparable, text_colour_on
from diagnosis.record import Diagnosis
from diagnosis.report.blocks import (
    ABSENT,
    class_tables,
    detector_table,
    pie,
    score_table,
    share,
    shares_of,
    stacked,
)
from diagnosis.report.content import Json, PageFigure, ReportContent
from diagnosis.report.gallery import Example, collect
from diagnosis.report.sections import sections
from diagnosis.tide import TIDE_ERRORS
from diagnosis.words import count, sentences

__all__ = ["render_report", "write_report"]

HALF_WIDTH_POINTS = 480.0
"""Of a figure of which two fit side by side."""
ASSETS = resources.files(__package__) / "assets"
NO_BREAK_SPACE = "\u00a0"

SCENE_WIDTH = 132.0
"""Of a picture of the legend, in its own units; so are the sizes below."""
LETTER_WIDTH, TAG_PADDING, TAG_HEIGHT = 6.7, 8.0, 13.0
MAX_TAG_LETTERS = 15

Sides = tuple[float, float, float, float]
"""Left, top, width and height."""
OVERLAPPING: tuple[Sides, Sides] = ((36, 24, 66, 42), (30, 20, 66, 42))
SCENES: dict[int, tuple[Sides, Sides]] = {
    LOCALIZATION: ((10, 26, 66, 42), (54, 32, 66, 42)),
    BACKGROUND: ((10, 32, 42, 34), (76, 24, 48, 50)),
}
"""Boxes of the object and the detection, for error types whose boxes do not largely overlap."""


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

    Everything is in it: style, script, figures and photographs. Its content security policy forbids the
    browser to fetch anything. Without scripts all is shown and nothing can be filtered or sorted.

    Raises
    ------
    InputError
        No detector, or detectors on different ground truths or thresholds.
    """
    import jinja2  # not needed by those who only ask for numbers

    check_comparable(content.diagnoses)
    environment = jinja2.Environment(
        loader=jinja2.FunctionLoader(_asset),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {"image_address": image_address, "is_narrow": is_narrow, "score": score}
    environment.globals["type_names"] = [kind.name for kind in ERROR_TYPES]
    script = _asset("script.js")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode("ascii")
    page = environment.get_template("page.html")
    return page.render(style=_asset("style.css"), script=script, script_digest=digest, **_context(content))


def _context(content: ReportContent) -> dict[str, Any]:
    diagnoses, numbers = content.diagnoses, content.numbers
    truth, letters = diagnoses[0].truth, DETECTOR_LETTERS[: len(diagnoses)]
    ignored = int(diagnoses[0].matching.ignored.sum())
    provenance = numbers["provenance"]
    drawn = sum(len(image_address(figure)) for figure in content.figures)
    examples = None if content.gallery is None else collect(diagnoses, content.gallery, drawn)
    said = sentences(diagnoses)
    if content.statements:  # in place of those that merely subtract
        said = [*said[: len(diagnoses)], *content.statements]
    return {
        "title": content.title,
        "names": [diagnosis.name for diagnosis in diagnoses],
        "letters": letters,
        "classes": truth.classes,
        "facts": {
            "Ground truth": provenance.get("options", {}).get("ground_truth", ""),
            "Images": f"{len(truth.images):,}",
            "Classes": f"{len(truth.classes):,}",
            "Objects": f"{len(truth) - ignored:,}"
            + (f", and {ignored:,} difficult or crowd" if ignored else ""),
            "Correct from": f"IoU {diagnoses[0].iou:g}",
            "Counted": _top_rule(numbers),
        },
        "kinds": _legend(diagnoses[0]),
        "tide_kinds": TIDE_ERRORS,
        "detectors": detector_table(diagnoses, provenance, letters),
        "overviews": [
            _overview(diagnosis, detector["breakdown"], letter)
            for diagnosis, detector, letter in zip(diagnoses, numbers["detectors"], letters, strict=True)
        ],
        "scores": score_table(numbers["detectors"]),
        "verdict": numbers.get("verdict", ""),
        "statements": list(map(_without_breaks, said)),
        "rules": _counting_rules(diagnoses, numbers),
        "class_tables": class_tables(numbers["detectors"]),
        "sections": sections(content, letters),
        "origin": list(_origin_rows(provenance, "")),
        "examples": examples,
        "groups": {} if examples is None else _grouped(examples.shown, len(diagnoses)),
        "count": count,
    }


def _overview(diagnosis: Diagnosis, breakdown: Json, letter: str) -> dict[str, Any]:
    """The shares of one detector: a pie of their mean, stacked bars with headings, and rows of figures."""
    mean, pooled = (shares_of(breakdown[way]) for way in ("mean_over_classes", "pooled"))
    counted = diagnosis.breakdown.counts.sum(axis=1)
    return {
        "letter": letter,
        "name": diagnosis.name,
        "counted": int(counted.sum()),
        "classes": int((counted > 0).sum()),
        "slices": pie(mean),
        "bars": [("mean over classes", stacked(mean)), ("all classes pooled", stacked(pooled))],
        "shares": [
            (kind.name, share(one), share(other))
            for kind, one, other in zip(ERROR_TYPES, mean, pooled, strict=True)
        ],
    }


def _grouped(shown: Sequence[Example], detectors: int) -> dict[int, dict[int, list[list[Example]]]]:
    """Examples by class, error type and detector; only classes and types that have some."""
    groups: dict[int, dict[int, list[list[Example]]]] = {}
    for example in sorted(shown, key=lambda one: (one.label, one.kind)):
        kinds = groups.setdefault(example.label, {})
        kinds.setdefault(example.kind, [[] for _ in range(detectors)])[example.detector].append(example)
    return groups


def _asset(name: str) -> str:
    return (ASSETS / name).read_text(encoding="utf-8")


# ---- filters ---------------------------------------------------------------------------------


def score(value: float) -> str:
    """A confidence with two decimals, or one digit where these would be 0.00.

    Examples
    --------
    >>> score(0.937), score(12.0), score(0.00021), score(0.0)
    ('0.94', '12.00', '0.0002', '0.00')
    """
    return f"{value:.2f}" if value == 0 or abs(value) >= 0.005 else f"{value:.1g}"


def is_narrow(figure: PageFigure) -> bool:
    """Whether two of such figures fit side by side: matplotlib gives the width in points."""
    width = re.search(r'<svg\b[^>]*?\bwidth="([\d.]+)pt"', figure.svg)
    return width is not None and float(width[1]) <= HALF_WIDTH_POINTS


def image_address(figure: PageFigure) -> str:
    """An SVG file as a ``data:`` address.

    As an image of its own it can neither run scripts nor fetch anything, and its identifiers do not meet
    those of other figures. What precedes the drawing and matplotlib's description of the file are left out.
    """
    svg = figure.svg[max(figure.svg.find("<svg"), 0) :]
    svg = re.sub(r"\s*<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r"\n\s+", "\n", svg)  # a tenth of it is indentation
    return "data:image/svg+xml;base64," + base64.b64encode(svg.encode()).decode("ascii")


# ---- words -----------------------------------------------------------------------------------


def _without_breaks(sentence: str) -> str:
    """A sentence that no browser breaks before a per cent sign or within an interval.

    Examples
    --------
    >>> _without_breaks("It rises by 5.9 % [4.1, 7.6].")
    'It rises by 5.9\\xa0% [4.1,\\xa07.6].'
    """
    within = re.sub(r"\[[^\]]*\]", lambda found: found[0].replace(" ", NO_BREAK_SPACE), sentence)
    return within.replace(" %", f"{NO_BREAK_SPACE}%")


def _legend(diagnosis: Diagnosis) -> list[dict[str, Any]]:
    """Each error type in one sentence, with a picture of boxes and classes of the data as examples."""
    example = example_classes(diagnosis)
    detected = example.detected or "class"
    others = {SIMILAR: example.similar or "similar class", OTHER: example.other or "other class"}
    entries = []
    for place, (kind, words) in enumerate(zip(ERROR_TYPES, explanations(diagnosis), strict=True)):
        object_, found = SCENES.get(place, OVERLAPPING)
        entries.append(
            {
                "name": kind.name,
                "colour": kind.colour,
                "ink": text_colour_on(kind.colour),
                "explanation": words,
                "object": object_,
                "found": found,
                "object_tag": _tag(others.get(place, detected), object_, below=True),
                "found_tag": _tag(detected, found, below=False),
            }
        )
    return entries


def _tag(name: str, box: Sides, *, below: bool) -> dict[str, Any]:
    """A class's name below its box at the left edge, or above it at the right edge; within the picture."""
    text = name if len(name) <= MAX_TAG_LETTERS else name[: MAX_TAG_LETTERS - 1].rstrip() + "…"
    width = min(LETTER_WIDTH * len(text) + TAG_PADDING, SCENE_WIDTH)
    left = box[0] if below else box[0] + box[2] - width
    left = round(min(max(left, 0.0), SCENE_WIDTH - width), 1)
    top = box[1] + box[3] if below else box[1] - TAG_HEIGHT
    return {"text": text, "left": left, "top": top, "width": round(width, 1)}


def _counting_rules(diagnoses: Sequence[Diagnosis], numbers: Json) -> list[tuple[str, str]]:
    """What exactly is counted, and why parts need not sum to 100: heading and text."""
    sums = []
    for detector in numbers["detectors"]:
        shares = shares_of(detector["breakdown"]["mean_over_classes"])
        if all(map(math.isfinite, shares)):
            sums.append(f"{sum(round(100 * value, 1) for value in shares):.1f} for {detector['name']}")
    short = []
    for diagnosis in diagnoses:
        fewer = int((diagnosis.breakdown.counts.sum(axis=1) < diagnosis.breakdown.objects).sum())
        if fewer:
            short.append(f"in {count(fewer, 'class', 'classes')} of {diagnosis.name}")
    return [
        (
            "The detections counted",
            f"{_top_rule(numbers)[:1].upper()}{_top_rule(numbers)[1:]}, by score. N leaves out difficult "
            "objects. Where there are fewer detections, all of them are counted."
            + (f" Fewer than N are counted {', '.join(short)}." if short else ""),
        ),
        (
            "Mean over classes, or pooled",
            "In the mean over classes each class has the same weight; those of which nothing is counted "
            "are left out. Pooled, each detection has the same weight, and a frequent class decides.",
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
            f"Intersection over union (IoU) of the boxes, clipped to the image: {diagnoses[0].iou:g} or more "
            f"is right, below {WEAK:g} is background. The detection of the "
            "highest score takes the object; a second one on it is a localization error.",
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
            "What an error type costs in average precision is found by mending that type alone. The gains of "
            "two types overlap, and do not add up to the average precision that is missing.",
        ),
    ]


def _top_rule(numbers: Json) -> str:
    """How many of a class's detections count, as far as the provenance says."""
    top = numbers["provenance"].get("options", {}).get("top")
    if top is None:
        return "top N detections per class (N = number of objects)"
    if top == "all":
        return "all detections"
    return (
        f"top {top[:-1]} × N detections per class (N = number of objects)"
        if top.endswith("x")
        else f"top {top} detections per class"
    )


def _origin_rows(value: Any, key: str) -> Iterator[tuple[str, str]]:
    """Provenance as rows of a key, nested ones joined by spaces, and a value."""
    if isinstance(value, Mapping):
        for name, part in value.items():
            yield from _origin_rows(part, f"{key} {name}".strip().replace("_", " "))
    elif isinstance(value, list | tuple) and any(isinstance(part, Mapping) for part in value):
        for number, part in enumerate(value, 1):
            yield from _origin_rows(part, f"{key} {number}")
    else:
        shown = ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
        yield key, ABSENT if value is None else shown
