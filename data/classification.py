"""CIFAR-100, Small-ImageNet 32×32, ImageNet and the embedded shapes, for classification.

The training images are read by :func:`read_classification`, which holds a share of them out for validation,
and the test images by :func:`read_classification_test` alone: a run that does not call it has not touched
them. :func:`classification_loader` makes batches of either.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal, TypeAlias, get_args

import torch

from data.cifar import Split, find_cifar100, read_cifar100
from data.file_batches import FileImages, collate_files
from data.image_batches import ArrayImages, ClassificationBatch, Normalization
from data.image_folders import find_class_folders, read_image_folders
from data.image_set import ImageFiles, ImageSet, Statistics, statistics_of, take_share
from data.loader import EpochLoader, epoch_loader
from data.records import InputError
from data.shape_images import draw_shapes
from data.small_imagenet import find_small_imagenet, read_small_imagenet

__all__ = [
    "IMAGENET_STATISTICS",
    "ClassificationBatch",
    "ClassificationData",
    "DataName",
    "Normalization",
    "classification_loader",
    "find_classification",
    "read_classification",
    "read_classification_test",
]

DataName = Literal["cifar100", "small-imagenet", "imagenet", "shapes"]
Images: TypeAlias = ImageSet | ImageFiles

IMAGENET_STATISTICS = Statistics(
    tuple(255 * mean for mean in (0.485, 0.456, 0.406)), tuple(255 * std for std in (0.229, 0.224, 0.225))
)
"""Of ImageNet's training images, as everybody uses them. To compute them takes a pass over 140 GB."""

SHAPES: dict[Split, int] = {"train": 2000, "test": 500}
"""Images of the embedded data set."""

# Keep these draws apart from each other and from others of the same seed.
_VALIDATION_STREAM, _FRACTION_STREAM = 4, 5


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


def find_classification(name: str, root: Path | str | None = None) -> None:
    """Look whether the files of training and test images are there; none is opened.

    Raises
    ------
    InputError
        Names what is missing. What is in the files is looked at when they are read.
    """
    for split in get_args(Split):
        _find(name, root, split)


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
        ``cifar100``, ``small-imagenet``, ``imagenet`` or ``shapes``.
    root
        The folder of the data: see :func:`data.cifar.read_cifar100`,
        :func:`data.small_imagenet.read_small_imagenet`, :func:`data.image_folders.read_image_folders`.
        Not looked at for ``shapes``, which are drawn.
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
    if seed < 0:
        raise InputError("seed", str(seed), "a number from 0")
    images = _read(name, root, "train")
    if fraction < 1:
        images, _ = _share(images, fraction, [_FRACTION_STREAM, seed], "fraction")
    held_out = None
    if validation:
        held_out, images = _share(images, validation, [_VALIDATION_STREAM, seed], "validation")
    statistics = statistics_of(images.images) if isinstance(images, ImageSet) else IMAGENET_STATISTICS
    return ClassificationData(images, held_out, statistics)


def read_classification_test(name: str, root: Path | str | None = None) -> Images:
    """Read the test images of a data set. No training image is read.

    For Small-ImageNet and ImageNet these are the images of the official validation set. Parameters and errors
    as of :func:`read_classification`.
    """
    return _read(name, root, "test")


def _find(name: str, root: Path | str | None, split: Split) -> None:
    if name not in get_args(DataName):
        raise InputError("data set", repr(name), f"one of {', '.join(get_args(DataName))}")
    if name == "shapes":
        return
    if root is None:
        raise InputError("root", "none", f"the folder of {name}")
    find = {
        "cifar100": find_cifar100,
        "small-imagenet": find_small_imagenet,
        "imagenet": find_class_folders,
    }[name]
    find(root, split)


def _read(name: str, root: Path | str | None, split: Split) -> Images:
    _find(name, root, split)
    if name == "shapes" or root is None:
        return _shapes(split)
    if name == "cifar100":
        return read_cifar100(root, split)
    return read_small_imagenet(root, split) if name == "small-imagenet" else read_image_folders(root, split)


@cache
def _shapes(split: Split) -> ImageSet:
    return draw_shapes(split, SHAPES[split])


def _share(images: Images, share: float, seed: Sequence[int], what: str) -> tuple[Images, Images]:
    # Two calls, so that the types of what comes out are those of what goes in.
    if isinstance(images, ImageSet):
        return take_share(images, share, seed, what)
    return take_share(images, share, seed, what)


def _only(batches: list[ClassificationBatch]) -> ClassificationBatch:
    return batches[0]


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

    What is in memory is kept whole on the device, and its batches are made there. Files are decoded by worker
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
        S, the side of the network's input in pixels. Of files only: what is in memory keeps its size.
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
    >>> shapes = draw_shapes("train", 6)
    >>> [batch["labels"].tolist() for batch in classification_loader(shapes, 4, train=False)]
    [[0, 1, 2, 3], [4, 5]]
    """
    if size < 1:
        raise InputError("input size", str(size), "a positive number of pixels")
    if seed < 0:
        raise InputError("seed", str(seed), "a number from 0")
    augment = train if augment is None else augment
    if isinstance(images, ImageSet):
        whole = ArrayImages(images, device=device, augment=augment, seed=seed)
        return epoch_loader(
            whole, _only, batch_size, seed=seed, train=train, rank=rank, world_size=world_size
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
