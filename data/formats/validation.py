"""What a row of a file may be: one rule for its image, one for its class, one for its box, for all formats.

Rows are checked all at once. What is wrong is named and raised or, in lenient reading, dropped and counted.
What is odd, but can be read, is an :class:`~data.records.InputWarning` with a count and the first place.
Which image or class a name means is the matter of :mod:`data.formats.names`. The rules, for users:
``docs/input-rules.md``.
"""

from __future__ import annotations

import itertools
import math
import re
import reprlib
import warnings
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from data.boxes import (
    BORDER_ROUNDING_PIXELS,
    area,
    beyond_border,
    cxcywh_to_xyxy,
    intersection,
    xywh_to_xyxy,
)
from data.formats.files import UNKNOWN_SIZE
from data.formats.names import Lookup, hint
from data.records import Detections, GroundTruth, InputError, InputWarning

__all__ = [
    "BEYOND_BORDER",
    "BOX_FORMATS",
    "BoxFormat",
    "Columns",
    "Faults",
    "Keys",
    "Problem",
    "Rows",
    "as_xyxy",
    "box_in_image",
    "check_box_format",
    "check_objects",
    "check_spelling",
    "counted",
    "detections_of",
    "finds_much_more",
    "number_of",
    "numbers_of",
    "objects_of",
    "plain_numbers",
    "prefer_names",
    "share_found",
    "short_repr",
    "valid_detections",
    "valid_rows",
    "warn",
]

BOX_FORMATS = ("xyxy", "xywh", "cxcywh", "yxyx")
"""Left, top, right, bottom; left, top, width, height; centre, width, height; TensorFlow's top, left, bottom,
right."""

ROUNDING_PIXELS = 1e-6
"""Rounding may invert a box without width by this much."""

LONGEST_VALUE = 60  # characters of a value in a message

BEYOND_BORDER = "beyond the border of the image"
"""Part of the warning about such objects: who reads it need not count them again."""

SAMPLED_BOXES = 2000
"""The form of the boxes is judged by this many detections, those of the highest scores."""
LARGEST_COORDINATE = 1e100
LARGEST_LIKELY_FRACTION = 1.2
"""Fractions of an image's size up to here are likely: a detector may place a box beyond the border."""
SMALLEST_IMAGE_PIXELS = 8
"""In a larger image a set of boxes whose coordinates are all so small is one of fractions."""
OVERHANG = 0.02
"""Share of the image's size by which a box may leave it and still count as one inside."""
FEW_FIT, NEARLY_ALL_FIT = 0.5, 0.95
"""Shares of boxes inside their images: below the first a form is doubtful, above the second likely."""
FOUND_IOU, FOUND_SHARE, FOUND_FACTOR = 0.5, 0.2, 2
"""Another form is likely if its boxes find this share of the objects, and this many times as many."""
FEW_BOXES, FEW_FOUND_IOU, FEW_OVERHANG = 10, 0.75, 0.5
"""Fewer boxes may look like another form by chance: for them the overlap and overhang are larger."""

LETTERS_OF_NUMBERS = b"0123456789+-.eE \t\r\n"
AS_JSON = bytes.maketrans(b" \t\r", b",, ")

Problem: TypeAlias = tuple[str, str, str]
"""What was found, what was expected, and the kind of fault for the counts: ``on an unknown image``."""


