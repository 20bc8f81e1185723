"""Print the numbers that must be the same with all versions of Python and packages, a line each.

    python -m tests.same_numbers > numbers.txt

What is drawn: the scenes of the demo, as checksums of their files. What is computed: all of their
``diagnosis.json`` but its provenance, and the columns of ``detections.parquet``. `make versions` compares.
"""

import contextlib
import hashlib
import json
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet

from diagnosis.__main__ import main


def lines(folder: Path) -> Iterator[str]:
    """What is below `folder`, a report of the demo, to the last digit."""
    for file in sorted((folder / "scenes").rglob("*")):
        if file.is_file():
            yield f"{file.relative_to(folder)} {hashlib.sha256(file.read_bytes()).hexdigest()}"
    report = json.loads((folder / "diagnosis.json").read_text(encoding="utf-8"))
    del report["provenance"]
    table = pyarrow.parquet.read_table(folder / "detections.parquet").to_pydict()
    yield from of("diagnosis.json", report)
    for name, values in table.items():
        yield f"detections.parquet {name} {hashlib.sha256(repr(values).encode()).hexdigest()}"


def of(place: str, value: object) -> Iterator[str]:
    """The values in what JSON holds, each with its place."""
    if isinstance(value, dict | list):
        items = value.items() if isinstance(value, dict) else enumerate(value)
        for key, one in items:
            yield from of(f"{place} {key}", one)
    else:
        yield f"{place} {value!r}"


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        with contextlib.redirect_stdout(sys.stderr):
            code = main(["--demo", "--out", ".", "--no-figures"])
        if code == 0:
            print("\n".join(lines(Path())))
    sys.exit(code)
