"""The folder of a run, and whether the run there begins or is resumed."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import shutil
import signal
import sys
import time
from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn, Self

import yaml

from data.formats.files import parse_json, parse_yaml, read_bytes, read_text, write_text
from data.records import InputError
from data.shapes import SHAPE_SETS
from detector.registry import is_own_code
from spatial_dependency import on_signals
from training.options import OptionGroups, option_of
from training.task import Task

__all__ = [
    "Interrupted", "RunFolder", "RunState", "check_consent", "interrupted_state", "interruptible",
    "is_global_zero", "is_local_zero", "leave_pipe", "link", "locked", "make_folder", "print_once",
    "stored_options", "uninterrupted",
]  # fmt: skip

SECONDS_TO_PRINT = 10.0
"""How long the other processes of a machine leave the first one to print an error that all of them found."""

NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""The system's errors where a disk is full, or a user's share of it, or a file larger than it may be."""

LOGS = (".out", ".err", ".log")
"""What the names of logs end in that Slurm, or a shell, writes to the folder of a run."""
BEFORE = ("checkpoints", "config.yaml", "learning-rates.png", "logs", "lost+found")
"""What may lie in the folder of a run before provenance.json does."""

RESUMABLE = frozenset(
    {
        "accelerator", "cache", "channels_last", "checkpoint_every", "compile", "deterministic", "devices",
        "epochs", "keep_best", "logger", "max_steps", "passes", "patience", "pictures", "precision", "root",
        "score", "validate_every", "weights", "workers",
    }
)  # fmt: skip
"""Options that may change when a run is resumed: they do not change what it computes, or extend it."""

PATHS = frozenset({"train", "test", "validation_lists"})
"""Options that may change if the checkpoint has checksums of the data: the data may lie elsewhere now."""


def is_global_zero() -> bool:
    """Whether this is the process that writes files; known before there is a trainer."""
    from lightning.pytorch.utilities import rank_zero_only

    return int(rank_zero_only.rank) == 0  # type: ignore[attr-defined]


def is_local_zero() -> bool:
    """Whether this is the first process of the run on this machine (torchrun's LOCAL_RANK)."""
    return int(os.environ.get("LOCAL_RANK", "0")) == 0


def print_once(error: str) -> None:
    """Print an error that every process of the machine has found, in the first of them alone.

    A launcher ends all processes with the first that fails, so the others wait until this one has printed.
    """
    if is_local_zero():
        print(error, file=sys.stderr, flush=True)
    else:
        time.sleep(SECONDS_TO_PRINT)


def leave_pipe(then: str) -> None:
    """Where what reads the output is gone (``| head``), print to nowhere: each line would be an error."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)
    print(f"warning: nothing reads the output any more; {then}", file=sys.stderr, flush=True)


class RunFolder:
    """The folder of a run."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.config = path / "config.yaml"
        """The resolved options, as YAML that ``--config`` takes."""
        self.provenance = path / "provenance.json"
        """Where the result comes from, an entry each time the run was begun or resumed."""
        checkpoints = path / "checkpoints"
        self.last = checkpoints / "last.ckpt"
        """The checkpoint to resume from."""
        self.previous = checkpoints / "previous.ckpt"
        """The checkpoint before the last one."""
        self.damaged = checkpoints / "damaged.ckpt"
        """Where a damaged last checkpoint is moved to when the run is resumed from the one before."""
        self.best = checkpoints / "best.ckpt"
        """The checkpoint that is best on the validation images."""

    def best_at(self, step: int) -> Path:
        """One of several best checkpoints, by the steps that were done."""
        return self.best.with_name(f"best-step-{step:08}.ckpt")

    @property
    def has_begun(self) -> bool:
        """Whether there is a checkpoint to resume from."""
        return self.last.exists() or self.previous.exists()

    def check_new(self) -> None:
        """Raise InputError where there is a run already; in the process that writes."""
        if self.has_begun and is_global_zero():
            expected = "--resume to go on with it, or another --out for a new one"
            raise InputError(self.path, "a run that has begun", expected)

    def check_own(self) -> None:
        """Raise InputError where the folder holds anything but a run, or logs; in the process that writes."""
        if not is_global_zero() or not self.path.is_dir() or self.provenance.is_file():
            return
        names = sorted(file.name for file in self.path.iterdir())
        others = [name for name in names if name not in BEFORE and not name.startswith(".")]
        others = [name for name in others if not name.endswith(LOGS)]
        if others:
            found = f"a folder that holds something else ({others[0]})"
            raise InputError(
                self.path, found, "an empty or new one, or that of a run: choose another, by --out"
            )

    @property
    def best_or_last(self) -> Path:
        """The best checkpoint; of a run without validation the last."""
        return self.best if self.best.is_file() else self.last

    def record(self, facts: dict[str, Any], *, add: bool) -> None:
        """Write where a result comes from; `add`: to what is recorded already."""
        file, history = self.provenance, []
        if add and file.is_file():
            history = parse_json(file, read_bytes(file, "where the run comes from"))
            if not isinstance(history, list):
                raise InputError(
                    file, "no list", "an entry each time the run was begun or resumed; or no file"
                )
        write_text(file, json.dumps([*history, facts], indent=1))

    @staticmethod
    def of(path: Path) -> RunFolder:
        """The run that a folder or a checkpoint belongs to; of a checkpoint that lies elsewhere, its folder.

        Examples
        --------
        >>> paths = "runs/a/checkpoints/best.ckpt", "runs/a", "b.ckpt"
        >>> [str(RunFolder.of(Path(path)).path) for path in paths]
        ['runs/a', 'runs/a', '.']
        """
        if path.suffix != ".ckpt" and not path.is_file():
            return RunFolder(path)
        return RunFolder(path.parent.parent if path.parent.name == "checkpoints" else path.parent)


