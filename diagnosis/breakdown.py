"""Correct, localization, similar, other or background: what kind of error each detection is.

The rules are those of Hoiem, Chodpathumwan and Dai (ECCV 2012), section 3 of the rules; the five names
and the way of counting over all classes are the YOLO paper's.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from data.records import InputError
from diagnosis.matching import Assignment, Matching, assign, take_objects

__all__ = [
    "ERROR_TYPES",
    "STRONG",
    "WEAK",
    "Breakdown",
    "ErrorType",
    "ReferencedObjects",
    "Verdicts",
    "break_down",
    "down_to_false_positive",
    "error_masks",
    "referenced_objects",
    "verdicts",
]

STRONG = 0.5
"""IoU from which a detection is right."""

WEAK = 0.1
"""IoU from which a detection has to do with an object at all."""


@dataclass(frozen=True)
class ErrorType:
    """A kind of detection, as all tables, figures and sentences name it.

    Parameters
    ----------
    name
        In results.
    colour
        Everywhere.
    explanation
        In one sentence.
    label
        In figures and tables.
    subject
        In a sentence, in the plural: "localization errors".
    clause
        In a sentence, after its share of the detections: "are correct".
    """

    name: str
    colour: str
    explanation: str
    label: str
    subject: str
    clause: str = ""


# At least 30 apart (CIE76) from each other in normal, protan, deutan and tritan vision (Machado et al.,
# 2009).
ERROR_TYPES: tuple[ErrorType, ...] = (
    ErrorType(
        "correct",
        "#117733",
        "The right class, with an overlap (IoU) of at least 0.5 with an object, difficult or not, "
        "that no surer detection has taken.",
        "correct",
        "correct detections",
        "are correct",
    ),
    ErrorType(
        "localization",
        "#88CCEE",
        "The right class in the wrong place: an overlap of 0.1 to 0.5, or a second detection of one object.",
        "localization",
        "localization errors",
        "localization errors",
    ),
    ErrorType(
        "similar",
        "#E69F00",
        "An overlap of at least 0.1 with an object of a similar class.",
        "similar",
        "confusions with similar classes",
        "on objects of a similar class",
    ),
    ErrorType(
        "other",
        "#B5179E",
        "An overlap of at least 0.1 with an object of a class that is not similar.",
        "other",
        "confusions with other classes",
        "of another class",
    ),
    ErrorType(
        "background",
        "#888888",
        "No overlap of 0.1 or more with any annotated object.",
        "background",
        "detections on background",
        "on background",
    ),
)

CORRECT, LOCALIZATION, SIMILAR, OTHER, BACKGROUND = range(len(ERROR_TYPES))
UNCOUNTED = -1
NONE = -1
"""Index of no object and no class."""

Top = int | float | Literal["all"] | ArrayLike | None
"""How many detections of a class count: None: as many as it has objects; an int: so many; a float: so
many times its objects; an array: one number for each class; "all"."""


@dataclass(frozen=True, eq=False)
class Verdicts:
    """The kind of each of M detections, wherever it stands in the ranking.

    Parameters
    ----------
    types
        ``(M,)`` index into :data:`ERROR_TYPES`.
    confused_with
        ``(M,)`` the class of the object behind a similar or other error, else −1.
    """

    types: NDArray[np.int8]
    confused_with: NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Breakdown:
    """The kinds of the top detections of each of C classes.

    Parameters
    ----------
    classes
        Names of the classes.
    objects
        ``(C,)`` number of objects that are not difficult, N_j.
    counts
        ``(C, 5)`` number of top detections of each kind, in the order of :data:`ERROR_TYPES`.
    verdict
        ``(M,)`` kind of each detection, an index into :data:`ERROR_TYPES`; −1: below the top, not counted.

    Examples
    --------
    >>> counts, verdict = np.array([[2, 1, 1, 0, 0], [0] * 5]), np.zeros(0, np.int8)
    >>> two = Breakdown(("cat", "dog"), np.array([4, 0]), counts, verdict)
    >>> two.shares[0].tolist(), two.mean_over_classes().tolist()
    ([0.5, 0.25, 0.25, 0.0, 0.0], [0.5, 0.25, 0.25, 0.0, 0.0])
    """

    classes: tuple[str, ...]
    objects: NDArray[np.int64]
    counts: NDArray[np.int64]
    verdict: NDArray[np.int8]

    @property
    def shares(self) -> NDArray[np.float64]:
        """``(C, 5)`` fractions of the class's top detections; NaN where it has none."""
        return _shares(self.counts)

    def mean_over_classes(self) -> NDArray[np.float64]:
        """``(5,)`` the classes' shares averaged, as the YOLO paper does; NaN if nothing was counted."""
        counted = self.counts.sum(axis=1) > 0
        if not counted.any():
            return np.full(len(ERROR_TYPES), np.nan)
        mean: NDArray[np.float64] = self.shares[counted].mean(axis=0)
        return mean

    def pooled(self) -> NDArray[np.float64]:
        """``(5,)`` shares of all classes' top detections taken together, as Hoiem's tool does."""
        return _shares(self.counts.sum(axis=0))


