"""What each type of error costs: average precision as it would be without it (rules, section 4).

Hoiem's tool moves the detections of a type to the end of the ranking. What is moved is never a true
positive, and a false positive below the last true positive costs nothing, so moving it is the same as
not counting it: all variants follow from one ranking and a running count of each type.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
from numpy.typing import NDArray

from diagnosis.average_precision import HoiemScores, assumed_objects, score_hits
from diagnosis.breakdown import (
    BACKGROUND,
    BACKGROUND_IOU,
    CORRECT,
    CORRECT_IOU,
    ERROR_TYPES,
    LOCALIZATION,
    OTHER,
    SIMILAR,
    flag_error_types,
)
from diagnosis.matching import Matching, assign, takes_earlier_names
from diagnosis.rankings import AnyHits, Block, Hits, HitsAmongErrors, RankedErrors, TruePositives
from diagnosis.resampling import ImageWeights, ObjectCounter, Weights
from diagnosis.similar import group_indices

__all__ = ["IMPACT_VARIANTS", "Impact", "ImpactStatistic", "ImpactVariant", "impact"]


@dataclass(frozen=True)
class ImpactVariant:
    """One way to score a ranking as if some errors had not been made.

    Parameters
    ----------
    name
        Its name in results.
    at_background_iou
        Whether a detection is right from the background IoU on, duplicates left out.
    counted
        The types of error, indices into :data:`diagnosis.breakdown.ERROR_TYPES`, that count as false
        positives.
    label
        Its name in figures and tables.
    explanation
        What it is, in one sentence.
    error
        The type of error that it is about, an index into :data:`diagnosis.breakdown.ERROR_TYPES`; None:
        no single one.
    compared
        Whether comparisons of detectors show it.
    bar
        The colour of its bar in the figure and whether it is hatched; None: it has no bar.
    """

    name: str
    at_background_iou: bool
    counted: tuple[int, ...]
    label: str
    explanation: str
    error: int | None
    compared: bool = True
    bar: tuple[str, bool] | None = None


def _errors(*removed: int) -> tuple[int, ...]:
    """All error types but the removed ones: a new type counts as a false positive by itself."""
    return tuple(error for error in range(len(ERROR_TYPES)) if error not in (CORRECT, *removed))


IMPACT_VARIANTS: tuple[ImpactVariant, ...] = (
    ImpactVariant("all", False, _errors(), "all", "The detections as they are.", None, compared=False),
    ImpactVariant(
        "ignore_localization", False, _errors(LOCALIZATION), "localization removed",
        "Localization errors and duplicates are left out.",
        LOCALIZATION, bar=(ERROR_TYPES[LOCALIZATION].colour, True),
    ),
    ImpactVariant(
        "fix_localization", True, _errors(LOCALIZATION), "localization corrected",
        "Localization errors are made correct, duplicates are left out.",
        LOCALIZATION, bar=(ERROR_TYPES[LOCALIZATION].colour, False),
    ),
    ImpactVariant(
        "only_localization", False, (LOCALIZATION,), "all but localization removed",
        "All errors but localization errors and duplicates are left out.", LOCALIZATION, compared=False,
    ),
    ImpactVariant(
        "ignore_similar", False, _errors(SIMILAR), "similar removed",
        "Confusions with similar classes are left out.", SIMILAR, bar=(ERROR_TYPES[SIMILAR].colour, False),
    ),
    ImpactVariant(
        "only_similar", False, (SIMILAR,), "all but similar removed",
        "All errors but confusions with similar classes are left out.", SIMILAR, compared=False,
    ),
    ImpactVariant(
        "ignore_background", False, _errors(OTHER, BACKGROUND), "background and other removed",
        "Detections on background and confusions with other classes are left out.",
        BACKGROUND, bar=(ERROR_TYPES[BACKGROUND].colour, False),
    ),
    ImpactVariant(
        "only_background", False, (OTHER, BACKGROUND), "all but background removed",
        "All errors but those on background and on other classes are left out.", BACKGROUND, compared=False,
    ),
    ImpactVariant(
        "ignore_localization_similar", True, _errors(LOCALIZATION, SIMILAR),
        "localization corrected and similar removed",
        "Localization errors are made correct; duplicates and confusions with similar classes are left out.",
        LOCALIZATION,
    ),
    ImpactVariant(
        "ignore_other", False, _errors(OTHER), "other removed",
        "Confusions with other classes are left out.", OTHER,
    ),
    ImpactVariant(
        "only_other", False, (OTHER,), "all but other removed",
        "All errors but confusions with other classes are left out.", OTHER, compared=False,
    ),
    ImpactVariant(
        "ignore_pure_background", False, _errors(BACKGROUND), "pure background removed",
        "Detections on background are left out.", BACKGROUND,
    ),
    ImpactVariant(
        "only_pure_background", False, (BACKGROUND,), "all but pure background removed",
        "All errors but those on background are left out.", BACKGROUND, compared=False,
    ),
)  # fmt: skip
"""The variants, in the order of the rows of :class:`Impact`.

