"""Jobs as array jobs: the script and its tasks by themselves, then a real Slurm of one node."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from data.records import InputError
from training.launch import Job, Outcome, SlurmLauncher
from training.launch.slurm import array_script

ROOT = Path(__file__).resolve().parents[3]
MakeJob = Callable[..., Job]

specification = importlib.util.spec_from_file_location(
    "slurm_cluster", Path(__file__).with_name("slurm_cluster.py")
)
assert specification is not None
assert specification.loader is not None
slurm_cluster = importlib.util.module_from_spec(specification)
specification.loader.exec_module(slurm_cluster)


def steps(job: Job) -> int:
    """How many a job has done."""
    last = job.folder / "checkpoints" / "last.ckpt"
    return int(last.read_text()) if last.exists() else 0


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], None]:
    """``fake(name, script)``: a command of Slurm's that does what lines of shell say; no other is found."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")

    def make(name: str, script: str) -> None:
        (folder / name).write_text(f"#!/bin/bash\n{script}\n")
        (folder / name).chmod(0o755)

    return make


def submitted(launcher: SlurmLauncher, jobs: list[Job]) -> list[Path]:
    """The scripts that a launcher would submit."""
    launcher.wait = False
    outcomes = launcher.run(jobs, lambda outcome: None)
    assert {outcome.state for outcome in outcomes} == {"submitted"}
    (folder,) = launcher.folder.iterdir()
    return sorted(folder.glob("array-*.sh"))


def test_scripts(tmp_path: Path, fake: Callable[[str, str], None], make_job: MakeJob) -> None:
    fake("squeue", "")
    fake("sbatch", f'echo "$@" >> {tmp_path}/calls; echo "$((41 + $(wc -l < {tmp_path}/calls)));cluster"')
    launcher = SlurmLauncher(
        tmp_path / "slurm of mine",
        partition="long",
        account="us",
        time_limit="4:00:00",
        parallel=8,
        options=["--mem=8G"],
        setup=["module load cuda"],
    )
    jobs = [
        make_job("a"),
        make_job("b", gpus=0.25, cpus=2.0),
        make_job("c", after=("a", "b")),
        make_job("d"),
    ]
    first, second, third = submitted(launcher, jobs)
    for script in (first, second, third):
        subprocess.run(["bash", "-n", str(script)], check=True)
    text = first.read_text()
    assert text.startswith("#!/bin/bash\n#SBATCH ")
    options = re.findall(r"^#SBATCH (.*)$", text, re.MULTILINE)
    assert options[0] == "--nodes=1 --ntasks=1 --requeue --open-mode=append"
    assert {"--array=0-1%8", "--cpus-per-task=1", "--partition=long", "--account=us"} <= set(options)
    assert {"--time=4:00:00", "--signal=B:USR1@120", "--mem=8G"} <= set(options)
    assert any("--output=" in option and "slurm of mine" in option for option in options)
    assert "--gres" not in text
    assert "--dependency" not in text
    assert text.index("module load cuda") < text.index("exec ")
    options = re.findall(r"^#SBATCH (.*)$", second.read_text(), re.MULTILINE)
    assert {"--job-name=b", "--array=0-0%8", "--cpus-per-task=2", "--gres=gpu:1"} <= set(options)
    assert "#SBATCH --dependency=afterany:42:43" in third.read_text()
    plans = json.loads(first.with_name("plans-1.json").read_text())
    assert [plan["name"] for plan in plans] == ["a", "d"]
    assert json.loads(third.with_name("plans-3.json").read_text())[0]["needs"].keys() == {"a", "b"}
    assert json.loads((jobs[3].folder / ".slurm").read_text())["task"] == "42_1"


def task(plans: Path, index: int, **environment: str) -> subprocess.Popen[bytes]:
    """What Slurm does for one task: it carries the script out, with numbers in the environment."""
    script = plans.with_name("array.sh")
    script.write_text(array_script([], ["echo prepared"], plans))
    numbers = {"SLURM_ARRAY_TASK_ID": str(index), "SLURM_JOB_ID": "77", "SLURM_NTASKS": "1"}
    return subprocess.Popen(["bash", str(script)], env={**os.environ, **numbers, **environment})


