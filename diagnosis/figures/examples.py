"""The sheet of examples (the paper's Figure 8): the same images for several detectors, side by side.

The images are those where the detectors disagree about the most objects, or the first of the set (the paper's
way, and that of a single detector), or those that the caller names. The boxes are the detections that the
breakdown counts, the most confident of each class over the whole set: what the pies are made of, by one rule
for all detectors, and about as many boxes as there are objects.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch, Rectangle
from matplotlib.patheffects import withStroke
from numpy.typing import NDArray

from data.formats.names import hint
from data.records import InputError
from diagnosis.breakdown import ERROR_TYPES
from diagnosis.figures.layout import LegendEntry, explained_types, new_page, write_on_page
from diagnosis.figures.style import (
    MARGIN_INCHES,
    TEXT_COLOUR,
    draw_text,
    for_paper,
    save_figure,
    shorten,
    styled,
    text_colour_on,
    text_width,
    wrap,
)
from diagnosis.photographs import read_picture
from diagnosis.record import Diagnosis

__all__ = ["examples", "label_place", "save_sheet"]

PAGE_INCHES, WIDE_PAGE_INCHES, MAX_PICTURE_INCHES = 12.0, 15.0, 4.5
"""Width for one or two detectors, for more; of one picture."""
MAX_ASPECT = 0.9
"""Height of a picture over the width of its column."""
GAP_INCHES, GROUP_GAP_INCHES, CAPTION_INCHES = 0.08, 0.3, 0.32
"""Between the pictures of one image, between images, and below them."""
LABEL_POINTS, LABEL_INCHES, LABEL_PAD_INCHES = 6.5, 0.125, 0.03
"""Font size, height and inner margin of the label of a box."""
MAX_COVERED = 0.15
"""Share of a label that other labels may cover."""
DASHES, DOTS = (0, (4, 3)), (0, (1, 2.5))

Choice = Literal["differ", "first"]
Place = tuple[float, float, float, float]
"""Left, top, right, bottom, in inches from the picture's upper left corner."""


class Shown(NamedTuple):
    """What is drawn of one detector: ``(M,)`` which detections, ``(N,)`` the objects that these find."""

    diagnosis: Diagnosis
    drawn: NDArray[np.bool_]
    found: NDArray[np.bool_]


def save_sheet(diagnoses: Sequence[Diagnosis], out_dir: Path, **chosen: Any) -> Path:
    """Write ``examples.png``, for a paper ``examples.pdf``, into a folder, made if absent.

    For the other arguments see :func:`examples`.

    Raises
    ------
    InputError
        See :func:`examples`; or a folder that cannot be written to.
    """
    figure = examples(*diagnoses, **chosen)
    return save_figure(figure, out_dir / f"examples.{'pdf' if for_paper() else 'png'}")


@styled
def examples(
    *diagnoses: Diagnosis,
    count: int = 12,
    image_names: Iterable[str] | None = None,
    score_threshold: float | None = None,
    choose: Choice = "differ",
) -> Figure:
    """Images with the objects and, coloured by the type of error, the detections that are counted.

    Parameters
    ----------
    diagnoses
        One or several detectors on the same ground truth, from left to right.
    count
        How many images.
    image_names
        Show these images instead, in this order.
    score_threshold
        Leave out detections with a lower score. By default all that the breakdown counts are drawn.
    choose
        Which images: ``differ``, those in which most objects are found by some detectors and not by others
        (for one detector the first), or ``first``.

    Raises
    ------
    InputError
        No detector, detectors on different ground truths, a ground truth without image files, an
        unknown image, an image file that is missing, broken, or of another size than annotated.
    """
    truth = diagnoses[0].truth
    shown = [_counted(diagnosis, score_threshold) for diagnosis in diagnoses]
    images = _chosen(shown, count, image_names, choose)
    pictures = [read_picture(truth, image) for image in images]
    page = PAGE_INCHES if len(shown) <= 2 else WIDE_PAGE_INCHES
    groups = min(len(images), {1: 4, 2: 2, 3: 2}.get(len(shown), 1))
    gaps = (groups - 1) * GROUP_GAP_INCHES + groups * (len(shown) - 1) * GAP_INCHES
    column = min(MAX_PICTURE_INCHES, (page - gaps) / (groups * len(shown)))
    sizes = []
    for pixels in pictures:
        high, wide = pixels.shape[:2]
        scale = min(column / wide, MAX_ASPECT * column / high)
        sizes.append((scale * wide, scale * high))
    rows = [range(start, min(start + groups, len(images))) for start in range(0, len(images), groups)]
    heights = [max(sizes[index][1] for index in row) + CAPTION_INCHES for row in rows]
    names = [wrap(one.diagnosis.name, column, 10, lines=2, weight="bold") for one in shown]
    head = 0.13 + 0.17 * max(map(len, names))
    threshold = f" Those with a score below {score_threshold:g} are left out." if score_threshold else ""
    by_dispute = image_names is None and choose == "differ" and len(shown) > 1
    differ = " Images on which the detectors differ about the most objects." if by_dispute else ""
    figure = new_page(
        max(gaps + groups * len(shown) * column, 6.4),
        head + sum(heights),
        explained=explained_types(diagnoses[0]),
        legend=_object_entries(),
        note="Drawn are the detections that the breakdown counts: the most confident of each class over the "
        f"whole set, by one rule for all detectors.{differ}{threshold} "
        "A box without a label had no room for one.",
    )
    top, bottom = MARGIN_INCHES + head, figure.get_figheight()
    for row, height in zip(rows, heights, strict=True):
        for position, index in enumerate(row):
            left = position * (len(shown) * (column + GAP_INCHES) - GAP_INCHES + GROUP_GAP_INCHES)
            wide, high = sizes[index]
            write_on_page(figure, left, top + high + 0.1, truth.images[images[index]], 7.5)
            for one, lines in zip(shown, names, strict=True):
                if row is rows[0] and (position == 0 or len(shown) > 1):
                    for line, text in enumerate(reversed(lines)):
                        y = top - 0.16 - 0.17 * line
                        write_on_page(figure, left, y, text, 10, TEXT_COLOUR, weight="bold")
                inches = MARGIN_INCHES + left, bottom - top - high, wide, high
                axes = figure.add_axes(tuple(np.array(inches) / np.tile(figure.get_size_inches(), 2)))
                axes.set_axis_off()
                _draw_picture(axes, one, images[index], pictures[index], sizes[index])
                left += column + GAP_INCHES
        top += height
    return figure


