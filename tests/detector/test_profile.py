"""Networks whose need of space is known, what a profile leaves behind, and what it does not do twice."""

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torchvision
from torch import Tensor, nn
from torchvision.models.convnext import CNBlockConfig

from detector import list_layers, modify_layers, profile, resnet18, resnet50, seek_shuffles, vgg16
from detector.intervene import remove_shuffles, shuffles, without_shuffles
from detector.profiling import Profile, ProfileRow
from detector.yolo import YOLO

CLASSES, SIDE, IMAGES = 8, 8, 64


class Plain(nn.Module):
    """One 3×3 convolution for each channel that hands its input on, and a way to read the map behind it."""

    def __init__(self, read: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.first = nn.Conv2d(CLASSES, CLASSES, 3, padding=1, groups=CLASSES, bias=False)
        self.second = nn.Conv2d(CLASSES, CLASSES, 3, padding=1, groups=CLASSES, bias=False)
        for layer in (self.first, self.second):
            nn.init.zeros_(layer.weight)
            layer.weight.data[:, :, 1, 1] = 1
        self.read = read
        self.image_size = SIDE

    def forward(self, images: Tensor) -> Tensor:
        return self.read(self.second(self.first(images).relu()).relu())


def accuracy_on(images: Tensor, labels: Tensor) -> Callable[[nn.Module], float]:
    @torch.no_grad()
    def evaluate(network: nn.Module) -> float:
        assert not network.training
        return (network(images).argmax(1) == labels).double().mean().item()

    return evaluate


def bright_channel() -> tuple[Tensor, Tensor]:
    """Images whose class is the channel that is brightest on average."""
    labels = torch.arange(IMAGES) % CLASSES
    images = torch.rand(IMAGES, CLASSES, SIDE, SIDE, dtype=torch.double)
    images[torch.arange(IMAGES), labels] += 0.5
    return images, labels


def bright_place() -> tuple[Tensor, Tensor]:
    """Images whose class is the place of the one bright position in the first row, in all channels alike."""
    labels = torch.arange(IMAGES) % CLASSES
    images = torch.zeros(IMAGES, CLASSES, SIDE, SIDE, dtype=torch.double)
    images[torch.arange(IMAGES), :, 0, labels] = 1
    return images, labels


def tiny(kind: str) -> Any:
    torch.manual_seed(0)
    if kind == "vit":
        network: Any = torchvision.models.VisionTransformer(
            32, 8, num_layers=2, num_heads=2, hidden_dim=16, mlp_dim=8
        )
        nn.init.normal_(network.heads.head.weight)
        return network
    if kind == "convnext":
        return torchvision.models.ConvNeXt([CNBlockConfig(8, 16, 1), CNBlockConfig(16, None, 1)], 0.0, 1.0)
    if kind == "vgg16":
        return vgg16(10, width=0.1)
    return resnet18(10, stem="small", width=0.125)


def spread_of(images: Tensor) -> Callable[[nn.Module], float]:
    @torch.no_grad()
    def evaluate(network: nn.Module) -> float:
        return network(images).double().square().sum().item()

    return evaluate


PICTURES = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))


# ---------------------------------------------------------------- networks that are known


def test_a_network_blind_to_space_has_a_flat_profile() -> None:
    network = Plain(lambda x: x.mean((2, 3))).double()
    found = profile(network, accuracy_on(*bright_channel()), methods=["spatial", "patch"], passes=3)
    assert found.baseline().mean == 1.0
    assert [(row.layer, row.method, row.patch) for row in found.rows[1:]] == [
        *((1, "patch", 2), (1, "patch", 4), (1, "spatial", None)),
        *((2, "patch", 2), (2, "patch", 4), (2, "spatial", None)),
    ]
    assert all(row.values == (1.0, 1.0, 1.0) for row in found.rows[1:])


