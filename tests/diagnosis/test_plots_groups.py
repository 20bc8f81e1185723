"""Groups of similar classes are those of Hoiem's tool for VOC; a pie shows a group's mean shares."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.patches import Wedge

from data.formats import COCO_SIMILAR, VOC_CLASSES, VOC_SIMILAR
from data.records import Detections, GroundTruth
from diagnosis import diagnose
from diagnosis.breakdown import ERROR_TYPES
from diagnosis.figures.explanations import example_classes, explanations
from diagnosis.figures.plots_groups import LABELLED, group_pies
from diagnosis.similar import COCO_NAMES, class_groups, similar_matrix
from tests.diagnosis.figures import assert_legible, texts


def scene(names, similar, seed=0):
    """Each class found, some of it badly or under the next class's name."""
    rng = np.random.default_rng(seed)
    count = 4 * len(names)
    corner = rng.uniform(0, 60, (count, 2))
    boxes = np.concatenate([corner, corner + rng.uniform(10, 30, (count, 2))], axis=1)
    labels, image = np.arange(count) % len(names), np.arange(count)
    images = [f"{i}" for i in range(count)]
    truth = GroundTruth(images, names, [[100, 100]] * count, image, labels, boxes)
    moved = boxes + rng.uniform(-4, 4, boxes.shape)
    said = np.where(rng.random(count) < 0.3, (labels + 1) % len(names), labels)
    found = Detections(images, names, image, said, rng.random(count), moved)
    return diagnose(truth, found, f"detector {seed}", similar, coco=False)


def test_groups_of_voc_are_those_of_the_tool():
    groups = class_groups(VOC_CLASSES, similar_matrix(VOC_CLASSES, VOC_SIMILAR))
    assert groups == {
        "all classes": list(VOC_CLASSES),
        "vehicles": ["aeroplane", "bicycle", "boat", "bus", "car", "motorbike", "train"],
        "animals": ["bird", "cat", "cow", "dog", "horse", "sheep"],
        "furniture": ["chair", "diningtable", "sofa"],
    }


def test_groups_of_coco_are_its_supercategories():
    names = ["person", *(name for group in COCO_SIMILAR for name in group)]
    groups = class_groups(names, similar_matrix(names, COCO_SIMILAR))
    assert list(groups) == ["all classes", *COCO_NAMES]
    assert [tuple(members) for members in groups.values()][1:] == list(COCO_SIMILAR)


def test_groups_without_a_known_name_are_called_after_their_classes():
    names = ["a", "b", "c", "d", "e", "f", "g"]
    groups = class_groups(names, similar_matrix(names, [["a", "b"], ["c", "d", "e", "f"]]))
    assert groups == {"all classes": names, "a, b": ["a", "b"], "c, d and 2 more": ["c", "d", "e", "f"]}
    assert class_groups(names, similar_matrix(names)) == {"all classes": names}
    assert class_groups((), np.zeros((0, 0), dtype=bool)) == {"all classes": []}


@given(st.lists(st.sets(st.integers(0, 8), min_size=2), max_size=5))
def test_members_of_a_group_are_similar_to_each_other_and_in_no_other(chosen):
    names = [f"class {n}" for n in range(9)]
    matrix = similar_matrix(names, [[names[n] for n in group] for group in chosen])
    groups = list(class_groups(names, matrix).values())[1:]
    members = [name for group in groups for name in group]
    assert len(members) == len(set(members))
    for group in groups:
        rows = [names.index(name) for name in group]
        assert len(rows) > 1
        assert (matrix[np.ix_(rows, rows)] | np.eye(len(rows), dtype=bool)).all()
    alone = [names.index(name) for name in names if name not in members]
    assert not matrix[np.ix_(alone, alone)].any()  # two that are similar would have made a group


@pytest.mark.parametrize("detectors", [1, 2, 3])
def test_a_pie_shows_the_mean_shares_of_a_group(detectors):
    names, similar = list(VOC_CLASSES), VOC_SIMILAR
    diagnoses = [scene(names, similar, seed) for seed in range(detectors)]
    figure = group_pies(diagnoses)
    groups = class_groups(names, diagnoses[0].similar)
    pies = [axes for axes in figure.axes if any(isinstance(patch, Wedge) for patch in axes.patches)]
    wanted = [
        diagnosis.breakdown.shares[[names.index(name) for name in members]].mean(axis=0)
        for diagnosis in diagnoses
        for members in groups.values()
    ]
    assert len(pies) == len(wanted)
    for axes, shares in zip(pies, wanted, strict=True):
        drawn = {patch.get_label(): (patch.theta2 - patch.theta1) / 360 for patch in axes.patches}
        assert drawn == pytest.approx(
            {kind.name: s for kind, s in zip(ERROR_TYPES, shares, strict=True) if s > 0}
        )
        assert [t.get_text() for t in axes.texts] == [f"{100 * s:.0f}" for s in shares if s >= LABELLED]
    assert {"animals", "vehicles", "furniture"} <= set(texts(figure))
    assert_legible(figure)


def test_a_group_without_detections_has_an_empty_pie():
    truth = scene(["cat", "dog", "bus"], [["cat", "dog"]]).truth
    none = Detections(truth.images, truth.classes, [], [], [], [])
    figure = group_pies([diagnose(truth, none, similar=[["cat", "dog"]], coco=False)])
    assert texts(figure).count("nothing counted") == 2
    assert_legible(figure)


# ---- the example of the legend ---------------------------------------------------------------


def example_of(names, similar):
    example = example_classes(scene(names, similar))
    return example.detected, example.similar, example.other


def test_the_legend_takes_its_example_from_the_data():
    assert example_of(["bus", "cat", "dog"], [["cat", "dog"]]) == ("dog", "cat", "bus")
    assert example_of(["bus", "cat", "dog", "tram"], [["bus", "tram"]]) == ("bus", "tram", "cat")
    assert example_of(["cat", "dog"], [["cat", "dog"]]) == ("dog", "cat", "")
    assert example_of(["bolt", "nut"], []) == ("bolt", "", "nut")
    assert example_of(["bolt"], []) == ("bolt", "", "")
    truth = GroundTruth([], [], [], [], [], [])
    none = diagnose(truth, Detections([], [], [], [], [], []), coco=False)
    assert example_classes(none).detected == ""


def test_classes_with_objects_make_the_better_example():
    truth = GroundTruth(["i"], list("abcdef"), [[9, 9]], [0, 0, 0], [2, 3, 5], [[0, 0, 5, 5]] * 3)
    none = Detections(["i"], list("abcdef"), [], [], [], [])
    example = example_classes(diagnose(truth, none, similar=["ab", "cd"], coco=False))
    assert (example.detected, example.similar, example.other) == ("c", "d", "f")


def test_explanations_say_what_is_similar_here():
    words = explanations(scene(["bus", "tram", "cat"], [["bus", "tram"]]))
    assert words[2].endswith("an object of a similar class, such as bus instead of tram.")
    assert "dog" not in " ".join(words)
    assert explanations(scene(["bolt", "nut"], []))[2].endswith("; no classes are similar here.")
