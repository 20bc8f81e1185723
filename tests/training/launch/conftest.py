"""A small command that works, saves its state and ends as a training run does, and jobs made of it."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from training.launch import Job

WORKER = '''
"""FOLDER STEPS [--resume]: keeps its state; on a signal it saves and ends with 128 + the number."""
import os, signal, sys, time
from pathlib import Path

folder, steps, resumed = Path(sys.argv[1]), int(sys.argv[2]), "--resume" in sys.argv
last = folder / "checkpoints" / "last.ckpt"
last.parent.mkdir(parents=True, exist_ok=True)
done = int(last.read_text()) if resumed else 0
asked = []

def note(name, value):
    with (folder / name).open("a") as file:
        file.write(f"{value}\\n")

def receive(number, frame):
    note("signals", number)
    asked.append(number)

for number in (signal.SIGINT, signal.SIGTERM):
    signal.signal(number, receive)
note("starts", done)
(folder / "pid").write_text(str(os.getpid()))
while done < steps:
    time.sleep(0.02)
    done += 1
    part = last.with_suffix(".part")
    part.write_text(str(done))
    part.replace(last)
    if asked and "--deaf" not in sys.argv:
        print(f"stopped by signal {asked[0]}; the state is kept in {last}", file=sys.stderr)
        sys.exit(128 + asked[0])
(folder / "scores.json").write_text(f'{{"steps": {done}}}')
print("finished after", done, "steps")
'''


@pytest.fixture
def make_job(tmp_path: Path) -> Callable[..., Job]:
    """``make_job(name, steps, *options)``: a job that takes about 20 ms a step and keeps its state."""
    script = tmp_path / "worker.py"
    script.write_text(WORKER)

    def make(name: str, steps: int = 1, *options: str, **fields: object) -> Job:
        command = (sys.executable, str(script), str(tmp_path / name), str(steps), *options)
        given = {"resume": (*command, "--resume"), **fields}
        return Job(name, command, tmp_path / name, **given)  # type: ignore[arg-type]

    return make


def alive(pid: int) -> bool:
    """Whether a process is there and has not ended."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    status = Path(f"/proc/{pid}/stat")
    return not (status.exists() and status.read_text().rpartition(")")[2].split()[0] == "Z")


def wait_until(true: Callable[[], object], seconds: float = 30.0) -> None:
    """Wait until something is so; fail if it does not come to be."""
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)


@pytest.fixture(name="wait_until")
def wait_until_fixture() -> Callable[..., None]:
    return wait_until


@pytest.fixture(name="alive")
def alive_fixture() -> Callable[[int], bool]:
    return alive
