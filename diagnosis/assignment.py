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
from diagnosis.ranking import indices

__all__ = ["Assignment", "assign", "assign_devkit", "greedy", "take_objects"]

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
    able = np.flatnonzero(matching.group_iou[groups] >= threshold)
    chosen = groups[able]
    detection = matching.group_detection[chosen]
    # The detections of each class walk by themselves, but an object's own class is alone there anyway.
    view, views = matching.detections.labels[detection], len(matching.truth.classes)
    if np.array_equal(view, matching.group_label[chosen]):
        view, views = np.zeros_like(view), 1
    slot, slots = matching.pair_object, len(matching.truth)
    if slots * views > 4 * (len(slot) + len(groups)) + DENSE_SLOTS:  # keeps memory linear in the pairs
        slot = slot * views + matching.detections.labels[matching.pair_detection]
        unique, slot = np.unique(slot, return_inverse=True)
        view, views, slots = np.zeros_like(view), 1, len(unique)
    start, stop = matching.group_start[chosen], matching.group_start[chosen + 1]
    taken = np.full(len(groups), -1, dtype=np.int64)
    good = matching.pair_iou >= threshold
    taken[able] = greedy(start, stop, good, slot, slots, matching.rank[detection], view, views)
    return taken


def greedy(
    start: NDArray[np.int64],
    stop: NDArray[np.int64],
    good: NDArray[np.bool_],
    slot: NDArray[np.int64],
    slots: int,
    rank: NDArray[np.int64],
    view: NDArray[np.int64],
    views: int,
) -> NDArray[np.int64]:
    """Each of K choosers takes the first free slot on its list, the best ranked chooser first.

    Parameters
    ----------
    start, stop
        ``(K,)`` the list of a chooser is the run ``start:stop`` of the P pairs, the dearest slot first.
    good
        ``(P,)`` pairs that are worth taking: in each run they come first, and the first is one.
    slot
        ``(P,)`` the slot of each pair, below `slots`.
    slots
        Number of slots.
    rank
        ``(K,)`` the smaller, the sooner. Choosers that share a slot and a view differ in rank.
    view, views
        ``(K,)`` choosers of different views, below `views`, do not take slots from each other.

    Returns
    -------
    NDArray
        ``(K,)`` the pair that each chooser took, or −1.

    Examples
    --------
    >>> first, last = np.array([0, 2]), np.array([2, 3])  # both love slot 7
    >>> slots, rank, view = np.array([7, 5, 7]), np.array([1, 0]), np.zeros(2, int)
    >>> greedy(first, last, np.ones(3, bool), slots, 8, rank, view, 1).tolist()
    [1, 2]
    """
    taken = np.full(len(start), -1, dtype=np.int64)
    if not len(start):
        return taken
    rank = rank.astype(np.int32)  # half the memory of the two tables, which is what takes time
    best_rank = np.full(slots * views, np.iinfo(np.int32).max, dtype=np.int32)
    holder = np.full(slots * views, -1, dtype=np.int32)
    choice = start.copy()
    active = indices(len(start))
    while len(active):
        wanted, offer = slot[choice[active]], rank[active]
        if views > 1:
            wanted = wanted * views + view[active]
        np.minimum.at(best_rank, wanted, offer)
        won = best_rank[wanted] == offer
        winner, gained = active[won], wanted[won]
        displaced = holder[gained]
        displaced = displaced[displaced >= 0].astype(np.int64)
        holder[gained] = winner
        taken[winner] = choice[winner]
        taken[displaced] = -1
        refused = np.concatenate([active[~won], displaced])
        choice[refused] += 1
        refused = refused[choice[refused] < stop[refused]]
        active = refused[good[choice[refused]]]
    return taken


def assign(matching: Matching, threshold: float) -> Assignment:
    """Detections to objects of their own class by Hoiem's rule (rules, section 2).

    Parameters
    ----------
    matching
        The overlaps.
    threshold
        Smallest IoU, above 0: 0.5 is strong matching, 0.1 weak matching.

    Returns
    -------
    Assignment
        Read-only, and kept with the overlaps: several analyses ask for the same.
    """
    known = matching.assignments
    if threshold not in known:
        own = matching.own_groups
        known[threshold] = _assignment(
            matching, threshold, own, take_objects(matching, threshold, own), matching.group_start[own]
        )
    return known[threshold]


def assign_devkit(matching: Matching, threshold: float = 0.5) -> Assignment:
    """Detections to objects of their own class by the rule of VOC's devkit.

    A detection goes to the object with the largest IoU, taken or not; a second hit is a false
    positive, any number of hits of a difficult object is ignored. Boxes are not clipped.
    """
    matching = matching.unclipped
    own = matching.own_groups
    favourite = matching.group_start[own]  # of equal overlaps the one annotated first
    hit = matching.pair_iou[favourite] >= threshold
    objects = matching.pair_object[favourite]
    rank = matching.rank[matching.group_detection[own]]
    first = np.full(len(matching.truth), np.iinfo(np.int64).max)
    np.minimum.at(first, objects[hit], rank[hit])
    takes = hit & ((rank == first[objects]) | matching.ignored[objects])
    return _assignment(matching, threshold, own, np.where(takes, favourite, -1), favourite)


def _assignment(
    matching: Matching,
    threshold: float,
    groups: NDArray[np.int64],
    taken: NDArray[np.int64],
    largest: NDArray[np.int64],
) -> Assignment:
    """Per detection, from the pair that each of its own class's `groups` took and its largest pair."""
    iou = matching.pair_iou
    detection = matching.group_detection[groups]
    count = len(matching.detections)
    labels = np.full(count, -1, dtype=np.int8)
    objects = np.full(count, -1, dtype=np.int64)
    overlaps = np.zeros(count)
    duplicates = np.zeros(count, dtype=bool)
    took = taken >= 0
    best = iou[largest]
    overlaps[detection] = best
    duplicates[detection] = ~took & (best >= threshold)
    rows = np.flatnonzero(took)
    pairs, holders = taken[rows], detection[rows]
    overlaps[holders] = iou[pairs]
    objects[holders] = taken_objects = matching.pair_object[pairs]
    labels[holders] = ~matching.ignored[taken_objects]
    for column in (labels, objects, overlaps, duplicates):
        column.setflags(write=False)
    return Assignment(labels, objects, overlaps, duplicates)
