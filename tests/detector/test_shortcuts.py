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
from tests.detector.helpers import Net, assert_same_steps, same_size

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


def attend(m: Any, x: Tensor) -> Tensor:
    """Attention without heads over the positions of a map, optionally with a convolution of its values."""
    values = m.norm(x)
    tokens = values.flatten(2)
    mixed = (tokens @ (tokens.transpose(1, 2) @ tokens).softmax(2)).view(x.shape)
    return mixed + m.local(values) if hasattr(m, "local") else mixed


def attending(before: nn.Module, after: nn.Module, **local: nn.Module) -> Net:
    """A block with attention, and something before and after it."""

    def run(m: Any, x: Tensor) -> Tensor:
        x = m.before(x)
        return m.after(x + m.attention(x))  # type: ignore[no-any-return]

    return Net(run, before=before, attention=Net(attend, norm=nn.BatchNorm2d(4), **local), after=after)


class Skip(nn.Module):
    """Adds what parts do to what enters them; without parts a convolution."""

    def __init__(self, *parts: nn.Module) -> None:
        super().__init__()
        self.parts = nn.Sequential(*(parts or [same_size()]))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.parts(x)  # type: ignore[no-any-return]


def given() -> Net:
    """A block that takes its shortcut as an argument."""
    block = Net(lambda m, x, shortcut: m.mix(x) + shortcut, mix=same_size())
    return Net(lambda m, x: m.block(x, m.project(x)), project=same_size(1), block=block)


def fused() -> Net:
    """Two branches of residual blocks."""
    left, right = nn.Sequential(Skip()), nn.Sequential(Skip(), Skip())
    return Net(lambda m, x: m.left(x) + m.fuse(m.right(x)), left=left, right=right, fuse=same_size())


def windows() -> Net:
    """Attention among every second position, as in MobileViT: no map is added to what entered."""

    def among_tokens(m: Any, x: Tensor) -> Tensor:
        y = m.norm(x)
        return x + m.linear((y @ y.transpose(1, 2)).softmax(2) @ y)  # type: ignore[no-any-return]

    # Every second position of a map of 8×8 as an image of tokens of its own, and back.
    fold = Net(lambda m, x: x.view(-1, 4, 4, 2, 4, 2).permute(0, 3, 5, 2, 4, 1).reshape(-1, 16, 4))
    back = Net(lambda m, x: x.view(-1, 2, 2, 4, 4, 4).permute(0, 5, 3, 1, 4, 2).reshape(-1, 4, 8, 8))
    tokens = Net(among_tokens, norm=nn.LayerNorm(4), linear=nn.Linear(4, 4))
    return Net(lambda m, x: m.parts(m.enter(x)), enter=same_size(), parts=nn.Sequential(fold, tokens, back))


BLOCKS: dict[str, tuple[Callable[[], nn.Module], list[str], int]] = {
    "positions": (lambda: attending(Skip(), Skip()), ["1"], 1),
    "convolution": (lambda: attending(nn.Identity(), same_size()), ["1"], 1),
    "values": (lambda: attending(nn.Identity(), nn.Identity(), local=same_size()), ["1"], 1),
    "given": (given, ["1.block"], 1),
    "alone inside": (lambda: Skip(Skip()), ["1"], 1),
    "long skip": (lambda: Skip(Skip(), Skip()), ["1.parts.0", "1.parts.1"], 2),
    "two branches": (fused, ["1.left.0", "1.right.0", "1.right.1"], 3),
    "windows": (windows, ["1"], 0),
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


def staged() -> Net:
    """A stem of 1×1, a stage that takes a map with its channels last, as in Swin, and a head."""

    def run(m: Any, x: Tensor) -> Tensor:
        x = m.stage(m.stem(x).movedim(1, -1))
        return m.head["last"](m.head["mix"](m.middle(x.movedim(-1, 1))))  # type: ignore[no-any-return]

    def block() -> Net:
        return Net(lambda m, x: x + m.mix(x.movedim(-1, 1)).movedim(1, -1), mix=same_size())

    stage = Net(lambda m, x: m.blocks(x), blocks=nn.Sequential(block(), block()))
    stem = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4))
    head = nn.ModuleDict({"mix": nn.Conv2d(4, 4, 3), "last": nn.Conv2d(4, 2, 1)})
    outer = nn.ModuleDict({"stage": stage, "head": head})
    return Net(run, stem=stem, stage=stage, middle=Skip(same_size(1)), head=head, outer=outer)


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
    network = modify_layers(staged(), "spatial", names=[name], example=8)
    assert {change.name for change in list_changes(network)} == changed