*Background* includes *other*, as in Hoiem's tool (rules, 3); the last four, which are not the tool's, tell
the two apart.
"""

FIRST_ERROR = LOCALIZATION  # of those that count as false positives


@dataclass(frozen=True, eq=False)
class Impact:
    """Average precision of C classes in each of the V variants of :data:`IMPACT_VARIANTS`.

    A class without objects has NaN throughout, one whose objects are all missed has 0.

    Parameters
    ----------
    classes
        Names of the classes.
    scores
        Hoiem's average precision, its normalised form, their standard errors and recall: ``(V, C)`` each.
    """

    classes: tuple[str, ...]
    scores: HoiemScores

    def gains(self, *, normalized: bool = False) -> NDArray[np.float64]:
        """``(V, C)`` what each variant adds to a class's precision, at least 0; NaN without objects."""
        ap = self.scores.apn if normalized else self.scores.ap
        gain: NDArray[np.float64] = np.maximum(ap - ap[0], 0.0)
        return gain

    def bars(self, members: Iterable[str] | None = None, *, normalized: bool = False) -> NDArray[np.float64]:
        """``(V,)`` gains averaged over the classes of a group that have objects; NaN if none has.

        Parameters
        ----------
        members
            Names of the group's classes; None: all.
        normalized
            Of normalised average precision.

        Raises
        ------
        InputError
            An unknown class, or one twice.
        """
        gains = self.gains(normalized=normalized)[:, group_indices(self.classes, members)]
        gains = gains[:, ~np.isnan(gains[0])]
        mean: NDArray[np.float64] = (
            gains.mean(axis=1) if gains.size else np.full(len(IMPACT_VARIANTS), np.nan)
        )
        return mean


@takes_earlier_names
def impact(
    matching: Matching,
    similar: NDArray[np.bool_],
    *,
    iou: float = CORRECT_IOU,
    background_iou: float = BACKGROUND_IOU,
) -> Impact:
    """What each type of error costs each class, by the flag scheme (rules, sections 3 and 4).

    Parameters
    ----------
    matching, similar, iou, background_iou
        As in :func:`diagnosis.breakdown.break_down`.

    Raises
    ------
    InputError
        If the thresholds are not ``0 < background_iou <= iou <= 1``.

    Examples
    --------
    >>> from data.records import Detections, GroundTruth
    >>> from diagnosis.matching import match
    >>> truth = GroundTruth(["a"], ["cat", "dog"], [[90, 90]], [0, 0], [0, 1], [[0, 0, 9, 9], [20, 0, 29, 9]])
    >>> found = Detections(["a"], ["cat", "dog"], [0, 0], [0, 0], [0.9, 0.8], [[20, 0, 29, 9], [0, 0, 9, 9]])
    >>> cost = impact(match(truth, found), np.array([[False, True], [True, False]]))
    >>> cost.scores.ap[0].tolist(), float(cost.bars(["cat"])[4])  # else the cat is found first
    ([0.5, 0.0], 0.5)
    """
    return ImpactStatistic(matching, similar, iou=iou, background_iou=background_iou).impact()


