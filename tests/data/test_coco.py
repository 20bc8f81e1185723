"""COCO's JSON: what is read of it, however it was made, and what each mistake is answered with."""

import contextlib
import json
import warnings
from functools import partial

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data.formats import (
    coco,
    coco_similar,
    read_coco,
    read_coco_detections,
    read_coco_pair,
    write_coco_detections,
    write_coco_ground_truth,
)
from data.formats.coco import coco_detections, coco_ground_truth
from data.formats.files import UNKNOWN_SIZE
from data.records import Detections, GroundTruth, InputError
from tests.data.scenes import pycocotools_evaluation, write_image
from tests.data.scenes import write_json as write

IMAGES = [
    {"id": 7, "file_name": "val/one.jpg", "width": 100, "height": 80},
    {"id": 3, "file_name": "val/two.jpg", "width": 60, "height": 90},
]
CATEGORIES = [{"id": 18, "name": "dog", "supercategory": "animal"}, {"id": 1, "name": "person"}]
DOG = {"id": 1, "image_id": 3, "category_id": 18, "bbox": [10, 20, 30, 40]}
HUGE = "9" * 5000
FOUND = {"image_id": 3, "category_id": 18, "bbox": [11, 20, 30, 40], "score": 0.5}


def write_truth(folder, annotations=(DOG,), images=IMAGES, categories=CATEGORIES):
    content = {"images": images, "annotations": list(annotations), "categories": categories}
    return write(folder / "truth.json", content)


@pytest.fixture
def truth(tmp_path):
    return read_coco(write_truth(tmp_path))


# --- ground truth -------------------------------------------------------------------------------


def test_boxes_alone(truth):
    assert truth.images == ("one", "two")
    assert truth.classes == ("dog", "person")
    assert truth.sizes.tolist() == [[100, 80], [60, 90]]
    assert truth.boxes.tolist() == [[10, 20, 40, 60]]
    assert (truth.image_index.tolist(), truth.labels.tolist()) == ([1], [0])
    assert (truth.image_ids, truth.class_ids) == ((7, 3), (18, 1))
    assert not truth.difficult.any()
    assert not truth.crowd.any()
    assert dict(truth.attributes) == {}
    assert truth.files == ()


def test_ids_may_be_strings_and_be_written_either_way(tmp_path):
    images = [{"id": "a/1", "file_name": "x.jpg", "width": 9, "height": 9}, IMAGES[0]]
    categories = [{"id": "d", "name": "dog"}, {"id": 2.0, "name": "cat"}]
    annotations = [
        {"image_id": "a/1", "category_id": "d", "bbox": [0, 0, 1, 1]},
        {"image_id": "7", "category_id": 2, "bbox": [0, 0, 2, 1]},
        {"image_id": 7.0, "category_id": "2", "bbox": [0, 0, 3, 1]},
    ]
    truth = read_coco(write_truth(tmp_path, annotations, images, categories))
    assert truth.image_index.tolist() == [0, 1, 1]
    assert truth.labels.tolist() == [0, 1, 1]
    assert truth.class_ids == ("d", 2)


@pytest.mark.parametrize(
    ("files", "names"),
    [
        (("a/1.jpg", "b/2.jpg"), ("1", "2")),
        (("a/1.jpg", "b/1.jpg"), ("a/1", "b/1")),
        (("a\\1.jpg", "b\\1.jpg"), ("a/1", "b/1")),
        (("1.jpg", "1.png"), ("7", "x")),
        (("1.jpg", None), ("7", "x")),
    ],
)
def test_names_of_images(tmp_path, files, names):
    images = [
        {"id": key, "file_name": file, "width": 9, "height": 9}
        for key, file in zip((7, "x"), files, strict=True)
    ]
    assert read_coco(write_truth(tmp_path, [], images)).images == names


