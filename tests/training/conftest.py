"""What the tests of training share: a small run of each task, within this process; a reader of logs."""

import contextlib
import csv
import io
import logging
import os
import shutil
import signal
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pytest
import torch

from data import classification
from data.shapes import write_shapes
from training.checkpoint import read_checkpoint
from training.module import TrainingModule
from training.task import Task
from training.tasks.classification import CLASSIFICATION
from training.tasks.classification import main as train_classify
from training.tasks.detection import DETECTION
from training.tasks.detection import main as train_detect

Main = Callable[[Sequence[str]], int]

UNPATCHED: list[tuple[type, str, Any]] = [
    (type(DETECTION), "score", type(DETECTION).score),
    (TrainingModule, "training_step", TrainingModule.training_step),
]
"""What tests replace, for the runs that all tests share."""


@dataclass(frozen=True)
class Result:
    """How a command ended, and what it printed."""

    code: int
    out: str
    err: str

    def is_done(self, *parts: str) -> bool:
        """It ended with code 0, and printed these parts."""
        assert self.code == 0, self.err
        assert all(part in self.out for part in parts), (parts, self.out)
        return True

    def is_refused(self, *parts: object) -> bool:
        """It ended with code 2 and one line of error, which has these parts."""
        assert self.code == 2, self
        assert self.err.startswith("error: ")
        assert self.err.count("\n") == 1, self.err
        for part in parts:
            assert str(part) in self.err, (part, self.err)
        return True


def run_within(main: Main, words: Sequence[object]) -> Result:
    """Run a command in this process; a traceback fails the test."""
    out, err = io.StringIO(), io.StringIO()
    handler = logging.StreamHandler(err)
    root = logging.getLogger()
    root.addHandler(handler)
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err), warnings.catch_warnings():
        warnings.simplefilter("default")
        try:
            code = main(list(map(str, words)))
        except SystemExit as ended:
            code = ended.code
    root.removeHandler(handler)
    return Result(code, out.getvalue(), err.getvalue())


@pytest.fixture(scope="session")
def within() -> Callable[[Main, Sequence[object]], Result]:
    """Runs a command in this process."""
    return run_within


def draw_nothing(patch: pytest.MonkeyPatch) -> None:
    """Leave out the curves of a run, and the figures and sheets of diagnoses."""
    patch.setattr("training.run.draw_curves", lambda log, picture: None)
    patch.setattr("diagnosis.figures.save_figures", lambda *arguments: [])
    patch.setattr("diagnosis.figures.save_sheet", lambda diagnoses, out, **named: out / "examples.png")


@contextlib.contextmanager
def few_images() -> Iterator[None]:
    """Fewer shapes to classify than the embedded data set has."""
    before = dict(classification.SHAPES)
    classification.SHAPES.update(train=64, test=16)
    try:
        yield
    finally:
        classification.SHAPES.update(before)


@dataclass
class SmallRun:
    """A command with the arguments of a small run: six steps in two epochs, shuffled where asked for."""

    name: str
    task: Task
    main: Main
    base: list[str]
    shuffled: tuple[str, ...]
    folder: Path

    def __call__(self, *further: object, base: bool = True, figures: bool = False) -> Result:
        """Run it with these words, which replace those of the base; figures take longer than the run."""
        words = list(map(str, further))
        if base:
            for option, value in zip(self.base[::2], self.base[1::2], strict=True):
                words = words if option in words else [option, value, *words]
        with few_images(), pytest.MonkeyPatch.context() as patch:
            if not figures:
                draw_nothing(patch)
            return run_within(self.main, words)

    @cached_property
    def whole(self) -> tuple[Path, Result]:
        """A run with something shuffled, never stopped. Not to be changed."""
        out = self.folder / self.name / "shuffled"
        with pytest.MonkeyPatch.context() as patch:
            for owner, name, method in UNPATCHED:
                patch.setattr(owner, name, method)
            result = self("--out", out, *self.shuffled, figures=True)
        assert result.code == 0, result.err
        return out, result

    @cached_property
    def plain(self) -> Path:
        """A run of one step, nothing shuffled, nothing held out. Not to be changed."""
        out = self.folder / self.name / "plain"
        result = self("--out", out, "--max-steps", 1, "--validation", 0)
        assert result.code == 0, result.err
        return out

    def read(self, checkpoint: Path) -> dict[str, Any]:
        """The content of a checkpoint."""
        return read_checkpoint(checkpoint, self.task.script, self.task.hyper_parameter_types)


