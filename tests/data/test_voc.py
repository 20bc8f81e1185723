"""VOC trees and detection text: what is read, what is written, and what each mistake is answered with."""

import contextlib
import os
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data.formats.classes import VOC_CLASSES, VOC_SIMILAR, ClassList, read_classes, write_classes
from data.formats.files import write_text
from data.formats.voc import (
    AnnotatedObject,
    annotation_xml,
    guard_test_set,
    read_annotation,
    read_detections,
    read_image_list,
    read_voc,
    read_voc_folder,
    voc_folder,
    write_detections,
)
from data.records import Detections, InputError

NUMBER = {name: i for i, name in enumerate(VOC_CLASSES)}
DOG = AnnotatedObject("dog", (47.0, 239.0, 195.0, 371.0), truncated=1, pose="Left")


def write_tree(root, year="2007", images=(), lists=None, size=(353, 500)):
    """A VOC tree; `images` maps names to objects, `lists` the names of lists to names of images."""
    tree = root / f"VOC{year}"
    (tree / "Annotations").mkdir(parents=True, exist_ok=True)
    (tree / "ImageSets" / "Main").mkdir(parents=True, exist_ok=True)
    images = dict(images)
    for name, objects in images.items():
        text = annotation_xml(f"VOC{year}", f"{name}.jpg", size, objects)
        (tree / "Annotations" / f"{name}.xml").write_text(text)
    for name, members in (lists or {"train": list(images)}).items():
        (tree / "ImageSets" / "Main" / f"{name}.txt").write_text("".join(f"{m}\n" for m in members))
    return tree


SIZE = "<size><width>353</width><height>500</height></size>"


def write_xml(folder, *, size=SIZE, **fields):
    """An annotation of one object; a field of None is left out."""
    fields = {"name": "dog", "xmin": 48, "ymin": 240, "xmax": 195, "ymax": 371, **fields}
    tags = {tag: f"<{tag}>{value}</{tag}>" for tag, value in fields.items() if value is not None}
    box = "".join(tags.pop(tag, "") for tag in ("xmin", "ymin", "xmax", "ymax"))
    path = folder / "000001.xml"
    path.write_text(
        f"<annotation>{size}<object>{''.join(tags.values())}<bndbox>{box}</bndbox></object></annotation>"
    )
    return path


# --- classes ------------------------------------------------------------------------------------


def test_voc_classes():
    assert len(VOC_CLASSES) == 20
    assert list(VOC_CLASSES) == sorted(VOC_CLASSES), "the devkit's order is alphabetical"
    grouped = {name for group in VOC_SIMILAR for name in group}
    assert set(VOC_CLASSES) - grouped == {"bottle", "pottedplant", "tvmonitor"}


def test_a_tree_without_classes_of_its_own_has_those_of_voc(tmp_path):
    assert read_classes(tmp_path) == ClassList(VOC_CLASSES, VOC_SIMILAR)


@given(st.lists(st.text(min_size=1, max_size=8).filter(lambda s: s == s.strip()), min_size=1, unique=True))
@settings(max_examples=40)
def test_classes_survive_writing_and_reading(tmp_path_factory, names):
    folder = tmp_path_factory.mktemp("tree")
    names = [name for name in names if name.isprintable()] or ["no"]
    classes = ClassList(tuple(names), (tuple(names[:2]), tuple(names[1:])))
    write_classes(folder, classes)
    assert read_classes(folder) == classes


def test_classes_without_groups(tmp_path):
    (tmp_path / "classes.yaml").write_text("classes: [cat, dog]\n")
    assert read_classes(tmp_path) == ClassList(("cat", "dog"), ())


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("classes: [cat\nsimilar: []", r"classes.yaml:2: found malformed YAML"),
        ("", "found no keys"),
        ("- cat\n- dog\n", "found no keys"),
        ("clases: [cat]", r"unknown key .clases.; .*did you mean .classes.\?"),
        ("similar: []", "classes.yaml: classes: found nothing"),
        ("classes: []", "found no class"),
        ("classes: cat", "classes: found 'cat'; expected a list"),
        ("classes: [cat, no]", r"classes\[1\]: found False; expected a class name"),
        ("classes: [cat, cat]", "the name 'cat' a second time"),
        ("classes: [cat]\nsimilar: cat", "similar: found 'cat'"),
        ("classes: [cat]\nsimilar: [cat]", r"similar\[0\]: found 'cat'"),
        ("classes: [cat]\nsimilar: [[cat], [cow]]", r"similar\[1\]: found the unknown class 'cow'"),
        ("classes:\n- caf\xe9\n", r"classes.yaml:2: found a byte that is not UTF-8 \(0xe9\)"),
    ],
)
def test_wrong_classes(tmp_path, text, message):
    (tmp_path / "classes.yaml").write_bytes(text.encode("latin-1"))
    with pytest.raises(InputError, match=message):
        read_classes(tmp_path)


