"""Examples for the page: errors, missed objects, and objects on which two detectors disagree, with pictures.

Where there is no photograph the boxes are drawn on an empty ground of the image's shape.
"""

from __future__ import annotations

import base64
import io
import itertools
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from data.boxes import area, clip, intersection
from data.formats.processes import usable_cores
from data.records import GroundTruth, InputError
from diagnosis.breakdown import BACKGROUND, BACKGROUND_IOU, CORRECT, ERROR_TYPES, NONE
from diagnosis.confusion import ON_BACKGROUND
from diagnosis.flow import FATES, MISSED, deciding_detections, fates
from diagnosis.photographs import read_picture
from diagnosis.record import Diagnosis
from diagnosis.words import worst_classes
from diagnosis.worst_cases import first_of_each, largest_first

__all__ = ["CLASS_CONFUSIONS", "Examples", "Gallery", "collect", "matrix_classes", "part_around"]

MAX_OTHER_OBJECTS = 15
"""Drawn in one picture."""
MARGIN = 0.2
"""Around the boxes, of their longer side."""
SMALLEST_SIDE_PIXELS = 40.0
"""Of a part of an image."""
LANDSCAPE = 4 / 3
"""Shape that a part is widened to, as far as the image reaches."""
TOP_CONFUSIONS, EACH_CONFUSION = 30, 3
"""How many of the most frequent cells of the confusion matrix have several pictures, and how many each."""
MATRIX_CLASSES = 30
"""How many classes the page's matrix has, as long as no other is searched for: those with most confusions."""
CLASS_CONFUSIONS = 6
"""How many confusions the page lists of a class."""
BACKGROUND_WEIGHT = 0.001
"""Of what is not found or on background, where classes are ranked by their confusions."""
MOST_OUTLINES = 5_000
"""Examples, at most, that have no place for a photograph."""
SHARES = {"errors": 0.5, "missed": 0.2, "only": 0.2, "neither": 0.1}
"""Of the places, by side, as long as all sides fill theirs: false positives, missed objects, objects that
only one detector of a pair finds, objects that neither finds."""
MAX_DETECTORS_IN_PAIRS = 4
"""With more detectors each is paired with the first alone."""


@dataclass(frozen=True)
class Gallery:
    """How many examples the page may hold.

    Parameters
    ----------
    each
        Examples, at most, of each side, detector, class and error type.
    total
        Examples, at most, in all, but for those that alone stand behind a bar, a cell or a ribbon of the
        page: beyond the `total` and the `megabytes` these have no photograph. 0: none at all.
    pixels
        Longest side of a part of a photograph.
    quality
        Of the JPEG pictures, from 1 to 95.
    megabytes
        Of all photographs, as they are in the page (1 MB: a million bytes).
    """

    each: int = 4
    total: int = 480
    pixels: int = 300
    quality: int = 75
    megabytes: float = 9.0


Mark = tuple[str | int, ...]
"""A bar, a cell of the confusion matrix or a ribbon that leads to examples."""


class Pick(NamedTuple):
    """An example before its picture is made.

    `side` is a key of :data:`SHARES`; `detector` is the one in question: of a pair, the one that has found
    the object, or the second of the two that have not. `kind` is the error type, or the fate of the object
    under the detector that has not found it; `before` its fate under the first, where neither has.
    `detections` are pairs of a detector and a row; `cell` is the row of the confusion matrix in which the
    error counts, C for background, and C also of an object that the matrix has as not found; else
    :data:`NONE`. `marks` are those of the page that lead to the example, and how many cases each stands for.
    """

    side: str
    detector: int
    versus: int
    label: int
    kind: str
    before: str
    object_row: int
    detections: tuple[tuple[int, int], ...]
    score: float
    words: str
    cell: int = NONE
    marks: tuple[tuple[Mark, int], ...] = ()


class Examples(NamedTuple):
    """What the gallery shows, as plain records; how many such cases there are in all, by side, detector and
    other detector; and why photographs could not be read.
    """

    shown: list[dict[str, Any]]
    totals: list[tuple[str, int, int, int]]
    unread: list[str]


