"""From outputs of the network to records, and from records to files."""

import json
import math
import statistics

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from data.formats import read_found
from data.records import Detections, GroundTruth, InputWarning
from diagnosis import diagnose
from diagnosis.metric import ErrorBreakdown
from training.task import Report
from training.tasks.detection_module import (
    Evaluated,
    ObjectsByImage,
    detections_from,
    in_original_pixels,
    summarize,
    write_diagnosis,
)

TRUTH = GroundTruth(
    ["a", "b", "c"], ["cat", "dog"], [[100, 50], [64, 64], [30, 90]],
    [0, 1], [0, 1], [[10, 10, 50, 40], [0, 0, 32, 32]],
)  # fmt: skip


def found_in(images: list[int], counts: list[int], seed: int) -> list[tuple[int, dict[str, torch.Tensor]]]:
    draw = np.random.default_rng(seed)
    columns = []
    for image, count in zip(images, counts, strict=True):
        corners = np.sort(draw.uniform(0, 64, (count, 2, 2)), axis=1).reshape(count, 4)
        found = {
            "boxes": torch.tensor(corners, dtype=torch.float32).reshape(-1, 4),
            "scores": torch.tensor(draw.uniform(size=count), dtype=torch.float32),
            "labels": torch.tensor(draw.integers(0, 2, count)),
        }
        columns.append((image, found))
    return columns


@given(st.permutations([0, 1, 2]), st.lists(st.integers(0, 3), min_size=3, max_size=3), st.integers(0, 99))
def test_detections_are_in_the_pixels_of_their_images(images, counts, seed):
    columns = found_in(images, counts, seed)
    detections = detections_from(columns, TRUTH, (64, 32))
    expected = []
    for image in range(3):
        (found,) = (found for index, found in columns if index == image)
        width, height = TRUTH.sizes[image]
        for box, score, label in zip(found["boxes"], found["scores"], found["labels"], strict=True):
            x1, y1, x2, y2 = box.double().tolist()
            row = [x1 * width / 32, y1 * height / 64, x2 * width / 32, y2 * height / 64]
            expected.append((image, int(label), float(score), row))
    assert detections.image_index.tolist() == [row[0] for row in expected]
    assert detections.labels.tolist() == [row[1] for row in expected]
    assert detections.scores.tolist() == [row[2] for row in expected]
    for box, row in zip(detections.boxes, expected, strict=True):
        assert box.tolist() == pytest.approx(row[3])
    twice = detections_from([*columns, columns[0]], TRUTH, (64, 32))  # an image that comes twice counts once
    assert twice.boxes.tolist() == detections.boxes.tolist()
    assert len(detections_from([], TRUTH, (64, 64))) == 0


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
    objects = ObjectsByImage(truth)
    for index in range(len(truth.images)):
        rows, image = np.flatnonzero(truth.image_index == index), objects[index]
        columns = {"labels": truth.labels, "difficult": truth.difficult, "iscrowd": truth.crowd}
        for name, column in {"boxes": truth.boxes, **columns}.items():
            np.testing.assert_array_equal(image[name], column[rows])
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
    errors, objects = ErrorBreakdown(truth.classes, [["cat", "dog"]]), ObjectsByImage(truth)
    for index, found in columns:
        errors.update([in_original_pixels(found, truth.sizes[index].tolist(), size)], [objects[index]])
    values = {name: value.item() for name, value in errors.compute().items()}
    expected = [*whole.breakdown.mean_over_classes(), whole.ap.mean()["area"]]
    np.testing.assert_array_equal(np.float32(list(values.values())), np.float32(expected))
    assert values["map"] > 0


def passes(*scores: float) -> list[Detections]:
    """Passes that find the cat, with a box on nothing that scores more or less than it."""
    boxes = [[10, 10, 50, 40], [60, 10, 90, 40]]
    return [Detections(TRUTH.images, TRUTH.classes, [0, 0], [0, 0], [0.5, score], boxes) for score in scores]


