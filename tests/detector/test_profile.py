"""Networks whose need of space is known, what a profile leaves behind, and what it does not do twice."""

import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from detector import (
    YOLO,
    Profile,
    ProfileRow,
    SpatialShuffle,
    compare,
    evaluate,
    list_layers,
    modify_layers,
    profile,
    remove_shuffles,
    resnet18,
    seek_shuffles,
    set_shuffling,
)
from detector.intervene import shuffles, without_shuffles
from detector.scores import u_centred_gram
from tests.detector.helpers import THIN, Net, thin

CLASSES, SIDE, IMAGES = 8, 8, 64
PICTURES = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))


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
        self.double()

    def forward(self, images: Tensor) -> Tensor:
        return self.read(self.second(self.first(images).relu()).relu())


def accuracy_on(images: Tensor, labels: Tensor) -> Callable[[nn.Module], float]:
    @torch.no_grad()
    def evaluate(network: nn.Module) -> float:
        assert not network.training
        return (network(images).argmax(1) == labels).double().mean().item()

    return evaluate


@torch.no_grad()
def spread(network: nn.Module) -> float:
    """A number that changes with every order of the positions."""
    return network(PICTURES).double().square().sum().item()  # type: ignore[no-any-return]


# ---------------------------------------------------------------- networks that are known


def test_a_network_blind_to_space_has_a_flat_profile() -> None:
    labels = torch.arange(IMAGES) % CLASSES
    images = torch.rand(IMAGES, CLASSES, SIDE, SIDE, dtype=torch.double)
    images[torch.arange(IMAGES), labels] += 0.5  # the class is the channel that is brightest on average
    evaluate = accuracy_on(images, labels)
    found: Any = profile(Plain(lambda x: x.mean((2, 3))), evaluate, methods=["spatial", "patch"], passes=3)
    assert [(row.layer, row.method, row.patch) for row in found.rows] == [
        (0, "none", None),
        *((1, "patch", 2), (1, "patch", 4), (1, "spatial", None)),
        *((2, "patch", 2), (2, "patch", 4), (2, "spatial", None)),
    ]
    assert all(set(row.values) == {1.0} for row in found.rows)


def test_a_network_that_reads_a_place_needs_space_and_no_channels() -> None:
    labels = torch.arange(IMAGES) % CLASSES
    images = torch.zeros(IMAGES, CLASSES, SIDE, SIDE, dtype=torch.double)
    images[torch.arange(IMAGES), :, 0, labels] = 1  # the class is the bright position of the first row
    network = Plain(lambda x: x[:, :, 0].sum(1))
    found: Any = profile(network, accuracy_on(images, labels), passes=10)
    assert found.baseline().mean == 1.0
    for layer in (1, 2):
        assert found.at(layer, "channel").values == (1.0,) * 10
        by_patch = [found.at(layer, "patch", patch).mean for patch in (2, 4, 8)]
        assert 1 > by_patch[0] > by_patch[1] > by_patch[2]
        assert by_patch[2] == found.at(layer, "spatial").mean


@pytest.mark.parametrize("kind", ["vit", "convnext", "vgg16", "resnet18"])
def test_any_network(kind: str) -> None:
    network = thin(kind, 10)
    found: Any = profile(network, spread, patches=[2], passes=2, example=32)
    assert math.isnan(found.baseline().std)
    for layer in list_layers(network, 32):
        row = found.at(layer.number, "channel")
        assert (row.name, row.percent) == (layer.name, layer.percent)
        assert (row.channels, row.height, row.width) == (layer.channels, layer.height, layer.width)
        for method in ("spatial", "channel") if layer.height > 1 else ("channel",):
            values = found.at(layer.number, method).values
            # Each draw is another, and none leaves all as it was.
            assert len({found.baseline().mean, *values}) == 3, (layer, method)
        # One position has no order to lose.
        assert (found.at(layer.number, "spatial") is None) == (layer.height == 1)
        assert (layer.number, "patch") in {(r.layer, r.method) for r in found.rows} or layer.height <= 2


def test_a_detector_by_the_layers_of_its_backbone() -> None:
    detector = YOLO(resnet18(None, width=THIN), 3, 2, 1, head_channels=8)
    pictures = torch.randn(1, 3, 64, 64)

    @torch.no_grad()
    def evaluate(network: YOLO) -> dict[str, float]:
        return {"mAP": network(pictures).mean().item(), "correct": math.nan}

    found: Any = profile(detector, evaluate, methods=["spatial"], passes=2, example=64)
    assert found.layers == tuple(range(1, 9))
    assert found.measures == ("mAP", "correct")
    assert math.isnan(found.at(8, "spatial", measure="correct").mean)
    assert found.at(8, "spatial").name.startswith("backbone.")


