"""Where a diagnosis comes from: command, commit, versions, machine, and what was read."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from diagnosis.record import Diagnosis

__all__ = ["commit", "provenance"]

PACKAGES = ("spatial-dependency", "matplotlib", "msgspec", "numpy", "pyarrow")
GIT_TIMEOUT_SECONDS = 10


def provenance(command: str, options: Mapping[str, Any], diagnoses: Sequence[Diagnosis]) -> dict[str, Any]:
    """What made the result, ready for JSON.

    Parameters
    ----------
    command
        The command line.
    options
        Its options, also those left at their default; ``detections`` are the paths of `diagnoses`.
    diagnoses
        One for each path, in the same order.

    Returns
    -------
    dict
        ``commit`` is None outside a git checkout, with a ``commit_reason`` beside it; ``sources`` says how
        many detections each path gave (one a line; with ``--lenient`` without the lines left out).
    """
    checkout = commit(Path(__file__).parent)
    return {
        "command": command,
        "options": {name: _plain(value) for name, value in options.items()},
        "commit": checkout,
        **({} if checkout else {"commit_reason": "not run from a git checkout"}),
        "versions": {"python": platform.python_version()} | {name: _version(name) for name in PACKAGES},
        "machine": {
            "system": platform.platform(),
            "processor": platform.processor() or platform.machine(),
            "cores": os.cpu_count(),
        },
        "sources": [
            {"name": diagnosis.name, "path": str(path), "detections": len(diagnosis.detections)}
            for diagnosis, path in zip(diagnoses, options["detections"], strict=True)
        ],
    }


def commit(folder: Path) -> str | None:
    """The commit of the checkout that `folder` belongs to; None where git tracks no file of it."""

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(folder), *arguments]
        try:
            done = subprocess.run(
                command, capture_output=True, text=True, check=True, timeout=GIT_TIMEOUT_SECONDS
            )
        except (OSError, subprocess.SubprocessError):
            return ""
        return done.stdout.strip()

    # A package installed below somebody's checkout lies in it without being part of it.
    return (git("ls-files", "--", ".") and git("rev-parse", "HEAD")) or None


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _plain(value: Any) -> Any:
    if isinstance(value, list):
        return [_plain(entry) for entry in value]
    return str(value) if isinstance(value, Path) else value
