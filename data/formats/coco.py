"""COCO's JSON: annotation files, also those that hold boxes alone or were made by other tools, and results.

msgspec parses straight into typed records and skips all other fields: a results file of 60 MB takes a third
of a second, a fifth of what ``json`` needs. What it refuses is read again by ``json``, which knows line and
column and takes the ``NaN`` that many tools write.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import keyword
import math
import re
from collections.abc import Callable, Iterable, Sequence
from functools import cache, partial
from mmap import mmap
from operator import attrgetter
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias, TypeVar, cast

import msgspec
import numpy as np
from numpy.typing import ArrayLike, NDArray

from data.boxes import area, xywh_to_xyxy
from data.formats.annotation_tools import as_coco, read_via_csv
from data.formats.classes import class_names
from data.formats.files import UNKNOWN_SIZE, image_size, is_file, parse_json, read_json, write_text
from data.formats.names import (
    NO_INDEX,
    Lookup,
    by_id,
    classes_by_id,
    classes_by_name,
    distinct_names,
    hint,
    images_by_id,
    images_by_name,
)
from data.formats.processes import over_processes, usable_cores
from data.formats.validation import (
    BoxFormat,
    Columns,
    Faults,
    Keys,
    Problem,
    Rows,
    check_objects,
    detections_of,
    prefer_names,
    short_repr,
    valid_rows,
    warn,
)
from data.records import UNKNOWN, Detections, GroundTruth, InputError

__all__ = [
    "coco_detections",
    "coco_ground_truth",
    "coco_groups",
    "coco_similar",
    "image_folders",
    "read_coco",
    "read_coco_detections",
    "read_coco_pair",
    "write_coco_detections",
    "write_coco_ground_truth",
]

TRUTH = 'a COCO annotation file: {"images": […], "annotations": […], "categories": […]}'
ANNOTATION = 'an annotation: {"image_id": …, "category_id": …, "bbox": [x, y, width, height]}'
RESULT = '{"image_id": …, "category_id": …, "bbox": [x, y, width, height], "score": …}'
RESULTS = f"COCO results: a list of {RESULT}"
NO_SUPERCATEGORY = ("", "none")
LONGEST_ATTRIBUTE = 200
"""Characters of an attribute that is text: the column has room for its longest value in every row."""
XYWH = BoxFormat("xywh")
FLAGS = ("iscrowd", "ignore", "difficult")
PARTIAL_FIELDS = ("neg_category_ids", "not_exhaustive_category_ids")
"""LVIS's lists for each image: classes that are not in it, and classes that were not annotated in full."""
PARTIAL = re.compile(rb'"(%s)"\s*:\s*\[\s*[^\]\s]' % "|".join(PARTIAL_FIELDS).encode())
"""Such a list that is not empty."""

BETWEEN_OBJECTS = re.compile(rb"\}\s*,\s*\{")
SHORTEST_RESULT = len('{"image_id":1,"category_id":1,"bbox":[1,2,3,4],"score":1}')
LONGEST_RESULT = 1000
BYTES_OF_A_PROCESS, BYTES_AT_ONCE = 5_000_000, 250_000
"""Fewer are decoded sooner than a process starts; of so many at once the records fit in the cache."""
LARGEST_EXACT, LARGEST_TABLE = 1 << 53, 1 << 24
"""From the first on not every whole number is a float; a table by id has at most the second of rows."""

Number: TypeAlias = int | float
Flag: TypeAlias = bool | int | float  # several writers have true and false
Id: TypeAlias = int | float | str  # 12.0 is what becomes of the id 12 in a table with gaps
Record = TypeVar("Record", bound=msgspec.Struct)
Kept = TypeVar("Kept")


class Image(msgspec.Struct, gc=False):
    """An image."""

    id: Id
    file_name: str | None = None
    width: Number | None = None
    height: Number | None = None


class Category(msgspec.Struct, gc=False):
    """A class."""

    id: Id
    name: str
    supercategory: str | None = None


class Annotation(msgspec.Struct, gc=False):
    """An object; ``bbox`` is x, y, width, height."""

    image_id: Id
    category_id: Id
    bbox: tuple[float, float, float, float]
    id: Id | None = None
    area: float | None = None
    iscrowd: Flag | None = None
    ignore: Flag | None = None
    difficult: Flag | None = None
    attributes: dict[str, Any] | None = None


class Result(msgspec.Struct, gc=False):
    """A detection. Names beside the ids must not contradict them."""

    image_id: Id
    category_id: Id
    bbox: tuple[float, float, float, float]
    score: float
    file_name: str | None = None
    category_name: str | None = None


class PlainResult(msgspec.Struct, gc=False, forbid_unknown_fields=True):
    """A detection without anything more, and ids that are numbers."""

    image_id: float
    category_id: float
    bbox: tuple[float, float, float, float]
    score: float


class PlainAnnotation(msgspec.Struct, gc=False):
    """An object whose ids and flags are numbers, without attributes; what is missing is NaN."""

    image_id: float
    category_id: float
    bbox: tuple[float, float, float, float]
    id: float = math.nan
    area: float = math.nan
    iscrowd: float = 0.0
    ignore: float = 0.0
    difficult: float = 0.0
    attributes: None = None


