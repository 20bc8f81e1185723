"""The web page in headless Chromium: links, state, keys, colours, print; nothing leaves the page."""

from __future__ import annotations

import base64
import dataclasses
import json
import re
import shutil
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
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
from tests.diagnosis.scenes import write_photographs
from tests.diagnosis.test_report import EMPTY_CASES

CLASSES = ("dog", "cat", "bus", "unseen </script><b>class</b>", "猫" * 200)
DESKTOP, PHONE = (1440, 900), (390, 844)
TABLET, NARROW = (768, 1024), (900, 900)
TABS = ("examples", "classes", "compare", "errors", "method")
RIGHT, TOP, BOTTOM = (f"getBoundingClientRect().{side}" for side in ("right", "top", "bottom"))


class Browser:
    """A page, as a window of some size and a system of some colour scheme show it."""

    def __init__(self, driver: webdriver.Chrome) -> None:
        self.driver, self.cdp = driver, driver.execute_cdp_cmd

    def open(self, path: Path, size=DESKTOP, scheme="light", state="") -> None:
        """Load the page anew; the logs start anew, too."""
        self.resize(size)
        self.media("", scheme)
        for log in ("browser", "performance"):
            self.driver.get_log(log)
        self.driver.get("about:blank")  # another state alone would not load the page anew
        self.driver.get(f"{path.as_uri()}#{state}")

    def resize(self, size) -> None:
        shape = {"width": size[0], "height": size[1], "deviceScaleFactor": 1, "mobile": size == PHONE}
        self.cdp("Emulation.setDeviceMetricsOverride", shape)

    def media(self, media, scheme="light") -> None:
        """Show the page on ``screen`` or in ``print``."""
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        self.cdp("Emulation.setEmulatedMedia", {"media": media, "features": features})

    @contextmanager
    def on_paper(self):
        """The page as it is printed."""
        self.js("dispatchEvent(new Event('beforeprint'))")
        self.media("print")
        yield
        self.media("")
        self.js("dispatchEvent(new Event('afterprint'))")

    def pages(self) -> int:
        """How many it has in print."""
        pdf = base64.b64decode(self.cdp("Page.printToPDF", {"printBackground": True})["data"])
        return len(re.findall(rb"/Type\s*/Page\b", pdf))

    def js(self, code):
        """The value of an expression in the page; promises are waited for."""
        return self.driver.execute_script(f"return {code}")

    def settle(self) -> None:
        """Wait for the page to follow."""
        frame = "requestAnimationFrame(() => requestAnimationFrame(done))"
        self.js(f"new Promise(done => setTimeout(() => {frame}))")

    def go(self, state) -> None:
        """Change the address: to a state, or by the changes of a link."""
        self.js(f"location.hash = {json.dumps(state) if isinstance(state, str) else address(state)}")
        self.settle()

    def click(self, selector) -> None:
        self.js(f"document.querySelector({json.dumps(selector)}).click()")
        self.settle()

    def press(self, key) -> None:
        ActionChains(self.driver).send_keys(key).perform()

    def shown(self, selector, what="textContent.trim()") -> list:
        """A property, or more, of each of the elements that are to be seen."""
        seen = f"[...document.querySelectorAll({json.dumps(selector)})].filter(e => e.checkVisibility())"
        return self.js(f"{seen}.map(e => e.{what})")

    def text(self, selector) -> str:
        """All words of the elements that are to be seen."""
        return "\n".join(self.shown(selector))

    def state(self) -> dict[str, str]:
        return self.js("Object.fromEntries(new URLSearchParams(location.hash.slice(1)))")

    def all_pictures(self) -> str:
        """How many pictures there are, where all are shown."""
        return self.js("document.querySelector('#count').textContent.match(/^All ([\\d,]+) /)[1]")

    def open_details(self) -> None:
        self.js("document.querySelectorAll('details').forEach(e => e.open = true)")
        self.settle()

    def requests(self) -> list[str]:
        """Addresses that the page asked for, those within it (``data:``) left out."""
        events = [json.loads(entry["message"])["message"] for entry in self.driver.get_log("performance")]
        sent = [event["params"] for event in events if event["method"] == "Network.requestWillBeSent"]
        return [one["request"]["url"] for one in sent if not one["request"]["url"].startswith("data:")]


def address(changes) -> str:
    return f"address({json.dumps(changes)})"


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
    rng, image = np.random.default_rng(1), np.arange(36) % 12
    files = write_photographs(tmp_path_factory.mktemp("photographs"), [(120, 80)] * 12)
    corner = rng.integers(0, 60, (36, 2))
    boxes = np.concatenate([corner, corner + rng.integers(15, 20, (36, 2))], axis=1)
    names = [f"photo{n}" for n in range(12)], CLASSES
    truth = GroundTruth(*names, [[120, 80]] * 12, image, np.arange(36) % 3, boxes, files=files)
    made = []
    for name, jitter in (("plain", 3.0), ("shuffled", 6.0)):
        moved = boxes + rng.normal(0, jitter, (36, 2))[:, [0, 1, 0, 1]]
        labels = np.where(rng.random(36) < 0.4, (np.arange(36) + 1) % 3, np.arange(36) % 3)
        found = Detections(*names, image, labels, rng.random(36), moved)
        made.append(diagnose(truth, found, name, [["dog", "cat"]], coco=False))
    return made