# --- annotations --------------------------------------------------------------------------------


def test_an_image_without_objects(tmp_path):
    (tmp_path / "a.xml").write_text(annotation_xml("VOC2007", "a.jpg", (10, 20), []))
    assert read_annotation(tmp_path / "a.xml", NUMBER) == ((10, 20), [])


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, AnnotatedObject("dog", (47, 239, 195, 371), False, -1, -1, "")),
        ({"difficult": "1", "truncated": "0", "occluded": " 1 ", "pose": "Rear"},
         AnnotatedObject("dog", (47, 239, 195, 371), True, 0, 1, "Rear")),
        ({"xmin": "1", "ymin": " 1.50 ", "xmax": "353", "ymax": "500"},
         AnnotatedObject("dog", (0, 0.5, 353, 500))),
        # Rounding at the border is clipped.
        ({"xmin": 0.6, "ymin": 1, "xmax": 353.4, "ymax": 500.5}, AnnotatedObject("dog", (0, 0, 353, 500))),
    ],
)  # fmt: skip
def test_fields_of_an_object(tmp_path, fields, expected):
    """Pixels count from 1 and include the last."""
    assert read_annotation(write_xml(tmp_path, **fields), NUMBER) == ((353, 500), [expected])


def test_parts_of_an_object_are_not_objects(tmp_path):
    """VOC 2012's layout annotations: each part has a name and a box of its own."""
    part = "<part><name>head</name><bndbox><xmin>1</xmin></bndbox></part>"
    path = write_xml(tmp_path)
    path.write_text(path.read_text().replace("<object>", f"<object>{part}"))
    _, [thing] = read_annotation(path, NUMBER)
    assert thing.label == "dog"
    assert thing.box == (47, 239, 195, 371)


boxes_in_image = st.tuples(
    st.floats(0, 300), st.floats(0, 400), st.floats(1.001, 53), st.floats(1.001, 100)
).map(lambda b: (b[0], b[1], b[0] + b[2], b[1] + b[3]))
annotated = st.builds(
    AnnotatedObject,
    st.sampled_from(VOC_CLASSES),
    boxes_in_image,
    st.booleans(),
    st.sampled_from([-1, 0, 1]),
    st.sampled_from([-1, 0, 1]),
    st.sampled_from(["", "Left", "Unspecified", "<&>"]),
    st.floats(0, 360),
)


