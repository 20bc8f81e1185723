"""``reproduce.py profile`` on small trained networks: what it writes, how it goes on, what it refuses."""

import csv
import json
import math
import shutil
import signal
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torchvision
import yaml
from PIL import Image

from data import classification
from data.formats import read_voc
from data.image_set import take_share
from data.shapes import write_shapes
from data.streams import Stream, generator
from detector.profiling import Profile, ProfileRow
from training.profiling import run, subjects
from training.profiling.__main__ import main
from training.profiling.run import read_table, write_table
from training.profiling.subjects import CachedBatches, digest, make_subject
from training.tasks import classification_module as classifier_model
from training.tasks.classification import main as train_classify
from training.tasks.classification_options import ModelOptions as ClassifierOptions
from training.tasks.classification_options import Options as ClassifierRun
from training.tasks.detection import DETECTION
from training.tasks.detection_options import Options as DetectorRun

FILES = {"profile.csv", "profile.json", "profile.png", "profile.svg", "scores"}
Call = Callable[..., Any]


@pytest.fixture(scope="module", autouse=True)
def few_shapes() -> Iterator[None]:
    before = dict(classification.SHAPES)
    classification.SHAPES.update(train=80, test=24)
    yield
    classification.SHAPES.update(before)


@pytest.fixture(scope="module")
def trained(within: Call, few_shapes: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of train_classify.py with the last two layers shuffled, on 60 of the 80 training images."""
    out = tmp_path_factory.mktemp("runs") / "narrow"
    words = ["--data", "shapes", "--validation", 0.25, "--width", 0.0625, "--batch-size", 20, "--epochs", 1]
    words += ["--method", "spatial", "--last", 2, "--passes", 1, "--seed", 3, "--out", out]
    result = within(train_classify, [*words, "--accelerator", "cpu", "--workers", 0])
    assert result.code == 0, result.err
    return out


@pytest.fixture
def profiled(within: Call) -> Call:
    """Run the command on the CPU, with two passes; any other exit code than expected fails the test."""

    def execute(*words: object, code: int = 0) -> Any:
        further = [] if "--passes" in words else ["--passes", 2]
        result = within(main, [*words, *further, "--accelerator", "cpu", "--workers", 0])
        assert result.code == code, result.err
        return result

    return execute


@pytest.fixture
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave out the figure."""
    monkeypatch.setattr(run, "draw", lambda *arguments: None)


def rows_of(out: Path) -> list[tuple[int, str, int | None]]:
    return [(row.layer, row.method, row.patch) for row in read_table(out) if row.measure == "accuracy"]


def summary_of(out: Path) -> Any:
    return json.loads((out / "profile.json").read_text())


def write_images(folder: Path, count: int = 8) -> None:
    """Noise of two classes."""
    for number in range(count):
        file = folder / "ab"[number % 2] / f"{number}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        pixels = np.random.default_rng(number).integers(0, 256, (40, 48, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(file)


# ---------------------------------------------------------------- a classifier


def test_a_run_is_profiled_on_the_images_that_it_held_out(
    trained: Path, profiled: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    def read_test(*arguments: object) -> None:
        raise AssertionError("the test images were read")

    monkeypatch.setattr(subjects, "read_classification_test", read_test)
    result = profiled("--checkpoint", trained, "--layers", 9, 13, "--patches", 2, 4)
    out = trained / "profile"
    assert {file.name for file in out.iterdir()} - {"profile.html"} == FILES  # the page needs pandas
    assert rows_of(out) == [
        (0, "none", None),
        *((9, "patch", 2), (9, "spatial", None), (9, "channel", None)),
        *((13, "spatial", None), (13, "channel", None)),
    ]
    assert "narrow: 20 images, the validation images of shapes; 2 passes" in result.out
    assert "6 of 6  layer 13, channel: accuracy" in result.out
    summary = summary_of(out)
    assert summary["finished"] is True
    assert (summary["images"], summary["passes"], summary["chance"]["accuracy"]) == (20, 2, 1 / 8)
    assert (summary["configuration"]["split"], summary["configuration"]["split_seed"]) == ("validation", 3)
    assert summary["provenance"][0]["packages"]["torch"]
    baseline, other = summary["rows"][0], summary["rows"][4]
    assert baseline["std"] is None
    assert "one pass" in baseline["reason"]
    assert other["mean"] == pytest.approx(sum(other["values"]) / 2)
    assert len(other["values"]) == 2


@pytest.mark.usefixtures("undrawn")
def test_the_baseline_is_what_the_training_script_scores_with_nothing_shuffled(
    trained: Path, profiled: Call, within: Call, tmp_path: Path
) -> None:
    words = ("--evaluate", trained, "--method", "none", "--precision", "32-true")
    result = within(train_classify, [*words, "--out", tmp_path / "scored"])
    assert result.code == 0, result.err
    scores = json.loads((tmp_path / "scored" / "scores.json").read_text())
    result = profiled(
        *("--checkpoint", trained, "--split", "test", "--layers", 1, "--methods", "channel"),
        *("--out", tmp_path / "out"),
    )
    assert "24 images, the test images of shapes" in result.out
    baseline = {row.measure: row.mean for row in read_table(tmp_path / "out") if row.layer == 0}
    for measure in ("accuracy", "accuracy_top5", "loss"):
        assert baseline[measure] == pytest.approx(scores[measure]["mean"], rel=1e-5)


@pytest.mark.usefixtures("undrawn")
def test_weights_from_a_file_are_the_same_network(trained: Path, profiled: Call, tmp_path: Path) -> None:
    weights = trained / "checkpoints" / "best.ckpt"
    chosen = ("--layers", 1, "--methods", "spatial", "--seed", 3, "--limit", 10)
    profiled("--checkpoint", trained, *chosen, "--out", tmp_path / "a")
    profiled(
        *("--arch", "vgg16", "--width", 0.0625, "--weights", weights, "--data", "shapes"),
        *("--validation", 0.25, *chosen, "--out", tmp_path / "b"),
    )
    first, second = (
        {key: row.values for row in read_table(tmp_path / name) for key in [(row.layer, row.measure)]}
        for name in "ab"
    )
    assert first == second
    assert summary_of(tmp_path / "b")["images"] == 10


@pytest.mark.usefixtures("undrawn")
def test_a_network_of_torchvision_on_image_files(profiled: Call, tmp_path: Path) -> None:
    write_images(tmp_path / "images" / "train", 16)
    torch.manual_seed(0)
    network = torchvision.models.shufflenet_v2_x0_5(num_classes=2)
    torch.save(network.state_dict(), tmp_path / "weights.pth")
    words = ("--arch", "shufflenet_v2_x0_5", "--weights", tmp_path / "weights.pth", "--data", "imagenet")
    words += ("--root", tmp_path / "images", "--input-size", 32, "--validation", 0.5, "--layers", 1, 2)
    profiled(*words, "--methods", "spatial", "--out", tmp_path / "out")
    assert rows_of(tmp_path / "out") == [(0, "none", None), (1, "spatial", None), (2, "spatial", None)]
    summary = summary_of(tmp_path / "out")
    assert (summary["images"], summary["configuration"]["image_size"]) == (8, 32)
    assert summary["network"] == "shufflenet_v2_x0_5, weights.pth"
    # The network is left as the file has it: the same digest without any profile.
    assert summary["configuration"]["weights_sha256"] == digest(network)


@pytest.mark.usefixtures("undrawn")
def test_gap_fc_is_part_of_the_network(profiled: Call, tmp_path: Path) -> None:
    options = ClassifierOptions(width=0.03125, method="gap_fc", last=3)
    save_classifier(tmp_path, options)
    profiled("--checkpoint", tmp_path, "--methods", "channel")
    assert [layer for layer, *_ in rows_of(tmp_path / "profile")] == list(range(11))
    result = profiled("--checkpoint", tmp_path, "--layers", 12, code=2)
    assert result.is_refused("--layers: found layer 12 is averaged already")


def save_classifier(folder: Path, options: ClassifierOptions) -> None:
    torch.manual_seed(0)
    network = classifier_model.build_classifier(options, 8, 32)
    names = list(classification.read_classification_test("shapes").classes)
    hyper_parameters = {
        **{"model": asdict(options), "classes": names, "image_size": 32},
        "statistics": {"mean": [128.0] * 3, "std": [64.0] * 3},
    }
    config = replace(ClassifierRun(), model=options).flat() | {"data": "shapes"}
    save(folder, network, hyper_parameters, config)


def save(
    folder: Path, network: torch.nn.Module, hyper_parameters: dict[str, Any], config: dict[str, Any]
) -> None:
    """A run's folder, as far as it is needed."""
    (folder / "checkpoints").mkdir()
    state = {f"model.{name}": value for name, value in network.state_dict().items()}
    torch.save(
        {"state_dict": state, "hyper_parameters": hyper_parameters}, folder / "checkpoints" / "best.ckpt"
    )
    (folder / "config.yaml").write_text(yaml.safe_dump(config))


def test_where_shapes_are_drawn_is_not_for_the_stored_options_to_say(
    trained: Path, profiled: Call, tmp_path: Path
) -> None:
    """They may come from anybody."""
    shutil.copytree(trained, tmp_path / "run")
    config = tmp_path / "run" / "config.yaml"
    config.write_text(f"{config.read_text().replace('root: null', '')}root: {tmp_path / 'elsewhere'}\n")
    words = ("--checkpoint", tmp_path / "run", "--layers", 13, "--methods", "spatial")
    assert profiled(*words, code=2).is_refused(f"--root {tmp_path / 'elsewhere'}, if you trust it")


@pytest.mark.usefixtures("undrawn")
def test_networks_of_others_are_the_same_however_they_come(profiled: Call, tmp_path: Path) -> None:
    """timm and Hugging Face by name, and a function of anybody, on images in a folder by path."""
    timm, transformers = pytest.importorskip("timm"), pytest.importorskip("transformers")
    write_images(tmp_path / "photos")
    torch.manual_seed(0)
    config = transformers.ViTConfig(
        hidden_size=24, num_hidden_layers=2, num_attention_heads=2, intermediate_size=24, image_size=32,
        patch_size=8, num_labels=2,
    )  # fmt: skip
    transformers.ViTForImageClassification(config).save_pretrained(tmp_path / "vit")
    network = timm.create_model("resnet18", num_classes=2)
    torch.save({"model": network.state_dict()}, tmp_path / "weights.pth")
    (tmp_path / "mine.py").write_text(
        "import timm\n\ndef make():\n    return timm.create_model('resnet18', num_classes=2)\n"
    )
    words = ["--data", tmp_path / "photos", "--input-size", 32, "--methods", "spatial"]
    weights = ["--weights", tmp_path / "weights.pth"]
    named = [*words, "--names", "layer1.0", "layer2.1"]
    profiled("--arch", "timm:resnet18", *weights, *named, "--out", tmp_path / "timm")
    profiled("--network", f"{tmp_path / 'mine.py'}:make", *weights, *named, "--out", tmp_path / "mine")
    profiled("--arch", f"hf:{tmp_path / 'vit'}", *words, "--out", tmp_path / "hf")
    tables = [read_table(tmp_path / name) for name in ("timm", "mine", "hf")]
    assert [row.name for row in tables[0] if row.measure == "kl"] == ["", "layer1.0", "layer2.1"]
    assert tables[0] == tables[1]
    assert Profile.of(tables[2]).layers == (1, 2)
    summary = summary_of(tmp_path / "mine")
    assert (summary["images"], summary["configuration"]["weights_sha256"]) == (8, digest(network))


@pytest.mark.usefixtures("undrawn")
def test_cumulative_controls_and_a_comparison(trained: Path, profiled: Call, tmp_path: Path) -> None:
    words = ("--checkpoint", trained, "--layers", 9, 13, "--methods", "spatial")
    profiled(*words, "--out", tmp_path / "alone")
    result = profiled(*words, "--cumulative", "--out", tmp_path / "alone", code=2)
    assert result.is_refused("found a profile with cumulative None; expected True as now")
    further = ("--cumulative", "--reestimate-batch-norm", "--by-class", "--cka", "--controls", "--patches", 2)
    profiled(*words, *further, "--out", tmp_path / "further")
    found = Profile.of(read_table(tmp_path / "further"), cumulative=True)
    assert {row.method for row in found.rows} >= {"spatial", "joint", "rows", "columns", "mean"}
    assert {"kl", "cka", "cka[9]", "accuracy[disc]"} <= {*found.measures}
    with (tmp_path / "alone" / "profile.csv").open() as file:
        lines = [line for line in csv.DictReader(file) if line["measure"] == "loss"]
    assert all(float(line["low"]) < float(line["mean"]) < float(line["high"]) for line in lines)

    profiled(*words, "--seed", 1, "--out", tmp_path / "other")
    result = profiled("--compare", tmp_path / "alone", tmp_path / "other", "--out", tmp_path / "both")
    assert "narrow less narrow: accuracy, 95 % intervals over images" in result.out
    with (tmp_path / "both" / "compare.csv").open() as file:
        rows = {(row["compared"], row["layer"], row["measure"]): row for row in csv.DictReader(file)}
    one, two = (
        next(row.mean for row in read_table(tmp_path / name) if (row.layer, row.measure) == (9, "loss"))
        for name in ("alone", "other")
    )
    row = rows["score", "9", "loss"]
    assert float(row["difference"]) == pytest.approx(two - one)
    assert float(row["low"]) < two - one < float(row["high"])
    assert ("change", "13", "kl") in rows
    message = "found one cumulative profile of two; expected both or none"
    assert profiled("--compare", tmp_path / "alone", tmp_path / "further", code=2).is_refused(message)
    assert profiled("--compare", tmp_path / "alone", tmp_path, code=2).is_refused("found no profile.json")


# ---------------------------------------------------------------- a detector


def test_a_detector_with_map_and_the_five_shares(
    profiled: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "VOCdevkit"
    write_shapes(root, train=8, val=3, test=3, size=(64, 64))
    options = DetectorRun()
    model = replace(options.model, arch="resnet18", shuffle="last", boxes_per_cell=1)
    torch.manual_seed(0)
    names = list(read_voc(root, ["shapes:val"]).classes)
    hyper_parameters = {"model": asdict(model), "classes": names, "input_size": 64}
    network = DETECTION.build(model, hyper_parameters)
    config = options.flat() | {
        **{"data": "voc", "root": str(root), "train": ["shapes:train"], "test": ["shapes:val"]},
        **{"validation": 0.5, "input_size": 64, "arch": "resnet18", "boxes_per_cell": 1},
        "score_threshold": 0.0,
    }
    folder = tmp_path / "run"
    folder.mkdir()
    save(folder, network, hyper_parameters, config)

    profiled("--checkpoint", folder, "--layers", 1, 8, "--methods", "spatial")
    rows = read_table(folder / "profile")
    shares = ("correct", "localization", "similar", "other", "background")
    assert Profile.of(rows).measures == ("map_area", *shares)
    assert Profile.of(rows).layers == (1, 8)
    for layer in (1, 8):
        values = [row.mean for row in rows if row.layer == layer and row.measure in shares]
        assert sum(values) == pytest.approx(1)
    summary = summary_of(folder / "profile")
    assert (summary["images"], summary["source"]) == (4, "validation images of voc")

    monkeypatch.setattr(run, "draw", lambda *arguments: None)
    words = ("--split", "test", "--layers", 8, "--methods", "channel", "--passes", 1, "--limit", 2)
    result = profiled("--checkpoint", folder, *words)
    assert "2 images, the test images of voc" in result.out
    assert (folder / "profile-test" / "profile.csv").is_file()


# ---------------------------------------------------------------- going on


def test_an_interrupted_profile_goes_on_to_the_same_table(
    trained: Path, profiled: Call, within: Call, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    words = ("--checkpoint", trained, "--layers", 12, 13, "--seed", 5)
    profiled(*words, "--out", tmp_path / "whole")
    table = (tmp_path / "whole" / "profile.csv").read_bytes()
    figure = (tmp_path / "whole" / "profile.svg").read_bytes()

    calls = 0

    def stopped(options: Any) -> Any:
        """Its scoring is cut short by one signal, then by the other."""
        found = make_subject(options)

        def evaluate(network: torch.nn.Module) -> Any:
            nonlocal calls
            calls += 1
            if calls in (4, 7):
                signal.raise_signal(signal.SIGINT if calls == 4 else signal.SIGTERM)
            return found.evaluate(network)

        return replace(found, evaluate=evaluate)

    monkeypatch.setattr(run, "make_subject", stopped)
    out = tmp_path / "stopped"
    left = "stopped by {}; the same command goes on from there"
    assert profiled(*words, "--out", out, code=130).err.strip() == left.format("SIGINT")
    assert rows_of(out) == [(0, "none", None), (12, "spatial", None)]
    assert summary_of(out)["finished"] is False
    result = profiled(*words, "--out", out, code=143)
    assert result.err.strip() == left.format("SIGTERM")
    assert [line[:6] for line in result.out.splitlines()[1:]] == ["3 of 5"]
    result = profiled(*words, "--out", out)
    assert [line[:6] for line in result.out.splitlines()[1:3]] == ["4 of 5", "5 of 5"]
    assert (out / "profile.csv").read_bytes() == table
    assert (out / "profile.svg").read_bytes() == figure
    assert len(summary_of(out)["provenance"]) == 3
    before = calls
    profiled(*words, "--out", out)
    assert calls == before


@pytest.mark.usefixtures("undrawn")
def test_more_layers_and_methods_join_what_is_there(trained: Path, profiled: Call, tmp_path: Path) -> None:
    words = ("--checkpoint", trained, "--out", tmp_path / "out")
    profiled(*words, "--layers", 12, "--methods", "spatial")
    profiled(*words, "--layers", 13, "--methods", "channel")
    assert rows_of(tmp_path / "out") == [(0, "none", None), (12, "spatial", None), (13, "channel", None)]


@pytest.mark.usefixtures("undrawn")
def test_another_configuration_is_not_mixed_in(trained: Path, profiled: Call, tmp_path: Path) -> None:
    words = ("--checkpoint", trained, "--layers", 13, "--methods", "spatial", "--out", tmp_path / "out")
    profiled(*words)
    table = (tmp_path / "out" / "profile.csv").read_bytes()
    for option, value, name in (("passes", 3, "passes 2"), ("seed", 1, "seed 0"), ("limit", 9, "images 20")):
        result = profiled(*words, f"--{option}", value, code=2)
        assert result.is_refused(f"found a profile with {name}; expected")
    assert (tmp_path / "out" / "profile.csv").read_bytes() == table


@pytest.mark.usefixtures("undrawn")
def test_a_damaged_table_is_named_by_its_line(trained: Path, profiled: Call, tmp_path: Path) -> None:
    words = ("--checkpoint", trained, "--layers", 13, "--methods", "spatial", "--out", tmp_path / "out")
    profiled(*words)
    file = tmp_path / "out" / "profile.csv"
    file.write_text(file.read_text().replace("spatial", "spacial", 1))
    assert profiled(*words, code=2).is_refused("profile.csv:6: found no row of a profile")
    (tmp_path / "out" / "profile.json").unlink()
    assert profiled(*words, code=2).is_refused("found a profile.csv without profile.json")
    (tmp_path / "out" / "profile.json").write_text("{}")
    assert profiled(*words, code=2).is_refused("profile.json: found no profile")


def test_a_table_comes_back_as_it_was(tmp_path: Path) -> None:
    rows = [
        ProfileRow(0, "", 0, 0, 0, 0, "none", None, "map_area", (math.nan,)),
        ProfileRow(2, 'a,"b"', 50, 3, 8, 6, "patch", 4, "map_area", (1 / 3, 1e-17)),
    ]
    write_table(rows, tmp_path)
    first, second = read_table(tmp_path)
    assert second == rows[1]
    assert math.isnan(first.values[0])
    with (tmp_path / "profile.csv").open(newline="") as file:
        cells = list(csv.DictReader(file))
    assert (cells[0]["mean"], cells[0]["std"]) == ("", "")
    assert float(cells[1]["std"]) == pytest.approx(1 / 18**0.5)


# ---------------------------------------------------------------- mistakes


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "--arch: found nothing; expected an architecture, a --checkpoint, or a --network"),
        (["--arch", "vgg16"], "--weights: found nothing; expected the weights of a trained network"),
        (["--arch", "vgg16", "--weights", "none"], "--weights: found 'none'"),
        (["--arch", "resnet50", "--weights", "imagenet"], "--data: found none; expected a data set"),
        (["--checkpoint", "nowhere.ckpt"], "nowhere.ckpt: found no such file; expected a checkpoint"),
        (["--checkpoint", "a", "--arch", "vgg16"], "--arch: found 'vgg16'; expected none with --checkpoint"),
        (["--method", "spatial"], "--method: found no such option"),
        (["--methods", "gap_fc"], "--methods: found 'gap_fc'; expected some of spatial, patch, channel"),
        (["--patches", "0"], "--patches: found 0; expected numbers from 2"),
        (["--patches", "two"], "--patches: found 'two'"),
        (["--passes", "0"], "--passes: found 0; expected at least 1"),
        (["--network", "mine:make"], "--network: found 'mine:make'; expected none with --checkpoint"),
        (["--names", "a", "--layers", "1"], "--names: found 'a'; expected none with --layers"),
        (["--mean", "0.5", "0.5", "0.5"], "--std: found 'none'; expected three numbers from 0 to 1"),
        (["--arch", "timm:resnet81", "--data", "shapes"], "--arch timm:resnet81: found an error"),
        (["--arch", "resnet18", "--network", "mine:make"], "found 'mine:make'; expected none with --arch"),
        (["--limit", "0"], "--limit: found 0; expected at least 1 image"),
        (["--split", "train"], "--split: found 'train'; expected one of validation, test"),
        (["--validation", "0"], "--validation: found 0.0; expected a share above 0"),
        (
            ["--arch", "resnet18", "--weights", "IMAGENET1K_V1", "--data", "shapes"],
            "--weights IMAGENET1K_V1: found weights for 1000 classes; expected 8, as --data has",
        ),
    ],
)
def test_a_mistake_is_one_line(within: Call, words: list[str], message: str) -> None:
    if not {"--arch", "--checkpoint"} & set(words) and words:
        words = ["--checkpoint", "nowhere.ckpt", *words]
    assert within(main, [*words, "--accelerator", "cpu"]).is_refused(message)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--layers", 14], "--layers: found 14; expected a number from 1 to 13"),
        (["--data", "voc"], "voc"),
        (["--data", "cifar100"], "--root: found nothing; expected the folder of the data"),
        (["--data", "cifar100", "--root", "nowhere"], "nowhere"),
        (["--precision", "16-mixed"], "--precision: found '16-mixed' on a CPU"),
        (["--input-size", 64], "--input-size: found 64; expected none with --checkpoint"),
        (["--out", "/proc/profile"], "/proc/profile"),
    ],
)
def test_a_mistake_about_a_run_is_one_line(
    trained: Path, profiled: Call, words: list[str], message: str
) -> None:
    assert profiled("--checkpoint", trained, *words, code=2).is_refused(message)


