"""Scenes of textured objects on cluttered backgrounds, or of one object, each a pure function of its key.

An object's class is its outline. Its colour leans towards the class, as it does in nature: similar classes
have neighbouring hues that run into each other, so that colour tells a group and the outline the class.
Texture, size and place are drawn alike for all classes.
"""

from __future__ import annotations

import zlib
from typing import NamedTuple

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from data.formats.voc import AnnotatedObject
from data.image_set import ImageSet
from data.records import InputError
from data.shapes.outlines import OUTLINES, Box, Outline, turned
from data.shapes.painting import background, finish, paint, windows
from data.streams import Stream, generator

__all__ = ["LABELS", "LARGE", "VARIED", "Scene", "SceneStyle", "draw_scene", "draw_shape", "draw_shapes"]

LABELS = tuple(OUTLINES)

HUES = {
    "ring": 0, "disc": 35, "hexagon": 70, "square": 105,
    "triangle": 145, "cross": 205, "star": 243, "arrow": 300,
}  # fmt: skip
"""Degrees on the colour circle."""


class SceneStyle(NamedTuple):
    """How many objects a scene has, and how large they are."""

    objects: tuple[float, ...]
    """How often an image has 1, 2, … objects."""
    largest: tuple[float, ...]
    """Longer side of an object over the image's shorter one, at most, by the number of objects."""
    smallest: float
    """The same, at least."""


VARIED = SceneStyle((0.5, 0.27, 0.14, 0.06, 0.03), (0.62, 0.54, 0.48, 0.44, 0.4), 0.3)
"""One to five objects; as in VOC, most images have one or two."""
LARGE = SceneStyle((0.7, 0.3), (0.62, 0.5), 0.35)
"""One or two large objects."""

TINY = (0.07, 0.11)
# How often an object is so. Truncated and hidden ones come out a little more frequent, by chance.
TRUNCATED, OCCLUDING, FAINT_OR_TINY = 0.1, 0.2, 0.07
ATTEMPTS = 20  # to place an object before it is left out

COMMON = 0.05  # of the smaller of two boxes: this much overlap happens without intent
APART = 1 / 8  # of the image's side, between centres: so two objects seldom share a cell of a coarse grid
HIDDEN_MOST = 0.75  # share of an object that may be hidden by others and the border
HIDDEN_DIFFICULT = 0.55  # from here on it is difficult
HIDDEN_NOTED = 0.03  # from here on it is truncated, or occluded
VISIBLE_LEAST = 12  # pixels

# Of images of one object.
SMALLEST_SIDE = 16  # pixels: below, a hexagon and a disc are the same
EXTENT = (0.5, 0.85)  # longer side of the object over that of the image
FAINT = 0.05  # how often an object hardly differs from what is behind it


class Scene(NamedTuple):
    """An image (H, W, 3), 8 bit RGB, and what it shows."""

    image: NDArray[np.uint8]
    objects: list[AnnotatedObject]


class _Placed(NamedTuple):
    label: str
    pose: str
    outline: Outline
    difficult: bool


def draw_scene(seed: int, split: str, index: int, size: tuple[int, int], style: SceneStyle = VARIED) -> Scene:
    """Draw one scene.

    Parameters
    ----------
    seed, split, index
        The key: the same key gives the same scene, whatever else is drawn.
    size
        Width and height of the image in pixels.
    style
        Number and size of the objects.

    Examples
    --------
    >>> scene = draw_scene(0, "train", 3, (96, 64))
    >>> scene.image.shape, scene.image.dtype
    ((64, 96, 3), dtype('uint8'))
    """
    random = generator(seed, Stream.SCENES, zlib.crc32(split.encode()), index)
    side = min(size)
    canvas = background(random, size)
    owner = np.full((size[1], size[0]), -1, dtype=np.int8)  # the object on top, at each pixel
    placed: list[_Placed] = []
    count = 1 + int(random.choice(len(style.objects), p=style.objects))
    for _ in range(count):
        label = LABELS[random.integers(len(LABELS))]
        # The first one is plain to see, so that every image has something to find.
        difficult = bool(placed) and random.random() < FAINT_OR_TINY
        tiny = difficult and random.random() < 0.5
        extent = side * (
            random.uniform(*TINY) if tiny else random.uniform(style.smallest, style.largest[count - 1])
        )
        outline, pose = turned(random, label)
        truncated, occluding = random.random(2) < (TRUNCATED, OCCLUDING)
        for _ in range(ATTEMPTS):
            boxes = [thing.outline.box for thing in placed]
            centre = _centre(random, extent, size, boxes, truncated, occluding)
            fitted = outline.fitted(extent, centre)
            if not _free(fitted.box, boxes, side, occluding):
                continue
            changed = owner.copy()
            there, here = windows(fitted.box, *owner.shape)
            changed[there][fitted.cover[here] > 0.5] = len(placed)
            if _visible(changed, [*(thing.outline.area for thing in placed), fitted.area]):
                owner = changed
                placed.append(_Placed(label, pose, fitted, difficult))
                paint(random, canvas, fitted, HUES[label], faint=difficult and not tiny)
                break
    return Scene(finish(random, canvas), _annotate(owner, placed))


