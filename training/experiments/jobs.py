"""Runs as commands for a launcher."""

from __future__ import annotations

import os
import sys
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import training
from training.experiments.options import MACHINE, Script, words
from training.experiments.plan import Run
from training.launch import Job

__all__ = ["RUNS", "Needs", "gpu_share", "make_jobs", "runs_folder"]

RUNS = "runs"
"""Below ``--out``: the folders of all runs."""


@dataclass(frozen=True)
class Needs:
    """What a run is to get on a cluster."""

    gpus: float | None = None
    """None: by its network, see :func:`gpu_share`."""
    cpus: float = 1.0


def runs_folder(out: Path) -> Path:
    """Where the runs of all experiments lie."""
    return out / RUNS


def make_jobs(runs: Sequence[Run], folder: Path, needs: Needs = Needs()) -> list[Job]:
    """The commands of runs that are not done.

    Parameters
    ----------
    runs
        A scoring after the training that it scores, if that one is not done either.
    folder
        That of all runs.
    needs
        What each run is to get.
    """
    names = {run.name for run in runs}
    return [_job(run, folder, names, needs) for run in runs]


def _job(run: Run, folder: Path, names: Collection[str], needs: Needs) -> Job:
    out = folder / run.name
    start = (sys.executable, _script(run.script))
    machine = {name: value for name, value in run.options.items() if name in MACHINE}
    share = gpu_share(run) if needs.gpus is None else needs.gpus
    if run.trained is not None:
        trained = str(folder / run.trained)
        test = words({**machine, **(run.test or {})})
        command = (*start, "--evaluate", trained, *test, "--out", str(out))
        after = (run.trained,) if run.trained in names else ()
        return Job(run.name, command, out, after, share, needs.cpus)
    return Job(
        run.name,
        (*start, *words(run.options), "--out", str(out)),
        out,
        gpus=share,
        cpus=needs.cpus,
        resume=(*start, "--resume", str(out), *words(machine)),
    )


def _script(script: Script) -> str:
    """The script's file, beside the package; from here if it is below, so that no log names this machine."""
    file = Path(training.__file__).resolve().parent.parent / f"{script}.py"
    here = Path.cwd().resolve()
    return os.path.relpath(file, here) if file.is_relative_to(here) else str(file)


def gpu_share(run: Run) -> float:
    """How much of a GPU a run needs: networks on 32×32 images leave most of one idle.

    Examples
    --------
    >>> gpu_share(Run("a", "train_classify", {"data": "cifar100", "arch": "vgg16"}))
    0.25
    """
    options: dict[str, Any] = dict(run.options)
    if options.get("accelerator") == "cpu":
        return 0.0
    if run.script == "train_detect" or options.get("data") == "imagenet":
        return 1.0
    return 0.5 if options.get("arch") in ("resnet50", "resnet152") else 0.25
