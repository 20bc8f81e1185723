"""Images and their boxes as tensors: a torch Dataset over a ground truth, and its loaders."""

from __future__ import annotations

import hashlib
import operator
import os
import warnings
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple, TypeAlias, TypedDict

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from PIL import ImageOps
from torch import Tensor
from torch.utils.data import Dataset

from data.augment import Key, Transform
from data.formats.files import EXIF_ORIENTATION, QUARTER_TURNS, image_size, open_image
from data.formats.validation import warn
from data.loader import EpochLoader, EpochSampler, epoch_loader, read_or_error
from data.records import GroundTruth, InputError

__all__ = [
    "Batch",
    "DetectionDataset",
    "EpochLoader",
    "EpochSampler",
    "Findings",
    "Item",
    "Target",
    "check_images",
    "collate",
    "detection_loader",
    "read_image",
    "split_validation",
    "verify_images",
]

Target: TypeAlias = dict[str, Tensor]
"""What is known of one image with n objects: ``boxes`` (n, 4) float32, xyxy, pixels of the S×S input;
``labels`` (n,) int64; ``difficult`` (n,) bool, VOC's difficult objects and COCO's crowds."""


class Item(TypedDict):
    """One image with its n objects."""

    image: Tensor
    """(3, S, S) uint8, RGB."""
    boxes: Tensor
    """(n, 4) float32, xyxy, pixels of the S×S input."""
    labels: Tensor
    """(n,) int64."""
    difficult: Tensor
    """(n,) bool."""
    index: int
    """Which of ``truth.images`` this is."""


class Batch(TypedDict):
    """N images with their objects."""

    images: Tensor
    """(N, 3, S, S) uint8, RGB."""
    targets: list[Target]
    index: Tensor
    """(N,) int64, into ``truth.images``."""


def read_image(file: str | Path, size: tuple[int, int] | None = None) -> NDArray[np.uint8]:
    """The pixels of an image file, ``(H, W, 3)`` uint8 RGB, decoded completely.

    Grey, palette, transparent and CMYK images become RGB. An image that its EXIF orientation turns is taken
    as `size`, (width, height) of the annotation, says: as stored, which VOC and COCO annotate, or as shown,
    which most tools annotate today. Where both are of that size (a square image, or one turned by 180°), it
    is taken as stored, with a warning.

    Raises
    ------
    InputError
        A missing, truncated or otherwise unreadable file, or one of another size than `size`.
    """
    with open_image(Path(file), "the image that the annotation names") as image:
        orientation = image.getexif().get(EXIF_ORIENTATION, 1)
        shown = image.size[::-1] if orientation in QUARTER_TURNS else image.size
        if size is not None and size not in (image.size, shown):
            found = f"an image of {image.width}x{image.height} pixels"
            if shown != image.size:
                found += f", turned by its EXIF orientation {orientation}"
            annotated = f"{size[0]}x{size[1]} as annotated"
            raise InputError(file, found, f"{annotated}: mend the annotation, or restore the image it is of")
        if size is not None and orientation in range(2, 9):
            if shown != image.size == size:
                orientation = 1
            elif shown == image.size:
                _warn_of_orientation(f"{file} and others like it")
                orientation = 1
            if orientation != 1:
                return np.asarray(ImageOps.exif_transpose(image).convert("RGB"))
        return np.asarray(image.convert("RGB"))


def check_images(truth: GroundTruth) -> None:
    """Raise InputError for an image file that is no image, or of another size than annotated.

    Headers alone are read, which takes about 0.1 ms an image.
    """
    for file, size in zip(truth.files, truth.sizes.tolist(), strict=True):
        shown = image_size(Path(file))
        if tuple(size) not in (shown, shown[::-1]):
            found = f"an image of {shown[0]}x{shown[1]} pixels"
            raise InputError(file, found, f"{size[0]}x{size[1]} as annotated")


class Findings(NamedTuple):
    """What :func:`verify_images` has found, a line each."""

    errors: list[InputError]
    """Training would end with these."""
    remarks: list[str]
    """Training is possible, but perhaps not what is meant."""


def verify_images(parts: Mapping[str, GroundTruth]) -> Findings:
    """Decode all images of the parts of a data set, and look at their sizes, EXIF, copies and boxes.

    Parameters
    ----------
    parts
        Ground truth with image files, by name, such as ``training``; each image is decoded once.

    Returns
    -------
    Findings
        Errors: what :func:`read_image` refuses. Remarks: the same file twice, above all in two parts; images
        that EXIF turns; boxes of less than a pixel. (Equal boxes are a warning of the readers.)
    """
    errors, remarks, seen = list[InputError](), list[str](), dict[str, str]()
    for name, truth in parts.items():
        with ThreadPoolExecutor(os.cpu_count()) as pool:  # Pillow decodes without the interpreter's lock
            looked = list(pool.map(_look, truth.files, map(tuple, truth.sizes.tolist())))
        turned = []
        for file, (digest, orientation, error) in zip(truth.files, looked, strict=True):
            here = f"{file} ({name})"
            errors += [error] if error else []
            turned += [file] if orientation in range(2, 9) else []
            if digest:
                if digest in seen:
                    remarks.append(f"{here}: the same file as {seen[digest]}")
                seen.setdefault(digest, here)
        if turned:
            first = f"{turned[0]} ({name}): turned by EXIF, like {len(turned)} in all"
            remarks.append(f"{first}; boxes are on the picture that has the annotated size")
        small = np.flatnonzero((truth.boxes[:, 2:] - truth.boxes[:, :2] < 1).any(axis=1))
        if len(small):
            file = truth.files[truth.image_index[small[0]]]
            remarks.append(f"{file} ({name}): a box of less than a pixel, like {len(small)} in all")
    return Findings(errors, remarks)


