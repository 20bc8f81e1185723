"""The paper's numbers, against the text itself where it is at hand."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from training.experiments.paper import REPORTED, Reported, paper_accuracy, reported
from training.experiments.schema import Variant, modified_percent


@pytest.fixture(scope="module")
def paper_text(root: Path) -> str:
    file = root.parent / "shared" / "paper.md"
    if not file.is_file():
        pytest.skip(f"the paper's text is not at hand: {file} is absent")
    return file.read_text(encoding="utf-8")


@pytest.mark.parametrize("item", REPORTED, ids=lambda item: f"{item.quantity}-{item.value}")
def test_every_number_stands_in_the_text(item: Reported, paper_text: str) -> None:
    of_detection = item.quantity in ("correct", "localization", "right_class")
    digits = 0 if item.quantity in ("map", "modified") else 1 if item.value == 4.0 or of_detection else 2
    assert re.search(rf"(?<![\d.]){re.escape(f'{item.value:.{digits}f}')}(?![\d.]\d)", paper_text)


def test_no_number_is_given_twice_and_each_says_where() -> None:
    keys = [(item.variant, item.quantity) for item in REPORTED]
    assert len(set(keys)) == len(keys)
    assert all(re.search(r"Table \d|Figure \d|section \d", item.where) for item in REPORTED)


def test_percentages_of_modified_layers_are_those_of_table_2() -> None:
    rows = [item for item in REPORTED if item.quantity == "modified"]
    assert len(rows) == 6
    assert all(round(modified_percent(item.variant)) == item.value for item in rows)


def test_a_drop_becomes_an_accuracy_only_where_the_text_gives_the_baseline() -> None:
    drop = Variant("cifar100", "vgg16", "channel", last=1)
    found = paper_accuracy(drop)
    assert found is not None
    assert found.value == pytest.approx(71.44)
    assert found.where.startswith("74.10 − 2.66")
    resnet = Variant("cifar100", "resnet50", "spatial", last=8)
    assert paper_accuracy(resnet) is None  # the text does not say what the plain ResNet-50 reaches
    assert reported(resnet, "drop") is not None
    assert paper_accuracy(Variant("shapes", "vgg16")) is None


def test_shuffling_layer_1_is_shuffling_its_patches_of_32() -> None:
    alone = paper_accuracy(Variant("cifar100", "vgg16", "spatial", layer=1))
    assert alone is not None
    assert alone.value == 16.02
