"""TIDE: which of six errors each false positive and each missed object is, and what each costs.

Bolya, Foley, Hays and Hoffman, "TIDE: A General Toolbox for Identifying Object Detection Errors" (ECCV
2020); rules, section 7. The numbers are those of tidecv 1.0.1, its habits included:

* The `max_detections` best scored detections of an image count, over all its classes together.
* An object is taken by IoU >= `iou`, but an overlap of exactly `iou` with an object that another detection
  has taken is *loc*, not *dupe*; *loc* comes before *cls*, whichever overlap is larger.
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

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from data.records import InputError
from diagnosis.breakdown import STRONG, WEAK, ErrorType
from diagnosis.matching import Matching, greedy

__all__ = [
    "BEYOND",
    "BKG",
    "BOTH",
    "CLS",
    "COCO_THRESHOLDS",
    "CORRECT",
    "DAP_COLUMNS",
    "DUPE",
    "LOC",
    "MISS",
    "TIDE_ERRORS",
    "TIDE_LABELS",
    "Hits",
    "Ranking",
    "Tide",
    "TideRange",
    "explain",
    "interpolated_ap",
    "on_region",
    "tide",
    "tide_range",
    "type_errors",
]

# At least 29 apart (CIE76) in normal, protan, deutan and tritan vision. *loc* and *bkg* have the colours of
# localization and background, *cls* that of other.
TIDE_ERRORS: tuple[ErrorType, ...] = (
    ErrorType(
        "cls",
        "#B5179E",
        "The wrong class: an overlap (IoU) of at least 0.5 with an object of another.",
        "wrong class",
        "wrong classes",
    ),
    ErrorType(
        "loc",
        "#88CCEE",
        "The right class in the wrong place: an overlap of 0.1 to 0.5.",
        "wrong place",
        "wrong places",
    ),
    ErrorType(
        "both",
        "#A80000",
        "Wrong class and wrong place: an overlap of 0.1 to 0.5 with another class.",
        "wrong class and place",
        "wrong classes and places",
    ),
    ErrorType(
        "dupe",
        "#DDCC77",
        "Right class and place, but a surer detection has found the object already.",
        "duplicate",
        "duplicates",
    ),
    ErrorType(
        "bkg",
        "#888888",
        "No overlap of more than 0.1 with any object.",
        "background",
        "detections on background",
    ),
    ErrorType(
        "miss",
        "#1A1A1A",
        "An object that is not found, and at which no cls or loc error points.",
        "missed object",
        "missed objects",
    ),
)
"""The six errors, in tidecv's order. The explanations speak of the usual overlaps, see :func:`explain`."""

CLS, LOC, BOTH, DUPE, BKG, MISS = range(len(TIDE_ERRORS))
CORRECT, BEYOND = -1, -2
"""Types of a detection that is no error: it found an object; it is not among the best of its image."""


def explain(kind: ErrorType, iou: float, background: float) -> str:
    """The explanation of an error, for these overlaps.

    Examples
    --------
    >>> explain(TIDE_ERRORS[LOC], 0.75, 0.1)
    'The right class in the wrong place: an overlap of 0.1 to 0.75.'
    """
    words = {f"{STRONG:g}": f"{iou:g}", f"{WEAK:g}": f"{background:g}"}
    return " ".join(
        words.get(word.rstrip("."), word.rstrip(".")) + "." * word.endswith(".")
        for word in kind.explanation.split(" ")
    )


