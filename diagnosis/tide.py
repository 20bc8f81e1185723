"""TIDE: which of six errors each false positive and each missed object is, and what each costs.

Bolya, Foley, Hays and Hoffman, "TIDE: A General Toolbox for Identifying Object Detection Errors" (ECCV
2020); rules, section 7. The numbers are those of tidecv 1.0.1, its habits included:

* The `max_detections` best scored detections of an image count, over all its classes together.
* An object is matched by IoU >= `iou`, but an overlap of exactly `iou` with an object that another
  detection matches is *loc*, not *dupe*; *loc* comes before *cls*, whichever overlap is larger.
* A detection on an ignore region is left out of the average precision and yet typed and counted as an
  error; where that error is fixed it appears as a new true positive.
* Of the *loc* and *cls* errors that point to one free object only the best scored becomes a true positive.
  Whether *loc* or *cls* is being fixed, the others of that type are removed, also where the best is of the
  other type.
* Among detections of equal score the order is that of the images; once anything is fixed, errors come
  before true positives of the same score. So with many equal scores a type may cost less than nothing,
  which is shown as 0 for the six, and as it is for `fp` and `fn`.
* A class that has detections but no objects has an average precision of 0, which lowers the mean. Once a
  fix leaves a class neither detections nor objects it drops out of the mean.
* The six do not add up to what is lacking: each is fixed on its own, and none repairs the ranking.

Where tidecv fails, the outcome here is: no class with objects or detections: NaN; scores of −1 and below:
as any other score.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from data.boxes import area, intersection
from data.records import InputError
from diagnosis.breakdown import BACKGROUND_IOU, CORRECT_IOU, ErrorType, check_thresholds
from diagnosis.coco_ap import MAX_DETECTIONS
from diagnosis.matching import Matching, greedy_pairs, lowest_of_largest, takes_earlier_names
from diagnosis.rankings import (
    AnyHits,
    Block,
    HitsAmongErrors,
    RankedErrors,
    TruePositives,
    mean_defined,
    mean_over_classes,
)
from diagnosis.resampling import OVER_ALL, ImageWeights, ObjectCounter, Weights

__all__ = [
    "BEYOND",
    "DAP_COLUMNS",
    "TIDE_ERRORS",
    "TIDE_LABELS",
    "TRUE_POSITIVE",
    "Tide",
    "TideStatistic",
    "explain",
    "tide",
]

# At least 24 apart (CIE76) in normal, protan, deutan and tritan vision, and 9 in lightness (L*), to be
# distinguishable in grey. *loc* and *bkg* have the colours of localization and background, *cls* that of
# other.
TIDE_ERRORS: tuple[ErrorType, ...] = (
    ErrorType(
        "cls", "#C537AE", "The wrong class: an overlap (IoU) of at least 0.5 with an object of another.",
        "wrong class", "wrong classes",
    ),
    ErrorType(
        "loc", "#8FD3F5", "The right class in the wrong place: an overlap of 0.1 to 0.5.",
        "wrong place", "wrong places",
    ),
    ErrorType(
        "both", "#FF8F2B", "Wrong class and wrong place: an overlap of 0.1 to 0.5 with another class.",
        "wrong class and place", "wrong classes and places",
    ),
    ErrorType(
        "dupe", "#FDE398",
        "Right class and place, but a higher-scoring detection has found the object already.",
        "duplicate", "duplicates",
    ),
    ErrorType(
        "bkg", "#8B8B8B", "No overlap of more than 0.1 with any object.",
        "background", "detections on background",
    ),
    ErrorType(
        "miss", "#1A1A1A",
        "An object that is not found, and that no error of wrong class or wrong place points at.",
        "missed object", "missed objects",
    ),
)  # fmt: skip
"""The six errors, in tidecv's order. The explanations name the usual overlaps, see :func:`explain`."""

CLS, LOC, BOTH, DUPE, BKG, MISS = range(len(TIDE_ERRORS))
TRUE_POSITIVE, BEYOND = -1, -2
"""Types of a detection that is no error: it found an object; it is not among the best of its image."""

TIDE_LABELS = {error.name: error.label for error in TIDE_ERRORS} | {
    "fp": "all false positives",
    "fn": "all missed objects",
}
"""What can be fixed, by name: the six, all false positives, all objects not found."""

