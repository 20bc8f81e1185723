"""Ground truth as annotation tools keep it themselves: VGG's VIA (JSON, CSV) and Label Studio's JSON.

Each becomes the lists of a COCO file, so that :mod:`data.formats.coco` checks it as one. Images and classes
are known by their names. Formats of other tools are an error that names the tool and what to export instead.
"""

from __future__ import annotations

import csv
import io
import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from data.formats.files import IMAGE_SUFFIXES, parse_json, read_utf8
from data.formats.validation import Problem, check_spelling, short_repr, warn
from data.records import InputError

__all__ = ["as_coco", "read_via_csv"]

VIA_COLUMNS = ("filename", "region_shape_attributes", "region_attributes")
VIA_METADATA = "_via_img_metadata"
CLASS_ATTRIBUTES = ("class", "label", "name", "category", "type", "object")
"""Which attribute of VIA's regions is the class, where they have several."""
EXPORT = "ground truth as it can be exported from there: COCO JSON, PASCAL VOC or YOLO"

UNREAD_TOOLS = {
    "labelme": {"shapes", "imagePath"},
    "VoTT": {"assets", "tags"},
    "CreateML": {"image", "annotations"},
    "Datumaro": {"infos", "categories", "items"},
    "VIA 3": {"project", "config", "file", "metadata", "view"},
    "Supervisely": {"objects", "size", "tags"},
}
"""Keys of their JSON, or of its first element."""

NOT_TURNED_DEGREES = 0.01
SHAPES = "rectangles, polygons, ellipses or circles (--lenient leaves out all else)"

Lists = tuple[dict[str, list[Any]], list[str]]
"""The lists of a COCO file, and what its annotations are called in messages. Instead of an annotation there
may be what is wrong with it."""
ONE_CLASS = ("a region of no class, or of several", "one class", "malformed")
NO_CLASSES = ("not_defined", "unknown", "", None)
"""What VIA's attributes are until somebody chooses a value."""
Box = list[Any] | Problem
"""x, y, width and height; or what is wrong."""


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
        if _is_task(content):
            return _label_studio(path, [content])
    elif content and all(isinstance(task, Mapping) and _is_task(task) for task in content):
        return _label_studio(path, content)
    first = content[0] if isinstance(content, list) and content else content
    keys = set(first) if isinstance(first, Mapping) else set()
    for tool, names in UNREAD_TOOLS.items():
        if names <= keys and (tool != "CreateML" or isinstance(content, list)):
            raise InputError(path, f"a file of {tool}", EXPORT)
    return None


# ---------------------------------------------------------------- VIA


def read_via_csv(path: Path) -> bytes:
    """VIA's CSV as its JSON.

    Raises
    ------
    InputError
        Another CSV, malformed JSON in a cell.
    """
    text = read_utf8(path, "VIA's CSV").decode().removeprefix("#")  # VIA 1 has it before its column names
    comma = max(",;\t", key=text.partition("\n")[0].count)
    reader = csv.DictReader(io.StringIO(text, newline=""), strict=True, delimiter=comma)
    files: dict[str, dict[str, Any]] = {}
    try:
        names = reader.fieldnames or ()
        if not {*VIA_COLUMNS} <= {*names}:
            found = f"a table with the columns {short_repr(', '.join(names))}"
            raise InputError(path, found, f"VIA's CSV ({', '.join(VIA_COLUMNS)}); or {EXPORT}")
        for row in reader:
            if None in row or None in row.values():  # more cells, or fewer
                cells = len(names) - list(row.values()).count(None) + len(row.get(None, ()))
                found = f"{cells} columns"
                raise InputError(f"{path}:{reader.line_num}", found, f"{len(names)}, as in the first line")
            file = files.setdefault(row["filename"], {"filename": row["filename"], "regions": []})
            where = Path(f"{path}:{reader.line_num}")
            shape, region = (parse_json(where, (row[name] or "{}").encode()) for name in VIA_COLUMNS[1:])
            if shape:
                file["regions"].append({"shape_attributes": shape, "region_attributes": region})
    except csv.Error as error:
        raise InputError(f"{path}:{reader.line_num}", f"malformed CSV ({error})", "VIA's CSV") from None
    return json.dumps(files).encode()


