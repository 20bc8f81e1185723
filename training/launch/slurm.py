"""Jobs as array jobs of a Slurm cluster, submitted with submitit."""

from __future__ import annotations

import json
import math
import os
import queue
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from graphlib import TopologicalSorter
from pathlib import Path
from typing import Any, NamedTuple

import training
from data.formats.files import write_text
from data.records import InputError
from training.launch.jobs import Execution, Job, Launcher, Outcome, outcome_of, signal_events
from training.launch.supervise import Supervisor
from training.run_state import make_folder

__all__ = ["SlurmLauncher", "SlurmTask"]

TICKET_FILE = ".slurm"
"""In a job's folder: which task of Slurm executes it."""

NOTICE_SECONDS = 120
"""How long before its limit a task begins to save its state."""
MAX_ARRAY_TASKS = 1000
"""Slurm's own default limit is 1001."""

STOPPED_CODES = (-signal.SIGTERM, -signal.SIGINT, 128 + signal.SIGTERM, 128 + signal.SIGINT)


class Ticket(NamedTuple):
    """A job that Slurm has."""

    job: Job
    number: str
    """As squeue and scancel name the task: ``12_3``, or ``12`` for a job alone."""
    record: Path


class SlurmLauncher(Launcher):
    """Executes jobs as tasks of array jobs.

    Jobs that need the same resources and do not depend on each other form an array job. It begins when those
    before it have ended, and its tasks skip jobs whose dependency is not done. Some time before the limit a
    task saves its state and goes back into the queue, as it does when Slurm needs its machine, or that fails;
    then it continues from its last checkpoint. All machines must share the folders. Jobs that are launched
    again while Slurm has them are waited for, not submitted twice.

    Parameters
    ----------
    folder
        Each launch puts its scripts, pickled tasks and records into a new folder in it.
    partition
        None: the cluster's default.
    time_limit
        Of one task, in Slurm's form, such as ``4:00:00``. None: the partition's.
    parallel
        Most tasks of an array job at a time. None: as many as Slurm likes.
    poll_seconds
        Time between two calls of squeue.
    parameters
        Others of ``submitit.SlurmExecutor``, such as ``account="us"``, ``setup=["module load cuda"]`` or
        ``additional_parameters={"mem": "8G"}``.

    Raises
    ------
    InputError
        submitit is not installed.
    """

    def __init__(
        self,
        folder: Path = Path("runs/slurm"),
        *,
        partition: str | None = None,
        time_limit: str | None = None,
        parallel: int | None = None,
        poll_seconds: float = 5.0,
        **parameters: Any,
    ) -> None:
        super().__init__(parallel)
        try:
            import submitit
        except ImportError:
            expected = "it installed: pip install '.[cluster]'"
            raise InputError("--on slurm", "no submitit here", expected) from None
        self._submitit: Any = submitit
        self.folder, self.poll_seconds = folder, poll_seconds
        package = Path(training.__file__).resolve().parents[1]
        setup = [
            *parameters.pop("setup", ()),
            'export OMP_NUM_THREADS="${SLURM_CPUS_PER_TASK:-1}"',
            f"cd {shlex.quote(str(package))} || exit 1",
        ]
        further = {"requeue": True, "ntasks": 1, "signal": f"B:USR1@{NOTICE_SECONDS}"}
        self.parameters = {
            "partition": partition,
            "time": time_limit,  # submitit's own default is 5 minutes
            "array_parallelism": parallel or MAX_ARRAY_TASKS,
            "stderr_to_stdout": True,
            # Without srun and instead of the shell: the task alone receives Slurm's signals, not its command.
            "use_srun": False,
            "setup": setup,
            **parameters,
            "additional_parameters": {**further, **parameters.get("additional_parameters", {})},
        }

    def start(self, job: Job) -> Execution:
        """Not used: jobs are submitted all at once."""
        raise NotImplementedError

    def run(self, jobs: Sequence[Job], report: Callable[[Outcome], None]) -> list[Outcome]:
        """Execute jobs (:meth:`Launcher.run <training.launch.Launcher>`).

        Raises
        ------
        InputError
            Also if Slurm is absent or does not accept the jobs.
        """
        self.stopped_by = 0
        signals: list[int] = []
        cancelled: set[str] = set()
        signalled: set[str] = set()
        outcomes: dict[str, Outcome] = {}
        with signal_events() as events:
            tickets = self._submit(jobs)
            while len(outcomes) < len(jobs):
                with suppress(queue.Empty):
                    event = events.get(timeout=self.poll_seconds)
                    assert isinstance(event, int)
                    signals.append(event)
                    self.stopped_by = signals[0]
                queued = tasks_in_queue()
                if queued is None:  # the controller does not answer: it will again
                    continue
                for ticket in [ticket for ticket in tickets if ticket.job.name not in outcomes]:
                    number, state = ticket.number, queued.get(ticket.number)
                    if state is None:
                        outcome = self._outcome(ticket, bool(signals), number in cancelled)
                        outcomes[outcome.name] = outcome
                        report(outcome)
                    elif signals and state == "PENDING":
                        cancelled.add(number)
                        cancel(number)
                    elif len(signals) > 1:
                        cancel(number)
                    elif signals and number not in signalled:
                        signalled.add(number)
                        cancel(number, "--batch", "--signal=USR2")
        return [outcomes[job.name] for job in jobs]

    def _submit(self, jobs: Sequence[Job]) -> list[Ticket]:
        """Submit the jobs that Slurm does not have yet; the tickets of all."""
        folder = (self.folder / f"{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}").resolve()
        queued = tasks_in_queue()
        if queued is None:
            raise InputError("--on slurm", "no answer to squeue", "a controller of Slurm that runs")
        if shutil.which("srun") is None:
            raise absent("srun")
        tickets = {job.name: ticket for job in jobs if (ticket := ticket_of(job, queued)) is not None}
        submitted: list[str] = []
        try:
            for group in arrays([job for job in jobs if job.name not in tickets]):
                make_folder(folder)
                first = group[0]
                before = {tickets[name].number.partition("_")[0] for job in group for name in job.after}
                executor = self._submitit.SlurmExecutor(folder)
                executor.update_parameters(
                    job_name=first.name if len(group) == 1 else folder.name,
                    cpus_per_task=max(1, math.ceil(first.cpus)),
                    gres=f"gpu:{math.ceil(first.gpus)}" if first.gpus else None,
                    dependency=f"afterany:{':'.join(sorted(before))}" if before else None,
                    **self.parameters,
                )
                executor.python = f"exec {shlex.quote(sys.executable)}"
                tasks = [
                    SlurmTask(
                        job.plan(Path.cwd()),
                        folder / f"record-{len(tickets) + place}.json",
                        {name: tickets[name].record for name in job.after},
                    )
                    for place, job in enumerate(group)
                ]
                try:
                    with executor.batch():
                        handles = [executor.submit(task) for task in tasks]
                except self._submitit.core.utils.FailedJobError as error:
                    words = " ".join(str(error).split())
                    words = words.removeprefix("sbatch: ").removeprefix("error: ")
                    without = ", or --gpus 0 where it has no GPUs" if "gres" in words else ""
                    expected = f"a cluster that takes the jobs{without}"
                    raise InputError("--on slurm", f"sbatch: {words}", expected) from None
                submitted.append(handles[0].job_id.partition("_")[0])
                for job, task, handle in zip(group, tasks, handles, strict=True):
                    tickets[job.name] = Ticket(job, handle.job_id, task.record)
                    make_folder(job.folder)
                    content = {"task": handle.job_id, "record": str(task.record)}
                    write_text(job.folder / TICKET_FILE, json.dumps(content))
        except InputError:
            for number in submitted:  # all or none
                cancel(number)
            raise
        return [tickets[job.name] for job in jobs]

    def _outcome(self, ticket: Ticket, asked: bool, cancelled: bool) -> Outcome:
        name, record = ticket.job.name, ticket.record
        if not record.is_file() and not cancelled:
            time.sleep(min(self.poll_seconds, 5.0))  # another machine's file may be late
        if record.is_file():
            content = json.loads(record.read_text())
            if "skipped" in content:
                return Outcome(name, "stopped" if asked else "skipped", 0.0, content["skipped"])
            return outcome_of(ticket.job, content, asked=asked)
        if cancelled:
            return Outcome(name, "stopped", 0.0, "not begun")
        shown = subprocess.run(
            ["scontrol", "show", "job", ticket.number], capture_output=True, text=True, check=False
        ).stdout
        state = re.search(r"JobState=(\w+)", shown)  # Slurm forgets it after some minutes
        how = state[1] if state else "it no longer says how"
        message = f"Slurm has ended {ticket.number}: {how}; {ticket.job.folder / 'output.log'}"
        return Outcome(name, "stopped" if asked else "failed", 0.0, message)


