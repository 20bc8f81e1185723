"""The training step: precision and compiling that choose themselves, average weights, batches in parts."""

from __future__ import annotations

import functools
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch.loops.training_epoch_loop import _TrainingEpochLoop
from torch.overrides import TorchFunctionMode

from tests.training.conftest import SmallRun
from training.module import TrainingModule
from training.options import MachineOptions
from training.trainer import resolve_machine


@pytest.mark.parametrize(
    ("found", "precision"),
    [
        ({"amx_bf16": True}, "bf16-mixed"),
        ({"avx512_bf16": True}, "bf16-mixed"),
        ({"avx512_f": True}, "32-true"),
    ],
)
def test_a_processor_without_bf16_computes_in_32_bits(
    found: dict[str, bool], precision: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: found)
    assert resolve_machine(MachineOptions(accelerator="cpu")).precision == precision
    assert resolve_machine(MachineOptions(accelerator="cpu", precision="32-true")).precision == "32-true"


def test_only_long_runs_are_compiled_and_only_where_it_gains_and_there_is_a_compiler(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    machine = MachineOptions(accelerator="cpu", precision="32-true")
    monkeypatch.setattr("shutil.which", lambda name: name)
    assert resolve_machine(machine, 1e11).compile is True
    assert (
        resolve_machine(replace(machine, precision="bf16-mixed"), 1e11).compile is False
    )  # no gain on a CPU
    assert resolve_machine(machine, 1e8).compile is False
    assert resolve_machine(replace(machine, compile=False), 1e11).compile is False
    monkeypatch.delenv("CXX", raising=False)
    monkeypatch.setattr("shutil.which", lambda name: None)
    assert resolve_machine(machine, 1e11).compile is False


@pytest.mark.usefixtures("unscored")
def test_the_compiled_step_is_one_graph_and_computes_the_same(
    small_runs: dict[str, SmallRun], tmp_path: Path, log_of: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    small, graphs = small_runs["detection"], []

    def backend(graph: torch.fx.GraphModule, inputs: Any) -> Any:
        graphs.append(graph)
        return graph.forward

    torch.compiler.reset()
    torch._dynamo.utils.counters.clear()
    monkeypatch.setattr(torch, "compile", functools.partial(torch.compile, backend=backend))
    words = (*small.shuffled, "--validation", 0, "--score", "false", "--max-steps", 3)
    for name, compiled in (("compiled", "true"), ("eager", "false")):
        assert small("--out", tmp_path / name, "--compile", compiled, *words).is_done()
    assert len(graphs) == 1, "a graph break, or a recompilation"
    assert not torch._dynamo.utils.counters["graph_break"]
    first, second = log_of(tmp_path / "compiled"), log_of(tmp_path / "eager")
    assert len(first) == 3
    for step in first:
        assert first[step]["loss"] == pytest.approx(second[step]["loss"], rel=1e-5)


@pytest.mark.usefixtures("unscored")
def test_the_average_of_the_weights_is_stored_and_resumed_bit_for_bit(
    small: SmallRun, tmp_path: Path
) -> None:
    words = (*small.shuffled, "--ema", 0.9, "--score", "false")
    assert small("--out", tmp_path / "whole", *words).is_done()
    assert small("--out", tmp_path / "parts", *words, "--max-steps", 4).is_done()
    assert small("--resume", "--out", tmp_path / "parts", base=False).is_done()
    whole, parts = (small.read(tmp_path / name / "checkpoints" / "last.ckpt") for name in ("whole", "parts"))
    plain = small.read(small.whole[0] / "checkpoints" / "last.ckpt")["state_dict"]
    for name, value in whole["state_dict"].items():
        assert value.equal(parts["state_dict"][name]), name
        if name in whole["last_weights"]:
            assert whole["last_weights"][name].equal(plain[name]), "the average changed the training"
    changed = [name for name in whole["last_weights"] if not whole["state_dict"][name].equal(plain[name])]
    assert len(changed) > len(whole["last_weights"]) / 2


@pytest.mark.usefixtures("unscored")
def test_a_run_with_fast_input_is_resumed_bit_for_bit(
    small_runs: dict[str, SmallRun], tmp_path: Path, log_of: Any
) -> None:
    small = small_runs["detection"]
    words = ("--input", "fast", "--cache", tmp_path / "cache", "--score", "false", "--validation", 0)
    assert small("--out", tmp_path / "whole", *words, "--max-steps", 3).is_done()
    assert small("--out", tmp_path / "parts", *words, "--max-steps", 2).is_done()
    assert small("--resume", "--out", tmp_path / "parts", *words[2:4], "--max-steps", 3, base=False).is_done()
    assert log_of(tmp_path / "whole") == log_of(tmp_path / "parts")


@pytest.mark.usefixtures("unscored")
def test_a_batch_in_parts_makes_as_many_steps(small: SmallRun, tmp_path: Path, log_of: Any) -> None:
    words = ("--out", tmp_path / "run", "--validation", 0, "--score", "false", "--checkpoint-every", 1)
    assert small(*words, "--accumulate", 2, "--max-steps", 3).is_done()
    assert sorted(log_of(tmp_path / "run")) == [0, 1, 2]
    assert small.read(tmp_path / "run" / "checkpoints" / "last.ckpt")["global_step"] == 3
    refused = small("--out", tmp_path / "other", "--accumulate", 3)
    assert refused.is_refused("--accumulate: found 3; expected a number that divides the")


class Fetches(TorchFunctionMode):
    """Notes in which steps a GPU would have to end its work, as a value is wanted that is there.

    Whole numbers are left out: those of the shuffles are on the CPU.
    """

    FETCHING = ("item", "tolist", "__bool__", "__float__", "cpu", "numpy", "nonzero", "equal", "unique")

    def __init__(self) -> None:
        super().__init__()
        self.step, self.steps = -1, set[int]()

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if getattr(func, "__name__", "") in self.FETCHING and args[0].dtype != torch.int64:
            self.steps.add(self.step)
        return func(*args, **(kwargs or {}))


@pytest.mark.usefixtures("unscored")
@pytest.mark.parametrize("value", [None, math.nan])
def test_a_gpu_ends_its_work_only_where_losses_are_looked_at(
    small: SmallRun, tmp_path: Path, log_of: Any, monkeypatch: pytest.MonkeyPatch, value: float | None
) -> None:
    """Six steps in two epochs; a look at each fourth, and at the end of an epoch."""
    fetches, advance = Fetches(), _TrainingEpochLoop.advance

    def watched(loop: Any, *arguments: Any) -> None:
        fetches.step = loop.global_step
        if value is not None and fetches.step == 4:
            list(loop.trainer.model.parameters())[-1].data.fill_(value)
        with fetches:
            advance(loop, *arguments)

    monkeypatch.setattr(_TrainingEpochLoop, "advance", watched)
    monkeypatch.setattr(TrainingModule, "steps_between_fetches", 4)
    result = small("--out", tmp_path / "run", *small.shuffled, "--score", "false")
    assert fetches.steps - {0} == {2, 3, 5}  # in the first, the loader begins, and the images are drawn
    if value is None:
        assert result.code == 0, result.err
        assert log_of(tmp_path / "run") == log_of(small.whole[0])
    else:
        assert result.code == 3
        assert "error: the loss is nan at step 4 (epoch 2)" in result.err
        assert "images of the batch: " in result.err or small.name == "classification"
        assert list(log_of(tmp_path / "run")) == [0, 1, 2, 3]
        assert small.read(tmp_path / "run" / "checkpoints" / "last.ckpt")["global_step"] == 3
