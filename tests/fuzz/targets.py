"""What is fuzzed: each target reads some bytes as one kind of input.

A fault is an exception other than the documented one, a message that cannot be printed or is too long, two
answers to one question (read again, read leniently), a record that says what no input can mean. Time and
memory are watched by :mod:`tests.fuzz.run`.
"""

from __future__ import annotations

import contextlib
import importlib
import inspect
import io
import itertools
import os
import shlex
import shutil
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np

from data.formats import from_predictions, read_found, read_ground_truth
from data.formats.classes import read_classes
from data.formats.files import image_size, open_image, parse_yaml, read_yaml
from data.formats.voc import read_detections, read_image_list
from data.records import Detections, GroundTruth, InputError

REFERENCES = {
    "diagnosis": (
        "rules", "matching", "breakdown", "average_precision", "characteristics", "trends", "flow", "impact",
    ),
    "detector": ("grid", "loss"),
}  # fmt: skip
"""Modules of tests with references."""
LONGEST_MESSAGE = 8000  # three parts of 2,000 characters, and what joins them


class FaultError(Exception):
    """Something that must not be."""


@cache
def temporary() -> tempfile.TemporaryDirectory[str]:
    in_memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None  # a disk takes most of the time
    return tempfile.TemporaryDirectory(prefix="fuzz", dir=in_memory)


def folder() -> Path:
    """A folder of this process, removed at its end."""
    return Path(temporary().name)


@cache
def truth() -> GroundTruth:
    """What detections are read against."""
    return GroundTruth(
        ["a", "000012", "c d"], ["cat", "dog", "7"], [[100, 80], [640, 480], [9, 9]],
        [0, 0, 1], [0, 1, 0], [[10, 10, 50, 60], [0, 0, 100, 80], [5, 5, 300, 200]],
        image_ids=[3, 7, "x"], class_ids=[18, 1, "7"], file_names=["a.jpg", "val/000012.jpg", "c d.png"],
    )  # fmt: skip


def documented(read: Callable[[], Any]) -> Any:
    """What `read` returns, or its InputError, checked to be one that can be printed."""
    try:
        return read()
    except InputError as error:
        text = str(error)
        text.encode("utf-8")
        if len(text) > LONGEST_MESSAGE:
            raise FaultError(f"a message of {len(text)} characters") from error
        return error


def columns(record: Any) -> list[Any]:
    """A record as plain values, for comparisons."""
    names = record.__dataclass_fields__
    values = [getattr(record, name) for name in names if name != "attributes"]
    return [value.tolist() if isinstance(value, np.ndarray) else value for value in values]


def read_twice(read: Callable[[bool], Any]) -> Any:
    """The answer of a reader, which has to be the same leniently if nothing is at fault, and else again."""
    first = documented(lambda: read(False))
    lenient = documented(lambda: read(True))
    for record in (first, lenient):
        if not isinstance(record, InputError):
            check_record(record)
    if not isinstance(first, InputError):
        if isinstance(lenient, InputError) or columns(first) != columns(lenient):
            raise FaultError("two answers")
        return first
    said = str(first)
    if len(said) % 8 == 0:  # not all: it takes a third
        again = documented(lambda: read(False))
        if said != str(again):
            raise FaultError(f"two messages: {said}; {again}")
    return first


def check_record(record: Any) -> None:
    """What holds of every record."""
    if not isinstance(record, GroundTruth | Detections):
        raise FaultError(f"a {type(record).__name__}")
    rows = len(record)
    scores = record.scores if isinstance(record, Detections) else np.zeros(rows)
    inside = (record.image_index >= 0) & (record.image_index < len(record.images))
    inside &= (record.labels >= 0) & (record.labels < len(record.classes))
    extent = record.boxes[:, 2:] - record.boxes[:, :2]
    sound = np.isfinite(record.boxes).all() and np.isfinite(scores).all() and (extent >= 0).all()
    if not (inside.all() and sound and all(name.strip() for name in record.classes)):
        raise FaultError("a record of nonsense")