def collect(diagnoses: Sequence[Diagnosis], limits: Gallery) -> Examples:
    """The examples of all detectors; of each side, every detector or pair has the same share of the places.

    Each bar, cell and ribbon of the page has an example before any has a second one.
    """
    deciding = [deciding_detections(diagnosis) for diagnosis in diagnoses]
    outcomes = [fates(diagnosis) for diagnosis in diagnoses]
    several = len(diagnoses) <= MAX_DETECTORS_IN_PAIRS
    pairs = [pair for pair in itertools.combinations(range(len(diagnoses)), 2) if several or pair[0] == 0]
    found: list[tuple[float, list[Pick]]] = []
    totals = []
    listed = _listed_confusions(diagnoses)
    for detector, diagnosis in enumerate(diagnoses):
        totals.append(("errors", detector, NONE, int((diagnosis.breakdown.counted_types > CORRECT).sum())))
        totals.append(("missed", detector, NONE, int((outcomes[detector] == MISSED).sum())))
        found.append((SHARES["errors"] / len(diagnoses), _errors(diagnosis, detector, limits, listed)))
        missed = _missed(diagnosis, detector, outcomes[detector], limits.each)
        found.append((SHARES["missed"] / len(diagnoses), missed))
    for a, b in pairs:
        right = [outcomes[a] == CORRECT, outcomes[b] == CORRECT]
        asked = outcomes[a] >= 0
        for side, detector, versus, mask in (
            ("only", a, b, asked & right[0] & ~right[1]),
            ("only", b, a, asked & right[1] & ~right[0]),
            ("neither", b, a, asked & ~right[0] & ~right[1]),
        ):
            totals.append((side, detector, versus, int(mask.sum())))
            picks = list(
                _disagreements(diagnoses, outcomes, deciding, side, detector, versus, mask, limits.each)
            )
            found.append((SHARES[side] / len(pairs) / (2 if side == "only" else 1), picks))
    worst = worst_classes(*diagnoses)  # the first screen shows an example of each
    ranked = [
        place for share, picks in found for place in _ranked(picks, worst, max(share * limits.total, 1e-9))
    ]
    ranked.sort(key=lambda place: place[:2])
    drawn = ranked[: limits.total]
    shown, unread = _draw(diagnoses, [pick for *_, pick in drawn], limits)
    total = np.cumsum([len(one["photo"]) for one in shown])
    kept = int(np.searchsorted(total, 1e6 * limits.megabytes, side="right"))
    outlines = [pick for _, _, needed, pick in ranked[kept:] if needed][: MOST_OUTLINES * (limits.total > 0)]
    without, _ = _draw(diagnoses, outlines, limits, photographs=False)
    return Examples([*shown[:kept], *without], totals, unread)


def matrix_classes(diagnosis: Diagnosis) -> NDArray[np.int64]:
    """The classes that the page's confusion matrix has, in their order: those with the most confusions."""
    wrong = diagnosis.confusion.counts * (1 - np.eye(len(diagnosis.truth.classes) + 1))
    wrong[-1] *= BACKGROUND_WEIGHT
    wrong[:, -1] *= BACKGROUND_WEIGHT
    number = (wrong.sum(axis=0) + wrong.sum(axis=1))[:-1]
    return np.sort(np.argsort(-number, kind="stable")[:MATRIX_CLASSES])


