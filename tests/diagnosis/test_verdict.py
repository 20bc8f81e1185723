"""The verdict names what is clear, first, and says of the rest how far it may go."""

import json
import re

import numpy as np
import pytest

from benchmarks.verdict import judged
from data.records import Detections, GroundTruth
from diagnosis import diagnose, to_json
from diagnosis.compare import compare
from diagnosis.report import ReportContent, render_report
from diagnosis.to_json import comparison_to_json, intervals_to_json
from diagnosis.verdict import Measure, Unfound, fix_first, pair_verdict, percent
from diagnosis.words import brief
from tests.diagnosis.scenes import some

CLEAR, UNCLEAR, SAME = (0.04, 0.01, 0.07), (0.01, -0.1, 0.04), (0.0, np.nan, np.nan)
NAMES = ("old", "new")


def turned(numbers):
    return -numbers[0], -numbers[2], -numbers[1]


GAIN, WIDE = "+4.0 points of AP50 (+1.0 to +7.0)", "no clear difference in AP50"
NEW, OLD = f"cost new more than old: {GAIN}", f"cost old more than new: {GAIN}"
ALIKE = [turned((0.0398, 0.01, 0.07)), turned((0.0402, 0.01, 0.07))]
NOTHING = (np.nan,) * 3


@pytest.mark.parametrize(
    ("scores", "errors", "expected"),
    [
        # What is clear leads.
        ([CLEAR, CLEAR], [], f"new is better than old: {GAIN}.…"),
        ([turned(CLEAR), UNCLEAR], [], f"old is better than new: {GAIN}…."),
        ([UNCLEAR, CLEAR], [], "new has +4.0 points of AP50:95 (+1.0 to +7.0), compared with old; no…."),
        (
            [CLEAR, turned(CLEAR)], [],
            "new is better than old…; but new is worse in another number: −4.0 points of AP50:95 "
            "(−7.0 to −1.0).",
        ),
        ([turned(CLEAR)] * 2, [CLEAR], "old is better…most in missed objects, which cost new more…."),
        ([UNCLEAR] * 2, [UNCLEAR, CLEAR], "old and new differ most in duplicates, which cost…no clear…."),
        ([UNCLEAR] * 2, [UNCLEAR] * 2, "No clear difference between old and new…(−10.0 to +4.0)…."),
        ([SAME] * 2, [SAME] * 2, "No clear difference…new: the same AP50 (resamples agree)."),
        ([CLEAR] * 2, [CLEAR, (-0.2, -0.3, -0.1)], "new…most in duplicates, which cost old more than new…."),
        ([NOTHING] * 2, [NOTHING] * 2, "Nothing to compare…."),
        # A number is of what is named first.
        ([UNCLEAR], [], "…: +1.0 points of AP50 (−10.0 to +4.0) for new compared with old."),
        ([UNCLEAR], [UNCLEAR, CLEAR], f"…{NEW}; new compared with old: {WIDE} (−10.0 to +4.0)."),
        ([turned(UNCLEAR)], [turned(CLEAR)], f"…{OLD}; old compared with new: {WIDE} (−10.0 to +4.0)."),
        (
            [turned(UNCLEAR), CLEAR], [CLEAR],
            f"…{WIDE} (−4.0 to +10.0). They differ most in missed objects, which {NEW}.",
        ),
        ([UNCLEAR, turned(CLEAR)], [], f"…(+1.0 to +7.0), compared with new; {WIDE} (−4.0 to +10.0)."),
        ([CLEAR], [CLEAR, turned(CLEAR)], f"…which {NEW}, and as much in duplicates, which {OLD}."),
        ([CLEAR], ALIKE, f"…in duplicates, which {OLD}, and as much in missed objects, which {OLD}."),
    ],
)  # fmt: skip
def test_what_is_said_of_two_detectors(scores, errors, expected):
    """Any words at each "…"."""
    kinds = ("AP50", "AP50:95"), ("missed objects", "duplicates")
    measures = [
        [Measure(name, *one) for name, one in zip(names, some, strict=False)]
        for names, some in zip(kinds, (scores, errors), strict=True)
    ]
    said = pair_verdict(NAMES, *measures)
    assert re.fullmatch(".*".join(map(re.escape, expected.split("…"))), said), said


