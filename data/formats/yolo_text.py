"""YOLO's text: a file for each image, a line for each object or detection, places as fractions of the image.

``class x_center y_center width height``, and for a detection ``confidence``: what Ultralytics' and YOLOv5's
``save_txt`` with ``save_conf`` write.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from data.formats.files import decode, read_bytes
from data.formats.names import NO_INDEX, images_by_name
from data.formats.photographs import UNKNOWN_SIZE
from data.formats.rows import Fault, Rows, Tally, checked
from data.records import Detections, GroundTruth, InputError

__all__ = ["Lines", "read_lines", "read_yolo_detections", "xyxy_of_fractions"]

COLUMNS = "class x_center y_center width height confidence"
MARK = b"\xef\xbb\xbf"  # UTF-8's byte order mark
LARGEST = 2.0  # a place beyond this is no fraction of the image but a pixel
NOT_IMAGES = ("classes.txt",)  # what labelling tools leave beside the labels


class Lines(NamedTuple):
    """M lines of several files."""

    files: Sequence[Path]
    file_index: NDArray[np.int64]
    """``(M,)`` the file of each line."""
    numbers: NDArray[np.int64]
    """``(M,)`` its number in the file, from 1."""
    values: NDArray[np.float64]
    """``(M, columns)``"""

    def where(self, row: int) -> str:
        """File and line."""
        return f"{self.files[self.file_index[row]]}:{self.numbers[row]}"


def read_yolo_detections(folder: Path | str, truth: GroundTruth, lenient: bool = False) -> Detections:
    """Detections from YOLO text files, those of an image in the file of its name, in the order of the files.

    A class is its number from 0. An image without a file has no detections.

    Parameters
    ----------
    folder
        Of the ``.txt`` files, or the one above it that has them in ``labels``, as Ultralytics' runs do.
    truth
        The ground truth.
    lenient
        Drop the lines and files that are at fault, with a warning that counts them, instead of raising.

    Raises
    ------
    InputError
        No such folder, no file in it, images of unknown size; a file of no image; or, with file and line:
        other columns (five: written without the confidence), no number, NaN or infinity, a class that has no
        name, an inverted box, a place in pixels, a byte that is not UTF-8.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise InputError(folder, "no such folder", f"detections: lines of {COLUMNS}, a file an image")
    files = _files(folder) or _files(folder / "labels")
    if not files:
        raise InputError(folder, "no .txt file", f"detections: lines of {COLUMNS}, a file an image")
    if (truth.sizes == UNKNOWN_SIZE).any():
        raise InputError(folder, "places as fractions", "images whose width and height are known")
    tally = Tally(folder, lenient)
    lines = read_lines(files, tally, COLUMNS)
    images = images_by_name(truth)
    image_of_file = np.array([images[file.stem] for file in files], dtype=np.int64)
    for file in (file for file, image in zip(files, image_of_file, strict=True) if image == NO_INDEX):
        if not lenient:  # an empty file, too, would be a sign of the wrong folder
            raise InputError(file, f"the unknown image {file.stem!r}", "files named as the images")
    image_index = image_of_file[lines.file_index]
    number = lines.values[:, 0]
    known = np.isin(number, np.arange(len(truth.classes)))
    sizes = truth.sizes[image_index]  # of an unknown image: any, it goes
    rows = Rows(
        image_index,
        np.where(known, number, NO_INDEX).astype(np.int64),
        lines.values[:, 5],
        xyxy_of_fractions(lines.values[:, 1:5], sizes),
        lines.where,
        lambda row: lines.files[lines.file_index[row]].stem,
        lambda row: f"{number[row]:g}",
        f"a number from 0 to {len(truth.classes) - 1}",
    )
    return checked(truth, rows, tally)


def xyxy_of_fractions(boxes: NDArray[np.float64], sizes: NDArray[np.int64]) -> NDArray[np.float64]:
    """``(M, 4)`` xyxy in pixels of centre and extent as fractions of images of `sizes` (M, 2)."""
    centre, half = boxes[:, :2] * sizes, boxes[:, 2:] * sizes / 2
    return np.concatenate([centre - half, centre + half], axis=1)


