"""The list of figures: each has files and a caption of its own, and those of TIDE are written."""

import numpy as np
import pytest

from data.records import Detections, GroundTruth
from diagnosis.figures.catalogue import illustrations, save_illustrations
from diagnosis.record import diagnose
from diagnosis.report import SECTIONS
from diagnosis.to_json import to_json
from tests.diagnosis.figures import texts
from tests.diagnosis.scenes import SIMILAR, crowded

TRUTH = GroundTruth(["a"], ["cat", "dog"], [[90, 90]], [0, 0], [0, 1], [[0, 0, 30, 30], [40, 0, 70, 30]])
FOUND = Detections(TRUTH.images, TRUTH.classes, [0, 0], [0, 0], [0.9, 0.8], TRUTH.boxes)
NOTHING = Detections(TRUTH.images, TRUTH.classes, [], [], [], [])


@pytest.mark.parametrize("detectors", [1, 2])
def test_every_figure_has_a_name_of_its_own(detectors):
    chosen = illustrations([diagnose(TRUTH, FOUND, f"number {n}") for n in range(detectors)])
    files = [one.file for one in chosen]
    assert len(set(files)) == len(files)
    assert {one.section for one in chosen} <= {"", *SECTIONS}
    assert "tide" in files
    assert ("tide_confusion" if detectors == 1 else "tide_confusion_2") in files


@pytest.mark.parametrize("found", [FOUND, NOTHING], ids=["some", "nothing found"])
def test_tide_is_written(found, tmp_path):
    chosen = [one for one in illustrations([diagnose(TRUTH, found)]) if one.file.startswith("tide")]
    names = {file.name for file in save_illustrations(chosen, tmp_path)}
    assert names == {"tide.png", "tide.svg", "tide_confusion.png", "tide_confusion.svg"}
    assert all((tmp_path / name).stat().st_size > 1000 for name in names)


def drawn(diagnosis, file):
    return next(one.draw() for one in illustrations([diagnosis]) if one.file == file)


def test_figures_show_the_numbers_of_the_json_at_another_iou():
    matching = crowded(2)
    diagnosis = diagnose(matching.truth, matching.detections, similar=SIMILAR, iou=0.75, coco=False)
    numbers = to_json([diagnosis], {})["detectors"][0]

    points = numbers["trends"]["all classes"]["detections"]
    axes = next(axes for axes in drawn(diagnosis, "detection_trend").axes if axes.collections)
    strong, weak = (line.get_ydata() for line in axes.lines)
    assert strong == pytest.approx([100 * point["recall"] for point in points])
    assert weak == pytest.approx([100 * point["recall_weak"] for point in points])
    correct = axes.collections[0].get_paths()[0].vertices
    for x, point in zip(axes.lines[0].get_xdata(), points, strict=True):
        assert correct[np.isclose(correct[:, 0], x), 1].max() == pytest.approx(100 * point["correct"])

    counts = np.array(numbers["confusion"]["counts"])
    (image,) = (image for axes in drawn(diagnosis, "confusion").axes for image in axes.images)
    np.testing.assert_allclose(image.get_array(), counts / np.maximum(counts.sum(axis=1, keepdims=True), 1))

    calibration = numbers["calibration"]
    figure = drawn(diagnosis, "reliability")
    bars = next(axes.patches for axes in figure.axes if axes.patches)
    assert [bar.get_height() for bar in bars] == [one["detections"] for one in calibration["bins"]]
    assert any(text.startswith(f"ECE {calibration['expected_error']:.1%}, N = ") for text in texts(figure))