def _ranked(
    picks: Sequence[Pick], worst: Sequence[int], places: float
) -> list[tuple[bool, float, bool, Pick]]:
    """All picks, each with whether it can wait, with the share of the `places` that is taken before it, and
    with whether a mark needs it.

    First come the longest bars of the `worst` classes, then the marks that stand for most cases. Then
    the first of each class and type, the second, and so on, the most confident first. What can wait is needed
    by no mark, and beyond half of the places: the other half is lent to marks of any side.
    """
    size: dict[Mark, int] = {}
    first: dict[Mark, int] = {}
    for number, pick in enumerate(picks):
        for mark, cases in pick.marks:
            size[mark] = max(size.get(mark, 0), cases)
            first.setdefault(mark, number)
    shown: set[Mark] = set()
    chosen: dict[int, bool] = {}
    often = sorted(first, key=lambda mark: -size[mark])
    of_worst = {mark[1]: mark for mark in reversed(often) if mark[0] == "bar" and mark[1] in worst}
    for mark in [*of_worst.values(), *often]:
        if mark not in shown:
            chosen[first[mark]] = False
            shown.update(one for one, _ in picks[first[mark]].marks)
    place: dict[tuple[int, str, str], int] = {}
    rest = []
    for number, pick in enumerate(picks):
        group = pick.label, pick.kind, pick.before
        place[group] = place.get(group, -1) + 1
        rest.append((place[group], -pick.score, number))
    chosen.update({number: True for *_, number in sorted(rest) if number not in chosen})
    taken = [(number / places, place) for number, place in enumerate(chosen)]
    return [
        (chosen[place] and before >= 0.5, before, not chosen[place], picks[place]) for before, place in taken
    ]


# ---- which ---------------------------------------------------------------------------------------


def _errors(diagnosis: Diagnosis, detector: int, limits: Gallery, listed: NDArray[np.bool_]) -> list[Pick]:
    """The most confident errors of each class and type among those counted, and of each cell of the confusion
    matrix, counted or not."""
    detections, truth, found = diagnosis.detections, diagnosis.truth, diagnosis.referenced_objects
    order, counted, labels = diagnosis.matching.order, diagnosis.breakdown.counted_types, detections.labels
    cases, matrix = diagnosis.breakdown.counts, diagnosis.confusion.counts
    rows = order[counted[order] > CORRECT]
    rows = first_of_each(rows, labels[rows] * len(ERROR_TYPES) + counted[rows], limits.each)
    of_cells = _of_cells(diagnosis, limits, listed)
    behind = dict.fromkeys([*zip(rows.tolist(), found.object_rows[rows].tolist(), strict=True), *of_cells])
    partners, classes = diagnosis.confusion.partners, len(truth.classes)

    def cell_of(row: int, object_row: int) -> int:
        if partners[row] == ON_BACKGROUND:
            return classes
        return int(truth.labels[object_row]) if partners[row] == object_row != NONE else NONE

    cells = {(cell_of(row, object_row), int(labels[row])) for row, object_row in of_cells}
    made = []
    for row, object_row in behind:
        kind, label, cell = int(found.types[row]), int(labels[row]), cell_of(row, object_row)
        own = object_row in (NONE, int(found.object_rows[row]))
        overlap = float(found.overlaps[row]) if own else float(_overlaps(diagnosis, [row], object_row)[0])
        if own and (kind == BACKGROUND or object_row == NONE):
            object_row = NONE
            words = f"IoU below {BACKGROUND_IOU:g} with any object" if overlap > 0 else "touches no object"
        elif label == truth.labels[object_row]:
            words = f"IoU {overlap:.2f}" + (", but found before" if found.duplicate[row] else "")
        else:
            words = f"truth: {truth.classes[truth.labels[object_row]]}, IoU {overlap:.2f}"
        score, name = float(detections.scores[row]), ERROR_TYPES[kind].name
        marks: list[tuple[Mark, int]] = []
        if kind == CORRECT:
            words += f"; it finds a {truth.classes[label]} as well"
        else:
            marks.append((("bar", label, name), int(cases[label, kind])))
        if counted[row] < 0:
            words += ", not counted"
        if (cell, label) in cells:
            marks.append((("cell", cell, label), int(matrix[cell, label])))
        pair, about = ((detector, row),), (cell, tuple(marks))
        made.append(Pick("errors", detector, NONE, label, name, "", object_row, pair, score, words, *about))
    return sorted(made, key=lambda pick: -pick.score)


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


