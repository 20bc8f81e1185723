"""A diagnosis, with all that the command writes of it, computes each analysis once for each detector."""

import functools
import sys
import types
from collections import Counter
from pathlib import Path

import matplotlib.figure
import numpy as np
import pytest

import diagnosis.write_results  # noqa: F401  # so that all modules are there to be counted in
from benchmarks.synthetic import Size, synthetic
from data.formats import processes, read_ground_truth, write_detections
from data.records import Detections
from data.shapes import write_shapes
from diagnosis import diagnose, record, to_json
from diagnosis.__main__ import main
from diagnosis.average_precision import APStatistic

ONCE = [
    record.match, record.break_down, record.referenced_objects, record.account, record.best_f1,
    record.calibration, record.characteristics, record.class_groups, record.confusion_matrix,
    record.detection_trend, record.impact, record.sensitivity, record.tide, record.worst_cases,
]  # fmt: skip
CACHED = {"assign": 2, "assign_devkit": 1, "pie_error_types": 1, "flag_error_types": 1, "coco_outcomes": 4}
"""For how many other arguments: overlaps, sizes of COCO."""


@pytest.fixture
def calls(monkeypatch):
    """How often each is computed, under whichever name a module knows it."""
    count, matchings = Counter(), []

    def counting(function):
        @functools.wraps(function)
        def wrapper(*args, **kwargs):
            count[function.__name__] += 1
            result = function(*args, **kwargs)
            if function.__name__ == "match":
                matchings.append(result)
            return result

        return wrapper

    wrappers = {function: counting(function) for function in ONCE}
    for module in [module for name, module in sys.modules.items() if name.startswith("diagnosis")]:
        for name, value in list(vars(module).items()):
            if isinstance(value, types.FunctionType) and value in wrappers:
                monkeypatch.setattr(module, name, wrappers[value])
    monkeypatch.setattr(APStatistic, "table", counting(APStatistic.table))
    return lambda: count + Counter(key[0] for one in matchings for key in one.known if key[0] in CACHED)


def test_each_analysis_is_computed_once_for_each_detector(tmp_path, monkeypatch, calls):
    write_shapes(tmp_path, train=1, val=1, test=6, size=(96, 96), seed=3)
    truth = read_ground_truth(f"{tmp_path / 'VOCshapes'}:test")
    draw = np.random.default_rng(0)
    for name in "ab":
        boxes = truth.boxes + np.tile(draw.integers(0, 8, (len(truth), 2)), 2)
        scores = draw.random(len(truth))
        found = Detections(truth.images, truth.classes, truth.image_index, truth.labels, scores, boxes)
        write_detections(found, tmp_path / name)
    monkeypatch.setattr(
        matplotlib.figure.Figure, "savefig", lambda _, path, **__: Path(path).write_text("<svg/>")
    )
    words = ["--ground-truth", f"{tmp_path / 'VOCshapes'}:test", "--out", tmp_path / "out", "--iou", "0.6"]
    words += ["--detections", tmp_path / "a", tmp_path / "b", "--replicates", "3"]
    words += ["--figures", "--processes", "1"]
    assert main(list(map(str, words))) == 0
    each = {function.__name__: 1 for function in ONCE} | {"table": 1} | CACHED
    assert calls() == {name: 2 * times for name, times in each.items()}


def test_analyses_in_threads_are_those_of_one_after_the_other(monkeypatch, calls):
    records = synthetic(Size(60, 5, 400, 3000, (640, 480), 0.18, difficult=0.1, crowd=0.02))
    expected = to_json([diagnose(*records)], {})
    monkeypatch.setattr(processes, "usable_cores", lambda: 4)
    monkeypatch.setattr(record, "FEW", 0)
    before = calls()
    found = diagnose(*records)
    assert {"ap", "breakdown", "impact", "tide"} <= vars(found).keys()
    assert to_json([found], {}) == expected
    assert calls() == before + before
    assert before["coco_outcomes"] == 4
