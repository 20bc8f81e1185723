"""PASCAL VOC trees: ``VOCdevkit/VOC2007`` with Annotations, ImageSets/Main and JPEGImages.

A *split* is written ``YEAR:LIST``: ``2007:trainval`` is ``VOC2007/ImageSets/Main/trainval.txt``. The year may
be any word, so that a tree of one's own, ``VOCshapes``, is ``shapes:train``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from data.formats.classes import VOC_CLASSES, VOC_SIMILAR, ClassList, read_classes, write_classes
from data.formats.files import read_text
from data.formats.voc_text import read_detections, write_detections
from data.formats.voc_xml import AnnotatedObject, annotation_xml, read_annotation
from data.records import GroundTruth, InputError

__all__ = [
    "VOC_CLASSES",
    "VOC_SIMILAR",
    "AnnotatedObject",
    "ClassList",
    "annotation_xml",
    "guard_test_set",
    "read_annotation",
    "read_classes",
    "read_detections",
    "read_image_list",
    "read_voc",
    "read_voc_folder",
    "voc_folder",
    "write_classes",
    "write_detections",
]

OFFICIAL_TREE = re.compile(r"VOC\d{4}")


def voc_folder(root: Path | str, split: str) -> tuple[Path, str]:
    """The tree and the list that a split ``YEAR:LIST`` means.

    Parameters
    ----------
    root
        The VOCdevkit folder, which holds the trees.
    split
        Such as ``2007:trainval``.

    Raises
    ------
    InputError
        The split is not of that form, or there is no such tree.

    Examples
    --------
    >>> voc_folder("VOCdevkit", "2007")
    Traceback (most recent call last):
    ...
    data.records.InputError: split '2007': found no list; expected YEAR:LIST, such as 2007:trainval
    """
    root = Path(root)
    year, colon, name = split.partition(":")
    if not colon or not year or not name:
        raise InputError(
            f"split {split!r}",
            "no year" if colon and not year else "no list",
            "YEAR:LIST, such as 2007:trainval",
        )
    folder = root / f"VOC{year}"
    if not folder.is_dir():
        trees = sorted(tree.name for tree in root.glob("VOC*") if tree.is_dir())
        hint = (
            f"one of {', '.join(trees)} of {root}" if trees else "the folder that holds VOC2007 and the like"
        )
        if "VOCdevkit" in trees:
            hint = f"the folder of the trees themselves: {root / 'VOCdevkit'}?"
        raise InputError(folder, "no such folder", hint)
    return folder, name


def read_voc(
    root: Path | str, splits: str | Iterable[str], classes: ClassList | Sequence[str] | None = None
) -> GroundTruth:
    """Ground truth of one or several splits, joined in the order given.

    Parameters
    ----------
    root
        The VOCdevkit folder, which holds the trees.
    splits
        One or several, such as ``["2007:trainval", "2012:trainval"]``.
    classes
        The classes that may occur, in order. Default: those of the trees, which must agree.

    Raises
    ------
    InputError
        An absent tree, list or annotation, an image that is listed twice, trees whose classes differ,
        and whatever :func:`~data.formats.voc_xml.read_annotation` refuses.
    """
    chosen = [splits] if isinstance(splits, str) else list(splits)
    if not chosen:
        raise InputError("splits", "none", "at least one YEAR:LIST, such as 2007:trainval")
    folders = [voc_folder(root, split) for split in chosen]
    if classes is None:
        first, classes = folders[0][0], read_classes(folders[0][0])
        for folder, _ in folders[1:]:
            if read_classes(folder) != classes:
                raise InputError(folder, f"other classes than those of {first}", "trees of the same classes")
    return _read(folders, _class_names(classes))


def read_voc_folder(
    folder: Path | str, split: str, classes: ClassList | Sequence[str] | None = None
) -> GroundTruth:
    """Ground truth of one list of one tree, ``…/VOC2007`` and ``test``; see :func:`read_voc`."""
    folder = Path(folder)
    if not folder.is_dir():
        raise InputError(folder, "no such folder", "a VOC tree: Annotations and ImageSets/Main")
    return _read([(folder, split)], _class_names(read_classes(folder) if classes is None else classes))


def read_image_list(folder: Path | str, split: str) -> list[str]:
    """Identifiers of the images in ``ImageSets/Main/SPLIT.txt``, in order.

    The lists of one class, ``dog_train``, have a second column of −1, 0 or 1, which is left out.

    Raises
    ------
    InputError
        No such list (the message says which there are), an empty one, other columns, an image twice.
    """
    lists = Path(folder) / "ImageSets" / "Main"
    path = lists / f"{split}.txt"
    if not path.is_file():
        there = ", ".join(sorted(file.stem for file in lists.glob("*.txt"))) or "none at all"
        raise InputError(path, "no such list", f"one of the lists in {lists}: {there}")
    lines: dict[str, int] = {}
    for number, line in enumerate(read_text(path, "a list of images").split("\n"), start=1):
        words = line.split()
        if not words:
            continue
        if len(words) > 2 or (len(words) == 2 and words[1] not in ("-1", "0", "1")):
            raise InputError(f"{path}:{number}", repr(line.strip()), "an image, or an image and -1, 0 or 1")
        if words[0] in lines:
            found = f"image {words[0]!r} a second time (first in line {lines[words[0]]})"
            raise InputError(f"{path}:{number}", found, "each image once")
        lines[words[0]] = number
    if not lines:
        raise InputError(path, "no image", "one image in each line")
    return list(lines)


def guard_test_set(root: Path | str, train: GroundTruth, test_splits: Iterable[str]) -> None:
    """Make sure that no training image is a test image; the error names the first that is.

    Three things are refused: an image of a test split of this run, an image of VOC 2007 test (where
    that list is at hand), and an image of VOC 2012 whose name begins with ``2007_``: it belonged to the
    challenge of 2007, under a name by which its place in the test set no longer shows.

    Images count as the same when they have the same name, unless both trees are the user's own.

    Parameters
    ----------
    root
        The VOCdevkit folder.
    train
        The images to train on, as :func:`read_voc` gives them.
    test_splits
        The splits that this run tests on.

    Raises
    ------
    InputError
        Names the image and the list it must not be in.
    """
    trees = [Path(file).parent.parent.name for file in train.files] or ["VOC2007"] * len(train.images)
    tests = [voc_folder(root, split) for split in test_splits]
    official = (Path(root) / "VOC2007", "test")
    if official not in tests and (official[0] / "ImageSets" / "Main" / "test.txt").is_file():
        tests.append(official)
    for folder, name in tests:
        held_out = set(read_image_list(folder, name))
        own = not OFFICIAL_TREE.fullmatch(folder.name)
        for image, tree in zip(train.images, trees, strict=True):
            distinct = own and tree != folder.name and not OFFICIAL_TREE.fullmatch(tree)
            if image in held_out and not distinct:
                raise InputError(
                    f"training image {image!r} of {tree}",
                    f"the same image in the test list {folder.name}/ImageSets/Main/{name}.txt",
                    "training and test images apart: take it out of one of the lists",
                )
    for image, tree in zip(train.images, trees, strict=True):
        if image.startswith("2007_") and OFFICIAL_TREE.fullmatch(tree):
            raise InputError(
                f"training image {image!r} of {tree}",
                "an image of the 2007 challenge, which may be one of VOC 2007 test",
                "the official ImageSets/Main lists, which hold none",
            )


def _class_names(classes: ClassList | Sequence[str]) -> tuple[str, ...]:
    return classes.names if isinstance(classes, ClassList) else tuple(classes)


def _read(folders: Sequence[tuple[Path, str]], classes: tuple[str, ...]) -> GroundTruth:
    """Ground truth of (tree, list) pairs."""
    number = {name: i for i, name in enumerate(classes)}
    place: dict[str, Path] = {}
    sizes: list[tuple[int, int]] = []
    image_index: list[int] = []
    objects: list[AnnotatedObject] = []
    for folder, split in folders:
        for image in read_image_list(folder, split):
            if image in place:
                where = folder / "ImageSets" / "Main" / f"{split}.txt"
                raise InputError(
                    where,
                    f"image {image!r}, already listed in a split before",
                    "splits without common images",
                )
            size, found = read_annotation(folder / "Annotations" / f"{image}.xml", number)
            image_index += [len(sizes)] * len(found)
            sizes.append(size)
            objects += found
            place[image] = folder / "JPEGImages" / f"{image}.jpg"
    return GroundTruth(
        images=place,
        classes=classes,
        sizes=sizes,
        image_index=image_index,
        labels=[number[thing.label] for thing in objects],
        boxes=np.array([thing.box for thing in objects], dtype=np.float64).reshape(-1, 4),
        difficult=[thing.difficult for thing in objects],
        attributes={
            "truncated": np.array([thing.truncated for thing in objects], dtype=np.int8),
            "occluded": np.array([thing.occluded for thing in objects], dtype=np.int8),
            "pose": np.array([thing.pose for thing in objects], dtype=np.str_),
        },
        files=tuple(place.values()),
    )
