"""One pass over all overlaps; every analysis reads it.

:func:`match` finds, once, every pair of a detection and an object of the same image that overlap,
and keeps them as columns sorted into *groups*: the pairs of one detection with the objects of one
class. Who gets which object depends on a threshold and a rule, and is cheap: see
:mod:`diagnosis.assignment`.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, TypeVar

import numpy as np
from numpy.typing import NDArray

from data.records import Detections, GroundTruth, InputError
from diagnosis.overlaps import Overlaps
from diagnosis.ranking import by_falling, by_rising, indices, sort_within

if TYPE_CHECKING:
    from diagnosis.assignment import Assignment

__all__ = ["Matching", "match"]

CANDIDATES_AT_ONCE = 1 << 18
"""Pairs of a detection and any object of its image that are looked at together: they fit in the cache."""

Number = TypeVar("Number", np.int64, np.float64)

SHARED = (
    "by_score", "class_start", "ignored", "objects", "order", "own_groups", "pair_detection", "rank",
)  # fmt: skip
"""What does not depend on whether boxes are clipped."""


@dataclass(frozen=True, eq=False)
class Matching:
    """All overlapping pairs of M detections and N objects, and the ranking of the detections.

    Parameters
    ----------
    truth, detections
        What was matched.
    pair_object, pair_iou
        ``(P,)`` object and intersection over union of each pair, the detection clipped to the image
        (rules, section 1) if :func:`match` was told to.
    pair_iou_unclipped
        ``(P,)`` the same with the box as the detector gave it, which the VOC and COCO devkits use.
    group_start
        ``(G + 1,)`` the pairs of group g are ``group_start[g]:group_start[g + 1]``, the largest IoU
        first, equal ones in the order of the annotations.
    group_detection, group_label
        ``(G,)`` the detection of each group and the class of its objects. Groups are sorted by both.
    """

    truth: GroundTruth
    detections: Detections
    pair_object: NDArray[np.int64]
    pair_iou: NDArray[np.float64]
    pair_iou_unclipped: NDArray[np.float64]
    group_start: NDArray[np.int64]
    group_detection: NDArray[np.int64]
    group_label: NDArray[np.int64]

    @cached_property
    def by_score(self) -> NDArray[np.int64]:
        """``(M,)`` indices of the detections by falling score; equal scores in the order of the record."""
        return by_falling(self.detections.scores)

    @cached_property
    def order(self) -> NDArray[np.int64]:
        """``(M,)`` indices of the detections by class, then by falling score.

        Equal scores stay in the order of the record, which is that of the file.
        """
        return by_rising(self.detections.labels, self.by_score)

    @cached_property
    def rank(self) -> NDArray[np.int64]:
        """``(M,)`` place of each detection among those of its class, from 0."""
        rank = np.empty(len(self.order), dtype=np.int64)
        rank[self.order] = indices(len(self.order)) - np.repeat(
            self.class_start[:-1], np.diff(self.class_start)
        )
        return rank

    @cached_property
    def score_level(self) -> NDArray[np.int64]:
        """``(M,)`` how many different scores lie above each detection's."""
        scores = self.detections.scores[self.by_score]
        level = np.empty(len(scores), dtype=np.int64)
        level[self.by_score] = np.cumsum(np.diff(scores, prepend=scores[:1]) != 0)
        return level

    @cached_property
    def turn(self) -> NDArray[np.int64]:
        """``(M,)`` place of each detection by image, then by falling score; equal scores as in the record."""
        turn = np.empty(len(self.by_score), dtype=np.int64)
        turn[by_rising(self.detections.image_index, self.by_score)] = indices(len(turn))
        return turn

    @cached_property
    def rank_in_image(self) -> NDArray[np.int64]:
        """``(M,)`` place of each detection among those of its image, of whichever class, from 0."""
        counts = np.bincount(self.detections.image_index, minlength=len(self.truth.images))
        return self.turn - (np.cumsum(counts) - counts)[self.detections.image_index]

    @cached_property
    def unclipped(self) -> Matching:
        """The same overlaps, in each group sorted by the IoU of the boxes as the detector gave them.

        Its `pair_iou` is `pair_iou_unclipped`; of equal ones the earlier annotated object comes first.
        """
        if self.pair_iou is self.pair_iou_unclipped:
            return self
        objects, iou = self.pair_object, self.pair_iou_unclipped
        later = np.ones(len(iou), dtype=bool)
        later[self.group_start[:-1]] = False
        wrong = (iou[1:] > iou[:-1]) | ((iou[1:] == iou[:-1]) & (objects[1:] < objects[:-1]))
        behind = np.flatnonzero(wrong & later[1:]) + 1
        places, start = self._pairs_of(np.searchsorted(self.group_start, behind, side="right") - 1)
        if len(places):  # seldom: clipping changes all overlaps of a detection in much the same way
            rows = places[sort_within(start, -objects[places])]  # as annotated
            rows = rows[sort_within(start, iou[rows])]
            objects, iou = objects.copy(), iou.copy()
            objects[places], iou[places] = self.pair_object[rows], self.pair_iou_unclipped[rows]
        result = Matching(
            self.truth,
            self.detections,
            pair_object=objects,
            pair_iou=iou,
            pair_iou_unclipped=iou,
            group_start=self.group_start,
            group_detection=self.group_detection,
            group_label=self.group_label,
        )
        # What does not depend on the boxes need not be found again.
        result.__dict__.update({name: getattr(self, name) for name in SHARED})
        return result

    @cached_property
    def assignments(self) -> dict[float, Assignment]:
        """What :func:`diagnosis.assignment.assign` has found so far, by threshold."""
        return {}

    def _pairs_of(self, groups: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """The pairs of some groups (sorted, each may be named several times), and where each group starts."""
        chosen = groups[np.diff(groups, prepend=-1) > 0]
        first, length = self.group_start[chosen], np.diff(self.group_start)[chosen]
        start = np.concatenate([[0], np.cumsum(length)])
        return indices(int(start[-1])) + np.repeat(first - start[:-1], length), start

    @cached_property
    def ignored(self) -> NDArray[np.bool_]:
        """``(N,)`` objects that are neither rewarded nor punished: difficult ones and crowds."""
        return self.truth.difficult | self.truth.crowd

    @cached_property
    def objects(self) -> NDArray[np.int64]:
        """``(C,)`` number of objects of each class that are not ignored, N_j."""
        return np.bincount(self.truth.labels[~self.ignored], minlength=len(self.truth.classes))

    @cached_property
    def class_start(self) -> NDArray[np.int64]:
        """``(C + 1,)`` the detections of class j are ``order[class_start[j]:class_start[j + 1]]``."""
        counts = np.bincount(self.detections.labels, minlength=len(self.truth.classes))
        return np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)

    @cached_property
    def pair_group(self) -> NDArray[np.int64]:
        """``(P,)`` the group of each pair."""
        return np.repeat(np.arange(len(self.group_label)), np.diff(self.group_start))

    @cached_property
    def pair_detection(self) -> NDArray[np.int64]:
        """``(P,)`` the detection of each pair; rises."""
        return np.repeat(self.group_detection, np.diff(self.group_start))

    @cached_property
    def group_iou(self) -> NDArray[np.float64]:
        """``(G,)`` the largest IoU of each group."""
        return self.pair_iou[self.group_start[:-1]]

    @cached_property
    def own_groups(self) -> NDArray[np.int64]:
        """Groups of a detection with objects of its own class."""
        return np.flatnonzero(self.group_label == self.detections.labels[self.group_detection])

    def ranked(self, label: int) -> NDArray[np.int64]:
        """Indices of the detections of class `label`, best first."""
        return self.order[self.class_start[label] : self.class_start[label + 1]]


