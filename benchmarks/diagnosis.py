"""What a whole diagnosis costs, beside tidecv's and hotcoco's TIDE on the same detections.

    python benchmarks/diagnosis.py [--sizes voc coco] [--growth 10000 … 5000000] [--passes 5]

Draws seeded detections of the size of VOC 2007 test (100,000) and of COCO val (500,000, 80 classes) and
times, from arrays in memory, ours: all overlaps, the five-way breakdown, what each error type costs, TIDE,
area AP; theirs: TIDE alone, without what they need to take the arrays in. Each tool runs in a process of
its own, which also tells its peak memory; a tool that is not installed is skipped. Then our cost from 10⁴
to 5·10⁶ detections. The best pass counts, since other programs only ever add to it: "CPU" sums the threads.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import io
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))  # before this folder, where this file would be taken for the package

import numpy as np  # noqa: E402
from numpy.typing import NDArray  # noqa: E402

from data.records import Detections, GroundTruth  # noqa: E402

TOOLS = ("ours", "hotcoco", "tidecv")


@dataclass(frozen=True)
class Cost:
    """Of one tool: seconds of the best pass, CPU seconds of the first, megabytes at most, and of these on
    top of what the data and the tool take before; CPU seconds of the parts."""

    wall: float
    cpu: float
    first: float
    peak: float
    more: float
    parts: dict[str, float]


@dataclass(frozen=True)
class Size:
    """How large a set is drawn, and what it looks like."""

    images: int
    classes: int
    objects: int
    detections: int
    shape: tuple[int, int]  # width and height of an image, in pixels
    side: float  # median side of an object, as a share of the image's
    difficult: float = 0.0
    crowd: float = 0.0
    by_class: bool = False  # in the order of VOC's text files; else by image and score


SIZES = {
    "voc": Size(4952, 20, 14976, 100_000, (500, 375), 0.33, difficult=0.2, by_class=True),
    "coco": Size(5000, 80, 36781, 500_000, (640, 480), 0.18, crowd=0.01),
}


def of_size(detections: int) -> Size:
    """A set like COCO's with so many detections, a hundred an image."""
    images = max(detections // 100, 1)
    return Size(images, 80, 7 * images, detections, (640, 480), 0.18, crowd=0.01)


def synthetic(size: Size, seed: int = 0) -> tuple[GroundTruth, Detections]:
    """Objects crowd in some images and classes; half of the detections are near one, most of them badly."""
    random = np.random.default_rng(seed)
    shape = np.array(size.shape, dtype=np.float64)

    def sides(count: int) -> NDArray[np.float64]:
        common = random.normal(np.log(size.side), 0.8, (count, 1))
        return np.clip(np.exp(common + random.normal(0, 0.3, (count, 2))) * shape, 4, shape)

    crowding = random.gamma(1.0, size=size.images)
    image = np.sort(random.choice(size.images, size.objects, p=crowding / crowding.sum()))
    popularity = np.arange(1, size.classes + 1) ** -0.7
    popularity /= popularity.sum()
    theme = random.choice(size.classes, size.images, p=popularity)
    label = random.choice(size.classes, size.objects, p=popularity)
    label = np.where(random.random(size.objects) < 0.5, theme[image], label)
    extent = sides(size.objects)
    corner = random.random((size.objects, 2)) * (shape - extent)
    truth = GroundTruth(
        [f"{number:012}" for number in range(size.images)],
        [f"class {number}" for number in range(size.classes)],
        np.tile(shape.astype(np.int64), (size.images, 1)),
        image,
        label,
        np.concatenate([corner, corner + extent], axis=1),
        difficult=random.random(size.objects) < size.difficult,
        crowd=random.random(size.objects) < size.crowd,
    )

    count = size.detections
    where = np.sort(np.resize(np.arange(size.images), count))
    present = np.bincount(image, minlength=size.images)
    near = (random.random(count) < 0.55) & (present[where] > 0)
    model = (np.cumsum(present) - present)[where] + (random.random(count) * present[where]).astype(np.int64)
    model = np.minimum(model, size.objects - 1)
    badness = random.beta(1.2, 2.0, count)  # 0: in place
    shift = random.normal(0, 0.45, (count, 4)) * badness[:, None]
    wide = np.where(near[:, None], extent[model] * np.exp(0.6 * shift[:, 2:]), sides(count))
    centre = (corner + extent / 2)[model] + 0.6 * shift[:, :2] * extent[model]
    centre = np.where(near[:, None], centre, random.random((count, 2)) * shape)
    beyond = np.where(random.random((count, 1)) < 0.1, 6.0, 0.0)  # most detectors clip to the image
    low = np.clip(centre - wide / 2, -beyond, shape + beyond).round(2)
    high = np.clip(centre + wide / 2, low, shape + beyond).round(2)
    named = near & (random.random(count) < 0.8)
    labels = np.where(named, label[model], random.choice(size.classes, count, p=popularity))
    faint, bright = random.beta(0.5, 6, count), (1 - badness) ** 3 * random.random(count) ** 0.3
    scores = np.where(named, bright, faint).round(6)
    order = np.lexsort((where, labels)) if size.by_class else np.lexsort((-scores, where))
    columns = (where[order], labels[order], scores[order], np.concatenate([low, high], axis=1)[order])
    return truth, Detections(truth.images, truth.classes, *columns)


# ---- the tools -------------------------------------------------------------------------------


def ours(truth: GroundTruth, found: Detections) -> tuple[Callable[[], object], dict[str, float]]:
    """The whole diagnosis, and where its seconds go."""
    from diagnosis import average_precision, break_down, match, similar_matrix
    from diagnosis.tide import tide

    similar = similar_matrix(truth.classes, [truth.classes[:6], truth.classes[6:12]])
    parts: dict[str, float] = {}

    def whole() -> object:
        clock = Clock(parts)
        matching = match(truth, found)
        clock.lap("overlaps")
        break_down(matching, similar)
        clock.lap("breakdown")
        if importlib.util.find_spec("diagnosis.impact"):
            importlib.import_module("diagnosis.impact").impact(matching, similar)
            clock.lap("impact")
        tide(matching)
        clock.lap("TIDE")
        average_precision(truth, found, matching, coco=False)
        clock.lap("AP")
        return matching

    return whole, parts


class Clock:
    """Adds to `laps` the CPU seconds since the last lap, where they are the fewest so far."""

    def __init__(self, laps: dict[str, float]) -> None:
        self.laps, self.last = laps, time.process_time()

    def lap(self, name: str) -> None:
        """A part is done."""
        now = time.process_time()
        self.laps[name] = min(self.laps.get(name, float("inf")), now - self.last)
        self.last = now


def hotcoco(truth: GroundTruth, found: Detections) -> tuple[Callable[[], object], dict[str, float]]:
    """TIDE by hotcoco; its matching at ten overlaps, which its TIDE asks for, is part of it."""
    import hotcoco as tool  # type: ignore[import-not-found]

    from data.formats.coco import coco_ground_truth

    annotated = tool.COCO(coco_ground_truth(truth))
    boxes = found.boxes
    columns = [
        found.image_index + 1,
        boxes[:, :2],
        boxes[:, 2:] - boxes[:, :2],
        found.scores,
        found.labels + 1,
    ]
    detected = annotated.load_res(np.column_stack(columns))

    def whole() -> object:
        evaluation = tool.COCOeval(annotated, detected, "bbox")
        evaluation.evaluate()
        return evaluation.tide_errors()

    return whole, {}


def tidecv(truth: GroundTruth, found: Detections) -> tuple[Callable[[], object], dict[str, float]]:
    """TIDE by tidecv."""
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

    def whole() -> object:
        run = TIDERun(annotated, detected, 0.5, 0.1, TIDE.BOX, 100)
        return run.fix_main_errors(), run.fix_special_errors()

    return whole, {}


# ---- measuring -------------------------------------------------------------------------------


def megabytes(field: str) -> float:
    """Of this process, by the kernel's account: VmRSS now, VmHWM at most."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith(field):
                return int(line.split()[1]) / 1024
    return float("nan")


def one(tool: str, size: Size, passes: int) -> Cost:
    """What one tool costs; runs in a process of its own."""
    truth, found = synthetic(size)
    whole, parts = {"ours": ours, "hotcoco": hotcoco, "tidecv": tidecv}[tool](truth, found)
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")  # the peak so far was that of drawing the data
    before = megabytes("VmRSS")
    wall, cpu = [], []
    for _ in range(passes):
        clock, busy = time.perf_counter(), time.process_time()
        with contextlib.redirect_stdout(io.StringIO()):
            whole()
        wall.append(time.perf_counter() - clock)
        cpu.append(time.process_time() - busy)
    peak = megabytes("VmHWM")
    return Cost(min(wall), min(cpu), cpu[0], peak, peak - before, parts)


def measure(tool: str, size: Size, passes: int) -> Cost | None:
    """:func:`one` in a new process; None where the tool is not installed."""
    if tool != "ours" and importlib.util.find_spec(tool) is None:
        return None
    with tempfile.NamedTemporaryFile("r", suffix=".json") as answer:
        task = json.dumps([tool, vars(size), passes, answer.name])
        command = [sys.executable, __file__, "--task", task]
        subprocess.run(command, check=True, env=os.environ | {"MPLBACKEND": "agg"})
        return Cost(**json.load(answer))


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--sizes", nargs="*", default=list(SIZES), choices=list(SIZES))
    parser.add_argument("--growth", nargs="*", type=int, default=[10_000, 100_000, 1_000_000, 5_000_000])
    parser.add_argument("--tools", nargs="*", default=list(TOOLS), choices=list(TOOLS))
    parser.add_argument("--passes", type=int, default=5, help="of the fast tools (%(default)s)")
    parser.add_argument("--task", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.task:
        tool, size, passes, answer = json.loads(options.task)
        Path(answer).write_text(json.dumps(vars(one(tool, Size(**size), passes))))
        return 0
    head = f"{'tool':10}{'wall s':>9}{'CPU s':>9}{'to ours':>9}{'peak MB':>9}{'+MB':>7}"
    for name in options.sizes:
        size = SIZES[name]
        print(f"\n{name}: {size.detections:,} detections, {size.images:,} images, {size.classes} classes")
        print(head)
        reference = None
        for tool in options.tools:
            cost = measure(tool, size, 1 if tool == "tidecv" else options.passes)
            if cost is None:
                print(f"{tool:10} is not installed: skipped")
                continue
            reference = reference or cost
            print(row(tool, cost) + f"{cost.wall / reference.wall:9.1f}" + memory(cost))
            if cost.parts:
                shares = ", ".join(f"{part} {seconds:.3f}" for part, seconds in cost.parts.items())
                print(f"{'':10}CPU s of the parts: {shares}; of the first pass: {cost.first:.3f}")
    if options.growth:
        print("\nours, 100 detections an image")
        print(f"{'detections':10}{'wall s':>9}{'CPU s':>9}{'µs each':>9}{'peak MB':>9}{'+MB':>7}")
    for detections in options.growth:
        cost = measure("ours", of_size(detections), 3)
        if cost:
            each = f"{1e6 * cost.cpu / detections:9.2f}"
            print(row(f"{detections:,}", cost) + each + memory(cost))
    return 0


def row(name: str, cost: Cost) -> str:
    return f"{name:10}{cost.wall:9.3f}{cost.cpu:9.3f}"


def memory(cost: Cost) -> str:
    return f"{cost.peak:9.0f}{cost.more:7.0f}"


if __name__ == "__main__":
    sys.exit(main())
