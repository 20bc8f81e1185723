"""The rules once more, as loops that follow the text sentence by sentence, against the columns."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data.records import Detections, GroundTruth
from diagnosis import (
    assign,
    assign_devkit,
    average_precision,
    break_down,
    flag_error_types,
    match,
    pie_error_types,
    similar_matrix,
)

CLASSES = ("cat", "dog", "bus", "car")
SIMILAR = (("cat", "dog"), ("bus", "car"))
SIZE = 12  # pixels of an image: small, so that boxes overlap, coincide and reach beyond


@st.composite
def scenes(draw):
    """Integer boxes on small images: ties of scores and overlaps, duplicates, difficult objects."""
    images = draw(st.integers(1, 2))
    image, label = st.integers(0, images - 1), st.integers(0, len(CLASSES) - 1)
    low, side, flag = st.integers(0, SIZE - 2), st.integers(1, SIZE), st.booleans()
    objects = draw(st.lists(st.tuples(image, label, low, low, side, side, flag), max_size=8))
    start, extent, score = st.integers(-3, SIZE + 1), st.integers(0, SIZE), st.sampled_from([0.1, 0.5, 0.9])
    found = draw(st.lists(st.tuples(image, label, start, start, extent, extent, score), max_size=14))
    # Many detections hardly differ from an object.
    for near in draw(st.lists(st.integers(0, max(len(objects) - 1, 0)), max_size=8 if objects else 0)):
        image, label, x, y, w, h, _ = objects[near]
        shift, other = draw(st.integers(-1, 2)), draw(st.integers(0, len(CLASSES) - 1))
        chosen = draw(st.sampled_from([label, label, other]))
        score = draw(st.sampled_from([0.5, 0.7]))
        found.append((image, chosen, x + shift, y, min(w, SIZE - x), min(h, SIZE - y), score))
    names = [f"image{i}" for i in range(images)]
    boxes = [[x, y, min(x + w, SIZE), min(y + h, SIZE)] for _, _, x, y, w, h, _ in objects]
    index, labels, difficult = ([o[column] for o in objects] for column in (0, 1, 6))
    truth = GroundTruth(names, CLASSES, [[SIZE, SIZE]] * images, index, labels, boxes, difficult)
    boxes = [[x, y, x + w, y + h] for _, _, x, y, w, h, _ in found]
    return truth, Detections(names, CLASSES, *([f[column] for f in found] for column in (0, 1, 6)), boxes)


# ---- the rules as loops ----------------------------------------------------------------------


def overlap(truth, detections, d, o, clip=True):
    """IoU in VOC's own arithmetic: pixels from 1, the last one included."""
    if detections.image_index[d] != truth.image_index[o]:
        return 0.0
    ax1, ay1, ax2, ay2 = detections.boxes[d] + [1, 1, 0, 0]
    bx1, by1, bx2, by2 = truth.boxes[o] + [1, 1, 0, 0]
    width, height = truth.sizes[truth.image_index[o]]
    if clip:
        ax1, ay1, ax2, ay2 = max(ax1, 1), max(ay1, 1), min(ax2, width), min(ay2, height)
    across, down = min(ax2, bx2) - max(ax1, bx1) + 1, min(ay2, by2) - max(ay1, by1) + 1
    if across <= 0 or down <= 0:
        return 0.0
    union = (ax2 - ax1 + 1) * (ay2 - ay1 + 1) + (bx2 - bx1 + 1) * (by2 - by1 + 1) - across * down
    return across * down / union


def ranking(detections, label):
    rows = [d for d in range(len(detections)) if detections.labels[d] == label]
    return sorted(rows, key=lambda d: -detections.scores[d])  # sorted() is stable


def walk(truth, detections, ranked, label, threshold):
    """Section 2: for each ranked detection label, overlap, object and whether it is a duplicate."""
    taken, result = set(), {}
    for d in ranked:
        objects = [
            o for o in range(len(truth)) if truth.labels[o] == label and overlap(truth, detections, d, o) > 0
        ]
        free = [o for o in objects if o not in taken and overlap(truth, detections, d, o) >= threshold]
        if free:
            best = max(free, key=lambda o: overlap(truth, detections, d, o))  # of equals the first
            taken.add(best)
            result[d] = (0 if truth.difficult[best] else 1, overlap(truth, detections, d, best), best, False)
        else:
            largest = max((overlap(truth, detections, d, o) for o in objects), default=0.0)
            result[d] = (-1, largest, -1, largest >= threshold)
    return result


def weak_label(outcome):
    return 0 if outcome[3] else outcome[0]


def pie_kinds(truth, detections, label, count):
    """Section 3, pie scheme, over the `count` best detections of a class: kind and confused class."""
    ranked = ranking(detections, label)[:count]
    strong = walk(truth, detections, ranked, label, 0.5)
    weak = [walk(truth, detections, ranked, k, 0.1) for k in range(len(CLASSES))]
    kinds = {}
    for d in ranked:
        if strong[d][0] >= 0:
            kinds[d] = (0, -1)
        elif weak_label(weak[label][d]) >= 0:
            kinds[d] = (1, -1)
        else:
            others = [k for k in range(len(CLASSES)) if k != label and weak_label(weak[k][d]) >= 0]
            if not others:
                kinds[d] = (4, -1)
                continue
            chosen = max(others, key=lambda k: weak[k][d][1])
            kinds[d] = (2 if alike(label, chosen) else 3, chosen)
    return kinds


