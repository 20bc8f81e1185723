"""Runs in processes of their own that train together; `tests/faults` kills some."""

import json
import multiprocessing
import os
import signal
import subprocess
import sys
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from lightning.pytorch.utilities import rank_zero_only

from data.formats import read_detections, read_voc
from data.image_set import Statistics
from detector import YOLO, modify_layers, vgg16
from detector.intervene import shuffles
from detector.shuffle import spatial_shuffle, stream_of
from tests.faults.run import free_port
from tests.training.conftest import detection
from training.module import TrainingModule
from training.tasks.classification_module import ClassifierModule
from training.tasks.classification_options import Options
from training.tasks.detection_module import DetectorModule

SCRIPT = """
import json, os, sys
from pathlib import Path
import diagnosis.figures
from data import classification
from training.module import TrainingModule
from training.tasks.{task} import main

classification.SHAPES.update(train=64, test=16)
diagnosis.figures.save_figures = lambda *arguments: []

def ended(self):
    weights = sum(value.detach().double().abs().sum().item() for value in self.model.parameters())
    Path({folder!r}, f"rank{{os.environ.get('LOCAL_RANK', 0)}}.json").write_text(json.dumps(weights))

TrainingModule.on_train_end = ended
if __name__ == "__main__":
    sys.exit(main())
"""
LIMIT = 900  # seconds; a small run takes ten, but a busy machine may be many times slower


def start_with_devices(small, out, folder, root):
    """A fresh interpreter, which starts the other process; its exit code and what it printed."""
    script = folder / "train.py"
    script.write_text(SCRIPT.format(task=small.name, folder=str(folder)))
    words = map(str, (*small.base, *small.shuffled, "--out", out, "--devices", 2))
    with subprocess.Popen(
        [sys.executable, script, *words],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(root), "OMP_NUM_THREADS": "1", "MPLBACKEND": "agg"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        try:
            printed, err = process.communicate(timeout=LIMIT)
        except BaseException:
            os.killpg(process.pid, signal.SIGKILL)
            raise
    return process.returncode, printed, err


def start_as_torchrun(small, out, folder, root, *words):
    """Two forks with the environment that torchrun gives: new interpreters would import torch for seconds."""

    def ended(module):
        weights = sum(value.detach().double().abs().sum().item() for value in module.model.parameters())
        (folder / f"rank{os.environ['RANK']}.json").write_text(json.dumps(weights))

    def child(rank, port):
        names = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "GROUP_RANK", "MASTER_PORT")
        values = map(str, (rank, rank, 2, 2, 0, port))
        os.environ.update(zip(names, values, strict=True))
        os.environ.update(MASTER_ADDR="127.0.0.1", TORCHELASTIC_RUN_ID="test")
        rank_zero_only.rank = rank
        torch.set_num_threads(1)
        TrainingModule.on_train_end = ended
        result = small("--out", out, *small.shuffled, *words)
        (folder / f"result{rank}.json").write_text(json.dumps([result.code, result.out, result.err]))
        os._exit(0)

    port, context = free_port(), multiprocessing.get_context("fork")
    children = [context.Process(target=child, args=(rank, port)) for rank in (0, 1)]
    try:
        for process in children:
            process.start()
        for process in children:
            process.join(timeout=LIMIT)
    finally:
        for process in children:
            process.kill()
    codes, *texts = zip(
        *(json.loads((folder / f"result{rank}.json").read_text()) for rank in (0, 1)), strict=True
    )
    return max(codes), *map("".join, texts)


two_processes = pytest.mark.skipif(
    not (torch.distributed.is_available() and torch.distributed.is_gloo_available()),
    reason="torch without gloo, by which processes on a CPU talk",
)


@two_processes
@pytest.mark.parametrize(
    ("small", "start"),
    [("detection", start_as_torchrun), ("classification", start_with_devices)],
    indirect=["small"],
    ids=["detection-torchrun", "classification-devices"],
)
def test_two_processes_train_together(small, start, scenes, log_of, root, tmp_path):
    """Each task, and each way to start the processes."""
    out = tmp_path / "out"
    code, printed, err = start(small, out, tmp_path, root)
    assert (code, err) == (0, "")
    lines = printed.splitlines()
    assert len([line for line in lines if line.startswith(("epoch 1/2: ", "epoch 2/2: "))]) == 2
    assert len([line for line in lines if line.startswith("scores: ")]) == 1
    assert sorted(log_of(out)) == [0, 1, 2, 3, 4, 5]
    assert len(json.loads((out / "provenance.json").read_text())) == 1
    weights = [json.loads((tmp_path / f"rank{rank}.json").read_text()) for rank in (0, 1)]
    assert weights[0] == weights[1] > 0  # the same in all
    alone, both = (small.read(run / "checkpoints" / "last.ckpt") for run in (small.whole[0], out))
    assert both["global_step"] == alone["global_step"] == 6
    assert both["state_dict"].keys() == alone["state_dict"].keys()
    if small.name == "detection":
        # The detections are complete: those of one process that has the same checkpoint.
        assert small("--evaluate", out, "--out", tmp_path / "again", "--devices", 1, base=False).is_done()
        truth = read_voc(scenes, "shapes:val")
        found, single = (
            read_detections(folder / "detections", truth.images, truth.classes)
            for folder in (out, tmp_path / "again")
        )
        assert found.image_index.tolist() == single.image_index.tolist() != []
        assert found.scores == pytest.approx(single.scores, rel=1e-4)
        assert found.boxes == pytest.approx(single.boxes, abs=1e-3)


