"""What is profiled: a trained classifier or detector, its images, and how it is scored."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor, nn
from torchvision import models

from data.augment import eval_transform
from data.classification import (
    IMAGENET_STATISTICS,
    ClassificationBatch,
    Normalization,
    classification_loader,
    read_classification,
    read_classification_test,
)
from data.datasets import DATASETS
from data.detection import DetectionDataset, detection_loader
from data.image_set import ImageFiles, ImageSet, Statistics, read_class_folders, take_share
from data.records import InputError
from data.streams import Stream, generator
from detector import YOLO, seek_shuffles
from detector.scores import Score, score_on
from diagnosis import diagnose
from diagnosis.breakdown import ERROR_NAMES
from training.checkpoint import load_trained, read_checkpoint
from training.options import option_of
from training.profiling.foreign import build_foreign
from training.profiling.options import Options
from training.run_state import RunFolder, check_consent, stored_options
from training.tasks import classification_options, detection, detection_options
from training.tasks.classification import CLASSIFICATION, image_size_of
from training.tasks.classification_module import build_classifier, statistics_of
from training.tasks.detection import DETECTION
from training.tasks.detection_module import detect
from training.trainer import autocast, make_device

__all__ = ["CachedBatches", "Subject", "digest", "make_subject"]

MAX_CACHED_BYTES = 4 << 30
"""Memory for decoded images, cached from one pass to the next."""

BatchT = TypeVar("BatchT", bound=Mapping[str, Any])


@dataclass(frozen=True)
class Subject:
    """What is profiled."""

    name: str
    """Name of the network in figures and messages."""
    network: nn.Module
    """In evaluation mode, with nothing shuffled."""
    evaluate: Callable[[nn.Module], Mapping[str, Score]]
    """Scores it: fractions by name, the most important one first; of a classifier one for each image."""
    batches: Iterable[Sequence[Tensor]] | None
    """What enters a classifier, then labels; of a detector None."""
    chance: Mapping[str, float]
    """What guessing would score, if that is known."""
    images: int
    """How many it is scored on."""
    source: str
    """Which they are, for people: ``validation images of cifar100``."""
    example: int | tuple[int, int]
    """Size of the images, in pixels."""
    out: Path
    """Default folder of its profile."""
    configuration: Mapping[str, Any]
    """What its numbers depend on, ready for JSON."""


def make_subject(options: Options) -> Subject:
    """The subject that options describe; InputError for anything wrong with data, weights or checkpoint."""
    if options.network.checkpoint is None:
        return _classifier_of_weights(options)
    path = Path(options.network.checkpoint)
    if path.is_dir():
        path = RunFolder(path).best_or_last
    expected = {"model": Mapping, "classes": list}
    content = read_checkpoint(path, "train_classify.py or train_detect.py", expected)
    hyper_parameters = content["hyper_parameters"]
    if "statistics" in hyper_parameters:
        return _classifier_of_checkpoint(options, path, hyper_parameters)
    return _detector_of_checkpoint(options, path)


def _options_of_run(options: Options, checkpoint: Path, data_sets: str) -> dict[str, Any]:
    """The options of a checkpoint's run, as far as they are known, with those that are given over them."""
    names = ("data", "root", "validation")
    given = {name: value for name in names if (value := getattr(options.images, name)) is not None}
    values = stored_options(RunFolder.of(checkpoint)) | given
    check_consent(f"--checkpoint {checkpoint}", detection_options.Options(), values, given, trains=False)
    if "data" not in values:
        raise InputError("--data", "none", f"{data_sets}, as no config.yaml belongs to {checkpoint}")
    for name in ("input_size", "mean", "std"):
        if value := getattr(options.images, name):
            raise InputError(option_of(name), str(value), "none with --checkpoint")
    return values


def _no_validation_images() -> InputError:
    return InputError(
        "--split validation", "a run that held no images out", "--split test, or a share by --validation"
    )


# ---------------------------------------------------------------- classifiers


