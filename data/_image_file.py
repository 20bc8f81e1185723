"""Opening an image file, or saying why it cannot be."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from PIL import Image

from data.records import InputError

__all__ = ["open_image"]

_MODES = {"1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr", "LAB", "HSV"}
"""Pillow's modes of 8 bits a channel. Others do not survive the way to 8-bit RGB."""


@contextmanager
def open_image(file: Path, expected: str) -> Iterator[Image.Image]:
    """An image whose header has been read; what goes wrong when it is decoded becomes an InputError too.

    Parameters
    ----------
    file
        Anything Pillow reads.
    expected
        What the file should be, for the error message.

    Raises
    ------
    InputError
        A missing, truncated or otherwise unreadable file; one of more than 8 bits a channel.
    """
    try:
        with Image.open(file) as image:
            if image.mode not in _MODES:
                raise InputError(
                    file, f"pixels of mode {image.mode!r}", "8 bits a channel: convert the image"
                )
            yield image
    except FileNotFoundError:
        raise InputError(file, "no such file", expected) from None
    except InputError:
        raise
    except (
        Exception
    ) as error:  # broken content makes Pillow raise SyntaxError, ValueError, struct.error and more
        reason = " ".join(str(error).split()) or type(error).__name__
        raise InputError(
            file, f"an image that cannot be decoded ({reason})", f"{expected}, whole: fetch it again"
        ) from None
