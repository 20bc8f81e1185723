"""Networks of torchvision, timm and Hugging Face: the same weights have the same layers and outputs."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from detector import (
    compare,
    list_changes,
    list_layers,
    modify_layers,
    profile,
    remove_shuffles,
    seek_shuffles,
)
from tests.detector.helpers import entering

timm = pytest.importorskip("timm")
transformers = pytest.importorskip("transformers")
from benchmarks.libraries import same_networks  # noqa: E402  # needs both

IMAGES = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))


# ---------------------------------------------------------------- the same weights


def outputs(network: nn.Module) -> Tensor:
    seek_shuffles(network, 0, 1)
    with torch.no_grad():
        found = network(IMAGES)
    return getattr(found, "logits", found)  # type: ignore[no-any-return]


@pytest.mark.parametrize("kind", ["basic", "bottleneck", "vit"])
def test_the_same_weights_have_the_same_layers_and_outputs(kind: str) -> None:
    torch.manual_seed(0)
    depths = [2] if kind == "vit" else [2, 2, 1, 1]
    networks = [network.eval() for network in same_networks(kind, depths, 4, 64, 16)]
    layers = [list_layers(network, 64) for network in networks]
    sizes = [[(x.channels, x.height, x.width) for x in found] for found in layers]
    assert sizes[0] == sizes[1] == sizes[2]
    assert len(sizes[0]) == (2 if kind == "vit" else 6)
    plain = outputs(networks[0])
    for method, patch, shortcut in (("spatial", None, True), ("patch", 2, True), ("channel", None, False)):
        found = []
        for network in networks:
            chosen: Any = {"layers": [1, 2], "patch": patch, "shortcut": shortcut}
            modify_layers(network, method, **chosen, example=64)  # type: ignore[arg-type]
            found.append(outputs(network))
            remove_shuffles(network)
        assert not found[0].allclose(plain, atol=1e-3)
        torch.testing.assert_close(found[1], found[0], rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(found[2], found[0], rtol=1e-4, atol=1e-5)
    for network in networks:
        torch.testing.assert_close(outputs(network), plain, rtol=1e-4, atol=1e-5)  # nothing remains
    batches = [(torch.randn(8, 3, 64, 64), torch.arange(8) % 4)]
    settings: dict[str, Any] = {"methods": ["spatial"], "layers": [1, 2], "passes": 2, "example": 64}
    tables = [profile(network, batches, **settings) for network in networks]
    by_library = [[row for row in table.rows if row.measure == "kl"] for table in tables]
    assert [row.layer for row in by_library[0]] == [0, 1, 2]
    for rows in zip(*by_library, strict=True):
        assert rows[0].layer == 0 or rows[0].interval[0] > 1e-6  # the shuffle changes the outputs
        for row in rows[1:]:
            assert row.interval == pytest.approx(rows[0].interval, rel=0.01, abs=1e-7)
    for table in tables[1:]:
        differences = compare(tables[0], table)
        assert all(item.low <= 1e-5 and item.high >= -1e-5 for item in differences)


# ---------------------------------------------------------------- families


def timm_network(name: str, **options: Any) -> Callable[[], nn.Module]:
    return lambda: timm.create_model(name, num_classes=4, **options)


def hugging_face(kind: str, **options: Any) -> Callable[[], nn.Module]:
    return lambda: getattr(transformers, f"{kind}Model")(getattr(transformers, f"{kind}Config")(**options))


VIT = {
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 16,
    "image_size": 64,
}
PYRAMID: dict[str, Any] = {"embed_dim": 16, "depths": (1, 2), "num_heads": (1, 2)}
TINY: dict[str, Any] = {"embed_dim": 16, "depth": 2, "num_heads": 2}
# A network, its layers, how many of them are residual, the last one, and the tokens before its map.
FAMILIES: dict[str, tuple[Callable[[], nn.Module], int, int, str, int]] = {
    "timm resnetv2": (timm_network("resnetv2_50", layers=(1, 2, 1, 1)), 5, 5, "stages.3.blocks.0", 0),
    "timm regnet": (timm_network("regnetx_002"), 13, 13, "s4.b7", 0),
    "timm nfnet": (timm_network("nfnet_f0", depths=(1, 1, 1, 2)), 5, 5, "stages.3.1", 0),
    "timm convnext": (timm_network("convnext_atto", depths=(1, 1, 1, 1)), 8, 4, "stages.3.blocks.0", 0),
    "timm mobilenet": (timm_network("mobilenetv2_050"), 18, 10, "blocks.6.0.conv_dw", 0),
    "timm deit": (timm_network("deit_tiny_distilled_patch16_224", img_size=64, **TINY), 2, 2, "blocks.1", 2),
    "timm registers": (
        timm_network("vit_small_patch14_reg4_dinov2", img_size=56, **TINY), 2, 2, "blocks.1", 5,
    ),
    "timm swin": (
        timm_network("swin_tiny_patch4_window7_224", img_size=64, window_size=4, **PYRAMID),
        3, 3, "layers.1.blocks.1", 0,
    ),
    "timm swin v2": (
        timm_network("swinv2_tiny_window8_256", img_size=64, window_size=4, **PYRAMID),
        3, 3, "layers.1.blocks.1", 0,
    ),
    "timm davit": (
        timm_network("davit_tiny", depths=(1, 1), embed_dims=(8, 8), num_heads=(1, 1)),
        6, 4, "stages.1.blocks.0.1", 0,
    ),
    "timm edgenext": (
        timm_network("edgenext_xx_small", dims=(8, 8, 8, 8), depths=(1, 2, 1, 1)),
        9, 5, "stages.3.blocks.0", 0,
    ),
    "timm mixer": (timm_network("mixer_s32_224", img_size=64), 8, 8, "blocks.7", 0),
    "timm cait": (timm_network("cait_xxs24_224", img_size=64, **TINY), 2, 2, "blocks.1", 0),
    "hugging face regnet": (
        hugging_face("RegNet", embedding_size=8, hidden_sizes=[8, 8], depths=[1, 2], groups_width=8),
        3, 3, "encoder.stages.1.layers.1", 0,
    ),
    "hugging face convnext": (
        hugging_face("ConvNext", hidden_sizes=[8, 8], depths=[1, 2], num_stages=2, image_size=64),
        5, 3, "encoder.stages.1.layers.1", 0,
    ),
    "hugging face dinov2": (
        hugging_face("Dinov2WithRegisters", patch_size=16, **VIT), 2, 2, "encoder.layer.1", 5,
    ),
    "hugging face deit": (hugging_face("DeiT", **VIT), 2, 2, "layers.1", 2),
    "hugging face clip": (hugging_face("CLIPVision", **VIT, patch_size=16), 2, 2, "encoder.layers.1", 1),
    "hugging face swin": (
        hugging_face("Swin", image_size=64, embed_dim=16, depths=[1, 2], num_heads=[1, 2], window_size=4),
        3, 3, "encoder.layers.1.blocks.1", 0,
    ),
    "hugging face swin v2": (
        hugging_face("Swinv2", image_size=64, embed_dim=16, depths=[1, 2], num_heads=[1, 2], window_size=4),
        3, 3, "encoder.layers.1.blocks.1", 0,
    ),
    "hugging face beit": (hugging_face("Beit", **VIT), 2, 2, "layers.1", 1),
}  # fmt: skip


@pytest.mark.parametrize("family", FAMILIES)
def test_layers_and_shortcuts_of_a_family(family: str) -> None:
    make, count, residual, name, tokens = FAMILIES[family]
    torch.manual_seed(0)
    network = make().eval()
    for value in network.parameters():  # some start with zeros, through which nothing reaches the output
        if not value.any():
            nn.init.normal_(value, std=0.1)
    example = 56 if "registers" in family else 64
    layers = list_layers(network, example)
    if "hugging face" in family:  # its versions call the list of blocks otherwise
        name = layers[-1].name.rpartition(".")[0] + "." + name.rpartition(".")[2]
    assert (len(layers), layers[-1].name) == (count, name)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        modify_layers(network, "channel", last=count, example=example)
    changes = list_changes(network)
    assert sorted({change.layer for change in changes}) == list(range(1, count + 1))
    assert len({change.layer for change in changes if change.what == "shortcut"}) == residual
    twin = copy.deepcopy(network)
    images = torch.randn(2, 3, example, example)
    with torch.no_grad():
        found = [
            getattr(out, "last_hidden_state", out) for out in (network(images), twin(images), network(images))
        ]
    assert found[0].equal(found[1])
    assert not found[0].equal(found[2])
    if tokens:
        remove_shuffles(network)
        modify_layers(network, "spatial", last=1, example=example)
        block = network.get_submodule(name)
        inner = (
            "norm1" if hasattr(block, "norm1") else "layer_norm1" if "clip" in family else "layernorm_before"
        )
        before, after = entering(network, f"{name}.{inner}", images)
        assert before[:, :tokens].equal(after[:, :tokens])
        assert not before[:, tokens].equal(after[:, tokens])
        assert before[:, tokens:].sort(1).values.equal(after[:, tokens:].sort(1).values)
