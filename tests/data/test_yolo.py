"""YOLO's data sets and detection text: what is read, and what each mistake is answered with."""

import numpy as np
import pytest
from PIL import Image

from data.formats import read_yolo, read_yolo_detections
from data.formats.files import EXIF_ORIENTATION, UNKNOWN_SIZE, image_size
from data.formats.validation import plain_numbers
from data.records import GroundTruth, InputError
from tests.data.scenes import write_image

YAML = "path: .\ntrain: images/train\nval: images/val\nnames: {0: cat, 1: dog}\n"
SIZES = {"one": (200, 100), "two": (50, 80), "three": (40, 40)}


@pytest.fixture
def tree(tmp_path):
    """A data set whose val split has three images; the last has no label file."""
    (tmp_path / "data.yaml").write_text(YAML)
    for name, size in SIZES.items():
        write_image(tmp_path / "images" / "val" / f"{name}.png", size)
    labels = tmp_path / "labels" / "val"
    labels.mkdir(parents=True)
    (labels / "one.txt").write_text("1 0.5 0.5 0.25 0.5\n\n0 0.1 0.1 0.2 0.2\n")
    (labels / "two.txt").write_text("0 0.5 0.5 1 1")
    return tmp_path


def read(tree, split="val", lenient=False):
    return read_yolo(tree / "data.yaml", split, lenient)


def test_a_split(tree):
    truth = read(tree)
    assert truth.images == ("one", "three", "two")
    assert truth.classes == ("cat", "dog")
    assert truth.sizes.tolist() == [[200, 100], [40, 40], [50, 80]]
    assert truth.image_index.tolist() == [0, 0, 2]
    assert truth.labels.tolist() == [1, 0, 0]
    np.testing.assert_allclose(truth.boxes, [[75, 25, 125, 75], [0, 0, 40, 20], [0, 0, 50, 80]], atol=1e-12)
    assert truth.files == tuple(
        str(tree / "images" / "val" / f"{name}.png") for name in ("one", "three", "two")
    )


@pytest.mark.parametrize(
    ("yaml", "names"),
    [
        ("names: [cat, dog]\nval: images/val\n", ("one", "three", "two")),
        ("names: [cat, dog]\nnc: 2\nval: ../images/val\n", ("one", "three", "two")),  # as Roboflow writes it
        ("path: nowhere/else\nnames: [cat, dog]\nval: images/val\n", ("one", "three", "two")),
        (
            "names: [cat, dog]\nval: [images/val, images/more]\n",
            ("val/one", "val/three", "val/two", "more/one"),
        ),
        ("names: [cat, dog]\nval: list.txt\n", ("two", "one")),
        ("names: [cat, dog]\nval: images\n", ("more/one", "val/one", "val/three", "val/two")),
    ],
)
def test_places(tree, yaml, names):
    (tree / "data.yaml").write_text(yaml)
    write_image(tree / "images" / "more" / "one.jpg", (9, 9))
    (tree / "list.txt").write_text(f"./images/val/two.png\n\n{tree}/images/val/one.png\nimages/val/two.png\n")
    truth = read(tree)
    assert truth.images == names
    assert len(truth) == 3


def test_labels_beside_images_that_lie_elsewhere(tmp_path):
    write_image(tmp_path / "photos" / "a.png", (10, 10))
    (tmp_path / "photos" / "a.txt").write_text("0 0.5 0.5 0.5 0.5\n")
    (tmp_path / "data.yaml").write_text("test: photos\nnames: [cat]\n")
    assert read(tmp_path, "test").boxes.tolist() == [[2.5, 2.5, 7.5, 7.5]]


def test_a_polygon_stands_for_the_box_around_it(tree):
    (tree / "labels" / "val" / "one.txt").write_text("1 0.1 0.2 0.5 0.1 0.4 0.6\n0 0.5 0.5 1 1\n")
    np.testing.assert_allclose(read(tree).boxes[:2], [[20, 10, 100, 60], [0, 0, 200, 100]])


def test_the_size_of_an_image_as_it_is_shown(tmp_path):
    exif = Image.Exif()
    exif[EXIF_ORIENTATION] = 6
    Image.new("L", (30, 20)).save(tmp_path / "turned.jpg", exif=exif)
    assert image_size(tmp_path / "turned.jpg") == (20, 30)


def test_images_without_objects(tree):
    for file in (tree / "labels" / "val").iterdir():
        file.write_text("\n")
    assert len(read(tree)) == 0


