"""The figures carry the numbers of the breakdown, in its colours, and survive the empty cases."""

import math
import re
import subprocess
import sys
from pathlib import Path

import matplotlib
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle, Wedge
from matplotlib.text import Text

from data.records import Detections, GroundTruth, InputError
from diagnosis.breakdown import ERROR_TYPES
from diagnosis.figures.charts import CHART, ap_dots, class_bars
from diagnosis.figures.plots import PIE_HEIGHT, PIE_PANEL, _pie, pies, save_figures, spread
from diagnosis.figures.style import blank_axes, house_style, new_figure, save_figure, text_width, wrap
from diagnosis.record import Diagnosis, diagnose

NAMES = [kind.name for kind in ERROR_TYPES]


def made_up(classes=4, objects=60, images=20, seed=0) -> GroundTruth:
    draw = np.random.default_rng(seed)
    extent = draw.uniform(20, 60, (objects, 2))
    corner = draw.uniform(0, 200 - extent)
    return GroundTruth(
        [f"image{i}" for i in range(images)],
        [f"class {i}" for i in range(classes)],
        np.full((images, 2), 200),
        draw.integers(0, images, objects),
        np.arange(objects) % classes,
        np.concatenate([corner, corner + extent], axis=1),
    )


def detected(truth: GroundTruth, seed=0, shift=12.0, share=1.0) -> Detections:
    """The objects, moved about, some under another class, and as many boxes anywhere."""
    draw = np.random.default_rng(seed)
    count = round(share * len(truth))
    classes = len(truth.classes)
    labels = np.where(draw.random(count) < 0.2, draw.integers(0, classes, count), truth.labels[:count])
    boxes = truth.boxes[:count] + np.tile(draw.normal(0, shift, (count, 2)), 2)
    corner = draw.uniform(0, 150, (count, 2))
    return Detections(
        truth.images,
        truth.classes,
        np.concatenate([truth.image_index[:count], draw.integers(0, len(truth.images), count)]),
        np.concatenate([labels, draw.integers(0, classes, count)]),
        np.concatenate([draw.uniform(0.4, 1, count), draw.uniform(0, 0.6, count)]),
        np.concatenate([boxes, np.concatenate([corner, corner + 30], axis=1)]),
    )


def nothing(truth: GroundTruth) -> Detections:
    return Detections(truth.images, truth.classes, [], [], [], [])


def diagnosed(truth, detections, name="detector") -> Diagnosis:
    return diagnose(truth, detections, name, [truth.classes[:2]], coco=False)


@pytest.fixture(scope="module")
def two() -> list[Diagnosis]:
    """Two detectors with different numbers of detections; the second too few of some class."""
    truth = made_up()
    return [
        diagnosed(truth, detected(truth, 1), "plain"),
        diagnosed(truth, detected(truth, 2, shift=25, share=0.4), "shuffled"),
    ]


def wedges(figure: Figure) -> list[list[Wedge]]:
    found = [[patch for patch in axes.patches if isinstance(patch, Wedge)] for axes in figure.axes]
    return [patches for patches in found if patches]


def texts(figure: Figure) -> list[str]:
    return [text.get_text() for axes in figure.axes for text in axes.texts]


def bars(figure: Figure) -> list[list[Rectangle]]:
    """The stacked bars, from left to right, each the parts of one bar."""
    parts = [p for axes in figure.axes for p in axes.patches if p.get_label() in NAMES]
    return [parts[i : i + len(NAMES)] for i in range(0, len(parts), len(NAMES))]


