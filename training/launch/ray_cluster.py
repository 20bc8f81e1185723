"""Jobs on a Ray cluster: one on this machine for the time of a launch, or a real one."""

from __future__ import annotations

import logging
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

from data.records import InputError
from training.launch.job import Job, Outcome, outcome_of
from training.launch.local import on_signals
from training.launch.queue import JobQueue
from training.launch.ray_host import MARK, JobHost
from training.launch.supervise import last_words

__all__ = ["RayLauncher"]

QUIET = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_SCHEDULER_EVENTS": "0"}
"""Nothing is sent anywhere; nothing is said of the cluster's own affairs."""

OWN = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0", "RAY_worker_niceness": "0"}
"""Has a Ray of this machine's own listen on 127.0.0.1 alone (the name is from systems where that is usual),
and its jobs run with the priority that they have without it."""

PATIENCE = 60.0
"""Seconds in which a cluster has to answer."""


@dataclass
class Attempt:
    """A job that a worker of the cluster has, or will have."""

    job: Job
    host: Any
    """The :class:`JobHost`, as an actor."""
    waited: Any
    """The reference of the answer that comes next: to ``begin``, then to ``end``."""
    number: int
    begun: bool = False
    told: int = 0
    mark: str = field(default_factory=lambda: uuid.uuid4().hex)


class RayLauncher:
    """Carries jobs out on a Ray cluster, each when and where the processors that it needs are free.

    A job whose worker dies, or whose command is killed by SIGKILL as by a lack of memory, is begun again, and
    so goes on from its last checkpoint.

    Results lie in the jobs' folders, on a file system that all machines of the cluster see at the same place.
    From a machine without it the worker hands back the small files: scores, logs and options, not the
    checkpoints; there a job that is begun again begins anew.

    Parameters
    ----------
    address
        ``host:port`` of a cluster's head, ``ray://host:port``, or ``auto`` for the one that this machine is
        part of. None: one is started on this machine, and ended afterwards.
    retries
        How often a job is begun again.
    parallel
        How many jobs at a time at most. None: as many as there are processors for.
    cpus, gpus
        What a Ray on this machine counts with. None: what there is.

    Raises
    ------
    InputError
        Ray is not installed; a number is negative.
    """

    def __init__(
        self,
        address: str | None = None,
        *,
        retries: int = 2,
        parallel: int | None = None,
        cpus: int | None = None,
        gpus: int | None = None,
    ) -> None:
        for name, value, least in (
            ("--retries", retries, 0),
            ("--parallel", 1 if parallel is None else parallel, 1),
        ):
            if value < least:
                raise InputError(name, str(value), f"{least} or more")
        self.address = address
        self.retries = retries
        self.parallel = parallel
        self.cpus, self.gpus = cpus, gpus
        self.stopped_by = 0
        self._signals: list[int] = []
        self._attempts: list[Attempt] = []
        with environment(QUIET | ({} if address else OWN)):
            self._ray = import_ray()

    def run(self, jobs: Sequence[Job], report: Callable[[Outcome], None]) -> list[Outcome]:
        """Carry jobs out (:meth:`Launcher.run <training.launch.job.Launcher.run>`).

        Raises
        ------
        InputError
            Also when the address does not answer, or no machine of the cluster has what a job needs.
        """
        queue = JobQueue(jobs, report)
        self.stopped_by, self._signals, self._attempts = 0, [], []
        if not jobs:
            return []
        with self.connected(), on_signals(self._receive):
            self._check_resources(jobs)
            try:
                while self._begin(queue):
                    waited = [attempt.waited for attempt in self._attempts]
                    ready, _ = self._ray.wait(waited, num_returns=1, timeout=0.5)
                    for attempt in [attempt for attempt in self._attempts if attempt.waited in ready]:
                        self._proceed(attempt, queue)
            finally:  # also of an error in `report`: the jobs save their state and end
                for attempt in self._attempts:
                    attempt.host.signal.remote(int(signal.SIGTERM))
                if self._attempts:
                    waited = [attempt.waited for attempt in self._attempts if attempt.begun]
                    self._ray.wait(waited, num_returns=len(waited), timeout=60) if waited else None
        return queue.outcomes()

    @contextmanager
    def connected(self) -> Iterator[None]:
        """Keep the cluster for several runs; otherwise each starts it, or joins it, anew."""
        ray = self._ray
        if ray.is_initialized():  # the caller's own
            yield
            return
        options: dict[str, Any] = {"address": self.address} if self.address else {"address": "local"}
        with ExitStack() as stack:
            stack.enter_context(environment(QUIET | ({} if self.address else OWN)))
            if self.address:
                check_address(self.address)
            else:
                # A short name, as sockets lie in it. The object store is small, as no data goes through it.
                base = "/tmp" if Path("/tmp").is_dir() else None
                folder = tempfile.TemporaryDirectory(prefix="ray-", dir=base, ignore_cleanup_errors=True)
                options |= {
                    "num_cpus": self.cpus or os.cpu_count(),
                    "include_dashboard": False,
                    "object_store_memory": 80_000_000,
                    "_temp_dir": stack.enter_context(folder),
                }
                if self.gpus is not None:
                    options["num_gpus"] = self.gpus
            handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
            stack.callback(restore, handlers)
            stack.callback(ray.shutdown)
            try:
                ray.init(**options, log_to_driver=False, logging_level=logging.CRITICAL)
            except Exception as error:
                raise InputError(
                    "--on ray",
                    f"what Ray cannot start with ({last_words(str(error))})",
                    "a cluster that answers at --address, or a machine where Ray runs",
                ) from None
            yield

    def _check_resources(self, jobs: Sequence[Job]) -> None:
        nodes = [node["Resources"] for node in self._ray.nodes() if node["Alive"]]
        for job in jobs:
            if not any(job.cpus <= node.get("CPU", 0) and job.gpus <= node.get("GPU", 0) for node in nodes):
                most = "; ".join(
                    f"{node.get('CPU', 0):g} CPUs, {node.get('GPU', 0):g} GPUs" for node in nodes
                )
                raise InputError(
                    f"job {job.name}",
                    f"{job.cpus:g} CPUs and {job.gpus:g} GPUs needed",
                    f"what one machine of the cluster has ({most})",
                )

    def _begin(self, queue: JobQueue) -> bool:
        """Place what can begin, hand signals on; whether there is anything to wait for."""
        if self._signals:
            queue.stop()
            for attempt in tuple(self._attempts):
                if not attempt.begun:
                    self._finish(attempt)
                    queue.end(Outcome(attempt.job.name, "stopped", 0.0, "not begun"))
                for number in self._signals[attempt.told :]:
                    attempt.host.signal.remote(number)
                attempt.told = len(self._signals)
        for job in queue.ready():
            if self.parallel is None or len(self._attempts) < self.parallel:
                queue.begin(job)
                self._place(job, 1)
        return bool(self._attempts)

    def _place(self, job: Job, number: int) -> None:
        actor = self._ray.remote(JobHost).options(
            num_cpus=job.cpus, num_gpus=job.gpus, max_concurrency=2, max_restarts=0
        )
        attempt = Attempt(job, actor.remote(), None, number)
        job.folder.mkdir(parents=True, exist_ok=True)
        (job.folder / MARK).write_text(attempt.mark)
        attempt.waited = attempt.host.begin.remote(job.plan(Path.cwd()), attempt.mark)
        self._attempts.append(attempt)

    def _proceed(self, attempt: Attempt, queue: JobQueue) -> None:
        """Take an answer: the job has begun, or ended, or its worker has died."""
        job = attempt.job
        try:
            answer = self._ray.get(attempt.waited)
        except self._ray.exceptions.RayError as error:
            answer = None, {}
            died = f"its worker died ({last_words(str(error))})"
        else:
            died = "its process was killed"
        if not attempt.begun and answer is None:
            attempt.begun, attempt.waited = True, attempt.host.end.remote()
            return
        record, files = answer
        self._finish(attempt)
        for name, content in files.items():
            path = job.folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        killed = record is None or record["code"] == -signal.SIGKILL
        if killed and not self._signals and attempt.number <= self.retries:
            self._place(job, attempt.number + 1)
            return
        outcome = outcome_of(job, record, asked=bool(self._signals))
        if record is None:
            outcome = outcome._replace(message=f"{died}; {job.folder / 'output.log'}")
        if attempt.number > 1:
            again = f"begun {attempt.number} times"
            outcome = outcome._replace(message=f"{outcome.message}; {again}".removeprefix("; "))
        queue.end(outcome)

    def _finish(self, attempt: Attempt) -> None:
        self._attempts.remove(attempt)
        self._ray.kill(attempt.host)
        with suppress(OSError):
            (attempt.job.folder / MARK).unlink()

    def _receive(self, number: int, frame: FrameType | None) -> None:
        self.stopped_by = self.stopped_by or number
        self._signals.append(number)


