"""What a training image costs on its way from the file into a batch: standard, fast, torchvision.

    python benchmarks/loader.py [--root VOCdevkit --split 2012:train] [--size 448]

Without a VOC tree it draws photograph-like JPEGs of 500×375 pixels, VOC's size. Processor time on one thread,
in turns within one run, the best of several passes, since other programs only ever add to it. *torchvision*
does what users of it write: decode_jpeg, then transforms.v2 on image and boxes (crop, resize, flip, colour
jitter, blur, boxes clipped), of the same strengths. *fast* reads the cache, which was made before.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import torch
from PIL import Image
from torchvision import tv_tensors
from torchvision.io import ImageReadMode, decode_jpeg, read_file
from torchvision.transforms import v2

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.common import in_turns
from data.augment import Augmentation, eval_transform, train_transform
from data.detection import DetectionDataset, Item, cached_images, collate
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


class Torchvision:
    """The training images as torchvision's transforms make them."""

    def __init__(self, truth: GroundTruth, size: int) -> None:
        self.truth, strength = truth, Augmentation()
        low, high = strength.crop / strength.scale[1], 1.0
        self.transform = v2.Compose(
            [
                v2.RandomResizedCrop(size, scale=(low**2, high), ratio=(0.8, 1.25), antialias=True),
                v2.RandomHorizontalFlip(strength.flip),
                v2.ColorJitter(strength.brightness, strength.contrast, strength.saturation, strength.hue),
                v2.RandomApply([v2.GaussianBlur(9, strength.blur_sigma)], strength.blur),
                v2.ClampBoundingBoxes(),
                v2.SanitizeBoundingBoxes(),
            ]
        )

    def __getitem__(self, key: tuple[int, int]) -> Item:
        _, index = key
        rows = np.flatnonzero(self.truth.image_index == index)
        pixels = decode_jpeg(read_file(str(self.truth.files[index])), ImageReadMode.RGB)
        boxes: torch.Tensor = tv_tensors.BoundingBoxes(  # type: ignore[call-overload]
            torch.from_numpy(self.truth.boxes[rows].astype(np.float32)),
            format="XYXY",
            canvas_size=pixels.shape[1:],
        )
        target = {"boxes": boxes, "labels": torch.from_numpy(self.truth.labels[rows])}
        image, target = self.transform(tv_tensors.Image(pixels), target)
        difficult = torch.zeros(len(target["labels"]), dtype=torch.bool)
        return {"image": image, **target, "difficult": difficult, "index": index}  # type: ignore[typeddict-item]


def run(options: argparse.Namespace, truth: GroundTruth, folder: Path) -> bool:
    """Print the table; whether the fast input is as fast as claimed."""
    size, count = options.size, len(truth.images)
    width, height = np.median(truth.sizes, axis=0).astype(int)
    start = time.process_time()
    cache = cached_images(truth, round(1.25 * size), folder)
    made = time.process_time() - start
    inputs: dict[str, Callable[[tuple[int, int]], Item]] = {
        "standard": DetectionDataset(truth, train_transform(size)).__getitem__,
        "fast": DetectionDataset(truth, train_transform(size, fast=True), cache).__getitem__,
        "torchvision": Torchvision(truth, size).__getitem__,
        "not augmented": DetectionDataset(truth, eval_transform(size)).__getitem__,
    }

    def pass_over(read: Callable[[tuple[int, int]], Item], epoch: int) -> float:
        start = time.process_time()
        for first in range(0, count, options.batch_size):
            collate([read((epoch, i)) for i in range(first, min(first + options.batch_size, count))])
        return (time.process_time() - start) / count

    works = {name: partial(pass_over, read) for name, read in inputs.items()}
    best = {name: min(seconds) for name, seconds in in_turns(works, options.repeat).items()}
    print(f"{count} images of {width}x{height} pixels (median) to {size}x{size}, one thread\n")
    print("| input | ms an image | images/s and core | times standard |\n|---|--:|--:|--:|")
    for name, seconds in best.items():
        ratio = best["standard"] / seconds
        print(f"| {name} | {1e3 * seconds:.2f} | {1 / seconds:.0f} | {ratio:.2f} |")
    print(
        f"\nmaking the cache: {1e3 * made / count:.2f} ms an image, {cache.pixels.size / count / 1e6:.2f} MB"
    )
    fast = best["fast"]
    return best["standard"] >= 3 * fast and best["torchvision"] > fast


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--root", type=Path, help="a VOCdevkit folder; without one, images are drawn")
    parser.add_argument("--split", default="2012:train", help="of the VOC tree (%(default)s)")
    parser.add_argument("--size", type=int, default=448, help="of the network's input (%(default)s)")
    parser.add_argument("--images", type=int, default=64, help="at most so many (%(default)s)")
    parser.add_argument("--batch-size", type=int, default=16, help="of the loader (%(default)s)")
    parser.add_argument("--repeat", type=int, default=4, help="passes (%(default)s)")
    options = parser.parse_args()
    cv2.setNumThreads(1)
    torch.set_num_threads(1)  # as in a worker
    try:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            if options.root:
                truth = read_voc(options.root, options.split)
                truth = truth.select(range(min(options.images, len(truth.images))))
            else:
                truth = synthetic(folder, options.images)
            holds = run(options, truth, folder / "cache")
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(f"3 times the standard input, and more than torchvision: {'holds' if holds else 'MISSED'}")
    return int(not holds)


if __name__ == "__main__":
    sys.exit(main())
