"""What runs will cost: steps, times seconds that a step took on this machine."""

from __future__ import annotations

import csv
import json
import math
import statistics
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from data.formats.files import write_text
from data.records import InputError
from training.experiments.options import resolved
from training.experiments.plan import Run

__all__ = ["Speeds", "duration", "measured_speeds", "seconds_of", "speed_key"]

IMAGES = {  # for training and for testing
    "cifar100": (50_000, 10_000),
    "small-imagenet": (1_281_167, 50_000),
    "imagenet": (1_281_167, 50_000),
    "voc": (16_551, 4_952),
    "shapes": (2_000, 500),
}
START = 10.0
"""Seconds until a run's first step: imports, data, the network."""
FORWARD = 1 / 3
"""What part of a training step its forward pass is."""
SMALL = 32
"""Side of the images of all data sets for classification but ImageNet's, in pixels."""
FILE = "speeds.json"


def speed_key(run: Run, *, plain: bool = False) -> str:
    """What the time of a step depends on; a shuffle is too cheap to be told from none.

    Parameters
    ----------
    run
        Any.
    plain
        Leave out GAP+FC too, which is quicker than the network that it is made of.

    Examples
    --------
    >>> speed_key(Run("a", "train_classify", {"data": "cifar100", "arch": "vgg16", "width": 0.25}))
    'train_classify vgg16 width 0.25, 32 pixels, batch 128, auto 32-true'
    """
    options = resolved(run.script, run.options)
    network = f"{options['arch']} width {options.get('width', 1):g}"
    if options.get("method") == "gap_fc" and not plain:
        network += f" gap_fc {options['last'] or options['layer'] or options['layers']}"
    own = run.script == "train_detect" or options["data"] == "imagenet"
    side = options["input_size"] if own else SMALL
    return (
        f"{run.script} {network}, {side} pixels, batch {options['batch_size']}, "
        f"{options['accelerator']} {options['precision']}"
    )


