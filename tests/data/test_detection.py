"""Dataset, sampler and loaders: what arrives, in which order, and what happens to broken images."""

import io
import pickle

import numpy as np
import PIL
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from data.augment import eval_transform, train_transform
from data.detection import (
    DetectionDataset,
    collate,
    detection_loader,
    read_image,
    split_validation,
)
from data.records import GroundTruth, InputError
from tests.data.scenes import truth_of

COUNT = 11


def make_truth(folder, count=COUNT):
    """Images of 40×30 pixels, each of a grey of its own; image i has i % 3 objects."""
    files, image_index, labels, boxes, difficult = [], [], [], [], []
    for i in range(count):
        file = folder / f"{i:03}.png"
        Image.new("RGB", (40, 30), (10 * i,) * 3).save(file)
        files.append(file)
        for k in range(i % 3):
            image_index.append(i)
            labels.append(k)
            boxes.append([4 * k, 3 * k, 20, 15 + i % 5])
            difficult.append(k == 1)
    order = np.random.default_rng(0).permutation(len(boxes))  # rows need not be sorted by image
    return GroundTruth(
        [f"image{i}" for i in range(count)],
        ["cat", "dog"],
        [[40, 30]] * count,
        np.array(image_index)[order],
        np.array(labels)[order],
        np.array(boxes)[order],
        np.array(difficult)[order],
        files=files,
    )


@pytest.fixture(scope="module")
def truth(tmp_path_factory):
    return make_truth(tmp_path_factory.mktemp("images"))


@pytest.fixture
def dataset(truth):
    return DetectionDataset(truth, eval_transform(20))


def replace_file(truth, index, file):
    files = [*truth.files[:index], file, *truth.files[index + 1 :]]
    columns = truth.images, truth.classes, truth.sizes, truth.image_index, truth.labels, truth.boxes
    return GroundTruth(*columns, files=files)


# ---------------------------------------------------------------- items


@pytest.mark.parametrize(("images", "message"), [([], "empty list"), (["a"], "files: found none")])
def test_no_images_and_no_files(images, message):
    with pytest.raises(InputError, match=message):
        DetectionDataset(GroundTruth(images, ["cat"], [[4, 4]] * len(images), [], [], []), eval_transform(20))


def test_items_without_objects_and_their_batch(dataset):
    item = dataset[0]
    kinds = {name: (tuple(value.shape), value.dtype) for name, value in item.items() if name != "index"}
    assert kinds == {
        "image": ((3, 20, 20), torch.uint8), "boxes": ((0, 4), torch.float32), "labels": ((0,), torch.int64),
        "difficult": ((0,), torch.bool),
    }  # fmt: skip
    batch = collate([item, dataset[3]])
    assert batch["images"].shape == (2, 3, 20, 20)
    assert [len(target["boxes"]) for target in batch["targets"]] == [0, 0]
    assert (batch["index"].tolist(), batch["index"].dtype) == ([0, 3], torch.int64)


def test_item_with_objects(dataset):
    item = dataset[8]
    assert (item["image"] == 80).all()
    order = item["labels"].argsort()
    assert item["labels"][order].tolist() == [0, 1]
    assert item["difficult"][order].tolist() == [False, True]
    # 40×30 becomes 20×20
    np.testing.assert_allclose(item["boxes"][order], [[0, 0, 10, 12], [2, 2, 10, 12]], rtol=1e-6)


def test_channels_stay_in_order(tmp_path):
    pixels = np.zeros((20, 20, 3), np.uint8)
    pixels[:5, :, 0], pixels[:, :7, 1], pixels[10:, :, 2] = 200, 150, 90
    Image.fromarray(pixels).save(tmp_path / "a.png")
    image = DetectionDataset(truth_of(tmp_path / "a.png", (20, 20)), eval_transform(20))[0]["image"]
    np.testing.assert_array_equal(image.numpy(), pixels.transpose(2, 0, 1))


