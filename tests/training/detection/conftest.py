"""What the tests of detection runs share: a few small scenes, and the command run within this process."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from data.shapes import write_shapes
from training.tasks.detection import DetectionTask, main

Command = Callable[..., Any]
SHUFFLED = ("--shuffle", "last", "--passes", "2")


def arguments(root: Path) -> list[str]:
    """A run of six steps in two epochs: 12 images to train on, 4 to validate and 6 to test."""
    return [
        *("--data", "voc", "--root", str(root), "--train", "shapes:train", "--test", "shapes:val"),
        *("--arch", "resnet18", "--input-size", "64", "--batch-size", "4", "--epochs", "2"),
        *("--validation", "0.25", "--accelerator", "cpu", "--workers", "0"),
    ]


@pytest.fixture(scope="session")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A VOCdevkit with the tree VOCshapes. Not to be changed."""
    root = tmp_path_factory.mktemp("scenes")
    write_shapes(root, train=16, val=6, test=6, size=(64, 64))
    return root


@pytest.fixture(scope="session")
def command(scenes: Path, within: Command) -> Command:
    """Run ``train_detect.py`` with the arguments of a small run, and these; a traceback fails the test."""

    def execute(*further: object, base: bool = True) -> Any:
        words = list(map(str, further))
        if base:
            pairs = arguments(scenes)
            for option, value in zip(pairs[::2], pairs[1::2], strict=True):
                words = words if option in words else [option, value, *words]
        return within(main, words)

    return execute


@pytest.fixture(scope="session")
def small_run(scenes: Path) -> list[str]:
    """The arguments of a small run, for a process of its own."""
    return arguments(scenes)


@pytest.fixture(scope="session")
def whole(command: Command, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    """A run of six steps with the last layer shuffled, never stopped. Not to be changed."""
    out = tmp_path_factory.mktemp("runs") / "shuffled"
    result = command("--out", out, *SHUFFLED)
    assert result.code == 0, result.err
    return out, result


@pytest.fixture(scope="session")
def plain(command: Command, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of one step, nothing shuffled, nothing held out. Not to be changed."""
    out = tmp_path_factory.mktemp("runs") / "plain"
    result = command("--out", out, "--max-steps", 1, "--validation", 0, "--sheet", 0)
    assert result.code == 0, result.err
    return out


@pytest.fixture
def unscored(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave out the scoring at the end of a run."""
    monkeypatch.setattr(DetectionTask, "score", lambda *arguments, **named: None)
