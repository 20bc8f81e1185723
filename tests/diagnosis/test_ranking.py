"""The fast sorts against Python's own, which is stable too."""

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from diagnosis.matching import argsort_ascending, argsort_descending, sort_within

ALIKE = 0.1 + np.arange(4) * 1e-12  # one number in single precision
scores = st.one_of(
    st.floats(allow_nan=False, allow_infinity=False),
    st.sampled_from([0.0, -0.0, 1e300, 2e300, -1e300, -2e300, 1e-60, -1e-60, 5e-324, *ALIKE.tolist()]),
)


def rising(keys, order=None):
    return sorted(range(len(keys)) if order is None else order, key=lambda row: keys[row])


@settings(max_examples=200, deadline=None)
@given(st.lists(scores, max_size=30))
@example([])
@example([2e300, 1e300, 3e300])
@example([0.0, -0.0, 0.0])
@pytest.mark.filterwarnings("error::RuntimeWarning")
def test_falling_scores_of_any_size(values):
    assert argsort_descending(np.array(values, dtype=float)).tolist() == rising([-value for value in values])


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(0, 1 << 40), max_size=30), st.randoms())
def test_rising_keys_keep_the_order_that_was(keys, random):
    order = random.sample(range(len(keys)), len(keys))
    column = np.array(keys, dtype=np.int64)
    assert argsort_ascending(column, np.array(order, dtype=np.int64)).tolist() == rising(keys, order)
    assert argsort_ascending(column).tolist() == rising(keys)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.lists(st.integers(0, 3), max_size=6), max_size=8))
@example([])
def test_each_run_is_sorted_by_itself(runs):
    start = np.cumsum([0, *map(len, runs)])
    values = np.array([value for run in runs for value in run], dtype=float)
    expected = [
        first + row for first, run in zip(start, runs, strict=False) for row in rising([-v for v in run])
    ]
    assert sort_within(start, values).tolist() == expected