@pytest.mark.parametrize(
    ("given", "kept"),
    [((5, "x", -1.0), (5, "x", -1)), ((5, None, 6), ()), ((5, "5", 6), ())],
)
def test_ids_of_annotations(tmp_path, given, kept):
    annotations = [DOG | {"id": key} for key in given]
    truth = read_coco(write_truth(tmp_path, annotations))
    assert truth.object_ids == kept
    written = [entry["id"] for entry in coco_ground_truth(truth, keep_ids=True)["annotations"]]
    assert written == list(kept or (1, 2, 3))


def test_flags_and_attributes(tmp_path):
    first = DOG | {"area": 700.5, "iscrowd": 0, "truncated": True, "weight": 1.5, "view": "left",
                   "odd": None, "segmentation": [[1, 2, 3, 4]],
                   "attributes": {"occluded": False, "note": "x"}}  # fmt: skip
    second = DOG | {"id": 2, "iscrowd": 1, "ignore": 1}
    third = DOG | {"id": 3, "iscrowd": 1, "difficult": 1, "truncated": 0, "attributes": {"occluded": True}}
    truth = read_coco(write_truth(tmp_path, [first, second, third]))
    assert truth.difficult.tolist() == [False, True, True]
    assert truth.crowd.tolist() == [False, True, False]
    columns = {name: values.tolist() for name, values in truth.attributes.items()}
    assert columns.pop("weight")[0] == 1.5
    assert np.isnan(truth.attributes["weight"][1:]).all()
    assert columns == {
        "area": [700.5, 1200.0, 1200.0],
        "truncated": [1, -1, 0],
        "view": ["left", "", ""],
        "occluded": [0, -1, 1],
        "note": ["x", "", ""],
    }


def test_no_annotation_and_no_image(tmp_path):
    assert len(read_coco(write_truth(tmp_path, []))) == 0
    truth = read_coco(write_truth(tmp_path, [], [], []))
    assert (truth.images, truth.classes) == ((), ())


def test_photographs_beside_the_annotations(tmp_path):
    (tmp_path / "annotations").mkdir()
    images = [{"id": 1, "file_name": "one.png"}, {"id": 2, "file_name": "two.png", "width": 5, "height": 6}]
    write_image(tmp_path / "val2017" / "one.png", (30, 20))
    content = {"images": images, "annotations": [], "categories": CATEGORIES}
    truth = read_coco(write(tmp_path / "annotations" / "instances_val2017.json", content))
    assert truth.sizes.tolist() == [[30, 20], [5, 6]]
    assert truth.files == tuple(str(tmp_path / "val2017" / name) for name in ("one.png", "two.png"))


def test_sizes_that_nobody_knows(tmp_path):
    images = [{"id": 3, "file_name": "one.jpg"}, IMAGES[0]]
    with pytest.warns(UserWarning, match="1 of 2 images have neither width and height nor a file"):
        truth = read_coco(write_truth(tmp_path, [DOG], images))
    assert truth.sizes.tolist() == [[UNKNOWN_SIZE, UNKNOWN_SIZE], [100, 80]]


@pytest.mark.parametrize(
    ("supercategories", "groups"),
    [
        (("a", "a", "b"), [["x", "y"]]),
        (("a", "a", "a"), []),
        (("none", "none", "b"), []),
        (("none", "x", "x"), []),  # how Roboflow exports: the first class is the data set
        ((None, "b", "b"), [["y", "z"]]),
        (("a", "b", "c"), []),
    ],
)
def test_similar_classes(tmp_path, supercategories, groups):
    categories = [
        {"id": i, "name": name} | ({} if above is None else {"supercategory": above})
        for i, (name, above) in enumerate(zip("xyz", supercategories, strict=True))
    ]
    assert coco_similar(write_truth(tmp_path, [], categories=categories)) == groups


