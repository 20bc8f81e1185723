"""CIFAR-100 in its five forms, Small-ImageNet in its two, ImageNet's folders: what is read, and what is
refused."""

import io
import itertools
import pickle
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from data import cifar
from data.cifar import CIFAR100_CLASSES, read_cifar100
from data.image_set import read_image_folders
from data.records import InputError
from data.small_imagenet import read_small_imagenet
from tests.data.scenes import Evil

FEW = {"train": 40, "test": 20}  # of a class, instead of 500 and 100
Arrays = tuple[NDArray[np.uint8], NDArray[np.int64]]


def some_images(split, mixed=True):
    """(n, 3, 32, 32) and (n,): smooth, so that sheets are small; class by class as sheets are, or mixed."""
    count = FEW[split] * 100
    random = np.random.default_rng(len(split))
    images = np.repeat(random.integers(0, 256, (count, 3, 4, 4), dtype=np.uint8), 8, axis=2).repeat(8, axis=3)
    order = np.random.default_rng(0).permutation(count) if mixed else np.arange(count)
    return images[order], np.repeat(np.arange(100), FEW[split])[order]


def as_pickle(images, labels, changes=None):
    content = {
        "data": images.reshape(len(images), -1),
        "fine_labels": labels.tolist(),
        "coarse_labels": (labels % 20).tolist(),
        "filenames": [f"{number}.png" for number in range(len(labels))],
        "batch_label": "training batch 1 of 1",
    }
    content.update(changes or {})
    return pickle.dumps({key: value for key, value in content.items() if value is not None}, 2)


def as_binary(images, labels):
    both = np.stack([labels % 20, labels], axis=1).astype(np.uint8)
    return np.concatenate([both, images.reshape(len(images), -1)], axis=1).tobytes()


def write_unpacked(root, form):
    folder = root / f"cifar-100-{form}"
    folder.mkdir(parents=True)
    for split in FEW:
        name, content = (split, as_pickle) if form == "python" else (f"{split}.bin", as_binary)
        (folder / name).write_bytes(content(*some_images(split)))
    return folder


def write_archive(root, form):
    folder = write_unpacked(root / "unpacked", form)
    with tarfile.open(root / f"{folder.name}.tar.gz", "w:gz", compresslevel=1) as tar:
        tar.add(folder, folder.name)
    return root / f"{folder.name}.tar.gz"


def write_sheets(root):
    for split, number in FEW.items():
        (root / split).mkdir(parents=True)
        images, _ = some_images(split, mixed=False)
        for label in range(100):
            tiles = images[label * number : (label + 1) * number].reshape(-1, 20, 3, 32, 32)
            sheet = tiles.transpose(0, 3, 1, 4, 2).reshape(-1, 640, 3)
            Image.fromarray(sheet).save(root / split / f"{label:02}.webp", lossless=True, method=0)
    return root


@pytest.fixture(autouse=True)
def few(monkeypatch):
    monkeypatch.setattr(cifar, "IMAGES_OF_A_CLASS", FEW)


@pytest.fixture(scope="module")
def sheets(tmp_path_factory):
    return write_sheets(tmp_path_factory.mktemp("sheets"))


def assert_images(found, expected):
    np.testing.assert_array_equal(found.images, expected[0])
    np.testing.assert_array_equal(found.labels, expected[1])
    assert found.images.flags.writeable, "torch warns of arrays that are not"


def test_the_readers_need_no_torch():
    modules = "cifar, datasets, image_set, shapes, small_imagenet"
    code = f"import sys; from data import {modules}; print(*sys.modules)"
    root = Path(cifar.__file__).parents[1]
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True)
    assert not {"torch", "torchvision", "cv2", "albumentations", "matplotlib"} & set(done.stdout.split())


# ---------------------------------------------------------------- CIFAR-100


def test_the_classes_are_in_the_order_of_the_alphabet():
    assert list(CIFAR100_CLASSES) == sorted(set(CIFAR100_CLASSES))
    assert len(CIFAR100_CLASSES) == 100


@pytest.mark.parametrize("form", ["python", "binary"])
@pytest.mark.parametrize("write", [write_unpacked, write_archive])
def test_the_published_forms(write, form, tmp_path):
    """Found in the folder above and by their own path."""
    place = write(tmp_path, form)
    for root in (tmp_path, place):
        assert_images(read_cifar100(root, "test"), some_images("test"))
    assert_images(read_cifar100(str(tmp_path), "train"), some_images("train"))


