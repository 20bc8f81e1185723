"""The detector of a set of options, and back from a checkpoint."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import torch

from data.records import InputError
from detector import YOLO, WeightsError, shuffle_layers
from detector.backbone import resnet, what_is_wrong
from training.options import ModelOptions

__all__ = ["build_detector", "load_detector", "read_checkpoint"]


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
        raise InputError("--weights", str(error), f"weights of {options.arch}") from error
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
    """The content of a checkpoint of this package; nothing in the file is executed.

    Raises
    ------
    InputError
        The file is absent, cut short, or no checkpoint of a detector.
    """
    if not path.is_file():
        raise InputError(path, "no such file", "a checkpoint, such as RUN/checkpoints/best.ckpt")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch.load raises half a dozen types for damaged files
        found, _, expected = what_is_wrong(error).removeprefix("found ").partition("; expected ")
        raise InputError(path, found, f"{expected}; here, a checkpoint that train_detect.py wrote") from None
    wanted = ("state_dict", "hyper_parameters")
    if not isinstance(content, Mapping) or any(name not in content for name in wanted):
        raise InputError(
            path, "a file without state_dict and hyper_parameters", "a checkpoint that train_detect.py wrote"
        )
    hyper = content["hyper_parameters"]
    for name, kind in {"model": Mapping, "classes": list, "input_size": int}.items():
        if not isinstance(hyper, Mapping) or not isinstance(hyper.get(name), kind):
            raise InputError(
                path, f"no {name} in its hyper_parameters", "a checkpoint that train_detect.py wrote"
            )
    return dict(content)


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
    load_state(model, content["state_dict"], checkpoint)
    return model.eval(), tuple(hyper["classes"]), int(hyper["input_size"])


def load_state(model: YOLO, state: Mapping[str, Any], source: Path) -> None:
    """Load the ``model.`` part of a checkpoint's state dict, strictly.

    Raises
    ------
    InputError
        Names the first weight that is missing, superfluous or of another shape.
    """
    own = model.state_dict()
    given = {name.removeprefix("model."): value for name, value in state.items()}
    differing = [name for name in own if name not in given or given[name].shape != own[name].shape]
    differing += [name for name in given if name not in own]
    if differing:
        name = differing[0]
        found = f"{name} of shape {tuple(given[name].shape)}" if name in given else f"no {name}"
        wanted = f"shape {tuple(own[name].shape)}" if name in own else "no such weight"
        raise InputError(
            source, found, f"{wanted}: the checkpoint is of another architecture, grid or set of classes"
        )
    model.load_state_dict(given, strict=True)


def hyper_parameters(options: ModelOptions, classes: Sequence[str], input_size: int) -> dict[str, Any]:
    """What a checkpoint needs to hold so that :func:`load_detector` can rebuild the model."""
    return {"model": asdict(options), "classes": list(classes), "input_size": input_size}
