"""Which format is it? And the command on each of them."""

import json

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
import pytest

from data.formats import (
    COCO_SIMILAR,
    VOC_SIMILAR,
    read_found,
    read_ground_truth,
    similar_groups,
    write_coco_detections,
    write_detections,
)
from data.records import Detections, GroundTruth, InputError
from diagnosis.__main__ import main
from diagnosis.options import with_images
from diagnosis.similar import read_similar
from tests.data.scenes import coco_image, coco_object, voc_xml, write_coco, write_image, write_yolo

IMAGES, CLASSES = ("one", "two"), ("cat", "dog")
SIZE = (100, 80)
BOXES = [[10.0, 20, 60, 60], [20.0, 10, 50, 70], [0.0, 0, 50, 40]]
TRUTH = GroundTruth(IMAGES, CLASSES, [SIZE] * 2, [0, 0, 1], [0, 1, 1], BOXES)
FOUND = Detections(IMAGES, CLASSES, [0, 0, 1, 1], [0, 1, 1, 0], [0.75, 0.5, 0.625, 0.25], [*BOXES, BOXES[0]])


def as_voc(folder):
    tree = folder / "VOCmine"
    for name in ("Annotations", "ImageSets/Main"):
        (tree / name).mkdir(parents=True)
    (tree / "ImageSets" / "Main" / "test.txt").write_text("one\ntwo\n")
    (tree / "ImageSets" / "Main" / "train.txt").write_text("one\n")
    (tree / "classes.yaml").write_text("classes: [cat, dog]\nsimilar: [[cat, dog]]\n")
    for i, image in enumerate(IMAGES):
        rows = np.flatnonzero(TRUTH.image_index == i)
        objects = [(CLASSES[TRUTH.labels[row]], TRUTH.boxes[row] + [1, 1, 0, 0]) for row in rows]
        (tree / "Annotations" / f"{image}.xml").write_text(voc_xml(objects, SIZE))
    return f"{tree}:test"


def as_coco(folder):
    images = [coco_image(n, f"{name}.jpg", SIZE) for n, name in enumerate(IMAGES, 1)]
    kinds = {"cat": "animal", "dog": "animal", "bus": "vehicle"}
    categories = [{"id": n, "name": name, "supercategory": kinds[name]} for n, name in enumerate(kinds, 1)]
    boxes = np.concatenate([TRUTH.boxes[:, :2], TRUTH.boxes[:, 2:] - TRUTH.boxes[:, :2]], axis=1).tolist()
    rows = zip(TRUTH.image_index + 1, TRUTH.labels + 1, boxes, strict=True)
    objects = [coco_object(int(image), int(label), box) for image, label, box in rows]
    return str(write_coco(folder, objects, images, categories))


def fractions(boxes):
    boxes = np.asarray(boxes) / [*SIZE, *SIZE]
    return np.concatenate([(boxes[:, :2] + boxes[:, 2:]) / 2, boxes[:, 2:] - boxes[:, :2]], axis=1)


def yolo_lines(record, image, scores=None):
    lines = np.column_stack([record.labels, fractions(record.boxes), *([] if scores is None else [scores])])
    rows = lines[record.image_index == image].tolist()
    return "".join(f"{int(label)} {' '.join(map(str, numbers))}\n" for label, *numbers in rows)


def as_yolo(folder):
    return str(write_yolo(folder, {name: yolo_lines(TRUTH, i) for i, name in enumerate(IMAGES)}, SIZE))


def found_yolo(folder, truth):
    (folder / "labels").mkdir()
    for i, name in enumerate(IMAGES):
        (folder / "labels" / f"{name}.txt").write_text(yolo_lines(FOUND, i, FOUND.scores))
    return folder


def found_table(folder, truth):
    columns = {
        "image": [IMAGES[i] for i in FOUND.image_index],
        "class": [CLASSES[i] for i in FOUND.labels],
        "score": FOUND.scores,
    }
    sides = zip(("xmin", "ymin", "xmax", "ymax"), FOUND.boxes.T, strict=True)
    pyarrow.parquet.write_table(pa.table(columns | dict(sides)), folder / "found.parquet")
    return folder / "found.parquet"


def found_csv(folder, truth):
    table = pyarrow.parquet.read_table(found_table(folder, truth))
    pyarrow.csv.write_csv(table, folder / "found.csv")
    return folder / "found.csv"


