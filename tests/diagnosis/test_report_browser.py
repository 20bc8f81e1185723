"""The web page in headless Chromium: links, state, keys, colours, print; nothing leaves the page."""

from __future__ import annotations

import base64
import dataclasses
import json
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from selenium import webdriver
from selenium.webdriver import ActionChains, Keys

from data.records import Detections, GroundTruth
from diagnosis import Diagnosis, compare, diagnose, to_json
from diagnosis.compare import quantity_name
from diagnosis.flow import flow
from diagnosis.report import ReportContent, write_report
from diagnosis.report.gallery import Gallery, collect
from diagnosis.report.page import SECTION_NAMES
from diagnosis.tide import TIDE_LABELS
from diagnosis.to_json import comparison_to_json, intervals_to_json
from diagnosis.verdict import percent
from tests.diagnosis.test_report import EMPTY_CASES, content

CLASSES = ("dog", "cat", "bus", "unseen </script><b>class</b>", "猫" * 200)
DESKTOP, PHONE = (1440, 900), (390, 844)
TABLET, NARROW = (768, 1024), (900, 900)
KEYS = {
    "Tab": Keys.TAB,
    "Enter": Keys.ENTER,
    "Right": Keys.ARROW_RIGHT,
    "Down": Keys.ARROW_DOWN,
    "Escape": Keys.ESCAPE,
}


class Browser:
    """A page, as a window of some size and a system of some colour scheme show it."""

    def __init__(self, driver: webdriver.Chrome) -> None:
        self.driver, self.cdp = driver, driver.execute_cdp_cmd

    def open(
        self, path: Path, size: tuple[int, int] = DESKTOP, scheme: str = "light", state: str = ""
    ) -> None:
        """Load the page anew; the logs start anew, too."""
        self.resize(size)
        self.media("", scheme)
        for log in ("browser", "performance"):
            self.driver.get_log(log)
        self.driver.get("about:blank")  # another state alone would not load the page anew
        self.driver.get(f"{path.as_uri()}#{state}")

    def resize(self, size: tuple[int, int]) -> None:
        shape = {"width": size[0], "height": size[1], "deviceScaleFactor": 1, "mobile": size == PHONE}
        self.cdp("Emulation.setDeviceMetricsOverride", shape)

    def media(self, media: str, scheme: str = "light") -> None:
        """Show the page on ``screen`` or in ``print``."""
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        self.cdp("Emulation.setEmulatedMedia", {"media": media, "features": features})

    def js(self, code: str) -> Any:
        """The value of an expression in the page; promises are waited for."""
        return self.driver.execute_script(f"return {code}")

    def open_details(self) -> None:
        self.js("document.querySelectorAll('details').forEach(e => e.open = true)")

    def press(self, key: str) -> None:
        ActionChains(self.driver).send_keys(KEYS[key]).perform()

    def requests(self) -> list[str]:
        """Addresses that the page asked for, those within it (``data:``) left out."""
        events = [json.loads(entry["message"])["message"] for entry in self.driver.get_log("performance")]
        sent = [event["params"] for event in events if event["method"] == "Network.requestWillBeSent"]
        return [one["request"]["url"] for one in sent if not one["request"]["url"].startswith("data:")]


