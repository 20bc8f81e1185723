"""TIDE's figures carry its numbers, in the colours of its errors, and survive the empty cases."""

import itertools

import numpy as np
import pytest
from matplotlib.colors import to_rgb, to_rgba
from matplotlib.patches import Rectangle, Wedge

from data.records import Detections, GroundTruth, InputError
from diagnosis import match
from diagnosis.breakdown import ERROR_TYPES
from diagnosis.figures.plots_tide import tide_summary
from diagnosis.figures.plots_tide_confusion import confusion
from diagnosis.figures.style import save_figure
from diagnosis.tide import DAP_COLUMNS, TIDE_ERRORS, tide

NAMES = [kind.name for kind in TIDE_ERRORS]


def truth_of(classes=("cat", "dog", "a class of a rather long name")):
    boxes = [[x, 0, x + 10, 10] for x in range(0, 90, 15)]
    return GroundTruth(["a", "b"], classes, [[100, 100]] * 2, [0, 0, 0, 0, 1, 1], [0, 0, 1, 1, 0, 1], boxes)


def result_of(truth, boxes=None, labels=(0, 0, 0, 1, 1, 0), **options):
    found = truth.boxes if boxes is None else np.asarray(boxes, dtype=float).reshape(-1, 4)
    count = len(found)
    scores = np.linspace(0.9, 0.1, count)
    columns = (truth.image_index[:count], labels[:count], scores, found)
    return tide(match(truth, Detections(truth.images, truth.classes, *columns)), **options)


@pytest.fixture(scope="module")
def two():
    truth = truth_of()
    return {
        "confuses": result_of(truth),
        "misplaces": result_of(truth, truth.boxes + np.array([0, 3, 0, 6]), labels=[0, 0, 1, 1, 0, 1]),
    }


def texts(figure):
    return [text.get_text() for axes in figure.axes for text in axes.texts]


def parts(figure, kind):
    return [part for axes in figure.axes for part in axes.patches if isinstance(part, kind)]


def test_bars_and_pies_are_the_gains(two):
    figure = tide_summary(two)
    bars = [bar for bar in parts(figure, Rectangle) if bar.get_label() in DAP_COLUMNS]
    assert [bar.get_label() for bar in bars] == list(DAP_COLUMNS) * 2
    gains = [two[name].dap[kind] for name in two for kind in DAP_COLUMNS]
    six = [bar.get_label() in NAMES for bar in bars]
    for chosen in (six, np.logical_not(six)):  # both blocks have one scale for all detectors
        lengths = np.array([bar.get_width() for bar in bars])[chosen]
        np.testing.assert_allclose(
            lengths / lengths.sum(), np.array(gains)[chosen] / np.sum(np.array(gains)[chosen])
        )
    colours = {kind.name: to_rgba(kind.colour) for kind in TIDE_ERRORS}
    assert all(bar.get_facecolor() == colours[bar.get_label()] for bar in bars if bar.get_label() in NAMES)
    wedges = parts(figure, Wedge)
    assert all(wedge.get_facecolor() == colours[wedge.get_label()] for wedge in wedges)
    angles = np.array([wedge.theta2 - wedge.theta1 for wedge in wedges]).reshape(2, 6)
    for name, share in zip(two, angles / 360, strict=True):
        gain = np.array([two[name].dap[kind] for kind in NAMES])
        np.testing.assert_allclose(share, gain / gain.sum(), atol=1e-12)


def test_summary_says_of_what(two):
    words = texts(tide_summary(two))
    assert "points of AP gained" in words
    assert "N = 6 objects, 6 detections:" in words
    assert {f"{100 * two['confuses'].dap['cls']:.1f}", "confuses", "misplaces"} <= set(words)
    moved = texts(tide_summary({"x": result_of(truth_of(), iou=0.75, background=0.2)}))
    assert any("0.2 to 0.75" in text for text in moved)


@pytest.mark.parametrize("boxes", [[], [[80, 80, 90, 90]]], ids=["no detections", "no true positive"])
def test_little_to_show(boxes, tmp_path):
    result = result_of(truth_of(), boxes)
    figure = tide_summary({"little": result})
    assert save_figure(figure, tmp_path / "summary.png").stat().st_size > 1000
    assert "mAP 0.0% (101 recalls, IoU 0.5)" in texts(figure)
    assert "No confusions" in texts(confusion("little", result))


