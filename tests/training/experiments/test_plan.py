from __future__ import annotations

import logging
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from data.records import InputError
from training.experiments.cost import START_SECONDS, probe, seconds_of, speed_key
from training.experiments.figures import first_layer
from training.experiments.paper import paper_accuracy, reported
from training.experiments.plan import (
    Overrides,
    Plan,
    Run,
    canonical,
    make_plan,
    parse_only,
    parse_options,
    parse_roots,
    state_of,
    training_name,
)
from training.experiments.schema import (
    command_words,
    layers_of,
    modified_percent,
    read_experiment,
    variant_of,
)
from training.experiments.tables import modified_layers


def planned(root: Path, name: str, changes: Overrides | None = None, seeds: tuple[int, ...] = (0,)) -> Plan:
    changes = changes or Overrides(roots={"": "data"})
    return make_plan(read_experiment(root / "experiments" / f"{name}.yaml"), changes, seeds)


def test_experiments_share_their_runs(root: Path) -> None:
    files = ("figure1", "table1", "figure4")
    names = {name: {run.name for run in planned(root, name).runs} for name in files}
    assert len(names["figure1"]) == 2
    assert names["figure1"] <= names["figure4"]
    baseline = set.intersection(*names.values())
    assert len(baseline) == 1
    assert "plain" in baseline.pop()
    trained = {name for name in names["table1"] if "/" not in name and "perceptron" not in name}
    assert len(trained) == 3
    assert trained <= names["figure4"]


def test_table_1_has_seven_rows_from_three_trained_networks(root: Path) -> None:
    plan = planned(root, "table1")
    rows = [point for point in plan.points if point.variant.arch == "vgg16"]
    assert len(rows) == 7
    scored = [run for run in plan.runs if run.trained_run]
    assert len(scored) == 4
    order = [run.name for run in plan.runs]
    assert all(order.index(str(run.trained_run)) < order.index(run.name) for run in scored)


NAMED: dict[str, Any] = {"data": "cifar100", "arch": "vgg16", "method": "spatial", "last": 4, "epochs": 300}


def test_a_name_changes_with_every_option_that_changes_the_result_and_with_no_other() -> None:
    def name(**changes: Any) -> str:
        return training_name("train_classify", {**NAMED, "seed": 0, **changes})

    different = {
        "data": "shapes", "arch": "resnet50", "width": 0.5, "method": "channel", "last": 5, "epochs": 299,
        "batch_size": 64, "fraction": 0.5, "validation": 0.2, "train_shuffle": False, "eval_shuffle": False,
        "seed": 1, "learning_rate": 0.2, "weight_decay": 0.0, "augment": False, "per_image": True,
        "passes": 3, "validate_every": 2, "shuffle_shortcut": False, "max_steps": 7,
    }  # fmt: skip
    names = [name(), *(name(**{option: value}) for option, value in different.items())]
    assert len(set(names)) == len(names)
    same = {"root": "a", "accelerator": "cpu", "workers": 7, "precision": "bf16-mixed", "compile": True}
    assert {name(**{option: value}) for option, value in same.items()} == {name()}
    assert name(width=1) == name(width=1.0) == name()
    assert name(batch_size=128, weight_decay=0.0005) == name()  # what the data would choose


def test_an_override_that_would_make_series_the_same_is_refused(root: Path) -> None:
    with pytest.raises(InputError, match="--set: found last, in which the series of figure4 differ"):
        planned(root, "figure4", Overrides(options={"last": 3}))


def test_only_some_points_are_wanted_and_the_baseline_with_them(root: Path) -> None:
    only = parse_only(["last=4,7", "method=none,spatial"], "train_classify")
    plan = planned(root, "figure4", Overrides(only=only))
    modified = [(point.variant.method, point.variant.last) for point in plan.points]
    assert modified == [("none", None), ("spatial", 4), ("spatial", 7)]
    for wrong in ("last", "lats=4"):
        with pytest.raises(InputError, match="--only"):
            parse_only([wrong], "train_classify")


@pytest.mark.parametrize(
    ("only", "found"),
    [
        ({"last": (99,)}, "last=99"),
        ({"last": (4, 99)}, "last=99"),
        ({"arch": ("alexnet",)}, "arch=alexnet"),
    ],
)
def test_only_a_value_that_is_there(root: Path, only: dict[str, Any], found: str) -> None:
    with pytest.raises(InputError, match=f"--only: found {found}; expected values that some of figure4"):
        planned(root, "figure4", Overrides(only=only))


