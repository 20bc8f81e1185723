"""The figures of impact and trends carry the numbers in the types' colours, and survive the empty cases."""

import numpy as np
import pytest
from matplotlib.colors import to_hex
from matplotlib.patches import Rectangle

from data.records import InputError
from diagnosis import ERROR_TYPES, error_masks
from diagnosis.figures.plots_impact import BARS, detection_areas, false_positive_areas, impact_bars
from diagnosis.figures.style import save_figure
from diagnosis.impact import VARIANTS, impact
from diagnosis.trends import detection_trend, false_positive_trend
from tests.diagnosis.figures import assert_legible, texts
from tests.diagnosis.scenes import CLASSES, SIMILAR, crowded

GROUPS = {"pets": ["cat", "dog"], "a group with a rather long name of its own": list(CLASSES)}


@pytest.mark.parametrize("normalized", [False, True])
def test_bars_are_the_points_gained(normalized):
    result = impact(crowded(1), SIMILAR)
    figure = impact_bars(result, GROUPS, name="a detector", normalized=normalized)
    rows = [[variant.name for variant in VARIANTS].index(bar[0]) for bar in BARS]
    labels = [bar[1] for bar in BARS]
    drawn = [
        patch for axes in figure.axes for patch in axes.patches
        if isinstance(patch, Rectangle) and patch.get_label() in labels
    ]  # fmt: skip
    wanted = [result.bars(members, normalized=normalized)[rows] for members in GROUPS.values()]
    assert [bar.get_width() / 100 for bar in drawn] == pytest.approx(np.concatenate(wanted))
    colours = [to_hex(bar.get_edgecolor()) for bar in drawn[:4]]
    assert colours == [ERROR_TYPES[kind].colour.lower() for kind in (1, 1, 2, 4)]
    assert [bar.get_hatch() is not None for bar in drawn[:4]] == [False, True, False, False]
    assert f"{100 * wanted[0][0]:.1f}" in texts(figure)
    assert "a detector" in texts(figure)
    objects = result.scores.objects[0, 2:4].sum()
    assert any(f"N = {objects}, 2 classes" in text for text in texts(figure))
    assert_legible(figure)


def test_areas_are_the_shares_in_the_colours_of_their_types():
    matching = crowded(2)
    trend = detection_trend(matching, SIMILAR)
    figure = detection_areas(trend, GROUPS, name="a detector")
    charts = [axes for axes in figure.axes if axes.collections]
    assert len(charts) == 2
    for axes, members in zip(charts, GROUPS.values(), strict=True):
        shares = trend.shares(members)
        assert [to_hex(area.get_facecolor()[0]) for area in axes.collections] == [
            kind.colour.lower() for kind in ERROR_TYPES
        ]
        middle = axes.collections[1].get_paths()[0].vertices  # localization, from correct up
        at = middle[np.isclose(middle[:, 0], 1.0), 1]
        assert (at.min(), at.max()) == pytest.approx((100 * shares[3, 0], 100 * shares[3, :2].sum()))
        strong, weak = (line.get_ydata() for line in axes.lines)
        assert strong == pytest.approx(100 * trend.recall(members))
        assert weak == pytest.approx(100 * trend.recall(members, weak=True))
    assert {"recall, IoU 0.5", "recall, IoU 0.1", "1/8", "detections (× N)"} <= set(texts(figure))
    assert_legible(figure)


def test_false_positives_end_where_there_are_no_more():
    matching = crowded(3)
    kinds = error_masks(matching, SIMILAR)
    trends = {group: false_positive_trend(matching, kinds, members) for group, members in GROUPS.items()}
    figure = false_positive_areas(trends, name="a detector")
    charts = [axes for axes in figure.axes if axes.collections]
    assert len(charts) == 2
    for axes, trend in zip(charts, trends.values(), strict=True):
        last = max(path.vertices[:, 0].max() for area in axes.collections for path in area.get_paths())
        assert last == trend.counts[-1].sum() < 3200
        assert len(axes.collections) == 4
    assert any(text.startswith(f"N = {trends['pets'].counts[-1].sum()}") for text in texts(figure))
    assert_legible(figure)


@pytest.mark.parametrize(("objects", "detections"), [(0, 0), (0, 20), (20, 0), (1, 1)])
def test_empty_cases_say_so(objects, detections, tmp_path):
    matching = crowded(0, objects, detections)
    trend = detection_trend(matching, SIMILAR)
    false = {"all": false_positive_trend(matching, error_masks(matching, SIMILAR))}
    with np.errstate(all="raise"):
        figures = [
            impact_bars(impact(matching, SIMILAR)),
            detection_areas(trend),
            false_positive_areas(false),
        ]
    for number, figure in enumerate(figures):
        assert_legible(figure)
        assert save_figure(figure, tmp_path / f"{number}.svg").stat().st_size
    if not objects:
        assert "no objects" in " ".join(texts(figures[0]))
        assert "no detections" in texts(figures[1])
    if not detections:
        assert "no false positives" in texts(figures[2])


def test_unknown_classes_are_refused():
    with pytest.raises(InputError, match="'cow'"):
        impact_bars(impact(crowded(1), SIMILAR), {"farm": ["cow"]})
    with pytest.raises(InputError, match="'cow'"):
        detection_areas(detection_trend(crowded(1), SIMILAR), {"farm": ["cow"]})


def test_the_same_figure_gives_the_same_bytes(tmp_path):
    result = impact(crowded(1), SIMILAR)
    first, second = (
        save_figure(impact_bars(result, GROUPS), tmp_path / f"{name}.svg").read_bytes() for name in "ab"
    )
    assert first == second
