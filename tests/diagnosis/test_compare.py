"""Statistics of weighted images against records in which images are repeated, and what comparisons say."""

import json
import os
import re
import textwrap
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data.formats import VOC_SIMILAR
from data.formats.processes import over_processes
from data.records import Detections, GroundTruth, InputError
from diagnosis import diagnose
from diagnosis.average_precision import AP_KINDS, APStatistic
from diagnosis.breakdown import BreakdownStatistic
from diagnosis.compare import Difference, compare, quantity_name
from diagnosis.flow import fates
from diagnosis.impact import IMPACT_VARIANTS, ImpactStatistic
from diagnosis.resampling import draw_halves, draw_runs, resample
from diagnosis.tide import DAP_COLUMNS, TideStatistic
from diagnosis.to_json import comparison_to_json, intervals_to_json
from diagnosis.verdict import percent
from diagnosis.words import (
    MEASURED,
    NO_INTERVAL,
    comparison_sentences,
    comparison_table,
    cover,
    cover_sentence,
)
from tests.diagnosis.scenes import real_records, some

pytestmark = pytest.mark.filterwarnings("error")
COMPARED = [variant.name for variant in IMPACT_VARIANTS if variant.compared]
NAMES = ("correct", "localization", "similar", "other", "background")


def scene(seed, images=6, objects=30, count=90, classes=3):
    """A ground truth and detections near its objects, no two of equal score."""
    random = np.random.default_rng(seed)
    names = [f"{i}" for i in range(images)], [f"class {j}" for j in range(classes)]
    corner = random.integers(0, 60, (objects, 2))
    boxes = np.concatenate([corner, corner + random.integers(15, 40, (objects, 2))], axis=1)
    index, labels = random.integers(0, images, objects), random.integers(0, classes, objects)
    difficult, crowd = random.random((2, objects)) < 0.1
    truth = GroundTruth(*names, [[100, 100]] * images, index, labels, boxes, difficult, crowd)
    return truth, detected(truth, seed, count)


def detected(truth, seed, count=90, scores=None):
    random = np.random.default_rng(seed + 1000)
    if not len(truth):
        return Detections(truth.images, truth.classes, [], [], [], [])
    near = random.integers(0, len(truth), count)
    labels = np.where(
        random.random(count) < 0.3, random.integers(0, len(truth.classes), count), truth.labels[near]
    )
    moved = truth.boxes[near] + np.tile(random.normal(0, 6, (count, 2)), 2)
    scores = random.permutation(count) / count if scores is None else scores
    return Detections(truth.images, truth.classes, truth.image_index[near], labels, scores, moved)


def repeated(truth, detections, weights):
    """The record in which each image stands as often as `weights` says, copies of a row side by side."""
    copies = np.repeat(np.arange(len(weights)), weights)
    number = np.arange(len(copies)) - np.searchsorted(copies, copies)
    names = [f"{truth.images[i]} copy {n}" for i, n in zip(copies, number, strict=True)]
    first = np.searchsorted(copies, np.arange(len(weights)))

    def rows(index):
        times = weights[index]
        row = np.repeat(np.arange(len(index)), times)
        return row, first[index[row]] + np.arange(len(row)) - np.searchsorted(row, row)

    row, image = rows(truth.image_index)
    record = GroundTruth(
        names, truth.classes, truth.sizes[copies], image, truth.labels[row], truth.boxes[row],
        truth.difficult[row], truth.crowd[row],
    )  # fmt: skip
    row, image = rows(detections.image_index)
    return record, Detections(
        names, truth.classes, image, detections.labels[row], detections.scores[row], detections.boxes[row]
    )


def redrawn(images, rows, seed=0):
    """``(rows, images)`` weights: rows with repetitions, but for the second, a half."""
    random = np.random.default_rng(seed)
    weights = random.integers(0, 4, (rows, images)).astype(np.int32)
    weights[1:2] = draw_halves(images, range(1), seed)
    return weights


def numbers(whole, weights, top=None):
    """All that a comparison knows of a detector, with these weights of the images."""
    statistics = [
        BreakdownStatistic(whole.matching, whole.similar, top=top, iou=whole.iou),
        APStatistic(whole.matching, iou=whole.iou),
        ImpactStatistic(whole.matching, whole.similar, iou=whole.iou),
        TideStatistic.of(whole.matching, whole.tide),
    ]
    return {name: value for one in statistics for name, value in one(weights).items()}