@pytest.mark.parametrize(
    ("yaml", "message"),
    [
        ("", "data.yaml: found no keys"),
        ("names: [\n", "data.yaml:2: found malformed YAML"),
        ("val: images/val\n", "data.yaml: names: found nothing; expected a list of class names"),
        ("names: {1: cat, 2: dog}\n", "names: found the numbers 1, 2"),
        (
            "names: [cat, dog, cat]",
            r"names\[2\]: found the name 'cat' a second time \(first in .*names\[0\]\)",
        ),
        ("names: [1, '1']", "a second time"),
        ("names: [yes, no]", r"names\[0\]: found True; expected a class name \(in quotes"),
        ("names: {0: cat, 1: no}", r"names\[1\]: found False"),
        ("names: {no: cat, yes: dog}", "names: found the numbers False, True"),
        ("names: [cat, null]", r"names\[1\]: found None"),
        ("names: [cat, ' ']", r"names\[1\]: found ' '"),
        ("names: [cat, 1.5]", r"names\[1\]: found 1.5"),
        ("names: {0: cat, 0: dog}", r"data.yaml:1: found the key '0' twice; expected each key once"),
        ("names: [cat]\nnc: 1\nnames: [dog]", r"data.yaml:3: found the key 'names' twice"),
        ("names: [cat]\nnc: 2\n", "nc: found 2; expected 1"),
        ("names: [cat]\nval: 3\n", "val: found 3; expected a folder"),
        ("names: [cat]\ntrain: x\n", "found no val; expected one of train"),
        ("names: [cat]\nval: absent\n", "absent: found nothing there"),
        ("names: [cat]\nval: labels\n", "val: found no image in labels"),
        ("names: [cat]\nval: images/val\n", r"one.txt:1: found the class 1; expected a number from 0 to 0"),
    ],
)
def test_wrong_data_sets(tree, yaml, message):
    (tree / "data.yaml").write_text(yaml)
    with pytest.raises(InputError, match=message):
        read(tree)


@pytest.mark.parametrize(
    ("remove", "message"),
    [
        ("labels/val/*.txt", r"one.txt: found no such file, nor any other label file"),
        ("images/val/two.png", r"two.png: found no readable image"),
    ],
)
def test_no_label_file_and_no_readable_image(tree, remove, message):
    for file in list(tree.glob(remove)):
        file.unlink() if file.suffix == ".txt" else file.write_text("no image")
    with pytest.raises(InputError, match=message):
        read(tree)


# --- detections ---------------------------------------------------------------------------------


@pytest.fixture
def truth():
    return GroundTruth(SIZES, ["cat", "dog"], list(SIZES.values()), [], [], [])


def test_detections(tmp_path, truth):
    (tmp_path / "labels").mkdir()
    (tmp_path / "labels" / "two.txt").write_text("0 0.5 0.5 1 0.5 0.875\r\n1 0.1 0.1 0 0.1 0.1\n")
    (tmp_path / "labels" / "one.txt").write_text("\ufeff1 0.5 0.5 0.25 0.5 1\n")
    (tmp_path / "labels" / "classes.txt").write_text("cat\ndog\n")
    for folder in (tmp_path, tmp_path / "labels"):
        found = read_yolo_detections(folder, truth)
        assert found.image_index.tolist() == [0, 1, 1]
        assert found.labels.tolist() == [1, 0, 1]
        assert found.scores.tolist() == [1, 0.875, 0.1]
        np.testing.assert_allclose(found.boxes, [[75, 25, 125, 75], [0, 20, 50, 60], [5, 4, 5, 12]])


@pytest.mark.parametrize(
    "text", ["1 2,3", "1 2],[3 4", "1 nan", "01 2", "1  2", "1 2 ", "\\n1 2", "1 1e999", "1"]
)
def test_numbers_that_are_not_plain_are_left_to_the_slow_way(text):
    assert plain_numbers(b"0.1 -2e-3\r\n3\t4\n", 2).tolist() == [[0.1, -0.002], [3, 4]]
    assert plain_numbers(f"5 6\n{text}\n7 8".encode(), 2) is None


def test_no_detections(tmp_path, truth):
    (tmp_path / "one.txt").write_text("")
    assert len(read_yolo_detections(tmp_path, truth)) == 0


GOOD = "0 0.5 0.5 1 1 0.9\n"


def test_files_of_no_image(tmp_path, truth):
    (tmp_path / "one.txt").write_text(GOOD)
    (tmp_path / "tow.txt").write_text(GOOD * 3)
    with pytest.raises(InputError, match=r"tow.txt: found the unknown image 'tow'"):
        read_yolo_detections(tmp_path, truth)
    with pytest.warns(UserWarning, match=r"3 of 4 detections left out \(3 on an unknown image\).*tow.txt:1"):
        assert len(read_yolo_detections(tmp_path, truth, lenient=True)) == 1


def test_folders_without_text_and_images_of_unknown_size(tmp_path, truth):
    with pytest.raises(InputError, match=r"found no .txt file"):
        read_yolo_detections(tmp_path, truth)
    with pytest.raises(InputError, match="found no such folder"):
        read_yolo_detections(tmp_path / "absent", truth)
    (tmp_path / "one.txt").write_text(GOOD)
    boundless = GroundTruth(["one"], ["cat"], [[UNKNOWN_SIZE] * 2], [], [], [])
    with pytest.raises(InputError, match="expected images whose width and height are known"):
        read_yolo_detections(tmp_path, boundless)
