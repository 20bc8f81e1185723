"""What comes after a training: loading it in a line, boxes on photographs."""

import contextlib
import errno
import json
import logging
import os
import pickle
import re
import resource
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from dataclasses import replace
from functools import partial
from itertools import count
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

import detector
from data.augment import eval_transform
from data.formats import read_found, read_ground_truth, write_coco_ground_truth
from data.records import InputError
from detector.export import ExportError
from detector.foreign_backbones import Backbone
from detector.networks import WeightsError
from detector.trained import TrainedDetector, read_photograph, resize
from diagnosis.__main__ import main as diagnose
from training.export import main as export
from training.predict import RESULTS
from training.predict import main as predict
from training.run_state import locked
from training.tasks.detection import main as train_detect
from training.tasks.detection import read_run_ground_truth
from training.tasks.detection_options import Options


@pytest.fixture(scope="session")
def run(small_runs):
    """A finished run of the shuffled detector. Not to be changed."""
    return small_runs["detection"].whole[0]


@pytest.fixture(scope="session")
def trained(run):
    return detector.load(run)


@pytest.fixture(scope="session")
def photographs(scenes):
    """The files of the test images, in the order of their list."""
    folder = scenes / "VOCshapes"
    names = (folder / "ImageSets" / "Main" / "val.txt").read_text().split()
    return [folder / "JPEGImages" / f"{name}.jpg" for name in names]


def test_kind_a_run_is_loaded_by_its_path(run, scenes, photographs):
    best = run / "checkpoints" / "best.ckpt"
    classes = json.loads((run / "detections" / "ground_truth.json").read_text())["categories"]
    found = [detector.load(path) for path in (str(run), run, best, str(best), best.parent)]
    for one in found:
        assert one.source == best
        assert one.classes == tuple(category["name"] for category in classes)
        assert (one.input_size, one.model["shuffle"], one.network.training) == (64, "last", False)
        assert sum(1 for _ in detector.intervene.shuffles(one.network)) == 3
    # Those of the first pass of the scoring at the end of the run, whose first batch had four images.
    written = json.loads((run / "detections" / "detections.json").read_text())
    for number, one in enumerate(found[0].predict(photographs[:4], 0.0001, max_detections=100), start=1):
        rows = [row for row in written if row["image_id"] == number]
        corners = torch.tensor([row["bbox"] for row in rows]).reshape(-1, 4)
        corners[:, 2:] += corners[:, :2]
        torch.testing.assert_close(one["boxes"].float(), corners, atol=1e-3, rtol=1e-4)
        scores = torch.tensor([row["score"] for row in rows])
        torch.testing.assert_close(one["scores"].float(), scores, atol=1e-5, rtol=1e-4)
        assert one["names"] == [classes[row["category_id"] - 1]["name"] for row in rows]


def damage(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def save(**content):
    return lambda path: torch.save(content, path)


def bomb(path: Path) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/version", "3\n")
        archive.writestr("archive/data.pkl", bytes(70 << 20))


class Evil:
    def __reduce__(self):
        return pytest.fail, ("it was executed",)


HYPER = {"model": {"arch": "resnet18", "width": 0.25}, "classes": ["a"], "input_size": 64}


@pytest.mark.parametrize(
    ("make", "found"),
    [
        (None, "no such file or folder"),
        (damage, "a damaged file: its checksum differs"),
        (lambda path: path.write_bytes(path.read_bytes()[:999]), "(its archive has no end, or is broken);"),
        (lambda path: path.write_bytes(b""), "made by another program (EOFError);"),
        (lambda path: path.write_text("hello"), "cut short, damaged or made by another program"),
        (bomb, "70 MB in an archive of 0.1 MB"),
        (save(state_dict=Evil()), "a Python object, _pytest.outcomes."),
        (lambda path: path.write_bytes(pickle.dumps(Evil())), "damaged or made by another program"),
        (save(weight=torch.zeros(1)), "without state_dict and hyper_parameters"),
        (save(state_dict={"a": torch.tensor([torch.nan])}, hyper_parameters=HYPER), "a with values that"),
        (save(state_dict={}, hyper_parameters={"classes": ["a"]}), "no model in its hyper_parameters"),
        (save(state_dict={}, hyper_parameters=HYPER), "what makes no detector"),
        (save(state_dict={}, hyper_parameters=HYPER | {"input_size": -3}), "what makes no detector"),
        (save(state_dict={}, hyper_parameters=HYPER | {"model": {"arch": "vgg"}}), "must be one of resnet18"),
    ],
)
def test_what_is_no_detector_is_one_clear_error(make, found, run, tmp_path):
    path = tmp_path / "my.ckpt"
    if make is not None:
        shutil.copyfile(run / "checkpoints" / "best.ckpt", path)
        make(path)
    with pytest.raises(WeightsError) as error:
        detector.load(path)
    assert str(error.value).startswith(f"{path}: found ")
    assert found in str(error.value)
    assert str(error.value).count("; expected ") == 1


def test_folders_that_are_no_run_of_a_detector(small_runs, tmp_path):
    with pytest.raises(WeightsError, match="found a folder without checkpoints"):
        detector.load(tmp_path)
    (tmp_path / "config.yaml").touch()
    with pytest.raises(WeightsError, match="found a run without a checkpoint"):
        detector.load(tmp_path)
    with pytest.raises(WeightsError, match="found a classifier"):
        detector.load(small_runs["classification"].whole[0])
    plain = detector.load(small_runs["detection"].plain)  # one step, never validated
    assert (plain.source.name, plain.epoch) == ("last.ckpt", 1)


@pytest.mark.parametrize("size", [(200, 100), (64, 64), (10, 300), (1, 1), (65, 63)])
def test_photographs_are_resized_as_in_scoring(size):
    pixels = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)
    expected, _, _ = eval_transform(64)(pixels, np.zeros((0, 4)), 0)
    np.testing.assert_array_equal(resize(pixels, 64), expected)


