"""What accompanies a training run: its checkpoints, a clean stop, and its progress."""

from __future__ import annotations

import os
import signal
import stat
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from types import FrameType
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import Callback, TQDMProgressBar
from lightning.pytorch.callbacks.progress.tqdm_progress import Tqdm

from detector.networks import WeightsError, check_sum
from spatial_dependency import SIGNALS
from training.run_state import RunFolder, leave_pipe, link

__all__ = [
    "Checkpoints", "FailedError", "LogProgress", "NonFiniteLossError", "ProgressBar", "StoppedError",
    "Throughput", "with_progress",
]  # fmt: skip


STEPS_BETWEEN_FETCHES = 20
"""On a GPU: steps after which losses are fetched and logged, the bar is drawn, and a stop is agreed on."""


class NonFiniteLossError(RuntimeError):
    """The loss of a step, or what it left of the weights, is NaN or infinite."""


class FailedError(RuntimeError):
    """The machine failed the run: a full disk, too little memory, a process that was killed."""


class StoppedError(RuntimeError):
    """The run was asked to stop by a signal, and has saved its state."""

    def __init__(self, number: int, checkpoint: Path) -> None:
        super().__init__(f"stopped by {signal.Signals(number).name}; the state is kept in {checkpoint}")
        self.number = number


def leave_terminal() -> None:
    """Where the terminal is gone, print to nowhere; an error would end the run before its state is saved."""
    for descriptor in (1, 2):
        try:
            is_device = stat.S_ISCHR(os.fstat(descriptor).st_mode)
        except OSError:  # closed
            continue
        if is_device and not os.isatty(descriptor):
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, descriptor)
            os.close(nowhere)


