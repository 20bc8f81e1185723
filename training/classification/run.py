"""A classification run from options to scores, in one folder."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import lightning as L
import torch
from torch import nn

from data.classification import classification_loader, find_classification, read_classification_test
from data.formats.files import write_text
from data.image_set import ImageFiles, ImageSet, Statistics
from data.records import InputError
from training.classification.data import ClassificationLoaders, image_size_of, read_training_images
from training.classification.evaluation import Scores, evaluate_classifier
from training.classification.model import (
    build_classifier,
    hyper_parameters,
    load_classifier,
    load_trained,
    read_checkpoint,
)
from training.classification.module import ClassifierModule
from training.classification.options import Options
from training.folder import make_folder
from training.provenance import provenance
from training.sitting import Sitting
from training.trainer import Length, make_device, make_trainer

__all__ = ["default_name", "evaluate", "read_checkpoint", "train"]


def default_name(options: Options) -> str:
    """A folder name that tells runs apart: the same for every process of a run.

    Examples
    --------
    >>> from training.classification.options import ModelOptions
    >>> default_name(Options(model=ModelOptions(method="spatial", last=4)))
    'cifar100-vgg16-spatial-last4-seed0'
    """
    model = options.model
    parts = [options.data.data, model.arch]
    if model.width != 1:
        parts.append(f"width{model.width:g}")
    parts.append("plain" if model.method == "none" else f"{model.method}{model.patch or ''}")
    for name, value in model.place.items():
        parts.append(f"{name}{'-'.join(map(str, value)) if isinstance(value, list) else value}")
    return "-".join([*parts, f"seed{options.optimization.seed}"])


def train(
    options: Options, out: Path, *, resume: Path | None = None, name: str | None = None
) -> Scores | None:
    """Train, then score on the test set.

    Parameters
    ----------
    options
        All of the run's options.
    out
        Its folder.
    resume
        A checkpoint to go on from.
    name
        Of the network in what is printed. Default: the folder's name.

    Returns
    -------
    Scores or None
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
    options = options.resolved()
    options.check()
    sitting = Sitting.begin(options, out, resume, read_checkpoint)
    find_classification(options.data.data, options.data.root)  # the test images too, before days of training
    data = read_training_images(options.data, options.optimization.seed)
    size = image_size_of(data.train, options.data.input_size)
    L.seed_everything(options.optimization.seed, workers=False, verbose=False)
    start = replace(options.model, weights="none") if resume else options.model
    network = build_classifier(start, len(data.classes), size)
    if sitting.state is not None and resume is not None:
        # Names what does not fit, before Lightning does.
        load_trained(network, sitting.state["state_dict"], resume)
    loaders = ClassificationLoaders(data, options)
    steps_per_epoch = len(data.train) // loaders.batch_size
    sitting.check_epochs(options.optimization.epochs or 0, steps_per_epoch)
    length = Length(
        options.optimization.epochs or 0,
        options.optimization.max_steps,
        options.evaluation.validate_every if data.validation is not None else 0,
        "val/accuracy",
        options.optimization.clip_gradient,
    )
    trainer = make_trainer(options.machine, length, sitting.folder, resume_step=sitting.steps)
    loaders.check(trainer.world_size)
    sitting.make_folder()
    held_out = len(data.validation) if data.validation is not None else 0
    facts = provenance(
        seed=options.optimization.seed,
        images={"train": len(data.train), "validation": held_out},
        resumed_from=str(resume) if resume else None,
    )
    if trainer.is_global_zero:
        sitting.record(options, facts)
        print(
            f"{out}: {options.model.arch} with {_parameters(network) / 1e6:.2f} M parameters; "
            f"{len(data.train)} images of {len(data.classes)} classes to train on, {held_out} to validate",
            flush=True,
        )
    hyper = hyper_parameters(options.model, data.classes, data.statistics, size)
    module = ClassifierModule(network, options, data.statistics, steps_per_epoch, hyper)
    sitting.fit(trainer, module, loaders)
    if not trainer.is_global_zero:
        return None
    best = sitting.load_best(network, read_checkpoint, load_trained)
    epochs = (
        int(best["epoch"]) + 1 if best is not None else trainer.current_epoch
    )  # a checkpoint counts from 0
    checkpoint = sitting.folder.last if best is None else sitting.folder.best
    extra = {"checkpoint": str(checkpoint.relative_to(out)), "epoch": epochs}
    device = trainer.strategy.root_device
    test = read_test_images(options, data.classes, checkpoint)
    return _score(network, data.statistics, test, options, out, name, extra, device)


