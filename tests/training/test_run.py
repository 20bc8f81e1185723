"""Whole runs, small ones: what they leave behind, and that they can be repeated, stopped and resumed."""

import copy
import dataclasses
import json
import math
import re
import shutil
import signal
import subprocess
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import yaml
from pycocotools.coco import COCO
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch.nn import functional

from data import classification
from data.augment import eval_transform
from data.classification import Normalization, read_classification, read_classification_test
from data.detection import DetectionDataset, detection_loader
from data.formats import read_detections, read_voc
from detector import seek_shuffles, vgg16
from detector.networks import load_weights
from tests.training.conftest import classifier, detection
from training import provenance, trainer
from training.checkpoint import load_trained
from training.tasks.classification import CLASSIFICATION
from training.tasks.classification_module import statistics_of
from training.tasks.detection import DETECTION, read_test_data
from training.tasks.detection_module import detect
from training.tasks.detection_options import Options


def strict_json(path):
    """Content of a JSON file; the NaN and Infinity that Python would read are no JSON."""

    def refuse(word):
        raise AssertionError(f"{path} has {word}")

    return json.loads(path.read_text(), parse_constant=refuse)


# What a run leaves behind


def test_whole_run_prints_a_line_an_epoch_and_no_warning(small):
    out, result = small.whole
    assert result.err == ""
    lines = [line for line in result.out.splitlines() if " step " not in line]  # a line a minute, within
    announced, shown, last = {
        "detection": (
            r"12 images with \d+ objects to train on, 4 to validate, 6 to test"
            r"; val/map is AP \(area\) at IoU 0.5, from 0 to 1",
            r"loss/centre .*loss/classes [\d.]+, val/loss [\d.]+, val/map [\d.]+",
            [
                "scores: {}/scores.json",
                "detections: {}/detections",
                "diagnosis: {}/diagnosis",
                "page: {}/diagnosis/report.html",
            ],
        ),
        "classification": (
            r"vgg16 with [\d.]+ M parameters; 24 images of 8 classes to train on, 8 to validate",
            r"val/loss [\d.]+, val/accuracy [\d.]+",
            ["scores: {}/scores.json"],
        ),
    }[small.name]
    assert re.fullmatch(f"{re.escape(str(out))}: {announced}", lines[0])
    for number in (1, 2):
        rest = rf"loss [\d.e+-]+, .*{shown}, left \d:\d\d:\d\d, img/s [\d.]+, lr [\d.e-]+"
        assert re.fullmatch(f"epoch {number}/2: {rest}", lines[number])
    assert "left 0:00:00" in lines[2]
    assert lines[3].endswith(f"best on the validation images: {out}/checkpoints/best.ckpt")
    assert lines[-len(last) :] == [line.format(out) for line in last]


def test_the_line_of_an_epoch_has_the_mean_loss_of_its_steps(small, log_of):
    out, result = small.whole
    log = log_of(out)
    for epoch in (0, 1):
        losses = [values["loss"] for values in log.values() if values["epoch"] == epoch]
        assert f"\nepoch {epoch + 1}/2: loss {np.mean(losses):.4g}, " in result.out
        assert f", val/loss {log[3 * epoch + 2]['val/loss']:.4g}, " in result.out


def test_whole_run_keeps_its_options(small):
    stored = yaml.safe_load((small.whole[0] / "config.yaml").read_text())
    options = small.task.options.from_flat(stored)
    assert options.flat() == stored
    assert stored["weight_decay"] == 5e-4  # of classification, the default for the data set, by its value
    place = getattr(options.model, "place", None) or options.model.shuffle
    assert place in ("last", {"last": 3})
    printed = small("--config", small.whole[0] / "config.yaml", "--print_config", base=False)
    assert printed.code == 0
    assert small.task.options.from_flat(yaml.safe_load(printed.out)) == options


def test_whole_run_keeps_where_it_comes_from(small, root):
    (facts,) = strict_json(small.whole[0] / "provenance.json")
    git = ["git", "-C", str(root), "cat-file", "-t", str(facts["commit"])]
    known = subprocess.run(git, capture_output=True, check=False).stdout == b"commit\n"
    assert known == (root / ".git").exists()
    assert facts["seed"] == 0
    counts = {
        "detection": {"train": 12, "validation": 4, "test": 6},
        "classification": {"train": 24, "validation": 8},
    }
    assert facts["images"] == counts[small.name]
    assert facts["packages"]["torch"] == torch.__version__.partition("+")[0]
    assert all(facts["packages"].values())
    assert {"command", "modified", "started", "python", "resumed_from"} < facts.keys()
    assert {"system", "processor", "cores", "threads", "gpus"} == facts["machine"].keys()


