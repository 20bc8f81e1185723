"""One picture: an image, its annotated objects, and a detector's detections coloured by their error type."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle
from matplotlib.patheffects import withStroke
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from data.records import GroundTruth, InputError
from diagnosis.breakdown import ERROR_TYPES
from diagnosis.figures.style import ink_on, put_text, text_width, wrap
from diagnosis.matching import assign
from diagnosis.record import Diagnosis

LABEL_TEXT, LABEL_HEIGHT, LABEL_PAD = 6.5, 0.125, 0.03  # points, inches, inches
ROOM = 0.15  # share of a label that other labels may cover
DASHES, DOTS = (0, (4, 3)), (0, (1, 2.5))

Place = tuple[float, float, float, float]  # left, top, right, bottom, in inches from the picture's corner


@dataclass(frozen=True, eq=False)
class Shown:
    """What is drawn of one detector.

    Attributes
    ----------
    diagnosis
        The detector.
    drawn
        ``(M,)`` its detections that are drawn.
    found
        ``(N,)`` objects that one of these is correct on.
    """

    diagnosis: Diagnosis
    drawn: NDArray[np.bool_]
    found: NDArray[np.bool_]

    @classmethod
    def counted(cls, diagnosis: Diagnosis, score_threshold: float | None = None) -> Shown:
        """The detections that the breakdown counts, those below a score left out."""
        drawn = diagnosis.breakdown.verdict >= 0
        if score_threshold is not None:
            drawn &= diagnosis.detections.scores >= score_threshold
        taken = assign(diagnosis.matching, diagnosis.iou).objects
        found = np.zeros(len(diagnosis.truth), dtype=bool)
        found[taken[drawn & (taken >= 0)]] = True
        return cls(diagnosis, drawn, found)


def read_picture(truth: GroundTruth, image: int) -> NDArray[np.uint8]:
    """``(height, width, 3)`` pixels of an image of the set.

    Raises
    ------
    InputError
        The file is missing, is no image, is damaged, or is not of the annotated size.
    """
    path, what = truth.files[image], f"the photograph of image {truth.images[image]!r}"
    try:
        with Image.open(path) as file:
            pixels: NDArray[np.uint8] = np.asarray(file.convert("RGB"))
    except UnidentifiedImageError:
        raise InputError(path, "a file that is no image", what) from None
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        if isinstance(error, OSError) and error.strerror:
            raise InputError(path, error.strerror, what) from None
        raise InputError(path, f"a damaged image ({error})", f"{what}, whole") from None
    found, wanted = (pixels.shape[1], pixels.shape[0]), tuple(truth.sizes[image].tolist())
    if found != wanted:
        sizes = [f"{width} × {height} pixels" for width, height in (found, wanted)]
        raise InputError(path, sizes[0], f"{what} in the size that is annotated, {sizes[1]}")
    return pixels


def draw_picture(
    axes: Axes, shown: Shown, image: int, pixels: NDArray[np.uint8], size: tuple[float, float]
) -> None:
    """Draw an image in axes in inches.

    Parameters
    ----------
    axes
        Of `size`, y running down.
    shown
        What to draw of the detector.
    image
        Index of the image in the set.
    pixels
        ``(height, width, 3)``.
    size
        Width and height in inches.
    """
    truth, detections = shown.diagnosis.truth, shown.diagnosis.detections
    ignored = shown.diagnosis.matching.ignored
    scale = size[0] / pixels.shape[1]  # inches a pixel
    axes.imshow(pixels, extent=(0, size[0], size[1], 0), aspect="auto")
    axes.set(xlim=(0, size[0]), ylim=(size[1], 0))
    for index in np.flatnonzero(truth.image_index == image).tolist():
        missed = not (ignored[index] or shown.found[index])
        draw_object(axes, _inside(truth.boxes[index] * scale, size), bool(ignored[index]), missed)

    rows = np.flatnonzero(shown.drawn & (detections.image_index == image))
    rows = rows[np.argsort(-detections.scores[rows], kind="stable")]
    kinds = [ERROR_TYPES[verdict] for verdict in shown.diagnosis.breakdown.verdict[rows]]
    boxes = [_inside(box * scale, size) for box in detections.boxes[rows]]
    for kind, box in zip(kinds[::-1], boxes[::-1], strict=True):  # the surest on top
        frame = _rectangle(box, fill=False, edgecolor=kind.colour, linewidth=1.8, label=kind.name)
        frame.set_path_effects([withStroke(linewidth=3.2, foreground="white", alpha=0.75)])
        axes.add_patch(frame)
    taken: list[Place] = []
    for row, kind, box in zip(rows.tolist(), kinds, boxes, strict=True):  # the surest choose first
        score = f"{detections.scores[row]:.2f}"
        name = wrap(truth.classes[detections.labels[row]], 0.6 * size[0], LABEL_TEXT, lines=1)[0]
        for text in (f"{name} {score}", score):
            place = label_place(box, text_width(text, LABEL_TEXT) + 2 * LABEL_PAD, size, taken)
            if place is not None:
                taken.append(place)
                axes.add_patch(_rectangle(place, facecolor=kind.colour, linewidth=0, zorder=4))
                x, y = place[0] + LABEL_PAD, (place[1] + place[3]) / 2
                put_text(axes, x, y, text, LABEL_TEXT, ink_on(kind.colour), zorder=5)
                break


def draw_object(axes: Axes, place: Place, ignored: bool, missed: bool) -> None:
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
    height: float = LABEL_HEIGHT,
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
    covered = [sum(_common(place, other) for other in taken) for place in places]
    if not places or min(covered) > ROOM * width * height:
        return None
    return places[covered.index(min(covered))]


def _common(one: Place, other: Place) -> float:
    """Area in common."""
    across = min(one[2], other[2]) - max(one[0], other[0])
    down = min(one[3], other[3]) - max(one[1], other[1])
    return max(across, 0.0) * max(down, 0.0)


def _inside(box: NDArray[np.float64], size: tuple[float, float]) -> Place:
    """A box with its lines wholly within the picture, all in inches."""
    edge = 0.015
    left, right = np.clip(box[[0, 2]], edge, size[0] - edge).tolist()
    top, bottom = np.clip(box[[1, 3]], edge, size[1] - edge).tolist()
    return left, top, right, bottom


def _rectangle(place: Place, **look: Any) -> Rectangle:
    left, top, right, bottom = place
    return Rectangle((left, top), right - left, bottom - top, **look)
