"""The data sets for classification: CIFAR-100, Small-ImageNet 32×32, ImageNet and the embedded shapes.

The training images are read by :func:`read_classification`, which holds a share of them out for validation,
and the test images by :func:`read_classification_test` alone: a run that does not call it has not touched
them. :func:`classification_loader` makes batches of either.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import cast

import torch

from data.datasets import DATASETS, IMAGENET_STATISTICS, SHAPES, DataName, find_classification, find_split
from data.image_batches import (
    ArrayImages,
    ClassificationBatch,
    FileImages,
    Normalization,
    collate_files,
    only_batch,
)
from data.image_set import Images, ImageSet, Statistics, statistics_of, take_share
from data.loader import EpochLoader, epoch_loader
from data.records import InputError
from data.streams import Stream, check_seed, generator

__all__ = [
    "DATASETS",
    "IMAGENET_STATISTICS",
    "SHAPES",
    "ClassificationBatch",
    "ClassificationData",
    "DataName",
    "Normalization",
    "classification_loader",
    "find_classification",
    "read_classification",
    "read_classification_test",
]


@dataclass(frozen=True)
class ClassificationData:
    """What a network is trained with.

    Parameters
    ----------
    train
        Training images.
    validation
        Images that were held out of them; None where none are.
    statistics
        Mean and standard deviation of the channels of `train`, for :class:`Normalization`. Those of ImageNet
        are the customary constants.
    """

    train: Images
    validation: Images | None
    statistics: Statistics

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes."""
        return self.train.classes


def read_classification(
    name: str,
    root: Path | str | None = None,
    *,
    validation: float = 0.1,
    fraction: float = 1.0,
    seed: int = 0,
) -> ClassificationData:
    """Read the training images of a data set, and hold some out for validation. No test image is read.

    Parameters
    ----------
    name
        A key of :data:`~data.datasets.DATASETS`.
    root
        The folder of the data: see :func:`data.cifar.read_cifar100`,
        :func:`data.small_imagenet.read_small_imagenet`, :func:`data.image_folders.read_image_folders`.
        Ignored for ``shapes``, which are drawn.
    validation
        Share of the training images that is held out, of each class alike; 0: none.
    fraction
        Share of the training images that is used at all, of each class alike. It is taken first.
    seed
        Of both choices; not negative.

    Returns
    -------
    ClassificationData
        The statistics are those of the training images that are left.

    Raises
    ------
    InputError
        An unknown name; what the reader of the data set raises; a share that leaves no image on one side.

    Examples
    --------
    >>> shapes = read_classification("shapes", validation=0.25, fraction=0.1)
    >>> len(shapes.train), len(shapes.validation), len(shapes.classes)
    (150, 50, 8)
    """
    if not 0 <= validation < 1:
        raise InputError("validation", f"{validation:g}", "a share from 0, less than 1")
    if not 0 < fraction <= 1:
        raise InputError("fraction", f"{fraction:g}", "a share above 0, at most 1")
    check_seed(seed)
    dataset = find_split(name, root, "train")
    images, held_out = dataset.read(root or "", "train"), None
    if fraction < 1:
        images, _ = take_share(images, fraction, generator(seed, Stream.FRACTION_OF_IMAGES), "fraction")
    if validation:
        random = generator(seed, Stream.VALIDATION_IMAGES)
        held_out, images = take_share(images, validation, random, "validation")
    statistics = dataset.statistics or statistics_of(cast(ImageSet, images).images)
    return ClassificationData(images, held_out, statistics)


def read_classification_test(name: str, root: Path | str | None = None) -> Images:
    """Read the test images of a data set. No training image is read.

    For Small-ImageNet and ImageNet these are the images of the official validation set. Parameters and errors
    as of :func:`read_classification`.
    """
    return find_split(name, root, "test").read(root or "", "test")


def classification_loader(
    images: Images,
    batch_size: int,
    *,
    train: bool,
    augment: bool | None = None,
    seed: int = 0,
    size: int = 224,
    device: torch.device | str = "cpu",
    workers: int = 0,
    rank: int = 0,
    world_size: int = 1,
) -> EpochLoader[ClassificationBatch]:
    """Batches of a data set, resumable in the middle of an epoch: see :func:`data.loader.epoch_loader`.

    An array is kept whole on the device, and its batches are made there. Files are decoded by worker
    processes; their batches come in pinned memory where the device is a GPU, and are the caller's to move.

    Parameters
    ----------
    images
        Of :func:`read_classification` or :func:`read_classification_test`.
    batch_size
        Images in a batch of this process.
    train
        A new order every epoch and whole batches; otherwise every image once, in order.
    augment
        Whether the images are randomly cropped and mirrored. Default: as `train`.
    seed
        Of order and augmentation; not negative.
    size
        S, the side of the network's input in pixels. Of files only: an array keeps its size.
    device
        Where the network is.
    workers
        Processes that decode files; 0: this one does.
    rank, world_size
        This process, and how many there are.

    Raises
    ------
    InputError
        A batch size or size below 1, a negative seed or number of workers, fewer images than processes. While
        iterating: a file that cannot be decoded.

    Examples
    --------
    >>> shapes = read_classification_test("shapes").select(range(6))
    >>> [batch["labels"].tolist() for batch in classification_loader(shapes, 4, train=False)]
    [[0, 1, 2, 3], [4, 5]]
    """
    if size < 1:
        raise InputError("input size", str(size), "a positive number of pixels")
    check_seed(seed)
    augment = train if augment is None else augment
    if isinstance(images, ImageSet):
        whole = ArrayImages(images, device=device, augment=augment, seed=seed)
        return epoch_loader(
            whole, only_batch, batch_size, seed=seed, train=train, rank=rank, world_size=world_size
        )
    return epoch_loader(
        FileImages(images, size, augment=augment, seed=seed),
        collate_files,
        batch_size,
        seed=seed,
        train=train,
        workers=workers,
        rank=rank,
        world_size=world_size,
        pin_memory=torch.device(device).type == "cuda",
    )
