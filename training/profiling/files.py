"""The files of a profile: a table that grows with each measurement, and everything as JSON."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from data.formats.files import read_text, write_text
from data.records import InputError
from detector.profiling import Profile, ProfileRow

__all__ = ["read_known", "read_table", "write_json", "write_table"]

SCHEMA = 1
TABLE, SUMMARY = "profile.csv", "profile.json"
COMPUTED = ("passes", "mean", "std")
NUMBERS = ("layer", "percent", "channels", "height", "width")


def write_table(rows: Iterable[ProfileRow], folder: Path) -> None:
    """Write ``profile.csv``: a line for each layer, method and measure, with the value of each pass."""
    names = [item.name for item in fields(ProfileRow) if item.name != "values"]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([*names, *COMPUTED, "values"])
    for row in rows:
        cells = ["" if (value := getattr(row, name)) is None else value for name in names]
        numbers = [row.passes, *("" if math.isnan(x) else repr(x) for x in (row.mean, row.std))]
        writer.writerow([*cells, *numbers, " ".join(map(repr, row.values))])
    write_text(folder / TABLE, text.getvalue())


def read_table(folder: Path) -> list[ProfileRow]:
    """The rows of ``profile.csv``; none where it is not there.

    Raises
    ------
    InputError
        Names the line that is none.
    """
    file = folder / TABLE
    if not file.is_file():
        return []
    rows = []
    for number, cells in enumerate(csv.DictReader(read_text(file, "a profile").splitlines()), start=2):
        try:
            known: dict[str, Any] = {item.name: cells[item.name] for item in fields(ProfileRow)}
            known |= {name: int(known[name]) for name in NUMBERS}
            known["patch"] = int(known["patch"]) if known["patch"] else None
            known["values"] = tuple(map(float, known["values"].split()))
            if known["method"] not in ("none", "spatial", "patch", "channel") or not known["values"]:
                raise ValueError
        except (KeyError, ValueError, AttributeError, TypeError):
            raise InputError(
                f"{file}:{number}", "no row of a profile", "the file as it was written"
            ) from None
        rows.append(ProfileRow(**known))
    return rows


def read_known(
    folder: Path, configuration: Mapping[str, Any]
) -> tuple[list[ProfileRow], list[dict[str, Any]]]:
    """What an earlier call with the same configuration left: its rows, and the provenance of its sittings.

    Raises
    ------
    InputError
        What is in the folder is of another configuration, or cannot be read.
    """
    file = folder / SUMMARY
    if not file.is_file():
        if (folder / TABLE).exists():
            raise InputError(folder, f"a {TABLE} without {SUMMARY}", "both, or another --out for a new one")
        return [], []
    try:
        summary = json.loads(read_text(file, "a profile"))
        before, sittings = dict(summary["configuration"]), list(summary["provenance"])
    except (ValueError, KeyError, TypeError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(file, "no profile", "the file as it was written, or another --out") from None
    now = json.loads(json.dumps(configuration))
    for name in dict.fromkeys([*now, *before]):
        if now.get(name) != before.get(name):
            raise InputError(
                folder,
                f"a profile with {name} {before.get(name)!r}",
                f"{now.get(name)!r} as now, or another --out for a new one",
            )
    return read_table(folder), sittings


def write_json(
    profile: Profile,
    folder: Path,
    facts: Mapping[str, Any],
    configuration: Mapping[str, Any],
    sittings: Sequence[Mapping[str, Any]],
    *,
    finished: bool,
) -> None:
    """Write ``profile.json``: the table with what it is of, and where it comes from."""
    content = {
        "schema": SCHEMA,
        **facts,
        "finished": finished,
        "configuration": configuration,
        "rows": [_row(row) for row in profile.rows],
        "provenance": sittings,
    }
    write_text(folder / SUMMARY, json.dumps(content, indent=1, allow_nan=False))


def _row(row: ProfileRow) -> dict[str, Any]:
    content: dict[str, Any] = asdict(row) | {"passes": row.passes}
    content["values"] = [None if math.isnan(value) else value for value in row.values]
    content["mean"] = None if math.isnan(row.mean) else row.mean
    content["std"] = None if math.isnan(row.std) else row.std
    if None in content["values"]:
        content["reason"] = "not defined in every pass: there was nothing to count"
    elif row.passes == 1:
        content["reason"] = "one pass has no standard deviation"
    return content