@pytest.mark.parametrize(("content", "message"), [
    ("", "truth.json: found an empty file; expected a COCO annotation file"),
    ("[]", "truth.json: found a list of JSON; is it a results file"),
    ('{"images": [],\n "annotations": [}', r"truth.json:2:18: found malformed JSON"),
    ({"images": [], "annotations": []}, "truth.json: found no categories"),
    ({"images": [], "annotation": [], "categories": []}, "found no annotations.*did you mean 'annotation'"),
    ({"images": {}, "annotations": [], "categories": []}, "found no list as images"),
    (b'{"images": [],\n"annotations": ["\xff"], "categories": []}',
     r"truth.json:2: found a byte that is not UTF-8 \(0xff\)"),
])  # fmt: skip
def test_wrong_files(tmp_path, content, message):
    with pytest.raises(InputError, match=message):
        read_coco(write(tmp_path / "truth.json", content), lenient=True)


@pytest.mark.parametrize(
    ("part", "index", "change", "message"),
    [
        ("images", 1, {"id": 7}, r"images\[1\]: found the id 7 a second time \(first in images\[0\]\)"),
        ("images", 1, {"id": "7"}, r"images\[1\]: found the id '7' a second time"),
        ("images", 0, {"id": None}, r"images\[0\]: found null as id"),
        ("images", 0, {"id": 1.5}, r"images\[0\]: found the id 1.5; expected a whole number or a string"),
        ("categories", 1, {"id": 18}, r"categories\[1\]: found the id 18 a second time"),
        ("categories", 1, {"name": "dog"}, r"categories\[1\]: found the name 'dog' a second time"),
        ("categories", 1, {"name": 5}, r"categories\[1\]: found a whole number as name"),
        ("categories", 0, {"name": ""}, r"categories\[0\]: found ''; expected a class name"),
        ("categories", 0, {"name": "  "}, r"categories\[0\]: found '  '"),
        ("categories", 0, {"name": None}, r"categories\[0\]: found null as name"),
        ("images", 1, {"width": 640.5}, r"images\[1\]: found a size of 640.5×90"),
        ("images", 1, {"width": float("inf")}, r"images\[1\]: found a size of inf×90"),
        ("images", 1, {"height": float("nan")}, r"images\[1\]: found a size of"),
        ("images", 1, {"height": 1e300}, r"images\[1\]: found a size of 60×1e\+300"),
    ],
)
def test_wrong_images_and_categories(tmp_path, part, index, change, message):
    content = json.loads(write_truth(tmp_path).read_text())
    content[part][index] |= change
    with pytest.raises(InputError, match=r"truth.json: " + message):
        read_coco(write(tmp_path / "truth.json", content), lenient=True)


@pytest.mark.parametrize("part", ["images", "annotations", "categories"])
@pytest.mark.parametrize("fields", [{}, {"bbox": None}])
def test_a_list_that_is_there_twice(tmp_path, part, fields):
    path = write_truth(tmp_path, [DOG | {"images": ["images"]} | fields])
    path.write_text(path.read_text().rstrip().removesuffix("}") + f', "{part}": []}}')
    with pytest.raises(
        InputError, match=f"truth.json: found the list {part} 2 times; expected each list once"
    ):
        read_coco(path)


def test_the_first_fault_of_the_file_is_named(tmp_path):
    path = write_truth(tmp_path, [DOG, DOG | {"iscrowd": 5}, {}])
    with pytest.raises(InputError, match=r"annotations\[1\]: found 5 as iscrowd"):
        read_coco(path)
    with pytest.warns(
        UserWarning, match=r"2 of 3 annotations left out .2 malformed., the first .*\[1\]: found 5"
    ):
        assert len(read_coco(path, lenient=True)) == 1


def test_a_byte_order_mark(tmp_path):
    path = write_truth(tmp_path)
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert len(read_coco(path)) == 1


# --- results ------------------------------------------------------------------------------------