def assert_equal(values, row, expected, coco=True):
    """What `numbers` says in one row is what is said of a record."""

    def same(name, wanted):
        np.testing.assert_allclose(values[name][row], wanted, rtol=0, atol=1e-9, err_msg=name)

    for kind, name in enumerate(NAMES):
        same(f"share/{name}", expected.breakdown.shares[:, kind])
        same(f"pooled/{name}", expected.breakdown.pooled()[kind])
    same("share/correct_and_localization", expected.breakdown.shares[:, :2].sum(axis=1))
    for kind, row_of in AP_KINDS.items():
        if coco or not row_of.has_fixed_iou:
            same(f"map/{kind}", getattr(expected.ap, kind))
    same("tide/ap50", expected.tide.ap)
    for name, gain in expected.tide.class_dap.items():
        same(f"dap/{name}", gain)
        same(f"dap/{name}/all", expected.tide.dap[name])
    for variant, gain in zip(IMPACT_VARIANTS, expected.impact.gains(), strict=True):
        if variant.compared:
            same(f"impact/{variant.name}", gain)


# ---- against the record itself ---------------------------------------------------------------


@settings(max_examples=25)
@given(seed=st.integers(0, 2**32 - 1), top=st.sampled_from([None, 7, 0.5, 1.7, "all", [3, 0, 9]]))
def test_a_resample_is_the_record_with_its_images_repeated(seed, top):
    random = np.random.default_rng(seed)
    truth, found = scene(seed, images=int(random.integers(1, 7)), objects=int(random.integers(1, 30)))
    similar = [truth.classes[:2]]
    whole = diagnose(truth, found, similar=similar, top=top)
    weights = redrawn(len(truth.images), 3, seed)
    values = numbers(whole, weights, top)
    counts = BreakdownStatistic(whole.matching, whole.similar, top=top).counts(weights)
    for row, drawn in enumerate(weights):
        expected = diagnose(*repeated(truth, found, drawn), similar=similar, top=top)
        np.testing.assert_array_equal(counts[row], expected.breakdown.counts)
        assert_equal(values, row, expected)
    # Each image once, said so or not, is the diagnosis.
    assert_equal(numbers(whole, None, top), 0, whole)
    assert_equal(numbers(whole, np.ones((2, len(truth.images)), dtype=np.int32), top), 1, whole)


@pytest.mark.parametrize("levels", [4, 5])
def test_copies_of_equal_scores_are_in_the_order_of_the_file(levels):
    """And errors come before the true positives of their score that a fix leaves."""
    truth, _ = scene(3)
    found = detected(truth, 3, 90, np.random.default_rng(levels).integers(0, levels, 90) / levels)
    whole = diagnose(truth, found)
    assert_equal(numbers(whole, np.ones((2, len(truth.images)), dtype=np.int32)), 1, whole)
    for drawn in redrawn(len(truth.images), 5, 1):
        # The copies of an image are images of their own, by which COCO and TIDE would sort equal scores.
        expected = diagnose(*repeated(truth, found, drawn), coco=False)
        values = numbers(whole, drawn[None])
        for kind in ("voc07", "area", "hoiem", "normalized"):
            np.testing.assert_allclose(values[f"map/{kind}"][0], getattr(expected.ap, kind), atol=1e-9)
        counts = BreakdownStatistic(whole.matching, whole.similar).counts(drawn[None])[0]
        np.testing.assert_array_equal(counts, expected.breakdown.counts)


