"""Small networks, and what enters their modules."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable, Iterable
from typing import Any

import torch
import torchvision
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint
from torchvision.models.convnext import CNBlockConfig

from detector import resnet18, resnet50, seek_shuffles, vgg16
from detector.layers import FullyConnected
from detector.shuffle import Shuffle

THIN = 1 / 16  # a width at which a network runs in milliseconds


class Net(nn.Module):
    """Modules by name, and what a pass does with them."""

    def __init__(self, run: Callable[..., Tensor], **parts: nn.Module) -> None:
        super().__init__()
        self.run = run
        for name, part in parts.items():
            self.add_module(name, part)

    def forward(self, *inputs: Any, **named: Any) -> Tensor:
        return self.run(self, *inputs, **named)


def same_size(kernel: int = 3, channels: int = 4) -> nn.Conv2d:
    """A convolution of stride 1 that keeps height and width, of 4 channels."""
    return nn.Conv2d(channels, 4, kernel, padding=kernel // 2)


def on_meta(make: Callable[[], Any]) -> Any:
    """A network without memory, for tests that do not run it."""
    with torch.device("meta"):
        return make()


def thin(kind: str, classes: int = 5) -> Any:
    """A thin network for 32×32 images; the same weights at every call."""
    torch.manual_seed(0)
    if kind == "vit":
        network = torchvision.models.VisionTransformer(
            32, 8, num_layers=2, num_heads=2, hidden_dim=16, mlp_dim=8
        )
        nn.init.normal_(network.heads.head.weight)  # zero in torchvision: nothing would reach the output
        return network
    if kind == "convnext":
        return torchvision.models.ConvNeXt([CNBlockConfig(8, 16, 1), CNBlockConfig(16, None, 1)], 0.0, 1.0)
    if kind == "vgg16":
        return vgg16(classes, width=THIN)
    return {"resnet18": resnet18, "resnet50": resnet50}[kind](classes, stem="small", width=THIN)


def changed_places(network: nn.Module) -> list[str]:
    """Where something shuffles or averages, or has become fully connected."""
    return [
        name
        for name, module in network.named_modules()
        if isinstance(module, Shuffle | FullyConnected) or name.endswith("input_average")
    ]


def entering(network: nn.Module, name: str, images: Tensor) -> tuple[Tensor, Tensor]:
    """What enters a module before and after what was put there, in one pass."""
    seen: list[Tensor] = []

    def keep(module: nn.Module, inputs: tuple[Any, ...]) -> None:
        seen.append(inputs[0].clone())

    module = network.get_submodule(name)
    first = module.register_forward_pre_hook(keep, prepend=True)
    with torch.no_grad(), first, module.register_forward_pre_hook(keep):
        network(images)
    return seen[0], seen[1]


def is_reordered(a: Tensor, b: Tensor, along: int = 2) -> bool:
    """Whether two maps have the same values along a dimension (2: the positions), in another order."""
    a, b = a.flatten(2), b.flatten(2)
    return a.sort(along).values.equal(b.sort(along).values) and not a.equal(b)


def assert_same_steps(network: nn.Module, explicit: nn.Module, how: str, images: Iterable[Tensor]) -> None:
    """Steps of a shuffled network, used in some way, are those of one with permutations of its own."""
    network = pickle.loads(pickle.dumps(copy.deepcopy(network))) if how == "copied" else network
    run: Callable[[Tensor], Tensor] = network
    if how.startswith("compiled by "):
        torch.compiler.reset()
        run = torch.compile(network, fullgraph=True, backend=how.removeprefix("compiled by "))
    elif how in ("checkpoint", "reentrant"):

        def run(x: Tensor) -> Tensor:
            return checkpoint(network, x, use_reentrant=how == "reentrant")  # type: ignore[no-any-return]

    seek_shuffles(network, 0, 1)
    for x in images:
        found, expected = run(x), explicit(x)
        torch.testing.assert_close(found, expected)
        for each, output in ((network, found), (explicit, expected)):
            each.zero_grad()
            output.square().sum().backward()
        for value, wanted in zip(network.parameters(), explicit.parameters(), strict=True):
            torch.testing.assert_close(value.grad, wanted.grad)
