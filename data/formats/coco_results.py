"""COCO results: ``[{"image_id": …, "category_id": …, "bbox": [x, y, width, height], "score": …}, …]``."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from operator import attrgetter
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from data.formats.json_text import convert_each, parse, read_json
from data.formats.names import classes_by_id, images_by_id
from data.formats.rows import Rows, Tally, checked
from data.records import Detections, GroundTruth, InputError

__all__ = ["read_coco_detections", "xyxy"]

ELEMENT = '{"image_id": …, "category_id": …, "bbox": [x, y, width, height], "score": …}'
EXPECTED = f"COCO results: a list of {ELEMENT}"


class _Result(msgspec.Struct, gc=False):
    """One detection. Ids of 12.0 are what becomes of 12 in a table with gaps: equal, and the same key."""

    image_id: int | float | str
    category_id: int | float | str
    bbox: tuple[float, float, float, float]
    score: float


def read_coco_detections(path: Path | str, truth: GroundTruth, lenient: bool = False) -> Detections:
    """Detections from a COCO results file, in its order.

    ``image_id`` and ``category_id`` are those of the annotation file that `truth` was read from, numbers or
    strings; strings may also be the names of image and class. Where the ground truth knows no ids (VOC,
    YOLO) a number is the image of that name, 12 that of ``000012``, and classes go by name. Boxes are in
    continuous pixels, from 0. Other fields are not read.

    Parameters
    ----------
    path
        The JSON file.
    truth
        The ground truth.
    lenient
        Drop the elements that are at fault, with a warning that counts them, instead of raising.

    Raises
    ------
    InputError
        The file is absent, empty, not UTF-8, no JSON (with line and column), or no list; or, with the index
        of the element: a field is missing or of another type, an image or class is unknown, a score or box is
        not finite, a box is inverted.
    """
    path = Path(path)
    content = read_json(path, EXPECTED)
    tally = Tally(path, lenient)
    indices: Sequence[int]
    try:
        results = msgspec.json.decode(content, type=list[_Result])
        indices = range(len(results))
    except msgspec.DecodeError:  # something is wrong somewhere: only now go through the elements one by one
        elements = parse(path, content)
        if not isinstance(elements, list):
            raise InputError(path, _of(elements), EXPECTED) from None
        results, indices = convert_each(elements, _Result, lambda i: f"{path}[{i}]", tally, ELEMENT)
    count = len(results)
    images, classes = images_by_id(truth), classes_by_id(truth)
    rows = Rows(
        np.fromiter(map(images.__getitem__, map(attrgetter("image_id"), results)), np.int64, count),
        np.fromiter(map(classes.__getitem__, map(attrgetter("category_id"), results)), np.int64, count),
        np.fromiter(map(attrgetter("score"), results), np.float64, count),
        xyxy(map(attrgetter("bbox"), results), count),
        lambda row: f"{path}[{indices[row]}]",
        lambda row: results[row].image_id,
        lambda row: results[row].category_id,
        sized=True,
    )
    return checked(truth, rows, tally)


def xyxy(boxes: Any, count: int) -> NDArray[np.float64]:
    """``(count, 4)`` xyxy of an iterable of x, y, width, height."""
    values = np.fromiter(itertools.chain.from_iterable(boxes), np.float64, 4 * count).reshape(count, 4)
    with np.errstate(over="ignore", invalid="ignore"):  # what is not finite is found by its check
        values[:, 2:] += values[:, :2]
    return values


def _of(content: Any) -> str:
    """What stands there instead of a list."""
    if not isinstance(content, dict):
        return f"a single {type(content).__name__}"
    keys = ", ".join(map(repr, itertools.islice(content, 5)))
    if {"images", "annotations"} <= content.keys():
        return f"an annotation file (keys {keys}); is it the ground truth?"
    return f"an object with the keys {keys}" if content else "an empty object"
