"""One task of an array job: :func:`main` with the file of plans and an index as arguments.

It carries out the plan, and writes how that ended into the plan's ``record``. Slurm sends SIGUSR1 to it alone
some time before the limit: the command saves its state, and the task goes back into the queue. SIGUSR2 to it
alone is from the launcher. SIGTERM is from Slurm, to all of the task's processes.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn

from data.formats.files import write_text
from training.launch.job import Record
from training.launch.supervise import Supervisor

__all__ = ["main"]

HANDED_ON: dict[int, int] = {
    signal.SIGUSR1: signal.SIGTERM,
    signal.SIGUSR2: signal.SIGTERM,
    signal.SIGTERM: 0,
}
STOPPED = (-signal.SIGTERM, -signal.SIGINT, 128 + signal.SIGTERM, 128 + signal.SIGINT)


def main() -> NoReturn:
    """Carry out the plan that the arguments name, and exit as its command has."""
    sys.exit(carry_out(Path(sys.argv[1]), int(sys.argv[2])))


def carry_out(plans: Path, index: int) -> int:
    """Carry out one of the plans of a file; its exit code."""
    plan = json.loads(plans.read_text())[index]
    record = Path(plan["record"])
    record.unlink(missing_ok=True)  # of a time before it went back into the queue
    missing = [name for name, file in plan["needs"].items() if not is_done(Path(file))]
    if missing:
        write_text(record, json.dumps({"skipped": f"{missing[0]} is not done"}))
        return 0
    supervisor = Supervisor(plan, HANDED_ON)
    ended = supervisor.run()
    if ended["code"] in STOPPED and supervisor.received[:1] == [signal.SIGUSR1] and requeue():
        return 0
    write_text(record, json.dumps(ended))
    return min(abs(int(ended["code"])), 255)


def is_done(record: Path) -> bool:
    """Whether a job's record says that it has succeeded."""
    return record.is_file() and bool(json.loads(record.read_text()).get("code") == 0)


def requeue() -> bool:
    """Put this task back into Slurm's queue; whether that was possible."""
    command = ["scontrol", "requeue", os.environ.get("SLURM_JOB_ID", "")]
    return subprocess.run(command, check=False).returncode == 0


def read_record(file: Path) -> Record | str | None:
    """How a task ended; why it was skipped; or None where there is no word of it."""
    if not file.is_file():
        return None
    record: Mapping[str, Any] = json.loads(file.read_text())
    if "skipped" in record:
        return str(record["skipped"])
    return Record(code=record["code"], seconds=record["seconds"], message=record["message"])