# ---------------------------------------------------------------- the draws


def test_draws_depend_on_seed_pass_and_layer_alone() -> None:
    network = thin("vgg16")
    whole: Any = profile(network, spread, passes=3, patches=[2], layers=[3, 5])
    part: Any = profile(network, spread, passes=2, layers=[5], methods=["channel"])
    assert part.at(5, "channel").values == whole.at(5, "channel").values[:2]
    other: Any = profile(network, spread, passes=2, layers=[5], methods=["channel"], seed=1)
    assert not set(other.at(5, "channel").values) & set(part.at(5, "channel").values)


def test_an_evaluation_that_seeks_draws_itself_gets_others_in_each_pass() -> None:
    network = thin("vgg16")

    def evaluate(network: nn.Module) -> float:
        seek_shuffles(network, -1, 0)
        return spread(network)

    found: Any = profile(network, evaluate, passes=4, layers=[5], methods=["spatial"])
    values = set(found.at(5, "spatial").values)
    assert len(values) == 4
    modify_layers(network, "spatial", layer=5).eval()
    for seed in range(-4, 4):
        seek_shuffles(network, seed, 0)
        assert spread(network) not in values


# ---------------------------------------------------------------- what it leaves behind


def trace(network: nn.Module) -> list[Any]:
    """Everything that a profile could leave behind in a network."""
    return [
        [(name, value.tolist()) for name, value in network.state_dict().items()],
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


def user_hook(module: nn.Module, inputs: tuple[Any, ...]) -> None:
    """A hook of the user's."""


@pytest.mark.parametrize("kind", ["resnet18", "resnet50", "vgg16", "vit"])
@pytest.mark.parametrize("broken", [False, True])
def test_the_network_is_left_exactly_as_it_was(kind: str, broken: bool) -> None:
    network = modify_layers(thin(kind), "spatial", last=2, eval=False, example=32)
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
        return spread(network.eval())

    last = len(list_layers(network, 32))
    options: Any = {"layers": {1, last - 1, last}, "methods": ["spatial"], "passes": 2, "example": 32}
    if broken:
        with pytest.raises(KeyboardInterrupt):
            profile(network, evaluate, **options)
    else:
        assert profile(network, evaluate, **options).layers == tuple(sorted(options["layers"]))
    assert trace(network) == before


def test_shuffles_of_the_network_are_out_of_the_baseline() -> None:
    options: Any = {"layers": [3, 12], "methods": ["channel"], "passes": 2}
    shuffled = modify_layers(thin("vgg16"), "spatial", last=4)
    assert profile(shuffled, spread, **options) == profile(thin("vgg16"), spread, **options)
    assert len(list(shuffles(shuffled))) == 4


@pytest.mark.parametrize("kind", ["resnet18", "vgg16", "vit", "convnext"])
def test_taking_shuffles_out_is_the_inverse_of_putting_them_in(kind: str) -> None:
    network = thin(kind)
    before = trace(network)
    expected = spread(network.eval())
    modify_layers(network, "spatial", last=2, example=32)
    assert trace(network.train()) != before
    assert trace(remove_shuffles(network)) == before
    assert spread(network.eval()) == expected
    modify_layers(network, "spatial", last=1, example=32)
    shuffled = trace(network)
    with without_shuffles(network):
        modify_layers(network, "patch", patch=2, last=2, example=32)
    assert trace(network) == shuffled


def test_a_shuffle_that_the_user_built_in_is_not_taken_out() -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 3), SpatialShuffle(1), nn.Conv2d(4, 4, 3), nn.Flatten())
    assert len(remove_shuffles(network)) == 4
    before = trace(network)
    profile(network, spread, methods=["channel"], passes=2, example=32)
    assert trace(network) == before


# ---------------------------------------------------------------- going on, and several numbers


def test_what_is_known_is_not_measured_again() -> None:
    network, calls = thin("vgg16"), 0

    def evaluate(network: nn.Module) -> float:
        nonlocal calls
        calls += 1
        if calls == 8:
            raise OSError("the disk is full")
        return spread(network)

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
    assert resumed == profile(network, spread, **options)
    # Everything is known now; of fewer passes than asked for, nothing is, but for the baseline.
    assert profile(network, evaluate, known=resumed.rows, **options) == resumed
    assert calls == 14
    profile(network, evaluate, known=resumed.rows, **{**options, "passes": 4})
    assert calls == 14 + 4 * 4
    # Rows that are not asked for stay.
    both = profile(network, spread, layers=[3], methods=["channel"], passes=2, known=rows[:2])
    assert [(row.layer, row.method) for row in both.rows] == [(0, "none"), (3, "channel"), (4, "spatial")]


