"""Cases of other projects' suites, against the numbers of the packages (tests/fixtures/make_suites.py)."""

import json
import warnings
from pathlib import Path

import numpy as np
import pytest

from data.formats import read_coco, read_coco_detections
from diagnosis import average_precision, match
from diagnosis.coco_ap import coco_table
from diagnosis.tide import tide
from tests.data.scenes import write_json

SUITES = json.loads((Path(__file__).parents[1] / "fixtures" / "suites.json").read_text())


def records(folder, case):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        truth = read_coco(write_json(folder / "truth.json", case["truth"]))
        return truth, read_coco_detections(write_json(folder / "found.json", case["found"]), truth)


@pytest.mark.parametrize("iou", SUITES["voc"]["expected"])
def test_review_of_object_detection_metrics(tmp_path, iou):
    """The suite prints ten digits."""
    table = average_precision(*records(tmp_path, SUITES["voc"]), iou=float(iou))
    expected = SUITES["voc"]["expected"][iou]
    assert {kind: getattr(table, kind)[0] for kind in expected} == pytest.approx(expected, abs=1e-10)


@pytest.mark.parametrize("case", SUITES["coco"], ids=lambda case: f"{case['suite']}: {case['case']}")
def test_twelve_numbers_of_coco(tmp_path, case):
    ours = list(coco_table(match(*records(tmp_path, case))).mean().values())
    theirs = [np.nan if number is None else number for number in case["expected"]]
    np.testing.assert_allclose(ours, theirs, atol=1e-9, equal_nan=True)


@pytest.mark.parametrize("case", SUITES["tide"], ids=lambda case: case["case"])
def test_tide(tmp_path, case):
    expected = case["expected"]
    result = tide(match(*records(tmp_path, case)))
    assert result.mean_ap == pytest.approx(expected["ap50"], abs=1e-9)
    names = {"Cls": "cls", "Loc": "loc", "Both": "both", "Dupe": "dupe", "Bkg": "bkg", "Miss": "miss"}
    assert {name: result.counts[ours] for name, ours in names.items()} == expected["counts"]
    gains = {name: result.dap[ours] for name, ours in names.items()}
    assert gains == pytest.approx(expected["gains"], abs=1e-9)