@pytest.mark.usefixtures("undrawn")
def test_a_network_without_layers(profiled: Call, tmp_path: Path) -> None:
    from detector import perceptron

    torch.save(perceptron(8, hidden=4, image_size=32).state_dict(), tmp_path / "weights.pth")
    words = ("--arch", "perceptron", "--width", 4 / 512, "--weights", tmp_path / "weights.pth")
    result = profiled(*words, "--data", "shapes", "--out", tmp_path / "out", code=2)
    assert result.is_refused("error: perceptron", "found Perceptron, no layer of which sees a 2-d map")


@pytest.mark.usefixtures("undrawn")
def test_weights_without_a_classifier_for_these_classes(profiled: Call, tmp_path: Path) -> None:
    from detector import vgg16

    torch.save(vgg16(10, width=0.0625).state_dict(), tmp_path / "weights.pth")
    words = ("--arch", "vgg16", "--width", 0.0625, "--weights", tmp_path / "weights.pth", "--data", "shapes")
    assert profiled(*words, code=2).is_refused("weights.pth: found no classifier.0.weight for 8 classes")


def test_neither_half_a_checkpoint_nor_foreign_ones(trained: Path, profiled: Call, tmp_path: Path) -> None:
    file = tmp_path / "half.ckpt"
    file.write_bytes((trained / "checkpoints" / "best.ckpt").read_bytes()[:3000])
    assert profiled("--checkpoint", file, code=2).is_refused("half.ckpt: found a file that is cut short")
    torch.save({"weights": torch.zeros(1)}, file)
    message = "expected a checkpoint that train_classify.py or train_detect.py wrote"
    assert profiled("--checkpoint", file, code=2).is_refused(message)


