"""From finished runs to rows, tables, notes and figures."""

from __future__ import annotations

import csv
import io
import itertools
import json
import math
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.text import Text
from PIL import Image

from data.formats import read_ground_truth
from data.records import InputError
from diagnosis.breakdown import ERROR_NAMES
from training.experiments.collect import Row, collect, read_curve, read_result
from training.experiments.command import main
from training.experiments.figures import draw
from training.experiments.paper import claims_table, paper_accuracy
from training.experiments.plan import Overrides, Plan, Run, make_plan
from training.experiments.schema import read_experiment
from training.experiments.tables import differences, notes, to_csv, to_markdown

FILES = ["figure1", "table1", "figure4", "figure5", "table2", "figure6", "figure7", "figure9"]


def scores_of(run: Run, value: float) -> Mapping[str, Any]:
    if run.script == "train_detect":
        shares = dict(zip(ERROR_NAMES, (0.5, 0.2, 0.1, 0.05, 0.15), strict=True))
        single = {
            "map": {"voc07": {"mean": value}},
            "shares": {name: {"mean": share} for name, share in shares.items()},
        }
        return {"test_images": 4952, "passes": 1, "single_passes": single}
    score = {"mean": value, "std": None, "averaged": value, "single": [value]}
    counts = {"test_images": 10_000, "passes": 10, "parameters": 37_700_000}
    return {**counts, "accuracy": score, "accuracy_top5": score}


def finish(plan: Plan, folder: Path, value: Callable[[Run], float | None]) -> None:
    """Write scores for the runs that `value` gives one."""
    for run in plan.runs:
        number = value(run)
        if number is not None:
            (folder / run.name).mkdir(parents=True, exist_ok=True)
            (folder / run.name / "scores.json").write_text(json.dumps(scores_of(run, number)))


def planned(root: Path, name: str, seeds: tuple[int, ...] = (0,), **changes: Any) -> Plan:
    experiment = read_experiment(root / "experiments" / f"{name}.yaml")
    return make_plan(experiment, Overrides(**{"roots": {"": "data"}, **changes}), seeds)


def drawn(
    plan: Plan, folder: Path, value: Callable[[Run], float | None]
) -> tuple[list[Row], Figure, list[str]]:
    """The rows of a plan whose runs are finished, its figure, and the texts in that."""
    finish(plan, folder, value)
    rows = collect(plan, folder)
    figure = draw(plan, rows, folder)
    return rows, figure, [text.get_text() for text in figure.findobj(Text) if isinstance(text, Text)]


def overlapping(axes: Axes) -> bool:
    boxes = [text.get_window_extent() for text in axes.texts]
    return any(one.overlaps(other) for one, other in itertools.combinations(boxes, 2))


def nothing(run: Run) -> None:
    """No run is finished."""


def test_rows_are_means_over_seeds_with_their_spread(root: Path, tmp_path: Path) -> None:
    plan = planned(root, "figure1", (0, 1, 2))
    finish(plan, tmp_path, lambda run: None if run.seed == 2 else 0.7 + 0.02 * run.seed)
    row = collect(plan, tmp_path)[0]
    assert row.mean() == pytest.approx(71.0)
    assert row.std() == pytest.approx(math.sqrt(2))
    assert [run.seed for run in row.missing] == [2]
    assert math.isnan(row.std("pass_std"))


def test_scores_that_are_none_are_one_clear_error(tmp_path: Path) -> None:
    file = tmp_path / "scores.json"
    for content in ("", "[]", '{"test_images": 3}'):
        file.write_text(content)
        with pytest.raises(InputError, match="found no scores"):
            read_result(file)


def test_a_run_of_before_an_error_type_was_added_keeps_its_other_numbers(root: Path, tmp_path: Path) -> None:
    run = planned(root, "pretrained").runs[0]
    scores = scores_of(run, 0.7)
    del scores["single_passes"]["shares"]["other"]
    (tmp_path / "scores.json").write_text(json.dumps(scores))
    result = read_result(tmp_path / "scores.json")
    assert result["map"] == pytest.approx(70)
    assert math.isnan(result["other"])


def test_a_curve_is_the_mean_of_each_epochs_steps(tmp_path: Path) -> None:
    folder = tmp_path / "logs" / "csv"
    assert read_curve(tmp_path).epochs == ()
    folder.mkdir(parents=True)
    (folder / "metrics.csv").write_text(
        "step,epoch,accuracy,val/accuracy\n0,0,0.1,\n1,0,0.3,\n1,0,,0.25\n2,1,0.5,\n"
    )
    curve = read_curve(tmp_path)
    assert curve.epochs == (1, 2)
    assert curve.train == pytest.approx((20, 50))
    assert curve.validation[0] == 25
    assert math.isnan(curve.validation[1])


