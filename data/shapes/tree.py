"""The embedded data set: scenes of textured shapes, drawn on demand and written as a VOC tree.

It has what makes detection interesting: classes that come in groups of similar ones, clutter, and objects
that are cut off by the border, hidden by others, tiny or faint.
Everything that reads PASCAL VOC reads it: its splits are ``shapes:train``, ``shapes:val``,
``shapes:trainval`` and ``shapes:test``.
"""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

from PIL import Image

from data.formats.classes import ClassList, write_classes
from data.formats.files import write_text
from data.formats.processes import over_processes, usable_cores
from data.formats.voc import annotation_xml
from data.records import InputError
from data.shapes.scenes import LABELS, LARGE, VARIED, SceneStyle, draw_scene

__all__ = ["SHAPE_SETS", "shapes_classes", "write_shapes"]

TREE = "VOCshapes"
MARKER = "shapes.json"
DRAWING = 6  # to be raised when the pictures of a key change
JPEG_QUALITY = 92
FEW_SCENES = 200
"""Up to this number are drawn in one process."""
SMALLEST_SIDE = 48  # pixels: below, a tiny object has too few to be one

SHAPE_SETS: dict[str, dict[str, Any]] = {
    "shapes": {},
    "large-shapes": {"train": 24000, "val": 1000, "test": 2000, "size": (64, 64), "style": LARGE},
}
"""The arguments of :func:`write_shapes` by the name of a data set."""

SIMILAR = (("disc", "hexagon", "ring"), ("hexagon", "square", "triangle"), ("cross", "star"))


def shapes_classes() -> ClassList:
    """The eight classes and their groups of similar ones; the arrow, as VOC's bottle, is in none.

    Examples
    --------
    >>> shapes_classes().names
    ('arrow', 'cross', 'disc', 'hexagon', 'ring', 'square', 'star', 'triangle')
    """
    return ClassList(LABELS, SIMILAR)


def write_shapes(
    root: Path | str,
    train: int = 2000,
    val: int = 200,
    test: int = 500,
    size: tuple[int, int] = (160, 160),
    seed: int = 0,
    style: SceneStyle = VARIED,
) -> Path:
    """Draw the data set and write it as the VOC tree ``VOCshapes`` of the folder `root`.

    Each image depends on `seed`, `size`, `style`, its split and its number alone: drawing more of them
    does not change the first. A tree that is there already is kept where it is complete and has the same
    parameters, and drawn anew where it has others. The tree gets its name when it is complete.

    Parameters
    ----------
    root
        The folder for the tree, as VOCdevkit is for VOC2007. Made where it is absent.
    train, val, test
        Number of images of each split.
    size
        Width and height of the images in pixels.
    seed
        Another seed, another data set of the same kind.
    style
        Number and size of the objects: ``data.shapes.VARIED`` or ``data.shapes.LARGE``.

    Returns
    -------
    Path
        ``root/VOCshapes``.

    Raises
    ------
    InputError
        A negative number, images too small to show anything, a folder of that name that was not
        drawn here, a folder that cannot be written.
    """
    root = Path(root)
    counts = {"train": train, "val": val, "test": test}
    for name, number in {**counts, "seed": seed}.items():
        if number < 0:
            raise InputError(name, str(number), "a number of at least 0")
    if min(size) < SMALLEST_SIDE:
        found = f"{size[0]}×{size[1]} pixels"
        raise InputError("size", found, f"a width and height of at least {SMALLEST_SIDE}")
    drawn = {"drawing": DRAWING, "seed": seed, "size": size, "style": style, **counts}
    parameters = json.loads(json.dumps(drawn))  # as they are read again
    tree = root / TREE
    if _is_complete(tree, parameters):
        return tree
    if tree.exists() and not (tree / MARKER).is_file():
        expected = f"no folder of that name, or one drawn before (with {MARKER} in it): choose another root"
        raise InputError(tree, "something that was not drawn here", expected)
    part = root / f".{TREE}.{os.getpid()}.part"
    try:
        shutil.rmtree(part, ignore_errors=True)
        _draw_tree(part, counts, size, seed, style)
        write_text(part / MARKER, json.dumps(parameters, indent=1) + "\n")
        _move(part, tree, parameters)
    except OSError as error:
        where, found = error.filename or tree, error.strerror or str(error)
        raise InputError(where, found, "a folder to write to") from None
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return tree


def _draw_tree(
    tree: Path, counts: dict[str, int], size: tuple[int, int], seed: int, style: SceneStyle
) -> None:
    annotations, lists, images = (tree / name for name in ("Annotations", "ImageSets/Main", "JPEGImages"))
    for folder in (annotations, lists, images):
        folder.mkdir(parents=True)
    names = {split: [f"{split}_{i:06d}" for i in range(count)] for split, count in counts.items()}

    def draw(key: tuple[str, int]) -> None:
        split, index = key
        name = names[split][index]
        scene = draw_scene(seed, split, index, size, style)
        Image.fromarray(scene.image).save(images / f"{name}.jpg", quality=JPEG_QUALITY)
        text = annotation_xml(TREE, f"{name}.jpg", size, scene.objects)
        (annotations / f"{name}.xml").write_text(text, encoding="utf-8")

    keys = [(split, index) for split, count in counts.items() for index in range(count)]
    over_processes(draw, keys, usable_cores() if len(keys) > FEW_SCENES else 1)
    for split, members in {**names, "trainval": names["train"] + names["val"]}.items():
        write_text(lists / f"{split}.txt", "".join(f"{name}\n" for name in members))
    write_classes(tree, shapes_classes())


def _is_complete(tree: Path, parameters: dict[str, Any]) -> bool:
    """Whether `tree` was drawn with these parameters and no file has been removed since."""
    try:
        found = json.loads((tree / MARKER).read_text(encoding="utf-8"))
        files = [sum(1 for _ in (tree / name).iterdir()) for name in ("Annotations", "JPEGImages")]
    except (OSError, ValueError):
        return False
    total = sum(parameters[split] for split in ("train", "val", "test"))
    return bool(found == parameters and files == [total, total])


def _move(part: Path, tree: Path, parameters: dict[str, Any]) -> None:
    """Give the finished tree its name."""
    old = part.with_suffix(".old")
    if tree.exists() and not _is_complete(tree, parameters):
        tree.rename(old)
    try:
        part.rename(tree)
    except OSError:
        if not _is_complete(tree, parameters):  # another process was quicker and wrote the same
            raise
    finally:
        shutil.rmtree(old, ignore_errors=True)
