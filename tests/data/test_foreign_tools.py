"""Files of other tools: each is the same scene, and is read as such, or refused by the name of the tool.

``tests/fixtures/make_foreign.py`` writes them, with the versions of the tools that wrote theirs themselves.
"""

import json
import re
import shutil
import warnings

import numpy as np
import pytest

from data.formats import read_found, read_ground_truth, write_coco_ground_truth
from data.records import InputError, InputWarning
from diagnosis import diagnose
from tests.data.scenes import coco_object, write_coco, write_image, write_json
from tests.fixtures.make_foreign import CLASSES, FOLDER, OBJECTS, SCORES, SIZES

ROUNDING = 0.01  # pixels: YOLO's text has five or six digits

TRUTHS = {
    "cvat_coco/annotations/instances_default.json": {},
    "cvat_voc:default": {"pixels_from": 0},
    "cvat_yolo": {},
    "cvat_ultralytics": {},
    "fiftyone_coco/labels.json": {},
    "fiftyone_voc": {"pixels_from": 0},
    "fiftyone_yolo": {},
    "label_studio_coco/result.json": {},
    "label_studio_json/project.json": {},
    "label_studio_json_min/project.json": {},
    "label_studio_voc": {},
    "label_studio_yolo": {},
    "labelimg_voc": {},
    "labelimg_yolo": {},
    "roboflow_coco/valid/_annotations.coco.json": {},
    "roboflow_voc:valid": {},
    "roboflow_yolo": {},
    "supervision_coco/annotations.json": {},
    "supervision_voc": {},
    "supervision_yolo": {},
    "via_csv/via_export_csv.csv": {},
    "via_json/via_region_data.json": {},
    "via_project/via_project.json": {},
}
SAID = {"roboflow_coco": "'cat' with the id 0 has no object and the name of another"}


