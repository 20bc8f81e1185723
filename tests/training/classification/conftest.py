"""What the tests of classification runs share: the command on a few of the shapes, with a narrow VGG-16."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from data import classification
from training.tasks.classification import main

Command = Callable[..., Any]
SHUFFLED = ("--method", "spatial", "--last", "3", "--passes", "2")


def arguments() -> list[str]:
    """A run of six steps in two epochs: 24 images to train on, 8 to validate and 16 to test."""
    return [
        *("--data", "shapes", "--fraction", "0.5", "--validation", "0.25", "--width", "0.0625"),
        *("--batch-size", "8", "--epochs", "2", "--learning-rate", "0.01"),
        *("--accelerator", "cpu", "--workers", "0"),
    ]


@contextmanager
def few_images() -> Iterator[None]:
    """Fewer shapes than the data set has."""
    before = dict(classification.SHAPES)
    classification.SHAPES.update(train=64, test=16)
    try:
        yield
    finally:
        classification.SHAPES.update(before)


@pytest.fixture(autouse=True)
def few_shapes() -> Iterator[None]:
    """In every test here; not beyond, as other tests of this process count the shapes."""
    with few_images():
        yield


@pytest.fixture(scope="session")
def command(within: Command) -> Command:
    """Run ``train_classify.py`` with the arguments of a small run, and these; a traceback fails the test."""

    def execute(*further: object, base: bool = True) -> Any:
        words = list(map(str, further))
        if base:
            pairs = arguments()
            for option, value in zip(pairs[::2], pairs[1::2], strict=True):
                words = words if option in words else [option, value, *words]
        with few_images():  # fixtures of the session run before those of a test
            return within(main, words)

    return execute


@pytest.fixture(scope="session")
def whole(command: Command, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    """A run of six steps with the last three layers shuffled, never stopped. Not to be changed."""
    out = tmp_path_factory.mktemp("runs") / "shuffled"
    result = command("--out", out, *SHUFFLED)
    assert result.code == 0, result.err
    return out, result


@pytest.fixture(scope="session")
def plain(command: Command, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of one step, nothing modified, nothing held out. Not to be changed."""
    out = tmp_path_factory.mktemp("runs") / "plain"
    result = command("--out", out, "--max-steps", 1, "--validation", 0)
    assert result.code == 0, result.err
    return out
