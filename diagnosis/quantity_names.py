"""What the quantities of a comparison are called, and how p-values are printed: the same in words, in tables
and in figures.
"""

from __future__ import annotations

import math
import re

__all__ = ["TIDE_LABELS", "ap_at", "impact_label", "p_value", "quantity_name"]

TIDE_LABELS = {
    "cls": "wrong class",
    "loc": "wrong place",
    "both": "wrong class and place",
    "dupe": "duplicate",
    "bkg": "background",
    "miss": "missed object",
    "fp": "all false positives",
    "fn": "all missed objects",
}
VERBS = {
    "ignore": "{} removed",
    "fix": "{} corrected",
    "only": "all but {} removed",
}
IMPACT_LABELS = {"ignore_localization_similar": "localization corrected and similar removed"}
NAMES = {
    "share/correct_and_localization": "correct + localization",
    "map/voc07": "mAP, VOC 2007",
    "map/area": "mAP, area",
    "map/coco": "mAP, COCO at IoU 0.5 to 0.95",
    "map/coco50": "mAP, COCO at IoU 0.5",
    "map/hoiem": "mAP, Hoiem",
    "map/normalized": "mAP, Hoiem, normalised",
}


def quantity_name(quantity: str) -> str:
    """What a quantity of :attr:`diagnosis.comparison.Comparison.quantities` is called.

    Examples
    --------
    >>> quantity_name("share/similar"), quantity_name("map/coco"), quantity_name("dap/loc")
    ('similar', 'mAP, COCO at IoU 0.5 to 0.95', 'wrong place')
    >>> quantity_name("impact/fix_localization"), quantity_name("tide/ap50")
    ('localization corrected', 'AP at IoU 0.5')
    """
    section, _, name = quantity.rpartition("/")
    if section == "impact":
        return impact_label(name)
    if section == "dap":
        return TIDE_LABELS.get(name, name)
    if section == "tide":
        return ap_at(name)
    return NAMES.get(quantity, name.replace("_", " "))


def impact_label(kind: str) -> str:
    """What one of the changes to the ranking is called.

    Examples
    --------
    >>> impact_label("fix_localization"), impact_label("only_background")
    ('localization corrected', 'all but background removed')
    """
    verb, _, what = kind.partition("_")
    return IMPACT_LABELS.get(kind) or VERBS.get(verb, verb + " {}").format(what.replace("_", " "))


def ap_at(key: str) -> str:
    """What TIDE's average precision is called, by its key in ``diagnosis.json``.

    Examples
    --------
    >>> ap_at("ap50"), ap_at("ap62.5"), ap_at("ap")
    ('AP at IoU 0.5', 'AP at IoU 0.625', 'AP')
    """
    overlap = re.fullmatch(r"ap([\d.]*\d)", key)
    return f"AP at IoU {float(overlap[1]) / 100:g}" if overlap else key.replace("ap", "AP", 1)


def p_value(p: float, replicates: float) -> str:
    """A p-value with its sign of relation, as wide for every one; "≤" where fewer replicates cannot tell.

    `replicates` resamples cannot give less than 2 / (replicates + 1): there p is known from above alone.

    Examples
    --------
    >>> p_value(0.0321, 1000), p_value(2 / 1001, 1000), p_value(0.0004, 100_000)
    ('= 0.032', '≤ 0.002', '< 0.001')
    """
    least = 2 / (replicates + 1)
    if 0 < p < 1 and p <= least * (1 + 1e-9):
        return f"≤ {math.ceil(1000 * least - 1e-6) / 1000:.3f}"  # rounded up: rounded down it would not hold
    return "< 0.001" if p < 0.001 else f"= {p:.3f}"
