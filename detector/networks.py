"""The networks: ResNets over torchvision's own blocks, the paper's VGG-16 and perceptron, and their weights.

Parameter names are torchvision's, so that its official weights load unchanged. VGG-16 and the ResNets are
classifiers or, with ``num_classes=None``, feature extractors:

>>> from detector import resnet50
>>> network = resnet50(num_classes=100, stem="small")
>>> network(torch.zeros(2, 3, 32, 32)).shape
torch.Size([2, 100])
"""

from __future__ import annotations

import hashlib
import os
import re
import warnings
import zipfile
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeAlias

import torch
import torch.fx
from safetensors.torch import load_file as load_safetensors
from torch import Tensor, nn
from torchvision.models import ResNet18_Weights, ResNet50_Weights, ResNet152_Weights, VGG16_BN_Weights
from torchvision.models.resnet import BasicBlock, Bottleneck
from torchvision.models.resnet import ResNet as TorchvisionResNet
from torchvision.models.vgg import cfgs, make_layers

__all__ = [
    "NETWORKS", "RESNETS", "VGG", "LoadedWeights", "Perceptron", "ResNet", "WeightsError", "build_network",
    "check_sum", "describe_read_error", "load_into", "load_weights", "normalize", "perceptron",
    "read_weights_file", "resnet", "resnet18", "resnet50", "resnet152", "vgg16",
]  # fmt: skip

Stem = Literal["imagenet", "small"]


class LoadedWeights(NamedTuple):
    """Weights that have been read already."""

    state: dict[str, Tensor]
    source: str
    """Their file, for messages."""


Weights: TypeAlias = "str | Path | LoadedWeights | None"

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
LARGEST_SMALL_IMAGE_PIXELS = 64  # up to here a ResNet has the stem for small images (paper, section 3.2)

RESNETS: dict[str, tuple[type[BasicBlock] | type[Bottleneck], list[int], Any]] = {
    "resnet18": (BasicBlock, [2, 2, 2, 2], ResNet18_Weights),
    "resnet50": (Bottleneck, [3, 4, 6, 3], ResNet50_Weights),
    "resnet152": (Bottleneck, [3, 8, 36, 3], ResNet152_Weights),
}
"""Each ResNet's block, the blocks of each stage, and torchvision's enumeration of its weights."""


@torch.fx.wrap  # it depends on the images' type, which torch.fx does not know while it traces
def normalize(images: Tensor) -> Tensor:
    """Subtract ImageNet's mean from images ``(N, 3, H, W)`` and divide by its standard deviation.

    For uint8 RGB of 0 to 255; floating-point images are assumed to be normalised already and returned.
    """
    if images.dtype != torch.uint8:
        return images
    # Made on the CPU and sent asynchronously: making it on a GPU would wait for all work queued there.
    statistics = torch.tensor([IMAGENET_MEAN, IMAGENET_STD], device="cpu") * 255
    mean, deviation = statistics.to(images.device, non_blocking=True).view(2, 3, 1, 1).unbind()
    return (images - mean) / deviation


def build_network(
    name: str,
    num_classes: int,
    image_size: int,
    *,
    weights: str | Path | None = None,
    width: float = 1.0,
) -> nn.Module:
    """A classifier by name, in the paper's variant for images of this size (section 3.2).

    Parameters
    ----------
    name
        A key of :data:`NETWORKS`.
    image_size
        Side of the square images, in pixels. A ResNet for at most 64 has the stem for small images.
    weights, width
        As of :func:`resnet`; `width` is also a factor on the perceptron's hidden units.

    Examples
    --------
    >>> build_network("resnet18", 10, image_size=32).stride
    8
    """
    check_architecture(name, NETWORKS)
    return NETWORKS[name](num_classes, image_size, weights, width)


def _check_width(width: float) -> None:
    if width <= 0:
        raise ValueError(f"width must be above 0, found {width}")