def match(truth: GroundTruth, detections: Detections, clip: bool = True) -> Matching:
    """Overlaps of all detections with all objects of the same image, of whichever class.

    Time and memory grow linearly with the detections and the overlapping pairs.

    Parameters
    ----------
    truth, detections
        Of the same images and classes.
    clip
        Clip the detections to the image first, as Hoiem's tool does (rules, section 1).

    Raises
    ------
    InputError
        If the two records are not over the same images and classes.

    Examples
    --------
    >>> names = ["a"], ["cat", "dog"]
    >>> truth = GroundTruth(*names, [[100, 80]], [0, 0], [0, 1], [[0, 0, 10, 10], [5, 0, 15, 10]])
    >>> found = Detections(*names, [0], [1], [0.9], [[0, 0, 10, 10]])
    >>> overlaps = match(truth, found)
    >>> overlaps.pair_object.tolist(), overlaps.pair_iou.round(3).tolist()
    ([0, 1], [1.0, 0.333])
    """
    for name in ("images", "classes"):
        if getattr(truth, name) != getattr(detections, name):
            raise InputError(
                f"detections.{name}", f"other {name} than the ground truth's", "the same, in the same order"
            )
    overlaps = Overlaps(truth, detections, clip, CANDIDATES_AT_ONCE)
    parts = [overlaps.groups(low, high) for low, high in itertools.pairwise(overlaps.bounds)]
    objects, ious, clipped, starts, found, labels = zip(*parts, strict=True) if parts else [()] * 6
    pairs = np.array([len(column) for column in objects], dtype=np.int64)
    shift = np.repeat(np.cumsum(pairs) - pairs, [len(column) for column in starts])
    start = np.append(_joined(starts, np.int64) + shift, pairs.sum())
    iou = _joined(ious, np.float64)
    inside = _joined(clipped, np.float64) if overlaps.clips else iou
    by_iou = sort_within(start, inside)
    iou = iou[by_iou]
    return Matching(
        truth,
        detections,
        pair_object=_joined(objects, np.int64)[by_iou],
        pair_iou=inside[by_iou] if overlaps.clips else iou,
        pair_iou_unclipped=iou,
        group_start=start,
        group_detection=_joined(found, np.int64),
        group_label=_joined(labels, np.int64),
    )


def _joined(columns: Sequence[NDArray[Number]], dtype: type[Number]) -> NDArray[Number]:
    """The parts one behind the other; there may be none."""
    return np.concatenate(columns) if columns else np.zeros(0, dtype=dtype)
