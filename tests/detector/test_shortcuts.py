"""Shortcuts around branches that begin with a function, and the blocks that these are in."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from itertools import product
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from detector import (
    fix_draws,
    list_changes,
    list_layers,
    modify_layers,
    remove_shuffles,
    seek_shuffles,
    set_shuffling,
    spatial_shuffle,
)
from detector.shuffle import EVALUATION_KEY, stream_of
from tests.detector.helpers import assert_same_steps

Permute = Callable[[Tensor], Tensor]


class Residual(nn.Module):
    """A residual block of a kind, without permutations."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind = kind
        self.before, self.after = nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4)
        self.activation = nn.LeakyReLU(0.3, inplace=True)
        inputs = {"split": 2, "concat": 8}.get(kind, 4)
        self.mix = nn.Linear(16, 16) if kind == "view" else nn.Conv2d(inputs, 4, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return KINDS[self.kind](self, x, nn.Identity(), nn.Identity())


def halves(block: Residual, x: Tensor) -> Tensor:
    """A part of the channels goes past the convolution."""
    first, second = x.chunk(2, dim=1)
    return block.after(block.mix(first) * torch.cat([second, first], 1))  # type: ignore[no-any-return]


def two_adds(block: Residual, x: Tensor, permute: Permute, shortcut: Permute) -> Tensor:
    y = (x + x.sin()).roll(1, 2)
    return block.after(block.mix(permute(y))) + shortcut(x)  # type: ignore[no-any-return]


def of_an_output(block: Residual, x: Tensor, permute: Permute, shortcut: Permute) -> Tensor:
    x = block.before(x)
    return shortcut(x) + block.after(block.mix(permute(x.roll(1, 2))))  # type: ignore[no-any-return]


def of_a_function(block: Residual, x: Tensor, permute: Permute, shortcut: Permute) -> Tensor:
    x = x.sin()
    return shortcut(x) + block.after(block.mix(permute(block.before(x).roll(1, 2))))  # type: ignore[no-any-return]


def by_an_activation(block: Residual, x: Tensor, permute: Permute, shortcut: Permute) -> Tensor:
    """The module changes the block's input, which the code still calls x."""
    branch = block.activation(x)
    return shortcut(x) + block.after(block.mix(permute(branch)))  # type: ignore[no-any-return]


# The block, its input, and what permutes the branch and the shortcut.
KINDS: dict[str, Callable[[Residual, Tensor, Permute, Permute], Tensor]] = {
    "norm first": lambda m, x, p, s: m.mix(p(m.before(m.after(x)).sin())).add_(s(x)),
    "roll": lambda m, x, p, s: s(x) + m.after(m.mix(p(x.roll((1, 1), (2, 3))))),
    "view": lambda m, x, p, s: s(x) + m.after(m.mix(p(x).flatten(2)).view(x.shape)),
    "split": lambda m, x, p, s: torch.add(halves(m, p(x)), s(x)),
    "concat": lambda m, x, p, s: m.after(m.mix(p(torch.cat([x, x.sin()], 1)))).add(s(x)),
    "in place": lambda m, x, p, s: s(x).add_(m.after(m.mix(p(x.roll(1, 2))))),
    "add before": two_adds,
    "of an output": of_an_output,
    "of a function": of_a_function,
    "by an activation in place": by_an_activation,
}


class Explicit(Residual):
    """The same with permutations: draws 0 (shortcut) and 1 of layer 1."""

    step = 0

    def forward(self, x: Tensor) -> Tensor:
        def permutation(branch: int) -> Permute:
            key = () if self.training else (EVALUATION_KEY,)
            stream = stream_of(0, 1, 1, branch, *key) + self.step
            return lambda x: spatial_shuffle(x, stream)

        found = KINDS[self.kind](self, x, permutation(1), permutation(0))
        self.step += 1
        return found


def pair(kind: str) -> tuple[nn.Sequential, nn.Sequential]:
    """A shuffled network and one with explicit permutations."""
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 4, 1), Residual(kind), nn.Conv2d(4, 4, 1))
    explicit = nn.Sequential(nn.Conv2d(3, 4, 1), Explicit(kind), nn.Conv2d(4, 4, 1))
    explicit.load_state_dict(network.state_dict())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        modify_layers(network, "spatial", last=1, example=4)
    return network, explicit


@pytest.mark.parametrize(
    ("kind", "how"),
    [
        *product(KINDS, ["plain", "copied", "checkpoint", "reentrant"]),
        ("norm first", "compiled by aot_eager"),
        ("of a function", "compiled by eager"),
    ],
)
def test_branches_that_begin_with_a_function(kind: str, how: str) -> None:
    network, explicit = pair(kind)
    assert [change.what for change in list_changes(network)].count("shortcut") == 1
    assert_same_steps(network, explicit, how, torch.randn(2, 2, 3, 4, 4, requires_grad=True))


