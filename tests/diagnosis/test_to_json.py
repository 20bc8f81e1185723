"""``diagnosis.json`` against the schema that was promised, in full and in the empty cases."""

import json
import math

import pytest

from data.records import Detections, GroundTruth
from diagnosis import diagnose, to_json
from diagnosis.breakdown import ERROR_TYPES
from diagnosis.compare import compare
from diagnosis.flow import flow
from diagnosis.impact import IMPACT_VARIANTS
from diagnosis.record import WORST_CASES
from diagnosis.tide import DAP_COLUMNS
from diagnosis.to_json import comparison_to_json, intervals_to_json
from tests.diagnosis.scenes import CLASSES, SIMILAR, crowded

ALL = "all classes"
SHARES = dict.fromkeys(["correct", "localization", "similar", "other", "background"], float)
AP = dict.fromkeys(["voc07", "area", "coco", "coco50", "normalized"], float)
ERRORS = ["cls", "loc", "both", "dupe", "bkg", "miss"]
BIN = {"bin": str, "objects": int, "ap": float, "apn": float}
POINT = dict.fromkeys(["score", "f1", "precision", "recall"], float)
SPREAD = {"classes": int} | dict.fromkeys(["lowest", "highest", "sensitivity", "impact"], float)
FORGIVEN = ["ignore_localization", "fix_localization", "ignore_similar", "ignore_background"]
DETECTOR = {
    "name": str,
    "breakdown": {"mean_over_classes": SHARES, "pooled": SHARES},
    "map": AP,
    "tide": {
        "ap50": float,
        "dap": dict.fromkeys([*ERRORS, "fp", "fn"], float),
        "counts": dict.fromkeys(ERRORS, int),
    },
    "trends": {
        ALL: {
            "detections": [{"factor": float, "n": int, "recall": float} | SHARES],
            "false_positives": [{"wanted": int, "n": int, "background": float}],
        }
    },
    "confusion": {"rows": [str], "columns": [str], "counts": [[int]], "score": float},
    "calibration": {"expected_error": float, "bins": [{"detections": int, "score": float}]},
    "operating_points": {"overall": POINT},
    "sensitivity": {"area": SPREAD, "aspect_ratio": SPREAD},
}
CLASS = {
    "objects": int,
    "detections": int,
    "top": {"n": int} | SHARES,
    "ap": AP | {"hoiem": float},
    "impact": {name: {"ap": float, "apn": float} for name in FORGIVEN},
    "characteristics": {"area": [BIN], "aspect_ratio": [BIN], "truncated": [BIN]},
}
GAP = dict.fromkeys(["difference", "low", "high", "p"], float)
PAIR = {
    "a": str,
    "b": str,
    "share": dict.fromkeys([*SHARES, "correct_and_localization"], GAP),
    "map": dict.fromkeys([*AP], GAP),
    "dap": dict.fromkeys([*ERRORS, "fp", "fn"], GAP),
}


def fits(value, schema, where="$", reason=False):
    """The value is of the schema: all its keys, integers where integers are due, None only with a reason."""
    if isinstance(schema, dict):
        assert isinstance(value, dict), where
        assert schema.keys() <= value.keys(), f"{where}: no {schema.keys() - value.keys()}"
        for name, part in schema.items():
            fits(value[name], part, f"{where}.{name}", bool(value.get("reason")))
    elif isinstance(schema, list):
        assert isinstance(value, list), where
        assert value, where
        for place, entry in enumerate(value):
            fits(entry, schema[0], f"{where}[{place}]")
    elif value is None:
        assert schema is float, f"{where}: None as a {schema.__name__}"
        assert reason, f"{where}: None without a reason"
    else:
        kinds = (int, float) if schema is float else (schema,)
        assert type(value) in kinds, f"{where}: {value!r}"


def unexplained(value, where="$"):
    """Where there is None without a reason beside it, but for what is no quantity."""
    if isinstance(value, list):
        return [place for i, entry in enumerate(value) for place in unexplained(entry, f"{where}[{i}]")]
    if not isinstance(value, dict):
        return []
    found = [f"{where}.{name}" for name, part in value.items() if part is None and name != "confused_with"]
    found = [] if value.get("reason") else found
    return found + [place for name, part in value.items() for place in unexplained(part, f"{where}.{name}")]


def content(diagnoses, replicates=20):
    both = compare(diagnoses, replicates=replicates)
    result = to_json(diagnoses, {}, comparison_to_json(both), intervals_to_json(both))
    assert json.loads(json.dumps(result, allow_nan=False)) == result
    return result


@pytest.fixture(scope="module")
def two():
    found = [crowded(seed=3), crowded(seed=3, detections=80)]
    truth = found[0].truth
    return [
        diagnose(truth, matching.detections, name, SIMILAR)
        for name, matching in zip(("a", "b"), found, strict=True)
    ]