@pytest.mark.parametrize("empty", ["detections", "objects", "class", "wrong"])
def test_empty_cases(empty):
    truth, found = scene(5)
    if empty == "objects":
        truth = GroundTruth(truth.images, truth.classes, truth.sizes, [], [], [])
    found = some(found, {"detections": found.scores < 0, "class": found.labels != 1}.get(empty, slice(None)))
    if empty == "wrong":
        found = some(found, moved=1000)
    whole = diagnose(truth, found)
    for drawn in redrawn(len(truth.images), 3):
        assert_equal(numbers(whole, drawn[None]), 0, diagnose(*repeated(truth, found, drawn)))
    assert_equal(numbers(whole, None), 0, whole)
    both = compare([whole, diagnose(truth, found, "again", coco=False)], replicates=20)
    assert json.dumps([comparison_to_json(both), intervals_to_json(both)], allow_nan=False)
    assert comparison_sentences(both)
    rows = 2 + 6 + 6 + 1 + 1 + 8 + 1 + len(COMPARED) + 2
    rows += len(textwrap.wrap(f"{NO_INTERVAL} {cover_sentence()}", 110))
    assert comparison_table(both).count("\n") == rows


def test_images_counted_once_give_the_diagnosis_of_a_real_detector(shared_data):
    truth, found = real_records(shared_data)
    whole = diagnose(truth, found, similar=VOC_SIMILAR)
    assert_equal(numbers(whole, np.ones((1, len(truth.images)), dtype=np.int32)), 0, whole)


# ---- the draws -------------------------------------------------------------------------------


def test_draws_are_a_function_of_seed_and_replicate():
    whole = draw_halves(50, range(20), 7)
    np.testing.assert_array_equal(whole[13:], draw_halves(50, range(13, 20), 7))
    assert (whole.sum(axis=1) == 25).all()
    assert (whole[::2] + whole[1::2] == 1).all()  # two halves
    assert len(np.unique(whole, axis=0)) == 20
    assert (whole != draw_halves(50, range(20), 8)).any()
    assert draw_halves(5, range(2)).sum(axis=1).tolist() == [2, 3]


def test_chunks_and_processes_change_nothing(monkeypatch):
    class Mean:
        replicate_width = 30

        def __call__(self, weights):
            return {"any/mean": weights @ np.arange(30) / weights.sum(axis=1)}

    whole = resample([Mean()], 30, replicates=50)
    monkeypatch.setattr("data.formats.processes.usable_cores", lambda: 3)
    for cells in (100, 1000):
        monkeypatch.setattr("diagnosis.resampling.CELLS_AT_ONCE", cells)
        for processes in (1, 3):
            parts = resample([Mean()], 30, replicates=50, processes=processes)
            np.testing.assert_array_equal(whole[0]["any/mean"], parts[0]["any/mean"])
    # The standard error of a mean; without replacement it has n - 1.
    many = resample([Mean()], 30, replicates=4000)[0]["any/mean"]
    assert many.std() == pytest.approx(np.arange(30).std(ddof=1) / np.sqrt(30), rel=0.05)


def test_progress_is_told_when_it_takes_long(monkeypatch):
    class Slow:
        replicate_width = 1

        def __call__(self, weights):
            return {"any/thing": np.zeros(len(weights))}

    told = []
    again = {"replicates": 4, "progress": lambda *now: told.append(now), "processes": 1}
    resample([Slow()], 3, **again)
    assert told == []
    monkeypatch.setattr("diagnosis.resampling.MOST_AT_ONCE", 2)
    monkeypatch.setattr("diagnosis.resampling.SECONDS_BETWEEN_REPORTS", -1.0)
    resample([Slow()], 3, **again)
    assert told == [(2, 4), (4, 4)]


def test_drawing_runs_gives_the_variance_of_their_mean():
    runs = np.array([0.1, 0.4, 0.5, 0.9])
    means = draw_runs(4, 20_000, seed=1, group=0) @ runs
    assert means.std() == pytest.approx(runs.std(ddof=1) / np.sqrt(4), rel=0.02)
    assert (draw_runs(1, 5, 0, 0) == 1).all()


# ---- comparisons -----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def three():
    """Two good runs and a worse one."""
    truth, _ = scene(11, images=80, objects=200)
    runs = [("good 1", 1, 0.0), ("good 2", 2, 0.0), ("worse", 3, 11.0)]
    return [diagnose(truth, some(detected(truth, seed, 400), moved=by), name) for name, seed, by in runs]


def test_the_same_detector_does_not_differ(three):
    truth, found = three[0].truth, three[0].detections
    both = compare([three[0], diagnose(truth, found, "twin")], replicates=50)
    for quantity in both.quantities:
        gap = both.difference(quantity, 0, 1)
        assert (gap.difference, gap.differs) == (0, False)
        assert np.isnan([gap.low, gap.high, gap.p]).all()


