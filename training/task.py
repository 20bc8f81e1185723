"""What distinguishes one training command from another; the rest of this package is the same for both."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, cast

from training.options import OptionGroups

__all__ = ["Runs", "Task"]


class Runs(Protocol):
    """What a task's module of runs has."""

    def default_name(self, options: Any) -> str:
        """A folder name that tells runs apart."""

    def train(self, options: Any, out: Path, *, resume: Path | None, name: str | None) -> object:
        """Train, then score."""

    def evaluate(
        self, options: Any, checkpoint: Path, out: Path, *, overrides: dict[str, Any], name: str | None
    ) -> object:
        """Score a checkpoint, with some of its model options changed."""

    def read_checkpoint(self, path: Path) -> dict[str, Any]:
        """The content of a checkpoint."""


def _as_given(changes: Mapping[str, Any]) -> dict[str, Any]:
    return dict(changes)


@dataclass(frozen=True)
class Task:
    """A training command."""

    script: str
    """Its file."""
    description: str
    """What it does, in a sentence or two."""
    options: type[OptionGroups]
    """Its options; one of the groups is `model`."""
    module: str
    """Where its runs are. Imported late, as torch takes seconds: ``--help`` answers at once."""
    changeable: frozenset[str]
    """Model options that an evaluation may change, as they have no weights."""
    scoring: str
    """What is done with a checkpoint, for ``--help``."""
    changing: str
    """`changeable` in words."""
    naming: str
    """The help of ``--name``."""
    complete: Callable[[Mapping[str, Any]], dict[str, Any]] = _as_given
    """From the changes that are asked for to all that follow from them."""

    @property
    def runs(self) -> Runs:
        """The module of its runs."""
        return cast(Runs, importlib.import_module(self.module))