def seconds_of(run: Run, step: float) -> float:
    """Seconds that a run takes in all where a training step takes `step`."""
    options = resolved(run.script, run.options)
    train, test = image_counts(options)
    batch = int(options["batch_size"])
    shuffled = options.get("method", options.get("shuffle")) not in ("none", "gap_fc")
    if run.test is not None:
        shuffled = run.test.get("method", "spatial") not in ("none", "gap_fc")
    passes = int(options["passes"]) if shuffled else 1
    scoring = passes * test / batch * step * FORWARD
    if run.trained is not None:
        return START + scoring
    used = train * float(options.get("fraction", 1))
    held_out = used * float(options["validation"])
    steps = max((used - held_out) // batch, 1)
    epoch = steps * step + held_out / batch * step * FORWARD / int(options["validate_every"])
    epochs = float(options["epochs"])
    if options.get("max_steps"):
        epochs = min(epochs, options["max_steps"] / steps)
    return START + epochs * epoch + scoring


def image_counts(options: Mapping[str, Any]) -> tuple[int, int]:
    """Images for training and for testing: the official ones, or for VOC lists of one's own their lines."""
    train, test = IMAGES[options["data"]]
    if options["data"] == "voc" and options["root"]:
        return _lines(options, "train", train), _lines(options, "test", test)
    return train, test


def _lines(options: Mapping[str, Any], name: str, usual: int) -> int:
    if not options[name]:
        return usual
    total = 0
    for item in options[name]:
        year, _, split = item.partition(":")
        file = Path(options["root"]) / f"VOC{year}" / "ImageSets" / "Main" / f"{split}.txt"
        if not file.is_file():
            return usual
        total += len(file.read_text(encoding="utf-8").splitlines())
    return total


@dataclass
class Speeds:
    """Seconds of a training step of each network: from finished runs, or else from a probe, which is kept.

    Parameters
    ----------
    out
        Folder of ``speeds.json``.
    machine
        Words for this machine; what was measured on another one does not count here.
    probe
        Measures a step of a run's network.
    from_runs
        What finished runs took.
    """

    out: Path
    machine: str
    probe: Callable[[Run], float]
    from_runs: Mapping[str, float] = field(default_factory=dict)
    quiet: bool = True
    """Whether nothing else is at work here: a probe beside other work is slow, and is not kept."""
    _probed: dict[str, float] = field(default_factory=dict)
    _failed: dict[str, str] = field(default_factory=dict)

    def step(self, run: Run) -> tuple[float, str, str]:
        """Seconds of a step, how they are known, and of what; NaN and why not, where they are not known."""
        key = speed_key(run, plain=True)
        for known in (speed_key(run), key):
            if known in self.from_runs:
                return self.from_runs[known], "a finished run", known
        kept = self._kept()
        if key in kept:
            return kept[key], "a probe", key
        if key not in self._probed and key not in self._failed:
            try:
                self._probed[key] = self.probe(run)
            except (InputError, RuntimeError, ValueError, MemoryError) as error:
                self._failed[key] = f"no probe: {str(error).splitlines()[0]}"
        if key in self._failed:
            return math.nan, self._failed[key], key
        if not self.quiet:
            return self._probed[key], "a probe while the machine is busy", key
        self.out.mkdir(parents=True, exist_ok=True)
        stored = {**self._all(), self.machine: {**kept, key: self._probed[key]}}
        write_text(self.out / FILE, json.dumps(stored, indent=1) + "\n")
        return self._probed[key], "a probe", key

    def _all(self) -> dict[str, dict[str, float]]:
        try:
            stored = json.loads((self.out / FILE).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return stored if isinstance(stored, dict) else {}

    def _kept(self) -> dict[str, float]:
        return dict(self._all().get(self.machine, {}))


def measured_speeds(
    folder: Path, script_of: Callable[[Mapping[str, Any]], Any], machine: str
) -> dict[str, float]:
    """Seconds of a step of the networks of finished runs: the median of those that ran on this machine.

    Parameters
    ----------
    folder
        That of all runs.
    script_of
        Which script a run's options are of.
    machine
        As :func:`machine_of` words it.
    """
    found: dict[str, list[float]] = {}
    for scores in sorted(folder.glob("*/scores.json")):
        try:
            options = yaml.safe_load((scores.parent / "config.yaml").read_text(encoding="utf-8"))
            sittings = json.loads((scores.parent / "provenance.json").read_text(encoding="utf-8"))
            seconds = json.loads(scores.read_text(encoding="utf-8")).get("seconds_per_step")
            seconds = seconds or _logged_step(scores.parent, options)
            if seconds and machine_of(sittings[-1]["machine"]) == machine:
                run = Run(scores.parent.name, script_of(options), options)
                found.setdefault(speed_key(run), []).append(float(seconds))
        except (OSError, ValueError, KeyError, TypeError, IndexError, yaml.YAMLError):
            continue  # a folder of something else
    return {key: statistics.median(values) for key, values in found.items()}


def _logged_step(folder: Path, options: Mapping[str, Any]) -> float | None:
    """Seconds of a step, from the images per second in a run's log; None where it has none."""
    with (folder / "logs" / "csv" / "metrics.csv").open(encoding="utf-8", newline="") as lines:
        rates = [
            float(row["images_per_second"]) for row in csv.DictReader(lines) if row.get("images_per_second")
        ]
    return float(options["batch_size"]) / statistics.median(rates) if rates else None


def machine_of(facts: Mapping[str, Any]) -> str:
    """Words for a machine, from what a provenance says of it.

    Examples
    --------
    >>> machine_of({"processor": "EPYC", "cores": 2, "gpus": []})
    'EPYC, 2 cores'
    """
    gpus = facts.get("gpus") or []
    return f"{facts['processor']}, {facts['cores']} cores" + "".join(f", {gpu}" for gpu in gpus)


def duration(seconds: float) -> str:
    """A time to wait, in the two units that matter.

    Examples
    --------
    >>> [duration(value) for value in (4, 95, 8000, 200_000, float("nan"))]
    ['4 s', '2 min', '2 h 13 min', '2 d 8 h', '?']
    """
    if seconds != seconds:
        return "?"
    if seconds < 60:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    if minutes < 60:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    if hours < 48:
        return f"{hours} h {minutes:02} min"
    days, hours = divmod(round(seconds / 3600), 24)
    return f"{days} d {hours} h"
