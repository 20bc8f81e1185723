"""Where in a network does space matter: a ResNet, a ConvNeXt, a ViT and a Swin, trained the same way.

    python benchmarks/gallery.py --root PATH/cifar100     # about an hour of one core for two seeds
    python benchmarks/gallery.py --data shapes            # ten minutes

Four networks of timm, each with a stem of stride 4 and six blocks, are trained on drawn shapes and on
CIFAR-100 by one recipe, with several seeds. Then the input of each block is changed at test time alone.
Networks and their profiles go to `runs/gallery`, where a later call finds them; table and figure to
`results/gallery`. Nothing is chosen on test images: the recipe is fixed, and the last state counts.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from typing import Any, cast

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import pandas
import torch
from matplotlib.figure import Figure
from timm.models.convnext import ConvNeXt
from timm.models.resnet import BasicBlock, ResNet
from timm.models.swin_transformer import SwinTransformer
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn
from torch.nn import functional

from data.classification import (
    Normalization,
    classification_loader,
    read_classification,
    read_classification_test,
)
from data.image_set import ImageSet, Statistics, statistics_of
from data.shapes.scenes import draw_shapes
from detector import list_layers, profile
from detector.registry import METHODS, ShuffleMethod, method_style
from diagnosis.figures.style import (
    MUTED_COLOUR,
    SMALL_POINTS,
    TEXT_POINTS,
    frame_lightly,
    save_figure,
    styled,
)
from training.provenance import provenance

SIDE, BATCH = 32, 64
LEARNING_RATE, WEIGHT_DECAY, WARMUP_SHARE, LARGEST_GRADIENT = 2e-3, 0.05, 0.1, 1.0
SHAPES_TO_TRAIN_ON, SHAPES_EPOCHS = 10_000, 3
CIFAR_SHARE, CIFAR_EPOCHS = 0.4, 3  # 20,000 images


def main() -> int:
    """Train and profile what is missing; write table and figure."""
    options = arguments()
    torch.set_num_threads(options.threads)
    options.runs.mkdir(parents=True, exist_ok=True)
    for seed in options.seeds:
        for data in options.data:
            for name in options.networks:
                file = options.runs / f"{data}-{name}-seed{seed}.pt"
                if not file.exists():
                    train(data, name, seed, options.root, file)
                if not options.train_only and not table_of(file).exists():
                    measure(data, name, options.root, file)
    if not options.train_only:
        report(options)
    return 0


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--root", help="folder of CIFAR-100")
    parser.add_argument("--data", nargs="+", default=["shapes", "cifar100"], choices=["shapes", "cifar100"])
    parser.add_argument("--networks", nargs="+", default=list(NETWORKS), choices=NETWORKS)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1])
    parser.add_argument("--runs", type=Path, default=Path("runs/gallery"), help="where trained networks go")
    parser.add_argument("--output", type=Path, default=Path("results/gallery"), help="table and figure")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--train-only", action="store_true", help="profiles in a later call")
    options = parser.parse_args()
    if "cifar100" in options.data and options.root is None:
        parser.error("--root: found none; expected the folder of CIFAR-100, or --data shapes")
    return options


# ---------------------------------------------------------------- networks


def _resnet(num_classes: int) -> nn.Module:
    channels = (32, 64, 128, 128)
    network = ResNet(cast("Any", BasicBlock), (2, 2, 2, 1), num_classes=num_classes, channels=channels)
    network.layer4 = nn.Identity()  # maps of 1×1
    return network


def _convnext(num_classes: int) -> nn.Module:
    depths, widths = (2, 2, 2, 1), (48, 96, 192, 192)
    network = ConvNeXt(num_classes=num_classes, depths=depths, dims=widths, ls_init_value=None)
    network.stages[3] = nn.Identity()  # maps of 1×1
    return network


NETWORKS: dict[str, Callable[..., nn.Module]] = {
    "resnet": _resnet,
    "convnext": _convnext,
    "vit": partial(VisionTransformer, img_size=SIDE, patch_size=4, embed_dim=64, depth=6, num_heads=2),
    "swin": partial(
        SwinTransformer, img_size=SIDE, patch_size=4, embed_dim=48, depths=(2, 2, 2), num_heads=(2, 4, 8),
        window_size=4,
    ),
}  # fmt: skip
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


def fit(
    network: nn.Module,
    images: ImageSet,
    statistics: Statistics,
    epochs: int,
    seed: int,
    learning_rate: float = LEARNING_RATE,
) -> dict[str, Any]:
    """AdamW, one cycle of the learning rate, no augmentation; returns provenance, losses and seconds."""
    network.train()
    normalization = Normalization(statistics)
    loader = classification_loader(images, BATCH, train=True, augment=False, seed=seed)
    optimizer = torch.optim.AdamW(network.parameters(), lr=learning_rate, weight_decay=WEIGHT_DECAY)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, learning_rate, epochs * len(loader), pct_start=WARMUP_SHARE, cycle_momentum=False
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
            torch.autograd.backward(loss)
            nn.utils.clip_grad_norm_(network.parameters(), LARGEST_GRADIENT)
            optimizer.step()
            schedule.step()
            total += loss.detach()
        losses.append(total.item() / len(loader))
    return facts | {"training_loss": losses, "processor_seconds": time.process_time() - begun}


def train(data: str, name: str, seed: int, root: str | None, file: Path) -> None:
    images, statistics = training_images(data, root, 0 if data == "shapes" else seed)
    torch.manual_seed(seed)
    network = NETWORKS[name](num_classes=len(images.classes))
    epochs = SHAPES_EPOCHS if data == "shapes" else CIFAR_EPOCHS
    facts = fit(network, images, statistics, epochs, seed)
    content = {
        "weights": network.state_dict(),
        "classes": list(images.classes),
        "statistics": {"mean": list(statistics.mean), "std": list(statistics.std)},
        "provenance": facts,
    }
    part = file.with_suffix(".part")
    torch.save(content, part)
    part.replace(file)
    print(
        f"{file}: loss {facts['training_loss'][-1]:.3f}, {facts['processor_seconds']:.0f} processor seconds",
        flush=True,
    )


# ---------------------------------------------------------------- profiles


METHODS_SHOWN: tuple[ShuffleMethod, ...] = ("spatial", "channel", "joint", "blocks", "mean")
BLOCK_SIDE, PASSES, TEST_IMAGES = 2, 2, 1_000
REESTIMATED = "spatial, batch norm re-estimated"


@cache
def test_images(data: str, root: str | None) -> ImageSet:
    """Images that nothing was trained on."""
    if data == "shapes":
        return draw_shapes("test", TEST_IMAGES)
    return cast("ImageSet", read_classification_test(data, root)).select(range(TEST_IMAGES))


def batches(images: ImageSet, normalization: nn.Module, count: int) -> list[tuple[Tensor, Tensor]]:
    """The first images, normalized, and their labels."""
    pixels = normalization(torch.from_numpy(images.images[:count]))
    return list(
        zip(torch.split(pixels, 250), torch.split(torch.from_numpy(images.labels[:count]), 250), strict=True)
    )


def table_of(file: Path) -> Path:
    return file.with_suffix(".csv")


def measure(data: str, name: str, root: str | None, file: Path) -> None:
    """Profile a stored network at its six blocks; a line for each block and method."""
    stored = torch.load(file, weights_only=True)
    network = NETWORKS[name](num_classes=len(stored["classes"])).eval()
    network.load_state_dict(stored["weights"])
    normalization = Normalization(Statistics(**{key: tuple(v) for key, v in stored["statistics"].items()}))
    test = batches(test_images(data, root), normalization, TEST_IMAGES)
    blocks = [layer.name for layer in list_layers(network, test[0][0][:1]) if "Block" in layer.kind]
    found = {
        "": profile(network, test, methods=METHODS_SHOWN, patches=[BLOCK_SIDE], names=blocks, passes=PASSES)
    }
    if any(isinstance(module, nn.BatchNorm2d) for module in network.modules()):
        images, _ = training_images(data, root, stored["provenance"]["seed"])
        known = batches(images, normalization, TEST_IMAGES)
        found[REESTIMATED] = profile(
            network, test, methods=["spatial"], names=blocks, passes=PASSES, reestimate_batch_norm=known
        )
    lines = []
    for method, table in found.items():
        for row in table.to_pandas().query("measure == 'accuracy'").to_dict("records"):
            label = method or str(row["method"])
            block = blocks.index(row["name"]) + 1 if row["layer"] else 0
            if row["layer"] or not method:
                lines.append(
                    {"data": data, "network": name, "seed": stored["provenance"]["seed"], "block": block}
                    | {"map": f"{row['height']}x{row['width']}" if block else "", "method": label}
                    | {"accuracy": row["mean"], "low": row["low"], "high": row["high"]}
                )
    pandas.DataFrame(lines).to_csv(table_of(file), index=False, float_format="%.4f")
    print(f"{table_of(file)}: {lines[0]['accuracy']:.3f} with nothing shuffled", flush=True)


# ---------------------------------------------------------------- table and figure


LINES = {"spatial": "", REESTIMATED: "spatial", "joint": "", "blocks": "", "channel": "", "mean": ""}
"""Methods in the figure; of one that is none of ours, that from which it differs."""
TITLES = {"resnet": "ResNet", "convnext": "ConvNeXt", "vit": "ViT", "swin": "Swin"}
DATA_TITLES = {"shapes": "drawn shapes, 8 classes", "cifar100": "CIFAR-100"}


def report(options: argparse.Namespace) -> None:
    """Write all profiles as one table, their means over seeds as another, and the figure."""
    files = [
        options.runs / f"{data}-{name}-seed{seed}.pt"
        for data in options.data
        for name in options.networks
        for seed in options.seeds
    ]
    rows = pandas.concat([pandas.read_csv(table_of(file)) for file in files]).fillna({"map": ""})
    options.output.mkdir(parents=True, exist_ok=True)
    rows.to_csv(options.output / "gallery.csv", index=False)
    keys = ["data", "network", "method", "block", "map"]
    means = rows.groupby(keys, sort=False)[["accuracy", "low", "high"]].mean().reset_index()
    means["spread"] = rows.groupby(keys, sort=False)["accuracy"].std().to_numpy()
    save_figure(draw(rows, means, options), options.output / "gallery.png")
    (options.output / "table.md").write_text(markdown(means), encoding="utf-8")
    facts = [torch.load(file, weights_only=True)["provenance"] for file in files]
    made = provenance(networks=dict(zip([file.stem for file in files], facts, strict=True)))
    (options.output / "provenance.json").write_text(json.dumps(made, indent=1) + "\n", encoding="utf-8")
    print(f"{options.output}: gallery.png, table.md, gallery.csv, provenance.json")


def markdown(means: pandas.DataFrame) -> str:
    """A line for each network and method: accuracy in per cent with each block shuffled."""
    blocks = sorted(set(means["block"]) - {0})
    lines = [
        "| data | network | shuffled | nothing | " + " | ".join(f"block {block}" for block in blocks) + " |",
        "|---|---|---|--:|" + "--:|" * len(blocks),
    ]
    for (data, network), found in means.groupby(["data", "network"], sort=False):
        plain = found[found["block"] == 0].iloc[0]["accuracy"]
        for method, row in found[found["block"] > 0].groupby("method", sort=False):
            at = {item["block"]: item for item in row.to_dict("records")}
            cells = [
                f"{100 * at[block]['accuracy']:.1f} ± {100 * at[block]['spread']:.1f}" if block in at else "–"
                for block in blocks
            ]
            label = METHODS[method].label if method in METHODS else method
            lines.append(
                f"| {data} | {TITLES[network]} | {label} | {100 * plain:.1f} | " + " | ".join(cells) + " |"
            )
    return "\n".join(lines) + "\n"


@styled
def draw(rows: pandas.DataFrame, means: pandas.DataFrame, options: argparse.Namespace) -> Figure:
    """A panel for each data set and network: accuracy against the block whose input is changed."""
    figure = Figure(
        figsize=(2.1 * len(options.networks) + 0.4, 2.2 * len(options.data) + 0.9), layout="constrained"
    )
    panels = figure.subplots(
        len(options.data), len(options.networks), sharex=True, sharey="row", squeeze=False
    )
    handles = {}
    for line, data in zip(panels, options.data, strict=True):
        for axes, network in zip(line, options.networks, strict=True):
            found = means[(means["data"] == data) & (means["network"] == network)]
            each = rows[(rows["data"] == data) & (rows["network"] == network)]
            plain = 100 * found.loc[found["block"] == 0, "accuracy"].mean()
            handles["nothing"] = axes.axhline(plain, color=MUTED_COLOUR, linewidth=1.1, label="nothing")
            for method, like in LINES.items():
                points = found[(found["method"] == method) & (found["block"] > 0)]
                if points.empty:
                    continue
                patch = BLOCK_SIDE if method == "blocks" else None
                colour, marker = method_style(like or method, patch)
                label = "the same, batch norm re-estimated"
                if not like:
                    label = METHODS[method].removes.format(patch=patch)
                mean = 100 * points["accuracy"]
                handles[method] = axes.errorbar(
                    points["block"],
                    mean,
                    [mean - 100 * points["low"], 100 * points["high"] - mean],
                    color=colour,
                    marker=marker,
                    markersize=4,
                    linewidth=1.3,
                    elinewidth=0.8,
                    label=label,
                    linestyle=(0, (1, 1)) if like else METHODS[method].dashes,
                    fillstyle="none" if like else "full",
                )
                seeds = each[(each["method"] == method) & (each["block"] > 0)]
                axes.plot(seeds["block"], 100 * seeds["accuracy"], ".", color=colour, markersize=2)
            axes.set_xticks(range(1, 7))
            axes.set_ylim(bottom=0)
            frame_lightly(axes)
            if data == options.data[0]:
                axes.set_title(TITLES[network], fontsize=TEXT_POINTS)
            if data == options.data[-1]:
                axes.set_xlabel("block whose input is changed")
        line[0].set_ylabel(f"accuracy (%)\n{DATA_TITLES[data]}")
    figure.legend(
        handles=list(handles.values()),
        title="removed in the test:",
        title_fontsize=SMALL_POINTS,
        fontsize=SMALL_POINTS,
        loc="outside lower center",
        ncols=3,
        frameon=False,
    )
    return figure


if __name__ == "__main__":
    sys.exit(main())
