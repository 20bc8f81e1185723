"""Hoiem's average precision of many rankings at once, against one ranking walked by hand."""

import statistics

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from diagnosis.average_precision import hoiem_scores, normal_objects
from tests.diagnosis.scenes import hoiem_ap


def walked(labels, objects, normal):
    """AP, APn, their errors and recall of one ranking, by the words of the rules."""
    plain, normalized, true, false = [], [], 0, 0
    for label in labels:
        true, false = true + (label == 1), false + (label == -1)
        if label == 1:
            weighted = true * normal / objects
            plain.append(true / (true + false))
            normalized.append(weighted / (weighted + false))
    lists = [
        [max(kind[i:]) for i in range(len(kind))] + [0.0] * (objects - true) for kind in (plain, normalized)
    ]
    means = [sum(values) / objects for values in lists]
    errors = [statistics.stdev(values) / objects**0.5 if objects > 1 else 0.0 for values in lists]
    return [*means, *errors, true / objects]


rankings = st.lists(
    st.tuples(st.lists(st.sampled_from([1, 0, -1]), max_size=30), st.integers(0, 5)), min_size=1, max_size=8
)


@given(rankings, st.floats(0.1, 1000))
def test_equals_the_walk_down_each_ranking(drawn, normal):
    sizes = [labels.count(1) + missed for labels, missed in drawn]
    start = np.cumsum([0] + [len(labels) for labels, _ in drawn])
    together = np.array([label for labels, _ in drawn for label in labels], dtype=np.int8)
    scores = hoiem_scores(together, start, np.array(sizes), normal)
    columns = [scores.ap, scores.apn, scores.ap_stderr, scores.apn_stderr, scores.recall]
    for run, (labels, _) in enumerate(drawn):
        found = [float(column[run]) for column in columns]
        if sizes[run]:
            assert found == pytest.approx(walked(labels, sizes[run], normal), rel=1e-9, abs=1e-9)
        else:
            assert np.isnan(found).all()


def test_many_runs_cost_no_accuracy():
    labels = np.tile(np.array([1, -1, 1, -1, -1, 1], dtype=np.int8), 5000)
    scores = hoiem_scores(labels, np.arange(5001) * 6, np.full(5000, 7), 30.0)
    alone = hoiem_ap(labels[:6], 7, 30.0)
    assert np.abs(scores.apn - alone.apn).max() < 1e-11
    assert np.abs(scores.ap_stderr - alone.ap_stderr).max() < 1e-11


def test_nothing_at_all_raises_no_warning():
    with np.errstate(all="raise"):
        scores = hoiem_scores(np.zeros(0, np.int8), np.zeros(4, np.int64), np.array([0, 1, 2]), 0.0)
        none = hoiem_scores(np.zeros(0, np.int8), np.zeros(1, np.int64), np.zeros(0, np.int64), 0.0)
    assert np.isnan(scores.ap[0])
    assert (scores.ap[1:].tolist(), scores.apn_stderr[1:].tolist()) == ([0, 0], [0, 0])
    assert none.ap.shape == (0,)


def test_one_image_supposes_fewer_than_one_object():
    assert normal_objects(4952) == pytest.approx(742.8)
