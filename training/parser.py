"""The command line's parser: typed options, errors in one line."""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Container, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any, Literal, NoReturn, get_args, get_origin

from jsonargparse import ArgumentParser, DefaultHelpFormatter, Namespace

from data.formats.files import parse_yaml, read_text
from data.formats.names import hint
from data.records import InputError
from spatial_dependency import program
from training.options import OptionGroups, convert, in_words, option_of
from training.run_state import print_once
from training.task import Task

__all__ = ["OptionType", "Parser", "add_options", "make_parser", "word"]

FOLDER = """\
Everything of a run is in one folder. Exit codes: 0 done; 1 the machine failed it (full disk, too little
memory, a killed process); 2 something in the input is wrong; 3 the loss is not finite; 128 + its number
stopped by a signal, state saved: 129 SIGHUP, 130 SIGINT, 138 SIGUSR1, 143 SIGTERM.
"""


HELP_WIDTH = 80
COMMON_OPTIONS = frozenset(
    {
        "help", "help_all", "config", "data", "root", "train", "test", "arch", "weights", "shuffle", "method",
        "last", "epochs", "batch_size", "learning_rate", "out", "resume", "evaluate",
    }
)  # fmt: skip
"""What ``--help`` of a training shows; ``--help-all`` shows the rest."""

OTHER_NAMES = {
    "--lr": "--learning-rate", "--lr0": "--learning-rate", "--lrf": "--final-learning-rate",
    "--batch": "--batch-size", "--bs": "--batch-size", "--imgsz": "--input-size", "--img": "--input-size",
    "--img-size": "--input-size", "--image-size": "--input-size", "--data-dir": "--root",
    "--data-root": "--root", "--data-path": "--root", "--dataset": "--data", "--model": "--arch",
    "--network": "--arch", "--pretrained": "--weights", "--ckpt": "--weights",
    "--checkpoint": "--evaluate", "--eval": "--evaluate", "--val": "--validation", "--optim": "--optimizer",
    "--opt": "--optimizer", "--wd": "--weight-decay", "--warmup": "--warmup-epochs", "--output": "--out",
    "--output-dir": "--out", "--save-dir": "--out", "--project": "--out", "--device": "--accelerator",
    "--gpus": "--devices", "--num-workers": "--workers", "--num-epochs": "--epochs", "--amp": "--precision",
    "--conf": "--score-threshold --score", "--iou": "--iou-threshold --nms", "--clip": "--clip-gradient",
    "--grad-clip": "--clip-gradient", "--no-test": "--score", "--gpu": "--accelerator",
    "--fp16": "--precision", "--pretrained-weights": "--weights", "--val-split": "--validation",
    "--early-stopping": "--patience", "--save-every": "--checkpoint-every", "--resume-from": "--resume",
    "--resume-from-checkpoint": "--resume", "--ckpt-path": "--resume", "--output-folder": "--out",
    "--log-dir": "--out", "--nms": "--iou-threshold", "--nms-threshold": "--iou-threshold --nms --iou",
    "--iou-thres": "--iou-threshold --nms --iou", "--threshold": "--score-threshold --score",
    "--conf-thres": "--score-threshold --score", "--half": "--precision", "--bf16": "--precision",
    "--max-epochs": "--epochs", "--cuda": "--accelerator --device", "--cpu": "--accelerator --device",
    "--no-cuda": "--accelerator --device", "--backbone-name": "--arch",
    "--size": "--input-size", "--resolution": "--input-size", "--crop-size": "--input-size",
    "--images": "--train --root", "--image-dir": "--train --root", "--img-dir": "--train --root",
    "--annotations": "--train --root", "--ema-decay": "--ema", "--wandb": "--logger", "--mlflow": "--logger",
    "--tensorboard": "--logger", "--no-val": "--validation", "--noval": "--validation",
    "--iterations": "--max-steps", "--iters": "--max-steps", "--max-iter": "--max-steps",
    "--load": "--weights", "--continue": "--resume", "--min-lr": "--final-learning-rate",
    "--lr-final": "--final-learning-rate", "--random-seed": "--seed",
    "--overwrite": "--out", "--force": "--out", "--exist-ok": "--out",
}  # fmt: skip
"""What other programs call our options; of several, the one that the command has is meant."""


FLAG: dict[str, Any] = {"nargs": "?", "const": True, "metavar": "{true,false}"}
"""Of an option that is true or false: --compile, or --compile false."""


