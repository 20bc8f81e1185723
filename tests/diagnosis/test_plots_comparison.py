"""Figures of comparisons and curves carry their numbers, overlap nowhere and survive the empty cases."""

import numpy as np
import pytest
from matplotlib.patches import PathPatch, Rectangle
from matplotlib.text import Text

from data.records import Detections, GroundTruth, InputError
from diagnosis.calibration import calibration
from diagnosis.compare import compare
from diagnosis.confusion import confusion_matrix
from diagnosis.figures.plots_compare import (
    class_differences,
    differences,
    intervals,
    save_comparison_figures,
)
from diagnosis.figures.plots_curves import (
    confusion_heatmap,
    precision_recall,
    reliability,
    save_curve_figures,
)
from diagnosis.figures.plots_flow import flow_sankey
from diagnosis.flow import FATES, flow
from diagnosis.record import diagnose

pytestmark = pytest.mark.filterwarnings("error")


def truth_of(classes=4, images=20, objects=60):
    draw = np.random.default_rng(0)
    extent = draw.uniform(20, 60, (objects, 2))
    corner = draw.uniform(0, 200 - extent)
    return GroundTruth(
        [f"image{i}" for i in range(images)], [f"class {i}" for i in range(classes)],
        np.full((images, 2), 200), draw.integers(0, images, objects), np.arange(objects) % max(classes, 1),
        np.concatenate([corner, corner + extent], axis=1),
    )  # fmt: skip


def detected(truth, seed, shift=8.0):
    draw = np.random.default_rng(seed)
    count = 2 * len(truth)
    rows = np.arange(count) % len(truth)
    wrong = np.where(
        draw.random(count) < 0.2, draw.integers(0, len(truth.classes), count), truth.labels[rows]
    )
    boxes = truth.boxes[rows] + np.tile(draw.normal(0, shift, (count, 2)), 2)
    return Detections(truth.images, truth.classes, truth.image_index[rows], wrong, draw.random(count), boxes)


@pytest.fixture(scope="module")
def three():
    truth = truth_of()
    names = ["plain", "a run of a rather long name/with_parts", "$\\gamma$ ünïcode"]
    return [
        diagnose(truth, detected(truth, seed, 6.0 + 4 * seed), name, [truth.classes[:2]])
        for seed, name in enumerate(names)
    ]


@pytest.fixture(scope="module")
def empty():
    truth = truth_of()
    return diagnose(truth, Detections(truth.images, truth.classes, [], [], [], []), "nothing")


def texts(figure):
    return [text.get_text() for axes in figure.axes for text in axes.texts]


def assert_tidy(figure):
    """No two texts overlap and none leaves the page, ticks included."""
    figure.canvas.draw()
    written = [
        text
        for text in figure.findobj(Text)
        if text.get_visible()
        and text.get_text().strip()
        and (text.axes is None or text.get_window_extent().width)
    ]
    hidden = {
        id(tick.label2)
        for axes in figure.axes
        for axis in (axes.xaxis, axes.yaxis)
        for tick in axis.get_major_ticks()
    }
    off = {
        id(text)
        for axes in figure.axes
        if not axes.axison
        for axis in (axes.xaxis, axes.yaxis)
        for text in axis.findobj(Text)
    }
    written = [text for text in written if id(text) not in hidden | off]
    names = [text.get_text() for text in written]
    boxes = np.array([text.get_window_extent().extents for text in written])
    outside = (boxes[:, :2] < -0.5).any(axis=1) | (boxes[:, 2:] > figure.bbox.extents[2:] + 0.5).any(axis=1)
    assert not outside.any(), names[int(outside.argmax())]
    common = np.minimum(boxes[:, None, 2:], boxes[None, :, 2:]) - np.maximum(
        boxes[:, None, :2], boxes[None, :, :2]
    )
    overlap = np.triu((common[..., 0] > 0.5) & (common[..., 1] > 2.5), k=1)
    assert not [(names[i], names[j]) for i, j in np.argwhere(overlap)]


def test_intervals_and_differences(three):
    comparison = compare(three, replicates=40)
    figure = intervals(comparison)
    assert_tidy(figure)
    estimate = comparison.estimate("share/localization", 1)
    text = f"{100 * estimate.value:.1f}  [{100 * estimate.low:.1f}, {100 * estimate.high:.1f}]"
    assert text in texts(figure)
    figure = differences(comparison)
    assert_tidy(figure)
    gap = comparison.difference("map/area", 0, 2)
    assert any(f"{100 * gap.difference:+.1f}".replace("-", "−") in text for text in texts(figure))
    assert any("N = 20 images" in text for text in texts(figure))
    figure = class_differences(comparison, "map/hoiem")
    assert_tidy(figure)
    assert set(three[0].truth.classes) < set(texts(figure))


