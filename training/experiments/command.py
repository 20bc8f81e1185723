"""``reproduce.py``: lists the runs of experiments, executes those that are not done, collects and draws."""

from __future__ import annotations

import argparse
import difflib
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from data.records import InputError
from training.experiments.changes import Changes, parse_only, parse_overrides, parse_roots
from training.experiments.declare import read_experiment
from training.experiments.execute import Where, execute
from training.experiments.jobs import Needs, runs_folder
from training.experiments.listing import show
from training.experiments.options import defaults
from training.experiments.plan import Plan, Run, make_plan, state_of

__all__ = ["main"]

DESCRIPTION = """\
Make a figure or a table of the paper again: list its runs with what they will cost, execute those that are
not done, collect their scores, and draw them with the paper's numbers. Interrupted, the same command goes on.
Exit codes: 0 all there; 1 something is missing, and said; 2 the input is wrong; 130 or 143 stopped.
"""
EPILOG = "python reproduce.py profile --help: where in a trained network does space matter?"


class Parser(argparse.ArgumentParser):
    """Says what is wrong in one line, and which option was probably meant."""

    def error(self, message: str) -> NoReturn:
        """Print ``error: …`` and leave with code 2."""
        unknown = next((word for word in message.split() if word.startswith("--")), "")
        if message.startswith("unrecognized"):
            near = difflib.get_close_matches(unknown, self._option_string_actions, n=1)
            message += f"; did you mean {near[0]}?" if near else ""
        print(f"error: {message}", file=sys.stderr)
        sys.exit(2)


def make_parser() -> Parser:
    """All options."""
    parser = Parser(prog="python reproduce.py", description=DESCRIPTION, epilog=EPILOG, allow_abbrev=False)
    add = parser.add_argument
    add("experiments", nargs="+", type=Path, metavar="FILE", help="such as experiments/figure4.yaml")
    add(
        "--root", nargs="+", default=[], metavar="[DATA=]PATH", help="folder of the data, or of each data set"
    )
    add("--out", type=Path, default=Path("runs/reproduce"), help="folder (default: %(default)s)")
    add("--list", action="store_true", help="list the runs and what they will cost, and do nothing")
    add("--draw", action="store_true", help="run nothing: draw what there is")
    add(
        "--scale", type=float, default=1.0, metavar="F", help="shrink epochs, data and width for a quick look"
    )
    add("--set", nargs="+", action="extend", default=[], metavar="NAME=VALUE", help="options of all runs")
    add("--only", nargs="+", action="extend", default=[], metavar="NAME=V,V", help="leave the other runs out")
    add("--seeds", nargs="+", type=int, metavar="N", help="instead of those in the file")
    add("--on", choices=("local", "ray", "slurm"), default="local", help="where (default: %(default)s)")
    add("--parallel", type=int, metavar="N", help="runs at a time (default: 1, on a cluster what it has)")
    add("--cpus", type=float, default=1.0, metavar="N", help="a run's on a cluster (default: %(default)g)")
    add(
        "--gpus",
        type=float,
        metavar="N",
        help="a run's on a cluster, 0.25 where four share one (default: by network)",
    )
    add("--address", metavar="HOST:PORT", help="of a Ray cluster (default: one on this machine)")
    add("--partition", metavar="NAME", help="of Slurm (default: the cluster's)")
    add("--time", metavar="H:MM:SS", help="limit of a run under Slurm, which then goes on in a new one")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit code."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    if words[:1] == ["profile"]:
        from training.profiling.command import main as profile

        return int(profile(words[1:]))
    options = make_parser().parse_args(words)
    try:
        return _reproduce(options)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("stopped; the same command goes on from there", file=sys.stderr)
        return 130


