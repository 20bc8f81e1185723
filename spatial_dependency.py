"""The packages of this distribution have common names: refuse somebody else's of the same name."""

from importlib.util import find_spec
from pathlib import Path


def check_siblings(importer: str, *names: str) -> None:
    """Raise one clear error if a package that is imported from here is not ours.

    A ``data.py`` beside a user's script, or another distribution's ``data``, comes first on Python's path and
    would otherwise end in ``No module named 'data.records'``.

    Parameters
    ----------
    importer
        The package that imports them.
    *names
        What it imports.

    Raises
    ------
    ImportError
        Another module of this name comes first.
    """
    home = Path(__file__).resolve().parent
    for name in names:
        spec = find_spec(name)
        found = Path(spec.origin).resolve() if spec is not None and spec.origin else None
        if found != home / name / "__init__.py":
            raise ImportError(
                f"import {name}: found {found or 'no such package'}; expected {home / name}; rename or move "
                f"what was found, run from another folder, or put {home} first on PYTHONPATH",
                name=importer,  # so that `python -m` shows one line
            )