def test_only_some_layers_leaves_out_what_is_modified_from_the_last_on(root: Path) -> None:
    plan = planned(root, "figure6", Overrides(only={"layer": (1, 8)}))
    assert [point.variant.layer for point in plan.points] == [None, 1, 8]
    both = planned(root, "figure6", Overrides(only={"layer": (1,), "last": (13, 6)}))
    assert [(point.variant.last, point.variant.layer) for point in both.points] == [
        (None, None), (13, None), (6, None), (None, 1),
    ]  # fmt: skip


def test_other_words_for_the_same_computation_share_a_run(root: Path) -> None:
    def name(**options: Any) -> str:
        given = {"data": "cifar100", "arch": "vgg16", "epochs": 300, "seed": 0, **options}
        return training_name("train_classify", canonical("train_classify", given))

    assert name(method="spatial", layer=13) == name(method="spatial", last=1)
    assert name(method="patch", patch=8, layer=7) == name(method="spatial", layer=7)
    assert name(method="patch", patch=4, layer=7) != name(method="spatial", layer=7)
    assert name(method="channel", layer=7) != name(method="channel", last=7)
    shared = [{run.name for run in planned(root, file).runs} for file in ("figure6", "figure7")]
    assert len(shared[0] & shared[1]) == 14  # the baseline, and each layer with patches as large as its map


def test_the_words_that_are_made_the_same_compute_the_same_to_the_last_bit() -> None:
    import torch

    from detector import modify_layers, seek_shuffles, vgg16

    def output(**changes: Any) -> Any:
        torch.manual_seed(0)
        network = modify_layers(vgg16(10, width=0.125), **changes).eval()
        seek_shuffles(network, 3, 5)
        with torch.no_grad():
            return network(torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(1)))

    assert torch.equal(output(method="spatial", layer=10), output(method="patch", patch=4, layer=10))
    assert torch.equal(output(method="spatial", layer=13), output(method="spatial", last=1))


def test_scale_shrinks_epochs_data_and_width_and_an_override_wins(root: Path) -> None:
    changes = Overrides(0.1, {"epochs": 7}, {"": "data"})
    options = planned(root, "figure1", changes).runs[0].options
    assert (options["epochs"], options["fraction"], options["width"]) == (7, 0.1, 0.316)
    # A detector has no width: its images shrink, by steps of 32 pixels.
    detector = Overrides(0.25).applied({"epochs": 500}, "train_detect")
    assert detector == {"epochs": 125, "input_size": 224}


def test_variants_stay_as_declared_but_for_the_data_and_the_network(root: Path) -> None:
    """The paper's numbers are shown with a narrower network on less data, not with other data."""
    plan = planned(root, "figure1", Overrides(0.1, {"weight_decay": 0.1}, {"": "data"}))
    assert {point.variant.data for point in plan.points} == {"cifar100"}
    assert plan.heading == plan.experiment.heading
    plan = planned(root, "figure1", Overrides(options={"data": "shapes"}))
    assert {point.variant.data for point in plan.points} == {"shapes"}
    assert {run.options["data"] for run in plan.runs} == {"shapes"}
    assert [paper_accuracy(point.variant) for point in plan.points] == [None, None]
    assert plan.heading.endswith("— here shapes instead")


@pytest.mark.parametrize(
    ("common", "message"),
    [
        ("arch: vgg16", "wrong: far: found layer 77; expected at most 13, which vgg16 has"),
        ("arch: vgg61", "wrong: far: --arch: found 'vgg61'; expected one of .*; did you mean 'vgg"),
        ("arch: perceptron", "wrong: far: found layer 77; expected at most 0, which perceptron has"),
        ("epochs: many", "wrong: far: --epochs: found 'many'; expected a whole number"),
    ],
)
def test_what_cannot_be_is_an_error_before_any_run(tmp_path: Path, common: str, message: str) -> None:
    file = tmp_path / "wrong.yaml"
    file.write_text(
        f"title: Wrong\ndraw: networks\ncommon: {{data: shapes, {common}}}\n"
        "series:\n  - {name: far, options: {method: spatial, layer: 77}}\n"
    )
    with pytest.raises(InputError, match=message):
        make_plan(read_experiment(file), Overrides())


