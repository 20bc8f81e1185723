"""A Slurm of one node in a new folder, from Debian's packages slurm-wlm and munge."""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

__all__ = ["SlurmError", "single_node"]

DAEMONS = ("munged", "slurmctld", "slurmd")
CONFIGURATION = """\
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={controller_port}
SlurmdPort={node_port}
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
CredType=cred/munge
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SchedulerParameters=defer_batch=0,sched_interval=1,bf_interval=1,batch_sched_delay=0,sched_min_interval=100000
MpiDefault=none
ReturnToService=2
KillWait=5
NodeName={host} NodeAddr=127.0.0.1 CPUs=2 State=UNKNOWN
PartitionName=main Nodes={host} Default=YES MaxTime=INFINITE State=UP OverSubscribe=NO
"""


class SlurmError(RuntimeError):
    """There is no Slurm here, or it does not start."""


def program(name: str) -> str:
    found = shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
    if found is None:
        raise SlurmError(f"{name} is not installed: apt-get install slurm-wlm munge")
    return found


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


@contextmanager
def daemon(folder: Path, *command: str) -> Iterator[None]:
    with (folder / f"{Path(command[0]).name}.out").open("wb") as log:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
        )
    try:
        yield
    finally:
        process.terminate()
        try:
            process.wait(2)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@contextmanager
def single_node(folder: Path) -> Iterator[Path]:
    """Have a Slurm with two processors run; the path of its configuration, for ``SLURM_CONF``.

    Parameters
    ----------
    folder
        For its state and logs; belongs to this user, who is also the one that it runs as.

    Raises
    ------
    SlurmError
        Not installed, or it does not come up; says what it logged last.
    """
    munged, slurmctld, slurmd = map(program, DAEMONS)
    for name in ("sbatch", "squeue", "scancel", "scontrol", "sinfo"):
        program(name)
    folder.chmod(0o755)
    for name in ("state", "spool"):
        (folder / name).mkdir()
    key = folder / "munge.key"
    key.write_bytes(os.urandom(128))
    key.chmod(0o600)
    file = folder / "slurm.conf"
    file.write_text(
        CONFIGURATION.format(
            folder=folder,
            host=socket.gethostname().partition(".")[0],
            user=pwd.getpwuid(os.getuid()).pw_name,
            controller_port=free_port(),
            node_port=free_port(),
        )
    )
    munge = [
        f"--{name}={folder}/munge.{name.partition('-')[0]}"
        for name in ("key-file", "pid-file", "log-file", "seed-file")
    ]
    with ExitStack() as stack:
        stack.enter_context(
            daemon(folder, munged, "--foreground", "--force", f"--socket={folder}/munge.socket", *munge)
        )
        wait(folder, lambda: (folder / "munge.socket").exists())
        stack.enter_context(daemon(folder, slurmctld, "-D", "-f", str(file)))
        stack.enter_context(daemon(folder, slurmd, "-D", "-f", str(file)))
        wait(folder, lambda: "idle" in ask(file, "sinfo", "--noheader", "--format=%T"))
        try:
            yield file
        finally:  # what a failed test has left
            ask(file, "scancel", "--quiet", f"--user={os.getuid()}")
            with suppress(SlurmError):
                wait(folder, lambda: not ask(file, "squeue", "--noheader").strip(), 10)


def ask(file: Path, *command: str) -> str:
    environment = {**os.environ, "SLURM_CONF": str(file)}
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False).stdout


def wait(folder: Path, true: Callable[[], bool], seconds: float = 40.0) -> None:
    end = time.monotonic() + seconds
    while not true():
        if time.monotonic() > end:
            logs = [
                path.read_text(errors="replace").splitlines()[-3:] for path in sorted(folder.glob("*.log"))
            ]
            raise SlurmError(f"it does not start: {logs}")
        time.sleep(0.1)


if __name__ == "__main__":  # python slurm_cluster.py FOLDER COMMAND …: carries out a command with it
    with single_node(Path(sys.argv[1]).resolve()) as configuration:
        os.environ["SLURM_CONF"] = str(configuration)
        sys.exit(subprocess.run(sys.argv[2:], check=False).returncode)