def type_errors(
    matching: Matching, considered: NDArray[np.bool_], iou: float, background: float
) -> tuple[NDArray[np.int8], NDArray[np.int64]]:
    """Type and target of each detection, those of an unclipped matching."""
    rows = np.flatnonzero(matching.pair_iou >= background)
    detection, object_ = matching.pair_detection[rows], matching.pair_object[rows]
    counted = considered[detection] & ~matching.ignored[object_]
    if not counted.all():
        kept = np.flatnonzero(counted)
        rows, detection, object_ = rows[kept], detection[kept], object_[kept]
    overlap = matching.pair_iou[rows]
    own = matching.truth.labels[object_] == matching.detections.labels[detection]
    types = np.where(considered, np.int8(BKG), np.int8(BEYOND))
    targets = np.full(len(types), -1, dtype=np.int64)
    types[detection[~own & (overlap > background)]] = BOTH

    # With objects of its own class: the pairs of a detection fall in IoU.
    with_own = np.flatnonzero(own)
    mine, its, size = detection[with_own], object_[with_own], overlap[with_own]
    first = np.flatnonzero(np.diff(mine, prepend=-1))
    last = np.append(first[1:], len(mine))
    twice = first[size[first] > iou]  # the taken ones of them are overwritten below
    types[mine[twice]], targets[mine[twice]] = DUPE, its[twice]

    # With objects of other classes: the largest IoU; of equal ones the object annotated first.
    strong = ~own & (overlap >= iou)
    theirs, mistaken = detection[strong], object_[strong]
    types[theirs] = CLS
    targets[theirs] = _first_largest(theirs, overlap[strong], mistaken)

    near = first[size[first] <= iou]
    types[mine[near]], targets[mine[near]] = LOC, its[near]

    able = size[first] >= iou
    first, last = first[able], last[able]
    rank, view = matching.rank[mine[first]], np.zeros_like(first)
    taken = greedy(first, last, size >= iou, its, len(matching.truth), rank, view, 1)
    taken = taken[taken >= 0]
    types[mine[taken]], targets[mine[taken]] = CORRECT, its[taken]
    return types, targets


def _first_largest(
    runs: NDArray[np.int64], values: NDArray[np.float64], objects: NDArray[np.int64]
) -> NDArray[np.int64]:
    """``(K,)`` in each run of equal `runs` the object of the largest value, of equal ones the lowest."""
    if not len(runs):
        return objects
    start = np.flatnonzero(np.diff(runs, prepend=-1))
    length = np.diff(start, append=len(runs))
    largest = np.repeat(np.maximum.reduceat(values, start), length)
    lowest = np.where(values == largest, objects, np.iinfo(np.int64).max)
    chosen: NDArray[np.int64] = np.repeat(np.minimum.reduceat(lowest, start), length)
    return chosen


def on_region(matching: Matching, regions: NDArray[np.bool_], share: float) -> NDArray[np.bool_]:
    """``(M,)`` more than `share` of its area lies within an ignore region of its class, or of any."""
    result = np.zeros(len(matching.detections), dtype=bool)
    if not matching.ignored.any():
        return result
    pairs = np.flatnonzero(matching.ignored[matching.pair_object])
    detection, object_ = matching.pair_detection[pairs], matching.pair_object[pairs]
    meant = regions[object_] | (matching.truth.labels[object_] == matching.detections.labels[detection])
    detection, object_ = detection[meant], object_[meant]
    box, region = matching.detections.boxes[detection], matching.truth.boxes[object_]
    sides = np.minimum(box[:, 2:], region[:, 2:]) - np.maximum(box[:, :2], region[:, :2])
    area = (box[:, 2:] - box[:, :2]).prod(axis=1)
    result[detection[sides.prod(axis=1) / area > share]] = True
    return result


RECALLS = 100
"""The recalls are 0, 1/100, … 1."""


@dataclass(frozen=True, eq=False)
class Hits:
    """True positives, by class, then best first.

    Parameters
    ----------
    labels
        ``(T,)`` the class for which each counts.
    place
        ``(T,)`` number of false positives before it in the order of :class:`Ranking`, all classes together.
    """

    labels: NDArray[np.int64]
    place: NDArray[np.int64]


