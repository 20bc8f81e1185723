"""Which bin of a characteristic an object falls into: extra-small, wide, truncated (rules, section 5)."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from data.records import UNKNOWN, GroundTruth, InputError

__all__ = [
    "ASPECT_BINS",
    "MEASURES",
    "SIZE_BINS",
    "Characteristic",
    "bins_to_json",
    "by_category",
    "by_edges",
    "by_quantile",
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
        Its name. What stands before a dot, as in ``part.tail`` and ``part.wing``, is its family: together
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
        """The characteristic that it is a part of: itself, or what stands before the dot of its name."""
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
    """Bins of one's own, the same in all classes; a value on an edge falls below it.

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
        Edges of one's own instead of quantiles, by name of the characteristic, see :func:`by_edges`:
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
        elif name in measured or _is_measure(column):
            bins = ASPECT_BINS if name == "aspect_ratio" else SIZE_BINS
            chosen.append(by_quantile(truth, name, column, bins))
        elif 0 < len(np.unique(column[_known(column)])) <= NAMES:
            chosen.append(by_category(truth, name, column))
    return tuple(chosen)


def bins_to_json(characteristic: Characteristic, classes: Sequence[str]) -> dict[str, Any]:
    """How a characteristic sorts the objects, for ``diagnosis.json``.

    ``by`` says whether by ``edges`` (the same for all classes), ``quantiles`` (``edges`` are then by class,
    of those with objects) or ``value``. An edge is the largest value of its bin.
    """
    told: dict[str, Any] = {"bins": list(characteristic.bins)}
    if characteristic.name in UNITS:
        told["unit"] = UNITS[characteristic.name]
    edges = characteristic.edges
    if edges is None:
        return told | {"by": "value"}
    if edges.ndim == 1:
        return told | {"by": "edges", "edges": edges.tolist()}
    by_class = {
        name: row.tolist() for name, row in zip(classes, edges, strict=True) if not np.isnan(row).any()
    }
    return told | {"by": "quantiles", "edges": by_class}


def _is_measure(column: NDArray[Any]) -> bool:
    """Whether a column is a quantity: numbers, and many different ones."""
    return column.dtype.kind in "iuf" and len(np.unique(column[_known(column)])) > CATEGORIES


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