def _reproduce(options: argparse.Namespace) -> int:
    if not 0 < options.scale <= 1:
        raise InputError("--scale", f"{options.scale:g}", "a number above 0, at most 1")
    where = _where(options)
    roots = parse_roots(options.root)
    plans: list[Plan] = []
    for file in options.experiments:
        experiment = read_experiment(file)
        overrides = parse_overrides(options.set, experiment.script)
        only = parse_only(options.only, experiment.script)
        changes = Changes(options.scale, overrides, roots, only)
        plans.append(make_plan(experiment, changes, _seeds(options.seeds)))
    folder = runs_folder(options.out)
    runs = list({run.name: run for plan in plans for run in plan.runs}.values())
    states = {run.name: state_of(run, folder) for run in runs}
    wanted = [run for run in runs if states[run.name] != "done"]
    if not options.draw:
        check_roots(wanted, needed=not options.list)
        show(plans, states, options.out, parallel=options.parallel or 1)
    if options.list:
        return 0
    failed: dict[str, str] = {}
    if wanted and not options.draw:
        failed, stopped = execute(wanted, options.out, where)
        if stopped:
            print("stopped; the same command goes on from there", file=sys.stderr)
            return 128 + stopped
    return _results(plans, options.out, failed)


def check_roots(runs: Sequence[Run], *, needed: bool) -> None:
    """Raise InputError for data that are not there; unless `needed`, only a folder that was given."""
    folders: set[tuple[str, str]] = set()
    for run in runs:
        options = {**defaults(run.script), **run.options}
        data, root = options["data"], options["root"]
        if data == "shapes":  # drawn
            continue
        if root is None and needed:
            raise InputError("--root", "none", f"the folder of {data}; without it, --list and --draw")
        if root is not None and not Path(root).exists():
            raise InputError("--root", f"no {root}", f"the folder of {data}")
        if needed and run.script == "train_classify":
            folders.add((data, root))
    for data, root in sorted(folders):
        from data.classification import find_classification  # torch takes seconds

        find_classification(data, root)


def _where(options: argparse.Namespace) -> Where:
    for name, cluster in {"address": "ray", "partition": "slurm", "time": "slurm"}.items():
        if getattr(options, name) and options.on != cluster:
            raise InputError(f"--{name}", f"--on {options.on} beside it", f"--on {cluster}")
    for name in ("parallel", "cpus", "gpus"):
        value = getattr(options, name)
        if value is not None and value < (name == "parallel"):
            raise InputError(f"--{name}", f"{value:g}", "1 or more" if name == "parallel" else "0 or more")
    gpus = options.gpus
    if gpus is None and options.on == "ray" and not options.address:
        import torch  # the Ray of this machine has what this machine has

        gpus = None if torch.cuda.is_available() else 0.0
    needs = Needs(gpus, options.cpus)
    return Where(options.on, options.parallel, options.address, options.partition, options.time, needs)


def _seeds(given: Sequence[int] | None) -> tuple[int, ...] | None:
    if given is None:
        return None
    if len(set(given)) < len(given) or min(given) < 0:
        raise InputError("--seeds", " ".join(map(str, given)), "different whole numbers from 0")
    return tuple(given)


def _results(plans: Sequence[Plan], out: Path, failed: dict[str, str]) -> int:
    """Draw what there is; the exit code says whether that is all."""
    from training.experiments.outputs import write_results  # matplotlib takes a second

    complete = not failed
    for plan in plans:
        rows, files = write_results(plan, out)
        missing = [run.name for row in rows for run in row.missing]
        print(f"\n{plan.experiment.name}: " + ", ".join(str(file) for file in files[:4]))
        for name in missing:
            if name in failed:
                print(f"missing in {plan.experiment.name}: {name}: {failed[name]}", file=sys.stderr)
        others = sum(name not in failed for name in missing)
        if others:
            runs = sum(len(row.point.runs) for row in rows)
            print(
                f"missing in {plan.experiment.name}: {others} of {runs} results are not there yet",
                file=sys.stderr,
            )
        complete = complete and not missing
    return 0 if complete else 1
