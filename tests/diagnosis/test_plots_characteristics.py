"""The figures of characteristics carry the numbers and survive the empty cases."""

import numpy as np
import pytest
from matplotlib.container import ErrorbarContainer

from data.records import InputError
from diagnosis.characteristics import Characteristic, characteristics, sensitivity
from diagnosis.figures.plots_characteristics import (
    characteristic_by_class,
    class_characteristics,
    sensitivity_chart,
)
from diagnosis.figures.style import save_figure
from tests.diagnosis.figures import assert_legible, texts
from tests.diagnosis.scenes import crowded


@pytest.fixture(scope="module")
def result():
    return characteristics(crowded(4, objects=90, detections=300))


def curves(figure):
    """Of each chart: places, heights and errors of its dots, and the height of the dashed line."""
    found = []
    for axes in figure.axes:
        for bars in axes.containers:
            assert isinstance(bars, ErrorbarContainer)
            line, _, (stems,) = bars.lines
            spans = [float(np.ptp(stem[:, 1])) / 2 for stem in stems.get_segments()]
            dashed = [one.get_ydata()[0] for one in axes.lines if one.get_linestyle() == "--"]
            found.append((line.get_xdata(), line.get_ydata(), spans, dashed, line.get_linewidth()))
    return found


def test_one_class_by_each_characteristic(result):
    figure = class_characteristics(result, "dog", name="a detector")
    drawn = curves(figure)
    assert len(drawn) == len(result.tables) == 6
    for table, (x, y, error, dashed, width) in zip(result.tables, drawn, strict=True):
        known = table.scores.objects[3] > 0
        assert x.tolist() == np.flatnonzero(known).tolist()
        assert y == pytest.approx(100 * table.scores.apn[3, known])
        assert error == pytest.approx(100 * table.scores.apn_stderr[3, known])
        assert dashed == pytest.approx([100 * result.overall.apn[3]])
        assert (width > 0) == (table.characteristic.name != "pose")  # poses do not follow on one another
    shown = texts(figure)
    assert f"N = {result.overall.objects[3]} objects, a detector" in shown
    assert f"XS\n{result.tables[0].scores.objects[3, 0]}" in shown
    assert f"no\n{result.tables[3].scores.objects[3, 0]}" in shown
    assert_legible(figure)


def test_one_characteristic_by_class(result):
    figure = characteristic_by_class(result, "aspect_ratio")
    assert len(curves(figure)) == 4  # there is no sofa
    assert {"bird", "boat", "cat", "dog"} <= set(texts(figure))
    assert "sofa" not in texts(figure)
    assert any("tall" in text for text in texts(figure))
    assert not any("tall" in text for text in texts(characteristic_by_class(result, "pose")))
    assert_legible(figure)
    assert "no objects" in texts(characteristic_by_class(result, "pose", ["sofa"]))


def test_long_names_of_bins_and_classes_fit(result):
    matching = crowded(4)
    names = tuple(f"a very long name of a bin, number {i}" for i in range(9))
    draw = np.random.default_rng(0)
    kind = Characteristic("a_long_name_of_a_characteristic", names, draw.integers(0, 9, len(matching.truth)))
    wide = characteristics(matching, [kind])
    assert_legible(characteristic_by_class(wide, kind.name))
    assert_legible(class_characteristics(wide, "dog"))
    assert_legible(sensitivity_chart(sensitivity(wide, fewest=1)))


def test_the_summary_spans_the_lowest_to_the_highest(result):
    summary = sensitivity(result)
    figure = sensitivity_chart(summary, name="a detector")
    spans = [
        line.get_ydata() for axes in figure.axes for line in axes.lines
        if line.get_marker() == "o" and line.get_xdata()[0] == line.get_xdata()[1]
    ]  # fmt: skip
    assert len(spans) == len(summary)
    for span, one in zip(spans, summary, strict=True):
        assert span == pytest.approx([100 * one.lowest, 100 * one.highest])
        assert f"{100 * one.highest:.1f}" in texts(figure)
    assert "aspect ratio\n4 classes" in texts(figure)
    assert_legible(figure)


@pytest.mark.parametrize(("objects", "detections"), [(0, 0), (20, 0), (1, 1)])
def test_empty_cases_say_so(objects, detections, tmp_path):
    empty = characteristics(crowded(0, objects, detections))
    with np.errstate(all="raise"):
        figures = [
            class_characteristics(empty, "sofa"),
            characteristic_by_class(empty, "area"),
            sensitivity_chart(sensitivity(empty)),
        ]
    for number, figure in enumerate(figures):
        assert_legible(figure)
        assert save_figure(figure, tmp_path / f"{number}.png", dpi=50).stat().st_size
    assert "no objects" in texts(figures[0])
    if objects < 5:
        assert "not\nknown" in texts(figures[2])


def test_unknown_names_are_refused(result):
    with pytest.raises(InputError, match="'cow'"):
        class_characteristics(result, "cow")
    with pytest.raises(InputError, match="characteristic: found 'colour'; expected one of area"):
        characteristic_by_class(result, "colour")
