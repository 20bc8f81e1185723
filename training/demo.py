"""``make demo``: the main job, small, on the embedded data set.

Draws the shapes, trains a detector and a twin whose last backbone layer is shuffled, the same way, from the
same seed, and says what the shuffle costs and in what kind of mistakes.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch

from data.shapes import write_shapes
from diagnosis import Diagnosis, sentences, table
from training.command import exit_code
from training.provenance import provenance
from training.run import train
from training.tasks.detection import DETECTION
from training.tasks.detection_module import write_comparison
from training.tasks.detection_options import Options

__all__ = ["demo_options", "main"]

IMAGES = {"train": 2100, "val": 150, "test": 300}
SIDE = 96  # pixels
VALIDATION = 0.07  # of train and val together


def demo_options(root: Path, *, epochs: int, seed: int) -> Options:
    """The demo's options but for the shuffle: a ResNet-18 on 96 pixels and a 6×6 grid.

    The scenes are not augmented: so many are drawn that the detector sees each only a few times.
    """
    data = {"data": "voc", "root": str(root), "train": ["shapes:trainval"], "test": ["shapes:test"]}
    images = {"validation": VALIDATION, "input_size": SIDE, "augment": False}
    model = {"arch": "resnet18", "grid": SIDE // 16}
    steps = {"epochs": epochs, "seed": seed, "warmup_epochs": 0.33, "final_learning_rate": 0.00005}
    # Where the processor has no bf16 it is imitated, at 0.6 of the speed of 32 bits.
    precision = "bf16-mixed" if torch.cpu._is_avx512_bf16_supported() else "32-true"
    machine = {"accelerator": "cpu", "precision": precision, "workers": 0}
    return Options.from_flat({**data, **images, **model, **steps, **machine, "passes": 5, "sheet": 0})


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the demo; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m training.demo", description=__doc__)
    parser.add_argument(
        "--out", type=Path, default=Path("runs/demo"), help="folder, made anew (default: runs/demo)"
    )
    parser.add_argument(
        "--epochs", type=int, default=5, help="epochs of each of the two detectors (default: 5)"
    )
    parser.add_argument("--seed", type=int, default=0, help="seed of both detectors (default: 0)")
    chosen = parser.parse_args(arguments)
    return exit_code(lambda: _demo(chosen.out, chosen.epochs, chosen.seed))


def _demo(out: Path, epochs: int, seed: int) -> None:
    began = time.perf_counter()
    print(f"drawing {sum(IMAGES.values())} scenes of shapes", flush=True)
    root = write_shapes(out / "data", **IMAGES, size=(SIDE, SIDE)).parent
    options = demo_options(root, epochs=epochs, seed=seed)
    found: list[Diagnosis] = []
    for name, shuffle in (("baseline", "none"), ("shuffled", "last")):
        print(
            f"\n== {name}: {'the last layer of the backbone shuffled' if found else 'nothing shuffled'}",
            flush=True,
        )
        shutil.rmtree(out / name, ignore_errors=True)
        chosen = replace(options, model=replace(options.model, shuffle=shuffle))
        diagnosis = train(DETECTION, chosen, out / name, name=name)
        if diagnosis is not None:
            found.append(diagnosis)
    files = write_comparison(
        found, out / "comparison", provenance=provenance(seed=seed, epochs=epochs), sheet=12
    )
    print(f"\n== what the shuffle costs\n\n{table(found)}\n")
    print("\n".join(sentences(found)))
    print("\nfigures and tables:")
    for file in [*files, out / "comparison" / "summary.txt", out / "comparison" / "diagnosis.json"]:
        print(f"  {file}")
    print(f"\ndone in {(time.perf_counter() - began) / 60:.1f} minutes", flush=True)


if __name__ == "__main__":
    sys.exit(main())