@given(st.lists(annotated, max_size=4))
@settings(max_examples=60)
def test_annotations_survive_writing_and_reading(tmp_path_factory, objects):
    path = tmp_path_factory.mktemp("tree") / "a.xml"
    path.write_text(annotation_xml("VOC<&>", "a.jpg", (353, 500), objects))
    size, back = read_annotation(path, NUMBER)
    assert size == (353, 500)
    assert [thing._replace(box=()) for thing in back] == [thing._replace(box=()) for thing in objects]
    for one, other in zip(back, objects, strict=True):
        assert one.box == pytest.approx(other.box, abs=1e-9)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"name": "unicorn"}, "object 1: <name>: found 'unicorn'; expected one of the classes aeroplane, "),
        ({"name": None}, "object 1: <name>: found ''"),
        ({"xmin": 0}, r"object 1 \(dog\): <bndbox><xmin>: found 0, outside the image of 353×500 pixels"),
        ({"ymin": -3}, "<ymin>: found -3, outside"),
        ({"xmax": 354}, "<xmax>: found 354, outside .* expected 1 to 353"),
        ({"ymax": 501}, "<ymax>: found 501, outside .* expected 1 to 500"),
        ({"xmin": 400, "xmax": 410}, "<xmin>: found 400, outside"),
        ({"xmin": 195}, "<bndbox>: found xmin 195 and xmax 195, a box of zero area"),
        ({"xmin": 299, "xmax": 20}, "<bndbox>: found xmin 299 and xmax 20, a box of negative width"),
        ({"ymin": 371, "ymax": 240}, "<bndbox>: found ymin 371 and ymax 240, a box of negative height"),
        ({"xmax": None}, "<bndbox><xmax>: found nothing; expected a number"),
        ({"xmin": "left"}, "<bndbox><xmin>: found 'left'; expected a number"),
        ({"xmin": "nan"}, "<bndbox><xmin>: found 'nan'; expected a number"),
        ({"ymax": "1e999"}, "<bndbox><ymax>: found '1e999'; expected a number"),
        ({"difficult": "yes"}, "object 1: <difficult>: found 'yes'; expected 0 or 1"),
        ({"truncated": "0.5"}, "object 1: <truncated>: found '0.5'; expected 0 or 1"),
        ({"occluded": "2"}, "object 1: <occluded>: found '2'; expected 0 or 1"),
        ({"xmin": "4_8"}, "<bndbox><xmin>: found '4_8'; expected a number"),
        *(
            (
                {"size": f"<size><width>{value}</width><height>5</height></size>"},
                f"<size><width>: found '{value}'",
            )
            for value in ("5.5", "inf", "1_0", "wide")
        ),
        ({"size": "<size><width>5</width><height>-1</height></size>"}, "<size><height>: found '-1'"),
    ],
)
def test_wrong_annotations(tmp_path, fields, message):
    path = write_xml(tmp_path, **fields)
    with pytest.raises(InputError, match=message) as caught:
        read_annotation(path, NUMBER)
    assert str(caught.value).startswith(str(path))


BOMB = '<!DOCTYPE a [<!ENTITY x "ha"><!ENTITY y "&x;&x;&x;&x;">]><annotation>&y;</annotation>'
OUTSIDE = '<!DOCTYPE a [<!ENTITY x SYSTEM "file:/etc/passwd">]><annotation>&x;</annotation>'


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "a.xml:1: found malformed XML"),
        ("<annotation>\n<size>\n", "a.xml:3: found malformed XML"),
        ("not XML", "a.xml:1: found malformed XML"),
        (BOMB, "a.xml: found XML that declares entities or a document type"),
        (OUTSIDE, "a.xml: found XML that declares entities or a document type"),
        ('<?xml version="1.0" encoding="klingon"?><annotation/>', "a.xml.*found (unreadable|malformed) XML"),
        ("<html><size/></html>", "a.xml: found the root element <html>; expected <annotation>"),
        (f"<annotation>{SIZE}<object><name>dog</name></object></annotation>",
         r"a.xml: object 1 \(dog\): found no <bndbox>"),
        (f"<annotation>{SIZE}<object><name>dog</name><bndbox/><bndbox/></object></annotation>",
         r"object 1 \(dog\): found 2 <bndbox>; expected one <bndbox>"),
        (f"<annotation>{SIZE}<object><name>dog</name><name>cat</name><bndbox/></object></annotation>",
         r"object 1: found 2 <name>; expected one"),
        (f"<annotation>{SIZE}<object><name>dog</name><bndbox><xmin>1</xmin><ymin>1</ymin><xmax>9</xmax><xmax>8"
         "</xmax><ymax>9</ymax></bndbox></object></annotation>", r"<bndbox>: found 2 <xmax>; expected one"),
    ],
)  # fmt: skip
def test_malformed_xml(tmp_path, content, message):
    (tmp_path / "a.xml").write_text(content)
    with pytest.raises(InputError, match=message):
        read_annotation(tmp_path / "a.xml", NUMBER)


def test_sizes_written_with_a_point(tmp_path):
    size = "<size><width>353.0</width><height> 500.00 </height></size>"
    (width, height), _ = read_annotation(write_xml(tmp_path, size=size), NUMBER)
    assert (width, height) == (353, 500)
    assert isinstance(width, int)


