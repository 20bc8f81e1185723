"""One function over many items in several processes, with results that do not depend on their number."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
import warnings
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection
from typing import TypeVar

__all__ = ["over_processes", "usable_cores"]

Item = TypeVar("Item")
Result = TypeVar("Result")


def usable_cores() -> int:
    """How many processes are worth starting here: the cores this process may use; 1 where it cannot fork."""
    main = threading.current_thread() is threading.main_thread()
    if sys.platform != "linux" or not main or multiprocessing.current_process().daemon:
        return 1
    return len(os.sched_getaffinity(0))


def over_processes(function: Callable[[Item], Result], items: Sequence[Item], processes: int) -> list[Result]:
    """``[function(item) for item in items]``, shared among this process and forked ones.

    Forked processes inherit what `function` needs, so only results are sent; these must be picklable. The
    share of a process that fails is computed here, so errors are raised as without processes. Warnings of
    the other processes are not shown.

    Examples
    --------
    >>> over_processes(abs, [-1, 2, -3], 2)
    [1, 2, 3]
    """
    processes = max(1, min(processes, usable_cores(), len(items)))
    shares = [items[first::processes] for first in range(processes)]
    context = multiprocessing.get_context("fork" if processes > 1 else None)
    running = []
    try:
        for share in shares[1:]:
            reader, writer = context.Pipe(duplex=False)
            worker = context.Process(target=_work, args=(function, share, reader, writer), daemon=True)
            worker.start()
            writer.close()  # so that the end of the worker ends the pipe
            running.append((worker, reader))
        parts = [list(map(function, shares[0]))]
        for share, (_, reader) in zip(shares[1:], running, strict=True):
            try:
                parts.append(reader.recv())
            except EOFError:
                parts.append(list(map(function, share)))
    finally:
        for worker, reader in running:
            reader.close()
            worker.terminate()
            worker.join()
    return [parts[place % processes][place // processes] for place in range(len(items))]


def _work(
    function: Callable[[Item], Result], share: Sequence[Item], reader: Connection, writer: Connection
) -> None:
    reader.close()  # else this process would not notice that the other has ended
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the other process ends this one
    warnings.simplefilter("ignore")  # a handler may wait for a lock that was held when this process began
    try:
        writer.send(list(map(function, share)))
    except Exception:  # the other process computes the share again, and raises the error
        os._exit(1)
