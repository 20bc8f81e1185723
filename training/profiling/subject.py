"""What is profiled: a trained network, and how it is scored. Made of a checkpoint, or of weights."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

import torch
from torch import nn

from training.checkpoint import read_checkpoint
from training.run_state import RunFolder, stored_options

__all__ = ["KeptBatches", "Subject", "checkpoint_of", "digest", "options_of_run"]

MEMORY = 4 << 30  # bytes of decoded images that are kept from one pass to the next

BatchT = TypeVar("BatchT", bound=Mapping[str, Any])


@dataclass(frozen=True)
class Subject:
    """What is profiled."""

    name: str
    """Of the network, for people."""
    network: nn.Module
    """In evaluation mode, with nothing shuffled."""
    evaluate: Callable[[nn.Module], Mapping[str, float]]
    """Scores it: fractions by name, the most important one first."""
    chance: Mapping[str, float]
    """What guessing would score, where that is known."""
    images: int
    """How many it is scored on."""
    source: str
    """Which they are, for people: ``validation images of cifar100``."""
    example: int | tuple[int, int]
    """Size of the images, in pixels."""
    out: Path
    """Where its profile goes unless told otherwise."""
    configuration: Mapping[str, Any]
    """What its numbers depend on, ready for JSON."""


def checkpoint_of(named: str) -> tuple[Path, Mapping[str, Any]]:
    """The checkpoint that is meant by a file or by the folder of a run, and its hyper-parameters.

    Raises
    ------
    InputError
        There is none, or it is none of this package.
    """
    path = Path(named)
    if path.is_dir():
        folder = RunFolder(path)
        path = folder.best if folder.best.is_file() else folder.last
    content = read_checkpoint(
        path, "train_classify.py or train_detect.py", {"model": Mapping, "classes": list}
    )
    return path, content["hyper_parameters"]


def options_of_run(checkpoint: Path, given: Mapping[str, Any]) -> dict[str, Any]:
    """The options of a checkpoint's run, as far as they are known, with those that are given over them."""
    return stored_options(RunFolder.of(checkpoint)) | {
        name: value for name, value in given.items() if value is not None
    }


def digest(network: nn.Module) -> str:
    """A checksum of a network's weights, whichever file they are from."""
    total = hashlib.sha256()
    for name, value in network.state_dict().items():
        total.update(name.encode())
        total.update(value.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy())
    return total.hexdigest()


class KeptBatches(Generic[BatchT]):
    """Batches that are decoded once and kept, as far as memory allows: each pass sees the same ones.

    Parameters
    ----------
    loader
        Yields the same batches each time.
    memory
        Bytes of images to keep. Of more, all are read again in each pass.

    Examples
    --------
    >>> batches = [{"images": torch.zeros(2, 3, dtype=torch.uint8)}]
    >>> [batch["images"].shape for batch in KeptBatches(batches)]
    [torch.Size([2, 3])]
    """

    def __init__(self, loader: Iterable[BatchT], memory: int = MEMORY) -> None:
        self._loader, self._memory = loader, memory
        self._kept: list[BatchT] | None = None

    def __iter__(self) -> Iterator[BatchT]:
        """The batches, in order."""
        if self._kept is not None:
            yield from self._kept
            return
        kept: list[BatchT] = []
        free = self._memory
        for batch in self._loader:
            free -= batch["images"].numel() * batch["images"].element_size()
            if free >= 0:
                kept.append(batch)
            else:
                kept.clear()
            yield batch
        if free >= 0:
            self._kept = kept