def read(spec, **options):
    """The ground truth, and the warnings about it."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        return read_ground_truth(FOLDER / spec, **options), [str(warning.message) for warning in caught]


def rows(record):
    """Image, class and box of each row, sorted."""
    names = [record.images[i] for i in record.image_index]
    return sorted(zip(names, [record.classes[i] for i in record.labels], record.boxes.tolist(), strict=True))


EXPECTED = sorted((name, CLASSES[label], list(box)) for name, label, box in OBJECTS)


@pytest.mark.parametrize("spec", TRUTHS)
def test_ground_truth(spec):
    folder = spec.partition("/")[0].partition(":")[0]
    truth, said = read(spec, **TRUTHS[spec])
    found = rows(truth)
    assert [row[:2] for row in found] == [row[:2] for row in EXPECTED]
    np.testing.assert_allclose([row[2] for row in found], [row[2] for row in EXPECTED], atol=ROUNDING)
    assert dict(zip(truth.images, truth.sizes.tolist(), strict=True)) == {k: [*v] for k, v in SIZES.items()}
    assert set(CLASSES) <= set(truth.classes)
    assert not truth.crowd.any()
    assert not truth.difficult.any()
    if folder in SAID:
        assert SAID[folder] in said.pop()
    assert said == []


@pytest.mark.parametrize("spec", ["cvat_voc:default", "fiftyone_voc"])
def test_pixels_from_0_are_not_taken_for_pixels_from_1_without_a_word(spec, tmp_path):
    shutil.copytree(FOLDER / spec.partition(":")[0], tmp_path / "voc")
    for file in (tmp_path / "voc").rglob("street.xml"):
        text = file.read_text()
        file.write_text(text.replace("<xmin>100", "<xmin>0"))
    where = f"{tmp_path / 'voc'}{spec[spec.index(':') :] if ':' in spec else ''}"
    with pytest.raises(InputError, match="--pixels-from 0"):
        read_ground_truth(where)


@pytest.mark.parametrize("spec", ["cvat_voc:default", "labelimg_voc", "via_csv/via_export_csv.csv"])
def test_round_trip(spec, tmp_path):
    """Read, written as COCO, read again: the same."""
    truth, _ = read(spec, **TRUTHS[spec])
    write_coco_ground_truth(truth, tmp_path / "truth.json", keep_ids=True)
    again = read_ground_truth(tmp_path / "truth.json")
    assert rows(again) == rows(truth)
    assert (again.image_ids, again.class_ids) == (
        truth.image_ids or (1, 2),
        truth.class_ids or again.class_ids,
    )


@pytest.mark.parametrize(
    ("spec", "found", "said"),
    [
        ("supervision_coco/annotations.json", "supervision_csv/found.csv", None),
        ("supervision_coco/annotations.json", "ultralytics_txt", None),
        ("supervision_coco/annotations.json", "ultralytics_json/predictions.json", None),
        ("roboflow_yolo", "supervision_csv/found.csv", None),
        ("roboflow_yolo", "ultralytics_txt", None),
        (
            "labelimg_voc",
            "supervision_csv/found.csv",
            "class_id '0', which is 'aeroplane', contradicts class_name 'cat'",
        ),
        ("via_json/via_region_data.json", "supervision_csv/found.csv", None),
        ("label_studio_json/project.json", "ultralytics_txt", None),
    ],
)
def test_detections(spec, found, said):
    """Of other tools, against ground truth of other tools: every object is found exactly."""
    truth, _ = read(spec)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        detections = read_found(FOLDER / found, truth)
    assert len(caught) == (said is not None)
    assert said is None or said in str(caught[0].message)
    np.testing.assert_allclose(
        [row[2] for row in rows(detections)], [row[2] for row in EXPECTED], atol=ROUNDING
    )
    np.testing.assert_allclose(sorted(detections.scores), sorted(SCORES), atol=1e-6)
    assert diagnose(truth, detections).breakdown.counts.sum(axis=0).tolist() == [3, 0, 0, 0, 0]


def test_ultralytics_ids_of_categories_mean_nothing_to_a_yolo_data_set():
    truth, _ = read("roboflow_yolo")
    with pytest.raises(
        InputError, match=r"the unknown class 1; expected the name of a class: .* no category ids"
    ):
        read_found(FOLDER / "ultralytics_json/predictions.json", truth)


def test_torchmetrics(tmp_path):
    """``MeanAveragePrecision.tm_to_coco`` names no files and no sizes, and lists a part of its classes."""
    with pytest.raises(InputError, match=r"annotations\[1\]: found the unknown category_id 1"):
        read("torchmetrics/tm_target.json")
    content = json.loads((FOLDER / "torchmetrics/tm_target.json").read_text())
    content["categories"].append({"id": 1, "name": "1"})
    (tmp_path / "truth.json").write_text(json.dumps(content))
    with pytest.warns(InputWarning, match="2 of 2 images have neither width and height"):
        truth = read_ground_truth(tmp_path / "truth.json")
    found = read_found(FOLDER / "torchmetrics/tm_preds.json", truth)
    assert truth.images == truth.classes == ("0", "1")
    np.testing.assert_allclose([row[2] for row in rows(found)], [row[2] for row in rows(truth)])
    assert sorted(box for _, _, box in rows(truth)) == sorted(box for _, _, box in EXPECTED)


@pytest.mark.parametrize(
    ("file", "tool"),
    [
        ("cvat_xml", "CVAT's own XML"),
        ("cvat_xml/annotations.xml", "CVAT's own XML"),
        ("supervision_createml/annotations.json", "a file of CreateML"),
        ("supervision_labelme/street.json", "a file of labelme"),
        ("supervision_csv/found.csv", "a table with the columns .*; expected VIA's CSV"),
        ("labelimg_voc/street.xml", "the XML of one image; expected its folder"),
    ],
)
def test_what_is_not_read_is_called_by_its_name(file, tool):
    with pytest.raises(InputError, match=tool):
        read_ground_truth(FOLDER / file)


# --- VIA and Label Studio, further ----------------------------------------------------------------

RECTANGLE = {"name": "rect", "x": 10, "y": 20, "width": 30, "height": 40}


def via(*regions, name="a.png"):
    """VIA's JSON; `regions` are the shape and the attributes of each."""
    listed = [{"shape_attributes": shape, "region_attributes": given} for shape, given in regions]
    return {f"{name}9": {"filename": name, "size": 9, "regions": listed, "file_attributes": {}}}


