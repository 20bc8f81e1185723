"""Every analysis of the numbers has an outcome where there is little or nothing, and no warning escapes."""

import numpy as np
import pytest

from data.records import Detections, GroundTruth
from diagnosis import average_precision, break_down, match
from diagnosis.average_precision import AP_KINDS
from diagnosis.impact import impact
from diagnosis.tide import tide

CLASSES = ["cat", "dog"]
OBJECT, ELSEWHERE, BEYOND, POINT = [0, 0, 9, 9], [20, 20, 29, 29], [200, 0, 220, 9], [3, 3, 3, 3]
pytestmark = pytest.mark.filterwarnings("error")


def truth_of(labels, images=("a",), **flags):
    rows = len(labels)
    return GroundTruth(
        images, CLASSES, [[90, 90]] * len(images), [0] * rows, labels, [OBJECT] * rows, **flags
    )


def found_of(*boxes, images=("a",)):
    rows = len(boxes)
    return Detections(images, CLASSES, [0] * rows, [0] * rows, np.linspace(0.9, 0.1, rows), boxes)


CASES = {
    "no image": (truth_of([], ()), found_of(images=())),
    "nothing at all": (truth_of([]), found_of()),
    "no detections": (truth_of([0, 1]), found_of()),
    "no objects": (truth_of([]), found_of(OBJECT, ELSEWHERE)),
    "no true positive": (truth_of([0, 1]), found_of(ELSEWHERE)),
    "none of one class": (truth_of([0, 1]), found_of(OBJECT)),
    "fewer than objects": (truth_of([0, 0, 0]), found_of(OBJECT)),
    "all difficult": (truth_of([0], difficult=[True]), found_of(OBJECT)),
    "all crowds": (truth_of([0], crowd=[True]), found_of(OBJECT)),
    "beyond the image": (truth_of([0]), found_of(BEYOND)),
    "without area": (truth_of([0]), found_of(POINT, OBJECT)),
}


@pytest.mark.parametrize("case", CASES)
def test_every_number_is_defined(case):
    truth, found = CASES[case]
    matching = match(truth, found)
    similar = ~np.eye(2, dtype=bool)
    exists = matching.objects > 0

    shares = break_down(matching, similar)
    counted = shares.counts.sum(axis=1)
    np.testing.assert_array_equal(counted, np.minimum(matching.objects, np.diff(matching.class_start)))
    np.testing.assert_array_equal(np.isnan(shares.shares).any(axis=1), counted == 0)

    costs = impact(matching, similar)
    assert np.isnan(costs.bars()).all() == (not exists.any())
    for column in costs.scores[1:]:
        np.testing.assert_array_equal(np.isnan(column).any(axis=0), ~exists)

    table = average_precision(truth, found, matching)
    for kind in AP_KINDS:
        np.testing.assert_array_equal(np.isnan(getattr(table, kind)), ~exists)
        assert np.isnan(table.mean()[kind]) == (not exists.any())

    errors = tide(matching)
    if case in ("no detections", "no true positive", "beyond the image"):  # all objects are missed
        assert all((getattr(table, kind)[exists] == 0).all() for kind in AP_KINDS)
        scores = impact(matching, np.zeros((2, 2), dtype=bool)).scores[1:]
        assert all((column[:, exists] == 0).all() for column in scores)
        assert errors.mean_ap == 0
        assert errors.counts["miss"] == matching.objects.sum()
    scored = exists | ((np.bincount(found.labels[~errors.ignored], minlength=2)) > 0)
    np.testing.assert_array_equal(np.isnan(errors.ap), ~scored)