DAP_COLUMNS = tuple(TIDE_LABELS)

RECALL_STEPS = 100
"""The recalls are 0, 1/100, … 1."""


def explain(error: ErrorType, iou: float, background_iou: float) -> str:
    """The explanation of an error, for these overlaps.

    Examples
    --------
    >>> explain(TIDE_ERRORS[LOC], 0.75, 0.1)
    'The right class in the wrong place: an overlap of 0.1 to 0.75.'
    """
    words = {f"{CORRECT_IOU:g}": f"{iou:g}", f"{BACKGROUND_IOU:g}": f"{background_iou:g}"}
    return re.sub("|".join(map(re.escape, words)), lambda found: words[found[0]], error.explanation)


# ---- what was found --------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Tide:
    """TIDE's findings on M detections and N objects of C classes.

    Parameters
    ----------
    classes
        Names of the classes.
    iou, background_iou, max_detections
        What was asked for, see :func:`tide`.
    labels
        ``(M,)`` class of each detection.
    rank
        ``(M,)`` place of each detection among those of its class, from 0.
    object_labels
        ``(N,)`` class of each object.
    types
        ``(M,)`` index into :data:`TIDE_ERRORS`; −1: it found an object; −2: not among the best of its image,
        or in a crowd region.
    targets
        ``(M,)`` the object that a detection found, should have hit (loc), mistook (cls) or found again
        (dupe), else −1.
    ignored
        ``(M,)`` detections on ignore regions, left out of the average precision.
    found, missed
        ``(N,)`` objects found; objects that are *miss* errors. Ignore regions are neither.
    objects
        ``(C,)`` number of objects that are not ignore regions.
    ap
        ``(C,)`` average precision over 101 recalls, a fraction; NaN: neither objects nor detections.
    fixed_ap
        ``(8, C)`` the same with each error fixed: the six, then ``fp`` and ``fn``.
    """

    classes: tuple[str, ...]
    iou: float
    background_iou: float
    max_detections: int
    labels: NDArray[np.int64]
    rank: NDArray[np.int64]
    object_labels: NDArray[np.int64]
    types: NDArray[np.int8]
    targets: NDArray[np.int64]
    ignored: NDArray[np.bool_]
    found: NDArray[np.bool_]
    missed: NDArray[np.bool_]
    objects: NDArray[np.int64]
    ap: NDArray[np.float64]
    fixed_ap: NDArray[np.float64]

    @property
    def background(self) -> float:
        """`background_iou`, by its name of earlier versions."""
        return self.background_iou

    @property
    def mean_ap(self) -> float:
        """Mean over the classes with objects or detections; NaN if there is none."""
        return mean_over_classes(self.ap)

    @property
    def dap(self) -> dict[str, float]:
        """What is gained in mean AP, a fraction, by fixing each error (:data:`DAP_COLUMNS`)."""
        gain = {
            name: mean_over_classes(fixed) - self.mean_ap
            for name, fixed in zip(DAP_COLUMNS, self.fixed_ap, strict=True)
        }
        return {name: max(value, _least_gain(name)) for name, value in gain.items()}

    @property
    def class_dap(self) -> dict[str, NDArray[np.float64]]:
        """``(C,)`` for each error: what is gained in the class's AP; NaN where either AP is not defined."""
        return {
            name: np.maximum(fixed - self.ap, _least_gain(name))
            for name, fixed in zip(DAP_COLUMNS, self.fixed_ap, strict=True)
        }

    @property
    def class_counts(self) -> NDArray[np.int64]:
        """``(C, 6)`` errors by class: that of the detection, for *miss* that of the object."""
        classes, number = len(self.classes), len(TIDE_ERRORS)
        wrong = self.types >= 0
        cells = self.labels[wrong] * number + self.types[wrong]
        cells = np.concatenate([cells, self.object_labels[self.missed] * number + MISS])
        return np.bincount(cells, minlength=classes * number).reshape(classes, number)

    @property
    def counts(self) -> dict[str, int]:
        """Number of errors of each of the six types."""
        return dict(zip(DAP_COLUMNS, self.class_counts.sum(axis=0).tolist(), strict=False))

    @property
    def top(self) -> NDArray[np.bool_]:
        """``(M,)`` the N highest-scoring detections of each class that has N objects."""
        return self.rank < self.objects[self.labels]

    def confusion_matrix(self, counted: NDArray[np.bool_] | None = None) -> NDArray[np.int64]:
        """How often each class was taken for which.

        Parameters
        ----------
        counted
            ``(M,)`` which detections count. Default: all among the best of their image; many of them
            are faint, so :attr:`top` or those of some score are often more telling.

        Returns
        -------
        NDArray
            ``(C + 1, C + 1)``. Row: class of the detection; the last row: objects of which no counted
            detection of their class was correct. Column: class of the object; the last column: loc, both,
            dupe and bkg, which are not on an object of their own. On the diagonal the correct ones,
            elsewhere the cls errors. A row sums to the class's counted detections but those on ignore
            regions; diagonal and last row to its objects.
        """
        classes = len(self.classes)
        rows = (self.types != BEYOND) & ~self.ignored
        if counted is not None:
            if counted.shape != rows.shape or counted.dtype != np.bool_:
                raise InputError(
                    "counted", f"{counted.dtype} of shape {counted.shape}", f"bool of {rows.shape}"
                )
            rows = rows & counted
        on_object = rows & ((self.types == TRUE_POSITIVE) | (self.types == CLS))
        column = np.full(len(rows), classes)
        column[on_object] = self.object_labels[self.targets[on_object]]
        cells = self.labels[rows] * (classes + 1) + column[rows]
        matrix = np.bincount(cells, minlength=(classes + 1) ** 2).reshape(classes + 1, classes + 1)
        matrix[classes, :classes] = self.objects - np.diagonal(matrix)[:classes]
        return matrix


