"""Lightning's trainer for a run."""

from __future__ import annotations

import errno
import importlib.util
import os
import re
import shutil
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, cast

import lightning as L
import torch
from lightning.fabric.utilities.exceptions import MisconfigurationException

from data.records import InputError
from training.callbacks import STEPS_BETWEEN_FETCHES, Checkpoints, FailedError, LogProgress, ProgressBar
from training.checkpoint import CheckpointFiles
from training.loggers import make_loggers
from training.options import MachineOptions
from training.run_state import NO_ROOM, RunFolder

__all__ = [
    "QUIET", "as_input_error", "autocast", "lost_peer", "make_device", "make_trainer", "one_line_errors",
    "resolve_machine",
]  # fmt: skip

HALF_PRECISIONS = {"16-mixed": torch.float16, "bf16-mixed": torch.bfloat16}

OUT_OF_MEMORY = re.compile(
    "can't allocate memory|Cannot allocate memory|bad_alloc|can't start new thread|"
    "could not (create|execute) a primitive"
)
"""In the errors of PyTorch, the system, C++, Python and oneDNN where memory is short."""
NO_WAY_TO_SEND = ("exited unexpectedly", "Bus error", "Communication with the workers")
"""In PyTorch's errors: data.loader ended the process, shared memory was full, too many files were open."""
COMPILED_FROM_PIXELS = {"cpu": 1e10, "cuda": 1e11}
"""Pixels of all images of a run from which compiling saves several times its cost: docs/performance.md."""


def on_gpu(machine: MachineOptions) -> bool:
    """Whether a run computes on a GPU."""
    return machine.accelerator in ("auto", "gpu") and torch.cuda.is_available()


def resolve_machine(machine: MachineOptions, pixels: float = 0.0) -> MachineOptions:
    """The options with a precision and a decision about compiling, for a run of `pixels` pixels in all.

    A function of the options and the machine alone; the run's config.yaml holds the result, so that a resumed
    run computes as before.
    """
    gpu = on_gpu(machine)
    if machine.precision == "auto":
        if gpu:
            has_bf16 = torch.cuda.is_bf16_supported(including_emulation=False)
        else:  # a processor without such instructions computes in bf16 at a third of its 32-bit speed
            found = torch.cpu.get_capabilities() if machine.accelerator in ("auto", "cpu") else {}
            has_bf16 = any(found.get(name) for name in ("amx_bf16", "avx512_bf16"))
        machine = replace(machine, precision="bf16-mixed" if has_bf16 else "32-true")
    if machine.compile is None:
        compiler = os.environ.get("CXX") or next(filter(shutil.which, ("g++", "c++", "clang++")), None)
        able = compiler is not None and (not gpu or importlib.util.find_spec("triton") is not None)
        gains = gpu or machine.precision == "32-true"  # on a CPU, not in bf16: docs/performance.md
        long = pixels >= COMPILED_FROM_PIXELS["cuda" if gpu else "cpu"]
        machine = replace(machine, compile=able and gains and long and machine.accelerator != "mps")
    return machine


def autocast(device: torch.device, precision: str) -> torch.autocast:
    """The context in which a network computes in a precision, by Lightning's name of it."""
    return torch.autocast(device.type, HALF_PRECISIONS.get(precision), enabled=precision in HALF_PRECISIONS)


def lost_peer(error: RuntimeError) -> bool:
    """Whether a process failed only because another one of its run has ended."""
    broken = "closed by peer" in str(error) or "reset by peer" in str(error)  # gloo has no type for it
    return broken or (torch.distributed.is_available() and isinstance(error, torch.distributed.DistError))


@contextmanager
def as_input_error() -> Iterator[None]:
    """Turn Lightning's errors about its arguments into an InputError."""
    try:
        yield
    except MisconfigurationException as error:
        text = " ".join(str(error).split())
        if "epoch" in text:
            option, expected = "--epochs", "no fewer than are done"
        elif "backend" in text or "ccelerator" in text:
            option, expected = "--accelerator", "auto, cpu, or what this machine has"
        else:
            option, expected = "--devices or --precision", "what this machine has"
        raise InputError(option, f"what cannot be done here ({text})", expected) from error


def _leave_to_main_thread(raised: threading.ExceptHookArgs) -> None:
    """Print no traceback of a full disk: TensorBoard's thread hands the error on."""
    if not (isinstance(raised.exc_value, OSError) and raised.exc_value.errno in NO_ROOM):
        threading.__excepthook__(raised)


