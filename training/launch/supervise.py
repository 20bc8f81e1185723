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
import math
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
from typing import Any, BinaryIO

__all__ = ["Supervisor", "child_environment", "last_error"]

GRACE_SECONDS = 60.0
"""What a command gets to save its state once its launcher is gone."""

POLL_SECONDS = 0.05
"""How often the command, the signals and the launcher are checked."""

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


def die_with_supervisor() -> None:
    """In the new process, on Linux: ask for SIGTERM when the supervisor is killed."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGTERM, 0, 0, 0)  # PR_SET_PDEATHSIG


def kill_group(process: subprocess.Popen[bytes]) -> None:
    """Kill a command and the processes that it has started, those that are left."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)


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

    def run(self, pipe: int | None = None) -> dict[str, Any]:
        """Execute the command, and return its ``Record``; `pipe` closes when the launcher is gone."""
        signal.pthread_sigmask(signal.SIG_SETMASK, ())  # workers of Ray have SIGINT blocked
        for number in self.handed_on:
            signal.signal(number, lambda received, frame: self.received.append(received))
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
        def write(line: str) -> None:
            log.write(f"{line}\n".encode())
            log.flush()

        if not self._lock(log) and not self.received:
            write(f"error: another process works in {self.folder}")
            return 2
        resume = self.plan["resume"] and (self.folder / "checkpoints" / "last.ckpt").exists()
        command = self.plan["resume" if resume else "command"]
        write(f"== {time.strftime('%Y-%m-%d %H:%M:%S')} {shlex.join(command)}")
        if self.received:
            return 128 + signal.SIGTERM
        try:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=self.plan["directory"],
                env=child_environment(os.environ),
                process_group=0,
                preexec_fn=die_with_supervisor,
            )
        except OSError as error:
            write(f"error: {error.filename or command[0]}: {error.strerror}")
            return 127
        return self._wait(process, pipe)

    def _lock(self, log: BinaryIO) -> bool:
        """Lock the log, and so the folder, until the command has ended; whether that was possible.

        A process of an earlier launch is waited for: it ends soon after its launcher.
        """
        end = time.monotonic() + self.grace + 5
        while not self.received and time.monotonic() < end:
            try:
                fcntl.flock(log, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                time.sleep(0.1)
            except OSError:  # a file system without locks
                return True
            else:
                return True
        return False

    def _wait(self, process: subprocess.Popen[bytes], pipe: int | None) -> int:
        """Hand signals on until the command has ended; its exit code."""
        handed, deadline = 0, math.inf
        while process.poll() is None:
            for number in self.received[handed:]:
                handed += 1
                if handed > 1:
                    kill_group(process)
                elif sent := self.handed_on[number]:
                    # To the command alone: its data workers would die of a signal in mid-step.
                    os.kill(process.pid, sent)
            readable = select.select([] if pipe is None else [pipe], [], [], POLL_SECONDS)[0]
            if readable and not os.read(readable[0], 4096):
                pipe, deadline = None, time.monotonic() + self.grace
                self.received = self.received or [signal.SIGTERM]
            if time.monotonic() >= deadline:
                kill_group(process)
        kill_group(process)  # processes that it has left behind
        return process.wait()


if __name__ == "__main__":
    record = Supervisor(json.loads(sys.argv[1])).run(sys.stdin.fileno())
    with contextlib.suppress(BrokenPipeError):
        print(json.dumps(record), flush=True)
