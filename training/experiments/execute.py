"""Runs carried out by a launcher, one word on each as it ends."""

from __future__ import annotations

import fcntl
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from data.records import InputError
from training.experiments.cost import duration
from training.experiments.jobs import make_jobs, runs_folder
from training.experiments.plan import Run
from training.folder import make_folder
from training.launch import Launcher, LocalLauncher, Outcome

__all__ = ["execute"]


def execute(
    runs: Sequence[Run], out: Path, *, on: str, parallel: int, address: str | None
) -> tuple[dict[str, str], int]:
    """Carry runs out that are not done.

    Parameters
    ----------
    runs
        Which.
    out
        Folder of runs and results.
    on
        ``local``, ``ray`` or ``slurm``.
    parallel
        How many at a time.
    address
        Of a Ray cluster.

    Returns
    -------
    failed
        The name of each run that failed or was skipped, and why.
    stopped
        The signal that ended it, or 0.

    Raises
    ------
    InputError
        Another process executes runs in the same folder, or the launcher cannot be had.
    """
    make_folder(out)
    launcher = make_launcher(on, parallel, address)
    jobs = make_jobs(runs, runs_folder(out))
    failed: dict[str, str] = {}
    ended = 0

    def report(outcome: Outcome) -> None:
        nonlocal ended
        ended += 1
        words = f"[{ended}/{len(jobs)}] {outcome.state}"
        took = f" in {duration(outcome.seconds)}" if outcome.state == "done" else ""
        why = f"\n    {outcome.message}" if outcome.message else ""
        print(f"{words}{took}: {outcome.name}{why}", flush=True)
        if outcome.state in ("failed", "skipped"):
            failed[outcome.name] = outcome.message

    with alone(out):
        outcomes = launcher.run(jobs, report)
    stopped = any(outcome.state == "stopped" for outcome in outcomes)
    return failed, (launcher.stopped_by or 2) if stopped else 0


def make_launcher(on: str, parallel: int, address: str | None) -> Launcher:
    """What carries jobs out; the clusters' launchers are imported where they are asked for."""
    if on == "ray":
        from training.launch.ray import RayLauncher

        return RayLauncher(address)
    if on == "slurm":
        from training.launch.slurm import SlurmLauncher

        return SlurmLauncher()
    return LocalLauncher(parallel)


@contextmanager
def alone(out: Path) -> Iterator[None]:
    """Keep a second command from making the same runs; the lock goes with the process."""
    file: TextIO
    with (out / ".lock").open("w", encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise InputError(
                "--out", f"another command that makes runs in {out}", "to wait for it, or another folder"
            ) from None
        except OSError as error:  # a file system without locks
            print(f"warning: {out} cannot be locked ({error.strerror})", file=sys.stderr)
        yield