def test_without_git_the_commit_is_unknown(monkeypatch):
    monkeypatch.setenv("PATH", "")
    facts = provenance.provenance(seed=3)
    assert (facts["commit"], facts["modified"], facts["seed"]) == (None, None, 3)


def test_the_commit_of_a_checkout_above_an_installed_package_is_none_of_it(tmp_path, monkeypatch):
    git = ["git", "-C", str(tmp_path), "-c", "user.name=x", "-c", "user.email=x@y"]
    for words in (["init", "-q"], ["commit", "-q", "--allow-empty", "-m", "one"]):
        subprocess.run([*git, *words], check=True)
    monkeypatch.setattr(provenance, "__file__", str(tmp_path / "provenance.py"))
    facts = provenance.provenance()
    assert (facts["commit"], facts["modified"]) == (None, None)


def test_whole_run_logs_losses_scores_rate_and_speed(small, log_of):
    out, log = small.whole[0], log_of(small.whole[0])
    assert list(log) == [0, 1, 2, 3, 4, 5]
    for step, values in log.items():
        assert values["loss"] > 0
        assert (small.task.monitor in values) == ("val/loss" in values) == (step in (2, 5))
        assert 0 <= values.get(small.task.monitor, 0) <= 1
        if small.name == "detection":
            parts = ("centre", "size", "confidence", "background", "classes")
            assert values["loss"] == pytest.approx(sum(values[f"loss/{part}"] for part in parts), rel=1e-5)
        else:
            assert 0 <= values["accuracy"] <= 1
    # Decays exponentially after a warm-up; is divided by 10 at half of the steps, and at three quarters.
    rates = {
        "detection": [0.001 * 0.01 ** (step / 6) * min(1, (step + 1) / 3) for step in range(6)],
        "classification": [0.01, 0.01, 0.01, 0.001, 0.0001, 0.0001],
    }
    assert [values["learning_rate"] for values in log.values()] == pytest.approx(rates[small.name], rel=1e-6)
    assert "images_per_second" in (out / "logs" / "csv" / "metrics.csv").read_text().splitlines()[0]
    events = EventAccumulator(str(out / "logs" / "tensorboard"))
    events.Reload()
    drawn = {event.step: event.value for event in events.Scalars("loss")}
    assert drawn == pytest.approx({step: values["loss"] for step, values in log.items()})


def test_whole_run_leaves_these_files_and_nothing_half_written(small):
    out, _ = small.whole
    more = {"detection": {"detections", "diagnosis", "training_images.png"}, "classification": set()}[
        small.name
    ]
    names = {"checkpoints", "config.yaml", "curves.png", "logs", "provenance.json", "scores.json"} | more
    assert {path.name for path in out.iterdir()} == names
    checkpoints = {"last.ckpt", "previous.ckpt", "best.ckpt"}
    assert {path.name for path in (out / "checkpoints").iterdir()} == checkpoints
    assert (out / "checkpoints" / "best.ckpt").stat().st_nlink == 2  # no copy
    assert not [path for path in out.rglob("*") if path.name.endswith(".part")]


@detection
def test_whole_run_writes_detections_as_text_and_as_coco(small, scenes):
    folder = small.whole[0] / "detections"
    truth = read_voc(scenes, "shapes:val")
    found = read_detections(folder, truth.images, truth.classes)
    assert len(found) > 0
    ground_truth = COCO(folder / "ground_truth.json")
    loaded = ground_truth.loadRes(str(folder / "detections.json"))
    assert len(loaded.anns) == len(found)
    scores = sorted(annotation["score"] for annotation in loaded.anns.values())
    assert scores == pytest.approx(sorted(found.scores), abs=1e-6)
    names = {image["file_name"].partition(".")[0] for image in ground_truth.imgs.values()}
    assert names == set(truth.images)


