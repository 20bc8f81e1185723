"""Files: text, JSON and images read with clear errors, text written atomically."""

from __future__ import annotations

import errno
import json
import os
import re
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from data.records import InputError

if TYPE_CHECKING:
    from PIL import Image

__all__ = [
    "IMAGE_SUFFIXES",
    "UNKNOWN_SIZE",
    "decode",
    "exif_orientation",
    "image_size",
    "image_sizes",
    "is_file",
    "open_image",
    "open_picture",
    "parse_json",
    "parse_yaml",
    "path_errors",
    "read_bytes",
    "read_json",
    "read_text",
    "read_utf8",
    "read_yaml",
    "replacing",
    "write_text",
    "write_texts",
]

BYTE_ORDER_MARK = b"\xef\xbb\xbf"  # UTF-8's

IMAGE_SUFFIXES = (
    ".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".gif", ".mpo", ".dng", ".pfm", ".jfif",
    ".jpe",
)  # fmt: skip
"""Endings of image files, in small letters."""

UNKNOWN_SIZE = 1 << 24
"""Width and height of an image of unknown size: nothing is clipped by it."""

EXIF_ORIENTATION = 0x0112  # a tag
QUARTER_TURNS = (5, 6, 7, 8)  # its values that exchange width and height

EIGHT_BIT_MODES = {"1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr", "LAB", "HSV"}
"""Pillow's modes of 8 bits a channel. Others do not survive the way to 8-bit RGB."""


def read_bytes(path: Path, what: str) -> bytes:
    """All bytes of a file; `what` it should hold is for the error message.

    Raises
    ------
    InputError
        The file is absent, a folder, or cannot be read.
    """
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise InputError(path, "no such file", what) from None
    except (OSError, ValueError) as error:  # ValueError: a name with a zero byte
        raise InputError(path, getattr(error, "strerror", None) or "an unreadable file", what) from None


@contextmanager
def path_errors(path: object) -> Iterator[None]:
    """Errors of the system about a name in the block, too long or with a zero byte, become InputErrors.

    Raises
    ------
    InputError
        In place of an OSError or of what Python says of a zero byte.
    """
    expected = "the name of a file or folder"
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        raise InputError(error.filename or path, error.strerror or "an error", expected) from None
    except ValueError as error:
        if isinstance(error, InputError) or "embedded null" not in str(error):
            raise
        raise InputError(path, "a name with a zero byte", expected) from None


def is_file(path: Path) -> bool:
    """Whether there is such a file; no for names that no file can have, too long or with a zero byte."""
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False


def decode(path: Path, content: bytes) -> str:
    r"""The UTF-8 text of `content`, without a byte order mark; an error names the line of `path`.

    Examples
    --------
    >>> decode(Path("train.txt"), b"\xef\xbb\xbf000012\n")
    '000012\n'
    >>> decode(Path("train.txt"), b"000012\n\xff\n")
    Traceback (most recent call last):
    ...
    data.records.InputError: train.txt:2: found a byte that is not UTF-8 (0xff); expected a text file in UTF-8
    """
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        found = f"a byte that is not UTF-8 (0x{content[error.start]:02x})"
        raise InputError(f"{path}:{line}", found, "a text file in UTF-8") from None
    return text.removeprefix("\ufeff")


def read_text(path: Path, what: str) -> str:
    """The text of a UTF-8 file; see :func:`read_bytes` and :func:`decode`."""
    return decode(path, read_bytes(path, what))


def read_utf8(path: Path, what: str, lenient: bool = False) -> bytes:
    """The bytes of a text file without a byte order mark, checked to be UTF-8 unless `lenient`."""
    content = read_bytes(path, what).removeprefix(BYTE_ORDER_MARK)
    if not (lenient or content.isascii()):
        decode(path, content)
    return content


def read_json(path: Path, what: str) -> bytes:
    """The content of a JSON file, not yet parsed: UTF-8, without a byte order mark, not empty."""
    content = read_utf8(path, what)
    if not content or content.isspace():
        raise InputError(path, "an empty file", what)
    return content


