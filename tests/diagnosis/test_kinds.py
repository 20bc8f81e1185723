"""Kinds of files that people have, on which an analysis was once wrong or said nothing."""

import json

import numpy as np
import pytest

from data.formats import from_predictions, read_coco, read_coco_detections
from data.records import Detections, GroundTruth, InputError
from diagnosis import assign, average_precision, diagnose, match, sentences, table, to_json
from diagnosis.__main__ import main
from diagnosis.coco_ap import coco_table
from diagnosis.compare import compare
from diagnosis.words import brief, comparison_table, notes
from tests.data.scenes import coco_object, coco_result, pycocotools_evaluation, write_coco, write_json

CELL = 60  # pixels from one object to the next


def image(number, **more):
    return {"id": number, "file_name": f"{number:04}.jpg", "width": 640, "height": 480} | more


def coco(folder, images, objects, results, classes=("cat", "dog")):
    """The records of COCO files: objects (image, class, box[, crowd]), results (image, class, box, score)."""
    annotations = [
        coco_object(key, label, box, iscrowd=int(bool(crowd)), area=box[2] * box[3] * (1 + n % 2) / 2)
        for n, (key, label, box, *crowd) in enumerate(objects, 1)
    ]
    categories = [{"id": n, "name": name} for n, name in enumerate(classes, 1)]
    truth = read_coco(write_coco(folder, annotations, images, categories))
    found = write_json(folder / "found.json", [coco_result(*row) for row in results])
    return truth, read_coco_detections(found, truth)


def in_memory(truth, found):
    """The same detections as torchvision's lists of dicts, and the ground truth without COCO's ids."""
    plain = GroundTruth(
        truth.images, truth.classes, truth.sizes, truth.image_index, truth.labels, truth.boxes,
        truth.difficult, truth.crowd,
    )  # fmt: skip
    rows = [found.image_index == n for n in range(len(truth.images))]
    predictions = {
        name: {"boxes": found.boxes[row], "scores": found.scores[row], "labels": found.labels[row]}
        for name, row in zip(truth.images, rows, strict=True)
    }
    return plain, from_predictions(predictions, plain, names=truth.classes)


# ---- crowds ------------------------------------------------------------------------------------


def on_a_crowd(folder, ours=6):
    """Six detections in a crowd, then as many objects of another image, each found exactly."""
    six = [[10 + CELL * i, 50, 50, 100] for i in range(ours)]
    near = [[120 + CELL * i, 150, 50, 110] for i in range(6)]
    results = [(1, 1, box, 0.95 - 0.01 * i) for i, box in enumerate(near)]
    results += [(2, 1, box, 0.8 - 0.01 * i) for i, box in enumerate(six)]
    objects = [(1, 1, [100, 100, 400, 300], True), *((2, 1, box) for box in six)]
    return coco(folder, [image(1), image(2)], objects, results)


@pytest.mark.parametrize("source", [lambda *both: both, in_memory], ids=["coco", "in memory"])
@pytest.mark.parametrize("ours", [1, 6])
def test_kind_detections_in_a_crowd_count_for_nothing(tmp_path, source, ours):
    diagnosis = diagnose(*source(*on_a_crowd(tmp_path, ours)))
    assert diagnosis.breakdown.counts[0].tolist() == [ours, 0, 0, 0, 0]
    for kind, mean in diagnosis.ap.mean().items():
        assert mean == pytest.approx(1), kind
    assert np.nanmax(diagnosis.impact.gains()) == 0
    assert diagnosis.tide.mean_ap == 1
    assert sum(diagnosis.tide.counts.values()) == 0
    assert diagnosis.confusion.counts.sum() == diagnosis.calibration.counts.sum() == ours
    assert diagnosis.detection_trend.counts[-1].sum() == ours
    assert diagnosis.false_positive_trends["all classes"].counts.sum() == 0
    assert diagnosis.operating_points.overall.f1 == 1
    assert len(diagnosis.worst_cases.errors) == 0
    assert (diagnosis.referenced_objects.object_rows[:6] == -1).all()


@pytest.mark.parametrize(
    ("box", "label", "kind"),
    [
        ([100, 100, 50, 50], 1, None),  # inside
        ([75, 100, 50, 50], 1, None),  # half of it
        ([74, 100, 50, 50], 1, 4),  # less: background
        ([100, 100, 50, 50], 2, 4),  # of another class: a crowd is no object to be confused with
        ([300, 300, 50, 50], 1, 0),  # an object within the crowd is found
        ([300, 300, 50, 20], 1, None),  # its part is neither right nor a localization error
    ],
)
def test_kind_what_belongs_to_a_crowd(tmp_path, box, label, kind):
    objects = [(1, 1, [100, 100, 300, 300], True), (1, 1, [300, 300, 50, 50]), (1, 2, [500, 0, 9, 9])]
    diagnosis = diagnose(*coco(tmp_path, [image(1)], objects, [(1, label, box, 0.9)]), top="all")
    counts = diagnosis.breakdown.counts.sum(axis=0)
    assert counts.tolist() == [int(number == kind) for number in range(5)]


