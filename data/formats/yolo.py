"""YOLO's text: a file for each image, a line for each object or detection, places as fractions of the image.

A data set in Ultralytics' layout is ``data.yaml``, images, and a text file of labels for each. Labelling
tools write a list of classes in place of ``data.yaml``: ``classes.txt`` (LabelImg, Label Studio) or
``obj.names`` (CVAT's YOLO 1.1, with the images of a split in ``obj_train_data``). A label is
``class x_center y_center width height``, a detection has a ``confidence`` after it, as Ultralytics' and
YOLOv5's ``save_txt`` with ``save_conf`` write it. A label may go on with the points of a pose, as many as
``kpt_shape`` in ``data.yaml`` says, or be a polygon: a class and three or more points.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from data.formats.classes import class_names
from data.formats.files import (
    IMAGE_SUFFIXES,
    UNKNOWN_SIZE,
    image_size,
    is_file,
    read_text,
    read_utf8,
    read_yaml,
)
from data.formats.names import NO_INDEX, distinct_names, images_by_name
from data.formats.validation import (
    FEW_BOXES,
    FEW_FIT,
    FEW_FOUND_IOU,
    FOUND_IOU,
    SAMPLED_BOXES,
    BoxFormat,
    Faults,
    Keys,
    Problem,
    Rows,
    as_xyxy,
    check_objects,
    detections_of,
    finds_much_more,
    numbers_of,
    objects_of,
    plain_numbers,
    share_found,
    short_repr,
    valid_rows,
    warn,
)
from data.records import Detections, GroundTruth, InputError

__all__ = ["label_files", "read_yolo", "read_yolo_detections", "yolo_splits"]

SPLITS = ("train", "val", "test")
EXPECTED = "a YOLO data set: path, train, val, test, and names"
NAMES = "a list of class names, or a number from 0 for each: {0: cat, 1: dog}"
LABEL_COLUMNS = "class x_center y_center width height"
COLUMNS = f"{LABEL_COLUMNS} confidence"
DETECTIONS = f"detections: lines of {COLUMNS}, a file an image"
SHORTEST_LABEL = 5  # columns
SMALLEST_POLYGON = 7  # columns: a class and three points
LARGEST_FRACTION = 2.0  # a place beyond this is no fraction of the image but a pixel
POLYGON_SLACK = 0.01  # share of the image by which rounding may take the points of a polygon out of it
FEW_OVERHANG = 0.05  # the same for a few boxes, which also detectors that do not clip may let leave it
FRACTIONS = BoxFormat("cxcywh", normalized=True)
NAME_LISTS = ("classes.txt", "obj.names")
NOT_IMAGES = ("classes.txt",)  # what labelling tools leave beside the labels


# ---------------------------------------------------------------- ground truth


def read_yolo(path: Path | str, split: str = "val", lenient: bool = False) -> GroundTruth:
    """Ground truth from a YOLO data set.

    A split is a folder of images (with those in it), a text file that lists them, or several of either. The
    labels of ``…/images/…/a.jpg`` are ``…/labels/…/a.txt``, those of an image elsewhere lie beside it; an
    image without such a file shows no object. Places are relative to ``path``, and that to the folder of the
    YAML file. Of a label with the points of a pose the box is taken, of a polygon the box around it. Images
    are called as their files, without folder and extension; with the folder where two share a name. One that
    is listed twice counts once. Sizes come from the headers of the image files. Objects beyond the border of
    their image, and those that are there twice, are counted in a warning.

    Parameters
    ----------
    path
        ``data.yaml``, ``classes.txt`` or ``obj.names``.
    split
        ``train``, ``val`` or ``test``.
    lenient
        Drop label lines that are at fault, with a warning that counts them, instead of raising.

    Raises
    ------
    InputError
        No such file, folder or split, an unreadable image, no label file at all; or, with file and line:
        other columns, no number, a class without a name, a box without area or in pixels, a polygon that
        leaves the image; with the line of its list, an image that is not there.
    """
    path = Path(path)
    content = _content(path)
    names = _class_names(path, content)
    pose_columns = _pose_columns(path, content)
    splits = _splits(content)
    if split not in splits:
        raise InputError(path, f"no {split}", f"one of {', '.join(splits) or ', '.join(SPLITS)}")
    images = _images(path, content, split, splits[split])
    files = [_label_file(image) for image in images]
    present = [i for i, file in enumerate(files) if is_file(file)]
    if not present:
        raise InputError(files[0], "no such file, nor any other label file", "labels beside the images")
    sizes = np.array([image_size(image) for image in images], dtype=np.int64)
    faults = Faults(path, lenient, "objects")
    lines = _read_lines([files[i] for i in present], faults, LABEL_COLUMNS, True, pose_columns)
    image_index = np.array(present, dtype=np.int64)[lines.file_index]

    def no_area(row: int) -> Problem:
        fractions = " ".join(f"{value:g}" for value in lines.values[row, 1:5].tolist())
        return f"the box {fractions}", "a width and height above 0", "with a box without area"

    def unknown_class(row: int) -> Problem:
        expected = f"a number from 0 to {len(names) - 1}, as names has {len(names)}"
        return f"the class {lines.values[row, 0]:g}", expected, "of an unknown class"

    rows = Rows(
        image_index,
        _labels(lines.values[:, 0], len(names)),
        as_xyxy(lines.values[:, 1:5], FRACTIONS, sizes, image_index),
        lines.where,
        {"class": unknown_class, "extent": no_area},
    )
    keep = valid_rows(rows, faults)
    if all(not place.endswith(".txt") for place in splits[split]):
        _note_labels_alone(path, [files[i] for i in present])
    common = os.path.commonpath([image.parent for image in images])
    relative = [os.path.relpath(image, common) for image in images]
    truth = GroundTruth(
        distinct_names(relative) or relative,
        names,
        sizes,
        rows.image_index[keep],
        rows.labels[keep],
        rows.boxes[keep],
        files=images,
        file_names=relative,
        as_shown=np.ones(len(images), dtype=bool),
    )
    check_objects(path, truth, lambda row: lines.where(int(keep[row])))
    return truth


def yolo_splits(path: Path) -> dict[str, list[str]]:
    """The lists of images that ``data.yaml`` names, and where each is said to be."""
    return _splits(_content(path))


def _content(path: Path) -> dict[str, Any]:
    """What ``data.yaml`` says, or would say of a folder that has a list of classes instead."""
    folder, listed = path.parent, path.name in NAME_LISTS
    if listed:
        text = read_text(path, "a list of classes, one in each line")
        names = [line.strip() for line in text.rstrip().splitlines()]  # a blank line between is a mistake
        places = {"train": "obj_train_data", "val": "obj_valid_data", "test": "obj_test_data"}
        content = {"names": names} | {
            name: place for name, place in places.items() if (folder / place).is_dir()
        }
    else:
        content = read_yaml(path, EXPECTED, EXPECTED, EXPECTED)
    for name in SPLITS:
        value = content.get(name)
        places_of = value if isinstance(value, list) else [value]
        if value is not None and not all(isinstance(place, str) and place for place in places_of):
            raise InputError(f"{path}: {name}", short_repr(value), "a folder, a text file, or a list of them")
    if not any(content.get(name) for name in SPLITS):
        if (folder / "images").is_dir():
            content["val"] = "images"  # supervision names no folder
        elif listed:
            content["val"] = "."
    return content


def _splits(content: dict[str, Any]) -> dict[str, list[str]]:
    places = {name: content[name] for name in SPLITS if content.get(name)}
    return {name: [value] if isinstance(value, str) else value for name, value in places.items()}


def _class_names(path: Path, content: dict[str, Any]) -> tuple[str, ...]:
    names, where = content.get("names"), f"{path}: names"
    if isinstance(names, dict):
        numbers = {number for number in names if isinstance(number, int) and not isinstance(number, bool)}
        if numbers != set(range(len(names))):
            raise InputError(where, f"the numbers {', '.join(map(short_repr, list(names)[:20]))}", NAMES)
        names = [names[number] for number in range(len(names))]
    if not isinstance(names, list) or not names:
        raise InputError(where, "nothing" if not names else short_repr(names), NAMES)
    listed = class_names(names, lambda index: f"{where}[{index}]")
    if content.get("nc") not in (None, len(listed)):
        raise InputError(
            f"{path}: nc", short_repr(content["nc"]), f"{len(listed)}, as many as there are names"
        )
    return listed


def _pose_columns(path: Path, content: dict[str, Any]) -> int:
    """The columns of a label with the points of a pose; 0 where ``kpt_shape`` does not speak of any."""
    shape = content.get("kpt_shape")
    if shape is None:
        return 0
    whole = isinstance(shape, list) and all(type(length) is int for length in shape)
    if not whole or len(shape) != 2 or shape[0] < 1 or shape[1] not in (2, 3):
        expected = "the number of points of a pose and of their values, 2 or 3: [17, 3]"
        raise InputError(f"{path}: kpt_shape", short_repr(shape), expected)
    return 5 + int(shape[0]) * int(shape[1])


def _images(path: Path, content: dict[str, Any], split: str, places: Sequence[str]) -> list[Path]:
    """All images of a split, sorted within each place."""
    images: list[Path] = []
    for place in places:
        base = path.parent
        # Roboflow writes ../valid/images for what lies in valid/images; `path` may be another machine's.
        root = base / str(content.get("path") or "")
        names = dict.fromkeys((place, place.replace("\\", "/")))  # the latter where it was written on Windows
        trials = [
            way for name in names for way in (root / name, base / name, base / name.removeprefix("../"))
        ]
        source = next((trial for trial in trials if trial.exists()), None)
        if source is None:
            expected = f"the images that {path.name} names"
            raise InputError(trials[0], f"nothing there, nor at {trials[1]}", expected)
        if source.is_dir():
            images += sorted(file for file in source.rglob("*") if file.suffix.lower() in IMAGE_SUFFIXES)
            continue
        for number, line in enumerate(read_text(source, "a list of images").splitlines(), start=1):
            if name := line.strip():
                # An absolute name replaces the parent.
                ways = [source.parent / name, source.parent / name.replace("\\", "/")]
                image = next(filter(is_file, ways), None)
                if image is None:
                    found = f"the image {short_repr(name)}, which is not there"
                    raise InputError(f"{source}:{number}", found, f"an image, such as {ways[-1]}")
                images.append(image)
    if not images:
        raise InputError(f"{path}: {split}", f"no image in {', '.join(places)}", "a folder or list of images")
    return list(dict.fromkeys(images))


def _note_labels_alone(path: Path, files: Sequence[Path]) -> None:
    """Warn of label files beside `files`, those of the images, that have no image."""

    def is_label(file: str) -> bool:
        with Path(file).open(encoding="utf-8", errors="replace") as lines:
            return len(lines.readline(1000).split()) >= SHORTEST_LABEL

    beside = (entry for folder in {file.parent for file in files} for entry in os.scandir(folder))
    texts = {entry.path for entry in beside if entry.name.endswith(".txt")}
    if alone := list(filter(is_label, texts - set(map(str, files)))):
        warn(f"{path}: label files without an image are left out: {len(alone):,}, the first {min(alone)}")


def _label_file(image: Path) -> Path:
    """That of an image; ``labels`` in place of the last folder ``images``, as Ultralytics has it."""
    *folders, name = image.parts
    if "images" in folders:
        folders[len(folders) - 1 - folders[::-1].index("images")] = "labels"
    return Path(*folders, name).with_suffix(".txt")


# ---------------------------------------------------------------- detections


def read_yolo_detections(
    folder: Path | str,
    truth: GroundTruth,
    lenient: bool = False,
    box_format: str | None = None,
    normalized: bool = True,
) -> Detections:
    """Detections from YOLO text files, those of an image in the file of its name, in the order of the files.

    A line is ``class x_center y_center width height confidence``; a class is its number from 0. An image
    without a file has no detections. Files in which the confidence is before the box are read as such, with
    a warning, where no box leaves its image so and otherwise most do, or far fewer find an object.

    Parameters
    ----------
    folder
        Of the ``.txt`` files, or the one above it that has them in ``labels``, as Ultralytics' runs do.
    truth
        The ground truth.
    lenient
        Drop the lines and files that are at fault, with a warning that counts them, instead of raising.
    box_format
        What the numbers of a box are, see :data:`~data.formats.validation.BOX_FORMATS` (default: cxcywh).
    normalized
        They always are fractions of the image's size.

    Raises
    ------
    InputError
        No such folder, no file in it, images of unknown size; a file of no image; or, with file and line:
        other columns (five: written without the confidence), no number, NaN or infinity, a class that has no
        name, an inverted box, a place in pixels, a byte that is not UTF-8.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise InputError(folder, "no such folder", DETECTIONS)
    files = label_files(folder)
    if not files:
        raise InputError(folder, "no .txt file", DETECTIONS)
    if (truth.sizes == UNKNOWN_SIZE).any():
        raise InputError(folder, "places as fractions", "images whose width and height are known")
    faults = Faults(folder, lenient)
    lines = _read_lines(files, faults, COLUMNS)
    images = images_by_name(truth)
    image_of_file = np.array([images[file.stem] for file in files], dtype=np.int64)
    for file, image in zip(files, image_of_file, strict=True):
        if image == NO_INDEX and not lenient:  # an empty file, too, would be a sign of the wrong folder
            raise InputError(file, f"the unknown image {file.stem!r}", "files named as the images")
    image_index = image_of_file[lines.file_index]
    number, scores, given = lines.values[:, 0], lines.values[:, 5], lines.values[:, 1:5]
    if box_format is None and _confidence_first(lines.values, truth, image_index):
        warn(
            f"{folder}: the confidence was read as the column before the box: as {COLUMNS} most boxes would "
            "leave their image, or far fewer find an object, than as class confidence x_center y_center "
            "width height"
        )
        scores, given = lines.values[:, 1], lines.values[:, 2:6]
    return detections_of(
        truth,
        faults,
        lines.where,
        (image_index, _labels(number, len(truth.classes)), scores, given),
        BoxFormat.chosen(box_format, normalized, FRACTIONS),
        box_format is None,
        Keys(
            lambda row: lines.files[lines.file_index[row]].stem,
            lambda row: f"{number[row]:g}",
            images,
            numbers=f"a number from 0 to {len(truth.classes) - 1}",
        ),
    )


