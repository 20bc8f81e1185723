"""`make faults`: damage small runs, and check that each keeps what docs/reliability.md promises.

    python -m tests.faults.run --minutes 30 --seed 0 --faults kill "full disk"

Runs are forked from this process, which has imported everything; processes, signals and disks are real.
Prints a table; the exit code is 1 where a promise was broken.
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import csv
import ctypes
import importlib
import json
import multiprocessing
import os
import pickle
import random
import resource
import shutil
import signal
import socket
import sys
import tempfile
import textwrap
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch

from data import classification as images
from data.shapes import write_shapes
from detector.networks import check_sum
from tests.fuzz.run import limit_memory
from training.module import TrainingModule
from training.run_state import RunFolder
from training.tasks import classification, detection, detection_module

BOUND_SECONDS = 120
"""A run that a fault ends has to end within this time; the machine may be busy with other things."""
LAUNCHER_SECONDS = 30
"""torchrun waits as long from SIGTERM to SIGKILL."""
SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGHUP)
CLONE_NEWNS, CLONE_NEWUSER = 0x20000, 0x10000000
MS_RDONLY, MS_REMOUNT, MS_REC, MS_PRIVATE = 1, 32, 1 << 14, 1 << 18
"""From sched.h and sys/mount.h."""

LATE_IMPORTS = ("albumentations", "torch.utils.tensorboard", "torch._dynamo", "diagnosis", "training.run")
"""What a run imports only when it needs it."""

COMMON = "--epochs 3 --validation 0.25 --accelerator cpu --checkpoint-every 2 --name run --passes 2"
WORDS = {
    "detection": "--data voc --root ROOT --train shapes:train --test shapes:val --sheet 0 --arch resnet18 "
    "--width 0.125 --head-channels 16 --input-size 64 --batch-size 4 --score-threshold 0.0001 --shuffle last "
    f"--workers 1 {COMMON}",
    "classification": "--data shapes --fraction 0.5 --width 0.0625 --batch-size 8 --learning-rate 0.01 "
    f"--method spatial --last 3 --workers 0 {COMMON}",
}
"""Nine steps each: three epochs of 12 and 24 images."""
MAINS = {"detection": detection.main, "classification": classification.main}
PHASES: dict[str, tuple[Any, str, int]] = {
    "training": (TrainingModule, "training_step", 5),
    "validation": (detection_module.DetectorModule, "validation_step", 2),
    "test evaluation": (detection_module, "detections_from", 2),
}
"""Function that runs at this time in a detection run, and at which of its calls a fault is made."""
SHARED_BYTES = 100_000, 700_000
"""Room in /dev/shm, for a batch of four images of 256 pixels: 786,432 bytes."""
FIRST_STEP: tuple[Any, str, int] = (TrainingModule, "training_step", 1)
STEPS = 9


class Life:
    """The processes of a run from one start to their end."""

    def __init__(self, processes: list[Any], errors: list[Path], reached: Path) -> None:
        self.processes, self.errors, self.reached = processes, errors, reached
        self.began = time.monotonic()

    def alive(self) -> bool:
        return any(process.is_alive() for process in self.processes)

    def wait_for_pause(self) -> None:
        """Wait until it is where it was asked to pause."""
        while not self.reached.exists() and self.alive() and time.monotonic() < self.began + BOUND_SECONDS:
            time.sleep(0.01)

    def send(self, number: int, rank: int = 0, *, group: bool = False) -> bool:
        """Send a signal; False where the process has ended."""
        process = self.processes[rank]
        if process.is_alive():
            with contextlib.suppress(ProcessLookupError):
                (os.killpg if group else os.kill)(process.pid, number)
                return True
        return False

    def join(self, seconds: float) -> bool:
        """Wait for their end; whether it came."""
        until = time.monotonic() + seconds
        for process in self.processes:
            process.join(max(until - time.monotonic(), 0))
        return not self.alive()

    def end(self, seconds: float = BOUND_SECONDS) -> tuple[int | None, str]:
        """Exit code of the first process, None where it had to be killed, and what all printed as errors."""
        hung = not self.join(seconds)
        for rank in range(len(self.processes)):
            self.send(signal.SIGKILL, rank, group=True)
            self.processes[rank].join()
        text = "".join(file.read_text(errors="replace") for file in self.errors)
        return None if hung else self.processes[0].exitcode, text


@dataclass
class Lab:
    """Where runs are made and damaged."""

    folder: Path
    task: str = "detection"
    ranks: int = 1
    wholes: dict[tuple[str, int], tuple[Path, float, float]] = field(default_factory=dict)
    compare: bool = True
    """Whether runs are finished and compared where that is not all of the fault."""

    def new(self) -> Path:
        """A path for a run."""
        return Path(tempfile.mkdtemp(dir=self.folder)) / "run"

    def start(
        self,
        *words: object,
        pause: tuple[str, float] | None = None,
        before: Callable[[], object] = lambda: None,
    ) -> Life:
        """Fork a run; `pause` names one of `PHASES` and the seconds to wait there.

        Without it the file `reached` says that the first step began.
        """
        if not (self.folder / "scenes").exists():
            write_shapes(self.folder / "scenes", train=16, val=6, test=6, size=(64, 64))
        for name in LATE_IMPORTS:  # once, here, not in each run
            importlib.import_module(name)
        base = [] if "--resume" in words or "--evaluate" in words else WORDS[self.task].split()
        line = [str(self.folder / "scenes") if word == "ROOT" else str(word) for word in (*base, *words)]
        place = Path(tempfile.mkdtemp(dir=self.folder))
        port = free_port() if self.ranks > 1 else 0
        processes, errors = [], []
        for rank in range(self.ranks):
            errors.append(place / f"err{rank}")
            process = multiprocessing.get_context("fork").Process(
                target=self._child, args=(rank, port, line, errors[-1], place / "reached", pause, before)
            )
            process.start()
            processes.append(process)
        return Life(processes, errors, place / "reached")

    def _child(
        self, rank: int, port: int, line: list[str], error: Path, reached: Path, pause: Any, before: Any
    ) -> None:
        os.setsid()
        for descriptor, file in ((1, os.devnull), (2, str(error))):
            target = os.open(file, os.O_WRONLY | os.O_CREAT)
            os.dup2(target, descriptor)
            os.close(target)
        sys.stdout, sys.stderr = open(1, "w", closefd=False), open(2, "w", closefd=False)  # noqa: SIM115
        sys.argv = ["train"]
        for number in SIGNALS:  # ignored where this was started in the background
            signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
        torch.set_num_threads(1)  # threads of the parent are not in the fork
        images.SHAPES.update(train=64, test=16)
        import diagnosis.figures

        diagnosis.figures.save_figures = lambda *_, **__: []
        if self.ranks > 1:  # as torchrun starts them
            from lightning.pytorch.utilities import rank_zero_only

            rank_zero_only.rank = rank  # type: ignore[attr-defined]
            names = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "GROUP_RANK", "MASTER_PORT")
            values = (rank, rank, self.ranks, self.ranks, 0, port)
            os.environ.update({name: str(value) for name, value in zip(names, values, strict=True)})
            os.environ.update(MASTER_ADDR="127.0.0.1", TORCHELASTIC_RUN_ID="faults")
        where, seconds = (PHASES[pause[0]], pause[1]) if pause else (FIRST_STEP, 0.0)
        install_pause(*where, reached, seconds)
        before()
        sys.exit(MAINS[self.task](line))

    def whole(self) -> tuple[Path, float, float]:
        """The run without a fault; the seconds that it took in all, and from its first step to its last."""
        key = self.task, self.ranks
        if key not in self.wholes:
            out, begin = self.new(), time.monotonic()
            life = self.start("--out", out)
            code, errors = life.end(4 * BOUND_SECONDS)
            assert code == 0, errors
            training = RunFolder(out).last.stat().st_mtime - life.reached.stat().st_mtime
            self.wholes[key] = out, time.monotonic() - begin, training
        return self.wholes[key]

    def stopped(self) -> Path:
        """A copy of the run after five steps."""
        first, out = self.folder / "stopped", self.new()
        if not first.exists():
            self.whole()
            assert self.start("--out", first, "--max-steps", 5).end()[0] == 0
        shutil.copytree(first, out)
        return out

    def go_on(self, out: Path, **named: Any) -> Life:
        """Resume the run in a folder, or begin it."""
        return self.start("--resume" if RunFolder(out).last.exists() else "--out", out, **named)

    def wait(self, life: Life, out: Path, draw: random.Random) -> None:
        """Wait until a random moment of the training that is left; one time in five, of the whole run."""
        _, seconds, training = self.whole()
        if draw.random() < 0.2:
            time.sleep(draw.uniform(0, seconds))
        else:
            share = draw.random() * (1 - steps(out) / STEPS)
            life.wait_for_pause()
            time.sleep(share * training)

    def finish(self, out: Path) -> list[str]:
        """Resume the run and compare it with that without a fault."""
        if not self.compare:
            return []
        whole = self.whole()[0]
        code, text = self.go_on(out).end()
        return [f"resumed: exit code {code}: {text}"] if code else differences(whole, out)


def free_port() -> int:
    """A port that no program listens at."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def install_pause(owner: Any, name: str, call: int, reached: Path, seconds: float) -> None:
    """Have a function wait in one of its calls, and a file say so."""
    original, calls = getattr(owner, name), [0]

    def paused(*arguments: Any, **named: Any) -> Any:
        calls[0] += 1
        if calls[0] == call:
            reached.touch()
            end = time.monotonic() + seconds
            while (left := end - time.monotonic()) > 0:
                time.sleep(left)
        return original(*arguments, **named)

    setattr(owner, name, paused)


