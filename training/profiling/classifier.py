"""A trained classifier as the subject of a profile."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torchvision import models

from data.classification import (
    IMAGENET_STATISTICS,
    classification_loader,
    read_classification,
    read_classification_test,
)
from data.image_batches import ClassificationBatch
from data.image_set import ImageFiles, ImageSet, Statistics, take_share
from data.records import InputError
from training.checkpoint import load_trained
from training.profiling.options import Options
from training.profiling.subject import KeptBatches, Subject, digest, options_of_run
from training.run_state import RunFolder
from training.tasks.classification import (
    CLASSIFICATION,
    DataOptions,
    ModelOptions,
    OptimizationOptions,
    image_size_of,
)
from training.tasks.classification import Options as RunOptions
from training.tasks.classification_module import build_classifier, evaluate_classifier, statistics_of
from training.trainer import make_device

__all__ = ["classifier_of_checkpoint", "classifier_of_weights"]

_LIMIT_STREAM = 6  # keeps the choice of images apart from other draws of the same seed
UNSHUFFLED: dict[str, Any] = {
    "method": "none", "last": None, "layer": None, "layers": [], "names": [], "patch": None
}  # fmt: skip


def classifier_of_checkpoint(options: Options, checkpoint: Path, hyper: Mapping[str, Any]) -> Subject:
    """The network of a checkpoint of ``train_classify.py``, on the images that its run held out.

    Raises
    ------
    InputError
        Anything wrong with options, data or checkpoint.
    """
    # GAP+FC is part of the trained weights; a shuffle is not.
    averaged = hyper["model"].get("method") == "gap_fc"
    network, trained, _ = load_trained(CLASSIFICATION, checkpoint, {} if averaged else UNSHUFFLED)
    classes, image_size = tuple(trained["classes"]), int(trained["image_size"])
    given = {name: getattr(options.images, name) for name in ("data", "root", "validation")}
    values = options_of_run(checkpoint, given)
    if "data" not in values:
        raise InputError("--data", "none", f"the data set, as no config.yaml belongs to {checkpoint}")
    run = RunOptions.from_flat(values)
    if options.images.input_size is not None:
        raise InputError("--input-size", str(options.images.input_size), "none with --checkpoint")
    images, _ = _read(run.data, options.images.split, run.optimization.seed)
    if images.classes != classes:
        raise InputError(
            f"--data {run.data.data}",
            f"{len(images.classes)} classes, the first {images.classes[0]!r}",
            f"the {len(classes)} that {checkpoint} was trained on, the first {classes[0]!r}",
        )
    if image_size_of(images, image_size) != image_size:
        raise InputError(
            f"--data {run.data.data}",
            f"images of {image_size_of(images, image_size)} pixels",
            f"{image_size} pixels, with which {checkpoint} was trained",
        )
    return _subject(
        options,
        RunFolder.of(checkpoint).path.resolve().name,
        network,
        statistics_of(trained),
        images,
        image_size,
        run,
        RunFolder.of(checkpoint).path / "profile",
    )


def classifier_of_weights(options: Options) -> Subject:
    """An architecture with weights by name or from a file.

    Raises
    ------
    InputError
        Anything wrong with options, data or weights; weights that leave a part of the network untrained, such
        as a classifier for another number of classes.
    """
    asked, network = options.images, options.network
    run = RunOptions(
        data=DataOptions(
            data=asked.data or "cifar100",  # type: ignore[arg-type]
            root=asked.root,
            validation=0.1 if asked.validation is None else asked.validation,
            input_size=asked.input_size or 224,
        ),
        optimization=OptimizationOptions(seed=options.shuffles.seed),
    )
    if asked.data is None:
        raise InputError("--data", "none", "a data set: cifar100, small-imagenet, imagenet or shapes")
    images, statistics = _read(run.data, asked.split, run.optimization.seed, statistics=True)
    assert statistics is not None
    size = image_size_of(images, run.data.input_size)
    model = ModelOptions(arch=str(network.arch), weights=str(network.weights), width=network.width)
    trained = _with_all_weights(model, len(images.classes), size)
    name = f"{model.arch}, {Path(model.weights).name}"
    out = Path("runs") / f"profile-{run.data.data}-{model.arch}"
    return _subject(options, name, trained, statistics, images, size, run, out)


def _with_all_weights(model: ModelOptions, classes: int, size: int) -> nn.Module:
    """The network, unless its weights leave a part of it as it was drawn."""
    known = models.list_models(module=models)
    official = models.get_model_weights(model.arch).__members__ if model.arch in known else {}
    categories = official[model.weights].meta["categories"] if model.weights in official else None
    if categories is not None and len(categories) != classes:
        raise InputError(
            f"--weights {model.weights}",
            f"weights for {len(categories)} classes",
            f"{classes}, as --data has",
        )
    networks = []
    for seed in (0, 1):
        torch.manual_seed(seed)
        networks.append(build_classifier(model, classes, size))
    first, second = (dict(network.named_parameters()) for network in networks)
    for name, value in first.items():
        # What was drawn differs from seed to seed; some classifiers of torchvision begin at zero.
        if value.dim() > 1 and not (value.any() and value.equal(second[name])):
            raise InputError(
                f"--weights {model.weights}",
                f"no {name} for {classes} classes",
                "all weights of a network that was trained on the classes of --data",
            )
    return networks[0].eval()


def _read(
    data: DataOptions, split: str, seed: int, *, statistics: bool = False
) -> tuple[ImageSet | ImageFiles, Statistics | None]:
    """The images of a split, and where asked for the statistics of the training images."""
    data.check()
    if split == "test" and (not statistics or data.data == "imagenet"):
        return read_classification_test(data.data, data.root), IMAGENET_STATISTICS
    training = read_classification(
        data.data, data.root, validation=data.validation, fraction=data.fraction, seed=seed
    )
    if split == "test":
        return read_classification_test(data.data, data.root), training.statistics
    if training.validation is None:
        raise InputError(
            "--split validation", "a run that held no images out", "--split test, or a share by --validation"
        )
    return training.validation, training.statistics


def _subject(
    options: Options,
    name: str,
    network: nn.Module,
    statistics: Statistics,
    images: ImageSet | ImageFiles,
    size: int,
    run: RunOptions,
    out: Path,
) -> Subject:
    asked, shuffles, machine = options.images, options.shuffles, options.machine
    seed = run.optimization.seed
    if asked.limit is not None and asked.limit < len(images):
        share, what = asked.limit / len(images), [_LIMIT_STREAM, seed]
        # Two calls, so that the types of what comes out are those of what goes in.
        if isinstance(images, ImageSet):
            images, _ = take_share(images, share, what, "--limit")
        else:
            images, _ = take_share(images, share, what, "--limit")
    device = make_device(machine.as_machine())
    batch_size = shuffles.batch_size or 250
    batches: Iterable[ClassificationBatch] = classification_loader(
        images, batch_size, train=False, size=size, device=device, workers=machine.workers
    )
    if isinstance(images, ImageFiles):
        batches = KeptBatches(batches)

    def evaluate(network: nn.Module) -> dict[str, float]:
        scores = evaluate_classifier(
            network,
            batches,
            statistics,
            passes=1,  # the profile counts the passes
            device=device,
            precision=machine.precision,
            channels_last=machine.channels_last,
        )
        return {
            "accuracy": scores.accuracy.mean,
            "accuracy_top5": scores.accuracy_top5.mean,
            "loss": scores.loss.mean,
        }

    classes = len(images.classes)
    held_out = asked.split == "validation"
    return Subject(
        name=name,
        network=network,
        evaluate=evaluate,
        chance={"accuracy": 1 / classes, "accuracy_top5": min(5 / classes, 1.0)},
        images=len(images),
        source=f"{asked.split} images of {run.data.data}",
        example=size,
        out=out if held_out else out.with_name(f"{out.name}-test"),
        configuration={
            "weights_sha256": digest(network),
            "data": run.data.data,
            "split": asked.split,
            "split_seed": seed,
            "validation": run.data.validation if held_out else None,
            "fraction": run.data.fraction if held_out else None,
            "images": len(images),
            "image_size": size,
        },
    )
