"""Every figure draws the record's numbers in the colours of their types, legibly, also in the empty cases."""

import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import matplotlib
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.colors import to_hex, to_rgb
from matplotlib.figure import Figure
from matplotlib.font_manager import FontEntry
from matplotlib.patches import PathPatch, Rectangle, Wedge
from PIL import Image

from data.records import Detections, GroundTruth, InputError
from diagnosis import ERROR_TYPES, Diagnosis, diagnose, plot
from diagnosis.average_precision import precision_recall_curve
from diagnosis.compare import compare, p_value
from diagnosis.figures import illustrations, save_figures, save_illustrations, style
from diagnosis.figures.style import (
    drawing_style,
    font_with,
    readable,
    save_figure,
    shorten,
    spread,
    styled,
    text_width,
    warn_of_fonts,
    wrap,
)
from diagnosis.flow import FATES, flow
from diagnosis.impact import IMPACT_VARIANTS
from diagnosis.tide import DAP_COLUMNS, TIDE_ERRORS
from diagnosis.to_json import to_json
from diagnosis.words import explanations
from tests.diagnosis.figures import assert_legible, patches, texts
from tests.diagnosis.scenes import CLASSES, SIMILAR, crowded

pytestmark = pytest.mark.filterwarnings("error")

NAMES = [kind.name for kind in ERROR_TYPES]
COLOURS = [kind.colour.lower() for kind in ERROR_TYPES]
LONG = "runs/resnet50_spatial_shuffle_last_without_shortcut_and_more_that_does_not_fit_anywhere"


def made_up(classes=4, objects=60, images=20):
    """Objects of all classes in turn."""
    draw = np.random.default_rng(0)
    extent = draw.uniform(20, 60, (objects, 2))
    corner = draw.uniform(0, 200 - extent)
    return GroundTruth(
        [f"image{i}" for i in range(images)],
        [f"class {i}" if i % 7 else f"class {i} with a rather long name of its own" for i in range(classes)],
        np.full((images, 2), 200), draw.integers(0, images, objects), np.arange(objects) % classes,
        np.concatenate([corner, corner + extent], axis=1),
    )  # fmt: skip


def detected(truth, seed=0, shift=12.0, share=1.0):
    """The objects, moved about, some under another class, and as many boxes anywhere."""
    draw = np.random.default_rng(seed)
    count, classes = round(share * len(truth)), len(truth.classes)
    labels = np.where(draw.random(count) < 0.2, draw.integers(0, classes, count), truth.labels[:count])
    boxes = truth.boxes[:count] + np.tile(draw.normal(0, shift, (count, 2)), 2)
    corner = draw.uniform(0, 150, (count, 2))
    return Detections(
        truth.images, truth.classes,
        np.concatenate([truth.image_index[:count], draw.integers(0, len(truth.images), count)]),
        np.concatenate([labels, draw.integers(0, classes, count)]),
        np.concatenate([draw.uniform(0.4, 1, count), draw.uniform(0, 0.6, count)]),
        np.concatenate([boxes, np.concatenate([corner, corner + 30], axis=1)]),
    )  # fmt: skip


def blind(truth, name="blind", **options):
    """A detector that finds nothing."""
    nothing = Detections(truth.images, truth.classes, [], [], [], [])
    return diagnose(truth, nothing, name, **{"coco": False} | options)


def perfect(truth):
    """A detector that finds each object, and nothing else."""
    scores = np.linspace(1, 0.5, len(truth))
    found = Detections(truth.images, truth.classes, truth.image_index, truth.labels, scores, truth.boxes)
    return diagnose(truth, found, coco=False)


def record(matching, name="a detector", **options):
    options = {"similar": SIMILAR, "coco": False} | options
    return diagnose(matching.truth, matching.detections, name, **options)


@pytest.fixture(scope="module")
def one():
    return record(crowded(4, objects=90, detections=300))


@pytest.fixture(scope="module")
def two():
    """Two detectors with different numbers of detections; the second too few of some class."""
    truth = made_up()
    found = {"plain": detected(truth, 1), "$shuffled$_1": detected(truth, 2, shift=25, share=0.4)}
    return [diagnose(truth, some, name, [truth.classes[:2]], coco=False) for name, some in found.items()]


@pytest.fixture(scope="module")
def comparison(two):
    return compare([*two, blind(two[0].truth, LONG, similar=[two[0].truth.classes[:2]])], replicates=40)


def charts(figure):
    """The axes that are not off."""
    return [axes for axes in figure.axes if axes.axison]


def said(figure):
    """All its texts as one."""
    return " ".join(" ".join(texts(figure)).split())


def angles(axes):
    """The part of a pie that each of its slices is."""
    return {part.get_label(): (part.theta2 - part.theta1) / 360 for part in axes.patches}


# ---- every figure of the catalogue --------------------------------------------------------------


def scene(name):
    """Diagnoses, and their comparison."""
    if name == "two":
        truth = made_up(8)
        found = [detected(truth, 1), detected(truth, 2, shift=25, share=0.4)]
        diagnoses = [diagnose(truth, some, str(n), [truth.classes[:3]]) for n, some in enumerate(found)]
    elif name == "three":  # long names, "$", a detector that finds nothing, a class without objects
        matching = crowded(1)
        seen = [diagnose(matching.truth, matching.detections, name, SIMILAR) for name in (LONG, "c")]
        diagnoses = [seen[0], blind(matching.truth, "$x_1$", similar=SIMILAR, coco=True), seen[1]]
    else:
        objects, found = {"empty": (0, 0), "no objects": (0, 9), "blind": (30, 0), "single": (1, 1)}[name]
        diagnoses = [record(crowded(0, objects, found))]
    return diagnoses, compare(diagnoses, replicates=5)


@pytest.mark.parametrize("name", ["two", "three", "empty", "no objects", "blind", "single"])
def test_every_figure_is_legible(name):
    diagnoses, comparison = scene(name)
    kinds = {one.file.rstrip("_123"): one for one in reversed(illustrations(diagnoses, comparison))}
    for illustration in kinds.values():  # of each kind the first detector's: the others' are alike
        with np.errstate(all="raise"):
            figure = illustration.draw()
        assert_legible(figure)