def test_it_falls_where_the_channels_are_mixed_up() -> None:
    network = Plain(lambda x: x.mean((2, 3))).double()
    found = profile(network, accuracy_on(*bright_channel()), methods=["channel"], passes=40)
    for layer in (1, 2):
        # A permutation leaves one of its elements where it is on average: chance, exactly.
        assert found.at(layer, "channel").mean == pytest.approx(1 / CLASSES, abs=0.1)


def test_a_network_that_reads_positions_falls_to_chance_and_patches_tell_how_far_it_looks() -> None:
    network = Plain(lambda x: x[:, :, 0].sum(1)).double()  # the first row, over all channels
    found = profile(network, accuracy_on(*bright_place()), passes=10)
    assert found.baseline().mean == 1.0
    for layer in (1, 2):
        assert found.at(layer, "channel").values == (1.0,) * 10
        by_patch = [found.at(layer, "patch", patch).mean for patch in (2, 4, 8)]
        assert 1 > by_patch[0] > by_patch[1] > by_patch[2]
        assert by_patch[2] == found.at(layer, "spatial").mean


def test_only_the_layer_before_which_order_counts_needs_it() -> None:
    network = Plain(lambda x: x.mean((2, 3))).double()
    # The first convolution now looks for a bright column; behind it only the amount counts.
    network.first.weight.data[:] = 0
    network.first.weight.data[:, :, :, 1] = 1 / 3
    network.second.weight.data *= 2
    images = torch.zeros(2, CLASSES, SIDE, SIDE, dtype=torch.double)
    images[0, :, :, 3] = 1
    images[1, :, 3, :] = 1

    def evaluate(network: nn.Module) -> float:
        column, row = (network(images) ** 2).sum(1).tolist()
        return float(column / row)

    network.read = lambda x: (x**2).mean((2, 3))
    found = profile(network, evaluate, methods=["spatial"], passes=5)
    baseline = found.baseline().mean
    assert found.at(2, "spatial").mean == pytest.approx(baseline)
    assert found.at(1, "spatial").mean < 0.7 * baseline


@pytest.mark.parametrize("kind", ["vit", "convnext", "vgg16", "resnet18"])
def test_any_network(kind: str) -> None:
    network = tiny(kind)
    found = profile(network, spread_of(PICTURES), patches=[2], passes=2, example=32)
    baseline = found.baseline()
    assert baseline is not None
    assert math.isnan(baseline.std)
    for layer in list_layers(network, 32):
        row = found.at(layer.number, "spatial")
        assert row is not None
        assert (row.name, row.percent) == (layer.name, layer.percent)
        assert (row.channels, row.height, row.width) == (layer.channels, layer.height, layer.width)
        for method in ("spatial", "channel"):
            values = found.at(layer.number, method).values
            # One position has no order to lose; else each draw is another, and none leaves all as it was.
            same = method == "spatial" and layer.height == 1
            assert len({baseline.mean, *values}) == (1 if same else 3), (layer, method)
        assert (layer.number, "patch") in {(r.layer, r.method) for r in found.rows} or layer.height <= 2


def test_a_detector_by_the_layers_of_its_backbone() -> None:
    detector = YOLO(resnet18(None, width=0.125), 3, 2, 1)
    pictures = torch.randn(1, 3, 64, 64)

    def evaluate(network: YOLO) -> dict[str, float]:
        with torch.no_grad():
            outputs = network(pictures)
        return {"mAP": outputs.mean().item(), "correct": math.nan}

    found = profile(detector, evaluate, methods=["spatial"], passes=2, example=64)
    assert found.layers == tuple(range(1, 9))
    assert found.measures == ("mAP", "correct")
    assert math.isnan(found.at(8, "spatial", measure="correct").mean)
    assert found.at(8, "spatial").name.startswith("backbone.")


# ---------------------------------------------------------------- the draws


