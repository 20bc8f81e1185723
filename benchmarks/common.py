"""What the benchmarks share: command line, turns and ratios, clocks, memory, a process's set-up, noise."""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import suppress
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import numpy as np

if TYPE_CHECKING:
    import torch

    from data.image_set import ImageSet

__all__ = [
    "ROOT", "command_line", "forget_peak", "in_a_process", "in_turns", "measure", "median_ratio", "noise",
    "one_thread", "prepare", "resident",
]  # fmt: skip

ROOT = Path(__file__).resolve().parent.parent
Cost = TypeVar("Cost")


def command_line(text: str | None) -> argparse.ArgumentParser:
    """A parser whose ``--help`` shows the docstring of the benchmark."""
    return argparse.ArgumentParser(description=text, formatter_class=argparse.RawDescriptionHelpFormatter)


def in_turns(works: Mapping[str, Callable[[int], Cost]], turns: int) -> dict[str, list[Cost]]:
    """What each work says that it costs, given the number of the turn; the first turn warms up.

    Works that take turns share what else the machine does.
    """
    found: dict[str, list[Cost]] = {name: [] for name in works}
    for turn in range(turns + 1):
        for name, work in works.items():
            cost = work(turn)
            if turn:
                found[name].append(cost)
    return found


def median_ratio(costs: Sequence[float], others: Sequence[float]) -> float:
    """The median of the ratios of pairs; what is left over has no pair."""
    return statistics.median(cost / other for cost, other in zip(costs, others, strict=False))


def measure(work: Callable[[], object], device: torch.device) -> float:
    """Seconds that some work takes, to the end of what it started on a GPU."""
    import torch

    start = 0.0
    for part in (lambda: None, work):  # what was queued before is waited for, and not counted
        start = time.perf_counter()
        part()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
    return time.perf_counter() - start


def in_a_process(function: Callable[..., Cost], *arguments: object) -> Cost:
    """What a function returns in a new process."""
    with ProcessPoolExecutor(1, get_context("spawn")) as pool:
        return pool.submit(function, *arguments).result()


def resident(field: str) -> float:
    """Bytes of this process by the kernel's account: ``VmRSS`` now, ``VmHWM`` at most; NaN but on Linux."""
    with suppress(OSError):
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith(field):
                return 1024 * int(line.split()[1])
    return float("nan")


def forget_peak() -> None:
    """Let ``VmHWM`` begin anew."""
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def prepare(threads: int) -> None:
    """Set a process up as the training commands do, with so many threads."""
    import cv2
    import torch

    from data.formats.processes import keep_freed_memory
    from training.command import quiet

    quiet()
    keep_freed_memory()
    torch.set_num_threads(threads)
    cv2.setNumThreads(threads)


def one_thread() -> None:
    """Have the processes that are started store bytecode, else each would compile torch anew, and one thread.

    Several threads count their waiting.
    """
    os.environ |= {"PYTHONDONTWRITEBYTECODE": "", "OMP_NUM_THREADS": "1", "MPLBACKEND": "agg"}


def noise(count: int) -> ImageSet:
    """Images of 32×32 pixels of noise with random labels of 100 classes."""
    from data.image_set import ImageSet

    random = np.random.default_rng(0)
    images = random.integers(0, 256, (count, 3, 32, 32), np.uint8)
    return ImageSet(images, random.integers(0, 100, count), tuple(map(str, range(100))))
