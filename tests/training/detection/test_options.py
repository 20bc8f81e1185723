"""Options by group, and the learning rate that they describe."""

import dataclasses
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data.records import InputError
from training.schedule import learning_rate
from training.tasks.detection import DataOptions, ModelOptions, Options


def test_flat_and_back():
    options = Options.from_flat({"arch": "resnet18", "train": ["2012:train"], "epochs": 3, "no_option": 1})
    assert Options.from_flat(options.flat()) == options
    assert Options.from_flat({}) == Options()
    assert options.flat()["arch"] == "resnet18"


def test_the_defaults_are_those_of_the_paper():
    with pytest.raises(InputError, match="--root"):
        Options().check()
    options = Options.from_flat({"root": "VOCdevkit"})
    options.check()
    assert options.data.train_lists == ["2007:trainval", "2012:trainval"]
    assert options.data.test_lists == ["2007:test"]
    assert DataOptions(data="shapes").train_lists == ["shapes:trainval"]
    assert (options.optimization.epochs, options.optimization.learning_rate) == (500, 0.001)
    assert options.model.cells(448) == 14


def test_two_options_never_share_their_lists():
    assert Options().data.train is not Options().data.train


def test_options_are_not_changed():
    with pytest.raises(dataclasses.FrozenInstanceError):
        Options().model.arch = "resnet18"  # type: ignore[misc]


@given(st.integers(32, 1024), st.sampled_from([32, 16, 8]))
def test_every_grid_of_a_stride_is_accepted(size, stride):
    model = ModelOptions(grid=math.ceil(size / stride))
    assert math.ceil(size / model.stride(size)) == model.grid


@given(st.integers(32, 1024), st.integers(-1, 200))
def test_a_grid_is_one_of_three_or_refused(size, grid):
    model = ModelOptions(grid=grid)
    if grid in [math.ceil(size / stride) for stride in (32, 16, 8)]:
        model.stride(size)
    else:
        with pytest.raises(InputError, match=f"--grid: found {grid}; expected "):
            model.stride(size)


@given(
    start=st.floats(1e-6, 10),
    share=st.floats(1e-4, 1),
    steps=st.integers(1, 1000),
    warmup=st.integers(0, 50),
)
def test_learning_rate(start, share, steps, warmup):
    rates = [
        learning_rate(step, start=start, end=start * share, steps=steps, warmup=warmup)
        for step in range(steps + 1)
    ]
    for step in range(warmup, steps):
        assert rates[step + 1] / rates[step] == pytest.approx(share ** (1 / steps))  # exponential
    for step in range(min(warmup, steps)):
        decayed = start * share ** (step / steps)
        assert rates[step] == pytest.approx(decayed * (step + 1) / warmup)  # linear, up to the decay
    if warmup <= 1:
        assert rates[0] == start
    if steps >= warmup - 1:
        assert rates[-1] == pytest.approx(start * share)
    late = learning_rate(2 * steps, start=start, end=start * share, steps=steps, warmup=0)
    assert late == pytest.approx(start * share)