def test_results(tmp_path, truth):
    more = {"image_id": "7", "category_id": 1.0, "bbox": [0, 0, 2.5, 0], "score": 1, "segmentation": "x"}
    named = {"image_id": "one.jpg", "category_id": "person", "bbox": [0, 0, 1, 1], "score": 0}
    found = read_coco_detections(write(tmp_path / "found.json", [FOUND, more, named]), truth)
    assert found.image_index.tolist() == [1, 0, 0]
    assert found.labels.tolist() == [0, 1, 1]
    assert found.scores.tolist() == [0.5, 1.0, 0.0]
    assert found.boxes.tolist() == [[11, 20, 41, 60], [0, 0, 2.5, 0], [0, 0, 1, 1]]


def test_results_decoded_in_parts_are_those_of_the_whole(tmp_path, truth, monkeypatch):
    row = {"category_id": 18, "bbox": [1, 0.5, 3, 4.25]}
    rows = [{"image_id": (3, 7)[i % 2], "score": 0.1 * i, **row} for i in range(9)]
    path = write(tmp_path / "results.json", rows)
    whole = read_coco_detections(path, truth)
    monkeypatch.setattr("data.formats.coco.BYTES_OF_A_PROCESS", 50)
    monkeypatch.setattr("data.formats.coco.usable_cores", lambda: 4)
    parts = read_coco_detections(path, truth)
    for column in ("image_index", "labels", "scores", "boxes", "extents"):
        assert np.array_equal(getattr(parts, column), getattr(whole, column)), column
    rows[7]["image_id"] = 99
    with pytest.raises(InputError, match=r"results.json\[7\]: found the unknown image 99"):
        read_coco_detections(write(path, rows), truth)


ODD = [
    "NaN", "-0", "1e400", "1e-400", "1e2", "12.0", "7.5", "01", "1.", ".5", "+1", "null", "true", '"3"',
    '"image_id"', "[", "]", "{", "}", ",", ":", " ", "\n", "\t", "\0", "}, {", "},{", "[1, 2]", '"a": 1, ',
    '"score": 0.25, ', '"x": "}, {", ', "é", "/", "9007199254740993", "18446744073709551616", "-", "e", '"',
    "123456789012345678901234567890", "0.1234567890123456789", "\udcf7",  # a byte that is not UTF-8
]  # fmt: skip


SEPARATORS = [(", ", ": "), (",", ":"), (" ,\n", " :\t")]


def both_ways(monkeypatch, quick_reader, read):
    """What `read` gives, or says, and its warnings: with the quick reader, and without it."""
    both, read_quickly = [], []
    original = getattr(coco, quick_reader)

    def quickly(*arguments):
        found = original(*arguments)
        read_quickly.append(True)
        return found

    for reader in (quickly, lambda *_: {}[0]):
        with monkeypatch.context() as patch, warnings.catch_warnings(record=True) as warned:
            warnings.simplefilter("always")
            patch.setattr(coco, quick_reader, reader)
            try:
                record = dict(vars(read()))
                record |= record.pop("attributes", {})
                columns = sorted(record.items())
                found = [(name, x.tobytes(), x.dtype) if hasattr(x, "tobytes") else x for name, x in columns]
            except InputError as error:
                found = str(error)
            both.append((found, [str(warning.message) for warning in warned]))
    assert both[0] == both[1]
    return isinstance(both[0][0], str), bool(read_quickly)


def slip(random, text, odd):
    """`text` with something odd in place of up to two letters anywhere."""
    low = int(random.integers(len(text)))
    return text[:low] + odd + text[low + int(random.integers(3)) :]


