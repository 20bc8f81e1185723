"""Which classes the command takes for similar: what was asked for, or what the ground truth says."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import yaml

from data.formats import COCO_SIMILAR, VOC_SIMILAR
from data.formats.files import read_text
from data.formats.sources import similar_source
from data.records import InputError
from diagnosis.similar import similar_matrix

__all__ = ["Similar", "read_groups", "read_similar"]

NAMED_GROUPS = {"voc": VOC_SIMILAR, "coco": COCO_SIMILAR}
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
    if choice == "none":
        return Similar([], "none were asked for")
    if choice is None:
        return Similar(*similar_source(spec))
    if choice not in NAMED_GROUPS:
        named = read_groups(Path(choice))
        similar_matrix(classes, named, where=choice)  # an unknown class is the file's mistake: so say it
        return Similar(named, choice)
    groups = [[name for name in group if name in classes] for group in NAMED_GROUPS[choice]]
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
    expected = "'similar: [[class, class], …]', a list of groups, or 'name: [class, class]' lines"
    try:
        content = yaml.safe_load(read_text(path, expected))
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f"{path}:{mark.line + 1}" if mark else str(path)
        raise InputError(where, "malformed YAML", expected) from None
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