def _of_cells(diagnosis: Diagnosis, limits: Gallery, listed: NDArray[np.bool_]) -> list[tuple[int, int]]:
    """The most confident false positives in each cell of the confusion matrix that the page shows or lists,
    and the objects that they were taken for; of what lies on background, first background errors."""
    truth, found, partners = diagnosis.truth, diagnosis.referenced_objects, diagnosis.confusion.partners
    labels, order, classes = diagnosis.detections.labels, diagnosis.matching.order, len(truth.classes)
    # A correct detection may overlap an object of another class more: the matrix pairs it with that one.
    error = (found.types[order] > CORRECT) | (partners[order] >= 0)
    rows = order[(partners[order] >= ON_BACKGROUND) & error]
    alone = partners[rows] == ON_BACKGROUND
    there = np.full(len(rows), classes)
    there[~alone] = truth.labels[partners[rows[~alone]]]
    of_matrix = np.append(matrix_classes(diagnosis), classes)
    wanted = np.pad(listed, ((0, 1), (0, 1)))
    wanted[np.ix_(of_matrix, of_matrix)] = True
    keep = (there != labels[rows]) & wanted[there, labels[rows]]
    rows, there = rows[keep], there[keep]
    types = found.types[rows]
    last = (types == CORRECT) | ((there == classes) & (types != BACKGROUND))
    first = np.argsort(last, kind="stable")
    rows, cells = rows[first], (there * classes + labels[rows])[first]
    numbers, cases = np.unique(cells, return_counts=True)
    top = np.isin(cells, numbers[np.argsort(-cases, kind="stable")[:TOP_CONFUSIONS]])
    chosen = np.concatenate(
        [
            first_of_each(rows[top], cells[top], min(limits.each, EACH_CONFUSION)),
            first_of_each(rows[~top], cells[~top], min(limits.each, 1)),
        ]
    )
    objects = np.where(partners[chosen] == ON_BACKGROUND, found.object_rows[chosen], partners[chosen])
    return list(zip(chosen.tolist(), objects.tolist(), strict=True))


def _overlaps(diagnosis: Diagnosis, rows: Sequence[int] | NDArray[np.int64], object_row: int) -> Any:
    """``(R,)`` IoU of detections, clipped to the image, with an object in it."""
    truth = diagnosis.truth
    wanted = truth.boxes[object_row]
    boxes = clip(diagnosis.detections.boxes[rows], truth.sizes[truth.image_index[object_row]])
    common = intersection(boxes, wanted)
    return common / (area(boxes) + area(wanted) - common)


def _missed(diagnosis: Diagnosis, detector: int, outcomes: NDArray[np.int8], each: int) -> list[Pick]:
    """The largest objects of each class that no counted detection speaks for; and, where none of these is
    not found in the confusion matrix, the largest that is."""
    truth, confusion, classes = diagnosis.truth, diagnosis.confusion, len(diagnosis.truth.classes)
    missed = largest_first(truth, np.flatnonzero(outcomes == MISSED))
    number = np.bincount(truth.labels[missed], minlength=classes)
    missed = first_of_each(missed, truth.labels[missed], each)
    alone = outcomes >= 0
    alone[confusion.partners[confusion.partners >= 0]] = False
    others = largest_first(truth, np.flatnonzero(alone))
    others = others[~np.isin(truth.labels[others], truth.labels[missed[alone[missed]]])]
    others = first_of_each(others, truth.labels[others], min(each, 1))
    made = []
    for row in np.concatenate([missed, others]).tolist():
        pick, fate, label = _missed_pick(diagnosis, detector, row), int(outcomes[row]), int(truth.labels[row])
        if fate != MISSED:
            score, name = score_text(confusion.score), FATES[fate].name
            pick = pick._replace(kind=name, words=f"not found at scores of {score} and more; below: {name}")
        marks: list[tuple[Mark, int]] = [(("missed", label), int(number[label]))] * (fate == MISSED)
        marks += [(("cell", label, classes), int(confusion.counts[label, -1]))] * bool(alone[row])
        made.append(pick._replace(cell=classes if alone[row] else NONE, marks=tuple(marks)))
    return made


def score_text(score: float) -> str:
    """A score as the page writes it.

    Examples
    --------
    >>> score_text(0.4), score_text(0.625), score_text(0.00312), score_text(0.0)
    ('0.40', '0.62', '0.003', '0.00')
    """
    return f"{score:.2f}" if score == 0 or abs(score) >= 0.005 else f"{score:.1g}"