@pytest.mark.parametrize("top", [5, 0.5, "all", [9, 0, 4]])
def test_a_comparison_counts_the_detections_that_the_breakdown_counts(three, top):
    diagnosis = diagnose(three[0].truth, three[0].detections, top=top)
    alone = compare(diagnosis, replicates=20)
    found = [alone.estimate("share/correct", 0, label).value for label in range(3)]
    np.testing.assert_array_equal(found, diagnosis.breakdown.shares[:, 0])


def test_what_fails_in_another_process_is_raised_here(monkeypatch):
    monkeypatch.setattr("data.formats.processes.usable_cores", lambda: 3)
    here = os.getpid()
    began = []
    shared = over_processes(
        lambda item: (item, os.getpid() == here), range(4), 2, lambda: (began.append(here), time.sleep(0.3))
    )
    assert began == [here]
    assert shared == [(item, False) for item in range(4)]  # all done meanwhile
    assert over_processes(abs, [-1, 2], 1, lambda: began.append(0)) == [1, 2]
    assert began == [here, 0]
    with pytest.raises(ZeroDivisionError):
        over_processes(lambda item: 1 / item, [1, 1, 0], 1)
    with pytest.raises(ZeroDivisionError):
        over_processes(lambda item: 1 / item, [1, 0, 1], 3)
    # A process that is killed, for want of memory perhaps, costs time and no result.
    survivors = over_processes(lambda item: item if os.getpid() == here else os._exit(9), [1, 2, 3], 3)
    assert survivors == [1, 2, 3]


def test_a_paired_interval_is_narrower_than_its_parts(three):
    both = compare([three[0], three[2]], replicates=300)
    gap = both.difference("share/correct", 0, 1)
    assert gap.differs
    assert gap.p == pytest.approx(2 / 301)
    assert gap.low < gap.difference < gap.high < 0
    back = both.difference("share/correct", 1, 0)
    assert (back.difference, back.p) == (-gap.difference, gap.p)
    assert (back.low, back.high) == pytest.approx((-gap.high, -gap.low))
    one = both.estimate("share/correct", 0)
    assert one.low < one.value < one.high
    assert one.value == pytest.approx(three[0].breakdown.mean_over_classes()[0])
    assert np.isnan(one.runs)
    by_class = [both.estimate("share/correct", 0, label).value for label in range(3)]
    assert by_class == pytest.approx(three[0].breakdown.shares[:, 0].tolist())


def test_runs_of_one_model_are_one_group(three):
    grouped = compare(three, replicates=200, groups={"good": ["good 1", "good 2"]})
    assert grouped.names == ("good", "worse")
    assert grouped.members == (("good 1", "good 2"), ("worse",))
    runs = [diagnosis.ap.mean()["area"] for diagnosis in three[:2]]
    estimate = grouped.estimate("map/area", 0)
    assert estimate.value == pytest.approx(np.mean(runs))
    assert estimate.runs == pytest.approx(np.std(runs, ddof=1))
    runs = [diagnosis.tide.dap["loc"] for diagnosis in three[:2]]
    cost = grouped.estimate("dap/loc", 0)
    assert (cost.value, cost.runs) == pytest.approx((np.mean(runs), np.std(runs, ddof=1)))
    assert cost.low < cost.value < cost.high
    runs = [diagnosis.impact.bars()[2] for diagnosis in three[:2]]
    assert grouped.estimate("impact/fix_localization", 0).value == pytest.approx(np.mean(runs))
    runs = [diagnosis.ap.mean()["area"] for diagnosis in three[:2]]
    alone = compare(three[:1], replicates=200).estimate("map/area", 0)
    assert estimate.error > np.std(runs, ddof=1) / np.sqrt(2) * 0.9
    assert alone.error > 0
    good, worse = intervals_to_json(grouped)
    assert good["map"]["area"]["runs_deviation"] == estimate.runs
    # Each run has the interval that it has by itself.
    by_itself, _, bad = intervals_to_json(compare(three, replicates=200))
    for section in ("share", "objects", "map", "tide", "dap"):
        assert good["each_run"]["good 1"][section] == by_itself[section]
    assert grouped.run_estimate("share/correct", 1, 0).low == grouped.estimate("share/correct", 1).low
    assert "each_run" not in worse
    assert worse["map"] == bad["map"]