def test_several_numbers_a_pass() -> None:
    count = 0

    def evaluate(network: nn.Module) -> dict[str, float]:
        nonlocal count
        count += 1
        return {"loss": float(count), "accuracy": 0.5}

    found: Any = profile(thin("vgg16"), evaluate, layers=[2], methods=["spatial"], passes=3)
    assert found.measures == ("loss", "accuracy")
    row = found.at(2, "spatial", measure="loss")
    assert (row.values, row.mean, row.std) == ((2.0, 3.0, 4.0), 3.0, 1.0)
    assert found.at(2, "spatial", measure="accuracy").std == 0
    assert found.at(2, "channel") is None
    assert "3.0000 ± 1.0000" in str(found)
    empty = Profile.of([])
    assert (empty.measures, empty.layers, empty.baseline()) == ((), (), None)
    assert str(empty).split() == ["layer", "size", "method"]


# ---------------------------------------------------------------- patches, and layers that have none


def test_a_patch_as_large_as_the_map_is_measured_once_as_the_spatial_shuffle() -> None:
    network = thin("vgg16")
    found = profile(network, spread, layers=[5], patches=[16, 8, 4], methods=["patch", "spatial"], passes=1)
    assert list_layers(network)[4].height == 8
    assert [(row.method, row.patch) for row in found.rows[1:]] == [("patch", 4), ("spatial", None)]
    assert found.at(5, "patch", 8) is found.at(5, "patch", 16) is found.at(5, "spatial")


def test_maps_of_one_position_are_passed_over() -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Conv2d(4, 2, 3, padding=1))
    options: Any = {"methods": ["spatial"], "passes": 1, "example": 3}
    assert profile(network, spread, **options).layers == (1,)
    assert profile(network, spread, cumulative=True, **options).layers == (1,)  # no reason to warn
    with pytest.raises(ValueError, match=r"layers: found 2 \(4x1x1\) with nothing to shuffle; expected larg"):
        profile(network, spread, layers=[1, 2], **options)


def test_averaged_layers_are_passed_over() -> None:
    network = modify_layers(thin("vgg16"), "gap_fc", last=4)
    found = profile(network, spread, methods=["channel"], passes=1)
    assert found.layers == tuple(range(1, 10))
    with pytest.raises(ValueError, match="layer 11 is averaged already"):
        profile(network, spread, layers=[1, 11])


def test_sizes_are_those_of_the_images_that_evaluate_gives() -> None:
    first, last = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 2, 3, stride=2, padding=1)
    network = nn.Sequential(first, nn.BatchNorm2d(4), last)
    images, calls = torch.rand(2, 3, 12, 10), []

    def evaluate(network: nn.Sequential) -> float:
        calls.append(network(images).shape)
        return network(images).std().item()  # type: ignore[no-any-return]

    found = profile(network, evaluate, methods=["spatial", "patch"], passes=1)
    sizes = {(row.layer, row.channels, row.height, row.width) for row in found.rows if row.layer}
    assert sizes == {(1, 3, 12, 10), (2, 4, 12, 10)}
    assert found.patches == (2, 4, 8)
    assert len(calls) == len(found.rows)  # the baseline once too
    assert not network._forward_pre_hooks
    others: list[Any] = [torch.rand(2, 3, 16, 16)]
    again = profile(network, evaluate, methods=["spatial"], passes=1, reestimate_batch_norm=others)
    assert again.rows[-1].width == 10
    elsewhere = profile(network, evaluate, methods=["spatial"], passes=1, example=32)
    assert elsewhere.rows[-1].width == 32


# ---------------------------------------------------------------- mistakes


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
    with pytest.raises(ValueError, match=message):
        profile(thin("vgg16"), lambda network: pytest.fail("measured"), **options)


@pytest.mark.parametrize("wrap", [nn.DataParallel, lambda network: torch.compile(network, backend="eager")])
def test_a_wrapped_network_is_refused_at_once(wrap: Callable[[nn.Module], nn.Module]) -> None:
    with pytest.raises(ValueError, match=r"network: found .*: change it before it is wrapped"):
        profile(wrap(thin("vgg16")), lambda network: 0.0)


