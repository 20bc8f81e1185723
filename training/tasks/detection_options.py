"""The options of ``train_detect.py``."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Literal, Self

from data.records import InputError
from data.shapes import SHAPE_SETS
from detector.registry import ARCHITECTURES, METHODS, ShuffleMethod, cells_and_stride
from training.options import (
    AT_LEAST_1,
    FINITE,
    HELD_OUT,
    NOT_NEGATIVE,
    POSITIVE,
    PROBABILITY,
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
    split_error,
)

__all__ = [
    "DETECTION_DATA", "DataOptions", "EvaluationOptions", "ModelOptions", "OptimizationOptions", "Options",
    "scaled_sizes",
]  # fmt: skip

ONE_SET = "one data set, as there is no --root"
DETECTION_DATA = ("voc", *SHAPE_SETS)
"""The data sets of detectors: photographs as a VOC tree, and those that are drawn."""
VOC_TRAIN, VOC_TEST = ["2007:trainval", "2012:trainval"], ["2007:test"]
SHAPES_TRAIN, SHAPES_TEST = ["shapes:trainval"], ["shapes:test"]
SIZE_STEP = 32
"""From one size of --multi-scale to the next, in pixels: what a cell of the backbones' last map covers."""


def scaled_sizes(input_size: int) -> range:
    """The input sizes that --multi-scale draws from, in pixels.

    Examples
    --------
    >>> list(scaled_sizes(128))
    [64, 96, 128, 160, 192]
    """
    low, high = -(-input_size // (2 * SIZE_STEP)), 3 * input_size // (2 * SIZE_STEP)
    return range(low * SIZE_STEP, high * SIZE_STEP + 1, SIZE_STEP)


@dataclass(frozen=True)
class DataOptions(OptionGroup):
    """Which images are trained on, validated on and tested on, and what augmentation does to them."""

    data: str = option(
        "voc",
        "The data set: a VOC tree under --root, or an embedded one, drawn where absent: 'shapes' (2,700 "
        "scenes of 160 pixels) or 'large-shapes' (27,000 of 64 pixels, with one or two large objects).",
        names=lambda: DETECTION_DATA,
        otherwise="; data of your own by --train and --test without it, as in --train data.yaml:train",
    )
    root: str | None = option(
        None,
        "Folder of the data: the VOCdevkit that holds VOC2007, VOC2012 …; for shapes where to draw them.",
    )
    train: list[str] = option(
        [],
        f"Training lists as YEAR:SPLIT, joined. Default for voc: {' '.join(VOC_TRAIN)}; for "
        f"shapes: {' '.join(SHAPES_TRAIN)}. Without --root, data of your own: a folder of photographs "
        "with VOC XML beside them, as LabelImg writes it, COCO JSON, or data.yaml of YOLO.",
    )
    test: list[str] = option(
        [],
        f"Test lists as YEAR:SPLIT. Default for voc: {' '.join(VOC_TEST)}; for shapes: "
        f"{' '.join(SHAPES_TEST)}. Without --root, data of your own as for --train; none are needed "
        "with --score false.",
    )
    validation: float = option(
        0.1,
        "Share of the training images that is held out for validation, chosen by --seed; 0: no validation.",
        HELD_OUT,
    )
    validation_lists: list[str] = option(
        [], "Validation lists as YEAR:SPLIT, or data of your own, in place of a share."
    )
    pixels_from: int = option(
        1,
        "What the annotations call the first pixel: 1, as VOC does, or 0.",
        Rule("0 or 1", lambda first: first in (0, 1)),
    )
    input_size: int = option(
        448,
        "Side of the square that images are resized to, in pixels.",
        Rule("at least 32 pixels", lambda side: side >= 32),
    )
    min_visible: float = option(
        0.3,
        "An object whose box keeps less than this fraction of its area in an augmented image is dropped.",
        Rule("a fraction from 0 to 1", PROBABILITY.holds),
    )
    augment: bool = option(
        True, "Whether training images are scaled, moved, cropped, flipped, recoloured, blurred."
    )

    augment_strength: float = option(
        1.0,
        "Factor on all that --augment does but the mirror images: 0.5 is half as strong.",
        Rule("a number from 0 to 2", lambda factor: 0 <= factor <= 2),
    )
    input: Literal["standard", "fast"] = option(
        "standard",
        "How training images are read: 'fast' decodes each once, into --cache, and changes colours by one "
        "matrix; the boxes are the same, the colours in distribution.",
    )
    cache: str = option("runs/cache", "Folder of the decoded images of --input fast.")

    def check(self) -> None:
        """Raise InputError for invalid values."""
        found = self.data != "voc" or self.root is not None or bool(self.train)
        expected = "the VOCdevkit folder, for --data voc; or data of your own by --train PATH --test PATH"
        require(found, "root", self.root, expected)
        for name in ("train", "test", "validation_lists"):
            lists = getattr(self, name)
            require(not self.is_own or len(lists) <= 1, name, lists, ONE_SET)
        super().check()

    @property
    def is_own(self) -> bool:
        """Whether the data are the user's, of any format that the diagnosis reads."""
        return self.data == "voc" and self.root is None

    @property
    def train_lists(self) -> list[str]:
        """The training lists, defaults filled in."""
        return self.train or (VOC_TRAIN if self.data == "voc" else SHAPES_TRAIN)

    @property
    def test_lists(self) -> list[str]:
        """The test lists, defaults filled in; data of the user's own may have none."""
        return self.test or ([] if self.is_own else VOC_TEST if self.data == "voc" else SHAPES_TEST)


@dataclass(frozen=True)
class ModelOptions(OptionGroup):
    """The detector."""

    arch: str = option(
        "resnet50",
        "Architecture of the backbone.",
        names=lambda: (name for name, row in ARCHITECTURES.items() if row.is_backbone),
    )
    backbone: str | None = option(
        None,
        "Another backbone in place of --arch: torchvision:NAME, timm:NAME, or module:function of your own, "
        "called without arguments, which returns a module from (N, 3, H, W) to (N, C, S, S).",
        Rule("torchvision:NAME, timm:NAME or module:function", lambda name: all(name.partition(":"))),
    )
    weights: str = option(
        "none",
        "Weights the backbone starts from: 'none' (random), 'imagenet' (torchvision's best), a torchvision "
        "name such as IMAGENET1K_V1, or a file. The folder or checkpoint of a run of train_detect.py: its "
        "head's weights too, where they fit.",
    )
    grid: int | None = option(
        None,
        "S: the image is divided into S×S cells. Default input size / 32; twice or four times that dilates.",
    )
    boxes_per_cell: int = option(2, "B: boxes that each cell predicts.", AT_LEAST_1)
    width: float = option(1.0, "Factor on the channels of the backbone, for quick tests.", POSITIVE)
    head_channels: int = option(
        256,
        "Channels of the head; the paper gives none.",
        Rule("a multiple of 4, at least 4", lambda n: n >= 4 and n % 4 == 0),
    )
    shuffle: str = option(
        "none",
        "Layer of the backbone whose input is shuffled, in training and evaluation: 'last', a number counted "
        "from 1 at the input (a residual block is one layer), or 'none'.",
        Rule(
            "'none', 'last' or the number of a layer, counted from 1",
            lambda layer: layer in ("none", "last") or (layer.isdigit() and int(layer) >= 1),
        ),
    )
    shuffle_method: ShuffleMethod = option(
        "spatial",
        "What the shuffle permutes.",
        names=lambda: (name for name, row in METHODS.items() if row.is_shuffle),
    )
    patch: int | None = option(
        None, f"Side of the patches of --shuffle-method {patch_methods()}, in positions.", AT_LEAST_1
    )
    shuffle_shortcut: bool = option(
        True, "Whether the shuffled layer's shortcut is shuffled too, by its own draw."
    )

    def check(self) -> None:
        """Raise InputError for invalid values."""
        super().check()
        check_patch("shuffle_method", self.shuffle_method, self.patch)
        if self.backbone is not None and self.width != 1.0:
            found = f"{self.width:g} beside --backbone {self.backbone}"
            raise InputError("--width", found, "one of the two: --width is of --arch")

    @property
    def is_modified(self) -> bool:
        """Whether a layer is shuffled."""
        return self.shuffle != "none"

    def check_grid(self, input_size: int) -> None:
        """Raise InputError for a grid that no output stride gives."""
        if self.backbone is not None:
            return  # it has the map that it has
        try:
            cells_and_stride(input_size, self.grid)
        except ValueError as error:
            expected = f"{split_error(error)[2]} for --input-size {input_size}"
            raise InputError("--grid", repr(self.grid), expected) from None


@dataclass(frozen=True)
class OptimizationOptions(StepOptions):
    """Optimiser settings. The paper gives 500 epochs and the decay from 0.001 alone; the rest is not its."""

    epochs: int = option(500, "Passes over the training images.", AT_LEAST_1)
    batch_size: int = option(16, "Images of one step, over all devices together.", AT_LEAST_1)
    learning_rate: float = option(
        0.001, "Learning rate at the start; it decays exponentially over the run.", POSITIVE
    )
    final_learning_rate: float = option(
        0.00001, "Learning rate that the decay reaches at the end of the last epoch.", POSITIVE
    )
    warmup_epochs: float = option(
        1.0, "Epochs over which the learning rate first rises linearly from near 0.", FINITE
    )
    optimizer: Literal["adamw", "sgd"] = option(
        "adamw", "AdamW, or SGD with momentum 0.9. The paper does not say."
    )
    weight_decay: float = option(
        0.0005, "Weight decay of convolutions; biases and batch norms have none.", FINITE
    )
    clip_gradient: float = option(0.0, "Largest norm of the gradient; 0: not limited.", FINITE)
    freeze: str = option(
        "0",
        "Layers of the backbone that keep their weights, counted from the input as for --shuffle, or 'all'.",
        Rule("'all' or a number of layers", lambda layers: layers == "all" or layers.isdigit()),
    )
    freeze_epochs: int | None = option(
        None, "Epochs for which they keep them. Default: all epochs.", AT_LEAST_1
    )
    class_weights: Literal["none", "balanced"] = option(
        "none",
        "'balanced': the loss of an object's class is weighted by one over the number of its class's "
        "training objects, with a mean of 1 over the objects.",
    )
    multi_scale: bool = option(
        False,
        "Whether each step's images are resized by another factor from 0.5 to 1.5, to a multiple of "
        f"{SIZE_STEP} pixels, drawn from --seed and the step. Not with --compile.",
    )
    seed: int = option(0, "Seed of weights, order, augmentation and shuffles.", SEED)


@dataclass(frozen=True)
class EvaluationOptions(ScoringOptions):
    """How detections are made and scored."""

    score_threshold: float = option(0.01, "Detections that score less are left out.", PROBABILITY)
    iou_threshold: float = option(
        0.5,
        "Non-maximum suppression: of two boxes of a class that overlap more the better stays.",
        PROBABILITY,
    )
    max_detections: int = option(100, "Detections kept for an image.", AT_LEAST_1)
    passes: int = option(
        10,
        "Forward passes over the test set where something is shuffled, each with draws that training never "
        "saw.",
        AT_LEAST_1,
    )
    pictures: int = option(
        4,
        "Validation images that TensorBoard (W&B, MLflow) shows with the detections that score at least 0.1, "
        "or the best three; 0: none, and no picture of the first training images.",
        NOT_NEGATIVE,
    )
    sheet: int = option(11, "Images on the qualitative sheet; 0: no sheet.", NOT_NEGATIVE)


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
        """Raise InputError for invalid values and combinations."""
        super().check()
        expected = "data of your own to test on, as for --train; or --score false to train without"
        require(bool(self.data.test_lists) or not self.evaluation.score, "test", None, expected)
        self.model.check_grid(self.data.input_size)
        check_validated(self.optimization, self.data.validation > 0 or bool(self.data.validation_lists))
        frozen, epochs = self.optimization.freeze != "0", self.optimization.freeze_epochs
        expected = "--freeze beside it, such as --freeze all, for it does nothing without"
        require(frozen or epochs is None, "freeze_epochs", epochs, expected)
        if self.optimization.multi_scale:
            expected = "no --compile, as it compiles for one size, or --multi-scale false"
            require(not self.machine.compile, "multi_scale", "--compile beside it", expected)
            found = f"--input-size {self.data.input_size}"
            expected = f"at least {2 * SIZE_STEP} pixels, so that there are several sizes"
            require(len(scaled_sizes(self.data.input_size)) > 1, "multi_scale", found, expected)

    def resolved(self) -> Self:
        """Nothing is compiled where the images of each step have another size."""
        if self.optimization.multi_scale and self.machine.compile is None:
            return replace(self, machine=replace(self.machine, compile=False))
        return self
