"""Classification: data, network and scores of ``train_classify.py``.

Torch is imported within the functions that need it: it takes seconds, and ``--help`` does without.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from data.datasets import find_classification
from data.formats.files import write_text
from data.formats.validation import counted
from data.records import InputError
from training.command import run_command
from training.options import needs_patch
from training.run_state import RunFolder
from training.task import Report, Task, Trained, checksum
from training.tasks.classification_options import PLACES, ModelOptions, Options

if TYPE_CHECKING:
    import torch
    from torch import nn

    from data.classification import ClassificationBatch, ClassificationData
    from data.image_set import ImageFiles, ImageSet
    from data.loader import EpochLoader
    from training.tasks.classification_module import Scores

__all__ = ["CLASSIFICATION", "ClassificationTask", "image_size_of", "main"]


def image_size_of(images: ImageSet | ImageFiles, input_size: int) -> int:
    """Side of the images that the network gets, in pixels."""
    from data.image_set import ImageSet

    return images.images.shape[2] if isinstance(images, ImageSet) else input_size


class ClassificationTask(Task):
    """Training a classification network, plain or with information removed."""

    script = "train_classify.py"
    description = (
        "Train a classification network, plain or with spatial or channel information removed from some of "
        "its layers, and score it on the test set. Its folder holds config.yaml, provenance.json, "
        "checkpoints, logs and scores.json."
    )
    options = Options
    changeable = frozenset(
        {*PLACES, "method", "patch", "shuffle_shortcut", "per_image", "train_shuffle", "eval_shuffle"}
    )
    evaluation_verb = "score"
    changeable_in_words = "--method and its layers"
    name_help = "Name of the network in what is printed. Default: the folder's."
    monitor = "val/accuracy"
    hyper_parameter_types: ClassVar[Mapping[str, Any]] = {
        "model": Mapping, "classes": list, "statistics": Mapping, "image_size": int,
    }  # fmt: skip
    other_weights = (
        "the checkpoint is of another architecture, width, set of classes, or was trained with GAP+FC "
        "elsewhere"
    )
    batch_advice = "lower it, or raise --fraction"

    def default_name(self, options: Options) -> str:
        """A folder name that differs between runs.

        Examples
        --------
        >>> CLASSIFICATION.default_name(Options(model=ModelOptions(method="spatial", last=4)))
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

    def complete_changes(self, changes: Mapping[str, Any]) -> dict[str, Any]:
        """Reset options that a change makes invalid: other layer selections, a patch size.

        Examples
        --------
        >>> complete = CLASSIFICATION.complete_changes
        >>> complete({"method": "none"})["last"], complete({"layer": 3})["last"]
        (None, None)
        """
        whole = dict(changes)
        if whole.get("method") == "none" or any(name in whole for name in PLACES):
            whole = {"last": None, "layer": None, "layers": [], "names": [], **whole}
        if "method" in whole and not needs_patch(whole["method"]):
            whole = {"patch": None, **whole}
        return whole

    def check_changes(self, trained: Mapping[str, Any], changes: Mapping[str, Any], checkpoint: Path) -> None:
        """Raise InputError where GAP+FC would be switched on or off."""
        averaged = "gap_fc" in (trained.get("method"), changes.get("method"))
        if averaged and any(trained.get(name) != value for name, value in changes.items()):
            asked = ", ".join(f"{name} {value}" for name, value in changes.items() if value not in (None, []))
            raise InputError(
                checkpoint,
                f"a network trained with --method {trained['method']}, asked for as {asked}",
                "the same method and layers: GAP+FC is trained, not switched on or off",
            )

    def check_data_exists(self, options: Options) -> None:
        """The files of training and test images are there; none is opened."""
        find_classification(options.data.data, options.data.root)

    def read(self, options: Options) -> ClassificationData:
        """The training images. Of test images in files the headers are read, of others nothing."""
        from data.classification import check_files
        from data.image_set import ImageFiles

        read = self._read(options)
        if isinstance(read.train, ImageFiles):  # a training image at fault is found in the first epoch
            paper = options.data.protocol == "paper"  # its validation has the test images
            for images in (read.validation, *(() if paper else (self._read_test(options),))):
                if errors := check_files(images) if isinstance(images, ImageFiles) else []:
                    raise errors[0]
        return read

    def _read_test(self, options: Options) -> ImageSet | ImageFiles:
        from data.classification import read_classification_test

        return read_classification_test(options.data.data, options.data.root)

    def verify(self, options: Options) -> None:
        """Read all data, decode all images; print what is wrong, and raise InputError for the first of it."""
        from data.classification import check_files
        from data.image_set import ImageFiles

        read = self._read(options)
        test = read.validation if options.data.protocol == "paper" else self._read_test(options)
        parts = {"train": read.train, "validation": read.validation, "test": test}
        known = {name: images for name, images in parts.items() if images}
        different = {id(images): images for images in known.values()}.values()
        files = [images for images in different if isinstance(images, ImageFiles)]
        errors = [error for images in files for error in check_files(images, decode=True)]
        for error in errors[1:]:
            print(f"error: {error}")
        counts = ", ".join(counted(len(images), f"{name} image") for name, images in known.items())
        wrong = counted(len(errors), "error")
        print(f"{counts}: {wrong}" if errors else f"no fault found in {counts}", flush=True)
        if errors:
            raise errors[0]

    def _read(self, options: Options) -> ClassificationData:
        from data.classification import read_classification

        data, seed = options.data, options.optimization.seed
        share = 0.0 if data.protocol == "paper" else data.validation
        read = read_classification(data.data, data.root, validation=share, fraction=data.fraction, seed=seed)
        if data.protocol == "paper":
            print("--protocol paper: the epoch is chosen on the test images; the score will be too high")
            read = replace(read, validation=self._read_test(options))
        return read

    def validated_on(self, options: Options) -> str:
        """The held-out images, or by the paper's protocol the test images."""
        paper = options.data.protocol == "paper"
        return "test images (--protocol paper)" if paper else super().validated_on(options)

    def describe(self, options: Options, data: ClassificationData) -> dict[str, Any]:
        """Classes, statistics and size of the images."""
        return {
            "classes": list(data.classes),
            "statistics": {"mean": list(data.statistics.mean), "std": list(data.statistics.std)},
            "image_size": image_size_of(data.train, options.data.input_size),
        }

    def checksums(self, data: ClassificationData) -> dict[str, str]:
        """Checksums of classes, labels, pixel statistics and names of files."""
        held_out = () if data.validation is None else data.validation.labels
        return {
            "names of training images": checksum(getattr(data.train, "names", ())),
            "names of validation images": checksum(getattr(data.validation, "names", ())),
            "classes": checksum(data.classes),
            "training images": checksum(data.train.labels, data.statistics.mean, data.statistics.std),
            "validation images": checksum(held_out),
        }

    def expected_hyper_parameters(self, options: Options) -> dict[str, Any]:
        """Classes and size of the images, as they are published."""
        from data.datasets import DATASETS

        source = DATASETS[options.data.data]
        return {"classes": range(source.classes), "image_size": source.side or options.data.input_size}

    def build(self, options: ModelOptions, hyper_parameters: Mapping[str, Any]) -> nn.Module:
        """The network, modified; see :func:`training.tasks.classification_module.build_classifier`."""
        from training.tasks.classification_module import build_classifier

        return build_classifier(options, len(hyper_parameters["classes"]), hyper_parameters["image_size"])

    def make_module(
        self, network: Any, options: Options, data: Any, hyper_parameters: Mapping[str, Any]
    ) -> Any:
        """The network with its loss, optimizer and validation."""
        from training.tasks.classification_module import ClassifierModule

        return ClassifierModule(
            network, options, len(data.train), hyper_parameters, statistics=data.statistics
        )

    def make_loader(
        self, images: Any, options: Any, batch_size: int, *, train: bool, device: torch.device, **ranks: int
    ) -> EpochLoader[ClassificationBatch]:
        """Batches of images and labels; small data sets are held on the device of the process."""
        from data.classification import classification_loader

        return classification_loader(
            images,
            batch_size,
            train=train,
            augment=train and options.data.augment,
            seed=options.optimization.seed,
            size=options.data.input_size,
            device=device,
            workers=options.machine.workers,
            **ranks,
        )

    def image_counts(self, data: ClassificationData) -> dict[str, int]:
        """Images to train on and to validate."""
        return {"train": len(data.train), "validation": len(data.validation or ())}

    def summary_line(self, network: nn.Module, options: Options, data: ClassificationData) -> str:
        """Architecture, its size, and numbers of images."""
        train, validation = self.image_counts(data).values()
        return (
            f"{options.model.arch} with {parameter_count(network) / 1e6:.2f} M parameters; {train} images of "
            f"{len(data.classes)} classes to train on, {validation} to validate"
        )

    def read_test(
        self, options: Options, hyper_parameters: Mapping[str, Any], source: Path, data: Any
    ) -> ImageSet | ImageFiles:
        """The test images; InputError for other classes or another size than the network was trained on."""
        test = self._read_test(options)
        classes, size = hyper_parameters["classes"], image_size_of(test, options.data.input_size)
        if list(test.classes) != classes:
            found = f"{len(classes)} classes from {classes[0]!r} to {classes[-1]!r}"
            last = f"{test.classes[0]!r} to {test.classes[-1]!r}"
            expected = f"those of the test images: {len(test.classes)} from {last}"
            raise InputError(source, found, expected)
        if size != hyper_parameters["image_size"]:
            expected = f"{hyper_parameters['image_size']} pixels, with which {source} was trained"
            raise InputError(f"--data {options.data.data}", f"images of {size} pixels", expected)
        return test

    def test_facts(self, options: Options, test: ImageSet | ImageFiles) -> dict[str, Any]:
        """Number of the test images."""
        return {"images": {"test": len(test)}}

    def score(
        self, trained: Trained, options: Options, test: Any, report: Report, device: torch.device
    ) -> Scores:
        """Accuracy and loss."""
        from training.callbacks import with_progress
        from training.tasks.classification_module import evaluate_classifier, statistics_of

        batch_size = options.optimization.batch_size or 0
        loader = self.make_loader(test, options, batch_size, train=False, device=device)
        scores = evaluate_classifier(
            trained.network,
            with_progress(loader, len(test)),
            statistics_of(trained.hyper_parameters),
            passes=options.evaluation.passes,
            device=device,
            precision=options.machine.precision,
            channels_last=options.machine.channels_last,
        )
        content = {
            "test_images": scores.images,
            "passes": scores.passes,
            "parameters": parameter_count(trained.network),
            "accuracy": scores.accuracy.to_json(),
            "accuracy_top5": scores.accuracy_top5.to_json(),
            "loss": scores.loss.to_json(),
            **report.scored,
        }
        best = RunFolder(report.out).best.name
        if options.data.protocol == "paper" and Path(report.scored["checkpoint"]).name == best:
            content["chosen_on"] = f"the {self.validated_on(options)}: the accuracy is too high"
        file = report.out / "scores.json"
        write_text(file, json.dumps(content, indent=1))
        print(f"{report.name}: {scores.in_words()}\nscores: {file}", flush=True)
        return scores


def parameter_count(network: nn.Module) -> int:
    """Number of a network's weights."""
    return sum(parameter.numel() for parameter in network.parameters())


CLASSIFICATION = ClassificationTask()


def main(arguments: Sequence[str] | None = None) -> int:
    """Run ``train_classify.py``; returns the exit code."""
    return run_command(CLASSIFICATION, arguments)