def _missed_pick(diagnosis: Diagnosis, detector: int, row: int) -> Pick:
    """A missed object, and the detection that overlaps it most."""
    truth, detections = diagnosis.truth, diagnosis.detections
    here = np.flatnonzero(detections.image_index == truth.image_index[row])
    overlaps = _overlaps(diagnosis, here, row)
    nearest: tuple[tuple[int, int], ...] = ()
    words = "no detection overlaps it"
    if len(here) and (best := int(overlaps.argmax())) >= 0 and overlaps[best] >= BACKGROUND_IOU:
        found = int(here[best])
        nearest = ((detector, found),)
        name, score = truth.classes[detections.labels[found]], detections.scores[found]
        counted = diagnosis.breakdown.counted_types[found] >= 0
        kind = ERROR_TYPES[diagnosis.referenced_objects.types[found]].name
        fate = f"counted for another object ({kind})" if counted else "not counted"
        words = f"nearest: {name} {score_text(score)}, IoU {overlaps[best]:.2f}, {fate}"
    size = float(area(truth.boxes[row]) / np.prod(truth.sizes[truth.image_index[row]]))
    label = int(truth.labels[row])
    return Pick("missed", detector, NONE, label, FATES[MISSED].name, "", row, nearest, size, words)


def _disagreements(
    diagnoses: Sequence[Diagnosis],
    outcomes: Sequence[NDArray[np.int8]],
    deciding: Sequence[NDArray[np.int64]],
    side: str,
    detector: int,
    versus: int,
    mask: NDArray[np.bool_],
    each: int,
) -> Iterator[Pick]:
    """Objects that `detector` alone finds, the most confident first; or that neither finds, the largest."""
    truth = diagnoses[0].truth
    loser = versus if side == "only" else detector
    fate = outcomes[loser].astype(np.int64) * len(FATES) + (outcomes[versus] if side == "neither" else 0)
    rows = np.flatnonzero(mask)
    if side == "only":
        confidence = diagnoses[detector].detections.scores[deciding[detector][rows]]
        rows = rows[np.argsort(-confidence, kind="stable")]
    else:
        rows = largest_first(truth, rows)
    cases = np.bincount(fate[mask], minlength=len(FATES) ** 2)
    for row in first_of_each(rows, truth.labels[rows] * len(FATES) ** 2 + fate[rows], each).tolist():
        speaking = [(one, int(deciding[one][row])) for one in (versus, detector)]
        boxes = tuple((one, best) for one, best in speaking if best != NONE)
        scores = [float(diagnoses[one].detections.scores[best]) for one, best in boxes]
        kind = FATES[outcomes[loser][row]].name
        before = FATES[outcomes[versus][row]].name if side == "neither" else ""
        yield Pick(
            side,
            detector,
            versus,
            int(truth.labels[row]),
            kind,
            before,
            row,
            boxes,
            max(scores, default=0.0),
            "",
            marks=((("ribbon", kind, before), int(cases[fate[row]])),),
        )


# ---- pictures ------------------------------------------------------------------------------------


def _draw(
    diagnoses: Sequence[Diagnosis], picks: Sequence[Pick], limits: Gallery, photographs: bool = True
) -> tuple[list[dict[str, Any]], list[str]]:
    """The records of all examples, in their order; and why photographs could not be read."""
    truth = diagnoses[0].truth
    by_image: dict[int, list[int]] = {}
    for number, pick in enumerate(picks):
        by_image.setdefault(_image_of(diagnoses, pick), []).append(number)

    def of_image(image: int) -> tuple[dict[int, dict[str, Any]], str]:
        pixels, reason = _photograph(truth, image) if photographs else (None, "")  # each is read once
        made = {
            number: _record(diagnoses, picks[number], image, pixels, limits, photographs)
            for number in by_image[image]
        }
        return made, f"{truth.images[image]}: {reason}" if reason else ""

    images = sorted(by_image)
    if truth.files and photographs:  # reading, scaling and encoding leave Python's lock free
        with ThreadPoolExecutor(usable_cores()) as pool:
            done = list(pool.map(of_image, images))
    else:
        done = list(map(of_image, images))
    records = {number: record for made, _ in done for number, record in made.items()}
    return [records[number] for number in range(len(picks))], [reason for _, reason in done if reason]


