"""What all figures share: colours, fonts, words, sizes in inches, measured text, safe writing.

Figures are plain ``Figure`` objects: no pyplot, no global state, no display. An error type has one colour
in all figures, that of :class:`ErrorType`; detectors are told apart by position, letter, marker and line,
never by colour.
"""

from __future__ import annotations

import inspect
import io
import math
import os
import re
import unicodedata
import warnings
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from functools import lru_cache, wraps
from pathlib import Path
from typing import Any, Literal, ParamSpec, get_type_hints

import matplotlib.style
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends import backend_mixed, backend_pdf
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties, fontManager, get_font
from matplotlib.text import Text
from matplotlib.textpath import text_to_path
from numpy.typing import NDArray

from data.records import InputError
from diagnosis.average_precision import AP_KINDS
from diagnosis.compare import Comparison
from diagnosis.record import Diagnosis, check_diagnoses

TEXT_COLOUR, MUTED_COLOUR, GRID_COLOUR = "#1a1a1a", "#555555", "#dddddd"
EMPTY_COLOUR = "#f4f4f4"
"""Of a pie without slices."""
DETECTOR_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
MARGIN_INCHES = 0.2
"""Around a figure."""
MAX_TEXT_INCHES = 9.0
"""Longest line of a legend or caption."""
LINE_INCHES, TEXT_POINTS = 0.19, 8.5
"""Line height and font size of legends and captions."""
MAX_CLASSES = 30
"""That an eye can read in one figure."""
SMALL_POINTS = 7.0
"""Font size of ticks and of numbers within a chart."""
RC_PARAMS: dict[str, Any] = {
    "font.family": ["DejaVu Sans"],
    "text.color": TEXT_COLOUR,
    "text.parse_math": False,  # a "$" in the name of a class or a detector is just a "$"
    "svg.hashsalt": "diagnosis",  # the same figure gives the same bytes
    "pdf.fonttype": 42,  # text stays text, which a journal asks for
}
Style = Literal["screen", "paper"]
PAPER_WIDTHS_INCHES = (3.3, 6.9)
"""Of a column and of a page of a journal."""
MOST_SHRUNK = 0.74
"""A figure that a column would shrink further takes the page's width; fonts of 7 points become 5."""
PAPER_ROOM_INCHES, PAPER_HEIGHT_INCHES = 9.0, 9.0
"""Between the margins of a figure that the page's width shrinks as far; height of a figure on the page."""

Arguments = ParamSpec("Arguments")


_style: ContextVar[Style] = ContextVar("style", default="screen")


@contextmanager
def drawing_style(style: Style) -> Iterator[None]:
    """The style of the figures that are drawn within.

    ``paper``: no title, explanations or notes, which belong into the caption; saved 3.3 or 6.9 inches wide.

    Raises
    ------
    InputError
        For another style than ``screen`` and ``paper``.
    """
    if style not in ("screen", "paper"):
        raise InputError("style", repr(style), "'screen' or 'paper'")
    token = _style.set(style)
    try:
        yield
    finally:
        _style.reset(token)


def for_paper() -> bool:
    """Whether figures are drawn for a paper."""
    return _style.get() == "paper"


@contextmanager
def figure_style() -> Iterator[None]:
    """matplotlib's own defaults with :data:`RC_PARAMS`, whatever the user's matplotlibrc says."""
    with matplotlib.style.context(["default", RC_PARAMS]):
        yield


@lru_cache(maxsize=4096)
def font_with(characters: str) -> str | None:
    """Family of an installed font that has all of these characters, in normal and in bold; None without one.

    First come the families that are already in use, DejaVu Sans being one.
    """
    wanted = {ord(character) for character in characters}
    families = {font.name for font in fontManager.ttflist if wanted <= _characters(font.fname)}
    ordered = sorted(families, key=lambda family: (family not in RC_PARAMS["font.family"], family))
    return next(
        (family for family in ordered if "Last Resort" not in family and wanted <= _drawable(family)), None
    )


