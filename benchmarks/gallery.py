"""Where in a network does space matter: a ResNet, a ConvNeXt, a ViT and a Swin, trained the same way.

    python benchmarks/gallery.py --root ../shared/data/cifar100     # trains what is missing: about an hour
    python benchmarks/gallery.py --root … --train-only --seeds 0 1

Four networks of timm, each with a stem of stride 4 and six blocks, are trained on drawn shapes and on
CIFAR-100 by one recipe, with several seeds. Then the input of each block is changed at test time alone.
Networks go to `runs/gallery`, where a later call finds them. Nothing is chosen on test images: the recipe is
fixed, and the last state counts.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import torch
from timm.models.convnext import ConvNeXt
from timm.models.resnet import BasicBlock, ResNet
from timm.models.swin_transformer import SwinTransformer
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn
from torch.nn import functional

from data.classification import Normalization, classification_loader, read_classification
from data.image_set import ImageSet, Statistics, statistics_of
from data.shapes.images import draw_shapes
from training.provenance import provenance

SIDE, BATCH = 32, 64
LEARNING_RATE, WEIGHT_DECAY, WARMUP_SHARE, LARGEST_GRADIENT = 2e-3, 0.05, 0.1, 1.0
SHAPES_TO_TRAIN_ON, SHAPES_EPOCHS = 10_000, 3
CIFAR_SHARE, CIFAR_EPOCHS = 0.4, 2  # 20,000 images


def main() -> int:
    """Train what is missing."""
    options = arguments()
    torch.set_num_threads(options.threads)
    options.runs.mkdir(parents=True, exist_ok=True)
    for seed in options.seeds:
        for data in options.data:
            for name in options.networks:
                file = options.runs / f"{data}-{name}-seed{seed}.pt"
                if not file.exists():
                    train(data, name, seed, options.root, file)
    return 0


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--root", help="folder of CIFAR-100")
    parser.add_argument("--data", nargs="+", default=["shapes", "cifar100"], choices=["shapes", "cifar100"])
    parser.add_argument("--networks", nargs="+", default=list(NETWORKS), choices=NETWORKS)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1])
    parser.add_argument("--runs", type=Path, default=Path("runs/gallery"), help="where trained networks go")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--train-only", action="store_true")
    options = parser.parse_args()
    if "cifar100" in options.data and options.root is None:
        parser.error("--root: found none; expected the folder of CIFAR-100, or --data shapes")
    return options


# ---------------------------------------------------------------- networks


def _resnet(classes: int) -> nn.Module:
    network = ResNet(BasicBlock, (2, 2, 2, 1), num_classes=classes, channels=(32, 64, 128, 128))
    network.layer4 = nn.Identity()  # maps of 1×1
    return network


def _convnext(classes: int) -> nn.Module:
    network = ConvNeXt(num_classes=classes, depths=(2, 2, 2, 1), dims=(48, 96, 192, 192), ls_init_value=None)
    network.stages[3] = nn.Identity()  # maps of 1×1
    return network


def _vit(classes: int) -> nn.Module:
    return VisionTransformer(
        img_size=SIDE, patch_size=4, num_classes=classes, embed_dim=64, depth=6, num_heads=2
    )


def _swin(classes: int) -> nn.Module:
    return SwinTransformer(
        img_size=SIDE,
        patch_size=4,
        num_classes=classes,
        embed_dim=48,
        depths=(2, 2, 2),
        num_heads=(2, 4, 8),
        window_size=4,
    )


NETWORKS: dict[str, Callable[[int], nn.Module]] = {
    "resnet": _resnet,
    "convnext": _convnext,
    "vit": _vit,
    "swin": _swin,
}
"""From a number of classes to a network of six blocks; the maps that enter the first are 8×8."""


# ---------------------------------------------------------------- training


@cache
def training_images(data: str, root: str | None, seed: int) -> tuple[ImageSet, Statistics]:
    """Images to train on; of CIFAR-100 the seed says which."""
    if data == "shapes":
        images = draw_shapes("train", SHAPES_TO_TRAIN_ON)
        return images, statistics_of(images.images)
    read = read_classification(data, root, validation=0, fraction=CIFAR_SHARE, seed=seed)
    assert isinstance(read.train, ImageSet)
    return read.train, read.statistics


def train(data: str, name: str, seed: int, root: str | None, file: Path) -> None:
    """AdamW, one cycle of the learning rate, no augmentation; the last state is stored."""
    images, statistics = training_images(data, root, 0 if data == "shapes" else seed)
    torch.manual_seed(seed)
    network = NETWORKS[name](len(images.classes)).train()
    normalization = Normalization(statistics)
    loader = classification_loader(images, BATCH, train=True, augment=False, seed=seed)
    epochs = SHAPES_EPOCHS if data == "shapes" else CIFAR_EPOCHS
    optimizer = torch.optim.AdamW(network.parameters(), lr=LEARNING_RATE, weight_decay=WEIGHT_DECAY)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, LEARNING_RATE, epochs * len(loader), pct_start=WARMUP_SHARE, cycle_momentum=False
    )
    facts = provenance(seed=seed, images=len(images), epochs=epochs)
    begun, losses = time.process_time(), []
    for epoch in range(epochs):
        loader.set_epoch(epoch)
        total = torch.zeros(())
        for batch in loader:
            labels: Tensor = batch["labels"]
            loss = functional.cross_entropy(network(normalization(batch["images"])), labels)
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(network.parameters(), LARGEST_GRADIENT)
            optimizer.step()
            schedule.step()
            total += loss.detach()
        losses.append(total.item() / len(loader))
    facts |= {"training_loss": losses, "processor_seconds": time.process_time() - begun}
    content = {
        "weights": network.state_dict(),
        "classes": list(images.classes),
        "statistics": {"mean": list(statistics.mean), "std": list(statistics.std)},
        "provenance": facts,
    }
    part = file.with_suffix(".part")
    torch.save(content, part)
    part.replace(file)
    print(f"{file}: loss {losses[-1]:.3f}, {facts['processor_seconds']:.0f} processor seconds", flush=True)


if __name__ == "__main__":
    sys.exit(main())
