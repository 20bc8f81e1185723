"""Freezing, class weights, loggers, curves and pictures of a run."""

import re
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from detector import YOLO
from detector.grid import GridTargets, Prediction
from detector.loss import yolo_loss
from training.module import TrainingModule
from training.pictures import draw_boxes, draw_curves
from training.tasks.classification_module import ClassifierModule
from training.tasks.detection import DETECTION
from training.tasks.detection_module import DetectorModule
from training.tasks.detection_options import Options


@pytest.fixture
def detection(small_runs):
    return small_runs["detection"]


@pytest.mark.parametrize(
    ("words", "frozen", "trained"),
    [
        (("--freeze", 3), ["conv1", "bn1", "layer1", "layer2.0"], ["layer2.1", "layer4"]),
        (("--freeze", "all", "--freeze-epochs", 1), [], ["conv1", "bn1", "layer1", "layer4"]),
    ],
)
def test_frozen_layers_keep_weights_and_statistics(words, frozen, trained, detection, tmp_path, at_step):
    """For so many epochs; then they learn."""
    seen = {}
    at_step(0, lambda module: seen.update(start=copy_of(module)))
    at_step(4, lambda module: seen.update(epoch=copy_of(module)))  # the first of the second epoch
    common = ("--validation", 0, "--score", "false", "--max-steps", 6 if "--freeze-epochs" in words else 2)
    assert detection("--out", tmp_path / "run", *words, *common).is_done()
    end = detection.read(tmp_path / "run" / "checkpoints" / "last.ckpt")["state_dict"]
    end = {name.removeprefix("model."): value for name, value in end.items()}

    def moved(now: dict[str, torch.Tensor], part: str) -> set[bool]:
        names = [name for name in now if name.startswith(f"backbone.{part}") and now[name].ndim]
        return {not torch.equal(now[name], seen["start"][name]) for name in names}

    assert all(moved(end, part) == {False} for part in frozen)
    assert all(moved(end, part) == {True} for part in trained)
    if "--freeze-epochs" in words:
        assert moved(seen["epoch"], "") == {False}
    assert not torch.equal(end["head.output.weight"], seen["start"]["head.output.weight"])


def copy_of(module) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in module.model.state_dict().items()}


def test_freezing_more_layers_than_there_are(detection, tmp_path):
    assert detection("--out", tmp_path / "run", "--freeze", 9).is_refused("--freeze", "at most the 8 layers")
    assert detection("--out", tmp_path / "run", "--freeze", "some").is_refused("--freeze", "'all'")


def test_class_weights_are_those_of_the_objects(detection, scenes):
    options = Options.from_flat(
        {"root": str(scenes), "train": ["shapes:train"], "test": ["shapes:val"], "input_size": 64}
        | {"arch": "resnet18", "width": 0.25, "class_weights": "balanced", "validation": 0.0, "batch_size": 4}
    )
    data = DETECTION.read(options)
    hyper_parameters = {"model": {}, **DETECTION.describe(options, data)}
    network = DETECTION.build(options.model, hyper_parameters)
    DETECTION.make_module(network, options, data, hyper_parameters)
    truth = data.train.truth
    labels = truth.labels[~truth.difficult]
    weights = network.class_weights[labels].numpy()
    assert weights.mean() == pytest.approx(1)
    sums = np.bincount(labels, weights)
    np.testing.assert_allclose(sums[sums > 0], sums.max(), rtol=1e-5)  # each class weighs the same
    assert "class_weights" not in network.state_dict()


def test_a_class_weight_is_a_factor_of_that_classs_part_alone():
    prediction = Prediction(*torch.rand(2, 1, 1, 1, 1, 2), torch.rand(1, 1, 1, 1), torch.rand(1, 1, 1, 3))
    one = torch.ones(1, 1, 1, dtype=torch.bool)
    targets = GridTargets(one, ~one, torch.rand(1, 1, 1, 4), torch.full((1, 1, 1), 2), torch.tensor(0))
    plain, weighted = (yolo_loss(prediction, targets, None, w) for w in (None, torch.tensor([9.0, 9.0, 4.0])))
    assert weighted.classes == 4 * plain.classes
    rest = [part for part in plain._fields if part not in ("classes", "total")]
    assert all(torch.equal(getattr(plain, part), getattr(weighted, part)) for part in rest)


