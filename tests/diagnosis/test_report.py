"""The web page: all numbers are on it, nothing is fetched, names are only names, nothing empty breaks it."""

import base64
import copy
import dataclasses
import hashlib
import io
import itertools
import re
import tomllib
from collections import Counter
from html.parser import HTMLParser
from importlib import resources

import numpy as np
import pytest
from PIL import Image

from data.records import Detections, GroundTruth, InputError
from diagnosis.breakdown import ERROR_TYPES
from diagnosis.compare import compare
from diagnosis.impact import IMPACT_VARIANTS
from diagnosis.record import Diagnosis, diagnose
from diagnosis.report import (
    SECTIONS,
    Gallery,
    PageFigure,
    PageTable,
    ReportContent,
    render_report,
    write_report,
)
from diagnosis.report.gallery import choose, collect, part_around
from diagnosis.tide import DAP_COLUMNS, TIDE_ERRORS
from diagnosis.to_json import comparison_to_json, intervals_to_json, to_json
from diagnosis.words import sentences

VOID = {"meta", "link", "input", "img", "br", "hr"}
EVIL = '<script>alert("1")</script> & $x_2$'
SIZE = (120, 90)
SVG = (
    '<?xml version="1.0"?>\n<!DOCTYPE svg PUBLIC "-//W3C//DTD SVG 1.1//EN" "http://www.w3.org/svg11.dtd">\n'
    '<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9">\n <metadata>made by http://example.org'
    '</metadata><rect width="9" height="9"/></svg>'
)


