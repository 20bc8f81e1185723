"""Faults found by trying to train as a new user would, and by force."""

import contextlib
import csv
import dataclasses
import errno
import fcntl
import io
import json
import os
import pty
import re
import shutil
import signal
import warnings
from multiprocessing.reduction import ForkingPickler
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import yaml
from PIL import Image, ImageOps
from tensorboard.summary.writer.record_writer import RecordWriter
from torch import nn

from data.detection import WARNED, check_images, read_image, split_validation
from data.formats import read_voc
from data.formats.files import image_size
from data.image_set import ImageFiles, Statistics
from data.records import GroundTruth, InputError, InputWarning
from data.shapes import write_shapes
from detector import YOLO, resnet18
from tests.data.scenes import voc_xml
from tests.training.conftest import classifier, detection
from training import checkpoint
from training.callbacks import Checkpoints, LogProgress, with_progress
from training.command import ended_by_signals
from training.run_state import RunFolder, RunState, link
from training.task import Report
from training.tasks.classification import CLASSIFICATION
from training.tasks.classification_module import ClassifierModule
from training.tasks.detection import DETECTION
from training.tasks.detection_options import OptimizationOptions

pytestmark = pytest.mark.usefixtures("unscored")


@pytest.fixture
def run(small, tmp_path):
    """A copy of a run of one step."""
    shutil.copytree(small.plain, tmp_path / "run")
    return RunFolder(tmp_path / "run")


def other(name: str) -> str:
    """Another class of the shapes than that of <name>CLASS."""
    return "arrow" if name.endswith("cross") else "cross"


