"""Examples of one kind of error: the parts of the photographs around them."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.patheffects import withStroke
from numpy.typing import NDArray

from data.formats.names import hint
from data.records import InputError
from diagnosis.breakdown import ERROR_TYPES
from diagnosis.figures.examples import DASHES
from diagnosis.figures.layout import new_page
from diagnosis.figures.style import SMALL_POINTS, panel_grid, styled, text_colour_on, wrap, write_in_middle
from diagnosis.matching import whole_number
from diagnosis.photographs import read_picture
from diagnosis.record import Diagnosis

__all__ = ["MISSED", "draw_example", "gallery"]

MISSED = "missed"
COLUMNS, CELL_INCHES = 4, 2.1
CONTEXT = 0.35
"""Margin around the boxes, over their longer side."""
SMALLEST_SIDE_PIXELS = 32
NO_PHOTOGRAPH = np.full((1, 1, 3), 190, dtype=np.uint8)


@styled
def gallery(diagnosis: Diagnosis, kind: str = MISSED, n: int = 12) -> Figure:
    """Up to `n` examples of a kind: counted detections, the highest score first, or objects that are not
    found, the largest first.

    Parameters
    ----------
    diagnosis
        One detector. Where a photograph is not at hand its place is grey: of a COCO file give their folder,
        ``with_images(truth, "val2017")`` (:func:`diagnosis.options.with_images`) before ``diagnose``.
    kind
        ``missed``: objects without a correct detection, counted or not; or the name of one of
        :data:`diagnosis.breakdown.ERROR_TYPES`.
    n
        How many at most.

    Raises
    ------
    InputError
        An unknown kind, `n` below 1, or a photograph that is damaged or not of the annotated size.
    """
    kinds = {error_type.name: error_type for error_type in ERROR_TYPES}
    if kind != MISSED and kind not in kinds:
        expected = f"one of {', '.join([MISSED, *kinds])}{hint(kind, [MISSED, *kinds])}"
        raise InputError("kind", repr(kind), expected)
    n = whole_number("n", n)
    if kind == MISSED:
        rows = diagnosis.missed_objects
        title, things = f"Objects that {diagnosis.name} did not find", "objects not found"
    else:
        place = list(kinds).index(kind)
        rows = np.flatnonzero(diagnosis.breakdown.counted_types == place)
        rows = rows[np.argsort(-diagnosis.detections.scores[rows], kind="stable")]
        things = kinds[kind].subject
        title = f"{things[0].upper()}{things[1:]} of {diagnosis.name}"
    shown = rows[:n].tolist()
    order = "the largest first" if kind == MISSED else "the highest score first"
    images = diagnosis.truth.image_index if kind == MISSED else diagnosis.detections.image_index
    absent = any(not _photograph(diagnosis, image) for image in images[shown].tolist())
    figure = new_page(
        CELL_INCHES * min(max(len(shown), 2), COLUMNS),
        CELL_INCHES * max(math.ceil(len(shown) / COLUMNS), 1),
        title=title,
        note=f"{len(shown):,} of {len(rows):,}, {order}. Dashed: annotated objects."
        + (" Grey: the photograph is not at hand." if absent else ""),
    )
    if not shown:
        axes = figure.subplots()
        axes.set_axis_off()
        write_in_middle(axes, f"no {things}")
        return figure
    columns = min(len(shown), COLUMNS)
    for axes, row in zip(panel_grid(figure, len(shown), columns), shown, strict=True):
        axes.set_axis_off()
        draw_example(axes, diagnosis, kind, row)
    return figure


def _photograph(diagnosis: Diagnosis, image: int) -> bool:
    return bool(diagnosis.truth.files) and Path(diagnosis.truth.files[image]).is_file()


def draw_example(axes: Axes, diagnosis: Diagnosis, kind: str, row: int) -> None:
    """The part of the photograph around a detection of this kind, or a missed object; `row` is its row."""
    truth, found = diagnosis.truth, diagnosis.detections
    image = int((truth.image_index if kind == MISSED else found.image_index)[row])
    of = row if kind == MISSED else int(diagnosis.referenced_objects.object_rows[row])  # -1: of no object
    boxes = [truth.boxes[of]] * (of >= 0) + [found.boxes[row]] * (kind != MISSED)
    width, height = truth.sizes[image].tolist()
    pixels = read_picture(truth, image) if _photograph(diagnosis, image) else NO_PHOTOGRAPH
    axes.imshow(pixels, extent=(0, width, height, 0), interpolation="antialiased")
    left, top, right, bottom = _part(np.stack(boxes), width, height)
    axes.set(xlim=(left, right), ylim=(bottom, top), aspect="equal")
    words = truth.classes[truth.labels[of]] if of >= 0 else ""
    if of >= 0:
        _frame(axes, truth.boxes[of], "white", DASHES)
    if kind != MISSED:
        colour = next(error_type.colour for error_type in ERROR_TYPES if error_type.name == kind)
        _frame(axes, found.boxes[row], colour, "solid")
        name = truth.classes[found.labels[row]]
        text = wrap(f"{name} {found.scores[row]:.2f}", CELL_INCHES - 0.2, SMALL_POINTS, lines=1)[0]
        axes.text(
            0.03, 0.93, text, size=SMALL_POINTS, color=text_colour_on(colour), va="center",
            transform=axes.transAxes, bbox={"facecolor": colour, "linewidth": 0, "pad": 1.5}, in_layout=False,
        )  # fmt: skip
        words = f"is {words}" if words and words != name else ""
    where = f"{words} · {truth.images[image]}" if words else truth.images[image]
    axes.set_title(wrap(where, CELL_INCHES - 0.1, SMALL_POINTS, lines=1)[0], size=SMALL_POINTS, pad=3)


def _part(boxes: NDArray[np.float64], width: float, height: float) -> tuple[float, float, float, float]:
    """The square around boxes with a margin, within the image as far as that is large enough."""
    low, high = boxes[:, :2].min(axis=0), boxes[:, 2:].max(axis=0)
    side = max(float((high - low).max()) * (1 + 2 * CONTEXT), SMALLEST_SIDE_PIXELS)
    size = np.minimum([width, height], side)
    start = np.clip((low + high) / 2 - size / 2, 0, np.array([width, height]) - size)
    return float(start[0]), float(start[1]), float(start[0] + size[0]), float(start[1] + size[1])


def _frame(axes: Axes, box: NDArray[np.float64], colour: str, line: object) -> None:
    left, top, right, bottom = box.tolist()
    frame = Rectangle((left, top), right - left, bottom - top, fill=False, edgecolor=colour, linewidth=1.8)
    frame.set_linestyle(line)  # type: ignore[arg-type]
    frame.set_path_effects([withStroke(linewidth=3.2, foreground="black" if colour == "white" else "white")])
    axes.add_patch(frame)
