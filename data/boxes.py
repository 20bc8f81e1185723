"""Box arithmetic in NumPy. Boxes are xyxy ``(..., 4)``, continuous pixels, unless a name says otherwise.

Functions of two arrays broadcast: ``f(a, b)`` pairs row with row, ``f(a[:, None], b)`` each with each.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["area", "clip", "cxcywh_to_xyxy", "intersection", "xywh_to_xyxy"]

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


def xywh_to_xyxy(boxes: Boxes) -> Boxes:
    """From left, top, width, height. What is not finite stays so, without a warning.

    Examples
    --------
    >>> xywh_to_xyxy(np.array([[10.0, 20, 30, 40]]))
    array([[10., 20., 40., 60.]])
    """
    with np.errstate(over="ignore", invalid="ignore"):
        return _joined(boxes[..., :2], boxes[..., :2] + boxes[..., 2:])


def cxcywh_to_xyxy(boxes: Boxes) -> Boxes:
    """From centre, width, height.

    Examples
    --------
    >>> cxcywh_to_xyxy(np.array([[25.0, 40, 30, 40]]))
    array([[10., 20., 40., 60.]])
    """
    centre, half = boxes[..., :2], boxes[..., 2:] / 2
    return _joined(centre - half, centre + half)


def _joined(first: NDArray[Any], second: NDArray[Any]) -> Boxes:
    result: Boxes = np.concatenate([first, second], axis=-1)
    return result
