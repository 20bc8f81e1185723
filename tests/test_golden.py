"""Golden values: the same commands give the same numbers, draws and files as before.

Everything goes through commands and public names, so that no restructuring has to touch this file. Values
are in ``tests/golden/*.json``; ``UPDATE_GOLDEN=1 python -m pytest tests/test_golden.py`` rewrites them. They
may change only where a fault is fixed on purpose, and the commit then names the fault. Fixed since the first
values: with ``--iou 0.75`` the figures of trends and confusion were drawn at 0.5; the calibration figure
counted scores from 0.05, the JSON from 0. Outside of what is compared here: a stream number that profiling
shared with the shapes, and the process rank, which entered a shuffle's seed twice.

Of a figure the numbers count, not the layout: the numbers in its texts (more may come), its curves up to a
change of unit, the values of its heat maps, and the share of each error type in the area of its bars, slices
and stacks.
"""

import csv
import hashlib
import io
import json
import os
import re
import runpy
import sys
from collections import Counter
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import matplotlib.figure
import numpy as np
import pyarrow.parquet
import pytest
import torch
import yaml
from matplotlib.colors import to_hex, to_rgba
from matplotlib.patches import Polygon, Rectangle, Wedge
from matplotlib.text import Text

from data.augment import train_transform
from data.classification import read_classification_test
from data.detection import EpochSampler
from data.formats import (
    read_ground_truth,
    write_coco_detections,
    write_coco_ground_truth,
    write_detections,
)
from data.records import Detections, GroundTruth
from data.shapes import write_shapes
from detector import (
    ChannelShuffle,
    PatchShuffle,
    SpatialShuffle,
    channel_shuffle,
    modify_layers,
    patch_shuffle,
    resnet18,
    seek_shuffles,
    spatial_shuffle,
    vgg16,
)
from diagnosis import ERROR_TYPES
from diagnosis.__main__ import main as diagnose

GOLDEN = Path(__file__).parent / "golden"
UPDATE = bool(os.environ.get("UPDATE_GOLDEN"))
ROUND = {str(number) for number in (0, 20, 25, 40, 50, 60, 75, 80, 100)}  # on axes that go to 100 %
NUMBER = re.compile(r"[-−+]?\d[\d,]*(?:\.\d+)?")


def check(name, found):
    """Compare with the golden values of this name, or write them."""
    path = GOLDEN / f"{name}.json"
    if UPDATE:
        GOLDEN.mkdir(exist_ok=True)
        path.write_text(
            json.dumps(found, indent=1, ensure_ascii=False, sort_keys=True) + "\n", encoding="utf-8"
        )
    return json.loads(path.read_text(encoding="utf-8"))


def digest(content):
    content = content.encode() if isinstance(content, str) else content
    return hashlib.sha256(content).hexdigest()[:16]


def digest_of_array(array):
    array = np.ascontiguousarray(array)
    return digest(f"{array.dtype.str} {array.shape} ".encode() + array.tobytes())


# ---- diagnosis ----


@pytest.fixture(scope="module")
def scenes(tmp_path_factory):
    """VOCshapes with two detectors as VOC text, and COCO JSON with a third, where some objects are crowds."""
    root = tmp_path_factory.mktemp("scenes")
    write_shapes(root, train=12, val=4, test=20, size=(96, 96), seed=3)
    truth = read_ground_truth(f"{root / 'VOCshapes'}:test")
    for number, name in enumerate(("first", "second")):
        write_detections(made_up(truth, number), root / name)
    difficult = truth.difficult | (np.arange(len(truth)) % 9 == 4)
    crowd = np.arange(len(truth)) % 17 == 6
    with_crowd = GroundTruth(
        truth.images, truth.classes, truth.sizes, truth.image_index, truth.labels, truth.boxes,
        difficult, crowd=crowd,
    )  # fmt: skip
    write_coco_ground_truth(with_crowd, root / "truth.json")
    write_coco_detections(made_up(truth, 2), root / "coco.json")
    return root


