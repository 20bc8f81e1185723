"""Where shuffles stand in a network, and that the network's weights know nothing of them."""

import copy
import pickle
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torchvision
from torch import Tensor, nn

from detector import YOLO, resnet18, resnet50, seek_shuffles, shuffle_layers
from detector.intervene import shuffles
from detector.layers import residual_blocks
from detector.shuffle import ChannelShuffle, PatchShuffle, SpatialShuffle, spatial_shuffle, stream_of

NETWORKS: dict[str, tuple[Callable[[], nn.Module], int]] = {
    "resnet18": (resnet18, 8),
    "resnet50": (resnet50, 16),
    "torchvision": (torchvision.models.resnet50, 16),
}


def on_meta(make: Callable[[], nn.Module]) -> nn.Module:
    """A network without memory, for tests that do not run it."""
    with torch.device("meta"):
        return make()


def inputs_of(network: nn.Module, modules: list[nn.Module], x: Tensor) -> list[Tensor]:
    """What modules get to see, after any shuffle, in one pass in evaluation mode."""
    seen: dict[nn.Module, Tensor] = {}

    def keep(module: nn.Module, inputs: tuple[Any, ...]) -> None:
        seen[module] = inputs[0].clone()

    handles = [module.register_forward_pre_hook(keep) for module in modules]
    with torch.no_grad():
        network.eval()(x)
    for handle in handles:
        handle.remove()
    return [seen[module] for module in modules]


def same_values_in_another_order(a: Tensor, b: Tensor) -> bool:
    """Whether each channel has the same values, not all at the same place."""
    return a.flatten(2).sort().values.equal(b.flatten(2).sort().values) and not a.equal(b)


# ---------------------------------------------------------------- layers


@pytest.mark.parametrize(("make", "count"), NETWORKS.values(), ids=NETWORKS)
def test_layers_are_the_residual_blocks(make: Callable[[], nn.Module], count: int) -> None:
    assert len(residual_blocks(on_meta(make))) == count


@pytest.mark.parametrize(("make", "count"), NETWORKS.values(), ids=NETWORKS)
def test_last_is_the_last_number(make: Callable[[], nn.Module], count: int) -> None:
    by_name, by_number = on_meta(make), on_meta(make)
    assert shuffle_layers(by_name, "last") is by_name
    shuffle_layers(by_number, count)
    where = [name for name, module in by_name.named_modules() if isinstance(module, SpatialShuffle)]
    assert where == [name for name, module in by_number.named_modules() if isinstance(module, SpatialShuffle)]
    assert where
    last = f"layer4.{len(by_name.layer4) - 1}."  # type: ignore[arg-type]
    assert all(name.startswith(last) for name in where)


def test_places_in_a_bottleneck_and_in_a_basic_block() -> None:
    bottlenecks = shuffle_layers(on_meta(resnet50), [1, 16])
    assert [name for name, module in bottlenecks.named_modules() if isinstance(module, SpatialShuffle)] == [
        "layer1.0.conv2.input_shuffle",
        "layer1.0.downsample.0.input_shuffle",
        "layer4.2.conv2.input_shuffle",
        "layer4.2.downsample",
    ]
    basic = shuffle_layers(on_meta(resnet18), [3, 8])
    assert [name for name, module in basic.named_modules() if isinstance(module, SpatialShuffle)] == [
        "layer2.0.conv1.input_shuffle",
        "layer2.0.conv2.input_shuffle",
        "layer2.0.downsample.0.input_shuffle",
        "layer4.1.conv1.input_shuffle",
        "layer4.1.conv2.input_shuffle",
        "layer4.1.downsample",
    ]


@pytest.mark.parametrize("number", [4, 16])
def test_the_shortcut_can_be_left_alone(number: int) -> None:
    network = shuffle_layers(on_meta(resnet50), number, shortcut=False)
    names = [name for name, module in network.named_modules() if isinstance(module, SpatialShuffle)]
    assert [name.split(".", 2)[2] for name in names] == ["conv2.input_shuffle"]


def test_every_shuffle_has_a_key_of_its_own() -> None:
    network = shuffle_layers(on_meta(resnet18), range(1, 9))
    keys = [shuffle.key for shuffle in shuffles(network)]
    assert len(keys) == 24
    assert len(set(keys)) == 24


