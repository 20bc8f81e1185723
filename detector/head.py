"""The detection head: three dilated bottlenecks and a 3×3 convolution (paper, section 4.5)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torchvision.models.resnet import Bottleneck

__all__ = ["ConvHead"]


class ConvHead(nn.Module):
    """Turns the backbone's last map into the grid's outputs, at the same resolution.

    Each bottleneck is 1×1, 3×3 (dilated), 1×1, all of `channels` channels, stride 1. A convolution ends it
    instead of YOLO's fully connected layer, so that an output does not see the whole map at once "which may
    be exploited by the model to predict its location".

    Parameters
    ----------
    in_channels
        Channels of the backbone's last map.
    out_channels
        B·5 + C.
    channels
        Width of the bottlenecks, a multiple of 4.
    blocks
        Number of bottlenecks.
    dilation
        Of their 3×3 convolutions. An output of the default head sees a window of 15×15 positions around its
        own (:attr:`field`): just wider than a 14×14 map.

    Raises
    ------
    ValueError
        `channels` not a multiple of 4.
    """

    def __init__(
        self, in_channels: int, out_channels: int, channels: int = 256, blocks: int = 3, dilation: int = 2
    ) -> None:
        super().__init__()
        if channels < 1 or channels % Bottleneck.expansion:
            raise ValueError(f"head channels must be a multiple of {Bottleneck.expansion}, found {channels}")
        shortcut = nn.Sequential(nn.Conv2d(in_channels, channels, 1, bias=False), nn.BatchNorm2d(channels))
        # torchvision's bottleneck puts out 4 × planes channels and is planes · base_width / 64 wide:
        # these two make both equal to `channels`.
        planes, base_width = channels // Bottleneck.expansion, 64 * Bottleneck.expansion
        self.blocks = nn.Sequential(
            *(
                Bottleneck(
                    channels if number else in_channels,
                    planes,
                    downsample=None if number else shortcut,
                    base_width=base_width,
                    dilation=dilation,
                )
                for number in range(blocks)
            )
        )
        self.output = nn.Conv2d(channels, out_channels, 3, padding=1)
        self.field = 1 + 2 * dilation * blocks + 2
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        nn.init.normal_(self.output.weight, std=0.001)
        nn.init.zeros_(self.output.bias)  # type: ignore[arg-type]

    @staticmethod
    def covering_dilation(grid: int, blocks: int = 3) -> int:
        """The least dilation, but at least the paper's 2, whose window is as wide as a grid × grid map.

        Examples
        --------
        >>> [ConvHead.covering_dilation(grid) for grid in (8, 14, 15, 19)]
        [2, 2, 2, 3]
        """
        return max(2, -(-(grid - 3) // (2 * blocks)))

    def forward(self, features: Tensor) -> Tensor:
        """``(N, in_channels, S, S)`` to ``(N, out_channels, S, S)`` float32: scores and loss need it."""
        outputs: Tensor = self.output(self.blocks(features))
        return outputs.to(torch.float32)
