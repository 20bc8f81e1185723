"""Sorting, one pass over all overlaps, and who gets which object."""

import threading

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from data.records import Detections, GroundTruth, InputError
from diagnosis import assign, assign_devkit, match, matching
from diagnosis.matching import cached, match_groups
from diagnosis.sorting import argsort_ascending, argsort_descending, sort_within
from tests.diagnosis.scenes import BOX, FAR, crowded, matched, one_image

CLASSES = ["cat", "dog"]
HALF, BELOW_HALF = [0, 0, 10, 5], [0, 0, 10, 4.999]  # IoU with BOX exactly 0.5, and just below


@pytest.mark.parametrize(
    ("objects", "found"),
    [
        ([], []),
        ([(0, BOX)], []),
        ([], [(0, 0.5, BOX)]),
        ([(0, BOX)], [(0, 0.5, [10, 0, 20, 10])]),
    ],
    ids=["nothing", "no detections", "no objects", "touching boxes"],
)
def test_nothing_overlaps(objects, found):
    overlaps = matched(objects, found)
    assert len(overlaps.pair_iou) == len(overlaps.group_label) == 0
    assert overlaps.group_start.tolist() == [0]
    for result in (assign(overlaps, 0.5), assign_devkit(overlaps)):
        assert result.outcomes.tolist() == [-1] * len(found)
        assert result.object_rows.tolist() == [-1] * len(found)
        assert result.overlaps.tolist() == [0.0] * len(found)
        assert not result.duplicates.any()


def test_no_images_and_another_image():
    none = GroundTruth([], CLASSES, [], [], [], []), Detections([], CLASSES, [], [], [], [])
    names = ["a", "b"], CLASSES
    apart = GroundTruth(*names, [[99, 99]] * 2, [1], [0], [BOX]), Detections(*names, [0], [0], [0.5], [BOX])
    for records in (none, apart):
        overlaps = match(*records)
        assert len(overlaps.pair_iou) == len(overlaps.group_label) == 0
        assert assign(overlaps, 0.5).outcomes.tolist() == [-1] * len(records[1])


def test_pairs_of_all_classes_largest_overlap_first():
    objects = [(1, BOX), (0, [5, 0, 15, 10]), (1, HALF), (1, FAR)]
    overlaps = matched(objects, [(1, 0.5, [0, 0, 10, 6]), (0, 0.5, [90, 90, 99, 99])])
    assert overlaps.group_detection.tolist() == [0, 0]
    assert overlaps.group_label.tolist() == [0, 1]
    assert overlaps.pair_object.tolist() == [1, 2, 0]
    assert overlaps.pair_detection.tolist() == [0, 0, 0]
    assert overlaps.pair_iou.tolist() == pytest.approx([30 / 130, 50 / 60, 60 / 100])


def test_detections_are_clipped_to_the_image():
    records = one_image([(0, BOX)], [(0, 0.5, [-10, -5, 10, 10])])
    assert match(*records).pair_iou.tolist() == [1.0]
    assert match(*records).pair_iou_unclipped.tolist() == pytest.approx([100 / 300])
    assert match(*records, clip=False).pair_iou.tolist() == pytest.approx([100 / 300])
    # An object that reaches beyond the image too, and a detection that lies wholly outside.
    outside = matched([(0, [90, 0, 130, 10])], [(0, 0.9, [105, 0, 125, 10])])
    assert (outside.pair_iou.tolist(), outside.pair_iou_unclipped.tolist()) == ([0.0], [0.5])


def test_equal_scores_keep_the_order_of_the_file():
    scores = [(0, 0.5), (1, 0.9), (0, 0.5), (0, 0.7), (0, 0.5)]
    overlaps = matched([(0, BOX)], [(label, score, BOX) for label, score in scores])
    assert overlaps.order.tolist() == [3, 0, 2, 4, 1]
    assert overlaps.rank.tolist() == [1, 0, 2, 0, 3]
    assert overlaps.class_start.tolist() == [0, 4, 5]
    assert assign(overlaps, 0.5).outcomes.tolist() == [-1, -1, -1, 1, -1]


CHAIN = [[max(i - 1, 0) + 0.1, 0, max(i - 1, 0) + 10.1, 10] for i in range(7)]


DUPLICATE, DIFFICULT = "duplicate", (BOX, True)