def found_coco(folder, truth):
    write_coco_detections(FOUND, folder / "found.json", truth)
    if not truth.class_ids:  # then by name
        rows = json.loads((folder / "found.json").read_text())
        rows = [
            row | {"image_id": IMAGES[row["image_id"] - 1], "category_id": CLASSES[row["category_id"] - 1]}
            for row in rows
        ]
        (folder / "found.json").write_text(json.dumps(rows))
    return folder / "found.json"


def found_voc(folder, truth):
    write_detections(FOUND, folder / "text")
    return folder / "text"


TRUTHS = [as_voc, as_coco, as_yolo]
FOUNDS = [found_voc, found_coco, found_yolo, found_table, found_csv]


@pytest.mark.parametrize("write_truth", TRUTHS)
@pytest.mark.parametrize("write_found", FOUNDS)
def test_all_formats_say_the_same(tmp_path, write_truth, write_found):
    """Any ground truth with any detections."""
    truth = read_ground_truth(write_truth(tmp_path / "truth"))
    assert truth.images == IMAGES
    assert truth.classes[:2] == CLASSES
    assert truth.sizes.tolist() == [list(SIZE)] * 2
    np.testing.assert_allclose(truth.boxes, TRUTH.boxes, atol=1e-9)
    assert truth.labels.tolist() == TRUTH.labels.tolist()
    found = read_found(write_found(tmp_path, truth), truth)
    order = np.argsort(-found.scores)
    expected = np.argsort(-FOUND.scores)
    for column in ("image_index", "labels", "scores", "boxes"):
        np.testing.assert_allclose(getattr(found, column)[order], getattr(FOUND, column)[expected], atol=1e-9)


def test_specs_of_ground_truth(tmp_path):
    voc, yolo, coco = as_voc(tmp_path / "v"), as_yolo(tmp_path / "y"), as_coco(tmp_path / "c")
    folder = voc.rpartition(":")[0]
    assert len(read_ground_truth(f"{folder}:train").images) == 1
    for spec in (tmp_path / "y", f"{tmp_path / 'y'}:val", f"{yolo}:val"):
        assert read_ground_truth(spec).images == IMAGES
    (tmp_path / "a:b").mkdir()
    (tmp_path / "c" / "truth.json").rename(tmp_path / "a:b" / "truth.json")
    assert read_ground_truth(str(tmp_path / "a:b" / "truth.json")).images == IMAGES
    assert not (tmp_path / coco).exists()


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("absent", "absent: found no such file or folder; expected a VOC year folder"),
        ("absent.json", "absent.json: found no such file; expected"),
        ("absent:test", "absent: found no such folder"),
        ("absent.yaml:test", "absent.yaml: found no such file"),
        ("v/VOCmine", r"VOCmine: found a VOC tree with the lists test, train; expected .*VOCmine:test"),
        ("c/truth.json:val", "expected the file alone"),
        ("c", "c: found a folder of JSON files; expected one of them, such as c/truth.json"),
        ("empty", "empty: found an empty folder; expected a VOC year folder"),
        ("other", "other: found a folder of no known kind; expected a VOC year folder"),
        (
            "photos",
            "photos: found 2 photographs and no annotation; expected XML beside them, as LabelImg wri",
        ),
        ("notes.txt", "notes.txt: found a file of an unknown kind"),
        ("y:test", "data.yaml: found no test; expected one of val"),
        ("both", "both: found both a VOC tree and data.yaml"),
    ],
)
def test_wrong_specs(tmp_path, monkeypatch, spec, message):
    monkeypatch.chdir(tmp_path)
    as_voc(tmp_path / "v"), as_yolo(tmp_path / "y"), as_coco(tmp_path / "c")
    for name in ("empty/", "other/a.zip", "photos/a.jpg", "photos/b.PNG", "photos/notes.doc", "notes.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).mkdir() if name.endswith("/") else (tmp_path / name).touch()
    as_yolo(tmp_path / "both")
    (tmp_path / "both" / "Annotations").mkdir()
    with pytest.raises(InputError, match=message):
        read_ground_truth(spec)


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({}, "found: found no .txt file; expected a folder of VOC detection text"),
        ({"a.json": "[]"}, "did you mean .*a.json"),
        ({"one.txt": "", "dog.txt": ""}, "found files named both as images and as classes, such as dog.txt"),
        ({"three.txt": ""}, "three.txt: found a file of no known class"),
        ({"a.txt": "", "b.txt": "", "c.txt": ""}, "a.txt: found the unknown image 'a'"),
        ({"one.txt": "0 0.5 0.5 1 1 0.9\n", "dgo.txt": ""}, "dgo.txt: found the unknown image 'dgo'"),
        ({"det_dog.txt": "", "dgo.txt": ""}, "dgo.txt: found a file of no known class"),
    ],
)
def test_wrong_folders_of_detections(tmp_path, files, message):
    (tmp_path / "found").mkdir()
    for name, text in files.items():
        (tmp_path / "found" / name).write_text(text)
    with pytest.raises(InputError, match=message):
        read_found(tmp_path / "found", TRUTH)


