"""The web page in headless Chromium: filters, sorting, colours, print, and that nothing leaves the page."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from selenium import webdriver
from selenium.webdriver import ActionChains, Keys

from data.records import Detections, GroundTruth
from diagnosis import ERROR_TYPES, Diagnosis, diagnose, to_json
from diagnosis.report import Gallery, PageFigure, PageTable, ReportContent, write_report
from diagnosis.report.gallery import collect

CLASSES = ("dog", "cat", "bus", "unseen <class>")
DESKTOP, PHONE = (1280, 900), (390, 844)
KEYS = {"Tab": Keys.TAB, "Enter": Keys.ENTER, " ": Keys.SPACE}


class Browser:
    """A page, as a window of some size and a system of some colour scheme show it."""

    def __init__(self, driver: webdriver.Chrome) -> None:
        self.driver, self.cdp = driver, driver.execute_cdp_cmd

    def open(self, path: Path, size: tuple[int, int] = DESKTOP, scheme: str = "light") -> None:
        """Load the page anew; the logs start anew, too."""
        self.resize(size)
        self.media("", scheme)
        for log in ("browser", "performance"):
            self.driver.get_log(log)
        self.driver.get(path.as_uri())

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
    svg = (
        '<svg xmlns="http://www.w3.org/2000/svg" width="90" height="50"><rect width="90" height="50"/></svg>'
    )
    table = PageTable("Numbers", ("name", "value"), (("b", 2.0), ("a", None), ("c", 10.0), ("d", -1.0)))
    tall = PageTable("Tall", ("name", "value"), tuple((f"row {n}", n) for n in range(60)), section="flow")
    content = ReportContent(
        diagnoses,
        to_json(diagnoses, {"command": "python -m diagnosis"}),
        figures=[
            PageFigure("A figure", "Its caption", svg, "curves"),
            PageFigure("A wide figure", "", svg.replace('width="90"', 'width="900"'), "trends"),
        ],
        tables=[table, tall],
    )
    return write_report(content, tmp_path_factory.mktemp("report") / "report.html")


SHOWN = "[...document.querySelectorAll('{}')].filter(e => e.checkVisibility()).map(e => e.{})"


def shown(browser: Browser, selector: str, what: str = "textContent.trim()") -> list[Any]:
    found: list[Any] = browser.js(SHOWN.format(selector, what))
    return found


def click(browser: Browser, selector: str) -> None:
    browser.js(f"document.querySelector({json.dumps(selector)}).click()")


def choose(browser: Browser, selector: str, value: str) -> None:
    browser.js(
        f"(e => {{ e.value = {json.dumps(value)}; e.dispatchEvent(new Event('input')); "
        f"e.dispatchEvent(new Event('change')); }})(document.querySelector({json.dumps(selector)}))"
    )


# ---- quiet ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [DESKTOP, PHONE])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_console_is_silent_and_nothing_is_requested(browser, report, size, scheme):
    browser.open(report, size, scheme)
    browser.open_details()
    browser.js("Promise.all([...document.images].map(e => e.decode()))")
    assert browser.driver.get_log("browser") == []
    assert browser.requests() == [report.as_uri()]


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


def test_nothing_is_wider_than_the_window(browser, report):
    browser.open(report, PHONE)
    browser.open_details()
    for width in (320, 390, 768, 1280):
        browser.resize((width, 844))
        assert browser.js("document.documentElement.scrollWidth") <= width
        wide = "[...document.querySelectorAll('main *, header *')].filter(e => e.checkVisibility() && "
        wide += "!e.closest('.table-box, .paper, svg') && "
        wide += f"e.getBoundingClientRect().right > {width} + 1).map(e => e.outerHTML)"
        assert [text for text in browser.js(wide) if "hidden-words" not in text] == []


# ---- tables --------------------------------------------------------------------------------------


def column(browser: Browser, place: int, table: str = "#further table") -> list[str]:
    rows = f"[...document.querySelector('{table}').tBodies[0].rows]"
    found: list[str] = browser.js(f"{rows}.map(row => row.cells[{place}].textContent.trim())")
    return found


def test_sorting_by_a_column(browser, report):
    browser.open(report)
    heading = "#further th:nth-child({})"
    assert column(browser, 0) == ["b", "a", "c", "d"]
    for place, clicks in ((2, ["cbda", "dbca", "cbda"]), (1, ["abcd", "dcba"])):
        for expected in clicks:
            click(browser, heading.format(place) + " button")
            assert "".join(column(browser, 0)) == expected  # what has no number stays last
    sorts = browser.js("[...document.querySelectorAll('#further th[scope=col]')].map(e => e.ariaSort)")
    assert sorts == ["descending", "none"]


def test_sorting_the_classes_by_their_shares(browser, report, diagnoses):
    browser.open(report)
    table = "#classes-0 table"
    headings = f"[...document.querySelectorAll('{table} thead th')]"
    place = browser.js(f"{headings}.findIndex(e => e.textContent.trim() === 'correct')")
    click(browser, f"{table} th:nth-child({place + 1}) button")
    correct = diagnoses[0].breakdown.shares[:3, 0]
    expected = [CLASSES[n] for n in np.argsort(-correct, kind="stable")]
    assert column(browser, 0, table) == [*expected, CLASSES[3]]


def test_a_heading_sorts_by_key(browser, report):
    browser.open(report)
    browser.js("document.querySelector('#further th:nth-child(2) button').focus()")
    browser.press("Enter")
    assert column(browser, 0) == ["c", "b", "d", "a"]
    browser.press(" ")
    assert column(browser, 0) == ["d", "b", "c", "a"]


def test_choosing_a_table_of_the_classes(browser, report):
    browser.open(report)
    assert shown(browser, ".class-table", "id") == ["classes-0"]
    options = browser.js("[...document.querySelectorAll('#class-view option')].map(e => e.value)")
    assert len(options) > 2
    for identifier in options:
        choose(browser, "#class-view", identifier)
        assert shown(browser, ".class-table", "id") == [identifier]


def test_filtering_the_classes(browser, report):
    browser.open(report)
    rows = "#classes-0 tbody th"
    assert shown(browser, rows) == list(CLASSES)
    choose(browser, "#class-filter", "S")
    assert shown(browser, rows) == ["bus", "unseen <class>"]
    assert shown(browser, "#class-count") == ["2 of 4 classes"]
    choose(browser, "#class-filter", "zebra")
    assert shown(browser, rows) == []
    choose(browser, "#class-filter", "")
    assert shown(browser, rows) == list(CLASSES)


# ---- the gallery ---------------------------------------------------------------------------------


def test_filtering_the_gallery(browser, report, diagnoses):
    browser.open(report)
    click(browser, "#gallery-open")
    examples = collect(diagnoses, Gallery()).shown
    everything = len(examples)
    assert everything > 10

    def expect(count: int) -> None:
        assert len(shown(browser, ".shot", "className")) == count
        assert shown(browser, "#gallery-count") == [f"{count} of {everything} pictures"]

    expect(everything)
    for label in sorted({example.label for example in examples}):
        choose(browser, "#gallery-class", str(label))
        expect(sum(example.label == label for example in examples))
    choose(browser, "#gallery-class", "")
    for kind in range(1, len(ERROR_TYPES)):
        click(browser, f"#gallery-controls [data-kind='{kind}']")
        expect(sum(example.kind > kind for example in examples))
    assert shown(browser, "#gallery-nothing") != []
    for kind in range(1, len(ERROR_TYPES)):
        click(browser, f"#gallery-controls [data-kind='{kind}']")
    assert shown(browser, "#gallery-nothing") == []
    for position in range(2):
        button = f"#gallery-controls [data-detector='{position}']"
        click(browser, button)
        assert browser.js(f'document.querySelector("{button}").ariaPressed') == "false"
        expect(sum(example.detector != position for example in examples))
        click(browser, button)
    expect(everything)


def test_detectors_stand_side_by_side_and_below_each_other_on_a_phone(browser, report):
    for size, beside in ((DESKTOP, True), (PHONE, False)):
        browser.open(report, size)
        tops = shown(browser, ".gallery-type:first-of-type .column", "getBoundingClientRect().top")
        assert len(tops) >= 2
        assert (tops[0] == tops[1]) is beside


def test_opening_and_closing_the_classes(browser, report):
    browser.open(report)
    opened = "[...document.querySelectorAll('.gallery-class')].filter(e => e.open).length"
    assert browser.js(opened) == 1
    click(browser, "#gallery-close")
    assert browser.js(opened) == 0
    choose(browser, "#gallery-class", "1")
    assert browser.js(opened) == 1
    click(browser, "#gallery-open")
    assert browser.js(opened) == browser.js("document.querySelectorAll('.gallery-class').length")


# ---- colours, keys, paper ------------------------------------------------------------------------

GROUND = "getComputedStyle(document.body).backgroundColor"


def test_dark_and_light(browser, report):
    browser.open(report, scheme="light")
    browser.js("localStorage.clear()")
    browser.open(report, scheme="light")
    light = browser.js(GROUND)
    browser.media("", "dark")
    dark = browser.js(GROUND)
    assert dark != light
    pressed = "document.querySelector('#theme').ariaPressed"
    assert browser.js(pressed) == "true"
    click(browser, "#theme")
    assert browser.js(GROUND) == light
    assert browser.js(pressed) == "false"
    browser.open(report, scheme="dark")  # the choice is kept
    assert browser.js(GROUND) == light
    click(browser, "#theme")
    assert browser.js(GROUND) == dark
    browser.media("print", "dark")
    assert browser.js(GROUND) == "rgb(255, 255, 255)"
    browser.media("")
    browser.js("localStorage.clear()")


def test_figures_stand_on_white_also_in_the_dark(browser, report):
    browser.open(report, scheme="dark")
    paper = "getComputedStyle(document.querySelector('.paper')).backgroundColor"
    assert browser.js(paper) == "rgb(255, 255, 255)"
    assert browser.js("document.querySelector('#curves .paper img').naturalWidth") == 90


def test_the_first_key_leads_to_the_content(browser, report):
    browser.open(report)
    browser.press("Tab")
    assert browser.js("document.activeElement.className") == "skip"
    assert browser.js("document.activeElement.getBoundingClientRect().left") >= 0
    browser.press("Enter")
    assert browser.js("document.activeElement.id") == "main"


def test_focus_is_visible(browser, report):
    browser.open(report)
    for _ in range(3):
        browser.press("Tab")
    assert browser.js("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    assert browser.js("parseFloat(getComputedStyle(document.activeElement).outlineWidth)") >= 2


def test_on_paper_all_is_open_and_controls_are_gone(browser, report):
    browser.open(report)
    closed = browser.js("document.querySelectorAll('details:not([open])').length")
    assert closed > 0
    browser.js("dispatchEvent(new Event('beforeprint'))")
    assert browser.js("document.querySelectorAll('details:not([open])').length") == 0
    browser.media("print")
    assert shown(browser, ".controls, .contents, #theme", "className") == []
    assert shown(browser, ".class-table", "id") == ["classes-0", "classes-1"]
    browser.media("")
    browser.js("dispatchEvent(new Event('afterprint'))")
    assert browser.js("document.querySelectorAll('details:not([open])').length") == closed


def test_without_scripts_all_is_shown(browser, report):
    browser.cdp("Emulation.setScriptExecutionDisabled", {"value": True})
    try:
        browser.open(report)
        assert len(shown(browser, ".class-table", "id")) == browser.js(
            "document.querySelectorAll('.class-table').length"
        )
        assert shown(browser, ".needs-script", "className") == []
    finally:
        browser.cdp("Emulation.setScriptExecutionDisabled", {"value": False})


# ---- eyes and fingers ----------------------------------------------------------------------------

CONTRAST = """(() => {
  const parts = colour => colour.match(/[\\d.]+/g).map(Number);
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
  return [...document.querySelectorAll("body *")].filter(
    e => !e.closest("svg, .hidden-words, .skip, option, script") && e.checkVisibility() && words(e)
  ).map(e => {
    const [a, b] = [light(getComputedStyle(e).color), light(ground(e))].sort((x, y) => y - x);
    return [(a + 0.05) / (b + 0.05), e.outerHTML.slice(0, 90)];
  }).filter(([ratio]) => ratio < 4.5);
})()"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_is_told_from_its_ground(browser, report, scheme):
    browser.open(report, scheme=scheme)
    browser.open_details()
    click(browser, "#gallery-controls [data-kind]")  # one that is switched off, too
    assert browser.js(CONTRAST) == []


