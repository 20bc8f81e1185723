"""Whole runs, small ones: what they leave behind, and that they can be repeated, stopped and resumed."""

import json
import math
import re
import shutil
import signal
import subprocess
from types import SimpleNamespace

import pytest
import torch
import yaml
from pycocotools.coco import COCO
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from data.augment import eval_transform
from data.detection import DetectionDataset, detection_loader
from data.formats import read_detections, read_voc
from training import provenance, trainer
from training.checkpoint import load_trained
from training.checkpoint import read_checkpoint as read_checkpoint_of
from training.module import TrainingModule
from training.schedule import learning_rate
from training.tasks.detection import DETECTION, Options, read_test_data
from training.tasks.detection_evaluation import detect

SHUFFLED = ("--shuffle", "last", "--passes", 2)


def read_checkpoint(path):
    return read_checkpoint_of(path, DETECTION.script, DETECTION.hyper_parameters)


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
    assert lines[0].startswith(f"{out}: 12 images with ")
    assert lines[0].endswith("4 to validate, 6 to test")
    assert [line.partition(":")[0] for line in lines[1:3]] == ["epoch 1/2", "epoch 2/2"]
    for shown in ("loss/centre", "loss/classes", "val/map", "left 0:00:00", "img/s", "lr 2.15e-05"):
        assert shown in lines[2]
    assert lines[3].endswith(str(out / "checkpoints" / "best.ckpt"))
    assert lines[-3:] == [
        f"scores: {out / 'scores.json'}",
        f"detections: {out / 'detections'}",
        f"diagnosis: {out / 'diagnosis'}",
    ]


def test_whole_run_keeps_its_options(whole, scenes, command):
    out, _ = whole
    options = Options.from_flat(yaml.safe_load((out / "config.yaml").read_text()))
    assert options.flat() == yaml.safe_load((out / "config.yaml").read_text())
    assert options.model.shuffle == "last"
    assert options.data.root == str(scenes)
    printed = command("--config", out / "config.yaml", "--print_config", base=False)
    assert printed.code == 0
    assert Options.from_flat(yaml.safe_load(printed.out)) == options


def test_whole_run_keeps_where_it_comes_from(whole, root):
    (sitting,) = strict_json(whole[0] / "provenance.json")
    git = ["git", "-C", str(root), "cat-file", "-t", str(sitting["commit"])]
    known = subprocess.run(git, capture_output=True, check=False).stdout == b"commit\n"
    assert known == (root / ".git").exists()
    assert sitting["seed"] == 0
    assert sitting["images"] == {"train": 12, "validation": 4, "test": 6}
    assert sitting["packages"]["torch"] == torch.__version__.partition("+")[0]
    assert all(sitting["packages"].values())
    assert {"command", "modified", "started", "python", "resumed_from"} < sitting.keys()
    assert {"system", "processor", "cores", "threads", "gpus"} == sitting["machine"].keys()


def test_without_git_the_commit_is_unknown(monkeypatch):
    monkeypatch.setenv("PATH", "")
    facts = provenance.provenance(seed=3)
    assert (facts["commit"], facts["modified"], facts["seed"]) == (None, None, 3)


def test_whole_run_logs_losses_rate_and_speed(whole, log_of):
    out, _ = whole
    log = log_of(out)
    assert list(log) == [0, 1, 2, 3, 4, 5]
    for values in log.values():
        parts = [values[f"loss/{part}"] for part in ("centre", "size", "confidence", "background", "classes")]
        assert values["loss"] == pytest.approx(sum(parts), rel=1e-5)
    assert [step for step, values in log.items() if "val/map" in values] == [2, 5]
    assert all(0 <= log[step]["val/map"] <= 1 and log[step]["val/loss"] > 0 for step in (2, 5))
    header = (out / "logs" / "csv" / "metrics.csv").read_text().splitlines()[0].split(",")
    assert "images_per_second" in header
    events = EventAccumulator(str(out / "logs" / "tensorboard"))
    events.Reload()
    drawn = {event.step: event.value for event in events.Scalars("loss")}
    assert drawn == pytest.approx({step: values["loss"] for step, values in log.items()})


def test_learning_rate_decays_exponentially_after_a_warm_up(whole, log_of):
    expected = [0.001 * 0.01 ** (step / 6) * min(1, (step + 1) / 3) for step in range(6)]
    logged = [values["learning_rate"] for values in log_of(whole[0]).values()]
    assert logged == pytest.approx(expected, rel=1e-6)
    rates = [learning_rate(step, start=0.001, end=0.00001, steps=6, warmup=3) for step in range(6)]
    assert rates == pytest.approx(expected, rel=1e-12)


