"""The head: its shapes, what it sees, and its precision."""

import pytest
import torch
from torch import nn

from detector.yolo import ConvHead, covering_dilation, receptive_field


@pytest.mark.parametrize(
    ("channels", "outputs", "size"), [(256, 30, (14, 14)), (4, 1, (1, 1)), (8, 6, (3, 5))]
)
def test_shapes(channels: int, outputs: int, size: tuple[int, int]) -> None:
    head = ConvHead(12, outputs, channels).eval()
    assert head(torch.randn(2, 12, *size)).shape == (2, outputs, *size)


def test_three_bottlenecks_of_one_width() -> None:
    head = ConvHead(2048, 30)
    shapes = [tuple(module.weight.shape) for module in head.modules() if isinstance(module, nn.Conv2d)]
    inner = [(256, 256, 1, 1), (256, 256, 3, 3), (256, 256, 1, 1)]
    assert sorted(shapes) == sorted(
        [(256, 2048, 1, 1), *inner[1:], (256, 2048, 1, 1), *inner, *inner, (30, 256, 3, 3)]
    )
    assert {module.stride for module in head.modules() if isinstance(module, nn.Conv2d)} == {(1, 1)}


@pytest.mark.parametrize(("dilation", "blocks"), [(2, 3), (1, 3), (3, 2)])
def test_field_is_what_the_middle_output_sees(dilation: int, blocks: int) -> None:
    torch.manual_seed(0)
    head = ConvHead(3, 4, 8, blocks, dilation).double().eval()
    for module in head.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.constant_(module.bias, 5.0)  # keeps every ReLU open
    x = torch.randn(1, 3, 25, 25, dtype=torch.float64, requires_grad=True)
    head(x)[0, :, 12, 12].sum().backward()
    assert x.grad is not None
    seen = x.grad.abs().sum((0, 1)) > 0
    rows, columns = seen.any(1).nonzero(), seen.any(0).nonzero()
    assert rows.max() - rows.min() + 1 == receptive_field(dilation, blocks)
    assert columns.max() - columns.min() + 1 == receptive_field(dilation, blocks)


@pytest.mark.parametrize("grid", range(1, 40))
def test_covering_dilation_is_the_least(grid: int) -> None:
    dilation = covering_dilation(grid)
    assert receptive_field(dilation) >= grid
    assert dilation == 2 or receptive_field(dilation - 1) < grid


def test_outputs_are_float32_under_autocast() -> None:
    with torch.autocast("cpu", torch.bfloat16):
        assert ConvHead(4, 5, 8).eval()(torch.randn(1, 4, 3, 3)).dtype == torch.float32


@pytest.mark.parametrize("channels", [0, 2, 30, -4])
def test_width_that_bottlenecks_cannot_have(channels: int) -> None:
    with pytest.raises(ValueError, match=f"head channels must be a multiple of 4, found {channels}"):
        ConvHead(8, 5, channels)
