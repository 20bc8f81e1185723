"""The benchmark draws the same data every time, its tools agree, and a tool that is absent is named."""

import argparse

import numpy as np
import pytest

from benchmarks import diagnosis as benchmark
from benchmarks.diagnosis_tools import TOOLS, Laps, missing
from benchmarks.synthetic import Size, synthetic
from data.formats.coco import write_coco_detections, write_coco_ground_truth

SMALL = Size(
    60, 5, 400, 3000, (640, 480), 0.18, crowd=0.01
)  # each class has objects: hotcoco averages over those alone


def test_the_same_seed_draws_the_same():
    (truth, found), (again, once_more) = synthetic(SMALL, 3), synthetic(SMALL, 3)
    np.testing.assert_array_equal(truth.boxes, again.boxes)
    np.testing.assert_array_equal(found.boxes, once_more.boxes)
    np.testing.assert_array_equal(found.scores, once_more.scores)
    assert len(found) == 3000
    assert not np.array_equal(synthetic(SMALL, 4)[1].boxes, found.boxes)


@pytest.mark.parametrize("name", [name for name in TOOLS if name != "ours"])
def test_the_tools_agree(name):
    if missing(TOOLS[name]):
        pytest.skip(f"{name} is not installed: {TOOLS[name].install}")
    records = synthetic(SMALL)
    ours, theirs = (TOOLS[tool].from_arrays(*records, Laps())() for tool in ("ours", name))
    assert ours > 0.1
    assert theirs == pytest.approx(ours, abs=0.001)


def test_files_give_what_arrays_give(tmp_path):
    truth, found = synthetic(SMALL)
    annotations, results = benchmark.files_in(str(tmp_path))
    write_coco_ground_truth(truth, annotations)
    write_coco_detections(found, results)
    laps, read = Laps(), TOOLS["ours"].from_files
    assert read(annotations, results, laps)() == TOOLS["ours"].from_arrays(truth, found, Laps())()
    assert set(laps) == {"reading", "diagnosis"}


def test_an_absent_tool_is_named_and_the_others_are_timed(monkeypatch, capsys):
    monkeypatch.setattr(benchmark, "missing", lambda tool: "hotcoco" in tool.modules)
    monkeypatch.setattr(benchmark, "measure", lambda *task: benchmark.one(*task[:3], folder=""))
    options = argparse.Namespace(tools=["ours", "hotcoco"], rounds=2, passes=1)
    benchmark.side_by_side(SMALL, options)
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].startswith("ours ")
    assert lines[-1] == f"{'hotcoco':24}is not installed: make setup, or pip install hotcoco"
