"""What the LightningModules of all tasks share: draws, a loss that is finite, learning rate, layout."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar, NoReturn

import lightning as L
import torch
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn

from detector import seek_shuffles
from training.callbacks import NonFiniteLossError

__all__ = ["TrainingModule"]

VALIDATION_SEED = -(1 << 32)  # the seeds of training are not negative; those of a test's passes are -1, -2 …


class TrainingModule(L.LightningModule):
    """Trains a network.

    Every draw is a function of (seed, epoch, batch, rank), set before each step: a resumed run repeats those
    of one that was never stopped.

    Parameters
    ----------
    model
        The network.
    options
        Of the run, resolved.
    images
        How many are trained on. The loader leaves the last, incomplete batch of an epoch out.
    hyper
        What the checkpoints store besides the weights.
    """

    advice: ClassVar[str]
    """What to do about a loss that is not finite."""
    checksums: Mapping[str, str] = {}
    """Of the data; stored in checkpoints, so that a run is resumed with the same."""

    def __init__(self, model: nn.Module, options: Any, images: int, hyper: Mapping[str, Any]) -> None:
        super().__init__()
        self.model = model
        self.options = options
        self.steps_per_epoch = images // options.optimization.batch_size
        self.save_hyperparameters(dict(hyper))
        self._layout = torch.channels_last if options.machine.channels_last else torch.contiguous_format
        self.model.to(memory_format=self._layout)  # type: ignore[call-overload]
        # Outside the module tree: a compiled wrapper must not rename the state dict.
        self._forward = [torch.compile(model) if options.machine.compile else model]

    @abstractmethod
    def outputs(self, batch: Any) -> Tensor:
        """Outputs of the network for a batch."""

    @abstractmethod
    def losses(self, batch: Any) -> tuple[Tensor, dict[str, Tensor], dict[str, Tensor]]:
        """The loss of a training batch, and what is logged with it: on the progress bar, and elsewhere."""

    @abstractmethod
    def make_optimizer(self) -> torch.optim.Optimizer:
        """The optimizer, with the learning rate of the options."""

    @abstractmethod
    def learning_rate(self, step: int) -> float:
        """The learning rate of a step, counted from 0."""

    def described(self, batch: Any, shown: Mapping[str, Tensor], *, finite: bool) -> str:
        """What is known of a batch whose loss is not finite, in this process (`finite`) or in another."""
        return ""

    def run_network(self, images: Tensor) -> Tensor:
        """Outputs of the network for images ``(N, 3, H, W)``."""
        outputs: Tensor = self._forward[0](images.contiguous(memory_format=self._layout))
        return outputs

    def fail(self, found: str, details: str = "") -> NoReturn:
        """Raise NonFiniteLossError."""
        raise NonFiniteLossError(f"{found} (epoch {self.current_epoch + 1}){details}. {self.advice}")

    def training_step(self, batch: Any, batch_index: int) -> Tensor:
        """One step's loss; a non-finite one ends the run before it reaches the weights."""
        step = self.current_epoch * self.steps_per_epoch + batch_index
        # Counts the batches of all processes; the shuffles themselves add the process's rank.
        seek_shuffles(self.model, self.options.optimization.seed, step * self.trainer.world_size)
        loss, shown, logged = self.losses(batch)
        finite = bool(torch.isfinite(loss))
        # All processes stop together: one alone would leave the others waiting for its gradients.
        if not self.trainer.strategy.reduce_boolean_decision(finite):
            details = self.described(batch, shown, finite=finite)
            self.fail(f"the loss is {loss.item()} at step {self.global_step}", details)
        size = len(batch["images"])
        self.log_dict({"loss": loss.detach(), **shown}, prog_bar=True, batch_size=size)
        self.log_dict(logged, batch_size=size)
        return loss

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Store the checksums of the data."""
        checkpoint["data"] = dict(self.checksums)

    def seek_validation(self, batch_index: int) -> None:
        """Make the coming draws those of a validation batch, which no training has."""
        seek_shuffles(self.model, VALIDATION_SEED, batch_index)

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """The optimizer, with the learning rate set anew at each step."""
        start = self.options.optimization.learning_rate
        optimizer = self.make_optimizer()
        scheduler = torch.optim.lr_scheduler.LambdaLR(
            optimizer, lambda step: self.learning_rate(step) / start
        )
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}
