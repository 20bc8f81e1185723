"""The ledger of a training step: where the time of ``train_detect.py`` and ``train_classify.py`` goes.

    python benchmarks/train.py                              # every row: table, train.md, train.png in --out
    python benchmarks/train.py --rows resnet50-224 --steps 5

The commands' own loop is run, with Lightning, logs and augmentation, and takes a mark of the clock at each
boundary: what no stage takes is *gaps*. On a CPU the clock is the processor time of this process over
--threads, which other programs do not count in, and images are read in this process; on a GPU it is the time
that passes, with a synchronisation at each mark. *matmul* and *memory* are the counted FLOPs (torch's
flop_counter) and bytes (inputs and outputs of each operation of the eager step, views left out) of forward,
loss and backward over their time, as shares of the rates that the same run measures with a large matrix
product and a large copy. *detect* is decoding and non-maximum suppression in the worst case, every box of
every cell above the threshold; it is no part of a step. *bare* is what a loop of the network, its
loss and its optimizer on a batch in memory would take, as a share of the step. *GiB* is the most memory
that the row took, imports included; each row has a new process.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import lightning as L
import numpy as np
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

import data.detection
from benchmarks.common import command_line, forget_peak, in_a_process, noise, prepare, resident
from benchmarks.loader import synthetic
from data.augment import train_transform
from data.classification import ClassificationData
from data.formats.voc import read_voc
from data.image_set import Statistics
from data.records import GroundTruth
from detector.intervene import shuffles
from detector.registry import ARCHITECTURES, METHODS
from training.options import MachineOptions
from training.run import Loaders
from training.run_state import RunFolder
from training.tasks import classification_options, detection_options
from training.tasks.classification import CLASSIFICATION
from training.tasks.detection import DETECTION, RunImages
from training.trainer import autocast, make_trainer

STAGES = (
    "decode", "augmentation", "collation", "transfer", "backbone", "shuffle", "head", "loss", "backward",
    "optimizer", "gaps",
)  # fmt: skip
COMPUTED = ("backbone", "shuffle", "head", "loss", "backward")
LOSS_CLAIM, SHUFFLE_CLAIM = 0.05, 0.01
"""Of a step of ResNet-50 at 448 pixels: the most that loss, decoding and suppression, and shuffle take."""


class Clock:
    """Adds up the time between marks, by the name of the mark that ends it; one dictionary a step."""

    def __init__(self, device: torch.device, threads: int) -> None:
        self.device, self.threads = device, threads
        self.steps: list[dict[str, float]] = []
        self._last = 0.0

    def now(self) -> float:
        """Seconds."""
        if self.device.type == "cuda":
            torch.cuda.synchronize()
            return time.perf_counter()
        return time.process_time() / self.threads

    def begin(self) -> None:
        """A step begins here."""
        self.mark("gaps")
        self.steps.append(defaultdict(float))

    def mark(self, stage: str) -> None:
        """What passed since the last mark belongs to `stage`."""
        now = self.now()
        if self.steps:
            self.steps[-1][stage] += now - self._last
        self._last = now

    def around(self, work: Callable[..., Any], stage: str, before: str = "gaps") -> Callable[..., Any]:
        """`work`, its time marked as `stage`, and that before it as `before`."""

        def marked(*arguments: Any, **named: Any) -> Any:
            self.mark(before)
            result = work(*arguments, **named)
            self.mark(stage)
            return result

        return marked

    def seconds(self) -> dict[str, float]:
        """The median of each stage over the steps but the first and the last."""
        return {name: statistics.median(step[name] for step in self.steps[2:-1]) for name in STAGES}


class Turns(L.Callback):  # type: ignore[misc]
    """Times the steps of a command's loop, and one of each other loop every few of them.

    `make` returns a step of each other loop, by name, once there is a batch.
    """

    def __init__(
        self,
        now: Callable[[], float],
        make: Callable[[Any], dict[str, Callable[[], None]]],
        warm_up: int = 1,
        every: int = 1,
    ) -> None:
        self.now, self.make, self.warm_up, self.every = now, make, warm_up, every
        self.loops: dict[str, Callable[[], None]] = {}
        self.seconds: dict[str, list[float]] = {"command": []}
        self.began = 0.0

    def on_train_batch_start(self, trainer: L.Trainer, module: Any, batch: Any, number: int) -> None:
        """The step before ends here, with all that the loop does between two steps."""
        ended = self.now()
        if not self.loops:
            self.loops = self.make(batch)
            self.seconds |= {name: [] for name in self.loops}
        if number > self.warm_up:
            self.seconds["command"].append(ended - self.began)
            for name, step in self.loops.items() if number % self.every == 0 else ():
                began = self.now()
                step()
                self.seconds[name].append(self.now() - began)
        self.began = self.now()


class Marks(L.Callback):  # type: ignore[misc]
    """Begins the steps, marks backward pass and optimizer, and the parts of the network."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock

    def on_fit_start(self, trainer: L.Trainer, pl_module: Any) -> None:
        """Put marks into the network and around the optimizer."""
        clock, model = self.clock, pl_module.model
        model.register_forward_pre_hook(lambda *_: clock.mark("gaps"))
        for shuffle in shuffles(model):
            shuffle.register_forward_pre_hook(lambda *_: clock.mark("backbone"))
            shuffle.register_forward_hook(lambda *_: clock.mark("shuffle"))
        getattr(model, "backbone", model).register_forward_hook(lambda *_: clock.mark("backbone"))
        if hasattr(model, "head"):
            model.head.register_forward_hook(lambda *_: clock.mark("head"))
        trainer.optimizers[0].register_step_pre_hook(lambda *_: clock.mark("gaps"))
        trainer.optimizers[0].register_step_post_hook(lambda *_: clock.mark("optimizer"))

    def on_train_batch_start(self, *arguments: object) -> None:
        """The batch was read before, in the step that ends here; the first has no read."""
        self.clock.begin()

    def on_before_backward(self, *arguments: object) -> None:
        """The loss is there."""
        self.clock.mark("loss")

    def on_after_backward(self, *arguments: object) -> None:
        """The gradients are there."""
        self.clock.mark("backward")


