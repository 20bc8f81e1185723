"""The command line of a training script: options in, exit code out."""

from __future__ import annotations

import errno
import itertools
import sys
import warnings
from collections.abc import Callable, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from data.records import InputError
from training.folder import RunFolder
from training.memory import keep_freed_memory
from training.options import option_of
from training.parser import make_parser
from training.task import Task

__all__ = ["exit_code", "run_command"]

FULL = (errno.ENOSPC, errno.EDQUOT)
"""The errors of a disk, or of a user's share of it, that is full."""


def parse(task: Task, arguments: Sequence[str]) -> tuple[dict[str, Any], set[str]]:
    """Options of a command line; those of a run that is resumed or evaluated stand below them.

    Returns
    -------
    values
        Of every option.
    given
        The names of those that the command line, or a YAML file that it names, has.
    """
    parser = make_parser(task)
    names = [word.partition("=")[0] for word in arguments if word.startswith("--")]
    for name in parser.lists:  # elsewhere the last one counts; here that would lose some unseen
        if names.count(name) > 1:
            parser.error(f"{name}: found twice; expected once, with all its values in a row")
    words = [
        part for word in arguments for part in (word.split("=", 1) if word[:9] == "--config=" else [word])
    ]
    for option, file in itertools.pairwise(words):
        if option == "--config" and Path(file).is_file():
            parser.read(file)
    quietly = [word for word in arguments if not word.startswith("--print_config")]
    given = parser.parse_args(quietly, defaults=False).as_dict()
    named = given.get("evaluate") or given.get("resume")
    if not named and given.get("resume") is not None:
        named = given.get("out")
    stored = RunFolder.of(Path(named)).config if named else None
    if stored is not None and stored.is_file():
        parser.read(str(stored), of_run=True)
        arguments = ["--config", str(stored), *arguments]
    values = parser.parse_args(arguments).as_dict()
    if values["resume"] is not None and "max_steps" not in given:
        values["max_steps"] = None  # where the run stopped is where it goes on
    return values, set(given)


def run_command(task: Task, arguments: Sequence[str] | None = None) -> int:
    """Run a training command.

    Parameters
    ----------
    task
        Which.
    arguments
        Its command line. Default: that of this process.

    Returns
    -------
    int
        The exit code.
    """
    try:
        values, given = parse(task, sys.argv[1:] if arguments is None else arguments)
    except KeyboardInterrupt:
        return _interrupted()
    return exit_code(lambda: _run(task, values, given))


def exit_code(action: Callable[[], None]) -> int:
    """Do something, say in one line what went wrong with it, and return the command's exit code."""
    # Heavy imports after the options are known to be sound: --help and a misspelt option answer at once.
    try:
        from training.callbacks import NonFiniteLossError, StoppedError
        from training.trainer import is_first_here, is_first_process, lost_another
    except KeyboardInterrupt:
        return _interrupted()
    try:
        quiet()
        keep_freed_memory()
        action()
    except InputError as error:
        if is_first_here():
            print(f"error: {error}", file=sys.stderr)
        return 2
    except (NonFiniteLossError, StoppedError) as error:
        if not is_first_process():
            return 0  # the first process tells, if Lightning does not kill it because another failed
        if isinstance(error, NonFiniteLossError):
            print(f"error: {error}", file=sys.stderr)
            return 3
        print(f"{error}; --resume goes on from there", file=sys.stderr)
        return 128 + error.number
    except OSError as error:
        if error.errno not in FULL:
            raise
        print(
            f"error: {error.strerror}; with room, --resume goes on from the last checkpoint", file=sys.stderr
        )
        return 1
    except RuntimeError as error:
        if not lost_another(error):
            raise
        if is_first_process():
            print("error: another process of this run has failed; it says why", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return _interrupted()
    return 0


def _interrupted() -> int:
    """Before the first step or after the last: there is no state to save."""
    print("stopped by SIGINT", file=sys.stderr)
    return 130


def quiet() -> None:
    """Leave out what Lightning says about itself; a user can do nothing about it."""
    import logging

    for name in (
        "lightning.pytorch.utilities.rank_zero",
        "lightning.pytorch.accelerators.cuda",
        "lightning.fabric",
    ):
        logging.getLogger(name).setLevel(logging.WARNING)
    warnings.filterwarnings("ignore", message=".*does not have many workers.*")
    warnings.filterwarnings("ignore", message=".*`srun` command is available.*")
    warnings.filterwarnings("ignore", message=".*AMP with fp16 is not supported.*")  # an error of our own
    warnings.filterwarnings("ignore", message=".*Previous log files in this directory will be deleted.*")
    warnings.filterwarnings("ignore", message=".*isinstance.treespec, LeafSpec.. is deprecated.*")


def _run(task: Task, values: dict[str, Any], given: set[str]) -> None:
    runs = task.runs
    options = task.options.from_flat(values)
    if values["evaluate"] is not None:
        if values["resume"] is not None:
            raise InputError("--evaluate", "--resume beside it", "one of the two")
        checkpoint = Path(values["evaluate"])
        if checkpoint.is_dir():
            folder = RunFolder(checkpoint)
            checkpoint = folder.best if folder.best.is_file() else folder.last
        run = RunFolder.of(checkpoint)
        changes = _changes(task, options, given, checkpoint)
        runs.evaluate(
            options,
            checkpoint,
            Path(values["out"] or run.path / "-".join(["evaluation", *map(_in_a_name, changes.items())])),
            overrides=task.complete(changes),
            name=values["name"] or (None if values["out"] else run.path.resolve().name),
        )
        return
    out = Path(values["out"] or f"runs/{runs.default_name(options)}")
    resume = None
    if values["resume"] is not None:
        named = Path(values["resume"] or out)
        run = RunFolder.of(named)
        resume = run.last if named == run.path else named
        out = Path(values["out"] or run.path)
        if not resume.is_file():
            raise InputError(
                "--resume", f"no {resume}", "the folder of a run that has begun, or a checkpoint"
            )
    runs.train(options, out, resume=resume, name=values["name"])


def _in_a_name(change: tuple[str, Any]) -> str:
    name, value = change
    return f"{name}-{'-'.join(map(str, value)) if isinstance(value, list) else value}"


def _changes(task: Task, options: Any, given: set[str], checkpoint: Path) -> dict[str, Any]:
    """Model options given for an evaluation; most may not differ from the training's."""
    trained = task.runs.read_checkpoint(checkpoint)["hyper_parameters"]["model"]
    changes: dict[str, Any] = {}
    for item in fields(options.model):
        if item.name not in given:
            continue
        value = getattr(options.model, item.name)
        if item.name in task.changeable:
            changes[item.name] = value
        elif item.name != "weights" and value != trained.get(item.name):
            raise InputError(
                option_of(item.name), repr(value), f"{trained.get(item.name)!r}, as {checkpoint} was trained"
            )
    return changes
