"""Freed memory kept for the next step, on a CPU."""

from __future__ import annotations

import ctypes
import sys

__all__ = ["keep_freed_memory"]

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # of glibc's malloc.h
_NEVER = 2**31 - 1
_LARGEST = 64 << 20
"""Bytes of a block that is kept; of larger ones, gaps between them would cost more memory than time."""


def keep_freed_memory() -> bool:
    """Let this process keep the memory of freed tensors for those of the next training step.

    The C library of Linux hands large blocks back to the system as soon as they are freed, and every step
    gets them anew, page by page, each filled with zeros. Where a network holds a few more large maps, as with
    shuffles in all of VGG-16's layers, that costs more than the shuffles themselves
    (``benchmarks/shuffle.py --hand-back``). Blocks of up to 64 MB are kept, and the process needs up to
    10 % more memory.

    Returns
    -------
    bool
        Whether the C library is one that can be told so.
    """
    if not sys.platform.startswith("linux"):
        return False
    tell = getattr(ctypes.CDLL(None), "mallopt", None)
    if tell is None:
        return False
    return bool(tell(_TRIM_THRESHOLD, _NEVER)) and bool(tell(_MMAP_THRESHOLD, _LARGEST))
