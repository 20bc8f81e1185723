"""Where in a trained network does space matter? Each layer's order taken away in turn, at test time alone.

The network is not trained again: one layer at a time is shuffled as :func:`detector.modify_layers` does it,
the network is scored, and the shuffle is taken out again. The paper asks this of networks that were trained
with the shuffle (Table 1 has the last layers of one that was not); here it is asked of every layer of any
network.

>>> import torch
>>> from detector import vgg16
>>> network = vgg16(10, width=0.1)
>>> images = torch.zeros(2, 3, 32, 32)
>>> found = profile(network, lambda network: network(images).std().item(), layers=[12, 13], passes=2)
>>> [(row.layer, row.method, row.passes) for row in found.rows]
[(0, 'none', 1), (12, 'spatial', 2), (12, 'channel', 2), (13, 'spatial', 2), (13, 'channel', 2)]
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Literal, TypeVar, get_args

from torch import Tensor, nn

from detector.choice import choose_layers, is_number, nearest
from detector.gap_fc import FullyConnected
from detector.layers import Layer, list_layers
from detector.probe import Example, own_size
from detector.profile_table import BASELINE, Profile, ProfileMethod, ProfileRow
from detector.removal import without_shuffles
from detector.spatial import check_unwrapped, modify_layers, shuffles

__all__ = ["Profile", "ProfileMethod", "ProfileRow", "profile"]

Taken = Literal["spatial", "patch", "channel"]
"""What can be taken away from a layer at test time."""
Variant = tuple[ProfileMethod, int | None]
Network = TypeVar("Network", bound=nn.Module)
Evaluate = Callable[[Network], float | Mapping[str, float]]

_SCORE = "score"  # what the number is called of an `evaluate` that returns just one
_STREAM = 0x70726F66  # keeps these draws apart from those of training and of other evaluations


def profile(
    network: Network,
    evaluate: Evaluate[Network],
    *,
    methods: Sequence[Taken] = ("spatial", "patch", "channel"),
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
    """Score a trained network with the spatial or channel order of one layer at a time taken away.

    Parameters
    ----------
    network
        Any that :func:`detector.list_layers` lists. Shuffles that :func:`detector.modify_layers` put into it
        are taken out for the duration: the baseline shuffles nothing. In the end it is exactly as it was,
        also where `evaluate` raises.
    evaluate
        Scores the network that it is given, in evaluation mode: one number, or several by name. It is called
        once for the baseline and `passes` times for each layer and method. It may call
        :func:`detector.seek_shuffles`: the draws differ from pass to pass nevertheless.
    methods
        ``"spatial"``, ``"patch"``, ``"channel"``.
    patches
        Sides of the patches of ``"patch"``, in positions. One as large as a layer's map is the spatial
        shuffle there, and measured as such, once. Default: 2, 4, 8 … up to the size of each map.
    layers
        Numbers of layers, counted from 1 at the input. Default: all whose map has positions; those that
        GAP+FC has averaged have none.
    passes
        How often each is scored, every time with other draws.
    seed
        The draws are a pure function of seed, pass, layer and the number of the forward pass within
        `evaluate`. No training has them.
    shortcut, per_image
        As of :func:`detector.modify_layers`.
    example
        As of :func:`detector.modify_layers`. Default: for a network that does not say its `image_size`, the
        first input that `evaluate` gives it.
    known
        Rows of an earlier call with the same arguments. What they tell is not measured again; those of layers
        and methods that are not asked for now stay in the table.
    progress
        Called after each measurement with its rows, how many are done and how many there are.

    Returns
    -------
    Profile
        Rows in the order of the layers, the baseline first.

    Raises
    ------
    ValueError
        A method, a patch size or a layer that there is not; a network that is compiled or wrapped; an
        `evaluate` that returns no number, or other ones from time to time. Whatever `evaluate` raises.
    """
    _check(methods, patches, passes)
    check_unwrapped(network)
    rows: dict[tuple[int, ProfileMethod, int | None], list[ProfileRow]] = {}
    for row in known:
        rows.setdefault((row.layer, row.method, row.patch), []).append(row)
    with _kept(network):
        baseline = None
        if example is None and own_size(network) is None:
            with without_shuffles(network), _inputs(network) as inputs:
                baseline = _measure(network, evaluate, seed, 1)
            example = inputs[0][:1] if inputs else None
        plan = _plan(network, methods, patches, layers, example)
        missing = [
            (layer, variant)
            for layer, variant in plan
            if not _complete(rows.get((layer.number, *variant), []), layer, 1 if layer is _NONE else passes)
        ]
        for count, (layer, variant) in enumerate(missing, start=len(plan) - len(missing) + 1):
            with without_shuffles(network):
                if layer is not _NONE:
                    method, patch = variant
                    modify_layers(
                        network,
                        method,  # type: ignore[arg-type]  # every one but "none" is one of its methods
                        layers=[layer.number],
                        patch=patch,
                        shortcut=shortcut,
                        per_image=per_image,
                        example=example,
                    )
                if layer is not _NONE or baseline is None:
                    numbers = _measure(network, evaluate, seed, 1 if layer is _NONE else passes)
                else:
                    numbers = baseline
            new = [_row(layer, variant, measure, values) for measure, values in numbers.items()]
            rows[(layer.number, *variant)] = new
            if progress is not None:
                progress(new, count, len(plan))
    return Profile.of(row for found in rows.values() for row in found)


# ---------------------------------------------------------------- what is measured

_NONE = Layer(BASELINE, 0, 0, "", "", 0, 0, 0)
"""Stands for no layer: the baseline."""


def _check(methods: Sequence[str], patches: Sequence[int] | None, passes: int) -> None:
    if isinstance(methods, str) or not methods:
        raise ValueError(f"methods: found {methods!r}; expected a list of {', '.join(get_args(Taken))}")
    for method in methods:
        if method not in get_args(Taken):
            raise ValueError(
                f"methods: found {method!r}; expected {', '.join(get_args(Taken))}, which need no training"
                f"{nearest(method, get_args(Taken))}"
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
    methods: Sequence[Taken],
    patches: Sequence[int] | None,
    layers: Iterable[int] | None,
    example: Example | None,
) -> list[tuple[Layer, Variant]]:
    """The baseline, and what is measured at each layer."""
    with without_shuffles(network):
        listed = list_layers(network, example)
        if layers is None:
            chosen = [layer for layer in listed if layer.height and not _is_averaged(network, layer)]
        else:
            numbers = sorted(set(layers))
            choose_layers(network, layers=numbers, example=example)  # raises where one cannot be changed
            chosen = [listed[number - 1] for number in numbers]
    plan: list[tuple[Layer, Variant]] = [(_NONE, ("none", None))]
    return plan + [(layer, variant) for layer in chosen for variant in _variants(layer, methods, patches)]


def _is_averaged(network: nn.Module, layer: Layer) -> bool:
    return any(isinstance(module, FullyConnected) for module in network.get_submodule(layer.name).modules())


def _variants(layer: Layer, methods: Sequence[Taken], patches: Sequence[int] | None) -> list[Variant]:
    """Each once: a patch as large as the map is the spatial shuffle."""
    side = max(layer.height, layer.width)
    powers = [2**power for power in range(1, max(side - 1, 1).bit_length() + 1)]
    found: list[Variant] = []
    for method in methods:
        if method == "patch":
            sides = sorted(powers if patches is None else patches)
            found += [("patch", patch) if patch < side else ("spatial", None) for patch in sides]
        else:
            found.append((method, None))
    return list(dict.fromkeys(found))


def _complete(rows: list[ProfileRow], layer: Layer, passes: int) -> bool:
    return bool(rows) and all(row.name == layer.name and row.passes == passes for row in rows)


# ---------------------------------------------------------------- measuring


def _measure(
    network: Network, evaluate: Evaluate[Network], seed: int, passes: int
) -> dict[str, tuple[float, ...]]:
    """The values of each measure, one a pass."""
    found: list[dict[str, float]] = []
    for number in range(passes):
        network.eval()  # each time: what an evaluation does to the mode is not the next one's matter
        with _draws_of(network, seed, number):
            result = evaluate(network)
        numbers = result if isinstance(result, Mapping) else {_SCORE: result}
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


def _row(layer: Layer, variant: Variant, measure: str, values: tuple[float, ...]) -> ProfileRow:
    size = (layer.channels, layer.height, layer.width)
    return ProfileRow(layer.number, layer.name, layer.percent, *size, *variant, measure, values)


@contextmanager
def _draws_of(network: nn.Module, seed: int, number: int) -> Iterator[None]:
    """Make all draws those of a pass, whatever (seed, step) the evaluation itself seeks."""
    before = [(shuffle, shuffle.key, shuffle.stream.clone()) for shuffle in shuffles(network)]
    for shuffle, key, _ in before:
        shuffle.key = (*key, _STREAM, seed, number)
        shuffle.seek(0, 0)
    try:
        yield
    finally:
        for shuffle, key, stream in before:
            shuffle.key = key
            shuffle.stream.copy_(stream)


@contextmanager
def _inputs(network: nn.Module) -> Iterator[list[Tensor]]:
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
def _kept(network: nn.Module) -> Iterator[None]:
    """Give every module its mode back."""
    modes = [(module, module.training) for module in network.modules()]
    try:
        yield
    finally:
        for module, mode in modes:
            module.training = mode
