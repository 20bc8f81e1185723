"""The images of a classification run, and their loaders."""

from __future__ import annotations

import lightning as L
import torch

from data.classification import ClassificationData, classification_loader, read_classification
from data.image_batches import ClassificationBatch
from data.image_set import ImageFiles, ImageSet
from data.loader import EpochLoader
from training.classification.options import DataOptions, Options
from training.options import check_batch_size

__all__ = ["ClassificationLoaders", "image_size_of", "read_training_images"]


def read_training_images(options: DataOptions, seed: int) -> ClassificationData:
    """The images to train on and to validate on; no test image is read.

    Raises
    ------
    InputError
        Anything wrong with the folder or what is in it.
    """
    return read_classification(
        options.data, options.root, validation=options.validation, fraction=options.fraction, seed=seed
    )


def image_size_of(images: ImageSet | ImageFiles, input_size: int) -> int:
    """Side of the images that the network gets, in pixels."""
    return images.images.shape[2] if isinstance(images, ImageSet) else input_size


class ClassificationLoaders(L.LightningDataModule):
    """Loaders of a run. Small data sets are kept whole on the device of the process.

    Parameters
    ----------
    data
        Images.
    options
        Of the run, resolved.
    """

    def __init__(self, data: ClassificationData, options: Options) -> None:
        super().__init__()
        self.data = data
        self.options = options
        self.batch_size = int(options.optimization.batch_size or 0)

    def check(self, world_size: int) -> None:
        """Raise InputError for a batch that cannot be shared, or that the images do not fill."""
        check_batch_size(self.batch_size, len(self.data.train), world_size, "lower it, or raise --fraction")

    def _loader(self, images: ImageSet | ImageFiles, *, train: bool) -> EpochLoader[ClassificationBatch]:
        world_size = self.trainer.world_size if self.trainer else 1
        rank = self.trainer.global_rank if self.trainer else 0
        device = self.trainer.strategy.root_device if self.trainer else torch.device("cpu")
        return classification_loader(
            images,
            self.batch_size // world_size,
            train=train,
            augment=train and self.options.data.augment,
            seed=self.options.optimization.seed,
            size=self.options.data.input_size,
            device=device,
            workers=self.options.machine.workers,
            rank=rank,
            world_size=world_size,
        )

    def train_dataloader(self) -> EpochLoader[ClassificationBatch]:
        """Training batches, augmented, in an order of each epoch's own."""
        return self._loader(self.data.train, train=True)

    def val_dataloader(self) -> EpochLoader[ClassificationBatch] | list[EpochLoader[ClassificationBatch]]:
        """Validation batches, in order; an empty list where nothing is held out."""
        return [] if self.data.validation is None else self._loader(self.data.validation, train=False)
