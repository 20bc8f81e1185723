"""``make demo``: the paper's finding, small, on the embedded data set.

Draws scenes of shapes, trains a detector, and takes the spatial order of its last backbone layer away in
three ways: in the test alone, by fine-tuning the trained detector with the shuffle, and by training a twin
with the shuffle from the start. It prints what each costs, and in what kind of mistakes.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from data.shapes import LARGE, write_shapes
from diagnosis import Diagnosis, compare
from diagnosis.average_precision import AP_KINDS
from diagnosis.breakdown import ERROR_NAMES
from training.command import exit_code
from training.provenance import provenance
from training.run import evaluate, train
from training.run_state import RunFolder
from training.tasks.detection import DETECTION
from training.tasks.detection_module import write_comparison
from training.tasks.detection_options import Options

__all__ = ["demo_options", "main", "show"]

IMAGES = {"train": 8000, "val": 300, "test": 500}
SIDE = 64  # pixels


class Step(NamedTuple):
    """One of the detectors that the demo compares."""

    name: str
    text: str
    shuffle: str = "last"
    start: str = "none"
    """The run whose weights it starts from."""
    epochs: float = 1
    """A factor on those of the baseline; 0: only tested."""


STEPS = (
    Step("baseline", "nothing shuffled", shuffle="none"),
    Step(
        "test-only",
        "the baseline, its last backbone layer shuffled in the test alone",
        start="baseline",
        epochs=0,
    ),
    Step("fine-tuned", "starts from the baseline, trained on with the shuffle", start="baseline", epochs=0.5),
    Step("shuffled", "trained with the shuffle from the start"),
)


def demo_options(root: Path, *, epochs: int, seed: int) -> Options:
    """The options of the baseline: a ResNet-18 of half the width on 64 pixels and a 4×4 grid.

    The scenes are not augmented: there are enough that the detector sees each only a few times.
    """
    data = {"data": "voc", "root": str(root), "train": ["shapes:trainval"], "test": ["shapes:test"]}
    validation = IMAGES["val"] / (IMAGES["train"] + IMAGES["val"])
    images = {"validation": validation, "input_size": SIDE, "augment": False}
    model = {"arch": "resnet18", "width": 0.5, "head_channels": 128, "grid": SIDE // 16}
    rate = {"warmup_epochs": 0.1, "final_learning_rate": 0.0003}
    steps = {"epochs": epochs, "seed": seed, "batch_size": 32, **rate}
    machine = {"accelerator": "cpu", "precision": "32-true", "channels_last": True, "workers": 0}
    return Options.from_flat({**data, **images, **model, **steps, **machine, "passes": 5, "sheet": 0})


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the demo; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m training.demo", description=__doc__)
    parser.add_argument(
        "--out", type=Path, default=Path("runs/demo"), help="folder, made anew (default: runs/demo)"
    )
    parser.add_argument(
        "--epochs", type=int, default=2, help="epochs of the baseline and of the twin (default: 2)"
    )
    parser.add_argument("--seed", type=int, default=0, help="seed of all detectors (default: 0)")
    chosen = parser.parse_args(arguments)
    return exit_code(lambda: _demo(chosen.out, chosen.epochs, chosen.seed))


def _demo(out: Path, epochs: int, seed: int) -> None:
    began = time.perf_counter()
    print(f"drawing {sum(IMAGES.values())} scenes of shapes", flush=True)
    root = write_shapes(out / "data", **IMAGES, size=(SIDE, SIDE), style=LARGE).parent
    found: list[Diagnosis] = []
    for step in STEPS:
        print(f"\n== {step.name}: {step.text}", flush=True)
        shutil.rmtree(out / step.name, ignore_errors=True)
        options = demo_options(root, epochs=max(1, round(epochs * step.epochs)), seed=seed)
        if step.epochs:
            start = step.start if step.start == "none" else str(out / step.start)
            model = replace(options.model, shuffle=step.shuffle, weights=start)
            diagnosis = train(DETECTION, replace(options, model=model), out / step.name, name=step.name)
        else:
            checkpoint = RunFolder(out / step.start).best_or_last
            changes = {"shuffle": step.shuffle}
            diagnosis = evaluate(
                DETECTION, options, checkpoint, out / step.name, changes=changes, name=step.name
            )
        if diagnosis is not None:
            found.append(diagnosis)
    show(found, out / "comparison", provenance(seed=seed, epochs=epochs))
    print(f"\ndone in {(time.perf_counter() - began) / 60:.1f} minutes", flush=True)


def show(found: Sequence[Diagnosis], out: Path, made_by: dict[str, Any]) -> None:
    """Compare the detectors, write page, figures and tables into `out`, and print what the shuffles cost."""
    comparison = compare(found)
    page, *files = write_comparison(found, out, provenance=made_by, sheet=12, comparison=comparison)
    print(f"\n== what the shuffle costs\n\n{_story(found)}\n\n{comparison.verdict}")
    print(f"\nthe page of all detectors: {page}\nfigures and tables:")
    for file in [*files, out / "summary.txt", out / "diagnosis.json"]:
        print(f"  {file}")


def _story(found: Sequence[Diagnosis]) -> str:
    """Each detector's numbers in a line, then what the shuffles change."""
    correct, localization, *others = ERROR_NAMES
    ap = AP_KINDS["voc07"].name
    columns = (ap, correct, localization, "both", *others)
    rows = {}
    for diagnosis in found:
        shares = diagnosis.breakdown.mean_over_classes()
        row = dict(zip(ERROR_NAMES, shares, strict=True))
        row |= {ap: diagnosis.ap.mean()["voc07"], "both": row[correct] + row[localization]}
        rows[diagnosis.name] = {name: 100 * row[name] for name in columns}
    lines = [
        f"Per cent, on {len(found[0].truth.images)} test scenes: {ap}, and shares of the",
        "detections counted (class mean). both: correct and localization.\n",
        f"{'':12}" + "".join(f"{name:>14}" for name in columns),
        *(f"{name:12}" + "".join(f"{value:14.1f}" for value in row.values()) for name, row in rows.items()),
        "",
    ]
    (baseline, before), *changed = rows.items()
    for name, row in changed:
        changes = (f"{what} {before[what]:.1f} → {row[what]:.1f}" for what in (ap, localization, "both"))
        lines.append(f"{baseline} → {name}: {', '.join(changes)}")
    lines.append("The paper, ResNet-50 on VOC 2007, trained with the shuffle:")
    lines.append("  AP 50 → 34, localization 14.2 → 28.4, both 73.3 → 73.7")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