@given(st.binary(max_size=60))
@settings(max_examples=80)
def test_rubbish_is_an_input_error(tmp_path_factory, content):
    path = tmp_path_factory.mktemp("tree") / "a.xml"
    path.write_bytes(content)
    with pytest.raises(InputError):
        read_annotation(path, NUMBER)


# --- trees --------------------------------------------------------------------------------------


def test_one_split(tmp_path):
    cat = AnnotatedObject("cat", (0, 0, 10, 10), difficult=True, occluded=0)
    tree = write_tree(tmp_path, images={"000001": [DOG, cat], "000003": [], "000002": [cat]})
    truth = read_voc(tmp_path, "2007:train")
    assert truth.images == ("000001", "000003", "000002"), "in the order of the list"
    assert truth.classes == VOC_CLASSES
    assert truth.sizes.tolist() == [[353, 500]] * 3
    assert truth.image_index.tolist() == [0, 0, 2]
    assert [VOC_CLASSES[i] for i in truth.labels] == ["dog", "cat", "cat"]
    assert truth.boxes.tolist() == [[47, 239, 195, 371], [0, 0, 10, 10], [0, 0, 10, 10]]
    assert truth.difficult.tolist() == [False, True, True]
    assert truth.attributes["truncated"].tolist() == [1, -1, -1]
    assert truth.attributes["occluded"].tolist() == [-1, 0, 0]
    assert truth.attributes["pose"].tolist() == ["Left", "", ""]
    assert truth.attributes["truncated"].dtype == truth.attributes["occluded"].dtype == np.int8
    assert truth.files[1] == str(tree / "JPEGImages" / "000003.jpg")
    assert read_voc_folder(tree, "train").boxes.tolist() == truth.boxes.tolist()


def test_images_without_any_object(tmp_path):
    write_tree(tmp_path, images={"000001": []})
    truth = read_voc(tmp_path, "2007:train")
    assert len(truth) == 0
    assert len(truth.images) == 1
    assert truth.attributes["truncated"].dtype == np.int8
    assert truth.attributes["pose"].dtype.kind == "U"


def test_splits_are_joined_in_order(tmp_path):
    write_tree(tmp_path, "2012", {"2008_000002": [DOG]})
    write_tree(tmp_path, "2007", {"000005": [DOG, DOG]}, size=(400, 400))
    truth = read_voc(tmp_path, ["2012:train", "2007:train"])
    assert truth.images == ("2008_000002", "000005")
    assert truth.sizes.tolist() == [[353, 500], [400, 400]]
    assert truth.image_index.tolist() == [0, 1, 1]


def test_processes_that_read_change_nothing(tmp_path, monkeypatch):
    images = {f"{i:06}": [DOG] * (i % 3) for i in range(1, 8)}
    tree = write_tree(tmp_path, images=images)
    alone = read_voc(tmp_path, "2007:train")
    monkeypatch.setattr("data.formats.voc.FILES_OF_A_PROCESS", 1)
    monkeypatch.setattr("data.formats.processes.usable_cores", lambda: 3)
    together = read_voc(tmp_path, "2007:train")
    for column in ("sizes", "image_index", "labels", "boxes", "difficult"):
        np.testing.assert_array_equal(getattr(alone, column), getattr(together, column))
    for image in ("000004", "000007"):  # of several errors the first in the list
        (tree / "Annotations" / f"{image}.xml").write_text("<annotation>")
    with pytest.raises(InputError, match="000004"):
        read_voc(tmp_path, "2007:train")


def test_a_tree_with_classes_of_its_own(tmp_path):
    classes = ClassList(("ring", "disc"), (("ring", "disc"),))
    tree = write_tree(tmp_path, "shapes", {"a": [AnnotatedObject("disc", (0, 0, 9, 9))]})
    write_classes(tree, classes)
    assert read_voc(tmp_path, "shapes:train").classes == classes.names
    assert read_voc_folder(tree, "train").labels.tolist() == [1]
    assert read_voc_folder(tree, "train", ("disc",)).labels.tolist() == [0]
    assert read_voc(tmp_path, "shapes:train", ClassList(("x", "disc"), ())).classes == ("x", "disc")


