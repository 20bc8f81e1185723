"""Images with one label each: in memory as one array, or as files in folders; shares of them, statistics.

NumPy only. The readers of :data:`data.datasets.DATASETS` end here.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias, TypeVar, cast

import numpy as np
from numpy.typing import NDArray

from data.records import InputError

__all__ = [
    "ImageFiles", "ImageSet", "Images", "Split", "Statistics", "find_class_folders", "pixel_rows",
    "read_class_folders", "read_image_folders", "statistics_of", "take_share", "whole_numbers",
]  # fmt: skip

Split = Literal["train", "test"]

FOLDERS: dict[Split, str] = {"train": "train", "test": "val"}
ENDINGS = (".jpeg", ".jpg", ".png", ".webp", ".bmp", ".ppm")

IMAGES_AT_ONCE = 4096  # whose sums are formed together


@dataclass(frozen=True)
class ImageSet:
    """A small data set, whole in memory. The images are not copied, and not to be written to.

    Raises
    ------
    InputError
        Another type or shape, a label that is no class.

    Examples
    --------
    >>> few = ImageSet(np.zeros((2, 3, 8, 8), np.uint8), np.array([1, 0]), ("cat", "dog"))
    >>> len(few), few.select([1]).labels
    (2, array([0]))
    """

    images: NDArray[np.uint8]
    """``(N, C, H, W)``"""
    labels: NDArray[np.int64]
    """``(N,)``, into `classes`."""
    classes: tuple[str, ...]

    def __post_init__(self) -> None:
        if self.images.dtype != np.uint8 or self.images.ndim != 4:
            raise InputError("images", f"{self.images.dtype} {self.images.shape}", "uint8 (N, C, H, W)")
        _check_labels(self.labels, len(self.images), self.classes)

    def __len__(self) -> int:
        return len(self.labels)

    def select(self, rows: Sequence[int] | NDArray[np.int64]) -> ImageSet:
        """A copy of some of the images."""
        return ImageSet(self.images[rows], self.labels[rows], self.classes)


@dataclass(frozen=True)
class ImageFiles:
    """A large data set: where its images are. A label that is no class is an InputError."""

    root: Path
    names: NDArray[np.bytes_]
    """``(N,)`` file names below `root`, as :func:`os.fsencode` writes them. One array, because every worker
    process would end up with a copy of a million strings."""
    labels: NDArray[np.int64]
    """``(N,)``, into `classes`."""
    classes: tuple[str, ...]

    def __post_init__(self) -> None:
        _check_labels(self.labels, len(self.names), self.classes)

    def __len__(self) -> int:
        return len(self.labels)

    def file(self, index: int) -> Path:
        """Where an image is."""
        return self.root / os.fsdecode(bytes(self.names[index]))

    def select(self, rows: Sequence[int] | NDArray[np.int64]) -> ImageFiles:
        """Some of the images."""
        return ImageFiles(self.root, self.names[rows], self.labels[rows], self.classes)


Images: TypeAlias = ImageSet | ImageFiles
ImagesT = TypeVar("ImagesT", bound=Images)


def _check_labels(labels: NDArray[np.int64], count: int, classes: tuple[str, ...]) -> None:
    if labels.dtype != np.int64 or labels.shape != (count,):
        expected = f"int64 ({count},): one for each of {count} images"
        raise InputError("labels", f"{labels.dtype} {labels.shape}", expected)
    if count and not 0 <= labels.min() <= labels.max() < len(classes):
        expected = f"labels from 0 to {len(classes) - 1}: one for each of {len(classes)} classes"
        raise InputError("labels", f"labels from {labels.min()} to {labels.max()}", expected)


# ---------------------------------------------------------------- folders


def read_image_folders(root: Path | str, split: Split) -> ImageFiles:
    """The images of folders ``train/CLASS/…`` and ``val/CLASS/…``, such as ImageNet's; none is decoded.

    Parameters
    ----------
    root
        The folder with ``train`` and ``val``.
    split
        ``test`` is ``val``: the labels of ImageNet's own test set are secret.

    Returns
    -------
    ImageFiles
        Class by class, each class in the order of the file names. The classes are the sorted names of the
        folders, as in torchvision.

    Raises
    ------
    InputError
        No such folder, no class folders in it, a class without an image, other classes in ``val`` than in
        ``train``.
    """
    find_class_folders(root, split)
    return read_class_folders(Path(root) / FOLDERS[split])


def read_class_folders(folder: Path | str) -> ImageFiles:
    """The images of a folder ``CLASS/…``; result and errors as of :func:`read_image_folders`."""
    folder = Path(folder)
    names: list[bytes] = []
    counts = []
    for name in (classes := _class_names(folder)):
        with os.scandir(folder / name) as entries:  # macOS leaves ._photo.jpg beside a photograph
            found = (entry.name for entry in entries if not entry.name.startswith("."))
            files = sorted(file for file in found if file.lower().endswith(ENDINGS))
        if not files:
            raise InputError(folder / name, "no image", f"files that end in {', '.join(ENDINGS)}")
        names += [os.fsencode(f"{name}/{file}") for file in files]
        counts.append(len(files))
    labels = np.repeat(np.arange(len(classes), dtype=np.int64), counts)
    return ImageFiles(folder, np.array(names), labels, classes)


def find_class_folders(root: Path | str, split: Split) -> None:
    """Raise the errors of :func:`read_image_folders` about the classes; no image is looked for."""
    root = Path(root)
    classes = _class_names(root / FOLDERS[split])
    if split == "test" and (root / FOLDERS["train"]).is_dir():
        differing = sorted(set(classes) ^ set(_class_names(root / FOLDERS["train"])))
        if differing:
            only = FOLDERS["test" if differing[0] in classes else "train"]
            expected = "the same class folders in train and val"
            raise InputError(root / FOLDERS[split], f"a class {differing[0]} in {only} alone", expected)


def _class_names(folder: Path) -> tuple[str, ...]:
    expected = "the folder with a folder of images for each class, such as n01440764"
    try:
        with os.scandir(folder) as entries:
            names = sorted(entry.name for entry in entries if entry.is_dir() and entry.name[0] != ".")
    except OSError as error:
        raise InputError(folder, (error.strerror or str(error)).lower(), expected) from None
    if not names:
        raise InputError(folder, "no folder in it", expected)
    return tuple(names)


# ---------------------------------------------------------------- the content of files


def pixel_rows(where: str, values: object, rows: int | None, pixels: int, expected: str) -> NDArray[np.uint8]:
    """`values` of a file, if they are uint8 (rows, pixels); None: any number of rows."""
    if isinstance(values, np.ndarray):
        if values.dtype == np.uint8 and values.ndim == 2 and values.shape == (rows or len(values), pixels):
            return values
        found = f"{values.dtype} {values.shape}"
    else:
        found = type(values).__name__
    raise InputError(f"{where}: data", found, f"uint8 ({rows or 'n'}, {pixels}): {expected}")


def whole_numbers(where: str, values: object, expected: str) -> NDArray[np.int64]:
    """`values` of a file as int64, if none of them changes by it."""
    try:
        return np.asarray(values).astype(np.int64, casting="same_kind")
    except (TypeError, ValueError, OverflowError):
        raise InputError(where, "what are no whole numbers", expected) from None


# ---------------------------------------------------------------- shares and statistics


def take_share(
    images: ImagesT, share: float, random: np.random.Generator, what: str
) -> tuple[ImagesT, ImagesT]:
    """Take a share (0 to 1) of the images out, of each class alike: what is taken, and what is left.

    Of a class with n images ``share * n`` go, rounded so that ``round(share * N)`` go in all: down, and up
    for those classes that lose most by it. Which ones they are depends on the random numbers and on their
    place in the data set. `what` the share is called is for the error message.

    Raises
    ------
    InputError
        Nothing on one of the sides.

    Examples
    --------
    >>> few = ImageSet(np.zeros((10, 3, 8, 8), np.uint8), np.arange(10) // 5, ("cat", "dog"))
    >>> taken, left = take_share(few, 0.4, np.random.default_rng(0), "share")
    >>> taken.labels, left.labels
    (array([0, 0, 1, 1]), array([0, 0, 0, 1, 1, 1]))
    """
    count = len(images)
    total = round(share * count) if 0 < share < 1 else 0
    if not 0 < total < count:
        raise InputError(what, f"{share:g} of {count} images", "at least one image on either side")
    of_class = np.bincount(images.labels, minlength=len(images.classes))
    exact = share * of_class
    quota = np.floor(exact).astype(np.int64)
    short = np.argsort(quota - exact, kind="stable")  # those first that lose most by rounding down
    quota[short[: total - quota.sum()]] += 1
    # Each class's images in a random order, one class after the other, and the place of each in its class.
    order = np.lexsort((random.random(count), images.labels))
    place = np.arange(count) - (np.cumsum(of_class) - of_class)[images.labels[order]]
    taken = np.zeros(count, dtype=bool)
    taken[order] = place < quota[images.labels[order]]
    parts = images.select(np.flatnonzero(taken)), images.select(np.flatnonzero(~taken))
    return cast("tuple[ImagesT, ImagesT]", parts)


@dataclass(frozen=True)
class Statistics:
    """Mean and standard deviation of each channel, of values from 0 to 255."""

    mean: tuple[float, ...]
    std: tuple[float, ...]


def statistics_of(images: NDArray[np.uint8]) -> Statistics:
    """Mean and standard deviation of each channel over all pixels of all images ``(N, C, H, W)``.

    The sums are of whole numbers, so the result does not depend on the order of the images. The deviation is
    that of the whole population. A channel that never changes has a deviation of 1: it becomes 0 when
    normalised, not NaN.

    Raises
    ------
    InputError
        No image.

    Examples
    --------
    >>> statistics_of(np.array([[[[0, 2]], [[7, 7]]]], np.uint8))
    Statistics(mean=(1.0, 7.0), std=(1.0, 1.0))
    """
    if not images.size:
        raise InputError("images", "none", "at least one image to compute mean and deviation of")
    total = squares = np.zeros(images.shape[1], dtype=np.uint64)
    for start in range(0, len(images), IMAGES_AT_ONCE):
        some = images[start : start + IMAGES_AT_ONCE]
        total = total + some.sum(axis=(0, 2, 3), dtype=np.uint64)
        squares = squares + np.square(some, dtype=np.uint16).sum(axis=(0, 2, 3), dtype=np.uint64)
    pixels = images.size // images.shape[1]
    means, deviations = [], []
    for first, second in zip(total.tolist(), squares.tolist(), strict=True):
        means.append(first / pixels)
        variance = (pixels * second - first * first) / pixels**2  # whole numbers of Python: nothing cancels
        deviations.append(variance**0.5 or 1.0)
    return Statistics(tuple(means), tuple(deviations))
