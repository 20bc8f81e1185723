"""What comes after a training: loading it in a line, boxes on photographs."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import detector
from data.augment import eval_transform
from detector.networks import WeightsError
from detector.trained import read_photograph, resize


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