def test_the_catalogue_names_figures_and_texts(two, comparison):
    both = compare(two, replicates=3)
    chosen = illustrations(two, both)
    assert [figure.file for figure in chosen] == [
        "error_pies", "error_bars", "ap", "tide", "error_groups", "intervals", "differences",
        "class_differences", "flow_2", *(
            f"{file}_{number}" for number in (1, 2) for file in (
                "impact", "detection_trend", "false_positive_trend", "sensitivity", "area", "confusion",
                "tide_confusion",
            )
        ), "precision_recall", "reliability",
    ]  # fmt: skip
    by_file = {figure.file: figure for figure in chosen}
    assert by_file["flow_2"].title == "From plain to $shuffled$_1"
    assert by_file["impact_2"].title == "What each error type costs $shuffled$_1"
    assert by_file["differences"].title == "Differences from plain"
    assert not any("{" in figure.title for figure in chosen)
    alone = diagnose(two[0].truth, two[0].detections, coco=False)  # without groups of similar classes
    files = {figure.file for figure in illustrations([alone])}
    assert "impact" in files
    assert not {"error_groups", "intervals", "impact_1"} & files


def test_figures_show_the_numbers_of_the_json_at_another_iou():
    diagnosis = record(crowded(2), iou=0.75)
    numbers = to_json([diagnosis], {})["detectors"][0]
    drawn = "detection_trend", "confusion", "reliability", "error_pies"
    figures = {one.file: one.draw() for one in illustrations([diagnosis]) if one.file in drawn}

    points = numbers["trends"]["all classes"]["detections"]
    axes = next(axes for axes in figures["detection_trend"].axes if axes.collections)
    strong, weak = (line.get_ydata() for line in axes.lines)
    assert strong == pytest.approx([100 * point["recall"] for point in points])
    assert weak == pytest.approx([100 * point["recall_weak"] for point in points])
    correct = axes.collections[0].get_paths()[0].vertices
    for x, point in zip(axes.lines[0].get_xdata(), points, strict=True):
        assert correct[np.isclose(correct[:, 0], x), 1].max() == pytest.approx(100 * point["correct"])

    counts = np.array(numbers["confusion"]["counts"])
    (image,) = (image for axes in figures["confusion"].axes for image in axes.images)
    np.testing.assert_allclose(image.get_array(), counts / np.maximum(counts.sum(axis=1, keepdims=True), 1))
    assert "Pairs of IoU 0.75" in said(figures["confusion"])

    calibration = numbers["calibration"]
    bars = next(axes.patches for axes in figures["reliability"].axes if axes.patches)
    assert [bar.get_height() for bar in bars] == [one["detections"] for one in calibration["bins"]]
    error = f"ECE {calibration['expected_error']:.1%}, N = "
    assert any(text.startswith(error) for text in texts(figures["reliability"]))
    curve = next(axes.lines[-1] for axes in charts(figures["reliability"]) if axes.lines)
    np.testing.assert_allclose(np.stack(curve.get_data()), 100 * np.stack(diagnosis.calibration.curve()))
    assert "0.5 " not in said(figures["error_pies"])  # the explanations speak of 0.75


# ---- the breakdown ------------------------------------------------------------------------------


def test_wedges_are_the_shares_in_the_colours_of_their_types(two):
    figure = plot.pies(*two)
    for diagnosis, axes in zip(two, [axes for axes in charts(figure) if axes.patches], strict=True):
        shares = diagnosis.breakdown.mean_over_classes()
        assert angles(axes) == pytest.approx(dict(zip(NAMES, shares, strict=True)))
        assert [to_hex(part.get_facecolor()) for part in axes.patches] == COLOURS
        assert {f"{100 * share:.1f}%" for share in shares} <= {text.get_text() for text in axes.texts}
        caption = axes.get_xlabel().split("\n")
        assert caption == [
            f"AP (VOC07) at IoU 0.5: {100 * diagnosis.ap.mean()['voc07']:.1f}%",
            f"N = {diagnosis.breakdown.counts.sum()} detections counted, of {len(diagnosis.detections)}",
            "shares: class mean of 4 classes",
            "60 objects in 20 images",
        ]
        assert axes.get_title() == diagnosis.name
        assert not axes.title.get_parse_math()  # a "$" is just a "$"


@pytest.mark.parametrize("number", [1, 2])
def test_the_caption_of_a_pie_is_clear_of_the_explanations(two, number):
    figure = plot.pies(*two[:number])
    figure.draw_without_rendering()
    bottom = min(axes.xaxis.label.get_window_extent().y0 for axes in charts(figure))
    top = max(text.get_window_extent().y1 for text in figure.texts)
    assert bottom - top > 0.08 * figure.dpi


def test_an_all_correct_detector_is_one_whole_pie(two):
    figure = plot.pies(perfect(two[0].truth))
    (whole,) = patches(figure, Wedge)
    assert (whole.get_label(), whole.theta2 - whole.theta1) == ("correct", 360)
    assert "100.0%" in texts(figure)


@settings(max_examples=5)
@given(st.lists(st.lists(st.integers(0, 400), min_size=5, max_size=5).filter(sum), min_size=3, max_size=3))
def test_labels_of_slices_never_overlap(several):
    diagnoses = [record(crowded(0, 1, 1)) for _ in several]
    for diagnosis, counts in zip(diagnoses, several, strict=True):
        shares = replace(diagnosis.breakdown, counts=np.array([counts] + [[0] * 5] * 4))
        vars(diagnosis)["breakdown"] = shares  # in place of what the record would compute
    assert_legible(plot.pies(*diagnoses))


