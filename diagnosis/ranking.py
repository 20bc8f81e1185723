"""Stable sorting of long columns, several times faster than a comparison sort.

NumPy sorts 16-bit integers by radix, in linear time. Longer keys are sorted digit by digit, the least
significant first, which keeps the order of equal keys at every step.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["by_falling", "by_rising", "indices"]

DIGIT = 16
"""Bits of a digit."""


def indices(count: int) -> NDArray[np.int64]:
    """0, 1, … `count` − 1."""
    return np.arange(count, dtype=np.int64)


def by_rising(keys: NDArray[np.int64], order: NDArray[np.int64] | None = None) -> NDArray[np.int64]:
    """Indices that sort `keys`, the smallest first; equal ones stay in `order`, by default as they are.

    Parameters
    ----------
    keys
        ``(n,)`` integers, none negative.
    order
        ``(n,)`` indices in an order that equal keys keep.

    Examples
    --------
    >>> by_rising(np.array([3, 70000, 0, 3])).tolist()
    [2, 0, 3, 1]
    >>> by_rising(np.array([3, 70000, 0, 3]), np.array([3, 2, 1, 0])).tolist()
    [2, 3, 0, 1]
    """
    digits = max(1, -(-int(keys.max()).bit_length() // DIGIT)) if len(keys) else 0
    for digit in range(digits):
        column = (keys >> (DIGIT * digit)).astype(np.uint16)  # keeps the lowest bits
        order = _next(column, order)
    return indices(len(keys)) if order is None else order


def by_falling(values: NDArray[np.float64]) -> NDArray[np.int64]:
    """Indices that sort finite `values`, the largest first; equal ones stay as they are.

    Examples
    --------
    >>> by_falling(np.array([0.5, 2.0, -1.0, 0.5, -0.0, 0.0])).tolist()
    [1, 0, 3, 4, 5, 2]
    """
    with np.errstate(over="ignore"):
        short = values.astype(np.float32)
    exact = bool((short == values).all())  # what most networks give out: half the digits
    if exact:
        bits = (-short + np.float32(0)).view(np.uint32)  # adding 0 makes −0 and 0 one
        keys = np.where(bits >> 31, ~bits, bits | np.uint32(1 << 31))
    else:
        long = (-values + 0.0).view(np.uint64)
        keys = np.where(long >> np.uint64(63), ~long, long | np.uint64(1 << 63))
    order: NDArray[np.int64] | None = None
    for digit in range(2 if exact else 4):
        order = _next((keys >> keys.dtype.type(DIGIT * digit)).astype(np.uint16), order)
    return indices(len(values)) if order is None else order


def _next(column: NDArray[np.uint16], order: NDArray[np.int64] | None) -> NDArray[np.int64]:
    """`order` sorted by one more digit."""
    if order is None:
        return np.argsort(column, kind="stable")
    return order[np.argsort(column[order], kind="stable")]
