"""The folder of results that ``python -m diagnosis`` writes, complete or not at all."""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import json
import os
import shutil
import socket
import tempfile
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, Literal

import msgspec

from data.formats.files import write_text
from data.formats.processes import over_processes
from data.records import InputError, InputWarning
from diagnosis.compare import Comparison
from diagnosis.detections_table import write_detections_table
from diagnosis.record import Diagnosis
from diagnosis.report import ReportContent, write_report
from diagnosis.to_json import comparison_to_json, intervals_to_json, to_json
from diagnosis.words import comparison_sentences, sentences, summary

__all__ = ["write_results"]

Style = Literal["screen", "paper"]
Choice = Literal["differ", "first"]

NUMBERS, PAGE = "diagnosis.json", "report.html"
PART, OWNER, EARLIER = ".part", "written-by.json", "earlier"
"""The folder, within that of the report, in which a run writes; what says whose it is; the earlier report."""


def write_results(
    diagnoses: Sequence[Diagnosis],
    out: Path,
    *,
    comparison: Comparison | None,
    provenance: Mapping[str, Any],
    photographs: bool,
    page: bool = True,
    figures: Sequence[str] = (),
    style: Style = "screen",
    sheet: Choice = "differ",
    notes: Sequence[str] = (),
    progress: Callable[..., None],
    processes: int = 1,
) -> list[Path]:
    """Write tables, the numbers, the web page and figures; return the files.

    They come into the folder together, when the last one is complete; should that fail, or the run be ended
    in the middle of it, the earlier report stays or comes back. Files of an earlier run that this one does
    not write are removed, as they would show other numbers than those beside them: only those whose content
    is still what that run wrote, by the checksums in its numbers.

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
    page
        Whether to write the web page.
    figures
        Formats of the figures (``png``, ``svg``, ``pdf``); without any none is written.
    style
        Style of the figures: ``screen`` or ``paper``, see :func:`diagnosis.figures.style.drawing_style`.
    sheet
        Which images the sheet of examples shows, see :func:`diagnosis.figures.examples.examples`.
    notes
        What makes the numbers uncertain: for the page, the summary and the numbers.
    progress
        Called with each step, and how far it is.
    processes
        How many processes share the drawing.

    Raises
    ------
    InputError
        The folder cannot be written to or has a folder with the name of one of the files, or a photograph
        cannot be read.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
        _clean_up(out)
        # The table of the detections is packed by pyarrow, which leaves Python's lock free.
        with _part(out) as part, ThreadPoolExecutor(1) as pool:
            progress("writing the tables")
            tables = [part / "detections.parquet", part / "summary.txt"]
            detections = pool.submit(write_detections_table, diagnoses, tables[0])
            write_text(tables[1], summary(diagnoses, comparison, notes) + "\n")
            progress("writing the numbers")
            numbers = to_json(
                diagnoses,
                {**provenance, "files": []},
                comparison_to_json(comparison) if comparison is not None else (),
                intervals_to_json(comparison) if comparison is not None else (),
                notes,
                "" if comparison is None else comparison.verdict,
            )
            chosen = sheet if photographs else None
            made = _draw(diagnoses, comparison, part, figures, style, chosen, progress, processes)
            made += tables
            made += [part / PAGE, part / NUMBERS] if page else [part / NUMBERS]
            numbers["provenance"]["files"] = [file.name for file in made]
            if page:
                progress("writing the report")
                said = sentences(diagnoses)[len(diagnoses) :]
                said = said if comparison is None else comparison_sentences(comparison)
                write_report(ReportContent(diagnoses, numbers, [*said, *notes]), part / PAGE)
            detections.result()
            numbers["provenance"]["sha256"] = {file.name: _digest(file) for file in made[:-1]}
            text = msgspec.json.format(msgspec.json.encode(numbers), indent=1)
            write_text(made[-1], text.decode() + "\n")
            return _swap(out, part, made)
    except OSError as error:
        found = "a file" if isinstance(error, FileExistsError) else error.strerror or "an error"
        raise InputError(out, found, "a folder to write to") from None


def _draw(
    diagnoses: Sequence[Diagnosis],
    comparison: Comparison | None,
    part: Path,
    formats: Sequence[str],
    style: Style,
    sheet: Choice | None,
    progress: Callable[..., None],
    processes: int,
) -> list[Path]:
    """The files of the figures, and of the sheet of examples."""
    if not formats:
        return []
    # matplotlib takes a second
    from diagnosis.figures import Illustration, illustrations, save_illustrations
    from diagnosis.figures.examples import examples
    from diagnosis.figures.style import drawing_style, warn_of_fonts

    names = [one.name for one in diagnoses]
    warn_of_fonts([*diagnoses[0].truth.classes, *diagnoses[0].groups, *names])
    here, figures = os.getpid(), illustrations(diagnoses, comparison)
    chosen = list(figures)
    if sheet is not None:
        chosen.append(Illustration("examples", "", partial(examples, *diagnoses, choose=sheet)))

    def draw(picture: Illustration) -> list[Path]:
        if os.getpid() == here and picture.title:
            progress("drawing the figures", f"{picture.title}, one of {len(figures)}")
        elif os.getpid() == here:
            progress("drawing the sheet of examples")
        with drawing_style(style):
            return save_illustrations([picture], part, formats)

    return [file for files in over_processes(draw, chosen, processes) for file in files]


@contextlib.contextmanager
def _part(out: Path) -> Iterator[Path]:
    """A folder to write to, within `out` because a move is atomic only within one file system."""
    with tempfile.TemporaryDirectory(prefix=PART, dir=out) as name:
        owner = {"host": socket.gethostname(), "process": os.getpid()}
        write_text(Path(name) / OWNER, json.dumps(owner))
        yield Path(name)


def _swap(out: Path, part: Path, made: Sequence[Path]) -> list[Path]:
    """Put the files that were `made` in place of the earlier report, or leave that as it is.

    The numbers and the page go first and come last: a report that is not whole does not look complete.
    """
    for file in made:
        if (out / file.name).is_dir():
            expected = f"no folder of the name of a result: move it, or choose another folder than {out}"
            raise InputError(out / file.name, "a folder", expected)
    names = [file.name for file in made]
    written = _written_before(out)
    stale = [
        name
        for name, digest in written.items()
        if name not in names and digest and _digest(out / name) == digest
    ]
    foreign = {
        name: _free_name(out, name)
        for name in names
        if os.path.lexists(out / name)
        and not (name == NUMBERS and written)
        and written.get(name) != _digest(out / name)
    }
    for name, kept in foreign.items():
        warnings.warn(
            f"{out / name}: found a file that was not written by a diagnosis, or was changed since; "
            f"it is now {kept}",
            InputWarning,
            stacklevel=3,
        )
    earlier = part / EARLIER
    earlier.mkdir()
    write_text(part / "names.json", json.dumps(names))
    try:
        for name in sorted([*names, *stale], key=lambda name: name not in (NUMBERS, PAGE)):
            if os.path.lexists(out / name):
                (out / name).replace(earlier / name)
        final = [file.replace(out / file.name) for file in made]
        for name, kept in foreign.items():
            (earlier / name).replace(kept)
        return final
    except BaseException:
        _restore(out, part, names)
        raise


def _free_name(out: Path, name: str) -> Path:
    """A path for a user's file that has the name of a result."""
    return next(
        path
        for number in itertools.count(1)
        if not os.path.lexists(path := out / f"{Path(name).stem}.{number}{Path(name).suffix}")
    )


