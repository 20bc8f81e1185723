"""Small-ImageNet 32×32, the downsampled ImageNet of Chrabaszcz et al. (arXiv:1707.08819), in its official
batches.

``train_data_batch_1`` to ``train_data_batch_10`` and ``val_data``, as pickles or, with ``.npz`` at the end,
as NumPy archives. Neither is allowed to run anything: the pickles are read by :mod:`data.pickles`, the
archives without pickled objects. They come from https://image-net.org, which asks for an account, so nothing
here fetches them. Files in, one array out; NumPy only.
"""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data.download import LARGEST_EXPANSION, ROOM_FOR_TEXT_BYTES
from data.formats.files import reason
from data.image_set import ImageSet, Split, pixel_rows, whole_numbers
from data.pickles import read_pickle
from data.records import InputError

__all__ = ["SMALL_IMAGENET_CLASSES", "find_small_imagenet", "read_small_imagenet"]

SMALL_IMAGENET_CLASSES = tuple(str(number) for number in range(1, 1001))
"""The official numbers, from 1. Their order is that of ILSVRC's development kit (1 is n02119789, a kit fox),
not that of the sorted folder names, which :mod:`data.image_folders` and torchvision's weights have."""

SIDE, CHANNELS = 32, 3
PIXELS = CHANNELS * SIDE * SIDE
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
        images = np.empty((room, CHANNELS, SIDE, SIDE), dtype=np.uint8)
        labels = np.empty(room, dtype=np.int64)
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
    """The batches that :func:`read_small_imagenet` reads; none is opened.

    Raises
    ------
    InputError
        No such folder, or a batch that is not there.
    """
    root, names = Path(root), BATCHES[split]
    if not root.is_dir():
        raise InputError(root, "no such folder", f"the folder of Small-ImageNet's batches: {names[0]} …")
    for folder in (root / name for name in FOLDERS[split]):
        for ending in ("", ".npz"):
            files = [folder / f"{name}{ending}" for name in names]
            if any(file.is_file() for file in files):
                for file in files:
                    if not file.is_file():
                        raise InputError(file, "no such file", f"all {len(files)} batches: unpack it there")
                return files
    expected = f"{names[0]} or {names[0]}.npz, there or in {' or '.join(FOLDERS[split][1:])}"
    raise InputError(root, f"no {split} batch of Small-ImageNet", expected)


def _most_images(file: Path) -> int:
    """How many images the file has room for."""
    if file.suffix != ".npz":
        return file.stat().st_size // PIXELS
    try:
        with zipfile.ZipFile(file) as archive:
            sizes = {entry.filename: entry.file_size for entry in archive.infolist()}
            if sum(sizes.values()) > LARGEST_EXPANSION * file.stat().st_size + ROOM_FOR_TEXT_BYTES:
                raise InputError(
                    file,
                    f"{sum(sizes.values()) / 1e6:,.0f} MB of arrays in {file.stat().st_size / 1e6:,.1f} MB",
                    "images, which hardly compress: do not use this file",
                )
            return sizes["data.npy"] // PIXELS
    except (zipfile.BadZipFile, KeyError, OSError, NotImplementedError) as error:
        raise _broken(file, error) from None


def _batch(file: Path) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Images (n, 3072) and their numbers (n,) from 1 to 1000."""
    content = _content(file)
    for key in ("data", "labels"):
        if key not in content:
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


def _content(file: Path) -> dict[str, Any]:
    if file.suffix != ".npz":
        try:
            with file.open("rb") as stream:
                return read_pickle(stream, file)
        except OSError as error:
            raise InputError(file, error.strerror or str(error), "a file to read") from None
    try:
        with np.load(file, allow_pickle=False) as archive:
            return {key: archive[key] for key in archive.files if key in ("data", "labels")}
    except Exception as error:  # also zlib.error, TokenError, RuntimeError and more, of what is damaged
        raise _broken(file, error) from None


def _broken(file: Path, error: Exception) -> InputError:
    found = f"an archive that cannot be read ({reason(error)})"
    return InputError(file, found, "a NumPy archive of plain arrays: fetch it again")