# ---------------------------------------------------------------- reading images once


def test_batches_are_decoded_once_as_far_as_memory_allows() -> None:
    reads = 0

    class Loader:
        def __iter__(self) -> Iterator[dict[str, Any]]:
            nonlocal reads
            reads += 1
            for number in range(3):
                yield {"images": torch.full((2, 3, 4, 4), number, dtype=torch.uint8)}

    for memory, expected in ((3 * 96, 1), (3 * 96 - 1, 3)):
        reads = 0
        batches = CachedBatches(Loader(), memory)
        for _ in range(3):
            assert [int(batch["images"].max()) for batch in batches] == [0, 1, 2]
        assert reads == expected


@pytest.mark.usefixtures("undrawn")
def test_limited_images_are_drawn_by_a_stream_of_their_own(
    trained: Path, profiled: Call, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    states: list[Any] = []

    def noted(images: Any, share: float, random: np.random.Generator, what: str) -> Any:
        states.append(random.bit_generator.state)
        return take_share(images, share, random, what)

    monkeypatch.setattr("training.profiling.subjects.take_share", noted)
    words = ("--checkpoint", trained, "--layers", 13, "--methods", "channel", "--limit", 9, "--passes", 1)
    profiled(*words, "--out", tmp_path / "out")
    assert states == [generator(3, Stream.PROFILED_IMAGES_CLASSIFIER).bit_generator.state]
