"""JSON of any size, read fast, with the place of every fault.

msgspec parses straight into typed records and skips what nobody asked for: a results file of 60 MB takes a
third of a second, a fifth of what ``json`` needs. What it refuses is read again, slowly, by ``json``, which
knows line and column and takes the ``NaN`` that many tools write.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from data.formats.files import decode, read_bytes
from data.formats.rows import Fault, Tally
from data.records import InputError

__all__ = ["convert_each", "parse", "read_json"]

Record = TypeVar("Record", bound=msgspec.Struct)

MARK = b"\xef\xbb\xbf"  # UTF-8's byte order mark

WORDS = {
    "int": "a whole number",
    "float": "a number",
    "str": "a string",
    "bool": "true or false",
    "null": "null",
    "array": "a list",
    "object": "an object",
}
MISSING = re.compile(r"missing required field `(?P<name>.+?)`")
WRONG = re.compile(r"Expected `(?P<want>.+?)`(?: of length (?P<length>\d+))?(?:, got `(?P<got>.+?)`)?")
PLACE = re.compile(r" - at `\$\.?(?P<place>.*)`$")


def read_json(path: Path, what: str) -> bytes:
    """The content of a JSON file: UTF-8, without a byte order mark, not empty.

    Parameters
    ----------
    path
        The file.
    what
        What it should hold, for error messages.

    Raises
    ------
    InputError
        The file is absent, empty, or holds a byte that is not UTF-8 (the message names the line).
    """
    content = read_bytes(path, what).removeprefix(MARK)
    if not content.isascii():
        decode(path, content)
    if not content.strip():
        raise InputError(path, "an empty file", what)
    return content


def parse(path: Path, content: bytes) -> Any:
    """What the JSON text says, in Python's own types; NaN and Infinity are numbers here.

    Raises
    ------
    InputError
        Malformed JSON, with line and column.
    """
    try:
        return json.loads(content)
    except json.JSONDecodeError as error:
        where = f"{path}:{error.lineno}:{error.colno}"
        raise InputError(where, f"malformed JSON ({error.msg})", "JSON; is the file complete?") from None
    except RecursionError:
        raise InputError(path, "lists within lists without end", "JSON as COCO's files have it") from None


def convert_each(
    elements: Iterable[Any],
    kind: type[Record],
    where: Callable[[int], str],
    tally: Tally,
    expected: str,
) -> tuple[list[Record], list[int]]:
    """The elements that fit `kind`, and their indices; the others are faults.

    Parameters
    ----------
    elements
        Of a JSON list.
    kind
        The record that each should become.
    where
        File and index of an element.
    tally
        Takes the faults.
    expected
        What an element should be.
    """
    records: list[Record] = []
    indices: list[int] = []
    for index, element in enumerate(elements):
        try:
            records.append(msgspec.convert(element, kind))
            indices.append(index)
        except msgspec.ValidationError as error:
            tally.add(Fault(where(index), _told(str(error)), expected, "malformed"))
    return records, indices


def _told(message: str) -> str:
    """What was found, from what msgspec says was wrong."""
    if missing := MISSING.search(message):
        return f"no {missing['name']}"
    place = PLACE.search(message)
    name = place["place"] if place else ""
    wrong = WRONG.search(message)
    if not wrong:
        return f"{message[:200]}"
    if wrong["got"]:
        return " as ".join(filter(None, [WORDS.get(wrong["got"], wrong["got"]), name]))
    return f"not {wrong['length']} values as {name or 'element'}"
