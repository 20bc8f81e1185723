"""The command line: what it answers to words it does not know and to data that cannot be used."""

import json
import re
import shutil
from dataclasses import fields
from pathlib import Path

import lightning
import pytest
import torch
import yaml

from data.shapes import write_shapes
from training.parser import make_parser
from training.tasks.detection import DETECTION as TASK
from training.tasks.detection import Options


@pytest.fixture
def untrained(monkeypatch):
    """Nothing is to get as far as a training; where it does, the test fails at once."""

    def fail(*arguments, **named):
        raise AssertionError("training has begun")

    monkeypatch.setattr(lightning.Trainer, "fit", fail)


def refused(result, *parts):
    """The command ended with code 2 and one line, which has these parts."""
    assert result.code == 2, result
    assert result.err.startswith("error: ")
    assert result.err.count("\n") == 1, result.err
    for part in parts:
        assert str(part) in result.err
    return True


# Options


def test_help_documents_every_option(command):
    result = command("--help", base=False)
    assert (result.code, result.err) == (0, "")
    shown = " ".join(result.out.split())
    for action in make_parser(TASK)._actions:
        assert action.help, action.dest
        assert action.option_strings[-1] in result.out
    for group in fields(Options):
        for item in fields(getattr(Options(), group.name)):
            assert " ".join(item.metadata["help"].split()) in shown.replace("- ", "-"), item.name
    assert all(len(line) <= 100 for line in result.out.splitlines())
    assert "Exit codes" in shown


def test_every_option_is_a_key_of_the_yaml_file():
    names = {action.dest for action in make_parser(TASK)._actions}
    assert Options().flat().keys() <= names
    groups = [getattr(Options(), group.name) for group in fields(Options)]
    assert len(Options().flat()) == sum(len(fields(group)) for group in groups)  # no name twice


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        (
            ["--epoch", "3"],
            ["--epoch", "did you mean '--epochs'?"],
        ),  # no abbreviations: they would hide a typo
        (["--shuffle_method", "patch"], ["--shuffle_method", "did you mean '--shuffle-method'?"]),
        (["--lerning-rate=3"], ["--lerning-rate", "did you mean '--learning-rate'?"]),
        (["--zzz"], ["--zzz", "--help"]),
        (["stray"], ["stray"]),
        (["--epochs", "two"], ["--epochs: found 'two'", "a whole number"]),
        (["--epochs", "2.5"], ["--epochs: found '2.5'", "a whole number"]),
        (["--learning-rate", "fast"], ["--learning-rate: found 'fast'", "a number"]),
        (["--grid", "x"], ["--grid: found 'x'", "a whole number or null"]),
        (["--compile", "perhaps"], ["--compile: found 'perhaps'", "true or false"]),
        (["--arch", "vgg16"], ["--arch: found 'vgg16'", "resnet18, resnet50, resnet152"]),
        (["--precision", "16"], ["--precision: found '16'", "32-true, 16-mixed, bf16-mixed"]),
        (["--epochs"], ["--epochs", "one argument"]),
        (["--train"], ["--train", "at least one argument"]),
        (["--config", "absent.yaml"], ["--config", "absent.yaml"]),
        (["--config"], ["--config"]),
    ],
)
def test_wrong_word(command, words, parts):
    assert refused(command(*words, base=False), *parts)


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("epoch: 3", ["epoch: found no such option", "did you mean '--epochs'?"]),
        ("epochs: two", ["epochs: found 'two'", "a whole number"]),
        ("epochs: 3\nnonsense: {a: 1}", ["nonsense"]),
        ("train: 2012:train", ["train: [2012:train]"]),
        ("shuffle: [last]", ["shuffle"]),
        ("- epochs\n- 3", ["epochs: 100"]),
        ("only words", ["epochs: 100"]),
        ("", ["epochs: 100"]),
        ("epochs:", ["epochs: found 'null'", "a whole number"]),
        ("epochs: [", ["line 1"]),
        ("epochs: \0", ["characters are not allowed"]),
    ],
)
@pytest.mark.parametrize("form", ["--config {}", "--config={}"])
def test_wrong_yaml_file(command, tmp_path, text, parts, form):
    file = tmp_path / "run.yaml"
    file.write_text(text)
    assert refused(command("--seed", 1, *form.format(file).split(), base=False), f"error: {file}: ", *parts)


def test_yaml_file_that_cannot_be_read(command, tmp_path):
    assert refused(command("--config", tmp_path, base=False), "--config", tmp_path)
    file = tmp_path / "latin.yaml"
    file.write_bytes(b"name: caf\xe9")
    assert refused(command("--config", file, base=False), file)


