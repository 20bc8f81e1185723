"""What a second process costs in a training step: gradients are summed by gloo, on this machine.

    python benchmarks/two_processes.py

A detector's forward and backward pass and optimizer on a batch in memory, alone and in
DistributedDataParallel with another process. Processor time of each process, its threads included.
"""

from __future__ import annotations

import argparse
import multiprocessing
import statistics
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from benchmarks.common import command_line
from detector import YOLO, resnet18, resnet50


def network(arch: str) -> nn.Module:
    make = {"resnet18": resnet18, "resnet50": resnet50}[arch]
    return YOLO(make(None), classes=20, grid=7).train()


def seconds(model: nn.Module, batch: int, steps: int) -> float:
    """Median processor time of a step."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-5, fused=True)
    images, times = torch.randn(batch, 3, 224, 224), []
    for _ in range(steps + 2):
        began = time.process_time()
        optimizer.zero_grad()
        model(images).square().mean().backward()
        optimizer.step()
        times.append(time.process_time() - began)
    return statistics.median(times[2:])


def process(rank: int, folder: str, chosen: argparse.Namespace) -> None:
    """One of two; the first prints, each turn alone and together."""
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", f"file://{folder}/store", rank=rank, world_size=2)
    model = network(chosen.arch)
    together = DistributedDataParallel(model)
    ratios = []
    for _ in range(chosen.turns):
        alone, both = (seconds(one, chosen.batch_size, chosen.steps) for one in (model, together))
        torch.distributed.barrier()
        ratios.append(both / alone)
    if rank == 0:
        size = sum(parameter.numel() for parameter in model.parameters()) * 4 / 2**20
        shown = " ".join(f"{ratio:.3f}" for ratio in ratios)
        print(
            f"{chosen.arch}, 224 pixels, batch {chosen.batch_size} a process: a step alone {alone:.2f} s, "
            f"gradients {size:.1f} MiB; with another process {statistics.median(ratios):.3f} times ({shown})"
        )


def main() -> int:
    parser = command_line(__doc__)
    parser.add_argument("--arch", choices=["resnet18", "resnet50"], default="resnet18")
    parser.add_argument("--batch-size", type=int, default=4, help="of a process (%(default)s)")
    parser.add_argument("--steps", type=int, default=3, help="of a turn (%(default)s)")
    parser.add_argument("--turns", type=int, default=3)
    chosen = parser.parse_args()
    context = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory() as folder:
        both = [context.Process(target=process, args=(rank, folder, chosen)) for rank in (0, 1)]
        for one in both:
            one.start()
        for one in both:
            one.join()
    return max(abs(one.exitcode or 0) for one in both)


if __name__ == "__main__":
    sys.exit(main())
