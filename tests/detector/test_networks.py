"""The networks: torchvision's numbers, the paper's parameter counts, stems, strides, weights good and bad."""

import os
import pickle
import urllib.error
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torchvision
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file
from torch import Tensor, nn

from detector import (
    VGG,
    YOLO,
    Perceptron,
    ResNet,
    WeightsError,
    load_weights,
    modify_layers,
    normalize,
    perceptron,
    resnet18,
    resnet50,
    resnet152,
    vgg16,
)
from detector.networks import build_network, load_into, resnet
from detector.registry import ARCHITECTURES
from tests.detector.helpers import THIN, on_meta

State = dict[str, Tensor]
Make = Callable[..., Any]


def quiet(network: nn.Module) -> nn.Module:
    """A network in evaluation mode whose batch norms hold something."""
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.bias, std=0.1)
            nn.init.uniform_(module.running_var, 0.5, 2)  # type: ignore[arg-type]
    return network.eval()


def shapes(network: nn.Module) -> dict[str, torch.Size]:
    return {name: value.shape for name, value in network.state_dict().items()}


@pytest.fixture(scope="module")
def official() -> State:
    """The state dict of torchvision's own ResNet-18."""
    torch.manual_seed(0)
    state: State = quiet(torchvision.models.resnet18()).state_dict()
    return state


