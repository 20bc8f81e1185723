"""Options by group, and the learning rates that they describe."""

import dataclasses
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data.records import InputError
from detector.registry import cells_and_stride
from training.module import learning_rate
from training.tasks import classification_options
from training.tasks.detection_options import DataOptions, ModelOptions, Options


def test_flat_and_back():
    options = Options.from_flat({"arch": "resnet18", "train": ["2012:train"], "epochs": 3, "no_option": 1})
    assert Options.from_flat(options.flat()) == options
    assert Options.from_flat({}) == Options()
    assert options.flat()["arch"] == "resnet18"
    assert Options().data.train is not Options().data.train  # two never share their lists
    with pytest.raises(dataclasses.FrozenInstanceError):
        Options().model.arch = "resnet18"  # type: ignore[misc]


def test_the_defaults_are_those_of_the_paper():
    with pytest.raises(InputError, match="--root"):
        Options().check()
    options = Options.from_flat({"root": "VOCdevkit"})
    options.check()
    assert options.data.train_lists == ["2007:trainval", "2012:trainval"]
    assert options.data.test_lists == ["2007:test"]
    assert DataOptions(data="shapes").train_lists == ["shapes:trainval"]
    assert (options.optimization.epochs, options.optimization.learning_rate) == (500, 0.001)
    assert cells_and_stride(448, options.model.grid) == (14, 32)


@pytest.mark.parametrize(
    ("data", "given_batch", "expected"),
    [
        ("imagenet", None, (90, 256, 1e-4, (1 / 3, 2 / 3))),
        ("cifar100", 64, (300, 64, 5e-4, (0.5, 0.75))),
        ("shapes", None, (30, 128, 5e-4, (0.5, 0.75))),
    ],
)
def test_what_is_left_out_is_the_papers_for_the_data_set(data, given_batch, expected):
    options = classification_options.Options.from_flat({"data": data, "batch_size": given_batch}).resolved()
    chosen = options.optimization
    found = (chosen.epochs, chosen.batch_size, chosen.weight_decay, options.recipe.drops)
    assert found == expected


def test_a_width_has_no_effect_on_a_backbone_of_ones_own():
    ModelOptions(backbone="torchvision:mobilenet_v3_small").check()
    with pytest.raises(InputError, match=r"--width: found 0.5 beside --backbone timm:resnet10t"):
        ModelOptions(backbone="timm:resnet10t", width=0.5).check()


@given(st.integers(32, 1024), st.integers(-1, 200), st.sampled_from([None, 32, 16, 8]))
def test_a_grid_is_one_of_three_or_refused(size, grid, stride):
    grid = grid if stride is None else math.ceil(size / stride)
    model = ModelOptions(grid=grid)
    if grid in [math.ceil(size / stride) for stride in (32, 16, 8)]:
        model.check_grid(size)
        assert math.ceil(size / cells_and_stride(size, grid)[1]) == grid
    else:
        with pytest.raises(InputError, match=f"--grid: found {grid}; expected "):
            model.check_grid(size)


@given(
    start=st.floats(1e-6, 10),
    share=st.floats(1e-4, 1),
    steps=st.integers(1, 1000),
    warmup=st.integers(0, 50),
)
def test_exponential_learning_rate(start, share, steps, warmup):
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
