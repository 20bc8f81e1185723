"""COCO's annotation files, also those that hold boxes alone or were made by other tools."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from operator import attrgetter
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from data.formats.coco_fields import (
    Annotation,
    Categories,
    Category,
    Image,
    Number,
    Parts,
    annotation_type,
    attributes_of,
)
from data.formats.coco_results import xyxy
from data.formats.json_text import convert_each, parse, read_json
from data.formats.names import NO_INDEX, by_id, distinct_names, hint
from data.formats.photographs import UNKNOWN_SIZE, image_size
from data.formats.rows import Fault, Tally
from data.records import GroundTruth, InputError

__all__ = ["coco_similar", "coco_whole_groups", "read_coco"]

EXPECTED = 'a COCO annotation file: {"images": […], "annotations": […], "categories": […]}'
ANNOTATION = 'an annotation: {"image_id": …, "category_id": …, "bbox": [x, y, width, height]}'
NOTHING = ("", "none")  # supercategories that name none


def read_coco(path: Path | str, lenient: bool = False) -> GroundTruth:
    """Ground truth from a COCO annotation file.

    Images are called as their files, without folder and extension; with the folder where two files share a
    name, and by their ids where that is not enough or there is no ``file_name``. Ids may be numbers or
    strings. Classes stand in the order of the file. ``segmentation`` and ``info`` are not needed.

    ``iscrowd`` makes a crowd region; ``ignore`` or ``difficult`` a difficult object, which counts neither for
    nor against a detector (pycocotools, other than this, does not heed ``ignore``). ``area`` and every
    further field that the first annotation has become attributes, if they are one number, truth value or
    string for an object; so do those within ``attributes``, as CVAT writes them. Where they are missing
    stands NaN, −1 or an empty string; where ``area`` is missing the area of the box.

    An image without ``width`` and ``height`` takes them from its file, if that lies beside the annotations;
    otherwise they are :data:`~data.formats.photographs.UNKNOWN_SIZE`, with a warning, and detections are not
    clipped to it.

    Parameters
    ----------
    path
        The JSON file.
    lenient
        Drop annotations that are at fault, with a warning that counts them, instead of raising.

    Raises
    ------
    InputError
        The file is absent, empty, not UTF-8, no JSON (with line and column) or another kind of it; an id or a
        class name stands there twice; or, with the index of the annotation: a field is missing or of another
        type, an image or category is unknown, a box is not finite or has no area.
    """
    path = Path(path)
    content = read_json(path, EXPECTED)
    tally = Tally(path, lenient, "annotations")
    images, categories, annotations, indices = _decode(path, content, tally)
    image_ids = _distinct(path, "images", [image.id for image in images])
    class_ids = _distinct(path, "categories", [category.id for category in categories])
    names = [category.name for category in categories]
    for index, name in enumerate(names):
        if name in names[:index]:
            found = f"the name {name!r} a second time (first in categories[{names.index(name)}])"
            raise InputError(f"{path}: categories[{index}]", found, "each class once")

    count = len(annotations)
    image_numbers, class_numbers = by_id(image_ids), by_id(class_ids)
    image_index = np.fromiter(
        map(image_numbers.__getitem__, map(attrgetter("image_id"), annotations)), np.int64, count
    )
    labels = np.fromiter(
        map(class_numbers.__getitem__, map(attrgetter("category_id"), annotations)), np.int64, count
    )
    boxes = xyxy(map(attrgetter("bbox"), annotations), count)
    keep = _checked(path, annotations, indices, image_index, labels, boxes, tally)
    kept = [annotations[row] for row in keep]

    files = [image.file_name for image in images]
    given = [file for file in files if file]
    folder = _folder(path, given[0]) if len(given) == len(files) and files else None
    photographs = [folder / file for file in given] if folder else []
    return GroundTruth(
        (distinct_names(given) if len(given) == len(files) else None) or map(str, image_ids),
        names,
        _sizes(path, images, photographs),
        image_index[keep],
        labels[keep],
        boxes[keep],
        difficult=[bool(a.ignore or a.difficult) for a in kept],
        # Difficult objects were written as crowds, too, for pycocotools' sake: see data.formats.coco.
        crowd=[bool(a.iscrowd) and not a.difficult for a in kept],
        attributes=attributes_of(kept, boxes[keep]),
        files=photographs,
        image_ids=image_ids,
        class_ids=class_ids,
        object_ids=_object_ids(kept),
    )


def coco_similar(path: Path | str) -> list[list[str]]:
    """Groups of similar classes: those of one ``supercategory``.

    A supercategory of all classes says nothing, nor does one of that name: both are what exporters write who
    know of none.

    Raises
    ------
    InputError
        As :func:`read_coco`, as far as the categories go.
    """
    groups, everything = _supercategories(Path(path))
    return [group for above, group in groups.items() if set(group) | {above} != everything | {above}]


def coco_whole_groups(path: Path | str) -> list[str]:
    """Names of the supercategories that hold all classes, which :func:`coco_similar` passes over.

    Raises
    ------
    InputError
        As :func:`coco_similar`.
    """
    groups, everything = _supercategories(Path(path))
    return [above for above, group in groups.items() if set(group) | {above} == everything | {above}]


def _supercategories(path: Path) -> tuple[dict[str, list[str]], set[str]]:
    """The classes of each supercategory that has several, and all classes."""
    content = read_json(path, EXPECTED)
    try:
        categories = msgspec.json.decode(content, type=Categories).categories
    except msgspec.DecodeError:
        categories = _decode(path, content, Tally(path, True))[1]
    groups: dict[str, list[str]] = {}
    for category in categories:
        above = category.supercategory or ""
        if above.strip().lower() not in NOTHING:
            groups.setdefault(above, []).append(category.name)
    several = {above: group for above, group in groups.items() if len(group) > 1}
    return several, {category.name for category in categories}


def _decode(
    path: Path, content: bytes, tally: Tally
) -> tuple[list[Image], list[Category], list[Annotation], Sequence[int]]:
    """Images, categories, annotations and the annotations' indices."""
    try:
        parts = msgspec.json.decode(content, type=Parts)
        kind = annotation_type(msgspec.json.decode(parts.annotations[0]) if parts.annotations else None)
        decoder = msgspec.json.Decoder(kind)
        annotations = [decoder.decode(raw) for raw in parts.annotations]
        return parts.images, parts.categories, annotations, range(len(annotations))
    except msgspec.DecodeError:  # something is wrong somewhere: only now go through all elements
        pass
    whole = parse(path, content)
    if not isinstance(whole, dict):
        hint_ = "; is it a results file?" if isinstance(whole, list) else ""
        raise InputError(path, f"a {type(whole).__name__} of JSON{hint_}", EXPECTED)
    for part in ("images", "annotations", "categories"):
        if not isinstance(whole.get(part), list):
            found = f"no {part}" if part not in whole else f"no list as {part}"
            near = hint(part, list(whole)) if part not in whole else ""
            raise InputError(path, found, f"{EXPECTED}{near}")

    def place(part: str) -> Any:
        return lambda i: f"{path}: {part}[{i}]"

    strict = Tally(path, False)
    images, _ = convert_each(
        whole["images"], Image, place("images"), strict, 'an image: {"id": …, "file_name": …, "width": …, …}'
    )
    categories, _ = convert_each(
        whole["categories"], Category, place("categories"), strict, 'a category: {"id": …, "name": …}'
    )
    listed = whole["annotations"]
    kind = annotation_type(listed[0] if listed else None)
    annotations, indices = convert_each(listed, kind, place("annotations"), tally, ANNOTATION)
    return images, categories, annotations, indices


