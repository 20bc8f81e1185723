"""One sitting of a run: begun anew or resumed, trained, recorded in the run's folder."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import lightning as L
import yaml
from torch import nn

from data.formats.files import read_text, write_text
from data.records import InputError
from training.folder import RunFolder, make_folder
from training.options import OptionGroups, option_of
from training.trainer import explained, is_first_process

__all__ = ["Sitting"]

RESUMABLE = frozenset(
    {
        "accelerator", "channels_last", "compile", "deterministic", "devices", "epochs", "max_steps",
        "passes", "precision", "root", "validate_every", "weights", "workers",
    }
)  # fmt: skip
"""Options that may change when a run is resumed: they do not change what it computes, or extend it."""


@dataclass(frozen=True)
class Sitting:
    """One sitting of a run.

    Parameters
    ----------
    folder
        Of the run.
    resume
        The checkpoint it goes on from, or None.
    state
        The content of that checkpoint.
    """

    folder: RunFolder
    resume: Path | None
    state: dict[str, Any] | None

    @classmethod
    def begin(
        cls,
        options: OptionGroups,
        out: Path,
        resume: Path | None,
        read_checkpoint: Callable[[Path], dict[str, Any]],
        resumable: frozenset[str] = frozenset(),
    ) -> Self:
        """Check that the run may begin or go on.

        Parameters
        ----------
        options
            All of them.
        out
            Folder of the run.
        resume
            A checkpoint to go on from.
        read_checkpoint
            How to read it.
        resumable
            Options that may differ from those the run was started with, besides those that any command has.

        Raises
        ------
        InputError
            A run is there already; the checkpoint cannot be gone on from; options differ from the run's.
        """
        folder = RunFolder(out)
        if resume is None:
            if folder.last.exists() and is_first_process():
                raise InputError(
                    out, "a run that has begun", "--resume to go on with it, or another --out for a new one"
                )
            return cls(folder, None, None)
        state = read_checkpoint(resume)
        if "global_step" not in state:
            raise InputError(resume, "weights without the state of a training", "a last.ckpt or best.ckpt")
        run = RunFolder.of(resume)
        before = stored_options(run)
        for name, value in options.flat().items():
            if name in before and name not in RESUMABLE | resumable and before[name] != value:
                raise InputError(
                    option_of(name),
                    f"{value!r}",
                    f"{before[name]!r}, with which {run.path} was started: leave it, or start a new run",
                )
        return cls(folder, resume, state)

    @property
    def steps(self) -> int:
        """Steps that are done."""
        return int(self.state["global_step"]) if self.state is not None else 0

    def check_epochs(self, epochs: int, steps_per_epoch: int) -> None:
        """Raise InputError where more epochs are done than the run is to have."""
        done = self.steps // max(steps_per_epoch, 1)
        if epochs < done:
            raise InputError("--epochs", str(epochs), f"at least the {done} that are done")

    def make_folder(self) -> None:
        """Make the run's folder."""
        make_folder(self.folder.checkpoints)

    def record(self, options: OptionGroups, facts: dict[str, Any]) -> None:
        """Write the options, and where the result comes from, below what earlier sittings left."""
        write_text(self.folder.config, yaml.safe_dump(options.flat(), sort_keys=False))
        history = _history(self.folder) if self.resume else []
        write_text(self.folder.path / "provenance.json", json.dumps([*history, facts], indent=1))

    def fit(self, trainer: L.Trainer, module: L.LightningModule, loaders: L.LightningDataModule) -> None:
        """Train."""
        with explained():
            trainer.fit(module, datamodule=loaders, ckpt_path=self.resume, weights_only=True)

    def load_best(
        self,
        model: nn.Module,
        read_checkpoint: Callable[[Path], dict[str, Any]],
        load: Callable[[Any, dict[str, Any], Path], None],
    ) -> dict[str, Any] | None:
        """Put the weights that are best on the validation images into the model, and say so.

        Returns
        -------
        dict or None
            The content of that checkpoint; None where nothing was validated: the model is in its last state.
        """
        if not self.folder.best.is_file():
            print("no validation took place: scoring the last state", flush=True)
            return None
        content = read_checkpoint(self.folder.best)
        load(model, content["state_dict"], self.folder.best)
        print(f"scoring the checkpoint that is best on the validation images: {self.folder.best}", flush=True)
        return content


def stored_options(folder: RunFolder) -> dict[str, Any]:
    """The options that a run was started with; none where they are not known."""
    if not folder.config.is_file():
        return {}
    try:
        stored = yaml.safe_load(read_text(folder.config, "the options of the run"))
    except yaml.YAMLError:
        stored = None
    if not isinstance(stored, dict):
        raise InputError(folder.config, "no options", "those of the run, one in each line, or no such file")
    return stored


def _history(folder: RunFolder) -> list[dict[str, Any]]:
    """The provenance of the run's earlier sittings."""
    file = folder.path / "provenance.json"
    return list(json.loads(file.read_text())) if file.is_file() else []
