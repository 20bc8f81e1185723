"""Whole runs, small ones: what they leave behind, and that they can be repeated, stopped and resumed."""

import json
import math
import os
import re
import signal
import subprocess
import sys

import numpy as np
import pytest
import torch
import yaml
from torch.nn import functional

from data import classification
from data.classification import Normalization, read_classification, read_classification_test
from detector import seek_shuffles, vgg16
from detector.networks import load_weights
from training.checkpoint import load_trained
from training.checkpoint import read_checkpoint as read_checkpoint_of
from training.module import TrainingModule
from training.tasks.classification import CLASSIFICATION, Options
from training.tasks.classification_module import statistics_of


def read_checkpoint(path):
    return read_checkpoint_of(path, CLASSIFICATION.script, CLASSIFICATION.hyper_parameters)


SHUFFLED = ("--method", "spatial", "--last", 3, "--passes", 2)


def strict_json(path):
    """Content of a JSON file; the NaN and Infinity that Python would read are no JSON."""

    def refuse(word):
        raise AssertionError(f"{path} has {word}")

    return json.loads(path.read_text(), parse_constant=refuse)


def at_step(monkeypatch, step, act):
    """Call `act` with the module at the beginning of a step."""
    original = TrainingModule.training_step

    def training_step(self, batch, batch_index):
        if self.global_step == step:
            act(self)
        return original(self, batch, batch_index)

    monkeypatch.setattr(TrainingModule, "training_step", training_step)


# What a run leaves behind


def test_whole_run_prints_a_line_an_epoch_and_no_warning(whole):
    out, result = whole
    assert result.err == ""
    lines = [line for line in result.out.splitlines() if " step " not in line]  # a line a minute, within
    assert re.fullmatch(
        rf"{re.escape(str(out))}: vgg16 with [\d.]+ M parameters; 24 images of 8 classes to train on, "
        "8 to validate",
        lines[0],
    )
    for number, line in enumerate(lines[1:3], start=1):
        assert re.fullmatch(
            rf"epoch {number}/2: loss [\d.e+-]+, .*val/accuracy [\d.]+, "
            r"left \d:\d\d:\d\d, img/s [\d.]+, lr .*",
            line,
        ), line
    assert lines[4].startswith("shuffled: ")
    assert lines[5] == f"scores: {out / 'scores.json'}"


def test_whole_run_keeps_its_options_and_where_it_comes_from(whole):
    out, _ = whole
    stored = yaml.safe_load((out / "config.yaml").read_text())
    assert stored["weight_decay"] == 5e-4  # the default for the data set, by its value
    assert Options.from_flat(stored).model.place == {"last": 3}
    (facts,) = strict_json(out / "provenance.json")
    assert facts["seed"] == 0
    assert facts["images"] == {"train": 24, "validation": 8}
    assert facts["packages"]["torch"]


def test_whole_run_logs_loss_accuracy_rate_and_speed(whole, log_of):
    log = log_of(whole[0])
    assert list(log) == list(range(6))
    for step, row in log.items():
        assert row["loss"] > 0
        assert 0 <= row["accuracy"] <= 1
        assert ("val/accuracy" in row) == ("val/loss" in row) == (step in (2, 5))
    # Six steps: divided by 10 at half of them, and at three quarters.
    rates = [log[step]["learning_rate"] for step in range(6)]
    assert rates == pytest.approx([0.01, 0.01, 0.01, 0.001, 0.0001, 0.0001])


def test_scores_are_those_of_the_best_checkpoint_computed_apart(whole):
    """Every pass, its mean and deviation, and the averaged prediction."""
    out, _ = whole
    scores = strict_json(out / "scores.json")
    trained = load_trained(CLASSIFICATION, out / "checkpoints" / "best.ckpt")
    assert scores["checkpoint"] == "checkpoints/best.ckpt"
    assert scores["epoch"] == read_checkpoint(out / "checkpoints" / "best.ckpt")["epoch"] + 1
    assert scores["parameters"] == sum(weight.numel() for weight in trained.network.parameters())
    test = read_classification_test("shapes")
    assert scores["test_images"] == len(test) == 16
    pixels = Normalization(statistics_of(trained.hyper))(torch.from_numpy(test.images))
    labels = torch.from_numpy(test.labels)
    single, likely, losses, logits = [], [], [], []
    for number in range(2):
        parts = []
        for batch, images in enumerate(pixels.split(8)):
            seek_shuffles(trained.network, -1 - number, batch)
            with torch.no_grad():
                parts.append(trained.network(images))
        output = torch.cat(parts)
        logits.append(output)
        single.append((output.argmax(1) == labels).float().mean().item())
        likely.append((output.argsort(1)[:, -5:] == labels[:, None]).any(1).float().mean().item())
        losses.append(functional.cross_entropy(output, labels).item())
    assert not torch.allclose(*logits)
    assert scores["accuracy"]["single"] == pytest.approx(single)
    assert scores["accuracy"]["mean"] == pytest.approx(np.mean(single))
    assert scores["accuracy"]["std"] == pytest.approx(np.std(single, ddof=1))
    assert scores["accuracy_top5"]["single"] == pytest.approx(likely)
    assert scores["loss"]["single"] == pytest.approx(losses, rel=1e-4)
    average = torch.stack(logits).softmax(2).mean(0)
    assert scores["accuracy"]["averaged"] == pytest.approx(
        (average.argmax(1) == labels).float().mean().item()
    )
    averaged_loss = functional.nll_loss(average.log(), labels).item()
    assert scores["loss"]["averaged"] == pytest.approx(averaged_loss, rel=1e-4)


