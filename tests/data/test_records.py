"""The data model: it refuses what is wrong when it is built, and nothing can change it afterwards."""

import pickle
from dataclasses import FrozenInstanceError, fields

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data.records import Detections, GroundTruth, InputError


def truth(**changes):
    """Three images, the middle one empty, four objects."""
    columns = {
        "images": ["a", "b", "c"],
        "classes": ["cat", "dog"],
        "sizes": [[100, 80], [50, 60], [70, 70]],
        "image_index": [0, 2, 0, 2],
        "labels": [0, 1, 1, 0],
        "boxes": [[0, 0, 10, 10], [1, 2, 30, 40], [5, 5, 6, 6], [60, 60, 70, 70]],
        "difficult": [False, True, False, False],
        "attributes": {"truncated": np.array([0, 1, -1, 0], np.int8), "pose": ["", "Left", "", "Rear"]},
        "files": ["a.jpg", "b.jpg", "c.jpg"],
        "image_ids": [7, "x", 3],
        "class_ids": [18, 1],
        "object_ids": [30, 10, "y", 20],
    }
    return GroundTruth(**{**columns, **changes})


def detections(**changes):
    columns = {
        "images": ["a", "b"],
        "classes": ["cat", "dog"],
        "image_index": [1, 0],
        "labels": [0, 1],
        "scores": [0.5, 0.25],
        "boxes": [[-5, 0, 10, 10], [3, 3, 3, 8]],
    }
    return Detections(**{**columns, **changes})


def rows(record):
    """A record as plain values, to compare."""
    values = {column.name: getattr(record, column.name) for column in fields(record)}
    values |= values.pop("attributes")
    return {
        name: value.tolist() if isinstance(value, np.ndarray) else value for name, value in values.items()
    }


def test_nothing_at_all():
    for empty in (GroundTruth([], [], [], [], [], []), GroundTruth(["a"], ["dog"], [[5, 5]], [], [], [])):
        assert len(empty) == len(empty.select(range(len(empty.images)))) == 0
        assert empty.boxes.shape == (0, 4)
        assert empty.sizes.shape == (len(empty.images), 2)
        assert empty.difficult.shape == empty.crowd.shape == (0,)
    found = Detections([], [], [], [], [], [])
    assert len(found) == 0
    assert found.boxes.shape == (0, 4)


def test_defaults_and_types():
    record = truth(difficult=None)
    assert not record.difficult.any()
    assert not record.crowd.any()
    assert record.boxes.dtype == np.float64
    assert record.labels.dtype == record.image_index.dtype == record.sizes.dtype == np.int64
    assert record.attributes["truncated"].dtype == np.int8
    assert record.images == ("a", "b", "c")


def test_nothing_can_be_changed():
    boxes = np.array([[0.0, 0, 10, 10]])
    record = GroundTruth(["a"], ["dog"], [[20, 20]], [0], [0], boxes, attributes={"view": [1]})
    boxes[:] = 99
    assert record.boxes.tolist() == [[0, 0, 10, 10]], "the record keeps a copy of its own"
    with pytest.raises(ValueError, match="read-only"):
        record.boxes[0, 0] = 1
    with pytest.raises(ValueError, match="read-only"):
        record.attributes["view"][0] = 2
    with pytest.raises(FrozenInstanceError):
        record.images = ()
    with pytest.raises(TypeError):
        record.attributes["other"] = np.zeros(1)
    found = detections()
    with pytest.raises(ValueError, match="read-only"):
        found.scores[0] = 1
    with pytest.raises(FrozenInstanceError):
        found.scores = np.zeros(2)


def test_it_pickles():
    record = truth()
    copy = pickle.loads(pickle.dumps(record))
    assert rows(copy) == rows(record)
    assert not copy.boxes.flags.writeable
    found = detections()
    again = pickle.loads(pickle.dumps(found))
    for column in fields(found):
        np.testing.assert_array_equal(getattr(again, column.name), getattr(found, column.name))


def test_select_keeps_the_order_asked_for():
    chosen = truth().select([2, 0])
    assert chosen.images == ("c", "a")
    assert chosen.files == ("c.jpg", "a.jpg")
    assert chosen.sizes.tolist() == [[70, 70], [100, 80]]
    assert chosen.image_index.tolist() == [0, 0, 1, 1]
    assert chosen.boxes[:, 0].tolist() == [1, 60, 0, 5]
    assert chosen.labels.tolist() == [1, 0, 0, 1]
    assert chosen.difficult.tolist() == [True, False, False, False]
    assert chosen.attributes["pose"].tolist() == ["Left", "Rear", "", ""]
    assert (chosen.image_ids, chosen.object_ids) == ((3, 7), (10, 20, 30, "y"))
    nameless = truth(image_ids=(), class_ids=(), object_ids=()).select([2])
    assert nameless.image_ids == nameless.class_ids == nameless.object_ids == ()


