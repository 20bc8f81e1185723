"""Which detection gets which object: the rules of Hoiem's tool and of VOC's devkit.

Hoiem's rule is greedy: detections choose in the order of their scores. Here all choose at once, an
object keeps the best ranked of those that chose it, and the others choose again among what is left
to them (deferred acceptance, Gale and Shapley 1962). Since all objects rank the detections alike the
outcome is the greedy one, after as many rounds as the longest chain of second choices, a handful.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from diagnosis.matching import Matching

__all__ = ["Assignment", "assign", "assign_devkit", "take_objects"]

DENSE_SLOTS = 1 << 20
"""Up to so many slots a plain table is used, however few pairs there are."""


@dataclass(frozen=True, eq=False)
class Assignment:
    """What each of M detections got among the objects of its own class at one threshold.

    Parameters
    ----------
    labels
        ``(M,)`` 1: true positive; 0: don't care, it fell on a difficult object; −1: false positive.
    objects
        ``(M,)`` the object taken, or −1.
    overlaps
        ``(M,)`` IoU with the object taken, else the largest IoU with any object of the class, or 0.
    duplicates
        ``(M,)`` false positives whose object has been taken by a better ranked detection.
    """

    labels: NDArray[np.int8]
    objects: NDArray[np.int64]
    overlaps: NDArray[np.float64]
    duplicates: NDArray[np.bool_]

    @property
    def labels_forgiving_duplicates(self) -> NDArray[np.int8]:
        """``(M,)`` labels as weak matching counts them: a duplicate is 0 (rules, section 2)."""
        return np.where(self.duplicates, np.int8(0), self.labels)


def take_objects(matching: Matching, threshold: float, groups: NDArray[np.int64]) -> NDArray[np.int64]:
    """Hoiem's greedy walk, in many groups at once (rules, section 2).

    The detections of one class, by rank, each take the free object of one class with the largest IoU
    of at least `threshold`. Every combination of classes is a walk of its own.

    Parameters
    ----------
    matching
        The overlaps.
    threshold
        Smallest IoU, above 0.
    groups
        ``(K,)`` indices of groups to walk. They must hold, for each combination of classes wanted,
        all of its groups.

    Returns
    -------
    NDArray
        ``(K,)`` index of the pair that each group's detection took, or −1.
    """
    taken = np.full(len(groups), -1, dtype=np.int64)
    active = np.flatnonzero(matching.group_iou[groups] >= threshold)  # indices into `groups`
    start, stop = matching.group_start[groups], matching.group_start[groups + 1]
    good = np.concatenate([[0], np.cumsum(matching.pair_iou >= threshold)])
    stop = start + good[stop] - good[start]  # a group's pairs fall in IoU: the good ones come first
    detection = matching.group_detection[groups]
    labels = matching.detections.labels[detection]
    rank = matching.rank[detection]

    # A slot is an object as the detections of one class see it.
    classes = len(matching.truth.classes)
    key = matching.pair_object * classes + matching.detections.labels[matching.pair_detection]
    slots = len(matching.truth) * classes
    if slots > 4 * (len(key) + len(labels)) + DENSE_SLOTS:  # keeps memory linear in the pairs
        unique, key = np.unique(key, return_inverse=True)
        slots = len(unique)
    nobody = np.iinfo(np.int64).max
    best_rank = np.full(slots, nobody)
    holder = np.full(slots, -1, dtype=np.int64)

    choice = start.copy()
    while len(active):
        slot = key[choice[active]]
        np.minimum.at(best_rank, slot, rank[active])
        won = best_rank[slot] == rank[active]
        displaced = holder[slot[won]]
        displaced = displaced[displaced >= 0]
        holder[slot[won]] = active[won]
        taken[active[won]] = choice[active[won]]
        taken[displaced] = -1
        refused = np.concatenate([active[~won], displaced])
        choice[refused] += 1
        active = refused[choice[refused] < stop[refused]]
    return taken


def assign(matching: Matching, threshold: float) -> Assignment:
    """Detections to objects of their own class by Hoiem's rule (rules, section 2).

    Parameters
    ----------
    matching
        The overlaps.
    threshold
        Smallest IoU, above 0: 0.5 is strong matching, 0.1 weak matching.
    """
    own = matching.own_groups
    return _assignment(
        matching, threshold, own, take_objects(matching, threshold, own), matching.group_start[own]
    )


def assign_devkit(matching: Matching, threshold: float = 0.5) -> Assignment:
    """Detections to objects of their own class by the rule of VOC's devkit.

    A detection goes to the object with the largest IoU, taken or not; a second hit is a false
    positive, any number of hits of a difficult object is ignored. Boxes are not clipped.
    """
    own = matching.own_groups
    start, stop = matching.group_start[own], matching.group_start[own + 1]
    favourite = _first_largest(matching.pair_iou_unclipped, matching.pair_object, start, stop)
    hit = matching.pair_iou_unclipped[favourite] >= threshold
    objects = matching.pair_object[favourite]
    rank = matching.rank[matching.group_detection[own]]
    first = np.full(len(matching.truth), np.iinfo(np.int64).max)
    np.minimum.at(first, objects[hit], rank[hit])
    takes = hit & ((rank == first[objects]) | matching.ignored[objects])
    return _assignment(matching, threshold, own, np.where(takes, favourite, -1), favourite, clipped=False)


def _first_largest(
    values: NDArray[np.float64],
    objects: NDArray[np.int64],
    start: NDArray[np.int64],
    stop: NDArray[np.int64],
) -> NDArray[np.int64]:
    """``(K,)`` the pair of largest value in each run ``start:stop``; of equals the lowest object."""
    length = stop - start
    run = np.repeat(np.arange(len(length)), length)
    pairs = np.arange(len(run)) + np.repeat(start - (np.cumsum(length) - length), length)
    by_value = pairs[np.lexsort((objects[pairs], -values[pairs], run))]
    first: NDArray[np.int64] = by_value[np.cumsum(length) - length]
    return first


def _assignment(
    matching: Matching,
    threshold: float,
    groups: NDArray[np.int64],
    taken: NDArray[np.int64],
    largest: NDArray[np.int64],
    clipped: bool = True,
) -> Assignment:
    """Per detection, from the pair that each of its own class's `groups` took and its largest pair."""
    iou = matching.pair_iou if clipped else matching.pair_iou_unclipped
    detection = matching.group_detection[groups]
    count = len(matching.detections)
    labels = np.full(count, -1, dtype=np.int8)
    objects = np.full(count, -1, dtype=np.int64)
    overlaps = np.zeros(count)
    duplicates = np.zeros(count, dtype=bool)
    took = taken >= 0
    overlaps[detection] = iou[np.where(took, taken, largest)]
    objects[detection[took]] = matching.pair_object[taken[took]]
    labels[detection[took]] = np.where(matching.ignored[objects[detection[took]]], 0, 1)
    duplicates[detection] = ~took & (iou[largest] >= threshold)
    return Assignment(labels, objects, overlaps, duplicates)
