"""Average precision, in the five ways in which detectors are scored.

* VOC 2007's mean over 11 recalls and VOC 2010's area under the curve, matched as the devkit does.
* Hoiem's average precision and its normalised form, matched and defined as in his tool (rules, section 1).
* COCO's, at IoU 0.5 and from 0.5 to 0.95, equal to pycocotools (see :mod:`diagnosis.average_precision`).

A class without objects has no average precision (NaN); one whose objects are all missed has 0.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from data.records import Detections, GroundTruth
from diagnosis.breakdown import STRONG
from diagnosis.matching import Assignment, Matching, assign, assign_devkit, match

__all__ = [
    "AP_KINDS",
    "IOUS",
    "NORMAL_SHARE",
    "RECALLS",
    "SIZES",
    "APTable",
    "CocoTable",
    "Curve",
    "HoiemAP",
    "HoiemScores",
    "OperatingPoint",
    "OperatingPoints",
    "RankedHits",
    "area_ap",
    "average_precision",
    "best_f1",
    "best_normalized_precision",
    "coco_average_precision",
    "coco_labels",
    "coco_labels_at",
    "coco_order",
    "coco_table",
    "curve",
    "hoiem_ap",
    "hoiem_scores",
    "normal_objects",
    "precision_recall_curve",
    "ranked_hits",
    "score_runs",
    "voc07_ap",
]

NORMAL_SHARE = 0.15
"""Normalised precision counts as if each class had this many objects an image (rules, section 1)."""


SCORE_COLUMNS = ("objects", "ap", "apn", "ap_stderr", "apn_stderr", "recall")


@dataclass(frozen=True)
class HoiemAP:
    """Average precision of a ranking by Hoiem's definition, with its standard errors.

    NaN, all of it, for a class without objects.
    """

    ap: float
    apn: float
    ap_stderr: float
    apn_stderr: float
    recall: float


@dataclass(frozen=True, eq=False)
class HoiemScores:
    """The same of many rankings; all arrays are of one shape.

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

    def __post_init__(self) -> None:
        shapes = {getattr(self, name).shape for name in SCORE_COLUMNS}
        if len(shapes) != 1:
            raise ValueError(f"columns of shapes {shapes}")

    def reshaped(self, *shape: int) -> HoiemScores:
        """The same numbers in another shape."""
        return HoiemScores(**{name: getattr(self, name).reshape(shape) for name in SCORE_COLUMNS})

    def rows(self, chosen: NDArray[np.int64]) -> HoiemScores:
        """Some rows of the first axis, in the order given."""
        return HoiemScores(**{name: getattr(self, name)[chosen] for name in SCORE_COLUMNS})

    @staticmethod
    def joined(parts: Sequence[HoiemScores]) -> HoiemScores:
        """Several put one behind the other along the first axis."""
        return HoiemScores(
            **{name: np.concatenate([getattr(part, name) for part in parts]) for name in SCORE_COLUMNS}
        )


@dataclass(frozen=True, eq=False)
class RankedHits:
    """Where the T true positives of rankings that lie end to end stand.

    Parameters
    ----------
    places
        ``(T,)`` index of each into the rankings; rises.
    start
        ``(S + 1,)`` the true positives of run s are ``start[s]:start[s + 1]``.
    class_start
        ``(S + 1,)`` ranking s is ``class_start[s]:class_start[s + 1]``.
    """

    places: NDArray[np.int64]
    start: NDArray[np.int64]
    class_start: NDArray[np.int64]

    def above(self, marked: NDArray[np.bool_]) -> NDArray[np.int64]:
        """``(T,)`` how many of the `marked` ``(M,)`` stand above each true positive in its ranking."""
        running = np.zeros(len(marked) + 1, dtype=np.int64)
        np.cumsum(marked, out=running[1:])
        before = np.repeat(running[self.class_start[:-1]], np.diff(self.start))
        count: NDArray[np.int64] = running[self.places] - before
        return count


def normal_objects(images: int) -> float:
    """N, the number of objects that normalised precision supposes of each class, in so many images."""
    return NORMAL_SHARE * images


def ranked_hits(labels: NDArray[np.int8], class_start: NDArray[np.int64]) -> RankedHits:
    """The true positives of rankings that lie end to end.

    Parameters
    ----------
    labels
        ``(M,)`` by class and rank, 1: true positive, 0: don't care, −1: false positive.
    class_start
        ``(S + 1,)`` ranking s is ``labels[class_start[s]:class_start[s + 1]]``.
    """
    places = np.flatnonzero(labels == 1)
    return RankedHits(places, np.searchsorted(places, class_start), class_start)