def test_checkpoints_load_into_the_plain_network_and_carry_the_statistics(whole):
    file = whole[0] / "checkpoints" / "last.ckpt"
    network = vgg16(8, width=0.0625, weights=file)
    state = load_weights(file)
    for name, value in network.state_dict().items():
        assert torch.equal(value, state[f"model.{name}"])
    data = read_classification("shapes", validation=0.25, fraction=0.5)
    hyper = load_trained(CLASSIFICATION, file).hyper
    assert statistics_of(hyper) == data.statistics
    assert tuple(hyper["classes"]) == data.classes


def test_nothing_half_written_is_left(whole):
    out, _ = whole
    names = {path.name for path in out.iterdir()}
    assert names == {"checkpoints", "config.yaml", "logs", "provenance.json", "scores.json"}
    assert {path.name for path in (out / "checkpoints").iterdir()} == {"best.ckpt", "last.ckpt"}


def test_without_validation_the_last_state_is_scored(plain):
    scores = strict_json(plain / "scores.json")
    assert scores["checkpoint"] == "checkpoints/last.ckpt"
    assert scores["passes"] == 1
    assert scores["accuracy"]["std"] is None
    assert scores["accuracy"]["averaged"] == scores["accuracy"]["mean"]


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
def test_every_kind_of_network_and_method_trains(command, tmp_path, words):
    result = command("--out", tmp_path / "run", "--max-steps", 1, "--validation", 0, "--passes", 1, *words)
    assert result.code == 0, result.err
    assert result.err == ""
    again = command("--evaluate", tmp_path / "run", "--passes", 1, base=False)
    assert again.code == 0, again.err
    first = strict_json(tmp_path / "run" / "scores.json")
    assert strict_json(tmp_path / "run" / "evaluation" / "scores.json")["loss"] == first["loss"]


def test_all_variants_begin_with_the_same_weights(command, tmp_path, monkeypatch):
    """But for those that GAP+FC replaces."""
    begun = {}

    def keep(module):
        begun[name] = {key: value.clone() for key, value in module.model.state_dict().items()}

    at_step(monkeypatch, 0, keep)
    for name, words in {
        "plain": (),
        "spatial": ("--method", "spatial", "--last", 4),
        "channel": ("--method", "channel", "--layer", 2),
        "gap_fc": ("--method", "gap_fc", "--last", 4),
    }.items():
        result = command("--out", tmp_path / name, "--max-steps", 1, "--passes", 1, *words)
        assert result.code == 0, result.err
    for name in ("spatial", "channel"):
        assert begun[name].keys() == begun["plain"].keys()
        assert all(torch.equal(begun[name][key], value) for key, value in begun["plain"].items())
    same = [key for key, value in begun["plain"].items() if begun["gap_fc"][key].shape == value.shape]
    assert len(same) == len(begun["plain"]) - 4  # four convolutions lose their extent
    assert all(torch.equal(begun["gap_fc"][key], begun["plain"][key]) for key in same)


# Repeated, stopped, resumed


def test_another_seed_another_run(whole, command, log_of, tmp_path):
    command("--out", tmp_path / "same", *SHUFFLED)
    command("--out", tmp_path / "other", *SHUFFLED, "--seed", 1)
    assert log_of(tmp_path / "same") == log_of(whole[0])
    assert log_of(tmp_path / "other")[0]["loss"] != log_of(whole[0])[0]["loss"]


@pytest.mark.parametrize("steps", [2, 3, 4])
def test_stopped_by_steps_and_resumed_equals_unbroken(whole, command, log_of, tmp_path, steps):
    out = tmp_path / "run"
    assert command("--out", out, *SHUFFLED, "--max-steps", steps).code == 0
    result = command("--resume", out, base=False)
    assert result.code == 0, result.err
    assert log_of(out) == log_of(whole[0])
    assert strict_json(out / "scores.json") == strict_json(whole[0] / "scores.json")
    assert len(strict_json(out / "provenance.json")) == 2


def test_stopped_by_a_signal_and_resumed_equals_unbroken(whole, command, log_of, tmp_path, monkeypatch):
    out = tmp_path / "run"
    with monkeypatch.context() as patch:
        at_step(patch, 1, lambda module: os.kill(os.getpid(), signal.SIGTERM))
        result = command("--out", out, *SHUFFLED)
    assert result.code == 143
    assert not (out / "scores.json").exists()
    assert result.err.startswith("stopped by SIGTERM; the state is kept in ")
    assert command("--resume", out, base=False).code == 0
    assert log_of(out) == log_of(whole[0])


