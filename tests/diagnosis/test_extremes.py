"""The surest errors, the objects found last and those never found, against sorting by hand."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data.records import InputError
from diagnosis import assign, verdicts
from diagnosis.worst_cases import worst_cases
from tests.diagnosis.scenes import CLASSES, SIMILAR, crowded


@settings(max_examples=15)
@given(
    st.integers(0, 10**6), st.sampled_from([(0, 0), (0, 30), (3, 8), (30, 0), (40, 160)]), st.integers(0, 4)
)
def test_the_rows_are_the_first_of_each_class_and_type(seed, size, each):
    matching = crowded(seed, *size)
    truth, found = matching.truth, matching.detections
    result = worst_cases(matching, SIMILAR, each)
    kinds, strong = verdicts(matching, SIMILAR), assign(matching, 0.5)
    by_score = sorted(range(len(found)), key=lambda row: (-found.scores[row], row))
    by_area = sorted(
        range(len(truth)), key=lambda row: (-float(np.prod(truth.boxes[row, 2:] - truth.boxes[row, :2])), row)
    )
    errors, last, missed = [], [], []
    for label in range(len(CLASSES)):
        mine = [row for row in by_score if found.labels[row] == label]
        for kind in range(1, 5):
            errors += [row for row in mine if kinds.types[row] == kind][:each]
        last += [row for row in reversed(mine) if strong.labels[row] == 1][:each]
        taken = set(strong.objects[mine])
        mine = [row for row in by_area if truth.labels[row] == label and not matching.ignored[row]]
        missed += [row for row in mine if row not in taken][:each]
    assert result.errors.tolist() == errors
    assert result.error_types.tolist() == kinds.types[errors].tolist()
    assert result.confused_with.tolist() == kinds.confused_with[errors].tolist()
    assert result.found_last.tolist() == last
    assert result.found_objects.tolist() == strong.objects[last].tolist()
    assert result.missed.tolist() == missed


def test_a_negative_number_is_refused():
    with pytest.raises(InputError, match="each: found -1"):
        worst_cases(crowded(), SIMILAR, -1)