def _confidence_first(
    values: NDArray[np.float64], truth: GroundTruth, image_index: NDArray[np.int64]
) -> bool:
    """Whether lines (M, 6) hold class, confidence, box.

    So read no box leaves its image, and otherwise most do or far fewer find an object. Few boxes have to
    leave it by more, and must find none.
    """

    def inside(boxes: NDArray[np.float64], slack: float = POLYGON_SLACK) -> NDArray[np.bool_]:
        half = boxes[:, 2:] / 2
        within = (boxes[:, :2] - half >= -slack) & (boxes[:, :2] + half <= 1 + slack)
        return np.asarray((within & (half >= 0)).all(axis=1), dtype=np.bool_)

    some = np.flatnonzero(image_index >= 0)[:SAMPLED_BOXES]
    pairs = objects_of(truth, image_index[some])

    def found(boxes: NDArray[np.float64], iou: float = FOUND_IOU) -> float:
        return share_found(truth, as_xyxy(boxes[some], FRACTIONS, truth.sizes, image_index[some]), pairs, iou)

    usual, first = values[:, 1:5], values[:, 2:6]
    if not len(values) or not inside(first).all():
        return False
    few = len(values) < FEW_BOXES
    found_usual, slack = found(usual), FEW_OVERHANG if few else POLYGON_SLACK
    if finds_much_more(found(first, FEW_FOUND_IOU if few else FOUND_IOU), found_usual):
        return True
    return float(inside(usual, slack).mean()) < FEW_FIT and not (few and found_usual)


