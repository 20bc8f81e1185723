"""Backbones of torchvision and timm by name, and of one's own."""

import dataclasses
import sys

import pytest
import torch

import detector
from detector.foreign_backbones import BackboneError, make_backbone
from detector.networks import WeightsError
from training.predict import main as predict
from training.tasks.detection import main as train_detect

OWN = """
import torch
from torch import nn
from torchvision.models.resnet import BasicBlock

def small():
    stem = nn.Conv2d(3, 8, 3, 8, 1), nn.Conv2d(8, 8, 3, 4, 1)
    return nn.Sequential(*stem, BasicBlock(8, 8), BasicBlock(8, 8))

def wide():
    return nn.Conv2d(3, 8, 1, (1, 2))

def flat():
    return nn.Flatten()

def broken():
    return nn.Linear(3, 3)

def nothing():
    return None

def wrong():
    raise KeyError("mine")
"""


@pytest.fixture
def own(tmp_path, monkeypatch):
    """A module `my_networks` in the current folder."""
    (tmp_path / "my_networks.py").write_text(OWN)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.delitem(sys.modules, "my_networks", raising=False)


@pytest.mark.parametrize(
    ("name", "size", "channels", "cells"),
    [
        ("torchvision:squeezenet1_1", 64, 512, 3),
        ("torchvision:mobilenet_v3_small", 64, 576, 2),
        ("timm:test_resnet", 64, 96, 2),
        ("my_networks:small", 64, 8, 2),
        ("my_networks.py:small", 64, 8, 2),
    ],
)
def test_backbones_by_name(name, size, channels, cells, own):
    if name.startswith("timm"):
        pytest.importorskip("timm")
    backbone, found = make_backbone(name, size)
    images = torch.randint(0, 256, (2, 3, size, size), dtype=torch.uint8)
    assert (found, backbone(images).shape) == (cells, (2, channels, cells, cells))
    detector.YOLO(backbone, classes=2, grid=found).predict(images)


@pytest.mark.parametrize(
    ("name", "weights", "cells", "found"),
    [
        ("resnet34", None, None, "expected torchvision:NAME"),
        ("torchvision:resnet43", None, None, r"expected one of its \d+; did you mean 'resnet34'\?"),
        ("torchvision:fasterrcnn_resnet50_fpn", None, None, "no classification network"),
        ("torchvision:vit_b_16", None, None, "which has tokens"),
        ("torchvision:maxvit_t", None, None, "RuntimeError of torchvision:maxvit_t for images of 64x64"),
        ("torchvision:squeezenet1_1", "V9", None, "no weights 'V9'"),
        ("torchvision:squeezenet1_1", None, 4, "a map of 3x3 cells"),
        ("my_networks:small", "imagenet", None, "found weights 'imagenet'"),
        ("my_networks:absent", None, None, "no 'absent' in my_networks"),
        ("my_networks.py:absent", None, None, "no 'absent' in my_networks.py"),
        ("no_such_file.py:f", None, None, "no module for no_such_file.py:f"),
        ("no_such_module:f", None, None, "no module for no_such_module:f"),
        ("my_networks:wide", None, None, r"an output of shape \(1, 8, 64, 32\)"),
        ("my_networks:flat", None, None, "an output of shape"),
        ("my_networks:broken", None, None, "found RuntimeError of my_networks:broken"),
        ("my_networks:nothing", None, None, "returns NoneType"),
        ("my_networks:wrong", None, None, "found KeyError when my_networks:wrong was called"),
    ],
)
def test_backbones_that_cannot_be(name, weights, cells, found, own):
    with pytest.raises(BackboneError, match=found) as error:
        make_backbone(name, 64, weights=weights, cells=cells)
    assert str(error.value).count("; expected ") == 1


def test_a_run_with_a_backbone_of_ones_own(small_runs, own, within, tmp_path):
    """Trained, shuffled, loaded and continued; its code is run where the user names it alone."""
    small, out, name = small_runs["detection"], tmp_path / "run", "my_networks:small"
    common = ("--max-steps", 1, "--validation", 0, "--score", "false")
    assert small("--out", out, "--backbone", name, "--width", 1, "--shuffle", "last", *common).is_done()
    for load in (lambda: detector.load(out), lambda: detector.load(out, backbone="my_networks:wide")):
        with pytest.raises(WeightsError, match="a backbone made by 'my_networks:small'"):
            load()
    trained = detector.load(out, backbone=name)
    assert trained.network.grid == (2, 2)
    assert list(detector.list_changes(trained.network.backbone))
    file = tmp_path / "my_networks.py"  # any file: the detector is loaded first
    for main, *words in (
        (predict, out, file),
        (train_detect, "--evaluate", out),
        (train_detect, "--resume", out),
    ):
        assert within(main, words).is_refused("my_networks:small", "trust")
    options = dataclasses.replace(small.task.options().model, backbone=name, weights=str(out))
    again = small.task.build(options, {"classes": ["a", "b"], "input_size": 64})
    weights = [network.backbone.state_dict().values() for network in (again, trained.network)]
    assert all(map(torch.equal, *weights))
    other = ("--backbone", "torchvision:squeezenet1_1", "--width", 1)
    refused = small("--out", tmp_path / "other", *other, "--weights", out)
    assert refused.is_refused("--weights", "other weights")
    assert small("--out", tmp_path / "other", "--backbone", "resnet34").is_refused("--backbone", "timm:NAME")