# ---------------------------------------------------------------- ResNets


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
        ``"small"``: 3×3 convolution of stride 1 and no pooling, so that a 32×32 input gives a 4×4 map
        (paper, section 3.2).
    output_stride
        Input pixels per position of the last map. None: 32 or, with the small stem, 8. Half or a quarter of
        it: the last one or two stages are dilated instead of strided, so that every second or fourth position
        has exactly the plain network's value, and its weights stay valid.
    width
        Factor on the channels of every stage, for cheap tests; the stem always has 64.

    Raises
    ------
    ValueError
        An unknown stem, an impossible output stride, or a width of 0 or less.
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
        _check_width(width)
        self._width = width  # torchvision's __init__ makes the stages
        super().__init__(block, layers, num_classes=1 if num_classes is None else num_classes)
        self.out_channels = self.inplanes
        if width != 1:
            self.fc = nn.Linear(self.out_channels, 1 if num_classes is None else num_classes)
        self.stride = 32
        self.image_size = 32 if stem == "small" else 224  # pixels, by default; any size works
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
        planes = max(1, round(planes * self._width))
        stage: nn.Sequential = super()._make_layer(block, planes, *arguments, **options)
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
                    # After the convolution that had the stride, the map is twice as fine.
                    dilation = 2 * dilation if strided else dilation
        self.stride = output_stride

    def features(self, images: Tensor) -> Tensor:
        """The last feature map ``(N, out_channels, H / stride, W / stride)``, rounded up."""
        x = self.maxpool(self.relu(self.bn1(self.conv1(normalize(images)))))
        return self.layer4(self.layer3(self.layer2(self.layer1(x))))  # type: ignore[no-any-return]

    def forward(self, images: Tensor) -> Tensor:
        """Class logits ``(N, num_classes)``, or the last feature map where there is no classifier."""
        x = self.features(images)
        if self.num_classes is None:
            return x
        return self.fc(self.avgpool(x).flatten(1))  # type: ignore[no-any-return]


def resnet(
    architecture: str,
    num_classes: int | None = 1000,
    *,
    stem: Stem = "imagenet",
    output_stride: int | None = None,
    weights: Weights = None,
    width: float = 1.0,
) -> ResNet:
    """A ResNet by name; :func:`resnet50` and its siblings call it.

    Parameters
    ----------
    architecture
        ``"resnet18"``, ``"resnet50"`` or ``"resnet152"``.
    num_classes, stem, output_stride, width
        As of :class:`ResNet`.
    weights
        None or ``"none"``: random, as in torchvision. ``"imagenet"``: torchvision's best official ones. An
        official name, ``"IMAGENET1K_V1"`` or ``"ResNet50_Weights.IMAGENET1K_V1"``. Or a local file: a state
        dict of torch.save or safetensors, or a checkpoint that contains one ResNet. Or
        :class:`LoadedWeights`. The classifier's weights
        are not loaded where the number of classes differs or there is no classifier. WeightsError where the
        weights are missing, cut short, or of another network.
    """
    check_architecture(architecture, RESNETS)
    block, layers, official = RESNETS[architecture]
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


# ---------------------------------------------------------------- VGG-16 and the perceptron


