"""One way in to every data set, shares of it class by class, and the real CIFAR-100."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data import classification
from data.cifar import CIFAR100_CLASSES
from data.classification import (
    IMAGENET_STATISTICS,
    classification_loader,
    find_classification,
    read_classification,
    read_classification_test,
)
from data.image_set import ImageFiles, ImageSet, statistics_of, take_share
from data.records import InputError
from data.shapes.scenes import draw_shape, draw_shapes

NAMES = tuple("abcdefgh")
PAIR = np.zeros((2, 3, 4, 4), np.uint8)


def labelled(labels, classes=8):
    images = np.zeros((len(labels), 1, 1, 2), np.uint8)
    images[:, 0, 0] = np.stack(np.divmod(np.arange(len(labels)), 256), axis=1)  # its place, in two pixels
    return ImageSet(images, np.array(labels, dtype=np.int64), NAMES[:classes])


def places(images):
    high, low = images.images[:, 0, 0].T.astype(int)
    return (256 * high + low).tolist()


# ---------------------------------------------------------------- image sets


def test_an_empty_set():
    empty = labelled([])
    assert len(empty) == 0
    with pytest.raises(InputError, match="images: found none"):
        statistics_of(empty.images)
    with pytest.raises(InputError, match=r"validation: found 0\.5 of 0 images"):
        take_share(empty, 0.5, np.random.default_rng(0), "validation")


@pytest.mark.parametrize(
    ("images", "labels", "message"),
    [
        (np.zeros((2, 3, 4)), np.zeros(2, np.int64), r"images: found float64 \(2, 3, 4\)"),
        (np.zeros((2, 3, 4, 4), np.float32), np.zeros(2, np.int64), "images: found float32"),
        (PAIR, np.zeros(3, np.int64), r"labels: found int64 \(3,\)"),
        (PAIR, np.zeros(2, np.int32), "labels: found int32"),
        (PAIR, np.array([0, 8]), "labels: found labels from 0 to 8; expected .* 7"),
        (PAIR, np.array([-1, 0]), "labels: found labels from -1 to 0"),
    ],
)
def test_a_wrong_set(images, labels, message):
    with pytest.raises(InputError, match=message):
        ImageSet(images, labels, NAMES)


@given(st.lists(st.integers(0, 7), min_size=2, max_size=300), st.floats(0.02, 0.98), st.integers(0, 5))
def test_a_share_takes_as_much_of_each_class(labels, share, seed):
    images = labelled(labels)
    total = round(share * len(labels))
    if not 0 < total < len(labels):
        with pytest.raises(InputError, match="at least one image on either side"):
            take_share(images, share, np.random.default_rng(seed), "share")
        return
    taken, left = take_share(images, share, np.random.default_rng(seed), "share")
    assert len(taken) == total
    assert sorted(places(taken) + places(left)) == list(range(len(labels)))
    assert places(taken) == sorted(places(taken))
    for label in range(8):
        wanted = share * labels.count(label)
        assert abs(int((taken.labels == label).sum()) - wanted) < 1
    assert [labels[place] for place in places(left)] == left.labels.tolist()


def test_the_share_depends_on_the_seed_alone_and_is_spread():
    images = labelled([0, 1] * 500, 2)

    def chosen(seed, share=0.1):
        return places(take_share(images, share, np.random.default_rng(seed), "share")[0])

    assert chosen(4) == chosen(4)
    assert chosen(4) not in (chosen(5), chosen([1, 4]))
    assert abs(np.mean(chosen(4)) - 500) < 100
    assert set(chosen(4, 0.05)) < set(chosen(4)), "a larger share contains a smaller one"


def test_a_share_of_files():
    files = ImageFiles(
        Path("root"), np.array([b"a/1", b"a/2", b"b/1", b"b/2"]), np.array([0, 0, 1, 1]), NAMES
    )
    taken, left = take_share(files, 0.5, np.random.default_rng(0), "share")
    assert taken.labels.tolist() == left.labels.tolist() == [0, 1]
    assert {one.file(0) for one in (taken, left)} == {Path("root") / "a" / name for name in "12"}


def test_statistics_are_numpys():
    images = np.random.default_rng(0).integers(0, 256, (5000, 3, 4, 5), dtype=np.uint8)
    images[:, 2] = 9
    found = statistics_of(images)
    np.testing.assert_allclose(found.mean, images.mean(axis=(0, 2, 3)), rtol=1e-13)
    np.testing.assert_allclose(found.std[:2], images.std(axis=(0, 2, 3))[:2], rtol=1e-12)
    assert found.std[2] == 1, "a constant channel"
    assert statistics_of(images[::-1]) == found


# ---------------------------------------------------------------- shapes


def test_shapes_are_a_pure_function_of_their_key():
    assert len(draw_shapes("train", 0)) == 0
    few, more = draw_shapes("train", 9, seed=3), draw_shapes("train", 12, seed=3)
    np.testing.assert_array_equal(few.images, more.images[:9])
    np.testing.assert_array_equal(draw_shape(3, "train", 7), few.images[7])
    assert few.labels.tolist() == [0, 1, 2, 3, 4, 5, 6, 7, 0]
    assert few.classes == ("arrow", "cross", "disc", "hexagon", "ring", "square", "star", "triangle")
    for other in (draw_shapes("test", 9, seed=3), draw_shapes("train", 9, seed=4)):
        assert (np.abs(other.images.astype(int) - few.images).mean(axis=(1, 2, 3)) > 5).all()
    assert draw_shapes("train", 1, side=48).images.shape == (1, 3, 48, 48)


@pytest.mark.parametrize(
    ("arguments", "where"), [({"count": -1}, "count"), ({"seed": -1}, "seed"), ({"side": 15}, "side")]
)
def test_wrong_shapes(arguments, where):
    with pytest.raises(InputError, match=f"^{where}: found"):
        draw_shapes("train", **{"count": 1, **arguments})


# ---------------------------------------------------------------- the way in


@pytest.fixture
def few_shapes(monkeypatch):
    monkeypatch.setitem(classification.SHAPES, "train", 80)
    monkeypatch.setitem(classification.SHAPES, "test", 16)


@pytest.mark.usefixtures("few_shapes")
def test_reading_shapes():
    data = read_classification("shapes", validation=0.2, seed=1)
    assert isinstance(data.train, ImageSet)
    assert isinstance(data.validation, ImageSet)
    assert (len(data.train), len(data.validation), len(data.classes)) == (64, 16, 8)
    assert np.bincount(data.validation.labels).tolist() == [2] * 8
    assert data.statistics == statistics_of(data.train.images)
    test = read_classification_test("shapes")
    assert isinstance(test, ImageSet)
    assert len(test) == 16
    kinds = [{image.tobytes() for image in images.images} for images in (data.train, data.validation, test)]
    assert len(set.union(*kinds)) == 64 + 16 + 16, "no image occurs twice"
    assert len(list(classification_loader(data.train, 8, train=True))) == 8


@pytest.mark.usefixtures("few_shapes")
def test_validation_and_fraction():
    everything = read_classification("shapes", validation=0)
    assert (everything.validation, len(everything.train)) == (None, 80)

    def half(seed):
        data = read_classification("shapes", validation=0.2, fraction=0.5, seed=seed)
        assert (len(data.train), len(data.validation or ())) == (32, 8)
        return (data.train).images.tobytes()

    assert half(1) == half(1) != half(2)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"name": "cifar10"}, "found 'cifar10'; expected one of cifar100, small-imagenet, imagenet, shapes"),
        ({"name": "cifar100"}, "root: found none; expected the folder of cifar100"),
        ({"name": "cifar100", "root": "nowhere"}, "nowhere: found no such file or folder"),
        ({"name": "small-imagenet", "root": "nowhere"}, "nowhere: found no such folder"),
        ({"name": "imagenet", "root": "nowhere"}, "nowhere.train: found no such file"),
        ({"validation": 1.0}, "validation: found 1"),
        ({"validation": -0.1}, "validation: found -0.1"),
        ({"validation": 0.001}, "validation: found 0.001 of 80 images; expected at least one"),
        ({"fraction": 0.0}, "fraction: found 0"),
        ({"fraction": 1.5}, "fraction: found 1.5"),
        ({"seed": -1}, "seed: found -1"),
    ],
)
@pytest.mark.usefixtures("few_shapes")
def test_wrong_arguments(arguments, message):
    with pytest.raises(InputError, match=message):
        read_classification(**{"name": "shapes", **arguments})


def test_imagenet_has_the_customary_statistics(tmp_path):
    for number in range(10):
        folder = tmp_path / "train" / f"n{number % 2}"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{number}.JPEG").touch()
    data = read_classification("imagenet", tmp_path, validation=0.2)
    assert data.statistics is IMAGENET_STATISTICS
    assert data.statistics.mean[0] == pytest.approx(123.675)
    assert isinstance(data.validation, ImageFiles)
    assert (len(data.train), data.validation.labels.tolist()) == (8, [0, 1])


def test_only_the_images_that_are_asked_for_are_read(tmp_path):
    """So a run that does not ask for the test images has not touched them."""
    batch = {"data": np.zeros((2, 3072), np.uint8), "labels": [1, 2]}
    for number in range(1, 11):
        np.savez(tmp_path / f"train_data_batch_{number}.npz", **batch)
    (tmp_path / "val_data.npz").write_bytes(b"broken")
    assert len(read_classification("small-imagenet", tmp_path, validation=0).train) == 20
    for file in tmp_path.glob("train*"):
        file.write_bytes(b"broken")
    np.savez(tmp_path / "val_data.npz", **batch)
    assert len(read_classification_test("small-imagenet", tmp_path)) == 2


@pytest.mark.parametrize(
    ("name", "present", "absent", "message"),
    [
        ("cifar100", ["train"], "test", "no test images of CIFAR-100"),
        ("small-imagenet", [f"train_data_batch_{n}" for n in range(1, 11)], "val_data", "no test batch"),
        ("imagenet", ["train/cat/1.png"], "val/cat/1.png", "val: found no such file"),
    ],
)
def test_files_are_looked_for_and_not_opened(tmp_path, name, present, absent, message):
    def put(*paths):
        for path in paths:
            (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / path).write_bytes(b"broken")

    put(*present)
    with pytest.raises(InputError, match=message):
        find_classification(name, tmp_path)
    put(absent)
    find_classification(name, tmp_path)


# ---------------------------------------------------------------- the real thing


@pytest.fixture(scope="module")
def cifar(shared_data):
    folder = shared_data / "cifar100"
    if not folder.is_dir():
        pytest.skip(f"CIFAR-100 not at hand: {folder} is absent")
    return folder


def test_the_real_images_are_cifars_pixel_by_pixel(cifar):
    """Mean and deviation, as others have published them of the official files, to all their digits."""
    train, test = (
        read_classification("cifar100", cifar, validation=0),
        read_classification_test("cifar100", cifar),
    )
    assert np.bincount(train.train.labels).tolist() == [500] * 100
    assert isinstance(test, ImageSet)
    assert np.bincount(test.labels).tolist() == [100] * 100
    for found, published in (
        (train.statistics.mean, [0.5070751592371323, 0.48654887331495095, 0.4409178433670343]),
        (train.statistics.std, [0.2673342858792401, 0.2564384629170883, 0.27615047132568404]),
        (statistics_of(test.images).std, [0.2682515741720801, 0.2573637364478126, 0.2770957707973042]),
    ):
        assert np.divide(found, 255) == pytest.approx(published, rel=1e-14)


def test_the_real_classes_are_in_their_order(cifar):
    """By colours that nobody would mistake: what is most yellow, most blue, brightest …"""
    images = (read_classification_test("cifar100", cifar)).images
    red, green, blue = images.reshape(100, 100, 3, 1024).astype(int).mean(axis=(1, 3)).T

    def first(values, count):
        return {CIFAR100_CLASSES[label] for label in values.argsort()[::-1][:count]}

    assert "orange" in first(red - blue, 2)
    assert {"sunflower", "orange"} <= first(red + green - 2 * blue, 5)
    assert {"dolphin", "shark", "whale"} <= first(blue - red, 6)
    assert "willow_tree" in first(2 * green - red - blue, 8)
