"""The folder of results that ``python -m diagnosis`` writes, complete or not at all."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from data.formats.files import write_text
from data.records import InputError
from diagnosis.compare import Comparison
from diagnosis.comparison_text import (
    comparison_sentences,
    comparison_table,
)
from diagnosis.figures.catalogue import Illustration, illustrations, save_illustrations
from diagnosis.figures.sheet import save_sheet
from diagnosis.outputs import write_verdicts
from diagnosis.record import Diagnosis
from diagnosis.report import Gallery, PageFigure, ReportContent, write_report
from diagnosis.summary import sentences, table
from diagnosis.to_json import comparison_to_json, intervals_to_json, to_json

__all__ = ["in_words", "write_results"]

NUMBERS = "diagnosis.json"


def in_words(diagnoses: Sequence[Diagnosis], comparison: Comparison | None, notes: Sequence[str] = ()) -> str:
    """Tables and sentences for a terminal; at the end the `notes`, what to beware of."""
    end = ["", *notes] if notes else []
    if comparison is None:
        return "\n".join([table(diagnoses), "", *sentences(diagnoses), *end])
    told = [line for diagnosis in diagnoses for line in sentences([diagnosis])]
    told += comparison_sentences(comparison)
    return "\n".join([table(diagnoses), "", comparison_table(comparison), "", *told, *end])


def write_results(
    diagnoses: Sequence[Diagnosis],
    out: Path,
    *,
    comparison: Comparison | None,
    provenance: Mapping[str, Any],
    photographs: bool,
    figures: bool = True,
    notes: Sequence[str] = (),
    progress: Callable[..., None],
) -> list[Path]:
    """Write figures, tables, the web page and the numbers; return the files.

    They come into the folder together, when the last one is complete. What an earlier run left there and
    this one does not write goes: it would show other numbers than those beside it.

    Parameters
    ----------
    diagnoses
        One or several detectors on the same ground truth.
    out
        The folder; made if absent.
    comparison
        Their bootstrap, if it was asked for.
    provenance
        Where the numbers come from.
    photographs
        Whether the photographs are at hand.
    figures
        Whether to draw figures and write the web page; without, numbers and tables alone.
    notes
        What the reader should beware of, for the page, the summary and the numbers.
    progress
        Told what is done next, and how far it is.

    Raises
    ------
    InputError
        The folder cannot be written to, or a photograph cannot be read.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
        before = _written_before(out)
        with tempfile.TemporaryDirectory(prefix=".part", dir=out) as name:
            part = Path(name)
            made: list[Path] = []
            chosen = illustrations(diagnoses, comparison) if figures else []
            if figures:
                for number, picture in enumerate(chosen, 1):
                    progress("drawing the figures", f"{number} of {len(chosen)}, {picture.title}")
                    made += save_illustrations([picture], part)
            if figures and photographs:
                progress("drawing the sheet of examples")
                made.append(save_sheet(diagnoses, part))
            progress("writing the tables")
            made.append(part / "detections.parquet")
            write_verdicts(diagnoses, made[-1])
            made.append(part / "summary.txt")
            write_text(made[-1], in_words(diagnoses, comparison, notes) + "\n")
            progress("writing the numbers")
            files = [file.name for file in made] + (["report.html"] if figures else []) + [NUMBERS]
            numbers = to_json(
                diagnoses,
                {**provenance, "files": files},
                comparison_to_json(comparison) if comparison is not None else (),
                intervals_to_json(comparison) if comparison is not None else (),
                notes,
            )
            if figures:
                progress("writing the report")
                made.append(part / "report.html")
                write_report(_content(diagnoses, comparison, numbers, chosen, part), made[-1])
            made.append(part / NUMBERS)
            write_text(made[-1], json.dumps(numbers, indent=1, ensure_ascii=False, allow_nan=False) + "\n")
            # Should moving fail halfway, nothing is to look as if it were complete.
            for name in ("report.html", NUMBERS):
                (out / name).unlink(missing_ok=True)
            written = [file.replace(out / file.name) for file in made]
        for left in before - {file.name for file in written}:
            (out / left).unlink(missing_ok=True)
        return written
    except OSError as error:
        raise InputError(out, error.strerror or "an error", "a folder to write to") from None


def _written_before(out: Path) -> set[str]:
    """Names of the files that an earlier run says it wrote."""
    try:
        files = json.loads((out / NUMBERS).read_text(encoding="utf-8"))["provenance"]["files"]
        return {Path(str(name)).name for name in files}
    except (OSError, ValueError, KeyError, TypeError):  # there was none, or the file is somebody else's
        return set()


def _content(
    diagnoses: Sequence[Diagnosis],
    comparison: Comparison | None,
    numbers: Mapping[str, Any],
    chosen: Sequence[Illustration],
    folder: Path,
) -> ReportContent:
    figures = [
        PageFigure(
            picture.title,
            picture.caption,
            (folder / f"{picture.file}.svg").read_text(encoding="utf-8"),
            picture.section,
        )
        for picture in chosen
        if picture.section
    ]
    statements = [*comparison_sentences(comparison), *numbers["notes"]] if comparison is not None else []
    return ReportContent(diagnoses, numbers, statements, figures, gallery=Gallery())