def read_lines(files: Sequence[Path], tally: Tally, columns: str, polygons: int | None = None) -> Lines:
    """The numbers of all lines of all files; empty lines are left out.

    Parameters
    ----------
    files
        To read, in order.
    tally
        Takes the faults, each with file and line: another number of columns, no finite number, a place in
        pixels, a byte that is not UTF-8.
    columns
        Names of the columns, the class first, then places.
    polygons
        Smallest odd number of columns that makes a class and points of a polygon, if that is allowed: it
        becomes the box around them.
    """
    width = len(columns.split())
    contents = [read_bytes(file, f"lines of {columns}").removeprefix(MARK) for file in files]
    per_file = [content.splitlines() for content in contents]
    if not tally.lenient:
        for file, content in zip(files, contents, strict=True):
            if not content.isascii():
                decode(file, content)
    file_index = np.repeat(np.arange(len(files)), [len(lines) for lines in per_file])
    numbers = np.concatenate([np.arange(1, len(lines) + 1) for lines in per_file] or [np.zeros(0, np.int64)])
    words = [line.split() for lines in per_file for line in lines]
    lengths = np.fromiter(map(len, words), np.int64, len(words))
    filled = np.flatnonzero(lengths)
    values = np.zeros((len(words), width))
    try:
        if (lengths[filled] != width).any() or any(b"_" in content for content in contents):
            raise ValueError
        flat = np.fromiter((float(word) for row in words for word in row), np.float64)
        values[filled] = flat.reshape(-1, width)
        places = values[:, 1:5]
        if not np.isfinite(values).all() or (np.abs(places) > LARGEST).any():
            raise ValueError
        return Lines(files, file_index[filled], numbers[filled], values[filled])
    except ValueError:  # something is wrong somewhere: only now go through the lines one by one
        pass
    good = []
    for row in filled.tolist():
        told = _line(words[row], columns.split(), polygons)
        if isinstance(told, list):
            values[row] = told
            good.append(row)
        else:
            tally.add(Fault(f"{files[file_index[row]]}:{numbers[row]}", *told))
    keep = np.array(good, dtype=np.int64)
    return Lines(files, file_index[keep], numbers[keep], values[keep])


def _line(
    words: Sequence[bytes], columns: Sequence[str], polygons: int | None
) -> list[float] | tuple[str, str, str]:
    """The numbers of a line, or what is wrong with it."""
    polygon = polygons is not None and len(words) >= polygons and len(words) % 2 == 1
    if len(words) != len(columns) and not polygon:
        lacking = "; no confidence (save_conf=True writes it)" if len(words) == len(columns) - 1 == 5 else ""
        return f"{len(words)} columns{lacking}", f"{len(columns)}: {' '.join(columns)}", "of other columns"
    values: list[float] = []
    for place, word in enumerate(words):
        name = "a point" if polygon and place else columns[place]
        shown = word.decode(errors="replace")
        try:
            values.append(float("nan_" if b"_" in word else word))  # Python's 1_0 is a number nowhere else
        except ValueError:
            return f"{shown!r} as {name}", "a number", "with what is no number"
        if not math.isfinite(values[-1]):
            return f"{shown} as {name}", "a finite number", "with a number that is not finite"
        if 0 < place < 5 and abs(values[-1]) > LARGEST:
            return f"{shown} as {name}", "a fraction of the image's size, not pixels", "in pixels"
    if polygon:
        x, y = values[1::2], values[2::2]
        low, high = (min(x), min(y)), (max(x), max(y))
        centre = [(a + b) / 2 for a, b in zip(low, high, strict=True)]
        return [values[0], *centre, high[0] - low[0], high[1] - low[1]]
    return values


def _files(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    return sorted(f for f in folder.iterdir() if f.suffix == ".txt" and f.name not in NOT_IMAGES)