def test_sheets(sheets):
    assert_images(read_cifar100(sheets, "train"), some_images("train", mixed=False))
    assert_images(read_cifar100(sheets, "test"), some_images("test", mixed=False))


def test_only_the_split_that_is_asked_for_is_opened(tmp_path):
    (write_unpacked(tmp_path, "python") / "test").write_bytes(b"broken")
    assert len(read_cifar100(tmp_path, "train")) == 4000
    with pytest.raises(InputError, match=r"cifar-100-python.test: found a pickle that cannot be read"):
        read_cifar100(tmp_path, "test")


def truncated_archive(root):
    archive = write_archive(root.parent, "python")
    root.write_bytes(archive.read_bytes()[: archive.stat().st_size // 3])


def archive_of_cifar10(root):
    with tarfile.open(root, "w:gz") as tar:
        member = tarfile.TarInfo("cifar-10-batches-py/test_batch")
        member.size = 3
        tar.addfile(member, io.BytesIO(b"abc"))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda root: None, "no such file or folder; expected cifar-100-python.tar.gz, cifar-100-binary"),
        (lambda root: root.mkdir(), "no test images of CIFAR-100; expected cifar-100-python.tar.gz"),
        (lambda root: root.write_bytes(b"x" * 9999), "an archive that cannot be read"),
        (lambda root: root.write_bytes(b""), "an archive that cannot be read"),
        (truncated_archive, "an archive that cannot be read"),
        (archive_of_cifar10, "an archive without cifar-100-python/test or cifar-100-binary/test.bin"),
    ],
)
def test_nothing_of_the_kind(make, message, tmp_path):
    root = tmp_path / "cifar"
    make(root)
    with pytest.raises(InputError, match=f"cifar: found {message}"):
        read_cifar100(root, "test")


IMAGES, LABELS = some_images("test", mixed=False)
NO_NUMBERS = "test: fine_labels: found what are no whole numbers"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"fine_labels": None, "labels": [1]}, "the keys .*labels; expected data and fine_labels: CIFAR-100"),
        ({"data": IMAGES[1:].reshape(-1, 3072)}, r"uint8 \(1999, 3072\); expected uint8 \(2000, 3072\)"),
        ({"data": [1, 2]}, "test: data: found list"),
        ({"data": np.zeros((2000, 3072), np.int8)}, "test: data: found int8"),
        ({"fine_labels": LABELS[1:].tolist()}, r"test: fine_labels: found an array of \(1999,\)"),
        ({"fine_labels": ["a"]}, NO_NUMBERS),
        ({"fine_labels": [[1], [2, 3]]}, NO_NUMBERS),
        ({"fine_labels": LABELS + 0.5}, NO_NUMBERS),
        ({"fine_labels": [0.5, *LABELS[1:].tolist()]}, NO_NUMBERS),
        ({"fine_labels": (LABELS + 1).tolist()}, "found labels from 1 to 100; expected .* 0 to 99"),
        ({"fine_labels": (LABELS - 1).tolist()}, "found labels from -1 to 98; expected .* 0 to 99"),
        ({"fine_labels": np.maximum(LABELS, 1)}, "fine_labels: found 0 images of class 0; expected 20"),
    ],
)
def test_a_pickle_of_something_else(changes, message, tmp_path):
    (tmp_path / "test").write_bytes(as_pickle(IMAGES, LABELS, changes))
    with pytest.raises(InputError, match=message):
        read_cifar100(tmp_path, "test")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("test", as_pickle(IMAGES, LABELS)[:-50_000], "found a pickle that cannot be read .* fetch it again"),
        ("test.bin", as_binary(IMAGES, LABELS)[:-1], "found 6147999 bytes; expected records of 3074"),
        ("test.bin", as_binary(IMAGES[1:], LABELS[1:]), r"data: found uint8 \(1999, 3072\)"),
    ],
    ids=["pickle", "binary", "binary, at the end of an image"],
)
def test_a_truncated_file(name, content, message, tmp_path):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=f"{name}: {message}"):
        read_cifar100(tmp_path, "test")


