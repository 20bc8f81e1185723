"""Says on stderr what takes long: nothing of what is done within two seconds."""

from __future__ import annotations

import sys
import threading
import time
from typing import TextIO

__all__ = ["Progress"]

PATIENCE = 2.0  # seconds of a step without a word
SPARSE = 10.0  # seconds between two lines about one step, where lines stay
TICK = 0.1
ERASE = "\r\x1b[K"


class Progress:
    """One line that changes on a terminal; elsewhere, as in a log, a line now and then.

    A step that takes less than two seconds is not mentioned. Tell what is done next by calling it.

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
        self._began = self._told = time.monotonic()
        self._over = threading.Event()
        threading.Thread(target=self._watch, daemon=True).start()

    def __call__(self, step: str, detail: str = "") -> None:
        """Begin a step, or tell how far it is: the same `step` with another `detail`."""
        with self._lock:
            if step != self._step:
                self._began, self._told = time.monotonic(), 0.0
            self._step, self._detail = step, detail

    def pause(self) -> None:
        """Make room for another line."""
        with self._lock:
            if self._terminal and self._shown:
                self._stream.write(ERASE)
                self._stream.flush()
            self._shown = ""

    def end(self) -> None:
        """Say no more."""
        self._over.set()
        self.pause()

    def _watch(self) -> None:
        while not self._over.wait(TICK):
            with self._lock:
                self._tell(time.monotonic())

    def _tell(self, now: float) -> None:
        if not self._step or now - self._began < PATIENCE or self._over.is_set():
            return
        line = f"… {self._step}{': ' if self._detail else ''}{self._detail}"
        if self._terminal:
            line += f" ({now - self._began:.0f} s)"
        elif now - self._told < SPARSE:
            return
        if line != self._shown:
            self._stream.write(f"{ERASE}{line}" if self._terminal else f"{line}\n")
            self._stream.flush()
            self._shown, self._told = line, now
