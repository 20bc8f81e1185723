"""A detection run from options to diagnosis, in one folder."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import lightning as L
import torch
import yaml

from data.augment import eval_transform
from data.detection import DetectionDataset, detection_loader
from data.formats.files import read_text, write_text
from data.records import InputError
from diagnosis import Diagnosis, sentences, table
from training.data import DetectionData, RunData, object_count, read_run_data, read_test_data
from training.evaluation import detect
from training.folder import RunFolder, make_folder
from training.model import build_detector, hyper_parameters, load_detector, load_state, read_checkpoint
from training.module import DetectorModule
from training.options import Options
from training.provenance import provenance
from training.report import write_report
from training.trainer import explained, is_first_process, make_device, make_trainer

__all__ = ["RunFolder", "default_name", "evaluate", "train"]

# Options that may change when a run is resumed: they do not change what it computes, or extend it.
RESUMABLE = {
    "accelerator", "channels_last", "compile", "deterministic", "devices", "epochs", "max_steps", "passes",
    "precision", "root", "sheet", "validate_every", "weights", "workers",
}  # fmt: skip


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


def stored_options(folder: RunFolder) -> dict[str, Any]:
    """The options that a run was started with; none where they are not known."""
    if not folder.config.is_file():
        return {}
    try:
        stored = yaml.safe_load(read_text(folder.config, "the options of the run"))
    except yaml.YAMLError:
        stored = None
    if not isinstance(stored, dict):
        raise InputError(folder.config, "no options", "those of the run, one in each line, or no such file")
    return stored


def check_resumed(options: Options, checkpoint: Path) -> dict[str, Any]:
    """Read the checkpoint to go on from; raise InputError where the options differ from those of its run."""
    state = read_checkpoint(checkpoint)
    if "global_step" not in state:
        raise InputError(checkpoint, "weights without the state of a training", "a last.ckpt or best.ckpt")
    folder = RunFolder.of(checkpoint)
    before = stored_options(folder)
    for name, value in options.flat().items():
        if name in before and name not in RESUMABLE and before[name] != value:
            raise InputError(
                f"--{name.replace('_', '-')}",
                f"{value!r}",
                f"{before[name]!r}, with which {folder.path} was started: leave it, or start a new run",
            )
    return state


def check_epochs(options: Options, images: int, steps: int) -> None:
    """Raise InputError where so many steps on so many images are more epochs than the run is to have."""
    done = steps // max(images // options.optimization.batch_size, 1)
    if options.optimization.epochs < done:
        raise InputError("--epochs", str(options.optimization.epochs), f"at least the {done} that are done")


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
    state = check_resumed(options, resume) if resume is not None else None
    data = read_run_data(options.data, options.optimization.seed)
    L.seed_everything(options.optimization.seed, workers=False, verbose=False)
    start = replace(options.model, weights="none") if resume else options.model
    model = build_detector(start, len(data.train.classes), options.data.input_size)
    if state is not None and resume is not None:
        load_state(model, state["state_dict"], resume)  # names what does not fit, before Lightning does
    loaders = detection_data(options, data)
    steps = int(state["global_step"]) if state is not None else 0
    check_epochs(options, len(data.train.images), steps)
    make_folder(folder.checkpoints)
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
    trainer = make_trainer(options, folder, validates=data.validation is not None, resume_step=steps)
    loaders.check(trainer.world_size)
    if trainer.is_global_zero:
        write_text(folder.config, yaml.safe_dump(options.flat(), sort_keys=False))
        history = _history(folder) if resume else []
        write_text(folder.path / "provenance.json", json.dumps([*history, facts], indent=1))
        print(
            f"{out}: {facts['images']['train']} images with {object_count(data.train)} objects to train on, "
            f"{facts['images']['validation']} to validate, {facts['images']['test']} to test",
            flush=True,
        )
    with explained():
        trainer.fit(module, datamodule=loaders, ckpt_path=resume, weights_only=True)
    if not trainer.is_global_zero:
        return None
    if folder.best.is_file():
        load_state(model, read_checkpoint(folder.best)["state_dict"], folder.best)
        print(f"scoring the checkpoint that is best on the validation images: {folder.best}", flush=True)
    else:
        print("no validation took place: scoring the last state", flush=True)
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


def _history(folder: RunFolder) -> list[dict[str, Any]]:
    """The provenance of the run's earlier sittings."""
    file = folder.path / "provenance.json"
    return list(json.loads(file.read_text())) if file.is_file() else []


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
