"""What the paper says: the numbers that its text gives, and claims in words that a run answers.

Fan et al., *Analyzing the Dependency of ConvNets on Spatial Information*. What only its plots show is absent.
A claim compares a quantity of two variants. Where the paper gives no limit ("similar"), ours is in the row.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from training.experiments.collect import RIGHT_CLASS, Row
from training.experiments.schema import Variant, architecture_label, modified_percent

__all__ = [
    "CLAIMS", "REPORTED", "Claim", "Quantity", "Reported", "claims_table", "paper_accuracy", "reported",
]  # fmt: skip

Quantity = Literal[
    "accuracy", "drop", "parameters", "modified", "map", "correct", "localization", "right_class"
]
"""``drop``: of the accuracy below the baseline's. In percent (points), but for millions of parameters."""


@dataclass(frozen=True)
class Reported:
    """A number of the paper's."""

    variant: Variant
    quantity: Quantity
    value: float
    where: str
    """Where in the paper, and in which words if those leave room."""


CIFAR_VGG = Variant("cifar100", "vgg16")
CIFAR_RESNET = Variant("cifar100", "resnet50")
SMALL_VGG = Variant("small-imagenet", "vgg16")
SMALL_RESNET = Variant("small-imagenet", "resnet50")
VOC = Variant("voc", "resnet50")


def _cifar100() -> Iterator[Reported]:
    """Sections 4.1, 4.2 and 4.4: Figures 1, 4, 5, 6, 7 and Table 1."""
    vgg, resnet = CIFAR_VGG, CIFAR_RESNET
    spatial, channel = replace(vgg, method="spatial"), replace(vgg, method="channel")
    table = "Table 1"
    yield Reported(vgg, "accuracy", 74.10, f"{table}; Figure 1; section 4.1")
    yield Reported(replace(channel, last=4), "accuracy", 67.56, table)
    yield Reported(replace(channel, last=4, tested="none"), "accuracy", 67.80, table)
    yield Reported(replace(vgg, last=4, tested="channel"), "accuracy", 1.04, f"{table}; section 4.1")
    yield Reported(replace(spatial, last=4), "accuracy", 74.07, f"{table}; section 4.1")
    yield Reported(replace(spatial, last=4, tested="none"), "accuracy", 73.74, f"{table}; section 4.1")
    yield Reported(replace(vgg, last=4, tested="spatial"), "accuracy", 23.49, f"{table}; section 4.1")
    yield Reported(Variant("cifar100", "perceptron"), "accuracy", 25.61, "section 4.1")
    yield Reported(replace(spatial, last=7), "accuracy", 71.44, "Figure 1, caption: the last 54 %")
    yield Reported(replace(spatial, last=10), "accuracy", 57.05, "section 4.1: the last 77 %")
    yield Reported(replace(channel, last=10), "accuracy", 4.84, "section 4.1: the last 77 %")
    yield Reported(
        replace(channel, last=1), "drop", 2.66, "Figure 4, caption: “the same … when the last layer”"
    )
    spatial = replace(resnet, method="spatial")
    yield Reported(replace(spatial, last=5), "drop", 0.17, "section 4.2: “the last 30%”")
    yield Reported(replace(spatial, last=8), "drop", 2.48, "Figure 5, caption: “latter half”; section 4.2")
    yield Reported(replace(spatial, last=13), "drop", 8.58, "section 4.2: “at 77% to 81%”")
    whole = "Figure 7, caption: layer 1, patch size 32"
    bottleneck = "; of a ResNet our layer 1 is its first bottleneck, not the image"
    yield Reported(replace(vgg, method="patch", layer=1, patch=32), "accuracy", 16.02, whole)
    yield Reported(replace(resnet, method="patch", layer=1, patch=32), "accuracy", 40.76, whole + bottleneck)
    yield Reported(
        replace(resnet, method="patch", layer=1, patch=4),
        "drop",
        4.0,
        "section 4.4: patch size 4 “on the input image”" + bottleneck,
    )


def _small_imagenet() -> Iterator[Reported]:
    """Section 4.2: Figure 5."""
    averaged = replace(SMALL_VGG, method="gap_fc")
    where = "section 4.2"
    yield Reported(SMALL_VGG, "accuracy", 46.59, where)
    yield Reported(SMALL_VGG, "parameters", 37.70, where)
    yield Reported(
        replace(averaged, last=4), "accuracy", 46.05, f"{where}: the network of 29.31 M parameters"
    )
    yield Reported(replace(averaged, last=4), "parameters", 29.31, where)
    yield Reported(replace(averaged, last=10), "drop", 20.21, f"{where}: “at 77% to 81%”")
    yield Reported(replace(SMALL_VGG, method="spatial", last=4), "drop", 1.44, f"{where}: “the last 30%”")
    half = "Figure 5, caption: “latter half”; section 4.2"
    yield Reported(replace(SMALL_RESNET, method="gap_fc", last=8), "drop", 6.92, half)


