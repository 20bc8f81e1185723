"""Where in a trained network does space matter? Each layer is shuffled in turn, at test time alone.

One layer at a time is shuffled by :func:`detector.modify_layers`, the network is scored, and the shuffle is
removed. The paper does this with networks that were trained with the shuffle (and, in Table 1, with the last
layers of one that was not); here it is done with every layer of any network.

A shuffled layer hands on maps that the network has never seen, so its score can fall although order does not
matter. Controls separate the two: ``profile(network, loader, controls=True)`` also measures weaker and
stronger changes of the same maps, and ``reestimate_batch_norm=train_loader`` gives batch norm the statistics
of the shuffled maps.

>>> import torch
>>> from detector import vgg16
>>> network = vgg16(10, width=0.1)
>>> images = torch.zeros(2, 3, 32, 32)
>>> found = profile(network, lambda network: network(images).std().item(), layers=[12, 13], passes=2)
>>> [(row.layer, row.method, row.passes) for row in found.rows]
[(0, 'none', 1), (12, 'spatial', 2), (12, 'channel', 2), (13, 'spatial', 2), (13, 'channel', 2)]
"""

from __future__ import annotations

import csv
import io
import math
import statistics
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, fields
from functools import cached_property, partial
from importlib import import_module
from pathlib import Path
from typing import Any, Literal, TypeVar, cast

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from detector.graph import Example, own_image_size
from detector.intervene import check_unwrapped, modify_layers, needs_passes, shuffles, without_shuffles
from detector.layers import FullyConnected, Layer, is_number, list_layers, nearest, select_layers
from detector.profile_page import draw_svg, write_page
from detector.registry import CONTROLS, METHODS, ShuffleMethod, method_style
from detector.scores import Batches, Score, modes_restored, score_on
from detector.shuffle import SHUFFLES

__all__ = [
    "BASELINE", "Evaluation", "Profile", "ProfileDifference", "ProfileMethod", "ProfileRow", "compare",
    "evaluate", "profile",
]  # fmt: skip

ProfileMethod = Literal["none"] | ShuffleMethod
"""What is taken away; ``"none"``: nothing, the baseline."""

BASELINE = 0
"""The layer number of rows where no layer is shuffled."""

Variant = tuple[ProfileMethod, int | None]  # a method and its patch size
Network = TypeVar("Network", bound=nn.Module)
Evaluate = Callable[[Network], Score | Mapping[str, Score]]
Images = Iterable[Tensor | Sequence[Tensor]]  # batches of images, alone or with something else behind them

_SINGLE_MEASURE = "score"  # the name of the measure of an `evaluate` that returns just one number
_NORMAL_QUANTILE = statistics.NormalDist().inv_cdf(0.975)  # of 95 % intervals
_MOST_CLASSES = 100  # in a table of a page
_MOST_TICKS = 20  # on the axis of a plot, one for each layer
_MEASURES = {
    "accuracy_top5": "top-5 accuracy",
    "loss": "loss (nats)",
    "kl": "KL divergence from nothing shuffled (nats)",
    "cka": "CKA of the logits",
}  # in words, where the name is none
_ESTIMATION = -1  # the number of the pass in which batch norm is re-estimated
_OWN_DRAWS = 0x70726F66  # gives these passes other draws than training and other evaluations have


# ---------------------------------------------------------------- the table


@dataclass(frozen=True)
class ProfileRow:
    """One measure of a network with one layer shuffled in one way."""

    layer: int
    """Number of the layer, counted from 1 at the input; 0: none, the baseline."""
    name: str
    """Name of its module in the network."""
    percent: int
    """Share of all layers from this one on, in whole percent."""
    channels: int
    """Channels of the feature map that enters it."""
    height: int
    """Height of that map, in positions."""
    width: int
    """Width of that map, in positions."""
    method: ProfileMethod
    """What is taken away."""
    patch: int | None
    """Side of the patches of a method that has them, in positions."""
    measure: str
    """What is measured: a name from ``evaluate``, or ``"score"`` where it returns one number."""
    values: tuple[float, ...]
    """One for each pass."""
    by_image: Tensor | None = field(default=None, repr=False, compare=False)
    """Mean of the passes for each image, (N,) float64; None where only the mean over images is known."""

    @property
    def passes(self) -> int:
        """Number of passes."""
        return len(self.values)

    @property
    def mean(self) -> float:
        """Mean over passes; NaN where one of them is."""
        return statistics.fmean(self.values)

    @property
    def std(self) -> float:
        """Standard deviation of the passes (n − 1); NaN where there is only one, or one is NaN."""
        if self.passes < 2 or not all(map(math.isfinite, self.values)):
            return math.nan
        return statistics.stdev(self.values)

    @property
    def interval(self) -> tuple[float, float]:
        """95 % interval of the mean for other images and the same draws; NaN where :attr:`by_image` is None.

        From the standard error over images (normal approximation): of no width where all images score alike.
        """
        return _interval(self.mean, self.by_image)

    @property
    def _key(self) -> tuple[int, ProfileMethod, int | None, str]:
        return self.layer, self.method, self.patch, self.measure


