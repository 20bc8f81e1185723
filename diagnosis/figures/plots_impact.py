"""Figures of what errors cost and of how they change down the ranking, in the manner of Hoiem's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from numpy.typing import NDArray

from diagnosis.breakdown import BACKGROUND, ERROR_TYPES, LOCALIZATION, SIMILAR, ErrorType
from diagnosis.figures.legend import Entry, LegendEntry
from diagnosis.figures.panels import Panel, page_of_panels
from diagnosis.figures.style import INK, QUIET, count, house_style
from diagnosis.impact import VARIANTS, Impact
from diagnosis.similar import group_indices
from diagnosis.trends import DetectionTrend, FalsePositiveTrend

__all__ = ["detection_areas", "false_positive_areas", "impact_bars"]

Groups = Mapping[str, Sequence[str]]

# Name of the variant, how the bar is called, its colour, whether it is hatched.
BARS: tuple[tuple[str, str, str, bool], ...] = (
    ("fix_localization", "localization corrected", ERROR_TYPES[LOCALIZATION].colour, False),
    ("ignore_localization", "localization removed", ERROR_TYPES[LOCALIZATION].colour, True),
    ("ignore_similar", "similar removed", ERROR_TYPES[SIMILAR].colour, False),
    ("ignore_background", "background and other removed", ERROR_TYPES[BACKGROUND].colour, False),
)
AREA, BARRED = (1.75, 1.45), (1.9, 0.95)  # inches: charts of several groups
AREA_ALONE, BARRED_ALONE = (4.3, 2.0), (4.6, 1.2)  # a single chart
STRONG_LINE: dict[str, str | float] = {"color": INK, "linewidth": 1.4, "linestyle": "-"}
WEAK_LINE: dict[str, str | float] = {"color": INK, "linewidth": 1.4, "linestyle": "--"}


def _groups(classes: Sequence[str], groups: Groups | None) -> dict[str, list[str]]:
    chosen = {"all classes": list(classes)} if groups is None else {k: list(v) for k, v in groups.items()}
    for members in chosen.values():
        group_indices(classes, members)
    return chosen


def impact_bars(
    result: Impact, groups: Groups | None = None, *, name: str = "", normalized: bool = False
) -> Figure:
    """How much average precision there is to gain from each type of error, by group of classes.

    Parameters
    ----------
    result
        What :func:`diagnosis.impact.impact` found.
    groups
        Names of the classes of each group; by default one group of all.
    name
        What the detector is called.
    normalized
        Of normalised average precision.

    Raises
    ------
    InputError
        A group with an unknown class, or with one twice.
    """
    chosen = _groups(result.classes, groups)
    kind = "normalised average precision" if normalized else "average precision"
    rows = [[variant.name for variant in VARIANTS].index(bar[0]) for bar in BARS]
    gains = {group: result.bars(members, normalized=normalized)[rows] for group, members in chosen.items()}
    values = (result.scores.apn if normalized else result.scores.ap)[0]
    panels = []
    for group, members in chosen.items():
        known = values[group_indices(result.classes, members)]
        known = known[~np.isnan(known)]
        score = "normalised AP" if normalized else "AP"
        mean = f"{score} {100 * known.mean():.1f} %" if len(known) else "no objects"
        objects = int(result.scores.objects[0, group_indices(result.classes, members)].sum())
        panels.append(Panel(group, f"{mean}, {_size(objects, len(members))}"))
    largest = max((float(gain.max()) for gain in gains.values() if not np.isnan(gain).any()), default=0.0)
    keys = [Entry(text, patch=_bar_look(colour, hatched)) for _, text, colour, hatched in BARS]
    with house_style():
        figure, charts = page_of_panels(
            panels,
            BARRED if len(panels) > 1 else BARRED_ALONE,
            title=f"What each type of error costs: gain in {kind}",
            subtitle=name,
            keys=keys,
            note="N: number of objects. Points of Hoiem's average precision, averaged over the classes. "
            "Corrected: errors become correct detections, second ones of an object are removed. "
            "Removed: errors are moved below all other detections.",
            left=0.2,
        )
        for axes, gain in zip(charts, gains.values(), strict=True):
            _bars(axes, gain, largest)
    return figure


def _size(objects: int, classes: int) -> str:
    return f"N = {objects:,}" + (f", {count(classes, 'class', 'classes')}" if classes > 1 else "")


def _bar_look(colour: str, hatched: bool) -> dict[str, str | float]:
    if hatched:
        return {"facecolor": "white", "edgecolor": colour, "hatch": "//////", "linewidth": 0.8}
    return {"facecolor": colour, "edgecolor": colour, "linewidth": 0.8}


def _bars(axes: Axes, gain: NDArray[np.float64], largest: float) -> None:
    axes.grid(False)
    axes.grid(True, axis="x", color="#eeeeee", linewidth=0.5)
    axes.set(xlim=(0, max(100 * largest, 1.0) * 1.25), ylim=(len(gain) - 0.4, -0.6), yticks=[])
    axes.set_xlabel("points gained", labelpad=2)
    if np.isnan(gain).any():
        axes.text(
            0.5, 0.5, "no objects", size=8, color=QUIET, ha="center", va="center", transform=axes.transAxes
        )
        return
    for row, (value, (_, text, colour, hatched)) in enumerate(zip(gain.tolist(), BARS, strict=True)):
        look = _bar_look(colour, hatched)
        axes.add_patch(Rectangle((0, row - 0.36), 100 * value, 0.72, label=text, **look))  # type: ignore[arg-type]
        axes.annotate(
            f"{100 * value:.1f}",
            (100 * value, row),
            xytext=(3, 0),
            textcoords="offset points",
            size=7,
            color=INK,
            va="center",
        )


def detection_areas(trend: DetectionTrend, groups: Groups | None = None, *, name: str = "") -> Figure:
    """What the top detections are, as a stacked area over their number, with recall as lines.

    Parameters
    ----------
    trend
        What :func:`diagnosis.trends.detection_trend` found.
    groups
        Names of the classes of each group; by default one group of all.
    name
        What the detector is called.

    Raises
    ------
    InputError
        A group with an unknown class, or with one twice.
    """
    chosen = _groups(trend.classes, groups)
    panels = []
    for group, members in chosen.items():
        objects = int(trend.objects[group_indices(trend.classes, members)].sum())
        panels.append(Panel(group, _size(objects, len(members))))
    keys = [_type_key(kind) for kind in ERROR_TYPES]
    keys += [
        Entry(f"recall, IoU {threshold:g}", line=look)
        for threshold, look in ((trend.strong, STRONG_LINE), (trend.weak, WEAK_LINE))
    ]
    with house_style():
        figure, charts = page_of_panels(
            panels,
            AREA if len(panels) > 1 else AREA_ALONE,
            title="What the top detections are, the deeper one looks",
            subtitle=name,
            keys=keys,
            note="N: number of a class's objects. Each class gives so many times its own N of its surest "
            "detections, or all it has; these are counted together. Recall is averaged over the classes; "
            "for it, duplicates first go to the end of the ranking, as in Hoiem's tool.",
        )
        for axes, members in zip(charts, chosen.values(), strict=True):
            shares = trend.shares(members)
            _areas(axes, trend.factors, shares, ERROR_TYPES, "no detections")
            axes.set_xticks(trend.factors, [_multiple(factor) for factor in trend.factors.tolist()])
            axes.set_xlabel("detections (× N)", labelpad=2)
            for weak, look in ((False, STRONG_LINE), (True, WEAK_LINE)):
                recall = 100 * trend.recall(members, weak=weak)
                axes.plot(trend.factors, recall, **look)  # type: ignore[arg-type]
    return figure


def _multiple(factor: float) -> str:
    """A factor as a label: ⅛ as 1/8.

    Examples
    --------
    >>> _multiple(0.125), _multiple(2.0), _multiple(0.3)
    ('1/8', '2', '0.3')
    """
    below = 1 / factor if factor else 0.0
    return f"1/{below:.0f}" if below > 1 and below.is_integer() else f"{factor:g}"


def false_positive_areas(trends: Mapping[str, FalsePositiveTrend], *, name: str = "") -> Figure:
    """What the first false positives are, as a stacked area over their number.

    Parameters
    ----------
    trends
        What :func:`diagnosis.trends.false_positive_trend` found, by name of the group.
    name
        What the detector is called.
    """
    panels = []
    for group, trend in trends.items():
        deepest = int(trend.counts.sum(axis=1).max(initial=0))
        panels.append(Panel(group, _size(deepest, len(trend.members))))
    with house_style():
        figure, charts = page_of_panels(
            panels,
            AREA if len(panels) > 1 else AREA_ALONE,
            title="What the first false positives are, the deeper one looks",
            subtitle=name,
            keys=[_type_key(kind) for kind in ERROR_TYPES[1:]],
            note="N: how many are shown at most. The classes of a group are walked down together, the "
            "surest detection of each first. "
            "An area ends where there are no more false positives.",
        )
        for axes, trend in zip(charts, trends.values(), strict=True):
            number = trend.counts.sum(axis=1)
            known = np.unique(number, return_index=True)[1]
            known = known[number[known] > 0]
            _areas(
                axes,
                number[known].astype(np.float64),
                trend.shares[known],
                ERROR_TYPES[1:],
                "no false positives",
            )
            wanted = trend.wanted[:: 2 if len(trend.wanted) > 5 else 1]
            axes.set_xlim(
                float(trend.wanted.min()), max(float(trend.wanted.max()), float(trend.wanted.min()) + 1)
            )
            axes.set_xticks(wanted, [f"{number:,}" for number in wanted.tolist()])
            axes.set_xlabel("false positives", labelpad=2)
    return figure


def _type_key(kind: ErrorType) -> LegendEntry:
    return Entry(kind.name, patch={"facecolor": kind.colour, "linewidth": 0})


def _areas(
    axes: Axes, depth: NDArray[np.float64], shares: NDArray[np.float64], kinds: Sequence[ErrorType], none: str
) -> None:
    """Shares ``(P, K)`` stacked over the depth ``(P,)``, on a logarithmic axis."""
    axes.set(ylim=(0, 100))
    axes.set_yticks([0, 25, 50, 75, 100], ["0", "25", "50", "75", "100 %"])
    known = ~np.isnan(shares).any(axis=1) & (depth > 0)
    axes.set_xscale("log", base=2)
    axes.minorticks_off()
    if not known.any():
        axes.text(0.5, 0.5, none, size=8, color=QUIET, ha="center", va="center", transform=axes.transAxes)
        return
    areas = axes.stackplot(depth[known], *(100 * shares[known]).T, colors=[kind.colour for kind in kinds])
    for area, kind in zip(areas, kinds, strict=True):
        area.set(label=kind.name, edgecolor="white", linewidth=0.4)
    if known.sum() > 1:
        axes.set_xlim(depth[known].min(), depth[known].max())
