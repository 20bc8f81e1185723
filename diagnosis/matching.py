"""One pass over all overlaps; every analysis reads it.

:func:`match` finds, once, every pair of a detection and an object of the same image that overlap,
and keeps them as columns sorted into *groups*: the pairs of one detection with the objects of one
class. Who gets which object depends on a threshold and a rule, and is cheap: see
:mod:`diagnosis.assignment`.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from data.records import Detections, GroundTruth, InputError

__all__ = ["Matching", "match"]

CANDIDATES_AT_ONCE = 1 << 20
"""Pairs of a detection and any object of its image that are looked at together: bounds the memory."""


@dataclass(frozen=True, eq=False)
class Matching:
    """All overlapping pairs of M detections and N objects, and the ranking of the detections.

    Parameters
    ----------
    truth, detections
        What was matched.
    order
        ``(M,)`` indices of the detections by class, then by falling score; equal scores in the order
        of the record, which is that of the file.
    rank
        ``(M,)`` place of each detection among those of its class, from 0.
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
    order: NDArray[np.int64]
    rank: NDArray[np.int64]
    pair_object: NDArray[np.int64]
    pair_iou: NDArray[np.float64]
    pair_iou_unclipped: NDArray[np.float64]
    group_start: NDArray[np.int64]
    group_detection: NDArray[np.int64]
    group_label: NDArray[np.int64]

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
    order = np.lexsort((-detections.scores, detections.labels))  # stable: equal scores stay as in the file
    place = np.empty(len(order), dtype=np.int64)
    place[order] = np.arange(len(order))
    counts = np.bincount(detections.labels, minlength=len(truth.classes))
    rank = place - (np.cumsum(counts) - counts)[detections.labels]

    boxes = detections.boxes
    limits = truth.sizes[detections.image_index].astype(np.float64)  # (M, 2)
    corner = np.maximum(boxes[:, :2], 0.0)
    # A box wholly outside is left without area, where the tool inverts it: neither overlaps anything.
    clipped = np.concatenate([corner, np.maximum(np.minimum(boxes[:, 2:], limits), corner)], axis=1)
    changed = clip and bool((clipped != boxes).any())
    detection, object_, iou, iou_clipped = _overlapping_pairs(truth, detections, clipped if changed else None)

    label = truth.labels[object_]
    first = np.ones(len(detection), dtype=bool)
    first[1:] = (detection[1:] != detection[:-1]) | (label[1:] != label[:-1])
    start = np.flatnonzero(first)
    group_start = np.append(start, len(detection))
    by_iou = _sort_within(group_start, iou_clipped)
    return Matching(
        truth,
        detections,
        order,
        rank,
        pair_object=object_[by_iou],
        pair_iou=iou_clipped[by_iou],
        pair_iou_unclipped=iou[by_iou],
        group_start=group_start,
        group_detection=detection[start],
        group_label=label[start],
    )


def _overlapping_pairs(
    truth: GroundTruth, detections: Detections, clipped: NDArray[np.float64] | None
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64], NDArray[np.float64]]:
    """Detection, object, IoU and IoU of the clipped detection; sorted by detection, class, object."""
    objects = np.lexsort((truth.labels, truth.image_index))  # by image, then class, then as annotated
    per_image = np.bincount(truth.image_index, minlength=len(truth.images))
    image_start = np.cumsum(per_image) - per_image
    candidates = per_image[detections.image_index]  # (M,)
    ends = np.cumsum(candidates)
    total = int(ends[-1]) if len(ends) else 0
    cuts = np.searchsorted(ends, np.arange(CANDIDATES_AT_ONCE, total, CANDIDATES_AT_ONCE))
    bounds = np.unique(np.concatenate([[0], cuts, [len(ends)]]))

    area, object_area = _area(detections.boxes), _area(truth.boxes)
    clipped_area = area if clipped is None else _area(clipped)

    columns: list[tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64], NDArray[np.float64]]] = []
    for low, high in itertools.pairwise(bounds):
        count = candidates[low:high]
        detection = np.repeat(np.arange(low, high), count)
        within = np.arange(len(detection)) - np.repeat(np.cumsum(count) - count, count)
        object_ = objects[np.repeat(image_start[detections.image_index[low:high]], count) + within]
        overlap = _intersection(detections.boxes, truth.boxes, detection, object_)
        kept = np.flatnonzero(overlap > 0)
        detection, object_, overlap = detection[kept], object_[kept], overlap[kept]
        iou = iou_clipped = overlap / (area[detection] + object_area[object_] - overlap)
        if clipped is not None:
            overlap = _intersection(clipped, truth.boxes, detection, object_)
            iou_clipped = overlap / (clipped_area[detection] + object_area[object_] - overlap)
        columns.append((detection, object_, iou, iou_clipped))
    if not columns:
        none = np.zeros(0, dtype=np.int64)
        return none, none, np.zeros(0), np.zeros(0)
    detection, object_, iou, iou_clipped = (np.concatenate(parts) for parts in zip(*columns, strict=True))
    return detection, object_, iou, iou_clipped


def _intersection(
    boxes: NDArray[np.float64],
    others: NDArray[np.float64],
    rows: NDArray[np.int64],
    other_rows: NDArray[np.int64],
) -> NDArray[np.float64]:
    """``(P,)`` area in common, square pixels, of ``boxes[rows]`` and ``others[other_rows]``."""
    sides = [
        np.minimum(boxes[rows, axis + 2], others[other_rows, axis + 2])
        - np.maximum(boxes[rows, axis], others[other_rows, axis])
        for axis in (0, 1)
    ]
    area: NDArray[np.float64] = np.maximum(sides[0], 0.0) * np.maximum(sides[1], 0.0)
    return area


def _area(boxes: NDArray[np.float64]) -> NDArray[np.float64]:
    """``(N,)`` area of boxes (N, 4), square pixels."""
    area: NDArray[np.float64] = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    return area


def _sort_within(start: NDArray[np.int64], values: NDArray[np.float64]) -> NDArray[np.int64]:
    """Indices that sort each run ``start[g]:start[g + 1]`` by falling value, stable."""
    length = np.diff(start)
    order = np.arange(len(values))
    rows = np.flatnonzero(np.repeat(length > 1, length))  # most runs are of one and need no sorting
    run = np.repeat(np.arange(len(length)), length)[rows]
    order[rows] = rows[np.lexsort((-values[rows], run))]
    return order