def assert_no_overlap(figure: Figure) -> None:
    """No two texts overlap and none leaves the page."""
    renderer = figure.canvas.get_renderer()
    written = [text for axes in figure.axes for text in axes.texts if text.get_text().strip()]
    names = [text.get_text() for text in written]
    boxes = np.array([text.get_window_extent(renderer).extents for text in written])  # (T, 4) x0 y0 x1 y1
    outside = (boxes[:, :2] < 0).any(axis=1) | (boxes[:, 2:] > figure.bbox.extents[2:]).any(axis=1)
    assert not outside.any(), f"{names[int(outside.argmax())]!r} leaves the page"
    common = np.minimum(boxes[:, None, 2:], boxes[None, :, 2:]) - np.maximum(
        boxes[:, None, :2], boxes[None, :, :2]
    )
    # In pixels. A line's box has room for accents and tails, which may touch the next line's.
    overlap = np.triu((common[..., 0] > 0.5) & (common[..., 1] > 2.5), k=1)
    pairs = [(names[i], names[j]) for i, j in np.argwhere(overlap)]
    assert not pairs


# ---- nothing to draw ---------------------------------------------------------------------------


def test_a_detector_without_detections_says_so():
    truth = made_up()
    empty = [diagnosed(truth, nothing(truth))]
    assert "no detections\nto count" in texts(pies(empty))
    assert "N = 0 detections counted, of 0" in texts(pies(empty))
    assert not any("averaged" in text for text in texts(pies(empty)))
    assert texts(class_bars(empty)).count("no detections") == 1 + len(truth.classes)
    assert "0 of 15" in texts(class_bars(empty))
    assert texts(ap_dots(empty)).count("0.0") == 1 + len(truth.classes)


def test_a_ground_truth_without_objects(tmp_path):
    truth = GroundTruth(["a"], ["cat", "dog"], [[20, 20]], [], [], [])
    found = Detections(["a"], ["cat", "dog"], [0], [0], [0.5], [[0, 0, 9, 9]])
    figures = [diagnosed(truth, nothing(truth)), diagnosed(truth, found)]
    assert "no mAP: there are no objects" in texts(pies(figures))
    assert texts(class_bars(figures)).count("no objects") == 4
    assert "–" in texts(ap_dots(figures))
    assert all(path.stat().st_size for path in save_figures(figures, tmp_path))


def test_no_detector_is_an_error():
    for draw in (pies, class_bars, ap_dots):
        with pytest.raises(InputError, match="diagnoses: found 0 detectors"):
            draw([])


# ---- the numbers ----------------------------------------------------------------------------------


@pytest.mark.parametrize("pooled", [False, True])
def test_wedges_are_the_shares_in_the_colours_of_their_types(two, pooled):
    drawn = wedges(pies(two, pooled=pooled))
    assert len(drawn) == 2
    for diagnosis, parts in zip(two, drawn, strict=True):
        shares = diagnosis.breakdown.pooled() if pooled else diagnosis.breakdown.mean_over_classes()
        angles = {part.get_label(): (part.theta2 - part.theta1) / 360 for part in parts}
        assert angles == pytest.approx(dict(zip(NAMES, shares, strict=True)))
        colours = {part.get_label(): part.get_facecolor() for part in parts}
        assert colours == {kind.name: to_rgba(kind.colour) for kind in ERROR_TYPES}
        assert [one.theta2 for one in parts[:-1]] == pytest.approx([next_.theta1 for next_ in parts[1:]])


def test_pies_label_each_slice_with_one_decimal(two):
    shown = texts(pies(two))
    for diagnosis in two:
        for share in diagnosis.breakdown.mean_over_classes():
            assert f"{100 * share:.1f}%" in shown


def test_captions_give_map_and_what_was_counted(two):
    shown = texts(pies(two, ap="area"))
    for diagnosis in two:
        assert diagnosis.name in shown
        assert f"mAP {100 * diagnosis.ap.mean()['area']:.1f}% (area under the curve, IoU 0.5)" in shown
        counted, there_are = diagnosis.breakdown.counts.sum(), len(diagnosis.detections)
        assert f"N = {counted} detections counted, of {there_are}" in shown
    assert shown.count("60 objects in 20 images") == 2
    assert shown.count("shares averaged over 4 classes") == 2
    assert "detections of 4 classes pooled" in texts(pies(two, pooled=True))