def _centre(
    random: Generator,
    extent: float,
    size: tuple[int, int],
    boxes: list[Box],
    truncated: bool,
    occluding: bool,
) -> NDArray[np.float64]:
    """Where an object's centre (x, y) goes: on another's side, across the border, or anywhere inside."""
    half = extent / 2
    centre = random.uniform(half, np.array(size) - half)
    if occluding and boxes:
        left, top, right, bottom = boxes[random.integers(len(boxes))]
        angle = random.uniform(0, 2 * np.pi)
        reach = random.uniform(0.5, 0.85) * (max(right - left, bottom - top) / 2 + half)
        middle = np.array([left + right, top + bottom]) / 2
        centre = middle + reach * np.array([np.cos(angle), np.sin(angle)])
    elif truncated:
        axis = random.integers(2)
        inside = random.uniform(-0.3, 0.7) * half  # of the centre, from the border
        centre[axis] = inside if random.random() < 0.5 else size[axis] - inside
    return centre


def _free(box: Box, boxes: list[Box], side: int, occluding: bool) -> bool:
    """Whether an object may lie at `box`: off the others, unless it is to hide one, and off their centres."""
    left, top, right, bottom = box
    area = (right - left) * (bottom - top)
    for x1, y1, x2, y2 in boxes:
        common = max(0, min(right, x2) - max(left, x1)) * max(0, min(bottom, y2) - max(top, y1))
        if not occluding and common > COMMON * min(area, (x2 - x1) * (y2 - y1)):
            return False
        if max(abs(left + right - x1 - x2), abs(top + bottom - y1 - y2)) / 2 < APART * side:
            return False
    return True


def _visible(owner: NDArray[np.int8], areas: list[int]) -> bool:
    """Whether enough is seen of each object; `areas` are those of the whole objects."""
    seen = np.bincount(owner.ravel() + 1, minlength=len(areas) + 1)[1:]
    return bool((seen >= np.maximum(VISIBLE_LEAST, (1 - HIDDEN_MOST) * np.array(areas))).all())


def _annotate(owner: NDArray[np.int8], things: list[_Placed]) -> list[AnnotatedObject]:
    """The visible extent of each object, which is what VOC's annotators draw, and its flags."""
    objects = []
    for number, thing in enumerate(things):
        seen = owner == number
        columns, rows = np.flatnonzero(seen.any(axis=0)), np.flatnonzero(seen.any(axis=1))
        box = (float(columns[0]), float(rows[0]), float(columns[-1] + 1), float(rows[-1] + 1))
        _, here = windows(thing.outline.box, *owner.shape)
        area, shown = thing.outline.area, int(seen.sum())
        within = int((thing.outline.cover[here] > 0.5).sum())
        objects.append(
            AnnotatedObject(
                thing.label,
                box,
                difficult=thing.difficult or shown < (1 - HIDDEN_DIFFICULT) * area,
                truncated=int(area - within > HIDDEN_NOTED * area),
                occluded=int(within - shown > HIDDEN_NOTED * area),
                pose=thing.pose,
            )
        )
    return objects


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
