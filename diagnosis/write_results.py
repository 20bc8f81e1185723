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
from diagnosis.detections_table import write_detections_table
from diagnosis.figures import Illustration, illustrations, save_illustrations, save_sheet
from diagnosis.record import Diagnosis
from diagnosis.report import PageFigure, ReportContent, write_report
from diagnosis.to_json import comparison_to_json, intervals_to_json, to_json
from diagnosis.words import comparison_sentences, summary

__all__ = ["write_results"]

NUMBERS, PAGE = "diagnosis.json", "report.html"


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

    They come into the folder together, when the last one is complete. Files of an earlier run that this one
    does not write are removed: they would show other numbers than those beside them.

    Parameters
    ----------
    diagnoses
        One or several detectors on the same ground truth.
    out
        The folder; made if absent.
    comparison
        Their comparison, if it was asked for.
    provenance
        Where the numbers come from.
    photographs
        Whether the photographs are at hand.
    figures
        Whether to draw figures and write the web page; without, numbers and tables alone.
    notes
        What makes the numbers uncertain: for the page, the summary and the numbers.
    progress
        Called with each step, and how far it is.

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
            for number, picture in enumerate(chosen, 1):
                progress("drawing the figures", f"{number} of {len(chosen)}, {picture.title}")
                made += save_illustrations([picture], part)
            if figures and photographs:
                progress("drawing the sheet of examples")
                made.append(save_sheet(diagnoses, part))
            progress("writing the tables")
            made += [part / "detections.parquet", part / "summary.txt"]
            write_detections_table(diagnoses, made[-2])
            write_text(made[-1], summary(diagnoses, comparison, notes) + "\n")
            progress("writing the numbers")
            made += [part / PAGE, part / NUMBERS] if figures else [part / NUMBERS]
            numbers = to_json(
                diagnoses,
                {**provenance, "files": [file.name for file in made]},
                comparison_to_json(comparison) if comparison is not None else (),
                intervals_to_json(comparison) if comparison is not None else (),
                notes,
            )
            if figures:
                progress("writing the report")
                statements = [*comparison_sentences(comparison), *notes] if comparison is not None else []
                drawn = [_on_page(picture, part) for picture in chosen if picture.section]
                write_report(ReportContent(diagnoses, numbers, statements, drawn), part / PAGE)
            write_text(made[-1], json.dumps(numbers, indent=1, ensure_ascii=False, allow_nan=False) + "\n")
            # Should moving fail halfway, nothing may look complete.
            for name in (PAGE, NUMBERS):
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


def _on_page(picture: Illustration, folder: Path) -> PageFigure:
    svg = (folder / f"{picture.file}.svg").read_text(encoding="utf-8")
    return PageFigure(picture.title, picture.caption, svg, picture.section)
