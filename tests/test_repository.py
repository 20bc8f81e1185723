"""House rules that no linter knows: what an import pulls in, what a file may say, what must agree."""

import os
import re
import shutil
import signal
import stat
import subprocess
import sys
import tomllib
from importlib import import_module
from pathlib import Path

import pytest
import yaml

import spatial_dependency

ROOT = Path(__file__).resolve().parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
PACKAGES = {"data", "detector", "diagnosis", "training"}
# What nobody should wait for, or have to install, who only reads files or error types.
TRAINING = {"torch", "torchvision", "lightning", "albumentations", "cv2"}
HEAVY = TRAINING | {"scipy", "pandas", "pyarrow", "matplotlib"}


def output_of(*command, environment=None):
    streams = {"stdin": subprocess.DEVNULL, "capture_output": True, "text": True}
    done = subprocess.run(command, cwd=ROOT, env=environment, timeout=120, **streams)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize(
    ("module", "foreign"),
    [
        *[(light, HEAVY | {"detector", "training"}) for light in ("data", "data.records", "data.formats")],
        ("diagnosis", HEAVY | {"detector", "training"}),
        ("detector.registry", HEAVY),
        ("spatial_dependency", HEAVY | PACKAGES | {"numpy", "argparse"}),
        ("detector", (HEAVY - {"torch", "torchvision", "scipy"}) | {"data", "diagnosis", "training"}),
    ],
)
def test_an_import_loads_nothing_that_it_does_not_need(module, foreign):
    code = "import importlib, sys; importlib.import_module(sys.argv[1]); print(*sys.modules)"
    loaded = {name.split(".")[0] for name in output_of(sys.executable, "-c", code, module).split()}
    assert module.split(".")[0] in loaded
    assert not loaded & foreign


def test_diagnosis_runs_where_training_is_not_installed():
    code = f"""
import runpy, sys
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {TRAINING!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Absent())
sys.argv = ["diagnosis", "--help"]
runpy.run_module("diagnosis", run_name="__main__")
"""
    assert "--detections" in output_of(sys.executable, "-c", code)


def test_every_package_is_linted_typed_tested_and_shipped():
    assert {path.parent.name for path in ROOT.glob("*/__init__.py")} == PACKAGES
    tool = PROJECT["tool"]
    assert set(tool["importlinter"]["root_packages"]) == PACKAGES
    for listed in (
        tool["mypy"]["files"],
        tool["pytest"]["ini_options"]["testpaths"],
        tool["setuptools"]["packages"]["find"]["include"],
    ):
        assert set(listed) >= PACKAGES
    for package in PACKAGES:
        assert (ROOT / package / "py.typed").is_file()
        assert all((path.parent / "__init__.py").is_file() for path in (ROOT / package).rglob("*.py"))


def test_files_to_mutate_exist():
    files = PROJECT["tool"]["mutmut"]["only_mutate"]
    assert files == sorted(files)
    assert [file for file in files if not (ROOT / file).is_file()] == []


def test_files_name_no_machine_and_no_registry_and_end_with_one_newline():
    if shutil.which("git") is None or not (ROOT / ".git").exists():
        pytest.skip("not a git checkout")
    # Written in pieces, so that this file does not find itself.
    pieces = (
        "/" + "work/",
        "/" + "root/",
        "file:" + "///",
        "py" + "pi.org/simple",
        "files.python" + "hosted",
    )
    forbidden = re.compile("|".join(rf"(?<![\w.-]){re.escape(piece)}" for piece in pieces))
    names = output_of("git", "ls-files", "-z", "--cached", "--others", "--exclude-standard")
    faults = []
    for path in (ROOT / name for name in names.split("\0") if name and (ROOT / name).is_file()):
        try:
            text = path.read_bytes().decode()
        except UnicodeDecodeError:
            continue  # an image or an archive
        faults += [f"{path.relative_to(ROOT)}: {match[0]}" for match in forbidden.finditer(text)]
        lines = path.suffix in {".py", ".toml", ".md", ".yml", ".yaml", ".cff", ".lock"} and text
        if lines and (not text.endswith("\n") or text.endswith("\n\n") or "\r" in text):
            faults.append(f"{path.relative_to(ROOT)}: its lines' ends")
    assert faults == []


