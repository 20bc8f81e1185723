"""What a row of a file may be: one rule for its image, one for its class, one for its box, for all formats.

Rows are checked all at once. What is wrong is named and raised or, in lenient reading, dropped and counted.
Which image or class a name means is the matter of :mod:`data.formats.names`.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from data.formats.names import hint
from data.records import Detections, GroundTruth, InputError

__all__ = [
    "Columns",
    "Fault",
    "Faults",
    "Problem",
    "Rows",
    "box_in_image",
    "detections_of",
    "number_of",
    "valid_detections",
    "valid_rows",
]

ROUNDING_PIXELS = 1e-6
"""Rounding may invert a box without width by this much."""

BORDER_ROUNDING_PIXELS = 0.5
"""How far rounded coordinates may exceed the image in annotations that must lie inside it. Less than 1, so
that a file that counts from 0 is noticed instead of being read one pixel off."""

LONGEST_VALUE = 60  # characters of a value in a message

Problem: TypeAlias = tuple[str, str, str]
"""What was found, what was expected, and the kind of fault for the counts: ``on an unknown image``."""


class Fault(NamedTuple):
    """What is wrong with one row."""

    where: str
    found: str
    expected: str
    kind: str


@dataclass
class Faults:
    """Faults of one source: the first is raised or, in lenient reading, all are counted.

    Parameters
    ----------
    source
        The file or folder, or the name of the argument.
    lenient
        Count instead of raising.
    things
        What the rows are.
    """

    source: object
    lenient: bool
    things: str = "detections"
    counts: dict[str, int] = field(default_factory=dict)
    first: Fault | None = None

    def add(self, fault: Fault, count: int = 1) -> None:
        """Raise the fault, or note that `count` rows have one of its kind."""
        if not self.lenient:
            raise InputError(fault.where, fault.found, fault.expected)
        self.first = self.first or fault
        self.counts[fault.kind] = self.counts.get(fault.kind, 0) + count

    def warn(self, kept: int) -> None:
        """Say how many were left out, why, and where the first one is."""
        if self.first is None:
            return
        dropped = sum(self.counts.values())
        kinds = ", ".join(f"{count:,} {kind}" for kind, count in self.counts.items())
        where, found, expected, _ = self.first
        warnings.warn(
            f"{self.source}: {dropped:,} of {dropped + kept:,} {self.things} left out ({kinds}), "
            f"the first at {where}: found {found}; expected {expected}",
            stacklevel=4,
        )


class Rows(NamedTuple):
    """M detections or annotated objects as read, and the texts for messages about them."""

    image_index: NDArray[np.int64]
    """``(M,)`` −1: an unknown image."""
    labels: NDArray[np.int64]
    """``(M,)`` −1: an unknown class."""
    boxes: NDArray[np.float64]
    """``(M, 4)`` xyxy, continuous pixels."""
    where: Callable[[int], str]
    """Place of a row in messages: file and line, or index."""
    problems: Mapping[str, Callable[[int], Problem]]
    """The message about a row that breaks a rule, by the name of the rule; see :data:`RULES`."""
    scores: NDArray[np.float64] | None = None
    """``(M,)`` scores of detections. None: annotated objects, whose boxes must have an area."""
    sized: bool = False
    """The file gives width and height, so a negative one is a fault and never the result of clipping."""
    repeated: NDArray[np.bool_] | None = None
    """``(M,)`` which ids were there before."""
    extents: NDArray[np.float64] | None = None
    """``(M, 2)`` width and height, where the file gives them."""


RULES = ("image", "class", "score", "finite", "extent", "id")
"""A row must be on a known image and of a known class, its score and box finite, its box not inverted (of
annotated objects: with an area), its id new. A row counts for the first rule that it breaks."""


def inverted(boxes: NDArray[np.float64], limits: NDArray[np.int64]) -> NDArray[np.bool_]:
    """``(M,)`` which boxes (M, 4) are inverted, other than by clipping.

    A detector that clips a box beyond its image inverts it: one end lies on the border (to a pixel, as tools
    count from 0 or 1), the other still beyond it. `limits` are width and height of each box's image (M, 2).
    """
    low, high = boxes[:, :2], boxes[:, 2:]
    clipped = ((np.abs(low) <= 1) & (high <= 0)) | ((low >= limits) & (np.abs(high - limits) <= 1))
    return np.asarray(((high < low - ROUNDING_PIXELS) & ~clipped).any(axis=1), dtype=np.bool_)


def valid_rows(rows: Rows, faults: Faults, sizes: NDArray[np.int64] | None = None) -> NDArray[np.int64]:
    """``(K,)`` the rows that keep all :data:`RULES`; the others go to `faults`, whose warning is given here.

    Parameters
    ----------
    rows
        As read.
    faults
        Takes what is wrong.
    sizes
        ``(I, 2)`` width and height of the images; needed for detections.

    Raises
    ------
    InputError
        The first faulty row, unless reading is lenient.
    """
    count, boxes = len(rows.labels), rows.boxes
    low, high = boxes[:, :2], boxes[:, 2:]
    ordered: NDArray[np.bool_] = np.asarray(low <= high if rows.scores is not None else low < high)
    fine = (
        (rows.image_index >= 0).all()
        and (rows.labels >= 0).all()
        and (rows.scores is None or np.isfinite(rows.scores).all())
        and np.isfinite(boxes).all()
        and ordered.all()
        and (rows.repeated is None or not rows.repeated.any())
    )
    if fine:
        faults.warn(count)
        return np.arange(count)

    # Something is wrong, or clipping inverted a box: check row by row.
    wrong_extent = ~(ordered[:, 0] & ordered[:, 1])
    if rows.scores is not None and not rows.sized and sizes is not None and len(sizes):
        suspects = np.flatnonzero(wrong_extent)
        limits = sizes[rows.image_index[suspects]]  # unknown images (-1) fail an earlier rule
        wrong_extent[suspects] = inverted(boxes[suspects], limits)
    nothing = np.zeros(count, dtype=bool)
    broken = np.stack(
        [
            rows.image_index < 0,
            rows.labels < 0,
            nothing if rows.scores is None else ~np.isfinite(rows.scores),
            ~np.isfinite(boxes).all(axis=1),
            wrong_extent,
            nothing if rows.repeated is None else rows.repeated,
        ]
    )  # (6, M): in the order of RULES
    faulty = np.flatnonzero(broken.any(axis=0))
    rules = broken[:, faulty].argmax(axis=0)
    _, first, counts = np.unique(rules, return_index=True, return_counts=True)
    for place in np.argsort(first).tolist():
        row = int(faulty[first[place]])
        problem = rows.problems[RULES[rules[first[place]]]](row)
        faults.add(Fault(rows.where(row), *problem), int(counts[place]))
    keep = np.delete(np.arange(count), faulty)
    faults.warn(len(keep))
    return keep


def detection_problems(
    truth: GroundTruth,
    scores: NDArray[np.float64],
    boxes: NDArray[np.float64],
    image: Callable[[int], object],
    label: Callable[[int], object],
    numbers: str = "",
    sized: bool = False,
) -> dict[str, Callable[[int], Problem]]:
    """The messages about detections that break a rule, for :attr:`Rows.problems`.

    `image` and `label` give the image and class of a row as the file has them; `numbers` says which numbers
    are classes, for formats that use numbers; `sized` as in :class:`Rows`.
    """

    def box(row: int) -> str:
        return " ".join(f"{value:g}" for value in boxes[row].tolist())

    def unknown_image(row: int) -> Problem:
        key = image(row)
        expected = f"an image of the ground truth{hint(key, truth.images)}"
        return f"the unknown image {_shown(key)}", expected, "on an unknown image"

    def unknown_class(row: int) -> Problem:
        key = label(row)
        if numbers and str(key).lstrip("-").isdecimal():
            expected = numbers
        elif isinstance(key, int) and not truth.class_ids:
            expected = "the name of a class: this ground truth has no category ids (COCO JSON has)"
        elif isinstance(key, int):
            ids = ", ".join(map(str, truth.class_ids))
            expected = f"a category id of the ground truth: {_shortened(ids, LONGEST_VALUE, ' …')}"
        else:
            near = hint(key, truth.classes)
            names = _shortened(", ".join(truth.classes), 200, " …")
            expected = f"a class of the ground truth{near or ': ' + names}"
        return f"the unknown class {_shown(key)}", expected, "of an unknown class"

    expected_corners = "xmin <= xmax and ymin <= ymax" + ": no negative width or height" * sized
    return {
        "image": unknown_image,
        "class": unknown_class,
        "score": lambda row: (
            f"the score {scores[row]:g}",
            "a finite number",
            "with a score that is not finite",
        ),
        "finite": lambda row: (f"the box {box(row)}", "four finite numbers", "with a box that is not finite"),
        "extent": lambda row: (f"the inverted box {box(row)}", expected_corners, "with an inverted box"),
    }


Columns: TypeAlias = tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64], NDArray[np.float64]]
"""Image index (M,), label (M,), score (M,) and box (M, 4) of detections."""


def valid_detections(rows: Rows, faults: Faults, sizes: NDArray[np.int64]) -> Columns:
    """The columns of the :func:`valid_rows`; boxes inverted by clipping are left without area, in place."""
    return _kept(rows, valid_rows(rows, faults, sizes))


def _kept(rows: Rows, valid: NDArray[np.int64]) -> Columns:
    assert rows.scores is not None
    keep = slice(None) if len(valid) == len(rows.labels) else valid  # a slice copies nothing
    boxes = rows.boxes[keep]
    np.maximum(boxes[:, :2], boxes[:, 2:], out=boxes[:, 2:])
    return rows.image_index[keep], rows.labels[keep], rows.scores[keep], boxes


def detections_of(truth: GroundTruth, rows: Rows, faults: Faults) -> Detections:
    """The record of the :func:`valid_detections`, in their order."""
    valid = valid_rows(rows, faults, truth.sizes)
    extents = None if rows.extents is None else rows.extents[valid]
    return Detections(truth.images, truth.classes, *_kept(rows, valid), extents)


def box_in_image(
    where: Callable[[str], str], corners: Mapping[str, float], size: tuple[int, int]
) -> tuple[float, float, float, float]:
    """xyxy of an annotation that counts pixels from 1 and must lie in its image; clipped to the image.

    `where` gives the place of a coordinate for messages, or of the whole box for an empty name; `corners`
    has ``xmin``, ``ymin``, ``xmax`` and ``ymax``, the last pixel included; `size` is the image's.

    Raises
    ------
    InputError
        A coordinate outside the image, a box without area. (No object of VOC is a single pixel wide, so
        xmin = xmax counts as one.)
    """
    width, height = size
    for axis, limit in (("x", width), ("y", height)):
        low, high = corners[f"{axis}min"], corners[f"{axis}max"]
        for name, value in ((f"{axis}min", low), (f"{axis}max", high)):
            if not 1 - BORDER_ROUNDING_PIXELS <= value <= limit + BORDER_ROUNDING_PIXELS:
                raise InputError(
                    where(name),
                    f"{value:g}, outside the image of {width}×{height} pixels",
                    f"1 to {limit} (VOC counts pixels from 1)",
                )
        if low >= high:
            found = f"{axis}min {low:g} and {axis}max {high:g}, a box of zero area"
            raise InputError(where(""), found, f"{axis}min below {axis}max")
    return (
        max(corners["xmin"] - 1, 0.0),
        max(corners["ymin"] - 1, 0.0),
        min(corners["xmax"], float(width)),
        min(corners["ymax"], float(height)),
    )


def number_of(word: str | bytes, name: str, *, finite: bool = True) -> float | Problem:
    """The number that a word of a text file says, or what is wrong with it as the value of column `name`."""
    shown = word.decode(errors="replace") if isinstance(word, bytes) else word
    try:
        value = float(word)
    except ValueError:
        return f"{shown!r} as {name}", "a number", "with what is no number"
    if "_" in shown:  # Python's 1_0 is a number nowhere else
        return f"{shown!r} as {name}", "a number without underscores", "with what is no number"
    if finite and not math.isfinite(value):
        return f"{shown} as {name}", "a finite number", "with a number that is not finite"
    return value


def _shown(value: object) -> str:
    return _shortened(repr(value), LONGEST_VALUE, "…")


def _shortened(text: str, length: int, mark: str) -> str:
    return text if len(text) <= length else f"{text[:length]}{mark}"
