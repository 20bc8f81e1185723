"""Augmentation: an image of any size in, a square of the network's size out, and the boxes that go with it.

Only this module imports albumentations (2.0.8, no longer maintained), for the colours and the blur. The
geometry is done here, because albumentations computes boxes as float32 fractions of the image, and would
resample it once for each of scale, translation and crop. All of these are one window over the image: a window
of whole pixels is drawn, cut out and resized once, and the boxes follow in float64.

What happens to an image is a pure function of (seed, epoch, index), the same in every process and order.
"""

from __future__ import annotations

import math
import os
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, NamedTuple, TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

from data.boxes import area, clip
from data.records import InputError
from data.streams import Stream, check_seed, generator

__all__ = ["Augmentation", "Key", "Transform", "eval_transform", "train_transform"]

Pixels: TypeAlias = NDArray[np.uint8]
Boxes: TypeAlias = NDArray[np.float64]
Transformed: TypeAlias = tuple[Pixels, Boxes, NDArray[np.int64]]

Key: TypeAlias = "int | tuple[int, int]"
"""(epoch, index) of an image; an index alone is one of epoch 0."""

Transform: TypeAlias = Callable[[Pixels, Boxes, Key], Transformed]
"""(image (H, W, 3) RGB, boxes (n, 4) xyxy in its pixels, key) -> (image (S, S, 3), boxes (m, 4) in its
pixels, (m,) which of the n boxes those are, ascending)."""

Recolor: TypeAlias = Callable[[Pixels, np.random.Generator], Pixels]

SHARES = ("translate", "brightness", "contrast", "saturation", "hue", "blur")
"""The strengths that are 0 where nothing changes."""
LIMITS = {"hue": 0.5}
"""The largest strengths that are not 1."""
FILL = (124, 116, 104)
"""RGB of what lies beyond the image: the mean colour of ImageNet, which is about 0 after normalisation."""


@dataclass(frozen=True)
class Augmentation:
    """How strongly training images are changed. Defaults near YOLO v1's: scale and shift by 20 %.

    Parameters
    ----------
    crop
        Smallest share of the image's width, and of its height, that a random crop keeps. 1: no crop.
    scale
        Smallest and largest factor by which the crop is enlarged about its centre (log-uniform). Below 1 the
        surroundings come into view, beyond the edge of the image a plain grey.
    translate
        Largest shift, as a share of the image's width and height.
    flip
        Probability of a mirror image.
    brightness, contrast, saturation
        Largest relative change, 0 to 1: 0.3 is a factor between 0.7 and 1.3.
    hue
        Largest turn of the colour circle, 0 to 0.5 (half of it).
    blur
        Probability of a Gaussian blur.
    blur_sigma
        Smallest and largest standard deviation of the blur, in pixels of the network's input.
    min_visibility
        A box goes when less than this fraction of its area stays in view; the others are clipped.

    Raises
    ------
    InputError
        A strength out of its range; the message names it.

    Examples
    --------
    >>> Augmentation(scale=(0.5, 2)).scale
    (0.5, 2)
    >>> Augmentation(flip=50)
    Traceback (most recent call last):
    ...
    data.records.InputError: augmentation.flip: found 50; expected a number from 0 to 1
    """

    crop: float = 0.8
    scale: tuple[float, float] = (0.8, 1.25)
    translate: float = 0.2
    flip: float = 0.5
    brightness: float = 0.3
    contrast: float = 0.3
    saturation: float = 0.4
    hue: float = 0.03
    blur: float = 0.1
    blur_sigma: tuple[float, float] = (0.3, 1.5)
    min_visibility: float = 0.3

    def scaled(self, factor: float) -> Augmentation:
        """The same with all changes but the mirror image stronger by a factor from 0 (none) to 2.

        Examples
        --------
        >>> Augmentation(crop=0.75).scaled(2).crop, Augmentation(hue=0.5).scaled(2).hue
        (0.5, 0.5)
        """
        if factor == 1:
            return self
        shares = {name: min(factor * getattr(self, name), LIMITS.get(name, 1.0)) for name in SHARES}
        low, high = self.scale
        crop = max(1 - factor * (1 - self.crop), 0.05)
        return replace(self, crop=crop, scale=(low**factor, high**factor), **shares)

    def __post_init__(self) -> None:
        for name in (*SHARES, "flip", "min_visibility"):
            value, high = getattr(self, name), LIMITS.get(name, 1.0)
            if not 0 <= value <= high:
                raise InputError(f"augmentation.{name}", str(value), f"a number from 0 to {high:g}")
        if not 0 < self.crop <= 1:
            raise InputError("augmentation.crop", str(self.crop), "a number above 0, at most 1")
        for name in ("scale", "blur_sigma"):
            low, high = getattr(self, name)
            if not 0 < low <= high < math.inf:
                expected = "two positive numbers, the smaller one first"
                raise InputError(f"augmentation.{name}", f"{low}, {high}", expected)


