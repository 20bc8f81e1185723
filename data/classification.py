"""Batches of images with one label each: of an array, made on the device, and of files, made by workers.

The images come from :mod:`data.datasets`. An array's images (32×32) are augmented as by He et al.
(arXiv:1512.03385): a random crop of the image with 4 black pixels of padding around it, and a mirror image
half of the time. The paper states none. Files are augmented as in ImageNet training: a random part of the
image, resized, perhaps mirrored (Szegedy et al., arXiv:1409.4842; the defaults are torchvision's); for
evaluation the shorter side is resized to 8/7 of the network's input, and the centre taken (256 and 224).
Without a reduced JPEG the pixels are those of torchvision's transforms on Pillow images.

What happens to an image is a pure function of (seed, epoch, index), so it does not depend on the batch it is
in, on the number of processes, or on the device: batches on a CPU and on a GPU are equal, bit for bit.
"""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypedDict

import numpy as np
import torch
from numpy.random import Generator
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional

from data.augment import Window
from data.datasets import (
    DATASETS,
    IMAGENET_STATISTICS,
    SHAPES,
    ClassificationData,
    DataName,
    find_classification,
    read_classification,
    read_classification_test,
)
from data.formats.files import open_image
from data.image_set import ImageFiles, Images, ImageSet, Statistics
from data.loader import EpochLoader, KeyedDataset, epoch_loader
from data.records import InputError
from data.streams import Stream, check_seed, generator, seed_sequence

__all__ = [
    "DATASETS", "IMAGENET_STATISTICS", "SHAPES", "ClassificationBatch", "ClassificationData", "DataName",
    "Normalization", "check_files", "classification_loader", "find_classification", "read_classification",
    "read_classification_test",
]  # fmt: skip

PADDING = 4  # pixels on each side
OFFSET_BITS = 20  # of randomness for an offset
# The constants of splitmix64 (Steele et al., 2014, "Fast splittable pseudorandom number generators").
GAMMA, FIRST_FACTOR, SECOND_FACTOR = 0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB

AREA = (0.08, 1.0)  # share of the image
ASPECT = (3 / 4, 4 / 3)  # width over height; log-uniform
TRIES = 10  # to draw a crop that fits, before the centre is taken
FLIP = 0.5
RESIZE = 8 / 7  # shorter side over the network's input, in evaluation: 256 for 224

EXPECTED = "an image of the data set"


class ClassificationBatch(TypedDict):
    """N images with their labels."""

    images: Tensor
    """(N, C, H, W) uint8, RGB."""
    labels: Tensor
    """(N,) int64."""
    index: Tensor
    """(N,) int64, place of each image in its data set."""