class OptionType:
    """The type of an option: converts a word, or a value of a YAML file; of a list, each element."""

    def __init__(self, name: str, kind: Any, otherwise: str = "") -> None:
        self.name, self.kind, self.otherwise = name, kind, otherwise
        self.many = get_origin(kind) is list

    def wrong(self, value: object, expected: str = "") -> InputError:
        """The error for a value of another type."""
        shown = "null" if value is None else str(value)
        return InputError(self.name, repr(shown), (expected or in_words(self.kind)) + self.otherwise)

    def __call__(self, value: object) -> Any:
        """The value as the option's type; InputError where it is of another."""
        try:
            return convert(value, get_args(self.kind)[0] if self.many else self.kind)
        except ValueError:
            raise self.wrong(value) from None

    def check(self, name: str, value: object) -> None:
        """Raise InputError for a value of the key `name` of a YAML file that is of another type."""
        if self.many and not isinstance(value, list):
            raise OptionType(name, self.kind).wrong(value, f"{in_words(self.kind)}, as in {name}: [{value}]")
        for item in value if isinstance(value, list) and self.many else [value]:
            OptionType(name, self.kind, self.otherwise)(item)

    def __repr__(self) -> str:
        """What ``--help`` shows; nothing of a word, or of words that the option's line lists."""
        kind = get_args(self.kind)[0] if self.many else self.kind
        shown = kind not in (str, str | None) and get_origin(kind) is not Literal
        return in_words(kind).removesuffix(" or null") if shown else ""


def word(name: str) -> OptionType:
    """The type of an option that is a word or null; a number in a YAML file is taken as a word."""
    return OptionType(option_of(name), str | None)


class HelpFormatter(DefaultHelpFormatter):  # type: ignore[misc]
    """Lines of 80 columns; types and defaults as words."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog, width=HELP_WIDTH)  # type: ignore[no-untyped-call]

    def _get_help_string(self, action: argparse.Action) -> str:
        text = super()._get_help_string(action) if action.dest == "help" else action.help or ""
        default = action.default
        if isinstance(default, bool):
            default = str(default).lower()
        elif isinstance(default, list):
            default = " ".join(map(str, default))
        facts = [repr(action.type)] if isinstance(action.type, OptionType) else []
        if action.option_strings and default not in (None, argparse.SUPPRESS, ""):
            facts.append(f"default: {default}")
        facts = [fact for fact in facts if fact]
        return f"{text} ({'; '.join(facts)})".replace("%", "%%") if facts else text


class HelpAll(argparse._HelpAction):
    """``--help-all``: shows every option, and leaves."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        assert isinstance(parser, Parser)
        parser.common = None
        parser.print_help()
        parser.exit()


class Parser(ArgumentParser):  # type: ignore[misc]
    """A parser with one-line errors, and suggestions for unknown options and keys.

    `common` names the options that ``--help`` shows; ``--help-all`` then shows the others too.
    """

    def __init__(self, *, common: frozenset[str] | None = None, **arguments: Any) -> None:
        super().__init__(exit_on_error=True, allow_abbrev=False, formatter_class=HelpFormatter, **arguments)
        self.common = common
        if common:
            self.add_argument("--help-all", action=HelpAll, help="Show all options and exit.")

    def format_help(self, formatter: argparse.HelpFormatter | None = None) -> str:
        """The help; with `common`, the options that it names."""
        if self.common is not None:
            for action in self._actions:
                if action.dest not in self.common:
                    action.help = argparse.SUPPRESS
            for group in self._action_groups:
                group.description = None  # else it is shown without options
        return str(super().format_help())

    def unknown(self, name: str) -> InputError:
        """The error for an unknown option or key."""
        known = [text for action in self._actions for text in action.option_strings]
        option = option_of(name.removeprefix("--"))
        listed = f"one of those in --help{'-all' * bool(self.common)}"
        for meant in (name for name in OTHER_NAMES.get(option, "").split() if name in known):
            return InputError(name, "no such option", f"{listed}; here it is {meant}")
        near = "" if option in OTHER_NAMES else hint(option, known, cutoff=0.7)
        return InputError(name, "no such option", f"{listed}{near}")

    def parse_args(  # type: ignore[override]  # narrower than argparse's overloads
        self, args: Sequence[str], *further: Any, **named: Any
    ) -> Namespace:
        """Parse a command line, after a check of its options and YAML files."""
        parts = [part for text in args for part in (text.split("=", 1) if text.startswith("--") else [text])]
        options = [text for text in parts if text.startswith("--")]
        known = {text: action.type for action in self._actions for text in action.option_strings}
        for name in options:
            if name not in known:
                self.fail(self.unknown(name))
            kind = known[name]
            if isinstance(kind, OptionType) and kind.many and options.count(name) > 1:
                # Repeated, a list would silently lose its first values.
                self.fail(InputError(name, "twice", "once, with all its values in a row"))
        for option, file in itertools.pairwise(parts):
            if option == "--config" and Path(file).is_file():
                self.check_file(Path(file))
            elif option == "--config" and file and ":" not in file and not file.startswith("--"):
                found = "a folder" if Path(file).is_dir() else "no such file"
                self.fail(InputError(f"--config {file}", found, "a YAML file of options"))
        return super().parse_args(args, *further, **named)

    def check_file(self, file: Path, *, stored: Container[str] | None = None) -> None:
        """Exit with an error that names the YAML file, if something in it is wrong.

        The file of a run has the options `stored` alone: it may come from anybody, or be of another command.
        """
        try:
            expected = "options, one in each line, such as epochs: 100"
            content = parse_yaml(file, read_text(file, "a YAML file of options"), expected)
        except InputError as error:
            self.fail(error)
        if not isinstance(content, dict):
            self.fail(f"{file}: found no options; expected one in each line, such as epochs: 100")
        known = {
            action.dest: action.type for action in self._actions if action.type or action.dest == "config"
        }
        keys = {str(name).replace("-", "_"): str(name) for name in content}
        for key, name in keys.items():
            if key not in known or (stored is not None and key not in stored):
                foreign = InputError(file, f"option {name!r}", f"a run that {self.prog} made")
                self.fail(f"{file}: {self.unknown(name)}" if stored is None else foreign)
        for key, value in zip(keys, content.values(), strict=True):
            kind = known[key]
            try:
                if isinstance(kind, OptionType):
                    kind.check(key, value)
            except InputError as error:
                self.fail(f"{file}: {error}")

    def fail(self, message: object) -> NoReturn:
        """Print one line, in one of several processes, and exit with code 2."""
        print_once(f"error: {message}")
        self.exit(2)
        raise SystemExit(2)  # for the type checker: exit() does not return

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """Report jsonargparse's error: the InputError that caused it, if any, else its message."""
        cause: BaseException | None = ex
        while cause is not None and not isinstance(cause, InputError):
            cause = cause.__cause__ or cause.__context__
        if cause is None and isinstance(ex, argparse.ArgumentError) and ex.argument_name:
            message = f"{ex.argument_name}: {ex.message}"
        self.fail(cause or " ".join(message.replace('Parser key "config":', "--config:").split()))


