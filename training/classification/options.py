"""What a classification run depends on: typed, in small groups, checked across fields before any work starts.

Where an option is left out, the paper's value for the data set is taken (section 3.2).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from training.options import MachineOptions, OptionGroups, option, require

__all__ = ["DataOptions", "EvaluationOptions", "ModelOptions", "OptimizationOptions", "Options"]

PLACES = ("last", "layer", "layers", "names")
"""The options that say which layers are modified; one of them is given."""


@dataclass(frozen=True)
class DataOptions:
    """Which images are trained on, validated on and tested on."""

    data: Literal["cifar100", "small-imagenet", "imagenet", "shapes"] = option(
        "cifar100", "The data set; 'shapes' is the embedded one, drawn in memory."
    )
    root: str | None = option(None, "Folder of the data, for all but shapes.")
    fraction: float = option(
        1.0, "Share of the training images that is used at all, of each class alike, chosen by --seed."
    )
    validation: float = option(
        0.1,
        "Share of the training images that is held out for validation, of each class alike, chosen by "
        "--seed; 0: no validation.",
    )
    input_size: int = option(
        224, "Side of the square that images are cropped to, in pixels. Of imagenet only."
    )
    augment: bool = option(True, "Whether training images are randomly cropped and mirrored.")

    def check(self) -> None:
        """Raise InputError for values that cannot be meant."""
        require(
            self.data == "shapes" or self.root is not None,
            "root",
            self.root,
            f"the folder of the data, for --data {self.data}",
        )
        require(0 < self.fraction <= 1, "fraction", self.fraction, "a share above 0, at most 1")
        require(0 <= self.validation < 1, "validation", self.validation, "a share of at least 0 and below 1")
        require(self.input_size >= 1, "input_size", self.input_size, "at least 1 pixel")


@dataclass(frozen=True)
class ModelOptions:
    """The network, and what is taken away from which of its layers."""

    arch: str = option(
        "vgg16",
        "Architecture: vgg16, resnet18, resnet50 or resnet152 as the paper has them, perceptron, or any "
        "classification network of torchvision.models, such as convnext_tiny.",
    )
    width: float = option(
        1.0, "The channels of vgg16 and the ResNets times this, for quick looks; hidden units of perceptron."
    )
    weights: str = option(
        "none",
        "Weights the network starts from: 'none' (random), 'imagenet' (torchvision's best), a torchvision "
        "name such as IMAGENET1K_V1, or a file.",
    )
    method: Literal["none", "spatial", "patch", "channel", "gap_fc"] = option(
        "none", "What takes information away: a shuffle, or GAP+FC (paper, section 3.1)."
    )
    last: int | None = option(None, "Modify the so many layers nearest the output.")
    layer: int | None = option(None, "Modify the layer of this number, counted from 1 at the input.")
    layers: list[int] = field(
        default_factory=list, metadata={"help": "Modify the layers of these numbers, counted from 1."}
    )
    names: list[str] = field(
        default_factory=list,
        metadata={"help": "Modify the modules of these names, such as features.3.0.block.0."},
    )
    patch: int | None = option(None, "Side of the patches of --method patch, in positions.")
    shuffle_shortcut: bool = option(
        True, "Whether a modified residual block's shortcut is shuffled too, by its own draw."
    )
    per_image: bool = option(False, "Whether each image of a batch is shuffled in its own way.")
    train_shuffle: bool = option(True, "Whether the shuffle acts in training.")
    eval_shuffle: bool = option(True, "Whether the shuffle acts in validation and test.")

    def check(self) -> None:
        """Raise InputError for values that cannot be meant."""
        require(math.isfinite(self.width) and self.width > 0, "width", self.width, "a number above 0")
        places = {name: getattr(self, name) for name in PLACES if getattr(self, name) not in (None, [])}
        asked = ", ".join(f"--{name}" for name in PLACES)
        if self.method == "none":
            name, value = next(iter(places.items()), ("last", None))
            require(not places, name, value, "no layer with --method none; or a --method")
        else:
            require(
                len(places) == 1,
                "method",
                self.method,
                f"one of {asked} beside it, found {' and '.join(f'--{name}' for name in places) or 'none'}",
            )
        for name in ("last", "layer"):
            value = getattr(self, name)
            require(value is None or value >= 1, name, value, "at least 1")
        require(all(layer >= 1 for layer in self.layers), "layers", self.layers, "numbers from 1")
        require(
            (self.patch is not None) == (self.method == "patch"),
            "patch",
            self.patch,
            "a size with --method patch, and only then",
        )
        require(self.patch is None or self.patch >= 1, "patch", self.patch, "at least 1")
        if self.method == "gap_fc":
            for name, default in {
                "shuffle_shortcut": True,
                "per_image": False,
                "train_shuffle": True,
                "eval_shuffle": True,
            }.items():
                value = getattr(self, name)
                require(value is default, name, value, "nothing with --method gap_fc, which draws nothing")

    @property
    def place(self) -> dict[str, Any]:
        """Which layers are modified, as :func:`detector.modify_layers` takes it.

        Examples
        --------
        >>> ModelOptions(method="spatial", last=4).place
        {'last': 4}
        """
        return {name: getattr(self, name) for name in PLACES if getattr(self, name) not in (None, [])}


@dataclass(frozen=True)
class OptimizationOptions:
    """How the weights are found: SGD with momentum 0.9; the learning rate falls to a tenth twice."""

    epochs: int | None = option(
        None, "Passes over the training images. Default: 300, for imagenet 90, for shapes 30."
    )
    max_steps: int | None = option(
        None,
        "Stop after this many steps of the run, as if interrupted there: --resume goes on. The learning rate "
        "ignores it.",
    )
    batch_size: int | None = option(
        None, "Images of one step, over all devices together. Default: 128, for imagenet 256."
    )
    learning_rate: float = option(
        0.1,
        "Learning rate at the start. It is divided by 10 at half and at three quarters of the epochs, for "
        "imagenet at a third and at two thirds.",
    )
    warmup_epochs: float = option(
        0.0, "Epochs over which the learning rate first rises linearly from near 0."
    )
    weight_decay: float | None = option(
        None, "Weight decay of every parameter. Default: 0.0005, for imagenet 0.0001."
    )
    clip_gradient: float = option(0.0, "Largest norm of the gradient; 0: not limited.")
    seed: int = option(0, "Seed of weights, order, augmentation, shuffles and of the images held out.")

    def check(self) -> None:
        """Raise InputError for values that cannot be meant."""
        for name in ("epochs", "batch_size", "max_steps"):
            value = getattr(self, name)
            require(value is None or value >= 1, name, value, "at least 1")
        require(
            math.isfinite(self.learning_rate) and self.learning_rate > 0,
            "learning_rate",
            self.learning_rate,
            "a positive number",
        )
        for name in ("warmup_epochs", "weight_decay", "clip_gradient"):
            value = getattr(self, name)
            require(
                value is None or (math.isfinite(value) and value >= 0),
                name,
                value,
                "a finite number, 0 or more",
            )
        require(0 <= self.seed < 2**32, "seed", self.seed, "a whole number from 0 to 4294967295")


@dataclass(frozen=True)
class EvaluationOptions:
    """How the network is scored."""

    validate_every: int = option(1, "Epochs from one validation to the next.")
    passes: int = option(
        10,
        "T: forward passes over the test set where something is shuffled, each with draws that training "
        "never saw.",
    )

    def check(self) -> None:
        """Raise InputError for values that cannot be meant."""
        for name in ("validate_every", "passes"):
            require(getattr(self, name) >= 1, name, getattr(self, name), "at least 1")


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

    def resolved(self) -> Options:
        """The same, with the paper's values for the data set where an option was left out."""
        given = self.optimization
        imagenet = self.data.data == "imagenet"
        epochs = {"imagenet": 90, "shapes": 30}.get(self.data.data, 300)
        return replace(
            self,
            optimization=replace(
                given,
                epochs=epochs if given.epochs is None else given.epochs,
                batch_size=(256 if imagenet else 128) if given.batch_size is None else given.batch_size,
                weight_decay=(1e-4 if imagenet else 5e-4)
                if given.weight_decay is None
                else given.weight_decay,
            ),
        )

    @property
    def drops(self) -> tuple[float, float]:
        """At what parts of the run the learning rate is divided by 10."""
        return (1 / 3, 2 / 3) if self.data.data == "imagenet" else (1 / 2, 3 / 4)
