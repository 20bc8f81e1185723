"""Draws the pictures of README.md beside this file: ``python docs/images/draw.py``."""

from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from diagnosis import ERROR_TYPES, diagnose, plot
from diagnosis.demo import read_demo
from diagnosis.figures.gallery import draw_example
from diagnosis.figures.style import new_figure, save_figure, styled, text_colour_on
from diagnosis.record import Diagnosis

HERE = Path(__file__).resolve().parent
PANEL_INCHES = 1.75
DOTS_AN_INCH = 110


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


def main() -> None:
    """Write the pictures."""
    with TemporaryDirectory() as folder:
        truth, baseline, shuffled, similar = read_demo(folder)
        pair = diagnose(truth, baseline, "baseline", similar), diagnose(truth, shuffled, "shuffled", similar)
        save_figure(kinds(pair), HERE / "kinds.png", DOTS_AN_INCH)
        save_figure(plot.gallery(pair[1], "localization", 8), HERE / "gallery.png", DOTS_AN_INCH)
        save_figure(plot.pies(*pair), HERE / "pies.png", DOTS_AN_INCH)


if __name__ == "__main__":
    main()
