"""Detections as a table: CSV, Parquet, or in memory (pandas, Arrow, polars, a dictionary of columns).

Which column is which is known by its name, in whatever case:

=========  ==========================================================================================
image      ``image``, ``image_name``, ``file_name``, ``filename``: the name, with or without folder and
           extension; or ``image_id``: COCO's id
class      ``class``, ``label``, ``class_name``, ``category``, ``category_name``: the name; or
           ``category_id``: COCO's id; or ``class_id``: the number of the class, from 0
score      ``score``, ``confidence``, ``conf``
box        ``xmin ymin xmax ymax``, ``x_min y_min x_max y_max`` or ``x1 y1 x2 y2``, ``x y w h`` or
           ``x y width height`` (x, y: left, top), ``cx cy w h`` or ``x_center y_center width height``;
           continuous pixels, from 0
=========  ==========================================================================================

Of each there must be exactly one; other columns are left alone. ``image_id`` and ``category_id`` (or
``class_id``) may be there beside a name, which then counts, with a warning where the two differ.
"""

from __future__ import annotations

import csv
import io
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from data.formats.files import read_bytes, read_utf8
from data.formats.names import (
    NO_INDEX,
    Lookup,
    classes_by_id,
    classes_by_name,
    images_by_id,
    images_by_name,
)
from data.formats.validation import (
    BoxFormat,
    Faults,
    Keys,
    Problem,
    detections_of,
    number_of,
    prefer_names,
    warn,
)
from data.records import Detections, GroundTruth, InputError

if TYPE_CHECKING:
    import pyarrow as pa  # imported where it is used: it takes as long as everything else

__all__ = ["from_table", "read_table"]

EXPECTED = "columns such as image, class, score, xmin, ymin, xmax, ymax"
IMAGES = ("image", "image_name", "file_name", "filename", "image_id")
CLASSES = ("class", "label", "class_name", "category", "category_name", "category_id", "class_id")
SCORES = ("score", "confidence", "conf")
BOXES = {
    ("xmin", "ymin", "xmax", "ymax"): "xyxy",
    ("x_min", "y_min", "x_max", "y_max"): "xyxy",  # supervision's
    ("x1", "y1", "x2", "y2"): "xyxy",
    ("x", "y", "w", "h"): "xywh",
    ("x", "y", "width", "height"): "xywh",
    ("cx", "cy", "w", "h"): "cxcywh",
    ("x_center", "y_center", "width", "height"): "cxcywh",
}
ROWS_PER_BYTE, ROOM_FOR_EQUAL_ROWS = 4, 1_000_000
"""Parquet stores a column of equal values in a few bytes: more is meant to fill the memory."""
KNOWN_COLUMNS = {*IMAGES, *CLASSES, *SCORES, *sum(BOXES, ())}


class ColumnNames(NamedTuple):
    """Names of the columns of a table, by what they hold."""

    image: tuple[str, ...]
    """The one that counts, and one of ids beside it, if there is one."""
    label: tuple[str, ...]
    """The same."""
    numbers: tuple[str, ...]
    """Score, then box."""
    read_as: BoxFormat
    """What the numbers of the box are."""
    guessed: bool
    """Whether the form was guessed, not given."""

    @property
    def texts(self) -> tuple[str, ...]:
        """The columns of names and ids."""
        return self.image + self.label


def read_table(
    path: Path | str,
    truth: GroundTruth,
    lenient: bool = False,
    box_format: str | None = None,
    normalized: bool = False,
) -> Detections:
    """Detections from a CSV or Parquet file, in its order.

    Parameters
    ----------
    path
        ``.csv``, with commas, semicolons or tabs, the first line naming the columns; or ``.parquet``. The
        columns are those of :mod:`data.formats.table`.
    truth
        The ground truth.
    lenient
        Drop the rows that are at fault, with a warning that counts them, instead of raising.
    box_format, normalized
        What the four columns of the box are, see :data:`~data.formats.validation.BOX_FORMATS` (default: what
        their names say), and whether they are fractions of the image's size.

    Raises
    ------
    InputError
        No such file, an empty one, one that is no Parquet, a column missing or there twice; or, with the
        line (CSV) or the row (Parquet, from 0): another number of values, no number, NaN or infinity, an
        unknown image or class, an inverted box, a byte that is not UTF-8.
    """
    path, format_given = Path(path), (box_format, normalized)
    if path.suffix.lower() == ".csv":
        return _read_csv(path, truth, lenient, format_given)
    import pyarrow as pa
    import pyarrow.parquet

    content = read_bytes(path, "a Parquet file")
    if not content:
        raise InputError(path, "an empty file", "a Parquet file")
    try:
        source = pyarrow.parquet.ParquetFile(pa.BufferReader(content))
        if (rows := source.metadata.num_rows) > ROWS_PER_BYTE * len(content) + ROOM_FOR_EQUAL_ROWS:
            found = f"{rows:,} rows in {len(content):,} bytes"
            raise InputError(path, found, "detections, which do not all have one score and box")
        columns = _find_columns(path, source.schema_arrow.names, *format_given)
        table = source.read(columns=[*columns.texts, *columns.numbers])
    except InputError:
        raise
    except (pa.ArrowException, OSError, ValueError) as error:
        found = f"no readable Parquet ({str(error).splitlines()[0]})"
        raise InputError(path, found, "a Parquet file") from None
    return _detections(table, columns, truth, Faults(path, lenient), lambda row: f"{path}, row {row}")


