"""VOC's detection text: a file for each class, a line for each detection.

``image score xmin ymin xmax ymax``, pixels counted from 1 and the last one included, so that a box
(xmin, ymin, xmax, ymax) is (xmin − 1, ymin − 1, xmax, ymax) in continuous pixels.
"""

from __future__ import annotations

import itertools
import math
import warnings
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from data.formats.files import decode, read_bytes, write_texts
from data.formats.rows import swapped
from data.records import Detections, InputError

__all__ = ["class_of_file", "read_detections", "write_detections"]

COLUMNS = "image score xmin ymin xmax ymax"
WIDTH = len(COLUMNS.split())
WHITE = np.isin(np.arange(256), list(b" \t\n\r\v\f"))  # what bytes.split() splits at
MARK = b"\xef\xbb\xbf"  # UTF-8's byte order mark

DECIMALS = 7  # written: rounding to them inverts a box by less than data.formats.rows.ROUNDING


class _Lookup(NamedTuple):
    """Where the names of the images lead."""

    number: Mapping[bytes, int]
    limits: NDArray[np.float64]  # (I, 2) width and height; infinite where unknown


def read_detections(
    path: Path | str,
    images: Iterable[str],
    classes: Iterable[str],
    lenient: bool = False,
    sizes: ArrayLike | None = None,
) -> Detections:
    """Read VOC detection text, in the order of the classes and, within a class, of the file.

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

    Raises
    ------
    InputError
        No file for any of the classes, a ``.txt`` file or two of no or the same class; or, with file
        and line: a wrong number of columns, no number, NaN or infinity, an inverted box, an image that
        is not in `images`, a byte that is not UTF-8.
    """
    path = Path(path)
    image_names, class_names = tuple(images), tuple(classes)
    limits = np.full((len(image_names), 2), np.inf) if sizes is None else np.asarray(sizes, dtype=np.float64)
    lookup = _Lookup({name.encode(): i for i, name in enumerate(image_names)}, limits)
    files = _files(path, class_names, lenient)
    tables = {label: _read_file(files[label], lookup, lenient) for label in sorted(files)}
    image_index = np.concatenate([index for index, _ in tables.values()])
    numbers = np.concatenate([values for _, values in tables.values()])
    labels = np.repeat(list(tables), [len(index) for index, _ in tables.values()])
    return Detections(image_names, class_names, image_index, labels, numbers[:, 0], numbers[:, 1:])


def write_detections(
    detections: Detections, folder: Path | str, prefix: str = "comp4_det_test_"
) -> tuple[Path, ...]:
    """Write VOC detection text, also an empty file for a class without detections; return the files.

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
    folder = Path(folder)
    for name in detections.images:
        if name.split() != [name]:
            raise InputError(
                f"image {name!r}", "white space in its name", "none: the columns are split at it"
            )
    for name in detections.classes:
        if not name or "/" in name or "\\" in name:
            raise InputError(f"class {name!r}", "a name that no file can have", "one without a slash")
    ends = detections.boxes + np.array([1, 1, 0, 0])
    texts = {}
    for label, name in enumerate(detections.classes):
        rows = np.flatnonzero(detections.labels == label)
        images = (detections.images[i] for i in detections.image_index[rows])
        scores = (np.format_float_positional(score, min_digits=6) for score in detections.scores[rows])
        boxes = (" ".join(f"{x:.{DECIMALS}f}" for x in box) for box in ends[rows].tolist())
        lines = [f"{row[0]} {row[1]} {row[2]}\n" for row in zip(images, scores, boxes, strict=True)]
        texts[folder / f"{prefix}{name}.txt"] = "".join(lines)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(folder, error.strerror or "an error", "a folder to write detections to") from None
    write_texts(texts)
    return tuple(texts)


def _files(path: Path, classes: Sequence[str], lenient: bool) -> dict[int, Path]:
    """The file of each class that has one."""
    if path.is_dir():
        candidates = sorted(file for file in path.iterdir() if file.suffix == ".txt")
    elif path.is_file():
        candidates = [path]
    else:
        raise InputError(path, "no such file or folder", f"detections: lines of {COLUMNS}, a file a class")
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
        warnings.warn(f"file left out: {fault}", stacklevel=3)
    if not files:
        expected = "a file for each class, such as comp4_det_test_dog.txt"
        raise InputError(path, "no detection file of any of the classes", expected)
    return files


def class_of_file(stem: str, classes: Sequence[str]) -> int | None:
    """The class that a file's name ends in; the longest one, as in det_traffic_light."""
    fits = [i for i, name in enumerate(classes) if stem == name or stem.endswith(f"_{name}")]
    return max(fits, key=lambda i: len(classes[i]), default=None)