@pytest.fixture
def plans(tmp_path: Path, make_job: MakeJob) -> Path:
    """A file with the plans of a short job, of one after it, and of a long one."""
    jobs = [make_job("short", 2), make_job("after", 2), make_job("long", 2000)]
    records = [str(tmp_path / f"record-{job.name}.json") for job in jobs]
    file = tmp_path / "the plans.json"
    content = [
        {**job.plan(ROOT), "record": record, "needs": {}} for job, record in zip(jobs, records, strict=True)
    ]
    content[1]["needs"] = {"short": records[0]}
    file.write_text(json.dumps(content))
    return file


def record(plans: Path, name: str) -> dict[str, object]:
    content: dict[str, object] = json.loads(plans.with_name(f"record-{name}.json").read_text())
    return content


def test_a_task_after_one_that_is_not_done_is_left_out(plans: Path) -> None:
    assert task(plans, 1).wait(60) == 0
    assert record(plans, "after") == {"skipped": "short is not done"}
    assert not plans.with_name("after").exists()
    assert task(plans, 0).wait(60) == 0
    assert record(plans, "short")["code"] == 0
    assert task(plans, 1).wait(60) == 0
    assert record(plans, "after")["code"] == 0


@pytest.mark.parametrize("name", ["USR1", "USR2"])
def test_a_task_saves_its_state(
    plans: Path,
    name: str,
    fake: Callable[[str, str], None],
    make_job: MakeJob,
    wait_until: Callable[..., None],
) -> None:
    fake("scontrol", f'echo "$@" > {plans.parent}/requeued')
    job = make_job("long", 2000)
    plans.with_name("record-long.json").write_text("{}")  # of an earlier time
    process = task(plans, 2)
    wait_until(lambda: steps(job))
    process.send_signal(getattr(signal, f"SIG{name}"))
    assert process.wait(60) == (0 if name == "USR1" else 143)
    assert (job.folder / "signals").read_text() == f"{signal.SIGTERM.value}\n"
    if name == "USR1":  # near the limit
        assert (plans.parent / "requeued").read_text() == "requeue 77\n"
        assert not plans.with_name("record-long.json").exists(), "it is not over"
    else:  # from the launcher
        assert not (plans.parent / "requeued").exists()
        assert record(plans, "long")["code"] == 143


def test_without_slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make_job: MakeJob) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(InputError, match="--on slurm: found no squeue here"):
        SlurmLauncher(tmp_path / "slurm").run([make_job("a")], lambda outcome: None)


def test_what_is_submitted_is_taken_back_if_the_rest_is_refused(
    tmp_path: Path, fake: Callable[[str, str], None], make_job: MakeJob
) -> None:
    fake("squeue", "")
    fake("sbatch", 'if grep -q afterany "$2"; then echo "sbatch: error: no  more" >&2; exit 1; fi; echo 7')
    fake("scancel", f'echo "$@" > {tmp_path}/cancelled')
    jobs = [make_job("a"), make_job("b", after=("a",))]
    with pytest.raises(InputError, match="--on slurm: found sbatch: no more; expected"):
        SlurmLauncher(tmp_path / "slurm").run(jobs, lambda outcome: None)
    assert (tmp_path / "cancelled").read_text() == "7\n"


def test_a_cluster_without_gpus(tmp_path: Path, fake: Callable[[str, str], None], make_job: MakeJob) -> None:
    fake("squeue", "")
    fake("sbatch", 'echo "sbatch: error: Invalid generic resource (gres) specification" >&2; exit 1')
    with pytest.raises(InputError, match=r"\(gres\) specification; .* or --gpus 0 where it has no GPUs"):
        SlurmLauncher(tmp_path / "slurm").run([make_job("a", gpus=0.25)], lambda outcome: None)


