"""The command line of ``train_detect.py``: options in, exit code out."""

from __future__ import annotations

import difflib
import re
import sys
import warnings
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any, NoReturn, get_type_hints

from jsonargparse import ArgumentParser

from data.records import InputError
from training.options import ModelOptions, Options

__all__ = ["main", "make_parser"]

DESCRIPTION = """\
Train a YOLO-style detector, score it on the test set and say what kind of mistakes it makes.

Everything of a run is in one folder: config.yaml, provenance.json, checkpoints, logs, detections, scores.json, diagnosis.
Exit codes: 0 done; 2 something in the input is wrong; 3 the loss is not finite; 130 or 143 stopped by a signal,
state saved.
"""
SHUFFLE_OPTIONS = {"shuffle", "shuffle_method", "patch", "shuffle_shortcut"}


class Parser(ArgumentParser):  # type: ignore[misc]
    """Answers an unknown option or key with the nearest known one."""

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """Print one line and exit with code 2."""
        text = " ".join(str(message).split())
        unknown = re.search(r"unrecognized arguments: (--[\w-]+)|Option '([\w-]+)' is not accepted", text)
        hint = ""
        if unknown:
            known = [option for action in self._actions for option in action.option_strings]
            wanted = f"--{(unknown[1] or unknown[2]).removeprefix('--').replace('_', '-')}"
            near = difflib.get_close_matches(wanted, known, n=1, cutoff=0.5)
            hint = f"; did you mean {near[0]}?" if near else ""
        self.exit(2, f"error: {text}{hint} (see --help)\n")
        raise SystemExit(2)  # for the type checker: exit() does not return


def make_parser() -> ArgumentParser:
    """The parser: every field of :class:`~training.options.Options` is an option, and a key of the YAML file."""
    parser = Parser(prog="train_detect.py", description=DESCRIPTION, exit_on_error=True)
    parser.add_argument(
        "--config", action="config", help="YAML file of options; later ones on the line override it."
    )
    default = Options()
    for group in fields(Options):
        values = getattr(default, group.name)
        section = parser.add_argument_group(group.name, description=type(values).__doc__)
        hints = get_type_hints(type(values))
        for item in fields(values):
            kind = hints[item.name]
            extra: dict[str, Any] = {"type": kind}
            if kind == list[str]:
                extra = {"type": str, "nargs": "+"}
            elif kind is bool:
                extra = {"type": bool, "nargs": "?", "const": True}  # --compile, or --compile false
            section.add_argument(
                f"--{item.name.replace('_', '-')}",
                default=getattr(values, item.name),
                help=item.metadata["help"],
                **extra,
            )
    section = parser.add_argument_group("run", description="Where it goes, and what is done.")
    section.add_argument(
        "--out",
        type=str | None,
        default=None,
        help="Folder of the run. Default: runs/ and a name made of the options.",
    )
    section.add_argument(
        "--resume",
        nargs="?",
        const="",
        default=None,
        help="Go on with a run: the folder or checkpoint named here, or that of --out. Its options are kept; more epochs or steps may be given.",
    )
    section.add_argument(
        "--evaluate",
        default=None,
        metavar="CHECKPOINT",
        help="Do not train: score and diagnose this checkpoint. --shuffle may differ from that of its training.",
    )
    section.add_argument(
        "--name",
        type=str | None,
        default=None,
        help="Name of the detector in tables and figures. Default: the folder's.",
    )
    return parser


def _value_of(arguments: Sequence[str], option: str) -> str | None:
    """The value of an option in a raw command line, '' where it has none, None where it is absent."""
    for place, text in enumerate(arguments):
        if text.startswith(f"{option}="):
            return text.partition("=")[2]
        if text == option:
            following = arguments[place + 1 : place + 2]
            return following[0] if following and not following[0].startswith("-") else ""
    return None


def _run_of(path: Path) -> Path:
    """The folder of the run that a folder or checkpoint belongs to."""
    return path if path.is_dir() or path.suffix != ".ckpt" else path.parent.parent


def _with_stored_options(arguments: list[str]) -> list[str]:
    """Put the options of the run that is resumed or evaluated before those given."""
    named = _value_of(arguments, "--evaluate") or _value_of(arguments, "--resume")
    if named == "":
        named = None
    if named is None and _value_of(arguments, "--resume") is not None:
        named = _value_of(arguments, "--out")
    if not named:
        return arguments
    stored = _run_of(Path(named)) / "config.yaml"
    return ["--config", str(stored), *arguments] if stored.is_file() else arguments


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command.

    Returns
    -------
    int
        The exit code.
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    values = make_parser().parse_args(_with_stored_options(given))
    # Heavy imports after the options are known to be sound: --help and a misspelt option answer at once.
    from training.callbacks import StoppedError
    from training.module import NonFiniteLossError

    try:
        quiet()
        _run(values.as_dict(), given)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except NonFiniteLossError as error:
        print(f"error: {error}", file=sys.stderr)
        return 3
    except StoppedError as error:
        print(f"{error}; --resume goes on from there", file=sys.stderr)
        return 128 + error.number
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
    warnings.filterwarnings("ignore", message=".*isinstance.treespec, LeafSpec.. is deprecated.*")


def _run(values: dict[str, Any], given: Sequence[str]) -> None:
    from training.run import RunFolder, default_name, evaluate, train

    options = Options.from_flat(values)
    if values["evaluate"] is not None:
        if values["resume"] is not None:
            raise InputError("--evaluate", "--resume beside it", "one of the two")
        checkpoint = Path(values["evaluate"])
        if checkpoint.is_dir():
            checkpoint = RunFolder(checkpoint).best
        out = Path(values["out"] or _run_of(checkpoint) / "evaluation")
        evaluate(
            options,
            checkpoint,
            out,
            overrides=_overrides(options.model, given, checkpoint),
            name=values["name"],
        )
        return
    out = Path(values["out"] or f"runs/{default_name(options)}")
    resume = None
    if values["resume"] is not None:
        named = Path(values["resume"] or out)
        resume = named if named.suffix == ".ckpt" else RunFolder(named).last
        out = Path(values["out"]) if values["out"] else _run_of(named)
        if not resume.is_file():
            raise InputError(
                "--resume", f"no {resume}", "the folder of a run that has begun, or a checkpoint"
            )
    train(options, out, resume=resume, name=values["name"])


def _overrides(model: ModelOptions, given: Sequence[str], checkpoint: Path) -> dict[str, Any]:
    """Model options given on the command line for an evaluation; only those of the shuffle may differ."""
    from training.model import read_checkpoint

    trained = read_checkpoint(checkpoint)["hyper_parameters"]["model"]
    overrides: dict[str, Any] = {}
    for item in fields(model):
        if _value_of(given, f"--{item.name.replace('_', '-')}") is None:
            continue
        value = getattr(model, item.name)
        if item.name in SHUFFLE_OPTIONS:
            overrides[item.name] = value
        elif item.name != "weights" and value != trained.get(item.name):
            raise InputError(
                f"--{item.name.replace('_', '-')}",
                repr(value),
                f"{trained.get(item.name)!r}, as {checkpoint} was trained",
            )
    return overrides
