"""The web page: all numbers are in it, nothing is fetched, names are only names, nothing empty breaks it."""

import base64
import dataclasses
import hashlib
import html
import io
import json
import re
import tomllib
from collections import Counter
from importlib import resources

import numpy as np
import pytest
from PIL import Image

from data.records import Detections, GroundTruth, InputError
from diagnosis.breakdown import ERROR_TYPES
from diagnosis.compare import compare
from diagnosis.flow import flow
from diagnosis.record import Diagnosis, diagnose
from diagnosis.report import Gallery, ReportContent, render_report, write_report
from diagnosis.report.gallery import collect, part_around
from diagnosis.tide import TIDE_ERRORS
from diagnosis.to_json import comparison_to_json, intervals_to_json, to_json
from diagnosis.words import sentences, worst_classes
from tests.diagnosis.scenes import one_image, write_photographs

EVIL = '</script><script>alert("1")</script> & $x_2$ \u2028 <!-- {{data}} 猫'
SIZE = (120, 90)


def truth_of(images=6, classes=("dog", "cat", "bus"), files=(), seed=0) -> GroundTruth:
    """Two objects an image, of the classes in turn, one in five difficult."""
    rng = np.random.default_rng(seed)
    count = 2 * images
    corner = rng.integers(5, 50, (count, 2))
    boxes = np.concatenate([corner, corner + rng.integers(20, 40, (count, 2))], axis=1)
    number = np.arange(count)
    return GroundTruth(
        [f"image{i}" for i in range(images)], classes, [SIZE] * images, number // 2, number % len(classes),
        boxes, number % 5 == 4, files=files,
    )  # fmt: skip


def detector(truth, name="detector", jitter=4.0, extra=6, seed=1, similar=(("dog", "cat"),)) -> Diagnosis:
    """Every object found, shifted, some under another class; and random boxes."""
    rng = np.random.default_rng(seed)
    boxes = truth.boxes + rng.normal(0, jitter, truth.boxes.shape)
    labels = np.where(rng.random(len(truth)) < 0.4, (truth.labels + 1) % len(truth.classes), truth.labels)
    corner = rng.uniform(0, 60, (extra, 2))
    boxes = np.concatenate([boxes, np.concatenate([corner, corner + 20], axis=1)])
    boxes[:, 2:] = np.maximum(boxes[:, 2:], boxes[:, :2])
    image = np.concatenate([truth.image_index, rng.integers(0, len(truth.images), extra)])
    labels = np.concatenate([labels, rng.integers(0, len(truth.classes), extra)])
    found = Detections(truth.images, truth.classes, image, labels, rng.random(len(boxes)), boxes)
    groups = [group for group in similar if set(group) <= set(truth.classes)]
    return diagnose(truth, found, name, groups, coco=False)


def nothing_found(truth, name="silent") -> Diagnosis:
    return diagnose(truth, Detections(truth.images, truth.classes, [], [], [], []), name, coco=False)


def content(diagnoses, **others) -> ReportContent:
    numbers = others.pop("numbers", None) or to_json(diagnoses, {"options": {"top": None}})
    return ReportContent(diagnoses, numbers, **others)


def data_of(diagnoses, **others) -> dict:
    """The JSON that the page's script reads."""
    return read(render_report(content(diagnoses, **others)))


def read(text) -> dict:
    """The page's data; its examples as the page's script puts them together."""
    found = json.loads(re.search(r'<script [^>]* id="data">(.*?)</script>', text, re.DOTALL)[1])
    found["shown"] = [
        {key: pool[key] for key in ("side", "detector", "versus")}
        | {"image": found["images"][row[8]], "size": row[9:11]}
        | {"photo": found["photographs"][row[12]] if len(row) > 12 else ""}
        for pool in found["pools"]
        for row in pool["rows"]
    ]
    return found


@pytest.fixture(scope="module")
def photographs(tmp_path_factory) -> list[str]:
    return write_photographs(tmp_path_factory.mktemp("photographs"), [SIZE] * 6)


