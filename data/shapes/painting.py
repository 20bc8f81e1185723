"""Colours and textures of the embedded data set. Nothing here knows what class it paints."""

from __future__ import annotations

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from data.shapes.outlines import Box, Floats, Outline

__all__ = ["background", "finish", "paint"]

Window = tuple[slice, slice]
Reals = NDArray[np.float64]

# Distances of colours in RGB of 0 to 255: an object from what is behind it, and the two colours of
# its texture from one another.
APART, TEXTURE_APART = 110, 70
HUE_SPREAD = 14  # standard deviation, in degrees
FAINT = (14, 22)  # of a faint object, in each channel


def windows(box: Box, height: int, width: int) -> tuple[Window, Window]:
    """Where `box` and an image meet: the rows and columns of the image, and those of the box."""
    left, top, right, bottom = box
    x1, x2 = (min(max(x, 0), width) for x in (left, right))
    y1, y2 = (min(max(y, 0), height) for y in (top, bottom))
    return (slice(y1, y2), slice(x1, x2)), (slice(y1 - top, y2 - top), slice(x1 - left, x2 - left))


def background(random: Generator, size: tuple[int, int]) -> Floats:
    """A canvas (H, W, 3) of clutter that is no object: noise at several scales, lines, specks and blobs."""
    side = min(size)
    low, high = _muted(random), _muted(random)
    grains = low + (high - low) * _grains(random, size, side / random.uniform(1.5, 4), channels=3)
    # Pillow's lines have hard edges: draw at twice the size and average.
    image = _enlarged(grains, (size[0] * 2, size[1] * 2))
    draw = ImageDraw.Draw(image)
    for _ in range(random.integers(3, 10)):
        kind = (_line, _blob, _specks)[random.integers(3)]
        middle = random.uniform(0, image.size)
        kind(random, draw, middle, side, tuple(_colour(random).astype(int).tolist()))
    canvas = np.array(image.reduce(2), dtype=np.float32)
    for cell, channels in ((random.uniform(10, 24), 3), (random.uniform(2, 5), 1)):
        strength = random.uniform(0, 60)
        noise = _enlarged(strength * _grains(random, size, cell, channels), size)
        canvas += np.asarray(noise).reshape(size[1], size[0], channels) - np.float32(strength / 2)
    return canvas


def paint(random: Generator, canvas: Floats, outline: Outline, hue: float, faint: bool) -> None:
    """Paint an object in colours around `hue`, in degrees; a faint one hardly differs from its background."""
    there, here = windows(outline.box, *canvas.shape[:2])
    cover = outline.cover
    alpha = cover[here][..., None]
    mean: Floats = (canvas[there] * alpha).sum(axis=(0, 1)) / np.maximum(alpha.sum(), np.float32(1))
    if faint:
        first = mean + random.choice([-1, 1], 3).astype(np.float32) * np.float32(random.uniform(*FAINT))
        second = first + random.uniform(-12, 12, 3).astype(np.float32)
    else:
        first = _colour_apart(random, hue, [mean], APART)
        second = _colour_apart(random, hue, [mean, first], TEXTURE_APART)
    pattern = _texture(random, *cover.shape)[here]
    colours = first + (second - first) * pattern[..., None]
    outlined, shadowed = random.random(2) < (0.5, 0.4)
    if outlined and not faint:  # a darker or lighter line
        rim = outline.rim(0.018 * max(cover.shape))[here]
        colours = colours + rim[..., None] * np.float32(random.choice([-70, 60]))
    if shadowed and not faint:
        dx, dy = max(cover.shape) // 14 * random.choice([-1, 1], 2)
        left, top, right, bottom = outline.box
        fallen, of_cover = windows((left + dx, top + dy, right + dx, bottom + dy), *canvas.shape[:2])
        canvas[fallen] *= 1 - np.float32(0.45) * cover[of_cover][..., None]
    canvas[there] += alpha * (colours - canvas[there])


def finish(random: Generator, canvas: Floats) -> NDArray[np.uint8]:
    """Uneven light and the grain of a sensor, in 8 bits. The canvas is used up."""
    height, width = canvas.shape[:2]
    tilt_x, tilt_y = random.uniform(-0.2, 0.2, 2)
    light = 1 + tilt_x * np.linspace(-1, 1, width) + tilt_y * np.linspace(-1, 1, height)[:, None]
    grain = random.standard_normal((height, width), dtype=np.float32) * np.float32(random.uniform(1, 6))
    canvas *= light.astype(np.float32)[..., None]
    canvas += grain[..., None]
    return np.clip(canvas, 0, 255, out=canvas).astype(np.uint8)


def _colour(random: Generator) -> Floats:
    return random.uniform(10, 245, 3).astype(np.float32)


def _muted(random: Generator) -> Floats:
    """A colour of backgrounds: most of what is behind things is not bright."""
    colour = _colour(random)
    return np.asarray(0.6 * colour + 0.4 * colour.mean(), dtype=np.float32)