def made_up(truth, seed):
    """What a detector might find: objects repeated, moved, under wrong names; noise; equal scores."""
    draw = np.random.default_rng([10, seed])
    source = np.repeat(np.arange(len(truth)), 1 + np.arange(len(truth)) % (4 - seed % 2))
    whole = np.rint(draw.normal(0, 3 + 2 * seed, (len(source), 4)))  # whole pixels: equal overlaps
    boxes = truth.boxes[source] + np.where(draw.random(len(source)) < 0.4, 0, 1)[:, None] * whole
    wrong = draw.random(len(source)) < 0.25
    labels = np.where(wrong, draw.integers(0, len(truth.classes), len(source)), truth.labels[source])
    corner = draw.integers(0, 70, (30, 2))
    noise = np.concatenate([corner, corner + draw.integers(6, 40, (30, 2))], axis=1)
    boxes = np.concatenate([boxes, noise])
    boxes = np.concatenate([np.minimum(boxes[:, :2], boxes[:, 2:] - 1), boxes[:, 2:]], axis=1)
    labels = np.concatenate([labels, draw.integers(0, len(truth.classes), len(noise))])
    images = np.concatenate([truth.image_index[source], draw.integers(0, len(truth.images), len(noise))])
    scores = np.rint(20 * draw.beta(2, 2, len(boxes))) / 20
    return Detections(truth.images, truth.classes, images, labels, scores, boxes)


CASES = {
    "voc": "--ground-truth {0}/VOCshapes:test --detections {0}/first {0}/second --replicates 100",
    "voc_iou75": "--ground-truth {0}/VOCshapes:test --detections {0}/second --iou 0.75 --replicates 20 "
    "--names B --top 2x --area-bins 16 32 --similar none",
    "coco": "--ground-truth {0}/truth.json --detections {0}/coco.json --replicates 20 "
    "--bins aspect_ratio 0.5 2",
}


@pytest.mark.parametrize("case", CASES)
def test_diagnosis(case, scenes, tmp_path, monkeypatch):
    figures = {}
    monkeypatch.setattr(matplotlib.figure.Figure, "savefig", recorder(figures))
    out = tmp_path / "out"
    with redirect_stdout(io.StringIO()) as said:
        words = [*CASES[case].format(scenes).split(), "--figures", "--verbose", "--processes", "1"]
        assert diagnose([*words, "--out", str(out)]) == 0
    numbers = json.loads((out / "diagnosis.json").read_text(encoding="utf-8").replace(str(scenes), ""))
    origin = numbers.pop("provenance")
    found = {
        "files": sorted(path.name for path in out.iterdir()),
        "provenance": sorted(origin),
        "similar": origin["similar"]["groups"],
        "summary": (out / "summary.txt").read_text(encoding="utf-8").replace(str(scenes), "").split("\n"),
        "table": columns(out / "detections.parquet"),
        "numbers": sections(numbers),
        "figures": {name: figures[name] for name in sorted(figures)},
    }
    golden = check(f"diagnosis_{case}", found)
    assert found["files"] == golden["files"]
    assert sorted(origin["files"]) == golden["files"]
    assert found["provenance"] == golden["provenance"]
    assert found["similar"] == golden["similar"]
    assert found["summary"] == golden["summary"]
    assert "\n".join(found["summary"]).strip() in said.getvalue().replace(str(scenes), "")
    assert found["table"] == golden["table"]
    assert found["numbers"].keys() == golden["numbers"].keys()
    differ = [
        name for name, section in golden["numbers"].items() if not same(found["numbers"][name], section)
    ]
    assert not differ, f"diagnosis.json: other numbers in {', '.join(differ)}"
    assert found["figures"].keys() == golden["figures"].keys()
    faults = [
        f"{name}: {fault}"
        for name, figure in golden["figures"].items()
        for fault in differences(found["figures"][name], figure)
    ]
    assert not faults, "figures:\n" + "\n".join(faults)


def columns(path):
    table = pyarrow.parquet.read_table(path)
    contents = {}
    for field in table.schema:
        values = table[field.name].to_pylist()
        rounded = [round(value, 9) + 0.0 if isinstance(value, float) else value for value in values]
        contents[field.name] = f"{field.type} {digest(json.dumps(rounded))}"
    return {"rows": table.num_rows, "order": table.column_names, **contents}


