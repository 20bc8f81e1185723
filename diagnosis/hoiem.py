"""Hoiem's average precision and its normalised form, of many rankings at once (rules, section 1).

Only true positives carry precision, so a ranking is told by how many false positives stand above each
of them. Rankings lie end to end as *runs*: the true positives of one class, or of one bin of a class.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "NORMAL_SHARE",
    "HoiemAP",
    "HoiemScores",
    "RankedHits",
    "best_normalized_precision",
    "hoiem_ap",
    "hoiem_scores",
    "normal_objects",
    "ranked_hits",
    "score_runs",
]

NORMAL_SHARE = 0.15
"""Normalised precision counts as if each class had this many objects an image (rules, section 1)."""


SCORE_COLUMNS = ("objects", "ap", "apn", "ap_stderr", "apn_stderr", "recall")


@dataclass(frozen=True)
class HoiemAP:
    """Average precision of a ranking by Hoiem's definition, with its standard errors.

    NaN, all of it, for a class without objects.
    """

    ap: float
    apn: float
    ap_stderr: float
    apn_stderr: float
    recall: float


@dataclass(frozen=True, eq=False)
class HoiemScores:
    """The same of many rankings; all arrays are of one shape.

    NaN where a ranking has no objects, 0 where it has some and finds none (the tool gives NaN there).

    Parameters
    ----------
    objects
        Number of objects of each ranking, N_j.
    ap, apn
        Average precision, and the same of normalised precision.
    ap_stderr, apn_stderr
        Their standard errors over the objects.
    recall
        Share of the objects that are found.
    """

    objects: NDArray[np.int64]
    ap: NDArray[np.float64]
    apn: NDArray[np.float64]
    ap_stderr: NDArray[np.float64]
    apn_stderr: NDArray[np.float64]
    recall: NDArray[np.float64]

    def __post_init__(self) -> None:
        shapes = {getattr(self, name).shape for name in SCORE_COLUMNS}
        if len(shapes) != 1:
            raise ValueError(f"columns of shapes {shapes}")

    def reshaped(self, *shape: int) -> HoiemScores:
        """The same numbers in another shape."""
        return HoiemScores(**{name: getattr(self, name).reshape(shape) for name in SCORE_COLUMNS})

    def rows(self, chosen: NDArray[np.int64]) -> HoiemScores:
        """Some rows of the first axis, in the order given."""
        return HoiemScores(**{name: getattr(self, name)[chosen] for name in SCORE_COLUMNS})

    @staticmethod
    def joined(parts: Sequence[HoiemScores]) -> HoiemScores:
        """Several put one behind the other along the first axis."""
        return HoiemScores(
            **{name: np.concatenate([getattr(part, name) for part in parts]) for name in SCORE_COLUMNS}
        )


@dataclass(frozen=True, eq=False)
class RankedHits:
    """Where the T true positives of rankings that lie end to end stand.

    Parameters
    ----------
    places
        ``(T,)`` index of each into the rankings; rises.
    start
        ``(S + 1,)`` the true positives of run s are ``start[s]:start[s + 1]``.
    class_start
        ``(S + 1,)`` ranking s is ``class_start[s]:class_start[s + 1]``.
    """

    places: NDArray[np.int64]
    start: NDArray[np.int64]
    class_start: NDArray[np.int64]

    def above(self, marked: NDArray[np.bool_]) -> NDArray[np.int64]:
        """``(T,)`` how many of the `marked` ``(M,)`` stand above each true positive in its ranking."""
        running = np.zeros(len(marked) + 1, dtype=np.int64)
        np.cumsum(marked, out=running[1:])
        before = np.repeat(running[self.class_start[:-1]], np.diff(self.start))
        count: NDArray[np.int64] = running[self.places] - before
        return count


def normal_objects(images: int) -> float:
    """N, the number of objects that normalised precision supposes of each class, in so many images."""
    return NORMAL_SHARE * images


def ranked_hits(labels: NDArray[np.int8], class_start: NDArray[np.int64]) -> RankedHits:
    """The true positives of rankings that lie end to end.

    Parameters
    ----------
    labels
        ``(M,)`` by class and rank, 1: true positive, 0: don't care, −1: false positive.
    class_start
        ``(S + 1,)`` ranking s is ``labels[class_start[s]:class_start[s + 1]]``.
    """
    places = np.flatnonzero(labels == 1)
    return RankedHits(places, np.searchsorted(places, class_start), class_start)


def hoiem_scores(
    labels: NDArray[np.int8], class_start: NDArray[np.int64], objects: NDArray[np.int64], normal: float
) -> HoiemScores:
    """Average precision of S rankings that lie end to end.

    Parameters
    ----------
    labels, class_start
        As in :func:`ranked_hits`.
    objects
        ``(S,)`` number of objects of each ranking.
    normal
        Number of objects that normalised precision supposes, N.

    Examples
    --------
    >>> labels = np.array([1, -1, 1, -1], dtype=np.int8)  # a class with two hits, and one with none
    >>> scores = hoiem_scores(labels, np.array([0, 3, 4, 4]), np.array([2, 1, 0]), normal=4.0)
    >>> scores.ap.round(4).tolist(), scores.apn.round(4).tolist()
    ([0.8333, 0.0, nan], [0.9, 0.0, nan])
    """
    hits = ranked_hits(labels, class_start)
    return score_runs(hits.above(labels == -1), hits.start, objects, normal)


def hoiem_ap(labels: NDArray[np.int8], objects: int, normal: float) -> HoiemAP:
    """Average precision of one ranking; parameters as in :func:`hoiem_scores`.

    Examples
    --------
    >>> score = hoiem_ap(np.array([1, -1, 1]), objects=2, normal=4.0)
    >>> round(score.ap, 4), round(score.apn, 4)  # (1 + 2/3) / 2 and (1 + 4/5) / 2
    (0.8333, 0.9)
    """
    scores = hoiem_scores(labels, np.array([0, len(labels)]), np.array([objects]), normal)
    columns = (scores.ap, scores.apn, scores.ap_stderr, scores.apn_stderr, scores.recall)
    return HoiemAP(*[float(column[0]) for column in columns])


def score_runs(
    false: NDArray[np.integer], start: NDArray[np.int64], objects: NDArray[np.int64], normal: float
) -> HoiemScores:
    """Average precision of S runs, in as many variants as wanted.

    Parameters
    ----------
    false
        ``(…, T)`` number of false positives above each true positive.
    start
        ``(S + 1,)`` the true positives of run s are ``start[s]:start[s + 1]``, best first.
    objects
        ``(S,)`` number of objects of each run.
    normal
        Number of objects that normalised precision supposes, N.

    Returns
    -------
    HoiemScores
        Arrays ``(…, S)``.
    """
    found = np.diff(start)
    true = _true_so_far(start)
    plain, plain_error = _mean_and_error(_best(true, false, start), start, objects)
    weight = np.repeat(normal / np.maximum(objects, 1), found)
    normalized, normalized_error = _mean_and_error(_best(true * weight, false, start), start, objects)
    recall = np.broadcast_to(_or_nan(found / np.maximum(objects, 1), objects), plain.shape)
    counted = np.broadcast_to(objects, plain.shape)
    return HoiemScores(counted, plain, normalized, plain_error, normalized_error, recall)


def best_normalized_precision(
    false: NDArray[np.integer], start: NDArray[np.int64], objects: NDArray[np.int64], normal: float
) -> NDArray[np.float64]:
    """``(…, T)`` the largest normalised precision from each true positive on.

    Parameters are those of :func:`score_runs`.
    """
    weight = np.repeat(normal / np.maximum(objects, 1), np.diff(start))
    return _best(_true_so_far(start) * weight, false, start)


def _true_so_far(start: NDArray[np.int64]) -> NDArray[np.float64]:
    """``(T,)`` place of each true positive among those of its run, from 1."""
    return np.arange(1.0, start[-1] + 1) - np.repeat(start[:-1], np.diff(start))


def _best(
    true: NDArray[np.float64], false: NDArray[np.integer], start: NDArray[np.int64]
) -> NDArray[np.float64]:
    """``(…, T)`` the largest precision from each true positive on, within its run.

    Between two true positives precision only falls: the largest that follows is one at a true positive.
    """
    # One pass over all runs: lifted by 2 for each run that follows, a run never sees those behind it. The
    # lift costs less than 3e-16 of precision a run.
    lift = 2.0 * (len(start) - 2 - np.repeat(np.arange(len(start) - 1), np.diff(start)))
    lifted = true / (true + false) + lift
    best: NDArray[np.float64] = np.maximum.accumulate(lifted[..., ::-1], axis=-1)[..., ::-1] - lift
    return best


def _mean_and_error(
    best: NDArray[np.float64], start: NDArray[np.int64], objects: NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean and standard error over all objects of the precision at which each is found, 0 if never."""
    found = np.diff(start)
    mean = _sum_of_runs(best, start) / np.maximum(objects, 1)
    squares = _sum_of_runs((best - np.repeat(mean, found, axis=-1)) ** 2, start)
    squares += (objects - found) * mean**2
    error = np.sqrt(squares / np.maximum(objects - 1, 1) / np.maximum(objects, 1))
    return _or_nan(mean, objects), _or_nan(error, objects)


def _sum_of_runs(values: NDArray[np.float64], start: NDArray[np.int64]) -> NDArray[np.float64]:
    """``(…, S)`` sum of each run of the last axis; 0 where it is empty."""
    total = np.zeros((*values.shape[:-1], len(start) - 1))
    filled = np.flatnonzero(np.diff(start))
    if len(filled):
        total[..., filled] = np.add.reduceat(values, start[filled], axis=-1)
    return total


def _or_nan(values: NDArray[np.float64], objects: NDArray[np.int64]) -> NDArray[np.float64]:
    return np.where(objects > 0, values, np.nan)
