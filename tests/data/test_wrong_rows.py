"""Rows at fault, in every format: named with their place or, in lenient reading, dropped and counted."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

import data.formats
from data.formats import read_coco, read_coco_detections, read_table, read_yolo, read_yolo_detections
from data.formats.voc import read_detections
from data.records import GroundTruth, InputError
from tests.data.scenes import write_yolo

TRUTH = GroundTruth(
    ["000001", "b"], ["dog", "person"], [[200, 100]] * 2, [], [], [], image_ids=[3, 7], class_ids=[18, 1]
)
PARTS = {
    "images": [
        {"id": key, "file_name": f"{key}.jpg", "width": 200, "height": 100} for key in TRUTH.image_ids
    ],
    "categories": [{"id": 18, "name": "dog"}, {"id": 1, "name": "person"}],
}
HEAD = "image,class,score,xmin,ymin,xmax,ymax"


class Form(NamedTuple):
    """A format: a file of it, a good row, how rows are written and read, and where the third row is found."""

    file: str
    good: Any
    write: Callable[[list[Any]], str | bytes]
    read: Callable[[Path, bool], Any]
    place: str
    things: str = "detections"


def with_a_blank_line(rows: list[Any], first: str = "") -> bytes:
    lines = [row if isinstance(row, bytes) else row.encode() for row in (rows[0], "", *rows[1:])]
    return b"\n".join([first.encode(), *lines] if first else lines)


FORMS = {
    "voc": Form(
        "dog.txt", "000001 0.5 1 1 20 20", with_a_blank_line,
        lambda path, lenient: read_detections(
            path, TRUTH.images, TRUTH.classes, lenient=lenient, sizes=TRUTH.sizes
        ),
        "dog.txt:4", "lines",
    ),
    "yolo": Form(
        "000001.txt", "0 0.5 0.5 1 1 0.9", with_a_blank_line,
        lambda path, lenient: read_yolo_detections(path.parent, TRUTH, lenient), "000001.txt:4",
    ),
    "yolo labels": Form(
        "labels/a.txt", "1 0.5 0.5 1 1", with_a_blank_line,
        lambda path, lenient: read_yolo(path.parents[1] / "data.yaml", "val", lenient), "a.txt:4", "objects",
    ),
    "csv": Form(
        "found.csv", "000001,dog,0.5,1,2,30,40", lambda rows: with_a_blank_line(rows, HEAD),
        lambda path, lenient: read_table(path, TRUTH, lenient), "found.csv:5",
    ),
    "coco": Form(
        "found.json", {"image_id": 3, "category_id": 18, "bbox": [11, 20, 30, 40], "score": 0.5}, json.dumps,
        lambda path, lenient: read_coco_detections(path, TRUTH, lenient), r"found.json\[2\]",
    ),
    "coco annotations": Form(
        "truth.json", {"image_id": 3, "category_id": 18, "bbox": [10, 20, 30, 40]},
        lambda rows: json.dumps(PARTS | {"annotations": [{"id": i} | row for i, row in enumerate(rows)]}),
        read_coco, r"truth.json: annotations\[2\]", "annotations",
    ),
}  # fmt: skip

NO_UTF8 = "a byte that is not UTF-8"
WRONG = {
    "voc": [
        ("000001 0.5 1 1 20", "5 columns; expected 6: image score xmin ymin xmax ymax", ""),
        ("000001 0.5 1 1 20 20 7", "7 columns", "of other columns"),
        ("000001 high 1 1 20 20", "'high' as score; expected a number", "with what is no number"),
        ("000001 0.5 1 one 20 20", "'one' as ymin; expected a number", ""),
        ("000001 nan 1 1 20 20", "nan as score; expected a finite number", ""),
        ("000001 inf 1 1 20 20", "inf as score", ""),
        ("000001 0.5 1 1 1e999 20", "1e999 as xmax; expected a finite number", ""),
        ("000001 0.5 20 1 10 20", "the inverted box 20 1 10 20; expected xmin <= xmax", "an inverted box"),
        ("000001 0.5 1 20 10 10", "the inverted box 1 20 10 10", ""),
        ("000009 0.5 1 1 20 20", "the unknown image '000009'", "on an unknown image"),
        ("1 0.5 1 1 20 20", "the unknown image '1'; expected an image of the ground truth's list(,|$)", ""),
        ("000001 0.5 1 1_0 20 20", "'1_0' as ymin; expected a number without underscores", ""),
        ("b 0_1 1 1 20 20", "'0_1' as score; expected a number without underscores", ""),
        (b"caf\xe9 0.5 1 1 20 20", NO_UTF8 + r" \(0xe9\)", ""),
    ],
    "yolo": [
        ("0 0.5 0.5 1 1",
         r"5 columns; no confidence \(save_conf=True writes it\); expected 6: class x_center", ""),
        ("0 0.5 0.5 1 1 0.5 3", "7 columns; expected 6", ""),
        ("cat 0.5 0.5 1 1 0.5", "'cat' as class", ""),
        ("0 0.5 0.5 1 1 inf", "inf as confidence; expected a finite number", ""),
        ("0 0.5 0.5 -1 1 0.5", "the inverted box 200 0 0 100", ""),
        ("0 99 0.5 1 1 0.5", "99 as x_center; expected a fraction of the image's size, not pixels", ""),
        ("7 0.5 0.5 1 1 0.5", "the unknown class '7'; expected a number from 0 to 1", ""),
        ("-1 0.5 0.5 1 1 0.5", "the unknown class '-1'", ""),
        (b"\xff 0.5 0.5 1 1 0.5", NO_UTF8, ""),
    ],
    "yolo labels": [
        ("1 0.5 0.5 0.5", "4 columns; expected 5: class x_center y_center width height", ""),
        ("1 0.5 0.5 0.5 0.5 0.9", "6 columns", ""),
        ("dog 0.5 0.5 0.5 0.5", "'dog' as class; expected a number", ""),
        ("1 0.5 0.5 x 0.5", "'x' as width; expected a number", ""),
        ("1 0.5 nan 0.5 0.5", "nan as y_center; expected a finite number", ""),
        ("1 0.5 0.5 100 0.5", "100 as width; expected a fraction", ""),
        ("1 0.5 0.5 0 0.5", "the box 0.5 0.5 0 0.5; expected a width and height above 0", ""),
        ("2 0.5 0.5 0.5 0.5", "the class 2; expected a number from 0 to 1", ""),
        ("0.5 0.5 0.5 0.5 0.5", "the class 0.5", ""),
        ("1 0.5 0.5 0_1 0.5", "'0_1' as width", ""),
    ],
    "csv": [
        ("000001,dog,0.5,1,2,30", "6 columns; expected 7: image,class,score", ""),
        ("000001,dog,high,1,2,30,40", "'high' as score; expected a number", ""),
        ("000001,dog,,1,2,30,40", "'' as score; expected a number", ""),
        ("000001,dog,nan,1,2,30,40", "the score nan", ""),
        ("000001,dog,0.5,1,2,inf,40", "the box 1 2 inf 40", ""),
        ("000001,dog,0.5,30,2,1,40", "the inverted box 30 2 1 40", ""),
        ("1,dog,0.5,1,2,30,40", "the unknown image '1'", ""),
        ("000001,dgo,0.5,1,2,30,40", "the unknown class 'dgo'.*did you mean 'dog'", ""),
        ("000001,0,0.5,1,2,30,40", "the unknown class '0'; expected the name of a class; "
         "a column of numbers is called class_id", ""),
        ("000001,dog,0.5,1,2,3_0,40", "'3_0' as xmax", ""),
        (",dog,0.5,1,2,30,40", "the unknown image ''", ""),
    ],
    "coco": [
        ({"image_id": 8}, "the unknown image 8; expected an image of the ground truth",
         "on an unknown image"),
        ({"category_id": 2}, "the unknown class 2; expected a category id of the ground truth: 18, 1",
         "of an unknown class"),
        ({"category_id": "dgo"}, "the unknown class 'dgo'.*did you mean 'dog'", "of an unknown class"),
        ({"score": float("nan")}, "the score nan; expected a finite number", "a score that is not finite"),
        ({"score": float("-inf")}, "the score -inf", "a score that is not finite"),
        ({"score": None}, "null as score", "malformed"),
        ({"score": "0.5"}, "a string as score", "malformed"),
        ({"bbox": [1, 2, float("inf"), 4]}, "the box 1 2 inf 6; expected four", "a box that is not finite"),
        ({"bbox": [10, 2, -3, 4]}, "the inverted box 10 2 7 6", "an inverted box"),
        ({"bbox": [1, 2, -5, 6]}, "the inverted box 1 2 -4 8", "an inverted box"),  # also at the border
        ({"bbox": [10, 2, 3]}, "not 4 values as bbox", "malformed"),
        ({"bbox": {"x": 1}}, "an object as bbox", "malformed"),
        ({"image_id": True}, "true or false as image_id", "malformed"),
    ],
    "coco annotations": [
        ({"image_id": 8}, "the unknown image_id 8", ""),
        ({"category_id": "dog"}, "the unknown category_id 'dog'", ""),
        ({"bbox": [1, 2, 3]}, "not 4 values as bbox", ""),
        ({"bbox": None}, "null as bbox", ""),
        ({"bbox": [1, 2, "3", 4]}, r"a string as bbox\[2\]", ""),
        ({"bbox": [1, 2, float("nan"), 4]}, "the bbox 1 2 nan 4; expected four finite numbers", ""),
        ({"bbox": [1, 2, 0, 4]}, "the bbox 1 2 0 4, without area", ""),
        ({"bbox": [1, 2, 3, -4]}, "the bbox 1 2 3 -4, without area", ""),
        ({"iscrowd": 5}, "5 as iscrowd; expected 0 or 1", ""),
        ({"iscrowd": float("nan")}, "nan as iscrowd", ""),
        ({"ignore": -1}, "-1 as ignore", ""),
        ({"difficult": 0.5}, "0.5 as difficult", ""),
        ({"area": -5}, "the area -5; expected a number of pixels from 0", ""),
        ({"area": float("inf")}, "the area inf", ""),
        ({"iscrowd": "no"}, "a string as iscrowd", ""),
    ],
}  # fmt: skip


@pytest.mark.parametrize(
    ("name", "wrong", "found", "kind"), [(name, *row) for name, rows in WRONG.items() for row in rows]
)
def test_named_or_dropped_and_counted(tmp_path: Path, name: str, wrong: Any, found: str, kind: str) -> None:
    form = FORMS[name]
    row = form.good | wrong if isinstance(wrong, dict) else wrong
    write_yolo(tmp_path, {"a": ""}, (200, 100))
    path = tmp_path / form.file
    content = form.write([form.good, form.good, row, form.good, row])
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(InputError, match=f"{form.place}: found {found}"):
        form.read(path, False)
    left_out = rf"2 of 5 {form.things} left out \(2 .*{kind}\), the first at \S.*{form.place}: found {found}"
    if found.startswith(NO_UTF8):  # in lenient reading such a word is one that is not known
        left_out = f"2 of 5 {form.things} left out"
    with pytest.warns(UserWarning, match=left_out):
        assert len(form.read(path, True)) == 3


def test_every_public_name_of_the_formats_is_there():
    for name in data.formats.__all__:
        assert getattr(data.formats, name).__doc__ or name.isupper(), name
