"""What ``diagnosis.json`` holds: all findings as plain dicts, lists, strings and finite numbers.

Shares and average precisions are fractions. A number that does not exist is None, and the dict that holds it
has a ``reason``.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data.records import InputError
from diagnosis.average_precision import AP_KINDS, OperatingPoint
from diagnosis.breakdown import ERROR_NAMES
from diagnosis.calibration import Calibration
from diagnosis.characteristics import UNITS, BinScores
from diagnosis.compare import ClassOrMean, Comparison, Estimate
from diagnosis.fates import FATES
from diagnosis.flow import flow
from diagnosis.impact import IMPACT_VARIANTS
from diagnosis.record import Diagnosis, check_same_truth
from diagnosis.similar import ALL
from diagnosis.tide import TIDE_ERRORS, Tide
from diagnosis.verdict import AGREE, enough_objects

__all__ = ["SCHEMA", "comparison_to_json", "intervals_to_json", "to_json"]

SCHEMA = 1
"""Version of the layout of ``diagnosis.json``."""


NO_OBJECT, NO_COCO = "no object that is not difficult", "COCO's AP was not asked for"

Json = dict[str, Any]


def to_json(
    diagnoses: Sequence[Diagnosis],
    provenance: Mapping[str, Any],
    comparison: Sequence[Mapping[str, Any]] = (),
    intervals: Sequence[Mapping[str, Any]] = (),
    notes: Sequence[str] = (),
    verdict: str = "",
) -> Json:
    """The content of ``diagnosis.json``, schema 1.

    Parameters
    ----------
    diagnoses
        The diagnoses of one or several detectors.
    provenance
        Where the numbers come from.
    comparison, intervals
        From :func:`comparison_to_json` and :func:`intervals_to_json`.
    notes
        What makes the numbers uncertain, see :func:`diagnosis.words.notes`.
    verdict
        Of a comparison; by default that of each detector.

    Examples
    --------
    >>> from data.records import Detections, GroundTruth
    >>> from diagnosis import diagnose
    >>> truth = GroundTruth(["a"], ["dog"], [[90, 90]], [0], [0], [[0, 0, 9, 9]])
    >>> content = to_json([diagnose(truth, Detections(["a"], ["dog"], [], [], [], []), coco=False)], {})
    >>> content["detectors"][0]["classes"]["dog"]["top"]["reason"]
    'no detection of this class'
    """
    return {
        "schema": SCHEMA,
        "verdict": verdict or " ".join(diagnosis.verdict for diagnosis in diagnoses),
        "detectors": [_detector(diagnosis) for diagnosis in diagnoses],
        "comparison": [dict(pair) for pair in comparison],
        "intervals": [dict(one) for one in intervals],
        "flow": _flows(diagnoses),
        "notes": list(notes),
        "provenance": dict(provenance),
    }


def _numbers(values: Mapping[str, float], reason: str) -> Json:
    """The numbers, NaN as None; then also the reason."""
    numbers: Json = {name: None if math.isnan(value) else float(value) for name, value in values.items()}
    return numbers | {"reason": reason} if None in numbers.values() else numbers


def _by_type(shares: NDArray[np.float64], reason: str, **more: float) -> Json:
    """Shares of all error types, or of the errors alone."""
    return _numbers(dict(zip(ERROR_NAMES[-len(shares) :], shares, strict=True)) | more, reason)


# ---- one detector ----------------------------------------------------------------------------


def _detector(diagnosis: Diagnosis) -> Json:
    breakdown, ap = diagnosis.breakdown, diagnosis.ap
    nothing = "no detection counts: there is none of a class that has objects"
    worst = _worst_cases(diagnosis)
    return {
        "name": diagnosis.name,
        "iou": diagnosis.iou,
        "similar": {
            name: [ap.classes[other] for other in np.flatnonzero(row).tolist()]
            for name, row in zip(ap.classes, diagnosis.similar, strict=True)
        },
        "breakdown": {
            "mean_over_classes": _by_type(breakdown.mean_over_classes(), nothing),
            "pooled": _by_type(breakdown.pooled(), nothing),
        },
        "map": _numbers(ap.mean(), _why_no_ap(int(ap.objects.sum()))),
        "coco": _coco(diagnosis, None),
        "account": _account(diagnosis),
        "tide": _tide(diagnosis.tide),
        "trends": {
            ALL: {"detections": _detection_trend(diagnosis), "false_positives": _false_positives(diagnosis)}
        },
        "sensitivity": _sensitivity(diagnosis),
        "bins": {
            table.characteristic.name: _bins(table, ap.classes) for table in diagnosis.characteristics.tables
        },
        "confusion": _confusion(diagnosis),
        "calibration": _calibration(diagnosis.calibration),
        "operating_points": {
            "overall": _operating_point(diagnosis.operating_points.overall),
            "classes": dict(
                zip(ap.classes, map(_operating_point, diagnosis.operating_points.each), strict=True)
            ),
        },
        "classes": {
            name: _class(diagnosis, label) | {"extremes": worst[name]}
            for label, name in enumerate(ap.classes)
        },
    }


def _class(diagnosis: Diagnosis, label: int) -> Json:
    breakdown, ap, cost = diagnosis.breakdown, diagnosis.ap, diagnosis.impact.scores
    objects = int(breakdown.objects[label])
    detections = int((diagnosis.detections.labels == label).sum())
    nothing = "no detection of this class" if detections == 0 else "none of its detections counts"
    return {
        "objects": objects,
        "detections": detections,
        "top": {"n": int(breakdown.counts[label].sum()), **_by_type(breakdown.shares[label], nothing)},
        "ap": _numbers({kind: getattr(ap, kind)[label] for kind in AP_KINDS}, _why_no_ap(objects)),
        "coco": _coco(diagnosis, label),
        "impact": {
            variant.name: _numbers({"ap": cost.ap[row, label], "apn": cost.apn[row, label]}, NO_OBJECT)
            for row, variant in enumerate(IMPACT_VARIANTS)
        },
        "characteristics": {
            table.characteristic.name: _bin_scores(table, label) for table in diagnosis.characteristics.tables
        },
    }


def _why_no_ap(objects: int) -> str:
    return NO_COCO if objects else NO_OBJECT


def _coco(diagnosis: Diagnosis, label: int | None) -> Json:
    """COCO's twelve scores of a class, or their means."""
    if not diagnosis.coco:
        return {"reason": NO_COCO}
    scores, means = diagnosis.coco_scores, diagnosis.coco_scores.mean()
    numbers = means if label is None else {name: getattr(scores, name)[label] for name in means}
    return _numbers(numbers, "no object of this size that is not difficult")