SQUARE = {"x": 10, "y": 10, "width": 20, "height": 20, "rotation": 0}


def region(kind, value, **more):
    """A result of Label Studio; `kind` says which labels it has, if any."""
    labels = {kind: ["cat"]} if kind.endswith("labels") else {}
    return {
        "id": "r", "type": kind, "original_width": 200, "original_height": 100, "image_rotation": 0,
        "value": labels | value, **more,
    }  # fmt: skip


def task(value=None, picture="/data/upload/1/a.png", regions=None, data=None, **more):
    """A task of Label Studio."""
    boxes = [region("rectanglelabels", SQUARE | (value or {}))] if regions is None else regions
    result = [*boxes, {"type": "choices", "value": {"choices": ["x"]}}]
    return {"id": 1, "data": data or {"image": picture}, "annotations": [{"result": result} | more]}


def read_json(folder, content, lenient=False):
    write_image(folder / "a.png", (200, 100))
    return read_ground_truth(write_json(folder / "truth.json", content), lenient)


@pytest.mark.parametrize(
    ("shape", "box"),
    [
        (RECTANGLE, [10, 20, 40, 60]),
        ({"name": "circle", "cx": 50, "cy": 40, "r": 5}, [45, 35, 55, 45]),
        ({"name": "ellipse", "cx": 50, "cy": 40, "rx": 10, "ry": 5, "theta": 0}, [40, 35, 60, 45]),
        ({"name": "ellipse", "cx": 50, "cy": 40, "rx": 10, "ry": 5, "theta": np.pi / 2}, [45, 30, 55, 50]),
        ({"name": "ellipse", "cx": 50, "cy": 40, "rx": 5, "ry": 5, "theta": None}, [45, 35, 55, 45]),
        ({"name": "polyline", "all_points_x": [5, 9, 7], "all_points_y": [4, 4, 8]}, [5, 4, 9, 8]),
    ],
)
def test_shapes_of_via(tmp_path, shape, box):
    np.testing.assert_allclose(read_json(tmp_path, via((shape, {"kind": "cat"}))).boxes, [box])


