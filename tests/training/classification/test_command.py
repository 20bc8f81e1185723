"""The command line of ``train_classify.py``: what is wrong is said in one line, before any work."""

import pickle

import pytest
import torch

from training.parser import make_parser
from training.tasks.classification import CLASSIFICATION as TASK
from training.tasks.classification import ModelOptions, Options


def assert_one_line(result, *parts):
    assert result.code == 2, result.out + result.err
    assert result.err.startswith("error: ")
    assert result.err.count("\n") == 1
    assert "Traceback" not in result.err
    for part in parts:
        assert part in result.err, result.err


def test_help_documents_every_option(command):
    result = command("--help", base=False)
    assert result.code == 0
    for action in make_parser(TASK)._actions:
        assert action.help, action
        assert action.option_strings[0] in result.out
    assert set(Options().flat()) <= {action.dest for action in make_parser(TASK)._actions}


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        (("--method", "spatail", "--last", 1), ["--method", "spatail", "one of none, spatial"]),
        (("--method", "spatial"), ["--method", "--last", "--layer", "found none"]),
        (("--method", "spatial", "--last", 1, "--layer", 2), ["found --last and --layer"]),
        (("--last", 2), ["--last", "found 2", "no layer with --method none"]),
        (("--method", "spatial", "--last", 0), ["--last", "found 0", "at least 1"]),
        (("--method", "spatial", "--last", 14), ["--last 14 of vgg16", "from 0 to 13"]),
        (("--method", "spatial", "--layer", 99), ["--layer 99 of vgg16", "a number from 1 to 13"]),
        (("--method", "channel", "--names", "feature.0"), ["feature.0", "features.0"]),
        (("--method", "patch", "--last", 1), ["--patch", "found nothing"]),
        (("--method", "patch", "--last", 1, "--patch", 0), ["--patch", "found 0", "at least 1"]),
        (("--method", "spatial", "--last", 1, "--patch", 2), ["--patch", "only then"]),
        (("--method", "gap_fc", "--last", 1, "--per-image"), ["--per-image", "gap_fc"]),
        (("--arch", "perceptron", "--method", "spatial", "--last", 1), ["Perceptron", "2-d map"]),
        (("--arch", "convnext_tny"), ["convnext_tiny"]),
        (("--arch", "convnext_tiny"), ["--width", "1 for convnext_tiny"]),
        (("--arch", "inception_v3", "--width", 1), ["--arch inception_v3", "images of 32 pixels"]),
        (("--arch", "vit_b_16", "--width", 1, "--method", "spatial", "--last", 13), ["from 0 to 12"]),
        (("--width", -1), ["--width", "above 0"]),
        (("--weights", "nowhere.pt"), ["--weights", "nowhere.pt", "a file that exists"]),
        (("--fraction", 0), ["--fraction", "above 0"]),
        (("--fraction", 0.001), ["fraction", "at least one image"]),
        (("--validation", 1), ["--validation"]),
        (("--batch-size", 8, "--devices", 3), ["--batch-size: found 8", "a multiple of the 3 devices"]),
        (("--batch-size", 25), ["--batch-size", "25 for 24 training images"]),
        (("--data", "cifar100"), ["--root", "the folder of the data"]),
        (("--data", "cifar10", "--root", "."), ["--data", "cifar10", "one of cifar100"]),
        (("--epoch", 3), ["--epoch", "did you mean '--epochs'?"]),
        (("--passes", "many"), ["--passes", "many", "a whole number"]),
        (("--layers", "1", "x"), ["--layers", "a list of whole numbers"]),
        (("--precision", "16-mixed"), ["--precision", "bf16-mixed"]),
    ],
    ids=lambda value: " ".join(map(str, value)) if isinstance(value, tuple) else "",
)
def test_wrong_words(command, tmp_path, words, parts):
    assert_one_line(command("--out", tmp_path / "run", *words), *parts)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("data", ["cifar100", "small-imagenet", "imagenet"])
def test_a_folder_of_the_wrong_kind(command, tmp_path, data):
    (tmp_path / "holiday.txt").write_text("sun")
    words = ("--data", data, "--root", tmp_path, "--out", tmp_path / "run")
    assert_one_line(command(*words), str(tmp_path))
    assert not (tmp_path / "run").exists()


def test_test_images_are_missed_before_training(command, tmp_path):
    (tmp_path / "train").write_bytes(b"broken")
    result = command("--data", "cifar100", "--root", tmp_path, "--out", tmp_path / "run")
    assert_one_line(result, "no test images of CIFAR-100")


def test_a_malicious_pickle_is_not_run(command, tmp_path):
    class Evil:
        def __reduce__(self):
            return exec, (f"open({str(tmp_path / 'ran')!r}, 'w')",)

    folder = tmp_path / "cifar-100-python"
    folder.mkdir()
    for name in ("train", "test", "meta"):
        (folder / name).write_bytes(pickle.dumps({b"data": Evil()}))
    assert_one_line(command("--data", "cifar100", "--root", tmp_path, "--out", tmp_path / "run"), "exec")
    assert not (tmp_path / "ran").exists()


