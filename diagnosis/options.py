"""The options of ``python -m diagnosis``."""

from __future__ import annotations

import argparse
import difflib
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from diagnosis import inputs
from diagnosis.breakdown import STRONG, WEAK

__all__ = ["REPLICATES", "Parser", "parser"]

REPLICATES = 1000
NEAR, SHORT = 0.7, 2  # how like an option has to be to be named; letters that are too few to go by

EPILOG = """\
a table of detections (.csv, .parquet) has the columns
  image   or image_name, file_name: with or without folder and extension; or image_id: COCO's id
  class   or label, class_name, category: the name; or category_id: COCO's; or class_id: from 0
  score   or confidence, conf
  xmin ymin xmax ymax   or x1 y1 x2 y2, or x y width height: continuous pixels from 0
detections.parquet, which is written, has a row for each detection:
  detector image class score xmin ymin xmax ymax
  rank            place among the detector's detections of the class, from 1
  counted         whether it is among those that the breakdown counts
  error_type      correct, localization, similar, other, background
  duplicate       a localization error only because a surer detection has the object
  overlap         IoU with the object that it has to do with
  object          row of that object in the ground truth, from 0; object_class: its class
  confused_with   the class it was taken for; difficult: whether the object is difficult or a crowd
  coco_image_id coco_annotation_id   what COCO's file calls image and object

example: python -m diagnosis --ground-truth VOCdevkit/VOC2007:test \\
  --detections results/plain --detections results/shuffled --names plain shuffled --out report
"""


class Parser(argparse.ArgumentParser):
    """Says what is wrong in one line, and which option was probably meant."""

    def error(self, message: str) -> NoReturn:
        """Print ``error: …`` and leave with code 2."""
        end = "" if "--help" in message else "; see --help"
        print(f"error: {message}{end}", file=sys.stderr)
        sys.exit(2)

    def parse(self, arguments: Sequence[str]) -> argparse.Namespace:
        """The options; an unknown one is answered with the nearest known, before any other fault."""
        known = [name for name in self._option_string_actions if name.startswith("--")]
        for word in arguments:
            option = word.split("=")[0]
            if option.startswith("--") and option not in known:
                self.error(
                    f"{option}: found no such option; expected one of those in --help{nearest(option, known)}"
                )
        options, rest = self.parse_known_args(arguments)
        if rest:
            self.error(f"{rest[0]}: found a word that no option takes; expected those in --help")
        return options


def nearest(option: str, known: Sequence[str]) -> str:
    """``; did you mean …?`` with the known option that is most like it, or nothing where none is near.

    Examples
    --------
    >>> nearest("--detection", ["--detections", "--names"]), nearest("--truth", ["--ground-truth"])
    ('; did you mean --detections?', '; did you mean --ground-truth?')
    >>> nearest("--frobnicate", ["--replicates", "--names"])
    ''
    """
    word, names = option[2:].replace("_", "-"), [name[2:] for name in known]
    found = difflib.get_close_matches(word, names, n=1, cutoff=NEAR)
    if not found and len(word) > SHORT:
        found = [name for name in names if word in name.split("-") or name.startswith(word)]
    return f"; did you mean --{found[0]}?" if found else ""


def parser() -> Parser:
    """All options."""
    result = Parser(
        prog="python -m diagnosis",
        description="Break down the errors of one or several detectors as Hoiem et al. (ECCV 2012) do: "
        "correct, localization,\nsimilar, other, background. Writes a web page, figures, tables and numbers.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
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
        "--area-bins",
        nargs="+",
        metavar="SIDE",
        help="size bins of your own in place of each class's extra-small to extra-large: where one ends and "
        "the next begins, as the side of a square in pixels; 32 96 are COCO's small, medium, large",
    )
    add(
        "--bins",
        nargs="+",
        action="append",
        metavar=("NAME", "EDGE"),
        help="the same of another characteristic: its name (height, aspect_ratio, a column of numbers of the "
        "annotations), then the edges: --bins aspect_ratio 0.5 2; a value on an edge falls below it",
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