def test_parallel_must_be_positive() -> None:
    with pytest.raises(InputError, match="--parallel: found 0"):
        SlurmLauncher(parallel=0)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A real Slurm of one node with two processors."""
    with pytest.MonkeyPatch.context() as patch:
        try:
            running = slurm_cluster.single_node(tmp_path_factory.mktemp("slurm"))
            configuration = running.__enter__()
        except (slurm_cluster.SlurmError, OSError) as error:
            pytest.skip(f"no Slurm: {error}")
        patch.setenv("SLURM_CONF", str(configuration))
        yield
        running.__exit__(None, None, None)


@pytest.mark.usefixtures("cluster")
class TestSlurm:
    """On the real one."""

    def test_jobs_in_order(self, tmp_path: Path, make_job: MakeJob) -> None:
        jobs = [
            make_job("last", 1, after=("wrong",)),
            make_job("first", 20),
            make_job("wrong", 1, "--resume", after=("first",)),  # there is nothing to go on from
            make_job("second", 2, after=("first",), cpus=2.0),
        ]
        reported: list[Outcome] = []
        outcomes = SlurmLauncher(tmp_path / "slurm", poll=0.3).run(jobs, reported.append)
        assert [outcome.state for outcome in outcomes] == ["skipped", "done", "failed", "done"]
        assert sorted(reported) == sorted(outcomes)
        assert outcomes[0].message == "wrong is not done"
        assert outcomes[2].message.startswith("FileNotFoundError")
        assert (jobs[1].folder / "scores.json").read_text() == '{"steps": 20}'
        assert "finished after 20 steps" in (jobs[1].folder / "output.log").read_text()
        (folder,) = (tmp_path / "slurm").iterdir()
        assert [log.read_text() for log in folder.glob("*.log")] == [""] * 4

    def test_a_signal_lets_the_jobs_save_their_state(
        self, tmp_path: Path, make_job: MakeJob, wait_until: Callable[..., None], alive: Callable[[int], bool]
    ) -> None:
        jobs = [make_job("run", 3000), make_job("waits", 3000, cpus=2.0), make_job("after", after=("run",))]

        def interrupt() -> None:
            wait_until(lambda: steps(jobs[0]) >= 2, 60)
            os.kill(os.getpid(), signal.SIGINT)

        threading.Thread(target=interrupt, daemon=True).start()
        launcher = SlurmLauncher(tmp_path / "slurm", poll=0.3)
        outcomes = launcher.run(jobs, lambda outcome: None)
        assert [outcome.state for outcome in outcomes] == ["stopped"] * 3
        assert f"stopped by signal {signal.SIGTERM}; the state is kept" in outcomes[0].message
        assert outcomes[1].message == outcomes[2].message == "not begun"
        assert launcher.stopped_by == signal.SIGINT
        assert (jobs[0].folder / "signals").read_text() == f"{signal.SIGTERM.value}\n", "once"
        assert not alive(int((jobs[0].folder / "pid").read_text()))

    def test_near_the_limit_a_task_goes_back_into_the_queue(
        self, tmp_path: Path, make_job: MakeJob, wait_until: Callable[..., None]
    ) -> None:
        job = make_job("run", 150)
        launcher = SlurmLauncher(tmp_path / "slurm", poll=0.3, wait=False)
        (outcome,) = launcher.run([job], lambda outcome: None)
        assert outcome.state == "submitted"
        number = json.loads((job.folder / ".slurm").read_text())["task"]
        assert f"Slurm has it as {number}" in outcome.message
        wait_until(lambda: steps(job) >= 5)
        # As Slurm does it the given time before the limit, which is a minute at the least.
        subprocess.run(["scancel", "--batch", "--signal=USR1", number], check=True)

        def state() -> str:
            shown = subprocess.run(
                ["scontrol", "show", "job", number], capture_output=True, text=True, check=True
            )
            return shown.stdout

        wait_until(lambda: "JobState=PENDING" in state() and "Restarts=1" in state())
        # Slurm would begin it in two minutes. Its node refuses what begins in the second in which it ended.
        time.sleep(2)
        subprocess.run(["scontrol", "update", f"JobId={number}", "StartTime=now"], check=True)
        launcher.wait = True
        (outcome,) = launcher.run([job], lambda outcome: None)  # waits for the task that there is
        assert outcome.state == "done"
        starts = [int(line) for line in (job.folder / "starts").read_text().split()]
        assert len(starts) == 2
        assert starts[1] >= 5
        assert len(list((tmp_path / "slurm").iterdir())) == 1, "submitted once"

    def test_a_refusal(self, tmp_path: Path, make_job: MakeJob) -> None:
        launcher = SlurmLauncher(tmp_path / "slurm", partition="nowhere")
        with pytest.raises(
            InputError, match="--on slurm: found sbatch: invalid partition specified: nowhere"
        ):
            launcher.run([make_job("run")], lambda outcome: None)