@detection
def test_whole_run_is_scored_and_diagnosed(small):
    out, _ = small.whole
    scores = strict_json(out / "scores.json")
    assert (scores["name"], scores["test_images"], scores["passes"]) == ("shuffled", 6, 2)
    for part, count in (("single_passes", 2), ("averaged_prediction", 1)):
        for score in (*scores[part]["map"].values(), *scores[part]["shares"].values()):
            assert len(score["values"]) == count
            assert (score["std"] is None) == (count == 1 or score["mean"] is None)
    assert set(scores["single_passes"]["map"]) == {"voc07", "area", "coco", "coco50"}
    numbers = strict_json(out / "diagnosis" / "diagnosis.json")
    assert f'"name":"{numbers["detectors"][0]["name"]}"' in (out / "diagnosis" / "report.html").read_text()
    assert "shuffled" in (out / "diagnosis" / "summary.txt").read_text()
    figures = {path.name for path in (out / "diagnosis").glob("*.png")}
    assert {"error_pies.png", "error_bars.png", "examples.png"} <= figures


@classifier
def test_scores_are_those_of_the_best_checkpoint_computed_apart(small, few_shapes):
    """Every pass, its mean and deviation, and the averaged prediction."""
    out, _ = small.whole
    scores, best = strict_json(out / "scores.json"), out / "checkpoints" / "best.ckpt"
    network, hyper_parameters, _ = load_trained(CLASSIFICATION, best)
    assert scores["checkpoint"] == "checkpoints/best.ckpt"
    assert scores["epoch"] == small.read(best)["epoch"] + 1
    assert scores["parameters"] == sum(weight.numel() for weight in network.parameters())
    test = read_classification_test("shapes")
    assert scores["test_images"] == len(test) == 16
    pixels = Normalization(statistics_of(hyper_parameters))(torch.from_numpy(test.images))
    labels = torch.from_numpy(test.labels)
    single, likely, losses, logits = [], [], [], []
    for number in range(2):
        parts = []
        for batch, images in enumerate(pixels.split(8)):
            seek_shuffles(network, -1 - number, batch)
            with torch.no_grad():
                parts.append(network(images))
        output = torch.cat(parts)
        logits.append(output)
        single.append((output.argmax(1) == labels).float().mean().item())
        likely.append((output.argsort(1)[:, -5:] == labels[:, None]).any(1).float().mean().item())
        losses.append(functional.cross_entropy(output, labels).item())
    assert not torch.allclose(*logits)
    average = torch.stack(logits).softmax(2).mean(0)
    accuracy, loss = scores["accuracy"], scores["loss"]
    assert accuracy["single"] == pytest.approx(single)
    assert accuracy["mean"] == pytest.approx(np.mean(single))
    assert accuracy["std"] == pytest.approx(np.std(single, ddof=1))
    assert accuracy["averaged"] == pytest.approx((average.argmax(1) == labels).float().mean().item())
    assert scores["accuracy_top5"]["single"] == pytest.approx(likely)
    assert loss["single"] == pytest.approx(losses, rel=1e-4)
    assert loss["averaged"] == pytest.approx(functional.nll_loss(average.log(), labels).item(), rel=1e-4)


@classifier
def test_checkpoints_load_into_the_plain_network_and_carry_the_statistics(small, few_shapes):
    file = small.whole[0] / "checkpoints" / "last.ckpt"
    network, state = vgg16(8, width=0.0625, weights=file), load_weights(file)
    assert all(torch.equal(value, state[f"model.{name}"]) for name, value in network.state_dict().items())
    data = read_classification("shapes", validation=0.25, fraction=0.5)
    hyper_parameters = load_trained(CLASSIFICATION, file).hyper_parameters
    assert statistics_of(hyper_parameters) == data.statistics
    assert tuple(hyper_parameters["classes"]) == data.classes


@classifier
def test_without_validation_the_last_state_is_scored(small):
    scores = strict_json(small.plain / "scores.json")
    assert (scores["checkpoint"], scores["passes"]) == ("checkpoints/last.ckpt", 1)
    assert scores["accuracy"]["std"] is None
    assert scores["accuracy"]["averaged"] == scores["accuracy"]["mean"]


