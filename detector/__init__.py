"""Networks: backbones, shuffles, and the detector. Tensors in, tensors out."""

from detector.backbone import ResNet, WeightsError, load_weights, normalize, resnet18, resnet50, resnet152
from detector.shuffle import (
    ChannelShuffle,
    PatchShuffle,
    SpatialShuffle,
    channel_shuffle,
    patch_shuffle,
    spatial_shuffle,
)
from detector.spatial import seek_shuffles, shuffle_layers
from detector.yolo import YOLO

__all__ = [
    "YOLO",
    "ChannelShuffle",
    "PatchShuffle",
    "ResNet",
    "SpatialShuffle",
    "WeightsError",
    "channel_shuffle",
    "load_weights",
    "normalize",
    "patch_shuffle",
    "resnet18",
    "resnet50",
    "resnet152",
    "seek_shuffles",
    "shuffle_layers",
    "spatial_shuffle",
]