@pytest.fixture(scope="module")
def pair(photographs) -> list[Diagnosis]:
    truth = truth_of(files=photographs)
    return [detector(truth, "plain"), detector(truth, f"shuffled {EVIL}", jitter=9.0, seed=2)]


@pytest.fixture(scope="module")
def text(pair) -> str:
    return render_report(content(pair))


@pytest.fixture(scope="module")
def data(text) -> dict:
    return read(text)


# ---- nothing to show -----------------------------------------------------------------------------

BARE = GroundTruth(["a"], ["dog", "cat"], [[9, 9]], [], [], [])
NO_IMAGES = GroundTruth([], ["dog"], [], [], [], [])


def one_box(*box):
    truth = truth_of()
    return diagnose(truth, Detections(truth.images, truth.classes, [0], [0], [0.5], [box]), coco=False)


EMPTY_CASES = {
    "no detections": lambda: [nothing_found(truth_of())],
    "no objects": lambda: [detector(BARE, extra=3)],
    "neither": lambda: [nothing_found(BARE)],
    "no images": lambda: [nothing_found(NO_IMAGES)],
    "one class": lambda: [detector(truth_of(classes=("dog",)))],
    "one silent": lambda: [detector(truth_of()), nothing_found(truth_of())],
    "outside the image": lambda: [one_box(500.0, 500, 600, 600)],
    "a box without area": lambda: [one_box(7.0, 7, 7, 7)],
    "no similar class": lambda: [detector(truth_of(), similar=())],
}


@pytest.mark.parametrize("case", EMPTY_CASES)
def test_empty_results_make_a_whole_page(case):
    diagnoses = EMPTY_CASES[case]()
    found = data_of(diagnoses)
    for diagnosis, one in zip(diagnoses, found["detectors"], strict=True):
        silent = not diagnosis.breakdown.counts.any()
        assert (one["breakdown"]["pooled"]["correct"] is None) is silent
        for entry in one["classes"]:
            assert len({len(column) for column in entry["curve"]}) == 1


def test_eighty_classes_and_three_detectors_with_long_names():
    names = [f"a class of several words {n} {'x' * 200}" for n in range(80)]
    truth = truth_of(images=80, classes=names)
    three = [detector(truth, f"detector with a long name {n}", seed=n) for n in range(3)]
    text = render_report(content(three))
    found = read(text)
    assert found["classes"] == names
    assert len(found["shown"]) > 500
    assert {(e["detector"], e["versus"]) for e in found["shown"] if e["side"] == "neither"} == {
        (1, 0), (2, 0), (2, 1)
    }  # fmt: skip
    assert len(text) < 1.5e6


def test_no_detector_and_other_images_are_errors(pair):
    with pytest.raises(InputError, match="no detector"):
        render_report(ReportContent([], {}))
    with pytest.raises(InputError, match="different images, classes or objects"):
        render_report(ReportContent([pair[0], detector(truth_of(images=3))], {}))


# ---- the page as such ----------------------------------------------------------------------------


def test_everything_is_in_the_page(text):
    addresses = re.findall(r"[\"'(]\w*://[^\"')]*", text)
    assert {address[1:] for address in addresses} <= {
        f"http://www.w3.org/{name}"
        for name in ("2000/svg", "1999/xhtml", "1999/xlink", "XML/1998/namespace", "2000/xmlns/")
    }  # names, not addresses: nothing is fetched
    assert not re.search(r"url\(|@import|fetch\(|XMLHttpRequest|<(iframe|object|embed|form|base)\b", text)
    assert not re.search(r'<[a-z]+[^>]* (src|on\w+)="', text[: text.index('<script type="application/json"')])


def test_security_policy_allows_this_script_alone(text):
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', text)[1]
    script = re.search(r"<script>(.*?)</script>", text, re.DOTALL)[1]
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in policy
    assert "default-src 'none'" in policy
    assert len(re.findall(r"<script", text)) == 2  # the data, and the script