def _row_of(kind: type[msgspec.Struct]) -> np.dtype[Any]:
    """A plain record in MessagePack, where every float has as many bytes, so that a list is a table."""
    boxes = [("float", "u1"), ("value", ">f8")]
    places, end = dict[str, tuple[Any, int]](), 1
    for name in kind.__struct_fields__:
        end += 1 + len(name)
        if name == "attributes":
            end += 1
        elif name == "bbox":
            places[name], end = ((boxes, 4), end + 1), end + 1 + 4 * 9
        else:
            places[name], end = (">f8", end + 1), end + 9
    formats, offsets = zip(*places.values(), strict=True)
    return np.dtype({"names": [*places], "formats": formats, "offsets": offsets, "itemsize": end})


ROWS = {kind: _row_of(kind) for kind in (PlainResult, PlainAnnotation)}


class Parts(msgspec.Struct):
    """The lists of an annotation file, the annotations not yet parsed."""

    images: list[Image]
    categories: list[Category]
    annotations: msgspec.Raw


class AnnotationColumns(NamedTuple):
    """N annotations as columns."""

    records: Callable[[], Sequence[Annotation]]
    """As the file has them: for messages, and for attributes."""
    image_id: Sequence[Id] | NDArray[np.int64]
    category_id: Sequence[Id] | NDArray[np.int64]
    bbox: NDArray[np.float64]
    """``(N, 4)``"""
    id: Sequence[Id | None]
    area: NDArray[np.float64]
    """``(N,)`` NaN where there is none."""
    flags: NDArray[np.bool_]
    """``(3, N)`` in the order of :data:`FLAGS`."""
    more: bool
    """Whether they have attributes."""


# Fields that are no characteristic of an object.
OTHER_FIELDS = {*Annotation.__struct_fields__, "segmentation", "keypoints", "caption"}


# ---------------------------------------------------------------- ground truth


def read_coco(path: Path | str, lenient: bool = False) -> GroundTruth:
    """Ground truth from a COCO annotation file.

    Images are called as their files, without folder and extension; with the folder where two files share a
    name, and by their ids where that is not enough or there is no ``file_name``. Ids may be numbers or
    strings. ``segmentation`` and ``info`` are not needed.

    ``iscrowd`` makes a crowd region; ``ignore`` or ``difficult`` a difficult object, which counts neither for
    nor against a detector (pycocotools, other than this, does not heed ``ignore``). ``area`` and every
    further field that the first annotation has become attributes, if they are one number, truth value or
    string for an object; so do those within ``attributes``, as CVAT writes them. Missing ones are NaN, −1 or
    an empty string; a missing ``area`` is that of the box.

    An image without ``width`` and ``height`` takes them from its file, if that lies beside the annotations;
    otherwise they are :data:`~data.formats.files.UNKNOWN_SIZE`, with a warning, and detections are not
    clipped to it. So do sizes that are not above 0, as VIA writes −1; without a file these are an error.

    Warnings (:class:`~data.records.InputWarning`) count annotation ids that occur twice, objects beyond the
    border of their image, objects that are there twice, and say that LVIS's lists of classes that were not
    annotated everywhere have no effect.

    Parameters
    ----------
    path
        The JSON file.
    lenient
        Drop annotations that are at fault, with a warning that counts them, instead of raising.

    Raises
    ------
    InputError
        The file is absent, empty, not UTF-8, no JSON (with line and column) or another kind of it; an id of
        images or categories or a class name twice; a size that is no whole number; or, with the index of the
        annotation: a field is missing or of another type, an image or category is unknown, a box is not
        finite or has no area, a flag is neither 0 nor 1, an area is negative.
    """
    path = Path(path)
    content = _content(path)
    faults = Faults(path, lenient, "annotations")
    images, categories, objects, place = _decode(path, content, faults)
    categories = _named_once(path, categories, objects)
    image_ids = _distinct(path, "images", [image.id for image in images])
    class_ids = _distinct(path, "categories", [category.id for category in categories])
    names = class_names([category.name for category in categories], lambda i: f"{path}: categories[{i}]")

    def unknown(row: int, field: str, part: str, kind: str) -> Problem:
        found = f"the unknown {field} {getattr(objects.records()[row], field)!r}"
        return found, f"the id of one of the {part}", kind

    def box(row: int) -> str:
        return f"the bbox {' '.join(f'{value:g}' for value in objects.bbox[row].tolist())}"

    rows = Rows(
        _indices(objects.image_id, image_ids),
        _indices(objects.category_id, class_ids),
        xywh_to_xyxy(objects.bbox),
        place,
        {
            "image": lambda row: unknown(row, "image_id", "images", "on an unknown image"),
            "class": lambda row: unknown(row, "category_id", "categories", "of an unknown category"),
            "finite": lambda row: (box(row), "four finite numbers", "with a box that is not finite"),
            "extent": lambda row: (
                f"{box(row)}, without area",
                "a width and height above 0",
                "with a box without area",
            ),
        },
    )
    keep = valid_rows(rows, faults)
    _note_repeated_ids(path, objects, place)
    crowd, ignored, difficult = objects.flags[:, keep]
    others = np.flatnonzero((ignored | difficult) & ~crowd)
    if len(others):
        have = "objects have" if len(others) > 1 else "object has"
        warn(
            f"{path}: {len(others):,} {have} ignore or difficult without iscrowd, the first at "
            f"{place(int(keep[others[0]]))}: not counted, neither for nor against a detector, where "
            "pycocotools counts them"
        )
    if b"_category_ids" in content and PARTIAL.search(content):
        warn(
            f"{path}: LVIS's {' and '.join(PARTIAL_FIELDS)} have no effect: every class counts as annotated "
            "on every image, so detections of objects that were not annotated are errors here"
        )

    files = [image.file_name for image in images if image.file_name]
    named = len(files) == len(images)
    folder = _image_folder(path, files) if named and files else None
    photographs = [folder / file.replace("\\", "/") for file in files] if folder else []
    sizes, as_shown = _sizes(path, images, photographs)
    truth = GroundTruth(
        (distinct_names(files) if named else None) or map(str, image_ids),
        names,
        sizes,
        rows.image_index[keep],
        rows.labels[keep],
        rows.boxes[keep],
        difficult=ignored | difficult,
        # coco_ground_truth writes difficult objects as crowds, too, for pycocotools' sake.
        crowd=crowd & ~difficult,
        attributes=_attributes(objects, keep, rows.boxes[keep]),
        files=photographs,
        image_ids=image_ids,
        class_ids=class_ids,
        object_ids=_object_ids(_kept(objects.id, keep)),
        file_names=[image.file_name or "" for image in images] if files else (),
        extents=objects.bbox[keep, 2:],
        as_shown=as_shown,
    )
    check_objects(path, truth, lambda row: place(int(keep[row])))
    return truth


