"""A stand-in for the training scripts, so that the runner is tested without training."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from training.experiments import command

STAND_IN = """
import json, os, pathlib, sys, time
words = dict(zip(sys.argv[1::2], sys.argv[2::2]))
resumed = "--resume" in words
out = pathlib.Path(words.get("--out") or words["--resume"])
out.mkdir(parents=True, exist_ok=True)
with (out / "calls.txt").open("a") as file:
    file.write(" ".join(sys.argv[1:]) + "\\n")
last = words.get("--last", "0")
if (out.parent / f"break-last-{last}").exists():
    print("error: broken on purpose", file=sys.stderr)
    sys.exit(2)
if (out.parent / f"stop-last-{last}").exists() and not resumed:
    (out / "checkpoints").mkdir()
    (out / "checkpoints" / "last.ckpt").write_text("half")
    print("stopped by SIGINT")
    sys.exit(130)
if (out.parent / f"sleep-last-{last}").exists():
    time.sleep(600)
if "--evaluate" in words and not (pathlib.Path(words["--evaluate"]) / "scores.json").is_file():
    print("error: no trained network", file=sys.stderr)
    sys.exit(2)
if "--evaluate" not in words:
    logs = out / "logs" / "csv"
    logs.mkdir(parents=True, exist_ok=True)
    rows = [f"{10 * e + 9},{e},{3 - e:.2f},{0.2 * e:.2f},," for e in range(3)]
    rows += [f"{10 * e + 9},{e},,,{3 - e:.2f},{0.15 * e + 0.01:.2f}" for e in range(3)]
    (logs / "metrics.csv").write_text(
        "\\n".join(["step,epoch,loss,accuracy,val/loss,val/accuracy", *rows]) + "\\n"
    )
value = 0.7 - 0.01 * int(last) + 0.001 * int(words.get("--seed", 0))
score = {"mean": value, "std": 0.002, "averaged": value + 0.01, "single": [value] * 2}
(out / "scores.json").write_text(json.dumps({
    "test_images": 500, "passes": 2, "parameters": 37_700_000, "accuracy": score, "accuracy_top5": score,
    "loss": score, "checkpoint": "checkpoints/best.ckpt", "epoch": 3, "seconds_per_step": 0.01,
}))
"""

EXPERIMENT = """\
title: A network, shuffled
draw: percent
common: {data: shapes, arch: vgg16, epochs: 3}
series:
  - name: baseline
  - name: spatial shuffle
    options: {method: spatial}
    sweep: {last: [1, 4]}
  - name: no shuffle → spatial shuffle
    test: {method: spatial, last: 4}
"""


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """Work in an empty folder with the stand-in for the script; writes experiment files there."""
    script = tmp_path / "stand_in.py"
    script.write_text(STAND_IN, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(command, "script_file", lambda name: str(script))
    monkeypatch.setattr(command, "probe", lambda run: 0.02)
    monkeypatch.setattr("os.getloadavg", lambda: (0.0, 0.0, 0.0))

    def write(content: str = EXPERIMENT, name: str = "trial") -> Path:
        file = tmp_path / f"{name}.yaml"
        file.write_text(content, encoding="utf-8")
        return file

    return write