class Page(HTMLParser):
    """The elements of a page: (tag, attributes, text within), and what is wrong with their nesting."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None], list[str]]] = []
        self.open: list[tuple[str, int]] = []
        self.faults: list[str] = []
        self.feed(text)
        self.close()
        self.faults += [f"<{tag}> is not closed" for tag, _ in self.open]

    def handle_starttag(self, tag, attrs):
        self.handle_data(" ")
        self.elements.append((tag, dict(attrs), []))
        if tag not in VOID:
            self.open.append((tag, len(self.elements) - 1))

    def handle_startendtag(self, tag, attrs):
        self.elements.append((tag, dict(attrs), []))

    def handle_endtag(self, tag):
        self.handle_data(" ")
        if not self.open or self.open[-1][0] != tag:
            self.faults.append(f"</{tag}> closes {self.open[-1:]}")
        else:
            self.open.pop()

    def handle_data(self, data):
        for _, index in self.open:
            self.elements[index][2].append(data)

    def find(self, tag: str, **attributes: str) -> list[tuple[dict[str, str | None], str]]:
        """Attributes and text of the elements of a kind; `class_` is one of its classes."""
        wanted = {name.rstrip("_").replace("_", "-"): value for name, value in attributes.items()}
        return [
            (has, " ".join("".join(parts).split()))
            for name, has, parts in self.elements
            if name == tag
            and all(
                value in (has.get(key) or "").split() if key == "class" else has.get(key) == value
                for key, value in wanted.items()
            )
        ]

    def text(self, tag: str, **attributes: str) -> str:
        """Text of the first element of a kind."""
        return self.find(tag, **attributes)[0][1]

    def texts(self, tag: str, **attributes: str) -> list[str]:
        return [text for _, text in self.find(tag, **attributes)]


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


def page_of(diagnoses, **others) -> Page:
    return Page(render_report(content(diagnoses, **others)))


def percent(fraction) -> str:
    """As the page prints shares; none of these is so small that it would print <0.1."""
    return "–" if fraction is None or np.isnan(fraction) else f"{100 * fraction:.1f}"


def rich(diagnoses) -> dict:
    """A diagnosis.json with everything in it, of made-up numbers."""
    origin = {"command": "python -m diagnosis", "options": {"ground_truth": "VOC2007:test"}}
    numbers = to_json(diagnoses, origin)
    for one in numbers["detectors"]:
        for entry in one["classes"].values():
            ap, apn = ((entry["ap"][kind] or 0) for kind in ("hoiem", "normalized"))
            entry["impact"] = {each.name: {"ap": ap + 0.0625, "apn": apn + 0.125} for each in IMPACT_VARIANTS}
            entry["characteristics"] = {
                "area": [{"bin": name, "objects": 9, "ap": 0.5, "apn": 0.4375} for name in ("XS", "S", "M")],
                "truncated": [
                    {"bin": "0", "objects": 8, "ap": 0.5, "apn": 0.5},
                    {"bin": "1", "objects": 2, "ap": None, "apn": None, "reason": "no such object"},
                ],
            }
        one["bins"] = {"area": {}, "truncated": {}}
        one["tide"] = {
            "ap75": 0.671875, "iou": 0.75, "background": 0.1,
            "dap": {kind: n / 64 for n, kind in enumerate(DAP_COLUMNS)},
            "counts": {kind: 1000 + n for n, kind in enumerate(DAP_COLUMNS[:6])},
        }  # fmt: skip
    gap = {"difference": 0.142, "low": 0.129, "high": 0.156, "p": 0.002}
    none = dict.fromkeys(gap) | {"reason": "not computed"}
    numbers["comparison"] = [{
        "a": diagnoses[0].name, "b": diagnoses[-1].name, "images": 6, "replicates": 1000, "level": 0.95,
        "share": {"localization": gap, "correct": {**gap, "low": -0.01}},
        "map": {"voc07": gap, "coco": none},
        "classes": {"dog": {"share": {"localization": gap}}},
    }]  # fmt: skip
    value = {"value": 0.5, "low": 0.4, "high": 0.625, "error": 0.01}
    quantities = {"share": {"correct": value}, "impact": {"fix_localization": value}, "dap": {"cls": value}}
    setting = {"level": 0.9, "replicates": 9, "images": 6}
    numbers["intervals"] = [{"name": d.name, "runs": [d.name], **setting, **quantities} for d in diagnoses]
    return numbers


@pytest.fixture(scope="module")
def photographs(tmp_path_factory) -> list[str]:
    folder = tmp_path_factory.mktemp("photographs")
    files = []
    for n in range(6):
        pixels = np.random.default_rng(n).integers(0, 255, (SIZE[1], SIZE[0], 3), dtype=np.uint8)
        files.append(str(folder / f"image{n}.png"))
        Image.fromarray(pixels).save(files[-1])
    return files


@pytest.fixture(scope="module")
def pair(photographs) -> list[Diagnosis]:
    truth = truth_of(files=photographs)
    return [detector(truth, "plain"), detector(truth, f"shuffled {EVIL}", jitter=9.0, seed=2)]


@pytest.fixture(scope="module")
def numbers(pair) -> dict:
    """Made up; copied where a test changes them."""
    return rich(pair)


@pytest.fixture(scope="module")
def full_content(pair, numbers) -> ReportContent:
    figures = [PageFigure(f"Figure {key}", f"Caption {key}", SVG, key) for key in SECTIONS]
    tables = [
        PageTable("Flow <of> objects", ("from", "N", "share"), (("a<b", 7, 0.25), (None, None, None))),
        PageTable("T", ("name", "value"), (("a", 1.25), ("b", None), ("c", float("nan"))), decimals=2),
    ]
    return content(pair, numbers=numbers, figures=figures, tables=tables, statements=["It rises <by> 3."])


@pytest.fixture(scope="module")
def full_text(full_content) -> str:
    return render_report(full_content)


@pytest.fixture(scope="module")
def full(full_text) -> Page:
    """The page of everything that can be given."""
    return Page(full_text)


@pytest.fixture(scope="module")
def plain(pair) -> Page:
    """The page of the diagnoses alone."""
    return page_of(pair)


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
    page = page_of(diagnoses)
    assert page.faults == []
    assert len(page.find("h1")) == 1
    silent = [not one.breakdown.counts.any() for one in diagnoses]
    assert ["No detection counts" in card for card in page.texts("article")] == silent
    assert len(page.find("svg", class_="pie")) == silent.count(False)
    if all(silent):
        assert "No error among the detections counted" in page.text("section", id="gallery")


def test_eighty_classes_and_three_detectors_with_long_names():
    names = [f"a class of several words {n}" for n in range(80)]
    truth = truth_of(images=80, classes=names)
    three = [detector(truth, f"detector with a long name {n}", seed=n) for n in range(3)]
    text = render_report(content(three, numbers=rich(three)))
    page = Page(text)
    assert page.faults == []
    assert all(name in text for name in (*names, *(one.name for one in three)))
    assert 0 < len(page.find("figure", class_="shot")) <= Gallery().total
    assert len(text) < 3e6


def test_no_detector_and_other_images_are_errors(pair):
    with pytest.raises(InputError, match="0 detectors"):
        render_report(ReportContent([], {}))
    with pytest.raises(InputError, match="different classes or images"):
        render_report(ReportContent([pair[0], detector(truth_of(images=3))], {}))


# ---- the page as such ----------------------------------------------------------------------------


def test_markup_is_sound(full):
    assert full.faults == []
    assert full.find("html")[0][0]["lang"] == "en"
    identifiers = Counter(has["id"] for _, has, _ in full.elements if "id" in has)
    assert not [name for name, times in identifiers.items() if times > 1]
    for _, has, _ in full.elements:
        for reference in (has.get("aria-labelledby"), (has.get("href") or "")[1:]):
            assert not reference or (has.get("href") or "#")[0] != "#" or reference in identifiers
    levels = [int(tag[1]) for tag, _, _ in full.elements if re.fullmatch("h[1-6]", tag)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after <= before + 1 for before, after in itertools.pairwise(levels))
    for tag, has, _ in full.elements:
        assert tag != "img" or has.get("alt")
        assert tag != "svg" or has.get("aria-hidden") == "true" or (has.get("role") and has.get("aria-label"))
        assert tag != "button" or has.get("type") == "button"


def test_everything_is_in_the_page(full, full_text):
    for tag, has, _ in full.elements:
        for name in ("src", "href", "srcset", "action", "data", "poster", "xlink:href"):
            value = has.get(name)
            assert value is None or value.startswith(("data:", "#")), (tag, name, value)
        assert tag not in ("iframe", "object", "embed", "form", "base")
        assert not [name for name in has if name.startswith("on")]
    assert "://" not in full_text
    assert not re.search(r"url\(|@import", full.text("style"))
    ((_, script),) = [(has, text) for has, text in full.find("script")]
    assert "fetch(" not in script
    assert "XMLHttpRequest" not in script


def test_security_policy_allows_this_script_alone(full_text):
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', full_text)[1]
    script = re.search(r"<script>(.*?)</script>", full_text, re.DOTALL)[1]
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in policy
    assert "default-src 'none'" in policy


def test_figures_are_images_without_their_prologue(full):
    figures = [has["src"] for has, _ in full.find("img")]
    assert len(figures) == len(SECTIONS)
    for address in figures:
        svg = base64.b64decode(address.removeprefix("data:image/svg+xml;base64,")).decode()
        assert svg.startswith("<svg ")
        assert "<rect" in svg
        assert "example.org" not in svg


def test_figures_by_width_and_by_title(pair):
    """Narrow ones side by side; what bears a title itself is named once to the eye."""
    svgs = [SVG.replace('width="9"', f'width="{width}pt"') for width in ("431.9", "700")]
    figures = [PageFigure(svg, "", svg, "trends") for svg in (*svgs, SVG)]
    figures += [PageFigure("Seen", "Below.", SVG, titled=False), PageFigure("Drawn", "Below.", SVG)]
    page = page_of(pair, figures=figures, gallery=None)
    kinds = [has["class"] for has, _ in page.find("figure", class_="drawn")]
    assert kinds == ["drawn half", *["drawn"] * 4]
    captions = {text: has.get("class") for has, text in page.find("figcaption")}
    assert (captions["Seen"], captions["Drawn"]) == (None, "hidden-words")
    assert "Drawn. Below." in [has["alt"] for has, _ in page.find("img")]


def test_names_are_escaped(full, full_text, pair):
    assert len(full.find("script")) == 1
    assert EVIL not in full_text
    assert full.find("h3")[1][1] == f"B {pair[1].name}"
    assert any(has.get("value") == "classes-1" and EVIL in text for has, text in full.find("option"))
    assert "It rises <by> 3." in full.texts("li")
    assert "a<b 7 0.2" in full.texts("tr")


def test_names_of_classes_are_escaped():
    names = ["<b>", '"q" & r', "$x$"]
    page = page_of([detector(truth_of(classes=names))])
    assert set(names) <= set(page.texts("th", scope="row"))
    assert page.faults == []


def test_the_same_content_gives_the_same_bytes(full_content, full_text):
    assert render_report(full_content) == full_text


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


def test_assets_are_shipped(root):
    settings = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))
    assert settings["tool"]["setuptools"]["package-data"]["diagnosis.report"] == ["assets/*"]
    assets = {file.name for file in (resources.files("diagnosis.report") / "assets").iterdir()}
    assert assets == {"blocks.html", "gallery.html", "page.html", "script.js", "style.css"}
    assert any(line.startswith("jinja2") for line in settings["project"]["dependencies"])


def test_contrast_of_text_is_enough():
    """WCAG AA: 4.5 for text on every ground it stands on, 3 for the parts of charts."""
    style = (resources.files("diagnosis.report") / "assets" / "style.css").read_text(encoding="utf-8")
    themes = [
        dict(re.findall(r"--(\w+): (#\w{6})", block)) for block in re.findall(r":root[^{]*\{([^}]*)\}", style)
    ]
    themes = [theme for theme in themes if "ink" in theme]
    assert len(themes) == 3
    assert themes[1] == themes[2]
    for theme in themes[:2]:
        for ground in ("page", "card", "hover"):
            for text in ("ink", "quiet", "accent"):
                assert contrast(theme[text], theme[ground]) >= 4.5, (text, ground)
        assert contrast(theme["bar"], theme["card"]) >= 3


def contrast(one: str, other: str) -> float:
    def luminance(colour: str) -> float:
        parts = [int(colour[n : n + 2], 16) / 255 for n in (1, 3, 5)]
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


# ---- the numbers ---------------------------------------------------------------------------------


def test_all_numbers_of_the_classes_are_in_their_rows(full, numbers):
    rows = full.texts("tr")
    for one in numbers["detectors"]:
        for name, entry in one["classes"].items():
            counts = [entry["objects"], entry["detections"], entry["top"]["n"]]
            shares = [percent(entry["top"][kind.name]) for kind in ERROR_TYPES]
            scores = [percent(score) for kind, score in entry["ap"].items() if kind != "reason"]
            assert " ".join([name, *map(str, counts), *shares, *scores]) in rows


def test_shares_and_scores_of_the_detectors_are_shown(full, numbers):
    for one, card in zip(numbers["detectors"], full.texts("article"), strict=True):
        for kind in ERROR_TYPES:
            ways = (one["breakdown"][way][kind.name] for way in ("mean_over_classes", "pooled"))
            assert " ".join([kind.name, *map(percent, ways)]) in card
        scores = [percent(score) for kind, score in one["map"].items() if kind != "reason"]
        assert " ".join([one["name"], *scores]) in full.texts("tr")


def test_side_by_side_tables_give_the_difference(pair, plain):
    ours, theirs = (d.breakdown.shares[0, 0] for d in pair)
    gap = f"{100 * (theirs - ours):+.1f}".replace("-", "−")
    row = f"dog {pair[0].breakdown.objects[0]} {percent(ours)} {percent(theirs)} {gap}"
    assert row in plain.texts("tr")


def test_pie_and_bars_show_the_shares(pair):
    page = page_of(pair[:1], gallery=None)
    shares = pair[0].breakdown.mean_over_classes()
    told = [f"{k.name} {100 * s:.1f} %" for k, s in zip(ERROR_TYPES, shares, strict=True) if s > 0]
    assert page.texts("title")[1 : len(told) + 1] == told
    parts = [has for has, _ in page.find("rect", class_="k") if has["height"] == "100%"]
    total = sum(float(has["width"].rstrip("%")) for has in parts)
    assert total == pytest.approx(200, abs=0.02)  # the mean over classes, and pooled
    labels = {f"{100 * share:.0f}" for share in shares if share >= 0.06}
    assert labels <= set(page.text("svg", class_="pie").split())


def test_legend_explains_each_type_with_a_picture(full):
    entries = full.find("div", class_="legend-entry")
    assert len(entries) == len(ERROR_TYPES)
    for kind, (_, text) in zip(ERROR_TYPES, entries, strict=True):
        assert f"{kind.name} {kind.explanation.removesuffix(chr(46))}" in text


def test_legend_gives_the_threshold_used(pair):
    strict = diagnose(pair[0].truth, pair[0].detections, "strict", iou=0.75, coco=False)
    page = page_of([strict], gallery=None)
    assert "at least 0.75 with an object" in page.text("div", class_="legend-entry")
    assert "IoU 0.75" in page.text("dl", class_="facts")


def test_sentences_or_the_statements_of_a_comparison(pair, full, plain):
    assert set(sentences(pair)) <= set(plain.texts("li"))
    told = full.texts("li")
    assert sentences(pair[:1])[0] in told
    assert not [text for text in told if text.startswith("Localization errors:")]


@pytest.mark.parametrize(
    ("top", "words"),
    [(None, "top N detections per class (N"), ("2x", "top 2 × N "), ("all", "all"), ("50", "top 50 ")],
)
def test_what_is_counted_is_said(pair, numbers, top, words):
    page = page_of(pair, numbers=numbers | {"provenance": {"options": {"top": top}}}, gallery=None)
    assert f"Counted {words}" in page.text("dl", class_="facts")
    rules = page.text("dl", class_="rules")
    assert words[1:] in rules
    means = [d.breakdown.mean_over_classes() for d in pair]
    sums = [sum(round(100 * value, 1) for value in mean) for mean in means]  # as a reader would add them up
    assert f"here to {sums[0]:.1f} for plain, {sums[1]:.1f} for shuffled" in rules


def test_absent_numbers_have_a_reason_and_the_page_an_origin(pair, full):
    page = page_of([nothing_found(pair[0].truth)])
    reasons = {has.get("title") for has, text in page.find("td") if text == "–"}
    assert "no detection of this class" in reasons
    assert "python -m diagnosis" in full.text("details", id="origin")


# ---- sections ------------------------------------------------------------------------------------


def test_sections_are_there_where_something_is_given(full, plain):
    assert [has["id"] for has, _ in full.find("section") if has["id"] in SECTIONS] == list(SECTIONS)
    shown = [has["id"] for has, _ in plain.find("section") if has["id"] in SECTIONS]
    assert shown == ["impact", "tide"]  # which every diagnosis has
    links = {has["href"] for has, _ in plain.find("a")}
    assert links & {f"#{key}" for key in SECTIONS} == {"#impact", "#tide"}
    assert {"#summary", "#types", "#classes", "#gallery", "#counting"} <= links


def test_impact_is_the_mean_gain(full):
    text = full.text("section", id="impact")
    assert "localization removed A +6.2 B +6.2" in text
    assert "all but background removed A +12.5 B +12.5" in text


def test_impact_never_counts_a_loss(pair, numbers):
    one = copy.deepcopy(numbers["detectors"][0])
    for n, entry in enumerate(one["classes"].values()):
        after = {"ap": entry["ap"]["hoiem"] + (0.3 if n == 0 else -0.1), "apn": None}
        entry["impact"] = {variant.name: after for variant in IMPACT_VARIANTS}
    alone = numbers | {"detectors": [one], "intervals": [], "comparison": []}
    text = page_of(pair[:1], numbers=alone).text("section", id="impact")
    assert "localization corrected +10.0" in text  # 0.3 and two losses, over three classes
    assert "normalised" not in text


def test_characteristics_leave_out_small_bins(full):
    text = full.text("section", id="characteristics")
    assert "plain, M: 43.8 %" in text
    assert "plain, no: 50.0 %" in text
    assert "plain, yes" not in text  # two objects only
    assert "dog 9 43.8 43.8 9 43.8 43.8 9 43.8 43.8" in full.texts("tr")


def test_many_characteristics_become_a_table(pair, numbers):
    numbers = copy.deepcopy(numbers)
    for one in numbers["detectors"]:
        for entry in one["classes"].values():
            bins = [{"bin": b, "objects": 6, "ap": 0.1, "apn": 0.25} for b in ("0", "1")]
            entry["characteristics"] |= {f"part.leg{n}": bins for n in range(20)}
        one["bins"] = dict.fromkeys(entry["characteristics"])
    page = page_of(pair, numbers=numbers)
    assert len(page.find("div", class_="panel")) == 2
    assert "part: leg7 yes 3 18 25.0 25.0" in page.texts("tr")


def test_tide_has_the_colours_of_its_figures(full, full_text):
    bars_ = [has["class"].split()[-1] for has, _ in full.find("rect", class_="bar") if "k-" in has["class"]]
    for kind in TIDE_ERRORS:
        name = {"cls": "other", "loc": "localization", "bkg": "background"}.get(kind.name, kind.name)
        assert f"k-{name}" in bars_
        assert re.search(rf"\.k-{name} {{ --kind: {kind.colour};", full_text)


def test_tide_has_gains_and_counts(full):
    assert (
        "wrong place The right class in the wrong place: an overlap of 0.1 to 0.75. 1.6 1,001 1.6 1,001"
        in full.texts("tr")
    )
    text = full.text("section", id="tide")
    assert "all missed objects A +10.9 B +10.9" in text
    assert "A 67.2 %; B 67.2 %" in text


def test_comparison_has_intervals(full):
    text = full.text("section", id="comparison")
    assert "localization +14.2 [+12.9, +15.6] p = 0.002" in text
    assert "1,000 resamples of 6 images" in text
    differs = full.texts("div", class_="differs")
    assert any("localization" in row for row in differs)
    assert not any("correct" in row for row in differs)  # its interval holds zero
    absent = "Mean average precision COCO, IoU 0.50 to 0.95 – – – –"
    assert any(row.startswith(absent) for row in full.texts("tr"))


def test_intervals_of_each_detector_are_listed(full):
    cells = "50.0 [40.0, 62.5] 50.0 [40.0, 62.5]"
    for named in (
        "Shares of the detections counted (mean over classes) correct",
        "Gain in average precision (Hoiem) localization corrected",
        "Gain in average precision (TIDE's dAP) wrong class",
    ):
        assert f"{named} {cells}" in full.texts("tr")


def test_a_table_keeps_absent_and_unequal_values(full):
    assert {"a 1.25", "b –", "c –"} <= set(full.texts("tr"))


# ---- the gallery ---------------------------------------------------------------------------------


@pytest.mark.parametrize("each", [1, 2, 50])
def test_gallery_chooses_the_surest_errors_of_each_class_and_type(pair, each):
    one = pair[1]
    chosen = choose(one, each, 10_000).tolist()
    expected = []
    for label in range(3):
        for kind in range(1, len(ERROR_TYPES)):
            mine = [
                row for row in one.matching.ranked(label).tolist() if one.breakdown.counted_types[row] == kind
            ]
            expected += mine[:each]
    assert chosen == expected
    assert expected


def test_gallery_shares_its_places_out_evenly(pair):
    both = collect(pair, Gallery(each=50, total=6))
    assert Counter(example.detector for example in both.shown) == {0: 3, 1: 3}
    assert collect(pair, Gallery(each=50, total=1)).shown == ()
    groups = [(example.label, example.kind) for example in both.shown if example.detector == 1]
    assert len(set(groups)) == 3  # the surest of three groups before the second of any


def test_gallery_says_what_each_error_overlaps():
    truth = GroundTruth(
        ["a"], ["dog", "cat", "bus"], [[100, 100]], [0] * 6, [0, 0, 1, 1, 2, 2],
        [
            [0, 0, 20, 20], [70, 70, 90, 90], [30, 0, 50, 20],
            [30, 70, 50, 90], [0, 40, 20, 60], [70, 0, 80, 9],
        ],
    )  # fmt: skip
    rows = [
        (0, 0.9, [0, 0, 20, 20]),  # correct
        (0, 0.8, [0, 0, 20, 16]),  # the same dog again
        (1, 0.9, [0, 40, 20, 60]),  # a bus taken for a cat
        (1, 0.8, [30, 4, 70, 20]),  # a cat badly placed
        (2, 0.9, [31, 71, 50, 90]),  # a cat taken for a bus
        (2, 0.8, [60, 40, 65, 45]),  # nothing
    ]
    labels, scores, boxes = zip(*rows, strict=True)
    found = Detections(["a"], truth.classes, [0] * 6, labels, scores, boxes)
    told = {
        (e.label, ERROR_TYPES[e.kind].name): e.words
        for e in collect([diagnose(truth, found, coco=False)], Gallery()).shown
    }
    assert told == {
        (0, "localization"): "IoU 0.80, but found before",
        (1, "other"): "truth: bus, IoU 1.00",
        (1, "localization"): "IoU 0.44",
        (2, "other"): "truth: cat, IoU 0.90",
        (2, "background"): "touches no object",
    }


def test_pictures_are_small_parts_with_the_detection_inside(pair):
    limits = Gallery(pixels=64)
    shown = collect(pair, limits).shown
    assert shown
    for example in shown:
        picture = Image.open(io.BytesIO(base64.b64decode(example.photograph.split(",")[1])))
        assert picture.format == "JPEG"
        assert max(picture.size) <= 64
        assert max(example.width, example.height) == 64
        assert picture.width / picture.height == pytest.approx(example.width / example.height, abs=0.06)
        found = example.frames[-1]
        assert found.kind == "found"
        assert min(found.left, found.top) >= 0
        assert found.left + found.width <= example.width + 0.2
        assert found.top + found.height <= example.height + 0.2


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


def test_gallery_has_a_column_for_each_detector(full, pair):
    columns = full.find("div", class_="column")
    kinds = full.find("div", class_="gallery-type")
    assert len(columns) == 2 * len(kinds)
    shots = full.find("figure", class_="shot")
    assert len(shots) == len(collect(pair, Gallery()).shown)
    assert len(full.find("image")) == len(shots)


@pytest.mark.parametrize("fault", ["absent", "damaged", "another size"])
def test_photographs_that_cannot_be_read_are_done_without(tmp_path, photographs, fault):
    bad = tmp_path / "bad.png"
    if fault == "damaged":
        bad.write_bytes(b"no image")
    elif fault == "another size":
        Image.new("RGB", (7, 5)).save(bad)
    one = detector(truth_of(files=[str(bad), *photographs[1:]]), jitter=9.0)
    page = page_of([one])
    assert page.faults == []
    shown = collect([one], Gallery())
    empty = [example for example in shown.shown if not example.photograph]
    assert {example.image for example in empty} == {"image0"}
    assert len(empty) < len(shown.shown)
    note = page.text("section", id="gallery")
    assert "could not be read (image0: " in note


def test_without_photographs_boxes_stand_on_the_shape_of_the_image():
    one = detector(truth_of(files=[]))
    page = page_of([one])
    assert "There are no photographs" in page.text("section", id="gallery")
    shots = page.find("rect", class_="ground")
    assert len(shots) == len(page.find("figure", class_="shot"))
    assert {(has["width"], has["height"]) for has, _ in shots} == {("240.0", "180.0")}


def test_gallery_can_be_left_out(pair):
    page = page_of(pair, gallery=None)
    assert not page.find("section", id="gallery")
    assert "#gallery" not in {has["href"] for has, _ in page.find("a")}


def test_photographs_keep_within_their_megabytes(tmp_path):
    files = []
    for n in range(12):
        pixels = np.random.default_rng(n).integers(0, 255, (90, 120, 3), dtype=np.uint8)
        files.append(str(tmp_path / f"{n}.png"))
        Image.fromarray(pixels).save(files[-1])
    one = detector(truth_of(images=12, files=files), jitter=9.0, extra=20)
    whole = collect([one], Gallery()).shown
    size = sum(len(example.photograph) for example in whole)
    part = collect([one], Gallery(megabytes=size / 1e6), drawn=-(-size // 2)).shown
    assert 0 < sum(len(example.photograph) for example in part) <= size / 2
    assert set(part) < set(whole)
    groups = [(e.label, e.kind) for e in whole]
    place = {e: groups[:n].count(groups[n]) for n, e in enumerate(whole)}
    assert max(place[e] for e in part) <= min(place[e] for e in set(whole) - set(part))
    assert collect([one], Gallery(megabytes=size / 1e6)).shown == whole
    assert collect([one], Gallery(megabytes=0.0)).shown == ()


# ---- intervals -----------------------------------------------------------------------------------


def sampled(diagnoses, groups=None) -> Page:
    comparison = compare(diagnoses, replicates=4, groups=groups)
    numbers = to_json(diagnoses, {}, comparison_to_json(comparison), intervals_to_json(comparison))
    return page_of(diagnoses, numbers=numbers, gallery=None)


def uncertainty(page: Page) -> str:
    return page.text("section", id="comparison")


def test_one_detector_has_intervals_and_no_differences():
    words = uncertainty(sampled([detector(truth_of(images=60))]))
    assert words.startswith("How sure the numbers are Intervals from random halves")
    assert "Numbers with intervals" in words
    assert "Differences" not in words
    assert "VOC 2007, 11 points" in words


def test_two_detectors_are_compared():
    truth = truth_of(images=60)
    page = sampled([detector(truth, "a"), detector(truth, "b", seed=2)])
    assert uncertainty(page).startswith("Differences between the detectors Intervals from random halves")
    assert "Runs taken together" not in uncertainty(page)
    assert "±" not in uncertainty(page)


def test_runs_taken_together_are_named_with_their_spread():
    truth = truth_of(images=60)
    runs = [detector(truth, f"run {n}", seed=n) for n in range(4)]
    page = sampled(runs, {"plain": ["run 0", "run 1"], "shuffled": ["run 2", "run 3"]})
    rows = page.texts("tr")
    assert "plain 2 run 0, run 1" in rows
    assert "shuffled 2 run 2, run 3" in rows
    assert "±: standard deviation between the runs." in uncertainty(page)
    assert "] ± " in uncertainty(page)


@pytest.mark.parametrize(("images", "words"), [(6, "only 6 images"), (1, "only 1 image:"), (49, "only 49")])
def test_few_images_are_warned_of(images, words):
    found = uncertainty(sampled([detector(truth_of(images=images))]))
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
    assert "1 class has objects in fewer than 50 images: rare (2)." in uncertainty(sampled([one]))
    figures = [PageFigure("Seen", "", SVG, "comparison")]
    assert "fewer than 50" not in uncertainty(page_of([one], figures=figures, gallery=None))
    assert "fewer than" not in uncertainty(sampled([detector(truth_of(images=100))]))
