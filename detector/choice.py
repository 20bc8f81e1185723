"""Which layers of a network are meant, by number or by name, and what is wrong where there are none such."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from numbers import Integral
from typing import TypeGuard

from torch import nn
from torch.jit import ScriptModule
from torchvision.models.resnet import BasicBlock, Bottleneck

from detector.gap_fc import FullyConnected
from detector.layers import find_layers, sees_a_map
from detector.probe import Example, Seen, inputs_seen
from detector.shuffle import Shuffle

__all__ = ["choose_layers", "is_number", "nearest"]


def nearest(name: str, known: Iterable[str]) -> str:
    """``; did you mean …?`` with the known name that is most like `name` or lies within it, or nothing.

    Examples
    --------
    >>> nearest("spatail", ["channel", "spatial", "patch"])
    "; did you mean 'spatial'?"
    """
    known = list(known)
    within = [other for other in known if other.startswith(f"{name}.")]
    found = within or difflib.get_close_matches(str(name), known, n=1, cutoff=0.5)
    return f"; did you mean {found[0]!r}?" if found else ""


def choose_layers(
    network: nn.Module,
    *,
    last: int | None = None,
    layer: int | None = None,
    layers: Iterable[int] | None = None,
    names: Iterable[str] | None = None,
    example: Example | None = None,
) -> tuple[list[nn.Module], list[nn.Module]]:
    """The modules that are meant, and all layers of the network.

    Parameters
    ----------
    network, last, layer, layers, names, example
        As of :func:`detector.modify_layers`.

    Returns
    -------
    chosen : list of nn.Module
        In the order given.
    known : list of nn.Module
        The layers, in the order in which they are run.

    Raises
    ------
    ValueError
        As of :func:`detector.modify_layers`.
    """
    words = {"last": last, "layer": layer, "layers": layers, "names": names}
    given = [word for word, value in words.items() if value is not None]
    if len(given) != 1:
        raise ValueError(
            f"layers: found {' and '.join(given) or 'none'}; "
            "expected one of last=k, layer=n, layers=[…], names=[…]"
        )
    if names is not None:
        seen = inputs_seen(network, example)
        chosen = _by_name(network, [names] if isinstance(names, str) else list(names), seen)
        try:
            known = find_layers(network, seen)
        except ValueError:
            known = []  # a network of 1×1 convolutions alone, say, has none that count
    else:
        # Only a network of an unknown kind has to be run for its layers to be found.
        known = find_layers(network, None if example is None else inputs_seen(network, example))
        if last is not None:
            if not is_number(last) or not 0 <= last <= len(known):
                raise ValueError(f"last: found {last!r}; expected a number of layers from 0 to {len(known)}")
            chosen = known[len(known) - last :]
        else:
            numbers = layers if isinstance(layers, Iterable) else [layers if layer is None else layer]
            chosen = [_by_number(known, given[0], number) for number in numbers]
    _check_unchanged(network, known, chosen)
    return chosen, known


def is_number(value: object) -> TypeGuard[int]:
    """Whether it is a whole number, of Python's or of NumPy's."""
    return isinstance(value, Integral) and not isinstance(value, bool)


def _by_number(known: list[nn.Module], word: str, number: object) -> nn.Module:
    if not is_number(number) or not 1 <= number <= len(known):
        raise ValueError(
            f"{word}: found {number!r}; expected a number from 1 to {len(known)}, counted from the input"
        )
    return known[number - 1]


def _by_name(network: nn.Module, names: list[str], seen: Seen) -> list[nn.Module]:
    modules = dict(network.named_modules(remove_duplicate=False))  # a shared module by any of its names
    possible = [
        name
        for name, module in modules.items()
        if module in seen
        and (isinstance(module, BasicBlock | Bottleneck) or sees_a_map(module, seen[module]))
    ]
    for name in names:
        if name in possible:
            continue
        if name not in modules:
            raise ValueError(
                f"names: found {name!r}; "
                f"expected the name of a layer or a convolution{nearest(name, possible)}"
            )
        module = modules[name]
        sees = f"that sees {'x'.join(map(str, seen[module]))}" if module in seen else "that is not run"
        sees = "in TorchScript, which cannot be changed" if isinstance(module, ScriptModule) else sees
        raise ValueError(
            f"names: found {name!r}, a {type(module).__name__} {sees}; "
            f"expected a layer or a convolution that sees a 2-d map{nearest(name, possible)}"
        )
    return [modules[name] for name in names]


def _check_unchanged(network: nn.Module, known: list[nn.Module], chosen: list[nn.Module]) -> None:
    """Refuse a layer that is changed already, or that would be changed twice now."""
    touched: set[nn.Module] = set()
    for module in chosen:
        inside = set(module.modules())
        averaged = any(isinstance(part, FullyConnected) for part in inside)
        if averaged or inside & touched or any(isinstance(part, Shuffle) for part in inside):
            name = next(name for name, part in network.named_modules() if part is module)
            number = f"layer {known.index(module) + 1}" if module in known else name
            raise ValueError(
                f"{number} is {'averaged' if averaged else 'shuffled'} already; expected each layer once"
            )
        touched |= inside
