"""Sorting, one pass over all overlaps, and who gets which object."""

import threading

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from data.records import Detections, GroundTruth, InputError
from diagnosis import assign, assign_devkit, match, matching
from diagnosis.matching import argsort_ascending, argsort_descending, match_groups, sort_within
from tests.diagnosis.scenes import BOX, one_image

CLASSES = ["cat", "dog"]


def truth_of(*objects, images=("a",), size=(100, 100)):
    """Objects as (image, class, box) or (image, class, box, difficult)."""
    columns = ([o[i] for o in objects] for i in range(3))
    difficult = [bool(o[3:] and o[3]) for o in objects]
    return GroundTruth(images, CLASSES, [size] * len(images), *columns, difficult)


def found_of(*found, images=("a",)):
    """Detections as (image, class, score, box)."""
    return Detections(images, CLASSES, *([f[i] for f in found] for i in range(4)))


@pytest.mark.parametrize(
    ("truth", "found"),
    [
        (truth_of(), found_of()),
        (truth_of((0, 0, [0, 0, 9, 9])), found_of()),
        (truth_of(), found_of((0, 0, 0.5, [0, 0, 9, 9]))),
        (truth_of(images=()), found_of(images=())),
        (truth_of((1, 0, [0, 0, 9, 9]), images="ab"), found_of((0, 0, 0.5, [0, 0, 9, 9]), images="ab")),
    ],
    ids=["nothing", "no detections", "no objects", "no images", "another image"],
)
def test_nothing_overlaps(truth, found):
    overlaps = match(truth, found)
    assert len(overlaps.pair_iou) == len(overlaps.group_label) == 0
    assert overlaps.group_start.tolist() == [0]
    for result in (assign(overlaps, 0.5), assign_devkit(overlaps)):
        assert result.outcomes.tolist() == [-1] * len(found)
        assert result.object_rows.tolist() == [-1] * len(found)
        assert result.overlaps.tolist() == [0.0] * len(found)
        assert not result.duplicates.any()


def test_pairs_of_all_classes_largest_overlap_first():
    truth = truth_of(
        (0, 1, [0, 0, 10, 10]), (0, 0, [5, 0, 15, 10]), (0, 1, [0, 0, 10, 5]), (0, 1, [50, 50, 60, 60])
    )
    overlaps = match(truth, found_of((0, 1, 0.5, [0, 0, 10, 6]), (0, 0, 0.5, [90, 90, 99, 99])))
    assert overlaps.group_detection.tolist() == [0, 0]
    assert overlaps.group_label.tolist() == [0, 1]
    assert overlaps.pair_object.tolist() == [1, 2, 0]
    assert overlaps.pair_detection.tolist() == [0, 0, 0]
    assert overlaps.pair_iou.tolist() == pytest.approx([30 / 130, 50 / 60, 60 / 100])


def test_touching_boxes_do_not_overlap():
    overlaps = match(truth_of((0, 0, [0, 0, 10, 10])), found_of((0, 0, 0.5, [10, 0, 20, 10])))
    assert len(overlaps.pair_iou) == 0


def test_detections_are_clipped_to_the_image_for_hoiem_alone():
    truth, found = truth_of((0, 0, [0, 0, 10, 10])), found_of((0, 0, 0.5, [-10, -5, 10, 10]))
    overlaps = match(truth, found)
    assert overlaps.pair_iou.tolist() == [1.0]
    assert overlaps.pair_iou_unclipped.tolist() == pytest.approx([100 / 300])
    assert assign(overlaps, 0.5).outcomes.tolist() == [1]
    assert assign_devkit(overlaps).outcomes.tolist() == [-1]
    assert match(truth, found, clip=False).pair_iou.tolist() == pytest.approx([100 / 300])


def test_equal_scores_keep_the_order_of_the_file():
    box = [0, 0, 10, 10]
    overlaps = match(
        truth_of((0, 0, box)),
        found_of((0, 0, 0.5, box), (0, 1, 0.9, box), (0, 0, 0.5, box), (0, 0, 0.7, box), (0, 0, 0.5, box)),
    )
    assert overlaps.order.tolist() == [3, 0, 2, 4, 1]
    assert overlaps.rank.tolist() == [1, 0, 2, 0, 3]
    assert overlaps.class_start.tolist() == [0, 4, 5]
    assert assign(overlaps, 0.5).outcomes.tolist() == [-1, -1, -1, 1, -1]


def test_a_second_hit_takes_the_next_object_for_hoiem_and_is_false_for_the_devkit():
    truth = truth_of((0, 0, [0, 0, 10, 10]), (0, 0, [0, 0, 10, 8]))
    overlaps = match(truth, found_of((0, 0, 0.9, [0, 0, 10, 10]), (0, 0, 0.8, [0, 0, 10, 10])))
    hoiem, devkit = assign(overlaps, 0.5), assign_devkit(overlaps)
    assert hoiem.outcomes.tolist() == [1, 1]
    assert hoiem.object_rows.tolist() == [0, 1]
    assert hoiem.overlaps.tolist() == pytest.approx([1.0, 0.8])
    assert devkit.outcomes.tolist() == [1, -1]
    assert devkit.duplicates.tolist() == [False, True]


def test_a_chain_of_second_choices():
    # Each detection prefers the object that a better one takes: the last is left with none.
    truth = truth_of(*((0, 0, [i, 0, i + 10, 10]) for i in range(6)))
    found = found_of(
        *((0, 0, 0.9 - 0.1 * i, [max(i - 1, 0) + 0.1, 0, max(i - 1, 0) + 10.1, 10]) for i in range(7))
    )
    result = assign(match(truth, found), 0.75)
    assert result.object_rows.tolist() == [0, 1, 2, 3, 4, 5, -1]
    assert result.duplicates.tolist() == [False] * 6 + [True]


