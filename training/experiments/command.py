"""``reproduce.py``: lists the runs of experiments, executes those that are not done, collects and draws."""

from __future__ import annotations

import argparse
import json
import math
import os
import signal
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Literal, NoReturn

import training
from data.formats.files import write_text
from data.formats.validation import counted
from data.records import InputError
from data.shapes import SHAPE_SETS
from spatial_dependency import program
from training.experiments.cost import (
    Speeds,
    all_experiments,
    fit,
    load_epochs,
    parse_budget,
    probe,
    rounded_duration,
    seconds_of,
    store_epochs,
)
from training.experiments.plan import (
    Overrides,
    Plan,
    Run,
    State,
    make_plan,
    parse_only,
    parse_options,
    parse_roots,
    state_of,
)
from training.experiments.schema import (
    MACHINE_OPTIONS,
    Experiment,
    Script,
    command_words,
    defaults,
    layers_of,
    read_experiment,
    suggestion,
)
from training.launch import Job, Launcher, LocalLauncher, Outcome, RayLauncher, SlurmLauncher
from training.provenance import provenance
from training.run_state import locked, make_folder

__all__ = ["gpu_share", "main"]

DESCRIPTION = """\
Make a figure or a table of the paper again: list its runs with what they will cost, execute those that are
not done, collect their scores, and draw them with the paper's numbers. Interrupted, the same command goes on.
Exit codes: 0 all there; 1 something is missing, and said; 2 the input is wrong; 130 or 143 stopped.
"""
EPILOG = "python reproduce.py profile --help: where in a trained network does space matter?"
MAX_LAYERS_OF_A_QUARTER = 13
"""Layers of a network on small images of which a GPU has room for four: those of VGG-16."""
EXPERIMENTS = Path(training.__file__).resolve().parent.parent / "experiments"
LINE_WIDTH = 80
"""Width of the overview, in characters."""
STOPPED = "stopped; the same command goes on from there"


class Parser(argparse.ArgumentParser):
    """Reports an error in one line, with the option that was probably meant."""

    def error(self, message: str) -> NoReturn:
        """Print ``error: …`` and leave with code 2."""
        if message.startswith("unrecognized"):
            unknown = next((word for word in message.split() if word.startswith("--")), "")
            message += suggestion(unknown, self._option_string_actions)
        print(f"error: {message}", file=sys.stderr)
        sys.exit(2)


def make_parser() -> Parser:
    """All options."""
    parser = Parser(
        prog=program("python reproduce.py"), description=DESCRIPTION, epilog=EPILOG, allow_abbrev=False
    )
    add = parser.add_argument
    add(
        "experiments",
        nargs="+",
        type=Path,
        metavar="FILE",
        help="such as experiments/figure4.yaml; all: every file of experiments/ whose data are given",
    )
    add(
        "--root", nargs="+", default=[], metavar="[DATA=]PATH", help="folder of the data, or of each data set"
    )
    add("--out", type=Path, default=Path("runs/reproduce"), help="folder (default: %(default)s)")
    add("--list", action="store_true", help="list the runs and what they will cost, and do nothing")
    add("--probe", action="store_true", help="for the costs, measure a step of each network not yet measured")
    add("--draw", action="store_true", help="run nothing: draw what there is")
    add(
        "--style",
        choices=("screen", "paper"),
        default="screen",
        help="of the figures; paper: as PDF too, 3.3 or 6.9 inches wide, without titles and notes",
    )
    add(
        "--scale", type=float, default=1.0, metavar="F", help="shrink epochs, data and width for a quick look"
    )
    add(
        "--budget",
        metavar="TIME",
        help="such as 30m: fewer epochs and the most telling runs, as many as fit; ends after that time",
    )
    add("--set", nargs="+", action="extend", default=[], metavar="NAME=VALUE", help="options of all runs")
    add("--only", nargs="+", action="extend", default=[], metavar="NAME=V,V", help="leave the other runs out")
    add("--seeds", nargs="+", type=int, metavar="N", help="instead of those in the file")
    add("--on", choices=tuple(LAUNCHERS), default="local", help="where (default: %(default)s)")
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


LAUNCHERS: dict[str, Callable[[argparse.Namespace], Launcher]] = {
    "local": lambda options: LocalLauncher(options.parallel or 1),
    "ray": lambda options: RayLauncher(options.address, parallel=options.parallel),
    "slurm": lambda options: SlurmLauncher(
        options.out / "slurm", partition=options.partition, time_limit=options.time, parallel=options.parallel
    ),
}
"""By ``--on``."""

