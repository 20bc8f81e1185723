"""Groups of classes that a result is averaged or pooled over."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from data.formats import COCO_SIMILAR, VOC_SIMILAR
from data.records import InputError

__all__ = ["class_groups", "group_indices"]


def group_indices(classes: Sequence[str], members: Iterable[str] | None = None) -> NDArray[np.int64]:
    """Indices of the classes of a group.

    Parameters
    ----------
    classes
        Names of all classes.
    members
        Names of those in the group; None: all.

    Raises
    ------
    InputError
        A name that is not among the classes, or one that comes twice.

    Examples
    --------
    >>> group_indices(["cat", "dog", "bus"], ["bus", "cat"]).tolist()
    [2, 0]
    """
    if members is None:
        return np.arange(len(classes))
    names = list(members)
    index = {name: i for i, name in enumerate(classes)}
    for position, name in enumerate(names):
        if name not in index:
            near = difflib.get_close_matches(name, index, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else f": {', '.join(index)}"
            raise InputError("group of classes", f"{name!r}", f"a class of the ground truth{hint}")
        if name in names[:position]:
            raise InputError("group of classes", f"{name!r} twice", "each class once")
    return np.array([index[name] for name in names], dtype=np.int64)


ALL = "all classes"
COCO_NAMES = (
    "vehicles", "outdoor", "animals", "accessories", "sports", "kitchen", "food", "furniture",
    "electronics", "appliances", "indoor",
)  # fmt: skip
NAMES = (
    ("animals", VOC_SIMILAR[0]),
    ("vehicles", VOC_SIMILAR[1]),
    ("furniture", VOC_SIMILAR[3]),
    *zip(COCO_NAMES, COCO_SIMILAR, strict=True),
)
PERSON = "person"
NAMED = 2  # classes that a group without a name of its own is called after


def class_groups(classes: Sequence[str], similar: NDArray[np.bool_]) -> dict[str, list[str]]:
    """All classes, and groups in which each class is similar to each other one.

    VOC's come out as in Hoiem's tool: animals (without the person), vehicles and furniture. A class is in
    one group at most, and in none if it is similar to no other.

    Parameters
    ----------
    classes
        Names of the C classes.
    similar
        ``(C, C)`` from :func:`diagnosis.similar.similar_matrix`.

    Returns
    -------
    dict
        Names of the classes of each group, by its name.

    Examples
    --------
    >>> from diagnosis.similar import similar_matrix
    >>> names = ["bus", "cat", "cow", "person", "train", "vase"]
    >>> groups = class_groups(names, similar_matrix(names, [["cat", "cow", "person"], ["bus", "train"]]))
    >>> [f"{group}: {' '.join(members)}" for group, members in groups.items()]
    ['all classes: bus cat cow person train vase', 'vehicles: bus train', 'animals: cat cow']
    """
    free = np.ones(len(classes), dtype=bool)
    found: list[list[str]] = []
    while (friends := (similar & free).sum(axis=1) * free).any():
        # From the class with the most similar ones: always the one that most of those left are similar to.
        members = [int(friends.argmax())]
        left = similar[members[0]] & free
        while left.any():
            members.append(int(np.where(left, (similar & left).sum(axis=1), -1).argmax()))
            left &= similar[members[-1]]
        free[members] = False
        found.append([classes[member] for member in sorted(members)])
    groups = {ALL: list(classes)}
    for members_ in sorted(found, key=lambda group: classes.index(group[0])):
        name, kept = _named(members_)
        groups[name if name not in groups else ", ".join(kept)] = kept
    return groups


def _named(members: list[str]) -> tuple[str, list[str]]:
    """What a group is called, and its members without the person among animals."""
    for name, known in NAMES:
        if set(members) <= set(known):
            kept = [member for member in members if member != PERSON] if name == "animals" else members
            return (name, kept) if len(kept) > 1 else (", ".join(members), members)
    rest = len(members) - NAMED
    few = ", ".join(members if rest < 2 else members[:NAMED])
    return (few if rest < 2 else f"{few} and {rest} more"), members
