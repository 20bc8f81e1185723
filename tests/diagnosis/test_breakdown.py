"""Kinds of errors, and how they are counted."""

import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data.records import InputError
from diagnosis import (
    ERROR_TYPES,
    assign,
    break_down,
    flag_error_types,
    pie_error_types,
    similar_matrix,
)
from diagnosis.similar import read_groups
from diagnosis.worst_cases import worst_cases
from tests.diagnosis import scenes
from tests.diagnosis.scenes import BOX, FAR, crowded, matched

CLASSES = ["cat", "dog", "bus"]
SIMILAR = similar_matrix(CLASSES, [["cat", "dog"]])


def scene(objects, found):
    return matched(objects, found, CLASSES)


def test_the_five_types_in_order_with_colours_of_their_own():
    names = [kind.name for kind in ERROR_TYPES]
    assert names == ["correct", "localization", "similar", "other", "background"]
    assert len({kind.colour for kind in ERROR_TYPES}) == 5
    for kind in ERROR_TYPES:
        assert re.fullmatch(r"#[0-9A-F]{6}", kind.colour)
        assert kind.explanation.count(".") - len(re.findall(r"\d\.\d", kind.explanation)) == 1


def test_the_largest_overlap_decides_between_similar_and_other_but_not_among_the_flags():
    overlaps = scene([(1, [0, 0, 10, 4]), (2, BOX)], [(0, 0.9, BOX)])
    result = pie_error_types(overlaps, SIMILAR)
    assert (result.types.tolist(), result.confused_with.tolist()) == ([3], [2])
    assert flag_error_types(overlaps, SIMILAR).tolist() == [2]


# ---- counting --------------------------------------------------------------------------------


def two_classes():
    """Two cats and a dog; four cat detections and two of dogs."""
    return scene(
        [(0, BOX), (0, FAR), (1, [20, 20, 30, 30])],
        [
            (0, 0.9, BOX), (0, 0.8, BOX), (0, 0.7, [20, 20, 30, 30]), (0, 0.6, [80, 80, 90, 90]),
            (1, 0.5, [20, 20, 30, 30]), (1, 0.4, [20, 20, 30, 24]),
        ],
    )  # fmt: skip


@pytest.mark.parametrize(
    ("top", "cat", "dog"),
    [
        (None, [1, 1, 0, 0, 0], [1, 0, 0, 0, 0]),
        (1, [1, 0, 0, 0, 0], [1, 0, 0, 0, 0]),
        (3, [1, 1, 1, 0, 0], [1, 1, 0, 0, 0]),
        (2.0, [1, 1, 1, 0, 1], [1, 1, 0, 0, 0]),
        (0.5, [1, 0, 0, 0, 0], [1, 0, 0, 0, 0]),  # half an object is rounded up
        (0.2, [0, 0, 0, 0, 0], [0, 0, 0, 0, 0]),
        ([0, 2, 5], [0, 0, 0, 0, 0], [1, 1, 0, 0, 0]),
        ("all", [1, 1, 1, 0, 1], [1, 1, 0, 0, 0]),
        (10**9, [1, 1, 1, 0, 1], [1, 1, 0, 0, 0]),
    ],
)
def test_what_counts_as_top(top, cat, dog):
    result = break_down(two_classes(), SIMILAR, top)
    assert result.counts.tolist() == [cat, dog, [0] * 5]
    assert (result.counted_types >= 0).sum() == sum(cat) + sum(dog)


@pytest.mark.parametrize("top", ["most", -1, -0.5, float("nan"), float("inf"), [1, 2], [1.5, 1.0, 1.0], True])
def test_a_top_that_means_nothing_is_refused(top):
    with pytest.raises(InputError, match=r"^top: found"):
        break_down(two_classes(), SIMILAR, top)


@pytest.mark.parametrize(
    "thresholds", [{"background_iou": 0}, {"iou": 0.05}, {"iou": 1.1}, {"background_iou": float("nan")}]
)
def test_thresholds_out_of_order_are_refused(thresholds):
    with pytest.raises(InputError, match="thresholds"):
        break_down(two_classes(), SIMILAR, **thresholds)


def test_averaged_over_classes_and_pooled():
    result = break_down(two_classes(), SIMILAR)
    assert result.objects.tolist() == [2, 1, 0]
    np.testing.assert_array_equal(result.shares[:2], [[0.5, 0.5, 0, 0, 0], [1, 0, 0, 0, 0]])
    assert np.isnan(result.shares[2]).all()
    assert result.mean_over_classes().tolist() == [0.75, 0.25, 0, 0, 0]
    assert result.pooled().tolist() == pytest.approx([2 / 3, 1 / 3, 0, 0, 0])


@pytest.mark.parametrize("name", ["iou", "strong"])  # now, and in earlier versions
def test_another_threshold(name):
    overlaps = scene([(0, BOX)], [(0, 0.9, [0, 0, 10, 7])])
    assert break_down(overlaps, SIMILAR).counts[0].tolist() == [1, 0, 0, 0, 0]
    assert break_down(overlaps, SIMILAR, **{name: 0.75}).counts[0].tolist() == [0, 1, 0, 0, 0]