class ImpactStatistic:
    """What leaving out or correcting each error type adds to Hoiem's AP, as a function of image weights.

    The parameters are those of :func:`impact`.
    """

    def __init__(
        self,
        matching: Matching,
        similar: NDArray[np.bool_],
        *,
        iou: float = CORRECT_IOU,
        background_iou: float = BACKGROUND_IOU,
    ) -> None:
        types = flag_error_types(matching, similar, iou=iou, background_iou=background_iou)
        self.replicate_width = matching.replicate_width
        self._matching = matching
        self._objects = ObjectCounter(matching.truth, ~matching.ignored)
        order, images = matching.order, matching.detections.image_index
        wrong = types[order] > CORRECT
        before = np.concatenate([[0], np.cumsum(wrong)])
        rows = order.compress(wrong)
        self._errors = RankedErrors(
            before[matching.class_start],
            types[rows] - np.int8(FIRST_ERROR),
            images[rows],
            len(ERROR_TYPES) - FIRST_ERROR,
        )
        self._true_positives = []  # at either threshold
        for threshold in (iou, background_iou):
            places = np.flatnonzero(((assign(matching, threshold).outcomes == 1) & (types >= 0))[order])
            start = np.searchsorted(places, matching.class_start)
            above = self._errors.above(before[places], start)
            self._true_positives.append(TruePositives(images[order[places]], start, above))

    def __call__(self, weights: Weights | None = None) -> dict[str, NDArray[np.float64]]:
        """``impact/<variant>`` ``(r, C)`` gains, at least 0, of the variants compared; NaN without objects.

        Their means over the classes are the bars of :meth:`Impact.bars`.
        """
        image_weights = None if weights is None else ImageWeights(weights)
        objects = self._objects(image_weights)
        variants = [variant for variant in IMPACT_VARIANTS if variant.compared]
        ap = np.zeros((1 + len(variants), *objects.shape))
        for block, hits in self._hits(image_weights, [IMPACT_VARIANTS[0], *variants]):
            for row, some in enumerate(hits):
                ap[row][block] = some.mean_over_objects(objects[block])
        gains = np.where(objects > 0, np.maximum(ap - ap[0], 0.0), np.nan)
        return {f"impact/{variant.name}": gain for variant, gain in zip(variants, gains[1:], strict=True)}

    def impact(self) -> Impact:
        """With each image counted once."""
        truth, objects = self._matching.truth, self._matching.objects
        assumed = assumed_objects(len(truth.images))
        ((_, hits),) = self._hits(None, IMPACT_VARIANTS)
        scores = [score_hits(cast("Hits", some), objects, assumed) for some in hits]
        return Impact(truth.classes, HoiemScores(*map(np.concatenate, zip(*scores, strict=True))))

    def _hits(
        self, image_weights: ImageWeights | None, variants: Sequence[ImpactVariant]
    ) -> Iterator[tuple[Block, Sequence[AnyHits]]]:
        """Some replicates and classes, and their hits in each variant: all if each image counts once."""
        for (rows, classes), ranked in self._ranked(image_weights):
            there = np.flatnonzero(self._errors.count[classes].sum(axis=0)).tolist()
            known: dict[tuple[bool, tuple[int, ...]], AnyHits] = {}  # variants of one class often are alike
            keys = []
            for variant in variants:
                errors = [error - FIRST_ERROR for error in variant.counted if error - FIRST_ERROR in there]
                keys.append((variant.at_background_iou, tuple(errors)))
                if keys[-1] not in known:
                    known[keys[-1]] = ranked[variant.at_background_iou].among(errors)
            yield (rows, classes), [known[key] for key in keys]

    def _ranked(
        self, image_weights: ImageWeights | None
    ) -> Iterator[tuple[Block, Sequence[HitsAmongErrors]]]:
        """Some replicates and classes, and their true positives at either threshold."""
        if image_weights is None:
            yield (slice(None), slice(None)), [some.once() for some in self._true_positives]
            return
        for label in range(len(self._matching.truth.classes)):
            mine = [some.of_class(label) for some in self._true_positives]
            for rows, part in image_weights.parts(len(mine[-1].images)):
                errors = self._errors.weighted(part, label, [some.above for some in mine])
                yield (
                    (rows, slice(label, label + 1)),
                    [some.weighted(part, errors, with_means=True) for some in mine],
                )