def test_kind_difficult_objects_are_still_found_once_by_hoiem():
    box = [100, 100, 200, 200]
    truth = GroundTruth(["a"], ["dog"], [[640, 480]], [0], [0], [box], difficult=[True])
    found = Detections(["a"], ["dog"], [0, 0], [0, 0], [0.9, 0.8], [box, [120, 120, 150, 150]])
    assert assign(match(truth, found), 0.5).outcomes.tolist() == [0, -1]


# ---- what is said ------------------------------------------------------------------------------


def said(truth, found, **options):
    """The notes, and the account in diagnosis.json."""
    diagnosis = diagnose(truth, found, "ours", **options)
    lines = notes([diagnosis])
    content = to_json([diagnosis], {}, notes=lines)
    assert json.loads(json.dumps(content, allow_nan=False)) == content
    return "\n".join(lines), content["detectors"][0]


PLACES = [[100 * i, 100, 50, 50] for i in range(5)]


@pytest.mark.parametrize("source", [lambda *both: both, in_memory], ids=["coco", "in memory"])
def test_kind_detections_of_classes_without_objects_are_told(tmp_path, source):
    results = [(1, 1, PLACES[0], 0.9), (1, 2, PLACES[1], 0.95), (1, 2, PLACES[2], 0.99)]
    lines, one = said(*source(*coco(tmp_path, [image(1)], [(1, 1, PLACES[0])], results)))
    assert "ours: 2 detections of 3 on classes without objects" in lines
    assert "leave out: dog (2)." in lines
    assert "ids shifted by one" in lines
    assert one["account"]["without_objects"] == {"dog": 2}


def test_kind_classes_without_a_detection_are_told(tmp_path):
    boxes = [(1, 1, PLACES[0]), (1, 2, PLACES[1]), (1, 2, PLACES[2])]
    some = said(*coco(tmp_path, [image(1)], boxes, [(1, 1, PLACES[0], 0.9)]))[0]
    assert "ours: no detection of classes that have objects: dog (2)." in some
    truth, _ = coco(tmp_path, [image(1)], boxes, [(1, 1, PLACES[0], 0.9)])
    silent = diagnose(truth, Detections(truth.images, truth.classes, [], [], [], []), "ours")
    both = compare(silent, replicates=20)
    lines = notes([silent], both)
    assert "ours: no detection at all." in lines
    assert any(
        line.startswith("The intervals come from 20 resamples. With fewer than 100 ") for line in lines
    )
    assert brief([silent], both, lines).split("\n\n")[-1].startswith("ours: no detection at all.")


def test_kind_scores_that_are_no_probabilities_are_told(tmp_path):
    results = [(1, 1, PLACES[0], 87.5), (1, 1, PLACES[1], 3.0)]
    lines, one = said(*coco(tmp_path, [image(1)], [(1, 1, PLACES[0])], results))
    assert "ours: scores reach from 3 to 87.5. Beyond 0 and 1 they are no probabilities" in lines
    assert one["calibration"]["expected_error"] is None


def test_kind_rough_intervals_are_told_before_ties(tmp_path):
    results = [(1, 1, PLACES[0], 0.9), (1, 1, PLACES[1], 0.9)]
    tied = diagnose(*coco(tmp_path, [image(1)], [(1, 1, PLACES[0])], results), "ours")
    both = compare(tied, replicates=200)
    lines = notes([tied], both)
    assert any("tie with another" in line for line in lines)
    assert brief([tied], both, lines).split("\n\n")[-1].startswith("The intervals come from 1 image.")


def test_kind_all_categories_one_too_low(tmp_path):
    results = [(1, 1, box, 0.9) for box in PLACES[:3]]
    truth, found = coco(tmp_path, [image(1)], [(1, 2, box) for box in PLACES[:3]], results)
    assert "3 detections of 3 on classes without objects" in said(truth, found)[0]
    one = diagnose(truth, found, "ours")
    short = " ".join(brief([one], None, notes([one])).split())  # what the terminal shows, before other notes
    assert "3 detections of 3 on classes without objects" in short
    assert "ids shifted by one" in short
    assert "no detection counts, 3 of them on classes without" in sentences([one])[0]


