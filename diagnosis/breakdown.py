"""Correct, localization, similar, other or background: the error type of each detection.

The rules are those of Hoiem, Chodpathumwan and Dai (ECCV 2012), section 3 of the rules; the five names
and the way of counting over all classes are the YOLO paper's.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from data.records import InputError
from diagnosis.matching import Matching, assign, cached, lowest_of_largest, match_groups, takes_earlier_names
from diagnosis.rankings import mean_defined
from diagnosis.resampling import ImageWeights, ObjectCounter, RunningTotals, Weights

__all__ = [
    "BACKGROUND",
    "BACKGROUND_IOU",
    "CORRECT",
    "CORRECT_IOU",
    "ERROR_NAMES",
    "ERROR_TYPES",
    "LOCALIZATION",
    "NONE",
    "OTHER",
    "SIMILAR",
    "UNCOUNTED",
    "Breakdown",
    "BreakdownStatistic",
    "ErrorType",
    "PieErrorTypes",
    "ReferencedObjects",
    "Top",
    "break_down",
    "check_thresholds",
    "flag_error_types",
    "pie_error_types",
    "referenced_objects",
    "shares_of",
]

CORRECT_IOU = 0.5
"""Minimum IoU of a correct detection."""

BACKGROUND_IOU = 0.1
"""Minimum IoU to count as overlapping an object."""


@dataclass(frozen=True)
class ErrorType:
    """An error type (*correct* is one), as all tables, figures and sentences name it.

    Parameters
    ----------
    name
        Its key in JSON and tables.
    colour
        Its colour in all figures.
    explanation
        What it means, in one sentence.
    label
        Its name in figures and tables.
    subject
        Its name in a sentence, in the plural: "localization errors".
    clause
        Its name in a sentence, after its share of the detections: "are correct".
    fate
        What became of an object that such a detection refers to, for :mod:`diagnosis.fates`; empty if it
        refers to none.
    """

    name: str
    colour: str
    explanation: str
    label: str
    subject: str
    clause: str = ""
    fate: str = ""


# At least 28 apart (CIE76) from each other in normal, protan, deutan and tritan vision (Machado et al.,
# 2009), and at least 8.5 in lightness (L*) and 23 of 255 in luma, to be distinguishable in grey.
ERROR_TYPES: tuple[ErrorType, ...] = (
    ErrorType(
        "correct", "#0B5028",
        "The right class, with an overlap (IoU) of at least 0.5 with an object, difficult or not, "
        "not already matched by a higher-scoring detection.",
        "correct", "correct detections", "are correct", "A correct detection is matched to it.",
    ),
    ErrorType(
        "localization", "#8FD3F5",
        "The right class in the wrong place: an overlap of 0.1 to 0.5, or a second detection of one object.",
        "localization", "localization errors", "localization errors",
        "Only localization errors of its class lie on it: seen, but in the wrong place.",
    ),
    ErrorType(
        "similar", "#E69F00",
        "An overlap of at least 0.1 with an object of a similar class.",
        "similar", "confusions with similar classes", "on objects of a similar class",
        "Only detections of other classes lie on it, one of them of a similar class.",
    ),
    ErrorType(
        "other", "#C537AE",
        "An overlap of at least 0.1 with an object of a class that is not similar.",
        "other", "confusions with other classes", "of another class",
        "Only detections of classes that are not similar lie on it.",
    ),
    ErrorType(
        "background", "#8B8B8B",
        "No overlap of 0.1 or more with any annotated object.",
        "background", "detections on background", "on background",
    ),
)  # fmt: skip

ERROR_NAMES = tuple(error_type.name for error_type in ERROR_TYPES)
CORRECT, LOCALIZATION, SIMILAR, OTHER, BACKGROUND = range(len(ERROR_TYPES))
UNCOUNTED = -1
"""Type of a detection that counts for nothing, as it is in a crowd region, or not in the top."""
NONE = -1
"""Index of no object and no class."""

Top = int | float | Literal["all"] | ArrayLike | None
"""How many detections of a class count: None: as many as it has objects; an int: so many; a float: so
many times its objects; an array: one number for each class; "all"."""

DEPTH_MARGIN = 1.25
"""Initial search depth as a multiple of the top; a replicate may need more."""


# ---- the error type of each detection --------------------------------------------------------


@dataclass(frozen=True, eq=False)
class PieErrorTypes:
    """The error type of each of M detections, wherever it is in the ranking.

    Parameters
    ----------
    types
        ``(M,)`` index into :data:`ERROR_TYPES`; −1: none, for it is in a crowd region and counts for nothing.
    confused_with
        ``(M,)`` the class of the object behind a similar or other error, else −1.
    """

    types: NDArray[np.int8]
    confused_with: NDArray[np.int64]


@takes_earlier_names
@cached
def pie_error_types(
    matching: Matching,
    similar: NDArray[np.bool_],
    *,
    iou: float = CORRECT_IOU,
    background_iou: float = BACKGROUND_IOU,
) -> PieErrorTypes:
    """The error type of every detection by the pie scheme, for counts and shares (rules, section 3).

    Where a false positive overlaps objects of several other classes, the class with the largest overlap
    counts: the overlap with the object that it is matched to at `background_iou` or,
    where none is free, the largest.
    A detection's type does not depend on those ranked below it. Cached by the arguments.
    """
    types, undecided = _right_class(matching, iou, background_iou)
    confused_with = np.full(len(types), NONE, dtype=np.int64)
    typed = undecided | (types != UNCOUNTED)
    foreign = (matching.group_iou >= background_iou) & typed[matching.group_detection]
    foreign[matching.own_groups] = False
    groups = np.flatnonzero(foreign)
    matched = match_groups(matching, background_iou, groups)
    pair = np.where(matched >= 0, matched, matching.group_start[groups])

    asked = undecided[matching.group_detection[groups]]
    groups, pair = groups.compress(asked), pair.compress(asked)
    detection = matching.group_detection[groups]
    first, label = lowest_of_largest(detection, matching.pair_iou[pair], matching.group_label[groups])
    detection = detection[first]

    types[np.flatnonzero(undecided)] = BACKGROUND
    types[detection] = np.where(similar[matching.detections.labels[detection], label], SIMILAR, OTHER)
    confused_with[detection] = label
    types.setflags(write=False)
    confused_with.setflags(write=False)
    return PieErrorTypes(types, confused_with)


@takes_earlier_names
@cached
def flag_error_types(
    matching: Matching,
    similar: NDArray[np.bool_],
    *,
    iou: float = CORRECT_IOU,
    background_iou: float = BACKGROUND_IOU,
) -> NDArray[np.int8]:
    """The error type of every detection by the flag scheme, for AP impact and trends (rules, section 3).

    Unlike in :func:`pie_error_types`, any overlap with a similar class wins over any with another.
    Cached by the arguments.

    Returns
    -------
    NDArray
        ``(M,)`` indices into :data:`ERROR_TYPES`; −1 as in :class:`PieErrorTypes`.
    """
    types, undecided = _right_class(matching, iou, background_iou)
    types[np.flatnonzero(undecided)] = BACKGROUND
    # A detection is matched at `background_iou`, or is a duplicate, exactly where its largest IoU reaches it.
    # So the matching itself is not needed.
    groups = np.flatnonzero((matching.group_iou >= background_iou) & undecided[matching.group_detection])
    detection = matching.group_detection[groups]
    resembles = similar[matching.detections.labels[detection], matching.group_label[groups]]
    types[detection] = OTHER
    types[detection.compress(resembles)] = SIMILAR
    types.setflags(write=False)
    return types


def _right_class(
    matching: Matching, iou: float, background_iou: float
) -> tuple[NDArray[np.int8], NDArray[np.bool_]]:
    """Error types with correct and localization filled in, and which detections are neither."""
    check_thresholds(iou, background_iou)
    types = np.full(len(matching.detections), UNCOUNTED, dtype=np.int8)
    # Matched at `background_iou`, or duplicates.
    own = matching.own_groups.compress(matching.group_iou[matching.own_groups] >= background_iou)
    types[matching.group_detection[own]] = LOCALIZATION
    matched = assign(matching, iou).object_rows >= 0
    types[np.flatnonzero(matched)] = CORRECT
    excused = matching.in_crowd & ~matched
    types[np.flatnonzero(excused)] = UNCOUNTED
    return types, (types == UNCOUNTED) & ~excused


def check_thresholds(iou: float, background_iou: float) -> None:
    """Raise :class:`InputError` unless ``0 < background_iou <= iou <= 1``."""
    if not 0 < background_iou <= iou <= 1:
        found = f"background_iou {background_iou:g}, iou {iou:g}"
        raise InputError("thresholds", found, "0 < background_iou <= iou <= 1")


@dataclass(frozen=True, eq=False)
class ReferencedObjects(PieErrorTypes):
    """The error type of each of M detections, and the object that it refers to.

    Parameters
    ----------
    types, confused_with
        ``(M,)`` as in :class:`PieErrorTypes`.
    duplicate
        ``(M,)`` localization errors of enough overlap, but a higher-ranked detection has the object.
    object_rows
        ``(M,)`` row of the object in the ground truth, or −1.
    overlaps
        ``(M,)`` IoU with that object; 0 where there is none.
    """

    duplicate: NDArray[np.bool_]
    object_rows: NDArray[np.int64]
    overlaps: NDArray[np.float64]


def referenced_objects(
    matching: Matching, similar: NDArray[np.bool_], iou: float = CORRECT_IOU
) -> ReferencedObjects:
    """Which object each detection refers to, whatever its rank.

    A correct detection refers to the object it is matched to, an error to the one of the largest overlap (the
    first in the annotations, of equals): among those of its own class for localization, of the class it was
    confused with for similar and other, of all for background, where there may be none. Detections are
    clipped to the image, as in the rules.

    Parameters
    ----------
    matching
        The overlaps.
    similar
        ``(C, C)`` which classes are similar.
    iou
        Smallest IoU of a correct detection.
    """
    found, own = pie_error_types(matching, similar, iou=iou), assign(matching, iou)
    types = found.types
    correct = types == CORRECT
    objects = np.where(correct, own.object_rows, NONE)
    overlaps = np.where(correct, own.overlaps, 0.0)

    # The class whose objects a detection refers to; −1: any.
    about = np.where(types == LOCALIZATION, matching.detections.labels, found.confused_with)
    detection = matching.group_detection
    fits = (about[detection] == NONE) | (matching.group_label == about[detection])
    groups = np.flatnonzero(fits & (types > CORRECT)[detection])
    first_pair = matching.group_start[groups]
    by_overlap = (matching.pair_object[first_pair], -matching.group_iou[groups], detection[groups])
    groups = groups[np.lexsort(by_overlap)]
    chosen = groups[np.diff(detection[groups], prepend=-1) > 0]
    objects[detection[chosen]] = matching.pair_object[matching.group_start[chosen]]
    overlaps[detection[chosen]] = matching.group_iou[chosen]
    duplicate = own.duplicates & (types == LOCALIZATION)
    return ReferencedObjects(types, found.confused_with, duplicate, objects, overlaps)


# ---- how many of each error type are among the top -------------------------------------------


@dataclass(frozen=True, eq=False)
class Breakdown:
    """The error types of the top detections of each of C classes.

    Parameters
    ----------
    classes
        Names of the classes.
    objects
        ``(C,)`` number of objects that are not difficult, N_j.
    counts
        ``(C, E)`` number of top detections of each of E error types, in the order of :data:`ERROR_TYPES`.
    counted_types
        ``(M,)`` error type of each counted detection, an index into :data:`ERROR_TYPES`; −1: not counted.

    Examples
    --------
    >>> counts = np.array([[2, 1, 1, 0, 0], [0] * 5])
    >>> two = Breakdown(("cat", "dog"), np.array([4, 0]), counts, np.zeros(0, np.int8))
    >>> two.shares[0].tolist(), two.mean_over_classes().tolist()
    ([0.5, 0.25, 0.25, 0.0, 0.0], [0.5, 0.25, 0.25, 0.0, 0.0])
    """

    classes: tuple[str, ...]
    objects: NDArray[np.int64]
    counts: NDArray[np.int64]
    counted_types: NDArray[np.int8]

    @property
    def shares(self) -> NDArray[np.float64]:
        """``(C, E)`` fractions of the class's top detections; NaN where it has none."""
        return shares_of(self.counts)

    def mean_over_classes(self) -> NDArray[np.float64]:
        """``(E,)`` the classes' shares averaged, as the YOLO paper does; NaN if nothing was counted."""
        return mean_defined(self.shares, axis=0)

    def pooled(self) -> NDArray[np.float64]:
        """``(E,)`` shares of all classes' top detections taken together, as Hoiem's tool does."""
        return shares_of(self.counts.sum(axis=0))


