"""Classification: options, data and network of ``train_classify.py``.

Where an option is left out, the paper's value for the data set is taken (section 3.2). Torch is imported
within the functions that need it: it takes seconds, and ``--help`` does without.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NamedTuple

from data.datasets import DATASETS, DataName
from data.formats.files import write_text
from data.records import InputError
from detector.tables import ARCHITECTURES, METHODS, Method
from training.command import run_command
from training.options import (
    AT_LEAST_1,
    FINITE,
    HELD_OUT,
    POSITIVE,
    SEED,
    MachineOptions,
    OptionGroup,
    OptionGroups,
    Rule,
    check_patch,
    described,
    needs_patch,
    option,
    patch_methods,
    require,
)  # fmt: skip
from training.task import Report, Task

if TYPE_CHECKING:
    import torch
    from torch import nn

    from data.classification import ClassificationBatch, ClassificationData
    from data.image_set import ImageFiles, ImageSet
    from data.loader import EpochLoader
    from training.tasks.classification_module import ClassifierModule, Scores

__all__ = [
    "CLASSIFICATION", "PLACES", "ClassificationTask", "DataOptions", "EvaluationOptions", "ModelOptions",
    "OptimizationOptions", "Options", "image_size_of", "main",
]  # fmt: skip

PLACES = ("last", "layer", "layers", "names")
"""The options that select layers; exactly one of them is given."""


class Recipe(NamedTuple):
    """The paper's values for a data set (section 3.2), where an option leaves them out."""

    epochs: int = 300
    batch_size: int = 128
    weight_decay: float = 5e-4
    drops: tuple[float, ...] = (1 / 2, 3 / 4)
    """Fractions of the run after which the learning rate is divided by 10."""


RECIPES = {"imagenet": Recipe(90, 256, 1e-4, (1 / 3, 2 / 3)), "shapes": Recipe(epochs=30)}
"""Of the data sets with another recipe than CIFAR-100."""


# Options


@dataclass(frozen=True)
class DataOptions(OptionGroup):
    """Which images are trained on, validated on and tested on."""

    data: DataName = field(
        default="cifar100",
        metadata=described("The data set; 'shapes' is the embedded one, drawn in memory."),
    )
    root: str | None = option(None, "Folder of the data, for all but shapes.")
    fraction: float = option(
        1.0,
        "Share of the training images that is used at all, of each class alike, chosen by --seed.",
        Rule("a share above 0, at most 1", lambda share: 0 < share <= 1),
    )
    validation: float = option(
        0.1,
        "Share of the training images that is held out for validation, of each class alike, chosen by "
        "--seed; 0: no validation.",
        HELD_OUT,
    )
    input_size: int = option(
        224,
        "Side of the square that images are cropped to, in pixels. Of imagenet only.",
        Rule("at least 1 pixel", AT_LEAST_1.holds),
    )
    augment: bool = option(True, "Whether training images are randomly cropped and mirrored.")

    def check(self) -> None:
        """Raise InputError for invalid values."""
        found = DATASETS[self.data].find is None or self.root is not None
        require(found, "root", self.root, f"the folder of the data, for --data {self.data}")
        super().check()


@dataclass(frozen=True)
class ModelOptions(OptionGroup):
    """The network, which of its layers are modified, and how."""

    arch: str = option(
        "vgg16",
        f"Architecture: {', '.join(ARCHITECTURES)} as the paper has them, or any classification network of "
        "torchvision.models, such as convnext_tiny.",
    )
    width: float = option(
        1.0,
        "Factor on the channels of vgg16 and the ResNets and on the hidden units of perceptron, for quick "
        "tests.",
        Rule("a number above 0", POSITIVE.holds),
    )
    weights: str = option(
        "none",
        "Weights the network starts from: 'none' (random), 'imagenet' (torchvision's best), a torchvision "
        "name such as IMAGENET1K_V1, or a file.",
    )
    method: Literal["none", Method] = field(
        default="none",
        metadata=described(
            "What takes information away: a shuffle, or GAP+FC (paper, section 3.1).",
            names=lambda: ("none", *METHODS),
        ),
    )
    last: int | None = option(None, "Modify the so many layers nearest the output.", AT_LEAST_1)
    layer: int | None = option(
        None, "Modify the layer of this number, counted from 1 at the input.", AT_LEAST_1
    )
    layers: list[int] = field(
        default_factory=list,
        metadata=described(
            "Modify the layers of these numbers, counted from 1.",
            Rule("numbers from 1", lambda layers: all(layer >= 1 for layer in layers)),
        ),
    )
    names: list[str] = field(
        default_factory=list,
        metadata=described("Modify the modules of these names, such as features.3.0.block.0."),
    )
    patch: int | None = option(
        None, f"Side of the patches of --method {patch_methods()}, in positions.", AT_LEAST_1
    )
    shuffle_shortcut: bool = option(
        True, "Whether a modified residual block's shortcut is shuffled too, by its own draw."
    )
    per_image: bool = option(False, "Whether each image of a batch is shuffled in its own way.")
    train_shuffle: bool = option(True, "Whether the shuffle acts in training.")
    eval_shuffle: bool = option(True, "Whether the shuffle acts in validation and test.")

    def check(self) -> None:
        """Raise InputError for invalid values."""
        super().check()
        places = self.place
        if self.method == "none":
            name, value = next(iter(places.items()), ("last", None))
            require(not places, name, value, "no layer with --method none; or a --method")
        else:
            asked = ", ".join(f"--{name}" for name in PLACES)
            found = " and ".join(f"--{name}" for name in places) or "none"
            expected = f"one of {asked} beside it, found {found}"
            require(len(places) == 1, "method", self.method, expected)
        check_patch("method", self.method, self.patch)
        if self.method == "gap_fc":
            for name in ("shuffle_shortcut", "per_image", "train_shuffle", "eval_shuffle"):
                value, default = getattr(self, name), getattr(ModelOptions, name)
                require(value is default, name, value, "nothing with --method gap_fc, which draws nothing")

    @property
    def place(self) -> dict[str, Any]:
        """The selected layers, as an argument of :func:`detector.modify_layers`.

        Examples
        --------
        >>> ModelOptions(method="spatial", last=4).place
        {'last': 4}
        """
        return {name: getattr(self, name) for name in PLACES if getattr(self, name) not in (None, [])}


