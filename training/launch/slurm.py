"""Jobs as array jobs of a Slurm cluster."""

from __future__ import annotations

import json
import math
import os
import re
import shlex
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

import training
from data.formats.files import write_text
from data.records import InputError
from training.launch.job import Job, Outcome, State, check_jobs, outcome_of
from training.launch.local import on_signals
from training.launch.slurm_task import read_record
from training.run_state import make_folder

__all__ = ["SlurmLauncher", "array_script", "waves"]

TICKET = ".slurm"
"""The file of a job's folder that names its task."""

LARGEST_ARRAY = 1000
"""Tasks of an array job; Slurm's own limit, where nobody has changed it, is 1001."""


@dataclass(frozen=True)
class Task:
    """A job that Slurm has."""

    job: Job
    number: str
    """As squeue and scancel name it: ``12_3``."""
    record: Path


class SlurmLauncher:
    """Carries jobs out as tasks of array jobs.

    Jobs that need the same and wait for none of each other are an array job. An array job begins when those
    before it have ended, and its tasks leave out jobs that wait for one that is not done. Some time before
    the limit a task saves its state and goes back into the queue, as it does when Slurm needs its machine, or
    that fails. Then it goes on from its last checkpoint. All machines have to see the same folders.

    Parameters
    ----------
    folder
        Where scripts, plans and records go, in a folder of its own for each launch.
    partition, account
        Where it is carried out, and on whose account. None: what the cluster takes by itself.
    time_limit
        Of one task, in Slurm's form, such as ``4:00:00``. None: the partition's.
    notice
        Seconds before the limit when a task begins to save its state.
    parallel
        How many tasks of an array job at a time. None: as many as Slurm likes.
    options
        Further options of sbatch, such as ``--mem=8G``.
    setup
        Lines of shell before the command, such as ``module load cuda``.
    wait
        Whether :meth:`run` waits for the jobs. If not, their outcomes are ``submitted``. Jobs that are
        launched again while Slurm has them are not submitted twice.
    poll
        Seconds between two looks at the queue.
    """

    def __init__(
        self,
        folder: Path = Path("runs/slurm"),
        *,
        partition: str | None = None,
        account: str | None = None,
        time_limit: str | None = None,
        notice: int = 120,
        parallel: int | None = None,
        options: Sequence[str] = (),
        setup: Sequence[str] = (),
        wait: bool = True,
        poll: float = 5.0,
    ) -> None:
        if parallel is not None and parallel < 1:
            raise InputError("--parallel", str(parallel), "1 or more jobs at a time")
        self.folder, self.setup, self.wait, self.poll = folder, tuple(setup), wait, poll
        self.parallel = parallel
        given = {"partition": partition, "account": account, "time": time_limit}
        self.options = (
            *(f"--{name}={value}" for name, value in given.items() if value is not None),
            f"--signal=B:USR1@{notice}",
            *options,
        )
        self.stopped_by = 0
        self._signals: list[int] = []
        self._told: set[str] = set()
        self._cancelled: set[str] = set()
        self._wake = threading.Event()

    def run(self, jobs: Sequence[Job], report: Callable[[Outcome], None]) -> list[Outcome]:
        """Carry jobs out (:meth:`Launcher.run <training.launch.job.Launcher.run>`).

        Raises
        ------
        InputError
            Also when Slurm is absent or does not accept the jobs.
        """
        check_jobs(jobs)
        self.stopped_by, self._signals, self._told, self._cancelled = 0, [], set(), set()
        outcomes: dict[str, Outcome] = {}
        with on_signals(self._receive):
            tasks = self._submit(jobs)
            if not self.wait:
                for task in tasks:
                    words = f"Slurm has it as {task.number}; launch it again to collect what it has done"
                    outcomes[task.job.name] = outcome = Outcome(task.job.name, "submitted", 0.0, words)
                    report(outcome)
            while len(outcomes) < len(tasks):
                self._wake.wait(self.poll)
                self._wake.clear()
                left = [task for task in tasks if task.job.name not in outcomes]
                queued = tasks_in_queue()
                if queued is None:  # the controller does not answer: it will again
                    continue
                self._hand_on({task.number: queued[task.number] for task in left if task.number in queued})
                for task in left:
                    if task.number not in queued:
                        outcomes[task.job.name] = outcome = self._ended(task)
                        report(outcome)
        return [outcomes[job.name] for job in jobs]

    def _submit(self, jobs: Sequence[Job]) -> list[Task]:
        """Give Slurm the jobs that it has not got yet, and return what it has then."""
        folder = (self.folder / f"{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}").resolve()
        queued = tasks_in_queue()
        if queued is None:
            raise InputError("--on slurm", "no answer to squeue", "a controller of Slurm that runs")
        tasks = {task.job.name: task for job in jobs if (task := task_of(job, queued)) is not None}
        submitted: list[str] = []
        try:
            for count, group in enumerate(waves([job for job in jobs if job.name not in tasks]), start=1):
                make_folder(folder)
                plans, records = [], [folder / f"record-{count}-{index}.json" for index in range(len(group))]
                for job, record in zip(group, records, strict=True):
                    needs = {name: str(tasks[name].record) for name in job.after}
                    plans.append({**job.plan(Path.cwd()), "record": str(record), "needs": needs})
                write_text(folder / f"plans-{count}.json", json.dumps(plans, indent=1))
                before = {tasks[name].number.partition("_")[0] for job in group for name in job.after}
                script = folder / f"array-{count}.sh"
                write_text(script, self._script(group, folder, count, sorted(before)))
                number = slurm("sbatch", "--parsable", str(script)).partition(";")[0].strip()
                submitted.append(number)
                for index, (job, record) in enumerate(zip(group, records, strict=True)):
                    tasks[job.name] = task = Task(job, f"{number}_{index}", record)
                    make_folder(job.folder)
                    ticket = {"task": task.number, "record": str(record)}
                    write_text(job.folder / TICKET, json.dumps(ticket))
        except InputError:
            if submitted:  # all or none
                slurm("scancel", *submitted)
            raise
        return [tasks[job.name] for job in jobs]

    def _script(self, group: Sequence[Job], folder: Path, count: int, before: Sequence[str]) -> str:
        job = group[0]
        gpus = math.ceil(job.gpus)
        at_a_time = f"%{self.parallel}" if self.parallel else ""
        options = [
            f"--job-name={job.name}" if len(group) == 1 else f"--job-name={folder.name}-{count}",
            f"--array=0-{len(group) - 1}{at_a_time}",
            f"--cpus-per-task={max(1, math.ceil(job.cpus))}",
            *([f"--gres=gpu:{gpus}"] if gpus else []),
            *([f"--dependency=afterany:{':'.join(before)}"] if before else []),
            f"--output={folder}/array-{count}-%a.log",
            *self.options,
        ]
        return array_script(options, self.setup, folder / f"plans-{count}.json")

    def _ended(self, task: Task) -> Outcome:
        record = read_record(task.record)
        if record is None:
            time.sleep(min(self.poll, 5.0))  # another machine's file may be late
            record = read_record(task.record)
        if record is None and task.number in self._cancelled:
            return Outcome(task.job.name, "stopped", 0.0, "not begun")
        if isinstance(record, str):
            return Outcome(task.job.name, "stopped" if self._signals else "skipped", 0.0, record)
        if record is None:
            state: State = "stopped" if self._signals else "failed"
            what = f"Slurm has ended {task.number}: {state_of(task.number)}"
            return Outcome(task.job.name, state, 0.0, f"{what}; {task.job.folder / 'output.log'}")
        return outcome_of(task.job, record, asked=bool(self._signals))

    def _hand_on(self, states: Mapping[str, str]) -> None:
        """Let tasks save their state after a first signal; cancel those not begun, and all after a second."""
        if not self._signals or not states:
            return
        killed = [number for number, state in states.items() if len(self._signals) > 1 or state == "PENDING"]
        told = [number for number in states if number not in self._told and number not in killed]
        self._told.update(told)
        self._cancelled.update(number for number, state in states.items() if state == "PENDING")
        for options, numbers in (((), killed), (("--batch", "--signal=USR2"), told)):
            if numbers:  # it may have ended by now, which is an error to scancel
                subprocess.run(
                    ["scancel", "--quiet", *options, *numbers], stderr=subprocess.DEVNULL, check=False
                )

    def _receive(self, number: int, frame: FrameType | None) -> None:
        self.stopped_by = self.stopped_by or number
        self._signals.append(number)
        self._wake.set()


