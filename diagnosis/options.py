"""The options of ``python -m diagnosis``, and what they mean."""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import math
import sys
import textwrap
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import NoReturn

from data.formats.detect_format import DETECTION_FORMS, TRUTH_FORMS
from data.formats.files import IMAGE_SUFFIXES, is_file
from data.formats.names import hint
from data.formats.validation import BOX_FORMATS
from data.records import GroundTruth, InputError
from diagnosis.breakdown import BACKGROUND_IOU, CORRECT_IOU, ERROR_NAMES, Top
from diagnosis.characteristics import MEASURES
from diagnosis.coco_ap import MAX_DETECTIONS
from spatial_dependency import program

REPLICATES = 1000
"""Resamples of the images, by default."""
FIGURE_FORMATS = ("png", "svg", "pdf")
DEFAULT_FORMATS = FIGURE_FORMATS[:2]
OPTION_LIKENESS, SHORTEST_WORD = 0.7, 3
"""For suggestions: minimum likeness of two options, and letters of a word to be found in one."""
LINE_WIDTH = 80
"""Letters in a line of ``--help``."""
COMMON_FOLDERS = ("detections", "labels")
"""What any run calls its folders: such a name does not tell one run from another."""

DESCRIPTION = (
    "Break down the errors of one or several detectors as Hoiem et al. (ECCV 2012) do: "
    f"{', '.join(ERROR_NAMES)}. Writes a web page, tables and numbers, and figures with --figures."
)
EPILOG = """\
What is read and written: docs/input-rules.md, docs/diagnose.md.

examples:
  python -m diagnosis --ground-truth VOCdevkit/VOC2007:test \\
      --detections results/plain results/shuffled --out report
  python -m diagnosis --demo
"""


class Parser(argparse.ArgumentParser):
    """Says what is wrong in one line, and which option was probably meant."""

    def error(self, message: str) -> NoReturn:
        """Print ``error: …`` and exit with code 2."""
        end = "" if "--help" in message else "; see --help"
        print(f"error: {message}{end}", file=sys.stderr)
        sys.exit(2)

    def parse(self, arguments: Sequence[str]) -> argparse.Namespace:
        """The options; an unknown one is reported with the nearest known, before any other fault."""
        known = [name for name in self._option_string_actions if name.startswith("--")]
        for word in arguments:
            option = word.split("=")[0]
            if option.startswith("--") and option not in known:
                near = self._hint(option[2:].replace("_", "-"), [name[2:] for name in known])
                self.error(f"{option}: found no such option; expected one of those in --help{near}")
        options, rest = self.parse_known_args(arguments)
        if rest:
            self.error(f"{rest[0]}: found a word that no option takes; expected those in --help")
        return options

    @staticmethod
    def _hint(word: str, names: Sequence[str]) -> str:
        near = hint(word, names, OPTION_LIKENESS).replace("'", "--", 1).replace("'", "")
        parts = [name for name in names if word in name.split("-") or name.startswith(word)]
        if not near and parts and len(word) >= SHORTEST_WORD:
            return f"; did you mean --{parts[0]}?"
        return near


