"""What the command is given, made into records: ground truth, detections, similar classes."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from pathlib import Path

import yaml

from data.formats import VOC_SIMILAR, read_classes, read_detections, read_voc_folder
from data.formats.files import read_text
from data.records import Detections, GroundTruth, InputError
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

SPEC_FORM = "a VOC year folder and one of its lists, such as VOCdevkit/VOC2007:test"
IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png")
COMMON_FOLDER = "detections"  # what a run calls its folder of detections says nothing about the run


def read_truth(spec: str) -> GroundTruth:
    """Ground truth from ``FOLDER:SPLIT``.

    Raises
    ------
    InputError
        If it is not of that form, or the reader finds fault with the files.
    """
    folder, split = _parts(spec)
    return read_voc_folder(folder, split)


def _parts(spec: str) -> tuple[Path, str]:
    folder, colon, split = spec.rpartition(":")
    if not colon or not folder or not split or "/" in split or "\\" in split:
        raise InputError("--ground-truth", repr(spec), SPEC_FORM)
    return Path(folder), split


def read_found(path: Path, truth: GroundTruth, lenient: bool = False) -> Detections:
    """Detections over the images and classes of `truth`, from VOC detection text.

    Parameters
    ----------
    path
        A folder with a file for each class, or one such file.
    truth
        The ground truth.
    lenient
        Drop what cannot be used, with a warning that counts it, instead of raising.
    """
    return read_detections(path, truth.images, truth.classes, lenient=lenient, sizes=truth.sizes)


def read_similar(choice: str | None, spec: str, classes: Sequence[str]) -> list[list[str]]:
    """Groups of similar classes.

    Parameters
    ----------
    choice
        ``voc``: VOC's groups, as far as their classes occur; ``none``; a YAML file; or None: what the
        ground truth says itself, which for VOC's trees are VOC's groups.
    spec
        Where the ground truth is.
    classes
        Its classes.

    Raises
    ------
    InputError
        If the file cannot be used, or VOC's groups say nothing about these classes.
    """
    if choice == "none":
        return []
    if choice is None:
        return [list(group) for group in read_classes(_parts(spec)[0]).similar]
    if choice != "voc":
        return read_groups(Path(choice))
    groups = [[name for name in group if name in classes] for group in VOC_SIMILAR]
    if not any(groups):
        raise InputError(
            "--similar voc", f"classes {', '.join(classes)}", "classes of VOC; or a YAML file of groups"
        )
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

    A folder ``detections`` is called as the one it is in, and so are files or folders of one name: as
    the nearest folders by which they differ.

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
    return names[1:] if names[0] == COMMON_FOLDER and len(names) > 1 else names


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
    """The same ground truth with its image files taken from `folder`.

    Raises
    ------
    InputError
        If an image of the set is not there.
    """
    present = _files(folder)
    for image in truth.images:
        if image not in present:
            suffixes = ", ".join(IMAGE_SUFFIXES)
            raise InputError(folder, f"no image {image!r}", f"every image of the set, as {suffixes}")
    return dataclasses.replace(truth, files=tuple(str(present[image]) for image in truth.images))


def _files(folder: Path) -> dict[str, Path]:
    if not folder.is_dir():
        raise InputError("--images", f"no folder {folder}", "a folder with the images of the set")
    files: Iterable[Path] = sorted(folder.iterdir(), reverse=True)  # of a.jpg and a.png the former stays
    return {file.stem: file for file in files if file.suffix.lower() in IMAGE_SUFFIXES}


def missing_photographs(truth: GroundTruth) -> str:
    """Why the image files of the ground truth are not all at hand; empty where they are.

    Examples
    --------
    >>> missing_photographs(GroundTruth(["a"], ["dog"], [[9, 9]], [], [], [], files=["absent/a.jpg"]))
    'no photographs at absent'
    """
    if not truth.files:
        return "no photographs given"
    missing = [file for file in truth.files if not Path(file).is_file()]
    if len(missing) == len(truth.files):
        return f"no photographs at {Path(missing[0]).parent}"
    plural = "photograph" if len(missing) == 1 else "photographs"
    return f"{len(missing):,} {plural} missing, first {missing[0]}" if missing else ""
