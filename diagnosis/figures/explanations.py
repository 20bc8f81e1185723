"""The legend of the error types: colour, name, and a sentence with an example from the data itself."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from diagnosis.breakdown import ERROR_TYPES, SIMILAR, STRONG
from diagnosis.figures.style import INK, LINE, TEXT, blank_axes, put_text, text_width, wrap
from diagnosis.record import Diagnosis

__all__ = ["Example", "draw_legend", "example_classes", "explanations", "legend_size"]

FAMILIAR = ("dog", "cat")


@dataclass(frozen=True)
class Example:
    """Classes to explain the error types with; empty where the data have none that would do.

    Parameters
    ----------
    detected
        What the detector says there is.
    similar, other
        A class that is similar to it, and one that is not.
    """

    detected: str
    similar: str
    other: str


def example_classes(diagnosis: Diagnosis) -> Example:
    """A class, one that counts as similar to it and one that does not, of those that have objects.

    Dog and cat where these are similar, for everybody knows them; else the first two similar classes.
    """
    classes, similar = diagnosis.truth.classes, diagnosis.similar
    present = np.bincount(diagnosis.truth.labels, minlength=len(classes)) > 0
    pairs = np.argwhere(similar & present & present[:, None])
    if not len(pairs):
        pairs = np.argwhere(similar)
    familiar = [classes.index(name) for name in FAMILIAR if name in classes]
    if len(familiar) == len(FAMILIAR) and similar[familiar[0], familiar[1]]:
        detected, like = familiar
    elif len(pairs):
        detected, like = pairs[0].tolist()
    else:
        detected, like = int(present.argmax()) if len(classes) else -1, -1
    if detected < 0:
        return Example("", "", "")
    unlike = ~similar[detected] & (np.arange(len(classes)) != detected)
    others = np.flatnonzero(unlike & present) if (unlike & present).any() else np.flatnonzero(unlike)
    return Example(
        classes[detected],
        classes[like] if like >= 0 else "",
        classes[others[0]] if len(others) else "",
    )


def explanations(diagnosis: Diagnosis) -> tuple[str, ...]:
    """What each error type means, in the order of :data:`ERROR_TYPES`.

    The types speak of the usual smallest IoU of a correct detection: the one in use takes its place. An
    example of similar classes is added, or that there are none.
    """
    words = [kind.explanation.replace(f"{STRONG:g}", f"{diagnosis.iou:g}") for kind in ERROR_TYPES]
    example = example_classes(diagnosis)
    instance = (
        f", such as {example.detected} instead of {example.similar}."
        if example.similar
        else "; no classes are similar here."
    )
    words[SIMILAR] = words[SIMILAR].removesuffix(".") + instance
    return tuple(words)


def legend_size(width: float, words: Sequence[str]) -> tuple[float, float]:
    """Width and height in inches of :func:`draw_legend` where at most `width` inches are free."""
    broken = _broken(width, words)
    widest = max(text_width(line, TEXT) for lines in broken for line in lines)
    return 1.3 + widest, sum(LINE * len(lines) + 0.04 for lines in broken)


def draw_legend(figure: Figure, left: float, top: float, width: float, words: Sequence[str]) -> None:
    """Colour, name and explanation of each error type, one below the other; places in inches.

    `words` are those of :func:`explanations`.
    """
    axes = blank_axes(figure, left, top, *legend_size(width, words))
    y = LINE / 2
    for kind, lines in zip(ERROR_TYPES, _broken(width, words), strict=True):
        axes.add_patch(Rectangle((0, y - 0.06), 0.2, 0.12, facecolor=kind.colour, linewidth=0))
        put_text(axes, 0.3, y, kind.name, TEXT, INK, weight="bold")
        for line in lines:
            put_text(axes, 1.3, y, line, TEXT)
            y += LINE
        y += 0.04


def _broken(width: float, words: Sequence[str]) -> list[list[str]]:
    """The lines of each explanation."""
    return [wrap(sentence, width - 1.3, TEXT) for sentence in words]