def label_files(folder: Path) -> list[Path]:
    """The ``.txt`` files of a folder, or else of the folder ``labels`` in it."""
    for place in (folder, folder / "labels"):
        if files := sorted(file for file in place.glob("?*.txt") if file.name not in NOT_IMAGES):
            return files
    return []


# ---------------------------------------------------------------- lines


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


def _labels(numbers: NDArray[np.float64], classes: int) -> NDArray[np.int64]:
    """``(M,)`` the class of each number."""
    return np.where(np.isin(numbers, np.arange(classes)), numbers, NO_INDEX).astype(np.int64)


def _read_lines(
    files: Sequence[Path], faults: Faults, columns: str, polygons: bool = False, pose_columns: int = 0
) -> Lines:
    """The numbers of all lines of all files, `columns` of each; empty lines are left out.

    Faults are another number of columns, no finite number, a place in pixels, a byte that is not UTF-8.
    `polygons`: more columns may be a class and the points of a polygon; it becomes the box around them.
    `pose_columns`: of a line that goes on with the points of a pose, where there are any; no polygons then.
    """
    width = len(columns.split())
    contents = [read_utf8(file, f"lines of {columns}", faults.lenient) for file in files]
    bodies = [content.rstrip() for content in contents]
    plain = plain_numbers(b"\n".join(filter(None, bodies)), width)
    if plain is not None and not (np.abs(plain[:, 1:5]) > LARGEST_FRACTION).any():
        counts = np.array([body.count(b"\n") + 1 if body else 0 for body in bodies], np.int64)
        number = np.arange(1, len(plain) + 1) - np.repeat(np.cumsum(counts) - counts, counts)
        return Lines(files, np.repeat(np.arange(len(files)), counts), number, plain)
    places, flat = list[int](), list[float]()
    for index, content in enumerate(contents):
        for line, words in enumerate(map(bytes.split, content.splitlines()), start=1):
            read = _read_line(words, columns.split(), polygons, pose_columns) if words else []
            if isinstance(read, tuple):
                faults.add(f"{files[index]}:{line}", read)
            elif words:
                places += index, line
                flat += read
    file_index, numbers = np.array(places, np.int64).reshape(-1, 2).T
    return Lines(files, file_index, numbers, np.array(flat, np.float64).reshape(-1, width))


