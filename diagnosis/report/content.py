"""What a report shows: plain records, filled by the caller; what is left empty is left out of the page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

from diagnosis.record import Diagnosis

__all__ = ["SECTIONS", "Gallery", "Json", "PageFigure", "PageTable", "ReportContent"]

Json = Mapping[str, Any]
"""A part of ``diagnosis.json``."""

SECTIONS: dict[str, str] = {
    "comparison": "Differences between the detectors",
    "flow": "What became of each object",
    "groups": "Groups of similar classes",
    "impact": "What each error type costs",
    "trends": "Error types down the ranking",
    "characteristics": "Characteristics of objects",
    "tide": "TIDE",
    "confusion": "Which class is taken for which",
    "curves": "Precision and recall",
    "calibration": "Can the scores be believed?",
    "further": "Further figures and tables",
}
"""Sections that appear where something is given for them, in the order of the page, with their headings."""

Value = str | int | float | None


@dataclass(frozen=True)
class PageFigure:
    """A figure drawn elsewhere, by matplotlib for instance.

    Parameters
    ----------
    title, caption
        Above and below it. The caption gives the units and N.
    svg
        The whole text of an SVG file, which refers to nothing outside itself.
    section
        A key of :data:`SECTIONS`.
    description
        What is to be seen, for those who cannot see it; default: title and caption.
    titled
        Whether the drawing bears a title itself, so that the page need not show `title` above it.
    """

    title: str
    caption: str
    svg: str
    section: str = "further"
    description: str = ""
    titled: bool = True
    block: ClassVar[str] = "figure"


@dataclass(frozen=True)
class PageTable:
    """A table that the reader can sort by any column.

    Parameters
    ----------
    title, caption
        Above and below it.
    columns
        Headings.
    rows
        Equally many values each: text, whole numbers, decimal numbers (printed with `decimals`), or None
        where there is none.
    section
        A key of :data:`SECTIONS`.
    decimals
        How many decimals to print.
    """

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Value, ...], ...]
    caption: str = ""
    section: str = "further"
    decimals: int = 1


@dataclass(frozen=True)
class Gallery:
    """How much the gallery of the surest errors may hold.

    Parameters
    ----------
    each
        Examples, at most, of each detector, class and error type.
    total
        Examples, at most, in all, shared out evenly among the detectors.
    pixels
        Longest side of a part of a photograph. At 240, most take 8 to 15 kB of the page.
    quality
        Of the JPEG pictures, from 1 to 95.
    megabytes
        Of figures and photographs together, as they are in the page (1 MB: a million bytes). Where the
        photographs would exceed it, examples are left out: first the least sure ones of each detector, class
        and type.
    """

    each: int = 4
    total: int = 480
    pixels: int = 240
    quality: int = 80
    megabytes: float = 9.0


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
        Sentences of a comparison with intervals; they take the place of those that merely subtract.
    figures, tables
        What else to show, under its section, in this order.
    gallery
        How many errors to show as pictures; None: none.
    title
        Heading of the page.
    """

    diagnoses: Sequence[Diagnosis]
    numbers: Json
    statements: Sequence[str] = ()
    figures: Sequence[PageFigure] = ()
    tables: Sequence[PageTable] = ()
    gallery: Gallery | None = field(default_factory=Gallery)
    title: str = "What the detectors get wrong"
