"""Backbones: torchvision's numbers, the stems and strides, and weights good and bad."""

import os
import pickle
import urllib.error
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

from detector import YOLO, ResNet, WeightsError, load_weights, normalize, resnet18, resnet50, resnet152
from detector.networks import resnet

State = dict[str, Tensor]


def quiet(network: nn.Module) -> nn.Module:
    """A network in evaluation mode whose batch norms hold something."""
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.bias, std=0.1)
            nn.init.uniform_(module.running_var, 0.5, 2)  # type: ignore[arg-type]
    return network.eval()


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


# ---------------------------------------------------------------- the networks


@pytest.mark.parametrize(
    ("make", "name", "millions"),
    [(resnet18, "resnet18", 11.69), (resnet50, "resnet50", 25.56), (resnet152, "resnet152", 60.19)],
)
def test_parameters_are_torchvisions(make: Callable[[], ResNet], name: str, millions: float) -> None:
    with torch.device("meta"):
        ours, theirs = make(), torchvision.models.get_model(name)
    count = sum(parameter.numel() for parameter in ours.parameters())
    assert round(count / 1e6, 2) == millions
    assert {key: value.shape for key, value in ours.state_dict().items()} == {
        key: value.shape for key, value in theirs.state_dict().items()
    }


@pytest.mark.parametrize(("make", "name"), [(resnet18, "resnet18"), (resnet50, "resnet50")])
def test_forward_is_torchvisions(make: Callable[[], ResNet], name: str) -> None:
    torch.manual_seed(0)
    theirs = quiet(torchvision.models.get_model(name))
    ours = make().eval()
    ours.load_state_dict(theirs.state_dict(), strict=True)
    x = torch.randn(2, 3, 72, 64)
    with torch.no_grad():
        assert ours(x).equal(theirs(x))


def test_feature_extractor() -> None:
    torch.manual_seed(0)
    network = resnet18(None).eval()
    assert not hasattr(network, "fc")
    assert network.out_channels == 512
    assert network.stride == 32
    x = torch.randn(2, 3, 65, 96)
    with torch.no_grad():
        assert network(x).shape == (2, 512, 3, 3)
        assert network(x).equal(network.features(x))


def test_features_and_classifier_of_one_network() -> None:
    network = resnet18(7).eval()
    x = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        assert network(x).equal(network.fc(network.features(x).mean((2, 3), keepdim=True).flatten(1)))
        assert network(x).shape == (2, 7)


@pytest.mark.parametrize(("make", "channels"), [(resnet18, 512), (resnet50, 2048)])
def test_small_stem(make: Callable[..., ResNet], channels: int) -> None:
    network = make(100, stem="small").eval()
    x = torch.randn(1, 3, 32, 32)
    assert network.stride == 8
    assert network.features(x).shape == (1, channels, 4, 4)
    assert network(x).shape == (1, 100)


@pytest.mark.parametrize(("stem", "strides"), [("imagenet", (32, 16, 8)), ("small", (8, 4, 2))])
@pytest.mark.parametrize("make", [resnet18, resnet50])
def test_a_reduced_stride_computes_the_same_at_more_positions(
    make: Callable[..., ResNet], stem: str, strides: tuple[int, ...]
) -> None:
    torch.manual_seed(0)
    plain = quiet(make(None, stem=stem)).double()
    x = torch.randn(1, 3, 3 * strides[0], 2 * strides[0], dtype=torch.float64)
    with torch.no_grad():
        expected = plain(x)
        for finer, stride in enumerate(strides):
            network = make(None, stem=stem, output_stride=stride).double().eval()
            network.load_state_dict(plain.state_dict(), strict=True)
            found = network(x)
            assert network.stride == stride
            assert found.shape[2:] == (3 * 2**finer, 2 * 2**finer)
            torch.testing.assert_close(found[:, :, :: 2**finer, :: 2**finer], expected)