def _classifier_of_checkpoint(
    options: Options, checkpoint: Path, hyper_parameters: Mapping[str, Any]
) -> Subject:
    """The network of a checkpoint of ``train_classify.py``, on the images that its run held out."""
    # GAP+FC is part of the trained weights; a shuffle is not.
    averaged = hyper_parameters["model"].get("method") == "gap_fc"
    changes = {} if averaged else CLASSIFICATION.complete_changes({"method": "none"})
    network, trained, _ = load_trained(CLASSIFICATION, checkpoint, changes)
    classes, image_size = tuple(trained["classes"]), int(trained["image_size"])
    run = classification_options.Options.from_flat(_options_of_run(options, checkpoint, "the data set"))
    images, _ = _classification_images(run, options.images.split)
    where, size = f"--data {run.data.data}", image_size_of(images, image_size)
    if images.classes != classes:
        raise InputError(
            where,
            f"{len(images.classes)} classes, the first {images.classes[0]!r}",
            f"the {len(classes)} that {checkpoint} was trained on, the first {classes[0]!r}",
        )
    if size != image_size:
        expected = f"{image_size} pixels, with which {checkpoint} was trained"
        raise InputError(where, f"images of {size} pixels", expected)
    folder = RunFolder.of(checkpoint).path
    name, out = folder.resolve().name, folder / "profile"
    return _classifier(options, name, network, statistics_of(trained), images, image_size, run, out)


def _classifier_of_weights(options: Options) -> Subject:
    """An architecture with weights by name or from a file."""
    asked, chosen = options.images, options.network
    run = classification_options.Options(
        data=classification_options.DataOptions(
            data=asked.data or "cifar100",  # type: ignore[arg-type]
            root=asked.root,
            validation=0.1 if asked.validation is None else asked.validation,
            input_size=asked.input_size or 224,
        ),
        optimization=classification_options.OptimizationOptions(seed=options.shuffles.seed),
    )
    if asked.data is None:
        expected = "a data set: cifar100, small-imagenet, imagenet or shapes; or a folder"
        raise InputError("--data", "none", expected)
    images, statistics = _classification_images(run, asked.split, statistics=True)
    assert statistics is not None
    if chosen.is_foreign:
        foreign = build_foreign(chosen, len(images.classes))
        network, name = foreign.network, foreign.name
        size = image_size_of(images, asked.input_size or foreign.image_size or 224)
        statistics = foreign.statistics or statistics
        _check_outputs(network, len(images.classes), size, str(asked.data))
    else:
        size = image_size_of(images, run.data.input_size)
        model = classification_options.ModelOptions(
            arch=str(chosen.arch), weights=str(chosen.weights), width=chosen.width
        )
        network, name = _with_all_weights(model, len(images.classes), size), str(chosen.arch)
    if asked.mean:
        mean, std = (tuple(255 * value for value in values) for values in (asked.mean, asked.std))
        statistics = Statistics(mean, std)
    if chosen.weights is not None:
        name = f"{name}, {Path(chosen.weights).name}"
    data = run.data.data if run.data.data in DATASETS else Path(run.data.data).resolve().name
    architecture = re.sub(r"[^\w.-]+", "-", (chosen.arch or chosen.network or "").strip("/"))
    out = Path("runs") / f"profile-{data}-{architecture}"
    return _classifier(options, name, network, statistics, images, size, run, out)


def _check_outputs(network: nn.Module, classes: int, size: int, data: str) -> None:
    """InputError for a network that is no classifier of images of this size and number of classes."""
    parameter = next(network.parameters(), torch.empty(0))
    try:
        with torch.no_grad():
            outputs = network.eval()(torch.zeros(1, 3, size, size, device=parameter.device))
    except Exception as error:  # a user's network can raise anything
        reason = str(error).strip().split("\n")[0]
        found = f"{type(network).__name__}, which cannot be run with images of {size} pixels ({reason})"
        raise InputError("network", found, "a network of such images, or another --input-size") from error
    logits = getattr(outputs, "logits", outputs)
    shape = tuple(logits.shape) if isinstance(logits, torch.Tensor) else type(logits).__name__
    if shape != (1, classes):
        found = f"{classes} classes for a network with outputs of {shape} for one image"
        expected = f"outputs of (1, {classes}): the classes that the network was trained on"
        raise InputError(f"--data {data}", found, expected)


def _with_all_weights(model: classification_options.ModelOptions, classes: int, size: int) -> nn.Module:
    """The network; InputError if its weights leave a part of it untrained, such as another classifier."""
    known = models.list_models(module=models)
    official = models.get_model_weights(model.arch).__members__ if model.arch in known else {}
    categories = official[model.weights].meta["categories"] if model.weights in official else None
    where = f"--weights {model.weights}"
    if categories is not None and len(categories) != classes:
        raise InputError(where, f"weights for {len(categories)} classes", f"{classes}, as --data has")
    networks = []
    for seed in (0, 1):
        torch.manual_seed(seed)
        networks.append(build_classifier(model, classes, size))
    first, second = (dict(network.named_parameters()) for network in networks)
    for name, value in first.items():
        # Random weights differ from seed to seed; some classifiers of torchvision begin at zero.
        if value.dim() > 1 and not (value.any() and value.equal(second[name])):
            expected = "all weights of a network that was trained on the classes of --data"
            raise InputError(where, f"no {name} for {classes} classes", expected)
    return networks[0].eval()