@pytest.mark.parametrize(
    ("results", "message"),
    [
        ([None], "evaluate: found None; expected a number"),
        ([{}], "evaluate: found no number; expected at least one"),
        ([{"a": "many"}], "evaluate: found {'a': 'many'}"),
        ([{"a": 1.0}, {"a": 1.0}, {"b": 1.0}], "evaluate: found b; expected a, as the first time"),
    ],
)
def test_an_evaluation_without_a_number_or_with_others_each_time(results: list[Any], message: str) -> None:
    left = iter(results)
    with pytest.raises(ValueError, match=message):
        profile(thin("vgg16"), lambda network: next(left))


# ---------------------------------------------------------------- batches, intervals, comparisons, output

BATCHES = [
    (torch.randn(6, 3, 32, 32, generator=torch.Generator().manual_seed(number)), torch.arange(6) % 5)
    for number in (1, 2)
]


def test_batches_are_scored_image_by_image() -> None:
    network = modify_layers(thin("vgg16"), "channel", last=2).train()
    before = trace(network)
    found: Any = profile(network, BATCHES, layers=[3], methods=["spatial"], passes=3)
    assert trace(network) == before
    assert found.measures == ("accuracy", "kl")
    for row in found.rows:
        assert row.by_image.shape == (12,)
        assert row.by_image.mean().item() == pytest.approx(row.mean)
        half = 1.959964 * row.by_image.std(unbiased=True).item() / 12**0.5
        assert row.interval == pytest.approx((row.mean - half, row.mean + half))
    # The same by hand: plain accuracy, and the divergence of what one pass of the shuffled network predicts.
    images, labels = (torch.cat(parts) for parts in zip(*BATCHES, strict=True))
    network = thin("vgg16").eval()
    with torch.no_grad():
        plain = network(images).softmax(1)
    assert found.baseline().mean == pytest.approx((plain.argmax(1) == labels).double().mean().item())
    assert found.baseline("kl").mean == 0

    @torch.no_grad()
    def divergence(network: nn.Module) -> Tensor:
        shuffled = torch.cat([network(part) for part, _ in BATCHES]).softmax(1)
        return (plain * (plain / shuffled).log()).sum(1)

    own: Any = profile(network, divergence, layers=[3], methods=["spatial"], passes=3)
    assert own.at(3, "spatial").by_image.numpy() == pytest.approx(
        found.at(3, "spatial", measure="kl").by_image.numpy(), abs=1e-6
    )
    assert found.at(3, "spatial", measure="kl").mean > 0


def test_a_cumulative_profile_shuffles_all_layers_from_there_on() -> None:
    network = thin("vgg16").eval()
    options: Any = {"layers": [10, 13], "methods": ["spatial"], "passes": 2}
    seen: list[list[str]] = []

    def evaluate(network: nn.Module) -> float:
        seen.append(
            [name.split(".")[1] for name, part in network.named_modules() if part in set(shuffles(network))]
        )
        return spread(network)

    found: Any = profile(network, evaluate, cumulative=True, **options)
    numbers = [layer.name.split(".")[1] for layer in list_layers(network)]
    assert [seen[0], seen[1], seen[3]] == [[], numbers[9:], numbers[12:]]
    alone: Any = profile(network, spread, **options)
    assert found.at(13, "spatial") == alone.at(13, "spatial")  # nothing follows the last layer
    assert found.at(10, "spatial") != alone.at(10, "spatial")
    assert str(found).startswith(" from")


def test_controls_of_networks_whose_need_is_known() -> None:
    labels = torch.arange(IMAGES) % CLASSES
    images = torch.zeros(IMAGES, CLASSES, SIDE, SIDE, dtype=torch.double)
    images[torch.arange(IMAGES), :, labels, 3] = 1  # the class is the row of the bright position
    evaluate = accuracy_on(images, labels)
    options: Any = {"layers": [1], "controls": True, "methods": ["spatial"], "patches": [2], "passes": 6}
    needy: Any = profile(Plain(lambda x: x.sum((1, 3))), evaluate, **options)
    assert [row.method for row in needy.rows] == [
        *("none", "blocks", "spatial", "joint", "rows", "columns", "mean")
    ]
    assert needy.at(1, "columns").values == (1.0,) * 6
    assert max(needy.at(1, method).mean for method in ("joint", "rows", "mean")) < 0.5
    assert 0.125 <= needy.at(1, "blocks", 2).mean < 1
    assert (needy.at(1, "mean").passes, needy.at(1, "joint").passes) == (1, 6)
    # Who compares channels at each position needs them together, wherever that is.
    images = torch.zeros(IMAGES, CLASSES, SIDE, SIDE, dtype=torch.double)
    images[torch.arange(IMAGES), 0, labels, labels] = images[torch.arange(IMAGES), 1, labels, 4] = 1
    together = Plain(lambda x: torch.stack([(x[:, 0] * x[:, 1]).sum((1, 2)), x[:, 0].sum((1, 2)) / 2], 1))
    found: Any = profile(together, accuracy_on(images, (labels != 4).long()), **options)
    assert found.at(1, "joint").values == (1.0,) * 6
    assert found.at(1, "spatial").mean < 1
    default = profile(together, evaluate, layers=[1], passes=1)
    assert {row.method for row in default.rows} == {"none", "patch", "spatial", "channel"}