@dataclass(frozen=True)
class OptimizationOptions(OptionGroup):
    """Optimiser settings: SGD with momentum 0.9; the learning rate is divided by 10 twice."""

    epochs: int | None = option(
        None, "Passes over the training images. Default: 300, for imagenet 90, for shapes 30.", AT_LEAST_1
    )
    max_steps: int | None = option(
        None,
        "Stop after this many steps of the run, as if interrupted there: --resume goes on. The learning rate "
        "ignores it.",
        AT_LEAST_1,
    )
    batch_size: int | None = option(
        None, "Images of one step, over all devices together. Default: 128, for imagenet 256.", AT_LEAST_1
    )
    learning_rate: float = option(
        0.1,
        "Learning rate at the start. It is divided by 10 at half and at three quarters of the epochs, for "
        "imagenet at a third and at two thirds.",
        POSITIVE,
    )
    warmup_epochs: float = option(
        0.0, "Epochs over which the learning rate first rises linearly from near 0.", FINITE
    )
    weight_decay: float | None = option(
        None, "Weight decay of every parameter. Default: 0.0005, for imagenet 0.0001.", FINITE
    )
    clip_gradient: float = option(0.0, "Largest norm of the gradient; 0: not limited.", FINITE)
    seed: int = option(0, "Seed of weights, order, augmentation, shuffles and of the images held out.", SEED)


@dataclass(frozen=True)
class EvaluationOptions(OptionGroup):
    """How the network is scored."""

    validate_every: int = option(1, "Epochs from one validation to the next.", AT_LEAST_1)
    passes: int = option(
        10,
        "T: forward passes over the test set where something is shuffled, each with draws that training "
        "never saw.",
        AT_LEAST_1,
    )


@dataclass(frozen=True)
class Options(OptionGroups):
    """All of a classification run's options, by group.

    Examples
    --------
    >>> Options().resolved().flat()["epochs"]
    300
    """

    data: DataOptions = field(default_factory=DataOptions)
    model: ModelOptions = field(default_factory=ModelOptions)
    optimization: OptimizationOptions = field(default_factory=OptimizationOptions)
    evaluation: EvaluationOptions = field(default_factory=EvaluationOptions)
    machine: MachineOptions = field(default_factory=MachineOptions)

    @property
    def recipe(self) -> Recipe:
        """The paper's values for the data set."""
        return RECIPES.get(self.data.data, Recipe())

    def resolved(self) -> Options:
        """The same, with the paper's values for the data set where an option was left out."""
        given = vars(self.optimization)
        missing = {name: value for name, value in self.recipe._asdict().items() if given.get(name, 0) is None}
        return replace(self, optimization=replace(self.optimization, **missing))


# The task


def image_size_of(images: ImageSet | ImageFiles, input_size: int) -> int:
    """Side of the images that the network gets, in pixels."""
    from data.image_set import ImageSet

    return images.images.shape[2] if isinstance(images, ImageSet) else input_size


