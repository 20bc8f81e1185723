"""Jobs as processes of this machine."""

from __future__ import annotations

import json
import os
import selectors
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any, cast

from data.records import InputError
from training.launch import supervise
from training.launch.job import Job, Outcome, Record, outcome_of
from training.launch.queue import JobQueue

__all__ = ["LocalLauncher", "end_of", "hang_up", "on_signals", "start"]


class LocalLauncher:
    """Carries jobs out as processes of this machine.

    Parameters
    ----------
    parallel
        How many at a time. They share the cores: each computes with as many threads as that leaves it.

    Raises
    ------
    InputError
        `parallel` is below 1.
    """

    def __init__(self, parallel: int = 1) -> None:
        if parallel < 1:
            raise InputError("--parallel", str(parallel), "1 or more jobs at a time")
        self.parallel = parallel
        self.stopped_by = 0
        self._signals: list[int] = []
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        self._told: dict[str, int] = {}

    def run(self, jobs: Sequence[Job], report: Callable[[Outcome], None]) -> list[Outcome]:
        """Carry jobs out (:meth:`Launcher.run <training.launch.job.Launcher.run>`)."""
        queue = JobQueue(jobs, report)
        self.stopped_by, self._signals = 0, []
        with on_signals(self._receive), selectors.DefaultSelector() as selector:
            try:
                self._begin(queue, selector)
                while self._running:
                    for key, _ in selector.select():
                        job: Job = key.data
                        selector.unregister(key.fileobj)
                        record = end_of(self._running.pop(job.name))
                        if self.stopped_by:
                            queue.stop()
                        queue.end(outcome_of(job, record, asked=bool(self.stopped_by)))
                    self._begin(queue, selector)
            finally:  # also of an error in `report`: the closed pipes have the jobs save their state and end
                for process in self._running.values():
                    hang_up(process)
                while self._running:
                    end_of(self._running.popitem()[1])
        return queue.outcomes()

    def _begin(self, queue: JobQueue, selector: selectors.BaseSelector) -> None:
        for job in queue.ready():
            if self.stopped_by or len(self._running) >= self.parallel:
                break
            queue.begin(job)
            process = self._running[job.name] = start(job.plan(Path.cwd()), self._environment())
            assert process.stdout is not None
            selector.register(process.stdout, selectors.EVENT_READ, job)
            self._told[job.name] = 0
            self._hand_on()  # a signal that came before it was among those that run
        if self.stopped_by:
            queue.stop()

    def _environment(self) -> dict[str, str]:
        environment = dict(os.environ)
        if self.parallel > 1:
            threads = max(1, (os.cpu_count() or 1) // self.parallel)
            environment.setdefault("OMP_NUM_THREADS", str(threads))
        return environment

    def _receive(self, number: int, frame: FrameType | None) -> None:
        self.stopped_by = self.stopped_by or number
        self._signals.append(number)
        self._hand_on()

    def _hand_on(self) -> None:
        for name, process in tuple(self._running.items()):
            while self._told.get(name, len(self._signals)) < len(self._signals):
                self._told[name] += 1
                process.send_signal(self._signals[self._told[name] - 1])


def start(plan: Mapping[str, Any], environment: Mapping[str, str]) -> subprocess.Popen[bytes]:
    """Start a job's command with its supervisor, in a session of its own.

    Parameters
    ----------
    plan
        :meth:`Job.plan <training.launch.job.Job.plan>`.
    environment
        Of the command, but for what the supervisor takes out.

    Returns
    -------
    subprocess.Popen
        The supervisor. Its signals reach the command; when its input closes the command ends.
    """
    return subprocess.Popen(
        [sys.executable, "-I", supervise.__file__, json.dumps(plan)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=environment,
        start_new_session=True,  # Ctrl-C is for the launcher, which hands it on once
    )


def end_of(process: subprocess.Popen[bytes]) -> Record | None:
    """Wait for a supervisor to end; how its command ended, or None if the supervisor was killed."""
    with process:  # closes the pipes, and waits
        assert process.stdout is not None
        text = process.stdout.read()
    return cast(Record, json.loads(text)) if text.endswith(b"\n") else None


def hang_up(process: subprocess.Popen[bytes]) -> None:
    """Have a supervisor end its command, as if its launcher was killed."""
    assert process.stdin is not None
    process.stdin.close()


@contextmanager
def on_signals(handler: Callable[[int, FrameType | None], None]) -> Iterator[None]:
    """Handle SIGINT and SIGTERM, where this is the main thread; elsewhere Python allows no handlers."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, handler) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, old in before.items():
            signal.signal(number, old)