@pytest.mark.parametrize(
    ("attributes", "name"),
    [
        ({"anything": "cat"}, "cat"),
        ({"colour": "red", "Class": "cat"}, "cat"),
        ({"type": {"cat": True, "dog": False}}, "cat"),
        ({"type": 7}, "7"),
        ({"type": " cat "}, "cat"),
        ({"name": "not_defined", "type": "cat", "image_quality": {"good": True}}, "cat"),
    ],
)
def test_classes_of_via(tmp_path, attributes, name):
    assert read_json(tmp_path, via((RECTANGLE, attributes))).classes == (name,)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (via((RECTANGLE, {"colour": "red", "mood": "calm"})),
         "the attributes of regions 'colour, mood'; expected one, or"),
        (via((RECTANGLE, {"label": ""})), "'a.png', region 0: found a region of no class, or of several"),
        (via((RECTANGLE, {})), "'a.png', region 0: found a region of no class"),
        (via((RECTANGLE, {"type": {"cat": True, "dog": True}})), "or of several; expected one class"),
        (dict.fromkeys(["project", "config", "file", "metadata", "view"], 1), "a file of VIA 3"),
        (via(({"name": "point", "cx": 1, "cy": 1}, {"label": "cat"})),
         "'a.png', region 0: found a region of the form 'point'; expected rectangles, polygons"),
        (via(({"name": "rect", "x": 1}, {"label": "cat"})), "found a rect without all of its numbers"),
        (via(({"name": "polygon", "all_points_x": [1, 2], "all_points_y": [1]}, {"label": "cat"})),
         "found a polygon without all of its numbers"),
        (via((RECTANGLE | {"width": "9"}, {"label": "cat"})), "found a string as bbox"),
        *(
            (via((shape, {"label": "cat"})), "without all of its numbers; expected numbers")
            for shape in (
                {"name": "ellipse", "cx": 5, "cy": 4, "rx": 10**400, "ry": 5},
                {"name": "circle", "cx": 5, "cy": 4, "r": -2},
                {"name": "circle", "cx": 5, "cy": 4, "r": "2"},
            )
        ),
        (via((RECTANGLE, {"label": "cat"}), name=" "), "found a file without a name; expected its name"),
        (via((RECTANGLE | {"width": 0}, {"label": "cat"})),
         "'a.png', region 0: found the bbox 10 20 0 40, without area"),
        (via() | via() | {"b": {"filename": "a.png", "regions": []}},
         r"images\[1\]: found the id 'a.png' a second time"),
        ({"a": {"filename": "a.png", "regions": 5}}, "5 as regions"),
        ([task({"rotation": 30})], r"\[0\], region 0: found a rectangle turned by 30°"),
        ([task({"width": None})], "rectanglelabels without all of its numbers"),
        ([task({"x": "10"})], "rectanglelabels without all of its numbers"),
        ([task({"rectanglelabels": []})], "found a region of no class, or of several"),
        ([task({"rectanglelabels": "cat"})], "found a region of no class, or of several"),
        ([task(regions=[region("rectanglelabels", {}) | {"value": None}])], "found a region of no class"),
        ([task(regions=[region("labels", {}) | {"value": [1]}])], "found a region of no class"),
        ([{"data": {"image": "a.png"}, "annotations": [{"result": "x"}]}],
         r"\[0\]: found 'x' as result; exp"),
        ([task(regions=[region("rectanglelabels", SQUARE, original_width=n) for n in (200, 100)])],
         r"\[0\], region 1: found an image of 100×100 pixels; expected 200×100, as a region before says"),
        ([task(regions=[region("ellipselabels", {"x": 9, "y": 9, "radiusX": -1, "radiusY": 1})])],
         "found a region with ellipselabels without all of its numbers"),
        *(
            ([task(picture=picture)], "expected the path or address of one image in it")
            for picture in ("", " ", "/", "..", "https://x.org/", "http://[x/a.png")
        ),
        ([task({"rectanglelabels": ["cat", "dog"]})], "found a region of no class, or of several"),
        ([task(regions=[region("rectangle", SQUARE)])], "found a region of no class"),
        ([task(regions=[region("brushlabels", {"rle": [1, 2]})])], "found a region with brushlabels"),
        ([task(regions=[region("keypointlabels", {"x": 5, "y": 5, "width": 1})])],
         "found a region with keypointlabels; expected rectangles, polygons, ellipses or circles"),
        ([task(regions=[region("rectanglelabels", SQUARE) | {"image_rotation": 90}])],
         "found an image turned by 90°"),
        ([task(picture=None, data={"images": ["a.png", "b.png"]})], r"\[0\]: found a task .* 'images'; "),
        ([task(picture="data:image/png;base64,AAAA")], "expected the path or address of one image"),
        ([task(), task()], r"\[1\]: found the image '/data/upload/1/a.png' a second time"),
        ([task(), {"id": 2}], "a list of JSON; is it a results file"),
    ],
)  # fmt: skip
def test_faults_of_via_and_label_studio(tmp_path, content, message):
    with pytest.raises(InputError, match=message):
        read_json(tmp_path, content)


