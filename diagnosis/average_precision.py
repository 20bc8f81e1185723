"""Average precision, in the ways in which detectors are scored, and where to cut a ranking.

* VOC 2007's mean over 11 recalls and VOC 2010's area under the curve, matched as the devkit does.
* COCO's, at IoU 0.5 and from 0.5 to 0.95 (:mod:`diagnosis.coco_ap`).
* Hoiem's average precision and its normalised form, matched and defined as in his tool (rules, section 1).

A class without objects has no average precision (NaN); one whose objects are all missed has 0. All are
functions of :class:`diagnosis.rankings.Hits`.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from data.records import Detections, GroundTruth
from diagnosis.breakdown import CORRECT_IOU
from diagnosis.coco_ap import MAX_DETECTIONS, coco_ap, coco_order, coco_outcomes
from diagnosis.matching import Assignment, Matching, assign, assign_devkit, match
from diagnosis.rankings import (
    AnyHits,
    AssumedObjects,
    Hits,
    Ranking,
    envelope,
    interpolated_precision,
    mean_over_classes,
    needed_hits,
    sum_of_runs,
)
from diagnosis.resampling import ImageWeights, ObjectCounter, Weights

__all__ = [
    "AP_KINDS",
    "NORMAL_SHARE",
    "RULES",
    "APKind",
    "APStatistic",
    "APTable",
    "HoiemScores",
    "OperatingPoint",
    "OperatingPoints",
    "PrecisionRecallCurve",
    "ThresholdCurve",
    "assumed_objects",
    "average_precision",
    "best_f1",
    "precision_recall_curve",
    "score_hits",
    "threshold_curve",
]

NORMAL_SHARE = 0.15
"""Normalised precision counts as if each class had this many objects an image (rules, section 1)."""

VOC07_RECALLS = np.arange(11, dtype=np.float64) * 0.1
"""The multiples of 0.1 in floating point, as in the devkit: a recall of just 3/10 is below the fourth of
them, 0.30000000000000004."""


# ---- Hoiem's ---------------------------------------------------------------------------------


class HoiemScores(NamedTuple):
    """Hoiem's average precision of many rankings, with its standard errors; all arrays are of one shape.

    NaN where a ranking has no objects, 0 where it has some and finds none (the tool gives NaN there).

    Parameters
    ----------
    objects
        Number of objects of each ranking, N_j.
    ap, apn
        Average precision, and the same of normalised precision.
    ap_stderr, apn_stderr
        Their standard errors over the objects.
    recall
        Share of the objects that are found.
    """

    objects: NDArray[np.int64]
    ap: NDArray[np.float64]
    apn: NDArray[np.float64]
    ap_stderr: NDArray[np.float64]
    apn_stderr: NDArray[np.float64]
    recall: NDArray[np.float64]

    def reshaped(self, *shape: int) -> HoiemScores:
        """The same numbers in another shape."""
        return HoiemScores._make(column.reshape(shape) for column in self)


def assumed_objects(images: float | NDArray[np.integer]) -> AssumedObjects:
    """N, how many objects of each class normalised precision assumes in so many images."""
    return NORMAL_SHARE * np.asarray(images, dtype=np.float64)


def score_hits(hits: Hits, objects: NDArray[np.int64], assumed: AssumedObjects) -> HoiemScores:
    """Hoiem's average precision of S rankings, ``(r, S)``; each hit counts once.

    Parameters
    ----------
    hits
        The hits of S rankings, in r variants.
    objects, assumed
        ``(S,)`` number of objects of each ranking; that which normalised precision supposes, N.
    """
    found, number = np.diff(hits.start), np.maximum(objects, 1)
    columns: list[NDArray[np.float64]] = []
    for precision in (hits.precision, hits.normalized_precision(objects[None], assumed)):
        best = envelope(precision, hits.start)
        mean = sum_of_runs(best, hits.start) / number
        squares = sum_of_runs((best - np.repeat(mean, found, axis=1)) ** 2, hits.start)
        squares += (objects - found) * mean**2
        columns += [mean, np.sqrt(squares / np.maximum(objects - 1, 1) / number)]
    ap, ap_stderr, apn, apn_stderr = (np.where(objects > 0, column, np.nan) for column in columns)
    recall = np.broadcast_to(np.where(objects > 0, found / number, np.nan), ap.shape)
    return HoiemScores(np.broadcast_to(objects, ap.shape), ap, apn, ap_stderr, apn_stderr, recall)


# ---- all kinds -------------------------------------------------------------------------------

Scores = dict[str, NDArray[np.float64]]
"""Average precision ``(r, S)`` of each kind."""


def _area_under_curve(hits: AnyHits, objects: NDArray[np.int64]) -> NDArray[np.float64]:
    if not isinstance(hits, Hits):  # each unit of weight adds a step of recall of the same width
        return hits.mean_over_objects(objects)
    area = np.zeros((1, len(hits.start) - 1))
    for run, (low, high) in enumerate(itertools.pairwise(hits.start)):
        best = envelope(hits.precision[:, low:high], hits.start[:2])
        recall = hits.true[:, low:high] / np.maximum(objects[:, run, None], 1)
        area[:, run] = np.sum(np.diff(recall, prepend=0.0, axis=1) * best, axis=1)
    return area


def _devkit(hits: Sequence[AnyHits], objects: NDArray[np.int64], assumed: AssumedObjects) -> Scores:
    interpolated = interpolated_precision(hits[0], needed_hits(VOC07_RECALLS, objects))
    return {"voc07": interpolated, "area": _area_under_curve(hits[0], objects)}


def _coco(hits: Sequence[AnyHits], objects: NDArray[np.int64], assumed: AssumedObjects) -> Scores:
    each = coco_ap(hits, objects)
    return {"coco": each.mean(axis=0), "coco50": each[0]}


def _hoiem(hits: Sequence[AnyHits], objects: NDArray[np.int64], assumed: AssumedObjects) -> Scores:
    plain, normalized = hits[0].mean_over_objects(objects), hits[0].mean_over_objects(objects, assumed)
    return {"hoiem": plain, "normalized": normalized}


class Rule(NamedTuple):
    """A way to match detections, and the average precision that is computed from it."""

    scores: Callable[[Sequence[AnyHits], NDArray[np.int64], AssumedObjects], Scores]
    """Of hits, first those of this rule; the numbers of objects ``(r, S)``; the number that normalised
    precision supposes: average precision by kind."""
    assign: Callable[[Matching, float], Assignment] | None
    """Matches the detections at an IoU threshold; None, for COCO's alone: at its own thresholds, in
    its own ranking."""


RULES = {"devkit": Rule(_devkit, assign_devkit), "hoiem": Rule(_hoiem, assign), "coco": Rule(_coco, None)}
RANKINGS = tuple(
    tuple(name for name, rule in RULES.items() if (rule.assign is None) == fixed) for fixed in (False, True)
)
"""Names of the rules with one ranking, in the order of its hits."""


@dataclass(frozen=True)
class APKind:
    """A kind of average precision: how it is computed, and how tables, figures and sentences name it.

    Parameters
    ----------
    heading
        Heading of a column among those of the other kinds.
    explanation
        How it is computed.
    rule
        How detections are matched: a key of :data:`RULES`.
    """

    heading: str
    explanation: str
    rule: str

    @property
    def name(self) -> str:
        """What it is called where it stands alone: AP50, AP (VOC07)."""
        return self.heading if self.heading.startswith("AP") else f"AP ({self.heading})"

    @property
    def has_fixed_iou(self) -> bool:
        """Whether its IoU thresholds are fixed, whatever the IoU of a diagnosis."""
        return RULES[self.rule].assign is None


AP_KINDS: dict[str, APKind] = {
    "voc07": APKind("VOC07", "VOC 2007: mean precision at 11 recalls", "devkit"),
    "area": APKind("area", "VOC 2010: area under the curve", "devkit"),
    "coco": APKind("AP50:95", "COCO: mean over IoU 0.5 to 0.95", "coco"),
    "coco50": APKind("AP50", "COCO: at IoU 0.5", "coco"),
    "hoiem": APKind("Hoiem", "as Hoiem's tool computes it", "hoiem"),
    "normalized": APKind("APn", "Hoiem's, as if all classes were equally frequent", "hoiem"),
}
"""By the name of the column of an :class:`APTable`."""


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
        return {kind: mean_over_classes(getattr(self, kind)) for kind in AP_KINDS}


def average_precision(
    truth: GroundTruth,
    detections: Detections,
    matching: Matching | None = None,
    *,
    iou: float = CORRECT_IOU,
    coco: bool = True,
    max_detections: int = MAX_DETECTIONS,
) -> APTable:
    """All kinds of average precision of each class.

    Parameters
    ----------
    truth, detections
        Records of the same images and classes.
    matching
        Their overlaps, if :func:`diagnosis.matching.match` has been called already.
    iou
        Smallest IoU of a true positive, for all kinds but COCO's, which have their own.
    coco
        Whether to compute COCO's; NaN otherwise.
    max_detections
        How many detections of a class in an image count for COCO's.

    Examples
    --------
    >>> truth = GroundTruth(["a"], ["dog", "cat"], [[90, 90]], [0], [0], [[0, 0, 9, 9]])
    >>> found = Detections(["a"], ["dog", "cat"], [0, 0], [0, 0], [0.9, 0.8], [[50, 0, 60, 9], [0, 0, 9, 9]])
    >>> table = average_precision(truth, found, coco=False)
    >>> table.area.tolist(), table.mean()["area"]
    ([0.5, nan], 0.5)
    """
    matching = match(truth, detections) if matching is None else matching
    return APStatistic(matching, iou=iou, max_detections=max_detections).table(coco)


class APStatistic:
    """Average precision of each class and kind, as a function of how often each image counts.

    The parameters are those of :func:`average_precision`.
    """

    def __init__(
        self, matching: Matching, *, iou: float = CORRECT_IOU, max_detections: int = MAX_DETECTIONS
    ) -> None:
        self.replicate_width = matching.replicate_width
        self._matching, self._iou, self._max_detections = matching, iou, max_detections
        self._objects = ObjectCounter(matching.truth, ~matching.ignored)
        self._rankings: dict[tuple[str, ...], Ranking] = {}

    def __call__(
        self, weights: Weights | None = None, kinds: Sequence[str] = tuple(AP_KINDS)
    ) -> dict[str, NDArray[np.float64]]:
        """AP of each class, ``(r, C)``, as ``map/voc07``, ``map/area`` …: a key of :data:`AP_KINDS` each.

        ``map/`` is also the prefix in diagnosis.json and TensorBoard, which show the means over the classes.
        NaN for a class that has no objects, 0 where none is found.

        Without weights each image counts once, and r is 1.
        """
        image_weights = None if weights is None else ImageWeights(weights)
        objects = self._objects(image_weights)
        images = len(self._matching.truth.images) if weights is None else weights.sum(axis=1, keepdims=True)
        assumed = np.broadcast_to(assumed_objects(images), (len(objects), 1))
        values = {kind: np.zeros(objects.shape) for kind in kinds}
        wanted = {AP_KINDS[kind].rule for kind in kinds}
        for rules in RANKINGS:
            if not wanted.intersection(rules):
                continue
            for block, hits in self._ranking(rules).hits(image_weights):
                for place, rule in enumerate(rules):
                    scores = RULES[rule].scores(hits[place:], objects[block], assumed[block[0]])
                    for kind in values.keys() & scores:
                        values[kind][block] = scores[kind]
        return {f"map/{kind}": np.where(objects > 0, value, np.nan) for kind, value in values.items()}

    def _ranking(self, rules: tuple[str, ...]) -> Ranking:
        if rules not in self._rankings:
            matching = self._matching
            ways = [way for rule in rules if (way := RULES[rule].assign)]
            outcomes, order = [way(matching, self._iou).outcomes for way in ways], matching.order
            if not ways:
                outcomes = coco_outcomes(matching, self._max_detections).at_ious
                order = coco_order(matching)
            self._rankings[rules] = Ranking(matching, outcomes, order, with_means=bool(ways))
        return self._rankings[rules]

    def table(self, coco: bool = True) -> APTable:
        """With each image counted once; COCO's NaN unless asked for."""
        values = self(None, [kind for kind, row in AP_KINDS.items() if coco or not row.has_fixed_iou])
        classes, objects = self._matching.truth.classes, self._matching.objects
        absent = np.full((1, len(classes)), np.nan)
        return APTable(classes, objects, **{kind: values.get(f"map/{kind}", absent)[0] for kind in AP_KINDS})