def test_wrong_files_of_detections(tmp_path):
    with pytest.raises(InputError, match="absent: found no such file or folder"):
        read_found(tmp_path / "absent", TRUTH)
    (tmp_path / "found.npz").write_text("")
    with pytest.raises(InputError, match=r"found.npz: found a file of the unknown kind .npz"):
        read_found(tmp_path / "found.npz", TRUTH)


def test_similar_classes(tmp_path):
    voc, yolo, coco = as_voc(tmp_path / "v"), as_yolo(tmp_path / "y"), as_coco(tmp_path / "c")
    assert [similar_groups(spec) for spec in (voc, yolo, coco)] == [[["cat", "dog"]], [], [["cat", "dog"]]]
    assert read_similar(None, coco, CLASSES).groups == [["cat", "dog"]]
    assert read_similar("none", coco, CLASSES) == ([], "none were asked for")
    assert ["cat", "dog"] in read_similar("coco", yolo, CLASSES).groups
    assert ["cat", "dog"] in read_similar("voc", yolo, CLASSES).groups
    with pytest.raises(InputError, match="--similar coco: found classes round; expected classes of COCO"):
        read_similar("coco", yolo, ["round"])
    (tmp_path / "groups.yaml").write_text("pets: [cat, dog]\n")
    assert read_similar(str(tmp_path / "groups.yaml"), yolo, CLASSES).groups == [["cat", "dog"]]
    (tmp_path / "groups.yaml").write_text("pets: [cat, dgo]\n")
    with pytest.raises(InputError, match=r"groups\.yaml: found 'dgo'; .* did you mean 'dog'"):
        read_similar(str(tmp_path / "groups.yaml"), yolo, CLASSES)


def test_coco_s_groups_are_disjoint_and_hold_all_classes_but_person():
    names = [name for group in COCO_SIMILAR for name in group]
    assert len(names) == len(set(names)) == 79
    assert "person" not in names
    assert not set(VOC_SIMILAR[0]) - {*names, "person"}


def test_photographs_from_a_folder_with_folders(tmp_path):
    images = tmp_path / "images"
    for name in IMAGES:
        write_image(images / "val" / f"{name}.png", SIZE)
    assert with_images(TRUTH, images).files == tuple(str(images / "val" / f"{n}.png") for n in IMAGES)
    nested = GroundTruth(["val/one"], CLASSES, [SIZE], [], [], [])
    assert with_images(nested, images).files == (str(images / "val" / "one.png"),)
    (images / "more").mkdir()
    (images / "val" / "one.png").rename(images / "more" / "one.png")
    write_image(images / "val" / "one.jpg", SIZE)
    with pytest.raises(InputError, match=r"images: found both .*more/one.png and .*val/one.jpg"):
        with_images(TRUTH, images)


QUICK = ("--no-figures", "--replicates", "0")

# --- the command --------------------------------------------------------------------------------


def test_the_command_is_lenient_with_both(tmp_path, capsys):
    spec = as_coco(tmp_path / "truth")
    path = found_coco(tmp_path, read_ground_truth(spec))
    for file, place in ((tmp_path / "truth" / "truth.json", ("annotations", 0)), (path, (0,))):
        content = json.loads(file.read_text())
        row = content
        for step in place:
            row = row[step]
        row["bbox"] = [1, 2, float("nan"), 4]
        file.write_text(json.dumps(content))
    given = ["--ground-truth", spec, "--detections", str(path), "--out", str(tmp_path / "out"), *QUICK]
    assert main(given) == 2
    assert "annotations[0]: found the bbox 1 2 nan 4" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
    assert main([*given, "--lenient"]) == 0
    said = capsys.readouterr().err
    assert "1 of 3 annotations left out (1 with a box that is not finite)" in said
    assert "1 of 4 detections left out (1 with a box that is not finite)" in said