def test_draws_depend_on_seed_pass_and_layer_alone() -> None:
    network, evaluate = tiny("vgg16"), spread_of(PICTURES)
    whole = profile(network, evaluate, passes=3, patches=[2])
    part = profile(network, evaluate, passes=2, layers=[5], methods=["channel"])
    assert part.at(5, "channel").values == whole.at(5, "channel").values[:2]
    other = profile(network, evaluate, passes=2, layers=[5], methods=["channel"], seed=1)
    assert not set(other.at(5, "channel").values) & set(part.at(5, "channel").values)


def test_an_evaluation_that_seeks_draws_itself_gets_others_in_each_pass() -> None:
    network = tiny("vgg16")
    trained: set[float] = set()

    def evaluate(network: nn.Module) -> float:
        seek_shuffles(network, -1, 0)
        return spread_of(PICTURES)(network)

    values = profile(network, evaluate, passes=4, layers=[5], methods=["spatial"]).at(5, "spatial").values
    assert len(set(values)) == 4
    modify_layers(network, "spatial", layer=5).eval()
    for seed in range(-4, 4):
        seek_shuffles(network, seed, 0)
        trained.add(spread_of(PICTURES)(network))
    assert not trained & set(values)


# ---------------------------------------------------------------- what it leaves behind


def trace(network: nn.Module) -> list[Any]:
    """Everything that a profile could leave behind in a network."""
    return [
        [(name, value.clone()) for name, value in network.state_dict().items()],
        [
            (
                name,
                module.training,
                list(module._modules),
                sorted(name for name in vars(module) if name != "training"),
                list(module._forward_pre_hooks.values()),
                list(module._forward_hooks.values()),
            )
            for name, module in network.named_modules()
        ],
        [(s.key, int(s.stream), s.in_training, s.in_evaluation) for s in shuffles(network)],
    ]


def same(one: list[Any], other: list[Any]) -> bool:
    names = [name for name, _ in one[0]] == [name for name, _ in other[0]]
    values = all(a.equal(b) for (_, a), (_, b) in zip(one[0], other[0], strict=True))
    return names and values and one[1:] == other[1:]


def user_hook(module: nn.Module, inputs: tuple[Any, ...]) -> None:
    """A hook of the user's own."""


@pytest.mark.parametrize("kind", ["resnet18", "resnet50", "vgg16", "vit"])
@pytest.mark.parametrize("broken", [False, True])
def test_the_network_is_left_exactly_as_it_was(kind: str, broken: bool) -> None:
    network = resnet50(10, stem="small", width=0.125) if kind == "resnet50" else tiny(kind)
    modify_layers(network, "spatial", last=2, eval=False, example=32)
    for module in list(network.modules())[::3]:
        module.register_forward_pre_hook(user_hook)
        module.train(not module.training)
    seek_shuffles(network, 5, 6)
    before = trace(network)
    calls = 0

    def evaluate(network: nn.Module) -> float:
        nonlocal calls
        calls += 1
        if broken and calls == 4:
            raise KeyboardInterrupt
        network.train(calls % 2 == 0)  # nothing of it lasts, nor reaches the next call
        return spread_of(PICTURES[:, :, :32])(network.eval())

    last = len(list_layers(network, 32))
    chosen = sorted({1, last - 1, last})
    options: Any = {"layers": chosen, "methods": ["spatial"], "passes": 2, "example": 32}
    if broken:
        with pytest.raises(KeyboardInterrupt):
            profile(network, evaluate, **options)
    else:
        assert profile(network, evaluate, **options).layers == tuple(chosen)
    assert same(trace(network), before)


def test_shuffles_of_the_networks_own_are_out_of_the_baseline() -> None:
    plain, shuffled = tiny("vgg16"), modify_layers(tiny("vgg16"), "spatial", last=4)
    expected = profile(plain, spread_of(PICTURES), layers=[3, 12], methods=["channel"], passes=2)
    assert profile(shuffled, spread_of(PICTURES), layers=[3, 12], methods=["channel"], passes=2) == expected
    assert len(list(shuffles(shuffled))) == 4


