"""The command ``spatial``: one name for all commands; and a check that the packages imported are ours."""

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module, metadata
from importlib.util import find_spec
from pathlib import Path
from types import FrameType
from typing import NamedTuple, NoReturn


class Command(NamedTuple):
    """A subcommand."""

    module: str
    """Has a function ``main(arguments) -> exit code``; imported only when the command is run."""
    alone: str
    """The same command without ``spatial``."""
    purpose: str


COMMANDS = {
    "diagnose": Command(
        "diagnosis.__main__", "python -m diagnosis", "what mistakes detectors make, as a web page"
    ),
    "train": Command("training.tasks.detection", "train_detect.py", "train and test a detector"),
    "classify": Command("training.tasks.classification", "train_classify.py", "train and test a classifier"),
    "predict": Command("training.predict", "predict.py", "a trained detector on photographs and videos"),
    "export": Command("training.export", "export.py", "a trained detector as an ONNX file"),
    "reproduce": Command("training.experiments.command", "reproduce.py", "the paper's tables and figures"),
    "profile": Command(
        "training.profiling.__main__", "reproduce.py profile", "where order matters in a trained network"
    ),
    "download": Command("data.download", "python -m data.download", "fetch PASCAL VOC or CIFAR-100"),
}
OWN = ("data", "detector", "diagnosis", "training")
"""The packages of this distribution."""
EXTRAS = {"training": "train"}
"""What the commands of a package need beyond the base installation."""


SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGHUP)
"""They end a command cleanly; Slurm sends SIGUSR1 where asked to, a terminal that is closed SIGHUP."""
_by_spatial = False
"""Whether the command that runs is a subcommand of ``spatial``."""


def program(alone: str) -> str:
    """What the usage of a command calls it: as a subcommand of ``spatial`` if it is run as one.

    Examples
    --------
    >>> program("train_detect.py")
    'train_detect.py'
    """
    names = {command.alone.removeprefix("python "): name for name, command in COMMANDS.items()}
    return f"spatial {names[alone.removeprefix('python ')]}" if _by_spatial else alone


def usage() -> str:
    """All subcommands, one a line."""
    width = max(map(len, COMMANDS))
    lines = [f"  {name:<{width}}  {command.purpose}" for name, command in COMMANDS.items()]
    same = [f"  spatial {name:<{width}}  {command.alone}" for name, command in COMMANDS.items()]
    return "\n".join(
        [
            "usage: spatial COMMAND [OPTION …]",
            "",
            *lines,
            "",
            "spatial COMMAND --help: the options of a command; --help-all of train and classify: all",
            "spatial diagnose --demo: a report on detections that come with this package",
            "spatial --version: the version",
            "",
            "Each is also a command of its own:",
            *same,
        ]
    )


@contextmanager
def on_signals(handler: Callable[[int, FrameType | None], object], *numbers: int) -> Iterator[None]:
    """Call a handler on signals, by default on `SIGNALS`, until the block ends.

    Ignored signals stay ignored, as SIGHUP under nohup. Outside the main thread Python allows no handlers.
    """
    before = {}
    if threading.current_thread() is threading.main_thread():
        for number in numbers or SIGNALS:
            if signal.getsignal(number) != signal.SIG_IGN:
                before[number] = signal.signal(number, handler)
    try:
        yield
    finally:
        for number, previous in before.items():
            signal.signal(number, previous)


def _stop(number: int, frame: FrameType | None) -> NoReturn:
    print(f"stopped by {signal.Signals(number).name}; nothing was begun", file=sys.stderr, flush=True)
    os._exit(128 + number)


def run_main(module: str, arguments: Sequence[str] | None = None) -> int:
    """Run the function ``main`` of a module, by default on this process's command line; its exit code.

    A signal while the module is imported ends the process with one line, a missing package with another.
    """
    try:
        with on_signals(_stop):
            command: Callable[[Sequence[str] | None], int] = import_module(module).main
        return command(arguments)
    except ModuleNotFoundError as error:
        extra = EXTRAS.get(module.split(".")[0])
        if extra is None or (error.name or "").split(".")[0] in sys.stdlib_module_names | {"", *OWN}:
            raise
        alone = next(one.alone for one in COMMANDS.values() if one.module == module)
        print(
            f"error: {program(alone)}: found no package {error.name}; expected the extra '{extra}': "
            f"pip install 'spatial-dependency[{extra}]', or, in a clone, pip install '.[{extra}]'",
            file=sys.stderr,
        )
        return 2


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a subcommand; returns its exit code, 2 if there is no such command or its packages are missing."""
    name, *rest = list(sys.argv[1:] if arguments is None else arguments) or ["--help"]
    if name == "help" and rest:
        name, rest = rest[0], ["--help"]
    if name in ("-h", "--help", "help"):
        print(usage())
        return 0
    if name == "--version":
        print(metadata.version("spatial-dependency"))
        return 0
    if name not in COMMANDS:
        from difflib import get_close_matches

        near = get_close_matches(name.lower().replace("_", "-"), COMMANDS, n=1, cutoff=0.5)
        meant = f"; did you mean '{near[0]}'?" if near else ""
        print(
            f"error: {name or repr(name)}: found no such command; expected {', '.join(COMMANDS)}{meant}",
            file=sys.stderr,
        )
        return 2
    module = COMMANDS[name].module
    global _by_spatial
    _by_spatial = True
    try:
        return run_main(module, rest)
    finally:
        _by_spatial = False


def check_siblings(importer: str, *names: str) -> None:
    """Raise one clear error if a package that is imported from here is not ours.

    A ``data.py`` beside a user's script, or another distribution's ``data``, comes first on Python's path and
    would otherwise end in ``No module named 'data.records'``.

    Parameters
    ----------
    importer
        The package that imports them.
    *names
        What it imports.

    Raises
    ------
    ImportError
        Another module of this name comes first.
    """
    home = Path(__file__).resolve().parent
    for name in names:
        spec = find_spec(name)
        found = Path(spec.origin).resolve() if spec is not None and spec.origin else None
        if found != home / name / "__init__.py":
            raise ImportError(
                f"import {name}: found {found or 'no such package'}; expected {home / name}; rename or move "
                f"what was found, run from another folder, or put {home} first on PYTHONPATH",
                name=importer,  # so that `python -m` shows one line
            )


if __name__ == "__main__":
    sys.exit(import_module("spatial_dependency").main())  # the module that the commands import