def _least_gain(name: str) -> float:
    """Fixing one of the six never costs anything; fixing all false positives or all missed objects may."""
    return -np.inf if name in ("fp", "fn") else 0.0


@takes_earlier_names
def tide(
    matching: Matching,
    *,
    iou: float = CORRECT_IOU,
    background_iou: float = BACKGROUND_IOU,
    max_detections: int = MAX_DETECTIONS,
    any_class: ArrayLike | None = None,
    crowd_errors: bool = True,
) -> Tide:
    """Type all errors, and find what fixing each type would gain (rules, section 7).

    Difficult objects and crowds are ignore regions: a detection that found no object and lies with more
    than `iou` of its own area within one, of its class, does not count for the AP. Boxes are not clipped.
    Without detections every object is missed and the AP is 0; without objects too, it is NaN.

    Parameters
    ----------
    matching
        The overlaps, whether clipped or not.
    iou
        Smallest IoU with which an object is found.
    background_iou
        Smallest IoU of a loc error; up to it, a detection of another class is background.
    max_detections
        How many detections of an image count, the best scored of all classes.
    any_class
        ``(N,)`` ignore regions of all classes (class −1 in tidecv). Default: none is.
    crowd_errors
        Whether unmatched detections in crowd regions of their class are typed as errors, as tidecv does.

    Raises
    ------
    InputError
        If not ``0 < background_iou <= iou <= 1``, `max_detections` is no positive integer, or `any_class`
        is not a flag for each object or is set for one that is no ignore region.

    Examples
    --------
    >>> from data.records import Detections, GroundTruth
    >>> from diagnosis.matching import match
    >>> truth = GroundTruth(["a"], ["cat", "dog"], [[90, 90]], [0, 0], [0, 1], [[0, 0, 9, 9], [20, 0, 29, 9]])
    >>> found = Detections(["a"], ["cat", "dog"], [0, 0], [0, 0], [0.9, 0.8], [[0, 0, 9, 9], [20, 0, 29, 9]])
    >>> result = tide(match(truth, found))
    >>> result.mean_ap, result.dap["cls"], result.counts["cls"]
    (0.5, 0.5, 1)
    """
    check_thresholds(iou, background_iou)
    if int(max_detections) != max_detections or max_detections < 1:
        raise InputError("max_detections", repr(max_detections), "a positive integer")
    regions = _regions(matching, any_class)
    matching = matching.unclipped
    considered = matching.rank_in_image < max_detections
    types, targets = _type_errors(matching, considered, iou, background_iou)
    if not crowd_errors:
        excused = matching.in_crowd & (types >= 0)
        types[excused], targets[excused] = BEYOND, -1
    ignored = considered & (types != TRUE_POSITIVE) & _on_region(matching, regions, iou)
    statistic = TideStatistic(matching, types, targets, ignored, iou)
    ap = statistic.ap()[:, 0]
    return Tide(
        matching.truth.classes, float(iou), float(background_iou), int(max_detections),
        matching.detections.labels, matching.rank, matching.truth.labels, types, targets, ignored,
        statistic.found, statistic.missed, matching.objects, ap[0], ap[1:],
    )  # fmt: skip