@pytest.mark.parametrize(
    ("objects", "boxes", "iou", "hoiem", "devkit"),
    [
        ([BOX, [0, 0, 10, 8]], [BOX, BOX], 0.5, [0, 1], [0, DUPLICATE]),
        ([[0, 0, 10, 8], BOX], [BOX, BOX], 0.5, [1, 0], [1, DUPLICATE]),
        ([DIFFICULT], [BOX, BOX], 0.5, [0, DUPLICATE], [0, 0]),
        ([DIFFICULT, BOX], [BOX, BOX], 0.5, [0, 1], [0, 0]),
        ([BOX, DIFFICULT], [BOX, BOX], 0.5, [0, 1], [0, DUPLICATE]),
        # Each detection prefers the object that a better one takes: the last is left with none.
        ([[i, 0, i + 10, 10] for i in range(6)], CHAIN, 0.75, [*range(6), DUPLICATE], None),
        ([BOX], [[-10, -5, 10, 10]], 0.5, [0], [None]),
        ([[90, 0, 130, 10]], [[105, 0, 125, 10]], 0.1, [None], [0]),
        # Clipped it covers the first best (0.6, 0.5); as given, the second (0.3, 0.308).
        ([[0, 0, 10, 6], [0, 2, 10, 16]], [[-10, 0, 10, 10]], 0.305, [0], [1]),
        # Clipped the second overlaps more (0.5, 0.6); as given both alike: the first annotated.
        ([[0, 0, 20, 10], [2.5, 0, 12.5, 10]], [[-10, 0, 10, 10]], 0.3, [1], [0]),
        ([BOX], [HALF], 0.5, [0], [0]),
        ([BOX], [BELOW_HALF], 0.5, [None], [None]),
        ([BOX], [BOX, HALF], 0.5, [0, DUPLICATE], [0, DUPLICATE]),
        ([BOX], [BOX, BELOW_HALF], 0.5, [0, None], [0, None]),
    ],
    ids=[
        "second hit", "largest overlap", "difficult", "first of equal, difficult", "first of equal", "chain",
        "clipped", "outside", "largest as given", "equal as given", "at the threshold", "below it",
        "duplicate at the threshold", "none below it",
    ],
)  # fmt: skip
def test_which_object_a_detection_takes(objects, boxes, iou, hoiem, devkit):
    """Of cats, the surest detection first: the row of an object, none, or none as it is a duplicate."""
    objects = [one if isinstance(one, tuple) else (one,) for one in objects]
    overlaps = matched(
        [(0, *one) for one in objects], [(0, 0.9 - n / 10, box) for n, box in enumerate(boxes)]
    )
    for rule, expected in ((assign, hoiem), (assign_devkit, devkit)):
        if expected:
            result = rule(overlaps, iou)
            rows = [-1 if row in (None, DUPLICATE) else row for row in expected]
            assert result.object_rows.tolist() == rows
            assert result.outcomes.tolist() == [-1 if row < 0 else 2 - len(objects[row]) for row in rows]
            assert result.duplicates.tolist() == [row == DUPLICATE for row in expected]


def test_crowds_count_as_difficult():
    truth = GroundTruth(["a"], CLASSES, [[9, 9]], [0], [0], [[0, 0, 9, 9]], crowd=[True])
    overlaps = match(truth, Detections(["a"], CLASSES, [0], [0], [0.9], [[0, 0, 9, 9]]))
    assert assign(overlaps, 0.5).outcomes.tolist() == [0]


@pytest.mark.parametrize("field", ["images", "classes"])
def test_records_of_different_sets_are_refused(field):
    names = {"images": ["a"], "classes": CLASSES} | {field: ["b", "c"]}
    found = Detections(**names, image_index=[], labels=[], scores=[], boxes=[])
    with pytest.raises(InputError, match=f"detections.{field}"):
        match(one_image([], [])[0], found)


scenes = st.builds(
    crowded,
    seed=st.integers(0, 2**32 - 1),
    objects=st.integers(0, 40),
    detections=st.integers(0, 60),
    images=st.integers(1, 3),
    crowds=st.booleans(),
)
COLUMNS = (
    "pair_object", "pair_iou", "group_start", "group_detection", "group_label", "order", "crowd_detection",
    "crowd_object",
)  # fmt: skip


@settings(deadline=None, max_examples=40)
@given(scenes, st.integers(1, 30))
def test_looking_at_few_candidates_at_once_changes_nothing(whole, at_once):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(matching, "CANDIDATES_AT_ONCE", at_once)
        parts = match(whole.truth, whole.detections)
    for column in COLUMNS:
        np.testing.assert_array_equal(getattr(parts, column), getattr(whole, column))