@dataclass
class Faults:
    """Faults of one source: the first is raised or, in lenient reading, all are counted by their kind.

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
    counts: Counter[str] = field(default_factory=Counter)
    first: str = ""

    def add(self, where: str, problem: Problem, count: int = 1) -> None:
        """Raise InputError for the row at `where`, or count `count` rows with a fault of this kind."""
        found, expected, kind = problem
        if not self.lenient:
            raise InputError(where, found, expected)
        self.first = self.first or f"{where}: found {found}; expected {expected}"
        self.counts[kind] += count

    def warn(self, kept: int) -> None:
        """Say how many were left out, why, and where the first one is."""
        if self.first:
            dropped = self.counts.total()
            kinds = ", ".join(f"{count:,} {kind}" for kind, count in self.counts.items())
            warn(
                f"{self.source}: {dropped:,} of {dropped + kept:,} {self.things} left out ({kinds}), "
                f"the first at {self.first}",
            )


def warn(text: str) -> None:
    """Say that something odd was read all the same."""
    warnings.warn(text, InputWarning, stacklevel=5)


def prefer_names(
    by_id: NDArray[np.int64],
    by_name: NDArray[np.int64],
    named: NDArray[np.bool_],
    known: Sequence[str],
    fields: tuple[str, ...],
    id_and_name: Callable[[int], tuple[object, object]],
    where: Callable[[int], str],
) -> NDArray[np.int64]:
    """What rows mean that have an id and a name: what the name says, with a warning where they differ.

    Parameters
    ----------
    by_id, by_name
        ``(M,)`` indices of images or classes; −1: the id or name fits nothing, or two. Such a name leaves it
        to the id.
    named
        ``(M,)`` which rows have a name.
    known
        Names of the images or classes.
    fields
        What the file calls id and name.
    id_and_name
        Id and name of a row.
    where
        As in :class:`Rows`.
    """
    other = np.flatnonzero(named & (by_name != by_id))
    if not len(other):
        return by_id
    if (by_id[named] < 0).all() and (by_name[named] >= 0).all():  # ids of another file: nothing contradicts
        return np.where(named, by_name, by_id)
    for rows in (other[by_name[other] >= 0], other[by_name[other] < 0]):
        if len(rows):
            row, of_all = int(rows[0]), f"{len(rows):,} of {len(by_id):,} rows"
            key, name = map("{} {}".format, fields, map(short_repr, id_and_name(row)))
            key += f", which is {repr(known[by_id[row]]) if by_id[row] >= 0 else 'nothing known'},"
            used = f"{key} contradicts {name}; so do {of_all}: {fields[1]} was used"
            unused = f"{name} fits none, or several; so in {of_all}: {key} was used"
            warn(f"{where(row)}: {used if by_name[row] >= 0 else unused}")
    return np.where(named & (by_name >= 0), by_name, by_id)


class BoxFormat(NamedTuple):
    """What the four numbers of a box are."""

    form: str
    """One of :data:`BOX_FORMATS`."""
    normalized: bool = False
    """Whether they are fractions of the image's width and height."""

    def __str__(self) -> str:
        return self.form + ", fractions of the image" * self.normalized

    @classmethod
    def chosen(cls, form: str | None, normalized: bool, usual: BoxFormat) -> BoxFormat:
        """What the user says it is, or else the `usual` one of the file's format."""
        if form is not None and form not in BOX_FORMATS:
            raise InputError("box format", short_repr(form), f"one of {', '.join(BOX_FORMATS)}")
        return cls(form or usual.form, normalized or usual.normalized)


def as_xyxy(
    values: NDArray[np.float64],
    box_format: BoxFormat,
    sizes: NDArray[np.int64],
    image_index: NDArray[np.int64],
) -> NDArray[np.float64]:
    """``(M, 4)`` xyxy in pixels of boxes in another form, on images `image_index` (M,) of `sizes` (I, 2)."""
    with np.errstate(over="ignore", invalid="ignore"):  # what is not finite is a fault of its row
        if box_format.form == "yxyx":
            values = values[:, [1, 0, 3, 2]]
        if box_format.normalized:
            of_rows = sizes[image_index]
            if (of_rows >= UNKNOWN_SIZE).any():
                expected = "width and height of all images"
                raise InputError("boxes", "fractions of images of unknown size", expected)
            values = values * np.tile(of_rows, 2)
        if box_format.form == "xywh":
            return xywh_to_xyxy(values)
        return cxcywh_to_xyxy(values) if box_format.form == "cxcywh" else values


