"""Where in a trained network does space matter? Each layer is shuffled in turn, at test time alone.

One layer at a time is shuffled by :func:`detector.modify_layers`, the network is scored, and the shuffle is
removed. The paper does this with networks that were trained with the shuffle (and, in Table 1, with the last
layers of one that was not); here it is done with every layer of any network.

>>> import torch
>>> from detector import vgg16
>>> network = vgg16(10, width=0.1)
>>> images = torch.zeros(2, 3, 32, 32)
>>> found = profile(network, lambda network: network(images).std().item(), layers=[12, 13], passes=2)
>>> [(row.layer, row.method, row.passes) for row in found.rows]
[(0, 'none', 1), (12, 'spatial', 2), (12, 'channel', 2), (13, 'spatial', 2), (13, 'channel', 2)]
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, TypeVar, cast

import torch
from torch import Tensor, nn

from detector.graph import Example, own_image_size
from detector.intervene import check_unwrapped, modify_layers, needs_passes, shuffles, without_shuffles
from detector.layers import FullyConnected, Layer, is_number, list_layers, nearest, select_layers
from detector.shuffle import SHUFFLES
from detector.tables import METHODS, ShuffleMethod

__all__ = ["BASELINE", "Evaluation", "Profile", "ProfileMethod", "ProfileRow", "evaluate", "profile"]

ProfileMethod = Literal["none"] | ShuffleMethod
"""What is taken away; ``"none"``: nothing, the baseline."""

BASELINE = 0
"""The layer number of rows where no layer is shuffled."""

Variant = tuple[ProfileMethod, int | None]  # a method and its patch size
Network = TypeVar("Network", bound=nn.Module)
Evaluate = Callable[[Network], float | Mapping[str, float]]

_SINGLE_MEASURE = "score"  # the name of the measure of an `evaluate` that returns just one number
_OWN_DRAWS = 0x70726F66  # gives these passes other draws than training and other evaluations have


# ---------------------------------------------------------------- the table


@dataclass(frozen=True)
class ProfileRow:
    """One measure of a network with one layer shuffled in one way."""

    layer: int
    """Number of the layer, counted from 1 at the input; 0: none, the baseline."""
    name: str
    """Of its module in the network."""
    percent: int
    """Share of all layers from this one on, in whole percent."""
    channels: int
    """Of the map that enters it."""
    height: int
    """Of that map, in positions."""
    width: int
    """Of that map, in positions."""
    method: ProfileMethod
    """What is taken away."""
    patch: int | None
    """Side of the patches of a method that has them, in positions."""
    measure: str
    """What is measured: a name from ``evaluate``, or ``"score"`` where it returns one number."""
    values: tuple[float, ...]
    """One for each pass."""

    @property
    def passes(self) -> int:
        """Number of passes."""
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
    """The scores of a network with each of its layers shuffled in turn.

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
        methods = ["none", *sorted(SHUFFLES, key=lambda name: not METHODS[name].needs_patch)]  # patches first

        def place(row: ProfileRow) -> tuple[int, int, int, int]:
            return row.layer, methods.index(row.method), row.patch or 0, measures.index(row.measure)

        return Profile(tuple(sorted(rows, key=place)))

    @property
    def measures(self) -> tuple[str, ...]:
        """Names of the measures."""
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
        return self._places.get((layer, method, patch, measure))

    @cached_property
    def _sides(self) -> dict[int, int]:
        return {row.layer: max(row.height, row.width) for row in self.rows}

    @cached_property
    def _places(self) -> dict[tuple[int, ProfileMethod, int | None, str], ProfileRow]:
        return {(row.layer, row.method, row.patch, row.measure): row for row in self.rows}

    def __str__(self) -> str:
        """A text table: one line for each layer and method, one column for each measure."""
        head = f"{'layer':>5}  {'size':9}  {'method':10}  " + "  ".join(f"{m:15}" for m in self.measures)
        lines = [head.rstrip()]
        for row in self.rows:
            if row.measure != self.measures[0]:
                continue
            cells = [self.at(row.layer, row.method, row.patch, measure) for measure in self.measures]
            numbers = "  ".join(f"{_mean_and_spread(cell):15}" for cell in cells)
            what = row.method if row.patch is None else f"{row.method} {row.patch}"
            number = "-" if row.layer == BASELINE else str(row.layer)
            size = "-" if row.layer == BASELINE else f"{row.channels}x{row.height}x{row.width}"
            lines.append(f"{number:>5}  {size:9}  {what:10}  {numbers}".rstrip())
        return "\n".join(lines)