def normalized() -> Net:
    """A convolution that compares neighbours, and batch norm of what it finds."""
    edges = nn.Conv2d(1, 2, (1, 3), padding=(0, 1), padding_mode="circular", bias=False)
    edges.weight.data = torch.tensor([[[[-1.0, 1, 0]]], [[[0.0, 1, 0]]]])
    network = Net(lambda m, x: m.norm(m.edges(x)).square().mean((2, 3)), edges=edges, norm=nn.BatchNorm2d(2))
    network.image_size = SIDE
    return network


def test_batch_norm_is_estimated_anew_under_the_shuffle() -> None:
    torch.manual_seed(0)
    images = torch.randn(20, 1, SIDE, SIDE).cumsum(3)  # neighbours are alike
    network = normalized().train()
    for _ in range(50):
        network(images)
    before = trace(network)
    batches = [(images[:10], torch.zeros(10)), images[10:]]

    @torch.no_grad()
    def squares(network: nn.Module) -> float:
        return network(images)[:, 0].mean().item()  # type: ignore[no-any-return]

    options: Any = {"methods": ["spatial"], "passes": 3}
    plain: Any = profile(network, squares, **options)
    again: Any = profile(network, squares, **options, reestimate_batch_norm=batches)
    assert trace(network) == before
    assert plain.baseline().mean == pytest.approx(again.baseline().mean, rel=0.05)
    assert plain.at(1, "spatial").mean > 3  # neighbours differ more than batch norm has ever seen
    assert again.at(1, "spatial").mean == pytest.approx(1, abs=0.2)
    assert again == profile(network, squares, **options, reestimate_batch_norm=batches)
    labelled = [(images, torch.zeros(20, dtype=torch.long))]
    found: Any = profile(network, labelled, **options, reestimate_batch_norm=True)
    assert found == profile(network, labelled, **options, reestimate_batch_norm=labelled)
    assert (found.measures, trace(network)) == (("accuracy", "kl"), before)


def test_images_that_batch_norm_cannot_be_estimated_on() -> None:
    def broken() -> Any:
        yield PICTURES
        raise OSError("the disk is full")

    class Broken(list[Any]):
        def __iter__(self) -> Any:
            return broken()

    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)).train()
    before = trace(network)
    for images, error, message in (
        (True, ValueError, "found function; expected batches"),
        (PICTURES, ValueError, "found Tensor; expected batches"),
        (broken(), ValueError, "found generator; expected batches"),
        ([], ValueError, "found no images"),
        ([{"images": PICTURES}], ValueError, "found a batch of dict"),
        (Broken(), OSError, "full"),
    ):
        with pytest.raises(error, match=message):
            profile(network, spread, passes=1, methods=["spatial"], reestimate_batch_norm=images)
        assert trace(network) == before
    plain = nn.Sequential(nn.Conv2d(3, 4, 3))
    with pytest.warns(
        UserWarning, match="found Sequential without running statistics of batch norm; the prof"
    ):
        profile(plain, spread, passes=1, methods=["spatial"], reestimate_batch_norm=[PICTURES])


def test_layers_by_name() -> None:
    network = thin("resnet18")
    options: Any = {"methods": ["spatial"], "passes": 2}
    assert profile(network, spread, names=["layer4.1", "layer1.0"], **options) == profile(
        network, spread, layers=[1, 8], **options
    )
    for arguments, message in (
        ({"names": ["layer4.7"]}, "names: found 'layer4.7'; expected names of layers .*did you mean"),
        ({"names": ["layer4.1"], "layers": [1]}, "names: found layers too"),
    ):
        with pytest.raises(ValueError, match=message):
            profile(network, spread, **arguments, **options)