@pytest.mark.parametrize("detectors", [1, 2])
def test_group_pies_are_the_mean_shares_of_a_group(one, detectors):
    figure = plot.group_pies(*[one] * detectors)
    members = [[CLASSES.index(name) for name in group if name != "sofa"] for group in one.groups.values()]
    wanted = [one.breakdown.shares[group].mean(axis=0) for group in members] * detectors  # there is no sofa
    pies = [axes for axes in figure.axes if any(isinstance(patch, Wedge) for patch in axes.patches)]
    for axes, shares in zip(pies, wanted, strict=True):
        kinds = zip(NAMES, shares, strict=True)
        assert angles(axes) == pytest.approx({name: share for name, share in kinds if share > 0})
        numbers = [text.get_text() for text in axes.texts if text.get_text().isdigit()]
        assert numbers == [f"{100 * share:.0f}" for share in shares if share >= 0.05]
    assert set(one.groups) <= set(texts(figure))


def test_bars_are_the_shares_of_each_class_and_detector(two):
    figure = plot.bars(*two)
    bars = patches(figure, Rectangle, NAMES)
    # (10, 5): the mean, then the classes
    drawn = np.array([bar.get_width() for bar in bars]).reshape(5, -1).T
    wanted = [d.breakdown.mean_over_classes() for d in two]
    wanted += [d.breakdown.shares[label] for label in range(4) for d in two]
    assert drawn == pytest.approx(100 * np.array(wanted))
    starts = np.array([bar.get_x() for bar in bars]).reshape(5, -1).T
    assert starts == pytest.approx(drawn.cumsum(axis=1) - drawn)
    assert [to_hex(bar.get_facecolor()) for bar in bars[:: len(drawn)]] == COLOURS
    short = two[1].breakdown.counts.sum(axis=1)
    assert (short < 15).any()
    assert {"15" if counted == 15 else f"{counted} of 15" for counted in short} <= set(texts(figure))


def test_bars_do_not_blame_missing_detections_on_a_small_top(two):
    shown = texts(plot.bars(diagnose(two[0].truth, two[0].detections, top=5, coco=False)))
    assert shown.count("5") == 4
    assert not any(" of " in text and text[0].isdigit() for text in shown)


def test_dots_are_the_average_precision(two):
    figure = plot.average_precision(*two)
    (axes,) = charts(figure)
    for diagnosis, line in zip(two, axes.lines, strict=True):
        values = 100 * np.array([diagnosis.ap.mean()["voc07"], *diagnosis.ap.voc07])
        assert line.get_xdata() == pytest.approx(values)
        assert {f"{value:.1f}" for value in values} <= set(texts(figure))


# ---- what errors cost, trends, characteristics --------------------------------------------------


def test_impact_bars_are_the_points_gained(one):
    figure = plot.impact_bars(one)
    names = {
        "localization removed": "ignore_localization", "localization corrected": "fix_localization",
        "similar removed": "ignore_similar", "background and other removed": "ignore_background",
    }  # fmt: skip
    rows = [[variant.name for variant in IMPACT_VARIANTS].index(name) for name in names.values()]
    wanted = 100 * np.concatenate([one.impact.bars(members)[rows] for members in one.groups.values()])
    bars = [bar for axes in charts(figure) for bar in axes.patches]
    assert [bar.get_width() for bar in bars] == pytest.approx(wanted)
    assert [to_hex(bar.get_edgecolor()) for bar in bars[:4]] == [COLOURS[kind] for kind in (1, 1, 2, 4)]
    assert [bar.get_hatch() is not None for bar in bars[:4]] == [True, False, False, False]
    shown = texts(figure)
    assert {*names, "a detector", *(f"{value:.1f}" for value in wanted)} <= set(shown)
    assert any(f"N = {one.impact.scores.objects[0].sum()}, 5 classes" in text for text in shown)


def test_areas_are_the_shares_in_the_colours_of_their_types(one):
    figure, trend = plot.rank(one), one.detection_trend
    areas = [axes for axes in figure.axes if axes.collections]
    for axes, members in zip(areas, one.groups.values(), strict=True):
        assert [to_hex(area.get_facecolor()[0]) for area in axes.collections] == COLOURS
        middle = axes.collections[1].get_paths()[0].vertices  # localization, from correct up
        at, shares = middle[np.isclose(middle[:, 0], 1.0), 1], 100 * trend.shares(members)[3]
        assert (at.min(), at.max()) == pytest.approx((shares[0], shares[:2].sum()))
        strong, weak = (line.get_ydata() for line in axes.lines)
        assert strong == pytest.approx(100 * trend.recall(members))
        assert weak == pytest.approx(100 * trend.recall(members, at_background_iou=True))
    assert {"recall, IoU 0.5", "recall, IoU 0.1", "1/8", "detections (× N)"} <= set(texts(figure))


def test_false_positives_end_where_there_are_no_more(one):
    figure = plot.false_positives(one)
    areas = [axes for axes in figure.axes if axes.collections]
    for axes, trend in zip(areas, one.false_positive_trends.values(), strict=True):
        ends = [path.vertices[:, 0].max() for area in axes.collections for path in area.get_paths()]
        assert max(ends) == trend.counts[-1].sum() < 3200
        assert [to_hex(area.get_facecolor()[0]) for area in axes.collections] == COLOURS[1:]
        assert any(text.startswith(f"N = {trend.counts[-1].sum()}") for text in texts(figure))


@pytest.mark.parametrize("name", ["area", "aspect_ratio", "truncated", "pose"])
def test_bins_carry_their_numbers(one, name):
    (table,) = (table for table in one.characteristics.tables if table.characteristic.name == name)
    figure = plot.size(one, name)
    panels = [axes for axes in figure.axes if axes.containers]
    assert len(panels) == 4  # there is no sofa
    for label, axes in enumerate(panels):
        line, _, (stems,) = axes.containers[0].lines
        known = np.flatnonzero(table.scores.objects[label])
        assert line.get_xdata().tolist() == known.tolist()
        assert line.get_ydata() == pytest.approx(100 * table.scores.apn[label, known])
        errors = [np.ptp(stem[:, 1]) / 2 for stem in stems.get_segments()]
        assert errors == pytest.approx(100 * table.scores.apn_stderr[label, known])
        assert axes.lines[0].get_ydata()[0] == pytest.approx(100 * one.characteristics.overall.apn[label])
        assert (line.get_linewidth() > 0) == (name != "pose")  # poses do not follow on one another
    shown, first = texts(figure), {"area": "XS", "truncated": "no"}.get(name, table.characteristic.bins[0])
    assert f"{first}\n{table.scores.objects[0, 0]}" in shown
    assert any("tall" in text for text in shown) == (name == "aspect_ratio")
    assert_legible(figure)