class MarkedLoaders(Loaders):
    """The loaders of a run, reading, augmentation and collation marked."""

    def __init__(self, clock: Clock, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.clock = clock

    def transfer_batch_to_device(self, *arguments: Any) -> Any:
        """The batch on the device."""
        return self.clock.around(super().transfer_batch_to_device, "transfer")(*arguments)

    def train_dataloader(self) -> Any:
        """Training batches."""
        loader, clock = super().train_dataloader(), self.clock
        if hasattr(loader.dataset, "transform"):
            data.detection.read_image = clock.around(ORIGINAL_READ, "decode", "collation")
            loader.dataset.transform = clock.around(loader.dataset.transform, "augmentation", "collation")
            loader.dataset.__getitems__ = clock.around(loader.dataset.__getitems__, "collation")
        else:
            loader.dataset.__getitems__ = clock.around(loader.dataset.__getitems__, "augmentation")
        loader.collate_fn = clock.around(loader.collate_fn, "collation", "collation")
        return loader


ORIGINAL_READ = data.detection.read_image


class Traffic(TorchDispatchMode):  # type: ignore[misc,no-untyped-call]
    """Counts the bytes that operations read and write."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.bytes = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run an operation; views move nothing."""
        result = func(*args, **(kwargs or {}))
        if not func.is_view:
            tensors = [leaf for leaf in tree_leaves((args, kwargs, result)) if isinstance(leaf, Tensor)]
            self.bytes += sum(tensor.numel() * tensor.element_size() for tensor in tensors)
        return result


@dataclass
class Row:
    """A network, its input, and what was found of it."""

    name: str
    task: Any
    options: Any
    batch: int
    seconds: dict[str, float] = field(default_factory=dict)
    flops: float = 0.0
    bytes: float = 0.0
    memory: float = 0.0
    """GiB."""
    detect: float = 0.0
    """Seconds."""

    @property
    def whole(self) -> float:
        """Seconds of a step."""
        return sum(self.seconds.values())

    @property
    def bare(self) -> float:
        """Seconds of a loop over one batch that is there: no input, no Lightning, no logs."""
        return self.computed + self.seconds["transfer"] + self.seconds["optimizer"]

    @property
    def computed(self) -> float:
        """Seconds of forward, loss and backward."""
        return sum(self.seconds[name] for name in COMPUTED)


def rows(chosen: argparse.Namespace) -> Iterator[Row]:
    """Detectors at both sizes, their last layer shuffled; classifiers of 32×32 images with all methods."""
    gpu = chosen.device == "cuda"
    machine = MachineOptions(
        accelerator="gpu" if gpu else "cpu", precision=chosen.precision, workers=0, compile=False
    )
    for arch in ("resnet18", "resnet50"):
        for side in (224, 448):
            batch = chosen.batch_size or (64 if gpu else 4)
            detector = detection_options.Options(
                detection_options.DataOptions(root=".", input_size=side),
                detection_options.ModelOptions(arch=arch, shuffle="last"),
                detection_options.OptimizationOptions(batch_size=batch, learning_rate=1e-5),
                machine=machine,
            )
            yield Row(f"{arch}-{side}", DETECTION, detector, batch)
    batch = chosen.batch_size or (512 if gpu else 32)
    for arch, architecture in ARCHITECTURES.items():
        for method in ("none", *(METHODS if architecture.has_layers else ())):
            place: dict[str, Any] = {}
            if method != "none":  # the last map is too small for the controls
                place = {"layer": 5} if METHODS[method].is_control else {"last": 1}
                place["patch"] = 2 if METHODS[method].needs_patch else None
            classifier = classification_options.Options(
                classification_options.DataOptions(data="cifar100", root="."),
                classification_options.ModelOptions(arch=arch, method=method, **place),
                classification_options.OptimizationOptions(batch_size=batch, learning_rate=1e-5),
                machine=machine,
            ).resolved()
            yield Row(f"{arch}-32-{method}", CLASSIFICATION, classifier, batch)


def images_of(row: Row, truth: GroundTruth, steps: int) -> Any:
    """What a run trains on; more noise than the steps take, as an epoch ends with a checkpoint."""
    if row.task.script == DETECTION.script:  # not the same object: it came to another process
        dataset = data.detection.DetectionDataset(truth, train_transform(row.options.data.input_size))
        return RunImages(dataset, None, dataset, ())
    images = noise((steps + 5) * row.batch)
    return ClassificationData(images, None, Statistics((127.5,) * 3, (74.0,) * 3))


def fit(
    task: Any,
    options: Any,
    images: Any,
    steps: int,
    callback: L.Callback,
    loaders: Callable[..., Loaders] = Loaders,
) -> dict[str, Any]:
    """Train for some steps as the command does; what describes the network."""
    hyper_parameters: dict[str, Any] = task.describe(options, images)
    length = replace(options.optimization, epochs=1000, max_steps=steps)
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "checkpoints").mkdir()
        module = task.make_module(
            task.build(options.model, hyper_parameters), options, images, hyper_parameters
        )
        trainer: Any = make_trainer(
            replace(options, optimization=length), RunFolder(Path(folder)), task.monitor, validates=False
        )
        trainer.callbacks.append(callback)
        trainer.fit(module, datamodule=loaders(task, options, images))
    return hyper_parameters


