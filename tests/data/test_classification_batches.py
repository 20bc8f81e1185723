"""Batches: the same for the same (seed, epoch, index), wherever and with whomever they are made."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from torchvision import transforms
from torchvision.transforms import functional

from data.classification import (
    AREA,
    ASPECT,
    ArrayImages,
    Normalization,
    centre_crop,
    classification_loader,
    crop_and_flip,
    draw_crop,
    draw_crops,
    training_crop,
)
from data.image_set import ImageSet, Statistics, read_image_folders
from data.records import InputError

CLASSES = ("a", "b", "c")


def noise(count, side=8):
    random = np.random.default_rng(count)
    images = random.integers(1, 256, (count, 3, side, side), dtype=np.uint8)
    return ImageSet(images, np.arange(count, dtype=np.int64) % 3, CLASSES)


def epoch_of(loader, epoch):
    """The bytes of each image of an epoch, by its index."""
    loader.set_epoch(epoch)
    pairs = (pair for batch in loader for pair in zip(batch["index"].tolist(), batch["images"], strict=True))
    return {index: image.numpy().tobytes() for index, image in pairs}


# ---------------------------------------------------------------- crop and flip


@given(st.integers(0, 5), st.integers(1, 9), st.integers(1, 9), st.integers(0, 4))
def test_the_crop_is_torchvisions(count, height, width, padding):
    generator = torch.Generator().manual_seed(hash((count, height, width, padding)) % 2**31)
    images = torch.randint(0, 256, (count, 3, height, width), dtype=torch.uint8, generator=generator)
    row, column = torch.randint(0, 2 * padding + 1, (2, count), generator=generator)
    flip = torch.randint(0, 2, (count,), generator=generator)
    found = crop_and_flip(images, row, column, flip, padding)
    assert found.shape == images.shape
    for image, y, x, mirrored, mine in zip(images, row, column, flip, found, strict=True):
        crop = functional.crop(functional.pad(image, [padding] * 4), int(y), int(x), height, width)
        assert torch.equal(mine, functional.hflip(crop) if mirrored else crop)


def test_the_draws_are_those_of_an_independent_splitmix():
    start = int(np.random.SeedSequence([2, 5, 9]).generate_state(1, np.uint64)[0])

    def draw(index):
        z = (start + (index + 1) * 0x9E3779B97F4A7C15) % 2**64
        z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9 % 2**64
        z = (z ^ z >> 27) * 0x94D049BB133111EB % 2**64
        z ^= z >> 31
        return [z % 2**20 * 9 // 2**20, (z >> 20) % 2**20 * 9 // 2**20, z >> 63]

    index = np.array([0, 3, 49_999, 1_281_166])
    assert draw_crops(5, 9, index).T.tolist() == [draw(int(i)) for i in index]


def test_all_crops_occur_equally_often_and_independently():
    row, column, flip = draw_crops(0, 0, np.arange(81_000))
    for offsets in (row, column):
        assert set(offsets.tolist()) == set(range(9))
        assert np.abs(np.bincount(offsets) / 9000 - 1).max() < 0.04
    assert abs(flip.mean() - 0.5) < 0.01
    assert np.abs(np.bincount(9 * row + column) / 1000 - 1).max() < 0.15
    assert np.abs(np.corrcoef([row, column, flip]) - np.eye(3)).max() < 0.02
    later = draw_crops(0, 1, np.arange(81_000))
    for one, other in zip((row, column, flip), later, strict=True):
        assert abs(np.corrcoef(one, other)[0, 1]) < 0.02
    assert (draw_crops(1, 0, np.arange(100)) != draw_crops(0, 0, np.arange(100))).any()


# ---------------------------------------------------------------- normalisation


def test_normalisation_is_torchvisions():
    mean, std = (0.5071, 0.4865, 0.4409), (0.2673, 0.2564, 0.2762)
    statistics = Statistics(tuple(255 * x for x in mean), tuple(255 * x for x in std))
    images = torch.from_numpy(noise(4).images)
    found = Normalization(statistics)(images)
    expected = transforms.Normalize(mean, std)(images.float() / 255)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-6)
    assert images.dtype == torch.uint8, "the batch is left as it is"


def test_normalisation_has_no_state_and_leaves_alone_what_is_normalised():
    module = Normalization(Statistics((1.0,), (2.0,)))
    assert module.state_dict() == {}
    assert list(module.parameters()) == []
    images = torch.randn(2, 1, 3, 3)
    assert module(images) is images


# ---------------------------------------------------------------- arrays


def test_one_image_and_none():
    (batch,) = classification_loader(noise(1), 128, train=True)
    assert batch["images"].shape == (1, 3, 8, 8)
    (batch,) = classification_loader(noise(1), 128, train=False)
    np.testing.assert_array_equal(batch["images"].numpy(), noise(1).images)
    with pytest.raises(InputError, match="images: found 0 for 1 processes"):
        classification_loader(noise(3).select([]), 2, train=False)


def test_evaluation_is_in_order_and_unchanged():
    images = noise(11)
    batches = list(classification_loader(images, 4, train=False))
    assert [len(batch["labels"]) for batch in batches] == [4, 4, 3]
    np.testing.assert_array_equal(torch.cat([batch["images"] for batch in batches]).numpy(), images.images)
    assert torch.cat([batch["labels"] for batch in batches]).tolist() == images.labels.tolist()
    assert torch.cat([batch["index"] for batch in batches]).tolist() == list(range(11))


def test_training_sees_each_image_once_cropped_as_drawn_with_its_label():
    images = noise(12)
    loader = classification_loader(images, 4, train=True, seed=3)
    loader.set_epoch(5)
    seen = []
    for batch in loader:
        index = batch["index"].numpy()
        seen += index.tolist()
        padded = np.pad(images.images, ((0, 0), (0, 0), (4, 4), (4, 4)))
        for place, image, (y, x, mirrored) in zip(
            index, batch["images"], draw_crops(3, 5, index).T, strict=True
        ):
            crop = padded[place, :, y : y + 8, x : x + 8]
            np.testing.assert_array_equal(image, crop[..., ::-1] if mirrored else crop)
        assert batch["labels"].tolist() == images.labels[index].tolist()
    assert sorted(seen) == list(range(12))
    assert seen != sorted(seen)


def test_an_image_is_the_same_in_every_batch_and_process_of_an_epoch():
    def epoch(epoch=2, size=24, **options):
        loader = classification_loader(noise(24), size, train=True, **{"seed": 1, **options})
        return epoch_of(loader, epoch)

    whole = epoch()
    assert epoch(size=3) == whole
    parts = [epoch(size=4, rank=rank, world_size=3) for rank in range(3)]
    assert parts[0] | parts[1] | parts[2] == whole
    assert whole not in (epoch(3), epoch(seed=2))


def test_the_global_generators_are_left_alone():
    def states():
        return str(torch.get_rng_state().tolist()), str(np.random.get_state())  # noqa: NPY002

    before = states()
    list(classification_loader(noise(8), 4, train=True))
    assert states() == before


@pytest.mark.parametrize(
    ("arguments", "where"),
    [
        ({"seed": -1}, "seed"), ({"size": 0}, "input size"), ({"batch_size": 0}, "batch size"),
        ({"workers": -1}, "workers"),
    ],
)  # fmt: skip
def test_wrong_arguments(arguments, where, files):
    options = {"batch_size": 2, "train": False, **arguments}
    with pytest.raises(InputError, match=f"^{where}: "):
        classification_loader(files, **options)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_a_gpu_makes_the_same_batches():
    images = noise(64, side=32)
    normalise = Normalization(Statistics((130.0, 120.0, 110.0), (60.0, 61.0, 63.0)))
    keys = [(4, index) for index in range(64)]
    mine = ArrayImages(images, augment=True, seed=9).__getitems__(keys)[0]
    other = ArrayImages(images, device="cuda", augment=True, seed=9).__getitems__(keys)[0]
    assert other["images"].is_cuda
    for key in ("images", "labels", "index"):
        assert torch.equal(mine[key], other[key].cpu())
    expected = normalise(mine["images"])
    assert torch.equal(expected, normalise.cuda()(other["images"]).cpu())


# ---------------------------------------------------------------- files


def photograph(width, height, mode="RGB"):
    random = np.random.default_rng(width)
    coarse = Image.fromarray(random.integers(0, 256, (6, 8, 3), dtype=np.uint8))
    return coarse.resize((width, height), Image.Resampling.BICUBIC).convert(mode)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    root = tmp_path_factory.mktemp("imagenet")
    modes = {(180, 400): "L", (256, 256): "CMYK"}
    for number, size in enumerate([(300, 200), (180, 400), (256, 256), (901, 600), (40, 30), (500, 60)]):
        folder = root / "train" / f"n0{number % 2}"
        folder.mkdir(parents=True, exist_ok=True)
        photograph(*size, modes.get(size, "RGB")).save(folder / f"{number}.JPEG", quality=90)
    photograph(320, 240, "P").save(root / "train" / "n00" / "9.png")
    return read_image_folders(root, "train")


def test_evaluation_crops_are_torchvisions(files):
    reference = transforms.Compose([transforms.Resize(256), transforms.CenterCrop(224)])
    for index in range(len(files)):
        with Image.open(files.file(index)) as image:
            expected = np.asarray(reference(image.convert("RGB")))
        np.testing.assert_array_equal(centre_crop(files.file(index), 224), expected)


def test_training_crops_are_torchvisions(files):
    for index in range(len(files)):
        for seed in range(4):
            with Image.open(files.file(index)) as image:
                crop = draw_crop(*image.size, np.random.default_rng(seed))
                box = (crop.top, crop.left, crop.bottom - crop.top, crop.right - crop.left)
                expected = functional.resized_crop(image.convert("RGB"), *box, [96, 96])
            expected = functional.hflip(expected) if crop.flip else expected
            found = training_crop(files.file(index), 96, np.random.default_rng(seed))
            if min(box[2:]) < 2 * 96 or files.file(index).suffix == ".png":
                np.testing.assert_array_equal(found, np.asarray(expected))
            else:  # decoded at half the size
                assert np.abs(found.astype(int) - np.asarray(expected)).mean() < 2


def test_a_large_jpeg_is_decoded_small(files, monkeypatch):
    sizes = []
    crop = Image.Image.crop

    def spy(image, box):
        sizes.append(image.size)
        assert 0 <= box[0] < box[2] <= image.width
        assert 0 <= box[1] < box[3] <= image.height
        return crop(image, box)

    monkeypatch.setattr(Image.Image, "crop", spy)
    large = next(index for index in range(len(files)) if files.file(index).name == "3.JPEG")
    for seed in range(20):
        assert training_crop(files.file(large), 32, np.random.default_rng(seed)).shape == (32, 32, 3)
    assert {(226, 150), (113, 75)} <= set(sizes) <= {(901, 600), (451, 300), (226, 150), (113, 75)}


@given(st.integers(1, 3000), st.integers(1, 3000), st.integers(0, 10**6))
def test_drawn_crops_lie_within_the_image(width, height, seed):
    crop = draw_crop(width, height, np.random.default_rng(seed))
    assert 0 <= crop.left < crop.right <= width
    assert 0 <= crop.top < crop.bottom <= height
    if min(width, height) > 100 and ASPECT[0] <= width / height <= ASPECT[1]:
        w, h = crop.size
        assert AREA[0] * 0.9 <= w * h / (width * height) <= 1
        assert ASPECT[0] * 0.95 <= w / h <= ASPECT[1] * 1.05


def test_drawn_crops_are_spread_as_they_should_be():
    crops = [draw_crop(400, 400, np.random.default_rng(seed)) for seed in range(3000)]
    share = np.array([np.prod(crop.size) for crop in crops]) / 400**2
    assert share.min() < 0.1
    assert share.max() > 0.9
    assert abs(np.mean([c.flip for c in crops]) - 0.5) < 0.04
    assert abs(np.mean([c.left + c.right for c in crops]) - 400) < 10


def test_batches_of_files(files):
    loader = classification_loader(files, 4, train=False, size=64)
    batches = list(loader)
    assert [tuple(batch["images"].shape) for batch in batches] == [(4, 3, 64, 64), (3, 3, 64, 64)]
    assert torch.cat([batch["labels"] for batch in batches]).tolist() == files.labels.tolist()
    first = batches[0]["images"]
    assert first.dtype == torch.uint8
    assert first.is_contiguous(memory_format=torch.channels_last)
    np.testing.assert_array_equal(first[2].permute(1, 2, 0).numpy(), centre_crop(files.file(2), 64))


def test_workers_and_batches_do_not_matter(files):
    here = epoch_of(classification_loader(files, 1, train=True, size=32, seed=5), 1)
    there = epoch_of(classification_loader(files, 7, train=True, size=32, seed=5, workers=2), 1)
    assert here == there != epoch_of(classification_loader(files, 1, train=True, size=32, seed=5), 2)


@pytest.mark.parametrize("workers", [0, 1])
def test_a_file_that_cannot_be_decoded_is_named(workers, tmp_path):
    folder = tmp_path / "train" / "n01"
    folder.mkdir(parents=True)
    for name in ("0.JPEG", "1.JPEG"):
        photograph(300, 200).save(folder / name)
    file = folder / "1.JPEG"
    images = read_image_folders(tmp_path, "train")
    for damage, message in (
        (
            lambda: file.write_bytes(file.read_bytes()[:2000]),
            r"an image that cannot be decoded \(.*truncated",
        ),
        (file.unlink, "no such file"),
        (lambda: Image.fromarray(np.zeros((9, 9), np.uint16)).save(file, "PNG"), "pixels of mode 'I;16'"),
    ):
        damage()
        with pytest.raises(InputError, match=f"1.JPEG: found {message}"):
            list(classification_loader(images, 1, train=False, size=32, workers=workers))