def scored(*accuracies: list[float], layer: int = 1) -> Profile:
    """A profile with a baseline and one shuffled layer, from the scores of each image."""
    rows = []
    for number, by_image in zip((0, layer), accuracies, strict=True):
        method: Any = "spatial" if number else "none"
        values = torch.tensor(by_image, dtype=torch.double)
        mean = values.mean().item()
        rows.append(ProfileRow(number, "a", 50, 3, 8, 8, method, None, "accuracy", (mean,), values))
    return Profile.of(rows)


def test_two_profiles_are_compared_image_by_image() -> None:
    first = scored([1, 1, 1, 1], [1, 0.5, 0, 0])
    second = scored([1, 1, 1, 0], [1, 1, 0.5, 0])
    baseline, shuffled = compare(first, second)
    assert (baseline.layer, baseline.difference, shuffled.difference) == (0, -0.25, 0.25)
    # Paired: the differences 0, 0.5, 0.5, 0 have a smaller spread than the scores.
    half = 1.959964 * (1 / 12) ** 0.5 / 2
    assert (shuffled.low, shuffled.high) == pytest.approx((0.25 - half, 0.25 + half))
    (drop,) = compare(first, second, from_baseline=True)
    assert (drop.layer, drop.difference) == (1, 0.5)
    assert {(row.difference, row.low, row.high) for row in compare(first, first)} == {(0.0, 0.0, 0.0)}
    similar = [ProfileRow(0, "", 0, 0, 0, 0, "none", None, "cka", (1.0,))]  # known for all images together
    tables = [Profile.of([*table.rows, *similar]) for table in (first, second)]
    assert compare(*tables) == compare(first, second)
    for other, message in (
        (scored([1, 1, 1], [1, 1, 1]), "found 3 and 4 images"),
        (scored([1] * 4, [1] * 4, layer=2).rows[1:], "found no layer and method in both"),
        (Profile.of(first.rows, cumulative=True), "one cumulative profile"),
        ([ProfileRow(0, "", 0, 0, 0, 0, "none", None, "accuracy", (1.0,))], "found 4 images with scores"),
    ):
        table = other if isinstance(other, Profile) else Profile.of(other)  # type: ignore[arg-type]
        with pytest.raises(ValueError, match=message):
            compare(first, table)


def test_a_profile_as_csv_pandas_and_plot(tmp_path: Path) -> None:
    pandas = pytest.importorskip("pandas")
    found: Any = profile(thin("vgg16"), BATCHES, layers=[5, 7], patches=[2], passes=2)
    text = found.to_csv(tmp_path / "profile.csv")
    frame = found.to_pandas()
    read = pandas.read_csv(tmp_path / "profile.csv", keep_default_na=False, na_values=[""])
    assert text == (tmp_path / "profile.csv").read_text()
    for name in ("layer", "method", "patch", "measure", "mean", "std", "low", "high"):
        pandas.testing.assert_series_equal(frame[name], read[name], check_dtype=False)
    ax = found.plot("kl")
    lines = [text.get_text() for text in ax.get_legend().get_texts()]
    assert lines == ["nothing shuffled", "patch 2", "spatial", "channel"]
    drawn = {line.get_label(): line.get_ydata() for line in ax.get_lines()}
    assert list(drawn["nothing shuffled"]) == [0, 0]
    bars = {container.get_label(): container.lines[0].get_ydata() for container in ax.containers}
    for method, patch in (("spatial", None), ("patch", 2), ("channel", None)):
        expected = [found.at(layer, method, patch, "kl").mean for layer in (5, 7)]
        label = method if patch is None else f"{method} {patch}"
        assert list(bars[label]) == pytest.approx(expected)
    assert ax.get_ylabel() == "KL divergence from nothing shuffled (nats)"
    assert list(ax.get_xticks()) == [5, 7]
    places = [x for container in ax.containers for x in container.lines[0].get_xdata()]
    assert len(set(places)) == len(places)  # no interval hides another
    half = ax.containers[1].lines[2][0].get_segments()[0][:, 1]
    assert list(half) == pytest.approx(found.at(5, "spatial", measure="kl").interval)
    with pytest.raises(ValueError, match=r"measure: found 'loss'; expected one of .*: accuracy, kl"):
        found.plot("loss")


def cka_of(x: Tensor, y: Tensor) -> float:
    both, first, second = ((a * b).sum().item() for a, b in ((x, y), (x, x), (y, y)))
    return float(both / math.sqrt(first * second))