# Lightning's ModelCheckpoint writes in place, so that a kill leaves half a file, and on SIGTERM its processes
# do not agree on the step that is saved.
class Checkpoints(Callback):
    """Saves ``last.ckpt``, ``previous.ckpt`` and ``best.ckpt``, and stops cleanly on the signals `SIGNALS`.

    The last state is saved after each epoch, every `checkpoint_every` steps, at the last step of a run cut
    short by a number of steps, and on a signal. A signal is acted upon between two steps, so that the
    checkpoint never holds half a step; a second one ends the process at once. A file is complete on the disk
    before it takes the place of the one before.

    The best checkpoint has the largest score; of equal scores, the smallest validation loss; of equal losses,
    the latest epoch. Where several are kept, each is there by the number of its step, too.

    Parameters
    ----------
    folder
        Of the run.
    monitor
        The logged score that is largest for the best.
    options
        ``max_steps``: stop after this number of steps of the run; None: at its end. ``checkpoint_every``:
        steps from one checkpoint to the next within an epoch; 0: none there. ``patience``: stop after this
        number of validations without a better score; 0: never. ``keep_best``: how many of the best are kept.
    """

    def __init__(self, folder: RunFolder, monitor: str, options: Any) -> None:
        self.max_steps, self.every = options.max_steps, options.checkpoint_every
        self.patience, self.keep_best = options.patience, options.keep_best
        self.folder, self.monitor = folder, monitor
        self.last, self.best = folder.last, folder.best
        self.part = self.last.with_name(f".{self.last.name}.part")
        self._forget_best()
        self._validated = False
        self._written = False
        self._signal = 0
        self._stopped = False
        self._handlers: dict[int, Any] = {}

    def _forget_best(self) -> None:
        self.ranking: list[tuple[float, float, int]] = []  # (score, -loss, step), the best first
        self.waited = 0  # validations since the best

    def state_dict(self) -> dict[str, Any]:
        """What a resumed run has to know."""
        return {"ranking": [list(entry) for entry in self.ranking], "waited": self.waited}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """The inverse of :meth:`state_dict`."""
        if "best_step" in state_dict:  # of an earlier version
            best = (state_dict["best_score"], -state_dict["best_loss"], int(state_dict["best_step"]))
            state_dict = {"ranking": [best], "waited": 0}
        self.ranking = [(score, minus_loss, int(step)) for score, minus_loss, step in state_dict["ranking"]]
        self.waited = state_dict["waited"]

    def _best_is_sound(self) -> bool:
        """False, too, where a run that is resumed in another folder has yet to find its best."""
        try:
            check_sum(self.best)
        except (FileNotFoundError, WeightsError):
            return False
        return True

    def _link_best(self, step: int) -> None:
        """Give the state that was saved after `step` the names of its rank; drop the files of other steps."""
        steps = [kept for _, _, kept in self.ranking]
        if step in steps and self.keep_best > 1:
            link(self.last, self.folder.best_at(step))
        if step in steps[:1]:
            link(self.last, self.best)
        for file in self.last.parent.glob("best-step-*.ckpt"):
            if file not in map(self.folder.best_at, steps):
                file.unlink()

    def _receive(self, number: int, frame: FrameType | None) -> None:
        self._signal = number
        signal.signal(number, signal.SIG_DFL)
        if number == signal.SIGHUP:
            leave_terminal()

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Listen for signals, after Lightning has installed its own handlers; limit the number of steps.

        A limit that the trainer knows from the start has it resume at the end of an epoch with no step done.
        """
        if self.max_steps is not None:
            trainer.fit_loop.epoch_loop.max_steps = self.max_steps
        for number in SIGNALS:
            if signal.getsignal(number) != signal.SIG_IGN:  # as nohup has SIGHUP
                self._handlers[number] = signal.signal(number, self._receive)
        if trainer.is_global_zero and trainer.global_step and self.last.is_file():
            self._link_best(trainer.global_step)  # a kill may have come before it
        if not trainer.strategy.broadcast(trainer.is_global_zero and self._best_is_sound()):
            self._forget_best()
        self._stop_where_impatient(trainer)

    def _stop_where_impatient(self, trainer: L.Trainer) -> None:
        """Let this epoch be the last if too many have not been better."""
        if self.patience and self.waited >= self.patience:
            trainer.should_stop = True
            if trainer.is_global_zero:
                print(f"no better score in {self.waited} validations: the training stops", flush=True)

    def teardown(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Restore the handlers of the signals."""
        for number, handler in self._handlers.items():
            # Else Lightning has restored those before its own.
            if number == self._signal or signal.getsignal(number) == self._receive:
                signal.signal(number, handler)
        self._handlers = {}

    def on_exception(
        self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException
    ) -> None:
        """Remove what is half written; restore the handlers of the signals, as there is no teardown then."""
        self.teardown(trainer, pl_module, "fit")
        if trainer.is_global_zero:
            with suppress(OSError):
                self.part.unlink()

    def _write(self, trainer: L.Trainer, pl_module: Any) -> None:
        """Write the state beside its place; it is not yet the last checkpoint."""
        pl_module.fetch_losses()
        tensors = {name: [value] for name, value in pl_module.state_dict().items()}
        for optimizer in trainer.optimizers:
            values = [value for state in optimizer.state.values() for value in state.values()]
            tensors["the optimizer"] = [value for value in values if isinstance(value, torch.Tensor)]
        broken = [name for name, group in tensors.items() if not all(v.isfinite().all() for v in group)]
        if not trainer.strategy.reduce_boolean_decision(not broken):
            names = ", ".join(broken[:3]) or "those of another process"
            pl_module.fail(f"the weights are not finite after step {trainer.global_step}", f": {names}")
        trainer.save_checkpoint(self.part, weights_only=False)
        self._written = True

    def _place(self, trainer: L.Trainer, pl_module: Any) -> None:
        """Make what was written the last checkpoint, once the log of its steps is on disk."""
        self._written = False
        pl_module.log_losses()
        for logger in trainer.loggers:
            logger.save()  # a checkpoint without the log of its steps would leave a gap after a hard kill
        if trainer.is_global_zero:
            if self.last.is_file():
                link(self.last, self.folder.previous)
            self.part.replace(self.last)
            self._link_best(trainer.global_step)
            folder = os.open(self.last.parent, os.O_RDONLY)
            os.fsync(folder)  # the names
            os.close(folder)
        trainer.strategy.barrier()

    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Place what was written after the step before, which has been logged since."""
        if self._written:
            self._place(trainer, pl_module)

    def _stop_if_asked(self, trainer: L.Trainer, every: int = 1) -> None:
        """Make this step the last if any process got a signal; all agree, as all take part in saving.

        They ask each other every `every` steps.

        An error raised here would come before Lightning logs the step.
        """
        asked = bool(self._signal)
        if trainer.world_size > 1:
            asked = trainer.global_step % every == 0 and trainer.strategy.reduce_boolean_decision(
                asked, all=False
            )
        if asked:
            self._stopped = True
            trainer.fit_loop.epoch_loop.max_steps = trainer.global_step

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Save in the middle of an epoch where it is due; at its end, on_train_epoch_end does."""
        stepped = (batch_idx + 1) % trainer.accumulate_grad_batches == 0
        if stepped and batch_idx + 1 < trainer.num_training_batches:
            self._stop_if_asked(trainer, pl_module.steps_between_fetches)
            ends = trainer.max_steps != -1 and trainer.global_step >= trainer.max_steps
            if ends or (self.every and trainer.global_step % self.every == 0):
                self._write(trainer, pl_module)

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Remember that this epoch has a score."""
        self._validated = True

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Save after each whole epoch."""
        if not trainer.fit_loop.epoch_loop.batch_progress.is_last_batch:
            return
        if self._validated:
            score, loss = (float(trainer.callback_metrics[name]) for name in (self.monitor, "val/loss"))
            before = self.ranking[:1]
            self.ranking = sorted([*self.ranking, (score, -loss, trainer.global_step)], reverse=True)
            del self.ranking[self.keep_best :]
            self.waited = 0 if not before or (score, -loss) > before[0][:2] else self.waited + 1
        self._stop_if_asked(trainer)
        self._write(trainer, pl_module)
        self._place(trainer, pl_module)
        if self._validated:
            self._stop_where_impatient(trainer)
        self._validated = False

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Place what the last step wrote; say that the run was stopped, also by a signal after that step."""
        if self._written:
            self._place(trainer, pl_module)
        if self._stopped or self._signal:
            raise StoppedError(self._signal or signal.SIGTERM, self.last)


# Lightning's ThroughputMonitor logs under other names, over a window of steps, and knows no time left.
class Throughput(Callback):
    """Measures images per second and the time that the run still takes; logs speed and learning rate."""

    def __init__(self, **named: Any) -> None:
        super().__init__(**named)
        self.learning_rate = 0.0
        self.images_per_second = 0.0
        self.seconds_left = 0.0
        self._last = 0.0

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Begin to measure; a run that is resumed within an epoch has no start of one."""
        super().on_train_start(trainer, pl_module)
        self._last = time.perf_counter()

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Do not count validation and saving as part of a step."""
        super().on_train_epoch_start(trainer, pl_module)
        self._last = time.perf_counter()

    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Note the learning rate of this step: at its end the optimizer has that of the next."""
        self.learning_rate = trainer.optimizers[0].param_groups[0]["lr"]

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Update the running mean over about twenty steps, then what is displayed."""
        now = time.perf_counter()
        seconds, self._last = max(now - self._last, 1e-9), now
        images = len(batch["images"]) * trainer.world_size
        rate = images / seconds
        mean = self.images_per_second
        self.images_per_second = 0.95 * mean + 0.05 * rate if mean else rate
        done = trainer.current_epoch * int(trainer.num_training_batches) + batch_idx + 1
        steps = int(trainer.max_epochs or 0) * int(trainer.num_training_batches)
        if trainer.max_steps != -1:
            steps = min(steps, trainer.max_steps * trainer.accumulate_grad_batches)
        self.seconds_left = max(steps - done, 0) * images / self.images_per_second
        pl_module.note(images_per_second=rate, learning_rate=self.learning_rate)
        super().on_train_batch_end(trainer, pl_module, outputs, batch, batch_idx)

    def status_items(self) -> dict[str, str]:
        """What a display adds to the losses."""
        return {
            "left": duration(self.seconds_left),
            "img/s": f"{self.images_per_second:.1f}",
            "lr": f"{self.learning_rate:.2e}",
        }


def duration(seconds: float) -> str:
    """Hours, minutes and seconds.

    Examples
    --------
    >>> duration(90061.4)
    '25:01:01'
    """
    minutes, second = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02}:{second:02}"


class ProgressBar(Throughput, TQDMProgressBar):
    """Lightning's bar with the time that the whole run still takes, images per second and learning rate.

    They come before the losses: what a narrow terminal has no room for is cut off at the right.
    """

    BAR_FORMAT = "{l_bar}{bar}| {n_fmt}/{total_fmt}{postfix}"

    def get_metrics(self, trainer: L.Trainer, pl_module: Any) -> dict[str, Any]:
        """Time left, speed and rate, then the losses by their short names."""
        items = {**pl_module.displayed, **super().get_metrics(trainer, pl_module)}
        items.pop("v_num", None)
        losses = {name.removeprefix("loss/"): value for name, value in items.items()}
        return {**self.status_items(), **losses}

    def on_train_epoch_start(self, trainer: L.Trainer, *arguments: Any) -> None:
        """Count the epochs from 1, as everywhere else."""
        super().on_train_epoch_start(trainer, *arguments)
        self.train_progress_bar.set_description(f"epoch {trainer.current_epoch + 1}/{trainer.max_epochs}")


def with_progress(loader: Any, images: int, *, every: float = 60.0) -> Iterator[Any]:
    """The batches of a loader of `images` images, with how many are done.

    A bar on a terminal, else a line every `every` seconds.
    """
    done, printed = 0, time.perf_counter()
    began = printed
    with Tqdm(
        total=images, desc="scoring", unit="image", leave=False, disable=not sys.stdout.isatty()
    ) as bar:
        for batch in loader:
            yield batch
            count = len(batch["images"])
            done += count
            bar.update(count)
            now = time.perf_counter()
            if bar.disable and now - printed > every:
                left = duration((now - began) / done * (images - done))
                print(f"scoring: {done}/{images} images, left {left}", flush=True)
                printed = now


class LogProgress(Throughput):
    """Progress without a terminal: a line after each epoch, and one every `every` seconds within."""

    def __init__(self, every: float = 60.0) -> None:
        super().__init__()
        self.every = every
        self._printed = 0.0
        self._validated = False

    def _line(self, trainer: L.Trainer, where: str) -> None:
        if not trainer.is_global_zero:
            return
        module: Any = trainer.lightning_module
        known = {**module.means, **trainer.progress_bar_metrics}  # also the scores of earlier epochs
        parts = ("loss/", "val/") if self._validated else ("loss/",)
        names = ["loss", *(name for name in known if name.startswith(parts))]
        values = [f"{name} {known[name]:.4g}" for name in names if name in known]
        values += [f"{name} {value}" for name, value in self.status_items().items()]
        epoch = f"epoch {trainer.current_epoch + 1}/{trainer.max_epochs}"
        try:
            print(f"{epoch}{where}: {', '.join(values)}", flush=True)
        except BrokenPipeError:
            leave_pipe("the run goes on")
        self._printed = time.perf_counter()

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Start the clocks."""
        super().on_train_start(trainer, pl_module)
        self._printed = self._last

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """A line now and then, but not where that of the epoch follows."""
        super().on_train_batch_end(trainer, pl_module, outputs, batch, batch_idx)
        step, steps = batch_idx + 1, trainer.num_training_batches
        if self._last - self._printed > self.every and step < steps:
            self._line(trainer, f" step {step}/{steps}")

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """The line of this epoch has a score to show."""
        self._validated = True

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """A line after each epoch, or where a number of steps ends the run within one."""
        progress = trainer.fit_loop.epoch_loop.batch_progress
        step = f" step {progress.current.completed}/{trainer.num_training_batches}"
        self._line(trainer, "" if progress.is_last_batch else step)
        self._validated = False
