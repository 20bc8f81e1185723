"""CIFAR-100, in each form that it is found in. Files in, one array out; NumPy and Pillow only.

* as published: ``cifar-100-python.tar.gz`` or ``cifar-100-binary.tar.gz``, or what they unpack to
  (https://www.cs.toronto.edu/~kriz/cifar.html). The pickles are not run: :mod:`data.pickles`;
* as sheets: folders ``train`` and ``test`` with one lossless image a class, ``00.webp`` to ``99.webp``, 20
  images of 32×32 pixels a row.

The test images are read when they are asked for, and not otherwise.
"""

from __future__ import annotations

import io
import tarfile
import zlib
from pathlib import Path
from typing import IO

import numpy as np

from data.formats.files import open_image, read_bytes, reason
from data.image_set import ImageSet, Split, pixel_rows, whole_numbers
from data.pickles import read_pickle
from data.records import InputError

__all__ = ["CIFAR100_CLASSES", "find_cifar100", "read_cifar100"]

CIFAR100_CLASSES: tuple[str, ...] = (
    "apple", "aquarium_fish", "baby", "bear", "beaver", "bed", "bee", "beetle", "bicycle", "bottle",
    "bowl", "boy", "bridge", "bus", "butterfly", "camel", "can", "castle", "caterpillar", "cattle",
    "chair", "chimpanzee", "clock", "cloud", "cockroach", "couch", "crab", "crocodile", "cup", "dinosaur",
    "dolphin", "elephant", "flatfish", "forest", "fox", "girl", "hamster", "house", "kangaroo",
    "keyboard", "lamp", "lawn_mower", "leopard", "lion", "lizard", "lobster", "man", "maple_tree",
    "motorcycle", "mountain", "mouse", "mushroom", "oak_tree", "orange", "orchid", "otter", "palm_tree",
    "pear", "pickup_truck", "pine_tree", "plain", "plate", "poppy", "porcupine", "possum", "rabbit",
    "raccoon", "ray", "road", "rocket", "rose", "sea", "seal", "shark", "shrew", "skunk", "skyscraper",
    "snail", "snake", "spider", "squirrel", "streetcar", "sunflower", "sweet_pepper", "table", "tank",
    "telephone", "television", "tiger", "tractor", "train", "trout", "tulip", "turtle", "wardrobe",
    "whale", "willow_tree", "wolf", "woman", "worm",
)  # fmt: skip
"""The fine labels, in the official order, which is that of the alphabet."""

IMAGES_OF_A_CLASS: dict[Split, int] = {"train": 500, "test": 100}
SIDE = 32  # pixels
CHANNELS = 3
PIXELS = CHANNELS * SIDE * SIDE  # values of an image
SHEET_COLUMNS = 20

PYTHON, BINARY = "cifar-100-python", "cifar-100-binary"
FORMS = (
    f"{PYTHON}.tar.gz, {BINARY}.tar.gz or what one of them unpacks to, or folders train and test "
    "with the sheets 00.webp to 99.webp"
)


def read_cifar100(root: Path | str, split: Split) -> ImageSet:
    """The images of a split, in the order of the files.

    Parameters
    ----------
    root
        An archive, or a folder: with an archive in it, unpacked, or with sheets. What is unpacked goes before
        an archive.
    split
        Only its files are opened.

    Returns
    -------
    ImageSet
        ``(50000, 3, 32, 32)`` or ``(10000, 3, 32, 32)``, RGB, and the fine labels.

    Raises
    ------
    InputError
        Nothing of the kind at `root`; an archive without the split, or damaged; a pickle that is truncated,
        or would do more than hold arrays; a sheet that is missing, damaged or of another size; not all
        images; a label that is no class.
    """
    file = find_cifar100(root, split)
    if file.is_dir():
        return _of_sheets(file, split)
    if file == Path(root) or file.name not in (split, f"{split}.bin"):
        return _of_archive(file, split)
    read = _of_pickle if file.name == split else _of_binary
    return read(io.BytesIO(read_bytes(file, "a file to read")), file, split)


def find_cifar100(root: Path | str, split: Split) -> Path:
    """The file or folder that :func:`read_cifar100` reads; not opened. InputError where there is none."""
    root = Path(root)
    if not root.exists():
        raise InputError(root, "no such file or folder", FORMS)
    if root.is_file():
        return root
    unpacked = [
        folder / name for folder in (root, root / PYTHON, root / BINARY) for name in (split, f"{split}.bin")
    ]
    for place in (*unpacked, root / f"{PYTHON}.tar.gz", root / f"{BINARY}.tar.gz"):
        if place.is_file() or (place.name == split and place.exists()):
            return place
    raise InputError(root, f"no {split} images of CIFAR-100", FORMS)