def from_table(
    table: object,
    truth: GroundTruth,
    lenient: bool = False,
    box_format: str | None = None,
    normalized: bool = False,
) -> Detections:
    """Detections from a table in memory, in its order.

    Parameters
    ----------
    table
        A pandas or polars data frame, an Arrow table or record batch, anything else that hands out an Arrow
        stream, or a dictionary of columns. The columns are those of :mod:`data.formats.table`.
    truth, lenient, box_format, normalized
        As in :func:`read_table`.

    Raises
    ------
    InputError
        No table; else as :func:`read_table`, with the row, from 0.

    Examples
    --------
    >>> truth = GroundTruth(["a"], ["dog"], [[100, 80]], [0], [0], [[10, 10, 50, 60]])
    >>> table = {"image": ["a.jpg"], "class": ["dog"], "score": [0.9]}
    >>> table |= {"x": [9], "y": [9], "w": [40], "h": [50]}
    >>> from_table(table, truth).boxes.tolist()
    [[9.0, 9.0, 49.0, 59.0]]
    """
    import pyarrow as pa

    try:  # what is Arrow's is used as it is: before 25, pyarrow crashed handing on columns of string_view
        if isinstance(table, pa.RecordBatchReader):
            table = table.read_all()
        elif isinstance(table, pa.RecordBatch):
            table = pa.Table.from_batches([table])
        arrow = table if isinstance(table, pa.Table) else pa.table(table)
    except (pa.ArrowException, TypeError, ValueError, OverflowError) as error:
        found = f"a {type(table).__name__} that makes no table ({str(error).splitlines()[0]})"
        raise InputError("table", found, f"a data frame or Arrow table with {EXPECTED}") from None
    columns = _find_columns("table", arrow.column_names, box_format, normalized)
    return _detections(arrow, columns, truth, Faults("table", lenient), lambda row: f"table, row {row}")


def _find_columns(
    where: object, names: Sequence[str], box_format: str | None, normalized: bool
) -> ColumnNames:
    """Which columns are which, if that is clear."""
    known: dict[str, str] = {}
    for name in names:
        plain = name.strip().lower()
        if plain in known and plain in KNOWN_COLUMNS:
            raise InputError(where, f"the column {plain!r} twice", "each column once")
        known[plain] = name

    def one(what: str, choices: Sequence[str], ids: Sequence[str] = ()) -> tuple[str, ...]:
        found = [known[choice] for choice in choices if choice in known]
        beside = [known[name] for name in ids if name in known]
        if len(found) == 2 and len(beside) == 1:
            return tuple(sorted(found, key=beside.__contains__))
        if len(found) == 1:
            return tuple(found)
        seen = f"several columns for it: {', '.join(found)}" if found else f"the columns {', '.join(names)}"
        raise InputError(f"{where}: {what}", seen, f"one column of {', '.join(choices)}")

    boxes = [box for box in BOXES if all(side in known for side in box)]
    if len(boxes) != 1:
        several = " and ".join(" ".join(box) for box in boxes)
        seen = f"several boxes: {several}" if boxes else f"the columns {', '.join(names)}"
        forms = ", ".join(map(" ".join, BOXES))
        raise InputError(f"{where}: box", seen, f"four columns, one of {forms}")
    return ColumnNames(
        one("image", IMAGES, ("image_id",)),
        one("class", CLASSES, ("category_id", "class_id")),
        (*one("score", SCORES), *(known[side] for side in boxes[0])),
        BoxFormat.chosen(box_format, normalized, BoxFormat(BOXES[boxes[0]])),
        box_format is None and not normalized,
    )