@detection
@pytest.mark.usefixtures("unscored")
def test_terminal_shows_a_bar(small, tmp_path, monkeypatch):
    terminal = SimpleNamespace(stdout=SimpleNamespace(isatty=lambda: True))
    monkeypatch.setattr(trainer, "sys", terminal)
    result = small("--out", tmp_path, "--max-steps", 1)
    assert (result.code, result.err) == (0, "")
    bars = [line for line in result.out.split("\r") if line.startswith("epoch 1/2:  33%")]
    names = re.findall(r"([\w/]+)=", bars[-1])
    assert names == ["left", "img/s", "lr", "loss", "centre", "size", "confidence", "background", "classes"]


@classifier
@pytest.mark.parametrize(
    "words",
    [
        ("--arch", "resnet18", "--method", "patch", "--patch", 2, "--layers", 2, 4),
        ("--arch", "resnet18", "--method", "channel", "--last", 1, "--shuffle-shortcut", "false"),
        ("--method", "gap_fc", "--last", 2, "--channels-last", "false"),
        ("--arch", "perceptron", "--data", "shapes"),
        ("--arch", "squeezenet1_1", "--width", 1, "--method", "spatial", "--names", "features.6.expand3x3"),
    ],
    ids=lambda words: f"{words[1]}-{words[3]}",
)
def test_every_kind_of_network_and_method_trains(small, tmp_path, words):
    result = small("--out", tmp_path / "run", "--max-steps", 1, "--validation", 0, "--passes", 1, *words)
    assert (result.code, result.err) == (0, "")
    assert small("--evaluate", tmp_path / "run", "--passes", 1, base=False).is_done()
    first = strict_json(tmp_path / "run" / "scores.json")
    assert strict_json(tmp_path / "run" / "evaluation" / "scores.json")["loss"] == first["loss"]


@classifier
def test_all_variants_begin_with_the_same_weights(small, tmp_path, at_step):
    """But for those that GAP+FC replaces; or with those of another run."""
    begun, file = {}, small.whole[0] / "checkpoints" / "last.ckpt"
    at_step(0, lambda module: begun.setdefault(name, copy.deepcopy(module.model.state_dict())))
    for name, words in {
        "plain": (),
        "spatial": ("--method", "spatial", "--last", 4),
        "channel": ("--method", "channel", "--layer", 2),
        "gap_fc": ("--method", "gap_fc", "--last", 4),
        "given": ("--weights", file),
    }.items():
        assert small("--out", tmp_path / name, "--max-steps", 1, "--passes", 1, *words).is_done()
    plain = begun["plain"]
    for name in ("spatial", "channel"):
        assert begun[name].keys() == plain.keys()
        assert all(torch.equal(begun[name][key], value) for key, value in plain.items())
    same = [key for key, value in plain.items() if begun["gap_fc"][key].shape == value.shape]
    assert len(same) == len(plain) - 4  # four convolutions lose their extent
    assert all(torch.equal(begun["gap_fc"][key], plain[key]) for key in same)
    state = torch.load(file, weights_only=True)["state_dict"]
    assert all(torch.equal(value, state[f"model.{key}"]) for key, value in begun["given"].items())


@classifier
def test_the_test_images_are_read_once_and_only_after_training(small, tmp_path, monkeypatch, at_step):
    read, shapes = [], classification.DATASETS["shapes"]

    def noted(root, split):
        read.append(split)
        return shapes.read(root, split)

    monkeypatch.setitem(classification.DATASETS, "shapes", dataclasses.replace(shapes, read=noted))
    at_step(2, lambda module: read.append("step"))
    assert small("--out", tmp_path / "run", "--max-steps", 3, "--passes", 1).is_done()
    assert read == ["train", "step", "test"]


# Repeated, stopped, resumed


@pytest.mark.usefixtures("unscored")
def test_another_seed_another_run(small, log_of, tmp_path):
    assert small("--out", tmp_path, *small.shuffled, "--seed", 1, "--max-steps", 1).is_done()
    assert log_of(tmp_path)[0]["loss"] != log_of(small.whole[0])[0]["loss"]


