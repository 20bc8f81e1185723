"""Ground truth and detections: validated, immutable columns.

Every reader in :mod:`data.formats` ends here and every analysis starts here. A record refuses bad
shapes and values when it is built, so nothing downstream checks again.

Boxes are float64 ``(N, 4)``, xyxy, in continuous pixels: the left edge of the first pixel is 0.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["Detections", "GroundTruth", "InputError", "InputWarning"]

EXTENT_ROUNDING = 1e-6
"""How far width and height may differ from those of the corners, as a share of the largest coordinate."""

UNKNOWN = -1
"""In an integer attribute column (``truncated``, ``occluded``): not annotated."""


LONGEST_TEXT = 2000
"""Characters of each part of a message: a file must not fill the terminal."""


class InputWarning(UserWarning):
    """Something the user gave is odd, was read all the same, and may make the numbers wrong.

    ``python -m diagnosis`` prints it and repeats it in ``diagnosis.json`` and on the page; with ``--strict``
    it is an error.
    """


class InputError(ValueError):
    """Something the user gave cannot be used: a file, a field, an option.

    Commands print the message alone and exit with code 2.

    Parameters
    ----------
    where
        The file, with its line or field; or the name of the argument.
    found
        What was found there.
    expected
        What should stand there, and what to do about it.

    Examples
    --------
    >>> print(InputError("dog.txt:3", "5 columns", "6: image score xmin ymin xmax ymax"))
    dog.txt:3: found 5 columns; expected 6: image score xmin ymin xmax ymax
    """

    def __init__(self, where: object, found: str, expected: str) -> None:
        self.where, self.found, self.expected = (_printable(str(text)) for text in (where, found, expected))
        super().__init__(f"{self.where}: found {self.found}; expected {self.expected}")

    def __reduce__(self) -> tuple[Any, ...]:
        # An exception pickles with the one string it was made of, but this one is made of three: worker
        # processes hand it on.
        return (type(self), (self.where, self.found, self.expected))


def _printable(text: str) -> str:
    """`text` shortened, and without halves of surrogate pairs, which cannot be printed."""
    if len(text) > LONGEST_TEXT:
        text = text[:LONGEST_TEXT] + "…"
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def _column(name: str, values: ArrayLike, dtype: Any, shape: tuple[int | None, ...]) -> NDArray[Any]:
    """Copy `values` into a read-only array of `dtype`; None in `shape` means any length.

    With `dtype` None the values keep their type. No conversion changes a value. A read-only array that owns
    its numbers is not copied.
    """
    try:
        array = np.asarray(values)
        if not isinstance(values, list | tuple) and (array.base is not None or array.flags.writeable):
            array = array.copy()
        if dtype is not None and array.dtype.kind == "O":
            array = array.astype(np.float64)
    except (ValueError, TypeError, OverflowError) as error:
        found = f"what makes no array ({error})"
        raise InputError(name, found, "numbers, equally many in each row") from None
    if array.size == 0 and not all(shape):  # an empty list has no second dimension
        array = array.reshape(tuple(length or 0 for length in shape))
    if len(shape) != array.ndim or any(a not in (None, b) for a, b in zip(shape, array.shape, strict=True)):
        wanted = ", ".join("any" if length is None else str(length) for length in shape)
        raise InputError(name, f"an array of shape {array.shape}", f"shape ({wanted})")
    if dtype is not None:
        array = _as_type(name, array, np.dtype(dtype))
    array.setflags(write=False)
    return array


def _as_type(name: str, array: NDArray[Any], dtype: np.dtype[Any]) -> NDArray[Any]:
    """Convert to `dtype` (float64, int64 or bool); raise InputError where a value would change."""
    if array.size and array.dtype.kind not in "biuf":
        raise InputError(name, f"values such as {array.flat[0]!s}", "numbers")
    with np.errstate(invalid="ignore"):  # NaN and overflow are reported below
        result = array.astype(dtype, copy=False)
    if dtype.kind == "f" or result is array:
        return result
    changed = np.argwhere(result != array)
    if len(changed):
        place = tuple(changed[0].tolist())
        expected = "True or False, or 1 or 0" if dtype.kind == "b" else "a whole number"
        raise InputError(f"{name}{list(place)}", str(array[place]), expected)
    return result


def _indices(name: str, values: ArrayLike, rows: int, count: int, of: str) -> NDArray[np.int64]:
    """A read-only column of indices into a tuple of `count` names."""
    array = _column(name, values, np.int64, (rows,))
    bad = np.flatnonzero((array < 0) | (array >= count))
    if bad.size:
        row = int(bad[0])
        raise InputError(f"{name}[{row}]", str(array[row]), f"an index into the {count} {of}")
    return array


def _flags(name: str, values: ArrayLike | None, count: int) -> NDArray[np.bool_]:
    """A column of `count` flags; by default none is set."""
    return _column(name, np.zeros(count, bool) if values is None else values, np.bool_, (count,))


def _names(name: str, values: Iterable[str]) -> tuple[str, ...]:
    names = tuple(map(str, values))
    try:
        "".join(names).encode("utf-8")
    except UnicodeEncodeError:
        odd = next(value for value in names if any("\ud800" <= letter <= "\udfff" for letter in value))
        raise InputError(name, f"the name {odd!r}", "text that can be written as UTF-8") from None
    if len(set(names)) != len(names):
        twice = next(value for value, count in Counter(names).items() if count > 1)
        raise InputError(name, f"{twice!r} twice", "each name once")
    if name == "classes" and not all(map(str.strip, names)):
        raise InputError(name, "a blank name", "the name of a class")
    return names


def _ids(name: str, values: Iterable[int | str], count: int, of: str) -> tuple[int | str, ...]:
    """Ids for each of `count` things, or none at all."""
    ids = tuple(values)
    if ids and len(ids) != count:
        raise InputError(name, f"{len(ids)} ids", f"one for each of the {count} {of}, or none")
    if not (set(map(type, ids)) == {int} and len(set(ids)) == len(ids)):
        _names(name, map(str, ids))
    return ids


def _extents(
    values: ArrayLike | None, boxes: NDArray[np.float64], measured: NDArray[np.float64]
) -> NDArray[np.float64]:
    """``(N, 2)`` width and height, those `measured` of the boxes but for rounding."""
    given = measured if values is None else np.maximum(values, 0.0)
    given.setflags(write=False)
    column = _column("extents", given, np.float64, (len(boxes), 2))
    off = column - measured
    np.abs(off, out=off)
    if off.max(initial=0.0) <= EXTENT_ROUNDING:  # not so of NaN
        return column
    rounding = EXTENT_ROUNDING * np.maximum(np.abs(boxes).max(axis=1, keepdims=True), 1.0)
    wrong = ~(off <= rounding).all(axis=1)
    if wrong.any():
        row = int(np.flatnonzero(wrong)[0])
        expected = f"those of the box: {measured[row].tolist()}"
        raise InputError(f"extents[{row}]", str(column[row].tolist()), expected)
    return column


def _measured(boxes: NDArray[np.float64], *, allow_empty: bool) -> NDArray[np.float64]:
    """``(N, 2)`` width and height of the boxes, which must be finite and not inverted."""
    finite = np.isfinite(boxes)
    if not finite.all():
        row = int(finite.all(axis=1).argmin())
        raise InputError(f"boxes[{row}]", str(boxes[row].tolist()), "finite numbers")
    extent = np.empty((len(boxes), 2))
    for axis in (0, 1):  # by columns: NumPy is slow at pairs of numbers
        np.subtract(boxes[:, 2 + axis], boxes[:, axis], out=extent[:, axis])
    wrong = extent < 0 if allow_empty else extent <= 0
    if wrong.any():
        row = int(wrong.any(axis=1).argmax())
        kind = "xmin <= xmax and ymin <= ymax" if allow_empty else "a box of positive area"
        raise InputError(f"boxes[{row}]", str(boxes[row].tolist()), f"xyxy with {kind}")
    return extent


@dataclass(frozen=True, eq=False)
class GroundTruth:
    """Annotated objects of a set of images, one row an object, in the order of the annotations.

    Parameters
    ----------
    images
        Identifiers of all I images of the set, also of those without objects. Unique.
    classes
        Names of the classes. Unique.
    sizes
        ``(I, 2)`` width and height of each image, in pixels.
    image_index
        ``(N,)`` the image of each object, an index into `images`.
    labels
        ``(N,)`` the class of each object, an index into `classes`.
    boxes
        ``(N, 4)`` xyxy, continuous pixels, of positive area.
    difficult
        ``(N,)`` VOC's flag: such an object is neither rewarded nor punished. Default: none is.
    crowd
        ``(N,)`` COCO's ``iscrowd``: a region of many objects. Default: none is.
    attributes
        Further columns of N values, by name: ``truncated``, ``occluded`` (−1: not annotated),
        ``pose`` (empty: not annotated), or any of the user's own.
    files
        The image file of each image, or empty where the images are not at hand.
    image_ids, class_ids
        What the annotation file calls its images and classes beside their names, as COCO's does: whole
        numbers or strings. Empty where it has names alone.
    object_ids
        What it calls its N objects, as the ids of COCO's annotations. Empty where it does not name them.
    file_names
        The name of each image's file as the annotations have it, whether the file is at hand or not. Empty
        where they name no files.
    extents
        ``(N, 2)`` width and height as in the file: (x + w) − x may differ from w in the last digit, which
        decides equal overlaps and sizes in COCO's scores. Default: those of the boxes.
    as_shown
        ``(I,)`` whether the size is the file's own, turned as EXIF says, because the annotation gives none:
        the boxes, too, are on the picture as viewers show it. Default: none is.

    Raises
    ------
    InputError
        A column of the wrong length, an index out of range, a box without area, a name or id twice.

    Examples
    --------
    >>> truth = GroundTruth(["a"], ["dog"], [[100, 80]], [0], [0], [[10, 10, 50, 60]])
    >>> len(truth), truth.boxes.flags.writeable
    (1, False)
    """

    images: tuple[str, ...]
    classes: tuple[str, ...]
    sizes: NDArray[np.int64]
    image_index: NDArray[np.int64]
    labels: NDArray[np.int64]
    boxes: NDArray[np.float64]
    difficult: NDArray[np.bool_]
    crowd: NDArray[np.bool_]
    attributes: Mapping[str, NDArray[Any]]
    files: tuple[str, ...]
    image_ids: tuple[int | str, ...]
    class_ids: tuple[int | str, ...]
    object_ids: tuple[int | str, ...]
    file_names: tuple[str, ...]
    extents: NDArray[np.float64]
    as_shown: NDArray[np.bool_]

    def __init__(
        self,
        images: Iterable[str],
        classes: Iterable[str],
        sizes: ArrayLike,
        image_index: ArrayLike,
        labels: ArrayLike,
        boxes: ArrayLike,
        difficult: ArrayLike | None = None,
        crowd: ArrayLike | None = None,
        attributes: Mapping[str, ArrayLike] | None = None,
        files: Sequence[object] = (),
        image_ids: Iterable[int | str] = (),
        class_ids: Iterable[int | str] = (),
        object_ids: Iterable[int | str] = (),
        file_names: Sequence[str] = (),
        extents: ArrayLike | None = None,
        as_shown: ArrayLike | None = None,
    ) -> None:
        image_names = _names("images", images)
        class_names = _names("classes", classes)
        box_column = _column("boxes", boxes, np.float64, (None, 4))
        measured = _measured(box_column, allow_empty=False)
        rows = len(box_column)
        size_column = _column("sizes", sizes, np.int64, (len(image_names), 2))
        if (size_column <= 0).any():
            row = int(np.flatnonzero((size_column <= 0).any(axis=1))[0])
            where = f"sizes of image {image_names[row]!r}"
            raise InputError(where, str(size_column[row].tolist()), "a positive width and height")
        for what, listed in (("files", files), ("file_names", file_names)):
            if listed and len(listed) != len(image_names):
                expected = f"one for each image, or none: {len(image_names)}"
                raise InputError(what, f"{len(listed)} files", expected)
        columns = {
            "images": image_names,
            "classes": class_names,
            "sizes": size_column,
            "image_index": _indices("image_index", image_index, rows, len(image_names), "images"),
            "labels": _indices("labels", labels, rows, len(class_names), "classes"),
            "boxes": box_column,
            "difficult": _flags("difficult", difficult, rows),
            "crowd": _flags("crowd", crowd, rows),
            "attributes": MappingProxyType(
                {name: _column(name, values, None, (rows,)) for name, values in (attributes or {}).items()}
            ),
            "files": tuple(map(str, files)),
            "image_ids": _ids("image_ids", image_ids, len(image_names), "images"),
            "class_ids": _ids("class_ids", class_ids, len(class_names), "classes"),
            "object_ids": _ids("object_ids", object_ids, rows, "objects"),
            "file_names": tuple(map(str, file_names)),
            "extents": _extents(extents, box_column, measured),
            "as_shown": _flags("as_shown", as_shown, len(image_names)),
        }
        for name, value in columns.items():
            object.__setattr__(self, name, value)

    def __reduce__(self) -> tuple[Any, ...]:
        # A MappingProxyType does not pickle, and worker processes receive the record.
        columns = {column.name: getattr(self, column.name) for column in fields(self)}
        return GroundTruth, tuple((columns | {"attributes": dict(self.attributes)}).values())

    def __len__(self) -> int:
        """Number of objects."""
        return len(self.boxes)

    def with_classes(self, classes: Sequence[str], labels: ArrayLike) -> GroundTruth:
        """The same objects, with other classes: `labels` (N,) are indices into those."""
        return replace(self, classes=tuple(classes), labels=np.asarray(labels), class_ids=())

    def select(self, images: Iterable[int]) -> GroundTruth:
        """The same record over some of its images, in the order given.

        Parameters
        ----------
        images
            Indices into :attr:`images`.
        """
        chosen = np.asarray(list(images), dtype=np.int64)
        position = np.full(len(self.images), -1, dtype=np.int64)
        position[chosen] = np.arange(len(chosen))
        moved = position[self.image_index]
        rows = np.flatnonzero(moved >= 0)
        rows = rows[np.argsort(moved[rows], kind="stable")]
        columns: dict[str, Any] = {}
        for name in ("images", "files", "image_ids", "file_names"):
            values = getattr(self, name)
            columns[name] = tuple(values[i] for i in chosen) if values else ()
        for name in ("sizes", "as_shown"):
            columns[name] = getattr(self, name)[chosen]
        for name in ("labels", "boxes", "difficult", "crowd", "extents"):
            columns[name] = getattr(self, name)[rows]
        columns["attributes"] = {name: values[rows] for name, values in self.attributes.items()}
        columns["object_ids"] = tuple(self.object_ids[row] for row in rows) if self.object_ids else ()
        return replace(self, image_index=moved[rows], **columns)


@dataclass(frozen=True, eq=False)
class Detections:
    """What a detector found, one row a detection, in the order of the file it was read from.

    Parameters
    ----------
    images, classes
        The names that `image_index` and `labels` point into: those of the ground truth.
    image_index
        ``(M,)`` the image of each detection.
    labels
        ``(M,)`` the class of each detection.
    scores
        ``(M,)`` confidence, finite; larger is more confident.
    boxes
        ``(M, 4)`` xyxy, continuous pixels; may reach beyond the image and may have no area.
    extents
        ``(M, 2)`` width and height as in the file, see :class:`GroundTruth`. Default: those of the boxes.

    Raises
    ------
    InputError
        A column of the wrong length, an index out of range, a score or box that is not finite,
        an inverted box.

    Examples
    --------
    >>> found = Detections(["a"], ["dog"], [0], [0], [0.9], [[11, 10, 50, 60]])
    >>> found.scores.tolist()
    [0.9]
    """

    images: tuple[str, ...]
    classes: tuple[str, ...]
    image_index: NDArray[np.int64]
    labels: NDArray[np.int64]
    scores: NDArray[np.float64]
    boxes: NDArray[np.float64]
    extents: NDArray[np.float64]

    def __init__(
        self,
        images: Iterable[str],
        classes: Iterable[str],
        image_index: ArrayLike,
        labels: ArrayLike,
        scores: ArrayLike,
        boxes: ArrayLike,
        extents: ArrayLike | None = None,
    ) -> None:
        image_names = _names("images", images)
        class_names = _names("classes", classes)
        box_column = _column("boxes", boxes, np.float64, (None, 4))
        measured = _measured(box_column, allow_empty=True)
        rows = len(box_column)
        score_column = _column("scores", scores, np.float64, (rows,))
        if not np.isfinite(score_column).all():
            row = int(np.flatnonzero(~np.isfinite(score_column))[0])
            raise InputError(f"scores[{row}]", str(score_column[row]), "a finite number")
        columns = {
            "images": image_names,
            "classes": class_names,
            "image_index": _indices("image_index", image_index, rows, len(image_names), "images"),
            "labels": _indices("labels", labels, rows, len(class_names), "classes"),
            "scores": score_column,
            "boxes": box_column,
            "extents": _extents(extents, box_column, measured),
        }
        for name, value in columns.items():
            object.__setattr__(self, name, value)

    def __len__(self) -> int:
        """Number of detections."""
        return len(self.boxes)
