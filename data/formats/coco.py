"""COCO's JSON: ground truth and results, written so that pycocotools and its kin can read them.

Images and categories are numbered from 1 in the order of the record; ``file_name`` and ``name`` carry their
names.
"""

from __future__ import annotations

import json
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


def coco_ground_truth(truth: GroundTruth) -> dict[str, Any]:
    """The dictionary of a COCO annotation file.

    ``difficult`` objects get ``iscrowd`` 1, as COCO has no other way to leave an object out of the score, and
    keep their own flag beside it.
    """
    rows = zip(
        truth.image_index.tolist(),
        truth.labels.tolist(),
        _xywh(truth.boxes),
        truth.difficult.tolist(),
        truth.crowd.tolist(),
        strict=True,
    )
    return {
        "images": [
            {"id": number, "file_name": f"{name}.jpg", "width": width, "height": height}
            for number, (name, (width, height)) in enumerate(
                zip(truth.images, truth.sizes.tolist(), strict=True), start=1
            )
        ],
        "categories": [{"id": number, "name": name} for number, name in enumerate(truth.classes, start=1)],
        "annotations": [
            {
                "id": number,
                "image_id": image + 1,
                "category_id": label + 1,
                "bbox": box,
                "area": box[2] * box[3],
                "iscrowd": int(crowd or difficult),
                "difficult": int(difficult),
            }
            for number, (image, label, box, difficult, crowd) in enumerate(rows, start=1)
        ],
    }


def coco_detections(detections: Detections) -> list[dict[str, Any]]:
    """The list of a COCO results file."""
    return [
        {"image_id": image + 1, "category_id": label + 1, "bbox": box, "score": score}
        for image, label, box, score in zip(
            detections.image_index.tolist(),
            detections.labels.tolist(),
            _xywh(detections.boxes),
            detections.scores.tolist(),
            strict=True,
        )
    ]


def write_coco_ground_truth(truth: GroundTruth, path: Path) -> None:
    """Write a COCO annotation file."""
    write_text(path, json.dumps(coco_ground_truth(truth)))


def write_coco_detections(detections: Detections, path: Path) -> None:
    """Write a COCO results file, numbered like :func:`coco_ground_truth` of the same images and classes."""
    write_text(path, json.dumps(coco_detections(detections)))
