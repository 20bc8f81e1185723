"""Taking information away from chosen layers: each method does what it says, and only where it says so."""

import copy
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import pytest
import torch
import torchvision
from torch import Tensor, nn
from torchvision.models.resnet import BasicBlock

from detector import (
    fix_draws,
    list_changes,
    list_layers,
    modify_layers,
    perceptron,
    resnet18,
    resnet50,
    seek_shuffles,
    set_shuffling,
    shuffle_layers,
    vgg16,
)
from detector.intervene import fully_connected, needs_passes, shuffles
from detector.registry import METHODS, ShuffleMethod
from detector.shuffle import EVALUATION_KEY, SHUFFLES, spatial_shuffle, stream_of
from tests.detector.helpers import changed_places, entering, is_reordered, on_meta, same_size, thin

OPTIONS: dict[str, dict[str, Any]] = {"spatial": {}, "patch": {"patch": 3}, "channel": {}}
each_shuffle = pytest.mark.parametrize("method", OPTIONS)
RANDOM_CONTROLS: dict[str, dict[str, Any]] = {"joint": {}, "blocks": {"patch": 2}, "rows": {}, "columns": {}}
NETWORKS: dict[str, tuple[Callable[[], nn.Module], int]] = {
    "resnet18": (resnet18, 8),
    "resnet50": (resnet50, 16),
    "torchvision": (torchvision.models.resnet50, 16),
}
IMAGES = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))


def test_one_table_has_every_method() -> None:
    assert set(METHODS) == {*get_args(ShuffleMethod), "gap_fc"}
    assert (
        [name for name, row in METHODS.items() if row.is_shuffle]
        == list(SHUFFLES)
        == [*get_args(ShuffleMethod)]
    )


# ---------------------------------------------------------------- which layers, and where in them


@pytest.mark.parametrize(
    ("chosen", "expected"),
    [
        ({"last": 0}, []),
        ({"last": 2}, [37, 40]),
        ({"layer": 1}, [0]),
        ({"layers": [13, 11]}, [34, 40]),
        ({"layers": []}, []),
        ({"layers": range(1, 3)}, [0, 3]),
        ({"names": ["features.7"]}, [7]),
        ({"names": "features.7"}, [7]),
        ({"percent": 31}, [30, 34, 37, 40]),
        ({"percent": 1}, [40]),
        ({"percent": 0}, []),
    ],
)
def test_exactly_those_layers(chosen: dict[str, Any], expected: list[int]) -> None:
    network = on_meta(vgg16)
    assert modify_layers(network, "spatial", **chosen) is network
    assert changed_places(network) == [f"features.{number}.input_shuffle" for number in expected]


@pytest.mark.parametrize(("make", "count"), NETWORKS.values(), ids=NETWORKS)
def test_layers_of_resnets_and_their_state_dicts(make: Callable[[], nn.Module], count: int) -> None:
    plain, last, number, every = (on_meta(make) for _ in range(4))
    assert len(list_layers(plain)) == count
    assert shuffle_layers(last, "last") is last
    shuffle_layers(number, count)
    assert changed_places(last) == changed_places(number)
    assert all(name.startswith(f"layer4.{len(last.layer4) - 1}.") for name in changed_places(last))
    shuffle_layers(every, range(1, count + 1))
    assert len({shuffle.key for shuffle in shuffles(every)}) == len(changed_places(every)) > count
    shapes = [
        [(name, value.shape) for name, value in each.state_dict().items()] for each in (plain, last, every)
    ]
    assert shapes[0] == shapes[1] == shapes[2]


