"""Seconds from the command line of ``train_detect.py`` to its first step.

    git worktree add OLD 964ea15
    python benchmarks/first_step.py --beside OLD

Each turn starts new processes, which end after their first step: a ResNet-18 on drawn scenes of 64 pixels, no
processes that load images. Processor time hardly depends on what else the machine does; wall time does.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.common import ROOT, command_line, in_turns, median_ratio, one_thread
from data.shapes import write_shapes

RUN = """
import importlib.machinery, os, sys, time
from pathlib import Path

loop = "lightning.pytorch.loops.training_epoch_loop"

class Finder:  # of Lightning's loop, which stops after a step
    def find_spec(self, name, path=None, target=None):
        if name != loop:
            return None
        spec = importlib.machinery.PathFinder.find_spec(name, path)
        execute = spec.loader.exec_module
        def exec_module(module):
            execute(module)
            step = module._TrainingEpochLoop.advance
            def first(*arguments):
                step(*arguments)
                used = os.times()
                began = int(Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19])
                wall = time.clock_gettime(time.CLOCK_BOOTTIME) - began / os.sysconf("SC_CLK_TCK")
                print(used.user + used.system, wall, len(sys.modules), flush=True)
                os._exit(0)
            module._TrainingEpochLoop.advance = first
        spec.loader.exec_module = exec_module
        return spec

sys.meta_path.insert(0, Finder())
sys.path.insert(0, "")
try:
    from training.tasks.detection import main
except ImportError:  # before the restructuring
    from training.detection.command import main
sys.exit(main(sys.argv[1:]))
"""
WORDS = (
    "--data voc --train shapes:train --test shapes:val --validation 0.25 --arch resnet18 --input-size 64 "
    "--batch-size 4 --epochs 1 --accelerator cpu --workers 0"
)


def first_step(tree: Path, scenes: Path) -> tuple[float, float, int]:
    """Processor and wall time in seconds, and the modules that are imported."""
    with tempfile.TemporaryDirectory() as folder:
        words = [*WORDS.split(), "--root", str(scenes), "--out", f"{folder}/run"]
        ran = subprocess.run(
            [sys.executable, "-c", RUN, *words], cwd=tree, stdout=subprocess.PIPE, text=True, check=True
        )
    used, wall, modules = ran.stdout.splitlines()[-1].split()
    return float(used), float(wall), int(modules)


def main() -> int:
    parser = command_line(__doc__)
    parser.add_argument("--beside", type=Path, help="a folder with older code, measured in turn")
    parser.add_argument("--turns", type=int, default=5, help="new processes of each (%(default)s)")
    chosen = parser.parse_args()
    one_thread()
    trees = {"now": ROOT} | ({"before": chosen.beside.resolve()} if chosen.beside else {})
    with tempfile.TemporaryDirectory() as folder:
        write_shapes(folder, train=16, val=6, test=6, size=(64, 64))
        works = {name: lambda _, tree=tree: first_step(tree, Path(folder)) for name, tree in trees.items()}
        found = in_turns(works, chosen.turns)
    for name, turns in found.items():
        used, wall, modules = zip(*turns, strict=True)
        each = " ".join(f"{seconds:.2f}" for seconds in used)
        print(
            f"{name}: processor time {statistics.median(used):.2f} s ({each}), "
            f"wall time {statistics.median(wall):.2f} s, {modules[0]} modules"
        )
    if chosen.beside:
        now, before = (list(zip(*costs, strict=True)) for costs in found.values())
        ratios = list(map(median_ratio, now, before))
        print(f"now in times of before: processor time {ratios[0]:.2f}, wall time {ratios[1]:.2f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
