"""The detector as a LightningModule, and what it finds on a set of images, as records, scores and files."""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.nn.functional import interpolate
from torchvision.utils import make_grid

from data.detection import Batch
from data.formats.coco import write_coco_detections, write_coco_ground_truth
from data.formats.files import write_text
from data.formats.voc import write_text_where_named
from data.records import Detections, GroundTruth, InputError
from data.streams import Stream, generator
from detector import list_layers, normalize, seek_shuffles
from detector.grid import GridTargets
from detector.intervene import needs_passes
from detector.loss import YOLOLoss
from diagnosis import Comparison, Diagnosis, diagnose, sentences, table, to_json
from diagnosis.average_precision import AP_KINDS
from diagnosis.breakdown import ERROR_NAMES
from diagnosis.metric import ErrorBreakdown
from diagnosis.to_json import comparison_to_json, intervals_to_json
from diagnosis.words import comparison_sentences
from training.loggers import log_pictures
from training.module import TrainedBatch, TrainingModule, learning_rate
from training.pictures import draw_boxes
from training.task import Report
from training.tasks.detection_options import EvaluationOptions, Options, scaled_sizes
from training.trainer import OUT_OF_MEMORY, autocast

__all__ = [
    "DetectorModule", "Evaluated", "ObjectsByImage", "detect", "detections_from", "in_original_pixels",
    "summarize", "write_comparison", "write_diagnosis",
]  # fmt: skip

TRAINING_IMAGES = "training_images.png"
PICTURES = "val/detections"
LEAST_DRAWN = 0.1
"""Score of a detection in the pictures of a validation; where none has it, the best few are drawn."""
FEW = 3
LOSS_PARTS = ("centre", "size", "confidence", "background", "classes")

FoundByImage = list[tuple[int, dict[str, Tensor]]]
"""Pairs of an image's index and its boxes, scores and labels."""

SCORES = [name for name, kind in AP_KINDS.items() if kind.rule != "hoiem"]
"""The average precisions in scores.json: all but Hoiem's, which are of the diagnosis alone."""


# Training


