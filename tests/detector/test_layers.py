"""What can be named in a network, and shuffles in networks that were not written for them."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torchvision
from torch import Tensor, nn
from torchvision.models.efficientnet import MBConvConfig
from torchvision.models.regnet import BlockParams

from detector import YOLO, list_layers, modify_layers, resnet50, resnet152, seek_shuffles, vgg16
from detector.intervene import shuffles
from detector.layers import Layer
from tests.detector.helpers import Net, entering, is_reordered, on_meta, same_size, thin

models = torchvision.models


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


def backwards() -> Net:
    """Runs its convolutions in another order than it lists them, and one of them never."""

    def run(m: Any, images: Tensor) -> Tensor:
        x = m.second(m.between(m.first(images))) * m.constant
        return m.single(x.mean((2, 3), keepdim=True))  # type: ignore[no-any-return]

    inner = {"second": same_size(), "never": nn.Conv2d(4, 4, 3), "first": same_size(channels=1)}
    network = Net(run, **inner, between=same_size(1), single=nn.Conv2d(4, 2, 1))
    network.constant = torch.ones(1)  # not on the meta device: this network must be run where it is
    return network


def sequences() -> Net:
    """A convolution, then modules that take (N, C, L) and (L, N, C); 16 channels and 4 images look square."""

    def run(m: Any, images: Tensor) -> Tensor:
        x = m.pooled(m.normalised(m.line(m.first(images).flatten(2))))
        return m.proper(m.attention(x.permute(2, 0, 1)).transpose(0, 1))  # type: ignore[no-any-return]

    line = {"line": nn.Conv1d(16, 16, 3), "normalised": nn.BatchNorm1d(16), "pooled": nn.MaxPool1d(2)}
    attention, proper = (nn.TransformerEncoderLayer(16, 2, 8, batch_first=first) for first in (False, True))
    return Net(run, first=nn.Conv2d(3, 16, 3), **line, attention=attention, proper=proper)


def regnet() -> Any:
    return models.RegNet(BlockParams([1, 1], [8, 16], [8, 8], [1.0, 1.0], [2, 2], 0.25), stem_width=8)


def efficientnet() -> Any:
    setting = [MBConvConfig(1, 3, 1, 8, 8, 1), MBConvConfig(4, 5, 2, 8, 8, 1)]
    return models.EfficientNet(setting, dropout=0.2, last_channel=16)


def densenet() -> Any:
    return models.DenseNet(8, (1, 2), 8, bn_size=2)


# A network, the names of its layers, what is shuffled in the last, and something with a name but no number.
FAMILIES: dict[str, tuple[Callable[[], nn.Module], list[str], str, str]] = {
    "convnext": (
        lambda: thin("convnext"),
        ["features.0.0", "features.1.0", "features.2.1", "features.3.0"],
        "features.3.0.block.0",
        "features.3.0.block.3",
    ),
    "regnet": (
        regnet,
        [f"trunk_output.block{n}.block{n}-0" for n in (1, 2)],
        "trunk_output.block2.block2-0.f.b.0",
        "stem.0",
    ),
    "efficientnet": (
        efficientnet,
        ["features.0.0", "features.1.0", "features.2.0.block.1.0"],
        "features.2.0.block.1.0",
        "features.2.0.block.0.0",
    ),
    "densenet": (
        densenet,
        ["features.conv0"]
        + [f"features.denseblock{n}.denselayer{m}.conv2" for n, m in ((1, 1), (2, 1), (2, 2))],
        "features.denseblock2.denselayer2.conv2",
        "features.transition1.conv",
    ),
    "detector": (Detector, ["backbone.layer1.0"], "backbone.layer1.0.conv1", "head"),
    "backwards": (backwards, ["first", "second"], "second", "between"),
}
each_family = pytest.mark.parametrize("family", FAMILIES)


def channels_second(x: Tensor, name: str) -> Tensor:
    """A map of ConvNeXt's linear layers, which have the channels last, as any other."""
    return x.movedim(-1, 1) if name == "features.3.0.block.3" else x


def images_for(family: str) -> Tensor:
    return torch.randn(2, 1 if family == "backwards" else 3, 64, 64)


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
    assert layers[-5] == Layer(46, 5, 10, "layer3.34", "Bottleneck", 1024, 14, 10)


def test_layers_of_detectors_are_their_backbones() -> None:
    layers = list_layers(on_meta(lambda: YOLO(vgg16(None), classes=2, grid=(2, 4))))
    assert len(layers) == 13
    assert (layers[0].name, layers[0].height, layers[0].width) == ("backbone.features.0", 64, 128)


