"""The command ``python -m diagnosis``: what kinds of errors detectors make."""

from __future__ import annotations

import argparse
import difflib
import shlex
import sys
import threading
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from data.records import InputError
from diagnosis import inputs
from diagnosis.breakdown import STRONG, WEAK
from diagnosis.compare import compare
from diagnosis.provenance import provenance
from diagnosis.summary import diagnose

PATIENCE = 2.0  # seconds without a word
REPLICATES = 1000


class Parser(argparse.ArgumentParser):
    """Says what is wrong in one line, and which option was probably meant."""

    def error(self, message: str) -> NoReturn:
        """Print ``error: …`` and leave with code 2."""
        print(f"error: {message}; see --help", file=sys.stderr)
        sys.exit(2)

    def parse(self, arguments: Sequence[str]) -> argparse.Namespace:
        """The options; an unknown one is answered with the nearest known, before any other fault."""
        known = [name for name in self._option_string_actions if name.startswith("--")]
        for word in arguments:
            option = word.split("=")[0]
            if option.startswith("--") and option not in known:
                near = difflib.get_close_matches(option, known, n=1)
                self.error(f"unknown option {option}" + (f"; did you mean {near[0]}?" if near else ""))
        options, rest = self.parse_known_args(arguments)
        if rest:
            self.error(f"unknown argument {rest[0]}")
        return options


def parser() -> Parser:
    """All options."""
    result = Parser(
        prog="python -m diagnosis",
        description="Break down the errors of one or several detectors as Hoiem et al. (ECCV 2012) do: "
        "correct, localization, similar, other, background. Writes a web page, figures, tables and numbers.",
        epilog="example: python -m diagnosis --ground-truth VOCdevkit/VOC2007:test "
        "--detections results/plain --detections results/shuffled --names plain shuffled --out report",
        allow_abbrev=False,
    )
    add = result.add_argument
    add("--ground-truth", required=True, metavar="SPEC", help=inputs.SPEC_FORM)
    add(
        "--detections",
        required=True,
        nargs="+",
        action="extend",
        type=Path,
        metavar="PATH",
        help=f"{inputs.FOUND_FORM}; one for each detector",
    )
    add(
        "--names",
        nargs="+",
        action="extend",
        metavar="NAME",
        help="what to call the detectors (default: as their files, or the folders that tell them apart)",
    )
    add(
        "--similar",
        metavar="voc|coco|none|FILE.yaml",
        help="which classes are similar; a file holds 'similar: [[cat, dog], [bus, car]]' "
        "(default: what the ground truth says: VOC's groups for VOC, supercategories for COCO)",
    )
    add(
        "--iou",
        type=float,
        default=STRONG,
        metavar="T",
        help=f"smallest overlap of a correct detection, from {WEAK} to 1 (default: %(default)s)",
    )
    add(
        "--top",
        metavar="N|Fx|all",
        help="how many of a class's best detections count: a number, a factor of its objects such as 2x, "
        "or all (default: as many as it has objects that are not difficult)",
    )
    add(
        "--images",
        type=Path,
        metavar="DIR",
        help="folder of the photographs, for the sheet of examples (default: JPEGImages of the year folder)",
    )
    add(
        "--replicates",
        type=int,
        default=REPLICATES,
        metavar="R",
        help="resamples of the images behind the intervals; 0: no intervals (default: %(default)s)",
    )
    add(
        "--group",
        nargs="+",
        action="append",
        metavar="NAME",
        help="runs of one model, seeds for instance: a name for the group, then the names of its detectors",
    )
    add("--no-figures", action="store_true", help="write the numbers and tables alone, which is much faster")
    add(
        "--lenient",
        action="store_true",
        help="drop detections, and annotations of COCO and YOLO, that cannot be used, and count them",
    )
    add("--out", required=True, type=Path, metavar="DIR", help="folder to write to")  # fmt: skip
    return result


class Progress:
    """Says on stderr what takes long: nothing before two seconds have passed, then each step."""

    def __init__(self) -> None:
        self._talking = threading.Event()
        self._step = ""
        self._timer = threading.Timer(PATIENCE, self._begin)
        self._timer.daemon = True
        self._timer.start()

    def _begin(self) -> None:
        self._talking.set()
        self(self._step)

    def __call__(self, step: str) -> None:
        """Begin a step."""
        self._step = step
        if self._talking.is_set():
            print(f"… {step}", file=sys.stderr, flush=True)

    def end(self) -> None:
        """Say no more."""
        self._timer.cancel()


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
    diagnoses = []
    for name, path in zip(names, options.detections, strict=True):
        progress(f"reading {path}")
        found = inputs.read_found(path, truth, options.lenient)
        progress(f"diagnosing {name}: {len(found):,} detections, {len(truth):,} objects")
        diagnoses.append(diagnose(truth, found, name, similar, top=top, iou=options.iou))
    why_no_sheet = inputs.missing_photographs(truth)
    origin = provenance(command, vars(options), diagnoses)
    comparison = None
    if options.replicates:
        progress(f"resampling the images {options.replicates:,} times")
        comparison = compare(
            diagnoses,
            replicates=options.replicates,
            groups=read_groups_of_runs(options.group),
            top=top,
            progress=lambda done, total: progress(f"resampled {done:,} of {total:,} times"),
        )
    from diagnosis.results import (
        in_words,
        write_results,
    )  # with matplotlib: not before the input has proved good

    written = write_results(
        diagnoses,
        options.out,
        comparison=comparison,
        provenance=origin,
        photographs=not why_no_sheet,
        figures=not options.no_figures,
        progress=progress,
    )
    progress.end()
    print(in_words(diagnoses, comparison))
    if why_no_sheet and not options.no_figures:
        print(f"\nno photographs: {why_no_sheet}")
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


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code: 0, or 2 for something the user has to mend."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    options = parser().parse(given)
    progress = Progress()
    with warnings.catch_warnings():
        warnings.simplefilter("always", UserWarning)
        warnings.showwarning = lambda message, *_, **__: print(f"warning: {message}", file=sys.stderr)
        try:
            run(options, progress, shlex.join(["python", "-m", "diagnosis", *given]))
        except InputError as error:
            print(f"error: {error}", file=sys.stderr)
            return 2
        finally:
            progress.end()
    return 0


if __name__ == "__main__":
    sys.exit(main())
