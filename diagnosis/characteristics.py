"""Which objects a detector finds: average precision by size, shape, truncation and any other characteristic.

The rules are section 5's. The objects of a bin are scored against the same false positives as all are: true
positives on the objects of other bins become don't-care. So bins compare by *normalised* average precision,
which does not depend on how many objects a bin has.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from data.records import UNKNOWN, GroundTruth, InputError
from diagnosis.average_precision import HoiemScores, assumed_objects, score_hits
from diagnosis.breakdown import CORRECT_IOU
from diagnosis.matching import Matching, assign
from diagnosis.rankings import AssumedObjects, Hits, Ranking, envelope
from diagnosis.similar import group_indices

__all__ = [
    "ASPECT_BINS",
    "FEWEST_OBJECTS",
    "MEASURES",
    "MISSED_BELOW",
    "SIZE_BINS",
    "BinScores",
    "Characteristic",
    "Characteristics",
    "Sensitivity",
    "by_category",
    "by_edges",
    "by_quantile",
    "characteristics",
    "sensitivity",
    "standard_characteristics",
]

SIZE_BINS = ("XS", "S", "M", "L", "XL")
"""Extra-small to extra-large: the lowest tenth of a class, the next fifth, the middle, and so on."""

ASPECT_BINS = ("XT", "T", "M", "W", "XW")
"""Extra-tall to extra-wide."""

QUANTILES = np.array([0.1, 0.3, 0.7, 0.9])
CATEGORIES = 12
"""A column of whole numbers with more values than this is binned by size, not by value."""
NAMES = 50
"""A column of texts with more values than this names the objects, it does not describe them."""
OUTSIDE = -1

MEASURES = ("area", "height", "aspect_ratio")
"""What the boxes themselves say, in :data:`UNITS`."""

UNITS = {"area": "square pixels", "height": "pixels", "aspect_ratio": "width / height"}


@dataclass(frozen=True, eq=False)
class Characteristic:
    """A way to sort N objects into bins.

    Parameters
    ----------
    name
        Its name. What is before a dot, as in ``part.tail`` and ``part.wing``, is its family: together
        they are one characteristic in the summary.
    bins
        Names of the B bins.
    index
        ``(N,)`` the bin of each object; −1: none, for what is not known of it.
    counts_ignored
        Whether difficult objects count as objects of their bin, as they do in Hoiem's tool for parts and
        sides (rules, section 5).
    ordered
        Whether the bins follow on one another: sizes do, poses do not.
    edges
        The largest value of each bin but the last: ``(B − 1,)``, or ``(C, B − 1)`` where each class has its
        own, with NaN for a class without objects. None: bins are values, not ranges.
    """

    name: str
    bins: tuple[str, ...]
    index: NDArray[np.int64]
    counts_ignored: bool = False
    ordered: bool = True
    edges: NDArray[np.float64] | None = None

    @property
    def family(self) -> str:
        """The characteristic that it is a part of: itself, or what is before the dot of its name."""
        return self.name.partition(".")[0]


def by_quantile(
    truth: GroundTruth, name: str, values: ArrayLike, bins: tuple[str, ...] = SIZE_BINS
) -> Characteristic:
    """Five bins cut at 10, 30, 70 and 90 % of each class's own objects.

    The edges are the values at the places ``round(0.1 n)``, … of the n sorted values of the class's objects
    that are not ignored, halves rounded up after the product in floating point, as in the tool (0.7 · 325
    is 227.49999999999997 there); never before the first value. A value on an edge falls below it. Ignored
    objects have no bin, nor have those whose value is not known: NaN, or −1 in a column of integers.

    Parameters
    ----------
    truth
        The objects.
    name
        Name of the characteristic.
    values
        ``(N,)`` a number for each object.
    bins
        Five names.

    Raises
    ------
    InputError
        Values that are no numbers or not one for each object.
    """
    numbers = _numbers(truth, name, values)
    counted = ~(truth.difficult | truth.crowd | np.isnan(numbers))
    rows = np.flatnonzero(counted)
    rows = rows[np.lexsort((numbers[rows], truth.labels[rows]))]
    count = np.bincount(truth.labels[rows], minlength=len(truth.classes))  # (C,)
    start = np.cumsum(count) - count
    place = np.maximum(np.floor(count[:, None] * QUANTILES + 0.5).astype(np.int64), 1) - 1  # (C, 4)
    edges = np.full(place.shape, np.nan)
    filled = count > 0
    edges[filled] = numbers[rows][(start[:, None] + place)[filled]]
    index = np.full(len(numbers), OUTSIDE, dtype=np.int64)
    index[rows] = (numbers[rows, None] > edges[truth.labels[rows]]).sum(axis=1)
    return Characteristic(name, bins, index, edges=edges)


def by_edges(truth: GroundTruth, name: str, values: ArrayLike, edges: Sequence[float]) -> Characteristic:
    """Bins with given edges, the same in all classes; a value on an edge falls below it.

    Bins of ``area`` whose edges are all squares of whole numbers are named as such: ``≤ 32²``.

    Parameters
    ----------
    truth, name, values
        As in :func:`by_quantile`.
    edges
        Where one bin ends and the next begins, rising; K edges make K + 1 bins.

    Raises
    ------
    InputError
        No edges, edges that are not finite or do not rise; values that are no numbers or not one for
        each object.

    Examples
    --------
    >>> truth = GroundTruth(["a"], ["dog"], [[90, 90]], [0] * 3, [0] * 3, [[0, 0, n, n] for n in (9, 32, 70)])
    >>> sizes = by_edges(truth, "area", [81, 1024, 4900], edges=[32**2])
    >>> sizes.bins, sizes.index.tolist()
    (('≤ 32²', '> 32²'), [0, 0, 1])
    """
    numbers = _numbers(truth, name, values)
    cuts = np.asarray(edges, dtype=np.float64)
    if cuts.ndim != 1 or not len(cuts) or not np.isfinite(cuts).all() or (np.diff(cuts) <= 0).any():
        raise InputError(f"edges of {name}", repr(list(edges)), "one or more finite numbers that rise")
    sides = np.sqrt(np.maximum(cuts, 0.0))
    squares = name == "area" and bool(((sides == np.floor(sides)) & (sides > 1)).all())
    texts = [f"{side:g}²" for side in sides] if squares else [f"{cut:.10g}" for cut in cuts]
    between = [f"{low}–{high}" for low, high in itertools.pairwise(texts)]
    index = np.searchsorted(cuts, numbers, side="left")
    index[np.isnan(numbers)] = OUTSIDE
    bins = (f"≤ {texts[0]}", *between, f"> {texts[-1]}")
    return Characteristic(name, bins, index.astype(np.int64), edges=cuts)


def by_category(truth: GroundTruth, name: str, values: ArrayLike) -> Characteristic:
    """One bin for each value that occurs, sorted; NaN, None, an integer −1 and the empty text are no value.

    ``truncated`` has the bins 0 and 1 also where one of them is empty. Difficult objects count in the bins
    of a ``part.…`` or ``side.…`` (rules, section 5).

    Parameters
    ----------
    truth, name
        As in :func:`by_quantile`.
    values
        ``(N,)`` a number, a flag or a text for each object.

    Raises
    ------
    InputError
        Not one value for each object.
    """
    column = _column(truth, name, values)
    known = _known(column)
    kinds, places = np.unique(column[known], return_inverse=True)
    index = np.full(len(column), OUTSIDE, dtype=np.int64)
    index[known] = places
    if name == "truncated" and kinds.dtype.kind != "U" and set(kinds.tolist()) <= {0, 1} and len(kinds):
        kinds = np.array([0, 1])
        index[known] = column[known].astype(np.int64)
    bins = tuple(f"{int(kind)}" if kinds.dtype.kind == "b" else str(kind) for kind in kinds)
    parts = name.startswith(("part.", "side."))
    return Characteristic(name, bins, index, counts_ignored=parts, ordered=kinds.dtype.kind != "U")


def standard_characteristics(
    truth: GroundTruth, edges: Mapping[str, Sequence[float]] | None = None
) -> tuple[Characteristic, ...]:
    """Area, height, aspect ratio, and whatever the annotations say of the objects.

    A column of texts, flags or at most 12 different whole numbers has a bin for each value, any other is
    binned by the quantiles of each class. Columns without any value are left out, and so are columns of more
    than 50 different texts, which name the objects rather than describe them.

    Parameters
    ----------
    truth
        The objects.
    edges
        Edges instead of quantiles, by name of the characteristic, see :func:`by_edges`:
        ``{"area": [32**2, 96**2]}`` are COCO's sizes.

    Raises
    ------
    InputError
        Edges for a characteristic that is not there, or that make no bins.
    """
    cuts = dict(edges or {})
    width, height = (truth.boxes[:, axis + 2] - truth.boxes[:, axis] for axis in (0, 1))
    measured = dict(zip(MEASURES, (width * height, height, width / height), strict=True))
    columns: dict[str, NDArray[Any]] = {
        **measured, **{name: column for name, column in truth.attributes.items() if name not in measured}
    }  # fmt: skip
    for name in cuts:
        if name not in columns:
            raise InputError("edges", f"{name!r}", f"one of the characteristics {', '.join(columns)}")
    chosen = []
    for name, column in columns.items():
        if name in cuts:
            chosen.append(by_edges(truth, name, column, cuts[name]))
            continue
        number = len(np.unique(column[_known(column)]))
        if name in measured or (column.dtype.kind in "iuf" and number > CATEGORIES):
            bins = ASPECT_BINS if name == "aspect_ratio" else SIZE_BINS
            chosen.append(by_quantile(truth, name, column, bins))
        elif 0 < number <= NAMES:
            chosen.append(by_category(truth, name, column))
    return tuple(chosen)


def _known(column: NDArray[Any]) -> NDArray[np.bool_]:
    """``(N,)`` values that were annotated."""
    unknown = {"i": UNKNOWN, "U": ""}.get(column.dtype.kind)
    known: NDArray[np.bool_] = np.ones(len(column), dtype=bool) if unknown is None else column != unknown
    return known & ~np.isnan(column) if column.dtype.kind == "f" else known


def _column(truth: GroundTruth, name: str, values: ArrayLike) -> NDArray[Any]:
    column = np.asarray(values)
    if column.shape != (len(truth),):
        raise InputError(name, f"an array of shape {column.shape}", f"one value an object: ({len(truth)},)")
    if column.dtype.kind not in "biufU":
        column = np.array(["" if value is None else str(value) for value in column.tolist()], dtype=str)
    return column


def _numbers(truth: GroundTruth, name: str, values: ArrayLike) -> NDArray[np.float64]:
    column = _column(truth, name, values)
    if column.dtype.kind not in "biuf":
        raise InputError(name, f"values such as {column[0]!s}", "numbers")
    return np.where(_known(column), column.astype(np.float64), np.nan)


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
    iou: float = CORRECT_IOU,
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
        The characteristics. Default: :func:`diagnosis.characteristics.standard_characteristics`.
    edges
        Edges for some of the default ones.
    iou
        Smallest IoU at which an object is found.
    forgive_duplicates
        Count duplicates as don't-care, as the tool does at an IoU of 0.1.

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
    truth, objects = matching.truth, matching.objects
    if chosen is None:
        chosen = standard_characteristics(truth, edges)
    assignment = assign(matching, iou)
    excused = assignment.duplicates & forgive_duplicates
    outcomes = np.where(excused, np.int8(0), assignment.outcomes)
    (hits,) = Ranking(matching, [outcomes], matching.order).once()
    assumed = assumed_objects(len(truth.images))
    found = assignment.object_rows[matching.order[outcomes[matching.order] == 1]]  # (T,)
    precision = np.zeros(len(truth))
    normalized = hits.normalized_precision(objects[None], assumed)
    precision[found] = envelope(normalized, hits.start)[0]
    counted = ~matching.ignored
    lost = counted & (precision < MISSED_BELOW)
    return Characteristics(
        truth.classes,
        score_hits(hits, objects, assumed).reshaped(len(objects)),
        np.bincount(truth.labels[lost], minlength=len(truth.classes)),
        precision,
        tuple(_score_bins(kind, matching, found, hits.false[0], assumed, lost) for kind in chosen),
    )


def _score_bins(
    kind: Characteristic,
    matching: Matching,
    found: NDArray[np.int64],
    false: NDArray[np.int64],
    assumed: AssumedObjects,
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
    scores = score_hits(Hits.after(false[inside], start), objects, assumed).reshaped(*shape)
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
    overall = result.overall.apn[chosen]
    summaries = []
    for name, tables in families.items():
        apn = np.concatenate([table.scores.apn[chosen] for table in tables], axis=1)  # (c, all bins)
        enough = np.concatenate([table.scores.objects[chosen] >= max(fewest, 1) for table in tables], axis=1)
        counts = enough.any(axis=1) & ~np.isnan(overall)
        means = [math.nan] * 3
        if counts.any():
            lowest = np.where(enough, apn, np.inf)[counts].min(axis=1)
            highest = np.where(enough, apn, -np.inf)[counts].max(axis=1)
            means = [float(values.mean()) for values in (overall[counts], lowest, highest)]
        names = tuple(result.classes[label] for label in chosen[counts])
        summaries.append(Sensitivity(name, names, *means))
    return tuple(summaries)
