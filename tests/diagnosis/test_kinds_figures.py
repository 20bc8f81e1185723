"""Kinds of input that figures must survive (found by force): very many classes."""

import numpy as np
import pytest

from data.records import Detections, GroundTruth
from diagnosis import diagnose
from diagnosis.compare import compare
from diagnosis.figures import illustrations
from diagnosis.plot import class_differences, impact_bars
from tests.diagnosis.figures import assert_legible, texts

MANY, MEGAPIXELS = 365, 9
CUT = ("error_bars", "ap", "area", "confusion", "tide_confusion", "precision_recall")
"""Figures that show 30 classes."""


@pytest.fixture(scope="module")
def many():
    """Each class has an object, and the last 25 have two."""
    draw, labels = np.random.default_rng(0), np.concatenate([np.arange(MANY), np.arange(MANY - 25, MANY)])
    corner, image = draw.uniform(0, 150, (len(labels), 2)), draw.integers(0, 40, len(labels))
    truth = GroundTruth(
        [f"{number}" for number in range(40)], [f"class {label}" for label in range(MANY)],
        np.full((40, 2), 200), image, labels, np.concatenate([corner, corner + 40], axis=1),
    )  # fmt: skip
    found = np.where(draw.random(len(labels)) < 0.3, draw.integers(0, MANY, len(labels)), labels)
    moved = truth.boxes + np.tile(draw.normal(0, 8, (len(labels), 2)), 2)
    detections = Detections(truth.images, truth.classes, image, found, draw.random(len(labels)), moved)
    return diagnose(truth, detections, "found", coco=False)


def assert_readable(figure):
    assert_legible(figure)
    assert np.prod(160 * figure.get_size_inches()) < 1e6 * MEGAPIXELS


@pytest.mark.parametrize("file", CUT)
def test_of_many_classes_a_figure_shows_those_of_the_most_objects_and_says_so(many, file):
    (figure,) = (illustration.draw() for illustration in illustrations([many]) if illustration.file == file)
    shown = texts(figure)
    assert "the 30 of 365 classes with the most objects" in " ".join(shown)
    assert {"class 364", "class 0"} <= set(shown)
    assert "class 120" not in shown
    assert_readable(figure)


def test_of_many_groups_those_of_the_most_objects_are_shown(many):
    classes = many.truth.classes
    groups = [classes[start : start + 10] for start in range(0, MANY, 10)]
    figure = impact_bars(diagnose(many.truth, many.detections, similar=groups, coco=False))
    assert "the 30 of 38 groups with the most objects" in " ".join(texts(figure))
    assert_readable(figure)


def test_of_many_differences_the_largest_are_shown(many):
    nothing = Detections(many.truth.images, many.truth.classes, [], [], [], [])
    blind = diagnose(many.truth, nothing, "blind", coco=False)
    figure = class_differences(compare([many, blind], replicates=2), "map/area")
    assert "the 30 of 365 classes that differ most" in " ".join(texts(figure))
    assert_readable(figure)