def shares_of(counts: NDArray[np.int64]) -> NDArray[np.float64]:
    """Fractions along the last axis; NaN where all counts are 0."""
    total = counts.sum(axis=-1, keepdims=True)
    return np.where(total > 0, counts / np.maximum(total, 1), np.nan)


@takes_earlier_names
def break_down(
    matching: Matching,
    similar: NDArray[np.bool_],
    top: Top = None,
    *,
    iou: float = CORRECT_IOU,
    background_iou: float = BACKGROUND_IOU,
) -> Breakdown:
    """Count the error types of the top detections of each class.

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
    iou, background_iou
        Minimum IoU of a correct detection, and to count as overlapping an object.

    Raises
    ------
    InputError
        If `top` is none of these, or the thresholds are not ``0 < background_iou <= iou <= 1``.
    """
    return BreakdownStatistic(matching, similar, top=top, iou=iou, background_iou=background_iou).breakdown()


class BreakdownStatistic:
    """The error types among the top detections, as a function of how often each image counts.

    The top of a class follows the weights: as many detections, each with the weight of its image, as its
    objects (or what `top` says of them). Where the cut falls within one weight, only a part of it counts. The
    parameters are those of :func:`break_down`.
    """

    def __init__(
        self,
        matching: Matching,
        similar: NDArray[np.bool_],
        *,
        top: Top = None,
        iou: float = CORRECT_IOU,
        background_iou: float = BACKGROUND_IOU,
    ) -> None:
        self.replicate_width = matching.replicate_width
        self._matching, self._top = matching, _checked_top(matching, top)
        self._types = pie_error_types(matching, similar, iou=iou, background_iou=background_iou).types
        self._order, self._start = matching.ranking_of(self._types >= 0)
        self._objects = ObjectCounter(matching.truth, ~matching.ignored)

    def __call__(self, weights: Weights | None = None) -> dict[str, NDArray[np.float64]]:
        """``share/<type>`` ``(r, C)`` of each class and ``pooled/<type>`` ``(r,)`` over all classes, of each
        error type and of ``correct_and_localization``; NaN without detections."""
        counts = self.counts(weights)
        values: dict[str, NDArray[np.float64]] = {}
        for section, some in (("share", counts), ("pooled", counts.sum(axis=1))):
            shares = np.moveaxis(shares_of(some), -1, 0)
            values |= {
                f"{section}/{error_type.name}": share
                for error_type, share in zip(ERROR_TYPES, shares, strict=True)
            }
            values[f"{section}/correct_and_localization"] = shares[CORRECT] + shares[LOCALIZATION]
        return values

    def counts(self, weights: Weights | None = None) -> NDArray[np.int64]:
        """``(r, C, E)`` top detections of each class and type; without weights each image counts once."""
        matching, classes = self._matching, len(self._start) - 1
        if weights is None:
            counted = self._counted()
            cells = matching.detections.labels[counted] * len(ERROR_TYPES) + self._types[counted]
            number = np.bincount(cells, minlength=classes * len(ERROR_TYPES))
            return number.reshape(1, classes, len(ERROR_TYPES))
        image_weights = ImageWeights(weights)
        tops = self.tops(image_weights)
        counts = np.zeros((*tops.shape, len(ERROR_TYPES)), dtype=np.int64)
        for label in range(tops.shape[1]):
            rows = self._order[self._start[label] : self._start[label + 1]]
            depth, running = _totals_down_to(
                image_weights, matching.detections.image_index[rows], tops[:, label]
            )
            most = np.minimum(tops[:, label], np.iinfo(running.totals.dtype).max)
            upto = np.minimum(running.totals, most.astype(running.totals.dtype)).astype(np.float64)
            # A detection's weight within the top is upto behind it less upto before it, added up by type.
            place = running.place.ravel()
            of_type = np.zeros((len(ERROR_TYPES), len(place) + 1))
            of_type[self._types[rows[:depth]], np.arange(1, depth + 1)] = 1
            step = of_type[:, place] - of_type[:, place + 1]
            counts[:, label] = np.einsum("tm,mr->rt", step, upto)  # BLAS would start threads of its own
        return counts

    def tops(self, image_weights: ImageWeights | None = None) -> NDArray[np.int64]:
        """``(r, C)`` how many detections count, by weight."""
        objects, top = self._objects(image_weights), self._top
        if top is None:
            return objects
        if isinstance(top, str):
            return np.full_like(objects, np.iinfo(np.int64).max)
        if top.dtype.kind == "f":
            scaled: NDArray[np.int64] = np.floor(top * objects + 0.5).astype(np.int64)
            return scaled
        tops: NDArray[np.int64] = np.broadcast_to(top.astype(np.int64), objects.shape)
        return tops

    def breakdown(self) -> Breakdown:
        """With each image counted once."""
        matching, counted = self._matching, self._counted()
        counted_types = np.full(len(self._types), UNCOUNTED, dtype=np.int8)
        counted_types[counted] = self._types[counted]
        return Breakdown(matching.truth.classes, matching.objects, self.counts()[0], counted_types)

    def _counted(self) -> NDArray[np.int64]:
        """The top detections, where each image counts once."""
        number = np.minimum(self.tops()[0], np.diff(self._start))
        ends = np.cumsum(number)
        places = np.arange(number.sum()) + np.repeat(self._start[:-1] - ends + number, number)
        counted: NDArray[np.int64] = self._order[places]
        return counted


