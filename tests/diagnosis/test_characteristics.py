"""Bins of characteristics against the words of the rules; their average precision against scoring anew."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data.records import GroundTruth, InputError
from diagnosis import assign
from diagnosis.average_precision import assumed_objects
from diagnosis.characteristics import (
    ASPECT_BINS,
    MISSED_BELOW,
    SIZE_BINS,
    Characteristic,
    by_category,
    by_edges,
    by_quantile,
    characteristics,
    sensitivity,
    standard_characteristics,
)
from tests.diagnosis.scenes import CLASSES, crowded, forgiving, hoiem_ap


@settings(max_examples=12)
@given(st.integers(0, 10**6), st.sampled_from([(0, 0), (0, 30), (3, 8), (30, 0), (40, 160)]), st.booleans())
def test_a_bin_is_the_ranking_with_other_objects_made_dont_care(seed, size, weakly):
    matching = crowded(seed, *size)
    truth = matching.truth
    part = by_category(truth, "part.tail", truth.attributes["truncated"])
    chosen = (*standard_characteristics(truth), part)
    iou = 0.1 if weakly else 0.5
    result = characteristics(matching, chosen, iou=iou, forgive_duplicates=weakly)
    assignment = assign(matching, iou)
    labels = forgiving(assignment) if weakly else assignment.outcomes
    for table in result.tables:
        kind = table.characteristic
        for label in range(len(CLASSES)):
            ranked = matching.ranked(label)
            for bin_ in range(len(kind.bins)):
                inside = (kind.index == bin_) & (truth.labels == label)
                objects = int((inside & (~matching.ignored | (kind.name == "part.tail"))).sum())
                outside = (
                    (labels[ranked] == 1) & ~inside[assignment.object_rows[ranked]] if len(truth) else False
                )
                wanted = hoiem_ap(np.where(outside, 0, labels[ranked]), objects, assumed_objects(4))
                found = [column[label, bin_] for column in table.scores]
                assert found == pytest.approx([*map(float, wanted)], abs=1e-12, nan_ok=True)
                assert found[0] == objects


def test_missed_objects_are_those_below_a_precision():
    matching = crowded(8)
    result = characteristics(matching)
    truth, assignment = matching.truth, assign(matching, 0.5)
    for label in range(len(CLASSES)):
        ranked, objects = matching.ranked(label), matching.objects[label]
        labels = assignment.outcomes[ranked]
        true, false = np.cumsum(labels == 1), np.cumsum(labels == -1)
        precision = {}
        for place in np.flatnonzero(labels == 1):
            rest = np.flatnonzero(labels == 1)
            rest = rest[rest >= place]
            weighted = true[rest] * assumed_objects(4) / objects
            precision[assignment.object_rows[ranked[place]]] = (weighted / (weighted + false[rest])).max()
        mine = np.flatnonzero((truth.labels == label) & ~matching.ignored)
        wanted = [precision.get(row, 0.0) for row in mine]
        assert result.precision[mine] == pytest.approx(wanted)
        lost = mine[result.precision[mine] < MISSED_BELOW]
        assert result.missed[label] == len(lost)
        area = result.tables[0]
        bins = np.bincount(area.characteristic.index[lost], minlength=5) if len(lost) else np.zeros(5)
        assert area.missed[label].tolist() == bins.tolist()
    assert result.missed.sum() > 0


# ---- the summary -----------------------------------------------------------------------------


def test_sensitivity_takes_the_extreme_bins_of_each_class_and_family():
    matching = crowded(3, objects=120, detections=400)
    truth = matching.truth
    draw = np.random.default_rng(0)
    parts = [by_category(truth, f"part.{name}", draw.integers(0, 2, len(truth))) for name in ("tail", "wing")]
    result = characteristics(matching, (*standard_characteristics(truth), *parts))
    summary = {one.name: one for one in sensitivity(result, fewest=5)}
    assert list(summary) == ["area", "height", "aspect_ratio", "truncated", "pose", "weight", "part"]
    tables = {table.characteristic.name: table for table in result.tables}
    both = [tables["part.tail"], tables["part.wing"]]
    lows, highs = [], []
    for label in range(4):
        values = [
            apn
            for table in both
            for apn, count in zip(table.scores.apn[label], table.scores.objects[label], strict=True)
            if count >= 5
        ]
        lows.append(min(values))
        highs.append(max(values))
    part = summary["part"]
    assert part.classes == CLASSES[:4]  # there is no sofa
    assert (part.lowest, part.highest) == pytest.approx((np.mean(lows), np.mean(highs)))
    assert part.overall == pytest.approx(result.overall.apn[:4].mean())
    assert part.sensitivity == pytest.approx(part.highest - part.lowest)
    assert part.impact == pytest.approx(part.highest - part.overall)


def test_sensitivity_leaves_out_bins_of_few_objects_and_classes_without_others():
    matching = crowded(3)
    result = characteristics(matching)
    objects = result.tables[0].scores.objects
    enough = (objects >= 4).any(axis=1)
    assert not enough.all()
    summary = sensitivity(result, fewest=4)[0]
    assert summary.classes == tuple(name for name, yes in zip(CLASSES, enough, strict=True) if yes)
    none = sensitivity(result, fewest=10**6)[0]
    assert none.classes == ()
    assert math.isnan(none.sensitivity)
    assert math.isnan(none.impact)
    assert sensitivity(result, ["cat"], fewest=1)[0].classes == ("cat",)


@pytest.mark.parametrize(("objects", "detections"), [(0, 0), (0, 20), (20, 0), (1, 1)])
def test_empty_cases(objects, detections):
    matching = crowded(0, objects, detections)
    with np.errstate(all="raise"):
        result = characteristics(matching)
        sensitivity(result)
    for table in result.tables:
        empty = table.scores.objects == 0
        assert np.isnan(table.scores.ap[empty]).all()
        assert not np.isnan(table.scores.apn[~empty]).any()
    if not detections:
        assert result.missed.tolist() == matching.objects.tolist()


def test_a_characteristic_of_which_nothing_is_known():
    matching = crowded(1)
    nothing = Characteristic("colour", (), np.full(len(matching.truth), -1))
    result = characteristics(matching, [nothing])
    assert result.tables[0].scores.ap.shape == (len(CLASSES), 0)
    assert sensitivity(result)[0].classes == ()


# ---- bins ---


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
    assert np.bincount(found.index).tolist() == [33, 65, 129, 66, 32]  # 0.7 · 325 is below 227.5


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
def test_one_value_for_each_object_and_numbers_to_measure(make):
    with pytest.raises(InputError, match=r"size: found an array of shape \(3,\)"):
        make(objects_of([0, 0]), "size", [1, 2, 3])
    if make is not by_category:
        with pytest.raises(InputError, match="size: found values such as big; expected numbers"):
            make(objects_of([0, 0]), "size", ["big", "small"])


def test_standard_characteristics_take_what_is_annotated():
    truth = objects_of(
        [0, 1] * 30,
        truncated=[0, 1] * 30,
        occluded=[-1] * 60,
        pose=["Left", "Right", ""] * 20,
        identifier=[f"object {i}" for i in range(60)],
        age=np.arange(60) - 1,
        depth=np.linspace(0, 1, 60),
    )
    found = {one.name: one for one in standard_characteristics(truth)}
    assert list(found) == ["area", "height", "aspect_ratio", "truncated", "pose", "age", "depth"]
    assert found["aspect_ratio"].bins == ASPECT_BINS
    assert found["depth"].bins == found["age"].bins == SIZE_BINS
    assert found["age"].index[:3].tolist() == [-1, 0, 0]  # −1: not known
    assert found["truncated"].bins == ("0", "1")
    assert (found["height"].index == found["area"].index).all()  # all equally wide
    assert found["aspect_ratio"].index[0] == 4  # the lowest one is the widest


def test_standard_characteristics_take_edges():
    found = standard_characteristics(objects_of([0] * 10), {"height": [5]})
    assert [one.bins for one in found][1] == ("≤ 5", "> 5")
    with pytest.raises(InputError, match="edges: found 'heigth'; expected one of the characteristics area"):
        standard_characteristics(objects_of([0]), {"heigth": [5]})
