"""Which reader a path needs. Ground truth and detections from whatever a path leads to."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal, NamedTuple, assert_never

from data.formats.classes import FILE_NAME as CLASS_FILE
from data.formats.classes import read_classes
from data.formats.coco import coco_groups, read_coco, read_coco_detections
from data.formats.files import IMAGE_SUFFIXES, path_errors
from data.formats.names import NO_INDEX, images_by_name
from data.formats.table import read_table
from data.formats.validation import counted
from data.formats.voc import (
    annotation_folder,
    class_of_file,
    read_annotation,
    read_voc_folder,
    read_voc_text,
    voc_lists,
)
from data.formats.yolo import NAME_LISTS, label_files, read_yolo, read_yolo_detections, yolo_splits
from data.records import Detections, GroundTruth, InputError

__all__ = [
    "DETECTION_FORMS",
    "TRUTH_FORMS",
    "read_found",
    "read_ground_truth",
    "similar_groups",
    "similar_source",
]

TRUTH_FORMS = (
    "a VOC year folder and one of its lists (VOCdevkit/VOC2007:test), or a folder of VOC XML without lists; "
    "a COCO annotation file (instances_val2017.json); a YOLO data set (data.yaml, or data.yaml:test; by "
    "itself: val; or a folder with classes.txt or obj.names); JSON of Label Studio or VIA, or VIA's CSV"
)
DETECTION_FORMS = (
    "a folder of VOC detection text (a file a class: image score xmin ymin xmax ymax) or of YOLO text (a "
    "file an image: class x_center y_center width height confidence), a COCO results file (.json), or a "
    "table (.csv, .parquet)"
)
DETECTION_READERS = {
    ".json": read_coco_detections,
    ".csv": read_table,
    ".parquet": read_table,
    ".txt": read_voc_text,
}
"""Those of files, by their endings."""
TRUTH_KINDS: dict[str, Literal["coco", "yolo"]] = {
    ".json": "coco",
    ".csv": "coco",  # VIA's
    ".yaml": "yolo",
    ".yml": "yolo",
}
"""The formats of files of ground truth, by their endings. VOC's is a folder."""


class _Source(NamedTuple):
    """Where ground truth is, in which format, and which part of it is meant."""

    kind: Literal["voc", "coco", "yolo"]
    path: Path
    split: str


def read_ground_truth(
    spec: str | Path,
    lenient: bool = False,
    pixels_from: int = 1,
    faults: list[InputError] | None = None,
) -> GroundTruth:
    """Ground truth of any format.

    Parameters
    ----------
    spec
        A COCO annotation file; ``data.yaml`` of a YOLO data set or its folder, with ``:train``, ``:val`` or
        ``:test`` after it (default ``val``, or the only one there is); a VOC tree with one of its lists
        after it, ``VOC2007:test``, or a folder of VOC XML without lists.
    lenient
        Drop annotations of COCO and YOLO files that are at fault, with a warning that counts them, instead of
        raising. (In a VOC tree every fault is an error.)
    pixels_from
        Of VOC's XML: see :func:`~data.formats.voc.read_voc_folder`.
    faults
        Takes the errors instead of raising the first: of VOC's XML that of each annotation, of other formats
        the first. What is at fault is left out.

    Raises
    ------
    InputError
        Nothing is there, it is of no known format or could be of two, or the reader finds fault with it.
    """
    with path_errors(spec):
        kind, path, split = _truth_source(str(spec))
        try:
            match kind:
                case "voc":
                    return read_voc_folder(path, split, pixels_from=pixels_from, faults=faults)
                case "coco":
                    return read_coco(path, lenient)
                case "yolo":
                    return read_yolo(path, split, lenient)
            assert_never(kind)
        except InputError as error:
            if kind == "voc" or faults is None or lenient:
                raise
            faults.append(error)
        return read_ground_truth(spec, lenient=True)  # again, for what is not at fault


def find_ground_truth(spec: str | Path) -> None:
    """Raise InputError where :func:`read_ground_truth` would find nothing of a known format."""
    with path_errors(spec):
        _truth_source(str(spec))