@lru_cache(maxsize=512)
def _drawable(family: str) -> frozenset[int]:
    """The characters that a family has in both weights, whichever files matplotlib takes for these."""
    weights = [FontProperties(family=[family], weight=weight) for weight in ("normal", "bold")]
    files = [fontManager.findfont(font, fallback_to_default=False) for font in weights]
    return frozenset.intersection(*map(_characters, files))


@lru_cache(maxsize=512)
def _characters(path: str) -> frozenset[int]:
    try:
        return frozenset(get_font(path).get_charmap())
    except (OSError, RuntimeError):  # a font that FreeType cannot read
        return frozenset()


def readable(text: str) -> str:
    """The text with characters that installed fonts have, which figures then use.

    Others become their simpler form (a full-width letter), or else their code point: of a name all that
    DejaVu Sans does not have, unless one font has every one of them.

    Examples
    --------
    >>> print(readable("café"), readable(chr(0xE0001)))
    café \\U000e0001
    """
    if text.isascii():
        return text
    foreign = "".join(_foreign(text))
    if not foreign:
        return text
    word = rf"\S*[{re.escape(foreign)}]\S*"
    return re.sub(rf"{word}(?:\s+{word})*", lambda name: _in_one_font(name[0]), text)


def _foreign(text: str) -> list[str]:
    """The characters that DejaVu Sans does not have, each once."""
    own = _drawable("DejaVu Sans")
    return sorted({character for character in text if ord(character) not in own and not character.isspace()})


def _in_one_font(name: str) -> str:
    for character in _foreign(name):
        simple = unicodedata.normalize("NFKD", character)
        if font_with(character) is None and simple != character and not _foreign(simple):
            name = name.replace(character, simple)
    foreign = _foreign(name)
    family = font_with("".join(foreign))
    if family is None:
        for character in foreign:
            name = name.replace(character, character.encode("ascii", "backslashreplace").decode())
    elif family not in RC_PARAMS["font.family"]:
        RC_PARAMS["font.family"].append(family)
        text_width.cache_clear()
        if matplotlib.rcParams["svg.hashsalt"] == RC_PARAMS["svg.hashsalt"]:  # within figure_style
            matplotlib.rcParams["font.family"] = RC_PARAMS["font.family"]
    return name


def warn_of_fonts(names: Iterable[str], again: bool = True) -> None:
    """Warn of the names that figures can show only as code points: one line; or not `again` of the same."""
    names = [name for name in names if again or name not in _told]
    _told.update(names)
    lost = [name for name in names if readable(name).count("\\") > name.count("\\")]
    if lost:
        others = {1: "", 2: ", and those of another name"}
        more = others.get(len(lost), f", and those of {len(lost) - 1:,} other names")
        warnings.warn(
            f"no installed font has all characters of {lost[0]!r}, so figures show its code points{more}: "
            "install a font that has them, such as Noto Sans CJK",
            UserWarning,
            stacklevel=3,
        )


_told: set[str] = set()


def styled(draw: Callable[Arguments, Figure]) -> Callable[Arguments, Figure]:
    """Draw a figure in :func:`figure_style`, and lay it out once, not for each file that it is saved to.

    What it is given is checked first; several detectors (``*diagnoses``) have to be comparable.
    """

    @wraps(draw)
    def drawn(*args: Arguments.args, **kwargs: Arguments.kwargs) -> Figure:
        _check_subject(draw, args)
        for one in args:
            if isinstance(one, Diagnosis):
                warn_of_fonts([*one.truth.classes, *one.groups, one.name], again=False)
            elif isinstance(one, Comparison):
                warn_of_fonts([*one.classes, *one.names], again=False)
        with figure_style():
            figure = draw(*args, **kwargs)
            for text in figure.findobj(Text):
                if not text.get_text().isascii():
                    text.set_text(readable(text.get_text()))
            engine = figure.get_layout_engine()
            if engine is not None and any(axes.get_subplotspec() for axes in figure.axes):
                engine.execute(figure)
                # The last digits change from run to run, and a file's bytes with them.
                for axes in figure.axes:
                    axes.set_position(np.round(axes.get_position(original=True).bounds, 6).tolist())
            figure.set_layout_engine(None)  # with an engine, matplotlib would draw twice for each file
        return figure

    return drawn


