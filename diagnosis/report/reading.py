"""What the sections share in reading ``diagnosis.json``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

__all__ = ["Json", "classes_of", "mean", "ordered"]

Json = Mapping[str, Any]


def classes_of(detector: Json) -> Json:
    """The entry of each class."""
    classes: Json = detector.get("classes") or {}
    return classes


def mean(values: Sequence[float]) -> float | None:
    """The mean; None of nothing."""
    return sum(values) / len(values) if values else None


def ordered(names: Iterator[str]) -> list[str]:
    """Each name once, in the order of first appearance."""
    return list(dict.fromkeys(names))
