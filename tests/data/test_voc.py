"""VOC trees and detection text: what is read, what is written, and what each mistake is answered with."""

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


def write_xml(folder, *, size="<size><width>353</width><height>500</height></size>", **fields):
    """An annotation of one object; a field of None is left out."""
    fields = {"name": "dog", "xmin": 48, "ymin": 240, "xmax": 195, "ymax": 371, **fields}
    box = "".join(
        f"<{tag}>{fields[tag]}</{tag}>" for tag in ("xmin", "ymin", "xmax", "ymax") if fields[tag] is not None
    )
    rest = "".join(
        f"<{tag}>{value}</{tag}>"
        for tag, value in fields.items()
        if tag not in ("xmin", "ymin", "xmax", "ymax") and value is not None
    )
    path = folder / "000001.xml"
    path.write_text(f"<annotation>{size}<object>{rest}<bndbox>{box}</bndbox></object></annotation>")
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
        ("clases: [cat]", r"unknown key 'clases' \(did you mean classes\?\)"),
        ("similar: []", "classes.yaml: classes: found nothing"),
        ("classes: []", "found no class"),
        ("classes: cat", "classes: found 'cat'; expected a list"),
        ("classes: [cat, no]", "classes: found False; expected a class name"),
        ("classes: [cat, cat]", "found 'cat' twice"),
        ("classes: [cat]\nsimilar: cat", "similar: found 'cat'"),
        ("classes: [cat]\nsimilar: [cat]", r"similar\[0\]: found 'cat'"),
        (
            "classes: [cat, dog]\nsimilar: [[cat, dog], [cat, cow]]",
            r"similar\[1\]: found the unknown class 'cow'",
        ),
    ],
)
def test_wrong_classes(tmp_path, text, message):
    (tmp_path / "classes.yaml").write_text(text)
    with pytest.raises(InputError, match=message):
        read_classes(tmp_path)


def test_classes_that_are_not_utf8(tmp_path):
    (tmp_path / "classes.yaml").write_bytes(b"classes:\n- caf\xe9\n")
    with pytest.raises(InputError, match=r"classes.yaml:2: found a byte that is not UTF-8 \(0xe9\)"):
        read_classes(tmp_path)


# --- annotations --------------------------------------------------------------------------------


def test_an_image_without_objects(tmp_path):
    (tmp_path / "a.xml").write_text(annotation_xml("VOC2007", "a.jpg", (10, 20), []))
    assert read_annotation(tmp_path / "a.xml", NUMBER) == ((10, 20), [])


def test_pixels_count_from_one_and_include_the_last(tmp_path):
    _, [thing] = read_annotation(write_xml(tmp_path, xmin=48, ymin=240, xmax=195, ymax=371), NUMBER)
    assert thing.box == (47, 239, 195, 371)
    _, [thing] = read_annotation(write_xml(tmp_path, xmin="1", ymin=" 1.50 ", xmax="353", ymax="500"), NUMBER)
    assert thing.box == (0, 0.5, 353, 500)


def test_what_is_not_annotated(tmp_path):
    _, [thing] = read_annotation(write_xml(tmp_path), NUMBER)
    assert thing == AnnotatedObject("dog", (47, 239, 195, 371), False, -1, -1, "")
    path = write_xml(tmp_path, difficult="1", truncated="0", occluded=" 1 ", pose="Rear")
    _, [thing] = read_annotation(path, NUMBER)
    assert thing == AnnotatedObject("dog", (47, 239, 195, 371), True, 0, 1, "Rear")


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


