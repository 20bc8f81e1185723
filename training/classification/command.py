"""The command line of ``train_classify.py``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from training.classification.options import PLACES, Options
from training.command import run_command
from training.task import Task

__all__ = ["TASK", "main"]


def completed(changes: Mapping[str, Any]) -> dict[str, Any]:
    """The changes of an evaluation with all that follows from them.

    Examples
    --------
    >>> completed({"method": "none"})["last"], completed({"layer": 3})["last"]
    (None, None)
    """
    whole = dict(changes)
    empty: dict[str, Any] = {"last": None, "layer": None, "layers": [], "names": []}
    if whole.get("method") == "none" or any(name in whole for name in PLACES):
        whole = {**empty, **whole}
    if whole.get("method", "patch") != "patch":
        whole = {"patch": None, **whole}
    return whole


TASK = Task(
    script="train_classify.py",
    description="Train a classification network from which spatial or channel information is taken away, "
    "and score it on the test set. Its folder holds config.yaml, provenance.json, checkpoints, logs and "
    "scores.json.",
    options=Options,
    module="training.classification.run",
    changeable=frozenset(
        {
            *PLACES,
            "method",
            "patch",
            "shuffle_shortcut",
            "per_image",
            "train_shuffle",
            "eval_shuffle",
        }
    ),
    scoring="score",
    changing="--method and its layers",
    naming="Name of the network in what is printed. Default: the folder's.",
    complete=completed,
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit code."""
    return run_command(TASK, arguments)