def test_a_list_of_one_class_and_line_ends_of_windows_and_a_byte_order_mark(tmp_path):
    tree = write_tree(tmp_path, images={"1": [DOG], "2": []}, lists={"dog_train": ["1  1", "2 -1"]})
    (tree / "ImageSets/Main/train.txt").write_bytes(b"\xef\xbb\xbf1\r\n2\r\n\r\n")
    assert read_image_list(tree, "dog_train") == read_image_list(tree, "train") == ["1", "2"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "train.txt: found no image; expected"),
        (b"\n \n", "train.txt: found no image"),
        (b"1\n2\n1\n", r"train.txt:3: found image '1' a second time \(first in line 1\)"),
        (b"1\n2 dog\n", "train.txt:2: found '2 dog'"),
        (b"1 1 1\n", "train.txt:1: found '1 1 1'"),
        (b"1\n\xff\n", "train.txt:2: found a byte that is not UTF-8"),
        (b"1\n000002\n", r"000002.xml: found no such file; expected the annotation"),
    ],
)
def test_wrong_lists(tmp_path, content, message):
    tree = write_tree(tmp_path, images={"1": []})
    (tree / "ImageSets/Main/train.txt").write_bytes(content)
    with pytest.raises(InputError, match=message):
        read_voc(tmp_path, "2007:train")


@pytest.mark.parametrize(
    ("read", "message"),
    [
        (lambda root: read_voc(root, "2007:absent"), r"absent.txt: found no such list; .* train, val$"),
        (lambda root: read_voc(root, ["2007:train", "2007:val"]), "val.txt: found image '1', already listed"),
        (lambda root: read_voc(root, ["2007:train", "pets:train"]),
         r"VOCpets: found other classes than those of .*VOC2007"),
        (lambda root: read_voc(root, "2012:train"),
         "VOC2012: found no such folder; expected one of VOC2007, VOCempty, VOCpets of"),
        (lambda root: read_voc(root.parent, "2007:train"), r"VOC2007: found no such folder; .*VOCdevkit\?"),
        (lambda root: read_voc(root / "VOCempty", "2007:train"),
         "VOC2007: found no such folder; expected the folder that holds"),
        (lambda root: read_voc_folder(root / "VOC2012", "train"),
         "VOC2012: found no such folder; expected a VOC tree"),
        (lambda root: read_voc_folder(root / "VOCempty", "test"), r"no such list; .* none at all"),
        (lambda root: read_voc(root, []), "splits: found none"),
        *((lambda root, split=split: voc_folder(root, split), "expected YEAR:LIST")
          for split in ("2007", "2007:", ":train", "")),
    ],
)  # fmt: skip
def test_what_is_not_there_or_does_not_fit(tmp_path, read, message):
    root = tmp_path / "VOCdevkit"
    write_tree(root, "2007", {"1": [DOG]}, {"train": ["1"], "val": ["1"]})
    write_classes(write_tree(root, "pets", {"a": [DOG]}), ClassList(("dog",), ()))
    (root / "VOCempty").mkdir()
    with pytest.raises(InputError, match=message):
        read(root)


# --- the guard ----------------------------------------------------------------------------------

OFFICIAL = {"2007": {"trainval": ["5"], "test": ["1"]}, "2012": {"train": ["2008_2"]}}
SHARED = {"2007": {"test": ["1"]}, "2012": {"train": ["1"], "val": ["2008_2"]}}
OVERLAPPING = {"2012": {"train": ["2008_1", "2008_2"], "val": ["2008_2"]}}
OWN = {year: {"train": ["1", "2007_1"], "val": ["1"]} for year in ("mine", "yours")}


@pytest.mark.parametrize(
    ("trees", "train", "tests", "message"),
    [
        (OFFICIAL, ["2007:trainval", "2012:train"], ["2007:test"], None),
        # An image of VOC 2007 test is found whatever is tested.
        *((SHARED, "2012:train", tests, "image '1' of VOC2012: .*VOC2007/ImageSets/Main/test.txt")
          for tests in (["2007:test"], ["2012:val"], [])),
        (OVERLAPPING, "2012:train", [], None),
        (OVERLAPPING, "2012:train", ["2012:val"], "image '2008_2' of VOC2012.*val.txt"),
        ({"2012": {"train": ["2007_27"]}}, "2012:train", [], "image '2007_27' of VOC2012: .* 2007 challenge"),
        # Trees of the user's own may use the same names.
        (OWN, "mine:train", ["yours:train"], None),
        (OWN, "mine:train", ["mine:val"], "image '1' of VOCmine"),
        ({"2007": {"train": ["1"]}}, "2007:train", ["2007:test"], "test.txt: found no such list"),
    ],
)  # fmt: skip
def test_the_guard_of_the_test_set(tmp_path, trees, train, tests, message):
    for year, lists in trees.items():
        write_tree(tmp_path, year, {name: [DOG] for names in lists.values() for name in names}, lists)
    images = read_voc(tmp_path, train)
    with pytest.raises(InputError, match=message) if message else contextlib.nullcontext():
        guard_test_set(tmp_path, images, tests)


