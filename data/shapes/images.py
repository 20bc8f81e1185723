"""The embedded shapes as a classification data set: one object an image, drawn in memory in seconds.

The same eight outlines, colours and clutter as in the scenes. NumPy and Pillow only.
"""

from __future__ import annotations

import zlib

import numpy as np
from numpy.typing import NDArray

from data.image_set import ImageSet
from data.records import InputError
from data.shapes.outlines import turned
from data.shapes.painting import background, finish, paint
from data.shapes.scenes import HUES, LABELS
from data.streams import Stream, generator

__all__ = ["draw_shape", "draw_shapes"]

SMALLEST_SIDE = 16  # pixels: below, a hexagon and a disc are the same
EXTENT = (0.5, 0.85)  # longer side of the object over that of the image
FAINT = 0.05  # how often an object hardly differs from what is behind it


def draw_shape(seed: int, split: str, index: int, side: int = 32) -> NDArray[np.uint8]:
    """Draw one image ``(3, side, side)`` uint8, RGB; its class is ``index % 8``.

    The same key (seed, split, index) gives the same image, whatever else is drawn.

    Examples
    --------
    >>> draw_shape(0, "train", 5).shape
    (3, 32, 32)
    """
    random = generator(seed, Stream.SHAPE_IMAGES, zlib.crc32(split.encode()), index)
    label = LABELS[index % len(LABELS)]
    canvas = background(random, (side, side))
    extent = side * random.uniform(*EXTENT)
    centre = random.uniform(extent / 2, side - extent / 2, 2)
    outline = turned(random, label)[0].fitted(extent, centre)
    paint(random, canvas, outline, HUES[label], faint=bool(random.random() < FAINT))
    return np.ascontiguousarray(finish(random, canvas).transpose(2, 0, 1))


def draw_shapes(split: str, count: int, seed: int = 0, side: int = 32) -> ImageSet:
    """Draw a data set: the classes in turn, so that each has as many images, or one more.

    Another `split` or `seed`, other images; more of them do not change the first.

    Raises
    ------
    InputError
        A negative count or seed, images too small to show anything.

    Examples
    --------
    >>> shapes = draw_shapes("train", 9)
    >>> shapes.images.shape, shapes.classes[shapes.labels[8]]
    ((9, 3, 32, 32), 'arrow')
    """
    for name, number, least in (("count", count, 0), ("seed", seed, 0), ("side", side, SMALLEST_SIDE)):
        if number < least:
            raise InputError(name, str(number), f"a number of at least {least}")
    images = np.empty((count, 3, side, side), dtype=np.uint8)
    for index in range(count):
        images[index] = draw_shape(seed, split, index, side)
    return ImageSet(images, np.arange(count, dtype=np.int64) % len(LABELS), LABELS)