LAUNCHER_OPTIONS = {"address": "ray", "partition": "slurm", "time": "slurm"}
"""Options that only one launcher has."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit code."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    if words[:1] == ["profile"]:
        from training.profiling.__main__ import main as profile

        return int(profile(words[1:]))
    try:
        if words:
            return reproduce(make_parser().parse_args(words))
        print(overview())
        return 0
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(STOPPED, file=sys.stderr)
        return 130


def overview() -> str:
    """All experiments: what each costs, its runs, its title."""
    lines = []
    for file in all_experiments(EXPERIMENTS):
        experiment = read_experiment(file)
        runs = len(make_plan(experiment, Overrides()).runs)
        title = textwrap.fill(experiment.title, LINE_WIDTH, initial_indent="    ", subsequent_indent="    ")
        lines += [f"{experiment.name:12}{counted(runs, 'run'):>8}  about {experiment.cost}", title]
    command, example = program("python reproduce.py"), f"{EXPERIMENTS.name}/figure4.yaml"
    usage = {
        f"{example} --root PATH": "runs one, and draws it",
        f"{example} --list --probe": "measures what it costs here",
        "all --budget 30m --root DATA=PATH …": "what fits into a time",
        "--help": "all options",
    }
    lines += ["", "A cost is that of all runs, one after another. Some runs are part of several.", ""]
    for words, text in usage.items():
        lines += [f"{command} {words}", f"    {text}"]
    return "\n".join(lines)


def reproduce(options: argparse.Namespace) -> int:
    """List, execute, collect and draw, as the options say; returns the exit code."""
    began = time.monotonic()
    check_options(options)
    seconds = None if options.budget is None else parse_budget(options.budget)
    roots = parse_roots(options.root)
    experiments, absent = find_experiments(options, roots)

    def make(epochs: Mapping[str, float]) -> list[Plan]:
        plans = []
        for experiment in experiments:
            given = parse_options(options.set, experiment.script)
            only = parse_only(options.only, experiment.script)
            overrides = Overrides(options.scale, given, roots, only, epochs)
            plans.append(make_plan(experiment, overrides, tuple(options.seeds or ())))
        return plans

    folder = options.out / "runs"  # of all experiments
    file = options.out / "budget.json"
    epochs = load_epochs(file) if seconds or options.draw else {}
    chosen: list[Run] | None = None
    speeds = None if options.draw else Speeds(options.out, probe if options.probe or seconds else None)
    if seconds and speeds:

        def cost(run: Run) -> float:
            share = gpu_share(run) if speeds.has_gpu else 1.0  # on a CPU runs share the cores
            return share * seconds_of(run, speeds.step(run)[0])

        there = [run for plan in make({}) for run in plan.runs if run.options["data"] not in absent]
        check_roots(there, needed=not options.list)
        epochs, chosen = fit(make, cost, seconds, epochs, absent, lambda run: state_of(run, folder) == "done")
        if not options.list:
            make_folder(options.out)
            store_epochs(file, epochs)
    plans = make(epochs)
    runs = {run.name: run for plan in plans for run in plan.runs}
    states = {name: state_of(run, folder) for name, run in runs.items()}
    if chosen is None:
        wanted = [
            run for run in runs.values() if states[run.name] != "done" and run.options["data"] not in absent
        ]
    else:
        wanted = chosen
        fractions = ", ".join(f"{data} × {value:g}" for data, value in epochs.items())
        print(f"what fits into {options.budget}, by its cost; epochs: {fractions}")
    if speeds:
        check_roots(wanted, needed=not options.list)
        show(plans, states, wanted, speeds)
        if wanted and (options.parallel or 1) > 1:
            print(f"  {options.parallel} at a time share the machine")
        print(flush=True)
    if options.list:
        return 0
    failed: dict[str, str] = {}
    if wanted and not options.draw:
        with time_limit(began + seconds if seconds else None) as over:
            failed, stopped = execute(wanted, options)
        if stopped and over.is_set():
            print(f"the {options.budget} are over; the same command goes on from there", file=sys.stderr)
        elif stopped:
            print(STOPPED, file=sys.stderr)
            return 128 + stopped
    complete = not failed
    for plan in plans:
        complete = write_results(plan, options.out, failed, options.style) and complete
    return 0 if complete else 1


def find_experiments(
    options: argparse.Namespace, roots: Mapping[str, str]
) -> tuple[list[Experiment], set[str]]:
    """The experiments that are named, or all; and the data sets that ``all`` does without."""
    if options.experiments != [Path("all")]:
        return [read_experiment(file) for file in options.experiments], set()
    experiments = [read_experiment(file) for file in all_experiments(EXPERIMENTS)]

    def data_sets(experiment: Experiment) -> set[str]:
        return {str({**experiment.common, **series.options}["data"]) for series in experiment.series}

    used = set[str]().union(*map(data_sets, experiments))
    absent = {data for data in used if is_read(data) and not {data, ""} & roots.keys()}
    for data in sorted(absent):
        print(f"left out: {data}, as there is no --root {data}=PATH")
    return [experiment for experiment in experiments if data_sets(experiment) - absent], absent


def is_read(data: str) -> bool:
    """Whether a data set is read from a folder, not drawn."""
    return data not in (*SHAPE_SETS, "shapes")


@contextmanager
def time_limit(end: float | None) -> Iterator[threading.Event]:
    """Ask this process to stop, as SIGTERM does, at a time of the monotonic clock; the event is set then."""
    over = threading.Event()

    def stop() -> None:
        over.set()
        os.kill(os.getpid(), signal.SIGTERM)

    timer = threading.Timer(max(0.0, (end or 0) - time.monotonic()), stop)
    timer.daemon = True
    if end is not None:
        timer.start()
    try:
        yield over
    finally:
        timer.cancel()


def check_options(options: argparse.Namespace) -> None:
    """Raise InputError for values that are not possible."""
    if options.budget and options.on != "local":
        raise InputError("--budget", f"--on {options.on} beside it", "--on local")
    if not 0 < options.scale <= 1:
        raise InputError("--scale", f"{options.scale:g}", "a number above 0, at most 1")
    for name, launcher in LAUNCHER_OPTIONS.items():
        if getattr(options, name) and options.on != launcher:
            raise InputError(f"--{name}", f"--on {options.on} beside it", f"--on {launcher}")
    for name, least in (("parallel", 1), ("cpus", 0), ("gpus", 0)):
        value = getattr(options, name)
        if value is not None and value < least:
            raise InputError(f"--{name}", f"{value:g}", f"{least} or more")
    seeds = options.seeds
    if seeds is not None and (len(set(seeds)) < len(seeds) or min(seeds) < 0):
        raise InputError("--seeds", " ".join(map(str, seeds)), "different whole numbers from 0")


def check_roots(runs: Sequence[Run], *, needed: bool) -> None:
    """Raise InputError for data that are not there; unless `needed`, only for a folder that was given."""
    folders: set[tuple[str, str]] = set()
    for run in runs:
        options = {**defaults(run.script), **run.options}
        data, root = options["data"], options["root"]
        if is_read(data) and (root is not None or needed):
            expected = f"the folder of {data}" + ("" if root else "; without it, --list and --draw")
            if root is None or not Path(root).exists():
                raise InputError("--root", "none" if root is None else f"no {root}", expected)
            if needed and run.script == "train_classify":
                folders.add((data, root))
    for data, root in sorted(folders):
        from data.classification import find_classification  # torch takes seconds

        find_classification(data, root)


# ---------------------------------------------------------------- the list


def show(plans: Sequence[Plan], states: Mapping[str, State], to_do: Sequence[Run], speeds: Speeds) -> None:
    """Print each experiment's runs that are done or to be done, and what the latter will cost."""
    seconds: dict[str, float] = {}
    steps: dict[str, tuple[float, str]] = {}
    for run in to_do:
        step, source, key = speeds.step(run)
        steps[key] = (step, source)
        seconds[run.name] = seconds_of(run, step)
    for plan in plans:
        shown = [run for run in plan.runs if states[run.name] == "done" or run.name in seconds]
        done = sum(states[run.name] == "done" for run in shown)
        print(f"{plan.experiment.name}: {plan.experiment.title} ({len(plan.runs)} runs, {done} done)")
        for run in shown:
            cost = rounded_duration(seconds[run.name]) if run.name in seconds else ""
            print(f"  {states[run.name]:6} {cost:>10}  {run.name}")
        if left_out := len(plan.runs) - len(shown):
            print(f"  left out: {left_out} more")
    if not seconds:
        return
    costs = [value for value in seconds.values() if not math.isnan(value)]
    runs = f"{len(seconds)} runs" if len(seconds) > 1 else "1 run"
    about = f"about {rounded_duration(sum(costs))}" if costs else "for an unknown time"
    unknown = f", {len(seconds) - len(costs)} of them not counted" if 0 < len(costs) < len(seconds) else ""
    print(f"to do: {runs}, {about} on this machine, one after another{unknown}")
    for key, (step, source) in steps.items():
        print(f"  {'?' if math.isnan(step) else f'{step:.3g}'} s a step ({source}): {key}")