def add_options(parser: Parser, default: OptionGroups) -> None:
    """Make an option of every field of every group, with the default that it has there."""
    kinds = default.kinds()
    for group in fields(default):
        values = getattr(default, group.name)
        section = parser.add_argument_group(group.name, description=type(values).__doc__)
        for item in fields(values):
            kind = kinds[item.name]
            extra: dict[str, Any] = {}
            if get_origin(kind) is list:
                extra = {"nargs": "+"}
            elif kind in (bool, bool | None):
                extra = FLAG
            elif get_args(kind) and isinstance(get_args(kind)[0], str):
                extra = {"metavar": f"{{{','.join(get_args(kind))}}}"}
            section.add_argument(
                option_of(item.name),
                type=OptionType(option_of(item.name), kind, item.metadata["otherwise"]),
                default=getattr(values, item.name),
                help=item.metadata["help"],
                **extra,
            )


def make_parser(task: Task) -> Parser:
    """The parser: a field of the task's options is an option and a key of the YAML file."""
    parser = Parser(
        prog=program(task.script),
        usage="%(prog)s [OPTION …]",
        description=f"{task.description}\n\n{FOLDER}",
        common=COMMON_OPTIONS,
    )
    parser.add_argument(
        "--config", action="config", help="YAML file of options; later ones on the line override it."
    )
    add_options(parser, task.options())
    section = parser.add_argument_group("run", description="Where it goes, and what is done.")
    out = "Folder of the run. Default: runs/ and a name made of the options."
    resume = (
        "Go on with a run: the folder or checkpoint named here, or that of --out. 'auto': that of --out if "
        "it has a checkpoint, else begin it. Its options are kept, but for --max-steps; those of the machine "
        "and paths of the same data may be changed; --logger and --cache have to be given again. More "
        "--epochs stretch the decay of the learning rate."
    )
    evaluate = (
        f"Do not train: {task.evaluation_verb} this checkpoint, or the best one of this run. The options of "
        f"its run are kept; {task.changeable_in_words} may be another."
    )
    verify = "Do not train: read all data, decode all images, and print what is wrong or odd."
    find = (
        "Do not train: try rising learning rates on training images, draw the loss into "
        "learning-rates.png, and print a suggestion for --learning-rate."
    )
    section.add_argument("--out", type=word("out"), help=out)
    section.add_argument("--resume", nargs="?", const="", type=word("resume"), help=resume)
    section.add_argument("--evaluate", metavar="CHECKPOINT", type=word("evaluate"), help=evaluate)
    for name, text in (("--verify", verify), ("--find-learning-rate", find)):
        section.add_argument(name, default=False, type=OptionType(name, bool), help=text, **FLAG)
    section.add_argument("--name", type=word("name"), help=task.name_help)
    return parser
