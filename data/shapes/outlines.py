"""The shapes of the embedded data set: an outline for each class, and how it becomes pixels."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from PIL import Image, ImageDraw

__all__ = ["OUTLINES", "Box", "Outline", "turned"]

Box = tuple[int, int, int, int]
Corners = NDArray[np.float64]  # (n, 2), x to the right and y down
Floats = NDArray[np.float32]

SUPERSAMPLING = 4  # samples of an outline per pixel and axis


@dataclass(frozen=True)
class Outline:
    """The corners of a shape, and of the hole in it where it has one."""

    corners: Corners
    hole: Corners | None = None

    def moved(self, move: Callable[[Corners], Corners]) -> Outline:
        """The same with other corners."""
        return Outline(move(self.corners), None if self.hole is None else move(self.hole))

    def fitted(self, extent: float, centre: NDArray[np.float64]) -> Outline:
        """Scaled and moved so that its longer side is `extent` pixels, around `centre` (x, y)."""
        low, high = self.corners.min(axis=0), self.corners.max(axis=0)
        scale = extent / (high - low).max()
        offset = centre - scale * (low + high) / 2
        return self.moved(lambda corners: corners * scale + offset)

    @cached_property
    def box(self) -> Box:
        """The pixels it may touch: left, top, right, bottom; may reach beyond the image."""
        left, top = np.floor(self.corners.min(axis=0)).astype(int).tolist()
        right, bottom = np.ceil(self.corners.max(axis=0)).astype(int).tolist()
        return left, top, right, bottom

    @cached_property
    def cover(self) -> Floats:
        """How much of each pixel of :attr:`box` the shape covers, (h, w), 0 to 1."""
        return self._raster({"fill": 255}, {"fill": 0})

    @cached_property
    def area(self) -> int:
        """Pixels of the whole shape, also where it is hidden."""
        return int((self.cover > 0.5).sum())

    def rim(self, width: float) -> Floats:
        """The same of a line along the outline, `width` pixels wide, its inner half."""
        line = {"outline": 255, "width": max(2, round(2 * width * SUPERSAMPLING))}
        return self._raster(line, line) * self.cover

    def _raster(self, outer: dict[str, int], inner: dict[str, int]) -> Floats:
        """Corners and hole, each drawn with arguments of :meth:`PIL.ImageDraw.ImageDraw.polygon`."""
        left, top, right, bottom = self.box
        mask = Image.new("L", ((right - left) * SUPERSAMPLING, (bottom - top) * SUPERSAMPLING))
        draw = ImageDraw.Draw(mask)
        for polygon, how in ((self.corners, outer), (self.hole, inner)):
            if polygon is not None:
                # Pillow's coordinates mean the middle of a pixel.
                samples = (polygon - (left, top)) * SUPERSAMPLING - 0.5
                draw.polygon(samples.ravel().tolist(), **how)
        return np.asarray(mask.reduce(SUPERSAMPLING), dtype=np.float32) / np.float32(255)


def turned(random: Generator, label: str) -> tuple[Outline, str]:
    """An outline of a class of :data:`OUTLINES`, a little squeezed and turned; and its pose in VOC's word."""
    plain = OUTLINES[label](random)
    pose = "Unspecified"
    squeeze = np.array([random.uniform(0.82, 1), 1.0])[:: random.choice([-1, 1])]
    if label == "arrow":
        pose = str(random.choice(["Left", "Right"]))
        squeeze = squeeze * (1 if pose == "Right" else -1, 1)
    angle = random.uniform(-0.22, 0.22)  # radians
    turn = squeeze[:, None] * [[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]]
    return plain.moved(lambda corners: corners @ turn), pose


def _regular(corners: int, radius: float = 1.0, start: float = -np.pi / 2) -> Corners:
    angle = start + 2 * np.pi * np.arange(corners) / corners
    return radius * np.stack([np.cos(angle), np.sin(angle)], axis=1)


def _star(random: Generator) -> Outline:
    corners = _regular(10)
    corners[1::2] *= random.uniform(0.4, 0.5)
    return Outline(corners)


def _cross(random: Generator) -> Outline:
    arm = random.uniform(0.28, 0.4)
    end = np.array([[-arm, -1], [arm, -1], [arm, -arm]])
    quarter_turn = np.array([[0, 1], [-1, 0]])
    return Outline(np.concatenate([end @ np.linalg.matrix_power(quarter_turn, k) for k in range(4)]))


def _arrow(random: Generator) -> Outline:
    """Points to the right."""
    shaft, neck = random.uniform(0.2, 0.32), random.uniform(-0.15, 0.15)
    upper = np.array([[-1, -shaft], [neck, -shaft], [neck, -0.75], [1, 0]])
    return Outline(np.concatenate([upper, upper[-2::-1] * (1, -1)]))


OUTLINES: dict[str, Callable[[Generator], Outline]] = {
    "arrow": _arrow,
    "cross": _cross,
    "disc": lambda random: Outline(_regular(60)),
    "hexagon": lambda random: Outline(_regular(6)),
    "ring": lambda random: Outline(_regular(60), _regular(60, random.uniform(0.45, 0.62))),
    "square": lambda random: Outline(_regular(4, start=np.pi / 4)),
    "star": _star,
    "triangle": lambda random: Outline(_regular(3)),
}
"""For each class a function of a random generator; the outline lies within −1 to 1."""