# ---- where Hoiem's tool breaks (rules, section 6) --------------------------------------------


@pytest.mark.parametrize(
    ("objects", "found", "counted", "mean"),
    [
        ([(0, BOX)], [], [], [np.nan] * 5),
        ([(0, BOX)], [(0, 0.9, BOX), (1, 0.9, BOX)], [0, -1], [1, 0, 0, 0, 0]),
        ([(0, BOX, True)], [(0, 0.9, BOX)], [-1], [np.nan] * 5),
    ],
    ids=["no detections", "a class without objects", "difficult objects alone"],
)
def test_what_has_no_top(objects, found, counted, mean):
    result = break_down(scene(objects, found), SIMILAR)
    assert result.counted_types.tolist() == counted
    assert result.counts.sum() == counted.count(0)
    assert np.isnan(result.shares[1:]).all()
    np.testing.assert_array_equal(result.mean_over_classes(), mean)
    np.testing.assert_array_equal(result.pooled(), mean)
    assert break_down(scene(objects, found), SIMILAR, "all").counts[0, 0] == len(found[:1])


# ---- similar classes -------------------------------------------------------------------------


def test_similar_is_symmetric_and_no_class_resembles_itself():
    matrix = similar_matrix(["a", "b", "c", "d"], [["a", "b"], ["b", "c"], ["d"]])
    assert matrix.astype(int).tolist() == [[0, 1, 0, 0], [1, 0, 1, 0], [0, 1, 0, 0], [0, 0, 0, 0]]
    assert not similar_matrix(["a"], []).any()
    assert similar_matrix([], []).shape == (0, 0)


def test_an_unknown_class_in_a_group_is_named():
    with pytest.raises(InputError, match=r"'bsu'.*did you mean 'bus'"):
        similar_matrix(CLASSES, [["cat", "bsu"]])


@pytest.mark.parametrize(
    "text",
    [
        "- [cat, dog]\n- [bus]\n",
        "pets: [cat, dog]\nrest: [bus]\n",
        "similar: [[cat, dog], [bus]]\n",
        "classes: [cat, dog, bus]\nsimilar:\n- [cat, dog]\n- [bus]\n",
    ],
)
def test_groups_from_a_file(tmp_path, text):
    file = tmp_path / "similar.yaml"
    file.write_text(text)
    assert read_groups(file) == [["cat", "dog"], ["bus"]]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"pets: [cat", "similar.yaml:1: found malformed YAML"),
        (b"just words", "found a str"),
        (b"", "found a NoneType"),
        (b"pets: cat", "group 1: found 'cat'"),
        (b"- [cat]\n- [yes]", r"group 2: found \[True\]"),
        (b"similar: [cat, dog]", r"similar.yaml, similar: found \['cat', 'dog'\]; expected groups within it"),
        (b"- [c\xe4t]", "not UTF-8"),
        (None, "no such file"),
    ],
)
def test_a_file_of_groups_that_cannot_be_used(tmp_path, content, message):
    file = tmp_path / "similar.yaml"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(InputError, match=message):
        read_groups(file)


# ---- worst cases, against sorting by hand ---


@settings(max_examples=15)
@given(
    st.integers(0, 10**6), st.sampled_from([(0, 0), (0, 30), (3, 8), (30, 0), (40, 160)]), st.integers(0, 4)
)
def test_the_rows_are_the_first_of_each_class_and_type(seed, size, each):
    matching = crowded(seed, *size)
    truth, found = matching.truth, matching.detections
    result = worst_cases(matching, scenes.SIMILAR, each)
    kinds, strong = pie_error_types(matching, scenes.SIMILAR), assign(matching, 0.5)
    by_score = sorted(range(len(found)), key=lambda row: (-found.scores[row], row))
    by_area = sorted(
        range(len(truth)), key=lambda row: (-float(np.prod(truth.boxes[row, 2:] - truth.boxes[row, :2])), row)
    )
    errors, last, missed = [], [], []
    for label in range(len(scenes.CLASSES)):
        mine = [row for row in by_score if found.labels[row] == label]
        for kind in range(1, 5):
            errors += [row for row in mine if kinds.types[row] == kind][:each]
        last += [row for row in reversed(mine) if strong.outcomes[row] == 1][:each]
        taken = set(strong.object_rows[mine])
        mine = [row for row in by_area if truth.labels[row] == label and not matching.ignored[row]]
        missed += [row for row in mine if row not in taken][:each]
    assert result.errors.tolist() == errors
    assert result.error_types.tolist() == kinds.types[errors].tolist()
    assert result.confused_with.tolist() == kinds.confused_with[errors].tolist()
    assert result.found_last.tolist() == last
    assert result.found_objects.tolist() == strong.object_rows[last].tolist()
    assert result.missed.tolist() == missed


def test_a_negative_number_is_refused():
    with pytest.raises(InputError, match="each: found -1"):
        worst_cases(crowded(), scenes.SIMILAR, -1)