class VGG(nn.Module):
    """Thirteen 3×3 convolutions, global average pooling, and 512–4096–4096–C fully connected layers.

    With batch norm and without dropout: its 37.70 M parameters with 1000 classes are those of the paper's
    Table 2. The convolutions are torchvision's. All max-poolings stay when a layer is shuffled; the authors'
    code for CIFAR-100 drops the one after a shuffled last layer of a stage.

    Parameters
    ----------
    num_classes
        Outputs of the classifier, C; None for a feature extractor: no pooling, no fully connected layer.
    width
        Factor on the number of channels and of hidden units, for cheap tests.
    """

    def __init__(self, num_classes: int | None = 1000, width: float = 1.0) -> None:
        super().__init__()
        _check_width(width)
        plan = [size if size == "M" else max(1, round(size * width)) for size in cfgs["D"]]
        self.features: nn.Sequential = make_layers(plan, batch_norm=True)
        self.num_classes = num_classes
        self.stride = 32
        self.out_channels = plan[-2]
        self.image_size = 32  # pixels, CIFAR's; any larger size works
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
        for module in self.modules():  # torchvision's initialisation; batch norm's is torch's default
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            elif isinstance(module, nn.Linear):
                nn.init.normal_(module.weight, 0, 0.01)
            if isinstance(module, nn.Conv2d | nn.Linear) and module.bias is not None:
                nn.init.zeros_(module.bias)

    def forward(self, images: Tensor) -> Tensor:
        """Class logits ``(N, num_classes)``, or the last feature map ``(N, out_channels, H / 32, W / 32)``.

        Of images ``(N, 3, H, W)`` of at least 32×32 pixels, normalised or uint8.
        """
        x = self.features(normalize(images))
        if self.num_classes is None:
            return x  # type: ignore[no-any-return]
        return self.classifier(self.avgpool(x).flatten(1))  # type: ignore[no-any-return]


def vgg16(num_classes: int | None = 1000, *, weights: str | Path | None = None, width: float = 1.0) -> VGG:
    """VGG-16 with batch norm, 37.7 M parameters. See :class:`VGG`, and :func:`resnet` for the weights.

    torchvision's official weights have another classifier, which is not loaded.

    Examples
    --------
    >>> vgg16(num_classes=100)(torch.zeros(2, 3, 32, 32)).shape
    torch.Size([2, 100])
    """
    network = VGG(num_classes, width)
    load_into(network, weights, VGG16_BN_Weights, landmark="features.0.weight", classifier="classifier.")
    return network


