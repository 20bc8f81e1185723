"""All overlaps, computed once, and which detection is matched to which object; every analysis reads it.

:func:`match` finds, once, every pair of a detection and an object of the same image that overlap, as columns
sorted into *groups*: the pairs of one detection with the objects of one class. :func:`assign` and
:func:`assign_devkit` then match at any threshold, by the rules of Hoiem's tool and of VOC's devkit. Both are
cheap, and so is counting anything again with other weights of the images
(:mod:`diagnosis.resampling`).
"""

from __future__ import annotations

import dataclasses
import itertools
import operator
import threading
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from functools import cached_property, partial, wraps
from inspect import signature
from typing import Any, NamedTuple, ParamSpec, TypeVar

import numpy as np
from numpy.typing import NDArray

from data.boxes import intersection
from data.formats.processes import over_threads
from data.records import Detections, GroundTruth, InputError
from diagnosis.sorting import argsort_ascending, argsort_descending, indices, sort_within

CANDIDATES_AT_ONCE = 1 << 17
"""Pairs of a detection and any object of its image that are looked at together: they fit in the cache."""

DENSE_ENTRIES = 1 << 20
"""Up to so many entries (an object and a class each) a plain table is used, however few pairs there are."""

CROWD_SHARE = 0.5
"""Share of a detection's area in a crowd region of its class from which it belongs to the crowd."""

Result = TypeVar("Result")
Arguments = ParamSpec("Arguments")


# ---- all overlaps ----------------------------------------------------------------------------

_COMPUTING = threading.RLock()
"""Held by the thread that computes what others may ask for, too; none of a matching, which can be pickled."""

INDEPENDENT_OF_BOXES = (
    "by_score", "class_start", "ignored", "in_crowd", "objects", "order", "own_groups",
    "pair_detection", "pair_rank", "rank",
)  # fmt: skip
"""Properties of a :class:`Matching` that are the same whether boxes are clipped or not."""


