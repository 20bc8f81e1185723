"""JSON, table and sentences."""

import math

import numpy as np
import pytest

from data.records import Detections, GroundTruth, InputError
from diagnosis import diagnose, sentences, similar_matrix, table, to_json

CLASSES = ["cat", "dog", "bus"]
KINDS = ["voc07", "area", "coco", "coco50", "hoiem", "normalized"]


def detector(*found, name="plain", coco=True):
    """Detections as (class, score, box) of a cat and a dog side by side."""
    truth = GroundTruth(["a"], CLASSES, [[100, 100]], [0, 0], [0, 1], [[0, 0, 10, 10], [20, 0, 30, 10]])
    detections = Detections(["a"], CLASSES, [0] * len(found), *([f[i] for f in found] for i in range(3)))
    return diagnose(truth, detections, name, [["cat", "dog"]], coco=coco)


PLAIN = (0, 0.9, [0, 0, 10, 10]), (1, 0.8, [20, 0, 30, 10]), (2, 0.7, [20, 0, 30, 10])
SHIFTED = (0, 0.9, [4, 0, 14, 10]), (1, 0.8, [20, 0, 30, 10])


def test_json_says_why_a_number_is_absent():
    bus = to_json([detector(*PLAIN)], {})["detectors"][0]["classes"]["bus"]
    assert (bus["objects"], bus["detections"], bus["top"]["n"]) == (0, 1, 0)
    assert bus["top"]["correct"] is None
    assert bus["top"]["reason"] == "none of its detections counts"
    assert bus["ap"] == dict.fromkeys(KINDS) | {"reason": "no object that is not difficult"}
    silent = to_json([detector()], {})["detectors"][0]
    assert silent["breakdown"]["pooled"]["correct"] is None
    assert silent["breakdown"]["mean_over_classes"]["reason"].startswith("no detection counts")
    assert silent["classes"]["cat"]["top"]["reason"] == "no detection of this class"
    assert silent["map"] == dict.fromkeys(KINDS, 0.0)
    without = to_json([detector(*PLAIN, coco=False)], {})["detectors"][0]["map"]
    assert (without["coco"], without["area"]) == (None, 1.0)
    assert "not asked for" in without["reason"]


def test_table_shows_every_class_of_every_detector():
    text = table([detector(*PLAIN), detector(*SHIFTED, name="shifted")])
    lines = text.splitlines()
    assert max(map(len, lines)) <= 120
    assert [line.split()[0] for line in lines if line.startswith(tuple(CLASSES))] == CLASSES * 2
    shifted = next(line for line in lines if line.startswith("shifted "))
    assert shifted.split()[1:7] == ["2", "50.0", "50.0", "0.0", "0.0", "0.0"]
    bus = next(line for line in lines if line.startswith("bus"))
    assert bus.split() == ["bus", "0", "0"] + ["-"] * 11


def test_sentences_compare_with_the_first():
    spoken = sentences([detector(*PLAIN), detector(*SHIFTED, name="shifted")])
    assert len(spoken) == 5
    assert "100.0 % are correct" in spoken[0]
    assert "50.0 % localization errors" in spoken[1]
    assert spoken[2] == "Localization errors: 0.0 % with plain, 50.0 % with shifted: 50.0 points more."
    assert spoken[3].endswith("100.0 % with plain, 100.0 % with shifted: the same.")
    assert spoken[4].endswith("100.0 % with plain, 50.0 % with shifted: 50.0 points less.")
    back = sentences([detector(*SHIFTED, name="shifted"), detector(*PLAIN)])
    assert back[2].endswith("50.0 points less, 0.00 times the share.")


def test_sentences_compare_classes_that_both_detect():
    spoken = sentences([detector(*PLAIN), detector(SHIFTED[0], name="shifted")])
    assert spoken[2] == "Compared below over the classes in which both detect something: cat."
    assert "0.0 % with plain, 100.0 % with shifted: 100.0 points more" in spoken[3]


def test_sentences_with_nothing_to_break_down():
    spoken = sentences([detector(), detector(*PLAIN, name="second")])
    assert "nothing to break down" in spoken[0]
    assert len(spoken) == 2


def test_similar_as_groups_or_as_a_matrix():
    diagnosis = detector(*PLAIN)
    again = diagnose(diagnosis.truth, diagnosis.detections, similar=similar_matrix(CLASSES, [["cat", "dog"]]))
    np.testing.assert_array_equal(diagnosis.similar, again.similar)
    assert not diagnose(diagnosis.truth, diagnosis.detections, coco=False).similar.any()


def test_another_threshold_holds_for_breakdown_and_score():
    diagnosis = detector(*SHIFTED)
    loose = diagnose(diagnosis.truth, diagnosis.detections, iou=0.4)
    assert loose.breakdown.counts[0].tolist() == [1, 0, 0, 0, 0]
    assert (diagnosis.ap.area[0], loose.ap.area[0]) == (0, 1)
    assert math.isclose(diagnosis.ap.coco50[0], loose.ap.coco50[0])
    with pytest.raises(InputError, match="thresholds"):
        diagnose(diagnosis.truth, diagnosis.detections, iou=0.05)
