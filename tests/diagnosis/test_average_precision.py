"""Average precision: by hand, and against pycocotools fed with files."""

import contextlib
import io
import json
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data.formats import read_detections, read_voc_folder
from data.records import Detections, GroundTruth
from diagnosis import average_precision, match, precision_recall_curve
from diagnosis.average_precision import AP_KINDS
from tests.diagnosis.scenes import hoiem_ap

CLASSES = ["cat", "dog"]
BOX, FAR = [0, 0, 10, 10], [50, 50, 60, 60]


def records(objects, found, images=1):
    """Objects as (class, box, difficult?), detections as (class, score, box), all on the first image."""
    names = [f"image{i}" for i in range(images)]
    truth = GroundTruth(
        names, CLASSES, [[100, 100]] * images, [0] * len(objects), [o[0] for o in objects],
        [o[1] for o in objects], [bool(o[2:]) for o in objects],
    )  # fmt: skip
    return truth, Detections(names, CLASSES, [0] * len(found), *([f[i] for f in found] for i in range(3)))


def ranked(labels, objects):
    """The table of a class with so many objects and a ranking of true (1) and false (−1) positives."""
    images = [f"{i}" for i in range(max(objects, len(labels)))]
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


def test_voc07_asks_for_the_multiples_of_a_tenth_in_floating_point():
    # The devkit's loop over 0:0.1:1 reaches 0.30000000000000004, more than the recall of 3 in 10.
    assert ranked([1, 1, 1], 10).voc07[0] == pytest.approx(3 / 11)
    assert ranked([1, 1, 1, 1], 10).voc07[0] == pytest.approx(5 / 11)


def test_hoiem_by_hand():
    # Precision 1 and 2/3 at the two found of four objects.
    score = hoiem_ap(np.array([1, 0, -1, 1]), objects=4, normal=8.0)
    assert score.ap == pytest.approx((1 + 2 / 3) / 4)
    assert score.apn == pytest.approx((1 + 4 / 5) / 4)  # 2 true positives weigh as 4
    assert score.ap_stderr == pytest.approx(np.std([1, 2 / 3, 0, 0], ddof=1) / 2)
    assert score.recall == 0.5


def test_normalised_precision_supposes_a_share_of_the_images():
    truth, found = records([(0, BOX)], [(0, 0.9, FAR), (0, 0.8, BOX)], images=20)  # N = 3
    table = average_precision(truth, found, coco=False)
    assert table.hoiem[0] == pytest.approx(1 / 2)
    assert table.normalized[0] == pytest.approx(3 / 4)


def test_the_mean_is_over_classes_with_objects():
    truth, found = records([(0, BOX)], [(0, 0.9, BOX), (1, 0.9, BOX)])
    table = average_precision(truth, found)
    assert set(table.mean()) == set(AP_KINDS)
    for kind, mean in table.mean().items():
        assert mean == getattr(table, kind)[0] == pytest.approx(1)
        assert np.isnan(getattr(table, kind)[1])


def test_another_threshold():
    truth, found = records([(0, BOX)], [(0, 0.9, [0, 0, 10, 7])])
    table = average_precision(truth, found, iou=0.75)
    assert (table.voc07[0], table.area[0], table.hoiem[0], table.coco50[0]) == (0, 0, 0, pytest.approx(1))


def test_the_precision_recall_curve_leaves_out_hits_of_difficult_objects():
    truth, found = records(
        [(0, BOX), (0, FAR, True), (0, [20, 20, 30, 30])],
        [(0, 0.5, BOX), (0, 0.9, FAR), (0, 0.7, [80, 80, 90, 90]), (0, 0.6, [20, 20, 30, 30])],
    )
    points = precision_recall_curve(match(truth, found), 0)
    assert points.rows.tolist() == [2, 3, 0]
    assert points.recall.tolist() == [0, 0.5, 1]
    assert points.precision.tolist() == pytest.approx([0, 1 / 2, 2 / 3])


# ---- empty cases (rules, section 6) ----------------------------------------------------------


def test_no_object_at_all():
    truth, found = records([], [(0, 0.9, BOX)])
    table = average_precision(truth, found)
    for kind, mean in table.mean().items():
        assert np.isnan(mean)
        assert np.isnan(getattr(table, kind)).all()
    assert np.isnan(precision_recall_curve(match(truth, found), 0).recall).all()


@pytest.mark.parametrize(
    "found", [[], [(0, 0.9, FAR)], [(1, 0.9, BOX)]], ids=["nothing", "missed", "wrong class"]
)
def test_no_true_positive_is_zero_and_not_undefined(found):
    table = average_precision(*records([(0, BOX)], found))
    for kind in AP_KINDS:
        assert getattr(table, kind)[0] == 0
        assert np.isnan(getattr(table, kind)[1])


def test_difficult_objects_alone_are_no_objects():
    table = average_precision(*records([(0, BOX, True)], [(0, 0.9, BOX), (0, 0.8, BOX)]))
    assert all(np.isnan(getattr(table, kind)[0]) for kind in AP_KINDS)


def test_no_image():
    table = average_precision(
        GroundTruth([], CLASSES, [], [], [], []), Detections([], CLASSES, [], [], [], [])
    )
    assert np.isnan(table.coco).all()


