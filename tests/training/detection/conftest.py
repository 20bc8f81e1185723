"""What the tests of training share: a few small scenes, and the command run within this process."""

import contextlib
import csv
import io
import logging
import os
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

from data.shapes import write_shapes
from training.detection import run
from training.detection.command import main


@dataclass(frozen=True)
class Result:
    """How a command ended, and what it printed."""

    code: int
    out: str
    err: str


Command = Callable[..., Result]
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


@pytest.fixture(autouse=True, scope="session")
def unchanged_process() -> Iterator[None]:
    """Take back what Lightning sets for the whole process."""
    environment = dict(os.environ)
    yield
    os.environ.clear()
    os.environ.update(environment)
    torch.use_deterministic_algorithms(False)


@pytest.fixture(scope="session")
def command(scenes: Path) -> Command:
    """Run ``train_detect.py`` with the arguments of a small run, and these; a traceback fails the test."""

    def execute(*further: object, base: bool = True) -> Result:
        out, err = io.StringIO(), io.StringIO()
        words = list(map(str, further))
        if base:
            pairs = arguments(scenes)
            for option, value in zip(pairs[::2], pairs[1::2], strict=True):
                words = words if option in words else [option, value, *words]
        handler = logging.StreamHandler(err)
        root = logging.getLogger()
        root.addHandler(handler)
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err), warnings.catch_warnings():
            warnings.simplefilter("default")
            try:
                code = main(words)
            except SystemExit as ended:
                code = ended.code
        root.removeHandler(handler)
        return Result(code, out.getvalue(), err.getvalue())

    return execute


@pytest.fixture(scope="session")
def log_of() -> Callable[[Path], dict[int, dict[str, float]]]:
    """A reader of a run's log: what each step logged, but for the time it took; no step twice."""
    return read_log


@pytest.fixture(scope="session")
def small_run(scenes: Path) -> list[str]:
    """The arguments of a small run, for a process of its own."""
    return arguments(scenes)


@pytest.fixture(scope="session")
def whole(command: Command, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Result]:
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
    monkeypatch.setattr(run, "_score", lambda *arguments: None)


def read_log(folder: Path) -> dict[int, dict[str, float]]:
    """What a run logged at each step, but for the time it took."""
    log: dict[int, dict[str, float]] = {}
    with (folder / "logs" / "csv" / "metrics.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            step = log.setdefault(int(row.pop("step")), {})
            del row["images_per_second"]
            values = {name: float(value) for name, value in row.items() if value}
            assert not step.keys() & values.keys() - {"epoch"}, "a step is logged twice"
            step.update(values)
    return log
