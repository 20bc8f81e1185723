"""The command line of ``train_detect.py``: options in, exit code out."""

from __future__ import annotations

import itertools
import sys
import warnings
from collections.abc import Callable, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from data.records import InputError
from training.folder import RunFolder
from training.options import ModelOptions, Options
from training.parser import make_parser, option_of

__all__ = ["main", "make_parser"]

SHUFFLE_OPTIONS = {"shuffle", "shuffle_method", "patch", "shuffle_shortcut"}


def parse(arguments: Sequence[str]) -> tuple[dict[str, Any], set[str]]:
    """Options of a command line; those of a run that is resumed or evaluated stand below them.

    Returns
    -------
    values
        Of every option.
    given
        The names of those that the command line, or a YAML file that it names, has.
    """
    parser = make_parser()
    names = [word.partition("=")[0] for word in arguments if word.startswith("--")]
    for name in ("--train", "--test"):  # elsewhere the last one counts; here that would lose a list unseen
        if names.count(name) > 1:
            parser.error(f"{name}: found twice; expected once, with all its lists in a row")
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
        parser.read(str(stored))
        arguments = ["--config", str(stored), *arguments]
    values = parser.parse_args(arguments).as_dict()
    if values["resume"] is not None and "max_steps" not in given:
        values["max_steps"] = None  # where the run stopped is where it goes on
    return values, set(given)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command.

    Returns
    -------
    int
        The exit code.
    """
    values, given = parse(sys.argv[1:] if arguments is None else arguments)
    return exit_code(lambda: _run(values, given))


def exit_code(action: Callable[[], None]) -> int:
    """Do something, say in one line what went wrong with it, and return the command's exit code."""
    # Heavy imports after the options are known to be sound: --help and a misspelt option answer at once.
    from training.callbacks import StoppedError
    from training.module import NonFiniteLossError
    from training.trainer import is_first_here, is_first_process, lost_another

    try:
        quiet()
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
    except RuntimeError as error:
        if not lost_another(error):
            raise
        if is_first_process():
            print("error: another process of this run has failed; it says why", file=sys.stderr)
        return 1
    except KeyboardInterrupt:  # before the first step or after the last: there is no state to save
        print("stopped by SIGINT", file=sys.stderr)
        return 130
    return 0


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
    warnings.filterwarnings("ignore", message=".*AMP with fp16 is not supported.*")  # an error of our own
    warnings.filterwarnings("ignore", message=".*Previous log files in this directory will be deleted.*")
    warnings.filterwarnings("ignore", message=".*isinstance.treespec, LeafSpec.. is deprecated.*")


def _run(values: dict[str, Any], given: set[str]) -> None:
    from training.run import default_name, evaluate, train

    options = Options.from_flat(values)
    if values["evaluate"] is not None:
        if values["resume"] is not None:
            raise InputError("--evaluate", "--resume beside it", "one of the two")
        checkpoint = Path(values["evaluate"])
        if checkpoint.is_dir():
            folder = RunFolder(checkpoint)
            checkpoint = folder.best if folder.best.is_file() else folder.last
        run = RunFolder.of(checkpoint)
        overrides = _overrides(options.model, given, checkpoint)
        changed = "-".join(f"{name}-{value}" for name, value in overrides.items())
        evaluate(
            options,
            checkpoint,
            Path(values["out"] or run.path / f"evaluation{'-' if changed else ''}{changed}"),
            overrides=overrides,
            name=values["name"] or (None if values["out"] else run.path.resolve().name),
        )
        return
    out = Path(values["out"] or f"runs/{default_name(options)}")
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
    train(options, out, resume=resume, name=values["name"])


def _overrides(model: ModelOptions, given: set[str], checkpoint: Path) -> dict[str, Any]:
    """Model options given for an evaluation; only those of the shuffle may differ from the training's."""
    from training.model import read_checkpoint

    trained = read_checkpoint(checkpoint)["hyper_parameters"]["model"]
    overrides: dict[str, Any] = {}
    for item in fields(model):
        if item.name not in given:
            continue
        value = getattr(model, item.name)
        if item.name in SHUFFLE_OPTIONS:
            overrides[item.name] = value
        elif item.name != "weights" and value != trained.get(item.name):
            raise InputError(
                option_of(item.name), repr(value), f"{trained.get(item.name)!r}, as {checkpoint} was trained"
            )
    return overrides