def test_names_are_only_names(text, data, pair):
    assert EVIL not in text
    assert data["detectors"][1]["name"] == pair[1].name
    names = ["<b>", '"q" & r', "</script>", "a\nb", "犬" * 60]
    assert data_of([detector(truth_of(classes=names))])["classes"] == names


def test_the_same_content_gives_the_same_bytes(pair, text):
    assert render_report(content(pair)) == text


def test_page_is_written_in_one_step(tmp_path, pair):
    path = tmp_path / "report.html"
    path.write_text("before", encoding="utf-8")
    broken = dataclasses.replace(content(pair), numbers={})
    with pytest.raises(LookupError):
        write_report(broken, path)
    assert path.read_text(encoding="utf-8") == "before"
    assert write_report(content(pair), path) == path
    assert path.read_text(encoding="utf-8").endswith("</html>\n")
    assert [file.name for file in tmp_path.iterdir()] == ["report.html"]
    with pytest.raises(InputError, match="expected a folder to write to"):
        write_report(content(pair), tmp_path / "absent" / "report.html")


def test_assets_are_shipped_and_small(root):
    settings = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))
    assert settings["tool"]["setuptools"]["package-data"]["diagnosis.report"] == ["assets/*"]
    assets = {file.name: file for file in (resources.files("diagnosis.report") / "assets").iterdir()}
    assert set(assets) == {"d3.min.js", "page.html", "page.js", "style.css"}
    library = assets["d3.min.js"].read_text(encoding="utf-8")
    assert "ISC License" in library
    assert "npx esbuild" in library
    assert len(library) < 300_000


def test_contrast_of_text_and_of_detectors_is_enough():
    """WCAG AA: 4.5 for text on every ground it stands on, 3 for the parts of charts."""
    style = (resources.files("diagnosis.report") / "assets" / "style.css").read_text(encoding="utf-8")
    blocks = re.findall(r":root[^{]*\{([^}]*)\}", style)
    themes = [dict(re.findall(r"--([\w-]+): (#\w{6})", block)) for block in blocks[:2]]
    for theme in themes:
        for ground in ("page", "card", "hover"):
            for colour in ("ink", "quiet", "accent"):
                assert contrast(theme[colour], theme[ground]) >= 4.5, (colour, ground)
        for n in range(5):
            assert contrast(theme[f"d{n}"], theme["card"]) >= 3
            assert contrast(theme[f"d{n}"], theme["on-detector"]) >= 4.5


def contrast(one: str, other: str) -> float:
    def luminance(colour: str) -> float:
        parts = [int(colour[n : n + 2], 16) / 255 for n in (1, 3, 5)]
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


# ---- the numbers ---------------------------------------------------------------------------------


def test_the_numbers_of_the_json_are_in_the_page(data, pair):
    for diagnosis, one in zip(pair, data["detectors"], strict=True):
        numbers = to_json([diagnosis], {})["detectors"][0]
        for way in ("mean_over_classes", "pooled"):
            assert one["breakdown"][way] == pytest.approx(numbers["breakdown"][way], abs=1e-5)
        assert one["tide"]["counts"] == numbers["tide"]["counts"]
        for entry, wanted in zip(one["classes"], numbers["classes"].values(), strict=True):
            assert (entry["detections"], entry["counted"]) == (wanted["detections"], wanted["top"]["n"])
            assert entry["shares"] == pytest.approx([wanted["top"][k.name] for k in ERROR_TYPES], abs=1e-5)
            assert entry["ap"]["voc07"] == pytest.approx(wanted["ap"]["voc07"], abs=1e-5)
        matrix = np.zeros_like(diagnosis.confusion.counts)
        for row, column, count in one["matrix"]["cells"]:
            matrix[row, column] = count
        assert (matrix == diagnosis.confusion.counts).all()


