"""Jobs and their outcomes, the order in which launchers execute them, and the launcher for this machine."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue
from typing import Any, Literal, NamedTuple, TypedDict, cast

from spatial_dependency import SIGNALS, on_signals
from training.launch import supervise

__all__ = ["Execution", "Job", "Launcher", "LocalLauncher", "Outcome", "Record", "Supervised", "outcome_of"]

State = Literal["done", "failed", "skipped", "stopped"]


@dataclass(frozen=True)
class Job:
    """A command that writes into its own folder.

    Parameters
    ----------
    name
        Unique among the jobs that are launched together.
    command
        The program and its arguments.
    folder
        Everything that the command prints is appended to ``output.log`` in it.
    after
        Names of the jobs that must be done first.
    gpus
        How many it needs; 0.25 where four jobs can share one.
    cpus
        How many it needs.
    resume
        The command to use instead once ``checkpoints/last.ckpt`` is in the folder. Empty: `command` again.
    """

    name: str
    command: tuple[str, ...]
    folder: Path
    after: tuple[str, ...] = ()
    gpus: float = 0.0
    cpus: float = 1.0
    resume: tuple[str, ...] = ()

    def plan(self, directory: Path) -> dict[str, Any]:
        """The argument of ``supervise.py``, for JSON; `directory` is the working directory of the command."""
        return {
            "command": self.command,
            "resume": self.resume,
            "folder": str(directory / self.folder),
            "directory": str(directory),
        }


class Outcome(NamedTuple):
    """How a job ended."""

    name: str
    state: State
    """``stopped``: by a signal; launched again, it continues from its last checkpoint.
    ``skipped``: a job that it depends on is not done."""
    seconds: float
    message: str
    """The error and the path of the log; empty for a job that is done."""


class Record(TypedDict):
    """How a command ended, as ``supervise.py`` reports it."""

    code: int
    """The exit code; negative: the signal that killed it."""
    seconds: float
    message: str


def outcome_of(job: Job, record: Record | None, *, asked: bool = False) -> Outcome:
    """The outcome of a job; `record` is None if its process was killed, `asked` if it was asked to stop."""
    log = job.folder / "output.log"
    if record is None:
        what = "its process was killed before it began" if asked else "its process was killed"
        return Outcome(job.name, "stopped" if asked else "failed", 0.0, f"{what}; {log}")
    code = record["code"]
    if code == 0:
        return Outcome(job.name, "done", record["seconds"], "")
    number = -code if code < 0 else code - 128
    # Python that is interrupted while it starts ends with code 1.
    unready = code < 0 or "KeyboardInterrupt" in record["message"]
    stopped = number in SIGNALS or (asked and unready)
    how = f"killed by {signal.Signals(number).name}" if code < 0 else f"exit code {code}"
    message = f"{record['message']} ({how}; {log})".lstrip()
    return Outcome(job.name, "stopped" if stopped else "failed", record["seconds"], message)


class Execution(ABC):
    """One job while a launcher executes it."""

    @abstractmethod
    def wait(self) -> Outcome:
        """Wait for the job to end; called in a thread."""

    @abstractmethod
    def signal(self, number: int) -> None:
        """Hand a signal on to the job."""

    def abandon(self) -> None:
        """Make the job save its state and end, as nobody will use its outcome."""
        self.signal(signal.SIGTERM)


class Launcher(ABC):
    """Executes jobs, `parallel` at a time; None: no limit. A subclass says how a single one is started."""

    def __init__(self, parallel: int | None = None) -> None:
        self.parallel = parallel
        self.stopped_by = 0
        """The first signal that the last :meth:`run` received, or 0."""

    @abstractmethod
    def start(self, job: Job) -> Execution:
        """Start a job, without waiting for anything."""

    def connected(self, jobs: Sequence[Job] = ()) -> AbstractContextManager[None]:
        """What all jobs of a :meth:`run` share, such as the connection to a cluster."""
        return nullcontext()

    def run(self, jobs: Sequence[Job], report: Callable[[Outcome], None]) -> list[Outcome]:
        """Execute jobs, each after those that it depends on.

        A job that fails stops only those that depend on it. On SIGINT or SIGTERM all jobs are asked to save
        their state, and waited for; a second signal kills them.

        Parameters
        ----------
        jobs
            With different names and folders; each can depend on others of them, not in a circle.
        report
            Called with each outcome as soon as it is known.

        Returns
        -------
        list of Outcome
            In the order of `jobs`.

        Raises
        ------
        InputError
            The launcher's cluster cannot be reached.
        """
        self.stopped_by = 0
        if not jobs:
            return []
        waiting = {job.name: job for job in jobs}
        running: dict[str, Execution] = {}
        outcomes: dict[str, Outcome] = {}

        def end(outcome: Outcome) -> None:
            waiting.pop(outcome.name, None)
            running.pop(outcome.name, None)
            outcomes[outcome.name] = outcome
            report(outcome)
            if outcome.state != "done":
                for job in list(waiting.values()):
                    if outcome.name in job.after and job.name in waiting:
                        verb = "" if outcome.state == "failed" else "was "
                        end(Outcome(job.name, "skipped", 0.0, f"{outcome.name} {verb}{outcome.state}"))

        with self.connected(jobs), signal_events() as events:
            try:
                while waiting or running:
                    if self.stopped_by:
                        never_begun = list(waiting)
                        waiting.clear()
                        for name in never_begun:
                            end(Outcome(name, "stopped", 0.0, "not begun"))
                    for job in [job for job in waiting.values() if outcomes.keys() >= set(job.after)]:
                        if self.parallel is None or len(running) < self.parallel:
                            running[job.name] = execution = self.start(waiting.pop(job.name))
                            threading.Thread(target=_wait, args=(execution, events), daemon=True).start()
                    if not running:
                        continue
                    event = events.get()
                    if isinstance(event, Outcome):
                        end(event)
                    elif isinstance(event, int):
                        self.stopped_by = self.stopped_by or event
                        for execution in running.values():
                            execution.signal(event)
                    else:
                        raise event
            finally:  # after an error, such as one in `report`
                for execution in running.values():
                    execution.abandon()
                while running:
                    if isinstance(event := events.get(), Outcome):
                        running.pop(event.name, None)
        return [outcomes[job.name] for job in jobs]


Event = Outcome | int | BaseException
"""What a launch waits for: the end of a job, a signal, or an error in a thread."""


def _wait(execution: Execution, events: SimpleQueue[Event]) -> None:
    try:
        events.put(execution.wait())
    except BaseException as error:
        events.put(error)


@contextmanager
def signal_events() -> Iterator[SimpleQueue[Event]]:
    """A queue that gets the number of each SIGINT and SIGTERM."""
    events: SimpleQueue[Event] = SimpleQueue()  # the one kind of queue that a signal handler may put into
    with on_signals(lambda number, frame: events.put(number), signal.SIGINT, signal.SIGTERM):
        yield events


class Supervised:
    """A job's command with its supervisor (``supervise.py``), in its own session.

    The supervisor removes a cluster's variables from the environment.
    """

    def __init__(self, plan: Mapping[str, Any], environment: Mapping[str, str]) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-I", supervise.__file__, json.dumps(plan)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environment,
            start_new_session=True,  # Ctrl-C is for the launcher, which hands it on once
        )

    def signal(self, number: int) -> None:
        """Hand a signal on to the command; the second one kills it."""
        self._process.send_signal(number)

    def hang_up(self) -> None:
        """Let the supervisor end the command, as it does when its launcher was killed."""
        assert self._process.stdin is not None
        self._process.stdin.close()

    def wait(self) -> Record | None:
        """How the command ended; None if the supervisor was killed."""
        with self._process:  # closes the pipes, and waits
            assert self._process.stdout is not None
            text = self._process.stdout.read()
        return cast(Record, json.loads(text)) if text.endswith(b"\n") else None


class LocalExecution(Execution):
    """A job as a process of this machine."""

    def __init__(self, job: Job, environment: Mapping[str, str]) -> None:
        self._job = job
        self._asked = False
        self._process = Supervised(job.plan(Path.cwd()), environment)

    def wait(self) -> Outcome:
        """Wait for the process."""
        return outcome_of(self._job, self._process.wait(), asked=self._asked)

    def signal(self, number: int) -> None:
        """Hand a signal on to the process."""
        self._asked = True
        self._process.signal(number)

    def abandon(self) -> None:
        """End it, by force if it does not end by itself."""
        self._process.hang_up()


class LocalLauncher(Launcher):
    """Executes jobs as processes of this machine, which share its cores."""

    parallel: int

    def __init__(self, parallel: int = 1) -> None:
        super().__init__(parallel)

    def start(self, job: Job) -> Execution:
        """Start a job."""
        environment = dict(os.environ)
        if self.parallel > 1:
            threads = max(1, (os.cpu_count() or 1) // self.parallel)
            environment.setdefault("OMP_NUM_THREADS", str(threads))
        return LocalExecution(job, environment)
