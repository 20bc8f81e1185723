"""YOLO's data sets, in Ultralytics' layout: ``data.yaml``, images, and a text file of labels for each."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from numpy.typing import NDArray

from data.formats.files import read_text
from data.formats.names import distinct_names
from data.formats.photographs import IMAGE_SUFFIXES, image_size
from data.formats.rows import Fault, Tally
from data.formats.yolo_text import Lines, read_lines, xyxy_of_fractions
from data.records import GroundTruth, InputError

__all__ = ["read_yolo", "yolo_splits"]

SPLITS = ("train", "val", "test")
EXPECTED = "a YOLO data set: path, train, val, test, and names"
LABEL_COLUMNS = "class x_center y_center width height"
POLYGON = 7  # columns of the smallest one: a class and three points


def yolo_splits(path: Path) -> dict[str, list[str]]:
    """The lists of images that ``data.yaml`` names, and where each is said to be."""
    content = _content(path)
    places = {name: content[name] for name in SPLITS if content.get(name)}
    return {name: [value] if isinstance(value, str) else value for name, value in places.items()}


def read_yolo(path: Path | str, split: str = "val", lenient: bool = False) -> GroundTruth:
    """Ground truth from a YOLO data set.

    A split is a folder of images (with those in it), a text file that lists them, or several of either. The
    labels of ``…/images/…/a.jpg`` are ``…/labels/…/a.txt``, those of an image elsewhere lie beside it; an
    image without such a file shows no object. Places are relative to ``path``, and that to the folder of the
    YAML file. A label that is a polygon stands for the box around it. Images are called as their files,
    without folder and extension; with the folder where two share a name. One that is listed twice counts
    once. Sizes come from the headers of the image files.

    Parameters
    ----------
    path
        ``data.yaml``.
    split
        ``train``, ``val`` or ``test``.
    lenient
        Drop label lines that are at fault, with a warning that counts them, instead of raising.

    Raises
    ------
    InputError
        No such file, folder or split, an unreadable image, no label file at all; or, with file and line:
        other columns, no number, a class without a name, a box without area or in pixels.
    """
    path = Path(path)
    names = _class_names(path)
    splits = yolo_splits(path)
    if split not in splits:
        raise InputError(path, f"no {split}", f"one of {', '.join(splits) or ', '.join(SPLITS)}")
    images = _images(path, split, splits[split])
    labels = [_label_file(image) for image in images]
    present = [i for i, file in enumerate(labels) if file.is_file()]
    if not present:
        raise InputError(labels[0], "no such file, nor any other label file", "labels beside the images")
    sizes = np.array([image_size(image) for image in images], dtype=np.int64)
    tally = Tally(path, lenient, "objects")
    lines = read_lines([labels[i] for i in present], tally, LABEL_COLUMNS, polygons=POLYGON)
    keep = _checked(lines, len(names), tally)
    image_index = np.array(present, dtype=np.int64)[lines.file_index[keep]]
    return GroundTruth(
        _image_names(images),
        names,
        sizes,
        image_index,
        lines.values[keep, 0],
        xyxy_of_fractions(lines.values[keep, 1:5], sizes[image_index]),
        files=images,
    )


def _checked(lines: Lines, classes: int, tally: Tally) -> NDArray[np.int64]:
    """The rows whose class is known and whose box has an area."""
    number, extent = lines.values[:, 0], lines.values[:, 3:5]
    unknown = ~np.isin(number, np.arange(classes))
    empty = (extent <= 0).any(axis=1)
    for row in np.flatnonzero(unknown | empty).tolist():
        where = lines.where(row)
        if unknown[row]:
            expected = f"a number from 0 to {classes - 1}, as names has {classes}"
            tally.add(Fault(where, f"the class {number[row]:g}", expected, "of an unknown class"))
        else:
            box = " ".join(f"{value:g}" for value in lines.values[row, 1:5].tolist())
            tally.add(Fault(where, f"the box {box}", "a width and height above 0", "with a box without area"))
    keep = np.flatnonzero(~(unknown | empty))
    tally.warn(len(keep))
    return keep


def _content(path: Path) -> dict[str, Any]:
    try:
        content = yaml.safe_load(read_text(path, EXPECTED))
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        raise InputError(f"{path}:{mark.line + 1}" if mark else path, "malformed YAML", EXPECTED) from None
    if not isinstance(content, dict):
        raise InputError(path, "no keys", EXPECTED)
    for name in SPLITS:
        value = content.get(name)
        listed = value if isinstance(value, list) else [value]
        if value is not None and not all(isinstance(place, str) and place for place in listed):
            raise InputError(f"{path}: {name}", repr(value), "a folder, a text file, or a list of them")
    return content


def _class_names(path: Path) -> tuple[str, ...]:
    content = _content(path)
    names, where = content.get("names"), f"{path}: names"
    expected = "a list of class names, or a number from 0 for each: {0: cat, 1: dog}"
    if isinstance(names, dict):
        if set(names) != set(range(len(names))):
            raise InputError(where, f"the numbers {', '.join(map(str, names))}", expected)
        names = [names[number] for number in range(len(names))]
    if not isinstance(names, list) or not names:
        raise InputError(where, "nothing" if not names else repr(names), expected)
    listed = [str(name) for name in names]
    if len(set(listed)) != len(listed):
        twice = next(name for i, name in enumerate(listed) if name in listed[:i])
        raise InputError(where, f"{twice!r} twice", "each class once")
    if content.get("nc") not in (None, len(listed)):
        raise InputError(f"{path}: nc", repr(content["nc"]), f"{len(listed)}, as many as there are names")
    return tuple(listed)


def _images(path: Path, split: str, places: Sequence[str]) -> list[Path]:
    """All images of a split, sorted within each place."""
    images: list[Path] = []
    for place in places:
        source = _place(path, place)
        if source.is_dir():
            found = (file for file in source.rglob("*") if file.suffix.lower() in IMAGE_SUFFIXES)
            images += sorted(found)
        else:
            lines = filter(None, map(str.strip, read_text(source, "a list of images").splitlines()))
            images += [Path(line) if Path(line).is_absolute() else source.parent / line for line in lines]
    if not images:
        raise InputError(f"{path}: {split}", f"no image in {', '.join(places)}", "a folder or list of images")
    return list(dict.fromkeys(images))


def _place(path: Path, place: str) -> Path:
    """The folder or file that a value of ``data.yaml`` means."""
    base = path.parent
    root = base / str(_content(path).get("path") or "")
    # Roboflow writes ../valid/images for what lies in valid/images; `path` may be that of another machine.
    trials = [root / place, base / place, base / place.removeprefix("../")]
    for trial in trials:
        if trial.exists():
            return trial
    raise InputError(trials[0], f"nothing there, nor at {trials[1]}", f"the images that {path.name} names")


def _image_names(images: Sequence[Path]) -> list[str]:
    common = os.path.commonpath([image.parent for image in images])
    files = [os.path.relpath(image, common) for image in images]
    return distinct_names(files) or files


def _label_file(image: Path) -> Path:
    parts = list(image.parts)
    for index in range(len(parts) - 2, -1, -1):  # the last folder of that name, as Ultralytics has it
        if parts[index] == "images":
            parts[index] = "labels"
            break
    return Path(*parts).with_suffix(".txt")
