"""The photographs of a set, read one by one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import ImageOps, UnidentifiedImageError

from data.formats.files import open_picture
from data.records import GroundTruth, InputError

__all__ = ["read_picture"]


def read_picture(truth: GroundTruth, image: int) -> NDArray[np.uint8]:
    """``(height, width, 3)`` pixels of an image of the set.

    As stored; or turned as its EXIF says, where only then it has the size that is annotated.

    Raises
    ------
    InputError
        The file is missing, is no image, is damaged, or is not of the annotated size.
    """
    path, what = truth.files[image], f"the photograph of image {truth.images[image]!r}"
    try:
        wanted = tuple(truth.sizes[image].tolist())
        with open_picture(Path(path)) as file:
            turned = file if file.size == wanted else ImageOps.exif_transpose(file)
            pixels: NDArray[np.uint8] = np.asarray((turned if turned.size == wanted else file).convert("RGB"))
    except UnidentifiedImageError:
        raise InputError(path, "a file that is no image", what) from None
    except (OSError, SyntaxError, ValueError) as error:
        if isinstance(error, InputError):
            raise
        if isinstance(error, OSError) and error.strerror:
            raise InputError(path, error.strerror, what) from None
        raise InputError(path, f"a damaged image ({error})", f"{what}, whole") from None
    found = pixels.shape[1], pixels.shape[0]
    if found != wanted:
        sizes = [f"{width} × {height} pixels" for width, height in (found, wanted)]
        raise InputError(path, sizes[0], f"{what} in the size that is annotated, {sizes[1]}")
    return pixels