def file_of(name: str, content: bytes) -> Path:
    """A file with that content."""
    path = folder() / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def of_truth(name: str, spec: str = "") -> Callable[[bytes], None]:
    """Ground truth in a file of that name."""

    def run(content: bytes) -> None:
        path = file_of(name, content)
        read_twice(lambda lenient: read_ground_truth(folder() / spec if spec else path, lenient))

    return run


def of_detections(name: str, place: str = "") -> Callable[[bytes], None]:
    """Detections in a file of that name."""

    def run(content: bytes) -> None:
        path = file_of(name, content)
        read_twice(lambda lenient: read_found(folder() / place if place else path, truth(), lenient))

    return run


@cache
def yolo() -> Path:
    """A YOLO data set of one image."""
    from PIL import Image

    base = folder() / "yolo"
    (base / "images").mkdir(parents=True)
    (base / "labels").mkdir()
    Image.new("1", (64, 48)).save(base / "images" / "a.png")
    (base / "labels" / "a.txt").write_text("0 0.5 0.5 0.5 0.5\n")
    (base / "data.yaml").write_text("names: [cat, dog]\nval: images\nkpt_shape: [2, 3]\n")
    return base


names_of_yolo, size_of_yolo = cache(read_yaml), cache(image_size)
"""What is the same in all executions is read once: four fifths of the time."""


def yolo_labels(content: bytes) -> None:
    path = yolo() / "labels" / "a.txt"
    before = path.read_bytes()
    path.write_bytes(content)
    try:
        with (
            patch("data.formats.yolo.read_yaml", names_of_yolo),
            patch("data.formats.yolo.image_size", size_of_yolo),
        ):
            read_twice(lambda lenient: read_ground_truth(yolo() / "data.yaml", lenient))
    finally:
        path.write_bytes(before)


@cache
def rules(package: str) -> list[Any]:
    """The tests that hold a package against slow, obvious references, on any scene."""
    modules = [importlib.import_module(f"tests.{package}.test_{name}") for name in REFERENCES[package]]
    found = [value for module in modules for value in vars(module).values() if hasattr(value, "hypothesis")]
    return [test for test in found if not inspect.signature(test).parameters]  # others need fixtures


def against_references(package: str) -> Callable[[bytes], None]:
    """The first byte chooses a test, the others are what Hypothesis draws its scene from."""

    def run(content: bytes) -> None:
        if content:
            rules(package)[content[0] % len(rules(package))].hypothesis.fuzz_one_input(content[1:])

    return run


def data_yaml(content: bytes) -> None:
    path = yolo() / "other.yaml"
    path.write_bytes(content)
    with patch("data.formats.yolo.image_size", size_of_yolo):
        read_twice(lambda lenient: read_ground_truth(path, lenient))


def voc_xml(content: bytes) -> None:
    path = file_of("xml/a.xml", content)
    for pixels_from in (0, 1):
        documented(lambda start=pixels_from: check_record(read_ground_truth(path.parent, pixels_from=start)))


def voc_list(content: bytes) -> None:
    file_of("list/ImageSets/Main/val.txt", content)
    documented(lambda: read_image_list(folder() / "list", "val"))


def class_lists(content: bytes) -> None:
    for name in ("classes.yaml", "labelmap.txt"):
        path = file_of(f"lists/{name}", content)
        documented(lambda: read_classes(folder() / "lists"))
        path.unlink()
    documented(lambda: parse_yaml(Path("some.yaml"), content.decode("utf-8", "replace"), "YAML"))