def test_curves_are_thinned_and_hold_their_ends():
    truth = truth_of(images=400)
    one = detector(truth, extra=3000)
    curve = np.array(data_of([one], gallery=None)["detectors"][0]["curve"])
    assert 100 < curve.shape[1] <= 160
    assert (np.diff(curve[0]) < 0).all()
    assert (np.diff(curve[2]) >= 0).all()
    best = one.operating_points.overall
    f1 = 2 * curve[1] * curve[2] / np.maximum(curve[1] + curve[2], 1e-9)
    assert f1.max() == pytest.approx(best.f1, abs=0.01)


def test_gains_are_means_and_never_count_a_loss(data, pair):
    row = next(row for row in data["impact"][0]["rows"] if row["label"] == "localization corrected")
    scores = pair[0].impact.gains()[2]
    assert row["values"][0] == pytest.approx(np.nanmean(scores), abs=1e-5)
    assert all(value >= 0 for table in data["impact"] for row in table["rows"] for value in row["values"])


def test_legend_gives_the_threshold_used(pair):
    strict = diagnose(pair[0].truth, pair[0].detections, "strict", iou=0.75, coco=False)
    found = data_of([strict], gallery=None)
    assert "at least 0.75 with an object" in found["kinds"][0]["text"]
    assert found["facts"]["iou"] == 0.75


def test_sentences_or_the_statements_of_a_comparison(pair):
    """Where no script runs; else the page shows their numbers, and says nothing twice."""

    def said(**others):
        page = render_report(content(pair, gallery=None, **others))
        assert "statements" not in read(page)
        return [html.unescape(one) for one in re.findall(r"<li>(.*?)</li>", page)]

    assert said() == sentences(pair)
    assert said(statements=["It rises <by> 3, in /a/b/c."]) == [
        *sentences(pair)[:2],
        "It rises <by> 3, in …/c.",
    ]


@pytest.mark.parametrize(
    ("top", "words"),
    [(None, "op N detections per class (N"), ("2x", "op 2 × N "), ("all", "ll detections"), ("50", "op 50 ")],
)
def test_what_is_counted_is_said(pair, top, words):
    numbers = to_json(pair, {"options": {"top": top}})
    rules = dict(data_of(pair, numbers=numbers, gallery=None)["rules"])
    assert words in rules["The detections counted"]
    means = [d.breakdown.mean_over_classes() for d in pair]
    sums = [sum(round(100 * value, 1) for value in mean) for mean in means]  # as a reader would add them up
    assert f"here to {sums[0]:.1f} for plain, {sums[1]:.1f} for shuffled" in rules["Rounding"]


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ("/home/me/runs/out.json", "…/out.json"),
        ("--out=/tmp/x/y", "--out=…/y"),
        ("runs/out.json", "runs/out.json"),
        (r"C:\Users\me\found.csv", "…/found.csv"),
        ("Warning: /data/a b/truth.json: 1 object", "Warning: …/a b/truth.json: 1 object"),
        ("F1/recall 1/2", "F1/recall 1/2"),
    ],
)
def test_no_absolute_path_is_in_the_page(pair, given, shown):
    numbers = to_json(pair[:1], {"command": given, "options": {"nested": [given]}}, notes=[given])
    found = data_of(pair[:1], numbers=numbers, gallery=None)
    assert found["origin"] == {"command": shown, "options": {"nested": [shown]}}
    assert found["notes"] == [shown]


# ---- the gallery ---------------------------------------------------------------------------------


def of_side(diagnoses, side, **limits) -> list[dict]:
    limits = {"each": 50, "total": 10_000, **limits}
    return [one for one in collect(diagnoses, Gallery(**limits)).shown if one["side"] == side]


@pytest.mark.parametrize("each", [1, 2, 50])
def test_gallery_chooses_the_most_confident_errors_of_each_class_and_type(pair, each):
    one = pair[1]
    chosen = {(e["label"], e["kind"], e["score"]) for e in of_side([one], "errors", each=each)}
    wanted = set()
    for label in range(3):
        for kind in range(1, len(ERROR_TYPES)):
            ranked = one.matching.ranked(label).tolist()
            mine = [row for row in ranked if one.breakdown.counted_types[row] == kind]
            scores = one.detections.scores[mine[:each]].tolist()
            wanted |= {(label, ERROR_TYPES[kind].name, score) for score in scores}
    assert wanted
    assert wanted <= chosen


