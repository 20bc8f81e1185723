"""A trained detector as the subject of a profile."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from data.augment import eval_transform
from data.detection import DetectionDataset, detection_loader
from data.records import GroundTruth, InputError
from detector import YOLO
from diagnosis import diagnose
from diagnosis.breakdown import ERROR_TYPES
from training.checkpoint import load_trained
from training.profiling.options import Options
from training.profiling.subject import KeptBatches, Subject, digest, options_of_run
from training.run_state import RunFolder
from training.tasks.detection import DETECTION, read_run_data, read_test_data
from training.tasks.detection import Options as RunOptions
from training.tasks.detection_evaluation import detect
from training.trainer import make_device

__all__ = ["detector_of_checkpoint"]

_LIMIT_STREAM = 6  # keeps the choice of images apart from other draws of the same seed


def detector_of_checkpoint(options: Options, checkpoint: Path, hyper: Mapping[str, Any]) -> Subject:
    """The detector of a checkpoint of ``train_detect.py``, on the images that its run held out.

    Raises
    ------
    InputError
        Anything wrong with options, data or checkpoint.
    """
    unshuffled = {"shuffle": "none", "shuffle_method": "spatial", "patch": None}
    model, trained, _ = load_trained(DETECTION, checkpoint, unshuffled)
    classes, input_size = tuple(trained["classes"]), int(trained["input_size"])
    asked, shuffles, machine = options.images, options.shuffles, options.machine
    given = {name: getattr(asked, name) for name in ("data", "root", "validation")}
    values = options_of_run(checkpoint, given)
    if "data" not in values:
        raise InputError("--data", "none", f"voc or shapes, as no config.yaml belongs to {checkpoint}")
    if values["data"] not in ("voc", "shapes"):
        raise InputError("--data", repr(values["data"]), "voc or shapes, for a detector")
    if asked.input_size is not None:
        raise InputError("--input-size", str(asked.input_size), "none with --checkpoint")
    run = RunOptions.from_flat(values)
    run.data.check()
    seed = run.optimization.seed
    truth, similar = _read(run, asked.split, seed)
    if truth.classes != classes:
        raise InputError(
            f"--data {run.data.data}",
            f"the classes {', '.join(truth.classes)}",
            f"those that {checkpoint} was trained on: {', '.join(classes)}",
        )
    if asked.limit is not None and asked.limit < len(truth.images):
        order = np.random.default_rng([_LIMIT_STREAM, seed]).permutation(len(truth.images))
        truth = truth.select(sorted(order[: asked.limit].tolist()))
    images = DetectionDataset(truth, eval_transform(input_size))
    batches = KeptBatches(
        detection_loader(images, shuffles.batch_size or 16, train=False, workers=machine.workers)
    )
    device = make_device(machine.as_machine())
    thresholds = replace(run.evaluation, passes=1)  # the profile counts the passes

    def evaluate(network: nn.Module) -> dict[str, float]:
        assert isinstance(network, YOLO)
        found = detect(
            network,
            batches,
            truth,
            thresholds,
            device=device,
            precision=machine.precision,
            channels_last=machine.channels_last,
        )
        diagnosis = diagnose(truth, found.passes[0], similar=similar, coco=False)
        shares = diagnosis.breakdown.mean_over_classes()
        return {
            "map_area": diagnosis.ap.mean()["area"],
            **{kind.name: float(share) for kind, share in zip(ERROR_TYPES, shares, strict=True)},
        }

    held_out = asked.split == "validation"
    folder = RunFolder.of(checkpoint).path
    return Subject(
        name=folder.resolve().name,
        network=model,
        evaluate=evaluate,
        chance={},
        images=len(truth.images),
        source=f"{asked.split} images of {run.data.data}",
        example=input_size,
        out=folder / ("profile" if held_out else "profile-test"),
        configuration={
            "weights_sha256": digest(model),
            "data": run.data.data,
            "lists": run.data.train_lists if held_out else run.data.test_lists,
            "split": asked.split,
            "split_seed": seed,
            "validation": run.data.validation if held_out else None,
            "images": len(truth.images),
            "image_size": input_size,
            "score_threshold": thresholds.score_threshold,
            "iou_threshold": thresholds.iou_threshold,
            "max_detections": thresholds.max_detections,
        },
    )


def _read(run: RunOptions, split: str, seed: int) -> tuple[GroundTruth, tuple[tuple[str, ...], ...]]:
    """The ground truth of a split, and the groups of similar classes."""
    if split == "test":
        return read_test_data(run.data)
    data = read_run_data(run.data, seed)
    if data.validation is None:
        raise InputError(
            "--split validation", "a run that held no images out", "--split test, or a share by --validation"
        )
    return data.validation, data.similar
