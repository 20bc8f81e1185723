"""Where everything of a run lies."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from data.records import InputError

__all__ = ["RunFolder", "make_folder"]


@dataclass(frozen=True)
class RunFolder:
    """The folder of a run."""

    path: Path

    @property
    def config(self) -> Path:
        """The resolved options, as YAML that ``--config`` takes."""
        return self.path / "config.yaml"

    @property
    def checkpoints(self) -> Path:
        """``last.ckpt`` and ``best.ckpt``."""
        return self.path / "checkpoints"

    @property
    def last(self) -> Path:
        """The checkpoint to go on from."""
        return self.checkpoints / "last.ckpt"

    @property
    def best(self) -> Path:
        """The checkpoint that is best on the validation images."""
        return self.checkpoints / "best.ckpt"

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