# --- detections ---------------------------------------------------------------------------------

IMAGES = ("000001", "000002", "2008_000003")
CLASSES = ("cat", "dog", "light", "traffic_light")


def read(path, **options):
    return read_detections(path, IMAGES, CLASSES, **options)


def test_lines_become_rows(tmp_path):
    (tmp_path / "comp4_det_test_dog.txt").write_text(
        "2008_000003 0.5 1 1 10.5 20\n000001\t1e-3\t-3 2 4 5\n\n 000001 0.9 5 5 5 5 \r\n"
    )
    (tmp_path / "comp4_det_test_cat.txt").write_bytes(b"\xef\xbb\xbf000002 -1.5 1 2 3 4")
    (tmp_path / "README.md").write_text("left alone")
    (tmp_path / "timing.json").write_text("{}")
    found = read(tmp_path)
    assert (found.images, found.classes) == (IMAGES, CLASSES)
    assert found.labels.tolist() == [0, 1, 1, 1], "in the order of the classes"
    assert found.image_index.tolist() == [1, 2, 0, 0], "and within a class of the file"
    assert found.scores.tolist() == [-1.5, 0.5, 1e-3, 0.9]
    assert found.boxes.tolist() == [[0, 1, 3, 4], [0, 0, 10.5, 20], [-4, 1, 4, 5], [4, 4, 5, 5]]


@pytest.mark.parametrize("content", ["", "\n\n"])
def test_empty_files(tmp_path, content):
    (tmp_path / "dog.txt").write_text(content)
    assert len(read(tmp_path)) == 0


@pytest.mark.parametrize(
    ("name", "label"),
    [
        ("dog.txt", "dog"),
        ("results_dog.txt", "dog"),
        ("comp4_det_test_dog.txt", "dog"),
        ("light.txt", "light"),
        ("det_light.txt", "light"),
        ("det_traffic_light.txt", "traffic_light"),
    ],
)
def test_the_name_of_a_file_says_the_class(tmp_path, name, label):
    (tmp_path / name).write_text("000001 0.5 1 1 2 2\n")
    for path in (tmp_path, tmp_path / name):
        assert [CLASSES[i] for i in read(path).labels] == [label]


@pytest.mark.parametrize(
    ("files", "path", "message"),
    [
        ([], ".", "found no detection file of any of the classes"),
        ([], "absent", "absent: found no such file or folder"),
        (["unicorn"], ".", r"unicorn.txt: found a file of no known class; expected .* cat, dog"),
        (["unicorn"], "unicorn.txt", r"unicorn.txt: found a file of no known class"),
        (["dog", "old_dog"], ".", "old_dog.txt: found a second file of class dog; expected only dog.txt"),
    ],
)
def test_wrong_folders(tmp_path, files, path, message):
    for name in files:
        (tmp_path / f"{name}.txt").write_text("")
    with pytest.raises(InputError, match=message):
        read(tmp_path / path)


GOOD = "000001 0.5 1 1 20 20\n"


def test_columns_are_counted_in_each_line(tmp_path):
    """One too few and one too many: together they have the right number, and they are still wrong."""
    images = ("1", "2", "3")
    (tmp_path / "dog.txt").write_text("1 0.5 1 1 20\n2 3 0.5 1 1 20 20\n")
    with pytest.raises(InputError, match=r"dog.txt:1: found 5 columns"):
        read_detections(tmp_path, images, CLASSES)


def test_names_beyond_ascii(tmp_path):
    (tmp_path / "dog.txt").write_bytes("hänge 0.5 1 1 20 20\n".encode())
    assert len(read_detections(tmp_path, ["hänge"], CLASSES)) == 1


