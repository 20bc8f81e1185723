"""Taking information away from chosen layers: each method does what it says, and only where it says so."""

import copy
import multiprocessing
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torchvision.models.resnet import BasicBlock

from detector import (
    modify_layers,
    perceptron,
    resnet18,
    resnet50,
    seek_shuffles,
    set_shuffling,
    shuffle_layers,
    vgg16,
)
from detector.intervene import fully_connected, shuffles
from detector.layers import FullyConnected, residual_blocks
from detector.shuffle import Shuffle, spatial_shuffle, stream_of

THIN = 1 / 16
METHODS: dict[str, dict[str, Any]] = {"spatial": {}, "patch": {"patch": 3}, "channel": {}}
each_shuffle = pytest.mark.parametrize("method", METHODS)


def thin_vgg(classes: int = 5) -> nn.Module:
    torch.manual_seed(0)
    return vgg16(classes, width=THIN)


def thin_resnet(classes: int = 5) -> nn.Module:
    torch.manual_seed(0)
    return resnet18(classes, stem="small", width=THIN)


def on_meta(make: Callable[[], nn.Module]) -> nn.Module:
    with torch.device("meta"):
        return make()


def places(network: nn.Module) -> list[str]:
    """Where something shuffles or averages, or has become fully connected."""
    return [
        name
        for name, module in network.named_modules()
        if isinstance(module, Shuffle | FullyConnected) or name.endswith("input_average")
    ]


def entering(network: nn.Module, name: str, images: Tensor) -> tuple[Tensor, Tensor]:
    """What enters a module before and after what was put there, in one pass."""
    seen: list[Tensor] = []

    def keep(module: nn.Module, inputs: tuple[Any, ...]) -> None:
        seen.append(inputs[0].clone())

    module = network.get_submodule(name)
    handles = [module.register_forward_pre_hook(keep, prepend=True), module.register_forward_pre_hook(keep)]
    with torch.no_grad():
        network(images)
    for handle in handles:
        handle.remove()
    return seen[0], seen[1]


# ---------------------------------------------------------------- which layers


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
    ],
)
def test_exactly_those_layers(chosen: dict[str, Any], expected: list[int]) -> None:
    network = on_meta(vgg16)
    assert modify_layers(network, "spatial", **chosen) is network
    assert places(network) == [f"features.{number}.input_shuffle" for number in expected]


def test_all_thirteen() -> None:
    network = modify_layers(thin_vgg(), "patch", last=13, patch=5)
    keys = {shuffle.key for shuffle in shuffles(network)}
    assert keys == {(number, 1) for number in range(1, 14)}
    assert network(torch.randn(2, 3, 32, 32)).shape == (2, 5)


def test_the_short_form_is_the_same() -> None:
    long, short = modify_layers(on_meta(resnet50), "channel", last=1), on_meta(resnet50)
    shuffle_layers(short, "last", "channel")
    assert places(long) == places(short) == ["layer4.2.conv2.input_shuffle", "layer4.2.downsample"]
    assert [shuffle.key for shuffle in shuffles(long)] == [shuffle.key for shuffle in shuffles(short)]


def test_convolutions_of_a_block_by_name() -> None:
    network = modify_layers(on_meta(resnet50), "spatial", names=["layer4.2.conv1", "layer1.0"])
    assert places(network) == [
        "layer1.0.conv2.input_shuffle",
        "layer1.0.downsample.0.input_shuffle",
        "layer4.2.conv1.input_shuffle",
    ]


def test_several_methods_in_one_network() -> None:
    network = modify_layers(thin_vgg(), "patch", layers=[2, 3], patch=4)
    modify_layers(network, "channel", layer=9)
    modify_layers(network, "gap_fc", last=2)
    assert network(torch.randn(2, 3, 32, 32)).shape == (2, 5)
    for layer, done in ((3, "shuffled"), (9, "shuffled"), (12, "averaged")):
        with pytest.raises(ValueError, match=f"layer {layer} is {done} already"):
            modify_layers(network, "spatial", layer=layer)


