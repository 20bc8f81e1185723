"""The options of ``python reproduce.py profile``."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from data.datasets import DATASETS
from detector.registry import ARCHITECTURES, CONTROLS, METHODS
from training.options import (
    AT_LEAST_1,
    NOT_NEGATIVE,
    SEED,
    MachineOptions,
    OptionGroup,
    OptionGroups,
    Rule,
    option,
    option_of,
    require,
)

__all__ = ["Options"]


def profile_methods() -> list[str]:
    """What can be taken away from a network that is not trained again."""
    return [name for name, row in METHODS.items() if row.is_shuffle]


FOREIGN_LIBRARIES = ("timm:", "hf:")
MODIFIABLE = [name for name, row in ARCHITECTURES.items() if row.has_layers]


@dataclass(frozen=True)
class NetworkOptions(OptionGroup):
    """The trained network: a checkpoint of this package, an architecture with weights, or a function's."""

    checkpoint: str | None = option(
        None,
        "A checkpoint of train_classify.py or train_detect.py, or the folder of a run, of which the best one "
        "is taken. Its own shuffles are switched off.",
    )
    arch: str | None = option(
        None,
        f"The architecture: {', '.join(MODIFIABLE)}, any classification network of torchvision.models, "
        "timm:NAME of timm, or hf:NAME of Hugging Face, where NAME is a folder of save_pretrained or a name "
        "on its hub.",
    )
    network: str | None = option(
        None,
        "MODULE:FUNCTION or FILE.py:FUNCTION, which returns the network when it is called without arguments. "
        "Its code is run.",
    )
    weights: str | None = option(
        None,
        "The weights: 'imagenet' (torchvision's best), a torchvision name such as IMAGENET1K_V1, or a file. "
        "Default of timm: and hf: networks: those that the library downloads; of --network: as the function "
        "returns it.",
    )
    width: float = option(
        1.0,
        "With --arch of one of our networks, its channels times this.",
        Rule("a number above 0", lambda width: width > 0),
    )

    def check(self) -> None:
        """Raise InputError for values that cannot be meant."""
        ways = [name for name in ("checkpoint", "arch", "network") if getattr(self, name) is not None]
        require(bool(ways), "arch", None, "an architecture, a --checkpoint, or a --network")
        for name in ways[1:]:
            require(False, name, getattr(self, name), f"none with {option_of(ways[0])}")
        if self.checkpoint is not None:
            require(self.weights is None, "weights", self.weights, "none with --checkpoint")
        if self.checkpoint is not None or self.is_foreign:
            require(self.width == 1, "width", self.width, f"none with {option_of(ways[0])} of others")
        elif self.weights in (None, "none"):
            require(False, "weights", self.weights, "the weights of a trained network: a name or a file")
        if self.network is not None:
            module, _, function = self.network.rpartition(":")
            require(
                bool(module) and function.isidentifier(),
                "network",
                self.network,
                "MODULE:FUNCTION, such as my_networks:make_network",
            )
        super().check()

    @property
    def is_foreign(self) -> bool:
        """Whether timm, Hugging Face or a function of the user's builds the network."""
        return self.network is not None or (self.arch or "").startswith(FOREIGN_LIBRARIES)


@dataclass(frozen=True)
class ImageOptions(OptionGroup):
    """The images that it is scored on. Of a checkpoint, its run says what is not given here."""

    data: str | None = option(
        None,
        f"The data set: {', '.join(DATASETS)}; or the path of a folder with one folder of images for each "
        "class, in the order of the network's outputs when sorted by name; for a detector voc or shapes. "
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
        "Without --checkpoint, side of the square that images are cropped to; of imagenet and folders only. "
        "Default: that of the network, where timm or Hugging Face know it, else 224.",
        Rule("at least 1 pixel", AT_LEAST_1.holds),
    )
    mean: list[float] = option(
        [],
        "Without --checkpoint, what is subtracted from red, green and blue, each from 0 to 1. Default: "
        "what timm or Hugging Face know of pretrained weights, else the mean of the training images; of "
        "imagenet and folders the usual 0.485 0.456 0.406.",
    )
    std: list[float] = option([], "With --mean, what is then divided by; the usual: 0.229 0.224 0.225.")
    limit: int | None = option(
        None,
        "Take at most N images, of each class alike; of a detector's images, at random.",
        Rule("at least 1 image", AT_LEAST_1.holds),
    )

    def check(self) -> None:
        """Raise InputError for values that cannot be meant."""
        for name, other in (("mean", self.std), ("std", self.mean)):
            values = getattr(self, name)
            least = 0 if name == "mean" else 1e-6
            require(
                not (values or other) or (len(values) == 3 and all(least <= value <= 1 for value in values)),
                name,
                " ".join(map(str, values)) or "none",
                "three numbers from 0 to 1, together with --mean and --std",
            )
        super().check()


@dataclass(frozen=True)
class ShuffleOptions(OptionGroup):
    """What is taken away from each layer in turn, and how often."""

    methods: list[str] = option(
        lambda: [name for name in profile_methods() if name not in CONTROLS],
        f"What is removed: {', '.join(profile_methods())}. Default: all but the controls, "
        f"{', '.join(CONTROLS)}.",
    )
    patches: list[int] = option(
        [],
        "Sides of the patches within which positions are shuffled. Default: 2, 4, 8 … up to the "
        "size of each layer's map. As large as the map, it is the spatial shuffle.",
    )
    layers: list[int] = option([], "Numbers of layers, counted from 1 at the input. Default: all.")
    names: list[str] = option([], "Names of layers in the network, such as layer4.1, instead of --layers.")
    cumulative: bool = option(
        False, "Shuffle with each layer all that follow it, as in Table 1 of the paper, instead of it alone."
    )
    controls: bool = option(
        False, "Add the controls, which separate the loss of order from a change of statistics, to --methods."
    )
    reestimate_batch_norm: bool = option(
        False, "Estimate the statistics of batch norm anew on the images under each shuffle; of classifiers."
    )
    by_class: bool = option(False, "Measure the accuracy of each class too; of classifiers.")
    cka: bool = option(False, "Measure how similar each layer's activations stay (CKA); of classifiers.")
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
        require(not (self.names and self.layers), "names", " ".join(self.names), "none with --layers")
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