def test_whole_run_writes_detections_as_text_and_as_coco(whole, scenes):
    folder = whole[0] / "detections"
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


def test_whole_run_is_scored_and_diagnosed(whole):
    out, _ = whole
    scores = strict_json(out / "scores.json")
    assert (scores["name"], scores["test_images"], scores["passes"]) == ("shuffled", 6, 2)
    for part, count in (("single_passes", 2), ("averaged_prediction", 1)):
        for score in (*scores[part]["map"].values(), *scores[part]["shares"].values()):
            assert len(score["values"]) == count
            assert (score["std"] is None) == (count == 1 or score["mean"] is None)
    assert set(scores["single_passes"]["map"]) == {"voc07", "area", "coco", "coco50"}
    strict_json(out / "diagnosis" / "diagnosis.json")
    assert "shuffled" in (out / "diagnosis" / "summary.txt").read_text()
    figures = {path.name for path in (out / "diagnosis").glob("*.png")}
    assert {"error_pies.png", "error_bars.png", "examples.png"} <= figures


def test_nothing_half_written_is_left(whole):
    assert not [path for path in whole[0].rglob("*") if path.name.endswith(".part")]
    assert {path.name for path in (whole[0] / "checkpoints").iterdir()} == {"last.ckpt", "best.ckpt"}


@pytest.mark.usefixtures("unscored")
def test_terminal_shows_a_bar(command, tmp_path, monkeypatch):
    terminal = SimpleNamespace(stdout=SimpleNamespace(isatty=lambda: True))
    monkeypatch.setattr(trainer, "sys", terminal)
    result = command("--out", tmp_path, "--max-steps", 1)
    assert (result.code, result.err) == (0, "")
    bars = [line for line in result.out.split("\r") if line.startswith("epoch 1/2:  33%")]
    names = re.findall(r"([\w/]+)=", bars[-1])
    assert names == ["left", "img/s", "lr", "loss", "centre", "size", "confidence", "background", "classes"]


# Repeated, stopped, resumed


@pytest.mark.usefixtures("unscored")
def test_another_seed_another_run(whole, command, log_of, tmp_path):
    assert command("--out", tmp_path, *SHUFFLED, "--seed", 1, "--max-steps", 1).code == 0
    assert log_of(tmp_path)[0]["loss"] != log_of(whole[0])[0]["loss"]


@pytest.mark.usefixtures("unscored")
def test_stopped_by_steps_and_resumed_equals_unbroken(whole, command, log_of, tmp_path):
    unbroken = log_of(whole[0])
    first = command("--out", tmp_path, *SHUFFLED, "--max-steps", 2, "--workers", 1)
    assert first.code == 0
    assert "epoch 1/2 step 2/3: " in first.out
    assert log_of(tmp_path) == {step: unbroken[step] for step in range(2)}  # the same seed, the same run
    assert read_checkpoint(tmp_path / "checkpoints" / "last.ckpt")["global_step"] == 2
    second = command("--resume", "--out", tmp_path, "--max-steps", 3, base=False)  # the end of an epoch
    assert second.code == 0, second.err
    assert read_checkpoint(tmp_path / "checkpoints" / "last.ckpt")["global_step"] == 3
    assert log_of(tmp_path) == {step: unbroken[step] for step in range(3)}
    third = command("--resume", tmp_path, base=False)
    assert (third.code, third.err) == (0, "")
    assert log_of(tmp_path) == unbroken
    history = strict_json(tmp_path / "provenance.json")
    last = str(tmp_path / "checkpoints" / "last.ckpt")
    assert [sitting["resumed_from"] for sitting in history] == [None, last, last]
    again = command("--resume", tmp_path, "--epochs", 1, base=False)
    assert again.code == 2
    assert again.err.startswith("error: --")
    assert "--epochs" in again.err