def sections(numbers):
    """Of each part of the JSON: a digest of all but the floats, and sums that show a change of any float."""
    parts = {}
    for name, content in numbers.items():
        if name != "detectors":
            parts[name] = content
            continue
        for number, detector in enumerate(content):
            for part, inner in detector.items():
                if part != "classes":
                    parts[f"detectors/{number}/{part}"] = inner
                    continue
                for key in next(iter(inner.values())):
                    parts[f"detectors/{number}/classes/{key}"] = {one: inner[one][key] for one in inner}
    return {name: summed(content) for name, content in parts.items()}


def summed(content):
    floats, rest = [], []

    def visit(value, path):
        if isinstance(value, dict):
            for key in sorted(value):
                visit(value[key], f"{path}/{key}")
        elif isinstance(value, list):
            for index, entry in enumerate(value):
                visit(entry, f"{path}/{index}")
        elif isinstance(value, float):
            floats.append(value)
            rest.append(path)
        else:
            rest.append(f"{path}={value!r}")

    visit(content, "")
    values, weights = np.array(floats), 1 + np.random.default_rng(0).random(len(floats))
    sums = [float(values.sum()), float((values * weights).sum()), float(np.abs(values).sum())]
    return {"rest": digest("\n".join(rest)), "floats": sums, "number": len(floats)}


def same(found, golden):
    near = np.allclose(found["floats"], golden["floats"], rtol=0, atol=1e-15 + 1e-12 * golden["floats"][2])
    return near and (found["rest"], found["number"]) == (golden["rest"], golden["number"])


def recorder(figures):
    """A savefig that takes down what a figure shows and writes next to nothing."""

    def savefig(figure, target, *_, **__):
        if isinstance(target, str | os.PathLike):
            name = Path(target).name.lstrip(".").split(".")[0]
            if name not in figures:
                figures[name] = shown(figure)
            Path(target).write_text("<svg/>", encoding="utf-8")
        else:
            target.write(b"<svg/>")

    return savefig


def shown(figure):
    """The numbers of a figure, whatever its layout; see this module's docstring."""
    figure.draw_without_rendering()
    kind_of = {to_hex(kind.colour): kind.name for kind in ERROR_TYPES}
    curves, maps, areas = [], [], {}
    hidden, ticks = set(), set()  # ticks of axes that are off, or of a side without labels, are not shown
    for axes in figure.axes:
        for axis in (axes.xaxis, axes.yaxis):
            hidden |= set(axis.findobj(Text)) - {axis.label}
            ticks |= set(axis.get_ticklabels() + axis.get_ticklabels(minor=True)) if axes.axison else set()
    hidden -= ticks
    for axes in figure.axes:
        for line in axes.lines:
            points = line.get_xydata()
            points = points[np.isfinite(points).all(axis=1)]
            if len(points) > 3:
                curves.append(digest(json.dumps((np.rint(1e4 * scaled(points)) + 0.0).tolist())))
        for image in axes.images:
            values = np.asarray(image.get_array())
            if values.dtype.kind == "f" and values.ndim == 2:
                maps.append(digest(json.dumps(np.sort(np.round(values.ravel(), 6) + 0.0).tolist())))
        if axes.images:  # what is drawn on a photograph is layout
            continue
        parts = {}
        for patch in axes.patches:
            size = {Rectangle: rectangle, Wedge: slice_, Polygon: polygon}.get(type(patch))
            if size:
                add(parts, kind_of, type(patch).__name__, patch.get_facecolor(), size(patch))
        for collection in axes.collections:
            for path, colour in zip(collection.get_paths(), collection.get_facecolor(), strict=False):
                add(parts, kind_of, "stack", colour, shoelace(path.vertices))
        for artist, some in parts.items():
            sizes = [size for _, size in some]
            if len(some) == 1 or max(sizes) > min(sizes) * 1.001:  # not the samples of a legend
                areas.setdefault(artist, []).extend(some)
    shares = {}
    for artist, some in areas.items():
        total = sum(size for _, size in some)
        shares[artist] = sorted([kind, round(size / total, 5)] for kind, size in some if size / total > 5e-5)
    texts = [text for text in figure.findobj(Text) if text not in hidden]
    numbers = numbers_of(text for text in texts if text not in ticks) - ROUND
    on_ticks = numbers_of(ticks) - numbers
    return {
        "numbers": sorted(numbers),
        "on ticks": sorted(on_ticks),
        "curves": sorted(curves),
        "maps": sorted(maps),
        "areas": shares,
    }


