"""The folder of a run, and whether the run there begins or is resumed."""

from __future__ import annotations

import json
import os
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import yaml

from data.formats.files import parse_yaml, read_text, write_text
from data.records import InputError
from training.options import OptionGroups, option_of
from training.task import Task

__all__ = [
    "RunFolder",
    "RunState",
    "is_global_zero",
    "is_local_zero",
    "make_folder",
    "print_once",
    "stored_options",
]

SECONDS_TO_PRINT = 10.0
"""How long the other processes of a machine leave the first one to print an error that all of them found."""

RESUMABLE = frozenset(
    {
        "accelerator", "channels_last", "compile", "deterministic", "devices", "epochs", "max_steps",
        "passes", "precision", "root", "validate_every", "weights", "workers",
    }
)  # fmt: skip
"""Options that may change when a run is resumed: they do not change what it computes, or extend it."""


def is_global_zero() -> bool:
    """Whether this is the process that writes files; known before there is a trainer."""
    from lightning.pytorch.utilities import rank_zero_only

    return int(rank_zero_only.rank) == 0  # type: ignore[attr-defined]


def is_local_zero() -> bool:
    """Whether this is the first process of the run on this machine (torchrun's LOCAL_RANK)."""
    return int(os.environ.get("LOCAL_RANK", "0")) == 0


def print_once(error: str) -> None:
    """Print an error that every process of the machine has found, in the first of them alone.

    A launcher ends all processes with the first that fails, so the others wait until this one has printed.
    """
    if is_local_zero():
        print(error, file=sys.stderr, flush=True)
    else:
        time.sleep(SECONDS_TO_PRINT)


@dataclass(frozen=True)
class RunFolder:
    """The folder of a run."""

    path: Path

    @property
    def config(self) -> Path:
        """The resolved options, as YAML that ``--config`` takes."""
        return self.path / "config.yaml"

    @property
    def provenance(self) -> Path:
        """Where the result comes from, an entry each time the run was begun or resumed."""
        return self.path / "provenance.json"

    @property
    def last(self) -> Path:
        """The checkpoint to resume from."""
        return self.path / "checkpoints" / "last.ckpt"

    @property
    def best(self) -> Path:
        """The checkpoint that is best on the validation images."""
        return self.path / "checkpoints" / "best.ckpt"

    @property
    def best_or_last(self) -> Path:
        """The best checkpoint; of a run without validation the last."""
        return self.best if self.best.is_file() else self.last

    @staticmethod
    def of(path: Path) -> RunFolder:
        """The run that a folder or a checkpoint belongs to; of a checkpoint that lies elsewhere, its folder.

        Examples
        --------
        >>> paths = "runs/a/checkpoints/best.ckpt", "runs/a", "b.ckpt"
        >>> [str(RunFolder.of(Path(path)).path) for path in paths]
        ['runs/a', 'runs/a', '.']
        """
        if path.suffix != ".ckpt" and not path.is_file():
            return RunFolder(path)
        return RunFolder(path.parent.parent if path.parent.name == "checkpoints" else path.parent)


def make_folder(folder: Path) -> None:
    """Make a folder, with those above it."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(folder, error.strerror or "an error", "a folder to write to, by --out") from None


def stored_options(folder: RunFolder) -> dict[str, Any]:
    """The options that a run was started with; none where they are not known."""
    if not folder.config.is_file():
        return {}
    text = read_text(folder.config, "the options of the run")
    stored = parse_yaml(folder.config, text, "the options of the run")
    if not isinstance(stored, dict):
        raise InputError(folder.config, "no options", "those of the run, one in each line, or no such file")
    return stored


@dataclass(frozen=True)
class RunState:
    """A run that begins or is resumed."""

    folder: RunFolder
    resume: Path | None
    """The checkpoint that it is resumed from, or None."""
    checkpoint: dict[str, Any] | None
    """The content of that checkpoint."""

    @classmethod
    def begin(cls, task: Task, options: OptionGroups, out: Path, resume: Path | None) -> Self:
        """Check that a run may begin in the folder `out`, or be resumed from the checkpoint `resume`.

        Raises
        ------
        InputError
            A run is there already; the checkpoint cannot be resumed from; options differ from the run's.
        """
        folder = RunFolder(out)
        if resume is None:
            if folder.last.exists() and is_global_zero():
                expected = "--resume to go on with it, or another --out for a new one"
                raise InputError(out, "a run that has begun", expected)
            return cls(folder, None, None)
        from training.checkpoint import read_checkpoint

        checkpoint = read_checkpoint(resume, task.script, task.hyper_parameters)
        if "global_step" not in checkpoint:
            raise InputError(resume, "weights without the state of a training", "a last.ckpt or best.ckpt")
        run = RunFolder.of(resume)
        before = stored_options(run)
        for name, value in options.flat().items():
            if name in before and name not in RESUMABLE | task.resumable and before[name] != value:
                expected = (
                    f"{before[name]!r}, with which {run.path} was started: leave it, or start a new run"
                )
                raise InputError(option_of(name), f"{value!r}", expected)
        return cls(folder, resume, checkpoint)

    @property
    def steps(self) -> int:
        """Steps that are done."""
        return int(self.checkpoint["global_step"]) if self.checkpoint is not None else 0

    def check_epochs(self, epochs: int, steps_per_epoch: int) -> None:
        """Raise InputError where more epochs are done than the run is to have."""
        done = self.steps // max(steps_per_epoch, 1)
        if epochs < done:
            raise InputError("--epochs", str(epochs), f"at least the {done} that are done")

    def record(self, options: OptionGroups, facts: dict[str, Any]) -> None:
        """Write the options; add where the result comes from to what is recorded of a resumed run."""
        file = self.folder.provenance
        history = json.loads(file.read_text()) if self.resume and file.is_file() else []
        write_text(self.folder.config, yaml.safe_dump(options.flat(), sort_keys=False))
        write_text(file, json.dumps([*history, facts], indent=1))
