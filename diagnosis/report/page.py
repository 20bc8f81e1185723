"""The page put together: records from the other modules into the templates, written in one step."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

from data.formats.files import write_text
from diagnosis.breakdown import ERROR_TYPES
from diagnosis.figures.style import DETECTOR_LETTERS, check_comparable, count
from diagnosis.record import Diagnosis
from diagnosis.report.charts import Part, Slice, pie, stacked
from diagnosis.report.content import Json, PageFigure, ReportContent
from diagnosis.report.gallery import Example, collect
from diagnosis.report.sections import sections
from diagnosis.report.tables import Cell, class_tables, detector_table, score_table, share, shares_of
from diagnosis.report.text import counting_rules, legend, origin_rows, page_sentences, top_rule
from diagnosis.tide import TIDE_ERRORS

__all__ = ["render_report", "write_report"]

HALF_WIDTH_POINTS = 480.0
"""Of a figure of which two fit side by side."""
ASSETS = resources.files(__package__) / "assets"


def write_report(content: ReportContent, path: Path) -> Path:
    """Write the page atomically.

    Parameters
    ----------
    content
        What it shows.
    path
        The file, usually ``report.html``; its folder must exist.

    Returns
    -------
    Path
        `path`.

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
            "Counted of each class": f"its surest: {top_rule(numbers)}",
        },
        "kinds": legend(diagnoses[0]),
        "tide_kinds": TIDE_ERRORS,
        "detectors": detector_table(diagnoses, provenance, letters),
        "overviews": [
            _overview(diagnosis, detector["breakdown"], letter)
            for diagnosis, detector, letter in zip(diagnoses, numbers["detectors"], letters, strict=True)
        ],
        "scores": score_table(numbers["detectors"]),
        "statements": page_sentences(diagnoses, content.statements),
        "rules": counting_rules(diagnoses, numbers),
        "class_tables": class_tables(numbers["detectors"]),
        "sections": sections(content, letters),
        "origin": origin_rows(provenance),
        "examples": examples,
        "groups": {} if examples is None else _grouped(examples.shown, len(diagnoses)),
        "count": count,
    }


@dataclass(frozen=True)
class Overview:
    """The shares of one detector, drawn and in figures.

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


def _overview(diagnosis: Diagnosis, breakdown: Json, letter: str) -> Overview:
    mean, pooled = (shares_of(breakdown[way]) for way in ("mean_over_classes", "pooled"))
    counted = diagnosis.breakdown.counts.sum(axis=1)
    return Overview(
        letter,
        diagnosis.name,
        int(counted.sum()),
        int((counted > 0).sum()),
        pie(mean),
        (("mean over classes", stacked(mean)), ("all classes pooled", stacked(pooled))),
        tuple(
            (kind.name, share(one), share(other))
            for kind, one, other in zip(ERROR_TYPES, mean, pooled, strict=True)
        ),
    )


def _grouped(shown: Sequence[Example], detectors: int) -> dict[int, dict[int, list[list[Example]]]]:
    """Examples by class, error type and detector; only classes and types that have some."""
    groups: dict[int, dict[int, list[list[Example]]]] = {}
    for example in sorted(shown, key=lambda one: (one.label, one.kind)):
        kinds = groups.setdefault(example.label, {})
        kinds.setdefault(example.kind, [[] for _ in range(detectors)])[example.detector].append(example)
    return groups


def _asset(name: str) -> str:
    return (ASSETS / name).read_text(encoding="utf-8")


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
