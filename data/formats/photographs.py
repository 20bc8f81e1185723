"""Image files: where they are and how large, without decoding them."""

from __future__ import annotations

from pathlib import Path

from data.records import InputError

__all__ = ["IMAGE_SUFFIXES", "UNKNOWN_SIZE", "image_size"]

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".gif", ".mpo", ".dng", ".pfm")
"""Endings of image files, in small letters."""

UNKNOWN_SIZE = 1 << 24
"""Width and height of an image that nobody knows: nothing is clipped by it."""

ORIENTATION = 0x0112  # EXIF's tag
TURNED = (5, 6, 7, 8)  # its values that stand for a quarter turn


def image_size(path: Path) -> tuple[int, int]:
    """Width and height as shown, that is with EXIF's orientation heeded, from the file's header.

    Raises
    ------
    InputError
        The file is absent or no image that Pillow knows.
    """
    from PIL import Image, UnidentifiedImageError  # not before it is needed

    try:
        with Image.open(path) as image:  # reads the header alone
            width, height = image.size
            turned = image.getexif().get(ORIENTATION) in TURNED
    except FileNotFoundError:
        raise InputError(path, "no such file", "an image, for its size") from None
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise InputError(path, f"no readable image ({error})", "an image, for its size") from None
    return (height, width) if turned else (width, height)
