"""``--input fast``: decoded images in a cache, colours by one matrix; the reference is the standard input."""

import os

import cv2
import numpy as np
import pytest
from PIL import Image, ImageOps

import data.detection
from data.augment import Augmentation, eval_transform, train_transform
from data.detection import DetectionDataset, ImageCache, cached_images, read_image, verify_images
from data.formats import read_ground_truth
from data.records import GroundTruth, InputError
from tests.data.scenes import coco_object, save_turned, truth_of, voc_xml, write_coco


def photograph(width, height, seed=0):
    """Smooth noise in colour."""
    small = np.random.default_rng(seed).integers(0, 256, (height // 16, width // 16, 3), np.uint8)
    return cv2.resize(small, (width, height), interpolation=cv2.INTER_CUBIC)


@pytest.fixture
def truth(tmp_path):
    """Four photographs of two sizes, an object each."""
    sizes = [(160, 120), (640, 320)] * 2
    files = [tmp_path / f"{number}.jpg" for number in range(4)]
    for number, (file, size) in enumerate(zip(files, sizes, strict=True)):
        Image.fromarray(photograph(*size, number)).save(file, quality=95)
    boxes = [[w / 4, h / 4, w / 2, h / 2] for w, h in sizes]
    names = [file.stem for file in files]
    return GroundTruth(names, ["thing"], sizes, range(4), [0] * 4, boxes, files=files)


def test_boxes_are_those_of_the_reference_and_colours_match_in_distribution():
    image, boxes = photograph(100, 80), np.array([[10.0, 20, 60, 70], [50, 5, 90, 30]])
    fast, reference = (train_transform(64, seed=3, fast=fast) for fast in (True, False))
    found = {"fast": [], "reference": []}
    for index in range(300):
        results = {"fast": fast(image, boxes, (1, index)), "reference": reference(image, boxes, (1, index))}
        assert np.array_equal(results["fast"][1], results["reference"][1])
        assert np.array_equal(results["fast"][2], results["reference"][2])
        for name, (pixels, _, _) in results.items():
            grey = pixels.mean(2)
            saturation = (pixels.max(2).astype(int) - pixels.min(2)).mean()
            edges = np.abs(np.diff(grey, axis=1)).mean()
            found[name].append([*pixels.mean((0, 1)), *pixels.std((0, 1)), saturation, edges])
    quantiles = {name: np.quantile(rows, [0.1, 0.5, 0.9], axis=0) for name, rows in found.items()}
    spread = np.std(found["reference"], axis=0)
    # 300 draws: the standard error of a difference of quantiles is about 0.14 of the spread.
    assert (np.abs(quantiles["fast"] - quantiles["reference"]) < 0.4 * spread).all()


@pytest.mark.parametrize("only", ["brightness", "contrast", "saturation", "hue"])
def test_each_change_alone_has_the_strength_of_the_reference(only):
    zero = dict.fromkeys(("brightness", "contrast", "saturation", "hue", "blur"), 0.0)
    strength = Augmentation(**{**zero, only: 0.1 if only == "hue" else 0.5, "flip": 0, "translate": 0})
    image = photograph(64, 64) // 3 + 80  # nothing is clipped
    spreads = []
    for fast in (True, False):
        change = train_transform(32, strength, fast=fast)
        results = np.stack([change(image, np.zeros((0, 4)), index)[0] for index in range(150)]).astype(float)
        difference = results - results.mean(0)
        spreads.append(np.sqrt((difference**2).mean()))
    assert spreads[0] == pytest.approx(spreads[1], rel=0.15)


def test_reduced_decoding_covers_the_whole_image_exactly(tmp_path):
    for width, height in ((641, 483), (640, 480), (1000, 70)):
        ramp = np.linspace(0, 255, width)[None, :, None].repeat(height, 0).repeat(3, 2)
        file = tmp_path / f"{width}.jpg"
        Image.fromarray(ramp.round().astype(np.uint8)).save(file, quality=98)
        found = read_image(file, (width, height), 100).astype(float)
        assert found.shape == (min(height, 100), 100, 3)
        centres = (np.arange(100) + 0.5) * width / 100 - 0.5  # in pixels of the whole image
        expected = np.interp(centres, np.arange(width), ramp[0, :, 0])
        assert np.abs(found[found.shape[0] // 2, 2:-2, 0] - expected[2:-2]).max() < 1.6


def test_a_turned_photograph_is_reduced_as_shown(tmp_path):
    file = save_turned(photograph(320, 160), tmp_path / "turned.jpg", 6, quality=95)
    whole, reduced = read_image(file, (160, 320)), read_image(file, (160, 320), 100)
    assert reduced.shape == (100, 100, 3)
    shrunk = cv2.resize(whole, (100, 100), interpolation=cv2.INTER_AREA)
    assert np.abs(reduced.astype(int) - shrunk).mean() < 4


def test_the_cache_gives_what_the_files_give(truth, tmp_path):
    cache = cached_images(truth, 200, tmp_path / "cache")
    assert [cache[index].shape for index in range(4)] == [(120, 160, 3), (200, 200, 3)] * 2
    transform = train_transform(64, fast=True)
    cached, plain = DetectionDataset(truth, transform, cache), DetectionDataset(truth, transform)
    for index, tolerance in ((0, 0), (1, 0.5)):
        boxes, reference = (dataset[2, index]["boxes"].numpy() for dataset in (cached, plain))
        assert boxes == pytest.approx(reference, abs=tolerance), "whole pixels of another size"
    assert np.array_equal(cached[2, 0]["image"], plain[2, 0]["image"])


def test_photographs_that_are_annotated_as_shown_are_trained_as_shown(tmp_path):
    pixels = photograph(160, 320)
    save_turned(np.rot90(pixels, -1), tmp_path / "turned.png", 8)  # shown turned to the left
    Image.fromarray(pixels).save(tmp_path / "upright.png")
    images = []
    for name in ("turned", "upright"):
        truth = truth_of(tmp_path / f"{name}.png", (160, 320))
        caches = (None, cached_images(truth, 320, tmp_path / "cache"))
        images += [DetectionDataset(truth, eval_transform(64), cache)[0]["image"] for cache in caches]
    assert all(image.equal(images[-1]) for image in images)


def test_a_cache_is_made_once_and_again_only_when_it_no_longer_fits(truth, tmp_path, monkeypatch, capsys):
    folder, made = tmp_path / "cache", []
    original = data.detection.read_image
    monkeypatch.setattr(data.detection, "read_image", lambda *a: made.append(a[0]) or original(*a))
    cached_images(truth, 200, folder)
    cached_images(truth, 200, folder)
    assert len(made) == 4
    assert len(list(folder.glob("[!.]*"))) == 1
    cached_images(truth, 100, folder)  # another key
    assert (len(made), len(list(folder.glob("[!.]*")))) == (8, 2)
    os.utime(truth.files[2], ns=(1, 1))
    with pytest.raises(InputError, match=r"found a cache from before .*2\.jpg changed; expected delete"):
        ImageCache(truth, 200, folder)
    cached_images(truth, 200, folder)
    assert len(made) == 12
    assert "changed; made anew" in capsys.readouterr().out
    pixels = cached_images(truth, 200, folder).folder / "pixels"
    content = bytearray(pixels.read_bytes())
    content[10] ^= 255
    pixels.write_bytes(content)
    damaged = cached_images(truth, 200, folder)
    with pytest.raises(InputError, match=r"found a damaged cache \(image 0\); expected delete this folder"):
        damaged[0]
    pixels.write_bytes(content[:-1])
    with pytest.raises(InputError, match="found a damaged cache"):
        ImageCache(truth, 200, folder)


def yolo(folder):
    (folder / "a.txt").write_text("0 0.25 0.25 0.2 0.2\n")
    (folder / "data.yaml").write_text("path: .\nval: .\nnames: [thing]\n")
    return folder / "data.yaml"


def coco(folder):
    image = {"id": 1, "file_name": "a.png"}
    return write_coco(folder, [coco_object(1, 1, [4, 4, 20, 20])], [image], [{"id": 1, "name": "thing"}])


def labelimg(folder):
    (folder / "a.xml").write_text(voc_xml([("thing", [5, 5, 24, 24])], None))
    return folder


@pytest.mark.parametrize("write", [yolo, coco, labelimg])
@pytest.mark.parametrize(
    ("sides", "orientation"), [((96, 64), 4), ((96, 64), 3), ((64, 64), 8), ((96, 64), 5)]
)
def test_where_the_picture_gives_the_size_it_is_trained_as_shown(tmp_path, write, sides, orientation):
    """Also where it is as large as stored: square, mirrored, or upside down."""
    save_turned(photograph(*sides), tmp_path / "a.png", orientation)
    truth = read_ground_truth(write(tmp_path))
    with Image.open(tmp_path / "a.png") as stored:
        Image.fromarray(np.asarray(ImageOps.exif_transpose(stored))).save(tmp_path / "shown.png")
    upright = truth_of(tmp_path / "shown.png", truth.sizes[0])
    expected = DetectionDataset(upright, eval_transform(64))[0]["image"]
    for part in (truth, truth.select([0]), truth.with_classes(("thing",), truth.labels)):
        for cache in (None, cached_images(part, 200, tmp_path / "cache")):
            assert DetectionDataset(part, eval_transform(64), cache)[0]["image"].equal(expected)
    assert verify_images({"training": truth})[0] == []


@pytest.mark.parametrize("sides", [(320, 160), (80, 40)], ids=["both cut to the limit", "below it"])
def test_a_cache_is_made_anew_where_another_size_is_annotated(tmp_path, capsys, sides):
    """Of a photograph that EXIF turns it decides which way the pixels are."""
    file = save_turned(photograph(*sides), tmp_path / "turned.png", 8)
    for size in (sides, sides[::-1]):
        cache = cached_images(truth_of(file, size), 100, tmp_path / "cache")
        assert np.array_equal(cache[0], read_image(file, size, 100))
    assert capsys.readouterr().out.endswith(f"the annotated size of {file} changed; made anew\n")


def test_too_little_room_is_said_before_anything_is_decoded(truth, tmp_path, monkeypatch):
    monkeypatch.setattr("shutil.disk_usage", lambda folder: type("Usage", (), {"free": 1000}))
    with pytest.raises(InputError, match=r"^--cache: found .* MiB free in .*; or --input standard"):
        cached_images(truth, 200, tmp_path / "cache")
