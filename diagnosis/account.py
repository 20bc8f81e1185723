"""What to know of the data before trusting the numbers: what does not count, ties, limits, borders."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from diagnosis.average_precision import AP_KINDS, normal_objects
from diagnosis.breakdown import CORRECT, BreakdownStatistic
from diagnosis.matching import assign_devkit
from diagnosis.rankings import Ranking, mean_defined
from diagnosis.record import Diagnosis

__all__ = ["Account", "account"]

BORDER_TOLERANCE_PIXELS = 0.5
"""Coordinates that are rounded may exceed the border by this much without a word."""
MAX_CLASSES_NAMED = 10
MOST = 0.5
"""Share of the detections on classes without objects from which the classes may be mixed up."""

Range = tuple[float, float]
UNDEFINED: Range = (float("nan"), float("nan"))


@dataclass(frozen=True)
class Account:
    """What is odd about the detections of one detector and their ground truth; 0 where nothing is.

    Parameters
    ----------
    name
        Of the detector.
    images, objects, detections
        How many there are; objects that count.
    without_objects
        Detections of each class that has some, but no object that counts.
    in_crowds
        Detections in crowd regions of their class, which count for nothing.
    tied
        Detections that share their score with another of their class, if it has objects.
    map_range, correct_range
        Mean average precision (VOC 2007) and share of correct detections (mean over classes), fractions, for
        the worst and the best order of equal scores; NaN where there is none.
    max_detections
        The limit of COCO's scores and TIDE.
    beyond_coco, beyond_tide
        Detections beyond the limit of their class in an image, and beyond that of an image.
    objects_outside
        Objects that reach beyond their image.
    """

    name: str
    images: int
    objects: int
    detections: int
    without_objects: Mapping[str, int]
    in_crowds: int
    tied: int
    map_range: Range
    correct_range: Range
    max_detections: int
    beyond_coco: int
    beyond_tide: int
    objects_outside: int

    def sentences(self) -> list[str]:
        """One for each thing that is odd about the detector."""
        lines = []
        lost = sum(self.without_objects.values())
        if lost:
            listed = [f"{name} {count:,}" for name, count in self.without_objects.items()]
            more = len(listed) - MAX_CLASSES_NAMED
            names = ", ".join(listed[:MAX_CLASSES_NAMED]) + (f" and {more} more classes" if more > 0 else "")
            lines.append(
                f"{_count(lost, 'detection')} of {self.detections:,} on classes without objects, which "
                f"shares and average precision leave out: {names}."
            )
            if lost >= MOST * self.detections:
                lines[0] += " These are so many that the classes may be mixed up, such as ids shifted by one."
        if self.in_crowds:
            lines.append(
                f"{_count(self.in_crowds, 'detection')} in crowd regions of their class: left out everywhere."
            )
        moves = [
            f"{what} anywhere from {100 * low:.1f} to {100 * high:.1f} %"
            for what, (low, high) in (
                ("mean average precision (VOC 2007)", self.map_range),
                ("the share of correct detections", self.correct_range),
            )
            if f"{100 * low:.1f}" != f"{100 * high:.1f}"
        ]
        if self.tied and moves:
            lines.append(
                f"{_count(self.tied, 'detection')} of {self.detections:,} tie with another of their class. "
                f"The order of the file ranks them; another order could make {' and '.join(moves)}."
            )
        beyond = [
            f"{count:,} beyond the {self.max_detections} best of {of}, which {who} out"
            for count, of, who in (
                (self.beyond_coco, "their class in an image", "COCO's scores leave"),
                (self.beyond_tide, "an image", "TIDE leaves"),
            )
            if count
        ]
        if beyond:
            lines.append(f"Detections {', and '.join(beyond)}; --max-detections sets another limit.")
        return [f"{self.name}: {line}" for line in lines]


def account(diagnosis: Diagnosis) -> Account:
    """What is odd about the detections and their ground truth.

    Examples
    --------
    >>> from data.records import Detections, GroundTruth
    >>> from diagnosis import diagnose
    >>> truth = GroundTruth(["a"], ["cat", "dog"], [[90, 90]], [0], [0], [[0, 0, 9, 9]])
    >>> found = Detections(["a"], ["cat", "dog"], [0], [1], [0.9], [[0, 0, 9, 9]])
    >>> dict(account(diagnose(truth, found)).without_objects)
    {'dog': 1}
    """
    truth, found, matching = diagnosis.truth, diagnosis.detections, diagnosis.matching
    there = matching.objects > 0
    by_class = np.bincount(found.labels, minlength=len(truth.classes))
    tied = np.flatnonzero(there[found.labels] & _tied(diagnosis))
    limit = diagnosis.max_detections
    of_image = np.unique(found.labels * max(len(truth.images), 1) + found.image_index, return_counts=True)[1]
    outside = (truth.boxes[:, :2] < -BORDER_TOLERANCE_PIXELS) | (
        truth.boxes[:, 2:] > truth.sizes[truth.image_index] + BORDER_TOLERANCE_PIXELS
    )
    return Account(
        diagnosis.name,
        len(truth.images),
        int(matching.objects.sum()),
        len(found),
        {truth.classes[label]: int(by_class[label]) for label in np.flatnonzero((by_class > 0) & ~there)},
        int((diagnosis.pie_error_types.types < 0).sum()),
        len(tied),
        _map_range(diagnosis) if len(tied) else UNDEFINED,
        _correct_range(diagnosis) if len(tied) else UNDEFINED,
        limit,
        int(np.maximum(of_image - limit, 0).sum()) if diagnosis.coco else 0,
        int((matching.rank_in_image >= limit).sum()),
        int(outside.any(axis=1).sum()),
    )


def _count(number: int, thing: str) -> str:
    return f"{number:,} {thing}{'' if number == 1 else 's'}"


def _tied(diagnosis: Diagnosis) -> NDArray[np.bool_]:
    """``(M,)`` which detections share their score with another of their class."""
    matching = diagnosis.matching
    order = matching.order
    same = (np.diff(matching.detections.labels[order]) == 0) & (np.diff(matching.score_level[order]) == 0)
    tied = np.zeros(len(order), dtype=bool)
    tied[order[1:]] = same
    tied[order[:-1]] |= same
    return tied


def _reordered(diagnosis: Diagnosis, last: NDArray[np.integer]) -> NDArray[np.int64]:
    """``(M,)`` detections by class and rank, those of equal scores by rising `last`."""
    matching = diagnosis.matching
    return np.lexsort((matching.rank, last, matching.score_level, matching.detections.labels))


def _map_range(diagnosis: Diagnosis) -> Range:
    """Mean average precision with the false positives of each tie first, and last."""
    matching, there = diagnosis.matching, diagnosis.matching.objects > 0
    labels = assign_devkit(matching, diagnosis.iou).labels
    normal = normal_objects(len(diagnosis.truth.images))
    means = []
    for last in (labels, -labels):
        ((_, hits),) = Ranking(matching, [labels], _reordered(diagnosis, last)).hits()
        score = AP_KINDS["voc07"].score(hits, matching.objects[None], normal)[0]
        means.append(float(mean_defined(np.where(there, score, np.nan))))
    return means[0], means[1]


def _correct_range(diagnosis: Diagnosis) -> Range:
    """Share of correct detections among the top, with those of each tie last, and first."""
    matching, types = diagnosis.matching, diagnosis.pie_error_types.types
    statistic = BreakdownStatistic(matching, diagnosis.similar, top=diagnosis.top, strong=diagnosis.iou)
    tops = statistic.tops()[0]
    labels, correct = matching.detections.labels, types == CORRECT
    means = []
    for last in (correct, ~correct):
        order = _reordered(diagnosis, last.astype(np.int8))
        order = order[types[order] >= 0]
        start = np.searchsorted(labels[order], np.arange(len(tops)))
        counted = order[np.arange(len(order)) - start[labels[order]] < tops[labels[order]]]
        hits = counted[correct[counted]]
        number, right = (np.bincount(labels[rows], minlength=len(tops)) for rows in (counted, hits))
        means.append(float(mean_defined(np.where(number > 0, right / np.maximum(number, 1), np.nan))))
    return means[0], means[1]
