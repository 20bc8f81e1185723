"""Which classes are similar: a dog taken for a cat is a lesser mistake than one taken for a bus."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from data.records import InputError

__all__ = ["similar_matrix", "similar_to_json"]


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
        What a mistake is laid to, such as the file of the groups.

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
        names = list(group)
        for name in names:
            if name not in index:
                near = difflib.get_close_matches(name, index, n=1)
                hint = f"; did you mean {near[0]!r}?" if near else f": {', '.join(index)}"
                raise InputError(where, f"{name!r}", f"a class of the ground truth{hint}")
        members = [index[name] for name in names]
        matrix[np.ix_(members, members)] = True
    np.fill_diagonal(matrix, False)
    return matrix


def similar_to_json(classes: Sequence[str], matrix: NDArray[np.bool_]) -> dict[str, list[str]]:
    """The classes that count as similar to each, for ``diagnosis.json``.

    Examples
    --------
    >>> similar_to_json(["bird", "bus", "cat"], similar_matrix(["bird", "bus", "cat"], [["cat", "bird"]]))
    {'bird': ['cat'], 'bus': [], 'cat': ['bird']}
    """
    return {
        name: [classes[other] for other in np.flatnonzero(row).tolist()]
        for name, row in zip(classes, matrix, strict=True)
    }
