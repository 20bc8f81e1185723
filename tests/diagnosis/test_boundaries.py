"""Ties and thresholds that are met exactly: who wins, and on which side a detection falls."""

import dataclasses

import numpy as np
import pytest

from diagnosis import (
    ERROR_TYPES,
    average_precision,
    break_down,
    diagnose,
    flag_error_types,
    pie_error_types,
    similar_matrix,
)
from diagnosis.__main__ import main
from diagnosis.breakdown import referenced_objects
from tests.data.scenes import voc_xml, write_image
from tests.diagnosis.scenes import BOX, FAR, matched

CLASSES = ("bird", "cat", "dog")
HALF, TENTH = [0, 0, 10, 5], [0, 0, 10, 1]  # IoU with BOX exactly 0.5 and 0.1
BELOW_HALF, BELOW_TENTH = [0, 0, 10, 4.999], [0, 0, 10, 0.999]
NONE, BIRD_AND_CAT, BIRD_AND_DOG = (
    similar_matrix(CLASSES, groups) for groups in ([], [["bird", "cat"]], [["bird", "dog"]])
)


def matching(objects, found, size=100):
    """Objects (class, box) and detections (class, box), the surest first, of one image."""
    scores = np.linspace(0.9, 0.5, len(found))
    found = [(label, score, box) for (label, box), score in zip(found, scores, strict=True)]
    return matched(objects, found, CLASSES, size)


@pytest.mark.parametrize(
    ("objects", "box", "kind"),
    [
        ([(0, BOX)], BOX, "correct"),
        ([(0, BOX, True)], BOX, "correct"),
        ([(0, BOX)], HALF, "correct"),
        ([(0, BOX)], BELOW_HALF, "localization"),
        ([(0, BOX)], TENTH, "localization"),
        ([(0, BOX)], BELOW_TENTH, "background"),
        ([(1, BOX)], BOX, "similar"),
        ([(1, BOX)], TENTH, "similar"),
        ([(1, BOX)], BELOW_TENTH, "background"),
        ([(2, BOX)], BOX, "other"),
        ([(2, BOX)], TENTH, "other"),
        ([(2, BOX)], BELOW_TENTH, "background"),
        ([(0, FAR)], BOX, "background"),
        ([], BOX, "background"),
        ([(0, [0, 0, 10, 4]), (1, BOX)], BOX, "localization"),  # the own class goes before
    ],
)
def test_the_error_type_of_one_detection(objects, box, kind):
    pair = matching(objects, [(0, box)])
    for types in (pie_error_types(pair, BIRD_AND_CAT).types, flag_error_types(pair, BIRD_AND_CAT)):
        assert ERROR_TYPES[types[0]].name == kind


@pytest.mark.parametrize(("box", "duplicate"), [(HALF, True), (BELOW_HALF, False)])
def test_a_second_detection_of_just_the_threshold_is_a_duplicate(box, duplicate):
    pair = matching([(0, BOX)], [(0, BOX), (0, box)])
    assert referenced_objects(pair, NONE, 0.5).duplicate.tolist() == [False, duplicate]
    assert break_down(pair, NONE, top="all").counts[0].tolist() == [1, 1, 0, 0, 0]


@pytest.mark.parametrize("first", [1, 2])
def test_of_equal_overlaps_with_other_classes_the_lower_class_is_the_confused_one(first):
    pair = matching([(first, BOX), (3 - first, BOX)], [(0, BOX)])
    for alike, kind in ((BIRD_AND_CAT, "similar"), (BIRD_AND_DOG, "other")):
        found = pie_error_types(pair, alike)
        assert found.confused_with.tolist() == [1]
        assert ERROR_TYPES[found.types[0]].name == kind
    # In the scheme of AP impact any overlap with a similar class wins.
    assert ERROR_TYPES[flag_error_types(pair, BIRD_AND_DOG)[0]].name == "similar"