def _colour_apart(random: Generator, hue: float, others: list[Floats], distance: float) -> Floats:
    """A colour near `hue` that differs from all `others` by `distance`, or the best of many tries."""
    tries = _rgb(
        random.normal(hue, HUE_SPREAD, 24) % 360, random.uniform(0.55, 1, 24), random.uniform(90, 255, 24)
    )
    apart = np.min([np.linalg.norm(tries - other, axis=1) for other in others], axis=0)
    enough = np.flatnonzero(apart >= distance)
    return np.asarray(tries[enough[0] if len(enough) else apart.argmax()])


def _rgb(hue: Reals, saturation: Reals, value: Reals) -> Floats:
    """RGB (n, 3) from hue in degrees, saturation of 0 to 1, and value: the largest channel, of 0 to 255."""
    # Foley et al.'s hexcone: each channel is a trapezium over the hue, moved by a third of the circle.
    sector = (np.array([5, 3, 1]) + hue[:, None] / 60) % 6
    share = np.clip(np.minimum(sector, 4 - sector), 0, 1)
    return np.asarray(value[:, None] * (1 - saturation[:, None] * share), dtype=np.float32)


def _texture(random: Generator, height: int, width: int) -> Floats:
    """A pattern (h, w) of 0 to 1: plain, gradient, speckles, stripes, dots or checks, in any direction."""
    kind = random.integers(6)
    if kind == 0:
        return np.zeros((height, width), dtype=np.float32)
    if kind == 1:
        grains = 255 * _grains(random, (width, height), random.uniform(2, 5), channels=1)
        return np.asarray(_enlarged(grains, (width, height)), dtype=np.float32) / np.float32(255)
    angle = random.uniform(0, np.pi)
    cos, sin = np.float32(np.cos(angle)), np.float32(np.sin(angle))
    x, y = np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32)[:, None]
    along, across = x * cos + y * sin, y * cos - x * sin  # (h, w), pixels
    if kind == 2:
        return np.asarray((along - along.min()) / np.maximum(np.ptp(along), 1), dtype=np.float32)
    waves = np.float32(2 * np.pi / random.uniform(5, 12))
    if kind == 3:
        pattern = 2 * np.sin(waves * along)
    elif kind == 4:
        pattern = 2.5 * (np.cos(waves * along) + np.cos(waves * across) - 0.9)
    else:
        pattern = 3 * np.sin(waves * along) * np.sin(waves * across)
    return np.asarray(np.clip(pattern + 0.5, 0, 1), dtype=np.float32)


def _grains(random: Generator, size: tuple[int, int], cell: float, channels: int) -> Floats:
    """Noise (h, w, channels) of 0 to 1, coarse: one value for each `cell` pixels of an image of `size`."""
    width, height = (int(length // cell) + 2 for length in size)
    return random.random((height, width, channels), dtype=np.float32)


def _enlarged(grains: NDArray[np.floating], size: tuple[int, int]) -> Image.Image:
    """Smoothly enlarge an array (h, w, 1 or 3) of 0 to 255 to an image of `size` (width, height)."""
    levels = grains.astype(np.uint8)
    image = Image.fromarray(levels[..., 0] if levels.shape[-1] == 1 else levels)
    return image.resize(size, Image.Resampling.BICUBIC)


Draw = ImageDraw.ImageDraw
Point = NDArray[np.float64]
Colour = tuple[int, ...]


def _line(random: Generator, draw: Draw, middle: Point, side: int, colour: Colour) -> None:
    bends = random.normal(0, side * 0.5, (4, 2)).cumsum(axis=0) + middle
    draw.line(bends.ravel().tolist(), fill=colour, width=int(random.integers(2, 9)), joint="curve")


def _blob(random: Generator, draw: Draw, middle: Point, side: int, colour: Colour) -> None:
    """Irregular, and longer than wide: like none of the classes."""
    angle = 2 * np.pi * np.arange(24) / 24
    orders = np.array([[2], [3], [5]])
    waves = random.uniform(-0.3, 0.3, (3, 1)) * np.cos(orders * angle + random.uniform(0, 2 * np.pi, (3, 1)))
    radius = side * random.uniform(0.1, 0.35) * (1 + waves.sum(axis=0))
    points = np.stack([radius * np.cos(angle), random.uniform(0.3, 0.6) * radius * np.sin(angle)], axis=1)
    tilt = random.uniform(0, np.pi)
    turn = np.array([[np.cos(tilt), np.sin(tilt)], [-np.sin(tilt), np.cos(tilt)]])
    draw.polygon((points @ turn + middle).ravel().tolist(), fill=colour)


def _specks(random: Generator, draw: Draw, middle: Point, side: int, colour: Colour) -> None:
    for x, y in random.normal(middle, side * 0.25, (8, 2)):
        speck = random.uniform(1, 5)
        draw.ellipse((x, y, x + speck, y + speck), fill=colour)
