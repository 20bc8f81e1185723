"""From a photograph of any size to the square that a network takes: the crops of ImageNet training. No torch.

Training: a random part of the image, resized, perhaps mirrored (Szegedy et al., arXiv:1409.4842; the defaults
are torchvision's). Evaluation: the shorter side to 8/7 of the network's input, then the centre (256 and 224).
Without a reduced JPEG the pixels are those of torchvision's transforms on Pillow images.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from PIL import Image

from data.formats.files import open_image

__all__ = ["Crop", "centre_crop", "draw_crop", "training_crop"]

AREA = (0.08, 1.0)  # share of the image
ASPECT = (3 / 4, 4 / 3)  # width over height; log-uniform
TRIES = 10  # to draw a crop that fits, before the centre is taken
FLIP = 0.5
RESIZE = 8 / 7  # shorter side over the network's input, in evaluation: 256 for 224

EXPECTED = "an image of the data set"


class Crop(NamedTuple):
    """A rectangle of whole pixels within an image. `flip`: seen in a mirror."""

    left: int
    top: int
    right: int
    bottom: int
    flip: bool = False


def draw_crop(width: int, height: int, random: Generator) -> Crop:
    """Draw the crop of a training image. Always uses up as many draws.

    Examples
    --------
    >>> draw_crop(100, 50, np.random.default_rng(0)) == draw_crop(100, 50, np.random.default_rng(0))
    True
    """
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
        return Crop(left, top, left + w, top + h, flip)
    # The largest part in the middle whose aspect is allowed.
    w = min(width, max(1, round(height * ASPECT[1])))
    h = min(height, max(1, round(width / ASPECT[0])))
    left, top = (width - w) // 2, (height - h) // 2
    return Crop(left, top, left + w, top + h, flip)


def training_crop(file: Path, size: int, random: Generator) -> NDArray[np.uint8]:
    """A random part of an image, resized to ``(size, size, 3)`` RGB and perhaps mirrored.

    A JPEG is decoded at a half, a quarter or an eighth of its size where the part still has `size` pixels
    then: libjpeg leaves the finest frequencies out, which is several times as fast on large photographs.

    Raises
    ------
    InputError
        See :func:`data.formats.files.open_image`.
    """
    with open_image(file, EXPECTED) as image:
        width, height = image.size
        crop = draw_crop(width, height, random)
        wanted = max(size / (crop.right - crop.left), size / (crop.bottom - crop.top))
        if wanted <= 1 / 2:
            image.draft(None, (math.ceil(wanted * width), math.ceil(wanted * height)))
        x, y = image.width / width, image.height / height  # 1, where nothing was reduced
        box = (round(crop.left * x), round(crop.top * y), round(crop.right * x), round(crop.bottom * y))
        part = _rgb(image).crop(box).resize((size, size), Image.Resampling.BILINEAR)
    pixels = np.asarray(part)
    return np.ascontiguousarray(pixels[:, ::-1]) if crop.flip else pixels


def centre_crop(file: Path, size: int) -> NDArray[np.uint8]:
    """The centre of an image, ``(size, size, 3)`` RGB, its shorter side resized to 8/7 of `size`.

    Raises
    ------
    InputError
        See :func:`data.formats.files.open_image`.
    """
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