def test_a_number_that_is_too_few_objects_or_a_matter_of_ties_says_so():
    few = Measure("AP50", -0.5, -0.9, -0.1, enough=False)
    assert pair_verdict(NAMES, [few], []) == (
        "No clear difference between old and new, with too few objects or images: "
        "−50.0 points of AP50 (−90.0 to −10.0) for new compared with old."
    )
    tied = Measure("correct detections", 0.04, 0.01, 0.07, moves=(-0.012, 0.0))
    assert not tied.clear
    assert tied._replace(moves=(-0.008, 0.5)).clear
    assert ", as equal scores leave it open (their order in the file counts): +4.0" in pair_verdict(
        NAMES, [tied], []
    )
    assert "another number" not in pair_verdict(NAMES, [Measure("AP50", *turned(CLEAR)), tied], [])
    said = pair_verdict(NAMES, [tied, Measure("AP50:95", *CLEAR)], [])
    assert said.endswith("(+1.0 to +7.0), as equal scores leave it open (their order in the file counts).")
    assert pair_verdict(NAMES, [Measure("AP50", 0.0001, -0.02, 0.02)], []).endswith(
        ": 0.0 points of AP50 (−2.0 to +2.0) for new compared with old."
    )
    assert not Measure("AP50", 0.5, np.nan, np.nan, moves=(-0.6, 0.0)).clear


def test_of_two_with_classes_unfound_one_direction_is_kept():
    unfound = [Unfound("new", ("dog",), 0.1, Measure("AP50", -0.6, -0.8, -0.5))]
    assert pair_verdict(NAMES, [Measure("AP50", *UNCLEAR)], [], unfound) == (
        "old and new differ most in dog, of which new finds no object: +60.0 points of AP50 (+50.0 to +80.0) "
        "there for old; old compared with new: no clear difference in AP50 (−4.0 to +10.0)."
    )
    assert pair_verdict(NAMES, [Measure("AP50", *CLEAR)], [], unfound).endswith(
        "They differ most in dog, of which new finds no object: −60.0 points of AP50 (−80.0 to −50.0) there."
    )


def test_an_error_that_costs_the_better_one_more_is_not_what_they_differ_most_in():
    less, more = Measure("duplicates", -0.02, -0.03, -0.01), Measure("missed objects", *CLEAR)
    assert "most" not in pair_verdict(NAMES, [Measure("AP50", *CLEAR)], [less, more])
    assert "most in missed" in pair_verdict(NAMES, [Measure("AP50", *turned(CLEAR))], [less, more])


def test_what_to_fix_first_is_clear_or_called_unclear():
    assert fix_first("a", [Measure("duplicates", 0.0)]) == ""
    costs = [Measure("duplicates", 0.03, 0.0002, 0.2), Measure("wrong places", 0.01, 0.005, 0.02)]
    assert fix_first("a", costs) == (
        "What to fix first is not clear: duplicates cost a most, 3.0 points of AP50 (0.0 to 20.0)."
    )
    assert fix_first("a", costs[1:]).startswith("Fix first: wrong places, which cost a 1.0 points")


def blind(objects, found, label, name):
    """A detector that finds nothing of a class: what it has of it is beside the objects."""
    truth, all_found = scene(objects, found)
    beside = (all_found.labels == label)[:, None] * np.array([25, 0, 15, 0])
    return diagnose(truth, some(all_found, moved=beside), name)


def test_a_class_that_is_not_found_counts_though_tide_has_no_cost_of_it():
    """Of class 1 one detector finds nothing: fixing its missed objects leaves nothing, in TIDE."""
    objects, found = [40, 30, 25, 30], [36, 28, 22, 27]
    old, new = blind(objects, found, 1, "old"), diagnose(*scene(objects, found), "new")
    assert old.tide.class_dap["miss"][1] == 0
    said = compare([old, new], replicates=60).verdict
    assert said.startswith("new is better than old: ")
    assert "They differ most in class 1, of which old finds no object: +93." in said
    assert "Fix first: missed objects, which cost new" in said
    nothing = "Fix first: class 1, of which old finds no object."
    assert old.verdict.endswith(nothing)
    assert compare([old], replicates=20).verdict.endswith(nothing)
    silent = pair(objects, found, [0] * 4)[0].verdict
    assert "most in class 0, class 1, class 2 and class 3, of which new finds no object: +" in silent
    many = pair([20] * 6, [18] * 6, [0] * 6)[0].verdict
    assert "most in class 0, class 1, class 2 and 3 more classes, of which new finds no object: +" in many
    assert "They differ most in missed" in pair(objects, [36, 1, 22, 27], found)[0].verdict