def _account(diagnosis: Diagnosis) -> Json:
    """What is odd about the data, with the ranges of what ties leave open."""
    entry = asdict(diagnosis.account)
    for name in ("map_range", "correct_range"):
        low, high = entry.pop(name)
        entry[name] = _numbers({"low": low, "high": high}, "no two detections tie")
    return entry


def _tide(result: Tide) -> Json:
    """TIDE's findings; the AP is named after its overlap, ``ap50``."""
    ap_name, names = f"ap{100 * result.iou:g}", [error.name for error in TIDE_ERRORS]
    gains, counts = result.class_dap, result.class_counts.tolist()
    return {
        **_numbers({ap_name: result.mean_ap}, "no class has objects or detections"),
        "dap": _numbers(
            result.dap, "no class has objects or detections, or none has any left once this is fixed"
        ),
        "counts": result.counts,
        "iou": result.iou,
        "background": result.background_iou,
        "max_detections": result.max_detections,
        "classes": {
            name: {
                **_numbers({ap_name: result.ap[label]}, "neither objects nor detections"),
                "dap": _numbers(
                    {error: gain[label] for error, gain in gains.items()},
                    "the class has neither objects nor detections, or none are left once this is fixed",
                ),
                "counts": dict(zip(names, counts[label], strict=True)),
            }
            for label, name in enumerate(result.classes)
        },
        "confusion": {
            "rows": [*result.classes, "missed object"],
            "columns": [*result.classes, "background"],
            "counts": result.confusion_matrix().tolist(),
        },
    }


