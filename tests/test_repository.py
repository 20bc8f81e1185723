"""House rules that no linter knows: what an import pulls in, what a file may say, what must agree."""

from __future__ import annotations

import os
import re
import shutil
import stat
import subprocess
import sys
import tomllib
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("data", "detector", "diagnosis", "training")

HEAVY = (
    "torch", "torchvision", "lightning", "albumentations", "cv2", "scipy", "pandas", "pyarrow", "matplotlib",
)  # fmt: skip
"""What nobody should wait for, or have to install, who only reads files or error types."""


@cache
def settings() -> dict[str, Any]:
    """All of pyproject.toml."""
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def in_new_python(code: str, *arguments: str) -> str:
    """What `code` prints in an interpreter that has imported nothing yet, run from the repository's root."""
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def loaded_by(module: str) -> set[str]:
    """Top-level names of all modules that importing `module` loads."""
    code = "import importlib, sys; importlib.import_module(sys.argv[1]); print(*sys.modules)"
    return {name.split(".")[0] for name in in_new_python(code, module).split()}


@pytest.mark.parametrize("module", ["data", "data.records", "data.formats", "diagnosis"])
def test_light_packages_import_nothing_heavy(module: str) -> None:
    assert not loaded_by(module) & {*HEAVY, "detector", "training"}


def test_detector_imports_neither_files_nor_training() -> None:
    foreign = {"data", "diagnosis", "training", "lightning", "albumentations", "cv2", "pandas", "matplotlib"}
    assert not (loaded_by("detector.yolo") | loaded_by("detector.profiling")) & foreign


def test_the_tables_of_networks_and_methods_need_no_torch() -> None:
    assert not loaded_by("detector.tables") & set(HEAVY)


def test_diagnosis_runs_where_training_is_not_installed() -> None:
    code = f"""
import runpy, sys
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {set(HEAVY[:5])!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Absent())
sys.argv = ["diagnosis", "--help"]
runpy.run_module("diagnosis", run_name="__main__")
"""
    assert "--detections" in in_new_python(code)


def test_every_package_is_linted_typed_tested_and_shipped() -> None:
    assert {path.parent.name for path in ROOT.glob("*/__init__.py")} == set(PACKAGES)
    tool = settings()["tool"]
    assert set(PACKAGES) == set(tool["importlinter"]["root_packages"])
    assert set(PACKAGES) <= set(tool["mypy"]["files"])
    assert set(PACKAGES) <= set(tool["pytest"]["ini_options"]["testpaths"])
    assert set(PACKAGES) <= set(tool["setuptools"]["packages"]["find"]["include"])
    for package in PACKAGES:
        assert (ROOT / package / "py.typed").is_file()
        folders = {path.parent for path in (ROOT / package).rglob("*.py")}
        assert all((folder / "__init__.py").is_file() for folder in folders)


def repository_files() -> list[Path]:
    """The files that git tracks, or would once they are added."""
    if shutil.which("git") is None or not (ROOT / ".git").exists():
        pytest.skip("not a git checkout")
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    return [path for path in (ROOT / name for name in listed.split("\0") if name) if path.is_file()]


def test_no_file_names_this_machine_or_a_registry() -> None:
    # Written in pieces, so that this file does not find itself.
    pieces = [
        "/" + "work/",
        "/" + "root/",
        "file:" + "///",
        "py" + "pi.org/simple",
        "files.python" + "hosted",
    ]
    forbidden = re.compile("|".join(rf"(?<![\w.-]){re.escape(piece)}" for piece in pieces))
    found = []
    for path in repository_files():
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue  # an image or an archive
        found += [f"{path.relative_to(ROOT)}: {match[0]}" for match in forbidden.finditer(text)]
    assert found == []


def test_text_files_end_with_one_newline() -> None:
    wrong = []
    for path in repository_files():
        if path.suffix in {".py", ".toml", ".md", ".yml", ".yaml", ".cff", ".lock"} and path.stat().st_size:
            text = path.read_bytes()
            if not text.endswith(b"\n") or text.endswith(b"\n\n") or b"\r" in text:
                wrong.append(str(path.relative_to(ROOT)))
    assert wrong == []


def test_version_and_name_agree_everywhere() -> None:
    project = settings()["project"]
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["version"] == project["version"]
    assert citation["title"] == project["name"]
    assert citation["license"] == project["license"]
    headings = re.findall(
        r"^## \[([^]]+)\]", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE
    )
    assert headings[:2] == ["Unreleased", project["version"]]


def test_citation_names_the_papers() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    first_authors = [reference["authors"][0]["family-names"] for reference in citation["references"]]
    assert first_authors == ["Fan", "Hoiem"]
    text = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    assert "2002.01827" in text
    assert "10.1007/978-3-642-33712-3_25" in text


def test_ci_script_is_executable_and_parses() -> None:
    script = ROOT / ".ci" / "run"
    if os.name == "posix":
        assert script.stat().st_mode & stat.S_IXUSR
    subprocess.run(["bash", "-n", str(script)], check=True)


@pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")
def test_makefile_explains_and_wires_its_commands() -> None:
    # `make test` runs this test: its own flags must not reach the inner make.
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))
    }

    def make(*arguments: str) -> str:
        command = ["make", "--no-print-directory", *arguments]
        done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True)
        return done.stdout

    phony = re.search(r"^\.PHONY: (.*)$", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    assert phony
    explained = re.findall(r"^make (\w+)", make("help"), re.MULTILINE)
    assert sorted(explained) == sorted(phony[1].split())
    assert "-m training.demo" in make("--dry-run", "demo")
    assert "OMP_NUM_THREADS=1" in make("--dry-run", "test")
    assert (ROOT / "training" / "demo.py").is_file()
