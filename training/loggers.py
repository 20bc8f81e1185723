"""Where a run logs to: CSV and TensorBoard always, Weights & Biases and MLflow by an option."""

from __future__ import annotations

import csv
import hashlib
import os
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from lightning.pytorch.loggers import CSVLogger, Logger, MLFlowLogger, TensorBoardLogger, WandbLogger
from numpy.typing import NDArray

from data.formats.files import read_text, write_text
from data.records import InputError
from training.run_state import RunFolder, is_global_zero

__all__ = ["csv_log", "log_pictures", "make_loggers"]


def csv_log(folder: RunFolder, resume_step: int) -> CSVLogger:
    """The log as CSV; that of a resumed run begins with the rows of the steps that are not repeated.

    Lightning's own logger would delete them.
    """
    logger = CSVLogger(str(folder.path), name="logs", version="csv", flush_logs_every_n_steps=20)
    file = Path(logger.log_dir) / "metrics.csv"
    if resume_step and file.is_file() and is_global_zero():
        rows = _rows_before(file, resume_step)
        file.unlink()
        experiment = logger.experiment
        experiment.metrics = [{name: value for name, value in row.items() if value} for row in rows]
        experiment.save()
    return logger


def _rows_before(file: Path, end: int) -> list[dict[str, str]]:
    """The rows of the steps before step `end`.

    They may begin at any step: the run was resumed in another folder, or its log was moved away.

    Raises
    ------
    InputError
        A cell that is no number, a row with more or fewer cells than columns, or a step without a loss, or
        with two, up to the last.
    """
    lines = read_text(file, "the log of the run").splitlines(keepends=True)
    reader = csv.DictReader(line for line in lines if line.endswith("\n"))  # a hard kill may leave a part
    rows, steps, found = list[dict[str, str]](), list[int](), ""
    try:
        for row in reader:
            for value in row.values():
                float("0" if value == "" else value)
            if (step := int(row["step"])) < end:
                rows.append(row)
                steps += [step] if row["loss"] else []
    except (KeyError, TypeError, ValueError, csv.Error):
        found = f"a damaged log, in line {reader.line_num}"
    else:
        wanted = range(min(steps), end) if steps else [end - 1]
        if missing := sorted(set(wanted) - set(steps)):
            found = f"a log without step {missing[0]}"
        elif len(steps) > len(wanted):
            twice = next(step for step in steps if steps.count(step) > 1)
            found = f"a log with step {twice} twice"
        elif steps != sorted(steps):
            found = "a log whose steps are not in order"
    if found:
        expected = (
            f"numbers, and each step up to {end - 1}, the checkpoint's, once: mend it, or move it away to "
            "go on without the rows so far"
        )
        raise InputError(file, found, expected)
    return rows


def tensorboard_log(folder: RunFolder, resume_step: int) -> TensorBoardLogger:
    """The log as TensorBoard reads it; that of a resumed run drops the steps that are repeated."""
    return TensorBoardLogger(
        str(folder.path), name="logs", version="tensorboard", purge_step=resume_step or None
    )


def wandb_log(folder: RunFolder, resume_step: int) -> Logger:
    """The log on Weights & Biases; WANDB_MODE=offline keeps it in the folder of the run."""
    name = folder.path.resolve().name
    key = hashlib.sha256(str(folder.path.resolve()).encode()).hexdigest()[:16]  # a resumed run is the same
    return WandbLogger(
        name, save_dir=str(folder.path / "logs"), id=key, project="spatial-dependency", resume="allow"
    )


def mlflow_log(folder: RunFolder, resume_step: int) -> Logger:
    """The log as MLflow reads it, in the folder of the run unless MLFLOW_TRACKING_URI says otherwise."""
    file = folder.path / "logs" / "mlflow_run_id"
    known = read_text(file, "the id of the run").strip() if resume_step and file.is_file() else None
    logs = file.parent.resolve()
    logs.mkdir(parents=True, exist_ok=True)
    logger = MLFlowLogger(
        "spatial-dependency",
        run_name=folder.path.resolve().name,
        tracking_uri=os.environ.get("MLFLOW_TRACKING_URI", f"sqlite:///{logs / 'mlflow.db'}"),
        artifact_location=None if "MLFLOW_TRACKING_URI" in os.environ else (logs / "mlflow").as_uri(),
        run_id=known,
    )
    if is_global_zero():
        write_text(file, f"{logger.run_id}\n")
    return logger


LOGGERS: tuple[Callable[[RunFolder, int], Logger], ...] = (csv_log, tensorboard_log)
"""The loggers of every run: each from its folder and the step after which it is resumed (0: it is new)."""
OPTIONAL_LOGGERS: dict[str, Callable[[RunFolder, int], Logger]] = {"wandb": wandb_log, "mlflow": mlflow_log}
"""The loggers of ``--logger``, which need packages of their own; named in :mod:`training.options`."""


def make_loggers(folder: RunFolder, resume_step: int, optional: Sequence[str]) -> list[Logger]:
    """The loggers of a run; InputError where the package of an optional one is missing or it cannot begin."""
    loggers = [make(folder, resume_step) for make in LOGGERS]
    for name in optional:
        try:
            loggers.append(OPTIONAL_LOGGERS[name](folder, resume_step))
        except ImportError:
            raise InputError("--logger", f"no package {name}", f"it installed: pip install {name}") from None
        except InputError:
            raise
        except Exception as error:  # of a service: no connection, no account
            found = f"{name}, which cannot begin ({' '.join(str(error).split())[:200]})"
            raise InputError("--logger", found, "an account and a connection, or to work offline") from error
    return loggers


def log_pictures(logger: object, name: str, pictures: Sequence[NDArray[np.uint8]], step: int) -> None:
    """Show pictures ``(H, W, 3)`` of one size in a logger; CSV has none."""
    if isinstance(logger, TensorBoardLogger):
        logger.experiment.add_images(name, np.stack(pictures), step, dataformats="NHWC")
    elif isinstance(logger, WandbLogger):
        logger.log_image(name, list(pictures), step)
    elif isinstance(logger, MLFlowLogger):
        for number, picture in enumerate(pictures):
            file = f"{name.rpartition('/')[2]}/{step:08}-{number}.png"
            logger.experiment.log_image(logger.run_id, picture, file)