def _check_subject(draw: Callable[..., Figure], given: Sequence[object]) -> None:
    """What a figure is of is a diagnosis, or a comparison, as the annotations of its parameters say."""
    parameters = list(inspect.signature(draw).parameters.values())
    if parameters[0].kind is inspect.Parameter.VAR_POSITIONAL:
        return check_comparable(given)
    types = get_type_hints(draw)
    kind = next((kind for kind in (Diagnosis, Comparison) if kind is types.get(parameters[0].name)), None)
    subjects = list(types.values()).count(kind)
    for place, one in enumerate(given):
        if kind and not isinstance(one, kind) and (place < subjects or isinstance(one, Diagnosis)):
            how = "compare(a, b)" if kind is Comparison else "diagnose(truth, detections)"
            raise InputError(
                kind.__name__.lower(), repr(one), f"a {kind.__name__}: plot.{draw.__name__}({how})"
            )
    return None


class ShownFigure(Figure):
    """A figure that a notebook shows without ``%matplotlib inline``.

    Attributes
    ----------
    scale
        By which files of it are larger than it was drawn, text and lines with it.
    sharpness
        By which a PNG of it has more dots an inch.
    """

    scale: float = 1.0
    sharpness: int = 1

    def _repr_png_(self) -> bytes:
        buffer = io.BytesIO()
        with figure_style():
            self.savefig(buffer, format="png", dpi=100)
        return buffer.getvalue()


def paper_width(width: float) -> float:
    """The width of paper that a figure takes, in inches."""
    column, page = PAPER_WIDTHS_INCHES
    return column if column >= MOST_SHRUNK * width else page


def columns_of_panels(panel: float, number: int, most: int) -> int:
    """How many panels of a width in inches lie side by side: at most `most`, on paper as many as fit."""
    if for_paper():
        most = max(1, min(most, int(PAPER_ROOM_INCHES / panel)))
        return math.ceil(number / math.ceil(number / most)) if number else 1  # rows of equal length
    return max(1, min(most, number))


def panel_grid(figure: Figure, number: int, columns: int, *, sharey: bool = False) -> list[Axes]:
    """So many charts in rows of `columns`; the places left over in the last row are empty."""
    rows = max(1, math.ceil(number / columns))
    charts: list[Axes] = figure.subplots(rows, columns, squeeze=False, sharey=sharey).ravel().tolist()
    for axes in charts[number:]:
        axes.set_axis_off()
    return charts[:number]


def panel_inches(wide: float, narrow: float, number: int) -> tuple[int, float]:
    """How many panels lie side by side, and their width: on paper so narrow, if they must, that three fit."""
    columns = columns_of_panels(narrow if for_paper() else wide, number, number)
    return columns, min(wide, PAPER_ROOM_INCHES / columns) if for_paper() else wide


def most_rows(row: float, width: float, rest: float = 1.4) -> int:
    """How many rows of a height in inches a figure of this width has, below and above them the `rest`.

    On paper, which shrinks wide figures, it is no higher than a page.
    """
    scale = paper_width(width) / max(width, PAPER_WIDTHS_INCHES[0])
    return max(1, int((PAPER_HEIGHT_INCHES / min(scale, 1.0) - rest) / row)) if for_paper() else MAX_CLASSES


def new_figure(width: float, height: float) -> Figure:
    """A white figure of this size in inches that can be drawn without a display."""
    figure = ShownFigure(figsize=(width, height), facecolor="white")
    FigureCanvasAgg(figure)
    if for_paper():
        figure.scale, figure.sharpness = paper_width(width) / width, 2
    return figure


def frame_lightly(axes: Axes, points: float = SMALL_POINTS, *, grid: str = "y") -> None:
    """Muted ticks of this font size, no frame above and at the right, grid lines of the axis `grid`."""
    axes.tick_params(labelsize=points, colors=MUTED_COLOUR, length=2.5, width=0.6, pad=2)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set(color=MUTED_COLOUR, linewidth=0.6)
    axes.xaxis.label.set(size=points + 0.5, color=MUTED_COLOUR)
    axes.yaxis.label.set(size=points + 0.5, color=MUTED_COLOUR)
    axes.grid(True, axis=grid, color=GRID_COLOUR, linewidth=0.5)  # type: ignore[arg-type]
    axes.set_axisbelow(True)


