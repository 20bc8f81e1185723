"""COCO's average precision, by pycocotools."""

from __future__ import annotations

import contextlib
import io
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data.records import Detections, GroundTruth

__all__ = ["coco_average_precision"]


def coco_average_precision(
    truth: GroundTruth, detections: Detections
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """COCO's average precision of each class, over IoU 0.50:0.05:0.95 and at 0.5.

    The 100 best detections of a class in an image count, boxes are not clipped, objects of all sizes
    count. COCO has no difficult objects: they are handed over as crowd regions, the way converters
    from VOC write them. So, as in VOC's devkit, they are neither to be found nor is it an error to
    find them, any number of times; a detection belongs to a region by the share of its own area that
    lies within.

    Returns
    -------
    NDArray, NDArray
        ``(C,)`` each; NaN for a class without objects that count.

    Examples
    --------
    >>> truth = GroundTruth(["a"], ["dog", "cat"], [[90, 90]], [0], [0], [[0, 0, 10, 10]])
    >>> found = Detections(["a"], ["dog", "cat"], [0], [0], [0.9], [[0, 0, 10, 7.9]])  # IoU 0.79
    >>> coco_average_precision(truth, found)[0].round(6).tolist()
    [0.6, nan]
    """
    if not len(truth):  # pycocotools stumbles over an empty list
        return np.full(len(truth.classes), np.nan), np.full(len(truth.classes), np.nan)
    from pycocotools.cocoeval import COCOeval  # both lazily: nothing else needs them

    from data.formats.coco import coco_detections, coco_ground_truth

    with contextlib.redirect_stdout(io.StringIO()):  # it prints, and offers no way to ask it not to
        annotated = coco_ground_truth(truth)
        # What pycocotools' own loadRes would add; but it stumbles over an empty list, and copies all.
        found = [
            row | {"id": number, "area": row["bbox"][2] * row["bbox"][3], "iscrowd": 0}
            for number, row in enumerate(coco_detections(detections), 1)
        ]
        evaluation = COCOeval(_index(annotated), _index(annotated | {"annotations": found}), iouType="bbox")
        evaluation.params.maxDets = [100]
        evaluation.params.areaRng, evaluation.params.areaRngLbl = [[0, float("inf")]], ["all"]
        evaluation.evaluate()
        evaluation.accumulate()
    precision = evaluation.eval["precision"][..., 0, 0]  # (10 thresholds, 101 recalls, C); −1: no objects
    precision = np.where(precision < 0, np.nan, precision)
    return precision.mean(axis=(0, 1)), precision[0].mean(axis=0)


def _index(dataset: dict[str, Any]) -> Any:
    """A pycocotools ``COCO`` of the dictionary of an annotation file."""
    from pycocotools.coco import COCO

    coco = COCO()
    coco.dataset = dataset
    coco.createIndex()
    return coco
