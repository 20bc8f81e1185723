"""Ground truth as annotation tools keep it themselves: VGG's VIA (JSON, CSV) and Label Studio's JSON.

Each becomes the lists of a COCO file, so that :mod:`data.formats.coco` checks it as one. Images and classes
are known by their names. Formats of other tools are an error that names the tool and what to export instead.
"""

from __future__ import annotations

import csv
import io
import json
import posixpath
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from data.formats.files import parse_json, read_utf8
from data.formats.validation import shown, warn
from data.records import InputError

__all__ = ["as_coco", "read_via_csv", "unread_tool"]

VIA_COLUMNS = ("filename", "region_shape_attributes", "region_attributes")
VIA_METADATA = "_via_img_metadata"
CLASS_ATTRIBUTES = ("class", "label", "name", "category", "type", "object")
"""Which attribute of VIA's regions is the class, where they have several."""
EXPORT = "ground truth as it can be exported from there: COCO JSON, PASCAL VOC or YOLO"

Lists = tuple[dict[str, list[Any]], list[str]]
"""The lists of a COCO file, and what its annotations are called in messages."""


def as_coco(path: Path, content: Any) -> Lists | None:
    """The lists of a COCO file for what VIA or Label Studio wrote; None for anything else.

    Raises
    ------
    InputError
        The file is of another tool; or it is not clear which attribute is the class.
    """
    if not isinstance(content, Mapping | list):
        return None
    if isinstance(content, Mapping):
        files = content.get(VIA_METADATA, content)
        if isinstance(files, Mapping) and files and all(map(_is_via, files.values())):
            return _via(path, list(files.values()))
    elif content and all(isinstance(task, Mapping) and _picture(task) is not None for task in content):
        return _label_studio(path, content)
    if tool := unread_tool(content):
        raise InputError(path, f"a file of {tool}", EXPORT)
    return None


def unread_tool(content: Any) -> str:
    """The tool that wrote JSON of a kind that is not read, or nothing."""
    first = content[0] if isinstance(content, list) and content else content
    keys = set(first) if isinstance(first, Mapping) else set()
    if {"shapes", "imagePath"} <= keys:
        return "labelme"
    if {"assets", "tags"} <= keys:
        return "VoTT"
    if {"image", "annotations"} <= keys and isinstance(content, list):
        return "CreateML"
    if {"infos", "categories", "items"} <= keys:
        return "Datumaro"
    return "Supervisely" if {"objects", "size", "tags"} <= keys else ""


# ---------------------------------------------------------------- VIA


def read_via_csv(path: Path) -> bytes:
    """VIA's CSV as its JSON.

    Raises
    ------
    InputError
        Another CSV, malformed JSON in a cell.
    """
    reader = csv.DictReader(io.StringIO(read_utf8(path, "VIA's CSV").decode(), newline=""), strict=True)
    files: dict[str, dict[str, Any]] = {}
    try:
        names = reader.fieldnames or ()
        if not {*VIA_COLUMNS} <= {*names}:
            found = f"a table with the columns {shown(', '.join(names))}"
            raise InputError(path, found, f"VIA's CSV ({', '.join(VIA_COLUMNS)}); or {EXPORT}")
        for row in reader:
            file = files.setdefault(row["filename"], {"filename": row["filename"], "regions": []})
            shape, region = (
                parse_json(Path(f"{path}:{reader.line_num}"), (row[name] or "{}").encode())
                for name in VIA_COLUMNS[1:]
            )
            if shape:
                file["regions"].append({"shape_attributes": shape, "region_attributes": region})
    except csv.Error as error:
        raise InputError(f"{path}:{reader.line_num}", f"malformed CSV ({error})", "VIA's CSV") from None
    return json.dumps(files).encode()


def _is_via(file: Any) -> bool:
    return isinstance(file, Mapping) and "regions" in file and isinstance(file.get("filename"), str)


def _via(path: Path, files: Sequence[Mapping[str, Any]]) -> Lists:
    regions: list[tuple[str, str, Any]] = []  # file, place, region
    for file in files:
        listed = file["regions"]
        listed = list(listed.values()) if isinstance(listed, Mapping) else listed  # VIA 1 numbered them
        if not isinstance(listed, list):
            raise InputError(f"{path}: {shown(file['filename'])}", f"{shown(listed)} as regions", "a list")
        for number, region in enumerate(listed):
            regions.append((file["filename"], f"{shown(file['filename'])}, region {number}", region))
    attributes = [_mapping(region, "region_attributes") for _, _, region in regions]
    key = _class_attribute(path, attributes)
    rows = [(name, _chosen(given.get(key))) for (name, _, _), given in zip(regions, attributes, strict=True)]
    boxes = [_box(_mapping(region, "shape_attributes")) for _, _, region in regions]
    images = [{"id": file["filename"], "file_name": file["filename"]} for file in files]
    return _lists(images, rows, boxes), [place for _, place, _ in regions]


def _lists(
    images: list[dict[str, Any]], rows: Sequence[tuple[str, Any]], boxes: Sequence[Any]
) -> dict[str, list[Any]]:
    """The lists of a COCO file; `rows` are image and class of each box. The classes are sorted."""
    names = sorted({name for _, name in rows if isinstance(name, str) and name.strip()})
    return {
        "images": images,
        "categories": [{"id": name, "name": name} for name in names],
        "annotations": [
            {"image_id": image, "category_id": name, "bbox": box}
            for (image, name), box in zip(rows, boxes, strict=True)
        ],
    }