def damage(path: Path, kind: str) -> None:
    content = bytearray(path.read_bytes())
    if kind == "a bit":
        content[len(content) // 2] ^= 1
    path.write_bytes(content[: len(content) // 2] if kind == "cut short" else content)


# Lost work


@pytest.mark.parametrize(
    ("small", "value", "broken"),
    [
        ("detection", float("nan"), "model.backbone."),
        ("detection", float("inf"), "model.backbone."),
        ("detection", 1e30, "the optimizer"),  # its square is not finite, the weights are
        ("classification", float("inf"), "model."),
    ],
    indirect=["small"],
)
def test_kind_weights_that_are_not_finite_replace_no_checkpoint(small, tmp_path, at_step, value, broken):
    def spoil(module):  # after the forward pass of the epoch's last step
        weight = next(module.model.parameters())
        weight.register_hook(lambda gradient: torch.full_like(gradient, value))

    at_step(5, spoil)
    words = {"detection": ("--batch-size", 5), "classification": ("--batch-size", 10)}[small.name]
    result = small("--out", tmp_path, "--validation", 0, *words)
    assert result.code == 3
    assert result.err.startswith(f"error: the weights are not finite after step 6 (epoch 2): {broken}")
    assert ". Earlier checkpoints are kept. " in result.err
    state = small.read(tmp_path / "checkpoints" / "last.ckpt")
    assert state["global_step"] == 3
    assert all(value.isfinite().all() for value in state["state_dict"].values())


def test_kind_no_file_is_written_to_tmpdir(small, tmp_path, monkeypatch):
    """It may have no room, or not be there."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "absent"))
    assert small("--out", tmp_path / "run", "--max-steps", 1, "--validation", 0).is_done()
    assert small("--resume", tmp_path / "run", "--max-steps", 2, base=False).is_done()


@classifier
@pytest.mark.parametrize("step", [0, 3])
def test_kind_a_full_disk(small, tmp_path, monkeypatch, step):
    original, saves = checkpoint.CheckpointFiles.save_checkpoint, []

    class Full(io.FileIO):
        def write(self, content):
            super().write(content[:10])
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def save(self, content, path, storage_options=None):
        saves.append(path)
        with monkeypatch.context() as patch:
            if len(saves) > step / 3:
                patch.setattr(Path, "open", lambda path, mode: Full(path, mode))
            original(self, content, path)

    monkeypatch.setattr(checkpoint.CheckpointFiles, "save_checkpoint", save)
    result = small("--out", tmp_path)
    folder = tmp_path / "checkpoints"
    assert result.code == 1
    assert result.err.count("\n") == 1
    assert f"error: {folder}/.last.ckpt.part: No space left on device; make room; " in result.err
    assert ("--resume goes on from" if step else "no checkpoint has been written yet") in result.err
    assert {path.name for path in folder.iterdir()} == ({"last.ckpt", "best.ckpt"} if step else set())


@detection
def test_kind_a_full_disk_without_links(small, tmp_path, monkeypatch):
    """The best checkpoint is a copy there: the last one is in its place before."""

    def refuse(*_):
        raise OSError(errno.EPERM, "no links")

    def fill(file, part):
        Path(part).write_bytes(b"half")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(file))

    monkeypatch.setattr(os, "link", refuse)
    monkeypatch.setattr(shutil, "copyfile", fill)
    result = small("--out", tmp_path)
    folder = tmp_path / "checkpoints"
    assert result.code == 1
    assert result.err.startswith(f"error: {folder}/.best.ckpt.part: No space left on device; make room; ")
    assert result.err.endswith(f"--resume goes on from {folder}/last.ckpt\n")
    assert [path.name for path in folder.iterdir()] == ["last.ckpt"]


def test_a_name_that_was_begun_is_not_written_through(tmp_path):
    """Of a kill between linking and renaming a second name of an earlier checkpoint is left."""
    for name in ("earlier", "last"):
        (tmp_path / name).write_text(name)
    (tmp_path / ".best.part").hardlink_to(tmp_path / "earlier")
    link(tmp_path / "last", tmp_path / "best")
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {
        "earlier": "earlier",
        "last": "last",
        "best": "last",
    }


@detection
def test_what_a_killed_process_has_half_written_is_removed(small, run):
    left = [run.path / name for name in (".config.yaml.7.part", "detections/.a.txt.7.part", "mine.part")]
    left[1].parent.mkdir(exist_ok=True)
    for file in left:
        file.touch()
    assert small("--resume", run.path, "--max-steps", 2, base=False).is_done()
    assert [file.exists() for file in left] == [False, False, True]


@detection
def test_kind_one_run_in_a_folder(small, run):
    descriptor = os.open(run.path, os.O_RDONLY)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    made = run.provenance.read_bytes()
    for words in (
        ("--resume", run.path),
        ("--out", run.path),
        ("--out", run.path, "--find-learning-rate"),
        ("--evaluate", run.path, "--out", run.path),
    ):
        result = small(*words, base=words[0] == "--out")
        assert run.provenance.read_bytes() == made
        assert result.is_refused(run.path, "another process works in this folder")
    os.close(descriptor)
    assert small("--resume", run.path, "--max-steps", 2, base=False).is_done()


def test_kind_a_run_that_was_made_meanwhile_is_not_overwritten(small, tmp_path, monkeypatch):
    """While this one read its data; the other one has ended and its lock with it."""
    plain, read, out = RunFolder(small.plain), type(small.task).read, tmp_path / "run"

    def meanwhile(task, options):
        shutil.copytree(plain.path, out)
        return read(task, options)

    monkeypatch.setattr(type(small.task), "read", meanwhile)
    for words in (["--seed", 7], ["--resume", plain.last, "--max-steps", 2]):
        result = small("--out", out, *words, base="--seed" in words)
        assert result.is_refused(f"{out}: found a run that has begun")
        assert RunFolder(out).last.read_bytes() == plain.last.read_bytes()
        shutil.rmtree(out)


@detection
@pytest.mark.parametrize(
    ("file", "before", "after", "named"),
    [
        ("classes.yaml", "[arrow, cross,", "[cross, arrow,", "the classes cross, arrow, "),
        ("ImageSets/Main/train.txt", None, None, "other training images"),
        ("ImageSets/Main/train.txt", "reversed", None, "other training images"),
        ("ImageSets/Main/val.txt", "reversed", None, "other test images"),
        ("Annotations", r"<difficult>0", "<difficult>1", "other objects in training images"),
        (
            "Annotations",
            r"<xmin>(\d+)",
            lambda found: f"<xmin>{int(found[1]) + 1}",
            "other objects in training",
        ),
        ("Annotations", r"<name>\w+", lambda found: f"<name>{other(found[0])}", "other objects in training"),
    ],
)
def test_kind_a_run_is_resumed_with_the_same_data(small, run, devkit, file, before, after, named):
    path = devkit / "VOCshapes" / file
    if file == "Annotations":
        names = (devkit / "VOCshapes/ImageSets/Main/train.txt").read_text().split()
        files = [path / f"{name}.xml" for name in names]
        path = next(file for file in files if "<difficult>0" in file.read_text())
    text = path.read_text()
    if before is None:
        text = text.partition("\n")[2]
    elif before == "reversed":
        text = "\n".join(text.split()[::-1])
    elif file == "Annotations":
        start = text.index("<object>")
        text = text[:start] + re.sub(before, after, text[start:], count=1)
    else:
        text = text.replace(before, after, 1)
    path.write_text(text)
    result = small("--resume", run.path, "--root", devkit, base=False)
    assert result.is_refused(f"--resume: found {named}")
    if file == "classes.yaml":
        assert result.is_refused("; expected arrow, cross, ", f", in this order, as {run.last} was trained")


@pytest.mark.parametrize("kind", ["train", "find-learning-rate", "evaluate"])
def test_kind_a_folder_of_something_else_is_left_alone(small, tmp_path, kind):
    """As one of photographs; a run filled it with its own files."""
    (tmp_path / "holiday.jpg").touch()
    words = {"find-learning-rate": ["--find-learning-rate"], "evaluate": ["--evaluate", small.plain]}
    result = small("--out", tmp_path, *words.get(kind, []), base=kind != "evaluate")
    assert result.is_refused(f"{tmp_path}: found a folder that holds something else (holiday.jpg); expected")
    assert [path.name for path in tmp_path.iterdir()] == ["holiday.jpg"]


def test_a_folder_with_what_may_lie_there_before_a_run(tmp_path):
    """Logs of Slurm and of the shell, hidden files, what a run leaves that is ended before its first step."""
    folder = RunFolder(tmp_path)
    for name in ("slurm-1.out", "job.err", "output.log", ".launched", "learning-rates.png", "lost+found"):
        (tmp_path / name).touch()
        folder.check_own()
    (tmp_path / "checkpoints").mkdir()
    folder.check_own()
    (tmp_path / "notes.txt").touch()
    with pytest.raises(InputError, match=r"something else \(notes.txt\)"):
        folder.check_own()
    folder.provenance.touch()
    folder.check_own()


def test_a_resumed_run_says_where_it_goes_on(small, run):
    first = small("--resume", run.path, "--max-steps", 4, base=False)
    assert f"\ngoing on from {run.last}: step 2 of 8, epoch 1 of 2\n" in first.out
    second = small("--resume", run.path, base=False)
    assert f"\ngoing on from {run.last}: step 5 of 8, epoch 2 of 2\n" in second.out
    third = small("--resume", run.path, base=False)
    assert f"\ngoing on from {run.last}: all 2 epochs are done\n" in third.out


@detection
def test_kind_data_of_ones_own_that_moved(small, scenes, tmp_path):
    tree, run = scenes / "VOCshapes", RunFolder(tmp_path / "run")
    for part in ("train", "val"):
        folder = tmp_path / part
        folder.mkdir()
        for file in [*tree.glob(f"*/{part}*.xml"), *tree.glob(f"*/{part}*.jpg"), tree / "classes.yaml"]:
            shutil.copy(file, folder)
    pairs = zip(small.base[::2], small.base[1::2], strict=True)
    network = [
        word for pair in pairs if pair[0] not in ("--data", "--root", "--train", "--test") for word in pair
    ]
    words = (*network, "--train", tmp_path / "train", "--test", tmp_path / "val", "--out", run.path)
    assert small(*words, "--max-steps", 1, base=False).is_done()
    for part in ("train", "val"):
        (tmp_path / part).rename(tmp_path / f"moved {part}")
    moved = ("--train", tmp_path / "moved train", "--test", tmp_path / "moved val")
    assert small("--resume", run.path, base=False).code == 2
    assert small("--resume", run.path, *moved, "--max-steps", 2, "--score", "false", base=False).is_done(
        "the test images are not scored"
    )
    assert yaml.safe_load(run.config.read_text())["train"] == [str(tmp_path / "moved train")]
    other = ("--train", tmp_path / "moved val", "--test", tmp_path / "moved train")
    assert small("--resume", run.path, *other, base=False).is_refused("--resume: found other training images")
    content = small.read(run.last)
    torch.save({name: value for name, value in content.items() if name != "data"}, run.last)
    refused = small("--resume", run.path, *other, base=False)
    assert refused.is_refused("--train: found", "leave it, or start a new run"), "nothing to compare with"


def test_kind_of_other_images_the_objects_are_not_said():
    parts = ("", "objects in ", "crowds in ")
    names = [f"{what}{place} images" for place in ("training", "test") for what in parts]
    state = RunState(RunFolder(Path("a")), Path("last.ckpt"), {"data": dict.fromkeys(names, "before")})
    after = dict.fromkeys(names, "after") | {"test images": "before"}
    with pytest.raises(InputError, match="found other training images and objects in test images; expected"):
        state.check_data(after, ["dog"])


@pytest.mark.parametrize("place", ["training", "validation", "test"])
@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"images": ("b",)}, "{} images"),
        ({"labels": [1]}, "objects in {} images"),
        ({"boxes": [[0, 0, 5, 6]]}, "objects in {} images"),
        ({"difficult": [True]}, "objects in {} images"),
        ({"crowd": [True]}, "crowds in {} images"),
    ],
)
def test_kind_each_part_of_a_detector_s_data(place, change, named):
    found = {
        "images": ("a",), "classes": ("cat", "dog"), "sizes": [[9, 9]], "image_index": [0], "labels": [0],
        "boxes": [[0, 0, 5, 5]], "difficult": [False], "crowd": [False],
    }  # fmt: skip
    truth, other = (SimpleNamespace(truth=GroundTruth(**found | more)) for more in ({}, change))
    names = {"training": "train", "validation": "validation", "test": "test"}
    sums = [
        DETECTION.checksums(SimpleNamespace(**dict.fromkeys(names.values(), truth) | changed))
        for changed in ({}, {names[place]: other})
    ]
    assert [name for name in sums[0] if sums[0][name] != sums[1][name]] == [named.format(place)]


def test_kind_files_of_a_classifier():
    """A file that is exchanged is another image."""
    statistics = Statistics((0.5,) * 3, (0.25,) * 3)
    labels = np.array([0, 1])
    sums = [
        CLASSIFICATION.checksums(
            SimpleNamespace(
                classes=("cat", "dog"),
                train=ImageFiles(Path(), np.array(names), labels[order], ("cat", "dog")),
                validation=None,
                statistics=statistics,
            )
        )
        for names, order in (([b"a", b"b"], [0, 1]), ([b"a", b"c"], [0, 1]), ([b"a", b"b"], [1, 0]))
    ]
    changed = [[name for name in sums[0] if sums[0][name] != other[name]] for other in sums[1:]]
    assert changed == [["names of training images"], ["training images"]]


@pytest.mark.parametrize("kind", ["a bit", "cut short"])
def test_kind_a_damaged_checkpoint(small, run, kind):
    shutil.copy(run.last, run.previous)
    damage(run.last, kind)
    result = small("--resume", run.path, "--max-steps", 2, base=False)
    assert result.code == 0, result.err
    assert f"warning: {run.last}: found a" in result.err
    assert "resuming from" in result.err
    assert small.read(run.last)["global_step"] == 2
    assert run.damaged.is_file()
    for path in (run.last, run.previous):
        damage(path, kind)
    refused = small("--resume", run.path, base=False)
    assert refused.is_refused(run.last, "the one before, previous.ckpt, is damaged or absent, too")
    assert small("--evaluate", run.last, "--out", run.path / "e", base=False).is_refused(run.last)


@pytest.mark.parametrize("kind", ["a bit", "cut short", "gone", "of another run"])
def test_kind_the_best_checkpoint_is_damaged_or_gone(small, tmp_path, monkeypatch, kind):
    reports, run = [], RunFolder(tmp_path / "run")
    shutil.copytree(small.whole[0], run.path)
    monkeypatch.setattr(type(small.task), "score", lambda *arguments: reports.append(arguments[4]))
    if kind == "gone":
        run.best.unlink()
    elif kind == "of another run":
        run.best.unlink()
        content = small.read(run.last)
        torch.save(content | {"state_dict": {"model.other": torch.zeros(2)}}, run.best)
    else:
        damage(run.best, kind)
    result = small("--resume", run.path, base=False)
    assert result.code == 0, result.err
    assert result.err.count("\n") == 1
    assert result.err.startswith(f"warning: {run.best}: found ")
    assert result.err.endswith(f"; scoring the last state, {run.last}\n")
    assert reports[0].scored == {"checkpoint": "checkpoints/last.ckpt", "epoch": 2}
    if kind in ("a bit", "gone"):  # the next validation has no better one to fall short of
        monkeypatch.setattr(Checkpoints, "_stop_where_impatient", lambda *_: None)
        assert small("--resume", run.path, "--epochs", 3, base=False).is_done(
            "scoring the checkpoint that is best on the"
        )
        assert small.read(run.best)["global_step"] == small.read(run.last)["global_step"] == 9


@classifier
def test_without_validation_the_last_state_is_scored(small, tmp_path):
    result = small("--out", tmp_path, "--max-steps", 2, "--validate-every", 2)
    assert "no validation took place: scoring the last state" in result.out, result.err


@classifier
def test_kind_the_last_checkpoint_is_gone(small, run):
    """As where a process is killed while it puts the one before in the place of a damaged one."""
    run.last.rename(run.previous)
    assert small("--out", run.path).is_refused("a run that has begun")
    result = small("--resume", run.path, "--max-steps", 2, base=False)
    assert result.code == 0, result.err
    assert f"warning: {run.last}: found no such file" in result.err
    for path in (run.last, run.previous):
        path.unlink()
    assert small("--resume", run.path, base=False).is_refused(f"--resume: found no {run.last}")


@classifier
def test_resume_auto_begins_or_goes_on(small, tmp_path, log_of):
    words = ("--out", tmp_path / "run", "--resume", "auto", *small.shuffled)
    for steps in (2, 4):
        assert small(*words, "--max-steps", steps).is_done()
        assert small.read(tmp_path / "run" / "checkpoints" / "last.ckpt")["global_step"] == steps
    assert small(*words).is_done()
    assert log_of(tmp_path / "run") == log_of(small.whole[0])
    assert small(*words, "--learning-rate", 0.5).is_refused("--learning-rate: found 0.5")


def test_kind_of_equal_scores_the_lower_loss_then_the_later_epoch(tmp_path):
    loop = SimpleNamespace(epoch_loop=SimpleNamespace(batch_progress=SimpleNamespace(is_last_batch=True)))
    trainer, saved = SimpleNamespace(fit_loop=loop), []
    callback = Checkpoints(RunFolder(tmp_path), "val/map", OptimizationOptions())
    callback._stop_if_asked = lambda trainer: None
    callback._write = lambda *_: None
    callback._place = lambda trainer, module: saved.append(callback.ranking[0][2] == trainer.global_step)
    scores = ((0, 3.0), (0, 2.0), (0, 2.5), (0, 2.0), (0.1, 9.0))
    for trainer.global_step, (score, loss) in enumerate(scores):
        callback.on_validation_end(trainer, None)
        trainer.callback_metrics = {"val/map": torch.tensor(score), "val/loss": torch.tensor(loss)}
        callback.on_train_epoch_end(trainer, None)
    assert saved == [True, True, False, True, True]


@detection
def test_kind_validation_images_without_objects_are_validated(small, scenes, tmp_path, monkeypatch):
    from training.tasks import detection as task

    read = task.read_run_ground_truth

    def without(options, seed):
        data = read(options, seed)
        truth = data.validation
        empty = type(truth)(truth.images, truth.classes, truth.sizes, [], [], [], files=truth.files)
        return data._replace(validation=empty)

    monkeypatch.setattr(task, "read_run_ground_truth", without)
    assert small("--out", tmp_path, "--epochs", 1).is_done()
    assert (tmp_path / "checkpoints" / "best.ckpt").is_file()


@detection
def test_kind_scores_name_the_checkpoint_and_its_epoch(small):
    scores = json.loads((small.whole[0] / "scores.json").read_text())
    best = small.read(small.whole[0] / "checkpoints" / "best.ckpt")
    assert (scores["checkpoint"], scores["epoch"]) == ("checkpoints/best.ckpt", best["epoch"] + 1)


@classifier
def test_kind_the_epoch_is_that_of_the_best_checkpoint(small, tmp_path, monkeypatch):
    reports = []

    def score(*arguments):
        reports.extend(part for part in arguments if isinstance(part, Report))

    def validated(module):
        module.log_dict({"val/loss": 1.0, "val/accuracy": 1.0 - module.current_epoch})

    monkeypatch.setattr(type(CLASSIFICATION), "score", score)
    monkeypatch.setattr(ClassifierModule, "validation_step", lambda *_: None)
    monkeypatch.setattr(ClassifierModule, "on_validation_epoch_end", validated)
    assert small("--out", tmp_path).is_done()
    assert [report.scored for report in reports] == [{"checkpoint": "checkpoints/best.ckpt", "epoch": 1}]


@classifier
def test_an_evaluation_into_the_folder_of_its_run_keeps_where_it_comes_from(small, run):
    assert small("--evaluate", run.path, "--out", run.path, base=False).is_done()
    trained, scored = json.loads(run.provenance.read_text())
    assert ("checkpoint" in trained, "checkpoint" in scored) == (False, True)


@pytest.mark.parametrize("command", ["--evaluate", "--resume"])
def test_kind_what_is_done_is_not_for_the_stored_options_to_say(small, run, tmp_path, command):
    """They may come from anybody."""
    options, elsewhere = run.config.read_text(), json.dumps(str(tmp_path / "elsewhere"))
    for option in ("out", "name", "config", "verify", "find_learning_rate", "resume", "evaluate"):
        run.config.write_text(f"{options}{option}: {elsewhere}\n")
        assert small(command, run.path, base=False).is_refused(f"{run.config}: found option '{option}'")
    assert [file.name for file in tmp_path.iterdir()] == ["run"]


@detection
@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"input": "fast", "cache": "{}/decoded"}, ["--cache", "{}/decoded"]),
        ({"logger": ["mlflow"]}, ["--logger", "mlflow"]),
        ({"data": "large-shapes", "root": "{}/drawn"}, ["--root", "{}/drawn"]),
    ],
)
def test_kind_no_stored_option_writes_elsewhere_unasked(small, run, tmp_path, monkeypatch, options, words):
    begun = []
    monkeypatch.setattr("training.run.train", lambda *arguments, **named: begun.append("--resume"))
    monkeypatch.setattr("training.run.evaluate", lambda *arguments, **named: begun.append("--evaluate"))
    texts = json.loads(json.dumps([options, words]).replace("{}", str(tmp_path / "elsewhere")))
    run.config.write_text(json.dumps(yaml.safe_load(run.config.read_text()) | texts[0]))
    assert small("--resume", run.path, base=False).is_refused(
        f"--resume {run.path}: found", " ".join(texts[1]), "if you trust it"
    )
    auto = ("--resume", "auto", "--out", run.path)
    assert small(*auto, base=False).is_refused("if you trust it")
    assert small("--resume", run.path, *texts[1], base=False).is_done()
    evaluated = small("--evaluate", run.path, base=False)
    if "root" in options:
        assert evaluated.is_refused(f"--evaluate {run.path}: found", "if you trust it")
        assert small("--evaluate", run.path, *texts[1], base=False).is_done()
    assert begun == ["--resume", "--evaluate"]


# Wrong data


@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
def test_kind_exif_follows_the_size_that_is_annotated(tmp_path, orientation, recwarn):
    pixels = np.zeros((40, 80, 3), np.uint8)
    pixels[:8, :8] = 255  # the first corner, as stored
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(pixels).save(tmp_path / "a.png", exif=exif)
    WARNED.clear()
    stored = read_image(tmp_path / "a.png", (80, 40))
    assert stored[:8, :8].min() == 255
    shutil.copy(tmp_path / "a.png", tmp_path / "b.png")
    read_image(tmp_path / "b.png", (80, 40))
    assert len(recwarn) == (orientation == 3)  # cannot be known, and is said once
    if orientation in (6, 8):
        shown = read_image(tmp_path / "a.png", (40, 80))
        corner = shown[:8, -8:] if orientation == 6 else shown[-8:, :8]
        assert shown.shape == (80, 40, 3)
        assert corner.min() == 255
        with pytest.raises(InputError, match="EXIF orientation"):
            read_image(tmp_path / "a.png", (41, 80))
        Image.fromarray(pixels[:, :40]).save(tmp_path / "square.png", exif=exif)
        with pytest.warns(InputWarning, match="EXIF orientation"):
            read_image(tmp_path / "square.png", (40, 40))


@pytest.mark.filterwarnings("ignore:.*EXIF orientation")
@pytest.mark.parametrize("suffix", ["jpg", "png", "tif"])
@pytest.mark.parametrize("orientation", range(2, 9))
@pytest.mark.parametrize("limit", [None, 100])
def test_kind_every_orientation(tmp_path, suffix, orientation, limit):
    """As stored where the size says so or cannot say, else as shown; Pillow itself turns a TIFF."""
    draw = np.random.default_rng(0).integers(0, 256, (4, 8, 3), np.uint8)
    stored = Image.fromarray(draw.repeat(20, 0).repeat(20, 1))
    file, exif = tmp_path / f"a.{suffix}", Image.Exif()
    exif[0x0112] = orientation
    stored.save(file, exif=exif, **({"quality": 100} if suffix == "jpg" else {}))
    with Image.open(file) as opened:
        shown = ImageOps.exif_transpose(opened).convert("RGB")
    assert image_size(file) == shown.size
    cases = [(shown.size, shown if suffix == "tif" or orientation > 4 else stored)]
    if suffix == "tif" and orientation > 4:
        with pytest.raises(InputError, match="80x160 pixels; expected 160x80"):
            read_image(file, stored.size, limit)
    else:
        cases.append((stored.size, shown if suffix == "tif" else stored))
    for size in {(160, 80), (80, 160), (81, 160)}:
        truth = GroundTruth(["a"], ["cat"], [size], [], [], [], files=[file])
        fits = size in dict(cases)
        with contextlib.nullcontext() if fits else pytest.raises(InputError, match=r"as annotated"):
            check_images(truth)
    for size, expected in cases:
        sides = [min(side, limit or side) for side in expected.size]
        wanted = np.asarray(expected.resize(sides, Image.Resampling.BILINEAR), float)
        found = read_image(file, size, limit)
        assert found.shape == wanted.shape
        assert np.abs(found - wanted).mean() < 10, size


def tiny_detector():
    return YOLO(resnet18(None, width=0.125), classes=3, grid=2, head_channels=8)


BAD_BOXES = {
    "inverted": [30.0, 5, 20, 40],
    "upside down": [5.0, 30, 20, 20],
    "nan": [5.0, float("nan"), 20, 20],
    "inf": [5.0, 5, float("inf"), 20],
    "fractions": [0.1, 0.1, 0.5, 0.9],
    "pixels of a larger photograph": [5.0, 5, 200, 40],
    "negative": [-50.0, 5, 20, 40],
    "three numbers": [5.0, 5, 20],
}


@pytest.mark.parametrize("box", BAD_BOXES.values(), ids=BAD_BOXES)
def test_kind_boxes_that_cannot_be(box):
    model = tiny_detector()
    target = {"boxes": torch.tensor([box]), "labels": torch.tensor([1])}
    images = torch.zeros(1, 3, 64, 64)
    with pytest.raises(
        ValueError, match=r"; expected .*(finite numbers|fractions|pixels of images|\(n, 4\))"
    ):
        model.loss(images, [target])
    for labels in ([1.0], [[1]], [True]):
        with pytest.raises(ValueError, match=r"targets\[0\] has boxes .* whole numbers"):
            model.loss(images, [{"boxes": torch.ones(1, 4), "labels": torch.tensor(labels)}])
    good = {"boxes": torch.tensor([[5.0, 5, 40, 40]]), "labels": torch.tensor([1])}
    for odd in (
        None,
        good | {"boxes": [box]},
        good | {"labels": np.array([1])},
        good | {"difficult": [True]},
    ):
        with pytest.raises(ValueError, match=r"targets\[0\] has a .*; expected a dict of the tensors boxes"):
            model.loss(images, [odd])


@pytest.mark.parametrize(("scale", "warned"), [(1.0, True), (255.0, True), (-2.0, False), (4.0, False)])
def test_kind_images_that_are_not_normalised(scale, warned):
    model = tiny_detector().eval()
    images = torch.rand(1, 3, 64, 64) * scale
    expected = pytest.warns(UserWarning, match=r"detector.normalize") if warned else contextlib.nullcontext()
    with expected:
        model.predict(images)


@pytest.mark.parametrize(
    "images",
    [
        torch.rand(1, 64, 64, 3),
        torch.rand(3, 64, 64),
        torch.rand(64, 3, 64),
        torch.rand(1, 1, 64, 64),
        torch.rand(1, 3, 64, 64).double(),
        torch.zeros(1, 3, 64, 64).long(),
        torch.full((1, 3, 64, 64), float("inf")),
        np.zeros((1, 3, 64, 64), np.uint8),
    ],
)
def test_kind_images_that_cannot_be(images):
    model = tiny_detector().eval()
    with pytest.raises(ValueError, match=r"^found images .*; expected "):
        model.predict(images)


@detection
def test_kind_nothing_to_train_on(small, devkit, tmp_path):
    for file in (devkit / "VOCshapes" / "Annotations").glob("train*.xml"):
        file.write_text(file.read_text().replace("<difficult>0<", "<difficult>1<"))
    result = small("--root", devkit, "--out", tmp_path / "out")
    assert result.is_refused("--train shapes:train: found 12 images without an object", "objects to train on")
    assert not (tmp_path / "out").exists()


@detection
@pytest.mark.parametrize("rest", ["background", "difficult"])
def test_kind_nothing_is_left_to_train_on(small, scenes, devkit, tmp_path, rest):
    """All objects are held out for validation, or all but difficult ones."""
    whole = read_voc(scenes, ["shapes:train"])
    _, held_out = split_validation(whole, 0.5, 3)
    for name in set(whole.images) - set(held_out.images):
        file = devkit / "VOCshapes" / "Annotations" / f"{name}.xml"
        text = file.read_text()
        file.write_text(
            text.replace("<difficult>0<", "<difficult>1<")
            if rest == "difficult"
            else re.sub("<object>.*</object>", "", text, flags=re.DOTALL)
        )
    words = ("--root", devkit, "--out", tmp_path / "out", "--validation", 0.5, "--seed", 3)
    for further in ([], ["--verify"], ["--find-learning-rate"]):
        assert small(*words, *further).is_refused(
            "--train shapes:train: found 8 images without an object", "--validation 0.5 holds out others"
        )
    assert not (tmp_path / "out").exists()


@detection
def test_crowds_are_not_counted_among_the_objects_to_train_on(small, tmp_path, monkeypatch):
    counts = []

    def some_crowds(*arguments, **named):
        truth = read_voc(*arguments, **named)
        crowd = np.arange(len(truth)) % 3 == 0
        counts.append(int(np.count_nonzero(~crowd & ~truth.difficult)))
        return dataclasses.replace(truth, crowd=crowd)

    monkeypatch.setattr("training.tasks.detection.read_voc", some_crowds)
    result = small("--out", tmp_path, "--max-steps", 1, "--validation", 0)
    assert f"16 images with {counts[-1]} objects to train on" in result.out, result.err


@detection
def test_kind_crowds_alone(small, tmp_path, monkeypatch):
    def crowds(*arguments, **named):
        truth = read_voc(*arguments, **named)
        return dataclasses.replace(truth, crowd=np.ones(len(truth), bool))

    monkeypatch.setattr("training.tasks.detection.read_voc", crowds)
    assert small("--out", tmp_path / "out").is_refused("objects to train on")


# Dead ends


@detection
def test_kind_pictures_of_other_names_and_boxes_from_0(small, tmp_path):
    write_shapes(tmp_path, train=6, val=2, test=2, size=(64, 64))
    tree = tmp_path / "VOCshapes"
    first, second = (tree / "ImageSets/Main/train.txt").read_text().split()[:2]
    (tree / "JPEGImages" / f"{first}.jpg").rename(tree / "JPEGImages" / f"{first}.JPEG")
    (tree / "JPEGImages" / f"{second}.jpg").rename(tree / "JPEGImages" / "IMG 7.PNG")
    annotation = tree / "Annotations" / f"{second}.xml"
    text = annotation.read_text()
    annotation.write_text(text.replace(f"{second}.jpg", "IMG 7.PNG"))
    (tree / "classes.yaml").rename(tree / "classes.yml")
    words = ("--root", tmp_path, "--batch-size", 2, "--max-steps", 1, "--validation", 0)
    assert small("--out", tmp_path / "run", *words).is_done()
    objects = [file for file in annotation.parent.glob("train*.xml") if "<object>" in file.read_text()]
    objects[0].write_text(re.sub(r"<xmin>\d+<", "<xmin>0<", objects[0].read_text(), count=1))
    assert small("--out", tmp_path / "b", *words).is_refused(objects[0], "--pixels-from 0")
    assert small("--out", tmp_path / "b", *words, "--pixels-from", 0).is_done()


@pytest.mark.parametrize(
    ("word", "meant"),
    [
        ("--lr", "--learning-rate"),
        ("--ema-decay", "--ema"),
        ("--max-epochs", "--epochs"),
        ("--cuda", "--accelerator"),
        ("--wandb", "--logger"),
        ("--batch", "--batch-size"),
        ("--imgsz=640", "--input-size"),
        ("--data-dir", "--root"),
        ("--resume_from_checkpoint", "--resume"),
        ("--gpu", "--accelerator"),
    ],
)
@detection
def test_kind_names_that_other_programs_have(small, word, meant):
    assert small(word).is_refused(f"here it is {meant}")


@pytest.mark.parametrize("word", ["--momentum", "--label-smoothing", "--nc", "--debug", "--cos-lr"])
@detection
def test_kind_no_option_is_suggested_where_none_is_meant(small, word):
    assert small(word).is_refused(word, "no such option; expected one of those in --help-all\n")


@detection
def test_kind_test_images_are_looked_at_before_training(small, devkit, tmp_path):
    image = next((devkit / "VOCshapes" / "JPEGImages").glob("val*.jpg"))
    image.write_text("no image")
    assert small("--root", devkit, "--out", tmp_path / "out").is_refused(image)
    assert not (tmp_path / "out").exists()


@detection
def test_kind_fewer_validation_images_than_devices(small, tmp_path):
    """Found before the processes begin, of which each said it, and not of which images."""
    result = small("--out", tmp_path / "run", "--devices", 2, "--validation", 0.07)
    assert result.is_refused("validation images: found 1 for 2 processes; expected", "a larger --validation")
    assert not (tmp_path / "run").exists()


@detection
def test_kind_verify_names_all_that_is_wrong_or_odd(small, devkit, tmp_path):
    words = ("--root", devkit, "--verify", "--out", tmp_path / "out")
    result = small(*words)
    assert (result.code, result.err) == (0, "")
    assert re.search(
        r"12 training images, 4 validation images, 6 test images, \d+ boxes: 0 errors", result.out
    )
    photographs = sorted((devkit / "VOCshapes" / "JPEGImages").glob("train*.jpg"))
    tests = sorted((devkit / "VOCshapes" / "JPEGImages").glob("val*.jpg"))
    shutil.copy(photographs[0], tests[0])  # a leak
    exif = Image.Exif()
    exif[0x0112] = 3
    Image.open(photographs[1]).save(photographs[1], exif=exif)
    result = small(*words)
    assert result.code == 0
    for part in (
        f"{tests[0]} (test): the same file as {photographs[0]}",
        f"{photographs[1]} (",
        "turned by EXIF; boxes are on",
        "0 errors, 2 remarks",
    ):
        assert part in result.out, result.out
    photographs[2].write_bytes(photographs[2].read_bytes()[:400])  # its header is whole
    photographs[3].write_text("no image")
    result = small(*words)
    assert result.is_refused(photographs[2], "cannot be decoded")
    assert f"error: {photographs[3]}: found" in result.out
    assert "2 errors" in result.out
    assert not (tmp_path / "out").exists()


@detection
def test_kind_verify_names_every_annotation_at_fault(small, devkit):
    """And the pictures at fault, too: of a VOC tree, of photographs of one's own and of a YOLO data set."""
    tree = devkit / "VOCshapes"
    for number, (old, new) in enumerate((("<xmin>", "<xmin>9"), ("</object>", ""), ("<name>", "<name>no "))):
        file = tree / "Annotations" / f"train_{2 * number:06}.xml"
        file.write_text(file.read_text().replace(old, new, 1))
    test = tree / "Annotations" / "val_000003.xml"
    test.write_text("")
    photograph = tree / "JPEGImages" / "train_000005.jpg"
    photograph.write_bytes(photograph.read_bytes()[:500])
    names = [f"train_00000{number}.xml" for number in (0, 2, 4)]
    result = small("--root", devkit, "--verify")
    assert result.is_refused("val_000003.xml")  # read first
    assert [name for name in names if f"error: {tree / 'Annotations' / name}" in result.out] == names
    assert f"error: {photograph}: found" in result.out
    assert re.search(
        r"\n1[01] training images, \d validation images, 5 test images, \d+ boxes: 5 errors", result.out
    )
    words = ("--train", f"{tree}:train", "--test", f"{tree}:val", "--verify")
    result = small(*words, "--validation", "0.25", base=False)
    assert result.is_refused("train_000000.xml")
    assert "5 errors" in result.out
    lists = tree / "ImageSets" / "Main" / "train.txt"
    lists.write_text(lists.read_text() + "train_000001\n")
    result = small("--root", devkit, "--verify")
    assert result.is_refused("val_000003.xml")
    assert "train.txt:17: found image 'train_000001' a second time" in result.out
    assert "no images, 0 boxes: 2 errors" in result.out


@detection
def test_kind_verify_names_what_voc_text_has_no_place_for(small, devkit):
    tree = devkit / "VOCshapes"
    for place, ending in (("JPEGImages", "jpg"), ("Annotations", "xml")):
        (tree / place / f"val_000000.{ending}").rename(tree / place / f"val 0.{ending}")
    lists = tree / "ImageSets" / "Main" / "val.txt"
    lists.write_text(lists.read_text().replace("val_000000", "val 0"))
    result = small("--root", devkit, "--verify")
    assert (result.code, result.err) == (0, "")
    assert "no VOC text of detections in the test images will be written: image 'val 0': found" in result.out
    assert "its <filename> is 'val_000000.jpg'" in result.out
    assert "0 errors, 2 remarks\n" in result.out


@detection
def test_kind_verify_says_what_is_left_out_and_repeats_what_the_readers_say(small, tmp_path):
    """Of classes that differ it names those, and goes on."""
    rng = np.random.default_rng(0)
    for folder, names, classes in (("photos", "abcd", ("Cat", "Dog")), ("aside", "ef", ("Cat", "Horse"))):
        (tmp_path / folder).mkdir()
        for name in names:
            pixels = rng.integers(0, 256, (60, 80, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / folder / f"{name}.jpg")
            objects = [(label, [1, 1, 40, 40]) for label in classes]
            (tmp_path / folder / f"{name}.xml").write_text(voc_xml(objects, (80, 60)))
    photos = tmp_path / "photos"
    words = ("--train", photos, "--test", tmp_path / "aside", "--verify", "--validation", 0.25)
    result = small(*words, base=False)
    assert result.is_refused(
        f"--test {tmp_path / 'aside'}: found Horse, which the other images do not have, and no Dog"
    )
    assert "3 training images, 1 validation image, 2 test images, 12 boxes: 1 error, 2 remarks" in result.out
    for name in "ef":
        file = tmp_path / "aside" / f"{name}.xml"
        file.write_text(file.read_text().replace("Horse", "Dog"))
    (photos / "a.xml").write_text((photos / "a.xml").read_text().replace("Cat", "cat"))
    (photos / "b.xml").write_text(voc_xml([], (80, 60)))
    Image.new("RGB", (80, 60)).save(photos / "c.png")
    for name in ("forgotten", "forgotten too"):
        Image.new("RGB", (80, 60)).save(photos / f"{name}.jpg")
    result = small(*words, base=False)
    assert (result.code, result.err) == (0, "")
    for part in (
        f"the classes 'cat' (1 object, the first in {photos / 'a.xml'}) and 'Cat' (2 objects) differ in case",
        f"{photos / 'b.jpg'} (",
        "): without an object\n",
        f"{photos / 'forgotten too.jpg'}: left out, as no sound annotation is of it, like 2 in all\n",
        f"{photos / 'c.png'}: left out, as c.jpg has its name\n",
        "10 boxes: 0 errors, 6 remarks",
    ):
        assert part in result.out, result.out
    (photos / "Annotations").mkdir()
    for file in photos.glob("*.*"):
        file.rename(photos / "Annotations" / file.name) if file.suffix == ".xml" else file.unlink()
    assert small(*words, base=False).is_refused(photos / "JPEGImages", "no such file; expected the image")


@classifier
def test_kind_verify_of_a_classifier(small):
    found = "no fault found in 24 train images, 8 validation images, 16 test images\n"
    assert small("--verify").out == found


@classifier
def test_kind_image_files_of_a_classifier_are_decoded_by_verify(small, tmp_path):
    """And the headers of test images before training."""
    for part in ("train", "val"):
        for label in ("cat", "dog"):
            (tmp_path / part / label).mkdir(parents=True)
            for number in range(4):
                Image.new("RGB", (40, 40), (60 * number, 9, 9)).save(
                    tmp_path / part / label / f"{number}.png"
                )
    network = "--data imagenet --arch resnet18 --width 0.0625 --batch-size 2 --input-size 32 --workers 0"
    out = ("--root", tmp_path, "--validation", 0.25, "--max-steps", 1, "--out", tmp_path / "a")
    words = (*network.split(), *out)
    counts = "6 train images, 2 validation images, 8 test images"
    result = small(*words, "--verify", base=False)
    assert result.out == f"no fault found in {counts}\n", result
    cut, text = tmp_path / "train" / "cat" / "1.png", tmp_path / "val" / "dog" / "2.png"
    cut.write_bytes(cut.read_bytes()[:60])
    text.write_text("no image")
    result = small(*words, "--verify", base=False)
    assert result.is_refused(cut, "cannot be decoded")
    assert f"error: {text}: found" in result.out
    assert f"{counts}: 2 errors" in result.out
    paper = small(*words, "--protocol", "paper", "--verify", base=False)  # validates on the test images
    assert paper.out.count(f"{text}: found") == 1
    assert small(*words, base=False).is_refused(text, "cannot be decoded")
    assert not (tmp_path / "a").exists()


def test_kind_scoring_says_how_far_it_is(capsys, monkeypatch):
    batches = [{"images": torch.zeros(4, 1)}] * 3
    assert list(with_progress(batches, 12, every=0)) == batches
    lines = capsys.readouterr().out.splitlines()
    assert [line.partition(",")[0] for line in lines] == [f"scoring: {done}/12 images" for done in (4, 8, 12)]
    assert lines[-1].endswith("left 0:00:00")
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    assert list(with_progress(batches, 12, every=0)) == batches
    assert "scoring" in capsys.readouterr().err


@classifier
def test_kind_without_scoring(small, tmp_path):
    assert small("--out", tmp_path, "--max-steps", 1, "--score", "false").is_done(
        f"the test images are not scored (--score false); --evaluate {tmp_path} does it"
    )
    assert not (tmp_path / "scores.json").exists()


@detection
@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("provenance.json", "[{"),
        ("provenance.json", "{}"),
        ("logs/csv/metrics.csv", "no,columns\n1,2\n"),
        ("logs/csv/metrics.csv", "epoch,step\n0,x\n"),
        ("logs/csv/metrics.csv", ""),
        ("logs/csv/metrics.csv", "epoch,step\n"),
        ("logs/csv/metrics.csv", "\0" * 40),
    ],
)
def test_kind_damaged_files_of_a_run(small, run, file, text):
    (run.path / file).write_text(text)
    assert small("--resume", run.path, "--max-steps", 2, base=False).is_refused(run.path / file)


def no_room(file):
    """The error of a writer of files where the disk is full."""
    error = InputError(file, "No space left on device", "a folder to write to")
    error.__context__ = OSError(errno.ENOSPC, "No space left on device")
    return error


@detection
@pytest.mark.parametrize(
    ("error", "parts"),
    [
        (RuntimeError("DataLoader worker (pid 7) is killed by signal: Killed. "), ["--workers", "--resume"]),
        (
            torch.OutOfMemoryError("CUDA out of memory"),
            [
                "--batch-size 4 at --input-size 64; lower",
                "--accumulate (now 1) or take --precision bf16-mixed",
            ],
        ),
        (RuntimeError("DataLoader worker is killed by signal: Bus error. "), ["/dev/shm", "--workers"]),
        (RuntimeError("Communication with the workers is no longer possible."), ["ulimit -n", "--workers"]),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried"), ["--batch-size 4"]),
        (ValueError("Expected more than 1 value per channel"), ["batch norm", "--batch-size 4"]),
        (OSError(errno.EROFS, "Read-only file system", "x.csv"), ["x.csv: Read-only file system"]),
        (no_room("scores.json"), ["scores.json: No space left on device; make room"]),
        (RuntimeError("Connection closed by peer [127.0.0.1]:1"), ["another process of this run has ended"]),
    ],
)
def test_kind_what_the_machine_does_is_one_line(small, run, at_step, handle, error, parts):
    def fail(module):
        raise error

    at_step(1, fail)
    handle(signal.SIGCHLD, lambda *_: None)  # as torch listens for its loaders' processes
    result = small("--resume", run.path, base=False)
    assert signal.getsignal(signal.SIGCHLD) == signal.SIG_DFL  # at exit, torch reports none as killed
    assert result.code == 1
    assert result.err.startswith("error: ")
    assert result.err.count("\n") == 1
    assert all(part in result.err for part in [*parts, f"--resume goes on from {run.last}"]), result.err


@detection
def test_kind_a_disk_that_is_full_for_a_thread(small, tmp_path, monkeypatch):
    """TensorBoard's thread printed a traceback beside the line."""
    monkeypatch.setattr(RecordWriter, "write", lambda *_: os.pwrite(full, b"x", 0))
    full = os.open("/dev/full", os.O_WRONLY)
    result = small("--out", tmp_path / "out")
    os.close(full)
    assert result.code == 1
    assert result.err == (
        f"error: a file in {tmp_path / 'out'}: No space left on device; make room; "
        "no checkpoint has been written yet\n"
    )


@detection
def test_kind_a_folder_in_the_place_of_a_file_is_named(small, tmp_path):
    (tmp_path / "config.yaml").mkdir()
    assert small("--out", tmp_path).is_refused(f"{tmp_path / 'config.yaml'}: found Is a directory")


def test_kind_a_warning_is_a_line(capsys, monkeypatch):
    def command():
        warnings.warn("a.xml: odd,\n  but read", UserWarning, stacklevel=1)
        return 0

    with warnings.catch_warnings():
        warnings.simplefilter("always")
        for rank, said in ("0", "warning: a.xml: odd, but read\n"), ("1", ""):
            monkeypatch.setenv("LOCAL_RANK", rank)
            assert ended_by_signals(command) == 0
            assert capsys.readouterr().err == said


@detection
def test_kind_out_of_memory_advises_no_precision_that_is_there(small, tmp_path, at_step):
    def fail(module):
        raise torch.OutOfMemoryError("CUDA out of memory")

    at_step(0, fail)
    result = small("--out", tmp_path, "--precision", "bf16-mixed", "--accumulate", 2)
    assert "lower one of them or raise --accumulate (now 2); no checkpoint" in result.err


@detection
def test_kind_a_batch_that_no_process_can_hand_over(small, tmp_path, monkeypatch, handle):
    """For want of shared memory: the error comes in a thread of a worker, and the run waited for ever."""
    dumps, main = ForkingPickler.dumps, os.getpid()

    def full(value, protocol=None):
        if os.getpid() != main:
            raise RuntimeError("unable to allocate shared memory(shm) for file </torch_1>: No space left")
        return dumps(value, protocol)

    monkeypatch.setattr(ForkingPickler, "dumps", full)
    handle(signal.SIGCHLD, signal.getsignal(signal.SIGCHLD))  # which the run changes
    result = small("--out", tmp_path / "run", "--workers", 2)
    assert result.code == 1
    assert result.err.count("\n") == 1
    assert all(part in result.err for part in ("/dev/shm", "ulimit -n", "--workers (now 2)")), result.err


@classifier
@pytest.mark.parametrize("number", [signal.SIGUSR1, signal.SIGHUP])
def test_kind_other_signals_save_the_state_too(small, tmp_path, at_step, handle, number):
    at_step(1, lambda module: signal.raise_signal(number))
    handle(number, signal.SIG_DFL)  # under nohup SIGHUP is ignored, by a run as well
    result = small("--out", tmp_path)
    assert result.code == 128 + number
    last = tmp_path / "checkpoints" / "last.ckpt"
    assert f"stopped by {number.name}; the state is kept in {last}" in result.err
    assert small.read(last)["global_step"] == 2


@classifier
def test_kind_under_nohup_a_run_goes_on(small, tmp_path, at_step, handle):
    at_step(1, lambda module: signal.raise_signal(signal.SIGHUP))
    handle(signal.SIGHUP, signal.SIG_IGN)
    assert small("--out", tmp_path, "--max-steps", 3).is_done()
    assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    assert small.read(tmp_path / "checkpoints" / "last.ckpt")["global_step"] == 3


def test_kind_a_pipe_that_nobody_reads(monkeypatch, capsys):
    """As of ``| head``: the run ended at the line of an epoch, before its state was saved."""
    reader, writer = os.pipe()
    os.close(reader)
    trainer = SimpleNamespace(
        is_global_zero=True, lightning_module=SimpleNamespace(means={}), progress_bar_metrics={},
        current_epoch=0, max_epochs=1,
    )  # fmt: skip
    with os.fdopen(writer, "w") as closed, monkeypatch.context() as patch:
        patch.setattr("sys.stdout", closed)
        for _ in range(2):
            LogProgress()._line(trainer, "")
    assert capsys.readouterr().err == "warning: nothing reads the output any more; the run goes on\n"


@classifier
def test_kind_a_terminal_that_is_closed(small, tmp_path, at_step, handle):
    """What is printed then is an error of the system, until the output leads elsewhere."""
    keyboard, terminal = pty.openpty()
    kept = {descriptor: os.dup(descriptor) for descriptor in (1, 2)}
    errors = []

    def close(module):
        os.close(keyboard)
        for descriptor in kept:
            os.dup2(terminal, descriptor)
        with pytest.raises(OSError, match="Input/output error"):
            os.write(1, b"x")
        signal.raise_signal(signal.SIGHUP)
        errors.extend(descriptor for descriptor in kept if os.write(descriptor, b"x") != 1)

    at_step(1, close)
    handle(signal.SIGHUP, signal.SIG_DFL)
    try:
        result = small("--out", tmp_path)
    finally:
        for descriptor, to in kept.items():
            os.dup2(to, descriptor)
            os.close(to)
        os.close(terminal)
    assert result.code == 128 + signal.SIGHUP
    assert errors == []
    assert small.read(tmp_path / "checkpoints" / "last.ckpt")["global_step"] == 2


@detection
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGUSR1])
def test_kind_a_signal_before_the_first_step_and_while_scoring(small, run, monkeypatch, number):
    def stop(*arguments, **named):
        signal.raise_signal(number)

    monkeypatch.setattr(type(DETECTION), "score", stop)
    again = small("--evaluate", run.path, base=False)
    assert (again.code, again.err) == (
        128 + number,
        f"stopped by {number.name}; --evaluate {run.last} scores it again\n",
    )
    whole = small("--resume", run.path, "--max-steps", 2, base=False)
    assert whole.code == 128 + number
    assert whole.err == (
        f"stopped by {number.name}; the training is complete, the state is kept in {run.last}; "
        f"--resume {run.path} scores it again\n"
    )
    monkeypatch.setattr(type(DETECTION), "read", stop)
    result = small("--resume", run.path, base=False)
    assert (result.code, result.err) == (128 + number, f"stopped by {number.name}; no step was done\n")


