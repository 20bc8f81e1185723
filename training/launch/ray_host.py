"""What a Ray worker does for one job: it holds the command's supervisor, where the cluster has placed it."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from training.launch.job import Record
from training.launch.local import end_of, start

__all__ = ["MARK", "SMALL", "JobHost"]

MARK = ".launched"
"""A file by which a worker sees whether the job's folder is the launcher's own."""

SMALL = 4_000_000
"""Bytes; larger files than this stay on a machine that does not share its folders."""


class JobHost:
    """Carries one job out; as an actor with two threads, one to wait in and one to be told of signals."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._folder = Path()
        self._shared = True

    def begin(self, plan: Mapping[str, Any], mark: str) -> None:
        """Start the job's command.

        Parameters
        ----------
        plan
            :meth:`Job.plan <training.launch.job.Job.plan>`.
        mark
            What the launcher wrote into the file `MARK` of the job's folder.
        """
        self._folder = Path(plan["folder"])
        file = self._folder / MARK
        self._shared = file.is_file() and file.read_text() == mark
        self._process = start(plan, os.environ)

    def signal(self, number: int) -> None:
        """Hand a signal on to the command."""
        if self._process is not None:
            self._process.send_signal(number)

    def end(self) -> tuple[Record | None, dict[str, bytes]]:
        """Wait for the command to end.

        Returns
        -------
        Record or None
            How it ended, or None if its supervisor was killed.
        dict
            The small files of the folder by their paths in it, where the launcher does not see them itself.
        """
        assert self._process is not None
        record = end_of(self._process)
        return record, {} if self._shared else small_files(self._folder)


def small_files(folder: Path) -> dict[str, bytes]:
    """The contents of a run's files but for checkpoints and those above `SMALL` bytes, by relative path."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.suffix != ".ckpt" and path.stat().st_size <= SMALL
    }
