"""Detections of a trained detector on a set of images, single passes and their average."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import torch
from torch import Tensor

from data.detection import Batch
from data.records import Detections, GroundTruth
from detector import YOLO, seek_shuffles
from detector.grid import Prediction, decode, non_maximum_suppression, split_outputs
from detector.intervene import needs_passes
from training.detection.columns import Columns, detections_from
from training.detection.options import EvaluationOptions
from training.precision import autocast

__all__ = ["Evaluated", "detect"]


class Evaluated(NamedTuple):
    """What a detector found."""

    passes: list[Detections]
    """Of each single forward pass."""
    averaged: Detections
    """Of the mean of the passes' outputs; with one pass, that pass."""


@torch.no_grad()
def detect(
    model: YOLO,
    loader: Iterable[Batch],
    truth: GroundTruth,
    options: EvaluationOptions,
    *,
    device: torch.device,
    precision: str = "32-true",
    channels_last: bool = False,
) -> Evaluated:
    """Run a detector over images.

    The draws of pass p are those of seed −1 − p, which no training has.

    Parameters
    ----------
    model
        The detector; put into evaluation mode and on the device.
    loader
        Batches of the images, in order.
    truth
        Names and sizes of the images.
    options
        Thresholds, and how many passes where something is shuffled.
    device, precision, channels_last
        How to compute.
    """
    memory = torch.channels_last if channels_last else torch.contiguous_format
    model = model.to(device, memory_format=memory).eval()  # type: ignore[call-overload]
    count = options.passes if needs_passes(model) else 1
    singles: list[Columns] = [[] for _ in range(count)]
    averages: Columns = []
    size = (0, 0)
    for number, batch in enumerate(loader):
        images = batch["images"].to(device).contiguous(memory_format=memory)
        size = (images.shape[2], images.shape[3])
        index = batch["index"].tolist()
        total: list[Tensor] | None = None
        for single in range(count):
            seek_shuffles(model, -1 - single, number)
            with autocast(device, precision):
                outputs = model(images)
            prediction = split_outputs(outputs.float(), model.boxes_per_cell)
            singles[single] += list(zip(index, _suppress(prediction, size, options), strict=True))
            total = (
                list(prediction) if total is None else [a + b for a, b in zip(total, prediction, strict=True)]
            )
        if count > 1 and total is not None:
            mean = Prediction(*(part / count for part in total))
            averages += list(zip(index, _suppress(mean, size, options), strict=True))
    passes = [detections_from(columns, truth, size) for columns in singles]
    return Evaluated(passes, detections_from(averages, truth, size) if count > 1 else passes[0])


def _suppress(
    prediction: Prediction, size: tuple[int, int], options: EvaluationOptions
) -> list[dict[str, Tensor]]:
    boxes, scores = decode(prediction, size)
    found = non_maximum_suppression(
        boxes, scores, options.score_threshold, options.iou_threshold, options.max_detections
    )
    return [{name: value.cpu() for name, value in image.items()} for image in found]