@pytest.mark.parametrize(
    "change", [("--method", "channel"), ("--last", 2), ("--fraction", 0.25), ("--seed", 3)], ids=str
)
def test_a_resumed_run_keeps_its_options(whole, command, change):
    result = command("--resume", whole[0], *change, base=False)
    assert result.code == 2
    assert result.err.startswith(f"error: {change[0]}: found ")
    assert result.err.count("\n") == 1


def test_a_folder_that_holds_a_run_is_left_alone(plain, command):
    before = (plain / "scores.json").stat().st_mtime_ns
    result = command("--out", plain, "--max-steps", 1)
    assert result.code == 2
    assert "a run that has begun" in result.err
    assert (plain / "scores.json").stat().st_mtime_ns == before


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_loss_that_is_not_finite_stops_the_run(command, tmp_path, monkeypatch, value):
    def spoil(module):
        with torch.no_grad():
            module.model.classifier[-1].bias.fill_(value)

    at_step(monkeypatch, 4, spoil)
    result = command("--out", tmp_path / "run", *SHUFFLED)
    assert result.code == 3
    assert result.err.startswith("error: the loss is nan at step 4 (epoch 2).")
    assert read_checkpoint(tmp_path / "run" / "checkpoints" / "last.ckpt")["global_step"] == 3
    assert not (tmp_path / "run" / "scores.json").exists()


def test_two_processes_train_together(root, tmp_path, whole):
    """The same weights in both, each of its own images."""
    script = tmp_path / "train.py"
    script.write_text(
        "import sys\n"
        "from data import classification\n"
        "classification.SHAPES.update(train=64, test=16)\n"
        "from training.tasks.classification import main\n"
        'if __name__ == "__main__":\n'
        "    sys.exit(main())\n"
    )
    out = tmp_path / "run"
    words = [
        *("--data", "shapes", "--fraction", "0.5", "--validation", "0.25", "--width", "0.0625"),
        *("--batch-size", "8", "--epochs", "2", "--learning-rate", "0.01", "--accelerator", "cpu"),
        *("--workers", "0", "--devices", "2", "--out", str(out), *map(str, SHUFFLED)),
    ]
    ended = subprocess.run(
        [sys.executable, script, *words],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(root), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert ended.returncode == 0, ended.stderr
    assert ended.stderr == ""
    assert len([line for line in ended.stdout.splitlines() if line.startswith("scores: ")]) == 1
    alone = torch.load(whole[0] / "checkpoints" / "last.ckpt", weights_only=True)
    both = torch.load(out / "checkpoints" / "last.ckpt", weights_only=True)
    assert both["global_step"] == alone["global_step"] == 6
    assert both["state_dict"].keys() == alone["state_dict"].keys()


# Evaluation


def test_evaluation_repeats_the_scores_of_the_run(whole, command, tmp_path):
    result = command("--evaluate", whole[0], "--out", tmp_path / "again", base=False)
    assert result.code == 0, result.err
    again, first = strict_json(tmp_path / "again" / "scores.json"), strict_json(whole[0] / "scores.json")
    for name in ("accuracy", "accuracy_top5", "loss", "parameters", "test_images", "passes"):
        assert again[name] == first[name]


@pytest.mark.parametrize(
    ("words", "passes"),
    [
        (("--method", "none"), 1),
        (("--eval-shuffle", "false"), 1),
        (("--method", "channel"), 2),
        (("--layer", 2), 2),
        (("--method", "patch", "--patch", 2, "--last", 9), 2),
    ],
    ids=str,
)
def test_evaluation_with_another_shuffle(whole, command, words, passes):
    """Table 1's rows "shuffled in training → not in test", and others."""
    result = command("--evaluate", whole[0], *words, base=False)
    assert result.code == 0, result.err
    (folder,) = (whole[0]).glob("evaluation-*")
    scores = strict_json(folder / "scores.json")
    for file in folder.iterdir():
        file.unlink()
    folder.rmdir()
    assert scores["passes"] == passes
    assert scores["loss"]["single"] != strict_json(whole[0] / "scores.json")["loss"]["single"]


def test_an_unshuffled_evaluation_equals_the_plain_network(whole, command, tmp_path):
    for name, words in {"a": ("--method", "none"), "b": ("--eval-shuffle", "false")}.items():
        command("--evaluate", whole[0], *words, "--out", tmp_path / name, base=False)
    a, b = (strict_json(tmp_path / name / "scores.json") for name in "ab")
    assert a["loss"] == b["loss"]


def test_the_test_images_are_read_once_and_only_after_training(command, tmp_path, monkeypatch):
    read = []
    original = classification._read

    def noted(name, root, split):
        read.append(split)
        return original(name, root, split)

    monkeypatch.setattr(classification, "_read", noted)
    at_step(monkeypatch, 2, lambda module: read.append("step"))
    assert command("--out", tmp_path / "run", "--max-steps", 3, "--passes", 1).code == 0
    assert read == ["train", "step", "test"]