def test_the_summary_spans_the_lowest_to_the_highest(one):
    figure = plot.sensitivity(one)
    lines = [line.get_ydata() for axes in figure.axes for line in axes.lines if line.get_marker() == "o"]
    for span, characteristic in zip(lines, one.sensitivity, strict=True):
        assert span == pytest.approx([100 * characteristic.lowest, 100 * characteristic.highest])
        assert f"{100 * characteristic.highest:.1f}" in texts(figure)
    assert "aspect ratio\n4 classes" in texts(figure)


def test_bins_of_ones_own_with_long_names_are_legible():
    wide = record(crowded(4), edges={"area": [10**n for n in range(9)]})
    assert_legible(plot.size(wide))


# ---- TIDE ---------------------------------------------------------------------------------------


def test_tides_bars_are_the_gains(two):
    figure, names = plot.tide(*two), [kind.name for kind in TIDE_ERRORS]
    colours = {kind.name: kind.colour.lower() for kind in TIDE_ERRORS}
    bars = patches(figure, Rectangle, DAP_COLUMNS)
    drawn = {name: [bar.get_width() for bar in bars if bar.get_label() == name] for name in DAP_COLUMNS}
    for name, widths in drawn.items():
        assert widths == pytest.approx([100 * diagnosis.tide.dap[name] for diagnosis in two])
    for bar in bars:
        if bar.get_label() in names:
            assert to_hex(bar.get_facecolor()) == colours[bar.get_label()]
    shown = set(texts(figure))
    assert {*(d.name for d in two), f"{100 * two[0].tide.dap['cls']:.1f}", "points of AP gained"} <= shown
    assert "N = 60 objects, 120 detections:" in said(figure)
    assert f"AP {two[0].tide.mean_ap:.1%} (101 recalls, IoU 0.5)" in said(figure)
    # One scale, and one set of names.
    (limits,) = {axes.get_xlim() for axes in figure.axes}
    assert limits[1] >= 100 * max(max(one.tide.dap.values()) for one in two)
    assert {"wrong class", "missed object", "all missed objects"} <= shown
    assert not {"cls", "loc", "miss", "FP"} & shown
    assert not patches(figure, Wedge)


def test_a_gain_that_does_not_exist_is_no_nought(two):
    shown = texts(plot.tide(blind(two[0].truth)))
    assert shown.count("–") == 3  # miss, FN and what it means
    assert any(text.startswith("No class with objects or detections") for text in shown)
    shown = texts(plot.tide(perfect(two[0].truth)))
    assert shown.count("0.0") >= len(TIDE_ERRORS)
    assert "–" not in shown


def test_tides_matrix_shows_each_cell_and_the_largest_confusions(one):
    figure = plot.tide_confusion(one)
    matrix = one.tide.confusion_matrix(one.tide.top)
    (axes,) = (axes for axes in figure.axes if axes.images)
    numbers = [int(text.get_text()) for text in axes.texts if text.get_text().isdigit()]
    assert numbers == matrix.T[matrix.T > 0].tolist()  # rows are the truth, as in the other matrix
    shown = np.asarray(axes.images[0].get_array())
    np.testing.assert_array_equal((shown == 1).all(axis=2), matrix.T == 0)
    share = matrix[0, 0] / matrix[0].sum()
    correct = 1 - (0.06 + 0.94 * share**0.7) * (1 - np.array(to_rgb(ERROR_TYPES[0].colour)))
    np.testing.assert_allclose(shown[0, 0], correct)
    mistakes = matrix[:-1, :-1] * (1 - np.eye(5, dtype=int))
    row, column = np.unravel_index(mistakes.argmax(), mistakes.shape)
    assert f"{mistakes.max()}: {CLASSES[column]} taken for {CLASSES[row]}" in texts(figure)
    assert {"not found", "none of these", "truth", *CLASSES} <= set(texts(figure))
    assert "a row may add up to more than its objects" in said(figure)


# ---- curves and confusion -----------------------------------------------------------------------


def test_precision_and_recall_are_the_records_curves(two):
    figure = plot.precision_recall(*two)
    for label, axes in enumerate(charts(figure)):
        for diagnosis, line in zip(two, axes.lines, strict=True):
            found = precision_recall_curve(diagnosis.matching, label, diagnosis.iou)
            true = np.diff(found.recall, prepend=0.0) > 0
            wanted = 100 * np.stack([found.recall[true], found.precision[true]])
            assert np.stack(line.get_data()) == pytest.approx(wanted)
    scores = ", ".join(f"{100 * diagnosis.ap.area[1]:.0f}" for diagnosis in two)
    assert f"AP {scores}; N = 15" in texts(figure)


def test_cells_are_the_shares_of_the_row(one):
    figure, matrix = plot.confusion(one), one.confusion
    (axes,) = (axes for axes in figure.axes if axes.images)
    numbers = [text.get_text() for text in axes.texts]
    shares = np.nan_to_num(matrix.shares())
    assert numbers[: (shares >= 0.005).sum()] == [f"{100 * share:.0f}" for share in shares[shares >= 0.005]]
    assert numbers[(shares >= 0.005).sum() :] == [f"{n:,}" for n in matrix.counts.sum(axis=1)] + ["number"]
    assert {"background", "not found", *CLASSES} < set(texts(figure))


# ---- comparisons --------------------------------------------------------------------------------


def percent_range(value, low, high, sign=""):
    return f"{100 * value:{sign}.1f}  [{100 * low + 0.0:.1f}, {100 * high + 0.0:.1f}]".replace("-", "−")