# What is promised


def one_line(code: int | None, text: str, expected: int, *parts: str) -> list[str]:
    """What is wrong with how a run ended: exit code, more or less than one line, parts that it has not."""
    ended = "it hung" if code is None else f"exit code {code}, not {expected}"
    broken = [ended] if code != expected else []
    lines = [line for line in text.splitlines() if not line.startswith("warning: ")]
    if len(lines) != 1:
        broken.append(f"{len(lines)} lines")
    broken += [f"no {part!r}" for part in parts if part not in text]
    return [f"{'; '.join(broken)}: {text[-1500:]}"] if broken else []


def sound(out: Path, least: int = 0) -> list[str]:
    """What is wrong with the checkpoints of a run, of which the last has done so many steps."""
    broken = []
    for file in sorted(out.glob("checkpoints/*")):
        if file.name in ("last.ckpt", "best.ckpt", "previous.ckpt"):
            check_sum(file)
            torch.load(file, weights_only=True)
        elif file.name != "damaged.ckpt":
            broken.append(f"{file.name} is left")
    done = steps(out)
    return broken + ([f"the checkpoint of step {least} is lost: now {done}"] if done < least else [])


def steps(out: Path) -> int:
    """Steps of the last checkpoint; 0: there is none."""
    last = RunFolder(out).last
    return int(torch.load(last, weights_only=True)["global_step"]) if last.exists() else 0