@two_processes
def test_two_processes_agree_on_sizes_and_patience(small_runs, root, tmp_path, monkeypatch):
    """Both train at the same sizes, and stop after the same validation."""
    original = YOLO.encode_targets

    def noted(self, targets, device, image_size, grid=None):
        with (tmp_path / f"sizes{os.environ['RANK']}").open("a") as file:
            file.write(f"{image_size[0]} ")
        return original(self, targets, device, image_size, grid)

    def validated(self):
        self.log_dict({"val/loss": 1.0, "val/map": 0.5}, sync_dist=True)

    monkeypatch.setattr(YOLO, "encode_targets", noted)
    monkeypatch.setattr(DetectorModule, "on_validation_epoch_end", validated)
    monkeypatch.setattr(DetectorModule, "validation_step", lambda *_: None)
    small, out = small_runs["detection"], tmp_path / "out"
    words = ("--multi-scale", "--epochs", 6, "--patience", 2, "--keep-best", 2, "--score", "false")
    code, printed, err = start_as_torchrun(small, out, tmp_path, root, *words)
    warned = "warning: SpatialShuffle: found a map of 128x1x1, in which nothing can move"
    assert (code, err.count("\n")) == (0, 1)  # of the least size, by one process
    assert err.startswith(warned)
    assert printed.count("no better score in 2 validations: the training stops") == 1
    sizes = [(tmp_path / f"sizes{rank}").read_text().split() for rank in (0, 1)]
    assert sizes[0] == sizes[1]
    assert (len(sizes[0]), len(set(sizes[0])) > 1) == (9, True)
    weights = [json.loads((tmp_path / f"rank{rank}.json").read_text()) for rank in (0, 1)]
    assert weights[0] == weights[1] > 0
    kept = {file.name for file in (out / "checkpoints").glob("best-step-*")}
    assert kept == {"best-step-00000006.ckpt", "best-step-00000009.ckpt"}


@detection
@pytest.mark.parametrize("mistake", [("--root", "nowhere"), ("--batch-sise", "4")], ids=["data", "words"])
def test_the_other_processes_wait_until_the_first_has_printed_a_mistake(
    small, monkeypatch, tmp_path, mistake
):
    waits = []
    monkeypatch.setattr("training.run_state.time.sleep", waits.append)
    for rank in (0, 1):
        monkeypatch.setenv("LOCAL_RANK", str(rank))
        result = small("--out", tmp_path, *mistake)
        assert result.code == 2
        if rank == 0:
            assert result.is_refused(mistake[0])
            assert waits == []
    assert result.err == ""
    assert len(waits) == 1
    assert waits[0] >= 5  # seconds


SEED, EPOCH, STEPS_PER_EPOCH, BATCH, PROCESSES = 5, 2, 10, 3, 2


def test_the_rank_enters_a_draw_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each of several processes draws its own permutations, from the same (seed, step)."""
    torch.manual_seed(0)
    network = modify_layers(vgg16(3, width=1 / 16), "spatial", layer=9)
    options = Options.from_flat({"seed": SEED, "batch_size": 2})
    statistics = Statistics((0.5,) * 3, (0.25,) * 3)
    module: Any = ClassifierModule(network, options, 2 * STEPS_PER_EPOCH, {}, statistics=statistics)
    images = torch.randint(0, 256, (2, 3, 32, 32), dtype=torch.uint8)
    batch = {"images": images, "labels": torch.tensor([0, 2])}
    strategy = SimpleNamespace(reduce_boolean_decision=bool)
    shuffle = next(shuffles(module))
    streams: list[int] = []
    outputs: list[tuple[torch.Tensor, torch.Tensor]] = []
    shuffle.register_forward_pre_hook(lambda module, _: streams.append(int(module.stream)))
    shuffle.register_forward_hook(lambda _, inputs, output: outputs.append((inputs[0], output)))
    monkeypatch.setattr("torch.distributed.is_initialized", lambda: True)
    for rank in range(PROCESSES):
        monkeypatch.setattr("torch.distributed.get_rank", lambda rank=rank: rank)
        module._trainer = SimpleNamespace(
            current_epoch=EPOCH, global_rank=rank, global_step=0, world_size=PROCESSES, strategy=strategy
        )
        module.training_step(batch, BATCH)
    # In all processes the same place in the stream of draws, to which the shuffle adds the rank.
    step = (EPOCH * STEPS_PER_EPOCH + BATCH) * PROCESSES
    assert streams == [stream_of(SEED, step, *shuffle.key)] * PROCESSES
    assert outputs[0][1].equal(spatial_shuffle(outputs[0][0], streams[0]))
    assert not outputs[1][1].equal(spatial_shuffle(outputs[1][0], streams[0]))
