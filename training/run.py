"""A run from options to scores, in one folder: the same order of steps for every task.

Begin or resume, data, network, training, best weights, score, report; a :class:`training.task.Task` says what
differs.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import torch
from lightning.pytorch.tuner.tuning import Tuner

from data.records import InputError
from training.checkpoint import load_state, load_trained, read_checkpoint
from training.late_imports import lean_imports
from training.options import check_batch_size, require
from training.pictures import draw_curves, draw_learning_rates
from training.provenance import provenance
from training.run_state import RunFolder, RunState, interrupted_state, locked, make_folder
from training.task import Report, Task, Trained
from training.trainer import (
    QUIET,
    as_input_error,
    make_device,
    make_trainer,
    one_line_errors,
    resolve_machine,
)

__all__ = ["Loaders", "evaluate", "find_learning_rate", "train"]

RATES = 100
"""Steps of a search for the learning rate, each with a larger one."""
LOWEST_RATE, HIGHEST_RATE = 1e-6, 1.0


class Loaders(L.LightningDataModule):
    """The batches of a run: training images reshuffled each epoch, validation images in order."""

    def __init__(self, task: Task, options: Any, data: Any) -> None:
        super().__init__()
        self.task, self.options, self.data = task, options, data

    def _loader(self, images: Any, *, train: bool) -> Any:
        world_size = self.trainer.world_size if self.trainer else 1
        size = self.options.optimization.batch_size // world_size
        return self.task.make_loader(
            images,
            self.options,
            size // (self.options.optimization.accumulate if train else 1),
            train=train,
            device=self.trainer.strategy.root_device if self.trainer else torch.device("cpu"),
            rank=self.trainer.global_rank if self.trainer else 0,
            world_size=world_size,
        )

    def train_dataloader(self) -> Any:
        """Training batches, augmented."""
        return self._loader(self.data.train, train=True)

    def val_dataloader(self) -> Any:
        """Validation batches; an empty list where nothing is held out."""
        return [] if self.data.validation is None else self._loader(self.data.validation, train=False)


def train(task: Task, options: Any, out: Path, *, resume: Path | None = None, name: str | None = None) -> Any:
    """Train, then score on the test set.

    Parameters
    ----------
    task
        What is trained.
    options
        All of the run's options.
    out
        Its folder. It is made after all checks.
    resume
        A checkpoint to resume from.
    name
        Of the network in what is printed and drawn. Default: the folder's name.

    Returns
    -------
    Diagnosis or Scores or None
        On the test set, as :meth:`~training.task.Task.score` of the task returns it; None in all processes
        but the first.

    Raises
    ------
    InputError
        Anything wrong with options, data, weights or checkpoint.
    NonFiniteLossError
        The loss is not finite.
    StoppedError
        The run was stopped by a signal and its state saved.
    """
    options = options.resolved()
    options.check()
    with ExitStack() as stack:
        if out.is_dir():
            make_folder(out)  # refused here where it cannot be written to
            stack.enter_context(locked(out))
        stack.enter_context(one_line_errors(options, RunFolder(out)))
        return _train(task, options, out, resume, name, stack)


def _train(
    task: Task, options: Any, out: Path, resume: Path | None, name: str | None, stack: ExitStack
) -> Any:
    optimization, new = options.optimization, not out.is_dir()
    state = RunState.begin(task, options, out, resume)
    resume = state.resume
    task.check_network(options)
    with lean_imports():
        data = task.read(options)
    checksums = task.checksums(data)
    options, hyper_parameters = _resolve(task, options, data)
    state.check_data(checksums, hyper_parameters["classes"])
    model = replace(options.model, weights="none") if resume else options.model
    network = task.build(model, hyper_parameters)
    if state.checkpoint is not None and resume is not None:
        # For a clearer error than Lightning's.
        load_state(network, state.checkpoint["state_dict"], resume, task.other_weights)
    steps_per_epoch = len(data.train) // optimization.batch_size
    state.check_epochs(optimization.epochs, steps_per_epoch)
    module = task.make_module(network, options, data, hyper_parameters)
    module.checksums = checksums
    trainer = make_trainer(
        options, state.folder, task.monitor, validates=data.validation is not None, resume_step=state.steps,
        steps_per_epoch=steps_per_epoch,
    )  # fmt: skip
    check_batch_size(optimization, len(data.train), trainer.world_size, task.batch_advice)
    if data.validation is not None and len(data.validation) < trainer.world_size:
        found = f"{len(data.validation)} for {trainer.world_size} processes"
        raise InputError(
            "validation images", found, "at least one for each: a larger --validation, or fewer devices"
        )
    make_folder(state.folder.last.parent)
    if new:
        stack.enter_context(locked(out))
        state.folder.check_new()  # again: another run may have been made while the data were read
    state.recover()
    facts = provenance(
        seed=optimization.seed, images=task.image_counts(data), resumed_from=str(resume) if resume else None
    )
    if trainer.is_global_zero:
        state.record(options, facts)
        print(f"{out}: {task.summary_line(network, options, data)}", flush=True)
        state.announce(optimization.epochs, steps_per_epoch)
    with as_input_error():
        trainer.fit(module, datamodule=Loaders(task, options, data), ckpt_path=resume, weights_only=True)
    if not trainer.is_global_zero:
        return None
    trained = Trained(network, hyper_parameters, options.model)
    report = Report(out, name or out.resolve().name, facts, {})
    return _score(task, trained, options, data, report, trainer)


def _score(task: Task, trained: Trained, options: Any, data: Any, report: Report, trainer: L.Trainer) -> Any:
    """Draw the curves of a training and score its best weights, or its last if it has no best."""
    out, folder = report.out, RunFolder(report.out)
    complete = f"the training is complete, the state is kept in {folder.last}; --resume {out}"
    with interrupted_state(f"{complete} goes on"):
        draw_curves(out / "logs" / "csv" / "metrics.csv", out / "curves.png")
    if not options.evaluation.score:
        tested = "" if report.provenance["images"].get("test", 1) else " --test PATH"
        print(f"the test images are not scored (--score false); --evaluate {out}{tested} does it", flush=True)
        return None
    checkpoint, best, epochs = folder.last, folder.best, trainer.current_epoch
    epochs_done = trainer.global_step // (len(data.train) // options.optimization.batch_size)
    if best.is_file() or (data.validation is not None and epochs_done >= options.evaluation.validate_every):
        try:
            content = read_checkpoint(best, task.script, task.hyper_parameter_types)
            load_state(trained.network, content["state_dict"], best, task.other_weights)
        except InputError as error:
            print(f"warning: {error}; scoring the last state, {checkpoint}", file=sys.stderr)
        else:
            checkpoint, epochs = best, int(content["epoch"]) + 1  # a checkpoint counts from 0
            images = task.validated_on(options)
            print(f"scoring the checkpoint that is best on the {images}: {checkpoint}", flush=True)
    else:
        print("no validation took place: scoring the last state", flush=True)
    test = task.read_test(options, trained.hyper_parameters, checkpoint, data)
    scored = {"checkpoint": os.path.relpath(checkpoint, out), "epoch": epochs}
    with interrupted_state(f"{complete} scores it again"):
        report = replace(report, scored=scored)
        return task.score(trained, options, test, report, trainer.strategy.root_device)


def _resolve(task: Task, options: Any, data: Any) -> tuple[Any, dict[str, Any]]:
    """The options with what this machine chooses, and the hyperparameters; the seed of the weights is set."""
    L.seed_everything(options.optimization.seed, workers=False, verbose=False)
    hyper_parameters = {"model": dict(vars(options.model)), **task.describe(options, data)}
    side = hyper_parameters.get("image_size", options.data.input_size)
    pixels = options.optimization.epochs * len(data.train) * side**2
    return replace(options, machine=resolve_machine(options.machine, pixels)), hyper_parameters


def find_learning_rate(task: Task, options: Any, out: Path) -> float | None:
    """Train for a few steps with rising learning rates, without validation, and suggest one of them.

    By Lightning's ``Tuner.lr_find`` (Smith, 2017, section 3.3): a tenth of the rate at which the smoothed
    loss is least. The weights are not kept. Draws ``learning-rates.png``.

    Parameters
    ----------
    task, options, out
        As of :func:`train`.

    Returns
    -------
    float or None
        The suggestion; None: no loss falls.

    Raises
    ------
    InputError
        Anything wrong with options, data or weights.
    """
    options = options.resolved()
    options.check()
    chosen = options.optimization
    one = options.machine.devices in ("1", "auto") and int(os.environ.get("WORLD_SIZE", "1")) == 1
    require(one, "find_learning_rate", "several devices", "one device: --devices 1, without torchrun")
    with one_line_errors(options, None):
        RunFolder(out).check_own()
        task.check_network(options)
        data = task.read(options)
        options, hyper_parameters = _resolve(task, options, data)
        network = task.build(options.model, hyper_parameters)
        module = task.make_module(network, options, data, hyper_parameters)
        module.checks_and_logs = False
        check_batch_size(chosen, len(data.train), 1, task.batch_advice)
        make_folder(out)
        batches_per_epoch = len(data.train) // chosen.batch_size * chosen.accumulate
        with locked(out), as_input_error(), interrupted_state("no learning rate was found"):
            trainer = L.Trainer(
                accelerator=options.machine.accelerator,
                devices=1,
                precision=options.machine.precision,
                max_epochs=-1,
                limit_train_batches=batches_per_epoch,
                limit_val_batches=0,
                accumulate_grad_batches=chosen.accumulate,
                gradient_clip_val=chosen.clip_gradient or None,
                use_distributed_sampler=False,
                deterministic="warn" if options.machine.deterministic else None,
                default_root_dir=str(out),
                **QUIET,
            )
            found: Any = Tuner(trainer).lr_find(
                module,
                Loaders(task, options, data).train_dataloader(),
                val_dataloaders=[],
                min_lr=LOWEST_RATE,
                max_lr=HIGHEST_RATE,
                num_training=RATES,
                update_attr=False,
            )
    losses = np.array(found.results["loss"])
    rates, steps = np.array(found.results["lr"][: len(losses)]), np.arange(1, len(losses) + 1)
    # Lightning divides the running mean by 1 - 0.98^(k + 1), not 1 - 0.98^k: the first values are too low.
    losses *= (1 - 0.98 ** (steps + 1)) / (1 - 0.98**steps)
    least = int(np.argmin(np.where(np.isfinite(losses), losses, np.inf)))
    # Not where the loss falls fastest, which is noise where batches differ as much as those of a detector.
    suggested = float(rates[least]) / 10 if rates[least] > 10 * LOWEST_RATE else None
    draw_learning_rates(rates.tolist(), losses.tolist(), suggested, out / "learning-rates.png")
    said = "no learning rate lowers the loss" if suggested is None else f"try --learning-rate {suggested:.2g}"
    print(f"{said} ({len(losses)} steps on training images; the curve: {out / 'learning-rates.png'})")
    return suggested


def evaluate(
    task: Task,
    options: Any,
    checkpoint: Path,
    out: Path,
    *,
    changes: Mapping[str, Any],
    name: str | None = None,
) -> Any:
    """Score a checkpoint on the test set.

    Parameters
    ----------
    task
        What was trained.
    options
        Data, evaluation and machine; the network is the checkpoint's own.
    checkpoint
        A file that :func:`train` wrote.
    out
        Folder for what is written.
    changes
        Model options to change: those of the shuffles, which have no weights.
    name
        Of the network in what is printed and drawn. Default: the folder's name.

    Raises
    ------
    InputError
        Anything wrong with options, data or checkpoint.
    """
    options = options.resolved()
    options = replace(options, machine=resolve_machine(options.machine))
    with one_line_errors(options, None):
        RunFolder(out).check_own()
        trained = load_trained(task, checkpoint, changes)
        for group in (options.data, options.evaluation, options.machine):
            group.check()
        test = task.read_test(options, trained.hyper_parameters, checkpoint, None)
        make_folder(out)
        facts = provenance(
            **task.test_facts(options, test), checkpoint=str(checkpoint), changed=dict(changes)
        )
        scored = {
            "checkpoint": os.path.relpath(checkpoint, out),
            "epoch": trained.hyper_parameters.get("epoch"),
        }
        report = Report(out, name or out.resolve().name, facts, scored)
        again = f"--evaluate {checkpoint} scores it again"
        with locked(out), interrupted_state(again):
            RunFolder(out).record(facts, add=out.resolve() == RunFolder.of(checkpoint).path.resolve())
            return task.score(trained, options, test, report, make_device(options.machine))