@pytest.mark.parametrize("kind", ["resnet18", "vgg16", "vit", "convnext"])
def test_taking_shuffles_out_is_the_inverse_of_putting_them_in(kind: str) -> None:
    network = tiny(kind)
    before = trace(network)
    expected = spread_of(PICTURES)(network.eval())
    modify_layers(network, "spatial", last=2, example=32)
    assert not same(trace(network.train()), before)
    assert same(trace(remove_shuffles(network)), before)
    assert spread_of(PICTURES)(network.eval()) == expected
    with without_shuffles(network):
        modify_layers(network, "patch", patch=2, last=1, example=32)
    assert same(trace(network.train()), before)


def test_a_shuffle_that_the_user_built_in_is_not_taken_out() -> None:
    from detector import SpatialShuffle

    network = nn.Sequential(nn.Conv2d(3, 4, 3), SpatialShuffle(1), nn.Conv2d(4, 4, 3), nn.Flatten())
    assert len(remove_shuffles(network)) == 4
    before = trace(network)
    profile(network, spread_of(PICTURES), methods=["channel"], passes=2, example=32)
    assert same(trace(network), before)


# ---------------------------------------------------------------- going on, and several numbers


def test_what_is_known_is_not_measured_again() -> None:
    network, calls = tiny("vgg16"), 0

    def evaluate(network: nn.Module) -> float:
        nonlocal calls
        calls += 1
        if calls == 8:
            raise OSError("the disk is full")
        return spread_of(PICTURES)(network)

    options: Any = {"layers": [4, 5], "methods": ["spatial", "channel"], "passes": 3}
    rows: list[ProfileRow] = []
    steps: list[tuple[int, int]] = []

    def progress(new: Any, done: int, total: int) -> None:
        rows.extend(new)
        steps.append((done, total))

    with pytest.raises(OSError, match="full"):
        profile(network, evaluate, progress=progress, **options)
    assert steps == [(1, 5), (2, 5), (3, 5)]
    resumed = profile(network, evaluate, known=rows, progress=progress, **options)
    assert steps[3:] == [(4, 5), (5, 5)]
    assert calls == 8 + 6
    assert resumed == profile(network, spread_of(PICTURES), **options)
    # Everything is known now; of fewer passes than asked for, nothing is, but for the baseline.
    assert profile(network, evaluate, known=resumed.rows, **options) == resumed
    assert calls == 14
    profile(network, evaluate, known=resumed.rows, **{**options, "passes": 4})
    assert calls == 14 + 4 * 4


def test_rows_that_are_not_asked_for_stay() -> None:
    network, evaluate = tiny("vgg16"), spread_of(PICTURES)
    first = profile(network, evaluate, layers=[4], methods=["spatial"], passes=2)
    both = profile(network, evaluate, layers=[3], methods=["channel"], passes=2, known=first.rows)
    assert [(row.layer, row.method) for row in both.rows] == [(0, "none"), (3, "channel"), (4, "spatial")]


def test_several_numbers_a_pass() -> None:
    count = 0

    def evaluate(network: nn.Module) -> dict[str, float]:
        nonlocal count
        count += 1
        return {"loss": float(count), "accuracy": 0.5}

    found = profile(tiny("vgg16"), evaluate, layers=[2], methods=["spatial"], passes=3)
    assert found.measures == ("loss", "accuracy")
    row = found.at(2, "spatial", measure="loss")
    assert row is not None
    assert (row.values, row.mean, row.std) == ((2.0, 3.0, 4.0), 3.0, 1.0)
    assert found.at(2, "spatial", measure="accuracy").std == 0
    assert found.at(2, "channel") is None
    assert "3.0000 ± 1.0000" in str(found)


def test_an_empty_table() -> None:
    found = Profile.of([])
    assert (found.measures, found.layers, found.baseline()) == ((), (), None)
    assert str(found).split() == ["layer", "size", "method"]


# ---------------------------------------------------------------- patches, and layers that have none