def save(size, mode="RGB"):
    return lambda file: Image.new(mode, size).save(file, lossless=True, exact=True)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (Path.unlink, "no such file; expected the sheet of class sunflower"),
        (lambda file: file.write_bytes(file.read_bytes()[:200]), "an image that cannot be decoded"),
        (lambda file: file.write_bytes(b""), "an image that cannot be decoded"),
        (save((640, 64)), "RGB of 640x64 pixels; expected RGB of 640x32: 1 rows"),
        (save((640, 32), "RGBA"), "RGBA of 640x32"),
    ],
    ids=["missing", "truncated", "empty", "large", "transparent"],
)
def test_a_wrong_sheet(damage, message, sheets, tmp_path):
    shutil.copytree(sheets / "test", tmp_path / "test")
    damage(tmp_path / "test" / "82.webp")
    with pytest.raises(InputError, match=rf"82.webp: found {message}"):
        read_cifar100(tmp_path, "test")


# ---------------------------------------------------------------- Small-ImageNet

COUNTS = (3, 1, 2, 4, 1, 1, 2, 1, 3, 2)  # images of the ten batches


def small_batches():
    random = np.random.default_rng(3)
    for count in COUNTS:
        data, labels = random.integers(0, 256, (count, 3072), np.uint8), random.integers(1, 1001, count)
        yield {"data": data, "labels": labels.tolist(), "mean": data.mean(axis=0)}


def write_batch(folder, name, form, batch, protocol=2):
    if form == "npz":
        np.savez(folder / f"{name}.npz", **batch)
    else:
        (folder / name).write_bytes(pickle.dumps(batch, protocol))


def write_small(folder, form, protocol=2):
    folder.mkdir(parents=True, exist_ok=True)
    for number, batch in enumerate(small_batches(), start=1):
        write_batch(folder, f"train_data_batch_{number}", form, batch, protocol)


@pytest.mark.parametrize(
    ("form", "folder", "protocol"),
    [("npz", ".", 2), ("npz", "train", 2), ("pickle", "train", 2), *(("pickle", ".", i) for i in range(6))],
)
def test_small_imagenet(form, folder, protocol, tmp_path):
    write_small(tmp_path / folder, form, protocol)
    found = read_small_imagenet(tmp_path, "train")
    data, labels = (np.concatenate([batch[key] for batch in small_batches()]) for key in ("data", "labels"))
    np.testing.assert_array_equal(found.images, data.reshape(-1, 3, 32, 32))
    np.testing.assert_array_equal(found.labels, labels - 1)
    assert len(found.classes) == 1000
    assert found.classes[found.labels[0]] == str(labels[0])


def test_its_test_images_are_the_validation_set(tmp_path):
    batch = next(small_batches())
    np.savez_compressed(tmp_path / "val_data.npz", data=batch["data"], labels=np.array(batch["labels"]))
    assert len(read_small_imagenet(tmp_path, "test")) == COUNTS[0]
    with pytest.raises(InputError, match="no train batch of Small-ImageNet; expected train_data_batch_1 or"):
        read_small_imagenet(tmp_path, "train")


def test_a_missing_batch(tmp_path):
    with pytest.raises(InputError, match=r"absent: found no such folder"):
        read_small_imagenet(tmp_path / "absent", "train")
    write_small(tmp_path, "npz")
    (tmp_path / "train_data_batch_7.npz").unlink()
    with pytest.raises(InputError, match=r"batch_7.npz: found no such file; expected all 10 batches"):
        read_small_imagenet(tmp_path, "train")


LABELLED = {"data": np.zeros((2, 3072), np.uint8), "labels": [1, 1000]}


@pytest.mark.parametrize("form", ["npz", "pickle"])
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"labels": [0, 999]}, "labels: found labels from 0 to 999; expected labels from 1 to 1000"),
        ({"labels": [1, 1001]}, "labels: found labels from 1 to 1001"),
        ({"labels": [1]}, r"labels: found an array of shape \(1,\); expected \(2,\)"),
        ({"labels": [1.5, 2.5]}, "labels: found what are no whole numbers"),
        ({"labels": ["a", "b"]}, "labels: found what are no whole numbers"),
        ({"data": np.zeros((2, 9), np.uint8)}, r"data: found uint8 \(2, 9\); expected uint8 \(n, 3072\)"),
        ({"data": np.zeros((2, 3072))}, "data: found float64"),
    ],
)
def test_a_batch_of_something_else(form, changes, message, tmp_path):
    write_batch(tmp_path, "val_data", form, {**LABELLED, **changes})
    with pytest.raises(InputError, match=rf"val_data(\.npz)?: {message}"):
        read_small_imagenet(tmp_path, "test")


