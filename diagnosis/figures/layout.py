"""The page around the charts of a figure: title and detectors above; legend, explanations and notes below."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.lines import Line2D
from matplotlib.patches import Patch, Rectangle, Wedge
from matplotlib.transforms import Affine2D, Transform
from numpy.typing import NDArray

from diagnosis.breakdown import ERROR_TYPES, ErrorType
from diagnosis.figures.style import (
    DETECTOR_LETTERS,
    EMPTY_COLOUR,
    GRID_COLOUR,
    LINE_INCHES,
    MARGIN_INCHES,
    MAX_CLASSES,
    MAX_TEXT_INCHES,
    MUTED_COLOUR,
    TEXT_COLOUR,
    TEXT_POINTS,
    draw_text,
    for_paper,
    most_frequent,
    new_figure,
    paper_width,
    shorten,
    text_colour_on,
    text_width,
    wrap,
)
from diagnosis.record import Diagnosis
from diagnosis.similar import group_indices
from diagnosis.words import explanations

TITLE_POINTS, TITLE_INCHES = 11.0, 0.22
NAME_POINTS = 9.0
HANDLE_INCHES, HANDLE_GAP_INCHES, ENTRY_GAP_INCHES = 0.34, 0.1, 0.28
"""Of a legend: what is explained, the gap to its text, the gap to the next entry."""

LegendEntry = tuple[str, Any]
"""Text of an entry, and the artist before it, as matplotlib's legends take it; several lie on each other."""


class Explained(NamedTuple):
    """A line of explanation: a coloured patch (none without a colour), a bold name, and what it means."""

    name: str
    colour: str
    text: str


def new_page(
    width: float,
    height: float,
    *,
    title: str = "",
    names: Sequence[str] = (),
    letters: Sequence[str] | None = None,
    marks: Sequence[Mapping[str, Any]] = (),
    legend: Sequence[LegendEntry] = (),
    explained: Sequence[Explained] = (),
    note: str = "",
    gaps: tuple[float, float] = (0.05, 0.05),
) -> Figure:
    """A figure whose middle is still empty; ``figure.subplots`` fills it, laid out by matplotlib.

    Parameters
    ----------
    width, height
        Of the middle, in inches.
    title
        What the figure shows; at most two lines.
    names
        Of the detectors, a line each below the title.
    letters
        That stand for them in the charts. Default: A, B, … for several detectors.
    marks
        For each name the properties of the line or marker that the detector has in the charts.
    legend
        Short entries, side by side in columns.
    explained
        Entries with a sentence each, one below the other.
    note
        What else the reader must know, in whole sentences.
    gaps
        At either side of a column of charts and of a row, in inches.
    """
    if letters is None:
        letters = DETECTOR_LETTERS[: len(names)] if len(names) > 1 else ""
    if for_paper():  # the rest belongs into the caption
        legend = [*legend, *((entry.name, Patch(**_look(entry))) for entry in explained if entry.colour)]
        title, note, explained = "", "", ()
        names = names if letters or marks else ()
        width = max(width, paper_width(width + 2 * MARGIN_INCHES) - 2 * MARGIN_INCHES)  # text never grows
    else:
        width = max(width, 5.4)
    text_inches = min(width, MAX_TEXT_INCHES)
    titles = wrap(title, width, TITLE_POINTS, lines=2, weight="bold") if title else []
    head = TITLE_INCHES * len(titles) + LINE_INCHES * len(names) + (0.14 if titles or names else 0.0)
    columns, rows = _columns([text for text, _ in legend], text_inches)
    name_inches = 0.5 + max((text_width(name, TEXT_POINTS, "bold") for name, *_ in explained), default=0.0)
    # A little narrower: text is drawn wider in few dots an inch.
    texts = [wrap(entry.text, 0.97 * (text_inches - name_inches), TEXT_POINTS) for entry in explained]
    notes = wrap(note, 0.97 * text_inches, TEXT_POINTS) if note else []
    blocks = [
        LINE_INCHES * rows,
        sum(LINE_INCHES * len(text) + 0.04 for text in texts),
        LINE_INCHES * len(notes),
    ]
    foot = sum(block + 0.06 for block in blocks if block)
    page = width + 2 * MARGIN_INCHES, head + height + foot + 2 * MARGIN_INCHES
    figure = new_figure(*page)
    middle = (MARGIN_INCHES / page[0], (MARGIN_INCHES + foot) / page[1], width / page[0], height / page[1])
    figure.set_layout_engine(
        ConstrainedLayoutEngine(rect=middle, w_pad=gaps[0], h_pad=gaps[1], wspace=0, hspace=0)
    )
    inches = _inches_from_top(figure)
    y = MARGIN_INCHES + 0.1
    for line in titles:
        write_on_page(figure, 0, y, line, TITLE_POINTS, TEXT_COLOUR, weight="bold")
        y += TITLE_INCHES
    y += LINE_INCHES / 2 - 0.04
    for number, name in enumerate(names):
        x = HANDLE_INCHES + HANDLE_GAP_INCHES if marks else 0.0
        if marks:
            ends = MARGIN_INCHES + HANDLE_INCHES * np.array([0, 0.5, 1])
            figure.add_artist(Line2D(ends, [y] * 3, markevery=[1], transform=inches, **marks[number]))
        if letters:
            write_on_page(figure, x, y, letters[number], NAME_POINTS)
            x += 0.22
        write_on_page(figure, x, y, shorten(name, 0.97 * (width - x), NAME_POINTS), NAME_POINTS)
        y += LINE_INCHES

    top = MARGIN_INCHES + head + height + 0.06
    if legend:
        figure.legend(
            [artist for _, artist in legend], [text for text, _ in legend], ncols=columns, loc="upper left",
            bbox_to_anchor=(MARGIN_INCHES / page[0], 1 - top / page[1]), frameon=False, borderpad=0,
            borderaxespad=0, fontsize=TEXT_POINTS, handlelength=72 * HANDLE_INCHES / TEXT_POINTS,
            handletextpad=72 * HANDLE_GAP_INCHES / TEXT_POINTS, handleheight=1.0,
            columnspacing=72 * ENTRY_GAP_INCHES / TEXT_POINTS, labelspacing=0.55,
        )  # fmt: skip
        top += blocks[0] + 0.06
    y = top + LINE_INCHES / 2
    for entry, lines in zip(explained, texts, strict=True):
        if entry.colour:
            patch = Rectangle((MARGIN_INCHES, y - 0.06), 0.2, 0.12, transform=inches)
            figure.add_artist(patch).set(**_look(entry))
        write_on_page(figure, 0.3, y, entry.name, TEXT_POINTS, TEXT_COLOUR, weight="bold")
        for line in lines:
            write_on_page(figure, name_inches, y, line, TEXT_POINTS)
            y += LINE_INCHES
        y += 0.04
    y += 0.06 if explained else 0.0
    for line in notes:
        write_on_page(figure, 0, y, line, TEXT_POINTS)
        y += LINE_INCHES
    return figure


