"""CIFAR-100 in its five forms, Small-ImageNet in its two, ImageNet's folders: what is read, and what is
refused."""

import io
import itertools
import pickle
import subprocess
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from data import cifar
from data.cifar import CIFAR100_CLASSES, read_cifar100
from data.image_set import ImageSet, read_image_folders
from data.records import InputError
from data.small_imagenet import read_small_imagenet
from tests.data.scenes import Evil

FEW = {"train": 40, "test": 20}  # of a class, instead of 500 and 100
Arrays = tuple[NDArray[np.uint8], NDArray[np.int64]]


def some_images(split: str, mixed: bool = True) -> Arrays:
    """(n, 3, 32, 32) and (n,): smooth, so that sheets are small; class by class as sheets are, or mixed."""
    count = FEW[split] * 100
    random = np.random.default_rng(len(split))
    images = np.repeat(random.integers(0, 256, (count, 3, 4, 4), dtype=np.uint8), 8, axis=2).repeat(8, axis=3)
    order = np.random.default_rng(0).permutation(count) if mixed else np.arange(count)
    return images[order], np.repeat(np.arange(100), FEW[split])[order]


def as_pickle(
    images: NDArray[np.uint8], labels: NDArray[np.int64], changes: dict[str, Any] | None = None
) -> bytes:
    content = {
        "data": images.reshape(len(images), -1),
        "fine_labels": labels.tolist(),
        "coarse_labels": (labels % 20).tolist(),
        "filenames": [f"{number}.png" for number in range(len(labels))],
        "batch_label": "training batch 1 of 1",
    }
    content.update(changes or {})
    return pickle.dumps({key: value for key, value in content.items() if value is not None}, 2)


def as_binary(images: NDArray[np.uint8], labels: NDArray[np.int64]) -> bytes:
    both = np.stack([labels % 20, labels], axis=1).astype(np.uint8)
    return np.concatenate([both, images.reshape(len(images), -1)], axis=1).tobytes()


def write_unpacked(root: Path, form: str) -> Path:
    folder = root / f"cifar-100-{form}"
    folder.mkdir(parents=True)
    for split in FEW:
        name, content = (split, as_pickle) if form == "python" else (f"{split}.bin", as_binary)
        (folder / name).write_bytes(content(*some_images(split)))
    return folder


def write_archive(root: Path, form: str) -> Path:
    folder = write_unpacked(root / "unpacked", form)
    with tarfile.open(root / f"{folder.name}.tar.gz", "w:gz", compresslevel=1) as tar:
        tar.add(folder, folder.name)
    return root / f"{folder.name}.tar.gz"


def write_sheets(root: Path) -> Path:
    for split, number in FEW.items():
        (root / split).mkdir(parents=True)
        images, _ = some_images(split, mixed=False)
        for label in range(100):
            tiles = images[label * number : (label + 1) * number].reshape(-1, 20, 3, 32, 32)
            sheet = tiles.transpose(0, 3, 1, 4, 2).reshape(-1, 640, 3)
            Image.fromarray(sheet).save(root / split / f"{label:02}.webp", lossless=True, method=0)
    return root


@pytest.fixture(autouse=True)
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cifar, "IMAGES_OF_A_CLASS", FEW)


@pytest.fixture(scope="module")
def sheets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_sheets(tmp_path_factory.mktemp("sheets"))


def assert_images(found: ImageSet, expected: Arrays) -> None:
    np.testing.assert_array_equal(found.images, expected[0])
    np.testing.assert_array_equal(found.labels, expected[1])
    assert found.images.flags.writeable, "torch warns of arrays that are not"


def test_the_readers_need_no_torch() -> None:
    modules = "cifar, datasets, image_set, shapes, small_imagenet"
    code = f"import sys; from data import {modules}; print(*sys.modules)"
    root = Path(cifar.__file__).parents[1]
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True)
    assert not {"torch", "torchvision", "cv2", "albumentations", "matplotlib"} & set(done.stdout.split())


# ---------------------------------------------------------------- CIFAR-100