class Window(NamedTuple):
    """A rectangle over an image, in whole pixels; it may reach beyond the image. `flip`: seen in a mirror."""

    left: int
    top: int
    right: int
    bottom: int
    flip: bool = False

    @property
    def size(self) -> tuple[int, int]:
        """Width and height."""
        return self.right - self.left, self.bottom - self.top


def draw_window(
    width: int, height: int, strength: Augmentation, random_numbers: np.random.Generator
) -> Window:
    """Crop, then scale about the crop's centre, then shift: one window. Always uses up eight draws."""
    draws = random_numbers.random(8)
    size = np.array([width, height], dtype=np.float64)
    kept = 1 - (1 - strength.crop) * draws[0:2]  # (2,) share of width and height
    centre = (1 - kept) * draws[2:4] + kept / 2 + strength.translate * (2 * draws[4:6] - 1)
    low, high = np.log(strength.scale)
    extent = np.maximum(kept * size / np.exp(low + (high - low) * draws[6]), 1)
    corner = np.rint(centre * size - extent / 2).astype(int)
    (left, top), (right, bottom) = corner.tolist(), (corner + np.rint(extent).astype(int)).tolist()
    return Window(left, top, right, bottom, flip=bool(draws[7] < strength.flip))


def move_boxes(boxes: Boxes, window: Window, size: int) -> Boxes:
    """Boxes as seen in a window that is resized to size×size. They may reach beyond it.

    Examples
    --------
    >>> move_boxes(np.array([[10.0, 10, 30, 20]]), Window(10, 0, 60, 50), 100)
    array([[ 0., 20., 40., 40.]])
    """
    origin, extent = np.array([window.left, window.top] * 2), np.array(window.size * 2)
    moved: Boxes = (boxes - origin) * size / extent  # in this order the far edge gives `size` exactly
    if window.flip:
        moved[:, [0, 2]] = size - moved[:, [2, 0]]
    return moved


def cut(image: Pixels, window: Window, size: int) -> Pixels:
    """The pixels in a window, resized to size×size with one resampling."""
    height, width = image.shape[:2]
    left, right = (min(max(edge, 0), width) for edge in (window.left, window.right))
    top, bottom = (min(max(edge, 0), height) for edge in (window.top, window.bottom))
    view = image[top:bottom, left:right]
    if not view.size:
        view = np.full((*window.size[::-1], 3), FILL, np.uint8)
    elif (left, top, right, bottom) != window[:4]:
        margins = (top - window.top, window.bottom - bottom, left - window.left, window.right - right)
        view = np.asarray(cv2.copyMakeBorder(view, *margins, cv2.BORDER_CONSTANT, value=FILL), np.uint8)
    # Averaging over areas keeps fine texture from turning into noise; it is made for shrinking only.
    interpolation = cv2.INTER_AREA if min(view.shape[:2]) >= size else cv2.INTER_LINEAR
    resized = cv2.resize(view, (size, size), interpolation=interpolation)
    return np.asarray(cv2.flip(resized, 1) if window.flip else resized, dtype=np.uint8)


def _evaluation(image: Pixels, boxes: Boxes, key: Key, *, size: int) -> Transformed:
    whole = Window(0, 0, image.shape[1], image.shape[0])
    return cut(image, whole, size), move_boxes(boxes, whole, size), np.arange(len(boxes))


def _training(
    image: Pixels, boxes: Boxes, key: Key, *, size: int, strength: Augmentation, seed: int, recolor: Recolor
) -> Transformed:
    epoch, index = key if isinstance(key, tuple) else (0, key)
    random_numbers = generator(seed, Stream.AUGMENTATION, epoch, index)
    window = draw_window(image.shape[1], image.shape[0], strength, random_numbers)
    moved = move_boxes(boxes, window, size)
    clipped = clip(moved, (size, size))
    visible = area(clipped)
    kept = np.flatnonzero((visible > 0) & (visible >= strength.min_visibility * area(moved)))
    return recolor(cut(image, window, size), random_numbers), clipped[kept], kept


LUMA = np.array([0.299, 0.587, 0.114])
"""Weights of red, green and blue in the grey of a pixel (ITU-R BT.601)."""
GREY_AXIS = np.array([[0, -1, 1], [1, 0, -1], [-1, 1, 0]]) / math.sqrt(3)
"""The cross product with the unit vector along grey: what turns the colour circle."""