# ---- one class's curve, and where to cut it --------------------------------------------------


@dataclass(frozen=True, eq=False)
class PrecisionRecallCurve:
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


def precision_recall_curve(matching: Matching, label: int, iou: float = CORRECT_IOU) -> PrecisionRecallCurve:
    """Precision over recall of class `label`, matched as VOC's devkit does.

    Recall is NaN throughout if the class has no objects.
    """
    outcomes, rows = assign_devkit(matching, iou).outcomes, matching.ranked(label)
    rows = rows[outcomes[rows] != 0]
    true = np.cumsum(outcomes[rows] == 1)
    objects = int(matching.objects[label])
    recall = true / objects if objects else np.full(len(rows), np.nan)
    return PrecisionRecallCurve(recall, true / np.arange(1, len(rows) + 1), rows)


@dataclass(frozen=True)
class OperatingPoint:
    """One score threshold and what is kept by it; NaN, all of it, where there is no object.

    Parameters
    ----------
    score
        Detections of this score or more are kept; NaN if the best is to keep none (no true positive).
    f1, precision, recall
        Those of the detections kept. Without a true positive F1 and recall are 0, and precision is NaN.
    """

    score: float
    f1: float
    precision: float
    recall: float


@dataclass(frozen=True, eq=False)
class OperatingPoints:
    """The threshold of largest F1 of each of C classes, and one for all.

    Parameters
    ----------
    classes
        Names of the classes.
    each
        ``(C,)`` that of each class by itself.
    overall
        One threshold for all classes, detections and objects of all taken together (micro-averaged). A
        detection of a class without objects is a false positive here.
    """

    classes: tuple[str, ...]
    each: tuple[OperatingPoint, ...]
    overall: OperatingPoint