def test_an_all_correct_detector_is_one_whole_pie():
    truth = made_up()
    perfect = Detections(
        truth.images, truth.classes, truth.image_index, truth.labels, np.linspace(1, 0.5, 60), truth.boxes
    )
    figure = pies([diagnosed(truth, perfect)])
    ((whole,),) = wedges(figure)
    assert (whole.get_label(), whole.theta2 - whole.theta1) == ("correct", 360)
    assert "100.0%" in texts(figure)


def test_bars_are_the_shares_of_each_class_and_detector(two):
    drawn = bars(class_bars(two))
    assert len(drawn) == 2 * (1 + 4)  # the mean, then the classes; two detectors in each
    wanted = [d.breakdown.mean_over_classes() for d in two]
    wanted += [d.breakdown.shares[label] for label in range(4) for d in two]
    for parts, shares in zip(drawn, wanted, strict=True):
        assert [part.get_width() / CHART for part in parts] == pytest.approx(shares)
        assert sum(part.get_width() for part in parts) == pytest.approx(CHART)
        ends = [part.get_x() + part.get_width() for part in parts]
        assert [part.get_x() for part in parts] == pytest.approx([0, *ends[:-1]])
        assert [part.get_facecolor() for part in parts] == [to_rgba(kind.colour) for kind in ERROR_TYPES]


def test_bars_say_where_detections_are_too_few(two):
    shown = texts(class_bars(two))
    short = two[1].breakdown.counts.sum(axis=1)
    assert (short < 15).any()
    for counted in short:
        assert ("15" if counted == 15 else f"{counted} of 15") in shown


def test_bars_do_not_blame_missing_detections_on_a_small_top(two):
    few = diagnose(two[0].truth, two[0].detections, top=5, coco=False)
    shown = texts(class_bars([few]))
    assert shown.count("5") == 4
    assert not any(" of " in text and text[0].isdigit() for text in shown)


def test_bars_can_be_sorted_by_the_share_of_correct(two):
    figure = class_bars(two, order="correct")
    names = [text for text in texts(figure) if re.fullmatch(r"class \d+", text)]
    correct = np.mean([d.breakdown.shares[:, 0] for d in two], axis=0)
    assert names == [f"class {label}" for label in np.argsort(-correct, kind="stable")]
    first = bars(figure)[2]
    assert first[0].get_width() / CHART == pytest.approx(two[0].breakdown.shares[correct.argmax(), 0])
    with pytest.raises(InputError, match="order: found 'name'; expected 'class' or 'correct'"):
        class_bars(two, order="name")


def test_dots_are_the_average_precision(two):
    figure = ap_dots(two, ap="area")
    rows = [axes for axes in figure.axes if any(line.get_zorder() == 3 for line in axes.lines)][-1]
    for detector, diagnosis in enumerate(two):
        dots = [line.get_xdata()[0] / CHART for line in rows.lines if line.get_zorder() == 3 + detector]
        assert dots == pytest.approx([diagnosis.ap.mean()["area"], *diagnosis.ap.area])
        for value in diagnosis.ap.area:
            assert f"{100 * value:.1f}" in texts(figure)
    with pytest.raises(InputError, match=r"ap: found 'map'; expected one of voc07, area"):
        ap_dots(two, ap="map")


def test_legends_speak_of_the_threshold_used(two):
    strict = diagnose(two[0].truth, two[0].detections, iou=0.75, coco=False)
    shown = " ".join(texts(pies([strict])))
    assert "IoU 0.75)" in shown
    assert "0.5" not in shown


# ---- detectors that cannot be compared ---------------------------------------------------------


def test_detectors_on_other_ground_truth_are_refused(two):
    other = made_up(images=21)
    with pytest.raises(InputError, match="'plain' and 'x': found different classes or images"):
        pies([two[0], diagnosed(other, nothing(other), "x")])
    strict = diagnose(two[0].truth, two[0].detections, "strict", iou=0.75, coco=False)
    with pytest.raises(InputError, match=r"IoU thresholds of 0.5 and 0.75"):
        class_bars([two[0], strict])


