"""COCO's twelve scores against pycocotools, fed with files and its default parameters."""

import contextlib
import io
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data.formats import read_detections, read_voc_folder
from data.records import Detections, GroundTruth
from diagnosis import average_precision, match
from diagnosis.average_precision import coco_labels, coco_order, coco_table

pytestmark = pytest.mark.filterwarnings("error")
SCORES = (
    "ap", "ap50", "ap75", "ap_small", "ap_medium", "ap_large",
    "ar1", "ar10", "ar", "ar_small", "ar_medium", "ar_large",
)  # fmt: skip
CLASSES = ["cat", "dog"]
BOX, FAR = [0, 0, 10, 10], [50, 50, 60, 60]


def by_pycocotools(truth, detections, folder):
    """Its twelve numbers, and AP by class in each range of sizes, ``(4, C)``."""
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    def entry(record, i):
        x1, y1, x2, y2 = map(float, record.boxes[i])
        where = {"image_id": int(record.image_index[i]) + 100, "category_id": int(record.labels[i]) + 7}
        return where | {"bbox": [x1, y1, x2 - x1, y2 - y1], "area": (x2 - x1) * (y2 - y1)}

    areas = truth.attributes.get("area")
    annotations = [
        entry(truth, i)
        | {"id": i + 1, "iscrowd": int(truth.crowd[i] or truth.difficult[i])}
        | ({} if areas is None else {"area": float(areas[i])})
        for i in range(len(truth))
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
    precision = np.where(evaluation.eval["precision"] < 0, np.nan, evaluation.eval["precision"])[..., -1]
    return np.where(evaluation.stats < 0, np.nan, evaluation.stats), precision.mean(axis=(0, 1)).T


def compared(truth, detections, folder):
    stats, by_class = by_pycocotools(truth, detections, folder)
    table = coco_table(match(truth, detections))
    assert tuple(table.mean()) == SCORES
    np.testing.assert_allclose(list(table.mean().values()), stats, rtol=0, atol=1e-12)
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
    whole = read_voc_folder(shared_data / "VOCdevkit" / "VOC2007", "test")
    everything = read_detections(
        shared_data / "detections" / "darknet", whole.images, whole.classes, sizes=whole.sizes
    )
    few = 500
    truth, kept = whole.select(range(few)), everything.image_index < few
    detections = Detections(
        truth.images, truth.classes, everything.image_index[kept], everything.labels[kept],
        everything.scores[kept], everything.boxes[kept],
    )  # fmt: skip
    assert compared(truth, detections, tmp_path).mean()["ap50"] > 0.5


def test_a_hundred_detections_of_a_class_in_an_image_count(tmp_path):
    random = np.random.default_rng(0)
    corner = random.uniform(0, 80, (150, 2))
    boxes = np.concatenate([corner, corner + random.uniform(10, 40, (150, 2))], axis=1)
    truth = GroundTruth(["a"], CLASSES, [[200, 200]], [0] * 150, [0] * 150, boxes)
    scores = random.random(300)
    found = Detections(["a"], CLASSES, [0] * 300, [0] * 300, scores, np.concatenate([boxes, boxes + 1]))
    table = compared(truth, found, tmp_path)
    assert table.ar[0] <= 100 / 150
    labels = coco_labels(match(truth, found))
    assert (labels[np.argsort(-scores)[100:]] == 0).all()


def test_equal_scores_stand_image_by_image():
    truth = GroundTruth(["a", "b"], CLASSES, [[99, 99]] * 2, [0], [0], [BOX])
    found = Detections(["a", "b"], CLASSES, [1, 0, 1], [0, 0, 0], [0.5, 0.5, 0.7], [FAR, BOX, FAR])
    assert coco_order(match(truth, found)).tolist() == [2, 1, 0]


def test_a_crowd_is_hit_any_number_of_times_and_is_not_to_be_found():
    truth = GroundTruth(
        ["a"], CLASSES, [[99, 99]], [0, 0], [0, 0], [[0, 0, 90, 90], FAR], None, [True, False]
    )
    found = Detections(["a"], CLASSES, [0] * 3, [0] * 3, [0.9, 0.8, 0.7], [BOX, [20, 20, 30, 30], FAR])
    assert coco_labels(match(truth, found)).tolist() == [0, 0, 1]  # FAR lies in the crowd, and is an object


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