def hoiem_scores(
    labels: NDArray[np.int8], class_start: NDArray[np.int64], objects: NDArray[np.int64], normal: float
) -> HoiemScores:
    """Average precision of S rankings that lie end to end.

    Parameters
    ----------
    labels, class_start
        As in :func:`ranked_hits`.
    objects
        ``(S,)`` number of objects of each ranking.
    normal
        Number of objects that normalised precision supposes, N.

    Examples
    --------
    >>> labels = np.array([1, -1, 1, -1], dtype=np.int8)  # a class with two hits, and one with none
    >>> scores = hoiem_scores(labels, np.array([0, 3, 4, 4]), np.array([2, 1, 0]), normal=4.0)
    >>> scores.ap.round(4).tolist(), scores.apn.round(4).tolist()
    ([0.8333, 0.0, nan], [0.9, 0.0, nan])
    """
    hits = ranked_hits(labels, class_start)
    return score_runs(hits.above(labels == -1), hits.start, objects, normal)


def hoiem_ap(labels: NDArray[np.int8], objects: int, normal: float) -> HoiemAP:
    """Average precision of one ranking; parameters as in :func:`hoiem_scores`.

    Examples
    --------
    >>> score = hoiem_ap(np.array([1, -1, 1]), objects=2, normal=4.0)
    >>> round(score.ap, 4), round(score.apn, 4)  # (1 + 2/3) / 2 and (1 + 4/5) / 2
    (0.8333, 0.9)
    """
    scores = hoiem_scores(labels, np.array([0, len(labels)]), np.array([objects]), normal)
    columns = (scores.ap, scores.apn, scores.ap_stderr, scores.apn_stderr, scores.recall)
    return HoiemAP(*[float(column[0]) for column in columns])


def score_runs(
    false: NDArray[np.integer], start: NDArray[np.int64], objects: NDArray[np.int64], normal: float
) -> HoiemScores:
    """Average precision of S runs, in as many variants as wanted.

    Parameters
    ----------
    false
        ``(…, T)`` number of false positives above each true positive.
    start
        ``(S + 1,)`` the true positives of run s are ``start[s]:start[s + 1]``, best first.
    objects
        ``(S,)`` number of objects of each run.
    normal
        Number of objects that normalised precision supposes, N.

    Returns
    -------
    HoiemScores
        Arrays ``(…, S)``.
    """
    found = np.diff(start)
    true = _true_so_far(start)
    plain, plain_error = _mean_and_error(_best(true, false, start), start, objects)
    weight = np.repeat(normal / np.maximum(objects, 1), found)
    normalized, normalized_error = _mean_and_error(_best(true * weight, false, start), start, objects)
    recall = np.broadcast_to(_or_nan(found / np.maximum(objects, 1), objects), plain.shape)
    counted = np.broadcast_to(objects, plain.shape)
    return HoiemScores(counted, plain, normalized, plain_error, normalized_error, recall)


def best_normalized_precision(
    false: NDArray[np.integer], start: NDArray[np.int64], objects: NDArray[np.int64], normal: float
) -> NDArray[np.float64]:
    """``(…, T)`` the largest normalised precision from each true positive on.

    Parameters are those of :func:`score_runs`.
    """
    weight = np.repeat(normal / np.maximum(objects, 1), np.diff(start))
    return _best(_true_so_far(start) * weight, false, start)


def _true_so_far(start: NDArray[np.int64]) -> NDArray[np.float64]:
    """``(T,)`` place of each true positive among those of its run, from 1."""
    return np.arange(1.0, start[-1] + 1) - np.repeat(start[:-1], np.diff(start))


def _best(
    true: NDArray[np.float64], false: NDArray[np.integer], start: NDArray[np.int64]
) -> NDArray[np.float64]:
    """``(…, T)`` the largest precision from each true positive on, within its run.

    Between two true positives precision only falls: the largest that follows is one at a true positive.
    """
    # One pass over all runs: lifted by 2 for each run that follows, a run never sees those behind it. The
    # lift costs less than 3e-16 of precision a run.
    lift = 2.0 * (len(start) - 2 - np.repeat(np.arange(len(start) - 1), np.diff(start)))
    lifted = true / (true + false) + lift
    best: NDArray[np.float64] = np.maximum.accumulate(lifted[..., ::-1], axis=-1)[..., ::-1] - lift
    return best