def test_rounding_at_the_border_is_clipped(tmp_path):
    path = write_xml(tmp_path, xmin=0.6, ymin=1, xmax=353.4, ymax=500.5)
    _, [thing] = read_annotation(path, NUMBER)
    assert thing.box == (0, 0, 353, 500)


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
        ({"ymin": 371, "ymax": 240}, "<bndbox>: found ymin 371 and ymax 240, a box of zero area"),
        ({"xmax": None}, "<bndbox><xmax>: found nothing; expected a number"),
        ({"xmin": "left"}, "<bndbox><xmin>: found 'left'; expected a number"),
        ({"xmin": "nan"}, "<bndbox><xmin>: found 'nan'; expected a number"),
        ({"ymax": "1e999"}, "<bndbox><ymax>: found '1e999'; expected a number"),
        ({"difficult": "yes"}, "object 1: <difficult>: found 'yes'; expected 0 or 1"),
        ({"truncated": "0.5"}, "object 1: <truncated>: found '0.5'; expected 0 or 1"),
        ({"occluded": "2"}, "object 1: <occluded>: found '2'; expected 0 or 1"),
        ({"xmin": "4_8"}, "<bndbox><xmin>: found '4_8'; expected a number"),
        ({"size": ""}, "000001.xml: found no <size>"),
        ({"size": "<size><width>5.5</width><height>5</height></size>"}, "<size><width>: found '5.5'"),
        ({"size": "<size><width>inf</width><height>5</height></size>"}, "<size><width>: found 'inf'"),
        ({"size": "<size><width>1_0</width><height>5</height></size>"}, "<size><width>: found '1_0'"),
        ({"size": "<size><width>0</width><height>5</height></size>"}, "<size><width>: found '0'"),
        ({"size": "<size><width>5</width><height>-1</height></size>"}, "<size><height>: found '-1'"),
        ({"size": "<size><width>5</width></size>"}, "<size><height>: found ''"),
        ({"size": "<size><width>wide</width><height>5</height></size>"}, "<size><width>: found 'wide'"),
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
        ("<annotation/>", "a.xml: found no <size>"),
        ("<html><size/></html>", "a.xml: found the root element <html>; expected <annotation>"),
    ],
)
def test_malformed_xml(tmp_path, content, message):
    (tmp_path / "a.xml").write_text(content)
    with pytest.raises(InputError, match=message):
        read_annotation(tmp_path / "a.xml", NUMBER)


def test_xml_without_a_box(tmp_path):
    size = "<size><width>5</width><height>5</height></size>"
    text = f"<annotation>{size}<object><name>dog</name></object></annotation>"
    (tmp_path / "a.xml").write_text(text)
    with pytest.raises(InputError, match=r"a.xml: object 1 \(dog\): found no <bndbox>"):
        read_annotation(tmp_path / "a.xml", NUMBER)


def test_an_object_of_two_boxes(tmp_path):
    path = write_xml(tmp_path)
    path.write_text(path.read_text().replace("<bndbox>", "<bndbox/><bndbox>"))
    with pytest.raises(InputError, match=r"object 1 \(dog\): found 2 <bndbox>; expected one <bndbox>"):
        read_annotation(path, NUMBER)


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


def test_a_tree_with_classes_of_its_own(tmp_path):
    classes = ClassList(("ring", "disc"), (("ring", "disc"),))
    tree = write_tree(tmp_path, "shapes", {"a": [AnnotatedObject("disc", (0, 0, 9, 9))]})
    write_classes(tree, classes)
    assert read_voc(tmp_path, "shapes:train").classes == classes.names
    assert read_voc_folder(tree, "train").labels.tolist() == [1]
    assert read_voc_folder(tree, "train", ("disc",)).labels.tolist() == [0]
    assert read_voc(tmp_path, "shapes:train", ClassList(("x", "disc"), ())).classes == ("x", "disc")


def test_joined_trees_must_have_the_same_classes(tmp_path):
    write_tree(tmp_path, "2007", {"000005": [DOG]})
    write_classes(write_tree(tmp_path, "pets", {"a": [DOG]}), ClassList(("dog",), ()))
    with pytest.raises(InputError, match=r"VOCpets: found other classes than those of .*VOC2007"):
        read_voc(tmp_path, ["2007:train", "pets:train"])


def test_an_image_in_two_joined_splits(tmp_path):
    write_tree(tmp_path, images={"1": [DOG]}, lists={"train": ["1"], "trainval": ["1"]})
    with pytest.raises(InputError, match=r"trainval.txt: found image '1', already listed"):
        read_voc(tmp_path, ["2007:train", "2007:trainval"])


def test_a_missing_annotation(tmp_path):
    write_tree(tmp_path, images={"000001": [DOG]}, lists={"train": ["000001", "000002"]})
    with pytest.raises(InputError, match=r"000002.xml: found no such file; expected the annotation"):
        read_voc(tmp_path, "2007:train")


def test_a_list_of_one_class(tmp_path):
    tree = write_tree(tmp_path, images={"1": [DOG], "2": []}, lists={"dog_train": ["1  1", "2 -1"]})
    assert read_image_list(tree, "dog_train") == ["1", "2"]