class TideStatistic:
    """TIDE's average precision, and with each error fixed, as a function of how often each image counts.

    Errors are typed within an image, whatever the others hold, so weights change no type.

    Parameters
    ----------
    matching
        The overlaps.
    types, targets, ignored
        ``(M,)`` as in :class:`Tide`.
    iou
        Smallest IoU with which an object is found.
    """

    def __init__(
        self,
        matching: Matching,
        types: NDArray[np.int8],
        targets: NDArray[np.int64],
        ignored: NDArray[np.bool_],
        iou: float,
    ) -> None:
        truth, labels, order = matching.truth, matching.detections.labels, matching.order
        correct = types == TRUE_POSITIVE
        self.found = np.zeros(len(truth), dtype=bool)
        self.found[targets[correct]] = True
        unfound = ~self.found & ~matching.ignored
        pointing = np.flatnonzero((types == CLS) | (types == LOC))
        pointing = pointing[~self.found[targets[pointing]]]
        self.missed = unfound.copy()
        self.missed[targets[pointing]] = False
        self.replicate_width = matching.replicate_width
        self._name = f"tide/ap{100 * iou:g}"
        self._matching = matching
        counted = (~matching.ignored, self.missed, unfound)
        self._counters = [ObjectCounter(truth, some) for some in counted]

        # False positives by class, then score, then image; the record's order is nearly that already.
        wrong = ((types >= 0) & ~ignored)[order]
        false = order.compress(wrong)
        self._keys = self._key(false, labels[false])
        if (np.diff(self._keys) < 0).any():
            by_key = np.argsort(self._keys, kind="stable")
            false, self._keys = false[by_key], self._keys[by_key]
        start = np.concatenate([[0], np.cumsum(wrong)])[matching.class_start]
        images = matching.detections.image_index
        self._errors = RankedErrors(start, types[false], images[false], MISS)

        # Of those that point to one object the best scored; of equal ones the first in the record.
        best = pointing[np.lexsort((matching.place_by_image[pointing], targets[pointing]))]
        best = best[np.diff(targets[best], prepend=-1) > 0]
        right = order.compress(correct[order])
        of, keys = labels[right], self._key(right, labels[right])
        self._plain = self._places(right, of, keys)
        keys += len(labels)  # once anything is fixed: after any error of the same score
        self._fixed = self._places(right, of, keys)
        self._new = {}
        for error in (CLS, LOC):
            new = best[types[best] == error]
            if len(new):
                of_new = truth.labels[targets[new]]
                self._new[error] = self._places(
                    np.concatenate([right, new]),
                    np.concatenate([of, of_new]),
                    np.concatenate([keys, self._key(new, of_new)]),
                )

    @staticmethod
    def of(matching: Matching, found: Tide) -> TideStatistic:
        """That of what :func:`tide` found."""
        return TideStatistic(matching, found.types, found.targets, found.ignored, found.iou)

    def _key(self, rows: NDArray[np.int64], labels: NDArray[np.int64]) -> NDArray[np.int64]:
        """Sorts detections, as of class `labels`, by class, score and image, with gaps in between."""
        count = len(self._matching.detections)
        within = self._matching.score_level[rows] * (2 * count) + self._matching.place_by_image[rows]
        return labels * (2 * count**2) + within

    def _places(
        self, rows: NDArray[np.int64], labels: NDArray[np.int64], keys: NDArray[np.int64]
    ) -> TruePositives:
        by_key = np.argsort(keys, kind="stable")
        start = np.searchsorted(labels[by_key], np.arange(len(self._matching.truth.classes) + 1))
        above = self._errors.above(np.searchsorted(self._keys, keys[by_key]), start)
        return TruePositives(self._matching.detections.image_index[rows[by_key]], start, above)

    def __call__(self, weights: Weights | None = None) -> dict[str, NDArray[np.float64]]:
        """``tide/ap…`` ``(r, C)``, and what fixing each error adds to it, ``dap/<error>``.

        Over all classes that is ``dap/<error>/all`` ``(r,)``, not the mean of the classes: a fix may leave a
        class neither objects nor detections, and it is the gain of the mean that never falls below 0.
        """
        ap, *fixed = self.ap(weights)
        values = {self._name: ap}
        whole = mean_defined(ap)
        for name, some in zip(DAP_COLUMNS, fixed, strict=True):
            values[f"dap/{name}"] = np.maximum(some - ap, _least_gain(name))
            values[f"dap/{name}{OVER_ALL}"] = np.maximum(mean_defined(some) - whole, _least_gain(name))
        return values

    def ap(self, weights: Weights | None = None) -> NDArray[np.float64]:
        """``(1 + 8, r, C)`` average precision as it is, and with each of :data:`DAP_COLUMNS` fixed.

        NaN for a class without objects, hits and false positives.
        """
        image_weights = None if weights is None else ImageWeights(weights)
        counts = [count(image_weights) for count in self._counters]
        ap = np.full((1 + len(DAP_COLUMNS), *counts[0].shape), np.nan)
        for block, plain, fixed, new, totals in self._ranked(image_weights):
            objects, missed, unfound = (count[block] for count in counts)
            number, needed = totals.sum(axis=2), _needed(objects)
            usual = fixed.without()
            as_it_is = usual if plain is fixed else plain.without()
            here = [some[block] for some in ap]
            here[0][:] = _ap(as_it_is, needed, objects, number)
            repaired = _ap(usual, needed, objects, number)
            for error in range(MISS):
                if error in new or totals[..., error].any():
                    hits, rest = new.get(error, fixed).without(error), number - totals[..., error]
                    here[1 + error][:] = _ap(hits, needed, objects, rest)
                else:
                    here[1 + error][:] = repaired
            reached = (needed <= usual.found[..., None]).mean(axis=2)  # where no false positives are left
            here[2 + MISS][:] = _defined(reached, usual, objects, number)
            for row, lost in ((1 + MISS, missed), (3 + MISS, unfound)):
                left = objects - lost
                here[row][:] = _ap(usual, _needed(left), left, number)
        return ap

    def _ranked(
        self, image_weights: ImageWeights | None
    ) -> Iterator[
        tuple[Block, HitsAmongErrors, HitsAmongErrors, dict[int, HitsAmongErrors], NDArray[np.integer]]
    ]:
        """Some replicates and classes: their true positives as they are, once anything is fixed, and with new
        ones, by the type that is fixed; ``(r, S, K)`` false positives. All if each image counts once."""
        if image_weights is None:
            plain, fixed = self._plain.once(), self._fixed.once()
            new = {error: some.once() for error, some in self._new.items()}
            yield (slice(None), slice(None)), plain, fixed, new, self._errors.count[None]
            return
        differ = (self._plain.above != self._fixed.above).any(axis=0)
        moved = np.diff(np.concatenate([[0], np.cumsum(differ)])[self._fixed.start]) > 0
        for label in range(len(self._matching.truth.classes)):
            fixed_, plain_ = self._fixed.of_class(label), self._plain.of_class(label)
            new_ = {error: some.of_class(label) for error, some in self._new.items()}
            new_ = {error: some for error, some in new_.items() if len(some.images) > len(fixed_.images)}
            every = [fixed_, plain_, *new_.values()]
            for rows, part in image_weights.parts(len(fixed_.images)):
                errors = self._errors.weighted(part, label, [some.above for some in every])
                fixed = fixed_.weighted(part, errors)
                plain = plain_.weighted(part, errors) if moved[label] else fixed
                new = {error: some.weighted(part, errors) for error, some in new_.items()}
                yield (rows, slice(label, label + 1)), plain, fixed, new, errors.totals()[:, None]


