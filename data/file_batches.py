"""Batches of a large data set of photographs, decoded and cropped by worker processes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypedDict

import numpy as np
import torch
from numpy.typing import NDArray

from data.image_batches import ClassificationBatch
from data.image_crops import centre_crop, training_crop
from data.image_set import ImageFiles
from data.loader import read_or_error
from data.records import InputError

__all__ = ["FileImages", "FileItem", "collate_files"]

_STREAM = 3  # keeps these draws apart from others of the same seed


class FileItem(TypedDict):
    """One image of a data set of files."""

    image: NDArray[np.uint8]
    label: int
    index: int


class FileImages:
    """A data set of image files, decoded and cropped; for worker processes.

    Parameters
    ----------
    images
        The files.
    size
        S: the crops are S×S pixels.
    augment
        Random crops and mirror images, a pure function of (seed, epoch, index); otherwise the centre.
    seed
        Of the augmentation; not negative.
    """

    def __init__(self, images: ImageFiles, size: int, *, augment: bool, seed: int = 0) -> None:
        self.images, self.size, self.augment, self.seed = images, size, augment, seed

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, key: tuple[int, int]) -> FileItem:
        """The image (S, S, 3) of a key (epoch, index)."""
        epoch, index = key
        file = self.images.file(index)
        if self.augment:
            random = np.random.default_rng([_STREAM, self.seed, epoch, index])
            image = training_crop(file, self.size, random)
        else:
            image = centre_crop(file, self.size)
        return {"image": image, "label": int(self.images.labels[index]), "index": index}

    def __getitems__(self, keys: Sequence[tuple[int, int]]) -> list[FileItem | InputError]:
        """The items of a batch: see :func:`data.loader.read_or_error`."""
        return read_or_error(self, keys)


def collate_files(items: list[FileItem]) -> ClassificationBatch:
    """Make a batch of items of one size."""
    images = torch.from_numpy(np.stack([item["image"] for item in items]))
    return {
        "images": images.permute(0, 3, 1, 2),  # a view, in the order of memory that is called channels_last
        "labels": torch.tensor([item["label"] for item in items]),
        "index": torch.tensor([item["index"] for item in items]),
    }
