"""How often the intervals of a comparison hold the true number, on a process whose true numbers are known.

    python benchmarks/intervals.py [--images 100 500] [--sets 300] [--out results/intervals.md]
        [--cover diagnosis/interval_cover.json]

A made-up process draws images with objects and the detections of three detectors: ``a`` and ``b`` are equally
good, ``c`` is better. The true numbers are those of one very large set. Each of many small sets is then
compared as a user would, and counted are the intervals that hold the truth, beside those of the bootstrap
(percentiles over resamples with replacement), and the p-values of ``a`` against ``b`` below 0.05. A set in
which the resamples agree, so that there is no interval, does not count.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import shlex
import sys
from collections import defaultdict
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import TypeAlias
from unittest.mock import patch

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np
from numpy.typing import NDArray

from benchmarks.common import command_line
from data.records import Detections, GroundTruth
from diagnosis import diagnose
from diagnosis.compare import Comparison, Difference, Estimate, compare
from diagnosis.provenance import provenance
from diagnosis.record import Diagnosis
from diagnosis.resampling import OVER_ALL, Weights

CLASSES = ("bird", "cat", "dog", "car", "bus")
SIMILAR = [["cat", "dog"], ["car", "bus"]]
CONFUSED_WITH = np.array([0, 2, 1, 4, 3])
FREQUENCIES = (0.3, 0.25, 0.2, 0.15, 0.1)
SIZE = np.array([320, 240])
IMAGES_OF_TRUTH = 300_000
FIRST_SEED = 10_000
"""Seeds from here: the rule of the intervals was chosen on sets of smaller seeds."""
SKILLS = {"a": 0.0, "b": 0.0, "c": 0.5}

Tried: TypeAlias = tuple[str, str, bool | None, bool, float | None]
"""Quantity, kind, whether our interval (None: there is none) and the bootstrap's hold the truth, p."""
Cover: TypeAlias = dict[tuple[str, str], float]
"""By quantity and kind: per cent of the sets whose interval holds the truth."""


def boxes_of(mean: float, count: int, random: np.random.Generator) -> NDArray[np.float64]:
    """``(count, 4)`` boxes in pixels whose sides are about e to the `mean`."""
    sides = np.exp(random.normal(mean, 0.5, (count, 2))).clip(10, 150)
    corner = random.uniform(0, 1, (count, 2)) * (SIZE - sides)
    return np.hstack([corner, corner + sides])


def sigmoid(x: NDArray[np.float64]) -> NDArray[np.float64]:
    return 1 / (1 + np.exp(-x))


def draw(images: int, seed: int) -> list[Diagnosis]:
    """Three detectors on a set of images. Some images are harder than others, for all detectors."""
    random = np.random.default_rng([seed, images])
    index = np.repeat(np.arange(images), 1 + random.poisson(1.5, images))
    labels = random.choice(5, size=len(index), p=FREQUENCIES)
    boxes = boxes_of(3.7, len(index), random)
    mood = random.normal(size=images)
    sides = boxes[:, 2:] - boxes[:, :2]
    ease = random.normal(size=len(index)) + 0.5 * mood[index] + 0.5 * np.log(sides.prod(axis=1) / 1600)
    names = [f"{i:06d}" for i in range(images)]
    truth = GroundTruth(names, CLASSES, np.tile(SIZE, (images, 1)), index, labels, boxes)
    return [
        diagnose(truth, detect(truth, mood, ease, skill, random), name, SIMILAR)
        for name, skill in SKILLS.items()
    ]


