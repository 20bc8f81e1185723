"""Launchers: what all of them promise, then what each does in its own way."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from data.records import InputError
from tests.training.launch.slurm_cluster import SlurmError, single_node
from training.launch import Job, Launcher, LocalLauncher, Outcome, RayLauncher, SlurmLauncher, ray_cluster
from training.launch.jobs import Record, Supervised, outcome_of
from training.launch.supervise import Supervisor, child_environment

ROOT = Path(__file__).resolve().parents[3]
MakeJob = Callable[..., Job]
CLUSTER = {
    "SLURM_NTASKS": "2", "SLURM_JOB_NAME": "array", "SLURM_PROCID": "1", "SUBMITIT_EXECUTOR": "slurm",
    "RANK": "1", "LOCAL_RANK": "1", "WORLD_SIZE": "2", "MASTER_ADDR": "elsewhere", "RAY_JOB_ID": "1",
}  # fmt: skip
"""What a cluster tells the processes that it starts."""

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
"""A command that works, saves its state and ends as a training run does."""


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


@pytest.fixture(scope="module")
def ray_launcher() -> Iterator[RayLauncher]:
    """A local Ray with two processors; started once, since that takes its time."""
    if importlib.util.find_spec("ray") is None:
        pytest.skip("Ray is not installed: pip install '.[cluster]'")
    launcher = RayLauncher(cpus=2, gpus=1)
    with launcher.connected():
        yield launcher


@pytest.fixture(scope="module")
def slurm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A real Slurm of one node with two processors."""
    with ExitStack() as stack:
        try:
            configuration = stack.enter_context(single_node(tmp_path_factory.mktemp("slurm")))
        except (SlurmError, OSError) as error:
            pytest.skip(f"no Slurm: {error}")
        stack.enter_context(pytest.MonkeyPatch.context()).setenv("SLURM_CONF", str(configuration))
        yield


@pytest.fixture(name="launcher", params=["local", "ray", "slurm"])
def any_launcher(request: pytest.FixtureRequest, tmp_path: Path) -> Launcher:
    """Each of them, with room for two jobs of one processor."""
    if request.param == "local":
        return LocalLauncher(2)
    if request.param == "ray":
        launcher: Launcher = request.getfixturevalue("ray_launcher")
        return launcher
    request.getfixturevalue("slurm")
    return SlurmLauncher(tmp_path / "slurm", poll_seconds=0.3)


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    status = Path(f"/proc/{pid}/stat")
    return not (status.exists() and status.read_text().rpartition(")")[2].split()[0] == "Z")


def wait_until(true: Callable[[], object], seconds: float = 30.0) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)


def ignore(outcome: Outcome) -> None:
    """A report that says nothing."""


def supervised(job: Job, **further: float) -> Supervised:
    return Supervised({**job.plan(Path.cwd()), **further}, os.environ)


def python(tmp_path: Path, name: str, code: str, **fields: Any) -> Job:
    return Job(name, (sys.executable, "-c", code), tmp_path / name, **fields)


def states(outcomes: list[Outcome]) -> list[str]:
    return [outcome.state for outcome in outcomes]


def log_of(job: Job) -> list[str]:
    return (job.folder / "output.log").read_text().splitlines()


def pid_of(job: Job) -> int:
    file = job.folder / "pid"
    return int(file.read_text() or 0) if file.exists() else 0


def steps(job: Job) -> int:
    last = job.folder / "checkpoints" / "last.ckpt"
    return int(last.read_text()) if last.exists() else 0


def when(true: Callable[[], object], act: Callable[[], None]) -> threading.Thread:
    """Do something in a thread as soon as something is so."""

    def run() -> None:
        wait_until(true, 180)
        act()

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    return thread


# ---------------------------------------------------------------- all launchers