def _chosen(shown: Sequence[Shown], count: int, names: Iterable[str] | None, choose: Choice) -> list[int]:
    """Indices of the images to show."""
    truth = shown[0].diagnosis.truth
    if choose not in ("differ", "first"):
        raise InputError("choose", repr(choose), "'differ' or 'first'")
    if not truth.files:
        raise InputError("the ground truth", "no image files", "the photographs, for a sheet of examples")
    if names is None:
        if count < 1 or not truth.images:
            raise InputError("count", f"{count}, of {len(truth.images)} images", "at least one image")
        found = np.array([one.found for one in shown])  # (D, N)
        disputed = found.any(axis=0) & ~found.all(axis=0) & ~shown[0].diagnosis.matching.ignored
        disputes = np.bincount(truth.image_index[disputed], minlength=len(truth.images))
        order = np.argsort(-disputes * (choose == "differ"), kind="stable")
        chosen: list[int] = order[:count].tolist()
        return chosen
    index = {name: i for i, name in enumerate(truth.images)}
    wanted = list(names)
    for name in wanted:
        if name not in index:
            raise InputError(
                "image_names", repr(name), f"an image of the ground truth{hint(name, truth.images)}"
            )
    if not wanted:
        raise InputError("image_names", "no name", "at least one image")
    return [index[name] for name in wanted]


def _counted(diagnosis: Diagnosis, score_threshold: float | None) -> Shown:
    """The detections that the breakdown counts, those below a score left out."""
    drawn = diagnosis.breakdown.counted_types >= 0
    if score_threshold is not None:
        drawn &= diagnosis.detections.scores >= score_threshold
    taken = diagnosis.assignment.object_rows
    found = np.zeros(len(diagnosis.truth), dtype=bool)
    found[taken[drawn & (taken >= 0)]] = True
    return Shown(diagnosis, drawn, found)


def _object_entries() -> list[LegendEntry]:
    """How objects are marked."""

    def box(line: float, dashes: tuple[int, tuple[float, ...]], *more: Line2D) -> tuple[Patch | Line2D, ...]:
        below = Patch(facecolor="#8a8a8a", edgecolor="black", linewidth=line + 0.5)
        return below, Patch(fill=False, edgecolor="white", linewidth=line, linestyle=dashes), *more

    cross = Line2D([], [], color="white", marker="x", linestyle="none", markersize=5, markeredgewidth=1.4)
    return [
        ("annotated object", box(0.7, DASHES)),
        ("annotated object without a correct detection among those drawn", box(1.2, DASHES, cross)),
        ("object that is neither rewarded nor punished (difficult, crowd)", box(0.7, DOTS)),
    ]


