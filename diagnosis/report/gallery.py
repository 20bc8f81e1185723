"""Examples for the page: errors, missed objects, and objects on which two detectors disagree, with pictures.

Where there is no photograph the boxes are drawn on an empty ground of the image's shape.
"""

from __future__ import annotations

import base64
import io
import itertools
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from PIL import Image

from data.boxes import area, clip, intersection
from data.formats.processes import usable_cores
from data.records import GroundTruth, InputError
from diagnosis.breakdown import BACKGROUND, BACKGROUND_IOU, CORRECT, ERROR_NAMES, NONE
from diagnosis.confusion import ON_BACKGROUND
from diagnosis.fates import FATES, MISSED
from diagnosis.photographs import read_picture
from diagnosis.record import Diagnosis
from diagnosis.tide import TIDE_ERRORS
from diagnosis.words import worst_classes
from diagnosis.worst_cases import first_of_each, largest_first

__all__ = ["CLASS_CONFUSIONS", "Examples", "Gallery", "Pool", "collect", "matrix_classes", "part_around"]

MAX_OTHER_OBJECTS = 15
"""Drawn in one picture."""
MARGIN = 0.2
"""Around the boxes, of their longer side."""
SMALLEST_SIDE_PIXELS = 40.0
"""Of a part of an image."""
LANDSCAPE = 4 / 3
"""Shape that a part is widened to, as far as the image reaches."""
SHARED_PART = 3.0
"""A photograph serves another example of its image up to this many times the area that this would have."""
OUTLINE_SIDE = 1000
"""Longest side of an image without photograph; its boxes are whole numbers of that."""
TOP_CONFUSIONS = 30
"""How many of the most frequent cells of the confusion matrix have several pictures."""
MATRIX_CLASSES = 30
"""How many classes the page's matrix has, as long as no other is searched for: those with most confusions."""
CLASS_CONFUSIONS = 6
"""How many confusions the page lists of a class."""
BACKGROUND_WEIGHT = 0.001
"""Of what is not found or on background, where classes are ranked by their confusions."""
FIRST_SHOWN = 24
"""Examples that the page shows before more are asked for: these have photographs first."""
SHARES = {"errors": 0.5, "missed": 0.2, "only": 0.2, "neither": 0.1}
"""Of the places, by side, as long as all sides fill theirs: false positives, missed objects, objects that
only one detector of a pair finds, objects that neither finds."""
BEYOND_SHARE = 0.2
"""Of a side's places: what is no case of the side itself, but of the confusion matrix or of TIDE."""
MAX_DETECTORS_IN_PAIRS = 4
"""With more detectors each is paired with the first alone."""
MISS = [error.name for error in TIDE_ERRORS].index("miss")


@dataclass(frozen=True)
class Gallery:
    """How many examples the page may hold.

    Parameters
    ----------
    each
        Examples, at least, that each bar, cell and ribbon of the page has, as far as there are so many.
    total
        Examples, at most, with a photograph of their own. 0: no examples at all.
    pixels
        Longest side of a part of a photograph.
    quality
        Of the JPEG pictures, from 1 to 95.
    megabytes
        Of all photographs, as they are in the page (1 MB: a million bytes).
    most
        Examples in all, but for those of `each`. What is left out are the least confident, or the smallest
        objects.
    """

    each: int = 4
    total: int = 700
    pixels: int = 300
    quality: int = 75
    megabytes: float = 7.5
    most: int = 10_000


class Pick(NamedTuple):
    """An example before its picture is made.

    `kind` is the error type, or the fate of the object under the detector that has not found it; `before` its
    fate under the first, where neither has. `objects` are the rows of the object in question, if any, and of
    another that the confusion matrix pairs the detection with. `detections` are pairs of a detector and a
    row; `cell` is the row of the confusion matrix in which the error counts, C for background, and C also of
    an object that the matrix has as not found; else :data:`NONE`. `tide` is an index into
    :data:`diagnosis.tide.TIDE_ERRORS`, or :data:`NONE`.
    """

    image: int
    label: int
    kind: str
    before: str
    objects: list[int]
    detections: list[tuple[int, int]]
    words: str
    cell: int = NONE
    tide: int = NONE


