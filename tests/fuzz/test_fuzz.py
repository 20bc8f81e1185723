"""The fuzzing of `make test`: the corpus, some changed inputs of it, and structures made by Hypothesis."""

import itertools
import time

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from data.formats import from_predictions, from_table
from data.records import Detections, GroundTruth, InputError
from tests.fuzz.run import CORPUS, mutated, seeds, watched
from tests.fuzz.targets import TARGETS, check_record, documented, read_twice, truth

EXECUTIONS = 60  # of changed inputs, for each target
SECONDS_OF_TARGET = 5  # of CPU, in `make test-long`


pytestmark = pytest.mark.filterwarnings("ignore")


def test_every_target_has_a_corpus():
    assert sorted(TARGETS) == sorted(folder.name for folder in CORPUS.iterdir())


@pytest.mark.parametrize("name", TARGETS)
def test_corpus_and_changed_inputs(name):
    contents = seeds(name)
    for content in contents:
        TARGETS[name](content)
    for content in itertools.islice(mutated(contents, 0), EXECUTIONS):
        watched(TARGETS[name], content)


@pytest.mark.parametrize("name", TARGETS)
def test_changed_inputs_for_seconds(name):
    end = time.process_time() + SECONDS_OF_TARGET
    for content in mutated(seeds(name), 1):
        watched(TARGETS[name], content)
        if time.process_time() > end:
            break


# --- structures -------------------------------------------------------------------------------------

NUMBERS = st.one_of(
    st.integers(-3, 110),
    st.floats(),
    st.floats(-10, 120),
    st.sampled_from([2**53 + 1, 2**64, 1e308, -0.0]),
    st.booleans(),
)
THINGS = st.one_of(
    NUMBERS,
    st.none(),
    st.text(max_size=4),
    st.sampled_from(["cat", "dog", "a.jpg", "7", "\ud800", b"cat", [], {}]),
)


def lists(of):
    return st.lists(of, max_size=3)


PREDICTION = THINGS | st.fixed_dictionaries(
    {
        "boxes": lists(st.lists(NUMBERS, min_size=4, max_size=4)) | THINGS,
        "scores": lists(NUMBERS) | THINGS,
        "labels": lists(THINGS) | THINGS,
    }
)


@given(lists(PREDICTION) | st.dictionaries(st.text(max_size=3) | st.integers(), PREDICTION, max_size=3))
@example({"a": {"boxes": [[0, 0, 2**64, 1]], "scores": [1], "labels": [18]}})
@example({"a": {"boxes": [[0, 0, 10**400, 1]], "scores": [1], "labels": [18]}})
def test_predictions_in_memory(predictions):
    read_twice(lambda lenient: from_predictions(predictions, truth(), lenient=lenient))


@given(
    st.dictionaries(
        st.sampled_from(["image", "class", "score", "x", "y", "w", "h", "image_id", "xmin", "label"]),
        lists(THINGS) | THINGS,
    )
)
def test_tables_in_memory(table):
    read_twice(lambda lenient: from_table(table, truth(), lenient=lenient))


@given(lists(THINGS), lists(THINGS), lists(st.lists(NUMBERS, max_size=5)), lists(NUMBERS), lists(NUMBERS))
def test_records(names, classes, boxes, indices, scores):
    """A record is sound, or an InputError."""
    sizes = [[100, 80]] * 3
    for make in (
        lambda: GroundTruth(names, classes, sizes[: len(names)], indices, scores, boxes, extents=None),
        lambda: GroundTruth(["a"], ["b"], boxes, indices, indices, boxes, difficult=scores, crowd=scores),
        lambda: Detections(names, classes, indices, indices, scores, boxes),
        lambda: Detections(["a"], ["b"], indices, indices, scores, boxes, extents=boxes),
    ):
        record = documented(make)
        if not isinstance(record, InputError):
            check_record(record)
            assert not any(np.isnan(column).any() for column in (record.boxes, record.extents))