def test_grams_for_the_unbiased_estimate_of_similarity() -> None:
    torch.manual_seed(0)
    x = torch.randn(400, 5, dtype=torch.double) + 3
    y = x @ torch.randn(5, 7, dtype=torch.double) + 2 * torch.randn(400, 7, dtype=torch.double)
    # Of many images it is linear CKA as it is defined: Kornblith et al. (2019), section 3.2.
    a, b = x - x.mean(0), y - y.mean(0)
    expected = (b.T @ a).norm() ** 2 / ((a.T @ a).norm() * (b.T @ b).norm())
    assert cka_of(u_centred_gram(x), u_centred_gram(y)) == pytest.approx(expected.item(), abs=0.01)
    # Of few, Song et al. (2012), equation 5.
    x, y, n = x[:6], y[:6], 6
    k, m = ((v @ v.T).fill_diagonal_(0) for v in (x, y))
    hsic = (k @ m).trace() + k.sum() * m.sum() / ((n - 1) * (n - 2)) - 2 / (n - 2) * (k @ m).sum()
    assert (u_centred_gram(x) * u_centred_gram(y)).sum().item() == pytest.approx(hsic.item(), rel=1e-4)
    rotation = torch.linalg.qr(torch.randn(5, 5, dtype=torch.double))[0]
    assert cka_of(u_centred_gram(x), u_centred_gram(x @ rotation * 7 - 1)) == pytest.approx(1, abs=1e-5)


def test_similarity_of_each_layer_without_and_with_a_shuffle() -> None:
    torch.manual_seed(0)
    batches = [(torch.rand(n, CLASSES, SIDE, SIDE).double(), torch.arange(n) % CLASSES) for n in (8, 8, 3)]
    network = Plain(lambda x: x.mean((2, 3)))
    options: Any = {"methods": ["spatial"], "layers": [2], "passes": 2, "cka": True}
    found: Any = profile(network, batches, **options)
    assert found.main_measures == ("accuracy", "kl", "cka")
    assert found.parts("cka") == {"1": "cka[1]", "2": "cka[2]"}
    for row in found.rows:  # one order for all images is a rotation of the features
        if row.measure.startswith("cka"):
            assert row.values == pytest.approx((1.0,) * row.passes, abs=1e-5)
    own: Any = profile(network, batches, per_image=True, **options)
    assert own.at(2, "spatial", measure="cka[1]").mean == pytest.approx(1, abs=1e-5)  # before the shuffle
    assert abs(own.at(2, "spatial", measure="cka[2]").mean) < 0.5
    assert own.at(2, "spatial", measure="cka").mean == pytest.approx(1, abs=1e-5)  # means have no order
    first_batch: Any = profile(network, batches[:1], per_image=True, **options)
    options |= {"cka": 8}
    limited: Any = profile(network, batches, per_image=True, **options)
    cells = [table.at(2, "spatial", measure="cka[2]").values for table in (first_batch, limited, own)]
    assert cells[0] == cells[1] != cells[2]
    for kind in ("resnet18", "vit"):
        network = thin(kind)
        before = trace(network)
        found = profile(network, [(PICTURES.repeat(2, 1, 1, 1) + torch.randn(4, 3, 32, 32), torch.arange(4))],
                        **{**options, "layers": [2]})  # fmt: skip
        values = {
            number: found.at(2, "spatial", measure=name).mean for number, name in found.parts("cka").items()
        }
        assert values.pop("1") == pytest.approx(1, abs=1e-5)
        assert len(values) == len(list_layers(network, 32)) - 1
        assert max(values.values()) < 1 - 2e-5
        assert trace(network) == before


def test_accuracy_by_class() -> None:
    options: Any = {"layers": [3], "methods": ["spatial"], "passes": 3}
    found: Any = profile(thin("vgg16"), BATCHES, by_class=["ant", "bee", "cat", "dog", "eel"], **options)
    assert list(found.parts("accuracy")) == ["ant", "bee", "cat", "dog", "eel"]
    labels = torch.cat([labels for _, labels in BATCHES])
    for layer, method in ((0, "none"), (3, "spatial")):
        whole = found.at(layer, method)
        for label, name in enumerate(found.parts("accuracy").values()):
            row = found.at(layer, method, measure=name)
            assert row.by_image.equal(whole.by_image[labels == label])
            assert row.mean == pytest.approx(row.by_image.mean().item())
    assert "ant" not in str(found)
    assert "accuracy[ant]" in found.to_csv()
    other: Any = profile(thin("vgg16"), BATCHES, by_class=True, **options)
    assert other.measures[2:] == tuple(f"accuracy[{label}]" for label in range(5))
    assert {row.measure for row in compare(other, other)} == set(other.measures)


