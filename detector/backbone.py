"""ResNets over torchvision's own blocks, as classifier or as feature extractor.

They keep torchvision's parameter names, so its official weights load as they are, and they stand alone:

>>> from detector import resnet50
>>> network = resnet50(num_classes=100, stem="small")
>>> network(torch.zeros(2, 3, 32, 32)).shape
torch.Size([2, 100])
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torchvision.models import ResNet18_Weights, ResNet50_Weights, ResNet152_Weights
from torchvision.models.resnet import BasicBlock, Bottleneck
from torchvision.models.resnet import ResNet as TorchvisionResNet

from detector.weights import WeightsError, load_into, load_weights, what_is_wrong

__all__ = [
    "ARCHITECTURES",
    "ResNet",
    "WeightsError",
    "load_weights",
    "normalize",
    "resnet18",
    "resnet50",
    "resnet152",
    "what_is_wrong",
]

Stem = Literal["imagenet", "small"]

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


def normalize(images: Tensor) -> Tensor:
    """Images as the networks take them: less ImageNet's mean, over its standard deviation.

    Parameters
    ----------
    images
        ``(N, 3, H, W)`` RGB, uint8 of 0 to 255. Floating-point images are taken to be normalised already.

    Returns
    -------
    Tensor
        ``(N, 3, H, W)`` floating point.
    """
    if images.dtype != torch.uint8:
        return images
    # Made on the host and sent without waiting: to make it on a GPU would wait for all work queued there.
    statistics = torch.tensor([IMAGENET_MEAN, IMAGENET_STD], device="cpu") * 255
    mean, deviation = statistics.to(images.device, non_blocking=True).view(2, 3, 1, 1).unbind()
    return (images - mean) / deviation


class ResNet(TorchvisionResNet):  # type: ignore[misc]  # torchvision has no types
    """A ResNet with a choice of stem and of output stride, with or without its classifier.

    Parameters
    ----------
    block, layers
        torchvision's block class and the number of blocks in each of the four stages.
    num_classes
        Outputs of the classifier, or None for a feature extractor: no pooling, no fully connected layer.
    stem
        ``"imagenet"``: 7×7 convolution of stride 2 and max-pooling, for inputs of about 224 pixels.
        ``"small"``: 3×3 convolution of stride 1 and no pooling, so that a 32×32 input ends as a 4×4 map
        (paper, section 3.2).
    output_stride
        Input pixels per position of the last map. None: what the architecture has, 32 or, with the small
        stem, 8. Half or a quarter of it: the last one or two stages keep their resolution and are dilated
        instead, so that every second or fourth position has the very value that the plain network computes
        there, and its weights stay valid.
    width
        The channels of every stage times this, for quick looks at small cost; the stem keeps its 64.

    Raises
    ------
    ValueError
        A stem or an output stride that it cannot have, or a width of 0 or less.
    """

    def __init__(
        self,
        block: type[BasicBlock] | type[Bottleneck],
        layers: list[int],
        num_classes: int | None = 1000,
        stem: Stem = "imagenet",
        output_stride: int | None = None,
        width: float = 1.0,
    ) -> None:
        if width <= 0:
            raise ValueError(f"width must be above 0, found {width}")
        self._width = width  # torchvision's __init__ makes the stages
        super().__init__(block, layers, num_classes=1 if num_classes is None else num_classes)
        self.out_channels = self.inplanes
        if width != 1:
            self.fc = nn.Linear(self.out_channels, 1 if num_classes is None else num_classes)
        self.stride = 32
        self.image_size = 32 if stem == "small" else 224  # pixels, what it is made for; it takes any
        if stem == "small":
            self.conv1 = nn.Conv2d(3, 64, kernel_size=3, stride=1, padding=1, bias=False)
            nn.init.kaiming_normal_(self.conv1.weight, mode="fan_out", nonlinearity="relu")
            self.maxpool: nn.Module = nn.Identity()
            self.stride = 8
        elif stem != "imagenet":
            raise ValueError(f"stem must be 'imagenet' or 'small', found {stem!r}")
        if output_stride is not None:
            self._reduce_stride(output_stride)
        if num_classes is None:
            del self.avgpool, self.fc
        self.num_classes = num_classes

    def _make_layer(self, block: Any, planes: int, *arguments: Any, **options: Any) -> nn.Sequential:
        stage: nn.Sequential = super()._make_layer(
            block, max(1, round(planes * self._width)), *arguments, **options
        )
        return stage

    def _reduce_stride(self, output_stride: int) -> None:
        possible = [self.stride, self.stride // 2, self.stride // 4]
        if output_stride not in possible:
            raise ValueError(f"output_stride must be one of {possible}, found {output_stride}")
        dilation = 1
        for stage in (self.layer3, self.layer4)[2 - possible.index(output_stride) :]:
            for convolution in (module for module in stage.modules() if isinstance(module, nn.Conv2d)):
                strided = convolution.stride == (2, 2)
                convolution.stride = (1, 1)
                if convolution.kernel_size == (3, 3):
                    convolution.dilation = convolution.padding = (dilation, dilation)
                    # What follows the convolution that had the stride meets a map twice as fine.
                    dilation = 2 * dilation if strided else dilation
        self.stride = output_stride

    def features(self, images: Tensor) -> Tensor:
        """The last feature map.

        Parameters
        ----------
        images
            ``(N, 3, H, W)``, normalised or uint8.

        Returns
        -------
        Tensor
            ``(N, out_channels, H / stride, W / stride)``, rounded up.
        """
        x = self.maxpool(self.relu(self.bn1(self.conv1(normalize(images)))))
        return self.layer4(self.layer3(self.layer2(self.layer1(x))))  # type: ignore[no-any-return]

    def forward(self, images: Tensor) -> Tensor:
        """Class logits ``(N, num_classes)``, or the last feature map where there is no classifier."""
        x = self.features(images)
        if self.num_classes is None:
            return x
        return self.fc(self.avgpool(x).flatten(1))  # type: ignore[no-any-return]


ARCHITECTURES: dict[str, tuple[type[BasicBlock] | type[Bottleneck], list[int], Any]] = {
    "resnet18": (BasicBlock, [2, 2, 2, 2], ResNet18_Weights),
    "resnet50": (Bottleneck, [3, 4, 6, 3], ResNet50_Weights),
    "resnet152": (Bottleneck, [3, 8, 36, 3], ResNet152_Weights),
}


def resnet(
    architecture: str,
    num_classes: int | None = 1000,
    *,
    stem: Stem = "imagenet",
    output_stride: int | None = None,
    weights: str | Path | None = None,
    width: float = 1.0,
) -> ResNet:
    """A ResNet by name; :func:`resnet50` and its siblings hand on to it.

    Parameters
    ----------
    architecture
        One of ``ARCHITECTURES``.
    num_classes, stem, output_stride, width
        As of :class:`ResNet`.
    weights
        None or ``"none"``: random, as torchvision draws them. ``"imagenet"``: torchvision's best official
        ones. An official name, ``"IMAGENET1K_V1"`` or ``"ResNet50_Weights.IMAGENET1K_V1"``. Or a local file:
        a state dict of torch.save or safetensors, or a checkpoint of this package or another that holds one
        ResNet. The classifier's weights are left out where the number of classes differs or there is no
        classifier.

    Returns
    -------
    ResNet

    Raises
    ------
    ValueError
        An unknown architecture, stem or stride, or a width of 0 or less.
    WeightsError
        Weights that are not there, cut short, or of another network.
    """
    if architecture not in ARCHITECTURES:
        raise ValueError(f"architecture must be one of {', '.join(ARCHITECTURES)}, found {architecture!r}")
    block, layers, official = ARCHITECTURES[architecture]
    network = ResNet(block, layers, num_classes, stem, output_stride, width)
    load_into(network, weights, official, landmark="layer1.0.conv1.weight", classifier="fc.")
    return network


def resnet18(num_classes: int | None = 1000, **options: Any) -> ResNet:
    """ResNet-18: 8 basic blocks, 11.7 M parameters. See :func:`resnet` for the options."""
    return resnet("resnet18", num_classes, **options)


def resnet50(num_classes: int | None = 1000, **options: Any) -> ResNet:
    """ResNet-50: 16 bottlenecks, 25.6 M parameters. See :func:`resnet` for the options."""
    return resnet("resnet50", num_classes, **options)


def resnet152(num_classes: int | None = 1000, **options: Any) -> ResNet:
    """ResNet-152: 50 bottlenecks, 60.2 M parameters. See :func:`resnet` for the options."""
    return resnet("resnet152", num_classes, **options)
