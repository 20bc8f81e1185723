"""What the tests of training share: a command run within this process, and a reader of its log."""

import contextlib
import csv
import io
import logging
import os
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch


@dataclass(frozen=True)
class Result:
    """How a command ended, and what it printed."""

    code: int
    out: str
    err: str


Main = Callable[[Sequence[str]], int]


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