def test_a_gain_that_does_not_exist_is_no_nought():
    missed = result_of(truth_of(), [])  # with no object missed no class is left
    words = texts(tide_summary({"blind": missed}))
    assert words.count("–") == 3  # miss, FN and what it means
    assert any(text.startswith("No class with objects or detections") for text in words)
    found = truth_of()
    perfect = texts(tide_summary({"perfect": result_of(found, labels=found.labels)}))
    assert "nothing to gain" in perfect
    assert "–" not in perfect


def test_no_objects_and_no_detections(tmp_path):
    nothing = GroundTruth(["a"], ["cat"], [[9, 9]], [], [], [])
    result = tide(match(nothing, Detections(["a"], ["cat"], [], [], [], [])))
    figure = tide_summary({"nothing": result})
    assert any(text.startswith("no mAP") for text in texts(figure))
    assert "no shares" in texts(figure)
    for name, drawn in (("summary", figure), ("confusion", confusion("nothing", result))):
        save_figure(drawn, tmp_path / f"{name}.svg")


def test_detectors_on_other_objects_are_refused(two):
    other = result_of(truth_of(("x", "y", "z")))
    with pytest.raises(InputError, match="one ground truth"):
        tide_summary({"a": two["confuses"], "b": other})
    with pytest.raises(InputError, match="one pair of overlaps"):
        tide_summary({"a": two["confuses"], "b": result_of(truth_of(), iou=0.75)})
    with pytest.raises(InputError, match="0 detectors"):
        tide_summary({})


def test_matrix_shows_each_cell_and_the_largest_confusions(two):
    result = two["confuses"]
    matrix = result.confusion_matrix(result.top)
    figure = confusion("confuses", result)
    words = texts(figure)
    numbers = [text for text in words if text.isdigit()]
    assert sorted(map(int, numbers)) == sorted(matrix[matrix > 0].tolist())
    assert "1: dog taken for cat" in words
    assert {"missed", "none of these", "cat", "a class of a rather long name"} <= set(words)
    (image,) = [image for axes in figure.axes for image in axes.images]
    shown = np.asarray(image.get_array())
    np.testing.assert_array_equal((shown == 1).all(axis=2), matrix == 0)
    correct, both = np.array(to_rgb(ERROR_TYPES[0].colour)), matrix[1, 1] / matrix[1].sum()
    np.testing.assert_allclose(shown[1, 1], 1 - (0.06 + 0.94 * both**0.7) * (1 - correct))


def test_chosen_detections_and_many_classes(two):
    result = two["confuses"]
    figure = confusion("confuses", result, np.zeros(len(result.types), bool))
    assert "No confusions" in texts(figure)
    many = result_of(truth_of([f"class {number}" for number in range(80)]))
    figure = confusion("many", many)
    assert not any(text.isdigit() for text in texts(figure))
    assert "class 79" in texts(figure)
    assert figure.get_size_inches().max() < 20


@pytest.mark.parametrize("classes", [3, 20, 80])
def test_no_text_leaves_the_page_and_no_names_overlap(classes):
    names = [f"class of number {number}" for number in range(classes)]
    results = {"a detector with a name that is too long for its column, and more": result_of(truth_of(names))}
    for figure in (tide_summary(results), confusion(*next(iter(results.items())))):
        renderer = figure.canvas.get_renderer()
        page = figure.bbox
        boxes = [
            text.get_window_extent(renderer) for axes in figure.axes for text in axes.texts if text.get_text()
        ]
        for box in boxes:
            assert box.x0 >= page.x0 - 1
            assert box.x1 <= page.x1 + 1
            assert box.y0 >= page.y0 - 1
            assert box.y1 <= page.y1 + 1
        for one, other in itertools.combinations(boxes, 2):
            wide = min(one.x1, other.x1) - max(one.x0, other.x0)
            high = min(one.y1, other.y1) - max(one.y0, other.y0)
            assert wide < 2 or high < 2
