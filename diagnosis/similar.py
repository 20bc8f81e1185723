"""Which classes are similar: a dog taken for a cat is a lesser mistake than one taken for a bus.

The formats are imported where they are used, so that ``import diagnosis`` waits for no reader of files.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from data.records import InputError


def similar_matrix(
    classes: Sequence[str], groups: Iterable[Iterable[str]] = (), where: str = "similar classes"
) -> NDArray[np.bool_]:
    """Classes that share a group.

    Parameters
    ----------
    classes
        Names of the C classes.
    groups
        Groups of similar classes. A class may be in several, or in none.
    where
        Where an unknown class is said to be, such as the file of the groups.

    Returns
    -------
    NDArray
        ``(C, C)`` symmetric, false on the diagonal.

    Raises
    ------
    InputError
        If a group names a class that is not among `classes`.

    Examples
    --------
    >>> similar_matrix(["bird", "bus", "cat"], [["cat", "bird"]]).astype(int).tolist()
    [[0, 0, 1], [0, 0, 0], [1, 0, 0]]
    """
    index = {name: i for i, name in enumerate(classes)}
    matrix = np.zeros((len(index), len(index)), dtype=bool)
    for group in groups:
        members = [_index_of(name, index, where) for name in group]
        matrix[np.ix_(members, members)] = True
    np.fill_diagonal(matrix, False)
    return matrix


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
    chosen = [_index_of(name, index, "group of classes") for name in names]
    for position, name in enumerate(names):
        if name in names[:position]:
            raise InputError("group of classes", f"{name!r} twice", "each class once")
    return np.array(chosen, dtype=np.int64)


def _index_of(name: str, index: Mapping[str, int], where: str) -> int:
    if name not in index:
        from data.formats.names import hint

        near = hint(name, index) or f": {', '.join(index)}"
        raise InputError(where, f"{name!r}", f"a class of the ground truth{near}")
    return index[name]


ALL = "all classes"
COCO_NAMES = (
    "vehicles", "outdoor", "animals", "accessories", "sports", "kitchen", "food", "furniture",
    "electronics", "appliances", "indoor",
)  # fmt: skip
PERSON = "person"
NAMED = 2
"""Classes that a group is called after which has no name."""


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
    from data.formats.classes import COCO_SIMILAR, VOC_SIMILAR

    voc = {"animals": VOC_SIMILAR[0], "vehicles": VOC_SIMILAR[1], "furniture": VOC_SIMILAR[3]}
    for name, known in (*voc.items(), *zip(COCO_NAMES, COCO_SIMILAR, strict=True)):
        if set(members) <= set(known):
            kept = [member for member in members if member != PERSON] if name == "animals" else members
            return (name, kept) if len(kept) > 1 else (", ".join(members), members)
    rest = len(members) - NAMED
    few = ", ".join(members if rest < 2 else members[:NAMED])
    return (few if rest < 2 else f"{few} and {rest} more"), members


SHOWN = 200  # characters of the groups in a sentence


class Similar(NamedTuple):
    """Groups of similar classes, and where they are from."""

    groups: list[list[str]]
    source: str
    """In a few words."""

    def sentence(self) -> str:
        """Which groups are in force, or why there are none and what follows.

        Examples
        --------
        >>> Similar([["cat", "dog"]], "VOC's groups").sentence()
        "Similar classes, from VOC's groups: cat, dog."
        >>> Similar([], "nobody").sentence()
        'No class counts as similar (nobody): all confusions are other. --similar FILE.yaml names groups.'
        """
        groups = [group for group in self.groups if len(group) > 1]
        if not groups:
            return (
                f"No class counts as similar ({self.source}): all confusions are other. "
                "--similar FILE.yaml names groups."
            )
        listed = "; ".join(", ".join(group) for group in groups)
        listed = listed if len(listed) <= SHOWN else f"{listed[:SHOWN].rsplit(', ', 1)[0]}, …"
        return f"Similar classes, from {self.source}: {listed}."


def read_similar(choice: str | None, spec: str, classes: Sequence[str]) -> Similar:
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
    from data.formats.classes import COCO_SIMILAR, VOC_SIMILAR
    from data.formats.detect_format import similar_source

    if choice == "none":
        return Similar([], "none were asked for")
    if choice is None:
        return Similar(*similar_source(spec, classes))
    known = {"voc": VOC_SIMILAR, "coco": COCO_SIMILAR}
    if choice not in known:
        named = read_groups(Path(choice))
        similar_matrix(classes, named, where=choice)  # an unknown class is the file's mistake: so say it
        return Similar(named, choice)
    groups = [[name for name in group if name in classes] for group in known[choice]]
    if not any(groups):
        few = ", ".join(classes[:20]) + (", …" if len(classes) > 20 else "")
        expected = f"classes of {choice.upper()}; or a YAML file of groups"
        raise InputError(f"--similar {choice}", f"classes {few}", expected)
    return Similar(groups, f"{choice.upper()}'s groups")


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
    from data.formats.files import parse_yaml, read_text

    expected = "'similar: [[class, class], …]', a list of groups, or 'name: [class, class]' lines"
    content = parse_yaml(path, read_text(path, expected), expected)
    if isinstance(content, dict):
        groups = content["similar"] if "similar" in content else list(content.values())
    else:
        groups = content
    if not isinstance(groups, list):
        raise InputError(path, f"a {type(content).__name__}", expected)
    for position, group in enumerate(groups, 1):
        if isinstance(group, str) and isinstance(content, dict) and "similar" in content:
            raise InputError(f"{path}, similar", repr(groups), f"groups within it: {expected}")
        if not isinstance(group, list) or not all(isinstance(name, str) for name in group):
            raise InputError(f"{path}, group {position}", repr(group), "a list of class names")
    return groups