def test_a_failed_job_stops_only_those_after_it(launcher: Launcher, make_job: MakeJob) -> None:
    jobs = [
        make_job("last", 1, after=("wrong",)),
        make_job("first", 10),
        make_job("wrong", 1, "--resume", after=("first",)),  # there is nothing to go on from
        make_job("after", 2, after=("first",)),
        make_job("very last", 2, after=("last", "first")),
    ]
    reported: list[Outcome] = []
    outcomes = launcher.run(jobs, reported.append)
    assert [outcome.name for outcome in outcomes] == [job.name for job in jobs]
    assert states(outcomes) == ["skipped", "done", "failed", "done", "skipped"]
    assert sorted(reported) == sorted(outcomes)
    assert re.fullmatch("wrong (failed|is not done)", outcomes[0].message)
    assert re.fullmatch("last (was skipped|is not done)", outcomes[4].message)
    assert re.match(r"FileNotFoundError.* \(exit code 1; .*output\.log\)", outcomes[2].message)
    assert outcomes[1].message == ""
    assert (jobs[1].folder / "scores.json").read_text() == '{"steps": 10}'
    assert log_of(jobs[1])[-1] == "finished after 10 steps"
    assert not (jobs[0].folder / "output.log").exists()
    assert launcher.stopped_by == 0
    assert launcher.run([], ignore) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_lets_the_jobs_save_their_state(launcher: Launcher, make_job: MakeJob, number: int) -> None:
    before = signal.getsignal(signal.SIGINT)
    jobs = [
        make_job("run", 3000),
        make_job("large", 3000, cpus=2.0, after=("short",)),  # one processor is not enough for it
        make_job("after", after=("run",)),
        make_job("short", 1),
    ]
    when(
        lambda: steps(jobs[0]) >= 2 and pid_of(jobs[3]) and not alive(pid_of(jobs[3])),
        lambda: os.kill(os.getpid(), number),
    )
    outcomes = launcher.run(jobs, ignore)
    local = isinstance(launcher, LocalLauncher)
    assert states(outcomes) == ["stopped", "stopped", "stopped", "done"]
    sent = signal.SIGTERM if isinstance(launcher, SlurmLauncher) else number
    assert f"stopped by signal {sent}; the state is kept" in outcomes[0].message
    assert local or outcomes[1].message == "not begun"
    assert outcomes[2].message == "not begun"
    assert launcher.stopped_by == number
    assert (jobs[0].folder / "signals").read_text() == f"{sent}\n", "once"
    assert 2 <= steps(jobs[0]) < 3000
    assert not alive(pid_of(jobs[0]))
    assert not jobs[2].folder.exists() or isinstance(launcher, SlurmLauncher)
    assert signal.getsignal(signal.SIGINT) is before


def test_goes_on_from_the_last_checkpoint(launcher: Launcher, make_job: MakeJob) -> None:
    job = make_job("run", 3)
    (job.folder / "checkpoints").mkdir(parents=True)
    (job.folder / "checkpoints" / "last.ckpt").write_text("2")
    assert states(launcher.run([job], ignore)) == ["done"]
    assert (job.folder / "starts").read_text() == "2\n"
    assert log_of(job)[0].endswith("--resume")
    left = {path.name for path in job.folder.iterdir()} - {".slurm"}
    assert left == {"checkpoints", "output.log", "pid", "scores.json", "starts"}