def flag_kind(truth, detections, label):
    """Section 3, flag scheme, of all detections of a class."""
    ranked = ranking(detections, label)
    strong = walk(truth, detections, ranked, label, 0.5)
    weak = [walk(truth, detections, ranked, k, 0.1) for k in range(len(CLASSES))]
    kinds = {}
    for d in ranked:
        touches = [weak_label(weak[k][d]) >= 0 for k in range(len(CLASSES))]
        if strong[d][0] >= 0:
            kinds[d] = 0
        elif touches[label]:
            kinds[d] = 1
        elif any(touches[k] for k in range(len(CLASSES)) if alike(label, k)):
            kinds[d] = 2
        else:
            kinds[d] = 3 if any(touches) else 4
    return kinds


def alike(one, other):
    return one != other and any({CLASSES[one], CLASSES[other]} <= set(group) for group in SIMILAR)


def devkit_labels(truth, detections, label, threshold):
    """VOC's devkit: the object with the largest overlap, taken or not."""
    hit, labels = set(), []
    for d in ranking(detections, label):
        best, largest = -1, -1.0
        for o in range(len(truth)):
            value = overlap(truth, detections, d, o, clip=False)
            if truth.labels[o] == label and value > max(largest, 0.0):
                best, largest = o, value
        if largest < threshold:
            labels.append(-1)
        elif truth.difficult[best]:
            labels.append(0)
        else:
            labels.append(-1 if best in hit else 1)
            hit.add(best)
    return labels


def devkit_ap(labels, objects):
    """VOC's two average precisions of labels by rank, as its two evaluation scripts go about it."""
    points, true, false = [], 0, 0
    for label in labels:
        true, false = true + (label == 1), false + (label == -1)
        points.append((true / objects, true / max(true + false, 1)))
    eleven = sum(max((p for r, p in points if r >= i * 0.1), default=0.0) for i in range(11)) / 11
    area, before = 0.0, 0.0
    for i, (recall, _) in enumerate(points):
        area += (recall - before) * max(p for _, p in points[i:])
        before = recall
    return eleven, area


# ---- against the columns ---------------------------------------------------------------------


@settings(deadline=None, max_examples=150)
@given(scenes(), st.sampled_from([0.1, 0.3, 0.5]))
def test_assignment_is_the_greedy_walk(scene, threshold):
    truth, detections = scene
    overlaps = match(truth, detections)
    result = assign(overlaps, threshold)
    for label in range(len(CLASSES)):
        ranked = ranking(detections, label)
        assert overlaps.ranked(label).tolist() == ranked
        for d, expected in walk(truth, detections, ranked, label, threshold).items():
            overlap_ = pytest.approx(result.overlaps[d])
            assert (result.outcomes[d], overlap_, result.object_rows[d], result.duplicates[d]) == expected


@settings(deadline=None, max_examples=150)
@given(scenes(), st.sampled_from([0.3, 0.5]))
def test_devkit_assignment_and_its_average_precision(scene, threshold):
    truth, detections = scene
    overlaps = match(truth, detections)
    result = assign_devkit(overlaps, threshold)
    table = average_precision(truth, detections, overlaps, iou=threshold, coco=False)
    for label in range(len(CLASSES)):
        labels = devkit_labels(truth, detections, label, threshold)
        assert result.outcomes[overlaps.ranked(label)].tolist() == labels
        objects = int(((truth.labels == label) & ~truth.difficult).sum())
        expected = devkit_ap(labels, objects) if objects else (np.nan, np.nan)
        assert (table.voc07[label], table.area[label]) == pytest.approx(expected, abs=1e-12, nan_ok=True)


@settings(deadline=None, max_examples=150)
@given(scenes(), st.sampled_from([1, 3, "objects", "all"]))
def test_breakdown_is_the_pie_scheme(scene, top):
    """Also: rerunning the matching on the cut list, as the tool does, changes nothing."""
    truth, detections = scene
    overlaps = match(truth, detections)
    similar = similar_matrix(CLASSES, SIMILAR)
    result = break_down(overlaps, similar, None if top == "objects" else top)
    everywhere = pie_error_types(overlaps, similar)
    below = np.ones(len(detections), dtype=bool)
    for label in range(len(CLASSES)):
        objects = int(((truth.labels == label) & ~truth.difficult).sum())
        count = {"objects": objects, "all": len(detections)}.get(top, top)
        kinds = pie_kinds(truth, detections, label, count)
        expected = np.bincount([kind for kind, _ in kinds.values()], minlength=5)
        assert result.counts[label].tolist() == expected.tolist()
        for d, (kind, other) in kinds.items():
            found = (result.counted_types[d], everywhere.types[d], everywhere.confused_with[d])
            assert found == (kind, kind, other)
            below[d] = False
    assert (result.counted_types[below] == -1).all()


@settings(deadline=None, max_examples=150)
@given(scenes())
def test_flag_scheme(scene):
    truth, detections = scene
    overlaps = match(truth, detections)
    flags = flag_error_types(overlaps, similar_matrix(CLASSES, SIMILAR))
    for label in range(len(CLASSES)):
        for d, kind in flag_kind(truth, detections, label).items():
            assert flags[d] == kind
