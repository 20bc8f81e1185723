"""Runs carried out by a launcher, one word on each as it ends."""

from __future__ import annotations

import fcntl
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, TextIO

from data.records import InputError
from training.experiments.cost import duration
from training.experiments.jobs import Needs, make_jobs, runs_folder
from training.experiments.plan import Run
from training.launch import Launcher, LocalLauncher, Outcome, RayLauncher
from training.run_state import make_folder

__all__ = ["Where", "alone", "execute"]


@dataclass(frozen=True)
class Where:
    """Where runs are executed."""

    on: Literal["local", "ray", "slurm"] = "local"
    parallel: int | None = None
    """Runs at a time; None: one on this machine, on a cluster as many as it likes."""
    address: str | None = None
    """Of a Ray cluster; None: one on this machine."""
    partition: str | None = None
    """Of Slurm."""
    time_limit: str | None = None
    """Of a run under Slurm."""
    needs: Needs = field(default_factory=Needs)


def execute(runs: Sequence[Run], out: Path, where: Where) -> tuple[dict[str, str], int]:
    """Carry runs out that are not done.

    Parameters
    ----------
    runs
        Which.
    out
        Folder of runs and results.
    where
        On which machines.

    Returns
    -------
    failed
        The name of each run that failed or was skipped, and why; or that a cluster has and nobody waits for.
    stopped
        The signal that ended it, or 0.

    Raises
    ------
    InputError
        Another process executes runs in the same folder, or the launcher cannot be had.
    """
    make_folder(out)
    launcher = make_launcher(where, out)
    jobs = make_jobs(runs, runs_folder(out), where.needs)
    failed: dict[str, str] = {}
    ended = 0

    def report(outcome: Outcome) -> None:
        nonlocal ended
        ended += 1
        words = f"[{ended}/{len(jobs)}] {outcome.state}"
        took = f" in {duration(outcome.seconds)}" if outcome.state == "done" else ""
        why = f"\n    {outcome.message}" if outcome.message else ""
        print(f"{words}{took}: {outcome.name}{why}", flush=True)
        if outcome.state in ("failed", "skipped", "submitted"):
            failed[outcome.name] = outcome.message or outcome.state

    with alone(out):
        outcomes = launcher.run(jobs, report)
    stopped = any(outcome.state == "stopped" for outcome in outcomes)
    return failed, (launcher.stopped_by or 2) if stopped else 0


def make_launcher(where: Where, out: Path) -> Launcher:
    """What carries jobs out."""
    if where.on == "ray":
        return RayLauncher(where.address, parallel=where.parallel)
    if where.on == "slurm":
        from training.launch.slurm import SlurmLauncher

        return SlurmLauncher(
            out / "slurm",
            partition=where.partition,
            time_limit=where.time_limit,
            parallel=where.parallel,
        )
    return LocalLauncher(where.parallel or 1)


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