def test_of_a_class_with_few_objects_nothing_is_said():
    both, (old, _) = pair([60, 40, 3], [50, 30, 0], [50, 30, 3])
    assert "class 2" not in both.verdict + old.verdict


def test_the_detector_that_is_called_better_is_the_one_to_fix():
    """AP50 leaves it open, with the first ahead; by AP50:95 the second is better."""
    truth, found = scene([60], [60])

    old = diagnose(truth, some(found, slice(0, 52), np.array([0, 0, 8, 0])), "old")
    both = compare([old, diagnose(truth, some(found, slice(9, 60)), "new")], replicates=60)
    assert both.estimate("map/coco50", 0).value > both.estimate("map/coco50", 1).value
    assert both.verdict.startswith("new has +")
    assert both.ranking == [1, 0]
    assert "which cost new" in both.verdict


def scene(objects, found):
    """A detector that finds so many of the objects of each class; an object an image."""
    images = [f"{n}" for n in range(sum(objects))]
    labels = np.repeat(np.arange(len(objects)), objects)
    classes = [f"class {n}" for n in range(len(objects))]
    box = [[10, 10, 30, 30]]
    truth = GroundTruth(
        images, classes, [[50, 50]] * len(images), range(len(images)), labels, box * len(images)
    )
    within = np.concatenate([np.arange(n) for n in objects])
    rows = np.flatnonzero(within < np.repeat(found, objects))
    scores = np.linspace(0.9, 0.1, len(rows))
    return truth, Detections(images, classes, rows, labels[rows], scores, box * len(rows))


def pair(objects, first, second, **options):
    both = [diagnose(*scene(objects, found), name) for found, name in ((first, "old"), (second, "new"))]
    return compare(both, replicates=60, **options), both


def test_classes_with_few_objects_do_not_decide():
    """In the mean over all classes the second is far better, for the sake of 3 objects."""
    both, _ = pair([60, 3], [50, 0], [20, 3])
    assert both.estimate("map/coco50", 1).value > both.estimate("map/coco50", 0).value
    said = both.verdict
    assert said.startswith("old is better than new: ")
    assert "points of AP50 (" in said
    assert "over the 1 of 2 classes with at least 20 objects" in said
    assert "Fix first: missed objects, which cost old " in said


def test_without_a_class_of_enough_objects_all_classes_together_lead():
    both, (old, _) = pair([10, 3], [9, 3], [9, 3])
    assert both.verdict.startswith("No clear difference between old and new: the same correct")
    assert "the same correct detections (resamples agree), pooled, as there are only 13" in both.verdict
    assert compare([old], replicates=20).verdict.startswith("old: 100.0 % correct detections, pooled, as ")
    assert "pooled, as there is only 1 object. Too few" in pair([1], [1], [1])[0].verdict
    assert "pooled, as no class has 20 objects. Too few" in pair([19, 19], [19, 1], [19, 1])[0].verdict
    said = "Too few objects to say what to fix first: no class has 20."
    assert both.verdict.endswith(said)
    assert old.verdict.endswith(said)
    assert "AP50" in old.verdict
    assert "which cost" not in pair([10, 3], [9, 3], [1, 1])[0].verdict


def test_one_and_three_detectors():
    truth, found = scene([40], [30])
    one = diagnose(truth, found, "one")
    assert one.verdict.startswith("one: ")
    assert "% AP50. Fix first: missed objects, which cost one " in one.verdict
    alone = compare([one], replicates=20).verdict
    assert re.match(r"one: \d\d\.\d % AP50 \(\d\d\.\d to \d\d\.\d\)\. Fix first: missed objects", alone)
    others = [diagnose(*scene([40], [n]), name) for n, name in ((10, "two"), (37, "three"))]
    said = compare([one, *others], replicates=40).verdict
    assert said.startswith("Best two of 3 by AP50: three is better than one: +")
    assert said.endswith(re.search(r"Fix first: .*, which cost three .*", said)[0])


