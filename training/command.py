"""The command line of a training script: options in, exit code out."""

from __future__ import annotations

import logging
import signal
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path
from typing import Any

from data.formats.files import path_errors
from data.formats.processes import keep_freed_memory
from data.records import InputError
from training.late_imports import lean_imports
from training.options import option_of
from training.parser import make_parser
from training.run_state import (
    NO_ROOM,
    Interrupted,
    RunFolder,
    check_consent,
    interruptible,
    is_global_zero,
    is_local_zero,
    leave_pipe,
    print_once,
)
from training.task import Task

__all__ = ["ended_by_signals", "exit_code", "quiet", "run_command"]


def parse(task: Task, arguments: Sequence[str]) -> tuple[dict[str, Any], set[str]]:
    """Options of a command line; those of a run that is resumed or evaluated come before them.

    Returns
    -------
    values
        Of every option.
    given
        The names of those that the command line, or a YAML file that it names, has.
    """
    parser = make_parser(task)
    silent = [text for text in arguments if not text.startswith("--print_config")]
    given = parser.parse_args(silent, defaults=False).as_dict()
    named = given.get("evaluate") or given.get("resume")
    if named in ("", "auto"):
        named = given.get("out")
    run = RunFolder.of(Path(named)) if named else None
    if run is None or not run.config.is_file():
        values = parser.parse_args(arguments).as_dict()
    else:
        parser.check_file(run.config, stored=task.options().flat())
        values = parser.parse_args(["--config", str(run.config), *arguments]).as_dict()
        what = "evaluate" if values["evaluate"] else "resume"
        try:
            check_consent(f"--{what} {run.path}", task.options(), values, given, trains=what == "resume")
        except InputError as error:
            parser.fail(error)
    if values["resume"] is not None and "max_steps" not in given:
        values["max_steps"] = None  # where the run stopped is where it goes on
    return values, set(given)


def run_command(task: Task, arguments: Sequence[str] | None = None) -> int:
    """Run a training command, by default on this process's command line; returns the exit code."""

    def command() -> int:
        values, given = parse(task, sys.argv[1:] if arguments is None else arguments)
        try:  # before torch is imported, which takes seconds
            _check(task, values)
        except InputError as error:
            print_once(f"error: {error}")
            return 2
        trains = values["evaluate"] is None and not (values["verify"] or values["find_learning_rate"])
        advice = "; with room, --resume goes on from the last checkpoint" if trains else ""
        return exit_code(lambda: _run(task, values, given), advice)

    return ended_by_signals(command)


def _check(task: Task, values: dict[str, Any]) -> None:
    """Raise InputError for words and paths that cannot be meant."""
    names = ("evaluate", "find_learning_rate", "verify", "resume")
    actions = [option_of(name) for name in names if values[name] not in (None, False)]
    if len(actions) > 1:
        raise InputError(actions[0], f"{actions[1]} beside it", "one of the two")
    if values["evaluate"] is None:
        options = task.options.from_flat(values)
        _to_resume(values, _out(task, values, options))
        options.resolved().check()
        task.check_data_exists(options)


def _out(task: Task, values: dict[str, Any], options: Any) -> Path:
    """The folder of a new run, and of one that is resumed without a name."""
    return Path(values["out"] or f"runs/{task.default_name(options)}")


def _to_resume(values: dict[str, Any], out: Path) -> tuple[RunFolder, Path] | None:
    """The run that is resumed, and its checkpoint; None: a new run. InputError where there is no such run."""
    named = values["resume"]
    if named == "auto":
        named = "" if RunFolder(out).has_begun else None
    if named is None:
        return None
    path = Path(named or out)
    run = RunFolder.of(path)
    checkpoint = run.last if path == run.path else path
    if not checkpoint.is_file() and not run.has_begun:
        expected = "the folder of a run that has begun, or a checkpoint"
        raise InputError("--resume", f"no {checkpoint}", expected)
    return run, checkpoint


@contextmanager
def one_line_warnings() -> Iterator[None]:
    """Print each warning as a line, without the place in the code, in one process of the machine."""

    def show(message: Warning | str, *_: object, **__: object) -> None:
        if is_local_zero():
            print(f"warning: {' '.join(str(message).split())}", file=sys.stderr, flush=True)

    with warnings.catch_warnings():
        warnings.showwarning = show
        yield


def ended_by_signals(command: Callable[[], int], state: str = "no step was done") -> int:
    """The exit code of a command; a signal ends it with a line that says what is left of it."""
    try:
        with interruptible(), one_line_warnings(), path_errors("a path"):
            return command()
    except InputError as error:  # a path that cannot be
        print_once(f"error: {error}")
        return 2
    except BrokenPipeError:
        leave_pipe("it stops here")
        return 1
    except Interrupted as error:
        print_once(f"stopped by {signal.Signals(error.number).name}; {error.state or state}")
        return 128 + error.number