def check_box_format(
    source: object,
    truth: GroundTruth,
    values: NDArray[np.float64],
    read_as: BoxFormat,
    image_index: NDArray[np.int64],
    scores: NDArray[np.float64],
) -> None:
    """Warn where the boxes of a whole set look like boxes of another form.

    Judged by the surest detections: which form leaves boxes inside their images, and which finds objects.

    Parameters
    ----------
    source
        The file, for the warning.
    truth
        The ground truth.
    values
        ``(M, 4)`` boxes as the file has them.
    read_as
        How they were read.
    image_index, scores
        ``(M,)`` of the detections; −1: an unknown image.
    """
    usable = (image_index >= 0) & np.isfinite(scores)
    if not max(values.max(initial=0.0), -values.min(initial=0.0)) < LARGEST_COORDINATE:  # so of NaN
        usable &= (np.abs(values) < LARGEST_COORDINATE).all(axis=1)  # no area that overflows
    fine = np.flatnonzero(usable)
    if len(fine) > SAMPLED_BOXES:
        usable_scores = scores if len(fine) == len(scores) else scores[fine]
        surest = np.argpartition(-usable_scores, SAMPLED_BOXES)[:SAMPLED_BOXES]
        fine = fine[np.sort(surest)]
    values, images = values[fine], image_index[fine]
    sizes = truth.sizes[images]
    if not len(fine):
        return
    fractions = (
        not read_as.normalized
        and float(np.abs(values).max()) <= LARGEST_LIKELY_FRACTION
        and int(sizes.min()) > SMALLEST_IMAGE_PIXELS
        and bool(values.any())
    )
    usual = BoxFormat(read_as.form, fractions or read_as.normalized)
    quality = {usual: (0.0, 0.0)}  # the shares of boxes that find an object, and that lie inside their images
    few, pairs = len(fine) < FEW_BOXES, objects_of(truth, images)
    measured = [] if fractions and (sizes >= UNKNOWN_SIZE).any() else BOX_FORMATS
    for form in sorted(measured, key=lambda form: form != read_as.form):
        trial = BoxFormat(form, usual.normalized)
        boxes = as_xyxy(values, trial, truth.sizes, images)
        own = few and trial == read_as
        found = share_found(truth, boxes, pairs, FEW_FOUND_IOU if few and not own else FOUND_IOU)
        inside = _share_inside(boxes, sizes, FEW_OVERHANG if own else OVERHANG)
        quality[trial] = found, inside
        if trial == read_as and not finds_much_more(1.0, found) and inside >= FEW_FIT:
            return  # no other form can be more likely
    found, inside = quality.get(read_as, (0.0, 0.0))
    best = max(quality, key=lambda trial: (*quality[trial], trial == usual))
    found_best, inside_best = quality[best]
    finds_more = finds_much_more(found_best, found)
    fits_alone = inside < FEW_FIT and inside_best >= NEARLY_ALL_FIT
    if best == read_as or not (fractions or finds_more or fits_alone):
        return
    why = (
        f"all coordinates are at most {1 if np.abs(values).max() <= 1 else LARGEST_LIKELY_FRACTION}"
        if fractions
        else f"so read, {inside:.0%} of the boxes lie inside their images and {found:.0%} find an object, "
        f"as {best} {inside_best:.0%} and {found_best:.0%}"
    )
    file = isinstance(source, Path)
    options = [f"--box-format {best.form}" if file else f"box_format='{best.form}'"]
    options *= best.form != read_as.form
    options += ["--normalized" if file else "normalized=True"] * (best.normalized and not read_as.normalized)
    said = (" " if file else ", ").join(options)
    warn(f"{source}: the boxes, read as {read_as}, look like {best} ({why}): {said} reads them so")


Pairs: TypeAlias = tuple[NDArray[np.int64], NDArray[np.int64]]