def _detection_trend(diagnosis: Diagnosis) -> list[Json]:
    trend = diagnosis.detection_trend
    recalls = trend.recall(), trend.recall(at_background_iou=True)
    points = zip(trend.factors, trend.counts, trend.shares(), *recalls, strict=True)
    nothing = "no detection, or no object that is not difficult"
    return [
        {
            "factor": float(factor),
            "n": int(counts.sum()),
            **_by_type(shares, nothing, recall=recall, recall_weak=weak),
        }
        for factor, counts, shares, recall, weak in points
    ]


def _false_positives(diagnosis: Diagnosis) -> list[Json]:
    trend = diagnosis.false_positive_trends[ALL]
    return [
        {
            "wanted": int(wanted),
            "n": int(counts.sum()),
            **_by_type(shares, "no false positive"),
        }
        for wanted, counts, shares in zip(trend.wanted, trend.counts, trend.shares, strict=True)
    ]


def _sensitivity(diagnosis: Diagnosis) -> Json:
    columns = ("overall", "lowest", "highest", "sensitivity", "impact")
    return {
        one.name: {
            "classes": len(one.classes),
            **_numbers(
                {column: getattr(one, column) for column in columns}, "no class has a bin of enough objects"
            ),
        }
        for one in diagnosis.sensitivity
    }


def _bins(table: BinScores, classes: Sequence[str]) -> Json:
    """How a characteristic sorts the objects; an edge is the largest value of its bin.

    ``by`` says whether by ``edges`` (the same for all classes), ``quantiles`` (``edges`` are then by class,
    of those with objects) or ``value``.
    """
    characteristic = table.characteristic
    entry: Json = {"bins": list(characteristic.bins)}
    if characteristic.name in UNITS:
        entry["unit"] = UNITS[characteristic.name]
    edges = characteristic.edges
    if edges is None:
        return entry | {"by": "value"}
    if edges.ndim == 1:
        return entry | {"by": "edges", "edges": edges.tolist()}
    by_class = {
        name: row.tolist() for name, row in zip(classes, edges, strict=True) if not np.isnan(row).any()
    }
    return entry | {"by": "quantiles", "edges": by_class}


def _bin_scores(table: BinScores, label: int) -> list[Json]:
    scores, scores_of_bin = table.scores, ("ap", "apn", "ap_stderr", "apn_stderr")
    return [
        {
            "bin": name,
            "objects": int(scores.objects[label, place]),
            "missed": int(table.missed[label, place]),
            **_numbers(
                {name: getattr(scores, name)[label, place] for name in scores_of_bin},
                "no object of this class in this bin",
            ),
        }
        for place, name in enumerate(table.characteristic.bins)
    ]


def _confusion(diagnosis: Diagnosis) -> Json:
    result = diagnosis.confusion
    return {
        "rows": [*result.classes, "background"],
        "columns": [*result.classes, "not found"],
        "counts": result.counts.tolist(),
        **_numbers({"score": result.score}, "no score gives a true positive: all detections are kept"),
        "iou": result.iou,
    }