def _image_of(diagnoses: Sequence[Diagnosis], pick: Pick) -> int:
    if pick.object_row != NONE:
        return int(diagnoses[0].truth.image_index[pick.object_row])
    detector, row = pick.detections[0]
    return int(diagnoses[detector].detections.image_index[row])


def _record(
    diagnoses: Sequence[Diagnosis],
    pick: Pick,
    image: int,
    pixels: NDArray[np.uint8] | None,
    limits: Gallery,
    beside: bool,
) -> dict[str, Any]:
    """What the page reads of an example. Frames are left, top, width, height, what it is, class, score and
    detector; the object in question and the detections come last, objects `beside` them first.
    """
    truth = diagnoses[0].truth
    size = truth.sizes[image].astype(np.float64)
    boxes = [
        (np.clip(diagnoses[one].detections.boxes[row], 0, np.tile(size, 2)), one, row)
        for one, row in pick.detections
    ]
    wanted = [] if pick.object_row == NONE else [truth.boxes[pick.object_row]]
    part = np.append([0.0, 0.0], size)
    if pixels is not None:
        part = part_around([*wanted, *(box for box, _, _ in boxes)], size)
    scale = limits.pixels / float((part[2:] - part[:2]).max())

    def frame(box: NDArray[np.float64], what: str, label: int, *more: float) -> list[Any]:
        sides = [*(box[:2] - part[:2]) * scale, *(box[2:] - box[:2]) * scale]
        return [*(round(float(side), 1) for side in sides), what, label, *more]

    frames = []
    here = np.flatnonzero(truth.image_index == image) if beside else np.empty(0, dtype=np.int64)
    reach = np.minimum(truth.boxes[here, 2:], part[2:]) - np.maximum(truth.boxes[here, :2], part[:2])
    here = here[(reach > 0).all(axis=1) & (here != pick.object_row)]
    here = here[np.argsort(-area(truth.boxes[here]), kind="stable")][:MAX_OTHER_OBJECTS]
    for row in here.tolist():  # the largest first
        what = "ignored" if diagnoses[0].matching.ignored[row] else "beside"
        frames.append(frame(truth.boxes[row], what, int(truth.labels[row])))
    frames += [frame(box, "wanted", int(truth.labels[pick.object_row])) for box in wanted]
    for box, one, row in boxes:
        found = diagnoses[one].detections
        frames.append(frame(box, "found", int(found.labels[row]), float(found.scores[row]), one))
    return {
        "side": pick.side,
        "detector": pick.detector,
        "versus": pick.versus,
        "label": pick.label,
        "kind": pick.kind,
        "before": pick.before,
        "cell": pick.cell,
        "truth": NONE if pick.object_row == NONE else int(truth.labels[pick.object_row]),
        "score": pick.score,
        "words": pick.words,
        "image": truth.images[image],
        "size": [round(float(side), 1) for side in (part[2:] - part[:2]) * scale],
        "photo": "" if pixels is None else _encode(pixels, part, limits),
        "frames": frames,
    }


def _photograph(truth: GroundTruth, image: int) -> tuple[NDArray[np.uint8] | None, str]:
    """``(height, width, 3)`` pixels; or None and why: it is absent, damaged or of another size."""
    if not truth.files:
        return None, ""
    if not Path(truth.files[image]).is_file():
        return None, "no such file"
    try:
        return read_picture(truth, image), ""
    except InputError as error:
        return None, error.found


def part_around(boxes: Sequence[NDArray[np.float64]], size: NDArray[np.float64]) -> NDArray[np.float64]:
    """``(4,)`` xyxy of the part of an image that shows `boxes` with a margin, in whole pixels.

    Examples
    --------
    >>> part_around([np.array([40.0, 40, 60, 60])], np.array([500.0, 375])).tolist()
    [23.0, 30.0, 77.0, 70.0]
    >>> part_around([np.array([0.0, 0, 500, 375])], np.array([500.0, 375])).tolist()
    [0.0, 0.0, 500.0, 375.0]
    """
    corners = np.stack(boxes)
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
