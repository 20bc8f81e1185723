"""Where a result comes from: commit, command, seed, versions, machine."""

from __future__ import annotations

import datetime
import importlib.metadata
import os
import platform
import shlex
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

__all__ = ["provenance"]

PACKAGES = (
    "albumentations", "lightning", "numpy", "opencv-python-headless", "pillow", "torch", "torchvision",
)  # fmt: skip


def _git(*arguments: str) -> str | None:
    command = ["git", "-C", str(Path(__file__).parent), *arguments]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=10)
        return done.stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return None


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _processor() -> str:
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor()


def provenance(**facts: Any) -> dict[str, Any]:
    """What is needed to make a result again, ready for JSON.

    Parameters
    ----------
    facts
        Further entries: seeds, image counts.

    Returns
    -------
    dict
        ``commit`` is None outside a git checkout; ``modified`` says whether tracked files differ from it.
    """
    import torch

    # A package installed below somebody's checkout lies in it without being part of it.
    tracked = bool(_git("ls-files", "--", "."))
    changes = _git("status", "--porcelain", "--untracked-files=no") if tracked else None
    gpus = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
    return {
        "command": shlex.join([Path(sys.executable).name, *sys.orig_argv[1:]]),
        "commit": _git("rev-parse", "HEAD") if tracked else None,
        "modified": None if changes is None else bool(changes),
        "started": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "python": platform.python_version(),
        "packages": {package: _version(package) for package in PACKAGES},
        "machine": {
            "system": platform.platform(),
            "processor": _processor(),
            "cores": os.cpu_count(),
            "threads": torch.get_num_threads(),
            "gpus": gpus,
        },
        **facts,
    }