def _calibration(result: Calibration) -> Json:
    """The reliability curve over all classes, and the errors of each."""

    def errors(label: int | None) -> Json:
        values = {
            "expected_error": result.expected_error(label),
            "largest_error": result.largest_error(label),
        }
        return _numbers(values, result.reason or "no detection of this class")

    counts, (scores, precisions) = result.counts.sum(axis=0), result.curve()
    return {
        **errors(None),
        "bins": [
            {
                "low": float(result.edges[place]),
                "high": float(result.edges[place + 1]),
                "detections": count,
                **_numbers(
                    {"score": scores[place], "precision": precisions[place]},
                    result.reason or "no detection in this bin",
                ),
            }
            for place, count in enumerate(counts.tolist())
        ],
        "classes": {name: errors(label) for label, name in enumerate(result.classes)},
    }


def _operating_point(point: OperatingPoint) -> Json:
    lacking = NO_OBJECT if math.isnan(point.f1) else "no true positive at any score"
    return _numbers(asdict(point), lacking)


def _worst_cases(diagnosis: Diagnosis) -> dict[str, Json]:
    """Most confident errors, objects found last and objects missed, of each class.

    Rows count from 0 in the order of the records; boxes are xyxy in continuous pixels. The ``confused_with``
    of an error is None where it is on no object of another class.
    """
    result, truth, found = diagnosis.worst_cases, diagnosis.truth, diagnosis.detections
    classes: dict[str, Json] = {
        name: {"errors": [], "found_last": [], "missed": []} for name in truth.classes
    }

    def add(section: str, detection: int, more: Json) -> None:
        entry = {
            "detection": detection,
            "image": truth.images[found.image_index[detection]],
            "score": float(found.scores[detection]),
            "box": found.boxes[detection].tolist(),
        }
        classes[truth.classes[found.labels[detection]]][section].append(entry | more)

    columns = (result.errors, result.error_types, result.confused_with)
    for detection, error, other in zip(*(column.tolist() for column in columns), strict=True):
        confused_with = truth.classes[other] if other >= 0 else None
        add("errors", detection, {"type": ERROR_NAMES[error], "confused_with": confused_with})
    for detection, row in zip(result.found_last.tolist(), result.found_objects.tolist(), strict=True):
        add("found_last", detection, {"object": row})
    for row in result.missed.tolist():
        image, box = truth.images[truth.image_index[row]], truth.boxes[row].tolist()
        classes[truth.classes[truth.labels[row]]]["missed"].append(
            {"object": row, "image": image, "box": box}
        )
    return classes


# ---- several detectors -----------------------------------------------------------------------


def _flows(diagnoses: Sequence[Diagnosis]) -> list[Json]:
    """What became of each object, from the first detector to each other; none on different ground truths."""

    def nested(counts: NDArray[np.int64]) -> Json:
        names = [fate.name for fate in FATES]
        return {
            start: dict(zip(names, row, strict=True))
            for start, row in zip(names, counts.tolist(), strict=True)
        }

    try:
        check_same_truth(diagnoses)
    except InputError:
        return []
    flows = [flow(diagnoses[0], other) for other in diagnoses[1:]]
    return [
        {
            "a": result.names[0],
            "b": result.names[1],
            "counted": result.counted,
            "objects": int(result.counts.sum()),
            "all": nested(result.total()),
            "classes": dict(zip(result.classes, map(nested, result.counts), strict=True)),
        }
        for result in flows
    ]


def comparison_to_json(comparison: Comparison) -> list[Json]:
    """The ``comparison`` of ``diagnosis.json``: an entry for each pair of detectors, the earlier one as `a`.

    Each quantity is ``{"difference", "low", "high", "p", "clear"}``, `b` less `a`, under its section
    (``share``, ``pooled``, ``objects``, ``map``, ``impact``, ``tide``, ``dap``) over all classes, and again
    under ``classes``. Where the resamples agree ``low``, ``high`` and ``p`` are None.
    """
    return [
        {"a": comparison.names[a], "b": comparison.names[b]}
        | _quantities(comparison, partial(_gap, comparison, a, b))
        for a, b in itertools.combinations(range(len(comparison.names)), 2)
    ]


