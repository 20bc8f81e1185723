"""What one or several detectors get wrong, as a record, as a table and in words."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from diagnosis.average_precision import AP_KINDS
from diagnosis.breakdown import ERROR_TYPES
from diagnosis.record import Diagnosis

__all__ = ["sentences", "table"]

TYPE_NAMES = tuple(kind.name for kind in ERROR_TYPES)


# ---- a table for the terminal ----------------------------------------------------------------


def table(diagnoses: Sequence[Diagnosis]) -> str:
    """Shares and average precision in per cent, of each detector and of each of its classes."""
    headings = ["counted", *TYPE_NAMES, *(kind.heading for kind in AP_KINDS.values())]
    rows = [["all classes", *headings]]
    for diagnosis in diagnoses:
        breakdown = diagnosis.breakdown
        counted = f"{breakdown.counts.sum():,}"
        mean = [*breakdown.mean_over_classes(), *diagnosis.ap.mean().values()]
        rows.append([diagnosis.name, counted, *map(_percent, mean)])
        rows.append(["  pooled", "", *map(_percent, breakdown.pooled()), *[""] * len(AP_KINDS)])
    parts = [
        "Per cent of the detections counted (mean over classes) and mean average precision",
        _aligned(rows),
    ]
    for diagnosis in diagnoses:
        breakdown, ap = diagnosis.breakdown, diagnosis.ap
        rows = [["class", "objects", *headings]]
        for label, name in enumerate(breakdown.classes):
            counts = [f"{breakdown.objects[label]:,}", f"{breakdown.counts[label].sum():,}"]
            numbers = [*breakdown.shares[label], *(getattr(ap, kind)[label] for kind in AP_KINDS)]
            rows.append([name, *counts, *map(_percent, numbers)])
        parts += ["", diagnosis.name, _aligned(rows)]
    return "\n".join(parts)


def _percent(share: float) -> str:
    return "-" if math.isnan(share) else f"{100 * share:.1f}"


def _aligned(rows: Sequence[Sequence[str]]) -> str:
    """Columns as wide as needed, the first one flush left, the others flush right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for first, *rest in rows:
        cells = [f"{cell:>{width}}" for cell, width in zip(rest, widths[1:], strict=True)]
        lines.append("  ".join([f"{first:<{widths[0]}}", *cells]).rstrip())
    lines.insert(1, "-" * max(map(len, lines)))
    return "\n".join(lines)


# ---- in words --------------------------------------------------------------------------------


def sentences(diagnoses: Sequence[Diagnosis]) -> list[str]:
    """What the numbers say: each detector, then how each further one differs from the first.

    Differences are those of the numbers measured; how far chance alone goes is another question.
    """
    spoken = [_one(diagnosis) for diagnosis in diagnoses]
    for other in diagnoses[1:]:
        spoken += _two(diagnoses[0], other)
    return spoken


def _one(diagnosis: Diagnosis) -> str:
    shares = diagnosis.breakdown.mean_over_classes()
    if np.isnan(shares).any():
        return f"{diagnosis.name}: no detection counts, so there is nothing to break down."
    classes = int((diagnosis.breakdown.counts.sum(axis=1) > 0).sum())
    correct, localization, similar, other, background = (f"{100 * share:.1f} %" for share in shares)
    over = f"{classes} {'class' if classes == 1 else 'classes'}"
    counted = int(diagnosis.breakdown.counts.sum())
    return (
        f"{diagnosis.name}: of the {counted:,} detections counted, averaged over {over}, "
        f"{correct} are correct, {localization} localization errors, {similar} on objects of a similar "
        f"class, {other} of another class, and {background} on background. {_score(diagnosis)}"
    )


def _score(diagnosis: Diagnosis) -> str:
    mean = diagnosis.ap.mean()["voc07"]
    return "" if math.isnan(mean) else f"Mean average precision (VOC 2007, 11 points): {100 * mean:.1f} %."


def _two(first: Diagnosis, other: Diagnosis) -> list[str]:
    # A class in which one of them detects nothing would count for the other alone.
    shares = [d.breakdown.shares for d in (first, other)]
    detected = np.array([~np.isnan(share).any(axis=1) for share in shares])  # (2, C)
    both = np.asarray(detected.all(axis=0))
    if not both.any():
        return []
    ours, theirs = (dict(zip(TYPE_NAMES, share[both].mean(axis=0), strict=True)) for share in shares)
    limited = bool((detected != both).any())
    before, after = ours["localization"], theirs["localization"]
    times = f", {after / before:.2f} times the share" if before > 0 else ""
    told = []
    if limited:
        names = ", ".join(name for name, counted in zip(first.truth.classes, both, strict=True) if counted)
        told.append(f"Compared below over the classes in which both detect something: {names}.")
    told += [
        f"Localization errors: {_change(before, after, first.name, other.name)}{times}.",
        "Correct and localization together: "
        f"{_change(ours['correct'] + before, theirs['correct'] + after, first.name, other.name)}.",
    ]
    score, other_score = (d.ap.mean()["voc07"] for d in (first, other))
    if not math.isnan(score):  # of the same objects: both are defined, or neither
        told.append(
            f"Mean average precision (VOC 2007): {_change(score, other_score, first.name, other.name)}."
        )
    return told


def _change(before: float, after: float, first: str, other: str) -> str:
    # Of the numbers as printed, so that the reader's own subtraction agrees.
    points = round(100 * after, 1) - round(100 * before, 1)
    words = (
        "no difference"
        if round(points, 1) == 0
        else f"{abs(points):.1f} points {'more' if points > 0 else 'less'}"
    )
    return f"{100 * before:.1f} % with {first}, {100 * after:.1f} % with {other}: {words}"