def parser() -> Parser:
    """All options."""
    result = Parser(
        prog=program("python -m diagnosis"),
        description=textwrap.fill(DESCRIPTION, LINE_WIDTH),
        epilog=EPILOG,
        formatter_class=partial(argparse.RawDescriptionHelpFormatter, width=LINE_WIDTH),
        allow_abbrev=False,
    )
    # fmt: off
    add = result.add_argument_group("input").add_argument
    add("--ground-truth", required=True, metavar="SPEC", help=TRUTH_FORMS)
    add("--detections", required=True, nargs="+", action="extend", type=Path, metavar="PATH",
        help=f"{DETECTION_FORMS}; one for each detector")
    add("--names", nargs="+", action="extend", metavar="NAME",
        help="what to call the detectors (default: as their files, or the folders that tell them apart)")
    add("--images", type=Path, metavar="DIR",
        help="folder of the photographs, for the pictures (default: JPEGImages of the year folder)")
    add("--similar", metavar="voc|coco|none|FILE.yaml",
        help="which classes are similar; a file holds 'similar: [[cat, dog], [bus, car]]' (default: what the "
        "ground truth says: VOC's groups for VOC, supercategories for COCO)")
    add("--box-format", choices=BOX_FORMATS,
        help="what the four numbers of a detection's box are: corners; left, top, width, height; or centre, "
        "width, height (default: as usual in the format; in a table, as the columns are called)")
    add("--normalized", action="store_true", help="boxes of detections are fractions of their image's size")
    add("--pixels-from", type=int, choices=(0, 1), default=1,
        help="what VOC's XML calls the first pixel (default: %(default)s, as VOC does)")
    add("--lenient", action="store_true",
        help="drop detections, and annotations of COCO and YOLO, that cannot be used, and count them")
    add("--strict", action="store_true", help="treat every warning about the files as an error")
    add("--demo", action="store_true",
        help="instead of your own data, two detectors that come with this package, on drawn scenes; opens "
        "the page where there is a screen (default for --out: diagnosis-demo)")
    add = result.add_argument_group("what counts").add_argument
    add("--iou", type=float, default=CORRECT_IOU, metavar="T",
        help=f"smallest overlap of a correct detection, from {BACKGROUND_IOU} to 1 (default: %(default)s)")
    add("--top", metavar="N|Fx|all",
        help="how many of a class's best detections count: a number, a factor of its objects such as 2x, or "
        "all (default: as many as it has objects that are not difficult)")
    add("--max-detections", type=int, default=MAX_DETECTIONS, metavar="N",
        help="detections of an image that count for COCO's scores (of each class) and TIDE (of all), those "
        "of the highest scores (default: %(default)s)")
    add("--area-bins", nargs="+", metavar="SIDE",
        help="size bins of your own in place of each class's extra-small to extra-large: where one ends and "
        "the next begins, as the side of a square in pixels; 32 96 are COCO's small, medium, large")
    add("--bins", nargs="+", action="append", metavar=("NAME", "EDGE"),
        help="the same of another characteristic: its name (height, aspect_ratio, a column of numbers of the "
        "annotations), then the edges: --bins aspect_ratio 0.5 2; a value on an edge is in the lower bin")
    add("--replicates", type=int, default=REPLICATES, metavar="R",
        help="resamples of the images behind the intervals; 0: no intervals (default: %(default)s)")
    add("--group", nargs="+", action="append", metavar="NAME",
        help="runs of one model, seeds for instance: a name for the group, then the names of its detectors")
    add = result.add_argument_group("output").add_argument
    add("--out", required=True, type=Path, metavar="DIR", help="folder to write to")
    add("--figures", nargs="*", choices=FIGURE_FORMATS, metavar="png|svg|pdf",
        help="also write every figure and the sheet of examples, in these formats (without one: png svg)")
    add("--style", choices=("screen", "paper"), default="screen",
        help="of the figures; paper: 3.3 or 6.9 inches wide, no titles or notes, PDF (default: screen)")
    add("--sheet", choices=("differ", "first"), default="differ",
        help="images on the sheet of examples: where the detectors differ, or the first (default: differ)")
    add("--no-figures", action="store_true", help="write the numbers and tables alone, without the page")
    add("--open", action="store_true", help="open the page in the browser")
    add("--verbose", action="store_true", help="print all tables and sentences, those of summary.txt")
    add("--processes", type=int, metavar="N",
        help="processes that read, resample and draw (default: the cores of this machine)")
    # fmt: on
    return result


def parse_top(text: str | None) -> Top:
    """Which detections count: ``100`` of each class, ``2x`` as many as it has objects, or ``all``.

    Examples
    --------
    >>> parse_top("100"), parse_top("0.5x"), parse_top("all"), parse_top(None)
    (100, 0.5, 'all', None)
    """
    if text is None or text == "all":
        return text
    try:
        top = float(text[:-1]) if text.endswith("x") else int(text)
    except ValueError:
        top = -1
    if not 0 < top < float("inf"):
        raise InputError("--top", repr(text), "a positive number (100), a factor of the objects (2x), or all")
    return top


def parse_groups(given: Sequence[Sequence[str]] | None) -> dict[str, list[str]] | None:
    """The groups of ``--group NAME RUN RUN …``, by name."""
    groups: dict[str, list[str]] = {}
    for name, *runs in given or ():
        if not runs:
            raise InputError("--group", f"{name!r} alone", "a name for the group, then those of its runs")
        if name in groups:
            raise InputError("--group", f"{name!r} twice", "each group once")
        groups[name] = runs
    return groups or None


def parse_bins(
    areas: Sequence[str] | None, others: Sequence[Sequence[str]] | None, attributes: Sequence[str]
) -> dict[str, list[float]]:
    """Edges of bins by characteristic.

    Parameters
    ----------
    areas
        The words after ``--area-bins``: sides of squares in pixels, ``32 96`` for areas of 32² and 96².
        A 0 at the beginning and an ``inf`` at the end make no bin.
    others
        The words after each ``--bins``: a name, then edges.
    attributes
        Names of the columns that the annotations have.

    Raises
    ------
    InputError
        No edges, edges that are no numbers, do not rise or are not above 0; a characteristic that is not
        there, or twice.

    Examples
    --------
    >>> parse_bins(["0", "32", "96", "inf"], [["aspect_ratio", "0.5", "2"]], [])
    {'area': [1024.0, 9216.0], 'aspect_ratio': [0.5, 2.0]}
    """
    edges: dict[str, list[float]] = {}
    if areas is not None:
        edges["area"] = [side**2 for side in _parse_edges("--area-bins", areas, True)]
    known = list(dict.fromkeys([*MEASURES, *attributes]))
    for name, *texts in others or ():
        if name not in known:
            expected = f"a characteristic of the objects: {', '.join(known)}{hint(name, known)}"
            raise InputError("--bins", repr(name), expected)
        if name in edges:
            raise InputError("--bins", f"{name!r} twice", "the bins of each characteristic once")
        edges[name] = _parse_edges(f"--bins {name}", texts, name in MEASURES)
    return edges