def two_classes(moved_by, name, rows=slice(None), dogs=24) -> Diagnosis:
    """Dogs and cats, 30 in all, one in an image; the detections are `moved_by` so much."""
    labels, boxes = np.repeat([0, 1], [dogs, 30 - dogs]), np.tile([20.0, 20, 50, 50], (30, 1))
    names = [f"{n}" for n in range(30)], ["dog", "cat"]
    truth = GroundTruth(*names, [[90, 90]] * 30, range(30), labels, boxes)
    columns = np.arange(30), labels, np.linspace(0.9, 0.3, 30), boxes + moved_by * np.array([1, 0, 1, 0])
    return diagnose(truth, Detections(*names, *(column[rows] for column in columns)), name)


def many_classes(number) -> list[Diagnosis]:
    """Two detectors that take each class for some others; more cells than there are photographs in a page."""
    rng, count = np.random.default_rng(1), 12 * number
    names = [f"{n}" for n in range(count)], [f"class {n}" for n in range(number)]
    labels, corner = np.arange(count) % number, rng.integers(0, 60, (count, 2))
    boxes = np.concatenate([corner, corner + 30], axis=1)
    truth = GroundTruth(*names, [[100, 100]] * count, range(count), labels, boxes)
    made = []
    for name, wrong in (("a", 0.5), ("b", 0.6)):
        taken = np.where(rng.random(count) < wrong, rng.integers(0, number, count), labels)
        moved = boxes + rng.integers(-9, 9, (count, 1))
        found = Detections(*names, range(count), taken, rng.random(count), moved)
        made.append(diagnose(truth, found, name, coco=False))
    return made


def written(diagnoses, folder, replicates=0, groups=None, notes=(), **others) -> Path:
    """The page of some detectors; with intervals, where there are `replicates`."""
    more = ()
    if replicates:
        comparison = compare(diagnoses, replicates=replicates, groups=groups)
        intervals = comparison_to_json(comparison), intervals_to_json(comparison)
        more = *intervals, list(notes), comparison.verdict
    numbers = to_json(diagnoses, {"command": "python -m diagnosis"}, *more)
    return write_report(ReportContent(diagnoses, numbers, **others), folder / "report.html")


@pytest.fixture(scope="module")
def report(diagnoses, tmp_path_factory) -> Path:
    return written(diagnoses, tmp_path_factory.mktemp("report"), replicates=4, notes=["A note."])


# ---- one state, in the address -------------------------------------------------------------------


def test_from_a_bar_of_similar_to_its_pictures_in_one_click_and_back(browser, report, diagnoses):
    browser.open(report)
    everything = len(browser.shown(".shot"))
    browser.click("#answer a.row[data-tip^='similar, B']")
    assert browser.state() == {"tab": "examples", "side": "errors", "kind": "similar", "d": "B"}
    examples = [one for one in collect(diagnoses, Gallery()).shown if not one["beyond"]]
    wanted = [
        one for one in examples if (one["side"], one["kind"], one["detector"]) == ("errors", "similar", 1)
    ]
    captions = browser.shown(".shot .caption")
    assert 0 < len(captions) == len(wanted) < everything
    assert all("similar" in caption and "truth: " in caption for caption in captions)
    scores = [float(re.search(r"\d\.\d\d", caption)[0]) for caption in captions]
    assert scores == sorted(scores, reverse=True)
    assert browser.js("document.activeElement.id") == "panel-title"
    state = browser.js("location.hash.slice(1)")
    browser.js("history.back()")
    browser.settle()
    assert len(browser.shown(".shot")) == everything
    browser.open(report, state=state)
    assert browser.shown(".shot .caption") == captions
    assert browser.shown("#chips [aria-pressed=true]") == ["Bshuffled"]


@pytest.mark.parametrize("side", ["errors", "missed", "only-A", "only-B", "neither"])
def test_every_side_has_pictures_with_classes_and_scores(browser, report, side):
    browser.open(report, state=f"side={side}")
    assert browser.shown(".shot")
    tags = [tag for tag in browser.shown(".shot:first-child svg text") if tag]
    assert len(tags) >= (1 if side == "missed" else 2) or side == "errors"
    assert browser.shown("#panel .sides [aria-current]")[0].endswith(f"({browser.all_pictures()})")


@pytest.mark.parametrize(
    ("tab", "selector", "keys"),
    [
        ("errors", ".matrix td a", {"class", "d"}),
        ("errors", ".chart a.row[data-tip*='taken for']", {"class", "as", "d"}),
        ("errors", ".chart a.row[data-tip^='localization removed']", {"kind", "d"}),
        ("compare", "svg a[aria-label*='under']", {"kind"}),
        ("classes", ".stacked a", {"class", "kind", "d"}),
        ("classes", "tbody th a", {"class"}),
    ],
    ids=["matrix", "confusion", "cost", "ribbon", "share", "class"],
)
def test_a_link_leads_to_its_examples(browser, report, tab, selector, keys):
    browser.open(report, state=f"tab={tab}")
    event = "new MouseEvent('click', {bubbles: true, cancelable: true})"  # which links of SVG know too
    browser.js(f"document.querySelector({json.dumps(selector)}).dispatchEvent({event})")
    browser.settle()
    found = browser.state()
    assert found["tab"] == ("classes" if selector == "tbody th a" else "examples")
    assert keys <= set(found)