def _needed(objects: NDArray[np.int64]) -> NDArray[np.int64]:
    """``(r, S, 101)`` how many hits reach each recall, at least one."""
    needed: NDArray[np.int64] = -(-np.arange(RECALL_STEPS + 1) * objects[..., None] // RECALL_STEPS)
    return np.maximum(needed, 1)


def _ap(
    hits: AnyHits, needed: NDArray[np.int64], objects: NDArray[np.int64], number: NDArray[np.integer]
) -> NDArray[np.float64]:
    """``(r, S)`` over 101 recalls, with so many `objects`, and `number` false positives in all."""
    # Summed from recall 1 down: the order decides the last digit.
    mean = np.ascontiguousarray(hits.precision_from(needed)[..., ::-1]).mean(axis=2)
    return _defined(mean, hits, objects, number)


def _defined(
    mean: NDArray[np.float64], hits: AnyHits, objects: NDArray[np.int64], number: NDArray[np.integer]
) -> NDArray[np.float64]:
    return np.where(objects > 0, mean, np.where(number + hits.found > 0, 0.0, np.nan))


def _regions(matching: Matching, any_class: ArrayLike | None) -> NDArray[np.bool_]:
    """``(N,)`` ignore regions of all classes."""
    if any_class is None:
        return np.zeros(len(matching.truth), dtype=bool)
    regions = np.asarray(any_class)
    expected = f"a flag for each of the {len(matching.truth)} objects, set for ignore regions alone"
    if regions.shape != matching.ignored.shape or (len(regions) and regions.dtype != np.bool_):
        raise InputError("any_class", f"{regions.dtype} of shape {regions.shape}", expected)
    stray = np.flatnonzero(regions.astype(bool) & ~matching.ignored)
    if len(stray):
        raise InputError(f"any_class[{stray[0]}]", "an object that is no ignore region", expected)
    return regions.astype(bool)


def _type_errors(
    matching: Matching, considered: NDArray[np.bool_], iou: float, background_iou: float
) -> tuple[NDArray[np.int8], NDArray[np.int64]]:
    """Type and target of each detection, those of an unclipped matching."""
    rows = np.flatnonzero(matching.pair_iou >= background_iou)
    detection, object_ = matching.pair_detection[rows], matching.pair_object[rows]
    counted = considered[detection] & ~matching.ignored[object_]
    if not counted.all():
        kept = np.flatnonzero(counted)
        rows, detection, object_ = rows[kept], detection[kept], object_[kept]
    overlap = matching.pair_iou[rows]
    own = matching.truth.labels[object_] == matching.detections.labels[detection]
    types = np.where(considered, np.int8(BKG), np.int8(BEYOND))
    targets = np.full(len(types), -1, dtype=np.int64)
    types[detection.compress(~own & (overlap > background_iou))] = BOTH

    # With objects of its own class: the pairs of a detection fall in IoU.
    with_own = np.flatnonzero(own)
    mine, its, size = detection[with_own], object_[with_own], overlap[with_own]
    first = np.flatnonzero(np.diff(mine, prepend=-1))
    twice = first[size[first] > iou]  # those that are matched are overwritten below
    types[mine[twice]], targets[mine[twice]] = DUPE, its[twice]

    # With objects of other classes: the largest IoU; of equal ones the object annotated first.
    enough = ~own & (overlap >= iou)
    theirs, mistaken = detection.compress(enough), object_.compress(enough)
    types[theirs] = CLS
    start, chosen = lowest_of_largest(theirs, overlap.compress(enough), mistaken)
    targets[theirs[start]] = chosen

    near = first[size[first] <= iou]
    types[mine[near]], targets[mine[near]] = LOC, its[near]

    able = np.flatnonzero(size >= iou)
    rank = matching.pair_rank[rows[with_own[able]]]
    matched = able[greedy_pairs(mine[able], its[able], len(matching.truth), rank)]
    types[mine[matched]], targets[mine[matched]] = TRUE_POSITIVE, its[matched]
    return types, targets


def _on_region(matching: Matching, regions: NDArray[np.bool_], share: float) -> NDArray[np.bool_]:
    """``(M,)`` more than `share` of its area lies within an ignore region of its class, or of any."""
    result = np.zeros(len(matching.detections), dtype=bool)
    if not matching.ignored.any():
        return result
    pairs = np.flatnonzero(matching.ignored[matching.pair_object])
    detection = np.concatenate([matching.pair_detection[pairs], matching.crowd_detection])
    object_ = np.concatenate([matching.pair_object[pairs], matching.crowd_object])
    meant = regions[object_] | (matching.truth.labels[object_] == matching.detections.labels[detection])
    detection, object_ = detection[meant], object_[meant]
    box, region = matching.detections.boxes[detection], matching.truth.boxes[object_]
    result[detection[intersection(box, region) / area(box) > share]] = True
    return result