def link(file: Path, name: Path) -> None:
    """Make `name` another name of a file, in the same folder, atomically; where links cannot be, a copy."""
    part = name.with_name(f".{name.name}.part")
    part.unlink(missing_ok=True)
    try:
        os.link(file, part)
    except OSError:
        try:
            shutil.copyfile(file, part)
        except OSError as error:
            part.unlink(missing_ok=True)
            raise OSError(error.errno, error.strerror, str(part)) from None
    part.replace(name)


def make_folder(folder: Path) -> None:
    """Make a folder, with those above it."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(folder, error.strerror or "an error", "a folder to write to, by --out") from None
    if not os.access(folder, os.W_OK | os.X_OK):
        raise InputError(folder, "a folder that cannot be written to", "a folder to write to, by --out")


class Interrupted(BaseException):
    """A signal came where there is no state to save: before the first step, or in an evaluation."""

    state = ""
    """What is left of the command's work, in words; empty where the command knows no better than usual."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


def _interrupt(number: int, frame: FrameType | None) -> NoReturn:
    signal.signal(number, signal.SIG_IGN)  # it comes twice where a launcher hands it on
    raise Interrupted(number)


@contextlib.contextmanager
def interruptible() -> Iterator[None]:
    """Raise :class:`Interrupted` in the block on a signal that ends a run."""
    with on_signals(_interrupt):
        yield


@contextlib.contextmanager
def interrupted_state(state: str) -> Iterator[None]:
    """Say what is left of the run where a signal comes in the block."""
    try:
        yield
    except Interrupted as error:
        error.state = state
        raise


@contextlib.contextmanager
def uninterrupted(state: str) -> Iterator[None]:
    """Let the block end before a signal ends the command, which then says `state`."""
    came: list[int] = []
    with on_signals(lambda number, _: came.append(number)):
        yield
    if came:
        with interrupted_state(state):
            raise Interrupted(came[0])


LOCKED: dict[int, None] = {}
"""Locked folders, by file descriptor. Forked processes close them: a lock ends with the run's own process."""


def _release_in_child() -> None:
    for descriptor in LOCKED:
        os.close(descriptor)
    LOCKED.clear()