def test_methods() -> None:
    assert {type(shuffle) for shuffle in shuffles(shuffle_layers(on_meta(resnet18), "last", "channel"))} == {
        ChannelShuffle
    }
    patchwise = list(shuffles(shuffle_layers(on_meta(resnet18), "last", "patch", patch=2)))
    assert [(type(shuffle), getattr(shuffle, "patch", None)) for shuffle in patchwise] == [
        (PatchShuffle, 2)
    ] * 3


def test_no_layers() -> None:
    assert not list(shuffles(shuffle_layers(on_meta(resnet18), [])))


def test_of_a_detector_the_backbone_is_shuffled() -> None:
    detector = YOLO(resnet18(None), classes=2, grid=2, head_channels=8)
    shuffle_layers(detector, "last")
    assert len(list(shuffles(detector.backbone))) == 3
    assert not list(shuffles(detector.head))


# ---------------------------------------------------------------- mistakes


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((0,), "layer must be 'last' or a number from 1 to 8, found 0"),
        ((9,), "found 9"),
        ((-1,), "found -1"),
        (("first",), "found 'first'"),
        (([1, 9],), "found 9"),
        (([1, "last"],), "found 'last'"),
        (([3, 5, 3],), "layer 3 is shuffled already"),
        (("last", "patch"), "patch: found None; expected a side of at least 1 position for method 'patch'"),
        (("last", "random"), "method: found 'random'; expected one of channel, spatial, patch, gap_fc"),
    ],
)
def test_mistakes_leave_the_network_as_it_was(arguments: tuple[Any, ...], message: str) -> None:
    network = on_meta(resnet18)
    with pytest.raises(ValueError, match=message):
        shuffle_layers(network, *arguments)
    assert not list(shuffles(network))


@pytest.mark.parametrize("method", ["spatial", "channel"])
def test_patch_size_where_none_belongs(method: Any) -> None:
    with pytest.raises(ValueError, match=f"method '{method}' takes no patch size"):
        shuffle_layers(on_meta(resnet18), "last", method, patch=2)


def test_patch_size_of_zero() -> None:
    network = on_meta(resnet18)
    with pytest.raises(ValueError, match="patch: found 0; expected a side of at least 1 position"):
        shuffle_layers(network, "last", "patch", patch=0)
    assert not list(shuffles(network))


@pytest.mark.parametrize("shortcut", [True, False])
def test_shuffled_already(shortcut: bool) -> None:
    network = shuffle_layers(on_meta(resnet18), [2, 8], shortcut=shortcut)
    for layers in ("last", 8, [1, 2]):
        with pytest.raises(ValueError, match="shuffled already"):
            shuffle_layers(network, layers, "channel")  # type: ignore[arg-type]
    assert {module.key[0] for module in shuffles(network)} == {2, 8}


def test_no_resnet() -> None:
    with pytest.raises(ValueError, match="a ResNet is expected, found Sequential"):
        shuffle_layers(nn.Sequential(nn.Conv2d(3, 3, 3)), "last")


# ---------------------------------------------------------------- what the layers see


@pytest.mark.parametrize("make", [resnet50, torchvision.models.resnet50], ids=["ours", "torchvision"])
def test_inputs_in_a_bottleneck(make: Callable[[], nn.Module]) -> None:
    torch.manual_seed(0)
    network = shuffle_layers(make(), "last")
    block: Any = residual_blocks(network)[-1]
    seek_shuffles(network, seed=3, step=9)
    x, first, before, second, between, third = inputs_of(
        network,
        [block, block.conv1, block.bn1, block.conv2, block.bn2, block.conv3],
        torch.randn(2, 3, 96, 96),
    )
    assert first.equal(x)
    activated = block.bn1(before).relu()
    assert second.equal(spatial_shuffle(activated, stream_of(3, 9, 16, 1)))
    assert same_values_in_another_order(second, activated)
    assert third.equal(block.bn2(between).relu())