TABLE_2 = (
    ("vgg16", "none", None, 72.96, None, 37.70),
    ("vgg16", "spatial", 1, 73.51, 8, 37.70),
    ("vgg16", "gap_fc", 1, 72.55, 8, 35.61),
    ("resnet50", "none", None, 75.47, None, 25.56),
    ("resnet50", "spatial", 1, 74.68, 6, 25.56),
    ("resnet50", "gap_fc", 1, 74.57, 6, 23.46),
    ("resnet152", "none", None, 77.66, None, 60.19),
    ("resnet152", "spatial", 1, 76.64, 2, 60.19),
    ("resnet152", "gap_fc", 5, 76.93, 10, 52.85),
)
"""Network, method, modified layers; top-1 accuracy in %, modified layers in %, parameters in millions."""


def _imagenet() -> Iterator[Reported]:
    for arch, method, last, accuracy, modified, parameters in TABLE_2:
        variant = Variant("imagenet", arch, method, last)
        yield Reported(variant, "accuracy", accuracy, "Table 2")
        yield Reported(variant, "parameters", parameters, "Table 2")
        if modified is not None:
            yield Reported(variant, "modified", modified, "Table 2")


def _detection() -> Iterator[Reported]:
    where = "section 4.5"
    shuffled = replace(VOC, method="spatial", last=1)
    for variant, mean, correct, localization in ((VOC, 50, 59.1, 14.2), (shuffled, 34, 45.3, 28.4)):
        yield Reported(variant, "map", mean, where)
        yield Reported(variant, "correct", correct, where)
        yield Reported(variant, "localization", localization, where)
        yield Reported(
            variant, "right_class", round(correct + localization, 1), f"{where}: correct + localization"
        )
    yield Reported(replace(VOC, weights="imagenet"), "map", 66, f"{where}: pre-trained on ImageNet")


REPORTED: tuple[Reported, ...] = (*_cifar100(), *_small_imagenet(), *_imagenet(), *_detection())
"""All of them."""


def reported(variant: Variant, quantity: Quantity) -> Reported | None:
    """The paper's number for a variant, if its text gives one.

    Examples
    --------
    >>> found = reported(Variant("cifar100", "vgg16", "spatial", last=10), "accuracy")
    >>> found.value, found.where
    (57.05, 'section 4.1: the last 77 %')
    """
    return next((item for item in REPORTED if (item.variant, item.quantity) == (variant, quantity)), None)


def paper_accuracy(variant: Variant) -> Reported | None:
    """The paper's accuracy of a variant: as its text gives it, or the baseline's less the drop that it gives.

    A layer shuffled by patches as large as its map and the spatial shuffle of the layer are the same.
    """
    if variant == replace(CIFAR_VGG, method="spatial", layer=1):
        variant = replace(CIFAR_VGG, method="patch", layer=1, patch=32)
    found = reported(variant, "accuracy")
    drop = reported(variant, "drop")
    baseline = reported(variant.baseline, "accuracy")
    if found is None and drop is not None and baseline is not None:
        value = baseline.value - drop.value
        where = f"{baseline.value:.2f} − {drop.value:.2f}, {drop.where}"
        return Reported(variant, "accuracy", value, where)
    return found


# ---------------------------------------------------------------- claims

NEAR_POINTS = 3.0
"""Our limit for what the paper calls similar without a number."""


@dataclass(frozen=True)
class Claim:
    """That a quantity of one variant, less (or over) that of another, is within limits."""

    text: str
    where: str
    """In the paper."""
    of: Variant
    against: Variant
    low: float = -math.inf
    high: float = math.inf
    quantity: str = "accuracy"
    ratio: bool = False
    """Whether the two are divided; else subtracted, in percent points."""

    @property
    def criterion(self) -> str:
        """The limits, in words."""
        quantity = "correct + localization" if self.quantity == RIGHT_CLASS else self.quantity
        what = f"{quantity}, {'ratio' if self.ratio else 'difference in points'}"
        limits = {"at least": self.low, "at most": self.high}
        words = (f"{limit} {value:g}" for limit, value in limits.items() if math.isfinite(value))
        return f"{what}: {' and '.join(words)}"

    def measured(self, rows: Sequence[Row]) -> float | None:
        """What the runs say; None where one of the two is not run."""
        means = [
            next((row.mean(self.quantity) for row in rows if row.point.variant == variant), math.nan)
            for variant in (self.of, self.against)
        ]
        if any(map(math.isnan, means)) or (self.ratio and means[1] == 0):
            return None
        return means[0] / means[1] if self.ratio else means[0] - means[1]

    def answer(self, rows: Sequence[Row]) -> str:
        """``"yes"``, ``"no"`` or ``"not run"``."""
        value = self.measured(rows)
        if value is None:
            return "not run"
        return "yes" if self.low <= round(value, 9) <= self.high else "no"


