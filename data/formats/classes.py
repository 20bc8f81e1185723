"""The classes of a data set, and which of them are easily taken for one another."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from data.formats.files import read_text, read_yaml, write_text
from data.formats.names import hint
from data.records import InputError

__all__ = [
    "COCO_SIMILAR",
    "VOC_CLASSES",
    "VOC_SIMILAR",
    "ClassList",
    "class_names",
    "has_classes",
    "read_classes",
    "write_classes",
]

VOC_CLASSES: tuple[str, ...] = (
    "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow",
    "diningtable", "dog", "horse", "motorbike", "person",
    "pottedplant", "sheep", "sofa", "train", "tvmonitor",
)  # fmt: skip
"""The 20 classes of PASCAL VOC, in the order of its development kit."""

VOC_SIMILAR: tuple[tuple[str, ...], ...] = (
    ("bird", "cat", "cow", "dog", "horse", "person", "sheep"),
    ("aeroplane", "bicycle", "boat", "bus", "car", "motorbike", "train"),
    ("bicycle", "motorbike"),
    ("chair", "diningtable", "sofa"),
    ("aeroplane", "bird"),
)
"""Groups of similar classes of VOC, of Hoiem's analysis: bottle, pottedplant and tvmonitor are in none."""

COCO_SIMILAR: tuple[tuple[str, ...], ...] = (
    ("bicycle", "car", "motorcycle", "airplane", "bus", "train", "truck", "boat"),
    ("traffic light", "fire hydrant", "stop sign", "parking meter", "bench"),
    ("bird", "cat", "dog", "horse", "sheep", "cow", "elephant", "bear", "zebra", "giraffe"),
    ("backpack", "umbrella", "handbag", "tie", "suitcase"),
    ("frisbee", "skis", "snowboard", "sports ball", "kite",
     "baseball bat", "baseball glove", "skateboard", "surfboard", "tennis racket"),
    ("bottle", "wine glass", "cup", "fork", "knife", "spoon", "bowl"),
    ("banana", "apple", "sandwich", "orange", "broccoli",
     "carrot", "hot dog", "pizza", "donut", "cake"),
    ("chair", "couch", "potted plant", "bed", "dining table", "toilet"),
    ("tv", "laptop", "mouse", "remote", "keyboard", "cell phone"),
    ("microwave", "oven", "toaster", "sink", "refrigerator"),
    ("book", "clock", "vase", "scissors", "teddy bear", "hair drier", "toothbrush"),
)  # fmt: skip
"""COCO's supercategories, by the names of its 80 classes; person, the only one in its own, is left out."""

FILE_NAME, _, LABEL_MAP = CLASS_FILES = ("classes.yaml", "classes.yml", "labelmap.txt")


class ClassList(NamedTuple):
    """Class names in order, and the groups of similar ones.

    Examples
    --------
    >>> ClassList(("cat", "dog", "sofa"), (("cat", "dog"),)).names
    ('cat', 'dog', 'sofa')
    """

    names: tuple[str, ...]
    similar: tuple[tuple[str, ...], ...]


def read_classes(folder: Path | str) -> ClassList:
    """The classes of the VOC tree `folder`: those of its ``classes.yaml`` or ``labelmap.txt``, or VOC's 20.

    A tree with other classes names them in ``classes.yaml``: ``classes: [cat, dog, sofa]`` and,
    optional, ``similar: [[cat, dog]]``. CVAT writes ``labelmap.txt``, lines of ``name:color:parts:actions``.

    Raises
    ------
    InputError
        The file is not YAML, has other keys, names a class twice, or a group names an unknown class.
    """
    path = next(filter(Path.exists, (Path(folder) / name for name in CLASS_FILES)), None)
    if path is None:
        return ClassList(VOC_CLASSES, VOC_SIMILAR)
    if path.name == LABEL_MAP:
        return ClassList(_label_map(path), VOC_SIMILAR)
    content = read_yaml(
        path,
        "the classes of the tree",
        "classes: [name, …] and similar: [[name, …], …]",
        "the key classes, with a list of names, and optionally similar",
    )
    for key in content:
        if key not in ("classes", "similar"):
            expected = f"the keys classes and similar{hint(key, ('classes', 'similar'))}"
            raise InputError(path, f"the unknown key {key!r}", expected)
    names = _listed(f"{path}: classes", content.get("classes"))
    if not names:
        raise InputError(f"{path}: classes", "no class", "at least one class name")
    groups = content.get("similar") or []
    if not isinstance(groups, list):
        raise InputError(f"{path}: similar", repr(groups), "a list of groups, each a list of class names")
    similar = tuple(_listed(f"{path}: similar[{i}]", group) for i, group in enumerate(groups))
    for i, group in enumerate(similar):
        for name in group:
            if name not in names:
                found = f"the unknown class {name!r}"
                raise InputError(f"{path}: similar[{i}]", found, f"one of {', '.join(names)}")
    return ClassList(names, similar)


def has_classes(folder: Path) -> bool:
    """Whether the VOC tree names its classes."""
    return any((folder / name).exists() for name in CLASS_FILES)


def _label_map(path: Path) -> tuple[str, ...]:
    """The classes of CVAT's ``labelmap.txt``, without the background, which has no objects."""
    lines = (line.strip() for line in read_text(path, "CVAT's list of classes").splitlines())
    names = [line.rsplit(":", 3)[0] for line in lines if line and not line.startswith("#")]
    return class_names([name for name in names if name != "background"], lambda index: f"{path}")


def write_classes(folder: Path | str, classes: ClassList) -> None:
    """Write the ``classes.yaml`` that names the classes of the VOC tree `folder`."""
    import yaml  # late, as in `read_yaml`

    content = {"classes": list(classes.names), "similar": [list(group) for group in classes.similar]}
    write_text(
        Path(folder) / FILE_NAME,
        yaml.safe_dump(content, default_flow_style=None, sort_keys=False, allow_unicode=True, width=100),
    )


def _listed(where: str, values: Any) -> tuple[str, ...]:
    """The class names of a list in YAML."""
    if not isinstance(values, list):
        raise InputError(where, "nothing" if values is None else repr(values), "a list of class names")
    return class_names(values, lambda index: f"{where}[{index}]")


def class_names(values: Sequence[Any], where: Callable[[int], str]) -> tuple[str, ...]:
    """The names of classes, whatever format they come from: texts, not blank, each once.

    `where` gives the place of an index in messages. Whole numbers are names too, as in ``names: [0, 1, 2]``.

    Raises
    ------
    InputError
        Something else, such as the truth value that YAML makes of an unquoted ``no``; a name twice.
    """
    first: dict[str, int] = {}
    for index, value in enumerate(values):
        if isinstance(value, bool) or not isinstance(value, str | int) or not str(value).strip():
            expected = "a class name (in quotes where YAML reads it otherwise)"
            raise InputError(where(index), f"{value!r}", expected)
        before = first.setdefault(str(value), index)
        if before != index:
            found = f"the name {value!r} a second time (first in {where(before)})"
            raise InputError(where(index), found, "each class once")
    return tuple(first)
