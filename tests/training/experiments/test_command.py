from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from training.experiments.command import main
from training.run_state import locked

RUNS = Path("out/runs")


def calls(pattern: str = "*") -> list[str]:
    files = [*RUNS.glob(f"{pattern}/calls.txt"), *RUNS.glob(f"{pattern}/tested-*/calls.txt")]
    return [line for file in files for line in file.read_text().splitlines()]


def run(file: Path, *words: str) -> int:
    return main([str(file), "--out", "out", *words])


def test_what_is_done_is_not_done_again(
    bench: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    file = bench()
    assert run(file, "--list", "--probe") == 0
    listed = capsys.readouterr().out
    assert "trial: A network, shuffled (4 runs, 0 done)" in listed
    assert "to do: 4 runs, about" in listed
    assert not RUNS.exists()
    assert run(file) == 0
    assert len(calls()) == 4
    assert "[4/4] done in" in capsys.readouterr().out
    assert run(file) == 0
    assert len(calls()) == 4
    assert "to do" not in capsys.readouterr().out


def test_a_second_experiment_makes_only_what_the_first_has_not(bench: Callable[..., Path]) -> None:
    assert run(bench()) == 0
    more = bench(
        "title: More\ndraw: curves\ncommon: {data: shapes, arch: vgg16, epochs: 3}\n"
        "series: [{name: baseline}, {name: channel, options: {method: channel, last: 1}}]\n",
        "more",
    )
    before = len(calls())
    assert run(more) == 0
    assert len(calls()) == before + 1


@pytest.mark.parametrize(("broken", "states"), [(1, (1, 0, 3)), (0, (1, 1, 2))])
def test_a_failed_training_takes_only_its_own_scoring_with_it(
    bench: Callable[..., Path], capsys: pytest.CaptureFixture[str], broken: int, states: tuple[int, ...]
) -> None:
    file = bench()
    RUNS.mkdir(parents=True)
    (RUNS / f"break-last-{broken}").touch()
    assert run(file) == 1
    printed = capsys.readouterr()
    assert tuple(printed.out.count(f"] {state}") for state in ("failed", "skipped", "done")) == states
    name = "spatial-last1" if broken else "plain"
    assert f"error: broken on purpose (exit code 2; out/runs/shapes-vgg16-{name}" in printed.out
    assert "output.log" in printed.out
    assert "missing" in printed.err
    (RUNS / f"break-last-{broken}").unlink()
    assert run(file) == 0
    assert len(calls()) == 5


def test_a_stopped_run_goes_on_by_resume(bench: Callable[..., Path]) -> None:
    file = bench()
    RUNS.mkdir(parents=True)
    (RUNS / "stop-last-1").touch()
    assert run(file, "--set", "logger=[mlflow]") == 130
    assert run(file, "--set", "logger=[mlflow]") == 0
    spatial = calls("*spatial-last1*")
    assert len(spatial) == 2
    assert spatial[0].startswith(
        "--data shapes --arch vgg16 --epochs 3 --method spatial --last 1 --logger mlflow --seed 0 --out"
    )
    assert spatial[1].startswith("--resume out/runs/shapes-vgg16-spatial-last1")
    assert spatial[1].endswith("--logger mlflow"), "a stored one counts only where it is given again"


def test_finished_runs_tell_how_long_a_step_takes(
    bench: Callable[..., Path], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from training.options import MachineOptions
    from training.provenance import provenance
    from training.trainer import resolve_machine

    file, precision = bench(), resolve_machine(MachineOptions()).precision
    assert run(file, "--list") == 0
    listed = capsys.readouterr()
    assert "to do: 4 runs, for an unknown time on this machine" in listed.out
    assert "? s a step (not measured yet: --probe measures it)" in listed.out
    assert listed.err == ""
    assert run(file, "--list", "--probe") == 0
    listed = capsys.readouterr()
    assert "0.02 s a step (a probe)" in listed.out
    assert listed.err.count("how long does a step take?") == 1
    assert run(file, "--list") == 0
    assert "0.02 s a step (a probe)" in capsys.readouterr().out
    stored = json.loads(Path("out/speeds.json").read_text())
    assert next(iter(stored.values())) == {
        f"train_classify vgg16 width 1, 32 pixels, batch 128, auto {precision}": 0.02
    }
    folder = RUNS / "earlier"
    folder.mkdir(parents=True)
    (folder / "scores.json").write_text(json.dumps({"seconds_per_step": 0.5}))
    (folder / "config.yaml").write_text("data: shapes\narch: vgg16\nmethod: none\n")
    (folder / "provenance.json").write_text(json.dumps([provenance()]))
    assert run(file, "--list") == 0
    assert "0.5 s a step (a finished run)" in capsys.readouterr().out


def test_a_probe_beside_other_work_is_not_stored(
    bench: Callable[..., Path], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    file = bench()
    monkeypatch.setattr("os.getloadavg", lambda: (1e3, 0.0, 0.0))
    assert run(file, "--list", "--probe") == 0
    assert "0.02 s a step (a probe while the machine is busy)" in capsys.readouterr().out
    assert not Path("out/speeds.json").exists()


def test_runs_need_the_folder_of_their_data_and_a_list_does_not(
    bench: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    file = bench(bench().read_text().replace("data: shapes", "data: cifar100"))
    assert run(file, "--list") == 0
    assert run(file, "--draw") == 1  # nothing is there to be drawn
    capsys.readouterr()
    for words, found in (
        (["--root", "nowhere", "--list"], "no nowhere"),
        (["--root", "imagenet=."], "none"),
        ([], "none"),
    ):
        assert run(file, *words) == 2
        assert capsys.readouterr().err.startswith(
            f"error: --root: found {found}; expected the folder of cifar100"
        )
    assert run(file, "--root", ".") == 2
    assert capsys.readouterr().err.startswith("error: .: found no train images of CIFAR-100")
    assert not RUNS.exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--lsit"], "did you mean --list?"),
        (["--scale", "2"], "--scale: found 2"),
        (["--set", "widht=1"], "did you mean width?"),
        (["--seeds", "1", "1"], "--seeds: found 1 1"),
        (["--parallel", "0"], "--parallel: found 0"),
        (["--address", "here:1"], "--address: found"),
        (["--on", "mars"], "invalid choice"),
    ],
)
def test_a_wrong_option_is_one_line_and_exit_code_2(
    bench: Callable[..., Path], capsys: pytest.CaptureFixture[str], words: list[str], message: str
) -> None:
    try:
        code = run(bench(), *words)
    except SystemExit as error:
        code = int(str(error.code))
    assert code == 2
    printed = capsys.readouterr().err
    assert printed.count("\n") == 1
    assert message in printed
    assert not RUNS.exists()


def test_two_commands_do_not_make_the_same_runs(
    bench: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    file = bench()
    Path("out").mkdir()
    with locked(Path("out")):
        assert run(file) == 2
    assert "found another process works in this folder" in capsys.readouterr().err


def test_without_arguments_all_experiments_are_listed_with_their_cost(
    capsys: pytest.CaptureFixture[str], root: Path
) -> None:
    assert main([]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 80
    for file in (root / "experiments").glob("*.yaml"):
        cost = r"[\d.]+ (h|days) on a (GPU|CPU)"
        assert sum(bool(re.fullmatch(rf"{file.stem} +\d+ runs?  about {cost}", line)) for line in lines) == 1
    assert "figure4      27 runs  about 20 h on a GPU" in lines
    assert "python reproduce.py --help" in lines


def test_an_installed_package_without_the_experiments_says_so(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setattr("training.experiments.command.EXPERIMENTS", tmp_path)
    assert main([]) == 2
    expected = "expected the folder experiments/ of a clone of the repository"
    assert capsys.readouterr().err == f"error: {tmp_path}: found no experiments; {expected}\n"