def measure(row: Row, truth: GroundTruth, steps: int, device: torch.device, threads: int) -> Row:
    """Train for some steps; the row, filled."""
    prepare(threads)
    clock = Clock(device, threads)
    task, options, images = row.task, row.options, images_of(row, truth, steps)
    forget_peak()
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    try:
        loaders = partial(MarkedLoaders, clock)
        hyper_parameters = fit(task, options, images, steps + 3, Marks(clock), loaders)
    finally:
        data.detection.read_image = ORIGINAL_READ
    row.seconds, row.memory = clock.seconds(), peak_memory(clock.device)
    # Counted on a network without marks.
    network = task.build(options.model, hyper_parameters).train()
    network = network.to(clock.device, memory_format=torch.channels_last)
    side = hyper_parameters.get("image_size") or options.data.input_size
    batch = torch.zeros(2, 3, side, side, device=clock.device).contiguous(memory_format=torch.channels_last)
    with FlopCounterMode(display=False) as flops, Traffic() as traffic:
        with autocast(clock.device, options.machine.precision):
            outputs = network(batch)
        outputs.float().square().sum().backward()
    row.flops, row.bytes = flops.get_total_flops() * row.batch / 2, traffic.bytes * row.batch / 2
    if task.script == DETECTION.script:
        outputs = 0.2 + 0.8 * torch.rand(row.batch, *outputs.shape[1:], device=clock.device)
        for number in range(options.model.boxes_per_cell):  # too small to suppress each other
            outputs[:, 5 * number + 2 : 5 * number + 4] = 0.1
        times = []
        for _ in range(3):
            start = clock.now()
            network.postprocess(outputs, (side, side), 0.01, 0.5, 300)
            times.append(clock.now() - start)
        row.detect = min(times)
    return row


