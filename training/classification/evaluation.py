"""Accuracy of a trained network on a set of images: of single passes, and of their averaged prediction."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from statistics import mean, stdev
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from data.classification import Normalization
from data.image_batches import ClassificationBatch
from data.image_set import Statistics
from detector import seek_shuffles
from detector.intervene import needs_passes
from training.precision import autocast

__all__ = ["Score", "Scores", "evaluate_classifier"]

FIRST = 5  # a prediction counts for the top-5 accuracy if the label is among so many of the likeliest classes


@dataclass(frozen=True)
class Score:
    """One quantity over T passes."""

    single: tuple[float, ...]
    """Of each pass."""
    averaged: float
    """Of the mean of the passes' class probabilities; with one pass, that pass."""

    @property
    def mean(self) -> float:
        """Of the single passes."""
        return mean(self.single)

    @property
    def std(self) -> float:
        """Standard deviation of the single passes, of a sample; NaN of one pass."""
        return stdev(self.single) if len(self.single) > 1 else math.nan

    def to_json(self) -> dict[str, Any]:
        """As JSON holds it."""
        return {
            "mean": self.mean,
            "std": None if math.isnan(self.std) else self.std,
            "averaged": self.averaged,
            "single": list(self.single),
        }


@dataclass(frozen=True)
class Scores:
    """How well a network classifies."""

    images: int
    accuracy: Score
    """Fraction of the images whose label is the likeliest class."""
    accuracy_top5: Score
    """Fraction of the images whose label is among the five likeliest classes."""
    loss: Score
    """Mean cross-entropy, in nats."""

    @property
    def passes(self) -> int:
        """T."""
        return len(self.accuracy.single)


@torch.no_grad()
def evaluate_classifier(
    network: nn.Module,
    loader: Iterable[ClassificationBatch],
    statistics: Statistics,
    *,
    passes: int = 10,
    device: torch.device | str = "cpu",
    precision: str = "32-true",
    channels_last: bool = False,
) -> Scores:
    """Classify images, T times where something in the network shuffles.

    The draws of pass p are those of seed −1 − p, which no training has.

    Parameters
    ----------
    network
        Put into evaluation mode and on the device.
    loader
        Batches of the images.
    statistics
        To normalise the images by: those of the images the network was trained on.
    passes
        T. One where nothing shuffles.
    device, precision, channels_last
        How to compute.

    Raises
    ------
    ValueError
        No images.
    """
    device = torch.device(device)
    memory = torch.channels_last if channels_last else torch.contiguous_format
    network = network.to(device, memory_format=memory).eval()  # type: ignore[call-overload]
    normalization = Normalization(statistics).to(device)
    count = passes if needs_passes(network) else 1
    images = 0
    # Rows: the passes, then their average. Columns: right, among the first five, loss. Sums stay on the
    # device: to read one there would wait for all work queued before it.
    sums = torch.zeros(count + 1, 3, dtype=torch.float64, device=device if device.type != "mps" else "cpu")
    for number, batch in enumerate(loader):
        labels = batch["labels"].to(device, non_blocking=True)
        pixels = normalization(batch["images"].to(device, non_blocking=True)).contiguous(memory_format=memory)
        total: Tensor | None = None
        for single in range(count):
            seek_shuffles(network, -1 - single, number)
            with autocast(device, precision):
                logits = network(pixels)
            logs = functional.log_softmax(logits.float(), 1)
            sums[single] += _sums(logs, labels).to(sums.device)
            total = logs.exp() if total is None else total + logs.exp()
        assert total is not None
        average = (total / count).clamp_min(torch.finfo(total.dtype).tiny).log()
        sums[count] += _sums(average, labels).to(sums.device)
        images += len(labels)
    if not images:
        raise ValueError("no images to classify")
    means = (sums / images).tolist()
    averaged = means[count] if count > 1 else means[0]
    scores = [Score(tuple(row[kind] for row in means[:count]), averaged[kind]) for kind in range(3)]
    return Scores(images, *scores)


def _sums(logs: Tensor, labels: Tensor) -> Tensor:
    """Of log-probabilities ``(N, C)``: how many are right, how many among the first five, sum of losses."""
    first = logs.topk(min(FIRST, logs.shape[1]), 1).indices == labels[:, None]
    loss = functional.nll_loss(logs, labels, reduction="sum")
    return torch.stack([first[:, 0].sum().double(), first.sum().double(), loss.double()])
