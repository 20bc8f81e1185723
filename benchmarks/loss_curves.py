"""Whether the fast ways of training learn alike: loss curves of ``train_detect.py`` over three seeds.

    python benchmarks/loss_curves.py        # about four minutes of one core

A ResNet-18 of a quarter of the width on 200 drawn scenes of 64 pixels, batch 8, not compiled. *plain*: 32
bits, contiguous, the standard input. *fast*: 32 bits, channels last, ``--input fast``. *auto*: the same in
the precision that ``--precision auto`` chooses. Prints the mean training loss of each epoch, over the seeds
(least to largest of them).
"""

from __future__ import annotations

import argparse
import csv
import os
import statistics
import subprocess
import sys
import tempfile
from collections import defaultdict
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import torch

from data.shapes import write_shapes
from training.options import MachineOptions
from training.trainer import resolve_machine

ROOT = Path(__file__).resolve().parent.parent
FAST = ["--channels-last=true", "--input=fast"]
WAYS = {
    "plain": ["--precision=32-true", "--channels-last=false", "--input=standard"],
    "fast": ["--precision=32-true", *FAST],
    "auto": ["--precision=auto", *FAST],
}
SCENES, SIZE = 200, 64


def losses(folder: Path, way: str, seed: int, epochs: int) -> list[float]:
    """Train a detector; mean loss of each epoch."""
    out = folder / f"{way}-{seed}"
    words = ["--data=voc", f"--root={folder}", "--train=shapes:train", "--test=shapes:val", f"--seed={seed}"]
    words += ["--arch=resnet18", "--width=0.25", f"--input-size={SIZE}", "--batch-size=8", "--score=false"]
    words += [f"--epochs={epochs}", "--validation=0", "--workers=0", "--compile=false", f"--out={out}"]
    words += [f"--cache={folder / 'cache'}", *WAYS[way]]
    command, one_thread = [sys.executable, "train_detect.py", *words], os.environ | {"OMP_NUM_THREADS": "1"}
    subprocess.run(command, cwd=ROOT, env=one_thread, stdout=subprocess.DEVNULL, check=True)
    of_epoch = defaultdict(list)
    with (out / "logs" / "csv" / "metrics.csv").open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            if row["loss"]:
                of_epoch[int(row["epoch"])].append(float(row["loss"]))
    return [statistics.fmean(values) for _, values in sorted(of_epoch.items())]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--epochs", type=int, default=4)
    options = parser.parse_args()
    auto = resolve_machine(MachineOptions()).precision
    print(f"torch {torch.__version__}; --precision auto: {auto}; seeds {options.seeds}\n")
    print(f"| epoch | {' | '.join(map(str, range(1, options.epochs + 1)))} |")
    print("|---|" + "--:|" * options.epochs)
    with tempfile.TemporaryDirectory() as name:
        write_shapes(name, SCENES, 10, 0, size=(SIZE, SIZE))
        for way in WAYS:
            curves = [losses(Path(name), way, seed, options.epochs) for seed in options.seeds]
            cells = (
                f"{statistics.fmean(values):.2f} ({min(values):.2f} to {max(values):.2f})"
                for values in zip(*curves, strict=True)
            )
            print(f"| {way} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
