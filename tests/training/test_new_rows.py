"""A new network or shuffle method is a row of tables: options, experiments, profiles and figures follow."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import detector.networks
import detector.shuffle
from data.records import InputError
from detector import list_layers, modify_layers
from detector.networks import BACKBONES, RESNETS, VGG, build_network, resnet
from detector.profiling import profile
from detector.registry import ARCHITECTURES, METHODS, Architecture, MethodRow, patch_style
from detector.shuffle import Shuffle
from training.experiments.plan import canonical
from training.experiments.schema import architecture_label, check_values, layers_of, variant_of
from training.experiments.style import colour_of, mark_of
from training.parser import make_parser
from training.profiling import options as profile_options
from training.profiling.figure import curves_of, draw_profile, points_of
from training.profiling.run import read_table, write_table
from training.tasks.classification import CLASSIFICATION
from training.tasks.classification_module import build_classifier
from training.tasks.classification_options import ModelOptions
from training.tasks.detection import DETECTION
from training.tasks.detection_options import ModelOptions as DetectorOptions

RUN = {"data": "cifar100", "arch": "vgg16", "layer": 1}


class Roll(Shuffle):
    """Positions moved by a number from the stream, within patches of a size that is stored and not used."""

    def __init__(self, patch: int, *key: int, **options: bool) -> None:
        super().__init__(*key, **options)
        self.patch = patch

    def permute(self, x: Tensor, stream: Tensor) -> Tensor:
        return x.roll(int(stream % x.shape[3]), 3)


class Flip(Shuffle):
    """Columns in reverse order."""

    def permute(self, x: Tensor, stream: Tensor) -> Tensor:
        return x.flip(3)


@pytest.fixture
def methods(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(METHODS, "flip", MethodRow("flip", "direction", "#123456", "p", dashes=":"))
    roll = MethodRow("roll", "place in {patch}", "#654321", "h", needs_patch=True, whole_map="spatial")
    monkeypatch.setitem(METHODS, "roll", roll)
    monkeypatch.setitem(detector.shuffle.SHUFFLES, "flip", Flip)
    monkeypatch.setitem(detector.shuffle.SHUFFLES, "roll", Roll)


@pytest.fixture
def networks(monkeypatch: pytest.MonkeyPatch) -> None:
    def tiny(classes: int, image_size: int, weights: Any, width: float) -> nn.Module:
        return VGG(classes, width=width / 16)

    monkeypatch.setitem(detector.networks.NETWORKS, "tiny", tiny)
    monkeypatch.setitem(ARCHITECTURES, "tiny", Architecture("Tiny VGG"))
    monkeypatch.setitem(RESNETS, "resnet10", (RESNETS["resnet18"][0], [1, 1, 1, 1], RESNETS["resnet18"][2]))
    monkeypatch.setitem(BACKBONES, "resnet10", partial(resnet, "resnet10", None))
    monkeypatch.setitem(ARCHITECTURES, "resnet10", Architecture("ResNet-10", is_backbone=True))


@pytest.fixture
def refused() -> Callable[..., str]:
    """The message of the InputError that a call raises."""

    def message(call: Callable[[], Any]) -> str:
        with pytest.raises(InputError) as error:
            call()
        return str(error.value)

    return message


def parse(task: Any, *words: str) -> Any:
    options = task.options.from_flat(make_parser(task).parse_args(list(words)).as_dict())
    options.model.check()
    return options.model


def test_the_tables_of_networks_have_the_same_rows() -> None:
    assert list(ARCHITECTURES) == list(detector.networks.NETWORKS)
    assert [name for name, row in ARCHITECTURES.items() if row.is_backbone] == list(BACKBONES)


@pytest.mark.usefixtures("methods")
def test_a_new_method_is_an_option_of_both_scripts(refused: Callable[..., str]) -> None:
    classifier = parse(CLASSIFICATION, "--method", "roll", "--patch", "2", "--last", "1", "--width", "0.05")
    network = build_classifier(classifier, 7, 32)
    (shuffle,) = [module for module in network.modules() if isinstance(module, Shuffle)]
    assert isinstance(shuffle, Roll)
    assert shuffle.patch == 2
    found = parse(DETECTION, "--shuffle", "last", "--shuffle-method", "flip", "--arch", "resnet18")
    model: Any = DETECTION.build(found, {"input_size": 64, "classes": ["a"]})
    assert any(isinstance(module, Flip) for module in model.modules())
    assert CLASSIFICATION.complete_changes({"method": "roll"}) == {"method": "roll"}
    assert CLASSIFICATION.complete_changes({"method": "flip"})["patch"] is None
    check_values("train_classify", {"method": "flip", "last": 1, "data": "shapes"})
    for options in (ModelOptions(method="roll", last=1), DetectorOptions(shuffle_method="roll")):  # type: ignore[arg-type]
        assert "patch or blocks or roll, and only then" in refused(options.check)
    assert f"one of none, {', '.join(METHODS)}" in refused(
        lambda: check_values("train_classify", {"method": "flop"})
    )


@pytest.mark.usefixtures("methods")
def test_a_new_method_is_measured_stored_and_drawn(tmp_path: Path) -> None:
    network = VGG(3, width=0.05)
    images = torch.rand(2, 3, 32, 32)
    options: Any = {"layers": [10, 13], "passes": 2}
    found = profile(network, lambda network: network(images).std().item(), **options)
    methods = [(row.method, row.patch) for row in found.rows if row.layer == 10]
    expected = [("patch", 2), ("roll", 2), ("spatial", None), ("channel", None), ("flip", None)]
    assert methods == expected
    # On a map of 2×2 positions a patch of 2 is the whole map, which is the method of the table's row.
    last = {(row.method, row.patch) for row in found.rows if row.layer == 13}
    assert last == {("spatial", None), ("channel", None), ("flip", None)}
    where: Any = found.at(13, "roll", 2)  # type: ignore[arg-type]
    assert where.method == "spatial"
    write_table(found.rows, tmp_path)
    assert read_table(tmp_path) == list(found.rows)

    curves = curves_of(found)
    assert [(curve.method, curve.patch) for curve in curves] == expected
    assert curves[1].label == "place in 2"
    assert curves[4].line["color"] == "#123456"
    assert curves[0].line["color"] == patch_style(2)[0]
    shades = [colour_of(variant_of({**RUN, "method": "roll", "patch": side})) for side in (2, 4, 32)]
    assert curves[1].line["color"] == shades[0]  # of its own row's colour, down to that colour itself
    assert len(set(shades)) == 3
    assert shades[2] == "#654321"
    assert (
        curves[1].line["marker"]
        == mark_of(variant_of({**RUN, "method": "roll", "patch": 2}))["marker"]
        == "h"
    )
    assert [len(points_of(found, curve, "score")) for curve in curves] == [2] * 5
    figure = draw_profile(found, title="t", note="n", chance={}, measures=["score"])
    (legend,) = (axes.get_legend() for axes in figure.axes if axes.get_legend())
    assert {"direction", "place in 2"} <= {text.get_text() for text in legend.get_texts()}

    options = profile_options.Options()
    assert options.shuffles.methods == ["spatial", "patch", "channel", "flip", "roll"]
    options.shuffles.check()


@pytest.mark.usefixtures("methods")
def test_an_experiment_knows_a_new_method() -> None:
    run = {"data": "cifar100", "arch": "vgg16", "method": "roll", "patch": 8, "layer": 13}
    assert canonical("train_classify", run) == {
        "data": "cifar100", "arch": "vgg16", "method": "spatial", "last": 1,
    }  # fmt: skip
    variant = variant_of({"data": "cifar100", "arch": "vgg16", "method": "flip", "last": 2})
    assert colour_of(variant) == "#123456"
    assert mark_of(variant)["marker"] == "p"
    patches = variant_of({"data": "cifar100", "arch": "vgg16", "method": "patch", "patch": 2, "layer": 1})
    assert (colour_of(patches), mark_of(patches)["marker"]) == patch_style(2)  # as in a profile


@pytest.mark.usefixtures("networks")
def test_a_new_network_is_trained_planned_and_labelled() -> None:
    options = parse(CLASSIFICATION, "--arch", "tiny", "--method", "spatial", "--last", "2")
    network = build_classifier(options, 5, 32)
    assert network(torch.zeros(2, 3, 32, 32)).shape == (2, 5)
    assert [layer.number for layer in layers_of("tiny")] == list(range(1, 14))
    assert architecture_label("tiny") == "Tiny VGG"
    modify_layers(build_network("tiny", 5, 32), "channel", last=1)
    run = {"arch": "tiny", "method": "spatial", "layer": 13}
    assert canonical("train_classify", run) == {"arch": "tiny", "method": "spatial", "last": 1}


@pytest.mark.usefixtures("networks")
def test_a_new_resnet_carries_a_detector() -> None:
    options = parse(DETECTION, "--arch", "resnet10", "--shuffle", "last")
    model: Any = DETECTION.build(options, {"input_size": 64, "classes": ["a", "b"]})
    assert len(list_layers(model)) == 4
    assert model(torch.zeros(1, 3, 64, 64)).shape == (1, 2 * 5 + 2, 2, 2)