def _draw_picture(
    axes: Axes, shown: Shown, image: int, pixels: NDArray[np.uint8], size: tuple[float, float]
) -> None:
    """An image, its objects and the detections, in axes of `size` in inches, y running down."""
    truth, detections = shown.diagnosis.truth, shown.diagnosis.detections
    ignored = shown.diagnosis.matching.ignored
    scale = size[0] / pixels.shape[1]  # inches a pixel
    axes.imshow(pixels, extent=(0, size[0], size[1], 0), aspect="auto")
    axes.set(xlim=(0, size[0]), ylim=(size[1], 0))
    for index in np.flatnonzero(truth.image_index == image).tolist():
        missed = not (ignored[index] or shown.found[index])
        _draw_object(axes, _inside(truth.boxes[index] * scale, size), bool(ignored[index]), missed)

    rows = np.flatnonzero(shown.drawn & (detections.image_index == image))
    rows = rows[np.argsort(-detections.scores[rows], kind="stable")]
    kinds = [ERROR_TYPES[error_type] for error_type in shown.diagnosis.breakdown.counted_types[rows]]
    boxes = [_inside(box * scale, size) for box in detections.boxes[rows]]
    for kind, box in zip(kinds[::-1], boxes[::-1], strict=True):  # the most confident on top
        frame = _rectangle(box, fill=False, edgecolor=kind.colour, linewidth=1.8, label=kind.name)
        frame.set_path_effects([withStroke(linewidth=3.2, foreground="white", alpha=0.75)])
        axes.add_patch(frame)
    taken: list[Place] = []
    for row, kind, box in zip(rows.tolist(), kinds, boxes, strict=True):  # the most confident choose first
        score = f"{detections.scores[row]:.2f}"
        name = shorten(truth.classes[detections.labels[row]], 0.6 * size[0], LABEL_POINTS)
        for text in (f"{name} {score}", score):
            place = label_place(box, text_width(text, LABEL_POINTS) + 2 * LABEL_PAD_INCHES, size, taken)
            if place is not None:
                taken.append(place)
                axes.add_patch(_rectangle(place, facecolor=kind.colour, linewidth=0, zorder=4))
                x, y = place[0] + LABEL_PAD_INCHES, (place[1] + place[3]) / 2
                draw_text(axes, x, y, text, LABEL_POINTS, text_colour_on(kind.colour), zorder=5)
                break


def _draw_object(axes: Axes, place: Place, ignored: bool, missed: bool) -> None:
    """An annotated object: white dashes on black, dots if it does not count, a cross if it was missed."""
    line = 1.2 if missed else 0.7
    axes.add_patch(_rectangle(place, fill=False, edgecolor="black", linewidth=line + 0.5))
    dashes = _rectangle(place, fill=False, edgecolor="white", linewidth=line, label="object")
    dashes.set_linestyle(DOTS if ignored else DASHES)
    axes.add_patch(dashes)
    if missed:  # in a corner: the centre of a large object is often that of a small one
        left, top, right, bottom = place
        x, y = max(right - 0.08, (left + right) / 2), max(bottom - 0.08, (top + bottom) / 2)
        for colour, extent, stroke in (("black", 7.5, 3.2), ("white", 6.5, 1.4)):
            (cross,) = axes.plot([x], [y], "x", color=colour, label="missed", zorder=2)
            cross.set(markersize=extent, markeredgewidth=stroke)


def label_place(
    box: Place,
    width: float,
    picture: tuple[float, float],
    taken: Sequence[Place],
    height: float = LABEL_INCHES,
) -> Place | None:
    """Where the label of a box goes: inside the picture, at a corner of the box, clear of other labels.

    Of the corners, in order of preference, the one with the least overlap; None if there is no room.

    Parameters
    ----------
    box
        The box.
    width, height
        Of the label, in inches.
    picture
        Width and height of the picture, in inches.
    taken
        Where labels are already.

    Examples
    --------
    >>> label_place((1.0, 1.0, 2.0, 2.0), 0.5, (3.0, 3.0), [], height=0.25)
    (1.0, 0.75, 1.5, 1.0)
    >>> label_place((2.75, 0.0, 3.0, 2.0), 0.5, (3.0, 3.0), [], height=0.25)
    (2.5, 0.0, 3.0, 0.25)
    >>> label_place((0.0, 0.0, 1.0, 0.5), 1.0, (1.0, 0.5), [(0.0, 0.0, 1.0, 0.5)], height=0.25)
    """
    left, top, right, bottom = box
    places = [
        (x, y, x + width, y + height)
        for x in np.clip([left, right - width], 0.0, max(0.0, picture[0] - width)).tolist()
        for y in (top - height, top, bottom, bottom - height)
        if 0 <= y <= picture[1] - height and width <= picture[0]
    ]
    covered = [
        sum(
            max(min(place[2], other[2]) - max(place[0], other[0]), 0.0)
            * max(min(place[3], other[3]) - max(place[1], other[1]), 0.0)
            for other in taken
        )
        for place in places
    ]
    if not places or min(covered) > MAX_COVERED * width * height:
        return None
    return places[covered.index(min(covered))]


def _inside(box: NDArray[np.float64], size: tuple[float, float]) -> Place:
    """A box with its lines wholly within the picture, all in inches."""
    edge = 0.015
    left, right = np.clip(box[[0, 2]], edge, size[0] - edge).tolist()
    top, bottom = np.clip(box[[1, 3]], edge, size[1] - edge).tolist()
    return left, top, right, bottom


def _rectangle(place: Place, **properties: Any) -> Rectangle:
    left, top, right, bottom = place
    return Rectangle((left, top), right - left, bottom - top, **properties)