# ---------------------------------------------------------------- what a shuffle does


@each_shuffle
def test_what_a_layer_of_vgg_sees(method: Any) -> None:
    network = modify_layers(thin_vgg(), method, layer=8, **METHODS[method])  # a 4×4 map after pooling
    before, after = entering(network, "features.24", torch.randn(2, 3, 32, 32))
    assert before.shape == (2, 16, 4, 4)
    assert not after.equal(before)
    if method == "channel":
        assert after.sort(1).values.equal(before.sort(1).values)
        assert all(any(plane.equal(other) for other in before[0]) for plane in after[0])
    else:
        assert after.flatten(2).sort().values.equal(before.flatten(2).sort().values)
        assert before.any(0).flatten(1).any(1).all()  # no dead map, which any order would keep
    if method == "patch":
        assert after[..., 3, 3].equal(before[..., 3, 3])  # a patch by itself in the corner
        corner = [x[..., :3, :3].flatten(2).sort().values for x in (before, after)]
        assert corner[0].equal(corner[1])


def test_draws_are_of_seed_step_and_layer() -> None:
    network = modify_layers(thin_vgg(), "spatial", layers=[8, 9])
    images = torch.randn(2, 3, 32, 32)
    for seed, step in ((0, 7), (3, 7)):
        seek_shuffles(network, seed, step)
        before, after = entering(network, "features.27", images)
        assert after.equal(spatial_shuffle(before, stream_of(seed, step, 9, 1)))


@each_shuffle
def test_an_order_for_each_image(method: Any) -> None:
    images = torch.randn(1, 3, 32, 32).expand(3, -1, -1, -1)
    for per_image in (False, True):
        network = modify_layers(thin_vgg(), method, layer=8, per_image=per_image, **METHODS[method]).eval()
        _, after = entering(network, "features.24", images)
        assert after[0].equal(after[1]) != per_image
        assert after[0].equal(after[2]) != per_image


@pytest.mark.parametrize("make", [thin_vgg, thin_resnet])
def test_state_dicts_go_both_ways(make: Callable[[], nn.Module]) -> None:
    plain, network = make(), modify_layers(make(), "spatial", last=3)
    assert list(network.state_dict()) == list(plain.state_dict())
    plain.load_state_dict(network.state_dict(), strict=True)
    network.load_state_dict(plain.state_dict(), strict=True)
    images = torch.randn(2, 3, 32, 32)
    assert set_shuffling(network, eval=False).eval()(images).equal(plain.eval()(images))


def test_variants_start_alike() -> None:
    plain = thin_vgg().state_dict()
    for method, options in {**METHODS, "gap_fc": {}}.items():
        state = modify_layers(thin_vgg(), method, last=2, **options).state_dict()  # type: ignore[arg-type]
        changed = {name for name in plain if not state[name].equal(plain[name])}
        assert changed == ({"features.37.weight", "features.40.weight"} if method == "gap_fc" else set())


def test_channels_last_and_autocast() -> None:
    network = modify_layers(thin_vgg(), "spatial", last=13).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    images = torch.randn(2, 3, 32, 32).contiguous(memory_format=torch.channels_last)
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
    images = torch.randn(2, 3, 32, 32)
    made = modify_layers(thin_resnet(), "spatial", last=1, train=train, eval=evaluate)
    for network in (made, set_shuffling(shuffle_layers(thin_resnet(), "last"), train=train, eval=evaluate)):
        for training, shuffled in ((True, train), (False, evaluate)):
            before, after = entering(network.train(training), "layer4.1.conv1", images)
            assert after.equal(before) != shuffled