def test_difficult_objects_are_neither_rewarded_nor_punished():
    objects = [(0, BOX), (0, FAR, True)]
    with_hits = records(objects, [(0, 0.9, FAR), (0, 0.8, BOX)])
    with_misses = records(objects, [(0, 0.8, BOX)])
    for scene in (with_hits, with_misses):
        table = average_precision(*scene)
        assert [getattr(table, kind)[0] for kind in AP_KINDS] == pytest.approx([1] * len(AP_KINDS))


# ---- COCO's, against pycocotools fed with files ----------------------------------------------


def by_pycocotools(truth, detections, folder):
    """What a user of pycocotools gets from JSON files and its default parameters."""
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    def entry(record, i):
        x1, y1, x2, y2 = map(float, record.boxes[i])
        where = {"image_id": int(record.image_index[i]) + 100, "category_id": int(record.labels[i]) + 7}
        return where | {"bbox": [x1, y1, x2 - x1, y2 - y1], "area": (x2 - x1) * (y2 - y1)}

    annotations = [
        {"id": i + 1, "iscrowd": int(truth.difficult[i]), **entry(truth, i)} for i in range(len(truth))
    ]
    found = [{"score": float(detections.scores[i]), **entry(detections, i)} for i in range(len(detections))]
    content = {
        "images": [{"id": i + 100} for i in range(len(truth.images))],
        "categories": [{"id": i + 7} for i in range(len(truth.classes))],
        "annotations": annotations,
    }
    (folder / "truth.json").write_text(json.dumps(content))
    (folder / "found.json").write_text(json.dumps(found))
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO(folder / "truth.json")
        evaluation = COCOeval(coco, coco.loadRes(str(folder / "found.json")), "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    precision = np.where(evaluation.eval["precision"] < 0, np.nan, evaluation.eval["precision"])[..., 0, -1]
    return evaluation.stats[:2], precision.mean(axis=(0, 1)), precision[0].mean(axis=0)


@st.composite
def scenes(draw):
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    objects, images = int(random.integers(1, 20)), int(random.integers(1, 4))
    corner = random.integers(0, 60, (objects, 2))
    boxes = np.concatenate([corner, corner + random.integers(10, 30, (objects, 2))], axis=1)
    near = random.integers(0, objects, 30)
    names, index, labels = (
        [f"{i}" for i in range(images)],
        random.integers(0, images, objects),
        random.integers(0, 2, objects),
    )
    difficult = random.random(objects) < 0.2
    return GroundTruth(names, CLASSES, [[90, 90]] * images, index, labels, boxes, difficult), Detections(
        names,
        CLASSES,
        index[near],
        labels[near],
        random.random(30),
        boxes[near] + random.normal(0, 2, (30, 4)),
    )


@settings(deadline=None, max_examples=15)
@given(scenes())
def test_coco_of_random_scenes(tmp_path_factory, scene):
    stats, coco, coco50 = by_pycocotools(*scene, tmp_path_factory.mktemp("coco"))
    table = average_precision(*scene)
    assert table.coco.tolist() == pytest.approx(coco.tolist(), abs=1e-12, nan_ok=True)
    assert table.coco50.tolist() == pytest.approx(coco50.tolist(), abs=1e-12, nan_ok=True)
    if stats[0] >= 0:  # −1 is its word for undefined
        assert (table.mean()["coco"], table.mean()["coco50"]) == pytest.approx(tuple(stats), abs=1e-12)


def test_coco_of_a_real_detector(shared_data, tmp_path):
    whole = read_voc_folder(shared_data / "VOCdevkit" / "VOC2007", "test")
    everything = read_detections(
        shared_data / "detections" / "pytorch_yolo2", whole.images, whole.classes, sizes=whole.sizes
    )
    few = 400
    truth, kept = whole.select(range(few)), everything.image_index < few
    detections = Detections(
        truth.images, truth.classes, everything.image_index[kept], everything.labels[kept],
        everything.scores[kept], everything.boxes[kept],
    )  # fmt: skip
    stats, coco, coco50 = by_pycocotools(truth, detections, tmp_path)
    table = average_precision(truth, detections)
    assert table.coco.tolist() == pytest.approx(coco.tolist(), abs=1e-12)
    assert table.coco50.tolist() == pytest.approx(coco50.tolist(), abs=1e-12)
    assert (table.mean()["coco"], table.mean()["coco50"]) == pytest.approx(tuple(stats), abs=1e-12)


def test_coco_rounds_no_box():
    low, high = ([0, 0, 10, 5 + shift] for shift in (-1e-6, 1e-6))  # IoU 0.5 with BOX, but for 1e-7
    for box, expected in ((low, 0), (high, 1)):
        assert average_precision(*records([(0, BOX)], [(0, 0.9, box)])).coco50[0] == pytest.approx(expected)


def test_coco_prints_nothing(capfd):
    average_precision(*records([(0, BOX)], [(0, 0.9, BOX)]))
    assert capfd.readouterr() == ("", "")


def test_pycocotools_is_imported_only_when_needed(root):
    code = "import sys, diagnosis; sys.exit('pycocotools' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=root, check=False).returncode == 0
