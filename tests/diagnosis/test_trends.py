"""Kinds of detections down the ranking, against counting by hand."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data.records import InputError
from diagnosis import assign, flag_error_types
from diagnosis.trends import (
    FACTORS,
    FALSE_POSITIVES,
    detection_trend,
    false_positive_trend,
)
from tests.diagnosis.scenes import CLASSES, SIMILAR, crowded

SIZES = st.sampled_from([(0, 0), (0, 30), (3, 8), (30, 0), (40, 160)])


@settings(max_examples=15)
@given(st.integers(0, 10**6), SIZES)
def test_detections_are_counted_class_by_class(seed, size):
    matching = crowded(seed, *size)
    trend = detection_trend(matching, SIMILAR)
    kinds, strong, weak = flag_error_types(matching, SIMILAR), assign(matching, 0.5), assign(matching, 0.1)
    for point, factor in enumerate(FACTORS):
        for label in range(len(CLASSES)):
            ranked, objects = matching.ranked(label), int(matching.objects[label])
            top = ranked[: math.ceil(factor * objects)]
            assert trend.counts[point, label].tolist() == [(kinds[top] == kind).sum() for kind in range(5)]
            nearest = math.floor(factor * objects + 0.5)
            last = [row for row in ranked if not weak.duplicates[row]]
            found = sum(strong.outcomes[row] == 1 for row in ranked[:nearest])
            touched = sum(weak.outcomes[row] == 1 for row in last[:nearest])
            wanted = (found / objects, touched / objects) if objects else (math.nan, math.nan)
            told = (trend.recall_at_iou[point, label], trend.recall_at_background_iou[point, label])
            assert told == pytest.approx(wanted, nan_ok=True)


@settings(max_examples=15)
@given(st.integers(0, 10**6), SIZES, st.sampled_from([None, ["dog"], ["sofa", "cat", "boat"], []]))
def test_false_positives_are_met_rank_by_rank(seed, size, members):
    matching = crowded(seed, *size)
    kinds = flag_error_types(matching, SIMILAR)
    trend = false_positive_trend(matching, kinds, members, wanted=[3, 1, 20, 500])
    rankings = [matching.ranked(CLASSES.index(name)) for name in (CLASSES if members is None else members)]
    for point, wanted in enumerate([3, 1, 20, 500]):
        counts, depth = [0] * 5, 0
        while sum(counts[1:]) < wanted and any(len(ranking) > depth for ranking in rankings):
            for ranking in rankings:
                if depth < len(ranking):
                    counts[kinds[ranking[depth]]] += 1
            depth += 1
        assert (trend.counts[point].tolist(), trend.depths[point]) == (counts[1:], depth)
    filled = trend.counts.sum(axis=1) > 0
    assert trend.shares[filled].sum(axis=1) == pytest.approx(1.0)
    assert np.isnan(trend.shares[~filled]).all()


def test_a_group_pools_detections_and_averages_recall():
    trend = detection_trend(crowded(4), SIMILAR)
    chosen = [CLASSES.index("cat"), CLASSES.index("dog")]
    pooled = trend.counts[:, chosen].sum(axis=1)
    assert trend.shares(["cat", "dog"]) == pytest.approx(pooled / pooled.sum(axis=1, keepdims=True))
    assert trend.recall(["cat", "sofa", "dog"]) == pytest.approx(trend.recall_at_iou[:, [2, 3]].mean(axis=1))
    assert (trend.recall(at_background_iou=True) >= trend.recall()).all()


def test_a_depth_that_is_whole_but_for_rounding_stays_whole():
    matching = crowded(5)
    trend = detection_trend(matching, SIMILAR, [0.1 * 3 / matching.objects[0] * 10])  # 3.0000000000000004
    assert trend.counts[0, 0].sum() == 3


def test_nothing_is_nan_without_a_warning():
    with np.errstate(all="raise"):
        trend = detection_trend(crowded(0, 0, 0), SIMILAR)
        false = false_positive_trend(crowded(0, 0, 0), np.zeros(0, np.int8))
        assert np.isnan(trend.shares()).all()
        assert np.isnan(trend.recall()).all()
        assert np.isnan(false.shares).all()
    assert false.depths.tolist() == [0] * len(FALSE_POSITIVES)


@pytest.mark.parametrize("wanted", [[0], [1.5], [[1]], []])
def test_wrong_numbers_of_false_positives_are_refused(wanted):
    matching = crowded(1)
    with pytest.raises(InputError, match="wanted"):
        false_positive_trend(matching, flag_error_types(matching, SIMILAR), wanted=wanted)


@pytest.mark.parametrize("factors", [[-1], [np.nan], [np.inf], [[1.0]]])
def test_wrong_factors_are_refused(factors):
    with pytest.raises(InputError, match="factors"):
        detection_trend(crowded(1), SIMILAR, factors)