@pytest.mark.parametrize(
    ("make", "options", "expected"),
    [
        (
            resnet50,
            {"layers": [1, 16]},
            ["layer1.0.conv2.", "layer1.0.downsample.0.", "layer4.2.conv2.", "layer4.2.downsample"],
        ),
        (resnet50, {"layers": [4, 16], "shortcut": False}, ["layer2.0.conv2.", "layer4.2.conv2."]),
        (
            resnet18,
            {"layers": [3, 8]},
            [
                *("layer2.0.conv1.", "layer2.0.conv2.", "layer2.0.downsample.0."),
                *("layer4.1.conv1.", "layer4.1.conv2.", "layer4.1.downsample"),
            ],
        ),
        (
            resnet50,
            {"names": ["layer4.2.conv1", "layer1.0"]},
            ["layer1.0.conv2.", "layer1.0.downsample.0.", "layer4.2.conv1."],
        ),
    ],
)
def test_places_in_a_block(
    make: Callable[[], nn.Module], options: dict[str, Any], expected: list[str]
) -> None:
    places = changed_places(modify_layers(on_meta(make), "spatial", **options))
    assert places == [name + "input_shuffle" if name.endswith(".") else name for name in expected]


@each_shuffle
def test_the_short_form_is_the_same(method: Any) -> None:
    long = modify_layers(on_meta(resnet50), method, last=1, **OPTIONS[method])
    short = shuffle_layers(on_meta(resnet50), "last", method, **OPTIONS[method])
    found = [[(type(s), s.key, repr(s)) for s in shuffles(network)] for network in (long, short)]
    assert found[0] == found[1] == [(SHUFFLES[method], (16, n), repr(next(shuffles(long)))) for n in (1, 0)]
    alone = shuffle_layers(on_meta(resnet50), "last", method, shortcut=False, **OPTIONS[method])
    assert [shuffle.key for shuffle in shuffles(alone)] == [(16, 1)]


def test_several_methods_in_one_network() -> None:
    network = modify_layers(thin("vgg16"), "patch", layers=[2, 3], patch=4)
    modify_layers(network, "channel", layer=9)
    modify_layers(network, "gap_fc", last=2)
    assert network(IMAGES).shape == (2, 5)
    for layer, done in ((3, "shuffled"), (9, "shuffled"), (12, "averaged")):
        with pytest.raises(ValueError, match=f"layer {layer} is {done} already"):
            modify_layers(network, "spatial", layer=layer)


# ---------------------------------------------------------------- what the layers see


@pytest.mark.parametrize(("method", "options"), (OPTIONS | RANDOM_CONTROLS).items())
def test_what_a_layer_of_vgg_sees(method: Any, options: dict[str, Any]) -> None:
    network = modify_layers(thin("vgg16"), method, layer=8, **options)  # a 4×4 map after pooling
    before, after = entering(network, "features.24", IMAGES)
    assert before.shape == (2, 16, 4, 4)
    assert is_reordered(before, after, 1 if method == "channel" else 2)
    if method == "channel":
        assert all(any(plane.equal(other) for other in before[0]) for plane in after[0])
    else:
        assert before.any(0).flatten(1).any(1).all()  # no dead map, which any order would keep
    if method == "patch":
        assert after[..., 3, 3].equal(before[..., 3, 3])  # a patch by itself in the corner
        corner = [x[..., :3, :3].flatten(2).sort().values for x in (before, after)]
        assert corner[0].equal(corner[1])


def test_means_in_place_of_order() -> None:
    network = modify_layers(thin("resnet18"), "mean", layers=[2, 5])
    assert not needs_passes(network)
    for name in ("layer1.1.conv1", "layer1.1.conv2", "layer3.0.downsample.0"):
        before, after = entering(network, name, IMAGES)
        torch.testing.assert_close(after, before.mean((2, 3), keepdim=True).expand_as(before))
    assert {str(change).split()[2] for change in list_changes(network)} == {"mean"}
    vit = modify_layers(thin("vit"), "mean", layer=2, example=32)
    before, after = entering(vit, "encoder.layers.encoder_layer_1.ln_1", IMAGES)
    assert after[:, 0].equal(before[:, 0])  # the class token
    torch.testing.assert_close(after[:, 1:], before[:, 1:].mean(1, keepdim=True).expand(-1, 16, -1))


@pytest.mark.parametrize(("method", "options"), (OPTIONS | RANDOM_CONTROLS).items())
@pytest.mark.parametrize("per_image", [False, True])
def test_an_order_for_each_image(method: Any, options: dict[str, Any], per_image: bool) -> None:
    network = modify_layers(thin("vgg16"), method, layer=8, per_image=per_image, **options).eval()
    _, after = entering(network, "features.24", IMAGES[:1].expand(3, -1, -1, -1))
    assert [after[0].equal(other) for other in after[1:]] == [not per_image] * 2