@each_family
def test_layers_of_any_network(family: str) -> None:
    make, names, _, _ = FAMILIES[family]
    network = make().train()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    layers = list_layers(network, images_for(family))
    assert [layer.name for layer in layers] == names
    assert all(layer.height > 1 and layer.width > 1 for layer in layers)
    assert all(module.training for module in network.modules())
    assert all(value.equal(before[name]) for name, value in network.state_dict().items())
    assert not any(module._forward_pre_hooks for module in network.modules())


def test_layers_of_a_vision_transformer() -> None:
    assert [str(layer) for layer in list_layers(on_meta(lambda: thin("vit")))] == [
        " 1  last=2  100 %   16x4x4        encoder.layers.encoder_layer_0  EncoderBlock",
        " 2  last=1   50 %   16x4x4        encoder.layers.encoder_layer_1  EncoderBlock",
    ]


def test_looking_draws_nothing_and_leaves_modes_as_they_were() -> None:
    network = modify_layers(thin("resnet18"), "spatial", last=2).train()
    network.layer3.eval()
    streams = [int(shuffle.stream) for shuffle in shuffles(network)]
    list_layers(network)
    assert [int(shuffle.stream) for shuffle in shuffles(network)] == streams
    assert all(shuffle.in_evaluation for shuffle in shuffles(network))
    assert {name for name, module in network.named_children() if not module.training} == {"layer3"}


@pytest.mark.parametrize(
    ("prefix", "wrap"),
    [("module.", nn.DataParallel), ("_orig_mod.", lambda network: torch.compile(network, backend="eager"))],
)
def test_layers_of_a_wrapped_network(prefix: str, wrap: Callable[[nn.Module], Any]) -> None:
    network = thin("vgg16")
    names = [layer.name for layer in list_layers(wrap(network))]
    assert names == [prefix + layer.name for layer in list_layers(network)]