def numbers_of(texts):
    tokens = (token for text in texts for token in NUMBER.findall(text.get_text()))
    return {token.replace(",", "").replace("−", "-").lstrip("+") for token in tokens}


def add(parts, kind_of, artist, colour, size):
    kind = kind_of.get(to_hex(colour)) if to_rgba(colour)[3] else None
    if kind and size:
        parts.setdefault(artist, []).append((kind, size))


def scaled(points):
    low, high = points.min(axis=0), points.max(axis=0)
    return (points - low) / np.where(high > low, high - low, 1)


def rectangle(patch):
    return abs(patch.get_width() * patch.get_height())


def slice_(patch):
    return patch.theta2 - patch.theta1


def polygon(patch):
    return shoelace(patch.get_xy())


def shoelace(vertices):
    x, y = np.asarray(vertices).T
    return abs(np.dot(x, np.roll(y, 1)) - np.dot(y, np.roll(x, 1))) / 2


def differences(found, golden):
    missing = sorted(set(golden["numbers"]) - set(found["numbers"]) - set(found["on ticks"]))
    if missing:
        yield f"numbers no longer shown: {', '.join(missing)}"
    for what in ("curves", "maps"):
        if Counter(golden[what]) - Counter(found[what]):
            yield f"other {what}"
    for artist, areas in golden["areas"].items():
        new = found["areas"].get(artist, [])
        kinds = [kind for kind, _ in areas]
        near = len(new) == len(areas) and [kind for kind, _ in new] == kinds
        if not near or not np.allclose([size for _, size in new], [size for _, size in areas], atol=2e-5):
            yield f"other areas of {artist}: {areas}, now {new}"


# ---- training ----

COMMON = "--accelerator cpu --precision 32-true --workers 0 --max-steps 3 --passes 2 --learning-rate 0.00001"
RUNS = {
    "train_detect": "--data voc --root {root} --train shapes:train --test shapes:val --arch resnet18 "
    "--input-size 64 --batch-size 4 --validation 0.25 --shuffle last --sheet 2",
    "train_classify": "--data shapes --root {root} --fraction 0.02 --validation 0.25 --width 0.0625 "
    "--batch-size 8 --method spatial --last 3",
}


@pytest.fixture
def unchanged_process():
    """Take back what a training run sets for the whole process."""
    environment = dict(os.environ)
    yield
    os.environ.clear()
    os.environ.update(environment)
    torch.use_deterministic_algorithms(False)


