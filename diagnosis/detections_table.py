"""The table of all detections with the error type of each: for a notebook, as Parquet or CSV."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from data.formats.files import replacing
from data.records import InputError
from diagnosis.breakdown import ERROR_NAMES, NONE, UNCOUNTED
from diagnosis.record import Diagnosis

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["detections_table", "write_detections_table"]


def detections_table(diagnoses: Sequence[Diagnosis]) -> pa.Table:
    """One row for each detection of each detector, in the order in which they were read.

    ====================  ==================================================================================
    ``detector``          its name
    ``image``             name of the image
    ``class``             name of the class
    ``score``
    ``xmin`` … ``ymax``   the box as it was read, continuous pixels from 0
    ``rank``              place among the detector's detections of that class, from 1
    ``counted``           whether the breakdown counts it: it is among the top ones of its class
    ``error_type``        name of one of :data:`~diagnosis.breakdown.ERROR_TYPES`, null in a crowd region
    ``duplicate``         a localization error only because a higher-ranked detection matches the object
    ``overlap``           IoU with the object that it is about; 0 where none overlaps
    ``object``            row of that object in the ground truth, from 0; null where none overlaps
    ``object_class``      its class
    ``confused_with``     the class it was confused with; null unless similar or other
    ``difficult``         whether that object is difficult or a crowd; null without object
    ====================  ==================================================================================

    Where the ground truth is COCO's JSON also ``coco_image_id``, and ``coco_annotation_id`` of that object,
    null where none overlaps: whole numbers, or text if any is.

    The columns are such that :func:`data.formats.read_table` reads the detections back.

    Parameters
    ----------
    diagnoses
        One or several, at least one.

    Raises
    ------
    InputError
        None was given.
    """
    import pyarrow as pa  # only where needed: it takes as long to import as everything else

    if not diagnoses:
        raise InputError("diagnoses", "none", "at least one")
    return pa.concat_tables(
        [_table(diagnosis) for diagnosis in diagnoses], promote_options="default"
    ).unify_dictionaries()


def _table(diagnosis: Diagnosis) -> pa.Table:
    import pyarrow as pa

    truth, found, matching = diagnosis.truth, diagnosis.detections, diagnosis.matching
    refers = diagnosis.referenced_objects
    no_object = refers.object_rows == NONE
    row = np.where(no_object, 0, refers.object_rows)
    object_class = truth.labels[row] if len(truth) else np.zeros(len(row), dtype=np.int64)
    ignored = matching.ignored[row] if len(truth) else np.zeros(len(row), dtype=bool)

    def named(
        index: NDArray[np.int64], names: Sequence[str], absent: NDArray[np.bool_] | None = None
    ) -> pa.Array:
        codes = _column(index.astype(np.int32), pa.int32(), absent)
        return pa.DictionaryArray.from_arrays(codes, _texts(names))

    sides = {
        name: _column(found.boxes[:, i], pa.float64())
        for i, name in enumerate(("xmin", "ymin", "xmax", "ymax"))
    }
    ids = {}
    if truth.image_ids:
        ids["coco_image_id"] = _ids(truth.image_ids, found.image_index)
    if truth.object_ids:
        ids["coco_annotation_id"] = _ids(truth.object_ids, row, no_object)
    return pa.table(
        {
            "detector": named(np.zeros(len(found), dtype=np.int64), [diagnosis.name]),
            "image": named(found.image_index, truth.images),
            "class": named(found.labels, truth.classes),
            "score": _column(found.scores, pa.float64()),
            **sides,
            "rank": _column(matching.rank + 1, pa.int64()),
            "counted": _column(diagnosis.breakdown.counted_types != UNCOUNTED, pa.bool_()),
            "error_type": named(refers.types.astype(np.int64), ERROR_NAMES, refers.types == UNCOUNTED),
            "duplicate": _column(refers.duplicate, pa.bool_()),
            "overlap": _column(refers.overlaps, pa.float64()),
            "object": _column(refers.object_rows, pa.int64(), no_object),
            "object_class": named(object_class, truth.classes, no_object),
            "confused_with": named(refers.confused_with, truth.classes, refers.confused_with == NONE),
            "difficult": _column(ignored, pa.bool_(), no_object),
            **ids,
        }
    )


# pa.array() imports pandas, where it is installed, to see whether it is given something of pandas. That takes
# as long as the rest of the table.


def _column(values: NDArray[Any], kind: pa.DataType, absent: NDArray[np.bool_] | None = None) -> pa.Array:
    """A column of an array of that type; null where `absent`."""
    import pyarrow as pa

    def bits(flags: NDArray[np.bool_]) -> pa.Buffer:
        return pa.py_buffer(np.packbits(flags, bitorder="little"))

    data = bits(values) if values.dtype == np.bool_ else pa.py_buffer(np.ascontiguousarray(values))
    return pa.Array.from_buffers(kind, len(values), [None if absent is None else bits(~absent), data])


def _texts(texts: Sequence[str]) -> pa.Array:
    import pyarrow as pa

    encoded = [text.encode() for text in texts]
    ends = np.cumsum([0, *map(len, encoded)]).astype(np.int32)
    return pa.Array.from_buffers(
        pa.string(), len(encoded), [None, pa.py_buffer(ends), pa.py_buffer(b"".join(encoded))]
    )


def _ids(
    known: Sequence[int | str], rows: NDArray[np.int64], absent: NDArray[np.bool_] | None = None
) -> pa.Array:
    """The ids of some rows: 64-bit integers if all known ids are, or text."""
    import pyarrow as pa

    whole = all(isinstance(key, int) and abs(key) < 1 << 63 for key in known)
    if whole:
        return _column(np.array(known, dtype=np.int64)[rows], pa.int64(), absent)
    return _texts([str(key) for key in known]).take(_column(rows, pa.int64(), absent))


def write_detections_table(diagnoses: Sequence[Diagnosis], path: Path | str) -> None:
    """Write :func:`detections_table` atomically.

    Parameters
    ----------
    diagnoses
        One or several.
    path
        ``….parquet``, or ``….csv`` in UTF-8 with commas, where null is an empty cell and a text that a
        spreadsheet would take for a formula begins with an apostrophe.

    Raises
    ------
    InputError
        Another ending, no diagnosis, a place that cannot be written to.
    """
    path = Path(path)
    suffix = path.suffix.lower()
    if suffix not in (".parquet", ".csv"):
        raise InputError(path, f"the ending {suffix or 'none'}", ".parquet or .csv")
    table = detections_table(diagnoses)
    with replacing(path) as part:
        if suffix == ".parquet":
            import pyarrow.parquet

            pyarrow.parquet.write_table(table, part, compression="zstd")
        else:
            import pyarrow as pa
            import pyarrow.compute
            import pyarrow.csv

            columns = []
            for column in table.columns:
                if pa.types.is_dictionary(column.type):
                    column = column.cast(pa.string())
                if pa.types.is_string(column.type):  # a spreadsheet would take =1+1 for a formula
                    column = pa.compute.replace_substring_regex(column, "^([=+@\t\r-])", "'\\1")
                columns.append(column)
            pyarrow.csv.write_csv(pa.table(columns, table.column_names), part)
