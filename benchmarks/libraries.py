"""The same weights built by torchvision, timm and Hugging Face: are their profiles equal?

    python benchmarks/libraries.py --output results/libraries.md     # 20 minutes of one core

A ResNet-18, a ResNet-50 and a ViT-tiny (that of DeiT: 12 blocks, 192 wide, 3 heads; patches of 8 pixels) are
trained for a few minutes on drawn shapes of 48 pixels, so that their accuracies mean something. Their
weights are copied into the networks of the other two libraries. Compared are the logits with nothing
shuffled, the logits with the input of one layer shuffled by the same draw, and the profiles of the same
seed with their intervals. Exit code 1 if anything differs. Trained weights and each network's comparison go
to `runs/libraries`, where a later call finds them.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import time
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, cast

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import timm
import torch
import torchvision
import transformers
from torch import Tensor, nn

from benchmarks.gallery import batches, fit
from data.classification import Normalization
from data.image_set import ImageSet, Statistics, statistics_of
from data.shapes.scenes import draw_shapes
from detector import compare, list_layers, modify_layers, profile, remove_shuffles, seek_shuffles
from detector.registry import METHODS, ShuffleMethod
from training.provenance import provenance

SIDE, PATCH = 48, 8
NETWORKS = {"resnet18": "ResNet-18", "resnet50": "ResNet-50", "vit": "ViT-tiny"}
DEPTHS = {"resnet18": (2, 2, 2, 2), "resnet50": (3, 4, 6, 3), "vit": (12,)}
IMAGES, EPOCHS = 6_400, {"resnet18": 1, "resnet50": 1, "vit": 2}
LEARNING_RATES = {"resnet18": 2e-3, "resnet50": 2e-3, "vit": 1e-3}
TEST_IMAGES, PASSES = 250, 1
METHODS_SHOWN: tuple[ShuffleMethod, ...] = ("spatial", "channel")
TOLERANCE, LOGITS_OF = 1e-4, 16  # of logits of so many images

# ---------------------------------------------------------------- the same weights

Rules = Sequence[tuple[str, str]]

TO_HUGGING_FACE_RESNET: Rules = (
    (r"^conv1", "resnet.embedder.embedder.convolution"),
    (r"^bn1", "resnet.embedder.embedder.normalization"),
    (r"^fc", "classifier.1"),
    (r"downsample\.0", "shortcut.convolution"),
    (r"downsample\.1", "shortcut.normalization"),
    *((rf"conv{n}\.", f"layer.{n - 1}.convolution.") for n in (1, 2, 3)),
    *((rf"bn{n}\.", f"layer.{n - 1}.normalization.") for n in (1, 2, 3)),
    *((rf"^layer{n}\.(\d+)", rf"resnet.encoder.stages.{n - 1}.layers.\1") for n in (1, 2, 3, 4)),
)
"""From torchvision's and timm's names."""

TO_TORCHVISION_VIT: Rules = (
    (r"^cls_token", "class_token"), (r"^pos_embed", "encoder.pos_embedding"),
    (r"^patch_embed.proj", "conv_proj"), (r"^blocks\.", "encoder.layers.encoder_layer_"),
    (r"\.norm(\d)", r".ln_\1"), (r"attn\.qkv\.", "self_attention.in_proj_"),
    (r"attn\.proj", "self_attention.out_proj"), (r"mlp\.fc1", "mlp.0"), (r"mlp\.fc2", "mlp.3"),
    (r"^norm", "encoder.ln"), (r"^head", "heads.head"),
)  # fmt: skip
"""From timm's names."""

TO_HUGGING_FACE_VIT: Rules = (
    (r"^cls_token", "vit.embeddings.cls_token"), (r"^pos_embed", "vit.embeddings.position_embeddings"),
    (r"^patch_embed.proj", "vit.embeddings.patch_embeddings.projection"), (r"^blocks", "vit.layers"),
    (r"norm1", "layernorm_before"), (r"norm2", "layernorm_after"),
    (r"attn\.(q|k|v)\.", r"attention.\1_proj."), (r"attn\.proj", "attention.o_proj"),
    (r"^norm", "vit.layernorm"), (r"^head", "classifier"),
)  # fmt: skip
"""From timm's names, queries, keys and values apart."""


def renamed(state: dict[str, Tensor], rules: Rules) -> dict[str, Tensor]:
    """Weights under the names of another library."""
    found = {}
    for name, value in state.items():
        for pattern, new in rules:
            name = re.sub(pattern, new, name)
        found[name] = value
    return found


