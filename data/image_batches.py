"""A small data set whole on the device, cut into augmented batches there: no worker, no file, no waiting.

The augmentation is the paper's for 32×32 images: a random crop of the image with 4 black pixels of padding
around it, and a mirror image half of the time (section 3.2, after He et al., arXiv:1512.03385). What happens
to an image is a pure function of (seed, epoch, index), so it does not depend on the batch it is in, on the
number of processes, or on the device: batches on a CPU and on a GPU are equal, bit for bit.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypedDict

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from data.image_set import ImageSet, Statistics

__all__ = ["ArrayImages", "ClassificationBatch", "Normalization", "crop_and_flip", "draw_crops"]

PADDING = 4  # pixels on each side

_STREAM = 2  # keeps these draws apart from others of the same seed
_BITS = 20  # of randomness for an offset
# The constants of splitmix64 (Steele et al., 2014, "Fast splittable pseudorandom number generators").
_GAMMA, _FIRST, _SECOND = 0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB


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
    is two operations, each rounded as IEEE 754 says, so that every device gets the same numbers.

    Parameters
    ----------
    statistics
        Of the training images, for values of 0 to 255.

    Examples
    --------
    >>> Normalization(Statistics((100.0,), (50.0,)))(torch.full((1, 1, 1, 2), 150, dtype=torch.uint8))
    tensor([[[[1., 1.]]]])
    """

    mean: Tensor
    scale: Tensor

    def __init__(self, statistics: Statistics) -> None:
        super().__init__()
        mean = torch.tensor(statistics.mean, dtype=torch.float64).view(-1, 1, 1)
        deviation = torch.tensor(statistics.std, dtype=torch.float64).view(-1, 1, 1)
        self.register_buffer("mean", mean.float(), persistent=False)
        self.register_buffer("scale", (1 / deviation).float(), persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        """``(N, C, H, W)`` uint8 to float32. What is floating point is taken to be normalised already."""
        if images.is_floating_point():
            return images
        return images.float().sub_(self.mean).mul_(self.scale)


def draw_crops(seed: int, epoch: int, index: NDArray[np.int64], padding: int = PADDING) -> NDArray[np.int64]:
    """Where the crop of each image begins, and whether it is mirrored.

    Parameters
    ----------
    seed
        Not negative.
    epoch
        From 0.
    index
        ``(n,)``, places of the images in their data set.
    padding
        Pixels on each side.

    Returns
    -------
    ndarray
        ``(3, n)`` int64: row and column of the padded image, 0 to ``2 * padding``; 1 for a mirror image.

    Examples
    --------
    >>> one, all = np.array([7]), np.arange(10)
    >>> (draw_crops(0, 3, one)[:, 0] == draw_crops(0, 3, all)[:, 7]).all()
    np.True_
    """
    start = np.random.SeedSequence([_STREAM, seed, epoch]).generate_state(1, np.uint64)
    with np.errstate(over="ignore"):  # the products wrap around
        z = start + (index.astype(np.uint64) + np.uint64(1)) * np.uint64(_GAMMA)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(_FIRST)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(_SECOND)
        z = (z ^ (z >> np.uint64(31))).view(np.int64)
    mask, places = (1 << _BITS) - 1, 2 * padding + 1
    row, column = (z & mask) * places >> _BITS, ((z >> _BITS) & mask) * places >> _BITS
    return np.stack([row, column, z < 0])


def crop_and_flip(
    images: Tensor, row: Tensor, column: Tensor, flip: Tensor, padding: int = PADDING
) -> Tensor:
    """A crop of each image as large as the image, out of the image with a black border around it.

    Parameters
    ----------
    images
        ``(N, C, H, W)``.
    row, column
        ``(N,)`` int64, first row and column of the crop in the padded image, 0 to ``2 * padding``.
    flip
        ``(N,)``, 1 where the crop is mirrored.
    padding
        Pixels on each side.

    Returns
    -------
    Tensor
        ``(N, C, H, W)``.

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


class ArrayImages:
    """A data set for :func:`data.loader.epoch_loader` that makes a whole batch at once, on the device.

    Parameters
    ----------
    images
        Copied to the device once, as uint8: CIFAR-100's training images take 154 MB there, Small-ImageNet's
        3.9 GB. On the CPU they are shared.
    device
        Where the batches are made.
    augment
        Crop and flip.
    seed
        Of the augmentation; not negative.
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
        epoch, index = keys[0][0], np.array(keys, dtype=np.int64)[:, 1]
        if not self.augment:
            places = torch.from_numpy(index).to(self.images.device, non_blocking=True)
            return [{"images": self.images[places], "labels": self.labels[places], "index": places}]
        # One small copy to the device, which nothing waits for.
        numbers = np.concatenate([index[None], draw_crops(self.seed, epoch, index)])
        places, row, column, flip = torch.from_numpy(numbers).to(self.images.device, non_blocking=True)
        images = crop_and_flip(self.images[places], row, column, flip)
        return [{"images": images, "labels": self.labels[places], "index": places}]