@pytest.mark.parametrize("number", [3, 80])
def test_every_link_to_examples_shows_one(browser, tmp_path, diagnoses, number):
    """And each number of the matrix, each bar and each confusion is a link, however few photographs fit."""
    diagnoses = diagnoses if number == 3 else many_classes(number)
    browser.open(written(diagnoses, tmp_path, gallery=Gallery(total=12)))
    followed = set()
    for tab in ("classes", "compare", "errors"):
        browser.go(f"tab={tab}")
        links = "[...document.querySelectorAll('#answer [data-go], #panel [data-go]')]"
        followed |= set(browser.js(f"{links}.map(e => e.dataset.go)"))
        assert not browser.shown(".matrix td.plain, .stacked span + span, .stacked a ~ span")
        assert tab != "errors" or len(browser.shown(".matrix td a")) > (100 if number == 80 else 5)
        hidden = browser.shown(".matrix", "scrollHeight - e.clientHeight")
        assert max(hidden, default=0) < 20  # all rows are in sight
        bars = "[...document.querySelectorAll('.row:has(.value)')].filter(e => e.querySelector('.value')"
        assert browser.js(f"{bars}.textContent === '0' && e.querySelector('.fill')).length") == 0
    examples = [go for go in map(json.loads, followed) if go.get("tab") == "examples"]
    assert len(examples) > 12
    for go in examples[:: 1 + len(examples) // 60]:
        browser.go(go)
        assert browser.shown(".shot"), go


def test_the_pictures_of_a_cell_are_those_that_it_counts(browser, tmp_path, diagnoses):
    """Of each cell of the matrix; a cell without a picture of its own is a plain number."""
    browser.open(written(diagnoses, tmp_path))
    examples, nowhere, seen = collect(diagnoses, Gallery()).shown, len(CLASSES), set()
    for letter, one in zip("AB", diagnoses, strict=True):
        browser.go(f"tab=errors&of={letter}")
        cells = browser.shown(".matrix td a", "dataset.go"), browser.shown(".matrix td a")
        assert len(cells[0]) > 6
        for go, number in zip(*cells, strict=True):
            browser.go(json.loads(go))
            at = browser.state()
            label = CLASSES.index(at["class"])
            row, column = (label, CLASSES.index(at["as"])) if "as" in at else (nowhere, label)
            if at["side"] == "missed":
                row, column = label, nowhere
            seen.add((row == nowhere) - (column == nowhere))
            count = one.confusion.counts[row, column]
            assert count == int(number)
            pictures = browser.shown(".shot", "dataset.go")
            assert 0 < len(pictures) <= count, (row, column)
            assert f"The confusion matrix has {count} " in browser.text("#count")
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
    browser.go({"tab": "examples", "side": "errors", "class": "dog", "cell": "1"})
    assert "on background in the matrix×" in browser.shown(".tokens a")
    assert "what is left over is on background." in browser.text("#count")


def test_words_of_the_errors_say_what_is_meant(browser, report):
    """What the matrix has in its last column is not found at a threshold; that is not to be missed."""
    browser.open(report, state="tab=errors")
    assert "false positives, all classes together" in browser.text("#panel")  # the axis of the pooled ones
    assert browser.shown(".matrix thead th")[-1] == "not found"
    assert not [one for one in browser.shown(".matrix [data-tip]", "dataset.tip") if "missed" in one]


def test_a_click_in_a_row_opens_its_class(browser, report):
    browser.open(report, state="tab=classes")
    browser.click("#classes tbody tr:nth-child(2) td:nth-child(2)")
    assert browser.state()["class"] == "cat"
    assert browser.shown("#classes td.detail h4")
    for size in (DESKTOP, TABLET, PHONE):
        browser.resize(size)
        browser.settle()
        ends = browser.shown("td.detail .numbers table", RIGHT)
        assert ends
        assert max(ends) <= browser.js(f"document.querySelector('#classes').closest('.table-box').{RIGHT}")


def test_a_kind_is_chosen_and_left_by_its_chip(browser, report):
    browser.open(report, state="tab=examples&kind=similar,other")
    assert browser.shown(".tokens [aria-current]") == ["similar×", "other×"]
    assert len(browser.shown(".tokens > *")) == 4
    browser.click(".tokens [aria-label^=other]")
    assert browser.state()["kind"] == "similar"
    found = [one for detector in browser.js("data.detectors") for one in detector["classes"]]
    counted = sum(round(one["counted"] * one["shares"][2]) for one in found if one["counted"])
    assert f"All {counted} errors among the detections counted, the most" in browser.text("#count")


def test_a_class_opens_its_curve_confusions_and_pictures(browser, report):
    browser.open(report, state="tab=classes&class=dog")
    headings = ["Precision over recall", "Confusions", "Pictures", "All numbers"]
    assert browser.shown("td.detail h4") == headings
    assert len(browser.shown("td.detail path.curve", "tagName")) == 2
    assert browser.shown("td.detail .shot")
    for down in (False, True):
        browser.click("#classes th a[data-go*=objects]")
        numbers = browser.shown("#classes > tbody > tr:not(:has(.detail)) > td:nth-child(2)")
        assert numbers == sorted(numbers, key=int, reverse=down)


def test_search_slider_and_chips(browser, report):
    browser.open(report)
    assert "Only pictures" in browser.shown(".slider", "dataset.tip")[0]
    whole = int(browser.all_pictures())
    for selector, value, key in (("#class", "dog", "class"), ("#score", "0.5", "score")):
        browser.js(TYPE.format(selector, value))
        browser.settle()
        assert browser.state()[key].startswith(value)
        assert int(browser.all_pictures()) < whole
    captions = browser.shown(".shot .caption b")
    assert all(c.startswith("dog ") and float(c.split()[1]) >= 0.5 for c in captions)
    browser.click("#chip-0")
    assert browser.state()["d"] == "B"
    assert browser.shown("#answer a.row[data-tip^='similar, A']")  # all stay on the first screen


FIX_FIRST = "#first .stack > :last-child"


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
    browser.open(written(both, tmp_path, replicates=20))
    assert browser.js("data.intervals.map(one => one.rank)") == [1, 2]
    gains = browser.shown(f"{FIX_FIRST} .group")
    assert re.match(rf"missed object.*few: \+{percent(costs['miss'])} ", gains[0])
    # Its own largest, the largest first, though the other pays more for wrong places.
    said = [re.search(r"few: (\+[\d.]+) ", one)[1] for one in gains]
    own = sorted((costs[name] for name in ("miss", "cls", "dupe")), reverse=True)
    assert said == [f"+{percent(value)}" for value in own]
    assert both[1].tide.dap["loc"] > costs["cls"]
    assert "few's largest first." in browser.text(f"{FIX_FIRST} .note")
    browser.open(written(both, tmp_path))
    assert re.match("wrong place.*shifted: ", browser.shown(f"{FIX_FIRST} .group")[0])
    assert ": the largest of any of them first." in browser.text(f"{FIX_FIRST} .note")


def test_bold_is_what_is_clear_of_a_class_with_enough_objects(browser, tmp_path):
    both = [two_classes(0, "right"), two_classes(14, "beside")]
    browser.open(written(both, tmp_path, replicates=20), state="tab=classes")
    for selector in ("#classes .gap.clear", "#classes .gap:not(.clear)"):
        assert browser.shown(selector) == ["−100.0"]
    assert "No interval: nearly all resamples" in browser.text("#panel > .note")
    browser.go("tab=compare")
    assert "AP50" in browser.shown(".forest .name.clear")
    few = [two_classes(0, "right", dogs=15), two_classes(14, "beside", dogs=15)]
    browser.open(written(few, tmp_path, replicates=20), state="tab=compare")
    assert "no class mean is, as no class has 20 objects" in browser.text("#panel .note")
    heading = "closest('.chart').querySelector('h3').textContent"
    assert set(browser.shown(".forest .clear", heading)) == {"Shares, all classes pooled"}
    assert browser.shown(".forest .clear .span") == []


def test_classes_that_the_data_do_not_have_are_left_out_of_the_list(browser, report):
    browser.open(report, state="tab=classes")
    assert browser.shown("#classes tbody th") == ["dog", "cat", "bus"]
    assert "objects of 3 of 5 classes" in browser.text("#facts")
    browser.click("#panel a.more")
    assert len(browser.shown("#classes tbody th")) == 5
    browser.go("tab=classes&class=unseen")
    assert len(browser.shown("#classes tbody th")) == 1
    browser.go("class=zebra")
    assert browser.shown("#count") == ["No class is called zebra."]


def test_boxes_end_where_the_part_of_the_photograph_ends(browser, report):
    browser.open(report)
    boxes = ".shot svg.picture rect.box"
    assert len(browser.shown(boxes, "tagName")) > 20
    assert all(browser.shown(boxes, "parentNode.matches('svg svg')"))
    cut = "ownerDocument.defaultView.getComputedStyle(e.parentNode).overflow"
    assert set(browser.shown(boxes, cut)) == {"hidden"}


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


def test_numbers_that_lead_to_pictures_are_told_beside_them(browser, report, diagnoses):
    """Of a ribbon, and of the confusion matrix, which counts by another rule."""
    number = flow(*diagnoses).total()[0, 1]
    browser.open(report, state="side=only-A&kind=localization")
    assert browser.text("#count").startswith(f"All {number} objects, the most confident first.")
    for state, cell, words in (
        ("side=missed&class=dog", (0, -1), "not found"),
        ("side=errors&class=cat&as=dog", (1, 0), "taken for dog"),
        ("side=errors&class=dog&kind=background", (-1, 0), "on background"),
        ("side=errors&class=dog&cell=1", (-1, 0), "on background"),
    ):
        browser.go(f"d=B&{state}")
        has = f"The confusion matrix has {diagnoses[1].confusion.counts[cell]} {words}"
        assert f"{has}: it counts all detections" in browser.text("#count")


FOCUSED = "[document.activeElement.dataset.go, document.activeElement.textContent]"
TYPE = "(e => {{ e.value = '{1}'; e.dispatchEvent(new Event('input')); }})(document.querySelector('{0}'))"


def back(browser) -> None:
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
    tab.click(f"#answer a.row[data-go='{bar}']")
    first = tab.state()
    tab.js("document.querySelector('#class').focus()")
    for typed in ("d", "do", "dog"):
        tab.js(TYPE.format("#class", typed))
    tab.settle()
    assert tab.state() == first | {"class": "dog"}
    back(tab)
    assert tab.state() == first
    assert tab.js("document.querySelector('#class').value") == ""
    back(tab)
    assert tab.state() == {}
    assert tab.js(FOCUSED)[0] == bar
    tab.go("tab=errors")
    cell = tab.js(
        "(e => { e.focus(); const was = [e.dataset.go, e.textContent]; e.click(); return was; })"
        "([...document.querySelectorAll('.matrix td a')].at(-1))"
    )
    tab.settle()
    assert tab.state()["tab"] == "examples"
    back(tab)
    assert tab.state() == {"tab": "errors"}
    assert tab.js(FOCUSED) == cell


def test_a_bar_of_tide_opens_its_errors_and_a_sum_none(browser, report, diagnoses):
    browser.open(report, state="tab=errors")
    chart = (
        "[...document.querySelectorAll('figure.chart')].find(e => e.textContent.startsWith('What each error"
    )
    rows = chart + " type costs ({})')).querySelectorAll('.row')"
    tide, hoiem = (
        browser.js(f"[...{rows.format(rules)}].map(e => [e.dataset.tip, e.dataset.go])")
        for rules in ("TIDE", "Hoiem")
    )
    assert len(tide) == 16
    followed = 0
    for tip, go in tide:
        label, detector = re.match(r"(.+), ([AB]) ", tip).groups()
        (name,) = [name for name, said in TIDE_LABELS.items() if said == label]
        count = diagnoses["AB".index(detector)].tide.counts.get(name)
        if name in ("fp", "fn") or not count:
            assert go is None, tip
            continue
        browser.go(json.loads(go))
        followed += 1
        assert browser.js("chosen().map(one => one.tide)") == [name] * count, tip
        assert f"TIDE: {label}×" in browser.shown(".tokens a")
        words = f"All {count} " if count > 1 else "The only "
        assert re.match(f"{words}.+ by TIDE's rules", browser.text("#count"))
    assert followed >= 6
    for tip, go in hoiem:
        mended = re.match(r"all but|(.+?)(?: and (.+))? (?:removed|corrected)", tip)
        if mended[0] == "all but":
            assert go is None, tip
        elif go and "corrected and" not in tip:
            names = sorted(name.removeprefix("pure ") for name in mended.groups() if name)
            assert sorted(json.loads(go)["kind"].split(",")) == names, tip


def test_of_three_detectors_the_pair_of_the_verdict_is_compared(browser, tmp_path):
    three = [two_classes(shift, name) for shift, name in ((14, "last"), (2, "first"), (5, "second"))]
    browser.open(written(three, tmp_path, replicates=20), state="tab=compare")
    title = "What became of each object, from {} to {}"
    assert title.format("first", "second") in browser.shown("#panel h3")
    assert "second − first" in browser.shown("#panel h3")
    chosen = "document.querySelector('#pair').selectedOptions[0].textContent"
    assert browser.js(chosen) == "B first and C second (verdict)"
    browser.go("")
    sides = [one.split(" (")[0] for one in browser.shown(".sides a")]
    assert sides[2:] == ["Only B right", "Only C right", "Neither right"]
    browser.go("tab=compare")
    browser.js(
        "(e => { e.value = 'A-C'; e.dispatchEvent(new Event('change', {bubbles: true})); })"
        "(document.querySelector('#pair'))"
    )
    browser.settle()
    assert browser.state() == {"tab": "compare", "pair": "A-C"}
    assert title.format("last", "second") in browser.shown("#panel h3")
    assert browser.js(chosen) == "A last and C second"
    assert browser.js("document.activeElement.id") == "pair"
    browser.go("tab=compare&d=A,B")
    assert browser.js(chosen) == "A last and B first"
    browser.open(written(three[:2], tmp_path, replicates=20), state="tab=compare")
    assert not browser.shown("#pair")


def test_what_is_left_out_is_told_exactly(browser, tmp_path, diagnoses):
    path = written(diagnoses, tmp_path, gallery=Gallery(each=1, most=20))
    for letter, one in zip("AB", diagnoses, strict=True):
        browser.open(path, state=f"d={letter}")
        wrong = np.flatnonzero(one.breakdown.counted_types > 0)
        scores = np.sort(one.detections.scores[wrong])[::-1]
        pattern = r"The (\d+) most confident of (\d+) errors among the detections counted, then (\d+) more, "
        said = browser.text("#count")
        first, total, others = map(int, re.match(pattern, said).groups())
        pictures = browser.js("chosen().map(one => one.score)")
        assert (total, first + others) == (len(wrong), len(pictures))
        assert pictures[:first] == pytest.approx(scores[:first], abs=1e-5)
        assert f"others of a score below {scores[first]:.2f}." in said
        assert f"False positives ({first + others} of {total})" in browser.shown(".sides a")


def test_the_matrix_of_many_classes_has_those_with_confusions(browser, tmp_path):
    truth = many_classes(40)[0].truth
    labels = np.where(truth.labels < 3, (truth.labels + 1) % 3, truth.labels)
    columns = truth.image_index, labels, np.full(len(labels), 0.5), truth.boxes
    one = diagnose(truth, Detections(truth.images, truth.classes, *columns), "one", coco=False)
    browser.open(written([one], tmp_path), state="tab=errors")
    assert browser.shown(".matrix tbody th") == ["class 0", "class 1", "class 2", "background"]
    assert "3 of 40 classes: those with confusions." in browser.text("#panel .note")


def test_what_does_not_differ_in_any_class_has_no_chart(browser, tmp_path):
    both = [two_classes(0, "all"), two_classes(0, "half", slice(0, 12))]
    browser.open(written(both, tmp_path, replicates=20), state="tab=compare")
    (chart,) = browser.js(
        "[...document.querySelectorAll('figure.chart')].filter(e => e.querySelector('h3').textContent === "
        "'half − all by class').map(e => [...e.querySelectorAll('h4')].map(h => h.textContent))"
    )
    assert chart == ["AP50"]
    browser.go("kind=similar")
    assert browser.shown("#count") == ["There is no such error among the detections counted."]


def test_of_groups_the_first_screen_says_how_many_runs_and_what_the_interval_includes(browser, tmp_path):
    runs = [two_classes(shift, f"run {shift}") for shift in (0, 2, 5, 14)]
    groups = {"good": ["run 0", "run 2"], "bad": ["run 5", "run 14"]}
    browser.open(written(runs, tmp_path, replicates=20, groups=groups))
    said = (
        "good is the mean of 2 runs, bad is the mean of 2 runs; its intervals include seed-to-seed variation."
    )
    assert f"Verdict: {said} Bars: each run by itself." in browser.text("#facts")
    sides = [one.split(" (")[0] for one in browser.shown(".sides a")]
    assert sides[2:4] == ["Only A right", "Only C right"]  # of the other group
    browser.go("tab=compare")
    assert "What became of each object, from run 0 to run 5" in browser.shown("#panel h3")
    browser.open(written(runs[:2], tmp_path, replicates=20))
    assert "seed" not in browser.text("#facts")


def test_a_class_of_which_nothing_is_found_has_no_error_that_it_is_mostly_of(browser, tmp_path):
    both = [two_classes(0, "right", slice(0, 12)), two_classes(0, "cats", slice(24, 30))]
    browser.open(written(both, tmp_path, replicates=20))
    (worst,) = browser.shown(".worst")
    assert "none found" in worst
    assert "mostly" not in worst
    words = "B finds no object of dog: what is missed there has no cost in TIDE."
    assert words in browser.text(f"{FIX_FIRST} .note")


def test_a_detector_that_finds_nothing_is_not_said_to_lack_no_ap(browser, tmp_path):
    for dogs, words in (
        (24, "No type of error costs "),
        (15, ".*A finds no object of dog, cat: what is missed there has no cost in TIDE. Too few objects"),
    ):
        both = [two_classes(0, "silent", slice(0), dogs), two_classes(0, "right", dogs=dogs)]
        browser.open(written(both, tmp_path, replicates=20))
        assert re.match(words, browser.text(f"{FIX_FIRST} .note"))


def test_the_notes_are_one_click_or_key_away(browser, report):
    browser.open(report)
    browser.js("document.querySelector('#facts a').focus()")
    browser.press(Keys.ENTER)
    for _ in range(2):
        browser.settle()
        assert browser.js("document.activeElement.id") == "notes"
        assert 0 <= browser.js(f"document.activeElement.{TOP}") < DESKTOP[1] / 2
        assert browser.shown("#notes li") == ["A note."]
        browser.js("scrollTo(0, 0)")
        browser.click("#facts a")  # again, though the address stays as it is
    assert browser.state() == {"tab": "method", "part": "notes"}
    browser.click("#tabs a")
    assert browser.state() == {"tab": "examples"}


def test_large_pictures_by_key(browser, report):
    browser.open(report)
    browser.js("document.querySelector('.shot').focus()")
    pictures = []
    for key, words in ((Keys.ENTER, "1 of "), (Keys.ARROW_RIGHT, "2 of ")):
        browser.press(key)
        browser.settle()
        pictures.append(browser.state()["pic"])
        assert browser.shown("dialog .steps span")[0].startswith(words)
    assert pictures[0] != pictures[1]
    browser.press(Keys.ESCAPE)
    browser.settle()
    assert "pic" not in browser.state()
    assert browser.js("document.activeElement.className") == "shot"


def test_the_page_by_keyboard_alone(browser, report):
    browser.open(report)
    for key, reached in ((Keys.TAB, "skip"), (Keys.ENTER, "main")):
        browser.press(key)
        assert browser.js("document.activeElement.id") == reached
    for _ in range(40):
        browser.press(Keys.TAB)
        if browser.js("document.activeElement.textContent") == "Errors":
            break
    assert browser.js("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    browser.press(Keys.ENTER)
    browser.settle()
    assert browser.state()["tab"] == "errors"
    browser.js("document.querySelector('.matrix td a[tabindex=\"0\"]').focus()")
    before = browser.js("document.activeElement.ariaLabel")
    browser.press(Keys.ARROW_RIGHT)
    browser.press(Keys.ARROW_DOWN)
    assert browser.js("document.activeElement.ariaLabel") != before
    assert len(browser.shown(".matrix td a[tabindex='0']")) == 1


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


def tabs_that_fit(browser, size):
    """All tabs with a class opened and all details: nothing overflows, no words lie on words."""
    for tab in TABS:
        browser.go(f"tab={tab}&class=dog")
        browser.open_details()
        assert browser.js("document.documentElement.scrollWidth") <= size[0], (size, tab)
        assert browser.js(OVERFLOW) == [], (size, tab)
        assert browser.js(OVERLAPS) == [], (size, tab)
        yield tab


@pytest.mark.parametrize("size", [DESKTOP, TABLET, PHONE], ids=["1440", "768", "390"])
def test_nothing_overflows_overlaps_or_is_pale_or_requested(browser, report, size):
    browser.open(report, size)
    for tab in tabs_that_fit(browser, size):
        for scheme in ("light", "dark"):
            browser.media("", scheme)
            browser.settle()
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
        buttons = browser.shown(".bar button", RIGHT)
        assert max(buttons) <= browser.js(f"document.querySelector('.bar .wide').{RIGHT}")
        tops = browser.shown("header input, header button", TOP)
        assert size == PHONE or tops[-1] - tops[number] < 12  # the search and the theme are in one line
        tables = browser.shown("#first summary", BOTTOM)
        assert len(tables) == 3
        assert size != DESKTOP or max(tables) < size[1] * 0.7
        assert size != DESKTOP or max(browser.shown("#first > *", BOTTOM)) <= size[1]
        for tab in tabs_that_fit(browser, size):
            edge = f"document.querySelector('#classes')?.closest('.table-box').{RIGHT}"
            assert tab != "classes" or max(browser.shown("td.detail > *", RIGHT)) <= browser.js(edge), size


def test_words_that_lie_on_words_are_found(browser, report):
    browser.open(report)
    browser.js("document.querySelector('.note').style.cssText = 'position: relative; top: -20px'")
    assert browser.js(OVERLAPS)


AXE = Path(__file__).parents[1] / "fixtures" / "axe.min.js"
"""Of the npm package axe-core, under its own licence (MPL 2.0)."""


def axe(browser, options, part="html") -> list:
    """What axe-core finds serious or critical in a part of the page."""
    return browser.js(
        f"axe.run({json.dumps(part)}, {json.dumps(options | {'resultTypes': ['violations']})}).then(found => "
        "found.violations.filter(v => v.impact === 'serious' || v.impact === 'critical').map(v => "
        "[v.id, v.nodes.map(n => n.html.slice(0, 150) + n.failureSummary.slice(0, 200))]))"
    )


def test_axe_finds_nothing_serious_in_either_theme(browser, report):
    browser.open(report)
    browser.driver.execute_script(AXE.read_text(encoding="utf-8"))
    for scheme in ("light", "dark"):
        browser.media("", scheme)
        browser.settle()
        # Only here: it is axe's slowest rule, and CONTRAST looks at all words of all tabs.
        assert axe(browser, {"runOnly": ["color-contrast"]}, "#answer") == [], scheme
    browser.js("drawPanel(Object.keys(TABS))")
    browser.settle()
    assert axe(browser, {"rules": {"color-contrast": {"enabled": False}}}) == []
    browser.js("document.documentElement.removeAttribute('lang')")
    assert axe(browser, {"runOnly": ["html-has-lang"]}) != []


def test_the_first_screen_holds_the_answer(browser, report):
    browser.open(report)
    bottoms = browser.shown("#first > *", BOTTOM)
    assert len(bottoms) == 3
    assert max(bottoms) <= DESKTOP[1]
    assert browser.js(f"document.querySelector('#tabs').{TOP}") < DESKTOP[1]
    assert browser.js("document.querySelectorAll('.worst svg image').length") == 3
    assert len(browser.shown(".whisker")) >= 8


def test_a_worst_class_has_a_picture_of_the_error_it_names(browser, report):
    browser.open(report)
    browser.settle()
    words = browser.shown(".worst .quiet")
    pictures = browser.shown(".worst svg.picture", "ariaLabel")
    assert len(words) == len(pictures) == 3
    for said, picture in zip(words, pictures, strict=True):
        error = re.match(r"mostly ([\w ]+): costs [\d.]+\spoints \(mean of both\)", said)[1]
        kinds = {"wrong place": "localization", "duplicate": "localization", "missed object": "missed"}
        assert kinds.get(error, error) in picture or error.startswith("wrong class")


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
    browser.open(report)
    browser.js("localStorage.clear()")
    browser.open(report)
    light = browser.js(GROUND)
    browser.media("", "dark")
    browser.settle()
    assert browser.js(GROUND) != light
    assert browser.shown("#theme") == ["Light"]
    browser.click("#theme")
    assert browser.js(GROUND) == light
    browser.open(report, scheme="dark")  # the choice is kept
    assert browser.js(GROUND) == light
    browser.click("#theme")
    browser.media("print", "dark")
    assert browser.js(GROUND) == "rgb(255, 255, 255)"
    browser.media("")
    browser.js("localStorage.clear()")


def test_print_has_all_tabs_on_at_most_six_pages(browser, report):
    browser.open(report, scheme="dark")
    browser.settle()
    assert 2 <= browser.pages() <= 6
    with browser.on_paper():
        assert browser.shown("#panel > h2") == [tab.capitalize() for tab in TABS]
        for heading in ("Shares, all classes pooled", "AP gained (TIDE's dAP)"):
            assert heading in browser.shown("#panel .chart:has(.forest) h3")
        assert len(browser.shown("svg.plot path", "tagName")) >= 12  # each chart is drawn
        assert len(browser.shown(".shot")) == 4
        assert browser.text("#count").startswith("4 of ")
        notes = "".join(browser.shown("#main .note", "innerText"))
        assert not re.search("Click|leads? to|opens its|Arrow keys", notes)
    browser.go("class=dog")
    with browser.on_paper():  # what is drawn for another width is scaled
        scales = browser.shown("#panel svg.plot", "getBoundingClientRect().width / e.viewBox.baseVal.width")
        assert len(scales) > 8
        assert max(scales) < 1.3 * min(scales)
    browser.go("")
    assert browser.shown("#panel > h2") == ["Examples"]


@pytest.mark.parametrize("number", [2, 3, 4])
def test_on_paper_two_columns_fill_the_page(browser, tmp_path, diagnoses, number):
    """Curves of three and four detectors stand side by side; six pages at most."""
    some = [dataclasses.replace(diagnoses[n % 2], name=f"detector {n}") for n in range(number)]
    browser.open(written(some, tmp_path, replicates=4))
    assert browser.pages() <= 6
    with browser.on_paper():
        tops = browser.shown(".pair svg.plot", TOP)
        assert len(tops) == 2 * number  # confidence and error mix
        assert len(set(tops)) == 2
        heights = "[...e.children].map(side => [...side.children].map(one => one.offsetHeight))"
        for sides in browser.js(f"[...document.querySelectorAll('.columns')].map(e => {heights})"):
            left, right = map(sum, sides)
            assert abs(left - right) <= max(max(side, default=0) for side in sides) + 40
        assert browser.js(OVERLAPS) == []
        pair = "[aria-label^='What became'], [aria-label^='F1, precision']"
        figures = set(browser.shown(pair, f"closest('figure').{TOP}"))
        assert len(figures) == (1 if number == 2 else 2)  # a pair's flow stands beside its confidence
        long = "figure.chart:has(> .group), figure.chart:has(> .print-few > .group)"
        assert set(browser.shown(long, "computedStyleMap().get('break-inside').value")) == {"auto"}
        inside = browser.shown("#panel .columns *:not(.hidden-words, .hidden-words *)", RIGHT)
        assert max(inside) <= browser.js(f"document.querySelector('#panel').{RIGHT}") + 1


def test_paper_has_twenty_classes_and_says_so(browser, tmp_path):
    browser.open(written(many_classes(25), tmp_path))
    with browser.on_paper():
        assert len(browser.shown("#classes tbody th")) == 20
        assert "Here are 20 of 25 classes." in browser.text("#panel > .note")
    browser.click("#tabs [href*='tab=classes']")
    assert len(browser.shown("#classes tbody th")) == 25


def test_labels_of_the_flow_do_not_overprint(browser, report):
    browser.open(report, PHONE, state="tab=compare")
    browser.js(
        "data.flow[0].all = Object.fromEntries(data.fates.map(({name}, n) => [name, Object.fromEntries("
        "data.fates.map((other, m) => [other.name, n + m ? 1 : 9000]))]))"
    )
    browser.js("drawPanel()")
    browser.settle()
    names = "svg[aria-label^='What became'] text"
    tops = browser.shown(names, TOP)[1:6]  # after the detector's
    assert len(tops) == 5
    assert min(np.diff(tops)) > 10
    box = browser.shown(names, "ownerSVGElement.getBoundingClientRect().x")[0]
    assert min(browser.shown(names, "getBoundingClientRect().left")) >= box - 1


def test_a_finger_hits_what_it_means(browser, report):
    browser.cdp("Emulation.setTouchEmulationEnabled", {"enabled": True})
    try:
        browser.open(report, PHONE)
        used = "button, input, summary, #tabs a, a.row, a.token"
        heights = browser.shown(used, "getBoundingClientRect().height")
        assert len(heights) > 20
        assert min(heights) >= 40
    finally:
        browser.cdp("Emulation.setTouchEmulationEnabled", {"enabled": False})


def test_tables_sort_and_what_can_be_used_has_a_name(browser, report):
    browser.open(report, state="tab=method")
    table = "#panel [aria-label=Detectors]"
    for order, names in (("ascending", ["plain", "shuffled"]), ("descending", ["shuffled", "plain"])):
        browser.click(f"{table} th button")
        assert browser.shown(f"{table} tbody th")[:2] == names
        assert browser.shown(f"{table} th", "ariaSort")[0] == order
    browser.open_details()
    browser.click(
        "#first table th:last-child button"
    )  # what is missed is known of each detector's objects alone
    missed = browser.shown("#first > figure tbody td:last-child")
    assert missed == [*sorted(missed[:2], key=float, reverse=True), *["–"] * 4]
    for tab in TABS:
        browser.go(f"tab={tab}")
        unnamed = (
            "[...document.querySelectorAll('a, button, input, img, [role=img], [role=region], nav')].filter("
            "e => !(e.ariaLabel || e.getAttribute('aria-labelledby') || e.textContent.trim() || "
            "e.labels?.length)).map(e => e.outerHTML.slice(0, 90))"
        )
        assert browser.js(unnamed) == []


@pytest.mark.parametrize("case", ["neither", "no similar class", "one silent"])
def test_pages_with_little_or_nothing_to_show_draw_every_tab(browser, tmp_path, case):
    """Of one detector and of two, also for addresses that mean nothing."""
    browser.open(written(EMPTY_CASES[case](), tmp_path))
    nonsense = "tab=errors&d=B", "tab=x&d=Z&score=q&pic=99&kind=y"
    for state in (*(f"tab={tab}&class=dog" for tab in TABS), *nonsense):
        browser.go(state)
        words = browser.js("document.querySelector('main').textContent")
        assert len(words) > 200
        assert ("Compare" in words) == (case == "one silent")  # else nothing to compare: no such tab
        assert not re.search("NaN|undefined|null|Infinity|\\[object", words), state
    assert browser.driver.get_log("browser") == []


def test_without_scripts_the_verdict_and_the_sentences_are_there(browser, report):
    browser.cdp("Emulation.setScriptExecutionDisabled", {"value": True})
    try:
        browser.open(report)
        assert len(browser.shown("noscript li")) >= 2
        assert len(browser.text(".verdict")) > 20
    finally:
        browser.cdp("Emulation.setScriptExecutionDisabled", {"value": False})