def test_a_run_has_curves_and_pictures(small):
    out = small.whole[0]
    assert Image.open(out / "curves.png").size[0] > 1000
    if small.name == "detection":
        events = EventAccumulator(str(out / "logs" / "tensorboard"), {"images": 0})
        events.Reload()
        found = events.Images("val/detections")
        assert [event.step for event in found] == [3, 6]
        assert found[0].height >= 64


@pytest.mark.parametrize(
    ("scores", "texts"),
    [
        ([0.9, 0.2, 0.05], ["dog 0.90", "cat 0.20"]),
        ([0.04, 0.03, 0.02, 0.01], ["dog 0.04", "cat 0.03", "dog 0.02"]),
        ([], []),
    ],
)
def test_kind_pictures_of_a_validation_show_the_best_whatever_they_score(scores, texts, monkeypatch):
    """A detector that has just begun scores little: no picture had a box."""
    drawn = []
    monkeypatch.setattr("training.tasks.detection_module.draw_boxes", lambda *given: drawn.append(given))
    count = len(scores)
    found = {
        "scores": torch.tensor(scores),
        "labels": torch.arange(count) % 2,
        "boxes": torch.tensor([[1.0, 1.0, 9.0, 9.0]] * count).reshape(-1, 4),
    }
    module = SimpleNamespace(hparams={"classes": ["dog", "cat"]}, loggers=[], global_step=1)
    DetectorModule._log_pictures(module, torch.zeros(1, 3, 20, 20, dtype=torch.uint8), [found])
    (_, boxes, _, said) = drawn[0]
    assert (said, len(boxes)) == (texts, len(texts))


def test_kind_the_letters_of_a_label_stand_out_from_it():
    """By the contrast of WCAG; black letters on blue and red had 2 to 3."""
    grey, letters = np.full((100, 200, 3), 128, np.uint8), set()
    for label in range(20):
        drawn = draw_boxes(grey, torch.tensor([[20.0, 20, 190, 90]]), torch.tensor([label]), ["MMMM"])
        white, black = ((drawn == value).all(axis=2).any() for value in (255, 0))
        assert white != black
        share = (drawn[30, 20] / 255 + 0.055) / 1.055
        light = float(np.maximum(share, 0.05) ** 2.4 @ [0.2126, 0.7152, 0.0722])
        assert (1.05 / (light + 0.05) if white else (light + 0.05) / 0.05) > 4.4
        letters.add(bool(white))
    assert letters == {True, False}


def test_kind_a_large_validation_loss_leaves_the_curves_of_scores_to_be_seen(tmp_path, monkeypatch):
    """Scores have an axis of their own; the loss lies beside that of the training, where both are seen."""
    log, drawn = tmp_path / "metrics.csv", []
    rows = [f"{epoch},{3 - epoch},{epoch},{2000 / (1 + epoch)},0.{epoch},0.1" for epoch in range(3)]
    log.write_text("\n".join(["epoch,loss,step,val/loss,val/map,val/correct", *rows, ""]))
    save = Figure.savefig
    monkeypatch.setattr(
        Figure, "savefig", lambda figure, *a, **b: [drawn.append(figure), save(figure, *a, **b)]
    )
    draw_curves(log, tmp_path / "curves.png")
    losses, scores, _ = drawn[0].axes
    assert {line.get_label() for line in losses.lines} == {"loss", "validation"}
    assert losses.get_yscale() == "log"
    assert {line.get_label() for line in scores.lines} == {"map", "correct"}
    assert scores.get_ylim()[1] < 1


def test_curves_of_an_odd_log(tmp_path):
    """One step, no validation, a value that is not finite."""
    log = tmp_path / "metrics.csv"
    log.write_text("epoch,loss,step,val/map\n0,1.5,0,\n0,nan,1,\n")
    draw_curves(log, tmp_path / "curves.png")
    assert Image.open(tmp_path / "curves.png").format == "PNG"