def intervals_to_json(comparison: Comparison) -> list[Json]:
    """An entry for each detector or group: every quantity with its interval, over all classes and by class.

    Each is ``{"value", "low", "high", "error"}``, ``low`` and ``high`` None where the resamples agree; for
    groups of several runs with ``runs_deviation``, their standard deviation, and with ``each_run``: by the
    run's name its own numbers over all classes. Where some classes have few objects, ``dap_enough_objects``
    has the gains over the others, those of the verdict. ``rank`` counts from 1, the detector that the verdict
    says to fix.
    """
    entries = []
    rank = {detector: place for place, detector in enumerate(comparison.ranking, 1)}
    enough, over = enough_objects(comparison.objects)
    for detector, (name, runs) in enumerate(zip(comparison.names, comparison.members, strict=True)):
        entry: Json = {"name": name, "runs": list(runs), "rank": rank[detector]}
        entry |= _quantities(comparison, partial(_estimate, comparison, detector))
        if over and "dap" in entry:
            entry["dap_enough_objects"] = {
                name: _estimate(comparison, detector, f"dap/{name}", enough) for name in entry["dap"]
            }
        if len(runs) > 1:
            entry["each_run"] = {
                run: _by_section(comparison.quantities, partial(_of_run, comparison, detector, place))
                for place, run in enumerate(runs)
            }
        entries.append(entry)
    return entries


def _by_section(
    quantities: Iterable[str], number: Callable[[str, int | None], Json], label: int | None = None
) -> Json:
    """The number of each quantity ``section/name``, by section and name."""
    entry: Json = {}
    for quantity in quantities:
        section, name = quantity.split("/", 1)
        entry.setdefault(section, {})[name] = number(quantity, label)
    return entry


def _quantities(comparison: Comparison, number: Callable[[str, int | None], Json]) -> Json:
    """Every quantity by section, over all classes and for each; with the settings of the resampling."""
    by_class = [quantity for quantity in comparison.quantities if quantity in comparison.by_class]
    return {
        "images": comparison.images,
        "replicates": comparison.replicates,
        "seed": comparison.seed,
        "level": comparison.level,
        **_by_section(comparison.quantities, number),
        "classes": {
            name: _by_section(by_class, number, label) for label, name in enumerate(comparison.classes)
        },
    }


def _gap(comparison: Comparison, a: int, b: int, quantity: str, label: int | None) -> Json:
    gap = comparison.difference(quantity, a, b, label)
    numbers = {"difference": gap.difference, "low": gap.low, "high": gap.high, "p": gap.p}
    entry = _resampled(comparison, numbers, gap.undefined, "one of the two has no such number")
    return entry | {"clear": gap.differs}


def _estimate(comparison: Comparison, detector: int, quantity: str, label: ClassOrMean) -> Json:
    return _interval(comparison, comparison.estimate(quantity, detector, label))


def _of_run(comparison: Comparison, detector: int, run: int, quantity: str, _: int | None) -> Json:
    return _interval(comparison, comparison.run_estimate(quantity, detector, run))


def _interval(comparison: Comparison, estimate: Estimate) -> Json:
    numbers = {"value": estimate.value, "low": estimate.low, "high": estimate.high, "error": estimate.error}
    if not math.isnan(estimate.runs):
        numbers["runs_deviation"] = estimate.runs
    reason = "there is no such number: no object, or nothing counted"
    return _resampled(comparison, numbers, estimate.undefined, reason)


def _resampled(comparison: Comparison, numbers: Mapping[str, float], undefined: int, reason: str) -> Json:
    """The numbers; and in how many replicates they do not exist, where it is not in all."""
    if not math.isnan(next(iter(numbers.values()))):
        agree = undefined < comparison.replicates and math.isnan(numbers["low"])
        reason = f"no interval: {AGREE}" if agree else "too few replicates have it"
    entry = _numbers(numbers, reason)
    return entry | {"undefined_replicates": undefined} if undefined and "reason" not in entry else entry