def test_the_quick_reader_reads_as_the_other_whatever_the_file_holds(tmp_path, truth, monkeypatch):
    """Texts with a slip anywhere: both find the same, or say the same."""
    random = np.random.default_rng(0)
    monkeypatch.setattr("data.formats.coco.BYTES_AT_ONCE", 300)
    path, outcomes = tmp_path / "found.json", []
    for case in range(600):
        images, boxes = random.choice([3, 7], 20).tolist(), random.random((20, 4)).round(case % 18).tolist()
        rows = [
            {"image_id": image, "category_id": 18, "bbox": box, "score": score}
            for image, box, score in zip(images, boxes, random.random(20).tolist(), strict=True)
        ]
        text, odd = json.dumps(rows, separators=SEPARATORS[case % 3]), ODD[case % len(ODD)]
        if case % 4:
            text = slip(random, text, odd)
        elif case % 8:
            text = text.replace('"image_id": 3', f'"image_id": {odd}', 1)
        path.write_bytes(text.encode(errors="surrogateescape"))
        read = partial(read_coco_detections, path, truth, lenient=case % 5 == 0)
        outcomes.append(both_ways(monkeypatch, "_plain_results", read))
    wrong, quick = np.sum(outcomes, axis=0)
    assert 100 < wrong < 500
    assert 100 < quick < 500


ODD_TRUTH = [
    *ODD, '"area": -1, ', '"area": null, ', '"iscrowd": 1, ', '"iscrowd": true, ', '"ignore": 1, ',
    '"difficult": 0.5, ', '"id": 3, ', '"id": null, ', '"id": 4.5, ', '"id": "3", ', '"image_id": 9, ',
    '"attributes": {"a": 1}, ', '"attributes": null, ', '"attributes": 5, ', '"truncated": 1, ', "18.0",
    '"segmentation": [[1, 2]], ', '"bbox": [1, 2, 0, 4], ', '"annotations": [], ', '"images": 5, ',
    "}], [{", '"x": [{}, {}], ',
]  # fmt: skip


