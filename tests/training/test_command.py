"""The command lines: what they answer to words they do not know and to data that cannot be used."""

import errno
import os
import pickle
import re
import shutil
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import lightning
import pytest
import torch
import yaml

from data.formats.files import write_text
from data.records import InputError
from data.shapes import write_shapes
from tests.training.conftest import classifier, detection
from training.command import ended_by_signals, exit_code
from training.parser import make_parser
from training.tasks.classification import CLASSIFICATION
from training.tasks.detection import DETECTION


@pytest.fixture
def untrained(monkeypatch):
    """Nothing is to get as far as a training; where it does, the test fails at once."""

    def fail(*arguments, **named):
        raise AssertionError("training has begun")

    monkeypatch.setattr(lightning.Trainer, "fit", fail)


# Options


def test_help_documents_every_option(small):
    result = small("--help-all", base=False)
    assert (result.code, result.err) == (0, "")
    shown, options = " ".join(result.out.split()), small.task.options()
    actions = make_parser(small.task)._actions
    assert all(action.help and action.option_strings[-1] in result.out for action in actions)
    groups = [getattr(options, group.name) for group in fields(options)]
    for item in (item for group in groups for item in fields(group)):
        assert " ".join(item.metadata["help"].split()) in shown.replace("- ", "-"), item.name
    assert all(len(line) <= 80 for line in result.out.splitlines())
    for number in (1, 2, 3, 129, 130, 138, 143):
        assert re.search(rf"Exit codes: .*\b{number} ", shown)
    for riddle in ("Literal", "(type", "int)", "null)", "True)", "[]"):
        assert riddle not in result.out
    # Every option is a key of the YAML file, and no name is there twice.
    assert options.flat().keys() <= {action.dest for action in actions}
    assert len(options.flat()) == sum(len(fields(group)) for group in groups)


def test_the_short_help_shows_the_options_that_matter(small):
    short, everything = small("--help", base=False), small("--help-all", base=False)
    options = set(re.findall(r"^  (?:-h, )?(--[\w-]+)", short.out, re.MULTILINE))
    assert {"--help", "--help-all", "--data", "--root", "--arch", "--epochs", "--out", "--resume"} <= options
    assert options < set(re.findall(r"^  (?:-h, )?(--[\w-]+)", everything.out, re.MULTILINE))
    assert len(options) <= 16
    assert "machine:" not in short.out
    lines = short.out.splitlines()
    assert len(lines) <= 75
    assert max(map(len, lines)) <= 80
    assert "(a number; default: 0." in " ".join(short.out.split())


@pytest.mark.usefixtures("untrained")
@pytest.mark.parametrize(
    ("script", "words", "said"),
    [
        ("train_detect.py", "--epoch", "--epoch: found no such option"),
        ("train_classify.py", "--epoch", "--epoch: found no such option"),
        ("train_detect.py", "--epochs 0 --data shapes", "--epochs: found 0; expected at least 1"),
        ("train_classify.py", "--epochs 0 --data shapes", "--epochs: found 0; expected at least 1"),
        ("train_detect.py", "--train phots --test .", "phots: found no such file or folder; expected"),
        (
            "train_detect.py",
            "--train {voc}:train --test asied",
            "asied: found no such file or folder; expected",
        ),
        ("train_detect.py", "--train {voc}:train --test a.json", "a.json: found no such file; expected"),
        ("train_detect.py", "--root /nope", "--root /nope: found no such folder; expected"),
        ("train_detect.py", "--root {scenes} --train 1999:train", "VOC1999: found no such folder"),
        ("train_detect.py", "--resume nosuch", "--resume: found no nosuch/checkpoints/last.ckpt"),
        ("train_detect.py", "--resume {voc}", "--resume: found no {voc}/checkpoints/last.ckpt"),
        ("train_detect.py", "--resume", "--resume: found no runs/"),
        ("train_classify.py", "--resume nosuch", "--resume: found no nosuch/checkpoints/last.ckpt"),
        ("train_classify.py", "--data cifar100 --root /nope", "/nope"),
    ],
)
def test_kind_wrong_words_and_paths_are_named_before_torch_is_imported(
    script, words, said, scenes, root, tmp_path
):
    places = {"voc": scenes / "VOCshapes", "scenes": scenes}
    look = f"import runpy, sys; sys.argv = {['x', *words.format(**places).split()]}\n"
    look += f"try: runpy.run_path({str(root / script)!r}, run_name='__main__')\n"
    look += "except SystemExit as end: print(end.code, 'torch' in sys.modules)"
    ran = subprocess.run(
        [sys.executable, "-c", look], cwd=tmp_path, capture_output=True, text=True, check=True,
        env={**os.environ, "PYTHONPATH": str(root)},
    )  # fmt: skip
    assert ran.stdout.split() == ["2", "False"]
    assert said.format(**places) in ran.stderr
    assert ran.stderr.count("\n") == 1
    assert "--ground-truth" not in ran.stderr


