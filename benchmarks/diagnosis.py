"""What a whole diagnosis costs, beside TIDE by tidecv and by hotcoco on the same detections.

    python benchmarks/diagnosis.py [--sizes voc coco] [--growth 10000 … 5000000] [--rounds 3] [--passes 5]

Draws seeded detections of the size of VOC 2007 test (100,000) and of COCO val (500,000, 80 classes) and
times ours: all overlaps, the five-way breakdown, what each error type costs, TIDE, AP; theirs: TIDE alone.
First from arrays in memory, without what the tools need to take them in, then from COCO's two files, with
it. Then how our cost grows to 5 million detections, and the intervals (1,000 replicates) at the smaller size.
Last the command ``python -m diagnosis`` from its arguments to the page, each run in a new process, and where
the time goes.

Each tool runs in new processes, in turn with the others; these also have its peak memory. The best
pass counts, for other programs only ever add to it; CPU seconds sum the threads. A tool that is not
installed is left out.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import multiprocessing
import os
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # before this folder and its diagnosis.py

import numpy as np

from benchmarks.common import forget_peak, in_a_process, resident
from benchmarks.diagnosis_tools import TOOLS, Laps, missing
from benchmarks.synthetic import SIZES, Size, of_size, synthetic
from data.formats.classes import VOC_CLASSES
from data.formats.coco import write_coco_detections, write_coco_ground_truth
from data.formats.voc import AnnotatedObject, annotation_xml, write_detections
from data.records import Detections

REPLICATES = 1000
COLUMNS = ("wall s", "CPU s", "× wall", "× CPU", "first s", "import s", "peak MB", "+MB", "AP50")


class Cost(NamedTuple):
    """Of one tool: wall and CPU seconds of the best pass, wall seconds of the first and of the import,
    megabytes at most, and of these on top of what data and tool take before; mean AP; CPU seconds of the
    parts."""

    wall: float
    cpu: float
    first: float
    imports: float
    peak: float
    more: float
    ap: float
    parts: dict[str, float]

    def better(self, other: Cost) -> Cost:
        """The smaller of each, but of memory the larger."""
        wall, cpu, first, imports = map(min, self[:4], other[:4])
        peak, more = map(max, self[4:6], other[4:6])
        parts = {name: min(seconds, other.parts[name]) for name, seconds in self.parts.items()}
        return Cost(wall, cpu, first, imports, peak, more, self.ap, parts)


# ---- in a new process ------------------------------------------------------------------------


def one(name: str, size: Size, passes: int, folder: str) -> Cost:
    """What one tool costs; from arrays if there is no `folder` of files."""
    tool, laps = TOOLS[name], Laps()
    clock = time.perf_counter()
    for module in tool.modules:
        import_module(module)
    imports = time.perf_counter() - clock
    if folder:
        assert tool.from_files
        whole = tool.from_files(*files_in(folder), laps)
    else:
        whole = tool.from_arrays(*synthetic(size), laps)
    forget_peak()  # that of drawing the data
    before = resident("VmRSS") / 2**20
    wall, cpu, ap = [], [], float("nan")
    for _ in range(tool.passes or passes):
        clock, busy = time.perf_counter(), time.process_time()
        with contextlib.redirect_stdout(io.StringIO()):
            ap = whole()
        wall.append(time.perf_counter() - clock)
        cpu.append(time.process_time() - busy)
    peak = resident("VmHWM") / 2**20
    return Cost(min(wall), min(cpu), wall[0], imports, peak, peak - before, ap, dict(laps))


def files_in(folder: str) -> tuple[Path, Path]:
    return Path(folder) / "annotations.json", Path(folder) / "results.json"


def resampling(size: Size) -> dict[str, tuple[float, float]]:
    """Wall and CPU seconds of the intervals of one detector, and of two with their differences."""
    from diagnosis import diagnose
    from diagnosis.compare import compare

    truth, found = synthetic(size)
    unsure = found.scores * np.random.default_rng(1).random(len(found))
    other = Detections(truth.images, truth.classes, found.image_index, found.labels, unsure, found.boxes)
    both = [diagnose(truth, record, name, coco=False) for name, record in (("a", found), ("b", other))]
    seconds = {}
    for text, diagnoses in (("one detector", both[:1]), ("two, with paired differences", both)):
        clock, busy = time.perf_counter(), time.process_time()
        compare(diagnoses, replicates=REPLICATES)
        seconds[text] = (time.perf_counter() - clock, time.process_time() - busy)
    return seconds


def written(size: Size, folder: Path) -> list[str]:
    """Arguments of the command: the size's files, as VOC's or as COCO's, made if they are not there."""
    if not size.by_class:
        source, results = files_in(str(folder))
        if not source.exists():
            write_files(size, str(folder))
        return ["--ground-truth", str(source), "--detections", str(results)]
    truth, found = synthetic(size)
    tree, unsure = folder / "VOC2007", found.scores * np.random.default_rng(1).random(len(found))
    detections = [folder / name for name in ("det_a", "det_b")]
    if not tree.exists():
        for part in ("Annotations", "ImageSets/Main"):
            (tree / part).mkdir(parents=True)
        (tree / "ImageSets/Main/test.txt").write_text("\n".join(truth.images))
        things: list[list[AnnotatedObject]] = [[] for _ in truth.images]
        boxes = truth.boxes.round()
        boxes[:, 2:] = np.maximum(boxes[:, 2:], boxes[:, :2] + 1)
        for row, image in enumerate(truth.image_index):
            corners = tuple(boxes[row].tolist())
            thing = AnnotatedObject(
                VOC_CLASSES[truth.labels[row]], corners, bool(truth.difficult[row]), row % 2
            )
            things[image].append(thing)
        for name, (width, height), objects in zip(truth.images, truth.sizes.tolist(), things, strict=True):
            text = annotation_xml("VOC2007", f"{name}.jpg", (width, height), objects)
            (tree / f"Annotations/{name}.xml").write_text(text)
        for path, scores in zip(detections, (found.scores, unsure), strict=True):
            rows = found.image_index, found.labels, scores, found.boxes
            write_detections(Detections(truth.images, VOC_CLASSES, *rows), path)
    return ["--ground-truth", f"{tree}:test", "--detections", *map(str, detections)]