def _of_archive(file: Path, split: Split) -> ImageSet:
    members = {f"{PYTHON}/{split}": _of_pickle, f"{BINARY}/{split}.bin": _of_binary}
    try:
        with tarfile.open(file, "r:*") as tar:
            for member in tar:
                read = members.get(member.name.removeprefix("./"))
                if read is None or not member.isfile():
                    continue
                stream = tar.extractfile(member)
                assert stream is not None  # it is a plain file
                return read(io.BytesIO(stream.read()), f"{file}: {member.name}", split)
    except (tarfile.TarError, zlib.error, EOFError, OSError) as error:
        found = f"an archive that cannot be read ({reason(error)})"
        raise InputError(file, found, "it whole: fetch it again") from None
    found = f"an archive without {' or '.join(members)}"
    raise InputError(file, found, f"{PYTHON}.tar.gz or {BINARY}.tar.gz")


def _of_pickle(stream: IO[bytes], where: object, split: Split) -> ImageSet:
    content = read_pickle(stream, where)
    if not {"data", "fine_labels"} <= content.keys():
        found = f"the keys {', '.join(sorted(content))}"
        raise InputError(where, found, "data and fine_labels: CIFAR-100, not CIFAR-10 or another file")
    return _checked(content["data"], content["fine_labels"], where, split)


def _of_binary(stream: IO[bytes], where: object, split: Split) -> ImageSet:
    """Records of a coarse label, a fine label and the pixels."""
    content = stream.read()
    if len(content) % (2 + PIXELS):
        expected = f"records of {2 + PIXELS}: the binary form of CIFAR-100, whole"
        raise InputError(where, f"{len(content)} bytes", expected)
    records = np.frombuffer(bytearray(content), dtype=np.uint8).reshape(-1, 2 + PIXELS)
    return _checked(np.ascontiguousarray(records[:, 2:]), records[:, 1], where, split)


def _checked(data: object, labels: object, where: object, split: Split) -> ImageSet:
    """The set, if its arrays are those of the official files."""
    classes, of_each = len(CIFAR100_CLASSES), IMAGES_OF_A_CLASS[split]
    count = classes * of_each
    images = pixel_rows(str(where), data, count, PIXELS, f"all {split} images")
    where = f"{where}: fine_labels"
    numbers = whole_numbers(where, labels, "whole numbers")
    if numbers.shape != (count,):
        raise InputError(where, f"an array of {numbers.shape}", f"{count}: one for each image")
    if numbers.min() < 0 or numbers.max() >= classes:
        raise InputError(where, f"labels from {numbers.min()} to {numbers.max()}", "labels from 0 to 99")
    of_class = np.bincount(numbers, minlength=classes)
    odd = np.flatnonzero(of_class != of_each)
    if len(odd):
        found = f"{of_class[odd[0]]} images of class {odd[0]}"
        raise InputError(where, found, f"{of_each} of each, as in CIFAR-100")
    return ImageSet(images.reshape(count, CHANNELS, SIDE, SIDE), numbers, CIFAR100_CLASSES)


def _of_sheets(folder: Path, split: Split) -> ImageSet:
    """One sheet a class, with its images row by row."""
    files = [folder / f"{label:02}.webp" for label in range(len(CIFAR100_CLASSES))]
    for file, name in zip(files, CIFAR100_CLASSES, strict=True):  # before the first of them is decoded
        if not file.is_file():
            raise InputError(file, "no such file", f"the sheet of class {name}, as for all 100 classes")
    of_each = IMAGES_OF_A_CLASS[split]
    rows = of_each // SHEET_COLUMNS
    size = (SHEET_COLUMNS * SIDE, rows * SIDE)
    images = np.empty((len(files), rows, SHEET_COLUMNS, CHANNELS, SIDE, SIDE), dtype=np.uint8)
    for label, file in enumerate(files):
        with open_image(file, "a sheet of CIFAR-100") as image:
            if image.size != size or image.mode != "RGB":
                found = f"{image.mode} of {image.width}x{image.height} pixels"
                grid = f"{rows} rows of {SHEET_COLUMNS} images of {SIDE}x{SIDE}"
                raise InputError(file, found, f"RGB of {size[0]}x{size[1]}: {grid}")
            tiles = np.asarray(image).reshape(rows, SIDE, SHEET_COLUMNS, SIDE, CHANNELS)
        images[label] = tiles.transpose(0, 2, 4, 1, 3)
    labels = np.repeat(np.arange(len(files), dtype=np.int64), of_each)
    return ImageSet(images.reshape(-1, CHANNELS, SIDE, SIDE), labels, CIFAR100_CLASSES)