def same_networks(kind: str, depths: Sequence[int], classes: int, side: int, patch: int) -> list[nn.Module]:
    """A ``"basic"`` or ``"bottleneck"`` ResNet or a ``"vit"`` of torchvision, timm and Hugging Face.

    All three have the same random weights. `depths` are the blocks of each stage; a ViT has one stage.
    """
    vit, resnet, theirs = torchvision.models.VisionTransformer, torchvision.models.resnet, transformers
    networks: list[nn.Module]
    if kind == "vit":
        (depth,) = depths
        config: Any = theirs.ViTConfig(
            image_size=side, patch_size=patch, hidden_size=192, num_hidden_layers=depth,
            num_attention_heads=3, intermediate_size=768, layer_norm_eps=1e-6,
        )  # fmt: skip
        config.num_labels = classes
        networks = [
            vit(side, patch, depth, 3, 192, 768, num_classes=classes),
            timm.models.VisionTransformer(
                side, patch, embed_dim=192, depth=depth, num_heads=3, num_classes=classes
            ),
            theirs.ViTForImageClassification(config),
        ]
    else:
        name = "BasicBlock" if kind == "basic" else "Bottleneck"
        widths = [size * (1 if kind == "basic" else 4) for size in (64, 128, 256, 512)]
        config = theirs.ResNetConfig(hidden_sizes=widths, depths=list(depths), layer_type=kind)
        config.num_labels = classes
        networks = [
            resnet.ResNet(getattr(resnet, name), list(depths), num_classes=classes),
            timm.models.ResNet(getattr(timm.models.resnet, name), tuple(depths), num_classes=classes),
            theirs.ResNetForImageClassification(config),
        ]
    copy_weights(
        kind, networks, networks[1 if kind == "vit" else 0].state_dict()
    )  # torchvision's ViT ends in 0
    return networks


def copy_weights(kind: str, networks: Sequence[nn.Module], state: dict[str, Tensor]) -> None:
    """Load weights with timm's names into the networks of torchvision, timm and Hugging Face."""
    in_torchvision = renamed(state, TO_TORCHVISION_VIT) if kind == "vit" else state
    in_hugging_face = renamed(state, TO_HUGGING_FACE_RESNET)
    if kind == "vit":
        apart: dict[str, Tensor] = {}
        for name, value in state.items():
            parts = zip("qkv", value.chunk(3), strict=True) if ".attn.qkv." in name else [("qkv", value)]
            apart |= {name.replace(".qkv.", f".{part}."): piece for part, piece in parts}
        in_hugging_face = renamed(apart, TO_HUGGING_FACE_VIT)
    for network, weights in zip(networks, (in_torchvision, state, in_hugging_face), strict=True):
        network.load_state_dict(weights)


# ---------------------------------------------------------------- the comparison


def trained_networks(name: str, training: ImageSet, statistics: Statistics, folder: Path) -> list[nn.Module]:
    """The networks of the three libraries, trained by timm's; each in evaluation mode."""
    kind = {"resnet18": "basic", "resnet50": "bottleneck"}.get(name, "vit")
    torch.manual_seed(0)
    networks = same_networks(kind, DEPTHS[name], len(training.classes), SIDE, PATCH)
    file = folder / f"{name}.pt"
    if not file.exists():
        facts = fit(networks[1], training, statistics, EPOCHS[name], 0, LEARNING_RATES[name])
        folder.mkdir(parents=True, exist_ok=True)
        torch.save(networks[1].state_dict(), file)
        seconds = facts["processor_seconds"]
        print(f"{file}: loss {facts['training_loss'][-1]:.3f}, {seconds:.0f} processor seconds", flush=True)
    copy_weights(kind, networks, torch.load(file, weights_only=True))
    return [network.eval() for network in networks]


@torch.no_grad()
def logits(network: nn.Module, images: Tensor) -> Tensor:
    """Of a network whose shuffles have the draws of the first step."""
    seek_shuffles(network, 0, 1)
    outputs = network(images)
    return getattr(outputs, "logits", outputs)  # type: ignore[no-any-return]


def largest_difference(found: Sequence[Tensor]) -> float:
    """Between the logits of the first network and those of the others."""
    return max((other - found[0]).abs().max().item() for other in found[1:])