def _is_via(file: Any) -> bool:
    return isinstance(file, Mapping) and "regions" in file and isinstance(file.get("filename"), str)


def _via(path: Path, files: Sequence[Mapping[str, Any]]) -> Lists:
    names, places, regions = list[str](), list[str](), list[Any]()
    for file in files:
        if not file["filename"].strip():
            raise InputError(path, "a file without a name", "its name as filename")
        listed, where = file["regions"], short_repr(file["filename"])
        listed = list(listed.values()) if isinstance(listed, Mapping) else listed  # VIA 1 numbered them
        if not isinstance(listed, list):
            raise InputError(f"{path}: {where}", f"{short_repr(listed)} as regions", "a list")
        names += [file["filename"]] * len(listed)
        places += [f"{where}, region {number}" for number in range(len(listed))]
        regions += listed
    attributes = [_mapping(region, "region_attributes") for region in regions]
    key = _class_attribute(path, attributes)
    rows = [(name, _chosen(given.get(key))) for name, given in zip(names, attributes, strict=True)]
    boxes = [_box(_mapping(region, "shape_attributes")) for region in regions]
    images = [{"id": file["filename"], "file_name": file["filename"]} for file in files]
    return _lists(path, images, rows, boxes, places)


def _lists(
    path: Path,
    images: list[dict[str, Any]],
    rows: Sequence[tuple[str, Any]],
    boxes: Sequence[Box],
    places: list[str],
) -> Lists:
    """`rows` are image and class of each box. The classes are sorted."""
    labels = [name if isinstance(name, str) and name.strip() else None for _, name in rows]
    named = [row for row, label in enumerate(labels) if label]
    check_spelling(path, [label for label in labels if label], lambda row: places[named[row]])
    annotations: list[Any] = []
    for (image, _), label, box in zip(rows, labels, boxes, strict=True):
        row = {"image_id": image, "category_id": label, "bbox": box} if label else ONE_CLASS
        annotations.append(box if isinstance(box, tuple) else row)
    categories = [{"id": name, "name": name} for name in sorted({label for label in labels if label})]
    return {"images": images, "categories": categories, "annotations": annotations}, places


def _mapping(parent: Any, key: str) -> Mapping[str, Any]:
    value = parent.get(key) if isinstance(parent, Mapping) else None
    return value if isinstance(value, Mapping) else {}


def _class_attribute(path: Path, attributes: Sequence[Mapping[str, Any]]) -> str:
    keys = list(dict.fromkeys(key for given in attributes for key in given))
    if len(keys) < 2:
        return keys[0] if keys else ""
    known = [key for name in CLASS_ATTRIBUTES for key in keys if key.lower() == name]
    chosen = [key for key in known if any(given.get(key) not in NO_CLASSES for given in attributes)]
    if not known:
        expected = f"one, or one that is called {', '.join(CLASS_ATTRIBUTES)}: it is the class"
        raise InputError(path, f"the attributes of regions {short_repr(', '.join(keys))}", expected)
    return (chosen or known)[0]


def _chosen(value: Any) -> Any:
    """The class that an attribute says; of a checkbox, the one that is ticked."""
    if isinstance(value, Mapping):
        ticked = [name for name, chosen in value.items() if chosen]
        return ticked[0] if len(ticked) == 1 else None
    if isinstance(value, str):
        return value.strip()  # typed by hand
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