def test_a_key_may_be_an_index_and_a_dataset_pickles_and_ends(truth):
    """An index alone is one of epoch 0."""
    dataset = DetectionDataset(truth, train_transform(20))
    again = pickle.loads(pickle.dumps(dataset))
    assert torch.equal(dataset[4]["image"], again[0, 4]["image"])
    assert not torch.equal(dataset[4]["image"], dataset[1, 4]["image"])
    assert [item["index"] for item in (dataset)] == list(range(COUNT))


def test_crowds_count_as_difficult(truth):
    boxes = [[0, 0, 4, 4], [0, 0, 8, 8], [1, 1, 5, 5]]
    one = truth_of(truth.files[0], (40, 30), boxes, difficult=[0, 0, 1], crowd=[0, 1, 0])
    assert DetectionDataset(one, eval_transform(8))[0]["difficult"].tolist() == [False, True, True]


def test_boxes_dropped_by_the_transform_take_their_columns_along(tmp_path):
    Image.new("RGB", (100, 100)).save(tmp_path / "a.png")
    boxes = [[x, y, x + 10, y + 10] for x in range(0, 100, 10) for y in range(0, 100, 10)]
    labels = list(range(100))
    names = [f"class{i}" for i in labels]
    one = GroundTruth(["a"], names, [[100, 100]], [0] * 100, labels, boxes, files=[tmp_path / "a.png"])
    transform = train_transform(50)
    item = DetectionDataset(one, transform)[3, 0]
    _, moved, kept = transform(np.zeros((100, 100, 3), np.uint8), one.boxes, (3, 0))
    assert 0 < len(kept) < 100
    assert item["labels"].tolist() == kept.tolist()
    np.testing.assert_allclose(item["boxes"], moved, rtol=1e-6)


# ---------------------------------------------------------------- image files


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA", "CMYK", "YCbCr"])
def test_every_8_bit_mode_becomes_rgb(tmp_path, mode):
    colour = Image.new("RGB", (6, 4), (200, 100, 50)).convert(mode)
    file = tmp_path / ("a.tif" if mode in {"CMYK", "YCbCr"} else "a.png")
    colour.save(file)
    try:
        Image.open(file).load()
    except OSError:
        pytest.skip(f"Pillow {PIL.__version__} cannot read the file that it wrote")
    for size in ((6, 4), None):
        pixels = read_image(file, size)
        assert pixels.shape == (4, 6, 3)
        np.testing.assert_allclose(pixels, np.asarray(colour.convert("RGB")), atol=3)


def test_16_bits_are_refused(tmp_path):
    Image.fromarray(np.full((4, 4), 4000, np.uint16)).save(tmp_path / "deep.png")
    with pytest.raises(InputError, match=r"deep.png: found pixels of mode 'I;16'"):
        read_image(tmp_path / "deep.png")


def jpeg(size=(40, 30)):
    buffer = io.BytesIO()
    noise = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    Image.fromarray(noise).save(buffer, "JPEG")
    return buffer.getvalue()


@pytest.mark.parametrize(
    "content",
    [
        *(jpeg()[: int(share * len(jpeg()))] for share in (0.0, 0.05, 0.5, 0.9, 0.99)),
        *(b"<html>404</html>", b"\x89PNG\r\n\x1a\n" + b"\0" * 40, b"BM" + b"\xff" * 60),
    ],
)
def test_a_truncated_jpeg_and_what_is_no_image_are_named(tmp_path, content):
    (tmp_path / "x.jpg").write_bytes(content)
    with pytest.raises(InputError, match=r"x.jpg: found an image that cannot be decoded \(.+\)") as raised:
        read_image(tmp_path / "x.jpg")
    assert "\n" not in str(raised.value)


def test_another_size_than_annotated_is_named(tmp_path):
    (tmp_path / "x.jpg").write_bytes(jpeg((30, 40)))
    with pytest.raises(InputError, match=r"x.jpg: found an image of 30x40 pixels; expected 40x30"):
        read_image(tmp_path / "x.jpg", (40, 30))


def test_a_missing_image_is_named_before_anything_starts(truth, tmp_path):
    with pytest.raises(InputError, match=r"gone.jpg: found no such file"):
        DetectionDataset(replace_file(truth, 3, tmp_path / "gone.jpg"), eval_transform(20))


