"""Which image and which class a row of a file means: one lookup for all formats.

The order of trust (``docs/input-rules.md``): the exact file name of an image or the exact name of a class,
the exact id of the same type, then the path or stem of a file name and a number that reads as an id. A key
that fits two by equally trusted routes means neither: messages name both.
"""

from __future__ import annotations

import difflib
import itertools
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from functools import cache
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
Routes: TypeAlias = list[tuple[str, int]]
"""How a key leads to an index, in words, and the index: ``("the file name", 3)``."""

NO_INDEX = -1
"""The index of what is unknown or ambiguous."""

MOST_COMPARED, LONGEST_COMPARED = 20_000, 200
"""Limits of the search for a similar name: number of names, characters of each."""

LARGEST_NUMBER = 1 << 63
"""From here on no number of a file is an id."""

FILE_NAME, NAME, ID = "the file name", "the name", "the id"


class Lookup(dict[Key, int]):
    """Index of each name or id; :data:`NO_INDEX` for one that is unknown or means two things.

    Parameters
    ----------
    index
        What is known.
    routes
        Finds the matches of any other key; only the most trusted ones.

    Examples
    --------
    >>> truth = GroundTruth(["000012"], ["dog"], [[90, 90]], [], [], [])
    >>> images = images_by_name(truth)
    >>> images["000012"], images["photos/000012.jpg"], images["12"]
    (0, 0, -1)
    """

    def __init__(
        self, index: Iterable[tuple[Key, int]] = (), routes: Callable[[Key], Routes] | None = None
    ) -> None:
        super().__init__(index)
        self._routes = routes

    def __missing__(self, key: Key) -> int:
        index = {index for _, index in self.routes(key)}
        self[key] = found = index.pop() if len(index) == 1 else NO_INDEX
        return found

    def routes(self, key: Key) -> Routes:
        """The ways in which a key leads to indices; several indices where it is ambiguous."""
        return self._routes(key) if self._routes is not None else []


def images_by_name(truth: GroundTruth) -> Lookup:
    """Images by their names and file names, with or without folder and extension."""
    return Lookup(routes=_late(lambda: _image_routes(truth, ids=False)))


def images_by_id(truth: GroundTruth) -> Lookup:
    """Images by file name, by the ids of the annotation file, and by path or stem.

    Where the annotations have no ids a whole number is the image whose name it is, as Ultralytics writes it:
    12 for ``000012``.
    """
    return Lookup(_numbers(truth.image_ids), _late(lambda: _image_routes(truth, ids=True)))


def _late(make: Callable[[], Callable[[Key], Routes]]) -> Callable[[Key], Routes]:
    """The routes, made when they are first asked for: seldom, where all ids are plain numbers."""
    made = cache(make)
    return lambda key: made()(key)


def _image_routes(truth: GroundTruth, ids: bool) -> Callable[[Key], Routes]:
    files = [file.replace("\\", "/") for file in truth.file_names]
    # Without names of files an image is called by its id, which is another route.
    named = not truth.image_ids or truth.images != tuple(map(str, truth.image_ids))
    names = {name: i for i, name in enumerate(truth.images)} if named else {}
    exact = {file: i for i, file in enumerate(files)} if len(set(files)) == len(files) else {}
    by_number = _id_routes(truth.image_ids if ids else ())
    numbers = [(int(name), i) for i, name in enumerate(truth.images) if _is_number(name)]
    if not ids or truth.image_ids or len(dict(numbers)) < len(numbers):
        numbers = []
    number_of_name = dict(numbers)

    @cache
    def parts_of_files() -> tuple[dict[str, list[int]], ...]:
        """Files by path without extension, by name and by stem; made when it is first asked for."""
        indices = tuple(defaultdict[str, list[int]](list) for _ in range(3))
        for i, file in enumerate(files):
            path = "/".join(_parts(file))
            name = path.rpartition("/")[2]
            for index, part in zip(
                indices, (_without_suffix(path), name, _without_suffix(name)), strict=True
            ):
                index[part].append(i)
        return indices

    def loose(key: str) -> Routes:
        """By path or stem, the longest part of the path first."""
        parts = _parts(key)
        by_path, by_name, by_stem = parts_of_files()
        for start in range(len(parts)):
            tail = "/".join(parts[start:])
            for text in (tail, _without_suffix(tail)):
                if text in names:
                    return [(NAME, names[text])]
                if text in by_path:
                    return [(FILE_NAME, i) for i in by_path[text]]
        name = parts[-1] if parts else ""
        found = by_name.get(name) or by_stem.get(_without_suffix(name)) or []
        return [(FILE_NAME, i) for i in found]

    def routes(key: Key) -> Routes:
        text = key.replace("\\", "/") if isinstance(key, str) else ""
        certain = [(FILE_NAME, exact[text])] if text in exact else []
        trusted, read = by_number(key)
        if certain or trusted:
            return certain + trusted
        found = (loose(text) if text else []) + read
        if not found and _is_number(key) and int(key) in number_of_name:
            found = [(NAME, number_of_name[int(key)])]
        return found

    return routes


