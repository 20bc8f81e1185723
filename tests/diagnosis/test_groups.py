"""Groups of similar classes are those of Hoiem's tool for VOC and of COCO's supercategories."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from data.formats import COCO_SIMILAR, VOC_CLASSES, VOC_SIMILAR
from diagnosis.similar import COCO_NAMES, class_groups, similar_matrix


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
