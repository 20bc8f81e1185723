"""Average precision by bin, against scoring each bin's labels anew."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data.records import InputError
from diagnosis import assign
from diagnosis.average_precision import normal_objects
from diagnosis.characteristics import (
    MISSED_BELOW,
    Characteristic,
    by_category,
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
    labels = forgiving(assignment) if weakly else assignment.labels
    for table in result.tables:
        kind = table.characteristic
        for label in range(len(CLASSES)):
            ranked = matching.ranked(label)
            for bin_ in range(len(kind.bins)):
                inside = (kind.index == bin_) & (truth.labels == label)
                objects = int((inside & (~matching.ignored | (kind.name == "part.tail"))).sum())
                outside = (labels[ranked] == 1) & ~inside[assignment.objects[ranked]] if len(truth) else False
                wanted = hoiem_ap(np.where(outside, 0, labels[ranked]), objects, normal_objects(4))
                assert table.scores.objects[label, bin_] == objects
                for name in ("ap", "apn", "ap_stderr", "apn_stderr", "recall"):
                    found = getattr(table.scores, name)[label, bin_]
                    assert found == pytest.approx(getattr(wanted, name), abs=1e-12, nan_ok=True)


def test_missed_objects_are_those_below_a_precision():
    matching = crowded(8)
    result = characteristics(matching)
    truth, assignment = matching.truth, assign(matching, 0.5)
    for label in range(len(CLASSES)):
        ranked, objects = matching.ranked(label), matching.objects[label]
        labels = assignment.labels[ranked]
        true, false = np.cumsum(labels == 1), np.cumsum(labels == -1)
        precision = {}
        for place in np.flatnonzero(labels == 1):
            rest = np.flatnonzero(labels == 1)
            rest = rest[rest >= place]
            weighted = true[rest] * normal_objects(4) / objects
            precision[assignment.objects[ranked[place]]] = (weighted / (weighted + false[rest])).max()
        mine = np.flatnonzero((truth.labels == label) & ~matching.ignored)
        wanted = [precision.get(row, 0.0) for row in mine]
        assert result.precision[mine] == pytest.approx(wanted)
        lost = mine[result.precision[mine] < MISSED_BELOW]
        assert result.missed[label] == len(lost)
        area = result.tables[0]
        bins = np.bincount(area.characteristic.index[lost], minlength=5) if len(lost) else np.zeros(5)
        assert area.missed[label].tolist() == bins.tolist()
    assert result.missed.sum() > 0


def test_bins_of_ones_own():
    matching = crowded(1)
    result = characteristics(matching, edges={"area": [500.0]})
    area = np.prod(matching.truth.boxes[:, 2:] - matching.truth.boxes[:, :2], axis=1)
    small = np.bincount(matching.truth.labels[(area <= 500) & ~matching.ignored], minlength=5)
    assert result.tables[0].characteristic.bins == ("≤ 500", "> 500")
    assert result.tables[0].scores.objects[:, 0].tolist() == small.tolist()
    with pytest.raises(InputError, match="edges"):
        characteristics(matching, edges={"areas": [500.0]})


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
    with pytest.raises(InputError, match="'cow'"):
        sensitivity(result, ["cow"])


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
