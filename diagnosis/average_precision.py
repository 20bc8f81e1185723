"""Average precision, in the five ways in which detectors are scored.

* VOC 2007's mean over 11 recalls and VOC 2010's area under the curve, matched as the devkit does.
* Hoiem's average precision and its normalised form, matched and defined as in his tool (rules, section 1).
* COCO's, at IoU 0.5 and from 0.5 to 0.95, equal to pycocotools (see :mod:`diagnosis.coco`).

A class without objects has no average precision (NaN); one whose objects are all missed has 0.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from data.records import Detections, GroundTruth
from diagnosis.assignment import Assignment, assign, assign_devkit
from diagnosis.coco import coco_average_precision
from diagnosis.hoiem import (
    NORMAL_SHARE,
    HoiemAP,
    hoiem_ap,
    hoiem_scores,
    normal_objects,
    ranked_hits,
)
from diagnosis.matching import Matching, match

__all__ = [
    "AP_KINDS",
    "NORMAL_SHARE",
    "APTable",
    "Curve",
    "HoiemAP",
    "area_ap",
    "average_precision",
    "curve",
    "hoiem_ap",
    "precision_recall_curve",
    "voc07_ap",
]

AP_KINDS = ("voc07", "area", "coco", "coco50", "hoiem", "normalized")
"""Names of the columns of an :class:`APTable`."""


@dataclass(frozen=True, eq=False)
class Curve:
    """Precision and recall after each counted detection of a class, best first.

    Parameters
    ----------
    recall, precision
        ``(n,)`` fractions.
    rows
        ``(n,)`` the detections, as indices into the record; don't-care detections are left out.
    """

    recall: NDArray[np.float64]
    precision: NDArray[np.float64]
    rows: NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class APTable:
    """Average precision of C classes; NaN where there is none.

    Parameters
    ----------
    classes
        Names of the classes.
    objects
        ``(C,)`` number of objects that are not difficult.
    voc07, area
        ``(C,)`` VOC's 11-point mean and area under the curve.
    coco, coco50
        ``(C,)`` COCO's, for IoU 0.5 to 0.95 and for 0.5.
    hoiem, normalized
        ``(C,)`` Hoiem's, plain and normalised.
    """

    classes: tuple[str, ...]
    objects: NDArray[np.int64]
    voc07: NDArray[np.float64]
    area: NDArray[np.float64]
    coco: NDArray[np.float64]
    coco50: NDArray[np.float64]
    hoiem: NDArray[np.float64]
    normalized: NDArray[np.float64]

    def mean(self) -> dict[str, float]:
        """Mean over the classes with objects, by kind (:data:`AP_KINDS`); NaN if no class has any."""
        return {kind: _mean(getattr(self, kind)) for kind in AP_KINDS}


def _mean(values: NDArray[np.float64]) -> float:
    defined = values[~np.isnan(values)]
    return float(defined.mean()) if defined.size else float("nan")


def average_precision(
    truth: GroundTruth,
    detections: Detections,
    matching: Matching | None = None,
    *,
    iou: float = 0.5,
    coco: bool = True,
) -> APTable:
    """All kinds of average precision of each class.

    Parameters
    ----------
    truth, detections
        Of the same images and classes.
    matching
        Their overlaps, if :func:`diagnosis.matching.match` has been called already.
    iou
        Smallest IoU of a true positive, for all kinds but COCO's, which have their own.
    coco
        Whether to compute COCO's; NaN otherwise.

    Examples
    --------
    >>> truth = GroundTruth(["a"], ["dog", "cat"], [[90, 90]], [0], [0], [[0, 0, 9, 9]])
    >>> found = Detections(["a"], ["dog", "cat"], [0, 0], [0, 0], [0.9, 0.8], [[50, 0, 60, 9], [0, 0, 9, 9]])
    >>> table = average_precision(truth, found, coco=False)
    >>> table.area.tolist(), table.mean()["area"]
    ([0.5, nan], 0.5)
    """
    if matching is None:
        matching = match(truth, detections)
    objects = matching.objects
    devkit = assign_devkit(matching, iou)
    ranked = assign(matching, iou).labels[matching.order]
    hoiem = hoiem_scores(ranked, matching.class_start, objects, normal_objects(len(truth.images)))
    columns = {kind: np.full(len(truth.classes), np.nan) for kind in AP_KINDS}
    labels = devkit.labels[matching.order]
    hits = ranked_hits(labels, matching.class_start)
    false = hits.above(labels == -1)
    for label in np.flatnonzero(objects):  # its true positives alone: both scores are told by them
        run = slice(hits.start[label], hits.start[label + 1])
        true = np.arange(1, len(false[run]) + 1)
        precision = true / (true + false[run])
        columns["voc07"][label] = voc07_ap(true / objects[label], precision)
        columns["area"][label] = area_ap(true / objects[label], precision)
    columns["hoiem"], columns["normalized"] = hoiem.ap, hoiem.apn
    if coco:
        columns["coco"], columns["coco50"] = coco_average_precision(truth, detections, matching)
    return APTable(truth.classes, objects, **columns)


def precision_recall_curve(matching: Matching, label: int, iou: float = 0.5) -> Curve:
    """Precision over recall of class `label`, matched as VOC's devkit does.

    Recall is NaN throughout if the class has no objects.
    """
    return curve(matching, assign_devkit(matching, iou), label)


def curve(matching: Matching, assignment: Assignment, label: int) -> Curve:
    """Precision over recall of class `label` for labels that are at hand."""
    rows = matching.ranked(label)
    rows = rows[assignment.labels[rows] != 0]
    true = np.cumsum(assignment.labels[rows] == 1)
    objects = int(matching.objects[label])
    recall = true / objects if objects else np.full(len(rows), np.nan)
    return Curve(recall, true / np.arange(1, len(rows) + 1), rows)


def voc07_ap(recall: NDArray[np.float64], precision: NDArray[np.float64]) -> float:
    """VOC 2007: mean of the largest precision at recall r or beyond, for r = 0, 0.1, … 1.

    The recalls are the multiples of 0.1 in floating point, as in the devkit: a recall of just 3/10 lies
    below the fourth of them, 0.30000000000000004.

    Examples
    --------
    >>> score = voc07_ap(np.array([0.5, 0.5, 1.0]), np.array([1.0, 0.5, 2 / 3]))
    >>> round(score, 6), round((6 + 5 * 2 / 3) / 11, 6)  # six recalls up to 0.5, five beyond
    (0.848485, 0.848485)
    """
    best = np.append(_best_from(precision), 0.0)  # 0 where the recall is never reached
    reached = np.searchsorted(recall, np.arange(11) * 0.1, side="left")
    return float(best[reached].mean())


def area_ap(recall: NDArray[np.float64], precision: NDArray[np.float64]) -> float:
    """VOC 2010 and later: area under the curve, precision made to fall with recall.

    Examples
    --------
    >>> area_ap(np.array([0.5, 0.5, 1.0]), np.array([1.0, 0.5, 2 / 3])) == (1 + 2 / 3) / 2
    True
    """
    return float(np.sum(np.diff(recall, prepend=0.0) * _best_from(precision)))


def _best_from(precision: NDArray[np.float64]) -> NDArray[np.float64]:
    """The largest precision from each place on."""
    return np.maximum.accumulate(precision[::-1])[::-1]
