"""What comes after a training: loading it in a line, boxes on photographs."""

import json
import shutil
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

import detector
from data.augment import eval_transform
from data.formats import read_found, read_ground_truth
from detector.export import ExportError
from detector.networks import WeightsError
from detector.trained import read_photograph, resize
from training.export import main as export
from training.predict import main as predict


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


def test_kind_16_a_run_is_loaded_by_its_path(run, scenes, photographs):
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


HYPER = {"model": {"arch": "resnet18", "width": 0.25}, "classes": ["a"], "input_size": 64}


@pytest.mark.parametrize(
    ("make", "found"),
    [
        (None, "no such file or folder"),
        (damage, "a damaged file: its checksum differs"),
        (lambda path: path.write_bytes(path.read_bytes()[:999]), "cut short"),
        (lambda path: path.write_text("hello"), "cut short, damaged or made by another program"),
        (save(weight=torch.zeros(1)), "without state_dict and hyper_parameters"),
        (save(state_dict={}, hyper_parameters={"classes": ["a"]}), "no model in its hyper_parameters"),
        (save(state_dict={}, hyper_parameters=HYPER), "what makes no detector"),
        (save(state_dict={}, hyper_parameters=HYPER | {"input_size": -3}), "what makes no detector"),
        (
            save(state_dict={}, hyper_parameters=HYPER | {"model": {"arch": "vgg"}}),
            "architecture must be one of resnet18",
        ),
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
        (np.zeros((4, 4, 3)), "found float64"),
        (np.zeros((4, 4, 4), np.uint8), r"found uint8 of shape \(4, 4, 4\)"),
        (torch.zeros(4, 4, 3, dtype=torch.uint8), "expected a tensor"),
        (torch.zeros(3, 4, 4), "found float32"),
        (np.zeros((0, 4, 3), np.uint8), "found an image of shape"),
        (Image.new("I;16", (4, 4)), "found pixels of mode 'I;16'"),
    ],
)
def test_what_is_no_photograph(image, found, trained):
    with pytest.raises(ValueError, match=found):
        trained.predict(image)


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


def test_predict_on_a_video(run, within, tmp_path):
    file, out = write_video(tmp_path / "clip.mp4", 5), tmp_path / "out"
    words = (run, file, "--every", 2, "--score", 0.0001, "--draw-score", 0, "--out", out)
    assert within(predict, words).code == 0
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
        (("{run}",), ["sources"]),
    ],
)
def test_predict_refuses_what_cannot_be_meant(words, parts, run, photographs, within):
    words = [word.format(run=run, photo=photographs[0]) for word in words]
    assert within(predict, words).is_refused(*parts)


# ---------------------------------------------------------------- export


@pytest.fixture(scope="session")
def onnxruntime():
    pytest.importorskip("onnx")
    pytest.importorskip("onnxscript")
    return pytest.importorskip("onnxruntime")


def squares(files: list[Path], size: int = 64) -> np.ndarray:
    """What a program with nothing but OpenCV and Pillow gives to the exported network."""
    return np.stack([resize(read_photograph(file), size).transpose(2, 0, 1) for file in files])


def test_onnx_finds_the_same_boxes(run, trained, photographs, onnxruntime, within, tmp_path):
    """With non-maximum suppression, for any number of images; the metadata say how to use it."""
    file = tmp_path / "detector.onnx"
    words = (run, "--nms", "--score", 0.0001, "--max-detections", 20, "--seed", 7, "--out", file)
    result = within(export, words)
    assert result.code == 0, result.err
    session = onnxruntime.InferenceSession(file)
    facts = {name: json.loads(text) for name, text in session.get_modelmeta().custom_metadata_map.items()}
    assert (facts["classes"], facts["input_size"]) == (list(trained.classes), 64)
    assert facts["draw"] == "fixed: seed 7, step 0"
    assert facts["mean"] == [0.485, 0.456, 0.406]
    assert facts["nms"] == {"score": 0.0001, "iou": 0.5, "max_detections": 20}
    for files in (photographs[:1], photographs[:5]):
        image, boxes, scores, labels = session.run(None, {"images": squares(files)})
        expected = trained.predict(files, 0.0001, max_detections=20, seed=7)
        assert len(image) == sum(len(one["scores"]) for one in expected) > 0
        for number, one in enumerate(expected):
            rows = image == number
            scale = np.tile(one["size"], 2) / 64
            np.testing.assert_allclose(boxes[rows] * scale, one["boxes"], atol=1e-2)
            np.testing.assert_allclose(scores[rows], one["scores"], atol=1e-4)
            assert [trained.classes[label] for label in labels[rows]] == one["names"]


def test_a_program_of_torch_export_gives_boxes_and_scores(trained, photographs, tmp_path):
    file = trained.export(tmp_path / "detector.pt2")
    images = torch.from_numpy(squares(photographs[:3]))
    boxes, scores = torch.export.load(file).module()(images)
    assert (boxes.shape, scores.shape) == ((3, 8, 4), (3, 8, len(trained.classes)))
    for one, found in zip(scores, trained.predict(photographs[:3], 0.0001), strict=True):
        assert one.max().item() == pytest.approx(float(found["scores"].max()), abs=1e-5)


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
