"""The runs of experiments in a list, with how far they are and what they will cost."""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from training.experiments.cost import Speeds, duration, machine_of, measured_speeds, seconds_of, speed_key
from training.experiments.jobs import runs_folder
from training.experiments.plan import Plan, Run, State

__all__ = ["show"]

QUIET = 0.5
"""Programs at work for each core, in the last minute, below which a machine is free to be measured."""


def show(plans: Sequence[Plan], states: Mapping[str, State], out: Path, *, parallel: int) -> None:
    """Print each experiment's runs, and the cost of those that are not done.

    Parameters
    ----------
    plans
        The experiments.
    states
        Of each run, by its name.
    out
        Folder of runs and results.
    parallel
        Runs at a time.
    """
    wanted = {run.name: run for plan in plans for run in plan.runs if states[run.name] != "done"}
    speeds = _speeds(out) if wanted else None
    seconds: dict[str, float] = {}
    steps: dict[str, tuple[float, str]] = {}
    for run in wanted.values():
        assert speeds is not None
        step, how, key = speeds.step(run)
        steps[key] = (step, how)
        seconds[run.name] = seconds_of(run, step)
    for plan in plans:
        done = sum(states[run.name] == "done" for run in plan.runs)
        experiment = plan.experiment
        print(f"{experiment.name}: {experiment.title} ({len(plan.runs)} runs, {done} done)")
        for run in plan.runs:
            cost = duration(seconds[run.name]) if run.name in seconds else ""
            print(f"  {states[run.name]:6} {cost:>10}  {run.name}")
    if not wanted:
        return
    total = sum(value for value in seconds.values() if not math.isnan(value))
    runs = f"{len(wanted)} runs" if len(wanted) > 1 else "1 run"
    print(f"to do: {runs}, about {duration(total)} on this machine, one after another")
    if parallel > 1:
        print(f"  {parallel} at a time: {duration(total / parallel)} at best, as they share the machine")
    for key, (step, how) in steps.items():
        print(f"  {step:.3g} s a step ({how}): {key}")
    print(flush=True)


def _speeds(out: Path) -> Speeds:
    from training.provenance import provenance

    facts = provenance()["machine"]
    machine = machine_of(facts)
    quiet = os.getloadavg()[0] < QUIET * facts["cores"]
    return Speeds(out, machine, _probe, measured_speeds(runs_folder(out), _script_of, machine), quiet)


def _probe(run: Run) -> float:
    from training.experiments.probe import probe  # torch takes seconds

    print(f"how long does a step take? {speed_key(run, plain=True)}", file=sys.stderr, flush=True)
    return probe(run)


def _script_of(options: Mapping[str, Any]) -> str:
    return "train_detect" if "shuffle" in options else "train_classify"