@pytest.mark.parametrize("order", [(0, 1, 2, 3), (2, 3, 0, 1)])
def test_kind_how_far_ties_can_move_the_numbers(tmp_path, order):
    results = [(1, 1, PLACES[i], 0.5) for i in order]
    truth, found = coco(tmp_path, [image(1)], [(1, 1, box) for box in PLACES[:2]], results)
    lines, one = said(truth, found)
    assert "4 detections of 4 tie" in lines
    assert "move AP (VOC07) from 50.0 to 100.0 % and correct from 0.0 to 100.0 %." in lines
    assert one["account"]["map_range"] == {"low": 0.5, "high": 1}
    by_score = [(1, 1, PLACES[i], 0.9 - 0.1 * i) for i in order]
    assert "tie" not in said(*coco(tmp_path, [image(1)], [(1, 1, box) for box in PLACES[:2]], by_score))[0]


def test_kind_the_limit_of_detections_is_told_and_can_be_raised(tmp_path, capsys):
    boxes = [[4 * i, 10, 3, 3] for i in range(150)]
    results = [(1, 1, box, 0.9 - 0.001 * i) for i, box in enumerate(boxes)]
    truth, found = coco(tmp_path, [image(1)], [(1, 1, box) for box in boxes], results)
    lines, one = said(truth, found)
    assert "50 beyond COCO's 100 of a class in an image" in lines
    assert "--max-detections" in lines
    assert one["coco"]["ap"] == pytest.approx(67 / 101)
    lines, one = said(truth, found, max_detections=150)
    assert "beyond" not in lines
    assert (one["coco"]["ap"], one["tide"]["ap50"]) == pytest.approx((1, 1))
    paths = "--ground-truth", tmp_path / "truth.json", "--detections", tmp_path / "found.json"
    words = [*paths, "--out", tmp_path / "out", "--no-figures", "--replicates", "0", "--max-detections"]
    assert main([*words, "150"]) == 0
    assert json.loads((tmp_path / "out" / "diagnosis.json").read_text())["detectors"][0]["map"]["coco50"] == 1
    assert main([*words, "0"]) == 2
    assert "--max-detections: found 0" in capsys.readouterr().err


def test_kind_tides_own_base_is_beside_its_gains(tmp_path):
    results = [(1, 1, PLACES[0], 0.9), (1, 2, PLACES[1], 0.8)]
    diagnosis = diagnose(*coco(tmp_path, [image(1)], [(1, 1, PLACES[0])], results))
    lines = comparison_table(compare([diagnosis], replicates=3)).splitlines()
    base = lines[lines.index("TIDE: AP gained by fixing") + 1]
    assert base.split("  ")[1] == "AP at IoU 0.5 before (TIDE's mean)"
    assert base.split()[-1] == "50.0"  # one image: no interval


def test_kind_all_of_cocos_scores_are_printed_and_written(tmp_path, monkeypatch):
    results = [(1, 1, PLACES[0], 0.9)]
    truth, found = coco(tmp_path, [image(1)], [(1, 1, box) for box in PLACES[:2]], results)
    _, one = said(truth, found)
    scores = coco_table(match(truth, found))
    assert one["coco"]["ap75"] == one["classes"]["cat"]["coco"]["ap75"] == scores.ap75[0]
    assert (one["coco"]["ap_large"], one["coco"]["ar1"], one["coco"]["ar"]) == (None, 0.5, 0.5)
    assert one["coco"]["reason"] == one["classes"]["dog"]["coco"]["reason"]
    printed = table([diagnose(truth, found, "ours")])
    heading, _, row = printed[printed.index("COCO's scores") :].splitlines()[1:4]
    assert heading.split()[2:5] == ["AP", "AP50", "AP75"]
    assert row.split()[:4] == ["ours", "50.5", "50.5", "50.5"]
    assert "COCO's scores" not in table([diagnose(truth, found, coco=False)])
    paths = "--ground-truth", tmp_path / "truth.json", "--detections", tmp_path / "found.json"
    assert main([*paths, "--out", tmp_path / "out", "--replicates", "0"]) == 0
    page = (tmp_path / "out" / "report.html").read_text()
    assert '"AP75"' in page
    assert f'"ap75":{scores.ap75[0]:.5g}' in page


@pytest.mark.filterwarnings("ignore:.*beyond the border")
@pytest.mark.parametrize("source", [lambda *both: both, in_memory], ids=["coco", "in memory"])
def test_kind_objects_beyond_the_border_are_clipped_as_detections_are(tmp_path, source):
    small, box = image(1, width=100, height=80), [90, 10, 30, 20]
    truth, found = source(*coco(tmp_path, [small], [(1, 1, box)], [(1, 1, box, 0.9)]))
    lines, one = said(truth, found)
    assert "1 object reaches beyond the image" in lines
    assert one["breakdown"]["pooled"]["correct"] == 1
    assert one["map"]["hoiem"] == one["map"]["area"] == 1
    assert one["account"]["objects_outside"] == 1


