"""What each error type costs by Hoiem's reckoning, as a function of how often each image counts."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from diagnosis.bootstrap import Weights
from diagnosis.breakdown import CORRECT, ERROR_TYPES, STRONG, WEAK, error_masks
from diagnosis.impact import VARIANTS
from diagnosis.matching import Matching, assign
from diagnosis.resampled import largest_class
from diagnosis.resampled_curve import (
    FalseByKind,
    ObjectCounter,
    best_from,
    copies_down_to,
    over_objects,
)

__all__ = ["RESAMPLED_IMPACT", "ResampledImpact"]

RESAMPLED_IMPACT = tuple(variant.name for variant in VARIANTS[1:] if not variant.name.startswith("only_"))
"""What :class:`ResampledImpact` computes."""

ROWS = tuple(variant for variant in VARIANTS if variant.name in ("all", *RESAMPLED_IMPACT))
ERRORS = tuple(kind for kind in range(len(ERROR_TYPES)) if kind != CORRECT)


class ResampledImpact:
    """What leaving out or mending each error type adds to Hoiem's average precision, at least 0.

    ``impact/<variant>`` for each class, for those of :data:`RESAMPLED_IMPACT`;
    NaN for a class that has no objects in the resample. Their means over the classes are the bars of
    :meth:`diagnosis.impact.Impact.bars`.

    Parameters
    ----------
    matching
        The overlaps.
    similar
        ``(C, C)`` which classes are similar.
    iou
        Smallest IoU of a correct detection.

    Raises
    ------
    InputError
        An `iou` below the weak threshold or above 1.
    """

    def __init__(self, matching: Matching, similar: NDArray[np.bool_], *, iou: float = STRONG) -> None:
        kinds = error_masks(matching, similar, strong=iou, weak=WEAK)
        at_strong, at_weak = assign(matching, iou).labels, assign(matching, WEAK).labels_forgiving_duplicates
        self.cells = largest_class(matching)
        self._objects = ObjectCounter(matching.truth, ~matching.ignored)
        self._classes = [
            _Class(matching, label, kinds, (at_strong, at_weak)) if matching.objects[label] else None
            for label in range(len(matching.truth.classes))
        ]

    def __call__(self, weights: Weights) -> dict[str, NDArray[np.float64]]:
        """The gains; see the class."""
        objects = self._objects(weights)
        ap = np.full((len(ROWS), *objects.shape), np.nan)
        for label, one in enumerate(self._classes):
            if one is not None:
                ap[:, :, label] = one.scores(weights, objects[:, label])
        gains = np.where(objects > 0, np.maximum(ap - ap[0], 0.0), np.nan)
        return {f"impact/{name}": gain for name, gain in zip(RESAMPLED_IMPACT, gains[1:], strict=True)}


class _Class:
    """One class's errors by kind, and its true positives at the strong and at the weak threshold."""

    def __init__(
        self,
        matching: Matching,
        label: int,
        kinds: NDArray[np.int8],
        labels: tuple[NDArray[np.int8], NDArray[np.int8]],
    ) -> None:
        rows, images = matching.ranked(label), matching.detections.image_index
        wrong = np.flatnonzero(kinds[rows] != CORRECT)
        self._false = FalseByKind(
            wrong, kinds[rows[wrong]] - np.int8(ERRORS[0]), images[rows[wrong]], len(ERRORS)
        )
        true = [np.flatnonzero(some[rows] == 1) for some in labels]
        self._images = [images[rows[places]] for places in true]
        self._above = [self._false.above(places) for places in true]

    def scores(self, weights: Weights, objects: NDArray[np.int64]) -> NDArray[np.float64]:
        """``(1 + V, r)`` average precision as it is, and of each variant."""
        scores = np.zeros((len(ROWS), len(weights)))
        running = self._false.running(weights)
        for weak in (False, True):
            true = copies_down_to(weights, self._images[weak])
            false = dict(zip(ERRORS, running.above(self._above[weak]), strict=True))
            for row, variant in enumerate(ROWS):
                if variant.weak == weak:
                    counted = sum((false[kind] for kind in variant.counted), np.zeros((1, 1), dtype=np.int32))
                    scores[row] = over_objects(best_from(true, counted), true, objects)
        return scores