def test_kinds_of_photographs(trained, photographs, tmp_path):
    """Every kind of image of the same pixels gives the same boxes; EXIF turns as it is shown."""
    pixels = read_photograph(photographs[0])
    (expected,) = trained.predict(photographs[0], 0.0001)
    assert len(expected["boxes"])
    turned = tmp_path / "turned.png"
    exif = Image.Exif()
    exif[0x0112] = 6  # shown turned by 90° clockwise
    Image.fromarray(np.rot90(pixels).copy()).save(turned, exif=exif)
    same = [pixels, torch.from_numpy(pixels).movedim(-1, 0), Image.fromarray(pixels), turned, str(turned)]
    for one in [*trained.predict(same, 0.0001), *(trained.predict(image, 0.0001)[0] for image in same)]:
        torch.testing.assert_close(one["boxes"], expected["boxes"], atol=1e-3, rtol=1e-4)
        assert one["names"] == expected["names"]
    stored = trained.predict(turned, 0.0001, exif=False)[0]
    assert not torch.equal(stored["boxes"], expected["boxes"])
    grey = Image.fromarray(pixels).convert("L")
    for image in (grey, grey.convert("LA"), grey.convert("CMYK"), grey.convert("P"), np.asarray(grey)):
        assert read_photograph(image).shape == pixels.shape
    assert trained.predict([]) == []
    assert trained.predict(np.zeros((3, 1000, 3), np.uint8), 1.0)[0]["size"] == (1000, 3)


@pytest.mark.parametrize(
    ("image", "found"),
    [
        ("absent.jpg", "absent.jpg: found no such file"),
        (["/"], "/: found a folder; expected photographs, such as"),
        (np.zeros((4, 4, 3)), "found float64"),
        (np.zeros((4, 4, 4), np.uint8), r"found uint8 of shape \(4, 4, 4\)"),
        (torch.zeros(4, 4, 3, dtype=torch.uint8), "expected a tensor"),
        (torch.zeros(3, 4, 4), "found float32"),
        (np.zeros((0, 4, 3), np.uint8), "found an image of shape"),
        (Image.new("I;16", (4, 4)), "found pixels of mode 'I;16'"),
        ([[[0, 0, 0]]], r"found int64 of shape \(1, 3\)"),
        (b"abc", r"found int64 of shape \(\)"),
    ],
)
def test_what_is_no_photograph(image, found, trained):
    with pytest.raises(ValueError, match=found):
        trained.predict(image)


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("batch_size", (0, -1)),
        ("score_threshold", (-1, float("nan"))),
        ("iou_threshold", (-1,)),
        ("max_detections", (0, -1)),
    ],
)
def test_kind_numbers_that_cannot_be_meant(name, values, trained, photographs):
    """Where there were no detections, or one too few."""
    for value in values:
        with pytest.raises(ValueError, match=f" must be .*, found {value}$"):
            trained.predict(photographs[0], **{name: value})


def test_kind_a_large_photograph_is_no_bomb(run, photographs, within, tmp_path, monkeypatch):
    """The limits of Pillow as if the photograph were of 200 million pixels."""
    width, height = Image.open(photographs[0]).size
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", width * height // 3)
    with pytest.raises(ValueError, match=r"more pixels than Pillow opens .*; expected fewer, or PIL"):
        detector.load(run).predict(photographs[0])
    result = within(predict, [run, photographs[0], "--out", tmp_path / "out"])
    assert (result.code, result.err) == (0, "")


def test_damaged_photographs_are_named(trained, photographs, tmp_path):
    cut, deep = tmp_path / "cut.jpg", tmp_path / "deep.png"
    cut.write_bytes(photographs[0].read_bytes()[:400])
    Image.new("I;16", (4, 4)).save(deep)
    for file, found in ((cut, "cannot be decoded"), (deep, "more than 8|mode 'I;16'")):
        with pytest.raises(ValueError, match=found) as error:
            trained.predict([photographs[1], file])
        assert str(error.value).startswith(f"{file}: found")


