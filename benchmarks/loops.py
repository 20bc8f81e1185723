"""The training loop of ``train_detect.py`` beside bare loops of the same network, in one run.

    python benchmarks/loops.py [--arch resnet50] [--input-size 224] [--batch-size 8] [--threads 1]

A bare loop takes one batch that is in memory through network, loss and AdamW: in 32 bits, contiguous; with
channels last, in 32 bits and in bf16; each of these compiled. The command's loop decodes JPEGs, augments
them, checks its losses and logs, with the precision that ``--precision auto`` chooses. Every few of its steps
one of each bare loop follows, so that all see the same machine; the median step counts. On a CPU the clock is
the processor time of this process over --threads, and the images are read in this process.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import torch

from benchmarks.common import command_line, prepare
from benchmarks.loader import synthetic
from benchmarks.train import Clock, Row, Turns, fit, images_of, rates
from training.options import MachineOptions
from training.tasks.detection import DETECTION
from training.tasks.detection_options import DataOptions, ModelOptions, OptimizationOptions, Options
from training.trainer import autocast, make_device, resolve_machine

LOOPS = {
    "32 bits, contiguous": ("32-true", torch.contiguous_format, False),
    "32 bits, channels last": ("32-true", torch.channels_last, False),
    "bf16, channels last": ("bf16-mixed", torch.channels_last, False),
    "32 bits, channels last, compiled": ("32-true", torch.channels_last, True),
    "bf16, channels last, compiled": ("bf16-mixed", torch.channels_last, True),
}
WARM_UP, EVERY = 3, 3


def bare_loop(
    options: Options, hyper_parameters: dict[str, Any], batch: Any, name: str
) -> Callable[[], None]:
    """A step of a bare loop."""
    precision, layout, compiled = LOOPS[name]
    device = make_device(options.machine)
    network = DETECTION.build(options.model, hyper_parameters).train().to(device)
    network = network.to(memory_format=layout)  # type: ignore[call-overload]  # torch's types lack it
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-5, fused=True)
    images = batch["images"].to(device)

    def losses(images: Any, targets: Any) -> Any:
        outputs = network(images.contiguous(memory_format=layout))
        with torch.autocast(device.type, enabled=False):
            return network.grid_loss(outputs, targets).total

    computed = torch.compile(losses) if compiled else losses

    def step() -> None:
        targets = network.encode_targets(batch["targets"], device, tuple(images.shape[2:]))
        optimizer.zero_grad()
        with autocast(device, precision):
            loss = computed(images, targets)
        loss.backward()
        optimizer.step()

    return step


def run(options: Options, names: list[str], steps: int, clock: Clock, truth: Any) -> dict[str, float]:
    """Median seconds of a step of the command's loop and of the bare loops."""
    images = images_of(Row("", DETECTION, options, options.optimization.batch_size), truth, steps)
    hyper_parameters = DETECTION.describe(options, images)

    def make(batch: Any) -> dict[str, Callable[[], None]]:
        loops = {name: bare_loop(options, hyper_parameters, batch, name) for name in names}
        for step in loops.values():
            for _ in range(WARM_UP):  # compiles
                step()
        return loops

    turns = Turns(clock.now, make, WARM_UP, EVERY)
    fit(DETECTION, options, images, steps, turns)
    return {name: statistics.median(seconds) for name, seconds in turns.seconds.items()}


def main() -> None:
    parser = command_line(__doc__)
    parser.add_argument("--arch", default="resnet50")
    parser.add_argument("--input-size", type=int, default=224)
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--input", choices=["standard", "fast"], default="standard", help="of the command")
    parser.add_argument("--threads", type=int, default=1, help="of the CPU (%(default)s)")
    parser.add_argument("--steps", type=int, default=24, help="of the command's loop (%(default)s)")
    chosen = parser.parse_args()
    prepare(chosen.threads)
    machine = resolve_machine(MachineOptions(workers=0))
    options = Options(
        DataOptions(root=".", input_size=chosen.input_size, input=chosen.input),
        ModelOptions(arch=chosen.arch, shuffle="last"),
        OptimizationOptions(batch_size=chosen.batch_size, learning_rate=1e-5),
        machine=machine,
    )
    clock = Clock(make_device(machine), chosen.threads)
    for precision, dtype in (("32-true", torch.float32), ("bf16-mixed", torch.bfloat16)):
        print(f"{precision}: matrix product {rates(clock, dtype)[0] / 1e9:.0f} GFLOP/s", flush=True)
    print(f"--precision auto: {machine.precision}\n\n| | ms a step | images/s |\n|---|--:|--:|", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        truth = synthetic(Path(folder), 64)
        for compiled in (False, True):
            options = replace(options, machine=replace(machine, compile=compiled))
            names = [name for name, (_, _, loop) in LOOPS.items() if loop in (False, compiled)]
            found = run(options, names, chosen.steps, clock, truth)
            best = min(found[name] for name in names)
            for name, seconds in found.items():
                words = f"**the command{', compiled' if compiled else ''}**" if name == "command" else name
                print(f"| {words} | {1e3 * seconds:.0f} | {chosen.batch_size / seconds:.2f} |", flush=True)
            print(
                f"the command: {best / found['command']:.1%} of the best bare loop, "
                f"{found[next(iter(LOOPS))] / found['command']:.2f} times the first",
                flush=True,
            )


if __name__ == "__main__":
    main()