def test_lenient_reading_leaves_files_out(tmp_path):
    (tmp_path / "dog.txt").write_text(GOOD)
    (tmp_path / "unicorn.txt").write_text(GOOD)
    with pytest.warns(UserWarning, match=r"file left out: .*unicorn.txt"):
        assert len(read(tmp_path, lenient=True)) == 1


def test_boxes_inverted_by_clipping_keep_their_rank(tmp_path):
    """Detectors clip boxes that lie beyond the image, here of 100×80 pixels: nothing of them is left."""
    sizes = [[100, 80]] * 3
    (tmp_path / "dog.txt").write_text(
        "000001 0.9 120.5 5 100 9\n000001 0.8 3 95 10 80\n000001 0.7 1 5 -42.5 9\n000001 0.6 4 4 8 8\n"
    )
    found = read(tmp_path, sizes=sizes)
    assert found.scores.tolist() == [0.9, 0.8, 0.7, 0.6]
    area = (found.boxes[:, 2] - found.boxes[:, 0]) * (found.boxes[:, 3] - found.boxes[:, 1])
    assert area.tolist() == [0, 0, 0, 25]
    for line in ("000001 0.9 90 5 40 9", "000001 0.9 120 5 40 9", "000001 0.9 -20 5 -40 9"):
        (tmp_path / "dog.txt").write_text(line)
        with pytest.raises(InputError, match=r"dog.txt:1: found the inverted box"):
            read(tmp_path, sizes=sizes)


@st.composite
def found_things(draw):
    count = draw(st.integers(0, 12))
    coordinate = st.floats(-50, 2000)
    extent = st.one_of(st.just(0.0), st.floats(0, 500))
    boxes = [
        (x, y, x + w, y + h)
        for x, y, w, h in (draw(st.tuples(coordinate, coordinate, extent, extent)) for _ in range(count))
    ]
    return Detections(
        IMAGES,
        CLASSES,
        [draw(st.integers(0, 2)) for _ in range(count)],
        sorted(draw(st.integers(0, 3)) for _ in range(count)),
        [draw(st.floats(-1e3, 1e3)) for _ in range(count)],
        boxes,
    )


@given(found_things(), st.sampled_from(["comp4_det_test_", "", "results_"]))
@settings(max_examples=60)
def test_detections_survive_writing_and_reading(tmp_path_factory, found, prefix):
    folder = tmp_path_factory.mktemp("run") / "detections"
    files = write_detections(found, folder, prefix)
    assert sorted(file.name for file in folder.iterdir()) == sorted(f"{prefix}{c}.txt" for c in CLASSES)
    assert sorted(files) == sorted(folder.iterdir())
    back = read(folder)
    assert back.scores.tolist() == found.scores.tolist(), "exactly: ties must not appear"
    assert back.labels.tolist() == found.labels.tolist()
    assert back.image_index.tolist() == found.image_index.tolist()
    np.testing.assert_allclose(back.boxes, found.boxes, rtol=0, atol=1e-6)


def test_the_written_form(tmp_path):
    found = Detections(IMAGES, CLASSES, [2, 0], [1, 1], [0.25, 1e-7], [[0, 0, 10, 20.5], [1, 2, 3, 4]])
    write_detections(found, tmp_path)
    assert (tmp_path / "comp4_det_test_cat.txt").read_text() == ""
    assert (tmp_path / "comp4_det_test_dog.txt").read_text().splitlines() == [
        "2008_000003 0.250000 1.0000000 1.0000000 10.0000000 20.5000000",
        "000001 0.0000001 2.0000000 3.0000000 3.0000000 4.0000000",
    ]


def test_an_interrupted_write_leaves_the_old_files_and_a_whole_one_replaces_them(tmp_path, monkeypatch):
    write_detections(Detections(IMAGES, CLASSES, [0], [3], [0.5], [[0, 0, 1, 1]]), tmp_path)
    before = {file.name: file.read_text() for file in tmp_path.iterdir()}
    none = Detections(IMAGES, CLASSES, [], [], [], [])

    def fail(self, target):
        raise OSError(28, "No space left on device", str(self))

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", fail)
        with pytest.raises(InputError, match="No space left"):
            write_detections(none, tmp_path)
    assert {file.name: file.read_text() for file in tmp_path.iterdir()} == before
    write_detections(none, tmp_path)
    assert len(read(tmp_path)) == 0