def test_weights_that_do_not_fit_are_named(whole, command, tmp_path):
    file = whole[0] / "checkpoints" / "last.ckpt"
    result = command("--out", tmp_path / "run", "--width", 0.125, "--weights", file)
    assert_one_line(result, "--weights", "features.0.weight")
    assert result.err.count("found") == result.err.count("expected") == 1, result.err


def test_weights_of_a_run_start_another(whole, command, tmp_path, monkeypatch):
    from training.tasks.classification_module import ClassifierModule

    file = whole[0] / "checkpoints" / "last.ckpt"
    begun = {}
    original = ClassifierModule.on_train_start

    def keep(self):
        begun.update({name: value.clone() for name, value in self.model.state_dict().items()})
        original(self)

    monkeypatch.setattr(ClassifierModule, "on_train_start", keep)
    result = command("--out", tmp_path / "run", "--weights", file, "--max-steps", 1, "--passes", 1)
    assert result.code == 0, result.err
    state = torch.load(file, weights_only=True)["state_dict"]
    assert all(torch.equal(value, state[f"model.{name}"]) for name, value in begun.items())


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        (("--arch", "resnet18"), ["--arch", "'resnet18'", "'vgg16', as", "was trained"]),
        (("--width", 1), ["--width", "was trained"]),
        (("--method", "gap_fc", "--last", 2), ["trained with --method spatial", "GAP+FC is trained"]),
        (("--layer", 40), ["--layer 40 of vgg16"]),
        (("--resume",), ["--resume beside it"]),
    ],
    ids=str,
)
def test_an_evaluation_cannot_change_the_network(whole, command, tmp_path, words, parts):
    result = command("--evaluate", whole[0], *words, "--out", tmp_path / "out", base=False)
    assert_one_line(result, *parts)
    assert not (tmp_path / "out").exists()


def test_gap_fc_cannot_be_switched_off(command, tmp_path):
    out = tmp_path / "run"
    words = ("--method", "gap_fc", "--last", 2, "--max-steps", 1)
    assert command("--out", out, *words).code == 0
    assert_one_line(
        command("--evaluate", out, "--method", "none", base=False), "trained with --method gap_fc"
    )
    assert command("--evaluate", out, "--method", "gap_fc", "--last", 2, base=False).code == 0


@pytest.mark.parametrize("kind", ["absent", "cut short", "detector", "other"])
def test_bad_checkpoint(whole, command, tmp_path, kind):
    good = whole[0] / "checkpoints" / "last.ckpt"
    file = tmp_path / "file.ckpt"
    if kind == "cut short":
        file.write_bytes(good.read_bytes()[:5000])
    elif kind == "detector":
        torch.save(
            {"state_dict": {}, "hyper_parameters": {"model": {}, "classes": [], "input_size": 64}}, file
        )
    elif kind == "other":
        torch.save([1, 2, 3], file)
    assert_one_line(command("--evaluate", file, base=False), str(file), "a checkpoint")


@pytest.mark.parametrize("option", ["--evaluate", "--resume"])
def test_a_run_of_another_command(command, tmp_path, option):
    (tmp_path / "config.yaml").write_text("data: voc\nboxes_per_cell: 2\n")
    result = command(option, tmp_path, base=False)
    assert_one_line(result, str(tmp_path), "'boxes_per_cell'", "a run that train_classify.py made")


def test_checkpoint_of_other_classes(whole, command, tmp_path, sheets):
    words = ("--data", "cifar100", "--root", sheets, "--out", tmp_path / "out")
    assert_one_line(command("--evaluate", whole[0], *words, base=False), "8 classes")


@pytest.fixture
def sheets():
    """The real test images of CIFAR-100, where they are."""
    from pathlib import Path

    folder = Path(__file__).parents[4] / "shared" / "data" / "cifar100"
    if not folder.is_dir():
        pytest.skip("the images of CIFAR-100 are not here")
    return folder


def test_a_yaml_file_of_options(command, tmp_path):
    file = tmp_path / "options.yaml"
    file.write_text("method: spatial\nlayers: [2, 3]\nlast_layer: 3\n")
    assert_one_line(command("--config", file, base=False), str(file), "last_layer", "--")
    file.write_text("method: spatial\nlayers: two\n")
    assert_one_line(command("--config", file, base=False), str(file), "layers")
    file.write_text("method: spatial\nlayers: [2, 3]\n")
    words = ("--config", file, "--out", tmp_path / "run", "--max-steps", 1, "--passes", 1)
    result = command(*words)
    assert result.code == 0, result.err


def test_options_make_sense_of_the_data_set():
    imagenet = Options.from_flat({"data": "imagenet"}).resolved()
    assert imagenet.flat()["epochs"] == 90
    assert imagenet.flat()["batch_size"] == 256
    assert imagenet.flat()["weight_decay"] == 1e-4
    assert imagenet.recipe.drops == (1 / 3, 2 / 3)
    cifar = Options.from_flat({"data": "cifar100", "batch_size": 64}).resolved()
    assert (cifar.flat()["epochs"], cifar.flat()["batch_size"], cifar.recipe.drops) == (300, 64, (0.5, 0.75))
    assert ModelOptions().method == "none"