def test_faulty_regions_are_left_out_and_counted(tmp_path):
    content = via((RECTANGLE, {"label": "cat"}), ({"name": "point", "cx": 1, "cy": 1}, {"label": "cat"}))
    with pytest.warns(
        InputWarning,
        match="1 of 2 annotations left out .*'a.png', region 1: found a region of the form 'point'",
    ):
        assert len(read_json(tmp_path, content, lenient=True)) == 1


def test_via_without_its_pictures_has_images_of_unknown_size(tmp_path):
    with pytest.warns(InputWarning, match="1 of 1 images have neither width and height nor a file"):
        read_ground_truth(
            write_json(tmp_path / "truth.json", via((RECTANGLE, {"label": "cat"}), name="gone.png"))
        )


def test_label_studio(tmp_path):
    truth = read_json(tmp_path, [task()])
    assert (truth.images, truth.boxes.tolist(), truth.sizes.tolist()) == (
        ("a",),
        [[20, 10, 60, 30]],
        [[200, 100]],
    )
    predicted = task() | {"annotations": [], "predictions": task()["annotations"]}
    for none in (task(was_cancelled=True), predicted):
        with pytest.warns(InputWarning, match="1 of 1 images have no annotation .predictions are none."):
            assert len(read_json(tmp_path, [none])) == 0
    assert len(read_json(tmp_path, task())) == 1  # as its storages keep a task
    twice = task()
    twice["annotations"] += task({"x": 50}, ground_truth=True)["annotations"]
    with pytest.warns(InputWarning, match="1 of 1 images were annotated more than once: the one that is mar"):
        assert read_json(tmp_path, [twice]).boxes.tolist() == [[100, 10, 140, 30]]


@pytest.mark.parametrize(
    ("regions", "box"),
    [
        ([region("rectangle", SQUARE), region("labels", SQUARE)], [20, 10, 60, 30]),
        ([region("labels", SQUARE), region("rectangle", SQUARE)], [20, 10, 60, 30]),
        ([region("polygonlabels", {"points": [[10, 10], [30, 10], [20, 30]]})], [20, 10, 60, 30]),
        ([region("ellipselabels", {"x": 50, "y": 50, "radiusX": 10, "radiusY": 20, "rotation": 0})],
         [80, 30, 120, 70]),
        ([region("ellipselabels", {"x": 50, "y": 50, "radiusX": 20, "radiusY": 10, "rotation": 90})],
         [90, 10, 110, 90]),
        ([region("rectanglelabels", SQUARE, original_width=200.0, original_height=100.0)], [20, 10, 60, 30]),
        ([region("rectanglelabels", SQUARE | {"rotation": 360})], [20, 10, 60, 30]),
        ([region("rectanglelabels", SQUARE | {"rotation": -1e-7})], [20, 10, 60, 30]),
    ],
)  # fmt: skip
def test_regions_of_label_studio(tmp_path, regions, box):
    truth = read_json(tmp_path, [task(regions=regions)])
    np.testing.assert_allclose(truth.boxes, [box])
    assert truth.classes == ("cat",)
    if len(regions) == 1:  # JSON-MIN, with another name for the image and a list of choices
        short = regions[0].pop("value") | regions[0]
        content = [{"pic": "/data/a.png", "id": 1, "label": [short], "tags": ["x"], "annotation_id": 1}]
        np.testing.assert_allclose(read_json(tmp_path, content).boxes, [box])
        with pytest.warns(InputWarning, match="more than once"):
            assert len(read_json(tmp_path, content * 2)) == 1


