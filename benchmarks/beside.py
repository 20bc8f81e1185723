"""The commands beside older code: both run the same jobs, in turn, in new processes.

    git worktree add OLD 964ea15
    python benchmarks/beside.py OLD [--jobs diagnose …] [--turns 3]

Training on drawn scenes and shapes for a number of steps, with one thread, and the diagnosis of drawn sets of
the size of VOC 2007 test and COCO val. Of each job: processor seconds of the command and its processes, wall
seconds, peak memory of the largest process; then the median of the ratios of pairs. Processor time hardly
depends on what else the machine does; wall time does.
"""

from __future__ import annotations

import os
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.common import ROOT, command_line, in_turns, median_ratio, one_thread
from benchmarks.diagnosis import written
from benchmarks.synthetic import SIZES
from data.shapes import write_shapes

TRAIN = "--arch resnet18 --epochs 1000 --accelerator cpu --precision 32-true --compile false --workers 0"
DETECT = (
    "train_detect.py --data voc --root {data} --train shapes:train --test shapes:val --validation 0 "
    f"--input-size 128 --batch-size 8 {TRAIN}"
)
CLASSIFY = f"train_classify.py --data shapes --width 0.25 {TRAIN}"
JOBS = {
    "train a detector, 1 step": f"{DETECT} --max-steps 1",
    "train a detector, 60 steps": f"{DETECT} --max-steps 60",
    "the same, last layer shuffled": f"{DETECT} --max-steps 60 --shuffle last",
    "train a classifier, 100 steps": f"{CLASSIFY} --max-steps 100",
    "the same, last 4 shuffled": f"{CLASSIFY} --max-steps 100 --method spatial --last 4",
    "diagnose VOC, numbers": "-m diagnosis {voc} --replicates 0 --no-figures",
    "diagnose VOC, page and intervals": "-m diagnosis {voc}",
    "diagnose COCO, numbers": "-m diagnosis {coco} --replicates 0 --no-figures",
    "diagnose COCO, page and intervals": "-m diagnosis {coco}",
}
Cost = tuple[float, float, float]


def cost(words: Sequence[str], tree: Path = ROOT) -> Cost:
    """Processor and wall seconds of ``python WORDS`` in a folder with code, GB of its largest process."""
    clock = time.perf_counter()
    process = os.fork()
    if not process:
        os.chdir(tree)
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, 1)
        os.dup2(null, 2)
        os.execve(sys.executable, [sys.executable, *words], os.environ | {"PYTHONPATH": str(tree)})
    _, status, usage = os.wait4(process, 0)
    if status:
        sys.exit(f"{tree}: exit code {os.waitstatus_to_exitcode(status)} of python {' '.join(words)}")
    return usage.ru_utime + usage.ru_stime, time.perf_counter() - clock, usage.ru_maxrss / 1e6


def once(job: str, tree: Path) -> Cost:
    """What a job costs, which writes into a new folder."""
    with tempfile.TemporaryDirectory() as folder:
        return cost([*job.split(), "--out", f"{folder}/out"], tree)


def main() -> None:
    parser = command_line(__doc__)
    parser.add_argument("older", type=Path, metavar="OLD", help="a folder with older code")
    parser.add_argument("--jobs", nargs="+", default=[""], help="parts of their names; default: all")
    parser.add_argument("--turns", type=int, default=3, help="pairs that are measured (%(default)s)")
    chosen = parser.parse_args()
    one_thread()
    print("| | CPU, times of before | wall | memory | CPU s now, before |\n|---|--:|--:|--:|--:|")
    with tempfile.TemporaryDirectory() as folder:
        places = {name: Path(folder) / name for name in ("data", "voc", "coco")}
        write_shapes(places["data"], train=64, val=8, test=8, size=(160, 120))
        inputs = {"data": str(places["data"])}
        for size in ("voc", "coco"):
            places[size].mkdir()
            inputs[size] = " ".join(written(SIZES[size], places[size]))
        for name, job in JOBS.items():
            if not any(part in name for part in chosen.jobs):
                continue
            filled = job.format(**inputs)
            trees = {"now": ROOT, "before": chosen.older.resolve()}
            works = {side: lambda _, tree=tree: once(filled, tree) for side, tree in trees.items()}  # noqa: B023
            now, before = (list(zip(*costs, strict=True)) for costs in in_turns(works, chosen.turns).values())
            ratios = map(median_ratio, now, before)
            seconds = [statistics.median(side[0]) for side in (now, before)]
            columns = " | ".join(f"{ratio:.2f}" for ratio in ratios)
            print(f"| {name} | {columns} | {seconds[0]:.1f}, {seconds[1]:.1f} |", flush=True)


if __name__ == "__main__":
    main()