def _checked_top(matching: Matching, top: Top) -> NDArray[np.number] | str | None:
    wanted = (
        "an integer, a factor of the objects (a float), one integer for each class, or 'all'; none negative"
    )
    if top is None or (isinstance(top, str) and top == "all"):
        return top
    numbers = np.asarray(top)
    if numbers.dtype.kind not in "iuf" or not np.isfinite(numbers).all() or (numbers < 0).any():
        raise InputError("top", repr(top), wanted)
    if numbers.ndim and (numbers.shape != matching.objects.shape or numbers.dtype.kind == "f"):
        raise InputError("top", f"{numbers.dtype} of shape {numbers.shape}", wanted)
    return numbers


def _totals_down_to(
    image_weights: ImageWeights, images: NDArray[np.int64], tops: NDArray[np.int64]
) -> tuple[int, RunningTotals]:
    """The depth that the deepest of the r tops needs, at most twice that, and running totals down to it."""
    depth = len(images) if len(tops) == 0 else int(min(len(images), DEPTH_MARGIN * float(tops.max()) + 32))
    while True:
        running = image_weights.running_totals(images[:depth])
        if depth == len(images) or bool((running.total_of_first(np.array([depth])) >= tops).all()):
            return depth, running
        depth = min(len(images), 2 * depth)