@pytest.mark.usefixtures("unscored")
def test_stopped_by_steps_and_resumed_equals_unbroken(small, log_of, tmp_path):
    """Within an epoch, at the end of one, and after the first step of another."""
    stops = (2, 3, 4)
    unbroken, last = log_of(small.whole[0]), tmp_path / "checkpoints" / "last.ckpt"
    assert small("--out", tmp_path, *small.shuffled, "--max-steps", stops[0], "--workers", 1).is_done(
        "epoch 1/2 step 2/3: "
    )
    for steps in stops:
        if steps > stops[0]:
            assert small("--resume", "--out", tmp_path, "--max-steps", steps, base=False).is_done()
        assert log_of(tmp_path) == {step: unbroken[step] for step in range(steps)}
        assert small.read(last)["global_step"] == steps
    final = small("--resume", tmp_path, base=False)
    assert (final.code, final.err) == (0, "")
    assert log_of(tmp_path) == unbroken
    if small.name == "classification":  # a detection is not scored here
        assert strict_json(tmp_path / "scores.json") == strict_json(small.whole[0] / "scores.json")
    history = strict_json(tmp_path / "provenance.json")
    assert [facts["resumed_from"] for facts in history] == [None, *[str(last)] * len(stops)]
    assert small("--resume", tmp_path, "--epochs", 1, base=False).is_refused("--epochs")


@pytest.mark.usefixtures("unscored")
def test_stopped_by_signals_and_resumed_equals_unbroken(small, log_of, tmp_path, monkeypatch, at_step):
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    last = tmp_path / "checkpoints" / "last.ckpt"
    words = ["--out", tmp_path, *small.shuffled]
    for step, number, code in ((1, signal.SIGINT, 130), (2, signal.SIGTERM, 143)):  # within, and at the end
        with monkeypatch.context() as patch:
            at_step(step, lambda module, number=number: signal.raise_signal(number), patch)
            result = small(*words)
        assert result.code == code
        assert not (tmp_path / "scores.json").exists()
        name = signal.Signals(number).name
        assert result.err == f"stopped by {name}; the state is kept in {last}; --resume goes on from there\n"
        assert small.read(last)["global_step"] == step + 1
        assert {number: signal.getsignal(number) for number in before} == before
        words = ["--out", tmp_path, *small.shuffled, "--resume"]
    ((best, _, _),) = small.read(last)["callbacks"]["Checkpoints"]["ranking"]
    assert best == log_of(tmp_path)[2][small.task.monitor]
    assert small(*words).is_done()
    assert log_of(tmp_path) == log_of(small.whole[0])
    resumed, whole = (small.read(run / "checkpoints" / "last.ckpt") for run in (tmp_path, small.whole[0]))
    assert resumed["callbacks"] == whole["callbacks"]
    for name, value in resumed["state_dict"].items():
        assert torch.equal(value, whole["state_dict"][name]), name


@detection
@pytest.mark.usefixtures("unscored")
def test_resumed_in_another_folder_looks_for_its_own_best(small, tmp_path):
    state = small.whole[0] / "checkpoints" / "last.ckpt"
    assert small("--resume", state, "--out", tmp_path / "on", "--epochs", 3, base=False).is_done("best.ckpt")
    assert small.read(tmp_path / "on" / "checkpoints" / "last.ckpt")["global_step"] == 9
    again = small("--resume", state, "--out", tmp_path / "on", "--epochs", 3, base=False)
    assert again.is_refused(f"{tmp_path / 'on'}: found a run that has begun"), "its checkpoints would be lost"


@pytest.mark.parametrize(
    ("small", "change"),
    [
        *(("detection", change) for change in ("--seed 1", "--learning-rate 0.1", "--weight-decay 0.1")),
        *(("classification", change) for change in ("--method channel", "--last 2", "--fraction 0.25")),
    ],
    indirect=["small"],
)
def test_a_resumed_run_keeps_its_options(small, change):
    result = small("--resume", small.whole[0], *change.split(), base=False)
    assert result.is_refused(f"error: {change.split()[0]}: found ")


def test_a_folder_that_holds_a_run_is_left_alone(small):
    before = {path: path.stat().st_mtime_ns for path in small.plain.rglob("*")}
    result = small("--out", small.plain)
    assert result.is_refused(f"error: {small.plain}: found a run that has begun; expected --resume ")
    assert {path: path.stat().st_mtime_ns for path in small.plain.rglob("*")} == before


# A loss that is not finite