def _object_ids(annotations: Sequence[Annotation]) -> list[int | str]:
    """The ids of the annotations; none where any lacks one, or two differ only in being text."""
    ids: list[int | str] = []
    for annotation in annotations:
        if annotation.id is None:
            return []
        whole = isinstance(annotation.id, float) and annotation.id.is_integer()
        plain = whole or isinstance(annotation.id, int)
        ids.append(int(annotation.id) if plain else str(annotation.id))
    return ids if len(set(map(str, ids))) == len(ids) else []


def _distinct(path: Path, part: str, ids: Sequence[Any]) -> list[int | str]:
    """The ids, whole numbers and strings, each there once."""
    first: dict[str, int] = {}
    whole: list[int | str] = []
    for index, key in enumerate(ids):
        if isinstance(key, float):
            if not key.is_integer():
                raise InputError(f"{path}: {part}[{index}]", f"the id {key}", "a whole number or a string")
            key = int(key)
        before = first.setdefault(str(key), index)
        if before != index:
            found = f"the id {key!r} a second time (first in {part}[{before}])"
            raise InputError(f"{path}: {part}[{index}]", found, "each id once")
        whole.append(key)
    return whole


def _checked(
    path: Path,
    annotations: Sequence[Annotation],
    indices: Sequence[int],
    image_index: NDArray[np.int64],
    labels: NDArray[np.int64],
    boxes: NDArray[np.float64],
    tally: Tally,
) -> NDArray[np.int64]:
    """The rows without fault."""
    finite = np.asarray(np.isfinite(boxes).all(axis=1))
    empty = np.zeros(len(boxes), dtype=bool)
    empty[finite] = (boxes[finite, 2:] <= boxes[finite, :2]).any(axis=1)
    twice = np.zeros(len(boxes), dtype=bool)
    seen: dict[object, int] = {}
    for row, annotation in enumerate(annotations):
        if annotation.id is not None and seen.setdefault(annotation.id, row) != row:
            twice[row] = True
    faulty = (image_index == NO_INDEX) | (labels == NO_INDEX) | ~finite | empty | twice
    for row in np.flatnonzero(faulty).tolist():
        annotation, where = annotations[row], f"{path}: annotations[{indices[row]}]"
        box = f"the bbox {' '.join(f'{value:g}' for value in annotation.bbox)}"
        if image_index[row] == NO_INDEX:
            fault = Fault(
                where, f"the unknown image_id {annotation.image_id!r}", "the id of one of the images",
                "on an unknown image",
            )  # fmt: skip
        elif labels[row] == NO_INDEX:
            fault = Fault(
                where, f"the unknown category_id {annotation.category_id!r}",
                "the id of one of the categories", "of an unknown category",
            )  # fmt: skip
        elif not finite[row]:
            fault = Fault(where, box, "four finite numbers", "with a box that is not finite")
        elif empty[row]:
            fault = Fault(
                where, f"{box}, without area", "a width and height above 0", "with a box without area"
            )
        else:
            first = indices[seen[annotation.id]]
            found = f"the id {annotation.id!r} a second time (first in annotations[{first}])"
            fault = Fault(where, found, "each id once", "of an id that was there before")
        tally.add(fault)
    keep = np.flatnonzero(~faulty)
    tally.warn(len(keep))
    return keep


def _folder(path: Path, file: str) -> Path | None:
    """The folder that the images' names begin in, if they lie in one of the usual places."""
    split = path.stem.rpartition("_")[2]  # instances_val2017.json
    near, above = path.parent, path.parent.parent
    for folder in (near, near / "images", above, above / "images", above / split, above / "images" / split):
        if (folder / file).is_file():
            return folder
    return None


def _sizes(path: Path, images: Sequence[Image], photographs: Sequence[Path]) -> list[tuple[Number, Number]]:
    """Width and height of each image."""
    sizes: list[tuple[Number, Number]] = []
    unknown = 0
    for index, image in enumerate(images):
        if image.width and image.height:
            sizes.append((image.width, image.height))
        elif photographs and photographs[index].is_file():
            sizes.append(image_size(photographs[index]))
        else:
            sizes.append((UNKNOWN_SIZE, UNKNOWN_SIZE))
            unknown += 1
    if unknown:
        warnings.warn(
            f"{path}: {unknown:,} of {len(images):,} images have neither width and height nor a file beside "
            "the annotations: detections on them are not clipped to the image",
            stacklevel=3,
        )
    return sizes
