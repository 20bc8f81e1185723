"""How files call images and classes: by name, by COCO's id, by number. One lookup for all formats."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from pathlib import PurePosixPath
from typing import TypeAlias

from data.records import GroundTruth

__all__ = [
    "NO_INDEX",
    "Lookup",
    "by_id",
    "classes_by_id",
    "classes_by_name",
    "distinct_names",
    "hint",
    "images_by_id",
    "images_by_name",
]

Key: TypeAlias = int | str | bytes

NO_INDEX = -1
"""The index of what is not there."""


class Lookup(dict[Key, int]):
    """Index of each name or id; of an unknown one :data:`NO_INDEX`.

    Parameters
    ----------
    index
        What is known.
    loosely
        Find the name of an image file, too, by the name without its folders or its extension.

    Examples
    --------
    >>> images = Lookup([("000012", 0)], loosely=True)
    >>> images["000012"], images["photos/000012.jpg"], images[12]
    (0, 0, -1)
    """

    def __init__(self, index: Iterable[tuple[Key, int]], loosely: bool = False) -> None:
        super().__init__(index)
        self._loosely = loosely

    def __missing__(self, key: Key) -> int:
        index = NO_INDEX
        if self._loosely and isinstance(key, str):
            path = PurePosixPath(key.replace("\\", "/"))
            for name in (str(path.with_suffix("")) if path.name else "", path.name, path.stem):
                index = self.get(name, NO_INDEX)
                if index != NO_INDEX:
                    break
        self[key] = index  # the next time it is known
        return index


def images_by_name(truth: GroundTruth) -> Lookup:
    """Images by their names, with or without folder and extension."""
    return Lookup(((name, i) for i, name in enumerate(truth.images)), loosely=True)


def images_by_id(truth: GroundTruth) -> Lookup:
    """Images by the ids of the annotation file, and strings also by name.

    Where the annotations have no ids a whole number is the image whose name it is, as Ultralytics writes it:
    12 for ``000012``.
    """
    return by_id(truth.image_ids, truth.images, loosely=True)


def classes_by_name(truth: GroundTruth) -> Lookup:
    """Classes by their names."""
    return Lookup((name, i) for i, name in enumerate(truth.classes))


def classes_by_id(truth: GroundTruth) -> Lookup:
    """Classes by the ids of the annotation file, and strings also by name.

    Where the annotations have no ids, numbers mean nothing: some tools count classes from 0, others from 1.
    """
    index = by_id(truth.class_ids, truth.classes)
    if truth.class_ids:
        return index
    return Lookup((key, i) for key, i in index.items() if isinstance(key, str))


def by_id(ids: Sequence[int | str], names: Sequence[str] = (), loosely: bool = False) -> Lookup:
    """Indices by id, as a number or as text, then by name."""
    index: dict[Key, int] = {}
    for i, key in enumerate(ids):
        index[key] = i
        index[str(key)] = i  # ids are distinct also when written as text
    for i, key in enumerate(ids):
        if isinstance(key, str) and key.isdecimal():
            index.setdefault(int(key), i)
    numbers = [int(name) for name in names if name.isdecimal()] if not ids else []
    unique = len(set(numbers)) == len(numbers)
    for i, name in enumerate(names):
        index.setdefault(name, i)
        if not ids and unique and name.isdecimal():
            for number in (int(name), str(int(name))):
                index.setdefault(number, i)
    return Lookup(index.items(), loosely)


def distinct_names(files: Sequence[str]) -> list[str] | None:
    """Names for images from those of their files, or None where two files share one.

    Examples
    --------
    >>> distinct_names(["val/a.jpg", "val/b.jpg"]), distinct_names(["left/1.jpg", "right/1.jpg"])
    (['a', 'b'], ['left/1', 'right/1'])
    """
    paths = [PurePosixPath(file.replace("\\", "/")) for file in files]
    for names in ([path.stem for path in paths], [str(path.with_suffix("")) for path in paths]):
        if len(set(names)) == len(names):
            return names
    return None


def hint(key: object, known: Iterable[str], cutoff: float = 0.6, *, quoted: bool = True) -> str:
    """``; did you mean 'dog'?``, or nothing where no name is at least `cutoff` alike (:mod:`difflib`)."""
    near = difflib.get_close_matches(str(key), list(known), n=1, cutoff=cutoff)
    return f"; did you mean {repr(near[0]) if quoted else near[0]}?" if near else ""
