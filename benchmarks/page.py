"""What the page of a diagnosis costs to make, and how soon a browser can use it.

    python benchmarks/page.py [--rounds 5]

Two detectors of the size of VOC 2007 test, then one with 300 classes. Of each page: its megabytes (there are
no photographs in it), seconds and peak memory of the command that makes it, intervals included, and seconds
in headless Chromium from the request to the first frame after the page has drawn itself, and from a tab's
choice to its frame. The least of some rounds counts. Needs selenium, Chromium and its driver.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from selenium import webdriver

from benchmarks.beside import cost
from benchmarks.diagnosis import written
from benchmarks.synthetic import SIZES, Size

PAGES = {
    "VOC 2007 test, two detectors": SIZES["voc"],
    "300 classes, one detector": Size(5000, 300, 40_000, 250_000, (640, 480), 0.18),
}
FRAMES = "requestAnimationFrame(() => requestAnimationFrame(() => done((performance.now() - start) / 1e3)));"
OPENED = f"const done = arguments[0], start = 0; {FRAMES}"
"""Since the request. The page draws itself while it is loaded; what the driver runs comes after that."""
TAB = f"const [tab, done] = arguments, start = performance.now(); location.hash = `tab=${{tab}}`; {FRAMES}"
TABS = ("classes", "compare", "errors", "method", "examples")


def usable(page: Path, rounds: int) -> tuple[float, float]:
    """Seconds until the page can be used, and until the slowest tab is there."""
    options = webdriver.ChromeOptions()
    for flag in ("headless", "no-sandbox", "disable-gpu", "disable-dev-shm-usage", "window-size=1440,900"):
        options.add_argument(f"--{flag}")
    opened, tabs = [], []
    with webdriver.Chrome(options, webdriver.ChromeService(shutil.which("chromedriver"))) as browser:
        for _ in range(rounds):
            browser.get("about:blank")
            browser.get(page.as_uri())
            opened.append(browser.execute_async_script(OPENED))
            tabs.append(max(browser.execute_async_script(TAB, tab) for tab in TABS))
    return min(opened), min(tabs)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    print(f"{'':32}{'MB':>8}{'made in s':>12}{'peak GB':>10}{'usable in s':>13}{'slowest tab':>13}")
    for name, size in PAGES.items():
        with tempfile.TemporaryDirectory() as folder:
            out = Path(folder) / "out"
            _, seconds, memory = cost(["-m", "diagnosis", *written(size, Path(folder)), "--out", str(out)])
            page = next(out.glob("*.html"))
            opened, tab = usable(page, rounds)
            size_and_cost = f"{page.stat().st_size / 1e6:8.2f}{seconds:12.1f}{memory:10.2f}"
            print(f"{name:32}{size_and_cost}{opened:13.2f}{tab:13.2f}", flush=True)


if __name__ == "__main__":
    main()
