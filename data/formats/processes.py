"""Work shared by processes or threads, with results that do not depend on their number; their memory."""

from __future__ import annotations

import contextlib
import ctypes
import multiprocessing
import os
import signal
import sys
import tempfile
import threading
import warnings
from collections.abc import Callable, Sequence
from functools import partial
from multiprocessing.connection import Connection
from typing import IO, TypeVar

__all__ = ["keep_freed_memory", "over_processes", "over_threads", "usable_cores"]

NUMBER_BYTES = 4
"""Size of the number of an item in the queue."""
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
"""Parameters of mallopt, from glibc's malloc.h."""
LARGEST_KEPT_BYTES = 64 << 20
"""Largest freed block that is reused; larger ones would waste more memory in gaps than they save time."""

Item = TypeVar("Item")
Result = TypeVar("Result")


def usable_cores() -> int:
    """How many processes or threads are worth starting here: the cores there are; 1 where it cannot fork."""
    main = threading.current_thread() is threading.main_thread()
    if sys.platform != "linux" or not main or multiprocessing.current_process().daemon:
        return 1
    return len(os.sched_getaffinity(0))


def keep_freed_memory() -> bool:
    """Let this process keep the memory of freed arrays for the next ones.

    The C library of Linux hands large blocks back to the system as soon as they are freed, and every step
    of a training or an analysis gets them anew, page by page, each filled with zeros. Where a network holds a
    few more large maps, as with shuffles in all of VGG-16's layers, that costs more than the shuffles
    themselves (``benchmarks/shuffle.py --hand-back``). Blocks of up to 64 MB are kept, and the process needs
    up to 10 % more memory.

    Returns
    -------
    bool
        Whether the C library is glibc, which can be set so.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform.startswith("linux") else None
    if mallopt is None:
        return False
    return bool(mallopt(M_TRIM_THRESHOLD, 2**31 - 1)) and bool(mallopt(M_MMAP_THRESHOLD, LARGEST_KEPT_BYTES))


def over_threads(functions: Sequence[Callable[[], Result]]) -> list[Result]:
    """``[function() for function in functions]`` on all cores at once, which pays where NumPy does the work.

    Examples
    --------
    >>> over_threads([lambda: 1, lambda: 2])
    [1, 2]
    """
    threads = min(usable_cores(), len(functions))
    if threads < 2:
        return [function() for function in functions]
    from concurrent.futures import ThreadPoolExecutor  # late: it imports much

    with ThreadPoolExecutor(threads) as pool:
        return [waiting.result() for waiting in [pool.submit(function) for function in functions]]


def over_processes(
    function: Callable[[Item], Result],
    items: Sequence[Item],
    processes: int,
    meanwhile: Callable[[], object] | None = None,
) -> list[Result]:
    """``[function(item) for item in items]``, shared among this process and forked ones.

    Each takes the next item when it is done with one. Forked processes inherit what `function` needs, so only
    results are sent; these must be picklable. What fails is computed here again, in order, so errors are
    raised as without processes. Warnings of the other processes are not shown.

    Parameters
    ----------
    function, items
        See above.
    processes
        How many share the work.
    meanwhile
        What this process does first, while the others work.

    Examples
    --------
    >>> over_processes(abs, [-1, 2, -3], 2)
    [1, 2, 3]
    """
    processes = max(1, min(processes, usable_cores(), len(items)))
    done: dict[int, Result] = {}
    running = []
    # Forked processes share the position in an open file: what one has read, no other reads.
    with _file_in_memory() as queue:
        queue.write(b"".join(number.to_bytes(NUMBER_BYTES) for number in range(len(items))))
        queue.seek(0)
        take = partial(_take, queue.fileno(), function, items)
        context = multiprocessing.get_context("fork" if processes > 1 else None)
        try:
            for _ in range(processes - 1):
                reader, writer = context.Pipe(duplex=False)
                worker = context.Process(target=_work, args=(take, reader, writer), daemon=True)
                worker.start()
                writer.close()  # so that the end of the worker ends the pipe
                running.append((worker, reader))
            if meanwhile is not None:
                meanwhile()
            done |= take()
            for _, reader in running:
                with contextlib.suppress(EOFError):
                    done |= reader.recv()
        finally:
            for worker, reader in running:
                reader.close()
                worker.terminate()  # its end, which takes milliseconds, is not waited for
    return [done[number] if number in done else function(item) for number, item in enumerate(items)]


def _file_in_memory() -> IO[bytes]:
    """A file without a name; in the folder of temporary files, which may be full, only where it has to be."""
    try:
        return os.fdopen(os.memfd_create("queue"), "w+b")
    except AttributeError:  # of Linux alone
        return tempfile.TemporaryFile()


def _take(queue: int, function: Callable[[Item], Result], items: Sequence[Item]) -> dict[int, Result]:
    """Results of items that no other process takes, until there are none left or one of them fails."""
    done = {}
    try:
        while number := os.read(queue, NUMBER_BYTES):
            item = int.from_bytes(number)
            done[item] = function(items[item])
    except Exception:  # raised when it is computed again
        os.lseek(queue, 0, os.SEEK_END)
    return done


def _work(take: Callable[[], dict[int, Result]], reader: Connection, writer: Connection) -> None:
    reader.close()  # else this process would not notice that the other has ended
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the other process ends this one
    warnings.simplefilter("ignore")  # a handler may wait for a lock that was held when this process began
    with contextlib.suppress(BrokenPipeError):
        writer.send(take())
