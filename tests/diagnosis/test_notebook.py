"""What a diagnosis shows in a notebook, the figures it returns there, and the notebook of the docs."""

import ast
import json
import sys

import numpy as np
import pytest
from matplotlib.figure import Figure

from data.records import Detections, GroundTruth, InputError
from diagnosis import ERROR_TYPES, compare, diagnose, plot
from diagnosis.average_precision import AP_KINDS
from diagnosis.demo import read_demo
from tests.diagnosis.scenes import crowded


@pytest.fixture(scope="module")
def pair(demo_folder):
    demo = read_demo(demo_folder)
    assert ["cross", "star"] in demo.similar
    return [
        diagnose(demo.truth, getattr(demo, name), name, demo.similar) for name in ("baseline", "shuffled")
    ]


@pytest.fixture(scope="module")
def comparison(pair):
    return compare(*pair, replicates=20)


def test_a_diagnosis_shows_verdict_bar_and_classes(pair):
    html = pair[1]._repr_html_()
    assert pair[1].verdict in html
    assert html.count('role="img"') == 1
    assert html.count("<tr>") == 1 + 1 + 8  # headings, all classes, each class
    assert "shuffled: correct 59.8 %, localization 34.2 %" in html  # for a screen reader
    lowest = min(pair[1].to_frame().coco50.items(), key=lambda item: item[1])[0]
    assert html.split("<tr>")[3].split(">")[1].split("<")[0] == lowest
    assert len(html) < 20_000
    # Its own text and background are the theme's.
    assert "<script" not in html
    assert "http" not in html
    assert ";color:#" not in html
    assert "background:white" not in html


def test_a_comparison_shows_a_bar_and_a_row_for_each_detector(comparison, pair):
    assert [*map(repr, pair), repr(comparison)] == [
        "<Diagnosis of baseline: 323 detections, 207 objects>",
        "<Diagnosis of shuffled: 577 detections, 207 objects>",
        "<Comparison of baseline, shuffled: 20 resamples>",
    ]
    html = comparison._repr_html_()
    assert comparison.verdict in html
    assert html.count('role="img"') == 2
    assert html.count("<tr>") == 3
    assert compare(pair, replicates=20).verdict == comparison.verdict  # a list is the same


def test_names_are_escaped_and_many_classes_cut():
    names = [f"<b>{number}" for number in range(40)]
    boxes = [[0, 0, 9, 9]] * 40
    truth = GroundTruth(["a"], names, [[90, 90]], [0] * 40, range(40), boxes)
    nothing = Detections(["a"], names, [], [], [], np.zeros((0, 4)))
    html = diagnose(truth, nothing, "<script>", coco=False)._repr_html_()
    assert "<b>3" not in html
    assert "<script>" not in html
    assert "&lt;b&gt;3" in html
    assert html.count("<tr>") == 1 + 1 + 30
    assert "10 more classes" in html
    assert "nan" not in html


def test_nothing_at_all_is_shown_too():
    truth = GroundTruth([], ["dog"], np.zeros((0, 2)), [], [], np.zeros((0, 4)))
    nothing = diagnose(truth, Detections([], ["dog"], [], [], [], np.zeros((0, 4))))
    assert "no class has objects" in nothing._repr_html_()
    assert isinstance(plot.gallery(nothing), Figure)


def test_the_frame_has_the_numbers_of_the_diagnosis(pair, monkeypatch):
    frame = pair[0].to_frame()
    shares = [error.name for error in ERROR_TYPES]
    assert list(frame.columns) == ["objects", "counted", *shares, *AP_KINDS]
    assert list(frame.index) == list(pair[0].truth.classes)
    np.testing.assert_array_equal(frame[shares].to_numpy(), pair[0].breakdown.shares)
    assert frame.counted.sum() == pair[0].breakdown.counts.sum()
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(InputError, match="found no package pandas; expected pandas: pip install pandas"):
        pair[0].to_frame()


def test_a_figure_shows_itself_without_a_magic_line(pair):
    assert plot.pies(pair[0])._repr_png_().startswith(b"\x89PNG")


def pictures(figure):
    return [axes for axes in figure.axes if axes.get_images()]


def test_a_gallery_shows_the_surest_of_a_kind(pair):
    shuffled = pair[1]
    figure = plot.gallery(shuffled, kind="localization", n=3)
    scores = [axes.texts[0].get_text().split()[1] for axes in pictures(figure)]
    place = [error.name for error in ERROR_TYPES].index("localization")
    wrong = shuffled.detections.scores[shuffled.breakdown.counted_types == place]
    assert scores == [f"{score:.2f}" for score in sorted(wrong)[::-1][:3]]
    assert f"3 of {len(wrong)}, the highest score first" in " ".join(t.get_text() for t in figure.texts)
    assert not any(axes.get_title().startswith("is ") for axes in pictures(figure))
    (confused,) = pictures(plot.gallery(shuffled, kind="similar", n=1))  # its own class is on the picture
    found, (what, image) = confused.texts[0].get_text().split()[0], confused.get_title().split(" · ")
    assert image in shuffled.truth.images
    assert what.removeprefix("is ") in set(shuffled.truth.classes) - {found}


def test_a_gallery_of_missed_objects_leaves_out_found_and_difficult_ones():
    matching = crowded(1)
    d = diagnose(matching.truth, matching.detections, coco=False)
    figure = plot.gallery(d, n=1000)
    found = set(d.assignment.object_rows.tolist())
    missed = [row for row in range(len(d.truth)) if row not in found and not d.matching.ignored[row]]
    assert 0 < len(missed) == len(pictures(figure))
    assert "Grey: the photograph is not at hand." in " ".join(text.get_text() for text in figure.texts)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"kind": "mised"}, "kind: found 'mised'; expected one of missed, correct, .*did you mean 'missed'"),
        ({"n": 0}, "n: found 0; expected a whole number, at least one"),
        ({"n": 2.5}, "n: found 2.5; expected a whole number, at least one"),
    ],
)
def test_a_gallery_of_nothing_known_is_an_error(pair, given, said):
    with pytest.raises(InputError, match=said):
        plot.gallery(pair[0], **given)


def test_the_notebook_of_the_docs_runs(root, demo_folder, monkeypatch):
    notebook = json.loads((root / "docs" / "notebook.ipynb").read_text(encoding="utf-8"))
    monkeypatch.chdir(demo_folder.parent)
    names, shown = {}, []
    for cell in notebook["cells"]:
        if cell["cell_type"] == "code":
            body = ast.parse("".join(cell["source"])).body
            last = body.pop() if isinstance(body[-1], ast.Expr) else None
            exec(compile(ast.Module(body, []), "docs/notebook.ipynb", "exec"), names)
            if last is not None:
                shown.append(eval(compile(ast.Expression(last.value), "docs/notebook.ipynb", "eval"), names))
    assert [type(value).__name__ for value in shown[:3]] == ["Diagnosis", "Comparison", "str"]
    assert shown[2].startswith("baseline is better than shuffled: ")
    assert [isinstance(value, Figure) for value in shown[3:5]] == [True, True]
    assert shown[5].loc["disc", "localization"] > 0.3