class Ranking:
    """The false positives of all classes in order, and what stands before any detection.

    The order is by class, then score, then image. Once anything is mended, errors come before true
    positives of the same score, as in tidecv.

    Parameters
    ----------
    matching
        Its detections.
    false
        ``(M,)`` false positives.
    types
        ``(M,)`` type of each detection.
    """

    def __init__(self, matching: Matching, false: NDArray[np.bool_], types: NDArray[np.int8]) -> None:
        self.matching = matching
        self.within_class = matching.score_level * (2 * len(matching.detections)) + matching.turn
        rows = matching.order[false[matching.order]]
        labels = matching.detections.labels[rows]
        self.keys = self._key(rows, labels)
        if (np.diff(self.keys) < 0).any():  # equal scores that are not in the order of their images
            by_key = np.argsort(self.keys, kind="stable")
            rows, self.keys = rows[by_key], self.keys[by_key]
        self.types = types[rows]
        counts = np.bincount(labels, minlength=len(matching.truth.classes))
        self.start = np.concatenate([[0], np.cumsum(counts)])

    def hits(
        self,
        correct: NDArray[np.int64],
        *,
        mended: bool = True,
        new: NDArray[np.int64] | None = None,
        new_labels: NDArray[np.int64] | None = None,
    ) -> Hits:
        """The place of detections among the false positives.

        Parameters
        ----------
        correct
            True positives.
        mended
            Whether this is the outcome of a fix, for the order of equal scores.
        new, new_labels
            Errors that become true positives, and the class for which they do.
        """
        labels = self.matching.detections.labels[correct]
        keys = self._key(correct, labels)
        if mended:
            keys += len(self.matching.detections)  # after any error of the same score
        if new is not None and new_labels is not None:
            keys = np.concatenate([keys, self._key(new, new_labels)])
            labels = np.concatenate([labels, new_labels])
        by_key = np.argsort(keys, kind="stable")
        return Hits(labels[by_key], np.searchsorted(self.keys, keys[by_key]))

    def ap(
        self,
        hits: Hits,
        objects: NDArray[np.int64],
        *,
        without: int | None = None,
        false_last: bool = False,
    ) -> NDArray[np.float64]:
        """``(C,)`` average precision, a fraction; NaN for a class without objects and detections.

        Parameters
        ----------
        hits
            The true positives.
        objects
            ``(C,)`` number of objects.
        without
            Type of the false positives that are removed.
        false_last
            Whether all false positives go to the end.
        """
        start, number = self.start[hits.labels], np.diff(self.start)
        before = hits.place - start
        if without is not None:
            removed = np.concatenate([[0], np.cumsum(self.types == without, dtype=np.int32)])
            before -= removed[hits.place] - removed[start]
            number = number - np.diff(removed[self.start])
        if false_last:
            before = np.zeros_like(before)
        present = (objects + number + np.bincount(hits.labels, minlength=len(objects))) > 0
        return np.where(present, interpolated_ap(hits.labels, before, objects), np.nan)

    def _key(self, rows: NDArray[np.int64], labels: NDArray[np.int64]) -> NDArray[np.int64]:
        """Sorts detections, taken for class `labels`, by class, score and image, with gaps in between."""
        return labels * (2 * len(self.matching.detections) ** 2) + self.within_class[rows]