def test_nothing_found_and_nothing_there():
    truth, _ = scene([40], [30])
    silent = diagnose(truth, Detections(truth.images, truth.classes, [], [], [], []), "silent")
    assert silent.verdict == "silent: 0.0 % AP50. Fix first: class 0, of which silent finds no object."
    empty = GroundTruth(["a"], ["dog"], [[9, 9]], [], [], [])
    nothing = diagnose(empty, Detections(["a"], ["dog"], [], [], [], []), "nothing")
    assert nothing.verdict == "nothing: no class has objects."
    assert compare([nothing], replicates=4).verdict == "nothing: no class has objects."
    truth = GroundTruth(["a"], ["dog", "cat"], [[9, 9]], [0], [0], [[0, 0, 5, 5]])
    shifted = Detections(["a"], ["dog", "cat"], [0], [1], [0.5], [[0, 0, 5, 5]])
    alone = compare([diagnose(truth, shifted, "one")], replicates=4)
    assert alone.verdict == "one: no detection is of a class with objects."


@pytest.mark.parametrize("name", ["old", "a detector whose name is much longer than any table has room for"])
def test_in_brief_it_fits_a_terminal(name):
    truth, found = scene([60, 30, 30, 3], [50, 20, 10, 0])
    both = [diagnose(truth, found, name), diagnose(*scene([60, 30, 30, 3], [30, 20, 8, 0]), "new")]
    notes = ["Few objects that count, so a few more or less would change much: class 3 (3)."] * 3
    lines = brief(both, compare(both, replicates=40), notes, "The report: out/report.html").splitlines()
    assert lines[0] == "The report: out/report.html"
    assert len(lines) <= (16 if name == "old" else 20)
    assert max(map(len, lines)) <= 80
    ap = [one.ap.coco50 for one in both]
    said = ", ".join(f"class {label} ({', '.join(percent(one[label]) for one in ap)})" for label in (2, 1))
    assert f"Lowest AP50 (N ≥ 20; mean of both): {said}" in " ".join(lines)
    assert "2 more notes in summary.txt." in " ".join(lines)


def test_of_a_group_the_runs_are_told():
    both, diagnoses = pair([40], [30], [20], groups={"model": ["old", "new"]})
    assert both.verdict.startswith("model: ")
    said = " ".join(brief(diagnoses, both).split())
    assert " model: the mean of old, new. Intervals include seed-to-seed variation. Lowest AP50 " in said
    assert "the mean of old" not in brief(diagnoses, compare(diagnoses, replicates=4))


def test_another_iou_is_told_beside_the_shares():
    truth, found = scene([40], [30])
    shown = brief([diagnose(truth, found, "a", iou=0.6)], None)
    assert "\n\nShares are at IoU 0.6. Lowest AP50: " in shown
    assert "IoU" not in brief([diagnose(truth, found, "a")], None)


def test_the_better_of_two_simulated_detectors_is_named():
    """A few of the 200 sets of `benchmarks/verdict.py`."""
    told = [judged(300, 40, seed)[0] for seed in (10_000, 10_001)]
    assert "wrong" not in [verdict for verdict, _ in told]
    assert [verdict for verdict, _ in told].count("right") >= 1
    assert not any("no difference" in text or "not differ" in text for _, text in told)


def on_page(diagnoses, numbers):
    """The numbers in the page."""
    page = render_report(ReportContent(diagnoses, numbers, gallery=None))
    return json.loads(re.search(r'<script[^>]*id="data"[^>]*>(.*?)</script>', page, re.S)[1])


def test_page_and_terminal_round_alike():
    """13 of 107 are 12.1495 %: rounded to 12.150 before, they would read 12.2 or 12.1."""
    truth, found = scene([107], [107])
    beside = 21 * (np.arange(107)[:, None] >= 13)
    one = diagnose(truth, some(found, moved=beside, scores=found.scores[::-1]), "one")
    correct = on_page([one], to_json([one], {}))["detectors"][0]["breakdown"]["pooled"]["correct"]
    assert f"{100 * correct:.1f}" == percent(13 / 107) == "12.1"