def _classification_images(
    run: classification_options.Options, split: str, *, statistics: bool = False
) -> tuple[ImageSet | ImageFiles, Statistics | None]:
    """The images of a split, and if asked for the statistics of the training images."""
    data = run.data
    if data.data not in DATASETS:
        if Path(data.data).is_dir() and data.root is None:
            return read_class_folders(data.data), IMAGENET_STATISTICS
        known = f"one of {', '.join(DATASETS)}, or a folder with a folder of images for each class"
        raise InputError("--data", repr(data.data), f"{known}, for a classifier")
    data.check()
    if split == "test" and (not statistics or data.data == "imagenet"):
        return read_classification_test(data.data, data.root), IMAGENET_STATISTICS
    training = read_classification(
        data.data, data.root, validation=data.validation, fraction=data.fraction, seed=run.optimization.seed
    )
    if split == "test":
        return read_classification_test(data.data, data.root), training.statistics
    if training.validation is None or data.protocol == "paper":
        raise _no_validation_images()
    return training.validation, training.statistics


def _classifier(
    options: Options,
    name: str,
    network: nn.Module,
    statistics: Statistics,
    images: ImageSet | ImageFiles,
    size: int,
    run: classification_options.Options,
    out: Path,
) -> Subject:
    asked, shuffles, machine = options.images, options.shuffles, options.machine
    seed = run.optimization.seed
    if asked.limit is not None and asked.limit < len(images):
        random = generator(seed, Stream.PROFILED_IMAGES_CLASSIFIER)
        images, _ = take_share(images, asked.limit / len(images), random, "--limit")
    device = make_device(machine.as_machine())
    batches: Iterable[ClassificationBatch] = classification_loader(
        images, shuffles.batch_size or 250, train=False, size=size, device=device, workers=machine.workers
    )
    if isinstance(images, ImageFiles):
        batches = CachedBatches(batches)

    memory = torch.channels_last if machine.channels_last else torch.contiguous_format
    network = network.to(device, memory_format=memory).eval()  # type: ignore[call-overload]
    normalized = NormalizedBatches(network, batches, Normalization(statistics).to(device), memory)
    with autocast(device, machine.precision):
        score = score_on(
            network,
            normalized,
            images.classes if shuffles.by_class else False,
            shuffles.cka,
            measures=("accuracy", "accuracy_top5", "loss", "kl"),
        )

    def evaluate(network: nn.Module) -> Mapping[str, Score]:
        with autocast(device, machine.precision):
            return score(network)

    classes = len(images.classes)
    by_path = run.data.data not in DATASETS
    held_out = asked.split == "validation" and not by_path
    further: dict[str, Any] = {}
    if asked.mean or options.network.is_foreign:
        further = {"mean": list(statistics.mean), "std": list(statistics.std)}
    return Subject(
        name=name,
        network=network,
        evaluate=evaluate,
        batches=normalized,
        chance={"accuracy": 1 / classes, "accuracy_top5": min(5 / classes, 1.0)},
        images=len(images),
        source=f"images of {run.data.data}" if by_path else f"{asked.split} images of {run.data.data}",
        example=size,
        out=out if held_out or by_path else out.with_name(f"{out.name}-test"),
        configuration={
            "weights_sha256": digest(network),
            "data": run.data.data,
            "split": None if by_path else asked.split,
            "split_seed": seed,
            "validation": run.data.validation if held_out else None,
            "fraction": run.data.fraction if held_out else None,
            "images": len(images),
            "image_size": size,
            **further,
        },
    )


# ---------------------------------------------------------------- detectors


