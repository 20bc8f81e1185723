"""Average precision: by hand, against loops that follow the rules, and against pycocotools fed with files."""

import statistics
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data.formats import write_coco_detections, write_coco_ground_truth
from data.records import Detections, GroundTruth
from diagnosis import average_precision, match, precision_recall_curve
from diagnosis.average_precision import AP_KINDS
from diagnosis.coco_ap import coco_table
from tests.data.scenes import pycocotools_evaluation
from tests.diagnosis.scenes import BOX, FAR, hoiem_ap, hoiem_scores, one_image, real_records

pytestmark = pytest.mark.filterwarnings("error")
CLASSES = ["cat", "dog"]
SCORES = (
    "ap", "ap50", "ap75", "ap_small", "ap_medium", "ap_large",
    "ar1", "ar10", "ar", "ar_small", "ar_medium", "ar_large",
)  # fmt: skip


def ranked(labels, objects, images=0):
    """The table of a class with so many objects and a ranking of true (1) and false (−1) positives."""
    images = [f"{i}" for i in range(max(objects, len(labels), images))]
    truth = GroundTruth(
        images, CLASSES, [[100, 100]] * len(images), range(objects), [0] * objects, [BOX] * objects
    )
    hits = np.cumsum(np.array(labels) == 1) - 1
    where = [hits[i] if label == 1 else i for i, label in enumerate(labels)]
    boxes = [BOX if label == 1 else FAR for label in labels]
    scores = np.linspace(0.9, 0.1, len(labels))
    return average_precision(truth, Detections(images, CLASSES, where, [0] * len(labels), scores, boxes))


# ---- by hand ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("labels", "objects", "eleven", "area"),
    [
        ([1], 1, 1, 1),
        ([1], 2, 6 / 11, 1 / 2),  # recalls 0 to 0.5
        ([-1, 1], 1, 1 / 2, 1 / 2),
        ([1, -1, 1], 2, (6 + 5 * 2 / 3) / 11, (1 + 2 / 3) / 2),
        ([-1, 1, 1, -1], 4, 6 * (2 / 3) / 11, 2 / 4 * 2 / 3),  # the dip at the first one is filled
        ([-1, -1], 3, 0, 0),
        ([], 3, 0, 0),
    ],
)
def test_voc(labels, objects, eleven, area):
    table = ranked(labels, objects)
    assert table.voc07[0] == pytest.approx(eleven, abs=1e-15)
    assert table.area[0] == pytest.approx(area, abs=1e-15)


def test_normalised_precision_supposes_a_share_of_the_images():
    table = ranked([-1, 1], 1, images=20)  # N = 3
    assert (table.hoiem[0], table.normalized[0]) == pytest.approx((1 / 2, 3 / 4))


@pytest.mark.parametrize(
    ("box", "iou", "expected"),
    [
        ([0, 0, 10, 7], 0.75, [0, 0, 1, 0]),  # COCO has thresholds of its own
        ([0, 0, 10, 5 - 1e-6], 0.5, [0, 0, 0, 0]),  # no box is rounded
        ([0, 0, 10, 5 + 1e-6], 0.5, [1, 1, 1, 1]),
    ],
)
def test_thresholds(box, iou, expected, capfd):
    table = average_precision(*one_image([(0, BOX)], [(0, 0.9, box)]), iou=iou)
    assert [table.voc07[0], table.area[0], table.coco50[0], table.hoiem[0]] == pytest.approx(expected)
    assert capfd.readouterr() == ("", "")  # pycocotools prints


def test_the_precision_recall_curve_leaves_out_hits_of_difficult_objects():
    truth, found = one_image(
        [(0, BOX), (0, FAR, True), (0, [20, 20, 30, 30])],
        [(0, 0.5, BOX), (0, 0.9, FAR), (0, 0.7, [80, 80, 90, 90]), (0, 0.6, [20, 20, 30, 30]), (1, 0.5, BOX)],
    )
    assert np.isnan(precision_recall_curve(match(truth, found), 1).recall).all()  # no objects
    points = precision_recall_curve(match(truth, found), 0)
    assert points.rows.tolist() == [2, 3, 0]
    assert points.recall.tolist() == [0, 0.5, 1]
    assert points.precision.tolist() == pytest.approx([0, 1 / 2, 2 / 3])


# ---- empty cases (rules, section 6) ----------------------------------------------------------


@pytest.mark.parametrize(
    ("objects", "found", "score"),
    [
        ([(0, BOX)], [], 0),
        ([(0, BOX)], [(0, 0.9, FAR)], 0),
        ([(0, BOX)], [(1, 0.9, BOX)], 0),
        ([(0, BOX)], [(0, 0.9, BOX), (1, 0.9, BOX)], 1),
        ([(0, BOX), (0, FAR, True)], [(0, 0.9, FAR), (0, 0.8, BOX)], 1),
        ([(0, BOX), (0, FAR, True)], [(0, 0.8, BOX)], 1),
    ],
    ids=["nothing", "missed", "wrong class", "found", "difficult hit", "difficult missed"],
)
def test_every_kind_of_a_class_and_the_mean_over_classes_with_objects(objects, found, score):
    """No true positive is 0 and not undefined; difficult objects are neither rewarded nor punished."""
    table = average_precision(*one_image(objects, found))
    assert set(table.mean()) == set(AP_KINDS)
    for kind, mean in table.mean().items():
        assert mean == getattr(table, kind)[0] == pytest.approx(score)
        assert np.isnan(getattr(table, kind)[1])


# ---- Hoiem's, of many rankings at once, against one walked by hand ---


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


# ---- COCO's twelve scores, against pycocotools with its default parameters ---


