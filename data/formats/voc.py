"""PASCAL VOC: trees with Annotations, ImageSets/Main and JPEGImages, and detection text.

A *split* is written ``YEAR:LIST``: ``2007:trainval`` is ``VOC2007/ImageSets/Main/trainval.txt``. The year may
be any word, so that a tree of one's own, ``VOCshapes``, is ``shapes:train``.

VOC counts pixels from 1 and includes the last one, in annotations and in detection text: its box
(xmin, ymin, xmax, ymax) is (xmin − 1, ymin − 1, xmax, ymax) in the continuous pixels used everywhere else.

Other tools write VOC's XML without lists, beside the pictures, with other classes or with coordinates from 0:
:func:`read_voc_folder` reads these too.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path, PurePath
from typing import Any, NamedTuple
from xml.etree.ElementTree import (
    Element,
    ElementTree,
    ParseError,
    SubElement,
    fromstring,
    indent,
    tostring,
)

import defusedxml.ElementTree as SafeTree
import numpy as np
from defusedxml.common import DefusedXmlException
from numpy.typing import ArrayLike, NDArray

from data.formats.classes import VOC_CLASSES, ClassList, has_classes, read_classes
from data.formats.files import (
    IMAGE_SUFFIXES,
    UNKNOWN_SIZE,
    image_size,
    is_file,
    read_bytes,
    read_text,
    read_utf8,
    write_texts,
)
from data.formats.names import Lookup, images_by_name
from data.formats.processes import over_processes
from data.formats.validation import (
    OTHER_FORM,
    BoxFormat,
    Faults,
    Keys,
    Problem,
    Rows,
    as_xyxy,
    box_in_image,
    check_box_format,
    check_objects,
    check_spelling,
    detection_problems,
    number_of,
    numbers_of,
    plain_numbers,
    short_repr,
    valid_detections,
    warn,
)
from data.records import UNKNOWN, Detections, GroundTruth, InputError

__all__ = [
    "AnnotatedObject",
    "annotation_folder",
    "annotation_xml",
    "check_text_names",
    "class_of_file",
    "guard_test_set",
    "read_annotation",
    "read_detections",
    "read_image_list",
    "read_voc",
    "read_voc_folder",
    "read_voc_text",
    "voc_folder",
    "voc_lists",
    "write_detections",
    "write_text_where_named",
]

OFFICIAL_TREE = re.compile(r"VOC\d{4}")
PREFIX = "comp4_det_test_"
"""What the devkit's files of detections have before the class."""
LONGEST_FILE_NAME = 255
"""Bytes."""
CORNERS = ("xmin", "ymin", "xmax", "ymax")
FLAGS = {"0": 0, "0.0": 0, "false": 0, "1": 1, "1.0": 1, "true": 1}
NO_FLAG = ("", "unspecified")
ENCODING = re.compile(rb"[^>]{,99}\bencoding\s*=\s*[\"']([^\"'>]*)")


# ---------------------------------------------------------------- trees


