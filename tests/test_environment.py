"""pyproject.toml, environment.yml and the two lock files agree, and hold for any machine."""

import re
import tomllib
from functools import cache
from importlib import metadata
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).resolve().parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
LOCK, REFERENCE, DOCS = "requirements.lock", "requirements-reference.lock", "requirements-docs.lock"
LOCKED_EXTRAS = ("train", "report", "cluster", "dev")
PYTHONS = ("3.11", "3.12", "3.13", "3.14")
SYSTEMS = {"linux": "Linux", "darwin": "Darwin"}


def declared(*extras, base=True):
    """The dependencies with these extras; the package's own extras are followed."""
    lines = list(PROJECT["dependencies"]) if base else []
    for extra in extras:
        lines += PROJECT["optional-dependencies"][extra]
    for requirement in map(Requirement, lines):
        own = requirement.name == PROJECT["name"]
        yield from declared(*requirement.extras, base=False) if own else [requirement]


@cache
def pins(file):
    """By canonical name (requirement, version, hashes), one for each range of Pythons."""
    found = {}
    text = (ROOT / file).read_text(encoding="utf-8").replace("\\\n", " ")
    for line in (line.split(" #")[0].strip() for line in text.splitlines() if not line.startswith("#")):
        if line:
            requirement = Requirement(line.split("--hash=")[0].strip())
            exact = re.fullmatch(r"==([^,*]+)", str(requirement.specifier))
            assert exact, f"{file}: {line.split()[0]} is not pinned to one version"
            pin = (requirement, exact[1], re.findall(r"--hash=(\S+)", line))
            found.setdefault(canonicalize_name(requirement.name), []).append(pin)
    return found


def versions(file, name, python, platform="linux"):
    """Those that a lock file has for one Python version on one platform."""
    here = {
        **{"python_version": python, "python_full_version": f"{python}.0", "platform_machine": "x86_64"},
        **{"sys_platform": platform, "platform_system": SYSTEMS[platform]},
        **{"implementation_name": "cpython", "platform_python_implementation": "CPython"},
    }
    found = pins(file).get(canonicalize_name(name), [])
    return [version for pin, version, _ in found if pin.marker is None or pin.marker.evaluate(here)]


def test_environment_yml_equals_pyproject():
    def spelled(requirements):
        """Name, extras and range, in one spelling."""
        return {
            (canonicalize_name(one.name), *sorted(one.extras), str(one.specifier)) for one in requirements
        }

    environment = yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))
    *conda, pip = environment["dependencies"]
    assert len(pip["pip"]) == len(set(pip["pip"]))
    assert spelled(map(Requirement, pip["pip"])) == spelled(declared(*LOCKED_EXTRAS))
    assert environment["name"] == PROJECT["name"]
    assert environment["channels"] == ["conda-forge"]
    assert conda == [f"python{PROJECT['requires-python']}", "pip"]


@pytest.mark.parametrize("python", PYTHONS)
@pytest.mark.parametrize(
    ("file", "requirements"),
    [
        (LOCK, list(declared(*LOCKED_EXTRAS))),
        (REFERENCE, list(declared("reference", base=False))),
        (DOCS, list(declared("docs", base=False))),
    ],
    ids=[LOCK, REFERENCE, DOCS],
)
def test_every_dependency_is_locked_within_its_range(file, requirements, python):
    for requirement in requirements:
        (version,) = versions(file, requirement.name, python)
        assert requirement.specifier.contains(version), (requirement, version)


@pytest.mark.parametrize("file", [LOCK, REFERENCE, DOCS])
def test_every_entry_has_hashes(file):
    hashes = [pin[2] for entries in pins(file).values() for pin in entries]
    assert hashes
    assert all(some and all(re.fullmatch(r"sha256:[0-9a-f]{64}", one) for one in some) for some in hashes)


@pytest.mark.parametrize("file", [LOCK, REFERENCE, DOCS, "environment.yml"])
def test_no_address_and_no_local_path(file):
    lines = (ROOT / file).read_text(encoding="utf-8").splitlines()
    address = re.compile(r"://|(?<!\w)-e\b|--(?:extra-)?index|--find-links|\s@\s|(?:^|[\s'\"])[./~]+/|\w:\\")
    assert [line for line in lines if not line.lstrip().startswith("#") and address.search(line)] == []
    # Comments may name pyproject.toml and the lock, nothing else of this or any machine.
    assert [line for line in lines if re.search(r"://|(?:^|\s)[/~]", line)] == []


@pytest.mark.parametrize("python", PYTHONS)
@pytest.mark.parametrize("platform", SYSTEMS)
def test_torch_and_torchvision_are_a_pair(python, platform):
    (core,) = map(Version, versions(LOCK, "torch", python, platform))
    (vision,) = map(Version, versions(LOCK, "torchvision", python, platform))
    assert (core.local, vision.local, core.major, vision.major) == (None, None, 2, 0)
    assert vision.minor == core.minor + 15


def test_torchvision_itself_asks_for_the_locked_torch():
    (torch,), (torchvision,) = versions(LOCK, "torch", "3.11"), versions(LOCK, "torchvision", "3.11")
    distribution = metadata.distribution("torchvision")
    if Version(distribution.version).public != torchvision:
        pytest.skip(f"torchvision {distribution.version} is installed, {torchvision} is locked")
    wanted = [one for one in map(Requirement, distribution.requires) if one.name == "torch"]
    assert wanted
    assert all(requirement.specifier.contains(torch) for requirement in wanted)


@pytest.mark.parametrize("version", ["2.6.2", "2.6.3"])
def test_malicious_lightning_is_shut_out(version):
    (lightning,) = (requirement for requirement in declared("train") if requirement.name == "lightning")
    assert not lightning.specifier.contains(version)
    assert f"!={version}" in str(lightning.specifier)
    for name in ("lightning", "pytorch-lightning"):
        assert version not in {pin[1] for pin in pins(LOCK)[name]}


def test_packages_do_not_get_in_each_others_way():
    # opencv-python and opencv-python-headless own the same files, and the former needs libGL.
    assert {name for name in {*pins(LOCK), *pins(REFERENCE)} if "opencv" in name} == {
        "opencv-python-headless"
    }
    # The others are installed on top, without dependencies: a package in both would be replaced.
    assert not set(pins(LOCK)) & set(pins(REFERENCE) | pins(DOCS))
    # The base stays light.
    heavy = {canonicalize_name(requirement.name) for requirement in declared("train", base=False)}
    assert not heavy & {canonicalize_name(requirement.name) for requirement in declared()}
