"""Jobs on a Ray cluster: a real one of this machine with two processors."""

from __future__ import annotations

import importlib.util
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from data.records import InputError
from training.launch import Job, LocalLauncher, Outcome, RayLauncher, ray_cluster
from training.launch.local import hang_up
from training.launch.ray_host import MARK, SMALL, JobHost

ROOT = Path(__file__).resolve().parents[3]
MakeJob = Callable[..., Job]
ABSENT = "Ray is not installed: pip install '.[cluster]'"


@pytest.fixture(scope="module")
def launcher() -> Iterator[RayLauncher]:
    """A local Ray with two processors; started once, since that takes its time."""
    if importlib.util.find_spec("ray") is None:
        pytest.skip(ABSENT)
    launcher = RayLauncher(cpus=2, gpus=1)
    with launcher.connected():
        yield launcher


def parent_of(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def when(
    true: Callable[[], object], act: Callable[[], None], wait_until: Callable[..., None]
) -> threading.Thread:
    """Do something in a thread of its own as soon as something is so."""
    thread = threading.Thread(target=lambda: (wait_until(true, 180), act()), daemon=True)
    thread.start()
    return thread


def steps(job: Job) -> int:
    """How many a job has done."""
    last = job.folder / "checkpoints" / "last.ckpt"
    return int(last.read_text()) if last.exists() else 0


@pytest.mark.skipif(sys.platform != "linux", reason="finds the worker in /proc")
def test_a_job_whose_worker_is_killed_goes_on(
    launcher: RayLauncher,
    make_job: MakeJob,
    wait_until: Callable[..., None],
    capfd: pytest.CaptureFixture[str],
) -> None:
    jobs = [
        make_job("killed", 100, gpus=0.25),
        make_job("whole", 20, gpus=0.25),
        make_job("wrong", 1, "--resume", after=("whole",)),  # there is nothing to go on from
        make_job("never", 1, after=("wrong",)),
    ]
    killed: list[int] = []

    def kill() -> None:
        worker = parent_of(parent_of(int((jobs[0].folder / "pid").read_text())))
        assert b"ray::" in Path(f"/proc/{worker}/cmdline").read_bytes()
        killed.append(steps(jobs[0]))
        os.kill(worker, signal.SIGKILL)

    reported: list[Outcome] = []
    thread = when(lambda: steps(jobs[0]) >= 10, kill, wait_until)
    outcomes = launcher.run(jobs, reported.append)
    thread.join()
    assert [outcome.state for outcome in outcomes] == ["done", "done", "failed", "skipped"]
    assert sorted(reported) == sorted(outcomes)
    assert outcomes[0].message == "begun 2 times"
    assert outcomes[1].message == ""
    assert outcomes[2].message.startswith("FileNotFoundError")
    begun_at = [int(line) for line in (jobs[0].folder / "starts").read_text().splitlines()]
    assert begun_at[0] == 0
    assert begun_at[1] >= killed[0] >= 10, "from its last checkpoint"
    # What two local jobs leave is what these left.
    assert (jobs[0].folder / "scores.json").read_text() == '{"steps": 100}'
    assert LocalLauncher().run([make_job("again", 20)], lambda outcome: None)[0].state == "done"
    here, there = ({path.name for path in (job.folder).iterdir()} for job in (make_job("again"), jobs[1]))
    assert here == there
    assert capfd.readouterr() == ("", ""), "Ray keeps its own affairs off the terminal"


def test_a_signal_lets_the_jobs_save_their_state(
    launcher: RayLauncher,
    make_job: MakeJob,
    wait_until: Callable[..., None],
    alive: Callable[[int], bool],
) -> None:
    before = signal.getsignal(signal.SIGINT)
    jobs = [make_job("run", 3000), make_job("large", 3000, cpus=2.0)]  # one processor is not enough for it
    when(lambda: steps(jobs[0]) >= 2, lambda: os.kill(os.getpid(), signal.SIGINT), wait_until)
    outcomes = launcher.run(jobs, lambda outcome: None)
    assert [outcome.state for outcome in outcomes] == ["stopped", "stopped"]
    assert f"stopped by signal {signal.SIGINT}; the state is kept" in outcomes[0].message
    assert outcomes[1].message == "not begun"
    assert launcher.stopped_by == signal.SIGINT
    assert (jobs[0].folder / "signals").read_text() == f"{signal.SIGINT.value}\n"
    assert not alive(int((jobs[0].folder / "pid").read_text()))
    assert signal.getsignal(signal.SIGINT) is before


def test_a_cluster_that_runs_is_joined(launcher: RayLauncher, make_job: MakeJob) -> None:
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


def test_what_no_machine_has(launcher: RayLauncher, make_job: MakeJob) -> None:
    with pytest.raises(InputError, match=r"job b: found 1 CPUs and 2 GPUs needed; .*\(2 CPUs, 1 GPUs\)"):
        launcher.run([make_job("a"), make_job("b", gpus=2.0)], lambda outcome: None)
    assert not make_job("a").folder.exists()


def test_no_jobs(launcher: RayLauncher) -> None:
    assert launcher.run([], lambda outcome: None) == []


def test_where_nothing_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray_cluster, "PATIENCE", 0.5)
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


def test_without_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(
        InputError, match=r"--on ray: found no Ray here; expected .*pip install '\.\[cluster\]'"
    ):
        RayLauncher()


@pytest.mark.parametrize(("option", "value"), [("retries", -1), ("parallel", 0)])
def test_numbers_that_cannot_be(option: str, value: int) -> None:
    with pytest.raises(InputError, match=f"--{option}: found {value}"):
        RayLauncher(**{option: value})  # type: ignore[arg-type]


@pytest.mark.parametrize("shared", [True, False])
def test_small_files_come_back_from_a_machine_of_its_own(make_job: MakeJob, shared: bool) -> None:
    job = make_job("run", 2)
    job.folder.mkdir()
    (job.folder / MARK).write_text("mark" if shared else "of another machine")
    (job.folder / "large").write_bytes(bytes(SMALL + 1))
    host = JobHost()
    host.begin(job.plan(ROOT), "mark")
    record, files = host.end()
    assert record is not None
    assert record["code"] == 0
    if shared:
        assert files == {}
    else:
        assert files["scores.json"] == b'{"steps": 2}'
        assert {"output.log", "starts"} <= files.keys()
        assert not {"large", "checkpoints/last.ckpt"} & files.keys()


def test_jobs_of_a_host_end_with_it(
    make_job: MakeJob, wait_until: Callable[..., None], alive: Callable[[int], bool]
) -> None:
    job = make_job("run", 2000)
    host = JobHost()
    host.begin(job.plan(ROOT), "")
    wait_until(lambda: steps(job))
    assert host._process is not None
    hang_up(host._process)
    record, _ = host.end()
    assert record is not None
    assert record["code"] == 128 + signal.SIGTERM
    assert not alive(int((job.folder / "pid").read_text()))
