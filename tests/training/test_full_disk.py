from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from data.formats.files import write_text
from data.records import InputError
from training.command import exit_code


def full(*arguments: object, **options: object) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_full_disk_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code(full) == 1
    told = capsys.readouterr().err
    assert told.count("\n") == 1
    assert told.startswith("error: No space left on device; with room, --resume goes on")


def test_other_errors_of_the_system_are_not_taken_for_it() -> None:
    def broken() -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with pytest.raises(OSError, match="output error"):
        exit_code(broken)


def test_what_did_not_fit_is_named_and_the_old_file_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "scores.json"
    file.write_text("old")
    with monkeypatch.context() as patched:
        patched.setattr(Path, "open", full)  # its error has no file name, as that of a write
        with pytest.raises(InputError, match=r"scores\.json: found No space left on device"):
            write_text(file, "new")
    assert file.read_text() == "old"
