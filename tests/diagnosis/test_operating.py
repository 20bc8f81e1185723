"""Best F1, calibration and confusion matrix: by hand, and against loops over thresholds and boxes."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data.records import Detections, GroundTruth, InputError
from diagnosis import assign_devkit, match
from diagnosis.average_precision import best_f1
from diagnosis.calibration import calibration
from diagnosis.confusion import confusion_matrix
from tests.diagnosis.scenes import BOX, FAR, crowded, one_image

pytestmark = pytest.mark.filterwarnings("error")


def matched(objects, found):
    return match(*one_image(objects, found))


scenes = st.builds(
    crowded,
    seed=st.integers(0, 2**32 - 1),
    objects=st.integers(1, 20),
    detections=st.just(80),
    images=st.integers(1, 3),
)


# ---- best F1 ---------------------------------------------------------------------------------


@settings(max_examples=30)
@given(scenes)
def test_best_f1_against_all_thresholds(overlaps):
    labels, found = assign_devkit(overlaps).outcomes, overlaps.detections
    points = best_f1(overlaps)
    for label, point in [*enumerate(points.each), (None, points.overall)]:
        mine = np.ones(len(found), dtype=bool) if label is None else found.labels == label
        objects = overlaps.objects.sum() if label is None else overlaps.objects[label]
        if not objects:
            assert np.isnan([point.score, point.f1, point.precision, point.recall]).all()
            continue
        best = (0.0, np.nan, np.nan, 0.0)
        for score in np.unique(found.scores)[::-1]:
            kept = mine & (found.scores >= score)
            true, false = (labels[kept] == 1).sum(), (labels[kept] == -1).sum()
            if true and 2 * true / (true + false + objects) > best[0]:
                f1 = 2 * true / (true + false + objects)
                best = (f1, score, true / (true + false), true / objects)
        assert (point.f1, point.score, point.precision, point.recall) == pytest.approx(best, nan_ok=True)


def test_best_f1_without_a_true_positive():
    for found in ([], [(0, 0.5, FAR)]):
        point = best_f1(matched([(0, BOX)], found)).overall
        assert (point.f1, point.recall) == (0, 0)
        assert np.isnan([point.score, point.precision]).all()


# ---- calibration -----------------------------------------------------------------------------


def test_calibration_by_hand():
    found = [(0, 0.95, BOX), (0, 0.85, FAR), (1, 0.85, FAR)]
    found += [(1, 1.0, [20, 20, 30, 30]), (0, 0.1, [80, 0, 90, 9])]
    result = calibration(matched([(0, BOX), (1, FAR), (1, [20, 20, 30, 30], True)], found))
    counts = result.counts.sum(axis=0).tolist()
    assert counts == [0, 1, 0, 0, 0, 0, 0, 0, 2, 1]  # no hit of a difficult one
    assert result.true.sum(axis=0).tolist() == [0, 0, 0, 0, 0, 0, 0, 0, 1, 1]
    score, precision = result.curve()
    assert (score[8], precision[8]) == (pytest.approx(0.85), 0.5)
    assert np.isnan([score[0], precision[0]]).all()
    assert result.expected_error() == pytest.approx((0.1 + 2 * 0.35 + 0.05) / 4)
    assert result.largest_error() == pytest.approx(0.35)
    assert result.expected_error(1) == pytest.approx(0.15)


def test_a_perfect_calibration():
    random = np.random.default_rng(0)
    scores = random.random(20_000)
    names = [f"{i}" for i in range(20_000)], ["dog"]
    truth = GroundTruth(*names, [[100, 100]] * 20_000, range(20_000), [0] * 20_000, [BOX] * 20_000)
    right = random.random(20_000) < scores
    boxes = np.where(right[:, None], BOX, FAR)
    overlaps = match(truth, Detections(*names, range(20_000), [0] * 20_000, scores, boxes))
    assert calibration(overlaps).expected_error() < 0.01


def test_scores_that_are_no_probabilities():
    result = calibration(matched([(0, BOX)], [(0, 3.5, BOX)]))
    assert "no probabilities" in result.reason
    assert np.isnan(result.expected_error())
    assert np.isnan(calibration(matched([(0, BOX)], [])).largest_error())


# ---- confusion matrix ------------------------------------------------------------------------


def pair_by_pair(overlaps, score, iou):
    truth, found = overlaps.truth, overlaps.detections
    pairs = []
    for o, d, overlap in zip(
        overlaps.pair_object, overlaps.pair_detection, overlaps.pair_iou_unclipped, strict=True
    ):
        if overlap >= iou and found.scores[d] >= score:
            pairs.append((-overlap, found.labels[d] != truth.labels[o], -found.scores[d], d, o))
    other = len(truth.classes)  # background, or missed
    counts = np.zeros((other + 1, other + 1), dtype=int)
    used, taken = set(), set()
    for *_, d, o in sorted(pairs):
        if not truth.difficult[o] and d not in used and o not in taken:
            counts[truth.labels[o], found.labels[d]] += 1
            used.add(d)
            taken.add(o)
    excused = {d for *_, d, o in pairs if truth.difficult[o]}
    for d in range(len(found)):
        if found.scores[d] >= score and d not in used | excused:
            counts[other, found.labels[d]] += 1
    for o in range(len(truth)):
        if not truth.difficult[o] and o not in taken:
            counts[truth.labels[o], other] += 1
    return counts


@settings(max_examples=30)
@given(overlaps=scenes, score=st.sampled_from([0.0, 0.5]), iou=st.sampled_from([0.3, 0.5]))
def test_confusion_against_a_walk_over_pairs(overlaps, score, iou):
    result = confusion_matrix(overlaps, score=score, iou=iou)
    np.testing.assert_array_equal(result.counts, pair_by_pair(overlaps, score, iou))
    assert result.counts[:-1].sum() == overlaps.objects.sum()


def test_confusion_at_the_best_f1_by_default():
    overlaps = matched([(0, BOX), (1, FAR)], [(0, 0.9, BOX), (0, 0.6, FAR), (0, 0.2, [80, 0, 90, 9])])
    result = confusion_matrix(overlaps)
    assert result.score == 0.9
    assert result.counts.tolist() == [[1, 0, 0], [0, 0, 1], [0, 0, 0]]
    assert np.isnan(result.shares()[2]).all()
    assert result.shares()[1].tolist() == [0, 0, 1]
    nothing = confusion_matrix(matched([(0, BOX)], [(1, 0.1, FAR)]))
    assert np.isnan(nothing.score)
    assert nothing.counts.tolist() == [[0, 0, 1], [0, 0, 0], [0, 1, 0]]
    with pytest.raises(InputError, match="iou"):
        confusion_matrix(overlaps, iou=0)