def _id_routes(ids: Sequence[int | str]) -> Callable[[Key], tuple[Routes, Routes]]:
    """By id: the routes of one of the same type, and of one that is the same number as text or vice versa."""
    index: dict[Key, int] = {key: i for i, key in enumerate(ids)}
    numbers = {int(key): i for i, key in enumerate(ids) if isinstance(key, str) and _is_number(key)}

    def routes(key: Key) -> tuple[Routes, Routes]:
        if key in index:
            return [(ID, index[key])], []
        found = None
        if isinstance(key, str):
            number = key.removesuffix(".0")  # what becomes of integers in a column of numbers with gaps
            found = index.get(int(number)) if _is_number(number) and str(int(number)) == number else None
        elif not isinstance(key, bytes) and key % 1 == 0 and abs(key) < LARGEST_NUMBER:
            found = index.get(str(int(key)), numbers.get(key))
        return [], [] if found is None else [(ID, found)]

    return routes


def _is_number(key: Key) -> bool:
    if isinstance(key, str):
        return key.isdecimal() and len(key) < 19
    return isinstance(key, int) and abs(key) < LARGEST_NUMBER


def _parts(path: str) -> tuple[str, ...]:
    """Those of a path, without empty ones and "."; of an absolute path the first is empty."""
    parts = path.split("/")
    if "" not in parts and "." not in parts:
        return tuple(parts)
    return (*[""] * path.startswith("/"), *(part for part in parts if part not in ("", ".")))


def _without_suffix(path: str) -> str:
    dot = path.rfind(".")
    return path[:dot] if path.rfind("/") + 1 < dot < len(path) - 1 else path


def classes_by_name(truth: GroundTruth) -> Lookup:
    """Classes by their names."""
    return Lookup((name, i) for i, name in enumerate(truth.classes))


def classes_by_id(truth: GroundTruth) -> Lookup:
    """Classes by name and by the ids of the annotation file.

    Where the annotations have no ids, numbers mean nothing: some tools count classes from 0, others from 1.
    """
    return by_id(truth.class_ids, truth.classes)


def by_id(ids: Sequence[int | str], names: Sequence[str] = ()) -> Lookup:
    """Indices by exact name, by id, and by an id that is written as a number or as text."""

    def make() -> Callable[[Key], Routes]:
        index = {name: i for i, name in enumerate(names)}
        by_number = _id_routes(ids)

        def routes(key: Key) -> Routes:
            trusted, read = by_number(key)
            certain = [(NAME, index[key])] if isinstance(key, str) and key in index else []
            return certain + trusted or read

        return routes

    return Lookup(_numbers(ids), _late(make))


def _numbers(ids: Sequence[int | str]) -> Iterable[tuple[int, int]]:
    """The whole numbers among ids, which are never ambiguous, and their indices."""
    return ((key, i) for i, key in enumerate(ids) if isinstance(key, int))


def distinct_names(files: Sequence[str]) -> list[str] | None:
    """Names for images from those of their files, or None where two files share one or one has none.

    Examples
    --------
    >>> distinct_names(["val/a.jpg", "val/b.jpg"]), distinct_names(["left/1.jpg", "right/1.jpg"])
    (['a', 'b'], ['left/1', 'right/1'])
    """
    flat = not any(mark in "\n".join(files) for mark in "/\\") and "." not in files
    paths = files if flat else ["/".join(_parts(file.replace("\\", "/"))) for file in files]
    if not all(paths):
        return None
    whole = [_without_suffix(path) for path in paths]
    for names in (whole if flat else [path.rpartition("/")[2] for path in whole], whole):
        if len(set(names)) == len(names):
            return names
    return None


def hint(key: object, known: Iterable[str], cutoff: float = 0.6, *, quoted: bool = True) -> str:
    """``; did you mean 'dog'?``, or nothing where no name is at least `cutoff` alike (:mod:`difflib`)."""
    if isinstance(key, int) and abs(key) >= LARGEST_NUMBER:
        return ""
    some = list(itertools.islice(known, MOST_COMPARED))
    near = difflib.get_close_matches(str(key)[:LONGEST_COMPARED], some, n=1, cutoff=cutoff)
    return f"; did you mean {repr(near[0]) if quoted else near[0]}?" if near else ""
