"""The command line of ``train_detect.py``."""

from __future__ import annotations

from collections.abc import Sequence

from training.command import run_command
from training.detection.options import Options
from training.task import Task

__all__ = ["TASK", "main"]

TASK = Task(
    script="train_detect.py",
    description="Train a YOLO-style detector, score it on the test set and say what kind of mistakes it "
    "makes. Its folder holds config.yaml, provenance.json, checkpoints, logs, detections, scores.json and "
    "diagnosis.",
    options=Options,
    module="training.detection.run",
    changeable=frozenset({"shuffle", "shuffle_method", "patch", "shuffle_shortcut"}),
    scoring="score and diagnose",
    changing="--shuffle",
    naming="Name of the detector in tables and figures. Default: the folder's.",
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit code."""
    return run_command(TASK, arguments)