@pytest.mark.parametrize("library", ["ours", "torchvision"])
@pytest.mark.parametrize("kind", ["resnet18", "resnet50"])
def test_residual_blocks_are_those_with_explicit_permutations(kind: str, library: str) -> None:
    torch.manual_seed(0)
    network = {"ours": thin(kind), "torchvision": getattr(torchvision.models, kind)()}[library].eval()
    numbers = (3, 8) if kind == "resnet18" else (4, 16)  # the first of each has a convolution in its shortcut
    shuffle_layers(network, numbers)
    for number in numbers:
        block: Any = network.get_submodule(list_layers(network)[number - 1].name)

        def draw(x: Tensor, branch: int, number: int = number) -> Tensor:
            return spatial_shuffle(x, stream_of(3, 9, number, branch, EVALUATION_KEY))

        x = torch.randn(2, block.conv1.in_channels, 6, 6)
        seek_shuffles(network, seed=3, step=9)
        with torch.no_grad():
            found = block(x)
            if kind == "resnet18":
                inner = block.bn1(block.conv1.forward(draw(x, 1))).relu()
                branch = block.bn2(block.conv2.forward(draw(inner, 2)))
            else:
                inner = block.bn1(block.conv1(x)).relu()
                branch = block.bn3(block.conv3(block.bn2(block.conv2.forward(draw(inner, 1))).relu()))
            shortcut = draw(x, 0)
            if number != numbers[1]:  # else it is the shuffle itself
                shortcut = block.downsample[1](block.downsample[0].forward(shortcut))
            torch.testing.assert_close(found, (branch + shortcut).relu())


# ---------------------------------------------------------------- weights


@pytest.mark.parametrize("kind", ["vgg16", "resnet18"])
def test_weights_go_both_ways(kind: str) -> None:
    plain, network = thin(kind).eval(), modify_layers(thin(kind), "spatial", last=3).eval()
    again = copy.deepcopy(network)
    plain.load_state_dict(network.state_dict(), strict=True)
    again.load_state_dict(plain.state_dict(), strict=True)
    with torch.no_grad():
        outputs = network(IMAGES)
        assert again(IMAGES).equal(outputs)
        assert not plain(IMAGES).equal(outputs)
        assert not network(IMAGES).equal(outputs)
        assert set_shuffling(network, eval=False)(IMAGES).equal(plain(IMAGES))


def test_variants_start_alike() -> None:
    plain = thin("vgg16").state_dict()
    for method, options in {**OPTIONS, "gap_fc": {}}.items():
        state = modify_layers(thin("vgg16"), method, last=2, **options).state_dict()
        changed = {name for name in plain if not state[name].equal(plain[name])}
        assert changed == ({"features.37.weight", "features.40.weight"} if method == "gap_fc" else set())


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda network: pickle.loads(pickle.dumps(network))])
def test_copies(copied: Callable[[nn.Module], nn.Module]) -> None:
    averaged = modify_layers(modify_layers(thin("vgg16"), "gap_fc", last=2), "spatial", layer=5)
    for network in (averaged.eval(), modify_layers(thin("resnet18"), "spatial", last=2).eval()):
        twin = copied(network)
        with torch.no_grad():
            outputs = network(IMAGES)
            assert twin(IMAGES).equal(outputs)
            assert not network(IMAGES).equal(outputs)


def test_channels_last_and_autocast() -> None:
    network = modify_layers(thin("vgg16"), "spatial", last=13).to(memory_format=torch.channels_last)
    images = IMAGES.contiguous(memory_format=torch.channels_last)
    with torch.autocast("cpu", torch.bfloat16):
        _, after = entering(network, "features.3", images)
        network(images).float().sum().backward()
    assert after.dtype == torch.bfloat16
    assert after.is_contiguous(memory_format=torch.channels_last)
    assert all(parameter.grad is not None for parameter in network.parameters())


# ---------------------------------------------------------------- when it shuffles