# ---------------------------------------------------------------- execution


def execute(runs: Sequence[Run], options: argparse.Namespace) -> tuple[dict[str, str], int]:
    """Execute runs: why each one failed or was skipped, by name, and the signal that ended it, or 0."""
    make_folder(options.out)
    launcher = LAUNCHERS[options.on](options)
    jobs = make_jobs(runs, options)
    failed: dict[str, str] = {}
    ended = 0

    def report(outcome: Outcome) -> None:
        nonlocal ended
        ended += 1
        took = f" in {rounded_duration(outcome.seconds)}" if outcome.state == "done" else ""
        why = f"\n    {outcome.message}" if outcome.message else ""
        print(f"[{ended}/{len(jobs)}] {outcome.state}{took}: {outcome.name}{why}", flush=True)
        if outcome.state in ("failed", "skipped"):
            failed[outcome.name] = outcome.message or outcome.state

    with locked(options.out):
        outcomes = launcher.run(jobs, report)
    stopped = any(outcome.state == "stopped" for outcome in outcomes)
    return failed, (launcher.stopped_by or 2) if stopped else 0


GIVEN_AGAIN = {*MACHINE_OPTIONS, "backbone"}
"""Options that are given once more where a run goes on or is scored: stored ones do not count for some."""


def make_jobs(runs: Sequence[Run], options: argparse.Namespace) -> list[Job]:
    """The commands of runs that are not done; a scoring after the training that it scores."""
    names = {run.name for run in runs}
    gpus = options.gpus
    if gpus is None and options.on == "ray" and not options.address:
        import torch  # the Ray of this machine has what this machine has

        gpus = None if torch.cuda.is_available() else 0.0
    jobs = []
    for run in runs:
        out = options.out / "runs" / run.name
        start = (sys.executable, script_file(run.script))
        again = {name: value for name, value in run.options.items() if name in GIVEN_AGAIN}
        after: tuple[str, ...] = ()
        resume: tuple[str, ...] = ()
        if run.trained_run is None:
            command = (*start, *command_words(run.options), "--out", str(out))
            resume = (*start, "--resume", str(out), *command_words(again))
        else:
            trained = str(options.out / "runs" / run.trained_run)
            test = command_words({**again, **(run.test or {})})
            command = (*start, "--evaluate", trained, *test, "--out", str(out))
            after = (run.trained_run,) if run.trained_run in names else ()
        share = gpu_share(run) if gpus is None else gpus
        jobs.append(Job(run.name, command, out, after, share, options.cpus, resume))
    return jobs