def test_intervals_are_those_of_the_comparison(comparison):
    figure = plot.intervals(comparison)
    number = comparison.estimate("share/localization", 1)
    assert percent_range(number.value, number.low, number.high) in texts(figure)
    lines = [line for axes in charts(figure) for line in axes.lines]
    ends = pytest.approx([100 * number.low, 100 * number.high])
    assert any(len(line.get_xdata()) == 2 and line.get_xdata() == ends for line in lines)
    assert {"A", "B", "C", LONG, "correct + localization", "AP (VOC07)"} <= set(texts(figure))
    assert "intervals of 40 resamples of N = 20 images" in said(figure)


@pytest.mark.parametrize("quantity", ["share/localization", "map/hoiem"])
def test_differences_are_paired_and_say_what_differs(comparison, quantity):
    gap, figure = comparison.difference(quantity, 0, 1), plot.differences(comparison)
    assert percent_range(gap.difference, gap.low, gap.high, "+") in texts(figure)
    assert f"p {p_value(gap.p, comparison.replicates - gap.undefined)}" in texts(figure)
    (axes,) = charts(figure)
    dot = next(line for line in axes.lines if list(line.get_xdata()) == [100 * gap.difference])
    assert (to_hex(dot.get_markerfacecolor()) == "#ffffff") == (not gap.differs)

    figure = plot.class_differences(comparison, quantity)
    gap = comparison.difference(quantity, 0, 1, 2)
    assert percent_range(gap.difference, gap.low, gap.high, "+") in texts(figure)
    assert {"class mean", *comparison.classes[1:]} <= set(texts(figure))
    assert comparison.classes[0][:10] in {text[:10] for text in texts(figure)}  # long ones are cut
    assert_legible(figure)


def test_what_cannot_be_compared_is_refused(two, comparison):
    alone = compare(two[:1], replicates=3)
    with pytest.raises(InputError, match="2 to"):
        plot.differences(alone)
    with pytest.raises(InputError, match=r"one of .*map/area"):
        plot.class_differences(comparison, "pooled/correct")
    with pytest.raises(InputError, match="characteristic: found 'colour'; expected one of area"):
        plot.size(two[0], "colour")
    for name in ("differences", "class_differences", "intervals"):
        for diagnoses in (two, two[:1]):
            wanted = rf"found <Diagnosis of .*>; expected a Comparison: plot\.{name}\(compare\(a, b\)\)"
            with pytest.raises(InputError, match=wanted):
                getattr(plot, name)(*diagnoses)


def test_a_figure_whose_parameters_are_no_text_checks_what_it_is_of():
    def draw(diagnosis):
        return Figure()

    draw.__annotations__ = {"diagnosis": Diagnosis, "return": Figure}  # as without postponed annotations
    with pytest.raises(InputError, match=r"diagnosis: found 'a'; expected a Diagnosis: plot\.draw"):
        styled(draw)("a")


def test_what_is_no_diagnosis_is_refused(two, comparison):
    wanted = r"diagnos[ei]s: found {}; expected (a Diagnosis: plot|what diagnose\()"
    for draw in (plot.pies, plot.bars, plot.tide, plot.gallery, plot.confusion, plot.size):
        for other, found in ((comparison, "<Comparison of .*>"), ("a", "'a'"), (3, "3")):
            with pytest.raises(InputError, match=wanted.format(found)):
                draw(other)
    with pytest.raises(InputError, match=r"diagnosis: found 'b'; expected a Diagnosis: plot\.flow"):
        plot.flow(two[0], "b")
    with pytest.raises(InputError, match=r"comparison: found 'a'; expected a Comparison: plot\.intervals"):
        plot.intervals("a")
    with pytest.raises(InputError, match="truth: found 'path'; expected a GroundTruth, as read_ground_truth"):
        diagnose("path", "x")
    with pytest.raises(InputError, match="detections: found 'x'; expected a Detections, as read_found"):
        diagnose(two[0].truth, "x")
    for others in (("a",), (two[0], "b"), (["a"],), (3,)):
        with pytest.raises(InputError, match=r"diagnoses: found ('[ab]'|3); expected what diagnose"):
            compare(*others)
    with pytest.raises(InputError, match=r"replicates: found 1\.5; expected a whole number"):
        compare(two, replicates=1.5)


def test_differences_without_a_number_are_one_sentence():
    """One of the two detects nothing, so no class has shares of both."""
    truth = made_up(2)
    both = compare(blind(truth, "a", coco=True), diagnose(truth, detected(truth), "b"), replicates=5)
    sentence = "Nothing to compare: there is no class in which both have a number."
    assert sentence in texts(plot.class_differences(both))
    assert sentence not in texts(plot.class_differences(both, "map/coco50"))


def test_zero_has_no_sign():
    truth = made_up(2)
    both = compare([diagnose(truth, detected(truth), name) for name in "ab"], replicates=5)
    assert "0.0" in texts(plot.differences(both))
    assert not any(re.search(r"[+−]0\.0", text) for text in texts(plot.differences(both)))


def test_a_class_of_few_objects_is_pale_and_without_a_test():
    truth = made_up(2, 50)
    rare = np.arange(50) < 39  # 20 objects of one class, 19 of the other
    truth = GroundTruth(
        truth.images, ["often", "rare"], truth.sizes, truth.image_index[rare], truth.labels[rare],
        truth.boxes[rare],
    )  # fmt: skip
    assert np.bincount(truth.labels).tolist() == [20, 19]
    sees = diagnose(truth, detected(truth, 1, shift=1), "sees", coco=False)
    both = compare(sees, blind(truth), replicates=40)
    figure = plot.class_differences(both, "map/area")
    (axes,) = charts(figure)
    dots = {line.get_xdata()[0]: line for line in axes.lines if len(line.get_xdata()) == 1}
    gaps = [both.difference("map/area", 0, 1, label) for label in (0, 1)]
    assert [gap.differs for gap in gaps] == [True, False]
    often, rare = (to_hex(dots[100 * gap.difference].get_markerfacecolor()) for gap in gaps)
    assert often != rare == "#ffffff"
    assert len([text for text in texts(figure) if text.startswith("p ")]) == 2  # the mean and one class
    assert "fewer than 20 objects: no test" in texts(figure)
    with drawing_style("paper"):
        figure = plot.class_differences(both, "map/area")
    assert "fewer than 20 objects: no test" in texts(figure)
    assert_legible(figure)