def exit_code(action: Callable[[], None], disk_full: str = "") -> int:
    """Do something, say in one line what went wrong with it, and return the command's exit code.

    `disk_full` is what to do about a full disk.
    """
    # Torch takes seconds, so only after the options are known to be sound.
    with lean_imports():
        import torch

        import detector.shuffle  # noqa: F401  # registers operations: slower, the more is imported before

        # isort: split
        import torchmetrics  # noqa: F401  # of Lightning

        from training.callbacks import FailedError, NonFiniteLossError, StoppedError
        from training.trainer import lost_peer

    quiet()
    keep_freed_memory()
    try:
        action()
    except InputError as error:
        # Before training, all processes of a machine find the same; in training, each has images of its own.
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            print(f"error: {error}", file=sys.stderr)
        else:
            print_once(f"error: {error}")
        return 2
    except (NonFiniteLossError, StoppedError) as error:
        if not is_global_zero():
            return 0  # the first process says it, if Lightning does not kill it because another failed
        if isinstance(error, NonFiniteLossError):
            print(f"error: {error}", file=sys.stderr)
            return 3
        print(f"{error}; --resume goes on from there", file=sys.stderr)
        return 128 + error.number
    except FailedError as error:
        if is_global_zero() or not (isinstance(error.__cause__, RuntimeError) and lost_peer(error.__cause__)):
            print(f"error: {error}", file=sys.stderr)
        return 1
    except OSError as error:
        if error.errno not in NO_ROOM:
            raise
        where = f"{error.filename}: " if error.filename else ""
        print(f"error: {where}{error.strerror}{disk_full}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("stopped by SIGINT", file=sys.stderr)
        return 130
    return 0


def quiet() -> None:
    """Leave out what Lightning says about itself; a user can do nothing about it."""
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)
    for said in (
        "does not have many workers",
        "`srun` command is available",
        "AMP with fp16 is not supported",  # an error of our own
        "Previous log files in this directory will be deleted",
        "across ranks is zero",  # no validation
        "isinstance.treespec, LeafSpec.. is deprecated",
    ):
        warnings.filterwarnings("ignore", message=f".*{said}.*")


def _run(task: Task, values: dict[str, Any], given: set[str]) -> None:
    from training.run import evaluate, find_learning_rate, train

    options = task.options.from_flat(values)
    if values["verify"]:
        task.verify(options.resolved())
        return
    if values["evaluate"] is not None:
        checkpoint = Path(values["evaluate"])
        run = RunFolder.of(checkpoint)
        if checkpoint.is_dir():
            checkpoint = run.best_or_last
        changes = _changes(task, options, given, checkpoint)
        shown = {name: value for name, value in changes.items() if name != "backbone"}
        listed = {name: value if isinstance(value, list) else [value] for name, value in shown.items()}
        texts = ["-".join(map(str, [name, *values])) for name, values in listed.items()]
        evaluate(
            task,
            options,
            checkpoint,
            Path(values["out"] or run.path / "-".join(["evaluation", *texts])),
            changes=task.complete_changes(changes),
            name=values["name"] or (None if values["out"] else run.path.resolve().name),
        )
        return
    out = _out(task, values, options)
    if values["find_learning_rate"]:
        find_learning_rate(task, options, out)
        return
    resume = None
    if (resumed := _to_resume(values, out)) is not None:
        run, resume = resumed
        out = Path(values["out"] or run.path)
    train(task, options, out, resume=resume, name=values["name"])


def _changes(task: Task, options: Any, given: set[str], checkpoint: Path) -> dict[str, Any]:
    """Model options given for an evaluation; most may not differ from the training's."""
    from training.checkpoint import read_checkpoint

    content = read_checkpoint(checkpoint, task.script, task.hyper_parameter_types)
    trained = content["hyper_parameters"]["model"]
    changes: dict[str, Any] = {}
    for item in fields(options.model):
        value = getattr(options.model, item.name)
        if item.name in given and item.name in task.changeable:
            changes[item.name] = value
        elif item.name == "backbone" and item.name in given and value == trained.get("backbone"):
            changes[item.name] = value  # consent to run its code
        elif item.name in given and item.name != "weights" and value != trained.get(item.name):
            expected = f"{trained.get(item.name)!r}, as {checkpoint} was trained"
            raise InputError(option_of(item.name), repr(value), expected)
    return changes