@pytest.mark.parametrize("arch", ["regnet_y_400mf", "mobilenet_v3_small", "densenet121", "vit_b_16"])
def test_networks_of_torchvision_have_layers(arch: str) -> None:
    assert len(layers_of(arch)) > 5


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["foo=bar"], "'foo=bar'.*DATA=PATH"),
        (["cifar10=data"], "'cifar10=data'.*DATA=PATH"),
        (["a", "b"], "a b; expected one folder, or one for each"),
    ],
)
def test_roots_that_are_none(words: list[str], message: str) -> None:
    with pytest.raises(InputError, match=f"--root: found {message}"):
        parse_roots(words)


def test_percentages_are_the_papers() -> None:
    assert [len(layers_of(arch)) for arch in ("vgg16", "resnet50", "resnet152")] == [13, 16, 50]
    percents = [modified_percent(variant_of({**NAMED, "last": last})) for last in (1, 4, 7, 10)]
    assert [round(percent) for percent in percents] == [8, 31, 54, 77]
    assert modified_percent(variant_of({"data": "cifar100", "arch": "vgg16"})) == 0
    tested = variant_of({"data": "cifar100", "arch": "vgg16"}, {"method": "spatial", "last": 4})
    assert round(modified_percent(tested)) == 31
    several = variant_of({**NAMED, "last": None, "layers": [3, 5, 13]})
    assert round(modified_percent(several)) == 23
    assert modified_layers(several) == "3, 5, 13 (23 %)"
    assert modified_layers(variant_of(NAMED)) == "last 4 (31 %)"
    assert (first_layer(several, 13), first_layer(variant_of(NAMED), 13)) == (3, 10)


@pytest.mark.parametrize(
    ("trained", "test", "said", "percent"),
    [
        ({}, {"shuffle": "last"}, ("none", "spatial", 1), 6.25),
        ({}, {"shuffle": "last", "shuffle_method": "channel"}, ("none", "channel", 1), 6.25),
        ({"shuffle": "last"}, {"shuffle": "none"}, ("spatial", "none", 1), 6.25),
        ({"shuffle": "last"}, {"shuffle_method": "channel"}, ("spatial", "channel", 1), 6.25),
        ({"shuffle": "last"}, None, ("spatial", None, 1), 6.25),
        ({}, None, ("none", None, None), 0),
    ],
)
def test_a_detector_that_is_shuffled_in_the_test_alone_is_not_the_papers_baseline(
    trained: dict[str, str], test: dict[str, str] | None, said: tuple[Any, ...], percent: float
) -> None:
    variant = variant_of({"data": "voc", "arch": "resnet50", "shuffle": "none", **trained}, test)
    assert (variant.method, variant.tested, variant.last) == said
    assert modified_percent(variant) == percent
    assert (variant == variant.baseline) == (said[0] == "none" and test is None)
    assert (reported(variant, "map") is None) == (test is not None)


def test_a_run_is_done_once_its_scores_are_there(tmp_path: Path) -> None:
    run = Run("a", "train_classify", {**NAMED, "seed": 0})
    folder = tmp_path / "a"
    assert state_of(run, tmp_path) == "wanted"
    (folder / "checkpoints").mkdir(parents=True)
    (folder / "checkpoints" / "last.ckpt").touch()
    assert state_of(run, tmp_path) == "begun"
    (folder / "scores.json").write_text("{}")
    assert state_of(run, tmp_path) == "done"
    (folder / "config.yaml").write_text(yaml.safe_dump({**NAMED, "seed": 0, "new_option": 5}))
    assert state_of(run, tmp_path) == "done"
    (folder / "config.yaml").write_text(yaml.safe_dump({**NAMED, "seed": 0, "last": 5}))
    with pytest.raises(InputError, match="found last: 5; expected 4"):
        state_of(run, tmp_path)