def test_missed_and_disagreements_are_those_of_the_flow(pair):
    silent = nothing_found(pair[0].truth)
    missed = of_side([pair[0], silent], "missed")
    assert sum(e["detector"] == 1 for e in missed) == int((~pair[0].matching.ignored).sum())
    result = flow(pair[0], pair[1])
    total = result.total()
    shown = collect(pair, Gallery(each=50, total=10_000))
    totals = {
        (pool.side, pool.detector, pool.versus): sum(number for *_, number in pool.totals)
        for pool in shown.pools
        if not pool.beyond
    }
    assert totals["only", 0, 1] == total[0, 1:].sum()
    assert totals["only", 1, 0] == total[1:, 0].sum()
    assert totals["neither", 1, 0] == total[1:, 1:].sum()
    for kind in ("localization", "similar", "other", "missed"):
        number = sum(e["kind"] == kind and e["detector"] == 0 for e in shown.shown if e["side"] == "only")
        assert number == len(result.moved("correct", kind))


def test_detectors_share_the_places(pair):
    shown = collect(pair, Gallery(each=0, most=40)).shown
    assert len(shown) == 40
    numbers = Counter(e["detector"] for e in shown if e["side"] == "errors")
    assert min(numbers.values()) >= 6  # of what each may have some is its own
    assert {e["side"] for e in shown} == {"errors", "missed", "only", "neither"}
    assert collect(pair, Gallery(total=0)).shown == []


def test_gallery_says_what_each_error_overlaps():
    objects = [
        (0, [0, 0, 20, 20]), (0, [70, 70, 90, 90]), (1, [30, 0, 50, 20]),
        (1, [30, 70, 50, 90]), (2, [0, 40, 20, 60]), (2, [70, 0, 80, 9]),
    ]  # fmt: skip
    found = [
        (0, 0.9, [0, 0, 20, 20]),  # correct
        (0, 0.8, [0, 0, 20, 16]),  # the same dog again
        (1, 0.9, [0, 40, 20, 60]),  # a bus taken for a cat
        (1, 0.8, [30, 4, 70, 20]),  # a cat badly placed
        (2, 0.9, [31, 71, 50, 90]),  # a cat taken for a bus
        (2, 0.8, [60, 40, 65, 45]),  # nothing
        (2, 0.1, [70, 0, 80, 8]),  # a bus found, but beyond the top
    ]
    one = diagnose(*one_image(objects, found, ["dog", "cat", "bus"]), coco=False)
    assert {(e["label"], e["kind"]): e["words"] for e in of_side([one], "errors")} == {
        (0, "localization"): "IoU 0.80, but found before",
        (1, "other"): "truth: bus, IoU 1.00",
        (1, "localization"): "IoU 0.44",
        (2, "other"): "truth: cat, IoU 0.90",
        (2, "background"): "touches no object",
    }
    assert {(e["label"], e["words"]) for e in of_side([one], "missed")} == {
        (0, "no detection touches it"),
        (1, "not found at scores of 0.10 and more; below: localization"),  # in the matrix, each box has one
        (2, "nearest: bus 0.10, IoU 0.89, not counted"),
    }


def test_a_missed_object_beside_a_detection_that_counts_for_another():
    """Two dogs side by side: the surer detection lies on the first and overlaps the second too."""
    objects = [(0, [10, 10, 40, 40]), (0, [22, 10, 52, 40]), (0, [60, 60, 90, 90])]
    found = [(0, 0.7, [12, 10, 42, 40]), (0, 0.5, [60, 60, 90, 90])]
    (missed,) = of_side([diagnose(*one_image(objects, found, ["dog"]), coco=False)], "missed")
    assert missed["words"] == "nearest: dog 0.70, IoU 0.50, counted for another object (correct)"