@pytest.mark.parametrize("train", [True, False])
@pytest.mark.parametrize("evaluate", [True, False])
def test_train_and_eval_are_set_apart(train: bool, evaluate: bool) -> None:
    made = modify_layers(thin("resnet18"), "spatial", last=1, train=train, eval=evaluate)
    later = set_shuffling(shuffle_layers(thin("resnet18"), "last"), train=train, eval=evaluate)
    for network in (made, later):
        assert needs_passes(network) == evaluate
        for training, shuffled in ((True, train), (False, evaluate)):
            before, after = entering(network.train(training), "layer4.1.conv1", IMAGES)
            assert after.equal(before) != shuffled


@pytest.mark.parametrize("kind", ["vgg16", "resnet18"])
def test_a_network_in_evaluation_mode_is_shuffled_in_it(kind: str) -> None:
    network = modify_layers(thin(kind).eval(), "spatial", last=1, eval=False)
    assert not any(module.training for module in network.modules())
    assert network(IMAGES).equal(thin(kind).eval()(IMAGES))


def test_what_is_not_set_stays() -> None:
    network = modify_layers(thin("vgg16"), "channel", last=2, train=False)
    assert set_shuffling(network, eval=False) is network
    assert {(s.in_training, s.in_evaluation) for s in shuffles(network)} == {(False, False)}
    set_shuffling(network, train=True)
    assert {(s.in_training, s.in_evaluation) for s in shuffles(network)} == {(True, False)}
    with pytest.raises(ValueError, match="found VGG without a shuffle; expected one that modify_layers"):
        set_shuffling(thin("vgg16"), train=False)


def test_a_part_in_evaluation_mode_follows_it() -> None:
    network = modify_layers(thin("vgg16"), "spatial", layers=[8, 9], eval=False).train()
    network.get_submodule("features.24").eval()
    for name, shuffled in (("features.24", False), ("features.27", True)):
        before, after = entering(network, name, IMAGES)
        assert after.equal(before) != shuffled


# ---------------------------------------------------------------- GAP+FC


def permuted(x: Tensor) -> Tensor:
    """Each image's positions in one random order."""
    return x.flatten(2)[..., torch.randperm(x[0, 0].numel())].view(x.shape)


@pytest.mark.parametrize(
    ("kind", "layers"), [("vgg16", range(10, 14)), ("resnet18", [8]), ("resnet50", [15, 16])]
)
def test_gap_fc_is_blind_to_the_order_of_the_map(kind: str, layers: Any) -> None:
    network = modify_layers(thin(kind), "gap_fc", layers=layers).double().eval()
    tail = network.features[30:] if kind == "vgg16" else network.layer4[-len(layers) :]
    channels = network.out_channels
    x = torch.randn(2, channels, 4, 4, dtype=torch.float64)
    with torch.no_grad():
        assert tail(x).shape == (2, channels, 1, 1)
        torch.testing.assert_close(tail(x), tail(permuted(x)))
        torch.testing.assert_close(tail(x), tail(x.mean((2, 3), keepdim=True)))
        assert not tail(x).allclose(tail(x.flip(1)))
        if kind == "vgg16":  # the layer before is not
            assert not network.features[27:30](x).allclose(network.features[27:30](permuted(x)))
    assert network(IMAGES.double()).shape == (2, 5)


def test_gap_fc_is_what_the_definition_says() -> None:
    network = modify_layers(thin("vgg16"), "gap_fc", last=1).double().eval()
    convolution, norm = network.features[40], network.features[41]
    x = torch.randn(2, 32, 2, 2, dtype=torch.float64)
    with torch.no_grad():
        averaged = x.mean((2, 3)) @ convolution.weight.flatten(1).T + convolution.bias
        torch.testing.assert_close(network.features[40:](x), norm(averaged[..., None, None]).relu())


def test_gap_fc_keeps_names_and_replaces_all_larger_convolutions() -> None:
    plain, network = on_meta(resnet50), modify_layers(on_meta(resnet50), "gap_fc", last=4)
    assert list(network.state_dict()) == list(plain.state_dict())
    convolutions = [
        (name, module) for name, module in network.named_modules() if isinstance(module, nn.Conv2d)
    ]
    assert [name for name, module in convolutions if module.kernel_size != (1, 1)][-1] == "layer3.4.conv2"
    assert changed_places(network)[:2] == ["layer3.5.conv2", "layer3.5.input_average"]


