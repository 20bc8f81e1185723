"""Bins of characteristics, against the words of the rules."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data.records import GroundTruth, InputError
from diagnosis.characteristics import (
    ASPECT_BINS,
    SIZE_BINS,
    by_category,
    by_edges,
    by_quantile,
    standard_characteristics,
)


def objects_of(labels, difficult=None, **attributes) -> GroundTruth:
    count = len(labels)
    boxes = [[0, 0, 5, 1 + i] for i in range(count)]
    return GroundTruth(
        ["a"], ["cat", "dog"], [[2000, 2000]], [0] * count, labels, boxes, difficult, attributes=attributes
    )


@given(
    st.lists(st.tuples(st.integers(0, 1), st.integers(-5, 20), st.booleans(), st.booleans()), max_size=60),
)
def test_quantiles_are_those_of_the_class_itself(drawn):
    labels, values, difficult, unknown = ([row[i] for row in drawn] for i in range(4))
    numbers = [math.nan if gone else float(value) for value, gone in zip(values, unknown, strict=True)]
    found = by_quantile(objects_of(labels, difficult), "size", np.array(numbers))
    for label in (0, 1):
        mine = [i for i in range(len(drawn)) if labels[i] == label and not difficult[i] and not unknown[i]]
        ordered = sorted(numbers[i] for i in mine)
        n = len(ordered)
        edges = (
            [ordered[max(math.floor(n * share + 0.5), 1) - 1] for share in (0.1, 0.3, 0.7, 0.9)] if n else []
        )
        for i in mine:
            assert found.index[i] == sum(numbers[i] > edge for edge in edges)
    assert all(found.index[i] == -1 for i in range(len(drawn)) if difficult[i] or unknown[i])


def test_places_are_rounded_after_the_product_in_floating_point():
    found = by_quantile(objects_of([0] * 325), "height", np.arange(325))
    assert np.bincount(found.index).tolist() == [
        33,
        65,
        129,
        66,
        32,
    ]  # as in the tool: 0.7 · 325 is below 227.5


def test_edges_of_ones_own_are_the_same_in_all_classes():
    truth = objects_of([0, 1, 0, 1, 0])
    found = by_edges(truth, "area", [1.0, 4, 4.5, 9, math.nan], [4, 8.5])
    assert found.bins == ("≤ 4", "4–8.5", "> 8.5")
    assert found.index.tolist() == [0, 0, 1, 2, -1]


@pytest.mark.parametrize("edges", [[], [2, 2], [3, 1], [math.nan], [math.inf]])
def test_edges_that_make_no_bins_are_refused(edges):
    with pytest.raises(InputError, match="edges of area"):
        by_edges(objects_of([0]), "area", [1.0], edges)


@pytest.mark.parametrize(
    ("values", "bins", "index", "ordered"),
    [
        ([1, 0, -1, 1], ("0", "1"), [1, 0, -1, 1], True),
        ([True, False, True, True], ("0", "1"), [1, 0, 1, 1], True),
        (["Left", "", "Rear", "Left"], ("Left", "Rear"), [0, -1, 1, 0], False),
        ([0.5, math.nan, -1.0, 0.5], ("-1.0", "0.5"), [1, -1, 0, 1], True),
        (["x", None, "x", 3], ("3", "x"), [1, -1, 1, 0], False),
    ],
)
def test_categories(values, bins, index, ordered):
    found = by_category(objects_of([0] * 4), "kind", values)
    assert (found.bins, found.index.tolist(), found.ordered) == (bins, index, ordered)
    assert not found.counts_ignored


def test_parts_and_sides_count_difficult_objects_as_the_tool_does():
    for name, family in (("part.tail", "part"), ("side.front", "side")):
        found = by_category(objects_of([0, 0]), name, [0, 1])
        assert found.counts_ignored
        assert found.family == family


@pytest.mark.parametrize("make", [by_quantile, by_category, lambda *a: by_edges(*a, [1.0])])
def test_one_value_for_each_object(make):
    with pytest.raises(InputError, match=r"size: found an array of shape \(3,\)"):
        make(objects_of([0, 0]), "size", [1, 2, 3])


def test_texts_have_no_quantiles():
    with pytest.raises(InputError, match="size: found values such as big; expected numbers"):
        by_quantile(objects_of([0, 0]), "size", ["big", "small"])


def test_standard_characteristics_take_what_is_annotated():
    truth = objects_of(
        [0, 1] * 30,
        truncated=[0, 1] * 30,
        occluded=[-1] * 60,
        pose=["Left", "Right", ""] * 20,
        identifier=[f"object {i}" for i in range(60)],
        age=np.arange(60),
        depth=np.linspace(0, 1, 60),
    )
    found = {one.name: one for one in standard_characteristics(truth)}
    assert list(found) == ["area", "height", "aspect_ratio", "truncated", "pose", "age", "depth"]
    assert found["aspect_ratio"].bins == ASPECT_BINS
    assert found["depth"].bins == found["age"].bins == SIZE_BINS
    assert found["truncated"].bins == ("0", "1")
    assert (found["height"].index == found["area"].index).all()  # all equally wide
    assert found["aspect_ratio"].index[0] == 4  # the lowest one is the widest


def test_unknown_whole_numbers_have_no_quantile():
    truth = objects_of([0] * 30, age=[-1, *range(1, 30)])
    found = {one.name: one for one in standard_characteristics(truth)}["age"]
    assert (found.index[0], found.index[1]) == (-1, 0)


def test_standard_characteristics_take_edges():
    found = standard_characteristics(objects_of([0] * 10), {"height": [5]})
    assert [one.bins for one in found][1] == ("≤ 5", "> 5")
    with pytest.raises(
        InputError, match="edges: found 'heigth'; expected one of the characteristics area, height"
    ):
        standard_characteristics(objects_of([0]), {"heigth": [5]})


def test_no_objects_make_no_trouble():
    found = standard_characteristics(objects_of([]))
    assert [len(one.index) for one in found] == [0, 0, 0]