def rates(clock: Clock, dtype: torch.dtype) -> tuple[float, float]:
    """FLOP/s of a large matrix product, and bytes/s of a large copy."""
    gpu = clock.device.type == "cuda"
    size = 8192 if gpu else 1536
    a, b = torch.randn(2, size, size, device=clock.device).to(dtype)
    source = torch.ones((1 << 30 if gpu else 1 << 27) // 4, device=clock.device)
    target = torch.empty_like(source)

    def best(work: Callable[[], object]) -> float:
        times = []
        for _ in range(6):
            start = clock.now()
            work()
            times.append(clock.now() - start)
        return min(times[1:])

    return 2 * size**3 / best(lambda: a @ b), 8 * source.numel() / best(lambda: target.copy_(source))


def peak_memory(device: torch.device) -> float:
    """High-water mark since it was reset, in GiB: allocated on a GPU, resident of the process on a CPU."""
    peak = torch.cuda.max_memory_allocated(device) if device.type == "cuda" else resident("VmHWM")
    return peak / 2**30


def table(found: Sequence[Row], matmul: float, memory: float) -> str:
    """Milliseconds of each stage in a step, and what they come to."""
    columns = ("ms of", "batch", *STAGES, "step", "images/s", "bare", "matmul", "memory", "GiB", "detect")
    lines = [f"| {' | '.join(columns)} |", "|---|" + "--:|" * (len(columns) - 1)]
    for row in found:
        values = [f"{1e3 * row.seconds[name]:.1f}" if row.seconds[name] >= 5e-5 else "" for name in STAGES]
        lines.append(
            f"| {row.name} | {row.batch} | {' | '.join(values)} | {1e3 * row.whole:.0f} "
            f"| {row.batch / row.whole:.1f} | {row.bare / row.whole:.1%} "
            f"| {row.flops / row.computed / matmul:.0%} "
            f"| {row.bytes / row.computed / memory:.0%} | {row.memory:.1f} "
            f"| {f'{1e3 * row.detect:.1f}' if row.detect else ''} |"
        )
    return "\n".join(lines)


def draw(found: Sequence[Row], file: Path) -> None:
    """Each row's stages as shares of its step."""
    from matplotlib import colormaps
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 1.2 + 0.28 * len(found)), layout="constrained")
    axes = figure.subplots()
    left = np.zeros(len(found))
    names = [f"{row.name}, {row.batch / row.whole:.1f} images/s" for row in found]
    for number, stage in enumerate(STAGES):
        shares = np.array([100 * row.seconds[stage] / row.whole for row in found])
        axes.barh(names, shares, left=left, label=stage, color=colormaps["tab20"](number))
        left += shares
    axes.set_ylim(len(found) - 0.5, -0.5)  # the first at the top
    axes.set(xlim=(0, 100), xlabel="share of a training step (%)")
    axes.spines[["top", "right"]].set_visible(False)
    figure.legend(loc="outside upper center", ncols=6, frameon=False)
    figure.savefig(file, dpi=150)