def _box(shape: Mapping[str, Any]) -> Box:
    """The box around a region of VIA."""
    try:
        match shape.get("name"):
            case "rect":
                return [shape[side] for side in ("x", "y", "width", "height")]
            case "polygon" | "polyline":
                return _around(zip(shape["all_points_x"], shape["all_points_y"], strict=True))
            case "circle" | "ellipse":
                x, y = (shape.get(f"r{axis}", shape.get("r")) for axis in "xy")
                return _around_ellipse(shape["cx"], shape["cy"], x, y, shape.get("theta") or 0.0)
            case name:
                return f"a region of the form {short_repr(name)}", SHAPES, "malformed"
    except (KeyError, TypeError, ValueError, OverflowError):
        return f"a {shape['name']} without all of its numbers", "numbers", "malformed"


def _around(points: Any) -> list[Any]:
    """The box around points (x, y)."""
    x, y = zip(*points, strict=True)
    return [min(x), min(y), max(x) - min(x), max(y) - min(y)]


def _around_ellipse(x: float, y: float, radius_x: float, radius_y: float, turned: float) -> list[float]:
    """The box around an ellipse that is turned by some radians."""
    if radius_x < 0 or radius_y < 0:
        raise ValueError
    cosine, sine = math.cos(turned), math.sin(turned)
    half = math.hypot(radius_x * cosine, radius_y * sine), math.hypot(radius_x * sine, radius_y * cosine)
    return [x - half[0], y - half[1], 2 * half[0], 2 * half[1]]


# ---------------------------------------------------------------- Label Studio


def _is_task(task: Mapping[str, Any]) -> bool:
    """Whether it is a task of the JSON, or of JSON-MIN."""
    return (isinstance(task.get("data"), Mapping) and _annotations(task) is not None) or (
        "annotation_id" in task and _source(task) is not None
    )


def _annotations(task: Mapping[str, Any]) -> list[Any] | None:
    listed = task.get("annotations", task.get("completions"))  # as they were called before version 1
    return listed if isinstance(listed, list) else None


def _source(values: Mapping[str, Any]) -> str | None:
    """Where the image of a task is: ``image``, or else the first text that is called like an image."""
    texts = [value for value in values.values() if isinstance(value, str)]
    named = [text for text in texts if PurePosixPath(_path(text)).suffix.lower() in IMAGE_SUFFIXES]
    only = texts if len(texts) == 1 else []
    image = values.get("image")
    return next(iter([image] if isinstance(image, str) and image else named or only), None)


def _path(source: str) -> str:
    """The path of an address, or what a local storage is asked for (``?d=``), with forward slashes."""
    try:
        address = urlsplit(source) if "://" in source or "?d=" in source else None
    except ValueError:  # no address
        return ""
    local = parse_qs(address.query).get("d") if address else None
    path = local[0] if local else unquote(address.path if address else source)
    return path.replace("\\", "/").lstrip("/")


def _label_studio(path: Path, tasks: Sequence[Mapping[str, Any]]) -> Lists:
    first: dict[str, int] = {}  # the first task of each image
    for number, task in enumerate(tasks):
        values, where = task.get("data", task), f"{path}: [{number}]"
        source = _source(values)
        name = PurePosixPath(_path(source or "")).name.strip()
        if source is None or source.startswith("data:") or name in ("", ".."):
            found = f"a task of Label Studio with the data {short_repr(', '.join(map(str, values)))}"
            raise InputError(where, found, "the path or address of one image in it")
        if first.setdefault(source, number) != number and "data" in task:
            raise InputError(where, f"the image {short_repr(source)} a second time", "it once")
    several = len(tasks) - len(first)  # JSON-MIN has an element for each annotation
    unlabelled = 0
    paths = {source: _path(source) for source in first}
    same = Counter(PurePosixPath(name).name for name in paths.values())

    images: list[dict[str, Any]] = []
    rows: list[tuple[str, Any]] = []
    boxes: list[Box] = []
    places: list[str] = []
    for source, number in first.items():
        name = PurePosixPath(paths[source]).name or source
        name = name if same[name] < 2 else paths[source]
        image: dict[str, Any] = {"id": name, "file_name": name}
        images.append(image)
        regions, count = _regions(f"{path}: [{number}]", tasks[number])
        several += count > 1
        unlabelled += not count
        for index, region in enumerate(regions):
            size = region.get("original_width"), region.get("original_height")
            before = size
            if all(isinstance(length, int) for length in size):
                before = image.setdefault("width", size[0]), image.setdefault("height", size[1])
            value = _mapping(region, "value") or region
            labels = value.get(_labels_of(value))
            rows.append((name, labels[0] if isinstance(labels, list) and len(labels) == 1 else None))
            box = _percent(region, value, size)
            if size != before:
                found, expected = (
                    f"{short_repr(width)}×{short_repr(height)}" for width, height in (size, before)
                )
                box = f"an image of {found} pixels", f"{expected}, as a region before says", "malformed"
            boxes.append(box)
            places.append(f"[{number}], region {index}")
    counts = f"of {len(images):,} images"
    if several:
        warn(
            f"{path}: {several:,} {counts} were annotated more than once: the one that is "
            "marked as ground truth is used, or the first"
        )
    if unlabelled:
        warn(
            f"{path}: {unlabelled:,} {counts} have no annotation (predictions are none): "
            "they count as images without objects"
        )
    return _lists(path, images, rows, boxes, places)