def test_a_fully_connected_layer_is_the_convolution_on_a_constant_map() -> None:
    torch.manual_seed(0)
    convolution = nn.Conv2d(4, 6, 3, groups=2).double().eval()
    convolution.weight.requires_grad_(False)
    seed = torch.random.get_rng_state()
    layer = fully_connected(convolution)
    assert torch.random.get_rng_state().equal(seed)
    x = torch.randn(2, 4, 1, 1, dtype=torch.float64)
    torch.testing.assert_close(layer(x), convolution(x.expand(-1, -1, 3, 3)))
    assert not layer.training
    assert [value.requires_grad for value in layer.parameters()] == [False, True]
    convolution = nn.Conv2d(256, 256, 3)
    nn.init.kaiming_normal_(convolution.weight, mode="fan_out", nonlinearity="relu")
    weight = fully_connected(convolution).weight.detach()
    assert float(weight.std()) == pytest.approx((2 / 256) ** 0.5, rel=0.02)  # kaiming's for 1×1


def test_gap_fc_in_a_network_of_another_author() -> None:
    def make(*end: nn.Module) -> nn.Module:
        block = nn.Sequential(nn.Conv2d(4, 4, 3, stride=2), nn.GELU(), nn.AvgPool2d(2))
        return nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), block, *end)

    x = torch.randn(1, 3, 16, 16)
    pooled = make(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2))
    network = modify_layers(pooled, "gap_fc", last=1, example=16)
    assert changed_places(network) == ["2.0", "2.0.input_average"]
    assert network(x).shape == (1, 2)
    flat = make(nn.Flatten(), nn.Linear(4 * 3 * 3, 2))
    before = dict(flat.named_modules())
    with pytest.raises(
        ValueError,
        match=r"'gap_fc': found Sequential, which cannot be run after it \(.*\); .*; shuffle instead",
    ):
        modify_layers(flat, "gap_fc", last=1, example=16)
    assert dict(flat.named_modules()) == before
    assert flat(x).shape == (1, 2)


def test_gap_fc_of_a_network_of_residual_blocks() -> None:
    network = torchvision.models.regnet_x_400mf(num_classes=2).eval()
    modify_layers(network, "gap_fc", last=2, example=64)
    assert [change.what for change in list_changes(network)] == ["input", "weights", "weights"]
    images = torch.zeros(1, 3, 64, 64)
    sizes = [entering(network, f"{layer.name}.f.b.0", images)[0].shape[2:] for layer in list_layers(network)]
    assert [tuple(size) for size in sizes[-3:]] == [(2, 2), (1, 1), (1, 1)]


def test_gap_fc_with_a_way_around_it_is_taken_back() -> None:
    class Maximum(nn.Sequential):  # not an add, which would make it a residual block
        def forward(self, x: Tensor) -> Tensor:
            return torch.maximum(x, super().forward(x))

    inside = Maximum(nn.Sequential(nn.Conv2d(4, 4, 3, padding=1), nn.ReLU()))
    network = nn.Sequential(nn.Conv2d(3, 4, 1), inside, nn.Conv2d(4, 2, 1)).eval()
    before, expected = dict(network.named_modules()), network(IMAGES)
    with pytest.raises(ValueError, match="found 2, which sees 1x4x32x32 even so; expected 1x1; shuffle inst"):
        modify_layers(network, "gap_fc", last=1, example=32)
    assert dict(network.named_modules()) == before
    assert network(IMAGES).equal(expected)


@pytest.mark.filterwarnings("ignore:.*weight_norm:FutureWarning")
@pytest.mark.parametrize("norm", [nn.utils.weight_norm, nn.utils.parametrizations.weight_norm])
def test_gap_fc_of_a_convolution_with_weight_norm_is_refused(norm: Callable[[nn.Module], nn.Module]) -> None:
    network = thin("resnet18")
    norm(network.layer4[1].conv2)
    names = list(network.state_dict())
    with pytest.raises(
        ValueError, match=r"found layer4\.1\.conv2, a convolution with a parametrization or a h"
    ):
        modify_layers(network, "gap_fc", last=2)
    assert list(network.state_dict()) == names
    assert not changed_places(network)


