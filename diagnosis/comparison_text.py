"""A comparison as a table and in words."""

from __future__ import annotations

import math

from diagnosis.compare import Comparison, Difference, p_value, quantity_name

__all__ = ["comparison_sentences", "comparison_table"]

PHRASES = {
    "share/localization": ("localization errors", "rise", "fall", "do"),
    "share/correct_and_localization": ("correct + localization", "rises", "falls", "does"),
    "share/correct": ("correct detections", "rise", "fall", "do"),
    "share/similar": ("confusions with similar classes", "rise", "fall", "do"),
    "share/other": ("confusions with other classes", "rise", "fall", "do"),
    "share/background": ("detections on background", "rise", "fall", "do"),
    "map/voc07": ("mean average precision (VOC 2007)", "rises", "falls", "does"),
}
"""What is told of a pair of detectors: the subject, and its verbs."""

COSTS = {
    "dap": "What fixing errors would add to AP (TIDE's dAP)",
    "impact": "What forgiving errors would add to Hoiem's AP",
}
"""What is told of the costs of error types: by section, what the numbers are."""

TABLE_SECTIONS = {
    "share": "",
    "map": "",
    "dap": "TIDE: AP gained by fixing",
    "impact": "Hoiem: AP gained with",
}
"""Sections of the table, with the line above each."""

WHY_NOT_100 = (
    "Each gain is what fixing one error alone would add, all others left as they are. The gains overlap, and "
    "none mends\nthe ranking, so they do not add up to what AP lacks to 100."
)
"""Below the costs of the error types."""


# ---- a table for the terminal ----------------------------------------------------------------


def comparison_table(comparison: Comparison) -> str:
    """Mean shares, average precisions and costs of the error types of each detector, in per cent, with
    intervals; then how the others differ from the first, in points, with paired intervals and p-values.
    """
    others = range(1, len(comparison.names))
    rows = [
        ["", *comparison.names, *(f"{comparison.names[b]} − {comparison.names[0]}" for b in others)],
    ]
    for section, heading in TABLE_SECTIONS.items():
        quantities = [q for q in comparison.quantities if q.split("/")[0] == section]
        if heading and quantities:
            rows.append([heading] + [""] * (len(rows[0]) - 1))
        for quantity in quantities:
            estimates = [comparison.estimate(quantity, detector) for detector in range(len(comparison.names))]
            gaps = [comparison.difference(quantity, 0, b) for b in others]
            rows.append(
                [
                    "  " * bool(heading) + quantity_name(quantity),
                    *(f"{_points(e.value):>5} {_range(e.low, e.high):<12}" for e in estimates),
                    *(_gap_cell(gap, comparison.replicates) for gap in gaps),
                ]
            )
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [
        "  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]
    lines.insert(1, "-" * max(map(len, lines)))
    title = (
        f"Per cent (mean over classes) with {100 * comparison.level:g} % intervals: "
        f"{comparison.replicates:,} resamples of {comparison.images:,} images"
    )
    footnote = [WHY_NOT_100] if any(q.split("/")[0] in COSTS for q in comparison.quantities) else []
    return "\n".join([title, *lines, *footnote])


def _gap_cell(gap: Difference, replicates: int) -> str:
    if math.isnan(gap.low):
        return "    -"
    p = p_value(gap.p, replicates - gap.undefined)
    return f"{_points(gap.difference, True):>5} {_range(gap.low, gap.high):<14} p {p}"


def _points(value: float, sign: bool = False) -> str:
    if math.isnan(value):
        return "-"
    return f"{100 * value + 0.0:{'+' if sign else ''}.1f}".replace("-", "−")


def _range(low: float, high: float) -> str:
    return "" if math.isnan(low) else f"[{_points(low)}, {_points(high)}]"


# ---- in words --------------------------------------------------------------------------------


def comparison_sentences(comparison: Comparison) -> list[str]:
    """How each further detector differs from the first, in points (hundredths) with intervals.

    A difference whose interval holds zero is said not to differ: chance alone may have made it.
    """
    if len(comparison.names) < 2:
        return []
    first = comparison.names[0]
    told = [
        f"Differences in points, with {100 * comparison.level:g} % intervals of {comparison.replicates:,} "
        f"resamples of the {comparison.images:,} images."
    ]
    for b in range(1, len(comparison.names)):
        clauses = []
        for quantity, words in PHRASES.items():
            gap = comparison.difference(quantity, 0, b)
            if not math.isnan(gap.low):
                clauses.append(_clause(gap, *words))
        name = comparison.names[b]
        if not clauses:
            told.append(f"From {first} to {name}: nothing to compare, they share no class with detections.")
            continue
        shared = comparison.shared_classes("share/correct", 0, b)
        over = "" if shared.all() else f" (over {shared.sum()} classes in which both detect something)"
        told.append(f"From {first} to {name}{over}: {'; '.join(clauses)}.")
        for section, what in COSTS.items():
            costs = _costs(comparison, b, section)
            told += [f"{what}, from {first} to {name}: {costs}."] if costs else []
    return told


def _costs(comparison: Comparison, b: int, section: str) -> str:
    """The error types whose cost differs from the first detector's, the largest change first; the rest."""
    gaps = {
        quantity_name(quantity): comparison.difference(quantity, 0, b)
        for quantity in comparison.quantities
        if quantity.split("/")[0] == section
    }
    gaps = {name: gap for name, gap in gaps.items() if not math.isnan(gap.low)}
    changed = sorted((name for name in gaps if gaps[name].differs), key=lambda n: -abs(gaps[n].difference))
    same = [name for name in gaps if name not in changed]
    return "; ".join(_clause(gaps[name], name, *_verbs(name)) for name in [*changed, *same])


def _verbs(name: str) -> tuple[str, str, str]:
    """Of several (all false positives) or of one."""
    return ("rise", "fall", "do") if name.startswith("all ") else ("rises", "falls", "does")


def _clause(gap: Difference, subject: str, rises: str, falls: str, does: str) -> str:
    interval = _range(gap.low, gap.high)
    if not gap.differs:
        return f"{subject} {does} not differ {interval}"
    if gap.difference < 0:
        interval = _range(-gap.high, -gap.low)
    verb = rises if gap.difference > 0 else falls
    return f"{subject} {verb} by {_points(abs(gap.difference))} points {interval}"