def _restore(out: Path, part: Path, names: Iterable[str]) -> None:
    """Bring the earlier report back, and take away what has replaced it of `names`."""
    earlier = part / EARLIER
    for name in names:
        if not os.path.lexists(part / name):
            (out / name).unlink(missing_ok=True)
    for file in earlier.iterdir():
        file.replace(out / file.name)


def _clean_up(out: Path) -> None:
    """Remove what runs that were killed left in `out`, and bring back the report that one was replacing."""
    for part in out.glob(f"{PART}*"):
        try:
            owner = json.loads((part / OWNER).read_text(encoding="utf-8"))
            if owner["host"] != socket.gethostname() or _is_running(owner["process"]):
                continue
            if (part / EARLIER).is_dir():
                _restore(out, part, json.loads((part / "names.json").read_text(encoding="utf-8")))
        except (OSError, ValueError, KeyError, TypeError):  # not a folder of ours, or one just begun
            continue
        shutil.rmtree(part, ignore_errors=True)


def _is_running(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True


def _written_before(out: Path) -> dict[str, str]:
    """The files that an earlier run says it wrote, and their checksums."""
    try:
        numbers = json.loads((out / NUMBERS).read_text(encoding="utf-8"))
        written = numbers["provenance"]["sha256"].items()
        return {str(name): str(digest) for name, digest in written if name == Path(name).name}
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return {}  # there was none, or the file is somebody else's


def _digest(file: Path) -> str:
    """SHA-256 of a file; empty where there is none, or a link in its place."""
    if file.is_symlink() or not file.is_file():
        return ""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