def _read_file(path: Path, lookup: _Lookup, lenient: bool) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Image indices (M,) and score, x1, y1, x2, y2 (M, 5) of one file."""
    content = read_bytes(path, f"detections: lines of {COLUMNS}").removeprefix(MARK)
    if not content.isascii() and not lenient:
        decode(path, content)
    table = _parse(content, lookup)
    if table is not None:
        return table
    # Something is wrong somewhere: only now go through the lines one by one.
    kept: list[bytes] = []
    first, dropped = None, 0
    for number, line in enumerate(content.split(b"\n"), start=1):
        fault = _fault(line, lookup)
        if fault is None:
            kept.append(line)
            continue
        if not lenient:
            raise InputError(f"{path}:{number}", *fault)
        first, dropped = first or (number, *fault), dropped + 1
    if first:
        number, found, expected = first
        where = f"the first in line {number}: found {found}; expected {expected}"
        lines = dropped + sum(1 for line in kept if line.strip())
        warnings.warn(f"{path}: {dropped} of {lines} lines left out, {where}", stacklevel=4)
    table = _parse(b"\n".join(kept), lookup)
    assert table is not None, "a line without fault was not read"
    return table


def _parse(content: bytes, lookup: _Lookup) -> tuple[NDArray[np.int64], NDArray[np.float64]] | None:
    """The columns of a text in one go, or None where anything at all is wrong with it."""
    letters = np.frombuffer(content, dtype=np.uint8)
    inside = ~WHITE[letters]
    inside[1:] &= ~inside[:-1]  # now: where a word begins
    begins = np.flatnonzero(inside)
    words_before = np.searchsorted(begins, np.flatnonzero(letters == ord("\n")))
    per_line = np.diff(words_before, prepend=0, append=len(begins))
    if not np.isin(per_line, (0, WIDTH)).all():
        return None
    words = content.split()
    rows = len(words) // WIDTH
    names = words[::WIDTH]
    del words[::WIDTH]
    index = np.fromiter(map(lookup.number.get, names, itertools.repeat(-1)), np.int64, rows)
    if content.count(b"_") != b"".join(names).count(b"_"):  # Python's 1_0 is a number nowhere else
        return None
    try:
        values = np.fromiter(map(float, words), np.float64, len(words)).reshape(rows, WIDTH - 1)
    except ValueError:
        return None
    if (index < 0).any() or not np.isfinite(values).all():
        return None
    values[:, 1:3] -= 1
    if swapped(values[:, 1:], lookup.limits[index]).any():
        return None
    np.maximum(values[:, 3:], values[:, 1:3], out=values[:, 3:])
    return index, values


def _fault(line: bytes, lookup: _Lookup) -> tuple[str, str] | None:
    """What is wrong with a line, and what should stand there instead; None where nothing is."""
    words = line.split()
    if not words:
        return None
    if len(words) != WIDTH:
        return f"{len(words)} columns", f"{WIDTH}: {COLUMNS}"
    values = []
    for name, word in zip(COLUMNS.split()[1:], words[1:], strict=True):
        shown = word.decode(errors="replace")
        try:
            values.append(float(word))
        except ValueError:
            return f"{shown!r} as {name}", "a number"
        if b"_" in word:
            return f"{shown!r} as {name}", "a number without underscores"
        if not math.isfinite(values[-1]):
            return f"{shown} as {name}", "a finite number"
    image = lookup.number.get(words[0], -1)
    if image < 0:
        bare = words[0].rpartition(b".")[0]
        hint = f"; leave the file extension out: {bare.decode()}" if bare in lookup.number else ""
        return (
            f"the unknown image {words[0].decode(errors='replace')!r}",
            f"an image of the ground truth's list{hint}",
        )
    x1, y1, x2, y2 = values[1:]
    if swapped(np.array([[x1 - 1, y1 - 1, x2, y2]]), lookup.limits[[image]])[0]:
        return f"the inverted box {x1:g} {y1:g} {x2:g} {y2:g}", "xmin <= xmax and ymin <= ymax"
    return None
