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
import threading
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

from data.records import InputError
from training.launch.jobs import Execution, Job, Launcher, Outcome, Record, Supervised, outcome_of
from training.launch.supervise import last_error

__all__ = ["JobActor", "RayLauncher", "check_address"]

QUIET_VARIABLES = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_SCHEDULER_EVENTS": "0"}
"""No usage statistics are sent, and no scheduler messages printed."""

LOCAL_VARIABLES = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0", "RAY_worker_niceness": "0"}
"""A Ray on this machine listens on 127.0.0.1 alone (the name is from systems where that is the default), and
its jobs run with normal priority."""

RETRIES = 2
"""How often a job is started again."""
ADDRESS_TIMEOUT_SECONDS = 60.0
MARK_FILE = ".launched"
"""Shows a worker whether the job's folder is the same as the launcher's."""
MAX_RETURNED_FILE_BYTES = 4_000_000
"""Larger files stay on a machine that does not share its folders."""


class RayLauncher(Launcher):
    """Executes jobs on a Ray cluster, each as soon as a machine has the processors that it needs.

    A job whose worker dies, or whose command is killed by SIGKILL as by a lack of memory, is started again,
    and so continues from its last checkpoint.

    Results are written into the jobs' folders, on a file system that all machines of the cluster mount at the
    same path. From a machine without it the worker returns the small files: scores, logs and options, not the
    checkpoints; there a job that is started again starts anew.

    Parameters
    ----------
    address
        ``host:port`` of a cluster's head, ``ray://host:port``, or ``auto`` for the one that this machine is
        part of. None: one is started on this machine, and ended afterwards.
    parallel
        Most jobs at a time. None: as many as there are processors for.
    cpus, gpus
        Resources of a Ray on this machine. None: all that it has.

    Raises
    ------
    InputError
        Ray is not installed.
    """

    def __init__(
        self,
        address: str | None = None,
        *,
        parallel: int | None = None,
        cpus: int | None = None,
        gpus: int | None = None,
    ) -> None:
        super().__init__(parallel)
        self.address, self.cpus, self.gpus = address, cpus, gpus
        for name, value in (QUIET_VARIABLES | ({} if address else LOCAL_VARIABLES)).items():
            os.environ.setdefault(name, value)  # before Ray is imported
        try:
            import ray
        except ImportError:
            expected = "it installed: pip install '.[cluster]', at the version of the cluster"
            raise InputError("--on ray", "no Ray here", expected) from None
        with suppress(AttributeError):  # no option hides what it prints of a dead worker: reported here
            ray._private.worker._worker_logs_enabled = False
        self._ray: Any = ray

    def start(self, job: Job) -> Execution:
        """Start a job."""
        return RayExecution(self._ray, job)

    @contextmanager
    def connected(self, jobs: Sequence[Job] = ()) -> Iterator[None]:
        """Keep the cluster for several runs; otherwise each starts it, or joins it, anew.

        Raises
        ------
        InputError
            The address does not answer, or no machine of the cluster has what a job needs.
        """
        with ExitStack() as stack:
            if not self._ray.is_initialized():
                stack.callback(
                    restore_handlers, signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
                )
                stack.callback(self._ray.shutdown)
                options: dict[str, Any] = {"address": self.address}
                if self.address:
                    check_address(self.address)
                else:
                    # A short path, for its sockets. The object store is small: no data goes through it.
                    base = "/tmp" if Path("/tmp").is_dir() else None
                    folder = tempfile.TemporaryDirectory(prefix="ray-", dir=base, ignore_cleanup_errors=True)
                    options = {
                        "address": "local",
                        "num_cpus": self.cpus or os.cpu_count(),
                        "num_gpus": self.gpus,
                        "include_dashboard": False,
                        "object_store_memory": 80_000_000,
                        "_temp_dir": stack.enter_context(folder),
                    }
                try:
                    self._ray.init(**options, log_to_driver=False, logging_level=logging.CRITICAL)
                except Exception as error:
                    found = f"what Ray cannot start with ({last_error(str(error))})"
                    expected = "a cluster that answers at --address, or a machine where Ray runs"
                    raise InputError("--on ray", found, expected) from None
            nodes = [node["Resources"] for node in self._ray.nodes() if node["Alive"]]
            machines = [(node.get("CPU", 0), node.get("GPU", 0)) for node in nodes]
            for job in jobs:
                if not any(job.cpus <= cpus and job.gpus <= gpus for cpus, gpus in machines):
                    most = "; ".join(f"{cpus:g} CPUs, {gpus:g} GPUs" for cpus, gpus in machines)
                    needed = f"{job.cpus:g} CPUs and {job.gpus:g} GPUs needed"
                    expected = f"what one machine of the cluster has ({most})"
                    raise InputError(f"job {job.name}", needed, expected)
            yield