def _shares(counts: NDArray[np.int64]) -> NDArray[np.float64]:
    total = counts.sum(axis=-1, keepdims=True)
    return np.where(total > 0, counts / np.maximum(total, 1), np.nan)


def break_down(
    matching: Matching,
    similar: NDArray[np.bool_],
    top: Top = None,
    *,
    strong: float = STRONG,
    weak: float = WEAK,
) -> Breakdown:
    """Count the kinds of the top detections of each class.

    Parameters
    ----------
    matching
        The overlaps.
    similar
        ``(C, C)`` which classes are similar, from :func:`diagnosis.similar.similar_matrix`.
    top
        How many of a class's best ranked detections count. Default: as many as the class has objects
        that are not difficult (N_j). An int: so many; a float: so many times N_j, rounded (halves up);
        an array: a number for each class; ``"all"``: every one. Where there are fewer detections, those.
    strong, weak
        Smallest IoU of a correct detection, and of one that has to do with an object at all.

    Raises
    ------
    InputError
        If `top` is none of these, or the thresholds are not ``0 < weak <= strong <= 1``.
    """
    kinds = verdicts(matching, similar, strong=strong, weak=weak).types
    counted = matching.rank < _tops(matching, top)[matching.detections.labels]
    classes = len(matching.truth.classes)
    cells = matching.detections.labels[counted] * len(ERROR_TYPES) + kinds[counted]
    counts = np.bincount(cells, minlength=classes * len(ERROR_TYPES)).reshape(classes, len(ERROR_TYPES))
    verdict = np.where(counted, kinds, np.int8(UNCOUNTED))
    return Breakdown(matching.truth.classes, matching.objects, counts, verdict)


def _tops(matching: Matching, top: Top) -> NDArray[np.int64]:
    """``(C,)`` how many detections of each class count."""
    objects = matching.objects
    wanted = (
        "an integer, a factor of the objects (a float), one integer for each class, or 'all'; none negative"
    )
    if top is None:
        return objects
    if isinstance(top, str):
        if top != "all":
            raise InputError("top", repr(top), wanted)
        return np.diff(matching.class_start)
    numbers = np.asarray(top)
    if numbers.dtype.kind not in "iuf" or not np.isfinite(numbers).all() or (numbers < 0).any():
        raise InputError("top", repr(top), wanted)
    if numbers.ndim == 0:
        return (
            np.floor(numbers * objects + 0.5).astype(np.int64)
            if numbers.dtype.kind == "f"
            else np.full_like(objects, top)
        )
    if numbers.shape != objects.shape or numbers.dtype.kind == "f":
        raise InputError("top", f"{numbers.dtype} of shape {numbers.shape}", wanted)
    return numbers.astype(np.int64)


def down_to_false_positive(assignment: Assignment, matching: Matching, count: int = 100) -> NDArray[np.int64]:
    """How many detections of each class there are down to its `count`-th false positive, that one included.

    All of them where there are fewer false positives. The second column of Hoiem's tool; its pie of a
    single class adds this column to the one of the top N_j, which :func:`break_down` does not.

    Returns
    -------
    NDArray
        ``(C,)`` numbers, fit for `top` of :func:`break_down`.
    """
    false = np.concatenate([[0], np.cumsum(assignment.labels[matching.order] == -1)])
    start, stop = matching.class_start[:-1], matching.class_start[1:]
    # The first place at which `count` false positives of the class lie behind.
    reached = np.searchsorted(false, false[start] + count, side="left")
    depth: NDArray[np.int64] = np.minimum(reached, stop) - start
    return depth


def verdicts(
    matching: Matching, similar: NDArray[np.bool_], *, strong: float = STRONG, weak: float = WEAK
) -> Verdicts:
    """The kind of every detection, by the scheme of Hoiem's pies (rules, section 3).

    Where a false positive overlaps objects of several other classes, the largest overlap decides: the
    one with the object taken in weak matching with that class or, where all are taken, the largest.
    Cutting the ranking anywhere changes no verdict above the cut.
    """
    types, undecided = _right_class(matching, strong, weak)
    confused_with = np.full(len(types), -1, dtype=np.int64)
    foreign = matching.group_iou >= weak
    foreign[matching.own_groups] = False
    groups = np.flatnonzero(foreign)
    taken = take_objects(matching, weak, groups)
    pair = np.where(taken >= 0, taken, matching.group_start[groups])

    candidate = undecided[matching.group_detection[groups]]
    detection = matching.group_detection[groups][candidate]  # rises, and so does the label for each
    label = matching.group_label[groups][candidate]
    overlap = matching.pair_iou[pair[candidate]]
    first = np.flatnonzero(np.diff(detection, prepend=-1))
    if len(first):
        largest = np.maximum.reduceat(overlap, first)
        best = overlap == np.repeat(largest, np.diff(first, append=len(detection)))
        detection, label = detection[best], label[best]
        first = np.flatnonzero(np.diff(detection, prepend=-1))  # ties: the lower class
        detection, label = detection[first], label[first]

    types[undecided] = BACKGROUND
    types[detection] = np.where(similar[matching.detections.labels[detection], label], SIMILAR, OTHER)
    confused_with[detection] = label
    return Verdicts(types, confused_with)


