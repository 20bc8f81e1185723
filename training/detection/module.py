"""The detector as a LightningModule: steps, learning rate, validation."""

from __future__ import annotations

from typing import Any

import lightning as L
import numpy as np
import torch
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn

from data.records import GroundTruth
from detector import YOLO, seek_shuffles
from diagnosis.metric import ErrorBreakdown
from training.callbacks import NonFiniteLossError
from training.detection.columns import Objects, in_original_pixels
from training.detection.options import EvaluationOptions, OptimizationOptions
from training.schedule import learning_rate

__all__ = ["DetectorModule"]

LOSS_PARTS = ("centre", "size", "confidence", "background", "classes")


ADVICE = (
    "Checkpoints of earlier epochs are kept. Look at these images and their boxes; else lower "
    "--learning-rate, set --clip-gradient, or take --precision 32-true"
)


class DetectorModule(L.LightningModule):
    """Trains a :class:`~detector.YOLO`.

    Every draw is a function of (seed, epoch, batch, rank), set before each step: a resumed run repeats those
    of one that was never stopped.

    Parameters
    ----------
    model
        The detector.
    optimization, evaluation
        How to train and how to detect.
    validation
        Ground truth of the validation images; None: there are none.
    train_names
        Names of the training images, for error messages.
    similar
        Groups of similar classes.
    hyper_parameters
        What the checkpoints carry along, see :func:`training.detection.model.hyper_parameters`.
    channels_last
        Whether images are laid out channels last.
    compile_model
        Whether torch.compile compiles the network.
    """

    def __init__(
        self,
        model: YOLO,
        optimization: OptimizationOptions,
        evaluation: EvaluationOptions,
        *,
        validation: GroundTruth | None,
        train_names: tuple[str, ...],
        similar: tuple[tuple[str, ...], ...] = (),
        hyper_parameters: dict[str, Any] | None = None,
        channels_last: bool = False,
        compile_model: bool = False,
    ) -> None:
        super().__init__()
        self.model = model
        self.optimization = optimization
        self.evaluation = evaluation
        self.validation = validation
        # Holds no weights: the state dict is that of the network alone.
        self.errors = None if validation is None else ErrorBreakdown(validation.classes, similar)
        self._objects = None if validation is None else Objects(validation)
        self.train_names = train_names
        # The loader leaves the last, incomplete batch out.
        self.steps_per_epoch = len(train_names) // optimization.batch_size
        self.channels_last = channels_last
        self.save_hyperparameters(hyper_parameters or {})
        if channels_last:
            self.model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        # Kept out of the module tree: a compiled wrapper must not rename the state dict.
        self._forward = [torch.compile(model) if compile_model else model]
        self._spoilt: list[str] = []

    def outputs(self, batch: dict[str, Any]) -> Tensor:
        """Raw outputs of the grid for a batch, ``(N, B·5 + C, S, S)``."""
        images = batch["images"]
        if self.channels_last:
            images = images.contiguous(memory_format=torch.channels_last)
        outputs: Tensor = self._forward[0](images)
        return outputs

    def training_step(self, batch: dict[str, Any], batch_index: int) -> Tensor:
        """One step's loss, logged by part; a non-finite one ends the run before it reaches the weights."""
        step = self.current_epoch * self.steps_per_epoch + batch_index
        # Counts the batches of all processes; the shuffles themselves add the process's rank.
        seek_shuffles(self.model, self.optimization.seed, step * self.trainer.world_size)
        height, width = batch["images"].shape[2:]
        outputs = self.outputs(batch)
        with torch.autocast(self.device.type, enabled=False):
            loss = self.model.loss_of(outputs, batch["targets"], (height, width))
        finite = bool(torch.isfinite(loss.total))
        # All processes stop together: one alone would leave the others waiting for its gradients.
        if not self.trainer.strategy.reduce_boolean_decision(finite):
            parts = ", ".join(f"{part} {getattr(loss, part).item():.4g}" for part in LOSS_PARTS)
            names = [] if finite else [self.train_names[index] for index in batch["index"].tolist()]
            raise NonFiniteLossError(
                f"the loss is {loss.total.item()} at step {self.global_step} "
                f"(epoch {self.current_epoch + 1}); parts: {parts}; "
                f"images of the batch: {', '.join(self._of_all(names))}. {ADVICE}"
            )
        size = len(batch["images"])
        self.log("loss", loss.total.detach(), prog_bar=True, batch_size=size)
        parts_now = {f"loss/{part}": getattr(loss, part).detach() for part in LOSS_PARTS}
        self.log_dict(parts_now, prog_bar=True, batch_size=size)
        self.log("objects_without_a_cell", loss.dropped.float(), batch_size=size)
        return loss.total

    def _of_all(self, rows: list[Any]) -> list[Any]:
        """The rows of all processes."""
        if self.trainer.world_size == 1:
            return rows
        parts: list[list[Any]] = [[] for _ in range(self.trainer.world_size)]
        torch.distributed.all_gather_object(parts, rows)
        return [row for part in parts for row in part]

    def on_validation_epoch_start(self) -> None:
        """Start a new collection of detections."""
        if self.errors is not None:
            self.errors.reset()
        self._spoilt = []

    def validation_step(self, batch: dict[str, Any], batch_index: int) -> None:
        """Detect, and log the loss."""
        seek_shuffles(self.model, -1, batch_index)  # the seeds of training are not negative
        height, width = batch["images"].shape[2:]
        outputs = self.outputs(batch)
        with torch.autocast(self.device.type, enabled=False):
            loss = self.model.loss_of(outputs, batch["targets"], (height, width))
            found = self.model.suppress(
                outputs,
                (height, width),
                self.evaluation.score_threshold,
                self.evaluation.iou_threshold,
                self.evaluation.max_detections,
            )
        if self.validation is not None and self.errors is not None and self._objects is not None:
            sizes, indices = self.validation.sizes.tolist(), batch["index"].tolist()
            self.errors.update(
                [
                    in_original_pixels(image, sizes[index], (height, width))
                    for index, image in zip(indices, found, strict=True)
                ],
                [self._objects[index] for index in indices],
            )
        if self.validation is not None and not torch.isfinite(loss.total):
            self._spoilt += [self.validation.images[index] for index in batch["index"].tolist()]
        self.log("val/loss", loss.total, batch_size=len(batch["images"]), sync_dist=True)

    def on_validation_epoch_end(self) -> None:
        """Score the collected detections: mAP@0.5 and the five shares."""
        if self.errors is None:
            return
        spoilt = self._of_all(self._spoilt)
        if spoilt:  # now, before the checkpoint of this epoch takes the place of a good one
            raise NonFiniteLossError(
                f"the loss on validation images is not finite after step {self.global_step} "
                f"(epoch {self.current_epoch + 1}); images of the batch: {', '.join(spoilt)}. {ADVICE}"
            )
        values = {name: float(np.nan_to_num(value.item())) for name, value in self.errors.compute().items()}
        self.errors.reset()
        # The same in every process; sync_dist, as Lightning would otherwise warn that it may not be.
        self.log("val/map", values.pop("map"), prog_bar=True, sync_dist=True)
        self.log_dict({f"val/{name}": value for name, value in values.items()}, sync_dist=True)

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """The optimizer, with the learning rate set anew at each step."""
        decayed: list[nn.Parameter] = []
        plain: list[nn.Parameter] = []
        for parameter in self.model.parameters():
            (decayed if parameter.ndim > 1 else plain).append(parameter)
        options = self.optimization
        groups = [
            {"params": decayed, "weight_decay": options.weight_decay},
            {"params": plain, "weight_decay": 0.0},
        ]
        optimizer: torch.optim.Optimizer
        if options.optimizer == "adamw":
            fused = self.device.type == "cpu"  # there it halves the optimizer's time
            optimizer = torch.optim.AdamW(groups, lr=options.learning_rate, fused=fused)
        else:
            optimizer = torch.optim.SGD(groups, lr=options.learning_rate, momentum=0.9)

        def factor(step: int) -> float:
            rate = learning_rate(
                step,
                start=options.learning_rate,
                end=options.final_learning_rate,
                steps=options.epochs * self.steps_per_epoch,
                warmup=round(options.warmup_epochs * self.steps_per_epoch),
            )
            return rate / options.learning_rate

        scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, factor)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}
