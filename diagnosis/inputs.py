"""What the command is given, made into records: ground truth, detections, similar classes."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import yaml

from data.formats import COCO_SIMILAR, VOC_SIMILAR, read_found, read_ground_truth, similar_groups
from data.formats.files import read_text
from data.formats.photographs import IMAGE_SUFFIXES
from data.formats.sources import DETECTION_FORMS, TRUTH_FORMS
from data.records import GroundTruth, InputError
from diagnosis.breakdown import Top

__all__ = [
    "missing_photographs",
    "name_detectors",
    "parse_top",
    "read_found",
    "read_groups",
    "read_similar",
    "read_truth",
    "with_images",
]

SPEC_FORM = TRUTH_FORMS
FOUND_FORM = DETECTION_FORMS
NAMED_GROUPS = {"voc": VOC_SIMILAR, "coco": COCO_SIMILAR}
COMMON_FOLDERS = ("detections", "labels")  # what a run calls these says nothing about the run


def read_truth(spec: str, lenient: bool = False) -> GroundTruth:
    """Ground truth from whatever the command was given, see :func:`data.formats.read_ground_truth`.

    Raises
    ------
    InputError
        If nothing is there, or the reader finds fault with the files.
    """
    return read_ground_truth(spec, lenient)


def read_similar(choice: str | None, spec: str, classes: Sequence[str]) -> list[list[str]]:
    """Groups of similar classes.

    Parameters
    ----------
    choice
        ``voc`` or ``coco``: their groups, as far as their classes occur; ``none``; a YAML file; or None: what
        the ground truth says itself: VOC's groups or those of a tree's ``classes.yaml``, COCO's
        supercategories, none for YOLO's data sets.
    spec
        Where the ground truth is.
    classes
        Its classes.

    Raises
    ------
    InputError
        If the file cannot be used, or the groups say nothing about these classes.
    """
    if choice == "none":
        return []
    if choice is None:
        return similar_groups(spec)
    if choice not in NAMED_GROUPS:
        return read_groups(Path(choice))
    groups = [[name for name in group if name in classes] for group in NAMED_GROUPS[choice]]
    if not any(groups):
        few = ", ".join(classes[:20]) + (", …" if len(classes) > 20 else "")
        expected = f"classes of {choice.upper()}; or a YAML file of groups"
        raise InputError(f"--similar {choice}", f"classes {few}", expected)
    return groups


def read_groups(path: Path) -> list[list[str]]:
    """Groups of similar classes from a YAML file.

    It holds a list of groups, each a list of class names; or that list under the key ``similar``, as in the
    ``classes.yaml`` of a VOC tree, which will do too; or a mapping from a group's name to its classes::

        animals: [cat, dog, horse]
        vehicles: [bus, car]

    Raises
    ------
    InputError
        If the file cannot be read or holds something else.
    """
    expected = "'similar: [[class, class], …]', a list of groups, or 'name: [class, class]' lines"
    try:
        content = yaml.safe_load(read_text(path, expected))
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f"{path}:{mark.line + 1}" if mark else str(path)
        raise InputError(where, "malformed YAML", expected) from None
    if isinstance(content, dict):
        nested = isinstance(content.get("similar"), list) and any(
            isinstance(group, list) for group in content["similar"]
        )
        groups = content["similar"] if nested else list(content.values())
    else:
        groups = content
    if not isinstance(groups, list):
        raise InputError(path, f"a {type(content).__name__}", expected)
    for position, group in enumerate(groups, 1):
        if not isinstance(group, list) or not all(isinstance(name, str) for name in group):
            raise InputError(f"{path}, group {position}", repr(group), "a list of class names")
    return groups


def parse_top(text: str | None) -> Top:
    """Which detections count: ``100`` of each class, ``2x`` as many as it has objects, or ``all``.

    Examples
    --------
    >>> parse_top("100"), parse_top("0.5x"), parse_top("all"), parse_top(None)
    (100, 0.5, 'all', None)
    """
    if text is None or text == "all":
        return text
    try:
        top = float(text[:-1]) if text.endswith("x") else int(text)
    except ValueError:
        top = -1
    if not 0 < top < float("inf"):
        raise InputError("--top", repr(text), "a positive number (100), a factor of the objects (2x), or all")
    return top


def name_detectors(paths: Sequence[Path], names: Sequence[str] | None) -> list[str]:
    """The names given, or those of the files; each once.

    A folder ``detections`` or ``labels`` is called as the one it is in, and so are files or folders of one
    name: as the nearest folders by which they differ.

    Raises
    ------
    InputError
        If there are more or fewer names than detectors, or two detectors share one.

    Examples
    --------
    >>> name_detectors([Path("runs/a/detections"), Path("runs/b/detections"), Path("darknet")], None)
    ['a', 'b', 'darknet']
    >>> name_detectors([Path("a/fold1/best"), Path("b/fold1/best")], None)
    ['a', 'b']
    """
    chosen = list(names) if names else _apart([_names_of(path) for path in paths])
    if len(chosen) != len(paths):
        raise InputError("--names", f"{len(chosen)}", f"{len(paths)}, one for each --detections")
    for name in chosen:
        if chosen.count(name) > 1:
            raise InputError("--names", f"{name!r} twice", "a name of its own for each detector")
    return chosen


def _names_of(path: Path) -> list[str]:
    """What a file or folder may be called: its own name, then those of the folders it is in."""
    whole = path.resolve()
    names = [whole.stem if whole.is_file() else whole.name, *(folder.name for folder in whole.parents)]
    names = [name for name in names if name] or ["detections"]
    return names[1:] if names[0] in COMMON_FOLDERS and not whole.is_file() and len(names) > 1 else names


def _apart(candidates: Sequence[Sequence[str]]) -> list[str]:
    """The first name of each; where several share one, theirs from the first level on which all differ."""
    first = [names[0] for names in candidates]
    for level in range(max(map(len, candidates))):
        trial = [
            names[min(level, len(names) - 1)] if first.count(names[0]) > 1 else names[0]
            for names in candidates
        ]
        if len(set(trial)) == len(trial):
            return trial
    return first


def with_images(truth: GroundTruth, folder: Path) -> GroundTruth:
    """The same ground truth with its image files taken from `folder`, or from folders within it.

    Raises
    ------
    InputError
        If an image of the set is not there, or there are two of its name in folders of equal depth.
    """
    present = _files(folder)
    for image in truth.images:
        found = present.get(image, [])
        if not found:
            suffixes = ", ".join(IMAGE_SUFFIXES[:3])
            raise InputError(folder, f"no image {image!r}", f"every image of the set, as {suffixes}")
        if len(found) > 1:
            raise InputError(folder, f"both {found[0]} and {found[1]}", f"one image {image!r}")
    return dataclasses.replace(truth, files=tuple(str(present[image][0]) for image in truth.images))


def _files(folder: Path) -> dict[str, list[Path]]:
    """Image files by their names without ending, with the folders within `folder` and without."""
    if not folder.is_dir():
        raise InputError("--images", f"no folder {folder}", "a folder with the images of the set")
    images = (file for file in folder.rglob("*") if file.suffix.lower() in IMAGE_SUFFIXES)
    present: dict[str, list[Path]] = {}
    for file in sorted(images, key=lambda file: (len(file.parts), file)):
        for name in {file.stem, file.relative_to(folder).with_suffix("").as_posix()}:
            first = present.setdefault(name, [file])[0]
            # Of a.jpg and a.png the former counts, of a.jpg and more/a.jpg also.
            if len(file.parts) == len(first.parts) and file.parent != first.parent:
                present[name].append(file)
    return present


def missing_photographs(truth: GroundTruth) -> str:
    """Why the image files of the ground truth are not all at hand; empty where they are.

    Examples
    --------
    >>> missing_photographs(GroundTruth(["a"], ["dog"], [[9, 9]], [], [], [], files=["absent/a.jpg"]))
    'none at absent; give their folder with --images DIR'
    """
    if not truth.files:
        return "none given; give their folder with --images DIR"
    missing = [file for file in truth.files if not Path(file).is_file()]
    if len(missing) == len(truth.files):
        return f"none at {Path(missing[0]).parent}; give their folder with --images DIR"
    plural = "photograph" if len(missing) == 1 else "photographs"
    return f"{len(missing):,} {plural} missing, first {missing[0]}" if missing else ""