@dataclass(frozen=True, eq=False)
class Matching:
    """All overlapping pairs of M detections and N objects, and the ranking of the detections.

    Parameters
    ----------
    truth, detections
        What was matched.
    pair_object, pair_iou
        ``(P,)`` object and intersection over union of each pair, the detection clipped to the image
        (rules, section 1) if :func:`match` was asked to.
    pair_iou_unclipped
        ``(P,)`` the same with the box as the detector gave it, which the VOC and COCO devkits use.
    group_start
        ``(G + 1,)`` the pairs of group g are ``group_start[g]:group_start[g + 1]``, the largest IoU
        first, equal ones in the order of the annotations.
    group_detection, group_label
        ``(G,)`` the detection of each group and the class of its objects. Groups are sorted by both.
    crowd_detection, crowd_object
        ``(K,)`` overlapping pairs of a detection and a crowd region, which is in no group.
    """

    truth: GroundTruth
    detections: Detections
    pair_object: NDArray[np.int64]
    pair_iou: NDArray[np.float64]
    pair_iou_unclipped: NDArray[np.float64]
    group_start: NDArray[np.int64]
    group_detection: NDArray[np.int64]
    group_label: NDArray[np.int64]
    crowd_detection: NDArray[np.int64]
    crowd_object: NDArray[np.int64]

    @cached_property
    def by_score(self) -> NDArray[np.int64]:
        """``(M,)`` indices of the detections by falling score; equal scores in the order of the record."""
        return argsort_descending(self.detections.scores)

    @cached_property
    def order(self) -> NDArray[np.int64]:
        """``(M,)`` indices of the detections by class, then by falling score.

        Equal scores stay in the order of the record, which is that of the file.
        """
        return argsort_ascending(self.detections.labels, self.by_score)

    @cached_property
    def class_start(self) -> NDArray[np.int64]:
        """``(C + 1,)`` the detections of class j are ``order[class_start[j]:class_start[j + 1]]``."""
        counts = np.bincount(self.detections.labels, minlength=len(self.truth.classes))
        return np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)

    def ranked(self, label: int) -> NDArray[np.int64]:
        """Indices of the detections of class `label`, best first."""
        return self.order[self.class_start[label] : self.class_start[label + 1]]

    def ranking_of(self, kept: NDArray[np.bool_]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """:attr:`order` and :attr:`class_start` of the detections that are `kept` ``(M,)``."""
        order = self.order[kept[self.order]]
        return order, np.searchsorted(self.detections.labels[order], np.arange(len(self.truth.classes) + 1))

    @cached_property
    def rank(self) -> NDArray[np.int64]:
        """``(M,)`` place of each detection among those of its class, from 0."""
        rank = np.empty(len(self.order), dtype=np.int64)
        first = np.repeat(self.class_start[:-1], np.diff(self.class_start))
        rank[self.order] = indices(len(self.order)) - first
        return rank

    @cached_property
    def score_level(self) -> NDArray[np.int64]:
        """``(M,)`` how many different scores lie above each detection's."""
        scores = self.detections.scores[self.by_score]
        level = np.empty(len(scores), dtype=np.int64)
        level[self.by_score] = np.cumsum(np.diff(scores, prepend=scores[:1]) != 0)
        return level

    @cached_property
    def place_by_image(self) -> NDArray[np.int64]:
        """``(M,)`` place of each detection by image, then by falling score; equal scores as in the record."""
        place = np.empty(len(self.by_score), dtype=np.int64)
        place[argsort_ascending(self.detections.image_index, self.by_score)] = indices(len(place))
        return place

    @cached_property
    def rank_in_image(self) -> NDArray[np.int64]:
        """``(M,)`` place of each detection among those of its image, of whichever class, from 0."""
        counts = np.bincount(self.detections.image_index, minlength=len(self.truth.images))
        return self.place_by_image - (np.cumsum(counts) - counts)[self.detections.image_index]

    @cached_property
    def ignored(self) -> NDArray[np.bool_]:
        """``(N,)`` objects that are neither rewarded nor punished: difficult ones and crowds."""
        return self.truth.difficult | self.truth.crowd

    @cached_property
    def in_crowd(self) -> NDArray[np.bool_]:
        """``(M,)`` at least half of its area, not clipped, is in a crowd region of its class.

        Unless such a detection is matched to an object it counts for nothing, as in COCO.
        """
        result = np.zeros(len(self.detections), dtype=bool)
        detection, crowd = self.crowd_detection, self.crowd_object
        inside = intersection(self.detections.boxes[detection], self.truth.boxes[crowd])
        share = inside / self.detections.extents[detection].prod(axis=1)
        own = self.detections.labels[detection] == self.truth.labels[crowd]
        result[detection[own & (share >= CROWD_SHARE)]] = True
        return result

    @cached_property
    def objects(self) -> NDArray[np.int64]:
        """``(C,)`` number of objects of each class that are not ignored, N_j."""
        return np.bincount(self.truth.labels[~self.ignored], minlength=len(self.truth.classes))

    @cached_property
    def pair_detection(self) -> NDArray[np.int64]:
        """``(P,)`` the detection of each pair; rises."""
        return np.repeat(self.group_detection, np.diff(self.group_start))

    @cached_property
    def pair_rank(self) -> NDArray[np.int32]:
        """``(P,)`` the rank of each pair's detection in its class."""
        return self.rank.astype(np.int32)[self.pair_detection]

    @cached_property
    def group_iou(self) -> NDArray[np.float64]:
        """``(G,)`` the largest IoU of each group."""
        return self.pair_iou[self.group_start[:-1]]

    @cached_property
    def own_groups(self) -> NDArray[np.int64]:
        """Groups of a detection with objects of its own class."""
        return np.flatnonzero(self.group_label == self.detections.labels[self.group_detection])

    @cached_property
    def known(self) -> dict[Hashable, Any]:
        """What :func:`cached` functions have returned for it."""
        return {}

    @property
    def replicate_width(self) -> int:
        """Width of a statistic's largest temporary array, one row a replicate: bounds the memory.

        That is the detections of the largest class, or all objects if they are more.
        """
        return int(max(np.diff(self.class_start).max(initial=0), len(self.truth)))

    @cached_property
    def unclipped(self) -> Matching:
        """The same overlaps, in each group sorted by the IoU of the boxes as the detector gave them.

        Its `pair_iou` is `pair_iou_unclipped`; of equal ones the one annotated first comes first.
        """
        if self.pair_iou is self.pair_iou_unclipped:
            return self
        objects, iou = self.pair_object, self.pair_iou_unclipped
        later = np.ones(len(iou), dtype=bool)
        later[self.group_start[:-1]] = False
        wrong = (iou[1:] > iou[:-1]) | ((iou[1:] == iou[:-1]) & (objects[1:] < objects[:-1]))
        behind = np.flatnonzero(wrong & later[1:]) + 1
        if len(behind):  # seldom: clipping changes all overlaps of a detection in much the same way
            groups = np.unique(np.searchsorted(self.group_start, behind, side="right") - 1)
            first, length = self.group_start[groups], np.diff(self.group_start)[groups]
            start = np.concatenate([[0], np.cumsum(length)])
            places = indices(int(start[-1])) + np.repeat(first - start[:-1], length)
            rows = places[sort_within(start, -objects[places])]  # as annotated
            rows = rows[sort_within(start, iou[rows])]
            objects, iou = objects.copy(), iou.copy()
            objects[places], iou[places] = self.pair_object[rows], self.pair_iou_unclipped[rows]
        result = dataclasses.replace(self, pair_object=objects, pair_iou=iou, pair_iou_unclipped=iou)
        result.__dict__.update({name: getattr(self, name) for name in INDEPENDENT_OF_BOXES})
        return result


def cached(function: Callable[Arguments, Result]) -> Callable[Arguments, Result]:
    """Compute a function of a matching once for each set of its other arguments, also in threads."""
    parameters = signature(function)

    @wraps(function)
    def compute_once(*args: Arguments.args, **kwargs: Arguments.kwargs) -> Result:
        given = parameters.bind(*args, **kwargs)
        given.apply_defaults()
        matching, *others = given.arguments.values()
        key = function.__name__, *(x.tobytes() if isinstance(x, np.ndarray) else x for x in others)
        with _COMPUTING:
            if key not in matching.known:
                matching.known[key] = function(*args, **kwargs)
            known: Result = matching.known[key]
        return known

    return compute_once


def check_records(truth: object, detections: object) -> None:
    """They are records, not files or lists.

    Raises
    ------
    InputError
        If they are something else.

    Examples
    --------
    >>> check_records("a.json", None)
    Traceback (most recent call last):
    data.records.InputError: truth: found 'a.json'; expected a GroundTruth, as read_ground_truth(path) returns
    """
    for name, given, kind, how in (
        ("truth", truth, GroundTruth, "read_ground_truth(path)"),
        ("detections", detections, Detections, "read_found(path, truth)"),
    ):
        if not isinstance(given, kind):
            raise InputError(name, repr(given), f"a {kind.__name__}, as {how} returns")


def whole_number(name: str, given: Any) -> int:
    """The number given, which must be whole and at least one.

    Raises
    ------
    InputError
        If it is not.

    Examples
    --------
    >>> whole_number("n", 2.5)
    Traceback (most recent call last):
    data.records.InputError: n: found 2.5; expected a whole number, at least one
    """
    whole = isinstance(given, int | np.integer) or (isinstance(given, float) and given.is_integer())
    if not whole or given < 1:
        raise InputError(name, repr(given), "a whole number, at least one")
    return int(given)


def match(truth: GroundTruth, detections: Detections, clip: bool = True) -> Matching:
    """Overlaps of all detections with all objects of the same image, of whichever class.

    Time and memory grow linearly with the detections and the overlapping pairs.

    Parameters
    ----------
    truth, detections
        Of the same images and classes.
    clip
        Clip the boxes to the image first, as Hoiem's tool does with detections (rules, section 1).

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
    check_records(truth, detections)
    for name in ("images", "classes"):
        if getattr(truth, name) != getattr(detections, name):
            raise InputError(
                f"detections.{name}", f"other {name} than the ground truth's", "the same, in the same order"
            )
    overlaps = _Overlaps(truth, detections, clip)

    def rank() -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        by_score = argsort_descending(detections.scores)
        return by_score, argsort_ascending(detections.labels, by_score)

    work: list[Callable[[], Any]] = [rank, *(partial(overlaps.pairs, *two) for two in overlaps.parts)]
    # One part is sooner done than a thread starts.
    ranking, *parts = over_threads(work) if len(overlaps.parts) > 1 else [some() for some in work]
    objects, ious, clipped, starts, found, labels, near, crowds = zip(*parts, strict=True)
    number = np.array([len(some) for some in ious])
    shift = np.repeat(np.cumsum(number) - number, [len(some) for some in starts])
    iou = np.concatenate(ious)
    result = Matching(
        truth,
        detections,
        pair_object=np.concatenate(objects),
        pair_iou=iou if all(map(operator.is_, ious, clipped)) else np.concatenate(clipped),
        pair_iou_unclipped=iou,
        group_start=np.append(np.concatenate(starts) + shift, number.sum()),
        group_detection=np.concatenate(found),
        group_label=np.concatenate(labels),
        crowd_detection=np.concatenate(near),
        crowd_object=np.concatenate(crowds),
    )
    result.__dict__.update(zip(("by_score", "order"), ranking, strict=True))
    return result


class _Pairs(NamedTuple):
    """Overlapping pairs of some detections, grouped as in :class:`Matching`."""

    object: NDArray[np.int64]
    iou: NDArray[np.float64]
    clipped_iou: NDArray[np.float64]  # the same array where nothing is clipped
    start: NDArray[np.int64]  # first pair, detection and class of each group
    detection: NDArray[np.int64]
    label: NDArray[np.int64]
    crowd_detection: NDArray[np.int64]
    crowd_object: NDArray[np.int64]


class _Overlaps:
    """The boxes as columns, and the pairs of a few thousand detections at a time: those fit in the cache.

    Columns, unlike the rows of :mod:`data.boxes`, so that pairs are dropped by width before heights are read.
    """

    def __init__(self, truth: GroundTruth, detections: Detections, clip: bool) -> None:
        # Objects by image, then class, then as annotated.
        self.objects = argsort_ascending(truth.image_index, argsort_ascending(truth.labels))
        self.object_labels, self.crowd = truth.labels[self.objects], truth.crowd[self.objects]
        self.object_boxes = truth.boxes[self.objects].T.copy()
        self.object_area = _area(self.object_boxes)
        per_image = np.bincount(truth.image_index, minlength=len(truth.images))
        # The candidate pairs of each detection are those from `ends[row]` to `ends[row + 1]`.
        self.ends = np.concatenate([[0], np.cumsum(per_image[detections.image_index])])
        cuts = np.searchsorted(
            self.ends[1:], np.arange(CANDIDATES_AT_ONCE, self.ends[-1], CANDIDATES_AT_ONCE)
        )
        self.parts = list(itertools.pairwise([*np.unique(np.append(0, cuts)), len(detections)]))
        # What to add to the number of a candidate pair to get its object's place in `objects`.
        self.shift = (np.cumsum(per_image) - per_image)[detections.image_index] - self.ends[:-1]
        self.boxes = detections.boxes.T
        self.image_index = detections.image_index
        self.limits = truth.sizes.astype(np.float64).T.copy()
        self.clip = clip
        limits = self.limits[:, truth.image_index[self.objects]]
        self.object_beyond = _beyond(self.object_boxes, *limits)
        self.objects_inside = _inside(self.object_boxes, *limits)

    def pairs(self, low: int, high: int) -> _Pairs:
        """The pairs of the detections from `low` to `high`."""
        boxes, others = self.boxes[:, low:high].copy(), self.object_boxes
        count = np.diff(self.ends[low : high + 1])
        detection = np.repeat(indices(high - low), count)  # once: it is slow, and holds Python's lock
        place = np.arange(self.ends[low], self.ends[high])
        place += self.shift[low:high][detection]
        width = np.minimum(boxes[2][detection], others[2][place])
        width -= np.maximum(boxes[0][detection], others[0][place])
        kept = np.flatnonzero(width > 0)
        detection, place = detection[kept], place[kept]
        height = np.minimum(boxes[3][detection], others[3][place])
        height -= np.maximum(boxes[1][detection], others[1][place])
        overlap = np.maximum(height, 0.0) * width[kept]
        kept = np.flatnonzero(overlap > 0)
        detection, place, overlap = detection[kept], place[kept], overlap[kept]
        crowd = self.crowd[place]
        crowds = detection[crowd] + low, self.objects[place[crowd]]
        if len(crowds[0]):
            kept = np.flatnonzero(~crowd)
            detection, place, overlap = detection[kept], place[kept], overlap[kept]
        iou = overlap / (_area(boxes)[detection] + self.object_area[place] - overlap)
        clipped = (
            self._clipped(boxes, self.image_index[low:high], detection, place, iou) if self.clip else iou
        )

        label = self.object_labels[place]
        new = np.ones(len(detection), dtype=bool)
        new[1:] = (detection[1:] != detection[:-1]) | (label[1:] != label[:-1])
        start = np.flatnonzero(new)
        order = sort_within(np.append(start, len(detection)), clipped)
        objects, sorted_ = self.objects[place[order]], iou[order]
        clipped = sorted_ if clipped is iou else clipped[order]
        return _Pairs(objects, sorted_, clipped, start, detection[start] + low, label[start], *crowds)

    def _clipped(
        self,
        boxes: NDArray[np.float64],
        image: NDArray[np.int64],
        detection: NDArray[np.int64],
        place: NDArray[np.int64],
        iou: NDArray[np.float64],
    ) -> NDArray[np.float64]:
        """``(P,)`` IoU of the boxes clipped to their image; `iou` itself if nothing is clipped."""
        limits = self.limits[:, image]
        pairs = np.flatnonzero(_beyond(boxes, *limits)[detection] | self.object_beyond[place])
        if not len(pairs):
            return iou
        mine, others = _inside(boxes, *limits)[:, detection[pairs]], self.objects_inside[:, place[pairs]]
        sides = np.minimum(mine[2:], others[2:]) - np.maximum(mine[:2], others[:2])
        overlap = np.maximum(sides[0], 0.0) * np.maximum(sides[1], 0.0)
        union = _area(mine) + _area(others) - overlap
        result = iou.copy()
        result[pairs] = overlap / np.where(union > 0, union, 1.0)
        return result


def _beyond(
    columns: NDArray[np.float64], width: NDArray[np.float64], height: NDArray[np.float64]
) -> NDArray[np.bool_]:
    """``(N,)`` which boxes (4, N) reach beyond their image, of this size ``(N,)``."""
    return np.asarray((columns[0] < 0) | (columns[1] < 0) | (columns[2] > width) | (columns[3] > height))


def _inside(
    columns: NDArray[np.float64], width: NDArray[np.float64], height: NDArray[np.float64]
) -> NDArray[np.float64]:
    """``(4, N)`` the boxes clipped; one wholly outside is left without area (Hoiem's tool inverts it)."""
    left, top = np.maximum(columns[0], 0.0), np.maximum(columns[1], 0.0)
    right, bottom = np.maximum(np.minimum(columns[2], width), left), np.minimum(columns[3], height)
    return np.stack([left, top, right, np.maximum(bottom, top)])


def _area(columns: NDArray[np.float64]) -> NDArray[np.float64]:
    """``(N,)`` area of boxes (4, N), square pixels."""
    area: NDArray[np.float64] = (columns[2] - columns[0]) * (columns[3] - columns[1])
    return area


# ---- which detection is matched to which object ----------------------------------------------


@dataclass(frozen=True, eq=False)
class Assignment:
    """What each of M detections is matched to among the objects of its own class, at one threshold.

    Parameters
    ----------
    outcomes
        ``(M,)`` 1: true positive; 0: don't care, matched to a difficult object or, without a match, inside a
        crowd region; −1: false positive.
    object_rows
        ``(M,)`` row of the matched object in the ground truth, or −1.
    overlaps
        ``(M,)`` IoU with the matched object, else the largest IoU with any object of the class, or 0.
    duplicates
        ``(M,)`` false positives of enough overlap with an object that a higher-ranked detection matches.
    """

    outcomes: NDArray[np.int8]
    object_rows: NDArray[np.int64]
    overlaps: NDArray[np.float64]
    duplicates: NDArray[np.bool_]


def greedy_match(
    start: NDArray[np.int64],
    stop: NDArray[np.int64],
    pair_object: NDArray[np.int64],
    objects: int,
    rank: NDArray[np.int32],
    good: NDArray[np.bool_] | None = None,
    ranking: NDArray[np.int64] | None = None,
    rankings: int = 1,
) -> NDArray[np.int64]:
    """Match each of K detections, by rank, to the first object of its list that is still free.

    All detections choose at once, each object keeps the best ranked one that chose it, and the others move on
    to their next object (deferred acceptance, Gale and Shapley 1962). Since all objects rank the detections
    alike, the outcome is the greedy one, after a handful of rounds: the longest chain of second choices.

    Parameters
    ----------
    start, stop
        ``(K,)`` the list of a detection is the run ``start:stop`` of the P pairs, the preferred object first.
    pair_object
        ``(P,)`` the object of each pair, below `objects`.
    objects
        Number of objects.
    rank
        ``(P,)`` rank of the pair's detection, the smallest first. Pairs that share an object and a ranking
        differ in rank.
    good
        ``(P,)`` pairs that may be matched: in each run they come first, and the first is one. Default: all.
    ranking, rankings
        ``(K,)`` detections of different rankings, numbered below `rankings`, may match the same object.

    Returns
    -------
    NDArray
        ``(K,)`` the pair by which each detection is matched, or −1.

    Examples
    --------
    >>> first, last = np.array([0, 2]), np.array([2, 3])  # both prefer object 7
    >>> greedy_match(first, last, np.array([7, 5, 7]), 8, np.array([1, 1, 0], dtype=np.int32)).tolist()
    [1, 2]
    """
    matched = np.full(len(start), -1, dtype=np.int64)
    if not len(start):
        return matched
    # 32 bits: half the memory of the two tables, which is what takes time.
    best_rank = np.full(objects * rankings, np.iinfo(np.int32).max, dtype=np.int32)
    holder = np.full(objects * rankings, -1, dtype=np.int32)
    choice = start.copy()
    active = indices(len(start))
    while len(active):
        chosen = choice[active]
        wanted, offer = pair_object[chosen], rank[chosen]
        if ranking is not None and rankings > 1:
            wanted = wanted * rankings + ranking[active]
        np.minimum.at(best_rank, wanted, offer)
        won = best_rank[wanted] == offer
        winner, gained = active.compress(won), wanted.compress(won)  # three times as fast as in brackets
        displaced = holder[gained]
        displaced = displaced.compress(displaced >= 0).astype(np.int64)
        holder[gained] = winner
        matched[winner] = chosen.compress(won)
        matched[displaced] = -1
        refused = np.concatenate([active.compress(~won), displaced])
        later = choice[refused] + 1
        choice[refused] = later
        left = later < stop[refused]
        if good is not None:
            left &= good.take(later, mode="clip")
        active = refused.compress(left)
    return matched


def greedy_pairs(
    detection: NDArray[np.int64], pair_object: NDArray[np.int64], objects: int, rank: NDArray[np.int32]
) -> NDArray[np.int64]:
    """The pairs that :func:`greedy_match` chooses of P pairs in the order of `detection`, which rises."""
    start = np.flatnonzero(np.diff(detection, prepend=-1))
    stop = np.append(start[1:], len(detection)).astype(np.int64)
    matched = greedy_match(start, stop, pair_object, objects, rank)
    return matched[matched >= 0]


def lowest_of_largest(
    runs: NDArray[np.int64], values: NDArray[np.float64], numbers: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The R runs of equal `runs` ``(K,)``: where each begins, and its number of the largest value.

    Of equal values the lowest number. Both are ``(R,)``.

    Examples
    --------
    >>> runs, values = np.array([4, 4, 4, 7]), np.array([0.2, 0.6, 0.6, 0.1])
    >>> start, chosen = lowest_of_largest(runs, values, np.array([1, 3, 2, 5]))
    >>> start.tolist(), chosen.tolist()
    ([0, 3], [2, 5])
    """
    start = np.flatnonzero(np.diff(runs, prepend=-1))
    largest = np.repeat(np.maximum.reduceat(values, start), np.diff(start, append=len(runs)))
    lowest = np.where(values == largest, numbers, np.iinfo(np.int64).max)
    return start, np.minimum.reduceat(lowest, start)


def match_groups(matching: Matching, iou: float, groups: NDArray[np.int64]) -> NDArray[np.int64]:
    """Hoiem's greedy matching, in many groups at once (rules, section 2).

    The detections of one class, by rank, are each matched to the free object of one class with the largest
    IoU of at least `iou`. Every combination of two classes is matched separately.

    Parameters
    ----------
    matching
        The overlaps.
    iou
        Smallest IoU, above 0.
    groups
        ``(K,)`` indices of the groups to match. They must hold, for each combination of classes wanted,
        all of its groups.

    Returns
    -------
    NDArray
        ``(K,)`` index of the pair by which each group's detection is matched, or −1.
    """
    able = np.flatnonzero(matching.group_iou[groups] >= iou)
    chosen = groups[able]
    # The detections of each class are a ranking. Only one ranking competes for objects of its own class.
    ranking = matching.detections.labels[matching.group_detection[chosen]]
    classes = len(matching.truth.classes)
    rankings = 1 if np.array_equal(ranking, matching.group_label[chosen]) else classes
    pair_object, objects = matching.pair_object, len(matching.truth)
    # Memory stays linear in the pairs.
    if objects * rankings > 4 * (len(pair_object) + len(groups)) + DENSE_ENTRIES:
        pair_object = pair_object * classes + matching.detections.labels[matching.pair_detection]
        unique, pair_object = np.unique(pair_object, return_inverse=True)
        rankings, objects = 1, len(unique)
    start, stop = matching.group_start[chosen], matching.group_start[chosen + 1]
    good, rank = matching.pair_iou >= iou, matching.pair_rank
    matched = np.full(len(groups), -1, dtype=np.int64)
    matched[able] = greedy_match(start, stop, pair_object, objects, rank, good, ranking, rankings)
    return matched


EARLIER_NAMES = {
    "strong": "iou", "threshold": "iou", "weak": "background_iou", "background": "background_iou",
}  # fmt: skip


def takes_earlier_names(function: Callable[Arguments, Result]) -> Callable[Arguments, Result]:
    """Let callers name the thresholds of overlap as in earlier versions."""

    @wraps(function)
    def called(*args: Arguments.args, **kwargs: Arguments.kwargs) -> Result:
        now = {EARLIER_NAMES.get(name, name): value for name, value in kwargs.items()}
        return function(*args, **now)  # type: ignore[arg-type]

    return called


@takes_earlier_names
@cached
def assign(matching: Matching, iou: float) -> Assignment:
    """Detections to objects of their own class by Hoiem's rule (rules, section 2).

    Parameters
    ----------
    matching
        The overlaps.
    iou
        Smallest IoU, above 0: 0.5 for correct detections, 0.1 to tell errors apart.

    Returns
    -------
    Assignment
        Read-only, and cached by `iou`.
    """
    own = matching.own_groups
    matched = match_groups(matching, iou, own)
    return _assignment(matching, iou, own, matched, matching.group_start[own])


@takes_earlier_names
@cached
def assign_devkit(matching: Matching, iou: float = 0.5) -> Assignment:
    """Detections to objects of their own class by the rule of VOC's devkit.

    A detection belongs to the object with the largest IoU, matched already or not; a second hit is a false
    positive, any number of hits of a difficult object is ignored. Boxes are not clipped.
    """
    unclipped, own = matching.unclipped, matching.own_groups
    largest = unclipped.group_start[own]  # of equal overlaps the one annotated first
    hit = unclipped.pair_iou[largest] >= iou
    objects = unclipped.pair_object[largest]
    rank = matching.rank[matching.group_detection[own]]
    first = np.full(len(matching.truth), np.iinfo(np.int64).max)
    np.minimum.at(first, objects[hit], rank[hit])
    matched = hit & ((rank == first[objects]) | matching.ignored[objects])
    return _assignment(unclipped, iou, own, np.where(matched, largest, -1), largest)


def _assignment(
    matching: Matching,
    iou: float,
    groups: NDArray[np.int64],
    matched: NDArray[np.int64],
    largest: NDArray[np.int64],
) -> Assignment:
    """From the pair that matches the detection of each of `groups`, or −1, and its pair of largest IoU."""
    pair_iou = matching.pair_iou
    detection = matching.group_detection[groups]
    count = len(matching.detections)
    outcomes = np.full(count, -1, dtype=np.int8)
    object_rows = np.full(count, -1, dtype=np.int64)
    overlaps = np.zeros(count)
    duplicates = np.zeros(count, dtype=bool)
    has_object = matched >= 0
    overlaps[detection] = best = pair_iou[largest]
    duplicates[detection] = ~has_object & (best >= iou)
    pairs, rows = matched.compress(has_object), detection.compress(has_object)
    overlaps[rows] = pair_iou[pairs]
    object_rows[rows] = objects = matching.pair_object[pairs]
    outcomes[rows] = ~matching.ignored[objects]
    if len(matching.crowd_object):
        excused = matching.in_crowd & (object_rows < 0)
        outcomes[excused], duplicates[excused] = 0, False
    for column in (outcomes, object_rows, overlaps, duplicates):
        column.setflags(write=False)
    return Assignment(outcomes, object_rows, overlaps, duplicates)