def test_the_classes_are_in_the_order_of_the_alphabet() -> None:
    assert list(CIFAR100_CLASSES) == sorted(set(CIFAR100_CLASSES))
    assert len(CIFAR100_CLASSES) == 100


@pytest.mark.parametrize("form", ["python", "binary"])
@pytest.mark.parametrize("write", [write_unpacked, write_archive])
def test_the_published_forms(write: Callable[[Path, str], Path], form: str, tmp_path: Path) -> None:
    """Found in the folder above and by their own path."""
    place = write(tmp_path, form)
    for root in (tmp_path, place):
        assert_images(read_cifar100(root, "test"), some_images("test"))
    assert_images(read_cifar100(str(tmp_path), "train"), some_images("train"))


def test_sheets(sheets: Path) -> None:
    assert_images(read_cifar100(sheets, "train"), some_images("train", mixed=False))
    assert_images(read_cifar100(sheets, "test"), some_images("test", mixed=False))


def test_only_the_split_that_is_asked_for_is_opened(tmp_path: Path) -> None:
    (write_unpacked(tmp_path, "python") / "test").write_bytes(b"broken")
    assert len(read_cifar100(tmp_path, "train")) == 4000
    with pytest.raises(InputError, match=r"cifar-100-python.test: found a pickle that cannot be read"):
        read_cifar100(tmp_path, "test")


def truncated_archive(root: Path) -> None:
    archive = write_archive(root.parent, "python")
    root.write_bytes(archive.read_bytes()[: archive.stat().st_size // 3])


def archive_of_cifar10(root: Path) -> None:
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
def test_nothing_of_the_kind(make: Callable[[Path], Any], message: str, tmp_path: Path) -> None:
    root = tmp_path / "cifar"
    make(root)
    with pytest.raises(InputError, match=f"cifar: found {message}"):
        read_cifar100(root, "test")


IMAGES, LABELS = some_images("test", mixed=False)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"fine_labels": None, "labels": [1]}, "the keys .*labels; expected data and fine_labels: CIFAR-100"),
        (
            {"data": IMAGES[1:].reshape(-1, 3072)},
            r"data: found uint8 \(1999, 3072\); expected uint8 \(2000, 307",
        ),
        ({"data": [1, 2]}, "test: data: found list"),
        ({"data": np.zeros((2000, 3072), np.int8)}, "test: data: found int8"),
        ({"fine_labels": LABELS[1:].tolist()}, r"test: fine_labels: found an array of \(1999,\)"),
        *(
            ({"fine_labels": labels}, "test: fine_labels: found what are no whole numbers")
            for labels in (["a"], [[1], [2, 3]], LABELS + 0.5, [0.5, *LABELS[1:].tolist()])
        ),
        ({"fine_labels": (LABELS + 1).tolist()}, "found labels from 1 to 100; expected .* 0 to 99"),
        ({"fine_labels": (LABELS - 1).tolist()}, "found labels from -1 to 98; expected .* 0 to 99"),
        ({"fine_labels": np.maximum(LABELS, 1)}, "fine_labels: found 0 images of class 0; expected 20"),
    ],
)
def test_a_pickle_of_something_else(changes: dict[str, Any], message: str, tmp_path: Path) -> None:
    (tmp_path / "test").write_bytes(as_pickle(IMAGES, LABELS, changes))
    with pytest.raises(InputError, match=message):
        read_cifar100(tmp_path, "test")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("test", as_pickle(IMAGES, LABELS)[:-50_000], "a pickle that cannot be read .* fetch it again"),
        ("test.bin", as_binary(IMAGES, LABELS)[:-1], "6147999 bytes; expected records of 3074"),
    ],
)
def test_a_truncated_file(name: str, content: bytes, message: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=f"{name}: found {message}"):
        read_cifar100(tmp_path, "test")


def test_a_binary_file_that_lacks_an_image(tmp_path: Path) -> None:
    (tmp_path / "test.bin").write_bytes(as_binary(IMAGES[1:], LABELS[1:]))
    with pytest.raises(InputError, match=r"test.bin: data: found uint8 \(1999, 3072\)"):
        read_cifar100(tmp_path, "test")


