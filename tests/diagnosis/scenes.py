"""Made-up scenes for tests: crowded ones, in which everything that can happen does."""

import functools

import numpy as np
from PIL import Image

from data.formats import read_detections, read_voc_folder
from data.records import Detections, GroundTruth
from diagnosis import match, similar_matrix
from diagnosis.average_precision import HoiemScores, score_hits
from diagnosis.matching import Assignment, Matching
from diagnosis.rankings import Hits

BOX, FAR = [0, 0, 10, 10], [50, 50, 60, 60]


def one_image(objects, found, classes=("cat", "dog"), size=100):
    """The records of one image: objects as (class, box[, difficult]), detections as (class, score, box)."""
    truth = GroundTruth(
        ["a"], classes, [[size, size]], [0] * len(objects), [o[0] for o in objects],
        [o[1] for o in objects], [bool(o[2:]) for o in objects],
    )  # fmt: skip
    columns = ([f[i] for f in found] for i in range(3))
    return truth, Detections(["a"], classes, [0] * len(found), *columns)


def matched(objects, found, classes=("cat", "dog"), size=100) -> Matching:
    """The overlaps of :func:`one_image`."""
    return match(*one_image(objects, found, classes, size))


def write_photographs(folder, sizes) -> list[str]:
    """Images of noise, of these widths and heights."""
    files = []
    for number, (width, height) in enumerate(sizes):
        pixels = np.random.default_rng(number).integers(0, 255, (height, width, 3), dtype=np.uint8)
        files.append(str(folder / f"photo{number}.png"))
        Image.fromarray(pixels).save(files[-1])
    return files


@functools.cache
def voc_2007_test(shared_data) -> GroundTruth:
    """VOC 2007 test, read once for all tests."""
    return read_voc_folder(shared_data / "VOCdevkit" / "VOC2007", "test")


@functools.cache
def real_records(shared_data, detector="yolov3") -> tuple[GroundTruth, Detections]:
    """VOC 2007 test, and what a public detector found on it."""
    truth = voc_2007_test(shared_data)
    folder = shared_data / "detections" / detector
    return truth, read_detections(folder, truth.images, truth.classes, sizes=truth.sizes)


def some(found: Detections, kept=slice(None), moved=0, scores=None) -> Detections:
    """Some of the detections, with their boxes moved by so many pixels, or with other scores."""
    columns = found.image_index, found.labels, found.scores if scores is None else scores, found.boxes + moved
    return Detections(found.images, found.classes, *(column[kept] for column in columns))


CLASSES = ("bird", "boat", "cat", "dog", "sofa")


def crowded(
    seed: int = 0, objects: int = 40, detections: int = 160, images: int = 4, crowds: bool = False
) -> Matching:
    """Objects of five classes, some difficult or crowds, and detections near them under any names."""
    draw = np.random.default_rng(seed)
    extent = draw.integers(8, 40, (objects, 2))
    corner = draw.integers(0, 60, (objects, 2))
    boxes = np.concatenate([corner, corner + extent], axis=1).reshape(-1, 4)
    truth = GroundTruth(
        [f"image{i}" for i in range(images)],
        CLASSES,
        np.full((images, 2), 100),
        draw.integers(0, images, objects),
        draw.integers(0, 4, objects),  # no sofa
        boxes,
        *((None, draw.random(objects) < 0.15) if crowds else (draw.random(objects) < 0.15, None)),
        attributes={
            "truncated": draw.integers(-1, 2, objects),
            "pose": draw.choice(["", "Left", "Right"], objects),
            "weight": draw.normal(size=objects),
        },
    )
    source = draw.integers(0, max(objects, 1), detections)
    if objects:
        near = boxes[source] + draw.normal(0, 4, (detections, 4))
        labels = np.where(
            draw.random(detections) < 0.3, draw.integers(0, 5, detections), truth.labels[source]
        )
        places = truth.image_index[source]
    else:
        near = draw.random((detections, 4)) * 90
        labels, places = draw.integers(0, 5, detections), draw.integers(0, images, detections)
    near = np.concatenate(
        [np.minimum(near[:, :2], near[:, 2:]), np.maximum(near[:, :2], near[:, 2:])], axis=1
    )
    scores = np.round(draw.random(detections), 2)  # with equal ones
    return match(truth, Detections(truth.images, CLASSES, places, labels, scores, near))


TOOL_NAMES = {
    "all": "all",
    "ignore_localization": "ignoreloc",
    "fix_localization": "fixloc",
    "only_localization": "onlyloc",
    "ignore_similar": "ignoresimilar",
    "only_similar": "onlysimilar",
    "ignore_background": "ignorebg",
    "only_background": "onlybg",
    "ignore_localization_similar": "ignorelocsim",
}
"""What Hoiem's tool calls the variants of AP impact that it has."""

SIMILAR = similar_matrix(CLASSES, [["cat", "dog", "bird"]])


def hoiem_scores(labels, class_start, objects, normal: float) -> HoiemScores:
    """Hoiem's scores of rankings that are end to end, each a run of labels as `class_start` says."""
    places = np.flatnonzero(labels == 1)
    start = np.searchsorted(places, class_start)
    false = np.concatenate([[0], np.cumsum(labels == -1)])
    above = false[places] - np.repeat(false[class_start[:-1]], np.diff(start))
    return score_hits(Hits.after(above, start), objects, normal).reshaped(len(objects))


def hoiem_ap(labels, objects: int, normal: float) -> HoiemScores:
    """Hoiem's scores of one ranking, each an array without axes."""
    return hoiem_scores(
        np.asarray(labels), np.array([0, len(labels)]), np.array([objects]), normal
    ).reshaped()


def forgiving(assignment: Assignment):
    """Labels as weak matching counts them: a duplicate is 0 (rules, section 2)."""
    return np.where(assignment.duplicates, 0, assignment.outcomes)