def draw_text(
    axes: Axes,
    x: float,
    y: float,
    text: str,
    size: float,
    colour: str = MUTED_COLOUR,
    ha: str = "left",
    **properties: Any,
) -> None:
    """A line of text, `size` in points, the middle of its small letters at height `y`."""
    axes.text(x, y, text, size=size, color=colour, ha=ha, va="center_baseline", **properties)


def write_in_middle(axes: Axes, text: str) -> None:
    """Say in an empty chart why it is empty."""
    axes.text(0.5, 0.5, text, size=8, color=MUTED_COLOUR, ha="center", va="center", transform=axes.transAxes)


def title_panel(axes: Axes, title: str, note: str = "", *, width: float) -> None:
    """Title of a panel, and a smaller line below it, cut to `width` inches."""
    axes.set_title(
        shorten(title, width, 9, "bold"),
        loc="left", size=9, weight="bold", color=TEXT_COLOUR, pad=15 if note else 5,
    )  # fmt: skip
    axes.annotate(
        wrap(note, width, SMALL_POINTS, lines=1)[0], (0, 1), xycoords="axes fraction", xytext=(0, 5),
        textcoords="offset points", size=SMALL_POINTS, color=MUTED_COLOUR,
    )  # fmt: skip


def label_rows(
    axes: Axes, names: Sequence[str], letters: Sequence[str] = (), offsets: Sequence[float] = ()
) -> None:
    """Names at rows 0, 1, … downwards, and beside each the letters of its bars, which lie at the offsets."""
    rows = np.arange(len(names))
    axes.set_yticks(rows, names)
    axes.tick_params(axis="y", length=0, labelsize=8, labelcolor=TEXT_COLOUR, pad=15 if letters else 5)
    if letters:
        axes.yaxis.remove_overlapping_locs = False  # a letter may be at the height of its row's name
        axes.set_yticks((rows[:, None] + np.array(offsets)).ravel(), list(letters) * len(rows), minor=True)
        axes.tick_params(axis="y", which="minor", length=0, labelsize=6.5, labelcolor=MUTED_COLOUR, pad=4)


def write_beside(
    axes: Axes,
    y: float,
    text: str,
    points: float,
    *,
    size: float = SMALL_POINTS,
    color: str = TEXT_COLOUR,
    **properties: Any,
) -> None:
    """Text at the right of a chart, at height `y` of its data, so many points from the frame."""
    axes.annotate(
        text, (1, y), xycoords=("axes fraction", "data"), xytext=(points, 0), textcoords="offset points",
        size=size, color=color, va="center_baseline", annotation_clip=False, **properties,
    )  # fmt: skip


def save_figure(figure: Figure, path: Path, dpi: int = 160) -> Path:
    """Write a figure atomically; the same figure gives the same bytes, for an SVG carries no date.

    Parameters
    ----------
    figure
        What to write; one of ``drawing_style("paper")`` has that style's width.
    path
        Where; the suffix is the format (``.png``, ``.svg``, ``.pdf``). Its folder is made if absent.
    dpi
        Dots an inch of a PNG.

    Raises
    ------
    InputError
        The folder cannot be made or written to.
    """
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    kind = path.suffix.lstrip(".")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with figure_style():
                _write(figure, part, kind, dpi)
            part.replace(path)
        finally:
            part.unlink(missing_ok=True)
    except OSError as error:
        raise InputError(path, error.strerror or "an unwritable folder", "a folder to write to") from None
    return path