def test_further_loggers(detection, tmp_path):
    """A package that is missing is named."""
    for name in ("wandb", "mlflow"):
        try:
            __import__(name)
        except ImportError:
            result = detection("--out", tmp_path / "run", "--logger", name)
            assert result.is_refused("--logger", f"no package {name}", f"pip install {name}")
    assert detection("--out", tmp_path / "run", "--logger", "comet").is_refused("--logger", "wandb, mlflow")


@pytest.mark.usefixtures("unscored")
def test_multi_scale_trains_at_sizes_that_seed_and_step_determine(detection, tmp_path, monkeypatch, log_of):
    """Also when the run is resumed within an epoch, with the fast input and with accumulated batches."""
    original, seen = YOLO.encode_targets, []

    def encode_targets(self, targets, device, image_size, grid=None):
        boxes = torch.cat([target["boxes"] for target in targets]) / image_size[0]
        seen.append((image_size[0], grid, boxes))
        return original(self, targets, device, image_size, grid)

    monkeypatch.setattr(YOLO, "encode_targets", encode_targets)
    words = ("--multi-scale", "--epochs", 1, "--input", "fast", "--cache", tmp_path / "cache")
    words += ("--validation", 0, "--batch-size", 4, "--accumulate", 2, *detection.shuffled)
    assert detection("--out", tmp_path / "whole", *words).is_done()
    whole, seen = seen, []
    sizes = [size for size, _, _ in whole]
    assert len(sizes) == 8
    assert sizes[::2] == sizes[1::2]  # both parts of a batch
    assert 1 < len(set(sizes)) <= 3
    assert set(sizes) <= {32, 64, 96}
    assert all(grid == (size // 32, size // 32) for size, grid, _ in whole)
    assert all(boxes.numel() == 0 or 0.5 < boxes.max() <= 1 for _, _, boxes in whole)
    again = tmp_path / "again"
    assert detection("--out", again, *words, "--max-steps", 2).is_done()
    assert detection("--resume", again, *words[5:7], base=False).is_done()
    assert len(seen) == 8
    assert [size for size, _, _ in seen] == sizes
    assert log_of(again) == log_of(tmp_path / "whole")
    one, two = (detection.read(run / "checkpoints/last.ckpt") for run in (tmp_path / "whole", again))
    assert all(torch.equal(value, two["state_dict"][name]) for name, value in one["state_dict"].items())


def test_multi_scale_changes_nothing_but_the_size(detection, tmp_path, monkeypatch, log_of):
    """At the input size itself the loss is that of a step without it, but for rounding."""
    monkeypatch.setattr(DetectorModule, "_drawn_size", lambda self: 64)
    words = ("--validation", 0, "--score", "false", "--max-steps", 1, "--precision", "32-true")
    losses = []
    for value in ("true", "false"):
        out = tmp_path / value
        assert detection("--out", out, "--multi-scale", value, *words).is_done()
        losses.append(log_of(out)[0]["loss"])
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("--compile",), "no --compile"),
        (("--input-size", 32), "at least 64 pixels"),
        (
            ("--backbone", "tests.training.test_further_options:fixed", "--width", 1),
            "a backbone that takes no images of",
        ),
    ],
)
def test_multi_scale_is_refused_where_it_cannot_be(detection, tmp_path, words, expected):
    result = detection("--multi-scale", "--out", tmp_path / "run", *words)
    assert result.is_refused("--multi-scale: found", expected)


class fixed(torch.nn.Sequential):  # noqa: N801  # named as a function, as --backbone has it
    """A backbone for images of 64 pixels."""

    def __init__(self) -> None:
        super().__init__(torch.nn.Conv2d(3, 8, 32, 32))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        assert images.shape[2] == 64
        return super().forward(images)