def test_bands_are_what_became_of_the_objects(two):
    figure, total = plot.flow(*two, counted="all"), flow(*two, counted="all").total()
    assert len(patches(figure, PathPatch)) == (total > 0).sum()
    (axes,) = (axes for axes in figure.axes if any(isinstance(patch, PathPatch) for patch in axes.patches))
    sums = np.concatenate([total.sum(axis=1), total.sum(axis=0)])
    heights = np.array([patch.get_height() for patch in axes.patches if isinstance(patch, Rectangle)])
    np.testing.assert_allclose(heights / heights.sum(), sums[sums > 0] / sums.sum())
    assert f"correct: {sums[0]:,} ({sums[0] / total.sum():.1%})" in texts(figure)
    assert len({fate.colour for fate in FATES}) == len(FATES)
    truth = GroundTruth(["a"], ["dog"], [[9, 9]], [], [], [])
    assert "no objects" in texts(plot.flow(blind(truth), blind(truth)))


# ---- nothing to draw ----------------------------------------------------------------------------


def test_empty_figures_say_why(two):
    truth = two[0].truth
    unseen = blind(truth, similar=[truth.classes[:2]])
    bare = record(crowded(0, 0, 0))
    for diagnosis, name, text, times in (
        (unseen, "pies", "no detections\nto count", 1),
        (unseen, "bars", "no detections", 1 + len(truth.classes)),
        (unseen, "bars", "0 of 15", len(truth.classes)),
        (unseen, "average_precision", "0.0", 1 + len(truth.classes)),
        (unseen, "group_pies", "nothing counted", 2),
        (unseen, "false_positives", "no false positives", 2),
        (unseen, "tide_confusion", "No confusions", 1),
        (bare, "bars", "no objects", 5),
        (bare, "average_precision", "–", 6),
        (bare, "impact_bars", "no objects", 2),
        (bare, "rank", "no detections", 2),
        (bare, "size", "no objects", 1),
        (bare, "sensitivity", "not\nknown", 3),
        (bare, "tide", "–", 9),
        (bare, "precision_recall", "no objects", 5),
    ):
        assert texts(getattr(plot, name)(diagnosis)).count(text) == times, (name, text)
    assert "N = 0 detections counted, of 0 60 objects" in said(plot.pies(unseen))
    assert "no detection to count" in said(plot.reliability(unseen))
    assert "no AP: there are no objects" in said(plot.pies(bare))
    assert "no AP" in said(plot.tide(bare))


@pytest.mark.parametrize(
    "name", ["average_precision", "bars", "group_pies", "pies", "precision_recall", "reliability", "tide"]
)
def test_detectors_that_cannot_share_a_figure_are_refused(name, two):
    draw = getattr(plot, name)
    with pytest.raises(InputError, match="diagnoses: found 0 detectors"):
        draw()
    other = made_up(images=21)
    with pytest.raises(InputError, match="'plain' and 'x': found different classes or images"):
        draw(two[0], blind(other, "x"))
    strict = diagnose(two[0].truth, two[0].detections, "strict", iou=0.75, coco=False)
    with pytest.raises(InputError, match=r"IoU thresholds of 0.5 and 0.75"):
        draw(two[0], strict)


# ---- words --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("names", "similar", "example"),
    [
        ("bus cat dog", ["cat dog"], "such as dog instead of cat."),
        ("bus cat dog tram", ["bus tram"], "such as bus instead of tram."),
        ("cat dog", ["cat dog"], "such as dog instead of cat."),
        ("bolt nut", [], "no classes are similar here."),
        ("", [], "no classes are similar here."),
        ("a b c d e f", ["a b", "c d"], "such as c instead of d."),  # classes with objects are better
        ("a b c d e f", ["a b"], "such as a instead of b."),
    ],
)
def test_the_legend_takes_its_example_from_the_data(names, similar, example):
    names = names.split()
    labels = [2, 3, 5] if len(names) == 6 else range(len(names))
    truth = GroundTruth(["i"], names, [[9, 9]], [0] * len(labels), labels, [[0, 0, 5, 5]] * len(labels))
    groups = [group.split() for group in similar]
    assert explanations(blind(truth, similar=groups))[2].endswith(example)


@given(st.text("ab _-/", max_size=40), st.floats(0.3, 2.0), st.integers(1, 3))
def test_wrapped_lines_fit_and_lose_nothing_but_what_is_cut(text, width, lines):
    broken = wrap(text, width, 8.0, lines)
    assert len(broken) <= lines
    assert all(text_width(line, 8.0) <= width for line in broken)
    if not broken[-1].endswith("…"):
        assert "".join(broken).replace(" ", "") == text.replace(" ", "")


@given(st.lists(st.floats(-1.3, 1.3), max_size=5).map(sorted))
def test_spread_keeps_the_order_the_distance_and_the_limits(wanted):
    places = spread(np.array(wanted), step=0.4, limit=1.4)
    assert len(places) == len(wanted)
    assert (np.diff(places) >= 0.4 - 1e-9).all()
    assert (np.abs(places) <= 1.4 + 1e-9).all()
    if len(wanted) == 1 or (len(wanted) and (np.diff(wanted) >= 0.4 + 1e-9).all()):
        assert places == pytest.approx(wanted)


# ---- files --------------------------------------------------------------------------------------