def _write(figure: Figure, path: Path, kind: str, dpi: int) -> None:
    """Save a figure at its scale, without a date."""
    scale, sharpness = (figure.scale, figure.sharpness) if isinstance(figure, ShownFigure) else (1.0, 1)
    if kind == "pdf":
        _write_pdf(figure, path, scale)
        return
    undated = {"Date": None} if kind == "svg" else None
    figure.savefig(path, format=kind, dpi=sharpness * scale * dpi, metadata=undated)
    if kind == "svg" and scale != 1:
        svg = path.read_text(encoding="utf-8")
        sizes = r'(width|height)="([\d.]+)pt"'
        svg = re.sub(sizes, lambda found: f'{found[1]}="{scale * float(found[2]):.6g}pt"', svg, count=2)
        path.write_text(svg, encoding="utf-8")


def _write_pdf(figure: Figure, path: Path, scale: float) -> None:
    """As matplotlib's own, on a page that is larger by `scale`."""
    pdf: Any = backend_pdf  # without types
    mixed: Any = backend_mixed
    file, dpi = pdf.PdfFile(path, metadata={"CreationDate": None}), figure.dpi
    try:
        figure.dpi = 72  # points
        width, height = figure.get_size_inches()
        file.newPage(scale * width, scale * height)
        file.width, file.height = width, height  # what is drawn is cut to these
        file.output(scale, 0, 0, scale, 0, 0, pdf.Op.concat_matrix)
        pages = pdf.RendererPdf(file, 300, height, width)
        renderer = mixed.MixedModeRenderer(figure, width, height, 300, pages)
        figure.draw(renderer)
        renderer.finalize()
        file.finalize()
    finally:
        figure.dpi = dpi
        file.close()


def check_comparable(diagnoses: Sequence[Any]) -> None:
    """One figure shows detectors that were run on the same classes and images."""
    check_diagnoses(diagnoses)
    if not 0 < len(diagnoses) <= len(DETECTOR_LETTERS):
        raise InputError(
            "diagnoses", f"{len(diagnoses)} detectors", f"1 to {len(DETECTOR_LETTERS)} to draw in one figure"
        )
    first = diagnoses[0]
    for other in diagnoses[1:]:
        pair = f"detectors {first.name!r} and {other.name!r}"
        if (other.truth.classes, other.truth.images) != (first.truth.classes, first.truth.images):
            expected = "diagnoses on the same ground truth, to be drawn in one figure"
            raise InputError(pair, "different classes or images", expected)
        if other.iou != first.iou:
            thresholds = f"IoU thresholds of {first.iou:g} and {other.iou:g}"
            raise InputError(pair, thresholds, "one threshold, for detectors in one figure")


def most_frequent(
    objects: NDArray[np.int64], most: int = MAX_CLASSES, things: str = "classes"
) -> tuple[list[int], str]:
    """Indices of those with the most objects, in their order, and a sentence if there are more of them.

    Examples
    --------
    >>> most_frequent(np.array([5, 0, 7]), most=2)
    ([0, 2], ' Shown are the 2 of 3 classes with the most objects.')
    """
    if len(objects) <= most:
        return list(range(len(objects))), ""
    chosen = np.sort(np.argsort(-objects, kind="stable")[:most]).tolist()
    return chosen, f" Shown are the {most} of {len(objects):,} {things} with the most objects."


def ap_name(diagnosis: Diagnosis, kind: str) -> str:
    """What the average precision `kind` is called, with the smallest IoU of a correct detection."""
    return AP_KINDS[kind].name + ("" if AP_KINDS[kind].has_fixed_iou else f" at IoU {diagnosis.iou:g}")


@lru_cache(maxsize=4096)
def text_width(text: str, size: float, weight: str = "normal") -> float:
    """Width of a line of text in inches, `size` in points."""
    text = readable(text)
    font = FontProperties(family=RC_PARAMS["font.family"], weight=weight, size=size)
    return float(text_to_path.get_text_width_height_descent(text, font, False)[0]) / 72


