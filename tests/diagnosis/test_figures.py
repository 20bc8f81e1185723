"""The list of figures: each has files and a caption of its own, and those of TIDE are written."""

import pytest

from data.records import Detections, GroundTruth
from diagnosis.figures.catalogue import illustrations, save_illustrations
from diagnosis.record import diagnose
from diagnosis.report import SECTIONS

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
