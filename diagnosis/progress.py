"""Shows on stderr which step is running, if it takes more than two seconds."""

from __future__ import annotations

import sys
import threading
import time
from typing import TextIO

__all__ = ["Progress"]

QUIET_SECONDS = 2.0
"""From the beginning of a step to its first line."""
LINE_INTERVAL_SECONDS = 10.0
"""Between two lines about one step, in a log."""
TICK_SECONDS = 0.1
ERASE_LINE = "\r\x1b[K"


class Progress:
    """One line that changes on a terminal; elsewhere, as in a log, a line now and then.

    Call it with the name of each step as it begins.

    Parameters
    ----------
    stream
        Where to write. Default: stderr.
    """

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = sys.stderr if stream is None else stream
        self._terminal = self._stream.isatty()
        self._lock = threading.Lock()
        self._step = self._detail = self._shown = ""
        self._began = self._last_line = time.monotonic()
        self._ended = threading.Event()
        threading.Thread(target=self._watch, daemon=True).start()

    def __call__(self, step: str, detail: str = "") -> None:
        """Begin a step, or say how far it is: the same `step` with another `detail`."""
        with self._lock:
            if step != self._step:
                self._began, self._last_line = time.monotonic(), 0.0
            self._step, self._detail = step, detail

    def pause(self) -> None:
        """Make room for another line."""
        with self._lock:
            if self._terminal and self._shown:
                self._stream.write(ERASE_LINE)
                self._stream.flush()
            self._shown = ""

    def end(self) -> None:
        """Write no more."""
        self._ended.set()
        self.pause()

    def _watch(self) -> None:
        while not self._ended.wait(TICK_SECONDS):
            with self._lock:
                self._show(time.monotonic())

    def _show(self, now: float) -> None:
        if not self._step or now - self._began < QUIET_SECONDS or self._ended.is_set():
            return
        line = f"… {self._step}{': ' if self._detail else ''}{self._detail}"
        if self._terminal:
            line += f" ({now - self._began:.0f} s)"
        elif now - self._last_line < LINE_INTERVAL_SECONDS:
            return
        if line != self._shown:
            self._stream.write(f"{ERASE_LINE}{line}" if self._terminal else f"{line}\n")
            self._stream.flush()
            self._shown, self._last_line = line, now
