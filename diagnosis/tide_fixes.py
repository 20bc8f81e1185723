"""Average precision of all classes at once, as it is and with some of the errors mended.

The curve only matters at its true positives: how many false positives of the class stand before each. So
the false positives are put in order once, and a fix is a subtraction, or a few true positives more.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from diagnosis.matching import Matching

__all__ = ["Hits", "Ranking", "interpolated_ap"]

RECALLS = 100
"""The recalls are 0, 1/100, … 1."""


@dataclass(frozen=True, eq=False)
class Hits:
    """True positives, by class, then best first.

    Parameters
    ----------
    labels
        ``(T,)`` the class for which each counts.
    place
        ``(T,)`` number of false positives before it in the order of :class:`Ranking`, all classes together.
    """

    labels: NDArray[np.int64]
    place: NDArray[np.int64]


class Ranking:
    """The false positives of all classes in order, and what stands before any detection.

    The order is by class, then score, then image. Once anything is mended, errors come before true
    positives of the same score, as in tidecv.

    Parameters
    ----------
    matching
        Its detections.
    false
        ``(M,)`` false positives.
    types
        ``(M,)`` type of each detection.
    """

    def __init__(self, matching: Matching, false: NDArray[np.bool_], types: NDArray[np.int8]) -> None:
        self.matching = matching
        self.within_class = matching.score_level * (2 * len(matching.detections)) + matching.turn
        rows = matching.order[false[matching.order]]
        labels = matching.detections.labels[rows]
        self.keys = self._key(rows, labels)
        if (np.diff(self.keys) < 0).any():  # equal scores that are not in the order of their images
            by_key = np.argsort(self.keys, kind="stable")
            rows, self.keys = rows[by_key], self.keys[by_key]
        self.types = types[rows]
        counts = np.bincount(labels, minlength=len(matching.truth.classes))
        self.start = np.concatenate([[0], np.cumsum(counts)])

    def hits(
        self,
        correct: NDArray[np.int64],
        *,
        mended: bool = True,
        new: NDArray[np.int64] | None = None,
        new_labels: NDArray[np.int64] | None = None,
    ) -> Hits:
        """The place of detections among the false positives.

        Parameters
        ----------
        correct
            True positives.
        mended
            Whether this is the outcome of a fix, for the order of equal scores.
        new, new_labels
            Errors that become true positives, and the class for which they do.
        """
        labels = self.matching.detections.labels[correct]
        keys = self._key(correct, labels)
        if mended:
            keys += len(self.matching.detections)  # after any error of the same score
        if new is not None and new_labels is not None:
            keys = np.concatenate([keys, self._key(new, new_labels)])
            labels = np.concatenate([labels, new_labels])
        by_key = np.argsort(keys, kind="stable")
        return Hits(labels[by_key], np.searchsorted(self.keys, keys[by_key]))

    def ap(
        self,
        hits: Hits,
        objects: NDArray[np.int64],
        *,
        without: int | None = None,
        false_last: bool = False,
    ) -> NDArray[np.float64]:
        """``(C,)`` average precision, a fraction; NaN for a class without objects and detections.

        Parameters
        ----------
        hits
            The true positives.
        objects
            ``(C,)`` number of objects.
        without
            Type of the false positives that are removed.
        false_last
            Whether all false positives go to the end.
        """
        start, number = self.start[hits.labels], np.diff(self.start)
        before = hits.place - start
        if without is not None:
            removed = np.concatenate([[0], np.cumsum(self.types == without, dtype=np.int32)])
            before -= removed[hits.place] - removed[start]
            number = number - np.diff(removed[self.start])
        if false_last:
            before = np.zeros_like(before)
        present = (objects + number + np.bincount(hits.labels, minlength=len(objects))) > 0
        return np.where(present, interpolated_ap(hits.labels, before, objects), np.nan)

    def _key(self, rows: NDArray[np.int64], labels: NDArray[np.int64]) -> NDArray[np.int64]:
        """Sorts detections, taken for class `labels`, by class, score and image, with gaps in between."""
        return labels * (2 * len(self.matching.detections) ** 2) + self.within_class[rows]


def interpolated_ap(
    labels: NDArray[np.int64], false: NDArray[np.int64], objects: NDArray[np.int64]
) -> NDArray[np.float64]:
    """COCO's average precision, over 101 recalls, of all classes.

    Parameters
    ----------
    labels
        ``(T,)`` class of each true positive, by class, then best first.
    false
        ``(T,)`` number of false positives of the class before each.
    objects
        ``(C,)`` number of objects.

    Returns
    -------
    NDArray
        ``(C,)`` fractions; 0 for a class without objects.

    Examples
    --------
    >>> interpolated_ap(np.array([0, 0]), np.array([0, 1]), np.array([2, 0, 1])).round(4).tolist()
    [0.835, 0.0, 0.0]
    >>> round((51 + 50 * 2 / 3) / 101, 4)
    0.835
    """
    found = np.bincount(labels, minlength=len(objects))
    end = np.cumsum(found)
    start = end - found
    number = np.arange(1, len(labels) + 1) - start[labels]
    precision = np.append(number / (number + false), 0.0)
    # The true positive with which a recall of r/100 is reached, counted from 1; the first for a recall of 0.
    needed = np.maximum(-(-np.arange(RECALLS + 1) * objects[:, None] // RECALLS), 1)  # (C, 101)
    reached = needed <= found[:, None]
    edges = start[:, None] + np.minimum(needed - 1, found[:, None])
    # The largest precision from the one to the next, then from each on.
    best = np.maximum.reduceat(precision, np.column_stack([edges, end]).ravel())
    best = np.where(reached, best.reshape(len(objects), RECALLS + 2)[:, :-1], 0.0)
    best = np.maximum.accumulate(best[:, ::-1], axis=1)
    return np.where(objects > 0, best.mean(axis=1), 0.0)