@dataclass(frozen=True)
class SlurmTask:
    """What a task of an array job does: it executes a plan, and writes how that ended into a file.

    SIGUSR1 is from Slurm, some time before the limit: the command saves its state, and the task goes back
    into the queue. SIGUSR2 is from the launcher. SIGTERM is from Slurm, to all of the task's processes.

    The handlers are not submitit's: its own requeue counts timeouts, and needs to know the limit in minutes.
    """

    plan: Mapping[str, Any]
    record: Path
    needs: Mapping[str, Path]
    """The records of the jobs that this one depends on."""

    def __call__(self) -> None:
        """Execute the plan, and exit as its command has."""
        self.record.unlink(missing_ok=True)  # of an execution before it went back into the queue
        for name, file in self.needs.items():
            if not file.is_file() or json.loads(file.read_text()).get("code") != 0:
                write_text(self.record, json.dumps({"skipped": f"{name} is not done"}))
                return
        save = signal.SIGTERM
        supervisor = Supervisor(self.plan, {signal.SIGUSR1: save, signal.SIGUSR2: save, signal.SIGTERM: 0})
        ended = supervisor.run()
        if ended["code"] in STOPPED_CODES and supervisor.received[:1] == [signal.SIGUSR1]:
            command = ["scontrol", "requeue", os.environ.get("SLURM_JOB_ID", "")]
            if subprocess.run(command, check=False).returncode == 0:
                return
        write_text(self.record, json.dumps(ended))
        if ended["code"]:
            sys.exit(min(abs(int(ended["code"])), 255))