def test_the_quick_reader_of_ground_truth_reads_as_the_other_whatever_the_file_holds(tmp_path, monkeypatch):
    """The same for annotations, cut into parts anywhere: records, warnings and errors."""
    random = np.random.default_rng(0)
    monkeypatch.setattr("data.formats.coco.BYTES_AT_ONCE", 300)
    path, outcomes = tmp_path / "truth.json", []
    for case in range(600):
        images = random.choice([3, 7], 20).tolist()
        boxes = (random.random((20, 4)) * 9 + 0.5).round(case % 18).tolist()
        annotations = [
            {"id": n, "image_id": image, "category_id": 18, "bbox": box}
            | ({"area": box[2], "iscrowd": int(box[0] < 1)} if case % 3 else {})
            for n, (image, box) in enumerate(zip(images, boxes, strict=True), start=1)
        ]
        content = {"images": IMAGES, "annotations": annotations, "categories": CATEGORIES}
        text = json.dumps(content, separators=SEPARATORS[case % 3])
        odd = ODD_TRUTH[case % len(ODD_TRUTH)]
        if case % 4 == 1:
            text = slip(random, text, odd)
        elif case % 4 == 2:
            text = text.replace('"image_id"', f'{odd}"image_id"', int(random.integers(1, 3)))
        elif case % 4 == 3:
            low = text.find('"image_id"', int(random.integers(len(text) // 2)))
            text = text[:low] + odd + text[low:]
        path.write_bytes(text.encode(errors="surrogateescape"))
        outcomes.append(both_ways(monkeypatch, "_plain_objects", partial(read_coco, path, case % 5 == 0)))
    wrong, quick = np.sum(outcomes, axis=0)
    assert 100 < wrong < 500
    assert 100 < quick < 500


def test_both_files_at_once(tmp_path, truth, monkeypatch):
    monkeypatch.setattr("data.formats.coco.BYTES_AT_ONCE", 100)
    monkeypatch.setattr("data.formats.coco.BYTES_OF_A_PROCESS", 100)
    one = {"image_id": 3, "category_id": 18, "bbox": [1, 2, 3, 4], "score": 0.5}
    annotations, results = tmp_path / "truth.json", write(tmp_path / "found.json", [one] * 30)
    write_coco_ground_truth(truth, annotations, keep_ids=True)
    both, found = read_coco_pair(annotations, results)
    assert both.image_ids == truth.image_ids
    assert found.boxes.tolist() == [[1, 2, 4, 6]] * 30
    annotations.write_text("{")
    with pytest.raises(InputError, match=r"truth\.json"):
        read_coco_pair(annotations, results)


def test_no_results(tmp_path, truth):
    assert len(read_coco_detections(write(tmp_path / "found.json", []), truth)) == 0


def test_ids_where_the_ground_truth_has_none(tmp_path):
    """A number is then the image of that name, as Ultralytics writes it; which class, nobody knows."""
    truth = GroundTruth(["000012", "a"], ["dog"], [[9, 9]] * 2, [], [], [])
    rows = [
        {"image_id": key, "category_id": "dog", "bbox": [0, 0, 1, 1], "score": 1} for key in (12, "a", "12")
    ]
    found = read_coco_detections(write(tmp_path / "found.json", rows), truth)
    assert found.image_index.tolist() == [0, 1, 0]
    rows[1]["category_id"] = 0
    with pytest.raises(
        InputError, match=r"\[1\]: found the unknown class 0; expected the name of a class: this"
    ):
        read_coco_detections(write(tmp_path / "found.json", rows), truth)


def test_faults_of_several_kinds_are_counted_apart(tmp_path, truth):
    rows = [FOUND, FOUND | {"score": float("nan")}, 5, {}, FOUND | {"image_id": 1, "category_id": 7}]
    with pytest.warns(
        UserWarning, match=r"4 of 5 detections left out \(2 malformed, 1 .*finite, 1 .*image\)"
    ):
        read_coco_detections(write(tmp_path / "found.json", rows), truth, lenient=True)
    with pytest.raises(InputError, match=r"\[3\]: found no image_id"):
        read_coco_detections(write(tmp_path / "found.json", [FOUND] * 3 + [{}]), truth)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "found an empty file"),
        (" \n", "found an empty file"),
        ("{}", "found an empty object; expected COCO results: a list of"),
        ({"predictions": []}, "found an object with the keys 'predictions'"),
        ({"images": [], "annotations": []}, "found an annotation file .*is it the ground truth"),
        ("3", "found a single int"),
        ("[" * 100_000, "found lists within lists without end"),
        ('[{"image_id": 3,\n"category_id": 18,\n "bbox": [1,2,3', "found.json:3:16: found malformed JSON"),
        ("[] x", "found.json:1:4: found malformed JSON"),
        (f'[{{"image_id": {HUGE}}}]', "digits"),
        (b"[\0]\0", "malformed JSON"),
        ("\ufeff[]".encode("utf-16-le"), "UTF-8"),
    ],
)
def test_wrong_results_files(tmp_path, truth, content, message):
    with pytest.raises(InputError, match=message) as caught:
        read_coco_detections(write(tmp_path / "found.json", content), truth, lenient=True)
    assert len(str(caught.value)) < 5000


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('[{"\\ud800": 1}]', r"found.json\[0\]: found half of a surrogate pair"),
        ('[{"image_id": "\\ud800", "category_id": 1, "bbox": [1, 2, 3, 4], "score": 1}]', "unknown image"),
        ([FOUND | {"image_id": "x" * 10_000_000}], "the unknown image 'xxxx"),
        ([FOUND | {"category_id": "x" * 10_000_000}], "the unknown class 'xxxx"),
    ],
    ids=["key", "id", "long image", "long class"],
)
def test_texts_that_cannot_be_shown(tmp_path, truth, content, message):
    with pytest.raises(InputError, match=message) as caught:
        read_coco_detections(write(tmp_path / "found.json", content), truth)
    assert len(str(caught.value).encode()) < 5000


def test_an_absent_file_and_a_folder(tmp_path, truth):
    with pytest.raises(InputError, match=r"absent\.json: found no such file"):
        read_coco_detections(tmp_path / "absent.json", truth)
    with pytest.raises(InputError, match="found Is a directory"):
        read_coco_detections(tmp_path, truth)


