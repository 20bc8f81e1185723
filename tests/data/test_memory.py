"""Detections in memory: torchvision's dictionaries and supervision's, as lists and by name."""

import json
from dataclasses import dataclass, field
from types import SimpleNamespace

import numpy as np
import pytest

from data.formats import from_predictions, read_ground_truth
from data.records import GroundTruth, InputError
from tests.data.test_foreign_tools import rows
from tests.fixtures.make_foreign import FOLDER, SCORES


@pytest.fixture
def truth():
    return GroundTruth(["a", "b", "c"], ["cat", "dog"], [[100, 80]] * 3, [], [], [], image_ids=[5, 6, "x"])


BOX, OTHER = [1.0, 2, 30, 40], [5.0, 5, 6, 7]
TWO = {"boxes": [BOX, OTHER], "scores": [0.5, 0.25], "labels": [1, 0]}
ONE = {"boxes": np.array([BOX], np.float32), "scores": np.array([0.75], np.float32), "labels": np.array([1])}
EMPTY = {"boxes": np.zeros((0, 4)), "scores": np.zeros(0), "labels": np.zeros(0, np.int64)}


@dataclass
class Supervised:
    """The fields of a supervision.Detections."""

    xyxy: np.ndarray
    confidence: np.ndarray | None = None
    class_id: np.ndarray | None = None
    data: dict = field(default_factory=dict)


def columns(found):
    return found.image_index.tolist(), found.labels.tolist(), found.scores.tolist(), found.boxes.tolist()


EXPECTED = ([0, 0, 2], [1, 0, 1], [0.5, 0.25, 0.75], [BOX, OTHER, BOX])


def test_a_list_is_in_the_order_of_the_images(truth):
    assert columns(from_predictions([TWO, EMPTY, ONE], truth)) == EXPECTED
    unmasked = ONE | {"boxes": np.ma.masked_array([BOX])}
    given = (TWO, {"boxes": [], "scores": [], "labels": []}, unmasked)
    assert columns(from_predictions(given, truth)) == EXPECTED


@pytest.mark.parametrize(
    "keys", [("a", "c"), ("photos/a.jpg", "c.png"), (5, "x"), (np.int64(5), "c"), ("5", "x")]
)
def test_a_dictionary_is_by_image(truth, keys):
    assert columns(from_predictions(dict(zip(keys, (TWO, ONE), strict=True)), truth)) == EXPECTED


def test_nothing_at_all(truth):
    assert len(from_predictions({}, truth)) == 0
    assert len(from_predictions([EMPTY] * 3, truth)) == 0
    assert len(from_predictions([], GroundTruth([], ["cat"], [], [], [], []))) == 0


def test_tensors(truth):
    torch = pytest.importorskip("torch")
    two = {name: torch.tensor(values) for name, values in TWO.items()}
    two["boxes"] = two["boxes"].requires_grad_()
    two["scores"] = two["scores"].to(torch.bfloat16)
    assert columns(from_predictions([two, EMPTY, ONE], truth)) == EXPECTED
    exact = {"boxes": torch.zeros(1, 4), "scores": torch.tensor([0.1], dtype=torch.float64), "labels": [0]}
    assert from_predictions({"a": exact}, truth).scores.tolist() == [0.1]


@pytest.mark.parametrize("names", [{3: "dog", 9: "cat"}, ["-", "N/A", "-", "dog", *"-----", "cat"]])
def test_labels_by_names_of_one_s_own(truth, names):
    given = [TWO | {"labels": [3, 9]}, EMPTY, TWO | {"labels": [3.0, 9.0]}]
    assert from_predictions(given, truth, names).labels.tolist() == [1, 0, 1, 0]


def test_supervision(truth):
    two = Supervised(np.array([BOX, OTHER]), np.array([0.5, 0.25]), np.array([1, 0]))
    one = Supervised(np.array([BOX]), np.array([0.75]), np.array([7]), {"class_name": np.array(["dog"])})
    assert columns(from_predictions([two, Supervised(np.zeros((0, 4))), one], truth)) == EXPECTED
    assert from_predictions({"a": one}, truth, names={7: "cat"}).labels.tolist() == [0]


