"""VGG-16 and the perceptron, narrower networks, and the paper's parameter counts."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import torchvision
from torch import Tensor, nn

from detector import (
    VGG,
    YOLO,
    WeightsError,
    modify_layers,
    normalize,
    perceptron,
    resnet18,
    resnet50,
    resnet152,
    vgg16,
)

THIN = 1 / 16


def millions(network: nn.Module) -> float:
    return round(sum(parameter.numel() for parameter in network.parameters()) / 1e6, 2)


def shapes(network: nn.Module) -> dict[str, torch.Size]:
    return {name: value.shape for name, value in network.state_dict().items()}


@pytest.mark.parametrize(
    ("make", "averaged", "expected"),
    [  # the paper's Table 2, and 29.31 of section 4.2
        (vgg16, 0, 37.70),
        (vgg16, 1, 35.61),
        (vgg16, 4, 29.31),
        (resnet50, 0, 25.56),
        (resnet50, 1, 23.46),
        (resnet152, 0, 60.19),
        (resnet152, 5, 52.85),
    ],
)
def test_parameters_of_the_papers_networks(
    make: Callable[..., nn.Module], averaged: int, expected: float
) -> None:
    with torch.device("meta"):
        network = make(num_classes=1000)
    assert millions(modify_layers(network, "gap_fc", last=averaged)) == expected


def test_a_shuffle_has_no_parameters() -> None:
    with torch.device("meta"):
        network = vgg16()
    assert millions(modify_layers(network, "spatial", last=1)) == 37.70  # Table 2


def test_features_are_torchvisions() -> None:
    with torch.device("meta"):
        ours, theirs = vgg16().features, torchvision.models.vgg16_bn().features
    assert shapes(ours) == shapes(theirs)
    torch.manual_seed(0)
    network = vgg16(5, width=THIN)
    again = torchvision.models.VGG(network.features, dropout=0)
    again.avgpool, again.classifier = network.avgpool, network.classifier
    x = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        assert network.eval()(x).equal(again.eval()(x))


def test_starts_as_torchvisions() -> None:
    torch.manual_seed(0)
    network = vgg16(10, width=0.25)
    convolution, hidden = network.features[40], network.classifier[2]
    assert isinstance(convolution, nn.Conv2d)
    assert isinstance(hidden, nn.Linear)
    assert float(convolution.weight.detach().std()) == pytest.approx((2 / (128 * 9)) ** 0.5, rel=0.03)
    assert float(hidden.weight.detach().std()) == pytest.approx(0.01, rel=0.03)
    assert not torch.cat([convolution.bias, hidden.bias]).any()  # type: ignore[list-item]


def test_classifier_has_no_dropout() -> None:
    network = vgg16(7, width=THIN)
    assert [type(module) for module in network.classifier] == [nn.Linear, nn.ReLU] * 2 + [nn.Linear]
    assert [module.out_features for module in network.classifier if isinstance(module, nn.Linear)] == [
        256,
        256,
        7,
    ]


def test_feature_extractor_in_a_detector() -> None:
    backbone = vgg16(None, width=THIN)
    assert (backbone.out_channels, backbone.stride) == (32, 32)
    x = torch.randint(0, 256, (1, 3, 64, 96), dtype=torch.uint8)
    assert backbone.eval()(x).shape == (1, 32, 2, 3)
    assert backbone(x).equal(backbone(normalize(x)))
    detector = YOLO(backbone, classes=2, grid=(2, 3), head_channels=8)
    assert detector.image_size == (64, 96)
    assert detector(x).shape == (1, 12, 2, 3)


@pytest.mark.parametrize("make", [vgg16, resnet18])
@pytest.mark.parametrize("width", [0, -1.0])
def test_no_width(make: Callable[..., nn.Module], width: float) -> None:
    with pytest.raises(ValueError, match=f"width must be above 0, found {width}"):
        make(10, width=width)


@pytest.mark.parametrize(("make", "channels"), [(resnet18, 64), (resnet50, 256)])
def test_narrow_resnet(make: Callable[..., nn.Module], channels: int) -> None:
    network = make(10, stem="small", width=0.125).eval()
    x = torch.randn(2, 3, 32, 32)
    assert network(x).shape == (2, 10)
    features: Callable[[Tensor], Tensor] = network.features  # type: ignore[assignment]
    assert features(x).shape == (2, channels, 4, 4)
    with torch.device("meta"):
        assert shapes(make(10, width=1.0)) == shapes(make(10))


def test_perceptron() -> None:
    network = perceptron(100)
    assert [tuple(parameter.shape) for parameter in network.parameters()] == [
        (512, 3 * 32 * 32),
        (512,),
        (100, 512),
        (100,),
    ]
    x = torch.randint(0, 256, (2, 3, 32, 32), dtype=torch.uint8)
    hidden = network.hidden(normalize(x).flatten(1)).clamp(min=0)
    torch.testing.assert_close(network(x), network.fc(hidden))


# ---------------------------------------------------------------- weights


def test_weights_from_a_file(tmp_path: Path) -> None:
    saved = vgg16(5, width=THIN)
    torch.save({f"module.{name}": value for name, value in saved.state_dict().items()}, tmp_path / "w.pth")
    same, other = (vgg16(count, width=THIN, weights=tmp_path / "w.pth") for count in (5, 6))
    assert all(value.equal(same.state_dict()[name]) for name, value in saved.state_dict().items())
    assert same.features[0].weight.equal(other.features[0].weight)  # type: ignore[operator,union-attr,arg-type]
    assert other.classifier[4].out_features == 6
    with pytest.raises(
        WeightsError, match=r"found features\.0\.weight of shape \(4, 3, 3, 3\); expected \(8"
    ):
        vgg16(5, width=2 * THIN, weights=tmp_path / "w.pth")


def test_official_weights_without_their_classifier(monkeypatch: pytest.MonkeyPatch) -> None:
    theirs = torchvision.models.VGG(vgg16(None, width=THIN).features, init_weights=False)
    theirs.classifier = nn.Sequential(nn.Linear(32 * 49, 8))
    monkeypatch.setattr(
        "torchvision.models._api.load_state_dict_from_url", lambda *_, **__: theirs.state_dict()
    )
    monkeypatch.setattr("detector.networks.cfgs", {"D": vgg_plan()})
    ours = VGG(5)
    assert list(shapes(ours.features)) == list(shapes(theirs.features))
    loaded = vgg16(5, weights="imagenet")
    assert loaded.features[0].weight.equal(theirs.features[0].weight)  # type: ignore[operator,union-attr]


def vgg_plan() -> list[int | str]:
    plan = torchvision.models.vgg.cfgs["D"]
    return [size if isinstance(size, str) else size // 16 for size in plan]


def test_weights_of_another_network(tmp_path: Path) -> None:
    torch.save(resnet18(5, width=THIN).state_dict(), tmp_path / "w.pth")
    with pytest.raises(WeightsError, match=r"w\.pth: found no features\.0\.weight; expected"):
        vgg16(5, width=THIN, weights=tmp_path / "w.pth")