@pytest.mark.parametrize(
    ("make", "module", "words"),
    [
        (RayLauncher, "ray", "--on ray: found no Ray"),
        (SlurmLauncher, "submitit", "--on slurm: found no submitit"),
    ],
)
def test_without_the_library(
    monkeypatch: pytest.MonkeyPatch, make: Callable[[], Launcher], module: str, words: str
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(InputError, match=rf"{words} here; expected .*pip install '\.\[cluster\]'"):
        make()


# ---------------------------------------------------------------- on this machine


@pytest.mark.parametrize(
    ("code", "how", "last"),
    [
        ("raise ValueError('what\\nand more')", "exit code 1", ["ValueError: what", "and more"]),
        ("import sys; print('out'); sys.exit('error: no data')", "exit code 1", ["error: no data", "out"]),
        ("import os; os.kill(os.getpid(), 9)", "killed by SIGKILL", []),
        (None, "exit code 127", ["error: no-such-program: No such file or directory"]),
    ],
    ids=["raises", "exits", "killed", "absent"],
)
def test_the_last_error_is_reported_and_logs_are_appended_to(
    tmp_path: Path, code: str | None, how: str, last: list[str]
) -> None:
    job = Job("job", ("no-such-program",), tmp_path / "job")
    if code:
        job = python(tmp_path, "job", code)
    job.folder.mkdir()
    (job.folder / "output.log").write_text("ValueError: of an earlier time\n")
    (outcome,) = LocalLauncher().run([job], ignore)
    assert outcome.state == "failed"
    assert outcome.message.startswith(last[0] if last else "== ")
    assert outcome.message.endswith(f" ({how}; {job.folder / 'output.log'})")
    first, began, *lines = log_of(job)
    assert (first, began[:3]) == ("ValueError: of an earlier time", "== ")
    assert set(last) <= set(lines)


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    (outcome,) = LocalLauncher().run([Job("b", ("true",), tmp_path / "file" / "b")], ignore)
    assert outcome.state == "failed"
    assert outcome.message.startswith(f"error: {tmp_path / 'file' / 'b'}: Not a directory")


@pytest.mark.parametrize("parallel", [1, 3])
def test_so_many_at_a_time(tmp_path: Path, parallel: int) -> None:
    code = (
        f"import os, pathlib, time; os.chdir({str(tmp_path)!r})\n"
        "me = pathlib.Path('here', str(os.getpid()))\n"
        "me.parent.mkdir(exist_ok=True); me.touch(); most = 0\n"
        "for _ in range(20): time.sleep(0.02); most = max(most, len(list(me.parent.iterdir())))\n"
        "me.unlink(); print(most)"
    )
    jobs = [python(tmp_path, str(number), code) for number in range(2 * parallel)]
    assert set(states(LocalLauncher(parallel).run(jobs, ignore))) == {"done"}
    assert max(int(log_of(job)[-1]) for job in jobs) == parallel


def test_a_run_sees_nothing_of_the_cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (*CLUSTER, "CUDA_VISIBLE_DEVICES"):
        monkeypatch.setenv(name, "1")
    job = python(tmp_path, "job", "import os; print(*os.environ)")
    assert states(LocalLauncher().run([job], ignore)) == ["done"]
    names = set(log_of(job)[-1].split())
    assert not names & CLUSTER.keys()
    assert {"PATH", "CUDA_VISIBLE_DEVICES"} <= names


def test_lightning_does_not_take_the_cluster_for_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    from lightning.fabric.plugins.environments.lightning import LightningEnvironment
    from lightning.fabric.plugins.environments.slurm import SLURMEnvironment
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
def launched(jobs: list[Job]) -> Iterator[subprocess.Popen[str]]:
    """A process that launches jobs and prints the signal it was stopped by, and what became of the jobs."""
    code = f"""
import signal; from pathlib import Path, PosixPath; from training.launch import *
launcher = LocalLauncher(2)
for outcome in launcher.run({jobs!r}, lambda outcome: None):
    print(outcome.state, outcome.message)
print(launcher.stopped_by)
"""
    process = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def test_ctrl_c_reaches_each_job_once_and_a_second_one_kills(make_job: MakeJob) -> None:
    jobs = [make_job("deaf", 2000, "--deaf"), make_job("a", 2000), make_job("waits", 1)]
    with launched(jobs) as process:
        wait_until(lambda: pid_of(jobs[0]) and pid_of(jobs[1]))
        process.send_signal(signal.SIGINT)
        wait_until(lambda: all((job.folder / "signals").exists() for job in jobs[:2]))
        wait_until(lambda: not alive(pid_of(jobs[1])))
        process.send_signal(signal.SIGINT)
        lines = process.communicate(timeout=30)[0].splitlines()
    assert [line.split()[0] for line in lines] == ["stopped"] * 3 + [str(signal.SIGINT.value)]
    assert "killed by SIGKILL" in lines[0]
    assert "the state is kept" in lines[1]
    assert lines[2] == "stopped not begun"
    assert not alive(pid_of(jobs[0]))
    assert (jobs[1].folder / "signals").read_text() == f"{signal.SIGINT.value}\n", "once"
    assert not jobs[2].folder.exists()


def test_a_signal_just_before_the_command_starts_is_not_lost(tmp_path: Path, monkeypatch: Any) -> None:
    def interrupted(form: str) -> str:
        signal.raise_signal(signal.SIGINT)
        return "now"

    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    monkeypatch.setattr("training.launch.supervise.time.strftime", interrupted)  # for the log's first line
    plan = python(tmp_path, "job", "print('begun')").plan(Path.cwd())
    record = Supervisor(plan).run()
    for number, handler in before.items():
        signal.signal(number, handler)
    assert record["code"] == 128 + signal.SIGTERM
    assert "begun" not in (tmp_path / "job" / "output.log").read_text().splitlines()


def test_the_first_signal_goes_to_the_command_alone(tmp_path: Path) -> None:
    """Its data workers would die of it in mid-step."""
    worker = """if True:
        import signal, time
        signal.signal(signal.SIGTERM, lambda *_: print("the worker too", flush=True))
        print("ready", flush=True)
        time.sleep(600)
    """
    command = f"""if True:
        import signal, subprocess, sys, time
        def save(*_):
            time.sleep(0.5)  # for the worker's word
            sys.exit(143)
        signal.signal(signal.SIGTERM, save)
        subprocess.Popen([sys.executable, "-c", {worker!r}]).wait()
    """
    job = python(tmp_path, "job", command)
    process = supervised(job)
    wait_until(lambda: (job.folder / "output.log").exists() and "ready" in log_of(job))
    process.signal(signal.SIGTERM)
    record = process.wait()
    assert record is not None
    assert record["code"] == 143
    assert "the worker too" not in log_of(job)


def test_python_that_is_interrupted_while_it_starts_is_stopped(tmp_path: Path) -> None:
    job = python(tmp_path, "job", "")
    record: Record = {"code": 1, "seconds": 0.1, "message": "KeyboardInterrupt"}
    assert outcome_of(job, record, asked=True).state == "stopped"
    assert outcome_of(job, record).state == "failed"


def test_jobs_of_a_killed_launcher_save_and_end(make_job: MakeJob) -> None:
    job = make_job("run", 2000)
    with launched([job]) as process:
        wait_until(lambda: pid_of(job))
        process.kill()
        wait_until(lambda: not alive(pid_of(job)))
    assert (job.folder / "signals").read_text() == f"{signal.SIGTERM.value}\n"


def test_deaf_jobs_of_a_killed_launcher_are_killed(make_job: MakeJob) -> None:
    job = make_job("deaf", 2000, "--deaf")
    process = supervised(job, grace=0.2)
    wait_until(lambda: pid_of(job))
    process.hang_up()
    record = process.wait()
    assert record is not None
    assert record["code"] == -signal.SIGKILL
    assert not alive(pid_of(job))


def test_jobs_of_a_killed_supervisor_save_and_end(make_job: MakeJob) -> None:
    job = make_job("run", 2000)
    process = supervised(job)
    wait_until(lambda: pid_of(job))
    process.signal(signal.SIGKILL)
    assert process.wait() is None
    wait_until(lambda: not alive(pid_of(job)))
    assert (job.folder / "signals").exists()


def test_nothing_that_a_job_started_outlives_it(tmp_path: Path) -> None:
    code = "import subprocess, os; print(subprocess.Popen(['sleep', '600']).pid, flush=True); os._exit(3)"
    job = python(tmp_path, "parent", code)
    (outcome,) = LocalLauncher().run([job], ignore)
    assert outcome.state == "failed"
    wait_until(lambda: not alive(int(log_of(job)[-1])))


def test_two_launches_do_not_work_in_one_folder(make_job: MakeJob) -> None:
    job = make_job("run", 2000)
    first = supervised(job)
    wait_until(lambda: pid_of(job))
    second = supervised(job, grace=-4.8).wait()  # waits for 0.2 s
    assert second is not None
    assert second["message"] == f"error: another process works in {job.folder}"
    first.signal(signal.SIGTERM)
    record = first.wait()
    assert record is not None
    assert record["code"] == 128 + signal.SIGTERM
    assert (job.folder / "starts").read_text() == "0\n"


def test_an_error_in_the_report_ends_the_other_jobs(make_job: MakeJob) -> None:
    long = make_job("long", 2000)

    def report(outcome: Outcome) -> None:
        wait_until(lambda: pid_of(long))
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        LocalLauncher(2).run([make_job("short"), long], report)
    assert not alive(pid_of(long))


# ---------------------------------------------------------------- Ray


def parent_of(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


@pytest.mark.skipif(sys.platform != "linux", reason="finds the worker in /proc")
def test_a_job_whose_worker_is_killed_goes_on(
    ray_launcher: RayLauncher,
    make_job: MakeJob,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    jobs = [
        make_job("killed", 100, gpus=0.25),
        python(tmp_path, "memory", "import os; os.kill(os.getpid(), 9)", gpus=0.25),
    ]
    killed: list[int] = []

    def kill() -> None:
        worker = parent_of(parent_of(int((jobs[0].folder / "pid").read_text())))
        assert b"ray::" in Path(f"/proc/{worker}/cmdline").read_bytes()
        killed.append(steps(jobs[0]))
        os.kill(worker, signal.SIGKILL)

    thread = when(lambda: steps(jobs[0]) >= 10, kill)
    outcomes = ray_launcher.run(jobs, ignore)
    thread.join()
    assert states(outcomes) == ["done", "failed"]
    assert outcomes[0].message == "begun 2 times"
    assert re.search(r"killed by SIGKILL; .*; begun 3 times", outcomes[1].message)
    begun_at = [int(line) for line in (jobs[0].folder / "starts").read_text().splitlines()]
    assert begun_at[0] == 0
    assert begun_at[1] >= killed[0] >= 10, "from its last checkpoint"
    assert capfd.readouterr() == ("", ""), "Ray keeps its own affairs off the terminal"


def test_a_cluster_that_runs_is_joined(ray_launcher: RayLauncher, make_job: MakeJob) -> None:
    import ray

    address = ray.get_runtime_context().gcs_address
    assert address.startswith("127.0.0.1:"), "a local one listens to nobody else"
    code = f"""
from pathlib import PosixPath; from training.launch import *
print(*RayLauncher({address!r}).run([{make_job("run", 3)!r}], lambda outcome: None))
"""
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False, timeout=120
    )
    assert done.stdout.startswith("Outcome(name='run', state='done'"), done.stderr
    assert done.stderr == ""
    assert ray.is_initialized()


def test_what_no_machine_has(ray_launcher: RayLauncher, make_job: MakeJob) -> None:
    with pytest.raises(InputError, match=r"job b: found 1 CPUs and 2 GPUs needed; .*\(2 CPUs, 1 GPUs\)"):
        ray_launcher.run([make_job("a"), make_job("b", gpus=2.0)], ignore)
    assert not make_job("a").folder.exists()


def test_where_nothing_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray_cluster, "ADDRESS_TIMEOUT_SECONDS", 0.5)
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{silent.getsockname()[1]}"
        for where, words in (
            (address, r"--address: found no answer from 127\.0\.0\.1:\d+ \(.*refused\)"),
            ("nonsense", "--address: found 'nonsense'; expected host:port"),
            ("127.0.0.1:99999", "no answer from"),
        ):
            with pytest.raises(InputError, match=words):
                ray_cluster.check_address(where)
        silent.listen()
        with pytest.raises(InputError, match=r"what is no Ray cluster at 127\.0\.0\.1"):
            ray_cluster.check_address(address)


@pytest.mark.parametrize("shared", [True, False])
def test_small_files_come_back_from_a_machine_of_its_own(
    make_job: MakeJob, monkeypatch: pytest.MonkeyPatch, shared: bool
) -> None:
    monkeypatch.setattr(ray_cluster, "MAX_RETURNED_FILE_BYTES", 1000)
    job = make_job("run", 2)
    job.folder.mkdir()
    (job.folder / ray_cluster.MARK_FILE).write_text("mark" if shared else "of another machine")
    (job.folder / "large").write_bytes(bytes(1001))
    actor = ray_cluster.JobActor()
    actor.begin(job.plan(ROOT), "mark")
    record, files = actor.end()
    assert record is not None
    assert record["code"] == 0
    assert files.keys() == (set() if shared else {".launched", "output.log", "pid", "scores.json", "starts"})
    assert shared or files["scores.json"] == b'{"steps": 2}'


# ---------------------------------------------------------------- Slurm


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], None]:
    """``fake(name, script)``: a command of Slurm's that executes lines of shell; no other is found."""
    folder, shell = tmp_path / "bin", tmp_path / "shell"
    folder.mkdir()
    shell.mkdir()
    monkeypatch.setenv("PATH", f"{folder}:{shell}")
    for name in ("bash", "grep", "wc", "cat", "rm"):
        (shell / name).symlink_to(str(shutil.which(name, path="/bin:/usr/bin")))

    def make(name: str, script: str) -> None:
        (folder / name).write_text(f"#!/bin/bash\n{script}\n")
        (folder / name).chmod(0o755)

    make("squeue", "")
    make("srun", "")
    return make


