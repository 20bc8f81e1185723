"""Random numbers as a pure function of (seed, stream, key).

A *stream* is one purpose of random numbers. Its number goes into the seed, so that no two purposes draw the
same numbers from one seed. The draws of torch, the shuffles of layers, are in :mod:`detector.shuffle`.
"""

from __future__ import annotations

from enum import Enum, unique

import numpy as np

from data.records import InputError

__all__ = ["Stream", "check_seed", "generator", "seed_sequence"]


@unique
class Stream(Enum):
    """What random numbers are drawn for. :func:`enum.unique` refuses two streams of one number.

    To change a number is to change the draws. A stream whose value is a text has no number: its key is the
    seed and the key alone, as it was before there were numbers, and the lengths of the keys tell them apart.
    """

    ORDER_OF_IMAGES = 0
    """Key: epoch."""
    AUGMENTATION = 1
    """Augmentation for detection. Key: epoch, image."""
    CROPS_OF_ARRAYS = 2
    """Key: epoch."""
    CROPS_OF_FILES = 3
    """Key: epoch, image."""
    VALIDATION_IMAGES = 4
    FRACTION_OF_IMAGES = 5
    SHAPE_IMAGES = 6
    """Key: CRC-32 of the split, image."""
    PROFILED_IMAGES_CLASSIFIER = 7
    PROFILED_IMAGES_DETECTOR = 8
    INPUT_SIZES = 9
    """Key: step."""
    SCENES = "scenes"
    """Key: CRC-32 of the split, image."""
    RESAMPLED_IMAGES = "resampled images"
    """Key: pair of replicates."""
    RESAMPLED_RUNS = "resampled runs"
    """Key: group, number of runs."""


def check_seed(seed: int) -> None:
    """Raise an InputError if `seed` is negative."""
    if seed < 0:
        raise InputError("seed", str(seed), "a number from 0")


def seed_sequence(seed: int, stream: Stream, *key: int) -> np.random.SeedSequence:
    """What the generator of a stream starts from.

    Raises
    ------
    InputError
        A negative seed.
    """
    check_seed(seed)
    number = [stream.value] if isinstance(stream.value, int) else []
    return np.random.SeedSequence([*number, seed, *key])


def generator(seed: int, stream: Stream, *key: int) -> np.random.Generator:
    """The generator of a stream, at its beginning.

    Parameters
    ----------
    seed
        Not negative.
    stream
        The purpose.
    key
        Which draws of the stream: epoch and image, for instance; each not negative.

    Raises
    ------
    InputError
        A negative seed.

    Examples
    --------
    >>> order = generator(0, Stream.ORDER_OF_IMAGES, 3).permutation(5)
    >>> bool((order == generator(0, Stream.ORDER_OF_IMAGES, 3).permutation(5)).all())
    True
    """
    return np.random.default_rng(seed_sequence(seed, stream, *key))