@pytest.mark.parametrize("make", [thin_vgg, thin_resnet])
def test_a_network_in_evaluation_mode_is_shuffled_in_it(make: Callable[[], nn.Module]) -> None:
    network = modify_layers(make().eval(), "spatial", last=1, eval=False)
    assert not any(module.training for module in network.modules())
    images = torch.randn(2, 3, 32, 32)
    assert network(images).equal(make().eval()(images))


def test_what_is_not_said_stays() -> None:
    network = modify_layers(thin_vgg(), "channel", last=2, train=False)
    assert set_shuffling(network, eval=False) is network
    assert {(s.in_training, s.in_evaluation) for s in shuffles(network)} == {(False, False)}
    set_shuffling(network, train=True)
    assert {(s.in_training, s.in_evaluation) for s in shuffles(network)} == {(True, False)}


def test_a_part_in_evaluation_mode_follows_it() -> None:
    network = modify_layers(thin_vgg(), "spatial", layers=[8, 9], eval=False).train()
    network.get_submodule("features.24").eval()
    images = torch.randn(2, 3, 32, 32)
    for name, shuffled in (("features.24", False), ("features.27", True)):
        before, after = entering(network, name, images)
        assert after.equal(before) != shuffled


def test_nothing_to_set() -> None:
    with pytest.raises(ValueError, match="found VGG without a shuffle; expected one that modify_layers"):
        set_shuffling(thin_vgg(), train=False)


# ---------------------------------------------------------------- GAP+FC


def permuted(x: Tensor) -> Tensor:
    """Each image's positions in one random order."""
    return x.flatten(2)[..., torch.randperm(x[0, 0].numel())].view(x.shape)


def test_gap_fc_of_vgg_is_blind_to_the_order_of_the_map() -> None:
    network: Any = modify_layers(thin_vgg(), "gap_fc", last=4).double().eval()
    tail = network.features[30:]
    x = torch.randn(2, 32, 4, 4, dtype=torch.float64)
    with torch.no_grad():
        assert tail(x).shape == (2, 32, 1, 1)
        torch.testing.assert_close(tail(x), tail(permuted(x)))
        torch.testing.assert_close(tail(x), tail(x.mean((2, 3), keepdim=True)))
        assert not tail(x).allclose(tail(x.flip(1)))
        assert not network.features[27:30](x).allclose(network.features[27:30](permuted(x)))


@pytest.mark.parametrize(("make", "last"), [(resnet18, 1), (resnet50, 2)])
def test_gap_fc_of_a_resnet_is_blind_to_the_order_of_the_map(
    make: Callable[..., nn.Module], last: int
) -> None:
    torch.manual_seed(0)
    network = make(5, stem="small", width=THIN)
    count = len(residual_blocks(network))
    modify_layers(network, "gap_fc", layers=range(count - last + 1, count + 1)).double().eval()
    blocks = nn.Sequential(*residual_blocks(network)[-last:])
    x = torch.randn(2, network.out_channels, 4, 4, dtype=torch.float64)  # type: ignore[call-overload]
    with torch.no_grad():
        assert blocks(x).shape == (2, network.out_channels, 1, 1)
        torch.testing.assert_close(blocks(x), blocks(permuted(x)))
    assert network(torch.randn(2, 3, 32, 32).double()).shape == (2, 5)


def test_gap_fc_is_what_the_definition_says() -> None:
    network: Any = modify_layers(thin_vgg(), "gap_fc", last=1).double().eval()
    convolution, norm = network.features[40], network.features[41]
    x = torch.randn(2, 32, 2, 2, dtype=torch.float64)
    with torch.no_grad():
        expected = norm(
            (x.mean((2, 3)) @ convolution.weight.flatten(1).T + convolution.bias)[..., None, None]
        )
        torch.testing.assert_close(network.features[40:](x), expected.relu())