@pytest.fixture(scope="module")
def file(official: State, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same in a file of torch.save."""
    path = tmp_path_factory.mktemp("weights") / "resnet18.pth"
    torch.save(official, path)
    return path


@pytest.fixture(scope="module")
def thin_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The weights of a thin ResNet-18."""
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("thin") / "thin.pth"
    torch.save(resnet18(width=THIN).state_dict(), path)
    return path


# ---------------------------------------------------------------- the networks


@pytest.mark.parametrize(
    ("make", "averaged", "millions"),
    [  # the paper's Table 2, and 29.31 of section 4.2
        (vgg16, 0, 37.70),
        (vgg16, 1, 35.61),
        (vgg16, 4, 29.31),
        (resnet18, 0, 11.69),
        (resnet50, 0, 25.56),
        (resnet50, 1, 23.46),
        (resnet152, 0, 60.19),
        (resnet152, 5, 52.85),
    ],
)
def test_parameters_of_the_papers_networks(make: Make, averaged: int, millions: float) -> None:
    network = modify_layers(on_meta(make), "gap_fc", last=averaged)
    modify_layers(network, "spatial", layer=1)  # a shuffle has no parameters
    assert round(sum(parameter.numel() for parameter in network.parameters()) / 1e6, 2) == millions
    if make is not vgg16 and not averaged:
        assert shapes(network) == shapes(on_meta(getattr(torchvision.models, make.__name__)))


@pytest.mark.parametrize(
    ("make", "stride", "dilated"),
    [
        *((make, None, [False, False, False]) for make in (resnet18, resnet50)),
        *((resnet50, 32 // 2**count, [False, count > 1, True]) for count in (1, 2)),
    ],
)
def test_forward_is_torchvisions(make: Make, stride: int | None, dilated: list[bool]) -> None:
    torch.manual_seed(0)
    theirs = quiet(getattr(torchvision.models, make.__name__)(replace_stride_with_dilation=dilated))
    ours = make(output_stride=stride).eval()
    ours.load_state_dict(theirs.state_dict(), strict=True)
    x = torch.randn(2, 3, 72, 64)
    with torch.no_grad():
        assert ours(x).equal(theirs(x))
        assert ours(x).equal(ours.fc(ours.features(x).mean((2, 3), keepdim=True).flatten(1)))


def test_feature_extractors() -> None:
    torch.manual_seed(0)
    x = torch.randint(0, 256, (1, 3, 65, 96), dtype=torch.uint8)
    for network, channels, size in ((resnet18(None), 512, (3, 3)), (vgg16(None, width=THIN), 32, (2, 3))):
        network.eval()
        assert not hasattr(network, "fc")
        assert (network.out_channels, network.stride) == (channels, 32)
        with torch.no_grad():
            assert network(x).shape == (1, channels, *size)
            assert network(x).equal(network(normalize(x)))
            assert network(x).equal(network.features(normalize(x)))
    detector = YOLO(network, classes=2, grid=(2, 3), head_channels=8)
    assert detector.image_size == (64, 96)
    assert detector(x).shape == (1, 12, 2, 3)


@pytest.mark.parametrize(("make", "channels"), [(resnet18, 512), (resnet50, 2048)])
def test_small_stem_and_width(make: Make, channels: int) -> None:
    network = make(100, stem="small", width=0.125).eval()
    x = torch.randn(2, 3, 32, 32)
    assert network.stride == 8
    assert network.features(x).shape == (2, channels // 8, 4, 4)
    assert network(x).shape == (2, 100)
    assert shapes(on_meta(lambda: make(10, width=1.0))) == shapes(on_meta(lambda: make(10)))


@pytest.mark.parametrize(("stem", "strides"), [("imagenet", (32, 16, 8)), ("small", (8, 4, 2))])
@pytest.mark.parametrize("make", [resnet18, resnet50])
def test_a_reduced_stride_computes_the_same_at_more_positions(
    make: Make, stem: str, strides: tuple[int, ...]
) -> None:
    torch.manual_seed(0)
    plain = quiet(make(None, stem=stem, width=0.25)).double()
    x = torch.randn(1, 3, 3 * strides[0], 2 * strides[0], dtype=torch.float64)
    with torch.no_grad():
        expected = plain(x)
        for finer, stride in enumerate(strides):
            network = make(None, stem=stem, output_stride=stride, width=0.25).double().eval()
            network.load_state_dict(plain.state_dict(), strict=True)
            found = network(x)
            assert network.stride == stride
            assert found.shape[2:] == (3 * 2**finer, 2 * 2**finer)
            torch.testing.assert_close(found[:, :, :: 2**finer, :: 2**finer], expected)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: resnet18(output_stride=4), r"one of \[32, 16, 8\], found 4"),
        (lambda: resnet18(output_stride=32, stem="small"), r"one of \[8, 4, 2\], found 32"),
        (lambda: resnet18(stem="large"), "stem must be 'imagenet' or 'small', found 'large'"),
        (lambda: resnet18(width=0), "width must be above 0, found 0"),
        (lambda: vgg16(width=-1.0), "width must be above 0, found -1.0"),
        (lambda: resnet("resnet34"), "one of resnet18, resnet50, resnet152, found 'resnet34'"),
        (lambda: build_network("resnet34", 2, 32), "architecture must be one of vgg16, .*, found 'resnet34'"),
    ],
)
def test_impossible_options(make: Make, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


def test_normalize() -> None:
    images = torch.randint(0, 256, (2, 3, 5, 4), dtype=torch.uint8)
    expected = torchvision.transforms.functional.normalize(
        images / 255, [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
    )
    torch.testing.assert_close(normalize(images), expected)
    assert normalize(expected) is expected


def test_features_of_vgg_are_torchvisions() -> None:
    assert shapes(on_meta(vgg16).features) == shapes(on_meta(torchvision.models.vgg16_bn).features)
    torch.manual_seed(0)
    network = vgg16(5, width=THIN)
    again = torchvision.models.VGG(nn.Identity(), init_weights=False, dropout=0)
    again.features, again.avgpool, again.classifier = network.features, network.avgpool, network.classifier
    x = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        assert network.eval()(x).equal(again.eval()(x))


def test_vgg_starts_as_torchvisions_and_has_no_dropout() -> None:
    torch.manual_seed(0)
    network: Any = vgg16(10, width=0.25)
    convolution, hidden = network.features[40], network.classifier[2]
    assert float(convolution.weight.detach().std()) == pytest.approx((2 / (128 * 9)) ** 0.5, rel=0.03)
    assert float(hidden.weight.detach().std()) == pytest.approx(0.01, rel=0.03)
    assert not torch.cat([convolution.bias, hidden.bias]).any()
    assert [type(module) for module in network.classifier] == [nn.Linear, nn.ReLU] * 2 + [nn.Linear]
    assert [module.out_features for module in network.classifier[::2]] == [1024, 1024, 10]


def test_perceptron() -> None:
    network = perceptron(100)
    sizes = [tuple(parameter.shape) for parameter in network.parameters()]
    assert sizes == [(512, 3 * 32 * 32), (512,), (100, 512), (100,)]
    x = torch.randint(0, 256, (2, 3, 32, 32), dtype=torch.uint8)
    hidden = network.hidden(normalize(x).flatten(1)).clamp(min=0)
    torch.testing.assert_close(network(x), network.fc(hidden))


@pytest.mark.parametrize("name", ARCHITECTURES)
@pytest.mark.parametrize("image_size", [32, 96])
def test_networks_by_name(name: str, image_size: int) -> None:
    network: Any = on_meta(lambda: build_network(name, 7, image_size, width=THIN))
    assert network(torch.zeros(1, 3, image_size, image_size, device="meta")).shape == (1, 7)
    kinds = {"vgg16": VGG, "perceptron": Perceptron}
    assert isinstance(network, kinds.get(name, ResNet))
    if isinstance(network, ResNet):
        assert network.stride == (8 if image_size <= 64 else 32)  # the stem for small images
    elif isinstance(network, Perceptron):
        assert network.hidden.out_features == 32


# ---------------------------------------------------------------- good weights


def same(network: nn.Module, state: State) -> bool:
    """Whether a network has these weights, all but the classifier's."""
    own = network.state_dict()
    return all(own[name].equal(value) for name, value in state.items() if not name.startswith("fc."))


@pytest.mark.parametrize("num_classes", [1000, None, 10])
def test_local_file_with_and_without_its_classifier(
    official: State, file: Path, num_classes: int | None
) -> None:
    network = resnet18(num_classes, weights=str(file))
    assert same(network, official)
    if num_classes == 1000:
        assert network.fc.weight.equal(official["fc.weight"])


def test_no_weights() -> None:
    torch.manual_seed(0)
    first = resnet18(weights="none", width=THIN).state_dict()
    torch.manual_seed(0)
    assert same(resnet18(weights=None, width=THIN), first)


def test_safetensors(thin_file: Path, tmp_path: Path) -> None:
    state = load_weights(thin_file)
    save_file(state, tmp_path / "weights.safetensors")
    assert same(resnet18(weights=tmp_path / "weights.safetensors", width=THIN), state)


@pytest.mark.parametrize("wrapped", ["module.", "_orig_mod.", "_orig_mod.module.", "backbone.", "model."])
@pytest.mark.parametrize("lightning", [False, True])
def test_prefixes(thin_file: Path, tmp_path: Path, wrapped: str, lightning: bool) -> None:
    own = {name: value for name, value in load_weights(thin_file).items() if not name.startswith("fc.")}
    prefix = f"{wrapped}backbone." if lightning else wrapped
    content: Any = {prefix + name: value for name, value in own.items()}
    if lightning:  # a checkpoint of a detector
        content = {"state_dict": content | {"model.head.bias": torch.zeros(3)}, "epoch": 3}
    torch.save(content, tmp_path / "w.ckpt")
    assert same(resnet18(None, weights=tmp_path / "w.ckpt", width=THIN), own)


def test_files_that_predate_the_batch_counts(thin_file: Path, tmp_path: Path) -> None:
    state = load_weights(thin_file)
    older = {name: value for name, value in state.items() if not name.endswith("num_batches_tracked")}
    torch.save(older, tmp_path / "older.pth")
    for classes in (1000, 5):
        assert same(resnet18(classes, weights=tmp_path / "older.pth", width=THIN), older)


@pytest.mark.parametrize(
    ("make", "saved"),
    [(vgg16, "module."), (perceptron, ""), (perceptron, "model.")],
    ids=["vgg16-module.", "perceptron", "perceptron-model."],
)
def test_weights_of_the_other_networks(make: Make, saved: str, tmp_path: Path) -> None:
    small, large = ({"width": THIN}, {"width": 2 * THIN}) if make is vgg16 else ({"hidden": 4}, {"hidden": 8})
    network = make(5, **small)
    torch.save({saved + name: value for name, value in network.state_dict().items()}, tmp_path / "w.pth")
    first, *_, classifier, _ = shapes(network)
    equal, other = (make(count, **small, weights=tmp_path / "w.pth") for count in (5, 6))
    assert all(value.equal(equal.state_dict()[name]) for name, value in network.state_dict().items())
    assert other.state_dict()[first].equal(equal.state_dict()[first])
    assert other.state_dict()[classifier].shape[0] == 6
    with pytest.raises(WeightsError, match=rf"w\.pth: found {first} of shape \(4, .*\); expected \(8"):
        make(5, **large, weights=tmp_path / "w.pth")
    torch.save(resnet18(5, width=THIN).state_dict(), tmp_path / "w.pth")
    with pytest.raises(WeightsError, match=rf"w\.pth: found no {first}; expected"):
        make(5, **small, weights=tmp_path / "w.pth")
    with pytest.raises(WeightsError, match=r"weights: found 'absent'; expected .*none, .*or a file"):
        make(5, **small, weights="absent")


@pytest.mark.parametrize(("key", "prefix"), [(None, ""), ("model", "module."), ("weights", "net.")])
def test_weights_of_a_network_whose_blocks_repeat_a_name(
    key: str | None, prefix: str, tmp_path: Path
) -> None:
    """As ``conv1.weight`` of a ResNet of torchvision, which each of its blocks has too."""

    def make() -> nn.Module:
        block = nn.Sequential(OrderedDict(conv1=nn.Conv2d(4, 4, 3)))
        return nn.Sequential(OrderedDict(conv1=nn.Conv2d(3, 4, 3), block=block))

    network, other = make(), make()
    state = {prefix + name: value for name, value in network.state_dict().items()}
    torch.save({key: state} if key else state, tmp_path / "w.pth")
    load_into(other, tmp_path / "w.pth", None, landmark="conv1.weight", classifier="block.")
    assert all(value.equal(other.state_dict()[name]) for name, value in network.state_dict().items())


# ---------------------------------------------------------------- torchvision's weights


@pytest.mark.parametrize(
    "name", ["imagenet", "IMAGENET1K_V1", "ResNet18_Weights.IMAGENET1K_V1", "ResNet18_Weights.DEFAULT"]
)
def test_official_weights(official: State, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    asked = []

    def download(url: str, **options: Any) -> State:
        asked.append((url, options["check_hash"]))
        return official

    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", download)
    assert same(resnet18(None, weights=name), official)
    assert asked == [(torchvision.models.ResNet18_Weights.IMAGENET1K_V1.url, True)]


def test_official_weights_of_vgg_without_their_classifier(monkeypatch: pytest.MonkeyPatch) -> None:
    plan = [size if isinstance(size, str) else size // 16 for size in torchvision.models.vgg.cfgs["D"]]
    monkeypatch.setattr("detector.networks.cfgs", {"D": plan})
    theirs = vgg16(None).state_dict() | {"classifier.0.weight": torch.zeros(8, 32 * 49)}
    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", lambda *_, **__: theirs)
    loaded = vgg16(5, weights="imagenet")
    assert loaded.state_dict()["features.0.weight"].equal(theirs["features.0.weight"])


@pytest.mark.parametrize("error", [urllib.error.URLError("no route"), RuntimeError("invalid hash value")])
def test_official_weights_without_a_connection(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    def download(url: str, **options: Any) -> State:
        raise error

    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", download)
    with pytest.raises(WeightsError) as raised:
        resnet50(weights="imagenet", width=THIN)
    assert "https://download.pytorch.org/models/resnet50-11ad3fa6.pth" in str(raised.value)
    assert str(error) in str(raised.value)


# ---------------------------------------------------------------- bad weights


@pytest.mark.parametrize("name", ["absent.pth", "absent.safetensors"])
def test_missing_file(tmp_path: Path, name: str) -> None:
    with pytest.raises(WeightsError, match=f"{name}: found no such file"):
        load_weights(tmp_path / name)
    message = "found 'imagnet'; expected imagenet, none, IMAGENET1K_V1, DEFAULT, or a file"
    with pytest.raises(WeightsError, match=message):
        resnet18(weights="imagnet", width=THIN)


@pytest.mark.parametrize("form", ["pth", "safetensors"])
@pytest.mark.parametrize("kept", [0, 4, 100, -60, -1])
def test_truncated_file(tmp_path: Path, form: str, kept: int) -> None:
    save = torch.save if form == "pth" else save_file
    save({"a": torch.zeros(50)}, tmp_path / f"whole.{form}")
    cut = tmp_path / f"cut.{form}"
    cut.write_bytes((tmp_path / f"whole.{form}").read_bytes()[:kept])
    with pytest.raises(WeightsError, match=rf"cut\.{form}: found a file that is cut short"):
        resnet18(weights=cut, width=THIN)


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
@settings(deadline=None, max_examples=100)
@given(
    zipped=st.booleans(),
    changes=st.lists(st.tuples(st.integers(0, 10_000), st.integers(0, 255)), min_size=1, max_size=5),
    garbage=st.binary(max_size=60),
)
def test_damaged_files_are_refused_by_name(
    tmp_path_factory: pytest.TempPathFactory, zipped: bool, changes: list[tuple[int, int]], garbage: bytes
) -> None:
    path = tmp_path_factory.getbasetemp() / "damaged.pth"
    torch.save({"w": torch.ones(3)}, path, _use_new_zipfile_serialization=zipped)
    content = bytearray(path.read_bytes())
    for place, byte in changes:
        content[place % len(content)] = byte
    for damaged in (bytes(content), garbage, b"\x80\x02" + garbage):
        path.write_bytes(damaged)
        try:
            loaded = load_weights(path)
        except WeightsError as error:
            assert str(error).startswith(str(path))  # noqa: PT017
        else:
            assert all(isinstance(value, Tensor) for value in loaded.values())


class Command:
    """Makes a folder when it is unpickled."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.folder),)


@pytest.mark.parametrize("zipped", [True, False])
def test_nothing_in_a_file_is_executed(tmp_path: Path, zipped: bool) -> None:
    trap, folder = tmp_path / "trap.pth", tmp_path / "executed"
    content = {"conv1.weight": Command(folder)}
    torch.save(content, trap, _use_new_zipfile_serialization=zipped)
    with pytest.raises(WeightsError, match=r"trap\.pth: found a Python object, \w+\.mkdir, which is not"):
        resnet18(weights=trap, width=THIN)
    assert not folder.exists()
    pickle.loads(pickle.dumps(content))
    assert folder.exists()  # the trap does work


@pytest.mark.parametrize("content", [[1, 2], {}, {"a": 1}, {"state_dict": {"a": "b"}}, torch.zeros(3)])
def test_no_state_dict(tmp_path: Path, content: object) -> None:
    torch.save(content, tmp_path / "other.pth")
    with pytest.raises(WeightsError, match=r"other\.pth: found no state dict in it"):
        load_weights(tmp_path / "other.pth")


def test_weights_of_another_architecture(thin_file: Path, tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"thin\.pth: found no layer1\.0\.conv3\.weight; expected"):
        resnet50(weights=thin_file, width=THIN)
    message = r"found conv1\.weight of shape \(64, 3, 7, 7\); expected \(64, 3, 3, 3\)"
    with pytest.raises(WeightsError, match=message):
        resnet18(weights=thin_file, stem="small", width=THIN)
    state = load_weights(thin_file)
    torch.save(state | {"layer1.2.conv1.weight": torch.zeros(1)}, tmp_path / "deeper.pth")
    with pytest.raises(WeightsError, match=r"deeper\.pth: found layer1\.2\.conv1\.weight; .* lacks it"):
        resnet18(weights=tmp_path / "deeper.pth", width=THIN)
    two = {prefix + name: value for prefix in ("student.", "teacher.") for name, value in state.items()}
    torch.save(two, tmp_path / "two.pth")
    message = r"two\.pth: found several networks, named \['student\.', 'teacher\.'\]"
    with pytest.raises(WeightsError, match=message):
        resnet18(weights=tmp_path / "two.pth", width=THIN)