def _labels_of(value: Any) -> str:
    """The key of a region's labels, such as ``rectanglelabels``; empty for what has none."""
    keys = value if isinstance(value, Mapping) else ()
    return next((key for key in keys if key.endswith("labels")), "")


def _regions(where: str, task: Mapping[str, Any]) -> tuple[list[Mapping[str, Any]], int]:
    """The labelled regions of a task, and how often it was annotated.

    Where a shape and its label are separate tags, the label's result repeats the shape.
    """
    if "data" not in task:  # JSON-MIN
        listed = [value for part in task.values() if isinstance(part, list) for value in part]
        return [region for region in listed if _labels_of(region)], 1
    given = [one for one in _annotations(task) or () if isinstance(one, Mapping)]
    done = [one for one in given if not one.get("was_cancelled")]
    chosen = [one for one in done if one.get("ground_truth")] or done
    results = (chosen[0].get("result") if chosen else None) or []
    if not isinstance(results, list):
        raise InputError(where, f"{short_repr(results)} as result", "a list")
    found = [one for one in results if isinstance(one, Mapping)]
    labelled = {str(one.get("id")) for one in found if _labels_of(one.get("value"))}
    shapes = ("rectangle", "polygon", "ellipse", "brush", "keypoint")
    return [
        one
        for one in found
        if _labels_of(one.get("value"))
        or str(one.get("type")).endswith("labels")
        or (one.get("type") in shapes and str(one.get("id")) not in labelled)
    ], len(done)


def _percent(region: Mapping[str, Any], value: Mapping[str, Any], size: tuple[Any, Any]) -> Box:
    """The box around a region, whose numbers are per cent of the image."""
    kind = _labels_of(value)
    if not kind:
        return ONE_CLASS
    try:
        width, height = size[0] / 100, size[1] / 100
        turned = value.get("rotation") or 0
        turned = 0 if abs(math.remainder(turned, 360)) < NOT_TURNED_DEGREES else turned
        if region.get("image_rotation"):
            return f"an image turned by {region['image_rotation']:g}°", "images that are not turned", "turned"
        if "points" in value:
            return _around([(x * width, y * height) for x, y in value["points"]])
        if "radiusX" in value:
            center = value["x"] * width, value["y"] * height
            radii = value["radiusX"] * width, value["radiusY"] * height
            return _around_ellipse(*center, *radii, math.radians(turned))
        if "height" not in value:
            return f"a region with {kind}", SHAPES, "malformed"
        if turned:
            return f"a rectangle turned by {turned:g}°", "boxes along the image's sides", "turned"
        return [value["x"] * width, value["y"] * height, value["width"] * width, value["height"] * height]
    except (KeyError, TypeError, ValueError, OverflowError):
        found = f"a region with {kind} without all of its numbers"
        return found, "numbers, also original_width and original_height", "malformed"