def _detections(
    table: pa.Table,
    columns: ColumnNames,
    truth: GroundTruth,
    faults: Faults,
    where: Callable[[int], str],
    typed: bool = True,
) -> Detections:
    """The record of a table's rows. Not `typed`: numbers may be there as text, as in CSV."""
    lookups: dict[str, Callable[[GroundTruth], Lookup]] = {
        "image_id": images_by_id,
        "category_id": classes_by_id,
        "class_id": lambda truth: Lookup((key, i) for i in range(len(truth.classes)) for key in (i, str(i))),
    }

    def meant(
        names: tuple[str, ...], usual: Callable[[GroundTruth], Lookup], known: Sequence[str]
    ) -> tuple[NDArray[np.int64], Callable[[int], object], Lookup]:
        """The images or classes of rows, the value of a row, and what knows the values."""
        kinds = [name.strip().lower() for name in names]
        lookup = lookups.get(kinds[0], usual)(truth)
        index, value = _indices(table, names[0], lookup, kinds[0] in lookups, typed, faults)
        if len(names) > 1:
            by_id, key = _indices(table, names[1], lookups[kinds[1]](truth), True, typed, faults)
            named = np.asarray(table[names[0]].is_valid())
            id_and_name = lambda row: (key(row), value(row))  # noqa: E731
            index = prefer_names(by_id, index, named, known, names[::-1], id_and_name, where)
        return index, value, lookup

    image_index, image, images = meant(columns.image, images_by_name, truth.images)
    labels, label, classes = meant(columns.label, classes_by_name, truth.classes)
    numbers = {"class_id": f"a number from 0 to {len(truth.classes) - 1}", "category_id": ""}.get(
        columns.label[0].strip().lower(),
        "the name of a class; a column of numbers is called class_id (from 0) or category_id (COCO's)",
    )
    scores, *box = (_numbers(table[name], name, faults) for name in columns.numbers)
    rows = image_index, labels, scores, np.stack(box, axis=1)
    keys = Keys(image, label, images, classes, numbers)
    return detections_of(truth, faults, where, rows, columns.read_as, columns.guessed, keys)


def _indices(
    table: pa.Table, name: str, lookup: Lookup, ids: bool, typed: bool, faults: Faults
) -> tuple[NDArray[np.int64], Callable[[int], object]]:
    """``(M,)`` what each value leads to, and the value of a row. Each distinct one is looked up once."""
    import pyarrow as pa

    column = _plain(table[name])
    kind, of = column.type, pa.types
    tests = (of.is_string, of.is_large_string, of.is_integer, of.is_floating, of.is_null)
    where = f"{faults.source}: column {name}"
    if not any(test(kind) for test in tests):
        raise InputError(where, f"values of type {kind}", "texts or whole numbers")
    encoded = column.combine_chunks().dictionary_encode()
    try:
        values = [*encoded.dictionary.to_pylist(), None]
    except UnicodeDecodeError:
        raise InputError(where, "text that is not UTF-8", "text in UTF-8") from None
    index = np.array([_index(value, lookup, ids, typed) for value in values], dtype=np.int64)
    codes = np.asarray(encoded.indices.fill_null(len(values) - 1), dtype=np.int64)
    return index[codes], lambda row: values[codes[row]]


def _index(value: object, lookup: Lookup, ids: bool, typed: bool) -> int:
    """What a value leads to: numbers are looked up as numbers only where ids are meant.

    Whole numbers become 3.0 in a column with gaps; not `typed`, they are text, perhaps with spaces around it.
    """
    if value is None:
        return lookup[""]
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    keys: list[int | str] = [value if ids and isinstance(value, int) else str(value)]
    if not typed:
        text = str(value).strip()
        number = text.removesuffix(".0")
        if ids and number.isdecimal() and len(number) < 19 and str(int(number)) == number:
            keys.insert(0, int(number))
        keys.append(text)
    return next((index for key in keys if (index := lookup[key]) != NO_INDEX), NO_INDEX)


