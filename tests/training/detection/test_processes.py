"""Runs in processes of their own: two that train together, and some that are killed."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest
import torch

from data.formats import read_detections, read_voc
from detector import SpatialShuffle, seek_shuffles
from training.checkpoint import read_checkpoint as read_checkpoint_of
from training.tasks.detection import DETECTION

SCRIPT = """
import json, os, sys, time
from pathlib import Path
import torch
from detector import SpatialShuffle, seek_shuffles
from training import module
from training.tasks.detection import main

SEEN = {seen!r}  # a folder
rank = int(os.environ.get("LOCAL_RANK", "0"))
shuffles = []
seek, step = module.seek_shuffles, module.TrainingModule.training_step

def noted(model, seed, number):
    shuffles.append([seed, number])
    seek(model, seed, number)

def slow(self, batch, index):
    loss = step(self, batch, index)
    if self.global_step == {pause!r}:
        Path(SEEN, "reached").touch()
        time.sleep(float({seconds!r}))
    return loss

def ended(self):
    weights = sum(value.detach().double().abs().sum().item() for value in self.model.parameters())
    shuffle = SpatialShuffle(7)
    seek_shuffles(shuffle, 0, 3)
    drawn = shuffle(torch.arange(64.0).view(1, 1, 8, 8)).flatten().tolist()
    Path(SEEN, f"rank{{rank}}.json").write_text(json.dumps([shuffles, weights, drawn]))

module.seek_shuffles = noted
module.TrainingModule.training_step = slow
module.TrainingModule.on_train_end = ended
if __name__ == "__main__":
    sys.exit(main())
"""


def read_checkpoint(path):
    return read_checkpoint_of(path, DETECTION.script, DETECTION.hyper_parameters)


TORCHRUN = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")
LIMIT = 900  # seconds; a small run takes ten, but a busy machine may be many times slower


@pytest.fixture
def begin(root, small_run, tmp_path):
    """Start ``train_detect.py`` as a group of processes; it can pause in one of its steps."""
    started = []

    def start(*further, pause=-1, seconds=0, launcher=()):
        script = tmp_path / "train.py"
        script.write_text(SCRIPT.format(seen=str(tmp_path), pause=pause, seconds=seconds))
        (tmp_path / "reached").unlink(missing_ok=True)
        process = subprocess.Popen(
            [
                *(sys.executable, *launcher, script, *small_run),
                *("--shuffle", "last", "--passes", "2", *map(str, further)),
            ],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(root), "OMP_NUM_THREADS": "1", "MPLBACKEND": "agg"},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        started.append(process)
        return process

    yield start
    for process in started:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()


def await_pause(process, folder):
    """Wait until the run has reached the step in which it pauses."""
    end = time.monotonic() + LIMIT
    while not (folder / "reached").exists():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < end
        time.sleep(0.02)


def test_terminated_then_killed_then_resumed_equals_unbroken(
    begin, whole, command, log_of, tmp_path, unscored
):
    """SIGTERM to all of its processes, as ``timeout`` and clusters send it; then SIGKILL."""
    out = tmp_path / "out"
    last = out / "checkpoints" / "last.ckpt"
    process = begin("--out", out, "--workers", 1, pause=1, seconds=1)
    await_pause(process, tmp_path)
    os.killpg(process.pid, signal.SIGTERM)
    _, err = process.communicate(timeout=LIMIT)
    assert process.returncode == 143, err
    assert err == f"stopped by SIGTERM; the state is kept in {last}; --resume goes on from there\n"
    assert read_checkpoint(last)["global_step"] == 2

    process = begin("--out", out, "--resume", "--workers", 1, pause=4, seconds=LIMIT)
    await_pause(process, tmp_path)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate(timeout=LIMIT)
    assert process.returncode == -signal.SIGKILL
    assert read_checkpoint(last)["global_step"] == 3
    assert read_checkpoint(out / "checkpoints" / "best.ckpt")["global_step"] == 3
    assert list(log_of(out))[:3] == [0, 1, 2]  # no gap, though nothing was left to close the log

    assert command("--resume", out, base=False).code == 0
    assert log_of(out) == log_of(whole[0])


two_processes = pytest.mark.skipif(
    not (torch.distributed.is_available() and torch.distributed.is_gloo_available()),
    reason="torch without gloo, by which processes on a CPU talk",
)


@two_processes
@pytest.mark.parametrize(
    ("launcher", "devices"),
    [((), ("--devices", 2)), (TORCHRUN, ())],
    ids=["devices", "torchrun"],
)
def test_two_processes_train_together(begin, command, scenes, log_of, tmp_path, launcher, devices):
    out = tmp_path / "out"
    process = begin("--out", out, "--sheet", 0, *devices, launcher=launcher)
    printed, err = process.communicate(timeout=LIMIT)
    assert process.returncode == 0, err
    assert err == ""
    lines = printed.splitlines()
    assert len([line for line in lines if line.startswith(("epoch 1/2: ", "epoch 2/2: "))]) == 2
    assert len([line for line in lines if line.startswith("scores: ")]) == 1
    assert sorted(log_of(out)) == [0, 1, 2, 3, 4, 5]
    assert len(json.loads((out / "provenance.json").read_text())) == 1

    # The rank enters once, within the shuffle: the first process draws what one alone would, the other
    # something else; all keep the same weights.
    ranks = [json.loads((tmp_path / f"rank{rank}.json").read_text()) for rank in (0, 1)]
    for shuffles, _, _ in ranks:
        assert [number for seed, number in shuffles if seed == 0] == list(range(0, 12, 2))
    shuffle = SpatialShuffle(7)
    seek_shuffles(shuffle, 0, 3)
    assert ranks[0][2] == shuffle(torch.arange(64.0).view(1, 1, 8, 8)).flatten().tolist()
    assert ranks[1][2] != ranks[0][2]
    assert ranks[0][1] == ranks[1][1] > 0

    # The detections are complete: those of one process that has the same checkpoint.
    again = command("--evaluate", out, "--out", tmp_path / "again", "--devices", 1, base=False)
    assert again.code == 0, again.err
    truth = read_voc(scenes, "shapes:val")
    found, alone = (
        read_detections(folder / "detections", truth.images, truth.classes)
        for folder in (out, tmp_path / "again")
    )
    assert found.image_index.tolist() == alone.image_index.tolist() != []
    assert found.scores == pytest.approx(alone.scores, rel=1e-4)
    assert found.boxes == pytest.approx(alone.boxes, abs=1e-3)


@two_processes
@pytest.mark.parametrize(
    "mistake", [("--root", "nowhere"), ("--batch-sise", "4")], ids=["data", "command line"]
)
def test_torchrun_tells_a_mistake_once(begin, tmp_path, mistake):
    process = begin("--out", tmp_path / "out", *mistake, launcher=TORCHRUN)
    _, err = process.communicate(timeout=LIMIT)
    assert process.returncode != 0
    errors = [line for line in err.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1, err
    assert mistake[0] in errors[0] or mistake[1] in errors[0]
