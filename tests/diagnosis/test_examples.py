"""The sheet of examples shows the same images for all detectors and just what the breakdown counts."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from PIL import Image

from data.boxes import intersection
from data.records import Detections, GroundTruth, InputError
from diagnosis.breakdown import ERROR_TYPES
from diagnosis.figures import save_sheet
from diagnosis.figures.examples import LABEL_INCHES, MAX_COVERED, label_place
from diagnosis.figures.style import drawing_style
from diagnosis.plot import examples
from diagnosis.record import Diagnosis, diagnose
from tests.diagnosis.figures import texts
from tests.diagnosis.scenes import write_photographs

COLOURS = {kind.name: to_rgba(kind.colour) for kind in ERROR_TYPES}
SIZES = [(120, 80), (80, 120), (100, 100)]


@pytest.fixture
def truth(tmp_path) -> GroundTruth:
    """Three images: a dog and a cat; a difficult dog; nothing. The first two are landscape and portrait."""
    boxes = [[10, 10, 50, 60], [60, 20, 110, 70], [5, 5, 70, 110]]
    about = [0, 0, 1], [0, 1, 0], boxes, [False, False, True]
    files = write_photographs(tmp_path, SIZES)
    return GroundTruth(["first", "second", "third"], ["dog", "cat", "bus"], SIZES, *about, files=files)


def diagnosed(truth, rows, name="detector") -> Diagnosis:
    """Rows of image, class, score and box."""
    image, label, scores, boxes = zip(*rows, strict=True) if rows else ([], [], [], [])
    found = Detections(truth.images, truth.classes, image, label, scores, boxes)
    return diagnose(truth, found, name, [["dog", "cat"]], coco=False)


@pytest.fixture
def detector(truth) -> Diagnosis:
    """The dog is found, the cat taken for a dog below the top, a bus that is none, which is not counted."""
    rows = [
        (0, 0, 0.9, [11, 11, 50, 60]),  # correct; the one dog that counts
        (0, 0, 0.8, [60, 20, 110, 70]),  # below the top: N is 1
        (0, 1, 0.7, [85, 20, 130, 70]),  # localization: beyond the image, clipped
        (0, 2, 0.9, [60, 20, 110, 70]),  # there is no bus: not counted
    ]
    return diagnosed(truth, rows)


def pictures(figure: Figure):
    return [axes for axes in figure.axes if axes.images]


def frames(axes, names=tuple(COLOURS)) -> dict[str, list[Rectangle]]:
    found: dict[str, list[Rectangle]] = {}
    for patch in axes.patches:
        if patch.get_label() in names:
            found.setdefault(patch.get_label(), []).append(patch)
    return found


def crosses(axes) -> int:
    return sum(line.get_label() == "missed" for line in axes.lines) // 2  # white on black


def names(figure) -> list[str]:
    """Those of the images that are shown."""
    return [text for text in texts(figure) if text in ("first", "second", "third")]


# ---- nothing to draw ----------------------------------------------------------------------------


def test_images_are_those_on_which_detectors_differ_or_the_first(truth):
    """A cat of the last image is found by one; a difficult dog, found by one too, does not count."""
    moved = dataclasses.replace(truth, image_index=2 - truth.image_index)
    rows = [(2, 0, 0.9, [10, 10, 50, 60]), (1, 0, 0.8, [5, 5, 70, 110]), (2, 1, 0.7, [60, 20, 110, 70])]
    pair = [diagnosed(moved, rows, "both"), diagnosed(moved, rows[:1], "one")]
    assert names(examples(*pair, count=2)) == ["third", "first"]
    assert names(examples(*pair, count=2, choose="first")) == ["first", "second"]
    assert names(examples(pair[0], count=2)) == ["first", "second"]
    with drawing_style("paper"):
        assert save_sheet(pair, Path(moved.files[0]).parent, count=1).name == "examples.pdf"
    with pytest.raises(InputError, match="choose: found 'best'; expected 'differ' or 'first'"):
        examples(*pair, choose="best")


def test_a_detector_without_detections_misses_all_objects(truth):
    figure = examples(diagnosed(truth, []))
    first, second, third = pictures(figure)
    assert [frames(axes) for axes in (first, second, third)] == [{}, {}, {}]
    assert [crosses(axes) for axes in (first, second, third)] == [2, 0, 0]  # a difficult one is not missed
    assert [len(frames(axes, ("object",)).get("object", [])) for axes in (first, second, third)] == [2, 1, 0]


def test_no_detector_no_image_or_no_files_is_an_error(truth, detector):
    with pytest.raises(InputError, match="0 detectors"):
        examples()
    with pytest.raises(InputError, match="count: found 0, of 3 images; expected at least one image"):
        examples(detector, count=0)
    with pytest.raises(InputError, match="image_names: found no name"):
        examples(detector, image_names=[])
    bare = GroundTruth(["a"], ["dog", "cat"], [[9, 9]], [], [], [])
    with pytest.raises(InputError, match="found no image files; expected the photographs"):
        examples(diagnosed(bare, []))


# ---- what is drawn ------------------------------------------------------------------------------


def test_boxes_are_the_counted_detections_in_the_colours_of_their_types(detector):
    first, second, third = pictures(examples(detector))
    assert {name: len(found) for name, found in frames(first).items()} == {"correct": 1, "localization": 1}
    assert frames(second) == frames(third) == {}
    for name, found in frames(first).items():
        assert [patch.get_edgecolor() for patch in found] == [COLOURS[name]]
    assert [text.get_text() for text in first.texts] == ["dog 0.90", "cat 0.70"]
    assert crosses(first) == 1  # the cat


def test_boxes_stand_where_they_were_detected_and_within_the_image(detector):
    first = pictures(examples(detector))[0]
    width, height = first.get_xlim()[1], first.get_ylim()[0]
    scale = width / 120
    assert height == pytest.approx(80 * scale)
    (correct,) = frames(first)["correct"]
    assert correct.get_bbox().extents / scale == pytest.approx([11, 11, 50, 60])
    (clipped,) = frames(first)["localization"]
    left, top, right, bottom = clipped.get_bbox().extents
    assert (left, top, bottom) == pytest.approx((85 * scale, 20 * scale, 70 * scale))
    assert width - 0.05 < right < width


def test_a_higher_threshold_leaves_detections_out_for_all_detectors(truth, detector):
    figure = examples(detector, detector, count=1, score_threshold=0.8)
    for axes in pictures(figure):
        assert {name: len(found) for name, found in frames(axes).items()} == {"correct": 1}
        assert crosses(axes) == 1
    assert "Those with a score below 0.8 are left out." in " ".join(texts(figure))
    (axes,) = pictures(examples(detector, count=1, score_threshold=0.95))
    assert crosses(axes) == 2  # what is not drawn does not find


def test_a_correct_detection_of_a_difficult_object_is_correct(truth):
    rows = [(0, 0, 0.3, [11, 11, 50, 60]), (1, 0, 0.9, [5, 5, 70, 110])]
    second = pictures(examples(diagnosed(truth, rows)))[1]
    assert list(frames(second)) == ["correct"]
    assert crosses(second) == 0


def test_the_same_images_side_by_side(truth, detector):
    other = diagnosed(truth, [], "other")
    for detectors in ([detector], [detector, other], [detector, other, detector]):
        figure = examples(*detectors, count=2)
        shown = pictures(figure)
        assert len(shown) == 2 * len(detectors)
        pixels = [axes.images[0].get_array() for axes in shown]
        for number in range(2):
            group = pixels[number * len(detectors) : (number + 1) * len(detectors)]
            assert all((one == group[0]).all() for one in group)
        assert not np.array_equal(pixels[0], pixels[-1])
        rectangles = [axes.get_position() for axes in shown[: len(detectors)]]
        assert len({round(place.y0, 6) for place in rectangles}) == 1
        assert [place.x0 for place in rectangles] == sorted(place.x0 for place in rectangles)
        assert {"first", "second"} <= set(names(figure))


def test_pictures_do_not_overlap_and_keep_their_shape(truth, detector):
    figure = examples(detector, detector)
    places = [axes.get_window_extent() for axes in pictures(figure)]
    for number, place in enumerate(places):
        width, height = SIZES[number // 2]
        assert place.width / place.height == pytest.approx(width / height)
        for other in places[:number]:
            across = min(place.x1, other.x1) - max(place.x0, other.x0)
            down = min(place.y1, other.y1) - max(place.y0, other.y0)
            assert across <= 0 or down <= 0
    page = figure.bbox
    assert all(place.x0 >= 0 and place.x1 <= page.x1 and place.y0 >= 0 for place in places)


def test_images_are_the_first_of_the_set_or_those_named(detector):
    assert names(examples(detector, count=2)) == ["first", "second"]
    assert names(examples(detector, count=99)) == ["first", "second", "third"]
    assert names(examples(detector, image_names=["third", "first"])) == ["third", "first"]
    with pytest.raises(InputError, match=r"image_names: found 'frist'; .* did you mean 'first'"):
        examples(detector, image_names=["frist"])


def test_labels_stay_inside_and_clear_of_each_other_in_a_crowd(truth):
    boxes = [[10 + 3 * (i % 8), 10 + 5 * (i // 8), 50 + 3 * (i % 8), 55] for i in range(30)]
    found = Detections(truth.images, truth.classes, [0] * 30, [0] * 30, np.linspace(0.9, 0.1, 30), boxes)
    crowd = diagnose(truth, found, top="all", coco=False)
    figure = examples(crowd, count=1)
    (axes,) = pictures(figure)
    assert sum(map(len, frames(axes).values())) == 30
    assert 0 < len(axes.texts) < 30  # some find no room
    renderer = figure.canvas.get_renderer()
    picture = axes.get_window_extent(renderer)
    for text in axes.texts:
        box = text.get_window_extent(renderer)
        assert picture.x0 <= box.x0
        assert box.x1 <= picture.x1 + 1


@given(
    st.tuples(st.floats(0, 3), st.floats(0, 2), st.floats(0.01, 2), st.floats(0.01, 2)),
    st.floats(0.2, 1.5),
    st.lists(st.tuples(st.floats(0, 2), st.floats(0, 1.8)), max_size=6),
)
def test_places_of_labels(box, width, corners):
    left, top = min(box[0], 2.9), min(box[1], 1.9)
    box = (left, top, min(3.0, left + box[2]), min(2.0, top + box[3]))
    taken = [(x, y, x + 1.0, y + LABEL_INCHES) for x, y in corners]
    place = label_place(box, width, (3.0, 2.0), taken)
    if place is None:
        assert taken
        return
    x0, y0, x1, y1 = place
    assert min(x0, y0) >= 0
    assert max(x1 - 3.0, y1 - 2.0) <= 1e-9
    covered = float(intersection(np.reshape(taken, (-1, 4)), np.array(place)).sum())
    assert covered <= MAX_COVERED * width * LABEL_INCHES + 1e-9


# ---- bad images ---------------------------------------------------------------------------------


def test_bad_image_files_are_named(truth, detector, tmp_path):
    path = tmp_path / "photo1.png"
    half = path.read_bytes()[: path.stat().st_size // 2]
    Image.new("RGB", (40, 60)).save(small := tmp_path / "small.png")
    for content, words in (
        (half, r"a damaged image .*'second', whole"),
        (b"not an image", r"a file that is no image; .*'second'"),
        (small.read_bytes(), r"40 × 60 pixels; .*'second'.* 80 × 120 pixels"),
        (None, r"No such file or directory; .*'second'"),
    ):
        if content:
            path.write_bytes(content)
        else:
            path.unlink()
        with pytest.raises(InputError, match=rf"photo1\.png: found {words}"):
            examples(detector)
    path.mkdir()
    with pytest.raises(InputError, match=r"photo1\.png: found Is a directory"):
        examples(detector)
    assert len(pictures(examples(detector, count=1))) == 1  # images that are not shown need not be whole


def test_a_truncated_jpeg_is_named(truth, tmp_path):
    path = tmp_path / "photo.jpg"
    Image.open(truth.files[0]).save(path)
    path.write_bytes(path.read_bytes()[:-2000])
    photo = GroundTruth(["a"], truth.classes, [[120, 80]], [], [], [], files=[path])
    with pytest.raises(InputError, match=r"photo\.jpg: found a damaged image"):
        examples(diagnosed(photo, []))


def test_a_grey_image_is_drawn(truth, detector, tmp_path):
    Image.new("L", SIZES[0], 100).save(tmp_path / "photo0.png")
    assert pictures(examples(detector, count=1))[0].images[0].get_array().shape == (80, 120, 3)


# ---- files --------------------------------------------------------------------------------------


def test_the_sheet_is_written_once_and_the_same_each_time(detector, tmp_path):
    path = save_sheet([detector, detector], tmp_path / "new")
    assert path == tmp_path / "new" / "examples.png"
    assert [file.name for file in path.parent.iterdir()] == ["examples.png"]
    with Image.open(path) as image:
        assert image.width > 1000
    assert save_sheet([detector, detector], tmp_path / "again").read_bytes() == path.read_bytes()


def test_real_photographs(shared_data, tmp_path):
    from data.formats.voc import read_voc

    real = read_voc(shared_data / "VOCdevkit", "2012:val").select(range(40))
    shift = np.tile(np.random.default_rng(0).normal(0, 20, (len(real), 2)), 2)
    about = real.images, real.classes, real.image_index, real.labels, np.linspace(1, 0.1, len(real))
    boxes = real.boxes, real.boxes + shift
    detectors = [diagnose(real, Detections(*about, found), coco=False) for found in boxes]
    shown = pictures(examples(*detectors, count=11))
    assert len(shown) == 22
    exact, off = ([set(frames(axes)) for axes in shown[start::2]] for start in (0, 1))
    assert set().union(*exact) <= {"correct"}
    assert "localization" in set().union(*off)
