"""What one training step costs: the share of loss, decoding and NMS, the share of the shuffle, and memory.

    python benchmarks/train_step.py                          # ResNet-50, 448 pixels, batch 16
    python benchmarks/train_step.py --precision bf16-mixed

All parts are timed in the same run, one after the other, --repeat times; the best times are compared, since
other programs only ever add to them. Exit code 1 where a claim of the README is missed: loss, decoding and
NMS take under 5 % of a step, the shuffle of the last layer under 1 %. On a CPU the processor time, over all
threads, stands beside the time that passed: where the two shares differ much, other programs were busy.
"""

from __future__ import annotations

import argparse
import os
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import torch
from torch import Tensor

from detector import YOLO, shuffle_layers
from detector.grid import decode, encode, gather_targets, split_outputs
from detector.intervene import shuffles
from detector.networks import RESNETS, resnet
from detector.shuffle import Shuffle
from training.command import keep_freed_memory

LOSS_CLAIM = 0.05
SHUFFLE_CLAIM = 0.01
SCORE_THRESHOLD, IOU_THRESHOLD, MAX_DETECTIONS = 0.01, 0.5, 300

Target = dict[str, Tensor]


def main() -> int:
    """Measure, print, and say whether the claims hold."""
    options = arguments()
    torch.manual_seed(0)
    torch.set_num_threads(options.threads)
    keep_freed_memory()  # as the training commands do
    device = torch.device(options.device)
    side, batch = options.input_size, options.batch_size
    images = torch.randint(0, 256, (batch, 3, side, side), dtype=torch.uint8, device=device)
    images = images.contiguous(memory_format=torch.channels_last)
    targets = [some_objects(side, options.classes, device) for _ in range(batch)]

    network = shuffle_layers(resnet(options.architecture, None), "last")
    grid = -(-side // 32)
    model = YOLO(network, options.classes, grid, options.boxes_per_cell)  # type: ignore[arg-type]
    model = model.to(device, memory_format=torch.channels_last).train()  # type: ignore[call-overload]
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)
    mixed = torch.autocast(device.type, torch.bfloat16, enabled=options.precision == "bf16-mixed")
    print(
        f"{options.architecture}, {side}x{side} pixels, batch {batch}, S = {grid}, "
        f"B = {options.boxes_per_cell}, C = {options.classes}, {options.precision}, {where(device)}, "
        f"torch {torch.__version__}",
        flush=True,
    )

    def step() -> None:
        optimizer.zero_grad()
        with mixed:
            outputs = model(images)
        model.loss_of(outputs, targets, (side, side)).total.backward()  # type: ignore[no-untyped-call]
        optimizer.step()

    entering = inputs_of_shuffles(model, step)  # the first step also warms up
    shape = (batch, options.boxes_per_cell * 5 + options.classes, grid, grid)
    trained = as_if_trained(targets, shape, options.boxes_per_cell, side)
    untrained = 0.2 * torch.randn(shape, device=device)
    everything = 0.2 + 0.8 * torch.rand(shape, device=device)  # every score passes the threshold
    for number in range(options.boxes_per_cell):  # and the boxes are too small to suppress each other
        everything[:, 5 * number + 2 : 5 * number + 4] = 0.1

    def loss() -> None:
        outputs = trained.detach().requires_grad_()
        torch.autograd.grad(model.loss_of(outputs, targets, (side, side)).total, outputs)

    def detect(outputs: Tensor) -> None:
        model.suppress(outputs, (side, side), SCORE_THRESHOLD, IOU_THRESHOLD, MAX_DETECTIONS)

    def shuffle() -> None:
        for module, x, gradient in entering:
            torch.autograd.grad(module(x), x, gradient)

    parts: dict[str, Callable[[], object]] = {
        "loss": loss,
        "trained": lambda: detect(trained),
        "untrained": lambda: detect(untrained),
        "everything": lambda: detect(everything),
        "shuffle": shuffle,
    }
    whole, memory = Cost(), 0.0
    cost = {name: Cost() for name in parts}
    for _ in range(options.repeat):
        whole = whole.best(measure(step, device))
        memory = memory or peak_memory(device)  # before the parts below add to it
        for name, part in parts.items():
            for number in range(6):
                found = measure(part, device)
                cost[name] = cost[name].best(found) if number else cost[name]  # the first one warms up

    count = {
        name: candidates(model, outputs, side) / batch
        for name, outputs in (("trained", trained), ("untrained", untrained), ("everything", everything))
    }
    rows = [
        ("training step (forward, loss, backward, AdamW)", whole),
        ("loss and its gradient", cost["loss"]),
        (f"decode + NMS, as if trained ({count['trained']:.0f} candidates an image)", cost["trained"]),
        (f"decode + NMS, random outputs ({count['untrained']:.0f} candidates)", cost["untrained"]),
        (f"decode + NMS, worst case: all {count['everything']:.0f} pass the threshold", cost["everything"]),
        ("shuffle of the last layer: both draws, forward, backward", cost["shuffle"]),
    ]
    print(f"{'':60}{'ms':>10}{'share':>9}{'CPU ms':>12}{'share':>9}")
    for label, value in rows:
        print(f"{label:60}{1000 * value.passed:10.1f}{value.passed / whole.passed:9.2%}", end="")
        print(f"{1000 * value.processor:12.1f}{value.processor / whole.processor:9.2%}")
    kind = "GPU memory allocated" if device.type == "cuda" else "resident memory of the process"
    print(f"peak {kind} in training: {memory:.2f} GiB\n")

    claims = [
        (
            "loss, decode and NMS, as if trained",
            (cost["loss"].passed + cost["trained"].passed) / whole.passed,
            LOSS_CLAIM,
        ),
        (
            "loss, decode and NMS, worst case",
            (cost["loss"].passed + cost["everything"].passed) / whole.passed,
            LOSS_CLAIM,
        ),
        ("shuffle of the last layer", cost["shuffle"].passed / whole.passed, SHUFFLE_CLAIM),
    ]
    for label, share, limit in claims:
        print(f"{label}: {share:.2%} of a step, under {limit:.0%} claimed: {verdict(share, limit)}")
    return int(any(share >= limit for _, share, limit in claims))


