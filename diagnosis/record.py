"""All analyses of one detector, each computed once, when first asked for, at the IoU of the diagnosis."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data.formats.processes import over_threads
from data.records import Detections, GroundTruth, InputError
from diagnosis.account import Account, account, order_effects
from diagnosis.average_precision import AP_KINDS, APStatistic, APTable, OperatingPoints, best_f1
from diagnosis.breakdown import (
    CORRECT_IOU,
    ERROR_NAMES,
    UNCOUNTED,
    Breakdown,
    PieErrorTypes,
    ReferencedObjects,
    Top,
    break_down,
    flag_error_types,
    pie_error_types,
    referenced_objects,
)
from diagnosis.calibration import Calibration, calibration
from diagnosis.characteristics import (
    Characteristics,
    Sensitivity,
    characteristics,
    sensitivity,
    standard_characteristics,
)
from diagnosis.coco_ap import MAX_DETECTIONS, CocoTable, coco_table
from diagnosis.confusion import ConfusionMatrix, confusion_matrix
from diagnosis.fates import deciding_detections, fates_of
from diagnosis.impact import Impact, impact
from diagnosis.matching import Assignment, Matching, assign, check_records, match, whole_number
from diagnosis.notebook import Row, card
from diagnosis.rankings import mean_over_classes
from diagnosis.similar import class_groups, similar_matrix
from diagnosis.tide import TIDE_ERRORS, Tide, tide
from diagnosis.trends import DetectionTrend, FalsePositiveTrend, detection_trend, false_positive_trend
from diagnosis.verdict import TOO_FEW, Measure, enough_objects, fix_first, percent, unfound_classes
from diagnosis.worst_cases import WorstCases, missed_objects, worst_cases

__all__ = ["Diagnosis", "check_diagnoses", "check_same_truth", "compute_all", "diagnose"]

FEW = 30_000
"""Up to so many detections threads, which wait for Python's lock, take longer than one after the other."""

WORST_CASES = 5
"""How many errors of each type, late hits and missed objects are listed for each class."""