def _claims_of_classification() -> Iterator[Claim]:
    for plain, thirty, half in (
        (CIFAR_VGG, 4, 7),
        (CIFAR_RESNET, 5, 8),
        (SMALL_VGG, 4, 7),
        (SMALL_RESNET, 5, 8),
    ):
        for method in ("spatial", "gap_fc"):
            for last, points, where in ((thirty, 1, "section 1"), (half, 7, "sections 1 and 5")):
                changed = replace(plain, method=method, last=last)
                share = f"the last {modified_percent(changed):.0f} %"
                yield Claim(
                    f"within {points} % with {share} modified", where, changed, plain, low=-float(points)
                )
        for last in (thirty, half):
            spatial, averaged = (replace(plain, method=method, last=last) for method in ("spatial", "gap_fc"))
            text = f"spatial shuffle and GAP+FC behave similarly, last {last}"
            yield Claim(text, "section 4.2", spatial, averaged, -NEAR_POINTS, NEAR_POINTS)
    spatial, channel = (replace(CIFAR_VGG, method=method, last=4) for method in ("spatial", "channel"))
    yield Claim(
        "trained with the spatial shuffle, retains the baseline", "section 4.1", spatial, CIFAR_VGG, -1.0
    )
    for shuffled in (spatial, channel):
        text = f"trained with the {shuffled.method} shuffle, the test's shuffle does not matter"
        yield Claim(text, "section 4.1", shuffled, replace(shuffled, tested="none"), -1.0, 1.0)
    yield Claim(
        "the channel shuffle costs more than the spatial one", "section 4.1", channel, spatial, high=0.0
    )
    untrained = [replace(CIFAR_VGG, last=4, tested=method) for method in ("spatial", "channel")]
    text = "not trained for it, the spatial shuffle leaves more than the channel shuffle"
    yield Claim(text, "section 4.1", untrained[0], untrained[1], low=0.0)
    perceptron = Variant("cifar100", "perceptron")
    text = "not trained for it, the spatial shuffle leaves about what a perceptron reaches"
    yield Claim(text, "section 4.1", untrained[0], perceptron, -NEAR_POINTS, NEAR_POINTS)
    for layer in range(1, 13):  # the last layer alone is the last 1
        alone = replace(CIFAR_VGG, method="spatial", layer=layer)
        following = replace(CIFAR_VGG, method="spatial", last=14 - layer)
        text = f"layer {layer} alone costs what it and all after it cost"
        yield Claim(text, "section 4.3", alone, following, -NEAR_POINTS, NEAR_POINTS)


def _claims_of_imagenet() -> Iterator[Claim]:
    for arch, last in (("vgg16", 1), ("resnet50", 1), ("resnet152", 5)):
        plain = Variant("imagenet", arch)
        changed = replace(plain, method="gap_fc", last=last)
        yield Claim(f"within 1 % with GAP+FC in the last {last}", "section 4.2", changed, plain, -1.0)
        if arch != "resnet152":
            changed = replace(plain, method="spatial", last=1)
            yield Claim("within 1 % with the last layer shuffled", "section 4.2", changed, plain, -1.0)


def _claims_of_detection() -> Iterator[Claim]:
    where, shuffled = "section 4.5", replace(VOC, method="spatial", last=1)
    yield Claim("localization errors are doubled", where, shuffled, VOC, 1.5, 2.5, "localization", ratio=True)
    yield Claim("the classification is preserved", where, shuffled, VOC, -NEAR_POINTS, quantity=RIGHT_CLASS)
    for name in ("similar", "other", "background"):
        yield Claim("similar in the rest", where, shuffled, VOC, -NEAR_POINTS, NEAR_POINTS, name)


CLAIMS: tuple[Claim, ...] = (*_claims_of_classification(), *_claims_of_imagenet(), *_claims_of_detection())
"""All of them."""


def claims_table(rows: Sequence[Row]) -> tuple[list[str], list[list[str]]] | None:
    """The claims of which an experiment has both variants, answered by its runs; None if none."""
    variants = {row.point.variant for row in rows}
    body = []
    for claim in CLAIMS:
        if {claim.of, claim.against} <= variants:
            value = claim.measured(rows)
            network = f"{architecture_label(claim.of.arch)}, {claim.of.data}"
            what = network if claim.of.method == "none" else f"{network}, {claim.of.method.replace('_', '+')}"
            measured = "–" if value is None else f"{value:.2f}" if claim.ratio else f"{value:+.2f}"
            body.append([claim.text, what, claim.criterion, measured, claim.answer(rows), claim.where])
    return (["claim", "of", "holds where", "measured", "answer", "paper"], body) if body else None
