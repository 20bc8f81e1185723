"""The network of a set of options, and back from a checkpoint."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any, NamedTuple

from torch import nn
from torchvision import models

from data.image_set import Statistics
from data.records import InputError
from detector import (
    WeightsError,
    modify_layers,
    perceptron,
    resnet18,
    resnet50,
    resnet152,
    set_shuffling,
    vgg16,
)
from detector.input_hooks import input_shapes
from detector.layers import nearest
from detector.networks import load_into, load_weights
from training.checkpoint import CheckpointForm, load_state, weights_error
from training.classification.options import ModelOptions
from training.options import option_of

__all__ = [
    "Classifier",
    "build_classifier",
    "check_architecture",
    "hyper_parameters",
    "load_classifier",
    "load_trained",
    "read_checkpoint",
]

FORM = CheckpointForm(
    "train_classify.py",
    {"model": Mapping, "classes": list, "statistics": Mapping, "image_size": int},
)
SMALL = 64  # pixels; up to here a ResNet has the stem for small images (paper, section 3.2)
SCALABLE = ("perceptron", "resnet18", "resnet50", "resnet152", "vgg16")


class Classifier(NamedTuple):
    """A trained network and what belongs to it."""

    network: nn.Module
    """In evaluation mode. It takes normalised images ``(N, 3, H, W)``, or uint8 ones after `statistics`."""
    classes: tuple[str, ...]
    """Names of its outputs."""
    statistics: Statistics
    """Of the images it was trained on, for :class:`data.classification.Normalization`."""
    image_size: int
    """Side of the images it was trained on, in pixels."""
    options: ModelOptions
    """What it was made of."""


def check_architecture(name: str) -> None:
    """Raise InputError, naming the nearest, for an architecture that there is not."""
    known = [*SCALABLE, *models.list_models(module=models)]
    if name not in known:
        raise InputError(
            "--arch",
            repr(name),
            f"one of {', '.join(SCALABLE)}, or a classification network of torchvision.models"
            f"{nearest(name, known)}",
        )


def _plain(options: ModelOptions, classes: int, image_size: int) -> nn.Module:
    """The network with nothing modified."""
    name, weights, width = options.arch, options.weights, options.width
    if name == "vgg16":
        return vgg16(classes, weights=weights, width=width)
    resnets: dict[str, Callable[..., nn.Module]] = {
        "resnet18": resnet18,
        "resnet50": resnet50,
        "resnet152": resnet152,
    }
    if name in resnets:
        stem = "small" if image_size <= SMALL else "imagenet"
        return resnets[name](classes, stem=stem, weights=weights, width=width)
    if name == "perceptron":
        return _with_weights(
            perceptron(classes, hidden=max(1, round(512 * width)), image_size=image_size), weights
        )
    check_architecture(name)
    if width != 1:
        raise InputError("--width", str(width), f"1 for {name}; others are for {', '.join(SCALABLE)}")
    settings: dict[str, Any] = {}
    if name.startswith("vit"):
        settings = {"image_size": image_size}
    elif name in ("googlenet", "inception_v3"):
        settings = {"aux_logits": False, "init_weights": True}  # one output, as of all others
    network: nn.Module = models.get_model(name, num_classes=classes, **settings)
    if weights != "none":
        official = models.get_model_weights(name)
        state = network.state_dict()
        first, classifier = next(iter(state)), _classifier_of(network, list(state))
        load_into(network, weights, official, landmark=first, classifier=classifier)
    return network


def _with_weights(network: nn.Module, file: str) -> nn.Module:
    """A network that torchvision has no weights of, with those of a file."""
    if file != "none":
        if not Path(file).is_file():
            raise WeightsError(f"weights: found {file!r}; expected none, or a file that exists")
        state = load_weights(file)
        landmark = next(iter(network.state_dict()))
        prefix = next((name.removesuffix(landmark) for name in state if name.endswith(landmark)), "")
        load_state(
            network,
            {name.removeprefix(prefix): value for name, value in state.items()},
            Path(file),
            "the file is of another network",
        )
    return network


def _classifier_of(network: nn.Module, names: Sequence[str]) -> str:
    """What the names of a torchvision network's last linear layer begin with."""
    last = [name for name, module in network.named_modules() if isinstance(module, nn.Linear | nn.Conv2d)][-1]
    return f"{last}." if f"{last}.weight" in names else names[-1]