def command(arguments: Sequence[str]) -> dict[str, float]:
    """Seconds of the steps of ``python -m diagnosis``, as it says them itself, and CPU seconds of all."""
    clock, seconds = time.perf_counter(), dict[str, float]()
    name = "import"
    from diagnosis import __main__ as program
    from diagnosis.progress import Progress

    def end(step: str) -> None:
        nonlocal clock, name
        now = time.perf_counter()
        seconds[name] = seconds.get(name, 0.0) + now - clock
        clock, name = now, step

    class Steps(Progress):
        def __call__(self, step: str, *details: str) -> None:
            end("reading detections" if step.startswith("reading /") else step.partition(" ")[0])

    program.Progress = Steps  # type: ignore[attr-defined]
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        assert program.main(arguments) == 0
    end("")
    multiprocessing.active_children()  # waits for those that have ended: else their time does not count
    return seconds | {"CPU": time.process_time() + sum(os.times()[2:4])}


def write_files(size: Size, folder: str) -> None:
    """Draw a set, and write COCO's two files of it."""
    truth, found = synthetic(size)
    annotations, results = files_in(folder)
    write_coco_ground_truth(truth, annotations)
    write_coco_detections(found, results)


def measure(name: str, size: Size, passes: int, folder: str = "") -> Cost:
    return in_a_process(one, name, size, passes, folder)


# ---- tables ----------------------------------------------------------------------------------


def side_by_side(size: Size, options: argparse.Namespace, folder: str = "") -> None:
    """One table: the tools in turn, `rounds` times."""
    names = [name for name in options.tools if TOOLS[name].from_files or not folder]
    installed = [name for name in names if not missing(TOOLS[name])]
    costs: dict[str, Cost] = {}
    for turn in range(options.rounds):
        for name in installed:
            if turn and TOOLS[name].passes:
                continue  # so slow that once is enough
            cost = measure(name, size, options.passes, folder)
            costs[name] = cost.better(costs[name]) if name in costs else cost
    print(f"{'':24}" + "".join(f"{column:>9}" for column in COLUMNS))
    reference = next(iter(costs.values()))
    for name in names:
        if name not in costs:
            print(f"{name:24}is not installed: {TOOLS[name].install}")
            continue
        cost = costs[name]
        ratios = f"{cost.wall / reference.wall:9.1f}{cost.cpu / reference.cpu:9.1f}"
        spent = f"{cost.wall:9.3f}{cost.cpu:9.3f}{ratios}{cost.first:9.3f}{cost.imports:9.2f}"
        print(f"{name:24}{spent}{memory(cost)}{cost.ap:9.4f}")
        if cost.parts:
            shares = ", ".join(f"{part} {seconds:.3f}" for part, seconds in cost.parts.items())
            print(f"{'':24}CPU s of the parts: {shares}")
    sys.stdout.flush()


