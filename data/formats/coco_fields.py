"""What an annotation file of COCO's form says: the fields that are read, and columns of the rest."""

from __future__ import annotations

import keyword
from collections.abc import Sequence
from typing import Any, TypeAlias, cast

import msgspec
import numpy as np
from numpy.typing import NDArray

from data.records import UNKNOWN

__all__ = [
    "Annotation",
    "Categories",
    "Category",
    "Image",
    "Number",
    "Parts",
    "annotation_type",
    "attributes_of",
]

Number: TypeAlias = int | float


class Image(msgspec.Struct, gc=False):
    """An image; 12.0 is what becomes of the id 12 in a table with gaps."""

    id: Number | str
    file_name: str | None = None
    width: Number | None = None
    height: Number | None = None


class Category(msgspec.Struct, gc=False):
    """A class."""

    id: Number | str
    name: str
    supercategory: str | None = None


class Annotation(msgspec.Struct):
    """An object; ``bbox`` is x, y, width, height."""

    image_id: Number | str
    category_id: Number | str
    bbox: tuple[float, float, float, float]
    id: Number | str | None = None
    area: float | None = None
    iscrowd: Number | None = None
    ignore: Number | None = None
    difficult: Number | None = None
    attributes: dict[str, Any] | None = None


class Parts(msgspec.Struct):
    """The lists of a file, the annotations not yet looked into."""

    images: list[Image]
    categories: list[Category]
    annotations: list[msgspec.Raw]


class Categories(msgspec.Struct):
    """The classes of a file alone."""

    categories: list[Category]


# Fields that are no characteristic of an object.
OTHER_FIELDS = {*Annotation.__struct_fields__, "segmentation", "keypoints", "caption"}


def annotation_type(first: Any) -> type[Annotation]:
    """The record of an annotation, with those further fields that the first one has."""
    if not isinstance(first, dict):
        return Annotation
    more = [
        (name, Any, msgspec.field(name=name, default=None))
        for name, value in first.items()
        if name not in OTHER_FIELDS
        and name.isidentifier()
        and not keyword.iskeyword(name)
        and not isinstance(value, list | dict)
    ]
    return cast("type[Annotation]", msgspec.defstruct("AnnotationAndMore", more, bases=(Annotation,)))


def attributes_of(annotations: Sequence[Annotation], boxes: NDArray[np.float64]) -> dict[str, NDArray[Any]]:
    """Columns of whatever else is said of the objects whose `boxes` (N, 4) are given."""
    columns: dict[str, NDArray[Any]] = {}
    if any(annotation.area is not None for annotation in annotations):
        own = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
        area = [np.nan if annotation.area is None else annotation.area for annotation in annotations]
        columns["area"] = np.where(np.isnan(area), own, area)
    if not annotations:
        return columns
    for name in type(annotations[0]).__struct_fields__:
        if name not in OTHER_FIELDS:
            columns |= _column(name, [getattr(annotation, name) for annotation in annotations])
    for name in annotations[0].attributes or {}:
        values = [(annotation.attributes or {}).get(name) for annotation in annotations]
        if name not in columns:
            columns |= _column(name, values)
    return columns


def _column(name: str, values: Sequence[Any]) -> dict[str, NDArray[Any]]:
    """The column of that name, or none where the values are no numbers, truth values or strings."""
    kinds = {type(value) for value in values if value is not None}
    if not kinds:
        return {}
    if kinds <= {bool, int} and all(value is None or abs(value) < 1 << 62 for value in values):
        return {name: np.array([UNKNOWN if value is None else value for value in values], dtype=np.int64)}
    if kinds <= {bool, int, float}:
        return {name: np.array([np.nan if value is None else value for value in values], dtype=np.float64)}
    if kinds == {str}:
        return {name: np.array([value or "" for value in values], dtype=np.str_)}
    return {}