def test_gap_fc_keeps_names_and_replaces_all_larger_convolutions() -> None:
    plain, network = on_meta(resnet50), modify_layers(on_meta(resnet50), "gap_fc", last=4)
    assert list(network.state_dict()) == list(plain.state_dict())
    large = [
        name
        for name, module in network.named_modules()
        if isinstance(module, nn.Conv2d) and module.kernel_size != (1, 1)
    ]
    assert large[-1] == "layer3.4.conv2"
    assert places(network)[:2] == ["layer3.5.conv2", "layer3.5.input_average"]


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
    assert not layer.weight.requires_grad
    assert layer.bias is not None
    assert layer.bias.requires_grad


def test_a_fully_connected_layer_starts_as_one() -> None:
    torch.manual_seed(0)
    convolution = nn.Conv2d(256, 256, 3)
    nn.init.kaiming_normal_(convolution.weight, mode="fan_out", nonlinearity="relu")
    weight = fully_connected(convolution).weight
    assert float(weight.detach().std()) == pytest.approx((2 / 256) ** 0.5, rel=0.02)  # kaiming's for 1×1


def test_gap_fc_in_a_network_of_ones_own() -> None:
    def make(end: list[nn.Module]) -> nn.Module:
        block = nn.Sequential(nn.Conv2d(4, 4, 3, stride=2), nn.GELU(), nn.AvgPool2d(2))
        return nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), block, *end)

    pooled = make([nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2)])
    network = modify_layers(pooled, "gap_fc", last=1, example=16)
    assert places(network) == ["2.0", "2.0.input_average"]
    assert network(torch.randn(1, 3, 16, 16)).shape == (1, 2)

    flat = make([nn.Flatten(), nn.Linear(4 * 3 * 3, 2)])
    before = dict(flat.named_modules())
    with pytest.raises(ValueError, match="method 'gap_fc': network: found Sequential, which cannot be run"):
        modify_layers(flat, "gap_fc", last=1, example=16)
    assert dict(flat.named_modules()) == before
    assert flat(torch.randn(1, 3, 16, 16)).shape == (1, 2)


def test_gap_fc_where_a_module_stands_in_several_places() -> None:
    torch.manual_seed(0)
    pool, shared = nn.MaxPool2d(3, 2, 1), nn.Conv2d(4, 4, 3, padding=1)
    first = nn.Conv2d(3, 4, 3, padding=1)
    chain = [first, pool, nn.Sequential(shared, nn.ReLU(), pool), shared]
    network = nn.Sequential(*chain, nn.AdaptiveAvgPool2d(1), nn.Flatten()).eval()
    names = list(network.state_dict())
    x = torch.randn(2, 3, 16, 16)
    weight, averaged = shared.weight.sum((2, 3)), pool(first(x)).mean((2, 3))
    expected = (averaged @ weight.T + shared.bias).relu() @ weight.T + shared.bias  # type: ignore[operator]
    modify_layers(network, "gap_fc", last=1, example=16)
    torch.testing.assert_close(network(x), expected)
    assert network[1] is pool
    assert network[2][0] is network[3]  # type: ignore[index]
    assert list(network.state_dict()) == names


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda network: pickle.loads(pickle.dumps(network))])
def test_copies(copied: Callable[[nn.Module], nn.Module]) -> None:
    network = modify_layers(modify_layers(thin_vgg(), "gap_fc", last=2), "spatial", layer=5).eval()
    twin = copied(network)
    images = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        assert network(images).equal(twin(images))


# ---------------------------------------------------------------- mistakes