def verdict(share: float, limit: float) -> str:
    """Whether a claim holds."""
    return "ok" if share < limit else "MISSED"


class Cost(NamedTuple):
    """Seconds of some work."""

    passed: float = float("inf")
    """By the clock on the wall."""
    processor: float = float("inf")
    """Of this process on all cores of the CPU."""

    def best(self, other: Cost) -> Cost:
        """The smaller of each."""
        return Cost(min(self.passed, other.passed), min(self.processor, other.processor))


def measure(work: Callable[[], object], device: torch.device) -> Cost:
    """What some work costs, to the end of what it started on a GPU."""
    passed = processor = 0.0
    for part in (lambda: None, work):  # what was queued before is waited for, and not counted
        passed, processor = time.perf_counter(), time.process_time()
        part()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
    return Cost(time.perf_counter() - passed, time.process_time() - processor)


def peak_memory(device: torch.device) -> float:
    """High-water mark so far, in GiB."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**30
    unit = 1 if sys.platform == "darwin" else 1024  # kilobytes on Linux
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**30


def where(device: torch.device) -> str:
    """The device in words."""
    if device.type == "cuda":
        return str(torch.cuda.get_device_name(device))
    return f"CPU, {torch.get_num_threads()} threads"


def some_objects(side: int, classes: int, device: torch.device) -> Target:
    """Three objects, about as many as an image of VOC has."""
    corner = torch.rand(3, 2) * 0.6 * side
    boxes = torch.cat([corner, corner + (0.1 + 0.3 * torch.rand(3, 2)) * side], dim=1)
    return {"boxes": boxes.to(device), "labels": torch.randint(classes, (3,)).to(device)}


def as_if_trained(targets: list[Target], shape: tuple[int, ...], boxes_per_cell: int, side: int) -> Tensor:
    """Outputs that are about right, those of the neighbouring cells too, and elsewhere near no object."""
    images, _, rows, columns = shape
    laid = encode(
        *gather_targets(targets, targets[0]["boxes"].device),
        images=images,
        image_size=(side, side),
        grid=(rows, columns),
    )
    outputs = 0.05 * torch.randn(shape, device=laid.xywh.device)
    for image, row, column in laid.positive.nonzero().tolist():
        x, y, w, h = laid.xywh[image, row, column].tolist()
        for i in range(max(row - 1, 0), min(row + 2, rows)):
            for j in range(max(column - 1, 0), min(column + 2, columns)):
                cell = outputs[image, :, i, j]
                confidence = 0.8 if (i, j) == (row, column) else 0.3
                box = [x + column - j, y + row - i, w**0.5, h**0.5, confidence]
                cell[: 5 * boxes_per_cell] += cell.new_tensor(box * boxes_per_cell)
                cell[5 * boxes_per_cell + int(laid.labels[image, row, column])] += 0.9
    return outputs


def candidates(model: YOLO, outputs: Tensor, side: int) -> int:
    """How many scores of a batch pass the threshold."""
    _, scores = decode(split_outputs(outputs, model.boxes_per_cell), (side, side))
    return int((scores >= SCORE_THRESHOLD).sum())


def inputs_of_shuffles(model: YOLO, step: Callable[[], None]) -> list[tuple[Shuffle, Tensor, Tensor]]:
    """The shuffles of a network, each with an input and a gradient of the kind that it meets in a step."""
    seen: list[tuple[Shuffle, Tensor, Tensor]] = []

    def keep(module: Any, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        seen.append((module, inputs[0].detach().clone().requires_grad_(), torch.ones_like(output)))

    handles = [module.register_forward_hook(keep) for module in shuffles(model)]
    step()
    for handle in handles:
        handle.remove()
    return seen


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--architecture", choices=sorted(RESNETS), default="resnet50")
    parser.add_argument("--input-size", type=int, default=448, help="side of the images, in pixels")
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--classes", type=int, default=20)
    parser.add_argument("--boxes-per-cell", type=int, default=2)
    parser.add_argument("--precision", choices=["32-true", "bf16-mixed"], default="32-true")
    parser.add_argument("--repeat", type=int, default=3, help="steps to time, after one to warm up")
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="of the CPU")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