def test_the_share_of_missed_objects_has_an_interval(three):
    both = compare(three, replicates=200)
    for place, diagnosis in enumerate(three):
        missed = both.estimate("objects/missed", place)
        outcome = fates(diagnosis)
        assert missed.value == pytest.approx((outcome == 4).sum() / (outcome >= 0).sum())
        assert 0 <= missed.low < missed.value < missed.high <= 1
        # The delta method's standard error of a ratio over images.
        image, count = diagnosis.truth.image_index, len(diagnosis.truth.images)
        missing, asked = (np.bincount(image[some], minlength=count) for some in (outcome == 4, outcome >= 0))
        left = missing - missed.value * asked
        assert missed.error == pytest.approx(np.sqrt((left**2).sum()) / asked.sum(), rel=0.2)
    assert both.difference("objects/missed", 0, 2).difference > 0


def test_it_is_deterministic(three):
    first, second, other = (compare(three[:2], replicates=30, seed=seed) for seed in (4, 4, 5))
    for quantity in first.quantities:
        np.testing.assert_array_equal(first.samples[quantity], second.samples[quantity])
    assert (first.samples["map/area"] != other.samples["map/area"]).any()


def test_a_statistic_of_ones_own(three):
    class Images:
        replicate_width = 1

        def __init__(self, diagnosis):
            self.count = len(diagnosis.truth.images)

        def __call__(self, weights):
            return {"mine/drawn": (weights > 0).sum(axis=1) / self.count}

    both = compare(three[:2], replicates=100, statistics=[Images])
    assert both.estimate("mine/drawn", 0).value == 1
    assert both.samples["mine/drawn"].mean() == pytest.approx(0.5, abs=0.02)
    assert comparison_to_json(both)[0]["mine"]["drawn"]["difference"] == 0
    with pytest.raises(InputError, match="one number over all classes"):
        both.estimate("mine/drawn", 0, 1)
    with pytest.raises(InputError, match="one of share/correct"):
        both.estimate("share/nothing", 0)


class Biased:
    """A mean over the images that is too high by 1 / √n, and a gain of the same values."""

    replicate_width = 1

    def __init__(self, diagnosis):
        self.values = np.random.default_rng(5).normal(0.3, 0.2, len(diagnosis.truth.images))

    def __call__(self, weights):
        count = weights.sum(axis=1)
        mean = weights @ self.values / count
        return {"map/mine": mean + 0.5 / np.sqrt(count), "dap/mine": np.abs(mean) / 10, "mine/mean": mean}


def test_kind_an_interval_holds_the_number_without_its_bias(three):
    both = compare(three[:2], replicates=400, statistics=[Biased], costs=False)
    biased, plain, gain = (both.estimate(name, 0) for name in ("map/mine", "mine/mean", "dap/mine"))
    error = Biased(three[0]).values.std(ddof=1) / np.sqrt(80)
    assert plain.error == pytest.approx(error, rel=0.1)
    assert plain.high - plain.low == pytest.approx(2 * 1.96 * error, rel=0.15)
    assert plain.low < plain.value < plain.high
    corrected = biased.value - 0.5 / np.sqrt(80)
    assert biased.low == pytest.approx(corrected - 1.96 * error, rel=0.1)
    assert biased.high == pytest.approx(biased.value + 1.96 * error, rel=0.1)
    assert gain.high - gain.value > 1.02 * (gain.value - gain.low) > 0
    assert both.difference("map/mine", 0, 1).difference == 0


def test_kind_every_estimate_is_within_its_own_interval_and_that_within_what_is_possible(three):
    """Of single classes of six images it would reach beyond."""
    truth, found = scene(4)
    few = [diagnose(truth, found, "one"), diagnose(truth, some(found, moved=9), "two")]
    for both in (compare([three[2], three[0]], replicates=60), compare(few, replicates=60)):
        ends = set()
        for quantity in both.quantities:
            least = -1.0 if quantity in ("dap/fp", "dap/fn") else 0.0
            for label in (None, 0, 1, 2) if quantity in both.by_class else (None,):
                one, gap = both.estimate(quantity, 0, label), both.difference(quantity, 0, 1, label)
                assert least <= one.low <= one.value <= one.high <= 1 or np.isnan(one.low), (quantity, label)
                assert least - 1 <= gap.low <= gap.high <= 1 - least or np.isnan(gap.low), (quantity, label)
                assert both.names[0] == "one" or one.error < 0.03 or not np.isnan(one.low), (quantity, label)
                ends |= {one.low, one.high}
    assert {0.0, 1.0} <= ends


