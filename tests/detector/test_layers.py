"""What can be named in a network, and shuffles in networks that know nothing of them."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torchvision
from torch import Tensor, nn
from torchvision.models.convnext import CNBlockConfig
from torchvision.models.efficientnet import MBConvConfig
from torchvision.models.regnet import BlockParams

from detector import YOLO, list_layers, modify_layers, resnet18, resnet50, resnet152, seek_shuffles, vgg16
from detector.intervene import shuffles
from detector.layers import Layer

models = torchvision.models


def on_meta(make: Callable[[], nn.Module]) -> nn.Module:
    with torch.device("meta"):
        return make()


class Detector(nn.Module):
    """Somebody's detector over somebody's backbone; cannot be run without targets."""

    def __init__(self) -> None:
        super().__init__()
        body = models.resnet.ResNet(models.resnet.BasicBlock, [1, 1, 1, 1])
        self.backbone = models._utils.IntermediateLayerGetter(body, {"layer1": "0"})
        self.head = nn.Conv2d(64, 5, 3, padding=1)

    def forward(self, images: Tensor) -> Tensor:
        found: Tensor = self.head(self.backbone(images)["0"])
        return found


class Backwards(nn.Module):
    """Runs its convolutions in another order than it lists them, and one of them never."""

    def __init__(self) -> None:
        super().__init__()
        self.second = nn.Conv2d(4, 4, 3, padding=1)
        self.never = nn.Conv2d(4, 4, 3)
        self.first = nn.Conv2d(1, 4, 3, padding=1)
        self.between = nn.Conv2d(4, 4, 1)
        self.single = nn.Conv2d(4, 2, 1)
        self.constant = torch.ones(1)  # not on the meta device: this network must be run where it is

    def forward(self, images: Tensor) -> Tensor:
        x = self.second(self.between(self.first(images))) * self.constant
        return self.single(x.mean((2, 3), keepdim=True))  # type: ignore[no-any-return]


def convnext() -> Any:
    return models.ConvNeXt([CNBlockConfig(8, 16, 1), CNBlockConfig(16, None, 1)])


def regnet() -> Any:
    return models.RegNet(BlockParams([1, 1], [8, 16], [8, 8], [1.0, 1.0], [2, 2], 0.25), stem_width=8)


def efficientnet() -> Any:
    setting = [MBConvConfig(1, 3, 1, 8, 8, 1), MBConvConfig(4, 5, 2, 8, 8, 1)]
    return models.EfficientNet(setting, dropout=0.2, last_channel=16)


def densenet() -> Any:
    return models.DenseNet(8, (1, 2), 8, bn_size=2)


def vision_transformer() -> Any:
    network = models.VisionTransformer(32, 8, num_layers=2, num_heads=2, hidden_dim=16, mlp_dim=8)
    nn.init.normal_(network.heads.head.weight)  # zero in torchvision: nothing would reach the output
    return network


FAMILIES: dict[str, tuple[Callable[[], nn.Module], list[str]]] = {
    "convnext": (
        convnext,
        ["features.0.0", "features.1.0.block.0", "features.2.1", "features.3.0.block.0"],
    ),
    "regnet": (
        regnet,
        ["stem.0", *(f"trunk_output.block{n}.block{n}-0.f.b.0" for n in (1, 2))],
    ),
    "efficientnet": (
        efficientnet,
        ["features.0.0", "features.1.0.block.0.0", "features.2.0.block.1.0"],
    ),
    "densenet": (
        densenet,
        ["features.conv0"]
        + [f"features.denseblock{n}.denselayer{m}.conv2" for n, m in ((1, 1), (2, 1), (2, 2))],
    ),
    "detector": (Detector, ["backbone.layer1.0"]),
    "backwards": (Backwards, ["first", "second"]),
}
PARTS = {  # something that has a name but no number
    "convnext": "features.2.1",
    "regnet": "trunk_output.block1.block1-0.f.a.0",
    "efficientnet": "features.2.0.block.0.0",
    "densenet": "features.transition1.conv",
    "detector": "head",
    "backwards": "between",
}
EXAMPLES: dict[str, Any] = {"backwards": torch.zeros(2, 1, 64, 64)}
each_family = pytest.mark.parametrize("family", FAMILIES)


def entering(network: nn.Module, name: str, images: Tensor) -> tuple[Tensor, Tensor]:
    """What enters a module of a network before and after any shuffle there, in one pass."""
    seen: list[Tensor] = []
    module = network.get_submodule(name)

    def keep(module: nn.Module, inputs: tuple[Any, ...]) -> None:
        seen.append(inputs[0].clone())

    handles = [module.register_forward_pre_hook(keep, prepend=True), module.register_forward_pre_hook(keep)]
    with torch.no_grad():
        network(images)
    for handle in handles:
        handle.remove()
    return seen[0], seen[1]


# ---------------------------------------------------------------- lists


def test_layers_of_vgg() -> None:
    layers = list_layers(on_meta(lambda: vgg16(100)))
    assert [layer.number for layer in layers] == list(range(1, 14))
    assert [layer.last for layer in layers] == list(range(13, 0, -1))
    # the x axis of the paper's Figures 4 and 5
    assert [layer.percent for layer in layers[::-1]] == [8, 15, 23, 31, 38, 46, 54, 62, 69, 77, 85, 92, 100]
    assert [(layer.channels, layer.height) for layer in layers] == [
        *((3, 32), (64, 32), (64, 16), (128, 16), (128, 8), (256, 8), (256, 8)),
        *((256, 4), (512, 4), (512, 4), (512, 2), (512, 2), (512, 2)),
    ]
    assert (layers[-1].name, layers[-1].kind) == ("features.40", "Conv2d")


def test_layers_of_resnets() -> None:
    layers = list_layers(on_meta(lambda: resnet50(100, stem="small")))
    assert len(layers) == 16
    assert [layer.percent for layer in layers[-3:]] == [19, 13, 6]
    assert layers[-1] == Layer(16, 1, 6, "layer4.2", "Bottleneck", 2048, 4, 4)
    layers = list_layers(on_meta(resnet152), (224, 160))
    assert len(layers) == 50
    assert (layers[-5].percent, layers[-5].channels, layers[-5].height, layers[-5].width) == (
        10,
        1024,
        14,
        10,
    )


def test_layers_of_detectors_are_their_backbones() -> None:
    detector = on_meta(lambda: YOLO(vgg16(None), classes=2, grid=(2, 4)))
    layers = list_layers(detector)
    assert len(layers) == 13
    assert (layers[0].name, layers[0].height, layers[0].width) == ("backbone.features.0", 64, 128)


@each_family
def test_layers_of_any_network(family: str) -> None:
    make, names = FAMILIES[family]
    torch.manual_seed(0)
    network = make().train()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    layers = list_layers(network, EXAMPLES.get(family, 64))
    assert [layer.name for layer in layers] == names
    assert all(layer.height > 1 and layer.width > 1 for layer in layers)
    assert all(module.training for module in network.modules())
    assert all(value.equal(before[name]) for name, value in network.state_dict().items())
    assert not any(module._forward_pre_hooks for module in network.modules())


def test_layers_of_a_vision_transformer() -> None:
    layers = list_layers(on_meta(vision_transformer))
    assert [str(layer) for layer in layers] == [
        " 1  last=2  100 %   16x4x4        encoder.layers.encoder_layer_0  EncoderBlock",
        " 2  last=1   50 %   16x4x4        encoder.layers.encoder_layer_1  EncoderBlock",
    ]


def test_looking_draws_nothing_and_leaves_modes_as_they_were() -> None:
    network = modify_layers(resnet18(5, width=0.0625), "spatial", last=2).train()
    network.layer3.eval()
    streams = [int(shuffle.stream) for shuffle in shuffles(network)]
    list_layers(network)
    assert [int(shuffle.stream) for shuffle in shuffles(network)] == streams
    assert all(shuffle.in_evaluation for shuffle in shuffles(network))
    assert {name for name, module in network.named_children() if not module.training} == {"layer3"}


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod."])
def test_layers_of_a_wrapped_network(prefix: str) -> None:
    network = vgg16(5, width=1 / 16)
    wrapped: Any = (
        nn.DataParallel(network) if prefix == "module." else torch.compile(network, backend="eager")
    )
    names = [layer.name for layer in list_layers(wrapped)]
    assert names == [prefix + layer.name for layer in list_layers(network)]


def test_an_example_of_ones_own() -> None:
    layers = list_layers(Backwards(), torch.zeros(3, 1, 20, 12))
    assert [(layer.channels, layer.height, layer.width) for layer in layers] == [(1, 20, 12), (4, 20, 12)]


@pytest.mark.parametrize(
    ("network", "message"),
    [
        (nn.Linear(3, 2), "found Linear, which cannot be run with an input of 1x3x224x224"),
        (nn.Sequential(nn.Conv2d(3, 2, 1)), "found Sequential, no layer of which sees a 2-d map"),
        (nn.Sequential(nn.Flatten()), "found Sequential, no layer of which sees a 2-d map"),
        (
            nn.Sequential(nn.Conv2d(1, 2, 3), nn.Flatten(), nn.Linear(8, 2)),
            r"cannot be run with an input of 1x1x224x224 \(.*\); expected example=, an input that it takes",
        ),
    ],
)
def test_networks_without_layers(network: nn.Module, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        list_layers(network)


# ---------------------------------------------------------------- shuffles


@each_family
@pytest.mark.parametrize("by_name", [True, False])
def test_shuffles_in_any_network(family: str, by_name: bool) -> None:
    make, names = FAMILIES[family]
    torch.manual_seed(0)
    plain, network = make().eval(), make().eval()
    channels = 1 if family == "backwards" else 3
    images = torch.randn(2, channels, 64, 64)
    name = PARTS[family] if by_name else names[-1]
    if by_name:
        modify_layers(network, "spatial", names=[name], example=EXAMPLES.get(family, 64))
    else:
        modify_layers(network, "spatial", last=1, shortcut=False, example=EXAMPLES.get(family, 64))
        name += ".conv1" if family == "detector" else ""
    assert len(list(shuffles(network))) == (2 if family == "detector" and not by_name else 1)
    before, after = entering(network, name, images)
    assert after.flatten(2).sort().values.equal(before.flatten(2).sort().values)
    assert not after.equal(before)
    assert not entering(network, name, images)[1].equal(after)
    network.load_state_dict(plain.state_dict(), strict=True)
    plain.load_state_dict(network.state_dict(), strict=True)


@pytest.mark.parametrize("method", ["spatial", "patch", "channel"])
def test_tokens_of_a_vision_transformer(method: Any) -> None:
    torch.manual_seed(0)
    network = vision_transformer().eval()
    modify_layers(network, method, last=1, patch=2 if method == "patch" else None)
    images, block = torch.randn(2, 3, 32, 32), "encoder.layers.encoder_layer_1"
    given, taken = entering(network, block, images)  # (2, 1 + 4 · 4, 16)
    assert taken[:, 0].equal(given[:, 0])  # the class token
    assert not taken[:, 1:].equal(given[:, 1:])
    along = 2 if method == "channel" else 1
    maps = [tokens[:, 1:].unflatten(1, (4, 4)) for tokens in (given, taken)]  # type: ignore[no-untyped-call]
    if method == "patch":
        maps = [laid.unfold(1, 2, 2).unfold(2, 2, 2).flatten(4).flatten(0, 2) for laid in maps]
        along = 2
    else:
        maps = [laid.flatten(1, 2) for laid in maps]
    assert maps[0].sort(along).values.equal(maps[1].sort(along).values)
    shortcut, main = entering(network, f"{block}.ln_1", images)
    assert main[:, 0].equal(shortcut[:, 0])
    assert not main.equal(shortcut)  # a draw of its own


def test_a_transformers_shortcut_can_be_left_alone() -> None:
    network = modify_layers(vision_transformer(), "spatial", layer=2, shortcut=False).eval()
    images, block = torch.randn(2, 3, 32, 32), "encoder.layers.encoder_layer_1"
    given, taken = entering(network, block, images)
    assert taken.equal(given)
    shortcut, main = entering(network, f"{block}.ln_1", images)
    assert not main.equal(shortcut)


def test_tokens_by_the_name_of_their_module() -> None:
    network = modify_layers(vision_transformer(), "spatial", names=["encoder.ln"]).eval()
    given, taken = entering(network, "encoder.ln", torch.randn(1, 3, 32, 32))
    assert taken[:, 1:].sort(1).values.equal(given[:, 1:].sort(1).values)
    assert not taken.equal(given)


def test_a_name_and_its_number_draw_alike() -> None:
    by_name = modify_layers(densenet(), "spatial", names=["features.conv0"], example=32)
    by_number = modify_layers(densenet(), "spatial", layer=1, example=32)
    other = modify_layers(densenet(), "spatial", names=["features.transition1.conv"], example=32)
    for network in (by_name, by_number, other):
        seek_shuffles(network, 3, 4)
    streams = [int(next(shuffles(network)).stream) for network in (by_name, by_number, other)]
    assert streams[0] == streams[1] != streams[2]


@pytest.mark.parametrize(
    ("family", "name", "message"),
    [
        ("backwards", "secnd", "found 'secnd'; expected the name of .*; did you mean 'second'"),
        ("backwards", "never", "found 'never', a Conv2d that is not run; expected .* that sees a 2-d map"),
        ("backwards", "single", "found 'single', a Conv2d that sees 2x4x1x1"),
        ("efficientnet", "features.1.0.block.1.fc1", "a Conv2d that sees 1x8x1x1"),
        ("efficientnet", "classifier.1", "a Linear that sees 1x16"),
        ("efficientnet", "features.0", "a Conv2dNormActivation that sees 1x3x64x64; .* 'features.0.0'"),
        ("detector", "backbone.layer2.0", "found 'backbone.layer2.0'; .* did you mean 'backbone.layer1.0'"),
    ],
)
def test_names_that_cannot_be_shuffled(family: str, name: str, message: str) -> None:
    network = FAMILIES[family][0]()
    with pytest.raises(ValueError, match=f"names: .*{message}"):
        modify_layers(network, "spatial", names=[PARTS[family], name], example=EXAMPLES.get(family, 64))
    assert not list(shuffles(network))


class Sequences(nn.Module):
    """A convolution, then modules that take (N, C, L) and (L, N, C); 16 channels and 4 images look square."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 16, 3)
        self.line = nn.Conv1d(16, 16, 3)
        self.normalised = nn.BatchNorm1d(16)
        self.pooled = nn.MaxPool1d(2)
        self.attention = nn.TransformerEncoderLayer(16, 2, 8)
        self.proper = nn.TransformerEncoderLayer(16, 2, 8, batch_first=True)

    def forward(self, images: Tensor) -> Tensor:
        x = self.pooled(self.normalised(self.line(self.first(images).flatten(2))))
        x = self.attention(x.permute(2, 0, 1)).transpose(0, 1)
        return self.proper(x)  # type: ignore[no-any-return]


@pytest.mark.parametrize("name", ["line", "normalised", "pooled", "attention", "attention.self_attn"])
def test_dimensions_in_another_order_are_no_tokens(name: str) -> None:
    network, example = Sequences(), torch.zeros(4, 3, 8, 7)
    with pytest.raises(ValueError, match=f"names: found '{name}', a .* that sees"):
        modify_layers(network, "spatial", names=[name], example=example)
    modify_layers(network, "spatial", names=["first"], example=example)
    assert len(list(shuffles(network))) == 1


def test_gap_fc_is_not_for_any_network() -> None:
    for make in (convnext, regnet, vision_transformer, densenet):
        network = make()
        with pytest.raises(ValueError, match=r"method 'gap_fc': found .*; expected .*shuffle instead"):
            modify_layers(network, "gap_fc", last=1)
    with pytest.raises(ValueError, match="found Detector over a backbone; expected a classifier"):
        modify_layers(Detector(), "gap_fc", last=1)