@pytest.mark.usefixtures("unscored")
def test_stopped_by_signals_and_resumed_equals_unbroken(whole, command, log_of, tmp_path, monkeypatch):
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    last = tmp_path / "checkpoints" / "last.ckpt"
    command_line = ["--out", tmp_path, *SHUFFLED]
    for step, number, code in ((1, signal.SIGINT, 130), (2, signal.SIGTERM, 143)):  # within, and at the end
        with monkeypatch.context() as patch:
            at_step(patch, step, lambda module, number=number: signal.raise_signal(number))
            result = command(*command_line)
        assert result.code == code
        name = signal.Signals(number).name
        assert result.err == f"stopped by {name}; the state is kept in {last}; --resume goes on from there\n"
        assert read_checkpoint(last)["global_step"] == step + 1
        assert {number: signal.getsignal(number) for number in before} == before
        command_line = ["--out", tmp_path, *SHUFFLED, "--resume"]
    best = read_checkpoint(last)["callbacks"]["Checkpoints"]["best_score"]
    assert best == log_of(tmp_path)[2]["val/map"]
    assert command(*command_line).code == 0
    assert log_of(tmp_path) == log_of(whole[0])
    states = [read_checkpoint(run / "checkpoints" / "last.ckpt") for run in (tmp_path, whole[0])]
    assert states[0]["callbacks"] == states[1]["callbacks"]
    for name, value in states[0]["state_dict"].items():
        assert torch.equal(value, states[1]["state_dict"][name]), name


@pytest.mark.usefixtures("unscored")
def test_resumed_in_another_folder_looks_for_its_own_best(whole, command, tmp_path):
    state = whole[0] / "checkpoints" / "last.ckpt"
    result = command("--resume", state, "--out", tmp_path / "on", "--epochs", 3, base=False)
    assert result.code == 0, result.err
    assert "best.ckpt" in result.out
    assert read_checkpoint(tmp_path / "on" / "checkpoints" / "last.ckpt")["global_step"] == 9


@pytest.mark.parametrize("change", [("--seed", 1), ("--learning-rate", 0.1), ("--train", "shapes:trainval")])
def test_a_resumed_run_keeps_its_options(whole, command, change):
    result = command("--resume", whole[0], *change, base=False)
    assert result.code == 2
    assert result.err.startswith(f"error: {change[0]}: found ")


# A loss that is not finite


def spoil(module):
    with torch.no_grad():
        next(module.model.parameters()).fill_(math.inf)


@pytest.mark.usefixtures("unscored")
def test_loss_that_is_not_finite_stops_the_run(command, log_of, scenes, tmp_path, monkeypatch):
    at_step(monkeypatch, 4, spoil)
    result = command("--out", tmp_path, *SHUFFLED)
    assert result.code == 3
    assert result.err.startswith("error: the loss is nan at step 4 (epoch 2); parts: centre nan")
    assert result.err.count("\n") == 1
    named = re.search(r"images of the batch: ([\w, ]+)\.", result.err)[1].split(", ")
    assert len(named) == 4
    assert set(named) < set(read_voc(scenes, "shapes:train").images)
    assert list(log_of(tmp_path)) == [0, 1, 2, 3]
    for name in ("last", "best"):
        state = read_checkpoint(tmp_path / "checkpoints" / f"{name}.ckpt")
        assert state["global_step"] == 3
        assert all(value.isfinite().all() for value in state["state_dict"].values())


@pytest.mark.usefixtures("unscored")
def test_a_step_too_large_is_not_kept(command, scenes, tmp_path):
    result = command("--out", tmp_path, "--batch-size", 12, "--learning-rate", 1e20, "--warmup-epochs", 0)
    assert result.code == 3
    assert result.err.startswith("error: the loss on validation images is not finite after step 1 (epoch 1)")
    named = re.search(r"images of the batch: ([\w, ]+)\.", result.err)[1].split(", ")
    assert len(set(named) & set(read_voc(scenes, "shapes:train").images)) == 4
    assert not list((tmp_path / "checkpoints").iterdir())


# Evaluation of a checkpoint


def test_evaluation_repeats_the_scores_of_the_run(whole, command, tmp_path):
    out, _ = whole
    result = command("--evaluate", out, "--out", tmp_path / "shuffled", base=False)
    assert result.code == 0, result.err
    assert result.err == ""
    for file in ("scores.json", "detections/detections.json", "diagnosis/summary.txt"):
        assert (tmp_path / "shuffled" / file).read_text() == (out / file).read_text(), file


