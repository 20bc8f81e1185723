"""What runs will cost, and which of them fit into a time (``--budget``).

A run costs the number of its steps times the seconds that a step has taken on this machine, known from
finished runs, or from a probe, which runs a few steps on noise if asked to. Into a time fit fewer epochs, and
the most telling runs first.
"""

from __future__ import annotations

import csv
import json
import math
import os
import re
import statistics
import sys
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from data.datasets import DATASETS
from data.formats.files import write_text
from data.records import InputError
from data.shapes import SHAPE_SETS
from training.experiments.plan import Plan, Run
from training.experiments.schema import Script, resolved, variant_of
from training.provenance import provenance

if TYPE_CHECKING:
    from torch import nn

__all__ = [
    "ORDER", "Speeds", "all_experiments", "fit", "load_epochs", "parse_budget", "probe",
    "rounded_duration", "seconds_of", "speed_key", "store_epochs", "telling_order",
]  # fmt: skip

IMAGE_COUNTS: dict[str, tuple[int, int]] = {  # for training and for testing
    **{name: (dataset.images["train"], dataset.images["test"]) for name, dataset in DATASETS.items()},
    "voc": (16_551, 4_952),
    **{name: (row["train"] + row["val"], row["test"]) for name, row in SHAPE_SETS.items() if "train" in row},
}
CLASS_COUNTS = {**{name: dataset.classes for name, dataset in DATASETS.items()}, "voc": 20}
START_SECONDS = 10.0
"""Until a run's first step: imports, data, the network."""
FORWARD_SHARE = 1 / 3
"""Share of the forward pass in the time of a training step."""
SMALL_IMAGE_PIXELS = 32
"""Side of the images of all data sets for classification but ImageNet's."""
PROBE_STEPS, PROBE_SECONDS = 4, 2.0
"""Steps of a probe, and the time after which it begins no further one."""
CPU_PROBE_PIXELS = 2**15
"""In a probe's step on a CPU, where time grows with the images: 32 of 32×32 pixels."""
MAX_IDLE_LOAD = 0.5
"""Running programs per core, averaged over a minute, below which a machine counts as idle."""


def image_side(run: Run, options: Mapping[str, Any]) -> int:
    """Side of the images that a run's network sees, in pixels."""
    own = run.script == "train_detect" or options["data"] == "imagenet"
    return int(options["input_size"]) if own else SMALL_IMAGE_PIXELS


def speed_key(run: Run, *, plain: bool = False) -> str:
    """What the time of a step depends on; the time that a shuffle adds is too small to count.

    `plain` leaves out GAP+FC too, which is faster than the network that it is made of.
    """
    options = resolved(run.script, run.options)
    network = f"{options['arch']} width {options.get('width', 1):g}"
    if options.get("method") == "gap_fc" and not plain:
        network += f" gap_fc {options['last'] or options['layer'] or options['layers']}"
    return (
        f"{run.script} {network}, {image_side(run, options)} pixels, batch {options['batch_size']}, "
        f"{options['accelerator']} {precision_of(options)}"
    )


def precision_of(options: Mapping[str, Any]) -> str:
    """The precision that a run computes in."""
    if options["precision"] != "auto":
        return str(options["precision"])
    from training.options import MachineOptions
    from training.trainer import resolve_machine  # torch takes seconds

    return resolve_machine(MachineOptions(accelerator=options["accelerator"])).precision