def wrap(text: str, width: float, size: float, lines: int = 100, weight: str = "normal") -> list[str]:
    """Break `text` into lines of at most `width` inches; what exceeds `lines` lines ends in an ellipsis.

    Lines are broken at spaces and after ``_``, ``/`` and ``-``, for names of runs are often made of these.

    Examples
    --------
    >>> wrap("resnet50_spatial_shuffle", 1.1, 8.0)
    ['resnet50_spatial_', 'shuffle']
    >>> wrap("a fairly long name", 0.7, 8.0, lines=1)
    ['a fairly lon…']
    """

    def fits(line: str) -> bool:
        return text_width(line.rstrip(), size, weight) <= width

    def longest(line: str, end: str = "") -> int:
        """How many first letters fit, with this ending."""
        return bisect_left(range(1, len(line) + 1), True, key=lambda n: not fits(line[:n] + end))

    text, broken = readable(text), [""]
    for word in re.findall(r"[^\s_/-]*[\s_/-]|[^\s_/-]+", text):
        if broken[-1] and not fits(broken[-1] + word):
            broken.append("")
        rest = word
        while not fits(rest) and len(rest) > 1:  # longer than a line
            cut = max(1, longest(rest[:-1]))
            broken[-1:] = [rest[:cut], ""]
            rest = rest[cut:]
        broken[-1] += rest
    if len(broken) > lines:
        last = "".join(broken[lines - 1 :])
        broken[lines - 1 :] = [last[: max(1, longest(last, "…"))].rstrip() + "…"]
    return [line.rstrip() for line in broken]


def shorten(name: str, width: float, size: float, weight: str = "normal") -> str:
    """A name on a line of at most `width` inches: of a longer one the middle becomes an ellipsis.

    Examples
    --------
    >>> [shorten(name, 0.7, 8.0) for name in ("dog", "baseball bat", "baseball glove")]
    ['dog', 'baseball bat', 'baseb…love']
    """
    name = readable(name)

    def cut(letters: int) -> str:
        end = letters // 2
        return name[: letters - end].rstrip() + "…" + name[len(name) - end :].lstrip()

    if text_width(name, size, weight) <= width:
        return name
    lengths = range(1, len(name))
    return cut(max(1, bisect_left(lengths, True, key=lambda n: text_width(cut(n), size, weight) > width)))


def spread(wanted: NDArray[np.float64], step: float, limit: float) -> NDArray[np.float64]:
    """Move sorted positions as little as needed to be at least `step` apart and within ±`limit`.

    Examples
    --------
    >>> spread(np.array([0.0, 0.1, 2.0]), step=1.0, limit=3.0).tolist()
    [-0.45, 0.55, 2.0]
    >>> spread(np.array([2.9, 3.0]), step=1.0, limit=3.0).tolist()
    [2.0, 3.0]
    """

    def first_of(block: NDArray[np.float64]) -> float:
        offsets = step * np.arange(len(block))
        return float(np.clip(np.mean(block - offsets), -limit, max(-limit, limit - offsets[-1])))

    # Positions that touch form a block around the mean of what they want; blocks that then touch merge.
    blocks: list[tuple[float, NDArray[np.float64]]] = []  # first position, the positions wanted
    for value in wanted:
        block = np.array([value])
        while blocks and first_of(block) < blocks[-1][0] + len(blocks[-1][1]) * step:
            block = np.concatenate([blocks.pop()[1], block])
        blocks.append((first_of(block), block))
    return np.array([first + step * i for first, block in blocks for i in range(len(block))])


def text_colour_on(colour: str | tuple[float, float, float]) -> str:
    """Black or white, whichever is read better on `colour` (WCAG's contrast ratio).

    Examples
    --------
    >>> text_colour_on("#ffee88"), text_colour_on("#003366")
    ('#1a1a1a', 'white')
    """
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in to_rgb(colour)]
    luminance = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
    return TEXT_COLOUR if (luminance + 0.05) / 0.06 > 1.05 / (luminance + 0.05) else "white"


def percent_text(share: float) -> str:
    """A share as text with one decimal; what exists never reads 0.0%, nor all but a few 100.0%.

    Examples
    --------
    >>> percent_text(0.142), percent_text(0.0002), percent_text(0.9999), percent_text(1.0), percent_text(0.0)
    ('14.2%', '<0.1%', '>99.9%', '100.0%', '0.0%')
    """
    if 0 < share < 0.0005:
        return "<0.1%"
    return ">99.9%" if 0.9995 <= share < 1 else f"{share:.1%}"
