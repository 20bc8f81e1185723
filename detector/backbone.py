"""ResNets over torchvision's own blocks, as classifier or as feature extractor.

They keep torchvision's parameter names, so its official weights load as they are, and they stand alone:

>>> from detector import resnet50
>>> network = resnet50(num_classes=100, stem="small")
>>> network(torch.zeros(2, 3, 32, 32)).shape
torch.Size([2, 100])
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors.torch import load_file as safetensors_file
from torch import Tensor, nn
from torchvision.models import ResNet18_Weights, ResNet50_Weights, ResNet152_Weights
from torchvision.models.resnet import BasicBlock, Bottleneck
from torchvision.models.resnet import ResNet as TorchvisionResNet

__all__ = [
    "ARCHITECTURES",
    "ResNet",
    "WeightsError",
    "load_weights",
    "normalize",
    "resnet18",
    "resnet50",
    "resnet152",
]

Stem = Literal["imagenet", "small"]

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)

# Every ResNet has this weight: what stands before it in a name is the prefix that a detector, Lightning,
# DistributedDataParallel or torch.compile put there.
_LANDMARK = "layer1.0.conv1.weight"


class WeightsError(ValueError):
    """A weights file that cannot be read or is of another network."""


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

    Raises
    ------
    ValueError
        A stem or an output stride that it cannot have.
    """

    def __init__(
        self,
        block: type[BasicBlock] | type[Bottleneck],
        layers: list[int],
        num_classes: int | None = 1000,
        stem: Stem = "imagenet",
        output_stride: int | None = None,
    ) -> None:
        super().__init__(block, layers, num_classes=1 if num_classes is None else num_classes)
        self.out_channels = 512 * block.expansion
        self.stride = 32
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
) -> ResNet:
    """A ResNet by name; :func:`resnet50` and its siblings hand on to it.

    Parameters
    ----------
    architecture
        One of ``ARCHITECTURES``.
    num_classes, stem, output_stride
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
        An unknown architecture, stem or stride.
    WeightsError
        Weights that are not there, cut short, or of another network.
    """
    if architecture not in ARCHITECTURES:
        raise ValueError(f"architecture must be one of {', '.join(ARCHITECTURES)}, found {architecture!r}")
    block, layers, official = ARCHITECTURES[architecture]
    network = ResNet(block, layers, num_classes, stem, output_stride)
    if weights is not None and str(weights) != "none":
        name = str(weights).removeprefix(f"{official.__name__}.")
        if name == "imagenet" or name in official.__members__:
            chosen = official.DEFAULT if name == "imagenet" else official[name]
            try:
                state = chosen.get_state_dict(progress=True, check_hash=True)
            except (OSError, RuntimeError) as error:
                raise WeightsError(
                    f"official weights {chosen}: {error}; expected a connection to {chosen.url}, "
                    "or fetch that file by hand and give its path"
                ) from error
            source = str(chosen)
        elif Path(weights).is_file():
            state, source = load_weights(weights), str(weights)
        else:
            names = ", ".join(["imagenet", "none", *official.__members__])
            raise WeightsError(f"weights: found {str(weights)!r}; expected {names}, or a file that exists")
        _load_backbone(network, state, source)
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


def load_weights(file: str | Path) -> dict[str, Tensor]:
    """The state dict in a file of torch.save, safetensors, or Lightning.

    Nothing in the file is executed.

    Raises
    ------
    WeightsError
        The file is missing, cut short, or holds something else.
    """
    try:
        if Path(file).suffix == ".safetensors":
            return safetensors_file(file)
        content = torch.load(file, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise WeightsError(f"{file}: found no such file; expected weights") from error
    except Exception as error:  # a damaged file can make the readers raise nearly anything
        raise WeightsError(f"{file}: {what_is_wrong(error)}") from error
    state = content.get("state_dict", content) if isinstance(content, Mapping) else None
    if (
        not isinstance(state, Mapping)
        or not state
        or not all(isinstance(value, Tensor) for value in state.values())
    ):
        raise WeightsError(f"{file}: found no state dict in it; expected a mapping of names to tensors")
    return dict(state)


def what_is_wrong(error: Exception) -> str:
    """Why a weights file could not be read; torch's own message advises to execute what is in it."""
    if foreign := re.search(r"GLOBAL ([\w.]+)", str(error)):
        return (
            f"found a Python object, {foreign[1]}, which is not loaded since that could run foreign code; "
            "expected tensors alone: save the state dict"
        )
    reason = str(error).strip().split("\n")[0][:160]
    if reason.startswith("Weights only load failed"):
        reason = "no tensors"
    return (
        f"found a file that is cut short, damaged or made by another program ({reason}); "
        "expected weights of torch.save or safetensors: fetch or save the file again"
    )


def _load_backbone(network: ResNet, state: Mapping[str, Tensor], source: str) -> None:
    """Load a state dict into a backbone, without its classifier where that does not fit."""
    prefixes = {name.removesuffix(_LANDMARK) for name in state if name.endswith(_LANDMARK)}
    if len(prefixes) > 1:
        raise WeightsError(
            f"{source}: found several networks, named {sorted(prefixes)}; expected one: "
            "save the state dict of the one you mean"
        )
    for prefix in prefixes:
        state = {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}
    own = network.state_dict()
    classifier = {"fc.weight", "fc.bias"}
    fits = all(name in state and name in own and state[name].shape == own[name].shape for name in classifier)
    given = {name: value for name, value in state.items() if fits or name not in classifier}
    wanted = {name: value for name, value in own.items() if fits or name not in classifier}
    for name in wanted:
        # Older files lack the number of batches that batch norm saw; torch takes it for 0.
        if name not in given and not name.endswith("num_batches_tracked"):
            raise WeightsError(
                f"{source}: found no {name}; expected the weights of this architecture, which has it"
            )
    for name, value in given.items():
        if name not in wanted:
            raise WeightsError(
                f"{source}: found {name}; expected the weights of this architecture, which lacks it"
            )
        if value.shape != wanted[name].shape:
            raise WeightsError(
                f"{source}: found {name} of shape {tuple(value.shape)}; "
                f"expected {tuple(wanted[name].shape)}, the weights of this architecture and stem"
            )
    network.load_state_dict(given, strict=fits or "fc.weight" not in own)
