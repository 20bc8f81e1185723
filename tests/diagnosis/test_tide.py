"""TIDE's numbers are tidecv's, on real detections and where things are odd; the rest by hand."""

from collections import Counter
from types import SimpleNamespace

import numpy as np
import pytest

from data.records import Detections, GroundTruth, InputError
from diagnosis import match
from diagnosis.tide import BEYOND, DAP_COLUMNS, TIDE_ERRORS, TRUE_POSITIVE, explain, tide
from tests.diagnosis.scenes import BOX, FAR, matched, real_records

NAMES = [kind.name for kind in TIDE_ERRORS]


def tidecv_of(truth, found, iou=0.5, background_iou=0.1, max_detections=100, any_class=None):
    """What tidecv says: AP and dAP in per cent, counts, AP by class, types of detections, missed objects."""
    pytest.importorskip("tidecv", reason="tidecv is not installed: requirements-reference.lock has it")
    from tidecv import Data
    from tidecv.quantify import TIDE, TIDERun

    annotated, detected = Data("truth", max_detections), Data("found")
    for image, name in enumerate(truth.images):
        annotated.add_image(image, name)
    for label, name in enumerate(truth.classes):
        annotated.add_class(label, name)
    everywhere = np.zeros(len(truth), bool) if any_class is None else any_class
    ignored = truth.difficult | truth.crowd
    for row in range(len(truth)):
        (x, y, right, bottom), label = truth.boxes[row].tolist(), int(truth.labels[row])
        add = annotated.add_ignore_region if ignored[row] else annotated.add_ground_truth
        add(int(truth.image_index[row]), -1 if everywhere[row] else label, [x, y, right - x, bottom - y])
    columns = (found.image_index.tolist(), found.labels.tolist(), found.scores.tolist(), found.boxes.tolist())
    for image, label, score, (x, y, right, bottom) in zip(*columns, strict=True):
        detected.add_detection(image, label, score, [x, y, right - x, bottom - y])

    run = TIDERun(annotated, detected, iou, background_iou, TIDE.BOX, max_detections)
    dap = run.fix_main_errors() | run.fix_special_errors()
    types = np.full(len(found), BEYOND)
    missed = np.zeros(len(truth), bool)
    for error in run.errors:
        kind = NAMES.index(error.short_name.lower())
        if kind == NAMES.index("miss"):
            missed[error.gt["_id"]] = True
        else:
            types[error.pred["_id"]] = kind
    for row, prediction in enumerate(detected.annotations):
        if prediction.get("used") and types[row] == BEYOND:
            types[row] = TRUE_POSITIVE
    return SimpleNamespace(
        ap=run.ap,
        dap=dict(zip(DAP_COLUMNS, dap.values(), strict=True)),
        counts={error.short_name.lower(): count for error, count in run.count_errors().items()},
        class_ap={label: data.get_ap() for label, data in run.ap_data.objs.items() if not data.is_empty()},
        types=types,
        missed=missed,
    )


def assert_same(truth, found, **options):
    ours, theirs = tide(match(truth, found), **options), tidecv_of(truth, found, **options)
    np.testing.assert_array_equal(ours.types, theirs.types)
    np.testing.assert_array_equal(ours.missed, theirs.missed)
    assert ours.counts == theirs.counts
    exact = {"rel": 0, "abs": 1e-9}
    assert 100 * ours.mean_ap == pytest.approx(theirs.ap, **exact)
    assert {name: 100 * gain for name, gain in ours.dap.items()} == pytest.approx(theirs.dap, **exact)
    by_class = {label: 100 * ap for label, ap in enumerate(ours.ap.tolist()) if not np.isnan(ap)}
    assert by_class == pytest.approx(theirs.class_ap, **exact)