def _plain(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """The column without dictionaries, runs and views."""
    import pyarrow as pa
    from pyarrow import types

    kind = column.type
    if types.is_run_end_encoded(kind):
        from pyarrow import compute

        parts = [compute.run_end_decode(part) for part in column.chunks]
        return _plain(pa.chunked_array(parts, kind.value_type))
    if types.is_dictionary(kind):
        values = _plain(pa.chunked_array([], kind.value_type)).type  # Arrow casts no dictionary of views
        parts = [
            pa.DictionaryArray.from_arrays(part.indices, part.dictionary.cast(values)).dictionary_decode()
            for part in column.chunks
        ]
        return pa.chunked_array(parts, values)
    return column.cast(pa.large_string()) if types.is_string_view(kind) else column


def _numbers(column: pa.ChunkedArray, name: str, faults: Faults) -> NDArray[np.float64]:
    """``(M,)`` float64; NaN for null."""
    from pyarrow import float64, types

    column = _plain(column)
    kind = column.type
    numeric = (types.is_floating, types.is_integer, types.is_decimal, types.is_null)
    if not any(test(kind) for test in numeric):
        raise InputError(f"{faults.source}: column {name}", f"values of type {kind}", "numbers")
    # Not safe: whole numbers beyond 2^53 are rounded, as they are in any other file.
    values = column.cast(float64(), safe=False).combine_chunks().to_numpy(zero_copy_only=False)
    return np.asarray(values, dtype=np.float64)


# ---------------------------------------------------------------- CSV


def _read_csv(
    path: Path, truth: GroundTruth, lenient: bool, format_given: tuple[str | None, bool]
) -> Detections:
    """Read by Arrow and, where anything is wrong, again line by line."""
    import pyarrow as pa
    import pyarrow.csv

    content = read_utf8(path, EXPECTED)
    if b"\n" not in content:
        content = content.replace(b"\r", b"\n")
    text = content.lstrip(b"\r\n")
    header = text[: text.find(b"\n") if b"\n" in text else None].decode().rstrip("\r")
    if not header.strip():
        raise InputError(path, "an empty file", f"a first line that names the columns: {EXPECTED}")
    comma = max(",;\t", key=header.count)
    try:
        names = next(csv.reader([header], delimiter=comma, strict=True))
    except csv.Error as error:  # a quotation mark without its second
        raise InputError(f"{path}:1", f"a malformed first line ({error})", EXPECTED) from None
    columns = _find_columns(path, names, *format_given)
    types = {name: pa.float64() for name in columns.numbers}
    types |= {name: pa.dictionary(pa.int32(), pa.string()) for name in columns.texts}
    try:
        table = pyarrow.csv.read_csv(
            pa.BufferReader(content),
            parse_options=pyarrow.csv.ParseOptions(delimiter=comma, newlines_in_values=b'"' in content),
            convert_options=pyarrow.csv.ConvertOptions(
                column_types=types, include_columns=list(types), strings_can_be_null=False, null_values=[]
            ),
        )
        with warnings.catch_warnings(record=True) as caught:  # or a second reading would warn again
            warnings.simplefilter("always")
            where = lambda row: f"{path}, row {row + 1}"  # noqa: E731
            found = _detections(table, columns, truth, Faults(path, False), where, typed=False)
    except (pa.ArrowException, ValueError):  # of which InputError is one: the line is found below
        return _read_csv_lines(path, content.decode(), comma, columns, truth, Faults(path, lenient))
    for warning in caught:
        warn(str(warning.message))
    return found


def _read_csv_lines(
    path: Path, text: str, comma: str, columns: ColumnNames, truth: GroundTruth, faults: Faults
) -> Detections:
    import pyarrow as pa

    reader = csv.reader(io.StringIO(text, newline=""), delimiter=comma, strict=True)
    wanted, cells, lines = (*columns.texts, *columns.numbers), list[list[Any]](), list[int]()
    try:
        names = next(row for row in reader if any(row))
        places = [names.index(name) for name in wanted]
        for row in filter(None, reader):
            read = _read_cells(row, places, len(columns.texts), names, comma)
            if isinstance(read, list):
                cells.append(read)
                lines.append(reader.line_num)
            else:
                faults.add(f"{path}:{reader.line_num}", read)
    except csv.Error as error:
        raise InputError(f"{path}:{reader.line_num}", f"malformed CSV ({error})", EXPECTED) from None
    types = [pa.string()] * len(columns.texts) + [pa.float64()] * len(columns.numbers)
    arrays = [pa.array([row[i] for row in cells], kind) for i, kind in enumerate(types)]
    table = pa.table(arrays, list(wanted))
    where = lambda row: f"{path}:{lines[row]}"  # noqa: E731
    return _detections(table, columns, truth, faults, where, typed=False)


def _read_cells(
    row: Sequence[str], places: Sequence[int], texts: int, names: Sequence[str], comma: str
) -> list[Any] | Problem:
    """The cells that are wanted, the first `texts` of them as text, or what is wrong with the row."""
    if len(row) != len(names):
        return f"{len(row)} columns", f"{len(names)}: {comma.join(names)}", "of other columns"
    values: list[Any] = [row[place] for place in places[:texts]]
    for place in places[texts:]:
        value = number_of(row[place].strip(), names[place], finite=False)
        if not isinstance(value, float):
            return value
        values.append(value)
    return values
