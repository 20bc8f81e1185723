"""What a detection run depends on: typed, in small groups, checked across fields before any work starts."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Literal

from training.options import MachineOptions, OptionGroups, option, require

__all__ = ["DataOptions", "EvaluationOptions", "ModelOptions", "OptimizationOptions", "Options"]

VOC_TRAIN = ["2007:trainval", "2012:trainval"]
VOC_TEST = ["2007:test"]
SHAPES_TRAIN = ["shapes:trainval"]
SHAPES_TEST = ["shapes:test"]
STRIDES = (32, 16, 8)
"""Input pixels per cell that the backbones can be built for."""


@dataclass(frozen=True)
class DataOptions:
    """Which images are trained on, validated on and tested on, and what augmentation does to them."""

    data: Literal["voc", "shapes"] = option(
        "voc",
        "The data set: a VOC tree under --root, or 'shapes', the embedded one, drawn where it is absent.",
    )
    root: str | None = option(
        None,
        "Folder of the data: the VOCdevkit that holds VOC2007, VOC2012 …; for shapes where to draw them.",
    )
    train: list[str] = field(
        default_factory=list,
        metadata={
            "help": f"Training lists as YEAR:SPLIT, joined. Default for voc: {' '.join(VOC_TRAIN)}; for "
            f"shapes: {' '.join(SHAPES_TRAIN)}."
        },
    )
    test: list[str] = field(
        default_factory=list,
        metadata={
            "help": f"Test lists as YEAR:SPLIT. Default for voc: {' '.join(VOC_TEST)}; for shapes: "
            f"{' '.join(SHAPES_TEST)}."
        },
    )
    validation: float = option(
        0.1,
        "Share of the training images that is held out for validation, chosen by --seed; 0: no validation.",
    )
    input_size: int = option(448, "Side of the square that images are resized to, in pixels.")
    min_visible: float = option(
        0.3, "An object whose box keeps less than this fraction of its area in an augmented image is dropped."
    )
    augment: bool = option(
        True, "Whether training images are scaled, moved, cropped, flipped, recoloured, blurred."
    )

    def check(self) -> None:
        """Raise InputError for values that cannot be meant."""
        require(
            self.data != "voc" or self.root is not None,
            "root",
            self.root,
            "the VOCdevkit folder, for --data voc",
        )
        require(0 <= self.validation < 1, "validation", self.validation, "a share of at least 0 and below 1")
        require(self.input_size >= 32, "input_size", self.input_size, "at least 32 pixels")
        require(0 <= self.min_visible <= 1, "min_visible", self.min_visible, "a fraction from 0 to 1")

    @property
    def train_lists(self) -> list[str]:
        """The training lists, defaults filled in."""
        return self.train or (VOC_TRAIN if self.data == "voc" else SHAPES_TRAIN)

    @property
    def test_lists(self) -> list[str]:
        """The test lists, defaults filled in."""
        return self.test or (VOC_TEST if self.data == "voc" else SHAPES_TEST)


@dataclass(frozen=True)
class ModelOptions:
    """The detector."""

    arch: Literal["resnet18", "resnet50", "resnet152"] = option("resnet50", "Architecture of the backbone.")
    weights: str = option(
        "none",
        "Weights the backbone starts from: 'none' (random), 'imagenet' (torchvision's best), a torchvision "
        "name such as IMAGENET1K_V1, or a file.",
    )
    grid: int | None = option(
        None,
        "S: the image is divided into S×S cells. Default input size / 32; twice or four times that dilates.",
    )
    boxes_per_cell: int = option(2, "B: boxes that each cell predicts.")
    shuffle: str = option(
        "none",
        "Layer of the backbone whose input is shuffled, in training and evaluation: 'last', a number counted "
        "from 1 at the input (a residual block is one layer), or 'none'.",
    )
    shuffle_method: Literal["spatial", "patch", "channel"] = option("spatial", "What the shuffle permutes.")
    patch: int | None = option(None, "Side of the patches of --shuffle-method patch, in positions.")
    shuffle_shortcut: bool = option(
        True, "Whether the shuffled layer's shortcut is shuffled too, by its own draw."
    )

    def check(self, input_size: int) -> None:
        """Raise InputError for values that cannot be meant."""
        require(self.boxes_per_cell >= 1, "boxes_per_cell", self.boxes_per_cell, "at least 1")
        require(
            self.shuffle in ("none", "last") or (self.shuffle.isdigit() and int(self.shuffle) >= 1),
            "shuffle",
            self.shuffle,
            "'none', 'last' or the number of a layer, counted from 1",
        )
        patchwise = self.shuffle_method == "patch"
        require(
            (self.patch is not None) == patchwise,
            "patch",
            self.patch,
            "a size with --shuffle-method patch, and only then",
        )
        require(self.patch is None or self.patch >= 1, "patch", self.patch, "at least 1")
        grids = [math.ceil(input_size / stride) for stride in STRIDES]
        require(
            self.cells(input_size) in grids,
            "grid",
            self.grid,
            f"{', '.join(map(str, grids[:-1]))} or {grids[-1]} for --input-size {input_size}",
        )

    def cells(self, input_size: int) -> int:
        """S for an input size."""
        return math.ceil(input_size / 32) if self.grid is None else self.grid

    def stride(self, input_size: int) -> int:
        """Input pixels per cell."""
        return next(stride for stride in STRIDES if math.ceil(input_size / stride) == self.cells(input_size))


@dataclass(frozen=True)
class OptimizationOptions:
    """How the weights are found."""

    epochs: int = option(500, "Passes over the training images.")
    max_steps: int | None = option(
        None,
        "Stop after this many steps of the run, as if interrupted there: --resume goes on. The learning rate "
        "ignores it.",
    )
    batch_size: int = option(16, "Images of one step, over all devices together.")
    learning_rate: float = option(0.001, "Learning rate at the start; it decays exponentially over the run.")
    final_learning_rate: float = option(
        0.00001, "Learning rate that the decay reaches at the end of the last epoch."
    )
    warmup_epochs: float = option(
        1.0, "Epochs over which the learning rate first rises linearly from near 0."
    )
    optimizer: Literal["adamw", "sgd"] = option("adamw", "AdamW, or SGD with momentum 0.9.")
    weight_decay: float = option(0.0005, "Weight decay of convolutions; biases and batch norms have none.")
    clip_gradient: float = option(0.0, "Largest norm of the gradient; 0: not limited.")
    seed: int = option(0, "Seed of weights, order, augmentation and shuffles.")

    def check(self) -> None:
        """Raise InputError for values that cannot be meant."""
        for name in ("epochs", "batch_size"):
            require(getattr(self, name) >= 1, name, getattr(self, name), "at least 1")
        require(self.max_steps is None or self.max_steps >= 1, "max_steps", self.max_steps, "at least 1")
        for name in ("learning_rate", "final_learning_rate"):
            value = getattr(self, name)
            require(math.isfinite(value) and value > 0, name, value, "a positive number")
        for name in ("warmup_epochs", "weight_decay", "clip_gradient"):
            value = getattr(self, name)
            require(math.isfinite(value) and value >= 0, name, value, "a finite number, 0 or more")
        require(0 <= self.seed < 2**32, "seed", self.seed, "a whole number from 0 to 4294967295")


@dataclass(frozen=True)
class EvaluationOptions:
    """How detections are made and scored."""

    validate_every: int = option(1, "Epochs from one validation to the next.")
    score_threshold: float = option(0.01, "Detections that score less are left out.")
    iou_threshold: float = option(
        0.5, "Non-maximum suppression: of two boxes of a class that overlap more the better stays."
    )
    max_detections: int = option(100, "Detections kept for an image.")
    passes: int = option(
        10,
        "Forward passes over the test set where something is shuffled, each with draws that training never "
        "saw.",
    )
    sheet: int = option(11, "Images on the qualitative sheet; 0: no sheet.")

    def check(self) -> None:
        """Raise InputError for values that cannot be meant."""
        for name in ("validate_every", "max_detections", "passes"):
            require(getattr(self, name) >= 1, name, getattr(self, name), "at least 1")
        require(self.sheet >= 0, "sheet", self.sheet, "0 or more")
        for name in ("score_threshold", "iou_threshold"):
            require(0 <= getattr(self, name) <= 1, name, getattr(self, name), "a number from 0 to 1")


@dataclass(frozen=True)
class Options(OptionGroups):
    """All of a detection run's options, by group.

    Examples
    --------
    >>> Options().flat()["input_size"]
    448
    >>> Options.from_flat({"epochs": 3}).optimization.epochs
    3
    """

    data: DataOptions = field(default_factory=DataOptions)
    model: ModelOptions = field(default_factory=ModelOptions)
    optimization: OptimizationOptions = field(default_factory=OptimizationOptions)
    evaluation: EvaluationOptions = field(default_factory=EvaluationOptions)
    machine: MachineOptions = field(default_factory=MachineOptions)

    def check(self) -> None:
        """Raise InputError for values that cannot be meant, alone or together."""
        self.data.check()
        self.model.check(self.data.input_size)
        self.optimization.check()
        self.evaluation.check()
        self.machine.check()