def test_a_missing_sheet_is_named_with_its_class(sheets: Path, tmp_path: Path) -> None:
    (tmp_path / "test").mkdir()
    for file in (sheets / "test").iterdir():
        if file.name != "82.webp":
            (tmp_path / "test" / file.name).symlink_to(file)
    with pytest.raises(
        InputError, match=r"82.webp: found no such file; expected the sheet of class sunflower"
    ):
        read_cifar100(tmp_path, "test")
    broken = tmp_path / "test" / "82.webp"
    content = (sheets / "test" / "82.webp").read_bytes()
    undecodable, large = "an image that cannot be decoded", Image.new("RGB", (640, 64))
    clear = Image.new("RGBA", (640, 32))
    for change, message in (
        (lambda: broken.write_bytes(content[:200]), undecodable),
        (lambda: broken.write_bytes(b""), undecodable),
        (lambda: large.save(broken), "RGB of 640x64 pixels; expected RGB of 640x32: 1 rows"),
        (lambda: clear.save(broken, lossless=True, exact=True), "RGBA of 640x32"),
    ):
        change()
        with pytest.raises(InputError, match=rf"82.webp: found {message}"):
            read_cifar100(tmp_path, "test")


# ---------------------------------------------------------------- Small-ImageNet

COUNTS = (3, 1, 2, 4, 1, 1, 2, 1, 3, 2)  # images of the ten batches


def small_batches() -> list[dict[str, Any]]:
    random = np.random.default_rng(3)
    batches = []
    for count in COUNTS:
        data = random.integers(0, 256, (count, 3072), dtype=np.uint8)
        batches.append(
            {"data": data, "labels": random.integers(1, 1001, count).tolist(), "mean": data.mean(axis=0)}
        )
    return batches


def write_small(folder: Path, form: str, protocol: int = 2) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for number, batch in enumerate(small_batches(), start=1):
        if form == "npz":
            np.savez(folder / f"train_data_batch_{number}.npz", **batch)
        else:
            (folder / f"train_data_batch_{number}").write_bytes(pickle.dumps(batch, protocol))
    return folder


@pytest.mark.parametrize(
    ("form", "folder", "protocol"),
    [("npz", ".", 2), ("npz", "train", 2), ("pickle", "train", 2), *(("pickle", ".", i) for i in range(6))],
)
def test_small_imagenet(form: str, folder: str, protocol: int, tmp_path: Path) -> None:
    write_small(tmp_path / folder, form, protocol)
    found = read_small_imagenet(tmp_path, "train")
    data = np.concatenate([batch["data"] for batch in small_batches()])
    labels = np.concatenate([batch["labels"] for batch in small_batches()])
    np.testing.assert_array_equal(found.images, data.reshape(-1, 3, 32, 32))
    np.testing.assert_array_equal(found.labels, labels - 1)
    assert len(found.classes) == 1000
    assert found.classes[found.labels[0]] == str(labels[0])


def test_its_test_images_are_the_validation_set(tmp_path: Path) -> None:
    batch = small_batches()[0]
    np.savez_compressed(tmp_path / "val_data.npz", data=batch["data"], labels=np.array(batch["labels"]))
    assert len(read_small_imagenet(tmp_path, "test")) == COUNTS[0]
    with pytest.raises(InputError, match="no train batch of Small-ImageNet; expected train_data_batch_1 or"):
        read_small_imagenet(tmp_path, "train")


def test_a_missing_batch(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"absent: found no such folder"):
        read_small_imagenet(tmp_path / "absent", "train")
    write_small(tmp_path, "npz")
    (tmp_path / "train_data_batch_7.npz").unlink()
    with pytest.raises(
        InputError, match=r"train_data_batch_7.npz: found no such file; expected all 10 batches"
    ):
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
        (
            {"data": np.zeros((2, 12288), np.uint8)},
            r"data: found uint8 \(2, 12288\); expected uint8 \(n, 3072\)",
        ),
        ({"data": np.zeros((2, 3072))}, "data: found float64"),
    ],
)
def test_a_batch_of_something_else(form: str, changes: dict[str, Any], message: str, tmp_path: Path) -> None:
    content = {**LABELLED, **changes}
    if form == "npz":
        np.savez(tmp_path / "val_data.npz", **content)
    else:
        (tmp_path / "val_data").write_bytes(pickle.dumps(content))
    with pytest.raises(InputError, match=rf"val_data(\.npz)?: {message}"):
        read_small_imagenet(tmp_path, "test")