def test_the_draws_of_a_shuffle_do_not_depend_on_the_batch(trained, photographs):
    whole = trained.predict(photographs, 0.0001)
    for size in (1, 4):
        for one, other in zip(whole, trained.predict(photographs, 0.0001, batch_size=size), strict=True):
            torch.testing.assert_close(one["boxes"], other["boxes"], atol=1e-3, rtol=1e-4)
    other = trained.predict(photographs, 0.0001, seed=5)
    assert any(not torch.equal(a["boxes"], b["boxes"]) for a, b in zip(whole, other, strict=True))


# ---------------------------------------------------------------- the command


def write_video(path: Path, frames: int) -> Path:
    video = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), 5, (64, 48))
    for number in range(frames):
        video.write(np.full((48, 64, 3), 20 * number, np.uint8))
    video.release()
    return path


def test_predict_writes_what_the_diagnosis_reads(run, trained, scenes, photographs, within, tmp_path):
    """Photographs of a folder, of every kind, and a damaged one that is named; the others go on."""
    folder = tmp_path / "mine"
    folder.mkdir()
    for file in photographs[:3]:
        shutil.copy(file, folder)
    (folder / "cut.jpg").write_bytes(photographs[3].read_bytes()[:300])
    (folder / "notes.txt").touch()
    (folder / "._val_000000.jpg").write_bytes(b"what macOS leaves")
    out = tmp_path / "out"
    words = [run, folder, photographs[0], "--score", 0.0001, "--draw-score", 0.0002, "--batch-size", 2]
    result = within(predict, [*words, "--out", out])
    assert result.code == 1
    assert f"warning: {folder / 'cut.jpg'}: found an image that cannot be decoded" in result.err
    assert "error: 1 of 5 files could not be read" in result.err

    content = json.loads((out / "predictions.json").read_text())
    assert content["images"][0]["name"].endswith("/mine/val_000000")  # there are two of this name
    assert [one["file"] for one in content["not_read"]] == [str(folder / "cut.jpg")]

    result = within(predict, [*words[:2], *words[3:], "--out", out])  # the folder alone, over what is there
    assert result.code == 1
    expected = trained.predict(photographs[:3], 0.0001)
    shown = json.loads((out / "predictions.json").read_text())["images"]
    assert [image["name"] for image in shown] == [file.stem for file in photographs[:3]]
    for image, one in zip(shown, expected, strict=True):
        assert [found["name"] for found in image["detections"]] == one["names"]
        boxes = np.array([found["box"] for found in image["detections"]])
        np.testing.assert_allclose(boxes, one["boxes"], atol=2e-3)
    truth = read_ground_truth(f"{scenes / 'VOCshapes'}:val")
    found = [read_found(out / name, truth) for name in ("detections.json", "voc")]
    for one in found:
        assert len(one) == sum(len(one["scores"]) for one in expected)
        assert {one.images[i] for i in one.image_index} <= {file.stem for file in photographs[:3]}
    annotated = read_ground_truth(out / "annotations")
    assert (annotated.classes, len(annotated.images)) == (trained.classes, 3)
    assert len(annotated) == sum(int((one["scores"] >= 0.0002).sum()) for one in expected) > 0
    pictures = sorted((out / "pictures").iterdir())
    assert [file.name for file in pictures] == [file.name for file in photographs[:3]]
    assert read_photograph(pictures[0]).shape == read_photograph(photographs[0]).shape


@pytest.fixture
def predicted(run, photographs, within):
    """Runs predict.py on the first photographs: ``predicted(out, *words)``."""

    def call(out, *words, count=1):
        return within(predict, [run, *photographs[:count], "--score", 0.0001, "--out", out, *words])

    return call


def test_predict_on_a_video(run, within, tmp_path):
    file, out = write_video(tmp_path / "clip.mp4", 5), tmp_path / "out"
    words = (run, file, "--every", 2, "--score", 0.0001, "--draw-score", 0, "--out", out)
    assert within(predict, words).is_done()
    images = json.loads((out / "predictions.json").read_text())["images"]
    assert [(image["name"], image["frame"]) for image in images] == [
        (f"clip_{frame:06}", frame) for frame in (1, 3, 5)
    ]
    drawn = cv2.VideoCapture(str(out / "pictures" / "clip.mp4"))
    assert drawn.get(cv2.CAP_PROP_FRAME_COUNT) == 3
    assert {path.stem for path in (out / "annotations").glob("*.xml")} == {image["name"] for image in images}
    (tmp_path / "no.avi").write_bytes(b"no video" * 50)
    result = within(predict, [run, tmp_path / "no.avi", "--out", out, "--write", "json"])
    assert result.code == 1
    assert "no frame that can be decoded" in result.err
    assert json.loads((out / "predictions.json").read_text())["images"] == []
    assert not (out / "pictures").exists()


