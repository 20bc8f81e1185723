"""The data sets for classification: a row for each, and their training and test images. No torch.

A new data set is a reader, a name in :data:`DataName` and a row of :data:`DATASETS`; and, where the defaults
of CIFAR-100 do not suit it, a recipe in :mod:`training.tasks.classification_options`.

The test images are read by :func:`read_classification_test` alone: a run that does not call it has not
touched them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal, cast, get_args

from data.cifar import CIFAR100_CLASSES, find_cifar100, read_cifar100
from data.image_set import (
    Images,
    ImageSet,
    Split,
    Statistics,
    find_class_folders,
    read_image_folders,
    statistics_of,
    take_share,
)
from data.records import InputError
from data.shapes.scenes import draw_shapes
from data.small_imagenet import SMALL_IMAGENET_CLASSES, find_small_imagenet, read_small_imagenet
from data.streams import Stream, check_seed, generator

__all__ = [
    "DATASETS", "IMAGENET_STATISTICS", "SHAPES", "ClassificationData", "DataName", "ImageDataset",
    "find_classification", "read_classification", "read_classification_test",
]  # fmt: skip

DataName = Literal["cifar100", "small-imagenet", "imagenet", "shapes"]

IMAGENET_STATISTICS = Statistics(
    tuple(255 * mean for mean in (0.485, 0.456, 0.406)), tuple(255 * std for std in (0.229, 0.224, 0.225))
)
"""ImageNet's pixel statistics, as commonly used; computing them takes a pass over 140 GB."""


@dataclass(frozen=True)
class ImageDataset:
    """A data set for classification."""

    title: str
    """Its name for people."""
    read: Callable[[Path | str, Split], Images]
    """``(root, split)`` to its images."""
    images: Mapping[Split, int]
    """How many there are for training and for testing."""
    classes: int
    """How many."""
    side: int | None
    """Of its images, in pixels; None: photographs of any size, resized to the network's input."""
    find: Callable[[Path | str, Split], object] | None
    """``(root, split)``: raises an InputError that names what is missing; opens nothing. None: the data set
    is drawn, and needs no root."""
    statistics: Statistics | None = None
    """For the normalisation. None: those of the training images."""


SHAPES: dict[Split, int] = {"train": 2000, "test": 500}
"""Images of the embedded data set."""
IMAGENET: dict[Split, int] = {"train": 1_281_167, "test": 50_000}

_drawn = cache(draw_shapes)

DATASETS: dict[str, ImageDataset] = {
    "cifar100": ImageDataset(
        "CIFAR-100", read_cifar100, {"train": 50_000, "test": 10_000}, len(CIFAR100_CLASSES), 32,
        find_cifar100,
    ),
    "small-imagenet": ImageDataset(
        "Small-ImageNet 32×32", read_small_imagenet, IMAGENET, len(SMALL_IMAGENET_CLASSES), 32,
        find_small_imagenet,
    ),
    "imagenet": ImageDataset(
        "ImageNet", read_image_folders, IMAGENET, 1000, None, find_class_folders, IMAGENET_STATISTICS
    ),
    "shapes": ImageDataset(
        "the embedded shapes", lambda root, split: _drawn(split, SHAPES[split]), SHAPES, 8, 32, None
    ),
}  # fmt: skip
assert tuple(DATASETS) == get_args(DataName)


@dataclass(frozen=True)
class ClassificationData:
    """What a network is trained with."""

    train: Images
    """Training images."""
    validation: Images | None
    """Images that were held out of them; None where none are."""
    statistics: Statistics
    """Mean and standard deviation of the channels of `train`, for :class:`data.classification.Normalization`.
    Those of ImageNet are the customary constants."""

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


def _find(name: str, root: Path | str | None, split: Split) -> ImageDataset:
    """The data set of that name, if its files of that split are there."""
    if name not in DATASETS:
        raise InputError("data set", repr(name), f"one of {', '.join(DATASETS)}")
    dataset = DATASETS[name]
    if dataset.find is not None:
        if root is None:
            raise InputError("root", "none", f"the folder of {name}")
        dataset.find(root, split)
    return dataset


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
        A key of :data:`DATASETS`.
    root
        The folder of the data: see :func:`data.cifar.read_cifar100`,
        :func:`data.small_imagenet.read_small_imagenet`, :func:`data.image_set.read_image_folders`. Ignored
        for ``shapes``, which are drawn.
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
    dataset = _find(name, root, "train")
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
    return _find(name, root, "test").read(root or "", "test")
