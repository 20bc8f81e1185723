"""The sheet of examples (the paper's Figure 8): the same images for several detectors, side by side.

Nothing is picked: the images are the first of the set unless the caller names some, and the boxes are
the detections that the breakdown counts, the surest of each class over the whole set. So the sheet shows
what the pies are made of, by one rule for all detectors, and about as many boxes as there are objects.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from numpy.typing import NDArray

from data.records import GroundTruth, InputError
from diagnosis.figures.explanations import draw_legend, explanations, legend_size
from diagnosis.figures.picture import Shown, draw_object, draw_picture, read_picture
from diagnosis.figures.style import (
    INK,
    LINE,
    MARGIN,
    TEXT,
    blank_axes,
    check_comparable,
    house_style,
    new_figure,
    put_text,
    save_figure,
    wrap,
)
from diagnosis.record import Diagnosis

__all__ = ["save_sheet", "sheet"]

FILE_NAME = "examples.png"

# Inches.
PAGE, WIDE_PAGE, LARGEST = 12.0, 15.0, 4.5  # width for one or two detectors, for more; of one picture
TALLEST = 0.9  # height of a picture over the width of its column
GAP, GROUP_GAP, ROW_GAP = 0.08, 0.3, 0.32
KEY_LINE, KEY_GAP = LINE + 0.04, 0.08
# Whether ignored, whether missed, what it means.
OBJECT_KEY = (
    (False, False, "annotated object"),
    (False, True, "annotated object without a correct detection among those drawn"),
    (True, False, "object that is neither rewarded nor punished (difficult, crowd)"),
)


def save_sheet(
    diagnoses: Sequence[Diagnosis],
    out_dir: Path,
    count: int = 12,
    image_names: Iterable[str] | None = None,
    score_threshold: float | None = None,
) -> Path:
    """Write ``examples.png``; see :func:`sheet` for the other arguments.

    Parameters
    ----------
    out_dir
        Folder; made if absent.

    Returns
    -------
    Path
        The file written.

    Raises
    ------
    InputError
        See :func:`sheet`; or a folder that cannot be written to.
    """
    return save_figure(sheet(diagnoses, count, image_names, score_threshold), out_dir / FILE_NAME)


def sheet(
    diagnoses: Sequence[Diagnosis],
    count: int = 12,
    image_names: Iterable[str] | None = None,
    score_threshold: float | None = None,
) -> Figure:
    """Images with the objects and, coloured by the type of error, the detections that are counted.

    Parameters
    ----------
    diagnoses
        One or several detectors on the same ground truth, from left to right.
    count
        How many images, the first of the set.
    image_names
        Show these images instead, in this order.
    score_threshold
        Leave out detections with a lower score. By default all that the breakdown counts are drawn.

    Raises
    ------
    InputError
        No detector, detectors on different ground truths, a ground truth without image files, an
        unknown image, an image file that is missing, broken, or of another size than annotated.
    """
    check_comparable(diagnoses)
    truth, words = diagnoses[0].truth, explanations(diagnoses[0])
    images = _chosen(truth, count, image_names)
    pictures = [read_picture(truth, image) for image in images]
    shown = [Shown.counted(diagnosis, score_threshold) for diagnosis in diagnoses]
    page = PAGE if len(shown) <= 2 else WIDE_PAGE
    groups = min(len(images), {1: 4, 2: 2, 3: 2}.get(len(shown), 1))
    gaps = (groups - 1) * GROUP_GAP + groups * (len(shown) - 1) * GAP
    column = min(LARGEST, (page - gaps) / (groups * len(shown)))
    width = max(gaps + groups * len(shown) * column, 6.4)
    sizes = [_fit(pixels, column) for pixels in pictures]
    rows = [range(start, min(start + groups, len(images))) for start in range(0, len(images), groups)]
    heights = [max(sizes[index][1] for index in row) + ROW_GAP for row in rows]
    names = [wrap(one.diagnosis.name, column, 10, lines=2, weight="bold") for one in shown]
    head, notes = 0.13 + 0.17 * max(map(len, names)), _notes(width, score_threshold)
    foot = legend_size(width, words)[1] + KEY_LINE * len(OBJECT_KEY) + 2 * KEY_GAP + LINE * len(notes)
    with house_style():
        figure = new_figure(width + 2 * MARGIN, head + sum(heights) + foot + 2 * MARGIN)
        top = MARGIN + head
        for row, height in zip(rows, heights, strict=True):
            for position, index in enumerate(row):
                left = MARGIN + position * (len(shown) * (column + GAP) - GAP + GROUP_GAP)
                below = blank_axes(figure, left, top + sizes[index][1], column, 0.2)
                put_text(below, 0, 0.1, truth.images[images[index]], 7.5)
                for one, lines in zip(shown, names, strict=True):
                    if row is rows[0] and (position == 0 or len(shown) > 1):
                        _column_head(blank_axes(figure, left, MARGIN, column, head), lines, head)
                    axes = blank_axes(figure, left, top, *sizes[index])
                    draw_picture(axes, one, images[index], pictures[index], sizes[index])
                    left += column + GAP
            top += height
        draw_legend(figure, MARGIN, top, width, words)
        top += legend_size(width, words)[1] + KEY_GAP
        _key(blank_axes(figure, MARGIN, top, width, foot), notes)
    return figure


def _chosen(truth: GroundTruth, count: int, names: Iterable[str] | None) -> list[int]:
    """Indices of the images to show."""
    if not truth.files:
        raise InputError("the ground truth", "no image files", "the photographs, for a sheet of examples")
    if names is None:
        if count < 1 or not truth.images:
            raise InputError("count", f"{count}, of {len(truth.images)} images", "at least one image")
        return list(range(min(count, len(truth.images))))
    index = {name: i for i, name in enumerate(truth.images)}
    chosen = list(names)
    for name in chosen:
        if name not in index:
            near = difflib.get_close_matches(name, index, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise InputError("image_names", repr(name), f"an image of the ground truth{hint}")
    if not chosen:
        raise InputError("image_names", "no name", "at least one image")
    return [index[name] for name in chosen]


def _fit(pixels: NDArray[np.uint8], column: float) -> tuple[float, float]:
    """Width and height in inches of a picture in a column of this width."""
    height, width = pixels.shape[:2]
    scale = min(column / width, TALLEST * column / height)
    return scale * width, scale * height


def _column_head(axes: Axes, lines: list[str], height: float) -> None:
    for line, text in enumerate(lines):
        put_text(axes, 0, height - 0.16 - 0.17 * (len(lines) - 1 - line), text, 10, INK, weight="bold")


def _notes(width: float, score_threshold: float | None) -> list[str]:
    floor = "" if score_threshold is None else f" Those with a score below {score_threshold:g} are left out."
    rule = (
        "Drawn are the detections that the breakdown counts: the surest of each class over the whole set, "
        "by one rule for all detectors."
    )
    return wrap(rule + floor + " A box without a label had no room for one.", width, TEXT)


def _key(axes: Axes, notes: list[str]) -> None:
    """How objects are marked, and which detections are drawn."""
    for line, (ignored, missed, text) in enumerate(OBJECT_KEY):
        y = KEY_LINE * line + LINE / 2
        axes.add_patch(Rectangle((0, y - 0.08), 0.2, 0.16, facecolor="#8a8a8a", linewidth=0))
        draw_object(axes, (0.03, y - 0.05, 0.17, y + 0.05), ignored, missed)
        put_text(axes, 0.3, y, text, TEXT)
    for line, text in enumerate(notes):
        put_text(axes, 0, KEY_LINE * len(OBJECT_KEY) + KEY_GAP + LINE * (line + 0.5), text, TEXT)
