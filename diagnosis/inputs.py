"""What the command is given, made into records: ground truth, detections, similar classes."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Sequence
from pathlib import Path

from data.formats import read_found, read_ground_truth
from data.formats.names import hint
from data.formats.photographs import IMAGE_SUFFIXES
from data.formats.sources import DETECTION_FORMS, TRUTH_FORMS
from data.records import GroundTruth, InputError
from diagnosis.breakdown import Top
from diagnosis.characteristics import MEASURES
from diagnosis.similar import Similar, read_groups, read_similar

__all__ = [
    "Similar",
    "missing_photographs",
    "name_detectors",
    "parse_bins",
    "parse_top",
    "read_found",
    "read_groups",
    "read_similar",
    "read_truth",
    "with_images",
]

SPEC_FORM = TRUTH_FORMS
FOUND_FORM = DETECTION_FORMS
COMMON_FOLDERS = ("detections", "labels")  # what a run calls these says nothing about the run


def read_truth(spec: str, lenient: bool = False) -> GroundTruth:
    """Ground truth from whatever the command was given, see :func:`data.formats.read_ground_truth`.

    Raises
    ------
    InputError
        If nothing is there, or the reader finds fault with the files.
    """
    return read_ground_truth(spec, lenient)


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


def parse_bins(
    areas: Sequence[str] | None, others: Sequence[Sequence[str]] | None, attributes: Sequence[str]
) -> dict[str, list[float]]:
    """Edges of bins by characteristic.

    Parameters
    ----------
    areas
        Of ``--area-bins``: sides of squares in pixels, ``32 96`` for areas of 32² and 96². A 0 at the
        beginning and an ``inf`` at the end may be there: they part nothing.
    others
        Of ``--bins``: a name, then edges.
    attributes
        Names of the columns that the annotations have.

    Raises
    ------
    InputError
        No edges, what are no numbers, numbers that do not rise or are not above 0; a characteristic that is
        not there, or twice.

    Examples
    --------
    >>> parse_bins(["0", "32", "96", "inf"], [["aspect_ratio", "0.5", "2"]], [])
    {'area': [1024.0, 9216.0], 'aspect_ratio': [0.5, 2.0]}
    """
    edges: dict[str, list[float]] = {}
    if areas is not None:
        edges["area"] = [side**2 for side in _edges("--area-bins", areas, True)]
    known = list(dict.fromkeys([*MEASURES, *attributes]))
    for name, *texts in others or ():
        if name not in known:
            expected = f"a characteristic of the objects: {', '.join(known)}{hint(name, known)}"
            raise InputError("--bins", repr(name), expected)
        if name in edges:
            raise InputError("--bins", f"{name!r} twice", "the bins of each characteristic once")
        edges[name] = _edges(f"--bins {name}", texts, name in MEASURES)
    return edges


def _edges(option: str, texts: Sequence[str], positive: bool) -> list[float]:
    expected = "rising numbers, where one bin ends and the next begins, such as 32 96"
    try:
        numbers = [float(text) for text in texts]
    except ValueError:
        raise InputError(option, " ".join(texts), expected) from None
    if numbers and numbers[-1] == float("inf"):
        numbers = numbers[:-1]
    if positive and numbers and numbers[0] == 0:
        numbers = numbers[1:]
    rise = all(low < high for low, high in itertools.pairwise(numbers))
    if not numbers or not rise or not all(map(math.isfinite, numbers)):
        raise InputError(option, " ".join(texts) or "no edges", expected)
    if positive and numbers[0] <= 0:
        raise InputError(option, " ".join(texts), f"numbers above 0: {expected}")
    return numbers


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
    'none at absent'
    """
    if not truth.files:
        return "none given"
    missing = [file for file in truth.files if not Path(file).is_file()]
    if len(missing) == len(truth.files):
        return f"none at {Path(missing[0]).parent}"
    plural = "photograph" if len(missing) == 1 else "photographs"
    return f"{len(missing):,} {plural} missing, first {missing[0]}" if missing else ""