def objects_of(truth: GroundTruth, images: NDArray[np.int64]) -> Pairs:
    """Pairs of a box, by the place of its image in `images`, and an object of its image."""
    order = np.argsort(truth.image_index, kind="stable")
    bounds = np.searchsorted(truth.image_index[order], np.stack([images, images + 1]))
    counts = bounds[1] - bounds[0]
    box = np.repeat(np.arange(len(images)), counts)
    place = np.arange(len(box)) - np.repeat(np.cumsum(counts) - counts, counts)
    return box, order[bounds[0][box] + place]


def finds_much_more(share: float, other: float) -> bool:
    """Whether a share of boxes that find an object makes another way of reading them implausible."""
    return share >= FOUND_SHARE and share >= FOUND_FACTOR * other


def share_found(
    truth: GroundTruth, boxes: NDArray[np.float64], pairs: Pairs, iou: float = FOUND_IOU
) -> float:
    """Share of the boxes (K, 4) that overlap an object of their image by `iou`; see :func:`objects_of`."""
    box, thing = pairs
    common = intersection(boxes[box], truth.boxes[thing])
    union = area(boxes[box]) + area(truth.boxes[thing]) - common
    found = (common >= iou * union) & (common > 0)
    return len(np.unique(box[found])) / max(len(boxes), 1)


def _share_inside(boxes: NDArray[np.float64], sizes: NDArray[np.int64], overhang: float) -> float:
    """Share of the boxes (K, 4) that are upright and inside their images (sizes (K, 2))."""
    slack = overhang * np.tile(sizes, 2) + 1
    inside = (boxes >= -slack) & (boxes <= np.tile(sizes, 2) + slack)
    return float((inside.all(axis=1) & (boxes[:, :2] <= boxes[:, 2:]).all(axis=1)).mean())


OTHER_FORM = " (box_format, in a command --box-format, says what the columns are)"
ROTATION = "rotation"
"""What CVAT calls the angle of a box in degrees, beside the box as it was before it was turned."""


def check_objects(source: object, truth: GroundTruth, where: Callable[[int], str]) -> None:
    """Warn of objects that leave their images, are there twice or are turned; `where` as in :class:`Rows`."""
    boxes = truth.boxes
    rotation = truth.attributes.get(ROTATION, np.zeros(0))
    turned = np.nan_to_num(rotation) != 0 if rotation.dtype.kind in "if" else np.zeros(0, bool)
    if turned.any():
        row = int(turned.argmax())
        warn(
            f"{source}: {_objects(int(turned.sum()))} turned by an attribute {ROTATION}, the first at "
            f"{where(row)}, by {rotation[row]:g}°: the boxes are read as the file has them, not turned"
        )
    beyond = beyond_border(boxes, truth.sizes[truth.image_index])
    if beyond.any():
        row = int(beyond.argmax())
        box = " ".join(f"{value:g}" for value in boxes[row].tolist())
        size = "×".join(map(str, truth.sizes[truth.image_index[row]].tolist()))
        warn(
            f"{source}: {_objects(int(beyond.sum()))} {BEYOND_BORDER}, the first at {where(row)}: the box "
            f"{box} in an image of {size} pixels; clipped there by Hoiem's rules, as detections are"
        )
    # Rows that are equal have equal sums; only rows of equal sums are compared.
    columns = [truth.image_index, truth.labels, *boxes.T]
    factors = (1e6, 1e3, 3.7, 5.1, 7.3, 11.9)
    order = np.argsort(sum(map(np.multiply, columns, factors)), kind="stable")
    repeats = np.ones(max(len(order) - 1, 0), dtype=bool)
    for column in columns:
        repeats &= column[order[1:]] == column[order[:-1]]
    if repeats.any():
        again, first = min(zip(order[1:][repeats].tolist(), order[:-1][repeats].tolist(), strict=True))
        warn(
            f"{source}: {_objects(int(repeats.sum()))} there twice (the same image, class and box), "
            f"the first at {where(again)}, already at {where(first)}"
        )