def detect(
    truth: GroundTruth,
    mood: NDArray[np.float64],
    ease: NDArray[np.float64],
    skill: float,
    random: np.random.Generator,
) -> Detections:
    """Objects found, some of them twice, displaced or taken for another class; and background."""
    parts = []

    def found(rows: NDArray[np.int64], confidence: NDArray[np.float64], spread: float) -> None:
        boxes = truth.boxes[rows]
        far, confused, wrong = random.random((3, len(rows))) < [[0.15], [0.07], [0.03]]
        spreads = np.where(far, 3 * spread, spread)[:, None] * np.tile(boxes[:, 2:] - boxes[:, :2], 2)
        labels = np.where(confused, CONFUSED_WITH[truth.labels[rows]], truth.labels[rows])
        labels = np.where(wrong, random.integers(5, size=len(rows)), labels)
        scores = sigmoid(confidence - 1.2 * far - confused + random.normal(0, 0.8, len(rows)))
        parts.append(
            (truth.image_index[rows], labels, scores, boxes + spreads * random.normal(size=boxes.shape))
        )

    seen = np.flatnonzero(random.random(len(ease)) < sigmoid(1.2 + skill + ease))
    found(seen, 1 + 0.8 * ease[seen], 0.09)
    twice = seen[random.random(len(seen)) < 0.12]
    found(twice, -0.5 + 0.5 * ease[twice], 0.135)
    index = np.repeat(np.arange(len(mood)), random.poisson(np.exp(-0.2 - 0.3 * mood - 0.3 * skill)))
    scores = sigmoid(random.normal(-1, 1, len(index)))
    parts.append((index, random.integers(5, size=len(index)), scores, boxes_of(3.5, len(index), random)))
    image, labels, scores, boxes = (np.concatenate(column) for column in zip(*parts, strict=True))
    boxes = boxes.clip(0, np.tile(SIZE, 2))
    kept = (boxes[:, 2:] - boxes[:, :2] > 2).all(axis=1)
    return Detections(truth.images, CLASSES, image[kept], labels[kept], scores[kept], boxes[kept])


def with_replacement(images: int, replicates: range, seed: int = 0) -> Weights:
    """The weights of the bootstrap, in the form of :func:`diagnosis.resampling.resamples`."""
    drawn = np.random.default_rng([seed, replicates.start]).integers(images, size=(len(replicates), images))
    return np.stack([np.bincount(row, minlength=images) for row in drawn]).astype(np.int32)


def percentiles(samples: NDArray[np.float64]) -> tuple[float, float]:
    low, high = np.nanquantile(samples, [0.025, 0.975])
    return float(low), float(high)


def held(number: Estimate | Difference, true: float) -> bool | None:
    """Whether its interval holds the true number; None where the resamples agree, so that it has none."""
    return None if math.isnan(number.low) else number.low <= true <= number.high


def numbers(both: Comparison) -> Iterator[tuple[str, str, float]]:
    """Kind, quantity and value of each number over all classes, and of each difference to ``a``."""
    for quantity in both.quantities:
        for detector in range(3):
            yield "number", f"{quantity} {detector}", both.estimate(quantity, detector).value
        for other in (1, 2):
            yield "difference", f"{quantity} {other}", both.difference(quantity, 0, other).difference


def tried(
    truth: dict[tuple[str, str], float], images: int, replicates: int, costs: bool, seed: int
) -> list[Tried]:
    """Of one set: kind and quantity, whether ours and the bootstrap's interval hold the truth, p."""
    diagnoses = draw(images, seed)
    results: list[Tried] = []
    ours = compare(diagnoses, replicates=replicates, seed=seed, costs=costs)
    with patch("diagnosis.resampling.resamples", with_replacement):
        bootstrap = compare(diagnoses, replicates=replicates, seed=seed, costs=costs)
    for quantity in ours.quantities:
        samples = bootstrap.samples.get(quantity + OVER_ALL, bootstrap.samples[quantity])
        for detector in range(3):
            estimate, true = ours.estimate(quantity, detector), truth["number", f"{quantity} {detector}"]
            low, high = percentiles(np.nanmean(samples[:, detector], axis=-1))
            results.append((quantity, "number", held(estimate, true), low <= true <= high, None))
        for other in (1, 2):
            gap = ours.difference(quantity, 0, other)
            true = truth["difference", f"{quantity} {other}"] if other == 2 else 0.0
            low, high = percentiles(np.nanmean(samples[:, other] - samples[:, 0], axis=-1))
            p = gap.p if other == 1 else None
            results.append((quantity, "difference", held(gap, true), low <= true <= high, p))
    return results


def results_of(
    images: int, options: argparse.Namespace, truth: dict[tuple[str, str], float]
) -> Iterator[list[Tried]]:
    """Those of each set: from the file of finished sets, or computed and appended to it."""
    seeds = range(FIRST_SEED, FIRST_SEED + options.sets)
    finished: dict[int, list[Tried]] = {}
    if options.finished and options.finished.exists():
        for line in options.finished.read_text(encoding="utf-8").splitlines():
            of_images, replicates, seed, results = json.loads(line)
            if (of_images, replicates) == (images, options.replicates):
                finished[seed] = results
    yield from (finished[seed] for seed in seeds if seed in finished)
    left = [seed for seed in seeds if seed not in finished]
    with ProcessPoolExecutor(options.processes) as pool:
        results_left = pool.map(partial(tried, truth, images, options.replicates, options.costs), left)
        for seed, results in zip(left, results_left, strict=True):
            if options.finished:
                with options.finished.open("a", encoding="utf-8") as file:
                    print(json.dumps([images, options.replicates, seed, results]), file=file)
            yield results