def _interval(mean: float, by_image: Tensor | None) -> tuple[float, float]:
    if by_image is None or len(by_image) < 2:
        return math.nan, math.nan
    half = _NORMAL_QUANTILE * by_image.std().item() / math.sqrt(len(by_image))
    return mean - half, mean + half


@dataclass(frozen=True)
class Profile:
    """The scores of a network with each of its layers shuffled in turn.

    Parameters
    ----------
    rows
        In the order of the layers, the baseline first.
    cumulative
        Whether all layers behind a row's layer were shuffled with it.
    settings
        How it was measured, in words, for :meth:`to_html`.

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
    cumulative: bool = False
    settings: Mapping[str, Any] = field(default_factory=dict, repr=False, compare=False)

    @staticmethod
    def of(
        rows: Iterable[ProfileRow], cumulative: bool = False, settings: Mapping[str, Any] | None = None
    ) -> Profile:
        """A table of rows in any order."""
        rows = list(rows)
        measures = list(dict.fromkeys(row.measure for row in rows))
        methods = ["none", *sorted(SHUFFLES, key=lambda name: not METHODS[name].needs_patch)]  # patches first

        def place(row: ProfileRow) -> tuple[int, int, int, int]:
            return row.layer, methods.index(row.method), row.patch or 0, measures.index(row.measure)

        return Profile(tuple(sorted(rows, key=place)), cumulative, settings or {})

    @property
    def measures(self) -> tuple[str, ...]:
        """Names of the measures."""
        return tuple(dict.fromkeys(row.measure for row in self.rows))

    @property
    def main_measures(self) -> tuple[str, ...]:
        """Those that are no part of another, as ``accuracy[3]``, of a class, is of ``accuracy``."""
        return tuple(
            name for name in self.measures if name.partition("[")[0] not in {*self.measures} - {name}
        )

    def parts(self, measure: str) -> dict[str, str]:
        """Names of the parts of a measure that is also known by class or by layer."""
        return {
            name[len(measure) + 1 : -1]: name
            for name in self.measures
            if name.startswith(f"{measure}[") and name.endswith("]")
        }

    @property
    def layers(self) -> tuple[int, ...]:
        """Numbers of the layers that were shuffled."""
        return tuple(dict.fromkeys(row.layer for row in self.rows if row.layer != BASELINE))

    @property
    def patches(self) -> tuple[int, ...]:
        """Sides of patches that were smaller than the map somewhere."""
        return tuple(sorted({row.patch for row in self.rows if row.patch is not None}))

    def baseline(self, measure: str | None = None) -> ProfileRow | None:
        """The row with nothing shuffled; by default of the first measure."""
        return self.at(BASELINE, "none", measure=measure)

    def at(
        self, layer: int, method: ProfileMethod, patch: int | None = None, measure: str | None = None
    ) -> ProfileRow | None:
        """The row of a layer and a method, or None where it was not measured.

        Patches as large as the layer's map are the spatial shuffle there.
        """
        if measure is None:
            measure = next(iter(self.measures), "")
        if patch is not None and patch >= self._sides.get(layer, patch + 1):
            method, patch = _on_whole_map(method, patch)
        return self._row_of.get((layer, method, patch, measure))

    @cached_property
    def _sides(self) -> dict[int, int]:
        return {row.layer: max(row.height, row.width) for row in self.rows}

    @cached_property
    def _row_of(self) -> dict[tuple[int, ProfileMethod, int | None, str], ProfileRow]:
        return {row._key: row for row in self.rows}

    @cached_property
    def _variants(self) -> list[Variant]:
        return list(dict.fromkeys((row.method, row.patch) for row in self.rows if row.layer != BASELINE))

    def __str__(self) -> str:
        """A text table: one line for each layer and method, one column for each of the main measures."""
        layer = "from" if self.cumulative else "layer"
        head = f"{layer:>5}  {'size':9}  {'method':10}  " + "  ".join(f"{m:15}" for m in self.main_measures)
        lines = [head.rstrip()]
        for row in self.rows:
            if row.measure != self.measures[0]:
                continue
            cells = [self.at(row.layer, row.method, row.patch, measure) for measure in self.main_measures]
            numbers = "  ".join(f"{_mean_and_spread(cell):15}" for cell in cells)
            what, size = _in_words(row.method, row.patch), f"{row.channels}x{row.height}x{row.width}"
            number, size = ("-", "-") if row.layer == BASELINE else (str(row.layer), size)
            lines.append(f"{number:>5}  {size:9}  {what:10}  {numbers}".rstrip())
        return "\n".join(lines)

    def records(self) -> list[dict[str, Any]]:
        """Each row as a dictionary: its attributes, `passes`, `mean`, `std`; and `low`, `high`: its interval.

        No row has `low` and `high` where scores by image are not known.
        """
        known = any(row.by_image is not None for row in self.rows)
        return [
            {name: getattr(row, name) for name in _COLUMNS}
            | (dict(zip(("low", "high"), row.interval, strict=True)) if known else {})
            | {"values": row.values}
            for row in self.rows
        ]

    def to_csv(self, file: str | Path | None = None) -> str:
        """The table as CSV, also written to a file where one is given.

        A line for each row of :meth:`records`. What is not defined is empty; `values` have spaces between.
        """
        text = io.StringIO()
        records = self.records()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(records[0] if records else [*_COLUMNS, "values"])
        for record in records:
            cells = (record | {"values": " ".join(map(repr, record["values"]))}).values()
            writer.writerow("" if cell is None or cell != cell else cell for cell in cells)  # NaN: empty
        if file is not None:
            Path(file).write_text(text.getvalue(), encoding="utf-8")
        return text.getvalue()

    def to_pandas(self) -> Any:
        """:meth:`records` as a ``pandas.DataFrame``; pandas must be installed."""
        return import_module("pandas").DataFrame(self.records())

    def plot(self, measure: str | None = None, *, ax: Any = None) -> Any:
        """Draw a measure against the layers, a line for each method, dashed the baseline.

        Bars are 95 % intervals over images, or one standard deviation of a pass where scores by image are
        not known; methods are drawn beside each other. Needs Matplotlib.

        Parameters
        ----------
        measure
            One of :attr:`measures`. Default: the first.
        ax
            Matplotlib's Axes to draw on. Default: those of a new figure.

        Returns
        -------
        matplotlib.axes.Axes

        Raises
        ------
        ValueError
            An unknown measure, or no layer in the table.
        """
        measure = next(iter(self.measures), "") if measure is None else measure
        if measure not in self.measures or not self.layers:
            raise ValueError(
                f"measure: found {measure!r}; expected one of the measures of a profile with layers: "
                f"{', '.join(self.measures) or 'none'}"
            )
        if ax is None:
            ax = import_module("matplotlib.pyplot").subplots()[1]
        baseline = self.baseline(measure)
        if baseline is not None:
            ax.axhline(baseline.mean, linestyle="--", color="0.5", label="nothing shuffled")
        for number, (method, patch) in enumerate(self._variants):
            rows = [row for row in self.rows if row._key[1:] == (method, patch, measure)]
            colour, marker = method_style(method, patch)
            aside = 0.5 * ((number + 0.5) / len(self._variants) - 0.5)  # so that no interval hides another
            halves = [(row.interval[1] - row.mean, row.std, 0.0) for row in rows]
            ax.errorbar(
                [row.layer + aside for row in rows],
                [row.mean for row in rows],
                [next(half for half in known if not math.isnan(half)) for known in halves],
                color=colour,
                marker=marker,
                markersize=4,
                linewidth=1.2,
                elinewidth=0.8,
                linestyle=METHODS[method].dashes,
                label=_in_words(method, patch),
            )
        ax.set(
            xlabel=f"{'first ' if self.cumulative else ''}shuffled layer",
            ylabel=_MEASURES.get(measure, measure),
        )
        ax.spines[["top", "right"]].set_visible(False)
        ax.set_xlim(self.layers[0] - 0.5, self.layers[-1] + 0.5)
        if len(self.layers) <= _MOST_TICKS:
            ax.set_xticks(self.layers)
        else:
            ax.locator_params(axis="x", integer=True)
        ax.legend()
        return ax

    def to_html(self, file: str | Path | None = None, *, title: str = "Where does space matter?") -> str:
        """One HTML page: the settings, a plot of each main measure, and tables; without any request.

        It is also written to a file where one is given. Needs pandas and Matplotlib, and at least one layer.
        Of more than 100 classes those with the largest loss are shown.
        """
        cells = [self._cells(row) for row in self.rows if row.measure == self.measures[0]]
        tables = {"Scores": import_module("pandas").DataFrame(cells)}
        for measure in self.main_measures:
            parts = self.parts(measure)
            kind = "layer" if measure == "cka" else "class"
            for variant in self._variants if parts else ():
                tables[f"{measure} by {kind}: {_in_words(*variant)}"] = self._table_of_parts(parts, *variant)
        figures = {}
        for measure in self.main_measures:
            words = _MEASURES.get(measure, measure)
            draw = partial(self._plot_beside_legend, measure)
            figures[words[0].upper() + words[1:]] = draw_svg(draw, measure)
        counts = [len(row.by_image) for row in self.rows if row.by_image is not None]
        settings = {**({"images": max(counts)} if counts else {}), **self.settings}
        text = write_page(title, settings, figures, tables)
        if file is not None:
            Path(file).write_text(text, encoding="utf-8")
        return text

    def _plot_beside_legend(self, measure: str, ax: Any) -> None:
        self.plot(measure, ax=ax).legend(loc="upper left", bbox_to_anchor=(1, 1), frameon=False)

    def _table_of_parts(self, parts: Mapping[str, str], method: ProfileMethod, patch: int | None) -> Any:
        """A line for each class or layer, a column for each shuffled layer."""
        columns: dict[Any, list[float]] = {}
        for layer in (BASELINE, *self.layers):
            place = (BASELINE, "none", None) if layer == BASELINE else (layer, method, patch)
            found = [self._row_of.get((*place, name)) for name in parts.values()]
            if any(found):
                columns[layer or "plain"] = [math.nan if row is None else row.mean for row in found]
        table = import_module("pandas").DataFrame(columns, index=list(parts))
        table.columns.name = "shuffled layer"
        if len(table) > _MOST_CLASSES and "plain" in table:
            loss = table["plain"] - table.drop(columns="plain").mean(axis=1)
            table = table.loc[loss.sort_values(ascending=False, kind="stable").index[:_MOST_CLASSES]]
        return table

    def _cells(self, row: ProfileRow) -> dict[str, str]:
        """A line of the table of scores."""
        cells = {"layer": "–", "name": "", "map": "", "method": _in_words(row.method, row.patch)}
        if row.layer != BASELINE:
            size = f"{row.channels}×{row.height}×{row.width}"
            cells |= {"layer": str(row.layer), "name": row.name, "map": size}
        for measure in self.main_measures:
            found = self._row_of.get((*row._key[:3], measure))
            low, high = found.interval if found else (math.nan, math.nan)
            cells[measure] = _mean_and_spread(found)
            cells[f"{measure}, 95 %"] = "–" if math.isnan(low) else f"{low:.3f} to {high:.3f}"
        return cells


_COLUMNS = [item.name for item in fields(ProfileRow) if item.name not in ("values", "by_image")]
_COLUMNS += ["passes", "mean", "std"]  # of a record, before its values


@dataclass(frozen=True)
class ProfileDifference:
    """How much more one network scores than another with the same layer shuffled in the same way."""

    layer: int
    """Number of the layer; 0: the baseline."""
    method: ProfileMethod
    """What is taken away."""
    patch: int | None
    """Side of the patches of a method that has them, in positions."""
    measure: str
    """What is measured."""
    difference: float
    """The second network's score less the first's, mean over images and passes."""
    low: float
    """Lower end of its 95 % interval over images, paired by image."""
    high: float
    """Upper end of that interval."""


def compare(first: Profile, second: Profile, *, from_baseline: bool = False) -> list[ProfileDifference]:
    """Paired differences of two profiles that were measured on the same images in the same order.

    Parameters
    ----------
    first, second
        Profiles with scores by image, as of a :func:`profile` of batches. CKA has none and is left out.
    from_baseline
        Compare what each gains over its own baseline (mostly a loss) instead of the scores.

    Returns
    -------
    list of ProfileDifference
        `second` less `first`, for each layer, method and measure of both; ``pandas.DataFrame`` takes it.

    Raises
    ------
    ValueError
        No scores by image, other numbers of images, nothing in common, or one of them cumulative.

    Examples
    --------
    >>> scores = torch.tensor([1.0, 0.0, 1.0, 1.0], dtype=torch.float64)
    >>> of_layer = (1, "conv", 100, 3, 8, 8, "spatial", None, "accuracy")
    >>> row = ProfileRow(*of_layer, (0.75,), scores)
    >>> other = ProfileRow(*of_layer, (1.0,), torch.ones_like(scores))
    >>> compare(Profile((row,)), Profile((other,)))[0].difference
    0.25
    """
    if first.cumulative != second.cumulative:
        raise ValueError("compare: found one cumulative profile of two; expected both or none")
    scored = all(any(row.by_image is not None for row in table.rows) for table in (first, second))
    found = []
    for a in first.rows:
        b = second._row_of.get(a._key)
        if b is None or (from_baseline and a.layer == BASELINE):
            continue
        if scored and a.by_image is b.by_image is None:
            continue
        rows = [b, a, *(table.baseline(a.measure) for table in (second, first) if from_baseline)]
        if None in rows:
            raise ValueError("compare: found a profile without its baseline; expected both with it")
        sides: list[Any] = [row and row.by_image for row in rows]
        counts = {len(side) for side in sides if side is not None}
        if any(side is None for side in sides) or len(counts) > 1:
            numbers = " and ".join(map(str, sorted(counts))) or "no"
            raise ValueError(
                f"compare: found {numbers} images with scores; expected scores of the same images in both "
                "profiles, measured now and not read from a file"
            )
        values = sides[0] - sides[1]
        if from_baseline:
            values = values - (sides[2] - sides[3])
        mean = values.mean().item()
        found.append(ProfileDifference(*a._key, mean, *_interval(mean, values)))
    if not found:
        raise ValueError("compare: found no layer and method in both profiles; expected at least one")
    return found


def _on_whole_map(method: ProfileMethod, patch: int) -> Variant:
    """What a method equals where a patch is as large as the map."""
    whole: Any = METHODS[method].whole_map
    return (whole, None) if whole else (method, patch)


def _in_words(method: str, patch: int | None) -> str:
    return method if patch is None else f"{method} {patch}"


def _mean_and_spread(row: ProfileRow | None) -> str:
    if row is None or math.isnan(row.mean):
        return "-"
    return f"{row.mean:.4f}" + ("" if math.isnan(row.std) else f" ± {row.std:.4f}")


# ---------------------------------------------------------------- the profile


def profile(
    network: Network,
    evaluate: Evaluate[Network] | Batches,
    *,
    methods: Sequence[ShuffleMethod] | None = None,
    controls: bool = False,
    reestimate_batch_norm: bool | Images = False,
    by_class: bool | Sequence[str] = False,
    cka: bool | int = False,
    patches: Sequence[int] | None = None,
    layers: Iterable[int] | None = None,
    names: Iterable[str] | None = None,
    cumulative: bool = False,
    passes: int = 10,
    seed: int = 0,
    shortcut: bool = True,
    per_image: bool = False,
    example: Example | None = None,
    known: Iterable[ProfileRow] = (),
    progress: Callable[[Sequence[ProfileRow], int, int], None] | None = None,
) -> Profile:
    """Score a trained network with one layer at a time shuffled.

    Parameters
    ----------
    network
        Any that :func:`detector.list_layers` lists. Its own shuffles are removed for the duration: the
        baseline shuffles nothing. Afterwards it is restored, also where `evaluate` raises.
    evaluate
        Batches of images and labels ``(N,)`` of a classifier, such as a DataLoader that does not shuffle:
        measured are ``accuracy`` and ``kl``, the Kullback-Leibler divergence of the predicted probabilities
        from those without a shuffle, in nats. The network returns logits ``(N, classes)``, or has them as the
        attribute `logits` of what it returns. Or a function that scores the network, in evaluation mode: one
        number, or several by name; each may be a tensor ``(N,)`` of one number an image, always in the same
        order, of which the mean counts. It is called once for the baseline and `passes` times for each layer
        and method. It may call :func:`detector.seek_shuffles`: the draws still differ from pass to pass.
    methods
        Some of ``"spatial"``, ``"patch"``, ``"channel"``, and of the controls. Default: these three.
    controls
        Add all controls to the methods: ``"joint"`` (one order of positions for all channels: what is at a
        position stays together), ``"blocks"`` (blocks moved whole, their insides in order), ``"rows"`` and
        ``"columns"`` (moved whole) and ``"mean"`` (each channel's mean in place of its positions, in one
        pass as nothing is drawn). All leave each channel's mean as it is, and all but the last its values.
    reestimate_batch_norm
        Batches of images, such as of the training set, alone or followed by labels; or True: the images of
        `evaluate`, if that is batches. Before each measurement, also of the baseline, the running statistics
        of batch norm are estimated anew on them with the shuffle in place, as means over the batches; they
        are restored afterwards, bit for bit. What is lost even so is not due to a shift of statistics.
    by_class
        Of batches measure also ``accuracy[c]`` of the images of each class c. Or the names of the classes,
        in the order of their labels.
    cka
        Of batches measure also ``cka[n]``, linear CKA between what leaves layer n without and with the
        shuffle, for every layer, and ``cka`` of the logits: 1 where they are the same but for a rotation and
        a scale (Kornblith et al., 2019, "Similarity of neural network representations revisited"; over
        batches as Nguyen et al., 2021, "Do wide and deep networks learn the same things?"). The first 1,024
        images count, or as many as given here, in whole batches of at least 4.
    patches
        Sides of the patches of ``"patch"`` and of the blocks of ``"blocks"``, in positions. A patch as large
        as a layer's map is the spatial shuffle there, and measured as such, once. Default: 2, 4, 8 … up to
        the size of each map.
    layers
        Numbers of layers, counted from 1 at the input. Default: all but those that are averaged by GAP+FC or
        not run.
    names
        Names of layers, as :func:`detector.list_layers` gives them, instead of `layers`.
    cumulative
        Shuffle with each layer all that follow it, as in Table 1 of the paper, instead of it alone.
    passes
        How often each is scored, every time with other draws.
    seed
        The draws are a pure function of seed, pass, layer and the number of the forward pass within
        `evaluate`, and differ from all draws of training.
    shortcut, per_image
        As of :func:`detector.modify_layers`.
    example
        As of :func:`detector.modify_layers`. Default: for a network without `image_size`, its first input
        from `evaluate`.
    known
        Rows of an earlier call with the same arguments, which are not measured again; those of other layers
        and methods remain in the table.
    progress
        Called after each measurement with its rows, the number of measurements done, and of all.

    Returns
    -------
    Profile
        Rows in the order of the layers, the baseline first.

    Raises
    ------
    ValueError
        An unknown method, patch size or layer; a network that is compiled or wrapped; an `evaluate` that
        returns no number, or varying names; batches that are none, or come in another order each time. Errors
        of `evaluate` are passed on.

    Warns
    -----
    UserWarning
        `reestimate_batch_norm` for a network without running statistics of batch norm.
    """
    if methods is None:
        methods = [name for name in cast("list[ShuffleMethod]", list(SHUFFLES)) if name not in CONTROLS]
    _check_arguments(methods, patches, passes)
    if controls:
        methods = list(dict.fromkeys([*methods, *CONTROLS]))
    if layers is not None and names is not None:
        raise ValueError("names: found layers too; expected one of the two")
    check_unwrapped(network)
    images: Images | None = None
    if reestimate_batch_norm is not False:
        images = cast("Images", evaluate if reestimate_batch_norm is True else reestimate_batch_norm)
        _check_estimation(network, images)
    if callable(evaluate):
        for name, value in (("by_class", by_class), ("cka", cka)):
            if value is not False:
                raise ValueError(f"{name}: found {value!r} with a function; expected batches to be scored on")
    else:
        evaluate = score_on(network, evaluate, by_class, cka)
    rows: dict[tuple[int, ProfileMethod, int | None], list[ProfileRow]] = {}
    for row in known:
        rows.setdefault((row.layer, row.method, row.patch), []).append(row)
    with modes_restored(network):
        baseline = None
        if example is None and own_image_size(network) is None:
            inputs: list[Tensor] = []

            def keep(module: nn.Module, arguments: tuple[object, ...]) -> None:
                if not inputs and arguments and isinstance(arguments[0], Tensor):
                    inputs.append(arguments[0].detach())

            with (
                without_shuffles(network),
                _estimated(network, images, seed),
                network.register_forward_pre_hook(keep),
            ):
                baseline = _measure(network, evaluate, seed, 1)
            example = inputs[0][:1] if inputs else None
        plan = _plan(network, methods, patches, layers, names, cumulative, example)

        def is_measured(layer: Layer, variant: Variant) -> bool:
            found = rows.get((layer.number, *variant), [])
            wanted = _passes_of(variant[0], passes)
            return bool(found) and all(row.name == layer.name and row.passes == wanted for row in found)

        missing = [item for item in plan if not is_measured(*item[:2])]
        for count, (layer, variant, numbers) in enumerate(missing, start=len(plan) - len(missing) + 1):
            with without_shuffles(network):
                method, patch = variant
                if method != "none":
                    places: Any = {"layers": numbers, "shortcut": shortcut, "example": example}
                    modify_layers(network, method, patch=patch, per_image=per_image, **places)
                values_of = baseline if method == "none" else None
                if values_of is None:
                    with _estimated(network, images, seed):
                        values_of = _measure(network, evaluate, seed, _passes_of(method, passes))
            place = (layer.number, layer.name, layer.percent, layer.channels, layer.height, layer.width)
            new = [ProfileRow(*place, *variant, measure, *values) for measure, values in values_of.items()]
            rows[(layer.number, *variant)] = new
            if progress is not None:
                progress(new, count, len(plan))
    settings = {
        "network": type(network).__name__,
        "passes": passes,
        "seed": seed,
        "layers": "each with all behind it" if cumulative else "one at a time",
        "shortcuts": "shuffled too" if shortcut else "not shuffled",
        "draws": "one for each image" if per_image else "shared by the images of a batch",
        "batch norm": "as trained" if images is None else "re-estimated under each shuffle",
    }
    return Profile.of((row for found in rows.values() for row in found), cumulative, settings)


_NO_LAYER = Layer(BASELINE, 0, 0, "", "", 0, 0, 0)  # for the baseline


def _passes_of(method: ProfileMethod, passes: int) -> int:
    """How often a method is measured: once where nothing is drawn."""
    return passes if method != "none" and SHUFFLES[method].draws else 1


def _check_arguments(methods: Sequence[str], patches: Sequence[int] | None, passes: int) -> None:
    known = ", ".join(SHUFFLES)
    if isinstance(methods, str) or not methods:
        raise ValueError(f"methods: found {methods!r}; expected a list of {known}")
    for method in methods:
        if method not in SHUFFLES:
            raise ValueError(
                f"methods: found {method!r}; expected {known}, which need no training"
                f"{nearest(method, SHUFFLES)}"
            )
    for patch in patches or ():
        if not is_number(patch) or patch < 2:
            raise ValueError(f"patches: found {patch!r}; expected sides of at least 2 positions")
    if patches is not None and not patches:
        raise ValueError("patches: found none; expected sides of at least 2 positions, or None")
    if not is_number(passes) or passes < 1:
        raise ValueError(f"passes: found {passes!r}; expected a number of at least 1")


def _plan(
    network: nn.Module,
    methods: Sequence[ShuffleMethod],
    patches: Sequence[int] | None,
    layers: Iterable[int] | None,
    names: Iterable[str] | None,
    cumulative: bool,
    example: Example | None,
) -> list[tuple[Layer, Variant, list[int]]]:
    """The baseline, then every method at each layer, with the numbers of the layers to shuffle."""
    with without_shuffles(network):
        listed = list_layers(network, example)
        usable = [layer for layer in listed if layer.height and not _is_averaged(network, layer)]
        if names is not None:
            number_of = {layer.name: layer.number for layer in listed}
            names = [names] if isinstance(names, str) else list(names)
            for name in names:
                if name not in number_of:
                    raise ValueError(
                        f"names: found {name!r}; expected names of layers as list_layers gives them"
                        f"{nearest(name, number_of)}"
                    )
            layers = [number_of[name] for name in names]
        if layers is None:
            chosen = usable
        else:
            numbers = sorted(set(layers))
            select_layers(network, layers=numbers, example=example)  # refuses what cannot be changed
            chosen = [listed[number - 1] for number in numbers]
            idle = [layer for layer in chosen if not _variants(layer, methods, patches)]
            if idle:
                sizes = ", ".join(f"{x.number} ({x.channels}x{x.height}x{x.width})" for x in idle)
                raise ValueError(
                    f"layers: found {sizes} with nothing to shuffle; expected larger maps or other methods"
                )
    plan: list[tuple[Layer, Variant, list[int]]] = [(_NO_LAYER, ("none", None), [])]
    for layer in chosen:
        for variant in _variants(layer, methods, patches):
            following = [
                other.number
                for other in usable
                if cumulative and other.number > layer.number and _has_effect(other, *variant)
            ]
            plan.append((layer, variant, [layer.number, *following]))
    return plan


def _has_effect(layer: Layer, method: ProfileMethod, patch: int | None) -> bool:
    shuffle = SHUFFLES[method](*(() if patch is None else (patch,)))
    return shuffle.has_effect(layer.channels, layer.height, layer.width)


def _is_averaged(network: nn.Module, layer: Layer) -> bool:
    return any(isinstance(module, FullyConnected) for module in network.get_submodule(layer.name).modules())


def _variants(layer: Layer, methods: Sequence[ShuffleMethod], patches: Sequence[int] | None) -> list[Variant]:
    """Each once: a patch as large as the map can be another method (:data:`detector.registry.METHODS`).

    Methods that have nothing to shuffle in a map of this size, as of 1×1, are left out.
    """
    side = max(layer.height, layer.width)
    powers = [2**power for power in range(1, max(side - 1, 1).bit_length() + 1)]
    found: list[Variant] = []
    for method in methods:
        if METHODS[method].needs_patch:
            sides = sorted(powers if patches is None else patches)
            found += [(method, patch) if patch < side else _on_whole_map(method, patch) for patch in sides]
        else:
            found.append((method, None))
    return [variant for variant in dict.fromkeys(found) if _has_effect(layer, *variant)]


# ---------------------------------------------------------------- evaluation


@dataclass(frozen=True)
class Evaluation:
    """Top-1 accuracy of a classifier in several passes, each with other draws."""

    values: tuple[float, ...]
    """One for each pass, from 0 to 1."""
    images: int
    """How many images each pass has."""

    @property
    def mean(self) -> float:
        """Mean over passes."""
        return statistics.fmean(self.values)

    @property
    def std(self) -> float:
        """Standard deviation of the passes (n − 1); NaN where there is only one."""
        return statistics.stdev(self.values) if len(self.values) > 1 else math.nan

    def __str__(self) -> str:
        spread = "" if math.isnan(self.std) else f" ± {100 * self.std:.2f}"
        passes = f"{len(self.values)} pass{'es' if len(self.values) > 1 else ''}"
        return f"{100 * self.mean:.2f}{spread} % of {self.images} images, {passes}"


def evaluate(
    network: nn.Module, loader: Iterable[tuple[Tensor, Tensor]], *, passes: int = 10, seed: int = 0
) -> Evaluation:
    """Accuracy of a classifier over all images of a loader, as the paper measures it (section 3.1).

    The draws of training are left alone; the modes of the modules are restored.

    Parameters
    ----------
    network
        It returns logits ``(N, classes)``, or has them as the attribute `logits` of what it returns, as in
        Hugging Face. One without shuffles that act in evaluation is evaluated once.
    loader
        Gives batches of images and of labels ``(N,)``; it is read anew for each pass.
    passes, seed
        The draws are a pure function of seed, pass, layer and batch.

    Raises
    ------
    ValueError
        A number of passes below 1, or a loader without images.

    Examples
    --------
    >>> import torch
    >>> from detector import modify_layers, vgg16
    >>> network = modify_layers(vgg16(10, width=0.1), "spatial", last=1)
    >>> len(evaluate(network, [(torch.zeros(4, 3, 32, 32), torch.arange(4))], passes=3).values)
    3
    """
    if not is_number(passes) or passes < 1:
        raise ValueError(f"passes: found {passes!r}; expected a number of at least 1")
    device = next((value.device for value in network.parameters()), torch.device("cpu"))
    count = 0

    def accuracy(network: nn.Module) -> float:
        nonlocal count
        correct, count = torch.zeros((), dtype=torch.int64, device=device), 0
        for images, labels in loader:
            outputs = network(images.to(device))
            logits = getattr(outputs, "logits", outputs)
            correct += (logits.argmax(1) == labels.to(device)).sum()
            count += len(labels)
        if not count:
            raise ValueError(
                "loader: found no images; expected batches of images and labels, in every pass anew"
            )
        return int(correct) / count

    with modes_restored(network), torch.no_grad():
        ((values, _),) = _measure(network, accuracy, seed, passes if needs_passes(network) else 1).values()
    return Evaluation(values, count)


# ---------------------------------------------------------------- measuring


def _measure(
    network: Network, evaluate: Evaluate[Network], seed: int, passes: int
) -> dict[str, tuple[tuple[float, ...], Tensor | None]]:
    """For each measure, one value a pass, and the mean over passes by image where it is known."""
    found: list[dict[str, float]] = []
    sums: dict[str, Tensor] = {}
    for number in range(passes):
        network.eval()  # each time, as `evaluate` may have changed the mode
        with _draws_of_pass(network, seed, number):
            result = evaluate(network)
        numbers = result if isinstance(result, Mapping) else {_SINGLE_MEASURE: result}
        try:
            scores = {}
            for name, value in numbers.items():
                if isinstance(value, Tensor) and value.dim() == 1:
                    value = value.detach().to("cpu", torch.float64)
                    sums[str(name)] = sums.get(str(name), torch.zeros_like(value)) + value
                    value = value.mean()
                scores[str(name)] = float(value)
            found.append(scores)
        except (TypeError, ValueError, RuntimeError):
            raise ValueError(f"evaluate: found {result!r}; expected a number, or numbers by name") from None
        if not numbers or found[-1].keys() != found[0].keys():
            raise ValueError(
                f"evaluate: found {', '.join(found[-1]) or 'no number'}; expected "
                f"{', '.join(found[0]) or 'at least one'}{', as the first time' if number else ''}"
            )
    return {
        name: (tuple(numbers[name] for numbers in found), sums[name] / passes if name in sums else None)
        for name in found[0]
    }


def _batch_norms(network: nn.Module) -> list[_BatchNorm]:
    """Those with running statistics."""
    return [
        module
        for module in network.modules()
        if isinstance(module, _BatchNorm)
        and module.running_mean is not None
        and module.num_batches_tracked is not None
    ]


def _check_estimation(network: nn.Module, images: Any) -> None:
    if not isinstance(images, Iterable) or isinstance(images, Tensor) or iter(images) is images:
        raise ValueError(
            f"reestimate_batch_norm: found {type(images).__name__}; expected batches of images that can be "
            "read several times, as a DataLoader or a list; or True, if the network is scored on such"
        )
    if not _batch_norms(network):
        warnings.warn(
            f"reestimate_batch_norm: found {type(network).__name__} without running statistics of batch "
            "norm; the profile is the same as without",
            stacklevel=3,
        )


@contextmanager
def _estimated(network: nn.Module, images: Images | None, seed: int) -> Iterator[None]:
    """Estimate running statistics of batch norm anew on images, if given; restore the former ones."""
    norms = [] if images is None else _batch_norms(network)
    before = [
        (norm, norm.momentum, [(buffer, buffer.clone()) for buffer in norm.buffers(recurse=False)])
        for norm in norms
    ]
    network.eval()
    try:
        for norm in norms:
            norm.reset_running_stats()
            norm.momentum = None  # the mean over all batches
            norm.train()
        if norms and images is not None:
            device = next((value.device for value in network.parameters()), torch.device("cpu"))
            with torch.no_grad(), _draws_of_pass(network, seed, _ESTIMATION):
                for batch in images:
                    first = batch[0] if isinstance(batch, tuple | list) and batch else batch
                    if not isinstance(first, Tensor):
                        raise ValueError(
                            f"reestimate_batch_norm: found a batch of {type(batch).__name__}; expected "
                            "images, alone or first in a tuple"
                        )
                    network(first.to(device))
            if not any(norm.num_batches_tracked for norm in norms):
                raise ValueError("reestimate_batch_norm: found no images; expected batches of images")
        network.eval()
        yield
    finally:
        for norm, momentum, buffers in before:
            norm.momentum = momentum
            for buffer, values in buffers:
                buffer.copy_(values)


@contextmanager
def _draws_of_pass(network: nn.Module, seed: int, number: int) -> Iterator[None]:
    """Set all draws by the pass, independently of :func:`detector.seek_shuffles` in the evaluation."""
    before = [(shuffle, shuffle.key, shuffle.state.clone()) for shuffle in shuffles(network)]
    for shuffle, key, _ in before:
        shuffle.key = (*key, _OWN_DRAWS, seed, number)
        shuffle.seek(0, 0)
    try:
        yield
    finally:
        for shuffle, key, state in before:
            shuffle.key = key
            shuffle.state.copy_(state)