def build_classifier(options: ModelOptions, classes: int, image_size: int) -> nn.Module:
    """The network that the options describe.

    The weights are drawn before anything is modified: all variants begin with the same from the same seed
    (paper, section 3.2).

    Parameters
    ----------
    options
        The network, and what is modified.
    classes
        Number of outputs.
    image_size
        Side of the images, in pixels.

    Raises
    ------
    InputError
        An unknown architecture; weights that are not there or do not fit; a layer that the network lacks, or
        a method that it cannot have there.
    """
    try:
        network = _plain(options, classes, image_size)
    except WeightsError as error:
        raise weights_error(error, options.arch) from error
    try:
        input_shapes(network, image_size)
    except ValueError as error:
        reason = " ".join(str(error).partition("(")[2].rpartition(")")[0].split())
        raise InputError(
            f"--arch {options.arch}",
            f"images of {image_size} pixels, with which it cannot be run ({reason})",
            "an architecture for such images, or larger ones",
        ) from error
    if options.method == "none":
        return network
    settings: dict[str, Any] = {"patch": options.patch}
    if options.method != "gap_fc":
        settings |= {"shortcut": options.shuffle_shortcut, "per_image": options.per_image}
    try:
        modify_layers(network, options.method, **options.place, **settings, example=image_size)
    except ValueError as error:
        name, value = next(iter(options.place.items()))
        what, _, wanted = str(error).partition("; expected ")
        raise InputError(
            f"--method {options.method} {option_of(name)} {value} of {options.arch}",
            what.partition("found ")[2] or what,
            wanted or "layers that can be modified so",
        ) from error
    if options.method != "gap_fc":
        set_shuffling(network, train=options.train_shuffle, eval=options.eval_shuffle)
    return network


def hyper_parameters(
    options: ModelOptions, classes: Sequence[str], statistics: Statistics, image_size: int
) -> dict[str, Any]:
    """What a checkpoint needs to hold so that :func:`load_classifier` can rebuild the network."""
    return {
        "model": asdict(options),
        "classes": list(classes),
        "statistics": {"mean": list(statistics.mean), "std": list(statistics.std)},
        "image_size": image_size,
    }


def read_checkpoint(path: Path) -> dict[str, Any]:
    """The content of a classifier's checkpoint; nothing in the file is executed.

    Raises
    ------
    InputError
        The file is absent, cut short, or no checkpoint of a classifier.
    """
    return FORM.read(path)


def load_trained(network: nn.Module, state: Mapping[str, Any], source: Path) -> None:
    """Load the state dict of a checkpoint, strictly; InputError names what does not fit."""
    load_state(
        network,
        state,
        source,
        "the checkpoint is of another architecture, width, set of classes, or was trained with GAP+FC "
        "elsewhere",
    )


def load_classifier(checkpoint: Path, overrides: Mapping[str, Any] | None = None) -> Classifier:
    """A trained network.

    Parameters
    ----------
    checkpoint
        A file that ``train_classify.py`` wrote.
    overrides
        Model options to change: those of the shuffles can be, as they have no weights.

    Raises
    ------
    InputError
        The checkpoint cannot be read, its weights are of another architecture, or an override does not fit.
    """
    content = read_checkpoint(checkpoint)
    hyper = content["hyper_parameters"]
    known = {item.name for item in fields(ModelOptions)}
    trained = {name: value for name, value in hyper["model"].items() if name in known}
    asked = dict(overrides or {})
    averaged = "gap_fc" in (trained.get("method"), asked.get("method"))
    if averaged and any(trained.get(name) != value for name, value in asked.items()):
        raise InputError(
            checkpoint,
            f"a network trained with --method {trained['method']}, asked for as "
            f"{', '.join(f'{name} {value}' for name, value in asked.items() if value not in (None, []))}",
            "the same method and layers: GAP+FC is trained, not switched on or off",
        )
    options = ModelOptions(**{**trained, "weights": "none", **asked})
    options.check()
    network = build_classifier(options, len(hyper["classes"]), hyper["image_size"])
    load_trained(network, content["state_dict"], checkpoint)
    statistics = Statistics(tuple(hyper["statistics"]["mean"]), tuple(hyper["statistics"]["std"]))
    return Classifier(network.eval(), tuple(hyper["classes"]), statistics, int(hyper["image_size"]), options)