class OfOneSize(nn.Sequential):
    """Takes images of 16 pixels alone."""

    def forward(self, x: Tensor) -> Tensor:
        assert x.shape[-1] == 16
        return super().forward(x)  # type: ignore[no-any-return]


def test_gap_fc_runs_the_network_with_the_example_and_replaces_kernels_of_two() -> None:
    network = OfOneSize(nn.Sequential(nn.Conv2d(3, 4, 1), nn.Conv2d(4, 4, 2)), nn.AdaptiveAvgPool2d(1))
    with pytest.raises(ValueError, match="found layers that do not count of 1; expected the last ones"):
        modify_layers(network, "gap_fc", names=["0.0"], example=16)
    modify_layers(network, "gap_fc", last=1, example=16)
    assert changed_places(network) == ["0.1", "0.1.input_average"]


def test_gap_fc_where_a_module_is_in_several_places() -> None:
    torch.manual_seed(0)
    pool, shared = nn.MaxPool2d(3, 2, 1), nn.Conv2d(4, 4, 3, padding=1)
    first = nn.Conv2d(3, 4, 3, padding=1)
    chain = [first, pool, nn.Sequential(shared, nn.ReLU(), pool), shared]
    network: Any = nn.Sequential(*chain, nn.AdaptiveAvgPool2d(1), nn.Flatten()).eval()
    names = list(network.state_dict())
    x = torch.randn(2, 3, 16, 16)
    weight, averaged = shared.weight.sum((2, 3)), pool(first(x)).mean((2, 3))
    expected = (averaged @ weight.T + shared.bias).relu() @ weight.T + shared.bias  # type: ignore[operator]
    modify_layers(network, "gap_fc", last=1, example=16)
    torch.testing.assert_close(network(x), expected)
    assert network[1] is pool
    assert network[2][0] is network[3]
    assert list(network.state_dict()) == names


# ---------------------------------------------------------------- mistakes


@pytest.mark.parametrize(
    ("method", "options", "message"),
    [
        ("spatail", {"last": 1}, "found 'spatail'; expected one of spatial, .*; did you mean 'spatial'"),
        ("random", {"last": 1}, "method: found 'random'; expected one of spatial, patch, channel, gap_fc"),
        ("gap+fc", {"last": 1}, "did you mean 'gap_fc'"),
        ("spatial", {"last": 14}, "last: found 14; expected a number of layers from 0 to 13"),
        ("spatial", {"last": -1}, "last: found -1"),
        ("spatial", {"last": "2"}, "last: found '2'"),
        ("spatial", {"percent": 101}, "percent: found 101; expected a share of the layers from 0 to 100"),
        ("spatial", {"layer": 0}, "layer: found 0; expected a number from 1 to 13, counted from the input"),
        ("spatial", {"layer": True}, "layer: found True"),
        ("spatial", {"layers": [1, 14]}, "layers: found 14; expected a number from 1 to 13"),
        ("spatial", {"layers": [2, 2]}, "layer 2 is shuffled already"),
        ("spatial", {}, "layers: found none; expected one of last=k, layer=n"),
        ("spatial", {"last": 1, "names": ["features.0"]}, "found last and names; expected one of"),
        ("spatial", {"names": ["features.1"]}, "a BatchNorm2d that sees 1x64x32x32; .* did you mean 'feat"),
        ("spatial", {"names": ["feature.40"]}, "found 'feature.40'; .* did you mean 'features.40'"),
        ("spatial", {"names": ["classifier.0"]}, "a Linear that sees 1x512; expected .* a 2-d map"),
        ("spatial", {"last": 1, "patch": 2}, "patch: found 2; expected none, as method 'spatial' takes no"),
        ("channel", {"last": 1, "patch": 2}, "method 'channel' takes no patch size"),
        ("patch", {"last": 1}, "found None; expected a side of at least 1 position for method 'patch'"),
        *(
            ("patch", {"last": 1, "patch": patch}, f"patch: found {patch!r}; expected a side of at least 1")
            for patch in (0, -3, 2.5, "2", True)
        ),
        ("gap_fc", {"last": 1, "patch": 2}, "patch: found 2; expected none"),
        ("gap_fc", {"layer": 12}, r"method 'gap_fc': found layers \[12\] of 13; expected the last ones"),
        ("gap_fc", {"layers": [11, 13]}, "expected the last ones without a gap"),
        ("gap_fc", {"last": 1, "eval": False}, "found shortcut, per_image, train or eval; expected none"),
        ("gap_fc", {"last": 1, "per_image": True}, "expected none of them, as nothing is drawn"),
    ],
)
def test_mistakes_leave_the_network_as_it_was(method: Any, options: dict[str, Any], message: str) -> None:
    network = on_meta(vgg16)
    with pytest.raises(ValueError, match=message):
        modify_layers(network, method, **options)
    assert not changed_places(network)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((0,), "layers: found 0; expected a number from 1 to 8, counted from the input"),
        ((9,), "found 9"),
        ((-1,), "found -1"),
        (("first",), "layers: found 'first'; expected 'last', or numbers counted from 1"),
        (([1, 9],), "found 9"),
        (([1, "last"],), "found 'last'"),
        (([3, 5, 3],), "layer 3 is shuffled already"),
        (("last", "patch"), "patch: found None; expected a side of at least 1 position for method 'patch'"),
    ],
)
def test_mistakes_in_the_short_form(arguments: tuple[Any, ...], message: str) -> None:
    network = on_meta(resnet18)
    with pytest.raises(ValueError, match=message):
        shuffle_layers(network, *arguments)
    assert not changed_places(shuffle_layers(network, []))