def test_the_search_for_a_learning_rate(small, tmp_path, monkeypatch):
    """By training images alone; a run can begin in the same folder."""
    monkeypatch.setattr("training.run.RATES", 12)
    monkeypatch.setattr(type(small.task), "score", lambda *_, **__: pytest.fail("test images were scored"))
    for name in ("read_test", "verify"):
        monkeypatch.setattr(type(small.task), name, lambda *_, **__: pytest.fail("test images were read"))
    monkeypatch.setattr(TrainingModule, "seek_validation", lambda *_: pytest.fail("it validated"))
    out = tmp_path / "run"
    result = small("--find-learning-rate", "--out", out, "--learning-rate", 123)
    assert result.code == 0, result.err
    assert all(re.match("Finding best initial lr|$", line) for line in re.split(r"[\r\n]+", result.err))
    said = result.out.splitlines()[-1]
    rate = re.match(r"try --learning-rate (\S+) \(\d+ steps", said)
    assert 1e-6 < float(rate[1]) < 0.2 if rate else said.startswith("no learning rate lowers the loss (")
    assert [file.name for file in out.iterdir()] == ["learning-rates.png"]
    assert Image.open(out / "learning-rates.png").format == "PNG"
    assert small("--find-learning-rate", "--devices", 2, "--out", out).is_refused("one device")


@pytest.mark.parametrize("small", ["classification"], indirect=True)
def test_patience_ends_a_run_and_the_best_checkpoints_are_kept(small, tmp_path, monkeypatch):
    """An equal score is the best one from then on, but no better one."""
    scores, steps = [0.5, 0.7, 0.6, 0.7, 0.8, 0.1, 0.2], 3

    def validated(self):
        self.log_dict({"val/loss": 1.0, "val/accuracy": scores[self.current_epoch]})

    monkeypatch.setattr(ClassifierModule, "on_validation_epoch_end", validated)
    words = ("--score", "false", "--patience", 2, "--keep-best", 2)
    assert small("--out", tmp_path, "--epochs", len(scores), *words).is_done(
        "no better score in 2 validations: the training stops"
    )
    folder = tmp_path / "checkpoints"

    def kept():
        files = {file.name: small.read(file)["global_step"] for file in folder.glob("best*")}
        return files.pop("best.ckpt"), files

    def named(*numbers):
        return {f"best-step-{number:08}.ckpt": number for number in numbers}

    assert kept() == (4 * steps, named(2 * steps, 4 * steps))
    assert small("--resume", tmp_path, base=False).is_done()
    assert small.read(folder / "last.ckpt")["global_step"] == 4 * steps
    (folder / "best.ckpt").unlink()
    (folder / f"best-step-{4 * steps:08}.ckpt").unlink()  # as if killed before they were made
    assert small("--resume", tmp_path, "--patience", 3, base=False).is_done()
    assert small.read(folder / "last.ckpt")["global_step"] == 7 * steps
    assert kept() == (5 * steps, named(4 * steps, 5 * steps))


@pytest.mark.parametrize("small", ["detection"], indirect=True)
def test_the_first_training_images_are_drawn_as_augmented(small, tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr(
        "training.tasks.detection_module.draw_boxes",
        lambda pixels, *boxes: drawn.append((pixels, boxes)) or pixels,
    )
    words = ("--augment-strength", 0.25, "--max-steps", 1, "--validation", 0, "--score", "false")
    assert small("--out", tmp_path, *words).is_done()
    with Image.open(tmp_path / "training_images.png") as picture:
        assert picture.size == (4 * (64 + 4) + 4, 64 + 2 * 4)
        shown = np.asarray(picture)
    assert len(drawn) == 4
    for number, (pixels, (boxes, labels, names)) in enumerate(drawn):
        left = 4 + number * (64 + 4)
        assert (shown[4:-4, left : left + 64] == pixels).all()
        assert len(boxes) == len(labels) == len(names)
    assert sum(len(names) for _, (_, _, names) in drawn) > 0
    assert small("--out", tmp_path / "other", *words[2:], "--pictures", 0).is_done()
    assert not (tmp_path / "other" / "training_images.png").exists()
