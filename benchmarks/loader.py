"""What a training image costs on its way from the file into a batch, beside what a training step costs.

    python benchmarks/loader.py [--root VOCdevkit --split 2012:train] [--size 448] [--no-model]

Without a VOC tree it draws photograph-like JPEGs of 500×375 pixels, VOC's size. Prints the cost of each
stage, then the images a second of the loader with one worker and of the ResNet-50 detector's training step.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import torch
from PIL import Image

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from data.augment import Transform, eval_transform, train_transform
from data.detection import Batch, DetectionDataset, collate, detection_loader, read_image
from data.formats.voc import read_voc
from data.records import GroundTruth, InputError


def synthetic(folder: Path, count: int) -> GroundTruth:
    """JPEGs of 500×375 pixels with the detail of a photograph (about 80 KB each) and three boxes each."""
    generator = np.random.default_rng(0)
    files = []
    for number in range(count):
        pixels = np.full((375, 500, 3), 128.0)
        for sigma, strength in ((40, 60), (8, 25), (1.2, 14)):  # large shapes, small ones, texture
            noise = cv2.GaussianBlur(generator.standard_normal((375, 500, 3)), (0, 0), sigma)
            pixels += noise * (strength / noise.std())
        files.append(folder / f"{number:04}.jpg")
        Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(files[-1], quality=90)
    boxes = [[40, 30, 200, 300], [250, 100, 480, 350], [10, 10, 90, 60]] * count
    rows = np.repeat(np.arange(count), 3)
    names = [file.stem for file in files]
    return GroundTruth(names, ["thing"], [[500, 375]] * count, rows, rows * 0, boxes, files=files)


def milliseconds(work: Callable[[int], object], count: int) -> float:
    """Mean over `count` images; the best of three passes, since other programs only ever add to it."""
    passes = []
    for _ in range(3):
        start = time.perf_counter()
        for index in range(count):
            work(index)
        passes.append((time.perf_counter() - start) / count * 1e3)
    return min(passes)


def stages(truth: GroundTruth, transform: Transform, batch_size: int) -> dict[str, float]:
    """Milliseconds an image, by stage, on one thread."""
    count = min(len(truth.images), 100)
    images = [read_image(file) for file in truth.files[:count]]
    boxes = [truth.boxes[truth.image_index == index] for index in range(count)]
    dataset = DetectionDataset(truth, transform)
    items = [dataset[0, index] for index in range(batch_size)]
    decode = milliseconds(lambda index: read_image(truth.files[index]), count)
    change = milliseconds(lambda index: transform(images[index], boxes[index], (0, index)), count)
    whole = milliseconds(lambda index: dataset[0, index], count)
    batch = milliseconds(lambda _: collate(items), 20) / batch_size
    return {
        "decode": decode,
        "transform": change,
        "to tensors": max(whole - decode - change, 0.0),
        "collate": batch,
    }


def loader_rate(truth: GroundTruth, transform: Transform, batch_size: int) -> float:
    """Images a second of the loader with one worker, the start of the worker left out."""
    loader = detection_loader(DetectionDataset(truth, transform), batch_size, train=True, workers=1)
    for _ in loader:
        pass
    loader.set_epoch(1)
    start = time.perf_counter()
    seen = sum(len(batch["index"]) for batch in loader)
    return seen / (time.perf_counter() - start)


def step_rate(batch: Batch, classes: int, steps: int) -> float:
    """Images a second of forward, loss, backward and SGD of the ResNet-50 detector on this CPU."""
    from detector import YOLO, resnet50

    size = batch["images"].shape[-1]
    model = YOLO(resnet50(num_classes=None), classes=classes, grid=size // 32, boxes_per_cell=2)
    optimizer = torch.optim.SGD(model.parameters(), 1e-3, momentum=0.9)
    times = []
    for _ in range(steps + 1):  # the first one warms up
        start = time.perf_counter()
        optimizer.zero_grad()
        model.loss(batch["images"], batch["targets"]).total.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        times.append(time.perf_counter() - start)
    return len(batch["index"]) / min(times[1:])


def run(options: argparse.Namespace, truth: GroundTruth) -> None:
    width, height = np.median(truth.sizes, axis=0).astype(int)
    count, size, threads = len(truth.images), options.size, torch.get_num_threads()
    print(f"{count} images of {width}x{height} pixels (median) to {size}x{size}, one thread\n")
    torch.set_num_threads(1)  # as in a worker
    transforms = {"training": train_transform(size), "evaluation": eval_transform(size)}
    rows = {name: stages(truth, transform, options.batch_size) for name, transform in transforms.items()}
    print("| ms an image | " + " | ".join(rows) + " |\n|---|" + "--:|" * len(rows))
    for stage in rows["training"]:
        print(f"| {stage} | " + " | ".join(f"{row[stage]:.2f}" for row in rows.values()) + " |")
    print("| together | " + " | ".join(f"{sum(row.values()):.2f}" for row in rows.values()) + " |\n")
    loads = loader_rate(truth, transforms["training"], options.batch_size)
    print(f"loader, one worker, training: {loads:.0f} images/s")
    if options.no_model:
        return
    torch.set_num_threads(threads)
    few = detection_loader(DetectionDataset(truth, transforms["training"]), options.step_batch, train=True)
    steps = step_rate(next(iter(few)), len(truth.classes), options.steps)
    print(
        f"ResNet-50 detector, training step of {options.step_batch}, {threads} threads: {steps:.2f} images/s"
    )
    print(f"the loader delivers {loads / steps:.0f} times what the step consumes")


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--root", type=Path, help="a VOCdevkit folder; without one, images are drawn")
    parser.add_argument("--split", default="2012:train", help="of the VOC tree (%(default)s)")
    parser.add_argument("--size", type=int, default=448, help="of the network's input (%(default)s)")
    parser.add_argument("--images", type=int, default=200, help="at most so many (%(default)s)")
    parser.add_argument("--batch-size", type=int, default=16, help="of the loader (%(default)s)")
    parser.add_argument("--step-batch", type=int, default=4, help="of the training step (%(default)s)")
    parser.add_argument("--steps", type=int, default=2, help="that are timed (%(default)s)")
    parser.add_argument("--no-model", action="store_true", help="leave out the training step")
    options = parser.parse_args()
    cv2.setNumThreads(1)
    try:
        if options.root:
            truth = read_voc(options.root, options.split)
            run(options, truth.select(range(min(options.images, len(truth.images)))))
        else:
            with tempfile.TemporaryDirectory() as folder:
                run(options, synthetic(Path(folder), options.images))
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
