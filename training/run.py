"""A detection run from options to diagnosis, in one folder."""

from __future__ import annotations

import csv
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning as L  # noqa: N812
import torch
import yaml
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger

from data.formats.files import write_text
from data.records import InputError
from diagnosis import Diagnosis, sentences, table
from training.callbacks import Checkpoints, LogProgress, ProgressBar, Throughput
from training.data import DetectionData, RunData, object_count, read_run_data
from training.evaluation import detect
from training.model import build_detector, hyper_parameters, load_detector, load_state, read_checkpoint
from training.module import DetectorModule
from training.options import Options
from training.provenance import provenance
from training.report import write_report

__all__ = ["RunFolder", "default_name", "evaluate", "train"]

# Options that may change when a run is resumed: they do not change what it computes, or extend it.
RESUMABLE = {
    "accelerator", "channels_last", "compile", "deterministic", "devices", "epochs", "max_steps", "passes",
    "precision", "root", "sheet", "validate_every", "weights", "workers",
}  # fmt: skip


@dataclass(frozen=True)
class RunFolder:
    """Where everything of a run lies."""

    path: Path

    @property
    def config(self) -> Path:
        """The resolved options, as YAML that ``--config`` takes."""
        return self.path / "config.yaml"

    @property
    def checkpoints(self) -> Path:
        """``last.ckpt`` and ``best.ckpt``."""
        return self.path / "checkpoints"

    @property
    def last(self) -> Path:
        """The checkpoint to go on from."""
        return self.checkpoints / "last.ckpt"

    @property
    def best(self) -> Path:
        """The checkpoint that is best on the validation images."""
        return self.checkpoints / "best.ckpt"


def default_name(options: Options) -> str:
    """A folder name that tells runs apart: the same for every process of a run.

    Examples
    --------
    >>> default_name(Options())
    'voc-resnet50-plain-448-seed0'
    """
    model = options.model
    shuffled = "plain" if model.shuffle == "none" else f"{model.shuffle_method}-{model.shuffle}"
    return f"{options.data.data}-{model.arch}-{shuffled}-{options.data.input_size}-seed{options.optimization.seed}"


def check_resumed(options: Options, folder: RunFolder) -> None:
    """Raise InputError where the options of a resumed run differ from those it was started with."""
    if not folder.config.is_file():
        return
    before = yaml.safe_load(folder.config.read_text())
    for name, value in options.flat().items():
        if name in before and name not in RESUMABLE and before[name] != value:
            raise InputError(
                f"--{name.replace('_', '-')}",
                f"{value!r}",
                f"{before[name]!r}, with which {folder.path} was started: leave it, or start another run with --out",
            )


def train(
    options: Options, out: Path, *, resume: Path | None = None, name: str | None = None
) -> Diagnosis | None:
    """Train, then score and diagnose on the test set.

    Parameters
    ----------
    options
        All of the run's options.
    out
        Its folder.
    resume
        A checkpoint to go on from.
    name
        Of the detector in tables and figures. Default: the folder's name.

    Returns
    -------
    Diagnosis or None
        On the test set; None in all processes but the first.

    Raises
    ------
    InputError
        Anything wrong with options, data, weights or checkpoint.
    NonFiniteLossError
        The loss is not finite.
    StoppedError
        The run was stopped by a signal and its state saved.
    """
    options.check()
    folder = RunFolder(out)
    if resume is None and folder.last.exists() and is_first_process():
        raise InputError(
            out, "a run that has begun", "--resume to go on with it, or another --out for a new one"
        )
    if resume is not None:
        check_resumed(options, folder)
        state = read_checkpoint(resume)
    data = read_run_data(options.data, options.optimization.seed)
    L.seed_everything(options.optimization.seed, workers=False, verbose=False)
    model = build_detector(options.model, len(data.train.classes), options.data.input_size)
    if resume is not None:
        load_state(model, state["state_dict"], resume)  # names what does not fit, before Lightning does
    loaders = detection_data(options, data)
    folder.checkpoints.mkdir(parents=True, exist_ok=True)
    facts = provenance(
        seed=options.optimization.seed,
        images={
            "train": len(data.train.images),
            "validation": len(data.validation.images) if data.validation else 0,
            "test": len(data.test.images),
        },
        resumed_from=str(resume) if resume else None,
    )
    module = DetectorModule(
        model,
        options.optimization,
        options.evaluation,
        validation=data.validation,
        train_names=data.train.images,
        similar=data.similar,
        hyper_parameters=hyper_parameters(options.model, data.train.classes, options.data.input_size),
        channels_last=options.machine.channels_last,
        compile_model=options.machine.compile,
    )
    steps = int(state["global_step"]) if resume is not None else 0
    trainer = make_trainer(options, folder, validates=data.validation is not None, resume_step=steps)
    if trainer.is_global_zero:
        write_text(folder.config, yaml.safe_dump(options.flat(), sort_keys=False))
        history = _history(folder) if resume else []
        write_text(folder.path / "provenance.json", json.dumps([*history, facts], indent=1))
        print(
            f"{out}: {len(data.train.images)} images with {object_count(data.train)} objects to train on, "
            f"{len(data.validation.images) if data.validation else 0} to validate, {len(data.test.images)} to test",
            flush=True,
        )
    trainer.fit(module, datamodule=loaders, ckpt_path=resume, weights_only=True)
    if not trainer.is_global_zero:
        return None
    if folder.best.is_file():
        load_state(model, read_checkpoint(folder.best)["state_dict"], folder.best)
        print(f"scoring the checkpoint that is best on the validation images: {folder.best}", flush=True)
    else:
        print("no validation took place: scoring the last state", flush=True)
    return _score(model, options, data, loaders, out, name or out.name, facts, _device(trainer))


