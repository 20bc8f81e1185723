"""Small-ImageNet 32×32, the downsampled ImageNet of Chrabaszcz et al. (arXiv:1707.08819).

The official batches ``train_data_batch_1`` to ``train_data_batch_10`` and ``val_data``, as pickles or, with
``.npz`` at the end, as NumPy archives. Neither is allowed to run anything: the pickles are read by
:mod:`data.pickles`, the archives without pickled objects. They come from https://image-net.org, which asks
for an account, so nothing here fetches them. NumPy only.
"""

from __future__ import annotations

import itertools
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from data.cifar import CHANNELS, PIXELS, SIDE
from data.download import LARGEST_EXPANSION, ROOM_FOR_TEXT_BYTES
from data.formats.files import reason
from data.image_set import ImageSet, Split, pixel_rows, whole_numbers
from data.pickles import read_pickle
from data.records import InputError

__all__ = ["SMALL_IMAGENET_CLASSES", "find_small_imagenet", "read_small_imagenet"]

SMALL_IMAGENET_CLASSES = tuple(str(number) for number in range(1, 1001))
"""The official numbers, from 1. Their order is that of ILSVRC's development kit (1 is n02119789, a kit fox),
not that of the sorted folder names, which :func:`data.image_set.read_image_folders` and torchvision's weights
have."""

BATCHES: dict[Split, tuple[str, ...]] = {
    "train": tuple(f"train_data_batch_{number}" for number in range(1, 11)),
    "test": ("val_data",),
}
FOLDERS = {
    "train": (".", "train", "Imagenet32_train", "Imagenet32_train_npz"),
    "test": (".", "val", "Imagenet32_val", "Imagenet32_val_npz"),
}


def read_small_imagenet(root: Path | str, split: Split) -> ImageSet:
    """The images of a split, in the order of the files.

    Parameters
    ----------
    root
        The folder with the batches; they may lie in ``train`` and ``val`` or in the folders that the official
        zip files unpack to.
    split
        ``test`` is what is called the validation set of ImageNet, whose test labels are secret. Only the
        files of this split are opened.

    Returns
    -------
    ImageSet
        ``(N, 3, 32, 32)``, RGB; label 0 is the official number 1. The array of the 1,281,167 training images
        takes 3.9 GB, and to read it about 1 GB more for a time.

    Raises
    ------
    InputError
        No such folder, a batch that is not there, truncated, or not one of Small-ImageNet 32×32; one that
        would do more than hold arrays; labels other than 1 to 1000.
    """
    files = find_small_imagenet(root, split)
    # Room for as many images as the files can hold at most: nothing is copied twice, and pages that are never
    # written take no memory.
    room = sum(_most_images(file) for file in files)
    try:
        images, labels = np.empty((room, CHANNELS, SIDE, SIDE), np.uint8), np.empty(room, np.int64)
    except (MemoryError, ValueError):  # more than there is, or than can be addressed
        found = f"batches with room for {room:,} images"
        raise InputError(root, found, "as many as go into memory") from None
    count = 0
    for file in files:
        data, numbers = _batch(file)
        images[count : count + len(data)] = data.reshape(-1, CHANNELS, SIDE, SIDE)
        labels[count : count + len(data)] = numbers - 1
        count += len(data)
    return ImageSet(images[:count], labels[:count], SMALL_IMAGENET_CLASSES)


def find_small_imagenet(root: Path | str, split: Split) -> list[Path]:
    """The batches that :func:`read_small_imagenet` reads; none is opened. InputError where one is missing."""
    root, names = Path(root), BATCHES[split]
    if not root.is_dir():
        raise InputError(root, "no such folder", f"the folder of Small-ImageNet's batches: {names[0]} …")
    for folder, ending in itertools.product(FOLDERS[split], ("", ".npz")):
        files = [root / folder / f"{name}{ending}" for name in names]
        missing = [file for file in files if not file.is_file()]
        if not missing:
            return files
        if len(missing) < len(files):
            raise InputError(missing[0], "no such file", f"all {len(files)} batches: unpack it there")
    expected = f"{names[0]} or {names[0]}.npz, there or in {' or '.join(FOLDERS[split][1:])}"
    raise InputError(root, f"no {split} batch of Small-ImageNet", expected)


def _most_images(file: Path) -> int:
    """How many images the file has room for."""
    size = file.stat().st_size
    if file.suffix != ".npz":
        return size // PIXELS
    with _whole(file), zipfile.ZipFile(file) as archive:
        sizes = {entry.filename: entry.file_size for entry in archive.infolist()}
        unpacked = sum(sizes.values())
        if unpacked > LARGEST_EXPANSION * size + ROOM_FOR_TEXT_BYTES:
            found = f"{unpacked / 1e6:,.0f} MB of arrays in {size / 1e6:,.1f} MB"
            raise InputError(file, found, "images, which hardly compress: do not use this file")
        return sizes["data.npy"] // PIXELS


def _batch(file: Path) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Images (n, 3072) and their numbers (n,) from 1 to 1000."""
    if file.suffix == ".npz":
        with _whole(file), np.load(file, allow_pickle=False) as archive:
            content = {key: archive[key] for key in archive.files if key in ("data", "labels")}
    else:
        try:
            with file.open("rb") as stream:
                content = read_pickle(stream, file)
        except OSError as error:
            raise InputError(file, error.strerror or str(error), "a file to read") from None
    if not {"data", "labels"} <= content.keys():
        raise InputError(file, f"the keys {', '.join(sorted(content))}", "data and labels")
    data = pixel_rows(str(file), content["data"], None, PIXELS, f"images of {SIDE}x{SIDE} pixels")
    where = f"{file}: labels"
    numbers = whole_numbers(where, content["labels"], "numbers from 1 to 1000")
    if numbers.shape != (len(data),):
        found = f"an array of shape {numbers.shape}"
        raise InputError(where, found, f"({len(data)},): one for each image")
    if len(numbers) and not 1 <= numbers.min() <= numbers.max() <= len(SMALL_IMAGENET_CLASSES):
        found = f"labels from {numbers.min()} to {numbers.max()}"
        raise InputError(where, found, "labels from 1 to 1000, as in the official files")
    return data, numbers


@contextmanager
def _whole(file: Path) -> Iterator[None]:
    """Make an InputError of what a damaged archive raises: zlib.error, TokenError, RuntimeError and more."""
    try:
        yield
    except InputError:
        raise
    except Exception as error:
        found = f"an archive that cannot be read ({reason(error)})"
        raise InputError(file, found, "a NumPy archive of plain arrays: fetch it again") from None
