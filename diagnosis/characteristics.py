"""Which objects a detector finds: average precision by size, shape, truncation and any other characteristic.

The rules are section 5's. The objects of a bin are scored against the same false positives as all are: true
positives on the objects of other bins become don't-care. So bins compare by *normalised* average precision,
which does not depend on how many objects a bin has.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from diagnosis.assignment import assign
from diagnosis.bins import Characteristic, standard_characteristics
from diagnosis.breakdown import STRONG
from diagnosis.groups import group_indices
from diagnosis.hoiem import (
    HoiemScores,
    best_normalized_precision,
    normal_objects,
    ranked_hits,
    score_runs,
)
from diagnosis.matching import Matching

__all__ = [
    "FEWEST_OBJECTS",
    "MISSED_BELOW",
    "BinScores",
    "Characteristics",
    "Sensitivity",
    "characteristics",
    "characteristics_to_json",
    "sensitivity",
    "sensitivity_to_json",
]

FEWEST_OBJECTS = 5
"""Objects that a bin needs to count for the sensitivity (rules, section 5)."""

MISSED_BELOW = 0.05
"""Normalised precision under which an object counts as missed (rules, section 5)."""


@dataclass(frozen=True, eq=False)
class BinScores:
    """How the objects in each of the B bins of one characteristic fare, for C classes.

    Parameters
    ----------
    characteristic
        What sorts the objects.
    scores
        ``(C, B)`` each; NaN for a bin without objects.
    missed
        ``(C, B)`` number of objects missed.
    """

    characteristic: Characteristic
    scores: HoiemScores
    missed: NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Characteristics:
    """How objects fare by each of their characteristics.

    Parameters
    ----------
    classes
        Names of the C classes.
    overall
        ``(C,)`` each: all objects of a class.
    missed
        ``(C,)`` number of objects missed.
    precision
        ``(N,)`` normalised precision, made monotone, at which each object is found; 0 if never.
    tables
        One for each characteristic.
    """

    classes: tuple[str, ...]
    overall: HoiemScores
    missed: NDArray[np.int64]
    precision: NDArray[np.float64]
    tables: tuple[BinScores, ...]


@dataclass(frozen=True)
class Sensitivity:
    """How much a characteristic matters, averaged over the classes for which it is known.

    Parameters
    ----------
    name
        The characteristic, or the family of several.
    classes
        Names of the classes that count: those with a bin of enough objects.
    overall
        Normalised average precision of all objects; NaN, like the others, if no class counts.
    lowest, highest
        That of the bin of each class that is lowest and highest in it.
    """

    name: str
    classes: tuple[str, ...]
    overall: float
    lowest: float
    highest: float

    @property
    def sensitivity(self) -> float:
        """How far the bins lie apart: the highest less the lowest."""
        return self.highest - self.lowest

    @property
    def impact(self) -> float:
        """How much there is to gain if all objects were found like the best: the highest less the overall."""
        return self.highest - self.overall


def characteristics(
    matching: Matching,
    chosen: Sequence[Characteristic] | None = None,
    *,
    edges: Mapping[str, Sequence[float]] | None = None,
    iou: float = STRONG,
    forgive_duplicates: bool = False,
) -> Characteristics:
    """Score the objects of each bin of each characteristic.

    An object that is not in any bin of a characteristic (it is difficult, or it is not annotated) is
    don't-care there, as in Hoiem's tool.

    Parameters
    ----------
    matching
        The overlaps.
    chosen
        The characteristics. Default: :func:`diagnosis.bins.standard_characteristics`.
    edges
        Edges of one's own for some of the default ones.
    iou
        Smallest IoU at which an object is found.
    forgive_duplicates
        Count duplicates as don't-care, as the tool does at its weak threshold.

    Raises
    ------
    InputError
        Edges of a characteristic that is not there.

    Examples
    --------
    >>> from data.records import Detections, GroundTruth
    >>> from diagnosis.matching import match
    >>> boxes = [[0, 0, 10, 10], [20, 20, 80, 80]]
    >>> truth = GroundTruth(["a"], ["dog"], [[90, 90]], [0, 0], [0, 0], boxes)
    >>> found = Detections(["a"], ["dog"], [0], [0], [0.9], boxes[1:])
    >>> table = characteristics(match(truth, found), edges={"area": [32**2]}).tables[0]
    >>> table.characteristic.bins, table.scores.apn.tolist(), table.missed.tolist()
    (('≤ 32²', '> 32²'), [[0.0, 1.0]], [[1, 0]])
    """
    truth, start, objects = matching.truth, matching.class_start, matching.objects
    if chosen is None:
        chosen = standard_characteristics(truth, edges)
    assignment = assign(matching, iou)
    labels = assignment.labels_forgiving_duplicates if forgive_duplicates else assignment.labels
    ranked = labels[matching.order]
    hits = ranked_hits(ranked, start)
    false = hits.above(ranked == -1)
    normal = normal_objects(len(truth.images))
    found = assignment.objects[matching.order[hits.places]]  # (T,)
    precision = np.zeros(len(truth))
    precision[found] = best_normalized_precision(false, hits.start, objects, normal)
    counted = ~matching.ignored
    lost = counted & (precision < MISSED_BELOW)
    return Characteristics(
        truth.classes,
        score_runs(false, hits.start, objects, normal),
        np.bincount(truth.labels[lost], minlength=len(truth.classes)),
        precision,
        tuple(_score_bins(kind, matching, found, false, normal, lost) for kind in chosen),
    )


def _score_bins(
    kind: Characteristic,
    matching: Matching,
    found: NDArray[np.int64],
    false: NDArray[np.int64],
    normal: float,
    lost: NDArray[np.bool_],
) -> BinScores:
    """Scores by bin, from the object behind each true positive and the false positives above it."""
    shape = (len(matching.truth.classes), len(kind.bins))
    cell = np.where(kind.index >= 0, matching.truth.labels * shape[1] + kind.index, -1)  # (N,) class and bin
    counted = (cell >= 0) & (kind.counts_ignored | ~matching.ignored)
    objects, missed = (
        np.bincount(cell[rows], minlength=math.prod(shape)) for rows in (counted, lost & counted)
    )
    of_hit = cell[found]
    inside = np.flatnonzero(of_hit >= 0)
    inside = inside[np.argsort(of_hit[inside], kind="stable")]
    start = np.searchsorted(of_hit[inside], np.arange(math.prod(shape) + 1))
    scores = score_runs(false[inside], start, objects, normal).reshaped(*shape)
    return BinScores(kind, scores, missed.reshape(shape))


def sensitivity(
    result: Characteristics, members: Iterable[str] | None = None, *, fewest: int = FEWEST_OBJECTS
) -> tuple[Sensitivity, ...]:
    """The summary over classes of each characteristic; parts and sides are one each (rules, section 5).

    Parameters
    ----------
    result
        What :func:`characteristics` found.
    members
        Names of the classes to average over; None: all. Of these, a characteristic takes those that have
        a bin with enough objects.
    fewest
        How many objects are enough.

    Raises
    ------
    InputError
        An unknown class, or one twice.
    """
    chosen = group_indices(result.classes, members)
    families: dict[str, list[BinScores]] = {}
    for table in result.tables:
        families.setdefault(table.characteristic.family, []).append(table)
    return tuple(_summary(result, chosen, name, tables, fewest) for name, tables in families.items())


def _summary(
    result: Characteristics, chosen: NDArray[np.int64], name: str, tables: list[BinScores], fewest: int
) -> Sensitivity:
    apn = np.concatenate([table.scores.apn[chosen] for table in tables], axis=1)  # (c, bins of the family)
    enough = np.concatenate([table.scores.objects[chosen] >= max(fewest, 1) for table in tables], axis=1)
    overall = result.overall.apn[chosen]
    counts = enough.any(axis=1) & ~np.isnan(overall)
    if not counts.any():
        return Sensitivity(name, (), math.nan, math.nan, math.nan)
    lowest = np.where(enough, apn, np.inf)[counts].min(axis=1)
    highest = np.where(enough, apn, -np.inf)[counts].max(axis=1)
    names = tuple(result.classes[label] for label in chosen[counts])
    return Sensitivity(
        name, names, float(overall[counts].mean()), float(lowest.mean()), float(highest.mean())
    )


# ---- JSON ------------------------------------------------------------------------------------

Numbers = dict[str, float | str | None]


def characteristics_to_json(result: Characteristics) -> dict[str, dict[str, list[Numbers]]]:
    """The ``characteristics`` of each class, by class and characteristic, for ``diagnosis.json``.

    A number that does not exist is None, and its dict has a ``reason``.
    """
    return {
        name: {
            table.characteristic.name: [
                _bin(table, label, position, bin_) for position, bin_ in enumerate(table.characteristic.bins)
            ]
            for table in result.tables
        }
        for label, name in enumerate(result.classes)
    }


def _bin(table: BinScores, label: int, position: int, name: str) -> Numbers:
    numbers: Numbers = {
        "bin": name,
        "objects": int(table.scores.objects[label, position]),
        "missed": int(table.missed[label, position]),
    }
    for column in ("ap", "apn", "ap_stderr", "apn_stderr"):
        value = float(getattr(table.scores, column)[label, position])
        numbers[column] = None if math.isnan(value) else value
    return numbers if numbers["objects"] else numbers | {"reason": "no object of this class in this bin"}


def sensitivity_to_json(summary: Sequence[Sensitivity]) -> dict[str, dict[str, float | int | str | None]]:
    """The summary of each characteristic over the classes, by its name, for ``diagnosis.json``."""
    told: dict[str, dict[str, float | int | str | None]] = {}
    for one in summary:
        told[one.name] = {"classes": len(one.classes)}
        for column in ("overall", "lowest", "highest", "sensitivity", "impact"):
            value = float(getattr(one, column))
            told[one.name][column] = None if math.isnan(value) else value
        if not one.classes:
            told[one.name]["reason"] = "no class has a bin of enough objects"
    return told