def error_masks(
    matching: Matching, similar: NDArray[np.bool_], *, strong: float = STRONG, weak: float = WEAK
) -> NDArray[np.int8]:
    """The kind of every detection, by the scheme of Hoiem's AP impact (rules, section 3).

    Unlike in :func:`verdicts`, any overlap with a similar class wins over any with another.

    Returns
    -------
    NDArray
        ``(M,)`` indices into :data:`ERROR_TYPES`.
    """
    types, undecided = _right_class(matching, strong, weak)
    types[undecided] = BACKGROUND
    # A weak label is 0 or more, by taking an object or as a duplicate, just where the largest IoU is at
    # least `weak`: no walk is needed.
    groups = np.flatnonzero((matching.group_iou >= weak) & undecided[matching.group_detection])
    detection = matching.group_detection[groups]
    resembles = similar[matching.detections.labels[detection], matching.group_label[groups]]
    types[detection] = OTHER
    types[detection[resembles]] = SIMILAR
    return types


def _right_class(
    matching: Matching, strong: float, weak: float
) -> tuple[NDArray[np.int8], NDArray[np.bool_]]:
    """Kinds with correct and localization filled in, and which detections are neither."""
    if not 0 < weak <= strong <= 1:
        raise InputError("thresholds", f"weak {weak}, strong {strong}", "0 < weak <= strong <= 1")
    types = np.full(len(matching.detections), UNCOUNTED, dtype=np.int8)
    # In weak matching, too, 0 or more just where the largest IoU with the own class is `weak` or more.
    own = matching.own_groups[matching.group_iou[matching.own_groups] >= weak]
    types[matching.group_detection[own]] = LOCALIZATION
    types[assign(matching, strong).labels >= 0] = CORRECT
    return types, types == UNCOUNTED


class ReferencedObjects(NamedTuple):
    """The verdict on each of M detections, and the object that it is about."""

    types: NDArray[np.int8]
    """``(M,)`` index into :data:`~diagnosis.breakdown.ERROR_TYPES`."""
    confused_with: NDArray[np.int64]
    """``(M,)`` the class of the object behind a similar or other error, else −1."""
    duplicate: NDArray[np.bool_]
    """``(M,)`` localization errors whose overlap would do, but the object has been taken."""
    objects: NDArray[np.int64]
    """``(M,)`` row of the object in the ground truth, or −1."""
    overlaps: NDArray[np.float64]
    """``(M,)`` IoU with that object; 0 where there is none."""


def referenced_objects(matching: Matching, similar: NDArray[np.bool_], strong: float) -> ReferencedObjects:
    """What each detection is, whatever its rank, and which object that has to do with.

    A correct detection has taken its object. Of an error it is the object with the largest overlap (the
    first in the annotations, of equals): among those of its own class for localization, of the class it was
    confused with for similar and other, of all for background, where there may be none. Detections are
    clipped to the image, as in the rules.

    Parameters
    ----------
    matching
        The overlaps.
    similar
        ``(C, C)`` which classes are similar.
    strong
        Smallest IoU of a correct detection.
    """
    found = verdicts(matching, similar, strong=strong)
    types, confused_with = found.types, found.confused_with
    own = assign(matching, strong)
    count = len(matching.detections)
    objects = np.full(count, NONE, dtype=np.int64)
    overlaps = np.zeros(count)

    # The class whose objects a detection is about; −1: any.
    about = np.where(types == LOCALIZATION, matching.detections.labels, confused_with)
    detection = matching.group_detection
    fits = (about[detection] == NONE) | (matching.group_label == about[detection])
    groups = np.flatnonzero(fits & (types[detection] != CORRECT))
    first_pair = matching.group_start[groups]
    by_overlap = np.lexsort(
        (matching.pair_object[first_pair], -matching.group_iou[groups], detection[groups])
    )
    groups = groups[by_overlap]
    largest = np.ones(len(groups), dtype=bool)
    largest[1:] = detection[groups[1:]] != detection[groups[:-1]]
    chosen = groups[largest]
    objects[detection[chosen]] = matching.pair_object[matching.group_start[chosen]]
    overlaps[detection[chosen]] = matching.group_iou[chosen]

    correct = types == CORRECT
    objects[correct], overlaps[correct] = own.objects[correct], own.overlaps[correct]
    return ReferencedObjects(
        types, confused_with, own.duplicates & (types == LOCALIZATION), objects, overlaps
    )