LEAN = """
import sys
from training.tasks.detection import main
code = main(sys.argv[1:])
heavy = [name for name in ("sympy", "huggingface_hub", "transformers") if name in sys.modules]
import torch, lightning as L
from lightning.pytorch.utilities.compile import to_uncompiled
from scipy.special import expit
module = L.LightningModule()
module.forward = lambda x: 2 * x
compiled = torch.compile(module, backend="eager")
sgd = torch.optim.SGD([torch.ones(1, requires_grad=True)])
sgd.step()
print(code, heavy, compiled(torch.ones(1)).item(), to_uncompiled(compiled) is module, expit(0.0))
"""


def test_a_run_does_without_torchs_compiler_until_something_is_compiled(small_runs, root, tmp_path):
    small = small_runs["detection"]
    words = [*small.base, *["--max-steps", "1", "--score", "false", "--out"], str(tmp_path / "run")]
    ran = subprocess.run(
        [sys.executable, "-c", LEAN, *words], cwd=root, capture_output=True, text=True, check=True
    )
    assert ran.stdout.splitlines()[-1] == "0 [] 2.0 True 0.5"


WRONG_WORDS = {
    "detection": [
        ("--epoch 3", ["--epoch", "did you mean '--epochs'?"]),  # an abbreviation would hide a typo
        ("--shuffle_method patch", ["--shuffle_method", "did you mean '--shuffle-method'?"]),
        ("--lerning-rate=3", ["--lerning-rate", "did you mean '--learning-rate'?"]),
        ("--zzz", ["--zzz", "--help"]),
        ("stray", ["stray"]),
        ("--epochs two", ["--epochs: found 'two'", "a whole number"]),
        ("--epochs 2.5", ["--epochs: found '2.5'", "a whole number"]),
        ("--learning-rate fast", ["--learning-rate: found 'fast'", "a number"]),
        ("--grid x", ["--grid: found 'x'", "a whole number or null"]),
        ("--compile perhaps", ["--compile: found 'perhaps'", "true or false"]),
        ("--arch vgg16", ["--arch: found 'vgg16'", "resnet18, resnet50, resnet152"]),
        ("--precision 16", ["--precision: found '16'", "32-true, 16-mixed, bf16-mixed"]),
        ("--epochs", ["--epochs", "one argument"]),
        ("--train", ["--train", "at least one argument"]),
        ("--train shapes:train --train shapes:val", ["--train: found twice"]),
        ("--config absent.yaml", ["--config absent.yaml: found no such file; expected a YAML file"]),
        ("--config", ["--config"]),
        ("--validation 0.01", ["--validation", "0.01 of 16 images", "at least one image"]),
        ("--validation 1", ["--validation", "below 1"]),
        ("--validation nan", ["--validation", "below 1"]),
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
        (f"--seed {2**32}", ["--seed: found"]),
        ("--learning-rate -1", ["--learning-rate"]),
        ("--warmup-epochs inf", ["--warmup-epochs: found"]),
        ("--weight-decay nan", ["--weight-decay: found"]),
        ("--passes 0", ["--passes", "at least 1"]),
        ("--sheet -1", ["--sheet", "0 or more"]),
        ("--iou-threshold 2", ["--iou-threshold", "from 0 to 1"]),
        ("--weights IMAGENET1K_V9", ["--weights", "IMAGENET1K_V9"]),
        ("--resume", ["--resume", "last.ckpt"]),
        ("--resume nowhere", ["--resume", "nowhere"]),
        ("--patience 4 --validation 0", ["--patience: found 4", "--validation"]),
        ("--keep-best 3 --validation 0", ["--keep-best: found 3", "--validation"]),
        ("--freeze-epochs 3", ["--freeze-epochs: found 3", "--freeze all"]),
        ("--nms 0.4", ["--nms", "here it is --iou-threshold"]),
        ("--threshold 0.4", ["--threshold", "here it is --score-threshold"]),
        ("--half", ["--half", "here it is --precision"]),
        ("--verify --find-learning-rate", ["--find-learning-rate: found --verify beside it"]),
        ("--data my.yaml", ["--data: found 'my.yaml'", "voc, shapes", "--train data.yaml:train"]),
        ("--evaluate nowhere", ["nowhere", "no such file"]),
        ("--evaluate nowhere --resume", ["--evaluate", "--resume"]),
        ("--train shapes:training", ["training.txt", "no such list", "train"]),
        ("--train 2031:train", ["VOC2031", "VOCshapes"]),
        ("--train shapes", ["'shapes'", "YEAR:LIST"]),
        ("--test shapes:train", ["training image", "VOCshapes/ImageSets/Main/train.txt"]),
        ("--root /nowhere", ["--root /nowhere", "no such folder"]),
    ],
    "classification": [
        ("--patience 4 --validation 0", ["--patience: found 4", "--validation"]),
        ("--method spatail --last 1", ["--method", "spatail", "one of none, spatial"]),
        ("--method spatial", ["--method", "--last", "--layer", "found none"]),
        ("--method spatial --last 1 --layer 2", ["found --last and --layer"]),
        ("--last 2", ["--last", "found 2", "no layer with --method none"]),
        ("--method spatial --last 0", ["--last", "found 0", "at least 1"]),
        ("--method spatial --last 14", ["--last 14 of vgg16", "from 0 to 13"]),
        ("--method spatial --layer 99", ["--layer 99 of vgg16", "a number from 1 to 13"]),
        ("--method spatial --layers 0", ["--layers", "found [0]", "numbers from 1"]),
        ("--method channel --names feature.0", ["feature.0", "features.0"]),
        (
            "--arch resnet34 --width 1 --method spatial --last 2",
            ["16 (512x1x1)", "up to 14, or larger images"],
        ),
        ("--method patch --last 1", ["--patch", "found nothing"]),
        ("--method patch --last 1 --patch 0", ["--patch", "found 0", "at least 1"]),
        ("--method spatial --last 1 --patch 2", ["--patch", "only then"]),
        ("--method gap_fc --last 1 --per-image", ["--per-image", "gap_fc"]),
        ("--arch perceptron --method spatial --last 1", ["Perceptron", "2-d map"]),
        ("--arch convnext_tny", ["convnext_tiny"]),
        ("--arch convnext_tiny", ["--width", "1 for convnext_tiny"]),
        ("--arch inception_v3 --width 1", ["--arch inception_v3", "images of 32 pixels"]),
        ("--arch vit_b_16 --width 1 --method spatial --last 13", ["from 0 to 12"]),
        ("--width -1", ["--width", "above 0"]),
        ("--weights nowhere.pt", ["--weights", "nowhere.pt", "a run that exists"]),
        ("--fraction 0", ["--fraction", "above 0"]),
        ("--fraction 0.001", ["fraction", "at least one image"]),
        ("--validation 1", ["--validation"]),
        ("--batch-size 25", ["--batch-size", "25 for 24 training images", "--fraction"]),
        ("--batch-size 8 --devices 3", ["--batch-size: found 8", "a multiple of the 3 devices"]),
        ("--data cifar100", ["--root", "the folder of the data"]),
        ("--data cifar10 --root .", ["--data", "cifar10", "one of cifar100"]),
        ("--epoch 3", ["--epoch", "did you mean '--epochs'?"]),
        ("--passes many", ["--passes", "many", "a whole number"]),
        ("--layers 1 x", ["--layers", "a list of whole numbers"]),
        ("--precision 16-mixed", ["--precision", "bf16-mixed"]),
    ],
}


