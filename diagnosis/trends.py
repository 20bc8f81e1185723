"""How the error types of detections change down the ranking (rules, section 4).

Two views, both by the flag scheme (rules, section 3): the top multiples of a class's number of objects,
with recall; and the first so many false positives of a group of classes.

Hoiem's tool draws three such plots. Its ``dettrend2_area`` is :func:`detection_trend`. Its
``fptrend_area`` and ``dettrend_area`` count background twice while they look for the depth, and so stop
too early; ``dettrend_area`` also stops all classes of a group at one rank, though one has ten times the
objects of another. They are not followed: :func:`false_positive_trend` is by the rules' words, and has no
number of the tool's to equal.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from data.records import InputError
from diagnosis.breakdown import BACKGROUND_IOU, CORRECT, CORRECT_IOU, ERROR_TYPES, flag_error_types, shares_of
from diagnosis.matching import Matching, assign
from diagnosis.similar import group_indices

FALSE_POSITIVES = (25, 50, 100, 200, 400, 800, 1600, 3200)
"""The numbers of false positives in the plots of Hoiem's tool."""

FACTORS = (0.125, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0)
"""The multiples of a class's number of objects in the plots of Hoiem's tool."""

ERRORS = ERROR_TYPES[1:]


@dataclass(frozen=True, eq=False)
class FalsePositiveTrend:
    """The types of the first false positives of a group of classes.

    Parameters
    ----------
    members
        Names of the classes.
    wanted
        ``(P,)`` numbers of false positives asked for.
    depths
        ``(P,)`` how many of the best detections of each class hold so many, or all.
    counts
        ``(P, E − 1)`` false positives of each type down to there, in the order of
        :data:`diagnosis.breakdown.ERROR_TYPES` without *correct*. Their sum is at least what was wanted,
        for several classes may have one at the last rank; or less, where there are no more.
    """

    members: tuple[str, ...]
    wanted: NDArray[np.int64]
    depths: NDArray[np.int64]
    counts: NDArray[np.int64]

    @property
    def shares(self) -> NDArray[np.float64]:
        """``(P, E − 1)`` fractions of the false positives counted; NaN where there is none."""
        return shares_of(self.counts)


@dataclass(frozen=True, eq=False)
class DetectionTrend:
    """The error types of the top detections of C classes, and how many objects these find.

    Parameters
    ----------
    classes
        Names of the classes.
    objects
        ``(C,)`` number of objects that are not difficult, N_j.
    factors
        ``(P,)`` multiples of N_j.
    counts
        ``(P, C, E)`` top detections of each of E types, in the order of
        :data:`diagnosis.breakdown.ERROR_TYPES`: the first ⌈factor · N_j⌉ of the class, or all it has.
    recall_at_iou, recall_at_background_iou
        ``(P, C)`` share of the class's objects that the top finds at the IoU of a
        correct detection and at that of background; NaN for a class without objects.
    iou, background_iou
        The thresholds.
    """

    classes: tuple[str, ...]
    objects: NDArray[np.int64]
    factors: NDArray[np.float64]
    counts: NDArray[np.int64]
    recall_at_iou: NDArray[np.float64]
    recall_at_background_iou: NDArray[np.float64]
    iou: float = CORRECT_IOU
    background_iou: float = BACKGROUND_IOU

    def shares(self, members: Iterable[str] | None = None) -> NDArray[np.float64]:
        """``(P, E)`` fractions of the top detections of a group of classes, counted together.

        NaN where there are none.
        """
        return shares_of(self.counts[:, group_indices(self.classes, members)].sum(axis=1))

    def recall(
        self, members: Iterable[str] | None = None, *, at_background_iou: bool = False
    ) -> NDArray[np.float64]:
        """``(P,)`` recall averaged over the classes of a group that have objects; NaN if none has."""
        chosen = group_indices(self.classes, members)
        chosen = chosen[self.objects[chosen] > 0]
        values = (self.recall_at_background_iou if at_background_iou else self.recall_at_iou)[:, chosen]
        mean: NDArray[np.float64] = values.mean(axis=1) if values.size else np.full(len(values), np.nan)
        return mean