def table(images: int, options: argparse.Namespace, truth: dict[tuple[str, str], float]) -> tuple[str, Cover]:
    """Cover of each quantity: in Markdown, and in per cent by quantity and kind."""
    counts: dict[tuple[str, str], list[tuple[bool | None, bool, float | None]]] = defaultdict(list)
    for results in results_of(images, options, truth):
        for quantity, kind, ours, bootstrap, p in results:
            counts[quantity, kind].append((ours, bootstrap, p))
    lines = [
        f"### {images} images, {options.sets} sets, {options.replicates:,} replicates",
        "",
        "| % | number | (bootstrap) | difference | (bootstrap) | p < 0.05, no difference |",
        "|---|--:|--:|--:|--:|--:|",
    ]
    cover: Cover = {}
    for quantity in dict.fromkeys(quantity for quantity, _ in counts):
        cells: list[str] = []
        for kind in ("number", "difference"):
            rows = counts[quantity, kind]
            both = ([bool(row[which]) for row in rows if row[which] is not None] for which in (0, 1))
            shares = [round(100 * float(np.mean(some)), 1) for some in both]
            cover[quantity, kind] = shares[0]
            cells += map(str, shares)
        values = [row[2] for row in counts[quantity, "difference"] if row[2] is not None]
        cells.append(f"{100 * np.mean(np.array(values) < 0.05):.1f}")
        lines.append(f"| {quantity} | {' | '.join(cells)} |")
    return "\n".join([*lines, ""]), cover


def main() -> None:
    """Print the tables, or write them with where they come from."""
    parser = command_line(__doc__)
    parser.add_argument(
        "--images", type=int, nargs="+", default=[100, 500], help="of a set (default: 100 500)"
    )
    parser.add_argument("--sets", type=int, default=300, help="data sets of each size (default: 300)")
    parser.add_argument("--replicates", type=int, default=1000, help="of each interval (default: 1000)")
    parser.add_argument(
        "--processes", type=int, default=os.cpu_count(), help="at the same time (default: all cores)"
    )
    parser.add_argument(
        "--no-costs", dest="costs", action="store_false", help="leave out what error types cost in AP"
    )
    parser.add_argument("--out", type=Path, help="a Markdown file to write")
    parser.add_argument("--cover", type=Path, help="the JSON file to write what the report says of its cover")
    parser.add_argument(
        "--finished",
        type=Path,
        help="results of finished sets, appended to; sets that are in it are not repeated",
    )
    options = parser.parse_args()
    whole = compare(draw(IMAGES_OF_TRUTH, 0), replicates=1, costs=options.costs)
    truth = {(kind, name): value for kind, name, value in numbers(whole)}
    tables, covers = zip(*(table(images, options, truth) for images in options.images), strict=True)
    text = "\n".join(tables)
    print(text)
    if options.cover:
        quantities: dict[str, dict[str, list[float]]] = defaultdict(dict)
        for quantity, kind in covers[0]:
            quantities[quantity][kind] = [cover[quantity, kind] for cover in covers]
        entries = ",\n".join(f"{json.dumps(name)}: {json.dumps(kinds)}" for name, kinds in quantities.items())
        sizes = f'"images": {options.images}, "sets": {[options.sets] * len(covers)}'
        options.cover.write_text(f'{{\n{sizes}, "cover": {{\n{entries}\n}}}}\n', encoding="utf-8")
    if options.out:
        made = provenance(shlex.join(["python", *sys.argv]), {"detections": []}, [])
        origin = "\n".join(f"- {key}: {made[key]}" for key in ("command", "commit", "versions", "machine"))
        about = "\n\n".join(__doc__.split("\n\n")[2:])
        options.out.write_text(f"# What the intervals cover\n\n{about}\n{origin}\n\n{text}", encoding="utf-8")


if __name__ == "__main__":
    main()