class ClassificationTask(Task):
    """Training a classification network from which information is taken away."""

    script = "train_classify.py"
    description = (
        "Train a classification network from which spatial or channel information is taken away, "
        "and score it on the test set. Its folder holds config.yaml, provenance.json, checkpoints, logs and "
        "scores.json."
    )
    options = Options
    changeable = frozenset(
        {*PLACES, "method", "patch", "shuffle_shortcut", "per_image", "train_shuffle", "eval_shuffle"}
    )
    scoring = "score"
    changing = "--method and its layers"
    naming = "Name of the network in what is printed. Default: the folder's."
    monitor = "val/accuracy"
    hyper_parameters: ClassVar[Mapping[str, Any]] = {
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

    def complete(self, changes: Mapping[str, Any]) -> dict[str, Any]:
        """Reset options that a change makes invalid: other layer selections, a patch size.

        Examples
        --------
        >>> CLASSIFICATION.complete({"method": "none"})["last"], CLASSIFICATION.complete({"layer": 3})["last"]
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

    def read(self, options: Options) -> ClassificationData:
        """The training images; the test images are checked to exist, not read."""
        from data.classification import find_classification, read_classification

        data, seed = options.data, options.optimization.seed
        find_classification(data.data, data.root)  # so that it fails now, not after the training
        return read_classification(
            data.data, data.root, validation=data.validation, fraction=data.fraction, seed=seed
        )

    def describe(self, options: Options, data: ClassificationData) -> dict[str, Any]:
        """Classes, statistics and size of the images."""
        return {
            "classes": list(data.classes),
            "statistics": {"mean": list(data.statistics.mean), "std": list(data.statistics.std)},
            "image_size": image_size_of(data.train, options.data.input_size),
        }

    def build(self, options: ModelOptions, hyper: Mapping[str, Any]) -> nn.Module:
        """The network, modified; see :func:`training.tasks.classification_module.build_classifier`."""
        from training.tasks.classification_module import build_classifier

        return build_classifier(options, len(hyper["classes"]), hyper["image_size"])

    def module(
        self, network: nn.Module, options: Options, data: ClassificationData, hyper: Mapping[str, Any]
    ) -> ClassifierModule:
        """The network with its loss, optimizer and validation."""
        from training.tasks.classification_module import ClassifierModule

        return ClassifierModule(network, options, len(data.train), hyper, statistics=data.statistics)

    def loader(
        self,
        images: ImageSet | ImageFiles,
        options: Options,
        batch_size: int,
        *,
        train: bool,
        device: torch.device,
        **processes: int,
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
            **processes,
        )

    def counts(self, data: ClassificationData) -> dict[str, int]:
        """Images to train on and to validate."""
        return {
            "train": len(data.train),
            "validation": 0 if data.validation is None else len(data.validation),
        }

    def announce(self, network: nn.Module, options: Options, data: ClassificationData) -> str:
        """Architecture, its size, and numbers of images."""
        counts = self.counts(data)
        return (
            f"{options.model.arch} with {parameter_count(network) / 1e6:.2f} M parameters; {counts['train']} "
            f"images of {len(data.classes)} classes to train on, {counts['validation']} to validate"
        )

    def read_test(
        self, options: Options, hyper: Mapping[str, Any], source: Path, data: ClassificationData | None
    ) -> ImageSet | ImageFiles:
        """The test images; InputError for other classes or another size than the network was trained on."""
        from data.classification import read_classification_test

        test = read_classification_test(options.data.data, options.data.root)
        classes, size = hyper["classes"], image_size_of(test, options.data.input_size)
        if list(test.classes) != classes:
            found = f"{len(classes)} classes from {classes[0]!r} to {classes[-1]!r}"
            last = f"{test.classes[0]!r} to {test.classes[-1]!r}"
            expected = f"those of the test images: {len(test.classes)} from {last}"
            raise InputError(source, found, expected)
        if size != hyper["image_size"]:
            expected = f"{hyper['image_size']} pixels, with which {source} was trained"
            raise InputError(f"--data {options.data.data}", f"images of {size} pixels", expected)
        return test

    def test_facts(self, options: Options, test: ImageSet | ImageFiles) -> dict[str, Any]:
        """Number of the test images."""
        return {"images": {"test": len(test)}}

    def score(
        self,
        network: nn.Module,
        options: Options,
        hyper: Mapping[str, Any],
        test: ImageSet | ImageFiles,
        report: Report,
        device: torch.device,
    ) -> Scores:
        """Accuracy and loss."""
        from training.tasks.classification_module import evaluate_classifier, statistics_of

        batch_size = options.optimization.batch_size or 0
        scores = evaluate_classifier(
            network,
            self.loader(test, options, batch_size, train=False, device=device),
            statistics_of(hyper),
            passes=options.evaluation.passes,
            device=device,
            precision=options.machine.precision,
            channels_last=options.machine.channels_last,
        )
        content = {
            "test_images": scores.images,
            "passes": scores.passes,
            "parameters": parameter_count(network),
            "accuracy": scores.accuracy.to_json(),
            "accuracy_top5": scores.accuracy_top5.to_json(),
            "loss": scores.loss.to_json(),
            **report.origin,
        }
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