class RayExecution(Execution):
    """A job that a worker of the cluster has, or will have.

    The retries are counted here rather than by Ray, which does not say how often it has started a task, and
    gives no other reason after the last time than after the first.
    """

    def __init__(self, ray: Any, job: Job) -> None:
        self._ray, self._job = ray, job
        self._signals: list[int] = []
        self._actor: Any = None
        """That of the command, from before it begins until it has ended."""
        self._begun = False
        self._lock = threading.Lock()

    def signal(self, number: int) -> None:
        """Hand a signal on to the worker."""
        with self._lock:
            self._signals.append(number)
            if self._begun:
                self._actor.signal.remote(number)
            elif self._actor is not None:  # or it would begin as soon as the others have stopped
                self._ray.kill(self._actor)

    def wait(self) -> Outcome:
        """Wait for a worker to execute the job, again if it dies."""
        begun = 1
        while (outcome := self._attempt(last=begun > RETRIES)) is None:
            begun += 1
        if begun > 1:
            message = f"{outcome.message}; begun {begun} times".removeprefix("; ")
            outcome = outcome._replace(message=message)
        return outcome

    def _attempt(self, *, last: bool) -> Outcome | None:
        """Execute the job once; None if it was killed, unless this is the `last` time."""
        job, ray, mark = self._job, self._ray, uuid.uuid4().hex
        actor = ray.remote(JobActor).options(
            num_cpus=job.cpus, num_gpus=job.gpus, max_concurrency=2, max_restarts=0
        ).remote()  # fmt: skip
        job.folder.mkdir(parents=True, exist_ok=True)
        (job.folder / MARK_FILE).write_text(mark)
        record: Record | None = None
        cause = "its process was killed"
        not_begun = Outcome(job.name, "stopped", 0.0, "not begun")
        try:
            with self._lock:
                if self._signals:
                    return not_begun
                self._actor = actor
            ray.get(actor.begin.remote(job.plan(Path.cwd()), mark))
            with self._lock:
                if self._signals:  # the actor is killed, and its command saves and ends
                    return not_begun
                self._begun = True
            record, files = ray.get(actor.end.remote())
            for name, content in files.items():
                (job.folder / name).parent.mkdir(parents=True, exist_ok=True)
                (job.folder / name).write_bytes(content)
        except ray.exceptions.RayError as error:
            if self._signals and not self._begun:
                return not_begun
            cause = f"its worker died ({last_error(str(error))})"
        finally:
            with self._lock:
                self._actor, self._begun = None, False
            ray.kill(actor)
            (job.folder / MARK_FILE).unlink(missing_ok=True)
        killed = record is None or record["code"] == -signal.SIGKILL
        if killed and not last and not self._signals:
            return None
        outcome = outcome_of(job, record, asked=bool(self._signals))
        return outcome if record else outcome._replace(message=f"{cause}; {job.folder / 'output.log'}")


class JobActor:
    """Executes one job on a worker, with one thread that waits and another that receives signals."""

    def __init__(self) -> None:
        self._process: Supervised | None = None
        self._folder = Path()
        self._shared = True

    def begin(self, plan: Mapping[str, Any], mark: str) -> None:
        """Start the job's command; `mark` is what the launcher wrote into the folder's `MARK_FILE`."""
        self._folder = Path(plan["folder"])
        file = self._folder / MARK_FILE
        self._shared = file.is_file() and file.read_text() == mark
        self._process = Supervised(plan, os.environ)

    def signal(self, number: int) -> None:
        """Hand a signal on to the command."""
        assert self._process is not None
        self._process.signal(number)

    def end(self) -> tuple[Record | None, dict[str, bytes]]:
        """How the command ended; small files by relative paths, if the launcher does not share the folder."""
        assert self._process is not None
        record = self._process.wait()
        files = () if self._shared else sorted(self._folder.rglob("*"))
        return record, {
            str(path.relative_to(self._folder)): path.read_bytes()
            for path in files
            if path.is_file() and path.suffix != ".ckpt" and path.stat().st_size <= MAX_RETURNED_FILE_BYTES
        }


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
    command = [sys.executable, "-c", code, address]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=ADDRESS_TIMEOUT_SECONDS, check=False
        )
    except subprocess.TimeoutExpired:
        raise InputError("--address", f"what is no Ray cluster at {address}", expected) from None
    if done.returncode:
        raise InputError("--address", f"{address}, where {last_error(done.stderr)}", expected)


def restore_handlers(interrupt: Any, terminate: Any) -> None:
    """Undo Ray's own signal handlers."""
    with suppress(ValueError):  # not in the main thread: Ray has set none
        signal.signal(signal.SIGINT, interrupt)
        signal.signal(signal.SIGTERM, terminate)
