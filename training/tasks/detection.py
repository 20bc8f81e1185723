"""Detection: options, data and network of ``train_detect.py``.

Torch is imported within the functions that need it: it takes seconds, and ``--help`` does without.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NamedTuple

import numpy as np

from data.formats import guard_test_set, read_classes, read_voc, voc_folder
from data.records import GroundTruth, InputError
from detector.tables import ARCHITECTURES, METHODS, ShuffleMethod
from training.command import run_command
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
    check_patch,
    described,
    option,
    patch_methods,
    require,
)  # fmt: skip
from training.task import Report, Task

if TYPE_CHECKING:
    import torch
    from torch import nn

    from data.detection import Batch, DetectionDataset, EpochLoader
    from detector import YOLO
    from diagnosis import Diagnosis
    from training.tasks.detection_module import DetectorModule

__all__ = [
    "DETECTION", "DataOptions", "DetectionTask", "EvaluationOptions", "ModelOptions", "OptimizationOptions",
    "Options", "main", "read_run_data", "read_test_data",
]  # fmt: skip

VOC_TRAIN, VOC_TEST = ["2007:trainval", "2012:trainval"], ["2007:test"]
SHAPES_TRAIN, SHAPES_TEST = ["shapes:trainval"], ["shapes:test"]
SHAPES_ROOT = Path("runs/shapes")
STRIDES = (32, 16, 8)
"""Output strides that the backbones support, in input pixels per cell."""


# Options


@dataclass(frozen=True)
class DataOptions(OptionGroup):
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
        metadata=described(
            f"Training lists as YEAR:SPLIT, joined. Default for voc: {' '.join(VOC_TRAIN)}; for "
            f"shapes: {' '.join(SHAPES_TRAIN)}."
        ),
    )
    test: list[str] = field(
        default_factory=list,
        metadata=described(
            f"Test lists as YEAR:SPLIT. Default for voc: {' '.join(VOC_TEST)}; for shapes: "
            f"{' '.join(SHAPES_TEST)}."
        ),
    )
    validation: float = option(
        0.1,
        "Share of the training images that is held out for validation, chosen by --seed; 0: no validation.",
        HELD_OUT,
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

    def check(self) -> None:
        """Raise InputError for invalid values."""
        found = self.data != "voc" or self.root is not None
        require(found, "root", self.root, "the VOCdevkit folder, for --data voc")
        super().check()

    @property
    def train_lists(self) -> list[str]:
        """The training lists, defaults filled in."""
        return self.train or (VOC_TRAIN if self.data == "voc" else SHAPES_TRAIN)

    @property
    def test_lists(self) -> list[str]:
        """The test lists, defaults filled in."""
        return self.test or (VOC_TEST if self.data == "voc" else SHAPES_TEST)


@dataclass(frozen=True)
class ModelOptions(OptionGroup):
    """The detector."""

    arch: str = field(
        default="resnet50",
        metadata=described(
            "Architecture of the backbone.",
            names=lambda: (name for name, row in ARCHITECTURES.items() if row.is_backbone),
        ),
    )
    weights: str = option(
        "none",
        "Weights the backbone starts from: 'none' (random), 'imagenet' (torchvision's best), a torchvision "
        "name such as IMAGENET1K_V1, or a file.",
    )
    grid: int | None = option(
        None,
        "S: the image is divided into S×S cells. Default input size / 32; twice or four times that dilates.",
    )
    boxes_per_cell: int = option(2, "B: boxes that each cell predicts.", AT_LEAST_1)
    shuffle: str = option(
        "none",
        "Layer of the backbone whose input is shuffled, in training and evaluation: 'last', a number counted "
        "from 1 at the input (a residual block is one layer), or 'none'.",
        Rule(
            "'none', 'last' or the number of a layer, counted from 1",
            lambda layer: layer in ("none", "last") or (layer.isdigit() and int(layer) >= 1),
        ),
    )
    shuffle_method: ShuffleMethod = field(
        default="spatial",
        metadata=described(
            "What the shuffle permutes.", names=lambda: (name for name, row in METHODS.items() if row.draws)
        ),
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

    def cells(self, input_size: int) -> int:
        """S for an input size."""
        return math.ceil(input_size / STRIDES[0]) if self.grid is None else self.grid

    def stride(self, input_size: int) -> int:
        """Input pixels per cell; InputError for a grid that no output stride gives."""
        grids = [math.ceil(input_size / stride) for stride in STRIDES]
        cells = self.cells(input_size)
        expected = f"{', '.join(map(str, grids[:-1]))} or {grids[-1]} for --input-size {input_size}"
        require(cells in grids, "grid", self.grid, expected)
        return STRIDES[grids.index(cells)]


@dataclass(frozen=True)
class OptimizationOptions(OptionGroup):
    """Optimiser settings."""

    epochs: int = option(500, "Passes over the training images.", AT_LEAST_1)
    max_steps: int | None = option(
        None,
        "Stop after this many steps of the run, as if interrupted there: --resume goes on. The learning rate "
        "ignores it.",
        AT_LEAST_1,
    )
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
    optimizer: Literal["adamw", "sgd"] = option("adamw", "AdamW, or SGD with momentum 0.9.")
    weight_decay: float = option(
        0.0005, "Weight decay of convolutions; biases and batch norms have none.", FINITE
    )
    clip_gradient: float = option(0.0, "Largest norm of the gradient; 0: not limited.", FINITE)
    seed: int = option(0, "Seed of weights, order, augmentation and shuffles.", SEED)


@dataclass(frozen=True)
class EvaluationOptions(OptionGroup):
    """How detections are made and scored."""

    validate_every: int = option(1, "Epochs from one validation to the next.", AT_LEAST_1)
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
        self.model.stride(self.data.input_size)


# Data


class RunData(NamedTuple):
    """Ground truth of a run."""

    train: GroundTruth
    validation: GroundTruth | None
    test: GroundTruth
    similar: tuple[tuple[str, ...], ...]
    """Groups of similar classes."""


def read_run_data(options: DataOptions, seed: int) -> RunData:
    """Read the lists and annotations, guard the test set, and hold the validation images out.

    Raises
    ------
    InputError
        Anything wrong with the lists or annotations; a test image in the training list.
    """
    from data.detection import split_validation

    test, similar = read_test_data(options)
    root = _data_root(options)
    train = read_voc(root, options.train_lists)
    if train.classes != test.classes:
        raise InputError(
            f"--test {' '.join(options.test_lists)}",
            f"the classes {', '.join(test.classes)}",
            f"those of --train {' '.join(options.train_lists)}, in their order: {', '.join(train.classes)}",
        )
    guard_test_set(root, train, options.test_lists)
    if options.validation == 0:
        return RunData(train, None, test, similar)
    train, validation = split_validation(train, options.validation, seed)
    return RunData(train, validation, test, similar)


def read_test_data(options: DataOptions) -> tuple[GroundTruth, tuple[tuple[str, ...], ...]]:
    """The test images' ground truth and the groups of similar classes; no training data is needed.

    Raises
    ------
    InputError
        Anything wrong with the lists or annotations.
    """
    root = _data_root(options)
    folder, _ = voc_folder(root, options.test_lists[0])
    return read_voc(root, options.test_lists), read_classes(folder).similar


def _data_root(options: DataOptions) -> Path:
    """The folder of the VOC trees; the shapes are drawn where they are absent."""
    if options.data == "shapes":
        from data.shapes import write_shapes

        return write_shapes(Path(options.root or SHAPES_ROOT)).parent
    root = Path(str(options.root))
    if not root.is_dir():
        expected = "the VOCdevkit folder that holds VOC2007, VOC2012 …"
        raise InputError(f"--root {root}", "no such folder", expected)
    return root


class Images(NamedTuple):
    """The images of a run; of an evaluation, those of the test set alone."""

    train: DetectionDataset | None
    validation: DetectionDataset | None
    test: DetectionDataset
    similar: tuple[tuple[str, ...], ...]


# The task


class DetectionTask(Task):
    """Training a YOLO-style detector."""

    script = "train_detect.py"
    description = (
        "Train a YOLO-style detector, score it on the test set and say what kind of mistakes it makes. "
        "Its folder holds config.yaml, provenance.json, checkpoints, logs, detections, scores.json and "
        "diagnosis."
    )
    options = Options
    changeable = frozenset({"shuffle", "shuffle_method", "patch", "shuffle_shortcut"})
    resumable = frozenset({"sheet"})
    scoring = "score and diagnose"
    changing = "--shuffle"
    naming = "Name of the detector in tables and figures. Default: the folder's."
    monitor = "val/map"
    hyper_parameters: ClassVar[Mapping[str, Any]] = {"model": Mapping, "classes": list, "input_size": int}
    other_weights = "the checkpoint is of another architecture, grid or set of classes"

    def check_changes(self, trained: Mapping[str, Any], changes: Mapping[str, Any], checkpoint: Path) -> None:
        """Accept every change: a shuffle has no weights."""

    def default_name(self, options: Options) -> str:
        """A folder name that differs between runs.

        Examples
        --------
        >>> DETECTION.default_name(Options())
        'voc-resnet50-plain-448-seed0'
        """
        model, data = options.model, options.data
        shuffled = "plain" if model.shuffle == "none" else f"{model.shuffle_method}-{model.shuffle}"
        return f"{data.data}-{model.arch}-{shuffled}-{data.input_size}-seed{options.optimization.seed}"

    def read(self, options: Options) -> Images:
        """Lists, annotations and the names of the image files."""
        from data.augment import Augmentation, eval_transform, train_transform
        from data.detection import DetectionDataset

        seed, size = options.optimization.seed, options.data.input_size
        data, plain = read_run_data(options.data, seed), eval_transform(size)
        strength = Augmentation(min_visibility=options.data.min_visible)
        augment = train_transform(size, strength, seed) if options.data.augment else plain
        return Images(
            DetectionDataset(data.train, augment),
            DetectionDataset(data.validation, plain) if data.validation else None,
            DetectionDataset(data.test, plain),
            data.similar,
        )

    def describe(self, options: Options, data: Images) -> dict[str, Any]:
        """Classes and input size."""
        return {"classes": list(data.test.truth.classes), "input_size": options.data.input_size}

    def build(self, options: ModelOptions, hyper: Mapping[str, Any]) -> YOLO:
        """The detector, with its shuffle."""
        from detector import YOLO, WeightsError, shuffle_layers
        from detector.networks import resnet
        from training.checkpoint import weights_error

        stride = options.stride(hyper["input_size"])
        try:
            backbone = resnet(options.arch, None, output_stride=stride, weights=options.weights)
        except WeightsError as error:
            raise weights_error(error, options.arch) from error
        if options.shuffle != "none":
            layer: Any = "last" if options.shuffle == "last" else int(options.shuffle)
            method, shortcut = options.shuffle_method, options.shuffle_shortcut
            try:
                shuffle_layers(backbone, layer, method, patch=options.patch, shortcut=shortcut)
            except ValueError as error:
                expected = f"a layer of {options.arch}: {error}"
                raise InputError("--shuffle", options.shuffle, expected) from error
        cells = options.cells(hyper["input_size"])
        return YOLO(backbone, len(hyper["classes"]), cells, options.boxes_per_cell)

    def module(
        self, network: nn.Module, options: Options, data: Images, hyper: Mapping[str, Any]
    ) -> DetectorModule:
        """The detector with its loss, optimizer and validation."""
        from training.tasks.detection_module import DetectorModule

        assert data.train is not None
        validation = data.validation.truth if data.validation else None
        return DetectorModule(
            network,
            options,
            hyper,
            train_names=data.train.truth.images,
            validation=validation,
            similar=data.similar,
        )

    def loader(
        self,
        images: DetectionDataset,
        options: Options,
        batch_size: int,
        *,
        train: bool,
        device: torch.device,
        **processes: int,
    ) -> EpochLoader[Batch]:
        """Batches of images and boxes."""
        from data.detection import detection_loader

        seed, workers, pin = options.optimization.seed, options.machine.workers, device.type == "cuda"
        return detection_loader(
            images, batch_size, seed=seed, train=train, workers=workers, pin_memory=pin, **processes
        )

    def counts(self, data: Images) -> dict[str, int]:
        """Images to train on, to validate and to test."""
        parts = {"train": data.train, "validation": data.validation, "test": data.test}
        return {name: len(images) if images else 0 for name, images in parts.items()}

    def announce(self, network: nn.Module, options: Options, data: Images) -> str:
        """Numbers of images and of objects that are not difficult."""
        counts = self.counts(data)
        assert data.train is not None
        objects = np.count_nonzero(~data.train.truth.difficult)
        return (
            f"{counts['train']} images with {objects} objects to train on, "
            f"{counts['validation']} to validate, {counts['test']} to test"
        )

    def read_test(
        self, options: Options, hyper: Mapping[str, Any], source: Path, data: Images | None
    ) -> Images:
        """The test images; InputError for another input size or other classes than the detector has."""
        from data.augment import eval_transform
        from data.detection import DetectionDataset

        if data is not None:
            return data
        classes, size = tuple(hyper["classes"]), hyper["input_size"]
        if size != options.data.input_size:
            expected = f"{size}, as {source} was trained"
            raise InputError("--input-size", str(options.data.input_size), expected)
        truth, similar = read_test_data(options.data)
        if truth.classes != classes:
            expected = f"those of the data: {', '.join(truth.classes)}"
            raise InputError(source, f"classes {', '.join(classes)}", expected)
        return Images(None, None, DetectionDataset(truth, eval_transform(size)), similar)

    def test_facts(self, options: Options, test: Images) -> dict[str, Any]:
        """Number and lists of the test images."""
        return {"images": {"test": len(test.test)}, "test": options.data.test_lists}

    def score(
        self,
        network: nn.Module,
        options: Options,
        hyper: Mapping[str, Any],
        test: Images,
        report: Report,
        device: torch.device,
    ) -> Diagnosis:
        """Detections, scores and diagnosis."""
        from diagnosis import sentences, table
        from training.tasks.detection_evaluation import detect, write_report

        images = test.test
        found = detect(
            network,
            self.loader(images, options, options.optimization.batch_size, train=False, device=device),
            images.truth,
            options.evaluation,
            device=device,
            precision=options.machine.precision,
            channels_last=options.machine.channels_last,
        )
        diagnosis = write_report(
            found, images.truth, test.similar, report.out, name=report.name, provenance=report.facts,
            sheet=options.evaluation.sheet,
        )  # fmt: skip
        print("\n".join(["", table([diagnosis]), "", *sentences([diagnosis]), ""]))
        files = {"scores": "scores.json", "detections": "detections", "diagnosis": "diagnosis"}
        print("\n".join(f"{what}: {report.out / file}" for what, file in files.items()), flush=True)
        return diagnosis


DETECTION = DetectionTask()


def main(arguments: Sequence[str] | None = None) -> int:
    """Run ``train_detect.py``; returns the exit code."""
    return run_command(DETECTION, arguments)
