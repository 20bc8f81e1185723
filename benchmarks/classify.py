"""Images per second of a classifier's training step, alone and with its data.

    python benchmarks/classify.py                    # VGG-16 on 32×32 images of noise, batch 128
    python benchmarks/classify.py --device cuda --precision bf16-mixed
    python benchmarks/classify.py --files 512 --arch resnet50 --batch-size 16 --workers 2

Three ways take the same training steps (forward, loss, backward, SGD), in turns: on one batch that is on the
device already; on the batches of the loader of train_classify.py, which are drawn, cropped, mirrored and
normalised; and within train_classify.py's own loop, with its logs and its check of the loss. The speeds of
the second and the third over that of the first, turn by turn, have a median that has to reach 95 %. With
--files the images are JPEG files of 500×375 pixels, made for the occasion, and read as ImageNet's are.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np
import torch
from PIL import Image

from benchmarks.common import in_turns, measure, median_ratio, noise
from benchmarks.train import Turns, fit
from data.classification import (
    ClassificationBatch,
    ClassificationData,
    Normalization,
    classification_loader,
)
from data.formats.processes import keep_freed_memory
from data.image_set import ImageFiles, ImageSet, Statistics, read_image_folders
from training.command import quiet
from training.options import MachineOptions
from training.tasks.classification import CLASSIFICATION, image_size_of
from training.tasks.classification_module import build_classifier
from training.tasks.classification_options import (
    DataOptions,
    EvaluationOptions,
    ModelOptions,
    OptimizationOptions,
    Options,
)
from training.trainer import autocast

TARGET = 0.95
NOISE = Statistics((127.5,) * 3, (74.0,) * 3)


def photographs(count: int, folder: Path) -> ImageFiles:
    random = np.random.default_rng(0)
    for index in range(count):
        small = Image.fromarray(random.integers(0, 256, (24, 32, 3), np.uint8))
        file = folder / "train" / f"class{index % 8}" / f"{index}.jpg"
        file.parent.mkdir(parents=True, exist_ok=True)
        small.resize((500, 375), Image.Resampling.BICUBIC).save(file, quality=90)
    return read_image_folders(folder, "train")


class Steps:
    """Training steps, timed in turns."""

    def __init__(self, options: Options, images: ImageSet | ImageFiles, device: torch.device) -> None:
        self.options, self.images, self.device = options, images, device
        size = image_size_of(images, options.data.input_size)
        self.network = build_classifier(options.model, len(images.classes), size).to(device)
        self.network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.network.train()
        self.normalization = Normalization(NOISE).to(device)
        self.optimizer = torch.optim.SGD(self.network.parameters(), lr=1e-4, momentum=0.9)
        self.batches = self._batches()
        self.fixed = next(self.batches)
        self.pixels = self.normalize(self.fixed)

    def _batches(self) -> Iterator[ClassificationBatch]:
        loader = classification_loader(
            self.images,
            int(self.options.optimization.batch_size or 0),
            train=True,
            size=self.options.data.input_size,
            device=self.device,
            workers=self.options.machine.workers,
        )
        epoch = 0
        while True:
            loader.set_epoch(epoch)
            yield from loader
            epoch += 1

    def normalize(self, batch: ClassificationBatch) -> torch.Tensor:
        """The images of a batch, as the network takes them."""
        pixels: torch.Tensor = self.normalization(batch["images"].to(self.device, non_blocking=True))
        return pixels.contiguous(memory_format=torch.channels_last)

    def step(self, pixels: torch.Tensor, labels: torch.Tensor) -> None:
        """One."""
        with autocast(self.device, self.options.machine.precision):
            logits = self.network(pixels)
        loss = torch.nn.functional.cross_entropy(logits.float(), labels)
        self.optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        self.optimizer.step()

    def alone(self) -> None:
        """A step on the batch that is there."""
        self.step(self.pixels, self.fixed["labels"].to(self.device))

    def with_data(self) -> None:
        """A step on a new batch."""
        batch = next(self.batches)
        self.step(self.normalize(batch), batch["labels"].to(self.device, non_blocking=True))


def seconds(step: Callable[[], None], count: int, device: torch.device, turn: int) -> float:
    """Of one of several steps."""

    def steps() -> None:
        for _ in range(count):
            step()

    return measure(steps, device) / count


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--arch", default="vgg16")
    parser.add_argument("--width", type=float, default=1.0)
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--precision", default="32-true", choices=["32-true", "16-mixed", "bf16-mixed"])
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--files", type=int, default=0, help="so many JPEG files instead of 32×32 images")
    parser.add_argument("--workers", type=int, default=0, help="processes that decode files")
    parser.add_argument("--steps", type=int, default=3, help="of a turn")
    parser.add_argument("--repeat", type=int, default=7, help="turns")
    chosen = parser.parse_args()
    quiet()
    keep_freed_memory()  # as the training commands do
    device = torch.device(chosen.device)
    options = Options(
        DataOptions(data="imagenet" if chosen.files else "cifar100", root="."),
        ModelOptions(arch=chosen.arch, width=chosen.width),
        OptimizationOptions(batch_size=chosen.batch_size, learning_rate=1e-4),
        EvaluationOptions(),
        MachineOptions(
            accelerator="gpu" if device.type == "cuda" else "cpu",
            precision=chosen.precision,
            workers=chosen.workers,
            deterministic=False,
        ),
    ).resolved()
    with tempfile.TemporaryDirectory() as folder:
        images = photographs(chosen.files, Path(folder)) if chosen.files else noise(10_000)
        steps = Steps(options, images, device)
        works = {
            way: partial(seconds, step, chosen.steps, device)
            for way, step in (("alone", steps.alone), ("with data", steps.with_data))
        }
        alone, fed = in_turns(works, chosen.repeat).values()

        def now() -> float:
            measure(lambda: None, device)  # waits for what is queued
            return time.perf_counter()

        turns = Turns(now, lambda batch: {"alone": steps.alone})
        data = ClassificationData(images, None, NOISE)
        fit(CLASSIFICATION, options, data, chosen.steps * chosen.repeat + 2, turns)
    between, loop = turns.seconds["alone"], turns.seconds["command"]
    where = (
        torch.cuda.get_device_name() if device.type == "cuda" else f"{torch.get_num_threads()} CPU threads"
    )
    print(
        f"{chosen.arch}, width {chosen.width:g}, batch {chosen.batch_size}, {chosen.precision}, {where}; "
        f"{chosen.repeat} turns of {chosen.steps} steps, medians"
    )
    print(f"  {'alone':28} {chosen.batch_size / statistics.median([*alone, *between]):9.1f} images/s")
    for way, values, beside in (("with data", fed, alone), ("in train_classify.py's loop", loop, between)):
        share = median_ratio(beside, values)
        verdict = f"target {TARGET:.0%}: {'holds' if share >= TARGET else 'MISSED'}"
        rate = chosen.batch_size / statistics.median(values)
        print(f"  {way:28} {rate:9.1f} images/s  {share:7.1%}  {verdict}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
