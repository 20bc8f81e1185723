"""The options of ``train_classify.py``, and the recipe for each data set, which the paper does not give."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, Literal, NamedTuple

from data.datasets import DATASETS, DataName
from detector.registry import ARCHITECTURES, METHODS, Method
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
    ScoringOptions,
    StepOptions,
    check_patch,
    check_validated,
    option,
    patch_methods,
    require,
)

__all__ = ["PLACES", "DataOptions", "EvaluationOptions", "ModelOptions", "OptimizationOptions", "Options"]

PLACES = ("last", "layer", "layers", "names")
"""The options that select layers; exactly one of them is given."""


class Recipe(NamedTuple):
    """Values for a data set where an option leaves them out.

    The paper gives none of them: it names the training scheme of He et al. (its reference [11]). Those of
    CIFAR-100 are of the authors' code or of a repository like it, those of ImageNet are He et al.'s, the
    epochs of shapes are ours. Small-ImageNet has those of CIFAR-100; the authors' script has another learning
    rate for it, 0.01.
    """

    epochs: int = 300
    batch_size: int = 128
    weight_decay: float = 5e-4
    drops: tuple[float, ...] = (1 / 2, 3 / 4)
    """Fractions of the run after which the learning rate is divided by 10."""


RECIPES = {"imagenet": Recipe(90, 256, 1e-4, (1 / 3, 2 / 3)), "shapes": Recipe(epochs=30)}
"""Recipes of data sets with another one than CIFAR-100."""


@dataclass(frozen=True)
class DataOptions(OptionGroup):
    """Which images are trained on, validated on and tested on."""

    data: DataName = option("cifar100", "The data set; 'shapes' is the embedded one, drawn in memory.")
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
    protocol: Literal["held-out", "paper"] = option(
        "held-out",
        "'held-out': the epoch is chosen on images held out of the training images, and the test images are "
        "read once. 'paper': all images are trained on, and the epoch is the best on the test images, as the "
        "paper's best models may be; the score is then too high, and scores.json says so.",
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
        f"Architecture: {', '.join(ARCHITECTURES)}, or any classification network of "
        "torchvision.models, such as convnext_tiny.",
    )
    width: float = option(
        1.0,
        "Factor on the channels (of perceptron: the hidden units) of our networks, for quick tests.",
        Rule("a number above 0", POSITIVE.holds),
    )
    weights: str = option(
        "none",
        "Weights the network starts from: 'none' (random), 'imagenet' (torchvision's best), a torchvision "
        "name such as IMAGENET1K_V1, or a file.",
    )
    method: Literal["none", Method] = option(
        "none",
        "What takes information away: a shuffle, or GAP+FC (paper, section 3.1).",
        names=lambda: ("none", *METHODS),
    )
    last: int | None = option(None, "Modify the last N layers, counted from the output.", AT_LEAST_1)
    layer: int | None = option(
        None, "Modify the layer of this number, counted from 1 at the input.", AT_LEAST_1
    )
    layers: list[int] = option(
        [],
        "Modify the layers of these numbers, counted from 1.",
        Rule("numbers from 1", lambda layers: all(layer >= 1 for layer in layers)),
    )
    names: list[str] = option([], "Modify the modules of these names, such as features.3.0.block.0.")
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
    def is_modified(self) -> bool:
        """Whether something is taken away from some layer."""
        return self.method != "none"

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
class OptimizationOptions(StepOptions):
    """Optimiser settings: SGD with momentum 0.9; the learning rate is divided by 10 twice.

    The paper gives no batch size, weight decay, epochs or drops: these are the authors' code's or others'.
    """

    epochs: int | None = option(
        None, "Passes over the training images. Default: 300, for imagenet 90, for shapes 30.", AT_LEAST_1
    )
    batch_size: int | None = option(
        None, "Images of one step, over all devices together. Default: 128, for imagenet 256.", AT_LEAST_1
    )
    learning_rate: float = option(
        0.1,
        "Learning rate at the start. It is divided by 10 at half and at three quarters of the epochs, for "
        "imagenet at a third and at two thirds. (The authors' script for Small-ImageNet: 0.01. A perceptron "
        "diverges at 0.1 and learns at 0.01.)",
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
class EvaluationOptions(ScoringOptions):
    """How the network is scored."""

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

    def check(self) -> None:
        """Raise InputError for invalid values and combinations."""
        super().check()
        validated = self.data.validation > 0 or self.data.protocol == "paper"
        check_validated(self.optimization, validated)

    @property
    def recipe(self) -> Recipe:
        """The values for the data set, which the paper does not give."""
        return RECIPES.get(self.data.data, Recipe())

    def resolved(self) -> Options:
        """The same, with the recipe's values for the data set where an option was left out."""
        given = vars(self.optimization)
        missing = {name: value for name, value in self.recipe._asdict().items() if given.get(name, 0) is None}
        return replace(self, optimization=replace(self.optimization, **missing))