@pytest.mark.parametrize(
    ("form", "changes", "message"),
    [
        ("pickle", {"mean": Evil}, "a pickle that names (posix|nt).* nothing of it was run"),
        ("npz", {"labels": lambda marker: np.array([Evil(marker), 1])}, r"an archive .* \(Object arrays"),
    ],
    ids=["pickle", "npz"],
)
def test_a_malicious_batch_is_not_run(form, changes, message, tmp_path):
    marker = tmp_path / "ran"
    write_batch(
        tmp_path, "val_data", form, {**LABELLED, **{key: make(marker) for key, make in changes.items()}}
    )
    with pytest.raises(InputError, match=rf"val_data(\.npz)?: found {message}"):
        read_small_imagenet(tmp_path, "test")
    assert not marker.exists()
    content = np.load(next(tmp_path.glob("val_data*")), allow_pickle=True)
    assert list(content.values())
    assert marker.exists(), "it does harm where it is let"


@pytest.mark.parametrize(
    ("form", "damage"),
    [*itertools.product(("npz", "pickle"), (0, 100, 3000, -30)), ("npz", "packed"), ("npz", "header")],
)
def test_a_damaged_batch(form, damage, tmp_path):
    """Cut off after so many bytes; zeros among compressed values; a header of NumPy's that is no Python."""
    write_small(tmp_path, form)
    file = tmp_path / ("train_data_batch_4.npz" if form == "npz" else "train_data_batch_4")
    content = file.read_bytes()
    if isinstance(damage, int):
        file.write_bytes(content[:damage])
    elif damage == "packed":
        np.savez_compressed(file, **next(itertools.islice(small_batches(), 3, None)))
        packed = file.read_bytes()
        file.write_bytes(packed[:200] + bytes(30) + packed[230:])
    else:
        assert b"(4, 3072), }" in content
        file.write_bytes(content.replace(b"(4, 3072), }", b"(4, 3072, } "))
    kind = "an archive" if form == "npz" else "a pickle"
    with pytest.raises(InputError, match=rf"{file.name}: found {kind} that cannot be read"):
        read_small_imagenet(tmp_path, "train")


def test_a_batch_that_claims_more_images_than_can_be(tmp_path, monkeypatch):
    write_small(tmp_path, "npz")
    monkeypatch.setattr("data.small_imagenet._most_images", lambda file: 1 << 50)
    with pytest.raises(InputError, match=r"found batches with room for 11,2.* images; expected as many as"):
        read_small_imagenet(tmp_path, "train")


# ---------------------------------------------------------------- folders


def write_folders(root, names):
    for folder, files in names.items():
        (root / folder).mkdir(parents=True)
        for file in files:
            (root / folder / file).touch()


def test_folders(tmp_path):
    write_folders(
        tmp_path,
        {
            "train/n02": ["b.JPEG", "a.JPEG", "notes.txt", "._a.JPEG"],
            "train/n01": ["é.png", "z.jpg"],
            "train/.cache": [],
            "val/n01": ["1.JPEG"],
            "val/n02": ["2.JPEG"],
        },
    )
    train = read_image_folders(tmp_path, "train")
    assert train.classes == ("n01", "n02")
    files = [str(train.file(index).relative_to(tmp_path)) for index in range(len(train))]
    assert files == ["train/n01/z.jpg", "train/n01/é.png", "train/n02/a.JPEG", "train/n02/b.JPEG"]
    assert train.labels.tolist() == [0, 0, 1, 1]
    assert read_image_folders(tmp_path, "test").labels.tolist() == [0, 1]
    assert train.select([3]).file(0).name == "b.JPEG"


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ({}, "val: found no such file or directory; expected the folder with a folder of images"),
        ({"val": ["1.JPEG"]}, "val: found no folder in it"),
        ({"val/n01": []}, "val.n01: found no image"),
        ({"val/n01": ["1.JPEG"], "train/n02": []}, "val: found a class n01 in val alone"),
        ({"val/n01": ["1.JPEG"], "train/n01": [], "train/n00": []}, "val: found a class n00 in train alone"),
    ],
)
def test_folders_of_another_kind(names, message, tmp_path):
    write_folders(tmp_path, names)
    with pytest.raises(InputError, match=message):
        read_image_folders(tmp_path, "test")