def _look(file: str | Path, size: tuple[int, int]) -> tuple[str, int, InputError | None]:
    """The checksum of an image file, its EXIF orientation, and what is wrong with it."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            read_image(file, size)
        with open_image(Path(file), "an image") as image:
            orientation = image.getexif().get(EXIF_ORIENTATION, 1)
        return hashlib.sha256(Path(file).read_bytes()).hexdigest(), orientation, None
    except InputError as error:
        return "", 1, error


WARNED: list[str] = []
"""Images whose orientation was warned of; one warning a process is enough."""


def _warn_of_orientation(images: str) -> None:
    if not WARNED:
        WARNED.append(images)
        warn(
            f"{images}: turned by the EXIF orientation, but the annotated size does not say whether the "
            "boxes are on the image as stored or as shown; it is taken as stored: store such images as shown"
        )


class DetectionDataset(Dataset[Item]):
    """The images of a ground truth, decoded and transformed, with their objects.

    Parameters
    ----------
    truth
        With the image files in ``truth.files``.
    transform
        :func:`data.augment.train_transform` or :func:`data.augment.eval_transform`.

    Raises
    ------
    InputError
        No images, no files named, or a file that does not exist. When an item is read: an image that cannot
        be decoded, or is of another size than annotated.
    """

    def __init__(self, truth: GroundTruth, transform: Transform) -> None:
        if not truth.images:
            raise InputError("images", "an empty list", "at least one image")
        if not truth.files:
            raise InputError("files", "none", "the image file of each image: boxes alone do not do here")
        for file in truth.files:  # now, not hours into the training
            if not Path(file).is_file():
                raise InputError(file, "no such file", "the image that the annotation names")
        self.truth = truth
        self.transform = transform
        self._rows = np.argsort(truth.image_index, kind="stable")  # objects, image by image
        self._starts = np.searchsorted(truth.image_index[self._rows], np.arange(len(truth.images) + 1))

    def __len__(self) -> int:
        return len(self.truth.images)

    def __getitem__(self, key: Key) -> Item:
        """The image of a key (epoch, index); an index alone is one of epoch 0."""
        epoch, index = key if isinstance(key, tuple) else (0, operator.index(key))
        if not 0 <= index < len(self):
            raise IndexError(f"image {index} of {len(self)}")
        truth = self.truth
        rows = self._rows[self._starts[index] : self._starts[index + 1]]
        width, height = truth.sizes[index].tolist()
        pixels = read_image(truth.files[index], (width, height))
        image, boxes, kept = self.transform(pixels, truth.boxes[rows], (epoch, index))
        rows = rows[kept]
        channels = np.empty((3, *image.shape[:2]), dtype=np.uint8)
        cv2.split(image, list(channels))  # ten times as fast as a transposed copy
        return {
            "image": torch.from_numpy(channels),
            "boxes": torch.from_numpy(boxes.astype(np.float32)),
            "labels": torch.from_numpy(truth.labels[rows]),
            "difficult": torch.from_numpy(truth.difficult[rows] | truth.crowd[rows]),
            "index": index,
        }

    def __getitems__(self, keys: Sequence[tuple[int, int]]) -> list[Item | InputError]:
        """The items of a batch, for a loader: see :func:`data.loader.read_or_error`."""
        return read_or_error(self, keys)


def collate(items: Sequence[Item]) -> Batch:
    """Make a batch of items of one size.

    Examples
    --------
    >>> none = torch.zeros(0)
    >>> item = Item(image=torch.zeros(3, 2, 2), boxes=none, labels=none, difficult=none, index=7)
    >>> batch = collate([item, item])
    >>> batch["images"].shape, len(batch["targets"]), batch["index"].tolist()
    (torch.Size([2, 3, 2, 2]), 2, [7, 7])
    """
    return {
        "images": torch.stack([item["image"] for item in items]),
        "targets": [
            {"boxes": item["boxes"], "labels": item["labels"], "difficult": item["difficult"]}
            for item in items
        ],
        "index": torch.tensor([item["index"] for item in items], dtype=torch.int64),
    }


def detection_loader(
    dataset: DetectionDataset,
    batch_size: int,
    *,
    seed: int = 0,
    train: bool,
    workers: int = 0,
    rank: int = 0,
    world_size: int = 1,
    pin_memory: bool = False,
) -> EpochLoader[Batch]:
    """A loader of :class:`Batch`; parameters as of :func:`data.loader.epoch_loader`."""
    return epoch_loader(
        dataset,
        collate,
        batch_size,
        seed=seed,
        train=train,
        workers=workers,
        rank=rank,
        world_size=world_size,
        pin_memory=pin_memory,
    )


def split_validation(truth: GroundTruth, share: float, seed: int = 0) -> tuple[GroundTruth, GroundTruth]:
    """Training and validation images: a `share` (0 to 1) of the images is taken out for validation.

    The images are put in the order of a hash of seed and name, and the first go. So the choice does not
    depend on their order in the list, and k images more, or fewer, make no more than k others change sides.
    Each side is in the order of `truth`.

    Raises
    ------
    InputError
        Nothing left on one of the sides.
    """
    count = len(truth.images)
    chosen = round(share * count) if 0 < share < 1 else 0
    if not 0 < chosen < count:
        found = f"{share:g} of {count} images"
        raise InputError("validation share", found, "at least one image on either side")
    digests = [hashlib.sha256(f"{seed} {name}".encode()).digest() for name in truth.images]
    order = sorted(range(count), key=digests.__getitem__)
    return truth.select(sorted(order[chosen:])), truth.select(sorted(order[:chosen]))
