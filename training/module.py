"""What the LightningModules of all tasks share: draws, a loss that is finite, learning rate, layout."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, NoReturn, TypeVar

import lightning as L
import torch
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn

from detector import seek_shuffles
from training.callbacks import NonFiniteLossError

__all__ = ["TrainingModule"]

ResultT = TypeVar("ResultT")

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
    stops_where_not_finite = True
    """Whether a loss that is not finite ends the run."""
    checksums: Mapping[str, str] = {}
    """Checksums of the data; stored in checkpoints, so that a run is resumed with the same."""

    def __init__(self, model: nn.Module, options: Any, images: int, hyper: Mapping[str, Any]) -> None:
        super().__init__()
        self.model = model
        self.options = options
        self._compiled: list[Callable[..., Any]] | None = None
        self.batches_per_step = options.optimization.accumulate
        self.steps_per_epoch = images // options.optimization.batch_size
        self.save_hyperparameters(dict(hyper))
        self._layout = torch.channels_last if options.machine.channels_last else torch.contiguous_format
        self.model.to(memory_format=self._layout)  # type: ignore[call-overload]
        self._average: dict[str, Tensor] = {}  # of the weights, by their names in the network
        self._averages = bool(options.optimization.ema)

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
        """Outputs of the network for images ``(N, 3, H, W)``, not compiled."""
        outputs: Tensor = self.model(images.contiguous(memory_format=self._layout))
        return outputs

    def run_compiled(self, function: Callable[..., ResultT], images: Tensor, *arguments: Any) -> ResultT:
        """A function of images ``(N, 3, H, W)`` and more in training, compiled where the options say so.

        Of the shapes that it meets there each is compiled once; validation, whose last batch is smaller, is
        not compiled.
        """
        if self._compiled is None:
            # Not an attribute by itself: a compiled module would be part of the state dict.
            self._compiled = [torch.compile(function) if self.options.machine.compile else function]
        result: ResultT = self._compiled[0](images.contiguous(memory_format=self._layout), *arguments)
        return result

    def fail(self, found: str, details: str = "") -> NoReturn:
        """Raise NonFiniteLossError."""
        raise NonFiniteLossError(f"{found} (epoch {self.current_epoch + 1}){details}. {self.advice}")

    def training_step(self, batch: Any, batch_index: int) -> Tensor:
        """One step's loss; a non-finite one ends the run before it reaches the weights."""
        step = self.current_epoch * self.steps_per_epoch * self.batches_per_step + batch_index
        # Counts the batches of all processes; the shuffles themselves add the process's rank.
        seek_shuffles(self.model, self.options.optimization.seed, step * self.trainer.world_size)
        loss, shown, logged = self.losses(batch)
        if not self.stops_where_not_finite:
            return loss
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
        """Store the checksums of the data; the averaged weights in the place of those of the last step."""
        checkpoint["data"] = dict(self.checksums)
        if self._average:
            state = checkpoint["state_dict"]
            checkpoint["last_weights"] = {f"model.{name}": state[f"model.{name}"] for name in self._average}
            state.update({f"model.{name}": value.clone() for name, value in self._average.items()})

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Take the averaged weights out, before Lightning loads those of the last step."""
        if self._averages and "last_weights" in checkpoint:
            last, state = checkpoint["last_weights"], checkpoint["state_dict"]
            self._average = {name.removeprefix("model."): state[name].clone() for name in last}
            state.update(last)

    def _floats(self) -> dict[str, Tensor]:
        """Weights and running statistics of the network, by name."""
        return {name: value for name, value in self.model.state_dict().items() if value.is_floating_point()}

    def on_train_start(self) -> None:
        """Begin the average with the first weights, or move that of a checkpoint to the device."""
        if self._averages:
            self._average = {
                name: self._average.get(name, value).to(value.device, copy=True)
                for name, value in self._floats().items()
            }

    def optimizer_step(self, *arguments: Any, **named: Any) -> None:
        """Update the weights and their average, which forgets the random start faster than its decay."""
        super().optimizer_step(*arguments, **named)
        if self._average:
            done = self.trainer.global_step
            decay = min(self.options.optimization.ema, (1 + done) / (10 + done))
            update = get_ema_multi_avg_fn(decay)  # type: ignore[no-untyped-call]
            update(list(self._average.values()), list(self._floats().values()), None)

    def _exchange_weights(self) -> None:
        """Put the average in the place of the weights, and the weights in its place."""
        weights = self._floats()
        for name, average in self._average.items():
            weight = weights[name].clone()
            weights[name].copy_(average)
            average.copy_(weight)

    def on_validation_start(self) -> None:
        """Validate the average."""
        self._exchange_weights()

    def on_validation_end(self) -> None:
        """Train on with the weights."""
        self._exchange_weights()

    def on_fit_end(self) -> None:
        """The network at the end of a run is the average."""
        self._exchange_weights()

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