@pytest.mark.usefixtures("unchanged_process")
@pytest.mark.parametrize("script", RUNS)
def test_training(script, scenes, tmp_path, monkeypatch):
    monkeypatch.setattr(matplotlib.figure.Figure, "savefig", lambda _, file, **__: Path(file).touch())
    out = tmp_path / "run"
    words = [*RUNS[script].format(root=scenes).split(), *COMMON.split(), "--out", str(out)]
    monkeypatch.setattr(sys, "argv", [script, *words])
    with (
        redirect_stdout(io.StringIO()),
        redirect_stderr(io.StringIO()) as said,
        pytest.raises(SystemExit) as end,
    ):
        runpy.run_path(str(Path(__file__).parent.parent / f"{script}.py"), run_name="__main__")
    assert end.value.code in (0, None), said.getvalue()
    losses = {}
    with (out / "logs" / "csv" / "metrics.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            for name, value in row.items():
                if value and "loss" in name:
                    losses.setdefault(name, []).append(float(value))
    files = {
        re.sub(r"(tfevents)\..*", r"\1", str(path.relative_to(out)))
        for path in out.rglob("*")
        if path.is_file()
    }
    found = {
        "files": sorted(files),
        "config": sorted(keys(yaml.safe_load((out / "config.yaml").read_text(encoding="utf-8")))),
        "scores": sorted(keys(json.loads((out / "scores.json").read_text(encoding="utf-8")))),
        "losses": losses,
    }
    golden = check(script, found)
    for part in ("files", "config", "scores"):
        assert found[part] == golden[part]
    assert losses.keys() == golden["losses"].keys()
    for name, values in golden["losses"].items():
        assert losses[name] == pytest.approx(values, rel=5e-4), name  # other processors add in another order


def keys(content, path=""):
    if isinstance(content, dict) and content:
        return {name for key, value in content.items() for name in keys(value, f"{path}/{key}")}
    return {path}


# ---- draws ----


def test_draws(scenes):
    found = {"shuffles": shuffles(), "data": drawn_data(scenes)}
    golden = check("draws", found)
    assert found["shuffles"] == golden["shuffles"]
    for new, old in zip(*(each["data"].pop("augmented means") for each in (found, golden)), strict=True):
        assert new == pytest.approx(old, abs=0.5)  # the arithmetic of OpenCV differs between processors
    assert found["data"] == golden["data"]


def shuffles():
    maps = torch.arange(2 * 3 * 5 * 7, dtype=torch.float32).view(2, 3, 5, 7)
    drawn = {}
    for stream in (0, 7, -(2**62)):
        for per_image in (False, True):
            name = f"{stream} {'image' if per_image else 'batch'}"
            drawn[f"spatial {name}"] = spatial_shuffle(maps, stream, per_image=per_image)
            drawn[f"channel {name}"] = channel_shuffle(maps, stream, per_image=per_image)
            drawn[f"patch {name}"] = patch_shuffle(maps, 3, stream, per_image=per_image)
    digests = {name: digest_of_array(values.numpy()) for name, values in drawn.items()}
    kinds = (SpatialShuffle, PatchShuffle, ChannelShuffle)
    for method in ("spatial", "patch", "channel"):
        patch = 2 if method == "patch" else None
        for label, network in (("vgg16", vgg16(width=0.0625)), ("resnet18", resnet18())):
            modify_layers(network, method, last=3, patch=patch)
            for seed, step in ((0, 0), (5, 123)):
                seek_shuffles(network, seed, step)
                modules = (module for module in network.modules() if isinstance(module, kinds))
                drawn_here = (torch.stack([module(maps), module(maps)]).numpy() for module in modules)
                digests[f"{label} {method} {seed} {step}"] = sorted(map(digest_of_array, drawn_here))
    return digests


def drawn_data(scenes):
    tree = scenes / "VOCshapes"
    few = read_classification_test("shapes")
    images = few.images[:40]
    order = [
        list(EpochSampler(20, seed=seed, shuffle=True).order(epoch).tolist())
        for seed in (0, 1)
        for epoch in (0, 1)
    ]
    photograph = np.random.default_rng(0).integers(0, 256, (60, 80, 3), dtype=np.uint8)
    boxes = np.array([[0.0, 0, 30, 30], [10, 20, 70, 55]])
    augmented = [
        train_transform(48, seed=seed)(photograph, boxes, (epoch, 3)) for seed in (0, 4) for epoch in (0, 1)
    ]
    return {
        "shapes": digest(b"".join(path.read_bytes() for path in sorted(tree.rglob("*.xml")))),
        "pictures": digest(b"".join(path.read_bytes() for path in sorted(tree.rglob("*.jpg")))),
        "classification shapes": [digest_of_array(images), few.labels[:40].tolist()],
        "order of an epoch": order,
        "augmented boxes": [np.round(moved, 6).tolist() for _, moved, _ in augmented],
        "augmented means": [np.asarray(image).mean(axis=(0, 1)).tolist() for image, _, _ in augmented],
    }