def test_a_finger_hits_what_it_means(browser, report):
    browser.cdp("Emulation.setTouchEmulationEnabled", {"enabled": True})
    try:
        browser.open(report, PHONE)
        targets = "button, select, input, summary, nav a"
        heights = shown(browser, targets, "getBoundingClientRect().height")
        assert len(heights) > 20
        assert min(heights) >= 44
    finally:
        browser.cdp("Emulation.setTouchEmulationEnabled", {"enabled": False})


def test_wide_figures_keep_their_size_on_a_phone(browser, report):
    browser.open(report, PHONE)
    paper = "document.querySelector('#trends .paper')"
    assert browser.js(f"{paper}.querySelector('img').getBoundingClientRect().width") == 900
    assert browser.js(f"{paper}.scrollWidth > {paper}.clientWidth")
    assert browser.js("document.documentElement.scrollWidth") <= PHONE[0]


def test_the_head_of_a_tall_table_stays(browser, report):
    browser.open(report)
    box = "document.querySelector('#flow .table-box')"
    assert browser.js(f"{box}.scrollHeight > {box}.clientHeight")
    browser.js(f"{box}.scrollTop = 400")
    top = browser.js(f"{box}.querySelector('thead th').getBoundingClientRect().top")
    assert top == pytest.approx(browser.js(f"{box}.getBoundingClientRect().top"), abs=2)
    browser.media("print")
    assert browser.js(f"{box}.scrollHeight <= {box}.clientHeight")
    browser.media("")


def test_filters_by_key(browser, report):
    browser.open(report)
    browser.js("document.querySelector('#gallery-class').focus()")
    browser.press("Tab")
    assert browser.js("document.activeElement.dataset.kind") == "1"
    before = shown(browser, ".gallery-type", "dataset.kind")
    browser.press(" ")
    assert browser.js("document.activeElement.ariaPressed") == "false"
    assert shown(browser, ".gallery-type", "dataset.kind") == [kind for kind in before if kind != "1"]
    browser.press(" ")
    assert shown(browser, ".gallery-type", "dataset.kind") == before


def test_what_can_be_used_has_a_name(browser, report):
    browser.open(report)
    unnamed = browser.js(
        "[...document.querySelectorAll('button, select, input, img, [role=img], [role=region], nav')].filter("
        "e => !(e.ariaLabel || e.alt || e.textContent.trim() || (e.labels && e.labels.length)))"
        ".map(e => e.outerHTML.slice(0, 90))"
    )
    assert unnamed == []