class Normalization(nn.Module):
    """Images as the networks take them: less the training images' mean, over their standard deviation.

    It has nothing in its state dict, and moves to a device with the module that it is part of. The arithmetic
    is two operations, each rounded as IEEE 754 says, so that every device gets the same numbers. `statistics`
    are those of the training images, for values of 0 to 255.

    Examples
    --------
    >>> Normalization(Statistics((100.0,), (50.0,)))(torch.full((1, 1, 1, 2), 150, dtype=torch.uint8))
    tensor([[[[1., 1.]]]])
    """

    mean: Tensor
    scale: Tensor

    def __init__(self, statistics: Statistics) -> None:
        super().__init__()
        mean, deviation = (
            torch.tensor(values, dtype=torch.float64).view(-1, 1, 1)
            for values in (statistics.mean, statistics.std)
        )
        self.register_buffer("mean", mean.float(), persistent=False)
        self.register_buffer("scale", (1 / deviation).float(), persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        """``(N, C, H, W)`` uint8 to float32. What is floating point is taken to be normalised already."""
        if images.is_floating_point():
            return images
        return images.float().sub_(self.mean).mul_(self.scale)


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
    augment
        Whether the images are randomly cropped and mirrored. Default: as `train`.
    seed
        Of order and augmentation; not negative.
    size
        S, the side of the network's input in pixels. Of files only: an array keeps its size.
    device
        Where the network is.
    train, workers, rank, world_size
        As of :func:`data.loader.epoch_loader`; `workers` decode files only.

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
    order: dict[str, Any] = {"train": train, "seed": seed, "rank": rank, "world_size": world_size}
    if isinstance(images, ImageSet):
        arrays = ArrayImages(images, device=device, augment=augment, seed=seed)
        return epoch_loader(arrays, _only_batch, batch_size, **order)
    pin_memory = torch.device(device).type == "cuda"
    files = FileImages(images, size, augment=augment, seed=seed)
    return epoch_loader(files, _collate_files, batch_size, **order, workers=workers, pin_memory=pin_memory)


# ---------------------------------------------------------------- arrays


def draw_crops(seed: int, epoch: int, index: NDArray[np.int64]) -> NDArray[np.int64]:
    """Where the crop of each image begins, and whether it is mirrored: ``(3, n)`` int64.

    The rows are row and column of the padded image, 0 to 8, and 1 for a mirror image. `index` ``(n,)`` are
    the places of the images in their data set.

    Examples
    --------
    >>> one, all = np.array([7]), np.arange(10)
    >>> bool((draw_crops(0, 3, one)[:, 0] == draw_crops(0, 3, all)[:, 7]).all())
    True
    """
    start = seed_sequence(seed, Stream.CROPS_OF_ARRAYS, epoch).generate_state(1, np.uint64)
    with np.errstate(over="ignore"):  # the products wrap around
        z = start + (index.astype(np.uint64) + np.uint64(1)) * np.uint64(GAMMA)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(FIRST_FACTOR)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(SECOND_FACTOR)
        z = (z ^ (z >> np.uint64(31))).view(np.int64)
    mask, places = (1 << OFFSET_BITS) - 1, 2 * PADDING + 1
    row, column = ((bits & mask) * places >> OFFSET_BITS for bits in (z, z >> OFFSET_BITS))
    return np.stack([row, column, z < 0])


def crop_and_flip(
    images: Tensor, row: Tensor, column: Tensor, flip: Tensor, padding: int = PADDING
) -> Tensor:
    """A crop of each image ``(N, C, H, W)`` as large as the image, out of the image with a black border.

    It begins at `row` and `column` ``(N,)`` of the padded image; `flip` ``(N,)`` is 1 for a mirror image.

    Examples
    --------
    >>> image, at = torch.tensor([[[[1, 2], [3, 4]]]]), torch.tensor([1])
    >>> crop_and_flip(image, at, at, torch.tensor([1]), padding=1)
    tensor([[[[2, 1],
              [4, 3]]]])
    >>> crop_and_flip(image, at, at - 1, torch.tensor([0]), padding=1)
    tensor([[[[0, 1],
              [0, 3]]]])
    """
    count, channels, height, width = images.shape
    padded = functional.pad(images, (padding,) * 4)
    across = torch.arange(width, device=images.device)
    rows = row[:, None] + torch.arange(height, device=images.device)  # (N, H)
    columns = column[:, None] + torch.where(flip[:, None] > 0, width - 1 - across, across)  # (N, W)
    place = rows[:, :, None] * padded.shape[3] + columns[:, None, :]  # (N, H, W)
    place = place.view(count, 1, height * width).expand(-1, channels, -1)
    return padded.flatten(2).gather(2, place).view(images.shape)


class ArrayImages(KeyedDataset[ClassificationBatch]):
    """A data set for :func:`data.loader.epoch_loader` that makes a whole batch at once, on the device.

    The images are copied to the device once, as uint8: CIFAR-100's training images take 154 MB there,
    Small-ImageNet's 3.9 GB. On the CPU they are shared.
    """

    def __init__(
        self, images: ImageSet, *, device: torch.device | str = "cpu", augment: bool, seed: int = 0
    ) -> None:
        self.images = torch.from_numpy(images.images).to(device)
        self.labels = torch.tensor(images.labels, device=device)
        self.augment, self.seed = augment, seed

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, key: tuple[int, int]) -> ClassificationBatch:
        """A batch of one image."""
        return self.__getitems__([key])[0]

    def __getitems__(self, keys: Sequence[tuple[int, int]]) -> list[ClassificationBatch]:
        """One item: the batch of the (epoch, index) keys, which are of one epoch."""
        numbers = np.array(keys, dtype=np.int64)[:, 1][None]
        if self.augment:
            numbers = np.concatenate([numbers, draw_crops(self.seed, keys[0][0], numbers[0])])
        # One small copy to the device, asynchronous.
        places, *crop = torch.from_numpy(numbers).to(self.images.device, non_blocking=True)
        images = self.images[places]
        if crop:
            images = crop_and_flip(images, *crop)
        return [{"images": images, "labels": self.labels[places], "index": places}]


def _only_batch(batches: list[ClassificationBatch]) -> ClassificationBatch:
    return batches[0]


# ---------------------------------------------------------------- files


