"""The images of a detection run: training, validation and test, and their loaders."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import lightning as L
import numpy as np

from data.augment import Augmentation, eval_transform, train_transform
from data.detection import Batch, DetectionDataset, EpochLoader, detection_loader, split_validation
from data.formats import guard_test_set, read_classes, read_voc, voc_folder
from data.records import GroundTruth, InputError
from training.detection.options import DataOptions
from training.options import check_batch_size

__all__ = ["DetectionData", "RunData", "read_run_data", "read_test_data"]

SHAPES_ROOT = Path("runs/shapes")


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
    test, similar = read_test_data(options)
    root = data_root(options)
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
    """The test images' ground truth and the groups of similar classes; no training data need be there.

    Raises
    ------
    InputError
        Anything wrong with the lists or annotations.
    """
    root = data_root(options)
    folder, _ = voc_folder(root, options.test_lists[0])
    return read_voc(root, options.test_lists), read_classes(folder).similar


def data_root(options: DataOptions) -> Path:
    """The folder of the VOC trees; the shapes are drawn where they are absent."""
    if options.data == "shapes":
        from data.shapes import write_shapes

        return write_shapes(Path(options.root or SHAPES_ROOT)).parent
    root = Path(str(options.root))
    if not root.is_dir():
        raise InputError(
            f"--root {root}", "no such folder", "the VOCdevkit folder that holds VOC2007, VOC2012 …"
        )
    return root


class DetectionData(L.LightningDataModule):
    """Loaders of a run.

    Parameters
    ----------
    data
        Ground truth.
    options
        Input size and augmentation.
    batch_size
        Images of a step, over all processes.
    seed
        Of order and augmentation.
    workers
        Processes that load images, for each training process.

    Raises
    ------
    InputError
        A list without images, an image file that is not there.
    """

    def __init__(
        self, data: RunData, options: DataOptions, *, batch_size: int, seed: int, workers: int
    ) -> None:
        super().__init__()
        self.batch_size = batch_size
        self.seed = seed
        self.workers = workers
        strength = Augmentation(min_visibility=options.min_visible)
        evaluate = eval_transform(options.input_size)
        augment = train_transform(options.input_size, strength, seed) if options.augment else evaluate
        self.train = DetectionDataset(data.train, augment)
        self.validation = DetectionDataset(data.validation, evaluate) if data.validation else None
        self.test = DetectionDataset(data.test, evaluate)

    def check(self, world_size: int) -> None:
        """Raise InputError for a batch that cannot be shared, or that the images do not fill."""
        check_batch_size(self.batch_size, len(self.train), world_size, "lower it")

    def _loader(self, dataset: DetectionDataset, *, train: bool) -> EpochLoader[Batch]:
        world_size = self.trainer.world_size if self.trainer else 1
        rank = self.trainer.global_rank if self.trainer else 0
        return detection_loader(
            dataset,
            self.batch_size // world_size,
            seed=self.seed,
            train=train,
            workers=self.workers,
            rank=rank,
            world_size=world_size,
            pin_memory=self.trainer is not None and self.trainer.strategy.root_device.type == "cuda",
        )

    def train_dataloader(self) -> EpochLoader[Batch]:
        """Training batches, augmented, in an order of each epoch's own."""
        return self._loader(self.train, train=True)

    def val_dataloader(self) -> EpochLoader[Batch] | list[EpochLoader[Batch]]:
        """Validation batches, in order; an empty list where nothing is held out."""
        return [] if self.validation is None else self._loader(self.validation, train=False)


def object_count(truth: GroundTruth) -> int:
    """Number of objects that are not difficult."""
    return int(np.count_nonzero(~truth.difficult))
