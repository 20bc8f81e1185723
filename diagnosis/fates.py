"""What became of each object under one detector: found, misplaced, mistaken or missed.

An error breakdown counts detections; this counts objects. A detection refers to one object at most: a correct
one to the object that it is matched to, any other to the object that it overlaps most, of its own class or
of the one it was confused with. An object's fate is the best of the detections that refer to it, in the
order of :data:`FATES`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from diagnosis.breakdown import ERROR_TYPES, NONE, ReferencedObjects


@dataclass(frozen=True)
class Fate:
    """What may become of an object: its name, its colour everywhere, and what it means."""

    name: str
    colour: str
    explanation: str


FATES: tuple[Fate, ...] = (
    *(Fate(error.name, error.colour, error.fate) for error in ERROR_TYPES if error.fate),
    Fate(
        "missed",
        "#222222",
        "No counted detection points at it; one that overlaps it may point at another object.",
    ),
)
"""All but the last have the name of the error type of the detection that refers to the object."""

MISSED = len(FATES) - 1
NAMES = [fate.name for fate in FATES]
FATE_OF_TYPE = np.array([NAMES.index(error.name) if error.fate else MISSED for error in ERROR_TYPES], np.int8)
IGNORED = -1


def deciding_detections(
    referenced: ReferencedObjects, scores: NDArray[np.float64], counted: NDArray[np.bool_], number: int
) -> NDArray[np.int64]:
    """``(N,)`` the `counted` ``(M,)`` detection that decides the fate of each of `number` objects, or −1.

    That of the best fate, then of the highest of `scores` ``(M,)``.
    """
    kinds = FATE_OF_TYPE[referenced.types]
    rows = np.flatnonzero(counted & (referenced.object_rows >= 0) & (kinds != MISSED))
    objects = referenced.object_rows[rows]
    order = np.lexsort((-scores[rows], kinds[rows], objects))
    rows, objects = rows[order], objects[order]
    first = np.flatnonzero(np.diff(objects, prepend=-1))
    deciding = np.full(number, NONE, dtype=np.int64)
    deciding[objects[first]] = rows[first]
    return deciding


def fates_of(
    referenced: ReferencedObjects, deciding: NDArray[np.int64], ignored: NDArray[np.bool_]
) -> NDArray[np.int8]:
    """``(N,)`` fate of each object, an index into :data:`FATES`; −1 where `ignored` ``(N,)``."""
    result = np.full(len(deciding), MISSED, dtype=np.int8)
    seen = deciding != NONE
    result[seen] = FATE_OF_TYPE[referenced.types[deciding[seen]]]
    result[ignored] = IGNORED
    result.setflags(write=False)
    return result
