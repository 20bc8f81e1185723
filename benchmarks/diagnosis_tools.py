"""What is timed: a whole diagnosis here, and TIDE by the tools that others have written.

Each tool is a pair of functions. `from_arrays` takes the records in, which is not timed, and returns what
is; `from_files` returns what reads COCO's two files and does the same.
"""

from __future__ import annotations

import importlib.util
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from data.records import Detections, GroundTruth

__all__ = ["TOOLS", "Laps", "Tool", "missing"]

Work = Callable[[], float]
"""Does all of it and returns the mean AP at IoU 0.5, so that one sees that the tools agree."""


class Laps(dict[str, float]):
    """CPU seconds of the parts of a pass, the fewest of all passes."""

    def start(self) -> None:
        """A pass begins."""
        self.last = time.process_time()

    def lap(self, name: str) -> None:
        """A part is done."""
        now = time.process_time()
        self[name] = min(self.get(name, float("inf")), now - self.last)
        self.last = now


@dataclass(frozen=True)
class Tool:
    """A tool, by the name of its row.

    Attributes
    ----------
    modules
        What it has to import.
    from_arrays, from_files
        See above; None: it cannot.
    install
        How to get it.
    passes
        How often it is run in a process; 0: as often as asked for.
    """

    modules: tuple[str, ...]
    from_arrays: Callable[[GroundTruth, Detections, Laps], Work]
    from_files: Callable[[Path, Path, Laps], Work] | None
    install: str = ""
    passes: int = 0


def missing(tool: Tool) -> bool:
    return importlib.util.find_spec(tool.modules[0]) is None


# ---- ours ------------------------------------------------------------------------------------


def _diagnosis(truth: GroundTruth, found: Detections, laps: Laps) -> float:
    from diagnosis import diagnose

    similar = [truth.classes[:6], truth.classes[6:12]]
    diagnosis = diagnose(truth, found, similar=similar, coco=False)
    laps.lap("diagnosis")
    return diagnosis.tide.mean_ap


def _ours(truth: GroundTruth, found: Detections, laps: Laps) -> Work:
    """All overlaps, the five-way breakdown, what each error type costs, TIDE, AP."""
    from data.formats.processes import keep_freed_memory

    keep_freed_memory()  # as the command does

    def whole() -> float:
        laps.start()
        return _diagnosis(truth, found, laps)

    return whole


def _ours_from_files(annotations: Path, results: Path, laps: Laps) -> Work:
    from data.formats.coco import read_coco_pair
    from data.formats.processes import keep_freed_memory

    keep_freed_memory()

    def whole() -> float:
        laps.start()
        truth, found = read_coco_pair(annotations, results)
        laps.lap("reading")
        return _diagnosis(truth, found, laps)

    return whole


# ---- hotcoco ---------------------------------------------------------------------------------


def _hotcoco_tide(annotated: Any, detected: Any, narrow: bool) -> float:
    """Its TIDE wants its matching first, of which ten overlaps and four sizes of objects are the default."""
    evaluation = import_module("hotcoco").COCOeval(annotated, detected, "bbox")
    if narrow:
        evaluation.params.iou_thrs = [0.5]
        evaluation.params.area_rng = evaluation.params.area_rng[:1]
        evaluation.params.area_rng_lbl = evaluation.params.area_rng_lbl[:1]
    evaluation.evaluate()
    return float(evaluation.tide_errors()["ap_base"])


def _hotcoco(truth: GroundTruth, found: Detections, laps: Laps, *, narrow: bool) -> Work:
    from data.formats.coco import coco_ground_truth

    annotated = import_module("hotcoco").COCO(coco_ground_truth(truth))
    corner, sides = found.boxes[:, :2], found.boxes[:, 2:] - found.boxes[:, :2]
    columns = [found.image_index + 1, corner, sides, found.scores, found.labels + 1]
    detected = annotated.load_res(np.column_stack(columns))
    return lambda: _hotcoco_tide(annotated, detected, narrow)


def _hotcoco_from_files(annotations: Path, results: Path, laps: Laps, *, narrow: bool) -> Work:
    def whole() -> float:
        annotated = import_module("hotcoco").COCO(str(annotations))
        return _hotcoco_tide(annotated, annotated.load_res(str(results)), narrow)

    return whole


# ---- tidecv ----------------------------------------------------------------------------------


def _tidecv(truth: GroundTruth, found: Detections, laps: Laps) -> Work:
    from tidecv import Data
    from tidecv.quantify import TIDE, TIDERun

    annotated, detected = Data("truth"), Data("found")
    for number, name in enumerate(truth.images):
        annotated.add_image(number, name)
    for number, name in enumerate(truth.classes):
        annotated.add_class(number, name)
    for record, data in ((truth, annotated), (found, detected)):
        sizes = record.boxes[:, 2:] - record.boxes[:, :2]
        boxes = np.concatenate([record.boxes[:, :2], sizes], axis=1).tolist()
        rows = zip(record.image_index.tolist(), record.labels.tolist(), boxes, strict=True)
        for row, (image, label, box) in enumerate(rows):
            if isinstance(record, Detections):
                data.add_detection(image, label, float(record.scores[row]), box)
            elif record.difficult[row] or record.crowd[row]:
                data.add_ignore_region(image, label, box)
            else:
                data.add_ground_truth(image, label, box)

    def whole() -> float:
        run = TIDERun(annotated, detected, 0.5, 0.1, TIDE.BOX, 100)
        run.fix_main_errors()
        run.fix_special_errors()
        return float(run.ap) / 100

    return whole


_REFERENCE = "make setup, or pip install {0}"
TOOLS: dict[str, Tool] = {
    "ours": Tool(("diagnosis",), _ours, _ours_from_files),
    **{
        name: Tool(
            ("hotcoco",),
            partial(_hotcoco, narrow=narrow),
            partial(_hotcoco_from_files, narrow=narrow),
            _REFERENCE.format("hotcoco"),
        )
        for name, narrow in (("hotcoco", False), ("hotcoco, IoU 0.5 alone", True))
    },
    # Its reader of COCO's files wants masks.
    "tidecv": Tool(("tidecv",), _tidecv, None, _REFERENCE.format("--no-deps tidecv"), passes=1),
}