@dataclass(frozen=True, eq=False)
class Pool:
    """All cases of one side of a detector or a pair.

    Parameters
    ----------
    side, detector, versus
        A key of :data:`SHARES`; the detector in question: of a pair, the one that has found the object, or
        the second of the two that have not; and the other.
    beyond
        Whether these are cases of the confusion matrix or of TIDE alone.
    rows, scores
        ``(K,)`` detections or objects, and what they are ranked by, the highest first.
    groups
        For each kind of bar, cell or ribbon ``(K,)`` the one that a case belongs to, −1: none; and whether
        each of them has :attr:`Gallery.each` examples at least, or one.
    totals
        How many cases there are of a class, a kind and a kind before.
    make
        The example of a row.
    """

    side: str
    detector: int
    versus: int
    beyond: bool
    rows: NDArray[np.int64]
    scores: NDArray[np.float64]
    groups: tuple[tuple[NDArray[np.int64], bool], ...]
    totals: list[tuple[int, str, str, int]]
    make: Callable[[int], Pick]


class Examples(NamedTuple):
    """What the gallery shows, as plain records, by pool; the pools, of each the score from which on examples
    are left out (None: none is); and why photographs could not be read.
    """

    shown: list[dict[str, Any]]
    pools: list[Pool]
    cuts: list[float | None]
    unread: list[str]


def collect(diagnoses: Sequence[Diagnosis], limits: Gallery) -> Examples:
    """The examples of all detectors: of each pool the most confident that there is room for, and the first of
    each bar, cell and ribbon of the page."""
    pools = list(_pools(diagnoses))
    if not limits.total:
        return Examples([], pools, [0.0 if len(pool.rows) else None for pool in pools], [])
    shares = _shares(pools, len(diagnoses))
    rooms = _rooms([len(pool.rows) for pool in pools], shares, limits.most)
    one = min(limits.each, 1)
    worst = worst_classes(*diagnoses)  # the first screen shows an example of each
    cuts: list[float | None] = []
    picks: list[Pick] = []
    shown: list[dict[str, Any]] = []
    turns: list[float] = []
    for number, (pool, share, room) in enumerate(zip(pools, shares, rooms, strict=True)):
        cuts.append(float(pool.scores[room]) if room < len(pool.rows) else None)
        firsts = [
            first_of_each(np.flatnonzero(of >= 0), of[of >= 0], limits.each if several else one)
            for of, several in pool.groups
        ]
        places = np.unique(np.concatenate([np.arange(room), *firsts]))
        made = [pool.make(row) for row in pool.rows[places].tolist()]
        turns += _turns(pool, places, made, worst, share).tolist()
        picks += made
        about: dict[str, Any] = {"side": pool.side, "detector": pool.detector, "versus": pool.versus}
        about |= {"beyond": pool.beyond, "pool": number}
        shown += [
            about | {"score": float(pool.scores[place]), "extra": int(place >= room)}
            for place in places.tolist()
        ]
    order = np.argsort(turns, kind="stable").tolist()
    photographs, unread = _photographs(diagnoses, picks, order, limits)
    beside = set(order[: limits.total])
    for number, pick in enumerate(picks):
        photo, part = photographs.get(number, ("", None))
        shown[number] |= _record(diagnoses, pick, part, limits.pixels, number in beside) | {"photo": photo}
    return Examples(shown, pools, cuts, unread)


def matrix_classes(diagnosis: Diagnosis) -> NDArray[np.int64]:
    """The classes that the page's confusion matrix has, in their order: all if they are few, else those with
    confusions with another class, the most first, or, without any, those that are most missed or misseen."""
    wrong = diagnosis.confusion.counts * (1 - np.eye(len(diagnosis.truth.classes) + 1))
    wrong[-1] *= BACKGROUND_WEIGHT
    wrong[:, -1] *= BACKGROUND_WEIGHT
    number = (wrong.sum(axis=0) + wrong.sum(axis=1))[:-1]
    order = np.argsort(-number, kind="stable")
    if len(order) > MATRIX_CLASSES:
        least = 1 if number.max() >= 1 else BACKGROUND_WEIGHT / 2
        order = order[number[order] >= least]
    return np.sort(order[:MATRIX_CLASSES])