@contextmanager
def one_line_errors(options: Any, folder: RunFolder | None) -> Iterator[None]:
    """Turn what the machine does to a run in `folder` (None: an evaluation) into a FailedError.

    It says what to do, and where the run can be resumed from.
    """
    size = options.optimization.batch_size
    fewer = f"lower --workers (now {options.machine.workers}) or --batch-size"
    hook, threading.excepthook = threading.excepthook, _leave_to_main_thread
    try:
        yield
    except (OSError, RuntimeError, ValueError, MemoryError) as raised:
        error: Exception = raised
        if isinstance(raised, InputError):
            cause = raised.__context__
            if not isinstance(cause, OSError) or cause.errno not in NO_ROOM:
                raise
            error = OSError(cause.errno, cause.strerror, raised.where)
        text = str(error)
        if isinstance(error, OSError) and error.errno != errno.ENOMEM:
            place = "a file" if folder is None else f"a file in {folder.path}"
            if isinstance(error, BrokenPipeError):
                place = "what reads the output, or another process, is gone"
            what = f"{error.filename2 or error.filename or place}: {error.strerror or text}"
            if error.errno in NO_ROOM:
                what += "; make room"
        elif any(part in text for part in NO_WAY_TO_SEND):
            what = (
                "a process that loads images cannot hand them over: too little shared memory (/dev/shm; "
                f"docker --shm-size) or too few files (ulimit -n); {fewer}"
            )
        elif "DataLoader worker" in text:
            what = f"a process that loads images was killed, mostly for want of memory; {fewer}"
        elif isinstance(error, MemoryError | torch.OutOfMemoryError) or OUT_OF_MEMORY.search(text):
            ways = ["lower one of them"]
            if folder is not None:
                ways += [f"raise --accumulate (now {options.optimization.accumulate})"]
            if resolve_machine(options.machine).precision == "32-true":
                ways += ["take --precision bf16-mixed"]
            what = (
                f"out of memory with --batch-size {size} at --input-size {options.data.input_size}; "
                f"{' or '.join(ways)}"
            )
        elif "more than 1 value per channel" in text:
            what = (
                f"batch norm has a single value to normalise with --batch-size {size} and --accumulate "
                f"{options.optimization.accumulate}; take at least 2 images at once on each device, or a "
                "larger --input-size"
            )
        elif isinstance(error, RuntimeError) and lost_peer(error):
            what = (
                "another process of this run has ended; its error is printed here too, unless it was killed, "
                "mostly for want of memory"
            )
        else:
            raise
        if threading.current_thread() is threading.main_thread():
            # The processes that load images are ended at exit; PyTorch would report each as killed.
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        if folder is not None:
            at_hand = folder.last.is_file()
            way = f"--resume goes on from {folder.last}" if at_hand else "no checkpoint has been written yet"
            what += f"; {way}"
        raise FailedError(what) from error
    finally:
        threading.excepthook = hook


QUIET: dict[str, Any] = dict.fromkeys(
    ("logger", "enable_checkpointing", "enable_model_summary", "enable_progress_bar"), False
)
"""A trainer that writes and shows nothing."""


def make_trainer(
    options: Any,
    folder: RunFolder,
    monitor: str,
    *,
    validates: bool,
    resume_step: int = 0,
    steps_per_epoch: int = 0,
) -> L.Trainer:
    """Lightning's trainer for a run, new or resumed after `resume_step` steps.

    Parameters
    ----------
    options, folder
        Of the run.
    monitor
        The validation score that is largest for the best checkpoint.
    validates
        Whether there are images to validate on.
    steps_per_epoch
        Needed where each step accumulates the gradients of several batches.

    Raises
    ------
    InputError
        What this machine cannot do.
    """
    machine, steps = options.machine, options.optimization
    bar = sys.stdout.isatty()  # where Lightning draws it
    devices: int | str = machine.devices if machine.devices == "auto" else int(machine.devices)
    nodes, precision = 1, cast(Any, resolve_machine(machine).precision)
    if torch.distributed.is_torchelastic_launched():
        devices = int(os.environ["LOCAL_WORLD_SIZE"])
        nodes = int(os.environ["WORLD_SIZE"]) // devices
    if machine.deterministic and not machine.compile:  # as Lightning does it, but without torch's compiler
        torch.set_deterministic_debug_mode("warn")
        os.environ["CUBLAS_WORKSPACE_CONFIG"] = ":4096:8"
    # To show a loss, a GPU has to end its work.
    progress = (
        ProgressBar(refresh_rate=STEPS_BETWEEN_FETCHES if on_gpu(machine) else 1) if bar else LogProgress()
    )
    with as_input_error():
        trainer = L.Trainer(
            accelerator=machine.accelerator,
            devices=devices,
            num_nodes=nodes,
            precision=precision,
            max_epochs=steps.epochs,
            accumulate_grad_batches=steps.accumulate,
            # Without a limit, images left over would make a last step of fewer batches.
            limit_train_batches=steps_per_epoch * steps.accumulate if steps.accumulate > 1 else None,
            gradient_clip_val=steps.clip_gradient or None,
            check_val_every_n_epoch=options.evaluation.validate_every if validates else 1,
            limit_val_batches=None if validates else 0,
            num_sanity_val_steps=0,
            use_distributed_sampler=False,
            deterministic="warn" if machine.deterministic and machine.compile else None,
            callbacks=[progress, Checkpoints(folder, monitor, steps)],
            plugins=[CheckpointFiles()],
            log_every_n_steps=1,
            default_root_dir=str(folder.path),
            **QUIET
            | {
                "logger": make_loggers(folder, resume_step, options.evaluation.logger),
                "enable_progress_bar": bar,
            },
        )
    _check_precision(machine, trainer)
    return trainer


def make_device(machine: MachineOptions) -> torch.device:
    """The device that one process computes on."""
    with as_input_error():
        trainer = L.Trainer(accelerator=machine.accelerator, devices=1, **QUIET)
    _check_precision(machine, trainer)
    device: torch.device = trainer.strategy.root_device
    return device


def _check_precision(machine: MachineOptions, trainer: L.Trainer) -> None:
    """Raise InputError for half precision on a CPU, which Lightning would replace."""
    if machine.precision == "16-mixed" and trainer.strategy.root_device.type == "cpu":
        raise InputError("--precision", "'16-mixed' on a CPU", "bf16-mixed or 32-true there")