@pytest.mark.parametrize(
    ("data", "name"),
    [
        ({"text": "hello world", "image": "/data/upload/1/a.png"}, "a"),
        ({"id": "7", "pic": "s3://bucket/b/a.png"}, "a"),
        ({"image": "C:\\pics\\a.png"}, "a"),
        ({"image": "/data/local-files/?d=pics%5Ca.png"}, "a"),
        ({"image": "/data/upload/1/stra%C3%9Fe%201.png"}, "straße 1"),
        ({"image": "/data/upload/1/a#1.png"}, "a#1"),
        ({"image": "https://x.org/b/a.png?X-Amz=1#f"}, "a"),
        ({"image": "https://x.org/b/5"}, "5"),
    ],
)
def test_names_of_images_in_label_studio(tmp_path, data, name):
    truth = read_json(tmp_path, [task(data=data)])
    assert (truth.images, len(truth)) == ((name,), 1)
    other = task(picture="s3://bucket/b/a.png")
    assert read_json(tmp_path, [task(picture="s3://bucket/c/a.png"), other]).images == ("c/a", "b/a")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a,b\n1,2\n", "columns 'a, b'; expected VIA's CSV"),
        ("", "columns ''; expected VIA's CSV"),
        ('filename,region_shape_attributes,region_attributes\na.png,"{",{}\n',
         r"truth.csv:2:1:2: found malformed JSON"),
        ('filename,region_shape_attributes,region_attributes\n"a.png', "malformed CSV"),
        ("filename,region_shape_attributes,region_attributes\na.png,{}\n",
         "truth.csv:2: found 2 columns; exp"),
        ("filename,region_shape_attributes,region_attributes\na.png,{},{},\n",
         ":2: found 4 columns; expected 3"),
        ("filename;region_shape_attributes;region_attributes\na.png;{};{}\n", None),  # saved by Excel
        ("filename,region_shape_attributes,region_attributes\na.png,[],5\n", None),
        ("#filename,region_shape_attributes,region_attributes\na.png,{},{}\n", None),  # VIA 1
    ],
)  # fmt: skip
def test_csv_that_is_not_via_s(tmp_path, text, message):
    (tmp_path / "truth.csv").write_text(text)
    write_image(tmp_path / "a.png", (20, 10))
    if message is None:  # an image without regions
        assert read_ground_truth(tmp_path / "truth.csv").images == ("a",)
    else:
        with pytest.raises(InputError, match=message):
            read_ground_truth(tmp_path / "truth.csv")


def test_the_category_of_a_roboflow_project_may_be_called_as_one_of_its_classes(tmp_path):
    root = {"id": 0, "name": "cat", "supercategory": "none"}
    classes = [{"id": i, "name": name, "supercategory": "cat"} for i, name in ((1, "cat"), (2, "dog"))]
    path = write_coco(tmp_path, [coco_object(1, 1, [1, 2, 3, 4])], categories=[root, *classes])
    with pytest.warns(InputWarning, match="the category 'cat' with the id 0 has no object"):
        assert read_ground_truth(path).class_ids == (1, 2)
    both = [coco_object(1, key, [1 + 9 * key, 2, 3, 4]) for key in (0, 1)]
    with pytest.raises(InputError, match=r"categories\[1\]: found the name 'cat' a second time"):
        read_ground_truth(write_coco(tmp_path, both, categories=[root, *classes]))
    with pytest.raises(InputError, match="a second time"):
        read_ground_truth(write_coco(tmp_path, [], categories=[root, root | {"id": 1}]))


# --- LabelImg, CVAT and Roboflow, further ---------------------------------------------------------

LABEL, YOLO_BOX = "0 0.5 0.5 0.2 0.2\n", [80, 40, 120, 60]
CORNERS = "<xmin>11</xmin><ymin>21</ymin><xmax>40</xmax><ymax>60</ymax>"
OBJECT = f"<object><name>cat</name>{{}}<bndbox>{CORNERS}</bndbox></object>"
XML = "<annotation><filename>{}</filename><size><width>200</width><height>100</height></size>{}</annotation>"
TURNED = "<attributes><attribute><name>rotation</name><value>30.0</value></attribute></attributes>"
ROBOFLOW = "train: ../train/images\nval: ..\\valid\\images\nnc: 2\nnames: [cat, dog]\nroboflow: {url: x}\n"
IN_COCO: dict = {"attributes": {"occluded": True, "rotation": 30.0}}


