"""Networks: backbones, shuffles, and the detector. Tensors in, tensors out.

The public names are imported at their first use, so that :mod:`detector.registry` can be read without torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from detector.intervene import (
        Change,
        fix_draws,
        list_changes,
        modify_layers,
        remove_shuffles,
        seek_shuffles,
        set_shuffling,
        shuffle_layers,
    )
    from detector.layers import Layer, list_layers
    from detector.networks import (
        VGG,
        Perceptron,
        ResNet,
        WeightsError,
        load_weights,
        normalize,
        perceptron,
        resnet18,
        resnet50,
        resnet152,
        vgg16,
    )
    from detector.profiling import (
        Evaluation,
        Profile,
        ProfileDifference,
        ProfileRow,
        compare,
        evaluate,
        profile,
    )
    from detector.shuffle import (
        BlockShuffle,
        ChannelShuffle,
        ColumnShuffle,
        JointShuffle,
        PatchShuffle,
        RowShuffle,
        SpatialMean,
        SpatialShuffle,
        block_shuffle,
        channel_shuffle,
        joint_shuffle,
        patch_shuffle,
        spatial_shuffle,
    )
    from detector.trained import TrainedDetector, load
    from detector.yolo import YOLO

__all__ = [
    "VGG", "YOLO", "BlockShuffle", "Change", "ChannelShuffle", "ColumnShuffle", "Evaluation", "JointShuffle",
    "Layer", "PatchShuffle", "Perceptron", "Profile", "ProfileDifference", "ProfileRow", "ResNet",
    "RowShuffle", "SpatialMean", "SpatialShuffle", "TrainedDetector", "WeightsError", "block_shuffle",
    "channel_shuffle", "compare", "evaluate", "fix_draws", "joint_shuffle", "list_changes", "list_layers",
    "load", "load_weights", "modify_layers", "normalize", "patch_shuffle", "perceptron", "profile",
    "remove_shuffles", "resnet18", "resnet50", "resnet152", "seek_shuffles", "set_shuffling",
    "shuffle_layers", "spatial_shuffle", "vgg16",
]  # fmt: skip

if not TYPE_CHECKING:  # or a type checker would let any name pass

    def __getattr__(name: str) -> object:
        if name in __all__:
            for module in ("shuffle", "networks", "layers", "intervene", "yolo", "profiling", "trained"):
                home = import_module(f"detector.{module}")
                if name in home.__all__:
                    return globals().setdefault(name, getattr(home, name))
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

    def __dir__() -> list[str]:
        return [*globals(), *__all__]