def color_matrix(mean: Boxes, factors: Sequence[float], turn: float, order: Sequence[int]) -> Boxes:
    """Changes of brightness, contrast, saturation and hue in an order: a matrix ``(3, 4)`` on (r, g, b, 1).

    Parameters
    ----------
    mean
        ``(3,)`` of the image's channels: contrast is about its mean grey.
    factors
        Of brightness, contrast and saturation.
    turn
        Of the colour circle, as a share of the whole.
    order
        Of 0 to 3: brightness, contrast, saturation, hue.

    Examples
    --------
    >>> color_matrix(np.full(3, 100.0), (1, 0.5, 1), 0, (0, 1, 2, 3)).round(1)
    array([[ 0.5,  0. ,  0. , 50. ],
           [ 0. ,  0.5,  0. , 50. ],
           [ 0. ,  0. ,  0.5, 50. ]])
    """
    brightness, contrast, saturation = factors
    angle = 2 * math.pi * turn
    linear = (
        brightness * np.eye(3),
        contrast * np.eye(3),
        saturation * np.eye(3) + (1 - saturation) * np.outer(np.ones(3), LUMA),
        # Rodrigues' formula for a turn about the grey axis.
        np.eye(3) + math.sin(angle) * GREY_AXIS + (1 - math.cos(angle)) * GREY_AXIS @ GREY_AXIS,
    )
    matrix, offset = np.eye(3), np.zeros(3)
    for change in order:
        grey = LUMA @ (matrix @ mean + offset)
        matrix, offset = linear[change] @ matrix, linear[change] @ offset
        offset = offset + (1 - contrast) * grey * (change == 1)
    return np.column_stack([matrix, offset])


def _by_matrix(image: Pixels, random_numbers: np.random.Generator, *, strength: Augmentation) -> Pixels:
    draws, order = random_numbers.random(6), random_numbers.permutation(4)
    widths = np.array([strength.brightness, strength.contrast, strength.saturation, strength.hue])
    *factors, turn = 1 + widths * (2 * draws[:4] - 1)
    mean = np.array(cv2.mean(image)[:3])
    matrix = color_matrix(mean, factors, turn - 1, order.tolist())
    image = np.asarray(cv2.transform(image, matrix), dtype=np.uint8)  # rounds and clips
    if draws[4] < strength.blur:
        low, high = strength.blur_sigma
        sigma = low + (high - low) * draws[5]
        side = 2 * int(3.5 * sigma) + 1  # as albumentations has it
        image = np.asarray(cv2.GaussianBlur(image, (side, side), sigma), dtype=np.uint8)
    return image


def _by_albumentations(image: Pixels, random_numbers: np.random.Generator, *, changes: Any) -> Pixels:
    # One state for all: set_random_seed would give every transform the same numbers, so that a strong change
    # of colour always came with a blur.
    changes.set_random_state(random_numbers, random.Random(int(random_numbers.integers(2**63))))
    changed: Pixels = changes(image=image)["image"]
    return changed


def _albumentations(strength: Augmentation) -> Any:
    os.environ["NO_ALBUMENTATIONS_UPDATE"] = "1"  # importing it must not call out
    import albumentations  # takes seconds: only who trains pays for it

    names = ("brightness", "contrast", "saturation")
    factors = {name: (1 - getattr(strength, name), 1 + getattr(strength, name)) for name in names}
    return albumentations.Compose(
        [
            albumentations.ColorJitter(**factors, hue=(-strength.hue, strength.hue), p=1.0),
            albumentations.GaussianBlur(blur_limit=0, sigma_limit=strength.blur_sigma, p=strength.blur),
        ]
    )


def _check_size(size: int) -> None:
    if size < 1:
        raise InputError("input size", str(size), "a positive number of pixels")


def train_transform(
    size: int, augmentation: Augmentation | None = None, seed: int = 0, *, fast: bool = False
) -> Transform:
    """The changes of training: crop, scale, shift, mirror, colour, blur.

    Parameters
    ----------
    size
        S: the result is S×S pixels. The aspect ratio is not kept, as in YOLO.
    augmentation
        The strengths. Default: those of :class:`Augmentation`.
    seed
        Not negative. Together with the key (epoch, index) it determines everything.
    fast
        False: albumentations changes the colours, one change after the other. True: one matrix does, which is
        ten times as fast and the same in distribution; the geometry is equal.

    Returns
    -------
    callable
        A :data:`Transform`. It can be pickled, and leaves its arguments alone.

    Raises
    ------
    InputError
        A size that is not positive, a negative seed.
    """
    _check_size(size)
    check_seed(seed)
    strength = augmentation or Augmentation()
    recolor: Recolor = (
        partial(_by_matrix, strength=strength)
        if fast
        else partial(_by_albumentations, changes=_albumentations(strength))
    )
    return partial(_training, size=size, strength=strength, seed=seed, recolor=recolor)


def eval_transform(size: int) -> Transform:
    """The change of evaluation: a resize to S×S, nothing else. Every box stays.

    Parameters and result as of :func:`train_transform`; the key is ignored, albumentations not needed.

    Examples
    --------
    >>> box = np.array([[0.0, 5, 200, 50]])
    >>> image, boxes, kept = eval_transform(100)(np.zeros((50, 200, 3), np.uint8), box, 0)
    >>> image.shape, boxes, kept
    ((100, 100, 3), array([[  0.,  10., 100., 100.]]), array([0]))
    """
    _check_size(size)
    return partial(_evaluation, size=size)