def compare_libraries(name: str, folder: Path) -> dict[str, Any]:
    """The lines of a network's table, whether everything is equal, and what made it."""
    file = folder / f"{name}.json"
    if file.exists():
        return cast("dict[str, Any]", json.loads(file.read_text()))
    facts, begun = provenance(seed=0), time.process_time()
    training = draw_shapes("train", IMAGES, side=SIDE)
    statistics = statistics_of(training.images)
    networks = trained_networks(name, training, statistics, folder)
    test = batches(draw_shapes("test", TEST_IMAGES, side=SIDE), Normalization(statistics), TEST_IMAGES)
    images = test[0][0][:LOGITS_OF]
    layers = [list_layers(network, SIDE) for network in networks]
    sizes = [[(layer.channels, layer.height, layer.width) for layer in found] for found in layers]
    assert sizes[0] == sizes[1] == sizes[2], f"{name}: the libraries' layers differ: {sizes}"
    plain = [logits(network, images) for network in networks]
    differences = {(0, "none"): largest_difference(plain)}
    for method in METHODS_SHOWN:
        for layer in layers[0]:
            found = []
            for network in networks:
                modify_layers(network, method, layers=[layer.number], example=SIDE)
                found.append(logits(network, images))
                remove_shuffles(network)
            if not found[0].allclose(plain[0], atol=1e-3):  # a shuffle without effect shows nothing
                differences[layer.number, method] = largest_difference(found)
    tables = [
        profile(network, test, methods=METHODS_SHOWN, passes=PASSES, example=SIDE) for network in networks
    ]
    paired = [
        {(item.layer, item.method): item for item in compare(tables[0], table) if item.measure == "accuracy"}
        for table in tables[1:]
    ]
    lines, all_equal = [], True
    for row in tables[0].rows:
        if row.measure != "accuracy":
            continue
        key = row.layer, row.method
        rows = [table.at(*key) for table in tables]
        assert all(rows)
        intervals = [found.interval for found in rows if found]
        means = [found.mean for found in rows if found]
        equal = (
            differences.get(key, 1.0) < TOLERANCE
            and max(low for low, _ in intervals) <= min(means)
            and min(high for _, high in intervals) >= max(means)
            and all(found[key].low <= 0 <= found[key].high for found in paired)
        )
        all_equal &= equal
        cells = [
            f"{100 * mean:.1f} ({100 * low:.1f} to {100 * high:.1f})"
            for mean, (low, high) in zip(means, intervals, strict=True)
        ]
        moved = max(abs(found[key].difference) for found in paired)
        size = f"{row.channels}×{row.height}×{row.width}" if row.layer else ""
        label = METHODS[row.method].label if row.method in METHODS else "nothing"
        lines.append(
            f"| {NETWORKS[name]} | {row.layer or ''} | {row.name} | {size} | {label} | {' | '.join(cells)} "
            f"| {100 * moved:.1f} | {differences.get(key, float('nan')):.2g} | {'yes' if equal else 'NO'} |"
        )
    seconds = time.process_time() - begun
    result = {"lines": lines, "equal": all_equal, "seconds": seconds, "provenance": facts}
    file.write_text(json.dumps(result, indent=1) + "\n")
    print(f"{file}: {len(lines)} rows, {'all' if all_equal else 'NOT all'} equal", flush=True)
    return result


def main() -> int:
    """Train what is missing, compare, write the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--networks", nargs="+", default=list(NETWORKS), choices=NETWORKS)
    parser.add_argument("--runs", type=Path, default=Path("runs/libraries"), help="where weights go")
    parser.add_argument("--output", type=Path, help="the table; default: print it")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    tables = [compare_libraries(name, options.runs) for name in options.networks]
    packages = ", ".join(
        f"{package} {version(package)}" for package in ("torch", "torchvision", "timm", "transformers")
    )
    facts = [table["provenance"] for table in tables]
    commits = ", ".join(dict.fromkeys((fact["commit"] or "unknown")[:7] for fact in facts))
    text = [
        "# The same weights in three libraries",
        "",
        f"Made by `python benchmarks/libraries.py --output results/libraries.md` at commit {commits}"
        f"{' with changes' if any(fact['modified'] for fact in facts) else ''} in",
        f"{sum(table['seconds'] for table in tables):.0f} processor seconds, with {packages}; "
        f"{facts[0]['machine']['processor']}. Seed 0.",
        "",
        f"Networks trained on {IMAGES:,} drawn shapes of {SIDE} pixels, epochs: "
        + ", ".join(f"{NETWORKS[name]} {EPOCHS[name]}" for name in options.networks)
        + "; then the",
        "weights were copied into the networks of all three libraries. Accuracy in per cent on "
        f"{TEST_IMAGES} test images with",
        f"one layer shuffled at test time alone, {PASSES} draw each, its 95 % interval over images.",
        "*Moved*: the largest difference to torchvision's accuracy in points. *Logits*: the largest one",
        f"of a logit of {LOGITS_OF} images under the same draw. *Equal*: logits to within "
        f"{TOLERANCE:g}, each accuracy within all",
        "three intervals, and no paired difference clear of zero.",
        "",
        "| network | layer | module (torchvision) | map | shuffled | torchvision | timm | Hugging Face "
        "| moved | logits | equal |",
        "|---|--:|---|---|---|--:|--:|--:|--:|--:|---|",
        *(line for table in tables for line in table["lines"]),
    ]
    if options.output:
        options.output.write_text("\n".join(text) + "\n", encoding="utf-8")
    print("\n".join(text))
    equal, rows = all(table["equal"] for table in tables), sum(len(table["lines"]) for table in tables)
    print(f"\n{'all' if equal else 'NOT all'} of {rows} rows are equal")
    return 0 if equal else 1


if __name__ == "__main__":
    sys.exit(main())