def test_evaluation_with_another_shuffle(whole, plain, command, tmp_path):
    """Strict loading both ways: a shuffle has no weights."""
    shuffled = whole[0] / "checkpoints" / "best.ckpt"
    result = command("--evaluate", shuffled, "--shuffle", "none", "--sheet", 0, "--out", tmp_path, base=False)
    assert result.code == 0, result.err
    assert strict_json(tmp_path / "scores.json")["passes"] == 1
    for file in plain.iterdir():
        if file.is_file():
            shutil.copy(file, tmp_path)
    copy = tmp_path / "kept.ckpt"  # elsewhere than where the run put it, beside its config.yaml
    shutil.copy(plain / "checkpoints" / "last.ckpt", copy)
    result = command("--evaluate", copy, "--shuffle", "last", "--passes", 3, "--sheet", 0, base=False)
    assert result.code == 0, result.err
    scores = strict_json(tmp_path / "evaluation-shuffle-last" / "scores.json")
    assert (scores["name"], scores["passes"]) == (tmp_path.name, 3)
    assert len(scores["single_passes"]["shares"]["background"]["values"]) == 3


def test_passes_differ_and_can_be_repeated(plain):
    options = Options.from_flat(yaml.safe_load((plain / "config.yaml").read_text()) | {"passes": 2})
    test, _ = read_test_data(options.data)
    loader = detection_loader(DetectionDataset(test, eval_transform(64)), 4, train=False)
    model, hyper, _ = load_trained(DETECTION, plain / "checkpoints" / "last.ckpt", {"shuffle": "last"})
    assert (tuple(hyper["classes"]), hyper["input_size"]) == (test.classes, 64)
    first, again = (
        detect(model, loader, test, options.evaluation, device=torch.device("cpu")) for _ in range(2)
    )
    scores = [found.scores.tolist() for found in first.passes]
    assert scores[0] != scores[1]
    assert first.averaged.scores.tolist() not in scores
    assert scores == [found.scores.tolist() for found in again.passes]
    model, _, _ = load_trained(DETECTION, plain / "checkpoints" / "last.ckpt")
    single = detect(model, loader, test, options.evaluation, device=torch.device("cpu"))
    assert len(single.passes) == 1
    assert single.averaged is single.passes[0]


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_evaluation_on_a_gpu_that_is_not_there(plain, command, tmp_path):
    result = command("--evaluate", plain / "checkpoints" / "last.ckpt", "--accelerator", "gpu", base=False)
    assert result.code == 2
    assert result.err.startswith("error: --accelerator")


# What is wrong with checkpoints


def bad_checkpoint(kind, good, folder):
    path = folder / "bad.ckpt"
    if kind == "text":
        path.write_text("not weights\n" * 100)
    elif kind == "cut short":
        content = good.read_bytes()
        path.write_bytes(content[: len(content) // 2])
    elif kind == "weights alone":
        torch.save({"weight": torch.zeros(3)}, path)
    elif kind == "absent":
        pass
    return path


@pytest.mark.parametrize("option", ["--resume", "--evaluate", "--weights"])
@pytest.mark.parametrize("kind", ["text", "cut short", "weights alone", "absent"])
def test_bad_checkpoint(plain, command, tmp_path, kind, option):
    path = bad_checkpoint(kind, plain / "checkpoints" / "last.ckpt", tmp_path)
    result = command(option, path, "--out", tmp_path / "out")
    assert result.code == 2
    assert result.err.startswith("error: ")
    assert str(path) in result.err
    assert result.err.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_checkpoint_of_another_architecture(plain, command, tmp_path):
    good = plain / "checkpoints" / "last.ckpt"
    moved = tmp_path / "moved.ckpt"
    shutil.copy(good, moved)
    for words, expected in (
        (("--evaluate", good, "--arch", "resnet50"), ("--arch", "'resnet50'", "'resnet18'", str(good))),
        (("--resume", plain, "--arch", "resnet50"), ("--arch", "'resnet50'", "'resnet18'", str(plain))),
        (("--resume", moved, "--arch", "resnet50"), (str(moved), "architecture")),
        (("--weights", good, "--arch", "resnet50"), ("--weights", str(good), "resnet50")),
        (("--evaluate", moved, "--input-size", 96), ("--input-size", "96", "64", str(moved))),
    ):
        result = command(*words, "--validation", 0, "--out", tmp_path / "out")
        assert result.code == 2, words
        assert result.err.startswith("error: ")
        assert result.err.count("\n") == 1
        for part in expected:
            assert part in result.err
    assert not (tmp_path / "out").exists()


def test_a_folder_that_holds_a_run_is_left_alone(plain, command):
    before = {path: path.stat().st_mtime_ns for path in plain.rglob("*")}
    result = command("--out", plain)
    assert result.code == 2
    assert result.err.startswith(f"error: {plain}: found a run that has begun; expected --resume ")
    assert {path: path.stat().st_mtime_ns for path in plain.rglob("*")} == before