def test_overrides_and_roots_are_read_as_in_a_file() -> None:
    given = parse_options(["width=0.25", "--batch-size=64", "layers=[1, 2]"], "train_classify")
    assert given == {"width": 0.25, "batch_size": 64, "layers": [1, 2]}
    for wrong, message in (
        ("widht=1", "did you mean width"),
        ("width", "NAME=VALUE"),
        ("seed=1", "seeds by --seeds"),
        ("width=[", "a value as in a YAML file"),
    ):
        with pytest.raises(InputError, match=message):
            parse_options([wrong], "train_classify")


def test_options_become_words_that_the_scripts_parser_reads_back() -> None:
    from training.parser import make_parser
    from training.tasks.classification import CLASSIFICATION as TASK

    given = {**NAMED, "names": ["a", "b"], "train_shuffle": False, "weight_decay": None, "width": 0.25}
    parsed = make_parser(TASK).parse_args(command_words(given)).as_dict()
    assert {name: parsed[name] for name in given} == given


def test_cost_grows_with_epochs_data_and_passes() -> None:
    def seconds(**changes: Any) -> float:
        return seconds_of(Run("a", "train_classify", {**NAMED, "seed": 0, **changes}), 0.1)

    # 300 epochs of 351 steps, each with 5,000 images validated, then 10 passes over 10,000 images.
    expected = START_SECONDS + 300 * (351 * 0.1 + 5000 / 128 * 0.1 / 3) + 10 * 10_000 / 128 * 0.1 / 3
    assert seconds() == pytest.approx(expected)
    assert seconds(epochs=150) == pytest.approx(expected / 2, rel=0.02)
    assert seconds(passes=1) < seconds()
    assert seconds(max_steps=351) == pytest.approx(seconds(epochs=1))
    assert seconds(method="mean") == seconds(passes=1)  # draws nothing
    spatial = Run("a", "train_classify", NAMED)
    channel = Run("b", "train_classify", {**NAMED, "method": "channel"})
    averaged = Run("c", "train_classify", {**NAMED, "method": "gap_fc"})
    assert speed_key(spatial) == speed_key(channel) != speed_key(averaged)


@pytest.mark.skipif(sys.platform == "darwin", reason="has mps")
def test_a_device_that_is_not_there_is_not_probed_on_another() -> None:
    with pytest.raises(InputError, match="--accelerator: found what cannot be done here"):
        probe(Run("a", "train_classify", {**NAMED, "width": 0.0625, "accelerator": "mps", "seed": 0}))


def test_a_probe_says_nothing_of_its_own(caplog: pytest.LogCaptureFixture) -> None:
    logger = logging.getLogger("lightning.pytorch")
    logger.setLevel(logging.INFO)
    logger.addHandler(caplog.handler)
    options = {**NAMED, "width": 0.0625, "batch_size": 2, "accelerator": "cpu", "seed": 0}
    assert probe(Run("a", "train_classify", options)) > 0
    logger.removeHandler(caplog.handler)
    assert caplog.records == []


def test_lists_of_ones_own_are_counted(tmp_path: Path) -> None:
    lists = tmp_path / "VOC2012" / "ImageSets" / "Main"
    lists.mkdir(parents=True)
    (lists / "train.txt").write_text("a\nb\n" * 80)
    options = {"root": str(tmp_path), "train": ["2012:train"], "epochs": 2, "batch_size": 16, "validation": 0}
    test = START_SECONDS + 4952 / 16 / 3
    assert seconds_of(Run("a", "train_detect", options), 1.0) == pytest.approx(2 * 10 + test)


@pytest.mark.parametrize(
    ("trained", "tested", "passes"),
    [("none", "last", 10), ("last", "none", 1), ("last", "last", 10)],
)
def test_a_detector_is_scored_in_several_passes_where_it_shuffles_in_the_test(
    trained: str, tested: str, passes: int
) -> None:
    run = Run("a/b", "train_detect", {"shuffle": trained, "batch_size": 16}, {"shuffle": tested}, "a")
    assert seconds_of(run, 1.0) == pytest.approx(START_SECONDS + passes * 4952 / 16 / 3)


def test_several_seeds_are_runs_of_their_own(bench: Callable[..., Path]) -> None:
    plan = make_plan(read_experiment(bench()), Overrides(), (0, 3))
    assert [run.seed for run in plan.points[1].runs] == [0, 3]
    assert len(plan.runs) == 2 * 4
    assert make_plan(read_experiment(bench()), Overrides()).seeds == (0,)
