"""Box arithmetic in NumPy. Boxes are xyxy ``(..., 4)``, continuous pixels, unless a name says otherwise.

Functions of two arrays broadcast: ``f(a, b)`` pairs row with row, ``f(a[:, None], b)`` each with each.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = [
    "BORDER_ROUNDING_PIXELS",
    "area",
    "beyond_border",
    "clip",
    "cxcywh_to_xyxy",
    "intersection",
    "xywh_to_xyxy",
]

BORDER_ROUNDING_PIXELS = 0.5
"""How far rounded coordinates may exceed the image in annotations that must lie inside it. Less than 1, so
that a file that counts from 0 is noticed instead of being read one pixel off."""

Boxes = NDArray[np.float64]


def area(boxes: Boxes) -> Boxes:
    """``(...)`` width times height.

    Examples
    --------
    >>> area(np.array([[10.0, 10, 30, 15]]))
    array([100.])
    """
    result: Boxes = (boxes[..., 2] - boxes[..., 0]) * (boxes[..., 3] - boxes[..., 1])
    return result


def intersection(boxes: Boxes, others: Boxes) -> Boxes:
    """``(...)`` area common to both; 0 where they do not overlap.

    Examples
    --------
    >>> boxes = np.array([[0.0, 0, 10, 10], [5, 5, 15, 15]])
    >>> intersection(boxes[:, None], boxes)
    array([[100.,  25.],
           [ 25., 100.]])
    """
    sides = np.minimum(boxes[..., 2:], others[..., 2:]) - np.maximum(boxes[..., :2], others[..., :2])
    sides = np.maximum(sides, 0.0)
    result: Boxes = sides[..., 0] * sides[..., 1]
    return result


def clip(boxes: Boxes, sizes: ArrayLike) -> Boxes:
    """Boxes cut off at the borders of their images; a box wholly outside is left without area.

    Parameters
    ----------
    boxes
        ``(..., 4)``
    sizes
        ``(..., 2)`` width and height of each box's image, or of the one image of all.

    Examples
    --------
    >>> clip(np.array([[-5.0, 10, 120, 90]]), (100, 80))
    array([[  0.,  10., 100.,  80.]])
    """
    limits = np.concatenate([np.asarray(sizes, dtype=np.float64)] * 2, axis=-1)
    result: Boxes = np.clip(boxes, 0.0, limits)
    return result


def beyond_border(boxes: Boxes, sizes: NDArray[np.int64]) -> NDArray[np.bool_]:
    """``(N,)`` which boxes (N, 4) leave their image, of width and height (N, 2), by more than rounding.

    Examples
    --------
    >>> beyond_border(np.array([[0.0, 0, 90.5, 9], [-0.6, 0, 9, 9]]), np.array([[90, 90], [90, 90]])).tolist()
    [False, True]
    """
    low, high = boxes[:, :2], boxes[:, 2:]
    outside = (low < -BORDER_ROUNDING_PIXELS) | (high > sizes + BORDER_ROUNDING_PIXELS)
    return np.asarray(outside.any(axis=1), dtype=np.bool_)


def xywh_to_xyxy(boxes: Boxes) -> Boxes:
    """From left, top, width, height. What is not finite stays so, without a warning.

    Examples
    --------
    >>> xywh_to_xyxy(np.array([[10.0, 20, 30, 40]]))
    array([[10., 20., 40., 60.]])
    """
    result = boxes.copy()
    with np.errstate(over="ignore", invalid="ignore"):
        for axis in (0, 1):  # by columns: NumPy is slow at pairs of numbers
            result[..., 2 + axis] += boxes[..., axis]
    return result


def cxcywh_to_xyxy(boxes: Boxes) -> Boxes:
    """From centre, width, height.

    Examples
    --------
    >>> cxcywh_to_xyxy(np.array([[25.0, 40, 30, 40]]))
    array([[10., 20., 40., 60.]])
    """
    centre, half = boxes[..., :2], boxes[..., 2:] / 2
    corners: Boxes = np.concatenate([centre - half, centre + half], axis=-1)
    return corners