def coco_similar(path: Path | str) -> list[list[str]]:
    """Groups of similar classes: those of one ``supercategory``.

    A supercategory of all classes says nothing, nor does one named none: both are what exporters write that
    know of none.

    Raises
    ------
    InputError
        As :func:`read_coco`, as far as the categories go.
    """
    return coco_groups(path)[0]


def coco_groups(path: Path | str) -> tuple[list[list[str]], list[str]]:
    """:func:`coco_similar`, and the names of the supercategories left out as they hold all classes."""
    path = Path(path)
    content = _content(path)
    try:
        parts = msgspec.json.decode(content, type=dict[str, msgspec.Raw])
        categories = msgspec.json.decode(parts["categories"], type=list[Category])
    except (LookupError, msgspec.DecodeError, RecursionError):
        categories = _decode(path, content, Faults(path, True))[1]
    by_supercategory: dict[str, list[str]] = {}
    for category in categories:
        above = category.supercategory or ""
        if above.strip().lower() not in NO_SUPERCATEGORY:
            by_supercategory.setdefault(above, []).append(category.name)
    everything = {category.name for category in categories}
    groups = {above: group for above, group in by_supercategory.items() if len(group) > 1}
    whole = [above for above, group in groups.items() if {*group, above} == everything | {above}]
    return [group for above, group in groups.items() if above not in whole], whole


def _content(path: Path) -> bytes:
    """The JSON text of a file; also of VIA's CSV, as VIA's JSON."""
    return read_via_csv(path) if path.suffix.lower() == ".csv" else read_json(path, TRUTH)


def _named_once(path: Path, categories: list[Category], objects: AnnotationColumns) -> list[Category]:
    """The categories without Roboflow's first: that of the project, without objects, above all others.

    It may have the name of one of these.
    """
    below = {category.name for category in categories if category.supercategory == category.name}
    for category in categories:
        above = (category.supercategory or "").strip().lower() in NO_SUPERCATEGORY
        if above and category.name in below and category.id not in set(objects.category_id):
            warn(
                f"{path}: the category {short_repr(category.name)} with the id {short_repr(category.id)} has "
                "no object and the name of another: left out"
            )
            return [other for other in categories if other is not category]
    return categories


def _decode(
    path: Path, content: bytes, faults: Faults
) -> tuple[list[Image], list[Category], AnnotationColumns, Callable[[int], str]]:
    """Images, categories, annotations, and what messages call a row of these."""
    try:
        parts = msgspec.json.decode(content, type=Parts)
        _check_parts(path, content, parts.annotations)
        try:
            objects = _plain_objects(parts.annotations)
        except (LookupError, msgspec.DecodeError):
            first = msgspec.json.decode(parts.annotations, type=list[msgspec.Raw])[:1]
            kind = _annotation_type(msgspec.json.decode(first[0]) if first else None)
            objects = _objects(msgspec.json.decode(parts.annotations, type=list[kind]))  # type: ignore[valid-type]
        return parts.images, parts.categories, objects, lambda row: f"{path}: annotations[{row}]"
    except (LookupError, OverflowError, msgspec.DecodeError, RecursionError):
        pass  # something is wrong: go through all elements
    _check_parts(path, content)
    whole = parse_json(path, content)
    places: Sequence[str] = ()
    if converted := as_coco(path, whole):
        whole, places = converted
    if not isinstance(whole, dict):
        question = "; is it a results file?" if isinstance(whole, list) else ""
        raise InputError(path, f"a {type(whole).__name__} of JSON{question}", TRUTH)
    for part in Parts.__struct_fields__:
        if part not in whole:
            raise InputError(path, f"no {part}", f"{TRUTH}{hint(part, whole)}")
        if not isinstance(whole[part], list):
            raise InputError(path, f"no list as {part}", TRUTH)

    def convert(part: str, kind: type[Record], expected: str) -> list[Record]:
        strict = Faults(path, False)
        return _convert(whole[part], kind, lambda i: f"{path}: {part}[{i}]", strict, expected)[0]

    def where(index: int) -> str:
        return f"{path}: {places[index] if places else f'annotations[{index}]'}"

    images = convert("images", Image, 'an image: {"id": …, "file_name": …, "width": …, …}')
    categories = convert("categories", Category, 'a category: {"id": …, "name": …}')
    kind = _annotation_type(whole["annotations"][0] if whole["annotations"] else None)
    annotations, indices = _convert(whole["annotations"], kind, where, faults, ANNOTATION, _odd_values)
    return images, categories, _objects(annotations), lambda row: where(indices[row])