def test_line_ends_of_windows_and_a_byte_order_mark(tmp_path):
    tree = write_tree(tmp_path, images={"1": [], "2": []})
    (tree / "ImageSets/Main/train.txt").write_bytes(b"\xef\xbb\xbf1\r\n2\r\n\r\n")
    assert read_image_list(tree, "train") == ["1", "2"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "train.txt: found no image; expected"),
        (b"\n \n", "train.txt: found no image"),
        (b"1\n2\n1\n", r"train.txt:3: found image '1' a second time \(first in line 1\)"),
        (b"1\n2 dog\n", "train.txt:2: found '2 dog'"),
        (b"1 1 1\n", "train.txt:1: found '1 1 1'"),
        (b"1\n\xff\n", "train.txt:2: found a byte that is not UTF-8"),
    ],
)
def test_wrong_lists(tmp_path, content, message):
    tree = write_tree(tmp_path, images={"1": []})
    (tree / "ImageSets/Main/train.txt").write_bytes(content)
    with pytest.raises(InputError, match=message):
        read_voc(tmp_path, "2007:train")


def test_a_missing_list_names_those_there_are(tmp_path):
    write_tree(tmp_path, images={"1": []}, lists={"train": ["1"], "val": ["1"]})
    with pytest.raises(InputError, match=r"test.txt: found no such list; .* train, val$"):
        read_voc(tmp_path, "2007:test")


def test_a_tree_without_lists(tmp_path):
    (tmp_path / "VOC2007").mkdir()
    with pytest.raises(InputError, match=r"no such list; .* none at all"):
        read_voc_folder(tmp_path / "VOC2007", "test")


@pytest.mark.parametrize("split", ["2007", "2007:", ":train", ""])
def test_malformed_splits(tmp_path, split):
    with pytest.raises(InputError, match="expected YEAR:LIST"):
        voc_folder(tmp_path, split)


def test_missing_trees(tmp_path):
    with pytest.raises(InputError, match="VOC2007: found no such folder; expected the folder that holds"):
        read_voc(tmp_path, "2007:train")
    write_tree(tmp_path / "VOCdevkit", "2012", {"1": []})
    with pytest.raises(InputError, match=r"VOC2007: found no such folder; .*VOCdevkit\?"):
        read_voc(tmp_path, "2007:train")
    with pytest.raises(InputError, match="VOC2007: found no such folder; expected one of VOC2012 of"):
        read_voc(tmp_path / "VOCdevkit", "2007:train")
    with pytest.raises(InputError, match="VOC2007: found no such folder; expected a VOC tree"):
        read_voc_folder(tmp_path / "VOC2007", "train")
    with pytest.raises(InputError, match="splits: found none"):
        read_voc(tmp_path, [])


# --- the guard ----------------------------------------------------------------------------------


def test_the_official_lists_pass_the_guard(tmp_path):
    write_tree(
        tmp_path, "2007", {"000005": [DOG], "000001": [DOG]}, {"trainval": ["000005"], "test": ["000001"]}
    )
    write_tree(tmp_path, "2012", {"2008_000002": [DOG]})
    guard_test_set(tmp_path, read_voc(tmp_path, ["2007:trainval", "2012:train"]), ["2007:test"])


def test_an_image_of_voc_2007_test_is_found_whatever_is_tested(tmp_path):
    write_tree(tmp_path, "2007", {"000001": [DOG]}, {"test": ["000001"]})
    write_tree(
        tmp_path,
        "2012",
        {"000001": [DOG], "2008_000002": [DOG]},
        {"train": ["000001"], "val": ["2008_000002"]},
    )
    train = read_voc(tmp_path, "2012:train")
    for tests in (["2007:test"], ["2012:val"], []):
        with pytest.raises(
            InputError, match=r"training image '000001' of VOC2012: .*VOC2007/ImageSets/Main/test.txt"
        ):
            guard_test_set(tmp_path, train, tests)


def test_an_image_of_this_run_s_test_split(tmp_path):
    write_tree(
        tmp_path,
        "2012",
        {"2008_1": [DOG], "2008_2": [DOG]},
        {"train": ["2008_1", "2008_2"], "val": ["2008_2"]},
    )
    train = read_voc(tmp_path, "2012:train")
    guard_test_set(tmp_path, train, [])
    with pytest.raises(InputError, match=r"training image '2008_2' of VOC2012.*val.txt"):
        guard_test_set(tmp_path, train, ["2012:val"])


