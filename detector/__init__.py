"""Networks: backbones, shuffles, and the detector. Tensors in, tensors out."""

from detector.backbone import ResNet, WeightsError, load_weights, normalize, resnet18, resnet50, resnet152
from detector.layers import Layer, list_layers
from detector.perceptron import Perceptron, perceptron
from detector.profiling import Profile, ProfileRow, profile
from detector.removal import remove_shuffles
from detector.shuffle import (
    ChannelShuffle,
    PatchShuffle,
    SpatialShuffle,
    channel_shuffle,
    patch_shuffle,
    spatial_shuffle,
)
from detector.spatial import modify_layers, seek_shuffles, set_shuffling, shuffle_layers
from detector.vgg import VGG, vgg16
from detector.yolo import YOLO

__all__ = [
    "VGG",
    "YOLO",
    "ChannelShuffle",
    "Layer",
    "PatchShuffle",
    "Perceptron",
    "Profile",
    "ProfileRow",
    "ResNet",
    "SpatialShuffle",
    "WeightsError",
    "channel_shuffle",
    "list_layers",
    "load_weights",
    "modify_layers",
    "normalize",
    "patch_shuffle",
    "perceptron",
    "profile",
    "remove_shuffles",
    "resnet18",
    "resnet50",
    "resnet152",
    "seek_shuffles",
    "set_shuffling",
    "shuffle_layers",
    "spatial_shuffle",
    "vgg16",
]