def import_ray() -> Any:
    """The module, without the messages that it has for the terminal."""
    try:
        import ray
    except ImportError:
        raise InputError(
            "--on ray", "no Ray here", "it installed: pip install '.[cluster]', at the version of the cluster"
        ) from None
    with suppress(
        AttributeError
    ):  # no option turns off what it prints when a worker dies: that is reported here
        ray._private.worker._worker_logs_enabled = False
    return ray


def check_address(address: str) -> None:
    """Raise InputError unless a Ray cluster of this version answers; Ray itself would wait for minutes."""
    where = re.fullmatch(r"(?:ray://)?\[?([^/\]]+?)\]?:(\d+)", address)
    expected = "host:port of the head of a Ray cluster that runs, or auto on a machine of it"
    if where:
        try:
            socket.create_connection((where[1], int(where[2])), timeout=10).close()
        except (OSError, OverflowError) as error:
            raise InputError("--address", f"no answer from {address} ({error})", expected) from None
    elif address != "auto":
        raise InputError("--address", repr(address), expected)
    code = (
        "import logging, sys, ray; ray.init(sys.argv[1], log_to_driver=False, logging_level=logging.CRITICAL)"
    )
    try:
        done = subprocess.run(
            [sys.executable, "-c", code, address],
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise InputError("--address", f"what is no Ray cluster at {address}", expected) from None
    if done.returncode:
        raise InputError("--address", f"{address}, where {last_words(done.stderr)}", expected)


@contextmanager
def environment(variables: dict[str, str]) -> Iterator[None]:
    """Have these variables for a while, where the user has not set them."""
    added = {name: value for name, value in variables.items() if name not in os.environ}
    os.environ.update(added)
    try:
        yield
    finally:
        for name in added:
            os.environ.pop(name, None)


def restore(handlers: dict[signal.Signals, Any]) -> None:
    """Give signals back that Ray has taken."""
    with suppress(ValueError):  # not in the main thread: nobody took them
        for number, handler in handlers.items():
            signal.signal(number, handler)