@pytest.mark.usefixtures("untrained")
@pytest.mark.parametrize(
    ("small", "words", "parts"),
    [(name, words, parts) for name, cases in WRONG_WORDS.items() for words, parts in cases],
    indirect=["small"],
)
def test_wrong_words_leave_no_folder(small, tmp_path, words, parts):
    assert small("--out", tmp_path / "out", *words.split()).is_refused(*parts)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("small", "words"),
    [
        ("detection", "--shuffle 99"),
        ("classification", "--method spatial --last 99"),
        ("classification", "--method spatial --arch resnet18 --layers 1 99"),
        ("classification", "--method channel --names features.99"),
    ],
    indirect=["small"],
)
def test_kind_layers_that_are_not_there_are_refused_before_the_data_are_read(small, monkeypatch, words):
    def read(*arguments):
        raise AssertionError("the data were read")

    for task in (DETECTION, CLASSIFICATION):
        monkeypatch.setattr(type(task), "read", read)
    assert small(*words.split()).is_refused("99")


@detection
@pytest.mark.usefixtures("untrained")
def test_what_this_machine_and_disk_do_not_have(small, tmp_path):
    assert small(base=False).is_refused("--root", "VOCdevkit")
    (tmp_path / "file").write_text("")
    for out in (tmp_path / "file", tmp_path / "file" / "run"):
        assert small("--out", out).is_refused(tmp_path / "file", "--out")
    if not torch.cuda.is_available():
        assert small("--out", tmp_path / "out", "--accelerator", "gpu").is_refused("--accelerator", "gpu")


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
@detection
def test_evaluation_on_a_gpu_that_is_not_there(small):
    last = small.plain / "checkpoints" / "last.ckpt"
    assert small("--evaluate", last, "--accelerator", "gpu", base=False).is_refused("error: --accelerator")