def rows(out: Path) -> list[dict[str, str]]:
    """The log but for the speed."""
    with (out / "logs" / "csv" / "metrics.csv").open(newline="") as file:
        return [{**row, "images_per_second": ""} for row in csv.DictReader(file)]


def differences(whole: Path, out: Path) -> list[str]:
    """What of weights, state, log, scores and diagnosis differs from the run without a fault."""
    broken = []
    for name in ("last.ckpt", "best.ckpt"):
        first, second = (torch.load(run / "checkpoints" / name, weights_only=True) for run in (whole, out))
        broken += [
            f"{name}: {part} differs"
            for part in ("state_dict", "optimizer_states", "lr_schedulers", "epoch", "global_step", "data")
            if not same(first[part], second[part])
        ]
    before, after = rows(whole), rows(out)
    if before != after:
        counts = collections.Counter(row["step"] for row in after)
        twice = [step for step, count in counts.items() if count > 2]
        missing = sorted({row["step"] for row in before} - counts.keys())
        rows_found = f"{len(after)} rows for {len(before)}"
        broken.append(f"metrics.csv differs: {rows_found}; missing {missing}, twice {twice}")
    for file in ("scores.json", "diagnosis/diagnosis.json"):
        if (whole / file).exists():
            first, second = (json.loads((run / file).read_text()) for run in (whole, out))
            for result in (first, second):
                for name in ("provenance", "seconds", "images_per_second"):
                    result.pop(name, None)
            broken += [] if first == second else [f"{file} differs"]
    broken += [f"{file} is left" for file in out.rglob(".*") if "part" in file.name]
    return broken