def test_a_patch_as_large_as_the_map_is_measured_once_as_the_spatial_shuffle() -> None:
    network, evaluate = tiny("vgg16"), spread_of(PICTURES)
    found = profile(network, evaluate, layers=[5], patches=[16, 8, 4], methods=["patch", "spatial"], passes=1)
    assert list_layers(network)[4].height == 8
    assert [(row.method, row.patch) for row in found.rows[1:]] == [("patch", 4), ("spatial", None)]
    assert found.at(5, "patch", 8) is found.at(5, "patch", 16) is found.at(5, "spatial")


def test_averaged_layers_are_passed_over() -> None:
    network = modify_layers(vgg16(10, width=0.1), "gap_fc", last=4)
    found = profile(network, spread_of(PICTURES), methods=["channel"], passes=1)
    assert found.layers == tuple(range(1, 10))
    with pytest.raises(ValueError, match="layer 11 is averaged already"):
        profile(network, spread_of(PICTURES), layers=[1, 11])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"methods": ["spatail"]}, "methods: found 'spatail'.*did you mean 'spatial'"),
        ({"methods": ["gap_fc"]}, "methods: found 'gap_fc'; expected spatial, patch, channel"),
        ({"methods": "spatial"}, "methods: found 'spatial'; expected a list"),
        ({"methods": []}, "methods: found"),
        ({"patches": [0]}, "patches: found 0; expected sides of at least 2"),
        ({"patches": []}, "patches: found none"),
        ({"patches": [2.5]}, "patches: found 2.5; expected sides of at least 2"),
        ({"passes": 0}, "passes: found 0"),
        ({"passes": 1.5}, "passes: found 1.5; expected a number of at least 1"),
        ({"layers": [14]}, "layers: found 14; expected a number from 1 to 13"),
    ],
)
def test_mistakes_are_found_before_anything_is_measured(options: Any, message: str) -> None:
    def evaluate(network: nn.Module) -> float:
        raise AssertionError("measured")

    with pytest.raises(ValueError, match=message):
        profile(tiny("vgg16"), evaluate, **options)


@pytest.mark.parametrize(
    "wrap",
    [nn.DataParallel, lambda network: torch.compile(network, backend="eager")],
    ids=["parallel", "compiled"],
)
def test_a_wrapped_network_is_told_at_once(wrap: Callable[[nn.Module], nn.Module]) -> None:
    with pytest.raises(ValueError, match=r"network: found .*: change it before it is wrapped"):
        profile(wrap(tiny("vgg16")), lambda network: 0.0)


@pytest.mark.parametrize(
    ("results", "message"),
    [
        ([None], "evaluate: found None; expected a number"),
        ([{}], "evaluate: found no number; expected at least one"),
        ([{"a": "many"}], "evaluate: found {'a': 'many'}"),
    ],
)
def test_an_evaluation_without_a_number(results: list[Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        profile(tiny("vgg16"), lambda network: results[0])


def test_an_evaluation_with_other_numbers_each_time() -> None:
    names = iter(["a", "a", "b"])
    with pytest.raises(ValueError, match="evaluate: found b; expected a, as the first time"):
        profile(tiny("vgg16"), lambda network: {next(names): 1.0})


def test_sizes_are_those_of_the_images_that_evaluate_gives() -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 2, 3, stride=2, padding=1))
    images, calls = torch.rand(2, 3, 12, 10), []

    def evaluate(network: nn.Sequential) -> float:
        calls.append(network(images).shape)
        return network(images).std().item()

    found = profile(network, evaluate, methods=["spatial", "patch"], passes=1)
    sizes = {(row.layer, row.channels, row.height, row.width) for row in found.rows if row.layer}
    assert sizes == {(1, 3, 12, 10), (2, 4, 12, 10)}
    assert found.patches == (2, 4, 8)
    assert len(calls) == len(found.rows)  # the baseline once too
    assert not network._forward_pre_hooks
    elsewhere = profile(network, evaluate, methods=["spatial"], passes=1, example=32)
    assert elsewhere.rows[-1].width == 32
