"""Stable sorting, several times faster than by comparison.

NumPy sorts 16-bit integers by radix, in linear time. Longer keys are sorted digit by digit, the least
significant first, which keeps the order of equal keys at every step.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

RADIX_BITS = 16


def argsort_ascending(keys: NDArray[np.int64], order: NDArray[np.int64] | None = None) -> NDArray[np.int64]:
    """Indices that sort `keys`, none negative; equal ones stay in `order`, by default as they are.

    Examples
    --------
    >>> argsort_ascending(np.array([3, 70000, 0, 3])).tolist()
    [2, 0, 3, 1]
    """
    digits = max(1, -(-int(keys.max()).bit_length() // RADIX_BITS)) if len(keys) else 0
    for digit in range(digits):
        order = _sort_digit((keys >> (RADIX_BITS * digit)).astype(np.uint16), order)  # the lowest bits
    return indices(len(keys)) if order is None else order


def argsort_descending(values: NDArray[np.float64]) -> NDArray[np.int64]:
    """Indices that sort finite `values`, the largest first; equal ones stay as they are.

    Examples
    --------
    >>> argsort_descending(np.array([0.5, 2.0, -1.0, 0.5, -0.0, 0.0])).tolist()
    [1, 0, 3, 4, 5, 2]
    """
    with np.errstate(over="ignore", under="ignore"):
        short = (-values).astype(np.float32) + np.float32(0)  # adding 0 makes −0 and 0 one
    bits = short.view(np.uint32)
    keys = np.where(bits >> 31, ~bits, bits | np.uint32(1 << 31))
    order = _sort_digit(keys.astype(np.uint16), None)
    order = _sort_digit((keys >> np.uint32(RADIX_BITS)).astype(np.uint16), order)
    # Scores are usually float32: sort those first, then the runs that float32 does not tell apart.
    ranked = values[order]
    if (ranked[1:] > ranked[:-1]).any():
        short = short[order]
        start = np.flatnonzero(short[1:] != short[:-1]) + 1
        order = order[sort_within(np.concatenate([[0], start, [len(order)]]), ranked)]
    return order


def sort_within(
    start: NDArray[np.int64], values: NDArray[np.float64] | NDArray[np.int64]
) -> NDArray[np.int64]:
    """Indices that sort each run ``start[g]:start[g + 1]`` by falling value; equal ones stay as they are.

    Examples
    --------
    >>> sort_within(np.array([0, 2, 5]), np.array([1.0, 2.0, 5.0, 7.0, 7.0])).tolist()
    [1, 0, 3, 4, 2]
    """
    order = indices(len(values))
    length = np.diff(start)
    several = np.flatnonzero(length > 1)
    several = several[argsort_ascending(length[several])]
    first, length = start[several], length[several]
    couples = first[: np.searchsorted(length, 3)]  # most of them
    couples = couples[values[couples] < values[couples + 1]]
    order[couples], order[couples + 1] = couples + 1, couples
    for size in np.unique(length[length > 2]):  # as many rounds as different lengths
        begin, end = np.searchsorted(length, [size, size + 1])
        rows = first[begin:end, None] + indices(size)  # (R, size)
        by_value = np.argsort(-values[rows], axis=1, kind="stable")
        order[rows] = np.take_along_axis(rows, by_value, axis=1)
    return order


def _sort_digit(column: NDArray[np.uint16], order: NDArray[np.int64] | None) -> NDArray[np.int64]:
    if order is None:
        return np.argsort(column, kind="stable")
    return order[np.argsort(column[order], kind="stable")]


def indices(count: int) -> NDArray[np.int64]:
    """0 to `count` − 1."""
    return np.arange(count, dtype=np.int64)