def test_names_that_the_format_has_no_place_for(tmp_path):
    with pytest.raises(InputError, match="image 'a b': found white space"):
        write_detections(Detections(["a b"], ["dog"], [], [], [], []), tmp_path)
    with pytest.raises(InputError, match="class 'a/b': found a name that no file can have"):
        write_detections(Detections(["a"], ["a/b"], [], [], [], []), tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="expected a folder to write"):
        write_detections(Detections(["a"], ["dog"], [], [], [], []), tmp_path / "file")


def test_files_are_as_readable_as_others(tmp_path):
    (tmp_path / "plain").write_text("")
    write_text(tmp_path / "ours", "")
    assert (tmp_path / "ours").stat().st_mode == (tmp_path / "plain").stat().st_mode
    with pytest.raises(InputError, match="expected a folder to write to"):
        write_text(tmp_path / "absent" / "file", "")


# --- the real thing -----------------------------------------------------------------------------


def test_real_annotations(shared_data):
    """Every annotation at hand is read; a plain reading of the XML gives the same."""
    root = shared_data / "VOCdevkit"
    truth = read_voc(root, ["2007:trainval", "2007:test", "2012:trainval"])
    assert len(truth.images) == 9963 + 3426
    assert len(truth) == 30638 + 7168
    rows = np.searchsorted(truth.image_index, np.arange(0, len(truth.images), 97))
    for row in rows:
        image = truth.images[truth.image_index[row]]
        tree = "VOC2012" if "_" in image else "VOC2007"
        thing = ElementTree.parse(root / tree / "Annotations" / f"{image}.xml").find("object")
        values = [float(thing.findtext(f"bndbox/{tag}")) for tag in ("xmin", "ymin", "xmax", "ymax")]
        assert truth.boxes[row].tolist() == [values[0] - 1, values[1] - 1, values[2], values[3]]
        assert truth.classes[truth.labels[row]] == thing.findtext("name")
        assert truth.difficult[row] == (thing.findtext("difficult") == "1")
    test = truth.attributes["pose"][truth.image_index < 9963] != ""
    assert test.sum() == 14976, "pose is annotated in the test set, and only there"
    guard_test_set(root, truth.select([*range(5011), *range(9963, len(truth.images))]), ["2007:test"])
    with pytest.raises(InputError, match=r"VOC2007.ImageSets.Main.test\.txt"):
        guard_test_set(root, truth, ["2007:test"])


@pytest.fixture(scope="module")
def voc_test(shared_data):
    return read_voc(shared_data / "VOCdevkit", "2007:test")


@pytest.mark.parametrize("detector", ["darknet", "pytorch_yolo2", "yolov3"])
def test_real_detections(shared_data, voc_test, detector):
    truth = voc_test
    folder = shared_data / "detections" / detector
    found = read_detections(folder, truth.images, truth.classes, sizes=truth.sizes)
    lines = [line.split() for name in VOC_CLASSES for line in (folder / f"comp4_det_test_{name}.txt").open()]
    assert len(found) == len(lines), "no line is lost, not even of boxes that clipping inverted"
    assert [truth.images[i] for i in found.image_index] == [line[0] for line in lines]
    numbers = np.array([line[1:] for line in lines], dtype=float)
    assert found.scores.tolist() == numbers[:, 0].tolist()
    assert (found.boxes[:, :2] == numbers[:, 1:3] - 1).all()
    upright = (numbers[:, 3:] > numbers[:, 1:3] - 1).all(axis=1)
    assert (found.boxes[upright, 2:] == numbers[upright, 3:]).all()
    assert (~upright).sum() == {"darknet": 1955, "pytorch_yolo2": 0, "yolov3": 3}[detector]


def test_the_formats_load_neither_torch_nor_matplotlib(root):
    code = "import data.formats, sys; sys.exit(any(m in sys.modules for m in ('torch', 'matplotlib', 'cv2')))"
    environment = {**os.environ, "PYTHONPATH": str(root)}
    assert subprocess.run([sys.executable, "-c", code], env=environment, check=False).returncode == 0