def voc_text(content: bytes) -> None:
    """The fast and the slow way through VOC's text must agree: a line at fault makes it slow."""
    path = file_of("voc/det_dog.txt", content)
    known = truth()

    def read(lenient: bool) -> Detections:
        return read_detections(path, known.images, known.classes, lenient, known.sizes)

    fast = read_twice(read)
    if not isinstance(fast, InputError):
        path.write_bytes(content + b"\nno line\n")
        slow = read(True)
        if columns(fast) != columns(slow):
            raise FaultError("two answers of the fast and the slow reader")


def pictures(content: bytes) -> None:
    path = file_of("picture.jpg", content)
    documented(lambda: image_size(path))

    def decode() -> None:
        with open_image(path, "an image") as image:
            if image.size[0] * image.size[1] < 1 << 20:
                image.convert("RGB")

    documented(decode)


def pickles(content: bytes) -> None:
    from data.pickles import read_pickle

    documented(lambda: read_pickle(io.BytesIO(content), "batch"))


def archives(content: bytes) -> None:
    from data.download import unpack

    path, root = file_of("a.tar", content), folder() / "tree"
    root.mkdir(exist_ok=True)
    documented(lambda: unpack(path, root, lambda *_: None))
    outside = {file.name for file in folder().iterdir()} - {"a.tar", "tree"}
    if outside - seen_before():
        raise FaultError(f"unpacked outside: {sorted(outside - seen_before())}")
    if any(file.is_symlink() for file in root.rglob("*")):
        raise FaultError("a link was unpacked")
    if not content.startswith(b"keep"):
        shutil.rmtree(root)


@cache
def seen_before() -> frozenset[str]:
    return frozenset(file.name for file in folder().iterdir())


def sheets(content: bytes) -> None:
    """CIFAR-100's binary form and Small-ImageNet's arrays."""
    from data.cifar import read_cifar100
    from data.small_imagenet import read_small_imagenet

    file_of("cifar/cifar-100-binary/test.bin", content)
    file_of("small/val_data.npz", content)
    documented(lambda: read_cifar100(folder() / "cifar", "test"))
    documented(lambda: read_small_imagenet(folder() / "small", "test"))


def checkpoints(content: bytes) -> None:
    from training.checkpoint import read_checkpoint

    path = file_of("last.ckpt", content)
    documented(lambda: read_checkpoint(path, "train.py", {"model": dict, "classes": list}))


def training_yaml(content: bytes) -> None:
    path = file_of("options.yaml", content)
    ends_well(lambda: training_parser().check_file(path))


@cache
def training_parser() -> Any:
    from training.parser import make_parser
    from training.tasks.classification import CLASSIFICATION

    return make_parser(CLASSIFICATION)


def ends_well(command: Callable[[], Any]) -> None:
    """Exit code 2 and one line of error are as good as no error."""
    said = io.StringIO()
    with contextlib.redirect_stderr(said), contextlib.redirect_stdout(said):
        try:
            documented(command)
        except SystemExit as end:
            if end.code not in (0, 2):
                raise FaultError(f"exit code {end.code}") from None
    if "Traceback" in said.getvalue():
        raise FaultError(said.getvalue())


def command_lines(content: bytes) -> None:
    """Options of the diagnosis, all but the files themselves."""
    from diagnosis import options
    from diagnosis.__main__ import main

    try:
        words = shlex.split(content.decode("utf-8", "surrogateescape"))
    except ValueError:
        return
    empty = file_of("empty.json", b"[]")
    files = ["--ground-truth", str(empty), "--detections", str(empty), "--out", str(folder() / "out")]
    ends_well(lambda: main([*files, *words, "--ground-truth", str(empty)]))
    numbers, texts = itertools.islice(words, 20), words[:20]
    documented(lambda: [options.parse_top(word) for word in numbers])
    documented(lambda: options.parse_bins(texts, None, []))
    documented(lambda: options.parse_bins(None, [texts] if texts else None, ["weight"]))


