"""Stands beside one job's command: logs what it prints, hands signals on, leaves nothing of it behind.

A program of its own, with nothing but the standard library, since it has work to do after the launcher was
killed: ``python -I supervise.py PLAN`` with :meth:`Job.plan` as JSON. Its standard input is a pipe that the
launcher holds open. Once that closes, the command is asked to save its state, and killed if it has not ended
`GRACE` seconds later. On SIGINT and SIGTERM the command gets the same signal; on a second one it is killed.
How the command ended is printed as JSON (:class:`~training.launch.job.Record`).
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

__all__ = ["Supervisor", "child_environment", "last_words", "main"]

GRACE = 60.0
"""Seconds that a command has to save its state when nobody waits for it any more."""

HANDED_ON: dict[int, int] = {signal.SIGINT: signal.SIGINT, signal.SIGTERM: signal.SIGTERM}

FOREIGN = re.compile(
    r"(SLURM|SLURMD|SBATCH|SRUN|PMI|PMIX|OMPI|LSB|JSM|RAY|TORCHELASTIC)_\w*"
    r"|RANK|LOCAL_RANK|NODE_RANK|GROUP_RANK|WORLD_SIZE|LOCAL_WORLD_SIZE|MASTER_ADDR|MASTER_PORT"
)
"""What a cluster says about its own processes. A run would take it for a statement about itself: with
SLURM_NTASKS Lightning starts no processes for ``--devices``, and waits for those that srun has started."""


def child_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """The environment of a command: what it has here, without what concerns the launcher's own processes.

    Examples
    --------
    >>> child_environment({"PATH": "/bin", "SLURM_NTASKS": "1", "RANK": "0", "CUDA_VISIBLE_DEVICES": "3"})
    {'PATH': '/bin', 'CUDA_VISIBLE_DEVICES': '3'}
    """
    return {name: value for name, value in environment.items() if not FOREIGN.fullmatch(name)}


def last_words(text: str) -> str:
    """What a command said about its end: the last line that names an error, else the last one.

    Examples
    --------
    >>> last_words("epoch 1\\nerror: no such file\\nTerminated\\n")
    'error: no such file'
    """
    lines = [line.strip() for line in re.split(r"[\r\n]+", text) if line.strip()][-10:]
    errors = [line for line in lines if re.match(r"error:|[\w.]*(Error|Exception|Interrupt)\b", line)]
    return (errors or lines or [""])[-1][:300]


def has_ended(process: subprocess.Popen[bytes]) -> bool:
    """Whether a process has ended; not reaped here, it keeps its number, and so that of its group."""
    if not hasattr(os, "waitid"):  # macOS, before Python 3.13
        return process.poll() is not None
    return os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


def begin_child() -> None:
    """In the new process: receive signals, and on Linux SIGTERM once the one that started it was killed."""
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGTERM, 0, 0, 0)  # PR_SET_PDEATHSIG


class Supervisor:
    """Carries out one command.

    Parameters
    ----------
    plan
        ``command``, ``resume``, ``folder`` and ``directory``, as :meth:`Job.plan` gives them; ``grace``
        stands for `GRACE`.
    handed_on
        What the command is sent for each signal received here; 0: nothing, as it has received it too.
    """

    def __init__(self, plan: Mapping[str, Any], handed_on: Mapping[int, int] = HANDED_ON) -> None:
        self.plan = plan
        self.folder = Path(plan["folder"])
        self.grace = float(plan.get("grace", GRACE))
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
        """Carry the command out, and return how it ended: a :class:`~training.launch.job.Record`.

        Parameters
        ----------
        pipe
            Closes when the launcher has gone.
        """
        signal.pthread_sigmask(signal.SIG_SETMASK, ())  # workers of Ray have SIGINT blocked
        signal.set_wakeup_fd(self._waker, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda number, frame: None)
        for number in self.handed_on:
            signal.signal(number, self.receive)
        self.folder.mkdir(parents=True, exist_ok=True)
        began = time.monotonic()
        with (self.folder / "output.log").open("ab") as log:
            start = log.tell()
            if self._is_alone(log):
                code = self._carry_out(log, pipe)
            elif self.received:
                code = 128 + signal.SIGTERM
            else:
                log.write(f"error: another process works in {self.folder}\n".encode())
                code = 2
        with (self.folder / "output.log").open("rb") as text:
            text.seek(max(start, text.seek(0, os.SEEK_END) - 20_000))
            words = last_words(text.read().decode(errors="replace")) if code else ""
        return {"code": code, "seconds": round(time.monotonic() - began, 3), "message": words}

    def _is_alone(self, log: BinaryIO) -> bool:
        """Lock the log until the command has ended, and so the folder.

        What is left of an earlier launch is waited for: it ends soon after its launcher.
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

    def _carry_out(self, log: BinaryIO, pipe: int | None) -> int:
        resume = self.plan["resume"] and (self.folder / "checkpoints" / "last.ckpt").exists()
        command = self.plan["resume" if resume else "command"]
        if self.received:
            return 128 + signal.SIGTERM
        log.write(f"== {time.strftime('%Y-%m-%d %H:%M:%S')} {shlex.join(command)}\n".encode())
        log.flush()
        signal.pthread_sigmask(signal.SIG_BLOCK, self.handed_on)  # received once it is known whom to tell
        try:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=self.plan["directory"],
                env=child_environment(os.environ),
                process_group=0,
                preexec_fn=begin_child,
            )
        except OSError as error:
            log.write(f"error: {error.filename or command[0]}: {error.strerror}\n".encode())
            return 127
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, self.handed_on)
        return self._wait(pipe)

    def _wait(self, pipe: int | None) -> int:
        assert self._process is not None
        deadline: float | None = None
        while not has_ended(self._process):
            watched = [self._wakeup, *([] if pipe is None else [pipe])]
            timeout = None if deadline is None else max(0.0, deadline - time.monotonic())
            readable = select.select(watched, [], [], timeout)[0]
            if self._wakeup in readable:
                os.read(self._wakeup, 4096)
            if pipe in readable and not os.read(pipe, 4096):  # type: ignore[arg-type]
                pipe, deadline = None, time.monotonic() + self.grace
                if not self.received:
                    self.receive(signal.SIGTERM)
            if deadline is not None and time.monotonic() >= deadline:
                self._signal(signal.SIGKILL)
                deadline = None
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)  # what it has left behind
        return self._process.wait()


def main() -> int:
    """Carry out the plan that the first argument holds."""
    try:
        record = Supervisor(json.loads(sys.argv[1])).run(sys.stdin.fileno())
    except OSError as error:  # the folder
        record = {
            "code": 2,
            "seconds": 0.0,
            "message": f"error: {error.filename or 'a file'}: {error.strerror}",
        }
    with contextlib.suppress(BrokenPipeError):
        print(json.dumps(record), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