# ---------------------------------------------------------------- batches


@pytest.mark.parametrize("broken", [True, False], ids=["broken", "gone"])
@pytest.mark.parametrize("workers", [0, 1])
def test_an_image_that_cannot_be_read_ends_the_loader_with_its_own_error(truth, tmp_path, workers, broken):
    """Whether it is no image, or was removed while the training ran."""
    file = tmp_path / "bad.jpg"
    file.write_bytes(jpeg()[:300])
    loader = detection_loader(
        DetectionDataset(replace_file(truth, 6, file), eval_transform(20)), 2, train=False, workers=workers
    )
    if not broken:
        file.unlink()
    found = "an image that cannot be decoded" if broken else "no such file"
    with pytest.raises(InputError, match=f"^{file}: found {found}") as raised:
        list(loader)
    assert raised.value.__cause__ is None


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("batch_size", [1, 4, 11, 50])
def test_evaluation_has_every_image_once_and_in_order(dataset, batch_size, workers):
    loader = detection_loader(dataset, batch_size, train=False, workers=workers)
    for _ in range(2):
        batches = list(loader)
        assert [i for batch in batches for i in batch["index"].tolist()] == list(range(COUNT))
        assert len(batches) == len(loader)
        for batch in batches:
            assert len(batch["images"]) == len(batch["targets"]) == len(batch["index"])
            assert set(batch["targets"][0]) == {"boxes", "labels", "difficult"}


def test_training_batches_are_the_same_for_any_number_of_workers(truth):
    dataset = DetectionDataset(truth, train_transform(20, seed=3))
    runs = []
    for workers in (0, 1, 2):
        loader = detection_loader(dataset, 3, seed=3, train=True, workers=workers)
        run = []
        for epoch in range(3):
            loader.set_epoch(epoch)
            run += list(loader)
        runs.append(run)
    assert len(runs[0]) == 9
    for run in runs[1:]:
        torch.testing.assert_close(run, runs[0], rtol=0, atol=0)


# ---------------------------------------------------------------- validation share


def names(count):
    sizes = [[4, 4]] * count
    rows = list(range(count))
    return GroundTruth(
        [f"n{i}" for i in rows], ["cat"], sizes, rows, [0] * count, [[0, 0, 1 + i, 2] for i in rows]
    )


@pytest.mark.parametrize(
    ("count", "share"), [(0, 0.5), (1, 0.5), (10, 0.0), (10, 1.0), (10, 0.04), (10, 0.97), (9, -1)]
)
def test_neither_side_may_be_empty(count, share):
    with pytest.raises(InputError, match=f"--validation: found {share:g} of {count} images"):
        split_validation(names(count), share)


@settings(deadline=None)
@given(st.integers(2, 60), st.floats(0.05, 0.95), st.integers(0, 5))
def test_a_split_parts_the_images(count, share, seed):
    chosen = round(share * count)
    if not 0 < chosen < count:
        return
    train, validation = split_validation(names(count), share, seed)
    assert len(validation.images) == chosen
    assert sorted(train.images + validation.images) == sorted(names(count).images)
    for side in (train, validation):
        numbers = [int(name[1:]) for name in side.images]
        assert numbers == sorted(numbers)
        assert side.boxes[:, 2].tolist() == [1 + number for number in numbers]  # objects went along


@settings(deadline=None)
@given(st.integers(3, 40), st.integers(1, 20), st.randoms(use_true_random=False))
def test_more_images_move_no_more_images(count, more, order):
    before = set(split_validation(names(count), 0.4, 7)[1].images)
    shuffled = list(range(count + more))
    order.shuffle(shuffled)
    after = set(split_validation(names(count + more).select(shuffled), 0.4, 7)[1].images)
    old = set(names(count).images)
    assert len(before ^ (after & old)) <= more


def test_the_split_depends_on_the_seed_and_is_the_same_everywhere():
    chosen = {seed: split_validation(names(20), 0.2, seed)[1].images for seed in range(3)}
    assert len(set(chosen.values())) == 3
    assert chosen[0] == ("n3", "n5", "n15", "n19")
