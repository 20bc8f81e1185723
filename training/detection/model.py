"""The detector of a set of options, and back from a checkpoint."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from data.records import InputError
from detector import YOLO, WeightsError, shuffle_layers
from detector.networks import resnet
from training.checkpoint import CheckpointForm, load_state, weights_error
from training.detection.options import ModelOptions

__all__ = ["build_detector", "hyper_parameters", "load_detector", "load_weights", "read_checkpoint"]

FORM = CheckpointForm("train_detect.py", {"model": Mapping, "classes": list, "input_size": int})


def build_detector(options: ModelOptions, classes: int, input_size: int) -> YOLO:
    """The detector that the options describe.

    Raises
    ------
    InputError
        Weights that are not there or do not fit, a layer that the backbone lacks.
    """
    try:
        backbone = resnet(
            options.arch, None, output_stride=options.stride(input_size), weights=options.weights
        )
    except WeightsError as error:
        raise weights_error(error, options.arch) from error
    if options.shuffle != "none":
        layer = "last" if options.shuffle == "last" else int(options.shuffle)
        try:
            shuffle_layers(
                backbone,
                layer,  # type: ignore[arg-type]
                options.shuffle_method,
                patch=options.patch,
                shortcut=options.shuffle_shortcut,
            )
        except ValueError as error:
            raise InputError("--shuffle", options.shuffle, f"a layer of {options.arch}: {error}") from error
    return YOLO(backbone, classes, options.cells(input_size), options.boxes_per_cell)


def read_checkpoint(path: Path) -> dict[str, Any]:
    """The content of a detector's checkpoint; nothing in the file is executed.

    Raises
    ------
    InputError
        The file is absent, cut short, or no checkpoint of a detector.
    """
    return FORM.read(path)


def load_detector(
    checkpoint: Path, overrides: Mapping[str, Any] | None = None
) -> tuple[YOLO, tuple[str, ...], int]:
    """A trained detector.

    Parameters
    ----------
    checkpoint
        A file that ``train_detect.py`` wrote.
    overrides
        Model options to change; those of the shuffle can be, as it has no weights.

    Returns
    -------
    model
        In evaluation mode.
    classes
        Names of its classes.
    input_size
        Side of its square input, in pixels.

    Raises
    ------
    InputError
        The checkpoint cannot be read, or its weights are of another architecture.
    """
    content = read_checkpoint(checkpoint)
    hyper = content["hyper_parameters"]
    known = {item.name for item in fields(ModelOptions)}
    options = ModelOptions(
        **{
            **{name: value for name, value in hyper["model"].items() if name in known},
            "weights": "none",
            **(overrides or {}),
        }
    )
    options.check(hyper["input_size"])
    model = build_detector(options, len(hyper["classes"]), hyper["input_size"])
    load_weights(model, content["state_dict"], checkpoint)
    return model.eval(), tuple(hyper["classes"]), int(hyper["input_size"])


def load_weights(model: YOLO, state: Mapping[str, Any], source: Path) -> None:
    """Load the state dict of a checkpoint into a detector, strictly; InputError names what does not fit."""
    load_state(model, state, source, "the checkpoint is of another architecture, grid or set of classes")


def hyper_parameters(options: ModelOptions, classes: Sequence[str], input_size: int) -> dict[str, Any]:
    """What a checkpoint needs to hold so that :func:`load_detector` can rebuild the model."""
    return {"model": asdict(options), "classes": list(classes), "input_size": input_size}