def test_a_bare_number_in_a_yaml_file_is_a_word_where_one_is_due(command, tmp_path):
    file = tmp_path / "run.yaml"
    file.write_text("root: x\ndevices: 2\nshuffle: 3\nname: 7\ntrain: ['2012:train']\nlearning_rate: 1e-2\n")
    result = command("--config", file, "--seed", 4, "--print_config", base=False)
    assert result.code == 0, result.err
    values = yaml.safe_load(result.out)
    assert (values["devices"], values["shuffle"], values["name"]) == ("2", "3", "7")
    options = Options.from_flat(values)
    assert options.optimization.learning_rate == 0.01
    assert options.optimization.seed == 4
    options.check()


def test_printed_options_given_back_are_the_same(command, tmp_path):
    words = [
        "--shuffle",
        "last",
        "--patch",
        "2",
        "--shuffle-method",
        "patch",
        "--compile",
        "--augment",
        "false",
    ]
    file = tmp_path / "printed.yaml"
    file.write_text(command(*words, "--print_config").out)
    again = command("--config", file, "--print_config", base=False)
    assert again.out == file.read_text()
    options = Options.from_flat(yaml.safe_load(again.out))
    assert (options.model.patch, options.machine.compile, options.data.augment) == (2, True, False)
    assert options.data.train == ["shapes:train"]


# Values


@pytest.mark.usefixtures("untrained")
@pytest.mark.parametrize(
    ("words", "parts"),
    [
        ("--validation 0.01", ["validation share", "0.01 of 16 images", "at least one image"]),
        ("--validation 1", ["--validation", "below 1"]),
        ("--validation nan", ["--validation"]),
        ("--batch-size 13", ["--batch-size", "13 for 12 training images"]),
        ("--batch-size 4 --devices 3", ["--batch-size: found 4", "a multiple of the 3 devices"]),
        ("--batch-size 0", ["--batch-size", "at least 1"]),
        ("--input-size 8", ["--input-size", "32"]),
        ("--grid 5", ["--grid", "5", "2, 4 or 8"]),
        ("--shuffle 99", ["--shuffle", "99", "resnet18"]),
        ("--shuffle foo", ["--shuffle", "'foo'", "'last'"]),
        ("--shuffle 0", ["--shuffle", "'0'"]),
        ("--patch 2", ["--patch", "2", "--shuffle-method patch"]),
        ("--shuffle last --shuffle-method patch", ["--patch", "nothing", "--shuffle-method patch"]),
        ("--shuffle last --shuffle-method patch --patch 0", ["--patch", "0", "at least 1"]),
        ("--devices 0", ["--devices", "'0'"]),
        ("--devices -1", ["--devices", "'-1'"]),
        ("--devices some", ["--devices", "'some'"]),
        ("--precision 16-mixed", ["--precision", "bf16-mixed"]),
        ("--seed -1", ["--seed", "-1"]),
        ("--learning-rate -1", ["--learning-rate"]),
        ("--passes 0", ["--passes", "at least 1"]),
        ("--iou-threshold 2", ["--iou-threshold", "from 0 to 1"]),
        ("--weights IMAGENET1K_V9", ["--weights", "IMAGENET1K_V9"]),
        ("--resume", ["--resume", "last.ckpt"]),
        ("--resume nowhere", ["--resume", "nowhere"]),
        ("--evaluate nowhere", ["nowhere", "no such file"]),
        ("--evaluate nowhere --resume", ["--evaluate", "--resume"]),
        ("--train shapes:training", ["training.txt", "no such list", "train"]),
        ("--train 2031:train", ["VOC2031", "VOCshapes"]),
        ("--train shapes", ["'shapes'", "YEAR:LIST"]),
        ("--test shapes:train", ["training image", "VOCshapes/ImageSets/Main/train.txt"]),
        ("--root /nowhere", ["--root /nowhere", "no such folder"]),
    ],
)
def test_wrong_value(command, tmp_path, words, parts):
    assert refused(command(*words.split(), "--out", tmp_path / "out"), *parts)
    assert not (tmp_path / "out").exists()


def test_voc_needs_a_root(command):
    assert refused(command(base=False), "--root", "VOCdevkit")


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
@pytest.mark.usefixtures("untrained")
def test_no_gpu_here(command, tmp_path):
    assert refused(command("--out", tmp_path / "out", "--accelerator", "gpu"), "--accelerator", "gpu")


@pytest.mark.usefixtures("untrained")
def test_folder_that_cannot_be_made(command, tmp_path):
    (tmp_path / "file").write_text("")
    assert refused(command("--out", tmp_path / "file"), tmp_path / "file", "--out")
    assert refused(command("--out", tmp_path / "file" / "run"), tmp_path / "file", "--out")


# Data


@pytest.fixture
def devkit(scenes, tmp_path) -> Path:
    """A copy of the scenes, to be damaged."""
    shutil.copytree(scenes, tmp_path / "devkit")
    return tmp_path / "devkit"


def first_image(devkit) -> str:
    return (devkit / "VOCshapes" / "ImageSets" / "Main" / "train.txt").read_text().split()[0]


