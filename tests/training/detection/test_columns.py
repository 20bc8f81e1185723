"""What a validation collects image by image is what a record of all detections says."""

import numpy as np
import torch

from data.records import GroundTruth
from diagnosis import diagnose
from diagnosis.metric import ErrorBreakdown
from training.tasks.detection_evaluation import Objects, detections_from, in_original_pixels


def scene():
    random = np.random.default_rng(0)
    images, objects = 7, 30
    corner = random.integers(0, 60, (objects, 2))
    boxes = np.concatenate([corner, corner + random.integers(15, 40, (objects, 2))], axis=1)
    return GroundTruth(
        [f"{i}" for i in range(images)], ["cat", "dog"], random.integers(101, 140, (images, 2)),
        random.integers(0, images, objects), random.integers(0, 2, objects), boxes,
        random.random(objects) < 0.2, random.random(objects) < 0.1,
    )  # fmt: skip


def test_objects_image_by_image():
    truth = scene()
    objects = Objects(truth)
    for index in range(len(truth.images)):
        rows = np.flatnonzero(truth.image_index == index)
        image = objects[index]
        np.testing.assert_array_equal(image["boxes"], truth.boxes[rows])
        np.testing.assert_array_equal(image["labels"], truth.labels[rows])
        np.testing.assert_array_equal(image["difficult"], truth.difficult[rows])
        np.testing.assert_array_equal(image["iscrowd"], truth.crowd[rows])
        assert image["size"].tolist() == truth.sizes[index, ::-1].tolist()
        assert int(image["image_id"]) == index


def test_a_validation_gives_the_numbers_of_the_whole_record():
    truth, random, size = scene(), np.random.default_rng(1), (64, 96)
    columns = []
    for index in random.permutation(len(truth.images)).tolist():
        boxes = truth.boxes[truth.image_index == index].repeat(3, axis=0)
        boxes = boxes + np.tile(random.normal(0, 6, (len(boxes), 2)), 2)
        boxes = boxes / np.tile(truth.sizes[index] / np.array(size[::-1]), 2)
        found = {
            "boxes": torch.tensor(boxes, dtype=torch.float32),
            "scores": torch.tensor(random.integers(0, 9, len(boxes)) / 9, dtype=torch.float32),
            "labels": torch.tensor(random.integers(0, 2, len(boxes))),
        }
        columns.append((index, found))
    columns.append(columns[0])  # as where two processes are padded to equal lengths
    whole = diagnose(truth, detections_from(columns, truth, size), similar=[["cat", "dog"]], coco=False)
    errors, objects = ErrorBreakdown(truth.classes, [["cat", "dog"]]), Objects(truth)
    for index, found in columns:
        errors.update([in_original_pixels(found, truth.sizes[index].tolist(), size)], [objects[index]])
    values = {name: value.item() for name, value in errors.compute().items()}
    expected = [*whole.breakdown.mean_over_classes(), whole.ap.mean()["area"]]
    np.testing.assert_array_equal(np.float32(list(values.values())), np.float32(expected))
    assert values["map"] > 0
