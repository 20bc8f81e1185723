"""COCO's JSON: ground truth and results, written so that pycocotools and its kin can read them.

Images and categories are numbered from 1 in the order of the record; ``file_name`` and ``name`` carry their
names. A ground truth that was read from COCO's JSON has ids of its own: the writers can keep them.

The readers are :mod:`data.formats.coco_truth` and :mod:`data.formats.coco_results`.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data.formats.files import write_text
from data.records import Detections, GroundTruth

__all__ = ["coco_detections", "coco_ground_truth", "write_coco_detections", "write_coco_ground_truth"]


def _xywh(boxes: NDArray[np.float64]) -> list[list[float]]:
    """COCO's boxes from xyxy, ``(N, 4)``, both in continuous pixels."""
    corner, extent = boxes[:, :2], boxes[:, 2:] - boxes[:, :2]
    values: list[list[float]] = np.concatenate([corner, extent], axis=1).tolist()
    return values


def coco_ground_truth(truth: GroundTruth, keep_ids: bool = False) -> dict[str, Any]:
    """The dictionary of a COCO annotation file.

    ``difficult`` objects get ``iscrowd`` 1, as COCO has no other way to leave an object out of the score, and
    keep their own flag beside it. ``area`` is that attribute, where the ground truth has it, else the box's.

    Parameters
    ----------
    truth
        What to write.
    keep_ids
        Use its own ids of images, classes and objects, where it has them, instead of numbers from 1.
    """
    images, classes = _ids(truth, keep_ids)
    area = truth.attributes.get("area")
    if area is None:
        area = (truth.boxes[:, 2] - truth.boxes[:, 0]) * (truth.boxes[:, 3] - truth.boxes[:, 1])
    rows = zip(
        truth.image_index.tolist(),
        truth.labels.tolist(),
        _xywh(truth.boxes),
        truth.difficult.tolist(),
        truth.crowd.tolist(),
        area.tolist(),
        strict=True,
    )
    objects = truth.object_ids if keep_ids and truth.object_ids else range(1, len(truth) + 1)
    return {
        "images": [
            {"id": key, "file_name": f"{name}.jpg", "width": width, "height": height}
            for key, name, (width, height) in zip(images, truth.images, truth.sizes.tolist(), strict=True)
        ],
        "categories": [{"id": key, "name": name} for key, name in zip(classes, truth.classes, strict=True)],
        "annotations": [
            {
                "id": key,
                "image_id": images[image],
                "category_id": classes[label],
                "bbox": box,
                "area": size,
                "iscrowd": int(crowd or difficult),
                "difficult": int(difficult),
            }
            for key, (image, label, box, difficult, crowd, size) in zip(objects, rows, strict=True)
        ],
    }


def coco_detections(detections: Detections, truth: GroundTruth | None = None) -> list[dict[str, Any]]:
    """The list of a COCO results file.

    Parameters
    ----------
    detections
        What to write.
    truth
        Whose ids of images and classes to use, where it has them. Default: numbers from 1.
    """
    images, classes = _ids(detections if truth is None else truth, keep=True)
    return [
        {"image_id": images[image], "category_id": classes[label], "bbox": box, "score": score}
        for image, label, box, score in zip(
            detections.image_index.tolist(),
            detections.labels.tolist(),
            _xywh(detections.boxes),
            detections.scores.tolist(),
            strict=True,
        )
    ]


def _ids(record: GroundTruth | Detections, keep: bool) -> tuple[Sequence[int | str], Sequence[int | str]]:
    """The ids of images and classes: its own, if they are to be kept and there are any, or from 1."""
    images: Sequence[int | str] = range(1, len(record.images) + 1)
    classes: Sequence[int | str] = range(1, len(record.classes) + 1)
    if keep and isinstance(record, GroundTruth):
        return record.image_ids or images, record.class_ids or classes
    return images, classes


def write_coco_ground_truth(truth: GroundTruth, path: Path, keep_ids: bool = False) -> None:
    """Write a COCO annotation file; see :func:`coco_ground_truth`."""
    write_text(path, json.dumps(coco_ground_truth(truth, keep_ids)))


def write_coco_detections(detections: Detections, path: Path, truth: GroundTruth | None = None) -> None:
    """Write a COCO results file, with the ids of `truth` or numbered like :func:`coco_ground_truth`."""
    write_text(path, json.dumps(coco_detections(detections, truth)))