@pytest.mark.usefixtures("unscored")
@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_loss_that_is_not_finite_stops_the_run(small, log_of, scenes, tmp_path, at_step, value):
    def spoil(module):
        with torch.no_grad():
            list(module.model.parameters())[-1].fill_(value)

    at_step(4, spoil)
    result = small("--out", tmp_path, *small.shuffled)
    assert result.code == 3
    assert re.match(r"error: the loss is (nan|inf) at step 4 \(epoch 2\)[;.] ", result.err)
    assert result.err.count("\n") == 1
    if small.name == "detection":
        assert "; parts: centre " in result.err
        named = re.search(r"images of the batch: ([\w, ]+)\.", result.err)[1].split(", ")
        assert len(named) == 4
        assert set(named) < set(read_voc(scenes, "shapes:train").images)
    assert list(log_of(tmp_path)) == [0, 1, 2, 3]
    assert not (tmp_path / "scores.json").exists()
    for name in ("last", "best"):
        state = small.read(tmp_path / "checkpoints" / f"{name}.ckpt")
        assert state["global_step"] == 3
        assert all(value.isfinite().all() for value in state["state_dict"].values())


@detection
@pytest.mark.usefixtures("unscored")
def test_a_step_too_large_is_not_kept(small, scenes, tmp_path):
    result = small("--out", tmp_path, "--batch-size", 12, "--learning-rate", 1e20, "--warmup-epochs", 0)
    assert result.code == 3
    assert result.err.startswith("error: the loss on validation images is not finite after step 1 (epoch 1)")
    named = re.search(r"images of the batch: ([\w, ]+)\.", result.err)[1].split(", ")
    assert len(set(named) & set(read_voc(scenes, "shapes:train").images)) == 4
    assert not list((tmp_path / "checkpoints").iterdir())


# Evaluation of a checkpoint


def test_evaluation_repeats_the_scores_of_the_run(small, tmp_path):
    out, again = small.whole[0], tmp_path / "shuffled"
    result = small("--evaluate", out, "--out", again, base=False)
    assert (result.code, result.err) == (0, "")
    if small.name == "detection":
        for file in ("detections/detections.json", "diagnosis/summary.txt"):
            assert (again / file).read_text() == (out / file).read_text(), file
        scores = [strict_json(folder / "scores.json") for folder in (again, out)]
        assert (again / scores[0].pop("checkpoint")).samefile(out / scores[1].pop("checkpoint"))
        assert scores[0] == scores[1]
    else:
        scores = [strict_json(folder / "scores.json") for folder in (again, out)]
        for name in ("accuracy", "accuracy_top5", "loss", "parameters", "test_images", "passes"):
            assert scores[0][name] == scores[1][name]


@detection
def test_detections_with_another_shuffle(small, tmp_path):
    """Strict loading both ways: a shuffle has no weights."""
    shuffled, plain = small.whole[0] / "checkpoints" / "best.ckpt", small.plain
    assert small(
        "--evaluate", shuffled, "--shuffle", "none", "--sheet", 0, "--out", tmp_path, base=False
    ).is_done()
    assert strict_json(tmp_path / "scores.json")["passes"] == 1
    assert not list((tmp_path / "diagnosis").glob("examples*"))
    for file in plain.iterdir():
        if file.is_file():
            shutil.copy(file, tmp_path)
    kept = tmp_path / "kept.ckpt"  # elsewhere than where the run put it, beside its config.yaml
    shutil.copy(plain / "checkpoints" / "last.ckpt", kept)
    assert small("--evaluate", kept, "--shuffle", "last", "--passes", 3, "--sheet", 0, base=False).is_done()
    scores = strict_json(tmp_path / "evaluation-shuffle-last" / "scores.json")
    assert (scores["name"], scores["passes"]) == (tmp_path.name, 3)
    assert len(scores["single_passes"]["shares"]["background"]["values"]) == 3


@classifier
@pytest.mark.parametrize(
    ("words", "passes"),
    [("--method channel", 2), ("--layer 2", 2), ("--method patch --patch 2 --last 9", 2)],
)
def test_classification_with_another_shuffle(small, tmp_path, words, passes):
    assert small("--evaluate", small.whole[0], *words.split(), "--out", tmp_path, base=False).is_done()
    scores, before = strict_json(tmp_path / "scores.json"), strict_json(small.whole[0] / "scores.json")
    assert scores["passes"] == passes
    assert scores["loss"]["single"] != before["loss"]["single"]