def test_files_are_written_and_the_same_bytes_each_time(two, tmp_path):
    paths = save_figures(two, tmp_path / "new" / "one")
    names = {f"{stem}.{kind}" for stem in ("error_pies", "error_bars", "ap") for kind in ("png", "svg")}
    assert {path.name for path in paths} == names
    assert {path.name for path in (tmp_path / "new" / "one").iterdir()} == names  # no leftovers
    paths += save_illustrations(
        [one for one in illustrations(two) if one.file == "precision_recall"], tmp_path
    )
    again = save_figures(two, tmp_path / "two")
    again.append(save_figure(plot.precision_recall(*two), tmp_path / "again.png"))
    again.append(save_figure(plot.precision_recall(*two), tmp_path / "again.svg"))
    for one, other in zip(paths, again, strict=True):
        assert one.read_bytes() == other.read_bytes()
        if one.suffix == ".svg":
            assert b"<dc:date>" not in one.read_bytes()
        else:
            with Image.open(one) as image:
                assert image.width >= 150 * 5.4  # dots an inch
    for axes in plot.precision_recall(*two).axes:  # the layout's last digits change from process to process
        assert axes.get_position(original=True).bounds == pytest.approx(
            np.round(axes.get_position(original=True).bounds, 6), abs=1e-13
        )


def test_a_failed_write_leaves_the_old_file_and_no_part(two, tmp_path, monkeypatch):
    path = tmp_path / "error_pies.png"
    path.write_text("old")

    def fail(self, part, **kwargs):
        Path(part).write_text("half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Figure, "savefig", fail)
    chosen = illustrations(two)[:1]
    with pytest.raises(InputError, match="No space left on device"):
        save_illustrations(chosen, tmp_path)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]
    with pytest.raises(InputError, match="expected a folder to write to"):
        save_figures(two, path)


def test_the_users_settings_neither_change_nor_matter(two, tmp_path):
    plain = save_figure(plot.pies(*two), tmp_path / "plain.svg").read_bytes()
    with matplotlib.rc_context({"font.size": 30, "axes.facecolor": "red", "svg.fonttype": "none"}):
        before = dict(matplotlib.rcParams)
        assert save_figure(plot.pies(*two), tmp_path / "other.svg").read_bytes() == plain
        assert dict(matplotlib.rcParams) == before


def test_pyplot_is_never_imported(root):
    code = "import sys, diagnosis.figures; sys.exit('matplotlib.pyplot' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=root, check=False).returncode == 0


# ---- for a paper, and in all languages ----------------------------------------------------------


def test_figures_on_paper_are_legible_and_have_neither_titles_nor_explanations(two, tmp_path):
    """3.3 or 6.9 inches wide, text as text."""
    chosen = {one.file: one for one in illustrations(two, compare(two, replicates=4))}
    with drawing_style("paper"):
        for name in ("error_pies", "error_bars", "tide", "intervals", "flow_2", "impact_1", "confusion_1"):
            figure = chosen[name].draw()
            assert_legible(figure)
            assert "What " not in said(figure)
            assert "overlap" not in said(figure)
        assert {kind.name for kind in ERROR_TYPES} <= set(texts(chosen["error_bars"].draw()))
        for figure in (plot.pies(*two), plot.pies(*two[:1])):
            pdf = save_figure(figure, tmp_path / "figure.pdf").read_bytes()
            box = re.search(rb"/MediaBox \[ *0 0 ([\d.]+) ([\d.]+) *\]", pdf)
            width, height = float(box[1]) / 72, float(box[2]) / 72
            assert min(abs(width - 3.3), abs(width - 6.9)) < 1e-3
            assert height / width == pytest.approx(np.divide(*figure.get_size_inches()[::-1]), abs=1e-3)
            assert b"/CIDFontType2" in pdf or b"/TrueType" in pdf
            assert b"/Type3" not in pdf
            assert save_figure(figure, tmp_path / "again.pdf").read_bytes() == pdf
            svg = save_figure(figure, tmp_path / "figure.svg").read_text()
            assert f'width="{72 * width:.6g}pt"' in svg
            with Image.open(save_figure(figure, tmp_path / "figure.png")) as png:
                assert png.width == pytest.approx(320 * width, abs=2)


@pytest.mark.parametrize("draw", [plot.pies, plot.tide])
@pytest.mark.parametrize(("detectors", "columns"), [(1, 1), (2, 2), (3, 3), (4, 2)])
def test_three_detectors_are_side_by_side_on_paper(two, draw, detectors, columns):
    """Two rows would leave an empty quarter."""
    with drawing_style("paper"):
        figure = draw(*(two * 2)[:detectors])
    assert_legible(figure)
    assert figure.axes[0].get_subplotspec().get_gridspec().ncols == columns


def test_an_unknown_style_is_an_error():
    with (
        pytest.raises(InputError, match=r"^style: found 'poster'; expected 'screen' or 'paper'"),
        drawing_style("poster"),
    ):
        pass


def test_names_in_any_script_are_drawn_without_warnings(tmp_path):
    """Warnings are errors here, but for one: a character that no font has is its code point."""
    truth = made_up(3)
    found = detected(truth)
    names = ("猫 " * 30, "собака", "ｂｕｓ\U000e0001")
    renamed = GroundTruth(truth.images, names, truth.sizes, truth.image_index, truth.labels, truth.boxes)
    same = Detections(truth.images, names, found.image_index, found.labels, found.scores, found.boxes)
    detector = diagnose(renamed, same, "检测器", [names[:2]])
    with pytest.warns(
        UserWarning, match="no installed font has all .*: install a font that has them"
    ) as told:
        plot.pies(detector)
    assert len(told) == 1
    for draw in (plot.pies, plot.bars, plot.tide, plot.group_pies, plot.precision_recall):
        figure = draw(detector)
        assert_legible(figure)
    for kind in ("png", "pdf", "svg"):
        save_figure(plot.bars(detector), tmp_path / f"figure.{kind}", dpi=40)
    assert readable("猫") == ("猫" if font_with("猫") else "\\u732b")
    assert all(name in said(plot.bars(detector)) for name in ("собака", "bus\\U000e0001", readable("猫")))