def _mapping(parent: Any, key: str) -> Mapping[str, Any]:
    value = parent.get(key) if isinstance(parent, Mapping) else None
    return value if isinstance(value, Mapping) else {}


def _class_attribute(path: Path, attributes: Sequence[Mapping[str, Any]]) -> str:
    keys = list(dict.fromkeys(key for given in attributes for key in given))
    if len(keys) < 2:
        return keys[0] if keys else ""
    known = [key for name in CLASS_ATTRIBUTES for key in keys if key.lower() == name]
    if not known:
        expected = f"one, or one that is called {', '.join(CLASS_ATTRIBUTES)}: it is the class"
        raise InputError(path, f"the attributes of regions {shown(', '.join(keys))}", expected)
    return known[0]


def _chosen(value: Any) -> Any:
    """The class that an attribute says; of a checkbox, the one that is ticked."""
    if isinstance(value, Mapping):
        ticked = [name for name, chosen in value.items() if chosen]
        return ticked[0] if len(ticked) == 1 else None
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


def _box(shape: Mapping[str, Any]) -> list[Any] | None:
    """x, y, width and height of the box around a region."""
    try:
        match shape.get("name"):
            case "rect":
                return [shape[side] for side in ("x", "y", "width", "height")]
            case "polygon" | "polyline":
                x, y = shape["all_points_x"], shape["all_points_y"]
                return [min(x), min(y), max(x) - min(x), max(y) - min(y)]
            case "circle" | "ellipse":
                x, y = (shape.get(f"r{axis}", shape.get("r")) for axis in "xy")
                return [shape["cx"] - x, shape["cy"] - y, 2 * x, 2 * y]
    except (KeyError, TypeError, ValueError):
        pass
    return None  # a point, or a shape that lacks something: refused as a box that is null


# ---------------------------------------------------------------- Label Studio


def _picture(task: Mapping[str, Any]) -> str | None:
    """The image of a task: of ``data`` (JSON), or beside its labels (JSON-MIN); None for what is no task."""
    full = isinstance(task.get("data"), Mapping) and isinstance(task.get("annotations"), list)
    short = not full and isinstance(task.get("image"), str) and "annotation_id" in task
    values = list(task["data"].values()) if full else [task["image"]] if short else []
    return next((value for value in values if isinstance(value, str) and value), None)


def _label_studio(path: Path, tasks: Sequence[Mapping[str, Any]]) -> Lists:
    images: list[dict[str, Any]] = []
    rows: list[tuple[str, Any]] = []
    boxes: list[Any] = []
    places: list[str] = []
    several = 0
    for number, task in enumerate(tasks):
        name = _file_name(_picture(task) or "")
        image: dict[str, Any] = {"id": name, "file_name": name}
        images.append(image)
        results, count = _results(task)
        several += count > 1
        for index, (size, value, kind) in enumerate(results):
            if all(isinstance(length, int) for length in size):
                image["width"], image["height"] = size
            labels = value.get(kind)
            rows.append((name, labels[0] if isinstance(labels, list) and len(labels) == 1 else None))
            boxes.append(_percent(value, size))
            places.append(f"[{number}], box {index}")
    if several:
        warn(f"{path}: {several:,} of {len(tasks):,} images were annotated more than once: the first is used")
    return _lists(images, rows, boxes), places


Result = tuple[tuple[Any, Any], Mapping[str, Any], str]
"""Size of the image; the value, with box and labels; the name of its labels."""


def _results(task: Mapping[str, Any]) -> tuple[list[Result], int]:
    """The boxes of a task, and how often it was annotated."""
    if "data" not in task:  # JSON-MIN
        values = [value for listed in task.values() if isinstance(listed, list) for value in listed]
        found, count = [(value, value) for value in values], 1
    else:
        done = [
            one for one in task["annotations"] if isinstance(one, Mapping) and not one.get("was_cancelled")
        ]
        count = len(done)
        listed = done[0].get("result") if done else []
        found = [(one, one.get("value")) for one in listed or () if isinstance(one, Mapping)]
    results: list[Result] = []
    for holder, value in found:
        kind = "rectanglelabels"
        if isinstance(value, Mapping) and kind in value:
            results.append(((holder.get("original_width"), holder.get("original_height")), value, kind))
    return results, count


def _percent(value: Mapping[str, Any], size: tuple[Any, Any]) -> list[float] | None:
    """The box, which is there in per cent of the image; None for one that is turned, or of no known image."""
    try:
        if value.get("rotation"):
            return None
        sides = zip(("x", "y", "width", "height"), (*size, *size), strict=True)
        return [value[name] * length / 100 for name, length in sides]
    except (KeyError, TypeError, OverflowError):
        return None


def _file_name(source: str) -> str:
    """The file that an address names: its last part, or what a local storage is asked for."""
    address = urlsplit(source)
    local = parse_qs(address.query).get("d")
    return posixpath.basename(local[0] if local else unquote(address.path)) or source