def _mean_and_error(
    best: NDArray[np.float64], start: NDArray[np.int64], objects: NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean and standard error over all objects of the precision at which each is found, 0 if never."""
    found = np.diff(start)
    mean = _sum_of_runs(best, start) / np.maximum(objects, 1)
    squares = _sum_of_runs((best - np.repeat(mean, found, axis=-1)) ** 2, start)
    squares += (objects - found) * mean**2
    error = np.sqrt(squares / np.maximum(objects - 1, 1) / np.maximum(objects, 1))
    return _or_nan(mean, objects), _or_nan(error, objects)


def _sum_of_runs(values: NDArray[np.float64], start: NDArray[np.int64]) -> NDArray[np.float64]:
    """``(…, S)`` sum of each run of the last axis; 0 where it is empty."""
    total = np.zeros((*values.shape[:-1], len(start) - 1))
    filled = np.flatnonzero(np.diff(start))
    if len(filled):
        total[..., filled] = np.add.reduceat(values, start[filled], axis=-1)
    return total


def _or_nan(values: NDArray[np.float64], objects: NDArray[np.int64]) -> NDArray[np.float64]:
    return np.where(objects > 0, values, np.nan)


@dataclass(frozen=True)
class APKind:
    """A kind of average precision, as tables, figures and sentences name it.

    Parameters
    ----------
    heading
        Of a column of a table.
    label
        Of an axis or a legend.
    mean
        What the mean over the classes is called.
    own_iou
        Whether it has overlaps of its own, whatever the diagnosis' IoU is.
    """

    heading: str
    label: str
    mean: str
    own_iou: bool = False


AP_KINDS: dict[str, APKind] = {
    "voc07": APKind("VOC07", "VOC 2007, 11 points", "mAP, VOC 2007"),
    "area": APKind("area", "area under the curve", "mAP, area"),
    "coco": APKind("COCO", "COCO, IoU 0.50 to 0.95", "mAP, COCO at IoU 0.5 to 0.95", own_iou=True),
    "coco50": APKind("COCO50", "COCO, IoU 0.5", "mAP, COCO at IoU 0.5", own_iou=True),
    "hoiem": APKind("Hoiem", "Hoiem", "mAP, Hoiem"),
    "normalized": APKind("norm.", "Hoiem, normalised", "mAP, Hoiem, normalised"),
}
"""By the name of the column of an :class:`APTable`."""


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


IOUS: NDArray[np.float64] = np.linspace(0.5, 0.95, 10)
"""Smallest IoUs of a true positive, that COCO averages over."""

RECALLS: NDArray[np.float64] = np.linspace(0, 1, 101)
"""Recalls at which precision is read."""

SIZES = {"all": (0.0, 1e10), "small": (0.0, 32.0**2), "medium": (32.0**2, 96.0**2), "large": (96.0**2, 1e10)}
"""Smallest and largest area of an object, square pixels, both included."""

MOST = 100
"""Detections of a class in one image that count."""

FEW = (1, 10, MOST)
"""How many of them, for recall."""


@dataclass(frozen=True, eq=False)
class CocoTable:
    """COCO's scores of C classes; NaN for a class without objects that count.

    Parameters
    ----------
    classes
        Names of the classes.
    ap, ap50, ap75
        ``(C,)`` average precision over :data:`IOUS`, at 0.5 and at 0.75.
    ap_small, ap_medium, ap_large
        ``(C,)`` over :data:`IOUS`, of objects of an area up to 32², between, and from 96² square pixels.
    ar1, ar10, ar
        ``(C,)`` recall over :data:`IOUS` with up to 1, 10 and 100 detections of a class in an image.
    ar_small, ar_medium, ar_large
        ``(C,)`` recall with up to 100, by size.
    """

    classes: tuple[str, ...]
    ap: NDArray[np.float64]
    ap50: NDArray[np.float64]
    ap75: NDArray[np.float64]
    ap_small: NDArray[np.float64]
    ap_medium: NDArray[np.float64]
    ap_large: NDArray[np.float64]
    ar1: NDArray[np.float64]
    ar10: NDArray[np.float64]
    ar: NDArray[np.float64]
    ar_small: NDArray[np.float64]
    ar_medium: NDArray[np.float64]
    ar_large: NDArray[np.float64]

    def mean(self) -> dict[str, float]:
        """Mean of each score over the classes that have it, NaN if none has; pycocotools' own order."""
        columns = {name: value for name, value in vars(self).items() if name != "classes"}
        defined = {name: value[~np.isnan(value)] for name, value in columns.items()}
        return {name: float(value.mean()) if value.size else float("nan") for name, value in defined.items()}


def coco_average_precision(
    truth: GroundTruth, detections: Detections, matching: Matching | None = None
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """COCO's average precision of each class, over IoU 0.50:0.05:0.95 and at 0.5.

    Parameters
    ----------
    truth, detections
        Of the same images and classes.
    matching
        Their overlaps, if :func:`diagnosis.matching.match` has been called already.

    Returns
    -------
    NDArray, NDArray
        ``(C,)`` each; NaN for a class without objects that count.

    Examples
    --------
    >>> truth = GroundTruth(["a"], ["dog", "cat"], [[90, 90]], [0], [0], [[0, 0, 10, 10]])
    >>> found = Detections(["a"], ["dog", "cat"], [0], [0], [0.9], [[0, 0, 10, 7.9]])  # IoU 0.79
    >>> coco_average_precision(truth, found)[0].round(6).tolist()
    [0.6, nan]
    """
    pairs = _Pairs.of(match(truth, detections) if matching is None else matching)
    scores = np.stack([_scores(pairs, pairs.labels(iou, SIZES["all"]), SIZES["all"])[0] for iou in IOUS])
    return scores.mean(axis=0), scores[0]


def coco_table(matching: Matching) -> CocoTable:
    """All twelve of COCO's scores, of each class, as pycocotools computes them.

    An object's size is its ``area`` attribute, which COCO's files have, or else that of its box.

    Examples
    --------
    >>> truth = GroundTruth(["a"], ["dog"], [[90, 90]], [0], [0], [[0, 0, 40, 40]])
    >>> found = Detections(["a"], ["dog"], [0], [0], [0.9], [[0, 0, 40, 40]])
    >>> mean = coco_table(match(truth, found)).mean()
    >>> round(mean["ap"], 6), mean["ap_small"], round(mean["ap_medium"], 6), mean["ar"]
    (1.0, nan, 1.0, 1.0)
    """
    pairs = _Pairs.of(matching)
    ap: dict[str, NDArray[np.float64]] = {}  # (10, C), by size
    recall: dict[str, NDArray[np.float64]] = {}
    few = []
    for name, size in SIZES.items():
        labels = [pairs.labels(iou, size) for iou in IOUS]
        both = [_scores(pairs, some, size) for some in labels]
        ap[name], recall[name] = (np.stack(part) for part in zip(*both, strict=True))
        if name == "all":
            few = [
                np.stack(
                    [
                        _scores(pairs, np.where(pairs.place < most, some, np.int8(0)), size)[1]
                        for some in labels
                    ]
                )
                for most in FEW[:-1]
            ]
    return CocoTable(
        matching.truth.classes,
        ap["all"].mean(axis=0),
        ap["all"][0],
        ap["all"][5],
        *(ap[name].mean(axis=0) for name in ("small", "medium", "large")),
        *(part.mean(axis=0) for part in (*few, recall["all"])),
        *(recall[name].mean(axis=0) for name in ("small", "medium", "large")),
    )


def coco_labels(
    matching: Matching, iou: float = 0.5, size: tuple[float, float] = SIZES["all"]
) -> NDArray[np.int8]:
    """What each detection is to COCO: 1 true positive, 0 don't care or not counted, −1 false positive.

    Parameters
    ----------
    matching
        The overlaps.
    iou
        Smallest IoU of a true positive.
    size
        Smallest and largest area of the objects that count.
    """
    return _Pairs.of(matching).labels(iou, size)


def coco_labels_at(matching: Matching, ious: Iterable[float] = IOUS) -> NDArray[np.int8]:
    """``(n, M)`` the same at several overlaps, objects of all sizes."""
    pairs = _Pairs.of(matching)
    return np.stack([pairs.labels(iou, SIZES["all"]) for iou in ious])


def coco_order(matching: Matching) -> NDArray[np.int64]:
    """``(M,)`` detections by class, falling score, and image; within an image as in the record."""
    found = matching.detections
    return np.lexsort((found.image_index, -found.scores, found.labels))


@dataclass(frozen=True, eq=False)
class _Pairs:
    """Pairs of a detection and an object of its class, with COCO's overlaps."""

    matching: Matching
    order: NDArray[np.int64]
    place: NDArray[np.int64]  # (M,) of each detection among those of its class and image, from 0
    area: NDArray[np.float64]  # (N,) of the objects
    found_area: NDArray[np.float64]  # (M,) of the detections
    detection: NDArray[np.int64]  # (P,)
    object_: NDArray[np.int64]  # (P,)
    overlap: NDArray[np.float64]  # (P,) IoU, or the share of the detection within a crowd region

    @staticmethod
    def of(matching: Matching) -> _Pairs:
        truth, found = matching.truth, matching.detections
        by_image = np.lexsort((matching.rank, found.image_index, found.labels))
        key = found.labels[by_image] * max(1, len(truth.images)) + found.image_index[by_image]
        place = np.empty(len(key), dtype=np.int64)
        place[by_image] = np.arange(len(key)) - np.searchsorted(key, key)
        own = found.labels[matching.pair_detection] == truth.labels[matching.pair_object]
        detection, object_ = matching.pair_detection[own], matching.pair_object[own]
        counted = place[detection] < MOST
        detection, object_ = detection[counted], object_[counted]
        # As the devkit computes it, from corner and extent: the last bit may decide.
        extent, object_extent = (record.boxes[:, 2:] - record.boxes[:, :2] for record in (found, truth))
        low, high = found.boxes[:, :2], found.boxes[:, :2] + extent
        object_low, object_high = truth.boxes[:, :2], truth.boxes[:, :2] + object_extent
        common = np.minimum(high[detection], object_high[object_]) - np.maximum(
            low[detection], object_low[object_]
        )
        inside = np.where((common > 0).all(axis=1), common.prod(axis=1), 0.0)
        found_area, box_area = extent.prod(axis=1), object_extent.prod(axis=1)
        whole = np.where(
            matching.ignored[object_],
            found_area[detection],
            found_area[detection] + box_area[object_] - inside,
        )
        area = np.asarray(truth.attributes.get("area", box_area), dtype=np.float64)
        overlap = inside / np.where(whole > 0, whole, 1.0)
        return _Pairs(matching, coco_order(matching), place, area, found_area, detection, object_, overlap)

    def counts(self, size: tuple[float, float]) -> NDArray[np.bool_]:
        """``(N,)`` objects that are to be found."""
        counted: NDArray[np.bool_] = ~self.matching.ignored & (self.area >= size[0]) & (self.area <= size[1])
        return counted

    def labels(self, iou: float, size: tuple[float, float]) -> NDArray[np.int8]:
        """``(M,)`` as :func:`coco_labels` says.

        By rank, each detection takes the free object of largest overlap (of equals the last one), those
        that count before all others; a crowd region is always free. All choose at once and give way to
        better ranks, which comes to the same (see :mod:`diagnosis.matching`).
        """
        counted, crowd = self.counts(size), self.matching.ignored
        good = self.overlap >= min(iou, 1 - 1e-10)
        detection, object_, overlap = self.detection[good], self.object_[good], self.overlap[good]
        order = np.lexsort((-object_, -overlap, ~counted[object_], detection))
        detection, object_ = detection[order], object_[order]
        owner, start = np.unique(detection, return_index=True)
        stop = np.append(start[1:], len(detection)).astype(np.int64)
        rank = self.matching.rank[owner]

        holder = np.full(len(self.area), -1, dtype=np.int64)  # of each object, an index into `owner`
        best = np.full(len(self.area), np.iinfo(np.int64).max)
        taken = np.full(len(owner), -1, dtype=np.int64)
        choice = start.copy()
        active = np.arange(len(owner))
        while len(active):
            wanted = object_[choice[active]]
            np.minimum.at(best, wanted, rank[active])
            won = (best[wanted] == rank[active]) | crowd[wanted]
            displaced = holder[wanted[won]]
            displaced = displaced[(displaced >= 0) & ~crowd[wanted[won]]]
            holder[wanted[won]] = active[won]
            taken[active[won]] = wanted[won]
            refused = np.concatenate([active[~won], displaced])
            taken[refused] = -1
            choice[refused] += 1
            active = refused[choice[refused] < stop[refused]]

        outside = (self.found_area < size[0]) | (self.found_area > size[1]) | (self.place >= MOST)
        labels = np.where(outside, np.int8(0), np.int8(-1))
        took = taken >= 0
        labels[owner[took]] = counted[taken[took]]
        return labels


def _scores(
    pairs: _Pairs, labels: NDArray[np.int8], size: tuple[float, float]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """``(C,)`` average precision and recall of each class at one threshold; NaN without objects."""
    matching = pairs.matching
    classes = len(matching.truth.classes)
    objects = np.bincount(matching.truth.labels[pairs.counts(size)], minlength=classes)
    ap, recall = np.full((2, classes), np.nan)
    ranked = labels[pairs.order]
    for label in np.flatnonzero(objects):
        mine = ranked[matching.class_start[label] : matching.class_start[label + 1]]
        true = np.flatnonzero(mine[mine != 0] == 1)
        found = np.arange(1, len(true) + 1)
        # Precision only falls between two true positives: the largest that follows stands at one of them.
        best = np.maximum.accumulate((found / (true + 1))[::-1])[::-1]
        reached = np.searchsorted(found / objects[label], RECALLS)
        ap[label] = np.append(best, 0.0)[reached].mean()
        recall[label] = len(true) / objects[label]
    return ap, recall


@dataclass(frozen=True)
class OperatingPoint:
    """One score threshold and what is kept by it; NaN, all of it, where there is no object.

    Parameters
    ----------
    score
        Detections of this score or more are kept; NaN if the best is to keep none (no true positive).
    f1, precision, recall
        Of what is kept. Without a true positive F1 and recall are 0, and precision is NaN.
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
        ``(C,)`` each class's own.
    overall
        One threshold for all classes, detections and objects of all taken together (micro-averaged). A
        detection of a class without objects is a false positive here.
    """

    classes: tuple[str, ...]
    each: tuple[OperatingPoint, ...]
    overall: OperatingPoint


def best_f1(matching: Matching, *, iou: float = STRONG) -> OperatingPoints:
    """The score threshold of largest F1 of each class and of all; of equals the highest threshold.

    Parameters
    ----------
    matching
        The overlaps.
    iou
        Smallest IoU of a true positive.

    Examples
    --------
    >>> from data.records import Detections, GroundTruth
    >>> from diagnosis.matching import match
    >>> names = ["a"], ["dog"]
    >>> truth = GroundTruth(*names, [[90, 90]], [0, 0], [0, 0], [[0, 0, 10, 10], [50, 50, 60, 60]])
    >>> boxes = [[0, 0, 10, 10], [50, 50, 60, 60], [80, 0, 90, 10]]
    >>> best_f1(match(truth, Detections(*names, [0] * 3, [0] * 3, [0.9, 0.6, 0.2], boxes))).overall
    OperatingPoint(score=0.6, f1=1.0, precision=1.0, recall=1.0)
    """
    labels, scores = assign_devkit(matching, iou).labels, matching.detections.scores
    objects = matching.objects
    each = tuple(
        _best_cut(labels[rows], scores[rows], int(objects[label]))
        for label in range(len(objects))
        for rows in [matching.ranked(label)]
    )
    rows = np.argsort(-scores, kind="stable")
    return OperatingPoints(
        matching.truth.classes, each, _best_cut(labels[rows], scores[rows], int(objects.sum()))
    )


def _best_cut(labels: NDArray[np.int8], scores: NDArray[np.float64], objects: int) -> OperatingPoint:
    """Of one ranking; `labels` 1: true positive, 0: don't care, −1: false positive."""
    if objects == 0:
        return OperatingPoint(*[float("nan")] * 4)
    counted = labels != 0
    labels, scores = labels[counted], scores[counted]
    true, kept = np.cumsum(labels == 1), np.arange(1, len(labels) + 1)
    # Equal scores are kept or dropped together: a cut is possible only behind the last of them.
    cuts = np.flatnonzero(np.append(scores[1:] != scores[:-1], True)[: len(scores)])
    f1 = 2 * true[cuts] / (kept[cuts] + objects)
    if not len(cuts) or f1.max() == 0:
        return OperatingPoint(float("nan"), 0.0, float("nan"), 0.0)
    best = int(cuts[f1.argmax()])
    return OperatingPoint(
        float(scores[best]), float(f1.max()), float(true[best] / kept[best]), float(true[best] / objects)
    )