def same(first: Any, second: Any) -> bool:
    """Whether two structures have the same tensors and values, bit for bit."""
    if isinstance(first, torch.Tensor):
        # By NumPy: torch's threads are not in the processes that are forked from this one.
        pair = [value.numpy() for value in (first, second)]
        return pair[0].shape == pair[1].shape and pair[0].tobytes() == pair[1].tobytes()
    if isinstance(first, dict):
        return first.keys() == second.keys() and all(same(first[key], second[key]) for key in first)
    if isinstance(first, list | tuple):
        return len(first) == len(second) and all(map(same, first, second))
    return bool(first == second)


# Faults: each says what was seen, and which promises were broken, once a trial

Trial = tuple[str, list[str]]
OneTrial = Callable[["Lab", random.Random, int], Trial]
Trials = Iterator[Trial]


def each(fault: OneTrial) -> Callable[[Lab, random.Random, int], Trials]:
    """A fault whose trials have nothing to do with one another; it gets the number of each."""
    return lambda lab, draw, trials: (fault(lab, draw, trial) for trial in range(trials))


def in_room(fault: Callable[[Lab, random.Random, int, Path], Trial]) -> OneTrial:
    """A fault that gets an empty folder, and is tried in a process with mounts of its own, which end with it.

    PermissionError where the system allows no such process.
    """

    def trial_in_room(lab: Lab, draw: random.Random, trial: int) -> Trial:
        lab.whole()  # what all trials share is made here
        draw.seed(draw.random())  # other draws in each
        with tempfile.TemporaryDirectory() as folder:
            room, answer = Path(folder) / "disk", Path(folder) / "answer"
            room.mkdir()
            child = os.fork()
            if not child:
                try:
                    private_mounts()
                    result: Any = fault(lab, draw, trial, room)
                except PermissionError as error:
                    result = PermissionError(str(error))
                except BaseException as error:
                    result = "?", [repr(error)]
                answer.write_bytes(pickle.dumps(result))
                os._exit(0)
            os.waitpid(child, 0)
            result = pickle.loads(answer.read_bytes())
        if isinstance(result, PermissionError):
            raise result
        return result

    return trial_in_room


def killed(lab: Lab, draw: random.Random, trials: int) -> Trials:
    """Kill a run again and again; what is resumed to its end is compared, and another is begun."""
    out = lab.new()
    done = 0
    while done < trials:
        life = lab.go_on(out)
        lab.wait(life, out, draw)
        before = steps(out)
        hit = life.send(signal.SIGKILL, draw.randrange(lab.ranks), group=True)
        alone = life.join(LAUNCHER_SECONDS)
        for rank in range(lab.ranks):  # as torchrun does where one of its processes has ended
            life.send(signal.SIGTERM, rank)
        code, text = life.end(LAUNCHER_SECONDS)
        broken = [f"exit code {code}: {text[-1500:]}"] if not hit and code else []
        now, where = steps(out), "ended before the kill"
        if now < before:
            broken.append(f"the checkpoint of step {before} is lost: now {now}")
        if hit:
            done += 1
            where = "before the first checkpoint" if not now else "training" if now < STEPS else "scoring"
            where += "" if alone else ", the other ended by the launcher"
        if not hit or done == trials:
            broken += lab.finish(out)
            shutil.rmtree(out, ignore_errors=True)
        if hit or broken:
            yield where, broken