def similar_groups(spec: str | Path) -> list[list[str]]:
    """Groups of similar classes that the ground truth itself knows of.

    COCO's supercategories; of a VOC tree those of its ``classes.yaml``, or VOC's; none of a YOLO data set.

    Raises
    ------
    InputError
        As :func:`read_ground_truth`.
    """
    return similar_source(spec)[0]


def similar_source(spec: str | Path, classes: Sequence[str] | None = None) -> tuple[list[list[str]], str]:
    """The same, and in a few words where they are from or why there are none.

    Of VOC's own groups only those of `classes`, if given: the tree may have others.
    """
    kind, path, _ = _truth_source(str(spec))
    match kind:
        case "yolo":
            return [], "a YOLO data set names none"
        case "voc":
            groups = [list(group) for group in read_classes(path).similar]
            if (path / CLASS_FILE).exists():
                return groups, f"{path / CLASS_FILE}"
            groups = [[name for name in group if classes is None or name in classes] for group in groups]
            groups = [group for group in groups if len(group) > 1]
            return groups, "VOC's groups" if groups else f"{path} names none"
        case "coco":
            groups, whole = coco_groups(path)
            if groups:
                return groups, f"the supercategories of {path.name}"
            if not whole:
                return [], f"{path.name} has no supercategories"
            names = " and ".join(map(repr, whole))
            return [], f"in {path.name} the supercategory {names} contains every class, so it was ignored"
    assert_never(kind)


def read_found(
    path: Path | str,
    truth: GroundTruth,
    lenient: bool = False,
    box_format: str | None = None,
    normalized: bool = False,
) -> Detections:
    """Detections of any format, over the images and classes of `truth`.

    Parameters
    ----------
    path
        ``.json``: COCO results; ``.csv``, ``.parquet``: a table; ``.txt``: VOC text of the class that its
        name ends in; a folder (or its ``labels``): VOC text, a file a class, or YOLO text, a file an image,
        whichever the names of the files fit.
    truth
        The ground truth.
    lenient
        Drop what cannot be used, with a warning that counts it, instead of raising.
    box_format, normalized
        What the four numbers of a box are, see :data:`~data.formats.validation.BOX_FORMATS` (default: as
        usual in the format), and whether they are fractions of the image's size. Without these a warning
        says where the boxes of the whole set look like boxes of another form.

    Raises
    ------
    InputError
        Nothing is there, it is of no known format or could be of two, or the reader finds fault with it.
    """
    path = Path(path)
    with path_errors(path):
        if path.is_dir():
            kind = _folder_kind(path, truth)
            match kind:
                case "voc":
                    return read_voc_text(path, truth, lenient, box_format, normalized)
                case "yolo":
                    return read_yolo_detections(path, truth, lenient, box_format)
            assert_never(kind)
        if not path.exists():
            raise InputError(path, "no such file or folder", DETECTION_FORMS)
        suffix = path.suffix.lower()
        reader = DETECTION_READERS.get(suffix)
        if reader is None:
            found = f"a file of the unknown kind {suffix or 'without an ending'}"
            raise InputError(path, found, DETECTION_FORMS)
        return reader(path, truth, lenient, box_format, normalized)


def _truth_source(spec: str) -> _Source:
    """What `spec` means."""
    path, split = Path(spec), ""
    if not path.exists():
        before, _, split = spec.rpartition(":")
        if not before or not split or "/" in split or "\\" in split:
            file = path.suffix.lower() in TRUTH_KINDS
            raise InputError(spec, "no such file" if file else "no such file or folder", TRUTH_FORMS)
        path = Path(before)
    suffix = path.suffix.lower()
    if path.is_dir():
        return _folder_source(path, split)
    if not path.is_file():
        if path.exists():
            raise InputError(path, "a file of an unknown kind", TRUTH_FORMS)
        raise InputError(path, "no such folder" if not suffix else "no such file", TRUTH_FORMS)
    if suffix == ".json" and split:
        raise InputError(spec, "a part of a file", f"the file alone, {path}: it is one list of images")
    kind = TRUTH_KINDS.get(suffix, "yolo" if path.name in NAME_LISTS else None)
    if kind is not None:
        return _Source(kind, path, _yolo_split(path, split) if kind == "yolo" else "")
    if suffix == ".xml":
        read_annotation(path, None)  # which may say that it is CVAT's
        raise InputError(path, "the XML of one image", f"its folder, {path.parent}")
    raise InputError(path, "a file of an unknown kind", TRUTH_FORMS)