def scene(seed, images=6, objects=25, found=60, levels=8, classes=4, side=10):
    """A crowded set on a grid, where equal overlaps and scores, duplicates and ignore regions abound."""
    random = np.random.default_rng(seed)

    def boxes(count):
        low = random.integers(0, side - 1, (count, 2))
        return np.concatenate([low, low + random.integers(1, side // 2, (count, 2))], axis=1).astype(float)

    # The last class has no objects, the first no detections; the last image may have neither.
    labels = random.integers(0, classes - 1, objects)
    ignored = random.random(objects) < 0.3
    truth = GroundTruth(
        [str(image) for image in range(images)],
        [str(label) for label in range(classes)],
        [[side, side]] * images,
        random.integers(0, images - 1, objects),
        labels,
        boxes(objects),
        difficult=ignored & (labels % 2 == 0),
        crowd=ignored & (labels % 2 == 1),
    )
    near = random.random(found) < 0.6
    model = random.integers(0, objects, found)
    box = np.where(near[:, None], truth.boxes[model], boxes(found))
    box[:, 2:] += random.integers(0, 3, (found, 2)) * (random.random((found, 1)) < 0.5)
    detections = Detections(
        truth.images,
        truth.classes,
        np.where(near, truth.image_index[model], random.integers(0, images, found)),
        np.where(
            near & (random.random(found) < 0.7),
            np.maximum(labels[model], 1),
            random.integers(1, classes, found),
        ),
        random.integers(1, levels + 1, found) / levels,
        box,
    )
    return truth, detections, ignored & (random.random(objects) < 0.4)


@pytest.mark.parametrize("seed", range(40))
def test_odd_scenes_are_as_in_tidecv(seed):
    truth, found, any_class = scene(seed)
    assert_same(truth, found)
    assert_same(truth, found, any_class=any_class)
    assert_same(truth, found, iou=0.7, background_iou=0.2, max_detections=7)


def test_odd_scenes_are_odd():
    """Each corner that the comparison is meant to visit is visited."""
    seen = Counter()
    for seed in range(40):
        truth, found, any_class = scene(seed)
        result = tide(match(truth, found), any_class=any_class)
        of_object = found.labels[result.targets >= 0] == truth.labels[result.targets[result.targets >= 0]]
        seen.update(NAMES[kind] for kind in result.types[result.types >= 0])
        seen["miss"] += result.missed.sum()
        seen["own ignore region"] += tide(match(truth, found)).ignored.sum()
        seen["any class's ignore region"] += (result.ignored & ~tide(match(truth, found)).ignored).sum()
        seen["fixed in vain"] += sum(gain == 0 for name, gain in result.dap.items() if name in NAMES)
        seen["beyond"] += (tide(match(truth, found), max_detections=7).types == BEYOND).sum()
        seen["clipped"] += (found.boxes[:, 2:] > 10).any()
        seen["of another class"] += (~of_object).sum()
    assert min(seen.values()) > 5
    assert set(NAMES) < set(seen)


def test_more_than_a_hundred_detections_in_an_image_are_as_in_tidecv():
    truth, found, any_class = scene(1, images=3, objects=80, found=700, levels=300, side=60)
    assert (match(truth, found).rank_in_image >= 100).sum() > 200
    assert_same(truth, found, any_class=any_class)


def test_boxes_off_the_grid_and_scores_all_different_are_as_in_tidecv():
    truth, found, _ = scene(2, images=40, objects=200, found=900, side=40)
    random = np.random.default_rng(0)
    boxes = np.sort((found.boxes + random.normal(0, 1.5, found.boxes.shape)).reshape(-1, 2, 2), axis=1)
    scores = random.normal(0, 0.2, len(found))  # some below 0
    moved = Detections(
        found.images, found.classes, found.image_index, found.labels, scores, boxes.reshape(-1, 4)
    )
    assert_same(truth, moved)


@pytest.mark.parametrize(("detector", "first"), [("darknet", 0), ("pytorch_yolo2", 3), ("yolov3", 6)])
def test_real_detections_are_as_in_tidecv(shared_data, detector, first):
    """A ninth of VOC 2007 test for each detector: tidecv takes its time."""
    whole, found = real_records(shared_data, detector)
    truth = whole.select(range(first, len(whole.images), 9))
    rows = np.flatnonzero(found.image_index % 9 == first)
    columns = (found.image_index[rows] // 9, found.labels[rows], found.scores[rows], found.boxes[rows])
    assert_same(truth, Detections(truth.images, truth.classes, *columns))


# ---- by hand ---------------------------------------------------------------------------------

HALF = [0, 0, 10, 5]


def test_each_error_once():
    dog = [20, 0, 30, 10]
    overlaps = matched(
        [(0, BOX), (1, dog), (1, FAR)],
        [
            (0, 0.9, BOX),
            (0, 0.8, [0, 0, 10, 9]),  # again
            (0, 0.7, dog),  # a dog
            (1, 0.6, [20, 0, 30, 4]),  # too small, on the same dog, less sure
            (0, 0.5, [20, 0, 30, 4]),  # both
            (0, 0.4, [80, 80, 90, 90]),  # nothing there
        ],
    )
    result = tide(overlaps)
    kinds = [NAMES[kind] if kind >= 0 else kind for kind in result.types]
    assert kinds == [TRUE_POSITIVE, "dupe", "cls", "loc", "both", "bkg"]
    assert result.targets.tolist() == [0, 0, 1, 1, -1, -1]
    assert np.flatnonzero(result.missed).tolist() == [2]
    assert result.counts == dict.fromkeys(NAMES, 1)
    assert result.ap.tolist() == [1.0, 0.0]
    # The surer cls error becomes a dog; the loc error stays one of the dogs' false positives, behind it.
    assert result.fixed_ap[NAMES.index("cls")].tolist() == pytest.approx([1.0, 51 / 101])
    assert result.fixed_ap[NAMES.index("loc")].tolist() == [1.0, 0.0]
    assert result.dap["cls"] == pytest.approx(51 / 202)
    assert result.class_dap["cls"].tolist() == pytest.approx([0.0, 51 / 101])
    assert result.class_counts.tolist() == [[1, 0, 1, 1, 1, 0], [0, 1, 0, 0, 0, 1]]
    assert result.confusion_matrix().tolist() == [[1, 1, 3], [0, 0, 1], [0, 2, 0]]
    faint = result.confusion_matrix(overlaps.detections.scores < 0.85)
    assert faint.tolist() == [[0, 1, 3], [0, 0, 1], [1, 2, 0]]
    with pytest.raises(InputError, match="counted"):
        result.confusion_matrix(np.zeros(3, bool))


def test_whether_overlaps_were_clipped_makes_no_difference():
    truth, found, _ = scene(3)
    assert (match(truth, found).pair_iou != match(truth, found, clip=False).pair_iou).any()
    clipped, unclipped = tide(match(truth, found)), tide(match(truth, found, clip=False))
    np.testing.assert_array_equal(clipped.types, unclipped.types)
    np.testing.assert_array_equal(clipped.fixed_ap, unclipped.fixed_ap)


@pytest.mark.parametrize("iou", [0.55, 0.6, 0.65, 0.75, 0.8, 0.85, 0.9, 0.95])
def test_other_thresholds_are_as_in_tidecv(iou):
    truth, found, any_class = scene(4)
    assert_same(truth, found, iou=iou, any_class=any_class)


NAN = float("nan")


@pytest.mark.parametrize(
    ("objects", "found", "ap", "counts", "dap", "confused"),
    [
        # At just the threshold it finds a free object; with a taken one it is loc, not dupe.
        (
            [(0, BOX)], [(0, 0.9, HALF), (0, 0.8, HALF)], [1, NAN], {"loc": 1}, {},
            [[1, 0, 1], [0, 0, 0], [0, 0, 0]],
        ),
        # Without detections no class is left, once no object is missed.
        (
            [(0, BOX), (0, FAR)], [], [0, NAN], {"miss": 2}, {"cls": 0, "fp": 0, "miss": NAN, "fn": NAN},
            [[0, 0, 0], [0, 0, 0], [2, 0, 0]],
        ),
        ([], [], [NAN, NAN], {}, dict.fromkeys(DAP_COLUMNS, NAN), [[0] * 3] * 3),
        # A class without objects lowers the mean.
        (
            [(0, BOX)], [(0, 0.9, BOX), (1, 0.8, FAR)], [1, 0], {"bkg": 1}, {"bkg": 0.5},
            [[1, 0, 0], [0, 0, 1], [0, 0, 0]],
        ),
        # On an ignore region: left out of the average precision, and yet counted.
        (
            [(0, BOX, True)], [(0, 0.9, BOX), (1, 0.8, [0, 0, 9, 9])], [NAN, 0], {"bkg": 2}, {},
            [[0, 0, 0], [0, 0, 1], [0, 0, 0]],
        ),
        (
            [(0, BOX)], [(0, 0.9, [0, 0, 10, 4])], [0, NAN], {"loc": 1}, {"loc": 1, "fp": 0},
            [[0, 0, 1], [0, 0, 0], [1, 0, 0]],
        ),
    ],
    ids=["threshold", "no detections", "nothing", "none of a class", "ignore regions", "no true positive"],
)  # fmt: skip
def test_few_of_anything(objects, found, ap, counts, dap, confused):
    result = tide(matched(objects, found))
    np.testing.assert_array_equal(result.ap, ap)
    known = [value for value in ap if value == value]
    np.testing.assert_array_equal(result.mean_ap, np.mean(known) if known else NAN)
    assert result.counts == dict.fromkeys(NAMES, 0) | counts
    np.testing.assert_array_equal([result.dap[name] for name in dap], [*dap.values()])
    assert result.confusion_matrix().tolist() == confused
    assert result.ignored.tolist() == [bool(objects[0][2:]) and label == 0 for label, *_ in found]


def test_no_images():
    result = tide(match(GroundTruth([], ["a"], [], [], [], []), Detections([], ["a"], [], [], [], [])))
    assert np.isnan([result.mean_ap, *result.dap.values()]).all()
    assert sum(result.counts.values()) == result.confusion_matrix().sum() == 0


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"iou": 0.05}, "background"),
        ({"background": 0.0}, "background"),
        ({"iou": 1.5}, "iou"),
        ({"max_detections": 0}, "max_detections"),
        ({"max_detections": 1.5}, "max_detections"),
        ({"any_class": [True]}, "any_class"),
        ({"any_class": [0, 1]}, "any_class"),
        ({"any_class": [False, True]}, r"any_class\[1\]"),
    ],
)
def test_options_without_meaning_are_refused(options, named):
    with pytest.raises(InputError, match=named):
        tide(matched([(0, BOX, True), (0, FAR)], []), **options)


def test_explanations_name_the_overlaps_in_use():
    texts = [explain(kind, 0.75, 0.2) for kind in TIDE_ERRORS]
    assert texts[1].endswith("0.2 to 0.75.")
    assert not any("0.5" in text or "0.1" in text for text in texts)
    assert [explain(kind, 0.5, 0.1) for kind in TIDE_ERRORS] == [kind.explanation for kind in TIDE_ERRORS]