def test_kind_predict_deletes_no_corrections(predicted, photographs, tmp_path):
    """What was corrected in the folder of a prediction, or laid beside it, is left and named."""
    out = tmp_path / "out"
    again = partial(predicted, out, "--draw-score", 0.0002, count=2)
    assert again().is_done()
    assert again().is_done()  # as it was written, it is replaced
    text = out / "annotations" / f"{photographs[1].stem}.xml"
    for file, content in ((text, "<annotation/>"), (out / "pictures" / "mine.txt", "notes")):
        before = file.read_text() if file.exists() else None
        file.write_text(content)
        kept = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
        result = again()
        assert result.is_refused(f"error: {file}: found a file that was changed since", "--out")
        assert kept == {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
        file.write_text(before) if before is not None else file.unlink()
    (out / "annotations" / "link.xml").symlink_to(text)
    assert again().is_refused("link.xml: found a file that")
    (out / "annotations" / "link.xml").unlink()
    (out / "notes.txt").write_text("beside the results")
    (out / f".predict-{os.getpid()}").mkdir()  # of one that was killed
    assert again().is_done()
    assert (out / "notes.txt").is_file()


@contextlib.contextmanager
def full_after(size):
    """The system refuses files beyond a size, as where a disk is full."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def contents(folder):
    """What the files of a folder hold, by name."""
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize(
    ("size", "kinds", "named"),
    [
        (700, ["pictures"], "File too large"),
        (700, ["json"], "detections.json"),
        (250, ["xml"], ".xml: found File too large"),
        (900, ["video"], "clip.mp4"),
    ],
)
def test_kind_predict_where_there_is_no_room(size, kinds, named, run, photographs, within, tmp_path):
    """One line names the file; nothing incomplete is left, and an earlier prediction stays."""
    out, sources = tmp_path / "out", photographs[:2]
    if kinds == ["video"]:
        sources, kinds = [write_video(tmp_path / "clip.mp4", 12)], ["pictures"]
    words = (run, *sources, "--score", 0.0001, "--draw-score", 0, "--out", out, "--write", *kinds)
    for earlier in (False, True):
        if earlier:
            assert within(predict, words).is_done()
        kept = contents(out)
        with full_after(size):
            result = within(predict, words)
        assert result.is_refused(named, out)
        assert contents(out) == kept


def test_kind_predict_says_where_nothing_is_drawn(predicted, tmp_path):
    again = partial(predicted, tmp_path / "out", count=2)
    result = again("--draw-score", 0.99)
    images = json.loads((tmp_path / "out" / "predictions.json").read_text())["images"]
    best = max(found["score"] for image in images for found in image["detections"])
    assert f" files; none reaches --draw-score 0.99: the best has {best:.2g}\n" in result.out
    for words_more in (("--draw-score", 0), ("--draw-score", 0.99, "--write", "json")):
        assert "draw-score" not in again(*words_more).out
    nothing = again("--score", 1)
    assert ": 0 detections in 2 images of 2 files\n" in nothing.out


def test_names_that_formats_have_no_place_for(run, photographs, within, tmp_path):
    names = ["a b.jpg", "日本.jpg", "x\ny.jpg", "<script>&.jpg", "0012.jpg", "q.jpg", "q.png"]
    for name in names:
        shutil.copy(photographs[0], tmp_path / name)
    out = tmp_path / "out"
    words = (run, *(tmp_path / name for name in names), "--score", 0.0001, "--draw-score", 0, "--out", out)
    result = within(predict, words)
    assert result.code == 0, result.err
    assert "warning: no VOC text is written: image 'a b.jpg'" in result.err
    truth = read_ground_truth(out / "annotations")
    assert len(truth.images) == len(names)
    rows = json.loads((out / "detections.json").read_text())
    assert len({row["image_id"] for row in rows}) == len(names)


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        (("nowhere", "{photo}"), ["nowhere", "no such file or folder"]),
        (("{run}", "absent.jpg"), ["absent.jpg", "no such file or folder"]),
        (("{run}", "{run}/detections"), ["a folder without photographs"]),
        (("{run}", "{photo}", "--out", "{run}"), ["a folder that holds something else"]),
        (("{run}", "{photo}", "--score", "2"), ["--score", "a number from 0 to 1"]),
        (("{run}", "{photo}", "--write", "yolo"), ["--write", "some of pictures, json, voc, xml"]),
        (("{run}", "{photo}", "--device", "quantum"), ["--device", "quantum"]),
        (("{run}", "{photo}", "--conf", "0.5"), ["--conf", "--score"]),
        (("{run}", "{photo}", "--half"), ["--half: found no such option; expected one of those in --help\n"]),
        (("{run}",), ["sources"]),
    ],
)
def test_predict_refuses_what_cannot_be_meant(words, parts, run, photographs, within):
    words = [word.format(run=run, photo=photographs[0]) for word in words]
    assert within(predict, words).is_refused(*parts)


# ---------------------------------------------------------------- export


@pytest.fixture(autouse=True)
def no_traces(monkeypatch):
    """torch writes long traces of an export for the handlers that pytest has."""
    monkeypatch.setattr(logging.getLogger("torch.__trace"), "disabled", True)


@pytest.fixture(scope="session")
def onnxruntime():
    pytest.importorskip("onnx")
    pytest.importorskip("onnxscript")
    return pytest.importorskip("onnxruntime")


def squares(files: list[Path], size: int = 64) -> np.ndarray:
    """What a program with nothing but OpenCV and Pillow gives to the exported network."""
    return np.stack([resize(read_photograph(file), size).transpose(2, 0, 1) for file in files])


LABELIMG = (
    "<annotation><folder>photos</folder><filename>{}</filename><path>/home/me/{}</path>"
    "<source><database>Unknown</database></source>{}"
)


@pytest.fixture(scope="session")
def labelimg(scenes, tmp_path_factory):
    """Photographs with the XML of LabelImg beside them: a folder to train on and one to test on."""
    folder, tree = tmp_path_factory.mktemp("labelimg"), scenes / "VOCshapes"
    for split, name in (("train", "photos"), ("val", "put aside")):
        (folder / name).mkdir()
        for image in (tree / "ImageSets" / "Main" / f"{split}.txt").read_text().split():
            shutil.copy(tree / "JPEGImages" / f"{image}.jpg", folder / name)
            text = (tree / "Annotations" / f"{image}.xml").read_text()
            picture = f"{image}.jpg"
            text = LABELIMG.format(picture, picture, text[text.index("<size>") :])
            (folder / name / f"{image}.xml").write_text(text)
        shutil.copy(tree / "classes.yaml", folder / name)
    return folder / "photos", folder / "put aside"


TINY = "--arch resnet18 --width 0.25 --head-channels 64 --input-size 64 --batch-size 4 --workers 0"


BACKBONE = """
from torch import nn
from torchvision.models.resnet import BasicBlock

def make():
    return nn.Sequential(nn.Conv2d(3, 8, 32, 32), BasicBlock(8, 8))
"""


def test_a_new_users_afternoon(labelimg, root, within, onnxruntime, undrawn, tmp_path, monkeypatch):
    """The README's lines: photographs, training, boxes, an ONNX file with the same boxes, a diagnosis.

    With a small backbone of one's own: tracing a ResNet takes ten seconds more.
    """
    lines = re.search(
        r"```bash\n(python train_detect.py --train photos.*?)```", (root / "README.md").read_text(), re.S
    )
    verify, *words = [line.partition("#")[0].split() for line in lines[1].splitlines()]
    assert verify[-1] == "--verify"
    assert [line[1] for line in words] == ["train_detect.py", "predict.py", "export.py", "-m"]
    (tmp_path / "afternoon_network.py").write_text(BACKBONE)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    for name, folder in zip(("photos", "aside"), labelimg, strict=True):
        Path(name).symlink_to(folder)
    own, run = ("--backbone", "afternoon_network:make"), Path("runs/mine")
    result = within(train_detect, verify[2:])
    assert (result.code, result.err) == (0, "")
    assert "0 errors, 0 remarks" in result.out
    tiny = TINY.replace(
        "--arch resnet18 --width 0.25", "--shuffle last --epochs 1 --max-steps 2 --validation 0 --score false"
    )
    assert within(train_detect, [*words[0][2:], *own, *tiny.split()]).is_done()

    same = (*own, "--score", 0.0001, "--max-detections", 20, "--seed", 7)
    assert within(predict, [*words[1][2:], *same, "--write", "json", "pictures"]).is_done()
    images = json.loads((run / "predictions" / "predictions.json").read_text())["images"]
    assert len(images) == len(list((run / "predictions" / "pictures").iterdir())) == 6

    assert within(export, [*words[2][2:], *same]).is_done()
    session = onnxruntime.InferenceSession(run / "detector.onnx")
    facts = {name: json.loads(text) for name, text in session.get_modelmeta().custom_metadata_map.items()}
    assert (facts["input_size"], facts["draw"]) == (64, "fixed: seed 7, step 0")
    assert facts["nms"] == {"score": 0.0001, "iou": 0.5, "max_detections": 20}
    for some in (images[:1], images):  # any number of photographs
        files = [Path(image["file"]) for image in some]
        found = session.run(["image", "boxes", "scores", "labels"], {"images": squares(files)})
        assert len(found[0]) == sum(len(image["detections"]) for image in some) > 0
        for number, one in enumerate(some):
            boxes, scores, labels = (column[found[0] == number] for column in found[1:])
            scale = np.tile([one["width"], one["height"]], 2) / facts["input_size"]
            expected = [detection["box"] for detection in one["detections"]]
            np.testing.assert_allclose(boxes * scale, expected, atol=1e-2)
            names = [facts["classes"][label] for label in labels]
            assert names == [detection["name"] for detection in one["detections"]]
            shown = [detection["score"] for detection in one["detections"]]
            np.testing.assert_allclose(scores, shown, atol=1e-4)

    guide = (root / "docs" / "tutorials" / "train-on-voc.md").read_text()
    snippet = re.search(r"```text\n(session = onnxruntime.*?)```", guide, re.S)[1]
    pixels = read_photograph(files[0])
    for photograph in (pixels, cv2.resize(pixels, (150, 40)), cv2.resize(pixels, (30, 40))):
        known = {"onnxruntime": onnxruntime, "json": json, "cv2": cv2, "numpy": np, "photograph": photograph}
        exec(snippet, known)
        (one,) = detector.load(run, backbone=own[1]).predict([photograph], 0.0001, 0.5, 20, seed=7)
        np.testing.assert_allclose(known["boxes"], one["boxes"], atol=1e-2)

    assert within(diagnose, [*words[3][3:], "--replicates", 0]).is_done()
    assert Path("report/report.html").is_file()


def as_coco(truth, folder):
    """Its photographs in a folder, instances_NAME.json in another, the ids of categories with gaps."""
    (folder / "annotations").mkdir(parents=True)
    (folder / "images").mkdir()
    for file in truth.files:
        shutil.copy(file, folder / "images")
    path = folder / "annotations" / "instances_own.json"
    write_coco_ground_truth(truth, path)
    content = json.loads(path.read_text())
    for row in (*content["categories"], *content["annotations"]):
        row["id" if "name" in row else "category_id"] = 7 * row["id" if "name" in row else "category_id"] + 3
    path.write_text(json.dumps(content))
    return str(path)


def as_yolo(truth, folder):
    """data.yaml of Ultralytics; its boxes as fractions."""
    (folder / "images").mkdir(parents=True)
    (folder / "labels").mkdir()
    sides = np.tile(truth.sizes[truth.image_index], 2)
    left, top, right, bottom = (truth.boxes / sides).T
    rows = np.column_stack([(left + right) / 2, (top + bottom) / 2, right - left, bottom - top])
    for number, file in enumerate(map(Path, truth.files)):
        shutil.copy(file, folder / "images")
        lines = [
            f"{truth.labels[row]} {' '.join(map(repr, rows[row].tolist()))}"
            for row in np.flatnonzero(truth.image_index == number)
        ]
        (folder / "labels" / f"{file.stem}.txt").write_text("\n".join(lines))
    names = "".join(f"  {number}: {name}\n" for number, name in enumerate(truth.classes))
    (folder / "data.yaml").write_text(f"path: .\ntrain: images\nnames:\n{names}")
    return f"{folder / 'data.yaml'}:train"


@pytest.mark.usefixtures("unscored")
def test_coco_and_yolo_data_are_trained_on(labelimg, within, log_of, tmp_path):
    """A step from the same start as with the XML of LabelImg has the same loss, but for the rounding."""
    losses, written = [], {"xml": labelimg}
    for name, write in (("coco", as_coco), ("yolo", as_yolo)):
        written[name] = [write(read_ground_truth(part), tmp_path / name / part.name) for part in labelimg]
    for name, (train, test) in written.items():
        out = tmp_path / f"run of {name}"
        words = f"{TINY} --max-steps 1 --validation 0 --augment false".split()
        assert within(train_detect, ["--train", train, "--test", test, "--out", out, *words]).is_done(
            "6 to test"
        )
        losses.append(log_of(out)[0]["loss"])
    assert losses[1:] == pytest.approx([losses[0]] * 2, rel=1e-4)


def test_kind_boxes_without_photographs(labelimg, within, tmp_path):
    """Also with --verify, which said that nothing is wrong."""
    photos, aside = labelimg
    file = as_coco(read_ground_truth(aside), tmp_path / "with" / "photographs")
    alone = tmp_path / "boxes.json"
    shutil.copyfile(file, alone)
    words = ["--out", tmp_path / "run", *TINY.split()]
    for further in [], ["--verify"]:
        result = within(train_detect, ["--train", photos, "--test", alone, *words, *further])
        assert result.is_refused(
            f"--test {alone}: found no image file ",
            f".jpg in {tmp_path} or {tmp_path.parent}, nor in a folder images, data, boxes, images/boxes the",
            "expected the photographs in one of these",
        )
    content = json.loads(alone.read_text())
    alone.write_text(json.dumps(content | {"images": [one | {"file_name": ""} for one in content["images"]]}))
    result = within(train_detect, ["--train", alone, "--test", aside, *words])
    assert result.is_refused(f"--train {alone}: found no names of image files")


def test_data_of_ones_own(labelimg, within, tmp_path):
    """A test set may lack a class; photographs that are trained on are refused."""
    photos, aside = labelimg
    few = tmp_path / "few"
    shutil.copytree(aside, few)
    (few / "classes.yaml").unlink()
    for file in sorted(few.glob("*.xml"))[1:]:
        file.unlink()
        file.with_suffix(".jpg").unlink()
    options = Options.from_flat({"train": [str(photos)], "test": [str(few)]})
    data = read_run_ground_truth(options.data, seed=0)
    whole, part = read_ground_truth(aside), data.test
    assert (part.classes, len(part.images)) == (data.train.classes, 1)
    assert set(read_ground_truth(few).classes) < set(data.train.classes)
    names = [whole.classes[label] for label in whole.labels[whole.image_index == 0]]
    assert [part.classes[label] for label in part.labels] == names
    out = tmp_path / "run"
    result = within(train_detect, ["--train", photos, "--test", photos, "--out", out, *TINY.split()])
    assert result.is_refused("--test", ".jpg in two of the lists", "put some aside")
    lists = Options.from_flat({**options.flat(), "validation_lists": [str(aside)]})
    with pytest.raises(
        InputError, match=r"--validation-lists .*put aside: found .*\.jpg in two of the lists"
    ):
        read_run_ground_truth(replace(lists.data, test=[str(aside)]), seed=0)
    chosen = read_run_ground_truth(lists.data, seed=0)
    assert chosen.validation.images == whole.images
    assert chosen.validation.classes == chosen.train.classes
    assert chosen.train.images == read_ground_truth(photos).images
    words = ["--train", photos, aside, "--test", few, "--out", out]
    assert within(train_detect, words).is_refused("--train", "one data set")
    file = sorted(few.glob("*.xml"))[0]
    text = file.read_text()
    file.write_text(re.sub("<object>.*</object>", "", text, flags=re.DOTALL))  # then VOC's are its classes
    part = read_run_ground_truth(options.data, seed=0).test
    assert (part.classes, len(part)) == (data.train.classes, 0)
    file.write_text(text.replace("<name>" + names[0], "<name>unheard of"))
    result = within(train_detect, ["--train", photos, "--test", few, "--out", out, *TINY.split()])
    warning, error = result.err.splitlines()
    assert warning.startswith(f"warning: {few}: the classes are those that occur, as no classes.yaml names")
    assert result.code == 2
    assert error.startswith(f"error: --test {few}: found unheard of, which the other images do not have")
    assert not out.exists()


def test_training_without_test_images(labelimg, within, tmp_path, undrawn):
    """They may come later."""
    photos, aside = labelimg
    out = tmp_path / "run"
    words = ["--train", photos, "--out", out, "--max-steps", 1, *TINY.split()]
    assert within(train_detect, words).is_refused("--test: found nothing; expected data", "or --score false")
    assert within(train_detect, [*words, "--score", "false"]).is_done(
        "to validate, 0 to test", f"--evaluate {out} --test PATH does it"
    )
    assert within(train_detect, [*words, "--score", "false", "--verify"]).is_done()
    assert within(train_detect, ["--evaluate", out]).is_refused("--test: found nothing; expected the data")
    assert within(train_detect, ["--resume", out, "--max-steps", 2]).is_done()
    assert within(train_detect, ["--evaluate", out, "--test", aside]).is_done()
    assert (out / "evaluation" / "scores.json").is_file()


def tiny_detector(channels: int, grid: int) -> TrainedDetector:
    """Of images of 64 pixels; never trained."""
    side = 64 // grid
    backbone = Backbone(torch.nn.Conv2d(3, channels, side, side), channels)
    network = detector.YOLO(backbone, classes=3, grid=grid, head_channels=8).eval()
    return TrainedDetector(network, ("a", "b", "c"), 64, {}, Path("last.ckpt"), 1)


def test_a_program_of_torch_export_gives_boxes_and_scores(photographs, tmp_path):
    trained = tiny_detector(8, 2)
    file = trained.export(tmp_path / "detector.pt2")
    boxes, scores = torch.export.load(file).module()(torch.from_numpy(squares(photographs[:3])))
    assert (boxes.shape, scores.shape) == ((3, 8, 4), (3, 8, 3))
    for one, found in zip(scores, trained.predict(photographs[:3], 0.0), strict=True):
        assert one.max().item() == pytest.approx(float(found["scores"].max()), abs=1e-5)


@pytest.mark.parametrize("many", [True, False])
def test_kind_a_program_of_torch_export_needs_nothing_of_this_package(many, photographs, tmp_path):
    """With non-maximum suppression, torch and torchvision are enough; also where an image has nothing."""
    torch.manual_seed(0)
    trained = tiny_detector(8, 8)
    network = trained.network
    images = torch.from_numpy(squares(photographs[:3]))
    highest = [float(own["scores"].max()) for own in network.predict(images, 0.0)]
    least = 0.0 if many else sorted(highest)[-1]
    limits = {"score_threshold": least, "iou_threshold": 0.4, "max_detections": 20}
    trained.export(tmp_path / "detector.pt2", nms=True, **limits)
    torch.save(images, tmp_path / "images.pt")
    (tmp_path / "run.py").write_text(
        "import sys, torch, torchvision\n"
        "found = torch.export.load('detector.pt2').module()(torch.load('images.pt'))\n"
        "assert not {'detector', 'data', 'training'} & set(sys.modules)\n"
        "torch.save(found, 'found.pt')\n"
    )
    subprocess.run([sys.executable, "run.py"], cwd=tmp_path, check=True)
    image, *found = torch.load(tmp_path / "found.pt")
    owns = network.predict(images, **limits)
    assert [len(own["scores"]) for own in owns] == (
        [20] * 3 if many else [int(one == least) for one in highest]
    )
    for number, own in enumerate(owns):
        for one, name in zip(found, ("boxes", "scores", "labels"), strict=True):
            torch.testing.assert_close(one[image == number], own[name], atol=1e-4, rtol=0)


@pytest.mark.parametrize("suffix", [".onnx", ".pt2"])
def test_kind_export_where_there_is_no_room(suffix, onnxruntime, tmp_path):
    """The file is named, nothing incomplete is left, and an earlier file stays."""
    trained = tiny_detector(64, 2)
    file = tmp_path / f"detector{suffix}"
    for earlier in (b"", b"of yesterday"):
        if earlier:
            file.write_bytes(earlier)
        with full_after(100_000), pytest.raises(ExportError, match=f"{file}: found File too large; expected"):
            trained.export(file)
        assert [path.read_bytes() for path in tmp_path.iterdir()] == [earlier] * bool(earlier)


@pytest.mark.parametrize("number", ["SIGINT", "SIGTERM"])
@pytest.mark.parametrize("command", [predict, export])
def test_kind_a_signal_ends_predict_and_export_in_a_line(
    command, number, run, photographs, within, tmp_path, monkeypatch
):
    def load(*_):
        os.kill(os.getpid(), getattr(signal, number))
        time.sleep(5)

    monkeypatch.setattr("training.predict.load_detector", load)
    monkeypatch.setattr("training.export.load_detector", load)
    out = tmp_path / ("a.onnx" if command is export else "out")
    result = within(command, [run, *photographs[:1] * (command is predict), "--out", out])
    written = "no file was written" if command is export else "nothing was written"
    assert (result.code, result.err) == (128 + getattr(signal, number), f"stopped by {number}; {written}\n")


@pytest.mark.parametrize("number", ["SIGINT", "SIGTERM"])
def test_kind_a_signal_while_a_prediction_replaces_another(number, predicted, tmp_path, monkeypatch):
    """The exchange ends first, and the line says so."""
    out, words = tmp_path / "out", ("--draw-score", 0)
    assert predicted(tmp_path / "new", *words, "--nms", 0.3, count=2).is_done()
    new = contents(tmp_path / "new")
    assert predicted(out, *words, count=2).is_done()
    assert contents(out) != new
    move, moves = Path.replace, count()

    def interrupted(source, target):
        if out in source.parents and source.name in RESULTS and next(moves) == 2:
            os.kill(os.getpid(), getattr(signal, number))
        return move(source, target)

    monkeypatch.setattr(Path, "replace", interrupted)
    result = predicted(out, *words, "--nms", 0.3, count=2)
    said = f"stopped by {number}; the prediction in {out} is complete\n"
    assert (result.code, result.err) == (128 + getattr(signal, number), said)
    assert contents(out) == new
    assert not [*out.glob(".*")]


@pytest.mark.parametrize("fails_at", range(9))
def test_kind_an_exchange_that_fails_leaves_the_earlier_prediction(
    fails_at, predicted, tmp_path, monkeypatch
):
    words = (tmp_path, "--draw-score", 0)
    assert predicted(*words).is_done()
    earlier = contents(tmp_path)
    move, moves = Path.replace, count()

    def refused(source, target):
        if tmp_path in source.parents and source.name in RESULTS and next(moves) == fails_at:
            raise OSError(errno.EPERM, "Operation not permitted", str(source))
        return move(source, target)

    monkeypatch.setattr(Path, "replace", refused)
    result = predicted(*words, "--nms", 0.3)
    assert result.is_refused("Operation not permitted; expected a folder to write to, by --out")
    assert contents(tmp_path) == earlier


def test_kind_predict_into_a_pipe_that_nobody_reads(run, photographs, tmp_path, monkeypatch):
    """It was said that the folder has no room."""

    def closed(*words, file=None, **named):
        if file is None:
            raise BrokenPipeError(errno.EPIPE, "Broken pipe")

    monkeypatch.setattr("builtins.print", closed)
    words = map(str, (run, *photographs[:1], "--write", "json", "--out", tmp_path))
    monkeypatch.setattr("training.command.leave_pipe", lambda then: None)
    assert predict(list(words)) == 1
    assert (tmp_path / "predictions.json").is_file()


def test_two_predictions_in_one_folder(predicted, tmp_path):
    with locked(tmp_path):
        result = predicted(tmp_path)
    assert result.is_refused(tmp_path, "another process works in this folder", "another --out")


def test_export_refuses(run, trained, within, tmp_path, monkeypatch):
    assert within(export, (run, "--out", tmp_path / "a.pb")).is_refused("--out", "ends in .onnx")
    assert within(export, (run, "--format", "tflite")).is_refused("--format", "onnx, torch")
    assert within(export, (tmp_path,)).is_refused("a folder without checkpoints")
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    result = within(export, (run, "--out", tmp_path / "a.onnx"))
    assert result.is_refused("no package onnxruntime", "the extra 'export'")
    other = type("", (), {"module": lambda self: lambda images: (torch.zeros(len(images), 8, 4),) * 2})()
    monkeypatch.setattr("torch.export.load", lambda path: other)
    with pytest.raises(ExportError, match="found other outputs than the network has"):
        trained.export(tmp_path / "a.pt2")
    assert not (tmp_path / "a.pt2").exists()
