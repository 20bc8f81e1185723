"""Draws the pictures of README.md beside this file: ``python docs/images/draw.py``."""

import shutil
import subprocess
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from diagnosis import ERROR_TYPES, diagnose, plot
from diagnosis.__main__ import main as run_diagnosis
from diagnosis.demo import read_demo
from diagnosis.figures.gallery import draw_example
from diagnosis.figures.style import new_figure, save_figure, styled, text_colour_on
from diagnosis.record import Diagnosis

HERE = Path(__file__).resolve().parent
PANEL_INCHES = 1.75
DOTS_AN_INCH = 110
PAGE_PIXELS = (1440, 770)


@styled
def kinds(diagnoses: tuple[Diagnosis, ...]):
    """One detection of each kind, the surest, of the detector that has most of them."""
    figure = new_figure(PANEL_INCHES * len(ERROR_TYPES), PANEL_INCHES + 0.3)
    charts = figure.subplots(1, len(ERROR_TYPES))
    figure.subplots_adjust(0.01, 0.01, 0.99, 0.86, 0.06)
    for place, (axes, kind) in enumerate(zip(charts, ERROR_TYPES, strict=True)):
        of = max(diagnoses, key=lambda d: int((d.breakdown.counted_types == place).sum()))
        rows = np.flatnonzero(of.breakdown.counted_types == place)
        axes.set_axis_off()
        draw_example(axes, of, kind.name, int(rows[np.argmax(of.detections.scores[rows])]))
        box = {"facecolor": kind.colour, "edgecolor": "none", "pad": 3}
        axes.set_title(kind.label, size=11, weight="bold", color=text_colour_on(kind.colour), bbox=box)
    return figure


def page(folder: str):
    """The first screen of the demo's report, as Chromium shows it."""
    run_diagnosis(["--demo", "--out", folder])
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if chromium is None:
        raise SystemExit("page.png: found no chromium; expected chromium or google-chrome, to show the page")
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"]
    size = f"--window-size={PAGE_PIXELS[0]},{PAGE_PIXELS[1]}"
    to = f"--screenshot={HERE / 'page.png'}"
    subprocess.run([chromium, *options, size, to, (Path(folder) / "report.html").as_uri()], check=True)


def main() -> None:
    """Write the pictures."""
    with TemporaryDirectory() as folder:
        page(folder)
        truth, baseline, shuffled, similar = read_demo(folder)
        pair = diagnose(truth, baseline, "baseline", similar), diagnose(truth, shuffled, "shuffled", similar)
        save_figure(kinds(pair), HERE / "kinds.png", DOTS_AN_INCH)
        save_figure(plot.gallery(pair[1], "localization", 8), HERE / "gallery.png", DOTS_AN_INCH)
        save_figure(plot.pies(*pair), HERE / "pies.png", DOTS_AN_INCH)


if __name__ == "__main__":
    main()