def test_what_is_printed_as_zero_is_no_clear_difference():
    assert not Difference(0.0004, 0.0002, 0.0007, 0.002, 0).differs
    assert Difference(-0.001, -0.002, -0.0006, 0.002, 0).differs


def of_two_classes(found, name, dogs=24, cats=6):
    """Dogs and cats, one in an image, all found, or all beside their objects."""
    labels, boxes = np.repeat([0, 1], [dogs, cats]), np.tile([20.0, 20, 50, 50], (dogs + cats, 1))
    names = [f"{n}" for n in range(dogs + cats)], ["dog", "cat"]
    truth = GroundTruth(*names, [[90, 90]] * len(labels), range(len(labels)), labels, boxes)
    boxes = boxes + (0 if found else 14) * np.array([1, 0, 1, 0])
    return diagnose(
        truth, Detections(*names, range(len(labels)), labels, np.linspace(0.9, 0.3, len(labels)), boxes), name
    )


@pytest.mark.parametrize("dogs", [24, 13])
def test_where_the_resamples_agree_there_is_no_interval(dogs):
    """Nor a p-value: all of a class is found in every resample, be it of three objects or of many."""
    pair = [of_two_classes(found, name, dogs) for found, name in ((True, "right"), (False, "beside"))]
    both = compare(pair, replicates=60)
    for label, objects in ((0, dogs), (1, 6), (None, dogs)):
        one, gap = both.estimate("map/coco50", 0, label), both.difference("map/coco50", 0, 1, label)
        assert (one.value, gap.difference) == pytest.approx((1, -1))
        assert np.isnan([one.low, one.high, gap.low, gap.high, gap.p]).all()
        assert gap.differs == (objects >= 20), label
    entry = comparison_to_json(both)[0]["map"]["coco50"]
    assert (entry["low"], entry["high"], entry["p"]) == (None, None, None)
    assert (entry["reason"], entry["clear"]) == ("no interval: resamples agree", dogs >= 20)
    number = intervals_to_json(both)[0]["classes"]["cat"]["map"]["coco50"]
    assert (number["low"], number["reason"]) == (None, "no interval: resamples agree")
    table = comparison_table(both)
    assert re.search(r"^AP50 +100\.0 +0\.0 +−100\.0$", table, re.MULTILINE)
    assert NO_INTERVAL in " ".join(table.split())
    said = comparison_sentences(both)[1]
    if dogs >= 20:
        assert "correct detections fall by 100.0 points (resamples agree)" in said
        assert both.verdict.startswith(
            "right is better than beside: +100.0 points of AP50 (resamples agree) over"
        )
    else:
        assert "no clear difference in correct detections (resamples agree)" in said
        assert both.verdict.startswith(
            "No clear difference between right and beside, with too few objects or images: −100.0 points"
        )
        assert "pooled, as there are only 19 objects" in both.verdict


def test_a_difference_of_few_objects_is_clear_nowhere():
    """One rule for sentences, figures, JSON and verdict: 20 objects of a class, of all if they are pooled."""
    random = np.random.default_rng(0)
    names = [f"{n}" for n in range(90)], [f"class {n}" for n in range(6)]
    labels, boxes = np.arange(90) % 6, np.tile([20.0, 20, 50, 50], (90, 1))
    truth = GroundTruth(*names, [[90, 90]] * 90, range(90), labels, boxes)

    def detector(name, right):
        shift = np.where(random.random(90) < right, 0, 14)[:, None] * np.array([1, 0, 1, 0])
        return diagnose(truth, Detections(*names, range(90), labels, random.random(90), boxes + shift), name)

    both = compare(detector("good", 0.9), detector("bad", 0.2), replicates=60)
    for quantity in both.quantities:
        section = quantity.split("/")[0]
        gap, entry = both.difference(quantity, 0, 1), comparison_to_json(both)[0]
        if section in ("share", "map"):
            assert not gap.differs, quantity  # of 15 objects in a class
        assert entry[section][quantity.partition("/")[2]]["clear"] == gap.differs
    assert both.difference("share/correct", 0, 1).high < -0.3
    assert both.difference("pooled/correct", 0, 1).differs
    assert both.verdict.startswith("good is better than bad: +")
    assert "pooled, as no class has 20 objects" in both.verdict
    first, second = comparison_sentences(both)[:2]
    assert "No class has 20 objects, so no difference of class means is called clear." in first
    assert "fall by" not in second


