"""From a network's detections, image by image, to the record that every analysis reads."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from torch import Tensor

from data.records import Detections, GroundTruth

__all__ = ["Columns", "detections_from"]

Columns = list[tuple[int, dict[str, Tensor]]]
"""Pairs of an image's index and its boxes, scores and labels."""


def detections_from(
    columns: Sequence[tuple[int, dict[str, Tensor]]], truth: GroundTruth, input_size: tuple[int, int]
) -> Detections:
    """Detections in the pixels of the original images.

    Parameters
    ----------
    columns
        For each image its index and ``boxes`` (n, 4) in pixels of the resized image, ``scores`` and
        ``labels``. An image that occurs twice, as when ranks are padded to equal lengths, counts once.
    truth
        Names and sizes of the images.
    input_size
        Height and width that the images were resized to, in pixels.

    Returns
    -------
    Detections
        In the order of the images, within an image as given.
    """
    first = dict(reversed(columns))
    order = sorted(first)
    counts = [len(first[index]["scores"]) for index in order]
    image_index = np.repeat(np.array(order, dtype=np.int64), counts)

    def column(name: str) -> np.ndarray:
        parts = [first[index][name].double().numpy() for index in order]
        return np.concatenate(parts) if parts else np.zeros(0)

    height, width = input_size
    scale = np.tile(truth.sizes[image_index] / np.array([width, height]), 2)  # (M, 4)
    return Detections(
        truth.images,
        truth.classes,
        image_index,
        column("labels").astype(np.int64),
        column("scores"),
        column("boxes").reshape(-1, 4) * scale,
    )
