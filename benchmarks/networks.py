"""Layers, shortcuts and GAP+FC in networks of torchvision, timm, Hugging Face and ultralytics, as a table.

    python benchmarks/networks.py                            # all that are installed; prints the table
    python benchmarks/networks.py --output results/networks.md
    python benchmarks/networks.py --only timm:resnet18 hf:ViT

Weights are random and nothing is computed: all run on the meta device, in minutes on one processor. Each
row says how many layers `list_layers` finds, how many of them `modify_layers` shuffles when all are chosen,
in how many a branch is added back to what entered it, in how many of these the shortcut has a shuffle of its
own, and whether GAP+FC of the last two layers is complete or refused.
"""

from __future__ import annotations

import argparse
import platform
import sys
import time
import warnings
from collections.abc import Callable
from functools import partial
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from torch import nn

from detector import list_changes, list_layers, modify_layers
from detector.graph import record
from training.provenance import provenance

TORCHVISION = [
    "resnet18", "resnet50", "wide_resnet50_2", "resnext50_32x4d", "vgg16", "vgg16_bn", "densenet121",
    "regnet_x_400mf", "regnet_y_400mf", "convnext_tiny", "efficientnet_b0", "efficientnet_v2_s",
    "mobilenet_v2", "mobilenet_v3_small", "mnasnet0_5", "shufflenet_v2_x0_5", "squeezenet1_1",
    "googlenet", "inception_v3", "alexnet", "vit_b_16", "swin_t", "swin_v2_t", "maxvit_t",
]  # fmt: skip
TIMM = [
    "resnet18", "resnet50", "resnet50d", "resnext50_32x4d", "seresnet50", "res2net50_26w_4s",
    "resnetv2_50", "nfnet_f0", "dm_nfnet_f0", "regnety_004", "vgg16", "densenet121", "convnext_atto",
    "convnextv2_atto", "efficientnet_b0", "tf_efficientnet_b0", "mobilenetv2_050",
    "mobilenetv3_small_050", "ghostnet_100", "repvgg_a0", "darknet53", "hgnet_tiny", "convmixer_768_32",
    "vit_tiny_patch16_224", "deit_tiny_distilled_patch16_224", "vit_small_patch14_reg4_dinov2",
    "beit_base_patch16_224", "eva02_tiny_patch14_224", "cait_xxs24_224", "swin_tiny_patch4_window7_224",
    "swinv2_tiny_window8_256", "mixer_s32_224", "resmlp_12_224", "maxvit_tiny_tf_224",
    "coatnet_0_rw_224", "vit_small_r26_s32_224", "pvt_v2_b0", "poolformer_s12", "xcit_nano_12_p16_224",
    "levit_128s", "mobilevit_xxs", "davit_tiny", "edgenext_xx_small", "fastvit_t8", "mobilevitv2_050",
    "mobilenetv4_conv_small", "mobilenetv4_hybrid_medium", "repvit_m0_9", "efficientformer_l1",
    "efficientformerv2_s0", "focalnet_tiny_srf", "gcvit_xxtiny", "caformer_s18", "hiera_tiny_224",
    "tiny_vit_5m_224", "efficientvit_b0", "efficientvit_m0", "mvitv2_tiny", "nextvit_small",
    "twins_svt_small", "volo_d1_224", "crossvit_tiny_240", "coat_tiny", "hrnet_w18_small", "dla34", "dpn68",
    "cspdarknet53", "fasternet_t0", "mambaout_femto", "ghostnetv2_100",
]  # fmt: skip
HUGGING_FACE = [
    "ResNet", "RegNet", "ConvNext", "ConvNextV2", "MobileNetV2", "EfficientNet", "ViT", "DeiT", "Dinov2",
    "Dinov2WithRegisters", "Beit", "Swin", "Swinv2", "CLIPVision", "SiglipVision", "PoolFormer",
    "MobileViT", "MobileViTV2", "Levit", "Pvt", "FocalNet", "Bit",
]  # fmt: skip
ULTRALYTICS = ["yolov8n-cls", "yolo11n-cls", "yolov8n"]  # names of their descriptions


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--output", type=Path, help="file for the table; otherwise it is printed")
    parser.add_argument(
        "--only", nargs="+", metavar="LIBRARY:NAME", help="of torchvision, timm, hf, ultralytics"
    )
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    for name in dir(nn.init):  # weights that nobody reads need no values
        if name.endswith("_") and not name.startswith("_"):
            setattr(nn.init, name, lambda tensor, *arguments, **settings: tensor)
    commit = (provenance()["commit"] or "unknown")[:7]
    start = time.perf_counter()
    chosen = {name: make for name, make in networks().items() if not options.only or name in options.only}
    lines = []
    for name, make in chosen.items():
        lines.append(line(name, make))
        print(lines[-1], file=sys.stderr, flush=True)
    text = page(lines, commit, time.perf_counter() - start)
    if options.output:
        options.output.write_text(text)
    else:
        print(text)
    return 0