@settings(deadline=None, max_examples=40)
@given(scenes)
def test_a_table_of_the_slots_in_use_changes_nothing(overlaps):
    groups = np.arange(len(overlaps.group_label))
    dense = match_groups(overlaps, 0.2, groups)
    with pytest.MonkeyPatch.context() as patch:
        # Far below any real count, so that the table of all objects and classes always is too large.
        patch.setattr("diagnosis.matching.DENSE_ENTRIES", -(10**9))
        np.testing.assert_array_equal(match_groups(overlaps, 0.2, groups), dense)


def test_objects_beside_each_other_in_the_file_are_not_mixed_up_where_memory_is_saved(monkeypatch):
    monkeypatch.setattr("diagnosis.matching.DENSE_ENTRIES", -(10**9))
    boxes = [[0, 0, 10, 10], [20, 0, 30, 10]]
    truth = GroundTruth(["a"], ["cat", "dog"], [[50, 50]], [0, 0], [1, 0], boxes)
    rows = [0] * 3, [1, 0, 1], [0.9, 0.8, 1.0], [*boxes, [40, 40, 50, 50]]  # of other ranks in their classes
    found = Detections(["a"], ["cat", "dog"], *rows)
    assert assign(match(truth, found), 0.5).object_rows.tolist() == [0, 1, -1]


@settings(deadline=None, max_examples=40)
@given(scenes)
def test_the_order_of_the_images_does_not_matter(overlaps):
    truth, found = overlaps.truth, overlaps.detections
    backwards = {"images": truth.images[::-1], "classes": truth.classes}
    last = len(truth.images) - 1
    turned = match(
        GroundTruth(**backwards, sizes=truth.sizes[::-1], image_index=last - truth.image_index,
                    labels=truth.labels, boxes=truth.boxes, crowd=truth.crowd),
        Detections(**backwards, image_index=last - found.image_index, labels=found.labels,
                   scores=found.scores, boxes=found.boxes),
    )  # fmt: skip
    for column in COLUMNS:
        np.testing.assert_array_equal(getattr(turned, column), getattr(overlaps, column))


# ---- sorting, against Python's own, which is stable too ---

ALIKE = 0.1 + np.arange(4) * 1e-12  # one number in single precision
scores = st.one_of(
    st.floats(allow_nan=False, allow_infinity=False),
    st.sampled_from([0.0, -0.0, 1e300, 2e300, -1e300, -2e300, 1e-60, -1e-60, 5e-324, *ALIKE.tolist()]),
)


def rising(keys, order=None):
    return sorted(range(len(keys)) if order is None else order, key=lambda row: keys[row])


@settings(max_examples=200, deadline=None)
@given(st.lists(scores, max_size=30))
@example([])
@example([2e300, 1e300, 3e300])
@example([0.0, -0.0, 0.0])
@pytest.mark.filterwarnings("error::RuntimeWarning")
def test_falling_scores_of_any_size(values):
    assert argsort_descending(np.array(values, dtype=float)).tolist() == rising([-value for value in values])


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(0, 1 << 40), max_size=30), st.randoms())
def test_rising_keys_keep_the_order_that_was(keys, random):
    order = random.sample(range(len(keys)), len(keys))
    column = np.array(keys, dtype=np.int64)
    assert argsort_ascending(column, np.array(order, dtype=np.int64)).tolist() == rising(keys, order)
    assert argsort_ascending(column).tolist() == rising(keys)


def test_the_threshold_by_its_earlier_name():
    overlaps = matched([(0, BOX)], [(0, 0.9, BOX)])
    for rule in (assign, assign_devkit):
        assert rule(overlaps, threshold=0.5) is rule(overlaps, iou=0.5) is rule(matching=overlaps, iou=0.5)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.lists(st.integers(0, 3), max_size=6), max_size=8))
@example([])
def test_each_run_is_sorted_by_itself(runs):
    start = np.cumsum([0, *map(len, runs)])
    values = np.array([value for run in runs for value in run], dtype=float)
    expected = [
        first + row for first, run in zip(start, runs, strict=False) for row in rising([-v for v in run])
    ]
    assert sort_within(start, values).tolist() == expected


def test_what_two_threads_ask_for_is_computed_once():
    overlaps, answers, began, other_began = matched([], []), [], threading.Event(), threading.Event()

    @cached
    def compute(matching):
        (other_began if began.is_set() else began).set()
        other_began.wait(0.5)  # long enough for the other to begin, if it could
        return object()

    threads = [threading.Thread(target=lambda: answers.append(compute(overlaps))) for _ in range(2)]
    for thread in threads:
        thread.start()
        assert began.wait(10)
    for thread in threads:
        thread.join()
    assert answers[0] is answers[1]
    assert not other_began.is_set()