@given(content=st.binary(max_size=40) | st.recursive(
    st.none() | st.floats() | st.text(max_size=3), lambda x: st.lists(x, max_size=3) | st.dictionaries(
        st.sampled_from(["image_id", "category_id", "bbox", "score"]), x, max_size=4), max_leaves=8,
).map(lambda value: json.dumps(value).encode()))  # fmt: skip
def test_rubbish_is_an_input_error(tmp_path_factory, content):
    truth = GroundTruth(["a"], ["dog"], [[9, 9]], [], [], [])
    path = tmp_path_factory.mktemp("rubbish") / "found.json"
    path.write_bytes(content)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for lenient in (False, True):
            with contextlib.suppress(InputError):
                read_coco_detections(path, truth, lenient)
            with contextlib.suppress(InputError):
                read_coco(path, lenient)


# --- writing ------------------------------------------------------------------------------------


@pytest.mark.parametrize("keep_ids", [False, True])
def test_what_is_written_is_read_back(tmp_path, truth, keep_ids):
    found = Detections(truth.images, truth.classes, [1, 0], [0, 1], [0.25, 1], [[1, 2, 3, 4.5], [0, 0, 9, 9]])
    write_coco_ground_truth(truth, f"{tmp_path}/t.json", keep_ids)
    write_coco_detections(found, f"{tmp_path}/f.json", truth if keep_ids else None)
    again = read_coco(tmp_path / "t.json")
    assert again.image_ids == (truth.image_ids if keep_ids else (1, 2))
    assert again.object_ids == truth.object_ids == (1,)
    assert again.images == truth.images
    np.testing.assert_array_equal(again.boxes, truth.boxes)
    # The file of the user's own and ours say the same of detections with the ids kept.
    for ground_truth in [again, truth] if keep_ids else [again]:
        back = read_coco_detections(tmp_path / "f.json", ground_truth)
        for column in ("image_index", "labels", "scores", "boxes"):
            np.testing.assert_array_equal(getattr(back, column), getattr(found, column))


def test_the_area_of_the_annotations_is_kept(tmp_path):
    truth = read_coco(write_truth(tmp_path, [DOG | {"area": 5.5}, DOG | {"id": 2}]))
    assert [row["area"] for row in coco_ground_truth(truth)["annotations"]] == [5.5, 1200.0]


def test_pycocotools_scores_the_same_from_our_files_and_from_the_user_s(tmp_path):
    """Sizes come from the annotations' area, which need not be that of the box."""
    pytest.importorskip("pycocotools.coco")
    rng = np.random.default_rng(0)
    corners = rng.uniform(0, 40, (60, 2))
    boxes = np.concatenate([corners, rng.uniform(5, 40, (60, 2))], axis=1).round(2).tolist()
    annotations = [
        {"id": i + 1, "image_id": (7, 3)[i % 2], "category_id": (18, 1)[i % 3 == 0], "bbox": box,
         "area": box[2] * box[3] * 0.6, "iscrowd": int(i % 11 == 0)}
        for i, box in enumerate(boxes)
    ]  # fmt: skip
    results = [
        {key: row[key] for key in ("image_id", "category_id")}
        | {"bbox": (np.array(row["bbox"]) + rng.normal(0, 2, 4)).clip(0.5).tolist(), "score": rng.random()}
        for row in annotations
    ]
    truth = read_coco(write_truth(tmp_path, annotations))
    found = read_coco_detections(write(tmp_path / "found.json", results), truth)

    theirs = pycocotools_evaluation(tmp_path / "truth.json", tmp_path / "found.json").stats
    written = write(tmp_path / "ours.json", coco_ground_truth(truth))
    ours = pycocotools_evaluation(written, write(tmp_path / "again.json", coco_detections(found))).stats
    np.testing.assert_allclose(ours, theirs, atol=1e-9)
    assert 0.1 < theirs[0] < 1
