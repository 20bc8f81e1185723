"""The classifier as a LightningModule: steps, learning rate, validation."""

from __future__ import annotations

from typing import Any

import lightning as L
import torch
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn
from torch.nn import functional
from torchmetrics.aggregation import MeanMetric

from data.classification import Normalization
from data.image_batches import ClassificationBatch
from data.image_set import Statistics
from detector import seek_shuffles
from training.callbacks import NonFiniteLossError
from training.classification.options import Options
from training.schedule import stepwise_rate

__all__ = ["ClassifierModule"]

ADVICE = (
    "Checkpoints of earlier epochs are kept. Lower --learning-rate, set --warmup-epochs or --clip-gradient, "
    "or take --precision 32-true"
)


class ClassifierModule(L.LightningModule):
    """Trains a network on images with one label each.

    Every draw is a function of (seed, epoch, batch, rank), set before each step: a resumed run repeats those
    of one that was never stopped.

    Parameters
    ----------
    model
        The network.
    options
        Of the run, resolved.
    statistics
        Of the training images.
    steps_per_epoch
        Batches of an epoch, of each process.
    hyper_parameters
        What the checkpoints carry along, see :func:`training.classification.model.hyper_parameters`.
    """

    def __init__(
        self,
        model: nn.Module,
        options: Options,
        statistics: Statistics,
        steps_per_epoch: int,
        hyper_parameters: dict[str, Any] | None = None,
    ) -> None:
        super().__init__()
        self.model = model
        self.options = options
        self.normalization = Normalization(statistics)  # has nothing in the state dict
        self.steps_per_epoch = steps_per_epoch
        self.save_hyperparameters(hyper_parameters or {})
        # Over all validation images, of all processes: the last batch may be smaller.
        self.validation_loss, self.validation_accuracy = MeanMetric(), MeanMetric()
        if options.machine.channels_last:
            self.model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        # Kept out of the module tree: a compiled wrapper must not rename the state dict.
        self._forward = [torch.compile(model) if options.machine.compile else model]

    def logits(self, images: Tensor) -> Tensor:
        """Outputs ``(N, C)`` of images ``(N, 3, H, W)`` uint8."""
        images = self.normalization(images)
        if self.options.machine.channels_last:
            images = images.contiguous(memory_format=torch.channels_last)
        outputs: Tensor = self._forward[0](images)
        return outputs

    def training_step(self, batch: ClassificationBatch, batch_index: int) -> Tensor:
        """One step's loss; a non-finite one ends the run before it reaches the weights."""
        step = self.current_epoch * self.steps_per_epoch + batch_index
        # Counts the batches of all processes; the shuffles themselves add the process's rank.
        seek_shuffles(self.model, self.options.optimization.seed, step * self.trainer.world_size)
        logits = self.logits(batch["images"])
        loss = functional.cross_entropy(logits.float(), batch["labels"])
        # All processes stop together: one alone would leave the others waiting for its gradients.
        finite = bool(torch.isfinite(loss))
        if not self.trainer.strategy.reduce_boolean_decision(finite):
            raise NonFiniteLossError(
                f"the loss is {loss.item()} at step {self.global_step} (epoch {self.current_epoch + 1}). "
                f"{ADVICE}"
            )
        size = len(batch["labels"])
        accuracy = (logits.detach().argmax(1) == batch["labels"]).float().mean()
        self.log("loss", loss.detach(), prog_bar=True, batch_size=size)
        self.log("accuracy", accuracy, prog_bar=True, batch_size=size)
        return loss

    def on_validation_epoch_start(self) -> None:
        """Start a new mean."""
        self.validation_loss.reset()
        self.validation_accuracy.reset()

    def validation_step(self, batch: ClassificationBatch, batch_index: int) -> None:
        """Classify."""
        seek_shuffles(self.model, -1, batch_index)  # the seeds of training are not negative
        logits = self.logits(batch["images"]).float()
        self.validation_loss.update(functional.cross_entropy(logits, batch["labels"], reduction="none"))
        self.validation_accuracy.update((logits.argmax(1) == batch["labels"]).float())

    def on_validation_epoch_end(self) -> None:
        """Log the means; a loss that is not finite ends the run before its checkpoint replaces a good one."""
        loss, accuracy = self.validation_loss.compute(), self.validation_accuracy.compute()
        if not torch.isfinite(loss):
            raise NonFiniteLossError(
                f"the loss on validation images is not finite after step {self.global_step} "
                f"(epoch {self.current_epoch + 1}). {ADVICE}"
            )
        # The same in every process; sync_dist, as Lightning would otherwise warn that it may not be.
        self.log_dict({"val/loss": loss, "val/accuracy": accuracy}, prog_bar=True, sync_dist=True)

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """SGD, with the learning rate set anew at each step."""
        given = self.options.optimization
        optimizer = torch.optim.SGD(
            self.model.parameters(),
            lr=given.learning_rate,
            momentum=0.9,
            weight_decay=given.weight_decay or 0.0,
        )

        def factor(step: int) -> float:
            rate = stepwise_rate(
                step,
                start=given.learning_rate,
                drops=self.options.drops,
                steps=(given.epochs or 0) * self.steps_per_epoch,
                warmup=round(given.warmup_epochs * self.steps_per_epoch),
            )
            return rate / given.learning_rate

        scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, factor)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}