def test_the_short_form_counts_all_layers_and_runs_the_network_with_the_example() -> None:
    changed = [change.layer for change in list_changes(shuffle_layers(thin("convnext"), "last"))]
    assert changed == [4, 4]  # the first is the stem, the third a convolution between the blocks
    one_size = nn.Sequential(same_size(channels=3), nn.Flatten(), nn.Linear(4 * 16 * 16, 2))
    assert changed_places(shuffle_layers(one_size, 1, example=16)) == ["0.input_shuffle"]


@pytest.mark.parametrize("shortcut", [True, False])
def test_shuffled_already(shortcut: bool) -> None:
    network = shuffle_layers(on_meta(resnet18), [2, 8], shortcut=shortcut)
    for layers in ("last", 8, [1, 2]):
        with pytest.raises(ValueError, match="shuffled already"):
            shuffle_layers(network, layers, "channel")
    assert {module.key[0] for module in shuffles(network)} == {2, 8}
    network = on_meta(resnet50)
    with pytest.raises(ValueError, match=r"layer4\.2\.conv1 is shuffled already"):
        modify_layers(network, "spatial", names=["layer4.2", "layer4.2.conv1"])
    assert not changed_places(network)


@pytest.mark.parametrize("method", ["spatial", "gap_fc"])
def test_a_perceptron_has_no_layers(method: Any) -> None:
    with pytest.raises(ValueError, match="found Perceptron, no layer of which sees a 2-d map"):
        modify_layers(perceptron(), method, last=1)


# ---------------------------------------------------------------- compiled, and in several processes


def test_compiled_as_one_graph_and_switched_at_run_time() -> None:
    torch.compiler.reset()
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 4, 3), BasicBlock(4, 4)).eval()
    modify_layers(network, "spatial", layer=1, example=6)
    modify_layers(network, "patch", names=["0"], patch=2, eval=False, example=6)
    compiled: Any = torch.compile(network, fullgraph=True, backend="aot_eager")
    x = torch.randn(2, 3, 6, 6)
    with torch.no_grad():
        for settings in ({"eval": True}, {"eval": False}):
            set_shuffling(network, **settings)
            found = []
            for run in (compiled, network):
                seek_shuffles(network, 1, 2)
                found.append([run(x) for _ in range(2)])
            torch.testing.assert_close(found[0], found[1])
            assert found[0][0].equal(found[0][1]) != settings["eval"]
    for wrapped in (compiled, nn.DataParallel(network)):
        with pytest.raises(ValueError, match="expected the network itself: change it before it is wrapped"):
            modify_layers(wrapped, "spatial", last=1)


