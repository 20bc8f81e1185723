"""The command ``python -m diagnosis``: what kinds of errors detectors make."""

from __future__ import annotations

import argparse
import contextlib
import os
import shlex
import signal
import sys
import threading
import warnings
import webbrowser
from collections.abc import Iterator, Sequence

from data.formats import read_found, read_ground_truth
from data.formats.files import path_errors
from data.formats.processes import keep_freed_memory, usable_cores
from data.records import InputError, InputWarning
from diagnosis import options as given
from diagnosis.breakdown import BACKGROUND_IOU
from diagnosis.compare import compare
from diagnosis.demo import can_open, draw_scenes, with_demo
from diagnosis.progress import Progress
from diagnosis.provenance import provenance
from diagnosis.record import compute_all, diagnose
from diagnosis.similar import read_similar
from diagnosis.words import brief, notes, summary

MOST_REPLICATES = 100_000
"""More would say no more, and take memory and days."""
INTERRUPTED, TERMINATED = 130, 143
"""Exit codes after Ctrl-C and after SIGTERM, as in shells."""


def run(options: argparse.Namespace, progress: Progress, command: str, warned: Sequence[str] = ()) -> str:
    """Read, diagnose and write; returns what to print. `warned` is what readers have warned of meanwhile."""
    if not BACKGROUND_IOU <= options.iou <= 1:
        raise InputError("--iou", f"{options.iou:g}", f"a number from {BACKGROUND_IOU} to 1")
    if not 0 <= options.replicates <= MOST_REPLICATES:
        expected = f"a number of resamples, or 0, and at most {MOST_REPLICATES:,}"
        raise InputError("--replicates", f"{options.replicates:,}", expected)
    if options.max_detections < 1:
        raise InputError("--max-detections", str(options.max_detections), "a positive whole number")
    if options.processes is not None and options.processes < 1:
        raise InputError("--processes", str(options.processes), "a positive whole number")
    paper = options.style == "paper"
    for option, is_given in (("--figures", options.figures is not None), ("--style paper", paper)):
        if is_given and options.no_figures:
            raise InputError(option, "--no-figures as well", "one of them")
    if options.open and options.no_figures:
        raise InputError("--open", "--no-figures as well, so no page to open", "one of them")
    formats = ["pdf"] if paper else list(given.DEFAULT_FORMATS)
    figures = [] if options.figures is None and not paper else options.figures or formats
    processes = options.processes or usable_cores()
    names = given.name_detectors(options.detections, options.names)
    top = given.parse_top(options.top)
    if options.demo:
        progress("drawing the scenes")
        draw_scenes(options.out)
    progress("reading the ground truth")
    truth = read_ground_truth(options.ground_truth, options.lenient, options.pixels_from)
    if options.images is not None:
        truth = given.with_images(truth, options.images)
    similar = read_similar(options.similar, options.ground_truth, truth.classes)
    edges = given.parse_bins(options.area_bins, options.bins, list(truth.attributes))
    chosen = {"top": top, "iou": options.iou, "edges": edges, "max_detections": options.max_detections}
    diagnoses = []
    for name, path in zip(names, options.detections, strict=True):
        progress(f"reading {path}")
        found = read_found(path, truth, options.lenient, options.box_format, options.normalized)
        progress(f"diagnosing {name}: {len(found):,} detections, {len(truth):,} objects")
        diagnoses.append(diagnose(truth, found, name, similar.groups, **chosen))
    origin = provenance(command, vars(options), diagnoses)
    origin["similar"] = {"source": similar.source, "groups": similar.groups}
    comparison = None
    if options.replicates:
        resampling = f"resampling the images {options.replicates:,} times"
        progress(resampling)
        comparison = compare(
            diagnoses,
            replicates=options.replicates,
            groups=given.parse_groups(options.group),
            progress=lambda done, total: progress(resampling, f"{done:,} done"),
            processes=processes,
            meanwhile=lambda: compute_all(diagnoses),
        )
    doubts = notes(diagnoses, comparison, warned)
    remarks = [similar.sentence(), *doubts]
    why_no_photographs = given.missing_photographs(truth)
    # Imports matplotlib: not before the input is valid.
    from diagnosis.write_results import NUMBERS, PAGE, write_results

    written = write_results(
        diagnoses,
        options.out,
        comparison=comparison,
        provenance=origin,
        notes=remarks,
        photographs=not why_no_photographs,
        page=not options.no_figures,
        figures=figures,
        style=options.style,
        sheet=options.sheet,
        progress=progress,
        processes=processes,
    )
    progress.end()
    page = options.out / PAGE
    where = f"The report: {page}" if page in written else f"The numbers: {options.out / NUMBERS}"
    if why_no_photographs and page in written:
        where += f"\nPhotographs: {why_no_photographs}. --images DIR gives their folder."
    if options.verbose:
        pictures = [file for file in written if file.suffix.lstrip(".") in given.FIGURE_FORMATS]
        lines = [str(file) for file in written if file not in pictures]
        if pictures:
            kinds = dict.fromkeys(f"*{file.suffix}" for file in pictures)
            lines.append(f"{options.out / ' and '.join(kinds)}: {len(pictures)} figures")
        everything = summary(diagnoses, comparison, remarks)
        text = "\n".join([where, "", everything, "\n  ".join(["\nwritten:", *lines])])
    else:
        text = brief(diagnoses, comparison, doubts, where)
    if options.open or (options.demo and page in written and can_open()):
        webbrowser.open(page.resolve().as_uri())
    return text


@contextlib.contextmanager
def terminable() -> Iterator[None]:
    """SIGTERM ends the block as an exit does, so that nothing half-written stays behind."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, lambda *_: sys.exit(TERMINATED))
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code: 0, or 2 for something the user has to correct."""
    words = list(map(str, sys.argv[1:] if arguments is None else arguments))
    try:
        for word in words:
            if word.encode("utf-8", "replace").decode() != word:
                raise InputError(word, "a name that is not UTF-8", "names in UTF-8")
        options = given.parser().parse(with_demo(words) if "--demo" in words else words)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    progress = Progress()
    keep_freed_memory()

    warned: list[str] = []

    def say(line: str) -> None:
        progress.pause()
        print(line, file=sys.stderr)

    def show(message: Warning | str, *_: object, **__: object) -> None:
        if str(message) in warned:
            return  # of a file that is read twice
        if isinstance(message, InputWarning):
            warned.append(str(message))
        say(f"warning: {message}")

    with warnings.catch_warnings():
        warnings.simplefilter("always", UserWarning)
        if options.strict:
            warnings.simplefilter("error", InputWarning)
        warnings.showwarning = show
        try:
            with path_errors("a path"), terminable():
                text = run(options, progress, shlex.join(["python", "-m", "diagnosis", *words]), warned)
        except InputError as error:
            say(f"error: {error}")
            return 2
        except InputWarning as warning:
            say(f"error: {warning} (--strict)")
            return 2
        except KeyboardInterrupt:
            say("interrupted; an earlier report in the folder is as it was")
            return INTERRUPTED
        finally:
            progress.end()
    try:
        print(text, flush=True)
    except OSError as error:
        # What is left in the buffer would fail again at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if not isinstance(error, BrokenPipeError):  # as of `| head`
            expected = f"room for the summary, which is in {options.out / 'summary.txt'} too"
            say(f"error: {InputError('standard output', str(error.strerror), expected)}")
            return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
