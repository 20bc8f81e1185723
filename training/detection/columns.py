"""Between a network's detections, image by image, and the records that every analysis reads."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from data.records import Detections, GroundTruth

__all__ = ["Columns", "Objects", "detections_from", "in_original_pixels"]

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


def in_original_pixels(
    found: dict[str, Tensor], size: tuple[int, int], input_size: tuple[int, int]
) -> dict[str, Tensor]:
    """An image's detections with boxes in the pixels of the original image.

    Parameters
    ----------
    found
        ``boxes`` (n, 4) in pixels of the resized image, ``scores`` and ``labels``.
    size
        Width and height of the original image.
    input_size
        Height and width that it was resized to.
    """
    height, width = input_size
    found = {name: value.detach().cpu().double() for name, value in found.items()}
    scale = torch.tensor([size[0] / width, size[1] / height] * 2, dtype=torch.float64)
    return found | {"boxes": found["boxes"] * scale}


class Objects:
    """The objects of a ground truth image by image, as torchmetrics takes them.

    Examples
    --------
    >>> truth = GroundTruth(["a", "b"], ["dog"], [[90, 60]] * 2, [1], [0], [[0, 0, 9, 9]])
    >>> Objects(truth)[1]["size"].tolist(), len(Objects(truth)[0]["boxes"])
    ([60, 90], 0)
    """

    def __init__(self, truth: GroundTruth) -> None:
        self._truth = truth
        self._rows = np.argsort(truth.image_index, kind="stable")
        self._starts = np.searchsorted(truth.image_index[self._rows], np.arange(len(truth.images) + 1))

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        """Boxes in original pixels, labels, flags, size and number of an image."""
        truth = self._truth
        rows = self._rows[self._starts[index] : self._starts[index + 1]]
        columns = {
            "boxes": truth.boxes[rows],
            "labels": truth.labels[rows],
            "difficult": truth.difficult[rows],
            "iscrowd": truth.crowd[rows],
            "size": truth.sizes[index, ::-1].copy(),  # height, width
            "image_id": np.array(index),
        }
        return {name: torch.from_numpy(np.array(value)) for name, value in columns.items()}