def test_a_name_is_in_one_font_or_wholly_its_code_points(monkeypatch):
    """A font that has some of the characters, or all of them but not in bold, would leave boxes."""
    normal, bold, other = {0x732B, 0x306E}, {0x732B}, {0x306E}
    plain = style._drawable("DejaVu Sans")
    fonts = {"Normal": normal & bold, "Other": other, "DejaVu Sans": plain}
    files = [FontEntry(fname=name, name=name) for name in fonts]
    monkeypatch.setattr(style, "_drawable", fonts.__getitem__)
    monkeypatch.setattr(style, "_characters", lambda file: normal if file == "Normal" else fonts[file])
    monkeypatch.setattr(style.fontManager, "ttflist", files)
    monkeypatch.setitem(style.RC_PARAMS, "font.family", ["DejaVu Sans"])
    font_with.cache_clear()
    try:
        assert readable("猫 taken for の") == "猫 taken for の"
        assert readable("猫の") == "\\u732b\\u306e"
        assert readable("の 猫x") == "\\u306e \\u732bx"
        with pytest.warns(
            UserWarning,
            match="^no installed font has all characters of '猫の', so figures show its "
            "code points, and those of another name: install a font that has them, such as Noto Sans CJK$",
        ):
            warn_of_fonts(["a\\b", "猫", "猫の", "の猫"])
        with pytest.warns(UserWarning, match="its code points: install"):
            warn_of_fonts(["猫の", "猫"])
        warn_of_fonts(["dog", "собака", "猫"])  # which all have a font
    finally:
        font_with.cache_clear()
        text_width.cache_clear()


def test_a_matrix_of_names_in_code_points_stays_on_its_page():
    truth = made_up(4, 300)
    names = tuple(chr(0xE0000 + 9 * place) * long for place, long in enumerate((1, 6, 3, 3)))
    truth, found = (replace(one, classes=names) for one in (truth, detected(truth)))
    with pytest.warns(UserWarning, match="code points, and those of 3 other names"):
        assert_legible(plot.tide_confusion(diagnose(truth, found, coco=False)))


def test_long_names_keep_what_tells_them_apart():
    names = ["baseball bat", "baseball glove"]
    assert len({shorten(name, 0.8, 9, "bold") for name in names}) == 2
    assert all(text_width(shorten(name, 0.8, 9, "bold"), 9, "bold") <= 0.8 for name in names)


@pytest.mark.parametrize("letters", [5, 40])
def test_on_paper_no_figure_is_higher_than_a_page(letters):
    truth = made_up(80, 400)
    names = [f"{number} " + "x" * letters for number in range(80)]
    truth = replace(truth, classes=tuple(names))
    found = detected(truth)
    diagnoses = [diagnose(truth, found, name, coco=False) for name in "ab"]
    with drawing_style("paper"):
        for one in illustrations(diagnoses, compare(diagnoses, replicates=2)):
            figure = one.draw()
            assert figure.scale * figure.get_figheight() <= 9.0, one.file
            assert figure.scale * figure.get_figwidth() <= 6.901, one.file
            if one.file in ("error_bars", "area_1", "ap"):
                assert_legible(figure)


def test_on_paper_pies_and_tide_have_the_detectors_name_alone_and_the_ap_its_own(two):
    with drawing_style("paper"):
        for figure in (plot.pies(*two), plot.tide(*two)):
            assert "plain" in said(figure)
            assert not {"N", "shares:"} & set(said(figure).split())
            assert not re.search(r"AP [(\d]", said(figure))
        assert "AP (VOC07) at IoU 0.5, %" in texts(plot.average_precision(*two))


# ---- very many classes --------------------------------------------------------------------------

MANY, MEGAPIXELS = 365, 9
CUT = ("error_bars", "ap", "area", "confusion", "tide_confusion", "precision_recall")
"""Figures that show 30 classes."""


@pytest.fixture(scope="module")
def many():
    """Each class has an object, and the last 25 have two."""
    draw, labels = np.random.default_rng(0), np.concatenate([np.arange(MANY), np.arange(MANY - 25, MANY)])
    corner, image = draw.uniform(0, 150, (len(labels), 2)), draw.integers(0, 40, len(labels))
    truth = GroundTruth(
        [f"{number}" for number in range(40)], [f"class {label}" for label in range(MANY)],
        np.full((40, 2), 200), image, labels, np.concatenate([corner, corner + 40], axis=1),
    )  # fmt: skip
    found = np.where(draw.random(len(labels)) < 0.3, draw.integers(0, MANY, len(labels)), labels)
    moved = truth.boxes + np.tile(draw.normal(0, 8, (len(labels), 2)), 2)
    detections = Detections(truth.images, truth.classes, image, found, draw.random(len(labels)), moved)
    return diagnose(truth, detections, "found", coco=False)


def assert_readable(figure):
    assert_legible(figure)
    assert np.prod(160 * figure.get_size_inches()) < 1e6 * MEGAPIXELS


@pytest.mark.parametrize("file", CUT)
def test_of_many_classes_a_figure_shows_those_of_the_most_objects_and_says_so(many, file):
    (figure,) = (illustration.draw() for illustration in illustrations([many]) if illustration.file == file)
    shown = texts(figure)
    assert "the 30 of 365 classes with the most objects" in " ".join(shown)
    assert {"class 364", "class 0"} <= set(shown)
    assert "class 120" not in shown
    assert_readable(figure)


def test_of_many_groups_those_of_the_most_objects_are_shown(many):
    classes = many.truth.classes
    groups = [classes[start : start + 10] for start in range(0, MANY, 10)]
    figure = plot.impact_bars(diagnose(many.truth, many.detections, similar=groups, coco=False))
    assert "the 30 of 38 groups with the most objects" in said(figure)
    assert_readable(figure)


def test_of_many_differences_the_largest_are_shown(many):
    figure = plot.class_differences(compare([many, blind(many.truth)], replicates=2), "map/area")
    assert "the 30 of 365 classes that differ most" in said(figure)
    assert_readable(figure)
