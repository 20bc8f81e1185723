"""Jobs as processes of this machine: outcomes, order, logs, signals, and nothing left behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from data.records import InputError
from training.launch import Job, LocalLauncher, Outcome
from training.launch.local import end_of, hang_up, start
from training.launch.supervise import child_environment

ROOT = Path(__file__).resolve().parents[3]
MakeJob = Callable[..., Job]
CLUSTER = {
    "SLURM_NTASKS": "2",
    "SLURM_JOB_NAME": "array",
    "SLURM_PROCID": "1",
    "RANK": "1",
    "LOCAL_RANK": "1",
    "WORLD_SIZE": "2",
    "MASTER_ADDR": "elsewhere",
    "RAY_JOB_ID": "1",
}
"""What a cluster tells the processes that it starts."""


def python(tmp_path: Path, name: str, code: str, **fields: object) -> Job:
    """A job that carries out a line of Python."""
    return Job(name, (sys.executable, "-c", code), tmp_path / name, **fields)  # type: ignore[arg-type]


def states(outcomes: list[Outcome]) -> list[str]:
    return [outcome.state for outcome in outcomes]


def test_no_jobs() -> None:
    assert LocalLauncher().run([], lambda outcome: None) == []


def test_a_failed_job_takes_only_those_after_it(tmp_path: Path) -> None:
    jobs = [
        python(tmp_path, "last", "print('not reached')", after=("second",)),
        python(tmp_path, "first", "import sys; print('working'); sys.exit('error: no such data')"),
        python(tmp_path, "second", "print('not reached')", after=("first", "other")),
        python(tmp_path, "other", "print('out'); import sys; print('err', file=sys.stderr)"),
        Job("absent", ("no-such-program",), tmp_path / "absent"),
        python(
            tmp_path, "after", f"assert open({str(tmp_path / 'other' / 'output.log')!r})", after=("other",)
        ),
    ]
    reported: list[Outcome] = []
    outcomes = LocalLauncher().run(jobs, reported.append)
    assert [outcome.name for outcome in outcomes] == [job.name for job in jobs]
    assert states(outcomes) == ["skipped", "failed", "skipped", "done", "failed", "done"]
    assert sorted(reported) == sorted(outcomes)
    log = tmp_path / "first" / "output.log"
    assert outcomes[1].message == f"error: no such data (exit code 1; {log})"
    assert outcomes[2].message == "first failed"
    assert outcomes[0].message == "second was skipped"
    assert "no-such-program: No such file" in outcomes[4].message
    assert log.read_text().splitlines()[1:] == ["working", "error: no such data"]
    assert (tmp_path / "other" / "output.log").read_text().splitlines()[1:] == ["out", "err"]
    assert not (tmp_path / "second").exists()


def test_the_last_error_is_told_and_logs_are_added_to(tmp_path: Path) -> None:
    job = python(tmp_path, "job", "import warnings; raise ValueError('what it was\\nand more')")
    for _ in range(2):
        (outcome,) = LocalLauncher().run([job], lambda outcome: None)
        assert outcome.message.startswith("ValueError: what it was (exit code 1; ")
    assert (tmp_path / "job" / "output.log").read_text().count("Traceback") == 2
    job = python(tmp_path, "job", "import os; os.kill(os.getpid(), 9)")
    (outcome,) = LocalLauncher().run([job], lambda outcome: None)
    assert outcome.state == "failed"
    assert "killed by SIGKILL" in outcome.message
    assert "ValueError" not in outcome.message, "that is from an earlier time"


@pytest.mark.parametrize("parallel", [1, 3])
def test_so_many_at_a_time(tmp_path: Path, parallel: int) -> None:
    code = (
        "import pathlib, time, os; me = pathlib.Path('here', str(os.getpid()))\n"
        "me.parent.mkdir(exist_ok=True); me.touch(); most = 0\n"
        "for _ in range(20): time.sleep(0.02); most = max(most, len(list(me.parent.iterdir())))\n"
        "me.unlink(); print(most)"
    )
    jobs = [
        Job(
            str(n),
            (sys.executable, "-c", f"import os; os.chdir({str(tmp_path)!r})\n{code}"),
            tmp_path / str(n),
        )
        for n in range(2 * parallel)
    ]
    assert set(states(LocalLauncher(parallel).run(jobs, lambda outcome: None))) == {"done"}
    most = [int((job.folder / "output.log").read_text().split()[-1]) for job in jobs]
    assert max(most) == parallel


def test_goes_on_from_the_last_checkpoint(make_job: MakeJob) -> None:
    job = make_job("run", 3)
    (job.folder / "checkpoints").mkdir(parents=True)
    (job.folder / "checkpoints" / "last.ckpt").write_text("2")
    assert states(LocalLauncher().run([job], lambda outcome: None)) == ["done"]
    assert (job.folder / "starts").read_text() == "2\n"
    assert (job.folder / "output.log").read_text().splitlines()[0].endswith("--resume")


def test_a_run_sees_nothing_of_the_cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (*CLUSTER, "CUDA_VISIBLE_DEVICES"):
        monkeypatch.setenv(name, "1")
    job = python(tmp_path, "job", "import os; print(*os.environ)")
    assert states(LocalLauncher().run([job], lambda outcome: None)) == ["done"]
    names = set((job.folder / "output.log").read_text().splitlines()[-1].split())
    assert not names & CLUSTER.keys()
    assert {"PATH", "CUDA_VISIBLE_DEVICES"} <= names


def test_lightning_does_not_take_the_cluster_for_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    from lightning.fabric.plugins.environments import LightningEnvironment, SLURMEnvironment
    from lightning.fabric.utilities.rank_zero import _get_rank

    for name, value in CLUSTER.items():
        monkeypatch.setenv(name, value)
    assert SLURMEnvironment.detect(), "else this test shows nothing"
    assert _get_rank() == 1
    monkeypatch.setattr(os, "environ", child_environment(os.environ))
    assert not SLURMEnvironment.detect()
    assert _get_rank() is None
    assert not LightningEnvironment().creates_processes_externally, "it starts those of --devices itself"


@contextmanager
def launched(jobs: list[Job], *, parallel: int = 2) -> Iterator[subprocess.Popen[str]]:
    """A process that launches jobs and prints the signal it was stopped by, and what became of the jobs."""
    code = f"""
