"""The five shares by group of similar classes, and what the groups are: animals, vehicles, furniture, …"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Wedge
from numpy.typing import NDArray

from diagnosis.breakdown import ERROR_TYPES
from diagnosis.figures.legend import Entry
from diagnosis.figures.panels import Panel, page_of_panels
from diagnosis.figures.style import (
    FAINT,
    LETTERS,
    QUIET,
    check_comparable,
    count,
    house_style,
    ink_on,
    put_text,
)
from diagnosis.record import Diagnosis
from diagnosis.similar import group_indices

__all__ = ["group_pies"]

ALL = "all classes"
SIDE, RADIUS = 1.85, 0.88  # inches
LABELLED = 0.05  # smallest share that has room for its number
MOST = 6  # charts in a row


def group_pies(diagnoses: Sequence[Diagnosis]) -> Figure:
    """What became of the top N detections, as a pie for each group of similar classes and each detector.

    The shares are averaged over the classes of a group, as in :func:`diagnosis.figures.plots.pies`.

    Raises
    ------
    InputError
        No detector, or detectors on different ground truths.
    """
    check_comparable(diagnoses)
    groups = diagnoses[0].groups
    several, wide = len(diagnoses) > 1, len(groups) > MOST
    lettered = list(zip(LETTERS, diagnoses, strict=False))
    # A row for each detector; or, where the groups are too many for one, the detectors side by side.
    places = [(group, one) for group in groups for one in lettered]
    columns = MOST // len(diagnoses) * len(diagnoses) or MOST
    if not wide:
        places, columns = [(group, one) for one in lettered for group in groups], len(groups)
    panels, shares = [], []
    for group, (letter, diagnosis) in places:
        rows = group_indices(diagnosis.truth.classes, groups[group])
        counts = diagnosis.breakdown.counts[rows]
        known = counts.sum(axis=1) > 0
        shares.append(diagnosis.breakdown.shares[rows][known].mean(axis=0) if known.any() else None)
        number = f"N = {counts.sum():,}, {count(int(known.sum()), 'class', 'classes')}"
        panels.append(Panel(group, f"{letter}: {number}" if several else number))
    with house_style():
        figure, charts = page_of_panels(
            panels,
            (SIDE, SIDE),
            title="What became of the top detections of each class, by group of classes",
            subtitle="   ".join(f"{letter}: {one.name}" for letter, one in lettered)
            if several
            else diagnoses[0].name,
            keys=[Entry(kind.name, patch={"facecolor": kind.colour, "linewidth": 0}) for kind in ERROR_TYPES],
            note=f"In %, averaged over the classes of a group; parts below {100 * LABELLED:.0f} % have no "
            "number. N: detections counted. A class stands in one group at most: those that are similar to "
            "each other.",
            columns=columns,
            left=0.1,
            below=0.12,
        )
        for axes, share in zip(charts, shares, strict=True):
            _pie(axes, share)
    return figure


def _pie(axes: Axes, shares: NDArray[np.float64] | None) -> None:
    """Slices with whole per cents in them, clockwise from the top, in axes that become inches."""
    middle = SIDE / 2
    axes.set(xlim=(0, SIDE), ylim=(SIDE, 0))
    axes.axis("off")
    if shares is None:
        axes.add_patch(Wedge((middle, middle), RADIUS, 0, 360, facecolor="#f4f4f4", edgecolor=FAINT))
        put_text(axes, middle, middle, "nothing counted", 8, QUIET, ha="center")
        return
    ends = 360 * np.cumsum(shares) - 90
    for kind, share, end in zip(ERROR_TYPES, shares.tolist(), ends.tolist(), strict=True):
        if share == 0:
            continue
        part = Wedge((middle, middle), RADIUS, end - 360 * share, end, label=kind.name)
        part.set(facecolor=kind.colour, edgecolor="white" if share < 1 else "none", linewidth=0.8)
        axes.add_patch(part)
        if share >= LABELLED:
            angle = np.radians(end - 180 * share)
            reach = 0.0 if share > 0.999 else 0.66 * RADIUS
            x, y = middle + reach * np.cos(angle), middle + reach * np.sin(angle)
            put_text(axes, x, y, f"{100 * share:.0f}", 8, ink_on(kind.colour), ha="center", weight="bold")
