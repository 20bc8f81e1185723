"""The numbers of Hoiem's own tool, run under Octave, for a real detector on VOC 2007 test."""

import json

import numpy as np
import pytest

from data.formats import VOC_SIMILAR, read_detections, read_voc_folder
from diagnosis import assign, break_down, diagnose, error_masks, match, similar_matrix, verdicts
from diagnosis.average_precision import NORMAL_SHARE
from tests.diagnosis.scenes import down_to_false_positive, forgiving, hoiem_ap

KINDS = ("correct", "loc", "similarobj", "otherobj", "bg")
ANIMALS = ("bird", "cat", "cow", "dog", "horse", "sheep")  # the tool's group leaves the person out
VEHICLES = ("aeroplane", "bicycle", "boat", "bus", "car", "motorbike", "train")
FURNITURE = ("chair", "diningtable", "sofa")
EXACT = {"rel": 0, "abs": 1e-9}


@pytest.fixture(scope="module")
def oracle(shared_data):
    folder = shared_data.parent / "oracle" / "yolov3"
    if not folder.is_dir():
        pytest.skip(f"what Hoiem's tool printed is not at hand: {folder} is absent")
    return {file.stem: json.loads(file.read_text()) for file in folder.glob("*.json")}


@pytest.fixture(scope="module")
def matching(shared_data):
    truth = read_voc_folder(shared_data / "VOCdevkit" / "VOC2007", "test")
    found = read_detections(
        shared_data / "detections" / "yolov3", truth.images, truth.classes, sizes=truth.sizes
    )
    return match(truth, found)


@pytest.fixture(scope="module")
def similar(matching):
    return similar_matrix(matching.truth.classes, VOC_SIMILAR)


@pytest.fixture(scope="module")
def columns(matching, similar):
    """The tool's two columns: down to 100 false positives, and the top N_j."""
    depth = down_to_false_positive(matching, 100)
    return [break_down(matching, similar, depth), break_down(matching, similar)]


def test_ranking_labels_and_flags(oracle, matching, similar):
    strong, weak = assign(matching, 0.5).labels, forgiving(assign(matching, 0.1))
    flags = error_masks(matching, similar)
    for label, name in enumerate(matching.truth.classes):
        expected, ranked = oracle[name], matching.ranked(label)
        line = ranked - np.flatnonzero(matching.detections.labels == label)[0] + 1
        np.testing.assert_array_equal(line, expected["order"])
        np.testing.assert_array_equal(strong[ranked], expected["label_strong"])
        np.testing.assert_array_equal(weak[ranked], expected["label_weak"])
        np.testing.assert_array_equal(flags[ranked] + 1, expected["fp"]["code_sorted"])


def test_similar_classes(oracle, matching, similar):
    for label, name in enumerate(matching.truth.classes):
        assert (np.flatnonzero(similar[label]) + 1).tolist() == oracle[name]["similar_ind"]


def test_counts_and_confusions(oracle, matching, similar, columns):
    confused = verdicts(matching, similar).confused_with
    for label, name in enumerate(matching.truth.classes):
        expected = oracle[name]["fp"]["confuse_count"]
        for column, breakdown in enumerate(columns):
            assert breakdown.counts[label].tolist() == [expected[kind][column] for kind in KINDS]
            assert breakdown.counts[label].sum() == expected["total"][column]
            rows = (breakdown.verdict >= 0) & (matching.detections.labels == label) & (confused >= 0)
            by_class = np.bincount(confused[rows], minlength=len(matching.truth.classes))
            assert by_class.tolist() == expected["object"][column]


def test_pies_of_groups_are_the_pooled_top(oracle, matching, columns):
    pies = oracle["plots"]["pie"]
    top = columns[1]
    assert top.pooled().tolist() == pytest.approx(pies["all"], **EXACT)
    for group, members in {"animals": ANIMALS, "vehicles": VEHICLES, "furniture": FURNITURE}.items():
        counts = top.counts[[top.classes.index(name) for name in members]].sum(axis=0)
        assert (counts / counts.sum()).tolist() == pytest.approx(pies[group], **EXACT)


def test_pies_of_one_class_add_both_columns(oracle, columns):
    both = columns[0].counts + columns[1].counts
    for label, name in enumerate(columns[0].classes):
        assert (both[label] / both[label].sum()).tolist() == pytest.approx(
            oracle["plots"]["pie"][name], **EXACT
        )


@pytest.mark.parametrize(("key", "threshold"), [("tp_strong", 0.5), ("tp_weak", 0.1)])
def test_average_precision_and_its_error(oracle, matching, key, threshold):
    labels = forgiving(assign(matching, threshold)) if key == "tp_weak" else assign(matching, 0.5).labels
    normal = NORMAL_SHARE * len(matching.truth.images)
    for label, name in enumerate(matching.truth.classes):
        expected = oracle[name][key]["all"]
        assert (matching.objects[label], normal) == (
            expected["npos"],
            pytest.approx(expected["nnorm"], **EXACT),
        )
        score = hoiem_ap(labels[matching.ranked(label)], expected["npos"], normal)
        for field in ("ap", "apn", "ap_stderr", "apn_stderr", "recall"):
            assert getattr(score, field) == pytest.approx(expected[field], **EXACT), (name, field)


def test_the_whole_diagnosis(oracle, matching):
    diagnosis = diagnose(matching.truth, matching.detections, similar=VOC_SIMILAR, coco=False)
    for label, name in enumerate(diagnosis.ap.classes):
        expected = oracle[name]["fp"]["all"]
        assert diagnosis.ap.hoiem[label] == pytest.approx(expected["ap"], **EXACT)
        assert diagnosis.ap.normalized[label] == pytest.approx(expected["apn"], **EXACT)
    assert diagnosis.breakdown.pooled().tolist() == pytest.approx(oracle["plots"]["pie"]["all"], **EXACT)
