"""What distinguishes one training command from another; :mod:`training.run` is the same for all."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import numpy as np

from training.options import OptionGroups

if TYPE_CHECKING:  # torch takes seconds: --help and a misspelt option answer without it
    import torch
    from torch import nn

__all__ = ["Report", "Task", "Trained", "checksum"]


def checksum(*columns: Iterable[Any]) -> str:
    """Checksum of sequences of names or numbers, order included."""
    found = hashlib.sha256()
    for column in columns:
        array = np.asarray(column)
        if array.dtype.kind in "UO":
            array = np.frombuffer("\0".join(map(str, array)).encode(errors="surrogateescape"), np.uint8)
        found.update(f"{array.dtype} {array.shape}".encode() + array.tobytes())
    return found.hexdigest()


@dataclass(frozen=True)
class Report:
    """Where the results of scoring go, and what is printed and stored with them."""

    out: Path
    """The folder."""
    name: str
    """Name of the network in what is printed and drawn."""
    provenance: dict[str, Any]
    """What made the results: :func:`training.provenance.provenance`."""
    scored: dict[str, Any]
    """File and epoch of the checkpoint that was scored, as the scores store them."""


class Trained(NamedTuple):
    """A trained network and what belongs to it."""

    network: nn.Module
    """In evaluation mode."""
    hyper_parameters: dict[str, Any]
    """What was stored besides the weights; ``epoch``: epochs that it was trained for."""
    options: Any
    """The model options that it was made of."""


class Task(ABC):
    """A training command: its words, its options, and the steps of a run in which it differs from others.

    The data of a run are an object with ``train`` and ``validation`` (None: there is none), both sized. The
    hyperparameters are what a checkpoint stores besides the weights, so that the network can be built again.
    """

    script: ClassVar[str]
    """Its file."""
    description: ClassVar[str]
    """What it does, in a sentence or two."""
    options: ClassVar[type[OptionGroups]]
    """Its groups of options, among them `model`, `optimization`, `evaluation` and `machine`."""
    changeable: ClassVar[frozenset[str]]
    """Model options that an evaluation may change, as they have no weights."""
    resumable: ClassVar[frozenset[str]] = frozenset()
    """Options that may change when a run is resumed, besides those of ``training.run_state.RESUMABLE``."""
    evaluation_verb: ClassVar[str]
    """What ``--evaluate`` does with a checkpoint, for ``--help``."""
    changeable_in_words: ClassVar[str]
    """The options of `changeable`, for ``--help``."""
    name_help: ClassVar[str]
    """The help of ``--name``."""
    monitor: ClassVar[str]
    """The validation score that is largest for the best checkpoint."""
    hyper_parameter_types: ClassVar[Mapping[str, Any]]
    """Names and types of what a checkpoint stores besides the weights."""
    other_weights: ClassVar[str]
    """What is wrong with a checkpoint whose weights do not fit."""
    batch_advice: ClassVar[str] = "lower it"
    """What to do where there are fewer images than a batch has."""

    @abstractmethod
    def default_name(self, options: Any) -> str:
        """A folder name that tells runs apart: the same for every process of a run."""

    def complete_changes(self, changes: Mapping[str, Any]) -> dict[str, Any]:
        """The changes of an evaluation, with the model options that they imply."""
        return dict(changes)

    @abstractmethod
    def check_changes(self, trained: Mapping[str, Any], changes: Mapping[str, Any], checkpoint: Path) -> None:
        """Raise InputError for changes that the trained model does not allow."""

    def validated_on(self, options: Any) -> str:
        """Which images choose the best checkpoint, in words."""
        return "validation images"

    @abstractmethod
    def check_data_exists(self, options: Any) -> None:
        """Raise InputError for data that are not where the options say; torch is not imported."""

    @abstractmethod
    def read(self, options: Any) -> Any:
        """The data of a run; InputError for anything wrong with them."""

    @abstractmethod
    def verify(self, options: Any) -> None:
        """Read all data, decode all images; print what is odd or wrong, and raise InputError for an error."""

    @abstractmethod
    def describe(self, options: Any, data: Any) -> dict[str, Any]:
        """The hyperparameters of a run but for its model options, which are stored with them."""

    @abstractmethod
    def build(self, options: Any, hyper_parameters: Mapping[str, Any]) -> nn.Module:
        """The network of model options; InputError for weights or layers that do not fit."""

    @abstractmethod
    def expected_hyper_parameters(self, options: Any) -> dict[str, Any]:
        """What :meth:`describe` says before the data are read, as far as a network's layers depend on it."""

    def check_network(self, options: Any) -> None:
        """Raise InputError for layers that the network does not have, before the data are read."""
        if not options.model.is_modified:
            return
        import torch  # late, as above

        with torch.device("meta"):  # without memory and draws
            self.build(replace(options.model, weights="none"), self.expected_hyper_parameters(options))

    @abstractmethod
    def make_module(self, network: Any, options: Any, data: Any, hyper_parameters: Mapping[str, Any]) -> Any:
        """The network as it is trained: a :class:`~training.module.TrainingModule`."""

    @abstractmethod
    def make_loader(
        self, images: Any, options: Any, batch_size: int, *, train: bool, device: torch.device, **ranks: int
    ) -> Any:
        """Batches of images, `batch_size` on each of the processes (`ranks`: ``rank``, ``world_size``)."""

    @abstractmethod
    def checksums(self, data: Any) -> dict[str, str]:
        """Checksums of parts of the data, by their names in words. A resumed run must have the same."""

    @abstractmethod
    def image_counts(self, data: Any) -> dict[str, int]:
        """Numbers of images, for provenance.json."""

    @abstractmethod
    def summary_line(self, network: nn.Module, options: Any, data: Any) -> str:
        """What a run trains, in a line."""

    @abstractmethod
    def read_test(self, options: Any, hyper_parameters: Mapping[str, Any], source: Path, data: Any) -> Any:
        """The test images, after training with `data` or for a checkpoint alone, which is `source`."""

    @abstractmethod
    def test_facts(self, options: Any, test: Any) -> dict[str, Any]:
        """What provenance.json says about the test images of an evaluation."""

    @abstractmethod
    def score(self, trained: Trained, options: Any, test: Any, report: Report, device: torch.device) -> Any:
        """Score on the test images in one process, write the results and print them."""