def _parse_edges(option: str, texts: Sequence[str], positive: bool) -> list[float]:
    expected = "rising numbers, where one bin ends and the next begins, such as 32 96"
    try:
        numbers = [float(text) for text in texts]
    except ValueError:
        raise InputError(option, " ".join(texts), expected) from None
    if numbers and numbers[-1] == float("inf"):
        numbers = numbers[:-1]
    if positive and numbers and numbers[0] == 0:
        numbers = numbers[1:]
    rise = all(low < high for low, high in itertools.pairwise(numbers))
    if not numbers or not rise or not all(map(math.isfinite, numbers)):
        raise InputError(option, " ".join(texts) or "no edges", expected)
    if positive and numbers[0] <= 0:
        raise InputError(option, " ".join(texts), f"numbers above 0: {expected}")
    return numbers


def name_detectors(paths: Sequence[Path], names: Sequence[str] | None) -> list[str]:
    """The names given, or those of the files; each once.

    A folder ``detections`` or ``labels`` is called as the one it is in, and so are files or folders of one
    name: as the nearest folders by which they differ.

    Raises
    ------
    InputError
        If there are more or fewer names than detectors, or two detectors share one.

    Examples
    --------
    >>> name_detectors([Path("runs/a/detections"), Path("runs/b/detections"), Path("darknet")], None)
    ['a', 'b', 'darknet']
    >>> name_detectors([Path("a/fold1/best"), Path("b/fold1/best")], None)
    ['a', 'b']
    """
    chosen = list(names) if names else _tell_apart([_possible_names(path) for path in paths])
    if len(chosen) != len(paths):
        raise InputError("--names", f"{len(chosen)}", f"{len(paths)}, one for each --detections")
    for name in chosen:
        if not name.strip():
            raise InputError("--names", repr(name), "a name that is not blank")
        if chosen.count(name) > 1:
            raise InputError("--names", f"{name!r} twice", "a name of its own for each detector")
    return chosen


def _possible_names(path: Path) -> list[str]:
    """The name of a file or folder, then those of the folders it is in."""
    whole = path.resolve()
    names = [whole.stem if whole.is_file() else whole.name, *(folder.name for folder in whole.parents)]
    names = [name for name in names if name] or ["detections"]
    return names[1:] if names[0] in COMMON_FOLDERS and not whole.is_file() and len(names) > 1 else names


def _tell_apart(candidates: Sequence[Sequence[str]]) -> list[str]:
    """The first name of each; where several share one, theirs from the first level on which all differ."""
    first = [names[0] for names in candidates]
    for level in range(max(map(len, candidates))):
        trial = [
            names[min(level, len(names) - 1)] if first.count(names[0]) > 1 else names[0]
            for names in candidates
        ]
        if len(set(trial)) == len(trial):
            return trial
    return first


def with_images(truth: GroundTruth, folder: Path | str) -> GroundTruth:
    """The same ground truth with its image files taken from `folder`, or from folders within it.

    Raises
    ------
    InputError
        If an image of the set is not there, or there are two of its name in folders of equal depth.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise InputError("--images", f"no folder {folder}", "a folder with the images of the set")
    files = [file for file in folder.rglob("*") if file.suffix.lower() in IMAGE_SUFFIXES]
    # By name without ending, both with the folders within `folder` and without.
    present: dict[str, list[Path]] = {}
    for file in sorted(files, key=lambda file: (len(file.parts), file)):
        for name in {file.stem, file.relative_to(folder).as_posix().removesuffix(file.suffix)}:
            first = present.setdefault(name, [file])[0]
            # Of a.jpg and a.png the former counts, of a.jpg and more/a.jpg also.
            if len(file.parts) == len(first.parts) and file.parent != first.parent:
                present[name].append(file)
    for image in truth.images:
        found = present.get(image, [])
        if not found:
            suffixes = ", ".join(IMAGE_SUFFIXES[:3])
            raise InputError(folder, f"no image {image!r}", f"every image of the set, as {suffixes}")
        if len(found) > 1:
            raise InputError(folder, f"both {found[0]} and {found[1]}", f"one image {image!r}")
    return dataclasses.replace(truth, files=tuple(str(present[image][0]) for image in truth.images))


def missing_photographs(truth: GroundTruth) -> str:
    """Why the image files of the ground truth are not all at hand; empty where they are.

    Examples
    --------
    >>> missing_photographs(GroundTruth(["a"], ["dog"], [[9, 9]], [], [], [], files=["absent/a.jpg"]))
    'none at absent'
    """
    if not truth.files:
        return "none given"
    missing = [file for file in truth.files if not is_file(Path(file))]
    if len(missing) == len(truth.files):
        return f"none at {Path(missing[0]).parent}"
    plural = "photograph" if len(missing) == 1 else "photographs"
    return f"{len(missing):,} {plural} missing, first {missing[0]}" if missing else ""