@classifier
def test_an_unshuffled_evaluation_equals_the_plain_network(small, tmp_path):
    """Table 1's row "shuffled in training → not in test", in a folder whose name says so."""
    run = tmp_path / "run"
    shutil.copytree(small.whole[0], run, ignore=shutil.ignore_patterns("last.ckpt", "logs"))
    scores = []
    for words, name in (("--method none", "method-none"), ("--eval-shuffle false", "eval_shuffle-False")):
        assert small("--evaluate", run, *words.split(), base=False).is_done()
        scores.append(strict_json(run / f"evaluation-{name}" / "scores.json"))
    assert scores[0]["passes"] == 1
    assert scores[0]["loss"] == scores[1]["loss"]
    assert scores[0]["loss"]["single"] != strict_json(run / "scores.json")["loss"]["single"]


@detection
def test_passes_differ_and_can_be_repeated(small):
    stored = yaml.safe_load((small.plain / "config.yaml").read_text())
    options, last = Options.from_flat(stored | {"passes": 2}), small.plain / "checkpoints" / "last.ckpt"
    test, _ = read_test_data(options.data)
    loader = detection_loader(DetectionDataset(test, eval_transform(64)), 4, train=False)
    model, hyper_parameters, _ = load_trained(DETECTION, last, {"shuffle": "last"})
    assert (tuple(hyper_parameters["classes"]), hyper_parameters["input_size"]) == (test.classes, 64)
    cpu = torch.device("cpu")
    first, again = (detect(model, loader, test, options.evaluation, device=cpu) for _ in range(2))
    scores = [found.scores.tolist() for found in first.passes]
    assert scores[0] != scores[1]
    assert first.averaged.scores.tolist() not in scores
    assert scores == [found.scores.tolist() for found in again.passes]
    single = detect(load_trained(DETECTION, last).network, loader, test, options.evaluation, device=cpu)
    assert len(single.passes) == 1
    assert single.averaged is single.passes[0]


@detection
def test_evaluation_needs_no_training_images(small, scenes, tmp_path):
    shutil.copytree(scenes / "VOCshapes", tmp_path / "VOCshapes")
    (tmp_path / "VOCshapes/ImageSets/Main/train.txt").unlink()
    for file in (tmp_path / "VOCshapes").rglob("train_*"):
        file.unlink()
    out = tmp_path / "out"
    assert small(
        "--evaluate", small.plain, "--root", tmp_path, "--sheet", 0, "--out", out, base=False
    ).is_done()
    assert strict_json(out / "provenance.json")[0]["test"] == ["shapes:val"]


# What is wrong with checkpoints


