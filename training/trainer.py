"""Lightning's trainer for a run, with its loggers and callbacks."""

from __future__ import annotations

import csv
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import lightning as L
import torch
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger
from lightning.pytorch.utilities import rank_zero_only

from data.records import InputError
from training.callbacks import Checkpoints, LogProgress, ProgressBar, Throughput
from training.folder import RunFolder
from training.options import MachineOptions
from training.parser import is_first_of_machine

__all__ = [
    "Length",
    "explained",
    "is_first_here",
    "is_first_process",
    "lost_another",
    "make_device",
    "make_trainer",
]


def is_first_process() -> bool:
    """Whether this is the process that writes files; known before there is a trainer."""
    return int(rank_zero_only.rank) == 0  # type: ignore[attr-defined]


def is_first_here() -> bool:
    """Whether this process tells what is wrong before training: the processes of a machine all find the same.

    In training each has images of its own, and tells what is wrong with them itself.
    """
    training = torch.distributed.is_available() and torch.distributed.is_initialized()
    return training or is_first_of_machine()


def lost_another(error: RuntimeError) -> bool:
    """Whether a process failed only because another one of its run has ended."""
    broken = "closed by peer" in str(error) or "reset by peer" in str(error)  # gloo has no type for it
    return broken or (torch.distributed.is_available() and isinstance(error, torch.distributed.DistError))


@dataclass(frozen=True)
class Length:
    """How long a run is, and what happens in it.

    Parameters
    ----------
    epochs
        Passes over the training images.
    max_steps
        Stop after so many steps; None: at the end of the last epoch.
    validate_every
        Epochs from one validation to the next; 0: there is none.
    monitor
        The validation score that is largest for the best checkpoint.
    clip_gradient
        Largest norm of the gradient; 0: not limited.
    """

    epochs: int
    max_steps: int | None
    validate_every: int
    monitor: str
    clip_gradient: float = 0.0


def make_trainer(
    machine: MachineOptions, length: Length, folder: RunFolder, *, resume_step: int = 0
) -> L.Trainer:
    """Lightning's trainer for a run, new or resumed after `resume_step` steps.

    Raises
    ------
    InputError
        What this machine cannot do.
    """
    throughput = Throughput()
    bar = sys.stdout.isatty()  # where Lightning draws it
    callbacks: list[L.Callback] = [
        throughput,
        ProgressBar(throughput) if bar else LogProgress(throughput),
        Checkpoints(folder.checkpoints, length.monitor),
    ]
    devices, nodes = devices_and_nodes(machine.devices)
    with explained():
        trainer = L.Trainer(
            accelerator=machine.accelerator,
            devices=devices,
            num_nodes=nodes,
            precision=machine.precision,
            max_epochs=length.epochs,
            max_steps=length.max_steps or -1,
            gradient_clip_val=length.clip_gradient or None,
            check_val_every_n_epoch=length.validate_every or 1,
            limit_val_batches=None if length.validate_every else 0,
            num_sanity_val_steps=0,
            use_distributed_sampler=False,
            deterministic="warn" if machine.deterministic else None,
            callbacks=callbacks,
            logger=[
                csv_log(folder, resume_step),
                TensorBoardLogger(
                    str(folder.path), name="logs", version="tensorboard", purge_step=resume_step or None
                ),
            ],
            log_every_n_steps=1,
            enable_progress_bar=bar,
            enable_model_summary=False,
            enable_checkpointing=False,
            default_root_dir=str(folder.path),
        )
    check_precision(machine, trainer)
    return trainer


def devices_and_nodes(devices: str) -> tuple[int | str, int]:
    """Devices on each machine, and machines: as torchrun started them, else as the option says.

    Examples
    --------
    >>> devices_and_nodes("2")
    (2, 1)
    """
    if torch.distributed.is_torchelastic_launched():
        here = int(os.environ["LOCAL_WORLD_SIZE"])
        return here, int(os.environ["WORLD_SIZE"]) // here
    return (devices if devices == "auto" else int(devices)), 1


@contextmanager
def explained() -> Iterator[None]:
    """Make of what Lightning says about its arguments an InputError."""
    try:
        yield
    except MisconfigurationException as error:
        raise InputError(
            "--accelerator, --devices, --precision or --epochs",
            f"what cannot be done here ({' '.join(str(error).split())})",
            "what this machine has, and no fewer epochs than are done",
        ) from error


def check_precision(machine: MachineOptions, trainer: L.Trainer) -> None:
    """Raise InputError for half precision on a CPU, which Lightning would replace."""
    if machine.precision == "16-mixed" and trainer.strategy.root_device.type == "cpu":
        raise InputError("--precision", "'16-mixed' on a CPU", "bf16-mixed or 32-true there")


def make_device(machine: MachineOptions) -> torch.device:
    """The device that one process computes on."""
    with explained():
        trainer = L.Trainer(
            accelerator=machine.accelerator,
            devices=1,
            logger=False,
            enable_checkpointing=False,
            enable_model_summary=False,
            enable_progress_bar=False,
        )
    check_precision(machine, trainer)
    device: torch.device = trainer.strategy.root_device
    return device


def csv_log(folder: RunFolder, resume_step: int) -> CSVLogger:
    """The log as CSV; that of a resumed run begins with the rows of the steps that are not repeated.

    Lightning's own logger would delete them.
    """
    logger = CSVLogger(str(folder.path), name="logs", version="csv", flush_logs_every_n_steps=20)
    file = Path(logger.log_dir) / "metrics.csv"
    if resume_step and file.is_file() and is_first_process():
        lines = file.read_text().splitlines(keepends=True)
        whole = [line for line in lines if line.endswith("\n")]  # a hard kill may have left a part of one
        rows = [row for row in csv.DictReader(whole) if int(row["step"]) < resume_step]
        file.unlink()
        experiment = logger.experiment
        experiment.metrics = [{name: value for name, value in row.items() if value} for row in rows]
        experiment.save()
    return logger