def _folder_source(path: Path, split: str) -> _Source:
    lists = voc_lists(path)
    if split and annotation_folder(path / split) is not None and split not in lists:
        return _Source("voc", path / split, "")  # Roboflow's train, valid and test
    annotated = annotation_folder(path) is not None
    voc = annotated or any((path / place).is_dir() for place in ("ImageSets/Main", "Annotations"))
    names = ("data.yaml", "data.yml", "dataset.yaml", *NAME_LISTS)
    files = [path / name for name in names if (path / name).is_file()]
    if files and files[0].name in NAME_LISTS and (voc or not any(path.rglob("*.txt"))):
        files = []  # a list of classes beside other formats
    if voc and files:
        found = f"both a VOC tree and {files[0].name}"
        raise InputError(path, found, f"one of them: name {files[0]} for YOLO")
    if files:
        return _Source("yolo", files[0], _yolo_split(files[0], split))
    annotations = sorted(path.glob("*.json")) or sorted(path.glob("annotations/*.json"))
    if not voc and annotations:
        raise InputError(path, "a folder of JSON files", f"one of them, such as {annotations[0]}")
    if split:
        inside = sorted((path / split).glob("*.json"))
        if inside and not voc:
            expected = f"one of them, such as {inside[0]}"
            raise InputError(f"{path}:{split}", "a folder of JSON files", expected)
        return _Source("voc", path, split)
    if len(lists) == 1 or (not lists and annotated):
        return _Source("voc", path, lists[0] if lists else "")
    there = sorted(path.iterdir())
    inner = [] if voc else [place.name for place in there if annotation_folder(place)]
    photographs = sum(file.suffix.lower() in IMAGE_SUFFIXES for file in there)
    expected = (
        f"the one that is meant, {path}:{inner[0] if inner else 'test'}" if voc or inner else TRUTH_FORMS
    )
    if voc:
        found = f"a VOC tree with the lists {', '.join(lists[:8]) or 'none at all'}"
    elif inner:
        found = f"folders of VOC XML: {', '.join(inner[:8])}"
    elif photographs:
        found = f"{counted(photographs, 'photograph')} and no annotation"
        expected = (
            "XML beside them, as LabelImg writes it, or in a folder Annotations; of COCO or YOLO name "
            "the file itself (train.json, data.yaml)"
        )
    else:
        found = "a folder of no known kind" if there else "an empty folder"
    raise InputError(path, found, expected)


def _yolo_split(path: Path, split: str) -> str:
    if split:
        return split
    splits = list(yolo_splits(path))
    return splits[0] if len(splits) == 1 else "val"


def _folder_kind(folder: Path, truth: GroundTruth) -> Literal["voc", "yolo"]:
    """Whether the text files of a folder are one for each class or one for each image."""
    files = label_files(folder)
    if not files:
        others = [file for file in folder.iterdir() if file.suffix.lower() in DETECTION_READERS]
        other = f"; did you mean {min(others)}?" if others else ""
        raise InputError(folder, "no .txt file", f"{DETECTION_FORMS}{other}")
    images = images_by_name(truth)
    of_images = sum(images[file.stem] != NO_INDEX for file in files)
    of_classes = sum(class_of_file(file.stem, truth.classes) is not None for file in files)
    if of_images == of_classes > 0:
        found = f"files named both as images and as classes, such as {files[0].name}"
        expected = "VOC text in files as comp4_det_test_CLASS.txt, or YOLO text in files named as the images"
        raise InputError(folder, found, expected)
    if of_images > of_classes:
        return "yolo"
    if of_classes:
        return "voc"
    # Neither: the reader for which it looks more like says what is wrong.
    return "yolo" if len(files) > len(truth.classes) or files[0].parent != folder else "voc"
