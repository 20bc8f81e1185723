"""Supervises the command of one job: logs what it prints, hands signals on, leaves no process behind.

A program that uses the standard library alone, because it still has work to do after its launcher was
killed: ``python -I supervise.py PLAN`` with ``Job.plan`` as JSON. Its standard input is a pipe that the
launcher keeps open. When that closes, the command is asked to save its state, and killed if it has not ended
`GRACE_SECONDS` later. On SIGINT and SIGTERM the command gets the same signal; on a second one it is killed.
How the command ended is printed as JSON (``Record``).
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import json
import os
import re
import select
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from types import FrameType
from typing import Any, BinaryIO

__all__ = ["Supervisor", "child_environment", "last_error"]

GRACE_SECONDS = 60.0
"""What a command gets to save its state once its launcher is gone."""

SAME_SIGNALS: dict[int, int] = {signal.SIGINT: signal.SIGINT, signal.SIGTERM: signal.SIGTERM}

CLUSTER_VARIABLES = re.compile(
    r"(SLURM|SLURMD|SBATCH|SRUN|SUBMITIT|PMI|PMIX|OMPI|LSB|JSM|RAY|TORCHELASTIC)_\w*"
    r"|RANK|LOCAL_RANK|NODE_RANK|GROUP_RANK|WORLD_SIZE|LOCAL_WORLD_SIZE|MASTER_ADDR|MASTER_PORT"
)
"""They describe the launcher's processes. A run would apply them to itself: with SLURM_NTASKS Lightning
starts no processes for ``--devices``, and waits for those that srun has started."""


def child_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """The environment of a command, without the variables of a cluster."""
    return {name: value for name, value in environment.items() if not CLUSTER_VARIABLES.fullmatch(name)}


def last_error(text: str) -> str:
    """The last of the last lines that names an error; without one, the last line.

    Examples
    --------
    >>> last_error("epoch 1\\nerror: no such file\\nTerminated\\n")
    'error: no such file'
    """
    lines = [line.strip() for line in re.split(r"[\r\n]+", text) if line.strip()][-10:]
    errors = [line for line in lines if re.match(r"error:|[\w.]*(Error|Exception|Interrupt)\b", line)]
    return (errors or lines or [""])[-1][:300]


def has_ended(process: subprocess.Popen[bytes]) -> bool:
    """Whether a process has ended. It is not reaped here, so that its process group keeps its number."""
    if not hasattr(os, "waitid"):  # macOS, before Python 3.13
        return process.poll() is not None
    return os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


def prepare_child() -> None:
    """In the new process: unblock signals, and on Linux ask for SIGTERM when the supervisor is killed."""
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGTERM, 0, 0, 0)  # PR_SET_PDEATHSIG


class Supervisor:
    """Executes one command.

    Parameters
    ----------
    plan
        ``command``, ``resume``, ``folder`` and ``directory``, as ``Job.plan`` gives them; ``grace`` replaces
        `GRACE_SECONDS`.
    handed_on
        What the command is sent for each signal received here; 0: nothing, as it has received it too.
    """

    def __init__(self, plan: Mapping[str, Any], handed_on: Mapping[int, int] = SAME_SIGNALS) -> None:
        self.plan = plan
        self.folder = Path(plan["folder"])
        self.grace = float(plan.get("grace", GRACE_SECONDS))
        self.handed_on = handed_on
        self.received: list[int] = []
        self._process: subprocess.Popen[bytes] | None = None
        self._wakeup, self._waker = os.pipe()
        os.set_blocking(self._waker, False)

    def receive(self, number: int, frame: FrameType | None = None) -> None:
        """Hand a signal on; from the second one on, kill."""
        self.received.append(number)
        if self._process is not None:
            self._signal(self.handed_on[number] if len(self.received) == 1 else signal.SIGKILL)

    def _signal(self, number: int) -> None:
        # A signal to save goes to the command alone: its data workers would die of it in mid-step.
        if number and self._process is not None and self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                (os.killpg if number == signal.SIGKILL else os.kill)(self._process.pid, number)

    def run(self, pipe: int | None = None) -> dict[str, Any]:
        """Execute the command, and return its ``Record``; `pipe` closes when the launcher is gone."""
        signal.pthread_sigmask(signal.SIG_SETMASK, ())  # workers of Ray have SIGINT blocked
        signal.set_wakeup_fd(self._waker, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda number, frame: None)
        for number in self.handed_on:
            signal.signal(number, self.receive)
        began = time.monotonic()
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with (self.folder / "output.log").open("a+b") as log:
                start = log.seek(0, os.SEEK_END)
                code = self._execute(log, pipe)
                log.seek(max(start, log.seek(0, os.SEEK_END) - 20_000))
                message = last_error(log.read().decode(errors="replace")) if code else ""
        except OSError as error:
            code, message = 2, f"error: {error.filename or 'a file'}: {error.strerror}"
        return {"code": code, "seconds": round(time.monotonic() - began, 3), "message": message}

    def _execute(self, log: BinaryIO, pipe: int | None) -> int:
        alone = self._lock(log)
        if not alone and not self.received:
            log.write(f"error: another process works in {self.folder}\n".encode())
            log.flush()
            return 2
        resume = self.plan["resume"] and (self.folder / "checkpoints" / "last.ckpt").exists()
        command = self.plan["resume" if resume else "command"]
        log.write(f"== {time.strftime('%Y-%m-%d %H:%M:%S')} {shlex.join(command)}\n".encode())
        log.flush()
        signal.pthread_sigmask(signal.SIG_BLOCK, self.handed_on)  # until the process to hand them to is known
        try:
            if self.received:
                return 128 + signal.SIGTERM
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=self.plan["directory"],
                env=child_environment(os.environ),
                process_group=0,
                preexec_fn=prepare_child,
            )
        except OSError as error:
            log.write(f"error: {error.filename or command[0]}: {error.strerror}\n".encode())
            log.flush()
            return 127
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, self.handed_on)
        self._wait(self._process, pipe)
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)  # processes that it has left behind
        return self._process.wait()

    def _lock(self, log: BinaryIO) -> bool:
        """Lock the log, and so the folder, until the command has ended; whether that was possible.

        A process of an earlier launch is waited for: it ends soon after its launcher.
        """
        for _ in range(int(10 * (self.grace + 5))):
            try:
                fcntl.flock(log, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                time.sleep(0.1)
            except OSError:  # a file system without locks
                return True
            else:
                return True
            if self.received:
                break
        return False

    def _wait(self, process: subprocess.Popen[bytes], pipe: int | None) -> None:
        deadline: float | None = None
        while not has_ended(process):
            watched = [self._wakeup, *([] if pipe is None else [pipe])]
            timeout = None if deadline is None else max(0.0, deadline - time.monotonic())
            readable = select.select(watched, [], [], timeout)[0]
            if self._wakeup in readable:
                os.read(self._wakeup, 4096)
            if pipe is not None and pipe in readable and not os.read(pipe, 4096):
                pipe, deadline = None, time.monotonic() + self.grace
                if not self.received:
                    self.receive(signal.SIGTERM)
            if deadline is not None and time.monotonic() >= deadline:
                self._signal(signal.SIGKILL)
                deadline = None


if __name__ == "__main__":
    record = Supervisor(json.loads(sys.argv[1])).run(sys.stdin.fileno())
    with contextlib.suppress(BrokenPipeError):
        print(json.dumps(record), flush=True)