def waves(jobs: Sequence[Job]) -> list[list[Job]]:
    """Jobs in groups that can be one array each: alike in their needs, each group after those it waits for.

    Examples
    --------
    >>> a, b = Job("a", (), Path("a")), Job("b", (), Path("b"), after=("a",))
    >>> c, d = Job("c", (), Path("c")), Job("d", (), Path("d"), gpus=1)
    >>> [[job.name for job in group] for group in waves([a, b, c, d])]
    [['a', 'c'], ['d'], ['b']]
    """
    names = {job.name for job in jobs}
    depth: dict[str, int] = {}
    while len(depth) < len(jobs):
        for job in jobs:
            before = [name for name in job.after if name in names]
            if all(name in depth for name in before):
                depth.setdefault(job.name, 1 + max((depth[name] for name in before), default=-1))
    groups: dict[tuple[int, int, int], list[Job]] = {}
    for job in sorted(jobs, key=lambda job: depth[job.name]):
        groups.setdefault((depth[job.name], math.ceil(job.gpus), math.ceil(job.cpus)), []).append(job)
    return [
        group[start : start + LARGEST_ARRAY]
        for group in groups.values()
        for start in range(0, len(group), LARGEST_ARRAY)
    ]


def array_script(options: Sequence[str], setup: Sequence[str], plans: Path) -> str:
    """The script of an array job whose tasks carry out the plans of a file."""
    package = Path(training.__file__).resolve().parents[1]
    return "\n".join(
        [
            "#!/bin/bash",
            "#SBATCH --nodes=1 --ntasks=1 --requeue --open-mode=append",
            *(f"#SBATCH {shlex.quote(option)}" for option in options),
            "",
            *setup,
            'export OMP_NUM_THREADS="${SLURM_CPUS_PER_TASK:-1}"',
            f"cd {shlex.quote(str(package))} || exit 1",
            "# exec: Slurm's signals are for the task, not for this shell.",
            f"exec {shlex.quote(sys.executable)} -c 'from training.launch.slurm_task import main; main()' "
            f'{shlex.quote(str(plans))} "$SLURM_ARRAY_TASK_ID"',
            "",
        ]
    )