class Perceptron(nn.Module):
    """Pixels, one hidden layer with ReLU, classes (paper, section 4.1). No layer of it can be shuffled.

    With 512 hidden units the paper has 25.61 % on CIFAR-100. `image_size` is the side of the square
    RGB images, in pixels.
    """

    def __init__(self, num_classes: int = 100, hidden: int = 512, image_size: int = 32) -> None:
        super().__init__()
        self.image_size = image_size
        self.num_classes = num_classes
        self.hidden = nn.Linear(3 * image_size**2, hidden)
        self.relu = nn.ReLU(inplace=True)
        self.fc = nn.Linear(hidden, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        """Class logits ``(N, num_classes)`` of images ``(N, 3, H, W)``, normalised or uint8."""
        return self.fc(self.relu(self.hidden(normalize(images).flatten(1))))  # type: ignore[no-any-return]


def perceptron(
    num_classes: int = 100, *, hidden: int = 512, image_size: int = 32, weights: str | Path | None = None
) -> Perceptron:
    """The perceptron of section 4.1. See :class:`Perceptron`; `weights` may be a local file.

    Examples
    --------
    >>> sum(parameter.numel() for parameter in perceptron().parameters())
    1624676
    """
    network = Perceptron(num_classes, hidden, image_size)
    load_into(network, weights, None, landmark="hidden.weight", classifier="fc.")
    return network


# ---------------------------------------------------------------- by name


def _resnet(
    name: str, num_classes: int, image_size: int, weights: str | Path | None, width: float
) -> nn.Module:
    stem: Stem = "small" if image_size <= LARGEST_SMALL_IMAGE_PIXELS else "imagenet"
    return resnet(name, num_classes, stem=stem, weights=weights, width=width)


def check_architecture(name: str, table: Mapping[str, object]) -> None:
    """Raise ValueError for a name that is no row of a table of networks."""
    if name not in table:
        raise ValueError(f"architecture must be one of {', '.join(table)}, found {name!r}")


NETWORKS: dict[str, Callable[[int, int, str | Path | None, float], nn.Module]] = {
    "vgg16": lambda classes, image_size, weights, width: vgg16(classes, weights=weights, width=width),
    **{name: partial(_resnet, name) for name in RESNETS},
    "perceptron": lambda classes, image_size, weights, width: perceptron(
        classes, hidden=max(1, round(512 * width)), image_size=image_size, weights=weights
    ),
}
"""Each network as a function of the number of classes, the image size in pixels, weights and width.

What else is known of each is in :data:`detector.registry.ARCHITECTURES`.
"""

BACKBONES: dict[str, Callable[..., nn.Module]] = {name: partial(resnet, name, None) for name in RESNETS}
"""Each backbone of a detector as a function of `output_stride`, in input pixels, `weights` and `width`."""


# ---------------------------------------------------------------- weights


class WeightsError(ValueError):
    """A weights file that cannot be read, or of another network."""


CHECKSUM_MARK = b"sha256 "
"""Begins the last line of a checkpoint, the checksum of all bytes before; torch.load does not read so far."""
CHECKSUM_LINE_BYTES = len(CHECKSUM_MARK) + 64 + 1
MOST_TIMES_AS_LARGE, ALWAYS_READ_BYTES = 20, 64 << 20
"""An archive that becomes larger than both is refused."""


def check_sum(file: Path) -> None:
    """Raise WeightsError where a checkpoint differs from its checksum; files of other programs have none."""
    with file.open("rb") as opened:
        size = opened.seek(0, os.SEEK_END)
        opened.seek(max(size - CHECKSUM_LINE_BYTES, 0))
        line = opened.read()
        if line.startswith(CHECKSUM_MARK):
            opened.seek(0)
            found = hashlib.sha256()
            left = size - CHECKSUM_LINE_BYTES
            while left and (block := opened.read(min(left, 1 << 20))):
                found.update(block)
                left -= len(block)
            if line != CHECKSUM_MARK + found.hexdigest().encode() + b"\n":
                raise WeightsError(
                    f"{file}: found a damaged file: its checksum differs; expected the file as it was written"
                )


def _find_state(content: Any) -> Any:
    """The state dict within the content of a file; the content itself where it names none."""
    # Lightning and timm, many loops, torchvision, others
    for name in ("state_dict", "model_state_dict", "model", "weights", "network", "net"):
        if isinstance(content, Mapping) and isinstance(content.get(name), Mapping):
            return content[name]
    return content


def read_weights_file(file: str | Path) -> Any:
    """The content of a file of torch.save, safetensors, or Lightning. Nothing in the file is executed.

    WeightsError where the file is missing, damaged, contains what could run code, or weights that are not
    finite.
    """
    try:
        if Path(file).suffix == ".safetensors":
            content = load_safetensors(file)
        else:
            check_sum(Path(file))
            if zipfile.is_zipfile(file):
                stored = Path(file).stat().st_size
                with zipfile.ZipFile(file) as archive:
                    size = sum(entry.file_size for entry in archive.infolist())
                if size > max(MOST_TIMES_AS_LARGE * stored, ALWAYS_READ_BYTES):
                    found = f"{size >> 20} MB in an archive of {stored / 2**20:.1f} MB"
                    raise WeightsError(f"{file}: found {found}; expected tensors, which hardly compress")
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", "Detected pickle protocol")
                content = torch.load(file, map_location="cpu", weights_only=True)
        state = _find_state(content)
        for name, value in state.items() if isinstance(state, Mapping) else ():
            if isinstance(value, Tensor) and value.is_floating_point() and not bool(value.isfinite().all()):
                found = f"{name} with values that are not finite"
                raise WeightsError(f"{file}: found {found}; expected weights of a training that did not fail")
        return content
    except WeightsError:
        raise
    except FileNotFoundError as error:
        raise WeightsError(f"{file}: found no such file; expected weights") from error
    except Exception as error:  # a damaged file can raise nearly anything
        raise WeightsError(f"{file}: {describe_read_error(error)}") from error


def load_weights(file: str | Path) -> dict[str, Tensor]:
    """The state dict in a file of :func:`read_weights_file`; WeightsError where there is none."""
    state = _find_state(read_weights_file(file))
    tensors = isinstance(state, Mapping) and all(isinstance(value, Tensor) for value in state.values())
    if not tensors or not state:
        raise WeightsError(f"{file}: found no state dict in it; expected a mapping of names to tensors")
    return dict(state)


def describe_read_error(error: Exception) -> str:
    """Why torch.load refused a file; torch's own message suggests unsafe loading."""
    if foreign := re.search(r"GLOBAL ([\w.]+)", str(error)):
        return (
            f"found a Python object, {foreign[1]}, which is not loaded since that could run foreign code; "
            "expected tensors alone: save the state dict"
        )
    reason = re.split(r"\n|\. ", str(error).strip())[0][:160] or type(error).__name__
    if reason.startswith("Weights only load failed"):
        reason = "no tensors"
    elif "zip archive" in reason:  # torch goes on about its own libraries
        reason = "its archive has no end, or is broken"
    return (
        f"found a file that is cut short, damaged or made by another program ({reason}); "
        "expected weights of torch.save or safetensors: fetch or save the file again"
    )


def load_into(network: nn.Module, weights: Weights, official: Any, *, landmark: str, classifier: str) -> None:
    """Load weights, as of :func:`resnet`; those of the classifier only if they fit.

    Parameters
    ----------
    official
        torchvision's enumeration of this network's weights; None: it has none.
    landmark
        A weight that every such network has. What precedes it in a name is a prefix added by a detector,
        Lightning, DistributedDataParallel or torch.compile.
    classifier
        Prefix of the names of the classifier's weights.
    """
    if weights is None or str(weights) == "none":
        return
    state, source = _find_weights(weights, official)
    # Blocks of the network can have a weight of the same name: each prefix then has all of those, too.
    inside = [name.removesuffix(landmark) for name in network.state_dict() if name.endswith(landmark)]
    found = {name.removesuffix(landmark) for name in state if name.endswith(landmark)}
    prefixes = {prefix for prefix in found if all(prefix + part in found for part in inside)}
    if len(prefixes) > 1:
        raise WeightsError(
            f"{source}: found several networks, named {sorted(prefixes)}; expected one: "
            "save the state dict of the one you mean"
        )
    for prefix in prefixes:
        state = {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}
    both = (state, network.state_dict())
    classifiers = [
        {name: value.shape for name, value in weights.items() if name.startswith(classifier)}
        for weights in both
    ]
    fits = classifiers[0] == classifiers[1]
    given, wanted = (
        {name: value for name, value in weights.items() if fits or not name.startswith(classifier)}
        for weights in both
    )
    for name in wanted:
        # Older files lack batch norm's number of batches; torch sets it to 0.
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
                f"expected {tuple(wanted[name].shape)}, the weights of this architecture, width and stem"
            )
    network.load_state_dict(given, strict=fits or not classifiers[1])


def _find_weights(weights: str | Path | LoadedWeights, official: Any) -> tuple[dict[str, Tensor], str]:
    """The state dict of an official name or of a file, and its source for messages."""
    if isinstance(weights, LoadedWeights):
        return weights.state, weights.source
    members = {} if official is None else {"imagenet": official.DEFAULT, **official.__members__}
    name = str(weights) if official is None else str(weights).removeprefix(f"{official.__name__}.")
    if name in members:
        chosen = members[name]
        try:
            return chosen.get_state_dict(progress=True, check_hash=True), str(chosen)
        except (OSError, RuntimeError) as error:
            raise WeightsError(
                f"official weights {chosen}: {error}; expected a connection to {chosen.url}, "
                "or fetch that file by hand and give its path"
            ) from error
    if not Path(weights).is_file():
        names = ["none"] if official is None else ["imagenet", "none", *official.__members__]
        raise WeightsError(
            f"weights: found {str(weights)!r}; expected {', '.join(names)}, or a file or a run that exists"
        )
    return load_weights(weights), str(weights)