def test_images_of_the_2007_challenge_in_voc_2012(tmp_path):
    write_tree(tmp_path, "2012", {"2008_1": [DOG], "2007_000027": [DOG]})
    with pytest.raises(InputError, match=r"training image '2007_000027' of VOC2012: .* 2007 challenge"):
        guard_test_set(tmp_path, read_voc(tmp_path, "2012:train"), [])


def test_trees_of_the_user_s_own_may_use_the_same_names(tmp_path):
    for year in ("mine", "yours"):
        write_tree(tmp_path, year, {"1": [DOG], "2007_1": [DOG]}, {"train": ["1", "2007_1"], "val": ["1"]})
    train = read_voc(tmp_path, "mine:train")
    guard_test_set(tmp_path, train, ["yours:train"])
    with pytest.raises(InputError, match="training image '1' of VOCmine"):
        guard_test_set(tmp_path, train, ["mine:val"])


def test_the_guard_reads_the_test_list_it_is_told_to(tmp_path):
    write_tree(tmp_path, "2007", {"1": [DOG]})
    with pytest.raises(InputError, match=r"test.txt: found no such list"):
        guard_test_set(tmp_path, read_voc(tmp_path, "2007:train"), ["2007:test"])


# --- detections ---------------------------------------------------------------------------------

IMAGES = ("000001", "000002", "2008_000003")
CLASSES = ("cat", "dog", "light", "traffic_light")


def read(path, **options):
    return read_detections(path, IMAGES, CLASSES, **options)


def test_empty_files_and_absent_ones(tmp_path):
    (tmp_path / "dog.txt").write_text("")
    found = read(tmp_path)
    assert len(found) == 0
    assert (found.images, found.classes) == (IMAGES, CLASSES)
    (tmp_path / "cat.txt").write_text("\n\n")
    assert len(read(tmp_path)) == 0


def test_lines_become_rows(tmp_path):
    (tmp_path / "comp4_det_test_dog.txt").write_text(
        "2008_000003 0.5 1 1 10.5 20\n000001\t1e-3\t-3 2 4 5\n\n 000001 0.9 5 5 5 5 \r\n"
    )
    (tmp_path / "comp4_det_test_cat.txt").write_text("000002 -1.5 1 2 3 4")
    found = read(tmp_path)
    assert found.labels.tolist() == [0, 1, 1, 1], "in the order of the classes"
    assert found.image_index.tolist() == [1, 2, 0, 0], "and within a class of the file"
    assert found.scores.tolist() == [-1.5, 0.5, 1e-3, 0.9]
    assert found.boxes.tolist() == [[0, 1, 3, 4], [0, 0, 10.5, 20], [-4, 1, 4, 5], [4, 4, 5, 5]]


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


def test_a_byte_order_mark_is_no_part_of_the_image(tmp_path):
    (tmp_path / "dog.txt").write_bytes(b"\xef\xbb\xbf000001 0.5 1 1 2 2\n")
    assert read(tmp_path).image_index.tolist() == [0]


def test_files_that_are_not_text_are_left_alone(tmp_path):
    (tmp_path / "dog.txt").write_text("000001 0.5 1 1 2 2\n")
    (tmp_path / "README.md").write_text("about these files")
    (tmp_path / "timing.json").write_text("{}")
    assert len(read(tmp_path)) == 1


def test_folders_without_detections(tmp_path):
    with pytest.raises(InputError, match="found no detection file of any of the classes"):
        read(tmp_path)
    with pytest.raises(InputError, match="absent: found no such file or folder"):
        read(tmp_path / "absent")
    (tmp_path / "unicorn.txt").write_text("")
    with pytest.raises(
        InputError, match=r"unicorn.txt: found a file of no known class; expected .* cat, dog"
    ):
        read(tmp_path)
    with pytest.raises(InputError, match=r"unicorn.txt: found a file of no known class"):
        read(tmp_path / "unicorn.txt")


def test_two_files_of_one_class(tmp_path):
    (tmp_path / "dog.txt").write_text("")
    (tmp_path / "old_dog.txt").write_text("")
    with pytest.raises(
        InputError, match=r"old_dog.txt: found a second file of class dog; expected only dog.txt"
    ):
        read(tmp_path)


