"""What the paper claims in words, as rows that a run answers: yes, no, or not run.

A claim compares a quantity of two variants. Where the paper gives no limit ("similar"), ours is in the row.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from training.experiments.collect import RIGHT_CLASS, Row
from training.experiments.paper import CIFAR_RESNET, CIFAR_VGG, SMALL_RESNET, SMALL_VGG, VOC
from training.experiments.schema import Variant, architecture_label, modified_percent

__all__ = ["CLAIMS", "Claim", "claims_table"]

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
        limits = [f"at least {self.low:g}"] * (self.low > -math.inf) + [f"at most {self.high:g}"] * (
            self.high < math.inf
        )
        return f"{what}: {' and '.join(limits)}"

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


def _classification() -> Iterator[Claim]:
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


def _imagenet() -> Iterator[Claim]:
    for arch, last in (("vgg16", 1), ("resnet50", 1), ("resnet152", 5)):
        plain = Variant("imagenet", arch)
        changed = replace(plain, method="gap_fc", last=last)
        yield Claim(f"within 1 % with GAP+FC in the last {last}", "section 4.2", changed, plain, -1.0)
        if arch != "resnet152":
            changed = replace(plain, method="spatial", last=1)
            yield Claim("within 1 % with the last layer shuffled", "section 4.2", changed, plain, -1.0)


def _detection() -> Iterator[Claim]:
    where, shuffled = "section 4.5", replace(VOC, method="spatial", last=1)
    yield Claim("localization errors are doubled", where, shuffled, VOC, 1.5, 2.5, "localization", ratio=True)
    yield Claim("the classification is preserved", where, shuffled, VOC, -NEAR_POINTS, quantity=RIGHT_CLASS)
    for name in ("similar", "other", "background"):
        yield Claim("similar in the rest", where, shuffled, VOC, -NEAR_POINTS, NEAR_POINTS, name)


CLAIMS: tuple[Claim, ...] = (*_classification(), *_imagenet(), *_detection())
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