@given(st.permutations(range(3)))
def test_selecting_all_images_loses_nothing(order):
    record = truth()
    back = record.select(order).select(np.argsort(order))
    assert back.images == record.images
    together = sorted(zip(back.image_index.tolist(), back.boxes.tolist(), strict=True))
    assert together == sorted(zip(record.image_index.tolist(), record.boxes.tolist(), strict=True))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"image_ids": [1, 2]}, "image_ids: found 2 ids; expected one for each of the 3 images, or none"),
        ({"class_ids": [1]}, "class_ids: found 1 ids"),
        ({"image_ids": [1, 2, "1"]}, "image_ids: found '1' twice"),
        ({"object_ids": [1, 2]}, "object_ids: found 2 ids; expected one for each of the 4 objects, or none"),
        ({"images": ["a", "b", "a"]}, "images: found 'a' twice"),
        ({"classes": ["cat", "cat"]}, "classes: found 'cat' twice"),
        ({"classes": ["cat", "  "]}, "classes: found a blank name"),
        ({"labels": [0, 1, 2, 0]}, r"labels\[2\]: found 2"),
        ({"labels": [0, 1, -1, 0]}, r"labels\[2\]: found -1"),
        ({"image_index": [0, 3, 0, 2]}, r"image_index\[1\]: found 3"),
        ({"labels": [0, 1]}, "labels: found an array of shape"),
        ({"sizes": [[100, 80]]}, "sizes: found an array of shape"),
        ({"sizes": [[100, 80], [0, 60], [70, 70]]}, "sizes of image 'b'"),
        ({"boxes": [[0, 0, 10]] * 4}, "boxes: found an array of shape"),
        ({"boxes": [[0, 0, 10, 10]] * 3 + [[5, 5, 5, 9]]}, r"boxes\[3\].*positive area"),
        ({"boxes": [[0, 0, 10, 10]] * 3 + [[5, 5, np.nan, 9]]}, r"boxes\[3\].*finite"),
        ({"difficult": [True]}, "difficult: found an array of shape"),
        ({"attributes": {"view": [1, 2]}}, "view: found an array of shape"),
        ({"files": ["a.jpg"]}, "files: found 1 files"),
        ({"labels": [0, 0.7, 1, 0]}, r"labels\[1\]: found 0.7; expected a whole number"),
        ({"labels": [0, 1, np.nan, 0]}, r"labels\[2\]: found nan; expected a whole number"),
        ({"labels": [0, 1, 1e30, 0]}, r"labels\[2\]: found 1e\+30; expected a whole number"),
        ({"labels": [0, 1, 2**70, 0]}, r"labels\[2\]: found 1.18.*e\+21; expected a whole number"),
        ({"labels": [0, 1, 10**400, 0]}, "labels: found what makes no array"),
        ({"labels": [0, 1, None, 0]}, r"labels\[2\]: found nan"),
        ({"labels": ["0", "1", "1", "0"]}, "labels: found values such as 0; expected numbers"),
        ({"image_index": [0, 2, 0.5, 2]}, r"image_index\[2\]: found 0.5; expected a whole number"),
        ({"sizes": [[100, 80], [50, 60.5], [70, 70]]}, r"sizes\[1, 1\]: found 60.5; expected a whole"),
        ({"difficult": [0, 2, 0, 0]}, r"difficult\[1\]: found 2; expected True or False"),
        ({"crowd": [0, np.nan, 0, 0]}, r"crowd\[1\]: found nan; expected True or False"),
        ({"crowd": ["no"] * 4}, "crowd: found values such as no; expected numbers"),
        ({"boxes": [[0, 0, 10, 10]] * 3 + [[0, 0, 10]]}, "boxes: found what makes no array"),
        ({"boxes": [["left", "0", "10", "10"]] * 4}, "boxes: found values such as left; expected numbers"),
        ({"boxes": [[0j, 0, 10, 10]] * 4}, "boxes: found values such as 0j; expected numbers"),
        ({"attributes": {"view": [[1], [1, 2], 1, 1]}}, "view: found what makes no array"),
    ],
)
def test_wrong_ground_truth(changes, message):
    with pytest.raises(InputError, match=message):
        truth(**changes)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"scores": [0.5, np.nan]}, r"scores\[1\]: found nan"),
        ({"scores": [np.inf, 0.5]}, r"scores\[0\]: found inf"),
        ({"scores": ["high", "low"]}, "scores: found values such as high; expected numbers"),
        ({"scores": [0.5, "low", None]}, "scores: found what makes no array"),
        ({"scores": [0.5]}, "scores: found an array of shape"),
        ({"boxes": [[0, 0, 5, 5], [9, 0, 5, 5]]}, r"boxes\[1\].*xmin <= xmax"),
        ({"boxes": [[0, 0, 5, 5], [0, -np.inf, 5, 5]]}, r"boxes\[1\].*finite"),
        ({"image_index": [0, 2]}, r"image_index\[1\]: found 2"),
        ({"labels": [2, 0]}, r"labels\[0\]: found 2"),
        ({"images": ["a", "a"]}, "images: found 'a' twice"),
        ({"classes": ["cat", "  "]}, "classes: found a blank name"),
    ],
)
def test_wrong_detections(changes, message):
    with pytest.raises(InputError, match=message):
        detections(**changes)


def test_numbers_of_other_types_that_mean_the_same():
    record = truth(
        labels=[0.0, 1.0, 1.0, 0.0],
        image_index=np.array([0, 2, 0, 2], np.uint8),
        sizes=np.array([[100, 80], [50, 60], [70, 70]], np.float32),
        difficult=[0, 1, 0.0, 0],
        crowd=np.array([0, 1, 1, 0], object),
    )
    assert rows(record) == rows(truth(crowd=[False, True, True, False]))
    assert record.labels.dtype == record.image_index.dtype == record.sizes.dtype == np.int64
    assert record.difficult.dtype == record.crowd.dtype == np.bool_


def test_an_error_says_where_what_and_what_else():
    error = InputError("dog.txt:3", "5 columns", "6")
    assert str(error) == "dog.txt:3: found 5 columns; expected 6"
    assert (error.where, error.found, error.expected) == ("dog.txt:3", "5 columns", "6")
    assert isinstance(error, ValueError)