def test_what_is_submitted(tmp_path: Path, fake: Callable[[str, str], None], make_job: MakeJob) -> None:
    """Not executed: Slurm says that all tasks have gone, and nothing has written a record."""
    fake(
        "sbatch",
        f'echo "$@" >> {tmp_path}/calls; echo "Submitted batch job $((41 + $(wc -l < {tmp_path}/calls)))"',
    )
    fake("scontrol", "echo JobState=NODE_FAIL")
    launcher = SlurmLauncher(
        tmp_path / "slurm of mine",
        partition="long",
        account="us",
        time_limit="4:00:00",
        parallel=8,
        poll_seconds=0.01,
        additional_parameters={"mem": "8G"},
        setup=["module load cuda"],
    )
    jobs = [make_job("a"), make_job("b", gpus=0.25, cpus=2.0), make_job("c", after=("a", "b")), make_job("d")]
    outcomes = launcher.run(jobs, ignore)
    assert states(outcomes) == ["failed"] * 4
    assert outcomes[3].message == f"Slurm has ended 42_1: NODE_FAIL; {jobs[3].folder / 'output.log'}"
    (folder,) = launcher.folder.iterdir()
    scripts = sorted(folder.glob("*submission.sh"))
    assert len(scripts) == 3
    options = []
    for script in scripts:
        subprocess.run(["/bin/bash", "-n", str(script)], check=True)
        options.append(set(re.findall(r"^#SBATCH (.*)$", script.read_text(), re.MULTILINE)))
        assert {"--requeue", "--open-mode=append", "--ntasks=1", "--nodes=1", "--partition=long"} <= options[
            -1
        ]
        assert {"--account=us", "--time=4:00:00", "--signal=B:USR1@120", "--mem=8G"} <= options[-1]
    assert {"--array=0-1%2", "--cpus-per-task=1"} <= options[0]
    assert not [option for option in options[0] if re.match("--(gres|dependency)", option)]
    assert {"--job-name=b", "--cpus-per-task=2", "--gres=gpu:1"} <= options[1]
    assert {"--job-name=c", "--dependency=afterany:42:43"} <= options[2]
    text = scripts[0].read_text()
    assert text.index("module load cuda") < text.index("exec ")
    assert json.loads((jobs[3].folder / ".slurm").read_text())["task"] == "42_1"
    SlurmLauncher(tmp_path / "open", poll_seconds=0.01).run([jobs[0]], ignore)
    (script,) = (tmp_path / "open").glob("*/*submission.sh")
    assert "--time" not in script.read_text(), "the partition's limit"


