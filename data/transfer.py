"""Fetching large files: resumable, checked, with progress. ``urllib`` does all that is needed for it."""

from __future__ import annotations

import hashlib
import http.client
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeAlias

from data.records import InputError

__all__ = ["ProgressLine", "Report", "check_digest", "fetch"]

TIMEOUT = 30.0  # seconds without a byte after which a transfer counts as broken off
TRIES = 6  # in a row that bring nothing
PAUSE = 1.0  # seconds before the second of them; doubled before each further one
CHUNK = 1 << 20  # bytes read at a time

Report: TypeAlias = Callable[[str, int, int], None]
"""(what is being done, how much of it is done, out of how much), called often."""


class _BrokenOff(Exception):  # noqa: N818
    """The transfer stopped before the end; another try may help."""


def _request(url: str, start: int) -> http.client.HTTPResponse:
    request = urllib.request.Request(url, headers={"Range": f"bytes={start}-"} if start else {})
    try:
        response: http.client.HTTPResponse = urllib.request.urlopen(request, timeout=TIMEOUT)
    except urllib.error.HTTPError as error:
        answer = f"the server's answer {error.code} {error.reason}"
        if error.code >= 500 or error.code in (408, 429):
            raise _BrokenOff(answer) from None
        if error.code == 416 and start:  # its file is shorter than our part of it: see what it has
            return _request(url, 0)
        raise InputError(url, answer, "the file: another source may have it") from None
    except (http.client.HTTPException, OSError) as error:  # URLError is an OSError
        raise _BrokenOff(str(getattr(error, "reason", error)) or type(error).__name__) from None
    return response


def _blocks(response: http.client.HTTPResponse) -> Iterator[bytes]:
    try:
        while block := response.read(CHUNK):
            yield block
    except (http.client.HTTPException, OSError) as error:
        raise _BrokenOff(str(error) or type(error).__name__) from None


def _size(file: Path) -> int:
    return file.stat().st_size if file.exists() else 0


def _receive(url: str, part: Path, size: int, report: Report) -> None:
    """Go on with `part` until it has `size` bytes, or raise _BrokenOff."""
    done = _size(part)
    if done == size and part.exists():
        return
    with _request(url, done if done < size else 0) as response:
        resumed = (response.headers.get("Content-Range") or "").startswith(f"bytes {done}-")
        if not (response.status == 206 and resumed):
            done = 0  # a server that knows no ranges sends the whole file
        length = response.headers.get("Content-Length")
        if length is not None and done + int(length) != size:
            raise InputError(url, f"a file of {done + int(length)} bytes", f"the official one's {size}")
        with part.open("ab" if done else "wb") as file:
            report("fetching", done, size)
            for block in _blocks(response):
                file.write(block)
                done += len(block)
                report("fetching", min(done, size), size)
                if done > size:
                    break
    if done > size:
        part.unlink()
        raise InputError(url, f"a file of more than {size} bytes", f"the official one's {size}")
    if done < size:
        raise _BrokenOff(f"an end after {done} bytes")


def check_digest(file: Path, sha256: str, report: Report, remedy: str) -> None:
    """Raise an InputError that ends with `remedy` if the file's SHA-256 is another."""
    digest, done, size = hashlib.sha256(), 0, _size(file)
    with file.open("rb") as stream:
        while block := stream.read(CHUNK):
            digest.update(block)
            done += len(block)
            report("checking", done, size)
    if digest.hexdigest() != sha256:
        raise InputError(file, f"SHA-256 {digest.hexdigest()}", f"{sha256}: {remedy}")


def fetch(url: str, file: Path, size: int, sha256: str, report: Report) -> None:
    """Fetch a file and check it. What has arrived lies in ``FILE.part``; a later call goes on with it.

    Parameters
    ----------
    url
        Address, http or https.
    file
        Where to; it appears under this name when it is whole and right.
    size
        In bytes.
    sha256
        Hexadecimal.
    report
        Told the progress.

    Raises
    ------
    InputError
        No such file there; one of another size; no connection for several tries (the part stays, for another
        run); a wrong checksum (the part goes: to go on with it would not mend it).
    """
    part = file.with_name(file.name + ".part")
    failures = 0
    while True:
        before = _size(part)
        try:
            _receive(url, part, size, report)
            break
        except _BrokenOff as error:
            failures = 1 if _size(part) > before else failures + 1
            if failures >= TRIES:
                raise InputError(
                    url,
                    f"no way to fetch it ({error})",
                    "a server that answers: run it again to go on where it stopped, or name another source",
                ) from None
            pause = PAUSE * 2 ** (failures - 1)
            report(f"waiting {pause:g} s after {error}:", _size(part), size)
            time.sleep(pause)
    try:
        check_digest(part, sha256, report, f"what {url} sent is not the official file, and was removed")
    except InputError:
        part.unlink()
        raise
    part.replace(file)


class ProgressLine:
    """A :data:`Report` on one line of the terminal, with rate and time left; in a log now and then a line.

    Parameters
    ----------
    name
        What the line begins with.
    """

    def __init__(self, name: str) -> None:
        self.name, self.doing = name, ""
        self.terminal = sys.stderr.isatty()
        self.began = self.shown = 0.0
        self.first = 0

    def __call__(self, doing: str, done: int, total: int) -> None:
        """Say how far it is, unless that was said a moment ago."""
        now = time.monotonic()
        if doing != self.doing or done < self.first:
            self.doing, self.began, self.first, self.shown = doing, now, done, 0.0
        if done < total and now - self.shown < (0.2 if self.terminal else 10):
            return
        self.shown = now
        text = f"{self.name}: {doing} {done / max(total, 1):4.0%}"
        if done > self.first and now > self.began:
            rate = (done - self.first) / (now - self.began)  # of this run: a resumed part came from another
            left = round((total - done) / rate)
            speed = f"{rate:,.0f} files/s" if doing == "unpacking" else f"{rate / 1e6:.1f} MB/s"
            text += f", {speed}, {left // 60}:{left % 60:02} left"
        start, end = ("\r", "" if done < total else "\n") if self.terminal else ("", "\n")
        print(f"{start}{text:<78}", end=end, file=sys.stderr, flush=True)
