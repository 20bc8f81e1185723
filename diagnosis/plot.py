"""Figures for notebooks and papers: each function returns a Matplotlib figure.

``pies(d)``, or ``pies(a, b)`` where several detectors fit into one figure. Save them with
:func:`diagnosis.figures.style.save_figure` or ``figure.savefig("pies.pdf")``. Figures that are drawn and
saved within ``with drawing_style("paper"):``, of the same module, have no titles and explanations and are 3.3
or 6.9 inches wide.

Examples
--------
>>> from data.records import Detections, GroundTruth
>>> from diagnosis import diagnose, plot
>>> truth = GroundTruth(["a"], ["dog"], [[90, 90]], [0], [0], [[0, 0, 9, 9]])
>>> d = diagnose(truth, Detections(["a"], ["dog"], [0], [0], [0.9], [[0, 0, 9, 8]]))
>>> plot.pies(d).savefig("pies.pdf")  # doctest: +SKIP
"""

from __future__ import annotations

from collections.abc import Iterable

from matplotlib.figure import Figure

from diagnosis.compare import Comparison
from diagnosis.figures import breakdown, characteristics, curves, impact, matrices
from diagnosis.figures import compare as comparisons
from diagnosis.figures.examples import Choice, sheet
from diagnosis.figures.gallery import gallery
from diagnosis.flow import flow as flow_of
from diagnosis.record import Diagnosis

__all__ = [
    "average_precision",
    "bars",
    "class_differences",
    "confusion",
    "differences",
    "examples",
    "false_positives",
    "flow",
    "gallery",
    "group_pies",
    "impact_bars",
    "intervals",
    "pies",
    "precision_recall",
    "rank",
    "reliability",
    "sensitivity",
    "size",
    "tide",
    "tide_confusion",
]


def pies(*diagnoses: Diagnosis) -> Figure:
    """The shares of the error types as a pie for each detector (the paper's Figure 9)."""
    return breakdown.pies(diagnoses)


def group_pies(*diagnoses: Diagnosis) -> Figure:
    """The same for each group of similar classes."""
    return breakdown.group_pies(diagnoses)


def bars(*diagnoses: Diagnosis) -> Figure:
    """The shares of each class as stacked bars."""
    return breakdown.class_bars(diagnoses)


def average_precision(*diagnoses: Diagnosis) -> Figure:
    """Average precision of each class as dots."""
    return breakdown.ap_dots(diagnoses)


def tide(*diagnoses: Diagnosis) -> Figure:
    """What fixing each of TIDE's errors would gain."""
    return impact.tide_summary(diagnoses)


def precision_recall(*diagnoses: Diagnosis) -> Figure:
    """Precision over recall, a chart for each class."""
    return curves.precision_recall(diagnoses)


def reliability(*diagnoses: Diagnosis) -> Figure:
    """Precision over score."""
    return curves.reliability(diagnoses)


def impact_bars(diagnosis: Diagnosis) -> Figure:
    """What each error type costs in average precision."""
    return impact.impact_bars(diagnosis)


def rank(diagnosis: Diagnosis) -> Figure:
    """Error mix by rank."""
    return impact.detection_areas(diagnosis)


def false_positives(diagnosis: Diagnosis) -> Figure:
    """Error mix of the first false positives."""
    return impact.false_positive_areas(diagnosis)


def sensitivity(diagnosis: Diagnosis) -> Figure:
    """Average precision of the worst and the best bin of each characteristic."""
    return characteristics.sensitivity_chart(diagnosis)


def confusion(diagnosis: Diagnosis) -> Figure:
    """Which class is taken for which."""
    return matrices.confusion_heatmap(diagnosis)


def tide_confusion(diagnosis: Diagnosis) -> Figure:
    """Which class is taken for which, by TIDE."""
    return matrices.tide_confusion(diagnosis)


def size(diagnosis: Diagnosis, characteristic: str = "area") -> Figure:
    """Average precision by the size of the objects, or by another characteristic of theirs."""
    return characteristics.characteristic_by_class(diagnosis, characteristic)


def intervals(comparison: Comparison) -> Figure:
    """Shares and average precision with their intervals."""
    return comparisons.intervals(comparison)


def differences(comparison: Comparison) -> Figure:
    """Differences from the first detector, with intervals."""
    return comparisons.differences(comparison)


def class_differences(comparison: Comparison, quantity: str = "share/localization") -> Figure:
    """Differences of one quantity by class from the first detector, with intervals."""
    return comparisons.class_differences(comparison, quantity)


def flow(first: Diagnosis, second: Diagnosis) -> Figure:
    """What became of each object from one detector to the other."""
    return comparisons.flow_sankey(flow_of(first, second))


def examples(
    *diagnoses: Diagnosis,
    count: int = 12,
    image_names: Iterable[str] | None = None,
    choose: Choice = "differ",
) -> Figure:
    """The same photographs for each detector, boxes coloured by error type (the paper's Figure 8).

    `choose`: those on which the detectors ``differ``, or the ``first`` of the set.
    """
    return sheet(diagnoses, count, image_names, choose=choose)