def parse_json(path: Path, content: bytes) -> Any:
    """What the JSON text says, in Python's own types; NaN and Infinity are numbers here.

    Raises
    ------
    InputError
        Malformed JSON, with line and column.
    """
    try:
        return json.loads(decode(path, content))  # of bytes it would guess the encoding
    except json.JSONDecodeError as error:
        where = f"{path}:{error.lineno}:{error.colno}"
        raise InputError(where, f"malformed JSON ({error.msg})", "JSON; is the file complete?") from None
    except InputError:
        raise
    except ValueError as error:
        raise InputError(
            path, f"a number of too many digits ({reason(error)})", "numbers of a size"
        ) from None
    except RecursionError:
        raise InputError(path, "lists within lists without end", "JSON as COCO's files have it") from None


def read_yaml(path: Path, what: str, malformed: str, keys: str) -> dict[str, Any]:
    """The mapping that a YAML file holds.

    Parameters
    ----------
    path
        The file.
    what, malformed, keys
        What to expect, for the messages of a file that is absent, malformed, or without keys.
    """
    content = parse_yaml(path, read_text(path, what), malformed)
    if not isinstance(content, dict):
        raise InputError(path, "no keys", keys)
    return content


def parse_yaml(path: Path | str, text: str, expected: str) -> Any:
    """What the YAML text says. Aliases are refused: a few lines of them make gigabytes.

    Digits that YAML would read as another number are text: 010 (8) and 12:30 (750).

    Raises
    ------
    InputError
        Malformed YAML, with the line; a key twice; a value that cannot be, such as the date 2001-99-99.
    """
    import yaml  # late: takes as long to import as all else that the formats' lists of classes need

    class Loader(yaml.SafeLoader):
        def compose_node(self, parent: Any, index: Any) -> Any:
            if self.check_event(yaml.AliasEvent):
                mark = self.peek_event().start_mark  # type: ignore[no-untyped-call]
                raise InputError(f"{path}:{mark.line + 1}", "an alias (*name)", "the value itself")
            return super().compose_node(parent, index)

        def construct_mapping(self, node: Any, deep: bool = False) -> Any:
            keys: set[tuple[str, object]] = set()
            for key, _ in node.value:
                if isinstance(key, yaml.ScalarNode):
                    if (key.tag, key.value) in keys:
                        where = f"{path}:{key.start_mark.line + 1}"
                        raise InputError(where, f"the key {key.value[:60]!r} twice", "each key once")
                    keys.add((key.tag, key.value))
            return super().construct_mapping(node, deep)

        def construct_yaml_int(self, node: Any) -> Any:
            return (
                node.value if re.match(r"[-+]?0[\d_]|.*:", node.value) else super().construct_yaml_int(node)
            )

    Loader.add_constructor("tag:yaml.org,2002:int", Loader.construct_yaml_int)
    try:
        return yaml.load(text, Loader)
    except InputError:
        raise
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f"{path}:{mark.line + 1}" if mark else path
        problem = getattr(error, "problem", None) or reason(error)
        raise InputError(where, f"malformed YAML ({problem})", expected) from None
    except Exception as error:  # values that cannot be, lists without end: almost anything
        raise InputError(path, f"malformed YAML ({reason(error)})", expected) from None