def best_f1(matching: Matching, *, iou: float = CORRECT_IOU) -> OperatingPoints:
    """The score threshold of largest F1 of each class and of all; of equals the highest threshold.

    Matched as VOC's devkit does: hits of difficult objects and crowds are left out.

    Parameters
    ----------
    matching
        The overlaps.
    iou
        Smallest IoU of a true positive.

    Examples
    --------
    >>> names = ["a"], ["dog"]
    >>> truth = GroundTruth(*names, [[90, 90]], [0, 0], [0, 0], [[0, 0, 10, 10], [50, 50, 60, 60]])
    >>> boxes = [[0, 0, 10, 10], [50, 50, 60, 60], [80, 0, 90, 10]]
    >>> best_f1(match(truth, Detections(*names, [0] * 3, [0] * 3, [0.9, 0.6, 0.2], boxes))).overall
    OperatingPoint(score=0.6, f1=1.0, precision=1.0, recall=1.0)
    """
    classes = matching.truth.classes
    each = tuple(_best_cut(matching, label, iou) for label in range(len(classes)))
    return OperatingPoints(classes, each, _best_cut(matching, None, iou))


def _best_cut(matching: Matching, label: int | None, iou: float) -> OperatingPoint:
    scores, true, kept, objects = _cuts(matching, label, iou)
    if objects == 0:
        return OperatingPoint(*[float("nan")] * 4)
    f1 = 2 * true / (kept + objects)
    if not f1.any():
        return OperatingPoint(float("nan"), 0.0, float("nan"), 0.0)
    columns = (scores, f1, true / kept, true / objects)
    return OperatingPoint(*(float(column[f1.argmax()]) for column in columns))