# ---- what it looks like ------------------------------------------------------------------------


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(0, 400), min_size=5, max_size=5).filter(sum))
def test_labels_of_slices_never_overlap(counts):
    with house_style():
        figure = new_figure(PIE_PANEL, PIE_HEIGHT)
        _pie(blank_axes(figure, 0, 0, PIE_PANEL, PIE_HEIGHT), np.array(counts) / sum(counts))
    assert_no_overlap(figure)


@pytest.mark.parametrize(("classes", "detectors"), [(1, 1), (8, 3), (20, 2), (80, 1), (80, 3)])
def test_no_text_overlaps_or_leaves_the_page(classes, detectors):
    truth = made_up(classes, objects=3 * classes, images=30)
    many = [
        diagnosed(truth, detected(truth, seed, share=0.7), name)
        for seed, name in enumerate(
            ["plain", "$shuffled$_1", "runs/resnet50_spatial_shuffle_last_without_shortcut"]
        )
    ][:detectors]
    for figure in (pies(many), class_bars(many), ap_dots(many)):
        assert_no_overlap(figure)


def test_names_with_dollars_are_not_mathematics(two):
    odd = diagnosed(two[0].truth, two[0].detections, "$a_1$")
    title = next(text for axes in pies([odd]).axes for text in axes.texts if text.get_text() == "$a_1$")
    assert isinstance(title, Text)
    assert not title.get_parse_math()


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


# ---- files -------------------------------------------------------------------------------------


def test_files_are_written_and_the_same_bytes_each_time(two, tmp_path):
    paths = save_figures(two, tmp_path / "new" / "one")
    names = {f"{stem}.{kind}" for stem in ("error_pies", "error_bars", "ap") for kind in ("png", "svg")}
    assert {path.name for path in paths} == names
    assert {path.name for path in (tmp_path / "new" / "one").iterdir()} == names  # no leftovers
    again = save_figures(two, tmp_path / "two")
    for one, other in zip(paths, again, strict=True):
        assert one.read_bytes() == other.read_bytes()
        if one.suffix == ".svg":
            assert b"<dc:date>" not in one.read_bytes()


def test_png_has_at_least_150_dots_an_inch(two, tmp_path):
    from PIL import Image

    figure = pies(two)
    with Image.open(save_figure(figure, tmp_path / "pies.png")) as image:
        assert image.width >= math.floor(150 * figure.get_figwidth())


def test_a_failed_write_leaves_the_old_file_and_no_part(two, tmp_path, monkeypatch):
    path = tmp_path / "pies.svg"
    path.write_text("old")

    def fail(self, part, **kwargs):
        Path(part).write_text("half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Figure, "savefig", fail)
    with pytest.raises(InputError, match="No space left on device"):
        save_figure(pies(two), path)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_in_place_of_the_folder_is_an_input_error(two, tmp_path):
    (tmp_path / "out").write_text("")
    with pytest.raises(InputError, match="expected a folder to write to"):
        save_figures(two, tmp_path / "out")


def test_the_users_settings_neither_change_nor_matter(two, tmp_path):
    plain = save_figure(pies(two), tmp_path / "plain.svg").read_bytes()
    with matplotlib.rc_context({"font.size": 30, "axes.facecolor": "red", "svg.fonttype": "none"}):
        before = dict(matplotlib.rcParams)
        assert save_figure(pies(two), tmp_path / "other.svg").read_bytes() == plain
        assert dict(matplotlib.rcParams) == before


def test_pyplot_is_never_imported(root):
    modules = "diagnosis.figures.plots, diagnosis.figures.sheet"
    code = f"import sys, {modules}; sys.exit('matplotlib.pyplot' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=root, check=False).returncode == 0