def _shares(pools: Sequence[Pool], detectors: int) -> list[float]:
    """The share of all places that each pool has."""
    pairs = sum(pool.side == "neither" for pool in pools)
    shares = []
    for pool in pools:
        if pool.side in ("only", "neither"):
            shares.append(SHARES[pool.side] / pairs / (2 if pool.side == "only" else 1))
        else:
            part = BEYOND_SHARE if pool.beyond else 1 - BEYOND_SHARE
            shares.append(1 / detectors * SHARES[pool.side] * part)
    return shares


def _rooms(sizes: Sequence[int], shares: Sequence[float], most: int) -> list[int]:
    """How many of each pool there is room for: its share, and what others leave.

    Examples
    --------
    >>> _rooms([3, 90, 50], [0.5, 0.25, 0.25], 43)
    [3, 20, 20]
    """
    rooms, left, weight = [0] * len(sizes), most, sum(shares)
    for place in sorted(range(len(sizes)), key=lambda place: sizes[place] / shares[place]):
        rooms[place] = min(sizes[place], int(left * shares[place] / weight + 1e-9))
        left, weight = left - rooms[place], weight - shares[place]
    return rooms


def _turns(
    pool: Pool, places: NDArray[np.int64], picks: Sequence[Pick], worst: Sequence[int], share: float
) -> NDArray[np.float64]:
    """When each example of a pool gets its photograph, among those of all pools.

    Before all others the longest bars of the `worst` classes. Then what the page shows first, then the first
    of each bar, cell and ribbon, that of most cases first. Then the first of every view, and so on.
    """
    place_of = {place: number for number, place in enumerate(places.tolist())}
    firsts = []
    for of, _ in pool.groups:
        _, first, cases = np.unique(of, return_index=True, return_counts=True)
        known = zip(first.tolist(), cases.tolist(), strict=True)
        firsts += [(number, place_of[row]) for row, number in known if of[row] >= 0 and row in place_of]
    bars = [number for _, number in sorted(firsts, key=lambda one: -one[0])]
    counts: Counter[tuple[Any, ...]] = Counter()
    views = []
    for pick in picks:
        view = len(picks)
        kinds = pick.kind, pick.before
        for key, weight in (((), 1), (kinds, 1), ((pick.label, *kinds), 6)):
            view = min(view, weight * counts[key] // FIRST_SHOWN)
            counts[key] += 1
        views.append(view)
    rest = sorted(range(len(picks)), key=views.__getitem__)
    order = list(dict.fromkeys([*range(min(FIRST_SHOWN, len(picks))), *bars, *rest]))
    turns = np.empty(len(picks))
    turns[order] = np.arange(len(order)) / share
    for label in worst if pool.side == "errors" else ():
        turns[[number for number in bars if picks[number].label == label][:1]] = -1
    return turns


# ---- which ---------------------------------------------------------------------------------------


def _pools(diagnoses: Sequence[Diagnosis]) -> Iterator[Pool]:
    outcomes = [diagnosis.fates for diagnosis in diagnoses]
    listed = _listed_confusions(diagnoses)
    for detector, diagnosis in enumerate(diagnoses):
        yield from _errors(diagnosis, detector, listed)
        yield from _missed(diagnosis, detector, outcomes[detector])
    about = diagnoses, outcomes, [diagnosis.deciding_detections for diagnosis in diagnoses]
    for a, b in itertools.combinations(range(len(diagnoses)), 2):
        if a == 0 or len(diagnoses) <= MAX_DETECTORS_IN_PAIRS:
            asked, right, other = outcomes[a] >= 0, outcomes[a] == CORRECT, outcomes[b] == CORRECT
            yield _disagreements(*about, "only", a, b, asked & right & ~other)
            yield _disagreements(*about, "only", b, a, asked & other & ~right)
            yield _disagreements(*about, "neither", b, a, asked & ~right & ~other)


def _totals(
    labels: NDArray[np.int64], kinds: NDArray[np.integer[Any]], names: Sequence[tuple[str, str]]
) -> list[tuple[int, str, str, int]]:
    """How many there are of each class and kind."""
    keys, numbers = np.unique(labels * len(names) + kinds, return_counts=True)
    return [
        (key // len(names), *names[key % len(names)], number)
        for key, number in zip(keys.tolist(), numbers.tolist(), strict=True)
    ]


def _errors(diagnosis: Diagnosis, detector: int, listed: NDArray[np.bool_]) -> Iterator[Pool]:
    """The errors among the detections counted; and those beyond, of the confusion matrix and of TIDE."""
    detections, truth, found = diagnosis.detections, diagnosis.truth, diagnosis.referenced_objects
    counted, partners = diagnosis.breakdown.counted_types, diagnosis.confusion.partners
    labels, classes, tide = detections.labels, len(truth.classes), diagnosis.tide.types.astype(np.int64)
    there = np.full(len(labels), NONE)  # row of the matrix in which an error counts
    there[partners == ON_BACKGROUND] = classes
    there[partners >= 0] = truth.labels[partners[partners >= 0]]
    # A correct detection may overlap an object of another class more: the matrix pairs it with that one.
    there[(there == labels) | ((there == classes) & (found.types == CORRECT))] = NONE
    of_matrix = np.append(matrix_classes(diagnosis), classes)
    wanted = np.pad(listed, ((0, 1), (0, 1)))
    wanted[np.ix_(of_matrix, of_matrix)] = True
    cells = np.where((there >= 0) & wanted[there, labels], there * classes + labels, NONE)
    often = np.argsort(-np.bincount(cells[cells >= 0]), kind="stable")[:TOP_CONFUSIONS]
    top_cells = np.where(np.isin(cells, often), cells, NONE)
    bars = np.where(counted > CORRECT, labels * len(ERROR_NAMES) + counted, NONE)

    def make(row: int) -> Pick:
        kind, label, object_row = int(found.types[row]), int(labels[row]), int(found.object_rows[row])
        overlap = float(found.overlaps[row])
        if kind == BACKGROUND or object_row == NONE:
            object_row = NONE
            words = f"IoU below {BACKGROUND_IOU:g} with any object" if overlap > 0 else "touches no object"
        elif label == truth.labels[object_row]:
            words = f"IoU {overlap:.2f}" + (", but found before" if found.duplicate[row] else "")
        else:
            words = f"truth: {truth.classes[truth.labels[object_row]]}, IoU {overlap:.2f}"
        objects = [object_row] if object_row != NONE else []
        if there[row] >= 0 and partners[row] not in (ON_BACKGROUND, object_row):
            objects.append(also := int(partners[row]))
            other = float(_overlaps(diagnosis, [row], also)[0])
            words += f"; in the confusion matrix: {truth.classes[truth.labels[also]]}, IoU {other:.2f}"
        if counted[row] < 0:
            words += ", not counted"
        image, name = int(detections.image_index[row]), ERROR_NAMES[kind]
        cell = int(there[row]), max(int(tide[row]), NONE)
        return Pick(image, label, name, "", objects, [(detector, row)], words, *cell)

    order = diagnosis.matching.order  # by class; of equal scores the first in the file is ranked higher
    order = order[np.argsort(-detections.scores[order], kind="stable")]
    names = [(name, "") for name in ERROR_NAMES]
    for beyond in (False, True):
        chosen = (bars < 0) & ((tide >= 0) | (there >= 0)) if beyond else bars >= 0
        rows = order[chosen[order]]
        groups = (bars[rows], True), (top_cells[rows], True), (cells[rows], False), (tide[rows], True)
        totals = [] if beyond else _totals(labels[rows], counted[rows], names)
        yield Pool("errors", detector, NONE, beyond, rows, detections.scores[rows], groups, totals, make)


def _listed_confusions(diagnoses: Sequence[Diagnosis]) -> NDArray[np.bool_]:
    """``(C, C)`` what the page lists of some class, of any of the detectors or of all together."""
    counts = np.stack([diagnosis.confusion.counts[:-1, :-1] for diagnosis in diagnoses])
    counts *= ~np.eye(counts.shape[1], dtype=bool)
    listed = np.zeros(counts.shape[1:], dtype=bool)
    for of in (*counts, counts.sum(axis=0)):
        rows, columns = np.nonzero(of)  # in the page's order, for ties
        label, cell = np.concatenate([rows, columns]), np.tile(np.arange(len(rows)), 2)
        order = np.lexsort((cell, -of[rows, columns][cell], label))
        first = cell[first_of_each(order, label[order], CLASS_CONFUSIONS)]
        listed[rows[first], columns[first]] = True
    return listed


def _overlaps(diagnosis: Diagnosis, rows: Sequence[int] | NDArray[np.int64], object_row: int) -> Any:
    """``(R,)`` IoU of detections, clipped to the image, with an object in it."""
    truth = diagnosis.truth
    wanted = truth.boxes[object_row]
    boxes = clip(diagnosis.detections.boxes[rows], truth.sizes[truth.image_index[object_row]])
    common = intersection(boxes, wanted)
    return common / (area(boxes) + area(wanted) - common)


def _part_of_image(truth: GroundTruth, rows: NDArray[np.int64]) -> NDArray[np.float64]:
    """The area of objects as a share of their image."""
    sizes = np.prod(truth.sizes[truth.image_index[rows]], axis=1)
    return np.asarray(area(truth.boxes[rows]) / sizes)


def _missed(diagnosis: Diagnosis, detector: int, outcomes: NDArray[np.int8]) -> Iterator[Pool]:
    """The objects that no counted detection speaks for; and those beyond that are not found in the confusion
    matrix, or missed by TIDE."""
    truth, confusion, classes = diagnosis.truth, diagnosis.confusion, len(diagnosis.truth.classes)
    alone = outcomes >= 0
    alone[confusion.partners[confusion.partners >= 0]] = False
    tide = np.where(diagnosis.tide.missed, MISS, NONE)
    by_image = np.argsort(diagnosis.detections.image_index, kind="stable")
    ends = np.searchsorted(diagnosis.detections.image_index[by_image], np.arange(len(truth.images) + 1))

    def make(row: int) -> Pick:
        image, name = int(truth.image_index[row]), FATES[outcomes[row]].name
        nearest, words = _nearest(diagnosis, row, np.sort(by_image[ends[image] : ends[image + 1]]))
        if outcomes[row] != MISSED and alone[row]:
            words = f"not found at scores of {score_text(confusion.score)} and more; below: {name}"
        elif outcomes[row] != MISSED:
            words = f"missed by TIDE's rules; by those of the shares: {name}"
        boxes = [(detector, nearest)] if nearest != NONE else []
        cell = classes if alone[row] else NONE, int(tide[row])
        return Pick(image, int(truth.labels[row]), name, "", [row], boxes, words, *cell)

    for beyond in (False, True):
        chosen = outcomes == MISSED
        if beyond:
            chosen = ~chosen & (outcomes >= 0) & (alone | (tide >= 0))
        rows = np.flatnonzero(chosen)
        sizes = _part_of_image(truth, rows)
        order = np.argsort(-sizes, kind="stable")
        rows, sizes = rows[order], sizes[order]
        of = truth.labels[rows]
        groups = (np.where(alone[rows], of, NONE), False), (tide[rows], True)
        totals = [] if beyond else _totals(of, np.zeros_like(of), [(FATES[MISSED].name, "")])
        of_class = () if beyond else ((of, True),)
        yield Pool("missed", detector, NONE, beyond, rows, sizes, (*of_class, *groups), totals, make)


def score_text(score: float) -> str:
    """A score as the page writes it.

    Examples
    --------
    >>> score_text(0.4), score_text(0.625), score_text(0.00312), score_text(0.0)
    ('0.40', '0.62', '0.003', '0.00')
    """
    return f"{score:.2f}" if score == 0 or abs(score) >= 0.005 else f"{score:.1g}"


def _nearest(diagnosis: Diagnosis, row: int, here: NDArray[np.int64]) -> tuple[int, str]:
    """The detection, of those `here` in its image, that overlaps an object most, or :data:`NONE`; and what
    became of it."""
    truth, detections = diagnosis.truth, diagnosis.detections
    overlaps = _overlaps(diagnosis, here, row)
    most = float(overlaps.max(initial=0.0))
    if not most >= BACKGROUND_IOU:
        words = f"IoU below {BACKGROUND_IOU:g} with any detection" if most > 0 else "no detection touches it"
        return NONE, words
    found = int(here[int(overlaps.argmax())])
    name, score = truth.classes[detections.labels[found]], detections.scores[found]
    counted = diagnosis.breakdown.counted_types[found] >= 0
    kind = ERROR_NAMES[diagnosis.referenced_objects.types[found]]
    fate = f"counted for another object ({kind})" if counted else "not counted"
    return found, f"nearest: {name} {score_text(score)}, IoU {most:.2f}, {fate}"


def _disagreements(
    diagnoses: Sequence[Diagnosis],
    outcomes: Sequence[NDArray[np.int8]],
    deciding: Sequence[NDArray[np.int64]],
    side: str,
    detector: int,
    versus: int,
    mask: NDArray[np.bool_],
) -> Pool:
    """Objects that `detector` alone finds, or that neither finds, the most confident first; without a
    detection the largest."""
    truth, neither = diagnoses[0].truth, side == "neither"
    rows = np.flatnonzero(mask)
    scores = np.zeros(len(truth))
    for one in (versus, detector) if neither else (detector,):
        spoken = deciding[one] >= 0
        own = diagnoses[one].detections.scores[deciding[one][spoken]]
        scores[spoken] = np.maximum(scores[spoken], own) if neither else own
    rows = rows[np.lexsort((-_part_of_image(truth, rows), -scores[rows]))]
    kinds = outcomes[detector if neither else versus]
    fate = kinds[rows].astype(np.int64) * len(FATES) + (outcomes[versus][rows] if neither else 0)
    names = [(kind.name, before.name if neither else "") for kind in FATES for before in FATES]

    def make(row: int) -> Pick:
        boxes = [(one, int(deciding[one][row])) for one in (versus, detector) if deciding[one][row] != NONE]
        before = FATES[outcomes[versus][row]].name if neither else ""
        image, label = int(truth.image_index[row]), int(truth.labels[row])
        return Pick(image, label, FATES[kinds[row]].name, before, [row], boxes, "")

    groups = (fate, True), (truth.labels[rows] * len(FATES) ** 2 + fate, False)
    totals = _totals(truth.labels[rows], fate, names)
    return Pool(side, detector, versus, False, rows, scores[rows], groups, totals, make)


# ---- pictures ------------------------------------------------------------------------------------


def _photographs(
    diagnoses: Sequence[Diagnosis], picks: Sequence[Pick], order: Sequence[int], limits: Gallery
) -> tuple[dict[int, tuple[str, NDArray[np.float64]]], list[str]]:
    """The photographs of examples, with the part of the image that each shows; and why some are not there.

    They are given in `order`; one serves all examples of its image that it is not too wide for.
    """
    truth = diagnoses[0].truth
    parts: list[NDArray[np.float64]] = []
    of_image: dict[int, list[int]] = {}
    part_of: dict[int, int] = {}
    for number in order if truth.files else ():
        image = picks[number].image
        part = part_around(_boxes(diagnoses, picks[number]), truth.sizes[image].astype(np.float64))
        for place in of_image.get(image, ()):
            other = parts[place]
            holds = (other[:2] <= part[:2]).all() and (other[2:] >= part[2:]).all()
            if holds and area(other) <= SHARED_PART * area(part):
                part_of[number] = place
                break
        else:
            if len(parts) < limits.total:
                part_of[number] = len(parts)
                of_image.setdefault(image, []).append(len(parts))
                parts.append(part)

    def read(image: int) -> tuple[list[str], str]:
        """The parts of a photograph, encoded; and why it is absent, damaged or of another size."""
        try:
            pixels = read_picture(truth, image)
        except InputError as error:
            reason = error.found if Path(truth.files[image]).is_file() else "no such file"
            return [""] * len(of_image[image]), f"{truth.images[image]}: {reason}"
        return [_encode(pixels, parts[place], limits) for place in of_image[image]], ""

    encoded = [""] * len(parts)
    unread = []
    with ThreadPoolExecutor(usable_cores()) as pool:  # reading, scaling and encoding leave Python's lock free
        for image, (texts, reason) in zip(sorted(of_image), pool.map(read, sorted(of_image)), strict=True):
            for place, text in zip(of_image[image], texts, strict=True):
                encoded[place] = text
            unread += [reason] if reason else []
    room = np.searchsorted(np.cumsum([len(one) for one in encoded]), 1e6 * limits.megabytes, side="right")
    return {
        number: (encoded[place], parts[place])
        for number, place in part_of.items()
        if place < room and encoded[place]
    }, unread


def _boxes(diagnoses: Sequence[Diagnosis], pick: Pick) -> NDArray[np.float64]:
    """``(K, 4)`` the objects in question, then the detections, cut off at the border."""
    truth = diagnoses[0].truth
    found = [diagnoses[one].detections.boxes[row] for one, row in pick.detections]
    clipped = clip(np.reshape(found, (-1, 4)), truth.sizes[pick.image])
    return np.concatenate([truth.boxes[pick.objects], clipped])


def _record(
    diagnoses: Sequence[Diagnosis], pick: Pick, part: NDArray[np.float64] | None, pixels: int, beside: bool
) -> dict[str, Any]:
    """What the page reads of an example. Frames are left, top, width, height, what it is, class, score and
    detector; the objects in question and the detections come last, objects `beside` them first.

    Without a `part` of a photograph the whole image is shown, in whole numbers.
    """
    truth = diagnoses[0].truth
    digits = None if part is None else 1
    shown = np.array([0.0, 0.0, *truth.sizes[pick.image]]) if part is None else part
    x, y, right, bottom = shown.tolist()
    scale = (pixels if digits else OUTLINE_SIDE) / max(right - x, bottom - y)

    def frame(box: NDArray[np.float64], what: str, label: int, *more: float) -> list[Any]:
        left, top, end, foot = box.tolist()
        sides = left - x, top - y, end - left, foot - top
        return [*(round(scale * side, digits) for side in sides), what, int(label), *more]

    frames = []
    if beside:
        here = np.flatnonzero(truth.image_index == pick.image)
        reach = np.minimum(truth.boxes[here, 2:], shown[2:]) - np.maximum(truth.boxes[here, :2], shown[:2])
        here = here[(reach > 0).all(axis=1) & ~np.isin(here, pick.objects)]
        for row in largest_first(truth, here)[:MAX_OTHER_OBJECTS]:
            what = "ignored" if diagnoses[0].matching.ignored[row] else "beside"
            frames.append(frame(truth.boxes[row], what, truth.labels[row]))
    boxes = _boxes(diagnoses, pick)
    for row, box in zip(pick.objects, boxes, strict=False):
        frames.append(frame(box, "wanted", truth.labels[row]))
    for (one, row), box in zip(pick.detections, boxes[len(pick.objects) :], strict=True):
        found = diagnoses[one].detections
        frames.append(frame(box, "found", found.labels[row], float(found.scores[row]), one))
    size = [round(scale * side, digits) for side in (right - x, bottom - y)]
    return pick._asdict() | {"image": truth.images[pick.image], "size": size, "frames": frames}


def part_around(boxes: ArrayLike, size: NDArray[np.float64]) -> NDArray[np.float64]:
    """``(4,)`` xyxy of the part of an image that shows `boxes` with a margin, in whole pixels.

    Examples
    --------
    >>> part_around([np.array([40.0, 40, 60, 60])], np.array([500.0, 375])).tolist()
    [23.0, 30.0, 77.0, 70.0]
    >>> part_around([np.array([0.0, 0, 500, 375])], np.array([500.0, 375])).tolist()
    [0.0, 0.0, 500.0, 375.0]
    """
    corners = np.asarray(boxes, dtype=np.float64)
    low, high = corners[:, :2].min(axis=0), corners[:, 2:].max(axis=0)
    extent = np.maximum(high - low + 2 * MARGIN * float((high - low).max()), SMALLEST_SIDE_PIXELS)
    extent = np.maximum(extent, [extent[1] * LANDSCAPE, extent[0] / LANDSCAPE])
    extent = np.minimum(extent, size)
    start = np.clip((low + high) / 2 - extent / 2, 0, size - extent)
    return np.concatenate([np.floor(start), np.minimum(np.ceil(start + extent), size)])


def _encode(pixels: NDArray[np.uint8], part: NDArray[np.float64], limits: Gallery) -> str:
    """The part of a photograph as a ``data:`` address of a JPEG, at most ``limits.pixels`` long.

    The same pixels give the same text: nothing but the picture is in it.
    """
    left, top, right, bottom = part.astype(int).tolist()
    picture = Image.fromarray(pixels[top:bottom, left:right])
    picture.thumbnail((limits.pixels, limits.pixels), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=limits.quality)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")