def interpolated_ap(
    labels: NDArray[np.int64], false: NDArray[np.int64], objects: NDArray[np.int64]
) -> NDArray[np.float64]:
    """COCO's average precision, over 101 recalls, of all classes.

    Parameters
    ----------
    labels
        ``(T,)`` class of each true positive, by class, then best first.
    false
        ``(T,)`` number of false positives of the class before each.
    objects
        ``(C,)`` number of objects.

    Returns
    -------
    NDArray
        ``(C,)`` fractions; 0 for a class without objects.

    Examples
    --------
    >>> interpolated_ap(np.array([0, 0]), np.array([0, 1]), np.array([2, 0, 1])).round(4).tolist()
    [0.835, 0.0, 0.0]
    >>> round((51 + 50 * 2 / 3) / 101, 4)
    0.835
    """
    found = np.bincount(labels, minlength=len(objects))
    end = np.cumsum(found)
    start = end - found
    number = np.arange(1, len(labels) + 1) - start[labels]
    precision = np.append(number / (number + false), 0.0)
    # The true positive with which a recall of r/100 is reached, counted from 1; the first for a recall of 0.
    needed = np.maximum(-(-np.arange(RECALLS + 1) * objects[:, None] // RECALLS), 1)  # (C, 101)
    reached = needed <= found[:, None]
    edges = start[:, None] + np.minimum(needed - 1, found[:, None])
    # The largest precision from the one to the next, then from each on.
    best = np.maximum.reduceat(precision, np.column_stack([edges, end]).ravel())
    best = np.where(reached, best.reshape(len(objects), RECALLS + 2)[:, :-1], 0.0)
    best = np.maximum.accumulate(best[:, ::-1], axis=1)
    return np.where(objects > 0, best.mean(axis=1), 0.0)


TIDE_LABELS = {kind.name: kind.label for kind in TIDE_ERRORS} | {
    "fp": "all false positives",
    "fn": "all missed objects",
}
"""What can be fixed, by name: the six, all false positives, all objects not found."""

DAP_COLUMNS = tuple(TIDE_LABELS)

COCO_THRESHOLDS = tuple(percent / 100 for percent in range(50, 100, 5))


@dataclass(frozen=True, eq=False)
class Tide:
    """TIDE's findings on M detections and N objects of C classes.

    Parameters
    ----------
    classes
        Names of the classes.
    iou, background, max_detections
        What was asked for, see :func:`tide`.
    labels
        ``(M,)`` class of each detection.
    rank
        ``(M,)`` place of each detection among those of its class, from 0.
    object_labels
        ``(N,)`` class of each object.
    types
        ``(M,)`` index into :data:`TIDE_ERRORS`; −1: it found an object; −2: not among the best of its image.
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
    background: float
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
    def mean_ap(self) -> float:
        """Mean over the classes with objects or detections; NaN if there is none."""
        return _mean(self.ap)

    @property
    def dap(self) -> dict[str, float]:
        """What is gained in mean AP, a fraction, by fixing each error (:data:`DAP_COLUMNS`)."""
        gain = {
            name: _mean(fixed) - self.mean_ap for name, fixed in zip(DAP_COLUMNS, self.fixed_ap, strict=True)
        }
        return {name: _gain(name, value) for name, value in gain.items()}

    @property
    def class_dap(self) -> dict[str, NDArray[np.float64]]:
        """``(C,)`` for each error: what is gained in the class's AP; NaN where either AP is not defined."""
        return {
            name: fixed - self.ap if name in ("fp", "fn") else np.maximum(fixed - self.ap, 0.0)
            for name, fixed in zip(DAP_COLUMNS, self.fixed_ap, strict=True)
        }

    @property
    def class_counts(self) -> NDArray[np.int64]:
        """``(C, 6)`` errors by class: that of the detection, for *miss* that of the object."""
        classes, kinds = len(self.classes), len(TIDE_ERRORS)
        wrong = self.types >= 0
        cells = self.labels[wrong] * kinds + self.types[wrong]
        cells = np.concatenate([cells, self.object_labels[self.missed] * kinds + MISS])
        return np.bincount(cells, minlength=classes * kinds).reshape(classes, kinds)

    @property
    def counts(self) -> dict[str, int]:
        """Number of errors of each of the six types."""
        return dict(zip(DAP_COLUMNS, self.class_counts.sum(axis=0).tolist(), strict=False))

    @property
    def top(self) -> NDArray[np.bool_]:
        """``(M,)`` the N surest detections of each class that has N objects."""
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
        on_object = rows & ((self.types == CORRECT) | (self.types == CLS))
        column = np.full(len(rows), classes)
        column[on_object] = self.object_labels[self.targets[on_object]]
        cells = self.labels[rows] * (classes + 1) + column[rows]
        matrix = np.bincount(cells, minlength=(classes + 1) ** 2).reshape(classes + 1, classes + 1)
        matrix[classes, :classes] = self.objects - np.diagonal(matrix)[:classes]
        return matrix


@dataclass(frozen=True, eq=False)
class TideRange:
    """TIDE at several overlaps.

    tidecv's ``evaluate_range`` averages the AP and types the errors at its one threshold alone, 0.5; that is
    ``runs[0]`` for the default thresholds. The means of the dAP are those of as many single evaluations.

    Parameters
    ----------
    runs
        One for each threshold.
    """

    runs: tuple[Tide, ...]

    @property
    def thresholds(self) -> tuple[float, ...]:
        """The IoU of each run."""
        return tuple(run.iou for run in self.runs)

    @property
    def mean_ap(self) -> float:
        """Mean AP, averaged over the thresholds."""
        return float(np.mean([run.mean_ap for run in self.runs]))

    @property
    def dap(self) -> dict[str, float]:
        """The dAP of each error, averaged over the thresholds."""
        gains = [run.dap for run in self.runs]
        return {name: float(np.mean([gain[name] for gain in gains])) for name in DAP_COLUMNS}


def tide(
    matching: Matching,
    *,
    iou: float = 0.5,
    background: float = 0.1,
    max_detections: int = 100,
    any_class: ArrayLike | None = None,
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
    background
        Smallest IoU of a loc error; up to it, a detection of another class is background.
    max_detections
        How many detections of an image count, the best scored of all classes.
    any_class
        ``(N,)`` ignore regions that stand for all classes (class −1 in tidecv). Default: none does.

    Raises
    ------
    InputError
        If not ``0 < background <= iou <= 1``, `max_detections` is no positive integer, or `any_class` is
        not a flag for each object or is set for one that is no ignore region.

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
    if not 0 < background <= iou <= 1:
        raise InputError("thresholds", f"background {background}, iou {iou}", "0 < background <= iou <= 1")
    if int(max_detections) != max_detections or max_detections < 1:
        raise InputError("max_detections", repr(max_detections), "a positive integer")
    regions = _regions(matching, any_class)
    matching = matching.unclipped
    truth, detections = matching.truth, matching.detections
    considered = matching.rank_in_image < max_detections
    types, targets = type_errors(matching, considered, iou, background)
    correct = types == CORRECT
    ignored = considered & ~correct & on_region(matching, regions, iou)

    found = np.zeros(len(truth), dtype=bool)
    found[targets[correct]] = True
    pointing = np.flatnonzero((types == CLS) | (types == LOC))
    pointing = pointing[~found[targets[pointing]]]
    missed = ~found & ~matching.ignored
    missed[targets[pointing]] = False

    # Of those that point to one object the best scored; of equal ones the first in the record.
    best = pointing[np.lexsort((matching.turn[pointing], targets[pointing]))]
    best = best[np.diff(targets[best], prepend=-1) > 0]
    ranking = Ranking(matching, (types >= 0) & ~ignored, types)
    right = matching.order[correct[matching.order]]
    hits = ranking.hits(right)
    objects, labels = matching.objects, truth.labels
    fixed = []
    for kind in range(MISS):
        new = best[types[best] == kind]  # cls and loc alone have any
        mended = ranking.hits(right, new=new, new_labels=labels[targets[new]]) if len(new) else hits
        fixed.append(ranking.ap(mended, objects, without=kind))
    unfound = np.bincount(labels[~found & ~matching.ignored], minlength=len(truth.classes))
    fixed += [
        ranking.ap(hits, objects - np.bincount(labels[missed], minlength=len(truth.classes))),
        ranking.ap(hits, objects, false_last=True),
        ranking.ap(hits, objects - unfound),
    ]
    ap = ranking.ap(ranking.hits(right, mended=False), objects)
    return Tide(
        truth.classes,
        float(iou),
        float(background),
        int(max_detections),
        detections.labels,
        matching.rank,
        truth.labels,
        types,
        targets,
        ignored,
        found,
        missed,
        objects,
        ap,
        np.stack(fixed),
    )


def tide_range(
    matching: Matching,
    thresholds: Sequence[float] = COCO_THRESHOLDS,
    *,
    background: float = 0.1,
    max_detections: int = 100,
    any_class: ArrayLike | None = None,
) -> TideRange:
    """:func:`tide` at several overlaps, by default COCO's 0.5, 0.55, … 0.95.

    Raises
    ------
    InputError
        As :func:`tide`; if there is no threshold.
    """
    if not len(thresholds):
        raise InputError("thresholds", "none", "at least one IoU")
    return TideRange(
        tuple(
            tide(matching, iou=iou, background=background, max_detections=max_detections, any_class=any_class)
            for iou in thresholds
        )
    )


def _regions(matching: Matching, any_class: ArrayLike | None) -> NDArray[np.bool_]:
    """``(N,)`` ignore regions that stand for all classes."""
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


def _mean(values: NDArray[np.float64]) -> float:
    defined = values[~np.isnan(values)]
    return float(defined.mean()) if defined.size else float("nan")


def _gain(name: str, value: float) -> float:
    """Not below 0, but for `fp` and `fn`."""
    return value if name in ("fp", "fn") or not value < 0 else 0.0
