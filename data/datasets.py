"""The data sets for classification, one row each: what a reader, an option or a table has to know of them.

A new data set is a reader, a name in :data:`DataName` and a row of :data:`DATASETS`; and, where the defaults
of CIFAR-100 do not suit it, a recipe in :mod:`training.tasks.classification_options`. No torch.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal, get_args

from data.cifar import CIFAR100_CLASSES, find_cifar100, read_cifar100
from data.image_folders import find_class_folders, read_image_folders
from data.image_set import Images, ImageSet, Split, Statistics
from data.records import InputError
from data.shapes.images import draw_shapes
from data.small_imagenet import SMALL_IMAGENET_CLASSES, find_small_imagenet, read_small_imagenet

__all__ = [
    "DATASETS", "IMAGENET_STATISTICS", "DataName", "ImageDataset", "find_classification", "find_split",
]  # fmt: skip

DataName = Literal["cifar100", "small-imagenet", "imagenet", "shapes"]

IMAGENET_STATISTICS = Statistics(
    tuple(255 * mean for mean in (0.485, 0.456, 0.406)), tuple(255 * std for std in (0.229, 0.224, 0.225))
)
"""ImageNet's pixel statistics, as commonly used; computing them takes a pass over 140 GB."""


@dataclass(frozen=True)
class ImageDataset:
    """A data set for classification.

    Parameters
    ----------
    title
        Its name for people.
    read
        ``(root, split)`` to its images.
    images
        How many there are for training and for testing.
    classes
        How many classes.
    side
        Of its images, in pixels; None: photographs of any size, resized to the network's input.
    find
        ``(root, split)``: raises an InputError that names what is missing; opens nothing. None: the data set
        is drawn, and needs no root.
    statistics
        For the normalisation. None: those of the training images.
    """

    title: str
    read: Callable[[Path | str, Split], Images]
    images: Mapping[Split, int]
    classes: int
    side: int | None
    find: Callable[[Path | str, Split], object] | None
    statistics: Statistics | None = None


SHAPES: dict[Split, int] = {"train": 2000, "test": 500}
"""Images of the embedded data set."""


def read_shapes(root: Path | str, split: Split) -> ImageSet:
    """Draw the embedded data set, once in a process; `root` is ignored."""
    return _drawn(split, SHAPES[split])


@cache
def _drawn(split: Split, count: int) -> ImageSet:
    return draw_shapes(split, count)


DATASETS: dict[str, ImageDataset] = {
    "cifar100": ImageDataset(
        "CIFAR-100",
        read_cifar100,
        {"train": 50_000, "test": 10_000},
        len(CIFAR100_CLASSES),
        32,
        find_cifar100,
    ),
    "small-imagenet": ImageDataset(
        "Small-ImageNet 32×32",
        read_small_imagenet,
        {"train": 1_281_167, "test": 50_000},
        len(SMALL_IMAGENET_CLASSES),
        32,
        find_small_imagenet,
    ),
    "imagenet": ImageDataset(
        "ImageNet",
        read_image_folders,
        {"train": 1_281_167, "test": 50_000},
        1000,
        None,
        find_class_folders,
        IMAGENET_STATISTICS,
    ),
    "shapes": ImageDataset("the embedded shapes", read_shapes, SHAPES, 8, 32, None),
}
assert tuple(DATASETS) == get_args(DataName)


def find_classification(name: str, root: Path | str | None = None) -> None:
    """Look whether the files of training and test images are there; none is opened.

    Raises
    ------
    InputError
        Names what is missing. What is in the files is looked at when they are read.
    """
    for split in get_args(Split):
        find_split(name, root, split)


def find_split(name: str, root: Path | str | None, split: Split) -> ImageDataset:
    """The data set of that name, if its files of that split are there."""
    if name not in DATASETS:
        raise InputError("data set", repr(name), f"one of {', '.join(DATASETS)}")
    dataset = DATASETS[name]
    if dataset.find is not None:
        if root is None:
            raise InputError("root", "none", f"the folder of {name}")
        dataset.find(root, split)
    return dataset
