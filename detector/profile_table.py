"""The table that :func:`detector.profile` returns."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

__all__ = ["BASELINE", "Profile", "ProfileMethod", "ProfileRow"]

ProfileMethod = Literal["none", "spatial", "patch", "channel"]
"""What is taken away; ``"none"``: nothing, the baseline."""

BASELINE = 0
"""Stands where the number of a layer would, in the rows where none is shuffled."""

_ORDER = ("none", "patch", "spatial", "channel")


@dataclass(frozen=True)
class ProfileRow:
    """One measure of a network with one layer shuffled in one way."""

    layer: int
    """Number of the layer, counted from 1 at the input; 0: none, the baseline."""
    name: str
    """Of its module in the network."""
    percent: int
    """What part of all layers it and those after it are, in whole percent."""
    channels: int
    """Of the map that enters it."""
    height: int
    """Of that map, in positions."""
    width: int
    """Of that map, in positions."""
    method: ProfileMethod
    """What is taken away."""
    patch: int | None
    """Side of the patches of ``"patch"``, in positions."""
    measure: str
    """What is measured: a name that ``evaluate`` gives, or ``"score"`` where it returns one number."""
    values: tuple[float, ...]
    """What was measured in each pass."""

    @property
    def passes(self) -> int:
        """How many there are."""
        return len(self.values)

    @property
    def mean(self) -> float:
        """Of the passes; NaN where one of them is."""
        return statistics.fmean(self.values)

    @property
    def std(self) -> float:
        """Standard deviation of the passes (n − 1); NaN where there is only one, or one is NaN."""
        if self.passes < 2 or not all(map(math.isfinite, self.values)):
            return math.nan
        return statistics.stdev(self.values)


@dataclass(frozen=True)
class Profile:
    """What each layer's order is worth to a network.

    Parameters
    ----------
    rows
        In the order of the layers, the baseline first.

    Examples
    --------
    >>> none = ProfileRow(0, "", 0, 0, 0, 0, "none", None, "accuracy", (0.75,))
    >>> last = ProfileRow(13, "features.40", 8, 512, 2, 2, "spatial", None, "accuracy", (0.74, 0.72))
    >>> found = Profile.of([last, none])
    >>> found.at(13, "patch", 4).mean
    0.73
    >>> print(found)
    layer  size       method      accuracy
        -  -          none        0.7500
       13  512x2x2    spatial     0.7300 ± 0.0141
    """

    rows: tuple[ProfileRow, ...]

    @staticmethod
    def of(rows: Iterable[ProfileRow]) -> Profile:
        """A table of rows in any order."""
        rows = list(rows)
        measures = list(dict.fromkeys(row.measure for row in rows))

        def place(row: ProfileRow) -> tuple[int, int, int, int]:
            return row.layer, _ORDER.index(row.method), row.patch or 0, measures.index(row.measure)

        return Profile(tuple(sorted(rows, key=place)))

    @property
    def measures(self) -> tuple[str, ...]:
        """What was measured."""
        return tuple(dict.fromkeys(row.measure for row in self.rows))

    @property
    def layers(self) -> tuple[int, ...]:
        """Numbers of the layers that were shuffled."""
        return tuple(dict.fromkeys(row.layer for row in self.rows if row.layer != BASELINE))

    @property
    def patches(self) -> tuple[int, ...]:
        """Sides of patches that were smaller than the map somewhere."""
        return tuple(sorted({row.patch for row in self.rows if row.patch is not None}))

    def baseline(self, measure: str | None = None) -> ProfileRow | None:
        """The row with nothing shuffled; of the first measure where none is named."""
        return self.at(BASELINE, "none", measure=measure)

    def at(
        self, layer: int, method: ProfileMethod, patch: int | None = None, measure: str | None = None
    ) -> ProfileRow | None:
        """The row of a layer and a method, or None where it was not measured.

        A patch as large as the layer's map is the spatial shuffle there.
        """
        if measure is None:
            measure = next(iter(self.measures), "")
        if method == "patch" and patch is not None and patch >= self._sides.get(layer, patch + 1):
            method, patch = "spatial", None
        return self._places.get((layer, method, patch, measure))

    @cached_property
    def _sides(self) -> dict[int, int]:
        return {row.layer: max(row.height, row.width) for row in self.rows}

    @cached_property
    def _places(self) -> dict[tuple[int, ProfileMethod, int | None, str], ProfileRow]:
        return {(row.layer, row.method, row.patch, row.measure): row for row in self.rows}

    def __str__(self) -> str:
        """A table for reading: one line for each layer and method, one column for each measure."""
        head = f"{'layer':>5}  {'size':9}  {'method':10}  " + "  ".join(f"{m:15}" for m in self.measures)
        lines = [head.rstrip()]
        for row in self.rows:
            if row.measure != self.measures[0]:
                continue
            cells = [self.at(row.layer, row.method, row.patch, measure) for measure in self.measures]
            numbers = "  ".join(f"{_number(cell):15}" for cell in cells)
            what = f"patch {row.patch}" if row.method == "patch" else row.method
            number = "-" if row.layer == BASELINE else str(row.layer)
            size = "-" if row.layer == BASELINE else f"{row.channels}x{row.height}x{row.width}"
            lines.append(f"{number:>5}  {size:9}  {what:10}  {numbers}".rstrip())
        return "\n".join(lines)


def _number(row: ProfileRow | None) -> str:
    if row is None or math.isnan(row.mean):
        return "-"
    return f"{row.mean:.4f}" + ("" if math.isnan(row.std) else f" ± {row.std:.4f}")