def check_spelling(source: object, labels: Sequence[str], where: Callable[[int], str]) -> None:
    """Warn of classes whose names differ in case, white space, - or _ alone, where nobody names the classes.

    `labels` has the class of each object, `where` its place in messages.
    """
    counts = Counter(labels)
    alike: dict[str, list[str]] = {}
    for name, _ in counts.most_common():
        alike.setdefault(re.sub(r"[\s_-]", "", name).casefold(), []).append(name)
    if pairs := [(names[-1], names[0]) for names in alike.values() if len(names) > 1]:
        rare, common = pairs[0]
        once, often = (counted(counts[name], "object") for name in pairs[0])
        more = f" (and so do {len(pairs) - 1:,} other pairs)" if len(pairs) > 1 else ""
        warn(
            f"{source}: the classes {short_repr(rare)} ({once}, the first in {where(labels.index(rare))}) "
            f"and {short_repr(common)} ({often}) differ in case, white space, - or _ alone{more}: they are "
            "read as two classes; if they are one, rename it there"
        )


def counted(number: int, thing: str, plural: str = "") -> str:
    """A number and what it counts.

    Examples
    --------
    >>> counted(1, "image"), counted(4952, "image"), counted(20, "class", "classes")
    ('1 image', '4,952 images', '20 classes')
    """
    return f"{number:,} {thing if number == 1 else plural or thing + 's'}"


def _objects(count: int) -> str:
    return counted(count, "object is", "objects are")


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


RULES = ("image", "class", "score", "finite", "extent")
"""A row must be on a known image and of a known class, its score and box finite, its box not inverted (of
annotated objects: with an area). A row counts for the first rule that it breaks."""


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
    compare = np.less if rows.scores is None else np.less_equal
    wrong_extent = ~(compare(boxes[:, 0], boxes[:, 2]) & compare(boxes[:, 1], boxes[:, 3]))
    if rows.scores is not None and not rows.sized and sizes is not None and len(sizes):
        suspects = np.flatnonzero(wrong_extent)
        limits = sizes[rows.image_index[suspects]]  # unknown images (-1) fail an earlier rule
        wrong_extent[suspects] = inverted(boxes[suspects], limits)
    nothing, finite = np.zeros(count, dtype=bool), np.isfinite(boxes)
    broken = np.stack(
        [
            rows.image_index < 0,
            rows.labels < 0,
            nothing if rows.scores is None else ~np.isfinite(rows.scores),
            nothing if finite.all() else ~finite.all(axis=1),
            wrong_extent,
        ]
    )  # (5, M): in the order of RULES
    faulty = np.flatnonzero(broken.any(axis=0))
    rules = broken[:, faulty].argmax(axis=0)
    _, first, counts = np.unique(rules, return_index=True, return_counts=True)
    for place in np.argsort(first).tolist():
        row = int(faulty[first[place]])
        problem = rows.problems[RULES[rules[first[place]]]](row)
        faults.add(rows.where(row), problem, int(counts[place]))
    keep = np.delete(np.arange(count), faulty)
    faults.warn(len(keep))
    return keep


class Keys(NamedTuple):
    """What the file calls image and class of a row, and what it may call them, for messages."""

    image: Callable[[int], object]
    label: Callable[[int], object]
    images: Lookup | None = None
    """Knows why the key of an image is ambiguous."""
    classes: Lookup | None = None
    """The same of classes."""
    numbers: str = ""
    """Which numbers are classes, for formats that use numbers."""