def test_one_number_has_one_interval(three):
    """TIDE's AP50 is AP50 but in the last digits, in the halves too."""
    both = compare(three, replicates=100, groups={"good": ["good 1", "good 2"]})
    same = 0
    for label in (None, 0, 1, 2):
        for detector in (0, 1):
            ap50, tide = (both.estimate(name, detector, label) for name in ("map/coco50", "tide/ap50"))
            if percent(ap50.value) == percent(tide.value):
                same += 1
                assert (ap50.low, ap50.high, ap50.error) == (tide.low, tide.high, tide.error)
        gaps = [both.difference(name, 0, 1, label) for name in ("map/coco50", "tide/ap50")]
        if percent(gaps[0].difference) == percent(gaps[1].difference):
            assert (gaps[0].low, gaps[0].high, gaps[0].p) == (gaps[1].low, gaps[1].high, gaps[1].p)
    assert same > 3
    run = intervals_to_json(both)[0]["each_run"]["good 1"]
    assert run["tide"]["ap50"]["low"] == run["map"]["coco50"]["low"]


def test_json(three):
    entries = comparison_to_json(compare(three, replicates=20))
    assert [(entry["a"], entry["b"]) for entry in entries] == [
        ("good 1", "good 2"), ("good 1", "worse"), ("good 2", "worse"),
    ]  # fmt: skip
    first = entries[0]
    assert set(first["share"]) == {*NAMES, "correct_and_localization"}
    assert set(first["map"]) == set(AP_KINDS)
    assert set(first["dap"]) == set(DAP_COLUMNS)
    assert set(first["impact"]) == set(COMPARED)
    assert first["tide"]["ap50"]["difference"] == pytest.approx(three[1].tide.mean_ap - three[0].tide.mean_ap)
    gap = three[1].tide.dap["loc"] - three[0].tide.dap["loc"]
    assert first["dap"]["loc"]["difference"] == pytest.approx(gap)
    of_class = three[1].tide.class_dap["loc"][1] - three[0].tide.class_dap["loc"][1]
    assert first["classes"]["class 1"]["dap"]["loc"]["difference"] == pytest.approx(of_class)
    for kind in ("share", "map", "dap", "impact"):
        for gap in first[kind].values():
            assert set(gap) - {"reason"} == {"difference", "low", "high", "p", "clear"}
    assert set(first["classes"]) == set(three[0].truth.classes)


def test_a_class_that_one_detector_never_finds():
    truth, found = scene(21, images=40, objects=100, count=300)
    kept = found.labels != 2
    both = compare([diagnose(truth, found, "all"), diagnose(truth, some(found, kept), "two")], replicates=30)
    assert both.difference("share/correct", 0, 1).difference == 0  # over the classes that both detect
    assert both.shared_classes("share/correct", 0, 1).tolist() == [True, True, False]
    entry = comparison_to_json(both)[0]["classes"]["class 2"]["share"]["correct"]
    assert entry["difference"] is None
    assert entry["p"] is None
    assert entry["reason"]
    assert "over 2 classes in which both detect something" in comparison_sentences(both)[1]


def test_words(three):
    lines = comparison_sentences(compare([three[0], three[2]], replicates=100))
    assert "localization errors rise by" in lines[1]
    assert "correct detections fall by" in lines[1]
    twin = diagnose(three[0].truth, three[0].detections, "twin")
    same_again = comparison_sentences(compare([three[0], twin], replicates=20))
    assert "no clear difference in correct + localization (resamples agree)" in same_again[1]
    assert lines[2].startswith("What fixing errors would add to AP (TIDE's dAP), worse − good 1: ")
    assert "wrong class −" in lines[2]
    assert "localization corrected" in lines[3]
    assert same_again[2].count("no clear difference in ") == 8
    assert same_again[2].endswith("no clear difference in all missed objects (resamples agree).")
    assert comparison_sentences(compare(three[:1], replicates=5)) == []