@pytest.mark.parametrize(("kind", "strict"), [("roll", False), ("in place", True)])
def test_exported_with_one_draw(kind: str, strict: bool) -> None:
    network, explicit = pair(kind)
    x = torch.randn(2, 3, 4, 4)
    with torch.no_grad(), fix_draws(network.eval(), 0, example=4):
        program = torch.export.export(network, (x,), strict=strict).module()
        torch.testing.assert_close(program(x), network(x))
    with torch.no_grad():
        seek_shuffles(network, 0, 1)
        torch.testing.assert_close(network(x), explicit.eval()(x))


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_remains(kind: str) -> None:
    network, _ = pair(kind)
    x, plain = torch.randn(2, 3, 4, 4), Residual(kind)
    plain.load_state_dict(network[1].state_dict())
    network.eval()
    inner = network[0](x).clone()
    set_shuffling(network, eval=False)
    assert network(x).equal(network[2](plain.eval()(inner.clone())))
    remove_shuffles(network)
    assert network(x).equal(network[2](plain(inner)))
    assert vars(network[1]).keys() == vars(plain).keys()


def test_what_cannot_be_done_with_a_shortcut_shuffled_at_its_add(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    network, _ = pair("roll")
    with pytest.raises(
        TypeError, match=r"found torch\.fx, which cannot change how Residual adds its shortcut"
    ):
        torch.fx.symbolic_trace(network)
    monkeypatch.setitem(KINDS, "roll", lambda m, x, p, s: x)
    with pytest.raises(RuntimeError, match=r"found a pass in which Residual does not add its shortcut"):
        network(torch.randn(1, 3, 4, 4))


def test_a_shortcut_that_cannot_be_shuffled_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    def of_nothing(block: Residual, x: Tensor, permute: Permute, shortcut: Permute) -> Tensor:
        x = x.sin()  # no module takes it or gives it
        return shortcut(x) + block.after(block.mix(x.roll(1, 2)))  # type: ignore[no-any-return]

    monkeypatch.setitem(KINDS, "roll", of_nothing)
    network = nn.Sequential(nn.Conv2d(3, 4, 1), Residual("roll"))
    with pytest.warns(UserWarning, match=r"layer 1, '1', whose shortcut is not shuffled \(no module has the"):
        modify_layers(network, "spatial", last=1, example=4)
    assert [change.what for change in list_changes(network)] == ["input"]


def test_part_of_a_block_run_again_is_refused() -> None:
    network, _ = pair("norm first")
    block: Any = network[1]
    block.forward = lambda x: (
        x + checkpoint(lambda y: block.mix(block.before(block.after(y))), x, use_reentrant=False)
    )
    with pytest.raises(
        RuntimeError, match=r"a part of a block run again .* expected checkpointing of whole blocks"
    ):
        network(torch.randn(2, 3, 4, 4)).sum().backward()


def test_blocks_that_share_an_activation() -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 1), Residual("norm first"), Residual("norm first"))
    network[2].activation = network[1].activation
    modify_layers(network, "spatial", last=2, example=8)
    assert [change.layer for change in list_changes(network)] == [1, 1, 2, 2]


# ---------------------------------------------------------------- what is one block


class Mixing(nn.Module):
    """Attention without heads over the positions of a map, optionally with a convolution of its values."""

    def __init__(self, local: bool = False) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(4)
        self.local = nn.Conv2d(4, 4, 3, padding=1) if local else None

    def forward(self, x: Tensor) -> Tensor:
        values = self.norm(x)
        tokens = values.flatten(2)
        mixed = (tokens @ (tokens.transpose(1, 2) @ tokens).softmax(2)).view(x.shape)
        return mixed if self.local is None else mixed + self.local(values)  # type: ignore[no-any-return]


class Skip(nn.Module):
    """Adds what parts do to what enters them."""

    def __init__(self, *parts: nn.Module) -> None:
        super().__init__()
        self.parts = nn.Sequential(*parts)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.parts(x)  # type: ignore[no-any-return]


def skip() -> Skip:
    return Skip(nn.Conv2d(4, 4, 3, padding=1))


class Attending(nn.Module):
    """A block with attention, and something before and after it."""

    def __init__(self, before: nn.Module, after: nn.Module, *, local: bool = False) -> None:
        super().__init__()
        self.before, self.attention, self.after = before, Mixing(local), after

    def forward(self, x: Tensor) -> Tensor:
        x = self.before(x)
        return self.after(x + self.attention(x))  # type: ignore[no-any-return]


class Given(nn.Module):
    """A block that takes its shortcut as an argument."""

    def __init__(self) -> None:
        super().__init__()
        self.mix = nn.Conv2d(4, 4, 3, padding=1)

    def forward(self, x: Tensor, shortcut: Tensor) -> Tensor:
        return self.mix(x) + shortcut  # type: ignore[no-any-return]