def test_page_and_json_have_the_gains_of_the_verdict():
    """Over the same classes: those with enough objects."""
    both, diagnoses = pair([60, 3], [50, 0], [20, 3])
    numbers = to_json(diagnoses, {}, [], intervals_to_json(both), [], both.verdict)
    shown = on_page(diagnoses, numbers)
    gain = numbers["intervals"][0]["dap_enough_objects"]["miss"]
    assert gain["value"] != pytest.approx(numbers["detectors"][0]["tide"]["dap"]["miss"], abs=1e-3)
    assert (
        f"which cost old {100 * gain['value']:.1f} points of AP50 ({100 * gain['low']:.1f} to" in both.verdict
    )
    assert shown["detectors"][0]["gains"]["miss"] == pytest.approx(gain["value"], abs=1e-4)
    assert shown["intervals"][0]["dap_enough_objects"]["miss"]["low"] == pytest.approx(gain["low"], abs=1e-4)
    assert shown["facts"]["over"] == " over the 1 of 2 classes with at least 20 objects"


def test_a_share_of_few_detections_is_not_clear():
    """Of 40 objects, but of 6 and 8 detections; with 20 of one detector it is."""

    def located(right, wrong):
        truth, found = scene([40, 40], [40, right + wrong])
        beside = (np.arange(len(found)) >= 40 + right)[:, None] * np.array([0, 0, 15, 15])
        return diagnose(truth, some(found, moved=beside), f"{right}, {wrong}")

    few = compare(located(6, 0), located(2, 6), replicates=200)
    enough = compare(located(20, 0), located(2, 6), replicates=200)
    for both, expected in ((few, False), (enough, True)):
        gap = both.difference("share/localization", 0, 1, 1)
        assert gap.low > 0.2
        assert gap.differs is expected
        entry = comparison_to_json(both)[0]["classes"]["class 1"]["share"]["localization"]
        assert entry["clear"] is expected
    mean = few.difference("share/localization", 0, 1)
    assert mean.differs  # with class 0


def tied(places, name, scores=(0.5,), images=60):
    """On 60 objects, an object an image: of the first images a detection for each place."""
    names, box = [f"{n}" for n in range(60)], np.array([10, 10, 30, 30])
    truth = GroundTruth(names, ["dog"], [[90, 90]] * 60, range(60), [0] * 60, [box] * 60)
    boxes = np.concatenate([[box + place] * images for place in places])
    index = np.tile(np.arange(images), len(places))
    score = np.repeat(np.resize(scores, len(places)), images)
    return diagnose(truth, Detections(names, ["dog"], index, [0] * len(index), score, boxes), name)


@pytest.mark.parametrize("order", [(0, 50), (50, 0)])
def test_what_the_order_of_equal_scores_decides_is_not_clear(order):
    """60 of 120 detections count; which of them is a matter of lines in the file."""
    equal, other = tied(order, "equal"), tied([0], "other", images=45)
    both = compare(other, equal, replicates=60)
    gap = both.difference("pooled/correct", 0, 1)
    assert gap.difference == (0 if order[0] == 0 else -1)
    assert not gap.differs
    assert not both.difference("share/correct", 0, 1, 0).differs
    assert "better" not in both.verdict
    assert "equal scores leave it open (their order in the file counts)" in both.verdict
    apart = compare(other, tied([0, 50], "equal", (0.5, 0.4)), replicates=60)
    assert apart.verdict.startswith("equal is better than other: +")


def test_ties_that_change_little_change_nothing():
    both = compare(tied([12], "other"), tied([0], "equal"), replicates=60)
    assert both.verdict.startswith("equal is better than other: +100.0 points of AP50")
    assert {key: some.tolist() for key, some in both.orders.items()} == {
        "map/coco": [[[0.0], [0.0]]] * 2,
        "map/coco50": [[[0.0], [0.0]]] * 2,
        "share/correct": [[[0.0], [0.0]]] * 2,
        "pooled/correct": [[[0.0], [0.0]]] * 2,
    }


def test_large_ties_are_beside_the_verdict():
    line = (
        "equal: 120 detections of 120 tie with another of their class; their order can move AP (VOC07) from "
        "50.0 to 100.0 % and correct from 0.0 to 100.0 %."
    )
    one = tied([0, 50], "equal")
    shown = brief([one], None, [line, "Another note."]).split("\n\n")
    assert " ".join(shown[0].split()) == f"{one.verdict} {line}"
    assert shown[-1] == "Another note."
    assert brief([one], None, [line]).count("tie with") == 1
    assert on_page([one], to_json([one], {}))["ties"] == [line]
    assert "tie" not in brief([tied([0], "equal")], None)