@dataclass(frozen=True, eq=False)
class Diagnosis:
    """Everything found out about one detector.

    What takes longer is computed when it is first asked for.

    Parameters
    ----------
    name
        What to call it.
    truth, detections
        What was compared.
    matching
        Their overlaps, for further analyses.
    similar
        ``(C, C)`` which classes counted as similar.
    iou
        Smallest IoU of a correct detection.
    top
        How many detections of a class the breakdown counts, see :func:`diagnosis.breakdown.break_down`.
    coco
        Whether to compute COCO's average precision.
    edges
        Edges of bins by characteristic, see :func:`diagnosis.characteristics.standard_characteristics`.
    max_detections
        How many detections of an image count for COCO's scores (of each class) and TIDE (of all together).
    """

    name: str
    truth: GroundTruth
    detections: Detections
    matching: Matching
    similar: NDArray[np.bool_]
    iou: float = CORRECT_IOU
    top: Top = None
    coco: bool = True
    edges: Mapping[str, Sequence[float]] | None = None
    max_detections: int = MAX_DETECTIONS

    @cached_property
    def account(self) -> Account:
        """What is odd about its detections and their ground truth."""
        return account(
            self.matching,
            self.similar,
            top=self.top,
            iou=self.iou,
            coco=self.coco,
            max_detections=self.max_detections,
        )

    @cached_property
    def order_effects(self) -> dict[str, NDArray[np.float64]]:
        """How far down and up the order of equal scores moves its AP50 and shares of correct detections."""
        return order_effects(
            self.matching, self.similar, top=self.top, iou=self.iou, max_detections=self.max_detections
        )

    @cached_property
    def breakdown(self) -> Breakdown:
        """The error types of its top detections."""
        return break_down(self.matching, self.similar, self.top, iou=self.iou)

    @cached_property
    def ap_statistic(self) -> APStatistic:
        """Its average precision, as a function of how often each image counts."""
        return APStatistic(self.matching, iou=self.iou, max_detections=self.max_detections)

    @cached_property
    def ap(self) -> APTable:
        """Its average precision."""
        return self.ap_statistic.table(self.coco)

    @cached_property
    def coco_scores(self) -> CocoTable:
        """COCO's twelve scores."""
        return coco_table(self.matching, self.max_detections)

    @cached_property
    def impact(self) -> Impact:
        """What each type of error costs in average precision."""
        return impact(self.matching, self.similar, iou=self.iou)

    @cached_property
    def characteristics(self) -> Characteristics:
        """Which objects are found, by their size, their shape and what the annotations say of them."""
        return characteristics(self.matching, edges=self.edges, iou=self.iou)

    @cached_property
    def tide(self) -> Tide:
        """TIDE's six errors and what each costs, at TIDE's own smallest IoU of 0.5."""
        return tide(self.matching, max_detections=self.max_detections, crowd_errors=False)

    @cached_property
    def groups(self) -> dict[str, list[str]]:
        """Names of the classes of each group of similar classes, ``all classes`` first."""
        return class_groups(self.truth.classes, self.similar)

    @cached_property
    def assignment(self) -> Assignment:
        """Which detection is matched to which object of its class, by Hoiem's rule."""
        return assign(self.matching, self.iou)

    @cached_property
    def pie_error_types(self) -> PieErrorTypes:
        """The error type of every detection, counted or not."""
        return pie_error_types(self.matching, self.similar, iou=self.iou)

    @cached_property
    def referenced_objects(self) -> ReferencedObjects:
        """The object that each detection refers to."""
        return referenced_objects(self.matching, self.similar, self.iou)

    @cached_property
    def deciding_detections(self) -> NDArray[np.int64]:
        """``(N,)`` the top detection that decides each object's fate, or −1."""
        top, scores = self.breakdown.counted_types != UNCOUNTED, self.detections.scores
        return deciding_detections(self.referenced_objects, scores, top, len(self.truth))

    @cached_property
    def fates(self) -> NDArray[np.int8]:
        """``(N,)`` what became of each object by its top detections, see :func:`diagnosis.flow.fates`."""
        return fates_of(self.referenced_objects, self.deciding_detections, self.matching.ignored)

    @cached_property
    def missed_objects(self) -> NDArray[np.int64]:
        """Rows of the objects that no detection is matched to, counted or not, the largest first."""
        return missed_objects(self.matching, self.iou)

    @cached_property
    def detection_trend(self) -> DetectionTrend:
        """Error mix by rank, counted in multiples of a class's objects."""
        return detection_trend(self.matching, self.similar, iou=self.iou)

    @cached_property
    def false_positive_trends(self) -> dict[str, FalsePositiveTrend]:
        """Error mix of the first false positives, for each of :attr:`groups`."""
        types = flag_error_types(self.matching, self.similar, iou=self.iou)
        groups = self.groups.items()
        return {name: false_positive_trend(self.matching, types, members) for name, members in groups}

    @cached_property
    def sensitivity(self) -> tuple[Sensitivity, ...]:
        """Normalised average precision of the worst and the best bin of each characteristic."""
        return sensitivity(self.characteristics)

    @cached_property
    def confusion(self) -> ConfusionMatrix:
        """Which class is taken for which, at the score of the best F1."""
        return confusion_matrix(self.matching, score=self.operating_points.overall.score, iou=self.iou)

    @cached_property
    def calibration(self) -> Calibration:
        """Precision by score, all scores counted."""
        return calibration(self.matching, iou=self.iou)

    @cached_property
    def operating_points(self) -> OperatingPoints:
        """The score thresholds of the best F1."""
        return best_f1(self.matching, iou=self.iou)

    @property
    def verdict(self) -> str:
        """Its AP50, over the classes with enough objects, and what to fix first."""
        enough, over = enough_objects(self.matching.objects)
        classes = enough if over else self.matching.objects > 0
        if not classes.any():
            return f"{self.name}: no class has objects."
        ap50 = self.ap.coco50 if self.coco else self.tide.ap
        gains = [Measure(error.subject, self.gains[error.name]) for error in TIDE_ERRORS]
        score = f"{self.name}: {percent(mean_over_classes(ap50[classes]))} % AP50{over}."
        unfound = unfound_classes(self.name, self.truth.classes, enough, ap50 == 0)
        first = fix_first(self.name, gains, unfound) if enough.any() else TOO_FEW
        return f"{score} {first}".strip()

    @property
    def gains(self) -> dict[str, float]:
        """What fixing each of TIDE's errors would add to AP50, over the classes that the verdict is over."""
        enough, over = enough_objects(self.matching.objects)
        if not over:
            return self.tide.dap
        return {name: mean_over_classes(gain[enough]) for name, gain in self.tide.class_dap.items()}

    def __repr__(self) -> str:
        return f"<Diagnosis of {self.name}: {len(self.detections):,} detections, {len(self.truth):,} objects>"

    def _repr_html_(self) -> str:
        """What a notebook shows: the verdict, the shares as a bar, a table of the classes."""
        ap50, ap = (self.ap.coco50, self.ap.coco) if self.coco else (self.tide.ap, self.tide.ap * np.nan)
        scores, counted = (mean_over_classes(ap50), mean_over_classes(ap)), self.breakdown
        classes = [
            Row(name, counted.shares[label], ap50[label], ap[label], int(counted.objects[label]))
            for label, name in enumerate(self.truth.classes)
            if counted.objects[label] or counted.counts[label].sum()
        ]
        whole = Row(self.name, counted.mean_over_classes(), *scores, int(counted.objects.sum()))
        return card(self.verdict, [whole], classes)

    def to_frame(self) -> Any:
        """A pandas table with a row for each class, in the order of the ground truth.

        Columns: ``objects``, ``counted`` detections, the share of each error type and each average precision,
        as fractions; NaN where there is none. ``diagnosis.detections_table([diagnosis]).to_pandas()`` has a
        row for each detection.

        Raises
        ------
        InputError
            pandas is not installed.
        """
        try:
            import pandas as pd  # type: ignore[import-untyped]
        except ImportError:
            raise InputError("to_frame", "no package pandas", "pandas: pip install pandas") from None
        shares = dict(zip(ERROR_NAMES, self.breakdown.shares.T, strict=True))
        scores = {kind: getattr(self.ap, kind) for kind in AP_KINDS}
        counted = {"objects": self.breakdown.objects, "counted": self.breakdown.counts.sum(axis=1)}
        return pd.DataFrame({**counted, **shares, **scores}, index=pd.Index(self.truth.classes, name="class"))

    @cached_property
    def worst_cases(self) -> WorstCases:
        """The most confident errors and the least confident hits of each class."""
        return worst_cases(self.matching, self.similar, WORST_CASES, iou=self.iou)


