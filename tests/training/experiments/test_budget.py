"""``reproduce.py --budget``: what fits into a time, the most telling first; what happens when it is over."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from training.experiments.command import main

SWEEP = """\
title: A network, shuffled
draw: percent
common: {data: shapes, arch: vgg16, epochs: 32, passes: 1}
seeds: [0, 1]
series:
  - name: baseline
  - name: spatial shuffle
    options: {method: spatial}
    sweep: {last: [1, 2, 3, 4, 5]}
  - name: no shuffle → spatial shuffle
    test: {method: spatial, last: 4}
"""


def budget(file: Path | str, time: str, *words: str) -> int:
    return main([str(file), "--out", "out", "--budget", time, *words])


def listed(text: str) -> list[str]:
    return [line.split()[-1] for line in text.splitlines() if line.startswith("  wanted")]


def test_with_time_for_all_nothing_is_left_out(
    bench: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    assert budget(bench(SWEEP), "30d", "--list") == 0
    out = capsys.readouterr().out
    assert len(listed(out)) == 14
    assert all("-e32-" in name for name in listed(out))
    assert "left out" not in out
    assert not Path("out/runs").exists()


def test_fewer_epochs_then_fewer_points_the_middle_and_the_ends_of_a_sweep_first(
    bench: Callable[..., Path], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("training.experiments.command.probe", lambda run: 1.0)
    file = bench(SWEEP)
    counts, epochs, places = [], [], []
    for minutes in (60, 20, 10, 2):
        assert budget(file, f"{minutes}m", "--list") == 0
        names = listed(capsys.readouterr().out)
        counts.append(len(names))
        epochs.append(int(names[0].split("-e")[1].split("-")[0]))
        places.append({name.split("last")[1][0] for name in names if "vgg16-spatial" in name})
        assert sum("plain" in name for name in names) == 2  # the baseline, and it shuffled in the test
    assert counts == [7, 5, 5, 3]
    assert epochs == [32, 16, 8, 2]
    assert places == [set("12345"), set("135"), set("135"), set("3")]


def test_the_same_command_goes_on_with_the_epochs_that_it_chose(
    bench: Callable[..., Path], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("training.experiments.command.probe", lambda run: 1.0)
    file = bench(SWEEP)
    assert budget(file, "4m") == 1  # not all points are there, and the tables say so
    first = {path.parent.name for path in Path("out/runs").glob("*/scores.json")}
    chosen = json.loads(Path("out/budget.json").read_text())
    assert chosen == {"shapes": 1 / 16}
    assert "Not as in trial.yaml: epochs 2 instead of 32." in Path("out/trial/table.md").read_text()
    assert "left out: " in capsys.readouterr().out
    assert budget(file, "30d") == 0
    assert json.loads(Path("out/budget.json").read_text()) == chosen
    assert first < {path.parent.name for path in Path("out/runs").glob("*/scores.json")}
    assert main([str(file), "--out", "out", "--draw"]) == 0  # draws the runs with these epochs
    Path("out/budget.json").write_text("[]")
    assert budget(file, "4m") == 2
    assert "out/budget.json: found no fractions of epochs" in capsys.readouterr().err


def test_when_the_time_is_over_what_there_is_is_drawn(
    bench: Callable[..., Path], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("training.experiments.command.probe", lambda run: 1e-9)
    monkeypatch.setattr("training.experiments.cost.START_SECONDS", 0.01)
    file = bench()
    Path("out/runs").mkdir(parents=True)
    Path("out/runs/sleep-last-1").touch()
    began = time.monotonic()
    assert budget(file, "3s") == 1
    assert time.monotonic() - began < 60
    assert "the 3s are over; the same command goes on from there" in capsys.readouterr().err
    assert "table" in " ".join(path.name for path in Path("out/trial").iterdir())
    Path("out/runs/sleep-last-1").unlink()
    assert budget(file, "1h") == 0


def test_all_leaves_out_what_has_no_data(
    bench: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    bench()
    assert budget("all", "3h", "--list") == 0
    out = capsys.readouterr().out
    for data in ("cifar100", "small-imagenet", "imagenet", "voc"):
        assert f"left out: {data}, as there is no --root {data}=PATH" in out
    assert listed(out)
    assert all("shapes" in name for name in listed(out))


@pytest.mark.parametrize("text", ["", "soon", "0m", "3 weeks", "5", "nan"])
def test_a_time_that_is_none(
    bench: Callable[..., Path], capsys: pytest.CaptureFixture[str], text: str
) -> None:
    assert budget(bench(), text) == 2
    assert f"error: --budget: found {text!r}; expected a time such as 30m" in capsys.readouterr().err
