"""What became of each object, against a walk over objects and detections one by one."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data.records import Detections, GroundTruth, InputError
from diagnosis import assign, diagnose, pie_error_types
from diagnosis.flow import FATES, fates, flow
from tests.diagnosis.scenes import BOX, crowded, one_image, some

pytestmark = pytest.mark.filterwarnings("error")
CLASSES = ["bus", "cat", "dog"]
NAMES = [fate.name for fate in FATES]


def records(objects, found):
    return one_image(objects, found, CLASSES, size=200)


def fate_of_first(objects, found, **options):
    diagnosis = diagnose(*records(objects, found), similar=[["cat", "dog"]], top="all", coco=False)
    return NAMES[fates(diagnosis, **options)[0]]


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        ([(2, 0.5, BOX)], "correct"),
        ([(2, 0.5, [6, 0, 16, 10])], "localization"),
        ([(1, 0.5, BOX)], "similar"),
        ([(0, 0.5, BOX)], "other"),
        ([(2, 0.5, [50, 0, 60, 10])], "missed"),
        ([], "missed"),
        ([(2, 0.5, [6, 0, 16, 10]), (2, 0.1, BOX)], "correct"),  # the best that is said of it
        ([(1, 0.5, BOX), (2, 0.1, [6, 0, 16, 10])], "localization"),
        ([(0, 0.5, BOX), (1, 0.4, BOX)], "similar"),
    ],
)
def test_each_fate(found, expected):
    assert fate_of_first([(2, BOX)], found) == expected


def test_a_detection_speaks_for_one_object():
    # A duplicate of the left object that reaches a little into the right one says nothing of that.
    objects = [(2, [8, 0, 18, 10]), (2, BOX)]
    assert fate_of_first(objects, [(2, 0.9, BOX), (2, 0.8, [0, 0, 11, 10])]) == "missed"


def test_only_the_top_speaks_unless_all_are_asked():
    truth, found = records([(2, BOX)], [(2, 0.9, [50, 0, 60, 10]), (2, 0.1, BOX)])
    diagnosis = diagnose(truth, found, coco=False)  # one object: the top is the first
    assert NAMES[fates(diagnosis)[0]] == "missed"
    assert NAMES[fates(diagnosis, "all")[0]] == "correct"
    with pytest.raises(InputError, match="'top' or 'all'"):
        fates(diagnosis, "some")


def scene(seed):
    random = np.random.default_rng(seed)
    overlaps = crowded(seed, int(random.integers(0, 25)), int(random.integers(0, 60)) if seed % 5 else 0, 3)
    return overlaps.truth, overlaps.detections


def one_by_one(diagnosis, counted):
    """The fate of each object by two loops over plain overlaps."""
    truth, found, matching = diagnosis.truth, diagnosis.detections, diagnosis.matching
    kinds = pie_error_types(matching, diagnosis.similar)
    taken = assign(matching, 0.5).object_rows

    def overlap(d, o):
        if found.image_index[d] != truth.image_index[o]:
            return 0.0
        size = truth.sizes[found.image_index[d]]
        box = np.concatenate([np.clip(found.boxes[d, :2], 0, None), np.minimum(found.boxes[d, 2:], size)])
        sides = np.minimum(box[2:], truth.boxes[o, 2:]) - np.maximum(box[:2], truth.boxes[o, :2])
        common = max(sides[0], 0) * max(sides[1], 0)
        areas = [np.prod(b[2:] - b[:2]) for b in (box, truth.boxes[o])]
        return common / (sum(areas) - common)

    result = []
    for o in range(len(truth)):
        said = ["missed"]
        for d in range(len(found)):
            if counted == "top" and diagnosis.breakdown.counted_types[d] < 0:
                continue
            kind = ("correct", "localization", "similar", "other", "background")[kinds.types[d]]
            about = found.labels[d] if kind == "localization" else kinds.confused_with[d]
            rivals = [overlap(d, p) if truth.labels[p] == about else -1 for p in range(len(truth))]
            if taken[d] == o or (kind != "correct" and about == truth.labels[o] and np.argmax(rivals) == o):
                said.append(kind)
        result.append(-1 if truth.difficult[o] else min(map(NAMES.index, said)))
    return result


@settings(max_examples=30)
@given(seed=st.integers(0, 2**32 - 1), counted=st.sampled_from(["top", "all"]))
def test_against_a_walk(seed, counted):
    diagnosis = diagnose(*scene(seed), similar=[["cat", "dog"]], coco=False)
    assert fates(diagnosis, counted).tolist() == one_by_one(diagnosis, counted)


def test_counts():
    truth, found = scene(4)
    less = some(found, slice(None, None, 2))
    both = [diagnose(truth, found_, name, coco=False) for found_, name in ((found, "all"), (less, "half"))]
    result = flow(*both, counted="all")
    assert result.counts.sum() == (~truth.difficult).sum()
    np.testing.assert_array_equal(
        result.total().sum(axis=1)[:4], [(result.before == k).sum() for k in range(4)]
    )
    np.testing.assert_array_equal(flow(both[1], both[0], counted="all").total(), result.total().T)
    lost = result.moved("correct", "missed")
    assert len(lost) == result.total()[0, 4] > 0
    assert (result.before[lost] == 0).all()
    assert sum(result.counts[label, 0, 4] for label in range(len(truth.classes))) == len(lost)
    with pytest.raises(InputError, match="one of correct"):
        result.moved("correct", "lost")


def test_nothing_at_all():
    truth = GroundTruth([], CLASSES, [], [], [], [])
    none = diagnose(truth, Detections([], CLASSES, [], [], [], []), coco=False)
    assert flow(none, none).counts.sum() == 0
    with pytest.raises(InputError, match="same ground truth"):
        flow(none, diagnose(*scene(4), coco=False))