def test_every_key_of_the_schema_is_there(two):
    result = content(two)
    parts = ["schema", "verdict", "detectors", "comparison", "intervals", "flow", "notes", "provenance"]
    assert list(result) == parts
    assert result["schema"] == 1
    assert [detector["name"] for detector in result["detectors"]] == ["a", "b"]
    for detector in result["detectors"]:
        fits(detector, DETECTOR)
        assert list(detector["classes"]) == list(two[0].truth.classes)
        for name, one in detector["classes"].items():
            fits(one, CLASS, name)
            assert [bin_["bin"] for bin_ in one["characteristics"]["truncated"]] == ["0", "1"]
            assert [bin_["bin"] for bin_ in one["characteristics"]["area"]] == ["XS", "S", "M", "L", "XL"]
            fits(detector["calibration"]["classes"][name], {"expected_error": float})
            fits(detector["operating_points"]["classes"][name], POINT)
        fits(detector["sensitivity"], {"truncated": SPREAD, "pose": SPREAD})
        assert detector["confusion"]["rows"] == [*two[0].truth.classes, "background"]
        assert detector["similar"]["cat"] == ["bird", "dog"]
        assert detector["similar"]["sofa"] == []
        worst = detector["classes"]["cat"]["extremes"]
        fits(worst, {"errors": [{"image": str, "score": float, "box": [float], "type": str}]})
        fits(
            worst, {"found_last": [{"image": str, "object": int}], "missed": [{"image": str, "object": int}]}
        )
        kinds = [entry["type"] for entry in worst["errors"]]
        assert max(map(kinds.count, kinds)) <= WORST_CASES
    (flow,) = result["flow"]
    assert (flow["a"], flow["b"]) == ("a", "b")
    assert flow["objects"] == int(two[0].matching.objects.sum())
    assert to_json(two[:1], {})["flow"] == []
    elsewhere = crowded(seed=4)
    assert to_json([two[0], diagnose(elsewhere.truth, elsewhere.detections)], {})["flow"] == []
    (pair,) = result["comparison"]
    fits(pair, PAIR)
    assert isinstance(result["provenance"], dict)
    assert unexplained(result) == []


def test_which_bins_were_used(two):
    truth, found = two[0].truth, two[0].detections
    bins = to_json(two[:1], {})["detectors"][0]["bins"]
    assert bins["area"]["by"] == "quantiles"
    assert bins["area"]["unit"] == "square pixels"
    assert "sofa" not in bins["area"]["edges"]
    edges = bins["area"]["edges"]["cat"]
    assert edges == sorted(edges)
    assert bins["pose"] == {"bins": ["Left", "Right"], "by": "value"}
    own = diagnose(truth, found, edges={"area": [16**2, 32**2]}, coco=False)
    detector = to_json([own], {})["detectors"][0]
    assert detector["bins"]["area"]["edges"] == [256, 1024]
    assert detector["bins"]["area"]["bins"] == ["≤ 16²", "16²–32²", "> 32²"]
    entries = detector["classes"]["cat"]["characteristics"]["area"]
    assert [entry["bin"] for entry in entries] == ["≤ 16²", "16²–32²", "> 32²"]
    assert sum(entry["objects"] for entry in entries) == detector["classes"]["cat"]["objects"]