def test_pictures_are_small_parts_with_their_boxes_inside(pair):
    shown = collect(pair, Gallery(pixels=64)).shown
    assert {e["side"] for e in shown} == {"errors", "missed", "only", "neither"}
    for example in shown:
        picture = Image.open(io.BytesIO(base64.b64decode(example["photo"].split(",")[1])))
        assert picture.format == "JPEG"
        assert max(picture.size) <= 64
        width, height = example["size"]
        assert max(width, height) == 64
        assert picture.width / picture.height == pytest.approx(width / height, abs=0.06)
        about = [frame for frame in example["frames"] if frame[4] in ("found", "wanted")]
        assert about
        for left, top, across, down, *_ in about:
            assert min(left, top) >= 0
            assert left + across <= width + 0.2
            assert top + down <= height + 0.2


def test_a_part_holds_its_boxes_and_stays_in_the_image():
    rng = np.random.default_rng(0)
    for _ in range(300):
        size = rng.integers(1, 600, 2).astype(float)
        corners = rng.random((2, 2)) * size
        box = np.concatenate([corners.min(axis=0), corners.max(axis=0)])
        part = part_around([box], size)
        edges = np.stack([np.zeros(2), part[:2], box[:2], box[2:], part[2:], size])
        assert (np.diff(edges, axis=0) >= 0).all()
        assert (part[2:] > part[:2]).all()


@pytest.mark.parametrize("fault", ["absent", "damaged", "another size"])
def test_photographs_that_cannot_be_read_are_done_without(tmp_path, photographs, fault):
    bad = tmp_path / "bad.png"
    if fault == "damaged":
        bad.write_bytes(b"no image")
    elif fault == "another size":
        Image.new("RGB", (7, 5)).save(bad)
    found = data_of([detector(truth_of(files=[str(bad), *photographs[1:]]), jitter=9.0)])
    assert {one["image"] for one in found["shown"] if not one["photo"]} == {"image0"}
    assert any(one["photo"] for one in found["shown"])
    assert len(found["unread"]) == 1
    assert found["unread"][0].startswith("image0: ")


def test_without_photographs_boxes_stand_on_the_shape_of_the_image():
    found = data_of([detector(truth_of(files=[]))])
    assert not found["facts"]["photographs"]
    assert {tuple(one["size"]) for one in found["shown"]} == {(1000, 750)}
    none = data_of([detector(truth_of())], gallery=None)
    assert (none["unread"], none["shown"]) == (None, [])


def size_of(shown) -> int:
    """Bytes of the photographs in the page, of which several examples may share one."""
    return sum(map(len, {one["photo"] for one in shown}))


def test_photographs_keep_within_their_megabytes(pair):
    whole = collect(pair, Gallery()).shown
    size = size_of(whole)
    assert size < sum(len(one["photo"]) for one in whole)  # one serves several boxes
    part = collect(pair, Gallery(megabytes=size / 2e6)).shown
    assert 0 < size_of(part) <= size / 2
    assert len(part) == len(whole)
    assert any(one["photo"] for one in part)
    assert collect(pair, Gallery(megabytes=size / 1e6)).shown == whole
    assert not any(one["photo"] for one in collect(pair, Gallery(megabytes=0.0)).shown)


@pytest.mark.parametrize("most", [30, 100, 10_000])
def test_what_is_left_out_is_the_least_confident(most):
    """And the first of each bar is there, whatever its score."""
    truth = truth_of(images=40)
    both = [detector(truth, "a"), detector(truth, "b", jitter=9.0, seed=2)]
    found = collect(both, Gallery(each=1, most=most))
    for number, (pool, cut) in enumerate(zip(found.pools, found.cuts, strict=True)):
        mine = [one for one in found.shown if one["pool"] == number]
        first = [one["score"] for one in mine if not one["extra"]]
        assert first == pool.scores[: len(first)].tolist() == sorted(first, reverse=True)
        assert cut == (None if len(first) == len(pool.rows) else pool.scores[len(first)])
        assert all(one["score"] <= cut for one in mine if one["extra"])
        assert sum(total for *_, total in pool.totals) == (0 if pool.beyond else len(pool.rows))
        if pool.side == "errors" and not pool.beyond:
            bars = {(one["label"], one["kind"]) for one in mine}
            assert bars == {(label, kind) for label, kind, *_ in pool.totals}
    assert sum(not one["extra"] for one in found.shown) <= most
    assert any(cut is not None for cut in found.cuts) == (most < 10_000)