def test_without_slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make_job: MakeJob) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(InputError, match="--on slurm: found no squeue here"):
        SlurmLauncher(tmp_path / "slurm").run([make_job("a")], ignore)


def test_what_is_submitted_is_cancelled_if_the_rest_is_refused(
    tmp_path: Path, fake: Callable[[str, str], None], make_job: MakeJob
) -> None:
    refuse = 'if grep -q afterany "$1"; then echo "sbatch: error: no  more" >&2; exit 1; fi'
    fake("sbatch", f"{refuse}; echo Submitted batch job 7")
    fake("scancel", f'echo "$@" > {tmp_path}/cancelled')
    jobs = [make_job("a"), make_job("b", after=("a",))]
    with pytest.raises(InputError, match="--on slurm: found sbatch: no more; expected a cluster that takes"):
        SlurmLauncher(tmp_path / "slurm").run(jobs, ignore)
    assert (tmp_path / "cancelled").read_text().split()[-1] == "7"


def test_a_cluster_without_gpus(tmp_path: Path, fake: Callable[[str, str], None], make_job: MakeJob) -> None:
    fake("sbatch", 'echo "sbatch: error: Invalid generic resource (gres) specification" >&2; exit 1')
    with pytest.raises(InputError, match=r"\(gres\) specification; .* or --gpus 0 where it has no GPUs"):
        SlurmLauncher(tmp_path / "slurm").run([make_job("a", gpus=0.25)], ignore)