def test_an_example_as_a_batch() -> None:
    layers = list_layers(backwards(), torch.zeros(3, 1, 20, 12))
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
        (nn.Sequential(nn.LazyConv2d(4, 3)), "found Sequential with lazy layers; expected one that has been"),
    ],
)
def test_networks_without_layers(network: nn.Module, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        list_layers(network)


@pytest.mark.parametrize("example", ["32", (3, 32, 32), 0, (32, 2.5), [32], {"images": torch.zeros(9, 9)}])
def test_no_example(example: Any) -> None:
    with pytest.raises(ValueError, match=r"^example: found [^\n]*; expected images[^\n]*$") as raised:
        list_layers(thin("vgg16"), example)
    assert ("a dict" in str(raised.value)) == isinstance(example, dict)


# ---------------------------------------------------------------- shuffles


@each_family
@pytest.mark.parametrize("by_name", [True, False])
def test_shuffles_in_any_network(family: str, by_name: bool) -> None:
    make, _, shuffled, part = FAMILIES[family]
    torch.manual_seed(0)
    plain, network = make().eval(), make().eval()
    images = images_for(family)
    chosen: dict[str, Any] = {"names": [part]} if by_name else {"last": 1, "shortcut": False}
    modify_layers(network, "spatial", **chosen, example=images)
    in_block = family == "detector" and not by_name
    assert len(list(shuffles(network))) == (2 if in_block else 1)
    name = part if by_name else shuffled
    before, after = (channels_second(x, name) for x in entering(network, name, images))
    assert is_reordered(before, after)
    assert not channels_second(entering(network, name, images)[1], name).equal(after)
    network.load_state_dict(plain.state_dict(), strict=True)
    plain.load_state_dict(network.state_dict(), strict=True)


MOVED = {"rows": (1, 4), "columns": (4, 1), "blocks": (2, 2), "joint": (1, 1)}
"""Height and width of what stays together of 4×4 tokens."""


@pytest.mark.parametrize("method", ["spatial", "patch", "channel", *MOVED])
@pytest.mark.parametrize("shortcut", [True, False])
def test_tokens_of_a_vision_transformer(method: Any, shortcut: bool) -> None:
    network = thin("vit").eval()
    patch = 2 if method in ("patch", "blocks") else None
    modify_layers(network, method, last=1, patch=patch, shortcut=shortcut)
    images, block = torch.randn(2, 3, 32, 32), "encoder.layers.encoder_layer_1"
    given, taken = entering(network, block, images)  # (2, 1 + 4 · 4, 16)
    entered, main = entering(network, f"{block}.ln_1", images)
    assert taken.equal(given) != shortcut
    for before, after in ((given, taken), (entered, main)) if shortcut else ((entered, main),):
        assert after[:, 0].equal(before[:, 0])  # the class token
        # As maps (N, C, L), or of patches (N · 4, C, 4); the main branch has its own draw, on top.
        maps = [x[:, 1:].mT.reshape(2, 16, 4, 4) for x in (before, after)]
        if method == "patch":
            maps = [x.unfold(2, 2, 2).unfold(3, 2, 2).permute(0, 2, 3, 1, 4, 5).flatten(0, 2) for x in maps]
        assert is_reordered(*maps, along=1 if method == "channel" else 2)
        if method in MOVED:
            high, wide = MOVED[method]
            strips = [[part for row in x[0, :1].split(high, 1) for part in row.split(wide, 2)] for x in maps]
            assert len({str(sorted(part.flatten().tolist() for part in parts)) for parts in strips}) == 1


def test_tokens_by_the_name_of_their_module() -> None:
    network = modify_layers(thin("vit"), "spatial", names=["encoder.ln"]).eval()
    given, taken = (x[:, 1:].mT for x in entering(network, "encoder.ln", torch.randn(1, 3, 32, 32)))
    assert is_reordered(given, taken)


def test_a_name_and_its_number_draw_alike() -> None:
    streams = []
    for chosen in ({"names": ["features.conv0"]}, {"layer": 1}, {"names": ["features.transition1.conv"]}):
        network = modify_layers(densenet(), "spatial", **chosen, example=32)  # type: ignore[arg-type]
        seek_shuffles(network, 3, 4)
        streams += [int(shuffle.stream) for shuffle in shuffles(network)]
    assert streams[0] == streams[1] != streams[2]
    assert next(shuffles(network)).key == (-55977737668436393, 1)  # the same in every version


@pytest.mark.parametrize(
    ("family", "name", "message"),
    [
        ("backwards", "secnd", "found 'secnd'; expected the name of .*; did you mean 'second'"),
        ("backwards", "never", "found 'never', a Conv2d that is not run; expected .* that sees a 2-d map"),
        ("backwards", "single", "found 'single', a Conv2d that sees 2x4x1x1"),
        ("efficientnet", "features.1.0.block.1.fc1", "a Conv2d that sees 2x8x1x1"),
        ("efficientnet", "classifier.1", "a Linear that sees 2x16"),
        ("efficientnet", "features.0.1", "a BatchNorm2d that sees 2x8x32x32; .* or a convolution or a block"),
        ("detector", "backbone.layer2.0", "found 'backbone.layer2.0'; .* did you mean 'backbone.layer1.0'"),
    ],
)
def test_names_that_cannot_be_shuffled(family: str, name: str, message: str) -> None:
    make, _, _, part = FAMILIES[family]
    network = make()
    with pytest.raises(ValueError, match=f"names: .*{message}"):
        modify_layers(network, "spatial", names=[part, name], example=images_for(family))
    assert not list(shuffles(network))


@pytest.mark.parametrize("name", ["line", "normalised", "pooled", "attention", "attention.self_attn"])
def test_dimensions_in_another_order_are_no_tokens(name: str) -> None:
    network, example = sequences(), torch.zeros(4, 3, 8, 7)
    with pytest.raises(ValueError, match=f"names: found '{name}', a .* that sees"):
        modify_layers(network, "spatial", names=[name], example=example)
    modify_layers(network, "spatial", names=["first"], example=example)
    assert len(list(shuffles(network))) == 1


@pytest.mark.parametrize("last", [1, 2])
@pytest.mark.parametrize("kind", ["convnext", "densenet", "detector", "vit", "mobilenet_v2", "mnasnet0_5"])
def test_gap_fc_of_all_layers_or_of_none(kind: str, last: int) -> None:
    network = (
        thin("vit") if kind == "vit" else FAMILIES[kind][0]() if kind in FAMILIES else models.get_model(kind)
    )
    size = 32 if kind == "vit" else 64
    before = dict(network.eval().named_modules())
    found = r"Detector over a backbone; expected a classifier.*" if kind == "detector" else ".*"
    with pytest.raises(ValueError, match=rf"method 'gap_fc': found {found}shuffle instead"):
        modify_layers(network, "gap_fc", last=min(2 * last, len(list_layers(network, size))), example=size)
    assert dict(network.named_modules()) == before
    assert not any(module._forward_pre_hooks for module in before.values())