GOOD = "000001 0.5 1 1 20 20\n"
FAULTS = [
    ("000001 0.5 1 1 20\n", "found 5 columns; expected 6: image score xmin ymin xmax ymax"),
    ("000001 0.5 1 1 20 20 7\n", "found 7 columns"),
    ("000001 high 1 1 20 20\n", "found 'high' as score; expected a number"),
    ("000001 0.5 1 one 20 20\n", "found 'one' as ymin; expected a number"),
    ("000001 nan 1 1 20 20\n", "found nan as score; expected a finite number"),
    ("000001 inf 1 1 20 20\n", "found inf as score"),
    ("000001 0.5 1 1 1e999 20\n", "found 1e999 as xmax; expected a finite number"),
    ("000001 0.5 20 1 10 20\n", "found the inverted box 20 1 10 20; expected xmin <= xmax"),
    ("000001 0.5 1 20 10 10\n", "found the inverted box 1 20 10 10"),
    ("000009 0.5 1 1 20 20\n", "found the unknown image '000009'"),
    ("1 0.5 1 1 20 20\n", "found the unknown image '1'; expected an image of the ground truth's list(,|$)"),
    (
        "000002.jpg 0.5 1 1 20 20\n",
        "found the unknown image '000002.jpg'; .* leave the file extension out: 000002",
    ),
    ("000001 0.5 1 1_0 20 20\n", "found '1_0' as ymin; expected a number without underscores"),
    ("2008_000003 0_1 1 1 20 20\n", "found '0_1' as score; expected a number without underscores"),
]


@pytest.mark.parametrize(("line", "message"), FAULTS)
def test_faulty_lines_are_named(tmp_path, line, message):
    (tmp_path / "dog.txt").write_text(GOOD + "\n" + GOOD + line + GOOD)
    with pytest.raises(InputError, match=r"dog.txt:4: " + message):
        read(tmp_path)


@pytest.mark.parametrize(("line", "message"), FAULTS)
def test_lenient_reading_drops_and_counts_them(tmp_path, line, message):
    (tmp_path / "dog.txt").write_text(GOOD + line + GOOD + line)
    left_out = r"dog.txt: 2 of 4 lines left out \(2 .*\), the first at \S*dog.txt:2: " + message
    with pytest.warns(UserWarning, match=left_out):
        found = read(tmp_path, lenient=True)
    assert len(found) == 2


def test_columns_are_counted_in_each_line(tmp_path):
    """One too few and one too many: together they have the right number, and they are still wrong."""
    images = ("1", "2", "3")
    (tmp_path / "dog.txt").write_text("1 0.5 1 1 20\n2 3 0.5 1 1 20 20\n")
    with pytest.raises(InputError, match=r"dog.txt:1: found 5 columns"):
        read_detections(tmp_path, images, CLASSES)


def test_text_that_is_not_utf8(tmp_path):
    (tmp_path / "dog.txt").write_bytes(GOOD.encode() + b"caf\xe9 0.5 1 1 20 20\n")
    with pytest.raises(InputError, match=r"dog.txt:2: found a byte that is not UTF-8 \(0xe9\)"):
        read(tmp_path)
    with pytest.warns(UserWarning, match="1 of"):
        assert len(read(tmp_path, lenient=True)) == 1
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


def test_writing_again_replaces(tmp_path):
    one = Detections(IMAGES, CLASSES, [0], [0], [0.5], [[0, 0, 1, 1]])
    none = Detections(IMAGES, CLASSES, [], [], [], [])
    write_detections(one, tmp_path)
    write_detections(none, tmp_path)
    assert len(read(tmp_path)) == 0


def test_an_interrupted_write_leaves_the_old_files(tmp_path, monkeypatch):
    one = Detections(IMAGES, CLASSES, [0], [3], [0.5], [[0, 0, 1, 1]])
    write_detections(one, tmp_path)
    before = {file.name: file.read_text() for file in tmp_path.iterdir()}

    def fail(self, target):
        raise OSError(28, "No space left on device", str(self))

    monkeypatch.setattr(Path, "replace", fail)
    with pytest.raises(InputError, match="No space left"):
        write_detections(Detections(IMAGES, CLASSES, [], [], [], []), tmp_path)
    assert {file.name: file.read_text() for file in tmp_path.iterdir()} == before


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
    guard_test_set(root, read_voc(root, ["2007:trainval", "2012:trainval"]), ["2007:test"])


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
