"""The network of a classification run, its LightningModule, and its accuracy on a set of images."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from statistics import mean, stdev
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torchmetrics.aggregation import MeanMetric
from torchvision import models

from data.classification import ClassificationBatch, Normalization
from data.formats.names import hint
from data.image_set import Statistics
from data.records import InputError
from detector import WeightsError, modify_layers, seek_shuffles, set_shuffling
from detector.graph import record
from detector.intervene import needs_passes
from detector.networks import build_network, load_into
from detector.registry import ARCHITECTURES
from training.checkpoint import weights_error
from training.module import TrainingModule, stepwise_rate
from training.options import option_of, split_error
from training.tasks.classification_options import ModelOptions, Options
from training.trainer import autocast

__all__ = [
    "ClassifierModule", "Score", "Scores", "build_classifier", "check_architecture", "evaluate_classifier",
    "statistics_of",
]  # fmt: skip

TOP = 5
"""Classes of a prediction that count for the top-5 accuracy."""


# The network


def check_architecture(name: str) -> None:
    """Raise InputError for an unknown architecture, with the nearest known name."""
    known = [*ARCHITECTURES, *models.list_models(module=models)]
    if name not in known:
        expected = f"one of {', '.join(ARCHITECTURES)}, or a classification network of torchvision.models"
        raise InputError("--arch", repr(name), f"{expected}{hint(name, known)}")


def _torchvision_network(options: ModelOptions, classes: int, image_size: int) -> nn.Module:
    """A classification network of torchvision, without auxiliary outputs."""
    name = options.arch
    check_architecture(name)
    if options.width != 1:
        expected = f"1 for {name}; others are for {', '.join(ARCHITECTURES)}"
        raise InputError("--width", str(options.width), expected)
    settings: dict[str, Any] = {}
    if name.startswith("vit"):
        settings = {"image_size": image_size}
    elif name in ("googlenet", "inception_v3"):
        settings = {"aux_logits": False, "init_weights": True}
    network: nn.Module = models.get_model(name, num_classes=classes, **settings)
    if options.weights != "none":
        official = models.get_model_weights(name)
        names = list(network.state_dict())
        linear = [key for key, module in network.named_modules() if isinstance(module, nn.Linear | nn.Conv2d)]
        classifier = f"{linear[-1]}." if f"{linear[-1]}.weight" in names else names[-1]
        load_into(network, options.weights, official, landmark=names[0], classifier=classifier)
    return network


def build_classifier(options: ModelOptions, classes: int, image_size: int) -> nn.Module:
    """The network that the options describe.

    The weights are drawn before anything is modified: all variants begin with the same from the same seed
    (paper, section 3.2).

    Parameters
    ----------
    options
        The network, and what is modified.
    classes
        Number of outputs.
    image_size
        Side of the images, in pixels.

    Raises
    ------
    InputError
        An unknown architecture; weights that are missing or do not fit; a layer that the network does not
        have, or a method that is impossible there.
    """
    try:
        if options.arch in ARCHITECTURES:
            settings: dict[str, Any] = {"weights": options.weights, "width": options.width}
            network = build_network(options.arch, classes, image_size, **settings)
        else:
            network = _torchvision_network(options, classes, image_size)
    except WeightsError as error:
        raise weights_error(error, options.arch) from error
    settings = {"patch": options.patch}
    if options.method != "gap_fc":
        settings |= {"shortcut": options.shuffle_shortcut, "per_image": options.per_image}
    try:
        if options.method == "none":
            record(network, image_size)
            return network
        modify_layers(network, options.method, **options.place, **settings, example=image_size)
    except ValueError as error:
        _, what, wanted = split_error(error)
        if "which cannot be run with" in what:
            where = f"--arch {options.arch}"
            reason = " ".join(what.partition("(")[2].rpartition(")")[0].split())
            what = f"images of {image_size} pixels, with which it cannot be run ({reason})"
            wanted = "an architecture for such images, or larger ones"
        else:
            name, value = next(iter(options.place.items()))
            where = f"--method {options.method} {option_of(name)} {value} of {options.arch}"
        raise InputError(where, what, wanted or "layers that can be modified so") from error
    if options.method != "gap_fc":
        set_shuffling(network, train=options.train_shuffle, eval=options.eval_shuffle)
    return network


def statistics_of(hyper_parameters: Mapping[str, Any]) -> Statistics:
    """Mean and deviation of the images that a network was trained on, as its checkpoint stores them."""
    return Statistics(
        tuple(hyper_parameters["statistics"]["mean"]), tuple(hyper_parameters["statistics"]["std"])
    )


# Training


class ClassifierModule(TrainingModule):
    """Trains a network on images with one label each; parameters as of :class:`TrainingModule`.

    Parameters
    ----------
    statistics
        Of the training images.
    """

    advice = "Lower --learning-rate, set --warmup-epochs or --clip-gradient, or take --precision 32-true"
    options: Options

    def __init__(
        self,
        model: nn.Module,
        options: Options,
        images: int,
        hyper_parameters: Mapping[str, Any],
        *,
        statistics: Statistics,
    ) -> None:
        super().__init__(model, options, images, hyper_parameters)
        self.normalization = Normalization(statistics)  # not in the state dict
        # Over all validation images, of all processes: the last batch may be smaller.
        self.validation_loss, self.validation_accuracy = MeanMetric(), MeanMetric()

    def outputs(self, batch: ClassificationBatch) -> Tensor:
        """Logits ``(N, C)`` of images ``(N, 3, H, W)`` uint8."""
        return self.run_network(self.normalization(batch["images"]))

    def _logits(self, images: Tensor) -> Tensor:
        logits: Tensor = self.model(self.normalization(images))
        return logits

    def losses(self, batch: ClassificationBatch) -> tuple[Tensor, dict[str, Tensor], dict[str, Tensor]]:
        """Cross-entropy and accuracy."""
        logits = self.run_compiled(self._logits, batch["images"])
        loss = functional.cross_entropy(logits.float(), batch["labels"])
        return loss, {"accuracy": (logits.detach().argmax(1) == batch["labels"]).float().mean()}, {}

    def on_validation_epoch_start(self) -> None:
        """Start a new mean."""
        self.validation_loss.reset()
        self.validation_accuracy.reset()

    def validation_step(self, batch: ClassificationBatch, batch_index: int) -> None:
        """Classify."""
        self.seek_validation(batch_index)
        logits = self.outputs(batch).float()
        self.validation_loss.update(functional.cross_entropy(logits, batch["labels"], reduction="none"))
        self.validation_accuracy.update((logits.argmax(1) == batch["labels"]).float())

    def on_validation_epoch_end(self) -> None:
        """Log the means; a loss that is not finite ends the run before its checkpoint replaces a good one."""
        loss, accuracy = self.validation_loss.compute(), self.validation_accuracy.compute()
        if not torch.isfinite(loss):
            self.fail(f"the loss on validation images is not finite after step {self.global_step}")
        # The same in every process; sync_dist, as Lightning would otherwise warn that it may not be.
        self.log_dict({"val/loss": loss, "val/accuracy": accuracy}, prog_bar=True, sync_dist=True)

    def make_optimizer(self) -> torch.optim.Optimizer:
        """SGD."""
        chosen = self.options.optimization
        decay = chosen.weight_decay or 0.0
        return torch.optim.SGD(
            self.model.parameters(),
            lr=chosen.learning_rate,
            momentum=0.9,
            weight_decay=decay,
            fused=self.fused,
        )

    def learning_rate(self, step: int) -> float:
        """Divided by 10 twice, after a warm-up."""
        chosen = self.options.optimization
        return stepwise_rate(
            step,
            start=chosen.learning_rate,
            drops=self.options.recipe.drops,
            steps=(chosen.epochs or 0) * self.steps_per_epoch,
            warmup=round(chosen.warmup_epochs * self.steps_per_epoch),
        )


# Evaluation


@dataclass(frozen=True)
class Score:
    """One quantity over T passes."""

    single: tuple[float, ...]
    """Value of each pass."""
    averaged: float
    """Value of the mean of the passes' class probabilities; with one pass, of that pass."""

    @property
    def mean(self) -> float:
        """Mean over the single passes."""
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

    def in_words(self) -> str:
        """The accuracy, for a terminal.

        Examples
        --------
        >>> top = Score((0.5, 0.75), 0.75)
        >>> print(Scores(4, top, top, top).in_words())
        62.50 ± 17.68 % correct of 4 test images, over 2 passes; averaged prediction 75.00 %
        """
        top = self.accuracy
        if self.passes == 1:
            return f"{100 * top.mean:.2f} % correct of {self.images} test images"
        return (
            f"{100 * top.mean:.2f} ± {100 * top.std:.2f} % correct of {self.images} test images, over "
            f"{self.passes} passes; averaged prediction {100 * top.averaged:.2f} %"
        )


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
        total = torch.zeros((), device=device)
        for single in range(count):
            seek_shuffles(network, -1 - single, number)
            with autocast(device, precision):
                logits = network(pixels)
            logs = functional.log_softmax(logits.float(), 1)
            sums[single] += _sums(logs, labels).to(sums.device)
            total = total + logs.exp()
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
    """From log-probabilities ``(N, C)``: how many are right, how many among the first five, sum of losses."""
    first = logs.topk(min(TOP, logs.shape[1]), 1).indices == labels[:, None]
    loss = functional.nll_loss(logs, labels, reduction="sum")
    return torch.stack([first[:, 0].sum().double(), first.sum().double(), loss.double()])