import signal; from pathlib import Path, PosixPath; from training.launch import *
launcher = LocalLauncher({parallel})
for outcome in launcher.run({jobs!r}, lambda outcome: None):
    print(outcome.state, outcome.message)
print(launcher.stopped_by, signal.getsignal(signal.SIGINT) is signal.default_int_handler)
"""
    process = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def pid_of(job: Job) -> int:
    """The process of a job that has begun, or 0."""
    file = job.folder / "pid"
    return int(file.read_text() or 0) if file.exists() else 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_lets_the_jobs_save_their_state(
    make_job: MakeJob, number: int, wait_until: Callable[..., None], alive: Callable[[int], bool]
) -> None:
    jobs = [make_job("one", 2000), make_job("two", 2000), make_job("three"), make_job("four", after=("one",))]
    with launched(jobs) as process:
        wait_until(lambda: all(map(pid_of, jobs[:2])))
        process.send_signal(number)
        lines = process.communicate(timeout=30)[0].splitlines()
    last = jobs[0].folder / "checkpoints" / "last.ckpt"
    assert lines[0] == (
        f"stopped stopped by signal {number}; the state is kept in {last} "
        f"(exit code {128 + number}; {jobs[0].folder / 'output.log'})"
    )
    assert [line.split()[0] for line in lines[1:4]] == ["stopped"] * 3
    assert lines[2] == lines[3] == "stopped not begun"
    assert lines[4] == f"{number} True"
    for job in jobs[:2]:
        assert (job.folder / "signals").read_text() == f"{number}\n", "once"
        assert int((job.folder / "checkpoints" / "last.ckpt").read_text()) < 2000
        assert not alive(pid_of(job))
    assert not jobs[2].folder.exists()


def test_a_second_signal_kills(
    make_job: MakeJob, wait_until: Callable[..., None], alive: Callable[[int], bool]
) -> None:
    job = make_job("deaf", 2000, "--deaf")
    with launched([job]) as process:
        wait_until(lambda: pid_of(job))
        process.send_signal(signal.SIGINT)
        wait_until((job.folder / "signals").exists)
        process.send_signal(signal.SIGINT)
        lines = process.communicate(timeout=30)[0].splitlines()
    assert lines[0].startswith("stopped ")
    assert "killed by SIGKILL" in lines[0]
    assert not alive(pid_of(job))


def test_jobs_of_a_killed_launcher_save_and_end(
    make_job: MakeJob, wait_until: Callable[..., None], alive: Callable[[int], bool]
) -> None:
    job = make_job("run", 2000)
    with launched([job]) as process:
        wait_until(lambda: pid_of(job))
        process.kill()
        wait_until(lambda: not alive(pid_of(job)))
    assert (job.folder / "signals").read_text() == f"{signal.SIGTERM.value}\n"


def test_deaf_jobs_of_a_killed_launcher_are_killed(
    make_job: MakeJob, wait_until: Callable[..., None], alive: Callable[[int], bool]
) -> None:
    job = make_job("deaf", 2000, "--deaf")
    supervisor = start({**job.plan(Path.cwd()), "grace": 0.2}, os.environ)
    wait_until(lambda: pid_of(job))
    hang_up(supervisor)
    record = end_of(supervisor)
    assert record is not None
    assert record["code"] == -signal.SIGKILL
    assert not alive(pid_of(job))


def test_jobs_of_a_killed_supervisor_save_and_end(
    make_job: MakeJob, wait_until: Callable[..., None], alive: Callable[[int], bool]
) -> None:
    job = make_job("run", 2000)
    supervisor = start(job.plan(Path.cwd()), os.environ)
    wait_until(lambda: pid_of(job))
    supervisor.kill()
    assert end_of(supervisor) is None
    wait_until(lambda: not alive(pid_of(job)))
    assert (job.folder / "signals").exists()


def test_nothing_that_a_job_started_outlives_it(
    tmp_path: Path, wait_until: Callable[..., None], alive: Callable[[int], bool]
) -> None:
    code = "import subprocess, os; print(subprocess.Popen(['sleep', '600']).pid, flush=True); os._exit(3)"
    job = python(tmp_path, "parent", code)
    (outcome,) = LocalLauncher().run([job], lambda outcome: None)
    assert outcome.state == "failed"
    pid = int((job.folder / "output.log").read_text().split()[-1])
    wait_until(lambda: not alive(pid))


def test_two_launches_do_not_work_in_one_folder(make_job: MakeJob, wait_until: Callable[..., None]) -> None:
    job = make_job("run", 2000)
    first = start(job.plan(Path.cwd()), os.environ)
    wait_until(lambda: pid_of(job))
    second = end_of(start({**job.plan(Path.cwd()), "grace": -4.8}, os.environ))  # waits for 0.2 s
    assert second is not None
    assert second["message"] == f"error: another process works in {job.folder}"
    first.terminate()
    record = end_of(first)
    assert record is not None
    assert record["code"] == 128 + signal.SIGTERM
    assert (job.folder / "starts").read_text() == "0\n"


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    job = Job("job", (sys.executable, "-c", ""), tmp_path / "file" / "job")
    (outcome,) = LocalLauncher().run([job], lambda outcome: None)
    assert outcome.state == "failed"
    assert outcome.message.startswith(f"error: {tmp_path / 'file' / 'job'}: Not a directory")


def test_an_error_in_the_report_ends_the_other_jobs(
    make_job: MakeJob, alive: Callable[[int], bool], wait_until: Callable[..., None]
) -> None:
    long = make_job("long", 2000)

    def report(outcome: Outcome) -> None:
        wait_until(lambda: pid_of(long))
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        LocalLauncher(2).run([make_job("short"), long], report)
    assert not alive(pid_of(long))


@pytest.mark.parametrize(
    ("jobs", "words"),
    [
        ([("a", "x", ()), ("a", "y", ())], "two of the name a"),
        ([("a", "x", ()), ("b", "z/../x", ())], "two of the folder"),
        ([("a", "x", ("c",))], "job a: found after: c"),
        ([("a", "x", ("b",)), ("b", "y", ("a",)), ("c", "z", ())], "a, b: each waits for another"),
    ],
)
def test_jobs_that_cannot_be_carried_out(
    tmp_path: Path, jobs: list[tuple[str, str, tuple[str, ...]]], words: str
) -> None:
    made = [Job(name, ("true",), tmp_path / folder, after) for name, folder, after in jobs]
    with pytest.raises(InputError, match=words):
        LocalLauncher().run(made, lambda outcome: None)
    assert not list(tmp_path.iterdir())


def test_parallel_must_be_positive() -> None:
    with pytest.raises(InputError, match="--parallel: found 0"):
        LocalLauncher(0)


def test_a_plan_is_json(make_job: MakeJob) -> None:
    plan = json.loads(json.dumps(make_job("run").plan(Path("/elsewhere"))))
    assert plan["directory"] == "/elsewhere"
    assert plan["resume"][-1] == "--resume"