def _on_whole_map(method: ProfileMethod, patch: int) -> Variant:
    """What a method equals where a patch is as large as the map."""
    whole: Any = METHODS[method].whole_map
    return (whole, None) if whole else (method, patch)


def _mean_and_spread(row: ProfileRow | None) -> str:
    if row is None or math.isnan(row.mean):
        return "-"
    return f"{row.mean:.4f}" + ("" if math.isnan(row.std) else f" ± {row.std:.4f}")


# ---------------------------------------------------------------- the profile


def profile(
    network: Network,
    evaluate: Evaluate[Network],
    *,
    methods: Sequence[ShuffleMethod] | None = None,
    patches: Sequence[int] | None = None,
    layers: Iterable[int] | None = None,
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
        Scores the network, in evaluation mode: one number, or several by name. It is called once for the
        baseline and `passes` times for each layer and method. It may call :func:`detector.seek_shuffles`: the
        draws still differ from pass to pass.
    methods
        Some of ``"spatial"``, ``"patch"``, ``"channel"``. Default: all.
    patches
        Sides of the patches of ``"patch"``, in positions. One as large as a layer's map is the spatial
        shuffle there, and measured as such, once. Default: 2, 4, 8 … up to the size of each map.
    layers
        Numbers of layers, counted from 1 at the input. Default: all but those that are averaged by GAP+FC or
        not run.
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
        returns no number, or varying names. Errors of `evaluate` are passed on.
    """
    if methods is None:
        methods = cast("list[ShuffleMethod]", list(SHUFFLES))
    _check_arguments(methods, patches, passes)
    check_unwrapped(network)
    rows: dict[tuple[int, ProfileMethod, int | None], list[ProfileRow]] = {}
    for row in known:
        rows.setdefault((row.layer, row.method, row.patch), []).append(row)
    with _modes_restored(network):
        baseline = None
        if example is None and own_image_size(network) is None:
            with without_shuffles(network), _first_input(network) as inputs:
                baseline = _measure(network, evaluate, seed, 1)
            example = inputs[0][:1] if inputs else None
        plan = _plan(network, methods, patches, layers, example)

        def is_measured(layer: Layer, variant: Variant) -> bool:
            found = rows.get((layer.number, *variant), [])
            wanted = 1 if layer is _NO_LAYER else passes
            return bool(found) and all(row.name == layer.name and row.passes == wanted for row in found)

        missing = [item for item in plan if not is_measured(*item)]
        for count, (layer, variant) in enumerate(missing, start=len(plan) - len(missing) + 1):
            with without_shuffles(network):
                method, patch = variant
                if method != "none":
                    modify_layers(
                        network,
                        method,
                        layers=[layer.number],
                        patch=patch,
                        shortcut=shortcut,
                        per_image=per_image,
                        example=example,
                    )
                    values_of = _measure(network, evaluate, seed, passes)
                else:
                    values_of = baseline or _measure(network, evaluate, seed, 1)
            size = (layer.channels, layer.height, layer.width)
            new = [
                ProfileRow(layer.number, layer.name, layer.percent, *size, *variant, measure, values)
                for measure, values in values_of.items()
            ]
            rows[(layer.number, *variant)] = new
            if progress is not None:
                progress(new, count, len(plan))
    return Profile.of(row for found in rows.values() for row in found)


_NO_LAYER = Layer(BASELINE, 0, 0, "", "", 0, 0, 0)  # for the baseline


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
    example: Example | None,
) -> list[tuple[Layer, Variant]]:
    """The baseline, then every method at each layer."""
    with without_shuffles(network):
        listed = list_layers(network, example)
        if layers is None:
            chosen = [layer for layer in listed if layer.height and not _is_averaged(network, layer)]
        else:
            numbers = sorted(set(layers))
            select_layers(
                network, layers=numbers, example=example
            )  # raises ValueError for a layer that cannot be changed
            chosen = [listed[number - 1] for number in numbers]
            idle = [layer for layer in chosen if not _variants(layer, methods, patches)]
            if idle:
                sizes = ", ".join(f"{x.number} ({x.channels}x{x.height}x{x.width})" for x in idle)
                raise ValueError(
                    f"layers: found {sizes} with nothing to shuffle; expected larger maps or other methods"
                )
    plan: list[tuple[Layer, Variant]] = [(_NO_LAYER, ("none", None))]
    return plan + [(layer, variant) for layer in chosen for variant in _variants(layer, methods, patches)]


def _is_averaged(network: nn.Module, layer: Layer) -> bool:
    return any(isinstance(module, FullyConnected) for module in network.get_submodule(layer.name).modules())


def _variants(layer: Layer, methods: Sequence[ShuffleMethod], patches: Sequence[int] | None) -> list[Variant]:
    """Each once: a patch as large as the map can be another method (:data:`detector.tables.METHODS`).

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
    size = (layer.channels, layer.height, layer.width)
    return [
        (method, patch)
        for method, patch in dict.fromkeys(found)
        if method != "none" and SHUFFLES[method](*(() if patch is None else (patch,))).has_effect(*size)
    ]


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
        """Of the passes."""
        return statistics.fmean(self.values)

    @property
    def std(self) -> float:
        """Standard deviation of the passes (n − 1); NaN where there is only one."""
        return statistics.stdev(self.values) if len(self.values) > 1 else math.nan

    def __str__(self) -> str:
        spread = "" if math.isnan(self.std) else f" ± {100 * self.std:.2f}"
        return f"{100 * self.mean:.2f}{spread} % of {self.images} images, {len(self.values)} passes"


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
    values, count = [], 0
    with _modes_restored(network), torch.no_grad():
        network.eval()
        for number in range(passes if needs_passes(network) else 1):
            correct, count = torch.zeros((), dtype=torch.int64, device=device), 0
            with _draws_of_pass(network, seed, number):
                for images, labels in loader:
                    outputs = network(images.to(device))
                    logits = getattr(outputs, "logits", outputs)
                    correct += (logits.argmax(1) == labels.to(device)).sum()
                    count += len(labels)
            if not count:
                raise ValueError(
                    "loader: found no images; expected batches of images and labels, in every pass anew"
                )
            values.append(int(correct) / count)
    return Evaluation(tuple(values), count)


# ---------------------------------------------------------------- measuring


def _measure(
    network: Network, evaluate: Evaluate[Network], seed: int, passes: int
) -> dict[str, tuple[float, ...]]:
    """The values of each measure, one for each pass."""
    found: list[dict[str, float]] = []
    for number in range(passes):
        network.eval()  # each time, as `evaluate` may have changed the mode
        with _draws_of_pass(network, seed, number):
            result = evaluate(network)
        numbers = result if isinstance(result, Mapping) else {_SINGLE_MEASURE: result}
        try:
            found.append({str(name): float(value) for name, value in numbers.items()})
        except (TypeError, ValueError):
            raise ValueError(f"evaluate: found {result!r}; expected a number, or numbers by name") from None
        if not numbers or found[-1].keys() != found[0].keys():
            raise ValueError(
                f"evaluate: found {', '.join(found[-1]) or 'no number'}; expected "
                f"{', '.join(found[0]) or 'at least one'}{', as the first time' if number else ''}"
            )
    return {name: tuple(numbers[name] for numbers in found) for name in found[0]}


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


@contextmanager
def _first_input(network: nn.Module) -> Iterator[list[Tensor]]:
    """Collect the first tensor that the network is called with."""
    found: list[Tensor] = []

    def keep(module: nn.Module, arguments: tuple[object, ...]) -> None:
        if not found and arguments and isinstance(arguments[0], Tensor):
            found.append(arguments[0].detach())

    handle = network.register_forward_pre_hook(keep)
    try:
        yield found
    finally:
        handle.remove()


@contextmanager
def _modes_restored(network: nn.Module) -> Iterator[None]:
    modes = [(module, module.training) for module in network.modules()]
    try:
        yield
    finally:
        for module, mode in modes:
            module.training = mode
