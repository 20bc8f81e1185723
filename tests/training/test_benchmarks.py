"""The benchmarks of training measure a step, as `docs/performance.md` says they do."""

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent


def output_of(script: str, *words: object) -> str:
    """What a benchmark prints."""
    command = [sys.executable, f"benchmarks/{script}", *map(str, words)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_ledger_splits_the_step_of_a_detector_and_of_a_classifier(tmp_path: Path) -> None:
    out = output_of(
        "train.py", "--rows", "resnet18-224", "perceptron", "--steps", 1, "--batch-size", 2, "--out", tmp_path
    )
    rows = [line.strip("|").split("|") for line in out.splitlines() if line.startswith("|")]
    columns = [name.strip() for name in rows[0]]
    detector, classifier = (dict(zip(columns, map(str.strip, row), strict=True)) for row in rows[2:])
    whole = sum(float(detector[name]) for name in columns[columns.index("decode") : columns.index("step")])
    assert abs(whole - float(detector["step"])) < 1
    assert float(detector["decode"]) > 0
    assert not classifier["decode"]
    assert re.fullmatch(r"\d+%", classifier["matmul"])
    assert (tmp_path / "train.png").stat().st_size > 10_000


def test_loss_curves_of_all_ways_of_training() -> None:
    out = output_of("loss_curves.py", "--seeds", 0, "--epochs", 1)
    found = dict(re.findall(r"\| (\w+) \| (\d\.\d\d) \(", out))
    assert set(found) == {"plain", "fast", "auto"}
    assert max(map(float, found.values())) - min(map(float, found.values())) < 0.2


def test_what_a_second_process_costs_and_the_time_to_the_first_step() -> None:
    out = output_of("two_processes.py", "--batch-size", 1, "--steps", 1, "--turns", 1)
    assert float(re.findall(r"with another process ([\d.]+) times", out)[0]) > 0
    found = re.fullmatch(
        r"now: processor time ([\d.]+) s .*, (\d+) modules\n", output_of("first_step.py", "--turns", 1)
    )
    assert found, out
    assert float(found[1]) > 0.5
    assert 1000 < int(found[2]) < 4000