@pytest.mark.parametrize(
    ("data", "options", "message"),
    [
        (
            BATCHES,
            {"by_class": ["a", "b"]},
            r"by_class: found \['a', 'b'\] for labels from 0 to 4; expected T",
        ),
        (
            BATCHES,
            {"by_class": ["a"] * 5},
            "by_class: found .*; expected True, or a different name for each cl",
        ),
        (BATCHES, {"by_class": "abcde"}, "by_class: found 'abcde' for labels"),
        (spread, {"by_class": True}, "by_class: found True with a function; expected batches"),
        (spread, {"cka": True}, "cka: found True with a function; expected batches"),
        ([(PICTURES, torch.arange(2))], {"cka": True}, "cka: found batches of fewer than 4 images"),
        (iter(BATCHES), {}, "evaluate: found list_iterator; expected a function of the network, or batches"),
        (None, {}, "evaluate: found NoneType; expected a function of the network, or batches"),
        ([], {}, "evaluate: found no images"),
        ([PICTURES], {}, "evaluate: found a batch of Tensor; expected"),
        ([(PICTURES, torch.zeros(3))], {}, "evaluate: found outputs and labels of 2x5 and 3; expected"),
    ],
)
def test_what_cannot_be_measured(data: Any, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        profile(thin("vgg16"), data, layers=[3], passes=1, **options)


def test_a_profile_as_a_page(tmp_path: Path) -> None:
    pytest.importorskip("pandas")
    names = [f"<{label}>" for label in range(5)]
    options: Any = {"layers": [3, 5], "methods": ["spatial", "channel"], "passes": 2, "seed": 4321}
    found: Any = profile(thin("vgg16"), BATCHES, by_class=names, cka=True, **options)
    text = found.to_html(tmp_path / "page.html", title="VGG & order")
    assert text == (tmp_path / "page.html").read_text() == found.to_html(title="VGG & order")
    assert "<title>VGG &amp; order</title>" in text
    assert text.count("<svg ") == len(found.main_measures) == 3
    assert set(re.findall(r"https?://[^\"]*", text)) == {
        "http://www.w3.org/2000/svg",
        "http://www.w3.org/1999/xlink",
    }
    assert not re.search(r"<script|<link|<img|src=|@import", text)
    for row in found.rows:
        assert (f"<td>{row.mean:.3f}</td>" if "[" in row.measure else f"<td>{row.mean:.4f}") in text
    for words in ("&lt;3&gt;", "<dd>4321</dd>", "<dd>VGG</dd>", "<dd>12</dd>", "accuracy by class: spatial",
                  "cka by layer: channel", "features.7"):  # fmt: skip
        assert words in text, words
    assert "<3>" not in text


def test_batches_in_another_order_each_time_are_refused() -> None:
    class Reshuffled:
        def __init__(self) -> None:
            self.order = torch.arange(6)

        def __iter__(self) -> Any:
            images, labels = BATCHES[0]
            yield images[self.order], labels[self.order]
            self.order = self.order.flip(0)

    with pytest.raises(ValueError, match="evaluate: found other labels than in the first pass"):
        profile(thin("vgg16"), Reshuffled(), layers=[3], passes=1)  # type: ignore[arg-type]


def test_accuracy_of_several_passes() -> None:
    network = modify_layers(thin("resnet18"), "spatial", percent=30).train()
    loader = [(torch.randn(8, 3, 32, 32), torch.arange(8) % 5)] * 2
    upcoming = [shuffle.stream for shuffle in shuffles(network)]
    found = evaluate(network, loader, passes=4)
    assert found == evaluate(network, loader, passes=4) != evaluate(network, loader, passes=4, seed=1)
    assert (found.images, len(found.values), network.training) == (16, 4, True)
    assert [shuffle.stream for shuffle in shuffles(network)] == upcoming
    assert str(found).endswith("% of 16 images, 4 passes")
    assert str(evaluate(set_shuffling(network, eval=False), loader)).endswith("% of 16 images, 1 pass")
    for arguments, message in (([], "loader: found no images"), (loader, "passes: found 0")):
        with pytest.raises(ValueError, match=message):
            evaluate(network, arguments, passes=0 if arguments else 2)