class DetectorModule(TrainingModule):
    """Trains a :class:`~detector.YOLO`; parameters as of :class:`~training.module.TrainingModule`.

    Parameters
    ----------
    train_names
        Names of the training images, for error messages.
    validation
        Ground truth of the validation images; None: there are none.
    similar
        Groups of similar classes.
    """

    advice = (
        "Look at these images and their boxes; else lower --learning-rate, set --clip-gradient, or take "
        "--precision 32-true"
    )
    options: Options
    model: Any
    errors: ErrorBreakdown

    def __init__(
        self,
        model: Any,
        options: Options,
        hyper_parameters: Mapping[str, Any],
        *,
        train_names: tuple[str, ...],
        validation: GroundTruth | None,
        similar: tuple[tuple[str, ...], ...],
    ) -> None:
        super().__init__(model, options, len(train_names), hyper_parameters)
        self.train_names = train_names
        self.validation = validation
        if validation is not None:
            # Has no weights: the state dict is that of the network alone.
            self.errors = ErrorBreakdown(validation.classes, similar)
            self._objects = ObjectsByImage(validation)
        self._not_finite: list[str] = []
        self._frozen = self._parts_to_freeze()
        self._thawed = False
        if options.optimization.freeze_epochs is None:
            for part in self._frozen:  # no gradient is computed for them
                part.requires_grad_(False)

    def _parts_to_freeze(self) -> list[Any]:
        """The backbone's modules that keep their weights, each without parts of its own."""
        chosen, backbone = self.options.optimization.freeze, self.model.backbone
        leaves = [(name, module) for name, module in backbone.named_modules() if not any(module.children())]
        if chosen == "0":
            return []
        if chosen != "all":
            layers = list_layers(backbone, example=self.options.data.input_size)
            if int(chosen) > len(layers):
                expected = f"at most the {len(layers)} layers of the backbone, or 'all'"
                raise InputError("--freeze", chosen, expected)
            last = layers[int(chosen) - 1].name
            end = max(number for number, (name, _) in enumerate(leaves) if f"{name}.".startswith(f"{last}."))
            leaves = leaves[: end + 1]
        return [module for _, module in leaves]

    def on_train_batch_start(self, batch: Any, batch_index: int) -> None:
        """Keep frozen batch norms as they are; end the freezing at its epoch; draw the first images."""
        first = bool(self.loggers) and self.current_epoch == batch_index == 0
        if first and self.trainer.is_global_zero and self.options.evaluation.pictures:
            self._draw_training_images(batch)
        epochs = self.options.optimization.freeze_epochs
        freezes = epochs is None or self.current_epoch < epochs
        if freezes or not self._thawed:
            for part in self._frozen:
                part.train(not freezes)
        self._thawed = not freezes

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        """Drop the gradients of what is frozen for some epochs; all processes have them, as they must."""
        if not self._thawed:
            for part in self._frozen:
                for parameter in part.parameters():
                    parameter.grad = None

    def _draw_training_images(self, batch: Batch) -> None:
        """Draw what the network sees first, with the boxes that it learns."""
        drawn = _draw(batch["images"][:16], batch["targets"][:16], self.hparams["classes"])
        pictures = [torch.from_numpy(picture).movedim(-1, 0) for picture in drawn]
        grid = make_grid(pictures, nrow=4, padding=4, pad_value=255)
        file = Path(self.trainer.default_root_dir, TRAINING_IMAGES)
        Image.fromarray(grid.movedim(0, -1).numpy()).save(file)

    def _log_pictures(self, images: Tensor, found: Sequence[dict[str, Tensor]]) -> None:
        """Show the best detections in the first validation images, in the loggers."""
        best = []
        for one in found:
            count = int((one["scores"][:10] >= LEAST_DRAWN).sum()) or FEW
            best.append({name: column[:count] for name, column in one.items()})
        drawn = _draw(images, best, self.hparams["classes"])
        for logger in self.loggers:
            log_pictures(logger, PICTURES, drawn, self.global_step)

    def outputs(self, batch: Any) -> Tensor:
        """Raw outputs of the grid for a batch, ``(N, B·5 + C, S, S)``."""
        return self.run_network(batch["images"])

    def losses(self, batch: Any) -> tuple[Tensor, dict[str, Tensor], dict[str, Tensor]]:
        """The YOLO loss and its parts."""
        if self.options.optimization.multi_scale:
            loss = self._loss_at(self._drawn_size(), batch)
        else:
            # How many objects a batch has differs: they are put into the grid first, so that no shape does.
            size = tuple(batch["images"].shape[2:])
            targets = self.model.encode_targets(batch["targets"], self.device, size)
            loss = self.run_compiled(self._loss, batch["images"], targets)
        parts = {f"loss/{part}": getattr(loss, part).detach() for part in LOSS_PARTS}
        return loss.total, parts, {"objects_without_a_cell": loss.without_cell.float()}

    def _drawn_size(self) -> int:
        """The input size of this step under --multi-scale, the same in all processes."""
        draw = generator(self.options.optimization.seed, Stream.INPUT_SIZES, self.global_step)
        return int(draw.choice(scaled_sizes(self.options.data.input_size)))

    def _loss_at(self, size: int, batch: Batch) -> YOLOLoss:
        """The loss of the images resized to a square of `size` pixels, on the grid that they have there."""
        images = normalize(batch["images"])
        images = interpolate(images.float(), (size, size), mode="bilinear", antialias=True)
        scale = size / batch["images"].shape[3]
        targets = [target | {"boxes": target["boxes"] * scale} for target in batch["targets"]]
        try:
            features = self.model.backbone(images.contiguous(memory_format=self._layout))
        except (AssertionError, RuntimeError, ValueError) as error:
            if self.options.model.backbone is None or OUT_OF_MEMORY.search(str(error)):
                raise
            found = f"a backbone that takes no images of {size} pixels ({' '.join(str(error).split())[:200]})"
            raise InputError("--multi-scale", found, "another --backbone, or --multi-scale false") from error
        outputs = self.model.head(features)
        grid = tuple(outputs.shape[2:])
        return self._grid_loss(outputs, self.model.encode_targets(targets, self.device, (size, size), grid))

    def _loss(self, images: Tensor, targets: GridTargets) -> YOLOLoss:
        return self._grid_loss(self.model(images), targets)

    def _grid_loss(self, outputs: Tensor, targets: GridTargets) -> YOLOLoss:
        with torch.autocast(self.device.type, enabled=False):
            loss: YOLOLoss = self.model.grid_loss(outputs, targets)
        return loss

    def described(self, batch: TrainedBatch, *, finite_here: bool) -> str:
        """The parts of the loss, and the images of the batches in which it is not finite."""
        parts = ", ".join(f"{part} {batch.values[f'loss/{part}'].item():.4g}" for part in LOSS_PARTS)
        rows = [] if finite_here or batch.index is None else batch.index.tolist()
        names = self.gather([self.train_names[row] for row in rows])
        return f"; parts: {parts}; images of the batch: {', '.join(names)}"

    def on_validation_epoch_start(self) -> None:
        """Start a new collection of detections."""
        self.errors.reset()
        self._not_finite = []

    def validation_step(self, batch: Any, batch_index: int) -> None:
        """Detect, and log the loss."""
        assert self.validation is not None
        self.seek_validation(batch_index)
        size: tuple[int, int] = tuple(batch["images"].shape[2:])
        outputs, chosen = self.outputs(batch), self.options.evaluation
        with torch.autocast(self.device.type, enabled=False):
            loss = self.model.loss_from_outputs(outputs, batch["targets"], size)
            found = self.model.postprocess(
                outputs, size, chosen.score_threshold, chosen.iou_threshold, chosen.max_detections
            )
        if batch_index == 0 and chosen.pictures and self.trainer.is_global_zero:
            self._log_pictures(batch["images"][: chosen.pictures], found[: chosen.pictures])
        sizes, indices = self.validation.sizes.tolist(), batch["index"].tolist()
        self.errors.update(
            [
                in_original_pixels(image, sizes[index], size)
                for index, image in zip(indices, found, strict=True)
            ],
            [self._objects[index] for index in indices],
        )
        if not torch.isfinite(loss.total):
            self._not_finite += [self.validation.images[index] for index in indices]
        self.log("val/loss", loss.total, batch_size=len(batch["images"]), prog_bar=True, sync_dist=True)

    def on_validation_epoch_end(self) -> None:
        """Score the collected detections: mAP@0.5 and the share of each error type."""
        not_finite = self.gather(self._not_finite)
        if not_finite:  # fail before the checkpoint of this epoch replaces a good one
            found = f"the loss on validation images is not finite after step {self.global_step}"
            self.fail(found, f"; images of the batch: {', '.join(not_finite)}")
        values = {name: float(np.nan_to_num(value.item())) for name, value in self.errors.compute().items()}
        self.errors.reset()
        # The same in every process; sync_dist, as Lightning would otherwise warn that it may not be.
        self.log("val/map", values.pop("map"), prog_bar=True, sync_dist=True)
        self.log_dict({f"val/{name}": value for name, value in values.items()}, sync_dist=True)

    def make_optimizer(self) -> torch.optim.Optimizer:
        """AdamW or SGD; biases and batch norms have no weight decay."""
        chosen, parameters = self.options.optimization, list(self.model.parameters())
        groups = [
            {"params": [p for p in parameters if p.ndim > 1], "weight_decay": chosen.weight_decay},
            {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
        ]
        if chosen.optimizer == "sgd":
            return torch.optim.SGD(groups, lr=chosen.learning_rate, momentum=0.9, fused=self.fused)
        return torch.optim.AdamW(groups, lr=chosen.learning_rate, fused=self.fused)

    def learning_rate(self, step: int) -> float:
        """Exponential decay after a warm-up."""
        chosen = self.options.optimization
        return learning_rate(
            step,
            start=chosen.learning_rate,
            end=chosen.final_learning_rate,
            steps=chosen.epochs * self.steps_per_epoch,
            warmup=round(chosen.warmup_epochs * self.steps_per_epoch),
        )


def _draw(images: Tensor, found: Sequence[Any], classes: Sequence[str]) -> list[NDArray[np.uint8]]:
    """Images with boxes, each with the name of its class and, of a detection, its score."""
    drawn = []
    for image, one in zip(images, found, strict=True):
        labels = one["labels"].cpu()
        texts = [classes[label] for label in labels.tolist()]
        if "scores" in one:
            texts = [f"{name} {score:.2f}" for name, score in zip(texts, one["scores"].tolist(), strict=True)]
        drawn.append(draw_boxes(image.movedim(0, -1).cpu().numpy(), one["boxes"].cpu(), labels, texts))
    return drawn


# Evaluation


class Evaluated(NamedTuple):
    """What a detector found."""

    passes: list[Detections]
    """Detections of each single forward pass."""
    averaged: Detections
    """Detections of the mean of the passes' outputs; with one pass, of that pass."""


@torch.no_grad()
def detect(
    model: Any,
    loader: Iterable[Batch],
    truth: GroundTruth,
    options: EvaluationOptions,
    *,
    device: torch.device,
    precision: str = "32-true",
    channels_last: bool = False,
) -> Evaluated:
    """Run a detector over images.

    The draws of pass p are those of seed −1 − p, which no training has.

    Parameters
    ----------
    model
        The :class:`~detector.YOLO`; put into evaluation mode and on the device.
    loader
        Batches of the images, in order.
    truth
        Names and sizes of the images.
    options
        Thresholds, and how many passes where something is shuffled.
    device, precision, channels_last
        How to compute.
    """
    memory = torch.channels_last if channels_last else torch.contiguous_format
    model = model.to(device, memory_format=memory).eval()
    count = options.passes if needs_passes(model) else 1
    columns: list[FoundByImage] = [[] for _ in range(count + 1)]  # of the passes, then of their average
    size = (0, 0)

    def keep(into: FoundByImage, indices: list[int], outputs: Tensor) -> None:
        thresholds = options.score_threshold, options.iou_threshold, options.max_detections
        found = model.postprocess(outputs, size, *thresholds)
        images = ({name: value.cpu() for name, value in image.items()} for image in found)
        into.extend(zip(indices, images, strict=True))

    for number, batch in enumerate(loader):
        images = batch["images"].to(device).contiguous(memory_format=memory)
        size = (images.shape[2], images.shape[3])
        indices = batch["index"].tolist()
        total: Any = 0
        for single in range(count):
            seek_shuffles(model, -1 - single, number)
            with autocast(device, precision):
                outputs = model(images)
            keep(columns[single], indices, outputs)
            total = total + outputs.float()
        if count > 1:
            keep(columns[count], indices, total / count)
    passes = [detections_from(part, truth, size) for part in columns[:count]]
    return Evaluated(passes, detections_from(columns[count], truth, size) if count > 1 else passes[0])


# Records


def detections_from(
    columns: Sequence[tuple[int, dict[str, Tensor]]], truth: GroundTruth, input_size: tuple[int, int]
) -> Detections:
    """Detections in the pixels of the original images.

    Parameters
    ----------
    columns
        For each image its index and ``boxes`` (n, 4) in pixels of the resized image, ``scores`` and
        ``labels``. An image that occurs twice, as when ranks are padded to equal lengths, counts once.
    truth
        Names and sizes of the images.
    input_size
        Height and width that the images were resized to, in pixels.

    Returns
    -------
    Detections
        In the order of the images, within an image as given.
    """
    sizes = truth.sizes.tolist()
    first = {index: in_original_pixels(found, sizes[index], input_size) for index, found in reversed(columns)}
    order = sorted(first)
    counts = [len(first[index]["scores"]) for index in order]
    image_index = np.repeat(np.array(order, dtype=np.int64), counts)

    def column(name: str) -> np.ndarray:
        parts = [first[index][name].numpy() for index in order]
        return np.concatenate(parts) if parts else np.zeros(0)

    return Detections(
        truth.images,
        truth.classes,
        image_index,
        column("labels").astype(np.int64),
        column("scores"),
        column("boxes").reshape(-1, 4),
    )


def in_original_pixels(
    found: dict[str, Tensor], size: tuple[int, int], input_size: tuple[int, int]
) -> dict[str, Tensor]:
    """An image's ``boxes`` (n, 4), ``scores`` and ``labels`` with the boxes in pixels of the original image.

    `size` is that image's width and height, `input_size` the height and width that it was resized to.
    """
    height, width = input_size
    found = {name: value.detach().cpu().double() for name, value in found.items()}
    scale = torch.tensor([size[0] / width, size[1] / height] * 2, dtype=torch.float64)
    return found | {"boxes": found["boxes"] * scale}


class ObjectsByImage:
    """The objects of a ground truth image by image, as torchmetrics takes them.

    Examples
    --------
    >>> truth = GroundTruth(["a", "b"], ["dog"], [[90, 60]] * 2, [1], [0], [[0, 0, 9, 9]])
    >>> ObjectsByImage(truth)[1]["size"].tolist(), len(ObjectsByImage(truth)[0]["boxes"])
    ([60, 90], 0)
    """

    def __init__(self, truth: GroundTruth) -> None:
        self._truth = truth
        self._rows = np.argsort(truth.image_index, kind="stable")
        self._starts = np.searchsorted(truth.image_index[self._rows], np.arange(len(truth.images) + 1))

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        """Boxes in original pixels, labels, flags, size and number of an image."""
        truth = self._truth
        rows = self._rows[self._starts[index] : self._starts[index + 1]]
        columns = {
            "boxes": truth.boxes[rows],
            "labels": truth.labels[rows],
            "difficult": truth.difficult[rows],
            "iscrowd": truth.crowd[rows],
            "size": truth.sizes[index, ::-1].copy(),  # height, width
            "image_id": np.array(index),
        }
        return {name: torch.from_numpy(np.array(value)) for name, value in columns.items()}


# Report


def _spread(values: Sequence[float]) -> dict[str, Any]:
    """Mean and standard deviation (n − 1) of several values; null where there is none."""
    known = not any(math.isnan(value) for value in values)
    return {
        "mean": statistics.fmean(values) if known else None,
        "std": statistics.stdev(values) if known and len(values) > 1 else None,
        "values": [None if math.isnan(value) else value for value in values],
    }


def summarize(diagnoses: Sequence[Diagnosis]) -> dict[str, Any]:
    """Scores and mean shares of several passes or seeds, each as mean and standard deviation."""
    means = [diagnosis.ap.mean() for diagnosis in diagnoses]
    shares = [diagnosis.breakdown.mean_over_classes() for diagnosis in diagnoses]
    return {
        "map": {name: _spread([float(mean[name]) for mean in means]) for name in SCORES},
        "shares": {
            name: _spread([float(share[i]) for share in shares]) for i, name in enumerate(ERROR_NAMES)
        },
    }


def write_diagnosis(
    evaluated: Evaluated,
    truth: GroundTruth,
    similar: Sequence[Sequence[str]],
    report: Report,
    *,
    sheet: int,
) -> Diagnosis:
    """Write detections, ``scores.json`` and ``diagnosis/`` into a run's folder.

    The detections and the diagnosis are those of the first single pass; ``scores.json`` has every pass and
    the averaged prediction.

    Returns
    -------
    Diagnosis
        Of the first pass.
    """
    out, name = report.out, report.name
    diagnoses = [diagnose(truth, found, name=name, similar=similar) for found in evaluated.passes]
    averaged = diagnoses[0]
    if len(diagnoses) > 1:
        averaged = diagnose(truth, evaluated.averaged, name=name, similar=similar)
    folder = out / "detections"
    folder.mkdir(parents=True, exist_ok=True)
    found = evaluated.passes[0]
    named = not write_text_where_named(found, folder)
    write_coco_detections(found, folder / "detections.json", named=named)
    write_coco_ground_truth(truth, folder / "ground_truth.json")
    scores = {
        "name": name,
        **report.scored,
        "test_images": len(truth.images),
        "passes": len(diagnoses),
        "single_passes": summarize(diagnoses),
        "averaged_prediction": summarize([averaged]),
    }
    write_text(out / "scores.json", json.dumps(scores, indent=1))
    write_comparison([diagnoses[0]], out / "diagnosis", provenance=report.provenance, sheet=sheet)
    return diagnoses[0]


def write_comparison(
    diagnoses: Sequence[Diagnosis],
    out: Path,
    *,
    provenance: dict[str, Any],
    sheet: int,
    comparison: Comparison | None = None,
) -> list[Path]:
    """Write the page, ``diagnosis.json``, ``summary.txt``, figures and sheet of one or several detectors.

    With a `comparison` the page and the numbers have its intervals and its verdict.

    Returns
    -------
    list of Path
        The page and the figures.
    """
    from diagnosis.figures import save_figures, save_sheet
    from diagnosis.report import ReportContent, write_report

    out.mkdir(parents=True, exist_ok=True)
    verdict, pairs, intervals, said = "", [], [], sentences(diagnoses)[len(diagnoses) :]
    if comparison is not None:
        verdict, said = comparison.verdict, comparison_sentences(comparison)
        pairs, intervals = comparison_to_json(comparison), intervals_to_json(comparison)
    numbers, page = to_json(diagnoses, provenance, pairs, intervals, verdict=verdict), out / "report.html"
    write_report(ReportContent(diagnoses, numbers, said), page)
    files = save_figures(diagnoses, out)
    if sheet:
        files.append(save_sheet(diagnoses, out, count=sheet))
    write_text(out / "summary.txt", "\n".join([table(diagnoses), "", *sentences(diagnoses), ""]))
    # Last: where diagnosis.json exists, the rest is complete.
    write_text(out / "diagnosis.json", json.dumps(numbers, indent=1))
    return [page, *files]