@pytest.fixture(scope="session")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A VOCdevkit with the tree VOCshapes. Not to be changed."""
    root = tmp_path_factory.mktemp("scenes")
    write_shapes(root, train=16, val=6, test=6, size=(64, 64))
    return root


@pytest.fixture(scope="session")
def small_runs(scenes: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, SmallRun]:
    """Both tasks: 12 scenes to train on, 4 to validate, 6 to test; 24 images, 8 and 16 of a narrow VGG-16."""
    folder = tmp_path_factory.mktemp("runs")
    common = "--epochs 2 --validation 0.25 --accelerator cpu --precision 32-true --workers 0"
    detect = f"--data voc --root {scenes} --train shapes:train --test shapes:val --sheet 3"
    network = "--arch resnet18 --width 0.25 --head-channels 64 --score-threshold 0.0001"
    classify = "--data shapes --fraction 0.5 --width 0.0625 --batch-size 8 --learning-rate 0.01"
    runs = [
        SmallRun(
            "detection",
            DETECTION,
            train_detect,
            f"{detect} {network} --input-size 64 --batch-size 4 {common}".split(),
            ("--shuffle", "last", "--passes", "2"),
            folder,
        ),
        SmallRun(
            "classification",
            CLASSIFICATION,
            train_classify,
            f"{classify} {common}".split(),
            ("--method", "spatial", "--last", "3", "--passes", "2"),
            folder,
        ),
    ]
    return {run.name: run for run in runs}


@pytest.fixture(params=["detection", "classification"])
def small(request: pytest.FixtureRequest, small_runs: dict[str, SmallRun]) -> SmallRun:
    """Each task in turn."""
    return small_runs[request.param]


detection = pytest.mark.parametrize("small", ["detection"], indirect=True)
classifier = pytest.mark.parametrize("small", ["classification"], indirect=True)


@pytest.fixture
def devkit(scenes: Path, tmp_path: Path) -> Path:
    """A copy of the scenes, to be damaged."""
    shutil.copytree(scenes, tmp_path / "devkit")
    return tmp_path / "devkit"


@pytest.fixture
def handle() -> Iterator[Callable[[int, Any], None]]:
    """Sets the handler of a signal until the test ends: ``handle(number, handler)``."""
    before: dict[int, Any] = {}
    yield lambda number, handler: before.update({number: signal.signal(number, handler)})
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture
def few_shapes() -> Iterator[None]:
    """The images of the small classification run, for what a test reads itself."""
    with few_images():
        yield


@pytest.fixture
def unscored(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave out the scoring at the end of a detection run, which takes longer than the run."""
    monkeypatch.setattr(type(DETECTION), "score", lambda *arguments, **named: None)


@pytest.fixture
def at_step(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Call a function with the module at the beginning of a step, in the runs that follow."""

    def install(step: int, act: Callable[[TrainingModule], None], patch: Any = monkeypatch) -> None:
        original = TrainingModule.training_step

        def training_step(self: Any, batch: Any, batch_index: int) -> Any:
            if self.global_step == step:
                act(self)
            return original(self, batch, batch_index)

        patch.setattr(TrainingModule, "training_step", training_step)

    return install


@pytest.fixture(autouse=True, scope="session")
def unchanged_process() -> Iterator[None]:
    """Take back what Lightning sets for the whole process."""
    environment = dict(os.environ)
    yield
    os.environ.clear()
    os.environ.update(environment)
    torch.use_deterministic_algorithms(False)


@pytest.fixture(scope="session")
def log_of() -> Callable[[Path], dict[int, dict[str, float]]]:
    """A reader of a run's log: what each step logged, but for the time it took; no step twice."""
    return read_log


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


@pytest.fixture
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave out all pictures."""
    draw_nothing(monkeypatch)
