"""Parts of photographs as ``data:`` addresses, and boxes placed on them."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from data.records import GroundTruth, InputError
from diagnosis.figures.picture import read_picture
from diagnosis.report.content import Gallery

__all__ = ["Frame", "Photographs", "encode", "frame", "part_around"]

MARGIN = 0.2  # of the longer side, around the boxes
SMALLEST = 40.0  # pixels of the image, side of a part
LANDSCAPE = 4 / 3  # shape that a part is widened to, as far as the image reaches


@dataclass(frozen=True)
class Frame:
    """A box in a picture.

    Parameters
    ----------
    left, top, width, height
        In units of the picture.
    kind
        ``found``: the detection; ``wanted``: the object that its error is about; ``beside``: another object;
        ``ignored``: one that is neither rewarded nor punished.
    label
        Its class.
    """

    left: float
    top: float
    width: float
    height: float
    kind: str
    label: str


class Photographs:
    """Reads the photographs of a ground truth, one after the other; notes those it could not read."""

    def __init__(self, truth: GroundTruth) -> None:
        self._truth = truth
        self._image = -1
        self._pixels: NDArray[np.uint8] | None = None
        self.unread: dict[int, str] = {}

    def read(self, image: int) -> NDArray[np.uint8] | None:
        """``(height, width, 3)`` pixels, or None if the photograph is absent, damaged or of another size."""
        if not self._truth.files:
            return None
        if image != self._image:
            self._image, self._pixels = image, None
            if not Path(self._truth.files[image]).is_file():
                self.unread[image] = f"{self._truth.images[image]}: no such file"
                return None
            try:
                self._pixels = read_picture(self._truth, image)
            except InputError as error:
                self.unread[image] = f"{self._truth.images[image]}: {error.found}"
        return self._pixels


def part_around(boxes: Sequence[NDArray[np.float64]], size: NDArray[np.float64]) -> NDArray[np.float64]:
    """``(4,)`` xyxy of the part of an image that shows `boxes` with a margin, in whole pixels.

    Examples
    --------
    >>> part_around([np.array([40.0, 40, 60, 60])], np.array([500.0, 375])).tolist()
    [23.0, 30.0, 77.0, 70.0]
    >>> part_around([np.array([0.0, 0, 500, 375])], np.array([500.0, 375])).tolist()
    [0.0, 0.0, 500.0, 375.0]
    """
    corners = np.stack(boxes)
    low, high = corners[:, :2].min(axis=0), corners[:, 2:].max(axis=0)
    extent = np.maximum(high - low + 2 * MARGIN * float((high - low).max()), SMALLEST)
    extent = np.maximum(extent, [extent[1] * LANDSCAPE, extent[0] / LANDSCAPE])
    extent = np.minimum(extent, size)
    start = np.clip((low + high) / 2 - extent / 2, 0, size - extent)
    return np.concatenate([np.floor(start), np.minimum(np.ceil(start + extent), size)])


def frame(box: NDArray[np.float64], part: NDArray[np.float64], scale: float, kind: str, label: str) -> Frame:
    """A box (xyxy) where it lies in a picture of `part` of the image, `scale` units a pixel."""
    left, top = ((box[:2] - part[:2]) * scale).round(1).tolist()
    width, height = ((box[2:] - box[:2]) * scale).round(1).tolist()
    return Frame(left, top, width, height, kind, label)


def encode(pixels: NDArray[np.uint8], part: NDArray[np.float64], limits: Gallery) -> str:
    """The part of a photograph as a ``data:`` address of a JPEG, at most ``limits.pixels`` long.

    The same pixels give the same text: nothing but the picture is in it.
    """
    left, top, right, bottom = part.astype(int).tolist()
    picture = Image.fromarray(pixels[top:bottom, left:right])
    picture.thumbnail((limits.pixels, limits.pixels), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=limits.quality, optimize=True)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")
