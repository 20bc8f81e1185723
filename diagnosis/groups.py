"""Groups of classes that a result is averaged or pooled over."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from data.records import InputError

__all__ = ["group_indices"]


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