def test_costs_may_be_left_out(three):
    both = compare(three[:2], replicates=5, costs=False)
    assert {quantity.split("/")[0] for quantity in both.quantities} == {"share", "pooled", "objects", "map"}
    assert len(comparison_sentences(both)) == 2


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"groups": {"good": ["good 1", "nobody"]}}, "nobody"),
        ({"groups": {"good": []}}, "list of names"),
        ({"groups": {"a": ["good 1"], "b": ["good 1"]}}, "no other group"),
        ({"groups": {"worse": ["good 1"]}}, "another name"),
        ({"level": 95}, "between 0 and 1"),
        ({"replicates": 0}, "at least one"),
    ],
)
def test_mistakes(three, options, message):
    with pytest.raises(InputError, match=message):
        compare(three, **{"replicates": 2, **options})


NO_IMAGE = GroundTruth([], ["dog"], [], [], [], []), Detections([], ["dog"], [], [], [], [])


@pytest.mark.parametrize(
    ("others", "message"),
    [
        (lambda one: [], "no detector"),
        (lambda one: [one, one], "twice"),
        (lambda one: [one, diagnose(*scene(1), "elsewhere")], "same ground truth"),
        (lambda one: [one, diagnose(one.truth, one.detections, "other", iou=0.75)], "one threshold"),
        (lambda one: [one, diagnose(one.truth, one.detections, "other", top=5)], "a top of None and of 5"),
        (
            lambda one: [one, diagnose(one.truth, one.detections, "other", [["class 0", "class 1"]])],
            "the same groups",
        ),
        (lambda one: [diagnose(*NO_IMAGE)], "no image"),
    ],
)
def test_detectors_that_cannot_be_compared(three, others, message):
    with pytest.raises(InputError, match=message):
        compare(others(three[0]))


def test_a_p_value_at_its_least_is_known_from_above_alone(three):
    table = comparison_table(compare([three[0], three[2]], replicates=100))
    assert "p ≤ 0.020" in table, "2 / 101, rounded up"
    assert "p = 0.020" not in table
    assert "wrong class and place" in table
    assert {quantity_name(f"map/{kind}") for kind in AP_KINDS}.isdisjoint(AP_KINDS)


def test_what_the_intervals_cover_is_what_was_measured(three):
    """The numbers of results/intervals.md; a dagger on each interval that covers too little, no other."""
    text = (Path(__file__).parents[2] / "results" / "intervals.md").read_text(encoding="utf-8")
    measured = {}
    for line in re.findall(r"^\| (\w+/\w+) \|(.*)\|$", text, re.MULTILINE):
        number, _, difference, *_ = map(float, line[1].split("|"))
        both = measured.setdefault(line[0], {"number": [], "difference": []})
        both["number"].append(number)
        both["difference"].append(difference)
    sets = re.findall(r"^### (\d+) images, (\d+) sets", text, re.MULTILINE)
    assert [tuple(map(int, one)) for one in sets] == list(
        zip(MEASURED["images"], MEASURED["sets"], strict=True)
    )
    assert measured == MEASURED["cover"]
    both = compare([three[0], three[2]], replicates=20)
    assert set(both.quantities) == set(measured)
    assert cover("impact/ignore_other") == ("91 to 92", "†")
    few = {of for of in measured for kind in measured[of] if cover(of, kind)[1]}
    assert few == {
        of for of, kinds in measured.items() if min(round(min(one)) for one in kinds.values()) < 93
    }
    rows = {line.split("  ")[0] or line.split("  ")[1]: line for line in comparison_table(both).splitlines()}
    for of in measured:
        if of.split("/")[0] in ("share", "map", "dap", "impact"):
            marks = 2 * bool(cover(of)[1]) + bool(cover(of, "difference")[1])
            assert rows[quantity_name(of)].count("†") == marks, of
    assert cover_sentence() in comparison_sentences(both)[0]