def detection_problems(
    truth: GroundTruth,
    scores: NDArray[np.float64],
    boxes: NDArray[np.float64],
    keys: Keys,
    sized: bool = False,
) -> dict[str, Callable[[int], Problem]]:
    """The messages about detections that break a rule: :attr:`Rows.problems` of :func:`detections_of`."""

    def box(row: int) -> str:
        return " ".join(f"{value:g}" for value in boxes[row].tolist())

    def ambiguous(what: str, key: object, lookup: Lookup | None, names: Sequence[str]) -> Problem | None:
        routes = lookup.routes(key) if lookup is not None and isinstance(key, int | str | bytes) else []
        if len({index for _, index in routes}) < 2:
            return None
        ids = truth.image_ids if what == "image" else truth.class_ids
        each = (f"{route} of {names[i]!r}" + (f" (id {ids[i]!r})" if ids else "") for route, i in routes[:3])
        expected = "a name or id that fits one image: its whole file name" if what == "image" else "one name"
        return f"the {what} {short_repr(key)}, {' and '.join(each)}", expected, f"of an ambiguous {what}"

    def unknown_image(row: int) -> Problem:
        key = keys.image(row)
        expected = f"an image of the ground truth{hint(key, truth.images)}"
        unknown = f"the unknown image {short_repr(key)}", expected, "on an unknown image"
        return ambiguous("image", key, keys.images, truth.images) or unknown

    def unknown_class(row: int) -> Problem:
        key = keys.label(row)
        if keys.numbers and str(key).lstrip("-").isdecimal():
            expected = keys.numbers
        elif isinstance(key, int) and not truth.class_ids:
            expected = "the name of a class: this ground truth has no category ids (COCO JSON has)"
        elif isinstance(key, int):
            ids = ", ".join(map(str, truth.class_ids))
            expected = f"a category id of the ground truth: {_shortened(ids, LONGEST_VALUE, ' …')}"
        else:
            names = f": {_shortened(', '.join(truth.classes), 200, ' …')}"
            expected = f"a class of the ground truth{hint(key, truth.classes) or names}"
        unknown = f"the unknown class {short_repr(key)}", expected, "of an unknown class"
        return ambiguous("class", key, keys.classes, truth.classes) or unknown

    corners = "xmin <= xmax and ymin <= ymax" + (": no negative width or height" if sized else OTHER_FORM)
    not_finite = "with a score that is not finite"
    return {
        "image": unknown_image,
        "class": unknown_class,
        "score": lambda row: (f"the score {scores[row]:g}", "a finite number", not_finite),
        "finite": lambda row: (f"the box {box(row)}", "four finite numbers", "with a box that is not finite"),
        "extent": lambda row: (f"the inverted box {box(row)}", corners, "with an inverted box"),
    }


Columns: TypeAlias = tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64], NDArray[np.float64]]
"""Image index (M,), label (M,), score (M,) and box (M, 4) of detections."""


def valid_detections(
    rows: Rows, faults: Faults, sizes: NDArray[np.int64], *more: NDArray[Any]
) -> list[NDArray[Any]]:
    """The :data:`Columns` of the :func:`valid_rows`, and `more` of them.

    Boxes that clipping inverted are left without area, at their rank.
    """
    valid = valid_rows(rows, faults, sizes)
    assert rows.scores is not None
    columns: list[NDArray[Any]] = [rows.image_index, rows.labels, rows.scores, rows.boxes, *more]
    if len(valid) < len(rows.labels):
        columns = [column[valid] for column in columns]
    boxes = columns[3]
    for axis in (0, 1):  # by columns: NumPy is slow at pairs of numbers
        np.maximum(boxes[:, axis], boxes[:, 2 + axis], out=boxes[:, 2 + axis])
    for column in columns[:4]:
        column.setflags(write=False)  # not copied once more
    return columns


def detections_of(
    truth: GroundTruth,
    faults: Faults,
    where: Callable[[int], str],
    columns: Columns,
    read_as: BoxFormat,
    guessed: bool,
    keys: Keys,
    sized: bool = False,
) -> Detections:
    """The record of detections as read, in their order, without those at fault.

    Parameters
    ----------
    truth
        The ground truth.
    faults, where, sized
        As in :func:`valid_rows` and :class:`Rows`.
    columns
        Image index (M,), label (M,), score (M,), and box (M, 4) as the file has it.
    read_as, guessed
        What the numbers of the boxes are, and whether nobody said so: then other forms are noticed.
    keys
        Image and class of a row as the file has them.
    """
    image_index, labels, scores, values = columns
    boxes = as_xyxy(values, read_as, truth.sizes, image_index)
    if guessed:
        check_box_format(faults.source, truth, values, read_as, image_index, scores)
    problems = detection_problems(truth, scores, boxes, keys, sized)
    rows = Rows(image_index, labels, boxes, where, problems, scores, sized)
    extents = [values[:, 2:]] * (read_as == BoxFormat("xywh"))
    return Detections(truth.images, truth.classes, *valid_detections(rows, faults, truth.sizes, *extents))