def draw_crop(width: int, height: int, random: Generator) -> Window:
    """Draw the crop of a training image, within it. Always uses up as many draws."""
    draws, flip = random.random((TRIES, 4)), bool(random.random() < FLIP)
    area = width * height * (AREA[0] + (AREA[1] - AREA[0]) * draws[:, 0])
    low, high = math.log(ASPECT[0]), math.log(ASPECT[1])
    aspect = np.exp(low + (high - low) * draws[:, 1])
    widths = np.rint(np.sqrt(area * aspect)).astype(int)
    heights = np.rint(np.sqrt(area / aspect)).astype(int)
    fits = np.flatnonzero((widths > 0) & (widths <= width) & (heights > 0) & (heights <= height))
    if len(fits):
        w, h = int(widths[fits[0]]), int(heights[fits[0]])
        left = int(draws[fits[0], 2] * (width - w + 1))
        top = int(draws[fits[0], 3] * (height - h + 1))
    else:  # the largest part in the middle whose aspect is allowed
        w = min(width, max(1, round(height * ASPECT[1])))
        h = min(height, max(1, round(width / ASPECT[0])))
        left, top = (width - w) // 2, (height - h) // 2
    return Window(left, top, left + w, top + h, flip)


def training_crop(file: Path, size: int, random: Generator) -> NDArray[np.uint8]:
    """A random part of an image, resized to ``(size, size, 3)`` RGB and perhaps mirrored.

    A JPEG is decoded at a half, a quarter or an eighth of its size where the part still has `size` pixels
    then: libjpeg leaves the finest frequencies out, which is several times as fast on large photographs.
    """
    with open_image(file, EXPECTED) as image:
        width, height = image.size
        crop = draw_crop(width, height, random)
        wanted = max(size / side for side in crop.size)
        if wanted <= 1 / 2:
            image.draft(None, (math.ceil(wanted * width), math.ceil(wanted * height)))
        x, y = image.width / width, image.height / height  # 1, where nothing was reduced
        box = (round(crop.left * x), round(crop.top * y), round(crop.right * x), round(crop.bottom * y))
        part = _rgb(image).crop(box).resize((size, size), Image.Resampling.BILINEAR)
    pixels = np.asarray(part)
    return np.ascontiguousarray(pixels[:, ::-1]) if crop.flip else pixels


def centre_crop(file: Path, size: int) -> NDArray[np.uint8]:
    """The centre of an image, ``(size, size, 3)`` RGB, its shorter side resized to 8/7 of `size`."""
    shorter = round(size * RESIZE)
    with open_image(file, EXPECTED) as image:
        width, height = image.size
        if width <= height:
            target = (shorter, int(shorter * height / width))
        else:
            target = (int(shorter * width / height), shorter)
        whole = _rgb(image).resize(target, Image.Resampling.BILINEAR)
    left, top = (round((length - size) / 2) for length in target)
    return np.asarray(whole.crop((left, top, left + size, top + size)))


def _rgb(image: Image.Image) -> Image.Image:
    return image if image.mode == "RGB" else image.convert("RGB")


def check_files(images: ImageFiles, *, decode: bool = False) -> list[InputError]:
    """What is wrong with the headers of image files; with `decode`, with their pixels too."""

    def error_of(index: int) -> InputError | None:
        try:
            with open_image(images.file(index), EXPECTED) as image:
                if decode:
                    image.load()
        except InputError as error:
            return error
        return None

    with ThreadPoolExecutor(os.cpu_count()) as pool:  # Pillow decodes without the interpreter's lock
        return [error for error in pool.map(error_of, range(len(images))) if error]


class FileItem(TypedDict):
    """One image of a data set of files."""

    image: NDArray[np.uint8]
    label: int
    index: int


class FileImages(KeyedDataset[FileItem]):
    """A data set of image files, decoded and cropped to `size` pixels; for worker processes.

    `augment`: random crops and mirror images, a pure function of (seed, epoch, index); otherwise the centre.
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
            random = generator(self.seed, Stream.CROPS_OF_FILES, epoch, index)
            image = training_crop(file, self.size, random)
        else:
            image = centre_crop(file, self.size)
        return {"image": image, "label": int(self.images.labels[index]), "index": index}


def _collate_files(items: list[FileItem]) -> ClassificationBatch:
    images = torch.from_numpy(np.stack([item["image"] for item in items]))
    return {
        "images": images.permute(0, 3, 1, 2),  # a view, in the order of memory that is called channels_last
        "labels": torch.tensor([item["label"] for item in items]),
        "index": torch.tensor([item["index"] for item in items]),
    }