# YAML files


@pytest.mark.parametrize(
    ("small", "text", "parts"),
    [
        ("detection", "epoch: 3", ["epoch: found no such option", "did you mean '--epochs'?"]),
        ("detection", "epochs: two", ["epochs: found 'two'", "a whole number"]),
        ("detection", "epochs: 3\nnonsense: {a: 1}", ["nonsense"]),
        ("detection", "train: 2012:train", ["train: found '2012:train'", "as in train: [2012:train]"]),
        ("detection", "shuffle: [last]", ["shuffle"]),
        ("detection", "- epochs\n- 3", ["epochs: 100"]),
        ("detection", "only words", ["epochs: 100"]),
        ("detection", "", ["epochs: 100"]),
        ("detection", "epochs:", ["epochs: found 'null'", "a whole number"]),
        ("detection", "epochs: [", ["run.yaml:1: found malformed YAML"]),
        ("detection", "epochs: 2001-99-99", ["run.yaml: found malformed YAML (month must be in 1..12)"]),
        ("detection", "epochs: \0", ["characters are not allowed"]),
        ("classification", "method: spatial\nlayers: [2, 3]\nlast_layer: 3\n", ["last_layer", "--"]),
        ("classification", "layers: two", ["layers: found 'two'"]),
        ("classification", "layers: [2, x]", ["layers: found 'x'", "a list of whole numbers"]),
    ],
    indirect=["small"],
)
def test_wrong_yaml_file(small, tmp_path, text, parts):
    file = tmp_path / "run.yaml"
    file.write_text(text)
    for form in (["--config", file], [f"--config={file}"]):
        assert small("--seed", 1, *form, base=False).is_refused(f"error: {file}:", *parts)


@detection
def test_yaml_file_that_cannot_be_read(small, tmp_path):
    assert small("--config", tmp_path, base=False).is_refused(
        f"--config {tmp_path}: found a folder; expected"
    )
    file = tmp_path / "latin.yaml"
    file.write_bytes(b"name: caf\xe9")
    assert small("--config", file, base=False).is_refused(file)


@detection
def test_a_bare_number_in_a_yaml_file_is_a_word_where_one_is_due(small, tmp_path):
    file = tmp_path / "run.yaml"
    file.write_text("root: x\ndevices: 2\nshuffle: 3\nname: 7\ntrain: ['2012:train']\nlearning_rate: 1e-2\n")
    result = small("--config", file, "--seed", 4, "--print_config", base=False)
    assert result.code == 0, result.err
    values = yaml.safe_load(result.out)
    assert (values["devices"], values["shuffle"], values["name"]) == ("2", "3", "7")
    options = small.task.options.from_flat(values)
    assert (options.optimization.learning_rate, options.optimization.seed) == (0.01, 4)
    options.check()


