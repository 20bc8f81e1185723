"""Lightning's trainer for a run, with its loggers and callbacks."""

from __future__ import annotations

import csv
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.loggers import CSVLogger, Logger, TensorBoardLogger

from data.records import InputError
from training.callbacks import Checkpoints, LogProgress, ProgressBar
from training.options import MachineOptions
from training.run_state import RunFolder, is_global_zero

__all__ = ["LOGGERS", "as_input_error", "autocast", "csv_log", "lost_peer", "make_device", "make_trainer"]

HALF_PRECISIONS = {"16-mixed": torch.float16, "bf16-mixed": torch.bfloat16}


def autocast(device: torch.device, precision: str) -> torch.autocast:
    """The context in which a network computes in a precision, by Lightning's name of it."""
    return torch.autocast(device.type, HALF_PRECISIONS.get(precision), enabled=precision in HALF_PRECISIONS)


def lost_peer(error: RuntimeError) -> bool:
    """Whether a process failed only because another one of its run has ended."""
    broken = "closed by peer" in str(error) or "reset by peer" in str(error)  # gloo has no type for it
    return broken or (torch.distributed.is_available() and isinstance(error, torch.distributed.DistError))


@contextmanager
def as_input_error() -> Iterator[None]:
    """Turn Lightning's errors about its arguments into an InputError."""
    try:
        yield
    except MisconfigurationException as error:
        raise InputError(
            "--accelerator, --devices, --precision or --epochs",
            f"what cannot be done here ({' '.join(str(error).split())})",
            "what this machine has, and no fewer epochs than are done",
        ) from error


def csv_log(folder: RunFolder, resume_step: int) -> CSVLogger:
    """The log as CSV; that of a resumed run begins with the rows of the steps that are not repeated.

    Lightning's own logger would delete them.
    """
    logger = CSVLogger(str(folder.path), name="logs", version="csv", flush_logs_every_n_steps=20)
    file = Path(logger.log_dir) / "metrics.csv"
    if resume_step and file.is_file() and is_global_zero():
        lines = file.read_text().splitlines(keepends=True)
        whole = [line for line in lines if line.endswith("\n")]  # a hard kill may have left a part of one
        rows = [row for row in csv.DictReader(whole) if int(row["step"]) < resume_step]
        file.unlink()
        experiment = logger.experiment
        experiment.metrics = [{name: value for name, value in row.items() if value} for row in rows]
        experiment.save()
    return logger


def tensorboard_log(folder: RunFolder, resume_step: int) -> TensorBoardLogger:
    """The log as TensorBoard reads it; that of a resumed run drops the steps that are repeated."""
    return TensorBoardLogger(
        str(folder.path), name="logs", version="tensorboard", purge_step=resume_step or None
    )


LOGGERS: tuple[Callable[[RunFolder, int], Logger], ...] = (csv_log, tensorboard_log)
"""Where a run logs to: each from its folder and the step that it is resumed after (0: it is new)."""


def make_trainer(
    machine: MachineOptions,
    optimization: Any,
    folder: RunFolder,
    monitor: str,
    validate_every: int,
    *,
    resume_step: int = 0,
) -> L.Trainer:
    """Lightning's trainer for a run, new or resumed after `resume_step` steps.

    Parameters
    ----------
    machine
        What it runs on.
    optimization
        The options of a task: ``epochs``, ``max_steps`` and ``clip_gradient`` of them.
    folder
        Of the run.
    monitor
        The validation score that is largest for the best checkpoint.
    validate_every
        Epochs from one validation to the next; 0: there is none.
    resume_step
        Steps that are done.

    Raises
    ------
    InputError
        What this machine cannot do.
    """
    bar = sys.stdout.isatty()  # where Lightning draws it
    devices: int | str = machine.devices if machine.devices == "auto" else int(machine.devices)
    nodes = 1
    if torch.distributed.is_torchelastic_launched():
        devices = int(os.environ["LOCAL_WORLD_SIZE"])
        nodes = int(os.environ["WORLD_SIZE"]) // devices
    with as_input_error():
        trainer = L.Trainer(
            accelerator=machine.accelerator,
            devices=devices,
            num_nodes=nodes,
            precision=machine.precision,
            max_epochs=optimization.epochs,
            gradient_clip_val=optimization.clip_gradient or None,
            check_val_every_n_epoch=validate_every or 1,
            limit_val_batches=None if validate_every else 0,
            num_sanity_val_steps=0,
            use_distributed_sampler=False,
            deterministic="warn" if machine.deterministic else None,
            callbacks=[
                ProgressBar() if bar else LogProgress(),
                Checkpoints(folder, monitor, optimization.max_steps),
            ],
            logger=[make(folder, resume_step) for make in LOGGERS],
            log_every_n_steps=1,
            enable_progress_bar=bar,
            enable_model_summary=False,
            enable_checkpointing=False,
            default_root_dir=str(folder.path),
        )
    _check_precision(machine, trainer)
    return trainer


def make_device(machine: MachineOptions) -> torch.device:
    """The device that one process computes on."""
    with as_input_error():
        trainer = L.Trainer(
            accelerator=machine.accelerator,
            devices=1,
            logger=False,
            enable_checkpointing=False,
            enable_model_summary=False,
            enable_progress_bar=False,
        )
    _check_precision(machine, trainer)
    device: torch.device = trainer.strategy.root_device
    return device


def _check_precision(machine: MachineOptions, trainer: L.Trainer) -> None:
    """Raise InputError for half precision on a CPU, which Lightning would replace."""
    if machine.precision == "16-mixed" and trainer.strategy.root_device.type == "cpu":
        raise InputError("--precision", "'16-mixed' on a CPU", "bf16-mixed or 32-true there")