def false_positive_trend(
    matching: Matching,
    types: NDArray[np.int8],
    members: Iterable[str] | None = None,
    wanted: ArrayLike = FALSE_POSITIVES,
) -> FalsePositiveTrend:
    """The types of the first false positives of a group of classes.

    All classes are counted down together: the first rank of each, then the second of each, and so on,
    until so many false positives have been met.

    Parameters
    ----------
    matching
        The overlaps.
    types
        ``(M,)`` the error type of each detection, from :func:`diagnosis.breakdown.flag_error_types`.
    members
        Names of the group's classes; None: all.
    wanted
        Numbers of false positives.

    Raises
    ------
    InputError
        An unknown class, or one twice; numbers that are not whole and above 0.
    """
    numbers = np.atleast_1d(np.asarray(wanted))
    if numbers.ndim != 1 or numbers.dtype.kind not in "iu" or (numbers < 1).any():
        raise InputError("wanted", repr(wanted), "numbers of false positives: whole, 1 or more")
    classes = matching.truth.classes
    chosen = group_indices(classes, members)
    belongs = np.zeros(len(classes), dtype=bool)
    belongs[chosen] = True
    order, start = matching.ranking_of(types >= 0)
    longest = int(np.diff(start)[chosen].max(initial=0))
    rank = np.arange(len(order)) - np.repeat(start[:-1], np.diff(start))
    wrong = belongs[matching.detections.labels[order]] & (types[order] > CORRECT)
    cells = (types[order[wrong]].astype(np.int64) - 1) * longest + rank[wrong]
    at_rank = np.bincount(cells, minlength=len(ERRORS) * longest).reshape(len(ERRORS), longest)
    met = np.pad(at_rank.cumsum(axis=1), ((0, 0), (1, 0)))  # (4, ranks + 1)
    depths = np.minimum(np.searchsorted(met.sum(axis=0), numbers), longest)
    counts = met[:, depths].T
    names = tuple(classes[label] for label in chosen)
    return FalsePositiveTrend(names, numbers.astype(np.int64), depths, counts)


def detection_trend(
    matching: Matching,
    similar: NDArray[np.bool_],
    factors: ArrayLike = FACTORS,
    *,
    iou: float = CORRECT_IOU,
    background_iou: float = BACKGROUND_IOU,
) -> DetectionTrend:
    """Error types of each class's top detections, and their recall, at multiples of its number of objects.

    Like the tool, it rounds a depth that is not whole up for the types and to the nearest for recall, and
    takes recall at the background IoU from a ranking with the duplicates at its end. Unlike the tool,
    which leaves a class out where it has fewer detections than asked for, it counts those present.

    Parameters
    ----------
    matching, similar, iou, background_iou
        As in :func:`diagnosis.breakdown.break_down`.
    factors
        Multiples of the number of objects.

    Raises
    ------
    InputError
        Factors that are not finite and 0 or more; thresholds that are not ``0 < background_iou <= iou <= 1``.
    """
    multiples = np.atleast_1d(np.asarray(factors, dtype=np.float64))
    if multiples.ndim != 1 or not np.isfinite(multiples).all() or (multiples < 0).any():
        raise InputError("factors", repr(factors), "multiples of the number of objects: finite, 0 or more")
    types = flag_error_types(matching, similar, iou=iou, background_iou=background_iou)
    objects = matching.objects
    order, class_start = matching.ranking_of(types >= 0)
    depth = multiples[:, None] * objects  # (P, C)
    rising = np.ceil(depth - 1e-9).astype(np.int64)
    nearest = np.floor(depth + 0.5).astype(np.int64)
    of_each = (types[order] == error for error in range(len(ERROR_TYPES)))
    counts = np.stack([_among_first(marked, class_start, rising) for marked in of_each], axis=-1)
    found = _among_first(assign(matching, iou).outcomes[order] == 1, class_start, nearest)
    touching = assign(matching, background_iou)
    kept, kept_start = matching.ranking_of((types >= 0) & ~touching.duplicates)
    touched = _among_first(touching.outcomes[kept] == 1, kept_start, nearest)
    at_iou, at_background = (
        np.where(objects > 0, hits / np.maximum(objects, 1), np.nan) for hits in (found, touched)
    )
    return DetectionTrend(
        matching.truth.classes, objects, multiples, counts, at_iou, at_background, iou, background_iou
    )


def _among_first(
    marked: NDArray[np.bool_], start: NDArray[np.int64], depth: NDArray[np.int64]
) -> NDArray[np.int64]:
    """``(P, C)`` how many of a class's first `depth` ``(P, C)`` detections are marked."""
    running = np.concatenate([[0], np.cumsum(marked)])
    stop = np.minimum(start[:-1] + depth, start[1:])
    count: NDArray[np.int64] = running[stop] - running[start[:-1]]
    return count