def _part(path: Path) -> Path:
    # In the same folder, because a rename is atomic only within one file system.
    return path.with_name(f".{path.name}.{os.getpid()}.part")


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Another name beside `path` to write to; it becomes `path` when the block ends without an error.

    Raises
    ------
    InputError
        The folder is absent or not writable.

    Examples
    --------
    >>> folder = getfixture("tmp_path")
    >>> with replacing(folder / "table.csv") as part:
    ...     size = part.write_text("a,b")
    >>> [file.name for file in folder.iterdir()]
    ['table.csv']
    """
    part = _part(path)
    try:
        yield part
        part.replace(path)
    except OSError as error:
        raise InputError(path, error.strerror or str(error), "a place to write to") from None
    finally:
        part.unlink(missing_ok=True)


def write_text(path: Path | str, text: str) -> None:
    """Write a UTF-8 file atomically; see :func:`write_texts`."""
    write_texts({Path(path): text})


def write_texts(texts: Mapping[Path, str]) -> None:
    """Write UTF-8 files atomically: all under other names first, renamed when the last one is complete.

    Raises
    ------
    InputError
        A folder is absent or not writable.
    """
    parts = {path: _part(path) for path in texts}
    try:
        for path, part in parts.items():
            with part.open("w", encoding="utf-8", newline="\n") as file:
                file.write(texts[path])
        for path, part in parts.items():
            part.replace(path)
    except OSError as error:
        where = error.filename2 or error.filename or next(iter(texts))  # a full disk has no file name
        expected = "a folder to write to" + ("; make room" if error.errno == errno.ENOSPC else "")
        raise InputError(where, error.strerror or "an error", expected) from None
    finally:
        for part in parts.values():
            part.unlink(missing_ok=True)


MOST_PIXELS = 500_000_000
MOST_PIXELS_A_BYTE = 300
"""What a picture may claim to be; a picture of one colour has 64 to 170 (JPEG) or 284 (PNG)."""
FEW_PIXELS = 1 << 26
"""Pixels that any picture may have, however small its file."""
_OPENING = threading.Lock()


def open_picture(path: Path) -> Image.Image:
    """A Pillow image whose header has been read; Pillow's errors.

    Pillow refuses 179 million pixels, which panoramas and satellite images have; here it is files that claim
    more pixels than their bytes can hold that are refused.

    Raises
    ------
    InputError
        More than `MOST_PIXELS`, or more than `MOST_PIXELS_A_BYTE`.
    """
    from PIL import Image  # slow to import, and most formats do without

    with _OPENING:
        limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
        try:
            image = Image.open(path)
        finally:
            Image.MAX_IMAGE_PIXELS = limit
    pixels, size = image.width * image.height, path.stat().st_size
    if pixels > MOST_PIXELS or pixels > max(FEW_PIXELS, MOST_PIXELS_A_BYTE * size):
        image.close()
        found = f"{image.width}x{image.height} pixels in {size:,} bytes, perhaps meant to fill the memory"
        most = f"at most {MOST_PIXELS:,} pixels and {MOST_PIXELS_A_BYTE} a byte"
        raise InputError(path, found, f"{most}: cut or scale the picture")
    return image


def image_size(path: Path) -> tuple[int, int]:
    """Width and height as shown, that is turned as EXIF says, from the file's header.

    Raises InputError as :func:`image_sizes` does.
    """
    return image_sizes(path)[1]


def image_sizes(path: Path) -> tuple[tuple[int, int], tuple[int, int]]:
    """Width and height as stored, and as shown, that is turned as EXIF says, from the file's header.

    Raises
    ------
    InputError
        The file is absent or no image that Pillow knows.
    """
    from PIL import UnidentifiedImageError

    try:
        with open_picture(path) as image:
            stored = image.size
            return stored, stored[::-1] if exif_orientation(image) in QUARTER_TURNS else stored
    except FileNotFoundError:
        raise InputError(path, "no such file", "an image, for its size") from None
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError, MemoryError) as error:
        if isinstance(error, InputError):  # MemoryError: a part that claims gigabytes
            raise
        raise InputError(path, f"no readable image ({reason(error)})", "an image, for its size") from None


def exif_orientation(image: Image.Image) -> int:
    """The EXIF orientation that is left to apply: Pillow turns a TIFF itself, its size from the start."""
    return 1 if image.format == "TIFF" else int(image.getexif().get(EXIF_ORIENTATION, 1))


@contextmanager
def open_image(file: Path, expected: str) -> Iterator[Image.Image]:
    """A Pillow image whose header has been read. Errors of decoding it in the block become InputErrors too.

    Raises
    ------
    InputError
        A missing, truncated or otherwise unreadable file; one of more than 8 bits a channel.
    """
    try:
        with open_picture(file) as image:
            if image.mode not in EIGHT_BIT_MODES:
                found = f"pixels of mode {image.mode!r}"
                raise InputError(file, found, "8 bits a channel: convert the image")
            yield image
    except FileNotFoundError:
        raise InputError(file, "no such file", expected) from None
    except IsADirectoryError:
        raise InputError(file, "a folder", expected) from None
    except InputError:
        raise
    except Exception as error:  # broken content: SyntaxError, ValueError, struct.error and more
        found = f"an image that cannot be decoded ({reason(error)})"
        raise InputError(file, found, f"{expected}, whole: fetch it again") from None


def reason(error: Exception) -> str:
    """What an exception says, in one line; its type where it says nothing."""
    return " ".join(str(error).split()) or type(error).__name__