@detection
def test_printed_options_given_back_are_the_same(small, tmp_path):
    words = "--shuffle last --patch 2 --shuffle-method patch --compile --augment false"
    file = tmp_path / "printed.yaml"
    file.write_text(small(*words.split(), "--print_config").out)
    again = small("--config", file, "--print_config", base=False)
    assert again.out == file.read_text()
    options = small.task.options.from_flat(yaml.safe_load(again.out))
    assert (options.model.patch, options.machine.compile, options.data.augment) == (2, True, False)
    assert options.data.train == ["shapes:train"]


@classifier
@pytest.mark.parametrize("option", ["--evaluate", "--resume"])
def test_a_run_of_another_command(small, tmp_path, option):
    (tmp_path / "config.yaml").write_text("data: voc\nboxes_per_cell: 2\n")
    result = small(option, tmp_path, base=False)
    assert result.is_refused(tmp_path, "'boxes_per_cell'", "a run that train_classify.py made")


# Data


def names_in(file: Path) -> list[str]:
    return file.read_text().split()


@detection
@pytest.mark.usefixtures("untrained")
def test_missing_image(small, devkit):
    name = names_in(devkit / "VOCshapes/ImageSets/Main/train.txt")[0]
    image = devkit / "VOCshapes" / "JPEGImages" / f"{name}.jpg"
    image.unlink()
    assert small("--root", devkit, "--out", devkit / "out").is_refused(image, "no such file")


