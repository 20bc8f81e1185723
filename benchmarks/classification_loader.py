"""Images per second of the classification batches, beside a loader of torchvision's transforms.

    python benchmarks/classification_loader.py                  # batch 128, one thread, images of noise
    python benchmarks/classification_loader.py --device cuda

Both make the paper's training batches of 32×32 images: shuffled, cropped, mirrored and normalised. The other
one does it as most scripts do, image by image with torchvision's transforms in a DataLoader of the same
process. Each is timed --repeat times, in turns; the best times are compared, since other programs only ever
add to them. On a CPU the processor time is taken, which other programs do not count in.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

from benchmarks.common import in_turns, noise
from data.classification import Normalization, classification_loader
from data.image_set import ImageSet, statistics_of


class Plain(Dataset[tuple[Tensor, int]]):
    """One image at a time, through Pillow, as torchvision's CIFAR100 does it."""

    def __init__(self, images: ImageSet, transform: Callable[[Image.Image], Tensor]) -> None:
        self.pixels = images.images.transpose(0, 2, 3, 1)
        self.labels = images.labels.tolist()
        self.transform = transform

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self.transform(Image.fromarray(self.pixels[index])), self.labels[index]


def rate(batches: Iterable[Tensor], device: torch.device) -> float:
    """Images a second of an epoch."""
    clock = time.process_time if device.type == "cpu" else time.perf_counter
    start, seen = clock(), 0
    for batch in batches:
        seen += len(batch)
    if device.type == "cuda":
        torch.cuda.synchronize()
    return seen / (clock() - start)


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--batch-size", type=int, default=128, help="(%(default)s)")
    parser.add_argument("--images", type=int, default=20_000, help="(%(default)s)")
    parser.add_argument("--plain-images", type=int, default=2_000, help="of the other loader (%(default)s)")
    parser.add_argument("--repeat", type=int, default=5, help="(%(default)s)")
    parser.add_argument("--device", default="cpu", help="(%(default)s)")
    options = parser.parse_args()
    torch.set_num_threads(1)
    device = torch.device(options.device)
    images = noise(options.images)
    statistics = statistics_of(images.images)
    normalise = Normalization(statistics).to(device)
    ours = classification_loader(images, options.batch_size, train=True, device=device)
    mean, std = (tuple(value / 255 for value in values) for values in (statistics.mean, statistics.std))
    transform = transforms.Compose(
        [
            transforms.RandomCrop(32, padding=4),
            transforms.RandomHorizontalFlip(),
            transforms.ToTensor(),
            transforms.Normalize(mean, std),
        ]
    )
    few = images.select(range(options.plain_images))
    plain = DataLoader(Plain(few, transform), options.batch_size, shuffle=True, drop_last=True)

    def of_ours(epoch: int) -> float:
        ours.set_epoch(epoch)
        return rate((normalise(batch["images"]) for batch in ours), device)

    def of_torchvision(epoch: int) -> float:
        return rate((batch.to(device) for batch, _ in plain), device)

    works = {"batches made at once": of_ours, "torchvision, one by one": of_torchvision}
    best = {name: max(rates) for name, rates in in_turns(works, options.repeat).items()}
    print(f"32x32 pixels, batch {options.batch_size}, one thread, {device}, best of {options.repeat}")
    for name, images_per_second in best.items():
        milliseconds = 1e3 * options.batch_size / images_per_second
        print(f"{name:<24} {images_per_second:>9,.0f} images/s, {milliseconds:.2f} ms a batch")
    ours_best, plain_best = best.values()
    print(f"{ours_best / plain_best:.0f} times as many")
    return 0


if __name__ == "__main__":
    sys.exit(main())
