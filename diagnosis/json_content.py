"""What ``diagnosis.json`` holds."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from data.records import InputError
from diagnosis.average_precision import AP_KINDS, best_f1, operating_points_to_json
from diagnosis.breakdown import ERROR_TYPES, error_masks
from diagnosis.calibration import calibration, calibration_to_json
from diagnosis.characteristics import bins_to_json, characteristics_to_json, sensitivity, sensitivity_to_json
from diagnosis.confusion import confusion_matrix, confusion_to_json
from diagnosis.flow import flow, flow_to_json
from diagnosis.impact import impact_to_json
from diagnosis.record import Diagnosis, check_same_truth
from diagnosis.similar import similar_to_json
from diagnosis.tide_json import tide_to_json
from diagnosis.trends import detection_trend, false_positive_trend, trends_to_json
from diagnosis.worst_cases import extremes_to_json, worst_cases

__all__ = ["SCHEMA", "to_json"]

SCHEMA = 1
EXTREMES = 5
"""How many errors of each type, objects found last and objects missed are named for each class."""

TYPE_NAMES = tuple(kind.name for kind in ERROR_TYPES)
ALL = "all classes"


def to_json(
    diagnoses: Sequence[Diagnosis],
    provenance: Mapping[str, Any],
    comparison: Sequence[Mapping[str, Any]] = (),
    intervals: Sequence[Mapping[str, Any]] = (),
    notes: Sequence[str] = (),
) -> dict[str, Any]:
    """The content of ``diagnosis.json``, schema 1: plain dicts, lists, strings and finite numbers.

    Shares are fractions. A quantity that does not exist is None, and the dict that holds it has a
    ``reason``.

    Parameters
    ----------
    diagnoses
        Of one or several detectors.
    provenance
        Where the numbers come from.
    comparison
        What :func:`diagnosis.comparison_text.comparison_to_json` says of each two of them.
    intervals
        What :func:`diagnosis.comparison_text.intervals_to_json` says of each.
    notes
        What a reader should beware of, see :func:`diagnosis.notes.notes`.
    """
    return {
        "schema": SCHEMA,
        "detectors": [_detector(diagnosis) for diagnosis in diagnoses],
        "comparison": [dict(pair) for pair in comparison],
        "intervals": [dict(one) for one in intervals],
        "flow": _flows(diagnoses),
        "notes": list(notes),
        "provenance": dict(provenance),
    }


def _flows(diagnoses: Sequence[Diagnosis]) -> list[dict[str, Any]]:
    """What became of each object, from the first detector to each other; none on different ground truths."""
    try:
        check_same_truth(diagnoses)
    except InputError:
        return []
    return [flow_to_json(flow(diagnoses[0], other)) for other in diagnoses[1:]]


def _detector(diagnosis: Diagnosis) -> dict[str, Any]:
    breakdown, ap, matching = diagnosis.breakdown, diagnosis.ap, diagnosis.matching
    nothing = "no detection counts: there is none of a class that has objects"
    impacts, found = impact_to_json(diagnosis.impact), diagnosis.characteristics
    bins = characteristics_to_json(found)
    worst = extremes_to_json(
        worst_cases(matching, diagnosis.similar, EXTREMES, strong=diagnosis.iou), matching
    )
    return {
        "name": diagnosis.name,
        "iou": diagnosis.iou,
        "similar": similar_to_json(ap.classes, diagnosis.similar),
        "breakdown": {
            "mean_over_classes": _numbers(TYPE_NAMES, breakdown.mean_over_classes(), nothing),
            "pooled": _numbers(TYPE_NAMES, breakdown.pooled(), nothing),
        },
        "map": _numbers(AP_KINDS, ap.mean().values(), _why_no_ap(int(ap.objects.sum()))),
        "tide": tide_to_json(diagnosis.tide),
        "trends": _trends(diagnosis),
        "sensitivity": sensitivity_to_json(sensitivity(found)),
        "bins": {
            table.characteristic.name: bins_to_json(table.characteristic, ap.classes)
            for table in found.tables
        },
        "confusion": confusion_to_json(confusion_matrix(matching, iou=diagnosis.iou)),
        "calibration": calibration_to_json(calibration(matching, iou=diagnosis.iou)),
        "operating_points": operating_points_to_json(best_f1(matching, iou=diagnosis.iou)),
        "classes": {
            name: _class(diagnosis, label)
            | {"impact": impacts[name], "characteristics": bins[name], "extremes": worst[name]}
            for label, name in enumerate(ap.classes)
        },
    }


def _trends(diagnosis: Diagnosis) -> dict[str, Any]:
    matching, iou = diagnosis.matching, diagnosis.iou
    kinds = error_masks(matching, diagnosis.similar, strong=iou)
    trend = detection_trend(matching, diagnosis.similar, strong=iou)
    return trends_to_json(trend, {ALL: false_positive_trend(matching, kinds)}, {ALL: matching.truth.classes})


def _class(diagnosis: Diagnosis, label: int) -> dict[str, Any]:
    breakdown, ap = diagnosis.breakdown, diagnosis.ap
    objects = int(breakdown.objects[label])
    detections = int((diagnosis.detections.labels == label).sum())
    nothing = "no detection of this class" if detections == 0 else "none of its detections counts"
    return {
        "objects": objects,
        "detections": detections,
        "top": {
            "n": int(breakdown.counts[label].sum()),
            **_numbers(TYPE_NAMES, breakdown.shares[label], nothing),
        },
        "ap": _numbers(AP_KINDS, (getattr(ap, kind)[label] for kind in AP_KINDS), _why_no_ap(objects)),
    }


def _why_no_ap(objects: int) -> str:
    return "COCO's average precision was not asked for" if objects else "no object that is not difficult"


def _numbers(names: Iterable[str], values: Iterable[float], reason: str) -> dict[str, float | str | None]:
    numbers: dict[str, float | str | None] = {
        name: None if math.isnan(value) else float(value) for name, value in zip(names, values, strict=True)
    }
    return numbers | {"reason": reason} if None in numbers.values() else numbers