def _plain_objects(content: msgspec.Raw) -> AnnotationColumns:
    """:func:`_objects` of annotations without attributes, whose ids, flags and areas are numbers.

    Raises
    ------
    LookupError, msgspec.DecodeError
        They are no such annotations: to be read otherwise.
    """
    text = memoryview(content)
    between = BETWEEN_OBJECTS.search(text)
    if _further_fields(msgspec.json.decode(text[1 : between.start() + 1 if between else -1])):
        raise LookupError
    parts, low = [], 1
    while low:  # 0 behind the last part
        behind = BETWEEN_OBJECTS.search(text, low + BYTES_AT_ONCE)
        high, after = (behind.start() + 1, behind.end() - 1) if behind else (len(text) - 1, 0)
        parts.append(_columns(b"[" + text[low:high] + b"]", PlainAnnotation))
        low = after
    columns = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    ids = columns["id"]
    return AnnotationColumns(
        cache(lambda: msgspec.json.decode(content, type=list[Annotation])),
        _whole(columns["image_id"]),
        _whole(columns["category_id"]),
        columns["bbox"],
        [None] * len(ids) if np.isnan(ids).all() else _whole(ids).tolist(),
        *_flags_and_areas(np.stack([columns[name] for name in FLAGS]), columns["area"]),
        more=False,
    )


def _objects(annotations: Sequence[Annotation]) -> AnnotationColumns:
    """Annotations as columns; LookupError as :func:`_flags_and_areas`."""

    def column(name: str) -> Iterable[Any]:
        return map(attrgetter(name), annotations)

    bbox = np.fromiter(itertools.chain.from_iterable(column("bbox")), np.float64)
    areas = np.array([np.nan if area is None else area for area in column("area")], np.float64)
    flags = np.array([[flag or 0 for flag in column(name)] for name in FLAGS], np.float64)
    return AnnotationColumns(
        lambda: annotations,
        list(column("image_id")),
        list(column("category_id")),
        bbox.reshape(-1, 4),
        list(column("id")),
        *_flags_and_areas(flags, areas),
        more=True,
    )