def task_of(job: Job, queued: Mapping[str, str]) -> Task | None:
    """The task of an earlier launch that is still in the queue with this job."""
    ticket = job.folder / TICKET
    if not queued or not ticket.is_file():
        return None
    known: Mapping[str, str] = json.loads(ticket.read_text())
    return Task(job, known["task"], Path(known["record"])) if known["task"] in queued else None


def tasks_in_queue() -> dict[str, str] | None:
    """The array tasks of this user that have not ended with their states; None if Slurm does not answer."""
    command = ["squeue", "--noheader", "--array", f"--user={os.getuid()}", "--format=%F_%K %T"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        raise absent("squeue") from None
    if done.returncode:
        return None
    return dict(line.split(maxsplit=1) for line in done.stdout.splitlines())


def state_of(number: str) -> str:
    """What Slurm says about a task that has ended, such as TIMEOUT; it forgets after some minutes."""
    done = subprocess.run(["scontrol", "show", "job", number], capture_output=True, text=True, check=False)
    state = re.search(r"JobState=(\w+)", done.stdout)
    return state[1] if state else "it no longer says how"


def slurm(*command: str) -> str:
    """What a command of Slurm prints."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        raise absent(command[0]) from None
    if done.returncode:
        words = " ".join(done.stderr.split()).removeprefix(f"{command[0]}: ").removeprefix("error: ")
        without = ", or --gpus 0 where it has no GPUs" if "gres" in words else ""
        raise InputError("--on slurm", f"{command[0]}: {words}", f"a cluster that takes the jobs{without}")
    return done.stdout


def absent(command: str) -> InputError:
    """The error of a machine without Slurm."""
    return InputError("--on slurm", f"no {command} here", "a machine from which jobs are submitted to Slurm")