@pytest.fixture(scope="module")
def browser():
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    driver = shutil.which("chromedriver")
    if not (chromium and driver):
        pytest.skip("Chromium or its driver is not installed")
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for flag in ("headless", "no-sandbox", "disable-gpu", "disable-dev-shm-usage"):
        options.add_argument(f"--{flag}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    with webdriver.Chrome(options, webdriver.ChromeService(driver)) as page:
        yield Browser(page)


@pytest.fixture(scope="module")
def diagnoses(tmp_path_factory) -> list[Diagnosis]:
    """Two detectors on twelve small photographs; the last class occurs nowhere."""
    folder, rng = tmp_path_factory.mktemp("photographs"), np.random.default_rng(0)
    files = []
    for n in range(12):
        files.append(folder / f"{n}.png")
        Image.fromarray(rng.integers(0, 255, (80, 120, 3), dtype=np.uint8)).save(files[-1])
    corner = rng.integers(0, 60, (36, 2))
    boxes = np.concatenate([corner, corner + rng.integers(15, 20, (36, 2))], axis=1)
    image = np.arange(36) % 12
    truth = GroundTruth(
        [f"photo{n}" for n in range(12)],
        CLASSES,
        [[120, 80]] * 12,
        image,
        np.arange(36) % 3,
        boxes,
        files=files,
    )
    made = []
    for name, jitter in (("plain", 3.0), ("shuffled", 6.0)):
        moved = boxes + rng.normal(0, jitter, (36, 2))[:, [0, 1, 0, 1]]
        labels = np.where(rng.random(36) < 0.4, (np.arange(36) + 1) % 3, np.arange(36) % 3)
        found = Detections(truth.images, CLASSES, image, labels, rng.random(36), moved)
        made.append(diagnose(truth, found, name, [["dog", "cat"]], coco=False))
    return made


@pytest.fixture(scope="module")
def report(diagnoses, tmp_path_factory) -> Path:
    comparison = compare(diagnoses, replicates=4)
    numbers = to_json(
        diagnoses,
        {"command": "python -m diagnosis"},
        comparison_to_json(comparison),
        intervals_to_json(comparison),
        ["A note."],
        comparison.verdict,
    )
    return write_report(ReportContent(diagnoses, numbers), tmp_path_factory.mktemp("report") / "report.html")


SHOWN = "[...document.querySelectorAll({})].filter(e => e.checkVisibility()).map(e => e.{})"
TABS = ("examples", "classes", "compare", "errors", "method")
SIDES = ("errors", "missed", "only-A", "only-B", "neither")


def shown(browser: Browser, selector: str, what: str = "textContent.trim()") -> list[Any]:
    found: list[Any] = browser.js(SHOWN.format(json.dumps(selector), what))
    return found


def click(browser: Browser, selector: str) -> None:
    """Click, and wait for the page to follow."""
    browser.js(f"document.querySelector({json.dumps(selector)}).click()")
    settle(browser)


def settle(browser: Browser) -> None:
    browser.js(
        "new Promise(done => setTimeout(() => requestAnimationFrame(() => requestAnimationFrame(done))))"
    )


def state(browser: Browser) -> dict[str, str]:
    found: dict[str, str] = browser.js("Object.fromEntries(new URLSearchParams(location.hash.slice(1)))")
    return found


# ---- one state, in the address -------------------------------------------------------------------


def test_from_a_bar_of_similar_to_its_pictures_in_one_click_and_back(browser, report, diagnoses):
    browser.open(report)
    everything = len(shown(browser, ".shot", "className"))
    click(browser, "#answer a.row[data-tip^='similar, B']")
    assert state(browser) == {"tab": "examples", "side": "errors", "kind": "similar", "d": "B"}
    wanted = [
        e for e in collect(diagnoses, Gallery()).shown
        if (e["side"], e["kind"], e["detector"]) == ("errors", "similar", 1)
    ]  # fmt: skip
    captions = shown(browser, ".shot .caption")
    assert 0 < len(wanted) < everything
    assert len(captions) == len(wanted)
    assert all("similar" in caption and "truth: " in caption for caption in captions)
    scores = [float(re.search(r"\d\.\d\d", caption)[0]) for caption in captions]
    assert scores == sorted(scores, reverse=True)
    assert browser.js("document.activeElement.id") == "panel-title"
    address = browser.js("location.hash.slice(1)")
    browser.js("history.back()")
    settle(browser)
    assert len(shown(browser, ".shot", "className")) == everything
    browser.open(report, state=address)
    assert shown(browser, ".shot .caption") == captions
    assert shown(browser, "#chips [aria-pressed=true]") == ["Bshuffled"]


@pytest.mark.parametrize("side", SIDES)
def test_every_side_has_pictures_with_classes_and_scores(browser, report, side):
    browser.open(report, state=f"side={side}")
    assert len(shown(browser, ".shot", "className")) > 0
    tags = shown(browser, ".shot:first-child svg text")
    wanted = 1 if side == "missed" else 2
    assert len([tag for tag in tags if tag]) >= wanted or side == "errors"
    tab = shown(browser, "#panel .sides [aria-current]")[0]
    assert tab.endswith(f"({len_of(browser)})")


def len_of(browser: Browser) -> str:
    return str(browser.js("document.querySelector('#count').textContent.match(/^All ([\\d,]+) /)[1]"))


def test_matrix_confusions_classes_ribbons_and_costs_lead_to_examples(browser, report):
    browser.open(report)
    for tab, selector, keys in (
        ("errors", ".matrix td a", {"class", "d"}),
        ("errors", ".chart a.row[data-tip*='taken for']", {"class", "as", "d"}),
        ("errors", ".chart a.row[data-tip^='localization removed']", {"kind", "d"}),
        ("compare", "svg a[aria-label*='under']", {"kind"}),
        ("classes", ".stacked a", {"class", "kind", "d"}),
        ("classes", "tbody th a", {"class"}),
    ):
        browser.js(f"location.hash = 'tab={tab}'")
        settle(browser)
        event = "new MouseEvent('click', {bubbles: true, cancelable: true})"  # which links of SVG know too
        browser.js(f"document.querySelector({json.dumps(selector)}).dispatchEvent({event})")
        settle(browser)
        found = state(browser)
        assert found["tab"] == ("classes" if selector == "tbody th a" else "examples"), selector
        assert keys <= set(found), selector


LINKS = "[...document.querySelectorAll('#answer [data-go], #panel [data-go]')]"


def many_classes(number: int) -> list[Diagnosis]:
    """Two detectors that take each class for some others; more cells than there are photographs in a page."""
    rng, count = np.random.default_rng(1), 12 * number
    names = [f"class {n}" for n in range(number)], [f"{n}" for n in range(count)]
    labels, corner = np.arange(count) % number, rng.integers(0, 60, (count, 2))
    boxes = np.concatenate([corner, corner + 30], axis=1)
    truth = GroundTruth(names[1], names[0], [[100, 100]] * count, range(count), labels, boxes)
    made = []
    for name, wrong in (("a", 0.5), ("b", 0.6)):
        taken = np.where(rng.random(count) < wrong, rng.integers(0, number, count), labels)
        moved = boxes + rng.integers(-9, 9, (count, 1))
        columns = range(count), taken, rng.random(count), moved
        made.append(diagnose(truth, Detections(names[1], names[0], *columns), name, coco=False))
    return made


@pytest.mark.parametrize("number", [3, 80])
def test_every_link_to_examples_shows_one(browser, tmp_path, diagnoses, number):
    """And each number of the matrix, each bar and each confusion is a link, however few photographs fit."""
    diagnoses = diagnoses if number == 3 else many_classes(number)
    few = ReportContent(diagnoses, to_json(diagnoses, {}), gallery=Gallery(total=12))
    browser.open(write_report(few, tmp_path / "report.html"))
    followed = set()
    for tab in ("classes", "compare", "errors"):
        browser.js(f"location.hash = 'tab={tab}'")
        settle(browser)
        followed |= set(browser.js(f"{LINKS}.map(e => e.dataset.go)"))
        assert not shown(browser, ".matrix td.plain, .stacked span + span, .stacked a ~ span")
        cells = len(shown(browser, ".matrix td a"))
        assert tab != "errors" or cells > (100 if number == 80 else 5)
        hidden = "scrollHeight - e.clientHeight"
        assert max(shown(browser, ".matrix", hidden), default=0) < 20  # all rows are in sight
        bars = "[...document.querySelectorAll('.row:has(.value)')].filter(e => e.querySelector('.value')"
        assert browser.js(f"{bars}.textContent === '0' && e.querySelector('.fill')).length") == 0
    examples = [go for go in map(json.loads, followed) if go.get("tab") == "examples"]
    assert len(examples) > 12
    for go in examples[:: 1 + len(examples) // 60]:
        browser.js(f"location.hash = address({json.dumps(go)})")
        settle(browser)
        assert shown(browser, ".shot", "className"), go


def test_the_pictures_of_a_cell_are_those_that_it_counts(browser, tmp_path, diagnoses):
    """Of each cell of the matrix; a cell without a picture of its own is a plain number."""
    content_ = ReportContent(diagnoses, to_json(diagnoses, {}))
    browser.open(write_report(content_, tmp_path / "report.html"))
    examples, nowhere, seen = collect(diagnoses, Gallery()).shown, len(CLASSES), set()
    for letter, one in zip("AB", diagnoses, strict=True):
        browser.js(f"location.hash = 'tab=errors&of={letter}'")
        settle(browser)
        cells = browser.js(
            "[...document.querySelectorAll('.matrix td a')].map(e => [e.dataset.go, e.textContent])"
        )
        assert len(cells) > 6
        for go, number in cells:
            browser.js(f"location.hash = address({go})")
            settle(browser)
            at = state(browser)
            label = CLASSES.index(at["class"])
            row, column = (label, CLASSES.index(at["as"])) if "as" in at else (nowhere, label)
            if at["side"] == "missed":
                row, column = label, nowhere
            seen.add((row == nowhere) - (column == nowhere))
            count = one.confusion.counts[row, column]
            assert count == int(number)
            pictures = shown(browser, ".shot", "dataset.go")
            assert 0 < len(pictures) <= count, (row, column)
            assert f"The confusion matrix has {count} " in shown(browser, "#count")[0]
            for picture in pictures:
                example = examples[int(json.loads(picture)["pic"])]
                if column == nowhere:
                    lost = set(range(len(one.truth))) - set(one.confusion.partners.tolist())
                    objects = {(one.truth.image_index[row], one.truth.labels[row]) for row in lost}
                    assert (one.truth.images.index(example["image"]), label) in objects
                else:
                    found = one.detections
                    kept = (found.labels == column) & (found.scores == example["score"])
                    (partner,) = one.confusion.partners[kept]
                    there = nowhere if partner == -1 else one.truth.labels[partner]
                    assert (there, partner == -2) == (row, False)
    assert seen == {-1, 0, 1}
    browser.js("location.hash = address({tab: 'examples', side: 'errors', class: 'dog', cell: '1'})")
    settle(browser)
    assert "on background in the matrix×" in shown(browser, ".tokens a")
    assert "what is left over is on background." in shown(browser, "#count")[0]


def test_missed_has_one_meaning(browser, report):
    """What the matrix has in its last column is not found at a threshold, which is something else."""
    browser.open(report, state="tab=errors")
    assert shown(browser, ".matrix thead th")[-1] == "not found"
    assert not [one for one in shown(browser, ".matrix [data-tip]", "dataset.tip") if "missed" in one]


def test_a_click_in_a_row_opens_its_class(browser, report):
    browser.open(report, state="tab=classes")
    click(browser, "#classes tbody tr:nth-child(2) td:nth-child(2)")
    assert state(browser)["class"] == "cat"
    assert shown(browser, "#classes td.detail h4")
    for size in (DESKTOP, TABLET, PHONE):
        browser.resize(size)
        settle(browser)
        right = "getBoundingClientRect().right"
        ends = shown(browser, "td.detail .numbers table", right)
        assert ends
        assert max(ends) <= browser.js(f"document.querySelector('#classes').closest('.table-box').{right}")


def test_a_kind_is_chosen_and_left_by_its_chip(browser, report):
    browser.open(report, state="tab=examples&kind=similar,other")
    assert shown(browser, ".tokens [aria-current]") == ["similar×", "other×"]
    assert len(shown(browser, ".tokens > *")) == 4
    click(browser, ".tokens [aria-label^=other]")
    assert state(browser)["kind"] == "similar"
    counted = sum(
        round(one["counted"] * one["shares"][2])
        for detector in browser.js("data.detectors")
        for one in detector["classes"]
        if one["counted"]
    )
    assert f"All {counted} errors among the detections counted, the most" in shown(browser, "#count")[0]


def test_a_class_opens_its_curve_confusions_and_pictures(browser, report):
    browser.open(report, state="tab=classes&class=dog")
    detail = shown(browser, "td.detail h4")
    assert detail == ["Precision over recall", "Confusions", "Pictures", "All numbers"]
    assert browser.js("document.querySelectorAll('td.detail path.curve').length") == 2
    assert browser.js("document.querySelectorAll('td.detail .shot').length") > 0
    click(browser, "#classes th a[data-go*=objects]")
    numbers = [
        int(text) for text in shown(browser, "#classes > tbody > tr:not(:has(.detail)) > td:nth-child(2)")
    ]
    assert numbers == sorted(numbers)
    click(browser, "#classes th a[data-go*=objects]")
    assert shown(browser, "#classes > tbody > tr:not(:has(.detail)) > td:nth-child(2)")[0] == str(
        max(numbers)
    )


def test_search_slider_and_chips(browser, report):
    browser.open(report)
    assert "Only pictures" in shown(browser, ".slider", "dataset.tip")[0]
    whole = len_of(browser)
    for selector, value, key in (("#class", "dog", "class"), ("#score", "0.5", "score")):
        browser.js(
            f"(e => {{ e.value = '{value}'; e.dispatchEvent(new Event('input')); }})"
            f"(document.querySelector('{selector}'))"
        )
        settle(browser)
        assert state(browser)[key].startswith(value)
        assert int(len_of(browser)) < int(whole)
    captions = shown(browser, ".shot .caption b")
    assert all(c.startswith("dog ") and float(c.split()[1]) >= 0.5 for c in captions)
    click(browser, "#chip-0")
    assert state(browser)["d"] == "B"
    assert shown(
        browser, "#answer a.row[data-tip^='similar, A']", "className"
    )  # all stay on the first screen


def test_what_to_fix_first_is_that_of_the_verdict(browser, tmp_path, diagnoses):
    """Also where the worse detector pays more, for an error that comes last with the better one."""
    truth = diagnoses[0].truth
    both = []
    for name, objects, shift in (("few", [*range(30), *range(6)], 0), ("shifted", [*range(36)], 9)):
        boxes = truth.boxes[objects] + shift * np.array([1, 0, 1, 0])
        labels = (truth.labels[objects] + (np.arange(36) > 32) * (name == "few")) % 3  # 3 doubles, 3 confused
        columns = truth.image_index[objects], labels, np.roll(np.linspace(0.9, 0.1, 36), 20), boxes
        both.append(diagnose(truth, Detections(truth.images, CLASSES, *columns), name))
    costs = both[0].tide.dap
    assert costs["miss"] > min(costs["cls"], costs["dupe"]) > costs["loc"] == 0
    comparison = compare(both, replicates=20)
    numbers = to_json(both, {}, [], intervals_to_json(comparison), [], comparison.verdict)
    assert [one["rank"] for one in numbers["intervals"]] == [1, 2]
    browser.open(write_report(ReportContent(both, numbers), tmp_path / "report.html"))
    gains = "#first .stack > :last-child .group"
    assert re.match(rf"missed object.*few: \+{percent(costs['miss'])} ", shown(browser, gains)[0])
    # Its own largest, the largest first, though the other pays more for wrong places.
    said = [re.search(r"few: (\+[\d.]+) ", one)[1] for one in shown(browser, gains)]
    own = sorted((costs[name] for name in ("miss", "cls", "dupe")), reverse=True)
    assert said == [f"+{percent(value)}" for value in own]
    assert both[1].tide.dap["loc"] > costs["cls"]
    assert "few's largest first." in shown(browser, "#first .stack > :last-child .note")[0]
    browser.open(written_without_intervals(both, tmp_path))
    assert re.match("wrong place.*shifted: ", shown(browser, gains)[0])
    assert ": the largest of any of them first." in shown(browser, "#first .stack > :last-child .note")[0]


def written_without_intervals(diagnoses: list[Diagnosis], folder: Path) -> Path:
    return write_report(ReportContent(diagnoses, to_json(diagnoses, {})), folder / "plain.html")


def two_classes(moved_by: float, name: str, rows: slice = slice(None), dogs: int = 24) -> Diagnosis:
    """Dogs and cats, 30 in all, one in an image; the detections are `moved_by` so much."""
    labels, boxes = np.repeat([0, 1], [dogs, 30 - dogs]), np.tile([20.0, 20, 50, 50], (30, 1))
    names = [f"{n}" for n in range(30)], ["dog", "cat"]
    truth = GroundTruth(*names, [[90, 90]] * 30, range(30), labels, boxes)
    columns = np.arange(30), labels, np.linspace(0.9, 0.3, 30), boxes + moved_by * np.array([1, 0, 1, 0])
    return diagnose(truth, Detections(*names, *(column[rows] for column in columns)), name)


def written(diagnoses: list[Diagnosis], folder: Path, replicates: int = 20) -> Path:
    comparison = compare(diagnoses, replicates=replicates)
    pairs, numbers = comparison_to_json(comparison), intervals_to_json(comparison)
    whole = to_json(diagnoses, {}, pairs, numbers, [], comparison.verdict)
    return write_report(ReportContent(diagnoses, whole), folder / "report.html")


def test_bold_is_what_is_clear_of_a_class_with_enough_objects(browser, tmp_path):
    both = [two_classes(0, "right"), two_classes(14, "beside")]
    browser.open(written(both, tmp_path), state="tab=classes")
    for selector in ("#classes .gap.clear", "#classes .gap:not(.clear)"):
        assert shown(browser, selector) == ["−100.0"]
    assert "No interval: nearly all resamples" in shown(browser, "#panel > .note")[0]
    browser.open(tmp_path / "report.html", state="tab=compare")
    assert "AP50" in shown(browser, ".forest .name.clear")
    few = [two_classes(0, "right", dogs=15), two_classes(14, "beside", dogs=15)]
    browser.open(written(few, tmp_path), state="tab=compare")
    assert "no class mean is, as no class has 20 objects" in "".join(shown(browser, "#panel .note"))
    clear = "closest('.chart').querySelector('h3').textContent"
    assert set(shown(browser, ".forest .clear", clear)) == {"Shares, all classes pooled"}
    assert shown(browser, ".forest .clear .span", "className") == []


def test_classes_that_the_data_do_not_have_are_left_out_of_the_list(browser, report):
    browser.open(report, state="tab=classes")
    assert shown(browser, "#classes tbody th") == ["dog", "cat", "bus"]
    assert "objects of 3 of 5 classes" in shown(browser, "#facts")[0]
    click(browser, "#panel a.more")
    assert len(shown(browser, "#classes tbody th")) == 5
    browser.open(report, state="tab=classes&class=unseen")
    assert len(shown(browser, "#classes tbody th")) == 1
    browser.open(report, state="class=zebra")
    assert shown(browser, "#count") == ["No class is called zebra."]


def test_boxes_end_where_the_part_of_the_photograph_ends(browser, report):
    browser.open(report)
    boxes = "[...document.querySelectorAll('.shot svg.picture rect.box')]"
    cut = "getComputedStyle(e.parentNode).overflow"
    assert browser.js(f"{boxes}.length > 20 && {boxes}.every(e => e.parentNode.matches('svg svg'))")
    assert set(browser.js(f"{boxes}.map(e => {cut})")) == {"hidden"}


def test_the_page_shows_the_digits_of_the_terminal(browser, report, diagnoses):
    comparison = compare(diagnoses, replicates=4)
    browser.open(report, state="tab=compare")
    browser.js("document.querySelectorAll('#panel button.more').forEach(button => button.click())")
    cells = "[...document.querySelectorAll('figure.chart')].at(-1).querySelectorAll('tbody tr')"
    rows = browser.js(f"[...{cells}].map(row => [...row.cells].map(cell => cell.textContent))")
    rows_of = {(row[0].removesuffix("†"), row[1]): row for row in rows}
    for quantity in comparison.quantities:
        row = rows_of[quantity_name(quantity), SECTION_NAMES[quantity.split("/")[0]]]
        for place in (0, 1):
            one = comparison.estimate(quantity, place)
            if not np.isnan(one.low):
                said = f"{percent(one.value)} [{percent(one.low)}, {percent(one.high)}]"
                assert row[2 + place] == said, quantity


def test_numbers_that_lead_to_pictures_are_told_beside_them(browser, tmp_path, diagnoses):
    """Of a ribbon, and of the confusion matrix, which counts by another rule."""
    path = written(diagnoses, tmp_path)
    counts = flow(*diagnoses).total()
    browser.open(path, state="side=only-A&kind=localization")
    assert shown(browser, "#count")[0].startswith(f"All {counts[0, 1]} objects, the most confident first.")
    matrix = diagnoses[1].confusion
    for state, cell, words in (
        ("d=B&side=missed&class=dog", (0, -1), "not found"),
        ("d=B&side=errors&class=cat&as=dog", (1, 0), "taken for dog"),
        ("d=B&side=errors&class=dog&kind=background", (-1, 0), "on background"),
        ("d=B&side=errors&class=dog&cell=1", (-1, 0), "on background"),
    ):
        browser.open(path, state=state)
        said = browser.js("document.querySelector('#count').textContent")
        assert f"The confusion matrix has {matrix.counts[cell]} {words}: it counts all detections" in said


FOCUSED = "[document.activeElement.dataset.go, document.activeElement.textContent]"
TYPE = "(e => {{ e.value = '{}'; e.dispatchEvent(new Event('input')); }})(document.querySelector('#class'))"


def back(browser: Browser) -> None:
    """One step back, which the page has followed."""
    followed = "addEventListener('hashchange', () => setTimeout(done), {once: true})"
    browser.js(f"new Promise(done => {{ {followed}; history.back(); }})")


@pytest.fixture
def tab(browser):
    """A tab of its own: of a full history (50 steps, of other tests) Chromium loses some."""
    before = browser.driver.current_window_handle
    browser.driver.switch_to.new_window("tab")
    yield Browser(browser.driver)
    browser.driver.close()
    browser.driver.switch_to.window(before)


def test_each_action_is_one_step_back_and_focus_returns(tab, report):
    tab.open(report)
    bar = tab.js("[...document.querySelectorAll('#answer a.row')].map(e => e.dataset.go)")[3]
    click(tab, f"#answer a.row[data-go='{bar}']")
    first = state(tab)
    tab.js("document.querySelector('#class').focus()")
    for typed in ("d", "do", "dog"):
        tab.js(TYPE.format(typed))
    settle(tab)
    assert state(tab) == first | {"class": "dog"}
    back(tab)
    assert state(tab) == first
    assert tab.js("document.querySelector('#class').value") == ""
    back(tab)
    assert state(tab) == {}
    assert tab.js(FOCUSED)[0] == bar
    tab.js("location.hash = 'tab=errors'")
    settle(tab)
    cell = tab.js(
        "(e => { e.focus(); const was = [e.dataset.go, e.textContent]; e.click(); return was; })"
        "([...document.querySelectorAll('.matrix td a')].at(-1))"
    )
    settle(tab)
    assert state(tab)["tab"] == "examples"
    back(tab)
    assert state(tab) == {"tab": "errors"}
    assert tab.js(FOCUSED) == cell


def test_a_bar_of_tide_opens_its_errors_and_a_sum_none(browser, report, diagnoses):
    browser.open(report, state="tab=errors")
    chart = "[...document.querySelectorAll('figure.chart')].find(e => e.textContent.startsWith({}))"
    rows = "[...{}.querySelectorAll('.row')].map(e => [e.dataset.tip, e.dataset.go])"
    tide = browser.js(rows.format(chart.format("'What each error type costs (TIDE)'")))
    assert len(tide) == 16
    followed = 0
    for tip, go in tide:
        label, detector = re.match(r"(.+), ([AB]) ", tip).groups()
        counts = diagnoses["AB".index(detector)].tide.counts
        (name,) = [name for name, said in TIDE_LABELS.items() if said == label]
        if name in ("fp", "fn") or not counts[name]:
            assert go is None, tip
            continue
        browser.js(f"location.hash = address({go})")
        settle(browser)
        followed += 1
        pictures = browser.js("chosen().map(one => one.tide)")
        assert pictures == [name] * counts[name], tip
        assert f"TIDE: {label}×" in shown(browser, ".tokens a")
        words = f"All {counts[name]} " if counts[name] > 1 else "The only "
        assert re.match(f"{words}.+ by TIDE's rules", shown(browser, "#count")[0])
    assert followed >= 6
    browser.js("location.hash = 'tab=errors'")
    settle(browser)
    for tip, go in browser.js(rows.format(chart.format("'What each error type costs (Hoiem)'"))):
        mended = re.match(r"all but|(.+?)(?: and (.+))? (?:removed|corrected)", tip)
        if mended[0] == "all but":
            assert go is None, tip
        elif go and "corrected and" not in tip:
            assert sorted(json.loads(go)["kind"].split(",")) == sorted(
                name.removeprefix("pure ") for name in mended.groups() if name
            ), tip


def test_of_three_detectors_the_pair_of_the_verdict_is_compared(browser, tmp_path):
    three = [two_classes(shift, name) for shift, name in ((14, "last"), (2, "first"), (5, "second"))]
    path = written(three, tmp_path)
    browser.open(path, state="tab=compare")
    title = "What became of each object, from {} to {}"
    assert title.format("first", "second") in shown(browser, "#panel h3")
    assert "second − first" in shown(browser, "#panel h3")
    chosen = "document.querySelector('#pair').selectedOptions[0].textContent"
    assert browser.js(chosen) == "B first and C second (verdict)"
    browser.open(path)
    assert [one.split(" (")[0] for one in shown(browser, ".sides a")][2:] == [
        "Only B right", "Only C right", "Neither right",
    ]  # fmt: skip
    browser.js("location.hash = 'tab=compare'")
    settle(browser)
    browser.js(
        "(e => { e.value = 'A-C'; e.dispatchEvent(new Event('change', {bubbles: true})); })"
        "(document.querySelector('#pair'))"
    )
    settle(browser)
    assert state(browser) == {"tab": "compare", "pair": "A-C"}
    assert title.format("last", "second") in shown(browser, "#panel h3")
    assert browser.js(chosen) == "A last and C second"
    assert browser.js("document.activeElement.id") == "pair"
    browser.open(path, state="tab=compare&d=A,B")
    assert browser.js(chosen) == "A last and B first"
    browser.open(written(three[:2], tmp_path), state="tab=compare")
    assert not shown(browser, "#pair")


def test_what_is_left_out_is_told_exactly(browser, tmp_path, diagnoses):
    few = Gallery(each=1, most=20)
    path = write_report(ReportContent(diagnoses, to_json(diagnoses, {}), gallery=few), tmp_path / "few.html")
    for letter, one in zip("AB", diagnoses, strict=True):
        browser.open(path, state=f"d={letter}")
        wrong = np.flatnonzero(one.breakdown.counted_types > 0)
        scores = np.sort(one.detections.scores[wrong])[::-1]
        pattern = r"The (\d+) most confident of (\d+) errors among the detections counted, then (\d+) more, "
        said = re.match(pattern, shown(browser, "#count")[0])
        first, total, others = map(int, said.groups())
        assert (total, first + others) == (len(wrong), len(browser.js("chosen().map(one => one.score)")))
        best = browser.js("chosen().map(one => one.score)")[:first]
        assert best == pytest.approx(scores[:first], abs=1e-5)
        assert f"others of a score below {scores[first]:.2f}." in shown(browser, "#count")[0]
        assert f"False positives ({first + others} of {total})" in shown(browser, ".sides a")


def test_the_matrix_of_many_classes_has_those_with_confusions(browser, tmp_path):
    truth = many_classes(40)[0].truth
    labels = np.where(truth.labels < 3, (truth.labels + 1) % 3, truth.labels)
    columns = truth.image_index, labels, np.full(len(labels), 0.5), truth.boxes
    one = diagnose(truth, Detections(truth.images, truth.classes, *columns), "one", coco=False)
    browser.open(write_report(content([one]), tmp_path / "report.html"), state="tab=errors")
    assert shown(browser, ".matrix tbody th") == ["class 0", "class 1", "class 2", "background"]
    assert "3 of 40 classes: those with confusions." in "".join(shown(browser, "#panel .note"))


def test_what_does_not_differ_in_any_class_has_no_chart(browser, tmp_path):
    browser.open(
        written([two_classes(0, "all"), two_classes(0, "half", slice(0, 12))], tmp_path), state="tab=compare"
    )
    (chart,) = browser.js(
        "[...document.querySelectorAll('figure.chart')].filter(e => e.querySelector('h3').textContent === "
        "'half − all by class').map(e => [...e.querySelectorAll('h4')].map(h => h.textContent))"
    )
    assert chart == ["AP50"]
    browser.js("location.hash = 'kind=similar'")
    settle(browser)
    assert shown(browser, "#count") == ["There is no such error among the detections counted."]


def test_of_groups_the_first_screen_says_how_many_runs_and_what_the_interval_includes(browser, tmp_path):
    runs = [two_classes(shift, f"run {shift}") for shift in (0, 2, 5, 14)]
    comparison = compare(runs, replicates=20, groups={"good": ["run 0", "run 2"], "bad": ["run 5", "run 14"]})
    numbers = to_json(runs, {}, comparison_to_json(comparison), intervals_to_json(comparison))
    browser.open(write_report(ReportContent(runs, numbers), tmp_path / "report.html"))
    said = (
        "good is the mean of 2 runs, bad is the mean of 2 runs; its intervals include seed-to-seed variation."
    )
    assert f"Verdict: {said} Bars: each run by itself." in shown(browser, "#facts")[0]
    assert shown(browser, ".sides a")[2].startswith("Only A right")
    assert shown(browser, ".sides a")[3].startswith("Only C right")  # of the other group
    browser.js("location.hash = 'tab=compare'")
    settle(browser)
    assert "What became of each object, from run 0 to run 5" in shown(browser, "#panel h3")
    browser.open(written(runs[:2], tmp_path))
    assert "seed" not in shown(browser, "#facts")[0]


def test_a_class_of_which_nothing_is_found_has_no_error_that_it_is_mostly_of(browser, tmp_path):
    both = [two_classes(0, "right", slice(0, 12)), two_classes(0, "cats", slice(24, 30))]
    browser.open(written(both, tmp_path))
    (worst,) = shown(browser, ".worst")
    assert "none found" in worst
    assert "mostly" not in worst
    card = shown(browser, "#first .stack > :last-child .note")[0]
    assert "B finds no object of dog: what is missed there has no cost in TIDE." in card


def test_a_detector_that_finds_nothing_is_not_said_to_lack_no_ap(browser, tmp_path):
    browser.open(written([two_classes(0, "silent", slice(0)), two_classes(0, "right")], tmp_path))
    card = shown(browser, "#first .stack > :last-child .note")[0]
    assert card.startswith("No type of error costs ")
    few = [two_classes(0, "silent", slice(0), 15), two_classes(0, "right", dogs=15)]
    browser.open(written(few, tmp_path), state="tab=compare")
    card = shown(browser, "#first .stack > :last-child .note")[0]
    assert "A finds no object of dog, cat: what is missed there has no cost in TIDE. Too few objects" in card


def test_the_axis_of_pooled_false_positives_says_so(browser, report):
    browser.open(report, state="tab=errors")
    assert "false positives, all classes together" in browser.js(
        "document.querySelector('#panel').textContent"
    )


def test_the_notes_are_one_click_or_key_away(browser, report):
    browser.open(report)
    browser.js("document.querySelector('#facts a').focus()")
    browser.press("Enter")
    for _ in range(2):
        settle(browser)
        assert browser.js("document.activeElement.id") == "notes"
        assert 0 <= browser.js("document.activeElement.getBoundingClientRect().top") < DESKTOP[1] / 2
        assert shown(browser, "#notes li") == ["A note."]
        browser.js("scrollTo(0, 0)")
        click(browser, "#facts a")  # again, though the address stays as it is
    assert state(browser) == {"tab": "method", "part": "notes"}
    click(browser, "#tabs a")
    assert state(browser) == {"tab": "examples"}


def test_large_pictures_by_key(browser, report):
    browser.open(report)
    browser.js("document.querySelector('.shot').focus()")
    browser.press("Enter")
    settle(browser)
    first = state(browser)["pic"]
    assert "1 of " in shown(browser, "dialog .steps span")[0]
    browser.press("Right")
    settle(browser)
    assert state(browser)["pic"] != first
    assert shown(browser, "dialog .steps span")[0].startswith("2 of ")
    browser.press("Escape")
    settle(browser)
    assert "pic" not in state(browser)
    assert browser.js("document.activeElement.className") == "shot"


def test_the_page_by_keyboard_alone(browser, report):
    browser.open(report)
    browser.press("Tab")
    assert browser.js("document.activeElement.id") == "skip"
    browser.press("Enter")
    assert browser.js("document.activeElement.id") == "main"
    reached = []
    for _ in range(40):
        browser.press("Tab")
        reached.append(browser.js("document.activeElement.textContent.slice(0, 20)"))
        if reached[-1] == "Errors":
            break
    assert browser.js("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    browser.press("Enter")
    settle(browser)
    assert state(browser)["tab"] == "errors"
    browser.js("document.querySelector('.matrix td a[tabindex=\"0\"]').focus()")
    before = browser.js("document.activeElement.ariaLabel")
    browser.press("Right")
    browser.press("Down")
    assert browser.js("document.activeElement.ariaLabel") != before
    assert browser.js("document.querySelectorAll('.matrix td a[tabindex=\"0\"]').length") == 1


# ---- sizes, colours, paper -----------------------------------------------------------------------

OVERFLOW = """[...document.querySelectorAll('main *, header *')].filter(e => e.checkVisibility() &&
  !e.closest('.table-box, .matrix, svg, .hidden-words, datalist') &&
  e.getBoundingClientRect().right > innerWidth + 1).map(e => e.outerHTML.slice(0, 120))"""

CONTRAST = """(() => {
  const parts = colour => {
    const srgb = colour.startsWith("color(srgb");
    const found = (colour.match(/-?[\\d.]+(e-?\\d+)?/g) || []).map(Number);
    return srgb ? [...found.slice(0, 3).map(v => 255 * v), ...found.slice(3)] : found;
  };
  const light = colour => {
    const [r, g, b] = parts(colour).slice(0, 3).map(v => v / 255).map(
      v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const ground = e => {
    for (; e; e = e.parentElement) {
      const colour = getComputedStyle(e).backgroundColor, all = parts(colour);
      if (all.length < 4 || all[3] > 0.99) return colour;
    }
    return "rgb(255, 255, 255)";
  };
  const words = e => [...e.childNodes].some(n => n.nodeType === 3 && n.textContent.trim());
  return [...document.querySelectorAll("body *")].filter(e => !e.closest(
    "svg, .hidden-words, .skip, option, script, #tip, dialog, noscript") && e.checkVisibility() && words(e)
  ).map(e => {
    const [a, b] = [light(getComputedStyle(e).color), light(ground(e))].sort((x, y) => y - x);
    return [(a + 0.05) / (b + 0.05), e.outerHTML.slice(0, 90)];
  }).filter(([ratio]) => ratio < 4.5);
})()"""


# Words that lie on other words. Left out: what is clipped, what only screen readers read, and the tags of
# pictures, which are where their boxes are.
OVERLAPS = """(() => {
  const clips = new Map(), found = [], bad = [];
  const clip = e => {
    if (!e) return {left: -1e9, right: 1e9, top: -1e9, bottom: 1e9};
    if (!clips.has(e)) {
      const outer = clip(e.parentElement), r = e.getBoundingClientRect();
      clips.set(e, getComputedStyle(e).overflow === "visible" ? outer : within(r, outer));
    }
    return clips.get(e);
  };
  const within = (r, box) => ({left: Math.max(r.left, box.left), right: Math.min(r.right, box.right),
    top: Math.max(r.top, box.top), bottom: Math.min(r.bottom, box.bottom)});
  const walker = document.createTreeWalker(document.querySelector("main"), NodeFilter.SHOW_TEXT);
  const range = document.createRange();
  for (let node; (node = walker.nextNode());) {
    const e = node.parentElement;
    if (!node.textContent.trim() || e.closest(".hidden-words, svg.picture, noscript") || !e.checkVisibility())
      continue;
    range.selectNodeContents(node);
    for (const r of range.getClientRects()) {
      const seen = within(r, clip(e));
      if (seen.right - seen.left > 3 && seen.bottom - seen.top > 5) found.push([seen, node]);
    }
  }
  found.sort(([a], [b]) => a.top - b.top);
  found.forEach(([a, node], n) => {
    for (let m = n + 1; m < found.length && found[m][0].top < a.bottom - 5; m++) {
      const [b, other] = found[m], both = within(a, b);  // what an ellipsis cuts has two boxes
      if (node !== other && both.right - both.left > 3 && both.bottom - both.top > 5)
        bad.push([node.textContent, other.textContent]);
    }
  });
  return bad;
})()"""


@pytest.mark.parametrize("size", [DESKTOP, TABLET, PHONE], ids=["1440", "768", "390"])
def test_nothing_overflows_overlaps_or_is_pale_or_requested(browser, report, size):
    browser.open(report, size)
    for tab in TABS:
        browser.js(f"location.hash = 'tab={tab}&class=dog'")
        settle(browser)
        browser.open_details()
        settle(browser)
        assert browser.js("document.documentElement.scrollWidth") <= size[0], tab
        assert browser.js(OVERFLOW) == [], tab
        assert browser.js(OVERLAPS) == [], tab
        for scheme in ("light", "dark"):
            browser.media("", scheme)
            settle(browser)
            assert browser.js(CONTRAST) == [], (tab, scheme)
    assert browser.driver.get_log("browser") == []
    assert [one.partition("#")[0] for one in browser.requests() if one != "about:blank"] == [report.as_uri()]


@pytest.mark.parametrize("number", [3, 4])
def test_three_and_four_detectors_fit(browser, tmp_path, diagnoses, number):
    """And the whole answer is on the first screen."""
    names = ["baseline", "a-name-that-is-longer-than-a-chip-has-room-for", "third", "fourth of them"][:number]
    some = [dataclasses.replace(diagnoses[n % 2], name=name) for n, name in enumerate(names)]
    path = written(some, tmp_path, replicates=6)
    for size in (DESKTOP, NARROW, TABLET, PHONE):
        browser.open(path, size)
        right = "document.querySelector('.bar .wide').getBoundingClientRect().right"
        assert max(shown(browser, ".bar button", "getBoundingClientRect().right")) <= browser.js(right)
        for tab in TABS:
            browser.js(f"location.hash = 'tab={tab}&class=dog'")
            settle(browser)
            browser.open_details()
            settle(browser)
            assert browser.js("document.documentElement.scrollWidth") <= size[0], (size, tab)
            assert browser.js(OVERFLOW) == [], (size, tab)
            assert browser.js(OVERLAPS) == [], (size, tab)
            edge = "document.querySelector('#classes')?.closest('.table-box').getBoundingClientRect().right"
            ends = shown(browser, "td.detail > *", "getBoundingClientRect().right")
            assert tab != "classes" or max(ends) <= browser.js(edge), size
    for size in (DESKTOP, NARROW, TABLET):
        browser.open(path, size)
        tops = shown(browser, "header input, header button", "getBoundingClientRect().top")
        assert tops[-1] - tops[number] < 12  # the search and the theme are in one line
        tables = shown(browser, "#first summary", "getBoundingClientRect().bottom")
        assert len(tables) == 3
        assert size != DESKTOP or max(tables) < size[1] * 0.7
    browser.open(path)
    assert max(shown(browser, "#first > *", "getBoundingClientRect().bottom")) <= DESKTOP[1]


def test_words_that_lie_on_words_are_found(browser, report):
    browser.open(report)
    browser.js("document.querySelector('.note').style.cssText = 'position: relative; top: -20px'")
    assert browser.js(OVERLAPS)


AXE = Path(__file__).parents[1] / "fixtures" / "axe.min.js"
"""Of the npm package axe-core, under its own licence (MPL 2.0)."""


def axe(browser: Browser, options: dict[str, Any], part: str = "html") -> list[Any]:
    """What axe-core finds serious or critical in a part of the page."""
    options = options | {"resultTypes": ["violations"]}
    found: list[Any] = browser.js(
        f"axe.run({json.dumps(part)}, {json.dumps(options)}).then(found => found.violations.filter("
        "v => v.impact === 'serious' || v.impact === 'critical').map(v => "
        "[v.id, v.nodes.map(n => n.html.slice(0, 150) + n.failureSummary.slice(0, 200))]))"
    )
    return found


def test_axe_finds_nothing_serious_in_either_theme(browser, report):
    browser.open(report)
    browser.driver.execute_script(AXE.read_text(encoding="utf-8"))
    for scheme in ("light", "dark"):
        browser.media("", scheme)
        settle(browser)
        # Only here: it is axe's slowest rule, and CONTRAST looks at all words of all tabs.
        assert axe(browser, {"runOnly": ["color-contrast"]}, "#answer") == [], scheme
    browser.js("drawPanel(Object.keys(TABS))")
    settle(browser)
    assert axe(browser, {"rules": {"color-contrast": {"enabled": False}}}) == []
    browser.js("document.documentElement.removeAttribute('lang')")
    assert axe(browser, {"runOnly": ["html-has-lang"]}) != []


def test_the_first_screen_holds_the_answer(browser, report):
    browser.open(report)
    bottoms = shown(browser, "#first > *", "getBoundingClientRect().bottom")
    assert len(bottoms) == 3
    assert max(bottoms) <= DESKTOP[1]
    assert browser.js("document.querySelector('#tabs').getBoundingClientRect().top") < DESKTOP[1]
    assert browser.js("document.querySelectorAll('.worst svg image').length") == 3
    assert len(shown(browser, ".whisker", "className")) >= 8


def test_a_worst_class_has_a_picture_of_the_error_it_names(browser, report):
    browser.open(report)
    settle(browser)
    words = shown(browser, ".worst .quiet")
    pictures = shown(browser, ".worst svg.picture", "ariaLabel")
    assert len(words) == len(pictures) == 3
    for said, picture in zip(words, pictures, strict=True):
        error = re.match(r"mostly ([\w ]+): costs [\d.]+\spoints \(mean of both\)", said)[1]
        kinds = {"wrong place": "localization", "duplicate": "localization", "missed object": "missed"}
        kind = kinds.get(error, error)
        assert kind in picture or error.startswith("wrong class")


def test_the_page_cannot_fetch_anything(browser, report):
    browser.open(report)
    for attempt in (
        "fetch('https://example.org/x').then(() => 'sent', () => 'refused')",
        "new Promise(done => { const e = new Image(); e.onload = () => done('sent'); "
        "e.onerror = () => done('refused'); e.src = 'https://example.org/x.png'; })",
    ):
        violated = (
            "new Promise(done => addEventListener('securitypolicyviolation', "
            f"e => done(e.blockedURI), {{once: true}}) || ({attempt}))"
        )
        assert browser.js(violated).startswith("https://example.org/")


GROUND = "getComputedStyle(document.body).backgroundColor"


def test_dark_and_light(browser, report):
    browser.open(report, scheme="light")
    browser.js("localStorage.clear()")
    browser.open(report, scheme="light")
    light = browser.js(GROUND)
    browser.media("", "dark")
    settle(browser)
    dark = browser.js(GROUND)
    assert dark != light
    assert shown(browser, "#theme") == ["Light"]
    click(browser, "#theme")
    assert browser.js(GROUND) == light
    browser.open(report, scheme="dark")  # the choice is kept
    assert browser.js(GROUND) == light
    click(browser, "#theme")
    browser.media("print", "dark")
    assert browser.js(GROUND) == "rgb(255, 255, 255)"
    browser.media("")
    browser.js("localStorage.clear()")


def test_print_has_all_tabs_on_at_most_six_pages(browser, report):
    browser.open(report, scheme="dark")
    settle(browser)
    pdf = base64.b64decode(browser.cdp("Page.printToPDF", {"printBackground": True})["data"])
    pages = len(re.findall(rb"/Type\s*/Page\b", pdf))
    assert 2 <= pages <= 6
    browser.js("dispatchEvent(new Event('beforeprint'))")
    browser.media("print")
    for heading in ("Shares, all classes pooled", "AP gained (TIDE's dAP)"):
        assert heading in shown(browser, "#panel .chart:has(.forest) h3")
    assert len(shown(browser, "svg.plot path", "className.baseVal")) >= 12  # each chart is drawn
    assert len(shown(browser, ".shot", "className")) == 4
    assert shown(browser, "#count")[0].startswith("4 of ")
    notes = "".join(shown(browser, "#main .note", "innerText"))
    assert not re.search("Click|leads? to|opens its|Arrow keys", notes)
    browser.media("")
    assert shown(browser, "#panel > h2") == [tab.capitalize() for tab in TABS]
    browser.js("location.hash = 'class=dog'")
    settle(browser)
    browser.js("dispatchEvent(new Event('beforeprint'))")
    browser.media("print")
    drawn = (
        "getBoundingClientRect().width / e.viewBox.baseVal.width"  # what is drawn for another width is scaled
    )
    scales = shown(browser, "#panel svg.plot", drawn)
    assert len(scales) > 8
    assert max(scales) < 1.3 * min(scales)
    browser.media("")
    browser.js("dispatchEvent(new Event('afterprint'))")
    browser.js("location.hash = ''")
    settle(browser)
    assert shown(browser, "#panel > h2") == ["Examples"]


@pytest.mark.parametrize("number", [2, 3, 4])
def test_on_paper_two_columns_fill_the_page(browser, tmp_path, diagnoses, number):
    """Curves of three and four detectors stand side by side; six pages at most."""
    some = [dataclasses.replace(diagnoses[n % 2], name=f"detector {n}") for n in range(number)]
    browser.open(written(some, tmp_path, replicates=4))
    pdf = base64.b64decode(browser.cdp("Page.printToPDF", {"printBackground": True})["data"])
    assert len(re.findall(rb"/Type\s*/Page\b", pdf)) <= 6
    browser.js("dispatchEvent(new Event('beforeprint'))")
    browser.media("print")
    tops = shown(browser, ".pair svg.plot", "getBoundingClientRect().top")
    assert len(tops) == 2 * number  # confidence and error mix
    assert len(set(tops)) == 2
    heights = "[...e.children].map(side => [...side.children].map(one => one.offsetHeight))"
    for sides in browser.js(f"[...document.querySelectorAll('.columns')].map(e => {heights})"):
        left, right = map(sum, sides)
        assert abs(left - right) <= max(max(side, default=0) for side in sides) + 40
    assert browser.js(OVERLAPS) == []
    what = "[aria-label^='What became'], [aria-label^='F1, precision']"
    sides = set(shown(browser, what, "closest('figure').getBoundingClientRect().top"))
    assert len(sides) == (1 if number == 2 else 2)  # a pair's flow stands beside its confidence
    long = "figure.chart:has(> .group), figure.chart:has(> .print-few > .group)"
    assert set(shown(browser, long, "computedStyleMap().get('break-inside').value")) == {"auto"}
    right = "getBoundingClientRect().right"
    inside = shown(browser, "#panel .columns *:not(.hidden-words, .hidden-words *)", right)
    assert max(inside) <= browser.js(f"document.querySelector('#panel').{right}") + 1
    browser.media("")


def test_paper_has_twenty_classes_and_says_so(browser, tmp_path):
    many = many_classes(25)
    browser.open(write_report(ReportContent(many, to_json(many, {})), tmp_path / "report.html"))
    browser.js("dispatchEvent(new Event('beforeprint'))")
    assert len(shown(browser, "#classes tbody th")) == 20
    assert any("Here are 20 of 25 classes." in note for note in shown(browser, "#panel > .note"))
    browser.js("dispatchEvent(new Event('afterprint'))")
    click(browser, "#tabs [href*='tab=classes']")
    assert len(shown(browser, "#classes tbody th")) == 25


def test_labels_of_the_flow_do_not_overprint(browser, report):
    browser.open(report, PHONE, state="tab=compare")
    browser.js(
        "data.flow[0].all = Object.fromEntries(data.fates.map(({name}, n) => [name, Object.fromEntries("
        "data.fates.map((other, m) => [other.name, n + m ? 1 : 9000]))]))"
    )
    browser.js("drawPanel()")
    settle(browser)
    names = "svg[aria-label^='What became'] text"
    tops = shown(browser, names, "getBoundingClientRect().top")[1:6]  # after the detector's
    assert len(tops) == 5
    assert min(np.diff(tops)) > 10
    box = browser.js(f"document.querySelector({json.dumps(names)}).ownerSVGElement.getBoundingClientRect().x")
    assert min(shown(browser, names, "getBoundingClientRect().left")) >= box - 1


def test_a_finger_hits_what_it_means(browser, report):
    browser.cdp("Emulation.setTouchEmulationEnabled", {"enabled": True})
    try:
        browser.open(report, PHONE)
        heights = shown(
            browser, "button, input, summary, #tabs a, a.row, a.token", "getBoundingClientRect().height"
        )
        assert len(heights) > 20
        assert min(heights) >= 40
    finally:
        browser.cdp("Emulation.setTouchEmulationEnabled", {"enabled": False})


def test_tables_sort_and_what_can_be_used_has_a_name(browser, report):
    browser.open(report, state="tab=method")
    column = "#panel [aria-label=Detectors] tbody th"
    click(browser, "#panel [aria-label=Detectors] th button")
    assert shown(browser, column)[:2] == ["plain", "shuffled"]
    click(browser, "#panel [aria-label=Detectors] th button")
    assert shown(browser, column)[:2] == ["shuffled", "plain"]
    assert browser.js("document.querySelector('#panel [aria-label=Detectors] th').ariaSort") == "descending"
    for tab in TABS:
        browser.js(f"location.hash = 'tab={tab}'")
        settle(browser)
        unnamed = (
            "[...document.querySelectorAll('a, button, input, img, [role=img], [role=region], nav')].filter("
            "e => !(e.ariaLabel || e.getAttribute('aria-labelledby') || e.textContent.trim() || "
            "e.labels?.length))"
            ".map(e => e.outerHTML.slice(0, 90))"
        )
        assert browser.js(unnamed) == []


@pytest.mark.parametrize("case", ["neither", "no similar class", "one silent"])
def test_pages_with_little_or_nothing_to_show_draw_every_tab(browser, tmp_path, case):
    """Of one detector and of two, also for addresses that mean nothing."""
    browser.open(write_report(content(EMPTY_CASES[case]()), tmp_path / "report.html"))
    nonsense = "tab=errors&d=B", "tab=x&d=Z&score=q&pic=99&kind=y"
    for address in (*(f"tab={tab}&class=dog" for tab in TABS), *nonsense):
        browser.js(f"location.hash = '{address}'")
        settle(browser)
        words = browser.js("document.querySelector('main').textContent")
        assert len(words) > 200
        assert ("Compare" in words) == (case == "one silent")  # else nothing to compare: no such tab
        assert not re.search("NaN|undefined|null|Infinity|\\[object", words), address
    assert browser.driver.get_log("browser") == []


def test_without_scripts_the_verdict_and_the_sentences_are_there(browser, report):
    browser.cdp("Emulation.setScriptExecutionDisabled", {"value": True})
    try:
        browser.open(report)
        assert len(shown(browser, "noscript li")) >= 2
        assert len(shown(browser, ".verdict")[0]) > 20
    finally:
        browser.cdp("Emulation.setScriptExecutionDisabled", {"value": False})
