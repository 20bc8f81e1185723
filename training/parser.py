"""The command line's parser: every option typed, wrong ones answered in one line."""

from __future__ import annotations

import difflib
import os
import re
import types
import typing
from dataclasses import fields
from pathlib import Path
from typing import Any, NoReturn, get_args, get_origin, get_type_hints

from jsonargparse import ArgumentParser

from data.formats.files import read_text
from data.records import InputError
from training.options import OptionGroups, option_of
from training.task import Task

__all__ = ["Parser", "add_options", "is_first_of_machine", "make_parser"]

FOLDER = """\
Everything of a run is in one folder. Exit codes: 0 done; 2 something in the input is wrong; 3 the loss is not
finite; 130 or 143 stopped by a signal, state saved.
"""
IN_WORDS: dict[Any, str] = {
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    str: "a word",
    types.NoneType: "null",
}


def is_first_of_machine() -> bool:
    """Whether no other process of this run on this machine stands before this one (torchrun's LOCAL_RANK)."""
    return int(os.environ.get("LOCAL_RANK", "0")) == 0


class Word:
    """The type of an option that is a word; in a YAML file a bare 2 is one too."""

    def __call__(self, value: object) -> str | None:
        """The word, or None for null."""
        if isinstance(value, list | dict):
            raise ValueError(f"Got value: {value}")
        return None if value is None else str(value)

    def __repr__(self) -> str:
        """What ``--help`` shows."""
        return "word"


text = Word()


def in_words(kind: Any) -> str:
    """What values a type has, for an error message.

    Examples
    --------
    >>> in_words(int | None), in_words(typing.Literal["adamw", "sgd"])
    ('a whole number or null', 'one of adamw, sgd')
    """
    if get_origin(kind) is typing.Literal:
        return f"one of {', '.join(get_args(kind))}"
    if get_origin(kind) is list:
        return "a list of words" if get_args(kind) == (str,) else "a list of whole numbers"
    if get_origin(kind) in (types.UnionType, typing.Union):
        return " or ".join(in_words(part) for part in get_args(kind))
    return IN_WORDS[kind]


class Parser(ArgumentParser):  # type: ignore[misc]
    """Says in one line what is wrong; answers an unknown option or key with the nearest known one."""

    def __init__(self, **arguments: Any) -> None:
        super().__init__(**arguments)
        self.kinds: dict[str, Any] = {}
        """The type of each option, by the name it has in the YAML file."""
        self.lists: list[str] = []
        """The options that take several values."""
        self.source = ""
        """The YAML file that is being read, or '' for the command line."""

    def read(self, file: str, *, of_run: bool = False) -> None:
        """Check a YAML file of options: an error names it, as one in the midst of a command line does not.

        One that a run has stored may be of another command, which is then what is wrong with it.
        """
        try:
            text = read_text(Path(file), "a YAML file of options")
        except InputError as error:
            self.exit(2, f"error: {error}\n")
        if of_run:
            known = {action.dest for action in self._actions}
            foreign = [name for name in re.findall(r"^(\w+):", text, re.MULTILINE) if name not in known]
            if foreign:
                wrong = InputError(file, f"option {foreign[0]!r}", f"a run that {self.prog} made")
                self.exit(2, f"error: {wrong}\n")
        self.source = file
        self.parse_string(text, defaults=False)
        self.source = ""

    def exit(self, status: int = 0, message: str | None = None) -> NoReturn:
        """Leave; of several processes that find the same mistake one tells it."""
        super().exit(status, message if is_first_of_machine() else None)
        raise SystemExit(status)  # for the type checker: exit() does not return

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """Print one line and exit with code 2."""
        text = " ".join(str(message).split())
        value = re.match(r'Parser key "(\w+)": .*(?:Got|Given) value: ?(.*)$', text)
        unknown = re.search(r"unrecognized arguments: (--[\w-]+)|Option '([\w.-]+)' is not accepted", text)
        element = re.search(r'(--[\w-]+|"\w+").*? element \d+: .*Got value: ?(.*)$', text)
        if element:
            name = element[1].strip('"-').replace("-", "_")
            text = f"{option_of(name)}: found {element[2]!r}; expected {in_words(self.kinds[name])}"
        elif value and value[1] in self.kinds:
            option = value[1] if self.source else option_of(value[1])
            text = f"{option}: found {value[2]!r}; expected {in_words(self.kinds[value[1]])}"
        elif unknown:
            text = f"{unknown[1] or unknown[2]}: found no such option; expected one of those in --help"
            known = [option for action in self._actions for option in action.option_strings]
            near = difflib.get_close_matches(
                option_of((unknown[1] or unknown[2]).removeprefix("--")), known, n=1, cutoff=0.5
            )
            text += f"; did you mean {near[0]}?" if near else ""
        elif "not support item assignment" in text:  # jsonargparse's words for a YAML string for a list
            text = "found a word where a list is due; expected such as train: [2007:trainval]"
        elif text.startswith("Unexpected config"):
            text = "found no options; expected one in each line, such as epochs: 100"
        else:
            text = re.sub(r'^Parser key "(\w+)"', lambda key: option_of(key[1]), text)
            text = re.sub(r"^argument (--)", r"\1", text)
        self.exit(2, f"error: {self.source + ': ' if self.source else ''}{text}\n")


def add_options(parser: Parser, default: OptionGroups) -> None:
    """Make an option of every field of every group, with the default that it has there."""
    for group in fields(default):
        values = getattr(default, group.name)
        section = parser.add_argument_group(group.name, description=type(values).__doc__)
        hints = get_type_hints(type(values))
        for item in fields(values):
            kind = parser.kinds[item.name] = hints[item.name]
            extra: dict[str, Any] = {"type": kind}
            if kind in (str, str | None):
                extra = {"type": text}
            elif get_origin(kind) is list:
                (element,) = get_args(kind)
                extra = {"type": text if element is str else element, "nargs": "+"}
                parser.lists.append(option_of(item.name))
            elif kind is bool:
                extra = {"type": bool, "nargs": "?", "const": True}  # --compile, or --compile false
            section.add_argument(
                option_of(item.name),
                default=getattr(values, item.name),
                help=item.metadata["help"],
                **extra,
            )


def make_parser(task: Task) -> Parser:
    """The parser: a field of the task's options is an option and a key of the YAML file."""
    parser = Parser(
        prog=task.script,
        description=f"{task.description}\n\n{FOLDER}",
        exit_on_error=True,
        allow_abbrev=False,
    )
    parser.add_argument(
        "--config", action="config", help="YAML file of options; later ones on the line override it."
    )
    add_options(parser, task.options())
    section = parser.add_argument_group("run", description="Where it goes, and what is done.")
    section.add_argument(
        "--out",
        type=text,
        default=None,
        help="Folder of the run. Default: runs/ and a name made of the options.",
    )
    section.add_argument(
        "--resume",
        nargs="?",
        const="",
        default=None,
        type=text,
        help="Go on with a run: the folder or checkpoint named here, or that of --out. Its options are kept, "
        "but for --max-steps; those of the machine may be changed. More --epochs stretch the decay "
        "of the learning rate.",
    )
    section.add_argument(
        "--evaluate",
        default=None,
        metavar="CHECKPOINT",
        type=text,
        help=f"Do not train: {task.scoring} this checkpoint, or the best one of this run. The options of "
        f"its run are kept; {task.changing} may be another.",
    )
    section.add_argument("--name", type=text, default=None, help=task.naming)
    return parser
