"""A user's own module of the same name as one of ours is named, not stumbled over."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize(
    ("foreign", "words"),
    [
        ("data.py", ("-m", "diagnosis", "--help")),
        ("data/__init__.py", ("-c", "import diagnosis")),
        ("data.py", ("-c", "import training.run")),
        ("detector.py", ("-c", "import training.run")),
    ],
)
def test_kind_a_foreign_module_that_comes_first_is_named(tmp_path, foreign, words):
    file = tmp_path / foreign
    file.parent.mkdir(exist_ok=True)
    file.write_text("")
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    result = subprocess.run(
        [sys.executable, *words], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    name = file.relative_to(tmp_path).parts[0].removesuffix(".py")
    assert result.returncode == 1
    last = result.stderr.splitlines()[-1]
    assert f"import {name}: found {file}; expected {ROOT / name}; rename or move" in last
    if "-m" in words:
        assert len(result.stderr.splitlines()) == 1


@pytest.mark.parametrize("path", [{"PYTHONPATH": str(ROOT)}, {}])
def test_kind_a_folder_of_the_same_name_is_no_package(tmp_path, path):
    """A folder of photographs called ``data`` is not imported, nor a report called ``diagnosis``."""
    for name in ("data", "diagnosis"):
        (tmp_path / name).mkdir()
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"} | path
    command = [sys.executable, "-m", "diagnosis", "--help"]  # without a path, the installed copy
    subprocess.run(command, cwd=tmp_path, env=environment, check=True, stdout=subprocess.DEVNULL)
