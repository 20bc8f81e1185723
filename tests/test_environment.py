"""pyproject.toml, environment.yml and the two lock files agree, and hold for any machine."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).resolve().parent.parent
LOCK = "requirements.lock"
REFERENCE_LOCK = "requirements-reference.lock"
LOCKED_EXTRAS = ("train", "report", "cluster", "dev")
PYTHONS = ("3.11", "3.12", "3.13", "3.14")
MALICIOUS = ("2.6.2", "2.6.3")


class Pin(NamedTuple):
    """One entry of a lock file."""

    requirement: Requirement
    version: str
    hashes: tuple[str, ...]


@cache
def project() -> dict[str, Any]:
    """The `project` table of pyproject.toml."""
    table: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return table


def declared(*extras: str, base: bool = True) -> Iterator[Requirement]:
    """The dependencies with these extras; the package's own extras are followed."""
    lines = list(project()["dependencies"]) if base else []
    for extra in extras:
        lines += project()["optional-dependencies"][extra]
    for requirement in map(Requirement, lines):
        if requirement.name == project()["name"]:
            yield from declared(*requirement.extras, base=False)
        else:
            yield requirement


@cache
def pins(file: str) -> dict[str, list[Pin]]:
    """The entries of a lock file by canonical name: one package can have several, for different Pythons."""
    text = (ROOT / file).read_text(encoding="utf-8").replace("\\\n", " ")
    found: dict[str, list[Pin]] = {}
    for line in filter(None, (line.split(" #")[0].strip() for line in text.splitlines())):
        if line.startswith("#"):
            continue
        requirement = Requirement(line.split("--hash=")[0].strip())
        exact = re.fullmatch(r"==([^,*]+)", str(requirement.specifier))
        assert exact, f"{file}: {line.split()[0]} is not pinned to one version"
        pin = Pin(requirement, exact[1], tuple(re.findall(r"--hash=(\S+)", line)))
        found.setdefault(canonicalize_name(requirement.name), []).append(pin)
    return found


def selected(file: str, name: str, python: str, platform: str = "linux") -> list[Pin]:
    """The entries for `name` that apply under one Python version on one platform."""
    system = {"linux": "Linux", "darwin": "Darwin", "win32": "Windows"}[platform]
    marked = {
        "python_version": python,
        "python_full_version": f"{python}.0",
        "sys_platform": platform,
        "platform_system": system,
        "platform_machine": "x86_64",
        "implementation_name": "cpython",
        "platform_python_implementation": "CPython",
    }
    return [
        pin
        for pin in pins(file).get(canonicalize_name(name), [])
        if pin.requirement.marker is None or pin.requirement.marker.evaluate(marked)
    ]


def key(requirement: Requirement) -> tuple[str, frozenset[str], str]:
    """What makes two requirements the same: name, extras and range, in whatever spelling."""
    return canonicalize_name(requirement.name), frozenset(requirement.extras), str(requirement.specifier)


def test_environment_yml_equals_pyproject() -> None:
    environment = yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))
    *conda, pip = environment["dependencies"]
    listed = [key(Requirement(line)) for line in pip["pip"]]
    assert sorted(listed, key=str) == sorted(set(map(key, declared(*LOCKED_EXTRAS))), key=str)
    assert environment["name"] == project()["name"]
    assert environment["channels"] == ["conda-forge"]
    assert conda == [f"python{project()['requires-python']}", "pip"]


@pytest.mark.parametrize("python", PYTHONS)
@pytest.mark.parametrize(
    ("file", "requirements"),
    [(LOCK, list(declared(*LOCKED_EXTRAS))), (REFERENCE_LOCK, list(declared("reference", base=False)))],
    ids=[LOCK, REFERENCE_LOCK],
)
def test_every_dependency_is_locked_within_its_range(
    file: str, requirements: list[Requirement], python: str
) -> None:
    for requirement in requirements:
        chosen = selected(file, requirement.name, python)
        assert len(chosen) == 1, f"{requirement}: {len(chosen)} entries in {file} for Python {python}"
        assert requirement.specifier.contains(chosen[0].version), (requirement, chosen[0].version)


@pytest.mark.parametrize("file", [LOCK, REFERENCE_LOCK])
def test_every_entry_has_hashes(file: str) -> None:
    assert pins(file)
    for pin in (pin for entries in pins(file).values() for pin in entries):
        assert pin.hashes, f"{pin.requirement} has no hash"
        assert all(re.fullmatch(r"sha256:[0-9a-f]{64}", digest) for digest in pin.hashes), pin.requirement


@pytest.mark.parametrize("file", [LOCK, REFERENCE_LOCK, "environment.yml"])
def test_no_address_and_no_local_path(file: str) -> None:
    text = (ROOT / file).read_text(encoding="utf-8")
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    address = re.compile(r"://|(?<!\w)-e\b|--(?:extra-)?index|--find-links|\s@\s|(?:^|[\s'\"])[./~]+/|\w:\\")
    assert [line for line in lines if address.search(line)] == []
    # Comments may name pyproject.toml and the lock, nothing else of this or any machine.
    assert [line for line in text.splitlines() if re.search(r"://|(?:^|\s)[/~]", line)] == []


@pytest.mark.parametrize("python", PYTHONS)
@pytest.mark.parametrize("platform", ["linux", "darwin"])
def test_torch_and_torchvision_are_a_pair(python: str, platform: str) -> None:
    (torch,) = selected(LOCK, "torch", python, platform)
    (torchvision,) = selected(LOCK, "torchvision", python, platform)
    core, vision = Version(torch.version), Version(torchvision.version)
    assert core.local is None
    assert vision.local is None
    assert (core.major, vision.major) == (2, 0)
    assert vision.minor == core.minor + 15


def test_torchvision_itself_asks_for_the_locked_torch() -> None:
    (torch,) = selected(LOCK, "torch", "3.11")
    (torchvision,) = selected(LOCK, "torchvision", "3.11")
    try:
        distribution = metadata.distribution("torchvision")
    except metadata.PackageNotFoundError:
        pytest.skip("torchvision is not installed")
    if Version(distribution.version).public != torchvision.version:
        pytest.skip(f"torchvision {distribution.version} is installed, {torchvision.version} is locked")
    wanted = [Requirement(line) for line in distribution.requires or () if Requirement(line).name == "torch"]
    assert wanted
    assert all(requirement.specifier.contains(torch.version) for requirement in wanted)


@pytest.mark.parametrize("version", MALICIOUS)
def test_malicious_lightning_is_shut_out(version: str) -> None:
    (lightning,) = (requirement for requirement in declared("train") if requirement.name == "lightning")
    assert not lightning.specifier.contains(version)
    assert f"!={version}" in str(lightning.specifier)
    for name in ("lightning", "pytorch-lightning"):
        assert version not in {pin.version for pin in pins(LOCK)[name]}


def test_one_package_provides_cv2() -> None:
    # opencv-python and opencv-python-headless own the same files, and the former needs libGL.
    names = {name for file in (LOCK, REFERENCE_LOCK) for name in pins(file) if name.startswith("opencv")}
    assert names == {"opencv-python-headless"}


def test_reference_lock_only_adds() -> None:
    # It is installed on top, without dependencies: a package in both would be replaced.
    assert not set(pins(LOCK)) & set(pins(REFERENCE_LOCK))


def test_base_dependencies_are_light() -> None:
    heavy = {canonicalize_name(requirement.name) for requirement in declared("train", base=False)}
    assert not heavy & {canonicalize_name(requirement.name) for requirement in declared()}
