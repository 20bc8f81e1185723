"""Random numbers from named streams."""

import numpy as np
import pytest

from data.records import InputError
from data.streams import Stream, generator, seed_sequence


def test_draws_as_before() -> None:
    """The numbers that runs of earlier versions drew."""
    keys = {
        Stream.ORDER_OF_IMAGES: ([0, 5, 2], (2,)),
        Stream.AUGMENTATION: ([1, 5, 2, 9], (2, 9)),
        Stream.CROPS_OF_ARRAYS: ([2, 5, 2], (2,)),
        Stream.CROPS_OF_FILES: ([3, 5, 2, 9], (2, 9)),
        Stream.VALIDATION_IMAGES: ([4, 5], ()),
        Stream.FRACTION_OF_IMAGES: ([5, 5], ()),
        Stream.SHAPE_IMAGES: ([6, 5, 77, 9], (77, 9)),
        Stream.SCENES: ([5, 77, 9], (77, 9)),
        Stream.RESAMPLED_IMAGES: ([5, 31], (31,)),
        Stream.RESAMPLED_RUNS: ([5, 1, 4], (1, 4)),
    }
    for stream, (numbers, key) in keys.items():
        expected = np.random.default_rng(numbers).random(4)
        assert (generator(5, stream, *key).random(4) == expected).all(), stream
        assert seed_sequence(5, stream, *key).generate_state(2).tolist() == (
            np.random.SeedSequence(numbers).generate_state(2).tolist()
        )


def test_numbered_streams_share_no_draw() -> None:
    first = {
        stream: generator(6, stream, 6, 6).random() for stream in Stream if isinstance(stream.value, int)
    }
    assert len(first) == 10  # an Enum drops the second of two members of one value
    assert len(set(first.values())) == 10


def test_negative_seed() -> None:
    with pytest.raises(InputError, match="seed: found -1; expected a number from 0"):
        generator(-1, Stream.SCENES)