def compared(truth, detections, folder):
    """Our twelve numbers, which are pycocotools', and so is AP by class in each range of sizes."""
    write_coco_ground_truth(truth, folder / "truth.json")
    write_coco_detections(detections, folder / "found.json")
    evaluation = pycocotools_evaluation(folder / "truth.json", folder / "found.json")
    table = coco_table(match(truth, detections))
    assert tuple(table.mean()) == SCORES
    stats = np.where(evaluation.stats < 0, np.nan, evaluation.stats)
    np.testing.assert_allclose(list(table.mean().values()), stats, rtol=0, atol=1e-12)
    precision = np.where(evaluation.eval["precision"] < 0, np.nan, evaluation.eval["precision"])[..., -1]
    by_class = precision.mean(axis=(0, 1)).T
    for size, expected in zip(("", "_small", "_medium", "_large"), by_class, strict=True):
        np.testing.assert_allclose(getattr(table, f"ap{size}"), expected, rtol=0, atol=1e-12)
    whole = average_precision(truth, detections)
    np.testing.assert_array_equal([whole.coco, whole.coco50], [table.ap, table.ap50])
    return table


@st.composite
def scenes(draw):
    """Crowded images of few classes: ties of score, ties of overlap, crowds, sizes around the edges."""
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    objects, images, count = int(random.integers(1, 30)), int(random.integers(1, 4)), 60
    corner = random.integers(0, 60, (objects, 2))
    extent = random.choice([8, 16, 32, 48, 96, 120], (objects, 2))
    boxes = np.concatenate([corner, corner + extent], axis=1)
    near = random.integers(0, objects, count)
    names, index = [f"{i}" for i in range(images)], random.integers(0, images, objects)
    labels = random.integers(0, 2, objects)
    moved = boxes[near] + np.round(random.normal(0, 3, (count, 4)))
    moved[:, 2:] = np.maximum(moved[:, 2:], moved[:, :2])  # some have no area
    attributes = {"area": extent.prod(axis=1) * 0.7} if random.random() < 0.5 else {}
    truth = GroundTruth(
        names, CLASSES, [[200, 200]] * images, index, labels, boxes,
        random.random(objects) < 0.15, random.random(objects) < 0.15, attributes,
    )  # fmt: skip
    scores = random.integers(0, 12, count) / 12
    return truth, Detections(names, CLASSES, index[near], labels[near], scores, moved)


@settings(max_examples=20)
@given(scenes())
def test_random_scenes(tmp_path_factory, scene):
    compared(*scene, tmp_path_factory.mktemp("coco"))


def test_a_real_detector(shared_data, tmp_path):
    whole, everything = real_records(shared_data, "darknet")
    truth = whole.select(range(500))
    near = everything.image_index < 500
    columns = (everything.image_index[near], everything.labels[near], everything.scores[near])
    detections = Detections(truth.images, truth.classes, *columns, everything.boxes[near])
    assert compared(truth, detections, tmp_path).mean()["ap50"] > 0.5


def test_a_hundred_detections_of_a_class_in_an_image_count(tmp_path):
    random = np.random.default_rng(0)
    corner = random.uniform(0, 80, (150, 2))
    boxes = np.concatenate([corner, corner + random.uniform(10, 40, (150, 2))], axis=1)
    truth = GroundTruth(["a"], CLASSES, [[200, 200]], [0] * 150, [0] * 150, boxes)
    boxes = np.concatenate([boxes, boxes + 1])
    found = Detections(["a"], CLASSES, [0] * 300, [0] * 300, random.random(300), boxes)
    table = compared(truth, found, tmp_path)
    assert table.ar[0] <= 100 / 150


@pytest.mark.parametrize(
    ("objects", "found", "expected"),
    [(0, 2, np.nan), (2, 0, 0.0), (0, 0, np.nan)],
    ids=["no object", "no detection", "nothing"],
)
def test_empty(objects, found, expected):
    truth = GroundTruth(["a"], CLASSES, [[99, 99]], [0] * objects, [0] * objects, [BOX] * objects)
    detections = Detections(["a"], CLASSES, [0] * found, [0] * found, [0.5] * found, [BOX] * found)
    table = coco_table(match(truth, detections))
    for name in ("ap", "ap50", "ap75", "ap_small", "ar1", "ar", "ar_small"):
        np.testing.assert_array_equal(getattr(table, name), [expected, np.nan])
    assert np.isnan(table.ap_large).all()
    np.testing.assert_array_equal(table.mean()["ap"], expected)
    none = GroundTruth([], CLASSES, [], [], [], [])
    assert np.isnan(coco_table(match(none, Detections([], CLASSES, [], [], [], []))).ar).all()


def test_nothing_slow_is_imported_with_the_package_or_by_a_table(root, tmp_path):
    slow = {"data.formats.voc", "matplotlib", "msgspec", "pycocotools", "torch", "yaml"}
    code = f"""if True:
        import sys, diagnosis, data.formats
        print(*{slow} & set(sys.modules))
        from data.records import Detections, GroundTruth
        from diagnosis.detections_table import write_detections_table
        names = ["a"], ["dog"], [[9, 9]], [0], [0], [[0, 0, 9, 9]]
        found = Detections(["a"], ["dog"], [0], [0], [0.9], [[0, 0, 9, 9]])
        write_detections_table([diagnosis.diagnose(GroundTruth(*names), found)], sys.argv[1])
        print(*{{"matplotlib", "pandas"}} & set(sys.modules))"""
    command = [sys.executable, "-c", code, str(tmp_path / "table.parquet")]
    assert subprocess.check_output(command, cwd=root, text=True) == "\n\n"
