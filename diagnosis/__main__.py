"""The command ``python -m diagnosis``: what kinds of errors detectors make."""

from __future__ import annotations

import argparse
import shlex
import sys
import warnings
from collections.abc import Sequence

from data.records import InputError
from diagnosis import inputs
from diagnosis.breakdown import WEAK
from diagnosis.compare import compare
from diagnosis.notes import notes
from diagnosis.options import parser
from diagnosis.progress import Progress
from diagnosis.provenance import provenance
from diagnosis.record import diagnose


def run(options: argparse.Namespace, progress: Progress, command: str) -> None:
    """Read, diagnose, write, and say what came out."""
    if not WEAK <= options.iou <= 1:
        raise InputError("--iou", f"{options.iou:g}", f"a number from {WEAK} to 1")
    if options.replicates < 0:
        raise InputError("--replicates", str(options.replicates), "a number of resamples, or 0")
    names = inputs.name_detectors(options.detections, options.names)
    top = inputs.parse_top(options.top)
    progress("reading the ground truth")
    truth = inputs.read_truth(options.ground_truth, options.lenient)
    if options.images is not None:
        truth = inputs.with_images(truth, options.images)
    similar = inputs.read_similar(options.similar, options.ground_truth, truth.classes)
    edges = inputs.parse_bins(options.area_bins, options.bins, list(truth.attributes))
    diagnoses = []
    for name, path in zip(names, options.detections, strict=True):
        progress(f"reading {path}")
        found = inputs.read_found(path, truth, options.lenient)
        progress(f"diagnosing {name}: {len(found):,} detections, {len(truth):,} objects")
        diagnoses.append(diagnose(truth, found, name, similar.groups, top=top, iou=options.iou, edges=edges))
    why_no_sheet = inputs.missing_photographs(truth)
    origin = provenance(command, vars(options), diagnoses)
    origin["similar"] = {"source": similar.source, "groups": similar.groups}
    comparison = None
    if options.replicates:
        resampling = f"resampling the images {options.replicates:,} times"
        progress(resampling)
        comparison = compare(
            diagnoses,
            replicates=options.replicates,
            groups=read_groups_of_runs(options.group),
            top=top,
            progress=lambda done, total: progress(resampling, f"{done:,} done"),
        )
    told = [similar.sentence(), *notes(diagnoses, comparison)]
    from diagnosis.results import (
        in_words,
        write_results,
    )  # with matplotlib: not before the input has proved good

    written = write_results(
        diagnoses,
        options.out,
        comparison=comparison,
        provenance=origin,
        notes=told,
        photographs=not why_no_sheet,
        figures=not options.no_figures,
        progress=progress,
    )
    progress.end()
    print(in_words(diagnoses, comparison, told))
    if why_no_sheet and not options.no_figures:
        print(f"\nno photographs of the errors: {why_no_sheet}; --images DIR names their folder")
    pictures = [file for file in written if file.suffix in (".png", ".svg")]
    rest = [str(file) for file in written if file not in pictures]
    if pictures:
        rest.append(f"{options.out / '*.png'} and *.svg: {len(pictures)} figures")
    print("\nwritten:", *rest, sep="\n  ")


def read_groups_of_runs(given: Sequence[Sequence[str]] | None) -> dict[str, list[str]] | None:
    """The groups of ``--group NAME RUN RUN …``, by name."""
    groups: dict[str, list[str]] = {}
    for name, *runs in given or ():
        if not runs:
            raise InputError("--group", f"{name!r} alone", "a name for the group, then those of its runs")
        if name in groups:
            raise InputError("--group", f"{name!r} twice", "each group once")
        groups[name] = runs
    return groups or None


def say(line: str, progress: Progress) -> None:
    """A line on stderr, not in the midst of the one that tells the progress."""
    progress.pause()
    print(line, file=sys.stderr)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code: 0, or 2 for something the user has to mend."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    options = parser().parse(given)
    progress = Progress()
    with warnings.catch_warnings():
        warnings.simplefilter("always", UserWarning)
        warnings.showwarning = lambda message, *_, **__: say(f"warning: {message}", progress)
        try:
            run(options, progress, shlex.join(["python", "-m", "diagnosis", *given]))
        except InputError as error:
            say(f"error: {error}", progress)
            return 2
        finally:
            progress.end()
    return 0


if __name__ == "__main__":
    sys.exit(main())