def _read_line(
    words: Sequence[bytes], columns: Sequence[str], polygons: bool, pose_columns: int
) -> list[float] | Problem:
    """The numbers of a line, or what is wrong with it."""
    polygon = polygons and not pose_columns and len(words) >= SMALLEST_POLYGON and len(words) % 2 == 1
    if len(words) not in (len(columns), pose_columns) and not polygon:
        lacking = "; no confidence (save_conf=True writes it)" if len(words) == len(columns) - 1 == 5 else ""
        pose = f", or {pose_columns} with the points that kpt_shape says" if pose_columns else ""
        expected = f"{len(columns)}: {' '.join(columns)}{pose}"
        return f"{len(words)} columns{lacking}", expected, "of other columns"
    names = [*columns[: 1 if polygon else len(columns)], *["a point"] * len(words)][: len(words)]
    values = numbers_of(words, names)
    if not isinstance(values, list):
        return values
    for word, name, value in zip(words[1:5], names[1:], values[1:], strict=False):
        if abs(value) > LARGEST_FRACTION:
            found = f"{word.decode(errors='replace')} as {name}"
            return found, "a fraction of the image's size, not pixels", "in pixels"
    if not polygon:
        return values[: len(columns)]
    if not all(-POLYGON_SLACK <= value <= 1 + POLYGON_SLACK for value in values[1:]):
        found = f"{len(words)} columns that make no polygon inside the image"
        expected = "a class and points from 0 to 1; kpt_shape in data.yaml where they are a box and a pose"
        return found, expected, "of a polygon beyond the image"
    if _is_pose(values):
        found = f"{len(words)} columns that are a box and the points of a pose"
        return found, f"kpt_shape: [{(len(words) - 5) // 3}, 3] in data.yaml", "of a pose"
    x, y = values[1::2], values[2::2]
    left, top, right, bottom = min(x), min(y), max(x), max(y)
    return [values[0], (left + right) / 2, (top + bottom) / 2, right - left, bottom - top]


def _is_pose(values: Sequence[float]) -> bool:
    """Whether a line is a box and points with visibility 0 or 1, not a polygon: the points are in the box."""
    x, y, width, height = values[1:5]
    points = list(zip(values[5::3], values[6::3], values[7::3], strict=False))
    return len(values) == 5 + 3 * len(points) and all(
        visible == 0
        or (
            visible == 1
            and 2 * abs(px - x) <= width + POLYGON_SLACK
            and 2 * abs(py - y) <= height + POLYGON_SLACK
        )
        for px, py, visible in points
    )