def _cuts(
    matching: Matching, label: int | None, iou: float
) -> tuple[NDArray[np.float64], NDArray[np.int64], NDArray[np.int64], int]:
    """Every score that occurs in a class, or in all, falling; how many true positives and how many detections
    have it or more; and how many objects there are."""
    outcomes = assign_devkit(matching, iou).outcomes
    rows = matching.by_score if label is None else matching.ranked(label)
    rows = rows[outcomes[rows] != 0]
    scores, true = matching.detections.scores[rows], np.cumsum(outcomes[rows] == 1)
    # Equal scores are kept or dropped together: a cut is possible only behind the last of them.
    cuts = np.flatnonzero(np.append(scores[1:] != scores[:-1], True)[: len(scores)])
    objects = int(matching.objects.sum() if label is None else matching.objects[label])
    return scores[cuts], true[cuts], cuts + 1, objects


class ThresholdCurve(NamedTuple):
    """Precision and recall of the detections of each score or more.

    Parameters
    ----------
    scores
        ``(n,)`` every score that occurs, falling.
    precision, recall
        ``(n,)`` of what is kept; recall is NaN if there are no objects.
    """

    scores: NDArray[np.float64]
    precision: NDArray[np.float64]
    recall: NDArray[np.float64]


def threshold_curve(
    matching: Matching, label: int | None = None, *, iou: float = CORRECT_IOU
) -> ThresholdCurve:
    """What each score threshold keeps, of class `label` or of all classes together; as in :func:`best_f1`.

    Examples
    --------
    >>> names = ["a"], ["dog"]
    >>> truth = GroundTruth(*names, [[90, 90]], [0, 0], [0, 0], [[0, 0, 10, 10], [50, 50, 60, 60]])
    >>> boxes = [[0, 0, 10, 10], [50, 50, 60, 60], [80, 0, 90, 10]]
    >>> curve = threshold_curve(match(truth, Detections(*names, [0] * 3, [0] * 3, [0.9, 0.6, 0.6], boxes)))
    >>> curve.scores.tolist(), curve.precision.round(2).tolist(), curve.recall.tolist()
    ([0.9, 0.6], [1.0, 0.67], [0.5, 1.0])
    """
    scores, true, kept, objects = _cuts(matching, label, iou)
    return ThresholdCurve(scores, true / kept, true / objects if objects else np.full(len(scores), np.nan))
