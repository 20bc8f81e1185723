"""VGG-16 as the paper has it: batch norm, global average pooling and a classifier without dropout.

The convolutions are torchvision's and keep its parameter names. Its 37.70 M parameters with 1000 classes
are those of the paper's Table 2.

>>> import torch
>>> from detector import vgg16
>>> network = vgg16(num_classes=100)
>>> network(torch.zeros(2, 3, 32, 32)).shape
torch.Size([2, 100])
"""

from __future__ import annotations

from pathlib import Path

from torch import Tensor, nn
from torchvision.models import VGG16_BN_Weights
from torchvision.models.vgg import cfgs, make_layers

from detector.backbone import normalize
from detector.weights import load_into

__all__ = ["VGG", "vgg16"]


class VGG(nn.Module):
    """Thirteen 3×3 convolutions, global average pooling, and 512–4096–4096–C fully connected layers.

    Parameters
    ----------
    num_classes
        Outputs of the classifier, C; None for a feature extractor: no pooling, no fully connected layer.
    width
        The number of channels and of hidden units times this, for quick looks at small cost.

    Raises
    ------
    ValueError
        A width of 0 or less.
    """

    def __init__(self, num_classes: int | None = 1000, width: float = 1.0) -> None:
        super().__init__()
        if width <= 0:
            raise ValueError(f"width must be above 0, found {width}")
        plan = [size if size == "M" else max(1, round(size * width)) for size in cfgs["D"]]
        self.features: nn.Sequential = make_layers(plan, batch_norm=True)
        self.num_classes = num_classes
        self.stride = 32
        self.out_channels = plan[-2]
        self.image_size = 32  # pixels, CIFAR's; it takes any from there on
        if num_classes is not None:
            hidden = max(1, round(4096 * width))
            self.avgpool = nn.AdaptiveAvgPool2d(1)
            self.classifier = nn.Sequential(
                nn.Linear(self.out_channels, hidden),
                nn.ReLU(inplace=True),
                nn.Linear(hidden, hidden),
                nn.ReLU(inplace=True),
                nn.Linear(hidden, num_classes),
            )
        for module in self.modules():  # as torchvision's VGG begins; its batch norm begins as torch's does
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            elif isinstance(module, nn.Linear):
                nn.init.normal_(module.weight, 0, 0.01)
            if isinstance(module, nn.Conv2d | nn.Linear) and module.bias is not None:
                nn.init.zeros_(module.bias)

    def forward(self, images: Tensor) -> Tensor:
        """Class logits ``(N, num_classes)``, or the last feature map ``(N, out_channels, H / 32, W / 32)``.

        Parameters
        ----------
        images
            ``(N, 3, H, W)`` of at least 32×32 pixels, normalised or uint8.
        """
        x = self.features(normalize(images))
        if self.num_classes is None:
            return x  # type: ignore[no-any-return]
        return self.classifier(self.avgpool(x).flatten(1))  # type: ignore[no-any-return]


def vgg16(num_classes: int | None = 1000, *, weights: str | Path | None = None, width: float = 1.0) -> VGG:
    """VGG-16 with batch norm, 37.7 M parameters.

    Parameters
    ----------
    num_classes, width
        As of :class:`VGG`.
    weights
        None or ``"none"``: random, as torchvision draws them. ``"imagenet"`` or an official name of
        torchvision's VGG-16 with batch norm, whose classifier is another and is left out. Or a local file, as
        for :func:`detector.backbone.resnet`.

    Returns
    -------
    VGG

    Raises
    ------
    ValueError
        A width of 0 or less.
    WeightsError
        Weights that are not there, cut short, or of another network.
    """
    network = VGG(num_classes, width)
    load_into(network, weights, VGG16_BN_Weights, landmark="features.0.weight", classifier="classifier.")
    return network
