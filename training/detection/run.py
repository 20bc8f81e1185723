"""A detection run from options to diagnosis, in one folder."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import lightning as L
import torch

from data.augment import eval_transform
from data.detection import DetectionDataset, detection_loader
from data.formats.files import write_text
from data.records import InputError
from diagnosis import Diagnosis, sentences, table
from training.detection.data import DetectionData, RunData, object_count, read_run_data, read_test_data
from training.detection.evaluation import detect
from training.detection.model import (
    build_detector,
    hyper_parameters,
    load_detector,
    load_weights,
    read_checkpoint,
)
from training.detection.module import DetectorModule
from training.detection.options import Options
from training.detection.report import write_report
from training.folder import make_folder
from training.provenance import provenance
from training.sitting import Sitting
from training.trainer import Length, make_device, make_trainer

__all__ = ["default_name", "evaluate", "read_checkpoint", "train"]

RESUMABLE = frozenset({"sheet"})


def default_name(options: Options) -> str:
    """A folder name that tells runs apart: the same for every process of a run.

    Examples
    --------
    >>> default_name(Options())
    'voc-resnet50-plain-448-seed0'
    """
    model, data = options.model, options.data
    shuffled = "plain" if model.shuffle == "none" else f"{model.shuffle_method}-{model.shuffle}"
    return f"{data.data}-{model.arch}-{shuffled}-{data.input_size}-seed{options.optimization.seed}"


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
    sitting = Sitting.begin(options, out, resume, read_checkpoint, RESUMABLE)
    data = read_run_data(options.data, options.optimization.seed)
    L.seed_everything(options.optimization.seed, workers=False, verbose=False)
    start = replace(options.model, weights="none") if resume else options.model
    model = build_detector(start, len(data.train.classes), options.data.input_size)
    if sitting.state is not None and resume is not None:
        # Names what does not fit, before Lightning does.
        load_weights(model, sitting.state["state_dict"], resume)
    loaders = detection_data(options, data)
    sitting.check_epochs(
        options.optimization.epochs, len(data.train.images) // options.optimization.batch_size
    )
    sitting.make_folder()
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
    length = Length(
        options.optimization.epochs,
        options.optimization.max_steps,
        options.evaluation.validate_every if data.validation is not None else 0,
        "val/map",
        options.optimization.clip_gradient,
    )
    trainer = make_trainer(options.machine, length, sitting.folder, resume_step=sitting.steps)
    loaders.check(trainer.world_size)
    if trainer.is_global_zero:
        sitting.record(options, facts)
        print(
            f"{out}: {facts['images']['train']} images with {object_count(data.train)} objects to train on, "
            f"{facts['images']['validation']} to validate, {facts['images']['test']} to test",
            flush=True,
        )
    sitting.fit(trainer, module, loaders)
    if not trainer.is_global_zero:
        return None
    sitting.load_best(model, read_checkpoint, load_weights)
    device = trainer.strategy.root_device
    return _score(model, options, loaders.test, data.similar, out, name, facts, device)


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
    truth, similar = read_test_data(options.data)
    if truth.classes != classes:
        raise InputError(
            checkpoint, f"classes {', '.join(classes)}", f"those of the data: {', '.join(truth.classes)}"
        )
    images = DetectionDataset(truth, eval_transform(input_size))
    make_folder(out)
    facts = provenance(
        images={"test": len(truth.images)},
        test=options.data.test_lists,
        checkpoint=str(checkpoint),
        changed=overrides,
    )
    write_text(out / "provenance.json", json.dumps([facts], indent=1))
    return _score(model, options, images, similar, out, name, facts, make_device(options.machine))


def detection_data(options: Options, data: RunData) -> DetectionData:
    """The loaders of a run."""
    return DetectionData(
        data,
        options.data,
        batch_size=options.optimization.batch_size,
        seed=options.optimization.seed,
        workers=options.machine.workers,
    )


def _score(
    model: Any,
    options: Options,
    images: DetectionDataset,
    similar: tuple[tuple[str, ...], ...],
    out: Path,
    name: str | None,
    facts: dict[str, Any],
    device: torch.device,
) -> Diagnosis:
    # One process scores alone: all images, in order.
    batch_size, workers = options.optimization.batch_size, options.machine.workers
    evaluated = detect(
        model,
        detection_loader(images, batch_size, train=False, workers=workers),
        images.truth,
        options.evaluation,
        device=device,
        precision=options.machine.precision,
        channels_last=options.machine.channels_last,
    )
    diagnosis = write_report(
        evaluated,
        images.truth,
        similar,
        out,
        name=name or out.resolve().name,
        provenance=facts,
        sheet=options.evaluation.sheet,
    )
    print("\n".join(["", table([diagnosis]), "", *sentences([diagnosis])]))
    print(
        f"\nscores: {out / 'scores.json'}\ndetections: {out / 'detections'}\ndiagnosis: {out / 'diagnosis'}",
        flush=True,
    )
    return diagnosis