@detection
@pytest.mark.parametrize("workers", [0, 1])
def test_truncated_image(small, devkit, workers):
    """Found where it is read, in the midst of the training, also by another process."""
    images = devkit / "VOCshapes" / "JPEGImages"
    for name in names_in(devkit / "VOCshapes/ImageSets/Main/train.txt"):
        content = (images / f"{name}.jpg").read_bytes()
        (images / f"{name}.jpg").write_bytes(content[: len(content) // 2])
    result = small("--root", devkit, "--out", devkit / "out", "--workers", workers)
    assert result.is_refused(images, ".jpg: found an image that cannot be decoded", "truncated")


@detection
@pytest.mark.usefixtures("untrained")
def test_bad_annotation_is_named(small, devkit):
    """What can be wrong with one is tested with the format."""
    names = names_in(devkit / "VOCshapes/ImageSets/Main/train.txt")
    files = [devkit / "VOCshapes" / "Annotations" / f"{name}.xml" for name in names]
    file = next(file for file in files if "<object>" in file.read_text())
    whole = file.read_text()
    for pattern, text, parts in (
        (r"<xmax>\d+</xmax>", "<xmax>65</xmax>", ["object 1", "<xmax>", "65"]),
        (r"<name>\w+</name>", "<name>yeti</name>", ["object 1", "<name>", "'yeti'", "arrow"]),
        (r"</object>", "", ["malformed"]),
    ):
        content, count = re.subn(pattern, text, whole, count=1)
        assert count == 1
        file.write_text(content)
        assert small("--root", devkit, "--out", devkit / "out").is_refused(file, *parts)


@detection
@pytest.mark.usefixtures("untrained")
def test_lists_that_cannot_be_trained_on(small, devkit):
    lists, out = devkit / "VOCshapes/ImageSets/Main", devkit / "out"
    shutil.copytree(devkit / "VOCshapes", devkit / "VOC2007")
    image = names_in(lists / "test.txt")[0]
    result = small("--root", devkit, "--train", "2007:test", "--test", "2007:val", "--out", out)
    where = "VOC2007/ImageSets/Main/test.txt"
    assert result.is_refused(
        f"training image {image!r} of VOC2007", where
    )  # VOC 2007 test is never trained on
    (lists / "train.txt").write_text("\n")
    assert small("--root", devkit, "--out", out).is_refused(lists / "train.txt", "no image")


@detection
@pytest.mark.usefixtures("untrained")
def test_classes_of_training_and_test_must_agree(small, tmp_path):
    write_shapes(tmp_path, train=6, val=1, test=1, size=(64, 64))
    shutil.copytree(tmp_path / "VOCshapes", tmp_path / "VOCother")
    listed = tmp_path / "VOCother" / "classes.yaml"
    listed.write_text(listed.read_text().replace("[arrow, cross,", "[cross, arrow,"))
    result = small("--root", tmp_path, "--test", "other:test", "--out", tmp_path / "out")
    assert result.is_refused("error: --test other:test: found the classes cross, arrow")


@classifier
@pytest.mark.parametrize("data", ["cifar100", "small-imagenet", "imagenet"])
def test_a_folder_of_the_wrong_kind(small, tmp_path, data):
    (tmp_path / "holiday.txt").write_text("sun")
    words = ("--data", data, "--root", tmp_path, "--out", tmp_path / "run")
    assert small(*words).is_refused(tmp_path)
    assert not (tmp_path / "run").exists()


@classifier
def test_test_images_are_missed_before_training(small, tmp_path):
    (tmp_path / "train").write_bytes(b"broken")
    result = small("--data", "cifar100", "--root", tmp_path, "--out", tmp_path / "run")
    assert result.is_refused("no test images of CIFAR-100")


@classifier
def test_a_malicious_pickle_is_not_run(small, tmp_path):
    class Evil:
        def __reduce__(self):
            return exec, (f"open({str(tmp_path / 'ran')!r}, 'w')",)

    folder = tmp_path / "cifar-100-python"
    folder.mkdir()
    for name in ("train", "test", "meta"):
        (folder / name).write_bytes(pickle.dumps({b"data": Evil()}))
    words = ("--data", "cifar100", "--root", tmp_path, "--out", tmp_path / "run")
    assert small(*words).is_refused("exec")
    assert not (tmp_path / "ran").exists()


# The machine


def full(*arguments: object, **options: object) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_full_disk_is_one_line(tmp_path, monkeypatch, capsys):
    for advice in ("", "; --resume"):  # only a training can be resumed
        assert exit_code(full, advice) == 1
        assert capsys.readouterr().err == f"error: No space left on device{advice}\n"
    # What did not fit is named, and the old file stays.
    file = tmp_path / "scores.json"
    file.write_text("old")
    with monkeypatch.context() as patched:
        patched.setattr(Path, "open", full)  # its error has no file name, as that of a write
        with pytest.raises(InputError, match=r"scores\.json: found No space left on device"):
            write_text(file, "new")
    assert file.read_text() == "old"


@pytest.mark.parametrize("option", ["--out", "--resume", "--evaluate", "--root", "--weights", "--cache"])
def test_kind_a_name_that_is_too_long(small_runs, tmp_path, option):
    name = tmp_path / ("a" * 300)
    words = [option, name, "--out", tmp_path / "out"] if option != "--out" else [option, name]
    words += ["--input", "fast"] if option == "--cache" else []
    result = small_runs["detection"](*words)
    assert result.err.startswith("error: ")
    assert result.err.count("\n") == 1
    assert "File name too long" in result.err or "no such file" in result.err


def test_kind_a_pipe_that_nobody_reads_ends_what_only_prints(monkeypatch, capfd):
    def command():
        raise BrokenPipeError

    kept = os.dup(1)
    assert ended_by_signals(command) == 1
    os.dup2(kept, 1)
    os.close(kept)
    assert capfd.readouterr().err == "warning: nothing reads the output any more; it stops here\n"


def test_other_errors_of_the_system_are_not_taken_for_a_full_disk():
    def broken() -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with pytest.raises(OSError, match="output error"):
        exit_code(broken)


FAULTS = """\
import resource
from data.formats.processes import keep_freed_memory

def faults():
    for turn in range(30):
        if turn == 10:  # the first ones get their pages in any case
            before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        b"1" * (40 * 2**20)
    return (resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before) // 20

print(faults(), keep_freed_memory(), faults())
"""


def test_freed_memory_is_not_asked_for_again():
    ran = subprocess.run([sys.executable, "-c", FAULTS], capture_output=True, text=True, check=True)
    before, known, after = ran.stdout.split()
    if known == "False":
        pytest.skip("a C library other than glibc")
    assert int(before) > 1000  # 40 MiB are 10,240 pages of 4 KiB
    assert int(after) < 100