def test_the_shortcut_has_a_second_draw() -> None:
    torch.manual_seed(0)
    network = shuffle_layers(resnet18(), [3, 8])
    x = torch.randn(1, 3, 128, 128)
    for number in (3, 8):
        block: Any = residual_blocks(network)[number - 1]
        shortcut = block.downsample if number == 8 else block.downsample[0]
        seek_shuffles(network, seed=0, step=1)
        entering, first, taken = inputs_of(network, [block, block.conv1, shortcut], x)
        if number == 8:  # the shortcut is the shuffle itself
            taken = spatial_shuffle(taken, stream_of(0, 1, number, 0))
        assert taken.equal(spatial_shuffle(entering, stream_of(0, 1, number, 0)))
        assert same_values_in_another_order(taken, entering)
        assert same_values_in_another_order(first, entering)
        assert same_values_in_another_order(first, taken)


def test_both_convolutions_of_a_basic_block_see_shuffled_inputs() -> None:
    torch.manual_seed(0)
    network = shuffle_layers(resnet18(), 1)
    block: Any = residual_blocks(network)[0]
    seek_shuffles(network, seed=0, step=1)
    entering, first, between, second = inputs_of(
        network, [block, block.conv1, block.bn1, block.conv2], torch.randn(1, 3, 32, 32)
    )
    assert first.equal(spatial_shuffle(entering, stream_of(0, 1, 1, 1)))
    assert second.equal(spatial_shuffle(block.bn1(between).relu(), stream_of(0, 1, 1, 2)))


def test_output_of_a_shuffled_last_layer() -> None:
    torch.manual_seed(0)
    network: Any = shuffle_layers(resnet50(), "last").eval()
    block = residual_blocks(network)[-1]
    x = torch.randn(1, 2048, 3, 3).relu()
    seek_shuffles(network, 1, 2)
    with torch.no_grad():
        found = block(x)
        inner = network.layer4[2]
        second = inner.conv2._conv_forward(
            spatial_shuffle(inner.bn1(inner.conv1(x)).relu(), stream_of(1, 2, 16, 1)),
            inner.conv2.weight,
            None,
        )
        expected = inner.bn3(inner.conv3(inner.bn2(second).relu()))
        expected = (expected + spatial_shuffle(x, stream_of(1, 2, 16, 0))).relu()
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("shuffled", [False, True])
def test_output_changes_between_passes_only_where_something_shuffles(shuffled: bool) -> None:
    torch.manual_seed(0)
    network = resnet18().eval()
    if shuffled:
        shuffle_layers(network, 6)
    x = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        first, second = network(x), network(x)
        assert first.equal(second) != shuffled
        seek_shuffles(network, 5, 5)
        first = network(x)
        seek_shuffles(network, 5, 5)
        assert first.equal(network(x))


# ---------------------------------------------------------------- weights


@pytest.mark.parametrize(("make", "count"), NETWORKS.values(), ids=NETWORKS)
def test_state_dict_is_the_plain_networks(make: Callable[[], nn.Module], count: int) -> None:
    plain = on_meta(make).state_dict()
    shuffled = shuffle_layers(on_meta(make), range(1, count + 1)).state_dict()
    assert list(shuffled) == list(plain)
    assert [value.shape for value in shuffled.values()] == [value.shape for value in plain.values()]


def test_weights_of_a_detector_go_both_ways() -> None:
    def detector(shuffled: bool) -> YOLO:
        backbone = resnet18(None)
        if shuffled:
            shuffle_layers(backbone, [7, 8])
        return YOLO(backbone, classes=3, grid=3, head_channels=16).eval()

    torch.manual_seed(0)
    plain, trained, again = detector(False), detector(True), detector(True)
    x = torch.randn(1, 3, 96, 96)
    with torch.no_grad():
        plain.load_state_dict(trained.state_dict(), strict=True)
        again.load_state_dict(plain.state_dict(), strict=True)
        for network in (trained, again):
            seek_shuffles(network, 0, 4)
        assert trained(x).equal(again(x))
        assert not trained(x).equal(plain(x))
        for shuffle in shuffles(trained):
            shuffle.in_evaluation = False
        assert trained(x).equal(plain(x))


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda network: pickle.loads(pickle.dumps(network))])
def test_copies_of_a_shuffled_network_shuffle(copied: Callable[[nn.Module], nn.Module]) -> None:
    torch.manual_seed(0)
    network = shuffle_layers(resnet18(None), "last").eval()
    twin = copied(network)
    x = torch.randn(1, 3, 96, 96)
    with torch.no_grad():
        assert network(x).equal(twin(x))
        network(x)
        assert not network(x).equal(twin(x))
