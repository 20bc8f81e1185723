"""Overlaps of detections with the objects of their images, in the groups of :mod:`diagnosis.matching`."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from data.records import Detections, GroundTruth
from diagnosis.ranking import by_rising, indices

__all__ = ["Overlaps"]


class Overlaps:
    """The boxes as columns, and groups for a few thousand detections at a time: those fit in the cache.

    Parameters
    ----------
    truth, detections, clip
        As in :func:`diagnosis.matching.match`.
    at_once
        Pairs of a detection and any object of its image that are looked at together.

    Attributes
    ----------
    bounds
        Where to cut the detections, for :meth:`groups`.
    clips
        Whether any detection reaches beyond its image, and that matters.
    """

    def __init__(self, truth: GroundTruth, detections: Detections, clip: bool, at_once: int) -> None:
        # By image, then class, then as annotated.
        self.objects = by_rising(truth.image_index, by_rising(truth.labels))
        self.object_labels = truth.labels[self.objects]
        self.object_boxes = truth.boxes[self.objects].T.copy()
        self.object_area = _area(self.object_boxes)
        per_image = np.bincount(truth.image_index, minlength=len(truth.images))
        image_start = np.cumsum(per_image) - per_image
        self.candidates = per_image[detections.image_index]  # (M,)
        self.ends = np.cumsum(self.candidates)
        total = int(self.ends[-1]) if len(self.ends) else 0
        cuts = np.searchsorted(self.ends, np.arange(at_once, total, at_once))
        self.bounds = np.unique(np.concatenate([[0], cuts, [len(self.ends)]]))
        # What is to be added to the number of a candidate to get its object's place in `objects`.
        self.shift = image_start[detections.image_index] - (self.ends - self.candidates)
        self.boxes = detections.boxes.T
        self.image_index = detections.image_index
        self.limits = truth.sizes.astype(np.float64).T.copy()
        self.clip = clip
        self.clips = False

    def groups(
        self, low: int, high: int
    ) -> tuple[
        NDArray[np.int64],
        NDArray[np.float64],
        NDArray[np.float64],
        NDArray[np.int64],
        NDArray[np.int64],
        NDArray[np.int64],
    ]:
        """Object, IoU and clipped IoU of each pair; first pair, detection and class of each group."""
        boxes, others = self.boxes[:, low:high].copy(), self.object_boxes
        count = self.candidates[low:high]
        number = np.arange(self.ends[low] - self.candidates[low], self.ends[high - 1])
        place = number + np.repeat(self.shift[low:high], count)
        width = np.minimum(np.repeat(boxes[2], count), others[2][place])
        width -= np.maximum(np.repeat(boxes[0], count), others[0][place])
        kept = np.flatnonzero(width > 0)
        detection, place = np.repeat(indices(high - low), count)[kept], place[kept]
        height = np.minimum(boxes[3][detection], others[3][place])
        height -= np.maximum(boxes[1][detection], others[1][place])
        overlap = np.maximum(height, 0.0) * width[kept]
        kept = np.flatnonzero(overlap > 0)
        detection, place, overlap = detection[kept], place[kept], overlap[kept]
        iou = clipped = overlap / (_area(boxes)[detection] + self.object_area[place] - overlap)
        if self.clip:
            clipped = self._clipped(boxes, self.image_index[low:high], detection, place, iou)
            self.clips = self.clips or clipped is not iou

        label = self.object_labels[place]
        new = np.ones(len(detection), dtype=bool)
        new[1:] = (detection[1:] != detection[:-1]) | (label[1:] != label[:-1])
        start = np.flatnonzero(new)
        return self.objects[place], iou, clipped, start, detection[start] + low, label[start]

    def _clipped(
        self,
        boxes: NDArray[np.float64],
        image: NDArray[np.int64],
        detection: NDArray[np.int64],
        place: NDArray[np.int64],
        iou: NDArray[np.float64],
    ) -> NDArray[np.float64]:
        """``(P,)`` IoU with the detection clipped to its image; `iou` itself if nothing is clipped."""
        wide, high = self.limits[0][image], self.limits[1][image]
        beyond = (boxes[0] < 0) | (boxes[1] < 0) | (boxes[2] > wide) | (boxes[3] > high)
        pairs = np.flatnonzero(beyond[detection])
        if not len(pairs):
            return iou
        # A box wholly outside is left without area, where the tool inverts it: neither overlaps anything.
        left, top = np.maximum(boxes[0], 0.0), np.maximum(boxes[1], 0.0)
        right = np.maximum(np.minimum(boxes[2], wide), left)
        inside = np.stack([left, top, right, np.maximum(np.minimum(boxes[3], high), top)])
        mine, others = inside[:, detection[pairs]], self.object_boxes[:, place[pairs]]
        sides = np.minimum(mine[2:], others[2:]) - np.maximum(mine[:2], others[:2])
        overlap = np.maximum(sides[0], 0.0) * np.maximum(sides[1], 0.0)
        result = iou.copy()
        result[pairs] = overlap / (_area(mine) + self.object_area[place[pairs]] - overlap)
        return result


def _area(columns: NDArray[np.float64]) -> NDArray[np.float64]:
    """``(N,)`` area of boxes (4, N), square pixels."""
    area: NDArray[np.float64] = (columns[2] - columns[0]) * (columns[3] - columns[1])
    return area
