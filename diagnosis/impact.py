"""What each type of error costs: average precision as it would be without it (rules, section 4).

Hoiem's tool moves the detections of a type to the end of the ranking. What is moved is never a true
positive, and a false positive below the last true positive costs nothing, so moving it is the same as
not counting it: all variants follow from one ranking and a running count of each type.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from diagnosis.average_precision import HoiemScores, normal_objects, ranked_hits, score_runs
from diagnosis.breakdown import BACKGROUND, LOCALIZATION, OTHER, SIMILAR, STRONG, WEAK, error_masks
from diagnosis.matching import Matching, assign
from diagnosis.similar import group_indices

__all__ = ["VARIANTS", "Impact", "Variant", "impact"]


@dataclass(frozen=True)
class Variant:
    """One way to score a ranking as if some errors had not been made.

    Attributes
    ----------
    name
        Its name in results.
    tool_name
        What Hoiem's tool calls it; None where the tool has no such thing.
    weak
        Whether a detection is right from the weak threshold on, duplicates forgiven.
    counted
        The types of error, indices into :data:`diagnosis.breakdown.ERROR_TYPES`, that count as false
        positives.
    explanation
        What it is, in one sentence.
    """

    name: str
    tool_name: str | None
    weak: bool
    counted: tuple[int, ...]
    explanation: str


VARIANTS: tuple[Variant, ...] = (
    Variant(
        "all",
        "all",
        False,
        (LOCALIZATION, SIMILAR, OTHER, BACKGROUND),
        "The detections as they are.",
    ),
    Variant(
        "ignore_localization",
        "ignoreloc",
        False,
        (SIMILAR, OTHER, BACKGROUND),
        "Localization errors and duplicates are left out.",
    ),
    Variant(
        "fix_localization",
        "fixloc",
        True,
        (SIMILAR, OTHER, BACKGROUND),
        "Localization errors are made correct, duplicates are left out.",
    ),
    Variant(
        "only_localization",
        "onlyloc",
        False,
        (LOCALIZATION,),
        "All errors but localization errors and duplicates are left out.",
    ),
    Variant(
        "ignore_similar",
        "ignoresimilar",
        False,
        (LOCALIZATION, OTHER, BACKGROUND),
        "Confusions with similar classes are left out.",
    ),
    Variant(
        "only_similar",
        "onlysimilar",
        False,
        (SIMILAR,),
        "All errors but confusions with similar classes are left out.",
    ),
    Variant(
        "ignore_background",
        "ignorebg",
        False,
        (LOCALIZATION, SIMILAR),
        "Detections on background and confusions with other classes are left out.",
    ),
    Variant(
        "only_background",
        "onlybg",
        False,
        (OTHER, BACKGROUND),
        "All errors but those on background and on other classes are left out.",
    ),
    Variant(
        "ignore_localization_similar",
        "ignorelocsim",
        True,
        (OTHER, BACKGROUND),
        "Localization errors are made correct; duplicates and confusions with similar classes are left out.",
    ),
    Variant(
        "ignore_other",
        None,
        False,
        (LOCALIZATION, SIMILAR, BACKGROUND),
        "Confusions with other classes are left out.",
    ),
    Variant(
        "only_other",
        None,
        False,
        (OTHER,),
        "All errors but confusions with other classes are left out.",
    ),
    Variant(
        "ignore_pure_background",
        None,
        False,
        (LOCALIZATION, SIMILAR, OTHER),
        "Detections on background are left out.",
    ),
    Variant(
        "only_pure_background",
        None,
        False,
        (BACKGROUND,),
        "All errors but those on background are left out.",
    ),
)
"""The variants, in the order of the rows of :class:`Impact`.

*Background* includes *other*, as in Hoiem's tool (rules, 3); the last four, which are not the tool's, tell
the two apart.
"""

_ERRORS = (LOCALIZATION, SIMILAR, OTHER, BACKGROUND)
_STRONG_ROWS = [row for row, variant in enumerate(VARIANTS) if not variant.weak]
_WEAK_ROWS = [row for row, variant in enumerate(VARIANTS) if variant.weak]


@dataclass(frozen=True, eq=False)
class Impact:
    """Average precision of C classes in each of the V variants of :data:`VARIANTS`.

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
        mean: NDArray[np.float64] = gains.mean(axis=1) if gains.size else np.full(len(VARIANTS), np.nan)
        return mean


def impact(
    matching: Matching, similar: NDArray[np.bool_], *, strong: float = STRONG, weak: float = WEAK
) -> Impact:
    """What each type of error costs each class, by the flag scheme (rules, sections 3 and 4).

    Parameters
    ----------
    matching
        The overlaps.
    similar
        ``(C, C)`` which classes are similar, from :func:`diagnosis.similar.similar_matrix`.
    strong, weak
        Smallest IoU of a correct detection, and of one that has to do with an object at all.

    Raises
    ------
    InputError
        If the thresholds are not ``0 < weak <= strong <= 1``.

    Examples
    --------
    >>> from data.records import Detections, GroundTruth
    >>> from diagnosis.matching import match
    >>> truth = GroundTruth(["a"], ["cat", "dog"], [[90, 90]], [0, 0], [0, 1], [[0, 0, 9, 9], [20, 0, 29, 9]])
    >>> found = Detections(["a"], ["cat", "dog"], [0, 0], [0, 0], [0.9, 0.8], [[20, 0, 29, 9], [0, 0, 9, 9]])
    >>> cost = impact(match(truth, found), np.array([[False, True], [True, False]]))
    >>> cost.scores.ap[0].tolist(), cost.bars(["cat"])[4]  # without the confusion the cat is found first
    ([0.5, 0.0], np.float64(0.5))
    """
    order = matching.order
    kinds = error_masks(matching, similar, strong=strong, weak=weak)[order]
    at_strong, at_weak = assign(matching, strong).labels, assign(matching, weak).labels_forgiving_duplicates
    normal = normal_objects(len(matching.truth.images))
    parts = []
    for labels, variants in ((at_strong, _STRONG_ROWS), (at_weak, _WEAK_ROWS)):
        hits = ranked_hits(labels[order], matching.class_start)
        counted = np.array([[kind in VARIANTS[row].counted for kind in _ERRORS] for row in variants])
        above = np.stack([hits.above(kinds == kind) for kind in _ERRORS])  # (4, T)
        parts.append(score_runs(counted.astype(np.int64) @ above, hits.start, matching.objects, normal))
    scores = HoiemScores.joined(parts)
    place = np.argsort(_STRONG_ROWS + _WEAK_ROWS)
    return Impact(matching.truth.classes, scores.rows(place))