def test_a_picture_is_of_the_object_that_the_analysis_names():
    """Though the detection overlaps one of another class more, with which the confusion matrix pairs it."""
    objects = [(0, [0, 0, 50, 100]), (1, [60, 0, 110, 100])]
    records = one_image(objects, [(0, 0.9, [20, 0, 105, 100])], ["person", "chair"], size=200)
    one = diagnose(*records, coco=False)
    assert one.confusion.partners.tolist() == [1]
    (error,) = of_side([one], "errors")
    assert error["kind"] == "localization"
    assert error["words"] == "IoU 0.29; in the confusion matrix: chair, IoU 0.50"
    assert one.referenced_objects.object_rows.tolist() == [0]
    assert [tuple(frame[4:6]) for frame in error["frames"]] == [("wanted", 0), ("wanted", 1), ("found", 0)]


def test_every_error_of_tide_has_its_type_and_its_picture():
    truth = truth_of(images=40)
    one = detector(truth, jitter=9.0, extra=60)
    shown = of_side([one], "errors") + of_side([one], "missed")
    numbers = Counter(TIDE_ERRORS[example["tide"]].name for example in shown if example["tide"] >= 0)
    assert numbers == Counter({name: number for name, number in one.tide.counts.items() if number})
    assert len(numbers) >= 5


def test_every_bar_cell_and_ribbon_has_an_example(pair):
    """Also of what the top N leave out, and where there is room for few photographs."""
    examples = collect(pair, Gallery(each=1, total=5)).shown
    assert len({one["photo"] for one in examples if one["photo"]}) == 5
    assert any(not one["photo"] for one in examples)
    errors = [one for one in examples if one["side"] == "errors"]
    few = [diagnose(one.truth, one.detections, one.name, top=1, coco=False) for one in pair]
    for diagnoses, shown in ((pair, errors), (few, of_side(few, "errors", each=1))):
        for detector, one in enumerate(diagnoses):
            mine = [found for found in shown if found["detector"] == detector]
            bars = {(found["label"], found["kind"]) for found in mine}
            for label, kind in np.argwhere(one.breakdown.counts[:, 1:] > 0).tolist():
                assert (label, ERROR_TYPES[kind + 1].name) in bars
            missed = [e for e in of_side(diagnoses, "missed", each=1) if e["detector"] == detector]
            lost = {(found["label"], found["cell"]) for found in missed}
            cells = {(found["cell"], found["label"]) for found in mine} | lost
            for row, column in np.argwhere(one.confusion.counts > 0).tolist():
                assert row == column or (row, column) in cells
    assert any(one["words"].endswith("not counted") for one in of_side(few, "errors", each=1))
    ribbons = {(one["kind"], one["before"]) for one in examples if one["side"] == "neither"}
    total = flow(*pair).total()
    assert len(ribbons) == np.count_nonzero(total[1:, 1:]) > 2


# ---- intervals -----------------------------------------------------------------------------------


def sampled(diagnoses, groups=None) -> dict:
    comparison = compare(diagnoses, replicates=4, groups=groups)
    numbers = to_json(diagnoses, {}, comparison_to_json(comparison), intervals_to_json(comparison))
    return data_of(diagnoses, numbers=numbers, gallery=None)