def box_in_image(
    where: Callable[[str], str], corners: Mapping[str, float], size: tuple[int, int], pixels_from: int = 1
) -> tuple[float, float, float, float]:
    """xyxy of a VOC annotation, which must lie in its image; clipped to the image.

    Pixels count from 1, the last one included; or, with `pixels_from` 0, coordinates are continuous.

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
            if not pixels_from - BORDER_ROUNDING_PIXELS <= value <= limit + BORDER_ROUNDING_PIXELS:
                found = f"{value:g}, outside the image of {width}×{height} pixels"
                others = " (VOC counts pixels from 1; --pixels-from 0 for others)" * pixels_from
                raise InputError(where(name), found, f"{pixels_from} to {limit}{others}")
        if low >= high:
            flaw = "zero area" if low == high else f"negative {'width' if axis == 'x' else 'height'}"
            found = f"{axis}min {low:g} and {axis}max {high:g}, a box of {flaw}"
            raise InputError(where(""), found, f"{axis}min below {axis}max")
    return (
        max(corners["xmin"] - pixels_from, 0.0),
        max(corners["ymin"] - pixels_from, 0.0),
        min(corners["xmax"], float(width)),
        min(corners["ymax"], float(height)),
    )


def plain_numbers(content: bytes, columns: int) -> NDArray[np.float64] | None:
    """``(M, columns)`` the numbers of a text of M lines, read as JSON, which is much faster than ``float``.

    None where a line is not `columns` finite numbers as JSON writes them, with one space or tab between two.
    """
    import msgspec  # late: arrays need none of it

    if content.translate(None, LETTERS_OF_NUMBERS):
        return None
    text = content.rstrip().translate(AS_JSON).replace(b"\n", b"],[")
    try:
        rows = msgspec.json.decode(b"[[" + text + b"]]", type=list[tuple[(float,) * columns]])  # type: ignore[misc]
    except msgspec.DecodeError:
        return None
    return np.fromiter(itertools.chain.from_iterable(rows), np.float64).reshape(-1, columns)


def number_of(word: str | bytes, name: str, *, finite: bool = True) -> float | Problem:
    """The number that a word of a text file says, or what is wrong with it as the value of column `name`."""
    text = word.decode(errors="replace") if isinstance(word, bytes) else word
    try:
        value = float(word)
    except ValueError:
        return f"{text!r} as {name}", "a number", "with what is no number"
    if "_" in text:  # Python's 1_0 is a number nowhere else
        return f"{text!r} as {name}", "a number without underscores", "with what is no number"
    if finite and not math.isfinite(value):
        return f"{text} as {name}", "a finite number", "with a number that is not finite"
    return value


def numbers_of(words: Sequence[bytes], names: Sequence[str]) -> list[float] | Problem:
    """The finite numbers that the words of a line say, or what is wrong with the first that says none."""
    try:
        values = list(map(float, words))
        if all(map(math.isfinite, values)) and b"_" not in b"".join(words):
            return values
    except ValueError:
        pass
    found = (number_of(word, name) for word, name in zip(words, names, strict=True))
    return next(value for value in found if not isinstance(value, float))


def short_repr(value: object) -> str:
    """A value of a file in a message: as Python writes it, but short."""
    try:
        text = reprlib.repr(value) if isinstance(value, list | dict) else repr(value)
        return _shortened(text, LONGEST_VALUE, "…")
    except (ValueError, RecursionError):  # a number of thousands of digits, lists without end
        return f"a {type(value).__name__} too long to show"


def _shortened(text: str, length: int, mark: str) -> str:
    return text if len(text) <= length else f"{text[:length]}{mark}"
