"""The sections of the page that are there only where something is given for them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from diagnosis.report.cells import from_page_table
from diagnosis.report.characteristics import characteristics
from diagnosis.report.content import SECTIONS, ReportContent
from diagnosis.report.costs import impact, tide
from diagnosis.report.differences import differences, few_images
from diagnosis.report.reading import Json
from diagnosis.report.shapes import Block

__all__ = ["Section", "sections"]

SHORT = {
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
    "above: it looks at the 100 surest detections of each image, not at the top of each class.",
    "comparison": "Intervals of the paired bootstrap over images: all detectors see the same resamples. "
    "Where an interval leaves out zero, the difference is more than the chance of which images were drawn.",
}
ALONE = (
    "Intervals of the bootstrap over images: how far the numbers go up and down with the chance of which "
    "images were drawn."
)


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
        "comparison": differences(content.numbers),
        "impact": impact(detectors, letters),
        "characteristics": characteristics(detectors, letters),
        "tide": tide(detectors, letters),
    }
    found = []
    for key, title in SECTIONS.items():
        blocks = [
            *own.get(key, ()),
            *(figure for figure in content.figures if figure.section == key),
            *(from_page_table(table) for table in content.tables if table.section == key),
        ]
        if blocks:
            found.append(_section(content, key, title, blocks))
    return tuple(found)


def _section(content: ReportContent, key: str, title: str, blocks: Sequence[Block]) -> Section:
    short, note = SHORT[key], NOTES.get(key, "")
    if key == "comparison":
        if not content.numbers.get("comparison"):
            title, short, note = "How sure the numbers are", "Intervals", ALONE
        note = f"{note} {few_images(content.numbers, content.diagnoses[0])}".strip()
    return Section(key, title, short, note, tuple(blocks))