@each
def signalled(lab: Lab, draw: random.Random, trial: int) -> Trial:
    """A signal in a training step, in validation, in the final scoring and in --evaluate."""
    whole, out = lab.whole()[0], lab.new()
    number, phase = SIGNALS[trial % 4], [*PHASES, "--evaluate"][trial // 4 % 4]
    evaluate = phase == "--evaluate"
    words = ("--evaluate", whole, "--out", out) if evaluate else ("--out", out)
    life = lab.start(*words, pause=("test evaluation" if evaluate else phase, 1.0))
    life.wait_for_pause()
    life.send(number, group=(trial + trial // 4) % 2 == 0)  # as a terminal and timeout do, or as kill
    code, text = life.end()
    last = f"the state is kept in {RunFolder(out).last}; --resume"
    part, wanted = {
        "training": (f"{last} goes on from there", 5),
        "validation": (f"{last} goes on from there", 6),
        "test evaluation": (f"{last} {out} scores it again", 9),
        "--evaluate": (f"--evaluate {whole / 'checkpoints' / 'best.ckpt'} scores it again", 0),
    }[phase]
    broken = one_line(code, text, 128 + number, f"stopped by {number.name}; ", part)
    if not evaluate:
        broken += [] if steps(out) == wanted else [f"{steps(out)} steps are kept, not {wanted}"]
        broken += sound(out) + lab.finish(out)
    return f"exit {code} in {phase}", broken


@each
def signalled_anywhere(lab: Lab, draw: random.Random, trial: int) -> Trial:
    """A signal at a random moment of a run."""
    out, number = lab.new(), draw.choice(SIGNALS)
    life = lab.start("--out", out)
    lab.wait(life, out, draw)
    hit = life.send(number, draw.randrange(lab.ranks))
    code, text = life.end()
    if not hit or code == 0:
        return "had ended", []
    if lab.ranks > 1:
        broken = [f"it hung: {text}"] if code is None else []
    else:
        broken = one_line(code, text, 128 + number, f"stopped by {number.name}; ")
    seen = f"exit {code}" + (f", {steps(out)} steps" if lab.ranks > 1 else "")
    return seen, broken + sound(out) + lab.finish(out)


@each
def damaged(lab: Lab, draw: random.Random, trial: int) -> Trial:
    """One bit of the last checkpoint, or its end, is lost."""
    out = lab.stopped()
    last = RunFolder(out).last
    content = bytearray(last.read_bytes())
    place = draw.randrange(len(content))
    if trial % 2:
        del content[place:]
    else:
        content[place] ^= 1 << draw.randrange(8)
    last.unlink()
    last.write_bytes(content)
    code, text = lab.go_on(out).end()
    broken = [] if code == 0 and str(last) in text else [f"exit code {code}: {text}"]
    return "named, the one before used", broken or differences(lab.whole()[0], out)


@each
@in_room
def full_disk(lab: Lab, draw: random.Random, trial: int, room: Path) -> Trial:
    """A disk with less room than the run needs; then room is made."""
    need = sum(file.stat().st_size for file in lab.whole()[0].rglob("*") if file.is_file())
    mount("tmpfs", room, 0, f"size={draw.randrange(4096, int(1.4 * need))}")
    out = room / "run"
    code, text = lab.start("--out", out).end()
    seen = f"{steps(out) or 'no'} steps kept" if code else "there was room"
    broken = [] if code == 0 else one_line(code, text, 1, "No space left on device", "make room")
    kept = RunFolder(out).last
    if code and kept.exists() and str(kept) not in text and "--resume" not in text:
        broken.append(f"no word of {kept}: {text}")
    broken += sound(out)
    mount("tmpfs", room, MS_REMOUNT, "size=256m")
    return seen, broken + lab.finish(out)


@each
def limited_files(lab: Lab, draw: random.Random, trial: int) -> Trial:
    """The kernel refuses a file beyond a size (EFBIG), as where a file system ends."""
    size = draw.randrange(1, RunFolder(lab.whole()[0]).last.stat().st_size)
    out, limit = lab.new(), partial(resource.setrlimit, resource.RLIMIT_FSIZE, (size, size))
    code, text = lab.start("--out", out, before=limit).end()
    return "no step kept", [*one_line(code, text, 1, "File too large"), *sound(out), *lab.finish(out)]


@each
@in_room
def read_only(lab: Lab, draw: random.Random, trial: int, room: Path) -> Trial:
    """A run that is resumed, begun or evaluated where nothing can be written."""
    mount("tmpfs", room, 0, "size=256m")
    out = room / "run"
    shutil.copytree(lab.stopped(), out)
    mount("tmpfs", room, MS_REMOUNT | MS_RDONLY, "")
    words = [("--resume", out), ("--out", room / "other"), ("--evaluate", out)][trial % 3]
    code, text = lab.start(*words).end()
    broken = one_line(code, text, 2, str(room), "--out") + sound(out, 5)
    mount("tmpfs", room, MS_REMOUNT, "size=256m")
    return f"exit {code}", broken + lab.finish(out)


@each
def occupied(lab: Lab, draw: random.Random, trial: int) -> Trial:
    """A second run in the folder that another one works in."""
    out = lab.new()
    first = lab.start("--out", out, pause=("training", 600.0))
    first.wait_for_pause()
    code, text = lab.start("--resume" if trial % 2 else "--out", out).end()
    broken = one_line(code, text, 2, f"{out}: found another process works in this folder")
    first.send(signal.SIGTERM)
    first.send(signal.SIGKILL, group=True)
    first.end()
    return f"exit {code}", broken + lab.finish(out)


@each
def worker_killed(lab: Lab, draw: random.Random, trial: int) -> Trial:
    """A process that loads images is killed."""
    out, phase = lab.new(), list(PHASES)[trial % 2]
    life = lab.start("--out", out, "--workers", 2, pause=(phase, 0.5))
    life.wait_for_pause()
    workers = children(life.processes[0].pid)
    for worker in workers:
        os.kill(worker, signal.SIGKILL)
    code, text = life.end()
    broken = [] if workers else ["no worker"]
    broken += one_line(code, text, 1, "--workers (now 2)", f"--resume goes on from {RunFolder(out).last}")
    return f"exit {code} in {phase}", [*broken, *sound(out, 2), *lab.finish(out)]


@each
@in_room
def shared_memory(lab: Lab, draw: random.Random, trial: int, room: Path) -> Trial:
    """A /dev/shm with less room than the batches need that wait, as containers have it."""
    out = lab.new()
    mount("tmpfs", Path("/dev/shm"), 0, f"size={draw.randrange(*SHARED_BYTES)}")
    code, text = lab.start("--out", out, "--workers", 2, "--input-size", 256).end()
    return f"exit {code}", one_line(code, text, 1, "/dev/shm", "--workers (now 2)") + sound(out)


def children(pid: int) -> list[int]:
    """The processes that a process has started."""
    found = []
    for file in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            if int(file.read_text().rpartition(")")[2].split()[1]) == pid:
                found.append(int(file.parent.name))
    return found


@each
def memory(lab: Lab, draw: random.Random, trial: int) -> Trial:
    """The process may have so many MB more than it has at its start."""
    out = lab.new()
    code, text = lab.start("--out", out, before=partial(limit_memory, draw.randrange(1, 160))).end()
    if code == 0:
        return "enough", sound(out) + lab.finish(out)
    broken = one_line(code, text, 1, "out of memory", "--batch-size 4")
    return f"exit {code}", broken + sound(out) + lab.finish(out)


# Disks of their own


def mount(kind: str, folder: Path, flags: int, data: str) -> None:
    """mount(2)."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.mount(kind.encode(), str(folder).encode(), kind.encode(), flags, data.encode()):
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), str(folder))


def private_mounts() -> None:
    """Give this process a table of mounts of its own, as root of a user namespace where it is not root."""
    libc = ctypes.CDLL(None, use_errno=True)
    user, group = os.getuid(), os.getgid()
    if libc.unshare(CLONE_NEWNS | (CLONE_NEWUSER if user else 0)):
        raise PermissionError("no mounts of its own for a process here")
    if user:
        Path("/proc/self/setgroups").write_text("deny")
        Path("/proc/self/uid_map").write_text(f"0 {user} 1")
        Path("/proc/self/gid_map").write_text(f"0 {group} 1")
    if libc.mount(b"none", b"/", None, MS_REC | MS_PRIVATE, None):
        raise PermissionError("no private mounts here")


# The campaign


class Fault(NamedTuple):
    """A row of the table."""

    how: str
    promise: str
    try_it: Callable[[Lab, random.Random, int], Trials]
    trials: int
    task: str = "detection"
    ranks: int = 1


RESUMED = "resumed, weights, log, scores and diagnosis are those of an undisturbed run"
FAULTS = {
    "kill": Fault("SIGKILL to the run and its loader at a random moment", RESUMED, killed, 20),
    "kill, classification": Fault("the same", RESUMED, killed, 20, "classification"),
    "kill, two processes": Fault(
        "SIGKILL to one of two processes (gloo) at a random moment",
        f"the other ends by itself or, as torchrun does it, 30 s later by SIGTERM; {RESUMED}", killed, 20,
        "detection", 2,
    ),
    "signal": Fault(
        "SIGINT, SIGTERM, SIGUSR1, SIGHUP in a training step, validation, final scoring, --evaluate",
        f"the step ends, exit code 128 + signal, a line names the checkpoint; {RESUMED}", signalled, 16,
    ),
    "signal anywhere": Fault(
        "a signal at a random moment", "the same, or 'no step was done'", signalled_anywhere, 20
    ),
    "signal, two processes": Fault(
        "a signal to one of two processes", f"both end; {RESUMED}", signalled_anywhere, 10, "detection", 2
    ),
    "damaged checkpoint": Fault(
        "a bit flipped, or the end cut off, anywhere in last.ckpt", f"named, the one before used; {RESUMED}",
        damaged, 20,
    ),
    "full disk": Fault(
        "a tmpfs with less room than the run needs (ENOSPC)", f"a line says so; with room, {RESUMED}",
        full_disk, 20,
    ),
    "file too large": Fault("RLIMIT_FSIZE (EFBIG)", "the same", limited_files, 5),
    "read-only folder": Fault(
        "a tmpfs mounted read-only; --resume, --out, --evaluate", "a line, exit code 2; nothing is lost",
        read_only, 6,
    ),
    "occupied folder": Fault(
        "--out and --resume where another run works", "a line, exit code 2; the first run is not disturbed",
        occupied, 4,
    ),
    "killed worker": Fault(
        "SIGKILL to the processes that load images, in training and validation",
        f"a line names --workers and the checkpoint, exit code 1; {RESUMED}", worker_killed, 8,
    ),
    "shared memory": Fault(
        "a tmpfs of 0.1 to 0.7 MB at /dev/shm, where a batch has 0.8 MB",
        "a line names /dev/shm and --workers, exit code 1", shared_memory, 4,
    ),
    "out of memory": Fault(
        "RLIMIT_AS of 1 to 160 MB more than at the start",
        f"a line names --batch-size and what to lower, exit code 1; {RESUMED}", memory, 12,
    ),
}  # fmt: skip


def attempt(
    name: str, lab: Lab, seed: int, trials: int | None = None
) -> tuple[collections.Counter[str], list[str]]:
    """Try a fault; how often what was seen, and the promises that were broken."""
    fault = FAULTS[name]
    seen, broken = collections.Counter[str](), []
    draw, lab = random.Random(f"{seed} {name}"), replace(lab, task=fault.task, ranks=fault.ranks)
    for what, wrong in fault.try_it(lab, draw, trials or fault.trials):
        seen[what] += 1
        broken += wrong
    return seen, broken


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=30, help="begin no fault after this time")
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument("--trials", type=int, help="of each fault; default: as the table says")
    parser.add_argument("--faults", nargs="+", choices=FAULTS, default=list(FAULTS), metavar="FAULT")
    options = parser.parse_args()
    begin, total = time.monotonic(), 0
    print(f"--seed {options.seed}\n\n| fault | how it is made | tried | promised | seen |")
    print("|---|---|---|---|---|", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        lab = Lab(Path(folder))
        lab.whole()
        for name in options.faults:
            if time.monotonic() - begin > 60 * options.minutes:
                print(f"no time left for {name}", flush=True)
                total += 1
                continue
            fault = FAULTS[name]
            try:
                seen, broken = attempt(name, lab, options.seed, options.trials)
            except PermissionError as error:
                seen, broken = collections.Counter({f"not tried: {error}": 0}), []
            total += len(broken)
            cells = "; ".join(f"{what}: {count}" for what, count in seen.most_common())
            verdict = f"**broken {len(broken)} times**; " if broken else ""
            row = (name, fault.how, str(seen.total()), fault.promise, verdict + cells)
            print(f"| {' | '.join(row)} |", flush=True)
            print(textwrap.indent("\n".join(broken), "    "), file=sys.stderr, flush=True)
    print(f"\n{total} broken promises in {(time.monotonic() - begin) / 60:.0f} minutes")
    return int(total > 0)


if __name__ == "__main__":
    sys.exit(main())