def test_supervision_itself():
    """What the package's own objects hold: without names, with names beside other numbers, and empty ones."""

    def revived(value):
        if not isinstance(value, dict):
            return value
        if "dtype" in value:
            return np.array(value["values"], value["dtype"]).reshape(value["shape"])
        return {name: revived(one) for name, one in value.items()}

    stored = json.loads((FOLDER / "supervision_memory/detections.json").read_text())
    empty, *found = [
        SimpleNamespace(**{name: revived(value) for name, value in one.items()}) for one in stored
    ]
    truth = read_ground_truth(FOLDER / "supervision_coco/annotations.json")
    for of_images in (found[0::3], found[1::3]):
        read = from_predictions(of_images, truth)
        assert rows(read) == rows(truth)
        np.testing.assert_array_equal(read.scores, np.float32(SCORES))
    assert len(from_predictions([empty, found[2]], truth)) == 0


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"b": TWO | {"boxes": [BOX]}},
         r"\['b'\]: found arrays of shapes \(1, 4\), \(2,\), \(2,\); expected boxes \(n, 4\)"),
        ({"b": TWO | {"boxes": [BOX[:3], OTHER[:3]]}}, r"\['b'\]: found arrays of shapes"),
        ({"b": TWO | {"boxes": [BOX, [1]]}}, r"\['b'\]: found what makes no array"),
        ({"b": TWO | {"scores": ["high", "low"]}}, r"\['b'\]: scores: found values of type"),
        ([TWO, {"boxes": [], "scores": []}, ONE],
         r"\[1\]: found a dict without labels; expected a dict of boxes"),
        ({"a": Supervised(np.array([BOX]))}, r"\['a'\]: found a Supervised without confidence, class_id"),
        ({"a": 5}, r"\['a'\]: found a int without xyxy, confidence, class_id"),
        ([TWO, ONE], ": found 2 of them; expected 3 images"),
        (5, ": found a int; expected images"),
        (None, ": found a NoneType; expected images"),
        ({"a": ONE | {"labels": [["cat"]]}}, r"\['a'\]: found arrays of shapes"),
        ({"a": ONE | {"labels": [{"a": 1}]}}, r"\['a'\]: labels: found"),
        ({"a": ONE | {"labels": [None]}}, r"\['a'\]: labels: found"),
        ({"a": ONE | {"labels": [True]}}, r"\['a'\]: labels: found values of type bool"),
        ({"a": ONE | {"scores": [True]}}, r"\['a'\]: scores: found values of type bool"),
        ({"a": ONE | {"boxes": [[True, False, True, True]]}}, r"\['a'\]: boxes: found values of type bool"),
        ({"a": ONE | {"boxes": np.ma.masked_array([BOX], mask=[[0, 0, 0, 1]])}},
         r"\['a'\]: found an array with masked values"),
    ],
)  # fmt: skip
def test_wrong_predictions(truth, given, message):
    for lenient in (False, True):
        with pytest.raises(InputError, match=f"predictions{message}"):
            from_predictions(given, truth, lenient=lenient)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"scores": [0.5, np.nan]}, "found the score nan"),
        ({"boxes": [BOX, [0, 0, np.inf, 1]]}, "found the box 0 0 inf 1"),
        ({"boxes": [BOX, [9, 0, 3, 1]]}, "found the inverted box 9 0 3 1"),
        ({"labels": [0, 2]}, "found the unknown class '2'; expected a number from 0 to 1, or names"),
        ({"labels": [0, -1]}, "found the unknown class '-1'"),
        ({"labels": [0, np.nan]}, "found the unknown class 'nan'"),
        ({"labels": ["dog", "dgo"]}, "found the unknown class 'dgo'.*did you mean 'dog'"),
    ],
)
def test_wrong_detections(truth, change, message):
    given = [ONE, TWO | change, EMPTY]
    with pytest.raises(InputError, match=r"predictions\[1\], row 1: " + message):
        from_predictions(given, truth)
    with pytest.warns(UserWarning, match=r"predictions: 1 of 3 detections left out .*row 1: " + message):
        assert len(from_predictions(given, truth, lenient=True)) == 2


def test_an_unknown_image(truth):
    with pytest.raises(InputError, match=r"predictions\['z'\], row 0: found the unknown image 'z'"):
        from_predictions({"z": TWO}, truth)
