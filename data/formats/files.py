"""Text files, read with clear errors and written so that nothing half-written looks finished."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from data.records import InputError

__all__ = ["decode", "read_bytes", "read_text", "replacing", "write_text", "write_texts"]


def read_bytes(path: Path, what: str) -> bytes:
    """All bytes of a file.

    Parameters
    ----------
    path
        The file.
    what
        What it should hold, for the error message.

    Raises
    ------
    InputError
        The file is absent, a folder, or cannot be read.
    """
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise InputError(path, "no such file", what) from None
    except OSError as error:
        raise InputError(path, error.strerror or "an unreadable file", what) from None


def decode(path: Path, content: bytes) -> str:
    r"""The UTF-8 text of `content`, without a byte order mark; an error names the line of `path`.

    Examples
    --------
    >>> decode(Path("train.txt"), b"\xef\xbb\xbf000012\n")
    '000012\n'
    >>> decode(Path("train.txt"), b"000012\n\xff\n")
    Traceback (most recent call last):
    ...
    data.records.InputError: train.txt:2: found a byte that is not UTF-8 (0xff); expected a text file in UTF-8
    """
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        found = f"a byte that is not UTF-8 (0x{content[error.start]:02x})"
        raise InputError(f"{path}:{line}", found, "a text file in UTF-8") from None
    return text.removeprefix("\ufeff")


def read_text(path: Path, what: str) -> str:
    """The text of a UTF-8 file; see :func:`read_bytes` and :func:`decode`."""
    return decode(path, read_bytes(path, what))


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Another name beside `path` to write to; it becomes `path` when the block ends without an error.

    Raises
    ------
    InputError
        The folder is absent or not writable.

    Examples
    --------
    >>> folder = getfixture("tmp_path")
    >>> with replacing(folder / "table.csv") as part:
    ...     size = part.write_text("a,b")
    >>> [file.name for file in folder.iterdir()]
    ['table.csv']
    """
    part = _part(path)
    try:
        yield part
        part.replace(path)
    except OSError as error:
        raise InputError(path, error.strerror or str(error), "a place to write to") from None
    finally:
        part.unlink(missing_ok=True)


def _part(path: Path) -> Path:
    # In the same folder, because a rename is atomic only within one file system.
    return path.with_name(f".{path.name}.{os.getpid()}.part")


def write_text(path: Path, text: str) -> None:
    """Write a UTF-8 file in one step; see :func:`write_texts`."""
    write_texts({path: text})


def write_texts(texts: Mapping[Path, str]) -> None:
    """Write UTF-8 files: whoever looks sees the old content or the new, never a part.

    All files are written under other names first and renamed when the last one is complete.

    Parameters
    ----------
    texts
        The text of each file.

    Raises
    ------
    InputError
        A folder is absent or not writable.
    """
    parts = {path: _part(path) for path in texts}
    try:
        for path, part in parts.items():
            with part.open("w", encoding="utf-8", newline="\n") as file:
                file.write(texts[path])
        for path, part in parts.items():
            part.replace(path)
    except OSError as error:
        where = error.filename or next(iter(texts))  # a full disk has no file name
        raise InputError(where, error.strerror or "an error", "a folder to write to") from None
    finally:
        for part in parts.values():
            part.unlink(missing_ok=True)