def networks() -> dict[str, Callable[[], nn.Module]]:
    """How to build each network, by library and name; libraries that are not installed have none."""
    found: dict[str, Callable[[], nn.Module]] = {}
    models = import_module("torchvision.models")
    for name in TORCHVISION:
        options = {"aux_logits": False, "init_weights": False} if name == "googlenet" else {}
        found[f"torchvision:{name}"] = partial(getattr(models, name), **options)
    if timm := module("timm"):
        found |= {f"timm:{name}": partial(timm.create_model, name) for name in TIMM}
    if transformers := module("transformers"):
        for name in HUGGING_FACE:
            kind, configuration = (getattr(transformers, f"{name}{part}") for part in ("Model", "Config"))
            found[f"hf:{name}"] = partial(kind, configuration())
    if ultralytics := module("ultralytics.nn.tasks"):
        for name in ULTRALYTICS:
            kind = "ClassificationModel" if name.endswith("cls") else "DetectionModel"
            found[f"ultralytics:{name}"] = partial(getattr(ultralytics, kind), f"{name}.yaml", verbose=False)
    return found


def module(name: str) -> Any:
    try:
        return import_module(name)
    except ImportError:
        return None


def line(name: str, make: Callable[[], nn.Module]) -> str:
    """The network's row of the table."""
    try:
        network = make().eval()
        blocks = record(network).blocks
        layers = list_layers(network)
    except Exception as error:  # one network that cannot be built or run does not end the table
        return f"| {name} | {type(error).__name__}: {str(error).splitlines()[0][:80]} | | | | | |"
    residual = [number for number, block in enumerate(blocks, 1) if block.adds]
    modify_layers(network, "channel", last=len(layers))
    changes = list_changes(network)
    shuffled = {change.layer for change in changes}
    shortcuts = {change.layer for change in changes if change.what == "shortcut"}
    kinds = ", ".join(dict.fromkeys(layer.kind for layer in layers))
    remarks = "; ".join(dict.fromkeys(block.problem for block in blocks if block.problem))
    return (
        f"| {name} | {len(layers)} | {kinds} | {len(shuffled)} | {len(residual)} | {len(shortcuts)} "
        f"| {connected(make)} | {remarks} |"
    )


def connected(make: Callable[[], nn.Module]) -> str:
    """Whether GAP+FC of the last two layers is complete or refused."""
    network = make().eval()
    try:
        modify_layers(network, "gap_fc", last=2)
    except ValueError:
        return "refused"
    graph = record(network)
    # Every chosen layer sees one position and has no larger kernel.
    chosen = [part for block in graph.blocks[-2:] for part in block.module.modules() if part in graph.shapes]
    complete = all(
        graph.shapes[part][2:] == (1, 1) and part.kernel_size == (1, 1)
        for part in chosen
        if isinstance(part, nn.Conv2d)
    )
    return "complete" if complete else "INCOMPLETE"


def page(lines: list[str], commit: str, seconds: float) -> str:
    """The table, with what made it."""
    versions = []
    for name in ("torch", "torchvision", "timm", "transformers", "ultralytics"):
        try:
            versions.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            versions.append(f"{name} not installed")
    columns = [
        "network", "layers", "their modules", "layers shuffled", "residual layers", "shortcuts shuffled",
        "GAP+FC of the last 2", "why a shortcut has no shuffle of its own",
    ]  # fmt: skip
    return "\n".join(
        [
            "# Layers and shortcuts in networks of others",
            "",
            f"Made by `python benchmarks/networks.py --output results/networks.md` at commit {commit} in",
            f"{seconds:.0f} s, with {', '.join(versions)}, Python {platform.python_version()}.",
            "Random weights, the networks' own image sizes; nothing is computed. Layers are those of",
            "`list_layers`; all of them are shuffled at once. *Complete*: the last two layers see 1×1 and",
            "are fully connected. *Refused*: with an error, and the network is as it was.",
            "",
            f"| {' | '.join(columns)} |",
            "|---" * len(columns) + "|",
            *lines,
            "",
        ]
    )


if __name__ == "__main__":
    sys.exit(main())