def voc_folder(root: Path | str, split: str) -> tuple[Path, str]:
    """The tree and the list that a split ``YEAR:LIST`` means; `root` holds the trees.

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
        found = "no year" if colon and not year else "no list"
        raise InputError(f"split {split!r}", found, "YEAR:LIST, such as 2007:trainval")
    folder = root / f"VOC{year}"
    if not folder.is_dir():
        trees = sorted(tree.name for tree in root.glob("VOC*") if tree.is_dir())
        expected = (
            f"one of {', '.join(trees)} of {root}" if trees else "the folder that holds VOC2007 and the like"
        )
        if "VOCdevkit" in trees:
            expected = f"the folder of the trees themselves: {root / 'VOCdevkit'}?"
        raise InputError(folder, "no such folder", expected)
    return folder, name


FILES_OF_A_PROCESS = 500
"""Fewer annotations are read sooner than a process starts."""


def read_voc(
    root: Path | str,
    splits: str | Iterable[str],
    classes: ClassList | Sequence[str] | None = None,
    pixels_from: int = 1,
    faults: list[InputError] | None = None,
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
    pixels_from
        What the first pixel is called in the annotations: see :func:`read_voc_folder`.
    faults
        The same.

    Raises
    ------
    InputError
        An absent tree, list or annotation, an image that is listed twice, trees whose classes differ,
        and whatever :func:`read_annotation` refuses.
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
    return _read(folders, classes, pixels_from, faults)


def read_voc_folder(
    folder: Path | str,
    split: str = "",
    classes: ClassList | Sequence[str] | None = None,
    pixels_from: int = 1,
    faults: list[InputError] | None = None,
) -> GroundTruth:
    """Ground truth of one list of one tree, ``…/VOC2007`` and ``test``; see :func:`read_voc`.

    A tree without lists (`split` empty) is all of its annotations: those in ``Annotations``, or else those in
    the folder itself, beside their pictures, as Label Studio, Roboflow and LabelImg write them.

    Parameters
    ----------
    folder
        The tree.
    split
        One of its lists.
    classes
        The classes that may occur, in order. Default: those that the tree names (``classes.yaml``, or CVAT's
        ``labelmap.txt``); or else VOC's, if no other occurs; or else those that occur, sorted, with a
        warning.
    pixels_from
        What the first pixel is called in the annotations: 1, as VOC does, or 0, as gluon and VoTT do. From 0,
        coordinates are continuous pixels: a box that ends at the border ends at the image's width.
    faults
        Takes the errors of annotations, whose images are then left out, instead of raising the first.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise InputError(folder, "no such folder", "a VOC tree: Annotations and ImageSets/Main")
    if classes is None and has_classes(folder):
        classes = read_classes(folder)
    return _read([(folder, split)], classes, pixels_from, faults)


def voc_lists(folder: Path) -> list[str]:
    """The lists of images of a tree."""
    return sorted(file.stem for file in (folder / "ImageSets" / "Main").glob("*.txt"))


def annotation_folder(folder: Path) -> Path | None:
    """Where the annotations of a tree without lists are; None where there are none."""
    for place in (folder / "Annotations", folder / "labels", folder):  # FiftyOne's is labels
        if place.is_dir() and any(place.glob("*.xml")):
            return place
    return None


def _read(
    folders: Sequence[tuple[Path, str]],
    classes: ClassList | Sequence[str] | None,
    pixels_from: int,
    faults: list[InputError] | None,
) -> GroundTruth:
    """Ground truth of (tree, list) pairs. `classes` of None: VOC's, or else those that occur."""
    names = classes.names if isinstance(classes, ClassList) else None if classes is None else tuple(classes)
    paths = _files_of_images(folders)
    contents = _read_annotations(paths, names, pixels_from, faults)
    annotations, files = [paths[image][0] for image in contents], [paths[image][1] for image in contents]
    rows = list(contents.values())
    objects = [thing for row in rows for thing in row.objects]
    image_index = np.repeat(np.arange(len(rows)), [len(row.objects) for row in rows])
    source = folders[0][0]
    if names is None:
        names = _occurring_classes(source, objects, image_index, annotations)
    _check_pictures(source, annotations, files, [row.picture for row in rows])
    unknown = sum(row.size[0] == UNKNOWN_SIZE for row in rows)
    if unknown:
        warn(
            f"{source}: {unknown:,} of {len(rows):,} images have neither a size in their annotation nor a "
            "file: detections on them are not clipped to the image"
        )
    number = {name: i for i, name in enumerate(names)}

    def column(name: str, dtype: type) -> NDArray[Any]:
        return np.array([getattr(thing, name) for thing in objects], dtype)

    kinds = {"truncated": np.int8, "occluded": np.int8, "pose": np.str_}
    attributes = {name: column(name, kind) for name, kind in kinds.items()}
    if (rotation := column("rotation", np.float64)).any():
        attributes["rotation"] = rotation
    truth = GroundTruth(
        contents,
        names,
        [row.size for row in rows],
        image_index,
        [number[thing.label] for thing in objects],
        column("box", np.float64).reshape(-1, 4),
        column("difficult", np.bool_),
        attributes=attributes,
        files=files,
        as_shown=[row.as_shown for row in rows],
    )
    check_objects(source, truth, lambda row: str(annotations[image_index[row]]))
    return truth