def test_kind_a_backbone_that_gives_no_map():
    with pytest.raises(ValueError, match=r"Linear has no out_channels; expected .*detector.resnet50"):
        YOLO(nn.Linear(3, 3), classes=3, grid=2)


# Within an epoch


@classifier
def test_checkpoints_within_an_epoch(small, log_of, tmp_path, at_step, monkeypatch):
    """Killed after any step, the run goes on from the last checkpoint, with no row of its log missing."""
    kept = {}

    def keep(module):
        step = module.global_step
        kept[step] = RunFolder(tmp_path / f"killed{step}")
        shutil.copytree(tmp_path / "run", kept[step].path)

    words = ("--checkpoint-every", 1, *small.shuffled)
    with monkeypatch.context() as patch:
        for step in (2, 5):
            at_step(step, keep, patch)
        assert small("--out", tmp_path / "run", *words).is_done()
    assert log_of(tmp_path / "run") == log_of(small.whole[0])
    for step, folder in kept.items():
        assert small.read(folder.last)["global_step"] == step
        with (folder.path / "logs/csv/metrics.csv").open() as file:
            assert [int(row["step"]) for row in csv.DictReader(file) if row["loss"]] == list(range(step))
        assert small("--resume", folder.path, base=False).is_done()
        assert log_of(folder.path) == log_of(small.whole[0])