def test_difficult_objects_are_taken_once_by_hoiem_and_any_number_of_times_by_the_devkit():
    box = [0, 0, 10, 10]
    overlaps = match(truth_of((0, 0, box, True)), found_of((0, 0, 0.9, box), (0, 0, 0.8, box)))
    assert assign(overlaps, 0.5).outcomes.tolist() == [0, -1]
    assert assign_devkit(overlaps).outcomes.tolist() == [0, 0]
    assert overlaps.objects.tolist() == [0, 0]


def test_the_devkit_takes_the_first_of_equal_objects():
    box = [0, 0, 10, 10]
    found = found_of((0, 0, 0.9, box), (0, 0, 0.8, box))
    assert assign_devkit(match(truth_of((0, 0, box, True), (0, 0, box)), found)).outcomes.tolist() == [0, 0]
    assert assign_devkit(match(truth_of((0, 0, box), (0, 0, box, True)), found)).outcomes.tolist() == [1, -1]


def test_the_devkit_chooses_by_the_overlap_of_the_box_as_given():
    # Clipped, the detection covers the first object best (0.6, 0.5); as given, the second (0.3, 0.308).
    truth = truth_of((0, 0, [0, 0, 10, 6]), (0, 0, [0, 2, 10, 16]))
    overlaps = match(truth, found_of((0, 0, 0.9, [-10, 0, 10, 10])))
    assert assign(overlaps, 0.305).object_rows.tolist() == [0]
    assert assign_devkit(overlaps, 0.305).object_rows.tolist() == [1]


def test_a_box_wholly_outside_the_image_overlaps_nothing():
    truth = truth_of((0, 0, [90, 0, 130, 10]))  # an object that reaches beyond the image
    overlaps = match(truth, found_of((0, 0, 0.9, [105, 0, 125, 10])))
    assert overlaps.pair_iou.tolist() == [0.0]
    assert assign(overlaps, 0.1).outcomes.tolist() == [-1]


def test_crowds_count_as_difficult():
    truth = GroundTruth(["a"], CLASSES, [[9, 9]], [0], [0], [[0, 0, 9, 9]], crowd=[True])
    overlaps = match(truth, found_of((0, 0, 0.9, [0, 0, 9, 9])))
    assert assign(overlaps, 0.5).outcomes.tolist() == [0]


@pytest.mark.parametrize("field", ["images", "classes"])
def test_records_of_different_sets_are_refused(field):
    names = {"images": ["a"], "classes": CLASSES} | {field: ["b", "c"]}
    found = Detections(**names, image_index=[], labels=[], scores=[], boxes=[])
    with pytest.raises(InputError, match=f"detections.{field}"):
        match(truth_of(), found)


@st.composite
def crowded(draw):
    """Random boxes; a seed, since only sizes and coincidences matter."""
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    objects, found, images = draw(st.integers(0, 40)), draw(st.integers(0, 60)), draw(st.integers(1, 3))

    def boxes(count):
        corner = random.integers(0, 60, (count, 2))
        return np.concatenate([corner, corner + random.integers(1, 40, (count, 2))], axis=1)

    names = [str(i) for i in range(images)]
    return GroundTruth(
        names, CLASSES, [[90, 90]] * images, random.integers(0, images, objects),
        random.integers(0, 2, objects), boxes(objects),
    ), Detections(
        names, CLASSES, random.integers(0, images, found), random.integers(0, 2, found),
        random.integers(0, 3, found) / 2, boxes(found),
    )  # fmt: skip


@settings(deadline=None, max_examples=40)
@given(crowded(), st.integers(1, 30))
def test_looking_at_few_candidates_at_once_changes_nothing(scene, at_once):
    whole = match(*scene)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(matching, "CANDIDATES_AT_ONCE", at_once)
        parts = match(*scene)
    for column in ("pair_object", "pair_iou", "group_start", "group_detection", "group_label", "order"):
        np.testing.assert_array_equal(getattr(parts, column), getattr(whole, column))


@settings(deadline=None, max_examples=40)
@given(crowded())
def test_a_table_of_the_slots_in_use_changes_nothing(scene):
    overlaps = match(*scene)
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
@given(crowded())
def test_the_order_of_the_images_does_not_matter(scene):
    truth, found = scene
    backwards = {"images": truth.images[::-1], "classes": CLASSES}
    last = len(truth.images) - 1
    turned = match(
        GroundTruth(**backwards, sizes=truth.sizes[::-1], image_index=last - truth.image_index,
                    labels=truth.labels, boxes=truth.boxes),
        Detections(**backwards, image_index=last - found.image_index, labels=found.labels,
                   scores=found.scores, boxes=found.boxes),
    )  # fmt: skip
    for column in ("pair_object", "pair_iou", "group_start", "group_detection", "group_label", "order"):
        np.testing.assert_array_equal(getattr(turned, column), getattr(match(truth, found), column))


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
    overlaps = match(*one_image([(0, BOX)], [(0, 0.9, BOX)]))
    for rule in (assign, assign_devkit):
        assert rule(overlaps, threshold=0.5) is rule(overlaps, iou=0.5)


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
    overlaps, answers, began, other_began = (
        match(truth_of(), found_of()),
        [],
        threading.Event(),
        threading.Event(),
    )

    def compute():
        (other_began if began.is_set() else began).set()
        other_began.wait(0.5)  # long enough for the other to begin, if it could
        return object()

    def ask():
        answers.append(overlaps.cached("key", compute))

    threads = [threading.Thread(target=ask) for _ in range(2)]
    for thread in threads:
        thread.start()
        assert began.wait(10)
    for thread in threads:
        thread.join()
    assert answers[0] is answers[1]
    assert not other_began.is_set()