def test_the_numbers_are_those_of_the_record(two):
    one, dog, sofa = two[0], CLASSES.index("dog"), CLASSES.index("sofa")
    content = json.loads(json.dumps(to_json(two, {}), allow_nan=False))
    detector, truth, found = content["detectors"][0], one.truth, one.detections
    classes = detector["classes"]
    breakdown, names = one.breakdown, list(SHARES)
    assert detector["breakdown"] == {
        "mean_over_classes": dict(zip(names, breakdown.mean_over_classes(), strict=True)),
        "pooled": dict(zip(names, breakdown.pooled(), strict=True)),
    }
    assert list(detector["map"].items()) == list(one.ap.mean().items())
    assert classes["dog"]["ap"] == {kind: getattr(one.ap, kind)[dog] for kind in one.ap.mean()}
    assert classes["dog"]["objects"] == one.matching.objects[dog]
    assert classes["dog"]["detections"] == (found.labels == dog).sum()
    shares = dict(zip(names, breakdown.shares[dog], strict=True))
    assert classes["dog"]["top"] == {"n": breakdown.counts[dog].sum()} | shares
    assert list(classes["dog"]["impact"]) == [variant.name for variant in IMPACT_VARIANTS]
    for place, variant in enumerate(IMPACT_VARIANTS):
        scores = {name: getattr(one.impact.scores, name)[place, dog] for name in ("ap", "apn")}
        assert classes["dog"]["impact"][variant.name] == scores
    assert classes["sofa"]["impact"]["all"] == {
        "ap": None, "apn": None, "reason": "no object that is not difficult"
    }  # fmt: skip

    for table in one.characteristics.tables:
        for place, entry in enumerate(classes["dog"]["characteristics"][table.characteristic.name]):
            assert entry["objects"] == table.scores.objects[dog, place]
            assert entry["missed"] == table.missed[dog, place]
            assert entry["apn"] == (table.scores.apn[dog, place] if entry["objects"] else None)
    entry = classes["sofa"]["characteristics"]["truncated"][1]
    assert (entry["objects"], entry["ap"]) == (0, None)
    assert entry["reason"] == "no object of this class in this bin"
    for each in one.sensitivity:
        known = not math.isnan(each.lowest)
        assert detector["sensitivity"][each.name]["lowest"] == (each.lowest if known else None)

    trend, points = one.detection_trend, detector["trends"][ALL]["detections"]
    for place, point in enumerate(points):
        assert point["n"] == trend.counts[place].sum()
        assert [point[kind.name] for kind in ERROR_TYPES] == trend.shares()[place].tolist()
        assert (point["recall"], point["recall_weak"]) == (
            trend.recall()[place],
            trend.recall(at_background_iou=True)[place],
        )
    first = detector["trends"][ALL]["false_positives"][0]
    assert (first["wanted"], first["n"]) == (25, one.false_positive_trends[ALL].counts[0].sum())
    assert "correct" not in first

    tide, costs = one.tide, detector["tide"]
    assert (costs["ap50"], costs["dap"], costs["counts"]) == (tide.mean_ap, tide.dap, tide.counts)
    assert list(costs["dap"]) == [*DAP_COLUMNS]
    assert costs["classes"]["dog"]["dap"]["loc"] == tide.class_dap["loc"][dog]
    assert sum(each["counts"]["bkg"] for each in costs["classes"].values()) == tide.counts["bkg"]
    assert costs["confusion"]["counts"] == tide.confusion_matrix().tolist()
    assert costs["confusion"]["rows"][-1] == "missed object"
    assert detector["confusion"]["counts"] == one.confusion.counts.tolist()
    assert detector["calibration"]["expected_error"] == one.calibration.expected_error()
    assert detector["operating_points"]["classes"]["dog"]["f1"] == one.operating_points.each[dog].f1

    worst = one.worst_cases
    errors = [entry for each in classes.values() for entry in each["extremes"]["errors"]]
    assert [entry["detection"] for entry in errors] == worst.errors.tolist()
    for entry, kind, other in zip(errors, worst.error_types, worst.confused_with, strict=True):
        row = entry["detection"]
        assert entry["type"] == ERROR_TYPES[kind].name
        assert entry["confused_with"] == (CLASSES[other] if other >= 0 else None)
        assert entry["image"] == truth.images[found.image_index[row]]
        assert (entry["score"], entry["box"]) == (found.scores[row], found.boxes[row].tolist())
    last = [entry for each in classes.values() for entry in each["extremes"]["found_last"]]
    assert [entry["object"] for entry in last] == worst.found_objects.tolist()
    missed = [entry["object"] for each in classes.values() for entry in each["extremes"]["missed"]]
    assert missed == worst.missed.tolist()
    assert classes["sofa"]["extremes"]["missed"] == []

    change = flow(*two)
    lost = change.moved("correct", "missed")
    assert len(lost) > 0
    assert content["flow"][0]["all"]["correct"]["missed"] == len(lost)
    assert content["flow"][0]["classes"]["dog"]["correct"]["missed"] == (truth.labels[lost] == dog).sum()
    assert one.matching.objects[sofa] == 0


def test_few_objects_are_no_sensitivity():
    few = crowded(seed=2, objects=6)
    detector = to_json([diagnose(few.truth, few.detections, coco=False)], {})["detectors"][0]
    assert detector["sensitivity"]["area"]["lowest"] is None
    assert detector["sensitivity"]["area"]["reason"] == "no class has a bin of enough objects"


@pytest.mark.parametrize("empty", ["detections", "objects", "both"])
def test_the_empty_cases_have_reasons_in_place_of_numbers(empty):
    names = ["a", "b"], ["cat", "dog"]
    box = [[0, 0, 10, 10]]
    truth = GroundTruth(*names, [[90, 90]] * 2, *([0], [0], box) if empty == "detections" else ([], [], []))
    found = Detections(*names, *([0], [0], [0.5], box) if empty == "objects" else ([], [], [], []))
    result = content([diagnose(truth, found, "a"), diagnose(truth, found, "b")], replicates=3)
    assert unexplained(result) == []
    for detector in result["detectors"]:
        fits(detector, DETECTOR)
        for name, one in detector["classes"].items():
            fits(one, CLASS | {"characteristics": {"area": [BIN]}}, name)
    fits(result["comparison"][0], PAIR)
    tide = result["detectors"][0]["tide"]
    assert tide["ap50"] == {"detections": 0, "objects": 0, "both": None}[empty]
    assert "left" in tide["dap"]["reason"]
    assert tide["dap"]["miss"] == (0 if empty == "objects" else None)