def test_a_malicious_batch_is_not_run(tmp_path: Path) -> None:
    marker = tmp_path / "ran"
    file = tmp_path / "val_data"
    file.write_bytes(pickle.dumps({**LABELLED, "mean": Evil(marker)}))
    with pytest.raises(
        InputError, match=r"val_data: found a pickle that names (posix|nt).* nothing of it was run"
    ):
        read_small_imagenet(tmp_path, "test")
    file.unlink()
    np.savez(
        tmp_path / "val_data.npz", data=LABELLED["data"], labels=np.array([Evil(marker), 1], dtype=object)
    )
    with pytest.raises(
        InputError, match=r"val_data.npz: found an archive that cannot be read \(Object arrays"
    ):
        read_small_imagenet(tmp_path, "test")
    assert not marker.exists()
    np.load(tmp_path / "val_data.npz", allow_pickle=True)["labels"]
    assert marker.exists(), "it does harm where it is let"


@pytest.mark.parametrize(
    ("form", "damage"),
    [*itertools.product(("npz", "pickle"), (0, 100, 3000, -30)), ("npz", "packed"), ("npz", "header")],
)
def test_a_damaged_batch(form: str, damage: int | str, tmp_path: Path) -> None:
    """Cut off after so many bytes; zeros among compressed values; a header of NumPy's that is no Python."""
    write_small(tmp_path, form)
    file = tmp_path / ("train_data_batch_4.npz" if form == "npz" else "train_data_batch_4")
    content = file.read_bytes()
    if isinstance(damage, int):
        file.write_bytes(content[:damage])
    elif damage == "packed":
        np.savez_compressed(file, **small_batches()[3])
        packed = file.read_bytes()
        file.write_bytes(packed[:200] + bytes(30) + packed[230:])
    else:
        assert b"(4, 3072), }" in content
        file.write_bytes(content.replace(b"(4, 3072), }", b"(4, 3072, } "))
    kind = "an archive" if form == "npz" else "a pickle"
    with pytest.raises(InputError, match=rf"{file.name}: found {kind} that cannot be read"):
        read_small_imagenet(tmp_path, "train")


def test_a_batch_that_claims_more_images_than_can_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_small(tmp_path, "npz")
    monkeypatch.setattr("data.small_imagenet._most_images", lambda file: 1 << 50)
    with pytest.raises(InputError, match=r"found batches with room for 11,2.* images; expected as many as"):
        read_small_imagenet(tmp_path, "train")


# ---------------------------------------------------------------- folders


def write_folders(root: Path, names: dict[str, list[str]]) -> Path:
    for folder, files in names.items():
        (root / folder).mkdir(parents=True)
        for file in files:
            (root / folder / file).touch()
    return root


def test_folders(tmp_path: Path) -> None:
    names = {
        "train/n02": ["b.JPEG", "a.JPEG", "notes.txt", "._a.JPEG"],
        "train/n01": ["é.png", "z.jpg"],
        "train/.cache": [],
        "val/n01": ["1.JPEG"],
        "val/n02": ["2.JPEG"],
    }
    write_folders(tmp_path, names)
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
        (
            {},
            "val: found no such file or directory; expected the folder with a folder of images",
        ),
        ({"val": ["1.JPEG"]}, "val: found no folder in it"),
        ({"val/n01": []}, "val.n01: found no image"),
        ({"val/n01": ["1.JPEG"], "train/n02": []}, "val: found a class n01 in val alone"),
        ({"val/n01": ["1.JPEG"], "train/n01": [], "train/n00": []}, "val: found a class n00 in train alone"),
    ],
)
def test_folders_of_another_kind(names: dict[str, list[str]], message: str, tmp_path: Path) -> None:
    write_folders(tmp_path, names)
    with pytest.raises(InputError, match=message):
        read_image_folders(tmp_path, "test")
