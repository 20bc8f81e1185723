"""What the LightningModules of all tasks share: draws, a loss that is finite, learning rate, layout."""

from __future__ import annotations

import statistics
from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, NoReturn, TypeVar

import lightning as L
import numpy as np
import torch
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn

from detector import seek_shuffles
from training.callbacks import STEPS_BETWEEN_FETCHES, NonFiniteLossError
from training.run_state import RunFolder

__all__ = ["TrainingModule", "learning_rate", "stepwise_rate"]

ResultT = TypeVar("ResultT")

VALIDATION_SEED = -(1 << 32)  # the seeds of training are not negative; those of a test's passes are -1, -2 …


@dataclass(eq=False)
class TrainedBatch:
    """A batch that was trained on; its values stay on the device until they are fetched."""

    step: int
    epoch: int
    values: dict[str, Tensor]
    """What is logged of it, the loss first."""
    shown: tuple[str, ...]
    """What is displayed besides the loss."""
    index: Tensor | None
    """Of its images."""
    further: dict[str, float] = field(default_factory=dict)
    """What is logged besides."""
    row: list[float] | None = None
    """The values as numbers."""


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
    hyper_parameters
        What the checkpoints store besides the weights.
    """

    advice: ClassVar[str]
    """What to do about a loss that is not finite."""
    checks_and_logs = True
    """Whether losses are logged, and one that is not finite ends the run."""
    checksums: Mapping[str, str] = {}
    """Checksums of the data; stored in checkpoints, so that a run is resumed with the same."""

    def __init__(
        self, model: nn.Module, options: Any, images: int, hyper_parameters: Mapping[str, Any]
    ) -> None:
        super().__init__()
        self.model = model
        self.options = options
        self._compiled: list[Callable[..., Any]] | None = None
        self.batches_per_step = options.optimization.accumulate
        self.steps_per_epoch = images // options.optimization.batch_size
        self.save_hyperparameters(dict(hyper_parameters))
        self._layout = torch.channels_last if options.machine.channels_last else torch.contiguous_format
        self.model.to(memory_format=self._layout)  # type: ignore[call-overload]
        self._ema_weights: dict[str, Tensor] = {}  # of the weights, by their names in the network
        self._uses_ema = bool(options.optimization.ema)
        self._unlogged: list[TrainedBatch] = []
        self.displayed: dict[str, float] = {}
        """The losses of the last batch that was fetched."""
        self._epoch_losses: list[dict[str, float]] = []
        """Those of the batches of this epoch that were fetched."""

    @abstractmethod
    def outputs(self, batch: Any) -> Tensor:
        """Outputs of the network for a batch."""

    @abstractmethod
    def losses(self, batch: Any) -> tuple[Tensor, dict[str, Tensor], dict[str, Tensor]]:
        """The loss of a training batch, and what is logged with it: on the progress bar, and elsewhere."""

    @property
    def fused(self) -> bool:
        """Whether the optimizer is one kernel, which takes half the time.

        It cannot clip gradients that 16-mixed has scaled.
        """
        scaled = self.options.machine.precision == "16-mixed"
        return not (scaled and self.options.optimization.clip_gradient)

    @abstractmethod
    def make_optimizer(self) -> torch.optim.Optimizer:
        """The optimizer, with the learning rate of the options."""

    @abstractmethod
    def learning_rate(self, step: int) -> float:
        """The learning rate of a step, counted from 0."""

    def described(self, batch: TrainedBatch, *, finite_here: bool) -> str:
        """What is known of a batch whose loss is not finite here, or (`finite_here`) in another process."""
        return ""

    @property
    def steps_between_fetches(self) -> int:
        """Steps from one fetch of the losses to the next: a GPU has to end its work for each."""
        return 1 if self.device.type == "cpu" else STEPS_BETWEEN_FETCHES

    def gather(self, rows: list[Any]) -> list[Any]:
        """Rows of all processes."""
        if self.trainer.world_size == 1:
            return rows
        parts: list[list[Any]] = [[] for _ in range(self.trainer.world_size)]
        torch.distributed.all_gather_object(parts, rows)
        return [row for part in parts for row in part]

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

    def fail(self, found: str, details: str = "", epoch: int | None = None) -> NoReturn:
        """Raise NonFiniteLossError, which says whether there are checkpoints."""
        epoch = self.current_epoch if epoch is None else epoch
        at_hand = RunFolder(Path(self.trainer.default_root_dir)).has_begun
        kept = "Earlier checkpoints are kept" if at_hand else "No checkpoint has been written yet"
        raise NonFiniteLossError(f"{found} (epoch {epoch + 1}){details}. {kept}. {self.advice}")

    def training_step(self, batch: Any, batch_index: int) -> Tensor:
        """One step's loss; a non-finite one ends the run, on a CPU before it reaches the weights."""
        step = self.current_epoch * self.steps_per_epoch * self.batches_per_step + batch_index
        # Counts the batches of all processes; the shuffles themselves add the process's rank.
        seek_shuffles(self.model, self.options.optimization.seed, step * self.trainer.world_size)
        loss, shown, logged = self.losses(batch)
        if not self.checks_and_logs:
            return loss
        # Not by Lightning's log: what it shows on a bar, it fetches at each step.
        values = {"loss": loss.detach(), **shown, **logged}
        self._unlogged.append(
            TrainedBatch(self.global_step, self.current_epoch, values, tuple(shown), batch.get("index"))
        )
        if self.steps_between_fetches == 1:
            self.fetch_losses()
        return loss

    @property
    def means(self) -> dict[str, float]:
        """The mean losses of this epoch, as far as they were fetched."""
        names = self._epoch_losses[0] if self._epoch_losses else ()
        return {name: statistics.fmean(losses[name] for losses in self._epoch_losses) for name in names}

    def on_train_epoch_start(self) -> None:
        """Begin the means anew."""
        self._epoch_losses = []

    def note(self, **values: float) -> None:
        """Log numbers with the batch that was trained on last."""
        self._unlogged[-1].further = {name: float(np.float32(value)) for name, value in values.items()}

    def fetch_losses(self) -> None:
        """Fetch the values of all batches since the last time; raise NonFiniteLossError for a loss of them.

        All processes fetch the same steps and fail together: one alone would leave the others waiting for
        its gradients.
        """
        new = [batch for batch in self._unlogged if batch.row is None]
        if not new:
            return
        values = torch.stack(
            [torch.stack([value.float() for value in batch.values.values()]) for batch in new]
        )
        for batch, row in zip(new, values.tolist(), strict=True):
            batch.row = row
            self.displayed = {
                name: value
                for name, value in zip(batch.values, row, strict=True)
                if name in ("loss", *batch.shown)
            }
            self._epoch_losses.append(self.displayed)
        bad = [number for number, batch in enumerate(new) if not np.isfinite(batch.row[0])]  # type: ignore[index]
        if self.trainer.strategy.reduce_boolean_decision(not bad):
            return
        first = min(self.gather(bad[:1]))
        batch = new[first]
        details = self.described(batch, finite_here=first not in bad)
        del self._unlogged[self._unlogged.index(batch) :]
        self.log_losses()
        self.fail(f"the loss is {batch.values['loss'].item()} at step {batch.step}", details, batch.epoch)

    def log_losses(self) -> None:
        """Log the steps since the last fetch."""
        self.fetch_losses()
        steps = {batch.step: batch for batch in self._unlogged}  # of several batches of a step, the last
        self._unlogged = []
        for step, batch in steps.items():
            row = dict(zip(batch.values, batch.row or (), strict=True))
            for logger in self.loggers:
                logger.log_metrics({**row, **batch.further, "epoch": batch.epoch}, step)
                logger.save()

    def on_train_batch_end(self, outputs: Any, batch: Any, batch_index: int) -> None:
        """Log the steps where it is time to."""
        if (batch_index + 1) % self.batches_per_step == 0 and (
            self.global_step % self.steps_between_fetches == 0 or self.trainer.is_last_batch
        ):
            self.log_losses()

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Store the checksums of the data; the averaged weights in the place of those of the last step."""
        checkpoint["data"] = dict(self.checksums)
        if self._ema_weights:
            state = checkpoint["state_dict"]
            checkpoint["last_weights"] = {
                f"model.{name}": state[f"model.{name}"] for name in self._ema_weights
            }
            state.update({f"model.{name}": value.clone() for name, value in self._ema_weights.items()})

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Take the averaged weights out, before Lightning loads those of the last step."""
        if self._uses_ema and "last_weights" in checkpoint:
            last, state = checkpoint["last_weights"], checkpoint["state_dict"]
            self._ema_weights = {name.removeprefix("model."): state[name].clone() for name in last}
            state.update(last)

    def _floats(self) -> dict[str, Tensor]:
        """Weights and running statistics of the network, by name."""
        return {name: value for name, value in self.model.state_dict().items() if value.is_floating_point()}

    def on_train_start(self) -> None:
        """Begin the average with the first weights, or move that of a checkpoint to the device."""
        if self._uses_ema:
            self._ema_weights = {
                name: self._ema_weights.get(name, value).to(value.device, copy=True)
                for name, value in self._floats().items()
            }

    def optimizer_step(self, *arguments: Any, **named: Any) -> None:
        """Update the weights and their average, which forgets the random start faster than its decay."""
        super().optimizer_step(*arguments, **named)
        if self._ema_weights:
            done = self.trainer.global_step
            decay = min(self.options.optimization.ema, (1 + done) / (10 + done))
            update = get_ema_multi_avg_fn(decay)  # type: ignore[no-untyped-call]
            update(list(self._ema_weights.values()), list(self._floats().values()), None)

    def _exchange_weights(self) -> None:
        """Put the average in the place of the weights, and the weights in its place."""
        weights = self._floats()
        for name, average in self._ema_weights.items():
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