@pytest.mark.parametrize(
    ("method", "options", "message"),
    [
        (
            "spatail",
            {"last": 1},
            "method: found 'spatail'; expected one of channel, .*; did you mean 'spatial'",
        ),
        ("gap+fc", {"last": 1}, "did you mean 'gap_fc'"),
        ("spatial", {"last": 14}, "last: found 14; expected a number of layers from 0 to 13"),
        ("spatial", {"last": -1}, "last: found -1"),
        ("spatial", {"last": "2"}, "last: found '2'"),
        ("spatial", {"layer": 0}, "layer: found 0; expected a number from 1 to 13, counted from the input"),
        ("spatial", {"layers": [1, 14]}, "layers: found 14; expected a number from 1 to 13"),
        ("spatial", {"layers": [2, 2]}, "layer 2 is shuffled already"),
        ("spatial", {}, "layers: found none; expected one of last=k, layer=n"),
        ("spatial", {"last": 1, "names": ["features.0"]}, "found last and names; expected one of"),
        (
            "spatial",
            {"names": ["features.1"]},
            "a BatchNorm2d that sees 1x64x32x32; .* did you mean 'features",
        ),
        ("spatial", {"names": ["feature.40"]}, "found 'feature.40'; .* did you mean 'features.40'"),
        ("spatial", {"names": ["classifier.0"]}, "a Linear that sees 1x512; expected .* a 2-d map"),
        ("spatial", {"last": 1, "patch": 2}, "patch: found 2; expected none, as method 'spatial' takes no"),
        ("patch", {"last": 1}, "patch: found None; expected a side of at least 1 position"),
        ("patch", {"last": 1, "patch": 0}, "patch: found 0; expected a side of at least 1 position"),
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
    assert not places(network)


def test_a_block_and_a_part_of_it() -> None:
    network = on_meta(resnet50)
    with pytest.raises(ValueError, match=r"layer4\.2\.conv1 is shuffled already"):
        modify_layers(network, "spatial", names=["layer4.2", "layer4.2.conv1"])
    assert not places(network)


@pytest.mark.parametrize("method", ["spatial", "gap_fc"])
def test_a_perceptron_has_no_layers(method: Any) -> None:
    with pytest.raises(ValueError, match="found Perceptron, no layer of which sees a 2-d map"):
        modify_layers(perceptron(), method, last=1)


def test_wrapped_networks() -> None:
    for wrapped in (torch.compile(thin_vgg()), nn.DataParallel(thin_vgg())):
        with pytest.raises(ValueError, match="expected the network itself: change it before it is wrapped"):
            modify_layers(wrapped, "spatial", last=1)  # type: ignore[type-var]


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


def train_in_one_of_two(rank: int, folder: Path) -> None:
    """One process of two that train together; saves what its first shuffle did and its gradients."""
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", f"file://{folder}/store", rank=rank, world_size=2)
    network = modify_layers(thin_vgg(), "spatial", last=2)
    wrapped = nn.parallel.DistributedDataParallel(network)
    seen: list[tuple[Tensor, Tensor]] = []
    first = next(shuffles(network))
    first.register_forward_hook(lambda module, inputs, output: seen.append((inputs[0], output)))
    images = torch.randn(2, 3, 32, 32)
    for step in (1, 2):
        seek_shuffles(wrapped, 0, step)
        wrapped(images).sum().backward()
    gradients = [parameter.grad for parameter in network.parameters()]
    torch.save({"seen": seen, "gradients": gradients}, folder / f"rank{rank}.pt")
    torch.distributed.destroy_process_group()


@pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="needs fork()")
def test_processes_draw_for_themselves_and_share_their_gradients(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")  # a new interpreter would import torch for seconds
    children = [context.Process(target=train_in_one_of_two, args=(rank, tmp_path)) for rank in (0, 1)]
    try:
        for child in children:
            child.start()
        for child in children:
            child.join(timeout=300)
        assert [child.exitcode for child in children] == [0, 0]
    finally:
        for child in children:
            child.kill()
    first, second = (torch.load(tmp_path / f"rank{rank}.pt") for rank in (0, 1))
    for (entering, shuffled), (same, other) in zip(first["seen"], second["seen"], strict=True):
        assert entering.equal(same)  # the same images and weights …
        assert not shuffled.equal(other)  # … in another order
        assert shuffled.flatten(2).sort().values.equal(other.flatten(2).sort().values)
    torch.testing.assert_close(first["gradients"], second["gradients"])