def arrays(jobs: Sequence[Job]) -> list[list[Job]]:
    """Groups of jobs that can be one array each: with equal needs, each group after those it depends on.

    Examples
    --------
    >>> a, b = Job("a", (), Path("a")), Job("b", (), Path("b"), after=("a",))
    >>> c, d = Job("c", (), Path("c")), Job("d", (), Path("d"), gpus=1)
    >>> [[job.name for job in group] for group in arrays([a, b, c, d])]
    [['a', 'c'], ['d'], ['b']]
    """
    names = {job.name for job in jobs}
    order = TopologicalSorter({job.name: names.intersection(job.after) for job in jobs})
    order.prepare()
    found: list[list[Job]] = []
    while ready := order.get_ready():
        order.done(*ready)
        groups: dict[tuple[int, int], list[Job]] = {}
        for job in [job for job in jobs if job.name in ready]:
            groups.setdefault((math.ceil(job.gpus), math.ceil(job.cpus)), []).append(job)
        for group in groups.values():
            found += [
                group[start : start + MAX_ARRAY_TASKS] for start in range(0, len(group), MAX_ARRAY_TASKS)
            ]
    return found


def ticket_of(job: Job, queued: Mapping[str, str]) -> Ticket | None:
    """The task of an earlier launch that is still in the queue with this job."""
    file = job.folder / TICKET_FILE
    if not queued or not file.is_file():
        return None
    known: Mapping[str, str] = json.loads(file.read_text())
    return Ticket(job, known["task"], Path(known["record"])) if known["task"] in queued else None


def tasks_in_queue() -> dict[str, str] | None:
    """The tasks of this user that have not ended, with their states; None if Slurm does not answer.

    Not asked through submitit: it uses sacct, which many clusters, and the one of the tests, do not have.
    """
    command = ["squeue", "--noheader", "--array", f"--user={os.getuid()}", "--format=%i %T"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        raise absent("squeue") from None
    if done.returncode:
        return None
    return dict(line.split(maxsplit=1) for line in done.stdout.splitlines())


def cancel(number: str, *options: str) -> None:
    """Cancel or signal a task; one that has ended by now is an error to scancel, and none here."""
    command = ["scancel", "--quiet", *options, number]
    subprocess.run(command, stderr=subprocess.DEVNULL, check=False)


def absent(command: str) -> InputError:
    """The error of a machine without Slurm."""
    return InputError("--on slurm", f"no {command} here", "a machine from which jobs are submitted to Slurm")
