"""A command with the folder it works in, how it ended, and what carries such commands out."""

from __future__ import annotations

import signal
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple, Protocol, TypedDict

from data.records import InputError

__all__ = ["Job", "Launcher", "Outcome", "Record", "check_jobs", "outcome_of"]

State = Literal["done", "failed", "skipped", "stopped", "submitted"]
LOG = "output.log"


@dataclass(frozen=True)
class Job:
    """A command that does one piece of work in a folder of its own.

    Parameters
    ----------
    name
        Unique among the jobs that are launched together.
    command
        The arguments, from the program on.
    folder
        The run's. All that the command prints is added to its ``output.log``.
    after
        Names of the jobs that have to be done before.
    gpus
        How many it needs; 0.25 where four can share one.
    cpus
        How many it needs.
    resume
        What to carry out instead once ``checkpoints/last.ckpt`` is in the folder. Empty: `command` again.
    """

    name: str
    command: tuple[str, ...]
    folder: Path
    after: tuple[str, ...] = ()
    gpus: float = 0.0
    cpus: float = 1.0
    resume: tuple[str, ...] = ()

    def plan(self, directory: Path) -> dict[str, Any]:
        """What ``supervise.py`` has to know, for JSON; `directory` is where the command is carried out."""
        return {
            "name": self.name,
            "command": self.command,
            "resume": self.resume,
            "folder": str(directory / self.folder),
            "directory": str(directory),
        }


class Outcome(NamedTuple):
    """How a job ended."""

    name: str
    state: State
    """``stopped``: a signal came, and it goes on from its last checkpoint when it is launched again.
    ``skipped``: a job that it waits for is not done. ``submitted``: a cluster has it, and nobody waits."""
    seconds: float
    message: str
    """What the job said last and where the rest is; empty for one that is done."""


class Launcher(Protocol):
    """Carries jobs out."""

    stopped_by: int
    """The signal that ended the last :meth:`run`, or 0."""

    def run(self, jobs: Sequence[Job], report: Callable[[Outcome], None]) -> list[Outcome]:
        """Carry jobs out, each after those it waits for.

        A job that fails is reported and takes no other with it but those that wait for it. On SIGINT or
        SIGTERM all jobs are asked to save their state, and waited for; a second signal kills them.

        Parameters
        ----------
        jobs
            With names of their own, and folders of their own.
        report
            Called with each outcome as soon as it is known.

        Returns
        -------
        list of Outcome
            In the order of `jobs`.

        Raises
        ------
        InputError
            Jobs of one name or one folder, or that wait for each other or for one that is not there; what
            carries them out cannot be reached.
        """
        ...


class Record(TypedDict):
    """How a command ended, as ``supervise.py`` tells it."""

    code: int
    """The exit code; negative: the signal that killed it."""
    seconds: float
    message: str


def check_jobs(jobs: Sequence[Job]) -> None:
    """Raise InputError unless all can be carried out in some order."""
    names = [job.name for job in jobs]
    for what, values in (("name", names), ("folder", [str(job.folder.resolve()) for job in jobs])):
        twice = next((value for value in values if values.count(value) > 1), None)
        if twice is not None:
            raise InputError("jobs", f"two of the {what} {twice}", f"a {what} for each")
    missing = next(((job.name, name) for job in jobs for name in job.after if name not in names), None)
    if missing is not None:
        raise InputError(f"job {missing[0]}", f"after: {missing[1]}", "one of the jobs launched with it")
    left = {job.name: set(job.after) for job in jobs}
    while free := [name for name, before in left.items() if not before & left.keys()]:
        for name in free:
            del left[name]
    if left:
        raise InputError(
            "jobs", f"{', '.join(left)}: each waits for another of them", "an order to do them in"
        )


def outcome_of(job: Job, record: Record | None, *, asked: bool = False) -> Outcome:
    """The outcome of a job.

    Parameters
    ----------
    job
        Which.
    record
        How its command ended, or None where nothing is known of that.
    asked
        Whether it was asked to stop.

    Examples
    --------
    >>> job = Job("seed-0", ("python", "train.py"), Path("runs/seed-0"))
    >>> outcome_of(job, {"code": 2, "seconds": 1.5, "message": "error: no data"}).message
    'error: no data (exit code 2; runs/seed-0/output.log)'
    """
    log = job.folder / LOG
    if record is None:
        what = "its process was killed before it began" if asked else "its process was killed"
        return Outcome(job.name, "stopped" if asked else "failed", 0.0, f"{what}; {log}")
    code = record["code"]
    if code == 0:
        return Outcome(job.name, "done", record["seconds"], "")
    number = -code if code < 0 else code - 128
    gently = number in (signal.SIGINT, signal.SIGTERM)
    how = f"killed by {signal.Signals(number).name}" if code < 0 else f"exit code {code}"
    message = f"{record['message']} ({how}; {log})".lstrip()
    return Outcome(
        job.name, "stopped" if gently or (asked and code < 0) else "failed", record["seconds"], message
    )