def test_intervals_and_differences_and_their_names():
    truth = truth_of(images=60)
    found = sampled([detector(truth, "a"), detector(truth, "b", seed=2)])
    (entry,) = found["comparison"]
    assert (entry["a"], entry["b"], entry["images"], entry["replicates"]) == ("a", "b", 60, 4)
    keys = {f"{s}/{q}" for s in found["sections"] for q in entry.get(s, ())}
    assert keys
    assert set(found["quantities"]) >= keys
    assert found["quantities"]["map/voc07"]["name"] == "AP (VOC07)"
    assert set(entry["classes"]["dog"]) <= {"ap", "localization"}
    assert len(entry["classes"]["dog"]["localization"]) == 4
    assert sampled([detector(truth)])["comparison"] == []


def test_runs_taken_together_are_named_with_their_spread():
    truth = truth_of(images=60)
    runs = [detector(truth, f"run {n}", seed=n) for n in range(4)]
    found = sampled(runs, {"plain": ["run 0", "run 1"], "shuffled": ["run 2", "run 3"]})["intervals"]
    assert [(one["name"], one["runs"]) for one in found] == [
        ("plain", ["run 0", "run 1"]), ("shuffled", ["run 2", "run 3"]),
    ]  # fmt: skip
    assert found[0]["share"]["correct"]["runs_deviation"] > 0


@pytest.mark.parametrize(("images", "words"), [(6, "Only 6 images"), (1, "Only 1 image:"), (49, "Only 49")])
def test_few_images_are_warned_of(images, words):
    found = sampled([detector(truth_of(images=images))])["doubt"]
    assert words in found
    assert "the intervals are rough" in found


def test_classes_that_few_images_show_are_named():
    images, classes = 120, ("dog", "cat", "rare", "difficult", "absent")
    labels = np.array([0, 1] * 60 + [2] * 3 + [3] * 3)
    image = np.concatenate([np.arange(120), [0, 0, 1, 0, 1, 2]])
    boxes = np.tile([[0.0, 0, 50, 50]], (len(labels), 1))
    truth = GroundTruth([f"{n}" for n in range(images)], classes, [[99, 99]] * images, image, labels, boxes,
                        labels == 3)  # fmt: skip
    one = diagnose(truth, Detections(truth.images, classes, image, labels, labels + 1.0, boxes), coco=False)
    assert "1 class has objects in fewer than 50 images: rare (2)." in sampled([one])["doubt"]
    assert data_of([one], gallery=None)["doubt"] == ""
    assert sampled([detector(truth_of(images=100))])["doubt"] == ""


def test_the_worst_classes_have_a_photograph_each_however_few_there_are(monkeypatch, photographs):
    truth = truth_of(60, [f"class {number}" for number in range(40)], files=photographs * 10)
    pair = [detector(truth, "a", similar=()), detector(truth, "b", jitter=8.0, seed=2, similar=())]
    worst, few = worst_classes(*pair), Gallery(total=12)
    assert worst != worst_classes(pair[0])  # of the mean of both

    def shown() -> set[int]:
        return {one["label"] for one in collect(pair, few).shown if one["side"] == "errors" and one["photo"]}

    assert set(worst) <= shown()
    others = sorted(set(range(40)) - shown())[:3]
    monkeypatch.setattr("diagnosis.report.gallery.worst_classes", lambda *_: others)
    assert set(others) <= shown()


def test_a_worst_class_names_what_costs_it_most():
    """Of 30 dogs 6 are found, and one detection in seven is on background: most of it is missed objects."""
    images = [f"{n}" for n in range(30)]
    truth = GroundTruth(images, ["dog"], [[90, 90]] * 30, range(30), [0] * 30, [[10, 10, 30, 30]] * 30)
    boxes = [[10, 10, 30, 30]] * 6 + [[60, 60, 80, 80]]
    scores = [0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.85]
    found = Detections(images, ["dog"], range(7), [0] * 7, scores, boxes)
    both = [diagnose(truth, found, "a"), diagnose(truth, found, "b")]
    cost = both[0].tide.class_dap["miss"][0]
    assert data_of(both)["costliest"] == {"0": ["miss", pytest.approx(cost, abs=1e-4)]}
