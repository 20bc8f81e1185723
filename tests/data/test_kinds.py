"""Files of the kinds that people have: read rightly, refused with a reason, or read with a warning.

The rules are in ``docs/input-rules.md``.
"""

import contextlib
import io
import json
import os
import pickle
import re
import struct
import tarfile
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from data.download import unpack
from data.formats import (
    from_predictions,
    from_table,
    read_coco,
    read_coco_detections,
    read_found,
    read_ground_truth,
    read_table,
    read_yolo,
    read_yolo_detections,
)
from data.formats.voc import read_voc_folder
from data.pickles import read_pickle
from data.records import GroundTruth, InputError, InputWarning
from tests.data.scenes import (
    coco_image,
    coco_object,
    coco_result,
    voc_xml,
    write_coco,
    write_image,
    write_json,
    write_yolo,
)

BOX = [100, 100, 50, 40]
PREDICTION = {"boxes": [[100.0, 100, 150, 140]], "scores": [0.9], "labels": ["cat"]}
SWAPPED = [coco_image(1, "2.jpg"), coco_image(2, "1.jpg")]


@contextlib.contextmanager
def silently():
    """Without any word."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


def found_in(folder: Path, truth: GroundTruth, *rows: dict[str, Any], **options: Any):
    return read_coco_detections(write_json(folder / "found.json", list(rows)), truth, **options)


# --- which image a row belongs to ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("images", "key", "image"),
    [
        *((SWAPPED, key, image) for key, image in (
            ("2.jpg", 0), ("1.jpg", 1), (2, 1), (1, 0), ("val/2.jpg", 0), ("2.png", 0), (2.0, 1),
            ("photos/2", 0),
        )),
        # Files of one stem are called by their ids; their names are known all the same.
        ([coco_image(7, "1.jpg"), coco_image(8, "1.png")], "1.png", 1),
        ([coco_image(7, "1.jpg"), coco_image(8, "1.png")], 7, 0),
        ([coco_image(7, "a/1.jpg"), coco_image(8, "b/1.jpg")], "/data/b/1.jpg", 1),
        ([coco_image("b", "a.jpg"), coco_image("a", "b.jpg")], "a", 1),  # ids that are names of others
        ([coco_image("b", "a.jpg"), coco_image("a", "b.jpg")], "a.jpg", 0),
        ([coco_image("1", "2.jpg"), coco_image("2", "1.jpg")], 2, 1),
        ([coco_image(17, "000012.jpg"), coco_image(12, "000017.jpg")], "000012", 0),
    ],
)  # fmt: skip
def test_kind_the_image_of_a_key(tmp_path, images, key, image):
    """Exact file name, exact id of the same type, path or stem, then a number that reads as an id."""
    truth = read_coco(write_coco(tmp_path, images=images))
    with silently():
        assert found_in(tmp_path, truth, coco_result(key, 1, BOX)).image_index.tolist() == [image]
        assert from_predictions({key: PREDICTION}, truth).image_index.tolist() == [image]


def test_kind_both_keys_reach_their_own_image(tmp_path):
    truth = read_coco(write_coco(tmp_path, images=SWAPPED))
    assert from_predictions({"2.jpg": PREDICTION, "1.jpg": PREDICTION}, truth).image_index.tolist() == [0, 1]


def test_kind_a_key_that_fits_two_images(tmp_path):
    truth = read_coco(write_coco(tmp_path, images=SWAPPED))
    row = coco_result("2", 1, BOX)
    message = r"the image '2', the name of '2' \(id 1\) and the id of '1' \(id 2\)"
    with pytest.raises(InputError, match=message):
        found_in(tmp_path, truth, row)
    with pytest.raises(InputError, match=message):
        from_predictions({"2": PREDICTION}, truth)
    with pytest.warns(InputWarning, match="1 of 2 detections left out .1 of an ambiguous image"):
        assert len(found_in(tmp_path, truth, row, coco_result(1, 1, BOX), lenient=True)) == 1


@pytest.mark.parametrize(
    ("column", "value", "image"),
    [("image_id", "2", 1), ("image", "2", 0), ("image_id", "2.0", 1), (" image_id ", " 2 ", 1)],
)
def test_kind_ids_in_text_are_ids_in_a_table(tmp_path, column, value, image):
    """CSV does not tell 2 from "2"; a column with gaps has 2.0; hand-written files have spaces."""
    truth = read_coco(write_coco(tmp_path, images=SWAPPED))
    path = tmp_path / "found.csv"
    for classes, label in (("class", "dog"), ("class", " dog "), ("class_id", "1.0"), ("category_id", "2.0")):
        head = f"{column},{classes},score,xmin,ymin,xmax,ymax"
        path.write_text(f"{head}\n{value},{label},0.9,100,100,150,140\n")
        found = read_table(path, truth)
        assert (found.image_index.tolist(), found.labels.tolist()) == ([image], [1])


def test_kind_names_that_look_like_numbers(tmp_path):
    """Frames called by their seconds."""
    truth = read_yolo(write_yolo(tmp_path, {"1.0": "0 .5 .5 .1 .1", "1.5": "0 .5 .5 .1 .1"}))
    path = tmp_path / "found.csv"
    for value, image in (("1.0", 0), ("1.5", 1)):
        path.write_text(f"image_id,class,score,xmin,ymin,xmax,ymax\n{value},cat,0.9,100,100,150,140\n")
        assert read_table(path, truth).image_index.tolist() == [image]


def test_kind_one_stem_in_two_folders(tmp_path):
    truth = read_coco(write_coco(tmp_path, images=[coco_image(7, "a/1.jpg"), coco_image(8, "b/1.jpg")]))
    with pytest.raises(
        InputError, match=r"'1.jpg', the file name of 'a/1' \(id 7\) and the file name of 'b/1'"
    ):
        found_in(tmp_path, truth, coco_result("1.jpg", 1, BOX))


def test_kind_voc_text_and_yolo_files_by_the_same_rule(tmp_path):
    truth = read_coco(write_coco(tmp_path, images=SWAPPED))
    (tmp_path / "voc").mkdir()
    (tmp_path / "voc" / "det_cat.txt").write_text("2.jpg 0.9 1 1 9 9\nval/1.png 0.9 1 1 9 9\n2 0.9 1 1 9 9\n")
    assert read_found(tmp_path / "voc", truth).image_index.tolist() == [0, 1, 0]
    (tmp_path / "yolo").mkdir()
    (tmp_path / "yolo" / "2.txt").write_text("0 0.5 0.5 0.1 0.1 0.9")
    assert read_found(tmp_path / "yolo", truth).image_index.tolist() == [0]


@pytest.mark.parametrize("key", [float("nan"), float("inf"), 1.5, 1e300, -1, "", "²"])
@pytest.mark.parametrize("field", ["image_id", "category_id"])
def test_kind_keys_that_are_no_ids(tmp_path, key, field):
    truth = read_coco(write_coco(tmp_path))
    with pytest.raises(InputError, match=r"found.json\[0\]: found the unknown (image|class) "):
        found_in(tmp_path, truth, coco_result(1, 1, BOX) | {field: key})


def test_kind_classes_alike(tmp_path):
    categories = [{"id": 1, "name": "2"}, {"id": 2, "name": "1"}]
    truth = read_coco(write_coco(tmp_path, categories=categories))
    rows = [coco_result(1, key, BOX) for key in ("2", "1", 2, 1)]
    assert found_in(tmp_path, truth, *rows).labels.tolist() == [0, 1, 1, 0]


def test_kind_a_file_name_that_contradicts_the_id(tmp_path):
    images = [coco_image(0, "0001.jpg"), coco_image(1, "0002.jpg")]
    truth = read_coco(write_coco(tmp_path, images=images))
    rows = [coco_result(1, 1, BOX, file_name="0001.jpg"), coco_result(1, 1, BOX), coco_result(0, 1, BOX)]
    message = (
        r"found.json\[0\]: image_id 1, which is '0002', contradicts file_name '0001.jpg'; so do 1 of 3 rows: "
        "file_name was used"
    )
    with pytest.warns(InputWarning, match=message) as caught:
        assert found_in(tmp_path, truth, *rows).image_index.tolist() == [0, 1, 0]
    assert len(caught) == 1
    with silently():
        agreeing = [row | {"file_name": images[row["image_id"]]["file_name"]} for row in rows]
        assert found_in(tmp_path, truth, *agreeing).image_index.tolist() == [1, 1, 0]


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_kind_a_table_with_names_and_ids(tmp_path, suffix):
    import pyarrow as pa
    import pyarrow.csv
    import pyarrow.parquet

    images = [coco_image(0, "0001.jpg"), coco_image(1, "0002.jpg")]
    truth = read_coco(write_coco(tmp_path, images=images))
    names = {"file_name": ["0001.jpg", "0002.jpg"], "category_name": ["cat", "dog"], "score": [0.9, 0.8]}
    boxes = {name: [10.0 + 20 * i] * 2 for i, name in enumerate(("xmin", "ymin", "xmax", "ymax"))}
    path = tmp_path / f"found.{suffix}"
    write = pyarrow.csv.write_csv if suffix == "csv" else pyarrow.parquet.write_table
    write(pa.table(names | boxes | {"image_id": [0, 1], "category_id": [1, 2]}), path)
    with silently():
        found = read_table(path, truth)
    assert (found.image_index.tolist(), found.labels.tolist()) == ([0, 1], [0, 1])
    write(pa.table(names | boxes | {"image_id": [1, 1], "category_id": [1, 1]}), path)
    of_class = pytest.warns(
        InputWarning, match="category_id '?1'?, which is 'cat', contradicts category_name"
    )
    with (
        of_class,
        pytest.warns(InputWarning, match="found.*image_id '?1'?, which is '0002', contradicts file_name"),
    ):
        found = read_table(path, truth)
    assert (found.image_index.tolist(), found.labels.tolist()) == ([0, 1], [0, 1])


def test_kind_a_file_name_of_no_image_and_a_name_of_a_class(tmp_path):
    truth = read_coco(write_coco(tmp_path))
    words = (
        "file_name 'x.jpg' fits none, or several; so in 1 of 1 rows: image_id 1, which is '0001', was used"
    )
    with pytest.warns(InputWarning, match=words):
        found = found_in(tmp_path, truth, coco_result(1, 1, BOX, file_name="x.jpg"))
    assert found.image_index.tolist() == [0]
    with pytest.warns(InputWarning, match="category_id 1, which is 'cat', contradicts category_name 'dog'"):
        found = found_in(tmp_path, truth, coco_result(1, 1, BOX, category_name="dog"))
    assert found.labels.tolist() == [1]


def test_kind_a_file_name_that_fits_two_images_contradicts_nothing(tmp_path):
    images = [coco_image(1, "a/x.jpg"), coco_image(2, "b/x.jpg"), coco_image(3, "c.jpg")]
    truth = read_coco(write_coco(tmp_path, images=images))
    rows = [coco_result(2, 1, BOX, file_name="x.jpg"), coco_result(2, 1, BOX, file_name="c.jpg")]
    with pytest.warns(InputWarning) as caught:
        assert found_in(tmp_path, truth, *rows).image_index.tolist() == [1, 2]
    assert [re.sub(r"^.*json\[", "[", str(one.message)) for one in caught] == [
        "[1]: image_id 2, which is 'b/x', contradicts file_name 'c.jpg'; so do 1 of 2 rows: file_name was "
        "used",
        "[0]: file_name 'x.jpg' fits none, or several; so in 1 of 2 rows: image_id 2, which is 'b/x', was "
        "used",
    ]


# --- YOLO's columns -----------------------------------------------------------------------------

POSE_3 = "0 0.50 0.50 0.10 0.06 0.46 0.48 2 0.54 0.48 2 0.54 0.52 2 0.46 0.52 2"
POSE_2 = "0 0.68 0.60 0.20 0.07 0.58 0.63 0.69 0.61 0.75 0.59 0.78 0.56 0.63 0.62"


@pytest.mark.parametrize(
    ("shape", "line", "box"),
    [
        ([4, 3], POSE_3, [288, 225.6, 352, 254.4]),
        ([5, 2], POSE_2, [371.2, 271.2, 499.2, 304.8]),
        ([1, 3], "1 0.5 0.5 0.5 0.5 0.4 0.4 1", [160, 120, 480, 360]),
        ([4, 3], "0 0.5 0.5 0.5 0.5", [160, 120, 480, 360]),  # one without its pose
        (None, "0 0.1 0.1 0.5 0.1 0.5 0.5", [64, 48, 320, 240]),  # a polygon
        (None, "0 0.6 0.2 1 0.3 0.9 0.5 1 0.8 0.9 1", [384, 96, 640, 480]),  # one with corners at the border
    ],
)
def test_kind_pose_labels(tmp_path, shape, line, box):
    yaml = "names: [cat, dog]" + (f"\nkpt_shape: {shape}" if shape else "")
    with silently():
        np.testing.assert_allclose(read_yolo(write_yolo(tmp_path, {"a": line}, yaml=yaml)).boxes, [box])


@pytest.mark.parametrize(
    ("shape", "line", "message"),
    [
        (None, POSE_3, r"a.txt:1: found 17 columns that make no polygon inside .*kpt_shape in data.yaml"),
        (None, "0 0.5 0.5 0.1 0.1 1.2 0.5", "make no polygon inside"),
        (None, POSE_3.replace(" 2", " 1"), r"found 17 columns that are a box and .*: \[4, 3\] in data.yaml"),
        (None, "0 0.5 0.5 0.2 0.1 0.45 0.52 1 0 0 0", r"found 11 columns that are a box .* \[2, 3\]"),
        (
            [4, 3],
            POSE_2,
            r"a.txt:1: found 15 columns; expected 5: .*, or 17 with the points that kpt_shape says",
        ),
        ("17", POSE_2, "kpt_shape: found '17'; expected the number of points"),
        ([17, 4], POSE_2, r"kpt_shape: found \[17, 4\]"),
    ],
)
def test_kind_columns_that_fit_no_pose(tmp_path, shape, line, message):
    yaml = "names: [cat, dog]" + (f"\nkpt_shape: {json.dumps(shape)}" if shape else "")
    with pytest.raises(InputError, match=message):
        read_yolo(write_yolo(tmp_path, {"a": line}, yaml=yaml))


@pytest.mark.parametrize(
    "lines", [["7 0.94 0.475 0.525 0.885 0.874"], ["0 0.9 0.5 0.5 0.2 0.2", "1 0.05 0.4 0.3 0.6 0.1"]]
)
def test_kind_confidence_before_the_box(tmp_path, lines):
    truth = GroundTruth(["a"], [f"c{i}" for i in range(8)], [[1000, 1000]], [], [], [])
    (tmp_path / "a.txt").write_text("\n".join(lines))
    with pytest.warns(InputWarning, match="the confidence was read as the column before the box"):
        found = read_yolo_detections(tmp_path, truth)
    values = np.array([list(map(float, line.split())) for line in lines])
    assert found.scores.tolist() == values[:, 1].tolist()
    np.testing.assert_allclose(found.boxes[:, 0], 1000 * (values[:, 2] - values[:, 4] / 2))
    right = values[:, [0, 2, 3, 4, 5, 1]]
    (tmp_path / "a.txt").write_text("\n".join(" ".join(map(str, row)) for row in right.tolist()))
    with silently():
        np.testing.assert_allclose(read_yolo_detections(tmp_path, truth).boxes, found.boxes)


def test_kind_confidence_before_the_box_by_the_objects_found(tmp_path):
    """Where both orders leave the boxes inside their image."""
    truth = GroundTruth(["a"], ["cat"], [[100, 100]], [0], [0], [[40, 40, 50, 50]])
    (tmp_path / "a.txt").write_text("0 0.5 0.45 0.45 0.1 0.1")
    with pytest.warns(InputWarning, match="the confidence was read as the column before the box"):
        np.testing.assert_allclose(read_yolo_detections(tmp_path, truth).boxes, [[40, 40, 50, 50]])
    (tmp_path / "a.txt").write_text("0 0.45 0.45 0.1 0.1 0.5")
    with silently():
        np.testing.assert_allclose(read_yolo_detections(tmp_path, truth).boxes, [[40, 40, 50, 50]])


# --- boxes --------------------------------------------------------------------------------------

OBJECTS = np.array([[20.0, 30, 120, 90], [300, 200, 420, 330], [500, 350, 620, 460], [240, 40, 300, 180]])
SIZE = np.array([640.0, 480, 640, 480])


def in_form(boxes, form):
    low, extent = boxes[:, :2], boxes[:, 2:] - boxes[:, :2]
    return {
        "xyxy": boxes,
        "xywh": np.concatenate([low, extent], axis=1),
        "cxcywh": np.concatenate([low + extent / 2, extent], axis=1),
        "yxyx": boxes[:, [1, 0, 3, 2]],
    }[form]


@pytest.fixture
def four(tmp_path):
    rows = [coco_object(1, 1, box) for box in in_form(OBJECTS, "xywh").tolist()]
    return read_coco(write_coco(tmp_path, rows))


def read_boxes(folder, truth, values, reader, **options):
    if reader == "coco":
        return found_in(folder, truth, *(coco_result(1, 1, box) for box in values.tolist()), **options)
    if reader == "predictions":
        given = {"boxes": values, "scores": [0.9] * len(values), "labels": ["cat"] * len(values)}
        return from_predictions([given], truth, **options)
    if reader == "voc":
        values = values + np.array([1, 1, 0, 0]) * (values.max() > 1)  # pixels count from 1, fractions do not
        lines = (f"0001 0.9 {' '.join(map(str, box))}\n" for box in values.tolist())
        (folder / "voc").mkdir(exist_ok=True)
        (folder / "voc" / "det_cat.txt").write_text("".join(lines))
        return read_found(folder / "voc", truth, **options)
    if reader == "yolo":
        (folder / "yolo").mkdir(exist_ok=True)
        (folder / "yolo" / "0001.txt").write_text(
            "".join(f"0 {' '.join(map(str, box))} 0.9\n" for box in (values / SIZE).tolist())
        )
        return read_found(folder / "yolo", truth, box_format=options.get("box_format"))
    columns = dict(zip(("xmin", "ymin", "xmax", "ymax"), values.T.tolist(), strict=True))
    table = {"image": ["0001"] * len(values), "class": ["cat"] * len(values), "score": [0.9] * len(values)}
    return from_table(table | columns, truth, **options)


USUAL = {"coco": "xywh", "predictions": "xyxy", "table": "xyxy", "voc": "xyxy", "yolo": "cxcywh"}


FRACTIONS_TOO = [(reader, fractions) for reader in USUAL for fractions in (False, True)][
    :-1
]  # YOLO's always are


@pytest.mark.parametrize(("reader", "normalized"), FRACTIONS_TOO)
@pytest.mark.parametrize("form", ["xyxy", "xywh", "cxcywh", "yxyx"])
@pytest.mark.parametrize("count", [1, 4])
def test_kind_boxes_of_another_convention(tmp_path, four, reader, form, normalized, count):
    fractions = normalized or reader == "yolo"
    values = in_form(OBJECTS[-count:] / (SIZE if fractions else 1), form)
    values = values * (SIZE if reader == "yolo" else 1)  # `read_boxes` divides by it
    in_memory = reader in ("predictions", "table")
    words = (", ", f"box_format='{form}'", "normalized=True")
    joint, chosen, fraction = words if in_memory else (" ", f"--box-format {form}", "--normalized")
    options = joint.join([chosen] * (form != USUAL[reader]) + [fraction] * normalized)
    if not options:
        with silently():
            assert len(read_boxes(tmp_path, four, values, reader)) == count
        return
    noticed = pytest.warns(InputWarning, match=f"look like {form}.*: {options} reads them so")
    with noticed, contextlib.suppress(InputError):  # inverted boxes are refused besides
        read_boxes(tmp_path, four, values, reader)
    with silently():
        found = read_boxes(tmp_path, four, values, reader, box_format=form, normalized=normalized)
    np.testing.assert_allclose(found.boxes, OBJECTS[-count:], atol=1e-9)


def test_kind_the_command_line_s_reader(tmp_path, four):
    values = in_form(OBJECTS, "cxcywh")
    path = write_json(tmp_path / "found.json", [coco_result(1, 1, box) for box in values.tolist()])
    with pytest.warns(InputWarning, match="look like cxcywh"):
        read_found(path, four)
    np.testing.assert_allclose(read_found(path, four, box_format="cxcywh").boxes, OBJECTS)
    with pytest.warns(InputWarning, match="look like xywh"), pytest.raises(InputError, match="--box-format"):
        read_boxes(tmp_path, four, in_form(OBJECTS, "xywh"), "table")
    with silently():
        assert len(read_boxes(tmp_path, four, OBJECTS / SIZE, "voc", normalized=True)) == 4


def test_kind_fractions_a_little_beyond_the_border(tmp_path, four):
    values = np.vstack([OBJECTS / SIZE, [[0.8, 0.85, 1.03, 1.08]]])
    with pytest.warns(InputWarning, match=r"all coordinates are at most 1\.2\): normalized=True reads"):
        read_boxes(tmp_path, four, values, "predictions")


def test_kind_images_of_unknown_size(tmp_path):
    with pytest.warns(InputWarning, match="neither width and height"):
        truth = read_coco(write_coco(tmp_path, images=[coco_image(1, size=(None, None))]))
    with pytest.warns(InputWarning, match=r"all coordinates are at most 1\): --normalized reads"):
        found_in(tmp_path, truth, coco_result(1, 1, [0.1, 0.1, 0.2, 0.2]))
    with pytest.raises(InputError, match="found fractions of images of unknown size"):
        found_in(tmp_path, truth, coco_result(1, 1, [0.1, 0.1, 0.2, 0.2]), normalized=True)


def test_kind_in_memory_the_arguments_are_named():
    truth = GroundTruth(["a"], ["cat"], [[100, 100]], [0], [0], [[10, 10, 30, 30]])
    for boxes, said in (([20, 20, 20, 20], "box_format='cxcywh'"), ([0.1, 0.1, 0.3, 0.3], "normalized=True")):
        given = {"boxes": [boxes] * 12, "scores": [0.5] * 12, "labels": [0] * 12}
        with pytest.warns(InputWarning, match=f"{said} reads them so"):
            from_predictions([given], truth)
    wrong = {"boxes": [[5, 5, 1, 1]], "scores": [0.5], "labels": [0]}
    with pytest.raises(InputError, match="box_format, in a command --box-format, says what the columns are"):
        from_predictions([wrong], truth)


def test_kind_a_poor_detector_is_no_other_convention(tmp_path, four):
    rng = np.random.default_rng(0)
    corner = rng.uniform(0, 1, (300, 2)) * [500, 380]
    boxes = np.concatenate([corner, corner + rng.uniform(10, 140, (300, 2)).clip(0, 100)], axis=1)
    for reader, form in USUAL.items():
        with silently():
            read_boxes(tmp_path, four, in_form(boxes, form), reader)


def test_kind_objects_twice_and_beyond_the_border(tmp_path):
    rows = [coco_object(1, 1, box) for box in ([600, 10, 50, 20], BOX, [10, 10, 5, 5], BOX, BOX)]
    with pytest.warns(InputWarning) as caught:
        truth = read_coco(write_coco(tmp_path, rows))
    assert len(truth) == 5
    messages = [str(warning.message) for warning in caught]
    assert len(messages) == 2
    assert "1 object is beyond the border" in messages[0]
    assert "annotations[0]: the box 600 10 650 30 in an image of 640×480" in messages[0]
    assert "2 objects are there twice" in messages[1]
    assert "annotations[3], already at" in messages[1]
    yolo = write_yolo(tmp_path, {"a": "0 0.95 0.5 0.3 0.2\n1 0.5 0.5 0.1 0.1\n1 0.5 0.5 0.1 0.1\n"})
    twice = pytest.warns(InputWarning, match="1 object is there twice.*a.txt:3, already at .*a.txt:2")
    with twice, pytest.warns(InputWarning, match="1 object is beyond the border .*a.txt:1: the box 512 "):
        assert len(read_yolo(yolo)) == 3


@pytest.mark.parametrize("reader", USUAL)
@pytest.mark.parametrize(
    "boxes",
    [
        [[500.0, 100, 700, 400]],  # leaves the image; as centre and size it would not
        [[500.0, 300, 660, 500], [590, 430, 660, 500]],
        [[10.0, 10, 100, 80]],  # finds nothing, but as left, top, width and height a little of an object
        [[200.0, 150, 330, 260], [5, 5, 9, 9]],
        [[0.0, 0, 0, 0]],
    ],
)
def test_kind_a_box_or_two_say_little(tmp_path, four, reader, boxes):
    with silently():
        read_boxes(tmp_path, four, in_form(np.array(boxes), USUAL[reader]), reader)


@pytest.mark.parametrize("line", ["0 0.9 0.5 0.24 0.3 0.1", "0 0.3 0.1 0.36 0.25 0.04"])
def test_kind_a_box_that_leaves_its_image_a_little_is_no_other_order(tmp_path, four, line):
    (tmp_path / "0001.txt").write_text(line)
    with silently():
        assert read_yolo_detections(tmp_path, four).scores.tolist() == [float(line.split()[-1])]


@pytest.mark.parametrize("box", [[590, 430, 50.3, 50.4], [-0.4, 0, 10, 10], [0, 0, 640, 480]])
def test_kind_rounding_at_the_border_is_not_told(tmp_path, box):
    with silently():
        read_coco(write_coco(tmp_path, [coco_object(1, 1, box)]))


# --- what else is read of the annotations ---------------------------------------------------------


def test_kind_lvis_lists_of_classes(tmp_path):
    for name in ("neg_category_ids", "not_exhaustive_category_ids"):
        path = write_coco(tmp_path, [coco_object(1, 1, BOX)], [coco_image(1) | {name: [2]}])
        with pytest.warns(InputWarning, match=f"LVIS's .*{name}.* no effect"):
            truth = read_coco(path)
        assert len(truth) == 1
        path = write_coco(tmp_path, [coco_object(1, 1, BOX)], [coco_image(1) | {name: []}])
        with silently():
            read_coco(path)


@pytest.mark.parametrize(
    "names", [("gone.jpg", "a.jpg"), ("gone.jpg", "in\\a.jpg"), ("in\\a.jpg", "gone.jpg")]
)
def test_kind_some_photographs_are_at_hand(tmp_path, names):
    (tmp_path / "in").mkdir()
    for folder in (tmp_path, tmp_path / "in"):
        write_image(folder / "a.jpg", (50, 40))
    images = [coco_image(i, name, (0, 0)) for i, name in enumerate(names)]
    with pytest.warns(InputWarning, match="1 of 2 images have neither width and height nor a file"):
        truth = read_coco(write_coco(tmp_path, [coco_object(0, 1, [1, 2, 3, 4])], images))
    assert [50, 40] in truth.sizes.tolist()


@pytest.mark.parametrize(
    ("ids", "labels", "expected"),
    [
        ((1, 2, 3), [1, 2, 3], [0, 1, 2]),  # 3 can only be an id
        ((1, 2, 3), [3], [2]),
        ((1, 2, 3), [0, 2], [0, 2]),  # 0 can only be a number
        ((0, 1, 2), [1, 2], [1, 2]),
        ((18, 3, 7), [7, 18], [2, 0]),
        (("1", "2", "3"), [1, 2, 3], [0, 1, 2]),  # ids that are texts
        ((1, 2, 3), [1, 2], None),
        ((2, 1, 0), [2], None),
        (("1", "2", "3"), [1, 2], None),
    ],
)
def test_kind_labels_that_are_category_ids(ids, labels, expected):
    truth = GroundTruth(["a"], ["x", "y", "z"], [[90, 90]], [], [], [], class_ids=ids)
    given = [{"boxes": [[1, 2, 30, 40]] * len(labels), "scores": [0.5] * len(labels), "labels": labels}]
    if expected is None:
        with pytest.raises(InputError, match=r"may be the category id of .* or the number of .*names=dict"):
            from_predictions(given, truth)
    else:
        assert from_predictions(given, truth).labels.tolist() == expected
    names, ids = dict(zip(ids, truth.classes, strict=True)), [int(key) for key in ids]
    if 0 not in labels or 0 in ids:
        by_id = from_predictions(given, truth, names=names).labels.tolist()
        assert by_id == [ids.index(label) for label in labels]


def test_kind_a_label_of_no_class_does_not_say_what_the_others_mean():
    truth = GroundTruth(["a"], ["x", "y", "z"], [[90, 90]], [], [], [], class_ids=[1, 2, 3])
    given = {"boxes": [[1, 2, 30, 40]] * 3, "scores": [0.5] * 3}
    with pytest.warns(InputWarning, match="1 of 3 detections left out .*the unknown class '9'"):
        assert from_predictions([given | {"labels": [9, 3, 1]}], truth, lenient=True).labels.tolist() == [
            2,
            0,
        ]
    with pytest.raises(InputError, match="may be the category id"):
        from_predictions([given | {"labels": [9, 2, 1]}], truth, lenient=True)


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ("", "names: found ''; expected a list of class names"),
        ({"x", "z"}, "names: found {.*}; expected a list of class names"),
        ({1.5: "x"}, "names: found {1.5: 'x'}"),
        ({None: "x"}, "names: found {None: 'x'}"),
        ({"x": "x"}, "names: found {'x': 'x'}"),
        ({True: "x"}, "names: found {True: 'x'}"),
        ({2: "x", "2": "y"}, "names: found {2: 'x', '2': 'y'}"),
        ("xyz", "names: found 'xyz'; expected a list of class names"),
        ([], r"names: found \[\]"),
        ({}, "names: found {}"),
        (
            ["x", "y"],
            "unknown class '2'; expected a label whose name in names is a class of the ground truth",
        ),
        ({2: "q"}, "unknown class '2'; expected a label whose name in names is a class of the ground truth"),
    ],
)
def test_kind_names_that_say_nothing_of_a_label(names, message):
    truth = GroundTruth(["a"], ["x", "y", "z"], [[90, 90]], [], [], [])
    with pytest.raises(InputError, match=message):
        from_predictions([{"boxes": [[1, 2, 30, 40]], "scores": [0.5], "labels": [2]}], truth, names=names)


@pytest.mark.parametrize(("value", "crowd"), [(False, False), (True, True), (0.0, False), (None, False)])
def test_kind_crowd_flags_as_truth_values(tmp_path, value, crowd):
    rows = [coco_object(1, 1, BOX, iscrowd=value), coco_object(1, 1, [1, 2, 3, 4], iscrowd=0)]
    for lenient in (False, True):
        with silently():
            assert read_coco(write_coco(tmp_path, rows), lenient).crowd.tolist() == [crowd, False]


def test_kind_what_counts_in_pycocotools_but_not_here(tmp_path):
    rows = [
        coco_object(1, 1, BOX, iscrowd=0, ignore=0, difficult=0),
        coco_object(1, 1, [1, 2, 3, 4], iscrowd=1, difficult=1),  # as our own files have it
        coco_object(1, 1, [5, 2, 3, 4], iscrowd=1, ignore=1),
    ]
    with silently():
        read_coco(write_coco(tmp_path, rows))
    rows += [coco_object(1, 1, [9, 2, 3, 4], ignore=1), coco_object(1, 1, [9, 2, 3, 5], difficult=1)]
    with pytest.warns(InputWarning, match=r"2 objects have ignore .* without iscrowd, .*\[3\]: not counted"):
        truth = read_coco(write_coco(tmp_path, rows))
    assert truth.difficult.tolist() == [False, True, True, True, True]


def test_kind_annotation_ids_twice(tmp_path):
    rows = [coco_object(1, 1, [10 * i, 10, 9, 9], id=key) for i, key in enumerate((5, 6, 5, 5))]
    with pytest.warns(
        InputWarning, match=r"2 annotations have an id that another has, .*\[2\]: the id 5, al"
    ):
        truth = read_coco(write_coco(tmp_path, rows))
    assert len(truth) == 4
    assert truth.object_ids == ()


# --- VOC as other tools write it -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("annotations", "images", "spec"),
    [
        ("Annotations", "images", ""),  # Label Studio
        ("Annotations", "JPEGImages", ""),
        (".", ".", ""),  # LabelImg
        ("valid", "valid", ":valid"),  # Roboflow
    ],
)
@pytest.mark.parametrize(
    "labels", [None, "# label:color_rgb:parts:actions\nbackground:0,0,0::\nhat:1,2,3::\nbag:::\n"]
)
def test_kind_voc_without_lists_and_with_other_classes(tmp_path, annotations, images, spec, labels):
    for name, box in (("a", [1, 1, 20, 20]), ("b", [5, 5, 9, 9])):
        (tmp_path / annotations).mkdir(exist_ok=True)
        (tmp_path / annotations / f"{name}.xml").write_text(voc_xml([("hat", box)]))
        write_image(tmp_path / images / f"{name}.png", (640, 480))
    (tmp_path / annotations / "a.xml").write_text(voc_xml([("hat", [1, 1, 20, 20]), ("bag", [2, 2, 9, 9])]))
    if labels is not None:
        (tmp_path / spec.removeprefix(":") / "labelmap.txt").write_text(labels)
    said = (
        pytest.warns(InputWarning, match="the classes are those that occur.*: bag, hat")
        if labels is None
        else silently()
    )
    with said:
        truth = read_ground_truth(f"{tmp_path}{spec}")
    assert truth.images == ("a", "b")
    assert truth.classes == (("bag", "hat") if labels is None else ("hat", "bag"))
    assert [truth.classes[label] for label in truth.labels] == ["hat", "bag", "hat"]
    assert truth.files == tuple(str(tmp_path / images / f"{name}.png") for name in "ab")
    (tmp_path / images / "b.png").rename(tmp_path / images / "b.JFIF")
    if labels is not None:
        assert read_ground_truth(f"{tmp_path}{spec}").files[1] == str(tmp_path / images / "b.JFIF")
        (tmp_path / images / "b.JFIF").unlink()
        assert read_ground_truth(f"{tmp_path}{spec}").files[1] == str(tmp_path / images / "b.jpg")


def test_kind_names_as_cvat_writes_them(tmp_path):
    """Images with spaces in their names, beside a line of the list of a class; classes with colons."""
    for folder in ("Annotations", "ImageSets/Main"):
        (tmp_path / folder).mkdir(parents=True)
    for name in ("IMG at 9.41 PM", "photo 1", "b"):
        (tmp_path / f"Annotations/{name}.xml").write_text(voc_xml([("a:b", [1, 1, 20, 20])]))
    (tmp_path / "ImageSets/Main/default.txt").write_text("IMG at 9.41 PM\nphoto 1\nb -1\n")
    (tmp_path / "labelmap.txt").write_text("# label:color_rgb:parts:actions\na:b:1,2,3::\n")
    truth = read_ground_truth(f"{tmp_path}:default")
    assert (truth.images, truth.classes) == (("IMG at 9.41 PM", "photo 1", "b"), ("a:b",))
    (tmp_path / "ImageSets/Main/default.txt").write_text("photo 2\n")
    with pytest.raises(InputError, match="'photo 2'; expected an image, or an image and -1, 0 or 1"):
        read_ground_truth(f"{tmp_path}:default")


def test_kind_a_folder_of_folders_of_xml(tmp_path):
    for split in ("train", "valid"):
        (tmp_path / split).mkdir()
        (tmp_path / split / "a.xml").write_text(voc_xml([("dog", [1, 1, 20, 20])]))
    with pytest.raises(
        InputError, match=r"found folders of VOC XML: train, valid; expected the one .*:train"
    ):
        read_ground_truth(tmp_path)


def test_kind_voc_s_own_classes_stay(tmp_path):
    (tmp_path / "Annotations").mkdir()
    (tmp_path / "Annotations" / "a.xml").write_text(voc_xml([("dog", [1, 1, 20, 20])]))
    with silently():
        assert len(read_ground_truth(tmp_path).classes) == 20
    official = tmp_path / "VOC2007"
    (official / "Annotations").mkdir(parents=True)
    (official / "Annotations" / "a.xml").write_text(
        voc_xml([("dog", [1, 1, 20, 20]), ("cat", [1, 1, 20, 20]), ("dgo", [1, 1, 20, 20])])
    )
    with pytest.raises(
        InputError, match=r"a.xml: <name>: found 'dgo'; expected one of the classes aeroplane"
    ):
        read_ground_truth(official)


def test_kind_voc_that_counts_from_0(tmp_path):
    (tmp_path / "Annotations").mkdir()
    path = tmp_path / "Annotations" / "a.xml"
    path.write_text(voc_xml([("dog", [0, 0, 640, 480]), ("dog", [10, 20, 30.5, 40])]))
    with pytest.raises(InputError, match=r"<xmin>: found 0, outside .*--pixels-from 0"):
        read_ground_truth(tmp_path)
    assert read_ground_truth(tmp_path, pixels_from=0).boxes.tolist() == [[0, 0, 640, 480], [10, 20, 30.5, 40]]
    path.write_text(voc_xml([("dog", [-1, 0, 640, 480])]))
    with pytest.raises(InputError, match=r"<xmin>: found -1, outside .*expected 0 to 640$"):
        read_voc_folder(tmp_path, pixels_from=0)


@pytest.mark.parametrize(
    ("text", "flag"), [("true", True), ("False", False), ("1.0", True), ("Unspecified", False), ("", False)]
)
def test_kind_flags_of_voc(tmp_path, text, flag):
    flags = f"<difficult>{text}</difficult><truncated>{text}</truncated>"
    xml = voc_xml([("dog", [1, 1, 20, 20])]).replace("<bndbox>", f"{flags}<bndbox>")
    (tmp_path / "a.xml").write_text(xml)
    assert read_ground_truth(tmp_path).difficult.tolist() == [flag]
    (tmp_path / "a.xml").write_text(xml.replace(flags, "<difficult>2</difficult>"))
    with pytest.raises(InputError, match="<difficult>: found '2'; expected 0 or 1, or false or true"):
        read_ground_truth(tmp_path)


@pytest.mark.parametrize("size", [None, (0, 0), (-1, -1), ("", ""), (0, 480)])
def test_kind_voc_without_a_size(tmp_path, size):
    (tmp_path / "a.xml").write_text(voc_xml([("dog", [1, 1, 20, 20])], size))
    if size != (-1, -1):
        with pytest.warns(
            InputWarning, match="1 of 1 images have neither a size in their annotation nor a file"
        ):
            read_ground_truth(tmp_path)
    else:
        with pytest.raises(InputError, match=r"a.xml: <size><width>: found '-1'"):
            read_ground_truth(tmp_path)
    write_image(tmp_path / "a.jpg", (64, 48))
    with silently():
        assert read_ground_truth(tmp_path).sizes.tolist() == [[64, 48]]


@pytest.mark.parametrize("size", [(-1, -1), (None, None), (0, 480), (-1, 480)])
def test_kind_sizes_that_are_none(tmp_path, size):
    path = write_coco(tmp_path, [coco_object(1, 1, [1, 2, 3, 4])], [coco_image(1, "a.png", size)])
    if min(value or 0 for value in size) < 0:
        with pytest.raises(InputError, match=r"truth.json: images\[0\]: found a size of -1×"):
            read_coco(path)
    write_image(tmp_path / "a.png", (64, 48))
    with silently():
        assert read_coco(path).sizes.tolist() == [[64, 48]]


def test_kind_a_list_of_images_that_are_not_there(tmp_path):
    path = write_yolo(tmp_path, {"a": "0 0.5 0.5 0.1 0.1"})
    (tmp_path / "list.txt").write_text("images/a.png\n\nimages/gone.png\n")
    path.write_text("names: [cat]\nval: list.txt\n")
    with pytest.raises(
        InputError, match=r"list.txt:3: found the image 'images/gone.png', which is not there"
    ):
        read_yolo(path)
    (tmp_path / "list.txt").write_text(".\\images\\a.png\r\n")  # written on Windows
    assert read_yolo(path).images == ("a",)


# --- hostile and broken files ---------------------------------------------------------------------


HUGE = "9" * 5000
BOMB = "a: &a [x, x, x, x, x, x, x, x]\n" + "".join(
    f"{b}: &{b} [{', '.join([f'*{a}'] * 8)}]\n" for a, b in zip("abcdefgh", "bcdefghi", strict=True)
)


@pytest.mark.parametrize(
    "yaml",
    [
        "names: [cat]\ndate: 2001-99-99",
        "names: [cat]\ndate: !!timestamp x",
        f"names: [cat, {HUGE}]",
        f"names: {{0: cat, {HUGE}: dog}}",
        f"names: [cat]\nkpt_shape: [{HUGE}, 3]",
        f"{BOMB}names: *i",
        "names: " + "[" * 20_000,
        "names: {? [a] : b}",
        "names: [cat]\nval: " + "x" * 300,
        'names: [cat]\nval: "a\\0b"',
    ],
)
def test_kind_yaml(tmp_path, yaml):
    (tmp_path / "data.yaml").write_text(yaml)
    with pytest.raises(InputError, match=r"data.yaml|xxxx") as caught:
        read_ground_truth(tmp_path / "data.yaml")
    assert len(str(caught.value)) < 5000


FIRST = coco_object(1, 1, BOX, id=1)


@pytest.mark.parametrize("name", ["__dict__", "__slots__", "__init__", "__class__", "mro", "self"])
def test_kind_fields_with_names_of_python(tmp_path, name):
    truth = read_coco(write_coco(tmp_path, [FIRST | {name: 1}, FIRST | {"id": 2, "bbox": [1, 2, 3, 4]}]))
    assert len(truth) == 2


@pytest.mark.parametrize("file_name", [".", "..", "..jpg", "/", "", "x" * 300, "a\0b", "./", "val/."])
def test_kind_file_names_that_are_none(tmp_path, file_name):
    for size in ((640, 480), (0, 0)):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            truth = read_coco(
                write_coco(
                    tmp_path, [FIRST], [coco_image(1) | {"file_name": file_name}, coco_image(2, size=size)]
                )
            )
        assert found_in(tmp_path, truth, coco_result(1, 1, BOX)).image_index.tolist() == [0]


def test_kind_attributes_that_would_fill_the_memory(tmp_path):
    rows = [coco_object(1, 1, [i % 500, i // 500, 9, 9], note="") for i in range(2000)]
    rows[3]["note"] = "x" * 3_000_000
    rows[4]["weight"] = rows[0]["weight"] = 10**300
    truth = read_coco(write_coco(tmp_path, rows))
    assert "note" not in truth.attributes


def test_kind_null_in_a_file_is_no_zero_byte_in_its_name(tmp_path):
    truth = read_coco(write_coco(tmp_path))
    path = write_json(tmp_path / "found.json", [coco_result(1, 1, BOX) | {"score": None}])
    with pytest.raises(InputError, match=r"found.json\[0\]: found null as score"):
        read_found(path, truth)


@pytest.mark.parametrize("keys", [("a", "a.jpg"), ("a.jpg", "val/a.jpg"), (1, "a"), (1, "1")])
def test_kind_an_image_under_two_keys(tmp_path, keys):
    truth = read_coco(write_coco(tmp_path, images=[coco_image(1, "a.jpg"), coco_image(2, "b.jpg")]))
    with pytest.raises(InputError, match=f"found the keys {keys[0]!r} and {keys[1]!r} for the image 'a'"):
        from_predictions(dict.fromkeys(keys, PREDICTION), truth)


def archive(path: Path, mode: str, size: int) -> bytes:
    with tarfile.open(path, mode) as tar:
        entry = tarfile.TarInfo("VOCdevkit/VOC2007/a")
        entry.size = size
        tar.addfile(entry, Zeros())
    return path.read_bytes()


class Zeros(io.RawIOBase):
    """A file of zeros without end."""

    def read(self, size: int = -1) -> bytes:
        return bytes(size)


def test_kind_archives(tmp_path):
    path = tmp_path / "a.tar"
    content = archive(path, "w:xz", 1000)
    path.write_bytes(content[:40] + b"\xff" * 20 + content[60:])
    with pytest.raises(InputError, match="an archive that cannot be unpacked"):
        unpack(path, tmp_path / "out", lambda *_: None)
    archive(path, "w:gz", 100 << 20)
    with pytest.raises(InputError, match=r"MB of files in an archive of 0.1 MB"):
        unpack(path, tmp_path / "out", lambda *_: None)
    assert not list((tmp_path / "out").glob("*"))


def test_kind_pickles():
    """A text that the file has once is made into bytes again and again."""
    text = "x" * 1_000_000
    start = b"\x80\x02]" + pickle.BINUNICODE + struct.pack("<I", len(text)) + text.encode() + b"q\x010"
    encode = b"c_codecs\nencode\nq\x02h\x01X\x06\x00\x00\x00latin1\x86Ra"
    bomb = start + encode * 50 + b"."
    with pytest.raises(InputError, match="values of more bytes than the file has"):
        read_pickle(io.BytesIO(bomb), "batch")


def test_kind_numbers_are_names(tmp_path):
    """As they are written: to YAML 010 is 8, and 12:30 is 750."""
    yaml = "names: [0, 1, 'no', 010, 12:30]"
    path = write_yolo(tmp_path, {"a": "0 0.5 0.5 0.1 0.1"}, yaml=yaml)
    assert read_yolo(path).classes == ("0", "1", "no", "010", "12:30")


def test_kind_names_that_are_not_utf8(tmp_path):
    path = write_yolo(tmp_path, {"a": "0 0.5 0.5 0.1 0.1"})
    try:
        write_image(Path(os.fsdecode(os.fsencode(tmp_path) + b"/images/\xff.png")), (9, 9))
    except OSError:
        pytest.skip("this file system has no such names")
    with pytest.raises(InputError, match=r"found the name .* expected text that can be written as UTF-8"):
        read_yolo(path)


@pytest.mark.parametrize("name", ["x" * 300, "a/" + "y" * 300 + ".json", "a\0b"])
def test_kind_names_that_no_file_can_have(tmp_path, name):
    truth = read_coco(write_coco(tmp_path))
    for read in (lambda: read_ground_truth(name), lambda: read_found(name, truth)):
        with pytest.raises(InputError):
            read()


@pytest.mark.parametrize("other", ["dark horse", "Dark-horse", "dark__Horse", " Dark  Horse"])
def test_kind_classes_that_differ_in_case_or_spaces_alone(tmp_path, other):
    """Where nobody names the classes, a slip of one annotation is a class more."""
    for name in "abc":
        label = {"b": other}.get(name, "Dark Horse")
        (tmp_path / f"{name}.xml").write_text(voc_xml([(label, [1, 1, 20, 20]), ("Cat", [1, 1, 9, 9])]))
    with pytest.warns(InputWarning) as said:
        read_ground_truth(tmp_path)
    found = f"{other.strip()!r} (1 object, the first in {tmp_path / 'b.xml'}) and 'Dark Horse' (2 objects)"
    assert found in "".join(str(one.message) for one in said)
    (tmp_path / "classes.yaml").write_text(f"classes: [Dark Horse, {json.dumps(other.strip())}, Cat]")
    with silently():
        read_ground_truth(tmp_path)
    region = {"shape_attributes": {"name": "rect", "x": 1, "y": 1, "width": 9, "height": 9}}
    labels = ["Dark Horse", "Cat", other, "Dark Horse"]
    regions = [region | {"region_attributes": {"label": label}} for label in labels]
    file = write_json(tmp_path / "via.json", {"a.jpg": {"filename": "a.jpg", "regions": regions}})
    with pytest.warns(InputWarning, match=r"\(1 object, the first in 'a.jpg', region 2\) and 'Dark Horse'"):
        read_ground_truth(file)


def test_kind_xml_of_another_picture(tmp_path):
    """Files that were renamed or copied: what <filename> names, and pictures that have two annotations."""
    (tmp_path / "classes.yaml").write_text("classes: [hat]")
    for name in "abcd":
        write_image(tmp_path / f"{name}.jpg", (640, 480))
        text = voc_xml([("hat", [1, 1, 20, 20])])
        (tmp_path / f"{name}.xml").write_text(text.replace("<size>", f"<filename>{name}</filename><size>"))
    for named in ("", "d.png", "C:\\me\\d.JPG", "sub/d.jpg"):
        (tmp_path / "d.xml").write_text((tmp_path / "a.xml").read_text().replace(">a<", f">{named}<"))
        with silently():
            read_ground_truth(tmp_path)
    for name, named in (("b", "a.jpg"), ("c", "gone.jpg")):
        file = tmp_path / f"{name}.xml"
        file.write_text(file.read_text().replace(f">{name}<", f">{named}<"))
    with pytest.warns(InputWarning) as said:
        read_ground_truth(tmp_path)
    assert [str(one.message) for one in said] == [
        f"{tmp_path}: annotations that name another picture than their own: 2 of 4, the first "
        f"{tmp_path / 'b.xml'}: its <filename> is 'a.jpg'; they are read as of the picture with the name of "
        "the XML"
    ]
    (tmp_path / "b.jpg").unlink()
    found = f"1 of 4, the first {tmp_path / 'b.xml'}, of {tmp_path / 'a.jpg'}, as is {tmp_path / 'a.xml'}; "
    with pytest.warns(InputWarning, match=f"annotations of a picture that has another: {found}"):
        truth = read_ground_truth(tmp_path)
    assert truth.files[:2] == (str(tmp_path / "a.jpg"),) * 2


@pytest.mark.parametrize(
    ("file", "photograph"),
    [
        ("train.json", "a.jpg"),
        ("train.json", "images/a.jpg"),
        ("train.json", "train/a.jpg"),
        ("train.json", "images/train/a.jpg"),
        ("train_annotations.json", "train/a.jpg"),
        ("instances_train2017.json", "train2017/a.jpg"),
        ("annotations/train.json", "a.jpg"),
        ("annotations/train.json", "images/a.jpg"),
        ("annotations/train.json", "train/a.jpg"),
        ("annotations/instances_train2017.json", "train2017/a.jpg"),
        ("annotations/instances_train2017.json", "images/train2017/a.jpg"),
        ("labels.json", "data/a.jpg"),  # FiftyOne
    ],
)
def test_kind_where_the_photographs_of_a_coco_file_lie(tmp_path, monkeypatch, file, photograph):
    annotations = write_coco(tmp_path, [], images=[coco_image(1, "a.jpg")])
    (tmp_path / file).parent.mkdir(exist_ok=True)
    annotations.rename(tmp_path / file)
    assert read_coco(tmp_path / file).files == ()
    write_image(tmp_path / photograph, (640, 480))
    assert read_coco(tmp_path / file).files == (str(tmp_path / photograph),)
    monkeypatch.chdir((tmp_path / file).parent)
    assert [os.path.realpath(one) for one in read_coco(Path(file).name).files] == [str(tmp_path / photograph)]
