"""Every figure of a diagnosis: what it is called, what it says, and in which part of the report it stands."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from matplotlib.figure import Figure

from diagnosis.compare import Comparison
from diagnosis.figures.plots import ap_dots, class_bars, pies
from diagnosis.figures.plots_characteristics import characteristic_by_class, sensitivity_chart
from diagnosis.figures.plots_compare import class_differences, differences, intervals
from diagnosis.figures.plots_curves import confusion_heatmap, precision_recall, reliability
from diagnosis.figures.plots_flow import flow_sankey
from diagnosis.figures.plots_groups import group_pies
from diagnosis.figures.plots_impact import detection_areas, false_positive_areas, impact_bars
from diagnosis.figures.plots_tide import tide_summary
from diagnosis.figures.plots_tide_confusion import confusion
from diagnosis.figures.style import save_figure
from diagnosis.flow import flow
from diagnosis.record import Diagnosis

__all__ = ["Illustration", "illustrations", "save_illustrations"]


class Illustration(NamedTuple):
    """A figure that is drawn when it is asked for."""

    file: str
    """Name of its files, without suffix."""
    section: str
    """Of the report, a key of :data:`diagnosis.report.SECTIONS`; empty: the report has its own drawing."""
    title: str
    caption: str
    draw: Callable[[], Figure]


def illustrations(diagnoses: Sequence[Diagnosis], comparison: Comparison | None = None) -> list[Illustration]:
    """All figures, in the order of the report.

    Parameters
    ----------
    diagnoses
        One or several detectors on the same ground truth.
    comparison
        Their bootstrap, for the figures that show intervals.
    """
    chosen = [
        Illustration("error_pies", "", "The five shares", "", lambda: pies(diagnoses)),
        Illustration("error_bars", "", "The five shares by class", "", lambda: class_bars(diagnoses)),
        Illustration("ap", "", "Average precision by class", "", lambda: ap_dots(diagnoses)),
        Illustration(
            "tide", "", "What fixing each error would gain",
            "TIDE's six errors, each fixed on its own, in points of average precision.",
            lambda: tide_summary({diagnosis.name: diagnosis.tide for diagnosis in diagnoses}),
        ),
    ]  # fmt: skip
    if len(diagnoses[0].groups) > 1:
        title = "The five shares by group of similar classes"
        chosen.append(Illustration("error_groups", "groups", title, "", lambda: group_pies(diagnoses)))
    if comparison is not None:
        chosen += _compared(diagnoses, comparison)
    for number, diagnosis in enumerate(diagnoses, 1):
        chosen += _of_one(diagnosis, f"_{number}" if len(diagnoses) > 1 else "")
    chosen += [
        Illustration(
            "precision_recall", "curves", "Precision over recall",
            "By class, matched as VOC's devkit does; difficult objects count neither way.",
            lambda: precision_recall(diagnoses),
        ),
        Illustration(
            "reliability", "calibration", "Precision over score",
            "On the diagonal a score is the probability of a correct detection.",
            lambda: reliability(diagnoses),
        ),
    ]  # fmt: skip
    return chosen


def _compared(diagnoses: Sequence[Diagnosis], comparison: Comparison) -> list[Illustration]:
    resampled = f"{comparison.replicates:,} resamples of {comparison.images:,} images"
    chosen = [
        Illustration(
            "intervals", "", "Shares and average precision with intervals",
            f"Intervals of {100 * comparison.level:g} %: {resampled}.", lambda: intervals(comparison),
        )
    ]  # fmt: skip
    if len(comparison.names) == 1:
        return chosen
    first = comparison.names[0]
    chosen += [
        Illustration(
            "differences", "", f"Differences from {first}",
            f"In percentage points, paired: the same {resampled} for all detectors.",
            lambda: differences(comparison),
        ),
        Illustration(
            "class_differences", "comparison", f"Localization errors by class: differences from {first}",
            f"In percentage points, paired: the same {resampled} for all detectors.",
            lambda: class_differences(comparison),
        ),
    ]  # fmt: skip
    for number, other in enumerate(diagnoses[1:], 2):
        chosen.append(
            Illustration(
                f"flow_{number}", "flow", f"From {diagnoses[0].name} to {other.name}",
                "What became of each object that counts, judged by the top detections of each class.",
                lambda other=other: flow_sankey(flow(diagnoses[0], other)),  # type: ignore[misc]
            )
        )  # fmt: skip
    return chosen


def _of_one(diagnosis: Diagnosis, suffix: str) -> list[Illustration]:
    name, groups = diagnosis.name, diagnosis.groups

    return [
        Illustration(
            f"impact{suffix}", "groups" if len(groups) > 1 else "", f"What each error type costs {name}",
            "Points of Hoiem's average precision, averaged over the classes.",
            lambda: impact_bars(diagnosis.impact, groups, name=name),
        ),
        Illustration(
            f"detection_trend{suffix}", "trends", f"What the top detections of {name} are",
            "Shares of the surest detections, the deeper one looks; N is the number of a class's objects.",
            lambda: detection_areas(diagnosis.detection_trend, groups, name=name),
        ),
        Illustration(
            f"false_positive_trend{suffix}", "trends", f"What the first false positives of {name} are",
            "Shares of the surest false positives, the deeper one looks.",
            lambda: false_positive_areas(diagnosis.false_positive_trends, name=name),
        ),
        Illustration(
            f"sensitivity{suffix}", "characteristics", f"What {name} is sensitive to",
            "Normalised average precision of the worst and the best bin, averaged over classes.",
            lambda: sensitivity_chart(diagnosis.sensitivity, name=name),
        ),
        Illustration(
            f"area{suffix}", "", f"Which objects {name} finds, by their size",
            "Normalised average precision by box area, from the smallest tenth (XS) to the largest (XL).",
            lambda: characteristic_by_class(diagnosis.characteristics, "area", name=name),
        ),
        Illustration(
            f"confusion{suffix}", "confusion", f"Which class {name} takes for which",
            "Rows: what is there; columns: what was found.",
            lambda: confusion_heatmap(diagnosis.confusion, name),
        ),
        Illustration(
            f"tide_confusion{suffix}", "", f"Which class {name} takes for which, by TIDE",
            "Rows: class of the detection; columns: of the object. The surest detections of each class.",
            lambda: confusion(name, diagnosis.tide),
        ),
    ]  # fmt: skip


def save_illustrations(chosen: Sequence[Illustration], folder: Path) -> list[Path]:
    """Write figures as PNG and SVG, and return the files.

    Raises
    ------
    InputError
        The folder cannot be written to.
    """
    written = []
    for illustration in chosen:
        figure = illustration.draw()
        written += [save_figure(figure, folder / f"{illustration.file}.{kind}") for kind in ("png", "svg")]
    return written
