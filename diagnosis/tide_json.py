"""TIDE's findings as plain dicts, for ``diagnosis.json``."""

from __future__ import annotations

import math
from collections.abc import Mapping

from diagnosis.tide import TIDE_ERRORS, Tide, TideRange

__all__ = ["tide_range_to_json", "tide_to_json"]


def tide_to_json(result: Tide) -> dict[str, object]:
    """TIDE's part of ``diagnosis.json``: plain dicts, lists, strings and finite numbers.

    The AP is called after its overlap, ``ap50``. What does not exist is None, with a ``reason`` beside it.
    """
    gains, counts = result.class_dap, result.class_counts.tolist()
    names = [kind.name for kind in TIDE_ERRORS]
    classes = {
        name: {
            **_numbers({_ap_name(result): float(result.ap[label])}, "neither objects nor detections"),
            "dap": _numbers(
                {kind: float(gain[label]) for kind, gain in gains.items()},
                "the class has neither objects nor detections, or none are left once this is fixed",
            ),
            "counts": dict(zip(names, counts[label], strict=True)),
        }
        for label, name in enumerate(result.classes)
    }
    return {
        **_numbers({_ap_name(result): result.mean_ap}, "no class has objects or detections"),
        "dap": _numbers(
            result.dap, "no class has objects or detections, or none has any left once this is fixed"
        ),
        "counts": result.counts,
        "iou": result.iou,
        "background": result.background,
        "max_detections": result.max_detections,
        "classes": classes,
        "confusion": {
            "rows": [*result.classes, "missed"],
            "columns": [*result.classes, "background"],
            "counts": result.confusion_matrix().tolist(),
        },
    }


def tide_range_to_json(result: TideRange) -> dict[str, object]:
    """TIDE over several overlaps, in the manner of :func:`tide_to_json`."""
    reason = "at one of the overlaps it does not exist"
    return {
        "thresholds": list(result.thresholds),
        **_numbers({"ap": result.mean_ap}, reason),
        "dap": _numbers(result.dap, reason),
        "runs": [
            _numbers({_ap_name(run): run.mean_ap}, reason)
            | {"dap": _numbers(run.dap, reason), "counts": run.counts}
            for run in result.runs
        ],
    }


def _ap_name(result: Tide) -> str:
    return f"ap{100 * result.iou:g}"


def _numbers(values: Mapping[str, float], reason: str) -> dict[str, float | str | None]:
    """Finite numbers as they are; None for the others, and then the reason."""
    finite: dict[str, float | str | None] = {
        name: value if math.isfinite(value) else None for name, value in values.items()
    }
    return finite | ({"reason": reason} if None in finite.values() else {})