def test_kind_objects_wholly_outside_their_image_are_not_found(tmp_path):
    truth = GroundTruth(["a"], ["dog"], [[100, 80]], [0], [0], [[110, 10, 130, 20]])
    found = Detections(["a"], ["dog"], [0], [0], [0.9], [[110, 10, 130, 20]])
    assert assign(match(truth, found), 0.5).outcomes.tolist() == [-1]


# ---- COCO's own numbers ------------------------------------------------------------------------


@pytest.mark.parametrize(("ids", "score"), [((2, 1), 0.5), ((1, 2), 0.5), (("b", "a"), 0.5)])
def test_kind_ties_across_images_are_ranked_by_the_ids_of_the_images(tmp_path, ids, score):
    box, high = [100, 100, 50, 50], max(ids)
    images = [image(n, id=key) for n, key in enumerate(ids)]
    results = [(key, 1, box, 0.5) for key in ids]
    truth, found = coco(tmp_path, images, [(high, 1, box)], results)
    assert average_precision(truth, found).coco50[0] == pytest.approx(score)


def test_kind_the_area_of_a_detection_is_that_of_the_file(tmp_path):
    results = [(1, 1, [32.02, 10, 32, 32], 0.9), (1, 1, [200, 200, 20, 20], 0.8)]
    truth, found = coco(tmp_path, [image(1)], [(1, 1, [200, 200, 20, 20])], results)
    assert coco_table(match(truth, found)).ap_small[0] == pytest.approx(0.5)


def test_kind_width_and_height_are_those_of_the_box():
    columns = ["a"], ["dog"], [0], [0], [0.5], [[0, 0, 10, 10]]
    assert Detections(*columns, extents=[[10, 10 + 1e-9]]).extents.tolist() == [[10, 10 + 1e-9]]
    with pytest.raises(InputError, match=r"extents\[0\]: found \[10.0, 11.0\]; expected those of the box"):
        Detections(*columns, extents=[[10, 11]])


@pytest.mark.filterwarnings("ignore:.*the border")
@pytest.mark.parametrize("seed", range(12))
def test_kind_twelve_numbers_are_pycocotools(tmp_path, seed):
    """Ids in any order, ties, fractional boxes, crowds, more than 100 detections of a class in an image."""
    draw = np.random.default_rng(seed)
    ids = draw.permutation(40)[: draw.integers(2, 12)].tolist()
    ids = [(key, f"{key}", -key, 2**40 + key)[seed % 4] for key in ids]
    images = [image(n, id=key) for n, key in enumerate(ids)]

    def boxes(count):
        corner = draw.uniform(0, 200, (count, 2))
        whole = np.concatenate([corner, draw.uniform(4, draw.choice([40, 120, 300]), (count, 2))], axis=1)
        return np.round(whole, int(draw.integers(0, 4))).clip(1)

    count, many = int(draw.integers(1, 80)), int(draw.integers(1, 900 if seed % 3 else 200))
    truth, near = boxes(count), draw.integers(0, count, many)
    placed = draw.integers(0, len(ids), count)
    labels = draw.integers(1, 3, count)
    moved = truth[near] + np.round(draw.normal(0, 4, (many, 4)), 2) * (draw.random((many, 1)) < 0.8)
    moved[:, 2:] = moved[:, 2:].clip(1)
    wrong = draw.random(many) < 0.2
    found_on = np.where(wrong, draw.integers(0, len(ids), many), placed[near])
    found_labels = np.where(draw.random(many) < 0.2, draw.integers(1, 3, many), labels[near])
    scores = np.round(draw.random(many), int(draw.integers(1, 5)))
    crowd = draw.random(count) < 0.15
    objects = zip([ids[i] for i in placed], labels.tolist(), truth.tolist(), crowd.tolist(), strict=True)
    results = zip(
        [ids[i] for i in found_on], found_labels.tolist(), moved.tolist(), scores.tolist(), strict=True
    )
    records = coco(tmp_path, images, list(objects), list(results))
    ours = list(coco_table(match(*records)).mean().values())
    evaluation = pycocotools_evaluation(tmp_path / "truth.json", tmp_path / "found.json")
    theirs = [np.nan if score == -1 else score for score in evaluation.stats]
    np.testing.assert_allclose(ours, theirs, atol=1e-9, equal_nan=True)
    assert average_precision(*records).mean()["coco"] == pytest.approx(ours[0], abs=1e-12, nan_ok=True)