@pytest.mark.parametrize("name", FILES)
def test_tables_have_our_numbers_beside_the_papers(root: Path, tmp_path: Path, name: str) -> None:
    plan = planned(root, name, (0, 1))
    finish(plan, tmp_path, lambda run: 0.61 + 0.02 * run.seed)
    rows = collect(plan, tmp_path)
    lines = list(csv.DictReader(io.StringIO(to_csv(plan, rows))))
    assert len(lines) == len(plan.points)
    ours = "map" if name == "figure9" else "accuracy"
    assert {float(line[ours]) for line in lines} == {62.0}
    assert {line["seeds"] for line in lines} == {"0 1"}
    papers = {line["paper"] for line in lines} | {line["paper_drop"] for line in lines}
    markdown = to_markdown(plan, rows)
    for number in papers - {""}:
        assert f"{float(number):g}" in markdown or f"{float(number):.2f}" in markdown
    assert "62.0" in markdown
    for table in markdown.split("## What the paper claims"):
        assert len({len(line) for line in table.splitlines() if line.startswith("|")}) == 1


def test_what_is_not_there_is_empty_in_the_table_and_never_nought(root: Path, tmp_path: Path) -> None:
    plan = planned(root, "table1")
    finish(plan, tmp_path, lambda run: None)
    rows = collect(plan, tmp_path)
    lines = list(csv.DictReader(io.StringIO(to_csv(plan, rows))))
    assert {(line["accuracy"], line["parameters"], line["drop"]) for line in lines} == {("", "", "")}
    assert "Missing: 8 of 8 results." in notes(plan, rows)


def test_notes_say_what_is_smaller_than_in_the_paper(root: Path, tmp_path: Path) -> None:
    plan = planned(root, "figure4", scale=0.1, options={"width": 0.25, "precision": "bf16-mixed"})
    assert differences(plan) == [
        "share of the training images 0.1 instead of 1",
        "width of the network 0.25 instead of 1",
        "epochs 30 instead of 300",
    ]
    said = " ".join(notes(plan, collect(plan, tmp_path)))
    assert "Not as in figure4.yaml: share of the training images 0.1 instead of 1;" in said
    assert "Precision: bf16-mixed." in said
    assert "One seed." in said
    assert differences(planned(root, "figure4")) == []
    lists = differences(planned(root, "pretrained", options={"train": ["2012:train"]}))
    assert lists == ["train 2012:train instead of the usual lists"]
    several = differences(planned(root, "figure5", scale=0.1))
    assert "epochs 30 instead of 300, 9 instead of 90" in several


@pytest.mark.parametrize(
    ("name", "share"), [(name, 0.6) for name in FILES] + [("figure4", 0.0), ("figure4", 1.0)]
)
def test_a_figure_is_drawn_of_what_there_is(root: Path, tmp_path: Path, name: str, share: float) -> None:
    plan = planned(root, name, (0, 1))
    numbers = iter(np.random.default_rng(0).random(len(plan.runs)))
    _, figure, words = drawn(plan, tmp_path, lambda run: 0.5 if next(numbers) < share else None)
    said = " ".join(words)
    assert plan.experiment.title.split()[0] in said
    assert "paper" in said
    assert ("Missing" in said) == (share < 1)
    inked = figure.get_tightbbox()
    width, height = figure.get_size_inches()
    assert min(inked.x0, inked.y0, width - inked.x1, height - inked.y1) > 0.1  # inches: nothing is cut off


def papers_in(axes: Axes) -> list[tuple[float, float]]:
    """Where the paper's numbers are drawn."""
    marks = [line for line in axes.lines if line.get_marker() == "d"]
    points = [(line.get_xdata(), line.get_ydata()) for line in marks]
    return [(round(float(np.asarray(x)[0])), round(float(np.asarray(y)[0]), 2)) for x, y in points]


@pytest.mark.parametrize(
    ("level", "label"), [(0.7, "top-1 accuracy (%)"), (0.3, "change from own baseline (points)")]
)
def test_panels_have_one_scale_from_the_baseline_where_ours_is_far_below(
    root: Path, tmp_path: Path, level: float, label: str
) -> None:
    plan = planned(root, "figure5")
    lowered = iter(np.linspace(0, 0.2, len(plan.runs)))
    plain = {run.name for point in plan.points if point.variant.method == "none" for run in point.runs}
    _, figure, words = drawn(
        plan, tmp_path, lambda run: level if run.name in plain else level - next(lowered)
    )
    assert {axes.get_ylabel() for axes in figure.axes} == {label}
    assert len({axes.get_ylim() for axes in figure.axes}) == 1
    zero = 74.10 if level < 0.5 else 0.0
    papers = sorted(value for _, value in papers_in(figure.axes[0]))
    assert papers == pytest.approx(sorted(value - zero for value in (74.10, 74.07, 71.44, 57.05)))
    assert ("Baselines: VGG-16, CIFAR-100 30.0 % (paper 74.1 %)" in " ".join(words)) == (level < 0.5)
    assert "nan" not in " ".join(words)