# The learning rate, a pure function of the step


def learning_rate(step: int, *, start: float, end: float, steps: int, warmup: int) -> float:
    """Exponential decay from `start` at step 0 to `end` at step `steps`, after a linear warm-up.

    Parameters
    ----------
    step
        Counted from 0.
    start, end
        Learning rates.
    steps
        Of the whole run.
    warmup
        Steps over which the rate rises linearly to what the decay has reached there.

    Examples
    --------
    >>> steps = (0, 1, 2, 50, 100)
    >>> [round(learning_rate(step, start=1.0, end=0.01, steps=100, warmup=2), 3) for step in steps]
    [0.5, 0.955, 0.912, 0.1, 0.01]
    """
    decayed = start * (end / start) ** (min(step, steps) / max(steps, 1))
    return float(decayed * _warmed(step, warmup))


def stepwise_rate(step: int, *, start: float, drops: Sequence[float], steps: int, warmup: int) -> float:
    """A tenth of the rate before from each of some parts of the run on, after a linear warm-up.

    Parameters
    ----------
    step
        Counted from 0.
    start
        Learning rate.
    drops
        At what parts of the run, from 0 to 1, it is divided by 10. A part that is no whole step is rounded.
    steps
        Of the whole run.
    warmup
        Steps over which the rate rises linearly.

    Examples
    --------
    >>> at = (0, 1, 49, 50, 74, 75)
    >>> [round(stepwise_rate(s, start=0.1, drops=(0.5, 0.75), steps=100, warmup=0), 6) for s in at]
    [0.1, 0.1, 0.1, 0.01, 0.01, 0.001]
    """
    passed = sum(step >= round(part * steps) for part in drops)
    return float(start * 0.1**passed * _warmed(step, warmup))


def _warmed(step: int, warmup: int) -> float:
    return min(1.0, (step + 1) / max(warmup, 1))