os.register_at_fork(after_in_child=_release_in_child)


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Keep other commands out of a folder, which exists, until the block ends or this process does.

    The folder itself is locked, so that no file is left behind. Only the process that writes locks.

    Raises
    ------
    InputError
        Another process works there.
    """
    if not is_global_zero():
        yield
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        expected = "one command in a folder at a time: wait for it, or take another --out"
        raise InputError(folder, "another process works in this folder", expected) from None
    except OSError as error:  # a file system without locks
        print(f"warning: {folder} cannot be locked ({error.strerror})", file=sys.stderr)
    LOCKED[descriptor] = None
    try:
        yield
    finally:
        if descriptor in LOCKED:  # else this is a forked process
            del LOCKED[descriptor]
            os.close(descriptor)


def stored_options(folder: RunFolder) -> dict[str, Any]:
    """The options that a run was started with; none where they are not known."""
    if not folder.config.is_file():
        return {}
    text = read_text(folder.config, "the options of the run")
    stored = parse_yaml(folder.config, text, "the options of the run")
    if not isinstance(stored, dict):
        raise InputError(folder.config, "no options", "those of the run, one in each line, or no such file")
    return stored


def check_consent(
    where: str, default: OptionGroups, values: Mapping[str, Any], given: Container[str], *, trains: bool
) -> None:
    """Raise InputError for a stored option that runs code, or writes or sends something elsewhere.

    A run may come from anybody; an option that is also `given` on the command line is what the user means.

    Parameters
    ----------
    where
        The option that names the run, for the message.
    default, values
        The command's options as they are by themselves, and as they are.
    given
        The names of those that are not stored.
    trains
        Whether it trains; else it reads test images and a checkpoint, which has consent of its own.
    """
    asked: list[tuple[str, str, str]] = []
    if values.get("root") is not None and values.get("data") in SHAPE_SETS:
        asked.append(("root", "shapes drawn in {}", "they are written there"))
    if trains and is_own_code(values.get("backbone")):
        asked.append(("backbone", "a backbone made by {!r}", "its code is run"))
    if trains and values.get("input") == "fast" and values["cache"] != default.flat()["cache"]:
        asked.append(("cache", "images decoded into {}", "they are written there"))
    if trains and values.get("logger"):
        asked.append(("logger", "the logger {}", "the run is sent to it"))
    for name, found, why in asked:
        if name not in given:
            value = values[name]
            text = " ".join(value) if isinstance(value, list) else str(value)
            raise InputError(where, found.format(text), f"{option_of(name)} {text}, if you trust it: {why}")


@dataclass(frozen=True)
class RunState:
    """A run that begins or is resumed."""

    folder: RunFolder
    resume: Path | None
    """The checkpoint that it is resumed from, or None."""
    checkpoint: dict[str, Any] | None
    """The content of that checkpoint."""

    @classmethod
    def begin(cls, task: Task, options: OptionGroups, out: Path, resume: Path | None) -> Self:
        """Check that a run may begin in the folder `out`, or be resumed from the checkpoint `resume`.

        Raises
        ------
        InputError
            A run is there already; the checkpoint cannot be resumed from; options differ from the run's.
        """
        folder = RunFolder(out)
        if resume is None:
            folder.check_new()
            folder.check_own()
            return cls(folder, None, None)
        from training.checkpoint import read_checkpoint

        run = RunFolder.of(resume)
        if folder.path.resolve() != run.path.resolve():
            folder.check_new()
            folder.check_own()
        try:
            checkpoint = read_checkpoint(resume, task.script, task.hyper_parameter_types)
        except InputError as error:
            if resume != run.last:
                raise
            try:
                checkpoint = read_checkpoint(run.previous, task.script, task.hyper_parameter_types)
            except InputError:
                expected = (
                    f"{error.expected}; the one before, {run.previous.name}, is damaged or absent, too: "
                    "name another checkpoint, or begin anew"
                )
                raise InputError(error.where, error.found, expected) from None
            if is_global_zero():
                print(f"warning: {error}; resuming from {run.previous}, the one before", file=sys.stderr)
            resume = run.previous
        if "global_step" not in checkpoint:
            raise InputError(resume, "weights without the state of a training", "a last.ckpt or best.ckpt")
        before, free = stored_options(run), RESUMABLE | task.resumable
        if "data" in checkpoint:
            free |= PATHS
        for name, value in options.flat().items():
            if name in before and name not in free and before[name] != value:
                expected = (
                    f"{before[name]!r}, with which {run.path} was started: leave it, or start a new run"
                )
                raise InputError(option_of(name), f"{value!r}", expected)
        return cls(folder, resume, checkpoint)

    @property
    def steps(self) -> int:
        """Steps that are done."""
        return int(self.checkpoint["global_step"]) if self.checkpoint is not None else 0

    def check_data(self, found: Mapping[str, str], classes: Sequence[str]) -> None:
        """Raise InputError where a checksum of the data differs from that of the run (``Task.checksums``)."""
        before = (self.checkpoint or {}).get("data", {})
        differing = [name for name, value in found.items() if before.get(name, value) != value]
        if self.checkpoint is not None and "classes" in differing:  # objects differ with them
            trained = ", ".join(self.checkpoint["hyper_parameters"]["classes"])
            expected = (
                f"{trained}, in this order, as {self.resume} was trained: restore them, or start a new run"
            )
            raise InputError("--resume", f"the classes {', '.join(classes)}", expected)
        if differing:
            # Of other images, the objects and crowds differ too: the first of each part says it.
            parts = {name.rpartition(" in ")[2]: name for name in reversed(differing)}
            expected = f"those that {self.resume} was trained with: restore them, or start a new run"
            raise InputError("--resume", f"other {' and '.join(reversed(parts.values()))}", expected)

    def recover(self) -> None:
        """Remove what a killed process has half written; put the checkpoint before in the place of a bad one.

        The bad one is moved aside. Only while the folder is locked.
        """
        for name in ("", "checkpoints", "detections") if is_global_zero() else ():
            for part in (self.folder.path / name).glob(".*.part"):
                part.unlink(missing_ok=True)
        if self.resume == self.folder.previous and is_global_zero():
            with contextlib.suppress(FileNotFoundError):
                self.folder.last.replace(self.folder.damaged)
            link(self.folder.previous, self.folder.last)

    def check_epochs(self, epochs: int, steps_per_epoch: int) -> None:
        """Raise InputError where more epochs are done than the run is to have."""
        done = self.steps // max(steps_per_epoch, 1)
        if epochs < done:
            raise InputError("--epochs", str(epochs), f"at least the {done} that are done")

    def announce(self, epochs: int, steps_per_epoch: int) -> None:
        """Say where a resumed run goes on."""
        if self.resume is not None:
            done, steps = self.steps, epochs * steps_per_epoch
            place = f"step {done + 1} of {steps}, epoch {done // steps_per_epoch + 1} of {epochs}"
            left = place if done < steps else f"all {epochs} epochs are done"
            print(f"going on from {self.resume}: {left}", flush=True)

    def record(self, options: OptionGroups, facts: dict[str, Any]) -> None:
        """Write the options; add where the result comes from to what is recorded of a resumed run."""
        self.folder.record(facts, add=self.resume is not None)
        write_text(self.folder.config, yaml.safe_dump(options.flat(), sort_keys=False))