@pytest.mark.parametrize("name", ["figure4", "figure5", "figure6", "figure7"])
def test_labels_do_not_lie_on_each_other(root: Path, tmp_path: Path, name: str) -> None:
    _, figure, _ = drawn(planned(root, name), tmp_path, lambda run: 0.735)
    figure.draw_without_rendering()
    assert not any(map(overlapping, figure.axes))


def test_panels_without_results_have_the_scale_of_the_papers_numbers(root: Path, tmp_path: Path) -> None:
    _, figure, _ = drawn(planned(root, "figure5"), tmp_path, nothing)
    (top,) = {axes.get_ylim()[1] for axes in figure.axes}
    assert 74.1 < top < 90


def test_papers_numbers_are_drawn_where_they_belong(root: Path, tmp_path: Path) -> None:
    _, figure, _ = drawn(planned(root, "figure4"), tmp_path, nothing)
    marks = {(0, 74.10), (31, 74.07), (54, 71.44), (77, 57.05), (31, 67.56), (77, 4.84), (8, 71.44)}
    assert set(papers_in(next(axes for axes in figure.axes if axes.get_xlabel()))) == marks


def test_the_command_leaves_table_figure_and_provenance(
    bench: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    file = bench()
    assert main([str(file), "--out", "out", "--draw"]) == 1  # nothing is there, and it says so
    assert "missing in trial: 4 of 4 results are not there yet" in capsys.readouterr().err
    assert main([str(file), "--out", "out", "--seeds", "0", "1"]) == 0
    names = {path.name for path in Path("out/trial").iterdir()}
    assert names == {"table.csv", "table.md", "trial.png", "trial.svg", "provenance.json"}
    facts = json.loads(Path("out/trial/provenance.json").read_text())
    assert facts["seeds"] == [0, 1]
    assert facts["missing"] == []
    for run in facts["runs"].values():
        assert not Path(run).is_absolute()
        assert (Path("out/trial") / run / "scores.json").is_file()
    assert "0.700" not in Path("out/trial/table.csv").read_text()
    assert re.search(r"70\.05 ± 0\.07", Path("out/trial/table.md").read_text())


def in_process(jobs: Sequence[Any], report: Callable[[Any], None]) -> list[Any]:
    """Carry jobs out within the test's own process: to start one for each takes seconds."""
    from training.launch import Outcome
    from training.tasks.classification import main as classify

    outcomes = []
    for job in jobs:
        assert job.command[1] == "train_classify.py" or job.command[1].endswith("/train_classify.py")
        assert classify(list(job.command[2:])) == 0
        outcomes.append(Outcome(job.name, "done", 1.0, ""))
        report(outcomes[-1])
    return outcomes


def test_a_detector_that_detects_nothing_has_no_pie(root: Path, tmp_path: Path) -> None:
    plan = planned(root, "figure9")
    finish(plan, tmp_path, lambda run: 0.0)
    for file in tmp_path.rglob("scores.json"):
        scores = json.loads(file.read_text())
        scores["single_passes"]["shares"] = {name: {"mean": None} for name in ERROR_NAMES}
        file.write_text(json.dumps(scores))
    words = [text.get_text() for text in draw(plan, collect(plan, tmp_path), tmp_path).findobj(Text)]
    assert words.count("nothing detected") == len(plan.points) == 2


def test_a_true_training_and_its_scoring_from_end_to_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from training.experiments import command

    class InProcess:
        stopped_by = 0
        run = staticmethod(in_process)

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(command, "LocalLauncher", lambda parallel: InProcess())
    Path("tiny.yaml").write_text(
        "title: Tiny\ndraw: train_test\n"
        "common: {data: shapes, arch: vgg16, width: 0.03125, epochs: 1, fraction: 0.1, passes: 2}\n"
        "series:\n  - name: no shuffle → no shuffle\n"
        "  - name: no shuffle → spatial shuffle\n    test: {method: spatial, last: 4}\n"
    )
    words = ["tiny.yaml", "--out", "out", "--set", "workers=0", "accelerator=cpu"]
    assert main(words) == 0
    rows = list(csv.DictReader(io.StringIO(Path("out/tiny/table.csv").read_text())))
    assert [row["passes"] for row in rows] == ["1", "2"]
    assert all(0 <= float(row["accuracy"]) <= 100 for row in rows)


def test_claims_are_answered_by_the_runs_or_said_not_to_be_run(root: Path, tmp_path: Path) -> None:
    plan = planned(root, "figure5", (0, 1), only={"data": ("cifar100",), "arch": ("vgg16",)})
    scores = {("none", None): 0.7, ("spatial", 4): 0.69, ("spatial", 7): 0.6299}
    finish(
        plan, tmp_path, lambda run: scores.get((run.options.get("method", "none"), run.options.get("last")))
    )
    table: Any = claims_table(collect(plan, tmp_path))
    found = {line[0]: line for line in table[1] if line[1].endswith("spatial")}
    assert found["within 1 % with the last 31 % modified"][3:5] == ["-1.00", "yes"]  # exactly at the limit
    assert found["within 7 % with the last 54 % modified"][3:5] == ["-7.01", "no"]
    assert found["spatial shuffle and GAP+FC behave similarly, last 4"][3:5] == ["–", "not run"]
    said = to_markdown(plan, collect(plan, tmp_path))
    assert "## What the paper claims" in said
    assert said.count("| not run ") == 4  # GAP+FC at both depths, and its likeness to the shuffle
    other = planned(root, "figure5", only={"last": (1,), "arch": ("vgg16",)})
    assert claims_table(collect(other, tmp_path)) is None


def test_figure_9_adds_the_detections_of_the_right_class(root: Path, tmp_path: Path) -> None:
    plan = planned(root, "figure9", (0, 1))
    rows, figure, words = drawn(plan, tmp_path, lambda run: 0.5)
    assert not any(map(overlapping, figure.axes))  # no line's name runs into its number
    assert words.count("correct + localization (%)") == 2
    assert {"73.3", "73.7"} <= set(words)
    assert words.count("70.0 ± 0.0") == 2
    said = to_markdown(plan, rows)
    assert "70.0 ± 0.0 (paper 73.3)" in said
    assert said.count("similar in the rest") == 3
    assert re.search(r"localization errors are doubled .* 1.00 +\| no ", said)
    plan = planned(root, "pretrained")
    finish(plan, tmp_path, lambda run: 0.5)
    assert "(paper 66)" in to_markdown(plan, collect(plan, tmp_path))
    assert paper_accuracy(plan.points[0].variant) is None
    assert plan.points[0].variant.baseline == plan.points[0].variant


def test_figure_8_is_the_sheet_of_the_runs_of_figure_9(root: Path, tmp_path: Path) -> None:
    figures = planned(root, "figure8"), planned(root, "figure9")
    assert [run.name for run in figures[0].runs] == [run.name for run in figures[1].runs]
    folder = tmp_path / "data" / "VOC2007"
    for name in ("JPEGImages", "Annotations", "ImageSets/Main"):
        (folder / name).mkdir(parents=True)
    names = [f"{number:06}" for number in range(12)]
    (folder / "ImageSets/Main/test.txt").write_text("\n".join(names) + "\n")
    for name in names:
        Image.new("RGB", (40, 30)).save(folder / "JPEGImages" / f"{name}.jpg")
        (folder / "Annotations" / f"{name}.xml").write_text(
            f"<annotation><filename>{name}.jpg</filename><size><width>40</width><height>30</height>"
            "<depth>3</depth></size><object><name>dog</name><difficult>0</difficult><bndbox><xmin>5</xmin>"
            "<ymin>5</ymin><xmax>20</xmax><ymax>20</ymax></bndbox></object></annotation>"
        )
    plan = planned(root, "figure8", roots={"": str(tmp_path / "data")})
    assert "not there yet" in drawn(plan, tmp_path, nothing)[2]
    finish(plan, tmp_path, lambda run: 0.5)
    truth = read_ground_truth(f"{folder}:test")
    for run in plan.runs:
        folder = tmp_path / run.name / "detections"
        folder.mkdir()
        (folder / "comp4_det_test_dog.txt").write_text(f"{truth.images[0]} 0.9 5 5 20 20\n")
    words = set(drawn(plan, tmp_path, lambda run: 0.5)[2])
    assert set(truth.images[:11]) <= words
    assert truth.images[11] not in words
    assert {"baseline", "spatial shuffle of the last layer"} <= words


def test_the_papers_protocol_is_noted_and_no_difference(root: Path, tmp_path: Path) -> None:
    plan = planned(root, "figure4", options={"protocol": "paper"})
    assert differences(plan) == []
    said = " ".join(notes(plan, collect(plan, tmp_path)))
    assert "best on the test images" in said
    assert "held out" not in said
