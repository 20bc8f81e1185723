"""Figures of a diagnosis, by matplotlib: each is a function in the file of its family and a row of `FIGURES`.

Figures draw what :class:`diagnosis.record.Diagnosis` and :class:`diagnosis.compare.Comparison` hold, and
compute no analysis of their own.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import Any, Literal, NamedTuple

from matplotlib.figure import Figure

from diagnosis.compare import Comparison
from diagnosis.figures.breakdown import average_precision, bars, group_pies, pies
from diagnosis.figures.characteristics import sensitivity, size
from diagnosis.figures.compare import class_differences, differences, flow, intervals
from diagnosis.figures.curves import precision_recall, reliability
from diagnosis.figures.examples import save_sheet
from diagnosis.figures.impact import false_positives, impact_bars, rank, tide
from diagnosis.figures.matrices import confusion, tide_confusion
from diagnosis.figures.style import check_comparable, save_figure
from diagnosis.record import Diagnosis

__all__ = ["FIGURES", "Illustration", "illustrations", "save_figures", "save_illustrations", "save_sheet"]

Subject = Literal["detectors", "groups", "comparison", "differences", "pair", "detector"]
"""What one figure shows.

``detectors``: all of them. ``groups``: the same, left out where no classes are similar. ``detector``: one, so
there is a figure for each. ``comparison``: the intervals of all. ``differences``: the same, left out for one
detector. ``pair``: the first and a further one, so there is a figure for each further one.
"""


class FigureKind(NamedTuple):
    """A row of :data:`FIGURES`."""

    file: str
    """Name of its files, without suffix; where there is one a detector, its number is added."""
    subject: Subject
    title: str
    caption: str
    draw: Callable[..., Figure]


RESAMPLES = "{replicates:,} resamples of {images:,} images"
PAIRED = f"In percentage points, paired: the same {RESAMPLES} for all detectors."

FIGURES: tuple[FigureKind, ...] = (
    FigureKind("error_pies", "detectors", "Shares of the error types", "", pies),
    FigureKind("error_bars", "detectors", "Shares of the error types by class", "", bars),
    FigureKind("ap", "detectors", "AP by class", "", average_precision),
    FigureKind(
        "tide", "detectors", "What fixing each error would gain",
        "TIDE's six errors, each fixed on its own, in points of AP.", tide,
    ),
    FigureKind(
        "error_groups", "groups", "Shares of the error types by group of similar classes", "",
        group_pies,
    ),
    FigureKind(
        "intervals", "comparison", "Shares and AP with intervals",
        f"Intervals of {{level:g}} %: {RESAMPLES}.", intervals,
    ),
    FigureKind("differences", "differences", "Differences from {first}", PAIRED, differences),
    FigureKind(
        "class_differences", "differences",
        "Localization errors by class: differences from {first}", PAIRED, class_differences,
    ),
    FigureKind(
        "flow", "pair", "From {first} to {name}",
        "What became of each object that counts, judged by the top detections of each class.",
        flow,
    ),
    FigureKind(
        "impact", "detector", "What each error type costs {name}",
        "Points of Hoiem's AP, class mean.", impact_bars,
    ),
    FigureKind(
        "detection_trend", "detector", "Error mix of {name} by rank",
        "Shares of the top detections; N is the number of a class's objects.",
        rank,
    ),
    FigureKind(
        "false_positive_trend", "detector", "False positives of {name} by rank",
        "Shares of the first false positives.", false_positives,
    ),
    FigureKind(
        "sensitivity", "detector", "What {name} is sensitive to",
        "APn of the worst and the best bin, class mean.",
        sensitivity,
    ),
    FigureKind(
        "area", "detector", "Which objects {name} finds, by their size",
        "APn by box area, from the smallest tenth (XS) to the largest (XL).",
        size,
    ),
    FigureKind(
        "confusion", "detector", "Which class {name} takes for which",
        "Rows: what is there; columns: what was found.", confusion,
    ),
    FigureKind(
        "tide_confusion", "detector", "Which class {name} takes for which, by TIDE",
        "Rows: what is there; columns: what was found. The top detections of each class. Several may be on "
        "one object, so a row may add up to more than its objects.",
        tide_confusion,
    ),
    FigureKind(
        "precision_recall", "detectors", "Precision over recall",
        "By class, matched as VOC's devkit does; difficult objects count neither way.", precision_recall,
    ),
    FigureKind(
        "reliability", "detectors", "Precision over score",
        "On the diagonal a score is the probability of a correct detection.", reliability,
    ),
)  # fmt: skip
"""All figures; the rows of one subject stay side by side, to be drawn one after the other."""


class Illustration(NamedTuple):
    """A figure that is drawn when it is asked for; see :class:`FigureKind` for its texts."""

    file: str
    title: str
    caption: str
    draw: Callable[[], Figure]


def illustrations(diagnoses: Sequence[Diagnosis], comparison: Comparison | None = None) -> list[Illustration]:
    """All figures, by subject in the order of :data:`FIGURES`.

    Parameters
    ----------
    diagnoses
        One or several detectors on the same ground truth.
    comparison
        Their comparison, for the figures that show intervals.
    """
    check_comparable(diagnoses)
    numbered, grouped = list(enumerate(diagnoses, 1)), len(diagnoses[0].groups) > 1
    # For each subject what to draw: the ending of the file's name, the arguments, words for the texts.
    subjects: dict[Subject, list[tuple[str, Sequence[Any], dict[str, Any]]]] = {
        "detectors": [("", diagnoses, {})],
        "groups": [("", diagnoses, {})] if grouped else [],
        "detector": [
            (f"_{number}" if len(diagnoses) > 1 else "", [one], {"name": one.name})
            for number, one in numbered
        ],
    }
    if comparison is not None:
        words = {
            "level": 100 * comparison.level, "replicates": comparison.replicates, "images": comparison.images,
            "first": comparison.names[0],
        }  # fmt: skip
        subjects["comparison"] = [("", [comparison], words)]
        if len(comparison.names) > 1:
            subjects["differences"] = subjects["comparison"]
            subjects["pair"] = [
                (f"_{number}", (diagnoses[0], one), {"first": diagnoses[0].name, "name": one.name})
                for number, one in numbered[1:]
            ]
    chosen = []
    for subject, kinds in groupby(FIGURES, lambda kind: kind.subject):
        rows = list(kinds)
        for ending, arguments, words in subjects.get(subject, ()):
            for kind in rows:
                title, caption = kind.title.format(**words), kind.caption.format(**words)
                draw = partial(kind.draw, *arguments)
                chosen.append(Illustration(kind.file + ending, title, caption, draw))
    return chosen


def save_illustrations(
    chosen: Sequence[Illustration], folder: Path, formats: Sequence[str] = ("png", "svg")
) -> list[Path]:
    """Write figures as PNG and SVG, or in other `formats`, and return the files.

    Raises
    ------
    InputError
        The folder cannot be written to.
    """
    written = []
    for illustration in chosen:
        figure = illustration.draw()
        written += [save_figure(figure, folder / f"{illustration.file}.{kind}") for kind in formats]
    return written


def save_figures(diagnoses: Sequence[Diagnosis], out_dir: Path) -> list[Path]:
    """Write ``error_pies``, ``error_bars`` and ``ap``, each as PNG and SVG, and return the files.

    Raises
    ------
    InputError
        No detector, detectors on different ground truths, or a folder that cannot be written to.
    """
    wanted = ("error_pies", "error_bars", "ap")
    return save_illustrations([one for one in illustrations(diagnoses) if one.file in wanted], out_dir)
