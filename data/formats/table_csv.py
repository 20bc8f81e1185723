"""Detections as CSV: read by Arrow and, where anything is wrong, again line by line."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Any

from data.formats.files import decode, read_bytes
from data.formats.rows import Fault, Tally
from data.formats.table import EXPECTED, Columns, detections_of, find_columns
from data.records import Detections, GroundTruth, InputError

__all__ = ["read_csv"]

MARK = b"\xef\xbb\xbf"  # UTF-8's byte order mark


def read_csv(path: Path | str, truth: GroundTruth, lenient: bool = False) -> Detections:
    """Detections from a CSV file; see :func:`data.formats.table.read_table`."""
    import pyarrow as pa  # not before it is needed: it takes as long to load as everything else
    import pyarrow.csv

    path = Path(path)
    content = read_bytes(path, EXPECTED).removeprefix(MARK)
    if not content.isascii():
        decode(path, content)
    header = content.lstrip().split(b"\n", 1)[0].decode()
    if not header.strip():
        raise InputError(path, "an empty file", f"a first line that names the columns: {EXPECTED}")
    comma = max(",;\t", key=header.count)
    names = next(csv.reader([header], delimiter=comma))
    columns = find_columns(path, names)
    types = {name: pa.float64() for name in columns.numbers}
    types |= {name: pa.dictionary(pa.int32(), pa.string()) for name in (columns.image, columns.label)}
    try:
        table = pyarrow.csv.read_csv(
            pa.BufferReader(content),
            parse_options=pyarrow.csv.ParseOptions(delimiter=comma, newlines_in_values=True),
            convert_options=pyarrow.csv.ConvertOptions(
                column_types=types, include_columns=list(types), strings_can_be_null=False, null_values=[]
            ),
        )
        return detections_of(table, columns, truth, Tally(path, False), str)
    except (pa.ArrowException, ValueError):  # of which InputError is one: the line is found below
        return _line_by_line(path, content.decode(), comma, columns, truth, Tally(path, lenient))


def _line_by_line(
    path: Path, text: str, comma: str, columns: Columns, truth: GroundTruth, tally: Tally
) -> Detections:
    import pyarrow as pa

    reader = csv.reader(io.StringIO(text, newline=""), delimiter=comma)
    names = next(row for row in reader if any(row))
    wanted = (columns.image, columns.label, *columns.numbers)
    place = [names.index(name) for name in wanted]
    kept: list[list[Any]] = []
    lines: list[int] = []
    for row in reader:
        if not row:
            continue
        told = _values(row, place, names, comma)
        if isinstance(told, list):
            kept.append(told)
            lines.append(reader.line_num)
        else:
            tally.add(Fault(f"{path}:{reader.line_num}", *told))
    cells = [list(column) for column in zip(*kept, strict=True)] or [[] for _ in wanted]
    types = [pa.string(), pa.string(), *(pa.float64() for _ in columns.numbers)]
    arrays = [pa.array(column, kind) for column, kind in zip(cells, types, strict=True)]
    table = pa.table(arrays, list(wanted))
    return detections_of(table, columns, truth, tally, lambda row: f"{path}:{lines[row]}")


def _values(
    row: list[str], place: list[int], names: list[str], comma: str
) -> list[Any] | tuple[str, str, str]:
    """The cells that are wanted, the numbers as such; or what is wrong with the row."""
    if len(row) != len(names):
        return f"{len(row)} columns", f"{len(names)}: {comma.join(names)}", "of other columns"
    values: list[Any] = [row[place[0]], row[place[1]]]
    for index in place[2:]:
        cell = row[index].strip()
        try:
            values.append(float("" if "_" in cell else cell))  # Python's 1_0 is a number nowhere else
        except ValueError:
            return f"{cell!r} as {names[index]}", "a number", "with what is no number"
    return values
