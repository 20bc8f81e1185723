"""Figures of a diagnosis, by matplotlib: each is a function in the file of its family and a row of `FIGURES`.

Figures draw what :class:`diagnosis.record.Diagnosis` and :class:`diagnosis.compare.Comparison` hold, and
compute no analysis of their own.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from functools import partial
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
    draw: Callable[..., Figure]


FIGURES: tuple[FigureKind, ...] = (
    FigureKind("error_pies", "detectors", "Shares of the error types", pies),
    FigureKind("error_bars", "detectors", "Shares of the error types by class", bars),
    FigureKind("ap", "detectors", "AP by class", average_precision),
    FigureKind("tide", "detectors", "What fixing each error would gain", tide),
    FigureKind("error_groups", "groups", "Shares of the error types by group of similar classes", group_pies),
    FigureKind("intervals", "comparison", "Shares and AP with intervals", intervals),
    FigureKind("differences", "differences", "Differences from {first}", differences),
    FigureKind(
        "class_differences",
        "differences",
        "Localization errors by class: differences from {first}",
        class_differences,
    ),
    FigureKind("flow", "pair", "From {first} to {name}", flow),
    FigureKind("impact", "detector", "What each error type costs {name}", impact_bars),
    FigureKind("detection_trend", "detector", "Error mix of {name} by rank", rank),
    FigureKind("false_positive_trend", "detector", "False positives of {name} by rank", false_positives),
    FigureKind("sensitivity", "detector", "What {name} is sensitive to", sensitivity),
    FigureKind("area", "detector", "Which objects {name} finds, by their size", size),
    FigureKind("confusion", "detector", "Which class {name} takes for which", confusion),
    FigureKind("tide_confusion", "detector", "Which class {name} takes for which, by TIDE", tide_confusion),
    FigureKind("precision_recall", "detectors", "Precision over recall", precision_recall),
    FigureKind("reliability", "detectors", "Precision over score", reliability),
)
"""All figures; the rows of one subject stay side by side, to be drawn one after the other."""


class Illustration(NamedTuple):
    """A figure that is drawn when it is asked for."""

    file: str
    title: str
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
    # For each subject what to draw: the ending of the file's name, the arguments, words for the title.
    subjects: dict[Subject, list[tuple[str, Sequence[Any], dict[str, Any]]]] = {
        "detectors": [("", diagnoses, {})],
        "groups": [("", diagnoses, {})] if grouped else [],
        "detector": [
            (f"_{number}" if len(diagnoses) > 1 else "", [one], {"name": one.name})
            for number, one in numbered
        ],
    }
    if comparison is not None:
        words = {"first": comparison.names[0]}
        subjects["comparison"] = [("", [comparison], words)]
        if len(comparison.names) > 1:
            subjects["differences"] = [("", [comparison], words)]
            subjects["pair"] = [
                (f"_{number}", (diagnoses[0], one), {"first": diagnoses[0].name, "name": one.name})
                for number, one in numbered[1:]
            ]
    return [
        Illustration(kind.file + ending, kind.title.format(**words), partial(kind.draw, *arguments))
        for subject, kinds in itertools.groupby(FIGURES, lambda kind: kind.subject)
        for (ending, arguments, words), kind in itertools.product(subjects.get(subject, ()), list(kinds))
    ]


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
