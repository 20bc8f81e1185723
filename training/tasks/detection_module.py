"""The detector as a LightningModule: its loss, its validation, its optimizer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from data.records import GroundTruth
from diagnosis.metric import ErrorBreakdown
from training.module import TrainingModule
from training.schedule import learning_rate
from training.tasks.detection import Options
from training.tasks.detection_evaluation import Objects, in_original_pixels

__all__ = ["DetectorModule"]

LOSS_PARTS = ("centre", "size", "confidence", "background", "classes")


class DetectorModule(TrainingModule):
    """Trains a :class:`~detector.YOLO`; parameters as of :class:`~training.module.TrainingModule`.

    Parameters
    ----------
    train_names
        Names of the training images, for error messages.
    validation
        Ground truth of the validation images; None: there are none.
    similar
        Groups of similar classes.
    """

    advice = (
        "Checkpoints of earlier epochs are kept. Look at these images and their boxes; else lower "
        "--learning-rate, set --clip-gradient, or take --precision 32-true"
    )
    options: Options
    model: Any
    errors: ErrorBreakdown

    def __init__(
        self,
        model: Any,
        options: Options,
        hyper: Mapping[str, Any],
        *,
        train_names: tuple[str, ...],
        validation: GroundTruth | None,
        similar: tuple[tuple[str, ...], ...],
    ) -> None:
        super().__init__(model, options, len(train_names), hyper)
        self.train_names = train_names
        self.validation = validation
        if validation is not None:
            # Has no weights: the state dict is that of the network alone.
            self.errors = ErrorBreakdown(validation.classes, similar)
            self._objects = Objects(validation)
        self._spoilt: list[str] = []

    def outputs(self, batch: Any) -> Tensor:
        """Raw outputs of the grid for a batch, ``(N, B·5 + C, S, S)``."""
        return self.run_network(batch["images"])

    def losses(self, batch: Any) -> tuple[Tensor, dict[str, Tensor], dict[str, Tensor]]:
        """The YOLO loss and its parts."""
        outputs = self.outputs(batch)
        with torch.autocast(self.device.type, enabled=False):
            loss = self.model.loss_of(outputs, batch["targets"], tuple(batch["images"].shape[2:]))
        parts = {f"loss/{part}": getattr(loss, part).detach() for part in LOSS_PARTS}
        return loss.total, parts, {"objects_without_a_cell": loss.dropped.float()}

    def described(self, batch: Any, shown: Mapping[str, Tensor], *, finite: bool) -> str:
        """The parts of the loss, and the images of the batches in which it is not finite."""
        parts = ", ".join(f"{name.removeprefix('loss/')} {value.item():.4g}" for name, value in shown.items())
        names = [] if finite else [self.train_names[index] for index in batch["index"].tolist()]
        return f"; parts: {parts}; images of the batch: {', '.join(self._of_all(names))}"

    def _of_all(self, rows: list[Any]) -> list[Any]:
        """Gather rows from all processes."""
        if self.trainer.world_size == 1:
            return rows
        parts: list[list[Any]] = [[] for _ in range(self.trainer.world_size)]
        torch.distributed.all_gather_object(parts, rows)
        return [row for part in parts for row in part]

    def on_validation_epoch_start(self) -> None:
        """Start a new collection of detections."""
        self.errors.reset()
        self._spoilt = []

    def validation_step(self, batch: Any, batch_index: int) -> None:
        """Detect, and log the loss."""
        assert self.validation is not None
        self.seek_validation(batch_index)
        size: tuple[int, int] = tuple(batch["images"].shape[2:])
        outputs, chosen = self.outputs(batch), self.options.evaluation
        with torch.autocast(self.device.type, enabled=False):
            loss = self.model.loss_of(outputs, batch["targets"], size)
            found = self.model.suppress(
                outputs, size, chosen.score_threshold, chosen.iou_threshold, chosen.max_detections
            )
        sizes, indices = self.validation.sizes.tolist(), batch["index"].tolist()
        self.errors.update(
            [
                in_original_pixels(image, sizes[index], size)
                for index, image in zip(indices, found, strict=True)
            ],
            [self._objects[index] for index in indices],
        )
        if not torch.isfinite(loss.total):
            self._spoilt += [self.validation.images[index] for index in indices]
        self.log("val/loss", loss.total, batch_size=len(batch["images"]), sync_dist=True)

    def on_validation_epoch_end(self) -> None:
        """Score the collected detections: mAP@0.5 and the five shares."""
        spoilt = self._of_all(self._spoilt)
        if spoilt:  # fail before the checkpoint of this epoch replaces a good one
            found = f"the loss on validation images is not finite after step {self.global_step}"
            self.fail(found, f"; images of the batch: {', '.join(spoilt)}")
        values = {name: float(np.nan_to_num(value.item())) for name, value in self.errors.compute().items()}
        self.errors.reset()
        # The same in every process; sync_dist, as Lightning would otherwise warn that it may not be.
        self.log("val/map", values.pop("map"), prog_bar=True, sync_dist=True)
        self.log_dict({f"val/{name}": value for name, value in values.items()}, sync_dist=True)

    def make_optimizer(self) -> torch.optim.Optimizer:
        """AdamW or SGD; biases and batch norms have no weight decay."""
        chosen, parameters = self.options.optimization, list(self.model.parameters())
        groups = [
            {"params": [p for p in parameters if p.ndim > 1], "weight_decay": chosen.weight_decay},
            {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
        ]
        if chosen.optimizer == "sgd":
            return torch.optim.SGD(groups, lr=chosen.learning_rate, momentum=0.9)
        fused = self.device.type == "cpu"  # halves the optimizer's time there
        return torch.optim.AdamW(groups, lr=chosen.learning_rate, fused=fused)

    def learning_rate(self, step: int) -> float:
        """Exponential decay after a warm-up."""
        chosen = self.options.optimization
        return learning_rate(
            step,
            start=chosen.learning_rate,
            end=chosen.final_learning_rate,
            steps=chosen.epochs * self.steps_per_epoch,
            warmup=round(chosen.warmup_epochs * self.steps_per_epoch),
        )
