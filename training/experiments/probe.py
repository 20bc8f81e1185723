"""A quick look at how long a training step of a run's network takes on this machine."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from training.experiments.cost import SMALL
from training.experiments.options import resolved
from training.experiments.plan import Run
from training.tasks.classification import Options as ClassificationOptions
from training.tasks.classification_module import build_classifier
from training.tasks.detection import DETECTION
from training.tasks.detection import Options as DetectionOptions
from training.trainer import autocast

__all__ = ["probe"]

CLASSES = {"cifar100": 100, "shapes": 8, "voc": 20}
"""Of the data sets; else 1000."""
STEPS, PATIENCE = 4, 2.0
"""Steps of a probe, and seconds after which it begins no further one."""
PROBED = 2**15
"""Pixels of a probe's step on a CPU, where time grows with the images: 32 of 32×32 pixels."""


def probe(run: Run) -> float:
    """Seconds of a training step, from a few steps on noise.

    On a CPU each has a few images, and what it took is multiplied; on a GPU it has a whole batch.
    """
    options = resolved(run.script, run.options)
    batch = int(options["batch_size"])
    device = _device(options["accelerator"])
    network, side = _network(run, options)
    images = min(batch, max(2, PROBED // side**2)) if device.type == "cpu" else batch
    layout = torch.channels_last if options["channels_last"] else torch.contiguous_format
    network = network.to(device, memory_format=layout).train()  # type: ignore[call-overload]
    noise = torch.randn(images, 3, side, side, device=device).to(memory_format=layout)
    optimizer = torch.optim.SGD(network.parameters(), lr=1e-6, momentum=0.9)

    def step() -> None:
        with autocast(device, options["precision"]):
            loss = _total(network(noise))
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        if device.type == "cuda":
            torch.cuda.synchronize(device)

    def timed() -> float:
        began = time.perf_counter()
        step()
        return time.perf_counter() - began

    step()  # allocations, the choice of kernels
    times = [timed()]
    while len(times) < STEPS and sum(times) < PATIENCE:
        times.append(timed())
    return min(times) * batch / images  # the quickest: others may be at work on this machine


def _total(output: Any) -> Tensor:
    values = output.values() if isinstance(output, Mapping) else [output]
    return torch.stack([value.float().square().mean() for value in values]).sum()


def _device(accelerator: str) -> torch.device:
    if accelerator in ("auto", "gpu") and torch.cuda.is_available():
        return torch.device("cuda")
    if accelerator in ("auto", "mps") and torch.backends.mps.is_available():
        return torch.device("mps")
    return torch.device("cpu")


def _network(run: Run, options: Mapping[str, Any]) -> tuple[nn.Module, int]:
    """The network of a run with nothing modified, and the side of its images."""
    if run.script == "train_detect":
        side = int(options["input_size"])
        detection = DetectionOptions.from_flat({**options, "weights": "none", "shuffle": "none"})
        return DETECTION.build(detection.model, {"classes": range(CLASSES["voc"]), "input_size": side}), side
    side = int(options["input_size"]) if options["data"] == "imagenet" else SMALL
    plain: dict[str, Any] = {
        "method": "none",
        "last": None,
        "layer": None,
        "layers": [],
        "names": [],
        "patch": None,
    }
    described = {**options, **plain, "weights": "none"}
    model = ClassificationOptions.from_flat(described).model
    return build_classifier(model, CLASSES.get(options["data"], 1000), side), side