def script_file(script: Script) -> str:
    """The script's file; relative if it is below this folder, so that no log names this machine."""
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
    options = run.options
    if options.get("accelerator") == "cpu":
        return 0.0
    if run.script == "train_detect" or options.get("data") == "imagenet":
        return 1.0
    arch = str({**defaults(run.script), **options}["arch"])
    return 0.5 if len(layers_of(arch)) > MAX_LAYERS_OF_A_QUARTER else 0.25


# ---------------------------------------------------------------- results


def write_results(
    plan: Plan, out: Path, failed: Mapping[str, str], style: Literal["screen", "paper"] = "screen"
) -> bool:
    """Write an experiment's tables, figure and provenance into a folder of its name; whether all is there."""
    from diagnosis.figures.style import drawing_style, save_figure  # matplotlib takes a second
    from training.experiments.collect import collect
    from training.experiments.figures import draw
    from training.experiments.tables import differences, to_csv, to_markdown

    name, folder, runs = plan.experiment.name, out / plan.experiment.name, out / "runs"
    rows = collect(plan, runs)
    missing = [run.name for row in rows for run in row.missing]
    make_folder(folder)
    files = [folder / "table.csv", folder / "table.md"]
    write_text(files[0], to_csv(plan, rows))
    write_text(files[1], to_markdown(plan, rows))
    formats = ("png", "svg", "pdf") if style == "paper" else ("png", "svg")
    with drawing_style(style):
        figure = draw(plan, rows, runs)
        files += [save_figure(figure, folder / f"{name}.{kind}") for kind in formats]
    facts = provenance(
        experiment=name,
        seeds=list(plan.seeds),
        scale=plan.overrides.scale,
        set=dict(plan.overrides.options),
        only={option: list(values) for option, values in plan.overrides.only.items()},
        differences=differences(plan),
        runs={run.name: os.path.relpath(runs / run.name, folder) for run in plan.runs},
        missing=missing,
    )
    write_text(folder / "provenance.json", json.dumps(facts, indent=1, default=str) + "\n")
    print(f"\n{name}: " + ", ".join(map(str, files)))
    for run in missing:
        if run in failed:
            print(f"missing in {name}: {run}: {failed[run]}", file=sys.stderr)
    others = sum(run not in failed for run in missing)
    if others:
        total = sum(len(row.point.runs) for row in rows)
        print(f"missing in {name}: {others} of {total} results are not there yet", file=sys.stderr)
    return not missing