def evaluate(
    options: Options, checkpoint: Path, out: Path, *, overrides: dict[str, Any], name: str | None = None
) -> Scores:
    """Score a checkpoint on the test set.

    Parameters
    ----------
    options
        Data, passes and machine; the network is the checkpoint's own.
    checkpoint
        A file that :func:`train` wrote.
    out
        Folder for scores.json and provenance.json.
    overrides
        Model options to change: those of the shuffle.
    name
        Of the network in what is printed. Default: the folder's name.

    Raises
    ------
    InputError
        Anything wrong with options, data or checkpoint.
    """
    options = options.resolved()
    trained = load_classifier(checkpoint, overrides)
    options.data.check()
    options.evaluation.check()
    options.machine.check()
    test = read_test_images(options, trained.classes, checkpoint)
    size = image_size_of(test, options.data.input_size)
    if size != trained.image_size:
        raise InputError(
            f"--data {options.data.data}",
            f"images of {size} pixels",
            f"{trained.image_size} pixels, with which {checkpoint} was trained",
        )
    make_folder(out)
    facts = provenance(images={"test": len(test)}, checkpoint=str(checkpoint), changed=overrides)
    write_text(out / "provenance.json", json.dumps([facts], indent=1))
    return _score(
        trained.network,
        trained.statistics,
        test,
        options,
        out,
        name,
        {"checkpoint": os.path.relpath(checkpoint, out)},
        make_device(options.machine),
    )


def read_test_images(options: Options, classes: tuple[str, ...], source: Path) -> ImageSet | ImageFiles:
    """The test images.

    Raises
    ------
    InputError
        Anything wrong with the folder; other classes than the network was trained on.
    """
    test = read_classification_test(options.data.data, options.data.root)
    if test.classes != classes:
        raise InputError(
            source,
            f"{len(classes)} classes from {classes[0]!r} to {classes[-1]!r}",
            f"those of the test images: {len(test.classes)} from {test.classes[0]!r} to {test.classes[-1]!r}",
        )
    return test


def _parameters(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def _score(
    network: nn.Module,
    statistics: Statistics,
    test: ImageSet | ImageFiles,
    options: Options,
    out: Path,
    name: str | None,
    extra: dict[str, Any],
    device: torch.device,
) -> Scores:
    # One process scores alone: all images, in order.
    loader = classification_loader(
        test,
        int(options.optimization.batch_size or 0),
        train=False,
        size=options.data.input_size,
        device=device,
        workers=options.machine.workers,
    )
    scores = evaluate_classifier(
        network,
        loader,
        statistics,
        passes=options.evaluation.passes,
        device=device,
        precision=options.machine.precision,
        channels_last=options.machine.channels_last,
    )
    content = {
        "test_images": scores.images,
        "passes": scores.passes,
        "parameters": _parameters(network),
        "accuracy": scores.accuracy.to_json(),
        "accuracy_top5": scores.accuracy_top5.to_json(),
        "loss": scores.loss.to_json(),
        **extra,
    }
    write_text(out / "scores.json", json.dumps(content, indent=1))
    print(f"{name or out.resolve().name}: {in_words(scores)}\nscores: {out / 'scores.json'}", flush=True)
    return scores


def in_words(scores: Scores) -> str:
    """The accuracy, for a terminal.

    Examples
    --------
    >>> from training.classification.evaluation import Score
    >>> top = Score((0.5, 0.75), 0.75)
    >>> print(in_words(Scores(4, top, top, top)))
    62.50 ± 17.68 % correct of 4 test images, over 2 passes; averaged prediction 75.00 %
    """
    accuracy, images = scores.accuracy, scores.images
    if scores.passes == 1:
        return f"{100 * accuracy.mean:.2f} % correct of {images} test images"
    return (
        f"{100 * accuracy.mean:.2f} ± {100 * accuracy.std:.2f} % correct of {images} test images, over "
        f"{scores.passes} passes; averaged prediction {100 * accuracy.averaged:.2f} %"
    )
