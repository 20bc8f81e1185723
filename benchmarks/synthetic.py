"""Seeded detections that look like a detector's, as many as one asks for."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from data.records import Detections, GroundTruth

__all__ = ["SIZES", "Size", "of_size", "synthetic"]


@dataclass(frozen=True)
class Size:
    """How large a set is drawn, and what it looks like."""

    images: int
    classes: int
    objects: int
    detections: int
    shape: tuple[int, int]  # width and height of an image, in pixels
    side: float  # median side of an object, as a share of the image's
    difficult: float = 0.0
    crowd: float = 0.0
    by_class: bool = False  # in the order of VOC's text files; else by image and score


SIZES = {
    "voc": Size(4952, 20, 14976, 100_000, (500, 375), 0.33, difficult=0.2, by_class=True),
    "coco": Size(5000, 80, 36781, 500_000, (640, 480), 0.18, crowd=0.01),
}


def of_size(detections: int) -> Size:
    """A set like COCO's with so many detections, a hundred an image."""
    images = max(detections // 100, 1)
    return Size(images, 80, 7 * images, detections, (640, 480), 0.18, crowd=0.01)


def synthetic(size: Size, seed: int = 0) -> tuple[GroundTruth, Detections]:
    """Objects crowd in some images and classes; half of the detections are near one, most of them badly."""
    random = np.random.default_rng(seed)
    shape = np.array(size.shape, dtype=np.float64)

    def sides(count: int) -> NDArray[np.float64]:
        common = random.normal(np.log(size.side), 0.8, (count, 1))
        return np.clip(np.exp(common + random.normal(0, 0.3, (count, 2))) * shape, 4, shape)

    crowding = random.gamma(1.0, size=size.images)
    image = np.sort(random.choice(size.images, size.objects, p=crowding / crowding.sum()))
    popularity = np.arange(1, size.classes + 1) ** -0.7
    popularity /= popularity.sum()
    theme = random.choice(size.classes, size.images, p=popularity)
    label = random.choice(size.classes, size.objects, p=popularity)
    label = np.where(random.random(size.objects) < 0.5, theme[image], label)
    extent = sides(size.objects)
    corner = random.random((size.objects, 2)) * (shape - extent)
    truth = GroundTruth(
        [f"{number:012}" for number in range(size.images)],
        [f"class {number}" for number in range(size.classes)],
        np.tile(shape.astype(np.int64), (size.images, 1)),
        image,
        label,
        np.concatenate([corner, corner + extent], axis=1),
        difficult=random.random(size.objects) < size.difficult,
        crowd=random.random(size.objects) < size.crowd,
    )

    count = size.detections
    where = np.sort(np.resize(np.arange(size.images), count))
    present = np.bincount(image, minlength=size.images)
    near = (random.random(count) < 0.55) & (present[where] > 0)
    model = (np.cumsum(present) - present)[where] + (random.random(count) * present[where]).astype(np.int64)
    model = np.minimum(model, size.objects - 1)
    badness = random.beta(1.2, 2.0, count)  # 0: in place
    shift = random.normal(0, 0.45, (count, 4)) * badness[:, None]
    wide = np.where(near[:, None], extent[model] * np.exp(0.6 * shift[:, 2:]), sides(count))
    centre = (corner + extent / 2)[model] + 0.6 * shift[:, :2] * extent[model]
    centre = np.where(near[:, None], centre, random.random((count, 2)) * shape)
    beyond = np.where(random.random((count, 1)) < 0.1, 6.0, 0.0)  # most detectors clip to the image
    low = np.clip(centre - wide / 2, -beyond, shape + beyond).round(2)
    high = np.clip(centre + wide / 2, low, shape + beyond).round(2)
    named = near & (random.random(count) < 0.8)
    labels = np.where(named, label[model], random.choice(size.classes, count, p=popularity))
    faint, bright = random.beta(0.5, 6, count), (1 - badness) ** 3 * random.random(count) ** 0.3
    scores = np.where(named, bright, faint).round(6)
    order = np.lexsort((where, labels)) if size.by_class else np.lexsort((-scores, where))
    columns = (where[order], labels[order], scores[order], np.concatenate([low, high], axis=1)[order])
    return truth, Detections(truth.images, truth.classes, *columns)