def seconds_of(run: Run, step: float) -> float:
    """Seconds that a run takes in all if a training step takes `step`."""
    from detector.shuffle import SHUFFLES  # torch takes seconds

    options = resolved(run.script, run.options)
    train, test = IMAGE_COUNTS[options["data"]]
    if options["data"] == "voc" and options["root"]:
        train, test = _listed_images(options, "train", train), _listed_images(options, "test", test)
    batch = int(options["batch_size"])
    variant = variant_of(options, run.test)
    method = variant.tested or variant.method
    passes = int(options["passes"]) if method in SHUFFLES and SHUFFLES[method].draws else 1
    scoring = passes * test / batch * step * FORWARD_SHARE
    if run.trained_run is not None:
        return START_SECONDS + scoring
    used = train * float(options.get("fraction", 1))
    held_out = used * float(options["validation"])
    steps = max((used - held_out) // batch, 1)
    epoch = steps * step + held_out / batch * step * FORWARD_SHARE / int(options["validate_every"])
    epochs = float(options["epochs"])
    if options.get("max_steps"):
        epochs = min(epochs, options["max_steps"] / steps)
    return START_SECONDS + epochs * epoch + scoring


def _listed_images(options: Mapping[str, Any], name: str, usual: int) -> int:
    """The number of images in the lists of VOC that a run has, or the usual number."""
    total = 0
    for item in options[name] or ():
        year, _, split = item.partition(":")
        file = Path(options["root"]) / f"VOC{year}" / "ImageSets" / "Main" / f"{split}.txt"
        if not file.is_file():
            return usual
        total += len(file.read_text(encoding="utf-8").splitlines())
    return total if options[name] else usual


class Speeds:
    """Seconds of a training step of each network on this machine, from finished runs or from probes.

    ``speeds.json`` in the folder `out` has what was probed. `probe` measures a step of a run's network; None:
    nothing is measured.
    """

    def __init__(self, out: Path, probe: Callable[[Run], float] | None) -> None:
        facts = provenance()["machine"]
        self._file, self._probe = out / "speeds.json", probe
        self._machine = machine_of(facts)
        self.has_gpu = bool(facts.get("gpus"))
        # While something else runs, a probe is too slow, and is not stored.
        self._idle = os.getloadavg()[0] < MAX_IDLE_LOAD * facts["cores"]
        self._from_runs = measured_speeds(out / "runs", self._machine)
        self._probed: dict[str, tuple[float, str]] = {}

    def step(self, run: Run) -> tuple[float, str, str]:
        """Seconds of a step, their source, and what they are of; NaN and the reason if they are not known."""
        key = speed_key(run, plain=True)
        for known in (speed_key(run), key):
            if known in self._from_runs:
                return self._from_runs[known], "a finished run", known
        try:
            stored = json.loads(self._file.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            stored = {}
        here = stored.get(self._machine, {})
        if key in here:
            return here[key], "a probe", key
        if self._probe is None:
            return math.nan, "not measured yet: --probe measures it", key
        if key not in self._probed:
            print(f"how long does a step take? {key}", file=sys.stderr, flush=True)
            try:
                seconds = self._probe(run)
            except (InputError, RuntimeError, ValueError, MemoryError) as error:
                self._probed[key] = math.nan, f"no probe: {str(error).splitlines()[0]}"
            else:
                self._probed[key] = seconds, "a probe" if self._idle else "a probe while the machine is busy"
                if self._idle:
                    self._file.parent.mkdir(parents=True, exist_ok=True)
                    stored[self._machine] = {**here, key: seconds}
                    write_text(self._file, json.dumps(stored, indent=1) + "\n")
        return *self._probed[key], key


def measured_speeds(folder: Path, machine: str) -> dict[str, float]:
    """Seconds of a step of the networks of finished runs: the median of those that ran on `machine`."""
    found: dict[str, list[float]] = {}
    for scores in sorted(folder.glob("*/scores.json")):
        try:
            options = yaml.safe_load((scores.parent / "config.yaml").read_text(encoding="utf-8"))
            sessions = json.loads((scores.parent / "provenance.json").read_text(encoding="utf-8"))
            seconds = json.loads(scores.read_text(encoding="utf-8")).get("seconds_per_step")
            seconds = seconds or _logged_step(scores.parent, options)
            if seconds and machine_of(sessions[-1]["machine"]) == machine:
                script: Script = "train_detect" if "shuffle" in options else "train_classify"
                key = speed_key(Run(scores.parent.name, script, options))
                found.setdefault(key, []).append(float(seconds))
        except (OSError, ValueError, KeyError, TypeError, IndexError, yaml.YAMLError):
            continue  # a folder of something else
    return {key: statistics.median(values) for key, values in found.items()}


def _logged_step(folder: Path, options: Mapping[str, Any]) -> float | None:
    """Seconds of a step, from the images per second in a run's log; None if it has none."""
    with (folder / "logs" / "csv" / "metrics.csv").open(encoding="utf-8", newline="") as lines:
        rates = [
            float(row["images_per_second"]) for row in csv.DictReader(lines) if row.get("images_per_second")
        ]
    return float(options["batch_size"]) / statistics.median(rates) if rates else None


def machine_of(facts: Mapping[str, Any]) -> str:
    """A machine in words, from what a provenance says of it."""
    gpus = facts.get("gpus") or []
    return f"{facts['processor']}, {facts['cores']} cores" + "".join(f", {gpu}" for gpu in gpus)


def rounded_duration(seconds: float) -> str:
    """A time to wait, in the two units that matter.

    Examples
    --------
    >>> [rounded_duration(value) for value in (4, 95, 8000, 200_000, float("nan"))]
    ['4 s', '2 min', '2 h 13 min', '2 d 8 h', '?']
    """
    if math.isnan(seconds):
        return "?"
    if seconds < 60:
        return f"{seconds:.0f} s"
    minutes, hours = round(seconds / 60), round(seconds / 3600)
    if minutes < 60:
        return f"{minutes} min"
    if minutes < 48 * 60:
        return f"{minutes // 60} h {minutes % 60:02} min"
    return f"{hours // 24} d {hours % 24} h"


def probe(run: Run) -> float:
    """Seconds of a training step, from a few steps on noise.

    On a CPU each has a few images, and the time is extrapolated; on a GPU it has a whole batch.
    """
    import torch

    from training.command import quiet
    from training.options import MachineOptions
    from training.trainer import autocast, make_device

    quiet()
    options = resolved(run.script, run.options)
    batch, side = int(options["batch_size"]), image_side(run, options)
    device = make_device(MachineOptions(accelerator=options["accelerator"]))
    images = min(batch, max(2, CPU_PROBE_PIXELS // side**2)) if device.type == "cpu" else batch
    layout = torch.channels_last if options["channels_last"] else torch.contiguous_format
    network = _unmodified(run, options, side).to(device, memory_format=layout).train()  # type: ignore[call-overload]
    noise = torch.randn(images, 3, side, side, device=device).to(memory_format=layout)
    optimizer = torch.optim.SGD(network.parameters(), lr=1e-6, momentum=0.9)

    def step() -> float:
        began = time.perf_counter()
        with autocast(device, precision_of(options)):
            output = network(noise)
            values = output.values() if isinstance(output, Mapping) else [output]
            loss = torch.stack([value.float().square().mean() for value in values]).sum()
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        return time.perf_counter() - began

    step()  # allocations, the choice of kernels
    times = [step()]
    while len(times) < PROBE_STEPS and sum(times) < PROBE_SECONDS:
        times.append(step())
    return min(times) * batch / images  # the fastest: other programs may be at work


def _unmodified(run: Run, options: Mapping[str, Any], side: int) -> nn.Module:
    """The network of a run with nothing modified."""
    if run.script == "train_detect":
        from training.tasks.detection import DETECTION

        detection = DETECTION.options.from_flat({**options, "weights": "none", "shuffle": "none"})
        return DETECTION.build(detection.model, {"classes": range(CLASS_COUNTS["voc"]), "input_size": side})
    from training.tasks.classification import CLASSIFICATION

    plain = CLASSIFICATION.complete_changes({"method": "none", "weights": "none"})
    classification = CLASSIFICATION.options.from_flat({**options, **plain})
    facts = {"classes": range(CLASS_COUNTS[options["data"]]), "image_size": side}
    return CLASSIFICATION.build(classification.model, facts)


# ---------------------------------------------------------------- what fits into a time

ORDER = ("figure4", "figure9", "table1", "figure1", "figure5", "figure6", "figure7", "pretrained", "shapes")
"""Experiments by what they tell of the paper; others come last."""
FRACTIONS = (1.0, 1 / 2, 1 / 4, 1 / 8, 1 / 16)
"""Shares of an experiment's epochs that are tried. With fewer a network has learnt too little."""
RESERVE = 0.1
"""Share of the time held back for costs that were estimated too low."""
FIRST_LEVELS = 2
"""Levels of a sweep, its middle and its ends, that have to fit before there is time for more epochs."""

Make = Callable[[Mapping[str, float]], Sequence[Plan]]
"""Plans, given the fraction of the epochs for each data set."""
Cost = Callable[[Run], float]
"""Seconds of a run; NaN if they are not known."""


def parse_budget(text: str) -> float:
    """Seconds of a time such as ``30m``, ``8h`` or ``1h30m``.

    Examples
    --------
    >>> [parse_budget(text) for text in ("90s", "30m", "1h30m", "1.5h", "2d")]
    [90.0, 1800.0, 5400.0, 5400.0, 172800.0]
    """
    number = r"(?:(\d+(?:\.\d+)?){})?"
    found = re.fullmatch("".join(map(number.format, "dhms")), text.replace(" ", "").lower())
    parts = zip(found.groups(), (86_400, 3_600, 60, 1), strict=True) if found else ()
    seconds = sum(float(part or 0) * unit for part, unit in parts)
    if not 0 < seconds < math.inf:
        raise InputError("--budget", repr(text), "a time such as 30m, 8h or 1h30m")
    return seconds


def all_experiments(folder: Path) -> list[Path]:
    """The experiment files of a folder, the most telling first."""
    files = [*folder.glob("*.yaml")]
    if not files:
        raise InputError(folder, "no experiments", "the folder experiments/ of a clone of the repository")
    places = {name: place for place, name in enumerate(ORDER)}
    return sorted(files, key=lambda file: (places.get(file.stem, len(ORDER)), file.stem))


def telling_order(plans: Sequence[Plan]) -> list[tuple[int, Run]]:
    """The runs of all plans with their level, the most telling first; each once.

    A sweep is made finer level by level: its middle, its ends, then what halves the gaps. A further seed
    comes after all levels of the one before. A scoring with another shuffle comes after its training.
    """
    order: dict[tuple[int, int, int], list[Run]] = {}
    last = 0
    for place, plan in enumerate(plans):
        trainings = {run.name: run for run in plan.runs}
        for series in plan.experiment.series:
            points = [point for point in plan.points if point.series == series.name]
            for point, level in zip(points, _levels(len(points)), strict=True):
                last = max(last, level)
                for seed, run in enumerate(point.runs):
                    before = [] if run.trained_run is None else [trainings[run.trained_run]]
                    order.setdefault((seed, level, place), []).extend([*before, run])
    found: dict[str, tuple[int, Run]] = {}
    for seed, level, place in sorted(order):
        for run in order[seed, level, place]:
            found.setdefault(run.name, (seed * (last + 1) + level, run))
    return list(found.values())


def _levels(count: int) -> list[int]:
    """Level of each of a number of points in a row.

    Examples
    --------
    >>> _levels(1), _levels(3), _levels(7)
    ([0], [1, 0, 1], [1, 2, 3, 0, 2, 3, 1])
    """
    levels = dict.fromkeys((0, count - 1), 1) | {count // 2: 0}
    level = 2
    while len(levels) < count:
        known = sorted(levels)
        levels |= {(a + b) // 2: level for a, b in pairwise(known) if b - a > 1}
        level += 1
    return [levels[place] for place in range(count)]


def fit(
    make: Make,
    cost: Cost,
    seconds: float,
    epochs: Mapping[str, float],
    absent: Collection[str],
    done: Callable[[Run], bool],
) -> tuple[dict[str, float], list[Run]]:
    """The fraction of the epochs for each data set, and the runs that fit into `seconds`, in their order.

    The data sets share the time. For each, the epochs are the most with which its most telling runs fit.
    `epochs` has those of an earlier call, which stay. Runs on an `absent` data set are left out.
    """
    seconds *= 1 - RESERVE
    chosen = dict(epochs)
    data_sets = {str(run.options["data"]) for plan in make({}) for run in plan.runs} - set(absent)
    for data in sorted(data_sets - chosen.keys()):
        for chosen[data] in FRACTIONS:
            first = [run for level, run in telling_order(make({data: chosen[data]})) if level < FIRST_LEVELS]
            first = [run for run in first if run.options["data"] == data]
            if sum(cost(run) for run in first) <= seconds / len(data_sets):
                break
    there: set[str] = set()
    runs = []
    for _, run in telling_order(make(chosen)):
        if run.options["data"] in absent or (run.trained_run is not None and run.trained_run not in there):
            continue
        if done(run):
            there.add(run.name)
        elif cost(run) <= seconds:
            seconds -= cost(run)
            there.add(run.name)
            runs.append(run)
    return chosen, runs


def load_epochs(file: Path) -> dict[str, float]:
    """The fractions that an earlier command chose, so that its runs go on."""
    if not file.is_file():
        return {}
    try:
        return {str(data): float(value) for data, value in json.loads(file.read_text("utf-8")).items()}
    except (ValueError, AttributeError, TypeError):
        expected = "what --budget wrote: remove it, or take another --out"
        raise InputError(file, "no fractions of epochs", expected) from None


def store_epochs(file: Path, epochs: Mapping[str, float]) -> None:
    """Write the chosen fractions."""
    write_text(file, json.dumps(epochs, indent=1) + "\n")