def _detector_of_checkpoint(options: Options, checkpoint: Path) -> Subject:
    """The detector of a checkpoint of ``train_detect.py``, on the images that its run held out."""
    unshuffled = {"shuffle": "none", "shuffle_method": "spatial", "patch": None}
    network, trained, _ = load_trained(DETECTION, checkpoint, unshuffled)
    classes, input_size = tuple(trained["classes"]), int(trained["input_size"])
    asked, machine = options.images, options.machine
    known = detection_options.DETECTION_DATA
    data_sets = f"{', '.join(known[:-1])} or {known[-1]}"
    values = _options_of_run(options, checkpoint, data_sets)
    if values["data"] not in known:
        raise InputError("--data", repr(values["data"]), f"{data_sets}, for a detector")
    run = detection_options.Options.from_flat(values)
    run.data.check()
    seed = run.optimization.seed
    for name in ("by_class", "cka", "reestimate_batch_norm"):
        if getattr(options.shuffles, name):
            raise InputError(option_of(name), "a detector", "none with a detector: it is for classifiers")
    if asked.split == "test":
        truth, similar = detection.read_test_data(run.data)
    else:
        data = detection.read_run_ground_truth(run.data, seed)
        if data.validation is None:
            raise _no_validation_images()
        truth, similar = data.validation, data.similar
    if truth.classes != classes:
        expected = f"those that {checkpoint} was trained on: {', '.join(classes)}"
        found = f"the classes {', '.join(truth.classes)}"
        raise InputError(f"--data {run.data.data}", found, expected)
    if asked.limit is not None and asked.limit < len(truth.images):
        order = generator(seed, Stream.PROFILED_IMAGES_DETECTOR).permutation(len(truth.images))
        truth = truth.select(sorted(order[: asked.limit].tolist()))
    batches = CachedBatches(
        detection_loader(
            DetectionDataset(truth, eval_transform(input_size)),
            options.shuffles.batch_size or 16,
            train=False,
            workers=machine.workers,
        )
    )
    device = make_device(machine.as_machine())
    thresholds = replace(run.evaluation, passes=1)  # the profile counts the passes

    def evaluate(network: nn.Module) -> dict[str, float]:
        assert isinstance(network, YOLO)
        found = detect(
            network, batches, truth, thresholds, device=device, precision=machine.precision,
            channels_last=machine.channels_last,
        )  # fmt: skip
        diagnosis = diagnose(truth, found.passes[0], similar=similar, coco=False)
        shares = diagnosis.breakdown.mean_over_classes()
        return {
            "map_area": diagnosis.ap.mean()["area"],
            **dict(zip(ERROR_NAMES, shares.tolist(), strict=True)),
        }

    held_out = asked.split == "validation"
    folder = RunFolder.of(checkpoint).path
    return Subject(
        name=folder.resolve().name,
        network=network,
        evaluate=evaluate,
        batches=None,
        chance={},
        images=len(truth.images),
        source=f"{asked.split} images of {run.data.data}",
        example=input_size,
        out=folder / ("profile" if held_out else "profile-test"),
        configuration={
            "weights_sha256": digest(network),
            "data": run.data.data,
            "lists": run.data.train_lists if held_out else run.data.test_lists,
            "split": asked.split,
            "split_seed": seed,
            "validation": run.data.validation if held_out else None,
            "images": len(truth.images),
            "image_size": input_size,
            "score_threshold": thresholds.score_threshold,
            "iou_threshold": thresholds.iou_threshold,
            "max_detections": thresholds.max_detections,
        },
    )


# ---------------------------------------------------------------- both


def digest(network: nn.Module) -> str:
    """A checksum of a network's weights, whichever file they are from."""
    total = hashlib.sha256()
    for name, value in network.state_dict().items():
        total.update(name.encode())
        total.update(value.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy())
    return total.hexdigest()


@dataclass(frozen=True)
class NormalizedBatches:
    """Images of batches as a network takes them, and their labels; each batch has its own draws."""

    network: nn.Module
    batches: Iterable[ClassificationBatch]
    normalization: Normalization
    memory: torch.memory_format

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        """The batches, in order."""
        device = self.normalization.mean.device
        for number, batch in enumerate(self.batches):
            seek_shuffles(self.network, -1, number)
            images = self.normalization(batch["images"].to(device, non_blocking=True))
            yield images.contiguous(memory_format=self.memory), batch["labels"]


class CachedBatches(Generic[BatchT]):
    """Batches of a loader that are decoded once and cached for the next passes.

    If their images take more bytes than `memory`, all are read again in each pass.
    """

    def __init__(self, loader: Iterable[BatchT], memory: int = MAX_CACHED_BYTES) -> None:
        self._loader, self._memory = loader, memory
        self._cache: list[BatchT] | None = None

    def __iter__(self) -> Iterator[BatchT]:
        """The batches, in order."""
        if self._cache is not None:
            yield from self._cache
            return
        batches: list[BatchT] = []
        free = self._memory
        for batch in self._loader:
            free -= batch["images"].numel() * batch["images"].element_size()
            if free >= 0:
                batches.append(batch)
            else:
                batches.clear()
            yield batch
        if free >= 0:
            self._cache = batches