def main() -> int:
    parser = command_line(__doc__)
    parser.add_argument("--rows", nargs="+", default=[], help="beginnings of their names; default: all")
    parser.add_argument(
        "--device", choices=["cpu", "cuda"], default="cuda" if torch.cuda.is_available() else "cpu"
    )
    parser.add_argument("--threads", type=int, default=1, help="of the CPU (%(default)s)")
    parser.add_argument("--precision", choices=["32-true", "bf16-mixed"], default="32-true")
    parser.add_argument("--batch-size", type=int, help="default: 4 and 32; on a GPU 64 and 512")
    parser.add_argument("--steps", type=int, default=4, help="that are measured (%(default)s)")
    parser.add_argument("--root", type=Path, help="a VOCdevkit folder; without one, photographs are drawn")
    parser.add_argument("--split", default="2012:train", help="of the VOC tree (%(default)s)")
    parser.add_argument("--out", type=Path, default=Path("runs/ledger"), help="folder (%(default)s)")
    chosen = parser.parse_args()
    prepare(chosen.threads)
    device = torch.device(chosen.device)
    dtype = torch.bfloat16 if chosen.precision == "bf16-mixed" else torch.float32
    matmul, memory = rates(Clock(device, chosen.threads), dtype)
    where = torch.cuda.get_device_name() if device.type == "cuda" else f"CPU, {chosen.threads} threads"
    head = (
        f"{where}, torch {torch.__version__}, {chosen.precision}: matrix "
        f"product {matmul / 1e9:.0f} GFLOP/s, copy {memory / 1e9:.1f} GB/s"
    )
    print(head, flush=True)
    found: list[Row] = []
    chosen.out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        truth = read_voc(chosen.root, chosen.split) if chosen.root else synthetic(Path(folder), 64)
        for row in rows(chosen):
            if not chosen.rows or row.name.startswith(tuple(chosen.rows)):
                # What one row has freed would count as the next one's memory.
                row = in_a_process(measure, row, truth, chosen.steps, device, chosen.threads)
                found.append(row)
                print(f"{row.name}: {row.batch / row.whole:.1f} images/s", flush=True)
                text = table(found, matmul, memory)  # at each row: all of them take a while
                (chosen.out / "train.md").write_text(f"{head}\n\n{text}\n", encoding="utf-8")
                draw(found, chosen.out / "train.png")
    if not found:
        parser.error(f"--rows: no row begins with {' or '.join(chosen.rows)}")
    print(f"\n{text}\n\n{chosen.out / 'train.md'}, {chosen.out / 'train.png'}")
    missed = 0
    for row in [row for row in found if row.name == "resnet50-448"]:
        suppressed = "loss, decoding and suppression in the worst case"
        for what, seconds, claim in (
            (suppressed, row.seconds["loss"] + row.detect, LOSS_CLAIM),
            ("the shuffle's forward pass", row.seconds["shuffle"], SHUFFLE_CLAIM),
        ):
            share = seconds / row.whole
            missed += share >= claim
            print(f"{row.name}: {what}: {share:.2%} of a step, under {claim:.0%} claimed")
    return int(missed > 0)


if __name__ == "__main__":
    sys.exit(main())