def _flags_and_areas(
    flags: NDArray[np.float64], areas: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Areas, and flags as truth values; LookupError where :func:`_odd_values` finds fault with any."""
    if not ((flags == 0) | (flags == 1)).all() or ((areas < 0) | np.isinf(areas)).any():
        raise LookupError
    return areas, flags != 0


def _odd_values(annotation: Annotation) -> Problem | None:
    """What is wrong with the flags and the area of an annotation."""
    for name in FLAGS:
        flag = getattr(annotation, name)
        if flag not in (None, 0, 1):
            return f"{short_repr(flag)} as {name}", "0 or 1, or false or true", "malformed"
    if annotation.area is not None and (annotation.area < 0 or annotation.area == math.inf):
        return f"the area {annotation.area:g}", "a number of pixels from 0", "malformed"
    return None


def _whole(numbers: NDArray[np.float64]) -> NDArray[np.int64]:
    """The same as whole numbers, or else LookupError."""
    if not np.abs(numbers).max(initial=0.0) < LARGEST_EXACT:  # so of NaN
        raise LookupError
    whole = numbers.astype(np.int64)
    if not np.array_equal(whole, numbers):
        raise LookupError
    return whole


def _columns(content: bytes, kind: type[PlainResult | PlainAnnotation]) -> dict[str, NDArray[np.float64]]:
    """A list of plain records as columns: (N, 4) of ``bbox``, (N,) of all others."""
    records = msgspec.json.decode(content, type=list[kind])  # type: ignore[valid-type]
    packed, row = msgspec.msgpack.encode(records), ROWS[kind]
    table = np.frombuffer(packed[len(packed) - len(records) * row.itemsize :], row)
    numbers = {name: table[name]["value"] if name == "bbox" else table[name] for name in row.names or ()}
    return {name: column.astype(np.float64) for name, column in numbers.items()}


def _indices(ids: Sequence[Id] | NDArray[np.int64], known: Sequence[int | str]) -> NDArray[np.int64]:
    """The indices of `ids` among those `known`, −1 of others."""
    if isinstance(ids, np.ndarray):
        with contextlib.suppress(LookupError):
            return _by_number(ids, known)
        ids = ids.tolist()
    return np.fromiter(map(by_id(known).__getitem__, ids), np.int64, len(ids))


def _check_parts(path: Path, content: bytes, annotations: msgspec.Raw | None = None) -> None:
    """Raise InputError where a list is in the file twice: a parser silently takes the last.

    What is within `annotations`, a view of `content`, need not be looked at.
    """
    low = high = len(content)
    if annotations is not None:
        first, other = (np.frombuffer(text, np.uint8).ctypes.data for text in (content, annotations))
        low, high = other - first, other - first + len(memoryview(annotations))
        assert 0 <= low < high <= len(content)
    names = [f'"{part}"'.encode() for part in Parts.__struct_fields__]
    if all(content.count(name, 0, low) + content.count(name, high) < 2 for name in names):
        return
    outermost: list[str] = []

    def remember(pairs: list[tuple[str, Any]]) -> None:
        outermost[:] = [name for name, _ in pairs]  # that of the whole file comes last

    try:
        json.loads(content, object_pairs_hook=remember)
    except (ValueError, RecursionError):  # reported by the reader
        return
    for part in Parts.__struct_fields__:
        if (count := outermost.count(part)) > 1:
            raise InputError(path, f"the list {part} {count} times", "each list once: merge them")


def _further_fields(first: Any) -> list[str]:
    """Fields of the first annotation that become attributes."""
    return [
        name
        for name, value in (first.items() if isinstance(first, dict) else ())
        if name not in OTHER_FIELDS
        and name.isidentifier()
        and not name.startswith("__")  # of Python's own
        and not keyword.iskeyword(name)
        and not isinstance(value, list | dict)
    ]


def _annotation_type(first: Any) -> type[Annotation]:
    """The record of an annotation, with those further fields that the first one has."""
    more = [(name, Any, msgspec.field(name=name, default=None)) for name in _further_fields(first)]
    kind = msgspec.defstruct("AnnotationAndMore", more, bases=(Annotation,), gc=False)
    return cast("type[Annotation]", kind)


def _attributes(
    objects: AnnotationColumns, keep: NDArray[np.int64], boxes: NDArray[np.float64]
) -> dict[str, NDArray[Any]]:
    """Columns of all else that is known of the objects that are kept, whose `boxes` are (N, 4)."""
    columns: dict[str, NDArray[Any]] = {}
    given = objects.area[keep]
    if not np.isnan(given).all():
        columns["area"] = np.where(np.isnan(given), area(boxes), given)
    if objects.more and len(keep):
        annotations = _kept(objects.records(), keep)
        fields = [name for name in type(annotations[0]).__struct_fields__ if name not in OTHER_FIELDS]
        given_columns = itertools.chain(
            ((name, [getattr(one, name) for one in annotations]) for name in fields),
            ((name, [(one.attributes or {}).get(name) for one in annotations])
             for name in annotations[0].attributes or {}),
        )  # fmt: skip
        for name, values in given_columns:
            if name not in columns and (column := _attribute(values)) is not None:
                columns[name] = column
    return columns


def _kept(values: Sequence[Kept], keep: NDArray[np.int64]) -> Sequence[Kept]:
    return values if len(keep) == len(values) else [values[row] for row in keep]


def _attribute(values: Sequence[Any]) -> NDArray[Any] | None:
    """The column of these values, or None where they are no numbers, truth values or strings."""
    kinds = {type(value) for value in values if value is not None}

    def column(missing: float | str, dtype: type) -> NDArray[Any]:
        return np.array([missing if value is None else value for value in values], dtype)

    if not kinds:
        return None
    if kinds <= {bool, int} and all(value is None or abs(value) < 1 << 62 for value in values):
        return column(UNKNOWN, np.int64)
    if kinds <= {bool, int, float}:
        with contextlib.suppress(OverflowError):  # a whole number of hundreds of digits
            return column(np.nan, np.float64)
    if kinds == {str} and all(len(value or "") <= LONGEST_ATTRIBUTE for value in values):
        return column("", np.str_)
    return None


def _plain_id(key: Any) -> Any:
    """An id, 12 for the 12.0 of a table with gaps."""
    return int(key) if isinstance(key, float) and key.is_integer() else key


def _object_ids(given: Sequence[Any]) -> list[int | str]:
    """The ids of annotations; none where any lacks one, or two differ only in being text."""
    if set(map(type, given)) == {int}:
        return list(given) if len(set(given)) == len(given) else []
    ids = [str(key) if isinstance(key, float) else key for key in map(_plain_id, given)]
    return ids if None not in ids and len(set(map(str, ids))) == len(ids) else []


def _distinct(path: Path, part: str, ids: Sequence[Any]) -> list[int | str]:
    """The ids, whole numbers and strings, each there once."""
    if set(map(type, ids)) == {int} and len(set(ids)) == len(ids):
        return list(ids)
    first: dict[str, int] = {}
    ids = list(map(_plain_id, ids))
    for index, key in enumerate(ids):
        where = f"{path}: {part}[{index}]"
        if isinstance(key, float):
            raise InputError(where, f"the id {key}", "a whole number or a string")
        before = first.setdefault(str(key), index)
        if before != index:
            found = f"the id {key!r} a second time (first in {part}[{before}])"
            raise InputError(where, found, "each id once")
    return ids


def image_folders(path: Path) -> tuple[list[Path], list[str]]:
    """Where the photographs of an annotation file may lie: two folders, and folders in each of them."""
    names = (path.stem, path.stem.rpartition("_")[2], path.stem.partition("_")[0])  # instances_val2017.json
    splits = [name for name in dict.fromkeys(names) if name]
    inner = ["images", "data", *splits, *(f"images/{name}" for name in splits)]  # FiftyOne's is data
    near = path.parent
    return [near, near.parent if near.name not in ("", "..") else near / ".."], inner


def _image_folder(path: Path, files: Sequence[str]) -> Path | None:
    """The folder that the images' names begin in, if they lie in one of the usual places."""
    outer, inner = image_folders(path)
    for folder in [place / name for place in outer for name in ("", *inner)]:
        if folder.is_dir() and any(is_file(folder / file.replace("\\", "/")) for file in files[:20]):
            return folder
    return None


def _sizes(path: Path, images: Sequence[Image], photographs: Sequence[Path]) -> tuple[ArrayLike, ArrayLike]:
    """Width and height of each image, and whether they are those of the photograph."""
    columns = [list(map(attrgetter(name), images)) for name in ("width", "height")]
    if set(map(type, itertools.chain(*columns))) == {int}:
        given = np.array(columns).T
        if ((given > 0) & (given < UNKNOWN_SIZE)).all():
            return given, np.zeros(len(images), dtype=bool)
    sizes: list[tuple[int, int]] = []
    as_shown = np.zeros(len(images), dtype=bool)
    for index, image in enumerate(images):
        width, height = image.width or 0, image.height or 0
        where, found = f"{path}: images[{index}]", f"a size of {short_repr(width)}×{short_repr(height)}"
        if width > 0 and height > 0:
            if not (width < UNKNOWN_SIZE and height < UNKNOWN_SIZE and width % 1 == height % 1 == 0):
                raise InputError(where, found, "whole numbers of pixels")
            sizes.append((int(width), int(height)))
        elif photographs and is_file(photographs[index]):
            sizes.append(image_size(photographs[index]))
            as_shown[index] = True
        elif width or height:  # not missing, but −1 or NaN
            found += ", and no such image file beside the annotations"
            raise InputError(where, found, "width and height in pixels, or the image file")
        else:
            sizes.append((UNKNOWN_SIZE, UNKNOWN_SIZE))
    unknown = sum(width == UNKNOWN_SIZE for width, _ in sizes)
    if unknown:
        warn(
            f"{path}: {unknown:,} of {len(images):,} images have neither width and height nor a file beside "
            "the annotations: detections on them are not clipped to the image",
        )
    return sizes, as_shown


def _note_repeated_ids(path: Path, objects: AnnotationColumns, place: Callable[[int], str]) -> None:
    """Ids of annotations are not needed to be unique: files that were merged repeat them."""
    ids = [key for key in objects.id if key is not None]
    if len(set(ids)) == len(ids):
        return
    first: dict[object, int] = {}
    repeated = [i for i, key in enumerate(objects.id) if key is not None and first.setdefault(key, i) != i]
    key = objects.records()[repeated[0]].id
    warn(
        f"{path}: {len(repeated):,} annotation{'s have' if len(repeated) > 1 else ' has'} an id that another "
        f"has, the first at {place(repeated[0])}: the id {short_repr(key)}, already at {place(first[key])}; "
        "none is left out"
    )


# ---------------------------------------------------------------- results


def read_coco_pair(
    annotations: Path | str, results: Path | str, lenient: bool = False
) -> tuple[GroundTruth, Detections]:
    """Both files, as :func:`read_coco` and :func:`read_coco_detections` read them, on two cores at once."""
    truth = cache(partial(read_coco, annotations, lenient))
    found = read_coco_detections(results, truth, lenient)
    return truth(), found


def read_coco_detections(
    path: Path | str,
    truth: GroundTruth | Callable[[], GroundTruth],
    lenient: bool = False,
    box_format: str | None = None,
    normalized: bool = False,
) -> Detections:
    """Detections from a COCO results file, in its order.

    ``image_id`` and ``category_id`` are those of the annotation file that `truth` was read from, numbers or
    strings; strings may also be the names of image and class, see :mod:`data.formats.names`. Where the ground
    truth knows no ids (VOC, YOLO) a number is the image of that name, 12 that of ``000012``, and classes go
    by name. A row that also has a ``file_name`` or ``category_name`` is of the image and class that these
    name, with a warning where the id means another. Boxes are in continuous pixels, from 0. Other fields are
    not read.

    Parameters
    ----------
    path
        The JSON file.
    truth
        The ground truth, or what reads it while another process begins with the results.
    lenient
        Drop the elements that are at fault, with a warning that counts them, instead of raising.
    box_format, normalized
        What the numbers of a box are, see :data:`~data.formats.validation.BOX_FORMATS` (default: xywh), and
        whether they are fractions of the image's size.

    Raises
    ------
    InputError
        The file is absent, empty, not UTF-8, no JSON (with line and column), or no list; or, with the index
        of the element: a field is missing or of another type, an image or class is unknown, a score or box is
        not finite, a box is inverted.
    """
    path = Path(path)
    faults = Faults(path, lenient)
    read_as = BoxFormat.chosen(box_format, normalized, XYWH)
    read_truth = cache(truth if callable(truth) else lambda: truth)
    records: Callable[[], Sequence[Result]]
    indices: Sequence[int]
    try:
        columns = _plain_results(path, read_truth)
        indices = range(len(columns[0]))
        records = cache(lambda: msgspec.json.decode(read_json(path, RESULTS), type=list[Result]))
    except (LookupError, OSError, RecursionError, UnicodeDecodeError, msgspec.DecodeError):
        columns = None
    ground_truth = read_truth()
    images, classes = images_by_id(ground_truth), classes_by_id(ground_truth)
    where = lambda row: f"{path}[{indices[row]}]"  # noqa: E731
    if columns is None:
        results, indices = _results(path, faults)
        records = lambda: results  # noqa: E731
        columns = _result_columns(results, ground_truth, images, classes, where)
    return detections_of(
        ground_truth,
        faults,
        where,
        columns,
        read_as,
        not (box_format or normalized),
        Keys(lambda row: records()[row].image_id, lambda row: records()[row].category_id, images, classes),
        sized=read_as.form != "xyxy",
    )


def _results(path: Path, faults: Faults) -> tuple[list[Result], Sequence[int]]:
    """All results, or those without fault, and their indices."""
    content = read_json(path, RESULTS)
    try:
        results = msgspec.json.decode(content, type=list[Result])
        return results, range(len(results))
    except (msgspec.DecodeError, RecursionError):  # something is wrong: only now go through the elements
        elements = parse_json(path, content)
    if isinstance(elements, list):
        return _convert(elements, Result, lambda i: f"{path}[{i}]", faults, RESULT)
    found = f"a single {type(elements).__name__}"
    if isinstance(elements, dict):
        keys = ", ".join(map(repr, itertools.islice(elements, 5)))
        found = f"an object with the keys {keys}" if elements else "an empty object"
        if {"images", "annotations"} <= elements.keys():
            found = f"an annotation file (keys {keys}); is it the ground truth?"
    raise InputError(path, found, RESULTS)


def _plain_results(path: Path, truth: Callable[[], GroundTruth]) -> Columns:
    """:func:`_result_columns` of a file of plain results with known ids, read in parts by several processes.

    Raises
    ------
    LookupError, OSError, RecursionError, UnicodeDecodeError, msgspec.DecodeError
        It is no such file: to be read otherwise.
    """
    size = path.stat().st_size
    # The processes write to memory that they share: to send as much takes half as long as to decode it.
    most = size // SHORTEST_RESULT + 1
    shared = [
        np.ndarray((most, *shape), kind, mmap(-1, 8 * most * math.prod(shape)))
        for kind, shape in ((np.int64, ()), (np.int64, ()), (np.float64, ()), (np.float64, (4,)))
    ]

    def columns(start: int) -> slice:
        with path.open("rb", buffering=0) as file:
            file.seek(start)
            text = file.read(BYTES_AT_ONCE + LONGEST_RESULT)
        # From the first end of a result behind `start` to the next behind the next start.
        before = BETWEEN_OBJECTS.search(text) if start else None
        behind = BETWEEN_OBJECTS.search(text, BYTES_AT_ONCE)
        if start + len(text) < size and not (behind and (before or not start)):
            raise LookupError
        if start and not before:  # the result before goes on to the end of the file
            return slice(0, 0)
        low, high = before.end() - 1 if before else 0, behind.start() + 1 if behind else len(text)
        part = b"".join((b"[" * bool(before), memoryview(text)[low:high], b"]" * bool(behind)))
        parsed = _columns(part, PlainResult)
        first = (start + low) // SHORTEST_RESULT
        rows = slice(first, first + len(parsed["score"]))
        ids = _whole(parsed["image_id"]), _whole(parsed["category_id"])
        for column, values in zip(shared, (*ids, parsed["score"], parsed["bbox"]), strict=True):
            column[rows] = values
        return rows

    starts, processes = range(0, max(size, 1), BYTES_AT_ONCE), min(usable_cores(), size // BYTES_OF_A_PROCESS)
    places = over_processes(columns, starts, processes, truth)
    images, labels, scores, boxes = (np.concatenate([column[rows] for rows in places]) for column in shared)
    return _by_number(images, truth().image_ids), _by_number(labels, truth().class_ids), scores, boxes


def _by_number(numbers: NDArray[np.int64], ids: Sequence[int | str]) -> NDArray[np.int64]:
    """The indices of numbers, each of which must be one of `ids`, or else LookupError."""
    index = {key: i for i, key in enumerate(ids) if isinstance(key, int)}
    first, last = min(index, default=0), max(index, default=0)
    if not index or last - first >= LARGEST_TABLE or max(last, -first) >= LARGEST_EXACT:
        raise LookupError
    table = np.full(last - first + 1, NO_INDEX)
    table[np.array(list(index)) - first] = list(index.values())
    if not (numbers.min(initial=first) >= first and numbers.max(initial=first) <= last):
        raise LookupError
    indices: NDArray[np.int64] = table.take(numbers - first)
    if indices.min(initial=0) < 0:
        raise LookupError
    return indices


def _result_columns(
    results: Sequence[Result],
    truth: GroundTruth,
    images: Lookup,
    classes: Lookup,
    where: Callable[[int], str],
) -> Columns:
    """What results mean by their ids, and by the names beside these, if the file has any."""
    count = len(results)

    def column(field: str) -> Iterable[Any]:
        return map(attrgetter(field), results)

    def meant(
        fields: tuple[str, str],
        lookup: Lookup,
        by_name: Callable[[GroundTruth], Lookup],
        known: Sequence[str],
    ) -> NDArray[np.int64]:
        by_id = np.fromiter(map(lookup.__getitem__, column(fields[0])), np.int64, count)
        names = list(column(fields[1]))
        if not any(names):
            return by_id
        index = by_name(truth)
        named = np.array([bool(name) for name in names])
        of_names = np.array([index[name] if name else NO_INDEX for name in names], np.int64)
        id_and_name = lambda row: (getattr(results[row], fields[0]), names[row])  # noqa: E731
        return prefer_names(by_id, of_names, named, known, fields, id_and_name, where)

    return (
        meant(("image_id", "file_name"), images, images_by_name, truth.images),
        meant(("category_id", "category_name"), classes, classes_by_name, truth.classes),
        np.fromiter(column("score"), np.float64, count),
        np.fromiter(itertools.chain.from_iterable(column("bbox")), np.float64, 4 * count).reshape(count, 4),
    )


# ---------------------------------------------------------------- both


def _convert(
    elements: Iterable[Any],
    kind: type[Record],
    where: Callable[[int], str],
    faults: Faults,
    expected: str,
    check: Callable[[Any], Problem | None] = lambda record: None,
) -> tuple[list[Record], list[int]]:
    """The elements of a JSON list that fit `kind` and pass the `check`, and their indices."""
    good: dict[int, Record] = {}
    for index, element in enumerate(elements):
        if isinstance(element, tuple):  # what is wrong with a region of VIA or Label Studio
            problem: Problem | None = element
        else:
            try:
                record = msgspec.convert(element, kind)
                problem = check(record)
            except msgspec.ValidationError as error:
                problem = _found(str(error)), expected, "malformed"
            except UnicodeEncodeError:
                problem = "half of a surrogate pair", f"text: {expected}", "malformed"
        if problem:
            faults.add(where(index), problem)
        else:
            good[index] = record
    return [*good.values()], [*good]


JSON_TYPES = {
    "int": "a whole number",
    "float": "a number",
    "str": "a string",
    "bool": "true or false",
    "null": "null",
    "array": "a list",
    "object": "an object",
}
MISSING = re.compile(r"missing required field `(?P<name>.+?)`")
WRONG = re.compile(r"Expected `(?P<want>.+?)`(?: of length (?P<length>\d+))?(?:, got `(?P<got>.+?)`)?")
PLACE = re.compile(r" - at `\$\.?(?P<place>.*)`$")


def _found(message: str) -> str:
    """What was found, from what msgspec says was wrong."""
    if missing := MISSING.search(message):
        return f"no {missing['name']}"
    place = PLACE.search(message)
    name = place["place"] if place else ""
    wrong = WRONG.search(message)
    if not wrong:
        return message[:200]
    if wrong["got"]:
        return " as ".join(filter(None, [JSON_TYPES.get(wrong["got"], wrong["got"]), name]))
    return f"not {wrong['length']} values as {name or 'element'}"


# ---------------------------------------------------------------- writing


def coco_ground_truth(truth: GroundTruth, keep_ids: bool = False) -> dict[str, Any]:
    """The dictionary of a COCO annotation file.

    Images and categories are numbered from 1 in the order of the record, or keep their own ids where
    `keep_ids` and there are any. ``difficult`` objects get ``iscrowd`` 1, as COCO has no other way to leave
    an object out of the score, and keep their own flag beside it. ``area`` is that attribute, where the
    ground truth has it, else the box's.
    """
    images, classes = _ids(truth, keep_ids)
    rows = zip(
        truth.object_ids if keep_ids and truth.object_ids else range(1, len(truth) + 1),
        truth.image_index.tolist(),
        truth.labels.tolist(),
        np.concatenate([truth.boxes[:, :2], truth.extents], axis=1).tolist(),
        truth.attributes.get("area", area(truth.boxes)).tolist(),
        truth.crowd.tolist(),
        truth.difficult.tolist(),
        strict=True,
    )
    return {
        "images": [
            {"id": key, "file_name": f"{name}.jpg", "width": width, "height": height}
            for key, name, (width, height) in zip(images, truth.images, truth.sizes.tolist(), strict=True)
        ],
        "categories": [{"id": key, "name": name} for key, name in zip(classes, truth.classes, strict=True)],
        "annotations": [
            {
                "id": key,
                "image_id": images[image],
                "category_id": classes[label],
                "bbox": box,
                "area": size,
                "iscrowd": int(crowd or difficult),
                "difficult": int(difficult),
            }
            for key, image, label, box, size, crowd, difficult in rows
        ],
    }


def coco_detections(
    detections: Detections, truth: GroundTruth | None = None, *, named: bool = False
) -> list[dict[str, Any]]:
    """The list of a COCO results file, with the ids of `truth` where it has them, else numbered from 1.

    `named`: each row has the names of its image and class, too, for ground truth that has other ids.
    """
    images, classes = _ids(detections if truth is None else truth, keep=True)
    rows = zip(
        detections.image_index.tolist(),
        detections.labels.tolist(),
        np.concatenate([detections.boxes[:, :2], detections.extents], axis=1).tolist(),
        detections.scores.tolist(),
        strict=True,
    )
    return [
        {"image_id": images[image], "category_id": classes[label], "bbox": box, "score": score}
        | (
            {"file_name": detections.images[image], "category_name": detections.classes[label]}
            if named
            else {}
        )
        for image, label, box, score in rows
    ]


def _ids(record: GroundTruth | Detections, keep: bool) -> tuple[Sequence[int | str], Sequence[int | str]]:
    """The ids of images and classes: the record's own, if they are to be kept, or from 1."""
    images: Sequence[int | str] = range(1, len(record.images) + 1)
    classes: Sequence[int | str] = range(1, len(record.classes) + 1)
    if keep and isinstance(record, GroundTruth):
        return record.image_ids or images, record.class_ids or classes
    return images, classes


def write_coco_ground_truth(truth: GroundTruth, path: Path | str, keep_ids: bool = False) -> None:
    """Write a COCO annotation file; see :func:`coco_ground_truth`."""
    write_text(path, json.dumps(coco_ground_truth(truth, keep_ids)))


def write_coco_detections(
    detections: Detections, path: Path | str, truth: GroundTruth | None = None, *, named: bool = False
) -> None:
    """Write a COCO results file; see :func:`coco_detections`."""
    write_text(path, json.dumps(coco_detections(detections, truth, named=named)))