def test_processes_draw_for_themselves_and_share_their_gradients(
    in_two_processes: Callable[..., None], tmp_path: Path
) -> None:
    def train(rank: int) -> None:
        network = modify_layers(thin("vgg16"), "spatial", last=2)
        wrapped = nn.parallel.DistributedDataParallel(network)
        seen: list[tuple[Tensor, Tensor]] = []
        first = next(shuffles(network))
        first.register_forward_hook(lambda module, inputs, output: seen.append((inputs[0], output)))
        for step in (1, 2):
            seek_shuffles(wrapped, 0, step)
            wrapped(IMAGES).sum().backward()
        gradients = [parameter.grad for parameter in network.parameters()]
        torch.save({"seen": seen, "gradients": gradients}, tmp_path / f"rank{rank}.pt")

    in_two_processes(train)
    first, second = (torch.load(tmp_path / f"rank{rank}.pt") for rank in (0, 1))
    for (given, shuffled), (same, other) in zip(first["seen"], second["seen"], strict=True):
        assert given.equal(same)  # the same images and weights …
        assert is_reordered(shuffled, other)
    torch.testing.assert_close(first["gradients"], second["gradients"])


# ---------------------------------------------------------------- one draw for export


@pytest.mark.parametrize(("kind", "method"), [("resnet18", "spatial"), ("vit", "mean")])
def test_a_fixed_draw_is_exported_and_undone(kind: str, method: Any, tmp_path: Any) -> None:
    network = modify_layers(thin(kind), method, last=2, example=32).eval()
    names, upcoming = list(network.state_dict()), [shuffle.stream for shuffle in shuffles(network)]
    images = torch.randn(2, 3, 32, 32)
    with torch.no_grad(), fix_draws(network, 3, example=32):
        assert not needs_passes(network)
        expected = network(images)
        assert network(images).equal(expected)
        assert list(network.state_dict()) == names
        batch = {0: torch.export.Dim("batch", min=1)}
        program = torch.export.export(network, (images,), dynamic_shapes=(batch,))
        with pytest.raises(ValueError, match="found draws that are fixed already; expected close"):
            fix_draws(network, example=32)
    assert [shuffle.stream for shuffle in shuffles(network)] == upcoming
    seek_shuffles(network, 3, 0)
    with torch.no_grad():
        assert network(images).equal(expected)
        assert network(images).equal(expected) == (method == "mean")
        torch.testing.assert_close(program.module()(images[:1]), expected[:1], rtol=0, atol=1e-4)
        if kind == "resnet18":
            pytest.importorskip("onnxscript")
            onnxruntime = pytest.importorskip("onnxruntime")
            torch.onnx.export(program, f=tmp_path / "a.onnx", dynamo=True, verbose=False, input_names=["x"])
            session = onnxruntime.InferenceSession(tmp_path / "a.onnx", providers=["CPUExecutionProvider"])
            found = torch.from_numpy(session.run(None, {"x": images.numpy()})[0])
            torch.testing.assert_close(found, expected, rtol=0, atol=1e-4)


def test_draws_that_cannot_be_fixed() -> None:
    with pytest.raises(ValueError, match="found VGG without a shuffle"):
        fix_draws(thin("vgg16"))
    network = modify_layers(thin("vgg16"), "spatial", last=3)
    modify_layers(network, "channel", layer=2, per_image=True)
    with pytest.raises(ValueError, match="found per_image=True, a draw for each image"):
        fix_draws(network)
    assert not any(shuffle.is_fixed for shuffle in shuffles(network))
    network = modify_layers(thin("resnet18"), "spatial", last=3)
    fixed = fix_draws(network)
    with pytest.raises(ValueError, match="found a map of 16x16x16; expected 16x8x8, for which fix_draws"):
        network(torch.randn(1, 3, 64, 64))
    fixed.close()
    network(torch.randn(1, 3, 64, 64))