def evaluate(
    options: Options, checkpoint: Path, out: Path, *, overrides: dict[str, Any], name: str | None = None
) -> Diagnosis:
    """Score and diagnose a checkpoint on the test set.

    Parameters
    ----------
    options
        Data, thresholds and machine; the model is the checkpoint's own.
    checkpoint
        A file that :func:`train` wrote.
    out
        Folder for detections, scores and diagnosis.
    overrides
        Model options to change: those of the shuffle.
    name
        Of the detector in tables and figures. Default: the folder's name.

    Raises
    ------
    InputError
        Anything wrong with options, data or checkpoint.
    """
    model, classes, input_size = load_detector(checkpoint, overrides)
    if input_size != options.data.input_size:
        raise InputError(
            "--input-size", str(options.data.input_size), f"{input_size}, as {checkpoint} was trained"
        )
    options.data.check()
    options.evaluation.check()
    options.machine.check()
    data = read_run_data(options.data, options.optimization.seed)
    if data.test.classes != classes:
        raise InputError(
            checkpoint, f"classes {', '.join(classes)}", f"those of the data: {', '.join(data.test.classes)}"
        )
    out.mkdir(parents=True, exist_ok=True)
    facts = provenance(
        seed=options.optimization.seed, images={"test": len(data.test.images)}, checkpoint=str(checkpoint)
    )
    trainer = L.Trainer(accelerator=options.machine.accelerator, devices=1, logger=False, enable_progress_bar=False,
                        enable_model_summary=False, enable_checkpointing=False)  # fmt: skip
    loaders = detection_data(options, data)
    return _score(model, options, data, loaders, out, name or out.name, facts, _device(trainer))


def detection_data(options: Options, data: RunData) -> DetectionData:
    """The loaders of a run."""
    return DetectionData(
        data,
        options.data,
        batch_size=options.optimization.batch_size,
        seed=options.optimization.seed,
        workers=options.machine.workers,
    )


def make_trainer(options: Options, folder: RunFolder, *, validates: bool, resume_step: int = 0) -> L.Trainer:
    """Lightning's trainer for a run, new or resumed after `resume_step` steps."""
    import sys

    throughput = Throughput()
    bar = sys.stderr.isatty()
    callbacks: list[L.Callback] = [
        throughput,
        ProgressBar(throughput) if bar else LogProgress(throughput),
        Checkpoints(folder.checkpoints),
    ]
    machine = options.machine
    return L.Trainer(
        accelerator=machine.accelerator,
        devices=machine.devices if machine.devices == "auto" else int(machine.devices),
        precision=machine.precision,
        max_epochs=options.optimization.epochs,
        max_steps=options.optimization.max_steps or -1,
        gradient_clip_val=options.optimization.clip_gradient or None,
        check_val_every_n_epoch=options.evaluation.validate_every,
        limit_val_batches=None if validates else 0,
        num_sanity_val_steps=0,
        use_distributed_sampler=False,
        deterministic="warn" if machine.deterministic else None,
        callbacks=callbacks,
        logger=[
            csv_log(folder, resume_step),
            TensorBoardLogger(str(folder.path), name="logs", version="tensorboard"),
        ],
        log_every_n_steps=1,
        enable_progress_bar=bar,
        enable_model_summary=False,
        enable_checkpointing=False,
        default_root_dir=str(folder.path),
    )


def is_first_process() -> bool:
    """Whether this is the process that writes files; known before there is a trainer."""
    return int(os.environ.get("LOCAL_RANK", "0")) == 0 and int(os.environ.get("RANK", "0")) == 0


def csv_log(folder: RunFolder, resume_step: int) -> CSVLogger:
    """The log as CSV; that of a resumed run begins with the rows of the steps that are not repeated.

    Lightning's own logger would delete them.
    """
    logger = CSVLogger(str(folder.path), name="logs", version="csv", flush_logs_every_n_steps=20)
    file = Path(logger.log_dir) / "metrics.csv"
    if resume_step and file.is_file() and is_first_process():
        with file.open(newline="") as lines:
            rows = [row for row in csv.DictReader(lines) if int(row["step"]) < resume_step]
        file.unlink()
        experiment = logger.experiment
        experiment.metrics = [{name: value for name, value in row.items() if value} for row in rows]
        experiment.save()
    return logger


def _device(trainer: L.Trainer) -> torch.device:
    return trainer.strategy.root_device


def _history(folder: RunFolder) -> list[dict[str, Any]]:
    """The provenance of the run's earlier sittings."""
    file = folder.path / "provenance.json"
    return list(json.loads(file.read_text())) if file.is_file() else []


def _score(
    model: Any,
    options: Options,
    data: RunData,
    loaders: DetectionData,
    out: Path,
    name: str,
    facts: dict[str, Any],
    device: torch.device,
) -> Diagnosis:
    loaders.trainer = None  # one process scores alone
    evaluated = detect(
        model,
        loaders.test_dataloader(),
        data.test,
        options.evaluation,
        device=device,
        precision=options.machine.precision,
        channels_last=options.machine.channels_last,
    )
    diagnosis = write_report(
        evaluated, data.test, data.similar, out, name=name, provenance=facts, sheet=options.evaluation.sheet
    )
    print("\n".join(["", table([diagnosis]), "", *sentences([diagnosis])]))
    print(
        f"\nscores: {out / 'scores.json'}\ndetections: {out / 'detections'}\ndiagnosis: {out / 'diagnosis'}",
        flush=True,
    )
    return diagnosis