@pytest.mark.usefixtures("slurm")
def test_near_the_limit_a_task_goes_back_into_the_queue(tmp_path: Path, make_job: MakeJob) -> None:
    job = make_job("run", 250)
    launcher = SlurmLauncher(tmp_path / "slurm", poll_seconds=0.3)
    outcomes: list[Outcome] = []
    # The second launcher waits for the task that there is.
    threads = [threading.Thread(target=lambda: launcher.run([job], outcomes.append)) for _ in range(2)]
    threads[0].start()
    wait_until(lambda: steps(job) >= 5)
    threads[1].start()
    number = json.loads((job.folder / ".slurm").read_text())["task"]
    # As Slurm does it the given time before the limit, which is a minute at the least.
    subprocess.run(["scancel", "--batch", "--signal=USR1", number], check=True)

    def shown() -> str:
        command = ["scontrol", "show", "job", number]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout

    wait_until(lambda: "JobState=PENDING" in shown() and "Restarts=1" in shown())
    assert (job.folder / "signals").read_text() == f"{signal.SIGTERM.value}\n"
    # Slurm would begin it in two minutes. Its node refuses what begins in the second in which it ended.
    time.sleep(2)
    subprocess.run(["scontrol", "update", f"JobId={number}", "StartTime=now"], check=True)
    for thread in threads:
        thread.join(60)
    assert states(outcomes) == ["done", "done"]
    starts = [int(line) for line in (job.folder / "starts").read_text().split()]
    assert len(starts) == 2
    assert starts[1] >= 5
    assert len(list((tmp_path / "slurm").iterdir())) == 1, "submitted once"


@pytest.mark.usefixtures("slurm")
def test_a_refusal(tmp_path: Path, make_job: MakeJob) -> None:
    launcher = SlurmLauncher(tmp_path / "slurm", partition="nowhere")
    with pytest.raises(InputError, match="--on slurm: found sbatch: invalid partition specified: nowhere"):
        launcher.run([make_job("run")], ignore)