def test_name_version_licence_and_papers_agree():
    project, text = PROJECT["project"], (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    citation, changes = yaml.safe_load(text), (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert [citation[key] for key in ("version", "title", "license")] == [
        project[key] for key in ("version", "name", "license")
    ]
    assert re.findall(r"^## \[([^]]+)\]", changes, re.MULTILINE)[:2] == ["Unreleased", project["version"]]
    assert [paper["authors"][0]["family-names"] for paper in citation["references"]] == ["Fan", "Hoiem"]
    assert "2002.01827" in text
    assert "10.1007/978-3-642-33712-3_25" in text


def test_ci_script_is_executable_and_parses():
    script = ROOT / ".ci" / "run"
    assert os.name != "posix" or script.stat().st_mode & stat.S_IXUSR
    output_of("bash", "-n", str(script))


@pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")
def test_makefile_explains_and_wires_its_commands():
    # `make test` runs this test: its own flags must not reach the inner make.
    outer = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))}

    def make(*words):
        return output_of("make", "--no-print-directory", *words, environment=outer)

    phony = re.search(r"^\.PHONY: (.*)$", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    assert sorted(re.findall(r"^make ([\w-]+)", make("help"), re.MULTILINE)) == sorted(phony[1].split())
    assert "-m training.demo" in make("--dry-run", "demo")
    assert "OMP_NUM_THREADS=1" in make("--dry-run", "test")
    assert (ROOT / "training" / "demo.py").is_file()


def test_every_subcommand_is_listed_and_shows_its_help(capsys):
    assert PROJECT["project"]["scripts"] == {"spatial": "spatial_dependency:main"}
    assert spatial_dependency.main([]) == 0
    listed = capsys.readouterr().out
    for name, command in spatial_dependency.COMMANDS.items():
        assert re.search(rf"^  {name} +{re.escape(command.purpose)}$", listed, re.MULTILINE)
        with pytest.raises(SystemExit, match="0"):
            spatial_dependency.main([name, "--help"])
        usage = capsys.readouterr().out
        assert usage.startswith("usage: ")
        assert usage.split("[", 1)[0].split() == ["usage:", "spatial", name]
        with pytest.raises(SystemExit, match="0"):
            import_module(command.module).main(["--help"])
        alone = capsys.readouterr().out.split("[", 1)[0].removeprefix("usage:")
        assert " ".join(alone.split()).endswith(command.alone)
    with pytest.raises(SystemExit, match="0"):
        spatial_dependency.main(["help", "download"])
    assert spatial_dependency.main(["--version"]) == 0


@pytest.mark.parametrize(
    ("word", "meant"),
    [
        ("diagnos", "; did you mean 'diagnose'?"),
        ("Train", "; did you mean 'train'?"),
        ("--open", ""),
        ("", ""),
    ],
)
def test_an_unknown_subcommand_is_one_line(word, meant, capsys):
    assert spatial_dependency.main([word, "--help"]) == 2
    said = capsys.readouterr()
    known = ", ".join(spatial_dependency.COMMANDS)
    assert said.err == f"error: {word or repr('')}: found no such command; expected {known}{meant}\n"
    assert said.out == ""


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1"])
@pytest.mark.parametrize("ignored", [False, True])
def test_a_signal_while_a_command_is_imported_is_one_line(tmp_path, name, ignored):
    """Half of the first second: before, a traceback or no word. Under nohup it goes on."""
    send = f"signal.raise_signal(signal.{name})"
    (tmp_path / "slow.py").write_text(f"import signal\n{send}\nmain = lambda words: print('begun')\n")
    before = f"signal.signal(signal.{name}, signal.{'SIG_IGN' if ignored else 'SIG_DFL'})"  # whatever ours is
    code = f"import signal; from spatial_dependency import run_main; {before}\nrun_main('slow')"
    path = os.pathsep.join([str(ROOT), str(tmp_path)])
    done = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True
    )
    if ignored:
        assert (done.returncode, done.stdout, done.stderr) == (0, "begun\n", "")
    else:
        expected = (128 + getattr(signal, name), "", f"stopped by {name}; nothing was begun\n")
        assert (done.returncode, done.stdout, done.stderr) == expected


def test_a_subcommand_without_its_packages_names_the_extra(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "training.tasks.detection", None)  # raises as an absent package does
    monkeypatch.setattr(spatial_dependency, "OWN", ())
    for run, command in (
        (lambda: spatial_dependency.main(["train"]), "spatial train"),
        (lambda: spatial_dependency.run_main("training.tasks.detection"), "train_detect.py"),
    ):
        code, said = run(), capsys.readouterr().err
        assert (code, said.count("\n")) == (2, 1)
        assert said.startswith(f"error: {command}: found no package training.tasks.detection; expected")
        assert "pip install 'spatial-dependency[train]'" in said
    monkeypatch.undo()
    monkeypatch.setitem(sys.modules, "training.tasks.detection", None)
    with pytest.raises(ModuleNotFoundError):  # a fault of ours: not to be hidden
        spatial_dependency.main(["train"])