def training_command_lines(content: bytes) -> None:
    """train_detect, predict or export, as the first word says, up to the work itself."""
    from training import command, export, predict
    from training.tasks import detection

    try:
        name, *words = shlex.split(content.decode("utf-8", "surrogateescape"))
    except ValueError:
        return
    mains = {"predict": predict.main, "export": export.main}
    nothing = InputError("nothing", "none", "none")
    with (
        contextlib.chdir(folder()),
        patch.object(command, "_run"),
        patch.object(predict, "predict", return_value=0),
        patch.object(export, "load_detector", side_effect=nothing),
    ):

        def run() -> None:
            if (code := mains.get(name, detection.main)(words)) not in (0, 2):
                raise FaultError(f"exit code {code}")

        ends_well(run)


ROW = np.dtype([("box", "<f8", 4), ("score", "<f8"), ("size", "<i2", 2), ("image", "i1"), ("label", "i1")])
"""Of the records that are made from bytes."""
TYPES = (np.int64, np.float64, object, str, np.bool_, np.uint8)
"""Of the indices that they are given."""


def records(content: bytes) -> None:
    """Records of arrays with any bits, of any type and length: sound, or refused by the documented error."""
    if len(content) < 4:
        return
    images, classes, kind, cut = content[:4]
    rows = np.frombuffer(content[4 : 4 + (len(content) - 4) // ROW.itemsize * ROW.itemsize], ROW)
    names = [[f"i{row}" for row in range(images % 5)], [f"c{row}" for row in range(classes % 5)]]
    values = {
        "image_index": rows["image"].astype(TYPES[kind % len(TYPES)]), "labels": rows["label"],
        "boxes": rows["box"], "scores": rows["score"],
    }  # fmt: skip
    if cut % 8 < len(values):
        name = list(values)[cut % 8]
        values[name] = values[name][:-1] if cut % 16 < 8 else values[name][..., None]
    scores = values.pop("scores")
    sizes = np.resize(rows["size"], (len(names[0]), 2))
    flags = rows["label"] % 2 if cut % 32 < 16 else rows["score"]
    made = (
        documented(lambda: Detections(*names, scores=scores, **values)),
        documented(lambda: GroundTruth(*names, sizes, difficult=flags, **values)),
    )
    for record in made:
        if not isinstance(record, InputError):
            check_record(record)


def predictions(content: bytes) -> None:
    """In memory: what a program might hand over, as a literal."""
    import ast

    try:
        value = ast.literal_eval(content.decode("utf-8", "replace").lstrip()[:5000])
    except Exception:
        return
    read_twice(lambda lenient: from_predictions(value, truth(), lenient=lenient))


TARGETS: dict[str, Callable[[bytes], None]] = {
    "coco_truth": of_truth("truth.json"),
    "via_csv": of_truth("truth.csv"),
    "yolo_labels": yolo_labels,
    "data_yaml": data_yaml,
    "voc_xml": voc_xml,
    "voc_list": voc_list,
    "class_lists": class_lists,
    "coco_results": of_detections("found.json"),
    "table_csv": of_detections("found.csv"),
    "table_parquet": of_detections("found.parquet"),
    "voc_text": voc_text,
    "yolo_text": of_detections("yolo_found/a.txt", "yolo_found"),
    "predictions": predictions,
    "records": records,
    "matching_and_analyses": against_references("diagnosis"),
    "pictures": pictures,
    "pickles": pickles,
    "archives": archives,
    "sheets": sheets,
    "command_lines": command_lines,
    "training_command_lines": training_command_lines,
    "grid": against_references("detector"),
    "training_yaml": training_yaml,
    "checkpoints": checkpoints,
}

SLOW = {
    "checkpoints": 20_000, "training_yaml": 20_000, "command_lines": 20_000, "matching_and_analyses": 20_000,
    "training_command_lines": 5_000, "grid": 20_000, "archives": 50_000, "sheets": 50_000,
}  # fmt: skip
"""Fewer executions in `make fuzz`, as one takes milliseconds."""