def test_one_detector_has_no_difference(three):
    one = compare(three[:1], replicates=3)
    assert_tidy(intervals(one))
    with pytest.raises(InputError, match="2 to"):
        differences(one)
    with pytest.raises(InputError, match=r"one of .*map/area"):
        class_differences(compare(three[:2], replicates=3), "pooled/correct")


def test_sankey(three):
    result = flow(three[0], three[1], counted="all")
    figure = flow_sankey(result)
    assert_tidy(figure)
    total = result.total()
    bands = [patch for axes in figure.axes for patch in axes.patches if isinstance(patch, PathPatch)]
    assert len(bands) == (total > 0).sum()
    bars = [patch for axes in figure.axes for patch in axes.patches if isinstance(patch, Rectangle)]
    heights = np.array([bar.get_height() for bar in bars[: (total.sum(axis=1) > 0).sum()]])
    sums = total.sum(axis=1)
    np.testing.assert_allclose(heights / heights.sum(), sums[sums > 0] / sums.sum())
    assert f"correct: {sums[0]:,} ({sums[0] / sums.sum():.1%})" in texts(figure)
    assert_tidy(flow_sankey(result, 1))
    with pytest.raises(InputError, match="4 classes"):
        flow_sankey(result, 4)
    assert len({fate.colour for fate in FATES}) == len(FATES)


def test_precision_recall(three):
    figure = precision_recall(three)
    assert_tidy(figure)
    panels = [axes for axes in figure.axes if axes.axison]
    assert [len(axes.lines) for axes in panels] == [3] * 4
    last = panels[2].lines[1].get_xdata()[-1]
    label = three[1].breakdown.classes.index("class 2")
    assert 0 < last <= 100
    assert f"N = {three[0].breakdown.objects[label]}" in " ".join(texts(figure))
    assert len([axes for axes in precision_recall(three, [1]).axes if axes.axison]) == 1
    with pytest.raises(InputError, match="labels"):
        precision_recall(three, [9])


def test_many_classes_are_cut_to_the_most_frequent():
    truth = truth_of(classes=30, objects=90)
    many = diagnose(truth, detected(truth, 0), "many")
    figure = precision_recall([many])
    assert len([axes for axes in figure.axes if axes.axison]) == 24
    assert any("of 30" in text for text in texts(figure))
    assert_tidy(confusion_heatmap(confusion_matrix(many.matching), "many"))


def test_reliability(three):
    figure = reliability(three, lowest=0.0)
    assert_tidy(figure)
    error = calibration(three[0].matching).expected_error()
    assert any(text.startswith(f"ECE {error:.1%}") for text in texts(figure))
    assert_tidy(reliability(three[:1], label=0))
    with pytest.raises(InputError, match="label"):
        reliability(three, label=4)


def test_confusion(three):
    matrix = confusion_matrix(three[0].matching)
    figure = confusion_heatmap(matrix, three[1].name)
    assert_tidy(figure)
    assert texts(figure).count(f"{100 * matrix.shares()[0, 0]:.0f}") >= 1
    assert {"unmatched", "missed"} < set(texts(figure))


def test_nothing_to_draw(empty, tmp_path):
    comparison = compare([empty], replicates=2)
    files = save_comparison_figures(comparison, [flow(empty, empty)], tmp_path)
    files += save_curve_figures([empty], tmp_path)
    assert all(file.stat().st_size > 1000 for file in files)
    assert {file.name for file in files} >= {
        "intervals.png",
        "flow_1.svg",
        "reliability.png",
        "confusion_1.svg",
    }
    assert not list(tmp_path.glob(".*"))
    truth = GroundTruth(["a"], ["dog"], [[9, 9]], [], [], [])
    bare = diagnose(truth, Detections(["a"], ["dog"], [], [], [], []), "bare")
    assert "no objects" in texts(flow_sankey(flow(bare, bare)))
    assert_tidy(precision_recall([bare]))
    assert_tidy(reliability([bare]))
    assert_tidy(confusion_heatmap(confusion_matrix(bare.matching)))