def read_tree(folder, files, spec=""):
    """The tree of some text files, with pictures; and what is warned of."""
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        if content is None:
            write_image(folder / name, (200, 100))
        else:
            (folder / name).write_text(content, encoding="utf-8")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        return read_ground_truth(f"{folder}{spec}"), [str(warning.message) for warning in caught]


@pytest.mark.parametrize(
    ("files", "images", "box", "said"),
    [
        ({"classes.txt": "\ufeffcat\r\ndog\r\n\r\n", "a.txt": f"\ufeff{LABEL}"}, "a", YOLO_BOX, ""),
        ({"classes.txt": "cat", "a.txt": LABEL, "straße 1.png": None}, "a straße 1", YOLO_BOX, ""),
        ({"classes.txt": "cat", "a.txt": "0 0.4 0.4 0.6 0.4 0.6 0.6 0.4 0.6\n"}, "a", YOLO_BOX, ""),
        (
            {"classes.txt": "cat", "a.txt": LABEL, "b.txt": LABEL, "notes.txt": "to do"},
            "a", YOLO_BOX, "label files without an image are left out: 1, the first .*b.txt",
        ),
        ({"data.yaml": ROBOFLOW, "valid/labels/a.txt": LABEL, "valid/images/a.jpg": None}, "a", YOLO_BOX, ""),
        ({"a.xml": XML.format("C:\\me\\a.png", OBJECT.format(""))}, "a", [10, 20, 40, 60], ""),
        (
            {"a.xml": XML.format("a.png", OBJECT.format(TURNED))},
            "a", [10, 20, 40, 60], "1 object is turned by an attribute rotation, .*a.xml, by 30°",
        ),
    ],
)  # fmt: skip
def test_trees_of_labelimg_cvat_and_roboflow(tmp_path, files, images, box, said):
    pictures = {} if "data.yaml" in files else {"a.png": None}
    truth, warned = read_tree(tmp_path, pictures | files)
    assert truth.images == tuple(images.split(" ", 1))
    np.testing.assert_allclose(truth.boxes, [box])
    assert (len(warned), re.search(said, "".join(warned)) is not None) == (bool(said), True)


@pytest.mark.parametrize(
    ("files", "spec", "message"),
    [
        ({"classes.txt": "cat\n\ndog\n", "a.txt": LABEL}, "", r"classes.txt: names\[1\]: found ''"),
        ({"classes.txt": "cat", "a.txt": "0 0,5 0,5 0,2 0,2\n"}, "", "'0,5' as x_center; expected a number"),
        ({"classes.txt": "cat", "a.txt": "0 50 50 20 20\n"}, "", "found 50 as x_center; expected a fraction"),
        ({"valid/_annotations.coco.json": "{}"}, ":valid", "one of them, such as .*_annotations.coco.json"),
        ({"valid/_annotations.csv": "filename\n"}, "/valid/_annotations.csv", "expected VIA's CSV"),
        ({"a.xml": "<annotations><track/></annotations>"}, "", "found CVAT's own XML"),
        ({"a.xml": XML.format("a.png", "<object><name>cat</name><robndbox/></object>")}, "", "no <bndbox>"),
    ],
)
def test_faults_of_labelimg_cvat_and_roboflow(tmp_path, files, spec, message):
    with pytest.raises(InputError, match=message):
        read_tree(tmp_path, {"a.png": None} | files, spec)


def test_boxes_that_cvat_s_coco_says_are_turned(tmp_path):
    with pytest.warns(InputWarning, match=r"1 object is turned .*annotations\[0\], by 30°"):
        assert read_ground_truth(
            write_coco(tmp_path, [coco_object(1, 1, [1, 2, 3, 4], **IN_COCO)])
        ).boxes.tolist() == [[1, 2, 4, 6]]
