"""The figure of a profile: which lines it has, where they end, and that all of it can be read."""

import math
from itertools import pairwise
from typing import Any

import pytest
from matplotlib.colors import to_rgb
from matplotlib.text import Text

from detector.profiling import Profile, ProfileRow
from training.profiling.figure import curves_of, draw_profile, points_of

SHARES = ("map_area", "correct", "localization", "similar", "other", "background")


def table(sides: list[int], measures: tuple[str, ...] = ("accuracy",), value: float = 0.5) -> Profile:
    """A profile of layers whose maps have these sides, all methods, three passes."""
    rows = [ProfileRow(0, "", 0, 0, 0, 0, "none", None, name, (value,)) for name in measures]
    for layer, side in enumerate(sides, start=1):
        variants: list[Any] = [("patch", 2**power) for power in range(1, 9) if 2**power < side]
        for method, patch in [*variants, ("spatial", None), ("channel", None)]:
            for name in measures:
                values = tuple(value * factor for factor in (0.5, 0.6, 0.7))
                rows.append(ProfileRow(layer, f"l{layer}", 9, 64, side, side, method, patch, name, values))
    return Profile.of(rows)


def assert_on_page(figure: Any) -> None:
    """No text leaves the page, and none lies on another of its panel."""
    figure.canvas.draw()
    renderer = figure.canvas.get_renderer()
    page = figure.bbox.extents
    for axes in figure.axes:
        shown = [text for text in axes.findobj(Text) if text.get_text().strip() and text.get_visible()]
        boxes = [(text.get_text(), text.get_window_extent(renderer).extents) for text in shown]
        for text, box in boxes:
            assert min(box[:2]) >= 0, f"{text!r} leaves the page"
            assert box[2] <= page[2], f"{text!r} leaves the page"
            assert box[3] <= page[3], f"{text!r} leaves the page"
        for number, (text, box) in enumerate(boxes):
            for other, place in boxes[number + 1 :]:
                wide = min(box[2], place[2]) - max(box[0], place[0])
                high = min(box[3], place[3]) - max(box[1], place[1])
                assert wide < 1 or high < 3, (text, other)


@pytest.mark.parametrize(
    "sides",
    [[8], [32, 16, 8, 4, 2, 2], [224, 112, 112, *[56] * 4, *[28] * 23, *[14] * 9, 7], [14] * 12],
    ids=["one", "vgg", "deep", "vit"],
)
def test_everything_can_be_read(sides: list[int]) -> None:
    measures = SHARES if sides[0] == 32 else ("accuracy",)
    figure = draw_profile(
        table(sides, measures),
        title="Where does space matter? voc-resnet50-plain-448-seed0",
        note="N = 5,000 images, the validation images of cifar100. Line: mean of 10 passes. " * 2,
        chance={"accuracy": 0.01},
        measures=measures,
    )
    assert_on_page(figure)
    texts = {text.get_text() for text in figure.findobj(Text)}
    assert {"nothing: 50.0 %", "order of the whole map", "order of the channels"} <= texts
    assert ("chance: 1.0 %" in texts) == (len(measures) == 1)
    assert {f"{name} (%)" for name in measures[1:]} <= texts
    assert texts & {f"{sides[-1]}×{sides[-1]}", str(sides[0])}


def test_a_line_of_patches_ends_on_that_of_the_whole_map() -> None:
    found = table([16, 8, 4, 4])
    ends = {
        curve.patch: [(row.layer, row.method) for row in points_of(found, curve, "accuracy")]
        for curve in curves_of(found)
        if curve.method == "patch"
    }
    assert ends == {
        2: [(1, "patch"), (2, "patch"), (3, "patch"), (4, "patch")],
        4: [(1, "patch"), (2, "patch"), (3, "spatial")],
        8: [(1, "patch"), (2, "spatial")],
    }


def test_lines_are_told_apart_without_colour() -> None:
    curves = curves_of(table([112]))
    assert len({(curve.line["marker"], curve.line["linestyle"]) for curve in curves[:6]}) == 6
    light = [sum(to_rgb(curve.line["color"])) for curve in curves[:-1]]
    assert all(one - other > 0.1 for one, other in pairwise(light))


def test_what_is_not_defined_is_not_drawn() -> None:
    found = table([4, 2], ("map_area", "correct"), math.nan)
    figure = draw_profile(found, title="t", note="n", chance={}, measures=("map_area", "correct"))
    assert [text.get_text() for text in figure.findobj(Text)].count("not defined") == 2
    figure.canvas.draw()