@pytest.mark.usefixtures("untrained")
def test_missing_image(command, devkit):
    image = devkit / "VOCshapes" / "JPEGImages" / f"{first_image(devkit)}.jpg"
    image.unlink()
    assert refused(command("--root", devkit, "--out", devkit / "out"), image, "no such file")


@pytest.mark.parametrize("workers", [0, 1])
def test_truncated_image(command, devkit, workers):
    """Found where it is read, in the midst of the training, also by another process."""
    images = devkit / "VOCshapes" / "JPEGImages"
    for name in (devkit / "VOCshapes" / "ImageSets" / "Main" / "train.txt").read_text().split():
        content = (images / f"{name}.jpg").read_bytes()
        (images / f"{name}.jpg").write_bytes(content[: len(content) // 2])
    result = command("--root", devkit, "--out", devkit / "out", "--workers", workers)
    assert refused(result, str(images), ".jpg: found an image that cannot be decoded", "truncated")


@pytest.mark.usefixtures("untrained")
@pytest.mark.parametrize(
    ("pattern", "text", "parts"),
    [
        (r"<xmax>\d+</xmax>", "<xmax>65</xmax>", ["object 1", "<xmax>", "65"]),
        (r"<xmin>\d+</xmin>", "<xmin>0</xmin>", ["object 1", "<xmin>", "0"]),
        (r"<xmax>\d+</xmax>", "<xmax>1</xmax>", ["object 1", "<bndbox>"]),
        (r"<name>\w+</name>", "<name>yeti</name>", ["object 1", "<name>", "'yeti'", "arrow"]),
        (r"<size>(?s:.*?)</size>", "", ["no <size>"]),
        (r"<width>\d+</width>", "<width>wide</width>", ["<width>", "'wide'"]),
        (r"</object>", "", ["malformed"]),
        (r"<bndbox>(?s:.*?)</bndbox>", "", ["no <bndbox>"]),
    ],
)
def test_bad_annotation(command, devkit, pattern, text, parts):
    names = (devkit / "VOCshapes" / "ImageSets" / "Main" / "train.txt").read_text().split()
    files = [devkit / "VOCshapes" / "Annotations" / f"{name}.xml" for name in names]
    file = next(file for file in files if "<object>" in file.read_text())
    content, count = re.subn(pattern, text, file.read_text(), count=1)
    assert count == 1
    file.write_text(content)
    assert refused(command("--root", devkit, "--out", devkit / "out"), file, *parts)


@pytest.mark.usefixtures("untrained")
def test_empty_list(command, devkit):
    file = devkit / "VOCshapes" / "ImageSets" / "Main" / "train.txt"
    file.write_text("\n")
    assert refused(command("--root", devkit, "--out", devkit / "out"), file, "no image")


@pytest.mark.usefixtures("untrained")
def test_voc_2007_test_is_never_trained_on(command, devkit):
    shutil.copytree(devkit / "VOCshapes", devkit / "VOC2007")
    image = (devkit / "VOC2007" / "ImageSets" / "Main" / "test.txt").read_text().split()[0]
    result = command("--root", devkit, "--train", "2007:test", "--test", "2007:val", "--out", devkit / "out")
    assert refused(result, f"training image {image!r} of VOC2007", "VOC2007/ImageSets/Main/test.txt")


def test_a_list_given_twice_is_refused(command):
    result = command("--train", "shapes:train", "--train", "shapes:val")
    assert result.code == 2
    assert result.err.startswith("error: --train: found twice")


def test_classes_of_training_and_test_must_agree(command, tmp_path):
    write_shapes(tmp_path, train=6, val=1, test=1, size=(64, 64))
    shutil.copytree(tmp_path / "VOCshapes", tmp_path / "VOCother")
    listed = tmp_path / "VOCother" / "classes.yaml"
    listed.write_text(listed.read_text().replace("[arrow, cross,", "[cross, arrow,"))
    result = command("--root", tmp_path, "--test", "other:test", "--out", tmp_path / "out")
    assert result.code == 2
    assert result.err.startswith("error: --test other:test: found the classes cross, arrow")


@pytest.mark.parametrize("option", [("--seed", 2**32), ("--warmup-epochs", "inf"), ("--weight-decay", "nan")])
def test_numbers_out_of_range(command, option):
    result = command(*option)
    assert result.code == 2
    assert result.err.startswith(f"error: {option[0]}: found")


def test_evaluation_needs_no_training_images(plain, scenes, command, tmp_path):
    shutil.copytree(scenes / "VOCshapes", tmp_path / "VOCshapes")
    (tmp_path / "VOCshapes/ImageSets/Main/train.txt").unlink()
    for file in (tmp_path / "VOCshapes").rglob("train_*"):
        file.unlink()
    out = tmp_path / "out"
    result = command("--evaluate", plain, "--root", tmp_path, "--sheet", 0, "--out", out, base=False)
    assert result.code == 0, result.err
    assert json.loads((out / "provenance.json").read_text())[0]["test"] == ["shapes:val"]