def _files_of_images(folders: Sequence[tuple[Path, str]]) -> dict[str, tuple[Path, Path]]:
    """Annotation and picture of each image of (tree, list) pairs."""
    paths: dict[str, tuple[Path, Path]] = {}
    for folder, split in folders:
        place = folder / "Annotations" if split else annotation_folder(folder) or folder
        listed = (
            read_image_list(folder, split) if split else sorted(file.stem for file in place.glob("*.xml"))
        )
        pictures = _pictures(folder, place)
        usual = next(
            (file.parent for file in pictures.values()), place if place == folder else folder / "JPEGImages"
        )
        for image in listed:
            if image in paths:
                where = folder / "ImageSets" / "Main" / f"{split}.txt"
                found = f"image {image!r}, already listed in a split before"
                raise InputError(where, found, "splits without common images")
            annotation, picture = place / f"{image}.xml", pictures.get(image) or usual / f"{image}.jpg"
            if pictures and image not in pictures:
                picture = _named_picture(folder, annotation, picture)
            paths[image] = annotation, picture
    return paths


def _read_annotations(
    paths: Mapping[str, tuple[Path, Path]],
    names: tuple[str, ...] | None,
    pixels_from: int,
    faults: list[InputError] | None,
) -> dict[str, _Annotation]:
    """The annotations of images, by processes where there are many; those at fault go to `faults`."""

    def read(image: str) -> _Annotation | InputError:
        annotation, picture = paths[image]
        try:
            return _read_annotation(annotation, names, pixels_from, picture)
        except InputError as error:
            if faults is None:
                raise
            return error

    contents: dict[str, _Annotation] = {}
    for image, content in zip(
        paths, over_processes(read, [*paths], len(paths) // FILES_OF_A_PROCESS), strict=True
    ):
        if isinstance(content, InputError):
            assert faults is not None
            faults.append(content)
        else:
            contents[image] = content
    return contents


def _pictures(folder: Path, annotations: Path) -> dict[str, Path]:
    """The image files of a tree, by name: those in VOC's folder, or else in the usual places."""
    found: dict[str, Path] = {}
    for place in (folder / "JPEGImages", folder / "images", folder / "data", annotations):
        for file in sorted(place.iterdir(), key=str) if place.is_dir() else ():
            if file.suffix.lower() in IMAGE_SUFFIXES:
                found.setdefault(file.stem, file)
    return found


def _named_picture(folder: Path, annotation: Path, usual: Path) -> Path:
    """The picture that an annotation's <filename> names; the usual one where there is none."""
    try:
        name = _filename(SafeTree.parse(annotation))
    except (OSError, ParseError, DefusedXmlException, ValueError, LookupError):
        return usual  # read_annotation says what is wrong
    places = (usual.parent, folder / "images", annotation.parent)
    return next((place / name for place in places if name and is_file(place / name)), usual)


def _filename(annotation: Element | ElementTree) -> str:
    """What its <filename> says, without a folder."""
    return (annotation.findtext("filename") or "").strip().replace("\\", "/").rpartition("/")[2]


def _check_pictures(
    source: Path, annotations: Sequence[Path], files: Sequence[Path], named: Sequence[str]
) -> None:
    """Warn of annotations whose <filename>, `named`, is another picture, and of two of one picture."""
    others = [
        row
        for row, name in enumerate(named)
        if name and not {name, PurePath(name).stem} & {annotations[row].stem, files[row].name}
    ]
    if others:
        warn(
            f"{source}: annotations that name another picture than their own: {len(others):,} of "
            f"{len(named):,}, the first {annotations[others[0]]}: its <filename> is "
            f"{short_repr(named[others[0]])}; they are read as of the picture with the name of the XML"
        )
    first: dict[Path, int] = {}
    again = [row for row, file in enumerate(files) if first.setdefault(file, row) != row]
    if again:
        file = files[again[0]]
        warn(
            f"{source}: annotations of a picture that has another: {len(again):,} of {len(named):,}, the "
            f"first {annotations[again[0]]}, of {file}, as is {annotations[first[file]]}; each counts as an "
            "image"
        )


def _occurring_classes(
    folder: Path, objects: Sequence[AnnotatedObject], image_index: NDArray[np.int64], files: Sequence[Path]
) -> tuple[str, ...]:
    """VOC's classes if no other occurs, or else those that do. Of an official tree others are mistakes."""
    occurring = sorted({thing.label for thing in objects})
    others = [name for name in occurring if name not in VOC_CLASSES]
    if not others:
        return VOC_CLASSES
    if OFFICIAL_TREE.fullmatch(folder.name) and len(others) < len(occurring) - len(others):
        row = next(row for row, thing in enumerate(objects) if thing.label == others[0])
        expected = f"one of the classes {', '.join(VOC_CLASSES)}; or others in {folder / 'classes.yaml'}"
        raise InputError(f"{files[image_index[row]]}: <name>", repr(others[0]), expected)
    warn(f"{folder}: the classes are those that occur, as no classes.yaml names any: {', '.join(occurring)}")
    check_spelling(folder, [thing.label for thing in objects], lambda row: str(files[image_index[row]]))
    return tuple(occurring)


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
        there = ", ".join(voc_lists(Path(folder))) or "none at all"
        raise InputError(path, "no such list", f"one of the lists in {lists}: {there}")
    lines: dict[str, int] = {}
    for number, line in enumerate(read_text(path, "a list of images").split("\n"), start=1):
        words = line.split()
        if not words:
            continue
        name, whole = words[0], line.strip()
        if len(words) > 1 and is_file(Path(folder) / "Annotations" / f"{whole}.xml"):
            name = whole
        elif len(words) > 2 or (len(words) == 2 and words[1] not in ("-1", "0", "1")):
            raise InputError(f"{path}:{number}", repr(whole), "an image, or an image and -1, 0 or 1")
        if name in lines:
            found = f"image {name!r} a second time (first in line {lines[name]})"
            raise InputError(f"{path}:{number}", found, "each image once")
        lines[name] = number
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


# ---------------------------------------------------------------- annotations


class AnnotatedObject(NamedTuple):
    """One object of an annotation."""

    label: str
    """Name of its class."""
    box: tuple[float, float, float, float]
    """xyxy, continuous pixels, inside the image."""
    difficult: bool = False
    """VOC's flag for objects that are neither rewarded nor punished."""
    truncated: int = UNKNOWN
    """1, 0, or −1 where the file does not say."""
    occluded: int = UNKNOWN
    """The same."""
    pose: str = ""
    """``Frontal``, ``Left``, …; empty where the file does not say."""
    rotation: float = 0.0
    """By how many degrees CVAT's user has turned the box, which the file gives as it was before."""


class _Annotation(NamedTuple):
    """The content of a file."""

    size: tuple[int, int]
    objects: list[AnnotatedObject]
    as_shown: bool
    """As in :class:`~data.records.GroundTruth`: the size is the picture's, as the file has none."""
    picture: str
    """The picture that the file names."""


def read_annotation(
    path: Path, classes: Collection[str] | None, pixels_from: int = 1, picture: Path | None = None
) -> tuple[tuple[int, int], list[AnnotatedObject]]:
    """Size (width, height) of the image and its objects, in the order of the file.

    `classes` of None: any. `pixels_from` 0: coordinates are continuous pixels. A size that is missing or 0 is
    that of the `picture`, where it is at hand, else :data:`~data.formats.files.UNKNOWN_SIZE`.

    Raises
    ------
    InputError
        Names the file and the field: malformed XML or XML with entities or external references, another
        root than <annotation>, no size, a class that is none of `classes`, an object without a box or with
        two, a coordinate that is missing or no number, a flag other than 0 and 1, and whatever
        :func:`~data.formats.validation.box_in_image` refuses.
    """
    return _read_annotation(path, classes, pixels_from, picture)[:2]


def _read_annotation(
    path: Path, classes: Collection[str] | None, pixels_from: int, picture: Path | None
) -> _Annotation:
    content = read_bytes(path, "the annotation of an image that the list names")
    try:
        plain = _is_plain(content)
        root: Element = fromstring(content) if plain else SafeTree.fromstring(content, forbid_dtd=True)
    except ParseError as error:
        where = f"{path}:{error.position[0]}"
        raise InputError(where, f"malformed XML ({error})", "a whole VOC annotation") from None
    except DefusedXmlException as error:
        found = f"XML that declares entities or a document type ({type(error).__name__})"
        raise InputError(path, found, "plain XML") from None
    except (ValueError, LookupError) as error:  # an encoding that the parser does not know
        raise InputError(path, f"unreadable XML ({error})", "XML in UTF-8") from None
    if root.tag == "annotations":
        expected = "what CVAT exports as Pascal VOC 1.1 or COCO 1.0"
        raise InputError(path, "CVAT's own XML (<annotations>)", expected)
    if root.tag != "annotation":
        raise InputError(path, f"the root element <{root.tag}>", "<annotation>, as VOC's files have it")
    size, as_shown = _size(path, root.find("size"), picture)
    objects = [
        _object(f"{path}: object {number}", thing, classes, size, pixels_from)
        for number, thing in enumerate(root.findall("object"), start=1)
    ]
    return _Annotation(size, objects, as_shown, _filename(root))


def _is_plain(content: bytes) -> bool:
    """Whether XML cannot declare a document type or entities: the fast parser is safe with it."""
    encoding = ENCODING.match(content)
    known = encoding is None or encoding[1].lower() in (b"utf-8", b"us-ascii", b"iso-8859-1")
    return known and b"<!" not in content and b"\0" not in content


def _size(path: Path, element: Element | None, picture: Path | None) -> tuple[tuple[int, int], bool]:
    """Width and height, and whether they are those of the picture, as the annotation has none."""
    lengths: list[int] = []
    for tag in ("width", "height"):
        text = "" if element is None else _text(element, tag)
        length = number_of(text or "0", tag)
        if isinstance(length, float) and length < 0 and picture is not None and is_file(picture):
            length = 0.0
        if not isinstance(length, float) or length < 0 or not length.is_integer() or length > UNKNOWN_SIZE:
            expected = "the image's size: a whole number above 0"
            raise InputError(f"{path}: <size><{tag}>", repr(text), expected)
        lengths.append(int(length))
    if all(lengths):
        return (lengths[0], lengths[1]), False
    if picture is not None and is_file(picture):
        return image_size(picture), True
    return (UNKNOWN_SIZE, UNKNOWN_SIZE), False


def _object(
    where: str,
    element: Element,
    classes: Collection[str] | None,
    size: tuple[int, int],
    pixels_from: int,
) -> AnnotatedObject:
    if len(names := element.findall("name")) > 1:
        raise InputError(where, f"{len(names)} <name>", "one")
    label = _text(element, "name")
    if classes is None and not label:
        raise InputError(f"{where}: <name>", "nothing", "the name of a class")
    if classes is not None and label not in classes:
        expected = f"one of the classes {', '.join(classes)}; others are named in classes.yaml of the tree"
        raise InputError(f"{where}: <name>", repr(label), expected)
    named = f"{where} ({label})"
    found = element.findall("bndbox")
    if len(found) != 1:
        number = f"{len(found)} <bndbox>" if found else "no <bndbox>"
        raise InputError(named, number, "one <bndbox> with <xmin>, <ymin>, <xmax> and <ymax>")
    corners: dict[str, float] = {}
    for tag in CORNERS:
        if len(found[0]) > len(CORNERS) and (count := len(found[0].findall(tag))) > 1:
            raise InputError(f"{named}: <bndbox>", f"{count} <{tag}>", "one")
        text = _text(found[0], tag)
        value = number_of(text, tag)
        if not isinstance(value, float):
            found_text = repr(text) if text else "nothing"
            raise InputError(f"{named}: <bndbox><{tag}>", found_text, "a number of pixels")
        corners[tag] = value
    place = lambda tag: f"{named}: <bndbox>" + f"<{tag}>" * bool(tag)  # noqa: E731
    box = box_in_image(place, corners, size, pixels_from)
    flags = {}
    for tag, absent in (("difficult", 0), ("truncated", UNKNOWN), ("occluded", UNKNOWN)):
        text = _text(element, tag)
        flag = FLAGS.get(text.lower(), absent if text.lower() in NO_FLAG else None)
        if flag is None:
            raise InputError(f"{where}: <{tag}>", short_repr(text), "0 or 1, or false or true")
        flags[tag] = flag
    attributes = [one for some in element.findall("attributes") for one in some.findall("attribute")]
    turned = [one for one in attributes if _text(one, "name") == "rotation"]
    rotation = number_of(_text(turned[0], "value"), "rotation") if turned else 0.0
    return AnnotatedObject(
        label, box, flags["difficult"] == 1, flags["truncated"], flags["occluded"], _text(element, "pose"),
        rotation if isinstance(rotation, float) else 0.0,
    )  # fmt: skip


def _text(parent: Element, tag: str) -> str:
    """The text of a child, without white space around it; empty where there is none."""
    return (parent.findtext(tag) or "").strip()


def annotation_xml(
    folder: str, filename: str, size: tuple[int, int], objects: Iterable[AnnotatedObject]
) -> str:
    """The text of an annotation that :func:`read_annotation` reads back unchanged.

    `folder` and `filename` are the names of the tree (``VOC2007``) and of the image file. Fields of the
    objects that are not annotated are left out.
    """
    root = Element("annotation")

    def add(parent: Element, **texts: object) -> None:
        for tag, text in texts.items():
            SubElement(parent, tag).text = str(text)

    add(root, folder=folder, filename=filename)
    add(SubElement(root, "size"), width=size[0], height=size[1], depth=3)
    for thing in objects:
        element = SubElement(root, "object")
        flags = {"truncated": thing.truncated, "occluded": thing.occluded}
        annotated = {tag: int(flag) for tag, flag in flags.items() if flag != UNKNOWN}
        pose = {"pose": thing.pose} if thing.pose else {}
        add(element, name=thing.label, **pose, **annotated, difficult=int(thing.difficult))
        if thing.rotation:
            attribute = SubElement(SubElement(element, "attributes"), "attribute")
            add(attribute, name="rotation", value=repr(thing.rotation))
        x1, y1, x2, y2 = thing.box
        # The shortest text that reads back as the value; whole numbers as VOC has them, without a point.
        corners = (np.format_float_positional(value, trim="-") for value in (x1 + 1, y1 + 1, x2, y2))
        add(SubElement(element, "bndbox"), **dict(zip(CORNERS, corners, strict=True)))
    indent(root, "\t")
    return tostring(root, "unicode") + "\n"


# ---------------------------------------------------------------- detection text

COLUMNS = ("image", "score", *CORNERS)
LINES = f"detections: lines of {' '.join(COLUMNS)}"
FIRST_PIXEL = np.array([1, 1, 0, 0])  # of the corners in the text, less those in continuous pixels
DECIMALS = 7  # written: rounding to them inverts a box by less than validation.ROUNDING_PIXELS


class Lines(NamedTuple):
    """M lines of the file of a class."""

    path: Path
    numbers: NDArray[np.int64]
    """``(M,)`` the number of each in the file, from 1."""
    images: list[bytes]
    """The name in the first column of each."""
    image_index: NDArray[np.int64]
    """``(M,)`` the image that it means."""
    values: NDArray[np.float64]
    """``(M, 5)`` score and box, xyxy in continuous pixels."""
    faults: Faults
    """The other lines."""


def read_detections(
    path: Path | str,
    images: Iterable[str],
    classes: Iterable[str],
    lenient: bool = False,
    sizes: ArrayLike | None = None,
    box_format: str | None = None,
    normalized: bool = False,
) -> Detections:
    """Read VOC detection text alone; :func:`~data.formats.read_found` reads detections of any format.

    A file for each class, a line for each detection: ``image score xmin ymin xmax ymax``. The detections are
    in the order of the classes and, within a class, of the file.

    Parameters
    ----------
    path
        A folder of text files, or one file. The file's name says the class: ``dog.txt``, or anything
        that ends in it after an underscore, ``comp4_det_test_dog.txt``. A class without a file has no
        detections; files that are not ``.txt`` are not read.
    images, classes
        The names of the ground truth's images and classes.
    lenient
        Drop the lines and files that are at fault, with a warning that counts them, instead of raising.
    sizes
        ``(I, 2)`` width and height of the images. Some detectors clip boxes that lie beyond the image, which
        inverts them: with the sizes such a box is recognised and kept, without area, at its rank.
    box_format, normalized
        What the last four columns are, see :data:`~data.formats.validation.BOX_FORMATS` (default: xyxy), and
        whether they are fractions of the image's size, not pixels from 1.

    Raises
    ------
    InputError
        No file for any of the classes, a ``.txt`` file or two of no or the same class; or, with file
        and line: a wrong number of columns, no number, NaN or infinity, an inverted box, an image that
        is not in `images`, a byte that is not UTF-8.
    """
    names = tuple(images)
    known = np.full((len(names), 2), UNKNOWN_SIZE) if sizes is None else sizes
    truth = GroundTruth(names, classes, known, [], [], [])
    return read_voc_text(path, truth, lenient, box_format, normalized)


def read_voc_text(
    path: Path | str, truth: GroundTruth, lenient: bool, box_format: str | None, normalized: bool
) -> Detections:
    """The same, with a warning where the boxes look like boxes of another form, for which objects matter."""
    path = Path(path)
    by_name = images_by_name(truth)
    numbers = Lookup(
        ((name.encode(), i) for i, name in enumerate(truth.images)),
        lambda key: by_name.routes(key.decode(errors="replace") if isinstance(key, bytes) else key),
    )
    files = _files_of_classes(path, truth.classes, lenient)
    read_as = BoxFormat.chosen(box_format, normalized, BoxFormat("xyxy"))
    tables = {label: _read_lines(file, numbers, lenient) for label, file in sorted(files.items())}
    if box_format is None and not normalized:
        values = np.concatenate([lines.values for lines in tables.values()])
        given = values[:, 1:] + FIRST_PIXEL
        if not len(given) or np.abs(given).max() > 1:  # pixels, not fractions
            given = values[:, 1:]
        image_index = np.concatenate([lines.image_index for lines in tables.values()])
        check_box_format(path, truth, given, read_as, image_index, values[:, 0])
    columns = [_valid_lines(lines, label, truth, read_as) for label, lines in tables.items()]
    return Detections(truth.images, truth.classes, *map(np.concatenate, zip(*columns, strict=True)))


def _files_of_classes(path: Path, classes: Sequence[str], lenient: bool) -> dict[int, Path]:
    """The file of each class that has one."""
    if path.is_dir():
        candidates = sorted(file for file in path.iterdir() if file.suffix == ".txt")
    elif path.is_file():
        candidates = [path]
    else:
        raise InputError(path, "no such file or folder", f"{LINES}, a file a class")
    files: dict[int, Path] = {}
    for file in candidates:
        label = class_of_file(file.stem, classes)
        if label is None:
            expected = f"a name that is or ends in _ and one of the classes {', '.join(classes)}"
            fault = InputError(file, "a file of no known class", expected)
        elif label in files:
            fault = InputError(file, f"a second file of class {classes[label]}", f"only {files[label].name}")
        else:
            files[label] = file
            continue
        if not lenient:
            raise fault
        warn(f"file left out: {fault}")
    if not files:
        expected = "a file for each class, such as comp4_det_test_dog.txt"
        raise InputError(path, "no detection file of any of the classes", expected)
    return files


def class_of_file(stem: str, classes: Sequence[str]) -> int | None:
    """The class that a file's name ends in; the longest one, as in det_traffic_light."""
    fits = [i for i, name in enumerate(classes) if stem == name or stem.endswith(f"_{name}")]
    return max(fits, key=lambda i: len(classes[i]), default=None)


def _read_lines(path: Path, numbers: Lookup, lenient: bool) -> Lines:
    """The lines of a file that are an image and numbers."""
    content = read_utf8(path, LINES, lenient)
    faults = Faults(path, lenient, "lines")
    parts = [line.partition(b" ") for line in content.rstrip().split(b"\n")]
    images = [name for name, _, _ in parts]
    values = plain_numbers(b"\n".join([numbers for _, _, numbers in parts]), len(COLUMNS) - 1)
    lines = np.arange(1, len(images) + 1)
    if values is None or len(values) != len(images) or len(b"".join(images).split()) != 1:
        images, good, flat = [], list[int](), list[float]()
        for number, words in enumerate(map(bytes.split, content.split(b"\n")), start=1):
            read = _read_line(words) if words else []
            if isinstance(read, tuple):
                faults.add(f"{path}:{number}", read)
            elif words:
                images.append(words[0])
                good.append(number)
                flat += read
        lines, values = np.array(good, np.int64), np.array(flat).reshape(-1, len(COLUMNS) - 1)
    values[:, 1:3] -= 1
    image_index = np.fromiter(map(numbers.__getitem__, images), np.int64, len(images))
    return Lines(path, lines, images, image_index, values, faults)


def _read_line(words: Sequence[bytes]) -> list[float] | Problem:
    """The numbers of a line, or what is wrong with it."""
    if len(words) != len(COLUMNS):
        return f"{len(words)} columns", f"{len(COLUMNS)}: {' '.join(COLUMNS)}", "of other columns"
    return numbers_of(words[1:], COLUMNS[1:])


def _valid_lines(lines: Lines, label: int, truth: GroundTruth, read_as: BoxFormat) -> list[NDArray[Any]]:
    """Image index, label, score and box of the valid lines of the file of a class."""
    scores, boxes = lines.values[:, 0], lines.values[:, 1:]
    if read_as.normalized:
        boxes[:, :2] += 1  # no fractions count from 1
    boxes = as_xyxy(boxes, read_as, truth.sizes, lines.image_index)
    problems = detection_problems(truth, scores, boxes, Keys(lambda row: "", lambda row: ""))

    def unknown_image(row: int) -> Problem:
        text = f"the unknown image {short_repr(lines.images[row].decode(errors='replace'))}"
        return text, "an image of the ground truth's list", "on an unknown image"

    def inverted(row: int) -> Problem:
        box = " ".join(f"{value:g}" for value in (boxes[row] + FIRST_PIXEL).tolist())
        return f"the inverted box {box}", f"xmin <= xmax and ymin <= ymax{OTHER_FORM}", "with an inverted box"

    rows = Rows(
        lines.image_index,
        np.full(len(boxes), label),
        boxes,
        lambda row: f"{lines.path}:{lines.numbers[row]}",
        {**problems, "image": unknown_image, "extent": inverted},
        scores,
    )
    return valid_detections(rows, lines.faults, truth.sizes)


def check_text_names(record: GroundTruth | Detections, prefix: str = PREFIX) -> None:
    """Raise InputError for the name of an image or class that VOC detection text has no place for."""
    for name in record.images:
        if name.split() != [name]:
            expected = "none: the columns are split at it"
            raise InputError(f"image {name!r}", "white space in its name", expected)
    for name in record.classes:
        found = "a name that no file can have"
        if not name or any(letter in name for letter in "/\\\0"):
            raise InputError(f"class {name!r}", found, "one without a slash")
        if len(f".{prefix}{name}.txt.12345678.part".encode()) > LONGEST_FILE_NAME:
            raise InputError(f"class {short_repr(name)}", found, "a shorter one")


def write_text_where_named(detections: Detections, folder: Path) -> bool:
    """Write VOC detection text, or warn of a name that it has no place for; whether it was written."""
    try:
        check_text_names(detections)
    except InputError as error:
        warn(f"no VOC text is written: {error}")
        return False
    write_detections(detections, folder)
    return True


def write_detections(detections: Detections, folder: Path | str, prefix: str = PREFIX) -> tuple[Path, ...]:
    """Write VOC detection text (COCO's: :func:`~data.formats.write_coco_detections`); return the files.

    A class without detections has an empty file.

    Reading them back gives the same scores, and the same boxes to 1e-6 pixels.

    Parameters
    ----------
    detections
        What to write.
    folder
        Made where it is absent.
    prefix
        What a file's name has before the class. The default is that of the devkit.

    Raises
    ------
    InputError
        A name that the format has no place for, a folder that cannot be written.
    """
    check_text_names(detections, prefix)
    folder = Path(folder)
    corners = detections.boxes + FIRST_PIXEL
    texts = {}
    for label, name in enumerate(detections.classes):
        rows = np.flatnonzero(detections.labels == label)
        images = (detections.images[i] for i in detections.image_index[rows])
        scores = (np.format_float_positional(score, min_digits=6) for score in detections.scores[rows])
        boxes = (" ".join(f"{x:.{DECIMALS}f}" for x in box) for box in corners[rows].tolist())
        lines = [f"{row[0]} {row[1]} {row[2]}\n" for row in zip(images, scores, boxes, strict=True)]
        texts[folder / f"{prefix}{name}.txt"] = "".join(lines)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(folder, error.strerror or "an error", "a folder to write detections to") from None
    write_texts(texts)
    return tuple(texts)