@pytest.mark.parametrize(
    ("small", "kind", "option"),
    [
        *(
            ("detection", kind, option)
            for kind in ("text", "cut short", "weights alone", "absent")
            for option in ("--resume", "--evaluate", "--weights")
        ),
        *(("classification", kind, "--evaluate") for kind in ("cut short", "a list", "absent", "foreign")),
    ],
    indirect=["small"],
)
def test_bad_checkpoint(small, tmp_path, kind, option):
    path, good = tmp_path / "bad.ckpt", small.plain / "checkpoints" / "last.ckpt"
    if kind == "text":
        path.write_text("not weights\n" * 100)
    elif kind == "cut short":
        path.write_bytes(good.read_bytes()[: good.stat().st_size // 2])
    elif kind != "absent":
        foreign = {"state_dict": {}, "hyper_parameters": {"model": {}, "classes": [], "input_size": 64}}
        content = {"weights alone": {"weight": torch.zeros(3)}, "a list": [1, 2, 3], "foreign": foreign}
        torch.save(content[kind], path)
    result = small(option, path, "--out", tmp_path / "out")
    assert result.is_refused(path, *(["a checkpoint"] if option == "--evaluate" else []))
    assert not (tmp_path / "out").exists()


@detection
def test_checkpoint_of_another_architecture(small, tmp_path):
    good, moved = small.plain / "checkpoints" / "last.ckpt", tmp_path / "moved.ckpt"
    shutil.copy(good, moved)
    for words, expected in (
        (("--evaluate", good, "--arch", "resnet50"), ("--arch", "'resnet50'", "'resnet18'", good)),
        (
            ("--resume", small.plain, "--arch", "resnet50"),
            ("--arch", "'resnet50'", "'resnet18'", small.plain),
        ),
        (("--resume", moved, "--arch", "resnet50"), (moved, "architecture")),
        (("--weights", good, "--arch", "resnet50"), ("--weights", good, "resnet50")),
        (("--evaluate", moved, "--input-size", 96), ("--input-size", "96", "64", moved)),
    ):
        assert small(*words, "--validation", 0, "--out", tmp_path / "out").is_refused(*expected)
    assert not (tmp_path / "out").exists()


@classifier
@pytest.mark.parametrize(
    ("words", "parts"),
    [
        ("--arch resnet18", ["--arch", "'resnet18'", "'vgg16', as", "was trained"]),
        ("--width 1", ["--width", "was trained"]),
        ("--method gap_fc --last 2", ["trained with --method spatial", "GAP+FC is trained"]),
        ("--layer 40", ["--layer 40 of vgg16"]),
        ("--resume", ["--resume beside it"]),
    ],
)
def test_an_evaluation_cannot_change_the_network(small, tmp_path, words, parts):
    result = small("--evaluate", small.whole[0], *words.split(), "--out", tmp_path / "out", base=False)
    assert result.is_refused(*parts)
    assert not (tmp_path / "out").exists()


@classifier
def test_gap_fc_cannot_be_switched_off(small, tmp_path):
    words = ("--method", "gap_fc", "--last", 2)
    assert small("--out", tmp_path, *words, "--max-steps", 1).is_done()
    result = small("--evaluate", tmp_path, "--method", "none", base=False)
    assert result.is_refused("trained with --method gap_fc")
    assert small("--evaluate", tmp_path, *words, base=False).is_done()


@detection
def test_a_detector_starts_from_another(small, capsys):
    """The head's weights are loaded where they fit; those that do not are named."""
    trained = small.read(small.plain / "checkpoints" / "last.ckpt")
    options = dataclasses.replace(
        load_trained(DETECTION, small.plain / "checkpoints" / "last.ckpt").options, weights=str(small.plain)
    )
    own = {name.removeprefix("model."): value for name, value in trained["state_dict"].items()}
    capsys.readouterr()
    same = DETECTION.build(options, trained["hyper_parameters"]).state_dict()
    assert all(torch.equal(value, own[name]) for name, value in same.items())
    assert capsys.readouterr().out == ""
    other = DETECTION.build(options, {**trained["hyper_parameters"], "classes": ["a", "b"]}).state_dict()
    new = [name for name, value in other.items() if value.shape != own[name].shape]
    assert new == ["head.output.weight", "head.output.bias"]
    assert all(torch.equal(value, own[name]) for name, value in other.items() if name not in new)
    assert "the head's output.weight, output.bias do not fit" in capsys.readouterr().out


@classifier
def test_weights_that_do_not_fit_are_named(small, tmp_path):
    file = small.whole[0] / "checkpoints" / "last.ckpt"
    result = small("--out", tmp_path / "run", "--width", 0.125, "--weights", file)
    assert result.is_refused("--weights", "features.0.weight")
    assert result.err.count("found") == result.err.count("expected") == 1, result.err


@classifier
def test_checkpoint_of_other_classes(small, tmp_path, shared_data):
    words = ("--data", "cifar100", "--root", shared_data / "cifar100", "--out", tmp_path / "out")
    assert small("--evaluate", small.whole[0], *words, base=False).is_refused("8 classes")


@classifier
def test_the_papers_protocol_trains_on_all_and_chooses_on_the_test_images(small, tmp_path, log_of):
    assert small("--protocol", "paper", "--out", tmp_path / "run").is_done(
        "--protocol paper: the epoch is chosen on the test images; the score will be too high"
    )
    rows = log_of(tmp_path / "run").values()
    validated = [
        row[name] for row in rows for name in row if name.startswith("val") and name.endswith("accuracy")
    ]
    scores = json.loads((tmp_path / "run" / "scores.json").read_text())
    assert len(validated) == 2
    assert scores["accuracy"]["mean"] == pytest.approx(
        max(validated), abs=1e-6
    )  # the best epoch, same images
    assert scores["chosen_on"] == "the test images (--protocol paper): the accuracy is too high"
    last = torch.load(tmp_path / "run" / "checkpoints" / "last.ckpt", weights_only=True)
    assert last["global_step"] == 2 * 4
    assert "chosen_on" not in json.loads((small.plain / "scores.json").read_text())