def memory(cost: Cost) -> str:
    return f"{cost.peak:9.0f}{cost.more:9.0f}"


def growth(sizes: Sequence[int]) -> None:
    print("\nours, 100 detections an image, from arrays in memory")
    print(f"{'detections':>12}{'wall s':>9}{'CPU s':>9}{'CPU µs each':>13}{'peak MB':>9}{'+MB':>9}")
    for detections in sizes:
        cost = measure("ours", of_size(detections), 3)
        each = f"{1e6 * cost.cpu / detections:13.2f}"
        print(f"{detections:12,}{cost.wall:9.3f}{cost.cpu:9.3f}{each}" + memory(cost), flush=True)


COMMANDS = {
    "VOC's files, two detectors, page and intervals": ("voc", []),
    "VOC's files, two detectors, numbers alone": ("voc", ["--replicates", "0", "--no-figures"]),
    "COCO's files, one detector, page and intervals": ("coco", []),
}


def commands(rounds: int) -> None:
    """From the arguments to the page, in a new process: the quickest of some rounds."""
    with tempfile.TemporaryDirectory() as folder:
        for text, (name, more) in COMMANDS.items():
            place = Path(folder) / name
            place.mkdir(exist_ok=True)
            arguments = [*written(SIZES[name], place), *more, "--out", str(place / "out")]
            best: tuple[float, dict[str, float]] = (float("inf"), {})
            for _ in range(rounds):
                clock = time.perf_counter()
                steps = in_a_process(command, arguments)
                best = min(best, (time.perf_counter() - clock, steps), key=lambda one: one[0])
            wall, steps = best
            parts = ", ".join(f"{step} {seconds:.2f}" for step, seconds in steps.items() if step != "CPU")
            print(f"\n{text}: {wall:.2f} s, {steps['CPU']:.2f} CPU s\n    {parts}", flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--sizes", nargs="*", default=list(SIZES), choices=list(SIZES))
    parser.add_argument("--growth", nargs="*", type=int, default=[10_000, 100_000, 1_000_000, 5_000_000])
    parser.add_argument("--tools", nargs="*", default=list(TOOLS), choices=list(TOOLS))
    parser.add_argument("--rounds", type=int, default=3, help="processes of each tool (%(default)s)")
    parser.add_argument("--passes", type=int, default=5, help="of the fast tools in a process (%(default)s)")
    parser.add_argument("--no-intervals", action="store_true", help="leave the intervals out")
    parser.add_argument("--no-command", action="store_true", help="leave the command out")
    options = parser.parse_args()
    os.environ["MPLBACKEND"] = "agg"
    load: Callable[[], tuple[float, float, float]] = getattr(os, "getloadavg", lambda: (float("nan"),) * 3)
    print(f"{os.cpu_count()} cores, of which other programs keep {load()[0]:.1f} busy")
    for name in options.sizes:
        size = SIZES[name]
        what = f"{name}: {size.detections:,} detections, {size.images:,} images, {size.classes} classes"
        print(f"\n{what}; from arrays in memory")
        side_by_side(size, options)
        with tempfile.TemporaryDirectory() as folder:
            in_a_process(write_files, size, folder)
            megabytes_read = sum(file.stat().st_size for file in files_in(folder)) / 1e6
            print(f"\n{what}; from files of {megabytes_read:.0f} MB")
            side_by_side(size, options, folder)
    if options.growth:
        growth(options.growth)
    if not options.no_intervals:
        print(f"\nintervals of {REPLICATES:,} replicates, voc")
        print(f"{'':32}{'wall s':>9}{'CPU s':>9}")
        for text, (wall, cpu) in in_a_process(resampling, SIZES["voc"]).items():
            print(f"{text:32}{wall:9.1f}{cpu:9.1f}")
    if not options.no_command:
        commands(options.rounds)
    return 0


if __name__ == "__main__":
    sys.exit(main())