def diagnose(
    truth: GroundTruth,
    detections: Detections,
    name: str = "detector",
    similar: Iterable[Iterable[str]] | NDArray[np.bool_] = (),
    *,
    top: Top = None,
    iou: float = CORRECT_IOU,
    coco: bool = True,
    edges: Mapping[str, Sequence[float]] | None = None,
    max_detections: int = MAX_DETECTIONS,
) -> Diagnosis:
    """Break down a detector's errors and score it.

    Parameters
    ----------
    truth, detections
        Records of the same images and classes.
    name
        What to call the detector.
    similar
        Groups of names of similar classes, or the matrix of :func:`diagnosis.similar.similar_matrix`.
    top
        How many detections of a class the breakdown counts, see :func:`diagnosis.breakdown.break_down`.
    iou
        Smallest IoU of a correct detection (COCO's average precision has its own).
    coco
        Whether to compute COCO's average precision.
    edges
        Edges of bins by name of the characteristic, in place of the quantiles of each class:
        ``{"area": [32**2, 96**2]}`` are COCO's sizes.
        See :func:`diagnosis.characteristics.standard_characteristics`.
    max_detections
        How many detections of an image count for COCO's scores (of each class) and TIDE (of all together).

    Raises
    ------
    InputError
        Records of different images or classes, an unknown class in `similar`, a `top` or `iou` that
        means nothing, edges that make no bins or of a characteristic that is not there, no positive whole
        number of `max_detections`.

    Examples
    --------
    >>> truth = GroundTruth(["a"], ["cat", "dog"], [[90, 90]], [0, 0], [0, 1], [[0, 0, 9, 9], [20, 0, 29, 9]])
    >>> found = Detections(["a"], ["cat", "dog"], [0, 0], [0, 1], [0.9, 0.8], [[0, 0, 9, 9], [0, 0, 9, 9]])
    >>> diagnosis = diagnose(truth, found, similar=[["cat", "dog"]], coco=False)
    >>> diagnosis.breakdown.counts.tolist()
    [[1, 0, 0, 0, 0], [0, 0, 1, 0, 0]]
    """
    check_records(truth, detections)
    matrix = similar if isinstance(similar, np.ndarray) else similar_matrix(truth.classes, similar)
    if edges:
        standard_characteristics(truth, edges)  # raises before anything is computed
    max_detections = whole_number("max_detections", max_detections)
    matching = match(truth, detections)
    diagnosis = Diagnosis(name, truth, detections, matching, matrix, iou, top, coco, edges, max_detections)
    if len(detections) > FEW:  # the longest first
        names = ("ap", "tide", "breakdown", "impact") if coco else ("tide", "breakdown", "impact", "ap")
        over_threads([partial(getattr, diagnosis, name) for name in names])
    _ = diagnosis.breakdown, diagnosis.ap  # raise if `top` or `iou` means nothing
    return diagnosis


def compute_all(diagnoses: Iterable[Diagnosis]) -> None:
    """Every analysis now, and not when it is first asked for."""
    for diagnosis in diagnoses:
        for name, value in vars(Diagnosis).items():
            if isinstance(value, cached_property):
                getattr(diagnosis, name)


def check_diagnoses(given: Sequence[object]) -> None:
    """They are what :func:`diagnose` returns.

    Raises
    ------
    InputError
        If one is something else.
    """
    for one in given:
        if not isinstance(one, Diagnosis):
            raise InputError("diagnoses", repr(one), "what diagnose(truth, detections) returns")


def check_same_truth(diagnoses: Sequence[Diagnosis]) -> None:
    """Detectors to be compared were run on one ground truth and judged by one threshold.

    Raises
    ------
    InputError
        If they were not, or there is no detector.
    """
    if not diagnoses:
        raise InputError("diagnoses", "no detector", "one or several")
    check_diagnoses(diagnoses)
    first = diagnoses[0]
    for other in diagnoses[1:]:
        who = f"detectors {first.name!r} and {other.name!r}"
        same = (other.truth.classes, other.truth.images) == (first.truth.classes, first.truth.images)
        same = same and all(
            np.array_equal(getattr(other.truth, column), getattr(first.truth, column))
            for column in ("image_index", "labels", "boxes", "difficult", "crowd")
        )
        if not same:
            raise InputError(who, "different images, classes or objects", "the same ground truth, to compare")
        if other.iou != first.iou:
            raise InputError(
                who, f"IoU thresholds of {first.iou:g} and {other.iou:g}", "one threshold, to compare"
            )