@pytest.mark.parametrize(("stride", "replaced"), [(16, [False, False, True]), (8, [False, True, True])])
def test_dilation_is_torchvisions(stride: int, replaced: list[bool]) -> None:
    torch.manual_seed(0)
    theirs = quiet(torchvision.models.resnet50(replace_stride_with_dilation=replaced))
    ours = resnet50(output_stride=stride).eval()
    ours.load_state_dict(theirs.state_dict(), strict=True)
    x = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        assert ours(x).equal(theirs(x))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"output_stride": 4}, r"one of \[32, 16, 8\], found 4"),
        ({"output_stride": 32, "stem": "small"}, r"one of \[8, 4, 2\], found 32"),
        ({"stem": "large"}, "stem must be 'imagenet' or 'small', found 'large'"),
    ],
)
def test_impossible_options(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        resnet18(**options)


def test_unknown_architecture() -> None:
    with pytest.raises(ValueError, match="one of resnet18, resnet50, resnet152, found 'resnet34'"):
        resnet("resnet34")


def test_normalize() -> None:
    images = torch.randint(0, 256, (2, 3, 5, 4), dtype=torch.uint8)
    expected = torchvision.transforms.functional.normalize(
        images / 255, [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
    )
    torch.testing.assert_close(normalize(images), expected)
    assert normalize(expected) is expected


# ---------------------------------------------------------------- good weights


def same(network: ResNet, state: State) -> bool:
    """Whether a network has these weights, all but the classifier's."""
    own = network.state_dict()
    names = [name for name in state if not name.startswith("fc.")]
    return all(own[name].equal(state[name]) for name in names)


def test_local_file_with_its_classifier(official: State, file: Path) -> None:
    network = resnet18(weights=file)
    assert same(network, official)
    assert network.fc.weight.equal(official["fc.weight"])


@pytest.mark.parametrize("num_classes", [None, 10])
def test_local_file_without_its_classifier(official: State, file: Path, num_classes: int | None) -> None:
    assert same(resnet18(num_classes, weights=str(file)), official)


def test_no_weights() -> None:
    torch.manual_seed(0)
    first = resnet18(weights="none").state_dict()
    torch.manual_seed(0)
    assert same(resnet18(weights=None), first)


def test_safetensors(official: State, tmp_path: Path) -> None:
    save_file(official, tmp_path / "weights.safetensors")
    assert same(resnet18(weights=tmp_path / "weights.safetensors"), official)


@pytest.mark.parametrize(
    "prefix",
    [
        "module.",
        "_orig_mod.",
        "_orig_mod.module.",
        "backbone.",
        "model.backbone.",
        "model._orig_mod.backbone.",
    ],
)
def test_prefixes(official: State, tmp_path: Path, prefix: str) -> None:
    state = {prefix + name: value for name, value in official.items() if not name.startswith("fc.")}
    torch.save({"state_dict": state | {"model.head.output.bias": torch.zeros(3)}}, tmp_path / "w.ckpt")
    if "model." not in prefix:
        torch.save(state, tmp_path / "w.ckpt")
    assert same(resnet18(None, weights=tmp_path / "w.ckpt"), official)


def test_lightning_checkpoint_of_a_detector(tmp_path: Path) -> None:
    detector = YOLO(resnet18(None), classes=2, grid=2, head_channels=8)
    content = {
        "state_dict": {f"model.{name}": value for name, value in detector.state_dict().items()},
        "hyper_parameters": {"classes": ["a", "b"], "input_size": 64},
        "epoch": 3,
    }
    torch.save(content, tmp_path / "last.ckpt")
    assert same(resnet18(None, weights=tmp_path / "last.ckpt"), detector.backbone.state_dict())


def test_files_that_predate_the_batch_counts(official: State, tmp_path: Path) -> None:
    older = {name: value for name, value in official.items() if not name.endswith("num_batches_tracked")}
    torch.save(older, tmp_path / "older.pth")
    assert same(resnet18(weights=tmp_path / "older.pth"), older)
    assert same(resnet18(5, weights=tmp_path / "older.pth"), older)


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


# ---------------------------------------------------------------- bad weights


@pytest.mark.parametrize("error", [urllib.error.URLError("no route"), RuntimeError("invalid hash value")])
def test_official_weights_without_a_connection(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    def download(url: str, **options: Any) -> State:
        raise error

    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", download)
    with pytest.raises(WeightsError) as raised:
        resnet50(weights="imagenet")
    assert "https://download.pytorch.org/models/resnet50-11ad3fa6.pth" in str(raised.value)
    assert str(error) in str(raised.value)


def test_no_such_weights() -> None:
    with pytest.raises(
        WeightsError, match="found 'imagnet'; expected imagenet, none, IMAGENET1K_V1, DEFAULT, or a file"
    ):
        resnet18(weights="imagnet")


@pytest.mark.parametrize("name", ["absent.pth", "absent.safetensors"])
def test_missing_file(tmp_path: Path, name: str) -> None:
    with pytest.raises(WeightsError, match=f"{name}: found no such file"):
        load_weights(tmp_path / name)


@pytest.mark.parametrize("kept", [0, 10, 5_000, -1_000, -1])
def test_truncated_file(file: Path, tmp_path: Path, kept: int) -> None:
    (tmp_path / "cut.pth").write_bytes(file.read_bytes()[:kept])
    with pytest.raises(WeightsError, match=r"cut\.pth: found a file that is cut short"):
        resnet18(weights=tmp_path / "cut.pth")


@pytest.mark.parametrize("kept", [0, 4, 100, -1])
def test_truncated_safetensors(tmp_path: Path, kept: int) -> None:
    save_file({"a": torch.zeros(50)}, tmp_path / "whole.safetensors")
    (tmp_path / "cut.safetensors").write_bytes((tmp_path / "whole.safetensors").read_bytes()[:kept])
    with pytest.raises(WeightsError, match=r"cut\.safetensors: found a file that is cut short"):
        load_weights(tmp_path / "cut.safetensors")


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
    file, folder = tmp_path / "trap.pth", tmp_path / "executed"
    content = {"conv1.weight": Command(folder)}
    torch.save(content, file, _use_new_zipfile_serialization=zipped)
    with pytest.raises(
        WeightsError, match=r"trap\.pth: found a Python object, \w+\.mkdir, which is not loaded"
    ):
        resnet18(weights=file)
    assert not folder.exists()
    pickle.loads(pickle.dumps(content))
    assert folder.exists()  # the trap does work


@pytest.mark.parametrize("content", [[1, 2], {}, {"a": 1}, {"state_dict": {"a": "b"}}, torch.zeros(3)])
def test_no_state_dict(tmp_path: Path, content: object) -> None:
    torch.save(content, tmp_path / "other.pth")
    with pytest.raises(WeightsError, match=r"other\.pth: found no state dict in it"):
        load_weights(tmp_path / "other.pth")


def test_another_architecture(file: Path) -> None:
    with pytest.raises(WeightsError, match=r"resnet18\.pth: found no layer1\.0\.conv3\.weight; expected"):
        resnet50(weights=file)


def test_a_deeper_architecture(tmp_path: Path) -> None:
    torch.save(torchvision.models.resnet34().state_dict(), tmp_path / "resnet34.pth")
    with pytest.raises(WeightsError, match=r"resnet34\.pth: found layer1\.2\.conv1\.weight; .* lacks it"):
        resnet18(weights=tmp_path / "resnet34.pth")


def test_another_stem(file: Path) -> None:
    message = r"found conv1\.weight of shape \(64, 3, 7, 7\); expected \(64, 3, 3, 3\)"
    with pytest.raises(WeightsError, match=message):
        resnet18(weights=file, stem="small")


def test_several_networks_in_one_file(official: State, tmp_path: Path) -> None:
    state = {prefix + name: value for prefix in ("student.", "teacher.") for name, value in official.items()}
    torch.save(state, tmp_path / "two.pth")
    with pytest.raises(
        WeightsError, match=r"two\.pth: found several networks, named \['student\.', 'teacher\.'\]"
    ):
        resnet18(weights=tmp_path / "two.pth")
