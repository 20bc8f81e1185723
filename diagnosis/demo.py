"""``python -m diagnosis --demo``: a report on detections that come with the package.

Two detectors of ``experiments/shapes.yaml`` (seed 0): the baseline, and its twin, trained with the last layer
of its backbone shuffled. Their detections on the first test scenes, those with a score of at least 0.05, are
in ``demo_detections``; the scenes are drawn, always the same.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from data.formats import read_found, read_ground_truth, similar_groups
from data.records import Detections, GroundTruth, InputError

__all__ = ["Demo", "can_open", "draw_scenes", "read_demo", "with_demo"]

FOUND = Path(__file__).parent / "demo_detections"
DETECTORS = ("baseline", "shuffled")
OUT = Path("diagnosis-demo")
SCENES, SIDE = 160, 64
"""How many of the test scenes of ``large-shapes``, and their sides in pixels."""


def with_demo(words: Sequence[str]) -> list[str]:
    """The command line with ground truth, detections and a folder for the demo.

    Raises
    ------
    InputError
        It names ground truth or detections as well.
    """
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--out", type=Path)
    out = parser.parse_known_args(words)[0].out
    for option in ("--ground-truth", "--detections", "--images"):
        if any(word.split("=")[0] == option for word in words):
            raise InputError("--demo", f"{option} as well", "one of them: the demo has data of its own")
    given = ["--ground-truth", f"{_tree(out or OUT)}:test", "--detections"]
    given += [str(FOUND / f"{name}.csv") for name in DETECTORS]
    return [*words, *given, *(() if out else ("--out", str(OUT)))]


def draw_scenes(out: Path) -> None:
    """Draw the scenes that the detections are of into a folder of `out`; those that are there stay."""
    from data.shapes import LARGE, write_shapes

    write_shapes(_tree(out).parent, 0, 0, SCENES, (SIDE, SIDE), style=LARGE)


def can_open() -> bool:
    """Whether a person is at a terminal with a screen, so that a page may open by itself."""
    screen = sys.platform in ("darwin", "win32") or any(map(os.environ.get, ("DISPLAY", "WAYLAND_DISPLAY")))
    return screen and sys.stdout.isatty()


def _tree(out: Path) -> Path:
    return out / "scenes" / "VOCshapes"


class Demo(NamedTuple):
    """The data of the demo, for Python."""

    truth: GroundTruth
    baseline: Detections
    shuffled: Detections
    similar: list[list[str]]
    """Groups of similar classes."""


def read_demo(out: Path | str = OUT) -> Demo:
    """Draw the scenes into `out` and read them, with the detections of both detectors.

    Raises
    ------
    InputError
        `out` is no folder to write to.

    Examples
    --------
    >>> truth, baseline, shuffled, similar = read_demo()  # doctest: +SKIP
    """
    draw_scenes(Path(out))
    spec = f"{_tree(Path(out))}:test"
    truth = read_ground_truth(spec)
    baseline, shuffled = (read_found(FOUND / f"{name}.csv", truth) for name in DETECTORS)
    return Demo(truth, baseline, shuffled, [list(group) for group in similar_groups(spec)])
