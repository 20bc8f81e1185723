from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from data.records import InputError
from training.experiments.figures import DRAW
from training.experiments.plan import Overrides, make_plan
from training.experiments.schema import DRAWINGS, read_experiment

START = "title: A\ndraw: percent\n"


def test_every_experiment_of_the_paper_is_sound_and_says_command_cost_and_score(root: Path) -> None:
    files = sorted((root / "experiments").glob("*.yaml"))
    assert {"figure1", "table1", "figure4"} <= {file.stem for file in files}
    for file in files:
        text = file.read_text(encoding="utf-8")
        comment = text[: text.index("\ntitle:")]
        assert all(line.startswith("#") for line in comment.splitlines())
        assert f"python reproduce.py experiments/{file.name}" in comment
        assert "GPU" in comment
        assert "To expect (paper" in comment
        make_plan(read_experiment(file), Overrides(roots={"": "data"}))


def test_every_form_is_drawn() -> None:
    assert set(DRAWINGS) == set(DRAW)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "found no keys; expected a mapping with"),
        ("a: [", "trial.yaml:1: found"),
        (START, "trial.yaml: series: found None; expected a list"),
        (START + "sereis: []\n", "unknown key 'sereis'; expected one of .* did you mean series"),
        ("title: A\ndraw: pie\nseries: [{name: a}]\n", "found 'pie'; expected one of .*; did you mean pies"),
        (
            START + "series: [{name: a, options: {metod: none}}]\n",
            "no option 'metod'; .* did you mean method",
        ),
        (START + "series: [{name: a}, {name: a}]\n", "found 'a' 2 times"),
        (START + "series: [{name: a, sweep: {last: 3}}]\n", "sweep: last: found 3; expected a list"),
        (START + "seeds: [0, 0]\nseries: [{name: a}]\n", "seeds: found"),
        (START + "common: {seed: 3}\nseries: [{name: a}]\n", "found seed; expected the seeds of all runs"),
    ],
)
def test_a_wrong_file_is_one_clear_error(bench: Callable[..., Path], content: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        read_experiment(bench(content))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("{method: spatial, last: four}", "--last: found 'four'; expected a whole number or null"),
        ("{method: spatial, last: true}", "--last: found True; expected a whole number or null"),
        ("{layers: [a]}", r"--layers: found \['a'\]; expected a list of whole numbers"),
        ("{layers: 3}", r"--layers: found 3; expected a list of whole numbers, as in layers=\[3\]"),
        ("{method: spatial}", "--method: found 'spatial'; expected one of --last"),
        ("{fraction: 2}", "--fraction: found 2"),
        ("{method: spatail}", "--method: found 'spatail'; expected one of none, spatial"),
    ],
)
def test_values_are_checked_before_any_run(bench: Callable[..., Path], options: str, message: str) -> None:
    content = START + f"common: {{data: shapes}}\nseries: [{{name: a, options: {options}}}]\n"
    with pytest.raises(InputError, match=message):
        make_plan(read_experiment(bench(content)), Overrides())


def test_a_missing_file_is_named() -> None:
    with pytest.raises(InputError, match="found no such file"):
        read_experiment(Path("nowhere.yaml"))
