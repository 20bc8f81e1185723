"""What makes a detector learn whose last layer is shuffled: one change at a time, on validation scenes.

    python benchmarks/shuffled_scenes.py --parallel 2     # about an hour of two cores

Each row changes one thing of `experiments/shapes.yaml` (ResNet-18 of half the width, 64×64 pixels, a 4×4
grid) and trains the shuffled detector on 24,000 scenes, half as many as the experiment. Scored are 1,000
validation scenes of the same kind. Runs go to `runs/shuffled-scenes`; a later call finds the finished ones.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import yaml
from torch import nn

from data.formats.files import write_text
from data.shapes import LARGE, VARIED, write_shapes
from data.shapes.scenes import SceneStyle
from detector.networks import ResNet, resnet18
from training.provenance import provenance

ROOT = Path(__file__).resolve().parent.parent
SCENES, VALIDATION_SCENES, PASSES = 24_000, 1_000, 3


class Setting(NamedTuple):
    """What a row changes."""

    name: str
    style: SceneStyle = LARGE
    scenes: int = SCENES
    options: dict[str, object] = {}  # noqa: RUF012  # never changed


SETTINGS = (
    Setting("nothing"),
    Setting("one object", SceneStyle((1.0,), LARGE.largest, LARGE.smallest)),
    Setting("one to five objects, also smaller (`--data shapes`)", VARIED),
    Setting("larger objects: 0.55 to 0.8 of the side", SceneStyle(LARGE.objects, (0.8, 0.6), 0.55)),
    Setting("smaller objects: 0.25 to 0.4", SceneStyle(LARGE.objects, (0.4, 0.35), 0.25)),
    Setting("an 8×8 grid", options={"grid": 8}),
    Setting("a quarter of the width", options={"width": 0.25}),
    Setting("the whole width", options={"width": 1.0}),
    Setting("4,000 scenes, six times", scenes=4_000, options={"epochs": 6}),
    Setting(
        "group norm in place of batch norm",
        options={"backbone": "benchmarks.shuffled_scenes:group_norm", "width": None},
    ),
    Setting("shortcut not shuffled", options={"shuffle_shortcut": False}),
    Setting("batches of 16", options={"batch_size": 16}),
)


def group_norm() -> ResNet:
    """The experiment's backbone with group norm, which has no statistics of a batch of one draw."""
    network = resnet18(None, width=0.5, output_stride=16)
    for module in list(network.modules()):
        for name, child in module.named_children():
            if isinstance(child, nn.BatchNorm2d):
                setattr(module, name, nn.GroupNorm(8, child.num_features))
    return network


def train(folder: Path, job: tuple[int, Setting, int]) -> dict[str, float]:
    """Train and score a detector, unless it is there; returns means of its passes in per cent."""
    number, setting, seed = job
    out, scenes = folder / f"{number}-seed{seed}", folder / f"scenes-{number}"
    if not (out / "scores.json").exists():
        write_shapes(scenes, setting.scenes, VALIDATION_SCENES, 0, size=(64, 64), style=setting.style)
        experiment = yaml.safe_load((ROOT / "experiments/shapes.yaml").read_text(encoding="utf-8"))
        options = experiment["common"] | {"epochs": 1, "validation": 0.0, "passes": PASSES} | setting.options
        options |= {"data": "voc", "root": scenes, "train": "shapes:train", "test": "shapes:val"}
        options |= {"shuffle": "last", "seed": seed, "pictures": 0, "out": out}
        words = [
            f"--{name.replace('_', '-')}={str(value).lower() if isinstance(value, bool) else value}"
            for name, value in options.items()
            if value is not None
        ]
        command = [sys.executable, "train_detect.py", *words]
        done = subprocess.run(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        if done.returncode:
            raise SystemExit(f"{setting.name}: {done.stderr.strip()}")
    passes = json.loads((out / "scores.json").read_text(encoding="utf-8"))["single_passes"]
    shares = {name: 100 * passes["shares"][name]["mean"] for name in ("correct", "localization")}
    print(f"{setting.name}, seed {seed}: done", flush=True)
    return {
        "mAP": 100 * passes["map"]["voc07"]["mean"],
        **shares,
        "correct + localization": sum(shares.values()),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1])
    parser.add_argument("--parallel", type=int, default=1)
    parser.add_argument("--runs", type=Path, default=Path("runs/shuffled-scenes"))
    parser.add_argument(
        "--output", type=Path, default=Path("results/large-shapes-resnet18-w0.5/what-helps"), help="no suffix"
    )
    options = parser.parse_args()
    folder = options.runs.absolute()
    folder.mkdir(parents=True, exist_ok=True)
    jobs = [(number, setting, seed) for number, setting in enumerate(SETTINGS) for seed in options.seeds]
    facts = provenance()
    with ThreadPoolExecutor(options.parallel) as pool:
        results = dict(zip(((n, s) for n, _, s in jobs), pool.map(partial(train, folder), jobs), strict=True))
    names = ("mAP", "correct", "localization", "correct + localization")
    table = [f"| changed | {' | '.join(names)} |", "|---|" + "--:|" * len(names)]
    numbers = {}
    for number, setting in enumerate(SETTINGS):
        found = [results[number, seed] for seed in options.seeds]
        numbers[setting.name] = {name: [round(one[name], 2) for one in found] for name in names}
        cells = (" / ".join(f"{one[name]:.1f}" for one in found) for name in names)
        table.append(f"| {setting.name} | {' | '.join(cells)} |")
    print("\n".join(table))
    write_text(options.output.with_suffix(".md"), "\n".join(table) + "\n")
    write_text(
        options.output.with_suffix(".json"),
        json.dumps({"provenance": facts, "seeds": options.seeds, "per cent": numbers}, indent=1) + "\n",
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
