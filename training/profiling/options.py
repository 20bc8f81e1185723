"""The options of ``python reproduce.py profile``."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from data.datasets import DATASETS
from detector.tables import ARCHITECTURES, CONTROLS, METHODS
from training.options import (
    AT_LEAST_1,
    NOT_NEGATIVE,
    SEED,
    MachineOptions,
    OptionGroup,
    OptionGroups,
    Rule,
    described,
    option,
    require,
)

__all__ = ["Options"]


def profile_methods() -> list[str]:
    """What can be taken away from a network that is not trained again."""
    return [name for name, row in METHODS.items() if row.is_shuffle]


MODIFIABLE = [name for name, row in ARCHITECTURES.items() if row.has_layers]


@dataclass(frozen=True)
class NetworkOptions(OptionGroup):
    """The trained network: a checkpoint of this package, or an architecture with weights."""

    checkpoint: str | None = option(
        None,
        "A checkpoint of train_classify.py or train_detect.py, or the folder of a run, of which the best one "
        "is taken. Its own shuffles are switched off.",
    )
    arch: str | None = option(
        None,
        f"With --weights, the architecture: {', '.join(MODIFIABLE)} or any classification network of "
        "torchvision.models.",
    )
    weights: str | None = option(
        None,
        "With --arch, the weights: 'imagenet' (torchvision's best), a torchvision name such as "
        "IMAGENET1K_V1, or a file.",
    )
    width: float = option(
        1.0,
        "With --arch, the channels of vgg16 and the ResNets times this.",
        Rule("a number above 0", lambda width: width > 0),
    )

    def check(self) -> None:
        """Raise InputError for values that cannot be meant."""
        if self.checkpoint is not None:
            for name in ("arch", "weights"):
                require(getattr(self, name) is None, name, getattr(self, name), "none with --checkpoint")
            require(self.width == 1, "width", self.width, "none with --checkpoint")
            return
        require(self.arch is not None, "arch", self.arch, "an architecture, or a --checkpoint")
        require(
            self.weights not in (None, "none"),
            "weights",
            self.weights,
            "the weights of a trained network: a name or a file",
        )
        super().check()


@dataclass(frozen=True)
class ImageOptions(OptionGroup):
    """The images that it is scored on. Of a checkpoint, its run says what is not given here."""

    data: str | None = option(
        None,
        f"The data set: {', '.join(DATASETS)}; for a detector voc or shapes. "
        "Default: that of the checkpoint's run.",
    )
    root: str | None = option(None, "Folder of the data. Default: that of the checkpoint's run.")
    split: Literal["validation", "test"] = option(
        "validation",
        "The images held out of the training images, or the test images. Weights from elsewhere may have "
        "been trained on the former.",
    )
    validation: float | None = option(
        None,
        "Share of the training images that is held out. Default: that of the checkpoint's run, else 0.1.",
        Rule("a share above 0 and below 1; for the test images --split test", lambda share: 0 < share < 1),
    )
    input_size: int | None = option(
        None,
        "With --arch, side of the square that images are cropped to; of imagenet only. Default: 224.",
        Rule("at least 1 pixel", AT_LEAST_1.holds),
    )
    limit: int | None = option(
        None,
        "Take so many of the images at most, of each class alike; of a detector's, at random.",
        Rule("at least 1 image", AT_LEAST_1.holds),
    )


@dataclass(frozen=True)
class ShuffleOptions(OptionGroup):
    """What is taken away from each layer in turn, and how often."""

    methods: list[str] = field(
        default_factory=lambda: [name for name in profile_methods() if name not in CONTROLS],
        metadata=described(
            f"What is taken away: {', '.join(profile_methods())}. Default: all but the controls, "
            f"{', '.join(CONTROLS)}."
        ),
    )
    patches: list[int] = field(
        default_factory=list,
        metadata=described(
            "Sides of the patches within which positions are shuffled. Default: 2, 4, 8 … up to the "
            "size of each layer's map. As large as the map, it is the spatial shuffle."
        ),
    )
    layers: list[int] = field(
        default_factory=list,
        metadata=described("Numbers of layers, counted from 1 at the input. Default: all."),
    )
    passes: int = option(
        10, "T: forward passes over the images for each layer and method, each with other draws.", AT_LEAST_1
    )
    seed: int = option(0, "Seed of the draws; with --arch also of the images held out.", SEED)
    shuffle_shortcut: bool = option(
        True, "Whether a residual block's shortcut is shuffled too, by its own draw."
    )
    per_image: bool = option(False, "Whether each image of a batch is shuffled in its own way.")
    batch_size: int | None = option(
        None,
        "Images that share a draw. Default: 250, for a detector 16; the last batch may be smaller.",
        AT_LEAST_1,
    )

    def check(self) -> None:
        """Raise InputError for values that cannot be meant."""
        for method in self.methods:
            known = profile_methods()
            require(method in known, "methods", method, f"some of {', '.join(known)}")
        for name, least in (("patches", 2), ("layers", 1)):
            for value in getattr(self, name):
                require(value >= least, name, value, f"numbers from {least}")
        super().check()


@dataclass(frozen=True)
class ProfileMachineOptions(OptionGroup):
    """What it runs on."""

    accelerator: Literal["auto", "cpu", "gpu", "mps"] = option("auto", "Kind of device.")
    precision: Literal["32-true", "16-mixed", "bf16-mixed"] = option(
        "32-true", "Precision of the arithmetic."
    )
    channels_last: bool = option(
        True, "Whether feature maps are laid out channels last, which is mostly faster."
    )
    workers: int = option(2, "Processes that load image files; 0: this process itself does.", NOT_NEGATIVE)

    def as_machine(self) -> MachineOptions:
        """The same among all options of a machine."""
        return MachineOptions(**vars(self))


@dataclass(frozen=True)
class Options(OptionGroups):
    """All of a profile's options, by group."""

    network: NetworkOptions = field(default_factory=NetworkOptions)
    images: ImageOptions = field(default_factory=ImageOptions)
    shuffles: ShuffleOptions = field(default_factory=ShuffleOptions)
    machine: ProfileMachineOptions = field(default_factory=ProfileMachineOptions)