class Giving(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.project, self.block = nn.Conv2d(4, 4, 1), Given()

    def forward(self, x: Tensor) -> Tensor:
        return self.block(x, self.project(x))  # type: ignore[no-any-return]


class Fused(nn.Module):
    """Two branches of residual blocks."""

    def __init__(self) -> None:
        super().__init__()
        self.left, self.right = nn.Sequential(skip()), nn.Sequential(skip(), skip())
        self.fuse = nn.Conv2d(4, 4, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.left(x) + self.fuse(self.right(x))  # type: ignore[no-any-return]


class Fold(nn.Module):
    """Every second position of a map of 8×8 as an image of tokens of its own, or back."""

    def __init__(self, back: bool) -> None:
        super().__init__()
        self.back = back

    def forward(self, x: Tensor) -> Tensor:
        if self.back:
            return x.view(-1, 2, 2, 4, 4, 4).permute(0, 5, 3, 1, 4, 2).reshape(-1, 4, 8, 8)
        return x.view(-1, 4, 4, 2, 4, 2).permute(0, 3, 5, 2, 4, 1).reshape(-1, 16, 4)


class AmongTokens(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.norm, self.linear = nn.LayerNorm(4), nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm(x)
        return x + self.linear((y @ y.transpose(1, 2)).softmax(2) @ y)  # type: ignore[no-any-return]


class Windows(nn.Module):
    """Attention among every second position, as in MobileViT: no map is added to what entered."""

    def __init__(self) -> None:
        super().__init__()
        self.enter = nn.Conv2d(4, 4, 3, padding=1)
        self.parts = nn.Sequential(Fold(back=False), AmongTokens(), Fold(back=True))

    def forward(self, x: Tensor) -> Tensor:
        return self.parts(self.enter(x))  # type: ignore[no-any-return]


BLOCKS: dict[str, tuple[Callable[[], nn.Module], list[str], int]] = {
    "positions": (lambda: Attending(skip(), skip()), ["1"], 1),
    "convolution": (lambda: Attending(nn.Identity(), nn.Conv2d(4, 4, 3, padding=1)), ["1"], 1),
    "values": (lambda: Attending(nn.Identity(), nn.Identity(), local=True), ["1"], 1),
    "given": (Giving, ["1.block"], 1),
    "alone inside": (lambda: Skip(skip()), ["1"], 1),
    "long skip": (lambda: Skip(skip(), skip()), ["1.parts.0", "1.parts.1"], 2),
    "two branches": (Fused, ["1.left.0", "1.right.0", "1.right.1"], 3),
    "windows": (Windows, ["1"], 0),
}
"""Networks behind a stem, with their layers, and how many of these are residual."""


@pytest.mark.parametrize("kind", BLOCKS)
def test_what_is_one_block(kind: str) -> None:
    make, names, residual = BLOCKS[kind]
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 4, 1), make()).eval()
    assert [layer.name for layer in list_layers(network, 8)] == names
    x = torch.randn(2, 3, 8, 8)
    plain = network(x)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        modify_layers(network, "spatial", last=len(names), example=8)
    changes = list_changes(network)
    assert sum(change.what == "shortcut" for change in changes) == residual
    if kind in ("positions", "convolution", "long skip"):
        convolutions = [part for part in network.modules() if getattr(part, "kernel_size", 0) == (3, 3)]
        assert all("input_shuffle" in dict(part.named_children()) for part in convolutions)
    assert not network(x).allclose(plain)
    assert not network(x).equal(network(x))
    assert remove_shuffles(network)(x).equal(plain)


class ChannelsLast(nn.Module):
    """Adds a convolution's output to a map with its channels last."""

    def __init__(self) -> None:
        super().__init__()
        self.mix = nn.Conv2d(4, 4, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.mix(x.movedim(-1, 1)).movedim(1, -1)  # type: ignore[no-any-return]


class Stage(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.Sequential(ChannelsLast(), ChannelsLast())

    def forward(self, x: Tensor) -> Tensor:
        return self.blocks(x)  # type: ignore[no-any-return]


class Staged(nn.Module):
    """A stem of 1×1, a stage that takes a map with its channels last, as in Swin, and a head."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4))
        self.stage = Stage()
        self.middle = Skip(nn.Conv2d(4, 4, 1))
        self.head = nn.ModuleDict({"mix": nn.Conv2d(4, 4, 3), "last": nn.Conv2d(4, 2, 1)})
        self.outer = nn.ModuleDict({"stage": self.stage, "head": self.head})

    def forward(self, x: Tensor) -> Tensor:
        x = self.stage(self.stem(x).movedim(1, -1))
        return self.head["last"](self.head["mix"](self.middle(x.movedim(-1, 1))))  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    ("name", "changed"),
    [
        ("stage", {"stage.blocks.0", "stage.blocks.0.mix", "stage.blocks.1", "stage.blocks.1.mix"}),
        ("outer", {"stage.blocks.0", "stage.blocks.0.mix", "stage.blocks.1", "stage.blocks.1.mix"}),
        ("stem", {"stem.0"}),
        ("middle", {"middle.parts.0"}),
        ("head", {"head.mix"}),
    ],
)
def test_the_name_of_any_block_of_convolutions_is_welcome(name: str, changed: set[str]) -> None:
    network = modify_layers(Staged(), "spatial", names=[name], example=8)
    assert {change.name for change in list_changes(network)} == changed