def test_summary_is_mean_and_deviation_over_passes():
    diagnoses = [diagnose(TRUTH, found, name="x") for found in passes(0.1, 0.9, 0.9)]
    summary = summarize(diagnoses)["map"]["area"]
    values = [float(diagnosis.ap.mean()["area"]) for diagnosis in diagnoses]
    assert values[0] > values[1]
    assert summary["values"] == values
    assert summary["mean"] == pytest.approx(statistics.mean(values))
    assert summary["std"] == pytest.approx(statistics.stdev(values))
    assert summarize(diagnoses[:1])["map"]["area"] == {"mean": values[0], "std": None, "values": values[:1]}


@pytest.mark.usefixtures("undrawn")
def test_nothing_found_is_null_and_no_nan(tmp_path):
    """No detection: there are no shares. Nothing in the files is a NaN, which would be no JSON."""
    nothing = Detections(TRUTH.images, TRUTH.classes, [], [], [], [])
    report = Report(tmp_path, "empty", {"seed": 1}, {})
    diagnosis = write_diagnosis(Evaluated([nothing], nothing), TRUTH, (), report, sheet=0)
    assert diagnosis.name == "empty"
    for file in tmp_path.rglob("*.json"):
        json.loads(file.read_text(), parse_constant=lambda word, file=file: pytest.fail(f"{file}: {word}"))
    scores = json.loads((tmp_path / "scores.json").read_text())
    assert scores["single_passes"]["map"]["area"]["mean"] == 0
    share = scores["single_passes"]["shares"]["correct"]
    assert share == {"mean": None, "std": None, "values": [None]} or share["mean"] == 0
    assert json.loads((tmp_path / "detections" / "detections.json").read_text()) == []
    assert not math.isnan(scores["test_images"])


@pytest.mark.usefixtures("undrawn")
def test_first_pass_is_written_and_every_pass_scored(tmp_path):
    singles = passes(0.1, 0.9)
    write_diagnosis(Evaluated(singles, singles[0]), TRUTH, (), Report(tmp_path, "x", {}, {}), sheet=0)
    scores = json.loads((tmp_path / "scores.json").read_text())
    assert scores["passes"] == 2
    assert len(scores["single_passes"]["map"]["area"]["values"]) == 2
    assert scores["single_passes"]["map"]["area"]["std"] > 0
    assert len(scores["averaged_prediction"]["map"]["area"]["values"]) == 1
    written = json.loads((tmp_path / "detections" / "detections.json").read_text())
    assert sorted(row["score"] for row in written) == pytest.approx(sorted(singles[0].scores))
    assert not list((tmp_path / "diagnosis").glob("examples*"))


NO_PLACE = [("a b", "dog"), ("x\ny", "dog"), ("a", "cat/dog"), ("a", "x" * 300)]
"""Names of an image and of a class of which VOC text has no place for one."""


@pytest.mark.parametrize(("image", "name"), NO_PLACE)
@pytest.mark.usefixtures("undrawn")
def test_kind_no_name_fails_a_run_after_its_training(image, name, tmp_path):
    """The VOC text is left out; the COCO results then say the names, for ground truth without their ids."""
    names, classes = ["2", image], ["bird", name]  # a number that is not its id
    truth = GroundTruth(names, classes, [[90, 60]] * 2, [0, 1], [0, 1], [[10, 10, 50, 40], [0, 0, 32, 32]])
    found = Detections(names, classes, [0, 1], [0, 1], [0.9, 0.8], truth.boxes)
    with pytest.warns(InputWarning, match="no VOC text is written: "):
        write_diagnosis(Evaluated([found], found), truth, (), Report(tmp_path, "x", {}, {}), sheet=0)
    folder = tmp_path / "detections"
    assert {path.name for path in folder.iterdir()} == {"detections.json", "ground_truth.json"}
    assert json.loads((tmp_path / "scores.json").read_text())["single_passes"]["map"]["area"]["mean"] == 1
    other = GroundTruth(names[::-1], classes[::-1], [[90, 60]] * 2, [1, 0], [1, 0], truth.boxes)
    with pytest.warns(InputWarning, match="file_name"):
        back = read_found(folder / "detections.json", other)
    assert [other.images[row] for row in back.image_index] == names
    assert [other.classes[label] for label in back.labels] == classes
