"""Figures for notebooks and papers: each function returns a Matplotlib figure.

``pies(d)``, or ``pies(a, b)`` where several detectors fit into one figure. Save them with
:func:`diagnosis.figures.style.save_figure` or ``figure.savefig("pies.pdf")``. Figures that are drawn and
saved within ``with drawing_style("paper"):``, of the same module, have no titles and explanations and are 3.3
or 6.9 inches wide. No detector, or detectors on different ground truths, is an
:class:`~data.records.InputError`.

Examples
--------
>>> from data.records import Detections, GroundTruth
>>> from diagnosis import diagnose, plot
>>> truth = GroundTruth(["a"], ["dog"], [[90, 90]], [0], [0], [[0, 0, 9, 9]])
>>> d = diagnose(truth, Detections(["a"], ["dog"], [0], [0], [0.9], [[0, 0, 9, 8]]))
>>> plot.pies(d).savefig("pies.pdf")  # doctest: +SKIP
"""

from diagnosis.figures.breakdown import average_precision, bars, group_pies, pies
from diagnosis.figures.characteristics import sensitivity, size
from diagnosis.figures.compare import class_differences, differences, flow, intervals
from diagnosis.figures.curves import precision_recall, reliability
from diagnosis.figures.examples import examples
from diagnosis.figures.gallery import gallery
from diagnosis.figures.impact import false_positives, impact_bars, rank, tide
from diagnosis.figures.matrices import confusion, tide_confusion

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