@pytest.mark.parametrize(
    ("objects", "confused_with"),
    [
        ([(1, HALF), (2, [0, 0, 10, 8])], [2, 2]),  # the largest overlap
        ([(1, [0, 0, 10, 8]), (2, [0, 0, 10, 6])], [1, 1]),  # also where all objects of a class are taken
        ([(1, [0, 0, 10, 8]), (1, [0, 7, 10, 10]), (2, [0, 0, 10, 6])], [1, 2]),  # of the free cat: 0.3
    ],
)
def test_what_a_detection_is_confused_with(objects, confused_with):
    found = pie_error_types(matching(objects, [(0, BOX), (0, BOX)]), BIRD_AND_CAT)
    assert found.confused_with.tolist() == confused_with
    kinds = {1: "similar", 2: "other"}
    assert [ERROR_TYPES[kind].name for kind in found.types] == [kinds[label] for label in confused_with]


def test_of_equal_overlaps_the_object_annotated_first_is_meant():
    objects = [(0, [0, 0, 10, 4]), (0, [0, 6, 10, 10])]  # IoU 0.4 each
    assert referenced_objects(matching(objects, [(0, BOX)]), NONE, 0.5).object_rows.tolist() == [0]
    # No class to be confused with: of all objects the nearest, here below 0.1 and of two classes.
    objects = [(2, [0, 0, 10, 0.5]), (1, [0, 9.5, 10, 10])]
    assert referenced_objects(matching(objects, [(0, BOX)]), NONE, 0.5).object_rows.tolist() == [0]


@pytest.mark.parametrize(("rest", "score"), [(0, 1.0), (1, 0.5)])
def test_of_equal_overlaps_coco_takes_the_object_annotated_last(rest, score):
    """The first detection overlaps both alike, the second only one: that has to be the first object."""
    left, right = [0, 0, 10, 10], [6, 0, 16, 10]
    found = [(0, [0, 0, 16, 10]), (0, [left, right][rest])]
    pair = matching([(0, left), (0, right)], found)
    assert average_precision(pair.truth, pair.detections).coco50[0] == pytest.approx(score, abs=0.01)


def test_voc07_asks_for_multiples_of_a_tenth_in_floating_point():
    """Recall 3/10 lies below 3 · 0.1 = 0.30000000000000004: 3 of the 11 recalls are reached, not 4."""
    places = [[20 * n, 0, 20 * n + 10, 10] for n in range(10)]
    pair = matching([(0, place) for place in places], [(0, place) for place in places[:3]], 200)
    assert average_precision(pair.truth, pair.detections, coco=False).voc07[0] == 3 / 11


def test_a_gain_is_never_negative():
    pair = matching([(0, BOX)], [(0, BOX)])
    whole = diagnose(pair.truth, pair.detections, "one").impact
    lower = np.full_like(whole.scores.ap, 0.25)
    lower[0] = 0.5
    result = dataclasses.replace(whole, scores=whole.scores._replace(ap=lower, apn=lower))
    for normalized in (False, True):
        assert (result.gains(normalized=normalized) == 0).all()


@pytest.mark.parametrize("place", ["a.jpg", "deep/down/a.png", "a.JPEG"])
def test_a_photograph_is_found_by_its_name_alone_in_whichever_folder(place, tmp_path, capsys):
    write_image(tmp_path / "pictures" / place, (100, 80))
    tree = tmp_path / "VOC2007"
    for folder in ("Annotations", "ImageSets/Main"):
        (tree / folder).mkdir(parents=True)
    (tree / "ImageSets" / "Main" / "test.txt").write_text("a\n")
    (tree / "Annotations" / "a.xml").write_text(voc_xml([("dog", (11, 11, 50, 50))], (100, 80)))
    (tmp_path / "found").mkdir()
    (tmp_path / "found" / "comp4_det_test_dog.txt").write_text("a 0.9 11 11 50 50\n")
    words = [
        *("--ground-truth", f"{tree}:test", "--detections", tmp_path / "found", "--replicates", "0"),
        *("--images", tmp_path / "pictures", "--no-figures", "--out", tmp_path / "out"),
    ]
    assert main(list(map(str, words))) == 0, capsys.readouterr().err