def _look(entry: Explained) -> dict[str, Any]:
    """Of the patch of an entry, which has a frame if it is white."""
    edge = TEXT_COLOUR if entry.colour == "white" else entry.colour
    return {"facecolor": entry.colour, "edgecolor": edge, "linewidth": 0.8}


def _inches_from_top(figure: Figure) -> Transform:
    """Coordinates in inches from the upper left corner, for artists of the figure itself."""
    return Affine2D().scale(1, -1).translate(0, figure.get_figheight()) + figure.dpi_scale_trans


def write_on_page(
    figure: Figure, x: float, y: float, text: str, size: float, colour: str = MUTED_COLOUR, **properties: Any
) -> None:
    """A line of text, `x` inches from the left margin and `y` from the top."""
    properties |= {"size": size, "color": colour, "va": "center_baseline"}
    figure.text(MARGIN_INCHES + x, y, text, transform=_inches_from_top(figure), **properties)


def _columns(texts: Sequence[str], room: float) -> tuple[int, int]:
    """In how many columns entries fit into `room` inches, filled one after the other, and their rows."""
    widths = [HANDLE_INCHES + HANDLE_GAP_INCHES + 1.02 * text_width(text, TEXT_POINTS) for text in texts]
    for columns in range(len(widths), 1, -1):
        parts = np.array_split(widths, columns)
        if sum(part.max() + ENTRY_GAP_INCHES for part in parts) - ENTRY_GAP_INCHES <= room:
            return columns, len(parts[0])
    return 1, len(texts)


def draw_pie(
    axes: Axes,
    shares: NDArray[np.float64],
    kinds: Sequence[ErrorType],
    label: Callable[[float], str] = lambda share: "",
    empty: str = "nothing counted",
) -> list[tuple[ErrorType, float, float]]:
    """A pie of radius 1 in axes of equal scales, clockwise from the top; `label` goes into a slice.

    Returns
    -------
    list
        Of each slice its kind, its share and the angle of its middle in degrees.
    """
    axes.set(aspect="equal", xlim=(-1.02, 1.02), ylim=(-1.02, 1.02), xticks=[], yticks=[], frame_on=False)
    if not shares.sum() > 0:
        axes.add_patch(Wedge((0, 0), 1, 0, 360, facecolor=EMPTY_COLOUR, edgecolor=GRID_COLOUR))
        axes.text(0, 0, empty, size=TEXT_POINTS, color=MUTED_COLOUR, ha="center", va="center")
        return []
    slices = []
    ends = 90 - 360 * np.cumsum(shares / shares.sum())
    for kind, share, end in zip(kinds, (shares / shares.sum()).tolist(), ends.tolist(), strict=True):
        if share == 0:
            continue
        wedge = Wedge((0, 0), 1, end, end + 360 * share, label=kind.name)
        wedge.set(facecolor=kind.colour, edgecolor="white" if share < 1 else "none", linewidth=0.8)
        axes.add_patch(wedge)
        middle = end + 180 * share
        reach = 0.0 if share > 0.999 else 0.67
        x, y = reach * np.cos(np.radians(middle)), reach * np.sin(np.radians(middle))
        draw_text(axes, x, y, label(share), 8, text_colour_on(kind.colour), ha="center", weight="bold")
        slices.append((kind, share, middle))
    return slices


def shown_groups(diagnosis: Diagnosis, most: int = MAX_CLASSES) -> tuple[dict[str, list[str]], str]:
    """The groups of classes that a figure has room for, and a sentence if there are more of them."""
    names, counts = list(diagnosis.groups), diagnosis.breakdown.objects
    members = [group_indices(diagnosis.truth.classes, group) for group in diagnosis.groups.values()]
    chosen, cut = most_frequent(np.array([counts[group].sum() for group in members]), most, "groups")
    return {names[place]: diagnosis.groups[names[place]] for place in chosen}, cut


# ---- the error types in words ------------------------------------------------------------------


def explained_types(diagnosis: Diagnosis) -> list[Explained]:
    """The error types with their explanations, for :func:`new_page`."""
    words = explanations(diagnosis)
    return [Explained(kind.name, kind.colour, text) for kind, text in zip(ERROR_TYPES, words, strict=True)]


def type_entries(kinds: Sequence[ErrorType] = ERROR_TYPES) -> list[LegendEntry]:
    """The colours of error types as entries of a legend."""
    return [(kind.name, Patch(facecolor=kind.colour, linewidth=0)) for kind in kinds]
